/* Theory of operation. The steps of a query:
 *
 * - decide: records and leases, then the policy names the rule that wins.
 * - answer: block, local, built-in and fake answers (local.c, lease.c, fake.c) are written at once;
 *   a real one (real.c), or a rewritten one (https.c), parks the query until upstream has answered.
 *   Behind a CNAME of ours the same begins again with its target (chase.c).
 * - check: the addresses of a real answer may send the name to another rule, once (check.c); that
 *   one answers as if it had won.
 * - push: the addresses of a real answer go into the sets (push.c); the query stays parked until
 *   the kernel has them.
 * - reply: on the way it came.
 *
 * query_handle() is at the end; what it calls stands above it. */
#include "gateway/query/query_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <stdlib.h>

#define LOOP_SIGHTINGS_MAX 3 /* the third within one flight is stopped */
#define LOG_EVERY_MS	   60000
#define ASK_DEADLINE_MS	   30000 /* above any group's own total */

/* --- the engine --- */

int query_engine_new(const struct query_engine_config *config, struct query_engine **ret)
{
	struct query_engine *e = calloc(1, sizeof *e);

	if (!e)
		return -ENOMEM;
	e->c = *config;
	chase_init(e);
	later_init(e);
	*ret = e;
	return 0;
}

void query_engine_free(struct query_engine *e)
{
	if (!e)
		return;
	warm_stop(e);
	verify_stop(e);
	generation_unref(e->gen);
	parked_slab_fini(&e->parked);
	chase_fini(e);
	later_fini(e);
	free(e);
}

void query_engine_stop(struct query_engine *e)
{
	e->stopped = true;
	warm_stop(e);
	verify_stop(e);
}

void query_engine_set_lame(struct query_engine *e)
{
	e->lame = true;
}

bool query_engine_idle(const struct query_engine *e)
{
	return e->parked.used == 0 && e->n_chased == 0 && !count_get(&e->counters.push_queued);
}

void query_engine_use(struct query_engine *e, struct generation *g)
{
	generation_ref(g);
	generation_unref(e->gen);
	e->gen = g;
}

const struct query_counters *query_engine_counters(const struct query_engine *e)
{
	return &e->counters;
}

void query_engine_commit(struct query_engine *e)
{
	int error;

	if (!e->commit_due)
		return;
	e->commit_due = false;
	error = fakeip_commit(e->c.fakeip);
	if (error)
		log_error("fakeip.store: %s; the table is kept in memory only from now on",
			strerror(-error));
}

/* --- what the steps share --- */

size_t query_limit(const struct query_origin *o, const struct dns_query *dns)
{
	return o->stream ? DNS_MESSAGE_MAX : dns_udp_limit(dns);
}

struct query query_of_parked(struct parked *p)
{
	return (struct query){.engine = p->engine,
		.gen = p->gen,
		.origin = &p->origin,
		.dns = &p->q,
		.out = p->answer,
		.limit = p->answer_size,
		.also = p->also,
		.filter = p->filter,
		.hash = p->hash,
		.checked = p->checked};
}

/* With a SOA that says how long that may be remembered. */
size_t query_answer_empty(
	const struct query *q, enum dns_rcode rcode, uint16_t flags, enum dns_ede ede)
{
	uint32_t ttl_s = q->gen->fake_ttl_s;
	struct dns_writer w;

	dns_answer_begin(&w, q->out, q->limit, q->dns, rcode, flags);
	dns_answer_soa(&w, ttl_s ? ttl_s : 1);
	return dns_answer_end(&w, ede);
}

size_t query_answer_failed(const struct query *q, enum dns_ede ede)
{
	count_add(&q->engine->counters.failed, 1);
	return dns_answer_empty(q->out, q->limit, q->dns, DNS_SERVFAIL, 0, ede);
}

/* interface.md, "Loops": our own question has come back to us, through a local resolver or a
 * configured server. */
