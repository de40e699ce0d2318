/* The log made small, made again after it was lost, and the process killed at every byte of it. */
#include "test_fakeip.h"

static unsigned steps_until_done(struct fakeip_table *t)
{
	unsigned n = 0;
	int r;

	while ((r = fakeip_snapshot_step(t)) > 0)
		assert_in_range(++n, 1, 10000);
	assert_int_equal(r, 0);
	return n;
}

static void assign_many(struct fakeip_table *t, unsigned from, unsigned upto, uint32_t now_s)
{
	for (unsigned i = from; i < upto; i++) {
		struct test_name n = test_name_number(i);
		struct fakeip_pair p;

		assert_int_equal(test_assign(t, &n, 0, now_s, &p), 0);
	}
	assert_int_equal(fakeip_commit(t), 0);
}

static uint32_t find(const struct fakeip_table *t, unsigned number)
{
	struct test_name n = test_name_number(number);
	struct fakeip_mapping m;

	return fakeip_find(t, n.b, n.len, n.hash, &m, 1) ? m.index : 0;
}

/* --- size --- */

/* A pool of 1,021 that is given to other names again and again. */
static void a_log_that_has_grown_becomes_small(void **state)
{
	struct fakeip_pool_config c = test_pools(22, 64);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_table *t = test_open(&c, &f, 1, &loaded);
	unsigned round = 0;
	uint32_t index;

	(void)state;
	while (!fakeip_wants_snapshot(t)) {
		assign_many(t, round * 1021, (round + 1) * 1021, 1000 * (round + 1));
		assert_in_range(++round, 1, 100);
	}
	assert_in_range(f.len, 1 << 20, (1 << 20) + 150000);
	index = find(t, (round - 1) * 1021 + 5);
	assert_int_not_equal(index, 0);
	steps_until_done(t);
	assert_int_equal(f.snapshots, 1);
	assert_in_range(f.len, 1021 * 40, 1021 * 170);
	assert_false(fakeip_wants_snapshot(t));
	assert_false(fakeip_dirty(t));
	assert_true(fakeip_is_persistent(t));
	fakeip_free(t);
	t = test_open(&c, &f, 9, &loaded);
	assert_int_equal(loaded.loaded, 1021);
	assert_int_equal(loaded.lost, 0);
	assert_int_equal(find(t, (round - 1) * 1021 + 5), index);
	test_bijection(t);
	fakeip_free(t);
	free(f.bytes);
}

/* Between any two steps a name is made, another flushed: all of it is in the new file. */
static void what_changes_meanwhile_is_in_it(void **state)
{
	struct fakeip_pool_config c = test_pools(17, 64);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_table *t = test_open(&c, &f, 1, &loaded);
	unsigned next = 20000, made = 20000, flushed = 0;
	uint32_t index[64];
	bool kept;

	(void)state;
	assign_many(t, 0, made, 10);
	while (fakeip_snapshot_step(t) > 0) {
		assign_many(t, next, next + 10, 11);
		assert_int_equal(fakeip_flush(t, 2 + flushed * 300, 11, &kept), 0);
		assert_true(kept);
		assert_int_equal(fakeip_commit(t), 0);
		flushed++;
		next += 10;
		assert_in_range(flushed, 1, 60);
	}
	assert_int_equal(f.snapshots, 1);
	assert_in_range(flushed, 10, 60);
	/* The flushed ones asked again. */
	for (unsigned i = 0; i < flushed; i++)
		assign_many(t, i * 300, i * 300 + 1, 12);
	for (unsigned i = 0; i < flushed; i++) {
		index[i] = find(t, i * 300);
		assert_int_not_equal(index[i], 2 + i * 300);
	}
	fakeip_free(t);
	t = test_open(&c, &f, 9, &loaded);
	assert_int_equal(loaded.loaded, next + flushed);
	assert_int_equal(loaded.lost, 0);
	for (unsigned i = 0; i < flushed; i++) {
		struct test_name n = test_name_number(i * 300);
		struct fakeip_mapping m;

		assert_int_equal(find(t, i * 300), index[i]);
		assert_int_equal(fakeip_get(t, 2 + i * 300, &m), 0);
		assert_true(m.flushed);
		assert_memory_equal(m.name, n.b, n.len);
	}
	test_bijection(t);
	fakeip_free(t);
	free(f.bytes);
}

