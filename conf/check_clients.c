/* Groups of clients: those that lead back to themselves, and what stands for their names: the
 * entries of a group, and of the groups that it names, each group once. */
#include "conf/check.h"

#include <string.h>

#include "conf/options.h"

enum { WHO_ENTRIES_MAX = 65536 };

/* The group that a value names, -1: it is an entry. */
static int group_named(struct conf_reader *r, const struct conf_node *value)
{
	return conf_node_good(value) && value->kind == CONF_NODE_SCALAR
		       ? conf_client_group(r, value->text)
		       : -1;
}

static struct conf_node *first_value(struct conf_node *node)
{
	return node && node->kind == CONF_NODE_LIST ? node->first : node;
}

/* One value alone has siblings that are other keys. */
static struct conf_node *next_value(const struct conf_node *node, const struct conf_node *value)
{
	return node->kind == CONF_NODE_LIST ? value->next : NULL;
}

static size_t who_entries(const struct conf_who *who)
{
	return who->prefixes.n + who->n_macs + who->hosts.n + who->interfaces.n;
}

/* What the groups have of their own, before they are merged. */
struct groups {
	struct conf_reader *r;
	struct conf_node **nodes;
	struct conf_who *own;
	uint8_t *seen; /* by what is being merged */
	bool *used;
	size_t n;
};

static void who_append(struct conf_reader *r, struct conf_who *to, const struct conf_who *from)
{
	for (size_t i = 0; i < from->prefixes.n; i++)
		conf_prefix_add(r, &to->prefixes, &from->prefixes.v[i]);
	for (size_t i = 0; i < from->n_macs; i++)
		conf_mac_add(r, to, &from->macs[i]);
	for (size_t i = 0; i < from->hosts.n; i++)
		conf_strings_add(r, &to->hosts, from->hosts.v[i]);
	for (size_t i = 0; i < from->interfaces.n; i++)
		conf_strings_add(r, &to->interfaces, from->interfaces.v[i]);
}

/* The groups named below node, and those that they name, into who. False: too many entries. */
static bool names_merge(struct groups *g, struct conf_node *node, struct conf_who *who)
{
	for (struct conf_node *v = first_value(node); v; v = next_value(node, v)) {
		int group = group_named(g->r, v);

		if (group < 0)
			continue;
		g->used[group] = true;
		if (g->seen[group])
			continue;
		g->seen[group] = 1;
		if (who_entries(who) + who_entries(&g->own[group]) > WHO_ENTRIES_MAX)
			return false;
		who_append(g->r, who, &g->own[group]);
		if (!names_merge(g, g->nodes[group], who))
			return false;
	}
	return true;
}

static void who_merge(struct groups *g, struct conf_node *node, struct conf_who *who)
{
	if (!node || conf_node_broken(node))
		return;
	if (!names_merge(g, node, who))
		conf_error(g->r, node, NULL, "has more than %d entries with those of its groups",
			(int)WHO_ENTRIES_MAX);
}

enum { UNSEEN, ON_THE_WAY, DONE };

/* Depth first; a group that is on the way to itself closes a circle. */
static void circle_check(struct groups *g, size_t group)
{
	struct conf_node *node = g->nodes[group];

	g->seen[group] = ON_THE_WAY;
	for (struct conf_node *v = first_value(node); v; v = next_value(node, v)) {
		int other = group_named(g->r, v);

		if (other < 0)
			continue;
		if (g->seen[other] == ON_THE_WAY)
			conf_error(g->r, v, "groups that do not lead back",
				(size_t)other == group ? "is the group itself"
						       : "leads back to the group %s",
				conf_quote(g->r, node->key));
		else if (g->seen[other] == UNSEEN)
			circle_check(g, (size_t)other);
	}
	g->seen[group] = DONE;
}

