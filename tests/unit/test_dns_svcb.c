/* SVCB and HTTPS records of faked names, by the test vectors of RFC 9460 Appendix D and by what
 * hostile servers send. */
#include "tests/unit/dns_packet.h"

#include <stdio.h>

static const struct dns_svcb_rewrite both = {
	.has4 = true,
	.has6 = true,
	.v4 = {198, 18, 0, 5},
	.v6 = {0xfd, [15] = 5},
	.ttl_max_s = 60,
};

/* --- building --- */

static struct packet rdata;

static void put_param(unsigned key, const void *value, size_t size)
{
	put16(&rdata, key);
	put16(&rdata, (unsigned)size);
	put_bytes(&rdata, value, size);
}

static void begin_rdata(unsigned priority, const char *target)
{
	rdata.len = 0;
	put16(&rdata, priority);
	put_name(&rdata, target);
}

static struct packet response;

static void begin(const char *name, unsigned type, unsigned answers)
{
	put_header(&response, 7, DNS_QR | DNS_RA | DNS_AD, COUNTS(1, answers, 0, 0));
	put_question(&response, name, type, 1);
}

static void put_rdata(const char *owner, unsigned type, uint32_t ttl)
{
	put_record(&response, owner, type, ttl, rdata.len);
	put_bytes(&response, rdata.b, rdata.len);
}

/* --- what became of it --- */

static uint8_t out[DNS_MESSAGE_MAX];
static size_t out_len;

static unsigned rewrite_to(
	const char *name, unsigned type, const struct dns_svcb_rewrite *how, size_t limit)
{
	struct dns_query q = query_for(name, type, DNS_RD, 0x8000);
	uint8_t *msg = exact(response.b, response.len);
	struct dns_writer w;
	unsigned n;

	assert_int_equal(dns_response_check(msg, response.len), 0);
	dns_answer_begin(&w, out, limit, &q, DNS_NOERROR, 0);
	n = dns_answer_svcb(&w, msg, response.len, how);
	out_len = dns_answer_end(&w, DNS_EDE_NONE);
	free(msg);
	assert_int_equal(dns_response_check(out, out_len), 0);
	return n;
}

/* The response has this one record; what does the client get as its data? */
static struct packet rewritten(const struct dns_svcb_rewrite *how)
{
	struct packet got = {.len = 0};
	size_t at = DNS_HEADER_SIZE + strlen("example.com") + 2 + 4;

	begin("example.com", DNS_HTTPS, 1);
	put_rdata("@12", DNS_HTTPS, 30);
	rewrite_to("example.com", DNS_HTTPS, how, DNS_UDP_MAX);
	assert_in_range(get16(out + 6), 0, 1);
	assert_int_equal(get16(out + 8), 0);
	assert_int_equal(get16(out + 10), 1); /* our OPT alone */
	if (get16(out + 6)) {
		assert_int_equal(get16(out + at), 0xc00c);
		assert_int_equal(get16(out + at + 2), DNS_HTTPS);
		assert_int_equal(out[at + 9], 30);
		put_bytes(&got, out + at + 12, get16(out + at + 10));
	}
	return got;
}

static void assert_same(const struct packet *got, const struct packet *want)
{
	assert_int_equal(got->len, want->len);
	assert_memory_equal(got->b, want->b, want->len);
}

static void assert_kept(const struct packet *vector)
{
	struct packet got;

	rdata = *vector;
	got = rewritten(&both);
	assert_same(&got, vector);
}

/* --- Appendix D --- */

#define VECTOR(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})
#define FOO_COM	    3, 'f', 'o', 'o', 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 3, 'c', 'o', 'm', 0
#define FOO_ORG	    3, 'f', 'o', 'o', 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 3, 'o', 'r', 'g', 0

static const struct {
	const uint8_t *bytes;
	size_t size;
} kept_vectors[] = {
	{VECTOR(0, 0, FOO_COM)},		       /* D.1, alias */
	{VECTOR(0, 1, 0)},			       /* D.2: "." */
	{VECTOR(0, 16, FOO_COM, 0, 3, 0, 2, 0, 0x35)}, /* port=53 */
	{VECTOR(0, 1, FOO_COM, 2, 0x9b, 0, 5, 'h', 'e', 'l', 'l', 'o')},
	{VECTOR(0, 1, FOO_COM, 2, 0x9b, 0, 9, 'h', 'e', 'l', 'l', 'o', 0xd2, 'q', 'o', 'o')},
	{VECTOR(0, 16, FOO_ORG, 0, 1, 0, 12, 8, 'f', '\\', 'o', 'o', ',', 'b', 'a', 'r', 2, 'h',
		'2')},
};

