/* v2fly's source lists: `TYPE:VALUE @ATTRIBUTE.. &LIST.. # comment`, and `include:FILE @ATTRIBUTE
 * @-ATTRIBUTE`, which takes of a file the entries with the one and without the other attribute. */
#include "gateway/lists/lists_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define FILTER_BYTES   512
#define ATTRIBUTES_MAX 32

/* What entries must have and must not have, through all includes that lead here: " @cn @-ads". */
struct filter {
	char text[FILTER_BYTES];
};

struct word {
	const char *at;
	size_t len;
};

/* The words behind the first. The count, or -1: one of them is neither attribute nor list. */
static int attributes_read(
	struct list_reader *r, const char *at, const char *end, struct word ret[ATTRIBUTES_MAX])
{
	int n = 0;

	for (;;) {
		struct word w;

		w.at = list_word(&at, end, &w.len);
		if (w.len == 0)
			return n;
		if (w.len > 1 && *w.at == '&') /* the entry is in that list, too */
			continue;
		if (w.len < 2 || *w.at != '@') {
			list_bad_at(r, w.at, "neither an @attribute nor a comment");
			return -1;
		}
		if (n == ATTRIBUTES_MAX) {
			list_bad_at(r, w.at, "more than 32 attributes");
			return -1;
		}
		ret[n++] = (struct word){w.at + 1, w.len - 1};
	}
}

/* The built lists have them behind the value: `domain:x:@cn,@ads`. False: they are none,
 * or too many. */
static bool attributes_split(struct word *value, struct word ret[ATTRIBUTES_MAX], int *n)
{
	const char *end = value->at + value->len, *at = end;

	while (at > value->at && at[-1] != ':')
		at--;
	if (at == value->at || at == end || *at != '@')
		return true;
	value->len = (size_t)(at - value->at) - 1;
	while (at < end) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *stop = comma ? comma : end;

		if (*at != '@' || *n == ATTRIBUTES_MAX)
			return false;
		ret[(*n)++] = (struct word){at + 1, (size_t)(stop - at) - 1};
		at = stop + 1;
	}
	return true;
}

static bool has(const struct word *attributes, int n, const char *name, size_t len)
{
	for (int i = 0; i < n; i++)
		if (attributes[i].len == len && strncasecmp(attributes[i].at, name, len) == 0)
			return true;
	return false;
}

static const struct filter *filter_of(const struct list_reader *r)
{
	static const struct filter none;

	return r->format_state ? r->format_state : &none;
}

static bool filter_passes(const struct list_reader *r, const struct word *attributes, int n)
{
	const struct filter *filter = filter_of(r);
	const char *want = r->source->attribute;
	const char *at = filter->text, *end = at + strlen(at);

	if (want && !has(attributes, n, want, strlen(want)))
		return false;
	for (;;) {
		size_t len;
		const char *word = list_word(&at, end, &len);
		bool without;

		if (len == 0)
			return true;
		without = len > 2 && word[1] == '-';
		if (has(attributes, n, word + 1 + without, len - 1 - without) == without)
			return false;
	}
}

/* The filter of an included file: this file's, and the conditions of the line. False: too long. */
static bool filter_join(
	const struct filter *filter, const struct word *attributes, int n, struct filter *ret)
{
	size_t len = strlen(filter->text);

	*ret = *filter;
	for (int i = 0; i < n; i++) {
		const char *at = ret->text, *end = at + len;
		bool there = false;
		struct word w;

		while (!there && (w.at = list_word(&at, end, &w.len), w.len > 0))
			there = w.len == attributes[i].len + 1 &&
				strncasecmp(w.at + 1, attributes[i].at, attributes[i].len) == 0;
		if (there)
			continue;
		if (len + attributes[i].len + 3 > sizeof ret->text)
			return false;
		len += (size_t)snprintf(ret->text + len, sizeof ret->text - len, " @%.*s",
			(int)attributes[i].len, attributes[i].at);
	}
	return true;
}

static int include_line(
	struct list_reader *r, const struct word *name, const struct word *attributes, int n)
{
	struct filter filter;

	if (name->len == 0 || memchr(name->at, '/', name->len) || *name->at == '.') {
		list_bad_at(r, name->at, "not the name of a list beside this one");
		return 0;
	}
	if (!filter_join(filter_of(r), attributes, n, &filter)) {
		list_bad_at(r, name->at, "too many attributes, with those of the lists around it");
		return 0;
	}
	list_passed(r);
	return list_include(r, name->at, name->len, filter.text, &filter);
}

static int value_line(struct list_reader *r, const struct word *type, const struct word *value)
{
	if (type->len == 0 || list_word_is(type->at, type->len, "domain"))
		return list_emit_name(r, LIST_HOLDS, MATCHER_SUFFIX, value->at, value->len);
	if (list_word_is(type->at, type->len, "full"))
		return list_emit_name(r, LIST_HOLDS, MATCHER_EXACT, value->at, value->len);
	if (list_word_is(type->at, type->len, "keyword"))
		return list_emit_keyword(r, LIST_HOLDS, value->at, value->len);
	return list_emit_regexp(r, LIST_HOLDS, value->at, value->len);
}

static bool is_type(const struct word *type)
{
	static const char *const types[] = {
		"domain", "full", "keyword", "regexp", "regex", "include"};

	if (type->len == 0)
		return true;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (list_word_is(type->at, type->len, types[i]))
			return true;
	return false;
}

/* Behind a blank '#' is a comment everywhere; in a name it can only be one. */
static size_t comment_cut(const char *line, size_t len)
{
	const char *hash;

	len = list_comment_cut(line, len);
	if (len > 5 && strncasecmp(line, "regex", 5) == 0)
		return len;
	hash = memchr(line, '#', len);
	return hash ? (size_t)(hash - line) : len;
}

int list_v2fly_line(struct list_reader *r, char *line, size_t len)
{
	struct word attributes[ATTRIBUTES_MAX], value, type = {line, 0};
	const char *at = line, *end, *colon;
	int n;

	len = comment_cut(line, len);
	end = line + len;
	value.at = list_word(&at, end, &value.len);
	if (value.len == 0)
		return 0;
	colon = memchr(value.at, ':', value.len);
	if (colon) {
		type.len = (size_t)(colon - value.at);
		value = (struct word){colon + 1, value.len - type.len - 1};
	}
	n = attributes_read(r, at, end, attributes);
	if (n < 0)
		return 0;
	if (!attributes_split(&value, attributes, &n)) {
		list_bad_at(r, value.at + value.len, "not a list of attributes");
		return 0;
	}
	if (!is_type(&type)) {
		list_bad(r, 1, "not a type of entry");
		return 0;
	}
	if (list_word_is(type.at, type.len, "include"))
		return include_line(r, &value, attributes, n);
	if (!filter_passes(r, attributes, n)) {
		list_passed(r);
		return 0;
	}
	return value_line(r, &type, &value);
}
