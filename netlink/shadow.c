/* The lock, the marks by which the news of a loss may overtake an acknowledgement, and what becomes
 * of an element that is put in or lost. Where it is kept: shadow_table.c. */
#include "netlink/shadow.h"

#include <assert.h>
#include <sched.h>
#include <string.h>

#define SAMPLE_LEAST_MS 1000
#define YIELDS_MAX	1000

/* --- the lock --- */

static void lock(struct shadow *s)
{
	if (pthread_mutex_trylock(&s->lock) == 0)
		return;
	atomic_fetch_add(&s->n_waiting, 1);
	pthread_mutex_lock(&s->lock);
	atomic_fetch_sub(&s->n_waiting, 1);
}

static void unlock(struct shadow *s)
{
	pthread_mutex_unlock(&s->lock);
}

/* Between two steps of something long. A mutex is his who takes it first, and who has just let it
 * go is quicker than who must be woken up. */
static void give_way(struct shadow *s)
{
	for (int i = 0; i < YIELDS_MAX && atomic_load(&s->n_waiting); i++)
		(void)sched_yield();
}

/* --- marks --- */

/* Marks are compared by their distance, which must stay below 2^31. */
static bool is_older(uint32_t mark, uint32_t than)
{
	return (int32_t)(than - mark) > 0;
}

static uint32_t next_mark(struct shadow *s)
{
	s->mark++;
	if (s->mark - s->all_mark > 1u << 30)
		s->all_mark++;
	if (s->mark - s->shape_mark > 1u << 30)
		s->shape_mark++;
	return s->mark;
}

/* Was it lost after the mark? Of too many losses none knows. */
static bool lost_since(const struct shadow *s, uint32_t mark, uint64_t hash)
{
	if (is_older(mark, s->all_mark) || s->mark - mark > SHADOW_LATEST)
		return true;
	while (mark != s->mark)
		if (s->latest[++mark % SHADOW_LATEST] == (uint32_t)hash)
			return true;
	return false;
}

uint32_t shadow_mark(struct shadow *s)
{
	uint32_t mark;

	lock(s);
	mark = s->mark;
	unlock(s);
	return mark;
}

/* --- life --- */

void shadow_init(struct shadow *s, uint64_t seed)
{
	*s = (struct shadow){.table.seed = seed};
	pthread_mutex_init(&s->lock, NULL);
}

void shadow_fini(struct shadow *s)
{
	shadow_table_free(&s->table);
	pthread_mutex_destroy(&s->lock);
}

void shadow_shape(struct shadow *s, uint8_t key_size, uint8_t value_size)
{
	struct shadow_table old = {0};

	assert(key_size <= SHADOW_KEY_MAX && value_size <= SHADOW_KEY_MAX);
	lock(s);
	if (key_size != s->table.key_size || value_size != s->table.value_size) {
		old = shadow_table_take(&s->table);
		s->table.key_size = key_size;
		s->table.value_size = value_size;
		s->shape_mark = s->all_mark = next_mark(s);
	}
	unlock(s);
	shadow_table_free(&old);
}

void shadow_clear(struct shadow *s)
{
	struct shadow_table old;

	lock(s);
	old = shadow_table_take(&s->table);
	s->shape_mark = s->all_mark = next_mark(s);
	unlock(s);
	shadow_table_free(&old);
}

/* --- held --- */

static bool is_key(const struct shadow *s, size_t size)
{
	return size == s->table.key_size;
}

static bool is_element(const struct shadow *s, size_t key_size, const void *value)
{
	return is_key(s, key_size) && (value || !s->table.value_size);
}

static bool has_value(const struct shadow_table *t, struct shadow_slot slot, const void *value)
{
	return !value || memcmp(shadow_slot_value(t, slot), value, t->value_size) == 0;
}

bool shadow_holds(
	struct shadow *s, const void *key, size_t size, const void *value, int64_t need_ms)
{
	struct shadow_table *t = &s->table;
	struct shadow_slot slot;
	bool held = false;
	uint64_t hash;

	if (size > SHADOW_KEY_MAX)
		return false;
	hash = shadow_hash(t, key, size);
	lock(s);
	if (is_element(s, size, value) && (slot = shadow_table_find(t, hash, key)).at)
		held = shadow_slot_what(t, slot) == SHADOW_HELD &&
		       shadow_slot_until_ms(slot) >= need_ms && has_value(t, slot, value);
	unlock(s);
	return held;
}

bool shadow_owns(struct shadow *s, const void *key, size_t size)
{
	struct shadow_table *t = &s->table;
	struct shadow_slot slot;
	bool owned = false;
	uint64_t hash;

	if (size > SHADOW_KEY_MAX)
		return false;
	hash = shadow_hash(t, key, size);
	lock(s);
	if (is_key(s, size) && (slot = shadow_table_find(t, hash, key)).at)
		owned = shadow_slot_what(t, slot) == SHADOW_HELD &&
			!shadow_slot_state(slot).foreign;
	unlock(s);
	return owned;
}

/* True: it was not held before. */
static bool put(struct shadow_table *t, uint64_t hash, const void *key, const void *value,
	struct shadow_state state, int64_t now_ms)
{
	struct shadow_slot slot = shadow_table_find(t, hash, key);
	enum shadow_what was = slot.at ? shadow_slot_what(t, slot) : SHADOW_EMPTY;
	bool fresh = was != SHADOW_HELD || shadow_slot_is_over(slot, now_ms);

	/* A foreign one that was lost with all counts as new. */
	if (slot.at &&
		(state.what == SHADOW_DEAD || (was == SHADOW_DEAD && shadow_table_is_full(t)))) {
		shadow_slot_kill(t, slot);
		return fresh;
	}
	if (!slot.at && state.what != SHADOW_DEAD)
		slot = shadow_table_place(t, hash, key, now_ms);
	if (slot.at)
		shadow_slot_set(t, slot, state, value);
	return fresh;
}

