#include "gateway/match/addresses.h"
#include "gateway/base/grow.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NONE	  UINT32_MAX
#define SETS_MAX  UINT16_MAX
#define INDEX_MAX 65536u

/* An address as two numbers, so that they sort as addresses do. IPv4 lies in the first 32 bits. */
struct key {
	uint64_t high, low;
};

/* Prefixes of one kind in the order of their first addresses, shorter ones first. */
struct table {
	uint32_t n;
	/* index[i]: how many begin before high[0] + (i << index_shift). */
	unsigned index_shift;
	uint32_t *index, index_size; /* without the last element, which is n */
	uint64_t *high, *low;	     /* low: NULL where no prefix is longer than 64 bits */
	uint32_t *around;	     /* the closest prefix that holds this one, or NONE */
	uint16_t *set;
	uint8_t *len;
};

/* Prefixes longer than 64 bits are few, and the only ones whose second half counts. */
enum { TABLE_V4, TABLE_V6, TABLE_V6_LONG, N_TABLES };

struct addresses {
	struct table tables[N_TABLES];
	/* Set i: lists[starts[i]] up to lists[starts[i + 1]]. Set 0 is empty. */
	uint32_t *starts;
	uint16_t *lists;
	size_t n_sets, n_lists; /* n_lists: elements of lists */
};

struct added {
	struct key key;
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

static struct key key_of(const struct ip_addr *address)
{
	struct key k;

	memcpy(&k.high, address->b, sizeof k.high);
	memcpy(&k.low, address->b + 8, sizeof k.low);
	return (struct key){be64toh(k.high), be64toh(k.low)};
}

static uint64_t mask_of(unsigned len)
{
	return len ? UINT64_MAX << (64 - len) : 0;
}

static bool holds(struct key prefix, unsigned len, struct key k)
{
	if (len <= 64)
		return ((prefix.high ^ k.high) & mask_of(len)) == 0;
	return prefix.high == k.high && ((prefix.low ^ k.low) & mask_of(len - 64)) == 0;
}

/* --- look-up --- */

static struct key key_at(const struct table *t, uint32_t i)
{
	return (struct key){t->high[i], t->low ? t->low[i] : 0};
}

/* Does the prefix begin at or before k? 0 or 1, so that the search below has no branch to guess. */
static uint32_t begins_before(const struct table *t, uint32_t i, struct key k)
{
	if (!t->low)
		return t->high[i] <= k.high;
	return (uint32_t)(t->high[i] < k.high) |
	       ((uint32_t)(t->high[i] == k.high) & (uint32_t)(t->low[i] <= k.low));
}

/* How many begin at or before k. */
static uint32_t table_rank(const struct table *t, struct key k)
{
	uint64_t i = (k.high - t->high[0]) >> t->index_shift;
	uint32_t from, n;

	if (k.high < t->high[0])
		return 0;
	if (i >= t->index_size)
		return t->n;
	/* All before from begin at or before k, all from from + n on behind it. */
	from = t->index[i];
	n = t->index[i + 1] - from;
	while (n > 1) {
		uint32_t half = n / 2;

		from += half * begins_before(t, from + half - 1, k);
		n -= half;
	}
	return from + (n ? begins_before(t, from, k) : 0);
}

/* The longest prefix that holds k, or NONE. */
static uint32_t table_find(const struct table *t, struct key k)
{
	uint32_t at = t->n ? table_rank(t, k) : 0;

	/* Ends: each one around is shorter. */
	for (at = at ? at - 1 : NONE; at != NONE; at = t->around[at])
		if (holds(key_at(t, at), t->len[at], k))
			break;
	return at;
}

const uint16_t *addresses_find(
	const struct addresses *a, const struct ip_addr *address, size_t *ret_n)
{
	const struct table *t = &a->tables[TABLE_V4];
	struct key k = key_of(address);
	uint32_t at = NONE, set = 0;

	if (address->family == IP_V6) {
		t = &a->tables[TABLE_V6_LONG];
		at = table_find(t, k);
		if (at == NONE)
			t = &a->tables[TABLE_V6];
	}
	if (at == NONE && address->family != IP_NONE)
		at = table_find(t, k);
	if (at != NONE)
		set = t->set[at];
	*ret_n = a->starts[set + 1] - a->starts[set];
	return a->lists + a->starts[set];
}

/* --- every prefix --- */

static struct ip_prefix prefix_at(const struct table *t, uint32_t i, enum ip_family family)
{
	struct ip_prefix p = {.addr.family = (uint8_t)family, .len = t->len[i]};
	uint64_t high = htobe64(t->high[i]), low = htobe64(t->low ? t->low[i] : 0);

