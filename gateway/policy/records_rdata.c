/* Data that JSON gives as an object, put together as the text that a zone file would have. What the
 * parts mean is seen when that text is read. */
#include "gateway/policy/records_internal.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/grow.h"

/* The members of a type's object in the order of its text. */
static const struct shape {
	uint16_t type;
	const char *members[8];
} shapes[] = {
	{DNS_MX, {"preference", "exchange"}},
	{DNS_SRV, {"priority", "weight", "port", "target"}},
	{DNS_CAA, {"flags", "tag", "value"}},
	{DNS_SOA, {"mname", "rname", "serial", "refresh", "retry", "expire", "minimum"}},
	{DNS_HTTPS, {"priority", "target", "params"}},
	{DNS_SVCB, {"priority", "target", "params"}},
};

void records_text_put(struct records_text *t, const char *bytes, size_t n)
{
	if (t->failed || room_grow((void **)&t->b, &t->room, t->n, n + 1, 1)) {
		t->failed = true;
		return;
	}
	memcpy(t->b + t->n, bytes, n);
	t->n += n;
	t->b[t->n] = 0;
}

static void put_text(struct records_text *t, const char *text)
{
	records_text_put(t, text, strlen(text));
}

/* In quotes, so that any byte means itself (RFC 1035 5.1). item: of a list, where commas and
 * backslashes are escaped first (RFC 9460 Appendix A.1). */
static void put_escaped(struct records_text *t, const char *bytes, size_t n, bool item)
{
	for (size_t i = 0; i < n; i++) {
		if (item && (bytes[i] == ',' || bytes[i] == '\\'))
			put_text(t, "\\\\");
		if (bytes[i] == '"' || bytes[i] == '\\')
			put_text(t, "\\");
		records_text_put(t, bytes + i, 1);
	}
}

static void put_value(struct records_text *t, struct json_object *value, bool item)
{
	const char *text = json_object_get_string(value);
	size_t n = json_object_is_type(value, json_type_string)
			   ? (size_t)json_object_get_string_len(value)
			   : strlen(text);

	put_escaped(t, text, n, item);
}

static bool is_scalar(struct json_object *value)
{
	return json_object_is_type(value, json_type_string) ||
	       json_object_is_type(value, json_type_int);
}

/* --- params of SVCB and HTTPS --- */

static bool is_key(const char *key)
{
	size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n > 0 && n < 64 && !key[n];
}

static bool put_list(struct records_text *t, struct json_object *list)
{
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);

		if (!is_scalar(item))
			return false;
		if (i > 0)
			put_text(t, ",");
		put_value(t, item, true);
	}
	return true;
}

/* key="value"; true is a key without one, false none at all. */
static bool put_param(struct records_text *t, const char *key, struct json_object *value)
{
	bool good = true;

	if (!is_key(key))
		return false;
	if (json_object_is_type(value, json_type_boolean) && !json_object_get_boolean(value))
		return true;
	put_text(t, " ");
	put_text(t, key);
	if (json_object_is_type(value, json_type_boolean))
		return true;
	put_text(t, "=\"");
	if (json_object_is_type(value, json_type_array))
		good = put_list(t, value);
	else if (is_scalar(value))
		put_value(t, value, false);
	else
		good = false;
	put_text(t, "\"");
	return good;
}

