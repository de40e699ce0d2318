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

#define GREETING_2 "\x05\x02\x00\x02"
#define USER                                                                                       \
	"\x01\x02"                                                                                 \
	"bo"                                                                                       \
	"\x03"                                                                                     \
	"pw1"
#define CONNECT "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"

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

		assert_int_equal(poll(&p, 1, HAND_CLOCK_LIMIT_MS), 1);
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

/* A proxy at servers[0] that plays `play`; what a dial to a.test:443 comes to. */
static int outcome(
	struct stage *st, enum conf_egress_type type, const struct play *play, struct call *c)
{
	struct conf_egress *e;
	int error;

	server_close(&st->servers[0]);
	server_open(&st->servers[0], "127.0.0.1", play);
	st->config.n_egresses = 0;
	e = stage_egress(st, "proxy", type, &st->servers[0]);
	e->connect_timeout_ms = 150;
	stage_set(st);
	call_start(st, c, 0, "a.test", 443);
	error = CALL_END(st, c);
	assert_int_equal(st->servers[0].unexpected, 0);
	assert_int_equal(st->servers[0].accepted, 1);
	return error;
}

static struct egress_info info_of(struct stage *st, unsigned egress)
{
	struct egress_info v[8];

	assert_true(egress_list(st->set, v, 8) > egress);
	return v[egress];
}

/* --- what the far end says right behind the reply is not lost, however it is cut --- */

static void far_end_speaks_first(
	struct stage *st, enum conf_egress_type type, const struct play *play)
{
	struct play v[3];
	struct call c;

	memcpy(v, play, sizeof v);
	for (int by_bytes = 0; by_bytes < 2; by_bytes++) {
		v[0].by_bytes = v[1].by_bytes = by_bytes;
		assert_int_equal(outcome(st, type, v, &c), 0);
		for (int i = 0; i < 8; i++)
			stage_turn(st, 1);
		expect_bytes(c.fd, "hello");
		close_of(&c);
	}
}

static void socks5_far_end_speaks_first(void **state)
{
	static const struct play replies[][3] = {
		{{EXPECT(GREETING), SAY("\x05\x00")}, {EXPECT(NAME_443), SAY(YES_V4 "hello")}},
		{{EXPECT(GREETING), SAY("\x05\x00")}, {EXPECT(NAME_443), SAY("\x05\0\0\x04"
									     "0123456789abcdef"
									     "\x04\x38"
									     "hello")}},
		{{EXPECT(GREETING), SAY("\x05\x00")}, {EXPECT(NAME_443), SAY("\x05\0\0\x03\x05"
									     "r.lan"
									     "\x04\x38"
									     "hello")}},
		{{EXPECT(GREETING), SAY("\x05\x00")},
			{EXPECT(NAME_443), SAY("\x05\0\0\x03\0\x04\x38"
					       "hello")}},
	};

	for (size_t i = 0; i < sizeof replies / sizeof *replies; i++)
		far_end_speaks_first(*state, CONF_EGRESS_SOCKS5, replies[i]);
}

static void http_far_end_speaks_first(void **state)
{
	static const struct play replies[][3] = {
		{{EXPECT(CONNECT), SAY("HTTP/1.1 200 OK\r\n\r\nhello")}},
		{{EXPECT(CONNECT), SAY("HTTP/1.1 200\n\nhello")}},
		{{EXPECT(CONNECT),
			SAY("HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.0 200 OK\r\nVia: x\r\n\r\n"
			    "hello")}},
	};

	for (size_t i = 0; i < sizeof replies / sizeof *replies; i++)
		far_end_speaks_first(*state, CONF_EGRESS_HTTP, replies[i]);
}

