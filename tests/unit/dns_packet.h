/* Builds DNS packets for the tests, byte by byte and without the code under test. */
#ifndef TUNGATE_TESTS_DNS_PACKET_H
#define TUNGATE_TESTS_DNS_PACKET_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/dns/message.h"
#include "tests/unit/names.h"

struct packet {
	uint8_t b[70000];
	size_t len;
};

static inline void put8(struct packet *p, unsigned v)
{
	p->b[p->len++] = (uint8_t)v;
}

static inline void put16(struct packet *p, unsigned v)
{
	put8(p, v >> 8);
	put8(p, v & 255);
}

static inline void put32(struct packet *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p, v & 0xffff);
}

static inline void put_bytes(struct packet *p, const void *bytes, size_t size)
{
	memcpy(p->b + p->len, bytes, size);
	p->len += size;
}

/* Labels of plain text, case kept; ends with the root unless the text ends in "@OFFSET", a pointer.
 */
static inline void put_name(struct packet *p, const char *text)
{
	while (*text && *text != '@') {
		size_t n = strcspn(text, ".@");

		put8(p, (unsigned)n);
		put_bytes(p, text, n);
		text += n + (text[n] == '.');
	}
	if (*text == '@')
		put16(p, 0xc000 | (unsigned)atoi(text + 1));
	else
		put8(p, 0);
}

static inline void put_header(
	struct packet *p, unsigned id, unsigned flags, const unsigned counts[4])
{
	p->len = 0;
	put16(p, id);
	put16(p, flags);
	for (int i = 0; i < 4; i++)
		put16(p, counts[i]);
}

#define COUNTS(...) ((const unsigned[4]){__VA_ARGS__})

static inline void put_question(struct packet *p, const char *name, unsigned type, unsigned class)
{
	put_name(p, name);
	put16(p, type);
	put16(p, class);
}

/* The head of a record in class IN; the data follows with size bytes. */
static inline void put_record(
	struct packet *p, const char *owner, unsigned type, uint32_t ttl, size_t size)
{
	put_name(p, owner);
	put16(p, type);
	put16(p, 1);
	put32(p, ttl);
	put16(p, (unsigned)size);
}

static inline void put_a(struct packet *p, const char *owner, uint32_t ttl, uint32_t address)
{
	put_record(p, owner, 1, ttl, 4);
	put32(p, address);
}

static inline void put_opt(
	struct packet *p, unsigned udp_size, uint32_t ttl, const void *options, size_t size)
{
	put8(p, 0);
	put16(p, 41);
	put16(p, udp_size);
	put32(p, ttl);
	put16(p, (unsigned)size);
	put_bytes(p, options, size);
}

/* A parsed query for name; opt_ttl < 0: without OPT. */
static inline struct dns_query query_for(
	const char *name, unsigned type, unsigned flags, int64_t opt_ttl)
{
	bool other_edns = opt_ttl > 0 && (opt_ttl & 0xff0000); /* is answered at once */
	struct packet p;
	struct dns_query q;
	enum dns_rcode rcode;

	put_header(&p, 0xbeef, flags, COUNTS(1, 0, 0, opt_ttl >= 0));
	put_question(&p, name, type, DNS_CLASS_IN);
	if (opt_ttl >= 0)
		put_opt(&p, 1232, (uint32_t)opt_ttl, "", 0);
	memset(&q, 0xee, sizeof q);
	assert_int_equal(dns_query_parse(p.b, p.len, &q, &rcode),
		other_edns ? DNS_PARSE_ANSWER : DNS_PARSE_QUERY);
	return q;
}

/* An exact copy on the heap, so that ASan sees a byte read too far. */
static inline uint8_t *exact(const void *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, size);
	return copy;
}

static inline unsigned get16(const uint8_t *p)
{
	return (unsigned)(p[0] << 8 | p[1]);
}

#endif
