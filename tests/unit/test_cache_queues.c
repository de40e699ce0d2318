/* What stays when it is full, and that the bounds hold. */
#include "tests/unit/cache_stage.h"

#include <math.h>

#define LIFE_S 100000

static struct cache_config of_size(size_t entries, size_t bytes)
{
	return (struct cache_config){.entries = entries, .bytes = bytes, .hash_key = HASH_KEY};
}

static unsigned count_there(struct cache *c, unsigned from, unsigned to)
{
	static uint8_t buf[DNS_MESSAGE_MAX];
	unsigned n = 0;

	for (unsigned i = from; i < to; i++) {
		struct cache_found f;
		struct cache_asked a;

		cache_peek(c, asked_number(&a, i), 2, buf, sizeof buf, &f);
		n += f.state == CACHE_FRESH;
	}
	return n;
}

static void the_bound_by_entries_is_exact(void **state)
{
	const size_t sizes[] = {1, 2, 3, 5, 10, 100, 511, 1024, 1500, 4097};

	(void)state;
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
		struct cache_config config = of_size(sizes[k], 0);
		struct cache *c = cache_made(&config);

		for (unsigned i = 0; i < 3 * sizes[k]; i++) {
			put_number(c, i, LIFE_S, 1);
			assert_true(stats_of(c).entries <= sizes[k]);
			assert_int_equal(get_number(c, i, 1), CACHE_FRESH);
		}
		/* Shards are not filled evenly, but nearly. */
		assert_true(stats_of(c).entries >= sizes[k] - sizes[k] / 20);
		assert_int_equal(stats_of(c).evicted, 3 * sizes[k] - stats_of(c).entries);
		cache_free(c);
	}
}

static void a_cache_of_none_keeps_none(void **state)
{
	struct cache_config config = of_size(0, 0);
	struct cache *c = cache_made(&config);
	struct cache_asked a;

	(void)state;
	put_number(c, 1, LIFE_S, 1);
	cache_fail(c, asked_number(&a, 2), 5, 1);
	assert_int_equal(get_number(c, 1, 1), CACHE_MISS);
	assert_int_equal(get_number(c, 2, 1), CACHE_MISS);
	assert_int_equal(stats_of(c).entries, 0);
	cache_free(c);
}

static void put_long(struct cache *c, unsigned i, size_t len)
{
	static struct packet p;
	struct cache_asked a;
	char text[64];

	(void)snprintf(text, sizeof text, "n%u.example.test", i);
	answer_make(&p, text, DNS_A, LIFE_S, i);
	memset(p.b + p.len, 0, len - p.len);
	cache_put(c, asked_number(&a, i), p.b, len, LIFE_S, 1);
}

static void the_bound_by_bytes_holds(void **state)
{
	struct cache_config config = of_size(1000000, 1 << 20);
	struct cache *c = cache_made(&config);

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		put_long(c, i, 100 + i % 7 * 150);
		assert_true(stats_of(c).bytes <= 1 << 20);
	}
	assert_true(stats_of(c).entries > 1000);
	assert_true(stats_of(c).bytes > 900 << 10);
	put_long(c, 1, 60000);
	assert_int_equal(count_there(c, 1, 2), 1);
	assert_true(stats_of(c).bytes <= 1 << 20);
	for (unsigned i = 0; i < 100; i++) {
		put_long(c, 1, 100 + i * 600); /* the same, longer and longer */
		assert_true(stats_of(c).bytes <= 1 << 20);
	}
	cache_free(c);
}

static void what_is_larger_than_the_cache_pushes_nothing_out(void **state)
{
	struct cache_config config = of_size(1000, 40000);
	struct cache *c = cache_made(&config);
	size_t before;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		put_number(c, i, LIFE_S, 1);
	before = count_there(c, 0, 20);
	put_long(c, 100, 60000);
	assert_int_equal(before, 20);
	assert_int_equal(count_there(c, 0, 20), 20);
	assert_int_equal(count_there(c, 100, 101), 0);
	put_long(c, 19, 60000); /* in the place of one: it goes, as it is not true any more */
	assert_int_equal(count_there(c, 0, 20), 19);
	cache_free(c);
	config.bytes = 1;
	c = cache_made(&config);
	put_number(c, 1, LIFE_S, 1);
	assert_int_equal(stats_of(c).entries, 0);
	cache_free(c);
}

static void large_ones_do_not_push_out_what_is_asked_for(void **state)
{
	struct cache_config config = of_size(1000, 100000);
	struct cache *c = cache_made(&config);

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		put_number(c, i, LIFE_S, 1);
	for (unsigned large = 100; large < 120; large++) {
		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(get_number(c, i, 1), CACHE_FRESH);
		put_long(c, large, 30000);
		assert_true(stats_of(c).bytes <= 100000);
	}
	assert_int_equal(count_there(c, 0, 20), 20);
	assert_int_equal(count_there(c, 119, 120), 1);
	cache_free(c);
}

static void the_dead_go_first(void **state)
{
	struct cache_config config = of_size(100, 0);
	struct cache *c = cache_made(&config);

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		put_number(c, i, i < 50 ? 10 : LIFE_S, 1);
		(void)get_number(c, i, 2);
		(void)get_number(c, i, 2);
	}
	for (unsigned i = 100; i < 150; i++)
		put_number(c, i, LIFE_S, 100);
	assert_int_equal(count_there(c, 50, 100), 50);
	cache_free(c);
}

