#include "gateway/dns/dns_internal.h"

#include <errno.h>

bool dns_reader_record(struct dns_reader *r, struct dns_record *ret)
{
	const uint8_t *fixed;

	ret->owner = r->off;
	dns_reader_skip_name(r);
	fixed = dns_reader_take(r, 10);
	if (!fixed)
		return false;
	ret->type = wire_get16(fixed);
	ret->class = wire_get16(fixed + 2);
	ret->ttl = wire_get32(fixed + 4);
	ret->ttl_at = r->off - 6;
	ret->data = r->off;
	dns_reader_take(r, wire_get16(fixed + 8));
	ret->end = r->off;
	return !r->bad;
}

/* What the data of a type is made of, in this order. `open`: anything may follow. */
struct shape {
	uint16_t type;
	uint8_t before, strings, names, after;
	bool open;
};

static const struct shape shapes[] = {
	{.type = DNS_A, .before = 4},
	{.type = DNS_AAAA, .before = 16},
	{.type = DNS_CNAME, .names = 1},
	{.type = DNS_NS, .names = 1},
	{.type = DNS_SOA, .names = 2, .after = 20},
	{.type = DNS_PTR, .names = 1},
	{.type = DNS_MX, .before = 2, .names = 1},
	{.type = DNS_SRV, .before = 6, .names = 1},
	{.type = DNS_HTTPS, .before = 2, .names = 1, .open = true},
	{.type = DNS_SVCB, .before = 2, .names = 1, .open = true},
	{.type = 46 /* RRSIG */, .before = 18, .names = 1, .open = true},
	{.type = 47 /* NSEC */, .names = 1, .open = true},
	{.type = DNS_DNAME, .names = 1},
	{.type = 35 /* NAPTR */, .before = 4, .strings = 3, .names = 1},
	{.type = 3 /* MD */, .names = 1},
	{.type = 4 /* MF */, .names = 1},
	{.type = 7 /* MB */, .names = 1},
	{.type = 8 /* MG */, .names = 1},
	{.type = 9 /* MR */, .names = 1},
	{.type = 14 /* MINFO */, .names = 2},
	{.type = 17 /* RP */, .names = 2},
	{.type = 18 /* AFSDB */, .before = 2, .names = 1},
	{.type = 21 /* RT */, .before = 2, .names = 1},
	{.type = 24 /* SIG */, .before = 18, .names = 1, .open = true},
	{.type = 26 /* PX */, .before = 2, .names = 2},
	{.type = 30 /* NXT */, .names = 1, .open = true},
	{.type = 36 /* KX */, .before = 2, .names = 1},
};

static const struct shape *shape_of(uint16_t type, uint16_t class)
{
	if (type == DNS_A && class != DNS_CLASS_IN) /* Chaosnet's is longer */
		return NULL;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		if (shapes[i].type == type)
			return &shapes[i];
	}
	return NULL;
}

int dns_record_names(
	const uint8_t *msg, const struct dns_record *rec, size_t ret_at[DNS_RECORD_NAMES])
{
	const struct shape *shape = shape_of(rec->type, rec->class);
	struct dns_reader r = {.msg = msg, .len = rec->end, .off = rec->data};
	int n = 0;

	ret_at[n++] = rec->owner;
	if (!shape)
		return n;
	dns_reader_take(&r, shape->before);
	for (int i = 0; i < shape->strings; i++) {
		const uint8_t *size = dns_reader_take(&r, 1);

		dns_reader_take(&r, size ? *size : 0);
	}
	for (int i = 0; i < shape->names; i++) {
		ret_at[n++] = r.off;
		dns_reader_skip_name(&r);
	}
	dns_reader_take(&r, shape->after);
	return r.bad || (r.off != r.len && !shape->open) ? -EBADMSG : n;
}
