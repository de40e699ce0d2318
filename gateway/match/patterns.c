#include "gateway/match/patterns_internal.h"

#include <stdlib.h>
#include <string.h>

#define SEEN_MAX 32

struct text {
	uint8_t b[PATTERNS_NAME_MAX];
	size_t len;
};

/* One look-up. */
struct search {
	const struct patterns *p;
	struct text text;
	struct matcher_hits *hits;
	/* States whose patterns were looked at: what occurs often in a name counts once. A name
	 * with more different ones costs time and nothing else. */
	uint32_t seen[SEEN_MAX];
	unsigned n_seen;
};

/* The bytes that would look like another name's dots, or like the end of a line, are no text. */
static void text_of(const struct dns_name *name, struct text *ret)
{
	size_t end = name->len > 1 ? name->len - 2u : 0; /* neither the first length nor the root */

	ret->len = end;
	for (size_t i = 0; i < end; i++) {
		uint8_t byte = name->b[i + 1];

		ret->b[i] = byte < 0x21 || byte == '.' ? 0xff : byte;
	}
	for (size_t at = 0; name->b[at]; at += name->b[at] + 1u)
		if (at > 0)
			ret->b[at - 1] = '.';
}

/* --- all of them --- */

static bool sources_all_hit(const struct search *s, uint32_t pattern)
{
	const struct patterns *p = s->p;

	for (uint32_t i = p->sources_at[pattern]; i < p->sources_at[pattern + 1]; i++)
		if (!matcher_hits_has(s->hits, p->sources[i]))
			return false;
	return true;
}

static void sources_hit(struct search *s, uint32_t pattern)
{
	const struct patterns *p = s->p;

	for (uint32_t i = p->sources_at[pattern]; i < p->sources_at[pattern + 1]; i++)
		s->hits->bits[p->sources[i] / 64] |= 1ULL << p->sources[i] % 64;
}

static void pattern_try(struct search *s, uint32_t pattern)
{
	const struct patterns *p = s->p;
	int found = 1;

	if (sources_all_hit(s, pattern))
		return;
	if (pattern >= p->n_keywords)
		found = regexp_find(p->code[pattern - p->n_keywords], s->text.b, s->text.len);
	if (found > 0)
		sources_hit(s, pattern);
	else if (found < 0)
		atomic_fetch_add_explicit(p->gave_up, 1, memory_order_relaxed);
}

static bool was_seen(struct search *s, uint32_t state)
{
	for (unsigned i = 0; i < s->n_seen; i++)
		if (s->seen[i] == state)
			return true;
	if (s->n_seen < SEEN_MAX)
		s->seen[s->n_seen++] = state;
	return false;
}

/* The texts that end here, from the longest to the shortest. */
static void texts_found(struct search *s, uint32_t state)
{
	const struct automaton *a = &s->p->automaton;

	for (uint32_t at = a->hit[state]; at; at = a->hit[a->fail[at]]) {
		const uint32_t *pattern = a->patterns + a->out[at];

		if (was_seen(s, at))
			return; /* and with it the shorter ones */
		while (!(*pattern & AUTOMATON_HIT))
			pattern_try(s, *pattern++);
		pattern_try(s, *pattern & ~AUTOMATON_HIT);
	}
}

void patterns_find(const struct patterns *p, const struct dns_name *name, struct matcher_hits *hits)
{
	struct search s;
	uint32_t state = 0;

	if (!p)
		return;
	s.p = p;
	s.hits = hits;
	s.n_seen = 0;
	text_of(name, &s.text);
	for (size_t i = 0; i < s.text.len && p->automaton.n_texts; i++) {
		state = automaton_next(&p->automaton, state, p->automaton.class_of[s.text.b[i]]);
		if (state & AUTOMATON_HIT) {
			state &= ~AUTOMATON_HIT;
			texts_found(&s, state);
		}
	}
	for (uint32_t i = 0; i < p->n_always; i++)
		pattern_try(&s, p->always[i]);
}

/* --- one alone --- */

bool patterns_keyword_holds(const char *text, size_t len, const struct dns_name *name)
{
	struct text t;
	uint8_t wanted[PATTERNS_NAME_MAX];

	text_of(name, &t);
	if (len == 0 || len > t.len)
		return false;
	for (size_t i = 0; i < len; i++)
		wanted[i] = text_byte_lower((uint8_t)text[i]);
	return memmem(t.b, t.len, wanted, len);
}

bool patterns_regexp_holds(const char *pattern, size_t len, const struct dns_name *name)
{
	struct regexp *r;
	struct text t;
	char why[128];
	bool found;

	if (regexp_compile(pattern, len, &r, why, sizeof why))
		return false;
	/* As in a look-up: machine code counts its steps in another way. */
	regexp_speed_up(r);
	text_of(name, &t);
	found = regexp_find(r, t.b, t.len) > 0;
	regexp_free(r);
	return found;
}

/* --- the whole --- */

int patterns_each(const struct patterns *p, patterns_visit *visit, void *arg)
{
	for (uint32_t i = 0; p && i < p->n; i++) {
		const char *text = p->text + p->text_at[i];
		size_t len = p->text_at[i + 1] - p->text_at[i];

		for (uint32_t at = p->sources_at[i]; at < p->sources_at[i + 1]; at++) {
			int r = visit(arg, p->sources[at], i >= p->n_keywords, text, len);

			if (r)
				return r;
		}
	}
	return 0;
}

void patterns_free(struct patterns *p)
{
	if (!p)
		return;
	for (uint32_t i = p->n_keywords; p->code && i < p->n; i++)
		regexp_free(p->code[i - p->n_keywords]);
	free(p->code);
	automaton_fini(&p->automaton);
	free(p->text);
	free(p->text_at);
	free(p->sources_at);
	free(p->sources);
	free(p->always);
	free(p->gave_up);
	free(p);
}

size_t patterns_size_bytes(const struct patterns *p)
{
	size_t size;

	if (!p)
		return 0;
	size = sizeof *p + p->text_at[p->n] + 2 * ((size_t)p->n + 1) * sizeof p->text_at[0] +
	       p->sources_at[p->n] * sizeof p->sources[0] + p->n_always * sizeof p->always[0] +
	       automaton_size_bytes(&p->automaton);
	for (uint32_t i = p->n_keywords; i < p->n; i++)
		size += sizeof p->code[0] + regexp_size_bytes(p->code[i - p->n_keywords]);
	return size;
}

size_t patterns_always(const struct patterns *p)
{
	return p ? p->n_always : 0;
}

uint64_t patterns_gave_up(const struct patterns *p)
{
	return p ? atomic_load_explicit(p->gave_up, memory_order_relaxed) : 0;
}