	memcpy(p.addr.b, &high, sizeof high);
	memcpy(p.addr.b + sizeof high, &low, sizeof low);
	return p;
}

/* The set of the closest prefix around this one. */
static uint16_t set_around(const struct addresses *a, unsigned table, uint32_t i)
{
	const struct table *t = &a->tables[table], *v6 = &a->tables[TABLE_V6];
	uint32_t at = t->around[i];

	if (at != NONE)
		return t->set[at];
	if (table == TABLE_V6_LONG) {
		at = table_find(v6, key_at(t, i));
		if (at != NONE)
			return v6->set[at];
	}
	return 0;
}

/* Those of its lists that do not hold all around it. */
static int visit_prefix(
	const struct addresses *a, unsigned table, uint32_t i, addresses_visit *visit, void *arg)
{
	uint16_t set = a->tables[table].set[i], around = set_around(a, table, i);
	struct ip_prefix p = prefix_at(&a->tables[table], i, table == TABLE_V4 ? IP_V4 : IP_V6);
	uint32_t outer = a->starts[around], outer_end = a->starts[around + 1];
	int r = 0;

	for (uint32_t at = a->starts[set]; at < a->starts[set + 1] && !r; at++) {
		while (outer < outer_end && a->lists[outer] < a->lists[at])
			outer++;
		if (outer == outer_end || a->lists[outer] != a->lists[at])
			r = visit(arg, a->lists[at], &p);
	}
	return r;
}

int addresses_each(const struct addresses *a, addresses_visit *visit, void *arg)
{
	const struct table *v4 = &a->tables[TABLE_V4], *v6 = &a->tables[TABLE_V6];
	const struct table *v6_long = &a->tables[TABLE_V6_LONG];
	uint32_t at = 0, at_long = 0;
	int r = 0;

	for (uint32_t i = 0; i < v4->n && !r; i++)
		r = visit_prefix(a, TABLE_V4, i, visit, arg);
	while ((at < v6->n || at_long < v6_long->n) && !r) {
		if (at < v6->n && (at_long == v6_long->n || v6->high[at] <= v6_long->high[at_long]))
			r = visit_prefix(a, TABLE_V6, at++, visit, arg);
		else
			r = visit_prefix(a, TABLE_V6_LONG, at_long++, visit, arg);
	}
	return r;
}

static void table_free(struct table *t)
{
	free(t->index);
	free(t->high);
	free(t->low);
	free(t->around);
	free(t->set);
	free(t->len);
}

void addresses_free(struct addresses *a)
{
	if (!a)
		return;
	for (unsigned i = 0; i < N_TABLES; i++)
		table_free(&a->tables[i]);
	free(a->starts);
	free(a->lists);
	free(a);
}

size_t addresses_size_bytes(const struct addresses *a)
{
	size_t size =
		sizeof *a + (a->n_sets + 1) * sizeof a->starts[0] + a->n_lists * sizeof a->lists[0];

	for (unsigned i = 0; i < N_TABLES; i++) {
		const struct table *t = &a->tables[i];

		if (t->n)
			size += (t->index_size + 1) * sizeof t->index[0];
		size += t->n * (sizeof t->high[0] + sizeof t->around[0] + sizeof t->set[0] +
				       sizeof t->len[0] + (t->low ? sizeof t->low[0] : 0));
	}
	return size;
}

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
		.key = key_of(&prefix->addr),
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
	return p->is_v6 == q->is_v6 && p->len < q->len && holds(p->key, p->len, q->key);
}

static unsigned table_of(const struct added *p)
{
	return !p->is_v6 ? TABLE_V4 : p->len <= 64 ? TABLE_V6 : TABLE_V6_LONG;
}

static int table_alloc(struct table *t, uint32_t n, bool is_long)
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
static int table_index(struct table *t)
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
	uint32_t at; /* in its table; NONE: left out, it tells no more than the one around it */
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
		if (p->open[i].at != NONE && table_of(p->open[i].prefix) == table)
			return p->open[i].at;
	return NONE;
}

/* A distinct prefix and the set of all lists that hold it. */
static void pack_put(struct pack *p, const struct added *prefix, uint16_t outer, uint16_t set)
{
	unsigned table = table_of(prefix);
	struct table *t = &p->b->a->tables[table];
	struct open *o = &p->open[p->depth];

	*o = (struct open){prefix, set, NONE};
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
