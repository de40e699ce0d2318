/* What an answer becomes before it is kept and handed out. */
#include <errno.h>
#include <string.h>

#include "gateway/base/wire.h"
#include "gateway/resolve/resolve_internal.h"

/* Addresses that no server of the outside has a say about: a page that was loaded from there would
 * reach what lies in the house. The shared space (RFC 6598) is a provider's, and tailnets'. */
static bool address_is_inside(const struct ip_addr *a)
{
	static const struct ip_addr none;
	bool is_shared = a->family == IP_V4 && a->b[0] == 100;

	return memcmp(a->b, none.b, sizeof none.b) == 0 || ip_addr_is_loopback(a) ||
	       ip_addr_is_link_local(a) || (ip_addr_is_private(a) && !is_shared);
}

static bool drop(void *arg, const uint8_t *address, size_t size)
{
	const struct resolver *r = arg;
	struct ip_addr a = ip_addr_of(address, size);

	/* a.b: of a v4-mapped address too it is the IPv4 one that leads into a pool. */
	return address_is_inside(&a) ||
	       (r->c.in_pools && r->c.in_pools(r->c.arg, a.b, ip_addr_size(&a)));
}

int result_make(struct flight *f, const struct group *by, const uint8_t *msg, size_t len,
	uint32_t age_s, uint8_t *buf)
{
	struct resolver *r = f->resolver;
	struct dns_store_how how = {
		.ttl_min_s = f->ttl_min_s,
		.ttl_max_s = f->ttl_max_s,
		.zero = f->ttl_zero,
		.negative_max_s = f->negative_max_s,
		.age_s = age_s,
		.drop = result_is_protected(by, f->flags) ? drop : NULL,
		.arg = r,
	};
	struct dns_stored_info info;
	struct cache_key key;
	int n = dns_store(buf, DNS_MESSAGE_MAX, msg, len, &how, &info);

	if (n < 0)
		return -EBADMSG;
	if (info.dropped)
		count_add_shared(&f->groups->guards->rebind, info.dropped);
	if (!(f->flags & RESOLVE_NO_CACHE)) {
		flight_key(f, &key);
		cache_put(r->c.cache, &key, buf, (size_t)n, info.life_s, resolver_now_s(r));
	}
	return n;
}

size_t result_empty(const struct flight *f, enum dns_rcode rcode, uint32_t ttl_s, uint8_t *buf)
{
	struct dns_query q = {.flags = DNS_RD | (f->flags & RESOLVE_CD ? DNS_CD : 0),
		.type = f->type,
		.class = DNS_CLASS_IN,
		.question_len = (uint16_t)(f->name.len + 4),
		.name = f->name};
	uint8_t *end = q.question + f->name.len;

	memcpy(q.question, f->name.b, f->name.len);
	wire_put16(end, f->type);
	wire_put16(end + 2, DNS_CLASS_IN);
	return dns_answer_empty(buf, 512, &q, rcode, ttl_s, DNS_EDE_NONE);
}
