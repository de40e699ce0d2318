/* gateway/resolve: which servers are asked, when, and what becomes known of them. The servers are
 * the test's own hands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "tests/unit/resolve_fake.h"

#define HEDGE_MS (TIMEOUT_MS / 4) /* while p95 is not known */

static struct stage *open_with(size_t n, enum conf_strategy strategy)
{
	struct stage *s = stage_open(n, CONF_UDP);

	fake_reset();
	s->upstreams[0].strategy = strategy;
	groups_renew(s);
	return s;
}

static struct server *server(const struct stage *s, size_t i)
{
	return s->groups->groups[0].servers[i];
}

static bool is_open(const struct stage *s, size_t i)
{
	return fake_try(s->up[i]) != NULL;
}

static void take_down(struct stage *s, size_t i)
{
	for (int k = 0; k < SERVER_FAILS_MAX; k++)
		server_failed(server(s, i), false, clock_ms());
	assert_false(server_is_up(server(s, i)));
}

/* Now, not in a moment: the loop's clock is read once a turn. */
static void ask_now(struct stage *s, struct asker *a, const char *name)
{
	*a = (struct asker){0};
	assert_int_equal(loop_turn(s->loop, 0), 0);
	ask(s, a, name, 5000);
}

/* --- several at once --- */

static void test_race(void **state)
{
	struct stage *s = open_with(5, CONF_STRATEGY_RACE);
	struct asker a;

	(void)state;
	for (size_t i = 0; i < 5; i++)
		server(s, i)->rtt_us = (uint32_t)(1000 * (i + 1));
	ask_now(s, &a, "a.test");
	for (size_t i = 0; i < 5; i++) /* four at most */
		assert_int_equal(is_open(s, i), i < 4 || fake_asked(s->up[i]));
	while (!is_open(s, 2)) { /* one in twenty begins with another four */
		resolve_cancel(&a.rq);
		ask_now(s, &a, "a.test");
	}
	fake_answer(s->up[2], 3);
	assert_answered_by(&a, s->up[2]);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(server_info(s, i).failures, 0);
	stage_close(s);
}

static void test_race_survives_failures(void **state)
{
	struct stage *s = open_with(3, CONF_STRATEGY_RACE);
	struct asker a;

	(void)state;
	ask_now(s, &a, "a.test");
	fake_fail(s->up[0], -ECONNREFUSED);
	fake_error(s->up[1], DNS_SERVFAIL);
	assert_int_equal(a.calls, 0);
	fake_answer(s->up[2], 3);
	assert_answered_by(&a, s->up[2]);
	stage_close(s);
}

/* Its connection is slow: it is asked once more, and the first answer of the two counts. */
static void test_slow(void **state)
{
	struct stage *s = open_with(1, CONF_STRATEGY_SEQUENTIAL);
	struct asker a;

	(void)state;
	ask_now(s, &a, "a.test");
	fake_slow(s->up[0]);
	assert_int_equal(fake_asked(s->up[0]), 2);
	assert_int_equal(a.calls, 0);
	fake_answer(s->up[0], 1);
	assert_answered_by(&a, s->up[0]);
	assert_true(is_open(s, 0)); /* the other is waited for, for what it tells of the server */
	fake_slow(s->up[0]);	    /* nobody needs more of it */
	assert_int_equal(fake_asked(s->up[0]), 2);
	fake_answer(s->up[0], 1);
	assert_false(is_open(s, 0));
	assert_int_equal(server_info(s, 0).failures, 0);
	stage_close(s);
}

/* The second is asked beside the first when that is slower than it uses to be; the first one's
 * answer still counts, and the second's time is learned. */