static void by_address(void **state)
{
	static const struct play v4[] = {
		{EXPECT(GREETING), SAY("\x05\x00")},
		{EXPECT("\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x50"), SAY(YES_V4)},
		{0},
	};
	static const struct play v6[] = {
		{EXPECT(GREETING), SAY("\x05\x00")},
		{EXPECT("\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\x1f\x90"),
			SAY(YES_V4)},
		{0},
	};
	static const struct play http[] = {
		{EXPECT("CONNECT [2001:db8::7]:8080 HTTP/1.1\r\nHost: [2001:db8::7]:8080\r\n\r\n"),
			SAY("HTTP/1.1 200 OK\r\n\r\n")},
		{0},
	};
	static const struct {
		enum conf_egress_type type;
		const struct play *play;
		const char *at;
	} cases[] = {
		{CONF_EGRESS_SOCKS5, v4, "192.0.2.7:80"},
		{CONF_EGRESS_SOCKS5, v6, "[2001:db8::7]:8080"},
		{CONF_EGRESS_HTTP, http, "[2001:db8::7]:8080"},
	};
	struct stage *st = *state;

	for (size_t i = 0; i < 3; i++) {
		struct ip_port at;
		struct call c;

		server_open(&st->servers[i], "::1", cases[i].play);
		stage_egress(st, "proxy", cases[i].type, &st->servers[i]);
		stage_set(st);
		assert_int_equal(ip_port_parse(cases[i].at, 0, &at), 0);
		call_start_at(st, &c, (unsigned)i, &at);
		assert_int_equal(CALL_END(st, &c), 0);
		assert_int_equal(st->servers[i].unexpected, 0);
		close_of(&c);
	}
}

/* --- users --- */

static void users(void **state)
{
	static const struct play socks5[][4] = {
		{{EXPECT(GREETING_2), SAY("\x05\x02")}, {EXPECT(USER), SAY("\x01\x00")},
			{EXPECT(NAME_443), SAY(YES_V4)}},
		{{EXPECT(GREETING_2), SAY("\x05\x00")}, {EXPECT(NAME_443), SAY(YES_V4)}},
		{{EXPECT(GREETING_2), SAY("\x05\x02")}, {EXPECT(USER), SAY("\x01\x01")}},
		{{EXPECT(GREETING_2), SAY("\x05\xff")}},
	};
	static const struct play http[][2] = {
		{{EXPECT("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n"
			 "Proxy-Authorization: Basic Ym86cHcx\r\n\r\n"),
			SAY("HTTP/1.1 200 OK\r\n\r\n")}},
		{{EXPECT("CONNECT "), SAY("HTTP/1.1 407 Who?\r\n\r\n")}},
		{{EXPECT("CONNECT "), SAY("HTTP/1.0 401 Unauthorized\r\n\r\n")}},
	};
	static const struct {
		enum conf_egress_type type;
		const struct play *play;
		int error;
	} cases[] = {
		{CONF_EGRESS_SOCKS5, socks5[0], 0},
		{CONF_EGRESS_SOCKS5, socks5[1], 0},
		{CONF_EGRESS_SOCKS5, socks5[2], -EACCES},
		{CONF_EGRESS_SOCKS5, socks5[3], -EACCES},
		{CONF_EGRESS_HTTP, http[0], 0},
		{CONF_EGRESS_HTTP, http[1], -EACCES},
		{CONF_EGRESS_HTTP, http[2], -EACCES},
	};
	struct stage *st = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct conf_egress *e;
		struct call c;

		server_close(&st->servers[0]);
		server_open(&st->servers[0], "127.0.0.1", cases[i].play);
		st->config.n_egresses = 0;
		e = stage_egress(st, "proxy", cases[i].type, &st->servers[0]);
		e->user = (char *)"bo";
		e->password = (char *)"pw1";
		stage_set(st);
		assert_null(egress_conf(st->set, 0)->user); /* no secrets */
		assert_null(egress_conf(st->set, 0)->password);
		call_start(st, &c, 0, "a.test", 443);
		assert_int_equal(CALL_END(st, &c), cases[i].error);
		assert_int_equal(st->servers[0].unexpected, 0);
		assert_int_equal(info_of(st, 0).up, !cases[i].error);
		assert_int_equal(info_of(st, 0).failures, cases[i].error ? 1 : 0);
		if (!cases[i].error)
			close_of(&c);
	}
}

