#include "tests/unit/dns_packet.h"

#include <errno.h>
#include <stdio.h>

#include "gateway/dns/stored.h"

#define ANSWER (DNS_QR | DNS_AA | DNS_RD | DNS_RA)

static const struct dns_store_how usual = {.ttl_max_s = 86400, .negative_max_s = 3600};

static void begin(struct packet *p, unsigned flags, const unsigned counts[4], unsigned type)
{
	put_header(p, 0x4242, flags, counts);
	put_question(p, "A.test", type, DNS_CLASS_IN);
}

static int store_in(struct packet *ret, size_t size, const struct packet *p,
	const struct dns_store_how *how, struct dns_stored_info *info)
{
	uint8_t *copy = exact(p->b, p->len), *out = malloc(size ? size : 1);
	int n;

	assert_non_null(out);
	assert_int_equal(dns_response_check(copy, p->len), 0);
	n = dns_store(out, size, copy, p->len, how, info);
	if (n >= 0) {
		assert_true((size_t)n <= size);
		assert_int_equal(dns_response_check(out, (size_t)n), 0);
		memcpy(ret->b, out, (size_t)n);
		ret->len = (size_t)n;
	}
	free(copy);
	free(out);
	return n;
}

static struct packet store(
	const struct packet *p, const struct dns_store_how *how, struct dns_stored_info *info)
{
	struct packet ret = {.len = 0};

	assert_true(store_in(&ret, DNS_MESSAGE_MAX, p, how, info) > 0);
	return ret;
}

static void assert_same(const struct packet *got, const struct packet *want)
{
	assert_int_equal(got->len, want->len);
	assert_memory_equal(got->b, want->b, want->len);
}

/* The TTLs of a message, in its order. */
struct ttls {
	unsigned n;
	uint32_t ttl[128];
};

static struct ttls ttls_of(const struct packet *p)
{
	struct ttls t = {0};
	size_t off = 12;

	assert_int_equal(dns_name_skip(p->b, p->len, &off), 0);
	for (off += 4; off < p->len;) {
		assert_int_equal(dns_name_skip(p->b, p->len, &off), 0);
		assert_in_range(t.n, 0, 127);
		t.ttl[t.n++] = (uint32_t)get16(p->b + off + 4) << 16 | get16(p->b + off + 6);
		off += 10 + get16(p->b + off + 8);
	}
	assert_int_equal(off, p->len);
	return t;
}

