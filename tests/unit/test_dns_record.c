/* Data of records from text, by the examples of their RFCs and by what people get wrong; and
 * answers made of records. */
#include "tests/unit/dns_packet.h"

#include <errno.h>
#include <stdio.h>

#include "gateway/dns/record.h"

static uint8_t data[DNS_RDATA_MAX];

static int parse(unsigned type, const char *text, const char **ret_why)
{
	size_t len = strlen(text);
	char *copy = (char *)exact(text, len);
	int n;

	*ret_why = NULL;
	n = dns_rdata_parse((uint16_t)type, copy, len, data, sizeof data, ret_why);
	free(copy);
	return n;
}

static void check_is(unsigned type, const char *text, const void *bytes, size_t size)
{
	const char *why;
	int n = parse(type, text, &why);

	if (n != (int)size || memcmp(data, bytes, size) != 0)
		fail_msg("%s: %d, %s", text, n, why ? why : "other bytes");
	assert_int_equal(dns_rdata_check((uint16_t)type, data, size), 0);
}
#define IS(type, text, bytes)	   check_is(type, text, bytes, sizeof(bytes) - 1)
#define IS_ROOT(type, text, bytes) check_is(type, text, bytes, sizeof(bytes)) /* its last byte */

static void check_bad(unsigned type, const char *text, const char *expected)
{
	const char *why;
	int n = parse(type, text, &why);

	if (n != -EINVAL || !why || !strstr(why, expected))
		fail_msg("%s: %d, %s", text, n, why ? why : "no reason");
}

static void addresses_and_names(void **state)
{
	(void)state;
	IS(DNS_A, "192.0.2.1", "\300\0\2\1");
	IS(DNS_A, " 192.0.2.1\t", "\300\0\2\1");
	IS(DNS_AAAA, "2001:db8::5", "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\5");
	IS_ROOT(DNS_CNAME, "A.Test.", "\1a\4test");
	IS_ROOT(DNS_NS, "ns1.a.test", "\3ns1\1a\4test");
	IS_ROOT(DNS_PTR, "\"h\\.x.test\"", "\3h.x\4test");
	IS_ROOT(DNS_DNAME, ".", "");
	check_bad(DNS_A, "192.0.2", "IPv4");
	check_bad(DNS_A, "192.0.2.1 192.0.2.2", "more");
	check_bad(DNS_A, "", "missing");
	check_bad(DNS_A, "2001:db8::5", "IPv4");
	check_bad(DNS_AAAA, "192.0.2.1", "IPv6");
	check_bad(DNS_AAAA, "1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20", "IPv6");
	check_bad(DNS_CNAME, "a..test", "domain name");
	check_bad(DNS_CNAME, "", "missing");
	check_bad(DNS_CNAME, "\"a.test", "quote");
	check_bad(DNS_CNAME, "a\"b\".test", "quote");
	check_bad(DNS_CNAME, "\"a\"b", "quote");
}

static void several_fields(void **state)
{
	(void)state;
	IS_ROOT(DNS_MX, "10 mail.a.test", "\0\12\4mail\1a\4test");
	IS_ROOT(DNS_MX, "0 .", "\0\0");
	IS_ROOT(DNS_SRV, "10 5 443 a.test", "\0\12\0\5\1\273\1a\4test");
	IS(DNS_SOA, "ns.a.test admin.a.test 2024010101 7200 3600 1209600 300",
		"\2ns\1a\4test\0\5admin\1a\4test\0\x78\xa3\xf1\x75\0\0\x1c\x20\0\0\x0e\x10\0\x12"
		"\x75\0\0\0\1\x2c");
	IS(DNS_CAA, "0 issue \"letsencrypt.org\"", "\0\5issueletsencrypt.org");
	IS(DNS_CAA, "128 iodef mailto:a@a.test", "\200\5iodefmailto:a@a.test");
	IS(DNS_CAA, "0 issue \";\"", "\0\5issue;");
	check_bad(DNS_MX, "mail.a.test", "number");
	check_bad(DNS_MX, "65536 mail.a.test", "65535");
	check_bad(DNS_MX, "-1 mail.a.test", "65535");
	check_bad(DNS_MX, "10", "missing");
	check_bad(DNS_MX, "10 a b", "more");
	check_bad(DNS_SRV, "10 5 a.test", "number");
	check_bad(DNS_SOA, "ns.a.test admin.a.test 4294967296 1 1 1 1", "4294967295");
	check_bad(DNS_SOA, "ns.a.test admin.a.test 99999999999999999999 1 1 1 1", "4294967295");
	check_bad(DNS_CAA, "256 issue x", "255");
	check_bad(DNS_CAA, "0 iss-ue x", "tag");
	check_bad(DNS_CAA, "0 abcdefghijklmnop x", "tag");
	check_bad(DNS_CAA, "0 issue a b", "more");
	check_bad(DNS_CAA, "0 issue", "missing");
}

