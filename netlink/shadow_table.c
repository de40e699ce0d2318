/* Parts are tables of open addressing. Their slots are ordered by the next bits of the hash. What
 * is forgotten leaves a dead slot, so nothing moves until the part is made anew, and walks need no
 * lock between two calls.
 *
 * A loss of all makes a new epoch and touches nothing else: what is held is so in its own epoch
 * only. Each part takes notice when it is next used (catch_up()), which keeps its counts true and
 * epochs apart that look alike in the bits that a slot has for them. */
#include "netlink/shadow_table.h"
#include "gateway/base/siphash.h"

#include <stdlib.h>
#include <string.h>

#define UNTIL_FOREVER ((1ULL << SHADOW_UNTIL_BITS) - 1)
#define EPOCHS	      (1ULL << SHADOW_EPOCH_BITS)

#define SLOTS_MIN 64
#define SLOTS_MAX SHADOW_PART_SLOTS
/* So many live ones make it two parts: in one the next work would be too near. */
#define SPLIT_AT  ((size_t)SLOTS_MAX / 8 * 5)
#define DEPTH_MAX 9
#define ROOM(n)	  ((size_t)(n) / 4 * 3) /* of n slots, before it is made anew */
_Static_assert(ROOM(SLOTS_MAX) << DEPTH_MAX >= SHADOW_ELEMENTS_MAX + SHADOW_ELEMENTS_MAX / 4,
	"hashes are never so uneven that a part has no room");

/* A cursor: a part by the hash's upper bits, a slot in it, and the layout of the part that it is
 * of; size_t may have 32 bits. */
#define INDEX_BITS  12
#define PLACE_BITS  (DEPTH_MAX + 1)
#define LAYOUT_BITS 10
#define WALK_SLOTS  8192 /* looked at under one lock */
_Static_assert(SLOTS_MAX == 1 << INDEX_BITS && INDEX_BITS + PLACE_BITS + LAYOUT_BITS <= 32,
	"a cursor reaches the end");

struct shadow_part {
	uint16_t n_slots, n_used; /* not empty */
	uint16_t layout;
	uint8_t depth; /* bits of the hash that all of it have in common */
	struct shadow_counts n;
	uint64_t epoch;	  /* that the counts are of */
	uint64_t settled; /* no slot is held since an older epoch than this */
	uint8_t slots[];  /* of state, key and value */
};

/* --- hashes --- */

uint64_t shadow_hash(const struct shadow_table *t, const void *key, size_t size)
{
	return siphash(t->seed, key, size);
}

/* The upper DEPTH_MAX bits. */
static size_t place_of(uint64_t hash)
{
	return (size_t)(hash >> (64 - DEPTH_MAX));
}

static unsigned first_slot(unsigned n_slots, uint64_t hash)
{
	return (unsigned)((hash << DEPTH_MAX >> 32) * n_slots >> 32);
}

/* --- slots --- */

static size_t stride(const struct shadow_table *t)
{
	return sizeof(struct shadow_state) + t->key_size + t->value_size;
}

static struct shadow_slot slot_at(const struct shadow_table *t, struct shadow_part *p, unsigned i)
{
	return (struct shadow_slot){p, p->slots + i * stride(t)};
}

static unsigned after(const struct shadow_part *p, unsigned i)
{
	return (i + 1) & (p->n_slots - 1u);
}

static const uint8_t *key_of(struct shadow_slot s)
{
	return s.at + sizeof(struct shadow_state);
}

struct shadow_state shadow_slot_state(struct shadow_slot s)
{
	struct shadow_state state;

	memcpy(&state, s.at, sizeof state);
	return state;
}

static enum shadow_what what_is(const struct shadow_table *t, struct shadow_state state)
{
	if (state.what != SHADOW_HELD || state.epoch == t->epoch % EPOCHS)
		return (enum shadow_what)state.what;
	return state.foreign ? SHADOW_DEAD : SHADOW_LOST;
}

enum shadow_what shadow_slot_what(const struct shadow_table *t, struct shadow_slot s)
{
	return what_is(t, shadow_slot_state(s));
}

