#include "gateway/client.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "gateway/screen.h"

static struct json_object *request(const char *cmd, const struct cmd_args *a)
{
	struct json_object *q = client_request(cmd);

	if (a->n_words)
		json_object_object_add(q, "name", json_object_new_string(a->words[0]));
	return q;
}

/* What it says, if that is not its addresses. */
static const char *result_name(struct json_object *e)
{
	static const char *const names[] = {
		"", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};
	int64_t rcode = screen_number(e, "rcode");

	if (rcode == 0 && screen_number(e, "records") == 0)
		return "NODATA";
	return rcode >= 0 && (size_t)rcode < sizeof names / sizeof names[0] ? names[rcode] : "?";
}

static void print_entry(struct json_object *e)
{
	struct json_object *addresses = screen_get(e, "addresses");
	bool is_fresh = strcmp(screen_text(e, "state"), "fresh") == 0;
	char text[32];

	printf("%-40s %-6s %-8s %s", screen_text(e, "name"), screen_text(e, "type"),
		is_fresh ? screen_duration(screen_number(e, "ttl_s"), text)
			 : screen_text(e, "state"),
		result_name(e));
	for (size_t i = 0; i < screen_count(addresses); i++)
		printf("%s%s", i ? " " : "", screen_value(json_object_array_get_idx(addresses, i)));
	puts("");
}

static void print_all(struct json_object *all)
{
	for (size_t i = 0; i < screen_count(all); i++)
		print_entry(json_object_array_get_idx(all, i));
	if (screen_count(all) == 0)
		puts("nothing is kept");
}

int cmd_cache_show(const struct cmd_args *a)
{
	return client_run(a, request("cache.show", a), print_all);
}

static void print_flushed(struct json_object *result)
{
	printf("%s flushed\n", screen_text(result, "flushed"));
}

int cmd_cache_flush(const struct cmd_args *a)
{
	return client_run(a, request("cache.flush", a), print_flushed);
}
