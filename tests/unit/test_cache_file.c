#include "tests/unit/cache_stage.h"
#include "tests/unit/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define WALL_S 1800000000
#define DAY_S  86400

static const struct cache_config usual = {
	.entries = 5000, .serve_stale_s = 3600, .hash_key = HASH_KEY};
/* Another process has another key, and its own clock. */
static const struct cache_config later = {.entries = 5000, .serve_stale_s = 3600, .hash_key = 42};

static char path[64], new_path[64];
static struct cache_found found;
static uint8_t buf[70000];

static int paths_make(void **state)
{
	(void)state;
	(void)snprintf(path, sizeof path, "%s/cache", folder());
	(void)snprintf(new_path, sizeof new_path, "%s/cache.new", folder());
	return 0;
}

static int paths_remove(void **state)
{
	(void)unlink(path);
	return folder_remove(state);
}

/* A look as with the other process' key. */
static enum cache_state look(struct cache *c, unsigned i, uint32_t now_s)
{
	struct cache_asked a;

	asked_number(&a, i);
	a.key.hash = dns_name_hash(&a.name, 42);
	cache_peek(c, &a.key, now_s, buf, sizeof buf, &found);
	return found.state;
}

static size_t file_read(uint8_t *bytes, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, bytes, size);

	assert_true(fd >= 0 && n >= 0);
	(void)close(fd);
	return (size_t)n;
}

static void file_write(const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	(void)close(fd);
}

static void saved_with(unsigned n, uint32_t life_s, uint32_t now_s, int64_t wall_s)
{
	struct cache *c = cache_made(&usual);

	for (unsigned i = 0; i < n; i++)
		put_number(c, i, life_s, 1000);
	assert_int_equal(cache_save(c, path, now_s, wall_s), 0);
	cache_free(c);
}

static struct cache *loaded(uint32_t now_s, int64_t wall_s)
{
	struct cache *c = cache_made(&later);

	assert_int_equal(cache_load(c, path, now_s, wall_s, NULL, 0, NULL), 0);
	return c;
}

static void answers_come_back_with_their_ages(void **state)
{
	struct stat st;
	struct cache *c;

	(void)state;
	saved_with(500, 300, 1100, WALL_S);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(new_path, &st), -1);
	c = loaded(7, WALL_S + 50); /* 150 s old, longer than the host is up */
	assert_int_equal(stats_of(c).entries, 500);
	for (unsigned i = 0; i < 500; i++) {
		assert_int_equal(look(c, i, 7), CACHE_FRESH);
		assert_int_equal(found.age_s, 150);
		assert_int_equal(found.left_s, 150);
		assert_int_equal(buf[found.len - 2] << 8 | buf[found.len - 1], i);
	}
	assert_int_equal(look(c, 1, 157), CACHE_STALE);
	cache_free(c);
	c = loaded(7, WALL_S + 200 + 3599);
	assert_int_equal(look(c, 1, 7), CACHE_STALE);
	assert_int_equal(look(c, 1, 8), CACHE_MISS);
	cache_free(c);
	c = loaded(7, WALL_S + 200 + 3600); /* dead */
	assert_int_equal(stats_of(c).entries, 0);
	cache_free(c);
}

static void a_clock_that_jumped_neither_kills_nor_makes_fresh(void **state)
{
	const int64_t walls[][2] = {{WALL_S, WALL_S - 1}, {WALL_S, 0}, {0, WALL_S}, {0, 0},
		{WALL_S, WALL_S + 30LL * DAY_S + 1}, {WALL_S, -1}, {WALL_S, INT64_MAX},
		{INT64_MIN, INT64_MAX}, {INT64_MAX, WALL_S}};

	(void)state;
	for (size_t k = 0; k < sizeof walls / sizeof *walls; k++) {
		struct cache *c;

		saved_with(3, 300, 1100, walls[k][0]);
		c = loaded(7, walls[k][1]);
		assert_int_equal(look(c, 1, 7), CACHE_STALE);
		assert_int_equal(look(c, 1, 7 + 3599), CACHE_STALE);
		assert_int_equal(look(c, 1, 7 + 3600), CACHE_MISS);
		cache_free(c);
		saved_with(3, 300, 1000 + 300 + 3000, walls[k][0]); /* stale for 3000 s already */
		c = loaded(7, walls[k][1]);
		assert_int_equal(look(c, 1, 7 + 599), CACHE_STALE);
		assert_int_equal(look(c, 1, 7 + 600), CACHE_MISS);
		cache_free(c);
	}
}

