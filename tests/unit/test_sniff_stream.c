/* Names in the first bytes of TLS and HTTP, whole and cut at every byte. */
#include "tests/unit/sniff_stage.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/carry/sniff_internal.h"

typedef enum sniff_result sniffer(const uint8_t *, size_t, char[SNIFF_NAME_SIZE]);

static enum sniff_result both(const uint8_t *data, size_t len, char ret_name[SNIFF_NAME_SIZE])
{
	return sniff_stream(true, true, data, len, ret_name);
}

/* From a copy that ends where the heap block ends. The name is set exactly if there is one. */
static enum sniff_result run(
	sniffer *sniff, const void *data, size_t len, char ret_name[SNIFF_NAME_SIZE])
{
	uint8_t *copy = malloc(len + (len == 0));
	enum sniff_result result;

	assert_non_null(copy);
	if (len > 0)
		memcpy(copy, data, len);
	memset(ret_name, '#', SNIFF_NAME_SIZE);
	result = sniff(copy, len, ret_name);
	free(copy);
	if (result == SNIFF_NAME)
		assert_non_null(memchr(ret_name, '\0', SNIFF_NAME_SIZE));
	else
		for (size_t i = 0; i < SNIFF_NAME_SIZE; i++)
			assert_int_equal(ret_name[i], '#');
	return result;
}

static void expect_name(sniffer *sniff, const void *data, size_t len, const char *want)
{
	char name[SNIFF_NAME_SIZE];

	assert_int_equal(run(sniff, data, len, name), SNIFF_NAME);
	assert_string_equal(name, want);
	assert_int_equal(run(both, data, len, name), SNIFF_NAME);
	assert_string_equal(name, want);
}

static void expect(sniffer *sniff, const void *data, size_t len, enum sniff_result want)
{
	char name[SNIFF_NAME_SIZE];

	assert_int_equal(run(sniff, data, len, name), want);
	assert_int_equal(run(both, data, len, name), want);
}

/* SNIFF_MORE for each beginning, up to one from which on the answer stays. Returns its length. */
static size_t expect_settles(
	sniffer *sniff, const void *data, size_t len, enum sniff_result want, const char *want_name)
{
	size_t settled = 0;

	for (size_t n = 0; n <= len; n++) {
		char name[SNIFF_NAME_SIZE];
		enum sniff_result result = run(sniff, data, n, name);

		if (settled == 0 && result != SNIFF_MORE)
			settled = n;
		if (settled > 0)
			assert_int_equal(result, want);
		if (result == SNIFF_NAME)
			assert_string_equal(name, want_name);
	}
	assert_int_not_equal(settled, 0);
	return settled;
}

/* --- names --- */

static void expect_host(const char *text, const char *want)
{
	char name[SNIFF_NAME_SIZE] = "";

	assert_int_equal(sniff_host_name((const uint8_t *)text, strlen(text), name),
		want ? SNIFF_NAME : SNIFF_NONE);
	assert_string_equal(name, want ? want : "");
}

static void host_names(void **state)
{
	static const char *bad[] = {"", ".", "..", "a..b", ".a", "a.b..", "192.0.2.1", "192.0.2.1.",
		"3221225985", "0x7f.1", "0X7F000001", "a.0xff", "a.0x", "1.2.3", "[::1]", "::1",
		"fe80::1%eth0", "a b", "a\tb", "a\n", "a/b", "a:b", "a@b", "*.a.test",
		"caf\xc3\xa9.test", "a,b", "a\\b", "a'b", "a\"b", "$(a)", "a\x7f", "a\x80"};

	(void)state;
	expect_host("a.test", "a.test");
	expect_host("WWW.Example.ORG.", "www.example.org");
	expect_host("_dmarc.x-y.test", "_dmarc.x-y.test");
	expect_host("-x.test", "-x.test");
	expect_host("localhost", "localhost");
	expect_host("xn--55qx5d.cn", "xn--55qx5d.cn");
	expect_host("1.2.3.test", "1.2.3.test");
	expect_host("192.0.2.1a", "192.0.2.1a");
	expect_host("a.0xyz", "a.0xyz");
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		expect_host(bad[i], NULL);
}

static void long_names(void **state)
{
	char name[SNIFF_NAME_SIZE], text[300];

	(void)state;
	for (size_t len = 1; len < sizeof text; len++) {
		for (size_t i = 0; i < len; i++)
			text[i] = i % 64 == 63 && i + 1 < len ? '.' : 'a';
		text[len] = '\0';
		if (len % 64 == 0) /* its last label is one too long */
			expect_host(text, NULL);
		else
			expect_host(text, len <= 253 ? text : NULL);
	}
	memset(text, 'a', sizeof text);
	assert_int_equal(sniff_host_name((uint8_t *)text, 63, name), SNIFF_NAME);
	assert_int_equal(sniff_host_name((uint8_t *)text, 64, name), SNIFF_NONE);
}

