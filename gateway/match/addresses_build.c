#include "gateway/match/addresses_internal.h"
#include "gateway/base/grow.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define SETS_MAX  UINT16_MAX
#define INDEX_MAX 65536u

struct added {
	struct address_key key;
	uint16_t list;
	uint8_t len;
	bool is_v6;
};

struct addresses_builder {
	struct added *added;
	size_t n, room;
	/* The sets so far. */
	struct addresses *a;
	size_t starts_room, lists_room;
	uint32_t *interned; /* open addressing: a set + 1, 0: empty */
	size_t interned_room;
	uint16_t scratch[ADDRESSES_LISTS_MAX];
};

/* --- the sets --- */

static uint64_t set_hash(const uint16_t *lists, size_t n)
{
	uint64_t h = 0x9e3779b97f4a7c15ULL ^ n;

	for (size_t i = 0; i < n; i++)
		h = (h ^ lists[i]) * 0xbf58476d1ce4e5b9ULL;
	return h ^ h >> 32;
}

static bool set_is(const struct addresses *a, size_t set, const uint16_t *lists, size_t n)
{
	return a->starts[set + 1] - a->starts[set] == n &&
	       (n == 0 || memcmp(a->lists + a->starts[set], lists, n * sizeof *lists) == 0);
}

/* The place of an equal set in the intern table, or the empty place for it. */
static size_t interned_place(const struct addresses_builder *b, const uint16_t *lists, size_t n)
{
	size_t mask = b->interned_room - 1, at = set_hash(lists, n) & mask;

	while (b->interned[at] && !set_is(b->a, b->interned[at] - 1, lists, n))
		at = (at + 1) & mask;
	return at;
}

static int interned_grow(struct addresses_builder *b)
{
	const struct addresses *a = b->a;
	size_t room = b->interned_room ? b->interned_room * 2 : 64;
	uint32_t *table;

	if (a->n_sets * 2 < b->interned_room)
		return 0;
	table = calloc(room, sizeof *table);
	if (!table)
		return -ENOMEM;
	free(b->interned);
	b->interned = table;
	b->interned_room = room;
	for (uint32_t i = 0; i < a->n_sets; i++)
		table[interned_place(b, a->lists + a->starts[i], a->starts[i + 1] - a->starts[i])] =
			i + 1;
	return 0;
}

/* The set of these n lists, which are sorted. lists may be b->scratch only. */
static int set_intern(struct addresses_builder *b, const uint16_t *lists, size_t n, uint16_t *ret)
{
	struct addresses *a = b->a;
	size_t place;
	int err = interned_grow(b);

	if (err)
		return err;
	place = interned_place(b, lists, n);
	if (!b->interned[place]) {
		if (a->n_sets == SETS_MAX)
			return -ENOSPC;
		err = room_grow(
			(void **)&a->starts, &b->starts_room, a->n_sets, 2, sizeof a->starts[0]);
		if (!err)
			err = room_grow((void **)&a->lists, &b->lists_room, a->n_lists, n + 1,
				sizeof a->lists[0]);
		if (err)
			return err;
		if (n > 0)
			memcpy(a->lists + a->n_lists, lists, n * sizeof *lists);
		a->starts[a->n_sets] = (uint32_t)a->n_lists;
		a->n_lists += n;
		a->starts[++a->n_sets] = (uint32_t)a->n_lists;
		b->interned[place] = (uint32_t)a->n_sets;
	}
	*ret = (uint16_t)(b->interned[place] - 1);
	return 0;
}

/* The set that has list beside all of `from`. */
static int set_with(struct addresses_builder *b, uint16_t from, uint16_t list, uint16_t *ret)
{
	const uint16_t *old = b->a->lists + b->a->starts[from];
	size_t n = b->a->starts[from + 1] - b->a->starts[from], at = 0;

	while (at < n && old[at] < list)
		at++;
	if (at < n && old[at] == list) {
		*ret = from;
		return 0;
	}
	memcpy(b->scratch, old, at * sizeof *old);
	b->scratch[at] = list;
	memcpy(b->scratch + at + 1, old + at, (n - at) * sizeof *old);
	return set_intern(b, b->scratch, n + 1, ret);
}

