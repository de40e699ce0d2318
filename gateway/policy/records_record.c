/* One record of JSON: its members, as json-c has them. */
#include "gateway/policy/records_internal.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#define TTL_MAX 0x7fffffff

bool records_json_is_text(struct json_object *value)
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
	if (!records_json_is_text(value) || !*json_object_get_string(value))
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

	if (records_json_is_text(label))
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
	if (records_json_is_text(value) &&
		dns_type_parse(json_object_get_string(value), ret) == 0 && *ret &&
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
	if (value && records_json_is_text(value) &&
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

	*ret_deny = value && records_json_is_text(value) &&
		    strcmp(json_object_get_string(value), "deny") == 0;
	if (value && !*ret_deny)
		records_bad(r, "status", "not a status; allowed: deny");
	return !value || *ret_deny;
}

/* What is wrong is told; several things of one record may be. */
int records_json_record(struct records_reading *r, struct json_object *object)
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
