/* Theory of operation. The steps of a query:
 *
 * - decide: the policy names the rule that wins.
 * - answer: block, local and fake answers are written at once; a real one parks the query until
 *   upstream has answered.
 * - push: the addresses of a real answer go into the rule's sets; the query stays parked until the
 *   kernel has them.
 * - reply: on the way it came.
 *
 * query_handle() is at the end; what it calls stands above it. */
#include "gateway/query/query.h"
#include "gateway/base/clock.h"
#include "gateway/base/container.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/query/parked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOOP_SIGHTINGS_MAX 3 /* the third within one flight is stopped */
#define LOOP_LOG_EVERY_MS  60000
#define PUSH_TIMEOUT_MS	   50	 /* interface.md, push_timeout */
#define ASK_DEADLINE_MS	   30000 /* above any group's own total */

struct query_engine {
	struct query_engine_config c;
	struct generation *gen;
	struct parked_slab parked;
	struct query_counters counters;
	bool commit_due, stopped;
};

int query_engine_new(const struct query_engine_config *config, struct query_engine **ret)
{
	struct query_engine *e = calloc(1, sizeof *e);

	if (!e)
		return -ENOMEM;
	e->c = *config;
	*ret = e;
	return 0;
}

void query_engine_free(struct query_engine *e)
{
	if (!e)
		return;
	generation_unref(e->gen);
	parked_slab_fini(&e->parked);
	free(e);
}

void query_engine_stop(struct query_engine *e)
{
	e->stopped = true;
}

