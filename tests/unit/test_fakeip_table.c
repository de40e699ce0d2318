#include "test_fakeip.h"

#include <time.h>
#include <unistd.h>

static void same_name_same_pair(void **state)
{
	struct fakeip_pool_config c = test_pools(24, 64);
	struct fakeip_table *t = test_table(&c);
	struct test_name a = test_name("www.a.test"), b = test_name("a.test"), root = test_name("");
	struct fakeip_pair first, again, other;
	struct fakeip_mapping m;

	(void)state;
	assert_int_equal(test_assign(t, &a, 0, 10, &first), 0);
	assert_int_equal(test_assign(t, &b, 0, 10, &other), 0);
	assert_int_not_equal(first.index, other.index);
	assert_int_equal(test_assign(t, &root, 0, 10, &other), 0);
	assert_int_equal(test_assign(t, &a, 0, 5000, &again), 0);
	assert_int_equal(again.index, first.index);
	assert_memory_equal(again.v4, first.v4, 4);
	assert_memory_equal(again.v6, first.v6, 16);
	assert_false(again.pending);

	assert_int_equal(fakeip_get(t, first.index, &m), 0);
	assert_int_equal(m.index, first.index);
	assert_int_equal(m.name_len, a.len);
	assert_memory_equal(m.name, a.b, a.len);
	assert_int_equal(m.last_answer_s, 5000);
	assert_int_equal(m.last_packet_s, 0);
	assert_int_equal(m.rule, 7);
	assert_memory_equal(m.v4, first.v4, 4);
	assert_memory_equal(m.v6, first.v6, 16);
	assert_int_equal(fakeip_get(t, 0, &m), -ENOENT);
	assert_int_equal(fakeip_get(t, 1, &m), -ENOENT);
	assert_int_equal(fakeip_get(t, 5, &m), -ENOENT);
	assert_int_equal(fakeip_get(t, UINT32_MAX, &m), -ENOENT);
	fakeip_free(t);
}

static void views_have_pairs_of_their_own(void **state)
{
	struct fakeip_pool_config c = test_pools(24, 64);
	struct fakeip_table *t = test_table(&c);
	struct test_name a = test_name("a.test"), none = test_name("b.test");
	struct fakeip_mapping found[2];
	struct fakeip_pair p[3], again;

	(void)state;
	for (uint64_t view = 0; view < 3; view++)
		assert_int_equal(test_assign(t, &a, view << 40, 10, &p[view]), 0);
	for (uint64_t view = 0; view < 3; view++) {
		assert_int_equal(test_assign(t, &a, view << 40, 11, &again), 0);
		assert_int_equal(again.index, p[view].index);
	}
	assert_int_not_equal(p[0].index, p[1].index);
	assert_int_not_equal(p[1].index, p[2].index);
	assert_int_equal(fakeip_find(t, a.b, a.len, a.hash, found, 2), 3);
	assert_int_not_equal(found[0].index, found[1].index);
	assert_memory_equal(found[0].name, a.b, a.len);
	assert_memory_equal(found[1].name, a.b, a.len);
	assert_int_equal(fakeip_find(t, none.b, none.len, none.hash, found, 2), 0);
	test_bijection(t);
	fakeip_free(t);
}

static void the_rule_that_answered_last_is_told(void **state)
{
	struct fakeip_pool_config c = test_pools(24, 0);
	struct fakeip_table *t = test_table(&c);
	struct test_name a = test_name("a.test");
	struct fakeip_mapping m;
	struct fakeip_pair p;

	(void)state;
	assert_int_equal(fakeip_assign(t, a.b, a.len, a.hash, 0, 1, 10, &p), 0);
	assert_int_equal(fakeip_assign(t, a.b, a.len, a.hash, 0, 2, 9, &p), 0);
	assert_int_equal(fakeip_get(t, p.index, &m), 0);
	assert_int_equal(m.rule, 2);
	assert_int_equal(
		m.last_answer_s, 10); /* a thread whose clock is behind takes nothing back */
	fakeip_free(t);
}

