#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "netlink/shadow.h"

#include <stdlib.h>
#include <string.h>

#define SEED 0x6a09e667f3bcc908ULL

static uint64_t random_state = 88172645463325252ULL;

static uint32_t pick(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 32) * n >> 32);
}

static void begin(struct shadow *s, uint8_t key_size, uint8_t value_size)
{
	shadow_init(s, SEED);
	shadow_shape(s, key_size, value_size);
}

static void put(struct shadow *s, uint32_t key, int64_t until_ms, int64_t now_ms)
{
	shadow_put(s, &key, 4, NULL, until_ms, false, shadow_mark(s), now_ms, NULL);
}

static bool holds(struct shadow *s, uint32_t key, int64_t need_ms)
{
	return shadow_holds(s, &key, 4, NULL, need_ms);
}

static struct shadow_count count(struct shadow *s)
{
	struct shadow_count c;

	shadow_count(s, &c);
	return c;
}

/* All that is lost, as keys in order of the walk. */
static size_t lost(struct shadow *s, int64_t now_ms, uint32_t *ret, size_t max)
{
	struct shadow_element e[7];
	size_t cursor = 0, n = 0, got;

	while ((got = shadow_next_lost(s, &cursor, now_ms, e, 7)) > 0)
		for (size_t i = 0; i < got; i++) {
			assert_true(n < max);
			memcpy(&ret[n++], e[i].key, 4);
		}
	assert_int_equal(cursor, 0);
	return n;
}

static void what_was_put_is_held_until_its_time(void **state)
{
	struct shadow s;
	bool fresh;

	(void)state;
	begin(&s, 4, 0);
	assert_false(holds(&s, 1, 0));
	put(&s, 1, 5000, 1000);
	assert_true(holds(&s, 1, 5000));
	assert_false(holds(&s, 1, 5001));
	assert_false(holds(&s, 2, 1000));
	assert_false(shadow_holds(&s, "\1\0\0", 3, NULL, 0));
	assert_false(shadow_holds(&s, "\1\0\0\0", 65, NULL, 0));
	shadow_put(&s, "\1\0\0", 4, NULL, SHADOW_FOREVER, false, shadow_mark(&s), 1000, &fresh);
	assert_false(fresh);
	assert_true(holds(&s, 1, SHADOW_FOREVER));
	put(&s, 2, INT64_MAX - 1, 1000);
	assert_true(holds(&s, 2, INT64_C(1) << 43));
	assert_false(holds(&s, 2, SHADOW_FOREVER));
	put(&s, 3, -1, 1000);
	assert_false(holds(&s, 3, 1));
	shadow_put(&s, "\3\0\0", 4, NULL, 9000, false, shadow_mark(&s), 1000, &fresh);
	assert_true(fresh);
	shadow_put(&s, "\3\0\0", 4, NULL, 9900, false, shadow_mark(&s), 9000, &fresh);
	assert_true(fresh); /* it was over */
	shadow_fini(&s);
}

static void a_maps_value_counts(void **state)
{
	uint8_t a[SHADOW_KEY_MAX] = {1}, b[SHADOW_KEY_MAX] = {2};
	struct shadow_element e;
	struct shadow s;
	size_t cursor = 0;

	(void)state;
	begin(&s, 4, 2);
	shadow_put(&s, "key", 4, a, 5000, false, shadow_mark(&s), 0, NULL);
	assert_true(shadow_holds(&s, "key", 4, a, 5000));
	assert_false(shadow_holds(&s, "key", 4, b, 0));
	assert_false(shadow_holds(&s, "key", 4, NULL, 0));
	shadow_put(&s, "key", 4, b, 6000, false, shadow_mark(&s), 0, NULL);
	assert_false(shadow_holds(&s, "key", 4, a, 0));
	shadow_put(&s, "kez", 4, NULL, 6000, false, shadow_mark(&s), 0, NULL);
	assert_int_equal(count(&s).held, 1);
	assert_true(shadow_lose(&s, "key", 4, 1000));
	assert_int_equal(shadow_next_lost(&s, &cursor, 1000, &e, 1), 1);
	assert_memory_equal(e.key, "key", 4);
	assert_memory_equal(e.value, b, SHADOW_KEY_MAX);
	assert_int_equal(e.until_ms, 6000);
	shadow_fini(&s);
}