/* --- building --- */

int addresses_builder_new(struct addresses_builder **ret)
{
	struct addresses_builder *b = calloc(1, sizeof *b);
	uint16_t empty;
	int err = -ENOMEM;

	if (!b)
		return err;
	b->a = calloc(1, sizeof *b->a);
	if (b->a)
		err = set_intern(b, NULL, 0, &empty);
	if (err) {
		addresses_builder_free(b);
		return err;
	}
	*ret = b;
	return 0;
}

int addresses_builder_add(
	struct addresses_builder *b, unsigned list, const struct ip_prefix *prefix)
{
	int err;

	assert(list < ADDRESSES_LISTS_MAX && prefix->addr.family != IP_NONE);
	if (b->n == ADDRESSES_MAX)
		return -ENOSPC;
	err = room_grow((void **)&b->added, &b->room, b->n, 1, sizeof b->added[0]);
	if (err)
		return err;
	b->added[b->n++] = (struct added){
		.key = address_key_of(&prefix->addr),
		.list = (uint16_t)list,
		.len = prefix->len,
		.is_v6 = prefix->addr.family == IP_V6,
	};
	return 0;
}

struct add_from {
	struct addresses_builder *b;
	const int *map;
};

static int add_mapped(void *arg, unsigned list, const struct ip_prefix *prefix)
{
	const struct add_from *from = arg;

	return from->map[list] < 0
		       ? 0
		       : addresses_builder_add(from->b, (unsigned)from->map[list], prefix);
}

int addresses_builder_add_from(
	struct addresses_builder *b, const struct addresses *from, const int *map)
{
	return addresses_each(from, add_mapped, &(struct add_from){b, map});
}

/* Both families apart; a prefix comes before those inside it, and right before the same one of
 * another list. */
static int added_compare(const void *a, const void *b)
{
	const struct added *p = a, *q = b;

	if (p->is_v6 != q->is_v6)
		return p->is_v6 ? 1 : -1;
	if (p->key.high != q->key.high)
		return p->key.high < q->key.high ? -1 : 1;
	if (p->key.low != q->key.low)
		return p->key.low < q->key.low ? -1 : 1;
	if (p->len != q->len)
		return p->len < q->len ? -1 : 1;
	return (int)p->list - (int)q->list;
}

static bool same_prefix(const struct added *p, const struct added *q)
{
	return p->is_v6 == q->is_v6 && p->len == q->len && p->key.high == q->key.high &&
	       p->key.low == q->key.low;
}

static bool is_around(const struct added *p, const struct added *q)
{
	return p->is_v6 == q->is_v6 && p->len < q->len && address_key_holds(p->key, p->len, q->key);
}

static unsigned table_of(const struct added *p)
{
	return !p->is_v6 ? TABLE_V4 : p->len <= 64 ? TABLE_V6 : TABLE_V6_LONG;
}

static int table_alloc(struct address_table *t, uint32_t n, bool is_long)
{
	t->n = n;
	if (n == 0)
		return 0;
	t->high = calloc(n, sizeof *t->high);
	t->low = is_long ? calloc(n, sizeof *t->low) : NULL;
	t->around = calloc(n, sizeof *t->around);
	t->set = calloc(n, sizeof *t->set);
	t->len = calloc(n, sizeof *t->len);
	return t->high && (t->low || !is_long) && t->around && t->set && t->len ? 0 : -ENOMEM;
}

