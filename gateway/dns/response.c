#include "gateway/dns/dns_internal.h"

#include <errno.h>

#define CNAMES_MAX 16 /* RFC 6604 speaks of chains; none needs more */

static uint16_t question_count(const uint8_t *msg)
{
	return dns_get16(msg + 4);
}

bool dns_response_matches(
	const uint8_t *msg, size_t len, uint16_t id, const struct dns_name *name, uint16_t type)
{
	size_t off = DNS_HEADER_SIZE;
	struct dns_name asked;

	if (len < DNS_HEADER_SIZE || dns_get16(msg) != id || question_count(msg) != 1)
		return false;
	if ((dns_message_flags(msg) & (DNS_QR | DNS_OPCODE)) != DNS_QR)
		return false;
	if (dns_name_read(msg, len, &off, &asked) || len - off < 4 || !dns_name_equal(&asked, name))
		return false;
	return dns_get16(msg + off) == type && dns_get16(msg + off + 2) == DNS_CLASS_IN;
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
	before = (unsigned)dns_get16(msg + 6) + dns_get16(msg + 8);
	all = before + dns_get16(msg + 10);
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

/* A walk of the answer section for one owner. */
struct link {
	const uint8_t *msg;
	size_t len;
	const struct dns_name *owner;
	bool is_question; /* the owner is the question's name */
};

static bool owned_by(const struct link *l, const struct dns_record *rec)
{
	struct dns_name name;
	size_t off = rec->owner;

	if (l->msg[off] == 0xc0 && l->msg[off + 1] == DNS_HEADER_SIZE)
		return l->is_question;
	return dns_name_read(l->msg, l->len, &off, &name) == 0 && dns_name_equal(&name, l->owner);
}

/* Visits the owner's addresses; returns how many, and in *ret_next where the target of its first
 * CNAME is, or 0. */
static size_t visit_owner(const struct link *l, struct dns_reader r, dns_address_visit *visit,
	void *arg, size_t *ret_next)
{
	unsigned count = dns_get16(l->msg + 6);
	struct dns_record rec;
	size_t n = 0;

	*ret_next = 0;
	for (unsigned i = 0; i < count && dns_reader_record(&r, &rec); i++) {
		size_t size = rec.end - rec.data;
		bool address =
			(rec.type == DNS_A && size == 4) || (rec.type == DNS_AAAA && size == 16);

		if (rec.class != DNS_CLASS_IN || (!address && rec.type != DNS_CNAME) ||
			!owned_by(l, &rec))
			continue;
		if (address) {
			visit(arg, l->msg + rec.data, size, dns_ttl_s(rec.ttl));
			n++;
		} else if (!*ret_next) {
			*ret_next = rec.data;
		}
	}
	return n;
}

static bool seen(const struct dns_name *chain, unsigned n, const struct dns_name *name)
{
	for (unsigned i = 0; i < n; i++) {
		if (dns_name_equal(&chain[i], name))
			return true;
	}
	return false;
}

size_t dns_response_addresses(const uint8_t *msg, size_t len, dns_address_visit *visit, void *arg)
{
	struct dns_reader r = reader_at_records(msg, len);
	struct dns_name chain[1 + CNAMES_MAX];
	size_t next = DNS_HEADER_SIZE, n = 0;

	if (r.bad)
		return 0;
	for (unsigned i = 0; i <= CNAMES_MAX && next; i++) {
		struct link l = {.msg = msg, .len = len, .owner = &chain[i], .is_question = i == 0};

		if (dns_name_read(msg, len, &next, &chain[i]) || seen(chain, i, &chain[i]))
			break;
		n += visit_owner(&l, r, visit, arg, &next);
	}
	return n;
}
