/* SVCB and HTTPS of a fake name (`fakeip.https: rewrite`): asked where the name's traffic leaves,
 * so that what is told of the server belongs to the one that is reached; told with the fake pair
 * for its addresses.
 *
 * What upstream does not know, or cannot say, is NODATA: the name exists, its A and AAAA are
 * answered, and a client that gets SERVFAIL here may give up on those too (RFC 9460 3.1). */
#include "gateway/query/query_internal.h"

/* A client keeps a hint as long as the record, so the table is told that the address is in use
 * until then; and the record's TTL is cut to this, because what it says of a fake name changes when
 * the rules do. */
#define TTL_MAX_S 60

bool https_wanted(const struct query *q)
{
	return q->gen->https == CONF_HTTPS_REWRITE &&
	       (q->dns->type == DNS_HTTPS || q->dns->type == DNS_SVCB);
}

static void ignore(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	(void)arg;
	(void)address;
	(void)size;
	(void)ttl_s;
}

/* 0: there is nothing to tell. A name that gets no pair is told without hints: then its A and AAAA
 * are asked for, and those know what to say instead. */
static size_t rewrite(
	const struct query *q, const struct policy_rule *rule, const uint8_t *msg, size_t len)
{
	struct dns_svcb_rewrite how = {
		.drop_ech = q->gen->ech == CONF_ECH_DROP, .ttl_max_s = TTL_MAX_S};
	struct fakeip_pair pair;
	struct dns_writer w;

	if (dns_response_addresses(msg, len, ignore, NULL) > 0 &&
		fake_assign(q, rule, &pair) == 0) {
		how.has4 = pair.has4 && q->filter != CONF_FILTER_IPV4;
		how.has6 = pair.has6 && q->filter != CONF_FILTER_IPV6;
		memcpy(how.v4, pair.v4, sizeof how.v4);
		memcpy(how.v6, pair.v6, sizeof how.v6);
		fakeip_touch_until(
			q->engine->c.fakeip, pair.index, q->engine->c.clock_s() + TTL_MAX_S);
		query_engine_commit(q->engine); /* the answer leaves now */
	}
	dns_answer_begin(&w, q->out, q->limit, q->dns, DNS_NOERROR, 0);
	return dns_answer_svcb(&w, msg, len, &how) ? dns_answer_end(&w, DNS_EDE_FORGED) : 0;
}

static size_t answer_nodata(const struct query *q)
{
	count_add(&q->engine->counters.fake, 1);
	return query_answer_empty(q, DNS_NOERROR, 0, DNS_EDE_FORGED);
}

static void resolved(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct parked *p = parked_of_request(rq);
	struct query q;

	/* Hints of the family that a record did not have make it longer, by less than it was. */
	if (!error && dns_message_rcode(msg) == DNS_NOERROR &&
		parked_make_room(p, 2 * len, query_limit(&p->origin, &p->q)) == 0) {
		q = query_of_parked(p);
		p->answer_len = rewrite(&q, p->rule, msg, len);
	}
	if (p->answer_len > 0) {
		count_add(&p->engine->counters.fake, 1);
	} else {
		parked_drop_answer(p);
		q = query_of_parked(p);
		p->answer_len = answer_nodata(&q);
	}
	query_reply(p);
}

size_t https_answer(const struct query *q, const struct policy_rule *rule)
{
	unsigned flags = q->dns->flags & DNS_CD ? RESOLVE_CD : 0; /* no signature fits */
	int upstream = query_upstream(rule);

	struct resolve_question question = query_question(q, rule, upstream, flags);

	if (query_is_loop(q))
		return query_answer_failed(q, DNS_EDE_NO_REACHABLE_AUTHORITY);
	if (upstream < 0 || !query_ask(q, rule, false, &question, resolved))
		return answer_nodata(q);
	return QUERY_PARKED;
}
