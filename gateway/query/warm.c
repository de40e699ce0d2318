/* The warm-up of the cache after a start. A name is asked as a client that nothing is known of
 * would ask it, so that no rule of today sends it where it may not go; what today's rules would
 * keep under another view is left alone, and so is what records or leases know by now. */
#include "gateway/base/container.h"
#include "gateway/query/query_internal.h"

#include <errno.h>
#include <stdlib.h>

#define SECOND_MS 1000

struct warm {
	struct loop_timer timer;
	struct query_engine *engine;
	unsigned interval_ms;
	size_t n, next;
	struct cache_hot hot[];
};

static void ask(struct query_engine *e, const struct cache_hot *hot)
{
	const struct policy_question question = {.name = &hot->name, .type = hot->type};
	struct policy_decision d = policy_decide(e->gen->policy, &question);
	const struct policy_rule *rule = d.rule;
	const struct query_origin origin = {.stream = false};
	const struct dns_query dns = {.name = hot->name, .type = hot->type};
	const struct query q = {.engine = e, .gen = e->gen, .origin = &origin, .dns = &dns};
	unsigned flags =
		(hot->flags & CACHE_CD ? RESOLVE_CD : 0) | (hot->flags & CACHE_DO ? RESOLVE_DO : 0);
	struct resolve_question asked;
	int group;

	if (d.builtin != POLICY_BUILTIN_NONE || rule->answer != CONF_ANSWER_REAL || !rule->cache)
		return;
	if (records_hold(e->gen->records, &hot->name) || lease_holds(&q) || lease_holds_reverse(&q))
		return;
	group = policy_group(e->gen->policy, rule->upstream, &hot->name);
	if (group < 0)
		return;
	asked = query_question(&q, rule, group, flags);
	if (resolve_view(e->gen->groups, &asked) == hot->view)
		resolve_refresh(e->c.resolver, e->gen->groups, &asked);
}

static void due(struct loop_timer *t)
{
	struct warm *w = container_of(t, struct warm, timer);
	struct query_engine *e = w->engine;

	ask(e, &w->hot[w->next]);
	if (++w->next == w->n ||
		loop_timer_set(e->c.loop, t, loop_now_ms(e->c.loop) + w->interval_ms))
		warm_stop(e);
}

int query_engine_warm(struct query_engine *e, const struct cache_hot *hot, size_t n, unsigned rate)
{
	struct warm *w;
	int error;

	if (n == 0 || rate == 0)
		return 0;
	w = malloc(sizeof *w + n * sizeof *hot);
	if (!w)
		return -ENOMEM;
	*w = (struct warm){.timer.fire = due,
		.engine = e,
		.interval_ms = rate < SECOND_MS ? SECOND_MS / rate : 1,
		.n = n};
	memcpy(w->hot, hot, n * sizeof *hot);
	error = loop_timer_set(e->c.loop, &w->timer, loop_now_ms(e->c.loop) + w->interval_ms);
	if (error)
		free(w);
	else
		e->warm = w;
	return error;
}

void warm_stop(struct query_engine *e)
{
	if (!e->warm)
		return;
	loop_timer_cancel(e->c.loop, &e->warm->timer);
	free(e->warm);
	e->warm = NULL;
}
