/* What explain.c (rules) and explain_list.c (lists) share. */
#ifndef TUNGATE_POLICY_EXPLAIN_H
#define TUNGATE_POLICY_EXPLAIN_H

#include "gateway/policy/policy_internal.h"

/* Tells the line by which the list holds the name (holds), and the exception if there is one. */
void explain_list(const struct policy_list *list, const struct dns_name *name, bool holds,
	const struct policy_explain_sink *sink);

#endif
