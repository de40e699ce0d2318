/* What a rule of a Clash (mihomo) or Surge list means.
 *
 * "TYPE,VALUE" with whatever comes behind (a policy, no-resolve) is a classical one; a prefix or an
 * address is itself; everything else is a domain:
 *   +.x   x and all below it
 *   .x    all below x; in a Surge domain set x too
 *   *.x   one label below x; '*' is one whole label at any place
 *   x     x alone */
#include <errno.h>
#include <string.h>

#include "gateway/lists/list_clash.h"
#include "gateway/lists/list_idn.h"
#include "gateway/lists/list_pattern.h"

#define VALUE_MAX 1024 /* bytes of a domain or keyword */

enum rule_type {
	RULE_DOMAIN,
	RULE_SUFFIX,
	RULE_KEYWORD,
	RULE_REGEX,
	RULE_WILDCARD,
	RULE_PREFIX,
	RULE_UNUSED,
	RULE_UNKNOWN
};

/* Of mihomo, Surge, Quantumult X and Loon. What only a proxy sees is unused, as is what refers to
 * other lists: these have an entry of their own in `lists`. */
static const struct {
	const char *word;
	enum rule_type type;
} types[] = {
	{"domain", RULE_DOMAIN},
	{"host", RULE_DOMAIN},
	{"domain-suffix", RULE_SUFFIX},
	{"host-suffix", RULE_SUFFIX},
	{"domain-keyword", RULE_KEYWORD},
	{"host-keyword", RULE_KEYWORD},
	{"domain-regex", RULE_REGEX},
	{"domain-wildcard", RULE_WILDCARD},
	{"host-wildcard", RULE_WILDCARD},
	{"ip-cidr", RULE_PREFIX},
	{"ip-cidr6", RULE_PREFIX},
	{"ip6-cidr", RULE_PREFIX},
	{"and", RULE_UNUSED},
	{"cellular-radio", RULE_UNUSED},
	{"dest-port", RULE_UNUSED},
	{"device-name", RULE_UNUSED},
	{"domain-set", RULE_UNUSED},
	{"dscp", RULE_UNUSED},
	{"dst-port", RULE_UNUSED},
	{"final", RULE_UNUSED},
	{"geoip", RULE_UNUSED},
	{"geosite", RULE_UNUSED},
	{"hostname-type", RULE_UNUSED},
	{"in-name", RULE_UNUSED},
	{"in-port", RULE_UNUSED},
	{"in-type", RULE_UNUSED},
	{"in-user", RULE_UNUSED},
	{"ip-asn", RULE_UNUSED},
	{"ip-suffix", RULE_UNUSED},
	{"mac-address", RULE_UNUSED},
	{"match", RULE_UNUSED},
	{"network", RULE_UNUSED},
	{"not", RULE_UNUSED},
	{"or", RULE_UNUSED},
	{"process-name", RULE_UNUSED},
	{"process-name-regex", RULE_UNUSED},
	{"process-name-wildcard", RULE_UNUSED},
	{"process-path", RULE_UNUSED},
	{"process-path-regex", RULE_UNUSED},
	{"process-path-wildcard", RULE_UNUSED},
	{"protocol", RULE_UNUSED},
	{"rule-set", RULE_UNUSED},
	{"script", RULE_UNUSED},
	{"src-geoip", RULE_UNUSED},
	{"src-ip", RULE_UNUSED},
	{"src-ip-asn", RULE_UNUSED},
	{"src-ip-cidr", RULE_UNUSED},
	{"src-ip-suffix", RULE_UNUSED},
	{"src-mac", RULE_UNUSED},
	{"src-port", RULE_UNUSED},
	{"sub-rule", RULE_UNUSED},
	{"subnet", RULE_UNUSED},
	{"uid", RULE_UNUSED},
	{"url-regex", RULE_UNUSED},
	{"user-agent", RULE_UNUSED},
};

static enum rule_type type_of(const char *word, size_t len)
{
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		if (list_word_is(word, len, types[i].word))
			return types[i].type;
	return RULE_UNKNOWN;
}

