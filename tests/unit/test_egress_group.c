/* Sets, states, groups and checks. */
#include "egress_stage.h"

#include <stdlib.h>

#define SAY(text)    .say = (text), .say_len = sizeof(text) - 1
#define EXPECT(text) .expect = (text), .expect_len = sizeof(text) - 1
#define GREETING     "\x05\x01\x00"

static const struct play good[] = {
	{EXPECT(GREETING), SAY("\x05\x00")},
	{EXPECT("\x05\x01\x00\x03\x06"
		"a.test"
		"\x01\xbb"),
		SAY("\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")},
	{0},
};
static const struct play refusing_target[] = {
	{EXPECT(GREETING), SAY("\x05\x00")},
	{EXPECT("\x05\x01"), SAY("\x05\x05\x00\x01\0\0\0\0\0\0")},
	{0},
};
static const struct play refusing_us[] = {{EXPECT(GREETING), SAY("\x05\xff")}, {0}};
static const struct play silent[] = {{EXPECT(GREETING), .then = THEN_HANG}, {0}};

static struct conf_egress *group_of(
	struct stage *st, enum conf_group_strategy strategy, const int *of, size_t n)
{
	struct conf_egress *e = stage_egress(st, "group", CONF_EGRESS_GROUP, NULL);

	e->strategy = strategy;
	e->of = malloc(n * sizeof *of);
	assert_non_null(e->of);
	memcpy(e->of, of, n * sizeof *of);
	e->n_of = n;
	return e;
}

/* Two proxies and, as egress 2, their group. */
static void two_of(struct stage *st, enum conf_group_strategy strategy, const struct play *first,
	const struct play *second)
{
	static const int of[] = {0, 1};

	server_open(&st->servers[0], "127.0.0.1", first);
	server_open(&st->servers[1], "127.0.0.1", second);
	stage_egress(st, "one", CONF_EGRESS_SOCKS5, &st->servers[0]);
	stage_egress(st, "two", CONF_EGRESS_SOCKS5, &st->servers[1]);
	group_of(st, strategy, of, 2);
	stage_set(st);
}

static struct egress_state *state_at(struct stage *st, unsigned egress)
{
	return st->set->v[egress].state;
}

static int dial(struct stage *st, unsigned egress, unsigned *ret_taken)
{
	struct call c;
	int error;

	call_start(st, &c, egress, "a.test", 443);
	error = CALL_END(st, &c);
	if (!error)
		close(c.fd);
	*ret_taken = c.egress;
	return error;
}

static void sequential_takes_the_first_that_is_up(void **state)
{
	struct stage *st = *state;
	struct egress_info info[3];

	two_of(st, CONF_GROUP_SEQUENTIAL, good, good);
	assert_int_equal(egress_choose(st->set, 0), 0);
	assert_int_equal(egress_choose(st->set, 2), 0);
	state_failed(state_at(st, 0), true);
	assert_int_equal(egress_choose(st->set, 0), 0); /* whoever asks for it gets it */
	assert_int_equal(egress_choose(st->set, 2), 1);
	assert_int_equal(egress_list(st->set, info, 3), 3);
	assert_string_equal(info[2].member, "two");
	assert_true(info[2].up && info[1].up && !info[0].up);
	state_failed(state_at(st, 1), true);
	assert_int_equal(egress_choose(st->set, 2), 0);
	assert_int_equal(egress_list(st->set, info, 3), 3);
	assert_false(info[2].up);
	state_worked(state_at(st, 0), 100);
	assert_int_equal(egress_choose(st->set, 2), 0);
}

static void fastest_changes_over_only_when_it_is_worth_it(void **state)
{
	struct stage *st = *state;

	two_of(st, CONF_GROUP_FASTEST, good, good);
	assert_int_equal(egress_choose(st->set, 2), 0); /* nothing is known */
	state_worked(state_at(st, 0), 100000);
	state_worked(state_at(st, 1), 85000);
	assert_int_equal(egress_choose(st->set, 2), 0); /* not by a fifth */
	state_worked(state_at(st, 1), 70000);
	assert_int_equal(egress_choose(st->set, 2), 1);
	state_worked(state_at(st, 0), 60000);
	assert_int_equal(egress_choose(st->set, 2), 1);
	state_worked(state_at(st, 0), 5000);
	assert_int_equal(egress_choose(st->set, 2), 0);
	state_worked(state_at(st, 1), 1000); /* much faster, but who would notice */
	assert_int_equal(egress_choose(st->set, 2), 0);
	state_failed(state_at(st, 0), true);
	assert_int_equal(egress_choose(st->set, 2), 1);
	state_worked(state_at(st, 0), 5000); /* back again: no reason to change over */
	assert_int_equal(egress_choose(st->set, 2), 1);
	stage_set(st); /* nor is a reload one */
	assert_int_equal(egress_choose(st->set, 2), 1);
}

