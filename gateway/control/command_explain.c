/* explain: the whole decision about a name, in the order in which it is made. */
#include "gateway/control/command_internal.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

struct way { /* what the policy tells on the way to the winner */
	struct json_object *lists, *rules, *notes;
};

static void add_list(void *arg, const struct policy_explain_list *l)
{
	struct way *w = arg;
	struct json_object *j = json_object_new_object();

	reply_add_text(j, "list", l->list);
	reply_add_text(j, "file", l->file);
	if (l->line)
		reply_add_number(j, "line", l->line);
	else
		reply_add_text(j, "line", NULL);
	reply_add_text(j, "text", l->line ? l->text : NULL);
	json_object_array_add(w->lists, j);
}

static void add_rule(void *arg, const struct policy_explain_rule *rule)
{
	struct way *w = arg;
	struct json_object *j = json_object_new_object();

	reply_add_text(j, "name", rule->name);
	reply_add_bool(j, "matched", rule->matched);
	reply_add_text(j, "why", rule->why);
	json_object_array_add(w->rules, j);
}

static void add_note(void *arg, const char *text)
{
	struct way *w = arg;

	json_object_array_add(w->notes, reply_string(text));
}

static void add_sets(struct json_object *all, const struct policy_rule *rule)
{
	char text[CONF_SET_TEXT_MAX];

	for (size_t i = 0; i < rule->n_sets; i++)
		json_object_array_add(
			all, reply_string(conf_set_format(&rule->sets[i], text, sizeof text)));
}

static const char *answer_name(enum conf_answer answer)
{
	switch (answer) {
	case CONF_ANSWER_FAKE:
		return "fake";
	case CONF_ANSWER_REAL:
		return "real";
	case CONF_ANSWER_BLOCK:
		return "block";
	case CONF_ANSWER_LOCAL:
		break;
	}
	return "local";
}

static enum conf_answer answer_of(const struct daemon_explanation *e)
{
	if (e->own)
		return CONF_ANSWER_LOCAL;
	return e->never_fake ? CONF_ANSWER_REAL : e->rule->answer;
}

/* What a real answer is pushed into: the sets of the rules that go on, then the winner's. */
static struct json_object *sets_json(struct daemon *d, const struct daemon_explanation *e)
{
	struct json_object *all = json_object_new_array();

	if (answer_of(e) != CONF_ANSWER_REAL)
		return all;
	for (unsigned i = 0; i < POLICY_ALSO_MAX; i++)
		if (e->also >> i & 1)
			add_sets(all, policy_also(daemon_policy(d), i));
	add_sets(all, e->rule);
	return all;
}

/* --- the result --- */

static void add_fake_notes(struct way *w, const struct daemon_explanation *e)
{
	bool is_a = strcmp(e->type, "A") == 0, is_aaaa = strcmp(e->type, "AAAA") == 0;
	bool is_https = strcmp(e->type, "HTTPS") == 0 || strcmp(e->type, "SVCB") == 0;

	if (is_https && e->https == CONF_HTTPS_REWRITE)
		add_note(w, "the real record, with the fake addresses as hints");
	else if (!is_a && !is_aaaa)
		add_note(w, "a fake name has only A and AAAA: NODATA");
	else if (!e->has_mapping)
		add_note(w, "no fake address yet: the first answer gives it one");
	else if (is_a ? !e->mapping.m.has4 : !e->mapping.m.has6)
		add_note(w, "this family's pool is off: NODATA");
}

static const char *const block_notes[] = {
	[CONF_BLOCK_NXDOMAIN] = "block: nxdomain: there is no such name",
	[CONF_BLOCK_REFUSED] = "block: refused: REFUSED",
	[CONF_BLOCK_ZERO] = "block: zero: 0.0.0.0 or ::, other types NODATA",
	[CONF_BLOCK_NODATA] = "block: nodata: the name has no such record",
};

static void add_notes(struct way *w, const struct daemon_explanation *e)
{
	if (e->own)
		return;
	if (!e->rule->name)
		add_note(w, "no rule takes the name: the default decides");
	if (answer_of(e) == CONF_ANSWER_BLOCK)
		add_note(w, block_notes[e->rule->block]);
	if (answer_of(e) == CONF_ANSWER_FAKE)
		add_fake_notes(w, e);
	if (answer_of(e) == CONF_ANSWER_REAL && e->cache.state == CACHE_FAILED)
		add_note(w, "the last attempt to ask upstream failed: SERVFAIL, for a moment");
	if (answer_of(e) == CONF_ANSWER_REAL && !e->upstream)
		add_note(w, "there is no upstream to ask: SERVFAIL");
}

/* Only what is asked upstream is kept. */
static struct json_object *cache_json(const struct daemon_explanation *e)
{
	struct json_object *j;

	if (e->own || answer_of(e) != CONF_ANSWER_REAL || !e->upstream)
		return NULL;
	j = json_object_new_object();
	reply_add_text(j, "state",
		e->cache.state == CACHE_FRESH	? "hit"
		: e->cache.state == CACHE_STALE ? "stale"
						: "miss");
	reply_add_number(j, "ttl_s", e->cache.left_s);
	return j;
}

static struct json_object *result_json(struct daemon *d, const struct control_request *q,
	const struct daemon_explanation *e, struct way *w)
{
	struct json_object *j = json_object_new_object();
	const struct policy_egress *egress = e->own ? NULL : e->rule->egress;

	reply_add_text(j, "name", e->name);
	reply_add_text(j, "type", e->type);
	reply_add_text(j, "client", q->client);
	json_object_object_add(j, "lists", w->lists);
	json_object_object_add(j, "rules", w->rules);
	reply_add_text(j, "rule", e->own ? NULL : e->rule->name);
	reply_add_text(j, "answer", answer_name(answer_of(e)));
	reply_add_text(j, "egress", egress ? egress->name : NULL);
	reply_add_text(j, "upstream", e->own ? NULL : e->upstream);
	json_object_object_add(j, "sets", sets_json(d, e));
	json_object_object_add(j, "cache", cache_json(e));
	json_object_object_add(j, "fakeip", e->has_mapping ? mapping_json(&e->mapping) : NULL);
	reply_add_bool(j, "records", e->records);
	add_notes(w, e);
	json_object_object_add(j, "notes", w->notes);
	return j;
}

void command_explain(struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct way w = {json_object_new_array(), json_object_new_array(), json_object_new_array()};
	const struct policy_explain_sink sink = {&w, add_list, add_rule, add_note};
	struct daemon_explanation e;
	const char *error = NULL;

	if (!q->name) {
		reply_error(r, CONTROL_BAD_REQUEST, "explain wants name");
	} else if (daemon_explain(d, q->name, q->type, q->client, &sink, &e, &error)) {
		reply_error(r, CONTROL_BAD_REQUEST, "%s", error ? error : "not understood");
	} else {
		reply_result(r, result_json(d, q, &e, &w));
		return;
	}
	json_object_put(w.lists);
	json_object_put(w.rules);
	json_object_put(w.notes);
}