/* --- TLS --- */

static struct stage_bytes hello, stream;

/* In records of `size` bytes. */
static void make_stream(const char *name, size_t name_len, size_t before, size_t size)
{
	hello.len = stream.len = 0;
	stage_hello(&hello, name, name_len, before, 40);
	stage_records(&stream, hello.b, hello.len, size);
}

static void tls_at_every_byte(void **state)
{
	(void)state;
	make_stream("Www.A.Test", 10, 100, SIZE_MAX / 2);
	/* The name is known before what follows it has come. */
	assert_int_equal(expect_settles(sniff_tls, stream.b, stream.len, SNIFF_NAME, "www.a.test"),
		stream.len - 40);
	expect_name(sniff_tls, stream.b, stream.len, "www.a.test");
	make_stream(NULL, 0, 100, SIZE_MAX / 2);
	assert_int_equal(
		expect_settles(sniff_tls, stream.b, stream.len, SNIFF_NONE, NULL), stream.len);
}

static void tls_in_many_records(void **state)
{
	(void)state;
	for (size_t size = 1; size < 260; size++) {
		make_stream("b.test", 6, 60, size);
		expect_name(sniff_tls, stream.b, stream.len, "b.test");
	}
	make_stream("b.test", 6, 60, 1);
	expect_settles(sniff_tls, stream.b, stream.len, SNIFF_NAME, "b.test");
	make_stream("b.test", 6, 60, 3);
	expect_settles(sniff_tls, stream.b, stream.len, SNIFF_NAME, "b.test");
}

/* Each byte of a good hello set to each value in turn: nothing beyond the end is read, and what is
 * returned is a host name. */
static void tls_each_byte_wrong(void **state)
{
	(void)state;
	make_stream("c.test", 6, 12, 50);
	for (size_t at = 0; at < stream.len; at++) {
		uint8_t right = stream.b[at];

		for (unsigned value = 0; value < 256; value++) {
			char name[SNIFF_NAME_SIZE];

			stream.b[at] = (uint8_t)value;
			if (run(sniff_tls, stream.b, stream.len, name) == SNIFF_NAME)
				expect_host(name, name);
		}
		stream.b[at] = right;
	}
}

static void tls_lies(void **state)
{
	enum {
		HEAD = 5, /* of the record; offsets below are the message's */
		LENGTH = 1,
		VERSION = 4,
		SESSION = 38,
		SUITES = 71,
		COMPRESSION = 75,
		EXTENSIONS = 77,
		NAME = 79
	};
	static const struct {
		size_t at;
		uint8_t value;
	} lies[] = {
		{0, 2},		     /* ServerHello */
		{LENGTH, 1},	     /* 64 KiB more than it needs */
		{LENGTH + 2, 0},     /* shorter than its parts */
		{VERSION, 2},	     /* SSL 2 */
		{SESSION, 33},	     /* longer than they may be */
		{SUITES, 0xff},	     /* reaches beyond the message */
		{SUITES + 1, 1},     /* half a suite */
		{SUITES + 1, 0},     /* none */
		{COMPRESSION, 0},    /* none */
		{EXTENSIONS, 0xff},  /* beyond the message */
		{EXTENSIONS + 1, 0}, /* before its end */
		{NAME + 2, 0xff},    /* beyond the extensions */
		{NAME + 3, 0},	     /* an empty server_name: that is a server's */
		{NAME + 4, 0xff},    /* its list beyond it */
		{NAME + 5, 0},	     /* its list before its end */
		{NAME + 7, 0xff},    /* the name beyond the list */
		{NAME + 8, 0},	     /* an empty name */
	};

	(void)state;
	make_stream("d.test", 6, 0, SIZE_MAX / 2);
	expect_name(sniff_tls, stream.b, stream.len, "d.test");
	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		uint8_t *at = &stream.b[HEAD + lies[i].at], right = *at;

		assert_int_not_equal(right, lies[i].value);
		*at = lies[i].value;
		expect(sniff_tls, stream.b, stream.len, SNIFF_NONE);
		*at = right;
	}
	stream.b[HEAD + NAME + 6] = 7; /* a type of name that nobody knows */
	expect(sniff_tls, stream.b, stream.len, SNIFF_NONE);
}

