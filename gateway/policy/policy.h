/* The policy: which rule takes a name, and what follows from it.
 *
 * A policy is immutable, built from one configuration beside the current one and swapped in
 * (daemon.c). Any thread reads it without a lock. One look-up of a name tells every list, every
 * rule's own domains and every built-in zone that the name is in (match/matcher.h); the rules are
 * then bit tests, first match wins.
 *
 * What lives longer than a generation (mappings, flows) keeps ids, never pointers: hashes of names
 * (policy_id). */
#ifndef TUNGATE_POLICY_POLICY_H
#define TUNGATE_POLICY_POLICY_H

#include "conf/config.h"
#include <net/if.h>

#include "gateway/base/addr.h"
#include "gateway/dns/name.h"
#include "gateway/match/matcher.h"

#define POLICY_ALSO_MAX 64 /* rules with `also: yes` */

struct policy;
struct learned;
struct learned_files;
struct leases;
struct records;

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

/* One `check` of a rule: the addresses of a real answer lie in its lists, or outside, and another
 * rule takes the name. */
struct policy_check {
	enum conf_check_answers answers;
	enum conf_check_match match;
	const uint16_t *lists; /* of the policy */
	size_t n_lists;
	const struct policy_rule *owner, *rule; /* that has the check; that takes the name */
	struct learned *learned;		/* NULL: nothing is learned */
	uint32_t capacity, max_age_s, verify_s; /* see learned_config */
};

/* What a rule decides. Lives as long as its policy. The rule-less default is one of these too:
 * name NULL, answer real. */
struct policy_rule {
	const char *name;
	uint64_t id;   /* 0: the default */
	uint64_t view; /* id of the rule's `client` condition, sorted and joined; 0: it has none */
	enum conf_answer answer;
	enum conf_block block;
	enum conf_filter filter;
	/* answer: local */
	const struct ip_addr *addresses;
	size_t n_addresses;
	const struct dns_name *cname;  /* NULL: none */
	const struct records *records; /* NULL: none */
	uint32_t ttl_s;
	const struct policy_egress *egress; /* NULL: none */
	int upstream;			    /* -1: none */
	const struct conf_set *sets;	    /* owned by the policy */
	size_t n_sets;
	struct conf_set_ttl set_ttl;
	enum conf_push push;
	unsigned push_timeout_ms;
	enum conf_on_error on_error;
	bool conntrack_forget;
	const struct policy_check *checks; /* real rules only; owned by the policy */
	size_t n_checks;
	/* How real answers are asked for and kept. */
	struct conf_ttl ttl;
	bool cache;
	bool rebind_set; /* else the upstream's */
	enum conf_rebind rebind;
	/* A real answer's addresses go into our own sets: its egress is a proxy, or has a mark. */
	bool carry;
	const struct policy_unless *unless; /* fake rules only; owned by the policy */
	size_t n_unless;
	unsigned set_base; /* index of sets[0] among all sets of the policy, see policy_sets() */
};

/* What is known of a client beside its address, for rules that ask (policy_asks_who()). */
struct policy_who {
	bool has_mac;
	uint8_t mac[6];
	char interface[IF_NAMESIZE]; /* that it is behind; "": not known */
	const struct leases *leases; /* NULL: none */
};

struct policy_question {
	const struct dns_name
		*name; /* NULL: not known (real traffic); matches only rules without names */
	uint16_t type;
	struct ip_addr client; /* family IP_NONE: unknown, matches only rules without `client` */
	const struct policy_who *who; /* NULL: nothing more is known */
	unsigned listener;	      /* a bit of enum conf_listener; 0: traffic */
	/* Traffic to a fake address: the rule that made the mapping (its id) has met its `listener`
	 * already. */
	uint64_t maker;
	/* Destination of real traffic; NULL: a query, or a fake address. */
	const struct ip_addr *to;
	const struct matcher_look *look; /* of policy_begin() with this name; NULL: none */
	int64_t now_s; /* wall clock, for learned names; 0: only looked at, nothing is noted */
};

/* Names with an answer of their own (RFC 6761, 6762, 7686, 8375, 8880, 9462, 9476 and what vendors
 * use as signals). */
enum policy_builtin {
	POLICY_BUILTIN_NONE,
	POLICY_BUILTIN_LOCALHOST, /* the loopback addresses */
	POLICY_BUILTIN_NXDOMAIN,
	/* The same, unless records or leases know the name. */
	POLICY_BUILTIN_HOUSE,
	POLICY_BUILTIN_NODATA,
	POLICY_BUILTIN_IPV4ONLY, /* RFC 8880 7.1 */
};