static void another_shape_forgets(void **state)
{
	struct shadow s;
	uint32_t mark;

	(void)state;
	begin(&s, 4, 0);
	put(&s, 1, 5000, 0);
	mark = shadow_mark(&s);
	shadow_shape(&s, 4, 0);
	assert_true(holds(&s, 1, 5000));
	shadow_shape(&s, 16, 0);
	assert_int_equal(count(&s).held, 0);
	assert_int_equal(count(&s).size_bytes, 0);
	put(&s, 1, 5000, 0);
	assert_int_equal(count(&s).held, 0);
	shadow_shape(&s, 4, 0);
	assert_false(holds(&s, 1, 0));
	/* What was asked for before is not of this shape. */
	shadow_put(&s, "\1\0\0", 4, NULL, 5000, false, mark, 0, NULL);
	assert_int_equal(count(&s).held + count(&s).lost, 0);
	shadow_fini(&s);
}

static void what_is_lost_is_told_until_it_is_put(void **state)
{
	struct shadow s;
	uint32_t keys[4];

	(void)state;
	begin(&s, 4, 0);
	put(&s, 1, 5000, 0);
	put(&s, 2, 5000, 0);
	put(&s, 3, 1500, 0);
	assert_true(shadow_lose(&s, "\1\0\0", 4, 1000));
	assert_true(shadow_lose(&s, "\1\0\0", 4, 1000));
	assert_false(shadow_lose(&s, "\4\0\0", 4, 1000));
	assert_false(shadow_lose(&s, "\1\0\0", 3, 1000));
	assert_false(shadow_lose(&s, "\3\0\0", 4, 1500));
	assert_false(holds(&s, 1, 1000));
	assert_true(holds(&s, 2, 1000));
	assert_int_equal(lost(&s, 1000, keys, 4), 1);
	assert_int_equal(keys[0], 1);
	assert_int_equal(lost(&s, 5000, keys, 4), 0);
	shadow_lose_all(&s);
	assert_false(holds(&s, 2, 1000));
	assert_int_equal(lost(&s, 1000, keys, 4), 2);
	assert_int_equal(count(&s).held, 0);
	assert_int_equal(count(&s).lost, 2);
	put(&s, 2, 6000, 1000);
	assert_true(holds(&s, 2, 6000));
	assert_int_equal(lost(&s, 1000, keys, 4), 1);
	assert_int_equal(keys[0], 1);
	shadow_fini(&s);
}

static void want(struct shadow *s, uint32_t key, int64_t until_ms, int64_t now_ms)
{
	shadow_want(s, &key, 4, NULL, until_ms, now_ms);
}

static void what_is_wanted_is_lost_until_it_is_put(void **state)
{
	struct shadow s;
	uint32_t keys[4];

	(void)state;
	begin(&s, 4, 0);
	want(&s, 1, 5000, 1000);
	assert_false(holds(&s, 1, 1000));
	assert_int_equal(lost(&s, 1000, keys, 4), 1);
	want(&s, 1, 4000, 1000); /* shortens nothing */
	assert_int_equal(lost(&s, 4500, keys, 4), 1);
	put(&s, 1, 5000, 1000);
	assert_true(holds(&s, 1, 5000));
	/* It is there for long enough, or not. */
	want(&s, 1, 5000, 1000);
	assert_int_equal(lost(&s, 1000, keys, 4), 0);
	want(&s, 1, 6000, 1000);
	assert_int_equal(lost(&s, 5500, keys, 4), 1);
	/* Somebody's was there, and has gone with all. */
	shadow_put(&s, "\2\0\0", 4, NULL, 9000, true, shadow_mark(&s), 1000, NULL);
	shadow_lose_all(&s);
	want(&s, 2, 5000, 1000);
	assert_int_equal(lost(&s, 1000, keys, 4), 2);
	assert_int_equal(count(&s).lost, 2);
	shadow_want(&s, "\3\0\0\0\0", 5, NULL, 5000, 1000); /* of no element of the set */
	assert_int_equal(count(&s).lost, 2);
	shadow_fini(&s);
	/* Of a map with the value that is wanted now. */
	begin(&s, 4, 1);
	shadow_put(&s, "\1\0\0", 4, "a", 5000, false, shadow_mark(&s), 1000, NULL);
	shadow_want(&s, "\1\0\0", 4, "a", 5000, 1000);
	assert_int_equal(count(&s).lost, 0);
	shadow_want(&s, "\1\0\0", 4, "b", 5000, 1000);
	assert_int_equal(count(&s).lost, 1);
	shadow_fini(&s);
}

