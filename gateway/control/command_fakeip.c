/* fakeip.list, fakeip.lookup, fakeip.flush. */
#include "gateway/control/command_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>

#define LIST_LIMIT 1000
#define VIEWS_MAX  32 /* of one name */

static void add_address(struct json_object *j, const char *key, const struct ip_addr *a)
{
	char text[IP_TEXT_MAX];

	reply_add_text(j, key, a->family == IP_NONE ? NULL : ip_addr_format(a, text));
}

/* NULL: nothing was sent there yet. */
static struct json_object *verdict_json(const struct daemon_mapping *m)
{
	struct json_object *j;

	if (!m->verdict.egress)
		return NULL;
	j = json_object_new_object();
	reply_add_text(j, "egress", m->verdict.egress);
	add_address(j, "address4", &m->verdict.address4);
	add_address(j, "address6", &m->verdict.address6);
	reply_add_text(j, "by", m->verdict.unless ? "unless" : "rule");
	return j;
}

struct json_object *mapping_json(const struct daemon_mapping *m)
{
	struct json_object *j = json_object_new_object();
	char text[INET6_ADDRSTRLEN];

	reply_add_text(j, "name", m->name);
	reply_add_text(j, "view", m->view);
	reply_add_text(j, "v4", m->m.has4 ? inet_ntop(AF_INET, m->m.v4, text, sizeof text) : NULL);
	reply_add_text(j, "v6", m->m.has6 ? inet_ntop(AF_INET6, m->m.v6, text, sizeof text) : NULL);
	reply_add_text(j, "rule", m->rule);
	reply_add_text(j, "egress", m->egress);
	reply_add_text(j, "state", m->in_hold ? "hold" : "live");
	reply_add_bool(j, "flushed", m->m.flushed);
	reply_add_number(j, "last_answer_s", m->last_answer_s);
	reply_add_number(j, "expires_in_s", m->expires_in_s);
	reply_add_number(j, "flows", m->m.flows);
	json_object_object_add(j, "verdict", verdict_json(m));
	reply_add_number(j, "index", m->m.index);
	return j;
}

/* --- list --- */

void command_fakeip_list(struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	r->after = q->given & CONTROL_ARG_AFTER ? q->after : UINT32_MAX;
	r->left = q->given & CONTROL_ARG_LIMIT ? q->limit : LIST_LIMIT;
	r->more = true;
	r->listed = false;
	reply_text(r, "{\"ok\":true,\"result\":[");
	control_command_more(d, r);
}

/* A table of a million names must not be in memory as text: a piece is made when the one before it
 * has been sent. The index orders them, so names that come and go meanwhile do no harm. */
void control_command_more(struct daemon *d, struct control_reply *r)
{
	size_t upto = r->len + CONTROL_PIECE_TARGET;
	struct daemon_mapping m;
	bool found;

	while ((found = (daemon_mapping_next(d, r->after, &m) == 0)) && r->left > 0) {
		if (r->len >= upto || r->broken)
			return;
		if (r->listed)
			reply_text(r, ",");
		reply_json(r, mapping_json(&m));
		r->listed = true;
		r->after = m.m.index;
		r->left--;
	}
	r->more = false;
	reply_text(r, "]");
	if (found && r->after != UINT32_MAX) {
		reply_text(r, ",\"next\":");
		reply_json(r, json_object_new_uint64(r->after));
	}
	reply_text(r, "}\n");
}

/* --- lookup --- */

static void ignore_list(void *arg, const struct policy_explain_list *l)
{
	(void)arg;
	(void)l;
}

static void ignore_rule(void *arg, const struct policy_explain_rule *rule)
{
	(void)arg;
	(void)rule;
}

/* The one that an answer to this client would tell. */
static void lookup_for_client(
	struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	const struct policy_explain_sink sink = {.list = ignore_list, .rule = ignore_rule};
	struct daemon_explanation e;
	const char *error = NULL;

	if (daemon_explain(d, q->name, NULL, q->client, &sink, &e, &error))
		reply_error(r, CONTROL_BAD_REQUEST, "%s", error ? error : "not understood");
	else if (!e.has_mapping)
		reply_error(r, CONTROL_NOT_FOUND, "no such name");
	else
		reply_result(r, mapping_json(&e.mapping));
}

void command_fakeip_lookup(
	struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct daemon_mapping *found;
	size_t n;

	if (!q->name == !q->address) {
		reply_error(r, CONTROL_BAD_REQUEST, "fakeip.lookup wants name or address");
		return;
	}
	if (q->client && q->name) {
		lookup_for_client(d, q, r);
		return;
	}
	found = calloc(VIEWS_MAX, sizeof *found);
	if (!found) {
		reply_error(r, CONTROL_FAILED, "no memory");
		return;
	}
	n = daemon_mapping_find(d, q->name ? q->name : q->address, found, VIEWS_MAX);
	if (n == 0) {
		reply_error(r, CONTROL_NOT_FOUND, q->name ? "no such name" : "no such address");
	} else if (n == 1) {
		reply_result(r, mapping_json(found));
	} else {
		struct json_object *all = json_object_new_array();

		for (size_t i = 0; i < n && i < VIEWS_MAX; i++)
			json_object_array_add(all, mapping_json(&found[i]));
		reply_result(r, all);
	}
	free(found);
}

/* --- flush --- */

void command_fakeip_flush(
	struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct daemon_flush done;
	struct json_object *j;

	if (q->name && q->address) {
		reply_error(r, CONTROL_BAD_REQUEST, "fakeip.flush wants name, address, or neither");
		return;
	}
	if (daemon_flush(d, q->name ? q->name : q->address, &done) == -ENOENT) {
		reply_error(r, CONTROL_NOT_FOUND, q->name ? "no such name" : "no such address");
		return;
	}
	j = json_object_new_object();
	reply_add_number(j, "flushed", done.flushed);
	reply_add_number(j, "kept", done.kept);
	reply_result(r, j);
}
