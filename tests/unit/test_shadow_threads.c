/* A lane, a monitor and workers on one shadow; meant for the thread sanitizer, but what they see is
 * checked anyway: what is held at the end, the kernel has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "netlink/shadow.h"

#include <stdatomic.h>
#include <string.h>

#define ROUNDS 20000
#define KEYS   300

static struct shadow shadow;
static _Atomic bool kernel[KEYS]; /* has it */
static _Atomic unsigned failures;
static _Atomic bool ended;

static uint32_t pick(uint64_t *random, uint32_t n)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return (uint32_t)((*random >> 32) * n >> 32);
}

static void put(uint32_t key)
{
	uint32_t mark = shadow_mark(&shadow);

	kernel[key] = true;
	shadow_put(&shadow, &key, 4, NULL, SHADOW_FOREVER, false, mark, 0, NULL);
}

/* Puts in what is asked for, and again what was lost. */
static void *lane(void *arg)
{
	uint64_t random = 0x9e3779b97f4a7c15ULL;
	struct shadow_element e[32];
	size_t cursor = 0;

	(void)arg;
	for (unsigned k = 0; k < ROUNDS; k++) {
		size_t n;

		put(pick(&random, KEYS));
		if (k % 64 == 0)
			shadow_sweep(&shadow, 0);
		if (k % 1000 == 0)
			shadow_shape(&shadow, k % 2000 ? 4 : 16, 0);
		if (k % 1000 == 10)
			shadow_shape(&shadow, 4, 0);
		if (k % 32)
			continue;
		n = shadow_next_lost(&shadow, &cursor, 0, e, 32);
		for (size_t i = 0; i < n; i++) {
			uint32_t key;

			memcpy(&key, e[i].key, 4);
			put(key);
		}
	}
	ended = true;
	return NULL;
}

/* Tells what the kernel has lost, after that. */
static void *monitor(void *arg)
{
	uint64_t random = 0xbf58476d1ce4e5b9ULL;

	(void)arg;
	while (!ended) {
		uint32_t key = pick(&random, KEYS);

		if (pick(&random, 50) == 0) {
			for (unsigned i = 0; i < KEYS; i++)
				kernel[i] = false;
			shadow_lose_all(&shadow);
		} else {
			kernel[key] = false;
			(void)shadow_lose(&shadow, &key, 4, 0);
		}
	}
	return NULL;
}

/* cmocka's asserts leave by longjmp, which belongs to the main thread. */
static void *worker(void *arg)
{
	uint64_t random = 0x94d049bb133111ebULL * (uintptr_t)arg;
	struct shadow_element e[8];
	struct shadow_count c;
	size_t cursor = 0;

	while (!ended) {
		uint32_t key = pick(&random, KEYS + 10);

		failures += key >= KEYS && shadow_holds(&shadow, &key, 4, NULL, 0);
		failures += shadow_sample(&shadow, &cursor, 0, e, 8) > 8;
		shadow_count(&shadow, &c);
		failures += c.held + c.lost > KEYS;
	}
	return NULL;
}

static void what_is_held_the_kernel_has(void **state)
{
	pthread_t threads[4];
	struct shadow_count c;
	unsigned n_held = 0;

	(void)state;
	shadow_init(&shadow, 1);
	shadow_shape(&shadow, 4, 0);
	assert_int_equal(pthread_create(&threads[0], NULL, lane, NULL), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, monitor, NULL), 0);
	for (uintptr_t i = 2; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker, (void *)i), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(failures, 0);
	for (uint32_t i = 0; i < KEYS; i++)
		if (shadow_holds(&shadow, &i, 4, NULL, 0)) {
			n_held++;
			assert_true(kernel[i]);
		}
	shadow_count(&shadow, &c);
	assert_int_equal(c.held, n_held);
	shadow_fini(&shadow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_held_the_kernel_has)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
