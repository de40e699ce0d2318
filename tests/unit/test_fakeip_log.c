#include "test_fakeip.h"

#define HEADER 64
#define LIMITS 32 /* bytes of the record that a start writes */

/* n names in a log, one record each, committed one by one: ends[i] is the file's size behind record
 * i. */
static void make_log(struct test_file *f, unsigned n, size_t *ret_ends)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct fakeip_load_result loaded;
	struct fakeip_table *t;
	struct fakeip_pair p;

	*f = (struct test_file){.room = SIZE_MAX};
	t = test_open(&c, f, 1, &loaded);
	assert_int_equal(f->len, TEST_EMPTY);
	for (unsigned i = 0; i < n; i++) {
		struct test_name name = test_name_number(i);

		assert_int_equal(test_assign(t, &name, i, 5, &p), 0);
		assert_int_equal(p.index, 2 + i);
		assert_true(p.pending);
		assert_int_equal(fakeip_commit(t), 0);
		assert_int_equal(test_assign(t, &name, i, 5, &p), 0);
		assert_false(p.pending);
		if (ret_ends)
			ret_ends[i] = f->len;
	}
	fakeip_free(t);
}

static struct test_file copy_of(const struct test_file *f, size_t len)
{
	struct test_file copy = {.bytes = malloc(f->len + 1), .len = len, .room = SIZE_MAX};

	memcpy(copy.bytes, f->bytes, len);
	return copy;
}

/* What make_log() made, if it is there: never another name. Returns how many are. */
static unsigned check_names(const struct fakeip_table *t, unsigned n)
{
	struct fakeip_mapping m;
	unsigned there = 0;

	for (unsigned i = 0; i < n; i++) {
		struct test_name name = test_name_number(i);

		if (fakeip_get(t, 2 + i, &m) != 0)
			continue;
		assert_int_equal(m.name_len, name.len);
		assert_memory_equal(m.name, name.b, name.len);
		assert_int_equal(m.view, i);
		assert_int_equal(m.rule, 7);
		assert_int_equal(m.last_answer_s, 9);
		there++;
	}
	test_bijection(t);
	return there;
}

static void a_new_log_begins_with_its_header(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_table *t = test_open(&c, &f, 1, &loaded);

	(void)state;
	assert_true(fakeip_is_persistent(t));
	assert_int_equal(f.len, TEST_EMPTY);
	assert_int_equal(f.appends, 1);
	assert_false(loaded.foreign);
	assert_int_equal(loaded.loaded + loaded.lost, 0);
	assert_int_equal(fakeip_commit(t), 0);
	assert_int_equal(f.appends, 1);
	fakeip_free(t);
	free(f.bytes);
}

static void a_commit_is_one_write_for_all_that_is_queued(void **state)
{
	struct fakeip_pool_config c = test_pools(15, 64);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_table *t = test_open(&c, &f, 1, &loaded);
	struct fakeip_pair p;
	struct test_name n;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		n = test_name_number(i);
		assert_int_equal(test_assign(t, &n, 0, 5, &p), 0);
		assert_int_equal(test_assign(t, &n, 0, 5, &p), 0);
		assert_true(p.pending);
	}
	assert_int_equal(f.appends, 1);
	assert_int_equal(fakeip_commit(t), 0);
	assert_int_equal(fakeip_commit(t), 0);
	assert_int_equal(f.appends, 2);
	assert_int_equal(test_assign(t, &n, 0, 5, &p), 0);
	assert_false(p.pending);
	fakeip_free(t);
	t = test_open(&c, &f, 9, &loaded);
	assert_int_equal(loaded.loaded, 100);
	fakeip_free(t);
	free(f.bytes);
}

static void more_than_the_queue_holds_is_written_early(void **state)
{
	struct fakeip_pool_config c = test_pools(15, 64);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_table *t = test_open(&c, &f, 1, &loaded);
	struct fakeip_pair p;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		struct test_name n = test_name_number(i);

		assert_int_equal(test_assign(t, &n, 0, 5, &p), 0);
		assert_true(p.pending);
	}
	assert_in_range(f.appends, 5, 50);
	assert_int_equal(fakeip_commit(t), 0);
	fakeip_free(t);
	t = test_open(&c, &f, 9, &loaded);
	assert_int_equal(loaded.loaded, 20000);
	test_bijection(t);
	fakeip_free(t);
	free(f.bytes);
}

