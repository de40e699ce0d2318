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
	/* To look at all entries each time would take minutes; this is 10 µs for each, also under a
	 * sanitizer. */
	assert_true(cpu_s() - start < 2);
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

static void a_mapping_costs_90_bytes_beside_its_name(void **state)
{
	struct fakeip_pool_config c = test_pools(15, 64);
	long before = resident_kib();
	struct fakeip_table *t = test_table(&c);
	struct fakeip_pair p;
	size_t names = 0;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		struct test_name n = test_name_number(i);

		assert_int_equal(test_assign(t, &n, 0, 1000, &p), 0);
		names += n.len;
	}
#ifndef __SANITIZE_THREAD__ /* its shadow counts too */
	assert_true((resident_kib() - before) * 1024 < (long)(90 * 100000 + names));
#else
	(void)before;
#endif
	fakeip_free(t);
}

/* --- against a model --- */

#define KEYS	96
#define INDEXES 64

struct model {
	uint32_t ttl_s, hold_s, end, fresh, now_s;
	struct {
		int key; /* -1: none */
		uint32_t answer_s, packet_s, flows;
	} at[INDEXES];
	struct {
		int key;
		uint32_t index;
	} * records; /* as they went into the log */
	size_t n_records, committed;
	uint64_t exhausted;
	uint64_t random;
};

static uint32_t pick(struct model *m, uint32_t n)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (uint32_t)(m->random >> 32) % n;
}

static uint32_t model_index(const struct model *m, int key)
{
	for (uint32_t i = 2; i < m->fresh; i++)
		if (m->at[i].key == key)
			return i;
	return 0;
}

static bool model_free(const struct model *m, uint32_t i)
{
	return m->now_s > m->at[i].answer_s + m->ttl_s + m->hold_s &&
	       (!m->at[i].packet_s || m->now_s > m->at[i].packet_s + m->hold_s) && !m->at[i].flows;
}

static bool model_any_free(const struct model *m)
{
	for (uint32_t i = 2; i < m->fresh; i++)
		if (model_free(m, i))
			return true;
	return false;
}

/* A key is a name in a view: 32 names, 3 views. */
static int assign_key(
	struct fakeip_table *t, const struct model *m, int key, struct fakeip_pair *ret)
{
	struct test_name n = test_name_number((unsigned)key / 3);

	return test_assign(t, &n, (uint64_t)key % 3, m->now_s, ret);
}

static void step_assign(struct fakeip_table *t, struct model *m)
{
	int key = (int)pick(m, KEYS);
	uint32_t known = model_index(m, key);
	struct fakeip_pair p;
	int r = assign_key(t, m, key, &p);

	if (!known && m->fresh == m->end && !model_any_free(m)) {
		assert_int_equal(r, -ENOSPC);
		m->exhausted++;
		return;
	}
	assert_int_equal(r, 0);
	if (known) {
		assert_int_equal(p.index, known);
	} else if (m->fresh < m->end) {
		assert_int_equal(p.index, m->fresh);
		m->fresh++;
	} else {
		assert_in_range(p.index, 2, m->end - 1);
		assert_true(model_free(m, p.index));
	}
	if (!known) {
		m->at[p.index].key = key;
		m->at[p.index].packet_s = 0;
		m->records[m->n_records].key = key;
		m->records[m->n_records++].index = p.index;
	}
	m->at[p.index].answer_s = m->now_s;
	/* Pending exactly as long as its last record is not written. */
	bool pending = false;
	for (size_t i = m->committed; i < m->n_records; i++)
		pending |= m->records[i].index == p.index;
	assert_int_equal(p.pending, pending);
}

static void step_use(struct fakeip_table *t, struct model *m, uint32_t what)
{
	uint32_t i = pick(m, m->end);

	if (i < 2 || i >= m->fresh)
		return;
	if (what == 0) {
		fakeip_touch(t, i, m->now_s);
		m->at[i].packet_s = m->now_s;
	} else if (what == 1 && m->at[i].flows < 2 && m->at[i].key >= 0) {
		fakeip_hold(t, i);
		m->at[i].flows++;
	} else if (m->at[i].flows) {
		fakeip_release(t, i);
		m->at[i].flows--;
	}
}

