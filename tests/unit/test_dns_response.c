#include "tests/unit/dns_packet.h"

#include <errno.h>
#include <stdio.h>

#define ID	 0x4242
#define UPSTREAM (DNS_QR | DNS_AA | DNS_RA | DNS_AD)

/* --- the question --- */

static void question_bytes(void **state)
{
	struct dns_name name = name_of("A.test");
	struct dns_ecs ecs = {.family = 2, .prefix_len = 128};
	struct dns_ask a = {.id = ID, .type = DNS_A};
	struct packet want, longest;
	uint8_t buf[DNS_QUESTION_MAX];
	struct dns_query q;
	enum dns_rcode rcode;
	char text[260];
	size_t len;

	(void)state;
	len = dns_question_write(buf, sizeof buf,
		&(struct dns_ask){.name = &name,
			.id = ID,
			.type = DNS_HTTPS,
			.checking_disabled = true,
			.dnssec_ok = true});
	put_header(&want, ID, DNS_RD | DNS_AD | DNS_CD, COUNTS(1, 0, 0, 1));
	put_question(&want, "a.test", DNS_HTTPS, 1);
	put_opt(&want, 1232, 0x8000, "", 0);
	assert_int_equal(len, want.len);
	assert_memory_equal(buf, want.b, len);
	dns_question_write(
		buf, sizeof buf, &(struct dns_ask){.name = &name, .id = ID, .type = DNS_A});
	assert_int_equal(get16(buf + 2), DNS_RD | DNS_AD);
	assert_int_equal(buf[20 + 4 + 7], 0); /* no DO */

	memset(text, 'm', sizeof text);
	text[63] = text[127] = text[191] = '.';
	text[192 + 61] = 0;
	name = name_of(text);
	a.name = &name;
	a.ecs = &ecs;
	len = dns_question_write(buf, sizeof buf, &a);
	assert_int_equal(len, DNS_QUESTION_MAX);
	assert_int_equal(dns_question_write(buf, len - 1, &a), 0);
	memcpy(longest.b, buf, len);
	assert_int_equal(dns_query_parse(longest.b, len, &q, &rcode), DNS_PARSE_QUERY);
	assert_true(dns_name_equal(&q.name, &name));
}

static void question_has_client_subnet(void **state)
{
	static const struct {
		struct dns_ecs ecs;
		const char *want;
		size_t size;
	} cases[] = {
		{{1, 24, {192, 0, 2, 55}}, "\0\10\0\7\0\1\30\0\xc0\0\2", 11},
		{{1, 19, {192, 0, 255, 55}}, "\0\10\0\7\0\1\23\0\xc0\0\xe0", 11},
		{{1, 0, {192, 0, 2, 55}}, "\0\10\0\4\0\1\0\0", 8},
		{{1, 99, {1, 2, 3, 4, 5}}, "\0\10\0\10\0\1\40\0\1\2\3\4", 12},
		{{2, 33, {0x20, 1, 0xd, 0xb8, 0xff}}, "\0\10\0\11\0\2\41\0\x20\1\xd\xb8\x80", 13},
	};
	struct dns_name name = name_of("a.test");

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct dns_ask a = {.name = &name, .id = ID, .type = DNS_A, .ecs = &cases[i].ecs};
		uint8_t buf[DNS_QUESTION_MAX];
		size_t len = dns_question_write(buf, sizeof buf, &a);

		assert_int_equal(len, 24 + 11 + cases[i].size);
		assert_int_equal(get16(buf + 24 + 9), cases[i].size);
		assert_memory_equal(buf + 35, cases[i].want, cases[i].size);
	}
}