static void foreign_ones_are_forgotten(void **state)
{
	struct shadow s;
	bool fresh;

	(void)state;
	begin(&s, 4, 0);
	shadow_put(&s, "one", 4, NULL, SHADOW_FOREVER, true, shadow_mark(&s), 0, &fresh);
	assert_true(fresh);
	shadow_put(&s, "two", 4, NULL, 5000, true, shadow_mark(&s), 0, NULL);
	put(&s, 1, 5000, 0);
	assert_true(shadow_holds(&s, "one", 4, NULL, SHADOW_FOREVER));
	assert_false(shadow_owns(&s, "one", 4));
	assert_true(shadow_owns(&s, "\1\0\0", 4));
	assert_false(shadow_owns(&s, "\2\0\0", 4));
	assert_false(shadow_owns(&s, "\1\0\0", 3));
	assert_false(shadow_lose(&s, "one", 4, 1000));
	assert_false(shadow_holds(&s, "one", 4, NULL, 0));
	assert_int_equal(count(&s).held, 2);
	shadow_lose_all(&s);
	assert_false(shadow_holds(&s, "two", 4, NULL, 0));
	assert_false(shadow_owns(&s, "\1\0\0", 4));
	assert_int_equal(count(&s).held, 0);
	assert_int_equal(count(&s).lost, 1);
	shadow_put(&s, "two", 4, NULL, 5000, true, shadow_mark(&s), 0, &fresh);
	assert_true(fresh);
	assert_int_equal(count(&s).held, 1);
	/* Ours now. */
	shadow_put(&s, "two", 4, NULL, 5000, false, shadow_mark(&s), 0, &fresh);
	assert_false(fresh);
	assert_true(shadow_owns(&s, "two", 4));
	assert_true(shadow_lose(&s, "two", 4, 1000));
	shadow_clear(&s);
	assert_int_equal(count(&s).held + count(&s).lost, 0);
	assert_int_equal(count(&s).size_bytes, 0);
	shadow_fini(&s);
}

/* The news of the loss overtook the acknowledgement. */
static void what_was_lost_since_the_mark_is_not_held(void **state)
{
	struct shadow s;
	uint32_t mark;
	bool fresh;

	(void)state;
	begin(&s, 4, 0);
	mark = shadow_mark(&s);
	assert_false(shadow_lose(&s, "\1\0\0", 4, 0));
	shadow_put(&s, "\1\0\0", 4, NULL, 5000, false, mark, 0, &fresh);
	assert_true(fresh);
	assert_false(holds(&s, 1, 0));
	assert_int_equal(count(&s).lost, 1);
	shadow_put(&s, "\2\0\0", 4, NULL, 5000, false, mark, 0, NULL);
	assert_true(holds(&s, 2, 0)); /* another's loss is none of its */
	put(&s, 1, 5000, 0);
	assert_true(holds(&s, 1, 0));
	mark = shadow_mark(&s);
	shadow_lose_all(&s);
	shadow_put(&s, "\1\0\0", 4, NULL, 5000, false, mark, 0, NULL);
	shadow_put(&s, "\3\0\0", 4, NULL, 5000, true, mark, 0, NULL);
	assert_int_equal(count(&s).held, 0);
	assert_int_equal(count(&s).lost, 2);
	/* Of many losses it is not known whose they were. */
	mark = shadow_mark(&s);
	for (uint32_t i = 100; i < 100 + SHADOW_LATEST; i++)
		(void)shadow_lose(&s, &i, 4, 0);
	shadow_put(&s, "\1\0\0", 4, NULL, 5000, false, mark, 0, NULL);
	assert_true(holds(&s, 1, 0));
	(void)shadow_lose(&s, "last", 4, 0);
	shadow_put(&s, "\2\0\0", 4, NULL, 5000, false, mark, 0, NULL);
	assert_false(holds(&s, 2, 0));
	mark = shadow_mark(&s);
	shadow_clear(&s);
	shadow_put(&s, "\1\0\0", 4, NULL, 5000, false, mark, 0, NULL);
	assert_int_equal(count(&s).held + count(&s).lost, 0);
	shadow_fini(&s);
}