/* --- what goes wrong --- */

static void every_reply_code(void **state)
{
	struct stage *st = *state;

	for (unsigned code = 1; code < 10; code++) {
		uint8_t reply[10] = {5, (uint8_t)code, 0, 1};
		struct play play[] = {
			{EXPECT(GREETING), SAY("\x05\x00")},
			{EXPECT(NAME_443), .say = reply, .say_len = 10, .by_bytes = code & 1,
				.then = THEN_CLOSE},
			{0},
		};
		struct call c;

		assert_int_equal(outcome(st, CONF_EGRESS_SOCKS5, play, &c),
			socks5_reply_error((uint8_t)code));
		/* The target's failure says nothing of the proxy. */
		assert_true(info_of(st, 0).up);
		assert_int_equal(info_of(st, 0).failures, 0);
		assert_true(info_of(st, 0).rtt_us > 0);
	}
}

static void http_statuses(void **state)
{
	static const struct {
		const char *head;
		int error;
	} cases[] = {
		{"HTTP/1.1 403 No\r\n\r\n", -EACCES},
		{"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", -EHOSTUNREACH},
		{"HTTP/1.1 504 Late\r\n\r\n", -ETIMEDOUT},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct play play[] = {
			{EXPECT(CONNECT), .say = cases[i].head, .say_len = strlen(cases[i].head)},
			{0},
		};
		struct call c;

		assert_int_equal(outcome(*state, CONF_EGRESS_HTTP, play, &c), cases[i].error);
		assert_true(info_of(*state, 0).up);
	}
}

static void nonsense(void **state)
{
	static const struct play plays[][3] = {
		{{EXPECT(GREETING), SAY("\x04\x00")}},
		{{EXPECT(GREETING), SAY("HTTP/1.1 400 Bad Request\r\n\r\n"), .then = THEN_CLOSE}},
		{{EXPECT(GREETING), SAY("\x05\x02")}}, /* a method that was not offered */
		{{EXPECT(GREETING), SAY("\x05\x00")}, {EXPECT(NAME_443), SAY("\x04")}},
		{{EXPECT(GREETING), SAY("\x05\x00")}, {EXPECT(NAME_443), SAY("\x05\0\0\x07")}},
	};
	static const struct play http[][2] = {
		{{EXPECT(CONNECT), SAY("\x05\x00")}},
		{{EXPECT(CONNECT), SAY("HTTP/1.1 OK\r\n\r\n")}},
	};
	struct stage *st = *state;
	struct call c;

	for (size_t i = 0; i < sizeof plays / sizeof *plays; i++) {
		assert_int_equal(outcome(st, CONF_EGRESS_SOCKS5, plays[i], &c), -EPROTO);
		assert_false(info_of(st, 0).up);
	}
	for (size_t i = 0; i < sizeof http / sizeof *http; i++)
		assert_int_equal(outcome(st, CONF_EGRESS_HTTP, http[i], &c), -EPROTO);
}

static const struct play hangs[][3] = {
	{{EXPECT(GREETING), .then = THEN_HANG}},
	{{EXPECT(GREETING), SAY("\x05"), .then = THEN_HANG}},
	{{EXPECT(GREETING), SAY("\x05\x00")}, {EXPECT(NAME_443), .then = THEN_HANG}},
	{{EXPECT(GREETING), SAY("\x05\x00")},
		{EXPECT(NAME_443), SAY("\x05\0\0\x01\x7f"), .then = THEN_HANG}},
};
#define HANGS (sizeof hangs / sizeof *hangs)

