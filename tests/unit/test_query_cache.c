/* Answers from the cache on their way to a client: at once or after the kernel has their addresses,
 * stale ones, the rules' say in it; `leak: strict`; the warm-up. */
#include "tests/unit/query_talk.h"

#include <errno.h>
#include <stdio.h>

#include "gateway/dns/stored.h"

static const char yaml[] =
	"gateway: { lan: [lan0] }\n"
	"fakeip: { store: '' }\n"
	"upstreams:\n"
	"  one: { servers: udp://192.0.2.53, leak: strict, lists: near, strict_to: two }\n"
	"  two: { servers: udp://192.0.2.54 }\n"
	"  shut: { servers: udp://192.0.2.55, leak: strict, lists: near }\n"
	"lists: { near: { path: /dev/null, optional: yes, format: plain } }\n"
	"egress: { direct: { type: direct, upstream: one } }\n"
	"rules:\n"
	"  - { name: sets, domain: [set.test], answer: real, upstream: two, nftset: '4#inet#t#s4' "
	"}\n"
	"  - { name: fresh, domain: [fresh.test], answer: real, upstream: two, cache: no }\n"
	"  - { name: house, domain: [house.test], answer: real, upstream: two, rebind: allow }\n"
	"  - { name: guarded, domain: [guarded.test], answer: real, upstream: two, rebind: protect "
	"}\n"
	"  - { name: six, domain: [six.test], answer: real, upstream: two, filter: ipv4 }\n"
	"  - { name: leaky, domain: [leak.test], answer: real, upstream: one }\n"
	"  - { name: shut, domain: [shut.test], answer: real, upstream: shut }\n"
	"  - { name: fake, domain: [fake.test], answer: fake, egress: direct }\n"
	"  - { name: rest, domain: [.], answer: real, upstream: two }\n";

static int open_stage(void **state)
{
	*state = stage_open(yaml, 0);
	return 0;
}

static int close_stage(void **state)
{
	stage_close(*state);
	return 0;
}

/* What resolve_look() finds from now on: `response`, as it would be kept. */
static void keep(struct stage *s)
{
	const struct dns_store_how how = {.ttl_max_s = UINT32_MAX, .negative_max_s = UINT32_MAX};
	struct dns_stored_info info;
	int len;

	assert_int_equal(dns_response_check(response.b, response.len), 0);
	len = dns_store(s->cached, sizeof s->cached, response.b, response.len, &how, &info);
	assert_true(len > 0);
	s->cached_len = (size_t)len;
}

static void keep_address(struct stage *s, const char *name, uint32_t ttl_s)
{
	make_response(name, DNS_A, 0, 1);
	put_a(&response, "@12", ttl_s, 0xc0000201);
	keep(s);
}

static void what_is_kept_leaves_at_once(void **state)
{
	struct stage *s = *state;
	struct seen v;

	keep_address(s, "www.a.test", 77);
	ask(s, "WwW.a.TEST", DNS_A);
	v = look_out();
	assert_int_equal(v.rcode, 0);
	assert_int_equal(v.answers, 1);
	assert_int_equal(v.ttl_s, 77);
	assert_int_equal(get32(v.data), 0xc0000201);
	assert_false(v.flags & DNS_AA);
	assert_true(v.flags & DNS_RA);
	assert_int_equal(v.additionals, 1);
	assert_int_equal(v.ede, -1);
	assert_int_equal(s->n_asked, 0);
	assert_int_equal(s->n_told, 1);
	assert_int_equal(COUNTER(s, real), 1);
	make_query("www.a.test", DNS_A, 0);
	hand_over(s, "10.1.1.1", false);
	assert_int_equal(look_out().additionals, 0);
}

static void what_is_not_kept_is_asked(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.a.test", DNS_A);
	assert_int_equal(s->n_looks, 1);
	answer_addresses(s, "www.a.test", 1, 9);
	assert_int_equal(look_reply(s).answers, 1);
}

static void a_stale_answer_says_so(void **state)
{
	struct stage *s = *state;

	keep_address(s, "www.a.test", 30);
	s->cached_stale = true;
	ask(s, "www.a.test", DNS_A);
	assert_int_equal(look_out().ede, DNS_EDE_STALE);
	s->cached_len = 0;
	s->ask_stale = true;
	ask_parked(s, "www.a.test", DNS_A);
	answer_addresses(s, "www.a.test", 1, 30);
	assert_int_equal(look_reply(s).ede, DNS_EDE_STALE);
}

static void a_kept_answer_waits_for_its_sets(void **state)
{
	struct stage *s = *state;

	keep_address(s, "www.set.test", 77);
	make_query("www.set.test", DNS_A, 1232);
	assert_int_equal(hand_over(s, "10.1.1.1", false), QUERY_PARKED);
	assert_int_equal(s->n_asked, 0);
	assert_int_equal(s->reply.n, 0);
	assert_non_null(s->job);
	assert_int_equal(s->job->n, 1);
	assert_string_equal(stage_set_name(s->job->elements[0].set), "s4");
	stage_written(s, 0);
	assert_int_equal(s->reply.n, 1);
	assert_int_equal(look_reply(s).ttl_s, 77);
}

static void a_large_answer_is_cut_for_udp(void **state)
{
	struct stage *s = *state;
	struct seen v;

	make_response("many.a.test", DNS_A, 0, 200);
	for (unsigned i = 0; i < 200; i++)
		put_a(&response, "@12", 9, 0xc0000200 + i);
	keep(s);
	ask(s, "many.a.test", DNS_A);
	v = look_out();
	assert_true(v.flags & DNS_TC);
	assert_int_equal(v.answers, 0);
	make_query("many.a.test", DNS_A, 0);
	hand_over(s, "10.1.1.1", true);
	assert_int_equal(look_out().answers, 200);
	assert_int_equal(s->n_asked, 0);
}