static void texts(void **state)
{
	static char text[70000];
	const char *why;

	(void)state;
	IS(DNS_TXT, "hi.pipy!", "\10hi.pipy!");
	IS(DNS_TXT, " v=spf1 include:a.test -all ", "\32v=spf1 include:a.test -all");
	IS(DNS_TXT, "\"one two\" three \"\"", "\7one two\5three\0");
	IS(DNS_TXT, "", "\0");
	IS(DNS_TXT, "\"\"", "\0");
	IS(DNS_TXT, "\"a\\\"b\\\\c\\000\\255\"", "\7a\"b\\c\0\377");
	IS(DNS_TXT, "say \"hi\"", "\10say \"hi\"");
	IS(DNS_TXT, "\303\244", "\2\303\244");
	check_bad(DNS_TXT, "\"a", "quote");
	check_bad(DNS_TXT, "a\\", "escape");
	check_bad(DNS_TXT, "a\\25", "escape");
	check_bad(DNS_TXT, "a\\256", "escape");

	/* 600 bytes: 255, 255 and 90. */
	memset(text, 'x', sizeof text);
	text[600] = 0;
	assert_int_equal(parse(DNS_TXT, text, &why), 603);
	assert_true(data[0] == 255 && data[256] == 255 && data[512] == 90);
	text[600] = 'x';
	text[255] = 0;
	assert_int_equal(parse(DNS_TXT, text, &why), 256);
	text[255] = 'x';
	/* The most that 16 bits of length hold: 255 strings of 255 bytes and one of 254. */
	text[65279] = 0;
	assert_int_equal(parse(DNS_TXT, text, &why), 65535);
	assert_int_equal(dns_rdata_check(DNS_TXT, data, 65535), 0);
	text[65279] = 'x';
	text[65280] = 0;
	assert_int_equal(parse(DNS_TXT, text, &why), -ENOSPC);
}

static void room(void **state)
{
	uint8_t *small = exact("12345678", 8);
	const char *why;

	(void)state;
	assert_int_equal(dns_rdata_parse(DNS_CNAME, "a.test", 6, small, 8, &why), 8);
	for (size_t size = 0; size < 8; size++)
		assert_int_equal(
			dns_rdata_parse(DNS_CNAME, "a.test", 6, small, size, &why), -ENOSPC);
	assert_int_equal(dns_rdata_parse(DNS_TXT, "12345678", 8, small, 8, &why), -ENOSPC);
	assert_int_equal(dns_rdata_parse(DNS_HTTPS, "1 . port=1", 10, small, 8, &why), -ENOSPC);
	/* The room is what is told, wherever the end is reached. */
	assert_int_equal(dns_rdata_parse(DNS_CAA, "0 issue \"\"", 10, small, 6, &why), -ENOSPC);
	assert_int_equal(dns_rdata_parse(DNS_MX, "1 a.test x", 10, small, 1, &why), -ENOSPC);
	assert_int_equal(
		dns_rdata_parse(DNS_SVCB, "1 . ech=AAAAAAAA", 16, small, 8, &why), -ENOSPC);
	free(small);
}

