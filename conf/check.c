/* What must hold between options: the gateway, the pools, addresses and marks. */
#include "conf/check.h"

#include <string.h>

/* The node to point at for section.key: the value, the section, or the file. */
static struct conf_node *place_of(struct conf_reader *r, const char *section, const char *key)
{
	struct conf_node *s = conf_node_get(r->root, section);
	struct conf_node *k = conf_node_get(s, key);

	return k ? k : s ? s : r->root;
}

struct conf_node *conf_item_node(struct conf_reader *r, const char *section, size_t i)
{
	return conf_node_at(conf_node_get(r->root, section), i);
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

/* A mark on packets of ours: the relay must not take them for traffic that users send to it. */
static void own_mark_check(
	struct conf_reader *r, struct conf_node *node, const struct conf_mark *mark)
{
	const struct conf_mark *relay = &r->config->gateway.relay_mark;
	struct conf_node *relay_node =
		conf_node_get(conf_node_get(r->root, "gateway"), "relay_mark");

	mark_check(r, node, mark);
	if (conf_node_good(node) && conf_node_good(relay_node) &&
		(mark->value & relay->mask) == relay->value)
		conf_error(r, node, NULL,
			"has the bits of gateway.relay_mark (line %u): the relay would take its "
			"own packets",
			relay_node->line);
}

struct conf_node *conf_value_node(struct conf_node *node, size_t i)
{
	return node && node->kind == CONF_NODE_LIST ? conf_node_at(node, i) : node;
}

/* A packet that one of our own ways marks must not pass for an exempt one. */
static void exempt_marks_check(struct conf_reader *r, struct conf_node *marks)
{
	const struct conf_gateway *g = &r->config->gateway;
	uint32_t ways = own_bits(r->config) & ~g->mark.mask;

	for (size_t i = 0; i < g->exempt.n_mark; i++) {
		struct conf_node *node = conf_value_node(marks, i);

		if (conf_node_good(node) && (g->exempt.mark[i].mask & ways))
			conf_error(r, node, arena_printf(r->scratch, "bits of 0x%08x", ~ways),
				"the bits 0x%x are the two above gateway.mark",
				g->exempt.mark[i].mask & ways);
	}
}

static void upstream_marks_check(
	struct conf_reader *r, const struct conf_upstream *u, struct conf_node *node)
{
	struct conf_node *servers = conf_node_get(node, "servers");

	own_mark_check(r, conf_node_get(node, "mark"), &u->mark);
	for (size_t i = 0; i < u->n_servers; i++)
		own_mark_check(
			r, conf_node_get(conf_value_node(servers, i), "mark"), &u->servers[i].mark);
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
	mark_check(r, conf_node_get(gateway, "relay_mark"), &c->gateway.relay_mark);
	for (size_t i = 0; i < c->n_upstreams; i++)
		upstream_marks_check(r, &c->upstreams[i], conf_item_node(r, "upstreams", i));
	for (size_t i = 0; i < c->n_egresses; i++)
		own_mark_check(r, conf_node_get(conf_item_node(r, "egress", i), "mark"),
			&c->egresses[i].mark);
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
		struct conf_node *node = conf_value_node(lan, i);

