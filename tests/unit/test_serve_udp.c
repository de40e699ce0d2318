/* Queries over UDP sockets, on the loop-back interface; and the sockets themselves. */
#include "tests/unit/serve_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "gateway/serve/udp.h"

#define QUERY 20

struct world {
	struct stage *s;
	struct serve_in *in;
	struct serve_out *out;
	struct serve_udp *udp4, *udp6;
	uint16_t port4, port6;
};

static int open_world(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	int fd4, fd6;

	assert_non_null(w);
	w->s = stage_open();
	assert_int_equal(serve_out_new(w->s->loop, stage_engine(w->s), &w->out), 0);
	assert_int_equal(serve_in_new(&w->in), 0);
	fd4 = stage_listen("0.0.0.0", false);
	fd6 = stage_listen("::", false);
	w->port4 = serve_socket_port(fd4);
	w->port6 = serve_socket_port(fd6);
	assert_int_equal(serve_udp_start(w->s->loop, w->in, stage_engine(w->s), w->out, fd4,
				 QUERY_UDP, &w->udp4),
		0);
	assert_int_equal(serve_udp_start(w->s->loop, w->in, stage_engine(w->s), w->out, fd6,
				 QUERY_TPROXY, &w->udp6),
		0);
	*state = w;
	return 0;
}

static void stop(struct world *w)
{
	serve_udp_stop(w->udp4);
	serve_udp_stop(w->udp6);
	HAND_UNTIL(serve_udp_idle(w->udp4) && serve_udp_idle(w->udp6), stage_turns(w->s, 1));
}

static int close_world(void **state)
{
	struct world *w = *state;

	stop(w);
	serve_udp_free(w->udp4);
	serve_udp_free(w->udp6);
	serve_out_free(w->out);
	serve_in_free(w->in);
	stage_close(w->s);
	free(w);
	return 0;
}

/* Connected: what comes from elsewhere than the asked address does not arrive. */
static int client(const char *to, uint16_t port)
{
	struct sockaddr_storage sa;
	struct ip_port p = {.port = port};
	socklen_t len;
	int fd;

	assert_int_equal(ip_addr_parse(to, &p.addr), 0);
	len = ip_port_to_sockaddr(&p, &sa);
	fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
	return fd;
}

static void ask_sized(int fd, size_t len, unsigned id, char command)
{
	uint8_t msg[8192];

	stage_query(msg, len, id, command);
	assert_int_equal(send(fd, msg, len, 0), len);
}

static void ask(int fd, unsigned id, char command)
{
	ask_sized(fd, QUERY, id, command);
}

static void expect_answer(struct world *w, int fd, unsigned id)
{
	uint8_t msg[4096];

	assert_true(stage_turn_until_readable(w->s, fd, HAND_CLOCK_LIMIT_MS));
	assert_int_equal(recv(fd, msg, sizeof msg, 0), QUERY);
	assert_int_equal(msg[0] << 8 | msg[1], id);
}

static void expect_nothing(struct world *w, int fd)
{
	assert_false(stage_turn_until_readable(w->s, fd, 30));
}

static void answers_come_from_the_address_that_was_asked(void **state)
{
	static const char *const asked[] = {"127.0.0.1", "127.0.0.2", "127.9.8.7", "::1"};
	struct world *w = *state;

	for (size_t i = 0; i < 4; i++) {
		bool v6 = i == 3;
		int fd = client(asked[i], v6 ? w->port6 : w->port4);

		ask(fd, 40 + (unsigned)i, 'e');
		expect_answer(w, fd, 40 + (unsigned)i);
		assert_int_equal(w->s->last.listener, v6 ? QUERY_TPROXY : QUERY_UDP);
		assert_false(w->s->last.stream);
		assert_true(ip_addr_is_loopback(&w->s->last.client.addr));
		ask(fd, 50, 'p');
		expect_nothing(w, fd);
		stage_release(w->s, w->s->n_parked - 1);
		expect_answer(w, fd, 50);
		ask(fd, 51, 'w');
		expect_answer(w, fd, 51);
		close(fd);
	}
}

static void the_log_is_written_first(void **state)
{
	struct world *w = *state;
	int fd = client("127.0.0.1", w->port4);

	w->s->watch_fd = fd;
	ask(fd, 1, 'e');
	expect_answer(w, fd, 1);
	assert_true(w->s->n_commits >= 1);
	w->s->watch_fd = -1;
	close(fd);
}

static void a_burst_is_answered_whole(void **state)
{
	struct world *w = *state;
	int fd = client("127.0.0.1", w->port4), other = client("127.0.0.2", w->port4);

	for (unsigned i = 0; i < 100; i++) {
		ask(fd, i, 'e');
		ask(other, 1000 + i, i % 2 ? 'e' : 'w');
	}
	for (unsigned i = 0; i < 100; i++) {
		expect_answer(w, fd, i);
		expect_answer(w, other, 1000 + i);
	}
	assert_int_equal(serve_out_counters(w->out)->sent, 200);
	close(fd);
	close(other);
}

