/* A server as several workers see it at once. Run under TSan too. */
#include "server_stage.h"

#include <pthread.h>

#define WORKERS 4
#define TURNS	20000

struct worker {
	pthread_t thread;
	struct server *server;
	pthread_barrier_t *barrier;
	_Atomic unsigned *trials; /* of each turn */
	unsigned wrong;
};

static void *claim(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < TURNS; i++) {
		/* Each turn is later than any pause of the one before. */
		int64_t now_ms = 1000 + (int64_t)i * 100000;

		pthread_barrier_wait(w->barrier);
		if (server_state(w->server, now_ms) == SERVER_TRIAL)
			atomic_fetch_add(&w->trials[i], 1);
		if (server_state(w->server, now_ms) == SERVER_UP)
			w->wrong++;
		server_failed(w->server, false, now_ms);
	}
	return NULL;
}

static void *everything(void *arg)
{
	static const struct ip_addr there = {{192, 0, 2, 1}, IP_V4};
	struct worker *w = arg;
	struct server *s = w->server;

	for (int i = 0; i < TURNS; i++) {
		struct ip_addr v[SERVER_ADDRESSES_MAX];
		struct ip_port at;
		bool fresh;

		server_asked(s);
		switch (i % 7) {
		case 0:
		case 1:
		case 2:
			server_failed(s, false, i);
			break;
		case 3:
			server_answered(s, i % 1000 + 1);
			break;
		case 4:
			server_declined(s);
			break;
		case 5:
			server_try_soon(s, i);
			server_address_failed(s, &there);
			break;
		default:
			(void)server_state(s, i * 10);
			server_addresses_load(s, &there, 1);
		}
		if (server_address(s, &at, &fresh) == 0)
			w->wrong += !ip_addr_equal(&at.addr, &there);
		w->wrong += server_addresses_get(s, v) > 1;
		w->wrong += s->rtt_us > 1000 || s->p95_us > 3000;
		server_unref(server_ref(s));
	}
	return NULL;
}

static void run(struct stage *st, void *(*what)(void *), _Atomic unsigned *trials)
{
	struct worker workers[WORKERS];
	pthread_barrier_t barrier;

	assert_int_equal(pthread_barrier_init(&barrier, NULL, WORKERS), 0);
	for (size_t i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){
			.server = stage_server(st, 0, 0), .barrier = &barrier, .trials = trials};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, what, &workers[i]), 0);
	}
	for (size_t i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].wrong, 0);
	}
	pthread_barrier_destroy(&barrier);
}

static void one_of_all_makes_the_trial(void **state)
{
	static _Atomic unsigned trials[TURNS];
	struct stage *st = *state;
	unsigned missed = 0;

	stage_conf(st, 0, "udp://192.0.2.53", NULL, "192.0.2.53");
	stage_groups(st);
	stage_down(stage_server(st, 0, 0), 0);
	run(st, claim, trials);
	for (size_t i = 1; i < TURNS; i++) {
		assert_true(trials[i] <= 1);
		missed += trials[i] == 0;
	}
	/* The failure of a turn may come to the next one's trial, which is then put off. */
	assert_true(missed < TURNS / 10);
}

static void all_at_once(void **state)
{
	struct stage *st = *state;
	struct server *s;

	stage_conf(st, 0, "udp://a.test", "a.test", NULL);
	stage_groups(st);
	s = stage_server(st, 0, 0);
	run(st, everything, NULL);
	assert_int_equal(s->queries, WORKERS * TURNS);
	assert_true(s->failures > 0);
	server_answered(s, 10);
	assert_int_equal(server_state(s, 0), SERVER_UP);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_of_all_makes_the_trial),
		TEST(all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