static void a_proxy_that_hangs(void **state)
{
	struct stage *st = *state;
	struct call c;

	for (size_t i = 0; i < HANGS; i++) {
		int64_t began = loop_now_ms(st->loop), took;

		assert_int_equal(outcome(st, CONF_EGRESS_SOCKS5, hangs[i], &c), -ETIMEDOUT);
		took = loop_now_ms(st->loop) - began;
		assert_in_range(took, 149, 250);
		/* Once the request is on its way, it may be the target that does not answer. */
		assert_int_equal(info_of(st, 0).up, i >= 2);
	}
}

static void a_proxy_that_hangs_up(void **state)
{
	struct stage *st = *state;

	for (size_t i = 0; i < HANGS; i++) {
		for (int reset = 0; reset < 2; reset++) {
			struct play v[3];
			struct call c;

			memcpy(v, hangs[i], sizeof v);
			for (size_t k = 0; k < 3; k++) {
				if (v[k].then == THEN_HANG)
					v[k].then = reset ? THEN_RESET : THEN_CLOSE;
			}
			assert_int_equal(outcome(st, CONF_EGRESS_SOCKS5, v, &c), -ECONNREFUSED);
		}
	}
}

static void a_dead_proxy_refuses_at_once(void **state)
{
	struct stage *st = *state;
	struct call c;

	server_open(&st->servers[0], "127.0.0.1", plain_socks5);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	server_close(&st->servers[0]);
	stage_set(st);
	assert_true(info_of(st, 0).up);
	for (unsigned i = 1; i <= 3; i++) {
		int64_t began = loop_now_ms(st->loop);

		call_start(st, &c, 0, "a.test", 443);
		assert_int_equal(CALL_END(st, &c), -ECONNREFUSED);
		assert_true(loop_now_ms(st->loop) - began < 100);
		assert_false(info_of(st, 0).up);
		assert_int_equal(info_of(st, 0).failures, i);
	}
}

static void what_cannot_be_dialled(void **state)
{
	struct stage *st = *state;
	struct call c, d;

	server_open(&st->servers[0], "127.0.0.1", plain_socks5);
	st->forbidden = st->servers[0].at;
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	stage_egress(st, "direct", CONF_EGRESS_DIRECT, NULL);
	stage_egress(st, "reject", CONF_EGRESS_REJECT, NULL);
	stage_set(st);
	call_start(st, &c, 0, "a.test", 443); /* the proxy is ourselves */
	assert_int_equal(CALL_END(st, &c), -ELOOP);
	call_start_at(st, &c, 1, &st->servers[0].at); /* so is the target */
	assert_int_equal(CALL_END(st, &c), -ELOOP);
	assert_int_equal(st->servers[0].accepted, 0);
	call_start(st, &c, 1, "a.test", 443); /* nobody resolves here */
	assert_int_equal(CALL_END(st, &c), -EHOSTUNREACH);
	call_start(st, &c, 2, "a.test", 443);
	assert_int_equal(CALL_END(st, &c), -ECONNREFUSED);
	/* Cancelled before it was told. */
	call_start(st, &c, 2, "a.test", 443);
	call_start(st, &d, 2, "a.test", 443);
	egress_cancel(&d.dial);
	assert_null(d.dial.priv);
	egress_cancel(&d.dial);
	assert_int_equal(CALL_END(st, &c), -ECONNREFUSED);
	assert_int_equal(d.ends, 0);
}

static void no_more_than_the_bound(void **state)
{
	struct stage *st = *state;
	struct call c[4];

	server_open(&st->servers[0], "127.0.0.1", plain_socks5);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	stage_set(st);
	st->dialer->dials_max = 2;
	for (size_t i = 0; i < 4; i++)
		call_start(st, &c[i], 0, "a.test", 443);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(CALL_END(st, &c[i]), i < 2 ? 0 : -EMFILE);
		if (i < 2)
			close_of(&c[i]);
	}
}

