/* When an index may go to another name: sweeps, times to come, other times, flushes. */
#include "test_fakeip.h"

static int ask(struct fakeip_table *t, unsigned number, uint32_t now_s, uint32_t *ret_index)
{
	struct test_name n = test_name_number(number);
	struct fakeip_pair p;
	int r = test_assign(t, &n, 0, now_s, &p);

	*ret_index = r ? 0 : p.index;
	return r;
}

static struct fakeip_table *fill(struct fakeip_pool_config *c, unsigned n, uint32_t now_s)
{
	struct fakeip_table *t = test_table(c);
	uint32_t index;

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(ask(t, i, now_s, &index), 0);
	return t;
}

static int snapshot_of(struct fakeip_table *t)
{
	int r = 1;

	while (r > 0)
		r = fakeip_snapshot_step(t);
	return r;
}

/* --- sweeps: ttl 1, hold 100, the last answers at 1000 --- */

static void nothing_is_free_before_a_sweep(void **state)
{
	struct fakeip_pool_config c = test_pools(29, 0);
	struct fakeip_table *t;
	uint32_t index;

	(void)state;
	c.needs_sweep = true;
	t = fill(&c, 5, 1000);
	assert_int_equal(ask(t, 10, 5000, &index), -ENOSPC);
	fakeip_swept(t, 1101); /* began in the last second of the hold */
	assert_int_equal(ask(t, 10, 5000, &index), -ENOSPC);
	fakeip_swept(t, 1102);
	assert_int_equal(ask(t, 10, 5000, &index), 0);
	fakeip_free(t);
}

static void what_a_sweep_meets_is_in_use(void **state)
{
	struct fakeip_pool_config c = test_pools(29, 0);
	struct fakeip_table *t;
	uint32_t index;

	(void)state;
	c.needs_sweep = true;
	t = fill(&c, 5, 1000);
	for (uint32_t now_s = 1200; now_s < 10000; now_s += 90) {
		fakeip_touch(t, 4, now_s + 5); /* an idle flow, each time */
		fakeip_swept(t, now_s);
		for (unsigned i = 0; i < 6; i++)
			if (ask(t, now_s * 10 + i, now_s, &index) == 0)
				assert_int_not_equal(index, 4);
	}
	assert_int_equal(ask(t, 2, 10000, &index), 0);
	assert_int_equal(index, 4);
	fakeip_free(t);
}

static void a_sweep_is_wanted_when_it_helps(void **state)
{
	struct fakeip_pool_config c = test_pools(24, 0); /* 253: fewer than 15 are few */
	struct fakeip_table *t;
	uint32_t index;
	unsigned taken = 0;

	(void)state;
	t = fill(&c, 253, 1000);
	assert_false(fakeip_wants_sweep(t, 5000)); /* not needed at all */
	fakeip_free(t);
	c.needs_sweep = true;
	t = fill(&c, 200, 1000);
	assert_false(fakeip_wants_sweep(t, 5000)); /* enough was never used */
	for (unsigned i = 200; i < 245; i++)
		assert_int_equal(ask(t, i, 1100, &index), 0);
	assert_false(fakeip_wants_sweep(t, 1101)); /* nothing is out of use */
	assert_true(fakeip_wants_sweep(t, 1112));
	fakeip_swept(t, 1112);
	assert_false(fakeip_wants_sweep(t, 1113)); /* 200 are free */
	while (taken < 8 + 190 && ask(t, 1000 + taken, 1113, &index) == 0)
		taken++;
	assert_int_equal(taken, 8 + 190);
	assert_false(fakeip_wants_sweep(t, 1114)); /* 10 are left, and nothing else could be */
	assert_true(fakeip_wants_sweep(t, 1214));  /* but now */
	fakeip_free(t);
}

static void an_assignment_that_fails_wants_a_sweep(void **state)
{
	struct fakeip_pool_config c = test_pools(24, 0);
	struct fakeip_table *t;
	struct fakeip_stats s;
	uint32_t index;

	(void)state;
	c.needs_sweep = true;
	t = fill(&c, 253, 1000);
	assert_int_equal(ask(t, 999, 1102, &index), -ENOSPC);
	fakeip_stats(t, 1102, &s);
	assert_int_equal(s.in_hold, 253); /* not free before they were looked for */
	assert_true(fakeip_wants_sweep(t, 1102));
	fakeip_swept(t, 1102);
	assert_int_equal(ask(t, 999, 1102, &index), 0);
	fakeip_stats(t, 1102, &s);
	assert_int_equal(s.in_hold, 0);
	fakeip_free(t);
}

