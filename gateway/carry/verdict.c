#include "gateway/carry/verdict.h"
#include "gateway/dns/message.h"

#include <string.h>

struct dns_name verdict_name(const struct fakeip_mapping *m)
{
	struct dns_name name = {.len = (uint8_t)m->name_len};

	memcpy(name.b, m->name, m->name_len);
	for (size_t at = 0; at < m->name_len && m->name[at]; at += m->name[at] + 1u)
		name.labels++;
	return name;
}

void verdict_set_egress(struct verdict *v, const struct policy_egress *egress, int upstream)
{
	v->egress = egress;
	v->upstream = upstream >= 0	      ? upstream
		      : egress->upstream >= 0 ? egress->upstream
					      : v->rule->upstream;
}

/* Traffic to what the rule answers goes nowhere through us: it blocks, or tells addresses of the
 * house. */
static bool has_no_way(const struct policy_rule *rule)
{
	return rule->answer == CONF_ANSWER_BLOCK || rule->answer == CONF_ANSWER_LOCAL;
}

/* The rule that takes the name's questions for addresses. Where those for A and for AAAA have
 * different ones, that which made the mapping, else one that has a way. */
static const struct policy_rule *addresses_rule(
	const struct policy *p, const struct fakeip_mapping *m, struct policy_question *q)
{
	const struct policy_rule *rule, *other;

	q->type = m->has4 ? DNS_A : DNS_AAAA;
	rule = policy_decide(p, q).rule;
	if (!m->has4 || !m->has6 || rule->id == m->rule)
		return rule;
	q->type = DNS_AAAA;
	other = policy_decide(p, q).rule;
	return other->id == m->rule || has_no_way(rule) ? other : rule;
}

struct verdict verdict_fake(const struct policy *p, const struct fakeip_mapping *m,
	const struct ip_addr *client, const struct policy_who *who)
{
	struct dns_name name = verdict_name(m);
	struct policy_question question = {
		.name = &name,
		.client = *client,
		.who = who,
		.maker = m->rule,
	};
	const struct policy_rule *rule = addresses_rule(p, m, &question);
	struct verdict v = {.rule = rule, .upstream = -1};

	/* A rule that has changed its mind about faking still says where the name's traffic goes.
	 * One that has no egress leaves the traffic to the rule that made the mapping. */
	if (!has_no_way(rule) && !rule->egress) {
		const struct policy_rule *maker = policy_rule_by_id(p, m->rule);

		if (maker && !has_no_way(maker) && maker->egress)
			rule = maker;
	}
	if (has_no_way(rule) || !rule->egress)
		return v;
	v.rule = rule;
	verdict_set_egress(&v, rule->egress, -1);
	return v;
}

struct verdict verdict_real(const struct policy *p, const struct dns_name *name,
	const struct ip_addr *client, const struct policy_who *who, const struct ip_addr *to)
{
	const struct policy_question question = {
		.name = name,
		.type = to->family == IP_V6 ? DNS_AAAA : DNS_A,
		.client = *client,
		.who = who,
		.to = to,
	};
	const struct policy_rule *rule = policy_decide(p, &question).rule;
	struct verdict v = {.rule = rule, .upstream = -1};

	if (rule->answer == CONF_ANSWER_BLOCK)
		return v;
	if (rule->egress)
		verdict_set_egress(&v, rule->egress, -1);
	else
		v.plain = true;
	return v;
}

bool verdict_rejects_udp(const struct policy_egress *egress, uint16_t port)
{
	return !egress->udp || (!egress->quic && port == VERDICT_QUIC_PORT);
}
