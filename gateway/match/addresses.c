#include "gateway/match/addresses_internal.h"

#include <stdlib.h>

static struct address_key key_at(const struct address_table *t, uint32_t i)
{
	return (struct address_key){t->high[i], t->low ? t->low[i] : 0};
}

/* Does the prefix begin at or before k? 0 or 1, so that the search below has no branch to guess. */
static uint32_t begins_before(const struct address_table *t, uint32_t i, struct address_key k)
{
	if (!t->low)
		return t->high[i] <= k.high;
	return (uint32_t)(t->high[i] < k.high) |
	       ((uint32_t)(t->high[i] == k.high) & (uint32_t)(t->low[i] <= k.low));
}

/* How many begin at or before k. */
static uint32_t table_rank(const struct address_table *t, struct address_key k)
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

/* The longest prefix that holds k, or ADDRESSES_NONE. */
static uint32_t table_find(const struct address_table *t, struct address_key k)
{
	uint32_t at = t->n ? table_rank(t, k) : 0;

	/* Ends: each one around is shorter. */
	for (at = at ? at - 1 : ADDRESSES_NONE; at != ADDRESSES_NONE; at = t->around[at])
		if (address_key_holds(key_at(t, at), t->len[at], k))
			break;
	return at;
}

const uint16_t *addresses_find(
	const struct addresses *a, const struct ip_addr *address, size_t *ret_n)
{
	const struct address_table *t = &a->tables[TABLE_V4];
	struct address_key k = address_key_of(address);
	uint32_t at = ADDRESSES_NONE, set = 0;

	if (address->family == IP_V6) {
		t = &a->tables[TABLE_V6_LONG];
		at = table_find(t, k);
		if (at == ADDRESSES_NONE)
			t = &a->tables[TABLE_V6];
	}
	if (at == ADDRESSES_NONE && address->family != IP_NONE)
		at = table_find(t, k);
	if (at != ADDRESSES_NONE)
		set = t->set[at];
	*ret_n = a->starts[set + 1] - a->starts[set];
	return a->lists + a->starts[set];
}

/* --- every prefix --- */

static struct ip_prefix prefix_at(const struct address_table *t, uint32_t i, enum ip_family family)
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
	const struct address_table *t = &a->tables[table], *v6 = &a->tables[TABLE_V6];
	uint32_t at = t->around[i];

	if (at != ADDRESSES_NONE)
		return t->set[at];
	if (table == TABLE_V6_LONG) {
		at = table_find(v6, key_at(t, i));
		if (at != ADDRESSES_NONE)
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
	const struct address_table *v4 = &a->tables[TABLE_V4], *v6 = &a->tables[TABLE_V6];
	const struct address_table *v6_long = &a->tables[TABLE_V6_LONG];
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

void address_table_free(struct address_table *t)
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
		address_table_free(&a->tables[i]);
	free(a->starts);
	free(a->lists);
	free(a);
}

size_t addresses_size_bytes(const struct addresses *a)
{
	size_t size =
		sizeof *a + (a->n_sets + 1) * sizeof a->starts[0] + a->n_lists * sizeof a->lists[0];

	for (unsigned i = 0; i < N_TABLES; i++) {
		const struct address_table *t = &a->tables[i];

		if (t->n)
			size += (t->index_size + 1) * sizeof t->index[0];
		size += t->n * (sizeof t->high[0] + sizeof t->around[0] + sizeof t->set[0] +
				       sizeof t->len[0] + (t->low ? sizeof t->low[0] : 0));
	}
	return size;
}
