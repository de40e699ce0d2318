/* Which name real traffic belongs to and where that sends it. */
#include <string.h>

#include "gateway/carry/real_internal.h"

void real_name_find(struct carry *c, const struct ip_addr *client, const struct ip_addr *address,
	struct real_name *ret)
{
	struct dns_name names[SEEN_NAMES];
	size_t n = seen_find(c->c.shared->seen, client, address, c->c.clock_s(), names);

	ret->known = n > 0;
	ret->sure = n == 1;
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

bool real_way_find(struct carry *c, const struct ip_addr *client, const struct ip_addr *address,
	const struct real_name *name, struct real_way *ret)
{
	struct verdict v = verdict_real(c->gen->policy, name->known ? &name->name : NULL, client);

	if (!carry_is_far(c, address))
		return false;
	*ret = (struct real_way){.egress = EGRESS_DIRECT};
	if (v.plain)
		return true;
	ret->leaf = v.egress ? carry_leaf(c, v.egress) : NULL;
	if (!ret->leaf || ret->leaf->type == CONF_EGRESS_REJECT)
		return false;
	ret->egress = ret->leaf->index;
	if (ret->leaf->type != CONF_EGRESS_DIRECT && name->known &&
		!carry_host(&name->name, ret->host))
		ret->host[0] = 0;
	return true;
}
