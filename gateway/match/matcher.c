#include "gateway/match/matcher_internal.h"

#include <stdlib.h>

_Static_assert(MATCHER_SOURCES_MAX << MATCHER_KIND_BITS <= 1 << 16, "an entry is 16 bits");

/* Which kinds hold a question that is 0, 1, or more labels below the name found. */
static const bool holds[][3] = {
	[MATCHER_EXACT] = {true, false, false},
	[MATCHER_SUFFIX] = {true, true, true},
};

struct matcher_slot *matcher_probe(
	const struct matcher *m, uint64_t hash, const uint8_t *name, size_t len)
{
	uint32_t at = matcher_home(hash, m->n_slots);

	/* Ends: a third of the slots are empty, or more. */
	for (;;) {
		struct matcher_slot *slot = &m->slots[at];
		const uint8_t *text = m->text + slot->text;

		if (!slot->text)
			return slot;
		if ((uint8_t)slot->set_tag == matcher_tag(hash) && text[0] == len &&
			memcmp(text + 1, name, len) == 0)
			return slot;
		if (++at == m->n_slots)
			at = 0;
	}
}

static void hits_add(struct matcher_hits *hits, const uint16_t *set, unsigned below)
{
	unsigned how = below < 2 ? below : 2;

	for (unsigned n = *set++; n > 0; n--, set++) {
		unsigned source = *set >> MATCHER_KIND_BITS;

		if (holds[*set & ((1u << MATCHER_KIND_BITS) - 1)][how])
			hits->bits[source / 64] |= 1ULL << source % 64;
	}
}

/* Where each label begins, from the left; returns where the root label does. */
static inline size_t labels_start(const struct dns_name *name, uint8_t ret_start[MATCHER_LABELS])
{
	size_t at = 0;

	for (unsigned i = 0; i < name->labels; i++) {
		ret_start[i] = (uint8_t)at;
		at += name->b[at] + 1u;
	}
	return at;
}

void matcher_find(const struct matcher *m, const struct dns_name *name, struct matcher_hits *ret)
{
	uint8_t start[MATCHER_LABELS];
	unsigned labels = name->labels, depth = 0, end = labels < m->deepest ? labels : m->deepest;
	uint64_t hash[MATCHER_LABELS];
	size_t at = labels_start(name, start);

	for (unsigned i = 0; i < m->n_words; i++)
		ret->bits[i] = 0;
	/* First all hashes, then the table: the cache misses of a large one overlap. */
	hash[0] = m->key;
	for (depth = 1; depth <= end; depth++) {
		hash[depth] = matcher_hash_label(hash[depth - 1], name->b, start[labels - depth]);
		__builtin_prefetch(&m->slots[matcher_home(hash[depth], m->n_slots)]);
	}
	for (depth = 0; depth <= end; depth++) {
		const struct matcher_slot *slot;
		size_t from = depth ? start[labels - depth] : at;

		if (!(m->depths[depth / 64] >> depth % 64 & 1))
			continue;
		slot = matcher_probe(m, hash[depth], name->b + from, at - from);
		if (slot->text)
			hits_add(ret, m->sets + (slot->set_tag >> 8), labels - depth);
	}
}

static bool set_holds(const uint16_t *set, unsigned source, unsigned below)
{
	unsigned how = below < 2 ? below : 2;

	for (unsigned n = *set++; n > 0; n--, set++)
		if (*set >> MATCHER_KIND_BITS == source &&
			holds[*set & ((1u << MATCHER_KIND_BITS) - 1)][how])
			return true;
	return false;
}

int matcher_closest(const struct matcher *m, const struct dns_name *name, unsigned source)
{
	uint8_t start[MATCHER_LABELS];
	unsigned labels = name->labels, end = labels < m->deepest ? labels : m->deepest;
	uint64_t hash = m->key;
	size_t at = labels_start(name, start);
	int closest = -1;

	for (unsigned depth = 0; depth <= end; depth++) {
		const struct matcher_slot *slot;
		size_t from = depth ? start[labels - depth] : at;

		if (depth)
			hash = matcher_hash_label(hash, name->b, from);
		if (!(m->depths[depth / 64] >> depth % 64 & 1))
			continue;
		slot = matcher_probe(m, hash, name->b + from, at - from);
		if (slot->text && set_holds(m->sets + (slot->set_tag >> 8), source, labels - depth))
			closest = (int)depth;
	}
	return closest;
}

void matcher_free(struct matcher *m)
{
	if (!m)
		return;
	free(m->slots);
	free(m->text);
	free(m->sets);
	free(m);
}

size_t matcher_names(const struct matcher *m)
{
	return m->n_names;
}

size_t matcher_size_bytes(const struct matcher *m)
{
	return sizeof *m + m->n_slots * sizeof m->slots[0] + m->text_size +
	       m->sets_size * sizeof m->sets[0];
}