static void fastest_begins_with_who_was_measured(void **state)
{
	struct stage *st = *state;

	two_of(st, CONF_GROUP_FASTEST, good, good);
	state_worked(state_at(st, 1), 300000);
	assert_int_equal(egress_choose(st->set, 2), 1);
}

static void groups_of_groups(void **state)
{
	static const int inner[] = {1, 2}, outer[] = {0, 3};
	struct stage *st = *state;
	unsigned taken;

	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = {"a", "b", "c"};

		server_open(&st->servers[i], "127.0.0.1", good);
		stage_egress(st, names[i], CONF_EGRESS_SOCKS5, &st->servers[i]);
	}
	group_of(st, CONF_GROUP_FASTEST, inner, 2);
	group_of(st, CONF_GROUP_SEQUENTIAL, outer, 2)->name = (char *)"outer";
	stage_set(st);
	assert_int_equal(egress_choose(st->set, 4), 0);
	state_worked(state_at(st, 2), 1000);
	state_failed(state_at(st, 0), true);
	assert_int_equal(egress_choose(st->set, 4), 2); /* by the inner one's strategy */
	state_failed(state_at(st, 2), true);
	assert_int_equal(egress_choose(st->set, 4), 1);
	assert_int_equal(egress_type(st->set, egress_choose(st->set, 4)), CONF_EGRESS_SOCKS5);
	for (size_t i = 0; i < 3; i++)
		server_close(&st->servers[i]);
	assert_int_equal(dial(st, 4, &taken), -ECONNREFUSED);
	for (unsigned i = 0; i < 3; i++)
		assert_false(set_leaf_is_up(st->set, i));
}

static void a_circle_ends(void **state)
{
	static const int a[] = {1}, b[] = {0}, c[] = {1, 3};
	struct stage *st = *state;
	struct egress_set *s;

	group_of(st, CONF_GROUP_SEQUENTIAL, a, 1);
	group_of(st, CONF_GROUP_SEQUENTIAL, b, 1);
	assert_int_equal(egress_set_new(&st->config, 0, NULL, &s), -EINVAL);
	group_of(st, CONF_GROUP_SEQUENTIAL, c, 2);
	stage_egress(st, "direct", CONF_EGRESS_DIRECT, NULL);
	free(st->egresses[0].of);
	st->egresses[0].of = malloc(2 * sizeof(int));
	st->egresses[0].of[0] = 1;
	st->egresses[0].of[1] = 3;
	st->egresses[0].n_of = 2;
	stage_set(st); /* with somebody to end at */
	assert_int_equal(egress_choose(st->set, 0), 3);
	assert_int_equal(egress_choose(st->set, 2), 3);
}

/* --- within one dial --- */

static void a_dead_member_is_passed_over(void **state)
{
	struct stage *st = *state;
	unsigned taken;

	two_of(st, CONF_GROUP_SEQUENTIAL, good, good);
	server_close(&st->servers[0]);
	assert_int_equal(dial(st, 2, &taken), 0);
	assert_int_equal(taken, 1);
	assert_false(set_leaf_is_up(st->set, 0));
	assert_int_equal(atomic_load(&state_at(st, 0)->failures), 1);
	assert_int_equal(dial(st, 2, &taken), 0); /* not even tried */
	assert_int_equal(atomic_load(&state_at(st, 0)->failures), 1);
	server_close(&st->servers[1]);
	assert_int_equal(dial(st, 2, &taken), -ECONNREFUSED);
	assert_int_equal(atomic_load(&state_at(st, 0)->failures), 2);
	assert_int_equal(atomic_load(&state_at(st, 1)->failures), 1);
}

static void a_member_that_refuses_us_is_passed_over(void **state)
{
	struct stage *st = *state;
	unsigned taken;

	two_of(st, CONF_GROUP_SEQUENTIAL, refusing_us, good);
	assert_int_equal(dial(st, 2, &taken), 0);
	assert_int_equal(taken, 1);
	assert_int_equal(st->servers[0].accepted, 1);
}

