/* gateway/resolve: what is believed, what is kept, and what the cache saves its askers. The servers
 * are the test's own hands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/resolve_fake.h"
#include "tests/unit/addresses.h"

#define STALE_S 3600

static struct stage *open_cached(size_t n)
{
	struct stage *s = stage_open(n, CONF_UDP);

	fake_reset();
	stage_cache(s, STALE_S, 0);
	return s;
}

static void ask_now(struct stage *s, struct asker *a, const char *name)
{
	*a = (struct asker){0};
	assert_int_equal(loop_turn(s->loop, 0), 0);
	ask(s, a, name, 5000);
}

static struct resolve_counters counters(const struct stage *s)
{
	struct resolve_counters c;

	resolve_counters(s->groups, &c);
	return c;
}

static size_t look(struct stage *s, const char *text, bool *ret_stale)
{
	static uint8_t buf[DNS_MESSAGE_MAX];
	struct dns_name name = name_of(text);
	struct resolve_question q = s->question;

	q.name = &name;
	return resolve_look(s->resolver, s->groups, &q, buf, sizeof buf, ret_stale);
}

static void refresh(struct stage *s, const char *text)
{
	struct dns_name name = name_of(text);
	struct resolve_question q = s->question;

	q.name = &name;
	resolve_refresh(s->resolver, s->groups, &q);
}

static const struct conf_ttl one_second = {.min_s = 0, .max_s = 1};

/* --- the cache before the flights --- */

static void test_kept(void **state)
{
	struct stage *s = open_cached(1);
	struct cache_stats stats;
	struct asker a;
	bool stale;

	(void)state;
	assert_int_equal(look(s, "a.test", &stale), 0);
	s->question.flags = RESOLVE_LOOKED;
	ask_now(s, &a, "A.test");
	s->question.flags = 0;
	fake_answer(s->up[0], 1);
	assert_true(look(s, "a.test", &stale) > 0);
	assert_false(stale);
	ask_now(s, &a, "a.TEST");
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(a.ttl_s, 60);
	assert_int_equal(fake_asked(s->up[0]), 1);
	cache_stats(s->cache, &stats);
	assert_int_equal(stats.misses, 1);
	assert_int_equal(stats.hits, 2);
	/* DO is another answer. */
	s->question.flags = RESOLVE_DO;
	ask_now(s, &a, "a.test");
	assert_int_equal(fake_asked(s->up[0]), 2);
	stage_close(s);
}

static void test_no_cache(void **state)
{
	struct stage *s = open_cached(1);
	struct cache_stats stats;
	struct asker a;
	bool stale;

	(void)state;
	s->question.flags = RESOLVE_NO_CACHE;
	for (unsigned k = 1; k <= 2; k++) {
		ask_now(s, &a, "a.test");
		assert_int_equal(fake_asked(s->up[0]), k);
		fake_answer(s->up[0], 1);
		assert_answered_by(&a, s->up[0]);
	}
	ask_now(s, &a, "b.test");
	fake_fail(s->up[0], -ECONNREFUSED);
	ask_now(s, &a, "b.test");
	assert_int_equal(a.calls, 0);
	assert_int_equal(look(s, "a.test", &stale), 0);
	cache_stats(s->cache, &stats);
	assert_int_equal(stats.entries + stats.hits + stats.misses, 0);
	stage_close(s);
}

/* A failure is remembered, one of our own is not. */
static void test_failures(void **state)
{
	struct stage *s = open_cached(1);
	struct asker a;

	(void)state;
	ask_now(s, &a, "a.test");
	fake_fail(s->up[0], -EMFILE);
	assert_int_equal(a.error, -EMFILE);
	ask_now(s, &a, "a.test");
	assert_int_equal(a.calls, 0);
	fake_error(s->up[0], DNS_SERVFAIL);
	assert_int_equal(a.error, 0);
	assert_int_equal(dns_message_rcode(a.head), DNS_SERVFAIL);
	ask_now(s, &a, "a.test");
	assert_int_equal(a.error, -EAGAIN);
	assert_int_equal(fake_asked(s->up[0]), 2);
	/* The way has changed: that may have been why. */
	resolver_network_changed(s->resolver, NULL, NULL);
	ask_now(s, &a, "a.test");
	assert_int_equal(a.calls, 0);
	resolve_cancel(&a.rq);
	ask_now(s, &a, "a.test"); /* nobody waited: no failure */
	assert_int_equal(a.calls, 0);
	stage_close(s);
}

