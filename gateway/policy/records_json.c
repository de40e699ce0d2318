/* Records as JSON. json-c tells no positions, and a file of 64 MB must not become a tree of ten
 * times that: so the arrays are cut into their elements here, and json-c gets one at a time. */
#include "gateway/policy/records_internal.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#define ELEMENT_DEPTH 8 /* of the brackets in a record */

/* --- cutting --- */

struct scan {
	const char *text;
	size_t len, at;
	size_t counted, line_start; /* lines up to counted */
	unsigned line;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static char scan_next(struct scan *s)
{
	while (s->at < s->len && is_blank(s->text[s->at]))
		s->at++;
	return s->at < s->len ? s->text[s->at] : 0;
}

static bool scan_take(struct scan *s, char c)
{
	if (scan_next(s) != c)
		return false;
	s->at++;
	return true;
}

/* Line and column of at, which only grows. */
static void scan_place(struct scan *s, size_t at, unsigned *ret_line, unsigned *ret_column)
{
	for (; s->counted < at; s->counted++) {
		if (s->text[s->counted] != '\n')
			continue;
		s->line++;
		s->line_start = s->counted + 1;
	}
	*ret_line = s->line;
	*ret_column = (unsigned)(at - s->line_start + 1);
}

/* Behind the string that begins at at; len if it has no end. */
static size_t string_end(const char *text, size_t len, size_t at)
{
	for (at++; at < len && text[at] != '"'; at++)
		at += text[at] == '\\';
	return at < len ? at + 1 : len;
}

/* Behind the value that begins at at. What stands between its brackets is json-c's to judge. */
static size_t value_end(const char *text, size_t len, size_t at)
{
	size_t depth = 0;

	while (at < len) {
		char c = text[at];

		if (c == '"') {
			at = string_end(text, len, at);
			if (depth == 0)
				return at;
			continue;
		}
		if (c == '[' || c == '{') {
			depth++;
		} else if (c == ']' || c == '}') {
			if (depth <= 1)
				return depth ? at + 1 : at;
			depth--;
		} else if (depth == 0 && (c == ',' || is_blank(c))) {
			return at;
		}
		at++;
	}
	return len;
}

/* Where the value of a key stands in an object's text; 0: it is not there. */
static size_t member_at(const char *text, size_t len, const char *key)
{
	struct scan s = {.text = text, .len = len};
	size_t key_len = strlen(key);

	if (!scan_take(&s, '{'))
		return 0;
	while (scan_next(&s) == '"') {
		size_t from = s.at + 1, value;
		bool same;

		s.at = string_end(text, len, s.at);
		same = s.at - from == key_len + 1 && memcmp(text + from, key, key_len) == 0;
		if (!scan_take(&s, ':'))
			return 0;
		(void)scan_next(&s);
		value = s.at;
		if (same)
			return value;
		s.at = value_end(text, len, value);
		if (!scan_take(&s, ','))
			return 0;
	}
	return 0;
}

/* --- elements --- */

/* Counts lines up to `at` of the element's text. */
static void element_place(
	const struct records_reading *r, size_t at, unsigned *ret_line, unsigned *ret_column)
{
	*ret_line = r->line;
	*ret_column = r->column;
	for (size_t i = 0; r->element && i < at && i < r->element_len; i++) {
		*ret_column += 1;
		if (r->element[i] == '\n') {
			*ret_line += 1;
			*ret_column = 1;
		}
	}
}

void records_member_place(const struct records_reading *r, const char *member, unsigned *ret_line,
	unsigned *ret_column)
{
	size_t at = 0;

	if (r->element && member)
		at = member_at(r->element, r->element_len, member);
	element_place(r, at, ret_line, ret_column);
}

/* Parses one value; NULL and *ret_why, *ret_at. */
static struct json_object *value_parse(
	const char *text, size_t len, const char **ret_why, size_t *ret_at)
{
	struct json_tokener *tokener = json_tokener_new_ex(ELEMENT_DEPTH);
	enum json_tokener_error e;
	struct json_object *value;

	*ret_why = "no memory";
	*ret_at = 0;
	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	value = json_tokener_parse_ex(tokener, text, (int)len);
	e = json_tokener_get_error(tokener);
	*ret_at = json_tokener_get_parse_end(tokener);
	if (e == json_tokener_continue && !value) {
		/* A number at the end may go on: a blank ends it. */
		value = json_tokener_parse_ex(tokener, " ", 1);
		e = json_tokener_get_error(tokener);
	}
	*ret_why = e == json_tokener_continue ? "ends too early" : json_tokener_error_desc(e);
	json_tokener_free(tokener);
	if (e == json_tokener_success && value)
		return value;
	if (e == json_tokener_success) {
		*ret_why = "null";
		*ret_at = 0;
	}
	json_object_put(value);
	return NULL;
}

static int element_read(struct records_reading *r)
{
	const char *why;
	size_t at;
	struct json_object *value = NULL;
	int err = 0;

	if (memchr(r->element, 0, r->element_len))
		why = "a NUL byte", at = 0;
	else
		value = value_parse(r->element, r->element_len, &why, &at);
	if (value) {
		err = records_json_record(r, value);
		json_object_put(value);
		return err;
	}
	element_place(r, at, &r->line, &r->column);
	r->element = NULL;
	records_bad(r, NULL, "not JSON: %s; allowed: {" RECORD_KEYS "}", why);
	return 0;
}

static void syntax_bad(struct records_reading *r, struct scan *s, const char *what)
{
	scan_place(s, s->at, &r->line, &r->column);
	r->element = NULL;
	records_bad(r, NULL, "not JSON: %s; allowed: an array of records", what);
}

/* The elements of the array whose bracket was taken, and its end. */
static int elements_read(struct records_reading *r, struct scan *s)
{
	bool more = scan_next(s) != ']';
	int err = 0;

	for (r->index = 0; more && !err; r->index++) {
		size_t from;

		if (!scan_next(s) || s->text[s->at] == ']' || s->text[s->at] == ',') {
			syntax_bad(r, s, "a record is expected");
			return 0;
		}
		from = s->at;
		s->at = value_end(s->text, s->len, from);
		scan_place(s, from, &r->line, &r->column);
		r->element = s->text + from;
		r->element_len = s->at - from;
		err = element_read(r);
		if (records_hopeless(r))
			return err;
		more = scan_take(s, ',');
	}
	if (!err && !scan_take(s, ']'))
		syntax_bad(r, s, "a comma or ] is expected");
	return err;
}

int records_json_array(
	struct records_reading *r, const char *text, size_t len, unsigned line, unsigned column)
{
	struct scan s = {.text = text, .len = len, .line = line, .at = 1};

