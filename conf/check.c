/* What must hold between options. Each check looks only at values whose nodes are good, so that
 * nothing is said about the consequence of a mistake that was told already. */
#include "conf/conf_internal.h"

#include <string.h>

/* The node to point at for section.key: the value, the section, or the file. */
static struct conf_node *place_of(struct conf_reader *r, const char *section, const char *key)
{
	struct conf_node *s = conf_node_get(r->root, section);
	struct conf_node *k = conf_node_get(s, key);

	return k ? k : s ? s : r->root;
}

static struct conf_node *item_of(struct conf_reader *r, const char *section, size_t i)
{
	return conf_node_at(conf_node_get(r->root, section), i);
}

static bool broken(const struct conf_node *node)
{
	if (!node)
		return false;
	if (node->bad)
		return true;
	for (const struct conf_node *c = node->first; c; c = c->next)
		if (broken(c))
			return true;
	return false;
}

/* Bits of the gateway's mark and of the ways in, which are the two above. 0: not known. */
static uint32_t own_bits(const struct config *c)
{
	unsigned top =
		c->gateway.mark.mask ? 31 - (unsigned)__builtin_clz(c->gateway.mark.mask) : 31;

	return top > 29 ? 0 : c->gateway.mark.mask | (uint32_t)3 << (top + 1);
}

static void mark_check(struct conf_reader *r, struct conf_node *node, const struct conf_mark *mark)
{
	uint32_t own = own_bits(r->config), both = own & mark->mask;

	if (!conf_node_good(node) || !both)
		return;
	conf_error(r, node, arena_printf(r->scratch, "bits of 0x%08x", ~own),
		"the bits 0x%x are those of gateway.mark or of the two above it", both);
}

/* The node of the i-th value of an option that takes a list or one value. */
static struct conf_node *value_of(struct conf_node *node, size_t i)
{
	return node && node->kind == CONF_NODE_LIST ? conf_node_at(node, i) : node;
}

/* A packet that one of our own ways marks must not pass for an exempt one. */
static void exempt_marks_check(struct conf_reader *r, struct conf_node *marks)
{
	const struct conf_gateway *g = &r->config->gateway;
	uint32_t ways = own_bits(r->config) & ~g->mark.mask;

	for (size_t i = 0; i < g->exempt.n_mark; i++) {
		struct conf_node *node = value_of(marks, i);

		if (conf_node_good(node) && (g->exempt.mark[i].mask & ways))
			conf_error(r, node, arena_printf(r->scratch, "bits of 0x%08x", ~ways),
				"the bits 0x%x are the two above gateway.mark",
				g->exempt.mark[i].mask & ways);
	}
}

static void marks_check(struct conf_reader *r)
{
	const struct config *c = r->config;
	struct conf_node *gateway = conf_node_get(r->root, "gateway");
	struct conf_node *own = conf_node_get(gateway, "mark");

	if (own && own->bad)
		return;
	if (own && !own_bits(c)) {
		conf_error(r, own, "a mask below 0x40000000",
			"the mask leaves less than two bits above it, which mark the ways in");
		return;
	}
	exempt_marks_check(r, conf_node_get(conf_node_get(gateway, "exempt"), "mark"));
	for (size_t i = 0; i < c->n_upstreams; i++)
		mark_check(r, conf_node_get(item_of(r, "upstreams", i), "mark"),
			&c->upstreams[i].mark);
	for (size_t i = 0; i < c->n_egresses; i++)
		mark_check(r, conf_node_get(item_of(r, "egress", i), "mark"), &c->egresses[i].mark);
}

static bool interface_matches(const char *pattern, const char *name)
{
	size_t n = strcspn(pattern, "*");

	return pattern[n] ? strncmp(pattern, name, n) == 0 : strcmp(pattern, name) == 0;
}

static void gateway_check(struct conf_reader *r)
{
	const struct config *c = r->config;
	struct conf_node *gateway = conf_node_get(r->root, "gateway");
	struct conf_node *lan = conf_node_get(gateway, "lan");

	for (size_t i = 0; i < c->gateway.lan.n; i++) {
		struct conf_node *node = value_of(lan, i);

		if (conf_node_good(node) && c->gateway.tun &&
			interface_matches(c->gateway.lan.v[i], c->gateway.tun))
			conf_error(r, node, NULL, "takes in %s, the gateway's own TUN device",
				conf_quote(r, c->gateway.tun));
	}
	if (!c->n_listen && !broken(gateway) && !broken(conf_node_get(r->root, "listen")) &&
		(c->gateway.intercept == CONF_INTERCEPT_OFF ||
			(c->gateway.lan.n == 0 && !c->gateway.self)))
		conf_warning(r, place_of(r, "gateway", "intercept"),
			"nobody is answered: nothing is intercepted and nothing is in listen");
}

