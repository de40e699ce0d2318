/* Texts are sorted, so a state is a range of those that begin alike, and one pass over the ranges
 * gives the states breadth first. */
#include "gateway/match/patterns_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DENSE_BYTES_A_STATE 32u
#define DENSE_BYTES_MIN	    (128u << 10)

struct range {
	uint32_t from, to, depth;
};

static int text_compare(const void *a, const void *b)
{
	const struct automaton_text *p = a, *q = b;
	int order = memcmp(p->text, q->text, p->len < q->len ? p->len : q->len);

	if (order)
		return order;
	if (p->len != q->len)
		return p->len < q->len ? -1 : 1;
	return p->pattern < q->pattern ? -1 : p->pattern > q->pattern;
}

static size_t states_count(const struct automaton_text *texts, size_t n)
{
	size_t states = 1;

	for (size_t i = 0; i < n; i++) {
		uint32_t same = 0;

		while (i > 0 && same < texts[i - 1].len && same < texts[i].len &&
			texts[i - 1].text[same] == texts[i].text[same])
			same++;
		states += texts[i].len - same;
	}
	return states;
}

static void classes_init(struct automaton *a, const struct automaton_text *texts, size_t n)
{
	bool seen[256] = {false};

	for (size_t i = 0; i < n; i++)
		for (uint32_t at = 0; at < texts[i].len; at++)
			seen[texts[i].text[at]] = true;
	a->n_classes = 1;
	for (unsigned byte = 0; byte < 256; byte++)
		if (seen[byte])
			a->class_of[byte] = (uint8_t)a->n_classes++;
}

static int arrays_new(struct automaton *a, size_t n_states, size_t n_texts)
{
	size_t dense = n_states * DENSE_BYTES_A_STATE;

	if (dense < DENSE_BYTES_MIN)
		dense = DENSE_BYTES_MIN;
	dense /= a->n_classes * sizeof a->rows[0];
	if (dense > n_states)
		dense = n_states;
	a->n_states = (uint32_t)n_states;
	a->n_dense = (uint32_t)dense;
	a->n_texts = (uint32_t)n_texts;
	a->rows = calloc(dense * a->n_classes, sizeof a->rows[0]);
	a->label = calloc(n_states, sizeof a->label[0]);
	a->first = calloc(n_states + 1, sizeof a->first[0]);
	a->fail = calloc(n_states, sizeof a->fail[0]);
	a->hit = calloc(n_states, sizeof a->hit[0]);
	a->out = calloc(n_states, sizeof a->out[0]);
	a->patterns = calloc(n_texts + 1, sizeof a->patterns[0]);
	if (!a->rows || !a->label || !a->first || !a->fail || !a->hit || !a->out || !a->patterns)
		return -ENOMEM;
	return 0;
}

/* States, their children and the texts that end at them. */
static int trie_build(struct automaton *a, const struct automaton_text *texts, size_t n)
{
	struct range *ranges = malloc(a->n_states * sizeof *ranges);
	uint32_t made = 1;

	if (!ranges)
		return -ENOMEM;
	ranges[0] = (struct range){0, (uint32_t)n, 0};
	for (uint32_t s = 0; s < a->n_states; s++) {
		struct range r = ranges[s];
		uint32_t i = r.from;

		a->first[s] = made;
		while (i < r.to && texts[i].len == r.depth) {
			a->patterns[i] = texts[i].pattern;
			i++;
		}
		if (i > r.from) {
			a->out[s] = r.from;
			a->hit[s] = s;
			a->patterns[i - 1] |= AUTOMATON_HIT;
		}
		while (i < r.to) {
			uint8_t byte = texts[i].text[r.depth];
			uint32_t from = i;

			while (i < r.to && texts[i].text[r.depth] == byte)
				i++;
			a->label[made] = a->class_of[byte];
			ranges[made++] = (struct range){from, i, r.depth + 1};
		}
	}
	a->first[a->n_states] = made;
	free(ranges);
	return 0;
}

/* The row of s: that of its fail, where its children are not. */
static void row_build(struct automaton *a, uint32_t s)
{
	uint32_t *row = a->rows + (size_t)s * a->n_classes;

	if (s > 0)
		memcpy(row, a->rows + (size_t)a->fail[s] * a->n_classes,
			a->n_classes * sizeof *row);
	for (uint32_t c = a->first[s]; c < a->first[s + 1]; c++)
		row[a->label[c]] = c;
}

static void links_build(struct automaton *a)
{
	for (uint32_t s = 0; s < a->n_states; s++) {
		if (s < a->n_dense)
			row_build(a, s);
		for (uint32_t c = a->first[s]; c < a->first[s + 1]; c++) {
			if (s > 0)
				a->fail[c] =
					automaton_next(a, a->fail[s], a->label[c]) & ~AUTOMATON_HIT;
			if (!a->hit[c])
				a->hit[c] = a->hit[a->fail[c]];
		}
	}
	for (size_t i = 0; i < (size_t)a->n_dense * a->n_classes; i++)
		if (a->hit[a->rows[i]])
			a->rows[i] |= AUTOMATON_HIT;
}

int automaton_init(struct automaton *a, struct automaton_text *texts, size_t n)
{
	int err;

	*a = (struct automaton){0};
	if (n > 1)
		qsort(texts, n, sizeof texts[0], text_compare);
	classes_init(a, texts, n);
	err = arrays_new(a, states_count(texts, n), n);
	if (!err)
		err = trie_build(a, texts, n);
	if (err) {
		automaton_fini(a);
		return err;
	}
	links_build(a);
	return 0;
}

void automaton_fini(struct automaton *a)
{
	free(a->rows);
	free(a->label);
	free(a->first);
	free(a->fail);
	free(a->hit);
	free(a->out);
	free(a->patterns);
	*a = (struct automaton){0};
}

size_t automaton_size_bytes(const struct automaton *a)
{
	size_t a_state = sizeof a->label[0] + sizeof a->first[0] + sizeof a->fail[0] +
			 sizeof a->hit[0] + sizeof a->out[0];

	return (size_t)a->n_dense * a->n_classes * sizeof a->rows[0] + a->n_states * a_state +
	       a->n_texts * sizeof a->patterns[0];
}
