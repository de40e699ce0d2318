/* Questions on connections that are kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/transport_stage.h"

/* A connection that has answered before. */
static struct stage *stage_open_used(void)
{
	struct stage *s = stage_open(CONF_TCP);

	ask(s, 0);
	play_until_over(s, 0, 1);
	assert_answered(s, 0, 1);
	assert_int_equal(s->peer->n_conns, 1);
	return s;
}

static void count_unacked(struct conn *c, void *arg)
{
	struct tcp_info info;
	socklen_t len = sizeof info;

	assert_int_equal(getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	*(unsigned *)arg += info.tcpi_unacked;
}

static bool all_is_acknowledged(const struct stage *s)
{
	unsigned n = 0;

	pool_each(s->transports, count_unacked, &n);
	return n == 0;
}

/* What is on its way has come to the peer's kernel, and ours knows: in the kernel's own time. */
static void settle(struct stage *s)
{
	stage_turn(s);
	STAGE_UNTIL(s, all_is_acknowledged(s));
}

static void many_share_few_connections(void **state)
{
	struct stage *s = stage_open(CONF_TCP);
	static bool seen[PEER_CONNS_MAX][65536];

	(void)state;
	s->peer->hold = true;
	for (unsigned i = 0; i < 500; i++)
		assert_false(transport_is_lossy(&ask(s, i)->try));
	STAGE_UNTIL(s, s->peer->n_held == 500);
	assert_in_range(s->peer->n_conns, 2, POOL_CONNS_MAX);
	for (unsigned i = 0; i < 500; i++) {
		const struct peer_question *q = &s->peer->held[i];

		assert_false(seen[q->conn][q->id]);
		seen[q->conn][q->id] = true;
	}
	for (unsigned i = 500; i-- > 0;)
		peer_answer(s->peer, i);
	play_until_over(s, 0, 500);
	assert_answered(s, 0, 500);
	/* Again on those that stand. */
	s->peer->hold = false;
	for (unsigned i = 0; i < 500; i++)
		ask(s, i);
	play_until_over(s, 0, 500);
	assert_answered(s, 0, 500);
	assert_in_range(s->peer->n_conns, 2, POOL_CONNS_MAX);
	stage_close(s);
}

static void more_than_all_connections_hold_wait(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	for (unsigned i = 0; i < ASKERS_MAX; i++)
		ask(s, i);
	play_until_over(s, 0, ASKERS_MAX);
	assert_answered(s, 0, ASKERS_MAX);
	assert_in_range(s->peer->n_conns, 2, POOL_CONNS_MAX);
	stage_close(s);
}

static void torn_anywhere(void **state)
{
	struct stage *s = stage_open(CONF_TCP);
	unsigned told = 0;

	(void)state;
	s->peer->torn = s->peer->noise = true;
	for (unsigned i = 0; i < 5; i++)
		ask(s, i);
	play_until_over(s, 0, 5);
	assert_answered(s, 0, 5);
	/* Answers to nobody's questions are shown to somebody, to be counted. */
	for (unsigned i = 0; i < 5; i++)
		told += s->askers[i].told;
	assert_int_equal(told, 5);
	stage_close(s);
}

static void noise_between_answers(void **state)
{
	struct stage *s = stage_open(CONF_TCP);
	unsigned told = 0;

	(void)state;
	s->peer->noise = true;
	for (unsigned i = 0; i < 100; i++)
		ask(s, i);
	play_until_over(s, 0, 100);
	assert_answered(s, 0, 100);
	for (unsigned i = 0; i < 100; i++)
		told += s->askers[i].told;
	assert_in_range(told, 90, 100); /* some have by chance an id that was used */
	stage_close(s);
}

/* Who is overtaken by another server or gives up closes its question. */
static void what_comes_late_is_not_wrong(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->peer->hold = true;
	ask(s, 0);
	ask(s, 1);
	STAGE_UNTIL(s, s->peer->n_held == 2);
	transport_close(&s->askers[0].try);
	for (int i = 0; i < 2; i++)
		peer_answer(s->peer, 0);
	stage_play(s, 20);
	assert_int_equal(s->askers[1].told, 0);
	peer_answer(s->peer, 1);
	play_until_over(s, 1, 1);
	assert_answered(s, 1, 1);
	stage_close(s);
}

static void the_largest_answers(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->peer->size = 65535;
	for (unsigned i = 0; i < 20; i++)
		ask(s, i);
	play_until_over(s, 0, 20);
	assert_answered(s, 0, 20);
	assert_int_equal(s->askers[19].len, 65535);
	stage_close(s);
}

static void what_is_not_taken_is_waited_past(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->askers[0].picky = true;
	ask(s, 0);
	ask(s, 1);
	play_until_over(s, 1, 1);
	STAGE_UNTIL(s, s->askers[0].told == 1);
	assert_true(transport_is_open(&s->askers[0].try));
	stage_close(s);
}

static void a_fresh_one_that_is_reset_fails(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->peer->resets = 1;
	ask(s, 0);
	play_until_over(s, 0, 1);
	assert_int_equal(s->askers[0].error, -ECONNRESET);
	assert_int_equal(s->peer->n_conns, 1);
	stage_close(s);
}

static void a_used_one_that_is_reset_is_asked_again_once(void **state)
{
	struct stage *s = stage_open_used();

	(void)state;
	s->peer->resets = 1;
	for (unsigned i = 0; i < 10; i++)
		ask(s, i);
	play_until_over(s, 0, 10);
	assert_answered(s, 0, 10);
	assert_int_equal(s->peer->n_conns, 2);
	s->peer->resets = 2;
	ask(s, 0);
	play_until_over(s, 0, 1);
	assert_int_equal(s->askers[0].error, -ECONNRESET);
	assert_int_equal(s->peer->n_conns, 3);
	stage_close(s);
}

static void nobody_listens(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	close(s->peer->listener);
	s->peer->listener = -1;
	for (unsigned i = 0; i < 10; i++)
		ask(s, i);
	play_until_over(s, 0, 10);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(s->askers[i].error, -ECONNREFUSED);
	assert_int_equal(conns_now(s), 0);
	stage_close(s);
}

static void a_silent_one_costs_its_questions_a_second(void **state)
{
	struct stage *s = stage_open_used();

	(void)state;
	s->peer->conns[0].reads = false;
	for (unsigned i = 0; i < 10; i++)
		ask(s, i);
	settle(s);
	stage_play(s, CONN_SLOW_MS - 1);
	assert_int_equal(conns_now(s), 1);
	stage_play(s, 100);
	play_until_over(s, 0, 10);
	assert_answered(s, 0, 10);
	assert_int_equal(s->peer->n_conns, 2);
	for (unsigned i = 0; i < 10; i++)
		ask(s, i);
	play_until_over(s, 0, 10);
	assert_answered(s, 0, 10); /* in no time */
	assert_int_equal(s->peer->conns[1].asked, 20);
	assert_int_equal(conns_now(s), 1);
	stage_close(s);
}

static void a_silent_one_is_found_out_when_its_owner_gave_up(void **state)
{
	struct stage *s = stage_open_used();

	(void)state;
	s->peer->conns[0].reads = false;
	ask(s, 0);
	settle(s);
	transport_close(&s->askers[0].try);
	stage_play(s, CONN_SLOW_MS + 300);
	assert_int_equal(conns_now(s), 0);
	ask(s, 1);
	play_until_over(s, 1, 1); /* in no time */
	stage_close(s);
}

static void a_silent_server_keeps_its_questions(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->peer->hold = true;
	ask(s, 0);
	STAGE_UNTIL(s, s->peer->n_held == 1);
	settle(s);
	stage_play(s, CONN_SLOW_MS);
	STAGE_UNTIL(s, s->peer->n_held == 2);
	stage_play(s, 2500);
	/* On the first connection, then once on another, and no more than that. */
	assert_int_equal(s->peer->n_held, 2);
	assert_int_equal(s->peer->n_conns, 2);
	assert_int_equal(conns_now(s), 1);
	assert_true(transport_is_open(&s->askers[0].try));
	ask(s, 1);
	STAGE_UNTIL(s, s->peer->n_held == 3);
	assert_int_equal(s->peer->n_conns, 3);
	peer_answer(s->peer, 1);
	peer_answer(s->peer, 2);
	play_until_over(s, 0, 2);
	assert_answered(s, 0, 2);
	stage_close(s);
}

/* Its owner asks again beside, over another connection, and takes what comes first. */
static void a_slow_one_still_answers(void **state)
{
	struct stage *s = stage_open_used();

	(void)state;
	s->peer->hold = true;
	s->askers[1].patient = true;
	s->askers[1].opens = &s->askers[2];
	ask(s, 1);
	settle(s);
	stage_play(s, CONN_SLOW_MS + 300);
	assert_int_equal(s->askers[1].slow, 1);
	STAGE_UNTIL(s, s->peer->n_held == 2);
	assert_int_equal(s->peer->n_conns, 2);
	peer_answer(s->peer, 0);
	play_until_over(s, 1, 1);
	assert_answered(s, 1, 1);
	peer_answer(s->peer, 1);
	play_until_over(s, 2, 1);
	assert_answered(s, 2, 1);
	stage_close(s);
}

static void silence_is_bounded(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->peer->hold = true;
	for (unsigned i = 0; i < 14; i++) {
		ask(s, i);
		stage_play(s, 2 * CONN_SLOW_MS / 3);
		assert_in_range(conns_now(s), 1, POOL_STALLED_MAX + 1);
	}
	stage_close(s);
}

static void one_that_speaks_again_is_used_again(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->peer->hold = true;
	ask(s, 0);
	STAGE_UNTIL(s, s->peer->n_held == 1);
	settle(s);
	stage_play(s, CONN_SLOW_MS + 300);
	STAGE_UNTIL(s, s->peer->n_held == 2);
	assert_int_equal(s->peer->n_conns, 2);
	peer_answer(s->peer, 1);
	play_until_over(s, 0, 1);
	s->peer->hold = false;
	ask(s, 1);
	play_until_over(s, 1, 1);
	assert_in_range(s->peer->n_conns, 2, 3);
	stage_close(s);
}

static void so_many_questions_and_no_more(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->conf.max_queries = 3;
	stage_server(s);
	for (unsigned i = 0; i < 9; i++)
		ask(s, i);
	play_until_over(s, 0, 9);
	assert_answered(s, 0, 9);
	assert_int_equal(s->peer->n_conns, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(s->peer->conns[i].asked, 3);
		STAGE_UNTIL(s, s->peer->conns[i].fd == -1);
	}
	assert_int_equal(conns_now(s), 0);
	stage_close(s);
}

static void each_question_on_a_connection_of_its_own(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->conf.max_queries = 1;
	stage_server(s);
	s->peer->hold = true;
	for (unsigned i = 0; i < 50; i++)
		ask(s, i);
	STAGE_UNTIL(s, s->peer->n_held == 50);
	assert_int_equal(s->peer->n_conns, 50);
	for (unsigned i = 0; i < 50; i++)
		peer_answer(s->peer, i);
	play_until_over(s, 0, 50);
	assert_answered(s, 0, 50);
	/* No more than that, however many are asked. */
	for (unsigned i = 0; i < POOL_ALL_MAX; i++)
		ask(s, i);
	assert_int_equal(ask_try(s, POOL_ALL_MAX), -ENOBUFS);
	stage_close(s);
}

static void idle_ones_are_closed(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->conf.idle_ms = 200;
	stage_server(s);
	for (unsigned i = 0; i < 4; i++) {
		ask(s, 0);
		play_until_over(s, 0, 1);
		stage_play(s, 100);
	}
	assert_int_equal(s->peer->n_conns, 1);
	assert_int_equal(conns_now(s), 1);
	stage_play(s, 1000);
	assert_int_equal(conns_now(s), 0);
	STAGE_UNTIL(s, s->peer->conns[0].fd == -1);
	stage_close(s);
}

static void old_ones_end(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->conf.max_life_ms = 200;
	stage_server(s);
	s->peer->hold = true;
	ask(s, 0);
	STAGE_UNTIL(s, s->peer->n_held == 1);
	stage_play(s, 300);
	/* It is too old, but answers what was asked. */
	s->peer->hold = false;
	ask(s, 1);
	play_until_over(s, 1, 1);
	assert_int_equal(s->peer->n_conns, 2);
	peer_answer(s->peer, 0);
	play_until_over(s, 0, 1);
	assert_answered(s, 0, 2);
	STAGE_UNTIL(s, s->peer->conns[0].fd == -1);
	stage_close(s);
}

static void a_server_that_closes_after_each_answer(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->peer->closes_after = 1;
	for (unsigned i = 0; i < 30; i++)
		ask(s, i);
	play_until_over(s, 0, 30);
	assert_answered(s, 0, 30);
	assert_int_equal(s->peer->n_conns, 30);
	stage_close(s);
}

static void closed_while_connecting(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		ask(s, i);
	for (unsigned i = 0; i < 9; i++)
		transport_close(&s->askers[i].try);
	play_until_over(s, 9, 1);
	assert_int_equal(s->peer->asked, 1);
	stage_close(s);
	/* All of them, and the transports at once. */
	s = stage_open(CONF_TCP);
	for (unsigned i = 0; i < 10; i++)
		ask(s, i);
	stage_close(s);
}

static void stopped_with_everything_in_flight(void **state)
{
	struct stage *s = stage_open_used();

	(void)state;
	s->peer->hold = true;
	for (unsigned i = 0; i < 300; i++)
		ask(s, i);
	stage_play(s, 20);
	for (unsigned i = 300; i < 600; i++)
		ask(s, i);
	stage_close(s);
}

static void callbacks_may_close_open_and_stop(void **state)
{
	struct stage *s = stage_open_used();

	(void)state;
	s->peer->hold = true;
	for (unsigned i = 0; i < 4; i++)
		ask(s, i);
	STAGE_UNTIL(s, s->peer->n_held == 4);
	/* All in one piece. */
	s->askers[0].closes = &s->askers[1];
	s->askers[0].opens = &s->askers[5];
	s->askers[2].stops = true;
	for (unsigned i = 0; i < 4; i++)
		peer_answer(s->peer, i);
	play_until_over(s, 2, 1);
	assert_int_equal(s->askers[0].answers, 1);
	assert_int_equal(s->askers[1].answers + s->askers[1].failures, 0);
	assert_int_equal(s->askers[3].answers + s->askers[3].failures, 0);
	stage_close(s);
}

static void failures_may_close_open_and_stop(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	s->peer->resets = 1;
	for (unsigned i = 0; i < 4; i++)
		ask(s, i);
	s->askers[0].closes = &s->askers[1];
	s->askers[0].opens = &s->askers[5];
	s->askers[2].stops = true;
	play_until_over(s, 0, 1);
	play_until_over(s, 2, 1);
	assert_int_equal(s->askers[0].error, -ECONNRESET);
	assert_int_equal(s->askers[1].answers + s->askers[1].failures, 0);
	assert_int_equal(s->askers[3].answers + s->askers[3].failures, 0);
	stage_close(s);
}

static void make_narrow(struct conn *c, void *arg)
{
	int size = 4096;

	assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
	*(struct conn **)arg = c;
}

static void a_full_socket_is_waited_for(void **state)
{
	struct stage *s = stage_open(CONF_TCP);
	int size = 4096;
	struct conn *c;

	(void)state;
	assert_int_equal(
		setsockopt(s->peer->listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
	ask(s, 0);
	play_until_over(s, 0, 1);
	pool_each(s->transports, make_narrow, &c);
	s->peer->conns[0].reads = false;
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 100; i++)
			ask(s, i);
		stage_turn(s);
		for (unsigned i = 0; i < 100; i++)
			transport_close(&s->askers[i].try);
	}
	/* What waits for room is bounded; what is not wanted any more is not asked. */
	assert_true(loop_op_busy(&c->out));
	assert_in_range(c->plain_len, 1, CONN_UNSENT_MAX + TRANSPORT_QUESTION_MAX);
	s->peer->conns[0].reads = true;
	ask(s, 0);
	play_until_over(s, 0, 1);
	assert_answered(s, 0, 1);
	stage_close(s);
}

static bool is_ours(void *arg, const struct ip_addr *a)
{
	(void)a;
	return *(bool *)arg;
}

static void what_stands_on_a_lost_address_is_asked_again(void **state)
{
	struct stage *s = stage_open_used();
	bool ours = true;

	(void)state;
	s->peer->hold = true;
	for (unsigned i = 0; i < 10; i++)
		ask(s, i);
	STAGE_UNTIL(s, s->peer->n_held == 10);
	transports_addresses_changed(s->transports, is_ours, &ours);
	stage_play(s, 10);
	assert_int_equal(s->peer->n_conns, 1);
	ours = false;
	s->peer->hold = false;
	transports_addresses_changed(s->transports, is_ours, &ours);
	play_until_over(s, 0, 10);
	assert_answered(s, 0, 10);
	assert_int_equal(s->peer->n_conns, 2);
	assert_int_equal(s->peer->asked, 21);
	STAGE_UNTIL(s, s->peer->got_resets == 1); /* nothing of it stays in the kernel */
	stage_close(s);
}

static void via_make(struct stage *s, enum conf_egress_type type)
{
	struct conf_egress e = {
		.name = (char[]){"out"},
		.type = type,
		.server.at = s->conf.at,
		.connect_timeout_ms = 1000,
		.bootstrap = -1,
		.upstream = -1,
	};
	struct config config = {.egresses = &e, .n_egresses = 1};

	assert_int_equal(egress_set_new(&config, 0, NULL, &s->via), 0);
	s->peer->socks = type == CONF_EGRESS_SOCKS5;
	stage_server(s);
}

static void a_proxy_carries_all_by_name(void **state)
{
	struct stage *s = stage_open(CONF_UDP);

	(void)state;
	s->conf.host = (char *)"dns.example";
	via_make(s, CONF_EGRESS_SOCKS5);
	assert_true(transport_server_goes_by_name(s->server));
	s->conf.at.addr.family = IP_NONE;
	for (unsigned i = 0; i < 10; i++)
		assert_false(transport_is_lossy(&ask(s, i)->try));
	play_until_over(s, 0, 10);
	assert_answered(s, 0, 10);
	assert_int_equal(s->peer->n_conns, 1);
	assert_memory_equal(s->peer->socks_request, "\5\1\0\3\13dns.example", 16);
	/* Given up while it is dialled. */
	s->peer->closes_after = 1;
	ask(s, 0);
	play_until_over(s, 0, 1);
	ask(s, 0);
	transport_close(&s->askers[0].try);
	stage_close(s);
}

static void a_direct_way_lends_its_mark_alone(void **state)
{
	struct stage *s = stage_open(CONF_UDP);

	(void)state;
	via_make(s, CONF_EGRESS_DIRECT);
	assert_false(transport_server_goes_by_name(s->server));
	assert_true(transport_is_lossy(&ask(s, 0)->try));
	play_until_over(s, 0, 1);
	assert_answered(s, 0, 1);
	stage_close(s);
}

static void a_proxy_that_is_not_there(void **state)
{
	struct stage *s = stage_open(CONF_TCP);

	(void)state;
	via_make(s, CONF_EGRESS_SOCKS5);
	close(s->peer->listener);
	s->peer->listener = -1;
	ask(s, 0);
	play_until_over(s, 0, 1);
	assert_int_equal(s->askers[0].error, -ECONNREFUSED);
	stage_close(s);
}

static void a_server_that_only_connections_hold(void **state)
{
	struct stage *s = stage_open(CONF_TCP);
	struct transport_server *old = s->server;

	(void)state;
	/* A server that nobody holds any more but its connections. */
	s->server = NULL;
	stage_server(s);
	s->peer->hold = true;
	ask(s, 0);
	STAGE_UNTIL(s, s->peer->n_held == 1);
	transport_close(&s->askers[0].try);
	transport_server_unref(s->server);
	s->server = old;
	stage_play(s, 10);
	stage_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_share_few_connections),
		cmocka_unit_test(more_than_all_connections_hold_wait),
		cmocka_unit_test(torn_anywhere),
		cmocka_unit_test(noise_between_answers),
		cmocka_unit_test(what_comes_late_is_not_wrong),
		cmocka_unit_test(the_largest_answers),
		cmocka_unit_test(what_is_not_taken_is_waited_past),
		cmocka_unit_test(a_fresh_one_that_is_reset_fails),
		cmocka_unit_test(a_used_one_that_is_reset_is_asked_again_once),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(a_silent_one_costs_its_questions_a_second),
		cmocka_unit_test(a_silent_one_is_found_out_when_its_owner_gave_up),
		cmocka_unit_test(a_silent_server_keeps_its_questions),
		cmocka_unit_test(a_slow_one_still_answers),
		cmocka_unit_test(silence_is_bounded),
		cmocka_unit_test(one_that_speaks_again_is_used_again),
		cmocka_unit_test(so_many_questions_and_no_more),
		cmocka_unit_test(each_question_on_a_connection_of_its_own),
		cmocka_unit_test(idle_ones_are_closed),
		cmocka_unit_test(old_ones_end),
		cmocka_unit_test(a_server_that_closes_after_each_answer),
		cmocka_unit_test(closed_while_connecting),
		cmocka_unit_test(stopped_with_everything_in_flight),
		cmocka_unit_test(callbacks_may_close_open_and_stop),
		cmocka_unit_test(failures_may_close_open_and_stop),
		cmocka_unit_test(a_full_socket_is_waited_for),
		cmocka_unit_test(what_stands_on_a_lost_address_is_asked_again),
		cmocka_unit_test(a_proxy_carries_all_by_name),
		cmocka_unit_test(a_direct_way_lends_its_mark_alone),
		cmocka_unit_test(a_proxy_that_is_not_there),
		cmocka_unit_test(a_server_that_only_connections_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