/* At most one element for each prefix: small lists stay small. */
static int table_index(struct address_table *t)
{
	uint64_t span = t->n ? t->high[t->n - 1] - t->high[0] : 0;
	uint32_t size = INDEX_MAX, at = 0;

	if (t->n == 0)
		return 0;
	while (size > t->n)
		size /= 2;
	while (span >> t->index_shift >= size)
		t->index_shift++;
	t->index_size = (uint32_t)(span >> t->index_shift) + 1;
	t->index = calloc(t->index_size + 1, sizeof *t->index);
	if (!t->index)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->index_size; i++) {
		while ((t->high[at] - t->high[0]) >> t->index_shift < i)
			at++;
		t->index[i] = at;
	}
	t->index[t->index_size] = t->n;
	return 0;
}

/* What is open while the sorted prefixes are walked: each lies inside the one before. */
struct open {
	const struct added *prefix;
	uint16_t set;
	uint32_t at; /* in its table; ADDRESSES_NONE: left out, it tells no more than the one around
			it */
};

struct pack {
	struct addresses_builder *b;
	struct open open[130];
	unsigned depth;
	uint32_t n[N_TABLES];
	bool write; /* else only counting */
};

/* The closest one around in the same table. */
static uint32_t pack_around(const struct pack *p, unsigned table)
{
	for (unsigned i = p->depth; i-- > 0;)
		if (p->open[i].at != ADDRESSES_NONE && table_of(p->open[i].prefix) == table)
			return p->open[i].at;
	return ADDRESSES_NONE;
}

/* A distinct prefix and the set of all lists that hold it. */
static void pack_put(struct pack *p, const struct added *prefix, uint16_t outer, uint16_t set)
{
	unsigned table = table_of(prefix);
	struct address_table *t = &p->b->a->tables[table];
	struct open *o = &p->open[p->depth];

	*o = (struct open){prefix, set, ADDRESSES_NONE};
	if (set != outer) {
		o->at = p->n[table]++;
		if (p->write) {
			t->high[o->at] = prefix->key.high;
			if (t->low)
				t->low[o->at] = prefix->key.low;
			t->around[o->at] = pack_around(p, table);
			t->set[o->at] = set;
			t->len[o->at] = prefix->len;
		}
	}
	p->depth++;
}

/* Walks the sorted prefixes. */
static int pack_all(struct pack *p, size_t *counts)
{
	struct addresses_builder *b = p->b;

	for (size_t i = 0, next; i < b->n; i = next) {
		const struct added *prefix = &b->added[i];
		uint16_t outer, set;

		while (p->depth > 0 && !is_around(p->open[p->depth - 1].prefix, prefix))
			p->depth--;
		outer = p->depth ? p->open[p->depth - 1].set : 0;
		set = outer;
		for (next = i; next < b->n && same_prefix(&b->added[next], prefix); next++) {
			int err = set_with(b, set, b->added[next].list, &set);

			if (err)
				return err;
			if (counts && (next == i || b->added[next].list != b->added[next - 1].list))
				counts[b->added[next].list]++;
		}
		pack_put(p, prefix, outer, set);
	}
	return 0;
}

int addresses_builder_finish(struct addresses_builder *b, size_t *counts, struct addresses **ret)
{
	struct pack p = {.b = b};
	int err;

	if (b->n > 1)
		qsort(b->added, b->n, sizeof b->added[0], added_compare);
	err = pack_all(&p, counts);
	for (unsigned i = 0; i < N_TABLES && !err; i++) {
		err = table_alloc(&b->a->tables[i], p.n[i], i == TABLE_V6_LONG);
	}
	if (!err) {
		p = (struct pack){.b = b, .write = true};
		err = pack_all(&p, NULL);
	}
	for (unsigned i = 0; i < N_TABLES && !err; i++)
		err = table_index(&b->a->tables[i]);
	if (err)
		return err;
	*ret = b->a;
	b->a = NULL;
	addresses_builder_free(b);
	return 0;
}

void addresses_builder_free(struct addresses_builder *b)
{
	if (!b)
		return;
	addresses_free(b->a);
	free(b->added);
	free(b->interned);
	free(b);
}
