#include "gateway/match/matcher_internal.h"
#include "gateway/base/grow.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM_FIRST 64

static uint64_t set_hash(const uint16_t *elements, size_t n)
{
	uint64_t h = 0x2545f4914f6cdd1dULL ^ n;

	for (size_t i = 0; i < n; i++)
		h = matcher_mix(h ^ elements[i], 0x9e3779b97f4a7c15ULL);
	return h;
}

static bool set_is(const struct matcher_sets *s, uint32_t set, const uint16_t *elements, size_t n)
{
	return s->starts[set + 1] - s->starts[set] == n &&
	       memcmp(s->pool + s->starts[set], elements, n * sizeof *elements) == 0;
}

/* The place of an equal set, or the empty place for it. */
static size_t place_of(const struct matcher_interner *i, const uint16_t *elements, size_t n)
{
	size_t mask = i->room - 1, at = set_hash(elements, n) & mask;

	while (i->table[at] && !set_is(&i->sets, i->table[at], elements, n))
		at = (at + 1) & mask;
	return at;
}

static int table_grow(struct matcher_interner *i)
{
	const struct matcher_sets *s = &i->sets;
	size_t room = i->room ? i->room * 2 : ROOM_FIRST;
	uint32_t *table;

	if ((size_t)s->n * 2 < i->room)
		return 0;
	table = calloc(room, sizeof *table);
	if (!table)
		return -ENOMEM;
	free(i->table);
	i->table = table;
	i->room = room;
	for (uint32_t set = 1; set < s->n; set++)
		table[place_of(i, s->pool + s->starts[set], s->starts[set + 1] - s->starts[set])] =
			set;
	return 0;
}

int matcher_interner_init(struct matcher_interner *i)
{
	int err = room_grow(
		(void **)&i->sets.starts, &i->starts_room, 0, 2, sizeof i->sets.starts[0]);

	if (!err)
		err = room_grow(
			(void **)&i->sets.pool, &i->pool_room, 0, 1, sizeof i->sets.pool[0]);
	if (err)
		return err;
	i->sets.starts[0] = i->sets.starts[1] = 0;
	i->sets.n = 1;
	return 0;
}

int matcher_intern(struct matcher_interner *i, const uint16_t *elements, size_t n, uint32_t *ret)
{
	struct matcher_sets *s = &i->sets;
	size_t used = s->starts[s->n], place;
	int err;

	if (n == 0) {
		*ret = 0;
		return 0;
	}
	err = table_grow(i);
	if (err)
		return err;
	place = place_of(i, elements, n);
	if (!i->table[place]) {
		if (s->n == MATCHER_SETS_MAX || used + n > UINT32_MAX)
			return -ENOSPC;
		err = room_grow(
			(void **)&s->starts, &i->starts_room, s->n + 1u, 1, sizeof s->starts[0]);
		if (!err)
			err = room_grow(
				(void **)&s->pool, &i->pool_room, used, n, sizeof s->pool[0]);
		if (err)
			return err;
		memcpy(s->pool + used, elements, n * sizeof *elements);
		i->table[place] = s->n++;
		s->starts[s->n] = (uint32_t)(used + n);
	}
	*ret = i->table[place];
	return 0;
}

void matcher_interner_take(struct matcher_interner *i, struct matcher_sets *ret)
{
	void *fit;

	*ret = i->sets;
	/* A realloc that cannot shrink leaves the larger block: as good. */
	fit = realloc(ret->starts, (ret->n + 1u) * sizeof ret->starts[0]);
	if (fit)
		ret->starts = fit;
	fit = realloc(ret->pool, (ret->starts[ret->n] + 1u) * sizeof ret->pool[0]);
	if (fit)
		ret->pool = fit;
	i->sets = (struct matcher_sets){.n = 0};
}

void matcher_interner_fini(struct matcher_interner *i)
{
	free(i->sets.starts);
	free(i->sets.pool);
	free(i->table);
}
