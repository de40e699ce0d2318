/* What the matcher's builder and its look-up share.
 *
 * One open-addressing table, linear probing, keyed by the hash of a name. The hash is computed
 * label by label from the right, so one walk of a question's name gives the hash of each of its
 * suffixes. A slot points to the name's text (one byte length, then the wire form without the root
 * label) and to the set of its entries: a count, then (source, kind) pairs in ascending order. Sets
 * are interned: a list of a million names needs one. */
#ifndef TUNGATE_MATCH_MATCHER_INTERNAL_H
#define TUNGATE_MATCH_MATCHER_INTERNAL_H

#include <endian.h>
#include <string.h>

#include "gateway/match/matcher.h"

#define MATCHER_KIND_BITS 4	     /* room for the kinds to come */
#define MATCHER_SETS_MAX  (1u << 24) /* units of the pool that a slot can address */
#define MATCHER_LABELS	  128

struct matcher_slot {
	uint32_t text;	  /* 0: empty; texts begin at 1 */
	uint32_t set_tag; /* index into sets << 8 | low bits of the hash */
};

struct matcher {
	uint64_t key;
	uint64_t depths[MATCHER_LABELS / 64]; /* bit n: a name of n labels is held */
	unsigned deepest;
	unsigned n_words; /* of struct matcher_hits */
	uint32_t n_slots, n_names;
	struct matcher_slot *slots;
	uint8_t *text;
	uint16_t *sets;
	size_t text_size, sets_size; /* in units of their type */
};

/* High and low half of the full product, folded: the strongest mixing for its price. */
static inline uint64_t matcher_mix(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
	uint64_t ah = a >> 32, al = (uint32_t)a, bh = b >> 32, bl = (uint32_t)b;
	uint64_t low = al * bl, mid1 = ah * bl, mid2 = al * bh;
	uint64_t mid = (low >> 32) + (uint32_t)mid1 + (uint32_t)mid2;

	return (mid << 32 | (uint32_t)low) ^ (ah * bh + (mid1 >> 32) + (mid2 >> 32) + (mid >> 32));
#endif
}

/* n (1 to 8) bytes at b[at], as a little-endian number; reads inside b[256] only. */
static inline uint64_t matcher_load(const uint8_t *b, size_t at, size_t n)
{
	size_t base = at > 248 ? 248 : at;
	uint64_t word;

	memcpy(&word, b + base, sizeof word);
	return le64toh(word) >> 8 * (at - base) & UINT64_MAX >> 8 * (8 - n);
}

/* The hash of a name from the hash of its parent and its first label, whose length byte is at b[at]
 * of a dns_name. */
static inline uint64_t matcher_hash_label(uint64_t parent, const uint8_t *b, size_t at)
{
	size_t end = at + b[at] + 1;
	uint64_t h = parent;

	for (; at + 8 < end; at += 8)
		h = matcher_mix(h ^ matcher_load(b, at, 8), 0x9e3779b97f4a7c15ULL);
	return matcher_mix(h ^ matcher_load(b, at, end - at), 0xd6e8feb86659fd93ULL);
}

static inline uint32_t matcher_home(uint64_t hash, uint32_t n_slots)
{
	return (uint32_t)((hash >> 32) * n_slots >> 32);
}

static inline uint8_t matcher_tag(uint64_t hash)
{
	return (uint8_t)hash;
}

static inline uint16_t matcher_entry(unsigned source, enum matcher_kind kind)
{
	return (uint16_t)(source << MATCHER_KIND_BITS | kind);
}

/* The slot that holds the len bytes at name (no root label), or the empty one where it would go. */
struct matcher_slot *matcher_probe(
	const struct matcher *m, uint64_t hash, const uint8_t *name, size_t len);

#endif