void shadow_put(struct shadow *s, const void *key, size_t size, const void *value, int64_t until_ms,
	bool foreign, uint32_t mark, int64_t now_ms, bool *ret_fresh)
{
	struct shadow_state state = {.what = SHADOW_HELD, .foreign = foreign};
	bool fresh = true;
	uint64_t hash;

	if (size <= SHADOW_KEY_MAX) {
		hash = shadow_hash(&s->table, key, size);
		state.until = shadow_until(until_ms) & ((1ULL << SHADOW_UNTIL_BITS) - 1);
		lock(s);
		if (is_element(s, size, value) && !is_older(mark, s->shape_mark)) {
			if (lost_since(s, mark, hash)) {
				state.what = foreign ? SHADOW_DEAD : SHADOW_LOST;
				state.foreign = false;
			}
			fresh = put(&s->table, hash, key, value, state, now_ms);
		}
		unlock(s);
	}
	if (ret_fresh)
		*ret_fresh = fresh;
}

void shadow_want(struct shadow *s, const void *key, size_t size, const void *value,
	int64_t until_ms, int64_t now_ms)
{
	struct shadow_state state = {.what = SHADOW_LOST};
	struct shadow_slot slot;
	uint64_t hash;

	if (size > SHADOW_KEY_MAX)
		return;
	hash = shadow_hash(&s->table, key, size);
	state.until = shadow_until(until_ms) & ((1ULL << SHADOW_UNTIL_BITS) - 1);
	lock(s);
	if (is_element(s, size, value)) {
		slot = shadow_table_find(&s->table, hash, key);
		if (!slot.at || shadow_slot_what(&s->table, slot) == SHADOW_DEAD ||
			shadow_slot_until_ms(slot) < until_ms || !has_value(&s->table, slot, value))
			(void)put(&s->table, hash, key, value, state, now_ms);
	}
	unlock(s);
}

/* --- lost --- */

/* True: it is ours and live. */
static bool lose(struct shadow_table *t, struct shadow_slot slot, int64_t now_ms)
{
	struct shadow_state state = shadow_slot_state(slot);
	enum shadow_what what = shadow_slot_what(t, slot);

	if (what == SHADOW_DEAD || shadow_slot_is_over(slot, now_ms) ||
		(what == SHADOW_HELD && state.foreign)) {
		shadow_slot_kill(t, slot);
		return false;
	}
	shadow_slot_set(
		t, slot, (struct shadow_state){.until = state.until, .what = SHADOW_LOST}, NULL);
	return true;
}

bool shadow_lose(struct shadow *s, const void *key, size_t size, int64_t now_ms)
{
	struct shadow_slot slot;
	bool live = false;
	uint64_t hash;

	if (size > SHADOW_KEY_MAX)
		return false;
	hash = shadow_hash(&s->table, key, size);
	lock(s);
	if (is_key(s, size)) {
		/* Whether it is known or not: its acknowledgement may be on its way. */
		s->latest[next_mark(s) % SHADOW_LATEST] = (uint32_t)hash;
		slot = shadow_table_find(&s->table, hash, key);
		live = slot.at && lose(&s->table, slot, now_ms);
	}
	unlock(s);
	return live;
}

void shadow_lose_all(struct shadow *s)
{
	lock(s);
	s->all_mark = next_mark(s);
	shadow_table_lose_all(&s->table);
	unlock(s);
}

/* --- walks --- */

/* True: it came to the end. */
static bool walk(struct shadow *s, struct shadow_walk *w)
{
	bool ended = false;

	while (!ended && w->n < w->max) {
		lock(s);
		ended = shadow_table_walk(&s->table, w);
		unlock(s);
		give_way(s);
	}
	return ended;
}

size_t shadow_next_lost(
	struct shadow *s, size_t *cursor, int64_t now_ms, struct shadow_element *ret, size_t max)
{
	struct shadow_walk w = {
		.what = SHADOW_LOST, .after_ms = now_ms, .cursor = *cursor, .ret = ret, .max = max};

	(void)walk(s, &w);
	*cursor = w.n ? w.cursor : 0;
	return w.n;
}

size_t shadow_sample(
	struct shadow *s, size_t *cursor, int64_t now_ms, struct shadow_element *ret, size_t max)
{
	struct shadow_walk w = {.what = SHADOW_HELD,
		.after_ms = now_ms + SAMPLE_LEAST_MS - 1,
		.cursor = *cursor,
		.ret = ret,
		.max = max};
	size_t first;

	if (walk(s, &w)) { /* once round, and no further than where it began */
		first = w.n;
		w.cursor = 0;
		(void)walk(s, &w);
		for (size_t i = first; first && i < w.n; i++)
			if (memcmp(ret[i].key, ret[0].key, sizeof ret[0].key) == 0)
				w.n = i;
	}
	*cursor = w.cursor;
	return w.n;
}

/* --- room --- */

void shadow_sweep(struct shadow *s, int64_t now_ms)
{
	size_t position = 0;
	bool ended = false;

	while (!ended) {
		lock(s);
		ended = shadow_table_sweep(&s->table, &position, now_ms);
		unlock(s);
		give_way(s);
	}
}

void shadow_count(struct shadow *s, struct shadow_count *ret)
{
	lock(s);
	*ret = (struct shadow_count){.held = s->table.n.held,
		.lost = s->table.n.lost,
		.foreign = s->table.n.foreign,
		.size_bytes = s->table.size_bytes};
	unlock(s);
}