static void all_of_the_key_comes_back(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a;
	struct packet p;

	(void)state;
	for (unsigned flags = 0; flags < 4; flags++) {
		answer_make(&p, "a.test", DNS_AAAA, 60, flags);
		asked_text(&a, "a.test", DNS_AAAA);
		a.key.flags = (uint8_t)flags;
		a.key.view = 0xfedcba9876543210ULL + flags;
		cache_put(c, &a.key, p.b, p.len, 60, 5);
	}
	asked_text(&a, "b.test", DNS_A);
	cache_fail(c, &a.key, 60, 5); /* not kept */
	assert_int_equal(cache_save(c, path, 5, WALL_S), 0);
	cache_free(c);
	c = cache_made(&usual);
	assert_int_equal(cache_load(c, path, 5, WALL_S, NULL, 0, NULL), 0);
	assert_int_equal(stats_of(c).entries, 4);
	for (unsigned flags = 0; flags < 4; flags++) {
		asked_text(&a, "a.test", DNS_AAAA);
		a.key.flags = (uint8_t)flags;
		a.key.view = 0xfedcba9876543210ULL + flags;
		cache_peek(c, &a.key, 5, buf, sizeof buf, &found);
		assert_int_equal(found.state, CACHE_FRESH);
		assert_int_equal(buf[found.len - 1], flags);
	}
	cache_free(c);
}

static void the_hottest_are_told(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_hot hot[10];
	size_t n = 99;

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		unsigned asked = i * 7 % 300; /* each number once */

		put_number(c, i, 60, 5);
		for (unsigned k = 0; k < asked; k++)
			(void)get_number(c, i, 5);
	}
	assert_int_equal(cache_save(c, path, 5, WALL_S), 0);
	cache_free(c);
	c = cache_made(&later);
	assert_int_equal(cache_load(c, path, 5, WALL_S, hot, 10, &n), 0);
	assert_int_equal(n, 10);
	for (unsigned i = 0; i < 10; i++) {
		struct cache_asked a;
		unsigned which = 0;

		while (which * 7 % 300 != 299 - i)
			which++;
		asked_number(&a, which);
		assert_int_equal(hot[i].hits, 299 - i);
		assert_int_equal(hot[i].type, DNS_A);
		assert_true(dns_name_equal(&hot[i].name, &a.name));
	}
	cache_free(c);
	saved_with(3, 60, 1000, WALL_S);
	c = cache_made(&later);
	assert_int_equal(cache_load(c, path, 5, WALL_S, hot, 10, &n), 0);
	assert_int_equal(n, 3);
	cache_free(c);
}

static void what_is_there_stays_and_bounds_hold(void **state)
{
	struct cache_config config = {.entries = 100, .serve_stale_s = 60, .hash_key = HASH_KEY};
	struct cache *c = cache_made(&config);
	struct cache_asked a;

	(void)state;
	saved_with(1000, 300, 1000, WALL_S);
	put_number(c, 1, 30, 1);
	put_number(c, 2000, 30, 1);
	assert_int_equal(cache_load(c, path, 1, WALL_S, NULL, 0, NULL), 0);
	assert_int_equal(stats_of(c).entries, 100);
	assert_int_equal(stats_of(c).evicted, 0);
	cache_peek(c, asked_number(&a, 1), 1, buf, sizeof buf, &found);
	assert_int_equal(found.left_s, 30);
	assert_int_equal(get_number(c, 2000, 1), CACHE_FRESH);
	cache_free(c);
	config.entries = 1000;
	config.bytes = 50000;
	c = cache_made(&config);
	assert_int_equal(cache_load(c, path, 1, WALL_S, NULL, 0, NULL), 0);
	assert_true(stats_of(c).bytes <= 50000);
	assert_true(stats_of(c).entries > 100);
	cache_free(c);
	config.entries = 0;
	c = cache_made(&config);
	assert_int_equal(cache_load(c, path, 1, WALL_S, NULL, 0, NULL), 0);
	assert_int_equal(stats_of(c).entries, 0);
	cache_free(c);
}

static void an_empty_cache_can_be_kept(void **state)
{
	struct cache *c;

	(void)state;
	saved_with(0, 60, 1000, WALL_S);
	c = loaded(1, WALL_S);
	assert_int_equal(stats_of(c).entries, 0);
	cache_free(c);
}

/* --- what is not ours --- */

static void expect_refused(int error)
{
	struct cache *c = cache_made(&later);
	struct cache_hot hot;
	size_t n = 77;

	assert_int_equal(cache_load(c, path, 1, WALL_S, &hot, 1, &n), error);
	assert_int_equal(n, 77);
	assert_int_equal(stats_of(c).entries, 0);
	cache_free(c);
}

