/* Dials on real sockets against servers that play scripts. */
#include "egress_stage.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>

#define SAY(text)    .say = (text), .say_len = sizeof(text) - 1
#define EXPECT(text) .expect = (text), .expect_len = sizeof(text) - 1

#define GREETING "\x05\x01\x00"
#define NAME_443                                                                                   \
	"\x05\x01\x00\x03\x06"                                                                     \
	"a.test"                                                                                   \
	"\x01\xbb"
#define YES_V4 "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"

static const struct play plain_socks5[] = {
	{EXPECT(GREETING), SAY("\x05\x00")},
	{EXPECT(NAME_443), SAY(YES_V4)},
	{0},
};

static void close_of(struct call *c)
{
	assert_true(c->fd >= 0);
	close(c->fd);
	c->fd = -1;
}

static void expect_bytes(int fd, const char *text)
{
	char buf[64] = "";
	size_t len = strlen(text), got = 0;

	while (got < len) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		assert_int_equal(poll(&p, 1, 1000), 1);
		n = recv(fd, buf + got, sizeof buf - got, MSG_DONTWAIT);
		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_string_equal(buf, text);
}

static void direct_connects(void **state)
{
	static const struct play hello[] = {{SAY("hello")}, {0}};
	struct stage *st = *state;
	struct call c;
	int on = 0;
	socklen_t len = sizeof on;

	server_open(&st->servers[0], "127.0.0.1", hello);
	stage_egress(st, "direct", CONF_EGRESS_DIRECT, NULL);
	stage_set(st);
	call_start_at(st, &c, 0, &st->servers[0].at);
	assert_int_equal(CALL_END(st, &c), 0);
	assert_int_equal(c.egress, 0);
	assert_true(fcntl(c.fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(c.fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(getsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
	assert_true(on);
	stage_turn(st, 1);
	expect_bytes(c.fd, "hello");
	close_of(&c);
	server_close(&st->servers[0]);
	call_start_at(st, &c, 0, &st->servers[0].at);
	assert_int_equal(CALL_END(st, &c), -ECONNREFUSED);
}

static void socks5_connects_by_name(void **state)
{
	struct stage *st = *state;
	struct call c;

	server_open(&st->servers[0], "127.0.0.1", plain_socks5);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	stage_set(st);
	call_start(st, &c, 0, "a.test", 443);
	assert_int_equal(CALL_END(st, &c), 0);
	assert_int_equal(st->servers[0].unexpected, 0);
	close_of(&c);
}

static void http_connects_by_name(void **state)
{
	static const struct play play[] = {
		{EXPECT("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"),
			SAY("HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello")},
		{0},
	};
	struct stage *st = *state;
	struct call c;

	server_open(&st->servers[0], "::1", play);
	stage_egress(st, "proxy", CONF_EGRESS_HTTP, &st->servers[0]);
	stage_set(st);
	call_start(st, &c, 0, "a.test", 443);
	assert_int_equal(CALL_END(st, &c), 0);
	assert_int_equal(st->servers[0].unexpected, 0);
	expect_bytes(c.fd, "hello");
	close_of(&c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(direct_connects),
		TEST(socks5_connects_by_name),
		TEST(http_connects_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