static void vectors_without_addresses_are_kept(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof kept_vectors / sizeof kept_vectors[0]; i++) {
		struct packet vector = {.len = 0};

		put_bytes(&vector, kept_vectors[i].bytes, kept_vectors[i].size);
		assert_kept(&vector);
	}
}

/* 1 foo.example.com. ipv6hint="2001:db8::1,2001:db8::53:1" */
static void hints_of_another_name_go(void **state)
{
	static const uint8_t two[32] = {
		0x20, 1, 0xd, 0xb8, [15] = 1, 0x20, 1, 0xd, 0xb8, [29] = 0x53, [31] = 1};
	struct packet got, want = {.len = 0};

	(void)state;
	begin_rdata(1, "foo.example.com");
	put_param(6, two, sizeof two);
	got = rewritten(&both);
	put16(&want, 1);
	put_name(&want, "foo.example.com");
	assert_same(&got, &want);
}

/* 16 foo.example.org. (alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1) */
static void mandatory_loses_what_is_gone(void **state)
{
	struct packet got, want = {.len = 0};

	(void)state;
	begin_rdata(16, "foo.example.org");
	put_param(0, "\0\1\0\4", 4);
	put_param(1, "\2h2\5h3-19", 9);
	put_param(4, "\300\0\2\1", 4);
	got = rewritten(&both);
	put16(&want, 16);
	put_name(&want, "foo.example.org");
	put_bytes(&want, "\0\0\0\2\0\1\0\1\0\11\2h2\5h3-19", 19);
	assert_same(&got, &want);
	/* The last one gone, `mandatory` goes as well. */
	begin_rdata(16, "foo.example.org");
	put_param(0, "\0\4", 2);
	put_param(4, "\300\0\2\1", 4);
	got = rewritten(&both);
	assert_int_equal(got.len, 2 + 17);
}

/* 1 example.com. ipv6hint="2001:db8:122:344::192.0.2.33", whose owner is example.com: "." means the
 * same. The name has a pair of both families, whatever its real hints were. */
static void the_owners_hints_are_its_fake_pair(void **state)
{
	static const uint8_t real[16] = {
		0x20, 1, 0xd, 0xb8, 1, 0x22, 3, 0x44, [12] = 192, 0, 2, 33};
	static const char *const targets[] = {"example.com", "EXAMPLE.com", ""};
	struct packet got, want = {.len = 0};

	(void)state;
	put_bytes(&want, "\0\1\0", 3);
	put_bytes(&want, "\0\4\0\4\306\22\0\5", 8);
	put_bytes(&want, "\0\6\0\20", 4);
	put_bytes(&want, both.v6, 16);
	for (int i = 0; i < 3; i++) {
		begin_rdata(1, targets[i]);
		put_param(6, real, sizeof real);
		got = rewritten(&both);
		assert_same(&got, &want);
		begin_rdata(1, targets[i]);
		put_param(4, "\1\2\3\4\5\6\7\10", 8);
		got = rewritten(&both);
		assert_same(&got, &want);
	}
}