static void rules_have_a_say(void **state)
{
	struct stage *s = *state;
	size_t n = ask_parked(s, "www.fresh.test", DNS_A);

	assert_int_equal(s->n_looks, 0);
	assert_int_equal(s->asked[n].flags, RESOLVE_NO_CACHE);
	answer_addresses(s, "www.fresh.test", 1, 9);
	n = ask_parked(s, "nas.house.test", DNS_A);
	assert_int_equal(s->asked[n].flags, RESOLVE_ALLOW_REBIND);
	answer_addresses(s, "nas.house.test", 1, 9);
	n = ask_parked(s, "nas.guarded.test", DNS_A);
	assert_int_equal(s->asked[n].flags, RESOLVE_PROTECT_REBIND);
	answer_addresses(s, "nas.guarded.test", 1, 9);
	make_query("stream.test", DNS_A, 0);
	n = s->n_asked;
	assert_int_equal(hand_over(s, "10.1.1.1", true), QUERY_PARKED);
	assert_int_equal(s->asked[n].flags, RESOLVE_STREAM);
	assert_int_equal(s->look_flags, RESOLVE_STREAM);
	answer_addresses(s, "stream.test", 1, 9);
}

static void a_failure_that_is_remembered_says_so(void **state)
{
	struct stage *s = *state;

	s->ask_error = -EAGAIN;
	make_query("www.a.test", DNS_A, 1232);
	assert_int_equal(hand_over(s, "10.1.1.1", false), QUERY_PARKED);
	assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL);
	assert_int_equal(look_reply(s).ede, DNS_EDE_CACHED_ERROR);
}

/* The list of the configuration is empty: nothing may be asked at `one` and `shut`. */
static void names_do_not_leak(void **state)
{
	_Atomic uint64_t leaks = 0;
	struct stage *s = *state;
	size_t n;

	s->gen->leaks = &leaks;
	n = ask_parked(s, "www.leak.test", DNS_A);
	assert_int_equal(s->asked[n].group, 1);
	assert_int_equal(leaks, 1);
	answer_addresses(s, "www.leak.test", 1, 9);
	ask(s, "www.shut.test", DNS_A);
	assert_int_equal(look_out().rcode, DNS_SERVFAIL);
	assert_int_equal(s->n_asked, n + 1);
	assert_int_equal(leaks, 2);
	keep_address(s, "www.shut.test", 9); /* nor is it answered from what was kept */
	ask(s, "www.shut.test", DNS_A);
	assert_int_equal(look_out().rcode, DNS_SERVFAIL);
}

static struct cache_hot hot(const char *name, uint64_t view)
{
	struct cache_hot h = {.view = view, .type = DNS_A};

	assert_int_equal(dns_name_parse(name, strlen(name), &h.name), 0);
	return h;
}

static void names_are_warmed_up_by_todays_rules(void **state)
{
	struct stage *s = *state;
	const struct cache_hot all[] = {hot("a.test", 2), hot("b.test", 99) /* another view */,
		hot("a.fake.test", 2), hot("a.fresh.test", 2), hot("x.onion", 2),
		hot("c.leak.test", 1) /* would leak */,
		hot("d.leak.test", 2) /* where it is asked today */,
		hot("e.shut.test", 3) /* nowhere */, hot("f.test", 2)};
	size_t n = sizeof all / sizeof all[0];

	assert_int_equal(query_engine_warm(s->engine, all, n, 10), 0);
	assert_int_equal(s->n_refreshed, 0);
	stage_pass(s, 100);
	assert_int_equal(s->n_refreshed, 1);
	for (size_t i = 1; i < n; i++)
		stage_pass(s, 100);
	assert_int_equal(s->n_refreshed, 3);
	assert_true(dns_name_equal(&s->refreshed[0], &all[0].name));
	assert_true(dns_name_equal(&s->refreshed[1], &all[6].name));
	assert_true(dns_name_equal(&s->refreshed[2], &all[8].name));
	assert_int_equal(s->n_timers, 0);
	assert_int_equal(COUNTER(s, total), 0);
}

static void a_stop_ends_the_warm_up(void **state)
{
	const struct cache_hot all[] = {hot("a.test", 2), hot("b.test", 2)};
	struct stage *s = *state;

	assert_int_equal(query_engine_warm(s->engine, all, 2, 1000000), 0);
	query_engine_stop(s->engine);
	stage_pass(s, 1000);
	assert_int_equal(s->n_refreshed, 0);
	assert_int_equal(query_engine_warm(s->engine, all, 0, 10), 0);
	assert_int_equal(query_engine_warm(s->engine, all, 2, 0), 0);
	assert_int_equal(s->n_timers, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_stage, close_stage)
	const struct CMUnitTest tests[] = {
		TEST(what_is_kept_leaves_at_once),
		TEST(what_is_not_kept_is_asked),
		TEST(a_stale_answer_says_so),
		TEST(a_kept_answer_waits_for_its_sets),
		TEST(a_large_answer_is_cut_for_udp),
		TEST(rules_have_a_say),
		TEST(a_failure_that_is_remembered_says_so),
		TEST(names_do_not_leak),
		TEST(names_are_warmed_up_by_todays_rules),
		TEST(a_stop_ends_the_warm_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