bool query_is_loop(const struct query *q)
{
	static struct log_gate gate;
	struct query_engine *e = q->engine;
	const struct ip_addr *from = &q->origin->client.addr;
	char client[IP_TEXT_MAX], name[DNS_NAME_TEXT_MAX];

	if (!hosts_contain(e->c.hosts, from) && !resolve_is_server(q->gen->groups, from))
		return false;
	if (resolve_sighted(q->gen->groups, &q->dns->name, q->dns->type) < LOOP_SIGHTINGS_MAX)
		return false;
	count_add(&e->counters.loops, 1);
	if (log_gate_open(&gate, LOG_EVERY_MS))
		log_warn("loop: the question %s came back from %s while it is being asked "
			 "upstream; stopped with SERVFAIL. "
			 "Exempt that resolver (gateway.exempt) or ask another upstream",
			dns_name_format(q->dns->name.b, name), ip_addr_format(from, client));
	return true;
}

struct resolve_question query_question(
	const struct query *q, const struct policy_rule *rule, int group, unsigned flags)
{
	if (q->origin->stream)
		flags |= RESOLVE_STREAM;
	return (struct resolve_question){.group = group,
		.name = &q->dns->name,
		.hash = q->hash,
		.type = q->dns->type,
		.flags = (uint8_t)(flags | generation_flags(rule)),
		.ttl = &rule->ttl};
}

struct parked *query_park(const struct query *q, const struct policy_rule *rule, bool carry)
{
	struct query_engine *e = q->engine;
	struct parked *p = parked_get(&e->parked, &q->origin->client.addr);

	if (!p) {
		count_add(&e->counters.parked_full, 1);
		return NULL;
	}
	p->engine = e;
	p->gen = generation_ref(q->gen);
	p->rule = rule;
	p->carry = carry;
	p->also = q->also;
	p->hash = q->hash;
	p->filter = q->filter;
	p->checked = q->checked;
	p->origin = *q->origin;
	p->q = *q->dns;
	return p;
}

bool query_ask(const struct query *q, const struct policy_rule *rule, bool carry,
	const struct resolve_question *question, resolve_done *done)
{
	struct query_engine *e = q->engine;
	struct parked *p = query_park(q, rule, carry);

	if (!p)
		return false;
	generation_ask(p->gen, e->c.resolver, question, loop_now_ms(e->c.loop) + ASK_DEADLINE_MS,
		&p->request, done);
	return true;
}

void query_end(struct parked *p)
{
	loop_timer_cancel(p->engine->c.loop, &p->push_timer);
	generation_unref(p->gen);
	parked_put(&p->engine->parked, p);
}

void query_reply(struct parked *p)
{
	p->origin.reply(&p->origin, p->answer, p->answer_len);
	if (p->pushing) /* the writer still holds its job; that ends it */
		p->replied = true;
	else
		query_end(p);
}

/* Where the traffic of the rule's names leaves is where they are resolved. */
int query_upstream(const struct policy_rule *rule)
{
	return rule->egress && rule->egress->upstream >= 0 ? rule->egress->upstream
							   : rule->upstream;
}

/* --- decide, answer --- */

/* A real answer of a fake rule, whose traffic takes the rule's egress as that of a fake one would;
 * rule->carry speaks of real rules only. */
static size_t answer_unfaked(const struct query *q, const struct policy_rule *rule, int upstream)
{
	const struct policy_egress *egress = rule->egress;
	bool carry = egress && (egress->type != CONF_EGRESS_DIRECT || egress->mark.mask);

	return real_answer(q, rule, upstream, carry);
}

/* Never somebody else's address. */
static size_t answer_exhausted(const struct query *q, const struct policy_rule *rule)
{
	static struct log_gate gate;
	bool real = q->gen->exhausted == CONF_EXHAUSTED_REAL;
	char name[DNS_NAME_TEXT_MAX];

	count_add(&q->engine->counters.exhausted, 1);
	if (log_gate_open(&gate, LOG_EVERY_MS))
		log_warn("fakeip: no address is free for %s; new names are answered %s",
			dns_name_format(q->dns->name.b, name),
			real ? "with their real addresses" : "SERVFAIL");
	return real ? answer_unfaked(q, rule, query_upstream(rule))
		    : query_answer_failed(q, DNS_EDE_OTHER);
}

struct policy_question query_policy_question(const struct query *q, struct policy_who *who)
{
	const struct ip_addr *client = &q->origin->client.addr;

	return (struct policy_question){
		.name = &q->dns->name,
		.type = q->dns->type,
		.client = *client,
		.who = generation_who(q->gen, q->engine->c.neighbours, client, who),
		.listener = 1u << q->origin->listener,
	};
}