static void tls_bad_names(void **state)
{
	char name[260];

	(void)state;
	make_stream("a\0b.test", 8, 0, 100);
	expect(sniff_tls, stream.b, stream.len, SNIFF_NONE);
	make_stream("192.0.2.1", 9, 0, 100);
	expect(sniff_tls, stream.b, stream.len, SNIFF_NONE);
	make_stream("2001:db8::1", 11, 0, 100);
	expect(sniff_tls, stream.b, stream.len, SNIFF_NONE);
	for (size_t i = 0; i < sizeof name; i++)
		name[i] = i % 60 == 59 ? '.' : 'n';
	for (size_t len = 250; len < sizeof name; len++) {
		make_stream(name, len, 0, 200);
		if (len <= 253)
			expect_settles(
				sniff_tls, stream.b, stream.len, SNIFF_NAME, strndupa(name, len));
		else
			expect(sniff_tls, stream.b, stream.len, SNIFF_NONE);
	}
}

static void tls_records(void **state)
{
	(void)state;
	make_stream("e.test", 6, 0, 50);
	stream.b[55] = 23; /* application data amid the message */
	expect(sniff_tls, stream.b, stream.len, SNIFF_NONE);
	stream.b[55] = 22;
	stream.b[58] = stream.b[59] = 0; /* RFC 8446 5.1: no empty ones */
	expect(sniff_tls, stream.b, stream.len, SNIFF_NONE);
	expect(sniff_tls, "\x16\x03\x01\x40\x01", 5, SNIFF_NONE); /* too long */
	expect(sniff_tls, "\x16\x03\x01\x40\x00", 5, SNIFF_MORE);
	expect(sniff_tls, "\x16\x02", 2, SNIFF_NONE);
	expect(sniff_tls, "\x16", 1, SNIFF_MORE);
	expect(sniff_tls, "\x15\x03\x01\x00\x02\x01\x00", 7, SNIFF_NONE); /* an alert */
	expect(sniff_tls, "\x80\x2e\x01\x03\x01", 5, SNIFF_NONE);	  /* SSL 2 */
}

/* However much is announced, no more than SNIFF_STREAM_MAX is asked for. */
static void tls_bounded(void **state)
{
	(void)state;
	make_stream("f.test", 6, 9000, 2000);
	expect(sniff_tls, stream.b, SNIFF_STREAM_MAX - 1, SNIFF_MORE);
	expect(sniff_tls, stream.b, SNIFF_STREAM_MAX, SNIFF_NONE);
	expect(sniff_tls, stream.b, stream.len, SNIFF_NONE);
	make_stream("f.test", 6, 7900, 2000); /* as much as a pre-shared key ever takes */
	expect_name(sniff_tls, stream.b, stream.len, "f.test");
}

/* --- HTTP --- */

static void expect_request(const char *text, const char *want)
{
	if (want)
		expect_name(sniff_http, text, strlen(text), want);
	else
		expect(sniff_http, text, strlen(text), SNIFF_NONE);
	expect_settles(sniff_http, text, strlen(text), want ? SNIFF_NAME : SNIFF_NONE, want);
}

static void http_names(void **state)
{
	static const char get[] = "GET / HTTP/1.1\r\nAccept: */*\r\nHost: a.test:8080\r\n\r\n";

	(void)state;
	assert_int_equal(expect_settles(sniff_http, get, strlen(get), SNIFF_NAME, "a.test"),
		strlen(get) - 2);
	expect_request("GET / HTTP/1.1\r\nhost:A.Test.\r\n", "a.test");
	expect_request("GET / HTTP/1.1\nHOST: \t b.test \t\n\n", "b.test");
	expect_request("\r\nPOST /x?y=http://no.test/ HTTP/1.0\r\nHost: c.test\r\n\r\n", "c.test");
	expect_request("OPTIONS * HTTP/1.1\r\nHost: d.test\r\n\r\n", "d.test");
	expect_request("M-SEARCH * HTTP/1.1\r\nHOST: e.test:\r\n\r\n", "e.test");
	expect_request(
		"GET / HTTP/1.1\r\nX: 1\r\n Host: no.test\r\nHost: f.test\r\n\r\n", "f.test");
	expect_request("GET / HTTP/1.1\r\nX-Host: no.test\r\nHost: g.test\r\n\r\n", "g.test");
	expect_request("GET / HTTP/1.1\r\nHost: h.test\r\nHost: no.test\r\n\r\n", "h.test");
}

static void http_absolute(void **state)
{
	(void)state;
	expect_request("GET http://a.test/ HTTP/1.1\r\n", "a.test");
	expect_request("GET HTTPS://B.test:81?x HTTP/1.1\r\nHost: no.test\r\n\r\n", "b.test");
	expect_request("GET http://u:p@c.test#x HTTP/1.1\r\n", "c.test");
	expect_request("GET http://no.test@d.test@e.test/@f.test HTTP/1.1\r\n", "e.test");
	expect_request("GET http://[2001:db8::1]/ HTTP/1.1\r\nHost: no.test\r\n\r\n", NULL);
	expect_request("GET http:///x HTTP/1.1\r\nHost: no.test\r\n\r\n", NULL);
	expect_request("GET ://a.test HTTP/1.1\r\n", NULL);
	expect_request("GET a.test HTTP/1.1\r\nHost: a.test\r\n", NULL);
	expect_request("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", NULL);
}

