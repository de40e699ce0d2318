/* The fake pair of a name, and the other questions about fake names and addresses. */
#include "gateway/query/query_internal.h"

int fake_assign(const struct query *q, const struct policy_rule *rule, struct fakeip_pair *ret)
{
	struct query_engine *e = q->engine;
	const struct dns_name *name = &q->dns->name;
	int error = fakeip_assign(e->c.fakeip, name->b, name->len, q->hash, rule->view, rule->id,
		e->c.clock_s(), ret);

	if (!error)
		e->commit_due |= ret->pending;
	return error;
}

/* A type that a fake name does not have. A family that is not faked is one, too. */
static size_t answer_nodata(const struct query *q)
{
	return query_answer_empty(q, DNS_NOERROR, 0, DNS_EDE_FORGED);
}

size_t fake_answer(const struct query *q, const struct policy_rule *rule)
{
	struct query_engine *e = q->engine;
	const struct query_hooks *hooks = &e->c.hooks;
	bool v4 = q->dns->type == DNS_A;
	struct fakeip_pair pair;
	struct dns_writer w;

	if (!v4 && q->dns->type != DNS_AAAA) {
		count_add(&e->counters.fake, 1);
		return answer_nodata(q);
	}
	if (fake_assign(q, rule, &pair) < 0)
		return 0;
	count_add(&e->counters.fake, 1);
	if (rule->n_unless > 0 && hooks->faked)
		hooks->faked(hooks->arg, pair.index, rule, &q->origin->client.addr, &q->dns->name);
	if (v4 ? !pair.has4 : !pair.has6)
		return answer_nodata(q);
	dns_answer_begin(&w, q->out, q->limit, q->dns, DNS_NOERROR, DNS_AA);
	dns_answer_address(&w, v4 ? pair.v4 : pair.v6, v4 ? 4 : 16, q->gen->fake_ttl_s);
	return dns_answer_end(&w, DNS_EDE_FORGED);
}

/* A reverse question for an address of a pool never leaves the house, mapped or not. */
size_t fake_answer_reverse(const struct query *q)
{
	struct fakeip_table *t = q->engine->c.fakeip;
	struct fakeip_mapping mapping;
	struct dns_writer w;
	uint8_t address[16];
	uint32_t index;
	size_t size;
	bool known;

	if (!dns_name_reverse_address(&q->dns->name, address, &size) ||
		!fakeip_in_pools(t, address, size))
		return 0;
	count_add(&q->engine->counters.local, 1);
	known = (size == 4 ? fakeip_index4(t, address, &index)
			   : fakeip_index6(t, address, &index)) &&
		fakeip_get(t, index, &mapping) == 0;
	if (!known)
		return query_answer_empty(q, DNS_NXDOMAIN, 0, DNS_EDE_NONE);
	if (q->dns->type != DNS_PTR)
		return query_answer_empty(q, DNS_NOERROR, 0, DNS_EDE_NONE);
	dns_answer_begin(&w, q->out, q->limit, q->dns, DNS_NOERROR, DNS_AA);
	dns_answer_ptr(&w, mapping.name, q->gen->fake_ttl_s);
	return dns_answer_end(&w, DNS_EDE_NONE);
}
