/* AdBlock's rules, as AdGuard's and AutoProxy's lists have them: what of them is about a host.
 *
 *   ||x^  ||x  ||x/     x and all below it
 *   ||x                 without a dot in x: every name with a label that begins with x
 *   ||x.                every name whose labels from the second-last on are x and one more
 *   x  x^  .x           x and all below it; a word without a dot: every name that contains it
 *   |x^  |x|  |http://x  http://x  ://x  //x    x alone
 *   *.x                 and with any of these before it: all below x
 *   wildcards inside    the expression that it means: '*' takes dots too. Behind '||' and '|' the
 *                       name ends where the rule does; without them the rule is found anywhere
 *   *x*                 every name that contains x
 *   /expression/        over names; one over URLs only if it looks at nothing but the host
 *   ADDRESS             in any of these: the address
 *   @@                  the exception; $important: exceptions without it give way
 *
 * Everything else (paths, ports, other modifiers, rules for parts of a page) has no use here. So
 * has the exception of an address: address lists have none. Lines of a hosts file, which AdGuard's
 * lists may have, are taken as such. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gateway/lists/list_idn.h"
#include "gateway/lists/list_pattern.h"
#include "gateway/lists/lists_internal.h"

#define RULE_MAX 1024 /* bytes of a host with its wildcards */

enum start { START_ANYWHERE, START_LABEL, START_DOT, START_NAME };

struct rule {
	enum list_part part;
	enum start start;
	bool scheme;   /* the host begins behind "http://" */
	bool ends;     /* the host ends where the rule does */
	bool encoded;  /* it was not ASCII */
	bool open;     /* '*' at the end */
	const char *b; /* the host */
	size_t len;
};

static bool begins(const char *text, size_t len, const char *with)
{
	size_t n = strlen(with);

	return len >= n && memcmp(text, with, n) == 0;
}

static bool cut_front(struct rule *u, const char *what)
{
	if (!begins(u->b, u->len, what))
		return false;
	u->b += strlen(what);
	u->len -= strlen(what);
	return true;
}

static bool cut_back(struct rule *u, const char *what)
{
	size_t n = strlen(what);

	if (u->len < n || memcmp(u->b + u->len - n, what, n) != 0)
		return false;
	u->len -= n;
	return true;
}

/* Rules for parts of a page: "x##.advert" and its kin. */
static bool is_cosmetic(const char *line, size_t len)
{
	static const char *const marks[] = {
		"##", "#@#", "#?#", "#@?#", "#$#", "#@$#", "#$?#", "#%#", "#@%#", "$$", "$@$"};

	if (!memchr(line, '#', len) && !memchr(line, '$', len))
		return false;
	for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
		const char *at = memmem(line, len, marks[i], strlen(marks[i]));
		size_t behind = at ? (size_t)(at - line) + strlen(marks[i]) : 0;

		/* "## Title" is a comment. */
		if (at && behind < len && !list_is_blank(line[behind]) && line[behind] != '#')
			return true;
	}
	return false;
}

/* "0.0.0.0 x", "fe80::1%lo0 x". */
static bool is_hosts_line(const char *line, size_t len)
{
	struct ip_prefix prefix;
	const char *scope;
	size_t n = 0;

	while (n < len && !list_is_blank(line[n]))
		n++;
	if (n == len || memchr(line, '/', n))
		return false;
	scope = memchr(line, '%', n);
	return list_prefix_parse(line, scope ? (size_t)(scope - line) : n, &prefix) == 0;
}

/* The modifiers behind '$': false if the rule needs another than `important`. */
static bool modifiers_read(struct rule *u, const char *text, size_t len)
{
	const char *end = text + len;

	while (text < end) {
		const char *comma = memchr(text, ',', (size_t)(end - text));
		size_t n = (size_t)((comma ? comma : end) - text);

		if (n > 0 && !list_word_is(text, n, "important"))
			return false;
		if (n > 0)
			u->part = u->part == LIST_EXCEPT || u->part == LIST_EXCEPT_IMPORTANT
					  ? LIST_EXCEPT_IMPORTANT
					  : LIST_HOLDS_IMPORTANT;
		text += comma ? n + 1 : n;
	}
	return true;
}

/* --- expressions --- */

/* "/.../" or "/.../$modifiers"; gfwlist has one that lacks its last slash: what begins with "/^"
 * can be nothing else. */