/* Killed at any byte of a write: what was whole is there, the tail is cut, new addresses go beyond.
 */
static void cut_at_every_byte(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_name later = test_name("later.test");
	struct test_file f;
	size_t ends[12];

	(void)state;
	make_log(&f, 12, ends);
	for (size_t len = 0; len < f.len; len++) {
		struct test_file cut = copy_of(&f, len);
		struct fakeip_load_result loaded;
		struct fakeip_table *t = test_open(&c, &cut, 9, &loaded);
		struct fakeip_pair p;
		unsigned whole = 0;
		size_t end = len < HEADER ? 0 : len < TEST_EMPTY ? HEADER : TEST_EMPTY;

		while (whole < 12 && ends[whole] <= len)
			end = ends[whole++];
		assert_false(loaded.foreign);
		assert_int_equal(loaded.loaded, whole);
		assert_int_equal(loaded.lost, len > HEADER && len > end);
		assert_int_equal(cut.len, end ? end + LIMITS : TEST_EMPTY);
		assert_int_equal(check_names(t, 12), whole);
		assert_int_equal(test_assign(t, &later, 0, 10, &p), 0);
		assert_true(p.index >= 2 + whole + (len > HEADER && len > end));
		assert_true(len < TEST_EMPTY || p.index >= 2 + 12);
		assert_int_equal(fakeip_commit(t), 0);
		fakeip_free(t);
		/* And the log goes on as if nothing had happened. */
		t = test_open(&c, &cut, 9, &loaded);
		assert_int_equal(loaded.loaded, whole + 1);
		assert_int_equal(loaded.lost, 0);
		fakeip_free(t);
		free(cut.bytes);
	}
	free(f.bytes);
}

/* One bit costs the record it is in and no other, and that record's address is not given out as
 * new. */
static void flip_every_bit(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_file f;

	(void)state;
	make_log(&f, 8, NULL);
	for (size_t bit = 0; bit < f.len * 8; bit++) {
		struct test_file bad = copy_of(&f, f.len);
		struct fakeip_load_result loaded;
		struct fakeip_table *t;
		struct fakeip_pair p;
		bool header = bit / 8 < HEADER;

		bad.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		t = test_open(&c, &bad, 9, &loaded);
		assert_false(loaded.foreign);
		assert_int_equal(loaded.loaded, bit / 8 < TEST_EMPTY ? 8 : 7);
		assert_int_equal(loaded.lost, header ? 0 : 1);
		assert_int_equal(bad.snapshots, header); /* which repairs it */
		assert_int_equal(check_names(t, 8), loaded.loaded);
		for (unsigned i = 100; i < 110; i++) {
			struct test_name n = test_name_number(i);

			assert_int_equal(test_assign(t, &n, 0, 10, &p), 0);
			assert_true(p.index >= 10);
		}
		fakeip_free(t);
		free(bad.bytes);
	}
	free(f.bytes);
}

static void what_damage_hid_comes_back_after_the_hold(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct fakeip_load_result loaded;
	struct fakeip_table *t;
	struct test_file f;
	struct fakeip_pair p;
	size_t ends[4];
	bool seen = false;

	(void)state;
	make_log(&f, 4, ends);
	memset(f.bytes + ends[0], 'x', 16); /* index 3 */
	t = test_open(&c, &f, 1000, &loaded);
	assert_int_equal(loaded.lost, 1);
	for (unsigned i = 100; i < 100 + 4093; i++) {
		struct test_name n = test_name_number(i);

		if (test_assign(t, &n, 0, 1001, &p) == 0)
			assert_true(p.index > 5);
	}
	for (unsigned i = 5000; i < 5010; i++) {
		struct test_name n = test_name_number(i);

		assert_int_equal(test_assign(t, &n, 0, 1101, &p), -ENOSPC);
		if (test_assign(t, &n, 0, 1102, &p) == 0)
			seen |= p.index == 3;
	}
	assert_true(seen);
	test_bijection(t);
	fakeip_free(t);
	free(f.bytes);
}