/* --- named proxies --- */

static struct conf_egress *named_proxy(struct stage *st)
{
	struct conf_egress *e;

	server_open(&st->servers[0], "127.0.0.1", plain_socks5);
	e = stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	e->server.host = (char *)"proxy.test";
	e->server.at.addr = (struct ip_addr){0};
	st->lookup[0] = st->servers[0].at.addr;
	st->n_lookup = 1;
	stage_set(st);
	return e;
}

static void dial_named(struct stage *st, int wanted)
{
	struct call c;

	call_start(st, &c, 0, "a.test", 443);
	assert_int_equal(CALL_END(st, &c), wanted);
	if (!wanted)
		close_of(&c);
}

static void a_name_is_looked_up_once_in_a_while(void **state)
{
	struct stage *st = *state;

	named_proxy(st);
	dial_named(st, 0);
	dial_named(st, 0);
	assert_int_equal(st->lookups, 1);
	assert_string_equal(st->looked_up, "proxy.test");
	/* A reload keeps what is known. */
	stage_set(st);
	dial_named(st, 0);
	assert_int_equal(st->lookups, 1);
	/* Over, and the next question fails: the old address still serves. */
	st->set->v[0].state->valid_until_ms = 0;
	st->lookup_error = -ETIMEDOUT;
	dial_named(st, 0);
	assert_int_equal(st->lookups, 2);
	dial_named(st, 0);
	assert_int_equal(st->lookups, 2); /* not again at once */
}

static void a_name_that_is_not_found(void **state)
{
	struct stage *st = *state;

	named_proxy(st);
	st->lookup_error = -ETIMEDOUT;
	dial_named(st, -EHOSTUNREACH);
	st->lookup_error = 0;
	st->n_lookup = 0;
	dial_named(st, -EHOSTUNREACH);
	assert_false(info_of(st, 0).up);
	assert_int_equal(info_of(st, 0).failures, 2);
	st->n_lookup = 1;
	dial_named(st, 0);
	assert_true(info_of(st, 0).up);
}

static void a_lookup_that_takes_its_time(void **state)
{
	struct stage *st = *state;
	struct egress_lookup *l;
	struct call c;

	named_proxy(st)->connect_timeout_ms = 100;
	stage_set(st);
	st->lookup_later = true;
	call_start(st, &c, 0, "a.test", 443);
	stage_turn(st, 1);
	assert_non_null(st->asked);
	l = st->asked;
	st->asked = NULL;
	l->done(l, st->lookup, 1, 300, 0);
	assert_int_equal(CALL_END(st, &c), 0);
	close_of(&c);
	/* Too long, but there is the old address. */
	st->set->v[0].state->valid_until_ms = 0;
	call_start(st, &c, 0, "a.test", 443);
	assert_int_equal(CALL_END(st, &c), 0);
	close_of(&c);
	assert_int_equal(st->lookups_cancelled, 1);
	/* Too long, and there is none. */
	st->set->v[0].state->n = 0;
	call_start(st, &c, 0, "a.test", 443);
	assert_int_equal(CALL_END(st, &c), -ETIMEDOUT);
	assert_int_equal(st->lookups_cancelled, 2);
	/* Cancelled. */
	call_start(st, &c, 0, "a.test", 443);
	egress_cancel(&c.dial);
	assert_int_equal(st->lookups_cancelled, 3);
	stage_turn(st, 1);
	assert_int_equal(c.ends, 0);
}

static void the_next_address_is_tried(void **state)
{
	struct stage *st = *state;

	named_proxy(st);
	st->lookup[1] = st->lookup[0];
	assert_int_equal(ip_addr_parse("::1", &st->lookup[0]), 0); /* nobody listens there */
	st->n_lookup = 2;
	dial_named(st, 0);
	assert_int_equal(info_of(st, 0).failures, 0);
	/* The one that went well is first now. */
	assert_true(ip_addr_equal(&st->set->v[0].state->addresses[0], &st->servers[0].at.addr));
	server_close(&st->servers[0]);
	dial_named(st, -ECONNREFUSED);
	assert_int_equal(info_of(st, 0).failures, 1);
}

