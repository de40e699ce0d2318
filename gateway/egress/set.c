/* A configuration's egresses, and which member a group takes. */
#include "gateway/egress/egress_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"

/* Who is faster must be so by both before a group changes over. */
#define FASTER_PERCENT 20
#define FASTER_US      10000

/* interface.md: connect_timeout, idle */
#define DIRECT_CONNECT_MS  5000
#define DIRECT_IDLE_MS	   300000
#define DIRECT_UDP_IDLE_MS 60000

static bool is_proxy(const struct egress *e)
{
	return e->conf.type == CONF_EGRESS_SOCKS5 || e->conf.type == CONF_EGRESS_HTTP;
}

/* --- made and dropped --- */

static struct egress_state *state_take(
	const struct egress_set *previous, const struct conf_egress *conf)
{
	for (size_t i = 0; previous && i < previous->n; i++) {
		if (state_is_of(previous->v[i].state, conf))
			return state_ref(previous->v[i].state);
	}
	return NULL;
}

static int egress_init(struct egress_set *s, struct egress *e, const struct conf_egress *conf,
	uint32_t own_mark, const struct egress_set *previous)
{
	struct arena *a = s->arena;

	e->conf = *conf;
	e->conf.name = arena_strdup(a, conf->name);
	e->conf.server.host = conf->server.host ? arena_strdup(a, conf->server.host) : NULL;
	e->conf.of = conf->n_of ? arena_copy(a, conf->of, conf->n_of * sizeof *conf->of) : NULL;
	e->conf.user = e->conf.password = NULL;
	e->mark = own_mark | conf->mark.value;
	if (conf->user) {
		const char *password = conf->password ? conf->password : "";

		if (strlen(conf->user) > 255 || strlen(password) > 255)
			return -EINVAL;
		e->user = arena_strdup(a, conf->user);
		e->password = arena_strdup(a, password);
	}
	if (conf->user && conf->type == CONF_EGRESS_HTTP) {
		char text[HTTP_CREDENTIALS_MAX];

		http_credentials_write(conf->user, conf->password ? conf->password : "", text);
		e->credentials = arena_strdup(a, text);
	}
	if (arena_failed(a))
		return -ENOMEM;
	e->state = state_take(previous, conf);
	return e->state ? 0 : state_new(&e->conf, &e->state);
}

/* Adds what is below i to leaves[EGRESS_LEAVES_MAX], each once, in the order of preference. */
static unsigned leaves_gather(
	const struct egress_set *s, unsigned i, unsigned depth, unsigned *leaves, unsigned n)
{
	const struct conf_egress *c = &s->v[i].conf;

	if (c->type == CONF_EGRESS_GROUP) {
		for (size_t k = 0; c->of && k < c->n_of && depth < EGRESS_DEPTH_MAX; k++)
			n = leaves_gather(s, (unsigned)c->of[k], depth + 1, leaves, n);
		return n;
	}
	for (unsigned k = 0; k < n; k++) {
		if (leaves[k] == i)
			return n;
	}
	if (n < EGRESS_LEAVES_MAX)
		leaves[n++] = i;
	return n;
}

/* A reload does not make a group change over. */
static unsigned chosen_before(
	const struct egress_set *s, const struct egress *e, const struct egress_set *previous)
{
	for (size_t i = 0; previous && i < previous->n; i++) {
		const struct egress *old = &previous->v[i];
		unsigned was = atomic_load_explicit(&old->chosen, memory_order_relaxed);

		if (old->state != e->state || was >= previous->n)
			continue;
		for (unsigned k = 0; k < e->n_leaves; k++) {
			if (s->v[e->leaves[k]].state == previous->v[was].state)
				return e->leaves[k];
		}
	}
	return e->leaves[0];
}

static int leaves_init(struct egress_set *s, unsigned i, const struct egress_set *previous)
{
	struct egress *e = &s->v[i];
	unsigned leaves[EGRESS_LEAVES_MAX];

	e->n_leaves = leaves_gather(s, i, 0, leaves, 0);
	if (!e->n_leaves)
		return -EINVAL; /* the configuration's check has refused such groups */
	e->leaves = arena_copy(s->arena, leaves, e->n_leaves * sizeof *leaves);
	if (!e->leaves)
		return -ENOMEM;
	atomic_init(&e->chosen, chosen_before(s, e, previous));
	return 0;
}

static void set_free(struct egress_set *s)
{
	for (size_t i = 0; i <= s->n; i++)
		state_unref(s->v[i].state);
	arena_free(s->arena);
	free(s);
}