/* What failed while the server was down is asked for again once it is up. */
static void test_failures_end_with_the_outage(void **state)
{
	struct stage *s = open_cached(1);
	struct asker a;

	(void)state;
	for (unsigned k = 0; k < SERVER_FAILS_MAX; k++) {
		ask_now(s, &a, (const char *[]){"a.test", "b.test", "c.test"}[k]);
		fake_fail(s->up[0], -ECONNREFUSED);
	}
	assert_false(server_info(s, 0).up);
	ask_now(s, &a, "a.test");
	assert_int_equal(a.error, -EAGAIN);
	ask_now(s, &a, "d.test");
	fake_answer(s->up[0], 1);
	assert_true(server_info(s, 0).up);
	ask_now(s, &a, "a.test");
	assert_int_equal(a.calls, 0);
	fake_answer(s->up[0], 1);
	assert_answered_by(&a, s->up[0]);
	stage_close(s);
}

/* Past its TTL: who asks waits 1.8 s at most, and the flight goes on for the cache. */
static void test_stale_after_a_while(void **state)
{
	struct stage *s = open_cached(1);
	struct asker a, b;
	bool stale;

	(void)state;
	groups_make(s, CONF_UDP, 4000, 4000);
	s->question.ttl = &one_second;
	ask_now(s, &a, "a.test");
	fake_answer(s->up[0], 1);
	stage_play(s, 2100);
	assert_int_equal(look(s, "a.test", &stale), 0);
	ask_now(s, &a, "a.test");
	b = (struct asker){0};
	ask(s, &b, "a.test", 100); /* too little patience even for that */
	play_time_until(s, &b);
	assert_true(b.rq.stale);
	play_time_until(s, &a);
	assert_true(a.rq.stale);
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(a.ttl_s, 30);
	assert_int_equal(took_ms(&a), 1800);
	assert_int_equal(resolve_flights(s->resolver), 1);
	fake_answer(s->up[0], 7);
	assert_int_equal(resolve_flights(s->resolver), 0);
	ask_now(s, &a, "a.test");
	assert_false(a.rq.stale);
	assert_int_equal(a.address[3], 7);
	assert_int_equal(fake_asked(s->up[0]), 2);
	stage_close(s);
}

/* Nor is there room for another question. */
static void test_stale_when_nobody_can_be_asked(void **state)
{
	struct stage *s = open_cached(1);
	struct asker a;

	(void)state;
	s->config.n_upstreams = 2;
	groups_renew(s);
	s->question.ttl = &one_second;
	ask_now(s, &a, "a.test");
	fake_answer(s->up[0], 1);
	stage_play(s, 2100);
	s->resolver->waiting[0] += RESOLVE_WAITING_MAX;
	ask_now(s, &a, "b.test");
	assert_int_equal(a.error, -ENOBUFS);
	ask_now(s, &a, "a.test");
	assert_int_equal(a.calls, 1);
	assert_true(a.rq.stale);
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(a.ttl_s, 30);
	s->resolver->waiting[0] -= RESOLVE_WAITING_MAX;
	ask_now(s, &a, "a.test");
	assert_int_equal(a.calls, 0);
	fake_answer(s->up[0], 2);
	assert_int_equal(a.address[3], 2);
	stage_close(s);
}

