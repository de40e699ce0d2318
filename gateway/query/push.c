/* The addresses of a real answer go into the rule's sets, and into our own if its egress carries
 * them; the query stays parked until the kernel has them. */
#include "gateway/base/container.h"
#include "gateway/query/query_internal.h"

#include <errno.h>
#include <limits.h>

#define PUSH_TIMEOUT_MS 50 /* interface.md, push_timeout */

static uint32_t least_timeout_s(const struct conf_set_ttl *t, uint32_t ttl_s)
{
	return (ttl_s > t->min_s ? ttl_s : t->min_s) + t->grace_s;
}

static uint32_t set_timeout_s(const struct conf_set_ttl *t, uint32_t ttl_s)
{
	if (t->permanent)
		return 0;
	return t->fixed_s ? t->fixed_s : least_timeout_s(t, ttl_s);
}

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

struct collect {
	struct parked *p;
	size_t skip, seen;
};

static void collect(struct collect *c, const struct writer_element *element)
{
	struct writer_job *job = &c->p->job;

	if (c->seen++ >= c->skip && job->n < WRITER_JOB_ELEMENTS)
		job->elements[job->n++] = *element;
}

/* Of a fake rule's real answers (never faked, no fake address left) private addresses are the
 * house's own: a printer's, a NAS's. Who wants them carried says `answer: real`. */
static bool is_of_the_house(const struct policy_rule *rule, const struct ip_addr *a)
{
	return rule->answer == CONF_ANSWER_FAKE && ip_addr_is_private(a);
}

/* The egress's number now, by which the kernel's sets are named: a reload may have come between. If
 * it is gone the relay decides. */
static unsigned egress_number(const struct parked *p)
{
	const struct policy *now = p->engine->gen->policy;
	const struct policy_egress *egress = p->rule->egress;

	if (now != p->gen->policy)
		egress = policy_egress_by_id(now, egress->id);
	return egress ? egress->index : UINT_MAX;
}

static void collect_sets(struct collect *c, const struct policy_rule *rule,
	struct writer_element *element, uint32_t ttl_s)
{
	for (size_t i = 0; i < rule->n_sets; i++) {
		uint8_t family = rule->sets[i].family;

		/* Not for this set; so an answer that is for none of them does not wait. */
		if (family != IP_NONE && family != element->addr.family)
			continue;
		element->op = WRITER_SET_ADD;
		element->set = c->p->gen->sets[rule->set_base + i];
		element->timeout_s = set_timeout_s(&rule->set_ttl, ttl_s);
		collect(c, element);
	}
}

static void collect_address(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct collect *c = arg;
	const struct parked *p = c->p;
	const struct policy_rule *rule = p->rule;
	struct writer_element element = {
		.addr = size == 4 ? ip_addr_v4(address) : ip_addr_v6(address)};

	for (uint64_t also = p->also; also; also &= also - 1)
		collect_sets(c, policy_also(p->gen->policy, (unsigned)__builtin_ctzll(also)),
			&element, ttl_s);
	collect_sets(c, rule, &element, ttl_s);
	if (p->carry && may_be_carried(p->engine, &element.addr) &&
		!is_of_the_house(rule, &element.addr)) {
		element.op = WRITER_REAL_SET;
		element.set = NULL;
		element.number = egress_number(p);
		element.timeout_s = least_timeout_s(&rule->set_ttl, ttl_s);
		collect(c, &element);
	}
}

static void push_failed(struct parked *p)
{
	count_add(&p->engine->counters.push_errors, 1);
	if (p->rule->on_error == CONF_ON_ERROR_SERVFAIL)
		real_reply_failed(p, DNS_EDE_OTHER);
	else
		real_reply(p, p->response, p->response_len);
}

/* Somebody else's large transaction holds the kernel's lock, and the writer with it: the client
 * does not wait. */
static void push_late(struct loop_timer *t)
{
	push_failed(container_of(t, struct parked, push_timer));
}

static void pushed(struct writer_job *job)
{
	struct parked *p = parked_of_job(job);

	p->pushing = false;
	if (p->replied)
		query_end(p);
	/* A silent kernel is waited for once, not for each job of the answer. */
	else if (job->result == -ETIMEDOUT ||
		 (job->result < 0 && p->rule->on_error == CONF_ON_ERROR_SERVFAIL))
		push_failed(p);
	else {
		count_add(&p->engine->counters.push_errors, job->result < 0);
		if (!push_start(p))
			real_reply(p, p->response, p->response_len);
	}
}

bool push_wanted(const struct parked *p)
{
	return p->rule->n_sets > 0 || p->carry || p->also;
}

/* An answer with more than a job's worth of elements goes in several jobs, one after the other. */
bool push_start(struct parked *p)
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
	p->push_timer.fire = push_late;
	if (!p->push_timer.slot)
		loop_timer_set(p->engine->c.loop, &p->push_timer,
			loop_now_ms(p->engine->c.loop) + PUSH_TIMEOUT_MS);
	writer_submit(p->engine->c.writer, &p->job);
	return true;
}
