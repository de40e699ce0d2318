/* What must hold within a rule, between rules, and between a rule and what it names. */
#include "conf/check.h"

#include <string.h>

static bool takes_all(const struct conf_rule *rule)
{
	if (rule->client.n || rule->n_types)
		return false;
	for (size_t i = 0; i < rule->domain.n; i++)
		if (rule->domain.v[i] && strcmp(rule->domain.v[i], ".") == 0)
			return true;
	return rule->domain.n == 0 && rule->n_lists == 0;
}

/* An empty list of conditions would match everything, which is not what "client: []" looks like. */
static void conditions_check(struct conf_reader *r, struct conf_node *node)
{
	static const char *const keys[] = {"domain", "list", "client", "type"};

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		struct conf_node *value = conf_node_get(node, keys[i]);

		if (value && !value->bad &&
			(value->null || (value->kind == CONF_NODE_LIST && value->n == 0)))
			conf_error(r, value, "no such key, to match everything", "has no entry");
	}
}

/* A direct egress needs the real address, found from where its traffic leaves. seen: of each
 * egress, for all rules, so that this is told once and no circle of groups holds us. */
static void egress_resolves(
	struct conf_reader *r, int egress, const struct conf_rule *rule, uint8_t *seen)
{
	const struct conf_egress *e = &r->config->egresses[egress];
	struct conf_node *node = conf_item_node(r, "egress", (size_t)egress);

	if (seen[egress] || !node || conf_node_broken(node))
		return;
	seen[egress] = 1;
	if (e->type == CONF_EGRESS_DIRECT && e->upstream < 0) {
		conf_say(r, CONF_ERROR, node, "upstream", conf_upstream_names(r),
			"is missing; the rule %s answers fake with it",
			conf_quote(r, rule->name ? rule->name : ""));
		node->bad = true;
	}
	for (size_t i = 0; e->type == CONF_EGRESS_GROUP && i < e->n_of; i++)
		egress_resolves(r, e->of[i], rule, seen);
}

/* HTTPS records that are rewritten come from an upstream, and not from just any. */
static void rewrite_check(
	struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	const struct conf_egress *e = &r->config->egresses[rule->egress];
	struct conf_node *at = conf_item_node(r, "egress", (size_t)rule->egress);

	if (r->config->fakeip.https != CONF_HTTPS_REWRITE || e->upstream >= 0 ||
		e->type == CONF_EGRESS_REJECT || conf_node_get(node, "upstream") || !at ||
		conf_node_broken(at))
		return;
	conf_say(r, CONF_ERROR, at, "upstream", conf_upstream_names(r),
		"is missing; fakeip.https: rewrite needs it for the rule %s",
		conf_quote(r, rule->name ? rule->name : ""));
	at->bad = true;
}

static void fake_check(
	struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node, uint8_t *seen)
{
	const struct config *c = r->config;
	struct conf_node *egress = conf_node_get(node, "egress");

	if (!egress)
		conf_say(r, CONF_ERROR, node, "egress", c->n_egresses ? NULL : "a name in egress",
			"is missing; answer: fake needs a way for the traffic");
	if (c->fakeip.pool4.addr.family == IP_NONE && c->fakeip.pool6.addr.family == IP_NONE &&
		!conf_node_broken(conf_node_get(r->root, "fakeip")))
		conf_error(r, conf_node_get(node, "answer"), "real, block",
			"fakeip.pool4 and fakeip.pool6 are both off");
	if (!conf_node_good(egress))
		return;
	egress_resolves(r, rule->egress, rule, seen);
	rewrite_check(r, rule, node);
}

static void unless_item_check(struct conf_reader *r, const struct conf_rule *rule,
	struct conf_unless *u, struct conf_node *node, uint8_t *seen)
{
	const struct config *c = r->config;
	struct conf_node *egress = conf_node_get(node, "egress");
	struct conf_node *upstream = conf_node_get(node, "upstream");
	const struct conf_egress *e;

	if (!conf_node_good(egress) || (upstream && !conf_node_good(upstream)))
		return;
	e = &c->egresses[u->egress];
	if (u->egress == rule->egress)
		conf_warning(r, egress, "is the rule's own egress, which is taken anyway");
	if (!upstream)
		u->upstream = e->upstream;
	if (u->upstream < 0) {
		if (!conf_node_broken(conf_item_node(r, "egress", (size_t)u->egress)))
			conf_say(r, CONF_ERROR, node, "upstream", conf_upstream_names(r),
				"is missing; the egress %s has none", conf_quote(r, e->name));
		return;
	}
	/* With a group of its own, a direct egress goes where that has found the name to be. */
	if (e->type != CONF_EGRESS_DIRECT)
		egress_resolves(r, u->egress, rule, seen);
	conf_say(r, CONF_NOTE, upstream ? upstream : node, NULL, NULL,
		"every name of the rule is asked at %s",
		conf_quote(r, c->upstreams[u->upstream].name));
}

static void unless_check(
	struct conf_reader *r, struct conf_rule *rule, struct conf_node *node, uint8_t *seen)
{
	struct conf_node *unless = conf_node_get(node, "unless");

