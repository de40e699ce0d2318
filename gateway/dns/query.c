#include "gateway/dns/dns_internal.h"

enum {
	TYPE_TKEY = 249,
	TYPE_TSIG = 250,
	TYPE_IXFR = 251,
	TYPE_AXFR = 252,
	TYPE_MAILB = 253,
	TYPE_MAILA = 254,
};

/* RFC 6891 6.1.2: pairs of code and length that fill the data. What the options say does not matter
 * to us. */
static bool options_whole(const uint8_t *p, size_t len)
{
	while (len >= 4) {
		size_t size = 4u + wire_get16(p + 2);

		if (size > len)
			return false;
		p += size;
		len -= size;
	}
	return len == 0;
}

/* The first OPT is kept even if it makes the message wrong, so that the answer has one as well. */
static bool read_opt(
	struct dns_query *q, const uint8_t *msg, const struct dns_record *rec, bool additional)
{
	if (q->has_opt || !additional)
		return false;
	q->has_opt = true;
	q->udp_size = rec->class < 512 ? 512 : rec->class;
	q->opt_version = (uint8_t)(rec->ttl >> 16);
	q->dnssec_ok = rec->ttl & DNS_OPT_DO;
	if (msg[rec->owner] != 0)
		return false;
	/* Another version's data may look different. */
	return q->opt_version > 0 || options_whole(msg + rec->data, rec->end - rec->data);
}

/* The records behind the question; each takes at least 11 bytes, so the length bounds the walk
 * whatever the counts say. Bytes behind the last one belong to nothing that was counted: the counts
 * or the length lie. */
static bool read_records(struct dns_query *q, struct dns_reader *r)
{
	unsigned before = (unsigned)wire_get16(r->msg + 6) + wire_get16(r->msg + 8);
	unsigned all = before + wire_get16(r->msg + 10);
	struct dns_record rec;
	bool ok = true;

	for (unsigned i = 0; i < all && dns_reader_record(r, &rec); i++) {
		size_t owner = rec.owner;

		if (dns_name_check(r->msg, r->len, &owner) < 0)
			ok = false;
		if (rec.type == DNS_OPT && !read_opt(q, r->msg, &rec, i >= before))
			ok = false;
	}
	return ok && !r->bad && r->off == r->len;
}

static bool read_question(struct dns_query *q, struct dns_reader *r)
{
	const uint8_t *fixed;
	size_t size;

	if (dns_name_read(r->msg, r->len, &r->off, &q->name)) {
		r->bad = true;
		return false;
	}
	fixed = dns_reader_take(r, 4);
	if (!fixed)
		return false;
	q->type = wire_get16(fixed);
	q->class = wire_get16(fixed + 2);
	/* A pointer cannot lead anywhere from here: name_read lets none into the header. */
	size = r->off - DNS_HEADER_SIZE;
	memcpy(q->question, r->msg + DNS_HEADER_SIZE, size);
	q->question_len = (uint16_t)size;
	return true;
}

/* Exactly one question (RFC 9619). Others are stepped over, to find the OPT. */
static bool read_body(struct dns_query *q, struct dns_reader *r)
{
	unsigned questions = wire_get16(r->msg + 4);
	bool ok = questions == 1 && read_question(q, r);

	for (unsigned i = questions == 1; i < questions && !r->bad; i++) {
		dns_reader_skip_name(r);
		dns_reader_take(r, 4);
	}
	return read_records(q, r) && ok;
}

/* Types that are no question to a resolver (RFC 6895 3.1). Transfers are for a zone's servers; OPT,
 * TSIG and type 0 never stand in a question; the rest is obsolete or a service we do not have. */
static enum dns_rcode judge_type(uint16_t type)
{
	switch (type) {
	case 0:
	case DNS_OPT:
	case TYPE_TSIG:
		return DNS_FORMERR;
	case TYPE_TKEY:
	case TYPE_MAILA:
	case TYPE_MAILB:
		return DNS_NOTIMP;
	case TYPE_AXFR:
	case TYPE_IXFR:
		return DNS_REFUSED;
	default:
		return DNS_NOERROR;
	}
}

enum dns_parse dns_query_parse(
	const uint8_t *msg, size_t len, struct dns_query *q, enum dns_rcode *ret_rcode)
{
	struct dns_reader r = {.msg = msg, .len = len, .off = DNS_HEADER_SIZE};
	enum dns_rcode rcode;
	bool whole;

	if (len < DNS_HEADER_SIZE || dns_message_flags(msg) & DNS_QR)
		return DNS_PARSE_IGNORE;
	q->id = wire_get16(msg);
	q->flags = dns_message_flags(msg);
	q->type = q->class = 0;
	q->udp_size = 512;
	q->has_opt = q->dnssec_ok = false;
	q->opt_version = 0;
	q->question_len = 0;
	whole = read_body(q, &r);

	if (q->flags & DNS_OPCODE)
		rcode = DNS_NOTIMP; /* its body may have a shape of its own (RFC 8906 8.1.4) */
	else if (!whole)
		rcode = DNS_FORMERR;
	else if (q->opt_version > 0)
		rcode = DNS_BADVERS;
	else if (q->class != DNS_CLASS_IN)
		rcode = DNS_REFUSED;
	else
		rcode = judge_type(q->type);
	if (rcode == DNS_NOERROR)
		return DNS_PARSE_QUERY;
	*ret_rcode = rcode;
	return DNS_PARSE_ANSWER;
}

size_t dns_udp_limit(const struct dns_query *q)
{
	if (q->udp_size < 512)
		return 512;
	return q->udp_size < DNS_UDP_MAX ? q->udp_size : DNS_UDP_MAX;
}