static void a_torn_file_is_refused(void **state)
{
	static uint8_t bytes[1 << 16];
	size_t len;

	(void)state;
	saved_with(300, 300, 1000, WALL_S);
	len = file_read(bytes, sizeof bytes);
	assert_true(len > 100 && len < sizeof bytes);
	for (size_t torn = 0; torn < len; torn += torn < 40 || torn > len - 40 ? 1 : 29) {
		file_write(bytes, torn);
		expect_refused(-EBADMSG);
	}
	bytes[len] = 0; /* more than there should be */
	file_write(bytes, len + 1);
	expect_refused(-EBADMSG);
}

static void a_changed_file_is_refused(void **state)
{
	static uint8_t bytes[1 << 16];
	size_t len;

	(void)state;
	saved_with(300, 300, 1000, WALL_S);
	len = file_read(bytes, sizeof bytes);
	for (size_t at = 0; at < len; at += at < 40 || at > len - 40 ? 1 : 37) {
		for (unsigned bit = 0; bit < 8; bit += 3) {
			bytes[at] ^= (uint8_t)(1 << bit);
			file_write(bytes, len);
			/* A bit of zstd's own header may mean nothing, but the checksum counts. */
			if (at < 12 || at > 40)
				expect_refused(-EBADMSG);
			bytes[at] ^= (uint8_t)(1 << bit);
		}
	}
}

static void no_file_is_told_as_that(void **state)
{
	(void)state;
	(void)unlink(path);
	expect_refused(-ENOENT);
}

/* Nor is it replaced. */
static void what_is_no_file_stays(void **state)
{
	struct cache *c = cache_made(&later);
	struct stat st;

	(void)state;
	(void)unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	expect_refused(-EISDIR);
	assert_int_equal(cache_save(c, path, 1, WALL_S), -EISDIR);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	expect_refused(-ENOTSUP);
	assert_int_equal(cache_save(c, path, 1, WALL_S), -ENOTSUP);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	(void)unlink(path);
	cache_free(c);
}

/* A file with a right checksum and these records. */
static void file_pack(const void *records, size_t len)
{
	static uint8_t packed[1 << 20];
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	size_t n;

	memcpy(packed, "TGCACHE\n\1\0\0\0", 12);
	(void)ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
	n = ZSTD_compress2(zstd, packed + 12, sizeof packed - 12, records, len);
	assert_false(ZSTD_isError(n));
	(void)ZSTD_freeCCtx(zstd);
	file_write(packed, 12 + n);
}

static void put_le(struct packet *p, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		put8(p, value >> 8 * i & 255);
}

struct written {
	unsigned len, type, flags, queue;
	uint32_t age_s, life_s;
};

static void file_of_record(const struct written *w, const struct packet *msg)
{
	static struct packet p;

	p.len = 0;
	put_le(&p, WALL_S, 8);
	put_le(&p, w->len, 2);
	put_le(&p, w->type, 2);
	put_le(&p, w->flags, 1);
	put_le(&p, w->queue, 1);
	put_le(&p, 3, 2);
	put_le(&p, 99, 8);
	put_le(&p, w->age_s, 4);
	put_le(&p, w->life_s, 4);
	put_bytes(&p, msg->b, msg->len);
	file_pack(p.b, p.len);
}

static void records_that_lie_are_refused(void **state)
{
	static struct packet msg;
	struct written right, w;
	struct cache *c;

	(void)state;
	answer_make(&msg, "a.test", DNS_A, 60, 1);
	right = (struct written){(unsigned)msg.len, DNS_A, 3, 1, 10, 60};
	file_of_record(&right, &msg);
	c = loaded(1, WALL_S);
	assert_int_equal(stats_of(c).entries, 1);
	cache_free(c);
	for (unsigned k = 0; k < 9; k++) {
		w = right;
		w.len -= k == 0;
		w.len += k == 1;
		w.len = k == 2 ? 0 : w.len;
		w.type = k == 3 ? DNS_AAAA : w.type;
		w.flags = k == 4 ? 4 : w.flags;
		w.queue = k == 5 ? 2 : w.queue;
		w.age_s = k == 6 ? UINT32_MAX : w.age_s;
		w.life_s = k == 7 ? 0 : k == 8 ? UINT32_MAX : w.life_s;
		file_of_record(&w, &msg);
		expect_refused(-EBADMSG);
	}
}