const uint8_t *shadow_slot_value(const struct shadow_table *t, struct shadow_slot s)
{
	return key_of(s) + t->key_size;
}

uint64_t shadow_until(int64_t until_ms)
{
	if (until_ms == SHADOW_FOREVER)
		return UNTIL_FOREVER;
	if (until_ms < 0)
		return 0;
	return until_ms < (int64_t)UNTIL_FOREVER ? (uint64_t)until_ms : UNTIL_FOREVER - 1;
}

static bool is_over(struct shadow_state state, int64_t now_ms)
{
	return state.until != UNTIL_FOREVER && (int64_t)state.until <= now_ms;
}

bool shadow_slot_is_over(struct shadow_slot s, int64_t now_ms)
{
	return is_over(shadow_slot_state(s), now_ms);
}

int64_t shadow_slot_until_ms(struct shadow_slot s)
{
	struct shadow_state state = shadow_slot_state(s);

	return state.until == UNTIL_FOREVER ? SHADOW_FOREVER : (int64_t)state.until;
}

static void count(struct shadow_counts *n, enum shadow_what what, bool foreign, size_t change)
{
	if (what == SHADOW_HELD) {
		n->held += change;
		n->foreign += foreign ? change : 0;
	} else if (what == SHADOW_LOST) {
		n->lost += change;
	}
}

void shadow_slot_set(
	struct shadow_table *t, struct shadow_slot s, struct shadow_state state, const void *value)
{
	struct shadow_state old = shadow_slot_state(s);
	struct shadow_counts *counts[] = {&t->n, &s.part->n};

	state.epoch = t->epoch & (EPOCHS - 1);
	for (size_t i = 0; i < 2; i++) {
		count(counts[i], what_is(t, old), old.foreign, (size_t)-1);
		count(counts[i], (enum shadow_what)state.what, state.foreign, 1);
	}
	memcpy(s.at, &state, sizeof state);
	if (value)
		memcpy(s.at + sizeof state + t->key_size, value, t->value_size);
}

void shadow_slot_kill(struct shadow_table *t, struct shadow_slot s)
{
	shadow_slot_set(t, s, (struct shadow_state){.what = SHADOW_DEAD}, NULL);
}

/* --- losses of all --- */

void shadow_table_lose_all(struct shadow_table *t)
{
	t->epoch++;
	t->n.lost += t->n.held - t->n.foreign;
	t->n.held = t->n.foreign = 0;
}

/* All that it says is held was so in epochs before `settled` + EPOCHS. */
static void lose_slots(const struct shadow_table *t, struct shadow_part *p)
{
	for (unsigned i = 0; i < p->n_slots; i++) {
		struct shadow_slot s = slot_at(t, p, i);
		struct shadow_state state = shadow_slot_state(s);

		if (state.what != SHADOW_HELD)
			continue;
		state.what = state.foreign ? SHADOW_DEAD : SHADOW_LOST;
		state.foreign = false;
		memcpy(s.at, &state, sizeof state);
	}
	p->settled = t->epoch;
}

static void catch_up(const struct shadow_table *t, struct shadow_part *p)
{
	if (p->epoch == t->epoch)
		return;
	if (t->epoch - p->settled >= EPOCHS)
		lose_slots(t, p);
	p->n.lost += p->n.held - p->n.foreign;
	p->n.held = p->n.foreign = 0;
	p->epoch = t->epoch;
}

/* --- parts --- */

/* NULL: there is none for this place, or none at all. */
static struct shadow_part *part_at(const struct shadow_table *t, size_t place)
{
	struct shadow_part *p = t->parts ? t->parts[place >> (DEPTH_MAX - t->depth)] : NULL;

	if (p)
		catch_up(t, p);
	return p;
}

static size_t part_bytes(const struct shadow_table *t, const struct shadow_part *p)
{
	return sizeof *p + p->n_slots * stride(t);
}

static struct shadow_part *part_new(struct shadow_table *t, unsigned n_slots, uint8_t depth)
{
	struct shadow_part *p = calloc(1, sizeof *p + n_slots * stride(t));

