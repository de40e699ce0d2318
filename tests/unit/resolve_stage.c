#include "tests/unit/resolve_stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/unit/descriptors.h"

#define HASH_KEY UINT64_C(0x243f6a8885a308d3)

void groups_renew(struct stage *s)
{
	const struct resolve_groups_config config = {.config = &s->config, .previous = s->groups};
	struct resolve_groups *groups;

	assert_int_equal(resolve_groups_new(&config, &groups), 0);
	resolve_groups_unref(s->groups);
	s->groups = groups;
	if (s->resolver)
		resolver_use(s->resolver, groups);
}

void groups_make(
	struct stage *s, enum conf_transport transport, unsigned timeout_ms, unsigned total_ms)
{
	static char *const names[GROUPS_MAX] = {"up", "other"};

	for (size_t i = 0; i < s->n; i++) {
		struct conf_server *server = &s->servers[i];

		snprintf(
			s->urls[i], sizeof s->urls[i], "udp://%s:%u", s->up[i]->at, s->up[i]->port);
		*server = (struct conf_server){
			.transport = transport, .url = s->urls[i], .idle_ms = 10000};
		server->at.port = s->up[i]->port;
		assert_int_equal(ip_addr_parse(s->up[i]->at, &server->at.addr), 0);
	}
	for (size_t i = 0; i < GROUPS_MAX; i++)
		s->upstreams[i] = (struct conf_upstream){.name = names[i],
			.servers = s->servers,
			.n_servers = s->n,
			.strategy = CONF_STRATEGY_SEQUENTIAL,
			.timeout_ms = timeout_ms,
			.total_ms = total_ms,
			.via = -1,
			.bootstrap = -1,
			.fallback = -1,
			.strict_to = -1,
			.rebind = CONF_REBIND_ALLOW};
	s->config = (struct config){.upstreams = s->upstreams,
		.n_upstreams = 1,
		.cache = {.max_ttl_s = 86400, .negative_ttl_s = 3600, .failure_ttl_s = 5}};
	groups_renew(s);
}

void stage_cache(struct stage *s, uint32_t serve_stale_s, unsigned prefetch_percent)
{
	const struct cache_config config = {.entries = 1000,
		.serve_stale_s = serve_stale_s,
		.prefetch_percent = prefetch_percent,
		.prefetch_hits = 1,
		.hash_key = HASH_KEY};

	assert_int_equal(cache_configure(s->cache, &config), 0);
}

struct stage *stage_open_at(const char *at, size_t n, enum conf_transport transport)
{
	const struct cache_config nothing = {.hash_key = HASH_KEY};
	struct stage *s = calloc(1, sizeof *s);
	struct resolver_config config = {.hash_key = HASH_KEY};

	assert_non_null(s);
	s->fds = descriptors_open();
	s->n = n;
	s->question.type = DNS_A;
	for (size_t i = 0; i < n; i++)
		s->up[i] = upstream_new(at, (uint8_t)(i + 1));
	assert_int_equal(loop_new(&s->loop), 0);
	assert_int_equal(cache_new(&nothing, &s->cache), 0);
	config.loop = s->loop;
	config.cache = s->cache;
	assert_int_equal(resolver_new(&config, &s->resolver), 0);
	groups_make(s, transport, TIMEOUT_MS, TOTAL_MS);
	return s;
}

struct stage *stage_open(size_t n, enum conf_transport transport)
{
	return stage_open_at("127.0.0.1", n, transport);
}

static void stage_serve(struct stage *s)
{
	for (size_t i = 0; i < s->n; i++)
		upstream_serve(s->up[i]);
}

void stage_turn(struct stage *s)
{
	stage_serve(s);
	assert_int_equal(loop_turn(s->loop, 1), 0);
}

void stage_play(struct stage *s, int64_t ms)
{
	while (ms-- > 0) {
		hand_clock_move_ms(1);
		stage_serve(s);
		assert_int_equal(loop_turn(s->loop, 0), 0);
	}
}

void resolver_has_stopped(void *arg)
{
	struct stage *s = arg;

	assert_false(s->stopped);
	s->stopped = true;
}

void stage_close(struct stage *s)
{
	if (s->resolver)
		resolver_stop(s->resolver, resolver_has_stopped, s);
	STAGE_UNTIL(s, s->stopped);
	/* No flight kept its reference: the counters are freed here, or ASan tells. */
	resolve_groups_unref(s->groups);
	cache_free(s->cache);
	loop_free(s->loop);
	for (size_t i = 0; i < s->n; i++)
		upstream_free(s->up[i]);
	assert_int_equal(descriptors_open(), s->fds);
	free(s);
}

struct resolve_server_info server_info(const struct stage *s, size_t i)
{
	struct resolve_server_info info[SERVERS_MAX];

	assert_int_equal(resolve_servers(s->groups, info, SERVERS_MAX), s->n);
	return info[i];
}

static void address_seen(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct asker *a = arg;

	assert_int_equal(size, 4);
	a->ttl_s = ttl_s;
	memcpy(a->address, address, 4);
}

void asker_done(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct asker *a = container_of(rq, struct asker, rq);
	struct dns_name again = name_of("again.test");

	a->calls++;
	a->error = error;
	a->answered_ms = clock_ms();
	assert_true(msg ? error == 0 : error < 0);
	if (msg) {
		a->len = len;
		memcpy(a->head, msg, len < sizeof a->head ? len : sizeof a->head);
		a->addresses = dns_response_addresses(msg, len, address_seen, a);
	}
	if (a->cancels)
		resolve_cancel(&a->cancels->rq);
	if (a->asks)
		ask_name(a->stage, a->asks, &again, 1000);
	if (a->stops)
		resolver_stop(a->stage->resolver, resolver_has_stopped, a->stage);
}

void ask_name(struct stage *s, struct asker *a, const struct dns_name *name, int64_t within_ms)
{
	struct resolve_question q = s->question;

	a->stage = s;
	a->asked_ms = clock_ms();
	q.name = name;
	resolve_ask(
		s->resolver, s->groups, &q, loop_now_ms(s->loop) + within_ms, &a->rq, asker_done);
}

void ask(struct stage *s, struct asker *a, const char *text, int64_t within_ms)
{
	struct dns_name name = name_of(text);

	ask_name(s, a, &name, within_ms);
}

void play_until(struct stage *s, const struct asker *a)
{
	STAGE_UNTIL(s, a->calls);
	assert_int_equal(a->calls, 1);
}

void play_time_until(struct stage *s, const struct asker *a)
{
	for (int ms = 0; ms < 60000 && !a->calls; ms++)
		stage_play(s, 1);
	assert_int_equal(a->calls, 1);
}

void ask_and_play(struct stage *s, struct asker *a, const char *text)
{
	*a = (struct asker){.stage = s};
	loop_turn(s->loop, 0);
	ask(s, a, text, 5000);
	play_until(s, a);
}

void assert_answered_by(const struct asker *a, const struct upstream *u)
{
	assert_int_equal(a->error, 0);
	assert_true(a->addresses >= 1);
	assert_int_equal(a->address[3], u->id);
}

int64_t took_ms(const struct asker *a)
{
	return a->answered_ms - a->asked_ms;
}

void stage_raise_limits(void)
{
	struct rlimit files;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
}
