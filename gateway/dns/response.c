#include "gateway/dns/dns_internal.h"

#include <errno.h>

static uint16_t question_count(const uint8_t *msg)
{
	return wire_get16(msg + 4);
}

/* With a seed byte for byte as it was sent. A compressed name cannot be: pointers lead nowhere from
 * the question. */
static bool same_name(const uint8_t *msg, size_t len, size_t *off, const struct dns_ask *ask)
{
	uint8_t sent[DNS_NAME_MAX];
	struct dns_name got;

	if (!ask->case_seed)
		return dns_name_read(msg, len, off, &got) == 0 && dns_name_equal(&got, ask->name);
	if (len - *off < ask->name->len)
		return false;
	dns_name_draw_case(sent, ask->name, ask->case_seed);
	*off += ask->name->len;
	return memcmp(msg + DNS_HEADER_SIZE, sent, ask->name->len) == 0;
}

bool dns_response_matches(const uint8_t *msg, size_t len, const struct dns_ask *ask)
{
	size_t off = DNS_HEADER_SIZE;

	if (len < DNS_HEADER_SIZE || wire_get16(msg) != ask->id || question_count(msg) != 1)
		return false;
	if ((dns_message_flags(msg) & (DNS_QR | DNS_OPCODE)) != DNS_QR)
		return false;
	if (!same_name(msg, len, &off, ask) || len - off < 4)
		return false;
	return wire_get16(msg + off) == ask->type && wire_get16(msg + off + 2) == DNS_CLASS_IN;
}

bool dns_response_answers(const uint8_t *msg, size_t len, const struct dns_query *q)
{
	struct dns_ask ask = {.name = &q->name, .type = q->type};

	if (len < DNS_HEADER_SIZE || q->question_len != q->name.len + 4)
		return false;
	ask.id = wire_get16(msg);
	return dns_response_matches(msg, len, &ask);
}

/* Behind the question, or an error. */
static struct dns_reader reader_at_records(const uint8_t *msg, size_t len)
{
	struct dns_reader r = {.msg = msg, .len = len, .off = DNS_HEADER_SIZE};

	r.bad = len < DNS_HEADER_SIZE || len > DNS_MESSAGE_MAX || question_count(msg) != 1;
	if (!r.bad)
		r.bad = dns_name_check(msg, len, &r.off) < 0;
	dns_reader_take(&r, 4);
	return r;
}

/* How many pointers the names of a record follow, or -EBADMSG. */
static int record_pointers(const uint8_t *msg, size_t len, const struct dns_record *rec)
{
	size_t at[DNS_RECORD_NAMES];
	int n = dns_record_names(msg, rec, at), sum = 0;

	for (int i = 0; i < n; i++) {
		int pointers = dns_name_check(msg, len, &at[i]);

		if (pointers < 0)
			return -EBADMSG;
		sum += pointers;
	}
	return n < 0 ? n : sum;
}

/* Pointers that lead to pointers, thousands of times over, make a message that takes milliseconds
 * to read. Six a record of the smallest size is more than any server writes. */
static size_t pointers_allowed(size_t len)
{
	return 256 + len / 2;
}

int dns_response_check(const uint8_t *msg, size_t len)
{
	struct dns_reader r = reader_at_records(msg, len);
	unsigned before, all, opts = 0;
	struct dns_record rec;
	size_t sum = 0;

	if (r.bad)
		return -EBADMSG;
	before = (unsigned)wire_get16(msg + 6) + wire_get16(msg + 8);
	all = before + wire_get16(msg + 10);
	for (unsigned i = 0; i < all; i++) {
		int pointers =
			dns_reader_record(&r, &rec) ? record_pointers(msg, len, &rec) : -EBADMSG;

		if (pointers < 0)
			return -EBADMSG;
		sum += (size_t)pointers;
		if (sum > pointers_allowed(len))
			return -EBADMSG;
		/* One, at the root, among the additional records (RFC 6891 6.1.1). */
		if (rec.type == DNS_OPT && (i < before || msg[rec.owner] != 0 || ++opts > 1))
			return -EBADMSG;
	}
	return 0;
}

static bool find_opt(const uint8_t *msg, size_t len, struct dns_record *ret)
{
	struct dns_reader r = reader_at_records(msg, len);
	unsigned before, all;

	if (r.bad)
		return false;
	before = (unsigned)wire_get16(msg + 6) + wire_get16(msg + 8);
	all = before + wire_get16(msg + 10);
	for (unsigned i = 0; i < all && dns_reader_record(&r, ret); i++) {
		if (i >= before && ret->type == DNS_OPT)
			return true;
	}
	return false;
}