static void assert_ttls(const struct packet *p, unsigned n, const uint32_t *want)
{
	struct ttls t = ttls_of(p);

	assert_int_equal(t.n, n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(t.ttl[i], want[i]);
}
#define TTLS(...)                                                                                  \
	sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (const uint32_t[])                   \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

/* --- the copy --- */

static void bytes_as_they_came(void **state)
{
	struct dns_stored_info info;
	struct packet p, want, got;

	(void)state;
	for (int round = 0; round < 2; round++) {
		struct packet *to = round ? &want : &p;

		if (round) {
			put_header(to, 0, DNS_QR | DNS_RD | DNS_RA | DNS_AD, COUNTS(1, 3, 1, 1));
			put_question(to, "a.test", DNS_A, 1);
		} else {
			begin(to, ANSWER | DNS_AD | 0x40, COUNTS(1, 3, 1, 3), DNS_A);
		}
		put_record(to, "@12", DNS_CNAME, 60, 4);
		put_name(to, "b@14");
		put_a(to, "B@14", 77, 1);
		put_a(to, "b@14", 77, 2);
		put_record(to, "@14", DNS_NS, 300, 5);
		put_name(to, "ns@14");
		put_a(to, "ns@14", 300, 3);
	}
	put_opt(&p, 4096, 0x8000, "\0\12\0\10abcdefgh", 12);
	put_record(&p, "k@14", 250, 0, 3); /* TSIG */
	put_bytes(&p, "sig", 3);
	put_bytes(&p, "tail", 4);
	got = store(&p, &usual, &info);
	assert_same(&got, &want);
	assert_int_equal(info.life_s, 60);
	assert_int_equal(info.dropped, 0);
	assert_false(info.negative);
	/* A stored message is stored as it is. */
	p = got;
	got = store(&p, &usual, &info);
	assert_same(&got, &want);
	/* Room to the byte. */
	assert_int_equal(store_in(&got, p.len, &p, &usual, &info), p.len);
	for (size_t size = 0; size < p.len; size++)
		assert_int_equal(store_in(&got, size, &p, &usual, &info), -ENOSPC);
}

/* What stands behind an OPT, and points behind it, stays. */
static void moves_behind_opt(void **state)
{
	struct dns_stored_info info;
	struct packet p, got;
	char owner[16];

	(void)state;
	begin(&p, ANSWER, COUNTS(1, 1, 0, 4), DNS_A);
	put_a(&p, "@12", 60, 1);
	put_opt(&p, 4096, 0, "\0\12\0\10abcdefgh", 12);
	snprintf(owner, sizeof owner, "x@%zu", p.len);
	put_a(&p, "ns@14", 60, 2);
	put_record(&p, owner, DNS_MX, 60, 4);
	put_bytes(&p, "\0\5", 2);
	put_name(&p, "@14");
	put_a(&p, owner, 60, 3);
	got = store(&p, &usual, &info);
	assert_int_equal(get16(got.b + 10), 3);
	assert_null(memmem(got.b, got.len, "abcdefgh", 8));
	/* Names in full, but the owner that stood there just now is a pointer. */
	assert_int_equal(got.len, 24 + 16 + 9 + 14 + 11 + 10 + 2 + 6 + 2 + 14);
	assert_non_null(memmem(got.b, got.len, "\1x\2ns\4test\0\0\17", 13));
	assert_non_null(memmem(got.b, got.len, "\0\5\4test\0", 8));
	for (size_t size = 0; size < got.len; size++)
		assert_int_equal(store_in(&got, size, &p, &usual, &info), -ENOSPC);
}

/* A name that runs through a TTL would change with it: it is written in full. */
static void names_through_ttls(void **state)
{
	struct dns_stored_info info;
	struct packet p, got;
	char owner[16];
	size_t off;
	struct dns_name name;

	(void)state;
	begin(&p, ANSWER, COUNTS(1, 2, 0, 0), DNS_A);
	snprintf(owner, sizeof owner, "x@%zu", p.len + 2 + 4);
	put_a(&p, "@12", 0x01610000, 1); /* label "a", root */
	off = p.len;
	put_a(&p, owner, 60, 2);
	got = store(&p, &(struct dns_store_how){.ttl_max_s = 0x02626262}, &info);
	dns_stored_age(got.b, got.len, 0x100);
	assert_int_equal(dns_response_check(got.b, got.len), 0);
	assert_int_equal(dns_name_read(got.b, got.len, &off, &name), 0);
	assert_memory_equal(name.b, "\1x\1a\0", 5);
}

static void growth_is_bounded(void **state)
{
	struct dns_stored_info info;
	static struct packet p, got;
	char owner[300];

	(void)state;
	begin(&p, ANSWER, COUNTS(1, 2000, 0, 1), DNS_A);
	memset(owner, 'm', sizeof owner);
	owner[63] = owner[127] = owner[191] = '.';
	owner[250] = 0;
	put_a(&p, owner, 60, 0);
	for (uint32_t i = 1; i < 2000; i++)
		put_a(&p, i % 2 ? "x@24" : "@24", 60, i);
	put_opt(&p, 1232, 0, "", 0);
	assert_int_equal(store_in(&got, DNS_MESSAGE_MAX, &p, &usual, &info), (int)p.len - 11);
	/* A record behind the OPT: all are written anew. */
	p.b[11] = 2;
	put_a(&p, "@24", 60, 1);
	assert_int_equal(store_in(&got, 70000, &p, &usual, &info), -ENOSPC);
}

static void refused(void **state)
{
	struct dns_stored_info info;
	struct packet p, got;
	uint8_t out[512];

	(void)state;
	begin(&p, ANSWER, COUNTS(1, 0, 0, 1), DNS_A);
	put_opt(&p, 1232, 0x01000000, "", 0); /* BADVERS is no NOERROR */
	assert_int_equal(store_in(&got, 512, &p, &usual, &info), -EBADMSG);
	begin(&p, ANSWER, COUNTS(1, 2, 0, 0), DNS_A);
	put_a(&p, "@12", 60, 1);
	put_a(&p, "@12", 60, 1);
	for (size_t len = 0; len < p.len; len++)
		assert_int_equal(dns_store(out, sizeof out, p.b, len, &usual, &info), -EBADMSG);
}

/* --- times --- */

static void one_ttl_a_set(void **state)
{
	struct dns_stored_info info;
	struct packet p, got;

	(void)state;
	begin(&p, ANSWER, COUNTS(1, 6, 0, 2), DNS_A);
	put_a(&p, "@12", 300, 1);
	put_a(&p, "b@14", 40, 2);
	put_a(&p, "A.TEST", 200, 3); /* not beside its set, and in full */
	put_record(&p, "@12", 46, 250, 20);
	put_bytes(&p, "\0\1................\0s", 20);
	put_record(&p, "@12", 46, 30, 20); /* of another type */
	put_bytes(&p, "\0\34................\0s", 20);
	put_a(&p, "@12", 0x80000000 | 100, 3);
	put_a(&p, "@12", 300, 4);
	put_a(&p, "c.test", 0x7fffffff, 4);
	got = store(&p, &usual, &info);
	assert_ttls(&got, TTLS(0, 40, 0, 250, 30, 0, 0, 86400));
	assert_int_equal(info.life_s, 0);
}

static void bounds_and_age(void **state)
{
	static const struct {
		struct dns_store_how how;
		uint32_t ttl, want;
	} cases[] = {
		{{.ttl_max_s = 100}, 300, 100},
		{{.ttl_max_s = 100, .age_s = 250}, 300, 50},
		{{.ttl_min_s = 60, .ttl_max_s = 100}, 5, 60},
		{{.ttl_min_s = 60, .ttl_max_s = 100}, 0, 0},
		{{.ttl_min_s = 60, .ttl_max_s = 100, .zero = true}, 0, 60},
		{{.ttl_min_s = 60, .ttl_max_s = 100}, 0x80000001, 0},
		{{.ttl_min_s = 60, .ttl_max_s = 100, .age_s = 10}, 30, 60},
		{{.ttl_min_s = 60, .ttl_max_s = 100, .age_s = 30}, 30, 0}, /* it is over */
		{{.ttl_max_s = 100, .age_s = 0xffffffff}, 30, 0},
		{{.ttl_min_s = 60, .ttl_max_s = 10}, 30, 10},
		{{.ttl_max_s = 0}, 30, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct dns_stored_info info;
		struct packet p, got;

		begin(&p, ANSWER, COUNTS(1, 1, 0, 0), DNS_A);
		put_a(&p, "@12", cases[i].ttl, 1);
		got = store(&p, &cases[i].how, &info);
		assert_ttls(&got, TTLS(cases[i].want));
		assert_int_equal(info.life_s, cases[i].want);
	}
}

static void put_soa(struct packet *p, uint32_t ttl_s, uint32_t minimum_s)
{
	put_record(p, "@14", DNS_SOA, ttl_s, 24);
	put_name(p, "@14");
	put_name(p, "@14");
	for (int i = 0; i < 4; i++)
		put32(p, 9);
	put32(p, minimum_s);
}

/* RFC 2308 5: for the SOA's TTL or its MINIMUM, whichever is less; and it shows in the message. */
static void negative_life(void **state)
{
	static const struct {
		unsigned rcode;
		uint32_t soa, minimum, age, min, max, want;
	} cases[] = {
		{DNS_NXDOMAIN, 900, 300, 0, 0, 3600, 300},
		{DNS_NOERROR, 200, 300, 0, 0, 3600, 200},
		{DNS_NXDOMAIN, 900, 300, 100, 0, 3600, 200},
		{DNS_NXDOMAIN, 86400, 86400, 0, 0, 3600, 3600},
		{DNS_NXDOMAIN, 86400, 0x80000001, 0, 0, 3600, 0},
		{DNS_NXDOMAIN, 900, 10, 0, 60, 3600, 60},
		{DNS_NXDOMAIN, 900, 300, 0, 60, 30, 30},
	};
	struct dns_stored_info info;
	struct packet p, got;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct dns_store_how how = usual;

		how.age_s = cases[i].age;
		how.ttl_min_s = cases[i].min;
		how.negative_max_s = cases[i].max;
		begin(&p, ANSWER | cases[i].rcode, COUNTS(1, 0, 1, 0), DNS_A);
		put_soa(&p, cases[i].soa, cases[i].minimum);
		got = store(&p, &how, &info);
		assert_true(info.negative);
		assert_int_equal(info.life_s, cases[i].want);
		assert_ttls(&got, TTLS(cases[i].want));
	}
	/* With CNAMEs before it the least of all; a chain without an end is NODATA. */
	for (unsigned rcode = 0; rcode <= DNS_NXDOMAIN; rcode += DNS_NXDOMAIN) {
		begin(&p, ANSWER | rcode, COUNTS(1, 1, 1, 0), DNS_A);
		put_record(&p, "@12", DNS_CNAME, 70, 4);
		put_name(&p, "b@14");
		put_soa(&p, 900, 300);
		got = store(&p, &usual, &info);
		assert_true(info.negative);
		assert_int_equal(info.life_s, 70);
		assert_ttls(&got, TTLS(70, 300));
	}
	/* A SOA beside an answer is a record like others, and one that was asked for an answer. */
	begin(&p, ANSWER, COUNTS(1, 1, 1, 0), DNS_A);
	put_a(&p, "@12", 60, 1);
	put_soa(&p, 900, 10);
	got = store(&p, &usual, &info);
	assert_ttls(&got, TTLS(60, 900));
	assert_int_equal(info.life_s, 60);
	begin(&p, ANSWER, COUNTS(1, 1, 0, 0), DNS_SOA);
	put_soa(&p, 900, 10);
	(void)store(&p, &usual, &info);
	assert_false(info.negative);
	assert_int_equal(info.life_s, 900);
}

static void no_life(void **state)
{
	struct dns_stored_info info;
	struct packet p;

	(void)state;
	/* No SOA: not to be kept (RFC 2308 5). */
	begin(&p, ANSWER | DNS_NXDOMAIN, COUNTS(1, 0, 0, 0), DNS_A);
	(void)store(&p, &usual, &info);
	assert_true(info.negative);
	assert_int_equal(info.life_s, 0);
	begin(&p, ANSWER, COUNTS(1, 1, 0, 1), DNS_A); /* nor one in another section */
	put_record(&p, "@12", DNS_CNAME, 70, 4);
	put_name(&p, "b@14");
	put_soa(&p, 900, 300);
	(void)store(&p, &usual, &info);
	assert_int_equal(info.life_s, 0);
	begin(&p, ANSWER | DNS_SERVFAIL, COUNTS(1, 1, 1, 0), DNS_A);
	put_a(&p, "@12", 60, 1);
	put_soa(&p, 900, 300);
	(void)store(&p, &usual, &info);
	assert_false(info.negative);
	assert_int_equal(info.life_s, 0);
	begin(&p, ANSWER | DNS_TC, COUNTS(1, 1, 0, 0), DNS_A);
	put_a(&p, "@12", 60, 1);
	(void)store(&p, &usual, &info);
	assert_int_equal(info.life_s, 0);
}

/* A loop, and a chain longer than is followed, are kept as they are. */
static void odd_chains(void **state)
{
	struct dns_stored_info info;
	struct packet p, got;
	char owner[16] = "@12", target[16];

	(void)state;
	begin(&p, ANSWER, COUNTS(1, 31, 0, 0), DNS_A);
	for (int i = 0; i < 30; i++) {
		snprintf(target, sizeof target, "n%02d@14", i);
		put_record(&p, owner, DNS_CNAME, 60, 6);
		put_name(&p, target);
		memcpy(owner, target, sizeof owner);
	}
	put_a(&p, owner, 20, 1);
	got = store(&p, &usual, &info);
	assert_int_equal(got.len, p.len);
	assert_int_equal(info.life_s, 20);
	begin(&p, ANSWER, COUNTS(1, 1, 0, 0), DNS_A);
	put_record(&p, "@12", DNS_CNAME, 60, 2);
	put_name(&p, "@12");
	got = store(&p, &usual, &info);
	assert_int_equal(got.len, p.len);
	assert_true(info.negative);
	assert_int_equal(info.life_s, 0);
}

/* More RRsets than are told apart: the rest share the least TTL of theirs. */
static void many_sets(void **state)
{
	struct dns_stored_info info;
	struct packet p, got;
	struct ttls t;
	char owner[16];

	(void)state;
	begin(&p, ANSWER, COUNTS(1, 100, 0, 0), DNS_A);
	for (uint32_t i = 0; i < 100; i++) {
		snprintf(owner, sizeof owner, "n%u@14", i);
		put_a(&p, owner, 1000 - i, i);
	}
	got = store(&p, &usual, &info);
	t = ttls_of(&got);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(t.ttl[i], i < 63 ? 1000 - i : 901);
	assert_int_equal(info.life_s, 901);
}

/* --- what is dropped --- */

static bool drop_ten(void *arg, const uint8_t *address, size_t size)
{
	++*(unsigned *)arg;
	return address[0] == (size == 4 ? 10 : 0xfd);
}

static struct packet store_public(const struct packet *p, struct dns_stored_info *info)
{
	struct dns_store_how how = usual;
	unsigned calls = 0;

	how.drop = drop_ten;
	how.arg = &calls;
	return store(p, &how, info);
}

static void addresses_dropped(void **state)
{
	struct dns_stored_info info;
	struct packet p, want, got;

	(void)state;
	begin(&p, ANSWER | DNS_AD, COUNTS(1, 3, 1, 3), DNS_A); /* no AD for a part */
	put_a(&p, "@12", 60, 0x0a000001);
	put_a(&p, "@12", 60, 0xc0000201);
	put_a(&p, "@12", 30, 0x0a000002);
	put_record(&p, "@14", DNS_NS, 60, 5);
	put_name(&p, "ns@14");
	put_a(&p, "ns@14", 60, 0x0a000003);
	put_record(&p, "ns@14", DNS_AAAA, 60, 16);
	put_bytes(&p, "\xfd\0\0\0............", 16);
	put_a(&p, "ns@14", 60, 0xc0000202);
	got = store_public(&p, &info);
	assert_int_equal(info.dropped, 4);
	assert_int_equal(info.life_s, 30);
	put_header(&want, 0, DNS_QR | DNS_RD | DNS_RA, COUNTS(1, 1, 1, 1));
	put_question(&want, "a.test", DNS_A, 1);
	put_a(&want, "@12", 30, 0xc0000201);
	put_record(&want, "test", DNS_NS, 60, 9);
	put_name(&want, "ns.test");
	put_a(&want, "ns.test", 60, 0xc0000202);
	assert_same(&got, &want);

	/* Nothing is left: an answer all the same, and known for as long. */
	begin(&p, ANSWER, COUNTS(1, 1, 0, 0), DNS_A);
	put_a(&p, "@12", 60, 0x0a000001);
	got = store_public(&p, &info);
	assert_int_equal(got.len, 24);
	assert_int_equal(get16(got.b + 6), 0);
	assert_int_equal(info.life_s, 60);
	assert_int_equal(info.dropped, 1);
	assert_false(info.negative);
}

static void put_https(struct packet *p, const void *params, size_t size)
{
	put_record(p, "@12", DNS_HTTPS, 60, 3 + size);
	put_bytes(p, "\0\1\0", 3);
	put_bytes(p, params, size);
}

static void hints_dropped(void **state)
{
	static const struct {
		const char *params;
		size_t size;
		const char *want;
		size_t want_size;
		unsigned dropped;
	} cases[] = {
		{"\0\4\0\10\12\0\0\1\xc0\0\2\1", 12, "\0\4\0\4\xc0\0\2\1", 8, 1},
		{"\0\4\0\10\12\0\0\1\12\0\0\2", 12, "", 0, 2},
		{"\0\0\0\4\0\1\0\4\0\1\0\3\2h2\0\4\0\4\12\0\0\1", 23, "\0\0\0\2\0\1\0\1\0\3\2h2",
			13, 1},
		{"\0\0\0\2\0\4\0\4\0\4\12\0\0\1", 14, "", 0, 1},
		{"\0\0\0\2\0\4\0\4\0\10\12\0\0\1\1\1\1\1", 18, "\0\0\0\2\0\4\0\4\0\4\1\1\1\1", 14,
			1},
		{"\0\4\0\4\1\1\1\1\0\6\0\20\xfd...............", 28, "\0\4\0\4\1\1\1\1", 8, 1},
		{"\0\4\0\4\1\1\1\1", 8, "\0\4\0\4\1\1\1\1", 8, 0},
	};
	struct dns_stored_info info;
	struct packet p, got;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct packet want;

		begin(&p, ANSWER, COUNTS(1, 2, 0, 0), DNS_HTTPS);
		put_https(&p, cases[i].params, cases[i].size);
		put_https(&p, "\0\1\0\3\2h3", 7);
		put_header(&want, 0, DNS_QR | DNS_RD | DNS_RA, COUNTS(1, 2, 0, 0));
		put_question(&want, "a.test", DNS_HTTPS, 1);
		put_https(&want, cases[i].want, cases[i].want_size);
		put_https(&want, "\0\1\0\3\2h3", 7);
		got = store_public(&p, &info);
		assert_int_equal(info.dropped, cases[i].dropped);
		assert_same(&got, &want);
	}
	/* Malformed: nobody knows which addresses a client would find in it. */
	begin(&p, ANSWER, COUNTS(1, 1, 0, 0), DNS_HTTPS);
	put_https(&p, "\0\4\0\4\12\0\0\1\0\1\0\3\2h2", 15);
	got = store_public(&p, &info);
	assert_int_equal(get16(got.b + 6), 0);
	got = store(&p, &usual, &info);
	assert_int_equal(get16(got.b + 6), 1);
}