static void test_hedge(void **state)
{
	struct stage *s = open_with(3, CONF_STRATEGY_SEQUENTIAL);
	struct asker a;

	(void)state;
	ask_now(s, &a, "a.test");
	stage_play(s, HEDGE_MS / 2);
	assert_int_equal(fake_asked(s->up[1]), 0);
	stage_play(s, HEDGE_MS / 2 + 20);
	assert_true(is_open(s, 0) && is_open(s, 1));
	assert_int_equal(fake_asked(s->up[2]), 0);
	fake_answer(s->up[0], 1);
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(resolve_flights(s->resolver), 0);
	assert_true(is_open(s, 1));
	assert_int_equal(server_info(s, 1).rtt_us, 0);
	fake_answer(s->up[1], 2);
	assert_true(server_info(s, 1).rtt_us > 0);
	assert_false(is_open(s, 1));
	stage_close(s);
}

static void test_hedge_after_p95(void **state)
{
	struct stage *s = open_with(2, CONF_STRATEGY_SEQUENTIAL);
	struct asker a;

	(void)state;
	server(s, 0)->p95_us = 1000; /* at least 20 ms all the same */
	ask_now(s, &a, "a.test");
	stage_play(s, 10);
	assert_int_equal(fake_asked(s->up[1]), 0);
	stage_play(s, 30);
	assert_int_equal(fake_asked(s->up[1]), 1);
	fake_answer(s->up[1], 2);
	assert_answered_by(&a, s->up[1]);
	/* What was overtaken is listened for until its time is over: its silence is known. */
	assert_true(is_open(s, 0));
	stage_play(s, TIMEOUT_MS);
	assert_false(is_open(s, 0));
	assert_int_equal(server_info(s, 0).failures, 1);
	stage_close(s);
}

static void test_three_at_once(void **state)
{
	struct stage *s = open_with(5, CONF_STRATEGY_SEQUENTIAL);
	struct asker a;

	(void)state;
	ask_now(s, &a, "a.test");
	stage_play(s, 3 * HEDGE_MS + 20); /* a fourth would have been due */
	assert_true(is_open(s, 0) && is_open(s, 1) && is_open(s, 2));
	assert_int_equal(fake_asked(s->up[3]), 0);
	fake_fail(s->up[1], -ECONNRESET);
	assert_true(is_open(s, 3));
	fake_answer(s->up[3], 4);
	assert_answered_by(&a, s->up[3]);
	stage_close(s);
}

/* A lost datagram is not waited for longer than makes sense; a server that has become slow is
 * learned to be. */
static void test_resend_after_p95(void **state)
{
	struct stage *s = open_with(1, CONF_STRATEGY_SEQUENTIAL);
	struct asker a;

	(void)state;
	groups_make(s, CONF_UDP, 2000, 5000);
	server(s, 0)->p95_us = server(s, 0)->tail_us = server(s, 0)->rtt_us = 3000;
	server(s, 0)->samples = 20;
	ask_now(s, &a, "a.test");
	stage_play(s, 80);
	assert_int_equal(fake_resent(s->up[0]), 0);
	stage_play(s, 50);
	assert_int_equal(fake_resent(s->up[0]), 1);
	stage_play(s, 50);
	fake_answer(s->up[0], 1);
	assert_answered_by(&a, s->up[0]);
	assert_true(server_info(s, 0).p95_us > 3000);
	stage_close(s);
}

/* --- order --- */

/* Asks n times, the first one asked answers; counts who that was. */
static void ask_many(struct stage *s, unsigned n, unsigned *counts)
{
	struct asker a;
	char name[32];

	for (unsigned k = 0; k < n; k++) {
		snprintf(name, sizeof name, "n%u.test", k);
		ask_now(s, &a, name);
		for (size_t i = 0; i < s->n && !a.calls; i++) {
			if (is_open(s, i)) {
				counts[i]++;
				hand_clock_move_ms(1); /* 0 would not be known */
				fake_answer(s->up[i], (uint8_t)(i + 1));
			}
		}
		assert_int_equal(a.calls, 1);
	}
}

