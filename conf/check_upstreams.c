/* What must hold within a group of servers, and between it and the groups that it names. */
#include "conf/check.h"

#include <string.h>

enum { TOTAL_MS = 5000 };

#define BIT(transport) (1U << CONF_##transport)
#define ENCRYPTED      (BIT(TLS) | BIT(HTTPS))
#define DATAGRAMS      (BIT(UDP) | BIT(DNS))
#define STREAMS	       (BIT(TCP) | BIT(DNS) | ENCRYPTED)

static const char *const schemes[] = {"udp://", "tcp://", "dns://", "tls://", "https://"};

/* Options of a server that not every transport has; strict: an error there. */
static const struct {
	const char *key;
	unsigned transports;
	bool strict;
	const char *allowed;
} server_options[] = {{"pin", ENCRYPTED, true, "with tls://, https://"},
	{"method", BIT(HTTPS), true, "with https://"}, {"max_queries", STREAMS, false, NULL},
	{"max_life", STREAMS, false, NULL}, {"idle", STREAMS, false, NULL}};

static size_t count_of(const struct conf_upstream *u, unsigned transports)
{
	size_t n = 0;

	for (size_t i = 0; i < u->n_servers; i++)
		n += (1U << u->servers[i].transport & transports) != 0;
	return n;
}

bool conf_upstream_is_encrypted(const struct conf_upstream *u)
{
	return count_of(u, ENCRYPTED) > 0;
}

bool conf_upstream_is_plain(const struct conf_upstream *u)
{
	return count_of(u, ENCRYPTED) < u->n_servers;
}

static void address_check(
	struct conf_reader *r, const struct conf_server *s, struct conf_node *node, bool pools_good)
{
	const struct config *c = r->config;
	bool listen_good = !conf_node_broken(conf_node_get(r->root, "listen"));

	if (s->host)
		return;
	if (pools_good && conf_in_pools(c, &s->at.addr))
		conf_error(r, node, NULL, "lies in a pool of fake addresses");
	for (size_t i = 0; i < c->n_listen && listen_good && conf_node_good(node); i++)
		if (conf_same_place(&c->listen[i].at, &s->at))
			conf_error(r, node, NULL,
				"is in listen too (line %u): the gateway would ask itself",
				c->listen[i].line);
}

static void bind_check(struct conf_reader *r, const struct conf_upstream *u,
	const struct conf_server *s, struct conf_node *bind)
{
	if (!conf_node_good(bind))
		return;
	if (!s->host && s->bind.address.family && s->bind.address.family != s->at.addr.family)
		conf_error(r, bind,
			s->at.addr.family == IP_V4 ? "an IPv4 address, an interface"
						   : "an IPv6 address, an interface",
			"is of the other family than the server");
	else if (conf_egress_is_proxy(r, u->via))
		conf_warning(r, bind, "has no effect: the proxy asks the server");
}

static void server_check(struct conf_reader *r, const struct conf_upstream *u,
	const struct conf_server *s, struct conf_node *node, bool pools_good)
{
	struct conf_node *url = node->kind == CONF_NODE_MAP ? conf_node_get(node, "url") : node;

	if (node->bad || !conf_node_good(url))
		return;
	address_check(r, s, url, pools_good);
	for (size_t i = 0; i < sizeof server_options / sizeof server_options[0]; i++) {
		struct conf_node *option = conf_node_get(node, server_options[i].key);

		if (!conf_node_good(option) || server_options[i].transports & 1U << s->transport)
			continue;
		if (server_options[i].strict)
			conf_say_key(r, option, server_options[i].allowed, "is no option of %s",
				schemes[s->transport]);
		else
			conf_warning(r, option, "has no effect with %s", schemes[s->transport]);
	}
	bind_check(r, u, s, conf_node_get(node, "bind"));
}

void conf_bootstrap_check(struct conf_reader *r, struct conf_node *bootstrap, int group)
{
	if (r->config->upstreams[group].leak_strict)
		conf_warning(r, bootstrap,
			"the name of the server is asked at %s whether its lists have it or not "
			"(leak: strict)",
			conf_quote(r, r->config->upstreams[group].name));
}