	if (!p)
		return NULL;
	p->n_slots = (uint16_t)n_slots;
	p->layout = ++t->layout;
	p->depth = depth;
	p->epoch = p->settled = t->epoch;
	t->n_parts++;
	t->size_bytes += part_bytes(t, p);
	return p;
}

static void part_free(struct shadow_table *t, struct shadow_part *p)
{
	t->n_parts--;
	t->size_bytes -= part_bytes(t, p);
	free(p);
}

/* Puts it wherever the hash begins with the same bits as the place. */
static void part_install(struct shadow_table *t, size_t place, uint8_t depth, struct shadow_part *p)
{
	size_t n = (size_t)1 << (t->depth - depth);
	size_t first = place >> (DEPTH_MAX - t->depth) & ~(n - 1);

	do {
		t->parts[first++] = p;
	} while (--n);
}

static bool directory_grow(struct shadow_table *t)
{
	size_t n = (size_t)1 << t->depth;
	struct shadow_part **parts = malloc(2 * n * sizeof(struct shadow_part *));

	if (!parts)
		return false;
	for (size_t i = 0; i < 2 * n; i++)
		parts[i] = t->parts[i / 2];
	free(t->parts);
	t->parts = parts;
	t->depth++;
	t->size_bytes += n * sizeof(struct shadow_part *);
	return true;
}

static struct shadow_part *part_make(struct shadow_table *t, size_t place)
{
	struct shadow_part *p;

	if (!t->parts) {
		t->parts = calloc(1, sizeof(struct shadow_part *));
		if (!t->parts)
			return NULL;
		t->depth = 0;
		t->size_bytes = sizeof(struct shadow_part *);
	}
	p = part_new(t, SLOTS_MIN, t->depth);
	if (p)
		part_install(t, place, t->depth, p);
	return p;
}

/* One that holds nothing goes, the last one with the directory. */
static void part_drop(struct shadow_table *t, size_t place, struct shadow_part *p)
{
	part_install(t, place, p->depth, NULL);
	part_free(t, p);
	if (t->n_parts)
		return;
	free(t->parts);
	t->parts = NULL;
	t->depth = 0;
	t->size_bytes = 0;
}

static size_t n_live(const struct shadow_part *p)
{
	return p->n.held + p->n.lost;
}

/* Half full at most, so that the next growth is far. */
static unsigned slots_wanted(size_t n)
{
	unsigned n_slots = SLOTS_MIN;

	while (n_slots < SLOTS_MAX && n_slots / 2 < n)
		n_slots *= 2;
	return n_slots;
}

/* Writes into the slots what they are by now. */
static void settle(struct shadow_table *t, struct shadow_part *p, int64_t now_ms)
{
	for (unsigned i = 0; i < p->n_slots; i++) {
		struct shadow_slot s = slot_at(t, p, i);
		struct shadow_state state = shadow_slot_state(s);
		enum shadow_what what = what_is(t, state);

		if (state.what == SHADOW_EMPTY || state.what == SHADOW_DEAD)
			continue;
		if (what == SHADOW_DEAD || is_over(state, now_ms))
			shadow_slot_kill(t, s);
		else if (what != (enum shadow_what)state.what)
			shadow_slot_set(t, s,
				(struct shadow_state){.what = SHADOW_LOST, .until = state.until},
				NULL);
	}
	p->settled = t->epoch;
}

/* Moves what is live into the one or the other by this bit of the hash. Both have the room. */
static void part_move(const struct shadow_table *t, struct shadow_part *from,
	struct shadow_part *const to[2], uint64_t bit)
{
	for (unsigned k = 0; k < from->n_slots; k++) {
		struct shadow_slot s = slot_at(t, from, k), into;
		struct shadow_state state = shadow_slot_state(s);
		struct shadow_part *p;
		uint64_t hash;
		unsigned i;

		if (state.what != SHADOW_HELD && state.what != SHADOW_LOST)
			continue;
		hash = shadow_hash(t, key_of(s), t->key_size);
		p = to[(hash & bit) != 0];
		i = first_slot(p->n_slots, hash);
		while (into = slot_at(t, p, i), shadow_slot_state(into).what != SHADOW_EMPTY)
			i = after(p, i);
		memcpy(into.at, s.at, stride(t));
		p->n_used++;
		count(&p->n, (enum shadow_what)state.what, state.foreign, 1);
	}
}