/* --- cancelled and stopped, at any moment --- */

static void cancel_at_any_moment(void **state)
{
	struct stage *st = *state;
	unsigned fds;

	server_open(&st->servers[0], "127.0.0.1", plain_socks5);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	stage_set(st);
	for (unsigned turns = 0; turns < 12; turns++) {
		struct call c;

		fds = descriptors_open();
		call_start(st, &c, 0, "a.test", 443);
		for (unsigned i = 0; i < turns; i++)
			stage_turn(st, 1);
		if (c.ends) {
			close_of(&c);
		} else {
			egress_cancel(&c.dial);
			assert_null(c.dial.priv);
			for (int i = 0; i < 4; i++)
				stage_turn(st, 1);
			assert_int_equal(c.ends, 0);
		}
		server_close(&st->servers[0]);
		assert_true(descriptors_open() <= fds);
		assert_int_equal(st->dialer->dials_now, 0);
		server_open(&st->servers[0], "127.0.0.1", plain_socks5);
		st->egresses[0].server.at = st->servers[0].at;
		stage_set(st);
	}
}

static void stop_with_dials_in_flight(void **state)
{
	struct stage *st = *state;
	struct call c[16];

	for (size_t i = 0; i < HANGS; i++) {
		server_open(&st->servers[i], "127.0.0.1", hangs[i]);
		stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[i]);
	}
	stage_egress(st, "reject", CONF_EGRESS_REJECT, NULL);
	stage_set(st);
	for (size_t i = 0; i < 16; i++) {
		stage_turn(st, 1);
		call_start(st, &c[i], (unsigned)(i % 4), "a.test", 443);
	}
	egress_dialer_stop(st->dialer, NULL, NULL);
	for (size_t i = 0; i < 16; i++) {
		assert_int_equal(c[i].ends, 1);
		assert_int_equal(c[i].error, -ECANCELED);
	}
	/* The teardown sees what is left: no descriptor, no memory. */
	for (int i = 0; i < 10; i++)
		stage_turn(st, 1);
	st->dialer = NULL;
}

static void stop_in_the_callback_done(struct egress_dial *dial, int fd, unsigned egress, int error)
{
	struct call *c = container_of(dial, struct call, dial);
	struct egress_dialer *d = *(struct egress_dialer **)(c + 1);

	call_done(dial, fd, egress, error);
	egress_dialer_stop(d, NULL, NULL);
}

static void stop_in_the_callback(void **state)
{
	struct stage *st = *state;
	struct egress_target t = {.host = "a.test", .at.port = 443};
	struct {
		struct call call;
		struct egress_dialer *dialer;
	} c = {.dialer = st->dialer};

	server_open(&st->servers[0], "127.0.0.1", plain_socks5);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	stage_set(st);
	egress_connect(st->dialer, st->set, 0, &t, &c.call.dial, stop_in_the_callback_done);
	assert_int_equal(CALL_END(st, &c.call), 0);
	close_of(&c.call);
	for (int i = 0; i < 5; i++)
		stage_turn(st, 1);
	st->dialer = NULL;
}

static void many_at_once(void **state)
{
	struct stage *st = *state;
	static struct call c[100];

	server_open(&st->servers[0], "127.0.0.1", plain_socks5);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0])->connect_timeout_ms = 20000;
	stage_set(st);
	for (int round = 0; round < 5; round++) {
		for (size_t i = 0; i < 100; i++)
			call_start(st, &c[i], 0, "a.test", 443);
		for (size_t i = 0; i < 100; i++) {
			assert_int_equal(CALL_END(st, &c[i]), 0);
			close_of(&c[i]);
		}
	}
	assert_int_equal(st->servers[0].unexpected, 0);
}

