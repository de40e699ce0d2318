/* Theory of operation. A flight is one question on its way through the servers of a group and of
 * its fall-backs. It starts with its first request (or none, for the cache alone), has one or
 * several tries open at once and is over by the first good answer, by the last server's failure, by
 * total_ms, or when nobody waits any more. One timer serves the whole flight: second sends, the
 * ends of tries, hedges, windows, and the earliest deadline.
 *
 *	flight_start -> flight_go_on -> try_start -> try_take -> flight_answer -> flight_end
 *	                     ^              |    try_failed, try_give_up, SERVFAIL ...
 *	                     +--------------+
 *
 * Callbacks may ask, cancel and stop. So a function that runs them pins the flight.
 *
 * A try that was overtaken by a hedge is not closed with its flight: had nobody looked for its
 * answer, a slow server would seem faster than it is (only its quick answers were seen), a dead one
 * would never be known to be, and one on trial would never come up again. So the flight lingers
 * until such a try has answered or its time is over. */
#include <assert.h>
#include <errno.h>

#include "gateway/resolve/resolve_internal.h"

/* --- the table --- */

/* What else makes another flight of a question. */
#define FLIGHT_FLAGS (RESOLVE_CD | RESOLVE_DO | RESOLVE_NO_CACHE)

static struct flight **flight_bucket(struct resolver *r, uint64_t hash, uint16_t type)
{
	return &r->buckets[(hash ^ (uint64_t)type * 31) % RESOLVE_BUCKETS];
}

struct flight *flight_find(
	struct resolver *r, const struct group *group, const struct resolve_question *q)
{
	uint64_t hash = q->hash ? q->hash : dns_name_hash(q->name, r->c.hash_key);
	struct flight *f = *flight_bucket(r, hash, q->type);
	unsigned flags = q->flags & FLIGHT_FLAGS;

	while (f &&
		!(f->hash == hash && f->first == group && f->type == q->type &&
			(f->flags & FLIGHT_FLAGS) == flags &&
			f->view == resolve_view(f->groups, q) && dns_name_equal(&f->name, q->name)))
		f = f->next;
	return f;
}

static void list_insert(struct flight **list, struct flight *f)
{
	f->next = *list;
	f->prev = list;
	if (f->next)
		f->next->prev = &f->next;
	*list = f;
}

static void list_remove(struct flight *f)
{
	*f->prev = f->next;
	if (f->next)
		f->next->prev = f->prev;
}

/* --- life --- */

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The rule's bounds go before the cache's. */
static void flight_set_bounds(struct flight *f, const struct conf_ttl *rule)
{
	const struct resolve_groups *g = f->groups;

	f->ttl_min_s = g->min_ttl_s;
	f->ttl_max_s = g->max_ttl_s;
	if (rule && rule->min_s) {
		f->ttl_min_s = rule->min_s;
		f->ttl_zero = true;
		if (f->ttl_max_s < rule->min_s)
			f->ttl_max_s = rule->min_s;
	}
	if (rule && rule->max_s != UINT32_MAX)
		f->ttl_max_s = rule->max_s;
	f->ttl_min_s = least(f->ttl_min_s, f->ttl_max_s);
	f->negative_max_s = least(g->negative_ttl_s, f->ttl_max_s);
}

static void flight_due(struct loop_timer *timer);

struct flight *flight_new(
	struct resolver *r, struct resolve_groups *g, const struct resolve_question *q)
{
	struct flight *f = slab_take(&r->flights);

	if (!f)
		return NULL;
	*f = (struct flight){
		.resolver = r,
		.groups = g,
		.first = &g->groups[q->group],
		.timer.fire = flight_due,
		.end_ms = loop_now_ms(r->loop) + g->groups[q->group].total_ms,
		.group_end_ms = INT64_MAX,
		.hedge_ms = INT64_MAX,
		.due_ms = INT64_MAX,
		.error = -EHOSTUNREACH,
		.type = q->type,
		.flags = q->flags,
		.hash = q->hash ? q->hash : dns_name_hash(q->name, r->c.hash_key),
		.view = resolve_view(g, q),
		.name = *q->name,
	};
	if (flight_timer_set(f) < 0) {
		slab_give(&r->flights, f);
		return NULL;
	}
	flight_set_bounds(f, q->ttl);
	resolve_groups_ref(g);
	f->sighting = sighting_enter(g, q->name, q->type);
	list_insert(flight_bucket(r, f->hash, f->type), f);
	r->n_flights++;
	resolver_hold(r);
	return f;
}

static void flight_free(struct flight *f)
{
	struct resolver *r = f->resolver;

	for (size_t i = 0; i < FLIGHT_TRIES; i++)
		try_close(&f->tries[i]);
	if (f->window)
		slab_give(&r->windows, f->window);
	loop_timer_cancel(r->loop, &f->timer);
	resolve_groups_unref(f->groups);
	slab_give(&r->flights, f);
	resolver_release(r);
}