/* Reads the lists and builds. The policy copies what it needs; config may go afterwards. What is
 * wrong in list files ("FILE:LINE:COLUMN: KEY: what is wrong; allowed: …", and warnings about
 * skipped lines, at most five a file) goes through report, is_error false for warnings and notes.
 * -EINVAL after at least one error; -ENOMEM. Any thread. */
typedef void policy_report(void *arg, bool is_error, const char *text);
struct policy_build_config {
	const struct config *config;
	/* NULL: none. Lists whose files are as they were are taken from it and not read again. */
	const struct policy *previous;
	/* A list with errors is taken from `previous`, too, and says so in its info. */
	bool keep_failed;
	/* Where tables of learned names come from; NULL (`check`): files are only read for errors.
	 */
	struct learned_files *learned;
	policy_report *report;
	void *report_arg;
};
int policy_build(const struct policy_build_config *c, struct policy **ret);
/* One of the files of the lists is not as it was when it was read. *ret_state tells how they are
 * now: the same twice means that nobody is writing them. */
bool policy_changed(const struct policy *p, uint64_t *ret_state);
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p); /* NULL is fine; any thread */

struct policy_decision {
	const struct policy_rule *rule; /* never NULL: the one that wins, or the default */
	/* The rule says fake, but the name is never faked (`fakeip.except`), and the rule's own
	 * domains lie above it: the rule's real answer. */
	bool never_fake;
	/* Other than none: the name is answered so, and the rule is not asked. `builtin_zone` is
	 * its name, for explain. */
	enum policy_builtin builtin;
	const char *builtin_zone;
	uint64_t also; /* bit i: policy_also(p, i) adds its sets */
	/* The rule wins because this check has learned the name: it is not checked again. NULL: for
	 * another reason. */
	const struct policy_check *learned;
	bool verify_due; /* and it has to be verified: by this caller, see learned_holds() */
};
/* The first half of the name's look-up, see matcher_begin(). */
void policy_begin(const struct policy *p, const struct dns_name *name, struct matcher_look *ret);
/* No allocation, no lock. */
struct policy_decision policy_decide(
	const struct policy *p, const struct policy_question *question);

/* Where a name is asked that is to be asked at group (-1 stays -1): there, or, if the group has
 * `leak: strict` and none of its lists holds the name, at the group that it names instead; -1: at
 * none. No allocation, no lock. */
int policy_group(const struct policy *p, int group, const struct dns_name *name);

/* Rule i of those with `also: yes`, in the order of the configuration. */
const struct policy_rule *policy_also(const struct policy *p, unsigned i);
/* Rules ask for MAC addresses, interfaces or leases of clients. */
bool policy_asks_who(const struct policy *p);
/* One of the lists holds the address, the longest prefix or any. No allocation, no lock. */
bool policy_unless_holds(
	const struct policy *p, const struct policy_unless *u, const struct ip_addr *a);
/* The first check of the rule that holds for the addresses of an answer, and whose rule takes the
 * question by its other conditions (client, type, listener); NULL: none, or no addresses. *ret_list
 * (may be NULL): the list that decided. v4-mapped addresses are taken as v4. No allocation, no
 * lock. */
const struct policy_check *policy_check_find(const struct policy *p, const struct policy_rule *rule,
	const struct policy_question *question, const struct ip_addr *addresses, size_t n,
	const char **ret_list);
/* What the check's rule says of the question, as if the check had learned the name; `also` is left
 * out. */
struct policy_decision policy_check_decide(const struct policy *p, const struct policy_check *c,
	const struct policy_question *question);
/* Does this one hold for them, whatever the question? */
bool policy_check_holds(const struct policy *p, const struct policy_check *c,
	const struct ip_addr *addresses, size_t n, const char **ret_list);
/* For verifying: would the check learn the name from these addresses, or another of its rule that
 * learns into the same table, whatever the question? And do names come to it by questions of this
 * type? */
bool policy_check_still_holds(const struct policy *p, const struct policy_check *c,
	const struct ip_addr *addresses, size_t n, const char **ret_list);
bool policy_check_wants(const struct policy *p, const struct policy_check *c, uint16_t type);
/* All checks that learn, of all rules, in their order. Returns how many there are. */
size_t policy_learning(const struct policy *p, const struct policy_check *const **ret);
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
	size_t names, cidrs, files; /* names: with keywords and expressions */
	size_t skipped, unused;	    /* lines */
	int64_t loaded_at_s;	    /* wall clock */
	const char *error;	    /* NULL, or why the files as they are now are not in force */
};
size_t policy_lists(const struct policy *p, const struct policy_list_info **ret);

#endif