static void test_round_robin(void **state)
{
	struct stage *s = open_with(3, CONF_STRATEGY_ROUND_ROBIN);
	unsigned counts[3] = {0};

	(void)state;
	ask_many(s, 30, counts);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(counts[i], 10);
	stage_close(s);
}

static void test_random(void **state)
{
	struct stage *s = open_with(3, CONF_STRATEGY_RANDOM);
	unsigned counts[3] = {0};

	(void)state;
	ask_many(s, 300, counts);
	for (size_t i = 0; i < 3; i++)
		assert_in_range(counts[i], 50, 150);
	stage_close(s);
}

static void test_sequential_keeps_to_the_first(void **state)
{
	struct stage *s = open_with(3, CONF_STRATEGY_SEQUENTIAL);
	unsigned counts[3] = {0};

	(void)state;
	ask_many(s, 20, counts);
	assert_int_equal(counts[0], 20);
	take_down(s, 0);
	ask_many(s, 20, counts);
	assert_int_equal(counts[1], 20);
	stage_close(s);
}

/* Who is not known is tried; the fastest gets the questions; now and then another one, so that it
 * is found out when that has become fast. */
static void test_fastest(void **state)
{
	struct stage *s = open_with(3, CONF_STRATEGY_FASTEST);
	unsigned counts[3] = {0};

	(void)state;
	server(s, 0)->rtt_us = 50000;
	server(s, 1)->rtt_us = 20000;
	ask_many(s, 1, counts);
	assert_int_equal(counts[2], 1); /* which answered within 1 ms */
	counts[2] = 0;
	server(s, 2)->rtt_us = 30000000;
	ask_many(s, 1000, counts);
	/* All have been asked, and answered as fast. */
	assert_true(counts[0] > 5 && counts[1] > 5 && counts[2] > 5);
	assert_true(server_info(s, 0).rtt_us < 20000);
	stage_close(s);
}

/* The explored one is slow: who asks does not wait for it longer than for the fastest. */
static void test_exploring_is_hedged(void **state)
{
	struct stage *s = open_with(2, CONF_STRATEGY_FASTEST);
	struct asker a;

	(void)state;
	server(s, 0)->rtt_us = 1000;
	server(s, 0)->p95_us = 2000;
	server(s, 1)->rtt_us = 200000;
	server(s, 1)->p95_us = 290000;
	ask_now(s, &a, "a.test");
	for (int k = 0; k < 1000 && !is_open(s, 1); k++) {
		resolve_cancel(&a.rq);
		ask_now(s, &a, "a.test");
	}
	assert_true(is_open(s, 1));
	stage_play(s, 40);
	assert_true(is_open(s, 0));
	fake_answer(s->up[0], 1);
	assert_answered_by(&a, s->up[0]);
	stage_play(s, 10);
	fake_answer(s->up[1], 2); /* it is still learned from */
	assert_true(server_info(s, 1).rtt_us < 200000);
	stage_close(s);
}

/* --- down --- */

/* One question tries it; no client waits for that. */
static void test_trial(void **state)
{
	struct stage *s = open_with(2, CONF_STRATEGY_SEQUENTIAL);
	struct asker a, b;

	(void)state;
	take_down(s, 0);
	ask_now(s, &a, "a.test");
	assert_int_equal(fake_asked(s->up[0]), 0);
	fake_answer(s->up[1], 2);
	server_try_soon(server(s, 0), loop_now_ms(s->loop));
	stage_play(s, 5);
	ask_now(s, &a, "a.test");
	assert_true(is_open(s, 0) && is_open(s, 1));
	fake_answer(s->up[1], 2);
	assert_answered_by(&a, s->up[1]);
	ask_now(s, &b, "b.test");
	assert_int_equal(fake_asked(s->up[0]), 1);
	fake_answer(s->up[1], 2);
	assert_false(server_info(s, 0).up);
	fake_answer(s->up[0], 1); /* too late for a, but it lives */
	assert_true(server_info(s, 0).up);
	stage_close(s);
}