static void trim(const char **text, size_t *len)
{
	while (*len > 0 && list_is_blank((*text)[*len - 1]))
		(*len)--;
	for (; *len > 0 && list_is_blank(**text); (*len)--)
		(*text)++;
}

/* Surge has comments at the end of a line: "//", "#", ";" behind a blank. */
static size_t comment_cut(const char *text, size_t len)
{
	for (size_t i = 1; i < len; i++)
		if (list_is_blank(text[i - 1]) &&
			(text[i] == '#' || text[i] == ';' ||
				(text[i] == '/' && i + 1 < len && text[i + 1] == '/')))
			return i;
	return len;
}

/* The next part of "a,b,c", without blanks and quotes; *at moves behind its comma. */
static const char *part_next(const char **at, const char *end, size_t *ret_len)
{
	const char *part = *at, *comma = memchr(part, ',', (size_t)(end - part));

	*ret_len = (size_t)((comma ? comma : end) - part);
	*at = comma ? comma + 1 : end;
	trim(&part, ret_len);
	if (*ret_len > 1 && (part[0] == '"' || part[0] == '\'') && part[*ret_len - 1] == part[0]) {
		part++;
		*ret_len -= 2;
	}
	return part;
}

/* As the DNS has it. *text changes only if it was not ASCII. False: told. */
static bool encode(struct list_reader *r, const char **text, size_t *len, char *buf, size_t size)
{
	const char *from = *text;
	bool ascii = true;
	int err;

	for (size_t i = 0; i < *len; i++)
		ascii = ascii && (unsigned char)from[i] < 0x80;
	if (ascii)
		return true;
	err = list_idn_encode(from, *len, buf, size, len);
	*text = buf;
	if (err)
		list_bad_at(r, from, "not a domain name: not UTF-8, or a label above 63 bytes");
	return !err;
}

static int pattern_emit(struct list_reader *r, const struct list_pattern *p, const char *at)
{
	if (!p->full)
		return list_emit_regexp(r, LIST_HOLDS, p->b, p->len);
	list_bad_at(r, at, "longer than any name");
	return 0;
}

/* "a.*.x": each '*' is one label. */
static int labels_rule(struct list_reader *r, const char *text, size_t len)
{
	struct list_pattern p;
	size_t skip = 0;

	for (size_t i = 0; i < len; i++)
		if (text[i] == '*' &&
			((i > 0 && text[i - 1] != '.') || (i + 1 < len && text[i + 1] != '.'))) {
			list_bad_at(r, text + i, "'*' stands for a whole label");
			return 0;
		}
	list_pattern_init(&p);
	if (len > 2 && memcmp(text, "+.", 2) == 0) {
		list_pattern_add(&p, LIST_PATTERN_LABEL);
		skip = 2;
	} else if (text[0] != '.') {
		list_pattern_add(&p, "^");
	}
	list_pattern_add_text(&p, text + skip, len - skip, "[^.]+", NULL);
	list_pattern_add(&p, "$");
	return pattern_emit(r, &p, text);
}

static int domain_rule(struct list_reader *r, const char *text, size_t len, bool dot_holds_itself)
{
	char ascii[VALUE_MAX];
	size_t front = len > 1 && text[1] == '.' && (text[0] == '+' || text[0] == '*') ? 2
		       : len > 1 && text[0] == '.'				       ? 1
										       : 0;
	enum matcher_kind kind = front == 0   ? MATCHER_EXACT
				 : front == 1 ? dot_holds_itself ? MATCHER_SUFFIX : MATCHER_BELOW
				 : text[0] == '+' ? MATCHER_SUFFIX
						  : MATCHER_CHILD;

	if (len == 1 && text[0] == '*')
		return list_emit_name(r, LIST_HOLDS, MATCHER_CHILD, ".", 1);
	if (len > VALUE_MAX) {
		list_bad_at(r, text, "longer than any name");
		return 0;
	}
	if (!encode(r, &text, &len, ascii, sizeof ascii))
		return 0;
	if (memchr(text + front, '*', len - front))
		return labels_rule(r, text, len);
	return list_emit_name(r, LIST_HOLDS, kind, text + front, len - front);
}

