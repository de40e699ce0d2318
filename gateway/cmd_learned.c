#include "gateway/client.h"

#include <json-c/json.h>
#include <stdio.h>

#include "gateway/base/clock.h"
#include "gateway/screen.h"

#define SHOWN_MAX 10000

static const char *ago(struct json_object *n, const char *key, char *buf)
{
	int64_t at_s = screen_number(n, key), now_s = clock_wall_s();

	if (!screen_get(n, key))
		return "-";
	return screen_duration(now_s > at_s ? now_s - at_s : 0, buf);
}

static void print_name(struct json_object *n)
{
	struct json_object *addresses = screen_get(n, "addresses");
	char asked[32], verified[32];

	printf("%-40s %-12s asked %-8s verified %-8s %s", screen_text(n, "name"),
		screen_text(n, "rule"), ago(n, "asked_at", asked), ago(n, "verified_at", verified),
		screen_text(n, "list"));
	for (size_t i = 0; i < screen_count(addresses); i++)
		printf(" %s", screen_value(json_object_array_get_idx(addresses, i)));
	puts("");
}

static void print_all(struct json_object *all)
{
	size_t n = screen_count(all);

	for (size_t i = 0; i < n && i < SHOWN_MAX; i++)
		print_name(json_object_array_get_idx(all, i));
	if (n == 0)
		puts("nothing is learned");
	if (n > SHOWN_MAX)
		printf("and more: these are the %d asked last; status tells the files of all\n",
			SHOWN_MAX);
}

int cmd_learned(const struct cmd_args *a)
{
	struct json_object *q = client_request("learned");

	if (!(a->given & CMD_JSON))
		json_object_object_add(q, "limit", json_object_new_int(SHOWN_MAX + 1));
	if (a->rule)
		json_object_object_add(q, "rule", json_object_new_string(a->rule));
	return client_run(a, q, print_all);
}
