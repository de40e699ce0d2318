/* Queries over TCP, from real sockets on the loop-back interface. */
#include "tests/unit/serve_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "gateway/base/descriptors.h"
#include "gateway/serve/tcp.h"

#define QUERY		20 /* bytes of a usual query here */
#define FRAMED		(QUERY + 2)
#define CONNECTIONS_MAX 512

struct world {
	struct stage *s;
	struct serve_tcp *tcp;
	uint16_t port;
};

static int open_world(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	int fd;

	assert_non_null(w);
	w->s = stage_open();
	assert_int_equal(serve_tcp_new(w->s->loop, w->s->buffers, stage_engine(w->s), &w->tcp), 0);
	fd = stage_listen("127.0.0.1", true);
	w->port = serve_socket_port(fd);
	assert_int_not_equal(w->port, 0);
	assert_int_equal(serve_tcp_listen(w->tcp, fd, QUERY_TCP), 0);
	*state = w;
	return 0;
}

static void stop(struct world *w)
{
	serve_tcp_stop(w->tcp);
	HAND_UNTIL(serve_tcp_idle(w->tcp), {
		assert_int_equal(loop_turn(w->s->loop, 5), 0);
		serve_tcp_stop(w->tcp); /* as the worker does, at each turn's end */
	});
	assert_int_equal(serve_tcp_connections(w->tcp), 0);
}

static int close_world(void **state)
{
	struct world *w = *state;

	stop(w);
	serve_tcp_free(w->tcp);
	stage_close(w->s);
	free(w);
	return 0;
}

/* --- a client --- */

static int client_with_buffer(struct world *w, int receive_bytes)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_port = htons(w->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (receive_bytes)
		assert_int_equal(
			setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes),
			0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static int client(struct world *w)
{
	return client_with_buffer(w, 0);
}

static void put(int fd, const uint8_t *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

static size_t frame(uint8_t *at, unsigned id, char command)
{
	at[0] = 0;
	at[1] = QUERY;
	stage_query(at + 2, QUERY, id, command);
	return FRAMED;
}

static void ask(int fd, unsigned id, char command)
{
	uint8_t framed[FRAMED];

	put(fd, framed, frame(framed, id, command));
}

/* Exactly len bytes. */
static void take(struct world *w, int fd, uint8_t *bytes, size_t len)
{
	for (size_t n = 0; n < len;) {
		ssize_t got;

		assert_true(stage_turn_until_readable(w->s, fd, HAND_CLOCK_LIMIT_MS));
		got = recv(fd, bytes + n, len - n, 0);
		assert_true(got > 0);
		n += (size_t)got;
	}
}

static void expect_answer(struct world *w, int fd, unsigned id)
{
	uint8_t framed[FRAMED];

	take(w, fd, framed, sizeof framed);
	assert_int_equal(framed[0] << 8 | framed[1], QUERY);
	assert_int_equal(framed[2] << 8 | framed[3], id);
}

static void expect_nothing(struct world *w, int fd)
{
	assert_false(stage_turn_until_readable(w->s, fd, 30));
}

/* FIN, or RST if the gateway left something unread. */
static void expect_end(struct world *w, int fd)
{
	uint8_t byte;
	ssize_t n;

	assert_true(stage_turn_until_readable(w->s, fd, HAND_CLOCK_LIMIT_MS));
	n = recv(fd, &byte, 1, 0);
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
	close(fd);
}

static void wait_connections(struct world *w, unsigned n)
{
	HAND_UNTIL(
		serve_tcp_connections(w->tcp) == n, assert_int_equal(loop_turn(w->s->loop, 5), 0));
}

/* --- queries and answers --- */

static void a_query_is_answered(void **state)
{
	struct world *w = *state;
	struct sockaddr_in own;
	socklen_t len = sizeof own;
	int fd = client(w);

	ask(fd, 7, 'e');
	expect_answer(w, fd, 7);
	assert_int_equal(w->s->last.listener, QUERY_TCP);
	assert_true(w->s->last.stream);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &len), 0);
	assert_int_equal(w->s->last.client.port, ntohs(own.sin_port));
	assert_true(ip_addr_is_loopback(&w->s->last.client.addr));
	ask(fd, 8, 'e'); /* it stays open */
	expect_answer(w, fd, 8);
	close(fd);
	wait_connections(w, 0);
}