/* --- times --- */

static void an_index_is_in_use_until_a_time_to_come(void **state)
{
	struct fakeip_pool_config c = test_pools(30, 0);
	struct fakeip_table *t = fill(&c, 1, 1000);
	struct fakeip_mapping m;
	struct fakeip_stats s;
	uint32_t index;

	(void)state;
	fakeip_touch_until(t, 2, 2000);
	fakeip_touch(t, 2, 1010); /* takes nothing back */
	assert_int_equal(fakeip_get(t, 2, &m), 0);
	assert_int_equal(m.last_packet_s, 2000);
	fakeip_stats(t, 1500, &s);
	assert_int_equal(s.in_hold, 0); /* carried */
	fakeip_stats(t, 2000, &s);
	assert_int_equal(s.in_hold, 1);
	assert_int_equal(ask(t, 1, 2100, &index), -ENOSPC);
	assert_int_equal(ask(t, 1, 2101, &index), 0);
	/* Beyond the end of the clock. */
	fakeip_touch_until(t, 2, UINT32_MAX);
	assert_int_equal(ask(t, 2, UINT32_MAX - 2, &index), -ENOSPC);
	fakeip_stats(t, UINT32_MAX - 2, &s);
	assert_int_equal(s.used, 1);
	/* Not what nobody has. */
	fakeip_touch_until(t, 1, 1);
	fakeip_touch_until(t, 3, 1);
	fakeip_touch_until(t, UINT32_MAX, 1);
	fakeip_free(t);
}

static void answers_with_a_longer_ttl_stay_good(void **state)
{
	struct fakeip_pool_config c = test_pools(30, 0);
	struct fakeip_table *t;
	uint32_t index;

	(void)state;
	c.ttl_s = 300;
	t = fill(&c, 1, 1000);
	fakeip_set_times(t, 1, 100);
	assert_int_equal(ask(t, 1, 1400, &index), -ENOSPC); /* 1000 + 300 + 100 */
	assert_int_equal(ask(t, 1, 1401, &index), 0);
	assert_int_equal(ask(t, 2, 1502, &index), -ENOSPC); /* 1401 + 1 + 100 */
	assert_int_equal(ask(t, 2, 1503, &index), 0);
	fakeip_set_times(t, 50, 100);
	assert_int_equal(ask(t, 3, 1653, &index), -ENOSPC); /* 1503 + 50 + 100 */
	fakeip_set_times(t, 50, 10);			    /* a shorter hold is one at once */
	assert_int_equal(ask(t, 3, 1563, &index), -ENOSPC);
	assert_int_equal(ask(t, 3, 1564, &index), 0);
	fakeip_free(t);
}

/* Without a file: an earlier run may have given out anything. */
static void a_start_without_memory_begins_anywhere(void **state)
{
	struct fakeip_pool_config c = test_pools(28, 0); /* 13 */
	struct fakeip_table *t;
	uint32_t index;

	(void)state;
	c.seed = 6000 + 4; /* of the lower 6 */
	t = test_table(&c);
	fakeip_start_anywhere(t, 1000);
	for (unsigned i = 0; i < 9; i++) {
		assert_int_equal(ask(t, i, 1000, &index), 0);
		assert_int_equal(index, 2 + 4 + i);
	}
	assert_int_equal(ask(t, 10, 1101, &index), -ENOSPC);
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(ask(t, i, 1101, &index), 0);
	for (unsigned i = 10; i < 14; i++) {
		assert_int_equal(ask(t, i, 1102, &index), 0);
		assert_in_range(index, 2, 5);
	}
	test_bijection(t);
	fakeip_free(t);
}

/* Over a restart with a shorter one, too, and whether the longer one came by a reload or not. */
static void a_longer_ttl_is_remembered(void **state)
{
	(void)state;
	for (unsigned reload = 0; reload < 2; reload++) {
		struct fakeip_pool_config c = test_pools(30, 0);
		struct test_file f = {.room = SIZE_MAX};
		struct fakeip_load_result loaded;
		struct fakeip_table *t;
		uint32_t index;

		c.ttl_s = reload ? 1 : 5000;
		t = test_open(&c, &f, 1000, &loaded);
		if (reload)
			fakeip_set_times(t, 5000, 100);
		assert_int_equal(ask(t, 0, 1000, &index), 0);
		assert_int_equal(fakeip_commit(t), 0);
		fakeip_free(t);
		c.ttl_s = 1;
		for (unsigned i = 0; i < 3; i++) {
			t = test_open(&c, &f, 1000, &loaded);
			assert_int_equal(ask(t, 1, 6100, &index), -ENOSPC);
			assert_int_equal(snapshot_of(t), 0);
			fakeip_free(t);
		}
		t = test_open(&c, &f, 1000, &loaded);
		assert_int_equal(ask(t, 1, 6101, &index), 0);
		fakeip_free(t);
		free(f.bytes);
	}
}