static struct policy_decision decide(const struct query *q, const struct matcher_look *look)
{
	const struct policy *policy = q->gen->policy;
	const struct policy_check *const *learning;
	struct policy_who who;
	struct policy_question question = query_policy_question(q, &who);

	question.look = look;
	if (policy_learning(policy, &learning) > 0)
		question.now_s = clock_wall_s();
	return policy_decide(policy, &question);
}

/* Zones of the house give way to who knows the house. What else is asked about a name that records
 * know there is nobody else's business. */
static enum policy_builtin builtin_of(const struct query *q, const struct policy_decision *d)
{
	if (d->builtin != POLICY_BUILTIN_HOUSE)
		return d->builtin;
	if (lease_holds(q) || lease_holds_reverse(q))
		return POLICY_BUILTIN_NONE;
	return records_hold(q->gen->records, &q->dns->name) ? POLICY_BUILTIN_NODATA : d->builtin;
}

static size_t answer_fake(struct query *q, const struct policy_decision *d)
{
	const struct policy_rule *rule = d->rule;
	size_t n;

	if (lease_holds(q)) /* of the LAN: no egress leads there */
		return real_answer(q, rule, rule->upstream, false);
	if (d->never_fake)
		return answer_unfaked(q, rule, rule->upstream);
	if (q->engine->lame)
		return answer_unfaked(q, rule, query_upstream(rule));
	if (https_wanted(q))
		return https_answer(q, rule);
	n = fake_answer(q, rule);
	return n ? n : answer_exhausted(q, rule);
}

size_t query_answer_as(struct query *q, const struct policy_decision *d)
{
	const struct policy_rule *rule = d->rule;

	q->checked = d->learned;
	q->filter = query_filter(rule, q->engine->c.ways);
	if (rule->answer == CONF_ANSWER_BLOCK)
		return block_answer(q, rule);
	if (filter_drops(q))
		return filter_answer_empty(q, rule);
	if (rule->answer == CONF_ANSWER_LOCAL)
		return local_answer_rule(q, rule);
	if (rule->answer == CONF_ANSWER_REAL)
		return real_answer(q, rule, rule->upstream, rule->carry);
	return answer_fake(q, d);
}

static size_t answer_by_rule(struct query *q, const struct matcher_look *look)
{
	struct policy_decision d = decide(q, look);
	enum policy_builtin builtin = builtin_of(q, &d);
	size_t n;

	if (builtin != POLICY_BUILTIN_NONE)
		return local_answer_builtin(q, builtin);
	q->also = d.also;
	n = query_answer_as(q, &d);
	if (d.verify_due)
		verify_begin(q, d.learned);
	return n;
}

/* What the rules, the table of fake addresses and the cache will be asked is far from the
 * processor: its way here begins before the small steps, so that none waits for all of it. */
size_t query_answer(struct query *q)
{
	struct fakeip_table *fakeip = q->engine->c.fakeip;
	struct matcher_look look;
	size_t n;

	policy_begin(q->gen->policy, &q->dns->name, &look);
	q->hash = dns_name_hash(&q->dns->name, q->engine->c.hash_key);
	fakeip_prefetch(fakeip, q->hash);
	resolve_prefetch(q->engine->c.resolver, q->hash);
	n = fake_answer_reverse(q);
	if (!n)
		n = local_answer_records(q);
	if (!n)
		n = lease_answer(q);
	if (n)
		return n;
	fakeip_prefetch_entry(fakeip, q->hash);
	return answer_by_rule(q, &look);
}

size_t query_handle(struct query_engine *e, const struct query_origin *o, const uint8_t *msg,
	size_t len, uint8_t *out)
{
	struct query q = {.engine = e, .gen = e->gen, .origin = o, .out = out};
	enum dns_rcode rcode;
	struct dns_query dns;

	if (e->stopped)
		return 0;
	switch (dns_query_parse(msg, len, &dns, &rcode)) {
	case DNS_PARSE_IGNORE:
		return 0;
	case DNS_PARSE_ANSWER:
		count_add(&e->counters.total, 1);
		return dns_answer_empty(out, query_limit(o, &dns), &dns, rcode, 0, DNS_EDE_NONE);
	case DNS_PARSE_QUERY:
		break;
	}
	count_add(&e->counters.total, 1);
	q.dns = &dns;
	q.limit = query_limit(o, &dns);
	return query_answer(&q);
}
