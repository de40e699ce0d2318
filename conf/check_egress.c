/* What must hold within an egress, and in groups of them. Fills in what depends on the type. */
#include "conf/check.h"

#include <string.h>

enum { SOCKS5_PORT = 1080, HTTP_PORT = 8080, UDP_IDLE_MS = 60000 };

static const char *const type_words[] = {"direct", "socks5", "http", "reject", "group"};

#define BIT(type)   (1U << CONF_EGRESS_##type)
#define PROXIES	    (BIT(SOCKS5) | BIT(HTTP))
#define LEAVES_HERE (BIT(DIRECT) | PROXIES)
#define IS_PROXY(e) ((1U << (e)->type & PROXIES) != 0)

/* Which types have which option. */
static const struct {
	const char *key;
	unsigned types;
} option_types[] = {{"upstream", LEAVES_HERE | BIT(GROUP)}, {"mark", LEAVES_HERE},
	{"server", PROXIES}, {"bootstrap", PROXIES}, {"user", PROXIES}, {"password", PROXIES},
	{"password_file", PROXIES}, {"masquerade", BIT(DIRECT)}, {"udp", LEAVES_HERE},
	{"quic", LEAVES_HERE}, {"connect_timeout", LEAVES_HERE}, {"idle", LEAVES_HERE},
	{"ping", PROXIES}, {"of", BIT(GROUP)}, {"strategy", BIT(GROUP)}, {"check", BIT(GROUP)}};

static const char *types_text(struct conf_reader *r, unsigned types)
{
	const char *text = "with type";

	for (size_t i = 0, n = 0; text && i < sizeof type_words / sizeof type_words[0]; i++)
		if (types & 1U << i)
			text = arena_printf(
				r->scratch, "%s%s %s", text, n++ ? "," : "", type_words[i]);
	return text;
}

static void options_check(
	struct conf_reader *r, const struct conf_egress *e, struct conf_node *node)
{
	for (size_t i = 0; i < sizeof option_types / sizeof option_types[0]; i++) {
		struct conf_node *option = conf_node_get(node, option_types[i].key);

		if (option && !option->bad && !(option_types[i].types & 1U << e->type))
			conf_say_key(r, option, types_text(r, option_types[i].types),
				"is no option of type %s", type_words[e->type]);
	}
}

static void server_check(
	struct conf_reader *r, struct conf_egress *e, struct conf_node *node, bool pools_good)
{
	struct conf_node *server = conf_node_get(node, "server");
	struct conf_node *bootstrap = conf_node_get(node, "bootstrap");

	if (!server)
		conf_say(r, CONF_ERROR, node, "server", "ADDRESS[:PORT], HOST[:PORT]",
			"is missing; type %s needs it", type_words[e->type]);
	if (!conf_node_good(server))
		return;
	if (!e->server.at.port)
		e->server.at.port = e->type == CONF_EGRESS_HTTP ? HTTP_PORT : SOCKS5_PORT;
	if (e->server.host && !bootstrap)
		conf_say(r, CONF_ERROR, node, "bootstrap", conf_upstream_names(r, NULL),
			"is missing; it resolves the server's name %s",
			conf_quote(r, e->server.host));
	if (!e->server.host && conf_node_good(bootstrap))
		conf_warning(r, bootstrap, "has no effect: the server is an address");
	if (e->server.host && conf_node_good(bootstrap))
		conf_bootstrap_check(r, bootstrap, e->bootstrap);
	if (!e->server.host && pools_good && conf_in_pools(r->config, &e->server.at.addr))
		conf_error(r, server, NULL, "lies in a pool of fake addresses");
}

static void secrets_check(
	struct conf_reader *r, const struct conf_egress *e, struct conf_node *node)
{
	struct conf_node *user = conf_node_get(node, "user");
	struct conf_node *password = conf_node_get(node, "password");
	struct conf_node *file = conf_node_get(node, "password_file");

	if (password && file)
		conf_say_key(r, file, "one of the two", "is there beside password");
	else if (user && !password && !file)
		conf_say(r, CONF_ERROR, node, "password", NULL, "is missing; user needs one");
	else if (!user && (password || file))
		conf_say(r, CONF_ERROR, node, "user", NULL, "is missing; %s needs one",
			password ? "password" : "password_file");
	/* RFC 7617, section 2. */
	if (e->type == CONF_EGRESS_HTTP && conf_node_good(user) && strchr(e->user, ':'))
		conf_error(r, user, NULL, "contains ':', which ends a user's name in HTTP");
}

