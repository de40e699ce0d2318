#include "gateway/match/matcher_internal.h"
#include "gateway/base/grow.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define SET_ENTRIES_MAX (MATCHER_SOURCES_MAX * 2) /* each source in each of two kinds */
#define SLOTS_MIN	32

struct matcher_builder {
	struct matcher *m;
	size_t text_room, sets_room;
	uint32_t *interned; /* open addressing: index of a set, 0: empty */
	size_t n_interned, interned_room;
	/* The last step from one set to the next: names of one list come one behind the other. */
	uint32_t from, to;
	uint16_t by;
	uint16_t scratch[1 + SET_ENTRIES_MAX];
};

static uint64_t name_hash(const struct matcher *m, const struct dns_name *name)
{
	uint8_t start[MATCHER_LABELS];
	uint64_t hash = m->key;
	size_t at = 0;
	unsigned labels = 0;

	for (; name->b[at] && labels < MATCHER_LABELS; at += name->b[at] + 1u)
		start[labels++] = (uint8_t)at;
	while (labels-- > 0)
		hash = matcher_hash_label(hash, name->b, start[labels]);
	return hash;
}

/* Moves all names into a table of n_slots. */
static int slots_rebuild(struct matcher *m, uint32_t n_slots)
{
	struct matcher_slot *old = m->slots, *slots = calloc(n_slots, sizeof *slots);
	uint32_t n_old = m->n_slots;

	if (!slots)
		return -ENOMEM;
	m->slots = slots;
	m->n_slots = n_slots;
	for (uint32_t i = 0; i < n_old; i++) {
		const uint8_t *text = m->text + old[i].text;
		struct dns_name name = {.len = 0};
		uint32_t at;

		if (!old[i].text)
			continue;
		memcpy(name.b, text + 1, text[0]);
		at = matcher_home(name_hash(m, &name), n_slots);
		while (slots[at].text)
			at = at + 1 == n_slots ? 0 : at + 1;
		slots[at] = old[i];
	}
	free(old);
	return 0;
}

int matcher_builder_new(uint64_t key, unsigned n_sources, struct matcher_builder **ret)
{
	struct matcher_builder *b = calloc(1, sizeof *b);
	int err = -ENOMEM;

	assert(n_sources <= MATCHER_SOURCES_MAX);
	if (!b)
		return -ENOMEM;
	b->m = calloc(1, sizeof *b->m);
	if (!b->m)
		goto fail;
	b->m->key = key;
	b->m->n_words = (n_sources + 63) / 64;
	err = slots_rebuild(b->m, SLOTS_MIN);
	if (!err)
		err = room_grow((void **)&b->m->text, &b->text_room, 0, 1, 1);
	if (!err)
		err = room_grow((void **)&b->m->sets, &b->sets_room, 0, 1, sizeof b->m->sets[0]);
	if (err)
		goto fail;
	/* Text 0 marks an empty slot, set 0 is the empty set. */
	b->m->text[0] = 0;
	b->m->text_size = 1;
	b->m->sets[0] = 0;
	b->m->sets_size = 1;
	*ret = b;
	return 0;
fail:
	matcher_builder_free(b);
	return err;
}

static uint64_t set_hash(const uint16_t *set)
{
	uint64_t h = 0x2545f4914f6cdd1dULL;

	for (unsigned i = 0; i <= set[0]; i++)
		h = matcher_mix(h ^ set[i], 0x9e3779b97f4a7c15ULL);
	return h;
}

static bool set_equal(const uint16_t *a, const uint16_t *b)
{
	return a[0] == b[0] && memcmp(a + 1, b + 1, a[0] * sizeof *a) == 0;
}

/* The place of an equal set in the intern table, or the empty place for it. */
static size_t interned_place(const struct matcher_builder *b, const uint16_t *set)
{
	size_t mask = b->interned_room - 1, at = set_hash(set) & mask;

	while (b->interned[at] && !set_equal(b->m->sets + b->interned[at], set))
		at = (at + 1) & mask;
	return at;
}

static int interned_grow(struct matcher_builder *b)
{
	size_t old_room = b->interned_room, room = old_room ? old_room * 2 : 64;
	uint32_t *old = b->interned, *table;

	if (b->n_interned * 2 < old_room)
		return 0;
	table = calloc(room, sizeof *table);
	if (!table)
		return -ENOMEM;
	b->interned = table;
	b->interned_room = room;
	for (size_t i = 0; i < old_room; i++)
		if (old[i])
			table[interned_place(b, b->m->sets + old[i])] = old[i];
	free(old);
	return 0;
}

