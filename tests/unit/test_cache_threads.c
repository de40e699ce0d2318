/* All at once on one cache; meant for the thread sanitizer, but what they see is checked anyway. */
#include "tests/unit/cache_stage.h"

#include <pthread.h>
#include <unistd.h>

#define ROUNDS 4000
#define NAMES  2000

static struct cache *cache;
static _Atomic unsigned failures;
static char path[] = "/tmp/tungate-cache-XXXXXX";

/* cmocka's asserts leave by longjmp, which belongs to the main thread. */
static void expect(bool holds)
{
	failures += !holds;
}

static void *ask_and_put(void *arg)
{
	uint64_t random = 0x9e3779b97f4a7c15ULL * (uintptr_t)arg;

	for (unsigned k = 0; k < ROUNDS * 5; k++) {
		uint8_t buf[512];
		struct cache_found f;
		struct cache_asked a;
		unsigned i;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		i = (unsigned)(random >> 32) % NAMES;
		cache_prefetch(cache, asked_number(&a, i)->hash);
		cache_get(cache, &a.key, 100 + k / 100, buf, sizeof buf, &f);
		if (f.state == CACHE_FRESH || f.state == CACHE_STALE)
			expect((unsigned)(buf[f.len - 2] << 8 | buf[f.len - 1]) == i);
		else if (k % 17 == 0)
			cache_fail(cache, &a.key, 5, 100 + k / 100);
		else
			put_number(cache, i, 30, 100 + k / 100);
	}
	return NULL;
}

static void see(void *arg, const struct cache_shown *e)
{
	*(unsigned *)arg += 1;
	expect(e->state == CACHE_FAILED ? !e->msg : e->len > 12);
}

static void *look_after(void *arg)
{
	struct cache_config config = {
		.serve_stale_s = 10, .prefetch_percent = 50, .hash_key = HASH_KEY};
	struct cache_stats s;

	(void)arg;
	for (unsigned k = 0; k < ROUNDS / 20; k++) {
		struct cache_asked a;
		unsigned seen = 0;

		config.entries = k % 3 ? 600 * (k % 3) : 100;
		config.bytes = k % 5 ? 0 : 100000;
		expect(cache_configure(cache, &config) == 0);
		(void)cache_flush(cache, k % 10 ? asked_number(&a, k)->name : NULL);
		(void)cache_show(cache, NULL, 100 + k, 50, see, &seen);
		expect(seen <= 50);
		cache_flush_failures(cache);
		cache_stats(cache, &s);
		if (k % 20 == 0) {
			expect(cache_save(cache, path, 100 + k, 1000 + k) == 0);
			expect(cache_load(cache, path, 100 + k, 1000 + k, NULL, 0, NULL) == 0);
		}
	}
	return NULL;
}

static void threads_share_it(void **state)
{
	struct cache_config config = {.entries = 1500, .hash_key = HASH_KEY};
	pthread_t threads[4];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	(void)close(fd);
	cache = cache_made(&config);
	for (uintptr_t i = 0; i < 3; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, ask_and_put, (void *)(i + 1)), 0);
	assert_int_equal(pthread_create(&threads[3], NULL, look_after, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(failures, 0);
	cache_free(cache);
	(void)unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(threads_share_it)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