/* A name that reads as an entry would never be looked up. */
static void group_names_check(struct groups *g)
{
	struct ip_prefix p;

	for (size_t i = 0; i < g->n; i++) {
		const char *name = g->r->config->clients[i].name;

		if (!g->nodes[i]->bad && name && ip_prefix_parse(name, &p) == 0)
			conf_say_key(
				g->r, g->nodes[i], "a name that is no address", "is an address");
	}
}

/* The relay takes packets by what the kernel can see of them. */
static void relay_clients_merge(struct groups *g)
{
	struct conf_who *who = &g->r->config->gateway.relay_clients;
	struct conf_node *node =
		conf_node_get(conf_node_get(g->r->root, "gateway"), "relay_clients");

	for (struct conf_node *v = first_value(node); v; v = next_value(node, v)) {
		int group = group_named(g->r, v);
		const struct conf_who *of = group < 0 ? NULL : &g->r->config->clients[group].who;

		if (of && (of->hosts.n || of->interfaces.n))
			conf_error(g->r, v, "groups of addresses, networks and MAC addresses only",
				"the group %s has %s entries", conf_quote(g->r, v->text),
				of->hosts.n ? "host:" : "if:");
	}
	memset(g->seen, 0, g->n);
	who_merge(g, node, who);
}

static void rules_merge(struct groups *g)
{
	struct config *c = g->r->config;
	struct conf_node *node = conf_node_at(conf_node_get(g->r->root, "rules"), 0);

	for (size_t i = 0; i < c->n_rules && node; i++, node = node->next) {
		memset(g->seen, 0, g->n);
		who_merge(g, conf_node_get(node, "client"), &c->rules[i].client);
	}
}

static void unused_check(struct groups *g)
{
	struct conf_node *root = g->r->root;
	struct conf_node *gateway = conf_node_get(root, "gateway");

	/* What is mistyped there is told there. */
	if (conf_node_broken(conf_node_get(root, "rules")) ||
		conf_node_broken(conf_node_get(root, "clients")) ||
		conf_node_broken(conf_node_get(gateway, "relay_clients")))
		return;
	for (size_t i = 0; i < g->n; i++)
		if (!g->used[i])
			conf_say(g->r, CONF_NOTE, g->nodes[i], NULL, NULL,
				"nothing names this group");
}

static void hosts_check(struct groups *g)
{
	if (conf_node_get(g->r->root, "leases"))
		return;
	for (size_t i = 0; i < g->n; i++)
		if (g->own[i].hosts.n && !conf_node_broken(g->nodes[i]))
			conf_warning(g->r, g->nodes[i],
				"host:%s is nobody: there are no leases, see leases.files",
				g->own[i].hosts.v[0]);
}

void conf_clients_check(struct conf_reader *r)
{
	struct config *c = r->config;
	struct groups g = {.r = r, .n = c->n_clients};
	struct conf_node *node = conf_node_at(conf_node_get(r->root, "clients"), 0);

	if (!g.n)
		return;
	g.nodes = arena_array(r->scratch, g.n, sizeof *g.nodes);
	g.own = arena_array(r->scratch, g.n, sizeof *g.own);
	g.seen = arena_array(r->scratch, g.n, 1);
	g.used = arena_array(r->scratch, g.n, sizeof *g.used);
	if (!g.nodes || !g.own || !g.seen || !g.used)
		return;
	for (size_t i = 0; i < g.n; i++, node = node->next) {
		g.nodes[i] = node;
		g.own[i] = c->clients[i].who;
	}
	group_names_check(&g);
	for (size_t i = 0; i < g.n; i++)
		if (g.seen[i] == UNSEEN)
			circle_check(&g, i);
	for (size_t i = 0; i < g.n; i++) {
		memset(g.seen, 0, g.n);
		g.seen[i] = 1;
		who_merge(&g, g.nodes[i], &c->clients[i].who);
	}
	rules_merge(&g);
	relay_clients_merge(&g);
	unused_check(&g);
	hosts_check(&g);
}
