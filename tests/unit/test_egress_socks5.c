/* SOCKS5 as bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/egress/socks5.h"
#include "tests/unit/addresses.h"

#define BYTES(text) ((const uint8_t *)(text))

static void greetings(void **state)
{
	uint8_t buf[SOCKS5_GREETING_MAX];

	(void)state;
	assert_int_equal(socks5_greeting_write(false, buf), 3);
	assert_memory_equal(buf, "\x05\x01\x00", 3);
	assert_int_equal(socks5_greeting_write(true, buf), 4);
	assert_memory_equal(buf, "\x05\x02\x00\x02", 4);
}

static void methods(void **state)
{
	(void)state;
	assert_int_equal(socks5_method_parse(BYTES("\x05\x00"), false), 0);
	assert_int_equal(socks5_method_parse(BYTES("\x05\x00"), true), 0);
	assert_int_equal(socks5_method_parse(BYTES("\x05\x02"), true), 2);
	assert_int_equal(socks5_method_parse(BYTES("\x05\x02"), false), -EPROTO); /* not offered */
	assert_int_equal(socks5_method_parse(BYTES("\x05\x01"), true), -EPROTO);
	assert_int_equal(socks5_method_parse(BYTES("\x05\xff"), true), -EACCES);
	assert_int_equal(socks5_method_parse(BYTES("\x04\x00"), false), -EPROTO);
	assert_int_equal(socks5_auth_parse(BYTES("\x01\x00")), 0);
	assert_int_equal(socks5_auth_parse(BYTES("\x05\x00")), 0);
	assert_int_equal(socks5_auth_parse(BYTES("\x01\x01")), -EACCES);
	assert_int_equal(socks5_auth_parse(BYTES("\x48\x00")), -EPROTO);
}

static void users(void **state)
{
	uint8_t buf[SOCKS5_AUTH_MAX];
	char longest[256];

	(void)state;
	assert_int_equal(socks5_auth_write("bo", "pw1", buf), 8);
	assert_memory_equal(buf,
		"\x01\x02"
		"bo"
		"\x03"
		"pw1",
		8);
	assert_int_equal(socks5_auth_write("bo", "", buf), 5);
	memset(longest, 'x', 255);
	longest[255] = 0;
	assert_int_equal(socks5_auth_write(longest, longest, buf), SOCKS5_AUTH_MAX);
	assert_int_equal(buf[1], 255);
	assert_int_equal(buf[2 + 255], 255);
}

static void requests(void **state)
{
	struct ip_port v4 = at_of("192.0.2.7:80"), v6 = at_of("[2001:db8::7]:8080"),
		       port = {.port = 443}, none = {0};
	uint8_t buf[SOCKS5_REQUEST_MAX];
	char longest[256];

	(void)state;
	assert_int_equal(socks5_request_write(SOCKS5_CONNECT, "a.test", &port, buf), 13);
	assert_memory_equal(buf,
		"\x05\x01\x00\x03\x06"
		"a.test"
		"\x01\xbb",
		13);
	/* A name wins over an address. */
	assert_int_equal(socks5_request_write(SOCKS5_CONNECT, "a.test", &v4, buf), 13);
	assert_int_equal(buf[3], 3);
	assert_int_equal(socks5_request_write(SOCKS5_CONNECT, "", &v4, buf), 10);
	assert_memory_equal(buf, "\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x50", 10);
	assert_int_equal(socks5_request_write(SOCKS5_CONNECT, "", &v6, buf), 22);
	assert_memory_equal(
		buf, "\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\x1f\x90", 22);
	assert_int_equal(socks5_request_write(SOCKS5_UDP_ASSOCIATE, "", &none, buf), 10);
	assert_memory_equal(buf, "\x05\x03\x00\x01\0\0\0\0\0\0", 10);
	memset(longest, 'x', 255);
	longest[255] = 0;
	assert_int_equal(
		socks5_request_write(SOCKS5_CONNECT, longest, &port, buf), SOCKS5_REQUEST_MAX);
	assert_memory_equal(buf + SOCKS5_REQUEST_MAX - 2, "\x01\xbb", 2);
}

static void replies_tell_why(void **state)
{
	static const int errors[] = {0, -EHOSTUNREACH, -EACCES, -ENETUNREACH, -EHOSTUNREACH,
		-ECONNREFUSED, -ETIMEDOUT, -EOPNOTSUPP, -EOPNOTSUPP};
	struct socks5_address bound;

	(void)state;
	for (unsigned code = 0; code < 256; code++) {
		uint8_t reply[2] = {5, (uint8_t)code};
		int wanted = code < 9 ? errors[code] : -EHOSTUNREACH;

		assert_int_equal(socks5_reply_error((uint8_t)code), wanted);
		/* Known with the second byte; nobody waits for the rest. */
		assert_int_equal(socks5_reply_parse(reply, 2, &bound), code ? wanted : 5);
	}
	for (unsigned version = 0; version < 256; version++) {
		uint8_t first = (uint8_t)version;

		assert_int_equal(socks5_reply_parse(&first, 1, &bound), version == 5 ? 6 : -EPROTO);
	}
	assert_int_equal(socks5_reply_parse(BYTES("\x05\x00\x00\x02"), 4, &bound), -EPROTO);
}