static void unknown(void **state)
{
	(void)state;
	IS(65280, "\\# 4 0A 0000 01", "\12\0\0\1");
	IS(65280, "\\# 0", "");
	IS(DNS_A, "\\# 4 c0000201", "\300\0\2\1");
	IS_ROOT(DNS_CNAME, "\\# 8 01410454455354 00", "\1a\4test");
	check_bad(65280, "0a000001", "bytes");
	check_bad(65280, "\\# 3 0a000001", "length");
	check_bad(65280, "\\# x 0a", "length");
	check_bad(65280, "\\#", "length");
	check_bad(65280, "\\# 1 0", "odd");
	check_bad(65280, "\\# 1 zz", "hexadecimal");
	check_bad(65280, "\\# 65536 00", "65535");
	check_bad(DNS_A, "\\# 3 c00002", "no data of this type");
	check_bad(DNS_CNAME, "\\# 2 c000", "no data of this type");
	check_bad(DNS_CNAME, "\\# 1 01", "no data of this type");
	check_bad(DNS_TXT, "\\# 0", "no data of this type");
	check_bad(0, "\\# 0", "no record");
	check_bad(DNS_OPT, "\\# 0", "no record");
	check_bad(DNS_ANY, "\\# 0", "no record");
	check_bad(252, "\\# 0", "no record");
}

/* RFC 9460 Appendix D. */
static void service_bindings(void **state)
{
	(void)state;
	IS_ROOT(DNS_HTTPS, "0 foo.example.com", "\0\0\3foo\7example\3com");
	IS(DNS_SVCB, "1 .", "\0\1\0");
	IS(DNS_SVCB, "16 foo.example.com port=53", "\0\20\3foo\7example\3com\0\0\3\0\2\0\65");
	IS(DNS_SVCB, "1 foo.example.com key667=hello", "\0\1\3foo\7example\3com\0\2\233\0\5hello");
	IS(DNS_SVCB, "1 foo.example.com key667=\"hello\\210qoo\"",
		"\0\1\3foo\7example\3com\0\2\233\0\11hello\322qoo");
	IS(DNS_SVCB, "1 foo.example.com ipv6hint=\"2001:db8::1,2001:db8::53:1\"",
		"\0\1\3foo\7example\3com\0\0\6\0\40\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1\40\1\15\270"
		"\0\0\0\0\0\0\0\0\0\123\0\1");
	IS(DNS_SVCB, "16 foo.example.org alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1",
		"\0\20\3foo\7example\3org\0\0\0\0\4\0\1\0\4\0\1\0\11\2h2\5h3-19\0\4\0\4\300\0\2\1");
	IS(DNS_SVCB, "16 foo.example.org alpn=\"f\\\\\\\\oo\\\\,bar,h2\"",
		"\0\20\3foo\7example\3org\0\0\1\0\14\10f\\oo,bar\2h2");
	IS(DNS_SVCB, "16 foo.example.org alpn=f\\\\\\092oo\\092,bar,h2",
		"\0\20\3foo\7example\3org\0\0\1\0\14\10f\\oo,bar\2h2");
	IS(DNS_HTTPS, "1 . ech=AEX+DQ== no-default-alpn alpn=h2",
		"\0\1\0\0\1\0\3\2h2\0\2\0\0\0\5\0\4\0\x45\xfe\x0d");
	IS(DNS_SVCB, "1 dns.a.test dohpath=/dns-query{?dns} ohttp",
		"\0\1\3dns\1a\4test\0\0\7\0\20/dns-query{?dns}\0\10\0\0");
}

/* The same, D.3 and on. */
static void service_bindings_refused(void **state)
{
	(void)state;
	check_bad(DNS_SVCB, "1 foo.example.com key123=abc key123=def", "twice");
	check_bad(DNS_SVCB, "1 foo.example.com mandatory", "without a value");
	check_bad(DNS_SVCB, "1 foo.example.com alpn", "without a value");
	check_bad(DNS_SVCB, "1 foo.example.com port=", "without a value");
	check_bad(DNS_SVCB, "1 foo.example.com ipv4hint", "without a value");
	check_bad(DNS_SVCB, "1 foo.example.com ipv6hint=\"\"", "without a value");
	check_bad(DNS_SVCB, "1 foo.example.com alpn=h2 no-default-alpn=abc", "none belongs");
	check_bad(DNS_SVCB, "1 foo.example.com mandatory=key123", "mandatory");
	check_bad(DNS_SVCB, "1 foo.example.com mandatory=mandatory", "mandatory");
	check_bad(DNS_SVCB, "1 foo.example.com mandatory=key123,key123 key123=abc", "twice");
	check_bad(DNS_SVCB, "1 . no-default-alpn", "without alpn");
	check_bad(DNS_SVCB, "0 a.test port=1", "alias");
	check_bad(DNS_SVCB, "1 . port=65536", "port");
	check_bad(DNS_SVCB, "1 . ipv4hint=192.0.2.1,", "empty");
	check_bad(DNS_SVCB, "1 . ipv4hint=::1", "ipv4hint");
	check_bad(DNS_SVCB, "1 . ipv6hint=192.0.2.1", "ipv6hint");
	check_bad(DNS_SVCB, "1 . alpn=h2,,h3", "empty");
	check_bad(DNS_SVCB, "1 . ech=AEX", "base64");
	check_bad(DNS_SVCB, "1 . ech=A===", "base64");
	check_bad(DNS_SVCB, "1 . ech=AA==AAAA", "base64");
	check_bad(DNS_SVCB, "1 . ech=A!==", "base64");
	check_bad(DNS_SVCB, "1 . key65535=a", "not a parameter");
	check_bad(DNS_SVCB, "1 . key01=a", "not a parameter");
	check_bad(DNS_SVCB, "1 . colour=a", "not a parameter");
	check_bad(DNS_SVCB, "1 . key3=a", "go together");
	check_bad(DNS_SVCB, "1 . key1=", "go together");
	check_bad(DNS_SVCB, "1", "missing");
}

