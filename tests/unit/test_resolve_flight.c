/* gateway/resolve: who shares a flight, how it ends, what it costs, and what other threads see of
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/resolve_stage.h"

/* --- what the query path allocates --- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
static _Atomic unsigned allocations;

void *__wrap_malloc(size_t size)
{
	allocations++;
	return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	allocations++;
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	allocations++;
	return __real_realloc(p, size);
}

/* --- flights --- */

static void test_identical_questions_share_a_flight(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker a[20];
	struct asker other = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	for (size_t i = 0; i < 20; i++) {
		a[i] = (struct asker){.stage = s};
		ask(s, &a[i], i % 2 ? "Same.TEST" : "same.test", 1000);
		stage_turn(s);
	}
	ask(s, &other, "other.test", 1000);
	STAGE_UNTIL(s, s->up[0]->n_held >= 2);
	assert_int_equal(s->up[0]->asked, 2);
	upstream_release(s->up[0]);
	for (size_t i = 0; i < 20; i++) {
		play_until(s, &a[i]);
		assert_answered_by(&a[i], s->up[0]);
	}
	play_until(s, &other);
	assert_int_equal(server_info(s, 0).queries, 2);
	stage_close(s);
}

/* Each has its own deadline; the flight goes on for the patient one. */
static void test_deadlines(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker hasty = {.stage = s}, patient = {.stage = s}, late = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	ask(s, &patient, "a.test", 1000);
	ask(s, &hasty, "a.test", 50);
	ask(s, &late, "b.test", 0);
	assert_int_equal(late.calls, 1);
	assert_int_equal(late.error, -ETIMEDOUT);
	STAGE_UNTIL(s, s->up[0]->n_held);
	play_time_until(s, &hasty);
	assert_int_equal(hasty.error, -ETIMEDOUT);
	assert_int_equal(took_ms(&hasty), 50);
	assert_int_equal(patient.calls, 0);
	upstream_release(s->up[0]);
	play_until(s, &patient);
	assert_answered_by(&patient, s->up[0]);
	assert_int_equal(hasty.calls, 1);
	/* Alone, the deadline ends the flight. */
	hasty = (struct asker){.stage = s};
	ask(s, &hasty, "c.test", 50);
	play_time_until(s, &hasty);
	assert_int_equal(resolve_flights(s->resolver), 0);
	assert_int_equal(hasty.error, -ETIMEDOUT);
	stage_close(s);
}

/* The third server's time would be over later. */
static void test_total(void **state)
{
	struct stage *s = stage_open(3, CONF_UDP);
	struct asker a;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		s->up[i]->script = (struct script){1, {ACT_SILENT}};
	groups_make(s, CONF_UDP, 300, 350);
	a = (struct asker){.stage = s};
	ask(s, &a, "a.test", 1000);
	play_time_until(s, &a);
	assert_int_equal(a.error, -ETIMEDOUT);
	assert_int_equal(took_ms(&a), 350);
	STAGE_UNTIL(s, s->up[2]->asked >= 3);
	assert_int_equal(server_info(s, 2).failures, 0); /* it had no time to fail */
	stage_close(s);
}

static void test_cancel(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct dns_name name = name_of("a.test");
	struct asker a = {.stage = s}, b = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	ask(s, &a, "a.test", 1000);
	ask(s, &b, "a.test", 1000);
	STAGE_UNTIL(s, s->up[0]->n_held);
	resolve_cancel(&a.rq);
	assert_int_equal(resolve_sighted(s->groups, &name, DNS_A), 1);
	upstream_release(s->up[0]);
	play_until(s, &b);
	assert_int_equal(a.calls, 0);
	resolve_cancel(&b.rq); /* was answered: nothing happens */

	/* Nobody waits: no second packet, and the question is in flight no more. */
	ask(s, &a, "b.test", 1000);
	STAGE_UNTIL(s, s->up[0]->n_held);
	resolve_cancel(&a.rq);
	resolve_cancel(&a.rq);
	name = name_of("b.test");
	assert_int_equal(resolve_sighted(s->groups, &name, DNS_A), 0);
	stage_play(s, TIMEOUT_MS);
	assert_int_equal(s->up[0]->asked, 2);
	assert_int_equal(a.calls, 0);
	stage_close(s);
}

/* Callbacks cancel their neighbours, ask anew, and the same question starts a new flight. */
static void test_callbacks_that_act(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker first = {.stage = s}, second = {.stage = s}, again = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	ask(s, &first, "again.test", 1000);
	ask(s, &second, "again.test", 1000);
	first.cancels = &second;
	second.cancels = &first;
	first.asks = second.asks = &again;
	STAGE_UNTIL(s, s->up[0]->n_held);
	s->up[0]->script = (struct script){1, {ACT_ANSWER}};
	upstream_release(s->up[0]);
	play_until(s, &again);
	assert_int_equal(first.calls + second.calls, 1);
	assert_int_equal(s->up[0]->asked, 2);
	stage_close(s);
}