/* --- what is served of it --- */

static void ages(void **state)
{
	struct dns_stored_info info;
	struct packet p, got;

	(void)state;
	begin(&p, ANSWER, COUNTS(1, 4, 0, 1), DNS_A);
	put_a(&p, "@12", 300, 1);
	put_a(&p, "b@14", 10, 1);
	put_a(&p, "c@14", 11, 1);
	put_a(&p, "d@14", 0, 1);
	put_record(&p, "long.name.in.full", DNS_TXT, 86400, 0);
	p = store(&p, &usual, &info);
	got = p;
	dns_stored_age(got.b, got.len, 0);
	assert_same(&got, &p);
	dns_stored_age(got.b, got.len, 10);
	assert_ttls(&got, TTLS(290, 1, 1, 0, 86390));
	dns_stored_age(got.b, got.len, 0xffffffff);
	assert_ttls(&got, TTLS(1, 1, 1, 0, 1));
	dns_stored_set_ttl(got.b, got.len, 30);
	assert_ttls(&got, TTLS(30, 30, 30, 30, 30));
	/* Torn ones are only walked as far as they go. */
	for (size_t len = 0; len < p.len; len++) {
		uint8_t *copy = exact(p.b, len);

		dns_stored_age(copy, len, 1);
		dns_stored_set_ttl(copy, len, 1);
		free(copy);
	}
}

