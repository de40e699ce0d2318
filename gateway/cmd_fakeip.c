#include "gateway/client.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <stdio.h>

#include "gateway/screen.h"

/* --- list: page by page, as the table may be longer than one reply should be --- */

static void print_page(struct json_object *page, bool json, bool *is_first)
{
	for (size_t i = 0; i < screen_count(page); i++) {
		struct json_object *mapping = json_object_array_get_idx(page, i);

		if (json) {
			fputs(*is_first ? "" : ",", stdout);
			screen_json(mapping, "");
		} else {
			if (*is_first)
				screen_mapping_head();
			screen_mapping_row(mapping);
		}
		*is_first = false;
	}
}

static int print_all(struct client *c, bool json)
{
	struct json_object *request = client_request("fakeip.list"), *reply;
	bool is_first = true;
	int err;

	while ((err = client_ask(c, request, &reply)) == 0) {
		struct json_object *next;

		if (json && is_first)
			fputs("[", stdout);
		print_page(screen_get(reply, "result"), json, &is_first);
		next = json_object_get(screen_get(reply, "next"));
		json_object_put(reply);
		if (!next)
			break;
		request = client_request("fakeip.list");
		json_object_object_add(request, "after", next);
	}
	if (!err && json)
		puts("]");
	else if (!err && is_first)
		puts("no name has a fake address");
	return err;
}

int cmd_fakeip_list(const struct cmd_args *a)
{
	struct client *c;

	if (client_open(a, &c))
		return CMD_FAILED;
	int err = print_all(c, a->given & CMD_JSON);

	client_close(c);
	return err ? CMD_FAILED : CMD_DONE;
}

/* --- lookup --- */

static void print_one(struct json_object *m)
{
	struct json_object *verdict = screen_get(m, "verdict");
	char text[32];

	printf("%s\n", screen_text(m, "name"));
	if (*screen_text(m, "view"))
		printf("  view      %s\n", screen_text(m, "view"));
	printf("  v4        %s\n", screen_text(m, "v4"));
	printf("  v6        %s\n", screen_text(m, "v6"));
	printf("  rule      %s\n", screen_text(m, "rule"));
	printf("  egress    %s\n", screen_text(m, "egress"));
	printf("  state     %s, answered %s ago", screen_text(m, "state"),
		screen_duration(screen_number(m, "last_answer_s"), text));
	printf(", the answer expires in %s, flows %s\n",
		screen_duration(screen_number(m, "expires_in_s"), text), screen_text(m, "flows"));
	if (verdict)
		printf("  verdict   %s (by %s)  %s %s\n", screen_text(verdict, "egress"),
			screen_text(verdict, "by"), screen_text(verdict, "address4"),
			screen_text(verdict, "address6"));
}

static void print_found(struct json_object *result)
{
	if (!json_object_is_type(result, json_type_array))
		print_one(result);
	for (size_t i = 0; i < screen_count(result); i++)
		print_one(json_object_array_get_idx(result, i));
}

static bool is_address(const char *text)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

int cmd_fakeip_lookup(const struct cmd_args *a)
{
	struct json_object *request = client_request("fakeip.lookup");
	const char *what = a->words[0];

	json_object_object_add(
		request, is_address(what) ? "address" : "name", json_object_new_string(what));
	if (a->client)
		json_object_object_add(request, "client", json_object_new_string(a->client));
	return client_run(a, request, print_found);
}

/* --- flush --- */

static void print_flushed(struct json_object *result)
{
	printf("%s flushed, of these %s still in use: kept until their hold is over\n",
		screen_text(result, "flushed"), screen_text(result, "kept"));
}

int cmd_fakeip_flush(const struct cmd_args *a)
{
	struct json_object *request = client_request("fakeip.flush");

	if (a->n_words)
		json_object_object_add(request, is_address(a->words[0]) ? "address" : "name",
			json_object_new_string(a->words[0]));
	return client_run(a, request, print_flushed);
}
