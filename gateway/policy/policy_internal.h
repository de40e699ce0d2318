/* What building, deciding and explaining share. All of it is written by policy_build() and only
 * read afterwards. */
#ifndef TUNGATE_POLICY_POLICY_INTERNAL_H
#define TUNGATE_POLICY_POLICY_INTERNAL_H

#include "gateway/base/arena.h"
#include "gateway/match/addresses.h"
#include "gateway/lists/lists.h"
#include "gateway/match/matcher.h"
#include "gateway/policy/policy.h"

/* --- rules --- */

/* When a rule matches: all kinds of conditions that it has (domain and list are one kind) must
 * hold. */
struct policy_condition {
	bool any_name;
	const uint16_t *sources; /* of the matcher; one of them holds the name */
	size_t n_sources;
	const struct ip_prefix *clients;
	size_t n_clients;
	const uint16_t *types;
	size_t n_types;
	const char *const *domains; /* as configured, for explain */
	size_t n_domains;
	int own; /* the source of domains, -1: none, or every name */
};

struct policy_file {
	const char *path;
	struct list_stamp stamp;
};

struct policy_list {		/* source i of the matcher is list i */
	const char *name, *key; /* key: "lists.NAME" */
	struct policy_file *files;
	size_t n_files;
};

/* Names that are never faked: the sources of the matcher that hold them. */
struct policy_except {
	uint16_t *sources;
	size_t n_sources;
	bool builtin; /* the last source is the built-in list, and names of one label count, too */
};

struct policy {
	_Atomic unsigned refs;
	struct matcher *matcher;
	struct addresses *addresses; /* list i is list i */
	struct policy_except except;
	const struct policy_condition *conditions; /* beside rules */
	struct policy_rule *rules;
	size_t n_rules;
	struct policy_rule fallback;
	struct policy_egress *egresses;
	size_t n_egresses;
	const struct conf_set **sets;
	size_t n_sets;
	struct policy_list *lists;
	struct policy_list_info *infos; /* beside lists */
	size_t n_lists;
	struct arena *arena; /* all that it points to, but for the matcher and the addresses */
};

/* A rule's own domain, "x" or "full:x": how it holds which name. -EINVAL. */
int policy_domain_parse(const char *domain, enum matcher_kind *ret_kind, struct dns_name *ret);

bool policy_type_matches(const struct policy_condition *c, uint16_t type);
/* The prefix that holds the client; NULL: none does. */
const struct ip_prefix *policy_client_match(
	const struct policy_condition *c, const struct ip_addr *client);
bool policy_name_matches(const struct policy_condition *c, const struct matcher_hits *hits);

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
/* The id of "P,P,…"; 0 if n is 0. */
uint64_t policy_view_id(const struct ip_prefix *v, size_t n);

#endif
