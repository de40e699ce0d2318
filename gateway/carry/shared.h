/* What the workers' carrying shares. Made by the daemon before the workers, freed after them. */
#ifndef TUNGATE_CARRY_SHARED_H
#define TUNGATE_CARRY_SHARED_H

#include "fakeip/fakeip.h"
#include "gateway/carry/decisions.h"
#include "gateway/carry/seen.h"
#include "gateway/carry/waiting.h"

struct carry_shared {
	struct waiting *waiting;
	struct decisions *decisions;
	struct seen *seen;
	struct fakeip_table *fakeip;
};

/* max_flows: follows from the limit of descriptors. */
int carry_shared_new(struct fakeip_table *fakeip, unsigned max_flows, struct carry_shared **ret);
void carry_shared_free(struct carry_shared *s); /* NULL is fine */

#endif
