/* Which name real traffic belongs to and where that sends it. */
#include <string.h>

#include "gateway/carry/real_internal.h"

/* A client that asks by one family and connects by the other has two addresses, and nobody tells
 * us that they are one client's. So what is told across families is noted for everybody, too. */
static const struct ip_addr everybody = {.family = IP_NONE};

/* This host is one client, whichever of its addresses it takes. */
static struct ip_addr identity(const struct carry *c, const struct ip_addr *client)
{
	static const uint8_t loopback[4] = {127, 0, 0, 1};

	return hosts_contain(c->c.hosts, client) ? ip_addr_v4(loopback) : *client;
}

void real_told(struct carry *c, const struct ip_addr *client, const struct ip_addr *address,
	const struct dns_name *name, uint32_t ttl_s)
{
	struct ip_addr who = identity(c, client);
	struct seen *seen = c->c.shared->seen;
	uint32_t now_s = c->c.clock_s();

	seen_note(seen, &who, address, name, ttl_s, now_s);
	if (client->family != address->family && ip_addr_equal(&who, client))
		seen_note(seen, &everybody, address, name, ttl_s, now_s);
}

void real_name_find(struct carry *c, const struct ip_addr *client, const struct ip_addr *address,
	struct real_name *ret)
{
	struct ip_addr who = identity(c, client);
	struct seen *seen = c->c.shared->seen;
	struct dns_name names[SEEN_NAMES];
	size_t n = seen_find(seen, &who, address, c->c.clock_s(), names);

	ret->sure = n == 1;
	if (!n)
		n = seen_find(seen, &everybody, address, c->c.clock_s(), names);
	ret->known = n > 0;
	if (n)
		ret->name = names[0]; /* the latest */
}

void real_name_sniffed(struct real_name *n, const char *text)
{
	struct dns_name name;

	if (dns_name_parse(text, strlen(text), &name))
		return;
	n->name = name;
	n->known = n->sure = true;
}

/* Of real traffic the address is known: nobody has to be asked. */
static void unless_apply_address(
	const struct policy *p, const struct ip_addr *address, struct verdict *v)
{
	for (size_t i = 0; v->egress && i < v->rule->n_unless; i++) {
		const struct policy_unless *u = &v->rule->unless[i];

		if (policy_unless_holds(p, u, address)) {
			verdict_set_egress(v, u->egress, u->upstream);
			return;
		}
	}
}

bool real_way_find(struct carry *c, const struct ip_addr *client, const struct ip_addr *address,
	const struct real_name *name, struct real_way *ret)
{
	struct policy_who who;
	struct verdict v = verdict_real(c->gen->policy, name->known ? &name->name : NULL, client,
		generation_who(c->gen, c->c.neighbours, client, &who), address);

	if (!carry_is_far(c, address))
		return false;
	*ret = (struct real_way){.egress = EGRESS_DIRECT};
	if (v.plain)
		return true;
	unless_apply_address(c->gen->policy, address, &v);
	ret->leaf = v.egress ? carry_leaf(c, v.egress) : NULL;
	if (!ret->leaf || ret->leaf->type == CONF_EGRESS_REJECT)
		return false;
	ret->egress = ret->leaf->index;
	if (ret->leaf->type != CONF_EGRESS_DIRECT && name->known &&
		!carry_host(&name->name, ret->host))
		ret->host[0] = 0;
	/* A group's other members are tried, too; a direct one could do nothing with a name. */
	if (!ret->host[0] || egress_goes_by_name(c->gen->egresses, v.egress->index))
		ret->egress = v.egress->index;
	return true;
}
