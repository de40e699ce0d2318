/* gateway/resolve under everything at once, in an order that a seed draws: each request is answered
 * exactly once or cancelled, nothing is left open, and ASan has nothing to say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/resolve_fake.h"

#define STEPS	20000
#define ASKERS	48
#define NAMES	12
#define SERVERS 6

struct storm {
	struct stage *stage;
	uint64_t seed;
	struct storm_asker {
		struct resolve_request rq;
		struct storm *storm;
		bool waits;
	} askers[ASKERS];
	unsigned depth, answered;
};

static unsigned draw(struct storm *w, unsigned below)
{
	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 7;
	w->seed ^= w->seed << 17;
	return (unsigned)(w->seed >> 20) % below;
}

static void storm_ask(struct storm *w);

static void cancel(struct storm *w)
{
	struct storm_asker *a = &w->askers[draw(w, ASKERS)];

	if (a->waits)
		resolve_cancel(&a->rq);
	a->waits = false;
}

static void done(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct storm_asker *a = container_of(rq, struct storm_asker, rq);
	struct storm *w = a->storm;

	assert_true(a->waits);
	a->waits = false;
	w->answered++;
	assert_true(msg ? error == 0 : error < 0);
	if (msg)
		assert_int_equal(dns_response_check(msg, len), 0);
	if (w->depth++ < 3) {
		if (draw(w, 4) == 0)
			cancel(w);
		if (draw(w, 4) == 0)
			storm_ask(w);
	}
	w->depth--;
}

static struct resolve_question question(struct storm *w, struct dns_name *name)
{
	static const uint8_t flags[] = {0, 0, 0, RESOLVE_DO, RESOLVE_NO_CACHE, RESOLVE_LOOKED};
	static const struct conf_ttl brief = {.min_s = 0, .max_s = 1};
	char text[32];

	snprintf(text, sizeof text, "n%u.test", draw(w, NAMES));
	*name = name_of(text);
	return (struct resolve_question){.group = (int)draw(w, 2),
		.name = name,
		.type = DNS_A,
		.flags = flags[draw(w, sizeof flags)],
		.ttl = draw(w, 2) ? &brief : NULL};
}

static void storm_ask(struct storm *w)
{
	struct storm_asker *a = &w->askers[draw(w, ASKERS)];
	struct stage *s = w->stage;
	struct resolve_question q;
	struct dns_name name;

	if (a->waits)
		return;
	q = question(w, &name);
	*a = (struct storm_asker){.storm = w, .waits = true};
	resolve_ask(
		s->resolver, s->groups, &q, loop_now_ms(s->loop) + 1 + draw(w, 60), &a->rq, done);
}

static void answer(struct storm *w)
{
	const struct upstream *u = w->stage->up[draw(w, SERVERS)];

	if (!fake_try(u))
		return;
	switch (draw(w, 9)) {
	case 0:
		fake_fail(u, -ECONNRESET);
		return;
	case 1:
		fake_fail(u, -EMFILE);
		return;
	case 2:
		fake_error(u, DNS_SERVFAIL);
		return;
	case 3:
		fake_error(u, DNS_TC);
		return;
	case 4:
		fake_answer_address(u, "198.51.100.7"); /* bogus or ignored */
		return;
	case 5:
		fake_answer_lower(u, 3);
		return;
	default:
		fake_answer(u, (uint8_t)draw(w, 3));
	}
}

static void reload(struct storm *w)
{
	struct stage *s = w->stage;

	for (size_t i = 0; i < 2; i++) {
		s->upstreams[i].strategy = (enum conf_strategy)draw(w, 5);
		s->upstreams[i].all_down = (enum conf_all_down)draw(w, 2);
		s->upstreams[i].window_ms = draw(w, 2) * 5;
		s->upstreams[i].downgrade = draw(w, 2);
		s->upstreams[i].fallback = draw(w, 2) ? (int)draw(w, 2) : -1;
	}
	groups_renew(s);
}

static void look_or_refresh(struct storm *w)
{
	static uint8_t buf[DNS_MESSAGE_MAX];
	struct stage *s = w->stage;
	struct dns_name name;
	struct resolve_question q = question(w, &name);
	bool stale;

	if (draw(w, 2))
		(void)resolve_look(s->resolver, s->groups, &q, buf, sizeof buf, &stale);
	else
		resolve_refresh(s->resolver, s->groups, &q);
}

static void step(struct storm *w)
{
	struct stage *s = w->stage;
	unsigned what = draw(w, 100);

	if (what < 30)
		storm_ask(w);
	else if (what < 70)
		answer(w);
	else if (what < 80)
		cancel(w);
	else if (what < 90)
		look_or_refresh(w);
	else if (what < 91)
		reload(w);
	else if (what < 92)
		resolver_network_changed(s->resolver, NULL, NULL);
	else if (what < 93)
		(void)cache_flush(s->cache, NULL);
	else
		stage_play(s, draw(w, 20) ? 1 : 3);
}

static void play(uint64_t seed)
{
	static struct ip_prefix forged;
	struct stage *s = stage_open(SERVERS, CONF_UDP);
	struct storm *w = calloc(1, sizeof *w);

	assert_non_null(w);
	w->stage = s;
	w->seed = seed;
	fake_reset();
	stage_cache(s, 3600, 50);
	assert_int_equal(ip_prefix_parse("198.51.100.0/24", &forged), 0);
	groups_make(s, CONF_UDP, 20, 50);
	s->config.n_upstreams = 2;
	s->upstreams[0].n_servers = s->upstreams[1].n_servers = SERVERS / 2;
	s->upstreams[1].servers = &s->servers[SERVERS / 2];
	s->upstreams[0].ignore_ip = (struct conf_prefixes){&forged, 1};
	s->upstreams[1].bogus_nxdomain = (struct conf_prefixes){&forged, 1};
	s->upstreams[1].case_randomization = true;
	s->servers[1].transport = CONF_TLS;
	groups_renew(s);
	for (unsigned i = 0; i < STEPS; i++)
		step(w);
	assert_true(w->answered > STEPS / 20);
	resolver_stop(s->resolver, resolver_has_stopped, s);
	s->resolver = NULL;
	for (size_t i = 0; i < ASKERS; i++)
		assert_false(w->askers[i].waits);
	stage_close(s);
	free(w);
}

static void test_storm(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++)
		play(seed * UINT64_C(0x9e3779b97f4a7c15));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_storm)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