static void names_that_are_none_are_refused(void **state)
{
	struct fakeip_pool_config c = test_pools(24, 0);
	struct fakeip_table *t = test_table(&c);
	struct test_name upper = test_name("A.test"), cut = test_name("a.test"),
			 more = test_name("a.test");
	struct fakeip_stats s;
	struct fakeip_pair p;

	(void)state;
	cut.hash = test_hash(cut.b, --cut.len, TEST_KEY);
	more.hash = test_hash(more.b, ++more.len, TEST_KEY);
	assert_int_equal(test_assign(t, &upper, 0, 1, &p), -EINVAL);
	assert_int_equal(test_assign(t, &cut, 0, 1, &p), -EINVAL);
	assert_int_equal(test_assign(t, &more, 0, 1, &p), -EINVAL);
	cut.len = 0;
	assert_int_equal(test_assign(t, &cut, 0, 1, &p), -EINVAL);
	cut.len = 256;
	assert_int_equal(test_assign(t, &cut, 0, 1, &p), -EINVAL);
	fakeip_stats(t, 1, &s);
	assert_int_equal(s.used, 0);
	fakeip_free(t);
}

/* ttl 1, hold 100: what each use of the one index forbids, to the second. */
static void an_index_is_reused_only_when_nobody_can_use_it(void **state)
{
	struct fakeip_pool_config c = test_pools(30, 0);
	struct fakeip_table *t = test_table(&c);
	struct test_name n[5];
	struct fakeip_stats s;
	struct fakeip_pair p;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		n[i] = test_name_number(i);
	assert_int_equal(test_assign(t, &n[0], 0, 1000, &p), 0);
	assert_int_equal(
		test_assign(t, &n[1], 0, 1101, &p), -ENOSPC); /* the answer: 1000 + 1 + 100 */
	assert_int_equal(test_assign(t, &n[1], 0, 1102, &p), 0);
	assert_int_equal(p.index, 2);
	assert_int_equal(test_assign(t, &n[0], 0, 1102, &p), -ENOSPC);

	fakeip_touch(t, 2, 1200); /* a packet: 1200 + 100 */
	assert_int_equal(test_assign(t, &n[2], 0, 1300, &p), -ENOSPC);
	assert_int_equal(test_assign(t, &n[2], 0, 1301, &p), 0);

	fakeip_hold(t, 2);
	fakeip_hold(t, 2);
	assert_int_equal(test_assign(t, &n[3], 0, 5000, &p), -ENOSPC);
	fakeip_release(t, 2);
	assert_int_equal(test_assign(t, &n[3], 0, 5000, &p), -ENOSPC);
	fakeip_release(t, 2);
	assert_int_equal(test_assign(t, &n[3], 0, 5000, &p), 0);
	fakeip_release(t, 2); /* one too many does not go below none */
	assert_int_equal(test_assign(t, &n[4], 0, 6000, &p), 0);

	assert_int_equal(test_assign(t, &n[4], 0, 6050, &p), 0); /* asked again: 6050 + 1 + 100 */
	assert_int_equal(test_assign(t, &n[0], 0, 6151, &p), -ENOSPC);
	fakeip_stats(t, 6051, &s);
	assert_int_equal(s.in_hold, 0); /* an answer may still be used */
	fakeip_stats(t, 6052, &s);
	assert_int_equal(s.in_hold, 1);
	fakeip_stats(t, 6152, &s);
	assert_int_equal(s.in_hold, 0); /* free */
	assert_int_equal(s.used, 1);
	assert_int_equal(s.size, 1);
	assert_int_equal(s.exhausted, 6);
	assert_int_equal(test_assign(t, &n[0], 0, 6152, &p), 0);
	assert_int_equal(fakeip_find(t, n[4].b, n[4].len, n[4].hash, NULL, 0), 0);
	fakeip_free(t);
}

static void times_at_the_end_of_the_clock_do_not_wrap(void **state)
{
	struct fakeip_pool_config c = test_pools(30, 0);
	struct fakeip_table *t;
	struct test_name a = test_name("a.test"), b = test_name("b.test");
	struct fakeip_pair p;

	(void)state;
	c.hold_s = UINT32_MAX;
	t = test_table(&c);
	assert_int_equal(test_assign(t, &a, 0, 10, &p), 0);
	assert_int_equal(test_assign(t, &b, 0, UINT32_MAX - 2, &p), -ENOSPC);
	fakeip_free(t);
}