static void the_log_is_written_before_an_answer_leaves(void **state)
{
	struct world *w = *state;
	int fd = client(w);

	w->s->watch_fd = fd;
	for (unsigned i = 0; i < 50; i++) {
		ask(fd, i, 'e');
		expect_answer(w, fd, i);
	}
	assert_true(w->s->n_commits >= 50);
	w->s->watch_fd = -1;
	close(fd);
}

static void pipelined_queries_are_answered_as_they_get_ready(void **state)
{
	static const char commands[] = "epwpe";
	struct world *w = *state;
	uint8_t framed[5 * FRAMED];
	int fd = client(w);

	for (unsigned i = 0; i < 5; i++)
		frame(framed + i * FRAMED, 100 + i, commands[i]);
	put(fd, framed, sizeof framed);
	expect_answer(w, fd, 100);
	expect_answer(w, fd, 102);
	expect_answer(w, fd, 104);
	expect_nothing(w, fd);
	stage_release(w->s, 1);
	expect_answer(w, fd, 103);
	stage_release(w->s, 0);
	expect_answer(w, fd, 101);
	close(fd);
}

static void a_thousand_queries_in_one_stream(void **state)
{
	struct world *w = *state;
	uint8_t *framed = malloc(1000 * FRAMED);
	int fd = client(w);

	assert_non_null(framed);
	for (unsigned i = 0; i < 1000; i++)
		frame(framed + i * FRAMED, i, 'e');
	put(fd, framed, 1000 * FRAMED);
	for (unsigned i = 0; i < 1000; i++)
		expect_answer(w, fd, i);
	free(framed);
	close(fd);
}

static void queries_torn_anywhere(void **state)
{
	struct world *w = *state;
	uint8_t framed[2 * FRAMED];
	int fd = client(w);

	frame(framed, 1, 'e');
	frame(framed + FRAMED, 2, 'e');
	for (size_t at = 1; at < sizeof framed; at++) {
		put(fd, framed, at);
		stage_turns(w->s, 2);
		put(fd, framed + at, sizeof framed - at);
		expect_answer(w, fd, 1);
		expect_answer(w, fd, 2);
	}
	for (size_t at = 0; at < sizeof framed; at++) {
		put(fd, framed + at, 1);
		stage_turns(w->s, 1);
	}
	expect_answer(w, fd, 1);
	expect_answer(w, fd, 2);
	close(fd);
}

static void the_longest_query_and_one_byte_more(void **state)
{
	struct world *w = *state;
	uint8_t *framed = malloc(2 + 4097);
	uint8_t *back = malloc(2 + 4096);
	int fd = client(w);

	assert_non_null(framed);
	assert_non_null(back);
	framed[0] = 4096 >> 8;
	framed[1] = 0;
	stage_query(framed + 2, 4096, 9, 'e');
	put(fd, framed, 2 + 4096);
	take(w, fd, back, 2 + 4096);
	assert_memory_equal(framed, back, 2 + 4096);
	framed[1] = 1;
	put(fd, framed, 2 + 4097);
	expect_end(w, fd);
	assert_int_equal(w->s->n_handled, 1);
	free(back);
	free(framed);
	wait_connections(w, 0);
}

static void what_is_no_query_ends_the_connection(void **state)
{
	static const uint8_t lengths[][2] = {{0, 0}, {0, 11}, {0xff, 0xff}, {'G', 'E'}};
	struct world *w = *state;
	int fd;

	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		fd = client(w);
		put(fd, lengths[i], 2);
		expect_end(w, fd);
	}
	assert_int_equal(w->s->n_handled, 0);
	fd = client(w);
	ask(fd, 1, 'n');
	expect_end(w, fd);
	/* What was answered before it may be lost, what comes behind it is not looked at. */
	fd = client(w);
	{
		uint8_t framed[2 * FRAMED];

		frame(framed, 1, 'n');
		frame(framed + FRAMED, 2, 'e');
		put(fd, framed, sizeof framed);
	}
	expect_end(w, fd);
	assert_int_equal(w->s->n_handled, 2);
	wait_connections(w, 0);
}

/* --- ends --- */

static void a_client_that_closed_its_half_gets_its_answers(void **state)
{
	struct world *w = *state;
	int fd = client(w);

	ask(fd, 1, 'e');
	ask(fd, 2, 'p');
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect_answer(w, fd, 1);
	expect_nothing(w, fd);
	stage_release(w->s, 0);
	expect_answer(w, fd, 2);
	expect_end(w, fd);
	/* All at once, and half a query. */
	fd = client(w);
	ask(fd, 3, 'e');
	put(fd, (const uint8_t *)"\0", 1);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect_answer(w, fd, 3);
	expect_end(w, fd);
	wait_connections(w, 0);
}

