/* status: one object that shows the whole gateway. */
#include "gateway/control/command_internal.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SERVERS_MAX  1024
#define SETS_MAX     4096
#define EGRESSES_MAX 256
#define PROBLEMS_MAX 64

static const char *state_name(enum daemon_state state)
{
	switch (state) {
	case DAEMON_STARTING:
		return "starting";
	case DAEMON_RUNNING:
		return "running";
	case DAEMON_LAME_DUCK:
	case DAEMON_STOPPING:
		break;
	}
	return "lame_duck";
}

static void add_mark(struct json_object *marks, const char *key, uint32_t value, uint32_t mask)
{
	char text[32];

	snprintf(text, sizeof text, "0x%" PRIx32 "/0x%" PRIx32, value, mask);
	reply_add_text(marks, key, text);
}

static struct json_object *marks_json(const struct daemon_status *s)
{
	struct json_object *j = json_object_new_object();

	add_mark(j, "own", s->mark_value, s->mark_mask);
	add_mark(j, "tun", s->mark_tun, s->mark_tun);
	add_mark(j, "tproxy", s->mark_tproxy, s->mark_tproxy);
	return j;
}

static struct json_object *queries_json(const struct daemon_status *s)
{
	struct json_object *j = json_object_new_object();

	reply_add_number(j, "total", s->queries.total);
	reply_add_number(j, "fake", s->queries.fake);
	reply_add_number(j, "real", s->queries.real);
	reply_add_number(j, "block", s->queries.block);
	reply_add_number(j, "local", s->queries.local);
	reply_add_number(j, "failed", s->queries.failed);
	reply_add_number(j, "rerouted", s->queries.rerouted);
	return j;
}

static struct json_object *lapses_json(const struct daemon_status *s)
{
	struct json_object *j = json_object_new_object();

	reply_add_number(j, "times", s->lapses.times);
	reply_add_number(j, "ms", s->lapses.ms);
	reply_add_bool(j, "now", s->lapses.now);
	return j;
}

static struct json_object *fakeip_json(const struct daemon_status *s)
{
	const struct fakeip_stats *f = &s->fakeip;
	struct json_object *j = json_object_new_object();

	reply_add_text(j, "pool4", s->pool4);
	reply_add_text(j, "pool6", s->pool6);
	reply_add_number(j, "size", f->size);
	reply_add_number(j, "used", f->used);
	reply_add_number(j, "free", f->size - f->used + f->reusable);
	reply_add_number(j, "in_hold", f->in_hold);
	reply_add_number(j, "flushed", f->flushed);
	reply_add_text(j, "store", s->store);
	reply_add_number(j, "exhausted", f->exhausted);
	return j;
}

static struct json_object *cache_json(const struct daemon_status *s)
{
	const struct cache_stats *c = &s->cache;
	struct json_object *j = json_object_new_object();

	reply_add_number(j, "entries", c->entries);
	reply_add_number(j, "bytes", c->bytes);
	reply_add_number(j, "hits", c->hits);
	reply_add_number(j, "misses", c->misses);
	reply_add_number(j, "stale", c->stale);
	reply_add_number(j, "refreshes", c->refreshes);
	reply_add_number(j, "evicted", c->evicted);
	return j;
}

static struct json_object *answers_json(const struct daemon_status *s)
{
	struct json_object *j = json_object_new_object();

	reply_add_number(j, "rebind", s->answers.rebind);
	reply_add_number(j, "forged", s->answers.forged);
	reply_add_number(j, "bogus", s->answers.bogus);
	reply_add_number(j, "poisoned_names", s->answers.poisoned);
	return j;
}

static struct json_object *server_json(const struct resolve_server_info *s)
{
	struct json_object *j = json_object_new_object();

	reply_add_text(j, "group", s->group);
	reply_add_text(j, "url", s->url);
	reply_add_bool(j, "up", s->up);
	reply_add_number(j, "rtt_us", s->rtt_us);
	reply_add_number(j, "p95_us", s->p95_us);
	reply_add_number(j, "queries", s->queries);
	reply_add_number(j, "failures", s->failures);
	reply_add_number(j, "wrong_answers", s->wrong_answers);
	return j;
}

static struct json_object *upstreams_json(struct daemon *d)
{
	struct json_object *all = json_object_new_array();
	struct resolve_server_info *servers = calloc(SERVERS_MAX, sizeof *servers);
	size_t n = servers ? daemon_servers(d, servers, SERVERS_MAX) : 0;

	for (size_t i = 0; i < n && i < SERVERS_MAX; i++)
		json_object_array_add(all, server_json(&servers[i]));
	free(servers);
	return all;
}

static const char *type_name(enum conf_egress_type type)
{
	static const char *const names[] = {[CONF_EGRESS_DIRECT] = "direct",
		[CONF_EGRESS_SOCKS5] = "socks5",
		[CONF_EGRESS_HTTP] = "http",
		[CONF_EGRESS_REJECT] = "reject",
		[CONF_EGRESS_GROUP] = "group"};

	return names[type];
}

/* Of a direct egress only the flows of the relay are known; most are the kernel's. */
static struct json_object *egress_json(struct daemon *d)
{
	struct json_object *all = json_object_new_array();
	struct egress_info *v = calloc(EGRESSES_MAX, sizeof *v);
	size_t n = v ? daemon_egresses(d, v, EGRESSES_MAX) : 0;

