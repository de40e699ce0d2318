/* Which names can be read on the way: notes about rules whose names are asked at servers that are
 * neither encrypted nor reached through a proxy. A group hands names on to its fall-back and to
 * strict_to; what a rule asks there is said of the rule as well. */
#include "conf/check.h"

#include <string.h>

struct exposed {
	struct conf_reader *r;
	bool *plain; /* groups with such a server */
	/* Of groups and egresses: the rule that they were last looked at for, from 1; so each is
	 * told once of a rule. */
	size_t *groups, *egresses;
	size_t rule;
	const char *names; /* of the plain groups found for a place */
};

/* Gathers the names of plain groups that group leads to. Behind an encrypted one without downgrade,
 * what is not encrypted is left out. */
static void group_follow(struct exposed *x, int group)
{
	const struct config *c = x->r->config;

	while (group >= 0 && x->groups[group] != x->rule) {
		const struct conf_upstream *u = &c->upstreams[group];

		x->groups[group] = x->rule;
		if (x->plain[group])
			x->names = arena_printf(x->r->scratch, "%s%s%s", x->names ? x->names : "",
				x->names ? ", " : "", conf_quote(x->r, u->name));
		if (u->leak_strict)
			group_follow(x, u->strict_to);
		group = u->downgrade || !conf_upstream_is_encrypted(u) ? u->fallback : -1;
	}
}

static void place_tell(
	struct exposed *x, struct conf_node *node, const char *sub, const char *whose)
{
	if (x->names)
		conf_say(x->r, CONF_NOTE, node, sub, NULL,
			"%s are asked at %s, neither encrypted nor reached through a proxy", whose,
			x->names);
	x->names = NULL;
}

/* Where names of fake addresses are resolved: for the direct egresses that it leads to. */
static void egress_follow(struct exposed *x, int egress)
{
	const struct conf_egress *e = &x->r->config->egresses[egress];

	if (x->egresses[egress] == x->rule)
		return;
	x->egresses[egress] = x->rule;
	if (e->type == CONF_EGRESS_DIRECT)
		group_follow(x, e->upstream);
	for (size_t i = 0; e->type == CONF_EGRESS_GROUP && i < e->n_of; i++)
		egress_follow(x, e->of[i]);
}

/* Where fake names are asked all the same: all of them for HTTPS records that are rewritten, else
 * those that are excepted and whatever comes while the gateway stops. */
static void unfaked_follow(struct exposed *x, const struct conf_rule *rule)
{
	if (rule->egress >= 0)
		group_follow(x, x->r->config->egresses[rule->egress].upstream);
	group_follow(x, rule->upstream);
}

/* Where the names that a rule takes are asked, `unless` and what is not faked apart. */
static void taken_follow(struct exposed *x, const struct conf_rule *rule)
{
	if (rule->answer == CONF_ANSWER_FAKE && rule->egress >= 0)
		egress_follow(x, rule->egress);
	if (rule->answer == CONF_ANSWER_FAKE && x->r->config->fakeip.https == CONF_HTTPS_REWRITE)
		unfaked_follow(x, rule);
	if (rule->answer == CONF_ANSWER_REAL)
		group_follow(x, rule->upstream);
}

/* The names for which a check holds are asked where its rule asks, whose own conditions are not
 * looked at: it may take nothing else, or stand behind one that takes every name. */
static void checks_look(struct exposed *x, const struct conf_rule *rule, struct conf_node *node)
{
	for (size_t i = 0; i < rule->n_checks; i++) {
		const struct conf_check *check = &rule->checks[i];
		struct conf_node *rule_node = conf_node_get(conf_value_node(node, i), "rule");
		const struct conf_rule *target;

		if (!conf_node_good(rule_node))
			continue;
		target = &x->r->config->rules[check->rule];
		taken_follow(x, target);
		for (size_t j = 0; j < target->n_unless; j++)
			group_follow(x, target->unless[j].upstream);
		place_tell(x, rule_node, NULL, "names that the check holds for");
		if (target->answer == CONF_ANSWER_FAKE)
			unfaked_follow(x, target);
		place_tell(x, rule_node, NULL,
			"names that the check holds for and that are not faked (fakeip.except, "
			"gateway.lame_duck)");
	}
}

static void rule_look(struct exposed *x, const struct conf_rule *rule, struct conf_node *node)
{
	struct conf_node *place = conf_node_get(node, "upstream");
	struct conf_node *unless = conf_node_get(node, "unless");

	if (!place)
		place = conf_node_get(node, "egress");
	if (!place)
		place = node;
	taken_follow(x, rule);
	place_tell(x, place, NULL, "the names of the rule");
	for (size_t i = 0; i < rule->n_unless; i++) {
		struct conf_node *item = conf_value_node(unless, i);
		struct conf_node *upstream = conf_node_get(item, "upstream");

		group_follow(x, rule->unless[i].upstream);
		place_tell(x, upstream ? upstream : item, NULL, "the names of the rule");
	}
	checks_look(x, rule, conf_node_get(node, "check"));
	if (rule->answer == CONF_ANSWER_FAKE)
		unfaked_follow(x, rule);
	place_tell(x, place, NULL,
		"names of the rule that are not faked (fakeip.except, gateway.lame_duck)");
}

static void default_look(struct exposed *x)
{
	struct conf_reader *r = x->r;
	struct conf_node *node = conf_node_get(r->root, "default");
	struct conf_node *upstream = conf_node_get(node, "upstream");

	if (conf_node_broken(node))
		return;
	group_follow(x, r->config->default_upstream);
	if (upstream)
		place_tell(x, upstream, NULL, "names that no rule takes");
	else
		place_tell(x, node ? node : r->root, node ? "upstream" : "default",
			"names that no rule takes");
}

static void plain_find(struct exposed *x)
{
	const struct config *c = x->r->config;
	struct conf_node *node = conf_node_at(conf_node_get(x->r->root, "upstreams"), 0);

	for (size_t i = 0; i < c->n_upstreams && node; i++, node = node->next)
		x->plain[i] = !conf_node_broken(node) && conf_upstream_is_plain(&c->upstreams[i]) &&
			      !conf_egress_is_proxy(x->r, c->upstreams[i].via);
}

void conf_exposed_check(struct conf_reader *r)
{
	const struct config *c = r->config;
	struct conf_node *node = conf_node_at(conf_node_get(r->root, "rules"), 0);
	struct exposed x = {.r = r,
		.plain = arena_array(r->scratch, c->n_upstreams + 1, sizeof *x.plain),
		.groups = arena_array(r->scratch, c->n_upstreams + 1, sizeof *x.groups),
		.egresses = arena_array(r->scratch, c->n_egresses + 1, sizeof *x.egresses)};
	bool all = false;

	if (!x.plain || !x.groups || !x.egresses ||
		conf_node_broken(conf_node_get(r->root, "rules")))
		return;
	plain_find(&x);
	for (size_t i = 0; i < c->n_rules && node; i++, node = node->next) {
		x.rule++;
		if (node->kind != CONF_NODE_MAP || all)
			continue;
		rule_look(&x, &c->rules[i], node);
		all = conf_rule_takes_all(&c->rules[i]);
	}
	x.rule++;
	if (!all)
		default_look(&x);
}
