/* What building, deciding and explaining share. All of it is written by policy_build() and only
 * read afterwards. */
#ifndef TUNGATE_POLICY_POLICY_INTERNAL_H
#define TUNGATE_POLICY_POLICY_INTERNAL_H

#include "gateway/base/arena.h"
#include "gateway/lists/lists.h"
#include "gateway/match/addresses.h"
#include "gateway/match/matcher.h"
#include "gateway/policy/policy.h"

/* --- sources of the matcher: the built-in zones, the lists' LIST_HOLDS in their order, and then
 * whatever is met: own domains of rules, other parts of lists --- */

enum policy_zone { /* see builtin.c */
	POLICY_ZONE_LOCALHOST,
	POLICY_ZONE_SPECIAL,
	POLICY_ZONE_HOUSE,
	POLICY_ZONE_CANARY,
	POLICY_ZONE_RELAY,
	POLICY_ZONE_DDR,
	POLICY_ZONE_REVERSE,
	POLICY_ZONE_IPV4ONLY,
	POLICY_ZONES
};
#define POLICY_FIRST_LIST POLICY_ZONES

static inline unsigned policy_list_source(size_t list)
{
	return POLICY_FIRST_LIST + (unsigned)list;
}

/* --- rules --- */

/* Who a rule is for. Any of the positive ones (if there are any), and none of `not`. */
struct policy_whom {
	const struct ip_prefix *prefixes, *not ;
	size_t n_prefixes, n_not;
	const struct conf_mac *macs;
	size_t n_macs;
	const char *const *hosts, *const *interfaces;
	size_t n_hosts, n_interfaces;
};

/* When a rule matches: all kinds of conditions that it has (domain and list are one kind) must
 * hold. */
struct policy_condition {
	bool any_name;
	bool unqualified;	 /* or-ed to the sources */
	bool learns;		 /* a check of the rule does */
	const uint16_t *sources; /* of the matcher; one of them holds the name */
	size_t n_sources;
	const uint16_t *except; /* none of these does */
	size_t n_except;
	const uint16_t *to; /* lists, one of which holds the destination */
	size_t n_to;
	struct policy_whom whom;
	const uint16_t *types;
	size_t n_types;
	unsigned listeners;	    /* 0: all */
	const char *const *domains; /* as configured, for explain */
	size_t n_domains;
	const char *const *except_names;
	size_t n_except_names;
	int own; /* the source of domains, -1: none, or every name */
	bool also;
	unsigned also_bit;
};

struct policy_file { /* one that was read, or is missed */
	const char *path;
	struct list_stamp stamp;
};

struct policy_list {
	const char *name, *key;		   /* key: "lists.NAME" */
	const struct list_source *sources; /* as configured */
	size_t n_sources;
	uint64_t id; /* of what is configured: two lists with the same one read the same files */
	struct policy_file *files; /* all that were read, included ones too */
	size_t n_files, room_files;
	int parts[LIST_PARTS]; /* sources of the matcher, -1: has no such part */
	bool closest;	       /* matcher_closest() of it is true: `fakeip.except` asks for it */
};

/* Names that are never faked: the sources of the matcher that hold them. */
struct policy_except {
	uint16_t *sources;
	size_t n_sources;
	bool builtin; /* the last source is the built-in list, and names of one label count, too */
};

struct policy_leak { /* of an upstream */
	bool strict;
	int to;			 /* where names are asked that may not be asked here; -1: nowhere */
	const uint16_t *sources; /* of the matcher: whose names may */
	size_t n_sources;
};

struct policy {
	_Atomic unsigned refs;
	struct matcher *matcher;
	struct addresses *addresses; /* list i is list i */
	unsigned zones;		     /* bits: enum conf_builtin */
	struct policy_except except;
	const struct policy_condition *conditions; /* beside rules */
	struct policy_rule *rules;
	size_t n_rules;
	const struct policy_rule *also[POLICY_ALSO_MAX];
	unsigned n_also;
	bool asks_who;
	struct policy_rule fallback;
	const struct policy_check **learning; /* in the rules' order */
	size_t n_learning;
	const struct policy_leak *leaks; /* beside the configuration's upstreams */
	size_t n_leaks;
	struct policy_egress *egresses;
	size_t n_egresses;
	const struct conf_set **sets;
	size_t n_sets;
	struct policy_list *lists;
	struct policy_list_info *infos; /* beside lists */
	size_t n_lists;
	uint16_t *excepting; /* lists that have more than one part */
	size_t n_excepting;
	struct arena *arena; /* all that it points to, but for the matcher, addresses, records */
};