static void a_silent_member_is_passed_over(void **state)
{
	struct stage *st = *state;
	unsigned taken;

	two_of(st, CONF_GROUP_SEQUENTIAL, silent, good);
	st->egresses[2].connect_timeout_ms = 300;
	stage_set(st);
	assert_int_equal(dial(st, 2, &taken), 0);
	assert_int_equal(taken, 1);
	assert_false(set_leaf_is_up(st->set, 0));
}

static void the_targets_failure_is_final(void **state)
{
	struct stage *st = *state;
	unsigned taken;

	two_of(st, CONF_GROUP_SEQUENTIAL, refusing_target, good);
	assert_int_equal(dial(st, 2, &taken), -ECONNREFUSED);
	assert_int_equal(taken, 0);
	assert_int_equal(st->servers[1].accepted, 0);
	assert_true(set_leaf_is_up(st->set, 0));
}

static void direct_as_the_last_resort(void **state)
{
	static const int of[] = {0, 1};
	struct stage *st = *state;
	struct call c;

	server_open(&st->servers[0], "127.0.0.1", good);
	server_open(&st->servers[1], "127.0.0.1", good);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	stage_egress(st, "direct", CONF_EGRESS_DIRECT, NULL);
	group_of(st, CONF_GROUP_SEQUENTIAL, of, 2);
	stage_set(st);
	server_close(&st->servers[0]);
	call_start_at(st, &c, 2, &st->servers[1].at);
	assert_int_equal(CALL_END(st, &c), 0);
	assert_int_equal(c.egress, 1);
	close(c.fd);
}

/* --- checks --- */

static void server_reopen(struct stage *st, size_t i, const struct play *play)
{
	struct server *s = &st->servers[i];
	struct ip_port at = s->at;

	server_open_at(s, &at, play);
}

static void a_group_comes_back_by_its_checks(void **state)
{
	struct stage *st = *state;
	unsigned taken;

	two_of(st, CONF_GROUP_SEQUENTIAL, good, good);
	egress_dialer_check(st->dialer, st->set);
	STAGE_UNTIL(st, atomic_load(&state_at(st, 1)->rtt_us)); /* without any dial */
	assert_true(st->servers[0].accepted && st->servers[1].accepted);
	server_close(&st->servers[0]);
	STAGE_UNTIL(st, !set_leaf_is_up(st->set, 0));
	assert_int_equal(atomic_load(&state_at(st, 0)->failures), 0); /* nobody was hurt */
	assert_int_equal(dial(st, 2, &taken), 0);
	assert_int_equal(taken, 1);
	server_reopen(st, 0, good);
	STAGE_UNTIL(st, set_leaf_is_up(st->set, 0));
	assert_int_equal(dial(st, 2, &taken), 0);
	assert_int_equal(taken, 0);
	/* A reload while a check is under way. */
	stage_set(st);
	egress_dialer_check(st->dialer, st->set);
	stage_turn(st, 1);
	egress_dialer_check(st->dialer, st->set);
}

static void a_lone_proxy_is_checked_while_it_is_down(void **state)
{
	struct stage *st = *state;
	unsigned taken;
	int64_t began;

	server_open(&st->servers[0], "127.0.0.1", good);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	stage_set(st);
	egress_dialer_check(st->dialer, st->set);
	for (int i = 0; i < 5; i++)
		stage_turn(st, 10);
	assert_int_equal(st->servers[0].accepted, 0); /* it is up for all we know */
	server_close(&st->servers[0]);
	assert_int_equal(dial(st, 0, &taken), -ECONNREFUSED);
	assert_false(set_leaf_is_up(st->set, 0));
	began = loop_now_ms(st->loop);
	server_reopen(st, 0, good);
	for (int i = 0; i < 800 && !set_leaf_is_up(st->set, 0); i++)
		stage_turn(st, 10);
	assert_true(set_leaf_is_up(st->set, 0));
	assert_true(loop_now_ms(st->loop) - began >= EGRESS_CHECK_DOWN_MS - 100);
}

/* --- what outlives a set --- */