/* What lies behind the last one: EGRESS_DIRECT. Nobody counts what it does. */
static int direct_init(struct egress_set *s, uint32_t own_mark)
{
	static const struct conf_egress conf = {.name = (char *)"",
		.type = CONF_EGRESS_DIRECT,
		.upstream = -1,
		.bootstrap = -1,
		.connect_timeout_ms = DIRECT_CONNECT_MS,
		.idle_ms = DIRECT_IDLE_MS,
		.udp_idle_ms = DIRECT_UDP_IDLE_MS};
	int error = egress_init(s, &s->v[s->n], &conf, own_mark, NULL);

	return error ? error : leaves_init(s, (unsigned)s->n, NULL);
}

int egress_set_new(const struct config *config, uint32_t own_mark, struct egress_set *previous,
	struct egress_set **ret)
{
	size_t n = config->n_egresses;
	struct egress_set *s = calloc(1, sizeof *s + (n + 1) * sizeof s->v[0]);
	int error = 0;

	if (!s)
		return -ENOMEM;
	atomic_init(&s->refs, 1);
	s->n = n;
	s->arena = arena_new();
	if (!s->arena)
		error = -ENOMEM;
	for (size_t i = 0; !error && i < n; i++)
		error = egress_init(s, &s->v[i], &config->egresses[i], own_mark, previous);
	for (unsigned i = 0; !error && i < n; i++)
		error = leaves_init(s, i, previous);
	if (!error)
		error = direct_init(s, own_mark);
	if (error) {
		set_free(s);
		return error;
	}
	*ret = s;
	return 0;
}

