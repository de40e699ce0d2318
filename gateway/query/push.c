/* The addresses of a real answer go into the rule's sets, and into our own if its egress carries
 * them; the query stays parked until the kernel has them. What the kernel has already is known
 * (netlink/shadow.h), so most cached answers have nothing to wait for. */
#include "gateway/base/container.h"
#include "gateway/query/query_internal.h"

#include <errno.h>
#include <limits.h>

/* A TTL is told in whole seconds, rounded up; the time in a set is not. */
#define ROUNDING_S 2
/* A timer that fires so long after it was due: the thread was held up itself. */
#define HELD_UP_MS 5

/* --- times --- */

static uint32_t by_ttl_s(const struct conf_set_ttl *t, uint32_t ttl_s)
{
	return (ttl_s > t->min_s ? ttl_s : t->min_s) + t->grace_s;
}

/* How long an address stays in a set, and for how long it must at least be there already for the
 * answer to leave: half of that, but never less than its TTL and the grace. */
static void set_times(const struct conf_set_ttl *t, uint32_t ttl_s, struct writer_element *ret)
{
	uint32_t least_s = ttl_s + t->grace_s;

	ret->timeout_s = ret->need_s = 0;
	if (t->permanent)
		return;
	ret->timeout_s = t->fixed_s ? t->fixed_s : by_ttl_s(t, ttl_s);
	ret->need_s = (ret->timeout_s + 1) / 2;
	if (t->fixed_s || least_s < ret->need_s + ROUNDING_S)
		return;
	ret->need_s = least_s - ROUNDING_S;
}

/* --- what an answer puts where --- */

struct walk {
	const struct query_engine *engine;
	const struct generation *gen;
	const struct policy_rule *rule;
	uint64_t also;
	bool carry;
	const struct ip_addr *client;
	int64_t now_ms;
	/* What is not held goes here, from the skipped one on. NULL: it is only looked whether
	 * there is any. */
	struct parked *to;
	size_t seen, skip;
	bool any, strict; /* strict: of a rule that says servfail */
};

/* Whatever upstream says: traffic to these never leaves, and what we carry for a name must not be
 * taken from this host or from another name. */
static bool may_be_carried(const struct query_engine *e, const struct ip_addr *a)
{
	static const uint8_t zero[16];
	size_t size = ip_addr_size(a);

	if (a->family == IP_V4 ? a->b[0] == 0 || a->b[0] >= 224 : a->b[0] == 0xff)
		return false;
	return memcmp(a->b, zero, size) != 0 && !ip_addr_is_loopback(a) &&
	       !ip_addr_is_link_local(a) && !fakeip_in_pools(e->c.fakeip, a->b, size) &&
	       !hosts_contain(e->c.hosts, a);
}

/* Of a fake rule's real answers (never faked, no fake address left) private addresses are the
 * house's own: a printer's, a NAS's. Who wants them carried says `answer: real`. */
static bool is_of_the_house(const struct policy_rule *rule, const struct ip_addr *a)
{
	return rule->answer == CONF_ANSWER_FAKE && ip_addr_is_private(a);
}

/* The egress's number now, by which the kernel's sets are named: a reload may have come between. If
 * it is gone the relay decides. */
static unsigned egress_number(const struct walk *w)
{
	const struct policy *now = w->engine->gen->policy;
	const struct policy_egress *egress = w->rule->egress;

	if (now != w->gen->policy)
		egress = policy_egress_by_id(now, egress->id);
	return egress ? egress->index : UINT_MAX;
}

static bool is_async(const struct policy_rule *rule, const struct writer_element *element)
{
	return rule->push == CONF_PUSH_ASYNC && element->op == WRITER_SET_ADD;
}

static bool is_strict(const struct policy_rule *rule, const struct writer_element *element)
{
	return rule->on_error == CONF_ON_ERROR_SERVFAIL && !is_async(rule, element);
}

static void wait_for(
	struct walk *w, const struct policy_rule *rule, const struct writer_element *element)
{
	struct parked *p = w->to;

	if (rule->conntrack_forget)
		p->forget |= 1ULL << p->job.n;
	if (is_strict(rule, element))
		p->strict |= 1ULL << p->job.n;
	if (rule->push_timeout_ms > p->push_timeout_ms)
		p->push_timeout_ms = rule->push_timeout_ms;
	p->job.elements[p->job.n++] = *element;
}

