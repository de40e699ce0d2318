/* Who is asked, and in which order. What is known of servers comes from the answers that they give
 * (server.c), so a strategy that prefers one must see to it that the others are asked now and then:
 * one question in EXPLORE begins with another one. */
#include "gateway/resolve/resolve_internal.h"

#define EXPLORE	     20
#define HEDGE_MIN_MS 20
#define TRIALS_MAX   2
#define RACE_MAX     FLIGHT_TRIES

/* The servers of a group that may be asked, by what they are. */
struct field {
	uint8_t up[FLIGHT_ORDER_MAX], down[FLIGHT_ORDER_MAX], trial[TRIALS_MAX];
	uint8_t n_up, n_down, n_trial;
};

static void field_read(struct field *field, const struct flight *f, int64_t now_ms)
{
	*field = (struct field){0};
	for (size_t i = 0; i < f->group->n_servers && i <= UINT8_MAX; i++) {
		struct server *s = f->group->servers[i];

		if (f->encrypted_only && !s->encrypted)
			continue;
		if (server_is_up(s)) {
			if (field->n_up < FLIGHT_ORDER_MAX)
				field->up[field->n_up++] = (uint8_t)i;
		} else if (field->n_trial < TRIALS_MAX && server_state(s, now_ms) != SERVER_DOWN) {
			field->trial[field->n_trial++] = (uint8_t)i;
		} else if (field->n_down < FLIGHT_ORDER_MAX) {
			field->down[field->n_down++] = (uint8_t)i;
		}
	}
}

/* --- orders --- */

static void swap(uint8_t *a, uint8_t *b)
{
	uint8_t t = *a;

	*a = *b;
	*b = t;
}

static void shuffle(struct resolver *r, uint8_t *v, unsigned n)
{
	uint64_t bits = resolver_random(r);

	for (unsigned i = n; i > 1; i--) {
		swap(&v[i - 1], &v[bits % i]);
		bits /= i;
	}
}

static void rotate(uint8_t *v, unsigned n, unsigned by)
{
	uint8_t old[FLIGHT_ORDER_MAX];

	for (unsigned i = 0; i < n; i++)
		old[i] = v[i];
	for (unsigned i = 0; i < n; i++)
		v[i] = old[(i + by) % n];
}

static uint32_t rtt_us(const struct flight *f, uint8_t server)
{
	return atomic_load_explicit(&f->group->servers[server]->rtt_us, memory_order_relaxed);
}

/* Those that are not known come first, each in its place of the configuration. */
static void sort_by_rtt(const struct flight *f, uint8_t *v, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		for (unsigned k = i; k > 0 && rtt_us(f, v[k]) < rtt_us(f, v[k - 1]); k--)
			swap(&v[k], &v[k - 1]);
}

/* p95_us, or a quarter of the timeout. */
static uint32_t expected_ms(const struct group *g, const struct server *s)
{
	uint32_t p95_us = atomic_load_explicit(&s->p95_us, memory_order_relaxed);
	uint32_t ms = p95_us ? p95_us / 1000 + 1 : g->timeout_ms / 4;

	if (ms < HEDGE_MIN_MS)
		ms = HEDGE_MIN_MS;
	return ms < g->timeout_ms ? ms : g->timeout_ms;
}

/* Another one than the fastest begins. Who is asked then waits for it no longer than the fastest
 * would have been waited for. */
static void explore(struct flight *f, uint8_t *v, unsigned n, uint64_t chance)
{
	uint8_t best = v[0], other = v[1 + chance % (n - 1)];

	for (unsigned i = 1 + (unsigned)(chance % (n - 1)); i > 0; i--)
		v[i] = v[i - 1];
	v[0] = other;
	f->hedge_cap_ms = expected_ms(f->group, f->group->servers[best]);
}

static void order_up(struct flight *f, uint8_t *v, unsigned n)
{
	uint64_t chance;

	if (n < 2)
		return;
	switch (f->group->strategy) {
	case CONF_STRATEGY_SEQUENTIAL:
		return;
	case CONF_STRATEGY_RANDOM:
		shuffle(f->resolver, v, n);
		return;
	case CONF_STRATEGY_ROUND_ROBIN:
		rotate(v, n,
			atomic_fetch_add_explicit(&f->group->turn, 1, memory_order_relaxed) % n);
		return;
	case CONF_STRATEGY_RACE:
	case CONF_STRATEGY_FASTEST:
		chance = resolver_random(f->resolver);
		sort_by_rtt(f, v, n);
		f->learns = f->group->strategy == CONF_STRATEGY_FASTEST || chance % EXPLORE == 0;
		if (chance % EXPLORE == 0 && rtt_us(f, v[0]))
			explore(f, v, n, chance / EXPLORE);
		return;
	}
}

/* --- the plan --- */

/* Whether somebody may be asked there. */
static bool has_fallback(const struct flight *f)
{
	const struct group *g = f->group;
	bool encrypted_only = f->encrypted_only;

	for (unsigned hop = f->hops + 1u; g->fallback >= 0 && hop < FLIGHT_GROUPS_MAX; hop++) {
		encrypted_only |= g->encrypted && !g->downgrade;
		g = &f->groups->groups[g->fallback];
		if (g->encrypted || !encrypted_only)
			return true;
	}
	return false;
}

static void add(struct flight *f, const uint8_t *v, unsigned n)
{
	for (unsigned i = 0; i < n && f->n_order < FLIGHT_ORDER_MAX; i++)
		f->order[f->n_order++] = v[i];
}

static unsigned at_most(unsigned n, unsigned max)
{
	return n < max ? n : max;
}

void strategy_plan(struct flight *f, int64_t now_ms)
{
	const struct group *g = f->group;
	struct field field;
	unsigned at_once;

	f->n_order = f->next_order = 0;
	f->hedge_cap_ms = UINT32_MAX;
	f->learns = true;
	field_read(&field, f, now_ms);
	order_up(f, field.up, field.n_up);
	/* A trial costs no client anything: one that is up is asked at the same time. */
	add(f, field.trial, field.n_trial);
	add(f, field.up, field.n_up);
	at_once = field.n_trial + (g->strategy == CONF_STRATEGY_RACE ? field.n_up : 1u);
	/* Who looks dead is asked when nobody else is left to ask. */
	if (g->all_down == CONF_ALL_DOWN_SPRAY && !has_fallback(f))
		add(f, field.down, field.n_down);
	if (field.n_up == 0 && g->all_down == CONF_ALL_DOWN_SPRAY)
		at_once = f->n_order;
	f->at_once = (uint8_t)at_most(at_most(at_once, FLIGHT_TRIES), f->n_order);
}

int64_t strategy_hedge_ms(const struct flight *f, const struct server *s)
{
	return at_most(expected_ms(f->group, s), f->hedge_cap_ms);
}