static void http_without_name(void **state)
{
	static const char *none[] = {"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.0\r\nAccept: */*\r\n\r\nHost: a.test\r\n",
		"GET / HTTP/1.1\r\nHost:\r\n", "GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n",
		"GET / HTTP/1.1\r\nHost: [::1]\r\n", "GET / HTTP/1.1\r\nHost: a.test:b\r\n",
		"GET / HTTP/1.1\r\nHost: a.test:123456\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n",
		"GET / HTTP/1.1\r\nHost: a.test, b.test\r\n", "GET / HTTP/1.1\r\nnonsense\r\n",
		"GET / HTTP/1.1\r\nX: \x01\r\nHost: a.test\r\n", "GET / HTTP/1.1 \r\n",
		"GET / HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /\r\n",
		"GET  / HTTP/1.1\r\n", "GET / HTTP/1.x\r\n", "OPTIONS rtsp://a.test/ RTSP/1.0\r\n",
		"\r\n\r\nGET / HTTP/1.1\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "EHLO a.test\r\n",
		"\r\rGET", " GET / HTTP/1.1\r\n", "get / HTTP/1.1\r\nHost: a.test\r\n",
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
		"\x13"
		"BitTorrent protocol",
		"{\"id\":1}\n", "GET / HTTP/1.1\rHost: a.test\r\n"};

	(void)state;
	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		expect_request(none[i], NULL);
	expect(sniff_http, "GET / HTTP/1.1\r\nX: \0", 20, SNIFF_NONE);
	expect(sniff_http, "\0", 1, SNIFF_NONE);
	expect_request("GET / HTTP/1.1\r\nX: 1\r\n \x01\r\nHost: a.test\r\n", NULL);
	/* No host name has a NUL, whatever comes behind it. */
	expect(sniff_http, "GET / HTTP/1.1\r\nHost: a.test\0.b\r\n", 32, SNIFF_NONE);
}

static void http_bounded(void **state)
{
	static char text[SNIFF_STREAM_MAX + 100];

	(void)state;
	memset(text, 'x', sizeof text);
	memcpy(text, "GET /", 5);
	expect(sniff_http, text, SNIFF_STREAM_MAX - 1, SNIFF_MORE);
	expect(sniff_http, text, SNIFF_STREAM_MAX, SNIFF_NONE);
	memcpy(text, "GET / HTTP/1.1\r\nX: ", 19);
	expect(sniff_http, text, SNIFF_STREAM_MAX - 1, SNIFF_MORE);
	memcpy(text + SNIFF_STREAM_MAX - 10, "\r\nHost: a.test\r\n", 16);
	expect(sniff_http, text, sizeof text, SNIFF_NONE);
	memcpy(text + SNIFF_STREAM_MAX - 16, "\r\nHost: b.test\r\n", 16);
	expect_name(sniff_http, text, sizeof text, "b.test");
}

/* --- which of them --- */

static void only_what_is_wanted(void **state)
{
	static const char get[] = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
	const uint8_t *http = (const uint8_t *)get;
	char name[SNIFF_NAME_SIZE];

	(void)state;
	make_stream("b.test", 6, 0, 100);
	assert_int_equal(sniff_stream(true, false, http, strlen(get), name), SNIFF_NONE);
	assert_int_equal(sniff_stream(false, true, stream.b, stream.len, name), SNIFF_NONE);
	assert_int_equal(sniff_stream(false, false, NULL, 0, name), SNIFF_NONE);
	assert_int_equal(sniff_stream(true, false, NULL, 0, name), SNIFF_MORE);
	assert_int_equal(sniff_stream(false, true, http, strlen(get), name), SNIFF_NAME);
	assert_string_equal(name, "a.test");
	assert_int_equal(sniff_stream(true, false, stream.b, stream.len, name), SNIFF_NAME);
	assert_string_equal(name, "b.test");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(host_names),
		cmocka_unit_test(long_names), cmocka_unit_test(tls_at_every_byte),
		cmocka_unit_test(tls_in_many_records), cmocka_unit_test(tls_each_byte_wrong),
		cmocka_unit_test(tls_lies), cmocka_unit_test(tls_bad_names),
		cmocka_unit_test(tls_records), cmocka_unit_test(tls_bounded),
		cmocka_unit_test(http_names), cmocka_unit_test(http_absolute),
		cmocka_unit_test(http_without_name), cmocka_unit_test(http_bounded),
		cmocka_unit_test(only_what_is_wanted)};

	return cmocka_run_group_tests_name("sniff_stream", tests, NULL, NULL);
}
