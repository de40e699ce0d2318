#include "gateway/base/grow.h"
#include "gateway/match/matcher_internal.h"
#include "gateway/match/patterns_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define USES_MAX	     (1u << 20)	 /* of a pattern by a source, all together */
#define CODE_BYTES_MAX	     (64u << 20) /* of all expressions, compiled */
#define MACHINE_CODE_MAX     4096u	 /* expressions that get it: some 4 KB each */
#define USE(pattern, source) ((uint64_t)(pattern) << 16 | (source))

struct added {
	uint32_t text, len;
	struct regexp *code; /* NULL: a keyword */
};

struct patterns_builder {
	struct added *added;
	size_t n, room, n_keywords, n_regexps;
	char *text;
	size_t text_size, text_room;
	uint64_t *uses; /* USE(index in added, source); may hold one twice */
	size_t n_uses, uses_room;
	uint32_t *table; /* open addressing: index in added + 1, 0: empty */
	size_t table_room, code_bytes;
};

int patterns_builder_new(struct patterns_builder **ret)
{
	struct patterns_builder *b = calloc(1, sizeof *b);

	if (!b)
		return -ENOMEM;
	*ret = b;
	return 0;
}

void patterns_builder_free(struct patterns_builder *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->n; i++)
		regexp_free(b->added[i].code);
	free(b->added);
	free(b->text);
	free(b->uses);
	free(b->table);
	free(b);
}

/* --- adding --- */

static uint64_t text_hash(bool is_regexp, const char *text, size_t len)
{
	uint64_t h = 0x2545f4914f6cdd1dULL + is_regexp;

	for (size_t i = 0; i < len; i++)
		h = matcher_mix(h ^ (uint8_t)text[i], 0x9e3779b97f4a7c15ULL);
	return h;
}

/* The place in the table of this text, or the empty one for it. */
static size_t table_place(
	const struct patterns_builder *b, bool is_regexp, const char *text, size_t len)
{
	size_t mask = b->table_room - 1, at = text_hash(is_regexp, text, len) & mask;

	for (; b->table[at]; at = (at + 1) & mask) {
		const struct added *a = &b->added[b->table[at] - 1];

		if (a->len == len && (a->code != NULL) == is_regexp &&
			memcmp(b->text + a->text, text, len) == 0)
			break;
	}
	return at;
}

static int table_grow(struct patterns_builder *b)
{
	size_t room = b->table_room ? b->table_room * 2 : 256;
	uint32_t *table = calloc(room, sizeof *table);

	if (!table)
		return -ENOMEM;
	free(b->table);
	b->table = table;
	b->table_room = room;
	for (size_t i = 0; i < b->n; i++) {
		const struct added *a = &b->added[i];

		table[table_place(b, a->code, b->text + a->text, a->len)] = (uint32_t)i + 1;
	}
	return 0;
}

static int number_compare(const void *a, const void *b)
{
	uint64_t p = *(const uint64_t *)a, q = *(const uint64_t *)b;

	return p < q ? -1 : p > q;
}

static void uses_unique(struct patterns_builder *b)
{
	size_t kept = 0;

	if (b->n_uses > 1)
		qsort(b->uses, b->n_uses, sizeof b->uses[0], number_compare);
	for (size_t i = 0; i < b->n_uses; i++)
		if (kept == 0 || b->uses[kept - 1] != b->uses[i])
			b->uses[kept++] = b->uses[i];
	b->n_uses = kept;
}

static int use_add(struct patterns_builder *b, uint32_t pattern, unsigned source)
{
	int err;

	assert(source < MATCHER_SOURCES_MAX);
	if (b->n_uses == b->uses_room) {
		uses_unique(b);
		if (b->n_uses >= USES_MAX)
			return -ENOSPC;
		/* Half of it at least is new each time, so sorting stays cheap. */
		err = room_grow((void **)&b->uses, &b->uses_room, b->n_uses, b->n_uses + 1,
			sizeof b->uses[0]);
		if (err)
			return err;
	}
	b->uses[b->n_uses++] = USE(pattern, source);
	return 0;
}

