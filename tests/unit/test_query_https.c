/* HTTPS and SVCB questions for fake names under `fakeip.https: rewrite`. What becomes of each
 * record is test_dns_svcb.c's; here: who is asked, what the client gets when, and what is kept. */
#include "tests/unit/query_talk.h"

#include <errno.h>
#include <stdio.h>

#include "gateway/query/parked.h"

#define YAML(options)                                                                              \
	"gateway: { lan: [lan0] }\n"                                                               \
	"fakeip: { pool4: 198.18.0.0/15, pool6: 'fd00::/64', ttl: 7s, store: '', " options " }\n"  \
	"upstreams:\n"                                                                             \
	"  one: { servers: udp://192.0.2.53 }\n"                                                   \
	"  two: { servers: udp://192.0.2.54 }\n"                                                   \
	"egress:\n"                                                                                \
	"  bare: { type: socks5, server: '127.0.0.1:1081' }\n"                                     \
	"  proxy: { type: socks5, server: '127.0.0.1:1080', upstream: two }\n"                     \
	"rules:\n"                                                                                 \
	"  - { name: bare, domain: [bare.test], answer: fake, egress: bare, upstream: one }\n"     \
	"  - { name: fake, domain: [fake.test], answer: fake, egress: proxy, upstream: one }\n"    \
	"  - { name: rest, domain: [.], answer: real, upstream: one }\n"

static int open_stage(void **state)
{
	*state = stage_open(YAML("https: rewrite"), 0);
	return 0;
}

static int close_stage(void **state)
{
	stage_close(*state);
	return 0;
}

/* Upstream's record: 1 . alpn=h2 ipv4hint=1.2.3.4 ech=abcd */
static const uint8_t record[] = {
	0, 1, 0, 0, 1, 0, 3, 2, 'h', '2', 0, 4, 0, 4, 1, 2, 3, 4, 0, 5, 0, 4, 'a', 'b', 'c', 'd'};

static void put_https(const char *owner, uint32_t ttl_s)
{
	put_record(&response, owner, DNS_HTTPS, ttl_s, sizeof record);
	put_bytes(&response, record, sizeof record);
}

static void answer_record(struct stage *s, const char *name, uint32_t ttl_s)
{
	make_response(name, DNS_HTTPS, 0, 1);
	put_https("@12", ttl_s);
	answer(s);
}

static void hints_are_those_of_the_address_answers(void **state)
{
	struct stage *s = *state;
	uint8_t v4[4], v6[16];
	struct seen v;

	ask_parked(s, "Www.Fake.Test", DNS_HTTPS);
	assert_int_equal(s->asked[0].group, 1); /* where its traffic leaves */
	assert_int_equal(s->asked[0].type, DNS_HTTPS);
	assert_int_equal(s->appends, 0);
	answer_record(s, "www.fake.test", 300);
	assert_int_equal(s->reply.n, 1);
	/* Its mapping is new, and in the log before the answer left. */
	assert_int_equal(s->appends, 1);
	v = look_reply(s);
	assert_int_equal(v.rcode, 0);
	assert_int_equal(v.answers, 1);
	assert_int_equal(v.authorities, 0);
	assert_int_equal(v.type, DNS_HTTPS);
	assert_int_equal(v.ttl_s, 60);
	assert_int_equal(v.ede, DNS_EDE_FORGED);
	assert_false(v.flags & DNS_AD);
	assert_int_equal(v.size, sizeof record + 20);
	assert_memory_equal(v.data, record, 14);
	memcpy(v4, v.data + 14, 4);
	assert_memory_equal(v.data + 18, record + 18, 8);
	assert_memory_equal(v.data + 26, "\0\6\0\20", 4);
	memcpy(v6, v.data + 30, 16);
	ask(s, "www.fake.test", DNS_A);
	assert_memory_equal(look_out().data, v4, 4);
	ask(s, "www.fake.test", DNS_AAAA);
	assert_memory_equal(look_out().data, v6, 16);
	assert_int_equal(COUNTER(s, fake), 3);
	assert_int_equal(COUNTER(s, real), 0);
	assert_int_equal(s->n_told, 0); /* no real address went out */
	assert_int_equal(s->n_jobs, 0);
}

static void who_is_asked(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.bare.test", DNS_SVCB); /* its egress has no upstream: the rule's */
	assert_int_equal(s->asked[0].group, 0);
	make_response("www.bare.test", DNS_SVCB, 0, 0);
	answer(s);
	/* Signatures would not be those of what we answer. */
	put_header(&asked, 0x1234, DNS_RD | DNS_CD, COUNTS(1, 0, 0, 1));
	put_question(&asked, "www.fake.test", DNS_HTTPS, 1);
	put_opt(&asked, 1232, 0x8000, "", 0);
	assert_int_equal(hand_over(s, "10.1.1.1", false), QUERY_PARKED);
	assert_int_equal(s->asked[1].flags, RESOLVE_CD);
	answer_record(s, "www.fake.test", 9);
	assert_int_equal(look_reply(s).ttl_s, 9);
	/* Other types of a fake name are nobody's business. */
	ask(s, "www.fake.test", DNS_TXT);
	assert_negative(look_out(), DNS_NOERROR, DNS_EDE_FORGED);
	assert_int_equal(s->n_asked, 2);
}

