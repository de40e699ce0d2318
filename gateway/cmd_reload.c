#include "gateway/client.h"

#include <json-c/json.h>
#include <stdio.h>

#include "gateway/screen.h"

static void print(struct json_object *result)
{
	struct json_object *changed = screen_get(result, "changed");

	for (size_t i = 0; i < screen_count(changed); i++)
		puts(screen_value(json_object_array_get_idx(changed, i)));
}

int cmd_reload(const struct cmd_args *a)
{
	return client_run(a, client_request("reload"), print);
}