/* The part must be settled, here and in the next. False: no memory, all is as before. */
static bool part_resize(
	struct shadow_table *t, size_t place, struct shadow_part *old, unsigned n_slots)
{
	struct shadow_part *p = part_new(t, n_slots, old->depth);

	if (!p)
		return false;
	part_move(t, old, (struct shadow_part *const[2]){p, p}, 0);
	part_install(t, place, p->depth, p);
	part_free(t, old);
	return true;
}

static bool part_split(struct shadow_table *t, size_t place, struct shadow_part *old)
{
	uint8_t depth = (uint8_t)(old->depth + 1);
	size_t place_bit = (size_t)1 << (DEPTH_MAX - depth);
	struct shadow_part *halves[2];

	if (depth > t->depth && !directory_grow(t))
		return false;
	/* Each takes all of it if it must. */
	halves[0] = part_new(t, SLOTS_MAX, depth);
	if (!halves[0])
		return false;
	halves[1] = part_new(t, SLOTS_MAX, depth);
	if (!halves[1]) {
		part_free(t, halves[0]);
		return false;
	}
	part_move(t, old, halves, 1ULL << (64 - depth));
	for (size_t i = 0; i < 2; i++)
		part_install(t, i ? place | place_bit : place & ~place_bit, depth, halves[i]);
	part_free(t, old);
	return true;
}

/* Room for one more in an empty slot. False: no memory, or too many in one part. */
static bool make_room(struct shadow_table *t, size_t place, struct shadow_part *p, int64_t now_ms)
{
	size_t n;

	settle(t, p, now_ms);
	n = n_live(p);
	if (n > SPLIT_AT && p->depth < DEPTH_MAX)
		return part_split(t, place, p);
	return n < ROOM(SLOTS_MAX) && part_resize(t, place, p, slots_wanted(n + 1));
}

/* --- keys --- */

struct shadow_slot shadow_table_find(struct shadow_table *t, uint64_t hash, const void *key)
{
	struct shadow_part *p = part_at(t, place_of(hash));

	if (!p)
		return (struct shadow_slot){NULL, NULL};
	for (unsigned i = first_slot(p->n_slots, hash);; i = after(p, i)) {
		struct shadow_slot s = slot_at(t, p, i);
		unsigned what = shadow_slot_state(s).what;

		if (what == SHADOW_EMPTY)
			return (struct shadow_slot){NULL, NULL};
		if (what != SHADOW_DEAD && memcmp(key_of(s), key, t->key_size) == 0)
			return s;
	}
}

bool shadow_table_is_full(const struct shadow_table *t)
{
	return t->n.held + t->n.lost >= SHADOW_ELEMENTS_MAX;
}

/* One that is dead or over in its way; or the empty one at its end. */
static struct shadow_slot free_slot(
	const struct shadow_table *t, struct shadow_part *p, uint64_t hash, int64_t now_ms)
{
	bool may_grow = !shadow_table_is_full(t);

	for (unsigned i = first_slot(p->n_slots, hash);; i = after(p, i)) {
		struct shadow_slot s = slot_at(t, p, i);
		enum shadow_what what = shadow_slot_what(t, s);

		if (what == SHADOW_EMPTY || (what == SHADOW_DEAD && may_grow) ||
			((what == SHADOW_HELD || what == SHADOW_LOST) &&
				shadow_slot_is_over(s, now_ms)))
			return s;
	}
}

struct shadow_slot shadow_table_place(
	struct shadow_table *t, uint64_t hash, const void *key, int64_t now_ms)
{
	const struct shadow_slot none = {NULL, NULL};
	size_t place = place_of(hash);
	struct shadow_part *p = part_at(t, place);
	struct shadow_slot s;