/* None of the configuration, and all that can be asked of one. */
static void the_hosts_own_way(void **state)
{
	struct stage *st = *state;
	struct egress_udp_config udp = {0};
	struct egress_state *flow;
	struct egress_info info[2];
	struct egress_udp *u;
	struct call c;

	server_open(&st->servers[0], "127.0.0.1", good);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	stage_set(st);
	assert_int_equal(egress_type(st->set, EGRESS_DIRECT), CONF_EGRESS_DIRECT);
	assert_int_equal(egress_conf(st->set, EGRESS_DIRECT)->connect_timeout_ms, 5000);
	assert_true(egress_takes_udp(st->set, EGRESS_DIRECT));
	call_start_at(st, &c, EGRESS_DIRECT, &st->servers[0].at);
	assert_int_equal(CALL_END(st, &c), 0);
	close(c.fd);
	assert_int_equal(egress_type(st->set, c.egress), CONF_EGRESS_DIRECT);
	assert_int_equal(egress_udp_open(st->dialer, st->set, EGRESS_DIRECT, &udp, &u), 0);
	egress_udp_close(u);
	flow = egress_flow_begin(st->set, c.egress);
	assert_int_equal(egress_list(st->set, info, 2), 1); /* nobody is told of it */
	stage_set(st);
	egress_flow_end(flow);
}

static void states_are_handed_on(void **state)
{
	struct stage *st = *state;
	struct egress_state *flow;
	struct egress_info info[3];

	two_of(st, CONF_GROUP_SEQUENTIAL, good, good);
	state_failed(state_at(st, 0), true);
	flow = egress_flow_begin(st->set, 0);
	stage_set(st);
	assert_ptr_equal(state_at(st, 0), flow);
	assert_int_equal(egress_list(st->set, info, 1), 1);
	assert_int_equal(info[0].flows, 1);
	assert_int_equal(info[0].failures, 1);
	assert_false(info[0].up);
	/* Another server is another proxy, and so is another type. */
	st->egresses[0].server.at.port ^= 1;
	st->egresses[1].type = CONF_EGRESS_HTTP;
	stage_set(st);
	assert_ptr_not_equal(state_at(st, 0), flow);
	assert_int_equal(egress_list(st->set, info, 3), 3);
	assert_true(info[0].up);
	assert_int_equal(info[0].flows, 0);
	egress_flow_end(flow); /* the last one to hold it */
	egress_set_unref(egress_set_ref(st->set));
}

static void the_same_after_a_reload(void **state)
{
	static const int swapped[] = {1, 0};
	struct stage *st = *state;
	struct egress_set *old;

	two_of(st, CONF_GROUP_SEQUENTIAL, good, good);
	old = egress_set_ref(st->set);
	stage_set(st);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(egress_same(old, i, st->set, i));
		assert_false(egress_same(old, i, st->set, (i + 1) % 3));
	}
	assert_true(egress_same(old, EGRESS_DIRECT, st->set, EGRESS_DIRECT));
	assert_false(egress_same(old, 0, st->set, EGRESS_DIRECT));
	/* What leaves otherwise is another one, and so is a group that it is in. */
	st->egresses[0].mark = (struct conf_mark){1, 1};
	stage_set(st);
	assert_false(egress_same(old, 0, st->set, 0));
	assert_true(egress_same(old, 1, st->set, 1));
	assert_false(egress_same(old, 2, st->set, 2));
	st->egresses[0].mark = (struct conf_mark){0};
	st->egresses[1].user = (char *)"user";
	stage_set(st);
	assert_true(egress_same(old, 0, st->set, 0));
	assert_false(egress_same(old, 1, st->set, 1));
	st->egresses[1].user = NULL;
	memcpy(st->egresses[2].of, swapped, sizeof swapped);
	stage_set(st);
	assert_false(egress_same(old, 2, st->set, 2));
	st->egresses[2].n_of = 1;
	stage_set(st);
	assert_false(egress_same(old, 2, st->set, 2));
	egress_set_unref(old);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(sequential_takes_the_first_that_is_up),
		TEST(fastest_changes_over_only_when_it_is_worth_it),
		TEST(fastest_begins_with_who_was_measured),
		TEST(groups_of_groups),
		TEST(a_circle_ends),
		TEST(a_dead_member_is_passed_over),
		TEST(a_member_that_refuses_us_is_passed_over),
		TEST(a_silent_member_is_passed_over),
		TEST(the_targets_failure_is_final),
		TEST(direct_as_the_last_resort),
		TEST(a_group_comes_back_by_its_checks),
		TEST(a_lone_proxy_is_checked_while_it_is_down),
		TEST(the_hosts_own_way),
		TEST(states_are_handed_on),
		TEST(the_same_after_a_reload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
