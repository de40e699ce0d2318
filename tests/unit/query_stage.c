#include "tests/unit/query_stage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "gateway/learned/learned.h"

struct nl_set {
	char name[32];
};

static struct stage *stage;
static struct nl_set sets[STAGE_SETS_MAX];

static void require(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "stage: %s\n", what);
	abort();
}

/* --- what the engine asks of others --- */

int64_t loop_now_ms(const struct loop *l)
{
	(void)l;
	return stage->now_ms;
}

int loop_timer_set(struct loop *l, struct loop_timer *t, int64_t due_ms)
{
	(void)l;
	require(!t->slot, "a timer is set once");
	require(stage->n_timers < STAGE_TIMERS_MAX, "a timer too many");
	t->due_ms = due_ms;
	stage->timers[stage->n_timers++] = t;
	t->slot = stage->n_timers;
	return 0;
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
	(void)l;
	if (!t->slot)
		return;
	stage->timers[t->slot - 1] = stage->timers[--stage->n_timers];
	stage->timers[t->slot - 1]->slot = t->slot;
	t->slot = 0;
}

bool hosts_contain(const struct hosts *h, const struct ip_addr *a)
{
	(void)h;
	return ip_addr_equal(a, &stage->own);
}

bool neighbours_find(
	const struct neighbours *n, const struct ip_addr *address, struct neighbour *ret)
{
	(void)n;
	if (!ip_addr_equal(address, &stage->neighbour_at))
		return false;
	*ret = stage->neighbour;
	return true;
}

bool ways_has(const struct ways *w, int egress, uint8_t family)
{
	(void)w;
	(void)egress;
	return family == IP_V4 ? !stage->no_way4 : !stage->no_way6;
}

struct resolve_groups {
	struct stage *stage;
	unsigned refs;
};

int resolve_groups_new(const struct resolve_groups_config *config, struct resolve_groups **ret)
{
	struct resolve_groups *g = calloc(1, sizeof *g);

	(void)config;
	require(g, "memory");
	g->refs = 1;
	g->stage = stage;
	stage->groups_alive++;
	*ret = g;
	return 0;
}

void resolve_groups_unref(struct resolve_groups *g)
{
	if (--g->refs)
		return;
	g->stage->groups_alive--;
	free(g);
}

struct resolve_groups *resolve_groups_ref(struct resolve_groups *g)
{
	g->refs++;
	return g;
}

bool resolve_is_server(const struct resolve_groups *g, const struct ip_addr *a)
{
	require(g->refs, "groups live");
	return ip_addr_equal(a, &stage->server);
}

unsigned resolve_sighted(struct resolve_groups *g, const struct dns_name *name, uint16_t type)
{
	(void)g;
	(void)name;
	(void)type;
	return stage->sightings;
}

const char *resolve_group_name(const struct resolve_groups *g, int group)
{
	(void)g;
	return group < 0 ? NULL : "group";
}

uint64_t resolve_view(const struct resolve_groups *g, const struct resolve_question *q)
{
	(void)g;
	return (uint64_t)q->group + 1;
}

void resolve_prefetch(const struct resolver *r, uint64_t hash)
{
	(void)r;
	(void)hash;
}

size_t resolve_look(struct resolver *r, struct resolve_groups *g, const struct resolve_question *q,
	uint8_t *buf, size_t size, bool *ret_stale)
{
	(void)r;
	require(g->refs, "groups live");
	require(q->group >= 0 && q->hash == dns_name_hash(q->name, 7), "a question for the cache");
	stage->n_looks++;
	stage->look_flags = q->flags;
	require(stage->cached_len <= size, "room for what is kept");
	if (stage->cached_len)
		memcpy(buf, stage->cached, stage->cached_len);
	*ret_stale = stage->cached_stale;
	return stage->cached_len;
}

void resolve_refresh(struct resolver *r, struct resolve_groups *g, const struct resolve_question *q)
{
	(void)r;
	require(g->refs && q->group >= 0, "a group is asked");
	require(stage->n_refreshed < STAGE_REFRESHED_MAX, "room for refreshes");
	stage->refreshed[stage->n_refreshed++] = *q->name;
}

