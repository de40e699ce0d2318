/* A lane, a monitor and workers on one shadow; meant for the thread sanitizer, but what they see is
 * checked anyway: what is held at the end, the kernel has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "netlink/shadow.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#define ROUNDS 1000
#define STEPS  40 /* of a round, whose end all wait for */
#define KEYS   8

static struct shadow shadow;
static _Atomic bool kernel[KEYS]; /* has it */
static _Atomic unsigned failures;
static pthread_barrier_t barrier;

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
	(void)sched_yield(); /* the news of a loss may overtake us */
	shadow_put(&shadow, &key, 4, NULL, SHADOW_FOREVER, false, mark, 0, NULL);
}

/* Puts in what is asked for, and again what was lost. */
static void lane(uint64_t *random)
{
	struct shadow_element e[4];
	size_t cursor = 0, n;

	for (unsigned k = 0; k < STEPS; k++)
		put(pick(random, KEYS));
	if (pick(random, 4) == 0)
		shadow_sweep(&shadow, 0);
	if (pick(random, 50) == 0) {
		shadow_shape(&shadow, 16, 0);
		shadow_shape(&shadow, 4, 0);
	}
	n = shadow_next_lost(&shadow, &cursor, 0, e, 4);
	for (size_t i = 0; i < n; i++) {
		uint32_t key;

		memcpy(&key, e[i].key, 4);
		put(key);
	}
}

/* Tells what the kernel has lost, after that. */
static void monitor(uint64_t *random)
{
	for (unsigned k = 0; k < STEPS; k++) {
		uint32_t key = pick(random, KEYS);

		if (pick(random, 50) == 0) {
			for (unsigned i = 0; i < KEYS; i++)
				kernel[i] = false;
			shadow_lose_all(&shadow);
		} else {
			kernel[key] = false;
			(void)shadow_lose(&shadow, &key, 4, 0);
		}
	}
}

/* cmocka's asserts leave by longjmp, which belongs to the main thread. */
static void worker(uint64_t *random)
{
	struct shadow_element e[8];
	struct shadow_count c;
	size_t cursor = 0;

	for (unsigned k = 0; k < STEPS; k++) {
		uint32_t key = pick(random, KEYS + 2);

		failures += shadow_holds(&shadow, &key, 4, NULL, 0) && key >= KEYS;
		failures += shadow_sample(&shadow, &cursor, 0, e, 8) > 8;
		shadow_count(&shadow, &c);
		failures += c.held + c.lost > KEYS;
	}
}

static void *play_a_part(void *arg)
{
	static void (*const parts[])(uint64_t *) = {lane, monitor, worker};
	uint64_t random = 0x9e3779b97f4a7c15ULL * ((uintptr_t)arg + 1);

	for (unsigned k = 0; k < ROUNDS; k++) {
		(void)pthread_barrier_wait(&barrier);
		parts[(uintptr_t)arg](&random);
		(void)pthread_barrier_wait(&barrier);
	}
	return NULL;
}

/* Nobody is at work. Returns how many are held. */
static unsigned look(void)
{
	struct shadow_count c;
	unsigned n = 0;

	for (uint32_t i = 0; i < KEYS; i++)
		if (shadow_holds(&shadow, &i, 4, NULL, 0)) {
			n++;
			failures += !kernel[i];
		}
	shadow_count(&shadow, &c);
	failures += c.held != n;
	return n;
}

static void what_is_held_the_kernel_has(void **state)
{
	pthread_t threads[3];
	unsigned n_held = 0;

	(void)state;
	shadow_init(&shadow, 1);
	shadow_shape(&shadow, 4, 0);
	assert_int_equal(pthread_barrier_init(&barrier, NULL, 4), 0);
	for (uintptr_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, play_a_part, (void *)i), 0);
	for (unsigned k = 0; k < ROUNDS; k++) {
		(void)pthread_barrier_wait(&barrier);
		(void)pthread_barrier_wait(&barrier);
		n_held += look();
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(failures, 0);
	assert_true(n_held > 0);
	(void)pthread_barrier_destroy(&barrier);
	shadow_fini(&shadow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_held_the_kernel_has)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
