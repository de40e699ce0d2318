/* Several threads on one table; meant for the thread sanitizer, but what they see is checked
 * anyway. */
#include "test_fakeip.h"

#include <pthread.h>
#include <stdatomic.h>

#define THREADS 4
#define NAMES	400

struct shared {
	struct fakeip_table *t;
	_Atomic uint32_t index_of[NAMES]; /* 0: nobody has asked yet */
	_Atomic uint32_t now_s;
	_Atomic unsigned failures;
	_Atomic bool writing;
	pthread_mutex_t
		file_lock; /* between the writer and those who look whether their record is there */
	struct test_file file;
	unsigned rounds;
};

struct worker {
	struct shared *s;
	unsigned number;
	uint64_t random;
};

static uint32_t pick(struct worker *w, uint32_t n)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (uint32_t)(w->random >> 32) % n;
}

/* cmocka's asserts leave by longjmp, which belongs to the main thread. */
static void expect(struct shared *s, bool holds)
{
	if (!holds)
		atomic_fetch_add(&s->failures, 1);
}

static void run_threads(struct shared *s, void *(*run)(void *))
{
	struct worker w[THREADS];
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){
			.s = s, .number = i, .random = 0x9e3779b97f4a7c15ULL * (i + 1)};
		assert_int_equal(pthread_create(&threads[i], NULL, run, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(s->failures, 0);
}

/* All ask for the same names at once: everyone is told the same index. */
static void *ask_overlapping(void *arg)
{
	struct worker *w = arg;
	struct shared *s = w->s;

	for (unsigned i = 0; i < s->rounds; i++) {
		unsigned k = pick(w, NAMES);
		struct test_name n = test_name_number(k);
		struct fakeip_mapping m;
		struct fakeip_pair p;
		uint32_t known = 0;

		if (test_assign(s->t, &n, 0, 10 + i / 100, &p) != 0) {
			expect(s, false);
			continue;
		}
		expect(s, atomic_compare_exchange_strong(&s->index_of[k], &known, p.index) ||
				  known == p.index);
		expect(s, fakeip_get(s->t, p.index, &m) == 0 && m.name_len == n.len &&
				  memcmp(m.name, n.b, n.len) == 0);
		fakeip_touch(s->t, p.index, 10 + i / 100);
		fakeip_hold(s->t, p.index);
		fakeip_release(s->t, p.index);
	}
	return NULL;
}

static void threads_agree_on_every_name(void **state)
{
	struct fakeip_pool_config c = test_pools(15, 64);
	struct shared s = {.t = test_table(&c), .rounds = 20000};

	(void)state;
	run_threads(&s, ask_overlapping);
	test_bijection(s.t);
	fakeip_free(s.t);
}

/* A small pool under pressure, time racing on: an answer that was given stays true as long as its
 * hold. */
static void *ask_under_pressure(void *arg)
{
	struct worker *w = arg;
	struct shared *s = w->s;

	for (unsigned i = 0; i < s->rounds; i++) {
		struct test_name n = test_name_number(pick(w, 100));
		uint32_t now_s =
			w->number ? atomic_load(&s->now_s) : atomic_fetch_add(&s->now_s, 1) + 1;
		struct fakeip_mapping m;
		struct fakeip_pair p;

		if (test_assign(s->t, &n, pick(w, 2), now_s, &p) != 0)
			continue;
		/* Whoever wants to rely on it longer than the hold says so, and looks. */
		fakeip_hold(s->t, p.index);
		if (fakeip_get(s->t, p.index, &m) == 0 && m.name_len == n.len &&
			memcmp(m.name, n.b, n.len) == 0)
			for (int k = 0; k < 3; k++) {
				struct fakeip_mapping again;

				expect(s, fakeip_get(s->t, p.index, &again) == 0 &&
						  again.name_len == n.len &&
						  memcmp(again.name, n.b, n.len) == 0 &&
						  again.view == m.view);
			}
		else
			expect(s, atomic_load(&s->now_s) > now_s + 5);
		fakeip_release(s->t, p.index);
	}
	return NULL;
}

static void a_held_mapping_stays(void **state)
{
	struct fakeip_pool_config c = test_pools(27, 64);
	struct shared s = {.rounds = 30000, .now_s = 100};
	struct fakeip_stats stats;

	(void)state;
	c.hold_s = 5;
	s.t = test_table(&c);
	run_threads(&s, ask_under_pressure);
	test_bijection(s.t);
	fakeip_stats(s.t, s.now_s, &stats);
	assert_int_equal(stats.used, 29);
	fakeip_free(s.t);
}

/* Half of the threads give the indexes to one name after another, the others copy what is there:
 * each copy must be of one mapping whole. The view says which name it belongs to. */
static void *copy_what_changes(void *arg)
{
	struct worker *w = arg;
	struct shared *s = w->s;

	for (unsigned i = 0; i < s->rounds; i++) {
		struct test_name n = test_name_number(pick(w, 100));
		struct fakeip_mapping m;
		struct fakeip_pair p;

		if (w->number < THREADS / 2) {
			test_assign(s->t, &n, n.hash, atomic_fetch_add(&s->now_s, 2), &p);
			continue;
		}
		for (uint32_t index = 2; index < 7; index++)
			if (fakeip_get(s->t, index, &m) == 0)
				expect(s, m.view == test_hash(m.name, m.name_len, TEST_KEY));
	}
	return NULL;
}

static void a_copy_is_of_one_mapping(void **state)
{
	struct fakeip_pool_config c = test_pools(29, 64);
	struct shared s = {.rounds = 200000, .now_s = 100};

	(void)state;
	c.ttl_s = c.hold_s = 0;
	s.t = test_table(&c);
	run_threads(&s, copy_what_changes);
	test_bijection(s.t);
	fakeip_free(s.t);
}

static ssize_t append_alone(void *arg, const void *data, size_t len)
{
	struct shared *s = arg;
	ssize_t r;

	expect(s, !atomic_exchange(&s->writing, true));
	pthread_mutex_lock(&s->file_lock);
	r = test_file_append(&s->file, data, len);
	pthread_mutex_unlock(&s->file_lock);
	atomic_store(&s->writing, false);
	return r;
}

static int truncate_alone(void *arg, uint64_t len)
{
	struct shared *s = arg;

	return test_file_truncate(&s->file, len);
}

static bool in_file(struct shared *s, const struct test_name *n)
{
	bool found;

	pthread_mutex_lock(&s->file_lock);
	found = memmem(s->file.bytes, s->file.len, n->b, n->len) != NULL;
	pthread_mutex_unlock(&s->file_lock);
	return found;
}

/* Whoever may answer finds the record in the file, no matter which thread wrote it. */
static void *ask_and_commit(void *arg)
{
	struct worker *w = arg;
	struct shared *s = w->s;

	for (unsigned i = 0; i < s->rounds; i++) {
		struct test_name n = test_name_number(i);
		struct fakeip_pair p;

		expect(s, test_assign(s->t, &n, 0, 10, &p) == 0);
		if (p.pending)
			expect(s, fakeip_commit(s->t) == 0);
		expect(s, in_file(s, &n));
		expect(s, test_assign(s->t, &n, 0, 10, &p) == 0 && !p.pending);
		atomic_store(&s->index_of[i], p.index);
	}
	return NULL;
}

static void whoever_answers_finds_the_record_written(void **state)
{
	struct fakeip_pool_config c = test_pools(15, 64);
	struct shared s = {.rounds = NAMES, .file = {.room = SIZE_MAX}};
	struct fakeip_log_io io = {.arg = &s, .append = append_alone, .truncate = truncate_alone};
	struct fakeip_load_result loaded;
	struct fakeip_mapping m;

	(void)state;
	pthread_mutex_init(&s.file_lock, NULL);
	s.t = test_table(&c);
	assert_int_equal(fakeip_load(s.t, NULL, 0, 9, &io, &loaded), 0);
	run_threads(&s, ask_and_commit);
	assert_true(fakeip_is_persistent(s.t));
	for (unsigned i = 0; i < NAMES; i++) {
		struct test_name n = test_name_number(i);

		assert_true(in_file(&s, &n));
	}
	fakeip_free(s.t);
	/* After a restart each name has the index that was answered. */
	s.t = test_open(&c, &s.file, 9, &loaded);
	assert_int_equal(loaded.loaded, NAMES);
	for (unsigned i = 0; i < NAMES; i++) {
		struct test_name n = test_name_number(i);

		assert_int_equal(fakeip_find(s.t, n.b, n.len, n.hash, &m, 1), 1);
		assert_int_equal(m.index, s.index_of[i]);
	}
	fakeip_free(s.t);
	free(s.file.bytes);
	pthread_mutex_destroy(&s.file_lock);
}

/* Nobody commits until the end: the queue runs full under four threads and is written by whoever
 * meets that. */
static void *ask_without_commit(void *arg)
{
	struct worker *w = arg;
	struct shared *s = w->s;

	for (unsigned i = 0; i < s->rounds; i++) {
		struct test_name n = test_name_number(w->number * s->rounds + i);
		struct fakeip_pair p;

		expect(s, test_assign(s->t, &n, 0, 10, &p) == 0);
	}
	expect(s, fakeip_commit(s->t) == 0);
	return NULL;
}

static void a_full_queue_loses_nothing(void **state)
{
	struct fakeip_pool_config c = test_pools(15, 64);
	struct shared s = {.rounds = 5000, .file = {.room = SIZE_MAX}};
	struct fakeip_log_io io = {.arg = &s, .append = append_alone, .truncate = truncate_alone};
	struct fakeip_load_result loaded;

	(void)state;
	pthread_mutex_init(&s.file_lock, NULL);
	s.t = test_table(&c);
	assert_int_equal(fakeip_load(s.t, NULL, 0, 9, &io, &loaded), 0);
	run_threads(&s, ask_without_commit);
	assert_in_range(s.file.appends, 5, 100);
	fakeip_free(s.t);
	s.t = test_open(&c, &s.file, 9, &loaded);
	assert_int_equal(loaded.loaded, THREADS * s.rounds);
	assert_int_equal(loaded.lost, 0);
	test_bijection(s.t);
	fakeip_free(s.t);
	free(s.file.bytes);
	pthread_mutex_destroy(&s.file_lock);
}

/* --- everything at once --- */

/* The file has locks of its own: a sync, a read and a snapshot come beside an append. */
static ssize_t append_locked(void *arg, const void *data, size_t len)
{
	struct shared *s = arg;
	ssize_t r;

	pthread_mutex_lock(&s->file_lock);
	r = test_file_append(&s->file, data, len);
	pthread_mutex_unlock(&s->file_lock);
	return r;
}

static int truncate_locked(void *arg, uint64_t len)
{
	struct shared *s = arg;

	pthread_mutex_lock(&s->file_lock);
	test_file_truncate(&s->file, len);
	pthread_mutex_unlock(&s->file_lock);
	return 0;
}

static int sync_none(void *arg)
{
	(void)arg;
	return 0;
}

static ssize_t read_locked(void *arg, uint64_t at, void *data, size_t len)
{
	struct shared *s = arg;
	ssize_t r;

	pthread_mutex_lock(&s->file_lock);
	r = test_file_read(&s->file, at, data, len);
	pthread_mutex_unlock(&s->file_lock);
	return r;
}

static int begin_locked(void *arg)
{
	return test_file_begin(&((struct shared *)arg)->file);
}

static ssize_t add_locked(void *arg, const void *data, size_t len)
{
	struct shared *s = arg;
	ssize_t r;

	pthread_mutex_lock(&s->file_lock);
	r = test_file_add(&s->file, data, len);
	pthread_mutex_unlock(&s->file_lock);
	return r;
}

static int become_locked(void *arg)
{
	struct shared *s = arg;
	int r;

	pthread_mutex_lock(&s->file_lock);
	r = test_file_become(&s->file);
	pthread_mutex_unlock(&s->file_lock);
	return r;
}

static void drop_locked(void *arg)
{
	test_file_drop(&((struct shared *)arg)->file);
}

/* The main thread's part: time, sweeps, syncs, snapshots, a full disk now and then. */
static void own(struct worker *w)
{
	struct shared *s = w->s;

	for (unsigned i = 0; i < s->rounds; i++) {
		uint32_t began_s = atomic_fetch_add(&s->now_s, 1) + 1;

		if (fakeip_wants_sweep(s->t, began_s) || pick(w, 4) == 0)
			fakeip_swept(s->t, began_s);
		if (i % 100 == 50) {
			pthread_mutex_lock(&s->file_lock);
			s->file.room = pick(w, 3000);
			pthread_mutex_unlock(&s->file_lock);
		}
		if (i % 100 == 70) {
			pthread_mutex_lock(&s->file_lock);
			s->file.room = SIZE_MAX;
			pthread_mutex_unlock(&s->file_lock);
		}
		(void)fakeip_sync(s->t);
		(void)fakeip_snapshot_step(s->t);
		if (i % 500 == 0)
			fakeip_set_times(s->t, 1, 4 + i / 500 % 2);
	}
}

/* A worker's: what is answered stays true while it is held, flushed or not. */
static void ask_and_flush(struct worker *w)
{
	struct shared *s = w->s;
	struct fakeip_mapping m;
	struct fakeip_pair p;
	bool kept;

	for (unsigned i = 0; i < s->rounds * 4; i++) {
		struct test_name n = test_name_number(pick(w, 200));
		uint32_t now_s = atomic_load(&s->now_s);

		if (fakeip_assign(s->t, n.b, n.len, n.hash, pick(w, 2), pick(w, 5), now_s, &p))
			continue;
		fakeip_hold(s->t, p.index);
		if (p.pending)
			(void)fakeip_commit(s->t);
		if (fakeip_get(s->t, p.index, &m) == 0 && memcmp(m.name, n.b, n.len) == 0) {
			if (pick(w, 10) == 0)
				(void)fakeip_flush(s->t, p.index, now_s, &kept);
			expect(s, fakeip_get(s->t, p.index, &m) == 0 &&
					  memcmp(m.name, n.b, n.len) == 0 && m.rule < 5 &&
					  m.view < 2);
		} else {
			expect(s, atomic_load(&s->now_s) > now_s + 4);
		}
		fakeip_release(s->t, p.index);
	}
}

static void *play_a_part(void *arg)
{
	struct worker *w = arg;

	if (w->number == 0)
		own(w);
	else
		ask_and_flush(w);
	return NULL;
}

static void everything_at_once(void **state)
{
	struct fakeip_pool_config c = test_pools(25, 64);
	struct shared s = {.rounds = 3000, .now_s = 100, .file = {.room = SIZE_MAX}};
	struct fakeip_log_io io = {.arg = &s,
		.append = append_locked,
		.truncate = truncate_locked,
		.sync = sync_none,
		.read = read_locked,
		.snapshot = {begin_locked, add_locked, sync_none, become_locked, drop_locked}};
	struct fakeip_load_result loaded;
	struct fakeip_mapping m, again;
	struct fakeip_table *other;
	int r;

	(void)state;
	c.hold_s = 4;
	c.needs_sweep = true;
	pthread_mutex_init(&s.file_lock, NULL);
	s.t = test_table(&c);
	assert_int_equal(fakeip_load(s.t, NULL, 0, 9, &io, &loaded), 0);
	run_threads(&s, play_a_part);
	test_bijection(s.t);
	assert_in_range(s.file.snapshots, 10, 3000);
	s.file.room = SIZE_MAX;
	while ((r = fakeip_snapshot_step(s.t)) > 0)
		;
	assert_int_equal(r, 0);
	/* A worker's last flush may have come behind the last write; an error that is told now is
	 * of the time without room. */
	(void)fakeip_commit(s.t);
	/* The file says what the table says. */
	other = test_open(&c, &s.file, 9, &loaded);
	assert_int_equal(loaded.lost, 0);
	for (uint32_t i = UINT32_MAX; fakeip_next(s.t, i, &m) == 0; i = m.index) {
		assert_int_equal(fakeip_get(other, m.index, &again), 0);
		assert_memory_equal(m.name, again.name, sizeof m.name);
		assert_int_equal(m.view, again.view);
		assert_int_equal(m.flushed, again.flushed);
	}
	test_bijection(other);
	fakeip_free(other);
	fakeip_free(s.t);
	free(s.file.bytes);
	pthread_mutex_destroy(&s.file_lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_agree_on_every_name),
		cmocka_unit_test(a_held_mapping_stays),
		cmocka_unit_test(a_copy_is_of_one_mapping),
		cmocka_unit_test(whoever_answers_finds_the_record_written),
		cmocka_unit_test(a_full_queue_loses_nothing),
		cmocka_unit_test(everything_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