/* The refresh fails: the old answer at once, and without asking for a while. */
static void test_stale_when_all_fail(void **state)
{
	struct stage *s = open_cached(1);
	struct asker a;
	bool stale;

	(void)state;
	s->question.ttl = &one_second;
	ask_now(s, &a, "a.test");
	fake_answer(s->up[0], 1);
	stage_play(s, 2100);
	ask_now(s, &a, "a.test");
	assert_int_equal(a.calls, 0);
	fake_error(s->up[0], DNS_REFUSED);
	assert_int_equal(a.calls, 1);
	assert_true(a.rq.stale);
	assert_answered_by(&a, s->up[0]);
	assert_true(look(s, "a.test", &stale) > 0);
	assert_true(stale);
	ask_now(s, &a, "a.test");
	assert_true(a.rq.stale);
	assert_int_equal(a.ttl_s, 30);
	assert_int_equal(fake_asked(s->up[0]), 2);
	/* RFC 8767 5: 30 s later somebody is asked, and an answer is waited for. */
	stage_play(s, 31000);
	assert_int_equal(look(s, "a.test", &stale), 0);
	ask_now(s, &a, "a.test");
	assert_int_equal(a.calls, 0);
	fake_answer(s->up[0], 9);
	assert_false(a.rq.stale);
	assert_int_equal(a.address[3], 9);
	stage_close(s);
}

static void test_prefetch_once(void **state)
{
	static const struct conf_ttl two_seconds = {.min_s = 0, .max_s = 2};
	struct stage *s = open_cached(1);
	struct asker a;
	bool stale;

	(void)state;
	stage_cache(s, STALE_S, 90);
	s->question.ttl = &two_seconds;
	ask_now(s, &a, "a.test");
	fake_answer(s->up[0], 1);
	stage_play(s, 1050);
	for (int k = 0; k < 5; k++)
		assert_true(look(s, "a.test", &stale) > 0);
	assert_int_equal(fake_asked(s->up[0]), 2);
	assert_int_equal(resolve_flights(s->resolver), 1);
	fake_answer(s->up[0], 2);
	ask_now(s, &a, "a.test");
	assert_int_equal(a.address[3], 2);
	stage_close(s);
}

static void test_refreshes_are_bounded(void **state)
{
	struct stage *s = open_cached(1);
	char text[32];

	(void)state;
	for (int k = 0; k < 200; k++) {
		snprintf(text, sizeof text, "n%d.test", k / 2);
		refresh(s, text);
	}
	assert_int_equal(resolve_flights(s->resolver), RESOLVE_REFRESHES_MAX);
	assert_int_equal(fake_asked(s->up[0]), RESOLVE_REFRESHES_MAX);
	stage_close(s);
}

static void test_bounds(void **state)
{
	static const struct conf_ttl rule = {.min_s = 600, .max_s = UINT32_MAX};
	struct stage *s = open_cached(1);
	struct asker a;

	(void)state;
	s->config.cache.max_ttl_s = 20;
	groups_renew(s);
	ask_now(s, &a, "a.test");
	fake_answer(s->up[0], 1);
	assert_int_equal(a.ttl_s, 20);
	s->question.ttl = &rule;
	ask_now(s, &a, "a.test");
	fake_answer(s->up[0], 1);
	assert_int_equal(a.ttl_s, 600);
	stage_close(s);
}

/* --- views --- */

static void test_views(void **state)
{
	struct stage *s = open_cached(2);
	struct dns_name name = name_of("a.test");
	struct resolve_question q = {.name = &name, .type = DNS_A};
	struct ip_prefix ignored = prefix_of("192.0.2.9/32");
	uint64_t view, again;
	struct asker a;

	(void)state;
	view = resolve_view(s->groups, &q);
	groups_renew(s);
	assert_int_equal(resolve_view(s->groups, &q), view);
	s->upstreams[0].timeout_ms += 100;
	groups_renew(s);
	assert_int_equal(resolve_view(s->groups, &q), view);
	q.ttl = &one_second;
	assert_int_not_equal(resolve_view(s->groups, &q), view);
	q.ttl = NULL;
	q.flags = RESOLVE_PROTECT_REBIND;
	assert_int_not_equal(resolve_view(s->groups, &q), view);
	q.flags = 0;
	ask_now(s, &a, "a.test");
	fake_answer(s->up[0], 9);
	/* Never served against a changed policy. */
	s->upstreams[0].ignore_ip = (struct conf_prefixes){&ignored, 1};
	groups_renew(s);
	again = resolve_view(s->groups, &q);
	assert_int_not_equal(again, view);
	ask_now(s, &a, "a.test");
	assert_int_equal(a.calls, 0);
	s->upstreams[0].rebind = CONF_REBIND_PROTECT;
	groups_renew(s);
	assert_int_not_equal(resolve_view(s->groups, &q), again);
	again = resolve_view(s->groups, &q);
	s->config.fakeip.pool4 = prefix_of("203.0.113.0/24"); /* an answer may lie there now */
	groups_renew(s);
	assert_int_not_equal(resolve_view(s->groups, &q), again);
	again = resolve_view(s->groups, &q);
	s->servers[1].url = (char[]){"udp://192.0.2.77"};
	groups_renew(s);
	assert_int_not_equal(resolve_view(s->groups, &q), again);
	stage_close(s);
}

