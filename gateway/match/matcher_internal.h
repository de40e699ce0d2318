/* What the matcher's builder, its look-up and compiled lists share.
 *
 * A name is its 64-bit keyed hash, computed label by label from the right, so one walk of a
 * question's name gives the hash of each of its suffixes. The table holds the hashes sorted: the
 * first `bits` of a hash are its bucket, where starts[] tells the bucket's first entry; an entry is
 * the rest of the hash above the number of a set in its lower `bits`. So nothing of a hash is lost
 * and tables of any sizes can be merged. A set says which sources hold the name and how; sets are
 * interned: a list of a million names needs one.
 *
 * matcher_build.c takes what is added, matcher_above.c finds the names above others, matcher_sort.c
 * sorts, matcher_pack.c makes a table, matcher_merge.c joins tables, matcher_sets.c interns. */
#ifndef TUNGATE_MATCH_MATCHER_INTERNAL_H
#define TUNGATE_MATCH_MATCHER_INTERNAL_H

#include <endian.h>
#include <string.h>

#include "gateway/match/matcher.h"
#include "gateway/match/patterns.h"

#define MATCHER_KIND_BITS  4
#define MATCHER_BITS_MAX   24
#define MATCHER_SETS_MAX   (1u << MATCHER_BITS_MAX)
#define MATCHER_SET_MAX	   ((size_t)MATCHER_SOURCES_MAX * MATCHER_NAME_KINDS) /* elements of one */
#define MATCHER_BUCKET_AIM 8 /* names a bucket, at most */
#define MATCHER_NONE	   UINT32_MAX

struct matcher_table {
	unsigned bits; /* 1 to MATCHER_BITS_MAX */
	uint32_t n;
	uint32_t *starts; /* 2^bits + 1 */
	uint64_t *entries;
	void *file; /* both lie in it (a compiled list as it was read); NULL: they are on their own
		     */
};

/* Set i is pool[starts[i]] up to pool[starts[i + 1]]: matcher_element()s in ascending order. Set 0
 * is empty. */
struct matcher_sets {
	uint32_t n;
	uint32_t *starts;
	uint16_t *pool;
};

struct matcher {
	uint64_t key;
	uint64_t depths[MATCHER_LABELS / 64]; /* bit n: a name of n labels is held */
	unsigned deepest;
	unsigned n_sources, n_words; /* words of struct matcher_hits */
	struct matcher_table table;
	struct matcher_sets sets;
	uint32_t *counts;	   /* names of each source, as they were added */
	uint32_t *pattern_counts;  /* NULL: no patterns */
	struct patterns *patterns; /* NULL: none */
};

/* --- hashes --- */

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
 * of a dns_name. The root's is the key. */
static inline uint64_t matcher_hash_label(uint64_t parent, const uint8_t *b, size_t at)
{
	size_t end = at + b[at] + 1;
	uint64_t h = parent;

	for (; at + 8 < end; at += 8)
		h = matcher_mix(h ^ matcher_load(b, at, 8), 0x9e3779b97f4a7c15ULL);
	return matcher_mix(h ^ matcher_load(b, at, end - at), 0xd6e8feb86659fd93ULL);
}

/* Where each label begins, from the left; returns how many there are. */
static inline unsigned matcher_labels(const struct dns_name *name, uint8_t ret[MATCHER_LABELS])
{
	unsigned n = 0;

	for (size_t at = 0; at < sizeof name->b && name->b[at] && n < MATCHER_LABELS - 1;
		at += name->b[at] + 1u)
		ret[n++] = (uint8_t)at;
	return n;
}

static inline unsigned matcher_deepest(const uint64_t depths[MATCHER_LABELS / 64])
{
	unsigned deepest = MATCHER_LABELS - 1;

	while (deepest > 0 && !(depths[deepest / 64] >> deepest % 64 & 1))
		deepest--;
	return deepest;
}

/* --- tables --- */

static inline uint64_t matcher_bucket(const struct matcher_table *t, uint64_t hash)
{
	return hash >> (64 - t->bits);
}

static inline uint32_t matcher_entry_set(const struct matcher_table *t, uint64_t entry)
{
	return (uint32_t)(entry & ((1ULL << t->bits) - 1));
}

static inline uint64_t matcher_entry_hash(
	const struct matcher_table *t, uint64_t bucket, uint64_t entry)
{
	return bucket << (64 - t->bits) | entry >> t->bits;
}

