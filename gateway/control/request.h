/* One request line, read. Pure: no daemon, no I/O; the bytes come from anybody who may open the
 * socket. */
#ifndef TUNGATE_CONTROL_REQUEST_H
#define TUNGATE_CONTROL_REQUEST_H

#include <stddef.h>
#include <stdint.h>

struct json_object;

enum control_argument {
	CONTROL_ARG_NAME = 1,
	CONTROL_ARG_ADDRESS = 2,
	CONTROL_ARG_TYPE = 4,
	CONTROL_ARG_CLIENT = 8,
	CONTROL_ARG_LIMIT = 16,
	CONTROL_ARG_AFTER = 32,
	CONTROL_ARG_SOURCE = 64,
	CONTROL_ARG_RECORDS = 128,
	CONTROL_ARG_RULE = 256,
};

struct control_request {
	const char *cmd;			    /* valid UTF-8 without NUL, as all texts here */
	unsigned given;				    /* enum control_argument */
	const char *name, *address, *type, *client; /* NULL: not given */
	const char *source, *rule;
	const char *records;	  /* the JSON text of an array */
	uint32_t limit, after;	  /* 0: not given */
	struct json_object *json; /* owns the texts */
};

#define CONTROL_REQUEST_ERROR_MAX 160
/* -EINVAL and the reason in error[CONTROL_REQUEST_ERROR_MAX]: not a JSON object, no cmd, an unknown
 * argument, or a value of the wrong type. -ENOMEM. */
int control_request_parse(const char *line, size_t len, struct control_request *ret, char *error);
void control_request_fini(struct control_request *r);
/* "name, address": which arguments these bits are, in text[CONTROL_ARGUMENTS_MAX]; returns text. */
#define CONTROL_ARGUMENTS_MAX 96
const char *control_arguments_format(unsigned arguments, char *text);

#endif