/* The fast way gives what dns_response_relay() gives. */
static void answers_as_the_relay_does(void **state)
{
	struct dns_stored_info info;
	struct packet p;

	(void)state;
	begin(&p, ANSWER | DNS_AD, COUNTS(1, 2, 0, 1), DNS_A);
	put_record(&p, "@12", DNS_CNAME, 60, 4);
	put_name(&p, "b@14");
	put_a(&p, "b@14", 60, 1);
	put_a(&p, "ns@14", 60, 2);
	p = store(&p, &usual, &info);
	for (unsigned i = 0; i < 32; i++) {
		struct dns_query q = query_for("A.tEst", DNS_A,
			(i & 1 ? DNS_RD : 0) | (i & 2 ? DNS_AD : 0) | (i & 4 ? DNS_CD : 0),
			i & 8 ? (int64_t)(i & 2) << 14 : -1);
		enum dns_ede ede = i & 16 ? DNS_EDE_STALE : DNS_EDE_NONE;
		uint8_t want[1232], *got = malloc(1232);
		size_t len = dns_response_relay(want, sizeof want, p.b, p.len, &q, ede);

		assert_non_null(got);
		memcpy(got, p.b, p.len);
		assert_int_equal(dns_stored_answer(got, p.len, 1232, &q, ede), len);
		assert_memory_equal(got, want, len);
		memcpy(got, p.b, p.len);
		assert_int_equal(dns_stored_answer(got, p.len, len, &q, ede), len);
		memcpy(got, p.b, p.len);
		assert_int_equal(dns_stored_answer(got, p.len, len - 1, &q, ede), 0);
		free(got);
	}
}