/* The same at a deadline, where the flight goes on: the callback joins it. */
static void test_callbacks_at_deadline(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker hasty = {.stage = s}, patient = {.stage = s}, again = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	ask(s, &hasty, "again.test", 40);
	ask(s, &patient, "again.test", 1000);
	hasty.cancels = &patient;
	hasty.asks = &again;
	STAGE_UNTIL(s, s->up[0]->n_held);
	play_time_until(s, &hasty);
	assert_int_equal(again.calls, 0);
	upstream_release(s->up[0]);
	play_until(s, &again);
	assert_answered_by(&again, s->up[0]);
	assert_int_equal(s->up[0]->asked, 1);
	assert_int_equal(patient.calls, 0);
	stage_close(s);
}

static void test_stop_with_flights_out(void **state)
{
	static struct asker a[40];
	struct stage *s = stage_open(2, CONF_UDP);
	struct asker late = {.stage = s};
	char text[32];

	(void)state;
	s->up[0]->script = (struct script){5, {ACT_SILENT, ACT_TC, ACT_TC, ACT_TC, ACT_HOLD}};
	s->up[0]->script_tcp = (struct script){1, {ACT_SILENT}};
	for (size_t i = 0; i < 40; i++) {
		a[i] = (struct asker){.stage = s};
		snprintf(text, sizeof text, "n%zu.test", i / 2);
		ask(s, &a[i], text, 1000);
	}
	a[3].cancels = &a[4]; /* of another flight */
	STAGE_UNTIL(s, s->up[0]->asked_tcp >= 3);
	assert_int_equal(s->up[0]->asked_tcp, 3);
	resolver_stop(s->resolver, resolver_has_stopped, s);
	for (size_t i = 0; i < 40; i++) {
		assert_true(a[i].calls == 1 || (i == 4 && a[i].calls == 0));
		assert_true(a[i].calls == 0 || a[i].error == -ECANCELED);
	}
	assert_false(s->stopped);
	ask(s, &late, "late.test", 1000);
	assert_int_equal(late.error, -ECANCELED);
	s->resolver = NULL;
	stage_close(s);
}

/* Nothing is in flight: there may never be another turn. */
static void test_stop_when_idle(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker a;

	(void)state;
	ask_and_play(s, &a, "a.test");
	stage_turn(s);
	resolver_stop(s->resolver, resolver_has_stopped, s);
	assert_true(s->stopped);
	s->resolver = NULL;
	stage_close(s);
}

static void test_stop_in_callback(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) { /* at an answer, at a deadline */
		struct stage *s = stage_open(1, CONF_UDP);
		struct asker a = {.stage = s, .stops = true}, b = {.stage = s},
			     other = {.stage = s};

		s->up[0]->script = (struct script){1, {ACT_HOLD}};
		ask(s, &other, "other.test", 1000);
		ask(s, &b, "a.test", 1000);
		ask(s, &a, "a.test", i ? 30 : 1000);
		STAGE_UNTIL(s, s->up[0]->n_held == 2);
		if (i == 0)
			upstream_release(s->up[0]);
		else
			stage_play(s, 30);
		play_until(s, &a);
		play_until(s, &b);
		play_until(s, &other);
		assert_int_equal(a.error, i ? -ETIMEDOUT : 0);
		assert_int_equal(b.error, i ? -ECANCELED : 0);
		s->resolver = NULL;
		stage_close(s);
	}
}

static void test_thousand_flights(void **state)
{
	static struct asker a[1000];
	struct stage *s = stage_open(1, CONF_UDP);
	unsigned ascending = 0, same_id = 0, before;
	char text[32];

	(void)state;
	s->question.flags = RESOLVE_NO_CACHE;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	for (int round = 0; round < 2; round++) {
		before = allocations;
		for (size_t i = 0; i < 1000; i++) {
			snprintf(text, sizeof text, "n%zu.test", i);
			a[i] = (struct asker){.stage = s};
			ask(s, &a[i], text, 30000);
			if (i % 50 == 0)
				stage_turn(s);
		}
		STAGE_UNTIL(s, s->up[0]->n_held == 1000);
		upstream_release(s->up[0]);
		for (size_t i = 0; i < 1000; i++) {
			play_until(s, &a[i]);
			assert_answered_by(&a[i], s->up[0]);
		}
		assert_true(round == 0 || allocations == before);
	}
	/* Our ids are not to be guessed from the one before; nor are ports, test_transport_udp.c.
	 */
	for (size_t i = 1; i < 2000; i++) {
		ascending += s->up[0]->seen_id[i] > s->up[0]->seen_id[i - 1];
		same_id += s->up[0]->seen_id[i] == s->up[0]->seen_id[i - 1];
	}
	assert_in_range(ascending, 900, 1100);
	assert_true(same_id < 5);
	stage_close(s);
}