static void a_foreign_file_is_started_anew(void **state)
{
	static const char *const contents[] = {"x",
		"nothing of ours, but longer than a header: sixty-four bytes are not many",
		"TungFIP\1 another version, and also longer than a header: sixty-four bytes"};
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_name n = test_name("a.test");

	(void)state;
	c.seed = 2046 * 1000 + 1234; /* in the lower half of 4093 */
	for (size_t i = 0; i < 3; i++) {
		struct test_file f = {.bytes = (uint8_t *)strdup(contents[i]),
			.len = strlen(contents[i]),
			.room = SIZE_MAX};
		struct fakeip_load_result loaded;
		struct fakeip_table *t = test_open(&c, &f, 9, &loaded);
		struct fakeip_pair p;

		assert_true(loaded.foreign);
		assert_int_equal(loaded.loaded, 0);
		assert_int_equal(f.len, TEST_EMPTY);
		assert_int_equal(test_assign(t, &n, 0, 10, &p), 0);
		assert_int_equal(p.index, 2 + 1234);
		assert_int_equal(fakeip_commit(t), 0);
		fakeip_free(t);
		t = test_open(&c, &f, 9, &loaded);
		assert_false(loaded.foreign);
		assert_int_equal(loaded.loaded, 1);
		fakeip_free(t);
		free(f.bytes);
	}
}

/* --- other pools --- */

/* The log of make_log() in the pools c: how many are kept, what new names get. */
static void move_log(const struct fakeip_pool_config *c, unsigned kept, uint32_t fresh)
{
	struct test_name n = test_name("later.test");
	struct fakeip_load_result loaded;
	struct fakeip_table *t;
	struct fakeip_pair p;
	struct test_file f;

	make_log(&f, 12, NULL);
	t = test_open(c, &f, 9, &loaded);
	assert_true(loaded.moved);
	assert_false(loaded.foreign);
	assert_int_equal(loaded.loaded, kept);
	assert_int_equal(loaded.dropped, 12 - kept);
	assert_int_equal(loaded.lost, 0);
	assert_int_equal(check_names(t, 12), kept);
	assert_true(fakeip_is_persistent(t));
	assert_int_equal(test_assign(t, &n, 0, 10, &p), 0);
	assert_int_equal(p.index, fresh);
	assert_int_equal(fakeip_commit(t), 0);
	fakeip_free(t);
	/* The file is of the new pools now. */
	t = test_open(c, &f, 9, &loaded);
	assert_false(loaded.moved);
	assert_int_equal(loaded.loaded, kept + 1);
	assert_int_equal(loaded.dropped + loaded.lost, 0);
	test_bijection(t);
	fakeip_free(t);
	free(f.bytes);
}

#define RESERVED (2 + 4093 / 16) /* up to here indexes may have been given out */

static void pools_that_hold_the_same_addresses_keep_the_mappings(void **state)
{
	static const uint8_t lens[][2] = {{20, 0}, {19, 64}, {21, 64}, {20, 116}, {0, 64}};

	(void)state;
	for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
		struct fakeip_pool_config c = test_pools(lens[i][0], lens[i][1]);

		move_log(&c, 12, RESERVED);
	}
}

static void a_small_pool_keeps_what_fits(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_name n = test_name("later.test");
	struct fakeip_load_result loaded;
	struct fakeip_table *t;
	struct fakeip_pair p;
	struct test_file f;

	(void)state;
	c.len4 = 29; /* indexes 2 to 6 */
	make_log(&f, 12, NULL);
	t = test_open(&c, &f, 9, &loaded);
	assert_int_equal(loaded.loaded, 5);
	assert_int_equal(loaded.dropped, 7);
	assert_int_equal(check_names(t, 12), 5);
	assert_int_equal(test_assign(t, &n, 0, 109, &p), -ENOSPC); /* all wait for the hold */
	fakeip_free(t);
	free(f.bytes);
}