/* The index of a set equal to b->scratch. */
static int set_intern(struct matcher_builder *b, uint32_t *ret)
{
	size_t size = b->scratch[0] + 1u, place;
	int err = interned_grow(b);

	if (err)
		return err;
	place = interned_place(b, b->scratch);
	if (!b->interned[place]) {
		if (b->m->sets_size + size > MATCHER_SETS_MAX)
			return -ENOSPC;
		err = room_grow((void **)&b->m->sets, &b->sets_room, b->m->sets_size, size,
			sizeof b->m->sets[0]);
		if (err)
			return err;
		memcpy(b->m->sets + b->m->sets_size, b->scratch, size * sizeof b->scratch[0]);
		b->interned[place] = (uint32_t)b->m->sets_size;
		b->m->sets_size += size;
		b->n_interned++;
	}
	*ret = b->interned[place];
	return 0;
}

/* The set that has entry beside all of `from`; `from` itself if it has it already. */
static int set_with(struct matcher_builder *b, uint32_t from, uint16_t entry, uint32_t *ret)
{
	const uint16_t *old = b->m->sets + from;
	unsigned n = old[0], at = 0;
	int err;

	if (b->to && b->from == from && b->by == entry) {
		*ret = b->to;
		return 0;
	}
	while (at < n && old[1 + at] < entry)
		at++;
	if (at < n && old[1 + at] == entry) {
		*ret = from;
		return 0;
	}
	assert(n < SET_ENTRIES_MAX);
	b->scratch[0] = (uint16_t)(n + 1);
	memcpy(b->scratch + 1, old + 1, at * sizeof *old);
	b->scratch[1 + at] = entry;
	memcpy(b->scratch + 2 + at, old + 1 + at, (n - at) * sizeof *old);
	err = set_intern(b, ret);
	if (err)
		return err;
	b->from = from;
	b->by = entry;
	b->to = *ret;
	return 0;
}

/* Puts the name's text behind the others. */
static int text_add(struct matcher_builder *b, const struct dns_name *name, uint32_t *ret)
{
	size_t len = name->len - 1u;
	int err;

	if (b->m->text_size + 1 + len > UINT32_MAX)
		return -ENOSPC;
	err = room_grow((void **)&b->m->text, &b->text_room, b->m->text_size, 1 + len, 1);
	if (err)
		return err;
	*ret = (uint32_t)b->m->text_size;
	b->m->text[*ret] = (uint8_t)len;
	memcpy(b->m->text + *ret + 1, name->b, len);
	b->m->text_size += 1 + len;
	return 0;
}

int matcher_builder_add(struct matcher_builder *b, unsigned source, enum matcher_kind kind,
	const struct dns_name *name, bool *ret_new)
{
	struct matcher *m = b->m;
	uint64_t hash = name_hash(m, name);
	struct matcher_slot *slot;
	uint32_t old, set, text;
	int err;

	assert(source / 64 < m->n_words);
	/* Room first: the slot found below must stay where it is. */
	if ((uint64_t)(m->n_names + 1) * 4 > (uint64_t)m->n_slots * 3) {
		err = slots_rebuild(m, m->n_slots * 2);
		if (err)
			return err;
	}
	slot = matcher_probe(m, hash, name->b, name->len - 1u);
	old = slot->text ? slot->set_tag >> 8 : 0;
	text = slot->text;
	if (!text && m->n_names == MATCHER_NAMES_MAX)
		return -ENOSPC;
	err = set_with(b, old, matcher_entry(source, kind), &set);
	if (err)
		return err;
	if (!text) {
		err = text_add(b, name, &text);
		if (err)
			return err;
		m->n_names++;
		m->depths[name->labels / 64] |= 1ULL << name->labels % 64;
		if (name->labels > m->deepest)
			m->deepest = name->labels;
	}
	slot->text = text;
	slot->set_tag = set << 8 | matcher_tag(hash);
	if (ret_new)
		*ret_new = set != old;
	return 0;
}

int matcher_builder_finish(struct matcher_builder *b, struct matcher **ret)
{
	struct matcher *m = b->m;
	void *fit;
	int err = slots_rebuild(m, m->n_names + m->n_names / 2 + SLOTS_MIN);

	if (err)
		return err;
	/* A realloc that cannot shrink leaves the larger block: as good. */
	fit = realloc(m->text, m->text_size);
	if (fit)
		m->text = fit;
	fit = realloc(m->sets, m->sets_size * sizeof m->sets[0]);
	if (fit)
		m->sets = fit;
	*ret = m;
	b->m = NULL;
	matcher_builder_free(b);
	return 0;
}

void matcher_builder_free(struct matcher_builder *b)
{
	if (!b)
		return;
	matcher_free(b->m);
	free(b->interned);
	free(b);
}
