#include "tests/unit/dns_packet.h"

#define OPT_SIZE 11
#define EDE_SIZE 6

static void address_answer_bytes(void **state)
{
	static const uint8_t v6[16] = {0xfd, 0, 1, 0x98, [15] = 7};
	struct dns_query q = query_for("A.tesT", DNS_A, DNS_RD | DNS_CD | DNS_AD, -1);
	uint8_t buf[512];
	struct dns_writer w;
	struct packet want;
	size_t len;

	(void)state;
	dns_answer_begin(&w, buf, sizeof buf, &q, DNS_NOERROR, 0);
	dns_answer_address(&w, (const uint8_t *)"\xc6\x12\0\5", 4, 1);
	len = dns_answer_end(&w, DNS_EDE_FORGED);
	put_header(&want, 0xbeef, DNS_QR | DNS_RD | DNS_RA | DNS_CD,
		COUNTS(1, 1, 0, 0)); /* no AD (RFC 6840 5.8) */
	put_question(&want, "A.tesT", DNS_A, 1);
	put_a(&want, "@12", 1, 0xc6120005);
	assert_int_equal(len, want.len);
	assert_memory_equal(buf, want.b, len);

	q = query_for("A.tesT", DNS_AAAA, 0, 0x8000 | 0x1234);
	dns_answer_begin(&w, buf, sizeof buf, &q, DNS_NOERROR, DNS_AA);
	dns_answer_address(&w, v6, 16, 3600);
	len = dns_answer_end(&w, DNS_EDE_FORGED);
	put_header(&want, 0xbeef, DNS_QR | DNS_AA | DNS_RA, COUNTS(1, 1, 0, 1));
	put_question(&want, "A.tesT", DNS_AAAA, 1);
	put_record(&want, "@12", DNS_AAAA, 3600, 16);
	put_bytes(&want, v6, 16);
	put_opt(&want, 1232, 0x8000, "\0\17\0\2\0\4", 6); /* DO echoed, the other flags not */
	assert_int_equal(len, want.len);
	assert_memory_equal(buf, want.b, len);
}

static void ptr_and_soa(void **state)
{
	struct dns_query q = query_for("5.0.18.198.in-addr.arpa", DNS_PTR, DNS_RD, 0);
	struct dns_name target = name_of("a.test");
	uint8_t buf[512];
	struct dns_writer w;
	struct packet want;
	size_t len;

	(void)state;
	dns_answer_begin(&w, buf, sizeof buf, &q, DNS_NOERROR, 0);
	dns_answer_ptr(&w, target.b, 5);
	len = dns_answer_end(&w, DNS_EDE_NONE);
	put_header(&want, 0xbeef, DNS_QR | DNS_RD | DNS_RA, COUNTS(1, 1, 0, 1));
	put_question(&want, "5.0.18.198.in-addr.arpa", DNS_PTR, 1);
	put_record(&want, "@12", DNS_PTR, 5, 8);
	put_name(&want, "a.test");
	put_opt(&want, 1232, 0, "", 0);
	assert_int_equal(len, want.len);
	assert_memory_equal(buf, want.b, len);

	len = dns_answer_empty(buf, sizeof buf, &q, DNS_NXDOMAIN, 300, DNS_EDE_BLOCKED);
	put_header(&want, 0xbeef, DNS_QR | DNS_RD | DNS_RA | DNS_NXDOMAIN, COUNTS(1, 0, 1, 1));
	put_question(&want, "5.0.18.198.in-addr.arpa", DNS_PTR, 1);
	put_record(&want, "@12", DNS_SOA, 300, 2 + 16 + 20);
	put_name(&want, "@12");
	put_name(&want, "nobody.invalid");
	put32(&want, 1);
	put32(&want, 3600);
	put32(&want, 1200);
	put32(&want, 604800);
	put32(&want, 300); /* MINIMUM as the TTL (RFC 2308 3) */
	put_opt(&want, 1232, 0, "\0\17\0\2\0\17", 6);
	assert_int_equal(len, want.len);
	assert_memory_equal(buf, want.b, len);
	assert_int_equal(dns_response_check(buf, len), 0);
}