static void reset(int fd)
{
	struct linger now = {.l_onoff = 1};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
	close(fd);
}

static void answers_for_those_who_left_reach_nobody_else(void **state)
{
	struct world *w = *state;
	int fd = client(w), other;

	ask(fd, 1, 'p');
	ask(fd, 2, 'p');
	while (w->s->n_parked < 2)
		stage_turns(w->s, 1);
	reset(fd);
	wait_connections(w, 0);
	stage_release(w->s, 0);
	other = client(w); /* takes the place */
	ask(other, 3, 'e');
	expect_answer(w, other, 3);
	stage_release(w->s, 1);
	expect_nothing(w, other);
	ask(other, 4, 'p');
	while (w->s->n_parked < 3)
		stage_turns(w->s, 1);
	stage_release(w->s, 2);
	expect_answer(w, other, 4);
	close(other);
}

static void a_client_that_does_not_read_is_cut_off(void **state)
{
	struct world *w = *state;
	int fd = client_with_buffer(w, 4096);
	uint8_t framed[FRAMED];
	unsigned asked = 0;

	frame(framed, 1, 'b');
	wait_connections(w, 1);
	while (serve_tcp_connections(w->tcp) == 1) {
		assert_in_range(asked, 0, 500);
		if (send(fd, framed, sizeof framed, MSG_NOSIGNAL) == sizeof framed)
			asked++;
		stage_turns(w->s, 1);
	}
	assert_in_range(asked, 4, 500);
	reset(fd);
	/* Nobody else has noticed. */
	fd = client(w);
	ask(fd, 2, 'e');
	expect_answer(w, fd, 2);
	close(fd);
}

static void a_slow_reader_gets_everything_in_order(void **state)
{
	struct world *w = *state;
	uint8_t *answer = malloc(2 + STAGE_BIG);
	int fd = client_with_buffer(w, 4096);

	assert_non_null(answer);
	for (unsigned i = 0; i < 4; i++)
		ask(fd, i, 'b');
	stage_turns(w->s, 10);
	for (unsigned i = 0; i < 4; i++) {
		take(w, fd, answer, 2 + STAGE_BIG);
		assert_int_equal(answer[0] << 8 | answer[1], STAGE_BIG);
		assert_int_equal(answer[3], i);
		assert_int_equal(answer[1 + STAGE_BIG], 'B');
	}
	free(answer);
	close(fd);
}

static void who_asks_too_much_at_once_is_cut_off(void **state)
{
	struct world *w = *state;
	int fd = client(w);

	for (unsigned i = 0; i < 1024; i++) {
		ask(fd, i, 'p');
		if (i % 64 == 0)
			stage_turns(w->s, 1);
	}
	while (w->s->n_parked < 1024)
		stage_turns(w->s, 1);
	assert_int_equal(serve_tcp_connections(w->tcp), 1);
	ask(fd, 2000, 'e');
	expect_end(w, fd);
	for (unsigned i = 0; i < 1024; i++)
		stage_release(w->s, i);
	wait_connections(w, 0);
}

/* SERVE_TCP_IDLE_MS is 1000 in this program. */
static void idle_connections_end(void **state)
{
	struct world *w = *state;
	int fd = client(w), busy = client(w), half = client(w);

	put(half, (const uint8_t *)"\0\24xx", 4);
	wait_connections(w, 3);
	stage_turns(w->s, 5);
	for (int ms = 0; ms < SERVE_TCP_IDLE_MS; ms += SERVE_TCP_IDLE_MS / 4) {
		assert_int_equal(serve_tcp_connections(w->tcp), 3);
		ask(busy, 1, 'e');
		expect_answer(w, busy, 1);
		hand_clock_move_ms(SERVE_TCP_IDLE_MS / 4);
		stage_turns(w->s, 1);
	}
	expect_end(w, fd);
	expect_end(w, half);
	wait_connections(w, 1);
	hand_clock_move_ms(SERVE_TCP_IDLE_MS / 2);
	stage_turns(w->s, 1);
	assert_int_equal(serve_tcp_connections(w->tcp), 1);
	hand_clock_move_ms(SERVE_TCP_IDLE_MS / 4);
	expect_end(w, busy);
}