static double cpu_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void a_full_pool_says_so_without_looking_again(void **state)
{
	struct fakeip_pool_config c = test_pools(15, 64);
	struct fakeip_table *t = test_table(&c);
	struct fakeip_stats s;
	struct fakeip_pair p;
	struct test_name n;
	double start;

	(void)state;
	for (unsigned i = 0; i < 131069; i++) {
		n = test_name_number(i);
		assert_int_equal(test_assign(t, &n, 0, 1000 + i / 4096, &p), 0);
		assert_int_equal(p.index, 2 + i);
	}
	start = cpu_s();
	n = test_name_number(131069);
	for (unsigned i = 0; i < 200000; i++)
		assert_int_equal(test_assign(t, &n, 0, 1050 + i / 10000, &p), -ENOSPC);
	/* To look at all entries each time would take minutes of the processor. */
	assert_true(cpu_s() - start < 30);
	fakeip_stats(t, 1100, &s);
	assert_int_equal(s.exhausted, 200000);
	/* The one that a flow leaves behind is found among them all. */
	fakeip_hold(t, 4000);
	assert_int_equal(test_assign(t, &n, 0, 1102, &p), 0);
	assert_in_range(p.index, 2, 4097);
	fakeip_free(t);
}

/* Names grow from round to round, so the blocks that are given back are always too small: the arena
 * must move. */
static void names_of_all_lengths_take_turns(void **state)
{
	struct fakeip_pool_config c = test_pools(22, 0);
	struct fakeip_table *t = test_table(&c);
	struct fakeip_mapping m;
	struct fakeip_pair p;
	char text[256];

	(void)state;
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 1021; i++) {
			struct test_name n;
			int len = snprintf(text, sizeof text, "r%u-%u", round, i);

			while (len < (int)(round * 7 % 240) + (int)(i % 3))
				len += snprintf(text + len, sizeof text - (size_t)len,
					len % 9 ? "x" : ".y");
			n = test_name(text);
			assert_int_equal(test_assign(t, &n, 0, 1000 * round + 1, &p), 0);
			assert_int_equal(fakeip_get(t, p.index, &m), 0);
			assert_int_equal(m.name_len, n.len);
			assert_memory_equal(m.name, n.b, 256);
		}
		test_bijection(t);
	}
	fakeip_free(t);
}

/* Not statm: its counters are gathered lazily and may be off by dozens of pages. */
static long resident_kib(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	char line[256];
	long kib = -1;

	assert_non_null(f);
	while (kib < 0 && fgets(line, sizeof line, f))
		if (sscanf(line, "Anonymous: %ld", &kib) != 1)
			kib = -1;
	fclose(f);
	assert_true(kib > 0);
	return kib;
}

static void an_empty_table_costs_little_also_when_scanned(void **state)
{
	struct fakeip_pool_config c = test_pools(15, 64);
	long before = resident_kib();
	struct fakeip_table *t = test_table(&c);
	struct fakeip_mapping m;

	(void)state;
	for (uint32_t i = 0; i < 131072; i++) {
		fakeip_touch(t, i, 10);
		fakeip_hold(t, i);
		fakeip_release(t, i);
		assert_int_equal(fakeip_get(t, i, &m), -ENOENT);
	}
	assert_true(resident_kib() - before < 200);
	fakeip_free(t);
}

/* Its name of 20 bytes too. */
static void a_mapping_costs_less_than_80_bytes(void **state)
{
	struct fakeip_pool_config c = test_pools(15, 64);
	long before = resident_kib();
	struct fakeip_table *t = test_table(&c);
	struct fakeip_pair p;
	char text[32];

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		struct test_name n;

		snprintf(text, sizeof text, "h%06u.example.net", i);
		n = test_name(text);
		assert_int_equal(n.len, 21);
		assert_int_equal(test_assign(t, &n, 0, 1000, &p), 0);
	}
#ifndef __SANITIZE_THREAD__ /* its shadow counts too */
	assert_true((resident_kib() - before) * 1024 < 80 * 100000);
#else
	(void)before;
#endif
	fakeip_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_name_same_pair),
		cmocka_unit_test(views_have_pairs_of_their_own),
		cmocka_unit_test(the_rule_that_answered_last_is_told),
		cmocka_unit_test(names_that_are_none_are_refused),
		cmocka_unit_test(an_index_is_reused_only_when_nobody_can_use_it),
		cmocka_unit_test(times_at_the_end_of_the_clock_do_not_wrap),
		cmocka_unit_test(a_full_pool_says_so_without_looking_again),
		cmocka_unit_test(names_of_all_lengths_take_turns),
		cmocka_unit_test(an_empty_table_costs_little_also_when_scanned),
		cmocka_unit_test(a_mapping_costs_less_than_80_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