static void test_all_down_spray(void **state)
{
	struct stage *s = open_with(5, CONF_STRATEGY_SEQUENTIAL);
	struct asker a;

	(void)state;
	for (size_t i = 0; i < 5; i++)
		take_down(s, i);
	ask_now(s, &a, "a.test");
	for (size_t i = 0; i < 4; i++)
		assert_true(is_open(s, i));
	fake_fail(s->up[0], -EHOSTUNREACH);
	assert_true(is_open(s, 4));
	fake_answer(s->up[4], 5);
	assert_answered_by(&a, s->up[4]);
	assert_true(server_info(s, 4).up);
	stage_close(s);
}

static void test_all_down_none(void **state)
{
	struct stage *s = open_with(2, CONF_STRATEGY_SEQUENTIAL);
	struct asker a;

	(void)state;
	s->upstreams[0].all_down = CONF_ALL_DOWN_NONE;
	groups_renew(s);
	stage_cache(s, 0, 0);
	take_down(s, 0);
	take_down(s, 1);
	for (int k = 0; k < 2; k++) { /* nothing was asked: nothing is remembered */
		ask_now(s, &a, "a.test");
		assert_int_equal(a.calls, 1);
		assert_int_equal(a.error, -EHOSTUNREACH);
	}
	assert_int_equal(fake_asked(s->up[0]) + fake_asked(s->up[1]), 0);
	stage_close(s);
}

/* --- fall-back --- */

/* "up" is the first server, "other" the second and the third; only the second is not encrypted. */
static struct stage *open_with_fallback(bool downgrade)
{
	struct stage *s = open_with(3, CONF_STRATEGY_SEQUENTIAL);

	s->config.n_upstreams = 2;
	s->upstreams[0].n_servers = 1;
	s->upstreams[0].fallback = 1;
	s->upstreams[0].downgrade = downgrade;
	s->upstreams[1].servers = &s->servers[1];
	s->upstreams[1].n_servers = 2;
	s->servers[0].transport = s->servers[2].transport = CONF_TLS;
	groups_renew(s);
	return s;
}

static void test_fallback_without_downgrade(void **state)
{
	struct stage *s = open_with_fallback(false);
	struct asker a;

	(void)state;
	ask_now(s, &a, "a.test");
	fake_fail(s->up[0], -ECONNREFUSED);
	assert_true(is_open(s, 2));
	fake_error(s->up[2], DNS_REFUSED);
	assert_int_equal(fake_asked(s->up[1]), 0);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.error, 0);
	assert_int_equal(dns_message_rcode(a.head), DNS_REFUSED);
	stage_close(s);
}

static void test_fallback_with_downgrade(void **state)
{
	struct stage *s = open_with_fallback(true);
	struct asker a;

	(void)state;
	ask_now(s, &a, "a.test");
	fake_fail(s->up[0], -ECONNREFUSED);
	assert_true(is_open(s, 1));
	fake_answer(s->up[1], 2);
	assert_answered_by(&a, s->up[1]);
	stage_close(s);
}

/* A silent group leaves its fall-back time to answer, and may still answer itself. */
static void test_fallback_after_silence(void **state)
{
	struct stage *s = open_with_fallback(true);
	struct asker a;

	(void)state;
	ask_now(s, &a, "a.test");
	stage_play(s, TIMEOUT_MS + 20);
	assert_true(is_open(s, 1));
	fake_answer(s->up[1], 2);
	assert_answered_by(&a, s->up[1]);
	assert_int_equal(server_info(s, 0).failures, 1);
	stage_close(s);
}