struct egress_set *egress_set_ref(struct egress_set *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void egress_set_unref(struct egress_set *s)
{
	if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
		set_free(s);
}

/* --- choice --- */

bool set_leaf_is_up(const struct egress_set *s, unsigned leaf)
{
	const struct egress *e = &s->v[leaf];

	return !is_proxy(e) || atomic_load_explicit(&e->state->up, memory_order_relaxed);
}

static unsigned first_up(const struct egress_set *s, const struct egress *e)
{
	for (unsigned k = 0; k < e->n_leaves; k++) {
		if (set_leaf_is_up(s, e->leaves[k]))
			return e->leaves[k];
	}
	return e->leaves[0];
}

/* UINT32_MAX: not measured, as always for a direct egress. */
static uint32_t rtt_of(const struct egress_set *s, unsigned leaf)
{
	uint32_t rtt = atomic_load_explicit(&s->v[leaf].state->rtt_us, memory_order_relaxed);

	return rtt && is_proxy(&s->v[leaf]) ? rtt : UINT32_MAX;
}

static bool clearly_faster(uint32_t a_us, uint32_t b_us)
{
	return a_us < b_us && b_us - a_us >= FASTER_US &&
	       (uint64_t)a_us * 100 <= (uint64_t)b_us * (100 - FASTER_PERCENT);
}

static unsigned fastest(const struct egress_set *s, const struct egress *e)
{
	unsigned now = atomic_load_explicit(&e->chosen, memory_order_relaxed);
	unsigned best = first_up(s, e);

	for (unsigned k = 0; k < e->n_leaves; k++) {
		unsigned leaf = e->leaves[k];

		if (set_leaf_is_up(s, leaf) && rtt_of(s, leaf) < rtt_of(s, best))
			best = leaf;
	}
	if (best == now ||
		(set_leaf_is_up(s, now) && !clearly_faster(rtt_of(s, best), rtt_of(s, now))))
		return now;
	/* A set is the same for all who hold it, but for this. */
	atomic_store_explicit(&((struct egress *)e)->chosen, best, memory_order_relaxed);
	return best;
}

static bool is_up(const struct egress_set *s, const struct egress *e)
{
	for (unsigned k = 0; k < e->n_leaves; k++) {
		if (set_leaf_is_up(s, e->leaves[k]))
			return true;
	}
	return false;
}

/* The member, perhaps a group again. */
static unsigned group_member(const struct egress_set *s, const struct egress *e)
{
	for (size_t k = 0; k < e->conf.n_of; k++) {
		if (is_up(s, &s->v[e->conf.of[k]]))
			return (unsigned)e->conf.of[k];
	}
	return (unsigned)e->conf.of[0];
}

unsigned egress_choose(const struct egress_set *s, unsigned egress)
{
	egress = set_at(s, egress);
	for (unsigned depth = 0; depth < EGRESS_DEPTH_MAX; depth++) {
		const struct egress *e = &s->v[egress];

		if (e->conf.type != CONF_EGRESS_GROUP)
			return egress;
		if (e->conf.strategy == CONF_GROUP_FASTEST)
			return fastest(s, e);
		egress = group_member(s, e);
	}
	return s->v[egress].leaves[0];
}

/* --- told --- */

enum conf_egress_type egress_type(const struct egress_set *s, unsigned egress)
{
	return s->v[set_at(s, egress)].conf.type;
}

const struct conf_egress *egress_conf(const struct egress_set *s, unsigned egress)
{
	return &s->v[set_at(s, egress)].conf;
}

static bool leaf_takes_udp(const struct egress *e)
{
	if (e->conf.udp == CONF_CARRY_REJECT)
		return false;
	if (e->conf.type == CONF_EGRESS_DIRECT)
		return true;
	return e->conf.type == CONF_EGRESS_SOCKS5 &&
	       clock_ms() >=
		       atomic_load_explicit(&e->state->udp_refused_until_ms, memory_order_relaxed);
}

bool egress_takes_udp(const struct egress_set *s, unsigned egress)
{
	const struct egress *e = &s->v[set_at(s, egress)];

	if (e->conf.udp == CONF_CARRY_REJECT)
		return false;
	for (unsigned k = 0; k < e->n_leaves; k++) {
		if (leaf_takes_udp(&s->v[e->leaves[k]]))
			return true;
	}
	return false;
}

bool egress_goes_by_name(const struct egress_set *s, unsigned egress)
{
	const struct egress *e = &s->v[set_at(s, egress)];

	for (unsigned k = 0; k < e->n_leaves; k++) {
		if (s->v[e->leaves[k]].conf.type == CONF_EGRESS_DIRECT)
			return false;
	}
	return true;
}

static bool text_same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same(const struct egress_set *a, unsigned i, const struct egress_set *b, unsigned j,
	unsigned depth)
{
	const struct egress *x = &a->v[i], *y = &b->v[j];

	/* A state is handed on for name, type and server. */
	if (x->state != y->state || x->mark != y->mark || x->conf.n_of != y->conf.n_of ||
		x->conf.strategy != y->conf.strategy || x->conf.udp != y->conf.udp ||
		x->conf.connect_timeout_ms != y->conf.connect_timeout_ms ||
		x->conf.bootstrap != y->conf.bootstrap || !text_same(x->user, y->user) ||
		!text_same(x->password, y->password))
		return false;
	for (size_t k = 0; k < x->conf.n_of; k++) {
		if (depth == EGRESS_DEPTH_MAX ||
			!same(a, (unsigned)x->conf.of[k], b, (unsigned)y->conf.of[k], depth + 1))
			return false;
	}
	return true;
}

bool egress_same(const struct egress_set *a, unsigned i, const struct egress_set *b, unsigned j)
{
	i = set_at(a, i);
	j = set_at(b, j);
	/* The one for EGRESS_DIRECT has no name, and a state of each set's own. */
	if (i == a->n || j == b->n)
		return i == a->n && j == b->n && a->v[i].mark == b->v[j].mark;
	return same(a, i, b, j, 0);
}

size_t egress_list(const struct egress_set *s, struct egress_info *ret, size_t max)
{
	size_t n = s->n < max ? s->n : max;

	for (unsigned i = 0; i < n; i++) {
		const struct egress *e = &s->v[i];
		struct egress_state *st = e->state;

		ret[i] = (struct egress_info){
			.name = e->conf.name,
			.type = e->conf.type,
			.up = is_up(s, e),
			.flows = atomic_load_explicit(&st->flows, memory_order_relaxed),
			.rtt_us = atomic_load_explicit(&st->rtt_us, memory_order_relaxed),
			.failures = atomic_load_explicit(&st->failures, memory_order_relaxed),
			.dropped = atomic_load_explicit(&st->dropped, memory_order_relaxed),
		};
		if (e->conf.type == CONF_EGRESS_GROUP)
			ret[i].member = s->v[egress_choose(s, i)].conf.name;
	}
	return n;
}

struct egress_state *egress_flow_begin(struct egress_set *s, unsigned egress)
{
	struct egress_state *st = state_ref(s->v[set_at(s, egress)].state);

	atomic_fetch_add_explicit(&st->flows, 1, memory_order_relaxed);
	return st;
}

void egress_flow_end(struct egress_state *st)
{
	atomic_fetch_sub_explicit(&st->flows, 1, memory_order_relaxed);
	state_unref(st);
}