static void answers_no_other_question(void **state)
{
	static const struct {
		const char *name;
		unsigned type;
	} others[] = {{"b.test", DNS_A}, {"a.test", DNS_AAAA}, {"a.test.x", DNS_A}, {"", DNS_A}};
	struct dns_stored_info info;
	struct packet p;

	(void)state;
	begin(&p, ANSWER, COUNTS(1, 0, 0, 0), DNS_A);
	p = store(&p, &usual, &info);
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		struct dns_query q = query_for(others[i].name, others[i].type, 0, -1);
		uint8_t buf[512];

		memcpy(buf, p.b, p.len);
		assert_int_equal(dns_stored_answer(buf, p.len, 512, &q, DNS_EDE_NONE), 0);
		assert_memory_equal(buf, p.b, p.len);
	}
	for (size_t len = 0; len < p.len; len++) {
		struct dns_query q = query_for("a.test", DNS_A, 0, -1);
		uint8_t buf[512] = {0};

		memcpy(buf, p.b, len);
		assert_int_equal(dns_stored_answer(buf, len, 512, &q, DNS_EDE_NONE), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_as_they_came),
		cmocka_unit_test(moves_behind_opt),
		cmocka_unit_test(names_through_ttls),
		cmocka_unit_test(growth_is_bounded),
		cmocka_unit_test(refused),
		cmocka_unit_test(one_ttl_a_set),
		cmocka_unit_test(bounds_and_age),
		cmocka_unit_test(negative_life),
		cmocka_unit_test(no_life),
		cmocka_unit_test(odd_chains),
		cmocka_unit_test(many_sets),
		cmocka_unit_test(addresses_dropped),
		cmocka_unit_test(hints_dropped),
		cmocka_unit_test(ages),
		cmocka_unit_test(answers_as_the_relay_does),
		cmocka_unit_test(answers_no_other_question),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
