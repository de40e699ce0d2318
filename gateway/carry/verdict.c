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

struct verdict verdict_make(
	const struct policy *p, const struct fakeip_mapping *m, const struct ip_addr *client)
{
	struct dns_name name = verdict_name(m);
	struct policy_question question = {
		.name = &name, .type = m->has4 ? DNS_A : DNS_AAAA, .client = *client};
	const struct policy_rule *rule = policy_decide(p, &question);
	struct verdict v = {.way = VERDICT_REJECT, .rule = rule};

	/* A rule that has changed its mind about faking still says where the name's traffic goes.
	 * One that has no egress leaves the traffic to the rule that made the mapping. */
	if (rule->answer != CONF_ANSWER_BLOCK && !rule->egress) {
		const struct policy_rule *maker = policy_rule_by_id(p, m->rule);

		if (maker && maker->answer != CONF_ANSWER_BLOCK && maker->egress)
			rule = maker;
	}
	if (rule->answer == CONF_ANSWER_BLOCK || !rule->egress)
		return v;
	v.rule = rule;
	v.egress = rule->egress;
	v.upstream = rule->egress->upstream >= 0 ? rule->egress->upstream : rule->upstream;
	if (v.upstream >= 0)
		v.way = VERDICT_KERNEL;
	return v;
}