/* One look-up: the bits of lists are true to all of their parts afterwards. look: begun already, or
 * NULL. */
void policy_find(const struct policy *p, const struct dns_name *name,
	const struct matcher_look *look, struct matcher_hits *ret);

/* --- a rule's own domains: "x", "full:x", "keyword:x", "regexp:x" --- */

struct policy_domain {
	enum list_entry_kind is; /* a name, keyword or expression */
	enum matcher_kind kind;
	struct dns_name name;
	const char *pattern; /* into the text */
	size_t pattern_len;
};
int policy_domain_parse(const char *domain, struct policy_domain *ret); /* -EINVAL */
bool policy_domain_holds(const struct policy_domain *d, const struct dns_name *name);

/* --- conditions --- */

bool policy_type_matches(const struct policy_condition *c, uint16_t type);
bool policy_name_matches(const struct policy_condition *c, const struct dns_name *name,
	const struct matcher_hits *hits);
bool policy_except_matches(const struct policy_condition *c, const struct matcher_hits *hits);
bool policy_to_matches(
	const struct policy *p, const struct policy_condition *c, const struct ip_addr *to);
/* All conditions of the rule but names: client, type, listener, destination. */
bool policy_others_match(
	const struct policy *p, const struct policy_rule *rule, const struct policy_question *q);
/* One of the lists holds the address: *ret. */
bool policy_lists_hold(
	const struct policy *p, const uint16_t *lists, size_t n, const struct ip_addr *a, int *ret);
bool policy_listener_matches(
	const struct policy_condition *c, uint64_t rule, const struct policy_question *q);

/* --- checks --- */

/* NULL: the default. */
static inline const struct policy_condition *policy_condition_of(
	const struct policy *p, const struct policy_rule *rule)
{
	return rule == &p->fallback ? NULL : &p->conditions[rule - p->rules];
}
/* The first check of the rule whose table has the name, and whose rule takes the question by its
 * other conditions; of several that share the table, the one that has learned it. NULL: none. hits:
 * of the name. *ret_due: see learned_holds(). */
const struct policy_check *policy_check_learned(const struct policy *p,
	const struct policy_rule *rule, const struct policy_question *q,
	const struct matcher_hits *hits, bool *ret_due);
/* The check of the rule by which traffic got the address that it goes to; NULL: none. */
const struct policy_check *policy_check_behind(
	const struct policy *p, const struct policy_rule *rule, const struct policy_question *q);

/* who.c */
static inline bool policy_whom_any(const struct policy_whom *w)
{
	return w->n_prefixes + w->n_macs + w->n_hosts + w->n_interfaces + w->n_not == 0;
}
#define POLICY_WHOM_TEXT 320
/* ret (POLICY_WHOM_TEXT bytes, or NULL): what decided, "192.0.2.0/24" or "if:br-lan". */
bool policy_whom_matches(const struct policy_whom *w, const struct policy_question *q, char *ret);
bool policy_whom_asks(const struct policy_whom *w);
/* All that it is for, separated by blanks; cut to the size. */
void policy_whom_format(const struct policy_whom *w, char *buf, size_t size);

/* builtin.c: the zones that `builtin` has switched on; what a name in them is answered, unless the
 * rule that wins (NULL: the default) has a domain of its own at or below. */
int policy_builtin_add(struct matcher_builder *b, unsigned zones);
enum policy_builtin policy_builtin_find(const struct policy *p, const struct policy_condition *c,
	const struct dns_name *name, const struct matcher_hits *hits, const char **ret_zone);

/* ret->builtin, .builtin_zone and .never_fake of a decision for ret->rule. */
void policy_decision_end(const struct policy *p, const struct dns_name *name,
	const struct matcher_hits *hits, struct policy_decision *ret);

/* Labels of the closest entry of `fakeip.except` that holds the name and who has it (a source, or
 * -1: the name has one label); -1: none. */
int policy_except_labels(const struct policy *p, const struct dns_name *name,
	const struct matcher_hits *hits, int *ret_source);
/* The name is never faked, whatever the rule says; hits: of the name. */
bool policy_never_fake(const struct policy *p, const struct policy_condition *c,
	const struct dns_name *name, const struct matcher_hits *hits);

/* The built-in list, conf/never-fake.txt: written by the build. */
extern const unsigned char policy_never_fake_text[];
extern const size_t policy_never_fake_text_size;

/* Sorts the prefixes and drops those inside another; returns how many are left. */
size_t policy_clients_normalise(struct ip_prefix *v, size_t n);
/* The id of "P,P,…"; 0 if it is for everybody. */
uint64_t policy_view_id(const struct policy_whom *w);

#endif