static void what_gets_no_answer(void **state)
{
	struct world *w = *state;
	int fd = client("127.0.0.1", w->port4);

	assert_int_equal(send(fd, "", 0, 0), 0); /* no bytes: does not end the listening */
	ask(fd, 1, 'n');
	ask_sized(fd, SERVE_IN_DATAGRAM, 2, 'n');
	expect_nothing(w, fd);
	assert_int_equal(w->s->n_handled, 3);
	ask_sized(fd, SERVE_IN_DATAGRAM + 1, 3, 'e'); /* cut, not believed */
	expect_nothing(w, fd);
	assert_int_equal(w->s->n_handled, 3);
	ask(fd, 4, 'e');
	expect_answer(w, fd, 4);
	close(fd);
}

/* Answers to clients that cannot be reached hold nobody up. */
static void a_refused_answer_is_skipped(void **state)
{
	struct world *w = *state;
	struct ip_port nobody = {.port = 0};
	int fd = client("127.0.0.1", w->port4);

	ask(fd, 1, 'p');
	ask(fd, 2, 'p');
	ask(fd, 3, 'p');
	while (w->s->n_parked < 3)
		stage_turns(w->s, 1);
	nobody.addr = w->s->parked[1].origin.client.addr;
	w->s->parked[1].origin.client = nobody; /* port 0: EINVAL */
	for (size_t i = 0; i < 3; i++)
		stage_release(w->s, i);
	expect_answer(w, fd, 1);
	expect_answer(w, fd, 3);
	assert_int_equal(serve_out_counters(w->out)->sent, 2);
	assert_int_equal(serve_out_counters(w->out)->send_errors, 1);
	close(fd);
}

static void parked_answers_leave_after_the_stop(void **state)
{
	struct world *w = *state;
	int fd = client("127.0.0.2", w->port4);

	ask(fd, 1, 'p');
	while (w->s->n_parked < 1)
		stage_turns(w->s, 1);
	stop(w);
	ask(fd, 2, 'e');
	expect_nothing(w, fd);
	stage_release(w->s, 0);
	expect_answer(w, fd, 1);
	close(fd);
}

/* --- sockets --- */

static struct serve_socket_config at(const char *address, uint16_t port, bool stream)
{
	struct serve_socket_config c = {.stream = stream, .at.port = port};

	assert_int_equal(ip_addr_parse(address, &c.at.addr), 0);
	return c;
}

static void a_port_that_is_taken_is_noticed(void **state)
{
	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		struct sockaddr_in sa = {
			.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t len = sizeof sa;
		struct serve_socket_config c;
		int fd = socket(AF_INET, stream ? SOCK_STREAM : SOCK_DGRAM, 0);

		assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
		assert_true(!stream || listen(fd, 1) == 0);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
		c = at("127.0.0.1", ntohs(sa.sin_port), stream);
		assert_int_equal(serve_socket_probe(&c), -EADDRINUSE);
		close(fd);
		assert_int_equal(serve_socket_probe(&c), 0);
	}
}

static void workers_share_a_port(void **state)
{
	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		int one = stage_listen("127.0.0.1", stream), two;
		struct serve_socket_config c = at("127.0.0.1", serve_socket_port(one), stream);

		two = serve_socket_open(&c);
		assert_true(two >= 0);
		/* The probe does not share, so that it sees others; ours too. */
		assert_int_equal(serve_socket_probe(&c), -EADDRINUSE);
		assert_int_equal(fcntl(two, F_GETFD), FD_CLOEXEC);
		close(one);
		close(two);
	}
}

static void addresses_that_are_not_there_yet(void **state)
{
	struct serve_socket_config c;
	int fd;

	(void)state;
	c = at("192.0.2.77", 0, false);
	fd = serve_socket_open(&c);
	assert_true(fd >= 0);
	close(fd);
	c = at("2001:db8::77", 0, true);
	fd = serve_socket_open(&c);
	assert_true(fd >= 0);
	close(fd);
	c.at.addr.family = IP_NONE;
	assert_int_equal(serve_socket_open(&c), -EAFNOSUPPORT);
	assert_int_equal(serve_socket_port(-1), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(answers_come_from_the_address_that_was_asked),
		TEST(the_log_is_written_first),
		TEST(a_burst_is_answered_whole),
		TEST(what_gets_no_answer),
		TEST(a_refused_answer_is_skipped),
		TEST(parked_answers_leave_after_the_stop),
		cmocka_unit_test(a_port_that_is_taken_is_noticed),
		cmocka_unit_test(workers_share_a_port),
		cmocka_unit_test(addresses_that_are_not_there_yet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