		if (conf_node_good(node) && c->gateway.tun &&
			interface_matches(c->gateway.lan.v[i], c->gateway.tun))
			conf_error(r, node, NULL, "takes in %s, the gateway's own TUN device",
				conf_quote(r, c->gateway.tun));
	}
	if (!c->n_listen && !conf_node_broken(gateway) &&
		!conf_node_broken(conf_node_get(r->root, "listen")) &&
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

bool conf_in_pools(const struct config *c, const struct ip_addr *a)
{
	return ip_prefix_contains(&c->fakeip.pool4, a) || ip_prefix_contains(&c->fakeip.pool6, a);
}

bool conf_same_place(const struct ip_port *a, const struct ip_port *b)
{
	return a->port == b->port && a->scope == b->scope && ip_addr_equal(&a->addr, &b->addr);
}

static void listeners_check(struct conf_reader *r, bool pools_good)
{
	const struct config *c = r->config;
	struct conf_node *listen = conf_node_get(r->root, "listen");

	for (size_t i = 0; i < c->n_listen; i++) {
		struct conf_node *node = conf_value_node(listen, i);

		if (conf_node_good(node) && pools_good && conf_in_pools(c, &c->listen[i].at.addr))
			conf_error(r, node, NULL, "lies in a pool of fake addresses");
		for (size_t j = 0; j < i && conf_node_good(node); j++)
			if (c->listen[j].transport == c->listen[i].transport &&
				conf_same_place(&c->listen[j].at, &c->listen[i].at))
				conf_error(r, node, NULL, "is there twice, first in line %u",
					c->listen[j].line);
	}
}

/* Options of fakeip that another one makes idle. */
static void unused_check(struct conf_reader *r, struct conf_node *fakeip)
{
	const struct conf_fakeip *f = &r->config->fakeip;
	struct conf_node *ech = conf_node_get(fakeip, "ech"), *sync = conf_node_get(fakeip, "sync");
	struct conf_node *https = conf_node_get(fakeip, "https");
	struct conf_node *store = conf_node_get(fakeip, "store");

	if (conf_node_good(ech) && f->https == CONF_HTTPS_EMPTY && !conf_node_broken(https))
		conf_warning(r, ech, "has no effect with https: empty");
	if (conf_node_good(sync) && conf_node_good(store) && !f->store[0])
		conf_warning(r, sync, "has no effect with store: \"\"");
}

static void leases_check(struct conf_reader *r)
{
	struct conf_node *leases = conf_node_get(r->root, "leases");
	struct conf_node *files = conf_node_get(leases, "files");

	if (!leases || leases->kind != CONF_NODE_MAP || leases->bad || r->config->leases.files.n)
		return;
	if (!files)
		conf_say(r, CONF_ERROR, leases, "files", "a path", "is missing");
	else if (!conf_node_broken(files))
		conf_error(r, files, "a path", "is empty");
}

static void fakeip_check(struct conf_reader *r)
{
	const struct config *c = r->config;
	struct ip_prefix ula, *p6 = &r->config->fakeip.pool6;
	struct conf_node *fakeip = conf_node_get(r->root, "fakeip");
	bool pools_good;

	pool_check(r, "pool4", &c->fakeip.pool4);
	pool_check(r, "pool6", &c->fakeip.pool6);
	pools_good = !conf_node_broken(fakeip);
	listeners_check(r, pools_good);
	conf_egresses_check(r, pools_good);
	conf_upstreams_check(r, pools_good);
	unused_check(r, fakeip);
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

const char *conf_upstream_names(struct conf_reader *r, const struct conf_upstream *but)
{
	const struct config *c = r->config;
	char *text = NULL;

	for (size_t i = 0; i < c->n_upstreams && i < 32; i++)
		if (&c->upstreams[i] != but)
			text = arena_printf(r->scratch, "%s%s%.40s", text ? text : "",
				text ? ", " : "", c->upstreams[i].name);
	return text;
}

/* What {hits: N} alone means, as the man page says. */
enum { PREFETCH_PERCENT = 20 };

/* Each of these is written whole in the place of what is there. */
static void cache_store_check(struct conf_reader *r, struct conf_node *store)
{
	const struct config *c = r->config;
	const struct {
		const char *key, *path;
	} others[] = {{"fakeip.store", c->fakeip.store}, {"records.store", c->records.store}};

	if (!conf_node_good(store) || !c->cache.store || !c->cache.store[0])
		return;
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		if (others[i].path && strcmp(c->cache.store, others[i].path) == 0)
			conf_error(r, store, "a file of its own", "is the file of %s, too",
				others[i].key);
}

static void cache_check(struct conf_reader *r)
{
	struct conf_cache *cache = &r->config->cache;
	struct conf_node *node = conf_node_get(r->root, "cache");
	struct conf_node *min = conf_node_get(node, "min_ttl"),
			 *max = conf_node_get(node, "max_ttl");
	struct conf_node *prefetch = conf_node_get(node, "prefetch");
	struct conf_node *every = conf_node_get(node, "store_every");

	conf_ttl_check(r, min, max, cache->min_ttl_s, cache->max_ttl_s);
	if (prefetch && prefetch->kind == CONF_NODE_MAP && !conf_node_get(prefetch, "share"))
		cache->prefetch_percent = PREFETCH_PERCENT;
	if (conf_node_good(every) && cache->store && !cache->store[0])
		conf_warning(r, every, "has no effect without store");
	cache_store_check(r, conf_node_get(node, "store"));
}

void conf_ttl_check(struct conf_reader *r, struct conf_node *min, struct conf_node *max,
	uint32_t min_s, uint32_t max_s)
{
	struct conf_node *node = min ? min : max;

	if ((min && !conf_node_good(min)) || (max && !conf_node_good(max)) || !node ||
		min_s <= max_s)
		return;
	if (min)
		conf_error(r, min, arena_printf(r->scratch, "%us at most", max_s),
			"is more than the longest, %us", max_s);
	else
		conf_error(r, max, arena_printf(r->scratch, "%us at least", min_s),
			"is less than the shortest, %us", min_s);
}

void conf_check(struct conf_reader *r)
{
	if (r->root->bad)
		return;
	if (r->config->default_upstream < 0 && r->config->n_upstreams)
		r->config->default_upstream = 0;
	marks_check(r);
	gateway_check(r);
	fakeip_check(r);
	cache_check(r);
	leases_check(r);
	r->config->records.from = r->config->path;
	conf_clients_check(r);
	conf_rules_check(r);
	conf_checks_check(r);
	conf_lists_check(r);
	conf_exposed_check(r);
}