/* It can be found no more; callbacks may run. */
static void flight_leave(struct flight *f)
{
	struct resolver *r = f->resolver;

	assert(!f->pinned);
	f->pinned = true;
	list_remove(f);
	loop_timer_cancel(r->loop, &f->timer);
	sighting_leave(f->groups, f->sighting);
	r->n_flights--;
	r->n_refreshes -= f->counted_refresh;
}

/* --- tries --- */

static unsigned flight_count(const struct flight *f, enum try_state state)
{
	unsigned n = 0;

	for (size_t i = 0; i < FLIGHT_TRIES; i++)
		n += f->tries[i].state == state;
	return n;
}

static bool flight_is_asking(const struct flight *f)
{
	return flight_count(f, TRY_FREE) < FLIGHT_TRIES;
}

struct try *flight_slot(struct flight *f)
{
	for (size_t i = 0; i < FLIGHT_TRIES; i++)
		if (f->tries[i].state == TRY_FREE)
			return &f->tries[i];
	return NULL;
}

static void hedge_set(struct flight *f, const struct server *s)
{
	bool hedges = f->group->strategy != CONF_STRATEGY_RACE && f->next_order < f->n_order;

	f->hedge_ms = hedges ? loop_now_ms(f->resolver->loop) + strategy_hedge_ms(f, s) : INT64_MAX;
}

/* One that waits for its address does not count: whoever is ready is asked meanwhile. */
static void flight_open(struct flight *f, unsigned more)
{
	while ((more > 0 || !flight_is_asking(f)) && f->next_order < f->n_order && !f->window) {
		struct server *s = f->group->servers[f->order[f->next_order]];
		struct try *y = flight_slot(f);
		int error;

		if (!y)
			return;
		f->next_order++;
		y->flight = f;
		error = try_start(y, f->group, s, false);
		if (error < 0) {
			f->error = error;
		} else if (y->state == TRY_OPEN) {
			more -= more > 0;
			hedge_set(f, s);
		}
	}
}

/* --- groups --- */

static bool group_is_down(const struct flight *f)
{
	for (unsigned i = 0; i < f->n_order; i++)
		if (server_is_up(f->group->servers[f->order[i]]))
			return false;
	return true;
}

static void group_begin(struct flight *f, struct group *group)
{
	int64_t now_ms = loop_now_ms(f->resolver->loop), reserve_ms;

	f->group = group;
	f->suspect = group->suspects && poisoned_has(&group->suspects->names, f->hash, now_ms);
	f->hedge_ms = f->group_end_ms = INT64_MAX;
	strategy_plan(f, now_ms);
	if (group->fallback < 0 || f->hops + 1 == FLIGHT_GROUPS_MAX)
		return;
	/* A trial is not waited for: the fall-back is asked beside it. */
	if (group_is_down(f)) {
		f->group_end_ms = now_ms;
		return;
	}
	/* The fall-back has its own timeout, too, if total_ms has room for both. */
	reserve_ms = f->groups->groups[group->fallback].timeout_ms;
	f->group_end_ms = f->end_ms - reserve_ms;
	if (f->group_end_ms < now_ms + group->timeout_ms)
		f->group_end_ms = now_ms + group->timeout_ms;
}

static bool group_next(struct flight *f)
{
	const struct group *g = f->group;

	f->group_end_ms = INT64_MAX;
	if (g->fallback < 0 || f->hops + 1 == FLIGHT_GROUPS_MAX)
		return false;
	f->hops++;
	f->encrypted_only |= g->encrypted && !g->downgrade;
	group_begin(f, &f->groups->groups[g->fallback]);
	return true;
}

void flight_start(struct flight *f)
{
	group_begin(f, f->first);
	/* Who injected an answer to this name will do so again. */
	if (f->suspect && group_next(f) && f->n_order == 0) {
		f->hops = 0;
		f->encrypted_only = false;
		group_begin(f, f->first);
	}
	flight_go_on(f, f->at_once);
}

void flight_go_on(struct flight *f, unsigned more)
{
	if (f->lingers) {
		if (!flight_is_asking(f) || flight_timer_set(f) < 0)
			flight_drop(f);
		return;
	}
	flight_open(f, more);
	while (!flight_is_asking(f) && !f->window) {
		if (!group_next(f)) {
			flight_fail(f, f->error);
			return;
		}
		flight_open(f, f->at_once);
	}
	flight_timer_renew(f);
}

/* --- the end --- */

int flight_answer(struct flight *f, struct try *y, const uint8_t *msg, size_t len, uint32_t age_s)
{
	struct resolver *r = f->resolver;
	uint8_t *buf = scratch_take(r);
	int n;

	if (!buf)
		return -ENOMEM;
	n = result_make(f, y->group, msg, len, age_s, buf);
	if (n < 0) {
		scratch_give(r);
		return n;
	}
	try_close(y);
	flight_leave(f);
	requests_answer(f, buf, (size_t)n, 0);
	scratch_give(r);
	flight_end(f, true);
	return 0;
}