static bool is_expression(const struct rule *u, size_t *ret_len, size_t *ret_modifiers)
{
	const char *end = u->b + u->len, *last = memrchr(u->b, '/', u->len);
	size_t tail = (size_t)(end - last) - 1;

	*ret_modifiers = 0;
	if (last > u->b && (tail == 0 || last[1] == '$')) {
		*ret_len = (size_t)(last - u->b) - 1;
		*ret_modifiers = tail > 0 ? tail - 1 : 0;
		return *ret_len > 0;
	}
	*ret_len = u->len - 1;
	return u->len > 2 && u->b[1] == '^' && end[-1] == '$';
}

static int expression_line(struct list_reader *r, struct rule *u)
{
	struct list_pattern p;
	size_t len, modifiers;

	if (!is_expression(u, &len, &modifiers) ||
		!modifiers_read(u, u->b + u->len - modifiers, modifiers) ||
		!list_pattern_from_url(&p, u->b + 1, len)) {
		list_unused(r);
		return 0;
	}
	return list_emit_regexp(r, u->part, p.b, p.len);
}

/* --- hosts --- */

static void start_read(struct rule *u)
{
	static const char *const schemes[] = {
		"http://", "https://", "http*://", "*://", "://", "//"};

	if (cut_front(u, "||")) {
		u->start = START_LABEL;
		return;
	}
	u->start = cut_front(u, "|") ? START_NAME : START_ANYWHERE;
	for (size_t i = 0; i < sizeof schemes / sizeof schemes[0] && !u->scheme; i++)
		u->scheme = cut_front(u, schemes[i]);
	if (u->scheme)
		u->start = START_NAME;
	else if (u->start == START_ANYWHERE && u->len > 1 && cut_front(u, "."))
		u->start = START_DOT;
}

/* "^" is a separator or the end; "/" is the path that every URL has. What may follow them without
 * making the rule one about paths is '*' and the end. */
static void end_read(struct rule *u)
{
	u->ends = cut_back(u, "|");
	if (cut_back(u, "^*") || cut_back(u, "/*") || cut_back(u, "^") || cut_back(u, "/"))
		u->ends = true;
	while (!u->ends && cut_back(u, "*"))
		u->open = true;
}

static bool is_host(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    c == '-' || c == '_' || c == '.' || c == '*' || c >= 0x80))
			return false;
	}
	return len > 0;
}

/* Nothing but what addresses are made of, and not a whole one. */
static bool is_part_of_address(const struct rule *u)
{
	for (size_t i = 0; i < u->len; i++)
		if ((u->b[i] < '0' || u->b[i] > '9') && u->b[i] != '.' && u->b[i] != '*')
			return false;
	return u->len > 0 && (u->open || memchr(u->b, '*', u->len) || u->b[u->len - 1] == '.');
}

/* "10.1." and "10.1.*": the first bytes of an address. */
static bool address_front_read(const struct rule *u, struct ip_prefix *ret)
{
	static const char zeros[] = "0.0.0";
	char whole[IP_TEXT_MAX];
	size_t dots = 0;
	int n;

	for (size_t i = 0; i < u->len; i++)
		dots += u->b[i] == '.';
	if (u->start == START_ANYWHERE || u->ends || dots == 0 || dots > 3 || u->len > 12 ||
		u->b[u->len - 1] != '.')
		return false;
	n = snprintf(whole, sizeof whole, "%.*s%s/%zu", (int)u->len, u->b, &zeros[(dots - 1) * 2],
		dots * 8);
	return list_prefix_parse(whole, (size_t)n, ret) == 0;
}

static bool address_read(const struct rule *u, struct ip_prefix *ret)
{
	const char *text = u->b;
	size_t len = u->len;

	if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	return !memchr(text, '/', len) && list_prefix_parse(text, len, ret) == 0;
}

/* A rule that needs an expression, between front and back. A part of a label that was encoded is
 * not a part of its code. */
static int pattern_line(
	struct list_reader *r, const struct rule *u, const char *front, const char *back)
{
	struct list_pattern p;

	if (u->encoded) {
		list_unused(r);
		return 0;
	}
	list_pattern_init(&p);
	list_pattern_add(&p, front);
	list_pattern_add_text(&p, u->b, u->len, ".*", NULL);
	list_pattern_add(&p, back);
	if (p.full) {
		list_bad_at(r, u->b, "longer than any name");
		return 0;
	}
	return list_emit_regexp(r, u->part, p.b, p.len);
}

static int keyword_line(struct list_reader *r, const struct rule *u)
{
	if (!u->encoded)
		return list_emit_keyword(r, u->part, u->b, u->len);
	list_unused(r);
	return 0;
}

/* "||x.test*word": a host does not end in a word; this one stands in the path. */
static bool is_about_path(const struct rule *u)
{
	const char *star = memrchr(u->b, '*', u->len), *end = u->b + u->len;

	return star && !u->ends && !u->open && u->start != START_ANYWHERE && star > u->b &&
	       memchr(u->b, '.', (size_t)(star - u->b)) && !memchr(star, '.', (size_t)(end - star));
}

