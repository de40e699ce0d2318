#include "gateway/control/request.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum kind { TEXT, NUMBER, ARRAY };

static const struct argument {
	const char *key;
	enum control_argument bit;
	enum kind kind;
	size_t offset;
} arguments[] = {
	{"name", CONTROL_ARG_NAME, TEXT, offsetof(struct control_request, name)},
	{"address", CONTROL_ARG_ADDRESS, TEXT, offsetof(struct control_request, address)},
	{"type", CONTROL_ARG_TYPE, TEXT, offsetof(struct control_request, type)},
	{"client", CONTROL_ARG_CLIENT, TEXT, offsetof(struct control_request, client)},
	{"limit", CONTROL_ARG_LIMIT, NUMBER, offsetof(struct control_request, limit)},
	{"after", CONTROL_ARG_AFTER, NUMBER, offsetof(struct control_request, after)},
	{"source", CONTROL_ARG_SOURCE, TEXT, offsetof(struct control_request, source)},
	{"rule", CONTROL_ARG_RULE, TEXT, offsetof(struct control_request, rule)},
	{"records", CONTROL_ARG_RECORDS, ARRAY, offsetof(struct control_request, records)},
};
#define N_ARGUMENTS (sizeof arguments / sizeof arguments[0])

/* A record's data is deepest: {records: [{rdata: {params: {alpn: [..]}}}]}. Deeper nonsense is not
 * followed. */
#define DEPTH_MAX 8

static const struct argument *argument_find(const char *key)
{
	for (size_t i = 0; i < N_ARGUMENTS; i++)
		if (strcmp(arguments[i].key, key) == 0)
			return &arguments[i];
	return NULL;
}

static int parse_json(const char *line, size_t len, struct json_object **ret, char *error)
{
	struct json_tokener *tokener;
	enum json_tokener_error e;
	struct json_object *json;

	*error = 0;
	if (memchr(line, 0, len)) { /* json-c would take it for the end */
		snprintf(error, CONTROL_REQUEST_ERROR_MAX, "not JSON: a NUL byte");
		return -EINVAL;
	}
	tokener = json_tokener_new_ex(DEPTH_MAX);
	if (!tokener)
		return -ENOMEM;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	json = json_tokener_parse_ex(tokener, line, (int)len);
	e = json_tokener_get_error(tokener);
	json_tokener_free(tokener);
	if (e == json_tokener_success && json_object_is_type(json, json_type_object)) {
		*ret = json;
		return 0;
	}
	json_object_put(json);
	if (e == json_tokener_success)
		snprintf(error, CONTROL_REQUEST_ERROR_MAX,
			"not a JSON object; expected: {\"cmd\": NAME, ...}");
	else
		snprintf(error, CONTROL_REQUEST_ERROR_MAX, "not JSON: %s",
			e == json_tokener_continue ? "the line ends too early"
						   : json_tokener_error_desc(e));
	return -EINVAL;
}

static int take_text(struct json_object *value, const char **ret)
{
	const char *text = json_object_get_string(value);

	if (!json_object_is_type(value, json_type_string) ||
		strlen(text) != (size_t)json_object_get_string_len(value)) /* "\u0000" */
		return -EINVAL;
	*ret = text;
	return 0;
}

static int take_number(struct json_object *value, uint32_t *ret)
{
	int64_t n;

	if (!json_object_is_type(value, json_type_int))
		return -EINVAL;
	n = json_object_get_int64(value);
	if (n < 0 || n >= UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)n;
	return 0;
}

/* Its text is the value's, and goes with it. */
static int take_array(struct json_object *value, const char **ret)
{
	if (!json_object_is_type(value, json_type_array))
		return -EINVAL;
	*ret = json_object_to_json_string_ext(
		value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	return *ret ? 0 : -EINVAL;
}

static int take_argument(
	struct control_request *r, const struct argument *a, struct json_object *value)
{
	char *field = (char *)r + a->offset;

	if (!value) /* null: as if it were not there */
		return 0;
	r->given |= a->bit;
	switch (a->kind) {
	case NUMBER:
		return take_number(value, (uint32_t *)(void *)field);
	case ARRAY:
		return take_array(value, (const char **)(void *)field);
	default:
		return take_text(value, (const char **)(void *)field);
	}
}

static int take_all(struct control_request *r, char *error)
{
	static const char *const kinds[] = {[TEXT] = "a text",
		[NUMBER] = "a number from 0 to 4294967294",
		[ARRAY] = "an array"};
	struct json_object_iterator it = json_object_iter_begin(r->json);
	struct json_object_iterator end = json_object_iter_end(r->json);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		const char *key = json_object_iter_peek_name(&it);
		struct json_object *value = json_object_iter_peek_value(&it);
		const struct argument *a = argument_find(key);

		if (strcmp(key, "cmd") == 0) {
			if (take_text(value, &r->cmd)) {
				snprintf(error, CONTROL_REQUEST_ERROR_MAX, "cmd: not a text");
				return -EINVAL;
			}
		} else if (!a) {
			snprintf(error, CONTROL_REQUEST_ERROR_MAX, "%.64s: unknown argument", key);
			return -EINVAL;
		} else if (take_argument(r, a, value)) {
			snprintf(error, CONTROL_REQUEST_ERROR_MAX, "%s: not %s", key,
				kinds[a->kind]);
			return -EINVAL;
		}
	}
	if (r->cmd)
		return 0;
	snprintf(error, CONTROL_REQUEST_ERROR_MAX, "cmd is missing");
	return -EINVAL;
}

int control_request_parse(const char *line, size_t len, struct control_request *ret, char *error)
{
	struct control_request r = {0};
	int err;

	while (len > 0 && strchr(" \t\r", line[len - 1]) && line[len - 1])
		len--;
	if (len == 0) {
		snprintf(error, CONTROL_REQUEST_ERROR_MAX, "an empty line");
		return -EINVAL;
	}
	err = parse_json(line, len, &r.json, error);
	if (err)
		return err;
	err = take_all(&r, error);
	if (err) {
		control_request_fini(&r);
		return err;
	}
	*ret = r;
	return 0;
}

void control_request_fini(struct control_request *r)
{
	json_object_put(r->json);
	*r = (struct control_request){0};
}

const char *control_arguments_format(unsigned bits, char *text)
{
	size_t len = 0;

	text[0] = 0;
	for (size_t i = 0; i < N_ARGUMENTS; i++)
		if (bits & arguments[i].bit)
			len += (size_t)snprintf(text + len, CONTROL_ARGUMENTS_MAX - len, "%s%s",
				len ? ", " : "", arguments[i].key);
	return text;
}
