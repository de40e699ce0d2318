/* What the checks between options share. Each check looks only at values whose nodes are good, so
 * that nothing is said about the consequence of a mistake that was told already. */
#ifndef TUNGATE_CONF_CHECK_H
#define TUNGATE_CONF_CHECK_H

#include "conf/conf_internal.h"

/* The node of section.key's item of that index. */
struct conf_node *conf_item_node(struct conf_reader *r, const char *section, size_t i);
/* The node of the i-th value of an option that takes a list or one value. */
struct conf_node *conf_value_node(struct conf_node *node, size_t i);
/* Something was found wrong in it or below. NULL is fine. */
bool conf_node_broken(const struct conf_node *node);
/* "a, b, c", the names of the groups in upstreams; NULL: there is none. */
const char *conf_upstream_names(struct conf_reader *r);
/* In a pool of fake addresses. */
bool conf_in_pools(const struct config *c, const struct ip_addr *a);

/* The two that have files of their own. pools_good: the pools may be looked at. Rules come after
 * egresses. */
void conf_egresses_check(struct conf_reader *r, bool pools_good);
void conf_rules_check(struct conf_reader *r);

#endif