static void a_snapshot_that_fails_costs_nothing(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_table *t = test_open(&c, &f, 1, &loaded);
	int r;

	(void)state;
	assign_many(t, 0, 100, 10);
	f.begin_error = -EACCES;
	assert_int_equal(fakeip_snapshot_step(t), -EACCES);
	f.begin_error = 0;
	f.become_error = -EXDEV;
	while ((r = fakeip_snapshot_step(t)) > 0)
		;
	assert_int_equal(r, -EXDEV);
	assert_null(f.fresh);
	f.become_error = 0;
	assert_true(fakeip_is_persistent(t));
	assign_many(t, 100, 200, 10);
	assert_int_equal(f.snapshots, 0);
	fakeip_free(t);
	t = test_open(&c, &f, 9, &loaded);
	assert_int_equal(loaded.loaded, 200);
	/* The process ends in the middle of one. */
	assert_int_equal(fakeip_snapshot_step(t), 1);
	assert_int_equal(fakeip_snapshot_step(t), 1);
	assert_non_null(f.fresh);
	fakeip_close(t);
	assert_null(f.fresh);
	fakeip_free(t);
	free(f.bytes);
}

/* --- durable --- */

static void what_is_written_is_dirty_until_it_is_synced(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_table *t = test_open(&c, &f, 1, &loaded);

	(void)state;
	assert_int_equal(f.syncs, 1); /* the limits of this start */
	assert_false(fakeip_dirty(t));
	assign_many(t, 0, 1, 10);
	assert_true(fakeip_dirty(t));
	assert_false(fakeip_dirty_limits(t));
	assert_int_equal(fakeip_sync(t), 0);
	assert_false(fakeip_dirty(t));
	assert_int_equal(fakeip_sync(t), 0);
	assert_int_equal(f.syncs, 2);
	assign_many(t, 1, 200, 10); /* more than half of what was told ahead */
	assert_true(fakeip_dirty_limits(t));
	f.sync_error = -EIO;
	assert_int_equal(fakeip_sync(t), -EIO);
	assert_false(fakeip_is_persistent(t));
	assert_int_equal(fakeip_commit(t), 0);
	assert_true(fakeip_wants_snapshot(t));
	f.sync_error = 0;
	steps_until_done(t);
	assert_true(fakeip_is_persistent(t));
	fakeip_free(t);
	free(f.bytes);
}

static void a_clean_end_leaves_nothing_in_doubt(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_table *t;

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		t = test_open(&c, &f, 1, &loaded);
		assert_int_equal(loaded.loaded, i);
		assign_many(t, i, i + 1, 10);
		assert_int_equal(find(t, i), 2 + i);
		fakeip_close(t);
		assert_false(fakeip_dirty(t));
		fakeip_free(t);
	}
	free(f.bytes);
}

/* --- lost, and there again --- */

static void a_lost_log_comes_back(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_table *t = test_open(&c, &f, 1, &loaded);
	struct test_name n = test_name_number(900);
	struct fakeip_pair p;
	unsigned more = 1000;
	uint32_t at = 0;

	(void)state;
	assign_many(t, 0, 100, 10);
	f.room = 10;
	assert_int_equal(test_assign(t, &n, 0, 10, &p), 0);
	assert_int_equal(fakeip_commit(t), -ENOSPC);
	assign_many(t, 100, 700, 10); /* as far as it was told ahead, then from the top */
	assert_int_equal(find(t, 100), 2 + 101);
	assert_int_equal(find(t, 699), 4094 - (701 - 255 - 1));
	assert_true(fakeip_wants_snapshot(t));
	assert_int_equal(fakeip_snapshot_step(t), -ENOSPC);
	assert_false(fakeip_is_persistent(t));
	f.room = SIZE_MAX;
	while (fakeip_snapshot_step(t) > 0) {
		assert_false(fakeip_is_persistent(t));
		assign_many(t, more, more + 10, 10);
		more += 10;
	}
	assert_true(fakeip_is_persistent(t));
	assert_false(fakeip_wants_snapshot(t));
	at = find(t, 1005);
	assign_many(t, 2000, 2001, 10); /* from below again */
	assert_in_range(find(t, 2000), 257, 300);
	fakeip_free(t);
	t = test_open(&c, &f, 9, &loaded);
	assert_int_equal(loaded.loaded, 702 + (more - 1000));
	assert_int_equal(loaded.lost, 0);
	assert_int_equal(find(t, 1005), at);
	assert_int_equal(find(t, 699), 4094 - (701 - 255 - 1));
	test_bijection(t);
	/* The top is still the top. */
	assign_many(t, 3000, 3001, 10);
	assert_in_range(find(t, 3000), 257, 1000);
	fakeip_free(t);
	free(f.bytes);
}