/* A name is resolved by a group, or by a proxy. */
static void bootstrap_check(
	struct conf_reader *r, const struct conf_upstream *u, struct conf_node *node)
{
	struct conf_node *bootstrap = conf_node_get(node, "bootstrap");
	struct conf_node *via = conf_node_get(node, "via");
	bool by_proxy = conf_egress_is_proxy(r, u->via);
	const char *host = NULL;

	for (size_t i = 0; i < u->n_servers && !host; i++)
		host = u->servers[i].host;
	if (conf_node_broken(conf_node_get(node, "servers")) || (via && !conf_node_good(via)))
		return;
	if (host && !by_proxy && !bootstrap) {
		const char *others = conf_upstream_names(r, u);

		conf_say(r, CONF_ERROR, node, "bootstrap",
			others ? others : "a group of servers that are given by address",
			"is missing; it resolves the server's name %s", conf_quote(r, host));
		node->bad = true;
	}
	if (!conf_node_good(bootstrap))
		return;
	if (!host)
		conf_warning(r, bootstrap, "has no effect: no server is given by name");
	else if (by_proxy)
		conf_warning(
			r, bootstrap, "has no effect: the proxy resolves the names of servers");
	else
		conf_bootstrap_check(r, bootstrap, u->bootstrap);
}

static void via_check(struct conf_reader *r, const struct conf_upstream *u, struct conf_node *node)
{
	struct conf_node *via = conf_node_get(node, "via");
	struct conf_node *egress;

	if (!conf_node_good(via))
		return;
	egress = conf_node_get(conf_item_node(r, "egress", (size_t)u->via), "type");
	if (!conf_node_good(egress))
		return;
	if (r->config->egresses[u->via].type == CONF_EGRESS_REJECT)
		conf_error(r, via, "an egress of another type", "nothing leaves by the egress %s",
			conf_quote(r, r->config->egresses[u->via].name));
	else if (count_of(u, DATAGRAMS) && conf_egress_is_proxy(r, u->via))
		conf_say(r, CONF_NOTE, via, NULL, NULL,
			"through a proxy, udp:// and dns:// go over TCP");
}

/* The fall-back of an encrypted group, as far as it is not. */
static void downgrade_check(
	struct conf_reader *r, const struct conf_upstream *u, struct conf_node *node)
{
	const struct conf_upstream *to = &r->config->upstreams[u->fallback];
	struct conf_node *fallback = conf_node_get(node, "fallback");
	const char *name = conf_quote(r, to->name);

	if (u->downgrade || !conf_upstream_is_plain(to) || !conf_upstream_is_encrypted(u))
		return;
	if (!conf_upstream_is_encrypted(to))
		conf_error(r, fallback, "a group with tls:// or https://, or downgrade: yes",
			"no server of %s is encrypted, as servers of this group are", name);
	else
		conf_warning(r, fallback,
			"the unencrypted servers of %s are never asked without downgrade: yes",
			name);
}

static void fallback_check(
	struct conf_reader *r, const struct conf_upstream *u, struct conf_node *node)
{
	struct conf_node *fallback = conf_node_get(node, "fallback");
	struct conf_node *downgrade = conf_node_get(node, "downgrade");
	struct conf_node *to_node;

	if (!fallback && conf_node_good(downgrade))
		conf_warning(r, downgrade, "has no effect without fallback");
	if (!conf_node_good(fallback))
		return;
	to_node = conf_item_node(r, "upstreams", (size_t)u->fallback);
	if (conf_node_broken(to_node))
		return;
	if (r->config->upstreams[u->fallback].leak_strict)
		conf_error(r, fallback, "a group without leak: strict",
			"%s takes only names of its lists (leak: strict)",
			conf_quote(r, r->config->upstreams[u->fallback].name));
	else if (!conf_node_broken(conf_node_get(node, "servers")) &&
		 !(downgrade && downgrade->bad))
		downgrade_check(r, u, node);
}

static void strict_check(
	struct conf_reader *r, const struct conf_upstream *u, struct conf_node *node)
{
	struct conf_node *leak = conf_node_get(node, "leak");
	struct conf_node *lists = conf_node_get(node, "lists");
	struct conf_node *to = conf_node_get(node, "strict_to");