/* An extended error and an OPT only for who sent one. */
static void opt_only_if_asked(void **state)
{
	struct dns_query plain = query_for("a.test", DNS_A, DNS_RD, -1),
			 edns = query_for("a.test", DNS_A, DNS_RD, 0);
	uint8_t buf[512];

	(void)state;
	assert_int_equal(
		dns_answer_empty(buf, sizeof buf, &plain, DNS_SERVFAIL, 0, DNS_EDE_NETWORK_ERROR),
		24);
	assert_int_equal(get16(buf + 2), DNS_QR | DNS_RD | DNS_RA | DNS_SERVFAIL);
	assert_int_equal(get16(buf + 10), 0);
	assert_int_equal(
		dns_answer_empty(buf, sizeof buf, &edns, DNS_SERVFAIL, 0, DNS_EDE_NETWORK_ERROR),
		24 + 17);
	assert_int_equal(get16(buf + 10), 1);
	assert_int_equal(get16(buf + 24 + OPT_SIZE + 4), 23);
	assert_int_equal(
		dns_answer_empty(buf, sizeof buf, &edns, DNS_SERVFAIL, 0, DNS_EDE_OTHER), 24 + 17);
	assert_int_equal(get16(buf + 24 + OPT_SIZE + 4), 0);
	assert_int_equal(
		dns_answer_empty(buf, sizeof buf, &edns, DNS_SERVFAIL, 0, DNS_EDE_NONE), 24 + 11);
}

static void extended_rcode(void **state)
{
	struct dns_query q = query_for("a.test", DNS_A, DNS_RD, 1 << 16 | 0x8000);
	uint8_t buf[512];
	size_t len = dns_answer_empty(buf, sizeof buf, &q, DNS_BADVERS, 0, DNS_EDE_NONE);

	(void)state;
	assert_int_equal(len, 24 + OPT_SIZE);
	assert_int_equal(dns_message_rcode(buf), 0);
	assert_memory_equal(buf + 24, "\0\0\51\4\xd0\1\0\x80\0\0\0",
		OPT_SIZE); /* upper bits 1, version 0, DO */

	q.has_opt = false;
	dns_answer_empty(buf, sizeof buf, &q, DNS_BADVERS, 0, DNS_EDE_NONE);
	assert_int_equal(dns_message_rcode(buf), DNS_SERVFAIL);
}

/* What dns_query_parse() could not read is not in the answer. */
static void without_question(void **state)
{
	struct packet p;
	struct dns_query q;
	enum dns_rcode rcode;
	uint8_t buf[512];
	struct dns_writer w;

	(void)state;
	put_header(&p, 0x0102, DNS_RD, COUNTS(2, 0, 0, 1));
	put_question(&p, "a.test", 1, 1);
	put_question(&p, "b.test", 1, 1);
	put_opt(&p, 1232, 0, "", 0);
	memset(&q, 0xee, sizeof q);
	assert_int_equal(dns_query_parse(p.b, p.len, &q, &rcode), DNS_PARSE_ANSWER);
	assert_int_equal(
		dns_answer_empty(buf, sizeof buf, &q, rcode, 300, DNS_EDE_NONE), 12 + OPT_SIZE);
	assert_memory_equal(
		buf, "\1\2\x81\x81\0\0\0\0\0\0\0\1\0\0\51\4\xd0\0\0\0\0\0\0", 12 + OPT_SIZE);

	dns_answer_begin(&w, buf, sizeof buf, &q, rcode, 0);
	dns_answer_address(&w, (const uint8_t *)"\1\2\3\4", 4, 1); /* nobody could own it */
	assert_int_equal(dns_answer_end(&w, DNS_EDE_NONE), 12 + OPT_SIZE);

	put_header(&p, 7, 15 << 11, COUNTS(0, 0, 0, 0));
	assert_int_equal(dns_query_parse(p.b, p.len, &q, &rcode), DNS_PARSE_ANSWER);
	assert_int_equal(dns_answer_empty(buf, sizeof buf, &q, rcode, 0, DNS_EDE_NONE), 12);
	assert_memory_equal(buf, "\0\7\xf8\x84\0\0\0\0\0\0\0\0", 12); /* the opcode is theirs */
}