static void hints_stand_in_their_place(void **state)
{
	struct dns_svcb_rewrite only4 = both, only6 = both, none = both;
	struct packet got, want = {.len = 0};

	(void)state;
	only4.has6 = only6.has4 = none.has4 = none.has6 = false;
	for (int i = 0; i < 4; i++) {
		bool four = i < 2, six = i % 2 == 0;

		begin_rdata(1, "");
		put_param(0, "\0\1\0\4\0\6", 6);
		put_param(1, "\2h3", 3);
		put_param(3, "\1\273", 2);
		put_param(4, "\1\2\3\4", 4);
		put_param(5, "\0\4abcd", 6);
		put_param(6, "0123456789abcdef", 16);
		put_param(7, "\1", 1);
		got = rewritten(four && six ? &both : four ? &only4 : six ? &only6 : &none);
		want.len = 0;
		put_bytes(&want, "\0\1\0\0\0\0", 6);
		put8(&want, 2u + 2 * four + 2 * six);
		put_bytes(&want, "\0\1", 2);
		put_bytes(&want, "\0\4", four ? 2 : 0);
		put_bytes(&want, "\0\6", six ? 2 : 0);
		put_bytes(&want, "\0\1\0\3\2h3\0\3\0\2\1\273", 13);
		put_bytes(&want, "\0\4\0\4\306\22\0\5", four ? 8 : 0);
		put_bytes(&want, "\0\5\0\6\0\4abcd", 10);
		put_bytes(&want, "\0\6\0\20", six ? 4 : 0);
		put_bytes(&want, both.v6, six ? 16 : 0);
		put_bytes(&want, "\0\7\0\1\1", 5);
		assert_same(&got, &want);
	}
}

/* A record without hints gets none: then every client asks for the addresses, as it does today. */
static void nothing_is_hinted_where_nothing_was(void **state)
{
	struct packet vector;

	(void)state;
	begin_rdata(1, "");
	put_param(1, "\2h2", 3);
	put_param(5, "\0\4abcd", 6);
	vector = rdata;
	assert_kept(&vector);
}

static void ech_is_kept_or_dropped(void **state)
{
	struct dns_svcb_rewrite drop = both;
	struct packet got, want = {.len = 0}, vector;

	(void)state;
	drop.drop_ech = true;
	for (int other = 0; other < 2; other++) {
		begin_rdata(1, other ? "foo.example.com" : "");
		put_param(0, "\0\1\0\5", 4);
		put_param(1, "\2h2", 3);
		put_param(5, "\0\4abcd", 6);
		vector = rdata;
		got = rewritten(&drop);
		want.len = 0;
		put16(&want, 1);
		put_name(&want, other ? "foo.example.com" : "");
		put_bytes(&want, "\0\0\0\2\0\1\0\1\0\3\2h2", 13);
		assert_same(&got, &want);
		assert_kept(&vector);
	}
}

/* Clients ignore what an alias has besides its target (2.4.2); nobody shall read addresses there.
 */
static void an_alias_is_its_target(void **state)
{
	struct packet got, want = {.len = 0};

	(void)state;
	begin_rdata(0, "foo.example.com");
	put_param(4, "\1\2\3\4", 4);
	got = rewritten(&both);
	put16(&want, 0);
	put_name(&want, "foo.example.com");
	assert_same(&got, &want);
	begin_rdata(0, "");
	got = rewritten(&both);
	assert_int_equal(got.len, 3); /* no such service */
	begin_rdata(0, "example.com");
	got = rewritten(&both);
	assert_int_equal(got.len, 0); /* leads to itself */
}

/* D.3 in wire form, and lengths that lie. */
static const struct {
	const char *params;
	size_t size;
} malformed[] = {
#define PARAMS(text)                                                                               \
	{                                                                                          \
		text, sizeof(text) - 1                                                             \
	}
	PARAMS("\0\173\0\3abc\0\173\0\3def"),		    /* a key twice */
	PARAMS("\0\0\0\0"),				    /* without a value: mandatory */
	PARAMS("\0\1\0\0"),				    /* alpn */
	PARAMS("\0\3\0\0"),				    /* port */
	PARAMS("\0\4\0\0"),				    /* ipv4hint */
	PARAMS("\0\6\0\0"),				    /* ipv6hint */
	PARAMS("\0\1\0\3\2h2\0\2\0\3abc"),		    /* no-default-alpn with one */
	PARAMS("\0\0\0\2\0\173"),			    /* mandatory, and not there */
	PARAMS("\0\0\0\4\0\173\0\174\0\173\0\1x"),	    /* one of two */
	PARAMS("\0\0\0\2\0\0\0\173\0\3abc"),		    /* mandatory itself */
	PARAMS("\0\0\0\4\0\173\0\173\0\173\0\3abc"),	    /* mandatory twice */
	PARAMS("\0\0\0\4\0\173\0\1\0\1\0\3\2h2\0\173\0"),   /* not in order, and torn */
	PARAMS("\0\0\0\4\0\4\0\1\0\1\0\3\2h2\0\4\0\4abcd"), /* not in order */
	PARAMS("\0\0\0\3\0\1\0\0\1\0\3\2h2"),		    /* half a key */
	PARAMS("\0\3\0\2\0\65\0\1\0\3\2h2"),		    /* keys not in order */
	PARAMS("\0\4\0\4abcd\0\4\0\4abcd"),
	PARAMS("\0\6\0\20"
	       "0123456789abcdef\0\4\0\4abcd"),
	PARAMS("\0\4\0\5abcde"),
	PARAMS("\0\4\0\3abc"),
	PARAMS("\0\6\0\10"
	       "01234567"),
	PARAMS("\0\4\0\10abcd"), /* longer than the data */
	PARAMS("\0\4\377\377abcd"),
	PARAMS("\0"),
	PARAMS("\0\1\0"),
	PARAMS("\0\1\0\3\2h2\0"),
	PARAMS("\0\1\0\3\3h2"), /* alpn: a string that runs out */
	PARAMS("\0\1\0\4\2h2\0"),
	PARAMS("\0\3\0\1\1"),
	PARAMS("\0\3\0\3\1\1\1"),
#undef PARAMS
};

