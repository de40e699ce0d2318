/* What checks have learned is verified from time to time: the name is asked again where the rule
 * with the check would ask, in the background, and forgotten when the check does not hold any more.
 * That an upstream is silent, or says that there is no address, is no reason to: it may be what the
 * name was sent elsewhere for. */
#include "gateway/query/query_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/container.h"
#include "gateway/learned/learned.h"

#include <stdlib.h>

#define VERIFYING_MAX 16
#define DEADLINE_MS   10000

static const struct {
	uint16_t type;
	enum conf_filter filter; /* under which it is not asked */
} questions[] = {{DNS_A, CONF_FILTER_IPV4}, {DNS_AAAA, CONF_FILTER_IPV6}};

struct verify {
	struct query_engine *engine;
	struct generation *gen; /* a reference; NULL: this one is free */
	const struct policy_check *check;
	struct dns_name name;
	uint64_t hash;
	enum conf_filter filter; /* of the rule that has the check */
	unsigned n_asked;	 /* of questions[], or left out */
	bool changed;		 /* it has addresses for which the check does not hold */
	struct resolve_request request;
};

static void end(struct verify *v)
{
	generation_unref(v->gen);
	v->gen = NULL;
}

static void settle(struct verify *v)
{
	if (v->changed)
		(void)learned_remove(v->check->learned, &v->name);
	else
		learned_put_off(v->check->learned, &v->name, clock_wall_s());
	end(v);
}

static bool still_holds(struct verify *v, size_t n)
{
	struct learned_why why = {.addresses = v->engine->addresses, .n_addresses = n};

	if (!policy_check_still_holds(
		    v->gen->policy, v->check, why.addresses, why.n_addresses, &why.list))
		return false;
	(void)learned_add(v->check->learned, &v->name, &why, clock_wall_s());
	return true;
}

static void ask_next(struct verify *v);

static void answered(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct verify *v = container_of(rq, struct verify, request);
	bool silent = error || rq->stale || dns_message_rcode(msg) == DNS_SERVFAIL;
	size_t n = silent ? 0
			  : query_addresses(
				    msg, len, v->filter, v->engine->addresses, QUERY_ADDRESSES_MAX);

	if (n > 0 && still_holds(v, n)) {
		end(v);
		return;
	}
	v->changed |= n > 0;
	if (silent)
		settle(v);
	else
		ask_next(v);
}

static void ask(struct verify *v, uint16_t type)
{
	const struct policy_rule *owner = v->check->owner;
	const struct query_engine_config *c = &v->engine->c;
	const struct resolve_question question = {.group = owner->upstream,
		.name = &v->name,
		.hash = v->hash,
		.type = type,
		.flags = (uint8_t)generation_flags(owner),
		.ttl = &owner->ttl};

	generation_ask(v->gen, c->resolver, &question, loop_now_ms(c->loop) + DEADLINE_MS,
		&v->request, answered);
}

/* It may have been learned from either family, but for one that the rule never asks for. */
static void ask_next(struct verify *v)
{
	while (v->n_asked < sizeof questions / sizeof questions[0]) {
		unsigned i = v->n_asked++;

		if (v->filter == questions[i].filter ||
			!policy_check_wants(v->gen->policy, v->check, questions[i].type))
			continue;
		ask(v, questions[i].type);
		return;
	}
	settle(v);
}

/* NULL: too many at once, or no memory. The table tells another query that it is due. */
static struct verify *take(struct query_engine *e)
{
	if (!e->verifying)
		e->verifying = calloc(VERIFYING_MAX, sizeof *e->verifying);
	for (size_t i = 0; e->verifying && i < VERIFYING_MAX; i++)
		if (!e->verifying[i].gen)
			return &e->verifying[i];
	return NULL;
}

void verify_begin(const struct query *q, const struct policy_check *check)
{
	struct verify *v = q->engine->stopped ? NULL : take(q->engine);

	if (!v)
		return;
	*v = (struct verify){.engine = q->engine,
		.gen = generation_ref(q->gen),
		.check = check,
		.name = q->dns->name,
		.hash = q->hash,
		.filter = query_filter(check->owner, q->engine->c.ways)};
	ask_next(v);
}

void verify_stop(struct query_engine *e)
{
	for (size_t i = 0; e->verifying && i < VERIFYING_MAX; i++)
		if (e->verifying[i].gen) {
			resolve_cancel(&e->verifying[i].request);
			end(&e->verifying[i]);
		}
	free(e->verifying);
	e->verifying = NULL;
}