/* The first group's view when it goes through the first egress. */
static uint64_t view_via(struct stage *s, struct conf_egress *egresses, size_t n)
{
	struct resolve_groups_config config = {.config = &s->config};
	struct dns_name name = name_of("a.test");
	const struct resolve_question q = {.name = &name, .type = DNS_A};
	struct resolve_groups *groups;
	uint64_t view;

	s->config.egresses = egresses;
	s->config.n_egresses = n;
	assert_int_equal(egress_set_new(&s->config, 0, NULL, &config.egresses), 0);
	assert_int_equal(resolve_groups_new(&config, &groups), 0);
	view = resolve_view(groups, &q);
	resolve_groups_unref(groups);
	egress_set_unref(config.egresses);
	return view;
}

/* Another port or user is another way out, and another place may be told other addresses. */
static void test_views_of_egresses(void **state)
{
	struct stage *s = open_cached(1);
	struct conf_egress e[3] = {{.name = (char[]){"a"}, .type = CONF_EGRESS_SOCKS5},
		{.name = (char[]){"b"}, .type = CONF_EGRESS_SOCKS5},
		{.name = (char[]){"c"}, .type = CONF_EGRESS_SOCKS5}};
	uint64_t views[6];

	(void)state;
	s->upstreams[0].via = 0;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(ip_port_parse("192.0.2.1:1080", 0, &e[i].server.at), 0);
	views[0] = view_via(s, e, 3);
	e[1].server.at.port = 1081;
	assert_int_equal(view_via(s, e, 3), views[0]);
	e[0].server.at.port = 1081;
	views[1] = view_via(s, e, 3);
	e[0].user = (char[]){"country-x"};
	views[2] = view_via(s, e, 3);
	e[0] = (struct conf_egress){
		.name = (char[]){"a"}, .type = CONF_EGRESS_GROUP, .of = (int[]){1, 2}, .n_of = 2};
	views[3] = view_via(s, e, 3);
	assert_int_equal(view_via(s, e, 3), views[3]);
	e[0].of = (int[]){2, 1};
	views[4] = view_via(s, e, 3);
	e[2].server.at.port = 1082;
	views[5] = view_via(s, e, 3);
	for (size_t i = 1; i < 6; i++)
		assert_int_not_equal(views[i], views[i - 1]);
	stage_close(s);
}

/* --- what is believed --- */

static void test_truncated_goes_to_stream(void **state)
{
	struct stage *s = open_cached(2);
	struct asker a;

	(void)state;
	ask_now(s, &a, "a.test");
	fake_error(s->up[0], DNS_TC);
	assert_true(fake_try(s->up[0])->stream);
	assert_int_equal(fake_asked(s->up[1]), 0);
	fake_answer(s->up[0], 1);
	assert_answered_by(&a, s->up[0]);
	stage_close(s);
}

/* dns:// is asked as the client came. */
static void test_as_the_client_came(void **state)
{
	struct stage *s = open_cached(1);
	struct asker a, b;

	(void)state;
	s->servers[0].transport = CONF_DNS;
	groups_renew(s);
	ask_now(s, &a, "a.test");
	assert_false(fake_try(s->up[0])->stream);
	fake_answer(s->up[0], 1);
	s->question.flags = RESOLVE_STREAM;
	ask_now(s, &b, "b.test");
	assert_true(fake_try(s->up[0])->stream);
	fake_answer(s->up[0], 1);
	ask_now(s, &a, "a.test"); /* one cache for both */
	assert_answered_by(&a, s->up[0]);
	stage_close(s);
}