static void test_flight_bound(void **state)
{
	static struct asker a[RESOLVE_FLIGHTS_MAX + 1];
	struct stage *s = stage_open(1, CONF_UDP);
	char text[32];

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_SILENT}};
	for (size_t i = 0; i <= RESOLVE_FLIGHTS_MAX; i++) {
		snprintf(text, sizeof text, "n%zu.test", i);
		a[i] = (struct asker){.stage = s};
		ask(s, &a[i], text, 5000);
		assert_int_equal(a[i].error, i == RESOLVE_FLIGHTS_MAX ? -ENOBUFS : 0);
	}
	stage_close(s);
}

/* A group whose servers are silent takes no other group's place. */
static void test_group_bound(void **state)
{
	static struct asker a[RESOLVE_WAITING_MAX + 1];
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker other = {.stage = s};
	char text[32];

	(void)state;
	s->config.n_upstreams = 2;
	groups_renew(s);
	s->up[0]->script = (struct script){1, {ACT_SILENT}};
	for (size_t i = 0; i <= RESOLVE_WAITING_MAX; i++) {
		snprintf(text, sizeof text, "n%zu.test", i / 2); /* two wait for each answer */
		a[i] = (struct asker){.stage = s};
		ask(s, &a[i], text, 5000);
		assert_int_equal(a[i].error, i == RESOLVE_WAITING_MAX ? -ENOBUFS : 0);
	}
	s->question.group = 1;
	ask(s, &other, "other.test", 5000);
	assert_int_equal(other.calls, 0);
	s->question.group = 0;
	resolve_cancel(&a[7].rq);
	a[7] = (struct asker){.stage = s};
	ask(s, &a[7], "again.test", 20);
	assert_int_equal(a[7].calls, 0);
	play_time_until(s, &a[7]);
	a[7] = (struct asker){.stage = s};
	ask(s, &a[7], "again.test", 5000);
	assert_int_equal(a[7].calls, 0);
	stage_close(s);
}

/* --- sightings --- */

static void test_sighted(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct dns_name name = name_of("a.test"), other = name_of("b.test");
	struct asker a = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	assert_int_equal(resolve_sighted(s->groups, &name, DNS_A), 0);
	ask(s, &a, "a.test", 1000);
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(resolve_sighted(s->groups, &name, DNS_A), i);
	assert_int_equal(resolve_sighted(s->groups, &name, DNS_AAAA), 0);
	assert_int_equal(resolve_sighted(s->groups, &other, DNS_A), 0);
	STAGE_UNTIL(s, s->up[0]->n_held);
	upstream_release(s->up[0]);
	play_until(s, &a);
	assert_int_equal(resolve_sighted(s->groups, &name, DNS_A), 0);
	/* The next flight is counted from one again. */
	ask(s, &a, "a.test", 1000);
	assert_int_equal(resolve_sighted(s->groups, &name, DNS_A), 1);
	stage_close(s);
}

static void *sighting_worker(void *arg)
{
	struct resolve_groups *g = arg;
	struct dns_name names[16];
	int slots[16];
	char text[32];

	for (unsigned i = 0; i < 16; i++) {
		snprintf(text, sizeof text, "n%u.test", i);
		names[i] = name_of(text);
	}
	for (unsigned round = 0; round < 2000; round++) {
		for (unsigned i = 0; i < 16; i++)
			slots[i] = sighting_enter(g, &names[i], DNS_A);
		for (unsigned i = 0; i < 16; i++)
			if (slots[i] >= 0 && resolve_sighted(g, &names[i], DNS_A) == 0)
				return "not sighted";
		for (unsigned i = 0; i < 16; i++)
			sighting_leave(g, slots[i]);
	}
	return NULL;
}

static void test_sightings_of_threads(void **state)
{
	struct config empty = {0};
	const struct resolve_groups_config config = {.config = &empty};
	struct resolve_groups *g;
	pthread_t t[3];
	void *error;

	(void)state;
	assert_int_equal(resolve_groups_new(&config, &g), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, sighting_worker, g), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(t[i], &error), 0);
		assert_null(error);
	}
	for (size_t i = 0; i < SIGHTING_SLOTS; i++)
		assert_int_equal(atomic_load(&g->sightings[i]), 0);
	resolve_groups_unref(g);
}