static int wildcard_line(struct list_reader *r, struct rule *u)
{
	const char *front = u->start == START_ANYWHERE ? ""
			    : u->start == START_NAME   ? "^"
						       : LIST_PATTERN_LABEL;
	bool ends = u->ends || (u->start != START_ANYWHERE && !u->open);

	if (begins(u->b, u->len, "*.") && !memchr(u->b + 1, '*', u->len - 1) && !u->open)
		return list_emit_name(r, u->part, MATCHER_BELOW, u->b + 2, u->len - 2);
	/* In front '*' takes whatever there is. */
	while (cut_front(u, "*"))
		front = "";
	if (u->len == 0 || is_about_path(u)) {
		list_unused(r); /* all of the web, or nothing that was meant */
		return 0;
	}
	if (!ends && !*front && !memchr(u->b, '*', u->len))
		return keyword_line(r, u);
	return pattern_line(r, u, front, ends ? "$" : "");
}

static int name_line(struct list_reader *r, struct rule *u)
{
	bool has_dot = memchr(u->b, '.', u->len);

	if (u->b[u->len - 1] == '.' && !u->ends && !u->open)
		return pattern_line(
			r, u, u->start == START_NAME ? "^" : LIST_PATTERN_LABEL, "[^.]+$");
	if (u->open || memchr(u->b, '*', u->len))
		return wildcard_line(r, u);
	if (u->start == START_NAME && !u->scheme && !u->ends)
		return pattern_line(r, u, "^", "");
	if (u->start == START_LABEL && !u->ends && !has_dot)
		return pattern_line(r, u, LIST_PATTERN_LABEL, "");
	if (u->start == START_ANYWHERE && !u->ends && !has_dot)
		return keyword_line(r, u);
	/* No host begins so: it is the end of one. */
	if (u->start == START_ANYWHERE && u->b[0] == '-')
		return pattern_line(r, u, "", "$");
	return list_emit_name(
		r, u->part, u->start == START_NAME ? MATCHER_EXACT : MATCHER_SUFFIX, u->b, u->len);
}

static int host_line(struct list_reader *r, struct rule *u)
{
	char ascii[RULE_MAX];
	struct ip_prefix prefix;
	struct rule host;
	size_t len;
	int err;

	start_read(u);
	end_read(u);
	if ((!u->open && address_read(u, &prefix)) || address_front_read(u, &prefix)) {
		if (u->part == LIST_HOLDS || u->part == LIST_HOLDS_IMPORTANT)
			return list_emit_prefix(r, &prefix);
		list_unused(r);
		return 0;
	}
	if (!is_host(u->b, u->len) || is_part_of_address(u)) {
		if (memchr(u->b, ' ', u->len) || memchr(u->b, '\t', u->len))
			list_bad_at(r, u->b, "more than one word");
		else
			list_unused(r);
		return 0;
	}
	err = list_idn_encode(u->b, u->len, ascii, sizeof ascii, &len);
	if (err) {
		list_bad_at(r, u->b,
			err == -EINVAL ? "not a domain name: not UTF-8, or a label above 63 bytes"
				       : "longer than any name");
		return 0;
	}
	host = *u;
	if (len != u->len || memcmp(ascii, u->b, len) != 0) {
		host.encoded = true;
		host.b = ascii;
		host.len = len;
	}
	return name_line(r, &host);
}

int list_adblock_line(struct list_reader *r, char *line, size_t len)
{
	struct rule u = {.part = LIST_HOLDS, .b = line, .len = len};
	const char *dollar;

	if (line[0] == '!' || (line[0] == '[' && !begins(line, len, "[$")))
		return 0;
	if (is_hosts_line(line, len))
		return list_hosts_line(r, line, len);
	if (line[0] != '/' && is_cosmetic(line, len)) {
		list_unused(r);
		return 0;
	}
	u.len = r->text_len = list_comment_cut(line, len);
	if (u.len == 0)
		return 0;
	if (cut_front(&u, "@@"))
		u.part = LIST_EXCEPT;
	if (u.len > 1 && u.b[0] == '/' && u.b[1] != '/')
		return expression_line(r, &u);
	dollar = memchr(u.b, '$', u.len);
	if (dollar) {
		size_t n = (size_t)(dollar - u.b);

		if (!modifiers_read(&u, dollar + 1, u.len - n - 1)) {
			list_unused(r);
			return 0;
		}
		u.len = n;
	}
	return host_line(r, &u);
}
