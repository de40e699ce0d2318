#include "gateway/dns/dns_internal.h"

#define TTL_MAX 0x7fffffff		   /* RFC 2181 8 */
#define OWNER	(0xc000 | DNS_HEADER_SIZE) /* a pointer to the question's name */

size_t dns_opt_write(uint8_t *p, const struct dns_query *q, unsigned rcode, enum dns_ede ede)
{
	size_t options = ede == DNS_EDE_NONE ? 0 : DNS_EDE_SIZE;

	p[0] = 0;
	wire_put16(p + 1, DNS_OPT);
	wire_put16(p + 3, DNS_UDP_MAX);
	p[5] = (uint8_t)(rcode >> 4);
	p[6] = 0;
	wire_put16(p + 7, q->dnssec_ok ? DNS_OPT_DO : 0);
	wire_put16(p + 9, (unsigned)options);
	if (options) {
		wire_put16(p + 11, 15); /* RFC 8914 2 */
		wire_put16(p + 13, 2);
		wire_put16(p + 15, (unsigned)ede);
	}
	return DNS_OPT_SIZE + options;
}

void dns_answer_begin(struct dns_writer *w, uint8_t *buf, size_t limit, const struct dns_query *q,
	enum dns_rcode rcode, uint16_t flags)
{
	unsigned kept = q->flags & (DNS_OPCODE | DNS_RD | DNS_CD);

	if (limit > DNS_MESSAGE_MAX)
		limit = DNS_MESSAGE_MAX;
	if (rcode > 15 && !q->has_opt) /* nowhere to say it */
		rcode = DNS_SERVFAIL;
	w->buf = buf;
	w->cap = limit - (q->has_opt ? DNS_OPT_SIZE + DNS_EDE_SIZE : 0);
	w->len = DNS_HEADER_SIZE + q->question_len;
	w->q = q;
	w->rcode = rcode;
	w->answers = w->authorities = w->additionals = 0;
	w->full = false;
	wire_put16(buf, q->id);
	wire_put16(buf + 2, DNS_QR | DNS_RA | kept | flags | (rcode & 15));
	wire_put16(buf + 4, q->question_len > 0);
	memcpy(buf + DNS_HEADER_SIZE, q->question, q->question_len);
}

uint8_t *dns_writer_record(struct dns_writer *w, unsigned type, uint32_t ttl_s, size_t size)
{
	uint8_t *p = w->buf + w->len;

	if (w->q->question_len == 0)
		return NULL;
	if (w->full || w->cap - w->len < 12 + size) {
		w->full = true;
		return NULL;
	}
	wire_put16(p, OWNER);
	wire_put16(p + 2, type);
	wire_put16(p + 4, DNS_CLASS_IN);
	wire_put32(p + 6, ttl_s > TTL_MAX ? TTL_MAX : ttl_s);
	wire_put16(p + 10, (unsigned)size);
	w->len += 12 + size;
	return p + 12;
}

void dns_answer_address(struct dns_writer *w, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	uint8_t *data = dns_writer_record(w, size == 4 ? DNS_A : DNS_AAAA, ttl_s, size);

	if (!data)
		return;
	if (size == 4)
		memcpy(data, address, 4);
	else
		memcpy(data, address, 16);
	w->answers++;
}

void dns_answer_ptr(struct dns_writer *w, const uint8_t *target_wire, uint32_t ttl_s)
{
	size_t size = 0;
	uint8_t *data;

	while (target_wire[size])
		size += target_wire[size] + 1u;
	size++;
	data = dns_writer_record(w, DNS_PTR, ttl_s, size);
	if (!data)
		return;
	memcpy(data, target_wire, size);
	w->answers++;
}

void dns_answer_soa(struct dns_writer *w, uint32_t ttl_s)
{
	/* The name itself as MNAME, nobody.invalid. as RNAME, a serial and the usual times. */
	static const uint8_t soa[2 + 16 + 20] = {OWNER >> 8, OWNER & 255, 6, 'n', 'o', 'b', 'o',
		'd', 'y', 7, 'i', 'n', 'v', 'a', 'l', 'i', 'd', 0, 0, 0, 0, 1, 0, 0, 0x0e, 0x10, 0,
		0, 0x04, 0xb0, 0, 0x09, 0x3a, 0x80};
	uint8_t *data = dns_writer_record(w, DNS_SOA, ttl_s, sizeof soa);

	if (!data)
		return;
	memcpy(data, soa, sizeof soa);
	wire_put32(data + sizeof soa - 4, ttl_s > TTL_MAX ? TTL_MAX : ttl_s);
	w->authorities++;
}

size_t dns_answer_end(struct dns_writer *w, enum dns_ede ede)
{
	if (w->full) {
		w->len = DNS_HEADER_SIZE + w->q->question_len;
		w->answers = w->authorities = w->additionals = 0;
		w->buf[2] |= DNS_TC >> 8;
	}
	if (w->q->has_opt) {
		w->len += dns_opt_write(w->buf + w->len, w->q, w->rcode, ede);
		w->additionals++;
	}
	wire_put16(w->buf + 6, w->answers);
	wire_put16(w->buf + 8, w->authorities);
	wire_put16(w->buf + 10, w->additionals);
	return w->len;
}

size_t dns_answer_empty(uint8_t *buf, size_t limit, const struct dns_query *q, enum dns_rcode rcode,
	uint32_t soa_ttl_s, enum dns_ede ede)
{
	struct dns_writer w;

	dns_answer_begin(&w, buf, limit, q, rcode, 0);
	if (soa_ttl_s)
		dns_answer_soa(&w, soa_ttl_s);
	return dns_answer_end(&w, ede);
}
