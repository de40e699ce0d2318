/* Records as JSON. json-c tells no positions, and a file of 64 MB must not become a tree of ten
 * times that: so the arrays are cut into their elements here, and json-c gets one at a time. */
#include "gateway/policy/records_internal.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#define ELEMENT_DEPTH 8 /* of the brackets in a record */
#define TTL_MAX	      0x7fffffff

#define RECORD_KEYS "name, type, ttl, rdata, labels, status"

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

/* --- values --- */

static bool is_text(struct json_object *value)
{
	return json_object_is_type(value, json_type_string) &&
	       strlen(json_object_get_string(value)) ==
		       (size_t)json_object_get_string_len(value); /* "\u0000" */
}

/* Numbers, and texts like "90", "1h", "1d12h". */
static bool read_ttl(struct json_object *value, uint32_t *ret)
{
	static const char units[] = "smhd";
	static const uint32_t unit_s[] = {1, 60, 3600, 86400};
	uint64_t total = 0;
	const char *p;

	if (json_object_is_type(value, json_type_int)) {
		int64_t n = json_object_get_int64(value);

		*ret = (uint32_t)n;
		return n >= 0 && n <= TTL_MAX;
	}
	if (!is_text(value) || !*json_object_get_string(value))
		return false;
	for (p = json_object_get_string(value); *p;) {
		const char *unit;
		uint64_t n = 0;

		if (*p < '0' || *p > '9')
			return false;
		for (; *p >= '0' && *p <= '9' && n <= TTL_MAX; p++)
			n = n * 10 + (uint64_t)(*p - '0');
		unit = *p ? strchr(units, *p) : units;
		if (!unit)
			return false;
		total += n * unit_s[unit - units];
		p += *p != 0;
		if (total > TTL_MAX)
			return false;
	}
	*ret = (uint32_t)total;
	return true;
}

static void lines_known(const struct records_reading *r, char *buf, size_t size)
{
	size_t len = 0;

	(void)snprintf(buf, size, "labels of records.lines, of which there are none");
	for (size_t i = 0; i < r->n_lines && len < size; i++)
		len += (size_t)snprintf(
			buf + len, size - len, "%s%s", i ? ", " : "", r->line_names[i]);
}

static bool read_label(struct records_reading *r, struct json_object *label, uint64_t *lines)
{
	const char *text = json_object_get_string(label);
	char known[512];
	int line = -1;

	if (is_text(label))
		line = records_line(r, text, strlen(text), false);
	if (line >= 0) {
		*lines |= 1ULL << line;
		return true;
	}
	lines_known(r, known, sizeof known);
	records_bad(r, "labels", "no such line: %.64s; allowed: %s", text ? text : "null", known);
	return false;
}

static bool read_labels(struct records_reading *r, struct json_object *value, uint64_t *ret)
{
	*ret = 0;
	if (!value)
		return true;
	if (r->nameless) {
		records_bad(r, "labels",
			"a rule's records are for all; allowed: type, ttl, rdata, status");
		return false;
	}
	if (!json_object_is_type(value, json_type_array))
		return read_label(r, value, ret);
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		if (!read_label(r, json_object_array_get_idx(value, i), ret))
			return false;
	}
	return true;
}

static bool read_type(struct records_reading *r, struct json_object *value, uint16_t *ret)
{
	if (is_text(value) && dns_type_parse(json_object_get_string(value), ret) == 0 && *ret &&
		*ret != DNS_OPT && (*ret < 128 || *ret > 255))
		return true;
	records_bad(r, "type",
		"not a type of records; allowed: A, AAAA, CNAME, MX, TXT, NS, SRV, PTR, HTTPS, "
		"SVCB, CAA, SOA, DNAME, TYPENUMBER");
	return false;
}

/* Data as text, or as an object that becomes one. */
static int read_rdata(struct records_reading *r, struct json_object *value,
	struct record_parsed *record, bool *ret_good)
{
	const char *text = json_object_get_string(value), *why = NULL;
	size_t len = text ? strlen(text) : 0;
	char *made = NULL;
	int n;

