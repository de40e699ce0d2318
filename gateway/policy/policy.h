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
	bool udp, quic; /* false: rejected */
	bool ping;	/* echo requests are answered here where it cannot carry them */
};

/* One `unless` of a rule: an address of the name in one of its lists, and the traffic takes this
 * egress instead. */
struct policy_unless {
	const struct policy_egress *egress;
	int upstream;
	unsigned within_ms;
	const uint16_t *lists; /* of the policy, see policy_unless_holds() */
	size_t n_lists;
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
	/* A real answer's addresses go into our own sets: its egress is a proxy, or has a mark. */
	bool carry;
	const struct policy_unless *unless; /* fake rules only; owned by the policy */
	size_t n_unless;
	unsigned set_base; /* index of sets[0] among all sets of the policy, see policy_sets() */
};

struct policy_question {
	const struct dns_name
		*name; /* NULL: not known (real traffic); matches only rules without names */
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
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p); /* NULL is fine; any thread */

struct policy_decision {
	const struct policy_rule *rule; /* never NULL: the one that wins, or the default */
	/* The rule says fake, but the name is never faked (`fakeip.except`), and the rule's own
	 * domains lie above it: the rule's real answer. */
	bool never_fake;
};
/* No allocation, no lock. */
struct policy_decision policy_decide(
	const struct policy *p, const struct policy_question *question);

/* One of the lists holds the address, the longest prefix or any. No allocation, no lock. */
bool policy_unless_holds(
	const struct policy *p, const struct policy_unless *u, const struct ip_addr *a);
/* The list's name that holds it, for explain; NULL: none. */
const char *policy_unless_list(
	const struct policy *p, const struct policy_unless *u, const struct ip_addr *a);
/* Do real answers of any rule need our own sets (relay: those of proxies; else of egress `index`)?
 */
bool policy_carries(const struct policy *p, bool relay, unsigned egress);

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
	void (*note)(void *arg, const char *text); /* NULL: nobody listens */
};
/* As policy_decide(). */
struct policy_decision policy_explain(const struct policy *p,
	const struct policy_question *question, const struct policy_explain_sink *sink);

/* For `status`. */
struct policy_list_info {
	const char *name;
	size_t names, cidrs, files;
	int64_t loaded_at_s; /* wall clock */
};
size_t policy_lists(const struct policy *p, const struct policy_list_info **ret);

#endif
