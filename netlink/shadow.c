/* A slot is eight bytes of state, then the key, then the value. Slots are ordered by the upper bits
 * of the hash, so that the table is made anew from front to back. What is forgotten leaves a dead
 * slot, so nothing moves until then, and walks of the lost need no lock between two calls. */
#include "netlink/shadow.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { EMPTY, DEAD, HELD, LOST };

#define UNTIL_BITS	44 /* milliseconds: 557 years */
#define EPOCH_BITS	17
#define UNTIL_FOREVER	((1ULL << UNTIL_BITS) - 1)
#define EPOCHS		(1u << EPOCH_BITS)
#define SLOTS_MIN	64
#define SLOTS_MAX	(2 * (size_t)SHADOW_ELEMENTS_MAX)
#define WALK_SLOTS	8192 /* looked at under one lock */
#define SAMPLE_LEAST_MS 1000

/* A cursor is a slot's index and the layout that it is of; size_t may have 32 bits. */
#define CURSOR_BITS	 22
#define CURSOR_INDEX	 (((size_t)1 << CURSOR_BITS) - 1)
#define CURSOR_LAYOUT(s) ((size_t)((s)->layout & 0x3ff) << CURSOR_BITS)

struct state {
	uint64_t until : UNTIL_BITS; /* ms, UNTIL_FOREVER */
	uint64_t epoch : EPOCH_BITS; /* another than the shadow's: lost with all */
	uint64_t what : 2;
	uint64_t foreign : 1;
};
_Static_assert(sizeof(struct state) == 8, "what an element costs beside its key");
_Static_assert(SLOTS_MAX <= CURSOR_INDEX, "a cursor reaches the end");

