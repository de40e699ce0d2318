#ifndef TUNGATE_CONTROL_COMMAND_INTERNAL_H
#define TUNGATE_CONTROL_COMMAND_INTERNAL_H

#include "gateway/control/command.h"
#include "gateway/control/request.h"
#include "gateway/daemon.h"

/* Codes of {"ok":false}. */
enum control_code {
	CONTROL_BAD_REQUEST = 400,
	CONTROL_NOT_FOUND = 404,
	CONTROL_NO_SUCH_COMMAND = 405,
	CONTROL_TOO_LONG = 413,
	CONTROL_REFUSED = 422, /* understood, but the configuration has errors */
	CONTROL_FAILED = 500,
	CONTROL_BUSY = 503,
};

typedef void control_command(
	struct daemon *d, const struct control_request *q, struct control_reply *r);

control_command command_status;
control_command command_fakeip_list;
control_command command_fakeip_lookup;
control_command command_fakeip_flush;
control_command command_cache_show;
control_command command_cache_flush;
control_command command_explain;
control_command command_learned;
control_command command_reload;
control_command command_records_set;
control_command command_records_delete;
control_command command_records_list;

struct json_object *learned_files_json(struct daemon *d); /* for status */
struct json_object *mapping_json(const struct daemon_mapping *m);

#endif