/* A slot's epoch comes again after 131,072 losses, and what was held in the first is not. */
static void no_loss_of_all_is_forgotten(void **state)
{
	struct shadow s;
	uint32_t key;

	(void)state;
	begin(&s, 4, 0);
	put(&s, 1, SHADOW_FOREVER, 0);
	shadow_put(&s, "one", 4, NULL, SHADOW_FOREVER, true, shadow_mark(&s), 0, NULL);
	for (uint32_t i = 1; i <= 3 << 17; i++) {
		shadow_lose_all(&s);
		if (i % (1 << 17) < 2)
			assert_false(holds(&s, 1, 0));
		assert_int_equal(count(&s).held, 0);
		assert_int_equal(count(&s).lost, 1);
	}
	assert_false(shadow_holds(&s, "one", 4, NULL, 0));
	assert_int_equal(lost(&s, 0, &key, 1), 1);
	assert_int_equal(key, 1);
	put(&s, 1, SHADOW_FOREVER, 0);
	assert_true(holds(&s, 1, 0));
	shadow_fini(&s);
}

/* The same with nobody looking meanwhile. */
static void nor_are_many_at_once(void **state)
{
	struct shadow s;

	(void)state;
	for (uint32_t n = (1 << 17) - 1; n <= (1 << 17) + 1; n++) {
		begin(&s, 4, 0);
		put(&s, 1, 9000, 0);
		shadow_lose_all(&s);
		put(&s, 2, 9000, 0);
		shadow_put(&s, "one", 4, NULL, 9000, true, shadow_mark(&s), 0, NULL);
		for (uint32_t i = 0; i < n; i++)
			shadow_lose_all(&s);
		assert_false(holds(&s, 2, 0));
		assert_false(holds(&s, 1, 0));
		assert_false(shadow_holds(&s, "one", 4, NULL, 0));
		assert_int_equal(count(&s).lost, 2);
		put(&s, 1, 9000, 0);
		assert_true(holds(&s, 1, 9000));
		assert_false(holds(&s, 2, 0));
		shadow_sweep(&s, 0);
		assert_int_equal(count(&s).held, 1);
		assert_int_equal(count(&s).lost, 1);
		shadow_fini(&s);
	}
}

static void samples_take_turns(void **state)
{
	struct shadow_element e[40];
	unsigned seen[100] = {0};
	struct shadow s;
	size_t cursor = 0;

	(void)state;
	begin(&s, 4, 0);
	assert_int_equal(shadow_sample(&s, &cursor, 0, e, 40), 0);
	for (uint32_t i = 0; i < 100; i++)
		put(&s, i, i < 80 ? 9000 : 1999, 0);
	(void)shadow_lose(&s, "\0\0\0", 4, 0);
	/* 79 live on for a second after 1000. */
	for (unsigned round = 0; round < 79; round++) {
		assert_int_equal(shadow_sample(&s, &cursor, 1000, e, 10), 10);
		for (size_t i = 0; i < 10; i++) {
			uint32_t key;

			memcpy(&key, e[i].key, 4);
			assert_true(key > 0 && key < 80);
			seen[key]++;
		}
	}
	for (unsigned i = 1; i < 80; i++)
		assert_int_equal(seen[i], 10);
	assert_int_equal(shadow_sample(&s, &cursor, 8001, e, 10), 0);
	for (uint32_t i = 4; i < 80; i++)
		(void)shadow_lose(&s, &i, 4, 0);
	for (unsigned i = 0; i < 4; i++) /* wherever the last one ended */
		assert_int_equal(shadow_sample(&s, &cursor, 1000, e, i ? 40 : 2), i ? 3 : 2);
	shadow_fini(&s);
}

/* --- room --- */