static void messages_that_are_none_are_refused(void **state)
{
	static struct packet msg;
	struct written w;

	(void)state;
	for (unsigned k = 0; k < 6; k++) {
		answer_make(&msg, "a.test", DNS_A, 60, 1);
		w = (struct written){(unsigned)msg.len, DNS_A, 0, 0, 10, 60};
		msg.b[0] = k == 0;		    /* an id */
		msg.b[2] = k == 1 ? 0x01 : 0x81;    /* a question */
		msg.b[2] |= k == 2 ? 0x02 : 0;	    /* TC */
		msg.b[5] = k == 3 ? 2 : 1;	    /* two questions */
		msg.b[7] = k == 4 ? 2 : 1;	    /* a record that is not there */
		msg.b[12 + 8 + 3] = k == 5 ? 3 : 1; /* class CH */
		file_of_record(&w, &msg);
		expect_refused(-EBADMSG);
	}
	answer_make(&msg, "a.test", DNS_A, 60, 1);
	msg.b[11] = 1;
	put_name(&msg, "");
	put16(&msg, DNS_OPT);
	put16(&msg, 1232);
	put32(&msg, 0);
	put16(&msg, 0);
	w = (struct written){(unsigned)msg.len, DNS_A, 0, 0, 10, 60};
	file_of_record(&w, &msg);
	expect_refused(-EBADMSG);
}

/* What unpacks to more than any cache is not unpacked to its end. */
static void a_bomb_is_refused(void **state)
{
	static uint8_t bytes[1 << 20];
	size_t len = 1 << 25, n;
	uint8_t *zeros = calloc(1, len);

	(void)state;
	assert_non_null(zeros);
	memcpy(bytes, "TGCACHE\n\1\0\0\0", 12);
	n = ZSTD_compress(bytes + 12, sizeof bytes - 12, zeros, len, 19); /* a window of 8 MiB */
	assert_false(ZSTD_isError(n));
	free(zeros);
	file_write(bytes, 12 + n);
	expect_refused(-EBADMSG);
}

static void a_file_that_cannot_be_written_leaves_the_old_one(void **state)
{
	struct cache *c = cache_made(&usual);
	struct stat st;

	(void)state;
	saved_with(3, 300, 1000, WALL_S);
	assert_int_equal(mkdir(new_path, 0700), 0);
	assert_int_equal(cache_save(c, path, 1, WALL_S), -EISDIR);
	assert_int_equal(rmdir(new_path), 0);
	assert_int_equal(cache_save(c, "/nowhere/at/all", 1, WALL_S), -ENOENT);
	cache_free(c);
	c = loaded(1, WALL_S);
	assert_int_equal(stats_of(c).entries, 3);
	cache_free(c);
	c = cache_made(&usual);
	assert_int_equal(symlink("cache", new_path), 0);
	assert_int_equal(cache_save(c, path, 1, WALL_S), -ELOOP);
	assert_int_equal(unlink(new_path), 0);
	assert_int_equal(stat(path, &st), 0);
	cache_free(c);
}

static void what_was_asked_for_is_still_preferred(void **state)
{
	struct cache_config config = {.entries = 300, .hash_key = 42};
	struct cache *c = cache_made(&usual);

	(void)state;
	config.hash_key = HASH_KEY;
	cache_free(c);
	c = cache_made(&config);
	for (unsigned i = 0; i < 300; i++)
		put_number(c, i, 300, 1);
	for (unsigned i = 0; i < 100; i++)
		(void)get_number(c, i, 1);
	for (unsigned i = 300; i < 500; i++) /* what was asked for is in the main queue now */
		put_number(c, i, 300, 1);
	assert_int_equal(cache_save(c, path, 1, WALL_S), 0);
	cache_free(c);
	config.entries = 120;
	config.hash_key = 42;
	c = cache_made(&config);
	assert_int_equal(cache_load(c, path, 1, WALL_S, NULL, 0, NULL), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(look(c, i, 1), CACHE_FRESH);
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_come_back_with_their_ages),
		cmocka_unit_test(a_clock_that_jumped_neither_kills_nor_makes_fresh),
		cmocka_unit_test(all_of_the_key_comes_back),
		cmocka_unit_test(the_hottest_are_told),
		cmocka_unit_test(what_is_there_stays_and_bounds_hold),
		cmocka_unit_test(an_empty_cache_can_be_kept),
		cmocka_unit_test(a_torn_file_is_refused),
		cmocka_unit_test(a_changed_file_is_refused),
		cmocka_unit_test(no_file_is_told_as_that),
		cmocka_unit_test(what_is_no_file_stays),
		cmocka_unit_test(records_that_lie_are_refused),
		cmocka_unit_test(messages_that_are_none_are_refused),
		cmocka_unit_test(a_bomb_is_refused),
		cmocka_unit_test(a_file_that_cannot_be_written_leaves_the_old_one),
		cmocka_unit_test(what_was_asked_for_is_still_preferred),
	};

	return cmocka_run_group_tests(tests, paths_make, paths_remove);
}