/* While nothing can be written, an index of the file is nobody else's. */
static void a_lost_log_keeps_its_indexes(void **state)
{
	struct fakeip_pool_config c = test_pools(28, 0);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_table *t = test_open(&c, &f, 1, &loaded);
	struct fakeip_pair p;
	struct test_name n;

	(void)state;
	assign_many(t, 0, 10, 10); /* of 13 */
	f.room = 0;
	n = test_name_number(10);
	assert_int_equal(test_assign(t, &n, 0, 10, &p), 0);
	(void)fakeip_commit(t);
	for (unsigned i = 11; i < 100; i++) {
		n = test_name_number(i);
		if (test_assign(t, &n, 0, 1000 * i, &p) == 0)
			assert_in_range(p.index, 12, 14);
	}
	assert_false(fakeip_is_persistent(t));
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(find(t, i), 2 + i);
	/* With the log they are free again. */
	f.room = SIZE_MAX;
	steps_until_done(t);
	for (unsigned i = 200; i < 213; i++) {
		n = test_name_number(i);
		assert_int_equal(test_assign(t, &n, 0, 1000000, &p), 0);
	}
	fakeip_free(t);
	free(f.bytes);
}

/* --- killed at every byte --- */

enum { SCRIPT_NAMES = 80 };

struct script {
	struct test_file file;
	size_t left; /* bytes until the process is dead */
	bool dead;
	uint32_t now_s;
	/* What was answered: name to index, in the order of the answers. */
	struct answer {
		unsigned name;
		uint32_t index, now_s;
		bool flushed;
	} answers[200];
	unsigned n;
};

static ssize_t die_in(struct script *s, const void *data, size_t len,
	ssize_t (*write)(void *arg, const void *data, size_t len))
{
	size_t n = len < s->left ? len : s->left;

	if (s->dead)
		return -EIO;
	s->left -= n;
	s->dead = n < len;
	(void)write(&s->file, data, n);
	return s->dead ? -EIO : (ssize_t)len;
}

static ssize_t die_append(void *arg, const void *data, size_t len)
{
	return die_in(arg, data, len, test_file_append);
}

static ssize_t die_add(void *arg, const void *data, size_t len)
{
	return die_in(arg, data, len, test_file_add);
}

/* Each of these is a place to die, too: one byte. */
static bool die_here(struct script *s)
{
	s->dead |= s->left == 0;
	s->left -= !s->dead;
	return s->dead;
}

static int die_truncate(void *arg, uint64_t len)
{
	struct script *s = arg;

	return die_here(s) ? -EIO : test_file_truncate(&s->file, len);
}

static int die_sync(void *arg)
{
	return die_here(arg) ? -EIO : 0;
}

static int die_begin(void *arg)
{
	struct script *s = arg;

	return die_here(s) ? -EIO : test_file_begin(&s->file);
}

static int die_become(void *arg)
{
	struct script *s = arg;

	return die_here(s) ? -EIO : test_file_become(&s->file);
}

static ssize_t die_read(void *arg, uint64_t at, void *data, size_t len)
{
	struct script *s = arg;

	return test_file_read(&s->file, at, data, len);
}

static void die_drop(void *arg)
{
	struct script *s = arg;

	test_file_drop(&s->file);
}

static void ask(struct script *s, struct fakeip_table *t, unsigned name, uint32_t now_s)
{
	struct test_name n = test_name_number(name);
	struct fakeip_pair p;

	if (s->dead)
		return;
	s->now_s = now_s;
	if (test_assign(t, &n, 0, now_s, &p) || fakeip_commit(t) || s->dead)
		return;
	assert_in_range(s->n, 0, 199);
	s->answers[s->n++] =
		(struct answer){.name = name, .index = p.index, .now_s = now_s, .flushed = false};
}

static void flush(struct script *s, struct fakeip_table *t, unsigned name, uint32_t now_s)
{
	uint32_t index = s->dead ? 0 : find(t, name);
	bool kept;

	if (!index || fakeip_flush(t, index, now_s, &kept) || fakeip_commit(t) || s->dead)
		return;
	for (unsigned i = 0; i < s->n; i++)
		s->answers[i].flushed |= s->answers[i].index == index;
}