/* Feeds as many bytes as were asked for, one at a time or all; returns the error or 0, and how many
 * were taken. */
static int feed(
	const uint8_t *reply, size_t len, bool one, size_t *ret_taken, struct socks5_address *ret)
{
	uint8_t *exact;
	size_t n = 0;
	int r;

	for (;;) {
		exact = malloc(n + 1);
		memcpy(exact, reply, n);
		r = socks5_reply_parse(exact, n, ret);
		free(exact);
		if (r <= 0)
			break;
		assert_true(n + (size_t)r <= len); /* asked for more than there is */
		n += one ? 1 : (size_t)r;
	}
	*ret_taken = n;
	return r;
}

static void replies_are_read_to_their_end(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *at, *host;
	} cases[] = {
		{"\x05\0\0\x01\x7f\0\0\x01\x04\x38", 10, "127.0.0.1:1080", ""},
		{"\x05\0\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\x1f\x90", 22,
			"[2001:db8::7]:8080", ""},
		{"\x05\0\0\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01\x04\x38", 22,
			"127.0.0.1:1080", ""},
		{"\x05\0\0\x03\x05"
		 "r.lan"
		 "\x04\x38",
			12, NULL, "r.lan"},
		{"\x05\0\0\x03\0\x04\x38", 7, NULL, ""},
		{"\x05\0\0\x03\x01"
		 "x"
		 "\x04\x38",
			8, NULL, "x"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (int one = 0; one < 2; one++) {
			struct socks5_address bound;
			uint8_t bytes[64];
			size_t taken;

			memcpy(bytes, cases[i].bytes, cases[i].len);
			memset(bytes + cases[i].len, 0xee, 16); /* the far end's */
			assert_int_equal(feed(bytes, cases[i].len, one, &taken, &bound), 0);
			assert_int_equal(taken, cases[i].len);
			assert_string_equal(bound.host, cases[i].host);
			if (cases[i].at) {
				struct ip_port at = at_of(cases[i].at);

				assert_true(ip_addr_equal(&at.addr, &bound.at.addr));
				assert_int_equal(bound.at.port, at.port);
			} else {
				assert_int_equal(bound.at.addr.family, IP_NONE);
				assert_int_equal(bound.at.port, 1080);
			}
		}
	}
}

static void longest_name_in_a_reply(void **state)
{
	uint8_t reply[SOCKS5_REPLY_MAX] = {5, 0, 0, 3, 255};
	struct socks5_address bound;
	size_t taken;

	(void)state;
	memset(reply + 5, 'n', 255);
	assert_int_equal(feed(reply, sizeof reply, false, &taken, &bound), 0);
	assert_int_equal(taken, SOCKS5_REPLY_MAX);
	assert_int_equal(strlen(bound.host), 255);
}

static void headers(void **state)
{
	struct ip_port v4 = at_of("192.0.2.7:53"), v6 = at_of("[2001:db8::7]:53"),
		       port = {.port = 443};
	uint8_t buf[SOCKS5_HEADER_MAX];
	struct socks5_address from;
	size_t n;

	(void)state;
	n = socks5_header_write("", &v4, buf);
	assert_int_equal(n, 10);
	assert_memory_equal(buf, "\0\0\0\x01\xc0\x00\x02\x07\x00\x35", 10);
	assert_int_equal(socks5_header_parse(buf, n, &from), 10);
	assert_true(ip_addr_equal(&from.at.addr, &v4.addr));
	n = socks5_header_write("", &v6, buf);
	assert_int_equal(socks5_header_parse(buf, n, &from), 22);
	assert_true(ip_addr_equal(&from.at.addr, &v6.addr));
	n = socks5_header_write("q.test", &port, buf);
	assert_int_equal(socks5_header_parse(buf, n, &from), 13);
	assert_string_equal(from.host, "q.test");
	assert_int_equal(from.at.port, 443);
	for (size_t cut = 0; cut < n; cut++)
		assert_int_equal(socks5_header_parse(buf, cut, &from), -EPROTO);
	buf[2] = 1;
	assert_int_equal(socks5_header_parse(buf, n, &from), -EOPNOTSUPP);
	buf[2] = 0;
	buf[3] = 9;
	assert_int_equal(socks5_header_parse(buf, n, &from), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greetings),
		cmocka_unit_test(methods),
		cmocka_unit_test(users),
		cmocka_unit_test(requests),
		cmocka_unit_test(replies_tell_why),
		cmocka_unit_test(replies_are_read_to_their_end),
		cmocka_unit_test(longest_name_in_a_reply),
		cmocka_unit_test(headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