	if (!p && !shadow_table_is_full(t))
		p = part_make(t, place);
	if (!p)
		return none;
	s = free_slot(t, p, hash, now_ms);
	if (shadow_slot_state(s).what == SHADOW_EMPTY) {
		if (shadow_table_is_full(t))
			return none;
		if (p->n_used >= ROOM(p->n_slots))
			return make_room(t, place, p, now_ms)
				       ? shadow_table_place(t, hash, key, now_ms)
				       : none;
		p->n_used++;
	}
	memcpy(s.at + sizeof(struct shadow_state), key, t->key_size);
	return s;
}

/* --- all of it --- */

/* The place behind the part, or behind a hole. */
static size_t next_place(const struct shadow_table *t, size_t place, const struct shadow_part *p)
{
	size_t n = (size_t)1 << (DEPTH_MAX - (p ? p->depth : t->depth));

	return (place & ~(n - 1)) + n;
}

static void tell(const struct shadow_table *t, struct shadow_slot s, struct shadow_element *ret)
{
	memset(ret, 0, sizeof *ret);
	memcpy(ret->key, key_of(s), t->key_size);
	memcpy(ret->value, shadow_slot_value(t, s), t->value_size);
	ret->until_ms = shadow_slot_until_ms(s);
}

static size_t cursor_of(size_t place, unsigned index, const struct shadow_part *p)
{
	size_t layout = p ? p->layout & ((1u << LAYOUT_BITS) - 1) : 0;

	return (layout << PLACE_BITS | place) << INDEX_BITS | index;
}

/* From the slot on until there are enough. Returns the first that was not looked at. */
static unsigned walk_part(const struct shadow_table *t, struct shadow_part *p, unsigned index,
	struct shadow_walk *w, unsigned *n_looked)
{
	const unsigned from = index;

	if ((w->what == SHADOW_HELD ? p->n.held : p->n.lost) == 0)
		return p->n_slots;
	for (; index < p->n_slots && w->n < w->max; index++) {
		struct shadow_slot s = slot_at(t, p, index);

		if (shadow_slot_what(t, s) == w->what && !shadow_slot_is_over(s, w->after_ms))
			tell(t, s, &w->ret[w->n++]);
	}
	*n_looked += index - from;
	return index;
}

bool shadow_table_walk(struct shadow_table *t, struct shadow_walk *w)
{
	size_t place = w->cursor >> INDEX_BITS & (((size_t)1 << PLACE_BITS) - 1);
	unsigned index = w->cursor & (SLOTS_MAX - 1), n_looked = 0;

	while (place < (size_t)1 << DEPTH_MAX && w->n < w->max && n_looked < WALK_SLOTS) {
		struct shadow_part *p = part_at(t, place);

		if (cursor_of(place, index, p) != w->cursor)
			index = 0;
		if (p)
			index = walk_part(t, p, index, w, &n_looked);
		if (!p || index == p->n_slots) {
			place = next_place(t, place, p);
			index = 0;
			p = NULL;
		}
		w->cursor = cursor_of(place, index, p);
	}
	return place >= (size_t)1 << DEPTH_MAX;
}

bool shadow_table_sweep(struct shadow_table *t, size_t *position, int64_t now_ms)
{
	size_t place = *position;
	struct shadow_part *p = part_at(t, place);
	size_t live;

	*position = next_place(t, place, p);
	if (p) {
		settle(t, p, now_ms);
		live = n_live(p);
		if (live == 0)
			part_drop(t, place, p);
		else if (slots_wanted(live + live / 4) < p->n_slots ||
			 p->n_used - live > p->n_slots / 4)
			(void)part_resize(t, place, p, slots_wanted(live + live / 4));
	}
	return !t->parts || *position >= (size_t)1 << DEPTH_MAX;
}

struct shadow_table shadow_table_take(struct shadow_table *t)
{
	struct shadow_table taken = *t;

	t->parts = NULL;
	t->depth = 0;
	t->n_parts = t->size_bytes = 0;
	t->n = (struct shadow_counts){0};
	return taken;
}

void shadow_table_free(struct shadow_table *taken)
{
	struct shadow_part *p, *before = NULL;

	for (size_t i = 0; taken->parts && i < (size_t)1 << taken->depth; i++) {
		p = taken->parts[i];
		if (p != before)
			free(p); /* its places stand side by side */
		before = p;
	}
	free(taken->parts);
	taken->parts = NULL;
}