/* 198.18.0.0/20 lies in 198.0.0.0/8: the same address has another index there. */
static void the_address_counts_and_not_the_index(void **state)
{
	struct fakeip_pool_config c = test_pools(8, 0);
	struct fakeip_load_result loaded;
	struct fakeip_mapping m;
	struct fakeip_table *t;
	struct test_name n;
	struct test_file f;
	struct fakeip_pair p;

	(void)state;
	c.max = 4 << 20;
	make_log(&f, 12, NULL);
	t = test_open(&c, &f, 9, &loaded);
	assert_int_equal(loaded.loaded, 12);
	for (unsigned i = 0; i < 12; i++) {
		n = test_name_number(i);
		assert_int_equal(fakeip_get(t, (18 << 16) + 2 + i, &m), 0);
		assert_memory_equal(m.name, n.b, n.len);
		assert_memory_equal(m.v4, ((uint8_t[]){198, 18, 0, (uint8_t)(2 + i)}), 4);
	}
	n = test_name("later.test");
	assert_int_equal(test_assign(t, &n, 0, 10, &p), 0);
	assert_int_equal(p.index, (18 << 16) + RESERVED);
	fakeip_free(t);
	free(f.bytes);
}

/* v4 as before, v6 another prefix, or one that lies elsewhere in the new one: a name cannot keep
 * both its addresses. Those that the new pools hold wait. */
static void a_pair_that_does_not_fit_whole_is_dropped(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);

	(void)state;
	c.net6[1] = 1;
	move_log(&c, 0, RESERVED);
	c = test_pools(20, 112);
	c.net6[13] = 1; /* fd00:198:18::1:0 */
	move_log(&c, 0, RESERVED);
}

static void elsewhere_the_old_pools_do_not_matter(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);

	(void)state;
	c.net4[0] = 10;
	c.net6[1] = 1;
	move_log(&c, 0, 2);
}

static void records_beyond_the_pool_are_dropped(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct fakeip_load_result loaded;
	struct fakeip_table *t;
	struct test_file f;

	(void)state;
	make_log(&f, 12, NULL);
	c.max = 5; /* the same pools, fewer mappings */
	t = test_open(&c, &f, 9, &loaded);
	assert_false(loaded.moved);
	assert_int_equal(loaded.loaded, 5);
	assert_int_equal(loaded.dropped, 7);
	assert_int_equal(loaded.lost, 0);
	assert_int_equal(check_names(t, 12), 5);
	fakeip_free(t);
	free(f.bytes);
}

/* --- records --- */

/* The same index for one name after another, one name at one index after another: the last record
 * wins both ways. */
static void the_last_record_wins(void **state)
{
	struct fakeip_pool_config c = test_pools(30, 0);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_load_result loaded;
	struct fakeip_mapping m;
	struct fakeip_table *t;
	struct fakeip_pair p;
	struct test_name n[3];

	(void)state;
	t = test_open(&c, &f, 9, &loaded);
	for (unsigned i = 0; i < 9; i++) {
		n[i % 3] = test_name_number(i % 3);
		assert_int_equal(test_assign(t, &n[i % 3], 0, 1000 * (i + 1), &p), 0);
		assert_int_equal(p.index, 2);
	}
	assert_int_equal(fakeip_commit(t), 0);
	fakeip_free(t);
	t = test_open(&c, &f, 9, &loaded);
	assert_int_equal(loaded.loaded, 1);
	assert_int_equal(loaded.lost, 0);
	assert_int_equal(fakeip_get(t, 2, &m), 0);
	assert_memory_equal(m.name, n[2].b, n[2].len);
	assert_int_equal(fakeip_find(t, n[0].b, n[0].len, n[0].hash, NULL, 0), 0);
	test_bijection(t);
	fakeip_free(t);
	free(f.bytes);
}

/* Two files of one table, joined: a name that had index 2 gets 3, and what had 3 is gone. Index 2
 * still means what it meant. */
static void a_name_leaves_its_old_index(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_file f[2] = {{.room = SIZE_MAX}, {.room = SIZE_MAX}};
	struct test_name a = test_name("a.test"), b = test_name("b.test");
	const size_t record = 40;
	struct fakeip_load_result loaded;
	struct fakeip_mapping m;
	struct fakeip_table *t;
	struct fakeip_pair p;

	(void)state;
	for (int i = 0; i < 2; i++) {
		t = test_open(&c, &f[i], 9, &loaded);
		assert_int_equal(test_assign(t, i ? &b : &a, 0, 10, &p), 0);
		assert_int_equal(test_assign(t, i ? &a : &b, 0, 10, &p), 0);
		assert_int_equal(fakeip_commit(t), 0);
		fakeip_free(t);
	}
	/* a at 2, b at 3, then a at 3. */
	assert_int_equal(test_file_append(&f[0], f[1].bytes + TEST_EMPTY + record, record), record);
	t = test_open(&c, &f[0], 9, &loaded);
	assert_int_equal(loaded.loaded, 2);
	assert_int_equal(fakeip_get(t, 2, &m), 0);
	assert_memory_equal(m.name, a.b, a.len);
	assert_true(m.flushed);
	assert_int_equal(fakeip_get(t, 3, &m), 0);
	assert_memory_equal(m.name, a.b, a.len);
	assert_false(m.flushed);
	assert_int_equal(fakeip_find(t, b.b, b.len, b.hash, NULL, 0), 0);
	test_bijection(t);
	fakeip_free(t);
	free(f[0].bytes);
	free(f[1].bytes);
}