/* Keeps a new one; code becomes the builder's on success. */
static int pattern_keep(struct patterns_builder *b, const char *text, size_t len,
	struct regexp *code, uint32_t *ret)
{
	size_t *n = code ? &b->n_regexps : &b->n_keywords;
	int err = 0;

	if (*n == PATTERNS_MAX || b->text_size + len > PATTERNS_TEXT_MAX)
		return -ENOSPC;
	if (2 * b->n >= b->table_room)
		err = table_grow(b);
	if (!err)
		err = room_grow((void **)&b->added, &b->room, b->n, 1, sizeof b->added[0]);
	if (!err)
		err = room_grow((void **)&b->text, &b->text_room, b->text_size, len, 1);
	if (err)
		return err;
	memcpy(b->text + b->text_size, text, len);
	b->added[b->n] = (struct added){(uint32_t)b->text_size, (uint32_t)len, code};
	b->table[table_place(b, code, text, len)] = (uint32_t)++b->n;
	b->text_size += len;
	(*n)++;
	*ret = (uint32_t)b->n - 1;
	return 0;
}

/* Is it there already? */
static bool pattern_known(const struct patterns_builder *b, bool is_regexp, const char *text,
	size_t len, uint32_t *ret)
{
	size_t at;

	if (!b->table_room)
		return false;
	at = table_place(b, is_regexp, text, len);
	if (!b->table[at])
		return false;
	*ret = b->table[at] - 1;
	return true;
}

int patterns_builder_add_keyword(
	struct patterns_builder *b, unsigned source, const char *text, size_t len)
{
	char lower[PATTERNS_NAME_MAX];
	uint32_t pattern;

	if (len == 0)
		return -EINVAL;
	/* Longer than any name: it counts, and is never found. */
	if (len > sizeof lower)
		len = sizeof lower;
	for (size_t i = 0; i < len; i++)
		lower[i] = (char)text_byte_lower((uint8_t)text[i]);
	if (!pattern_known(b, false, lower, len, &pattern)) {
		int err = pattern_keep(b, lower, len, NULL, &pattern);

		if (err)
			return err;
	}
	return use_add(b, pattern, source);
}

int patterns_builder_add_regexp(struct patterns_builder *b, unsigned source, const char *pattern,
	size_t len, char *ret_why, size_t size)
{
	struct regexp *code;
	uint32_t known;
	int err;

	if (pattern_known(b, true, pattern, len, &known))
		return use_add(b, known, source);
	if (b->n_regexps == PATTERNS_MAX || b->code_bytes > CODE_BYTES_MAX)
		return -ENOSPC;
	err = regexp_compile(pattern, len, &code, ret_why, size);
	if (err)
		return err;
	err = pattern_keep(b, pattern, len, code, &known);
	if (err) {
		regexp_free(code);
		return err;
	}
	b->code_bytes += regexp_size_bytes(code);
	return use_add(b, known, source);
}

/* --- packing --- */

struct ordered {
	const char *text;
	struct added *added;
};

static int ordered_compare(const void *a, const void *b)
{
	const struct ordered *p = a, *q = b;
	uint32_t p_len = p->added->len, q_len = q->added->len;
	int order = (p->added->code != NULL) - (q->added->code != NULL);

	if (!order)
		order = memcmp(p->text, q->text, p_len < q_len ? p_len : q_len);
	return order ? order : p_len < q_len ? -1 : p_len > q_len;
}

static int arrays_new(struct patterns *p, const struct patterns_builder *b)
{
	p->n = (uint32_t)b->n;
	p->n_keywords = (uint32_t)b->n_keywords;
	p->text = malloc(b->text_size);
	p->text_at = calloc(b->n + 1, sizeof p->text_at[0]);
	p->sources_at = calloc(b->n + 1, sizeof p->sources_at[0]);
	p->sources = calloc(b->n_uses + 1, sizeof p->sources[0]);
	p->code = calloc(b->n_regexps + 1, sizeof p->code[0]);
	p->always = calloc(b->n_regexps + 1, sizeof p->always[0]);
	p->gave_up = calloc(1, sizeof *p->gave_up);
	if (!p->text || !p->text_at || !p->sources_at || !p->sources || !p->code || !p->always ||
		!p->gave_up)
		return -ENOMEM;
	return 0;
}

