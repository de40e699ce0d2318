#include "gateway/match/matcher_internal.h"

#include <stdlib.h>

#define BUCKET_FEW 24

/* Which kinds hold a question that is 0, 1, or more labels below the name found. */
static const bool holds[MATCHER_NAME_KINDS][3] = {
	[MATCHER_EXACT] = {true, false, false},
	[MATCHER_SUFFIX] = {true, true, true},
	[MATCHER_BELOW] = {false, true, true},
	[MATCHER_CHILD] = {false, true, false},
};

static bool element_holds(uint16_t element, unsigned below)
{
	return holds[matcher_element_kind(element)][below < 2 ? below : 2];
}

/* Of the entries from..end of a bucket those where the one with these upper bits may be. A list of
 * hashes made to fill one bucket (the key of compiled lists is known) costs no more than this. */
static void bucket_narrow(
	const struct matcher_table *t, uint64_t wanted, uint32_t *from, uint32_t *end)
{
	while (*end - *from > BUCKET_FEW) {
		uint32_t middle = *from + (*end - *from) / 2;

		if (t->entries[middle] <= wanted + ((1ULL << t->bits) - 1))
			*from = middle;
		else
			*end = middle;
	}
}

/* The set of the name with this hash; 0: none. */
static inline uint32_t table_find(
	const struct matcher_table *t, uint64_t hash, uint32_t from, uint32_t end)
{
	const uint64_t wanted = hash << t->bits;

	if (end - from > BUCKET_FEW)
		bucket_narrow(t, wanted, &from, &end);
	for (; from < end; from++)
		if ((t->entries[from] ^ wanted) >> t->bits == 0)
			return matcher_entry_set(t, t->entries[from]);
	return 0;
}

static void hits_add(
	const struct matcher_sets *s, uint32_t set, unsigned below, struct matcher_hits *hits)
{
	for (uint32_t i = s->starts[set]; i < s->starts[set + 1]; i++) {
		unsigned source = matcher_element_source(s->pool[i]);

		if (element_holds(s->pool[i], below))
			hits->bits[source / 64] |= 1ULL << source % 64;
	}
}

void matcher_begin(const struct matcher *m, const struct dns_name *name, struct matcher_look *ret)
{
	const struct matcher_table *t = &m->table;
	uint8_t start[MATCHER_LABELS];
	unsigned labels = matcher_labels(name, start);
	unsigned end = labels < m->deepest ? labels : m->deepest;
	uint64_t hash = m->key;

	ret->n = 0;
	for (unsigned depth = 0; depth <= end; depth++) {
		if (depth)
			hash = matcher_hash_label(hash, name->b, start[labels - depth]);
		if (!(m->depths[depth / 64] >> depth % 64 & 1))
			continue;
		__builtin_prefetch(&t->starts[matcher_bucket(t, hash)]);
		ret->v[ret->n].hash = hash;
		ret->v[ret->n++].below = labels - depth;
	}
}

void matcher_end(const struct matcher *m, const struct dns_name *name,
	const struct matcher_look *look, struct matcher_hits *ret)
{
	const struct matcher_table *t = &m->table;
	struct {
		uint32_t from, end;
	} buckets[MATCHER_LABELS];

	for (unsigned i = 0; i < m->n_words; i++)
		ret->bits[i] = 0;
	/* First all buckets, then all entries: the cache misses overlap. */
	for (unsigned i = 0; i < look->n; i++) {
		uint64_t bucket = matcher_bucket(t, look->v[i].hash);

		buckets[i].from = t->starts[bucket];
		buckets[i].end = t->starts[bucket + 1];
		__builtin_prefetch(&t->entries[buckets[i].from]);
		__builtin_prefetch(&t->entries[buckets[i].end]);
	}
	for (unsigned i = 0; i < look->n; i++) {
		uint32_t set = table_find(t, look->v[i].hash, buckets[i].from, buckets[i].end);

		if (set)
			hits_add(&m->sets, set, look->v[i].below, ret);
	}
	if (m->patterns)
		patterns_find(m->patterns, name, ret);
}

void matcher_find(const struct matcher *m, const struct dns_name *name, struct matcher_hits *ret)
{
	struct matcher_look look;

	matcher_begin(m, name, &look);
	matcher_end(m, name, &look, ret);
}

/* 1: the source holds what lies `below` labels below a name with this set; 2: by MATCHER_EXACT. */
static int set_holds(const struct matcher_sets *s, uint32_t set, unsigned source, unsigned below)
{
	int how = 0;

	for (uint32_t i = s->starts[set]; i < s->starts[set + 1]; i++)
		if (matcher_element_source(s->pool[i]) == source &&
			element_holds(s->pool[i], below)) {
			if (matcher_element_kind(s->pool[i]) == MATCHER_EXACT)
				return 2;
			how = 1;
		}
	return how;
}

int matcher_closest(const struct matcher *m, const struct dns_name *name, unsigned source)
{
	const struct matcher_table *t = &m->table;
	uint8_t start[MATCHER_LABELS];
	unsigned labels = matcher_labels(name, start);
	unsigned end = labels < m->deepest ? labels : m->deepest;
	uint64_t hash = m->key;
	int closest = -1;

	for (unsigned depth = 0; depth <= end; depth++) {
		uint64_t bucket;
		uint32_t set;
		int how;

		if (depth)
			hash = matcher_hash_label(hash, name->b, start[labels - depth]);
		bucket = matcher_bucket(t, hash);
		set = table_find(t, hash, t->starts[bucket], t->starts[bucket + 1]);
		how = set_holds(&m->sets, set, source, labels - depth);
		if (how)
			closest = (int)(2 * depth) + (how == 2);
	}
	return closest;
}

void matcher_free(struct matcher *m)
{
	if (!m)
		return;
	matcher_table_free(&m->table);
	free(m->sets.starts);
	free(m->sets.pool);
	free(m->counts);
	free(m->pattern_counts);
	patterns_free(m->patterns);
	free(m);
}

uint64_t matcher_key(const struct matcher *m)
{
	return m->key;
}

size_t matcher_names(const struct matcher *m)
{
	return m->table.n;
}

size_t matcher_count(const struct matcher *m, unsigned source)
{
	if (source >= m->n_sources)
		return 0;
	return (size_t)m->counts[source] + (m->pattern_counts ? m->pattern_counts[source] : 0);
}

static int pattern_count(void *arg, unsigned source, bool is_regexp, const char *text, size_t len)
{
	size_t *counts = arg;

	(void)source;
	(void)text;
	(void)len;
	counts[is_regexp]++;
	return 0;
}

void matcher_patterns_count(const struct matcher *m, size_t *ret_keywords, size_t *ret_regexps)
{
	size_t counts[2] = {0, 0};

	(void)patterns_each(m->patterns, pattern_count, counts);
	*ret_keywords = counts[false];
	*ret_regexps = counts[true];
}

size_t matcher_size_bytes(const struct matcher *m)
{
	const struct matcher_sets *s = &m->sets;
	size_t size = sizeof *m;

	size += m->table.n * sizeof m->table.entries[0];
	size += ((1u << m->table.bits) + 1u) * sizeof m->table.starts[0];
	size += (s->n + 1u) * sizeof s->starts[0] + s->starts[s->n] * sizeof s->pool[0];
	size += m->n_sources * sizeof m->counts[0] * (m->pattern_counts ? 2 : 1);
	return size + (m->patterns ? patterns_size_bytes(m->patterns) : 0);
}