bool dns_response_has_opt(const uint8_t *msg, size_t len)
{
	struct dns_record opt;

	return find_opt(msg, len, &opt);
}

unsigned dns_response_rcode(const uint8_t *msg, size_t len)
{
	struct dns_record opt;

	return dns_message_rcode(msg) | (find_opt(msg, len, &opt) ? opt.ttl >> 24 << 4 : 0);
}

/* --- along the answer section --- */

static bool owned_by_last(const struct dns_chain *c, const struct dns_record *rec)
{
	struct dns_name name;
	size_t off = rec->owner;

	if (c->msg[off] == 0xc0 && c->msg[off + 1] == DNS_HEADER_SIZE)
		return c->n == 1;
	return dns_name_read(c->msg, c->len, &off, &name) == 0 &&
	       dns_name_equal(&name, &c->names[c->n - 1]);
}

/* Visits the records of the last name; returns where the target of its first CNAME is, or 0. */
static size_t visit_last(
	const struct dns_chain *c, struct dns_reader r, dns_chain_visit *visit, void *arg)
{
	unsigned count = wire_get16(c->msg + 6);
	struct dns_record rec;
	size_t next = 0;

	for (unsigned i = 0; i < count && dns_reader_record(&r, &rec); i++) {
		bool wanted = rec.type == DNS_A || rec.type == DNS_AAAA || rec.type == DNS_CNAME ||
			      rec.type == c->type;

		if (rec.class != DNS_CLASS_IN || !wanted || !owned_by_last(c, &rec))
			continue;
		if (rec.type == DNS_CNAME) {
			if (next)
				continue;
			next = rec.data;
		}
		visit(arg, c, &rec);
	}
	return next;
}

bool dns_chain_contains(const struct dns_chain *c, const struct dns_name *name)
{
	for (unsigned i = 0; i < c->n; i++) {
		if (dns_name_equal(&c->names[i], name))
			return true;
	}
	return false;
}

void dns_chain_walk(const uint8_t *msg, size_t len, dns_chain_visit *visit, void *arg)
{
	struct dns_reader r = reader_at_records(msg, len);
	struct dns_chain c; /* large: its names are not cleared */
	size_t next = DNS_HEADER_SIZE;

	if (r.bad)
		return;
	c.msg = msg;
	c.len = len;
	c.n = 0;
	c.type = wire_get16(msg + r.off - 4);
	while (c.n < sizeof c.names / sizeof *c.names && next) {
		struct dns_name *name = &c.names[c.n];

		if (dns_name_read(msg, len, &next, name) || dns_chain_contains(&c, name))
			break;
		c.n++;
		next = visit_last(&c, r, visit, arg);
	}
}

struct addresses {
	dns_address_visit *visit;
	void *arg;
	size_t n;
};

static void visit_address(void *arg, const struct dns_chain *c, const struct dns_record *rec)
{
	struct addresses *a = arg;
	size_t size = rec->end - rec->data;

	if ((rec->type == DNS_A && size == 4) || (rec->type == DNS_AAAA && size == 16)) {
		a->visit(a->arg, c->msg + rec->data, size, dns_ttl_s(rec->ttl));
		a->n++;
	} else if (rec->type == DNS_SVCB || rec->type == DNS_HTTPS) {
		a->n += dns_svcb_hints(c->msg, rec, a->visit, a->arg);
	}
}

size_t dns_response_addresses(const uint8_t *msg, size_t len, dns_address_visit *visit, void *arg)
{
	struct addresses a = {.visit = visit, .arg = arg};

	dns_chain_walk(msg, len, visit_address, &a);
	return a.n;
}

size_t dns_response_all_addresses(
	const uint8_t *msg, size_t len, dns_address_visit *visit, void *arg)
{
	struct dns_reader r = reader_at_records(msg, len);
	struct addresses a = {.visit = visit, .arg = arg};
	unsigned count = r.bad ? 0 : wire_get16(msg + 6);
	struct dns_record rec;
	struct dns_chain c; /* of which a visit needs the message alone */

	c.msg = msg;
	for (unsigned i = 0; i < count && dns_reader_record(&r, &rec); i++) {
		if (rec.class == DNS_CLASS_IN)
			visit_address(&a, &c, &rec);
	}
	return a.n;
}
