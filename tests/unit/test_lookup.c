/* gateway/resolve: addresses of proxies by name. The servers are the test's own hands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "tests/unit/resolve_fake.h"

#define ROOM 2

struct proxy {
	struct egress_lookup lookup;
	unsigned calls;
	size_t n;
	struct ip_addr v[2];
	uint32_t ttl_s;
	int error;
};

struct world {
	struct stage *s;
	struct lookups lookups;
};

static int open_world(void **state)
{
	struct world *w = test_calloc(1, sizeof *w);

	w->s = stage_open(1, CONF_UDP);
	fake_reset();
	stage_cache(w->s, 0, 0);
	lookups_init(&w->lookups, w->s->loop, w->s->resolver, ROOM);
	*state = w;
	return 0;
}

static int close_world(void **state)
{
	struct world *w = *state;

	stage_close(w->s);
	assert_int_equal(w->lookups.n, 0);
	lookups_fini(&w->lookups);
	test_free(w);
	return 0;
}

static void found(
	struct egress_lookup *l, const struct ip_addr *v, size_t n, uint32_t ttl_s, int error)
{
	struct proxy *p = container_of(l, struct proxy, lookup);

	assert_true(n ? error == 0 : error < 0);
	assert_in_range(n, 0, 2);
	p->calls++;
	p->n = n;
	p->ttl_s = ttl_s;
	p->error = error;
	for (size_t i = 0; i < n; i++)
		p->v[i] = v[i];
}

static void begin(struct world *w, struct proxy *p, int group, const char *host)
{
	*p = (struct proxy){.lookup.done = found};
	lookups_begin(&w->lookups, w->s->groups, group, host, &p->lookup);
}

static void assert_ended(const struct proxy *p, int error)
{
	assert_int_equal(p->calls, 1);
	assert_int_equal(p->error, error);
	assert_int_equal(p->n, 0);
}

static void both_families(void **state)
{
	struct world *w = *state;
	struct stage *s = w->s;
	struct proxy p;

	s->upstreams[0].rebind =
		CONF_REBIND_PROTECT; /* not for a proxy, which may be in the house */
	groups_renew(s);
	begin(w, &p, 0, "proxy.test");
	assert_int_equal(fake_asked(s->up[0]), 2);
	assert_int_equal(w->lookups.n, 1);
	assert_int_equal(fake_type(s->up[0]), DNS_A);
	fake_answer_for(s->up[0], "192.168.1.9", 90);
	assert_int_equal(p.calls, 0);
	assert_int_equal(fake_type(s->up[0]), DNS_AAAA);
	fake_answer_for(s->up[0], "fd00::9", 70);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.n, 2);
	assert_memory_equal(p.v[0].b, "\300\250\1\11", 4);
	assert_int_equal(p.v[1].family, IP_V6);
	assert_int_equal(p.ttl_s, 70);
	assert_int_equal(w->lookups.n, 0);
	/* From the cache, before it returns. */
	begin(w, &p, 0, "proxy.test");
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.n, 2);
	assert_int_equal(fake_asked(s->up[0]), 2);
}

static void one_family(void **state)
{
	struct world *w = *state;
	struct upstream *up = w->s->up[0];
	struct proxy p;

	begin(w, &p, 0, "a.test");
	fake_fail(up, -ECONNREFUSED);
	fake_answer_for(up, "2001:db8::1", 50);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.n, 1);
	assert_int_equal(p.ttl_s, 50);
	begin(w, &p, 0, "b.test");
	fake_answer(up, 1);
	fake_error(up, 0); /* no such records */
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.n, 1);
}

static void nothing_found(void **state)
{
	struct world *w = *state;
	struct upstream *up = w->s->up[0];
	struct proxy p;

	begin(w, &p, 0, "a.test");
	fake_error(up, 0);
	fake_error(up, DNS_NXDOMAIN);
	assert_ended(&p, -EHOSTUNREACH);
	begin(w, &p, 0, "b.test");
	fake_fail(up, -ECONNREFUSED);
	fake_error(up, 0);
	assert_ended(&p, -ECONNREFUSED);
	begin(w, &p, 0, "c.test");
	fake_fail(up, -ECONNREFUSED);
	fake_fail(up, -ECONNREFUSED);
	assert_ended(&p, -ECONNREFUSED);
	begin(w, &p, 0, "c.test"); /* the cache's word: not again so soon */
	assert_ended(&p, -EAGAIN);
}