/* Fills a pool of 29, flushes, makes a snapshot between other things, gives indexes to other
 * names. */
static void play(struct script *s)
{
	struct fakeip_log_io io = {.arg = s,
		.append = die_append,
		.truncate = die_truncate,
		.sync = die_sync,
		.read = die_read,
		.snapshot = {die_begin, die_add, die_sync, die_become, die_drop}};
	struct fakeip_pool_config c = test_pools(27, 64);
	struct fakeip_table *t = test_table(&c);
	struct fakeip_load_result loaded;
	unsigned name = 0;

	(void)fakeip_load(t, NULL, 0, 1000, &io, &loaded);
	while (name < 20)
		ask(s, t, name++, 1000);
	flush(s, t, 3, 1001);
	flush(s, t, 7, 1001);
	ask(s, t, 3, 1002);
	while (!s->dead && fakeip_snapshot_step(t) > 0) {
		ask(s, t, name++, 1050);
		flush(s, t, name - 2, 1050);
	}
	for (unsigned i = 0; i < 20; i++)
		ask(s, t, name++, 1150);
	while (!s->dead && fakeip_snapshot_step(t) > 0)
		ask(s, t, name++, 1160);
	assert_in_range(name, 20, SCRIPT_NAMES);
	fakeip_free(t);
	test_file_drop(&s->file);
}

/* The last answer that told this index, if somebody may still use it. */
static const struct answer *answer_at(const struct script *s, uint32_t index, uint32_t now_s)
{
	const struct answer *last = NULL;

	for (unsigned i = 0; i < s->n; i++)
		if (s->answers[i].index == index)
			last = &s->answers[i];
	return last && last->now_s + 1 + 100 >= now_s ? last : NULL;
}

/* What was answered means the same; new names get none of these addresses. */
static void check_after(const struct script *s, struct fakeip_table *t)
{
	uint32_t now_s = s->now_s ? s->now_s : 1000;
	struct fakeip_mapping m;
	struct fakeip_pair p;

	for (uint32_t index = 2; index < 31; index++) {
		const struct answer *a = answer_at(s, index, now_s);
		struct test_name n;

		if (!a)
			continue;
		n = test_name_number(a->name);
		assert_int_equal(fakeip_get(t, index, &m), 0);
		assert_int_equal(m.name_len, n.len);
		assert_memory_equal(m.name, n.b, n.len);
		if (!m.flushed)
			assert_false(a->flushed);
	}
	test_bijection(t);
	for (unsigned i = 100; i < 130; i++) {
		struct test_name n = test_name_number(i);

		if (test_assign(t, &n, 0, now_s, &p) == 0)
			assert_null(answer_at(s, p.index, now_s));
	}
}

static void killed_at_every_byte(void **state)
{
	struct fakeip_pool_config c = test_pools(27, 64);
	unsigned deaths = 0, most = 0;
	bool lives = false;

	(void)state;
	for (size_t left = 0; !lives; left++) {
		struct script *s = calloc(1, sizeof *s);
		struct fakeip_load_result loaded;
		struct fakeip_table *t;

		s->left = left;
		s->file.room = SIZE_MAX;
		play(s);
		lives = !s->dead;
		deaths += s->dead;
		most = s->n > most ? s->n : most;
		t = test_open(&c, &s->file, 2000, &loaded);
		assert_false(loaded.foreign);
		assert_in_range(loaded.lost, 0, 1);
		check_after(s, t);
		fakeip_free(t);
		free(s->file.bytes);
		free(s);
	}
	assert_in_range(deaths, 4000, 20000);
	assert_in_range(most, 45, 60);
}

/* --- damaged anywhere --- */

/* A flipped bit, or a hole, in a file in which indexes went from name to name: an answer may be
 * forgotten, and never means another name. */
