/* Several workers' dialers share a set, and what is known of its proxies. Run under TSan too. */
#include "egress_stage.h"

#include <pthread.h>
#include <stdlib.h>

#define WORKERS 3
#define DIALS	60

#define SAY(text)    .say = (text), .say_len = sizeof(text) - 1
#define EXPECT(text) .expect = (text), .expect_len = sizeof(text) - 1

static const struct play good[] = {
	{EXPECT("\x05\x01\x00"), SAY("\x05\x00")},
	{EXPECT("\x05\x01\x00\x03\x06"
		"a.test"
		"\x01\xbb"),
		SAY("\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")},
	{0},
};

struct worker {
	pthread_t thread;
	struct egress_set *set;
	atomic_uint *finished;
	struct ip_addr proxy;
	unsigned connected, failed;
	bool stopped;
};

/* asserts of cmocka belong to the main thread: here a failure is counted. */
static void resolve(void *arg, const struct egress_set *s, int bootstrap, const char *host,
	struct egress_lookup *l)
{
	struct worker *w = arg;

	(void)s;
	(void)bootstrap;
	(void)host;
	l->done(l, &w->proxy, 1, 1, 0);
}

static void resolve_cancel(void *arg, struct egress_lookup *l)
{
	(void)arg;
	(void)l;
}

static void stopped(void *arg)
{
	((struct worker *)arg)->stopped = true;
}

static void dial_once(struct worker *w, struct loop *loop, struct egress_dialer *d)
{
	struct egress_target t = {.host = "a.test", .at.port = 443, .client = w->proxy};
	struct call c = {.fd = -1};
	struct egress_state *flow;

	egress_connect(d, w->set, 2, &t, &c.dial, call_done);
	while (!c.ends)
		(void)loop_turn(loop, 100);
	if (c.error) {
		w->failed++;
		return;
	}
	w->connected++;
	flow = egress_flow_begin(w->set, c.egress);
	close(c.fd);
	egress_flow_end(flow);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct egress_dialer_config config = {
		.resolve = resolve, .resolve_cancel = resolve_cancel, .arg = w};
	struct egress_dialer *d;

	if (loop_new(&config.loop))
		abort();
	if (egress_dialer_new(&config, &d))
		abort();
	for (int i = 0; i < DIALS; i++)
		dial_once(w, config.loop, d);
	egress_dialer_stop(d, stopped, w);
	while (!w->stopped)
		(void)loop_turn(config.loop, 10);
	loop_free(config.loop);
	egress_set_unref(w->set);
	atomic_fetch_add(w->finished, 1);
	return NULL;
}

static void look_at_it(struct stage *st)
{
	struct egress_info v[3];
	struct egress_set *reloaded;

	assert_int_equal(egress_list(st->set, v, 3), 3);
	assert_non_null(v[2].member);
	(void)egress_takes_udp(st->set, 2);
	assert_int_equal(egress_set_new(&st->config, 0, st->set, &reloaded), 0);
	egress_set_unref(reloaded);
}

static void workers_share_a_set(void **state)
{
	struct stage *st = *state;
	struct worker w[WORKERS] = {0};
	struct conf_egress *group;
	atomic_uint finished = 0;
	struct egress_info v[3];
	unsigned connected = 0;

	for (size_t i = 0; i < 2; i++) {
		struct conf_egress *e;

		server_open(&st->servers[i], "127.0.0.1", good);
		e = stage_egress(st, i ? "two" : "one", CONF_EGRESS_SOCKS5, &st->servers[i]);
		e->server.host = (char *)"proxy.test";
		e->server.at.addr = (struct ip_addr){0};
		e->connect_timeout_ms = 20000;
	}
	group = stage_egress(st, "group", CONF_EGRESS_GROUP, NULL);
	group->of = malloc(2 * sizeof(int));
	group->of[0] = 0;
	group->of[1] = 1;
	group->n_of = 2;
	group->strategy = CONF_GROUP_FASTEST;
	group->connect_timeout_ms = 20000;
	stage_set(st);
	for (size_t i = 0; i < WORKERS; i++) {
		w[i].set = egress_set_ref(st->set);
		w[i].finished = &finished;
		w[i].proxy = st->servers[0].at.addr;
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	while (atomic_load(&finished) < WORKERS) {
		stage_serve(st);
		look_at_it(st);
	}
	for (size_t i = 0; i < WORKERS; i++) {
		assert_int_equal(pthread_join(w[i].thread, NULL), 0);
		assert_int_equal(w[i].failed, 0);
		connected += w[i].connected;
	}
	assert_int_equal(connected, WORKERS * DIALS);
	assert_int_equal(egress_list(st->set, v, 3), 3);
	assert_int_equal(v[0].flows + v[1].flows, 0);
	assert_int_equal(v[0].failures + v[1].failures, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(workers_share_a_set, stage_setup, stage_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
