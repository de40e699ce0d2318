/* The policy: which rule takes a name, and what follows from it.
 *
 * A policy is immutable, built from one configuration beside the current one and swapped in
 * (daemon.c). Any thread reads it without a lock. One look-up of a name tells every list and every
 * rule's own domains that the name is in (policy/matcher.h); the rules are then bit tests, first
 * match wins.
 *
 * What lives longer than a generation (mappings, flows) keeps ids, never pointers: hashes of names
 * (policy_id). */
#ifndef TUNGATE_POLICY_POLICY_H
#define TUNGATE_POLICY_POLICY_H

#include "conf/config.h"
#include "gateway/base/addr.h"
#include "gateway/dns/name.h"

struct policy;

/* Stable id of a name of a rule, egress, upstream or view: never 0 for a text, 0 for NULL. */
uint64_t policy_id(const char *text);

struct policy_egress {
	const char *name;
	uint64_t id;
	enum conf_egress_type type;
	int upstream; /* index into the configuration's upstreams, -1: none */
	struct conf_mark mark;
	unsigned index; /* in the configuration */
};

/* What a rule decides. Lives as long as its policy. The rule-less default is one of these too:
 * name NULL, answer real. */
struct policy_rule {
	const char *name;
	uint64_t id;   /* 0: the default */
	uint64_t view; /* id of the rule's `client` condition, sorted and joined; 0: it has none */
	enum conf_answer answer;
	const struct policy_egress *egress; /* NULL: none */
	int upstream;			    /* -1: none */
	const struct conf_set *sets;	    /* owned by the policy */
	size_t n_sets;
	struct conf_set_ttl set_ttl;
	enum conf_on_error on_error;
	unsigned set_base; /* index of sets[0] among all sets of the policy, see policy_sets() */
};

struct policy_question {
	const struct dns_name *name;
	uint16_t type;
	struct ip_addr client; /* family IP_NONE: unknown, matches only rules without `client` */
};

/* Reads the lists and builds. The policy copies what it needs; config may go afterwards. What is
 * wrong in list files ("FILE:LINE:COLUMN: KEY: what is wrong; allowed: …", and warnings about
 * skipped lines, at most five a file) goes through report, is_error false for warnings and notes.
 * -EINVAL after at least one error; -ENOMEM. */
typedef void policy_report(void *arg, bool is_error, const char *text);
int policy_build(
	const struct config *config, policy_report *report, void *arg, struct policy **ret);
void policy_free(struct policy *p);

/* Never NULL: the rule that wins, or the default. No allocation, no lock. */
const struct policy_rule *policy_decide(
	const struct policy *p, const struct policy_question *question);

/* NULL: it is gone. */
const struct policy_egress *policy_egress_by_id(const struct policy *p, uint64_t id);
const struct policy_rule *policy_rule_by_id(const struct policy *p, uint64_t id);
/* Arrays, and their counts; the second holds all sets of all rules. */
size_t policy_egresses(const struct policy *p, const struct policy_egress **ret);
size_t policy_sets(const struct policy *p, const struct conf_set *const **ret);

/* For `explain`: every list that holds the name, and each rule up to the winner with its reason.
 * The texts live until the visit returns. line is found by reading the source again; 0 if the file
 * has changed. */
struct policy_explain_list {
	const char *list, *file, *text; /* text: the line's content */
	unsigned line;
};
struct policy_explain_rule {
	const char *name;
	bool matched;
	const char *why;
};
struct policy_explain_sink {
	void *arg;
	void (*list)(void *arg, const struct policy_explain_list *l);
	void (*rule)(void *arg, const struct policy_explain_rule *r);
};
const struct policy_rule *policy_explain(const struct policy *p,
	const struct policy_question *question, const struct policy_explain_sink *sink);

/* For `status`. */
struct policy_list_info {
	const char *name;
	size_t names, cidrs, files;
	int64_t loaded_at_s; /* wall clock */
};
size_t policy_lists(const struct policy *p, const struct policy_list_info **ret);

#endif