/* The process dies: what was not committed is gone, the rest means what the last records say. */
static struct fakeip_table *step_restart(struct fakeip_table *t, struct model *m,
	const struct fakeip_pool_config *config, struct test_file *f)
{
	struct fakeip_load_result loaded;
	uint32_t mapped = 0;

	fakeip_free(t);
	t = test_open(config, f, m->now_s, &loaded);
	assert_false(loaded.foreign);
	assert_int_equal(loaded.lost, 0);
	m->n_records = m->committed;
	m->fresh = 2;
	m->exhausted = 0;
	for (uint32_t i = 0; i < INDEXES; i++) {
		m->at[i].key = -1;
		m->at[i].answer_s = m->now_s;
		m->at[i].packet_s = m->at[i].flows = 0;
	}
	for (size_t r = 0; r < m->n_records; r++) {
		for (uint32_t i = 2; i < m->end; i++)
			if (m->at[i].key == m->records[r].key)
				m->at[i].key = -1;
		m->at[m->records[r].index].key = m->records[r].key;
		if (m->records[r].index >= m->fresh)
			m->fresh = m->records[r].index + 1;
	}
	for (uint32_t i = 2; i < m->fresh; i++)
		mapped += m->at[i].key >= 0;
	assert_int_equal(loaded.loaded, mapped);
	return t;
}

static void check_all(const struct fakeip_table *t, const struct model *m)
{
	struct fakeip_stats s;
	uint32_t used = 0;

	for (uint32_t i = 0; i < m->end + 2; i++) {
		struct fakeip_mapping got;
		struct test_name n;
		int r = fakeip_get(t, i, &got);

		if (i < 2 || i >= m->fresh || m->at[i].key < 0) {
			assert_int_equal(r, -ENOENT);
			continue;
		}
		used++;
		n = test_name_number((unsigned)m->at[i].key / 3);
		assert_int_equal(r, 0);
		assert_int_equal(got.name_len, n.len);
		assert_memory_equal(got.name, n.b, n.len);
		assert_int_equal(got.view, (unsigned)m->at[i].key % 3);
		assert_int_equal(got.last_answer_s, m->at[i].answer_s);
		assert_int_equal(got.last_packet_s, m->at[i].packet_s);
		assert_int_equal(got.flows, m->at[i].flows);
	}
	fakeip_stats(t, m->now_s, &s);
	assert_int_equal(s.used, used);
	assert_int_equal(s.exhausted, m->exhausted);
	test_bijection(t);
}

static void run_model(uint8_t len4, uint32_t hold_s, unsigned steps, uint64_t seed)
{
	struct fakeip_pool_config c = test_pools(len4, 64);
	struct model m = {.ttl_s = 1,
		.hold_s = hold_s,
		.end = (1U << (32 - len4)) - 1,
		.fresh = 2,
		.now_s = 1000,
		.random = seed};
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_table *t;

	c.hold_s = hold_s;
	for (uint32_t i = 0; i < INDEXES; i++)
		m.at[i].key = -1;
	m.records = calloc(steps + 1, sizeof *m.records);
	t = test_open(&c, &f, m.now_s, &loaded);
	for (unsigned step = 0; step < steps; step++) {
		uint32_t what = pick(&m, 1000);

		if (what < 600) {
			step_assign(t, &m);
		} else if (what < 900) {
			step_use(t, &m, what % 3);
		} else if (what < 960) {
			m.now_s += pick(&m, hold_s / 2 + 2);
		} else if (what < 995) {
			assert_int_equal(fakeip_commit(t), 0);
			m.committed = m.n_records;
		} else if (what < 998) {
			check_all(t, &m);
		} else {
			t = step_restart(t, &m, &c, &f);
		}
	}
	check_all(t, &m);
	assert_true(m.exhausted > 0 || m.n_records > 1000);
	fakeip_free(t);
	free(m.records);
	free(f.bytes);
}

static void random_steps_agree_with_a_model(void **state)
{
	(void)state;
	run_model(28, 5, 60000, 1);
	run_model(28, 60, 60000, 2);
	run_model(27, 0, 60000, 3);
	run_model(26, 30, 100000, 4);
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
		cmocka_unit_test(a_mapping_costs_90_bytes_beside_its_name),
		cmocka_unit_test(random_steps_agree_with_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