/* A client asks for a name that holds a whole record; then the record of that name is damaged. */
static void a_record_cannot_be_asked_into_the_file(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_name evil = {.len = 0}, lower = {.len = 0};
	struct fakeip_load_result loaded;
	struct fakeip_table *t;
	struct fakeip_pair p;
	struct test_file f;
	size_t ends[1], at;

	(void)state;
	make_log(&f, 1, ends);
	at = evil.len = 1 + (ends[0] - TEST_EMPTY);
	evil.b[0] = (uint8_t)(at - 1);
	memcpy(evil.b + 1, f.bytes + TEST_EMPTY, at - 1);
	evil.len++;
	lower = evil;
	for (size_t i = 1; i < at; i++)
		if (lower.b[i] >= 'A' && lower.b[i] <= 'Z')
			lower.b[i] |= 0x20;
	evil.hash = test_hash(evil.b, evil.len, TEST_KEY);
	lower.hash = test_hash(lower.b, lower.len, TEST_KEY);
	t = test_open(&c, &f, 9, &loaded);
	assert_int_equal(test_assign(t, &evil, 0, 10, &p), -EINVAL);
	assert_int_equal(test_assign(t, &lower, 0, 10, &p), 0);
	assert_int_equal(fakeip_commit(t), 0);
	fakeip_free(t);
	f.bytes[ends[0] + LIMITS + 4] ^= 1; /* its checksum */
	t = test_open(&c, &f, 9, &loaded);
	assert_int_equal(loaded.loaded, 1);
	assert_int_equal(loaded.lost, 1);
	fakeip_free(t);
	free(f.bytes);
}

/* The disk is full at each byte in turn: told once, then memory only, and what is in the file stays
 * whole. */
static void a_failing_append_means_memory_only(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_name a = test_name("a.test"), b = test_name("b.test");

	(void)state;
	for (size_t room = 0; room < 40; room++) {
		struct test_file f = {.room = TEST_EMPTY + 40 + room};
		struct fakeip_load_result loaded;
		struct fakeip_table *t = test_open(&c, &f, 9, &loaded);
		struct fakeip_pair p;

		assert_int_equal(test_assign(t, &a, 0, 10, &p), 0);
		assert_int_equal(fakeip_commit(t), 0);
		assert_int_equal(test_assign(t, &b, 0, 10, &p), 0);
		assert_true(p.pending);
		assert_int_equal(fakeip_commit(t), -ENOSPC);
		assert_false(fakeip_is_persistent(t));
		assert_int_equal(fakeip_commit(t), 0);
		assert_int_equal(test_assign(t, &b, 0, 10, &p), 0);
		assert_int_equal(p.index, 3);
		assert_false(p.pending);
		assert_int_equal(test_assign(t, &a, 1, 10, &p), 0);
		assert_int_equal(p.index, 4);
		assert_false(p.pending);
		assert_int_equal(f.len, TEST_EMPTY + 40);
		fakeip_free(t);
		/* What was given out without a record is not given out again. */
		f.room = SIZE_MAX;
		t = test_open(&c, &f, 9, &loaded);
		assert_int_equal(loaded.loaded, 1);
		assert_int_equal(loaded.lost, 0);
		assert_int_equal(test_assign(t, &b, 0, 10, &p), 0);
		assert_int_equal(p.index, RESERVED);
		fakeip_free(t);
		free(f.bytes);
	}
}