	for (size_t i = 0; i < n && i < EGRESSES_MAX; i++) {
		struct json_object *j = json_object_new_object();

		reply_add_text(j, "name", v[i].name);
		reply_add_text(j, "type", type_name(v[i].type));
		reply_add_bool(j, "up", v[i].up);
		reply_add_number(j, "flows", v[i].flows);
		reply_add_number(j, "rtt_us", v[i].rtt_us);
		reply_add_number(j, "failures", v[i].failures);
		reply_add_number(j, "dropped", v[i].dropped);
		if (v[i].type == CONF_EGRESS_GROUP)
			reply_add_text(j, "member", v[i].member);
		json_object_array_add(all, j);
	}
	free(v);
	return all;
}

static struct json_object *relay_json(const struct daemon_status *s)
{
	struct json_object *j = json_object_new_object();
	struct json_object *tcp = json_object_new_object(), *udp = json_object_new_object();

	reply_add_number(tcp, "flows", s->tcp.flows);
	reply_add_number(tcp, "live", s->tcp.live);
	reply_add_number(tcp, "to_egress_bytes", s->tcp.to_egress_bytes);
	reply_add_number(tcp, "to_client_bytes", s->tcp.to_client_bytes);
	reply_add_number(udp, "flows", s->udp.flows);
	reply_add_number(udp, "live", s->udp.live);
	reply_add_number(udp, "to_egress", s->udp.to_egress);
	reply_add_number(udp, "to_client", s->udp.to_client);
	reply_add_number(udp, "dropped", s->udp.dropped);
	json_object_object_add(j, "tcp", tcp);
	json_object_object_add(j, "udp", udp);
	return j;
}

static struct json_object *sets_json(struct daemon *d)
{
	struct json_object *all = json_object_new_array();
	struct writer_set_info *sets = calloc(SETS_MAX, sizeof *sets);
	size_t n = sets ? daemon_sets(d, sets, SETS_MAX) : 0;

	for (size_t i = 0; i < n && i < SETS_MAX; i++) {
		struct json_object *j = json_object_new_object();

		reply_add_text(j, "set", sets[i].text);
		reply_add_text(j, "state", sets[i].state);
		reply_add_number(j, "elements", sets[i].elements);
		reply_add_number(j, "errors", sets[i].errors);
		json_object_array_add(all, j);
	}
	free(sets);
	return all;
}

static struct json_object *lists_json(struct daemon *d)
{
	struct json_object *all = json_object_new_array();
	const struct policy_list_info *lists;
	size_t n = policy_lists(daemon_policy(d), &lists);

	for (size_t i = 0; i < n; i++) {
		struct json_object *j = json_object_new_object();

		reply_add_text(j, "name", lists[i].name);
		reply_add_number(j, "names", lists[i].names);
		reply_add_number(j, "cidrs", lists[i].cidrs);
		reply_add_number(j, "files", lists[i].files);
		json_object_object_add(j, "loaded_at", json_object_new_int64(lists[i].loaded_at_s));
		reply_add_number(j, "skipped", lists[i].skipped);
		reply_add_number(j, "unused", lists[i].unused);
		reply_add_text(j, "error", lists[i].error);
		json_object_array_add(all, j);
	}
	return all;
}

static struct json_object *pushes_json(const struct daemon_status *s)
{
	struct json_object *j = json_object_new_object();

	reply_add_number(j, "waited", s->pushes.waited);
	reply_add_number(j, "held", s->pushes.held);
	reply_add_number(j, "late", s->pushes.late);
	reply_add_number(j, "async", s->pushes.async);
	reply_add_number(j, "queued", s->pushes.queued);
	reply_add_number(j, "dropped", s->pushes.dropped);
	reply_add_number(j, "refilled", s->pushes.refilled);
	reply_add_number(j, "forgotten", s->pushes.forgotten);
	return j;
}

static struct json_object *problems_json(struct daemon *d)
{
	struct json_object *all = json_object_new_array();
	const char *problems[PROBLEMS_MAX];
	size_t n = daemon_problems(d, problems, PROBLEMS_MAX);

	for (size_t i = 0; i < n && i < PROBLEMS_MAX; i++)
		json_object_array_add(all, reply_string(problems[i]));
	return all;
}

void command_status(struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct json_object *j = json_object_new_object();
	struct daemon_status s;

	(void)q;
	daemon_status(d, &s);
	reply_add_text(j, "version", TUNGATE_VERSION);
	reply_add_number(j, "pid", (uint64_t)getpid());
	json_object_object_add(j, "uptime_s", json_object_new_int64(s.uptime_s));
	reply_add_text(j, "state", state_name(s.state));
	reply_add_number(j, "workers", s.workers);
	reply_add_text(j, "intercept", s.intercept);
	json_object_object_add(j, "marks", marks_json(&s));
	json_object_object_add(j, "lapses", lapses_json(&s));
	json_object_object_add(j, "queries", queries_json(&s));
	json_object_object_add(j, "fakeip", fakeip_json(&s));
	json_object_object_add(j, "cache", cache_json(&s));
	json_object_object_add(j, "upstreams", upstreams_json(d));
	json_object_object_add(j, "egress", egress_json(d));
	json_object_object_add(j, "relay", relay_json(&s));
	json_object_object_add(j, "answers", answers_json(&s));
	reply_add_number(j, "leaks_stopped", s.leaks_stopped);
	reply_add_number(j, "loops_stopped", s.loops_stopped);
	reply_add_number(j, "push_errors", s.push_errors);
	json_object_object_add(j, "pushes", pushes_json(&s));
	reply_add_number(j, "stray", s.stray);
	reply_add_number(j, "outside", s.outside);
	reply_add_number(j, "unmapped", s.unmapped);
	json_object_object_add(j, "sets", sets_json(d));
	json_object_object_add(j, "lists", lists_json(d));
	json_object_object_add(j, "learned", learned_files_json(d));
	json_object_object_add(j, "problems", problems_json(d));
	reply_result(r, j);
}
