#include "gateway/match/matcher_internal.h"

#include <errno.h>
#include <stdlib.h>

unsigned matcher_table_bits(size_t n, uint32_t n_sets)
{
	unsigned bits = 1;

	while (bits < MATCHER_BITS_MAX &&
		(n > (size_t)MATCHER_BUCKET_AIM << bits || n_sets > 1u << bits))
		bits++;
	return bits;
}

void matcher_table_free(struct matcher_table *t)
{
	if (t->file) {
		free(t->file);
		return;
	}
	free(t->starts);
	free(t->entries);
}

static bool is_kept(const struct matcher_builder *b, unsigned source)
{
	return b->keep[source / 64] >> source % 64 & 1;
}

/* Each once; counts them. */
static void drop_twins(struct matcher_builder *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++) {
		const struct matcher_added *one = &b->added[i];

		if (n > 0 && b->added[n - 1].hash == one->hash &&
			b->added[n - 1].element == one->element)
			continue;
		b->counts[matcher_element_source(one->element)]++;
		b->added[n++] = *one;
	}
	b->n = n;
}

/* Which of the names above others are held with all below them: first[i] is the first that was
 * added of name i. next[i] becomes the closest of these names above i. */
static void find_holders(struct matcher_builder *b, uint32_t *first)
{
	struct matcher_above *a = &b->above;

	memset(first, 0xff, a->n * sizeof *first);
	for (size_t i = 0, end; i < b->n; i = end) {
		bool holds_below = false;

		for (end = i; end < b->n && b->added[end].hash == b->added[i].hash; end++) {
			enum matcher_kind kind = matcher_element_kind(b->added[end].element);

			holds_below |= kind == MATCHER_SUFFIX || kind == MATCHER_BELOW;
		}
		if (holds_below) {
			uint32_t at = matcher_above_find(a, b->added[i].hash);

			if (at != MATCHER_NONE)
				first[at] = (uint32_t)i;
		}
	}
	/* A name was noted after all above it, so next[] of those is right already. */
	for (size_t i = 0; i < a->n; i++)
		if (a->next[i] != MATCHER_NONE && first[a->next[i]] == MATCHER_NONE)
			a->next[i] = a->next[a->next[i]];
}

/* Does the source hold all below the name whose first element is at `at`? */
static bool source_holds_below(const struct matcher_builder *b, size_t at, unsigned source)
{
	const uint64_t hash = b->added[at].hash;
	const uint16_t wanted = matcher_element(source, MATCHER_SUFFIX);
	size_t n = b->n - at < MATCHER_SET_MAX ? b->n - at : MATCHER_SET_MAX;

	while (n > 0) {
		const struct matcher_added *middle = &b->added[at + n / 2];

		if (middle->hash == hash && middle->element < wanted) {
			at += n / 2 + 1;
			n -= n / 2 + 1;
		} else {
			n /= 2;
		}
	}
	return at < b->n && b->added[at].hash == hash &&
	       (b->added[at].element == wanted ||
		       b->added[at].element == matcher_element(source, MATCHER_BELOW));
}

/* What a name above holds anyway, for the same source. */
static int drop_below(struct matcher_builder *b)
{
	uint32_t *first = malloc((b->above.n + 1) * sizeof *first);

	if (!first)
		return -ENOMEM;
	find_holders(b, first);
	for (size_t i = 0; i < b->n; i++) {
		struct matcher_added *one = &b->added[i];
		unsigned source = matcher_element_source(one->element);
		uint32_t above = one->above;

		if (is_kept(b, source))
			continue;
		if (above != MATCHER_NONE && first[above] == MATCHER_NONE)
			above = b->above.next[above];
		for (; above != MATCHER_NONE && !one->dropped; above = b->above.next[above])
			one->dropped = source_holds_below(b, first[above], source);
	}
	free(first);
	return 0;
}

/* The set of the elements of one name, added[i] up to added[end]. Of one source, MATCHER_SUFFIX
 * holds what the other kinds do, and MATCHER_BELOW what MATCHER_CHILD does; kinds ascend in that
 * order. */
static size_t elements_of(struct matcher_builder *b, size_t i, size_t end)
{
	size_t n = 0;

	for (; i < end; i++) {
		uint16_t element = b->added[i].element;
		unsigned source = matcher_element_source(element);

		if (b->added[i].dropped)
			continue;
		if (n > 0 && matcher_element_source(b->scratch[n - 1]) == source &&
			!is_kept(b, source)) {
			enum matcher_kind before = matcher_element_kind(b->scratch[n - 1]);
			enum matcher_kind kind = matcher_element_kind(element);

			if (before == MATCHER_SUFFIX ||
				(before == MATCHER_BELOW && kind == MATCHER_CHILD))
				continue;
			if (kind == MATCHER_SUFFIX)
				n--;
		}
		b->scratch[n++] = element;
	}
	return n;
}

/* Leaves one of each name, with the number of its set. */
static int join_elements(struct matcher_builder *b)
{
	size_t n = 0;

	for (size_t i = 0, end; i < b->n; i = end) {
		struct matcher_added one = b->added[i];
		uint32_t set;
		int err;

		for (end = i + 1; end < b->n && b->added[end].hash == one.hash;)
			end++;
		err = matcher_intern(&b->sets, b->scratch, elements_of(b, i, end), &set);
		if (err)
			return err;
		if (!set)
			continue;
		b->depths[one.labels / 64] |= 1ULL << one.labels % 64;
		one.above = set;
		b->added[n++] = one;
	}
	b->n = n;
	return 0;
}

int matcher_pack(struct matcher_builder *b, struct matcher_table *ret)
{
	struct matcher_writer w = {.t = ret};
	void *fit;
	int err;

	matcher_sort(b->added, b->n);
	drop_twins(b);
	err = drop_below(b);
	if (!err)
		err = join_elements(b);
	if (err)
		return err;
	ret->bits = matcher_table_bits(b->n, b->sets.sets.n);
	ret->starts = malloc(((1u << ret->bits) + 1u) * sizeof ret->starts[0]);
	if (!ret->starts)
		return -ENOMEM;
	/* In place: an entry is half as large as what it is made of. */
	ret->n = 0;
	ret->entries = (uint64_t *)(void *)b->added;
	for (size_t i = 0; i < b->n; i++) {
		struct matcher_added one = b->added[i];

		matcher_write(&w, one.hash, one.above);
	}
	matcher_write_end(&w);
	b->added = NULL;
	b->n = b->room = 0;
	/* A realloc that cannot shrink leaves the larger block: as good. */
	fit = realloc(ret->entries, (ret->n + 1u) * sizeof ret->entries[0]);
	if (fit)
		ret->entries = fit;
	return 0;
}