	*ret_good = false;
	if (json_object_is_type(value, json_type_object)) {
		n = records_rdata_text(r, record->type, value, &made, &len);
		if (n)
			return n == -EINVAL ? 0 : n;
		text = made;
	} else if (json_object_is_type(value, json_type_string)) {
		len = (size_t)json_object_get_string_len(value);
	} else if (!json_object_is_type(value, json_type_int)) {
		records_bad(r, "rdata", "%s; allowed: %s, or an object",
			value ? "neither a text nor an object" : "missing",
			dns_rdata_form(record->type));
		return 0;
	}
	n = dns_rdata_parse(record->type, text, len, r->rdata, RECORDS_DATA_MAX, &why);
	free(made);
	if (n < 0) {
		records_bad(r, "rdata", "%s; allowed: %s",
			n == -ENOSPC ? "too long for an answer" : why,
			dns_rdata_form(record->type));
		return 0;
	}
	record->rdata = r->rdata;
	record->len = (uint16_t)n;
	*ret_good = true;
	return 0;
}

static bool keys_known(struct records_reading *r, struct json_object *object)
{
	static const char *const keys[] = {"name", "type", "ttl", "rdata", "labels", "status"};
	struct json_object_iterator it = json_object_iter_begin(object);
	struct json_object_iterator end = json_object_iter_end(object);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		const char *key = json_object_iter_peek_name(&it);
		size_t i = 0;

		while (i < sizeof keys / sizeof *keys && strcmp(keys[i], key) != 0)
			i++;
		if (i == sizeof keys / sizeof *keys) {
			records_bad(r, NULL, "unknown key: %.64s; allowed: %s", key, RECORD_KEYS);
			return false;
		}
	}
	return true;
}

static bool read_name(struct records_reading *r, struct json_object *object, struct dns_name *ret)
{
	struct json_object *value = json_object_object_get(object, "name");

	if (r->nameless) {
		if (value)
			records_bad(r, "name",
				"a rule's records have the name that is asked; allowed: none");
		ret->b[0] = 0;
		ret->len = 1;
		return !value;
	}
	if (value && is_text(value) &&
		dns_name_parse(json_object_get_string(value),
			(size_t)json_object_get_string_len(value), ret) == 0)
		return true;
	records_bad(
		r, "name", "%s; allowed: NAME, *.NAME", value ? "not a domain name" : "missing");
	return false;
}

static bool read_status(struct records_reading *r, struct json_object *object, bool *ret_deny)
{
	struct json_object *value = json_object_object_get(object, "status");

	*ret_deny = value && is_text(value) && strcmp(json_object_get_string(value), "deny") == 0;
	if (value && !*ret_deny)
		records_bad(r, "status", "not a status; allowed: deny");
	return !value || *ret_deny;
}

/* What is wrong is told; several things of one record may be. */
static int record_read(struct records_reading *r, struct json_object *object)
{
	struct record_parsed record = {.ttl_s = r->ttl_s};
	struct json_object *type, *ttl, *rdata;
	struct dns_name name;
	bool good, good_data = true;
	int err = 0;

	if (!json_object_is_type(object, json_type_object)) {
		records_bad(r, NULL, "not an object; allowed: {" RECORD_KEYS "}");
		return 0;
	}
	type = json_object_object_get(object, "type");
	ttl = json_object_object_get(object, "ttl");
	rdata = json_object_object_get(object, "rdata");
	good = keys_known(r, object);
	good &= read_name(r, object, &name);
	good &= read_status(r, object, &record.deny);
	good &= read_labels(r, json_object_object_get(object, "labels"), &record.lines);
	if (ttl && !read_ttl(ttl, &record.ttl_s)) {
		records_bad(r, "ttl",
			"not a time; allowed: seconds, or like 90s, 1h; up to 2147483647");
		good = false;
	}
	if (type || !record.deny) {
		if (!read_type(r, type, &record.type))
			return 0;
		if (rdata || !record.deny)
			err = read_rdata(r, rdata, &record, &good_data);
	} else if (rdata) {
		records_bad(r, "rdata", "data of which type; allowed: none without type");
		good = false;
	}
	if (err || !good || !good_data)
		return err;
	if (record.deny) /* the answer has no records */
		record.len = 0;
	record.name = name.b;
	record.name_len = name.len;
	return records_add(r, &record);
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
		err = record_read(r, value);
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
	err = record_read(r, value);
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

		good = is_text(client) &&
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
		if (!name || !is_text(name) || !scan_take(&s, ':') || scan_next(&s) != '[') {
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