/* --- workers --- */

#define WORKER_QUESTIONS 300

/* A worker's loop in a thread of its own; all share the groups. */
struct worker {
	pthread_t thread;
	struct loop *loop;
	struct resolver *resolver;
	struct resolve_groups *groups;
	struct cache *cache;
	struct resolve_request rq;
	unsigned asked, answered;
	bool stopped;
	atomic_bool ended;
};

static void worker_ask(struct worker *w);

static void worker_answered(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct worker *w = container_of(rq, struct worker, rq);

	(void)len;
	(void)error;
	w->answered += msg != NULL;
	worker_ask(w);
}

static void worker_ask(struct worker *w)
{
	struct dns_name name;
	const struct resolve_question q = {.name = &name, .type = DNS_A};
	char text[32];

	if (w->asked == WORKER_QUESTIONS)
		return;
	snprintf(text, sizeof text, "n%u.test", w->asked++ % 10);
	(void)dns_name_parse(text, strlen(text), &name);
	resolve_ask(
		w->resolver, w->groups, &q, loop_now_ms(w->loop) + 5000, &w->rq, worker_answered);
	(void)resolve_sighted(w->groups, &name, DNS_A);
}

static void worker_stopped(void *arg)
{
	struct worker *w = arg;

	w->stopped = true;
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	struct resolver_config config = {.cache = w->cache};

	if (loop_new(&w->loop) < 0)
		return "no loop";
	config.loop = w->loop;
	if (resolver_new(&config, &w->resolver) < 0)
		return "no resolver";
	worker_ask(w);
	for (int i = 0; i < 100000 && w->answered < WORKER_QUESTIONS; i++)
		(void)loop_turn(w->loop, 1);
	resolver_stop(w->resolver, worker_stopped, w);
	for (int i = 0; i < 10000 && !w->stopped; i++)
		(void)loop_turn(w->loop, 1);
	loop_free(w->loop);
	w->ended = true;
	return w->answered == WORKER_QUESTIONS && w->stopped ? NULL : "not all were answered";
}

static void test_workers_share_groups(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct worker w[3] = {0};
	void *error;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		w[i].groups = s->groups;
		w[i].cache = s->cache;
		assert_int_equal(pthread_create(&w[i].thread, NULL, worker_run, &w[i]), 0);
	}
	while (!w[0].ended || !w[1].ended || !w[2].ended)
		stage_turn(s);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(w[i].thread, &error), 0);
		assert_null(error);
	}
	/* Each worker asks for itself. */
	assert_int_equal(server_info(s, 0).queries, 3 * WORKER_QUESTIONS);
	for (size_t i = 0; i < SIGHTING_SLOTS; i++)
		assert_int_equal(atomic_load(&s->groups->sightings[i]), 0);
	stage_close(s);
}

/* --- groups --- */

static void test_groups(void **state)
{
	struct stage *s = stage_open(2, CONF_UDP);
	struct resolve_server_info info[1];
	struct ip_addr a;

	(void)state;
	assert_string_equal(resolve_group_name(s->groups, 0), "up");
	assert_int_equal(resolve_servers(s->groups, info, 1), 1);
	assert_int_equal(ip_addr_parse("127.0.0.1", &a), 0);
	assert_true(resolve_is_server(s->groups, &a));
	assert_int_equal(ip_addr_parse("127.0.0.2", &a), 0);
	assert_false(resolve_is_server(s->groups, &a));
	stage_close(s);
}

/* A reload: the old groups go when their last flight has landed. */
static void test_groups_outlive_reload(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker a = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	ask(s, &a, "a.test", 1000);
	STAGE_UNTIL(s, s->up[0]->n_held);
	groups_make(s, CONF_UDP, TIMEOUT_MS, TOTAL_MS);
	upstream_release(s->up[0]);
	play_until(s, &a);
	assert_answered_by(&a, s->up[0]);
	stage_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identical_questions_share_a_flight),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_total),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_callbacks_that_act),
		cmocka_unit_test(test_callbacks_at_deadline),
		cmocka_unit_test(test_stop_with_flights_out),
		cmocka_unit_test(test_stop_when_idle),
		cmocka_unit_test(test_stop_in_callback),
		cmocka_unit_test(test_thousand_flights),
		cmocka_unit_test(test_flight_bound),
		cmocka_unit_test(test_group_bound),
		cmocka_unit_test(test_sighted),
		cmocka_unit_test(test_sightings_of_threads),
		cmocka_unit_test(test_workers_share_groups),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_groups_outlive_reload),
	};

	stage_raise_limits();

	return cmocka_run_group_tests(tests, NULL, NULL);
}
