/* HTTP CONNECT as bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/egress/http_connect.h"

static void requests(void **state)
{
	char buf[HTTP_REQUEST_MAX], credentials[HTTP_CREDENTIALS_MAX], longest[256];
	struct ip_port at = {.port = 443};
	size_t len = http_request_write("a.test", &at, NULL, buf);

	(void)state;
	assert_int_equal(len, strlen(buf));
	assert_string_equal(buf, "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n");
	assert_int_equal(ip_port_parse("[2001:db8::1]:80", 0, &at), 0);
	http_credentials_write("Aladdin", "open sesame", credentials); /* RFC 7617 2 */
	assert_string_equal(credentials, "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
	http_request_write("", &at, credentials, buf);
	assert_string_equal(buf, "CONNECT [2001:db8::1]:80 HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n"
				 "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n");
	memset(longest, 'x', 255);
	longest[255] = 0;
	http_credentials_write(longest, longest, credentials);
	assert_int_equal(strlen(credentials), (511 + 2) / 3 * 4);
	len = http_request_write(longest, &at, credentials, buf);
	assert_int_equal(len, strlen(buf));
	assert_string_equal(buf + strlen(buf) - 4, "\r\n\r\n");
}

/* What a DNS label may hold and a request line may not. */
static void names_that_cannot_be_asked_for(void **state)
{
	static const char *const cases[] = {
		"a.test\r\nX: y", "a b", "a/b", "a@b", "a:1", "\xc3\xbc", "a\x7f", "[::1]"};
	struct ip_port at = {.port = 443};
	char buf[HTTP_REQUEST_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(http_request_write(cases[i], &at, NULL, buf), 0);
	assert_true(http_request_write("_a-b.c~d", &at, NULL, buf) > 0);
}

static void base64(void **state)
{
	char out[HTTP_CREDENTIALS_MAX];

	(void)state;
	http_credentials_write("", "", out);
	assert_string_equal(out, "Og==");
	http_credentials_write("a", "", out);
	assert_string_equal(out, "YTo=");
	http_credentials_write("a", "b", out);
	assert_string_equal(out, "YTpi");
	http_credentials_write("\xc3\xbc", "\xff", out);
	assert_string_equal(out, "w7w6/w==");
}

/* Feeds text in pieces; what it takes of it and its end. */
static int feed(const char *text, size_t len, size_t piece, size_t *ret_taken, unsigned *ret_status)
{
	struct http_head h = {0};
	size_t at = 0, taken;
	int r = 0;

	while (!r && at < len) {
		size_t n = len - at < piece ? len - at : piece;
		uint8_t *exact = malloc(n);

		memcpy(exact, text + at, n);
		taken = SIZE_MAX;
		r = http_head_feed(&h, exact, n, &taken);
		free(exact);
		assert_true(taken <= n);
		if (r == 0)
			assert_int_equal(taken, n);
		at += taken;
	}
	*ret_taken = at;
	*ret_status = h.status;
	return r;
}

static void heads(void **state)
{
	static const struct {
		const char *head;
		unsigned status;
	} cases[] = {
		{"HTTP/1.1 200 Connection established\r\n\r\n", 200},
		{"HTTP/1.0 200 OK\r\nA: b\r\nC: d\r\n\r\n", 200},
		{"HTTP/1.1 204\r\n\r\n", 204},
		{"HTTP/1.1 200 \n\n", 200},
		{"HTTP/1.1 200\n\r\n", 200},
		{"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
			407},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
		 "HTTP/1.1 503 Busy\r\n\r\n",
			503},
	};
	static const char rest[] = "HTTP/1.1 200 not the head's\r\n\r\n";

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[512];
		size_t len = strlen(cases[i].head);

		memcpy(text, cases[i].head, len);
		memcpy(text + len, rest, sizeof rest);
		for (size_t piece = 1; piece <= len + sizeof rest; piece++) {
			size_t taken;
			unsigned status;

			assert_int_equal(feed(text, len + sizeof rest, piece, &taken, &status), 1);
			assert_int_equal(taken, len);
			assert_int_equal(status, cases[i].status);
		}
	}
}

static void nonsense(void **state)
{
	static const char *const cases[] = {
		"\r\n",
		"HTTP/2 200 OK\r\n\r\n",
		"HTTP/1.1  200 OK\r\n\r\n",
		"HTTP/1.1 2000 OK\r\n\r\n",
		"HTTP/1.1 2x0 OK\r\n\r\n",
		"HTTP/1.1 099 Low\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\rX",
		"http/1.1 200 OK\r\n\r\n",
		"SSH-2.0-OpenSSH_9.2\r\n",
		"\x05\x00",
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (size_t piece = 1; piece <= strlen(cases[i]); piece++) {
			size_t taken;
			unsigned status;

			assert_int_equal(
				feed(cases[i], strlen(cases[i]), piece, &taken, &status), -EPROTO);
		}
	}
}

static void too_long_heads(void **state)
{
	char *text = malloc(HTTP_HEAD_MAX + 10);
	static const char begin[] = "HTTP/1.1 200 OK\r\nA: ";
	size_t taken;
	unsigned status;

	(void)state;
	memset(text, 'a', HTTP_HEAD_MAX + 10);
	memcpy(text, begin, sizeof begin - 1);
	memcpy(text + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
	assert_int_equal(feed(text, HTTP_HEAD_MAX + 10, 1000, &taken, &status), 1);
	assert_int_equal(taken, HTTP_HEAD_MAX);
	memset(text + HTTP_HEAD_MAX - 4, 'a', 4);
	memcpy(text + HTTP_HEAD_MAX - 3, "\r\n\r\n", 4);
	assert_int_equal(feed(text, HTTP_HEAD_MAX + 10, 1000, &taken, &status), -EPROTO);
	free(text);
}

/* Interim replies count: they cannot go on for ever. */
static void endless_interim_replies(void **state)
{
	static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct http_head h = {0};
	size_t taken, n = 0;
	int r = 0;

	(void)state;
	for (; !r && n < 1000; n++)
		r = http_head_feed(&h, (const uint8_t *)interim, sizeof interim - 1, &taken);
	assert_int_equal(r, -EPROTO);
	assert_true(n <= HTTP_HEAD_MAX / (sizeof interim - 1) + 1);
}

static void statuses(void **state)
{
	(void)state;
	assert_int_equal(http_status_error(200), 0);
	assert_int_equal(http_status_error(299), 0);
	assert_int_equal(http_status_error(302), -EPROTO);
	assert_int_equal(http_status_error(400), -EACCES);
	assert_int_equal(http_status_error(403), -EACCES);
	assert_int_equal(http_status_error(407), -EACCES);
	assert_int_equal(http_status_error(404), -EHOSTUNREACH);
	assert_int_equal(http_status_error(405), -EOPNOTSUPP);
	assert_int_equal(http_status_error(502), -EHOSTUNREACH);
	assert_int_equal(http_status_error(503), -EHOSTUNREACH);
	assert_int_equal(http_status_error(504), -ETIMEDOUT);
	assert_int_equal(http_status_error(999), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),
		cmocka_unit_test(names_that_cannot_be_asked_for),
		cmocka_unit_test(base64),
		cmocka_unit_test(heads),
		cmocka_unit_test(nonsense),
		cmocka_unit_test(too_long_heads),
		cmocka_unit_test(endless_interim_replies),
		cmocka_unit_test(statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
