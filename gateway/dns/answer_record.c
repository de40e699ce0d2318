/* Answers made of records of our own, and of records that a response has. Names are written in
 * full: no reader minds, and RFC 3597 4 lets only the oldest types be compressed. */
#include "gateway/dns/record.h"

#include "gateway/dns/dns_internal.h"

#define TTL_MAX 0x7fffffff /* RFC 2181 8 */

/* The same name whatever its case (RFC 4343); both whole and uncompressed. Length bytes are below
 * 'A'. */
static bool wire_equal(const uint8_t *a, const uint8_t *b, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint8_t x = a[i], y = b[i];

		if ((x >= 'A' && x <= 'Z' ? x + 32 : x) != (y >= 'A' && y <= 'Z' ? y + 32 : y))
			return false;
	}
	return true;
}

static size_t wire_size(const uint8_t *name)
{
	size_t size = 0;

	while (name[size])
		size += name[size] + 1u;
	return size + 1;
}

/* Up to where the data goes; NULL: it does not fit, or nobody asked. The question's own name is a
 * pointer to it. */
static uint8_t *record_begin(
	struct dns_writer *w, const uint8_t *owner, uint16_t type, uint32_t ttl_s, size_t size)
{
	size_t owner_size = owner ? wire_size(owner) : 0;
	uint8_t *p = w->buf + w->len;

	if (!owner || (owner_size == w->q->name.len && w->q->question_len == owner_size + 4 &&
			      wire_equal(owner, w->q->name.b, owner_size)))
		return dns_writer_record(w, type, ttl_s, size);
	if (w->q->question_len == 0)
		return NULL;
	if (w->full || w->cap - w->len < owner_size + 10 + size) {
		w->full = true;
		return NULL;
	}
	memcpy(p, owner, owner_size);
	p += owner_size;
	wire_put16(p, type);
	wire_put16(p + 2, DNS_CLASS_IN);
	wire_put32(p + 4, ttl_s > TTL_MAX ? TTL_MAX : ttl_s);
	wire_put16(p + 8, (unsigned)size);
	w->len += owner_size + 10 + size;
	return p + 10;
}

void dns_answer_record(struct dns_writer *w, const uint8_t *owner, uint16_t type, uint32_t ttl_s,
	const uint8_t *rdata, size_t len)
{
	uint8_t *to = record_begin(w, owner, type, ttl_s, len);

	if (!to)
		return;
	if (len)
		memcpy(to, rdata, len);
	w->answers++;
}

/* --- copies --- */

size_t dns_data_expand(
	const uint8_t *msg, size_t len, const struct dns_record *rec, uint8_t *out, bool *bad)
{
	size_t at[DNS_RECORD_NAMES], from = rec->data, size = 0;
	int n = dns_record_names(msg, rec, at);

	*bad = n < 0;
	for (int i = 1; i < n; i++) {
		struct dns_name name;
		size_t off = at[i];

		if (dns_name_expand(msg, len, &off, &name)) {
			*bad = true;
			return 0;
		}
		if (out) {
			memcpy(out + size, msg + from, at[i] - from);
			memcpy(out + size + (at[i] - from), name.b, name.len);
		}
		size += at[i] - from + name.len;
		from = off;
	}
	if (out)
		memcpy(out + size, msg + from, rec->end - from);
	return size + (rec->end - from);
}

/* Did the writer take it? */
static bool record_copy(struct dns_writer *w, const uint8_t *msg, size_t len,
	const struct dns_record *rec, uint32_t ttl_max_s)
{
	uint32_t ttl_s = dns_ttl_s(rec->ttl);
	size_t off = rec->owner, size;
	struct dns_name owner;
	bool bad;
	uint8_t *to;

	size = dns_data_expand(msg, len, rec, NULL, &bad);
	if (bad || size > DNS_RDATA_MAX || dns_name_expand(msg, len, &off, &owner))
		return false;
	to = record_begin(w, owner.b, rec->type, ttl_s < ttl_max_s ? ttl_s : ttl_max_s, size);
	if (!to)
		return false;
	(void)dns_data_expand(msg, len, rec, to, &bad);
	w->answers++;
	return true;
}

unsigned dns_answer_copy(struct dns_writer *w, const uint8_t *msg, size_t len, uint32_t ttl_max_s)
{
	struct dns_reader r = {.msg = msg, .len = len, .off = DNS_HEADER_SIZE};
	struct dns_record rec;
	unsigned count, n = 0;

	if (len < DNS_HEADER_SIZE || wire_get16(msg + 4) != 1)
		return 0;
	count = wire_get16(msg + 6);
	dns_reader_skip_name(&r);
	dns_reader_take(&r, 4);
	for (unsigned i = 0; i < count && !r.bad && dns_reader_record(&r, &rec); i++) {
		if (rec.class == DNS_CLASS_IN && rec.type != DNS_OPT)
			n += record_copy(w, msg, len, &rec, ttl_max_s);
	}
	return n;
}
