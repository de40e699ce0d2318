/* What must hold of a rule's conditions and between rules. */
#include "conf/check.h"

#include <string.h>

enum { ALSO_MAX = 64 }; /* one bit each where they are counted up */

static bool who_is_empty(const struct conf_who *who)
{
	return !who->prefixes.n && !who->n_macs && !who->hosts.n && !who->interfaces.n;
}

bool conf_rule_takes_all(const struct conf_rule *rule)
{
	if (!who_is_empty(&rule->client) || rule->not_client.n || rule->n_types ||
		rule->listeners || rule->n_to || rule->n_except_lists || rule->except_names.n ||
		rule->also)
		return false;
	for (size_t i = 0; i < rule->domain.n; i++)
		if (strcmp(rule->domain.v[i], ".") == 0)
			return true;
	return !rule->domain.n && !rule->unqualified && !rule->n_lists;
}

/* An empty list of conditions would match everything, which is not what "client: []" looks like. */
static void conditions_check(
	struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	static const char *const keys[] = {"domain", "list", "client", "type", "listener", "to"};
	struct conf_node *to = conf_node_get(node, "to");

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		struct conf_node *value = conf_node_get(node, keys[i]);

		if (value && !value->bad &&
			(value->null || (value->kind == CONF_NODE_LIST && value->n == 0)))
			conf_error(r, value, "no such key, to match everything", "has no entry");
	}
	if (conf_node_good(to) && !rule->domain.n && !rule->unqualified && !rule->n_lists)
		conf_say(r, CONF_NOTE, to, NULL, NULL,
			"no query has a destination: the rule is for traffic to real addresses "
			"alone");
}

static void rule_check(struct conf_reader *r, size_t i, struct conf_node *node, uint8_t *seen)
{
	struct config *c = r->config;
	struct conf_rule *rule = &c->rules[i];
	struct conf_node *name = conf_node_get(node, "name");

	for (size_t j = 0; conf_node_good(name) && j < i; j++)
		if (c->rules[j].name && strcmp(c->rules[j].name, rule->name) == 0)
			conf_error(r, name, "a name that no other rule has",
				"is there twice, first in line %u", c->rules[j].line);
	conditions_check(r, rule, node);
	conf_answer_check(r, rule, node, seen);
}

/* Names that no rule takes go to `default`. */
static void default_check(struct conf_reader *r)
{
	const struct config *c = r->config;

	if (!conf_node_get(r->root, "upstreams"))
		conf_say(r, CONF_WARNING, r->root, "upstreams", NULL,
			"is missing: names that no rule takes get no answer");
	else if (!conf_node_get(r->root, "default") && c->n_upstreams)
		conf_say(r, CONF_WARNING, r->root, "default", NULL,
			"is missing, and no rule takes every name: other names are asked at %s, "
			"the first group",
			conf_quote(r, c->upstreams[0].name));
}

/* Rules that the check of another one leads to, whatever stands before them. */
static void targets_find(const struct config *c, bool *targets)
{
	for (size_t i = 0; i < c->n_rules; i++)
		for (size_t j = 0; j < c->rules[i].n_checks; j++)
			if (c->rules[i].checks[j].rule >= 0)
				targets[c->rules[i].checks[j].rule] = true;
}

void conf_rules_check(struct conf_reader *r)
{
	struct config *c = r->config;
	struct conf_node *node = conf_node_at(conf_node_get(r->root, "rules"), 0);
	struct conf_node *all = NULL;
	const char *all_name = NULL;
	uint8_t *seen = arena_alloc(r->scratch, c->n_egresses + 1);
	bool *targets = arena_array(r->scratch, c->n_rules + 1, sizeof *targets);
	unsigned also = 0;

	if (!seen || !targets)
		return;
	targets_find(c, targets);
	for (size_t i = 0; i < c->n_rules; i++, node = node->next) {
		if (node->kind != CONF_NODE_MAP || node->bad)
			continue;
		rule_check(r, i, node, seen);
		if (c->rules[i].also && ++also == ALSO_MAX + 1)
			conf_error(r, conf_node_get(node, "also"), "64 at most",
				"more rules than that have also: yes");
		if (all && !targets[i])
			conf_warning(r, node, "is never reached: the rule %s takes every name",
				conf_quote(r, all_name));
		else if (!all && !conf_node_broken(node) && conf_rule_takes_all(&c->rules[i])) {
			all = node;
			all_name = c->rules[i].name ? c->rules[i].name : "";
		}
	}
	if (!all && !conf_node_broken(conf_node_get(r->root, "rules")))
		default_check(r);
}
