/* Stored messages on their way out: the hottest path of the cache. They were checked when they were
 * stored, so one walk that knows only where records end is enough; it still stays inside the
 * message. */
#include "gateway/dns/stored.h"

#include "gateway/dns/dns_internal.h"

/* Behind the name at p; at most end. */
static inline uint8_t *skip_name(uint8_t *p, const uint8_t *end)
{
	while (p < end) {
		if (*p >= 0xc0)
			return p + 2;
		if (*p == 0)
			return p + 1;
		p += *p + 1u;
	}
	return p;
}

/* The TTL of the record at *at, which moves behind it; NULL: there is none. */
static inline uint8_t *next_ttl(uint8_t **at, const uint8_t *end)
{
	uint8_t *fixed = skip_name(*at, end);

	if (fixed >= end || end - fixed < 10)
		return NULL;
	*at = fixed + 10 + wire_get16(fixed + 8);
	return fixed + 4;
}

static inline uint8_t *first_record(uint8_t *msg, size_t len)
{
	return len < DNS_HEADER_SIZE ? msg + len : skip_name(msg + DNS_HEADER_SIZE, msg + len) + 4;
}

void dns_stored_age(uint8_t *msg, size_t len, uint32_t age_s)
{
	const uint8_t *end = msg + len;
	uint8_t *at = first_record(msg, len), *ttl;

	while (age_s && (ttl = next_ttl(&at, end))) {
		uint32_t left_s = wire_get32(ttl);

		if (left_s)
			wire_put32(ttl, left_s > age_s ? left_s - age_s : 1);
	}
}

void dns_stored_set_ttl(uint8_t *msg, size_t len, uint32_t ttl_s)
{
	const uint8_t *end = msg + len;
	uint8_t *at = first_record(msg, len), *ttl;

	while ((ttl = next_ttl(&at, end)))
		wire_put32(ttl, ttl_s);
}

/* The stored question is in lower case, as the query's name is. */
static bool answers(const uint8_t *msg, size_t len, const struct dns_query *q)
{
	size_t name = q->name.len, size = q->question_len;

	return size == name + 4 && len >= DNS_HEADER_SIZE + size &&
	       memcmp(msg + DNS_HEADER_SIZE, q->name.b, name) == 0 &&
	       memcmp(msg + DNS_HEADER_SIZE + name, q->question + name, 4) == 0;
}

size_t dns_stored_answer(
	uint8_t *buf, size_t len, size_t limit, const struct dns_query *q, enum dns_ede ede)
{
	size_t opt = q->has_opt ? dns_opt_size(ede) : 0;

	if (len + opt > limit || !answers(buf, len, q))
		return 0;
	wire_put16(buf, q->id);
	wire_put16(buf + 2, dns_relay_flags(dns_message_flags(buf), q));
	memcpy(buf + DNS_HEADER_SIZE, q->question, q->question_len);
	if (opt) {
		wire_put16(buf + 10, wire_get16(buf + 10) + 1u);
		(void)dns_opt_write(buf + len, q, 0, ede);
	}
	return len + opt;
}