static void test_case_is_given_up(void **state)
{
	struct stage *s = open_cached(1);
	struct asker a;

	(void)state;
	s->upstreams[0].case_randomization = true;
	groups_renew(s);
	ask_now(s, &a, "a-name-with-letters.test");
	fake_answer_lower(s->up[0], 9);
	assert_int_equal(a.calls, 0);
	assert_int_equal(server_info(s, 0).wrong_answers, 1);
	stage_play(s, TIMEOUT_MS / 4 + 20);
	assert_int_equal(fake_resent(s->up[0]), 1);
	fake_answer_lower(s->up[0], 1);
	assert_answered_by(&a, s->up[0]);
	/* Who keeps the case is believed at once. */
	ask_now(s, &a, "b-name-with-letters.test");
	fake_answer(s->up[0], 1);
	assert_answered_by(&a, s->up[0]);
	stage_close(s);
}

static void test_ignored_address(void **state)
{
	struct stage *s = open_cached(1);
	struct ip_prefix ignored = prefix_of("198.51.100.0/24");
	struct asker a;

	(void)state;
	s->upstreams[0].ignore_ip = (struct conf_prefixes){&ignored, 1};
	groups_renew(s);
	ask_now(s, &a, "a.test");
	fake_answer_address(s->up[0], "198.51.100.1");
	assert_int_equal(a.calls, 0);
	fake_answer(s->up[0], 1);
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(counters(s).forged, 1);
	assert_int_equal(counters(s).poisoned, 1);
	groups_renew(s); /* a reload forgets neither */
	assert_int_equal(counters(s).forged, 1);
	assert_int_equal(counters(s).poisoned, 1);
	stage_close(s);
}

/* min_rtt counts from each sending: who injects answers to the first one does so to the next. */
static void test_too_early(void **state)
{
	struct stage *s = open_cached(1);
	struct asker first, a;

	(void)state;
	s->upstreams[0].min_rtt_ms = 40;
	groups_renew(s);
	ask_now(s, &first, "a.test");
	stage_play(s, 1);
	fake_answer(s->up[0], 1);
	assert_int_equal(counters(s).poisoned, 1);
	resolve_cancel(&first.rq);
	ask_now(s, &a, "b.test");
	for (int k = 0; k < 1000 && !fake_resent(s->up[0]); k++)
		stage_play(s, 5);
	stage_play(s, 1);
	fake_answer(s->up[0], 1); /* to which of the two is not known: no name is poisoned */
	assert_int_equal(a.calls, 0);
	assert_int_equal(counters(s).forged, 2);
	assert_int_equal(counters(s).poisoned, 1);
	stage_play(s, 50);
	fake_answer(s->up[0], 1);
	assert_answered_by(&a, s->up[0]);
	stage_close(s);
}

static void test_bogus_address(void **state)
{
	struct stage *s = open_cached(1);
	struct ip_prefix bogus = prefix_of("198.51.100.0/24");
	struct asker a;

	(void)state;
	s->upstreams[0].bogus_nxdomain = (struct conf_prefixes){&bogus, 1};
	groups_renew(s);
	for (int k = 0; k < 2; k++) { /* the second one is the cache's */
		ask_now(s, &a, "a.test");
		if (k == 0)
			fake_answer_address(s->up[0], "198.51.100.1");
		assert_int_equal(a.calls, 1);
		assert_int_equal(dns_message_rcode(a.head), DNS_NXDOMAIN);
		assert_int_equal(a.addresses, 0);
	}
	assert_int_equal(counters(s).bogus, 1);
	stage_close(s);
}