void resolve_ask(struct resolver *r, struct resolve_groups *g, const struct resolve_question *q,
	int64_t deadline_ms, struct resolve_request *rq, resolve_done *done)
{
	(void)r;
	require(q->group >= 0, "a group is asked");
	*rq = (struct resolve_request){
		.done = done, .deadline_ms = deadline_ms, .stale = stage->ask_stale};
	if (stage->ask_error) {
		done(rq, NULL, 0, stage->ask_error);
		return;
	}
	if (stage->ask_reply) {
		done(rq, stage->ask_reply, stage->ask_reply_len, 0);
		return;
	}
	require(stage->n_asked < STAGE_ASKED_MAX, "room for questions");
	stage->asked[stage->n_asked++] = (struct stage_question){.rq = rq,
		.groups = g,
		.name = *q->name,
		.type = q->type,
		.flags = q->flags & ~(unsigned)RESOLVE_LOOKED,
		.group = q->group,
		.deadline_ms = deadline_ms};
}

/* It is asked no more: the next one takes its place. */
__attribute__((weak)) void resolve_cancel(struct resolve_request *rq)
{
	for (size_t i = stage->n_answered; i < stage->n_asked; i++)
		if (stage->asked[i].rq == rq) {
			memmove(&stage->asked[i], &stage->asked[i + 1],
				(--stage->n_asked - i) * sizeof stage->asked[0]);
			return;
		}
}

/* A generation has its egresses; the engine asks nothing of them. A test that does has its own. */
__attribute__((weak)) int egress_set_new(const struct config *config, uint32_t own_mark,
	struct egress_set *previous, struct egress_set **ret)
{
	(void)config;
	(void)own_mark;
	(void)previous;
	*ret = NULL;
	return 0;
}

__attribute__((weak)) struct egress_set *egress_set_ref(struct egress_set *s)
{
	return s;
}

__attribute__((weak)) void egress_set_unref(struct egress_set *s)
{
	(void)s;
}

int writer_set_get(struct writer *w, const struct conf_set *set, struct nl_set **ret)
{
	(void)w;
	for (size_t i = 0; i < STAGE_SETS_MAX; i++) {
		if (!sets[i].name[0])
			(void)snprintf(sets[i].name, sizeof sets[i].name, "%s", set->name);
		if (strcmp(sets[i].name, set->name) != 0)
			continue;
		*ret = &sets[i];
		return 0;
	}
	return -ENOSPC;
}

struct nl_set *writer_set_ref(struct nl_set *set)
{
	return set;
}

void writer_set_unref(struct nl_set *set)
{
	(void)set;
}

/* Of generation_check(), which nobody runs here. */
bool writer_set_is_same(const struct conf_set *a, const struct conf_set *b)
{
	return a == b;
}

bool writer_holds(struct writer *w, const struct writer_element *e, const struct ip_addr *client,
	int64_t now_ms)
{
	(void)w;
	(void)client;
	(void)now_ms;
	stage->last_need_s = e->need_s;
	return stage->held && stage->held(stage, e);
}

bool writer_want(struct writer *w, const struct writer_element *e, const struct ip_addr *client)
{
	(void)w;
	(void)client;
	if (e->op != WRITER_SET_ADD)
		return false;
	stage->n_wanted++;
	return true;
}

void forgetter_submit(
	struct forgetter *f, const struct ip_addr *client, const struct ip_addr *address)
{
	(void)f;
	(void)client;
	(void)address;
	stage->n_forgotten++;
}

void writer_submit(struct writer *w, struct writer_job *job)
{
	(void)w;
	require(!stage->job || !stage->job_before, "one job at a time, and one beside it");
	stage->job_before = stage->job;
	require(job->n > 0 && job->n <= WRITER_JOB_ELEMENTS, "a job's size");
	stage->job = job;
	stage->n_jobs++;
}

/* --- the table's log --- */

static ssize_t append(void *arg, const void *data, size_t len)
{
	struct stage *s = arg;

	(void)data;
	s->appends++;
	return s->append_error ? s->append_error : (ssize_t)len;
}

static int cut(void *arg, uint64_t len)
{
	(void)arg;
	(void)len;
	return 0;
}

static uint64_t hash_name(const uint8_t *name, size_t name_len, uint64_t key)
{
	struct dns_name n = {.len = (uint8_t)name_len};

	memcpy(n.b, name, name_len);
	return dns_name_hash(&n, key);
}

static uint32_t clock_s(void)
{
	return (uint32_t)(stage->now_ms / 1000);
}

/* --- the hooks --- */

static void note_faked(void *arg, uint32_t index, const struct policy_rule *rule,
	const struct ip_addr *client, const struct dns_name *name)
{
	struct stage *s = arg;

	s->n_faked++;
	s->faked_index = index;
	s->faked_rule = rule;
	s->hook_client = *client;
	s->hook_name = *name;
}

