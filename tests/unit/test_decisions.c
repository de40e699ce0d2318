/* What was decided about fake addresses: kept, forgotten, bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/carry/decisions.h"

static struct decisions *fresh(unsigned max)
{
	struct decisions *d;

	assert_int_equal(decisions_new(max, &d), 0);
	return d;
}

static struct decision_pin pin(uint8_t last, uint32_t until_s)
{
	return (struct decision_pin){.real = ip_addr_v4((uint8_t[]){192, 0, 2, last}),
		.egress = last,
		.until_s = until_s};
}

/* Of the name that has the index in these tests. */
static struct decision_key key(const struct decisions *d, uint32_t index)
{
	struct dns_name n;

	assert_int_equal(dns_name_parse("a.test", 6, &n), 0);
	return decisions_key(d, index, &n, 0);
}

static void test_each_part_is_kept_by_itself(void **state)
{
	struct decisions *d = fresh(64);
	struct decision_pin p4 = pin(4, 100), p6 = pin(6, 200);
	struct decision got;

	(void)state;
	memset(&got, 0xff, sizeof got);
	assert_false(decisions_get(d, key(d, 3), 1, &got));
	assert_int_equal(got.rule | got.egress | got.verdict_until_s | got.carried_by, 0);
	assert_int_equal(got.pin4.real.family, IP_NONE);
	decisions_set_pin(d, key(d, 3), IP_V4, &p4, 1);
	decisions_set_verdict(d, key(d, 3), 11, 12, 50, 1);
	decisions_set_carried(d, key(d, 3), 13, DECISION_UNLESS, 1);
	decisions_set_pin(d, key(d, 3), IP_V6, &p6, 1); /* a v4 address behind the fake v6 one */
	assert_true(decisions_get(d, key(d, 3), 2, &got));
	assert_int_equal(got.rule, 11);
	assert_int_equal(got.egress, 12);
	assert_int_equal(got.verdict_until_s, 50);
	assert_int_equal(got.carried_by, 13);
	assert_int_equal(got.by, DECISION_UNLESS);
	assert_true(ip_addr_equal(&got.pin4.real, &p4.real));
	assert_int_equal(got.pin4.until_s, 100);
	assert_true(ip_addr_equal(&got.pin6.real, &p6.real));
	assert_int_equal(got.pin6.egress, 6);
	assert_false(decisions_get(d, key(d, 4), 2, &got));
	/* A pin is not lost when its time is over. */
	assert_true(decisions_get(d, key(d, 3), 1000, &got));
	assert_true(ip_addr_equal(&got.pin4.real, &p4.real));
	decisions_forget(d, 3);
	assert_false(decisions_get(d, key(d, 3), 2, &got));
	assert_int_equal(got.pin4.real.family, IP_NONE);
	decisions_free(d);
	decisions_free(NULL);
}

static void test_a_reload_forgets_verdicts_and_keeps_pins(void **state)
{
	struct decisions *d = fresh(64);
	struct decision_pin p = pin(1, 100);
	struct decision got;

	(void)state;
	decisions_set_verdict(d, key(d, 1), 11, 12, 50, 1);
	decisions_set_pin(d, key(d, 1), IP_V4, &p, 1);
	decisions_set_carried(d, key(d, 1), 12, DECISION_UNLESS, 1);
	decisions_forget_verdicts(d);
	assert_true(decisions_get(d, key(d, 1), 2, &got));
	assert_int_equal(got.rule | got.egress | got.verdict_until_s, 0);
	assert_int_equal(got.pin4.until_s, 100);
	assert_int_equal(got.carried_by, 12);
	decisions_set_verdict(d, key(d, 1), 21, 22, 50, 3);
	assert_true(decisions_get(d, key(d, 1), 3, &got));
	assert_int_equal(got.rule, 21);
	decisions_free(d);
}

static void test_the_next_name_of_an_index_inherits_nothing(void **state)
{
	struct decisions *d = fresh(64);
	struct decision_pin p = pin(1, 100);
	struct decision_key next, view;
	struct decision got;
	struct dns_name n;

	(void)state;
	assert_int_equal(dns_name_parse("b.test", 6, &n), 0);
	next = decisions_key(d, 1, &n, 0);
	assert_int_equal(dns_name_parse("a.test", 6, &n), 0);
	view = decisions_key(d, 1, &n, 7);
	decisions_set_pin(d, key(d, 1), IP_V4, &p, 1);
	assert_false(decisions_get(d, next, 1, &got));
	assert_false(decisions_get(d, view, 1, &got));
	decisions_set_carried(d, next, 5, DECISION_RULE, 1);
	assert_true(decisions_get(d, next, 1, &got));
	assert_int_equal(got.pin4.real.family, IP_NONE);
	decisions_forget(d, 1);
	assert_false(decisions_get(d, next, 1, &got));
	decisions_free(d);
}