static void malformed_records_are_left_out(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
		begin("example.com", DNS_HTTPS, 2);
		begin_rdata(1, "");
		put_bytes(&rdata, malformed[i].params, malformed[i].size);
		put_rdata("@12", DNS_HTTPS, 30);
		begin_rdata(2, "");
		put_rdata("@12", DNS_HTTPS, 30);
		/* The other one stays. */
		assert_int_equal(rewrite_to("example.com", DNS_HTTPS, &both, 1232), 1);
		assert_int_equal(get16(out + 6), 1);
		assert_int_equal(out[out_len - 11 - 2], 2);
		/* And its bytes are nobody's addresses. */
		assert_int_equal(dns_response_addresses(response.b, response.len, NULL, NULL), 0);
	}
	/* 2.2: a compressed target; and one that is no name of its own data. */
	begin("example.com", DNS_HTTPS, 1);
	begin_rdata(1, "@12");
	put_rdata("@12", DNS_HTTPS, 30);
	assert_int_equal(rewrite_to("example.com", DNS_HTTPS, &both, 1232), 0);
	begin("example.com", DNS_HTTPS, 1);
	begin_rdata(1, "www@12");
	put_rdata("@12", DNS_HTTPS, 30);
	assert_int_equal(rewrite_to("example.com", DNS_HTTPS, &both, 1232), 0);
}

static struct dns_svcb_rewrite ttl_of(uint32_t max_s)
{
	struct dns_svcb_rewrite how = both;

	how.ttl_max_s = max_s;
	return how;
}