static void nobody_to_ask(void **state)
{
	struct world *w = *state;
	struct proxy p;

	begin(w, &p, -1, "proxy.test");
	assert_ended(&p, -EHOSTUNREACH);
	begin(w, &p, 0, "no..name");
	assert_ended(&p, -EHOSTUNREACH);
	assert_int_equal(fake_asked(w->s->up[0]), 0);
}

static void no_more_than_there_is_room_for(void **state)
{
	struct world *w = *state;
	struct proxy p[ROOM + 1];

	for (size_t i = 0; i < ROOM; i++)
		begin(w, &p[i], 0, (const char *[]){"a.test", "b.test"}[i]);
	begin(w, &p[ROOM], 0, "c.test");
	assert_ended(&p[ROOM], -ENOMEM);
	lookups_cancel(NULL, &p[0].lookup);
	begin(w, &p[ROOM], 0, "c.test");
	assert_int_equal(p[ROOM].calls, 0);
	assert_int_equal(w->lookups.n, ROOM);
	for (size_t i = 1; i <= ROOM; i++)
		lookups_cancel(NULL, &p[i].lookup);
}

static void cancelled(void **state)
{
	struct world *w = *state;
	struct proxy p;

	begin(w, &p, 0, "a.test");
	lookups_cancel(NULL, &p.lookup);
	assert_int_equal(resolve_flights(w->s->resolver), 0);
	assert_int_equal(w->lookups.n, 0);
	lookups_cancel(NULL, &p.lookup);
	assert_int_equal(p.calls, 0);
	/* With one family told. */
	begin(w, &p, 0, "b.test");
	fake_answer(w->s->up[0], 1);
	lookups_cancel(NULL, &p.lookup);
	assert_int_equal(resolve_flights(w->s->resolver), 0);
	assert_int_equal(p.calls, 0);
	assert_int_equal(w->lookups.n, 0);
}

/* The end of the resolver tells who still waits. */
static void the_resolver_ends(void **state)
{
	struct world *w = *state;
	struct proxy p;

	begin(w, &p, 0, "a.test");
	resolver_stop(w->s->resolver, resolver_has_stopped, w->s);
	w->s->resolver = NULL;
	assert_ended(&p, -ECANCELED);
}

/* --- whose group counts --- */

static struct egress_set *set_of(struct stage *s, const char *const *hosts, size_t n)
{
	static const char *const names[] = {"a", "b"};
	struct conf_egress e[2];
	struct egress_set *set;

	for (size_t i = 0; i < n; i++)
		e[i] = (struct conf_egress){.name = (char *)names[i],
			.type = CONF_EGRESS_SOCKS5,
			.server = {.host = (char *)hosts[i], .at.port = 1080},
			.bootstrap = (int)i};
	s->config.egresses = e;
	s->config.n_egresses = n;
	assert_int_equal(egress_set_new(&s->config, 0, NULL, &set), 0);
	return set;
}

/* A server of an older configuration brings its egress, and a number that is another group's now.
 */
static void who_resolves_a_proxy_today(void **state)
{
	struct world *w = *state;
	struct stage *s = w->s;
	struct egress_set *old = set_of(s, (const char *[]){"one.test"}, 1);
	struct egress_set *now = set_of(s, (const char *[]){"two.test", "one.test"}, 2);
	struct resolve_groups_config config = {.config = &s->config, .egresses = now};
	struct resolve_groups *g;

	s->config.n_upstreams = 2;
	assert_int_equal(resolve_groups_new(&config, &g), 0);
	assert_int_equal(groups_bootstrap(g, now, 0, "two.test"), 0);
	assert_int_equal(groups_bootstrap(g, now, -1, "two.test"), -1);
	assert_int_equal(groups_bootstrap(g, old, 0, "one.test"), 1);
	assert_int_equal(groups_bootstrap(g, old, 0, "gone.test"), -1);
	resolve_groups_unref(g);
	s->config.n_upstreams = 1;
	assert_int_equal(resolve_groups_new(&config, &g), 0);
	assert_int_equal(groups_bootstrap(g, old, 0, "one.test"), -1);
	resolve_groups_unref(g);
	config.egresses = NULL;
	assert_int_equal(resolve_groups_new(&config, &g), 0);
	assert_int_equal(groups_bootstrap(g, old, 0, "one.test"), -1);
	resolve_groups_unref(g);
	egress_set_unref(old);
	egress_set_unref(now);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(both_families),
		TEST(one_family),
		TEST(nothing_found),
		TEST(nobody_to_ask),
		TEST(no_more_than_there_is_room_for),
		TEST(cancelled),
		TEST(the_resolver_ends),
		TEST(who_resolves_a_proxy_today),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
