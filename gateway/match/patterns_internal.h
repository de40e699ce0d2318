/* What the files of the patterns share: one automaton over texts, one expression, and how both lie
 * in what patterns.h looks up in. All of it is immutable once it is built. */
#ifndef TUNGATE_MATCH_PATTERNS_INTERNAL_H
#define TUNGATE_MATCH_PATTERNS_INTERNAL_H

#include <stdatomic.h>

#include "gateway/match/patterns.h"

#define PATTERNS_NAME_MAX 256 /* bytes of a name's text; 253 are needed */

/* --- expressions (patterns_regexp.c, patterns_literal.c) --- */

#define REGEXP_LITERAL_MAX 64

struct regexp;

/* -ENOMEM; -EINVAL and why, with the offset, in ret_why. */
int regexp_compile(
	const char *pattern, size_t len, struct regexp **ret, char *ret_why, size_t size);
/* Machine code for it where the system allows that; else it stays as it is. */
void regexp_speed_up(struct regexp *r);
/* 1: found; 0: not; -1: gave up, it would have cost too much. */
int regexp_find(const struct regexp *r, const uint8_t *text, size_t len);
size_t regexp_size_bytes(const struct regexp *r);
void regexp_free(struct regexp *r); /* NULL is fine */

/* A text, lower case, that is in each name in which the expression is found; returns its length, 0
 * if none is known for sure. pattern: one that compiles. */
size_t regexp_literal(const char *pattern, size_t len, uint8_t ret[REGEXP_LITERAL_MAX]);

/* --- the automaton (patterns_automaton.c) --- */

#define AUTOMATON_HIT 0x80000000u /* with a state: a text ends here */

/* A text to look for, and what it is of. */
struct automaton_text {
	const uint8_t *text;
	uint32_t len, pattern;
};

/* States are numbered breadth first, so the children of s are first[s] up to first[s + 1], and each
 * one's fail is a lower number. The first n_dense, which most steps are in, have a row that tells
 * the next state for each class of bytes, failures included; the others look among their children
 * and fall back to fail. */
struct automaton {
	uint32_t n_states, n_dense, n_classes, n_texts;
	uint8_t class_of[256]; /* 0: in no text */
	uint32_t *rows;	       /* n_dense of n_classes; AUTOMATON_HIT is in them */
	uint8_t *label;	       /* the class by which a state is reached */
	uint32_t *first, *fail;
	uint32_t *hit; /* the state itself or the next behind fail at which a text ends; 0: none */
	uint32_t *out; /* of a state at which texts end: the first in patterns */
	uint32_t *patterns; /* of those with one text, the last has AUTOMATON_HIT */
};

/* The byte may be in a name's text. */
static inline bool text_byte_possible(uint8_t byte)
{
	return byte > 0x20 && !(byte >= 'A' && byte <= 'Z');
}

/* ASCII alone, as names are compared (RFC 4343). */
static inline uint8_t text_byte_lower(uint8_t byte)
{
	return byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
}

/* texts: none empty, all bytes possible; put in order. -ENOMEM. */
int automaton_init(struct automaton *a, struct automaton_text *texts, size_t n);
void automaton_fini(struct automaton *a);
size_t automaton_size_bytes(const struct automaton *a);

/* The next state; with AUTOMATON_HIT if a text ends there. */
static inline uint32_t automaton_next(const struct automaton *a, uint32_t state, uint8_t class)
{
	while (state >= a->n_dense) {
		for (uint32_t c = a->first[state], end = a->first[state + 1]; c < end; c++)
			if (a->label[c] == class)
				return a->hit[c] ? c | AUTOMATON_HIT : c;
		state = a->fail[state];
	}
	return a->rows[(size_t)state * a->n_classes + class];
}

/* --- all of them --- */

struct patterns {
	uint32_t n_keywords, n; /* the expressions are behind the keywords, each kind in order */
	char *text;
	uint32_t *text_at;    /* of n + 1 */
	uint32_t *sources_at; /* of n + 1 */
	uint16_t *sources;
	struct regexp **code; /* of expression i, pattern n_keywords + i */
	uint32_t *always;     /* expressions without a text */
	uint32_t n_always;
	struct automaton automaton;
	_Atomic uint64_t *gave_up;
};

#endif
