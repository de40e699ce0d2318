#include "gateway/control/reply.h"
#include "gateway/base/grow.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- text --- */

void reply_bytes(struct control_reply *r, const char *bytes, size_t len)
{
	if (r->broken || room_grow((void **)&r->text, &r->cap, r->len, len, 1)) {
		r->broken = true;
		return;
	}
	memcpy(r->text + r->len, bytes, len);
	r->len += len;
}

void reply_text(struct control_reply *r, const char *text)
{
	reply_bytes(r, text, strlen(text));
}

void reply_json(struct control_reply *r, struct json_object *value)
{
	const char *text = json_object_to_json_string_ext(
		value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	if (text)
		reply_text(r, text);
	else
		r->broken = true;
	json_object_put(value);
}

void reply_result(struct control_reply *r, struct json_object *result)
{
	reply_text(r, "{\"ok\":true,\"result\":");
	reply_json(r, result);
	reply_text(r, "}\n");
}

static void begin_error(struct control_reply *r, int code)
{
	char text[64];

	snprintf(text, sizeof text, "{\"ok\":false,\"code\":%d,\"error\":", code);
	reply_text(r, text);
}

void reply_error(struct control_reply *r, int code, const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	begin_error(r, code);
	reply_json(r, reply_string(text));
	reply_text(r, "}\n");
}

void reply_errors(struct control_reply *r, int code, struct json_object *errors)
{
	size_t n = json_object_array_length(errors);

	begin_error(r, code);
	reply_json(r, n ? json_object_get(json_object_array_get_idx(errors, 0)) : NULL);
	reply_text(r, ",\"errors\":");
	reply_json(r, errors);
	reply_text(r, "}\n");
}

/* --- values --- */

/* Length of the UTF-8 sequence that s begins with (RFC 3629 section 4), 0: it is none. Reads no
 * further than the first byte that does not fit, so a NUL ends it. */
static size_t utf8_sequence(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0; /* overlong */
	else if (s[0] == 0xed)
		high = 0x9f; /* surrogates */
	else if (s[0] == 0xf0)
		low = 0x90; /* overlong */
	else if (s[0] == 0xf4)
		high = 0x8f; /* beyond U+10FFFF */
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return n;
}

static struct json_object *repaired(const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	char *good = malloc(strlen(text) * 3 + 1), *to = good;
	struct json_object *string;

	if (!good)
		return NULL;
	for (const char *s = text; *s;) {
		size_t n = utf8_sequence((const unsigned char *)s);

		memcpy(to, n ? s : replacement, n ? n : 3);
		to += n ? n : 3;
		s += n ? n : 1;
	}
	string = json_object_new_string_len(good, (int)(to - good));
	free(good);
	return string;
}

struct json_object *reply_string(const char *text)
{
	const char *s = text;
	size_t n = 1;

	if (!text)
		return NULL;
	while (*s && (n = utf8_sequence((const unsigned char *)s)) > 0)
		s += n;
	return *s ? repaired(text) : json_object_new_string(text);
}

void reply_add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, reply_string(text));
}

void reply_add_number(struct json_object *object, const char *key, uint64_t number)
{
	json_object_object_add(object, key, json_object_new_uint64(number));
}

void reply_add_bool(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}