void flight_answer_window(struct flight *f)
{
	struct windowed *w = f->window;
	struct try *y = w->try;
	int error;

	error = flight_answer(f, y, w->msg, w->len, w->age_s);
	if (error == 0)
		return;
	f->window = NULL;
	slab_give(&f->resolver->windows, w);
	try_close(y);
	f->error = error;
	flight_go_on(f, 1);
}

void flight_fail(struct flight *f, int error)
{
	struct resolver *r = f->resolver;
	uint8_t buf[512];
	size_t len = f->rcode ? result_empty(f, (enum dns_rcode)f->rcode, 0, buf) : 0;
	struct cache_key key;

	if (f->asked && !error_is_local(error) && !(f->flags & RESOLVE_NO_CACHE)) {
		flight_key(f, &key);
		cache_fail(r->c.cache, &key, f->groups->failure_ttl_s, resolver_now_s(r));
	}
	flight_leave(f);
	requests_answer(f, len ? buf : NULL, len, error);
	flight_end(f, true);
}

void flight_cancel(struct flight *f)
{
	flight_leave(f);
	requests_answer(f, NULL, 0, -ECANCELED);
	flight_end(f, false);
}

void flight_drop(struct flight *f)
{
	list_remove(f);
	f->resolver->n_lingering--;
	flight_free(f);
}

/* Who raced is not held to answer: all but one of them are late each time. */
static void tries_keep(struct flight *f)
{
	for (size_t i = 0; i < FLIGHT_TRIES; i++) {
		struct try *y = &f->tries[i];

		if (y->state != TRY_OPEN || !(f->learns || y->trial))
			try_close(y);
	}
}

void flight_end(struct flight *f, bool linger)
{
	struct resolver *r = f->resolver;

	if (!f->pinned)
		flight_leave(f);
	if (linger && !r->stopping && r->n_lingering < RESOLVE_LINGERING_MAX)
		tries_keep(f);
	else
		for (size_t i = 0; i < FLIGHT_TRIES; i++)
			try_close(&f->tries[i]);
	if (f->window)
		slab_give(&r->windows, f->window);
	f->window = NULL;
	f->lingers = true;
	list_insert(&r->lingering, f);
	r->n_lingering++;
	flight_go_on(f, 0);
}

/* --- time --- */

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int flight_timer_set(struct flight *f)
{
	int64_t due = INT64_MAX;

	if (!f->lingers) {
		due = sooner(sooner(f->end_ms, f->due_ms), sooner(f->group_end_ms, f->hedge_ms));
		if (f->window)
			due = sooner(due, f->window->end_ms);
	}
	for (size_t i = 0; i < FLIGHT_TRIES; i++) {
		const struct try *y = &f->tries[i];

		if (y->state != TRY_FREE)
			due = sooner(due, y->end_ms);
		if (y->state == TRY_OPEN && y->resend_ms)
			due = sooner(due, y->resend_ms);
	}
	return loop_timer_set(f->resolver->loop, &f->timer, due);
}

void flight_timer_renew(struct flight *f)
{
	if (flight_timer_set(f) < 0 && !f->pinned)
		flight_fail(f, -ENOMEM);
}

/* Returns how many tries are over. */
static unsigned tries_due(struct flight *f, int64_t now_ms)
{
	unsigned over = 0;
	int error;

	for (size_t i = 0; i < FLIGHT_TRIES; i++) {
		struct try *y = &f->tries[i];

		if (y->state == TRY_FREE)
			continue;
		error = 0;
		if (y->end_ms <= now_ms) {
			try_give_up(y);
			error = -ETIMEDOUT;
		} else if (y->state == TRY_OPEN && y->resend_ms && y->resend_ms <= now_ms) {
			error = try_resend(y);
		}
		if (error < 0) {
			f->error = error;
			over++;
		}
	}
	return over;
}

/* The servers of a group had their time: the fall-back is asked beside those that are still
 * silent. */
static unsigned group_due(struct flight *f)
{
	if (!group_next(f))
		return 0;
	if (!flight_slot(f))
		try_close(&f->tries[0]);
	return f->at_once;
}

static void flight_due(struct loop_timer *timer)
{
	struct flight *f = container_of(timer, struct flight, timer);
	int64_t now_ms = loop_now_ms(f->resolver->loop);
	unsigned more;

	if (!f->lingers && f->due_ms <= now_ms && !requests_due(f, now_ms))
		return;
	if (f->window && f->window->end_ms <= now_ms) {
		flight_answer_window(f);
		return;
	}
	more = tries_due(f, now_ms);
	if (!f->lingers && f->end_ms <= now_ms) {
		flight_fail(f, -ETIMEDOUT);
		return;
	}
	if (!f->lingers && f->hedge_ms <= now_ms) {
		f->hedge_ms = INT64_MAX;
		more += flight_count(f, TRY_OPEN) < FLIGHT_HEDGED;
	}
	if (!f->lingers && f->group_end_ms <= now_ms)
		more = group_due(f);
	flight_go_on(f, more);
}