static void test_neighbours_have_room_for_all(void **state)
{
	struct decisions *d = fresh(1024);
	struct decision got;

	(void)state;
	for (uint32_t i = 0; i < 1024; i++)
		decisions_set_verdict(d, key(d, 5000 * 8 + i), i + 1, 0, 9, 1);
	for (uint32_t i = 0; i < 1024; i++) {
		assert_true(decisions_get(d, key(d, 5000 * 8 + i), 1, &got));
		assert_int_equal(got.rule, i + 1);
	}
	decisions_free(d);
}

static void test_the_least_used_gives_way(void **state)
{
	struct decisions *d = fresh(8);
	struct decision got;

	(void)state;
	for (uint32_t i = 0; i < 8; i++)
		decisions_set_verdict(d, key(d, i), i + 1, 0, 99, 10 + i);
	assert_true(decisions_get(d, key(d, 0), 50, &got)); /* used again */
	decisions_set_verdict(d, key(d, 100), 101, 0, 99, 51);
	decisions_set_verdict(d, key(d, 101), 102, 0, 99, 52);
	assert_true(decisions_get(d, key(d, 0), 53, &got));
	assert_false(decisions_get(d, key(d, 1), 53, &got));
	assert_false(decisions_get(d, key(d, 2), 53, &got));
	assert_true(decisions_get(d, key(d, 3), 53, &got));
	assert_true(decisions_get(d, key(d, 100), 53, &got));
	assert_int_equal(got.rule, 101);
	decisions_forget(d, 100); /* its place is the next one's */
	decisions_set_verdict(d, key(d, 200), 201, 0, 99, 54);
	assert_true(decisions_get(d, key(d, 3), 55, &got));
	decisions_free(d);
}

#ifndef __SANITIZE_THREAD__ /* whose shadow comes with the allocation */
static size_t resident(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	size_t all = 0, pages = 0;

	assert_int_equal(fscanf(f, "%zu %zu", &all, &pages), 2);
	fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_memory_comes_with_use(void **state)
{
	size_t before = resident();
	struct decisions *d = fresh(1 << 20);

	(void)state;
	for (uint32_t i = 0; i < 1000; i++)
		decisions_set_carried(d, key(d, i), 1, DECISION_RULE, 1);
	assert_true(resident() - before < 8 << 20); /* of 100 MB; sanitizers take their part */
	decisions_free(d);
}
#endif

/* --- threads --- */

#define THREADS 4
#define INDEXES 40

static _Atomic unsigned failures;

static void *decide(void *arg)
{
	struct decisions *d = arg;
	uint32_t random = (uint32_t)(uintptr_t)&random | 1;

	for (unsigned i = 0; i < 40000; i++) {
		struct decision got;
		uint32_t index;
		struct decision_pin p;

		random ^= random << 13;
		random ^= random >> 17;
		random ^= random << 5;
		index = random % INDEXES;
		p = pin((uint8_t)index, index);
		switch (random / INDEXES % 8) {
		case 0:
			decisions_set_verdict(d, key(d, index), index + 1, index + 2, 9, i);
			break;
		case 1:
			decisions_set_pin(d, key(d, index), IP_V4, &p, i);
			break;
		case 2:
			decisions_forget(d, index);
			break;
		case 3:
			if (random % 64 == 0)
				decisions_forget_verdicts(d);
			break;
		default: /* all of one, and of this one */
			if (!decisions_get(d, key(d, index), i, &got))
				break;
			if (got.rule && (got.rule != index + 1 || got.egress != index + 2))
				failures++;
			if (got.pin4.real.family && got.pin4.until_s != index)
				failures++;
		}
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct decisions *d = fresh(32); /* fewer than indexes */
	pthread_t threads[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, decide, d), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(failures, 0);
	decisions_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_part_is_kept_by_itself),
		cmocka_unit_test(test_a_reload_forgets_verdicts_and_keeps_pins),
		cmocka_unit_test(test_the_next_name_of_an_index_inherits_nothing),
		cmocka_unit_test(test_neighbours_have_room_for_all),
		cmocka_unit_test(test_the_least_used_gives_way),
#ifndef __SANITIZE_THREAD__
		cmocka_unit_test(test_memory_comes_with_use),
#endif
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