static void a_hundred_thousand_fit_in_three_megabytes(void **state)
{
	struct shadow s;

	(void)state;
	begin(&s, 4, 0);
	for (uint32_t i = 0; i < 100000; i++)
		put(&s, i * 2654435761u, i < 60000 ? 4000 : i < 90000 ? 5000 : 9000, 0);
	assert_int_equal(count(&s).held, 100000);
	assert_true(count(&s).size_bytes <= 3200000);
	shadow_sweep(&s, 3999);
	assert_int_equal(count(&s).held, 100000);
	shadow_sweep(&s, 4000);
	assert_int_equal(count(&s).held, 40000);
	assert_true(count(&s).size_bytes <= 2000000);
	shadow_sweep(&s, 5000);
	assert_int_equal(count(&s).held, 10000);
	assert_true(count(&s).size_bytes <= 400000);
	for (uint32_t i = 90000; i < 100000; i++)
		assert_true(holds(&s, i * 2654435761u, 9000));
	shadow_lose_all(&s);
	shadow_sweep(&s, 9000);
	assert_int_equal(count(&s).lost, 0);
	assert_int_equal(count(&s).size_bytes, 0);
	shadow_fini(&s);
}

/* New names for ever, each for a while: growth drops what is over, swept or not. */
static void what_is_over_makes_room(void **state)
{
	struct shadow s;

	(void)state;
	begin(&s, 4, 0);
	for (uint32_t i = 0; i < 200000; i++) {
		put(&s, i, i + 1000, i);
		assert_true(holds(&s, i, i + 1000));
	}
	assert_true(count(&s).size_bytes <= 8192 * 12);
	shadow_fini(&s);
}

/* Readers wait for one step at a time: it makes no more anew than one part, or two. */
static size_t assert_small_step(struct shadow *s, size_t before)
{
	const size_t step = 2 * SHADOW_PART_SLOTS * 12 + 10000;
	size_t now = count(s).size_bytes;

	assert_true(now <= before + step && before <= now + step);
	return now;
}

static void there_is_a_bound(void **state)
{
	size_t size = 0, position = 0;
	struct shadow s;
	bool fresh, ended = false;

	(void)state;
	begin(&s, 4, 0);
	for (uint32_t i = 0; i < SHADOW_ELEMENTS_MAX; i++) {
		put(&s, i, i % 100 ? 9000 : 5000, 0);
		if (i % 8 == 0)
			size = assert_small_step(&s, size);
	}
	assert_int_equal(count(&s).held, SHADOW_ELEMENTS_MAX);
	shadow_put(&s, "more", 4, NULL, 9000, false, shadow_mark(&s), 0, &fresh);
	assert_true(fresh);
	assert_false(shadow_holds(&s, "more", 4, NULL, 0));
	put(&s, 7, 9999, 0); /* one that is there */
	assert_true(holds(&s, 7, 9999));
	shadow_sweep(&s, 5000);
	shadow_put(&s, "more", 4, NULL, 9999, false, shadow_mark(&s), 5000, NULL);
	assert_true(shadow_holds(&s, "more", 4, NULL, 9999));
	assert_true(count(&s).size_bytes <= 25 * (size_t)SHADOW_ELEMENTS_MAX);
	for (size = count(&s).size_bytes; !ended; size = assert_small_step(&s, size))
		ended = shadow_table_sweep(&s.table, &position, 9000);
	assert_int_equal(count(&s).held, 2);
	assert_true(size <= 20000);
	shadow_sweep(&s, 9999);
	assert_int_equal(count(&s).size_bytes, 0);
	shadow_fini(&s);
}

/* Putting in again between two calls of the walk, with others that make the table grow. */
static void a_walk_ends(void **state)
{
	struct shadow_element e[16];
	struct shadow s;
	size_t cursor = 0, n, total = 0;
	uint32_t other = 1 << 20;

	(void)state;
	begin(&s, 4, 0);
	for (uint32_t i = 0; i < 5000; i++)
		put(&s, i, 5000, 0);
	shadow_lose_all(&s);
	while ((n = shadow_next_lost(&s, &cursor, 0, e, 16)) > 0) {
		for (size_t i = 0; i < n; i++)
			shadow_put(&s, e[i].key, 4, NULL, e[i].until_ms, false, shadow_mark(&s), 0,
				NULL);
		for (unsigned i = 0; i < 20; i++)
			put(&s, other++, 5000, 0);
		total += n;
	}
	assert_int_equal(total, 5000);
	assert_int_equal(count(&s).lost, 0);
	shadow_fini(&s);
}

