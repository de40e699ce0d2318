/* Behind a CNAME of ours the client's question begins again with the target: records, rules,
 * upstream, sets, all as if it had been asked. What comes back is put behind the CNAME. So the
 * target's question has an origin of its own, whose reply comes here. */
#include "gateway/query/query_internal.h"

#define CHASE_MAX 8 /* CNAMEs of ours one after the other; more is a circle */

struct chased {
	struct query_engine *engine;
	struct query_origin origin; /* the client's */
	struct dns_query q;	    /* its question */
	struct dns_name target;
	uint32_t ttl_s;
};

void chase_init(struct query_engine *e)
{
	slab_init(&e->chased, sizeof(struct chased), PARKED_MAX);
}

void chase_fini(struct query_engine *e)
{
	slab_fini(&e->chased);
}

static struct chased *chased_take(struct query *q)
{
	struct query_engine *e = q->engine;
	struct chased *c = slab_take(&e->chased);

	if (!c) {
		count_add(&e->counters.parked_full, 1);
		return NULL;
	}
	e->n_chased++;
	c->engine = e;
	c->origin = *q->origin;
	c->q = *q->dns;
	return c;
}

static void chased_give(struct chased *c)
{
	c->engine->n_chased--;
	slab_give(&c->engine->chased, c);
}

/* The answer that is made of the target's, in one of two places by turns: the one that a CNAME
 * before this one makes must not be where it reads from. */
static size_t compose(const struct chased *c, const uint8_t *msg, size_t len, uint8_t **ret)
{
	struct dns_writer w;
	enum dns_rcode rcode = dns_message_rcode(msg);
	unsigned n;

	*ret = c->engine->scratch[c->origin.depth % 2];
	dns_answer_begin(&w, *ret, query_limit(&c->origin, &c->q), &c->q, rcode, DNS_AA);
	dns_answer_record(&w, NULL, DNS_CNAME, c->ttl_s, c->target.b, c->target.len);
	n = dns_answer_copy(&w, msg, len, UINT32_MAX);
	if (n == 0 && (rcode == DNS_NOERROR || rcode == DNS_NXDOMAIN))
		dns_answer_soa(&w, 1);
	w.full |= (dns_message_flags(msg) & DNS_TC) != 0;
	return dns_answer_end(&w, DNS_EDE_NONE);
}

static void target_answered(const struct query_origin *o, const uint8_t *msg, size_t len)
{
	struct chased *c;
	uint8_t *out;
	size_t n;

	memcpy(&c, o->route, sizeof c);
	n = compose(c, msg, len, &out);
	c->origin.reply(&c->origin, out, n);
	chased_give(c);
}

/* The same question for the target. */
static struct dns_query target_question(const struct dns_query *q, const struct dns_name *target)
{
	struct dns_query t = *q;

	t.name = *target;
	memcpy(t.question, target->b, target->len);
	memcpy(t.question + target->len, q->question + q->question_len - 4, 4);
	t.question_len = (uint16_t)(target->len + 4);
	return t;
}

size_t chase_answer(struct query *q, const struct dns_name *target, uint32_t ttl_s)
{
	struct query_origin origin = *q->origin;
	struct dns_query question = target_question(q->dns, target);
	struct query t = {
		.engine = q->engine,
		.gen = q->gen,
		.origin = &origin,
		.dns = &question,
		.out = q->out,
		.limit = q->limit,
	};
	struct chased *c = origin.depth < CHASE_MAX ? chased_take(q) : NULL;
	uint8_t *out;
	size_t n;

	if (!c)
		return query_answer_failed(q, DNS_EDE_OTHER);
	c->target = *target;
	c->ttl_s = ttl_s;
	origin.reply = target_answered;
	memcpy(origin.route, &c, sizeof c);
	origin.depth++;
	n = query_answer(&t);
	if (n == QUERY_PARKED)
		return n;
	if (n > 0) {
		n = compose(c, q->out, n, &out);
		memcpy(q->out, out, n);
	}
	chased_give(c);
	return n;
}