	if (!conf_node_good(unless))
		return;
	if (rule->answer != CONF_ANSWER_FAKE) {
		conf_say_key(r, unless, "with answer: fake", "needs a fake answer");
		return;
	}
	for (size_t i = 0; i < rule->n_unless; i++)
		unless_item_check(r, rule, &rule->unless[i], conf_value_node(unless, i), seen);
}

/* Of a rule that answers with real addresses. */
static void carry_check(struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	struct conf_node *carry = conf_node_get(node, "carry");
	struct conf_node *egress = conf_node_get(node, "egress");
	const struct conf_egress *e;

	if (!conf_node_good(carry) || (egress && !conf_node_good(egress)))
		return;
	e = egress ? &r->config->egresses[rule->egress] : NULL;
	if (!e || (e->type == CONF_EGRESS_DIRECT && !e->mark.mask &&
			  !conf_node_broken(conf_item_node(r, "egress", (size_t)rule->egress))))
		conf_warning(r, carry,
			"has no effect: the rule has no egress that is a proxy or has a mark");
}

/* What a rule says beside its answer and what never comes to pass. */
static void idle_check(struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	static const char *const keys[] = {
		"egress", "upstream", "nftset", "ipset", "set_ttl", "carry"};
	bool fake = rule->answer == CONF_ANSWER_FAKE;

	for (size_t i = fake ? 2 : 0; i < sizeof keys / sizeof keys[0]; i++) {
		struct conf_node *value = conf_node_get(node, keys[i]);

		if (conf_node_good(value))
			conf_warning(
				r, value, "has no effect with answer: %s", fake ? "fake" : "block");
	}
}

static void upstream_fill(struct conf_reader *r, struct conf_rule *rule, struct conf_node *node)
{
	const struct config *c = r->config;
	struct conf_node *own = conf_node_get(node, "upstream");
	struct conf_node *egress = conf_node_get(node, "egress");
	int of_egress = conf_node_good(egress) && rule->egress >= 0
				? c->egresses[rule->egress].upstream
				: -1;

	if ((own && !conf_node_good(own)) || (egress && !conf_node_good(egress)))
		return;
	if (own && of_egress >= 0 && of_egress != rule->upstream &&
		!conf_node_broken(conf_item_node(r, "egress", (size_t)rule->egress)))
		conf_warning(r, own,
			"is not the upstream of the egress %s, which is %s: names may be resolved "
			"for another place than the traffic leaves from",
			c->egresses[rule->egress].name, c->upstreams[of_egress].name);
	if (!own)
		rule->upstream = of_egress >= 0 ? of_egress : c->default_upstream;
	if (rule->upstream < 0 && rule->answer == CONF_ANSWER_REAL)
		conf_say(r, CONF_ERROR, node, "upstream", "a name in upstreams",
			"is missing; answer: real needs a group to ask, and upstreams has none");
}

static void rule_check(struct conf_reader *r, size_t i, struct conf_node *node, uint8_t *seen)
{
	struct config *c = r->config;
	struct conf_rule *rule = &c->rules[i];
	struct conf_node *answer = conf_node_get(node, "answer");
	struct conf_node *name = conf_node_get(node, "name");

	for (size_t j = 0; conf_node_good(name) && j < i; j++)
		if (c->rules[j].name && strcmp(c->rules[j].name, rule->name) == 0)
			conf_error(r, name, "a name that no other rule has",
				"is there twice, first in line %u", c->rules[j].line);
	conditions_check(r, node);
	if (!conf_node_good(answer))
		return;
	if (rule->answer == CONF_ANSWER_FAKE)
		fake_check(r, rule, node, seen);
	if (rule->answer != CONF_ANSWER_REAL)
		idle_check(r, rule, node);
	else
		carry_check(r, rule, node);
	unless_check(r, rule, node, seen);
	if (rule->answer == CONF_ANSWER_BLOCK)
		rule->upstream = -1;
	else
		upstream_fill(r, rule, node);
}

void conf_rules_check(struct conf_reader *r)
{
	struct config *c = r->config;
	struct conf_node *node = conf_node_at(conf_node_get(r->root, "rules"), 0);
	struct conf_node *all = NULL;
	const char *all_name = NULL;
	uint8_t *seen = arena_alloc(r->scratch, c->n_egresses + 1);

	if (!seen)
		return;
	for (size_t i = 0; i < c->n_rules; i++, node = node->next) {
		if (node->kind != CONF_NODE_MAP || node->bad)
			continue;
		rule_check(r, i, node, seen);
		if (all)
			conf_warning(r, node, "is never reached: the rule %s takes every name",
				conf_quote(r, all_name));
		else if (!conf_node_broken(node) && takes_all(&c->rules[i])) {
			all = node;
			all_name = c->rules[i].name ? c->rules[i].name : "";
		}
	}
	if (all || conf_node_broken(conf_node_get(r->root, "rules")))
		return;
	if (!conf_node_get(r->root, "upstreams"))
		conf_say(r, CONF_WARNING, r->root, "upstreams", NULL,
			"is missing: names that no rule takes get no answer");
	else if (!conf_node_get(r->root, "default") && c->n_upstreams)
		conf_say(r, CONF_WARNING, r->root, "default", NULL,
			"is missing, and no rule takes every name: other names are asked at %s, "
			"the first group",
			conf_quote(r, c->upstreams[0].name));
}
