/* records.set, records.delete, records.list. */
#include "gateway/control/command_internal.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

static void refuse(struct control_reply *r, int error, const char *why)
{
	int code = error == -EINVAL   ? CONTROL_REFUSED
		   : error == -ENOENT ? CONTROL_NOT_FOUND
				      : CONTROL_FAILED;

	reply_error(r, code, "%s", *why ? why : strerror(-error));
}

void command_records_set(struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct json_object *result, *records;
	char why[DAEMON_WHY_MAX] = "";
	int error;

	if (!q->source || !q->records) {
		reply_error(r, CONTROL_BAD_REQUEST, "records.set wants source and records");
		return;
	}
	error = daemon_records_set(d, q->source, q->records, why, sizeof why);
	if (error) {
		refuse(r, error, why);
		return;
	}
	result = json_object_new_object();
	reply_add_text(result, "source", q->source);
	json_object_object_get_ex(q->json, "records", &records);
	reply_add_number(result, "records", json_object_array_length(records));
	reply_result(r, result);
}

void command_records_delete(
	struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct json_object *result;
	char why[DAEMON_WHY_MAX] = "";
	int error;

	if (!q->source) {
		reply_error(r, CONTROL_BAD_REQUEST, "records.delete wants source");
		return;
	}
	error = daemon_records_set(d, q->source, NULL, why, sizeof why);
	if (error) {
		refuse(r, error, why);
		return;
	}
	result = json_object_new_object();
	reply_add_text(result, "source", q->source);
	reply_result(r, result);
}

/* The file may have been written by anybody. */
static struct json_object *parse(const char *text)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *all;

	if (!t)
		return NULL;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	all = json_tokener_parse_ex(t, text, (int)strlen(text));
	json_tokener_free(t);
	return all;
}

void command_records_list(
	struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct json_object *all, *one;
	char *text;
	int error = daemon_records_list(d, &text);

	if (error) {
		refuse(r, error, error == -EBADMSG ? "the file of pushed records is broken" : "");
		return;
	}
	all = parse(text);
	free(text);
	if (!all) {
		refuse(r, -EBADMSG, "the file of pushed records is broken");
	} else if (!q->source) {
		reply_result(r, all);
	} else if (json_object_object_get_ex(all, q->source, &one)) {
		struct json_object *result = json_object_new_object();

		json_object_object_add(result, q->source, json_object_get(one));
		json_object_put(all);
		reply_result(r, result);
	} else {
		json_object_put(all);
		reply_error(r, CONTROL_NOT_FOUND, "no such source");
	}
}
