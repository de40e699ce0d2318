/* Real answers: from the cache at once, or the query is parked until upstream has answered, and
 * then until the kernel has the answer's addresses (push.c). */
#include "gateway/query/query_internal.h"

#include <errno.h>

void real_reply(struct parked *p, const uint8_t *response, size_t response_len)
{
	const struct query_hooks *hooks = &p->engine->c.hooks;

	count_add(&p->engine->counters.real, 1);
	if (hooks->told)
		hooks->told(hooks->arg, &p->origin.client.addr, &p->q.name, response, response_len);
	query_reply(p);
}

void real_reply_failed(struct parked *p, enum dns_ede ede)
{
	struct query q;

	parked_drop_answer(p);
	q = query_of_parked(p);
	p->answer_len = query_answer_failed(&q, ede);
	query_reply(p);
}

static enum dns_ede ede_of(bool stale)
{
	return stale ? DNS_EDE_STALE : DNS_EDE_NONE;
}

/* Upstream's answer as q's: into q->out. */
static size_t relay(const struct query *q, const uint8_t *msg, size_t len, bool stale)
{
	size_t n = filter_rewrites(q) ? filter_answer(q, msg, len) : 0;

	return n ? n : dns_response_relay(q->out, q->limit, msg, len, q->dns, ede_of(stale));
}

/* The answer goes to the client, once its addresses are where they have to be. */
static void deliver(struct parked *p, const uint8_t *msg, size_t len, bool stale)
{
	struct query q;

	if (parked_make_room(p, len, query_limit(&p->origin, &p->q)) ||
		(push_wanted(p) && parked_keep_response(p, msg, len))) {
		real_reply_failed(p, DNS_EDE_OTHER);
		return;
	}
	q = query_of_parked(p);
	p->answer_len = relay(&q, msg, len, stale);
	if (dns_message_rcode(p->answer) == DNS_SERVFAIL) /* it was no answer to this query */
		real_reply_failed(p, DNS_EDE_OTHER);
	else if (!push_wanted(p) || !push_start(p))
		real_reply(p, msg, len);
}

static enum dns_ede ede_of_error(int error)
{
	switch (error) {
	case 0:
	case -ETIMEDOUT:
		return DNS_EDE_NO_REACHABLE_AUTHORITY;
	case -EAGAIN:
		return DNS_EDE_CACHED_ERROR;
	case -EACCES:
		return DNS_EDE_PROHIBITED;
	default:
		return DNS_EDE_NETWORK_ERROR;
	}
}

static void resolved(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct parked *p = parked_of_request(rq);

	if (error || dns_message_rcode(msg) == DNS_SERVFAIL)
		real_reply_failed(p, ede_of_error(error));
	else if (!check_parked(p, msg, len))
		deliver(p, msg, len, rq->stale);
}

/* An answer of the cache that nothing has to wait for: no query is parked for it. */
static size_t answer_cached(const struct query *q, uint8_t *msg, size_t len, bool stale)
{
	const struct query_engine *e = q->engine;
	const struct query_hooks *hooks = &e->c.hooks;
	size_t n;

	count_add(&q->engine->counters.real, 1);
	if (hooks->told)
		hooks->told(hooks->arg, &q->origin->client.addr, &q->dns->name, msg, len);
	if (!filter_rewrites(q)) {
		n = dns_stored_answer(msg, len, q->limit, q->dns, ede_of(stale));
		if (n) {
			memcpy(q->out, msg, n);
			return n;
		}
	}
	return relay(q, msg, len, stale);
}

/* 0: the cache has nothing. */
static size_t look(const struct query *q, const struct policy_rule *rule, bool carry,
	struct resolve_question *question)
{
	struct query_engine *e = q->engine;
	struct parked *p;
	bool stale = false;
	size_t n, len = resolve_look(e->c.resolver, q->gen->groups, question, e->cached,
			  sizeof e->cached, &stale);

	if (!len || dns_message_rcode(e->cached) == DNS_SERVFAIL)
		return 0;
	n = check_cached(q, rule, e->cached, len);
	if (n)
		return n;
	if (!push_needed(q, rule, carry, e->cached, len))
		return answer_cached(q, e->cached, len, stale);
	p = query_park(q, rule, carry);
	if (!p)
		return query_answer_failed(q, DNS_EDE_OTHER);
	deliver(p, e->cached, len, stale);
	return QUERY_PARKED;
}

size_t real_answer(const struct query *q, const struct policy_rule *rule, int upstream, bool carry)
{
	unsigned flags =
		(q->dns->flags & DNS_CD ? RESOLVE_CD : 0) | (q->dns->dnssec_ok ? RESOLVE_DO : 0);
	int group = generation_group(q->gen, upstream, &q->dns->name);
	struct resolve_question question;
	size_t n;

	if (group < 0)
		return query_answer_failed(
			q, upstream < 0 ? DNS_EDE_NO_REACHABLE_AUTHORITY : DNS_EDE_PROHIBITED);
	question = query_question(q, rule, group, flags);
	n = rule->cache ? look(q, rule, carry, &question) : 0;
	if (n)
		return n;
	if (query_is_loop(q))
		return query_answer_failed(q, DNS_EDE_NO_REACHABLE_AUTHORITY);
	question.flags |= RESOLVE_LOOKED;
	if (!query_ask(q, rule, carry, &question, resolved))
		return query_answer_failed(q, DNS_EDE_OTHER);
	return QUERY_PARKED;
}
