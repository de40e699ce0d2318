/* What the cache's tests share: names, keys and answers made of numbers. */
#ifndef TUNGATE_TESTS_CACHE_STAGE_H
#define TUNGATE_TESTS_CACHE_STAGE_H

#include "gateway/cache/cache.h"
#include "tests/unit/dns_packet.h"

#include <stdio.h>

#define HASH_KEY 0x1234567890abcdefULL

struct cache_asked {
	struct dns_name name;
	struct cache_key key; /* key.name is name: made again after it was copied */
};

static inline const struct cache_key *asked_text(
	struct cache_asked *a, const char *name, uint16_t type)
{
	assert_int_equal(dns_name_parse(name, strlen(name), &a->name), 0);
	a->key = (struct cache_key){
		.name = &a->name, .hash = dns_name_hash(&a->name, HASH_KEY), .type = type};
	return &a->key;
}

static inline const struct cache_key *asked_number(struct cache_asked *a, unsigned i)
{
	char text[64];

	(void)snprintf(text, sizeof text, "n%u.example.test", i);
	return asked_text(a, text, DNS_A);
}

/* An answer of one address in the stored form. */
static inline void answer_make(
	struct packet *p, const char *name, uint16_t type, uint32_t ttl_s, unsigned value)
{
	put_header(p, 0, DNS_QR | DNS_RD | DNS_RA, COUNTS(1, 1, 0, 0));
	put_question(p, name, type, DNS_CLASS_IN);
	put_name(p, "@12");
	put16(p, type);
	put16(p, DNS_CLASS_IN);
	put32(p, ttl_s);
	put16(p, type == DNS_AAAA ? 16 : 4);
	for (int i = 0; i < (type == DNS_AAAA ? 3 : 0); i++)
		put32(p, 0);
	put32(p, value);
}

static inline void put_number(struct cache *c, unsigned i, uint32_t life_s, uint32_t now_s)
{
	static _Thread_local struct packet p;
	struct cache_asked a;
	char text[64];

	(void)snprintf(text, sizeof text, "n%u.example.test", i);
	answer_make(&p, text, DNS_A, life_s, i);
	cache_put(c, asked_number(&a, i), p.b, p.len, life_s, now_s);
}

static inline enum cache_state get_number(struct cache *c, unsigned i, uint32_t now_s)
{
	uint8_t buf[512];
	struct cache_found f;
	struct cache_asked a;

	cache_get(c, asked_number(&a, i), now_s, buf, sizeof buf, &f);
	return f.state;
}

static inline struct cache *cache_made(const struct cache_config *config)
{
	struct cache *c = NULL;

	assert_int_equal(cache_new(config, &c), 0);
	return c;
}

static inline struct cache_stats stats_of(struct cache *c)
{
	struct cache_stats s;

	cache_stats(c, &s);
	return s;
}

#endif
