/* Real answers: the query is parked until upstream has answered, and then until the kernel has the
 * answer's addresses (push.c). */
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

static size_t relay(struct parked *p, const uint8_t *msg, size_t len)
{
	struct query q = query_of_parked(p);
	size_t n = filter_rewrites(&q) ? filter_answer(&q, msg, len) : 0;

	return n ? n : dns_response_relay(p->answer, p->answer_size, msg, len, &p->q);
}

static void resolved(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct parked *p = parked_of_request(rq);

	if (error || dns_message_rcode(msg) == DNS_SERVFAIL) {
		real_reply_failed(p, !error || error == -ETIMEDOUT ? DNS_EDE_NO_REACHABLE_AUTHORITY
								   : DNS_EDE_NETWORK_ERROR);
		return;
	}
	if (parked_make_room(p, len, query_limit(&p->origin, &p->q)) ||
		(push_wanted(p) && parked_keep_response(p, msg, len))) {
		real_reply_failed(p, DNS_EDE_OTHER);
		return;
	}
	p->answer_len = relay(p, msg, len);
	if (dns_message_rcode(p->answer) == DNS_SERVFAIL) /* it was no answer to this query */
		real_reply_failed(p, DNS_EDE_OTHER);
	else if (!push_wanted(p) || !push_start(p))
		real_reply(p, msg, len);
}

size_t real_answer(const struct query *q, const struct policy_rule *rule, int upstream, bool carry)
{
	unsigned flags =
		(q->dns->flags & DNS_CD ? RESOLVE_CD : 0) | (q->dns->dnssec_ok ? RESOLVE_DO : 0);

	if (upstream < 0 || query_is_loop(q))
		return query_answer_failed(q, DNS_EDE_NO_REACHABLE_AUTHORITY);
	if (!query_park(q, rule, upstream, carry, flags, resolved))
		return query_answer_failed(q, DNS_EDE_OTHER);
	return QUERY_PARKED;
}