static int wildcard_rule(struct list_reader *r, const char *text, size_t len)
{
	struct list_pattern p;
	bool ascii = true;

	for (size_t i = 0; i < len; i++)
		ascii = ascii && (unsigned char)text[i] < 0x80;
	/* Surge's classes of bytes; a part of a label that was encoded is not a part of its code.
	 */
	if (!ascii || memchr(text, '[', len)) {
		list_unused(r);
		return 0;
	}
	list_pattern_init(&p);
	list_pattern_add(&p, "^");
	list_pattern_add_text(&p, text, len, ".*", ".");
	list_pattern_add(&p, "$");
	return pattern_emit(r, &p, text);
}

static int prefix_rule(
	struct list_reader *r, const char *text, size_t len, const char *more, const char *end)
{
	struct ip_prefix prefix;

	while (more < end) {
		size_t n;
		const char *word = part_next(&more, end, &n);

		/* mihomo: of the client's address. */
		if (list_word_is(word, n, "src")) {
			list_unused(r);
			return 0;
		}
	}
	if (list_prefix_parse(text, len, &prefix) == 0)
		return list_emit_prefix(r, &prefix);
	list_bad_at(r, text, "not an address or a prefix");
	return 0;
}

static int value_rule(struct list_reader *r, enum rule_type type, const char *text, size_t len)
{
	char ascii[VALUE_MAX];

	if (!encode(r, &text, &len, ascii, sizeof ascii))
		return 0;
	if (type == RULE_KEYWORD)
		return list_emit_keyword(r, LIST_HOLDS, text, len);
	return list_emit_name(
		r, LIST_HOLDS, type == RULE_SUFFIX ? MATCHER_SUFFIX : MATCHER_EXACT, text, len);
}

/* cut: where a comment begins, behind the first comma. */
static int classical_rule(struct list_reader *r, const char *text, size_t len, size_t cut)
{
	const char *end = text + len, *at = text, *value;
	size_t n;
	const char *word = part_next(&at, end, &n);
	enum rule_type type = type_of(word, n);

	/* An expression may have commas, and blanks before a '#'. */
	if (type == RULE_REGEX) {
		n = (size_t)(end - at);
		trim(&at, &n);
		return list_emit_regexp(r, LIST_HOLDS, at, n);
	}
	end = text + cut;
	value = part_next(&at, end, &n);
	switch (type) {
	case RULE_DOMAIN:
	case RULE_SUFFIX:
	case RULE_KEYWORD:
		return value_rule(r, type, value, n);
	case RULE_WILDCARD:
		return wildcard_rule(r, value, n);
	case RULE_PREFIX:
		return prefix_rule(r, value, n, at, end);
	case RULE_UNUSED:
		list_unused(r);
		return 0;
	default:
		list_bad_at(r, word, "not a rule type");
		return 0;
	}
}

/* Names are many: only what ends like an address, or has what no name has, is tried as one. */
static bool may_be_prefix(const char *text, size_t len)
{
	return (text[len - 1] >= '0' && text[len - 1] <= '9') || memchr(text, ':', len) ||
	       memchr(text, '/', len);
}

int list_clash_rule(struct list_reader *r, const char *text, size_t len, bool dot_holds_itself)
{
	struct ip_prefix prefix;
	size_t cut = comment_cut(text, len);

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 && text[i] != '\t') {
			list_bad_at(r, text + i, "a control character");
			return 0;
		}
	if (memchr(text, ',', cut))
		return classical_rule(r, text, len, cut);
	len = cut;
	trim(&text, &len);
	if (len == 0)
		return 0;
	if (list_word_is(text, len, "match") || list_word_is(text, len, "final")) {
		list_unused(r);
		return 0;
	}
	if (may_be_prefix(text, len) && list_prefix_parse(text, len, &prefix) == 0)
		return list_emit_prefix(r, &prefix);
	return domain_rule(r, text, len, dot_holds_itself);
}