/* CONNECT carries streams. */
static void http_udp_check(struct conf_reader *r, struct conf_egress *e, struct conf_node *node)
{
	struct conf_node *udp = conf_node_get(node, "udp");

	if (e->udp == CONF_CARRY && !(udp && udp->bad))
		conf_say(r, CONF_NOTE, udp ? udp : node, udp ? NULL : "udp", NULL,
			"an HTTP proxy carries no UDP: it is rejected");
	e->udp = e->quic = CONF_CARRY_REJECT;
}

static void members_check(
	struct conf_reader *r, const struct conf_egress *e, struct conf_node *node)
{
	struct conf_node *of = conf_node_get(node, "of");

	if (!of)
		conf_say(r, CONF_ERROR, node, "of", "names in egress",
			"is missing; a group has members");
	else if (e->n_of == 0 && !of->bad)
		conf_error(r, of, "names in egress", "is empty");
	for (size_t i = 0; i < e->n_of; i++) {
		struct conf_node *member = conf_value_node(of, i);

		for (size_t j = 0; j < i && conf_node_good(member); j++)
			if (e->of[j] == e->of[i] && conf_node_good(conf_value_node(of, j)))
				conf_error(r, member, NULL, "is there twice");
	}
}

enum { UNSEEN, ON_THE_WAY, DONE };

/* Depth first; a member that is on the way to itself closes a circle. */
static void circle_check(struct conf_reader *r, size_t group, uint8_t *seen)
{
	const struct conf_egress *e = &r->config->egresses[group];
	struct conf_node *of = conf_node_get(conf_item_node(r, "egress", group), "of");

	seen[group] = ON_THE_WAY;
	for (size_t i = 0; e->type == CONF_EGRESS_GROUP && i < e->n_of; i++) {
		struct conf_node *member = conf_value_node(of, i);

		if (!conf_node_good(member))
			continue;
		if (seen[e->of[i]] == ON_THE_WAY)
			conf_error(r, member, NULL,
				(size_t)e->of[i] == group ? "is the group itself"
							  : "leads back to the group %s",
				conf_quote(r, e->name));
		else if (seen[e->of[i]] == UNSEEN)
			circle_check(r, (size_t)e->of[i], seen);
	}
	seen[group] = DONE;
}

/* Members that were seen are not looked at again: groups may form a circle. */
static void leaves_find(
	const struct config *c, int egress, uint8_t *seen, bool *proxy, bool *direct)
{
	const struct conf_egress *e = &c->egresses[egress];

	if (seen[egress])
		return;
	seen[egress] = 1;
	*proxy |= IS_PROXY(e);
	*direct |= e->type == CONF_EGRESS_DIRECT;
	for (size_t i = 0; e->type == CONF_EGRESS_GROUP && i < e->n_of; i++)
		if (e->of[i] >= 0)
			leaves_find(c, e->of[i], seen, proxy, direct);
}

bool conf_egress_is_proxy(struct conf_reader *r, int egress)
{
	uint8_t *seen = egress < 0 ? NULL : arena_alloc(r->scratch, r->config->n_egresses + 1);
	bool proxy = false, direct = false;

	if (seen)
		leaves_find(r->config, egress, seen, &proxy, &direct);
	return proxy && !direct;
}

void conf_egresses_check(struct conf_reader *r, bool pools_good)
{
	struct config *c = r->config;
	uint8_t *seen = arena_alloc(r->scratch, c->n_egresses + 1);
	struct conf_node *node = conf_node_at(conf_node_get(r->root, "egress"), 0);

	for (size_t i = 0; i < c->n_egresses && node; i++, node = node->next) {
		struct conf_egress *e = &c->egresses[i];

		e->udp_idle_ms = e->idle_ms < UDP_IDLE_MS ? e->idle_ms : UDP_IDLE_MS;
		if (node->kind != CONF_NODE_MAP || !conf_node_good(conf_node_get(node, "type")))
			continue;
		options_check(r, e, node);
		if (IS_PROXY(e)) {
			server_check(r, e, node, pools_good);
			secrets_check(r, e, node);
		}
		if (e->type == CONF_EGRESS_HTTP)
			http_udp_check(r, e, node);
		if (e->type == CONF_EGRESS_GROUP)
			members_check(r, e, node);
	}
	for (size_t i = 0; seen && i < c->n_egresses; i++)
		if (seen[i] == UNSEEN)
			circle_check(r, i, seen);
}