/* Nobody waits for a group that looks dead, nor for its trial. */
static void test_fallback_of_a_dead_group(void **state)
{
	struct stage *s = open_with_fallback(true);
	struct asker a;

	(void)state;
	take_down(s, 0);
	ask_now(s, &a, "a.test");
	assert_int_equal(fake_asked(s->up[0]), 0);
	assert_true(is_open(s, 1));
	fake_answer(s->up[1], 2);
	assert_answered_by(&a, s->up[1]);
	server_try_soon(server(s, 0), loop_now_ms(s->loop));
	stage_play(s, 5);
	ask_now(s, &a, "b.test");
	stage_play(s, 20);
	assert_true(is_open(s, 0) && is_open(s, 1));
	fake_answer(s->up[1], 2);
	assert_answered_by(&a, s->up[1]);
	fake_answer(s->up[0], 1);
	assert_true(server_info(s, 0).up);
	stage_close(s);
}

static void test_fallbacks_in_a_circle(void **state)
{
	struct stage *s = open_with_fallback(true);
	struct asker a;

	(void)state;
	s->upstreams[1].fallback = 0;
	groups_renew(s);
	ask_now(s, &a, "a.test");
	for (int k = 0; k < 20 && !a.calls; k++)
		for (size_t i = 0; i < 3; i++)
			if (is_open(s, i))
				fake_fail(s->up[i], -ECONNREFUSED);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.error, -ECONNREFUSED);
	assert_in_range(fake_asked(s->up[0]), 2, FLIGHT_GROUPS_MAX);
	stage_close(s);
}

/* --- servers that have names --- */

static void test_named_server(void **state)
{
	struct stage *s = open_with(3, CONF_STRATEGY_SEQUENTIAL);
	struct asker a;

	(void)state;
	s->config.n_upstreams = 2;
	s->upstreams[0].n_servers = 2;
	s->upstreams[0].bootstrap = 1;
	s->upstreams[1].servers = &s->servers[2];
	s->upstreams[1].n_servers = 1;
	s->servers[0].host = (char[]){"dns.test"};
	s->servers[0].at.addr.family = IP_NONE;
	groups_renew(s);
	ask_now(s, &a, "a.test");
	assert_int_equal(fake_asked(s->up[0]), 0);
	assert_true(is_open(s, 1)); /* asked meanwhile */
	assert_int_equal(fake_asked(s->up[2]), 2);
	while (fake_try(s->up[2])) {
		const struct transport_try *t = fake_try(s->up[2]);
		uint8_t question[TRANSPORT_QUESTION_MAX];
		size_t len = t->owner->question(t, question, false);

		if (question[12 + 10 + 1] == DNS_A) /* dns.test is 10 bytes */
			fake_answer(s->up[2], 77);
		else
			fake_error(s->up[2], 0);
		assert_true(len > 0);
	}
	stage_play(s, 60);
	assert_true(is_open(s, 0));
	assert_int_equal(fake_try(s->up[0])->to.addr.b[3], 77);
	fake_answer(s->up[0], 1);
	assert_answered_by(&a, s->up[0]);
	stage_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_race),
		cmocka_unit_test(test_race_survives_failures),
		cmocka_unit_test(test_slow),
		cmocka_unit_test(test_hedge),
		cmocka_unit_test(test_hedge_after_p95),
		cmocka_unit_test(test_three_at_once),
		cmocka_unit_test(test_resend_after_p95),
		cmocka_unit_test(test_round_robin),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_sequential_keeps_to_the_first),
		cmocka_unit_test(test_fastest),
		cmocka_unit_test(test_exploring_is_hedged),
		cmocka_unit_test(test_trial),
		cmocka_unit_test(test_all_down_spray),
		cmocka_unit_test(test_all_down_none),
		cmocka_unit_test(test_fallback_without_downgrade),
		cmocka_unit_test(test_fallback_with_downgrade),
		cmocka_unit_test(test_fallback_after_silence),
		cmocka_unit_test(test_fallback_of_a_dead_group),
		cmocka_unit_test(test_fallbacks_in_a_circle),
		cmocka_unit_test(test_named_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
