#include "gateway/match/matcher_internal.h"
#include "gateway/base/grow.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

_Static_assert(MATCHER_SOURCES_MAX << MATCHER_KIND_BITS <= 1 << 16, "an element is 16 bits");
_Static_assert(sizeof(struct matcher_added) == 2 * sizeof(uint64_t), "packed in place to a half");

int matcher_builder_new(uint64_t key, unsigned n_sources, struct matcher_builder **ret)
{
	struct matcher_builder *b = calloc(1, sizeof *b);
	uint32_t root;
	int err;

	assert(n_sources <= MATCHER_SOURCES_MAX);
	if (!b)
		return -ENOMEM;
	b->key = key;
	b->n_sources = n_sources;
	b->counts = calloc(n_sources + 1u, sizeof b->counts[0]);
	err = b->counts ? matcher_interner_init(&b->sets) : -ENOMEM;
	if (!err)
		err = matcher_above_add(&b->above, key, MATCHER_NONE, &root);
	if (err) {
		matcher_builder_free(b);
		return err;
	}
	*ret = b;
	return 0;
}

int matcher_builder_add(struct matcher_builder *b, unsigned source, enum matcher_kind kind,
	const struct dns_name *name)
{
	uint8_t start[MATCHER_LABELS];
	unsigned labels = matcher_labels(name, start);
	uint64_t hash = b->key;
	uint32_t above = labels ? 0 : MATCHER_NONE, next = above;
	int err;

	assert(source < b->n_sources && kind < MATCHER_NAME_KINDS);
	if (b->n == MATCHER_NAMES_MAX)
		return -ENOSPC;
	for (unsigned depth = 1; depth <= labels; depth++) {
		hash = matcher_hash_label(hash, name->b, start[labels - depth]);
		if (depth == labels || next == MATCHER_NONE)
			continue;
		err = matcher_above_add(&b->above, hash, above, &next);
		if (err)
			return err;
		if (next != MATCHER_NONE)
			above = next;
	}
	err = room_grow((void **)&b->added, &b->room, b->n, 1, sizeof b->added[0]);
	if (err)
		return err;
	b->added[b->n++] = (struct matcher_added){.hash = hash,
		.above = above,
		.element = matcher_element(source, kind),
		.labels = (uint8_t)labels};
	return 0;
}

static int patterns_need(struct matcher_builder *b)
{
	return b->patterns ? 0 : patterns_builder_new(&b->patterns);
}

int matcher_builder_add_keyword(
	struct matcher_builder *b, unsigned source, const char *text, size_t len)
{
	int err = patterns_need(b);

	assert(source < b->n_sources);
	return err ? err : patterns_builder_add_keyword(b->patterns, source, text, len);
}

int matcher_builder_add_regexp(struct matcher_builder *b, unsigned source, const char *pattern,
	size_t len, char *ret_why, size_t size)
{
	int err = patterns_need(b);

	assert(source < b->n_sources);
	return err ? err
		   : patterns_builder_add_regexp(b->patterns, source, pattern, len, ret_why, size);
}

struct patterns_from {
	struct matcher_builder *b;
	const int *map;
};

static int pattern_from(void *arg, unsigned source, bool is_regexp, const char *text, size_t len)
{
	const struct patterns_from *from = arg;
	int to = from->map[source];
	char why[64]; /* it compiled before */

	if (to < 0)
		return 0;
	if (is_regexp)
		return matcher_builder_add_regexp(
			from->b, (unsigned)to, text, len, why, sizeof why);
	return matcher_builder_add_keyword(from->b, (unsigned)to, text, len);
}

int matcher_builder_add_from(struct matcher_builder *b, const struct matcher *from, const int *map)
{
	struct matcher_from *f;
	int err;

	if (from->key != b->key)
		return -EXDEV;
	err = room_grow((void **)&b->froms, &b->froms_room, b->n_froms, 1, sizeof b->froms[0]);
	if (err)
		return err;
	f = &b->froms[b->n_froms];
	*f = (struct matcher_from){from, malloc((from->n_sources + 1u) * sizeof *map)};
	if (!f->map)
		return -ENOMEM;
	b->n_froms++;
	for (unsigned s = 0; s < from->n_sources; s++) {
		assert(map[s] < (int)b->n_sources);
		f->map[s] = map[s];
		if (map[s] >= 0)
			b->counts[map[s]] += from->counts[s];
	}
	if (!from->patterns)
		return 0;
	return patterns_each(from->patterns, pattern_from, &(struct patterns_from){b, map});
}

void matcher_builder_keep(struct matcher_builder *b, unsigned source)
{
	assert(source < b->n_sources);
	b->keep[source / 64] |= 1ULL << source % 64;
}

static int pattern_count(void *arg, unsigned source, bool is_regexp, const char *text, size_t len)
{
	uint32_t *counts = arg;

	(void)is_regexp;
	(void)text;
	(void)len;
	counts[source]++;
	return 0;
}

int matcher_take_patterns(struct matcher *m, struct patterns_builder **b)
{
	int err = patterns_builder_finish(*b, &m->patterns);

	if (err)
		return err;
	*b = NULL;
	if (!m->patterns)
		return 0;
	m->pattern_counts = calloc(m->n_sources + 1u, sizeof m->pattern_counts[0]);
	if (!m->pattern_counts)
		return -ENOMEM;
	return patterns_each(m->patterns, pattern_count, m->pattern_counts);
}

static void take_depths(struct matcher_builder *b, struct matcher *m)
{
	for (unsigned i = 0; i < MATCHER_LABELS / 64; i++) {
		m->depths[i] = b->depths[i];
		for (size_t f = 0; f < b->n_froms; f++)
			m->depths[i] |= b->froms[f].m->depths[i];
	}
	m->deepest = matcher_deepest(m->depths);
}

int matcher_builder_finish(struct matcher_builder *b, struct matcher **ret)
{
	struct matcher *m = calloc(1, sizeof *m);
	int err;

	if (!m)
		return -ENOMEM;
	m->key = b->key;
	m->n_sources = b->n_sources;
	m->n_words = (b->n_sources + 63) / 64;
	err = matcher_pack(b, &m->table);
	if (!err && b->patterns)
		err = matcher_take_patterns(m, &b->patterns);
	/* A million names in text have some megabytes of names above them. */
	matcher_above_fini(&b->above);
	b->above = (struct matcher_above){.n = 0};
	if (!err && b->n_froms > 0)
		err = matcher_merge(b, &m->table);
	if (err) {
		matcher_free(m);
		return err;
	}
	take_depths(b, m);
	matcher_interner_take(&b->sets, &m->sets);
	m->counts = b->counts;
	b->counts = NULL;
	*ret = m;
	matcher_builder_free(b);
	return 0;
}

void matcher_builder_free(struct matcher_builder *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->n_froms; i++)
		free(b->froms[i].map);
	free(b->froms);
	free(b->added);
	matcher_above_fini(&b->above);
	matcher_interner_fini(&b->sets);
	patterns_builder_free(b->patterns);
	free(b->counts);
	free(b);
}