static void ttl_bounds(void **state)
{
	struct dns_query q = query_for("a.test", DNS_A, DNS_RD, -1);
	uint8_t buf[512];
	struct dns_writer w;

	(void)state;
	dns_answer_begin(&w, buf, sizeof buf, &q, DNS_NOERROR, 0);
	dns_answer_address(&w, (const uint8_t *)"\1\2\3\4", 4, 0xffffffff);
	dns_answer_end(&w, DNS_EDE_NONE);
	assert_memory_equal(buf + 24 + 6, "\x7f\xff\xff\xff", 4);
}

/* n addresses into limit bytes: all, or none and TC. Never a byte behind the limit. */
static size_t many(
	size_t limit, unsigned n, int64_t opt_ttl, unsigned *ret_flags, unsigned *ret_answers)
{
	struct dns_query q = query_for("a.test", DNS_A, DNS_RD, opt_ttl);
	uint8_t *buf = malloc(limit);
	struct dns_writer w;
	size_t len;

	assert_non_null(buf);
	dns_answer_begin(&w, buf, limit, &q, DNS_NOERROR, 0);
	for (unsigned i = 0; i < n; i++)
		dns_answer_address(&w, (const uint8_t *)"\1\2\3\4", 4, 60);
	len = dns_answer_end(&w, DNS_EDE_FORGED);
	assert_true(len <= limit);
	assert_int_equal(dns_response_check(buf, len), 0);
	*ret_flags = get16(buf + 2);
	*ret_answers = get16(buf + 6);
	assert_int_equal(get16(buf + 10), opt_ttl >= 0);
	free(buf);
	return len;
}

static void truncates_whole_sets(void **state)
{
	unsigned flags, answers;

	(void)state;
	assert_int_equal(many(512, 30, -1, &flags, &answers), 24 + 30 * 16);
	assert_false(flags & DNS_TC);
	assert_int_equal(many(512, 31, -1, &flags, &answers), 24);
	assert_true(flags & DNS_TC);
	assert_int_equal(answers, 0);
	assert_int_equal(many(512, 29, 0, &flags, &answers), 24 + 29 * 16 + OPT_SIZE + EDE_SIZE);
	assert_int_equal(many(512, 30, 0, &flags, &answers), 24 + OPT_SIZE + EDE_SIZE);
	assert_true(flags & DNS_TC);
	assert_int_equal(many(24 + 30 * 16 + OPT_SIZE + EDE_SIZE, 30, 0, &flags, &answers), 521);
	assert_false(flags & DNS_TC);
	many(24 + 30 * 16 + OPT_SIZE + EDE_SIZE - 1, 30, 0, &flags, &answers);
	assert_true(flags & DNS_TC);
	assert_int_equal(many(DNS_MESSAGE_MAX, 4000, 0, &flags, &answers),
		24 + 4000 * 16 + OPT_SIZE + EDE_SIZE);
	assert_int_equal(answers, 4000);
	assert_int_equal(many(100000, 4095, 0, &flags, &answers), 24 + OPT_SIZE + EDE_SIZE);
	assert_true(flags & DNS_TC);
}

/* The longest name and an OPT leave room for a negative answer in 512 bytes. */
static void longest_name_fits(void **state)
{
	char text[300];
	struct dns_query q;
	uint8_t buf[512];
	size_t len;

	(void)state;
	memset(text, 'M', sizeof text);
	text[63] = text[127] = text[191] = '.';
	text[192 + 61] = 0;
	q = query_for(text, DNS_A, DNS_RD, 0);
	len = dns_answer_empty(buf, sizeof buf, &q, DNS_NXDOMAIN, 60, DNS_EDE_BLOCKED);
	assert_false(get16(buf + 2) & DNS_TC);
	assert_int_equal(get16(buf + 8), 1);
	assert_int_equal(dns_response_check(buf, len), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(address_answer_bytes),
		cmocka_unit_test(ptr_and_soa),
		cmocka_unit_test(opt_only_if_asked),
		cmocka_unit_test(extended_rcode),
		cmocka_unit_test(without_question),
		cmocka_unit_test(ttl_bounds),
		cmocka_unit_test(truncates_whole_sets),
		cmocka_unit_test(longest_name_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