/* --- loops: a dial that waits for the next one of its kind, and so on --- */

static const struct play silent[] = {
	{EXPECT(GREETING), SAY("\x05\x00")},
	{EXPECT(NAME_443), .then = THEN_HANG},
	{0},
};

static void dial_for(struct stage *st, struct call *c, const char *client, bool host)
{
	struct egress_target t = {.host = "a.test", .at.port = 443, .client_is_host = host};

	assert_int_equal(ip_addr_parse(client, &t.client), 0);
	*c = (struct call){.fd = -1};
	egress_connect(st->dialer, st->set, 0, &t, &c->dial, call_done);
}

static void a_loop_is_stopped(void **state)
{
	static struct call c[GUARD_NEAR + 2];
	struct stage *st = *state;
	struct call other;

	server_open(&st->servers[0], "127.0.0.1", silent);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0])->connect_timeout_ms = 5000;
	stage_set(st);
	/* The client is this host, and so is the proxy. */
	for (size_t i = 0; i < GUARD_NEAR; i++) {
		dial_for(st, &c[i], "192.0.2.1", true);
		stage_turn(st, 0);
		assert_int_equal(c[i].ends, 0);
	}
	dial_for(st, &c[GUARD_NEAR], "192.0.2.1", true);
	assert_int_equal(CALL_END(st, &c[GUARD_NEAR]), -ELOOP);
	/* The whole tree falls: those that would take its place are refused as well. */
	for (size_t i = 0; i < GUARD_NEAR; i++)
		egress_cancel(&c[i].dial);
	dial_for(st, &c[0], "192.0.2.1", true);
	assert_int_equal(CALL_END(st, &c[0]), -ELOOP);
	/* Nobody else is. */
	dial_for(st, &other, "192.0.2.2", false);
	stage_turn(st, 1);
	assert_int_equal(other.ends, 0);
	egress_cancel(&other.dial);
	assert_true(info_of(st, 0).up);
}

static void a_busy_client_is_no_loop(void **state)
{
	static struct call c[GUARD_NEAR * 2];
	struct stage *st = *state;

	server_open(&st->servers[0], "127.0.0.1", plain_socks5);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0])->connect_timeout_ms = 20000;
	stage_set(st);
	/* The proxy's own host, but its dials do connect. */
	for (size_t i = 0; i < 3 * GUARD_NEAR; i++) {
		dial_for(st, &c[0], "127.0.0.1", true);
		assert_int_equal(CALL_END(st, &c[0]), 0);
		close_of(&c[0]);
	}
	/* Another host may have many on their way. */
	for (size_t i = 0; i < GUARD_NEAR * 2; i++)
		dial_for(st, &c[i], "192.0.2.7", false);
	for (size_t i = 0; i < GUARD_NEAR * 2; i++) {
		assert_int_equal(CALL_END(st, &c[i]), 0);
		close_of(&c[i]);
	}
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
		TEST(socks5_far_end_speaks_first),
		TEST(http_far_end_speaks_first),
		TEST(by_address),
		TEST(users),
		TEST(every_reply_code),
		TEST(http_statuses),
		TEST(nonsense),
		TEST(a_proxy_that_hangs),
		TEST(a_proxy_that_hangs_up),
		TEST(a_dead_proxy_refuses_at_once),
		TEST(what_cannot_be_dialled),
		TEST(no_more_than_the_bound),
		TEST(a_name_is_looked_up_once_in_a_while),
		TEST(a_name_that_is_not_found),
		TEST(a_lookup_that_takes_its_time),
		TEST(the_next_address_is_tried),
		TEST(cancel_at_any_moment),
		TEST(stop_with_dials_in_flight),
		TEST(stop_in_the_callback),
		TEST(many_at_once),
		TEST(a_loop_is_stopped),
		TEST(a_busy_client_is_no_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