static void question_is_padded(void **state)
{
	struct dns_ecs ecs = {.family = 1, .prefix_len = 24};
	char text[200];

	(void)state;
	for (unsigned n = 1; n < 180; n++) {
		struct dns_name name;
		struct dns_ask a = {.name = &name, .id = ID, .type = DNS_A, .pad = 128};
		struct dns_query q;
		enum dns_rcode rcode;
		uint8_t buf[512];
		size_t len;

		memset(text, 'm', sizeof text);
		text[63] = text[127] = '.';
		text[n == 64 || n == 128 ? n - 1 : n] = 0;
		name = name_of(text);
		a.ecs = n % 2 ? &ecs : NULL;
		len = dns_question_write(buf, sizeof buf, &a);
		assert_in_range(len, 1, 384);
		assert_int_equal(len % 128, 0);
		assert_int_equal(dns_query_parse(buf, len, &q, &rcode), DNS_PARSE_QUERY);
		assert_int_equal(dns_question_write(buf, len - 1, &a), 0);
		a.pad = 1;
		assert_int_not_equal(dns_question_write(buf, sizeof buf, &a), 0);
		a.pad = 100000;
		assert_int_equal(dns_question_write(buf, sizeof buf, &a), 0);
	}
}

/* 0x20: the case is the seed's, only letters have one, and an answer must bring it back. */
static void question_with_drawn_case(void **state)
{
	struct dns_name name = name_of("ab-12.\\200{z.qwertyuiopasdfghjklzxcvbnm.test"), got;
	struct dns_ask a = {.name = &name, .id = ID, .type = DNS_A};
	uint8_t lower[DNS_QUESTION_MAX], buf[DNS_QUESTION_MAX];
	unsigned upper = 0, letters = 0;
	size_t len = dns_question_write(lower, sizeof lower, &a), off;

	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		a.case_seed = seed * 0x123456789abcdefULL;
		assert_int_equal(dns_question_write(buf, sizeof buf, &a), len);
		off = 12;
		assert_int_equal(dns_name_read(buf, len, &off, &got), 0);
		assert_true(dns_name_equal(&got, &name));
		buf[2] |= 0x80;
		assert_true(dns_response_matches(buf, len, &a));
		for (size_t i = 12; i < 12u + name.len; i++) {
			bool letter = lower[i] >= 'a' && lower[i] <= 'z';

			letters += letter;
			upper += buf[i] != lower[i];
			assert_true(letter || buf[i] == lower[i]);
			if (!letter)
				continue;
			buf[i] ^= 0x20;
			assert_false(dns_response_matches(buf, len, &a));
			buf[i] ^= 0x20;
		}
		for (size_t cut = 0; cut < 12u + name.len + 4; cut++)
			assert_false(dns_response_matches(buf, cut, &a));
	}
	assert_in_range(upper, letters / 5 * 2, letters / 5 * 3);
}

/* --- whose response is it --- */

static void begin(struct packet *p, unsigned flags, const unsigned counts[4])
{
	put_header(p, ID, flags, counts);
	put_question(p, "A.test", DNS_A, DNS_CLASS_IN);
}

static bool matches(const struct packet *p)
{
	struct dns_name name = name_of("a.Test");
	struct dns_ask a = {.name = &name, .id = ID, .type = DNS_A};
	uint8_t *copy = exact(p->b, p->len);
	bool yes = dns_response_matches(copy, p->len, &a);

	free(copy);
	return yes;
}

static void matches_only_ours(void **state)
{
	struct packet p;
	size_t whole;

	(void)state;
	begin(&p, UPSTREAM, COUNTS(1, 0, 0, 0));
	assert_true(matches(&p));
	whole = p.len;
	for (p.len = 0; p.len < whole; p.len++)
		assert_false(matches(&p));
	/* Every single bit of id, QR, opcode, QDCOUNT, type and class counts, and of the name
	 * except its case. */
	for (size_t bit = 0; bit < 8 * whole; bit++) {
		size_t at = bit / 8;
		bool flags = (at == 2 && bit % 8 < 3) || at == 3, counts = at >= 6 && at < 12;
		bool letter = at == 13 || (at >= 15 && at < 19);

		begin(&p, UPSTREAM, COUNTS(1, 0, 0, 0));
		p.b[at] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(matches(&p), flags || counts || (letter && bit % 8 == 5));
	}
	put_header(&p, ID, UPSTREAM | DNS_FORMERR, COUNTS(0, 0, 0, 0));
	assert_false(matches(&p));
	put_header(&p, ID, UPSTREAM, COUNTS(2, 0, 0, 0));
	put_question(&p, "a.test", 1, 1);
	put_question(&p, "a.test", 1, 1);
	assert_false(matches(&p));
}

/* --- is it whole --- */