static bool put_params(struct records_text *t, struct json_object *params)
{
	struct json_object_iterator it, end;
	bool good = true;

	if (!json_object_is_type(params, json_type_object))
		return false;
	it = json_object_iter_begin(params);
	end = json_object_iter_end(params);
	for (; good && !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
		good = put_param(
			t, json_object_iter_peek_name(&it), json_object_iter_peek_value(&it));
	return good;
}

/* --- objects --- */

/* {"hex": "0a00"} of any type: \# LENGTH HEX. */
static bool put_hex(struct records_text *t, struct json_object *hex)
{
	size_t digits = 0;
	const char *text;
	char head[32];

	if (!json_object_is_type(hex, json_type_string))
		return false;
	text = json_object_get_string(hex);
	for (const char *p = text; *p; p++)
		digits += *p != ' ';
	(void)snprintf(head, sizeof head, "\\# %zu ", digits / 2);
	put_text(t, head);
	put_text(t, text);
	return strlen(text) == (size_t)json_object_get_string_len(hex);
}

static bool put_member(struct records_text *t, const char *member, struct json_object *value)
{
	if (strcmp(member, "params") == 0)
		return put_params(t, value);
	if (!is_scalar(value))
		return false;
	put_text(t, " ");
	if (strcmp(member, "value") != 0) {
		/* A name, a number or a tag: one word as it is. */
		const char *text = json_object_get_string(value);

		put_text(t, text);
		return *text && !strpbrk(text, " \t\r\n\"");
	}
	put_text(t, "\"");
	put_value(t, value, false);
	put_text(t, "\"");
	return true;
}

/* {a, b} for complaints. */
static const char *members_format(const struct shape *shape, char *buf, size_t size)
{
	size_t len = 0;

	for (size_t i = 0; shape && shape->members[i] && len < size; i++)
		len += (size_t)snprintf(
			buf + len, size - len, "%s%s", i ? ", " : "{", shape->members[i]);
	if (len < size)
		(void)snprintf(buf + len, size - len, "%s", shape ? "}, {hex}" : "{hex}");
	return buf;
}

/* Is each key of the object one of the shape's? *ret_unknown is the first that is not. */
static bool members_known(
	const struct shape *shape, struct json_object *object, const char **ret_unknown)
{
	struct json_object_iterator it = json_object_iter_begin(object);
	struct json_object_iterator end = json_object_iter_end(object);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		size_t i = 0;

		*ret_unknown = json_object_iter_peek_name(&it);
		while (shape->members[i] && strcmp(shape->members[i], *ret_unknown) != 0)
			i++;
		if (!shape->members[i])
			return false;
	}
	return true;
}

static bool put_object(struct records_reading *r, struct records_text *t, const struct shape *shape,
	struct json_object *object)
{
	char allowed[128];
	const char *unknown;

	if (!shape || !members_known(shape, object, &unknown)) {
		records_bad(r, "rdata", "%s%.64s; allowed: %s",
			shape ? "unknown member: " : "no object has this type's data",
			shape ? unknown : "", members_format(shape, allowed, sizeof allowed));
		return false;
	}
	for (size_t i = 0; shape->members[i]; i++) {
		struct json_object *value;
		bool there = json_object_object_get_ex(object, shape->members[i], &value);

		if (!there && strcmp(shape->members[i], "params") == 0)
			continue;
		if (there && value && put_member(t, shape->members[i], value))
			continue;
		records_bad(r, "rdata", "%s %s; allowed: %s", shape->members[i],
			there ? "cannot be read" : "is missing",
			members_format(shape, allowed, sizeof allowed));
		return false;
	}
	return true;
}

int records_rdata_text(struct records_reading *r, uint16_t type, struct json_object *object,
	char **ret, size_t *ret_len)
{
	const struct shape *shape = NULL;
	struct records_text t = {.b = NULL};
	struct json_object *hex;
	bool good;

	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		if (shapes[i].type == type)
			shape = &shapes[i];
	}
	records_text_put(&t, "", 0);
	if (json_object_object_length(object) == 1 &&
		json_object_object_get_ex(object, "hex", &hex)) {
		good = put_hex(&t, hex);
		if (!good)
			records_bad(r, "rdata", "hex is no text; allowed: {hex: HEX}");
	} else {
		good = put_object(r, &t, shape, object);
	}
	if (good && !t.failed) {
		*ret = t.b;
		*ret_len = t.n;
		return 0;
	}
	free(t.b);
	return t.failed ? -ENOMEM : -EINVAL;
}