/* RFC 9460 3.1: SERVFAIL may end the client's attempt. And the name exists, whatever is said. */
static void what_upstream_cannot_say_is_nodata(void **state)
{
	static const int errors[] = {-ETIMEDOUT, -ECONNREFUSED, -ECANCELED};
	static const unsigned rcodes[] = {DNS_NOERROR, DNS_SERVFAIL, DNS_NXDOMAIN, DNS_REFUSED};
	struct stage *s = *state;
	unsigned n = 0;

	for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++, n++) {
		ask_parked(s, "www.fake.test", DNS_HTTPS);
		stage_answer(s, NULL, 0, errors[i]);
		assert_negative(look_reply(s), DNS_NOERROR, DNS_EDE_FORGED);
	}
	for (size_t i = 0; i < sizeof rcodes / sizeof rcodes[0]; i++, n++) {
		ask_parked(s, "www.fake.test", DNS_HTTPS);
		make_response("www.fake.test", DNS_HTTPS, rcodes[i], rcodes[i] ? 1 : 0);
		if (rcodes[i])
			put_https("@12", 300);
		answer(s);
		assert_negative(look_reply(s), DNS_NOERROR, DNS_EDE_FORGED);
	}
	/* Nor does the resolver's refusal fail it. */
	s->ask_error = -ENOBUFS;
	assert_int_equal(ask(s, "www.fake.test", DNS_HTTPS), QUERY_PARKED);
	assert_negative(look_reply(s), DNS_NOERROR, DNS_EDE_FORGED);
	assert_int_equal(s->reply.n, n + 1);
	assert_int_equal(COUNTER(s, fake), n + 1);
	assert_int_equal(COUNTER(s, failed), 0);
	assert_int_equal(s->appends, 0);
}

static void nobody_waits_where_no_more_may(void **state)
{
	struct stage *s = *state;

	while (s->n_asked < PARKED_MAX / 2)
		assert_int_equal(ask(s, "www.real.test", DNS_A), QUERY_PARKED);
	ask(s, "www.fake.test", DNS_HTTPS);
	assert_negative(look_out(), DNS_NOERROR, DNS_EDE_FORGED);
	while (s->n_answered < s->n_asked)
		stage_answer(s, NULL, 0, -ETIMEDOUT);
}

static void a_loop_is_stopped_here_too(void **state)
{
	struct stage *s = *state;

	assert_int_equal(ip_addr_parse("10.1.1.1", &s->own), 0);
	s->sightings = 3;
	ask(s, "www.fake.test", DNS_HTTPS);
	assert_int_equal(look_out().rcode, DNS_SERVFAIL);
	assert_int_equal(COUNTER(s, loops), 1);
	assert_int_equal(s->n_asked, 0);
}

/* Upstream lies: no address of its answer reaches the client, in whatever section it stands. */
static void no_real_address_gets_through(void **state)
{
	static const uint8_t other[] = {
		0, 2, 3, 'c', 'd', 'n', 0, 0, 0, 0, 2, 0, 4, 0, 4, 0, 4, 1, 2, 3, 4};
	static const uint8_t broken[] = {0, 3, 0, 0, 4, 0, 8, 1, 2, 3, 4};
	struct stage *s = *state;
	struct seen v;

	ask_parked(s, "www.fake.test", DNS_HTTPS);
	put_header(&response, 0x9999, DNS_QR | DNS_RA | DNS_AD, COUNTS(1, 6, 1, 1));
	put_question(&response, "www.fake.test", DNS_HTTPS, 1);
	put_record(&response, "@12", DNS_CNAME, 40, 10);
	put_name(&response, "edge.cdn");
	put_https("edge.cdn", 300);
	put_record(&response, "edge.cdn", DNS_HTTPS, 300, sizeof other);
	put_bytes(&response, other, sizeof other);
	put_record(&response, "edge.cdn", DNS_HTTPS, 300, sizeof broken);
	put_bytes(&response, broken, sizeof broken);
	put_a(&response, "edge.cdn", 300, 0x01020304);
	put_a(&response, "@12", 300, 0x01020304);
	put_a(&response, "@12", 300, 0x01020304);
	put_a(&response, "edge.cdn", 300, 0x01020304);
	answer(s);
	v = look_reply(s);
	assert_int_equal(v.answers, 2);
	assert_int_equal(v.authorities, 0);
	assert_int_equal(v.additionals, 1); /* OPT */
	assert_int_equal(v.ttl_s, 40);
	for (size_t i = 0; i + 4 <= s->reply.len; i++)
		assert_memory_not_equal(s->reply.msg + i, "\1\2\3\4", 4);
	for (size_t i = 0; i + 4 <= s->reply.len; i++) /* no name of the chain either */
		assert_memory_not_equal(s->reply.msg + i, "edge", 4);
}