static int check(const struct packet *p)
{
	uint8_t *copy = exact(p->b, p->len);
	int r = dns_response_check(copy, p->len);

	free(copy);
	return r;
}

/* One record of each section, all with compressed names. */
static void put_full(struct packet *p)
{
	begin(p, UPSTREAM, COUNTS(1, 2, 1, 3));
	put_record(p, "@12", DNS_CNAME, 60, 4);
	put_name(p, "b@14");
	put_a(p, "b@14", 60, 0x01020304);
	put_record(p, "@14", DNS_NS, 60, 5);
	put_name(p, "ns@14");
	put_a(p, "ns@14", 60, 0x05060708);
	put_opt(p, 4096, 0x8000, "\0\12\0\10abcdefgh", 12);
	put_record(p, "ns@14", DNS_AAAA, 60, 16);
	put_bytes(p, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
}

static void check_finds_every_cut(void **state)
{
	struct packet p;
	size_t whole;

	(void)state;
	put_full(&p);
	assert_int_equal(check(&p), 0);
	whole = p.len;
	for (p.len = 0; p.len < whole; p.len++)
		assert_int_equal(check(&p), -EBADMSG);
	p.len = whole;
	put_bytes(&p, "tail", 4); /* belongs to no record and goes no further */
	assert_int_equal(check(&p), 0);
}

/* One record with this type and data behind the question; "a.test" is at 12. */
static int check_data(unsigned type, const char *data, size_t size)
{
	struct packet p;

	begin(&p, UPSTREAM, COUNTS(1, 1, 0, 0));
	put_record(&p, "@12", type, 60, size);
	put_bytes(&p, data, size);
	return check(&p);
}

static void check_reads_names_in_data(void **state)
{
	static const struct {
		unsigned type;
		const char *data;
		size_t size;
		int r;
	} cases[] = {
		{DNS_CNAME, "\1b\xc0\x0e", 4, 0},
		{DNS_CNAME, "\1b\xc0\x0e.", 5, -EBADMSG}, /* more than the name */
		{DNS_CNAME, "\1b\xc0", 3, -EBADMSG},
		{DNS_CNAME, "", 0, -EBADMSG},
		{DNS_CNAME, "\xc0\x24", 2, -EBADMSG}, /* to itself */
		{DNS_CNAME, "\xc0\x60", 2, -EBADMSG}, /* forward */
		{DNS_CNAME, "\xc0\x02", 2, -EBADMSG}, /* the header */
		{DNS_A, "\1\2\3\4", 4, 0},
		{DNS_A, "\1\2\3\4\5", 5, -EBADMSG},
		{DNS_A, "\1\2\3", 3, -EBADMSG},
		{DNS_AAAA, "\1\2\3\4", 4, -EBADMSG},
		{DNS_MX, "\0\12\xc0\x0c", 4, 0},
		{DNS_MX, "\0\12", 2, -EBADMSG},
		{DNS_SRV, "\0\1\0\2\0\3\xc0\x0c", 8, 0},
		{DNS_SRV, "\0\1\0\2\0\3", 6, -EBADMSG},
		{DNS_HTTPS, "\0\1\0\0\1\0\3\2h2", 10, 0},
		{DNS_HTTPS, "\0\1", 2, -EBADMSG},
		{35, "\0\1\0\2\1S\3E2U\0\xc0\x0c", 13, 0},
		{35, "\0\1\0\2\1S\3E2U\x09\xc0\x0c", 13, -EBADMSG},
		{46, "..................\1a\0signature", 30, 0},
		{46, "................", 16, -EBADMSG},
		{DNS_TXT, "\xff\xff", 2, 0}, /* no names, no business of ours */
		{65280, "\xc0\xff", 2, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(
			check_data(cases[i].type, cases[i].data, cases[i].size), cases[i].r);
}

static void check_refuses_odd_opts(void **state)
{
	struct packet p;

	(void)state;
	begin(&p, UPSTREAM, COUNTS(1, 0, 0, 2));
	put_opt(&p, 512, 0, "", 0);
	put_opt(&p, 512, 0, "", 0);
	assert_int_equal(check(&p), -EBADMSG);
	begin(&p, UPSTREAM, COUNTS(1, 1, 0, 0));
	put_opt(&p, 512, 0, "", 0);
	assert_int_equal(check(&p), -EBADMSG);
	begin(&p, UPSTREAM, COUNTS(1, 0, 0, 1));
	put_record(&p, "@12", DNS_OPT, 0, 0);
	assert_int_equal(check(&p), -EBADMSG);
	put_header(&p, ID, UPSTREAM, COUNTS(0, 0, 0, 0));
	assert_int_equal(check(&p), -EBADMSG);
	begin(&p, UPSTREAM, COUNTS(1, 65535, 65535, 65535));
	put_a(&p, "@12", 60, 1);
	assert_int_equal(check(&p), -EBADMSG);
}

/* Owners that each walk 126 pointers: small to send, slow to read. One of them is odd, 4000 are an
 * attack. */
static void check_bounds_its_work(void **state)
{
	struct packet p;
	char owner[16];
	size_t chain;

	(void)state;
	for (unsigned count = 1; count <= 4000; count += 3999) {
		begin(&p, UPSTREAM, COUNTS(1, 1 + count, 0, 0));
		put_record(&p, "@12", DNS_TXT, 60, 126 * 2);
		chain = p.len;
		for (unsigned i = 0; i < 126; i++)
			put16(&p, 0xc000 | (unsigned)(i ? p.len - 2 : 14));
		snprintf(owner, sizeof owner, "@%zu", chain + 125 * 2);
		for (unsigned i = 0; i < count; i++)
			put_a(&p, owner, 60, i);
		assert_int_equal(check(&p), count == 1 ? 0 : -EBADMSG);
	}
	/* As many records whose names are compressed as usual. */
	begin(&p, UPSTREAM, COUNTS(1, 4000, 0, 0));
	for (unsigned i = 0; i < 4000; i++)
		put_a(&p, "@12", 60, i);
	assert_int_equal(check(&p), 0);
}

static void opt_and_its_rcode(void **state)
{
	struct packet p;

	(void)state;
	begin(&p, UPSTREAM | DNS_SERVFAIL, COUNTS(1, 1, 0, 1));
	put_a(&p, "@12", 60, 1);
	put_opt(&p, 1232, 0x01000000, "", 0);
	assert_true(dns_response_has_opt(p.b, p.len));
	assert_int_equal(dns_response_rcode(p.b, p.len), 18);
	assert_false(dns_response_has_opt(p.b, p.len - 1)); /* cut */
	assert_int_equal(dns_response_rcode(p.b, p.len - 1), DNS_SERVFAIL);
	assert_false(dns_response_has_opt(p.b, 3));
	p.b[11] = 0; /* behind the last record */
	assert_false(dns_response_has_opt(p.b, p.len));
}

/* --- its addresses --- */

struct found {
	unsigned n;
	uint32_t first[64], ttl[64];
	size_t size[64];
};

static void note(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct found *f = arg;

	assert_in_range(f->n, 0, 63);
	f->first[f->n] = get16(address) << 16 | get16(address + 2);
	f->size[f->n] = size;
	f->ttl[f->n++] = ttl_s;
}

static struct found addresses(const struct packet *p)
{
	uint8_t *copy = exact(p->b, p->len);
	struct found f = {0};
	size_t n;

	assert_int_equal(dns_response_check(copy, p->len), 0);
	n = dns_response_addresses(copy, p->len, note, &f);
	assert_int_equal(n, f.n);
	free(copy);
	return f;
}

static void put_cname(struct packet *p, const char *owner, const char *target)
{
	struct packet data = {.len = 0};

	put_name(&data, target);
	put_record(p, owner, DNS_CNAME, 60, data.len);
	put_bytes(p, data.b, data.len);
}

static void addresses_of_the_question(void **state)
{
	struct packet p;
	struct found f;

	(void)state;
	begin(&p, UPSTREAM, COUNTS(1, 6, 1, 1));
	put_a(&p, "@12", 30, 1);
	put_a(&p, "A.TEST", 0x80000000, 2); /* spelled out, in another case; a TTL that means 0 */
	put_record(&p, "a@14", DNS_AAAA, 7, 16);
	put_bytes(&p, "\0\0\0\3............", 16);
	put_a(&p, "x@12", 60, 4);   /* not asked for */
	put_a(&p, "b.test", 60, 5); /* neither */
	put_record(&p, "@12", 65280, 60, 4);
	put32(&p, 6);
	put_a(&p, "@12", 60, 7); /* another section */
	put_a(&p, "@12", 60, 8);
	f = addresses(&p);
	assert_int_equal(f.n, 3);
	assert_int_equal(f.first[0], 1);
	assert_int_equal(f.ttl[0], 30);
	assert_int_equal(f.size[0], 4);
	assert_int_equal(f.first[1], 2);
	assert_int_equal(f.ttl[1], 0);
	assert_int_equal(f.first[2], 3);
	assert_int_equal(f.size[2], 16);
	assert_int_equal(f.ttl[2], 7);
}

static void addresses_behind_cnames(void **state)
{
	struct packet p;
	struct found f;

	(void)state;
	/* In any order. */
	begin(&p, UPSTREAM, COUNTS(1, 5, 0, 0));
	put_a(&p, "c.test", 60, 33);
	put_cname(&p, "b.test", "C.test");
	put_cname(&p, "@12", "b@14");
	put_a(&p, "d.test", 60, 44);
	put_cname(&p, "e.test", "d.test");
	f = addresses(&p);
	assert_int_equal(f.n, 1);
	assert_int_equal(f.first[0], 33);

	/* Round in circles: each once. */
	begin(&p, UPSTREAM, COUNTS(1, 5, 0, 0));
	put_cname(&p, "@12", "b@14");
	put_cname(&p, "b.test", "c.test");
	put_cname(&p, "c.test", "b.test");
	put_a(&p, "b.test", 60, 1);
	put_a(&p, "c.test", 60, 2);
	f = addresses(&p);
	assert_int_equal(f.n, 2);
	begin(&p, UPSTREAM, COUNTS(1, 2, 0, 0));
	put_cname(&p, "@12", "@12");
	put_a(&p, "@12", 60, 1);
	assert_int_equal(addresses(&p).n, 1);
}

static void addresses_of_all_owners(void **state)
{
	struct found f = {0};
	struct packet p;

	(void)state;
	begin(&p, UPSTREAM, COUNTS(1, 4, 0, 1));
	put_a(&p, "elsewhere.test", 60, 1);
	put_record(&p, "@12", DNS_AAAA, 60, 16);
	put_bytes(&p, "\0\0\0\2............", 16);
	put_record(&p, "x@12", DNS_HTTPS, 60, 11);
	put_bytes(&p, "\0\1\0\0\4\0\4\0\0\0\3", 11);
	put_record(&p, "@12", DNS_TXT, 60, 1);
	put8(&p, 0);
	put_a(&p, "@12", 60, 9); /* another section */
	assert_int_equal(dns_response_all_addresses(p.b, p.len, note, &f), 3);
	assert_int_equal(f.n, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(f.first[i], i + 1);
	assert_int_equal(dns_response_all_addresses(p.b, 5, note, &f), 0);
}

static void cname_chain_bound(void **state)
{
	(void)state;
	for (unsigned links = 15; links <= 17; links++) {
		struct packet p;
		char owner[32], target[32];

		begin(&p, UPSTREAM, COUNTS(1, links + 1, 0, 0));
		snprintf(owner, sizeof owner, "a.test");
		for (unsigned i = 0; i < links; i++) {
			snprintf(target, sizeof target, "n%u.test", i);
			put_cname(&p, owner, target);
			strcpy(owner, target);
		}
		put_a(&p, owner, 60, 1);
		assert_int_equal(addresses(&p).n, links <= 16);
	}
}

/* --- passing it on --- */

static struct packet relay_with(
	const struct packet *p, const struct dns_query *q, size_t limit, enum dns_ede ede)
{
	uint8_t *copy = exact(p->b, p->len), *out = malloc(limit);
	struct packet ret;

	assert_non_null(out);
	ret.len = dns_response_relay(out, limit, copy, p->len, q, ede);
	assert_true(ret.len <= limit);
	memcpy(ret.b, out, ret.len);
	assert_int_equal(dns_response_check(out, ret.len), 0);
	free(copy);
	free(out);
	return ret;
}

static struct packet relay(const struct packet *p, const struct dns_query *q, size_t limit)
{
	return relay_with(p, q, limit, DNS_EDE_NONE);
}

static void assert_same(const struct packet *got, const struct packet *want)
{
	assert_int_equal(got->len, want->len);
	assert_memory_equal(got->b, want->b, want->len);
}

/* An unknown type, an HTTPS record and names in another case pass unchanged; the question is the
 * client's. */
static void relay_is_byte_true(void **state)
{
	struct dns_query q = query_for("a.TEST", DNS_A, DNS_RD | DNS_CD, -1);
	struct packet p, want, got;

	(void)state;
	for (int round = 0; round < 2; round++) {
		struct packet *to = round ? &want : &p;

		if (round) {
			put_header(
				to, 0xbeef, DNS_QR | DNS_RD | DNS_RA | DNS_CD, COUNTS(1, 3, 1, 0));
			put_question(to, "a.TEST", DNS_A, 1);
		} else {
			put_header(to, ID, UPSTREAM | 0x40, COUNTS(1, 3, 1, 0));
			put_question(to, "A.test", DNS_A, 1);
		}
		put_record(to, "@12", 65280, 77, 5);
		put_bytes(to, "\xc0\xff\0AB", 5);
		put_record(to, "A.Test", DNS_HTTPS, round ? 0 : 0x80000001, 10);
		put_bytes(to, "\0\1\0\0\1\0\3\2h2", 10);
		put_a(to, "B@14", 0x7fffffff, 1);
		put_record(to, "@14", DNS_NS, round ? 0 : 0xffffffff, 5);
		put_name(to, "nS@14");
	}
	got = relay(&p, &q, 512);
	assert_same(&got, &want);
	put_bytes(&p, "tail", 4);
	got = relay(&p, &q, 512);
	assert_same(&got, &want);
}

static void relay_flags(void **state)
{
	static const struct {
		unsigned query;
		int64_t opt;
		unsigned upstream, want;
	} cases[] = {
		{0, -1, UPSTREAM, DNS_QR | DNS_RA},
		{DNS_RD | DNS_AD, -1, UPSTREAM, DNS_QR | DNS_RA | DNS_RD | DNS_AD},
		{DNS_RD, 0x8000, UPSTREAM, DNS_QR | DNS_RA | DNS_RD | DNS_AD},
		{DNS_RD, 0, UPSTREAM, DNS_QR | DNS_RA | DNS_RD},
		{DNS_RD | DNS_AD, -1, DNS_QR, DNS_QR | DNS_RA | DNS_RD},
		{DNS_CD, -1, DNS_QR | DNS_RD | DNS_CD, DNS_QR | DNS_RA | DNS_CD},
		{DNS_RD, -1, DNS_QR | DNS_TC | DNS_NXDOMAIN,
			DNS_QR | DNS_RA | DNS_RD | DNS_TC | DNS_NXDOMAIN},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct dns_query q = query_for("a.test", DNS_A, cases[i].query, cases[i].opt);
		struct packet p, got;

		begin(&p, cases[i].upstream, COUNTS(1, 0, 0, 0));
		got = relay(&p, &q, 512);
		assert_int_equal(get16(got.b), 0xbeef);
		assert_int_equal(get16(got.b + 2), cases[i].want);
		assert_int_equal(got.len, 24 + (cases[i].opt >= 0 ? 11 : 0));
	}
}

/* OPT goes wherever it stood; what stood behind it stays if it can. */
static void relay_drops_opt(void **state)
{
	struct packet p, got;

	(void)state;
	for (int64_t opt = -1; opt <= 0x8000; opt += 0x8001) {
		struct dns_query q = query_for("A.test", DNS_A, DNS_RD, opt);
		size_t kept;

		for (int place = 0; place < 3; place++) {
			begin(&p, DNS_QR, COUNTS(1, 1, 0, 3));
			put_a(&p, "@12", 60, 1);
			for (int i = 0; i < 3; i++) {
				if (i == place)
					put_opt(&p, 4096, 0x8000, "\0\12\0\10abcdefgh", 12);
				else if (i == 2)
					put_a(&p, "n@14", 60, 3);
				else
					put_a(&p, "plain.name", 60, 2);
			}
			got = relay(&p, &q, 512);
			kept = 2 + (opt >= 0);
			assert_int_equal(get16(got.b + 10), kept);
			assert_int_equal(got.len, p.len - 23 + (opt >= 0 ? 11 : 0));
			assert_null(memmem(got.b, got.len, "abcdefgh", 8));
			if (opt >= 0)
				assert_memory_equal(
					got.b + got.len - 11, "\0\0\51\4\xd0\0\0\x80\0\0\0", 11);
		}
	}
}

/* A record behind the OPT that points behind it would point elsewhere after the move: it goes, and
 * so do those after it. A pointer to before the OPT is no obstacle. */
static void relay_cuts_what_cannot_move(void **state)
{
	struct dns_query q = query_for("A.test", DNS_A, DNS_RD, -1);
	struct packet p, got;
	char owner[16];
	size_t opt, name;

	(void)state;
	for (int in_data = 0; in_data < 2; in_data++) {
		begin(&p, DNS_QR, COUNTS(1, 1, 0, 4));
		put_a(&p, "@12", 60, 1);
		opt = p.len;
		put_opt(&p, 4096, 0, "\0\12\0\10abcdefgh", 12);
		name = p.len;
		put_a(&p, "ns@14", 60, 2);
		snprintf(owner, sizeof owner, "x@%zu", name);
		if (in_data)
			put_cname(&p, "@12", owner);
		else
			put_a(&p, owner, 60, 3);
		put_a(&p, "@12", 60, 4);
		got = relay(&p, &q, 512);
		assert_int_equal(get16(got.b + 10), 1);
		assert_int_equal(got.len, opt + 5 + 14);
		assert_memory_equal(got.b + opt, "\2ns\xc0\x0e", 5);
	}
	/* A name that starts before the OPT and runs through it: 24 + 16 - 1 is the address's last
	 * byte, 23 long. */
	begin(&p, DNS_QR, COUNTS(1, 1, 0, 3));
	put_a(&p, "@12", 60, 23);
	opt = p.len;
	put_opt(&p, 4096, 0, "\0\12\0\10abcdefgh", 12);
	put_a(&p, "n@14", 60, 2);
	put_a(&p, "@39", 60, 3);
	assert_int_equal(check(&p), 0);
	got = relay(&p, &q, 512);
	assert_int_equal(get16(got.b + 10), 1);
	assert_int_equal(got.len, opt + 4 + 14);

	/* Into the OPT's own data. */
	begin(&p, DNS_QR, COUNTS(1, 0, 0, 2));
	opt = p.len;
	put_opt(&p, 4096, 0, "\0\12\0\3\1a\0", 7);
	snprintf(owner, sizeof owner, "@%zu", opt + 15);
	put_a(&p, owner, 60, 2);
	assert_int_equal(check(&p), 0);
	got = relay(&p, &q, 512);
	assert_int_equal(get16(got.b + 10), 0);
	assert_int_equal(got.len, opt);
}

static void relay_truncates(void **state)
{
	struct dns_query plain = query_for("A.test", DNS_A, DNS_RD, -1),
			 edns = query_for("A.test", DNS_A, DNS_RD, 0);
	struct packet p, got;

	(void)state;
	/* 24 + 30 * 16 = 504 */
	begin(&p, DNS_QR, COUNTS(1, 29, 1, 1));
	for (uint32_t i = 0; i < 31; i++)
		put_a(&p, i < 29 ? "@12" : "@14", 60, i);
	assert_int_equal(p.len, 520);
	got = relay(&p, &plain, 520);
	assert_int_equal(got.len, 520);
	assert_int_equal(get16(got.b + 10), 1);
	got = relay(&p, &plain, 519); /* additional records are not worth a TC (RFC 2181 9) */
	assert_int_equal(got.len, 504);
	assert_false(get16(got.b + 2) & DNS_TC);
	assert_int_equal(get16(got.b + 6), 29);
	assert_int_equal(get16(got.b + 8), 1);
	assert_int_equal(get16(got.b + 10), 0);
	got = relay(&p, &edns, 515);
	assert_int_equal(got.len, 515);
	assert_false(get16(got.b + 2) & DNS_TC);
	got = relay(&p, &edns, 514);
	assert_int_equal(got.len, 24 + 11);
	assert_true(get16(got.b + 2) & DNS_TC);
	assert_memory_equal(got.b + 4, "\0\1\0\0\0\0\0\1", 8);

	begin(&p, DNS_QR, COUNTS(1, 4000, 0, 0));
	for (uint32_t i = 0; i < 4000; i++)
		put_a(&p, "@12", 60, i);
	got = relay(&p, &edns, DNS_MESSAGE_MAX);
	assert_int_equal(got.len, p.len + 11);
	got = relay(&p, &plain, 512);
	assert_int_equal(got.len, 24);
}

static void relay_with_ede(void **state)
{
	struct dns_query plain = query_for("A.test", DNS_A, DNS_RD, -1),
			 edns = query_for("A.test", DNS_A, DNS_RD, 0x8000);
	struct packet p, got;

	(void)state;
	begin(&p, DNS_QR, COUNTS(1, 30, 0, 0));
	for (uint32_t i = 0; i < 30; i++)
		put_a(&p, "@12", 60, i);
	got = relay_with(&p, &edns, 504 + 17, DNS_EDE_STALE);
	assert_int_equal(got.len, 504 + 17);
	assert_memory_equal(got.b + 504, "\0\0\51\4\xd0\0\0\x80\0\0\6\0\17\0\2\0\3", 17);
	got = relay_with(&p, &edns, 504 + 16, DNS_EDE_STALE);
	assert_int_equal(got.len, 24 + 17);
	assert_true(get16(got.b + 2) & DNS_TC);
	got = relay_with(&p, &plain, 512, DNS_EDE_STALE);
	assert_int_equal(got.len, 504);
}

/* What cannot become an answer to q becomes SERVFAIL. */
static void relay_of_something_else(void **state)
{
	struct dns_query q = query_for("A.test", DNS_A, DNS_RD, 0),
			 other = query_for("b.test", DNS_A, DNS_RD, 0);
	struct packet p, got;

	(void)state;
	begin(&p, DNS_QR, COUNTS(1, 0, 0, 1));
	put_opt(&p, 1232, 23u << 20 & 0xff000000, "", 0); /* BADCOOKIE: 1 and 7 */
	got = relay(&p, &q, 512);
	assert_int_equal(dns_message_rcode(got.b), DNS_SERVFAIL);
	assert_int_equal(get16(got.b), 0xbeef);

	begin(&p, DNS_QR, COUNTS(1, 1, 0, 0));
	put_a(&p, "@12", 60, 1);
	got = relay(&p, &other, 512);
	assert_int_equal(dns_message_rcode(got.b), DNS_SERVFAIL);
	assert_int_equal(get16(got.b + 6), 0);
	p.len--;
	got = relay(&p, &q, 512);
	assert_int_equal(dns_message_rcode(got.b), DNS_SERVFAIL);
	p.len = 3;
	got = relay(&p, &q, 512);
	assert_int_equal(dns_message_rcode(got.b), DNS_SERVFAIL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(question_bytes),
		cmocka_unit_test(question_has_client_subnet),
		cmocka_unit_test(question_is_padded),
		cmocka_unit_test(question_with_drawn_case),
		cmocka_unit_test(matches_only_ours),
		cmocka_unit_test(check_finds_every_cut),
		cmocka_unit_test(check_reads_names_in_data),
		cmocka_unit_test(check_refuses_odd_opts),
		cmocka_unit_test(check_bounds_its_work),
		cmocka_unit_test(opt_and_its_rcode),
		cmocka_unit_test(addresses_of_the_question),
		cmocka_unit_test(addresses_behind_cnames),
		cmocka_unit_test(addresses_of_all_owners),
		cmocka_unit_test(cname_chain_bound),
		cmocka_unit_test(relay_is_byte_true),
		cmocka_unit_test(relay_flags),
		cmocka_unit_test(relay_drops_opt),
		cmocka_unit_test(relay_cuts_what_cannot_move),
		cmocka_unit_test(relay_truncates),
		cmocka_unit_test(relay_with_ede),
		cmocka_unit_test(relay_of_something_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