	/* Columns of the first line count from where the array stands. */
	s.line_start = 1 - (size_t)column;
	return elements_read(r, &s);
}

int records_json_read(struct records_reading *r, const char *text, size_t len)
{
	struct scan s = {.text = text, .len = len, .line = 1};
	int err;

	r->index = 0;
	if (scan_next(&s) == '{') { /* one record alone */
		size_t from = s.at;

		s.at = value_end(text, len, from);
		scan_place(&s, from, &r->line, &r->column);
		r->element = text + from;
		r->element_len = s.at - from;
		err = element_read(r);
	} else if (scan_take(&s, '[')) {
		err = elements_read(r, &s);
	} else {
		syntax_bad(r, &s, "no array");
		return 0;
	}
	if (!err && scan_next(&s) && r->errors == 0)
		syntax_bad(r, &s, "something stands behind the array");
	return err;
}

int records_json_one(
	struct records_reading *r, const char *text, unsigned index, unsigned line, unsigned column)
{
	struct json_object *value;
	const char *why;
	size_t at;
	int err;

	r->index = index;
	r->line = line;
	r->column = column;
	r->element = NULL;
	value = value_parse(text, strlen(text), &why, &at);
	if (!value) {
		records_bad(r, NULL, "not JSON: %s; allowed: {" RECORD_KEYS "}", why);
		return 0;
	}
	err = records_json_record(r, value);
	json_object_put(value);
	return err;
}

/* --- lines --- */

static int line_add(struct records_reading *r, const char *name, struct json_object *clients)
{
	int line = records_line(r, name, strlen(name), true);
	bool good = line >= 0;
	int err = 0;

	if (line < 0)
		records_bad(r, NULL, "too many lines; allowed: at most %u", RECORDS_LINES_MAX);
	else if (!json_object_is_type(clients, json_type_array))
		good = false;
	for (size_t i = 0; good && !err && i < json_object_array_length(clients); i++) {
		struct json_object *client = json_object_array_get_idx(clients, i);
		struct ip_prefix prefix;

		good = records_json_is_text(client) &&
		       ip_prefix_parse(json_object_get_string(client), &prefix) == 0;
		if (good)
			err = addresses_builder_add(r->lines, (unsigned)line, &prefix);
	}
	if (line >= 0 && !good)
		records_bad(r, NULL, "%.64s is no list of clients; allowed: [\"CIDR\", …]", name);
	return err;
}

int records_json_lines(struct records_reading *r, const char *text, size_t len)
{
	struct json_object_iterator it, end;
	struct json_object *all;
	const char *why = "a NUL byte";
	size_t at = 0;
	int err = 0;

	r->index = RECORDS_NO_INDEX;
	r->line = r->column = 1;
	r->element = text;
	r->element_len = len;
	all = memchr(text, 0, len) ? NULL : value_parse(text, len, &why, &at);
	if (!all || !json_object_is_type(all, json_type_object)) {
		element_place(r, all ? 0 : at, &r->line, &r->column);
		r->element = NULL;
		records_bad(r, NULL, "%s%s; allowed: {\"LINE\": [\"CIDR\", …]}",
			all ? "" : "not JSON: ", all ? "not an object" : why);
		json_object_put(all);
		return 0;
	}
	it = json_object_iter_begin(all);
	end = json_object_iter_end(all);
	for (; !err && !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		const char *name = json_object_iter_peek_name(&it);

		r->element = text;
		records_member_place(r, name, &r->line, &r->column);
		r->element = NULL;
		err = line_add(r, name, json_object_iter_peek_value(&it));
		r->line = r->column = 1;
	}
	json_object_put(all);
	return err;
}

/* --- the store --- */

bool records_json_is_array(const char *text, size_t len)
{
	struct scan s = {.text = text, .len = len};

	if (scan_next(&s) != '[')
		return false;
	s.at = value_end(text, len, s.at);
	return !scan_next(&s) && s.at == len;
}

int records_json_sources(
	const char *text, size_t len, records_source_visit *visit, void *arg, size_t *ret_at)
{
	struct scan s = {.text = text, .len = len, .line = 1};
	bool more = scan_take(&s, '{') && scan_next(&s) != '}';
	int err = 0;

	while (more && !err) {
		struct json_object *name = NULL;
		unsigned line, column;
		const char *why;
		size_t from, at;

		if (scan_next(&s) == '"') {
			from = *ret_at = s.at;
			s.at = value_end(text, len, from);
			name = value_parse(text + from, s.at - from, &why, &at);
		}
		if (!name || !records_json_is_text(name) || !scan_take(&s, ':') ||
			scan_next(&s) != '[') {
			json_object_put(name);
			*ret_at = s.at;
			return -EBADMSG;
		}
		from = s.at;
		s.at = value_end(text, len, from);
		scan_place(&s, from, &line, &column);
		err = visit(
			arg, json_object_get_string(name), text + from, s.at - from, line, column);
		json_object_put(name);
		more = scan_take(&s, ',');
	}
	*ret_at = s.at;
	if (!err && (!scan_take(&s, '}') || scan_next(&s)))
		err = -EBADMSG;
	return err;
}
