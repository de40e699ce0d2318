/* learned, and what status tells of it. */
#include "gateway/control/command_internal.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX  256
#define SHOW_LIMIT 10000 /* as JSON a name takes some 2 KB */

/* --- learned --- */

struct shown {
	struct json_object *all;
	size_t left;
};

static void add_time(struct json_object *j, const char *key, int64_t t_s)
{
	json_object_object_add(j, key, t_s ? json_object_new_int64(t_s) : NULL);
}

static struct json_object *name_json(const char *rule, const struct learned_name *n)
{
	struct json_object *j = json_object_new_object(), *addresses = json_object_new_array();
	char name[DNS_NAME_TEXT_MAX], text[IP_TEXT_MAX];

	for (size_t i = 0; i < n->n_addresses; i++)
		json_object_array_add(
			addresses, reply_string(ip_addr_format(&n->addresses[i], text)));
	reply_add_text(j, "name", dns_name_format(n->name->b, name));
	reply_add_text(j, "rule", rule);
	reply_add_text(j, "list", n->list);
	add_time(j, "learned_at", n->learned_at_s);
	add_time(j, "asked_at", n->asked_at_s);
	add_time(j, "verified_at", n->verified_at_s);
	json_object_object_add(j, "addresses", addresses);
	return j;
}

static void add_name(void *arg, const char *rule, const struct learned_name *n)
{
	struct shown *s = arg;

	if (s->left == 0)
		return;
	s->left--;
	json_object_array_add(s->all, name_json(rule, n));
}

/* The rules for which names are learned, each once. */
static void format_rules(struct daemon *d, char *buf, size_t size)
{
	struct daemon_learned_file *v = calloc(FILES_MAX, sizeof *v);
	size_t n = v ? daemon_learned_files(d, v, FILES_MAX) : 0, len = 0;

	buf[0] = 0;
	for (size_t i = 0; i < n && len < size; i++) {
		size_t j = 0;

		while (j < i && strcmp(v[j].rule, v[i].rule) != 0)
			j++;
		if (j == i)
			len += (size_t)snprintf(
				buf + len, size - len, "%s%s", len ? ", " : "", v[i].rule);
	}
	free(v);
}

void command_learned(struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct shown s = {.all = json_object_new_array(),
		.left = q->given & CONTROL_ARG_LIMIT ? q->limit : SHOW_LIMIT};
	char rules[256];

	if (daemon_learned(d, q->rule, add_name, &s)) {
		json_object_put(s.all);
		format_rules(d, rules, sizeof rules);
		reply_error(r, CONTROL_NOT_FOUND,
			"rule: no check learns names for %.64s; allowed: %s", q->rule,
			rules[0] ? rules : "none, as no check has learn");
		return;
	}
	reply_result(r, s.all);
}

/* --- status --- */

static const char *error_text(int error)
{
	if (!error)
		return NULL;
	return error == -EINVAL ? "the file has errors, see the log" : strerror(-error);
}

static struct json_object *file_json(const struct daemon_learned_file *f)
{
	struct json_object *j = json_object_new_object(), *evicted = json_object_new_object();

	reply_add_number(evicted, "capacity", f->info.evicted_capacity);
	reply_add_number(evicted, "age", f->info.evicted_age);
	reply_add_text(j, "file", f->file);
	reply_add_text(j, "rule", f->rule);
	reply_add_number(j, "names", f->info.names);
	reply_add_number(j, "lines", f->info.lines);
	reply_add_number(j, "restored", f->info.restored);
	reply_add_number(j, "learned", f->info.learned);
	reply_add_number(j, "unlearned", f->info.unlearned);
	json_object_object_add(j, "evicted", evicted);
	reply_add_number(j, "compactions", f->info.compactions);
	reply_add_text(j, "error", error_text(f->info.error));
	return j;
}

struct json_object *learned_files_json(struct daemon *d)
{
	struct json_object *all = json_object_new_array();
	struct daemon_learned_file *v = calloc(FILES_MAX, sizeof *v);
	size_t n = v ? daemon_learned_files(d, v, FILES_MAX) : 0;

	for (size_t i = 0; i < n; i++)
		json_object_array_add(all, file_json(&v[i]));
	free(v);
	return all;
}