static void an_early_write_that_fails_is_told_at_the_commit(void **state)
{
	struct fakeip_pool_config c = test_pools(15, 64);
	struct test_file f = {.room = 1000};
	struct fakeip_load_result loaded;
	struct fakeip_table *t = test_open(&c, &f, 9, &loaded);
	struct fakeip_pair p;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		struct test_name n = test_name_number(i);

		assert_int_equal(test_assign(t, &n, 0, 5, &p), 0);
		/* What the file reserves, then from the top. */
		assert_int_equal(p.index, i < 4096 ? 2 + i : 131070 - (i - 4096));
	}
	assert_false(p.pending);
	assert_int_equal(fakeip_commit(t), -ENOSPC);
	assert_int_equal(fakeip_commit(t), 0);
	test_bijection(t);
	fakeip_free(t);
	free(f.bytes);
}

static ssize_t append_fails(void *arg, const void *data, size_t len)
{
	(void)arg, (void)data, (void)len;
	return -EROFS;
}

static int truncate_fails(void *arg, uint64_t len)
{
	(void)arg, (void)len;
	return -EROFS;
}

/* A read-only disk: what is in the file is still known. */
static void a_log_that_cannot_be_written_is_read(void **state)
{
	const struct fakeip_log_io io = {.append = append_fails, .truncate = truncate_fails};
	struct fakeip_pool_config c = test_pools(20, 64);
	struct fakeip_load_result loaded;
	struct fakeip_table *t = test_table(&c);
	struct test_name a = test_name("a.test");
	struct fakeip_pair p;
	struct test_file f;

	(void)state;
	make_log(&f, 12, NULL);
	assert_int_equal(fakeip_load(t, f.bytes, f.len - 1, 9, &io, &loaded), -EROFS);
	assert_int_equal(loaded.loaded, 11);
	assert_false(fakeip_is_persistent(t));
	assert_int_equal(check_names(t, 12), 11);
	assert_int_equal(test_assign(t, &a, 0, 10, &p), 0);
	assert_int_equal(p.index, 4094); /* the next start begins from below */
	assert_false(p.pending);
	assert_int_equal(fakeip_commit(t), 0);
	fakeip_free(t);

	t = test_table(&c); /* not even a header */
	assert_int_equal(fakeip_load(t, NULL, 0, 9, &io, &loaded), -EROFS);
	assert_int_equal(test_assign(t, &a, 0, 10, &p), 0);
	fakeip_free(t);
	free(f.bytes);
}

static void without_the_hash_of_the_caller_nothing_can_be_loaded(void **state)
{
	struct fakeip_pool_config c = test_pools(20, 64);
	struct test_file f = {.room = SIZE_MAX};
	struct fakeip_log_io io = test_file_io(&f);
	struct fakeip_load_result loaded;
	struct fakeip_table *t;

	(void)state;
	c.hash = NULL;
	t = test_table(&c);
	assert_int_equal(fakeip_load(t, NULL, 0, 9, &io, &loaded), -EINVAL);
	assert_false(fakeip_is_persistent(t));
	fakeip_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_log_begins_with_its_header),
		cmocka_unit_test(a_commit_is_one_write_for_all_that_is_queued),
		cmocka_unit_test(more_than_the_queue_holds_is_written_early),
		cmocka_unit_test(cut_at_every_byte),
		cmocka_unit_test(flip_every_bit),
		cmocka_unit_test(what_damage_hid_comes_back_after_the_hold),
		cmocka_unit_test(a_foreign_file_is_started_anew),
		cmocka_unit_test(pools_that_hold_the_same_addresses_keep_the_mappings),
		cmocka_unit_test(a_small_pool_keeps_what_fits),
		cmocka_unit_test(the_address_counts_and_not_the_index),
		cmocka_unit_test(a_pair_that_does_not_fit_whole_is_dropped),
		cmocka_unit_test(elsewhere_the_old_pools_do_not_matter),
		cmocka_unit_test(records_beyond_the_pool_are_dropped),
		cmocka_unit_test(the_last_record_wins),
		cmocka_unit_test(a_name_leaves_its_old_index),
		cmocka_unit_test(a_record_cannot_be_asked_into_the_file),
		cmocka_unit_test(a_failing_append_means_memory_only),
		cmocka_unit_test(an_early_write_that_fails_is_told_at_the_commit),
		cmocka_unit_test(a_log_that_cannot_be_written_is_read),
		cmocka_unit_test(without_the_hash_of_the_caller_nothing_can_be_loaded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
