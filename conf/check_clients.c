/* Groups of clients: those that lead back to themselves, and what stands for their names: the
 * entries of a group, and of the groups that it names, each group once. */
#include "conf/check.h"

#include <string.h>

#include "conf/options.h"

enum { WHO_ENTRIES_MAX = 4096 };

/* What a node's values name, in their order: a group, -1 an entry. */
struct names {
	int *v;
	size_t n;
};

static void names_read(struct conf_reader *r, const struct conf_node *node, struct names *ret)
{
	bool list = node && node->kind == CONF_NODE_LIST;
	const struct conf_node *value = list ? node->first : node;
	size_t n = list ? node->n : node != NULL;

	ret->v = arena_array(r->scratch, n, sizeof *ret->v);
	ret->n = ret->v ? n : 0;
	for (size_t i = 0; i < ret->n; i++, value = value->next)
		ret->v[i] = conf_node_good(value) && value->kind == CONF_NODE_SCALAR
				    ? conf_client_group(r, value->text)
				    : -1;
}

static size_t who_entries(const struct conf_who *who)
{
	return who->prefixes.n + who->n_macs + who->hosts.n + who->interfaces.n;
}

/* What the groups have of their own, before they are merged. */
struct groups {
	struct conf_reader *r;
	struct conf_node **nodes;
	struct names *names;
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

/* The groups and those that they name, into who. False: too many entries. */
static bool names_merge(struct groups *g, const struct names *names, struct conf_who *who)
{
	for (size_t i = 0; i < names->n; i++) {
		int group = names->v[i];

		if (group < 0)
			continue;
		g->used[group] = true;
		if (g->seen[group])
			continue;
		g->seen[group] = 1;
		if (who_entries(who) + who_entries(&g->own[group]) > WHO_ENTRIES_MAX)
			return false;
		who_append(g->r, who, &g->own[group]);
		if (!names_merge(g, &g->names[group], who))
			return false;
	}
	return true;
}

static void who_merge(
	struct groups *g, struct conf_node *node, const struct names *names, struct conf_who *who)
{
	if (conf_node_broken(node))
		return;
	if (!names_merge(g, names, who))
		conf_error(g->r, node, NULL, "has more than %d entries with those of its groups",
			(int)WHO_ENTRIES_MAX);
}

enum { UNSEEN, ON_THE_WAY, DONE };

/* Depth first; a group that is on the way to itself closes a circle. */
static void circle_check(struct groups *g, size_t group)
{
	const struct names *names = &g->names[group];
	struct conf_node *node = g->nodes[group];

	g->seen[group] = ON_THE_WAY;
	for (size_t i = 0; i < names->n; i++) {
		int other = names->v[i];

		if (other < 0)
			continue;
		if (g->seen[other] == ON_THE_WAY)
			conf_error(g->r, conf_value_node(node, i), "groups that do not lead back",
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
	struct names names;

	names_read(g->r, node, &names);
	for (size_t i = 0; i < names.n; i++) {
		const struct conf_who *of =
			names.v[i] < 0 ? NULL : &g->r->config->clients[names.v[i]].who;

		if (of && (of->hosts.n || of->interfaces.n))
			conf_error(g->r, conf_value_node(node, i),
				"groups of addresses, networks and MAC addresses only",
				"the group %s has %s entries",
				conf_quote(g->r, g->nodes[names.v[i]]->key),
				of->hosts.n ? "host:" : "if:");
	}
	memset(g->seen, 0, g->n);
	who_merge(g, node, &names, who);
}

static void rules_merge(struct groups *g)
{
	struct config *c = g->r->config;
	struct conf_node *node = conf_node_at(conf_node_get(g->r->root, "rules"), 0);

	for (size_t i = 0; i < c->n_rules && node; i++, node = node->next) {
		struct conf_node *client = conf_node_get(node, "client");
		struct names names;

		names_read(g->r, client, &names);
		memset(g->seen, 0, g->n);
		who_merge(g, client, &names, &c->rules[i].client);
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
	g.names = arena_array(r->scratch, g.n, sizeof *g.names);
	g.own = arena_array(r->scratch, g.n, sizeof *g.own);
	g.seen = arena_array(r->scratch, g.n, 1);
	g.used = arena_array(r->scratch, g.n, sizeof *g.used);
	if (!g.nodes || !g.names || !g.own || !g.seen || !g.used)
		return;
	for (size_t i = 0; i < g.n; i++, node = node->next) {
		g.nodes[i] = node;
		g.own[i] = c->clients[i].who;
		names_read(r, node, &g.names[i]);
	}
	group_names_check(&g);
	for (size_t i = 0; i < g.n; i++)
		if (g.seen[i] == UNSEEN)
			circle_check(&g, i);
	for (size_t i = 0; i < g.n; i++) {
		memset(g.seen, 0, g.n);
		g.seen[i] = 1;
		who_merge(&g, g.nodes[i], &g.names[i], &c->clients[i].who);
	}
	rules_merge(&g);
	relay_clients_merge(&g);
	unused_check(&g);
	hosts_check(&g);
}