static bool prefix_of(const char *text, struct ip_prefix *ret)
{
	return ip_prefix_parse(text, ret) == 0;
}

static void pool_check(struct conf_reader *r, const char *key, const struct ip_prefix *pool)
{
	static const struct {
		const char *prefix, *what;
	} reserved[] = {{"0.0.0.0/8", "this network"}, {"127.0.0.0/8", "loopback"},
		{"169.254.0.0/16", "link-local"}, {"224.0.0.0/4", "multicast"},
		{"255.255.255.255", "broadcast"}, {"::/127", "loopback"},
		{"fe80::/10", "link-local"}, {"ff00::/8", "multicast"}};
	struct conf_node *node = conf_node_get(conf_node_get(r->root, "fakeip"), key);
	struct ip_prefix p;

	if (!conf_node_good(node) || pool->addr.family == IP_NONE)
		return;
	for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
		if (prefix_of(reserved[i].prefix, &p) && ip_prefix_overlaps(&p, pool)) {
			conf_error(r, node, NULL, "overlaps %s, %s", reserved[i].prefix,
				reserved[i].what);
			return;
		}
}

static bool in_pools(const struct config *c, const struct ip_addr *a)
{
	return ip_prefix_contains(&c->fakeip.pool4, a) || ip_prefix_contains(&c->fakeip.pool6, a);
}

static bool same_place(const struct conf_endpoint *a, const struct conf_endpoint *b)
{
	return a->at.port == b->at.port && a->at.scope == b->at.scope &&
	       ip_addr_equal(&a->at.addr, &b->at.addr);
}

static void listeners_check(struct conf_reader *r, bool pools_good)
{
	const struct config *c = r->config;
	struct conf_node *listen = conf_node_get(r->root, "listen");

	for (size_t i = 0; i < c->n_listen; i++) {
		struct conf_node *node = value_of(listen, i);

		if (conf_node_good(node) && pools_good && in_pools(c, &c->listen[i].at.addr))
			conf_error(r, node, NULL, "lies in a pool of fake addresses");
		for (size_t j = 0; j < i && conf_node_good(node); j++)
			if (c->listen[j].transport == c->listen[i].transport &&
				same_place(&c->listen[j], &c->listen[i]))
				conf_error(r, node, NULL, "is there twice, first in line %u",
					c->listen[j].line);
	}
}

static void servers_check(struct conf_reader *r, size_t upstream, bool pools_good)
{
	const struct config *c = r->config;
	const struct conf_upstream *u = &c->upstreams[upstream];
	struct conf_node *servers = conf_node_get(item_of(r, "upstreams", upstream), "servers");
	bool listen_good = !broken(conf_node_get(r->root, "listen"));

	for (size_t i = 0; i < u->n_servers; i++) {
		struct conf_node *node = value_of(servers, i);

		if (conf_node_good(node) && pools_good && in_pools(c, &u->servers[i].at.addr))
			conf_error(r, node, NULL, "lies in a pool of fake addresses");
		for (size_t j = 0; j < c->n_listen && listen_good && conf_node_good(node); j++)
			if (same_place(&c->listen[j], &u->servers[i]))
				conf_error(r, node, NULL,
					"is in listen too (line %u): the gateway would ask itself",
					c->listen[j].line);
	}
}

