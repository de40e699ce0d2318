/* The table of commands, and those that fit beside it. */
#include "gateway/control/command_internal.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/control/input.h"

static control_command command_help, command_version;

static const struct command {
	const char *name;
	unsigned arguments; /* enum control_argument, all optional here */
	const char *help;
	control_command *run;
} commands[] = {
	{"status", 0, "what the gateway does and how it is", command_status},
	{"fakeip.list", CONTROL_ARG_LIMIT | CONTROL_ARG_AFTER,
		"fake addresses and their names; \"next\" of a reply is \"after\" of the next "
		"request",
		command_fakeip_list},
	{"fakeip.lookup", CONTROL_ARG_NAME | CONTROL_ARG_ADDRESS | CONTROL_ARG_CLIENT,
		"the mapping of a name or of a fake address", command_fakeip_lookup},
	{"fakeip.flush", CONTROL_ARG_NAME | CONTROL_ARG_ADDRESS,
		"new addresses for a name, or for all, when next asked; what is in use stays "
		"reserved",
		command_fakeip_flush},
	{"explain", CONTROL_ARG_NAME | CONTROL_ARG_TYPE | CONTROL_ARG_CLIENT,
		"how a name would be answered, and why", command_explain},
	{"cache.show", CONTROL_ARG_NAME | CONTROL_ARG_LIMIT,
		"answers of upstreams that are kept: of a name, or all", command_cache_show},
	{"cache.flush", CONTROL_ARG_NAME, "forget the answers of a name, or all",
		command_cache_flush},
	{"learned", CONTROL_ARG_RULE | CONTROL_ARG_LIMIT,
		"the names that checks have learned, the one asked last first: for a rule, or all",
		command_learned},
	{"reload", 0, "read the configuration again", command_reload},
	{"records.set", CONTROL_ARG_SOURCE | CONTROL_ARG_RECORDS,
		"local records of a source: all of them instead of those that it had, or none; a "
		"request is at most 64 KiB, more records are pushed as several sources",
		command_records_set},
	{"records.delete", CONTROL_ARG_SOURCE, "no more records of a source",
		command_records_delete},
	{"records.list", CONTROL_ARG_SOURCE, "the records that were pushed, by source",
		command_records_list},
	{"help", 0, "the commands", command_help},
	{"version", 0, "the version", command_version},
};
#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void command_help(struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct json_object *all = json_object_new_array();

	(void)d;
	(void)q;
	for (size_t i = 0; i < N_COMMANDS; i++) {
		struct json_object *one = json_object_new_object();
		char arguments[CONTROL_ARGUMENTS_MAX];

		reply_add_text(one, "cmd", commands[i].name);
		reply_add_text(one, "arguments",
			control_arguments_format(commands[i].arguments, arguments));
		reply_add_text(one, "help", commands[i].help);
		json_object_array_add(all, one);
	}
	reply_result(r, all);
}

static void command_version(
	struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct json_object *result = json_object_new_object();

	(void)d;
	(void)q;
	reply_add_text(result, "version", TUNGATE_VERSION);
	reply_result(r, result);
}

static void dispatch(struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	char allowed[CONTROL_ARGUMENTS_MAX];

	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(commands[i].name, q->cmd) != 0)
			continue;
		if (q->given & ~commands[i].arguments)
			reply_error(r, CONTROL_BAD_REQUEST, "%s takes %s", q->cmd,
				commands[i].arguments
					? control_arguments_format(commands[i].arguments, allowed)
					: "no arguments");
		else
			commands[i].run(d, q, r);
		return;
	}
	reply_error(
		r, CONTROL_NO_SUCH_COMMAND, "no such command: %.64s; \"help\" lists them", q->cmd);
}

void control_command_run(struct daemon *d, const char *line, size_t len, struct control_reply *r)
{
	struct control_request q;
	char error[CONTROL_REQUEST_ERROR_MAX];
	int err = control_request_parse(line, len, &q, error);

	if (err == -EINVAL) {
		reply_error(r, CONTROL_BAD_REQUEST, "%s", error);
	} else if (err) {
		reply_error(r, CONTROL_FAILED, "no memory");
	} else {
		dispatch(d, &q, r);
		control_request_fini(&q);
	}
}

void control_command_too_long(struct control_reply *r)
{
	reply_error(r, CONTROL_TOO_LONG, "a request line is at most %u bytes", CONTROL_LINE_MAX);
}

/* --- reload --- */

#define TOLD_MAX 1000 /* lines */

struct reloading {
	struct json_object *changed, *errors;
	struct control_reply *reply; /* NULL: nobody reads it any more */
};

static void tell(void *arg, bool is_error, const char *text)
{
	struct reloading *l = arg;
	struct json_object *lines = is_error ? l->errors : l->changed;

	if (json_object_array_length(lines) < TOLD_MAX)
		json_object_array_add(lines, reply_string(text));
}

/* Takes what was told. */
static void reply_reloaded(struct reloading *l, int error, struct control_reply *r)
{
	struct json_object *result;

	if (error == -EBUSY)
		json_object_array_add(
			l->errors, json_object_new_string("a reload is under way already"));
	else if (error && json_object_array_length(l->errors) == 0)
		json_object_array_add(l->errors,
			json_object_new_string("the configuration could not be read again; the "
					       "running one stays in force"));
	if (error) {
		json_object_put(l->changed);
		reply_errors(r, error == -EBUSY ? CONTROL_BUSY : CONTROL_REFUSED, l->errors);
		return;
	}
	json_object_put(l->errors);
	result = json_object_new_object();
	json_object_object_add(result, "changed", l->changed);
	reply_result(r, result);
}

static void reloaded(void *arg, int error)
{
	struct reloading *l = arg;
	struct control_reply *r = l->reply;

	if (r) {
		r->waits = NULL;
		reply_reloaded(l, error, r);
		r->ready(r);
	} else {
		json_object_put(l->changed);
		json_object_put(l->errors);
	}
	free(l);
}

void control_command_forget(struct control_reply *r)
{
	struct reloading *l = r->waits;

	l->reply = NULL;
	r->waits = NULL;
}

void command_reload(struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct reloading *l = malloc(sizeof *l);
	int error;

	(void)q;
	if (!l) {
		reply_error(r, CONTROL_FAILED, "no memory");
		return;
	}
	*l = (struct reloading){json_object_new_array(), json_object_new_array(), r};
	error = daemon_reload(d, tell, reloaded, l);
	if (!error) {
		r->waits = l;
		return;
	}
	reply_reloaded(l, error, r);
	free(l);
}
