/* Groups of servers that need one another: to be reached (bootstrap, via, and what the proxy there
 * needs), and when they fail (fallback).
 *
 * What can be reached is found by going on from what needs nobody until nothing is added. A group
 * that is left over has lost every way, and following what it needs leads into a circle. */
#include "conf/check.h"

#include <string.h>

struct reach {
	struct conf_reader *r;
	bool *groups, *egresses; /* what can be reached */
	bool *named;		 /* groups that need their bootstrap */
	bool *told;		 /* groups of a circle that was told */
};

static struct conf_node *group_node(struct conf_reader *r, int group)
{
	return conf_item_node(r, "upstreams", (size_t)group);
}

static bool egress_reached(const struct reach *x, int egress)
{
	const struct conf_egress *e = &x->r->config->egresses[egress];

	if (e->type == CONF_EGRESS_GROUP) {
		for (size_t i = 0; i < e->n_of; i++)
			if (x->egresses[e->of[i]])
				return true;
		return false;
	}
	return !e->server.host || e->bootstrap < 0 || x->groups[e->bootstrap];
}

static bool group_reached(const struct reach *x, int group)
{
	const struct conf_upstream *u = &x->r->config->upstreams[group];

	return (u->via < 0 || x->egresses[u->via]) && (!x->named[group] || x->groups[u->bootstrap]);
}

static bool reach_more(struct reach *x)
{
	const struct config *c = x->r->config;
	bool more = false;

	for (size_t i = 0; i < c->n_egresses; i++)
		if (!x->egresses[i] && egress_reached(x, (int)i))
			more = x->egresses[i] = true;
	for (size_t i = 0; i < c->n_upstreams; i++)
		if (!x->groups[i] && group_reached(x, (int)i))
			more = x->groups[i] = true;
	return more;
}

/* The group that a proxy's name needs, down the members of groups; all of them are lost. */
static int egress_needs(const struct reach *x, int egress, const char **way)
{
	const struct config *c = x->r->config;
	const struct conf_egress *e = &c->egresses[egress];

	for (size_t i = 0; e->type == CONF_EGRESS_GROUP && i < c->n_egresses; i++) {
		*way = arena_printf(x->r->scratch, "%s -> of %.64s", *way ? *way : "",
			c->egresses[e->of[0]].name);
		e = &c->egresses[e->of[0]];
	}
	return e->type == CONF_EGRESS_GROUP ? -1 : e->bootstrap;
}

/* The next group that a lost one needs, and the way to it in words; -1: it needs none. */
static int group_needs(const struct reach *x, int group, const char **way)
{
	const struct config *c = x->r->config;
	const struct conf_upstream *u = &c->upstreams[group];
	int next = u->bootstrap;

	*way = "";
	if (u->via >= 0 && !x->egresses[u->via]) {
		*way = arena_printf(x->r->scratch, " -> via %.64s", c->egresses[u->via].name);
		next = egress_needs(x, u->via, way);
	}
	if (next >= 0)
		*way = arena_printf(x->r->scratch, "%s -> bootstrap %.64s", *way ? *way : "",
			c->upstreams[next].name);
	return next;
}

/* Goes round the circle that the group stands in and tells it where it begins. */
static void circle_tell(struct reach *x, int group)
{
	struct conf_reader *r = x->r;
	const struct conf_upstream *u = &r->config->upstreams[group];
	struct conf_node *node = group_node(r, group);
	const char *text = u->name, *way;
	int at = group;

	do {
		x->told[at] = true;
		at = group_needs(x, at, &way);
		text = arena_printf(r->scratch, "%s%s", text ? text : "", way ? way : "");
	} while (at >= 0 && at != group && !x->told[at]);
	conf_error(r,
		conf_node_get(node, u->via >= 0 && !x->egresses[u->via] ? "via" : "bootstrap"),
		"a way that does not need the group", "can only be reached through itself: %s",
		text);
}

/* From a lost group to the first one that comes twice. */
static void lost_follow(struct reach *x, int group)
{
	size_t left = x->r->config->n_upstreams;
	const char *way;

	for (size_t i = 0; group >= 0 && i < left; i++) {
		if (x->told[group])
			return;
		group = group_needs(x, group, &way);
	}
	if (group >= 0 && !x->told[group])
		circle_tell(x, group);
}

static bool needs_bootstrap(struct conf_reader *r, const struct conf_upstream *u)
{
	for (size_t i = 0; i < u->n_servers; i++)
		if (!u->servers[i].host)
			return false;
	return u->bootstrap >= 0 && !conf_egress_is_proxy(r, u->via);
}

/* Nothing is said about the consequence of a mistake: what is broken counts as reached. */
static void reach_begin(struct reach *x)
{
	struct conf_reader *r = x->r;
	struct conf_node *node = conf_node_at(conf_node_get(r->root, "upstreams"), 0);

	for (size_t i = 0; i < r->config->n_upstreams && node; i++, node = node->next) {
		x->groups[i] = conf_node_broken(node);
		x->named[i] = needs_bootstrap(r, &r->config->upstreams[i]);
	}
	node = conf_node_at(conf_node_get(r->root, "egress"), 0);
	for (size_t i = 0; i < r->config->n_egresses && node; i++, node = node->next)
		x->egresses[i] = conf_node_broken(node);
}

static void reach_check(struct conf_reader *r)
{
	const struct config *c = r->config;
	struct reach x = {.r = r,
		.groups = arena_array(r->scratch, c->n_upstreams + 1, sizeof(bool)),
		.egresses = arena_array(r->scratch, c->n_egresses + 1, sizeof(bool)),
		.named = arena_array(r->scratch, c->n_upstreams + 1, sizeof(bool)),
		.told = arena_array(r->scratch, c->n_upstreams + 1, sizeof(bool))};

	if (!x.groups || !x.egresses || !x.named || !x.told)
		return;
	reach_begin(&x);
	while (reach_more(&x))
		;
	for (size_t i = 0; i < c->n_upstreams; i++)
		if (!x.groups[i])
			lost_follow(&x, (int)i);
}

enum { UNSEEN, ON_THE_WAY, DONE };

/* Each group has one fall-back at most, so the way from it is a line, perhaps into a circle. */
static void fallbacks_follow(struct conf_reader *r, int first, uint8_t *seen)
{
	const struct conf_upstream *u = r->config->upstreams;
	const char *text;
	int at = first, end;

	for (; at >= 0 && seen[at] == UNSEEN; at = u[at].fallback)
		seen[at] = ON_THE_WAY;
	end = at;
	if (end >= 0 && seen[end] == ON_THE_WAY) {
		struct conf_node *node = conf_node_get(group_node(r, end), "fallback");

		text = u[end].name;
		do {
			at = u[at].fallback;
			text = arena_printf(
				r->scratch, "%s -> %.64s", text ? text : "", u[at].name);
		} while (at != end);
		if (conf_node_good(node))
			conf_error(r, node, "a group that does not fall back to this one",
				"leads back to the group itself: %s", text);
	}
	for (at = first; at >= 0 && seen[at] == ON_THE_WAY; at = u[at].fallback)
		seen[at] = DONE;
}

void conf_circles_check(struct conf_reader *r)
{
	uint8_t *seen = arena_alloc(r->scratch, r->config->n_upstreams + 1);

	reach_check(r);
	for (size_t i = 0; seen && i < r->config->n_upstreams; i++)
		fallbacks_follow(r, (int)i, seen);
}
