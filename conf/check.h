/* What the checks between options share. Each check looks only at values whose nodes are good, so
 * that nothing is said about the consequence of a mistake that was told already. */
#ifndef TUNGATE_CONF_CHECK_H
#define TUNGATE_CONF_CHECK_H

#include "conf/conf_internal.h"

/* The node of section.key's item of that index. */
struct conf_node *conf_item_node(struct conf_reader *r, const char *section, size_t i);
/* The node of the i-th value of an option that takes a list or one value. */
struct conf_node *conf_value_node(struct conf_node *node, size_t i);
/* "a, b, c", the names of the groups in upstreams, of all `but` one; NULL: there is none. */
const char *conf_upstream_names(struct conf_reader *r, const struct conf_upstream *but);
/* In a pool of fake addresses. */
bool conf_in_pools(const struct config *c, const struct ip_addr *a);

bool conf_same_place(const struct ip_port *a, const struct ip_port *b);

/* Of two bounds of a TTL, either of which may not be written (NULL). */
void conf_ttl_check(struct conf_reader *r, struct conf_node *min, struct conf_node *max,
	uint32_t min_s, uint32_t max_s);
/* Do connections through it leave by proxies alone? Those need no address of the far end. Circles
 * of groups are fine. */
bool conf_egress_is_proxy(struct conf_reader *r, int egress);
/* bootstrap: the node that names the group for names of servers. */
void conf_bootstrap_check(struct conf_reader *r, struct conf_node *bootstrap, int group);
/* Every query: no rule behind it is looked at. */
bool conf_rule_takes_all(const struct conf_rule *rule);
/* Has a server with TLS or HTTPS; has one without. */
bool conf_upstream_is_encrypted(const struct conf_upstream *u);
bool conf_upstream_is_plain(const struct conf_upstream *u);

/* Those that have files of their own. pools_good: the pools may be looked at. Upstreams come after
 * egresses, rules after these and clients, lists after rules, what is exposed after all others. */
void conf_egresses_check(struct conf_reader *r, bool pools_good);
void conf_upstreams_check(struct conf_reader *r, bool pools_good);
void conf_circles_check(struct conf_reader *r); /* of conf_upstreams_check() */
void conf_exposed_check(struct conf_reader *r);
void conf_clients_check(struct conf_reader *r);
void conf_rules_check(struct conf_reader *r);
void conf_checks_check(struct conf_reader *r); /* after rules */
void conf_lists_check(struct conf_reader *r);
/* What a rule does, as far as that does not depend on other rules. seen: of each egress, zeroed
 * before the first rule. */
void conf_answer_check(
	struct conf_reader *r, struct conf_rule *rule, struct conf_node *node, uint8_t *seen);

/* Sets of a rule with a real answer or with `also`, and how they are filled. */
#define CONF_SET_KEYS "nftset, nftmap, ipset"
bool conf_sets_broken(struct conf_node *rule);
void conf_sets_check(struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node);

#endif