static void damaged_anywhere(void **state)
{
	struct fakeip_pool_config c = test_pools(27, 64);
	struct script *s = calloc(1, sizeof *s);
	unsigned forgotten = 0;

	(void)state;
	s->left = SIZE_MAX / 2;
	s->file.room = SIZE_MAX;
	play(s);
	for (size_t at = 0; at < s->file.len; at++) {
		for (unsigned kind = 0; kind < 3; kind++) {
			struct test_file bad = {.len = s->file.len, .room = SIZE_MAX};
			size_t hole = kind == 2 ? 200 : kind == 1 ? 40 : 0;
			struct fakeip_load_result loaded;
			struct fakeip_table *t;

			bad.bytes = malloc(bad.len + 1);
			memcpy(bad.bytes, s->file.bytes, bad.len);
			bad.bytes[at] ^= (uint8_t)(1U << at % 8);
			/* Damage at the end is a power cut: see what a sync promises. */
			if (at + hole + 100 > bad.len)
				hole = 0;
			memset(bad.bytes + at, 0, hole);
			t = test_open(&c, &bad, 2000, &loaded);
			for (uint32_t i = 2; i < 31; i++) {
				const struct answer *a = answer_at(s, i, 1160);
				struct test_name n;
				struct fakeip_mapping m;

				if (!a)
					continue;
				n = test_name_number(a->name);
				if (fakeip_get(t, i, &m)) {
					forgotten++;
					continue;
				}
				assert_int_equal(m.name_len, n.len);
				assert_memory_equal(m.name, n.b, n.len);
			}
			test_bijection(t);
			fakeip_free(t);
			free(bad.bytes);
		}
	}
	assert_true(forgotten > 100);
	free(s->file.bytes);
	free(s);
}

/* --- power cuts --- */

#define ROUND_NAMES 20 /* a second */

/* Names go through a pool of 1,021, synced every second; then the power is cut, and the file is
 * what was synced, or some bytes more. No answer means another name afterwards. */
static void power_cut(unsigned seconds, unsigned extra)
{
	struct fakeip_pool_config c = test_pools(22, 64);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_table *t;
	unsigned name_at[1024], there = 0;
	uint32_t answered_s[1024] = {0}, now_s = 1000;
	size_t synced = 0;

	c.hold_s = 20;
	t = test_open(&c, &f, now_s, &loaded);
	for (unsigned i = 0; i < seconds * ROUND_NAMES; i++) {
		struct test_name n = test_name_number(i);
		struct fakeip_pair p;

		if (i % ROUND_NAMES == 0) {
			now_s++;
			assert_int_equal(fakeip_sync(t), 0);
			synced = f.len;
		}
		assert_int_equal(test_assign(t, &n, 0, now_s, &p), 0);
		assert_int_equal(fakeip_commit(t), 0);
		name_at[p.index] = i;
		answered_s[p.index] = now_s;
	}
	fakeip_free(t);
	f.len = synced + extra < f.len ? synced + extra : f.len;
	t = test_open(&c, &f, now_s, &loaded);
	for (uint32_t i = 2; i < 1023; i++) {
		struct test_name n;
		struct fakeip_mapping m;

		if (!answered_s[i] || answered_s[i] + 21 < now_s || fakeip_get(t, i, &m))
			continue;
		n = test_name_number(name_at[i]);
		assert_int_equal(m.name_len, n.len);
		assert_memory_equal(m.name, n.b, n.len);
		there++;
	}
	assert_true(seconds < 3 || there > 0);
	for (unsigned i = 0; i < 100; i++) {
		struct test_name n = test_name_number(100000 + i);
		struct fakeip_pair p;

		if (test_assign(t, &n, 0, now_s, &p) == 0)
			assert_true(!answered_s[p.index] || answered_s[p.index] + 21 < now_s);
	}
	fakeip_free(t);
	free(f.bytes);
}

static void a_power_cut_gives_no_address_to_another_name(void **state)
{
	(void)state;
	for (unsigned seconds = 1; seconds < 140; seconds++)
		power_cut(seconds, seconds % 3 ? seconds * 7 % 1500 : 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_log_that_has_grown_becomes_small),
		cmocka_unit_test(what_changes_meanwhile_is_in_it),
		cmocka_unit_test(a_snapshot_that_fails_costs_nothing),
		cmocka_unit_test(what_is_written_is_dirty_until_it_is_synced),
		cmocka_unit_test(a_clean_end_leaves_nothing_in_doubt),
		cmocka_unit_test(a_lost_log_comes_back),
		cmocka_unit_test(a_lost_log_keeps_its_indexes),
		cmocka_unit_test(killed_at_every_byte),
		cmocka_unit_test(damaged_anywhere),
		cmocka_unit_test(a_power_cut_gives_no_address_to_another_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