static uint64_t rotate(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

/* SipHash-1-3: addresses come from upstream, and none may choose who collides. */
static uint64_t hash_of(uint64_t seed, const uint8_t *key, size_t size)
{
	uint64_t seed1 = rotate(seed, 32) * 0x9e3779b97f4a7c15ULL;
	uint64_t v[4] = {seed ^ 0x736f6d6570736575ULL, seed1 ^ 0x646f72616e646f6dULL,
		seed ^ 0x6c7967656e657261ULL, seed1 ^ 0x7465646279746573ULL};

	for (size_t i = 0; i < size; i += 8) {
		uint64_t w = 0;

		if (size - i >= 8)
			memcpy(&w, key + i, 8);
		else
			memcpy(&w, key + i, size - i);
		v[3] ^= w;
		sip_round(v);
		v[0] ^= w;
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* --- slots --- */

static size_t stride(const struct shadow *s)
{
	return sizeof(struct state) + s->key_size + s->value_size;
}

static uint8_t *slot_at(const struct shadow *s, size_t i)
{
	return s->slots + i * stride(s);
}

static struct state state_of(const uint8_t *slot)
{
	struct state state;

	memcpy(&state, slot, sizeof state);
	return state;
}

static void state_set(uint8_t *slot, struct state state)
{
	memcpy(slot, &state, sizeof state);
}

static const uint8_t *key_of(const uint8_t *slot)
{
	return slot + sizeof(struct state);
}

/* What it is by now: a loss of all changes no slot. */
static int what_is(const struct shadow *s, struct state state)
{
	if (state.what != HELD || state.epoch == s->epoch)
		return state.what;
	return state.foreign ? DEAD : LOST;
}

static bool is_over(struct state state, int64_t now_ms)
{
	return state.until != UNTIL_FOREVER && (int64_t)state.until <= now_ms;
}

static uint64_t until_stored(int64_t until_ms)
{
	if (until_ms == SHADOW_FOREVER)
		return UNTIL_FOREVER;
	if (until_ms < 0)
		return 0;
	return until_ms < (int64_t)UNTIL_FOREVER ? (uint64_t)until_ms : UNTIL_FOREVER - 1;
}

static int64_t until_told(struct state state)
{
	return state.until == UNTIL_FOREVER ? SHADOW_FOREVER : (int64_t)state.until;
}

static size_t first_slot(size_t n_slots, uint64_t hash)
{
	return (size_t)((hash >> 32) * n_slots >> 32);
}

static uint8_t *find(const struct shadow *s, uint64_t hash, const void *key)
{
	if (!s->n_slots)
		return NULL;
	for (size_t i = first_slot(s->n_slots, hash);; i = (i + 1) & (s->n_slots - 1)) {
		uint8_t *slot = slot_at(s, i);
		unsigned what = state_of(slot).what;

		if (what == EMPTY)
			return NULL;
		if (what != DEAD && memcmp(key_of(slot), key, s->key_size) == 0)
			return slot;
	}
}

/* --- counts --- */

static void count_out(struct shadow *s, struct state state)
{
	int what = what_is(s, state);

	if (what == HELD) {
		s->n_held--;
		s->n_foreign -= state.foreign;
	} else if (what == LOST) {
		s->n_lost--;
	}
}

static void count_in(struct shadow *s, struct state state)
{
	if (state.what == HELD) {
		s->n_held++;
		s->n_foreign += state.foreign;
	} else if (state.what == LOST) {
		s->n_lost++;
	}
}

static void change(struct shadow *s, uint8_t *slot, struct state now)
{
	count_out(s, state_of(slot));
	count_in(s, now);
	state_set(slot, now);
}

static void kill_slot(struct shadow *s, uint8_t *slot)
{
	change(s, slot, (struct state){.what = DEAD});
}

/* Writes into the slots [from, to) what they are by now. */
static void settle(struct shadow *s, size_t from, size_t to, int64_t now_ms)
{
	for (size_t i = from; i < to; i++) {
		uint8_t *slot = slot_at(s, i);
		struct state state = state_of(slot);
		int what = what_is(s, state);

		if (state.what == EMPTY || state.what == DEAD)
			continue;
		if (what == DEAD || is_over(state, now_ms))
			kill_slot(s, slot);
		else if (what != (int)state.what)
			change(s, slot, (struct state){.what = LOST, .until = state.until});
	}
}

/* --- the table --- */

static void slots_free(struct shadow *s)
{
	free(s->slots);
	s->slots = NULL;
	s->n_slots = s->n_used = s->n_held = s->n_lost = s->n_foreign = 0;
	s->layout++;
}

/* Half full at most, so that the next growth is far. */
static size_t slots_wanted(size_t n)
{
	size_t n_slots = SLOTS_MIN;

	while (n_slots < SLOTS_MAX && n_slots / 2 < n)
		n_slots *= 2;
	return n_slots;
}

/* All must be settled. False: no memory, all is as before. */
static bool make_anew(struct shadow *s, size_t n_slots)
{
	size_t size = stride(s), used = 0;
	uint8_t *slots = calloc(n_slots, size);

	if (!slots)
		return false;
	for (size_t k = 0; k < s->n_slots; k++) {
		const uint8_t *slot = slot_at(s, k);
		unsigned what = state_of(slot).what;
		size_t i;

		if (what != HELD && what != LOST)
			continue;
		i = first_slot(n_slots, hash_of(s->seed, key_of(slot), s->key_size));
		while (state_of(slots + i * size).what != EMPTY)
			i = (i + 1) & (n_slots - 1);
		memcpy(slots + i * size, slot, size);
		used++;
	}
	free(s->slots);
	s->slots = slots;
	s->n_slots = n_slots;
	s->n_used = used;
	s->layout++;
	return true;
}

/* Room for one more in an empty slot. */
static bool has_room(struct shadow *s, int64_t now_ms)
{
	if (s->n_used < s->n_slots / 4 * 3)
		return true;
	settle(s, 0, s->n_slots, now_ms);
	return make_anew(s, slots_wanted(s->n_held + s->n_lost + 1));
}

static bool is_full(const struct shadow *s)
{
	return s->n_held + s->n_lost >= SHADOW_ELEMENTS_MAX;
}

/* A slot for a key that is not there: one that is dead or over in its way, or an empty one. NULL:
 * full, or no memory. */
static uint8_t *slot_for(struct shadow *s, uint64_t hash, int64_t now_ms)
{
	bool may_grow = !is_full(s);
	uint8_t *slot = NULL;

	if (!s->n_slots && !(may_grow && has_room(s, now_ms)))
		return NULL;
	for (size_t i = first_slot(s->n_slots, hash);; i = (i + 1) & (s->n_slots - 1)) {
		struct state state;
		int what;

		slot = slot_at(s, i);
		state = state_of(slot);
		what = what_is(s, state);
		if (what == EMPTY)
			break;
		if (what == DEAD && may_grow)
			return slot;
		if ((what == HELD || what == LOST) && is_over(state, now_ms))
			return slot;
	}
	if (!may_grow)
		return NULL;
	if (s->n_used >= s->n_slots / 4 * 3)
		return has_room(s, now_ms) ? slot_for(s, hash, now_ms) : NULL;
	s->n_used++;
	return slot;
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

void shadow_init(struct shadow *s, uint64_t seed)
{
	*s = (struct shadow){.seed = seed};
	pthread_mutex_init(&s->lock, NULL);
}

void shadow_fini(struct shadow *s)
{
	slots_free(s);
	pthread_mutex_destroy(&s->lock);
}

void shadow_shape(struct shadow *s, uint8_t key_size, uint8_t value_size)
{
	assert(key_size <= SHADOW_KEY_MAX && value_size <= SHADOW_KEY_MAX);
	pthread_mutex_lock(&s->lock);
	if (key_size != s->key_size || value_size != s->value_size) {
		slots_free(s);
		s->key_size = key_size;
		s->value_size = value_size;
		s->shape_mark = s->all_mark = next_mark(s);
	}
	pthread_mutex_unlock(&s->lock);
}

/* --- held --- */

bool shadow_holds(
	struct shadow *s, const void *key, size_t size, const void *value, int64_t need_ms)
{
	uint64_t hash;
	const uint8_t *slot;
	bool held = false;

	if (size > SHADOW_KEY_MAX)
		return false;
	hash = hash_of(s->seed, key, size);
	pthread_mutex_lock(&s->lock);
	if (size == s->key_size && (value || !s->value_size) && (slot = find(s, hash, key))) {
		struct state state = state_of(slot);

		held = what_is(s, state) == HELD && until_told(state) >= need_ms &&
		       (!value || memcmp(key_of(slot) + size, value, s->value_size) == 0);
	}
	pthread_mutex_unlock(&s->lock);
	return held;
}

bool shadow_owns(struct shadow *s, const void *key, size_t size)
{
	const uint8_t *slot;
	uint64_t hash;
	bool owned = false;

	if (size > SHADOW_KEY_MAX)
		return false;
	hash = hash_of(s->seed, key, size);
	pthread_mutex_lock(&s->lock);
	if (size == s->key_size && (slot = find(s, hash, key)))
		owned = what_is(s, state_of(slot)) == HELD && !state_of(slot).foreign;
	pthread_mutex_unlock(&s->lock);
	return owned;
}

uint32_t shadow_mark(struct shadow *s)
{
	uint32_t mark;

	pthread_mutex_lock(&s->lock);
	mark = s->mark;
	pthread_mutex_unlock(&s->lock);
	return mark;
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

static void put_into(struct shadow *s, uint64_t hash, const void *key, const void *value,
	struct state state, int64_t now_ms, bool *ret_fresh)
{
	uint8_t *slot = find(s, hash, key);

	if (slot) {
		struct state old = state_of(slot);

		*ret_fresh = what_is(s, old) != HELD || is_over(old, now_ms);
		/* Lost with all, but a foreign one: it counts as new. */
		if (state.what == DEAD || (what_is(s, old) == DEAD && is_full(s))) {
			kill_slot(s, slot);
			return;
		}
	} else if (state.what == DEAD) {
		return;
	} else {
		slot = slot_for(s, hash, now_ms);
		if (!slot)
			return;
		memcpy(slot + sizeof state, key, s->key_size);
	}
	change(s, slot, state);
	if (value)
		memcpy(slot + sizeof state + s->key_size, value, s->value_size);
}

void shadow_put(struct shadow *s, const void *key, size_t size, const void *value, int64_t until_ms,
	bool foreign, uint32_t mark, int64_t now_ms, bool *ret_fresh)
{
	struct state state = {.what = HELD, .foreign = foreign};
	bool fresh = true;
	uint64_t hash;

	if (size <= SHADOW_KEY_MAX) {
		hash = hash_of(s->seed, key, size);
		state.until = until_stored(until_ms) & UNTIL_FOREVER;
		pthread_mutex_lock(&s->lock);
		if (size == s->key_size && (value || !s->value_size) &&
			!is_older(mark, s->shape_mark)) {
			if (!lost_since(s, mark, hash))
				state.epoch = s->epoch & (EPOCHS - 1);
			else
				state = (struct state){
					.until = state.until, .what = foreign ? DEAD : LOST};
			put_into(s, hash, key, value, state, now_ms, &fresh);
		}
		pthread_mutex_unlock(&s->lock);
	}
	if (ret_fresh)
		*ret_fresh = fresh;
}

/* --- lost --- */

/* True: it is ours and live. */
static bool lose_slot(struct shadow *s, uint8_t *slot, int64_t now_ms)
{
	struct state state = state_of(slot);
	int what = what_is(s, state);

	if (what == DEAD || is_over(state, now_ms) || (what == HELD && state.foreign)) {
		kill_slot(s, slot);
		return false;
	}
	change(s, slot, (struct state){.until = state.until, .what = LOST});
	return true;
}

bool shadow_lose(struct shadow *s, const void *key, size_t size, int64_t now_ms)
{
	uint8_t *slot;
	uint64_t hash;
	bool live = false;

	if (size > SHADOW_KEY_MAX)
		return false;
	hash = hash_of(s->seed, key, size);
	pthread_mutex_lock(&s->lock);
	if (size == s->key_size) {
		/* Whether it is known or not: its acknowledgement may be on its way. */
		s->latest[next_mark(s) % SHADOW_LATEST] = (uint32_t)hash;
		slot = find(s, hash, key);
		live = slot && lose_slot(s, slot, now_ms);
	}
	pthread_mutex_unlock(&s->lock);
	return live;
}

void shadow_lose_all(struct shadow *s)
{
	pthread_mutex_lock(&s->lock);
	s->all_mark = next_mark(s);
	/* Once in 131,071 times all slots are told, lest an old epoch comes again. */
	if (s->epoch + 1 == EPOCHS) {
		for (size_t i = 0; i < s->n_slots; i++) {
			struct state state = state_of(slot_at(s, i));

			if (state.what == HELD)
				(void)lose_slot(s, slot_at(s, i), INT64_MIN);
		}
		s->epoch = 0;
	} else {
		s->epoch++;
	}
	s->n_lost += s->n_held - s->n_foreign;
	s->n_held = s->n_foreign = 0;
	pthread_mutex_unlock(&s->lock);
}

void shadow_clear(struct shadow *s)
{
	pthread_mutex_lock(&s->lock);
	slots_free(s);
	s->shape_mark = s->all_mark = next_mark(s);
	pthread_mutex_unlock(&s->lock);
}

/* --- walks --- */

static void tell(const struct shadow *s, const uint8_t *slot, struct shadow_element *ret)
{
	memset(ret, 0, sizeof *ret);
	memcpy(ret->key, key_of(slot), s->key_size);
	memcpy(ret->value, key_of(slot) + s->key_size, s->value_size);
	ret->until_ms = until_told(state_of(slot));
}

struct walk {
	int what; /* HELD or LOST, that live beyond after_ms */
	int64_t after_ms;
	size_t *cursor, limit; /* a slot */
	struct shadow_element *ret;
	size_t n, max;
};

/* Looks at some slots under one lock. True: at the limit or the end, or there is nothing. */
static bool walk_part(struct walk *w, struct shadow *s)
{
	size_t index = *w->cursor & CURSOR_INDEX, last, end;

	pthread_mutex_lock(&s->lock);
	last = w->limit < s->n_slots ? w->limit : s->n_slots;
	if ((*w->cursor & ~CURSOR_INDEX) != CURSOR_LAYOUT(s))
		index = 0;
	if (index > last || (w->what == HELD ? s->n_held : s->n_lost) == 0)
		index = last;
	end = last - index > WALK_SLOTS ? index + WALK_SLOTS : last;
	for (; index < end && w->n < w->max; index++) {
		const uint8_t *slot = slot_at(s, index);
		struct state state = state_of(slot);

		if (what_is(s, state) == w->what && !is_over(state, w->after_ms))
			tell(s, slot, &w->ret[w->n++]);
	}
	*w->cursor = CURSOR_LAYOUT(s) | index;
	pthread_mutex_unlock(&s->lock);
	return index == last;
}

static void walk(struct walk *w, struct shadow *s)
{
	while (w->n < w->max && !walk_part(w, s))
		;
}

size_t shadow_next_lost(
	struct shadow *s, size_t *cursor, int64_t now_ms, struct shadow_element *ret, size_t max)
{
	struct walk w = {LOST, now_ms, cursor, SIZE_MAX, ret, 0, max};

	walk(&w, s);
	if (w.n == 0)
		*cursor = 0;
	return w.n;
}

size_t shadow_sample(
	struct shadow *s, size_t *cursor, int64_t now_ms, struct shadow_element *ret, size_t max)
{
	struct walk w = {HELD, now_ms + SAMPLE_LEAST_MS - 1, cursor, SIZE_MAX, ret, 0, max};
	size_t began = *cursor & CURSOR_INDEX;

	walk(&w, s);
	if (w.n < max) { /* once round */
		*cursor = 0;
		w.limit = began;
		walk(&w, s);
	}
	return w.n;
}

/* --- room --- */

/* Settles some slots under one lock. False: that was all. */
static bool sweep_part(struct shadow *s, size_t *index, uint32_t *layout, int64_t now_ms)
{
	size_t end;

	pthread_mutex_lock(&s->lock);
	if (*index == 0)
		*layout = s->layout;
	if (*layout != s->layout) /* what made it anew has settled it, too */
		*index = s->n_slots;
	end = s->n_slots - *index > WALK_SLOTS ? *index + WALK_SLOTS : s->n_slots;
	settle(s, *index, end, now_ms);
	*index = end;
	end = s->n_slots;
	pthread_mutex_unlock(&s->lock);
	return *index < end;
}

void shadow_sweep(struct shadow *s, int64_t now_ms)
{
	size_t index = 0, live;
	uint32_t layout = 0;

	while (sweep_part(s, &index, &layout, now_ms))
		;
	pthread_mutex_lock(&s->lock);
	live = s->n_held + s->n_lost;
	if (live == 0) {
		slots_free(s);
	} else if (slots_wanted(live + live / 4) < s->n_slots ||
		   s->n_used - live > s->n_slots / 4) {
		settle(s, 0, s->n_slots, now_ms);
		(void)make_anew(s, slots_wanted(live + live / 4));
	}
	pthread_mutex_unlock(&s->lock);
}

void shadow_count(struct shadow *s, struct shadow_count *ret)
{
	pthread_mutex_lock(&s->lock);
	*ret = (struct shadow_count){.held = s->n_held,
		.lost = s->n_lost,
		.foreign = s->n_foreign,
		.size_bytes = s->n_slots * stride(s)};
	pthread_mutex_unlock(&s->lock);
}