/* What was free by a sweep is not, by a shorter hold, what it was when it was looked at. */
static void a_shorter_hold_wants_another_sweep(void **state)
{
	struct fakeip_pool_config c = test_pools(30, 0);
	struct fakeip_table *t;
	uint32_t index;

	(void)state;
	c.needs_sweep = true;
	t = fill(&c, 1, 1000);
	fakeip_swept(t, 1050);
	fakeip_set_times(t, 1, 10);
	assert_int_equal(ask(t, 1, 1060, &index), -ENOSPC);
	assert_true(fakeip_wants_sweep(t, 1060));
	fakeip_swept(t, 1060);
	assert_int_equal(ask(t, 1, 1060, &index), 0);
	fakeip_free(t);
}

/* --- flush --- */

static void a_flushed_name_gets_another_index(void **state)
{
	struct fakeip_pool_config c = test_pools(24, 64);
	struct fakeip_table *t = fill(&c, 3, 1000);
	struct test_name n = test_name_number(1);
	struct fakeip_mapping m;
	struct fakeip_stats s;
	uint32_t index;
	bool kept = false;

	(void)state;
	assert_int_equal(fakeip_flush(t, 3, 1050, &kept), 0);
	assert_true(kept);
	assert_int_equal(fakeip_find(t, n.b, n.len, n.hash, &m, 1), 0);
	assert_int_equal(fakeip_get(t, 3, &m), 0);
	assert_true(m.flushed);
	assert_memory_equal(m.name, n.b, n.len);
	assert_int_equal(fakeip_flush(t, 3, 1050, &kept), -ENOENT);
	assert_int_equal(ask(t, 1, 1051, &index), 0);
	assert_int_equal(index, 5);
	assert_int_equal(fakeip_find(t, n.b, n.len, n.hash, &m, 1), 1);
	assert_int_equal(m.index, 5);
	assert_false(m.flushed);
	/* And again: one live index, two that wait. */
	assert_int_equal(fakeip_flush(t, 5, 1060, &kept), 0);
	assert_int_equal(ask(t, 1, 1061, &index), 0);
	assert_int_equal(index, 6);
	fakeip_stats(t, 1061, &s);
	assert_int_equal(s.used, 5);
	assert_int_equal(s.flushed, 2);
	assert_int_equal(s.in_hold, 4); /* these two, and the names 0 and 2 */
	test_bijection(t);
	assert_int_equal(fakeip_flush(t, 0, 1060, &kept), -ENOENT);
	assert_int_equal(fakeip_flush(t, 100, 1060, &kept), -ENOENT);
	assert_int_equal(fakeip_flush(t, UINT32_MAX, 1060, &kept), -ENOENT);
	fakeip_free(t);
}

static void a_flushed_index_waits_like_any_other(void **state)
{
	struct fakeip_pool_config c = test_pools(30, 0);
	struct fakeip_table *t = fill(&c, 1, 1000);
	struct fakeip_mapping m;
	uint32_t index;
	bool kept;

	(void)state;
	fakeip_hold(t, 2);
	assert_int_equal(fakeip_flush(t, 2, 5000, &kept), 0);
	assert_true(kept); /* a flow is carried */
	assert_int_equal(ask(t, 0, 5000, &index), -ENOSPC);
	assert_int_equal(fakeip_get(t, 2, &m), 0);
	fakeip_release(t, 2);
	assert_int_equal(ask(t, 0, 5000, &index), 0); /* the same name, and not flushed */
	assert_int_equal(fakeip_get(t, 2, &m), 0);
	assert_false(m.flushed);
	/* Out of use, it is gone at once. */
	assert_int_equal(fakeip_flush(t, 2, 6000, &kept), 0);
	assert_false(kept);
	assert_int_equal(fakeip_get(t, 2, &m), -ENOENT);
	assert_int_equal(fakeip_flush(t, 2, 6000, &kept), -ENOENT);
	assert_int_equal(ask(t, 7, 6000, &index), 0);
	test_bijection(t);
	fakeip_free(t);
}