static void note_told(void *arg, const struct ip_addr *client, const struct dns_name *name,
	const uint8_t *msg, size_t len)
{
	struct stage *s = arg;

	require(len <= sizeof s->told && dns_response_check(msg, len) == 0, "a checked response");
	s->n_told++;
	s->hook_client = *client;
	s->hook_name = *name;
	s->replies_when_told = s->reply.n;
	memcpy(s->told, msg, len);
	s->told_len = len;
}

/* --- the stage --- */

static void say(void *arg, enum conf_severity severity, const char *text)
{
	(void)arg;
	if (severity == CONF_ERROR)
		fprintf(stderr, "%s\n", text);
}

static void say_list(void *arg, bool is_error, const char *text)
{
	(void)arg;
	(void)is_error;
	fprintf(stderr, "%s\n", text);
}

struct generation *stage_generation(struct stage *s, const char *yaml)
{
	struct generation_config gc = {.report = say_list};
	struct generation *g;
	struct config *config;

	require(conf_parse("t", yaml, strlen(yaml), say, NULL, &config) == 0, "configuration");
	gc.config = config;
	require(policy_build(
			&(struct policy_build_config){
				.config = config, .learned = s->learned, .report = say_list},
			&gc.policy) == 0,
		"policy");
	require(generation_new(&gc, &g) == 0, "generation");
	conf_free(config);
	return g;
}

struct stage *stage_open(const char *yaml, unsigned pool4_len)
{
	struct fakeip_pool_config pools = {.net4 = {198, 18},
		.len4 = pool4_len ? (uint8_t)pool4_len : 15,
		.net6 = {0xfd},
		.len6 = 64,
		.ttl_s = 1,
		.hold_s = 3600,
		.max = 4096,
		.hash = hash_name};
	struct query_engine_config config = {.hash_key = 7, .clock_s = clock_s};
	struct fakeip_load_result loaded;
	struct fakeip_log_io io;

	stage = calloc(1, sizeof *stage);
	require(stage, "memory");
	stage->now_ms = 1000000;
	memset(sets, 0, sizeof sets);
	io = (struct fakeip_log_io){.arg = stage, .append = append, .truncate = cut};
	require(fakeip_new(&pools, 7, &stage->fakeip) == 0, "table");
	require(fakeip_load(stage->fakeip, "", 0, 1000, &io, &loaded) == 0, "log");
	stage->appends = 0;
	config.fakeip = stage->fakeip;
	config.hooks = (struct query_hooks){.arg = stage, .faked = note_faked, .told = note_told};
	require(query_engine_new(&config, &stage->engine) == 0, "engine");
	require(learned_files_new(&stage->learned) == 0, "tables of learned names");
	stage->gen = stage_generation(stage, yaml);
	query_engine_use(stage->engine, stage->gen);
	return stage;
}

void stage_close(struct stage *s)
{
	require(query_engine_idle(s->engine), "nothing is parked");
	query_engine_free(s->engine);
	generation_unref(s->gen);
	require(s->groups_alive == 0, "all generations have ended");
	learned_files_free(s->learned);
	fakeip_free(s->fakeip);
	free(s);
	stage = NULL;
}

static void take_reply(const struct query_origin *o, const uint8_t *msg, size_t len)
{
	struct stage_reply *r = &stage->reply;

	require(len <= sizeof r->msg, "an answer's size");
	r->n++;
	r->appends = stage->appends;
	r->origin = *o;
	memcpy(r->msg, msg, len);
	r->len = len;
}

struct query_origin stage_origin(const char *client, bool stream)
{
	struct query_origin o = {
		.stream = stream, .listener = stream ? QUERY_TCP : QUERY_UDP, .reply = take_reply};

	o.client.port = 4001;
	require(ip_addr_parse(client, &o.client.addr) == 0, "a client's address");
	return o;
}

void stage_answer(struct stage *s, const uint8_t *msg, size_t len, int error)
{
	struct resolve_request *rq;

	require(s->n_answered < s->n_asked, "a question waits");
	rq = s->asked[s->n_answered++].rq;
	rq->done(rq, msg, len, error);
}

void stage_pass(struct stage *s, int64_t ms)
{
	s->now_ms += ms;
	for (uint32_t i = 0; i < s->n_timers;) {
		struct loop_timer *t = s->timers[i];

		if (t->due_ms > s->now_ms) {
			i++;
			continue;
		}
		loop_timer_cancel(NULL, t);
		t->fire(t);
	}
}

void stage_written(struct stage *s, int result)
{
	struct writer_job *job = s->job;

	require(job, "a job waits");
	s->job = s->job_before;
	s->job_before = NULL;
	job->result = result;
	job->done(job);
}

const char *stage_set_name(const struct nl_set *set)
{
	return set->name;
}