bool query_engine_idle(const struct query_engine *e)
{
	return e->parked.used == 0;
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

static size_t limit_of(const struct query_origin *o, const struct dns_query *q)
{
	return o->stream ? DNS_MESSAGE_MAX : dns_udp_limit(q);
}

/* --- answer: block, local, fake --- */

/* An answer without records, with a SOA that says how long that may be remembered. */
static size_t answer_negative(struct query_engine *e, const struct dns_query *q,
	enum dns_rcode rcode, enum dns_ede ede, uint8_t *out, size_t limit)
{
	uint32_t ttl_s = e->gen->fake_ttl_s;

	return dns_answer_empty(out, limit, q, rcode, ttl_s ? ttl_s : 1, ede);
}

static size_t answer_block(
	struct query_engine *e, const struct dns_query *q, uint8_t *out, size_t limit)
{
	count_add(&e->counters.block, 1);
	return answer_negative(e, q, DNS_NXDOMAIN, DNS_EDE_BLOCKED, out, limit);
}

/* A reverse question for an address of a pool never leaves the house, mapped or not. 0: not such a
 * question. */
static size_t answer_reverse(
	struct query_engine *e, const struct dns_query *q, uint8_t *out, size_t limit)
{
	struct fakeip_mapping mapping;
	struct dns_writer w;
	uint8_t address[16];
	uint32_t index;
	size_t size;
	bool known;

	if (!dns_name_reverse_address(&q->name, address, &size) ||
		!fakeip_in_pools(e->c.fakeip, address, size))
		return 0;
	count_add(&e->counters.local, 1);
	known = (size == 4 ? fakeip_index4(e->c.fakeip, address, &index)
			   : fakeip_index6(e->c.fakeip, address, &index)) &&
		fakeip_get(e->c.fakeip, index, &mapping) == 0;
	if (!known)
		return answer_negative(e, q, DNS_NXDOMAIN, DNS_EDE_NONE, out, limit);
	if (q->type != DNS_PTR)
		return answer_negative(e, q, DNS_NOERROR, DNS_EDE_NONE, out, limit);
	dns_answer_begin(&w, out, limit, q, DNS_NOERROR, DNS_AA);
	dns_answer_ptr(&w, mapping.name, e->gen->fake_ttl_s);
	return dns_answer_end(&w, DNS_EDE_NONE);
}

/* 0: no fake address is free. */
static size_t answer_fake(struct query_engine *e, const struct dns_query *q,
	const struct policy_rule *rule, uint8_t *out, size_t limit)
{
	uint32_t ttl_s = e->gen->fake_ttl_s;
	struct fakeip_pair pair;
	struct dns_writer w;

	if (q->type != DNS_A && q->type != DNS_AAAA) {
		count_add(&e->counters.fake, 1);
		return answer_negative(e, q, DNS_NOERROR, DNS_EDE_FORGED, out, limit);
	}
	if (fakeip_assign(e->c.fakeip, q->name.b, q->name.len,
		    dns_name_hash(&q->name, e->c.hash_key), rule->view, rule->id, e->c.clock_s(),
		    &pair) < 0)
		return 0;
	count_add(&e->counters.fake, 1);
	e->commit_due |= pair.pending;
	if (q->type == DNS_A ? !pair.has4 : !pair.has6)
		return answer_negative(e, q, DNS_NOERROR, DNS_EDE_FORGED, out, limit);
	dns_answer_begin(&w, out, limit, q, DNS_NOERROR, DNS_AA);
	if (q->type == DNS_A)
		dns_answer_address(&w, pair.v4, 4, ttl_s);
	else
		dns_answer_address(&w, pair.v6, 16, ttl_s);
	return dns_answer_end(&w, DNS_EDE_FORGED);
}

/* --- answer: real --- */

static size_t answer_failed(struct query_engine *e, const struct dns_query *q, enum dns_ede ede,
	uint8_t *out, size_t limit)
{
	count_add(&e->counters.failed, 1);
	return dns_answer_empty(out, limit, q, DNS_SERVFAIL, 0, ede);
}

/* interface.md, "Loops": our own question has come back to us, through a local resolver or a
 * configured server. */
static bool is_loop(struct query_engine *e, const struct query_origin *o, const struct dns_query *q)
{
	static struct log_gate gate;
	char client[IP_TEXT_MAX], name[DNS_NAME_TEXT_MAX];

	if (!hosts_contain(e->c.hosts, &o->client.addr) &&
		!resolve_is_server(e->gen->groups, &o->client.addr))
		return false;
	if (resolve_sighted(e->gen->groups, &q->name, q->type) < LOOP_SIGHTINGS_MAX)
		return false;
	count_add(&e->counters.loops, 1);
	if (log_gate_open(&gate, LOOP_LOG_EVERY_MS))
		log_warn("loop: the question %s came back from %s while it is being asked "
			 "upstream; stopped with SERVFAIL. "
			 "Exempt that resolver (gateway.exempt) or ask another upstream",
			dns_name_format(q->name.b, name), ip_addr_format(&o->client.addr, client));
	return true;
}

static void parked_end(struct parked *p)
{
	loop_timer_cancel(p->engine->c.loop, &p->push_timer);
	generation_unref(p->gen);
	parked_put(&p->engine->parked, p);
}

static void reply(struct parked *p)
{
	p->origin.reply(&p->origin, p->answer, p->answer_len);
	if (p->pushing) /* the writer still holds its job; pushed() ends it */
		p->replied = true;
	else
		parked_end(p);
}

static void reply_real(struct parked *p)
{
	count_add(&p->engine->counters.real, 1);
	reply(p);
}

static void reply_failed(struct parked *p, enum dns_ede ede)
{
	parked_drop_answer(p);
	p->answer_len = answer_failed(p->engine, &p->q, ede, p->small, sizeof p->small);
	reply(p);
}

/* --- push --- */

static uint32_t set_timeout_s(const struct conf_set_ttl *t, uint32_t ttl_s)
{
	if (t->permanent)
		return 0;
	if (t->fixed_s)
		return t->fixed_s;
	return (ttl_s > t->min_s ? ttl_s : t->min_s) + t->grace_s;
}

struct collect {
	struct parked *p;
	size_t skip, seen;
};

static void collect_address(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct collect *c = arg;
	const struct policy_rule *rule = c->p->rule;
	struct ip_addr a = size == 4 ? ip_addr_v4(address) : ip_addr_v6(address);

	for (size_t i = 0; i < rule->n_sets; i++) {
		struct writer_job *job = &c->p->job;
		uint8_t family = rule->sets[i].family;

		/* Not for this set; so an answer that is for none of them does not wait. */
		if (family != IP_NONE && family != a.family)
			continue;
		if (c->seen++ < c->skip || job->n == WRITER_JOB_ELEMENTS)
			continue;
		job->elements[job->n++] = (struct writer_element){
			.op = WRITER_SET_ADD,
			.set = c->p->gen->sets[rule->set_base + i],
			.timeout_s = set_timeout_s(&rule->set_ttl, ttl_s),
			.addr = a,
		};
	}
}

static void pushed(struct writer_job *job);

static void push_failed(struct parked *p)
{
	count_add(&p->engine->counters.push_errors, 1);
	if (p->rule->on_error == CONF_ON_ERROR_SERVFAIL)
		reply_failed(p, DNS_EDE_OTHER);
	else
		reply_real(p);
}

/* Somebody else's large transaction holds the kernel's lock, and the writer with it: the client
 * does not wait. */
static void push_late(struct loop_timer *t)
{
	push_failed(container_of(t, struct parked, push_timer));
}

/* Hands the next elements to the writer; false if none are left. An answer with more than a job's
 * worth of them goes in several jobs, one after the other. */
static bool push(struct parked *p)
{
	struct collect c = {.p = p, .skip = p->pushed};

	p->job.n = 0;
	dns_response_addresses(p->response, p->response_len, collect_address, &c);
	if (p->job.n == 0)
		return false;
	p->pushed += p->job.n;
	p->job.client = p->engine->c.writer_client;
	p->job.done = pushed;
	count_add(&p->engine->counters.pushes, 1);
	p->pushing = true;
	if (!p->push_timer.slot)
		loop_timer_set(p->engine->c.loop, &p->push_timer,
			loop_now_ms(p->engine->c.loop) + PUSH_TIMEOUT_MS);
	writer_submit(p->engine->c.writer, &p->job);
	return true;
}

static void pushed(struct writer_job *job)
{
	struct parked *p = parked_of_job(job);

	p->pushing = false;
	if (p->replied)
		parked_end(p);
	/* A silent kernel is waited for once, not for each job of the answer. */
	else if (job->result == -ETIMEDOUT ||
		 (job->result < 0 && p->rule->on_error == CONF_ON_ERROR_SERVFAIL))
		push_failed(p);
	else {
		count_add(&p->engine->counters.push_errors, job->result < 0);
		if (!push(p))
			reply_real(p);
	}
}

static void resolved(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct parked *p = parked_of_request(rq);
	size_t limit = limit_of(&p->origin, &p->q);

	if (error || dns_message_rcode(msg) == DNS_SERVFAIL) {
		reply_failed(p, !error || error == -ETIMEDOUT ? DNS_EDE_NO_REACHABLE_AUTHORITY
							      : DNS_EDE_NETWORK_ERROR);
		return;
	}
	if (parked_keep(p, msg, len, p->rule->n_sets > 0, limit)) {
		reply_failed(p, DNS_EDE_OTHER);
		return;
	}
	p->answer_len = dns_response_relay(p->answer, p->answer_size, msg, len, &p->q);
	if (dns_message_rcode(p->answer) == DNS_SERVFAIL) /* it was no answer to this query */
		reply_failed(p, DNS_EDE_OTHER);
	else if (p->rule->n_sets == 0 || !push(p))
		reply_real(p);
}

/* Parks the query, or answers at once that it cannot. */
static size_t answer_real(struct query_engine *e, const struct query_origin *o,
	const struct dns_query *q, const struct policy_rule *rule, uint8_t *out, size_t limit)
{
	unsigned flags = (q->flags & DNS_CD ? RESOLVE_CD : 0) | (q->dnssec_ok ? RESOLVE_DO : 0);
	struct parked *p;

	if (rule->upstream < 0)
		return answer_failed(e, q, DNS_EDE_NO_REACHABLE_AUTHORITY, out, limit);
	if (is_loop(e, o, q))
		return answer_failed(e, q, DNS_EDE_NO_REACHABLE_AUTHORITY, out, limit);
	p = parked_get(&e->parked);
	if (!p) {
		count_add(&e->counters.parked_full, 1);
		return answer_failed(e, q, DNS_EDE_OTHER, out, limit);
	}
	p->engine = e;
	p->gen = generation_ref(e->gen);
	p->rule = rule;
	p->origin = *o;
	p->q = *q;
	p->push_timer.fire = push_late;
	resolve_ask(e->c.resolver, p->gen->groups, rule->upstream, &p->q.name, q->type, flags,
		loop_now_ms(e->c.loop) + ASK_DEADLINE_MS, &p->request, resolved);
	return QUERY_PARKED;
}

/* --- decide --- */

size_t query_handle(struct query_engine *e, const struct query_origin *o, const uint8_t *msg,
	size_t len, uint8_t *out)
{
	const struct policy_rule *rule;
	struct policy_question question;
	enum dns_rcode rcode;
	struct dns_query q;
	size_t limit, n;

	if (e->stopped)
		return 0;
	switch (dns_query_parse(msg, len, &q, &rcode)) {
	case DNS_PARSE_IGNORE:
		return 0;
	case DNS_PARSE_ANSWER:
		count_add(&e->counters.total, 1);
		return dns_answer_empty(out, limit_of(o, &q), &q, rcode, 0, DNS_EDE_NONE);
	case DNS_PARSE_QUERY:
		break;
	}
	count_add(&e->counters.total, 1);
	limit = limit_of(o, &q);
	n = answer_reverse(e, &q, out, limit);
	if (n)
		return n;
	question =
		(struct policy_question){.name = &q.name, .type = q.type, .client = o->client.addr};
	rule = policy_decide(e->gen->policy, &question);
	if (rule->answer == CONF_ANSWER_BLOCK)
		return answer_block(e, &q, out, limit);
	if (rule->answer == CONF_ANSWER_FAKE) {
		n = answer_fake(e, &q, rule, out, limit);
		if (n)
			return n;
		count_add(&e->counters.exhausted, 1);
	}
	return answer_real(e, o, &q, rule, out, limit);
}