static void fakeip_check(struct conf_reader *r)
{
	const struct config *c = r->config;
	struct ip_prefix ula, *p6 = &r->config->fakeip.pool6;
	struct conf_node *fakeip = conf_node_get(r->root, "fakeip");
	bool pools_good;

	pool_check(r, "pool4", &c->fakeip.pool4);
	pool_check(r, "pool6", &c->fakeip.pool6);
	pools_good = !broken(fakeip);
	listeners_check(r, pools_good);
	for (size_t i = 0; i < c->n_upstreams; i++)
		servers_check(r, i, pools_good);
	if (!pools_good || p6->addr.family == IP_NONE)
		return;
	if (prefix_of("fc00::/7", &ula) && ip_prefix_overlaps(&ula, p6))
		conf_say(r, CONF_NOTE, place_of(r, "fakeip", "pool6"),
			conf_node_get(fakeip, "pool6") ? NULL
			: fakeip		       ? "pool6"
						       : "fakeip.pool6",
			NULL,
			"Chromium's Local Network Access takes fc00::/7 for local, but the usual "
			"pool4 for public, and may refuse a page that mixes them; 2001:2::/64 "
			"avoids "
			"that");
	if (c->fakeip.pool4.addr.family != IP_NONE && 128 - p6->len < 32 - c->fakeip.pool4.len)
		conf_say(r, CONF_NOTE, place_of(r, "fakeip", "pool6"), NULL, NULL,
			"is smaller than pool4, the rest of which is not used");
}

static const char *upstream_names(struct conf_reader *r)
{
	const struct config *c = r->config;
	char *text = NULL;

	for (size_t i = 0; i < c->n_upstreams && i < 32; i++)
		text = arena_printf(r->scratch, "%s%s%.40s", text ? text : "", text ? ", " : "",
			c->upstreams[i].name);
	return text;
}

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

static void fake_check(struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	const struct config *c = r->config;
	struct conf_node *egress = conf_node_get(node, "egress");

	if (!egress)
		conf_say(r, CONF_ERROR, node, "egress", c->n_egresses ? NULL : "a name in egress",
			"is missing; answer: fake needs a way for the traffic");
	if (c->fakeip.pool4.addr.family == IP_NONE && c->fakeip.pool6.addr.family == IP_NONE &&
		!broken(conf_node_get(r->root, "fakeip")))
		conf_error(r, conf_node_get(node, "answer"), "real, block",
			"fakeip.pool4 and fakeip.pool6 are both off");
	if (conf_node_good(egress) && c->egresses[rule->egress].upstream < 0) {
		struct conf_node *at = item_of(r, "egress", (size_t)rule->egress);

		if (at && !broken(at)) {
			conf_say(r, CONF_ERROR, at, "upstream", upstream_names(r),
				"is missing; the rule %s answers fake with it",
				conf_quote(r, rule->name ? rule->name : ""));
			at->bad = true; /* told once for all rules */
		}
	}
}

/* What a rule says beside its answer and what never comes to pass. */
static void idle_check(struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	static const char *const keys[] = {"egress", "upstream", "nftset", "ipset", "set_ttl"};
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
		!broken(item_of(r, "egress", (size_t)rule->egress)))
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

static void rule_check(struct conf_reader *r, size_t i, struct conf_node *node)
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
		fake_check(r, rule, node);
	if (rule->answer != CONF_ANSWER_REAL)
		idle_check(r, rule, node);
	if (rule->answer == CONF_ANSWER_BLOCK)
		rule->upstream = -1;
	else
		upstream_fill(r, rule, node);
}

static void rules_check(struct conf_reader *r)
{
	struct config *c = r->config;
	struct conf_node *node = conf_node_at(conf_node_get(r->root, "rules"), 0);
	struct conf_node *all = NULL;
	const char *all_name = NULL;

	for (size_t i = 0; i < c->n_rules; i++, node = node->next) {
		if (node->kind != CONF_NODE_MAP || node->bad)
			continue;
		rule_check(r, i, node);
		if (all)
			conf_warning(r, node, "is never reached: the rule %s takes every name",
				conf_quote(r, all_name));
		else if (!broken(node) && takes_all(&c->rules[i])) {
			all = node;
			all_name = c->rules[i].name ? c->rules[i].name : "";
		}
	}
	if (all || broken(conf_node_get(r->root, "rules")))
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

static void upstreams_check(struct conf_reader *r)
{
	struct config *c = r->config;

	for (size_t i = 0; i < c->n_upstreams; i++) {
		struct conf_upstream *u = &c->upstreams[i];

		u->total_ms = u->timeout_ms > 5000 ? u->timeout_ms : 5000;
	}
	if (c->default_upstream < 0 && c->n_upstreams)
		c->default_upstream = 0;
}

void conf_check(struct conf_reader *r)
{
	if (r->root->bad)
		return;
	upstreams_check(r);
	marks_check(r);
	gateway_check(r);
	fakeip_check(r);
	rules_check(r);
}