static void a_flush_survives_a_restart(void **state)
{
	struct fakeip_pool_config c = test_pools(24, 64);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_mapping m;
	struct fakeip_table *t;
	uint32_t index;
	bool kept;

	(void)state;
	t = test_open(&c, &f, 1000, &loaded);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(ask(t, i, 1000, &index), 0);
	assert_int_equal(fakeip_flush(t, 3, 1000, &kept), 0);
	assert_int_equal(ask(t, 1, 1000, &index), 0);
	assert_int_equal(fakeip_flush(t, 5, 1000, &kept), 0);
	assert_int_equal(fakeip_flush(t, 2, 1200, &kept), 0);
	assert_false(kept);
	assert_int_equal(fakeip_commit(t), 0);
	fakeip_free(t);
	for (unsigned times = 0; times < 2; times++) {
		t = test_open(&c, &f, 2000, &loaded);
		assert_int_equal(loaded.loaded, 4);
		assert_int_equal(loaded.lost, 0);
		assert_int_equal(fakeip_get(t, 2, &m), -ENOENT);
		assert_int_equal(fakeip_get(t, 3, &m), 0);
		assert_true(m.flushed);
		assert_int_equal(fakeip_get(t, 4, &m), 0);
		assert_false(m.flushed);
		assert_int_equal(fakeip_get(t, 5, &m), 0);
		assert_true(m.flushed);
		assert_int_equal(ask(t, 1, 2000, &index), 0);
		assert_int_equal(index, 6);
		test_bijection(t);
		/* As it is, and then as a snapshot. */
		assert_int_equal(snapshot_of(t), 0);
		fakeip_free(t);
	}
	free(f.bytes);
}

/* --- many rules and views --- */

/* More in turn than there are numbers: those that nobody has any more are used again. */
static void rules_and_views_come_and_go(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 0);
	struct fakeip_table *t = test_table(&c);
	struct fakeip_mapping m;
	struct fakeip_pair p;

	(void)state;
	for (uint64_t i = 0; i < 200000; i++) {
		struct test_name n = test_name_number((unsigned)i % 100);
		uint64_t view = i % 7 == 0 ? 0 : (i % 100) << 40, rule = i * 0x9e3779b97f4a7c15ULL;

		assert_int_equal(fakeip_assign(t, n.b, n.len, n.hash, view, rule, 1000, &p), 0);
		assert_int_equal(fakeip_get(t, p.index, &m), 0);
		assert_int_equal(m.rule, rule);
		assert_int_equal(m.view, view);
	}
	test_bijection(t);
	fakeip_free(t);
}

static void too_many_views_at_once_are_refused(void **state)
{
	struct fakeip_pool_config c = test_pools(14, 0);
	struct fakeip_table *t = test_table(&c);
	struct fakeip_mapping m;
	struct fakeip_stats s;
	struct fakeip_pair p;

	(void)state;
	for (uint64_t i = 1; i < 66000; i++) {
		struct test_name n = test_name_number((unsigned)i % 1000);
		int r = fakeip_assign(t, n.b, n.len, n.hash, i << 20, 0, 1000, &p);

		assert_int_equal(r, i <= UINT16_MAX ? 0 : -ENOSPC);
		if (r)
			continue;
		assert_int_equal(fakeip_get(t, p.index, &m), 0);
		assert_int_equal(m.view, i << 20);
	}
	fakeip_stats(t, 1000, &s);
	assert_int_equal(s.exhausted, 65999 - UINT16_MAX);
	fakeip_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_free_before_a_sweep),
		cmocka_unit_test(what_a_sweep_meets_is_in_use),
		cmocka_unit_test(a_sweep_is_wanted_when_it_helps),
		cmocka_unit_test(an_assignment_that_fails_wants_a_sweep),
		cmocka_unit_test(an_index_is_in_use_until_a_time_to_come),
		cmocka_unit_test(answers_with_a_longer_ttl_stay_good),
		cmocka_unit_test(a_start_without_memory_begins_anywhere),
		cmocka_unit_test(a_longer_ttl_is_remembered),
		cmocka_unit_test(a_shorter_hold_wants_another_sweep),
		cmocka_unit_test(a_flushed_name_gets_another_index),
		cmocka_unit_test(a_flushed_index_waits_like_any_other),
		cmocka_unit_test(a_flush_survives_a_restart),
		cmocka_unit_test(rules_and_views_come_and_go),
		cmocka_unit_test(too_many_views_at_once_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
