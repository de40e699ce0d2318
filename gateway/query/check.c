/* `check`: the addresses of a real answer send the name to another rule, which answers within the
 * same query as if it had won. Nothing is done with the answer that was checked: no set gets its
 * addresses, and nobody is told of it. */
#include "gateway/query/query_internal.h"
#include "gateway/base/clock.h"
#include "gateway/learned/learned.h"

struct collected {
	struct ip_addr *v;
	size_t n, max;
	enum conf_filter filter;
};

static void collect(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct collected *c = arg;

	(void)ttl_s;
	if (c->n < c->max && c->filter != (size == 4 ? CONF_FILTER_IPV4 : CONF_FILTER_IPV6))
		c->v[c->n++] = ip_addr_of(address, size);
}

size_t query_addresses(
	const uint8_t *msg, size_t len, enum conf_filter filter, struct ip_addr *ret, size_t max)
{
	struct collected c = {.v = ret, .max = max, .filter = filter};

	dns_response_addresses(msg, len, collect, &c);
	return c.n;
}

/* The answer leaves even if there is no memory to learn the name: it is checked again then. */
static void learn(
	const struct query *q, const struct policy_check *check, const char *list, size_t n)
{
	const struct learned_why why = {
		.list = list, .addresses = q->engine->addresses, .n_addresses = n};

	if (check->learned)
		(void)learned_add(check->learned, &q->dns->name, &why, clock_wall_s());
}

/* True: a check of the rule holds for the answer. The name is learned, and *ret_decision is what
 * the check's rule says of q. */
static bool leads_elsewhere(const struct query *q, const struct policy_rule *rule,
	const uint8_t *msg, size_t len, struct policy_decision *ret_decision)
{
	const struct policy *policy = q->gen->policy;
	const struct policy_check *check;
	struct policy_question question;
	struct policy_who who;
	const char *list;
	size_t n;

	if (rule->n_checks == 0 || q->checked)
		return false;
	n = query_addresses(msg, len, q->filter, q->engine->addresses, QUERY_ADDRESSES_MAX);
	if (n == 0)
		return false;
	question = query_policy_question(q, &who);
	check = policy_check_find(policy, rule, &question, q->engine->addresses, n, &list);
	if (!check)
		return false;
	learn(q, check, list, n);
	count_add(&q->engine->counters.rerouted, 1);
	*ret_decision = policy_check_decide(policy, check, &question);
	return true;
}

size_t check_cached(
	const struct query *q, const struct policy_rule *rule, const uint8_t *msg, size_t len)
{
	struct policy_decision decision;
	struct query again = *q;

	return leads_elsewhere(q, rule, msg, len, &decision) ? query_answer_as(&again, &decision)
							     : 0;
}

/* p ends before the question is asked anew, so that it never counts twice among what waits. */
bool check_parked(struct parked *p, const uint8_t *msg, size_t len)
{
	struct query_engine *e = p->engine;
	struct query q = query_of_parked(p);
	struct policy_decision decision;
	struct query_origin origin;
	struct dns_query dns;
	size_t n;

	if (!leads_elsewhere(&q, p->rule, msg, len, &decision))
		return false;
	origin = p->origin;
	dns = p->q;
	generation_ref(q.gen);
	query_end(p);
	q.origin = &origin;
	q.dns = &dns;
	q.out = e->rerouted;
	q.limit = query_limit(&origin, &dns);
	n = query_answer_as(&q, &decision);
	if (n != QUERY_PARKED) {
		query_engine_commit(e); /* a fake answer leaves now */
		origin.reply(&origin, q.out, n);
	}
	generation_unref(q.gen);
	return true;
}
