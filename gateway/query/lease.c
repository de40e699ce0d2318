/* Names and addresses of DHCP leases (`leases`): what the router itself knows of its LAN. */
#include "gateway/query/query_internal.h"

#define LEASE_TTL_S	    60 /* a lease may end, or its host come back with another address */
#define LEASE_ADDRESSES_MAX 16 /* of one family and host in an answer */

bool lease_holds(const struct query *q)
{
	return q->gen->leases && leases_hold(q->gen->leases, &q->dns->name);
}

static size_t answer_addresses(const struct query *q)
{
	struct ip_addr v[LEASE_ADDRESSES_MAX];
	uint8_t family = q->dns->type == DNS_A ? IP_V4 : IP_V6;
	size_t n = 0;
	struct dns_writer w;

	if (q->dns->type == DNS_A || q->dns->type == DNS_AAAA)
		n = leases_addresses(q->gen->leases, &q->dns->name, family, v, LEASE_ADDRESSES_MAX);
	if (n == 0)
		return query_answer_empty(q, DNS_NOERROR, DNS_AA, DNS_EDE_NONE);
	dns_answer_begin(&w, q->out, q->limit, q->dns, DNS_NOERROR, DNS_AA);
	for (size_t i = 0; i < n; i++)
		dns_answer_address(&w, v[i].b, ip_addr_size(&v[i]), LEASE_TTL_S);
	return dns_answer_end(&w, DNS_EDE_NONE);
}

static size_t answer_name(const struct query *q, const struct dns_name *name)
{
	struct dns_writer w;

	if (q->dns->type != DNS_PTR)
		return query_answer_empty(q, DNS_NOERROR, DNS_AA, DNS_EDE_NONE);
	dns_answer_begin(&w, q->out, q->limit, q->dns, DNS_NOERROR, DNS_AA);
	dns_answer_ptr(&w, name->b, LEASE_TTL_S);
	return dns_answer_end(&w, DNS_EDE_NONE);
}

/* The lease's name that a reverse question is about. */
static const struct dns_name *reverse_name(const struct query *q)
{
	struct ip_addr a;
	uint8_t address[16];
	size_t size;

	if (!dns_name_reverse_address(&q->dns->name, address, &size))
		return NULL;
	a = ip_addr_of(address, size);
	return leases_name(q->gen->leases, &a);
}

bool lease_holds_reverse(const struct query *q)
{
	return q->gen->leases && reverse_name(q);
}

size_t lease_answer(const struct query *q)
{
	const struct dns_name *name;

	if (!q->gen->leases || !leases_answer(q->gen->leases))
		return 0;
	name = reverse_name(q);
	if (!name && !lease_holds(q))
		return 0;
	count_add(&q->engine->counters.local, 1);
	return name ? answer_name(q, name) : answer_addresses(q);
}