static void found(
	struct walk *w, const struct policy_rule *rule, const struct writer_element *element)
{
	if (w->seen++ < w->skip || writer_holds(w->engine->c.writer, element, w->client, w->now_ms))
		return;
	w->any = true;
	w->strict |= is_strict(rule, element);
	if (!w->to || w->to->job.n == WRITER_JOB_ELEMENTS)
		return;
	w->to->pushed = w->seen;
	if (is_async(rule, element))
		later_add(w->to, rule, element);
	else
		wait_for(w, rule, element);
}

static void walk_sets(struct walk *w, const struct policy_rule *rule,
	struct writer_element *element, uint32_t ttl_s)
{
	for (size_t i = 0; i < rule->n_sets; i++) {
		const struct conf_set *set = &rule->sets[i];

		/* Not for this set; so an answer that is for none of them does not wait. */
		if (set->family != IP_NONE && set->family != element->addr.family)
			continue;
		element->op = WRITER_SET_ADD;
		element->set = w->gen->sets[rule->set_base + i];
		set_times(set->has_ttl ? &set->ttl : &rule->set_ttl, ttl_s, element);
		found(w, rule, element);
	}
}

static void walk_address(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct walk *w = arg;
	const struct policy_rule *rule = w->rule;
	struct writer_element element = {.addr = ip_addr_of(address, size)};

	for (uint64_t also = w->also; also; also &= also - 1)
		walk_sets(w, policy_also(w->gen->policy, (unsigned)__builtin_ctzll(also)), &element,
			ttl_s);
	walk_sets(w, rule, &element, ttl_s);
	if (w->carry && may_be_carried(w->engine, &element.addr) &&
		!is_of_the_house(rule, &element.addr)) {
		struct conf_set_ttl by_ttl = rule->set_ttl;

		by_ttl.permanent = false;
		by_ttl.fixed_s = 0;
		element.op = WRITER_REAL_SET;
		element.set = NULL;
		element.number = egress_number(w);
		set_times(&by_ttl, ttl_s, &element);
		found(w, rule, &element);
	}
}

bool push_needed(const struct query *q, const struct policy_rule *rule, bool carry,
	const uint8_t *msg, size_t len)
{
	struct walk w = {.engine = q->engine,
		.gen = q->gen,
		.rule = rule,
		.also = q->also,
		.carry = carry,
		.client = &q->origin->client.addr,
		.now_ms = loop_now_ms(q->engine->c.loop)};

	if (rule->n_sets == 0 && !carry && !q->also)
		return false;
	dns_response_addresses(msg, len, walk_address, &w);
	count_add(&q->engine->counters.push_held, !w.any && w.seen > 0);
	return w.any;
}

bool push_wanted(const struct parked *p)
{
	return p->rule->n_sets > 0 || p->carry || p->also;
}

/* --- waiting for the kernel --- */

static struct walk walk_of(struct parked *p, struct parked *to)
{
	struct query_engine *e = p->engine;

	return (struct walk){.engine = e,
		.gen = p->gen,
		.rule = p->rule,
		.also = p->also,
		.carry = p->carry,
		.client = &p->origin.client.addr,
		.now_ms = loop_now_ms(e->c.loop),
		.to = to,
		.skip = p->pushed};
}

/* An element of the job is not where a rule that says servfail wants it. (That of another rule may
 * be what failed.) */
static bool job_lacks(const struct parked *p)
{
	const struct query_engine *e = p->engine;

	for (uint64_t left = p->strict; left; left &= left - 1)
		if (!writer_holds(e->c.writer, &p->job.elements[__builtin_ctzll(left)],
			    &p->origin.client.addr, loop_now_ms(e->c.loop)))
			return true;
	return false;
}

/* The same of the whole answer, also of what is not yet in a job. */
static bool answer_lacks(struct parked *p)
{
	struct walk w = walk_of(p, NULL);

	if (job_lacks(p))
		return true;
	dns_response_addresses(p->response, p->response_len, walk_address, &w);
	return w.strict;
}

static void push_failed(struct parked *p, bool servfail)
{
	count_add(&p->engine->counters.push_errors, 1);
	if (servfail)
		real_reply_failed(p, DNS_EDE_OTHER);
	else
		real_reply(p, p->response, p->response_len);
}

