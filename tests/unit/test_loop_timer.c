/* Timers and turn-end hooks of the loop, the heap against a plain model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/loop/loop_internal.h"

#define MANY 500

struct probe {
	struct loop_timer timer;
	struct loop *loop;
	unsigned fired;
	unsigned again; /* sets itself so often */
	struct probe *cancels;
};

static unsigned order[MANY];
static unsigned order_n;
static struct probe probes[MANY];

static void fire(struct loop_timer *t)
{
	struct probe *p = (struct probe *)t;

	assert_int_equal(t->slot, 0);
	assert_true(p->timer.due_ms <= loop_now_ms(p->loop));
	p->fired++;
	if (p >= probes && p < probes + MANY && order_n < MANY)
		order[order_n++] = (unsigned)(p - probes);
	if (p->again) {
		p->again--;
		assert_int_equal(loop_timer_set(p->loop, t, loop_now_ms(p->loop)), 0);
	}
	if (p->cancels)
		loop_timer_cancel(p->loop, &p->cancels->timer);
}

static int setup(void **state)
{
	struct loop *l;

	if (loop_new(&l))
		return -1;
	memset(probes, 0, sizeof(probes));
	order_n = 0;
	for (unsigned i = 0; i < MANY; i++) {
		probes[i].timer.fire = fire;
		probes[i].loop = l;
	}
	*state = l;
	return 0;
}

static int teardown(void **state)
{
	loop_free(*state);
	return 0;
}

static void test_fires_when_due_and_not_before(void **state)
{
	struct loop *l = *state;
	int64_t start = loop_now_ms(l);

	assert_int_equal(loop_timer_set(l, &probes[0].timer, start + 30), 0);
	assert_int_equal(loop_timer_set(l, &probes[1].timer, start + 10), 0);
	assert_int_equal(loop_timer_set(l, &probes[2].timer, start + 20), 0);
	assert_int_equal(loop_turn(l, 0), 0);
	assert_true(order_n == 0 || loop_now_ms(l) >= start + 10); /* a slow machine is late */
	while (order_n < 3)
		assert_int_equal(loop_turn(l, -1), 0);
	assert_int_equal(order[0], 1);
	assert_int_equal(order[1], 2);
	assert_int_equal(order[2], 0);
	assert_true(loop_now_ms(l) >= start + 30);
	assert_true(loop_last_turn_ms(l) >= start + 30);
}

static void test_wait_ends_at_the_timer_or_the_limit(void **state)
{
	struct loop *l = *state;
	int64_t start = loop_now_ms(l);

	loop_timer_set(l, &probes[0].timer, start + 20);
	assert_int_equal(loop_turn(l, 60000), 0);
	while (!probes[0].fired)
		loop_turn(l, 60000);
	assert_true(loop_now_ms(l) < start + 60000);
	loop_timer_set(l, &probes[0].timer, loop_now_ms(l) + 60000);
	start = loop_now_ms(l);
	assert_int_equal(loop_turn(l, 10), 0);
	assert_true(loop_now_ms(l) < start + 60000);
	assert_int_equal(probes[0].fired, 1);
	loop_timer_cancel(l, &probes[0].timer);
}

static void test_set_moves_and_cancel_takes_out(void **state)
{
	struct loop *l = *state;
	int64_t now = loop_now_ms(l);

	loop_timer_set(l, &probes[0].timer, now + 60000);
	loop_timer_set(l, &probes[1].timer, now - 1);
	loop_timer_set(l, &probes[0].timer, now - 2); /* earlier */
	loop_timer_set(l, &probes[2].timer, now - 3);
	loop_timer_set(l, &probes[2].timer, now + 60000); /* later */
	loop_timer_set(l, &probes[3].timer, now - 4);
	loop_timer_cancel(l, &probes[3].timer);
	loop_timer_cancel(l, &probes[3].timer); /* not set: nothing */
	loop_timer_cancel(l, &probes[4].timer); /* never was */
	loop_turn(l, 0);
	assert_int_equal(order_n, 2);
	assert_int_equal(order[0], 0);
	assert_int_equal(order[1], 1);
	assert_int_equal(l->timer_count, 1);
	loop_timer_cancel(l, &probes[2].timer);
	assert_int_equal(l->timer_count, 0);
}

static void test_a_timer_may_cancel_another_and_set_itself(void **state)
{
	struct loop *l = *state;
	int64_t now = loop_now_ms(l);

	probes[0].cancels = &probes[1];
	probes[0].again = 3;
	loop_timer_set(l, &probes[0].timer, now - 2);
	loop_timer_set(l, &probes[1].timer, now - 1);
	loop_turn(l, 0); /* ends although the timer is due again and again */
	assert_int_equal(probes[1].fired, 0);
	assert_true(probes[0].fired < 4);
	for (int i = 0; i < 4; i++)
		loop_turn(l, 0);
	assert_int_equal(probes[0].fired, 4);
}

static void test_heap_order_under_random_sets_moves_and_cancels(void **state)
{
	struct loop *l = *state;
	int64_t base = loop_now_ms(l) - 100000;
	unsigned expected = 0;
	int64_t before = INT64_MIN;

	srandom(7);
	for (unsigned i = 0; i < 20000; i++) {
		struct probe *p = &probes[(unsigned)random() % MANY];

		if (random() % 3 == 0)
			loop_timer_cancel(l, &p->timer);
		else
			assert_int_equal(loop_timer_set(l, &p->timer, base + random() % 1000), 0);
	}
	for (unsigned i = 0; i < MANY; i++)
		expected += probes[i].timer.slot != 0;
	assert_int_equal(l->timer_count, expected);
	for (uint32_t i = 0; i < l->timer_count; i++)
		assert_int_equal(l->heap[i]->slot, i + 1);
	loop_turn(l, 0);
	assert_int_equal(order_n, expected);
	for (unsigned i = 0; i < order_n; i++) {
		assert_true(probes[order[i]].timer.due_ms >= before);
		assert_int_equal(probes[order[i]].fired, 1);
		before = probes[order[i]].timer.due_ms;
	}
}

static char hook_order[8];

static void hook_a(struct loop_hook *h)
{
	(void)h;
	strcat(hook_order, "a");
}

static void hook_b(struct loop_hook *h)
{
	(void)h;
	strcat(hook_order, "b");
}

static void test_hooks_run_each_turn_in_their_order(void **state)
{
	struct loop *l = *state;
	struct loop_hook a = {.run = hook_a}, b = {.run = hook_b};

	hook_order[0] = '\0';
	loop_on_turn_end(l, &a);
	loop_on_turn_end(l, &b);
	loop_turn(l, 0);
	loop_turn(l, 0);
	assert_string_equal(hook_order, "abab");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_fires_when_due_and_not_before, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_wait_ends_at_the_timer_or_the_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_set_moves_and_cancel_takes_out, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_timer_may_cancel_another_and_set_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_heap_order_under_random_sets_moves_and_cancels, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_hooks_run_each_turn_in_their_order, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