static void connections_are_bounded(void **state)
{
	struct world *w = *state;
	struct rlimit files;
	int fds[CONNECTIONS_MAX], fd;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	if (files.rlim_max < 2 * CONNECTIONS_MAX + 64)
		skip();
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		fds[i] = client(w);
		stage_turns(w->s, i % 16 == 0);
		if (i % 32 == 0) /* nobody is idle meanwhile */
			for (unsigned k = 0; k < i; k++)
				ask(fds[k], k, 'w');
	}
	wait_connections(w, CONNECTIONS_MAX);
	fd = client(w);
	expect_end(w, fd);
	reset(fds[0]);
	wait_connections(w, CONNECTIONS_MAX - 1);
	fds[0] = client(w);
	ask(fds[0], 7, 'e');
	expect_answer(w, fds[0], 7);
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		close(fds[i]);
}

/* At first there is no descriptor at all, then none for clients. */
static void descriptors_run_out_and_come_back(void **state)
{
	struct world *w = *state;
	uint64_t refused = descriptors_refused();
	struct rlimit files, none;
	int fd = client(w);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	none = (struct rlimit){.rlim_max = files.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	/* No assertion here: it could not even be told. */
	for (int i = 0; i < 60000 && descriptors_refused() < refused + 2; i++) {
		hand_clock_move_ms(5);
		(void)loop_turn(w->s->loop, 1);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_true(descriptors_refused() >= refused + 2); /* it has tried again */
	assert_int_equal(serve_tcp_connections(w->tcp), 0);
	hand_clock_move_ms(100);
	wait_connections(w, 1);
	ask(fd, 1, 'e');
	expect_answer(w, fd, 1);

	descriptors_init(0);
	expect_end(w, client(w));
	ask(fd, 2, 'e');
	expect_answer(w, fd, 2);
	descriptors_init(UINT32_MAX);
	reset(fd);
	fd = client(w);
	ask(fd, 3, 'e');
	expect_answer(w, fd, 3);
	reset(fd);
	wait_connections(w, 0);
}

static void stopping_ends_everything(void **state)
{
	struct world *w = *state;
	int idle = client(w), waiting = client(w), stuck = client_with_buffer(w, 4096);
	int half = client(w);

	ask(waiting, 1, 'p');
	ask(stuck, 2, 'b');
	ask(stuck, 3, 'b');
	put(half, (const uint8_t *)"\0", 1);
	wait_connections(w, 4);
	stage_turns(w->s, 5);
	stop(w);
	stage_release(w->s, 0); /* too late, but harmless */
	expect_end(w, idle);
	expect_end(w, waiting);
	close(stuck);
	close(half);
}

static void stopping_with_answers_of_this_turn(void **state)
{
	struct world *w = *state;
	int fd = client(w);

	ask(fd, 1, 'p');
	while (!w->s->n_parked)
		stage_turns(w->s, 1);
	stage_release(w->s, 0); /* gathered, not sent */
	stop(w);
	close(fd);
}

static void listeners_are_bounded(void **state)
{
	struct world *w = *state;
	int fd;

	for (unsigned i = 1; i < 32; i++)
		assert_int_equal(
			serve_tcp_listen(w->tcp, stage_listen("127.0.0.1", true), QUERY_TPROXY), 0);
	fd = stage_listen("127.0.0.1", true);
	assert_int_equal(serve_tcp_listen(w->tcp, fd, QUERY_TCP), -ENOSPC);
	close(fd); /* still ours */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_query_is_answered),
		TEST(the_log_is_written_before_an_answer_leaves),
		TEST(pipelined_queries_are_answered_as_they_get_ready),
		TEST(a_thousand_queries_in_one_stream),
		TEST(queries_torn_anywhere),
		TEST(the_longest_query_and_one_byte_more),
		TEST(what_is_no_query_ends_the_connection),
		TEST(a_client_that_closed_its_half_gets_its_answers),
		TEST(answers_for_those_who_left_reach_nobody_else),
		TEST(a_client_that_does_not_read_is_cut_off),
		TEST(a_slow_reader_gets_everything_in_order),
		TEST(who_asks_too_much_at_once_is_cut_off),
		TEST(idle_connections_end),
		TEST(connections_are_bounded),
		TEST(descriptors_run_out_and_come_back),
		TEST(stopping_ends_everything),
		TEST(stopping_with_answers_of_this_turn),
		TEST(listeners_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
