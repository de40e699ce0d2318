#include "gateway/match/matcher_internal.h"
#include "gateway/base/grow.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM_FIRST 256
/* A million real names have a quarter of a million above them. */
#define ABOVE_MAX (4u << 20)

static size_t place_of(const struct matcher_above *a, uint64_t hash)
{
	size_t mask = a->room - 1, at = hash & mask;

	while (a->table[at] && a->hash[a->table[at] - 1] != hash)
		at = (at + 1) & mask;
	return at;
}

static int table_grow(struct matcher_above *a)
{
	size_t room = a->room ? a->room * 2 : ROOM_FIRST;
	uint32_t *table;

	if (a->n * 4 < a->room * 3)
		return 0;
	table = calloc(room, sizeof *table);
	if (!table)
		return -ENOMEM;
	free(a->table);
	a->table = table;
	a->room = room;
	for (uint32_t i = 0; i < a->n; i++)
		table[place_of(a, a->hash[i])] = i + 1;
	return 0;
}

int matcher_above_add(struct matcher_above *a, uint64_t hash, uint32_t next, uint32_t *ret)
{
	size_t place;
	int err = table_grow(a);

	if (err)
		return err;
	place = place_of(a, hash);
	if (a->table[place]) {
		*ret = a->table[place] - 1;
		return 0;
	}
	*ret = MATCHER_NONE;
	if (a->n == ABOVE_MAX)
		return 0;
	err = room_grow((void **)&a->hash, &a->hash_room, a->n, 1, sizeof a->hash[0]);
	if (!err)
		err = room_grow((void **)&a->next, &a->next_room, a->n, 1, sizeof a->next[0]);
	if (err)
		return err;
	a->hash[a->n] = hash;
	a->next[a->n] = next;
	*ret = (uint32_t)a->n++;
	a->table[place] = *ret + 1;
	return 0;
}

uint32_t matcher_above_find(const struct matcher_above *a, uint64_t hash)
{
	return a->room ? a->table[place_of(a, hash)] - 1 : MATCHER_NONE;
}

void matcher_above_fini(struct matcher_above *a)
{
	free(a->hash);
	free(a->next);
	free(a->table);
}