	if (!lists || (!lists->bad && !u->n_lists))
		conf_say(r, CONF_ERROR, lists ? lists : node, lists ? NULL : "lists",
			"names in lists", "%s; leak: strict says which names may be asked",
			lists ? "is empty" : "is missing");
	if (!to)
		conf_say(r, CONF_NOTE, leak, NULL, NULL,
			"names that are not in lists get SERVFAIL, for strict_to is missing");
	if (!conf_node_good(to))
		return;
	if (u == &r->config->upstreams[u->strict_to])
		conf_error(r, to, "another group", "is the group itself");
	else if (r->config->upstreams[u->strict_to].leak_strict)
		conf_error(r, to, "a group without leak: strict",
			"%s takes only names of its lists, too (leak: strict)",
			conf_quote(r, r->config->upstreams[u->strict_to].name));
}

static void leak_check(struct conf_reader *r, const struct conf_upstream *u, struct conf_node *node)
{
	static const char *const keys[] = {"lists", "strict_to"};
	struct conf_node *leak = conf_node_get(node, "leak");

	if (leak && leak->bad)
		return;
	if (u->leak_strict) {
		strict_check(r, u, node);
		return;
	}
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		if (conf_node_good(conf_node_get(node, keys[i])))
			conf_warning(r, conf_node_get(node, keys[i]),
				"has no effect without leak: strict");
}

/* What is looked at in datagrams, which others can make, and in certificates. */
static void unused_check(
	struct conf_reader *r, const struct conf_upstream *u, struct conf_node *node)
{
	static const char *const keys[] = {"require_edns", "min_rtt", "window"};
	bool datagrams = count_of(u, DATAGRAMS) && !conf_egress_is_proxy(r, u->via);
	struct conf_node *ca = conf_node_get(node, "ca"), *min_rtt = conf_node_get(node, "min_rtt");
	struct conf_node *timeout = conf_node_get(node, "timeout");

	if (conf_node_good(ca) && !count_of(u, ENCRYPTED))
		conf_warning(r, ca, "has no effect: no server is tls:// or https://");
	for (size_t i = 0; !datagrams && i < sizeof keys / sizeof keys[0]; i++)
		if (conf_node_good(conf_node_get(node, keys[i])))
			conf_warning(r, conf_node_get(node, keys[i]),
				"has no effect: no server is asked over UDP");
	if (datagrams && conf_node_good(min_rtt) && !(timeout && timeout->bad) &&
		u->min_rtt_ms >= u->timeout_ms)
		conf_error(r, min_rtt, "less than timeout", "leaves no answer to be believed");
}

/* A group of the own network whose answers would lose what they are asked for. */
static void rebind_check(
	struct conf_reader *r, const struct conf_upstream *u, struct conf_node *node)
{
	struct conf_node *servers = conf_node_get(node, "servers");

	if (conf_node_get(node, "rebind") || !servers || !u->n_servers)
		return;
	for (size_t i = 0; i < u->n_servers; i++) {
		const struct ip_addr *a = &u->servers[i].at.addr;

		if (u->servers[i].host || !(ip_addr_is_private(a) || ip_addr_is_loopback(a) ||
						  ip_addr_is_link_local(a)))
			return;
	}
	conf_say(r, CONF_NOTE, servers, NULL, NULL,
		"private addresses are removed from answers of these servers, which have such ones "
		"themselves; see rebind");
}

static void upstream_check(
	struct conf_reader *r, struct conf_upstream *u, struct conf_node *node, bool pools_good)
{
	struct conf_node *servers = conf_node_get(node, "servers");

	for (size_t i = 0; i < u->n_servers; i++)
		server_check(r, u, &u->servers[i], conf_value_node(servers, i), pools_good);
	via_check(r, u, node);
	bootstrap_check(r, u, node);
	fallback_check(r, u, node);
	leak_check(r, u, node);
	if (conf_node_broken(servers))
		return;
	unused_check(r, u, node);
	rebind_check(r, u, node);
}

void conf_upstreams_check(struct conf_reader *r, bool pools_good)
{
	struct config *c = r->config;
	struct conf_node *node = conf_node_at(conf_node_get(r->root, "upstreams"), 0);

	for (size_t i = 0; i < c->n_upstreams && node; i++, node = node->next) {
		struct conf_upstream *u = &c->upstreams[i];

		if (!u->total_ms)
			u->total_ms = u->timeout_ms > TOTAL_MS ? u->timeout_ms : TOTAL_MS;
		if (node->kind == CONF_NODE_MAP && !node->bad)
			upstream_check(r, u, node, pools_good);
	}
	conf_circles_check(r);
}