static void no_hint_no_mapping(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.fake.test", DNS_HTTPS);
	make_response("www.fake.test", DNS_HTTPS, 0, 1);
	put_record(&response, "@12", DNS_HTTPS, 5, 10);
	put_bytes(&response, record, 10);
	answer(s);
	assert_int_equal(look_reply(s).size, 10);
	assert_int_equal(s->appends, 0);
}

/* A hint lives longer at the client than an address of an answer; the table knows. */
static void a_hint_keeps_its_address(void **state)
{
	struct stage *s = *state;
	struct fakeip_mapping m;
	uint32_t now_s = (uint32_t)(s->now_ms / 1000);

	ask_parked(s, "www.fake.test", DNS_HTTPS);
	answer_record(s, "www.fake.test", 300);
	assert_int_equal(fakeip_next(s->fakeip, UINT32_MAX, &m), 0);
	assert_int_equal(m.last_answer_s, now_s);
	assert_int_equal(m.last_packet_s, now_s + look_reply(s).ttl_s);
}

static void ech_goes_if_told(void **state)
{
	struct stage *s = stage_open(YAML("https: rewrite, ech: drop"), 0);
	struct seen v;

	(void)state;
	ask_parked(s, "www.fake.test", DNS_HTTPS);
	answer_record(s, "www.fake.test", 5);
	v = look_reply(s);
	assert_int_equal(v.size, sizeof record + 20 - 8);
	assert_memory_equal(v.data + 18, "\0\6\0\20", 4);
	stage_close(s);
}

static void empty_asks_nobody(void **state)
{
	struct stage *s = stage_open(YAML("https: empty"), 0);

	(void)state;
	ask(s, "www.fake.test", DNS_HTTPS);
	assert_negative(look_out(), DNS_NOERROR, DNS_EDE_FORGED);
	assert_int_equal(s->n_asked, 0);
	stage_close(s);
}

/* Only the families that are faked are hinted at; with a full pool none is. */
static void a_full_pool_hints_at_nothing(void **state)
{
	struct stage *s = stage_open(YAML("https: rewrite"), 29);
	char name[32];
	size_t n;

	(void)state;
	for (unsigned i = 0;; i++) {
		snprintf(name, sizeof name, "n%u.fake.test", i);
		n = ask(s, name, DNS_A);
		if (n == QUERY_PARKED)
			break;
		assert_in_range(i, 0, 8);
	}
	answer_addresses(s, name, 1, 60);
	stage_written(s, 0); /* the real address is the proxy's to carry */
	ask_parked(s, name, DNS_HTTPS);
	answer_record(s, name, 60);
	assert_int_equal(look_reply(s).answers, 1);
	assert_int_equal(look_reply(s).size, sizeof record - 8);
	stage_close(s);
}

static void large_answers(void **state)
{
	struct stage *s = *state;

	for (int stream = 0; stream < 2; stream++) {
		make_query("www.fake.test", DNS_HTTPS, 1232);
		assert_int_equal(hand_over(s, "10.1.1.1", stream), QUERY_PARKED);
		make_response("www.fake.test", DNS_HTTPS, 0, 60);
		for (unsigned i = 1; i <= 60; i++) {
			put_record(&response, "@12", DNS_HTTPS, 5, 11);
			put16(&response, i);
			put_bytes(&response, "\0\0\4\0\4\1\2\3\4", 9);
		}
		answer(s);
		assert_int_equal(look_reply(s).answers, stream ? 60 : 0);
		assert_int_equal(!(look_reply(s).flags & DNS_TC), stream);
	}
	/* The longest there can be. */
	make_query("www.fake.test", DNS_HTTPS, 1232);
	assert_int_equal(hand_over(s, "10.1.1.1", true), QUERY_PARKED);
	make_response("www.fake.test", DNS_HTTPS, 0, 1);
	put_record(&response, "@12", DNS_HTTPS, 5, 3 + 8 + 4 + 65000);
	put_bytes(&response, "\0\1\0\0\4\0\4\1\2\3\4\2\233\375\350", 15);
	memset(response.b + response.len, 'x', 65000);
	response.len += 65000;
	answer(s);
	assert_int_equal(look_reply(s).answers, 1);
	assert_in_range(s->reply.len, 65000, 65535);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_stage, close_stage)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hints_are_those_of_the_address_answers),
		TEST(who_is_asked),
		TEST(what_upstream_cannot_say_is_nodata),
		TEST(nobody_waits_where_no_more_may),
		TEST(a_loop_is_stopped_here_too),
		TEST(no_real_address_gets_through),
		TEST(no_hint_no_mapping),
		TEST(a_hint_keeps_its_address),
		cmocka_unit_test(ech_goes_if_told),
		cmocka_unit_test(empty_asks_nobody),
		cmocka_unit_test(a_full_pool_hints_at_nothing),
		TEST(large_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
