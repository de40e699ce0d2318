/* Which text must be in a name for an expression to be found in it.
 *
 * Only what is certain counts: a run of plain bytes in the concatenation at the top, or in a group
 * without branches, none of them under a quantifier that allows none of it. What this reader does
 * not know for sure (inline flags, verbs, assertions, references, \Q, \x…) ends it without a text:
 * then the expression is tried for each name, which is slow and never wrong. */
#include "gateway/match/patterns_internal.h"

#include <string.h>

#define GROUPS_MAX 16 /* inside each other */

struct literal {
	uint8_t text[REGEXP_LITERAL_MAX];
	size_t len;
};

struct reader {
	const uint8_t *p;
	size_t at, len;
	bool odd; /* something that is not understood: no text */
};

enum atom {
	ATOM_BYTE,
	ATOM_GROUP,
	ATOM_OTHER, /* a class, a place: anything or nothing */
	ATOM_BRANCH,
};

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool is_word(uint8_t c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int peek(const struct reader *r)
{
	return r->at < r->len ? r->p[r->at] : -1;
}

static bool skip(struct reader *r, uint8_t c)
{
	bool is = peek(r) == c;

	r->at += is;
	return is;
}

static bool is_one_of(uint8_t c, const char *set)
{
	return c && strchr(set, c);
}

/* What most names have tells little. */
static size_t worth(const struct literal *l)
{
	static const char *const common[] = {
		".", ".com", ".net", ".org", ".cn", ".xyz", "com", "www."};

	for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
		if (l->len == strlen(common[i]) && memcmp(l->text, common[i], l->len) == 0)
			return i > 0;
	return l->len;
}

static void offer(struct literal *best, const struct literal *other)
{
	if (worth(other) > worth(best))
		*best = *other;
}

static void run_end(struct literal *run, struct literal *best)
{
	offer(best, run);
	run->len = 0;
}

static void run_add(struct literal *run, struct literal *best, uint8_t byte)
{
	if (run->len == sizeof run->text)
		run_end(run, best);
	run->text[run->len++] = text_byte_lower(byte);
}

/* Behind "\". */
static enum atom escape_read(struct reader *r, uint8_t *ret_byte)
{
	if (r->at == r->len) {
		r->odd = true;
		return ATOM_OTHER;
	}
	*ret_byte = r->p[r->at++];
	if (!is_word(*ret_byte))
		return ATOM_BYTE;
	r->odd = !is_one_of(*ret_byte, "dDwWsShHvVbBAzZ");
	return ATOM_OTHER;
}

/* Behind "[". A class of one byte is that byte. */
static enum atom class_read(struct reader *r, uint8_t *ret_byte)
{
	bool is_not = skip(r, '^'), single = true;
	size_t n = 0;

	for (; r->at < r->len && !r->odd; n++) {
		uint8_t c = r->p[r->at++];

		if (c == ']' && n > 0)
			return n == 1 && single && !is_not ? ATOM_BYTE : ATOM_OTHER;
		*ret_byte = c;
		if (c == '\\') {
			single &= escape_read(r, ret_byte) == ATOM_BYTE;
			/* In a class these are something else, or nothing that changes its end. */
			r->odd &= !is_one_of(*ret_byte, "nrtfae");
		} else if (c == '[') {
			int next = peek(r);

			r->odd |= next == ':' || next == '.' || next == '=';
		}
	}
	r->odd = true;
	return ATOM_OTHER;
}

/* "{" N ["," [M]] "}"; anything else there is odd. Is N zero? */
static bool count_is_zero(struct reader *r)
{
	bool zero = true;

	if (!is_digit((uint8_t)(peek(r) < 0 ? 0 : peek(r))))
		r->odd = true;
	for (; r->at < r->len && is_digit(r->p[r->at]); r->at++)
		zero &= r->p[r->at] == '0';
	if (skip(r, ','))
		while (r->at < r->len && is_digit(r->p[r->at]))
			r->at++;
	r->odd |= !skip(r, '}');
	return zero;
}

/* Quantifiers behind an atom: is there one, and does one allow none of it? */
static bool quantifiers_read(struct reader *r, bool *ret_optional)
{
	bool any = false;

	*ret_optional = false;
	for (;; any = true) {
		if (skip(r, '*') || skip(r, '?'))
			*ret_optional = true;
		else if (skip(r, '{'))
			*ret_optional |= count_is_zero(r);
		else if (!skip(r, '+'))
			return any;
		/* Lazy or possessive, which changes how often it is tried and not what it allows.
		 */
		if (peek(r) == '?' || peek(r) == '+')
			r->at++;
	}
}

static void branches_read(struct reader *r, unsigned depth, struct literal *ret);

/* Behind "(". */
static void group_read(struct reader *r, unsigned depth, struct literal *ret)
{
	if (peek(r) == '*' || depth == GROUPS_MAX) {
		r->odd = true;
		return;
	}
	if (skip(r, '?') && !skip(r, ':')) {
		r->odd = true;
		return;
	}
	branches_read(r, depth + 1, ret);
	r->odd |= !skip(r, ')');
}

static enum atom atom_read(
	struct reader *r, unsigned depth, uint8_t *ret_byte, struct literal *ret_inner)
{
	uint8_t c = r->p[r->at++];

	*ret_byte = c;
	switch (c) {
	case '|':
		return ATOM_BRANCH;
	case '\\':
		return escape_read(r, ret_byte);
	case '[':
		return class_read(r, ret_byte);
	case '(':
		group_read(r, depth, ret_inner);
		return ATOM_GROUP;
	case '.':
	case '^':
	case '$':
		return ATOM_OTHER;
	case '*':
	case '+':
	case '?':
	case '{':
		r->odd = true; /* of nothing */
		return ATOM_OTHER;
	default:
		return ATOM_BYTE;
	}
}

/* Up to the end or the ")" of the group. */
static void branches_read(struct reader *r, unsigned depth, struct literal *ret)
{
	struct literal run = {.len = 0};
	bool branches = false;

	while (r->at < r->len && peek(r) != ')' && !r->odd) {
		struct literal inner = {.len = 0};
		bool optional, quantified;
		uint8_t byte;
		enum atom atom = atom_read(r, depth, &byte, &inner);

		if (atom == ATOM_BRANCH) {
			branches = true;
			continue;
		}
		quantified = quantifiers_read(r, &optional);
		if (atom == ATOM_BYTE && !optional)
			run_add(&run, ret, byte);
		if (atom != ATOM_BYTE || quantified)
			run_end(&run, ret);
		if (!optional)
			offer(ret, &inner);
	}
	run_end(&run, ret);
	if (branches)
		ret->len = 0;
}

size_t regexp_literal(const char *pattern, size_t len, uint8_t ret[REGEXP_LITERAL_MAX])
{
	struct reader r = {.p = (const uint8_t *)pattern, .len = len};
	struct literal best = {.len = 0};

	branches_read(&r, 0, &best);
	if (r.odd || r.at != r.len || worth(&best) == 0)
		return 0;
	memcpy(ret, best.text, best.len);
	return best.len;
}