static void it_shrinks_and_grows_at_once(void **state)
{
	const size_t sizes[] = {20000, 10, 3000, 100000, 1, 0, 500};
	struct cache_config config = of_size(20000, 0);
	struct cache *c = cache_made(&config);

	(void)state;
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
		size_t before = stats_of(c).entries;

		config.entries = sizes[k];
		assert_int_equal(cache_configure(c, &config), 0);
		assert_true(stats_of(c).entries <= sizes[k]);
		if (before <= sizes[k] / 2)
			assert_int_equal(stats_of(c).entries, before); /* all came along */
		assert_int_equal(count_there(c, 0, 5000), stats_of(c).entries);
		for (unsigned i = 0; i < 5000; i++)
			put_number(c, i, LIFE_S, 1);
		assert_true(stats_of(c).entries <= sizes[k]);
		assert_int_equal(count_there(c, 0, 5000), stats_of(c).entries);
	}
	config.bytes = 60000;
	assert_int_equal(cache_configure(c, &config), 0);
	assert_true(stats_of(c).bytes <= 60000);
	assert_true(stats_of(c).entries > 50);
	cache_free(c);
}

static void what_is_asked_for_survives_shrinking(void **state)
{
	struct cache_config config = of_size(2000, 0);
	struct cache *c = cache_made(&config);

	(void)state;
	for (unsigned i = 0; i < 1700; i++)
		put_number(c, i, LIFE_S, 1);
	for (unsigned i = 0; i < 200; i++)
		(void)get_number(c, i * 7, 1);
	config.entries = 400;
	assert_int_equal(cache_configure(c, &config), 0);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(get_number(c, i * 7, 1), CACHE_FRESH);
	cache_free(c);
}

static void new_times_apply_at_once(void **state)
{
	struct cache_config config = of_size(100, 0);
	struct cache *c = cache_made(&config);

	(void)state;
	put_number(c, 1, 10, 1);
	assert_int_equal(get_number(c, 1, 20), CACHE_MISS);
	config.serve_stale_s = 60;
	assert_int_equal(cache_configure(c, &config), 0);
	assert_int_equal(get_number(c, 1, 20), CACHE_STALE);
	cache_free(c);
}

/* --- how well --- */

#define NAMES	20000
#define KEPT	1000
#define ROUNDS	120000
#define SCAN_AT 60000
#define SCANNED 10000
#define SCAN_OF 1000000 /* names from here on are asked for once */

static uint64_t random_state;

static double random_part(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (double)(random_state >> 11) / (double)(1ULL << 53);
}

/* Zipf by bisection of the sums. */
static unsigned zipf(const double *sums)
{
	double wanted = random_part() * sums[NAMES - 1];
	unsigned low = 0, high = NAMES - 1;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (sums[middle] < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool in_cache(void *arg, unsigned i)
{
	if (get_number(arg, i, 1) == CACHE_FRESH)
		return true;
	put_number(arg, i, LIFE_S, 1);
	return false;
}

struct fifo {
	unsigned ring[KEPT], next;
	uint8_t there[SCAN_OF + SCANNED];
};

static bool in_fifo(void *arg, unsigned i)
{
	struct fifo *f = arg;

	if (f->there[i])
		return true;
	f->there[f->ring[f->next]] = 0;
	f->ring[f->next] = i;
	f->there[i] = 1;
	f->next = (f->next + 1) % KEPT;
	return false;
}

/* The load with a scan in between, two of its names for one of the others'; how many hits there
 * were while it went on and in the KEPT questions after it, and in all. */
static unsigned run_load(
	bool (*ask)(void *arg, unsigned i), void *arg, const double *sums, unsigned *ret_scan)
{
	unsigned hits = 0, scanned = 0;

	random_state = 88172645463325252ULL;
	*ret_scan = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		bool hit = ask(arg, zipf(sums)), scan = i >= SCAN_AT && scanned < SCANNED;

		hits += hit;
		if (i >= SCAN_AT && i < SCAN_AT + SCANNED / 2 + KEPT)
			*ret_scan += hit;
		for (unsigned k = 0; k < 2 && scan; k++)
			(void)ask(arg, SCAN_OF + scanned++);
	}
	return hits;
}

static void a_scan_does_not_push_out_what_is_asked_for(void **state)
{
	struct cache_config config = of_size(KEPT, 0);
	struct cache *c = cache_made(&config);
	struct fifo *fifo = calloc(1, sizeof *fifo);
	double *sums = calloc(NAMES, sizeof *sums), sum = 0;
	unsigned ours, ours_scan, plain, plain_scan;

	(void)state;
	assert_non_null(fifo);
	assert_non_null(sums);
	for (unsigned i = 0; i < NAMES; i++)
		sums[i] = sum += 1 / pow(i + 1, 0.9);
	ours = run_load(in_cache, c, sums, &ours_scan);
	plain = run_load(in_fifo, fifo, sums, &plain_scan);
	print_message("hits: %u of %u, plain FIFO %u; during the scan %u of %u, plain %u\n", ours,
		ROUNDS, plain, ours_scan, SCANNED / 2 + KEPT, plain_scan);
	assert_true(ours > plain + plain / 10);
	assert_true(ours_scan > plain_scan + plain_scan / 3);
	assert_true(stats_of(c).entries == KEPT);
	free(sums);
	free(fifo);
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bound_by_entries_is_exact),
		cmocka_unit_test(a_cache_of_none_keeps_none),
		cmocka_unit_test(the_bound_by_bytes_holds),
		cmocka_unit_test(what_is_larger_than_the_cache_pushes_nothing_out),
		cmocka_unit_test(large_ones_do_not_push_out_what_is_asked_for),
		cmocka_unit_test(the_dead_go_first),
		cmocka_unit_test(it_shrinks_and_grows_at_once),
		cmocka_unit_test(what_is_asked_for_survives_shrinking),
		cmocka_unit_test(new_times_apply_at_once),
		cmocka_unit_test(a_scan_does_not_push_out_what_is_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