/* Of two that differ the later one is the server's; who was lied to about a name asks elsewhere. */
static void test_window(void **state)
{
	struct stage *s = open_cached(2);
	struct asker a;

	(void)state;
	s->config.n_upstreams = 2;
	s->upstreams[0].n_servers = 1;
	s->upstreams[0].window_ms = 80;
	s->upstreams[0].fallback = 1;
	s->upstreams[1].servers = &s->servers[1];
	s->upstreams[1].n_servers = 1;
	groups_renew(s);
	ask_now(s, &a, "fine.test");
	fake_answer(s->up[0], 1);
	fake_answer(s->up[0], 1);
	assert_int_equal(a.calls, 0);
	play_time_until(s, &a);
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(took_ms(&a), 80);
	assert_int_equal(counters(s).forged, 0);
	ask_now(s, &a, "lied.test");
	fake_answer(s->up[0], 66);
	fake_answer(s->up[0], 1);
	play_time_until(s, &a);
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(counters(s).forged, 1);
	assert_int_equal(counters(s).poisoned, 1);
	refresh(s, "lied.test");
	assert_null(fake_try(s->up[0]));
	fake_answer(s->up[1], 2);
	ask_now(s, &a, "lied.test");
	assert_answered_by(&a, s->up[1]);
	stage_close(s);
}

/* The window is open when everything ends. */
static void test_window_and_end(void **state)
{
	struct stage *s = open_cached(1);
	struct asker a, b;

	(void)state;
	s->upstreams[0].window_ms = 5000;
	groups_renew(s);
	ask_now(s, &a, "a.test");
	fake_answer(s->up[0], 1);
	play_time_until(s, &a);
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(took_ms(&a), TOTAL_MS);
	ask_now(s, &a, "b.test");
	fake_answer(s->up[0], 1);
	fake_fail(s->up[0], -ECONNREFUSED);
	assert_answered_by(&a, s->up[0]);
	ask_now(s, &b, "c.test");
	fake_answer(s->up[0], 1);
	fake_error(s->up[0], DNS_SERVFAIL); /* it differs: the first was a forgery */
	assert_int_equal(b.calls, 1);
	assert_int_equal(dns_message_rcode(b.head), DNS_SERVFAIL);
	assert_int_equal(counters(s).forged, 1);
	ask_now(s, &b, "d.test");
	fake_answer(s->up[0], 1);
	resolve_cancel(&b.rq);
	ask_now(s, &b, "d.test");
	fake_answer(s->up[0], 1);
	stage_close(s);
}

static void test_rebind(void **state)
{
	static const char *const inside[] = {
		"10.1.2.3", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.1.1", "0.0.0.0"};
	struct stage *s = open_cached(1);
	struct asker a;

	(void)state;
	s->upstreams[0].rebind = CONF_REBIND_PROTECT;
	groups_renew(s);
	s->question.flags = RESOLVE_NO_CACHE;
	for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
		ask_now(s, &a, "a.test");
		fake_answer_address(s->up[0], inside[i]);
		assert_int_equal(a.error, 0);
		assert_int_equal(a.addresses, 0);
		assert_int_equal(dns_message_rcode(a.head), DNS_NOERROR);
		assert_int_equal(counters(s).rebind, i + 1);
	}
	ask_now(s, &a, "a.test");
	fake_answer_address(s->up[0], "100.100.100.100");
	assert_int_equal(a.addresses, 1);
	s->question.flags = RESOLVE_NO_CACHE | RESOLVE_ALLOW_REBIND;
	ask_now(s, &a, "a.test");
	fake_answer_address(s->up[0], inside[0]);
	assert_int_equal(a.addresses, 1);
	stage_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_no_cache),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_failures_end_with_the_outage),
		cmocka_unit_test(test_stale_after_a_while),
		cmocka_unit_test(test_stale_when_nobody_can_be_asked),
		cmocka_unit_test(test_stale_when_all_fail),
		cmocka_unit_test(test_prefetch_once),
		cmocka_unit_test(test_refreshes_are_bounded),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_views),
		cmocka_unit_test(test_views_of_egresses),
		cmocka_unit_test(test_truncated_goes_to_stream),
		cmocka_unit_test(test_as_the_client_came),
		cmocka_unit_test(test_case_is_given_up),
		cmocka_unit_test(test_ignored_address),
		cmocka_unit_test(test_too_early),
		cmocka_unit_test(test_bogus_address),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_window_and_end),
		cmocka_unit_test(test_rebind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