static void checks(void **state)
{
	(void)state;
	assert_int_equal(dns_rdata_check(65280, (const uint8_t *)"x", 1), 0);
	assert_int_equal(dns_rdata_check(DNS_A, (const uint8_t *)"xxxxx", 5), -EBADMSG);
	assert_int_equal(dns_rdata_check(DNS_TXT, (const uint8_t *)"\2x", 2), -EBADMSG);
	assert_int_equal(dns_rdata_check(DNS_CAA, (const uint8_t *)"\0\0x", 3), -EBADMSG);
	assert_int_equal(dns_rdata_check(DNS_CAA, (const uint8_t *)"\0\5issu", 6), -EBADMSG);
	assert_int_equal(dns_rdata_check(DNS_MX, (const uint8_t *)"\0\1\300\14", 4), -EBADMSG);
	assert_int_equal(
		dns_rdata_check(DNS_HTTPS, (const uint8_t *)"\0\1\0\0\3\0\1x", 8), -EBADMSG);
}

/* --- answers --- */

static void answer_of_records(void **state)
{
	static const uint8_t owner[] = "\1A\4test", other[] = "\1b\4test", target[] = "\1b\4test";
	struct dns_query q = query_for("a.TEST", DNS_A, DNS_RD, -1);
	struct packet expected;
	struct dns_writer w;
	uint8_t buf[512];
	size_t len;

	(void)state;
	dns_answer_begin(&w, buf, sizeof buf, &q, DNS_NOERROR, DNS_AA);
	dns_answer_record(&w, owner, DNS_CNAME, 0xffffffff, target, sizeof target);
	dns_answer_record(&w, other, DNS_A, 60, (const uint8_t *)"\300\0\2\1", 4);
	dns_answer_record(&w, NULL, 65280, 5, NULL, 0);
	dns_answer_record(&w, (const uint8_t *)"", DNS_NS, 9, target, sizeof target);
	len = dns_answer_end(&w, DNS_EDE_NONE);

	put_header(&expected, 0xbeef, DNS_QR | DNS_AA | DNS_RD | DNS_RA, COUNTS(1, 4, 0, 0));
	put_question(&expected, "a.TEST", DNS_A, 1);
	put_record(&expected, "@12", DNS_CNAME, 0x7fffffff, 8);
	put_name(&expected, "b.test");
	put_a(&expected, "b.test", 60, 0xc0000201);
	put_record(&expected, "@12", 65280, 5, 0);
	put_record(&expected, "", DNS_NS, 9, 8);
	put_name(&expected, "b.test");
	assert_int_equal(len, expected.len);
	assert_memory_equal(buf, expected.b, len);
	assert_int_equal(dns_response_check(buf, len), 0);
}

