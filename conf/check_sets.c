/* What must hold between the sets of a rule, and how they are filled. */
#include "conf/check.h"

#include <string.h>

/* In the order of the option table, and so of conf_rule.sets. */
static const char *const keys[] = {"nftset", "nftmap", "ipset"};

enum { KEYS = sizeof keys / sizeof keys[0] };

bool conf_sets_broken(struct conf_node *rule)
{
	for (size_t i = 0; i < KEYS; i++)
		if (conf_node_broken(conf_node_get(rule, keys[i])))
			return true;
	return false;
}

static struct conf_node *set_node(struct conf_node *rule, size_t index)
{
	for (size_t i = 0; i < KEYS; i++) {
		struct conf_node *node = conf_node_get(rule, keys[i]);
		size_t n = !node || node->null ? 0 : node->kind == CONF_NODE_LIST ? node->n : 1;

		if (index < n)
			return conf_value_node(node, index);
		index -= n;
	}
	return NULL;
}

/* One address may be for both. */
static bool same_map(const struct conf_set *a, const struct conf_set *b)
{
	bool meet = a->family == b->family || a->family == IP_NONE || b->family == IP_NONE;

	return a->value && b->value && meet && a->nfproto == b->nfproto &&
	       strcmp(a->table, b->table) == 0 && strcmp(a->name, b->name) == 0;
}

/* A set that is there twice may have two times, a map two values. */
static void twice_check(struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	const char **texts = arena_array(r->scratch, rule->n_sets + 1, sizeof *texts);
	char buf[CONF_SET_TEXT_MAX];

	for (size_t i = 0; texts && i < rule->n_sets; i++) {
		const struct conf_set *set = &rule->sets[i];
		size_t j = 0;

		if (!set->name) /* `set` is missing, which was told */
			return;
		texts[i] = arena_strdup(r->scratch, conf_set_format(set, buf, sizeof buf));
		if (!texts[i])
			return;
		while (j < i && strcmp(texts[j], texts[i]) != 0 && !same_map(&rule->sets[j], set))
			j++;
		if (j == i)
			continue;
		if (strcmp(texts[j], texts[i]) == 0)
			conf_warning(r, set_node(node, i), "is there twice, first in line %u",
				set_node(node, j)->line);
		else
			conf_error(r, set_node(node, i), "one value a map",
				"the map has another value in line %u", set_node(node, j)->line);
	}
}

void conf_sets_check(struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	struct conf_node *conntrack = conf_node_get(node, "conntrack");
	struct conf_node *timeout = conf_node_get(node, "push_timeout");
	struct conf_node *on_error = conf_node_get(node, "on_error");
	struct conf_node *push = conf_node_get(node, "push");

	if (conf_sets_broken(node))
		return;
	twice_check(r, rule, node);
	if (conf_node_good(conntrack) && rule->conntrack == CONF_CONNTRACK_FORGET && !rule->n_sets)
		conf_error(r, conntrack, "with " CONF_SET_KEYS, "forget needs a set");
	if (!conf_node_good(push) || rule->push != CONF_PUSH_ASYNC)
		return;
	if (conf_node_good(timeout))
		conf_warning(r, timeout, "has no effect with push: async");
	if (conf_node_good(on_error) && rule->on_error == CONF_ON_ERROR_SERVFAIL)
		conf_warning(r, on_error, "has no effect with push: async");
}