/* Somebody else's large transaction holds the kernel's lock, and the writer with it: the client
 * does not wait. But time in which this thread did not run is not the writer's, which perhaps has
 * not run either. */
static void push_late(struct loop_timer *t)
{
	struct parked *p = container_of(t, struct parked, push_timer);
	struct loop *loop = p->engine->c.loop;

	if (!p->push_again && loop_now_ms(loop) >= t->due_ms + HELD_UP_MS) {
		p->push_again = true;
		(void)loop_timer_set(loop, t, loop_now_ms(loop) + p->push_timeout_ms);
		return;
	}
	count_add(&p->engine->counters.push_late, 1);
	p->engine->n_late++;
	push_failed(p, answer_lacks(p));
}

/* What went another way before is routed anew. */
void push_forget(struct query_engine *e, const struct writer_job *job, uint64_t which)
{
	for (; which; which &= which - 1) {
		const struct writer_element *x = &job->elements[__builtin_ctzll(which)];

		if (x->fresh && e->c.forgetter)
			forgetter_submit(e->c.forgetter, &job->asker, &x->addr);
	}
}

static void pushed(struct writer_job *job);

/* What of the answer is still to be put in goes into the job, as much of it as has room. */
static bool gather(struct parked *p)
{
	struct walk w = walk_of(p, p);

	p->job.n = 0;
	p->forget = p->strict = 0;
	dns_response_addresses(p->response, p->response_len, walk_address, &w);
	later_commit(p->engine);
	return p->job.n > 0;
}

/* What the sets lack of the job and of the rest is put in when the kernel lets it, without a job;
 * nobody's old flows are forgotten then. */
static void want_all(struct parked *p)
{
	struct query_engine *e = p->engine;

	do {
		for (unsigned i = 0; i < p->job.n; i++)
			if (!writer_want(e->c.writer, &p->job.elements[i], &p->origin.client.addr))
				later_add(p, p->rule, &p->job.elements[i]);
		later_commit(e);
	} while (gather(p));
}

static void submit(struct parked *p)
{
	struct query_engine *e = p->engine;

	p->job.client = e->c.writer_client;
	p->job.done = pushed;
	p->job.asker = p->origin.client.addr;
	count_add(&e->counters.pushes, 1);
	p->pushing = true;
	writer_submit(e->c.writer, &p->job);
}

static void pushed(struct writer_job *job)
{
	struct parked *p = parked_of_job(job);
	bool silent = job->result == -ETIMEDOUT, servfail = silent && answer_lacks(p);

	p->pushing = false;
	push_forget(p->engine, job, p->forget);
	/* A silent kernel is waited for once, not for each job of the answer. */
	if (silent)
		want_all(p);
	if (p->replied && !silent && gather(p)) {
		submit(p); /* the answer has left, the rest of it follows */
	} else if (p->replied) {
		p->engine->n_late--;
		query_end(p);
	} else if (silent) {
		push_failed(p, servfail);
	} else if (job->result < 0 && job_lacks(p)) {
		push_failed(p, true);
	} else {
		count_add(&p->engine->counters.push_errors, job->result < 0);
		if (!push_start(p))
			real_reply(p, p->response, p->response_len);
	}
}

/* Each that the kernel holds up keeps its place among the parked: the writer has its job. So many
 * of them, and nobody waits any more until some are back: the other places are for questions. */
static bool is_stuck(struct parked *p)
{
	struct query_engine *e = p->engine;
	bool servfail;

	if (e->n_late < PUSH_LATE_MAX)
		return false;
	servfail = answer_lacks(p);
	want_all(p);
	count_add(&e->counters.push_late, 1);
	push_failed(p, servfail);
	return true;
}

/* An answer with more than a job's worth of elements goes in several jobs, one after the other. */
bool push_start(struct parked *p)
{
	struct loop *loop = p->engine->c.loop;

	if (!gather(p))
		return false;
	if (is_stuck(p))
		return true;
	p->push_timer.fire = push_late;
	if (!p->push_timer.slot)
		loop_timer_set(loop, &p->push_timer, loop_now_ms(loop) + p->push_timeout_ms);
	submit(p);
	return true;
}