static uint32_t first_ttl(void)
{
	const uint8_t *p = out + DNS_HEADER_SIZE + 13 + 4 + 6;

	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* CNAMEs are flattened; what is said of their end is said of the name that was asked for. */
static void aliases_are_flattened(void **state)
{
	struct dns_svcb_rewrite hour = ttl_of(3600), second = ttl_of(1);
	static const char *const targets[] = {"", "edge.cdn.test", "example.com", "mid.cdn.test"};

	(void)state;
	for (int i = 0; i < 4; i++) {
		begin("example.com", DNS_HTTPS, 5);
		put_record(&response, "@12", DNS_CNAME, 100, 14);
		put_name(&response, "mid.cdn.test");
		begin_rdata(1, targets[i]);
		put_param(4, "\1\2\3\4", 4);
		put_rdata("edge.cdn.test", DNS_HTTPS, 300);
		put_a(&response, "edge.cdn.test", 300, 0x01020304);
		put_record(&response, "mid.cdn.test", DNS_CNAME, 50, 15);
		put_name(&response, "edge.cdn.test");
		put_record(&response, "edge.cdn.test", 46, 300, 20);
		put_bytes(&response, "\0\101\15\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0x", 20);
		assert_int_equal(rewrite_to("example.com", DNS_HTTPS, &hour, 1232), 1);
		assert_int_equal(get16(out + 6), 1);
		assert_int_equal(get16(out + 8) + get16(out + 10), 1);
		assert_false(get16(out + 2) & (DNS_AD | DNS_AA));
		assert_int_equal(first_ttl(), 50); /* the least of the chain */
		assert_memory_equal(
			out + out_len - 11 - 31, "\0\1\0\0\4\0\4\306\22\0\5\0\6\0\20", 15);
		rewrite_to("example.com", DNS_HTTPS, &second, 1232);
		assert_int_equal(first_ttl(), 1);
	}
	/* Its alias leads back into the chain. */
	begin("example.com", DNS_HTTPS, 2);
	put_record(&response, "@12", DNS_CNAME, 100, 15);
	put_name(&response, "edge.cdn.test");
	begin_rdata(0, "example.com");
	put_rdata("edge.cdn.test", DNS_HTTPS, 300);
	assert_int_equal(rewrite_to("example.com", DNS_HTTPS, &both, 1232), 0);
}

static void what_is_not_of_the_question(void **state)
{
	(void)state;
	begin_rdata(1, "");
	begin("example.com", DNS_HTTPS, 3);
	put_rdata("other.test", DNS_HTTPS, 300);
	put_rdata("@12", DNS_SVCB, 300);
	put_a(&response, "@12", 300, 1);
	assert_int_equal(rewrite_to("example.com", DNS_HTTPS, &both, 1232), 0);
	begin("example.com", DNS_HTTPS, 1);
	put_rdata("@12", DNS_HTTPS, 300);
	assert_int_equal(rewrite_to("example.com", DNS_SVCB, &both, 1232), 0);
	assert_int_equal(rewrite_to("example.org", DNS_HTTPS, &both, 1232), 0);
	/* A name that means a port has hints of its own. */
	begin("_1._x.test", DNS_SVCB, 1);
	put_rdata("@12", DNS_SVCB, 300);
	assert_int_equal(rewrite_to("_1._x.test", DNS_SVCB, &both, 1232), 1);
	begin("a.test", DNS_TXT, 0);
	assert_int_equal(rewrite_to("a.test", DNS_TXT, &both, 1232), 0);
}

static void one_ttl_for_all(void **state)
{
	struct dns_svcb_rewrite hour = ttl_of(3600);
	size_t at;

	(void)state;
	begin("example.com", DNS_HTTPS, 3);
	for (unsigned i = 0; i < 3; i++) {
		begin_rdata(i + 1, "");
		put_rdata("@12", DNS_HTTPS, 500 - 100 * i);
	}
	assert_int_equal(rewrite_to("example.com", DNS_HTTPS, &hour, 1232), 3);
	at = DNS_HEADER_SIZE + 13 + 4;
	for (unsigned i = 0; i < 3; i++, at += 15)
		assert_memory_equal(out + at + 6, "\0\0\1\54\0\3\0", 7);
	/* The highest bit: 0 (RFC 2181 8). */
	begin("example.com", DNS_HTTPS, 1);
	put_rdata("@12", DNS_HTTPS, 0x80000009);
	rewrite_to("example.com", DNS_HTTPS, &hour, 1232);
	assert_int_equal(first_ttl(), 0);
}

/* Two records that differed only in their addresses are one now. */
static void none_twice(void **state)
{
	(void)state;
	begin("example.com", DNS_HTTPS, 3);
	for (unsigned i = 0; i < 3; i++) {
		begin_rdata(i == 2 ? 2 : 1, "");
		put_param(4, i ? "\1\2\3\4" : "\5\6\7\10", 4);
		put_rdata("@12", DNS_HTTPS, 60);
	}
	assert_int_equal(rewrite_to("example.com", DNS_HTTPS, &both, 1232), 2);
	assert_int_equal(get16(out + 6), 2);
}

static void too_many_or_too_large(void **state)
{
	(void)state;
	begin("example.com", DNS_HTTPS, 3000);
	for (unsigned i = 0; i < 3000; i++) {
		begin_rdata(i + 1, "");
		put_rdata("@12", DNS_HTTPS, 60);
	}
	assert_int_equal(rewrite_to("example.com", DNS_HTTPS, &both, DNS_MESSAGE_MAX), 64);
	assert_int_equal(get16(out + 6), 64);
	/* 64 records of 15 bytes fit into 1232, not into 512. */
	assert_int_equal(rewrite_to("example.com", DNS_HTTPS, &both, 1232), 64);
	assert_false(get16(out + 2) & DNS_TC);
	assert_in_range(rewrite_to("example.com", DNS_HTTPS, &both, 512), 1, 64);
	assert_true(get16(out + 2) & DNS_TC);
	assert_int_equal(get16(out + 6), 0);
	/* A record that alone is too large. */
	begin("example.com", DNS_HTTPS, 1);
	begin_rdata(1, "");
	put16(&rdata, 667);
	put16(&rdata, 2000);
	memset(rdata.b + rdata.len, 'x', 2000);
	rdata.len += 2000;
	put_rdata("@12", DNS_HTTPS, 60);
	assert_int_equal(rewrite_to("example.com", DNS_HTTPS, &both, 1232), 1);
	assert_true(get16(out + 2) & DNS_TC);
	assert_int_equal(rewrite_to("example.com", DNS_HTTPS, &both, 65535), 1);
	assert_false(get16(out + 2) & DNS_TC);
	assert_memory_equal(out + out_len - 11 - 2000, rdata.b + rdata.len - 2000, 2000);
}

/* --- hints as addresses of a real answer --- */

struct found {
	unsigned n4, n6;
	uint8_t last[16];
	uint32_t ttl_s;
};

static void note(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct found *f = arg;

	f->n4 += size == 4;
	f->n6 += size == 16;
	memcpy(f->last, address, size);
	f->ttl_s = ttl_s;
}

static struct found addresses(void)
{
	uint8_t *msg = exact(response.b, response.len);
	struct found f = {0};
	size_t n = dns_response_addresses(msg, response.len, note, &f);

	assert_int_equal(n, f.n4 + f.n6);
	free(msg);
	return f;
}

static void hints_are_addresses(void **state)
{
	struct found f;

	(void)state;
	/* Of the owner and of another name: a client may use either. */
	begin("example.com", DNS_HTTPS, 3);
	put_record(&response, "@12", DNS_CNAME, 100, 15);
	put_name(&response, "edge.cdn.test");
	begin_rdata(1, "");
	put_param(4, "\1\2\3\4\5\6\7\10", 8);
	put_rdata("edge.cdn.test", DNS_HTTPS, 300);
	begin_rdata(2, "pool.cdn.test");
	put_param(4, "\11\2\3\4", 4);
	put_param(6, "0123456789abcdef", 16);
	put_rdata("edge.cdn.test", DNS_HTTPS, 200);
	f = addresses();
	assert_int_equal(f.n4, 3);
	assert_int_equal(f.n6, 1);
	assert_memory_equal(f.last, "0123456789abcdef", 16);
	assert_int_equal(f.ttl_s, 200);
	/* An alias has none. */
	begin("example.com", DNS_HTTPS, 1);
	begin_rdata(0, "pool.cdn.test");
	put_param(4, "\11\2\3\4", 4);
	put_rdata("@12", DNS_HTTPS, 200);
	assert_int_equal(addresses().n4, 0);
	/* Nor has what was not asked for. */
	begin("example.com", DNS_A, 2);
	begin_rdata(1, "");
	put_param(4, "\1\2\3\4", 4);
	put_rdata("@12", DNS_HTTPS, 300);
	put_a(&response, "@12", 300, 1);
	assert_int_equal(addresses().n4, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_without_addresses_are_kept),
		cmocka_unit_test(hints_of_another_name_go),
		cmocka_unit_test(mandatory_loses_what_is_gone),
		cmocka_unit_test(the_owners_hints_are_its_fake_pair),
		cmocka_unit_test(hints_stand_in_their_place),
		cmocka_unit_test(nothing_is_hinted_where_nothing_was),
		cmocka_unit_test(ech_is_kept_or_dropped),
		cmocka_unit_test(an_alias_is_its_target),
		cmocka_unit_test(malformed_records_are_left_out),
		cmocka_unit_test(aliases_are_flattened),
		cmocka_unit_test(what_is_not_of_the_question),
		cmocka_unit_test(one_ttl_for_all),
		cmocka_unit_test(none_twice),
		cmocka_unit_test(too_many_or_too_large),
		cmocka_unit_test(hints_are_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