/* The bits of a table of n names that refer to n_sets sets. */
unsigned matcher_table_bits(size_t n, uint32_t n_sets);
void matcher_table_free(struct matcher_table *t);

/* A table being written, in the order of hashes. */
struct matcher_writer {
	struct matcher_table *t;
	uint64_t buckets; /* whose start is set */
};

static inline void matcher_write(struct matcher_writer *w, uint64_t hash, uint32_t set)
{
	struct matcher_table *t = w->t;

	for (uint64_t bucket = matcher_bucket(t, hash); w->buckets <= bucket; w->buckets++)
		t->starts[w->buckets] = t->n;
	t->entries[t->n++] = hash << t->bits | set;
}

static inline void matcher_write_end(struct matcher_writer *w)
{
	for (uint64_t end = 1ULL << w->t->bits; w->buckets <= end; w->buckets++)
		w->t->starts[w->buckets] = w->t->n;
}

/* --- sets --- */

/* An element of a set. */
static inline uint16_t matcher_element(unsigned source, enum matcher_kind kind)
{
	return (uint16_t)(source << MATCHER_KIND_BITS | kind);
}

static inline unsigned matcher_element_source(uint16_t element)
{
	return element >> MATCHER_KIND_BITS;
}

static inline enum matcher_kind matcher_element_kind(uint16_t element)
{
	return element & ((1u << MATCHER_KIND_BITS) - 1);
}

struct matcher_interner {
	struct matcher_sets sets;
	size_t starts_room, pool_room;
	uint32_t *table; /* open addressing: number of a set, 0: empty place */
	size_t room;
};

int matcher_interner_init(struct matcher_interner *i); /* with the empty set; -ENOMEM */
/* The set of these n elements, which are sorted and distinct. -ENOMEM, -ENOSPC. */
int matcher_intern(struct matcher_interner *i, const uint16_t *elements, size_t n, uint32_t *ret);
/* The sets are the caller's now. */
void matcher_interner_take(struct matcher_interner *i, struct matcher_sets *ret);
void matcher_interner_fini(struct matcher_interner *i);

/* --- names above names --- */

/* Every name that has been seen above an added one, with the next one above it. It serves only to
 * drop what is held anyway, so it may be incomplete: ABOVE_MAX bounds it. */
struct matcher_above {
	size_t n, hash_room, next_room;
	uint64_t *hash;
	uint32_t *next;	 /* MATCHER_NONE: none, or none known */
	uint32_t *table; /* open addressing: an index + 1, 0: empty place */
	size_t room;
};

/* The number of the name with this hash, whose next one above is `next`; MATCHER_NONE: no room.
 * -ENOMEM. */
int matcher_above_add(struct matcher_above *a, uint64_t hash, uint32_t next, uint32_t *ret);
uint32_t matcher_above_find(const struct matcher_above *a, uint64_t hash);
void matcher_above_fini(struct matcher_above *a);

/* --- building --- */

struct matcher_added {
	uint64_t hash;
	uint32_t above; /* in matcher_above; then, packed: the number of the set */
	uint16_t element;
	uint8_t labels;
	bool dropped; /* another name of the source holds what it holds */
};

/* By hash, then element; in place, in a time that grows with n only. */
void matcher_sort(struct matcher_added *added, size_t n);

struct matcher_from {
	const struct matcher *m;
	int *map;
};

struct matcher_builder {
	uint64_t key;
	unsigned n_sources;
	uint64_t depths[MATCHER_LABELS / 64];
	struct matcher_added *added;
	size_t n, room;
	struct matcher_above above;
	struct matcher_interner sets;
	struct matcher_from *froms;
	size_t n_froms, froms_room;
	struct patterns_builder *patterns;
	uint32_t *counts;
	uint64_t keep[MATCHER_SOURCES_MAX / 64];
	uint16_t scratch[MATCHER_SET_MAX];
};

/* Sorts what was added, drops what needs not be held, and makes a table of it. -ENOMEM, -ENOSPC. */
int matcher_pack(struct matcher_builder *b, struct matcher_table *ret);
/* What was added to *b, which is freed and NULL then, are the patterns of m. -ENOMEM, -ENOSPC. */
int matcher_take_patterns(struct matcher *m, struct patterns_builder **b);
/* Joins the table with those of all froms. Errors leave it as it is. */
int matcher_merge(struct matcher_builder *b, struct matcher_table *t);

#endif
