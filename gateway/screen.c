#include "gateway/screen.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct json_object *screen_get(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	if (json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, key, &value);
	return value;
}

size_t screen_count(struct json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

/* C0, DEL, and C1 in its UTF-8 form. */
static size_t control_at(const char *text)
{
	unsigned char c = (unsigned char)text[0], next = c ? (unsigned char)text[1] : 0;

	if (c < 0x20 || c == 0x7f)
		return 1;
	return c == 0xc2 && next >= 0x80 && next < 0xa0 ? 2 : 0;
}

static void clean(struct json_object *string)
{
	const char *text = json_object_get_string(string);
	size_t len = (size_t)json_object_get_string_len(string), at = 0, n = 0;
	char *good;

	while (at < len && !control_at(text + at))
		at++;
	if (at == len)
		return;
	good = malloc(len);
	for (at = 0; good && at < len; n++) {
		size_t bad = control_at(text + at);

		good[n] = '?';
		if (!bad)
			good[n] = text[at];
		at += bad ? bad : 1;
	}
	json_object_set_string_len(string, good ? good : "?", good ? (int)n : 1);
	free(good);
}

const char *screen_value(struct json_object *value)
{
	const char *text;

	if (json_object_is_type(value, json_type_string))
		clean(value);
	text = json_object_get_string(value);
	return text ? text : "-";
}

const char *screen_text(struct json_object *object, const char *key)
{
	return screen_value(screen_get(object, key));
}

int64_t screen_number(struct json_object *object, const char *key)
{
	return json_object_get_int64(screen_get(object, key));
}

const char *screen_duration(int64_t s, char *buf)
{
	static const struct {
		int64_t seconds;
		char unit, below;
		int64_t below_seconds;
	} steps[] = {{86400, 'd', 'h', 3600}, {3600, 'h', 'm', 60}, {60, 'm', 's', 1}};

	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
		if (s < steps[i].seconds)
			continue;
		snprintf(buf, 32, "%" PRId64 "%c %" PRId64 "%c", s / steps[i].seconds,
			steps[i].unit, s % steps[i].seconds / steps[i].below_seconds,
			steps[i].below);
		return buf;
	}
	snprintf(buf, 32, "%" PRId64 "s", s);
	return buf;
}

void screen_json(struct json_object *value, const char *end)
{
	const char *text = json_object_to_json_string_ext(
		value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	printf("%s%s", text ? text : "null", end);
}

/* --- mappings --- */

#define ROW "%-15s  %-24s  %-4s  %9s  %5s  %-12s  %-10s  %s%s%s\n"

void screen_mapping_head(void)
{
	printf(ROW, "V4", "V6", "USE", "ANSWERED", "FLOWS", "RULE", "EGRESS", "NAME", "", "");
}

void screen_mapping_row(struct json_object *m)
{
	const char *view = screen_text(m, "view");
	char ago[32];

	printf(ROW, screen_text(m, "v4"), screen_text(m, "v6"), screen_text(m, "state"),
		screen_duration(screen_number(m, "last_answer_s"), ago), screen_text(m, "flows"),
		screen_text(m, "rule"), screen_text(m, "egress"), screen_text(m, "name"),
		*view ? "  view " : "", view);
}