static void mark_told(uint8_t told[], const struct shadow_element *e, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t key;

		memcpy(&key, e[i].key, 4);
		told[key]++;
	}
}

/* None is left out while parts are split, tidied up, dropped and made, though some come twice. */
static void a_walk_meets_all_that_stays(void **state)
{
	enum { OLD = 20000, NEW = 60000 };
	static uint8_t told[OLD + NEW];
	struct shadow_element e[64];
	struct shadow s;
	size_t cursor = 0, n;
	uint32_t more = OLD;

	(void)state;
	begin(&s, 4, 0);
	for (uint32_t i = 0; i < OLD; i++)
		put(&s, i, i % 16 ? 9000 : 5000, 0);
	shadow_lose_all(&s);
	for (unsigned turn = 0; (n = shadow_next_lost(&s, &cursor, 0, e, 64)) > 0; turn++) {
		mark_told(told, e, n);
		for (unsigned i = 0; i < 200 && more < OLD + NEW; i++)
			put(&s, more++, 9000, 0);
		if (turn % 100 == 0)
			shadow_sweep(&s, 5000);
		assert_true(turn < 10 * OLD / 64);
	}
	for (uint32_t i = 0; i < OLD; i++)
		assert_true(i % 16 == 0 || told[i] > 0);
	for (uint32_t i = OLD; i < OLD + NEW; i++)
		assert_int_equal(told[i], 0);
	/* And there is nothing to begin with. */
	shadow_clear(&s);
	cursor = (size_t)1 << 20;
	assert_int_equal(shadow_next_lost(&s, &cursor, 0, e, 64), 0);
	assert_int_equal(cursor, 0);
	shadow_fini(&s);
}

/* --- against a naive model --- */

#define KEYS 6000 /* more than one part holds */

struct model {
	struct {
		bool known, is_lost, foreign;
		uint8_t value;
		int64_t until_ms;
		uint32_t lost_at; /* its latest loss, 0: none */
	} k[KEYS];
	uint32_t losses, all_lost_at, forgotten_at;
	int64_t now_ms;
};

static bool is_live(const struct model *m, unsigned i)
{
	return m->k[i].known && m->k[i].until_ms > m->now_ms;
}

static void model_put(
	struct model *m, unsigned i, int64_t until_ms, bool foreign, uint8_t value, uint32_t losses)
{
	bool is_lost = m->all_lost_at > losses || m->k[i].lost_at > losses ||
		       m->losses - losses > SHADOW_LATEST;

	if (m->forgotten_at > losses)
		return;
	m->k[i].known = !(is_lost && foreign);
	m->k[i].is_lost = is_lost;
	m->k[i].foreign = foreign;
	m->k[i].value = value;
	m->k[i].until_ms = until_ms;
}

static void model_lose(struct model *m, unsigned i)
{
	if (m->k[i].foreign && !m->k[i].is_lost)
		m->k[i].known = false;
	m->k[i].is_lost = true;
}

static void random_put(struct shadow *s, struct model *m, uint32_t mark, uint32_t losses)
{
	unsigned i = pick(KEYS);
	uint8_t key[16] = {(uint8_t)i, (uint8_t)(i >> 8)}, value[SHADOW_KEY_MAX] = {0};
	int64_t until_ms = pick(20) ? m->now_ms + pick(40000) : SHADOW_FOREVER;
	bool foreign = pick(4) == 0, fresh, was = is_live(m, i) && !m->k[i].is_lost;

	value[0] = (uint8_t)pick(3);
	shadow_put(s, key, 16, value, until_ms, foreign, mark, m->now_ms, &fresh);
	if (m->forgotten_at > losses)
		assert_true(fresh);
	else
		assert_int_equal(fresh, !was);
	model_put(m, i, until_ms, foreign, value[0], losses);
}

