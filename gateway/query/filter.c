/* `filter`: a family that a rule's names are not to have. Its questions are NODATA; hints of the
 * other answers lose it, too. */
#include "gateway/query/query_internal.h"

enum conf_filter query_filter(const struct policy_rule *rule, const struct ways *ways)
{
	int egress = rule->egress ? (int)rule->egress->index : -1;
	bool v4, v6;

	if (rule->filter != CONF_FILTER_AUTO)
		return rule->filter;
	v4 = ways_has(ways, egress, IP_V4);
	v6 = ways_has(ways, egress, IP_V6);
	if (v4 == v6) /* without any way nothing is gained by saying less */
		return CONF_FILTER_NONE;
	return v4 ? CONF_FILTER_IPV6 : CONF_FILTER_IPV4;
}

bool filter_drops(const struct query *q)
{
	return (q->filter == CONF_FILTER_IPV4 && q->dns->type == DNS_A) ||
	       (q->filter == CONF_FILTER_IPV6 && q->dns->type == DNS_AAAA);
}

size_t filter_answer_empty(const struct query *q, const struct policy_rule *rule)
{
	struct query_counters *c = &q->engine->counters;

	count_add(rule->answer == CONF_ANSWER_FAKE    ? &c->fake
		  : rule->answer == CONF_ANSWER_LOCAL ? &c->local
						      : &c->real,
		1);
	return query_answer_empty(q, DNS_NOERROR, 0, DNS_EDE_FILTERED);
}

bool filter_rewrites(const struct query *q)
{
	return q->filter != CONF_FILTER_NONE &&
	       (q->dns->type == DNS_HTTPS || q->dns->type == DNS_SVCB);
}

size_t filter_answer(const struct query *q, const uint8_t *msg, size_t len)
{
	const struct dns_svcb_rewrite how = {
		.own4 = q->filter == CONF_FILTER_IPV6,
		.own6 = q->filter == CONF_FILTER_IPV4,
		.ttl_max_s = UINT32_MAX,
	};
	struct dns_writer w;

	dns_answer_begin(&w, q->out, q->limit, q->dns, DNS_NOERROR, 0);
	return dns_answer_svcb(&w, msg, len, &how) ? dns_answer_end(&w, DNS_EDE_NONE) : 0;
}