static void answer_too_large(void **state)
{
	static const uint8_t other[] = "\1b\4test";
	struct dns_query q = query_for("a.test", DNS_TXT, DNS_RD, -1);
	uint8_t *buf = malloc(512);
	struct dns_writer w;
	size_t len;

	(void)state;
	memset(data, 1, sizeof data);
	for (size_t size = 460; size < 480; size++) {
		/* header 12, question 12, owner 8, the record's fixed part 10 */
		bool fits = 12 + 12 + 8 + 10 + size <= 512;

		dns_answer_begin(&w, buf, 512, &q, DNS_NOERROR, 0);
		dns_answer_record(&w, other, DNS_TXT, 1, data, size);
		len = dns_answer_end(&w, DNS_EDE_NONE);
		assert_int_equal(len, fits ? 12 + 12 + 18 + size : 24);
		assert_int_equal(!!(dns_message_flags(buf) & DNS_TC), !fits);
		assert_int_equal(get16(buf + 6), fits);
	}
	free(buf);
}

/* Upstream's answer for the target of a CNAME, behind that CNAME. */
static void copies_a_response(void **state)
{
	struct dns_query q = query_for("a.test", DNS_MX, DNS_RD, -1);
	struct packet r, expected;
	struct dns_writer w;
	uint8_t buf[1232], *msg;
	size_t len;

	(void)state;
	put_header(&r, 99, DNS_QR | DNS_RA, COUNTS(1, 6, 1, 0));
	put_question(&r, "b.Test", DNS_MX, 1); /* b at 12, Test at 14 */
	put_record(&r, "@12", DNS_MX, 3600, 2 + 5 + 2);
	put16(&r, 10);
	put_name(&r, "mail@14");
	put_a(&r, "@14", 5, 0xc0000201);
	put_record(&r, "a@14", DNS_CNAME, 0x80000001, 2); /* MSB: 0; case of our own question */
	put_name(&r, "@12");
	put_record(&r, "@12", DNS_MX, 60, 1); /* not an MX */
	put8(&r, 10);
	put_name(&r, "@12"); /* of another class */
	put16(&r, DNS_TXT);
	put16(&r, 3);
	put32(&r, 60);
	put16(&r, 0);
	put_record(&r, "@12", 46, 60, 18 + 2 + 3); /* RRSIG: bytes behind its name stay */
	put_bytes(&r, "123456789012345678", 18);
	put_name(&r, "@12");
	put_bytes(&r, "sig", 3);
	put_record(&r, "@12", DNS_NS, 60, 2);
	put_name(&r, "@12");
	msg = exact(r.b, r.len);

	dns_answer_begin(&w, buf, sizeof buf, &q, DNS_NOERROR, 0);
	assert_int_equal(dns_answer_copy(&w, msg, r.len, 300), 4);
	len = dns_answer_end(&w, DNS_EDE_NONE);

	put_header(&expected, 0xbeef, DNS_QR | DNS_RD | DNS_RA, COUNTS(1, 4, 0, 0));
	put_question(&expected, "a.test", DNS_MX, 1);
	put_record(&expected, "b.Test", DNS_MX, 300, 2 + 11);
	put16(&expected, 10);
	put_name(&expected, "mail.Test");
	put_a(&expected, "Test", 5, 0xc0000201);
	put_record(&expected, "@12", DNS_CNAME, 0, 8);
	put_name(&expected, "b.Test");
	put_record(&expected, "b.Test", 46, 60, 18 + 8 + 3);
	put_bytes(&expected, "123456789012345678", 18);
	put_name(&expected, "b.Test");
	put_bytes(&expected, "sig", 3);
	assert_int_equal(len, expected.len);
	assert_memory_equal(buf, expected.b, len);

	/* Too large: nothing, with TC. */
	dns_answer_begin(&w, buf, 512, &q, DNS_NOERROR, 0);
	memset(data, 1, 480);
	dns_answer_record(&w, NULL, 65280, 1, data, 440);
	dns_answer_copy(&w, msg, r.len, 300);
	assert_true(w.full);
	assert_int_equal(dns_answer_end(&w, DNS_EDE_NONE), 24);
	free(msg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_and_names),
		cmocka_unit_test(several_fields),
		cmocka_unit_test(texts),
		cmocka_unit_test(room),
		cmocka_unit_test(unknown),
		cmocka_unit_test(service_bindings),
		cmocka_unit_test(service_bindings_refused),
		cmocka_unit_test(checks),
		cmocka_unit_test(answer_of_records),
		cmocka_unit_test(answer_too_large),
		cmocka_unit_test(copies_a_response),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