static void random_loss(struct shadow *s, struct model *m)
{
	unsigned i = pick(KEYS);
	uint8_t key[16] = {(uint8_t)i, (uint8_t)(i >> 8)};
	bool want = is_live(m, i) && (m->k[i].is_lost || !m->k[i].foreign);

	m->losses++;
	if (pick(50) == 0) {
		shadow_lose_all(s);
		m->all_lost_at = m->losses;
		for (i = 0; i < KEYS; i++)
			model_lose(m, i);
	} else if (pick(100) == 0) {
		shadow_clear(s);
		m->all_lost_at = m->forgotten_at = m->losses;
		for (i = 0; i < KEYS; i++)
			m->k[i].known = false;
	} else {
		assert_int_equal(shadow_lose(s, key, 16, m->now_ms), want);
		model_lose(m, i);
		m->k[i].lost_at = m->losses;
	}
}

static void compare(struct shadow *s, const struct model *m)
{
	static struct shadow_element e[KEYS + 1];
	size_t cursor = 0, n_held = 0, n_lost = 0, n;
	bool told[KEYS] = {0};

	n = shadow_next_lost(s, &cursor, m->now_ms, e, KEYS + 1);
	for (size_t i = 0; i < n; i++)
		told[e[i].key[0] | e[i].key[1] << 8] = true;
	for (unsigned i = 0; i < KEYS; i++) {
		uint8_t key[16] = {(uint8_t)i, (uint8_t)(i >> 8)},
			value[SHADOW_KEY_MAX] = {m->k[i].value}, other[SHADOW_KEY_MAX] = {9};
		bool held = is_live(m, i) && !m->k[i].is_lost;
		int64_t until_ms = m->k[i].until_ms;

		assert_int_equal(shadow_holds(s, key, 16, value, m->now_ms + 1), held);
		assert_false(shadow_holds(s, key, 16, other, m->now_ms + 1));
		if (held) {
			assert_true(shadow_holds(s, key, 16, value, until_ms));
			assert_int_equal(shadow_owns(s, key, 16), !m->k[i].foreign);
			assert_true(until_ms == SHADOW_FOREVER ||
				    !shadow_holds(s, key, 16, value, until_ms + 1));
		}
		assert_int_equal(told[i], is_live(m, i) && m->k[i].is_lost);
		n_held += held;
		n_lost += told[i];
	}
	assert_int_equal(n, n_lost);
	assert_true(count(s).held >= n_held);
	assert_true(count(s).lost >= n_lost);
	shadow_sweep(s, m->now_ms);
	assert_int_equal(count(s).held, n_held);
	assert_int_equal(count(s).lost, n_lost);
}

static void it_is_what_a_naive_one_is(void **state)
{
	static struct model m;
	struct shadow s;
	uint32_t mark = 0, losses = 0;

	(void)state;
	begin(&s, 16, 1);
	mark = shadow_mark(&s);
	for (unsigned round = 0; round < 60000; round++) {
		m.now_ms += pick(8);
		if (pick(30) == 0) {
			mark = shadow_mark(&s);
			losses = m.losses;
		}
		if (pick(3) == 0)
			random_put(&s, &m, mark, losses);
		else if (pick(2) == 0)
			random_put(&s, &m, shadow_mark(&s), m.losses);
		if (pick(6) == 0)
			random_loss(&s, &m);
		if (pick(1000) == 0)
			compare(&s, &m);
	}
	shadow_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_held_until_its_time),
		cmocka_unit_test(a_maps_value_counts),
		cmocka_unit_test(another_shape_forgets),
		cmocka_unit_test(what_is_lost_is_told_until_it_is_put),
		cmocka_unit_test(what_is_wanted_is_lost_until_it_is_put),
		cmocka_unit_test(foreign_ones_are_forgotten),
		cmocka_unit_test(what_was_lost_since_the_mark_is_not_held),
		cmocka_unit_test(no_loss_of_all_is_forgotten),
		cmocka_unit_test(nor_are_many_at_once),
		cmocka_unit_test(samples_take_turns),
		cmocka_unit_test(a_hundred_thousand_fit_in_three_megabytes),
		cmocka_unit_test(what_is_over_makes_room),
		cmocka_unit_test(there_is_a_bound),
		cmocka_unit_test(a_walk_ends),
		cmocka_unit_test(a_walk_meets_all_that_stays),
		cmocka_unit_test(it_is_what_a_naive_one_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
