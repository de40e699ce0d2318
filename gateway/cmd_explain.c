/* explain: the story of a decision, in the order in which it is made. */
#include "gateway/client.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "gateway/screen.h"

static void print_question(struct json_object *e)
{
	struct json_object *client = screen_get(e, "client");

	printf("%s %s%s%s\n", screen_text(e, "name"), screen_text(e, "type"),
		client ? ", asked by " : "", client ? screen_value(client) : "");
}

static void print_lists(struct json_object *lists)
{
	for (size_t i = 0; i < screen_count(lists); i++) {
		struct json_object *l = json_object_array_get_idx(lists, i);

		printf("  in list    %s (%s", screen_text(l, "list"), screen_text(l, "file"));
		if (screen_get(l, "line"))
			printf(", line %s: %s", screen_text(l, "line"), screen_text(l, "text"));
		puts(")");
	}
}

static void print_rules(struct json_object *rules)
{
	for (size_t i = 0; i < screen_count(rules); i++) {
		struct json_object *r = json_object_array_get_idx(rules, i);

		printf("  rule       %-12s %s: %s\n", screen_text(r, "name"),
			json_object_get_boolean(screen_get(r, "matched")) ? "takes it" : "does not",
			screen_text(r, "why"));
	}
}

static const char *who_answers(struct json_object *e)
{
	static char rule[300];

	if (json_object_get_boolean(screen_get(e, "records")))
		return "local records";
	if (screen_get(e, "rule")) {
		(void)snprintf(rule, sizeof rule, "rule %s", screen_text(e, "rule"));
		return rule;
	}
	/* A built-in name, a lease, the table: a note tells. */
	return strcmp(screen_text(e, "answer"), "local") == 0 ? "this host itself" : "default";
}

static void print_cached(struct json_object *c)
{
	char text[32];

	if (!c)
		return;
	printf("  cache      %s", screen_text(c, "state"));
	if (strcmp(screen_text(c, "state"), "hit") == 0)
		printf(", for %s more", screen_duration(screen_number(c, "ttl_s"), text));
	puts("");
}

static void print_answer(struct json_object *e)
{
	struct json_object *sets = screen_get(e, "sets");

	printf("  answer     %s, by %s\n", screen_text(e, "answer"), who_answers(e));
	if (screen_get(e, "egress"))
		printf("  egress     %s\n", screen_text(e, "egress"));
	if (screen_get(e, "upstream"))
		printf("  upstream   %s\n", screen_text(e, "upstream"));
	print_cached(screen_get(e, "cache"));
	for (size_t i = 0; i < screen_count(sets); i++)
		printf("  set        %s\n", screen_value(json_object_array_get_idx(sets, i)));
}

static void print_mapping(struct json_object *m)
{
	char text[32];

	if (!m)
		return;
	printf("  mapping    %s  %s  %s, answered %s ago\n", screen_text(m, "v4"),
		screen_text(m, "v6"), screen_text(m, "state"),
		screen_duration(screen_number(m, "last_answer_s"), text));
}

static void print(struct json_object *e)
{
	struct json_object *notes = screen_get(e, "notes");

	print_question(e);
	print_lists(screen_get(e, "lists"));
	print_rules(screen_get(e, "rules"));
	print_answer(e);
	print_mapping(screen_get(e, "fakeip"));
	for (size_t i = 0; i < screen_count(notes); i++)
		printf("  note       %s\n", screen_value(json_object_array_get_idx(notes, i)));
}

int cmd_explain(const struct cmd_args *a)
{
	struct json_object *request = client_request("explain");

	json_object_object_add(request, "name", json_object_new_string(a->words[0]));
	if (a->type)
		json_object_object_add(request, "type", json_object_new_string(a->type));
	if (a->client)
		json_object_object_add(request, "client", json_object_new_string(a->client));
	return client_run(a, request, print);
}