/* Copies texts and sources in their order. The uses are sorted by the numbers of the patterns as
 * they were added. */
static int patterns_fill(struct patterns *p, const struct patterns_builder *b)
{
	struct ordered *order = calloc(b->n, sizeof *order);
	uint32_t *use_at = calloc(b->n + 1, sizeof *use_at);
	uint32_t n_text = 0, n_sources = 0;
	int err = order && use_at ? 0 : -ENOMEM;

	if (err)
		goto out;
	for (size_t i = 0; i < b->n_uses; i++)
		use_at[(b->uses[i] >> 16) + 1] = (uint32_t)i + 1;
	for (size_t i = 0; i < b->n; i++) /* for one there was no room for a use any more */
		if (use_at[i + 1] < use_at[i])
			use_at[i + 1] = use_at[i];
	for (size_t i = 0; i < b->n; i++)
		order[i] = (struct ordered){b->text + b->added[i].text, &b->added[i]};
	qsort(order, b->n, sizeof order[0], ordered_compare);
	for (uint32_t i = 0; i < p->n; i++) {
		const struct added *a = order[i].added;
		size_t from = (size_t)(a - b->added);

		p->text_at[i] = n_text;
		memcpy(p->text + n_text, order[i].text, a->len);
		n_text += a->len;
		p->sources_at[i] = n_sources;
		for (uint32_t at = use_at[from]; at < use_at[from + 1]; at++)
			p->sources[n_sources++] = (uint16_t)b->uses[at];
		if (a->code)
			p->code[i - p->n_keywords] = a->code;
	}
	p->text_at[p->n] = n_text;
	p->sources_at[p->n] = n_sources;
out:
	free(order);
	free(use_at);
	return err;
}

static bool text_possible(const uint8_t *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!text_byte_possible(text[i]))
			return false;
	return len < PATTERNS_NAME_MAX;
}

/* A text that no name has is left out: its pattern is never found. */
static int automaton_fill(struct patterns *p)
{
	uint8_t(*literals)[REGEXP_LITERAL_MAX] = calloc(p->n - p->n_keywords + 1, sizeof *literals);
	struct automaton_text *texts = calloc(p->n, sizeof *texts);
	int err = literals && texts ? 0 : -ENOMEM;
	size_t n = 0;

	for (uint32_t i = 0; i < p->n && !err; i++) {
		const uint8_t *text = (const uint8_t *)p->text + p->text_at[i];
		size_t len = p->text_at[i + 1] - p->text_at[i];

		if (i >= p->n_keywords) {
			uint8_t *literal = literals[i - p->n_keywords];

			len = regexp_literal((const char *)text, len, literal);
			text = literal;
		}
		if (len == 0)
			p->always[p->n_always++] = i;
		else if (text_possible(text, len))
			texts[n++] = (struct automaton_text){text, (uint32_t)len, i};
	}
	if (!err)
		err = automaton_init(&p->automaton, texts, n);
	free(texts);
	free(literals);
	return err;
}

int patterns_builder_finish(struct patterns_builder *b, struct patterns **ret)
{
	struct patterns *p;
	int err;

	if (b->n == 0) {
		patterns_builder_free(b);
		*ret = NULL;
		return 0;
	}
	p = calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	uses_unique(b);
	err = arrays_new(p, b);
	if (!err)
		err = patterns_fill(p, b);
	if (!err)
		err = automaton_fill(p);
	if (err) {
		/* The code is still the builder's. */
		free(p->code);
		p->code = NULL;
		patterns_free(p);
		return err;
	}
	for (uint32_t i = 0; i < p->n - p->n_keywords && i < MACHINE_CODE_MAX; i++)
		regexp_speed_up(p->code[i]);
	for (size_t i = 0; i < b->n; i++)
		b->added[i].code = NULL;
	patterns_builder_free(b);
	*ret = p;
	return 0;
}
