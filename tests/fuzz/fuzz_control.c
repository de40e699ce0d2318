/* Whoever may open the control socket may send any bytes. They are cut into lines, the same however
 * they are torn, and each line is a request or is refused with a reason; either way what goes back
 * is one line of JSON in UTF-8. The first byte is the size of the pieces. */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/control/input.h"
#include "gateway/control/reply.h"
#include "gateway/control/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* Adds {"ok":…} for the line, with the line itself in it. */
static void answer(struct control_reply *out, const char *line, size_t len)
{
	struct control_request q;
	char error[CONTROL_REQUEST_ERROR_MAX] = "", allowed[CONTROL_ARGUMENTS_MAX];
	int err = control_request_parse(line, len, &q, error);
	char *copy = strndup(line, len); /* up to a NUL */

	require(copy && (!err || (err == -EINVAL && error[0])));
	if (err) {
		reply_error(out, 400, "%s: %s", error, copy);
	} else {
		require(strlen(q.cmd) <= len);
		require(!(q.given & CONTROL_ARG_NAME) == !q.name);
		require(!(q.given & CONTROL_ARG_RECORDS) == !q.records);
		require(q.limit < UINT32_MAX && q.after < UINT32_MAX);
		control_arguments_format(q.given, allowed);
		reply_result(out, reply_string(copy));
		control_request_fini(&q);
	}
	free(copy);
}

static void take_lines(struct control_input *in, struct control_reply *out, bool at_end)
{
	enum control_line kind;
	const char *line;
	size_t len;

	while ((kind = control_input_next(in, &line, &len)) != CONTROL_LINE_NONE) {
		if (kind == CONTROL_LINE_TOO_LONG) {
			reply_error(out, 413, "too long");
		} else {
			require(len <= CONTROL_LINE_MAX && !memchr(line, '\n', len));
			answer(out, line, len);
		}
	}
	if (at_end && control_input_rest(in, &line, &len) == CONTROL_LINE_WHOLE)
		answer(out, line, len);
}

static void run(struct control_reply *out, const char *bytes, size_t size, size_t piece)
{
	struct control_input in = {0};

	for (size_t at = 0; at < size; at += piece) {
		require(control_input_feed(
				&in, bytes + at, size - at < piece ? size - at : piece) == 0);
		take_lines(&in, out, false);
	}
	take_lines(&in, out, true);
	control_input_fini(&in);
}

static void check_lines(const struct control_reply *out)
{
	for (size_t at = 0; at < out->len;) {
		const char *line = out->text + at, *newline = memchr(line, '\n', out->len - at);
		struct json_tokener *t = json_tokener_new();
		struct json_object *reply;

		require(newline && t);
		json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
		reply = json_tokener_parse_ex(t, line, (int)(newline - line));
		require(json_object_is_type(reply, json_type_object));
		json_object_put(reply);
		json_tokener_free(t);
		at = (size_t)(newline + 1 - out->text);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_reply whole = {0}, torn = {0};
	const char *bytes = (const char *)data + 1;

	if (size < 2)
		return 0;
	run(&whole, bytes, size - 1, CONTROL_PIECE_MAX);
	run(&torn, bytes, size - 1, data[0] % 64 + 1u);
	require(!whole.broken && !torn.broken);
	require(whole.len == torn.len && memcmp(whole.text, torn.text, whole.len) == 0);
	check_lines(&whole);
	free(whole.text);
	free(torn.text);
	return 0;
}
