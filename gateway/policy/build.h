/* What the files that build a policy share: policy_build.c (the whole), build_lists.c and
 * build_list.c (lists), build_rules.c (rules and what they name). One thread, one struct build for
 * each policy. */
#ifndef TUNGATE_POLICY_BUILD_H
#define TUNGATE_POLICY_BUILD_H

#include "gateway/policy/policy_internal.h"

struct list_build;

struct build {
	const struct policy_build_config *c;
	const struct config *config;
	const struct policy *previous; /* NULL: nothing can be taken from it */
	struct policy *p;
	struct matcher_builder *names;
	struct addresses_builder *addresses;
	struct list_build *loads; /* beside the lists, until both builders have ended */
	unsigned next_source, n_sources;
	bool failed; /* an error was reported */
	/* The list, and its file, for which there was no room; NULL: it was not one list. */
	const struct policy_list *full;
	const struct conf_list_file *full_at;
};

/* An error at a place of the configuration. */
__attribute__((format(printf, 4, 5))) void build_complain(
	struct build *b, unsigned line, unsigned column, const char *format, ...);
/* A complaint of a list or record file. */
void build_report(struct build *b, bool is_error, const char *text);

/* The next source of the matcher. -ENOSPC: there are too many. */
int build_source(struct build *b, unsigned *ret);

/* Each returns 0, -ENOMEM or -ENOSPC (too much of something); faults that were reported set
 * b->failed. */
int build_lists(struct build *b);
void build_lists_fini(struct build *b);
int build_except(struct build *b);
int build_egresses(struct build *b);
int build_rules(struct build *b);
int build_leaks(struct build *b); /* leak.c */
/* build_check.c: of one rule; the rules that they lead to need not be built yet. */
int build_checks(struct build *b, const struct conf_rule *from, struct policy_rule *rule,
	struct policy_condition *condition);

#endif
