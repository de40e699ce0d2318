/* Probes of servers that are down. */
#include "server_stage.h"

static void set_up(struct stage *st, size_t n)
{
	st->resolver->transports = (struct transports *)st; /* handed on, not looked into */
	st->upstreams[0].health_ms = 20;
	for (size_t k = 0; k < n; k++)
		stage_conf(st, 0, "udp://192.0.2.53", NULL, "192.0.2.53")->at.port =
			(uint16_t)(1000 + k);
	stage_groups(st);
	assert_int_equal(health_new(st->resolver, &st->resolver->health), 0);
	health_use(st->resolver->health, st->groups);
}

static void all_down(struct stage *st, size_t i)
{
	for (size_t k = 0; k < st->groups->groups[i].n_servers; k++)
		stage_down(stage_server(st, i, k), clock_ms());
}

static int teardown(void **state)
{
	struct stage *st = *state;

	health_free(st->resolver->health);
	assert_int_equal(st->n_open, 0);
	return stage_teardown(state);
}

static size_t response(uint8_t *buf, const struct transport_try *t, enum dns_rcode rcode)
{
	size_t len = stage_message(buf, ".", DNS_NS, 0, rcode, NULL, 0);

	buf[0] = (uint8_t)(t->id >> 8);
	buf[1] = (uint8_t)t->id;
	return len;
}

static void who_is_up_is_left_alone(void **state)
{
	struct stage *st = *state;

	set_up(st, 2);
	stage_play(st, 250);
	assert_int_equal(st->n_tries, 0);
}

static void any_response_is_life(void **state)
{
	static const enum dns_rcode rcodes[] = {DNS_NOERROR, DNS_REFUSED, DNS_SERVFAIL};
	struct stage *st = *state;
	struct server *s;
	uint8_t buf[4096];

	set_up(st, 1);
	s = stage_server(st, 0, 0);
	for (unsigned i = 0; i < 3; i++) {
		struct transport_try *t;
		size_t len;

		all_down(st, 0);
		STAGE_UNTIL(st, st->n_tries == i + 1);
		t = st->tries[i];
		assert_int_equal(t->to.port, 1000);
		assert_ptr_equal(t->server, s->transport);
		len = t->owner->question(t, buf, false);
		assert_int_equal(len, 12 + 5 + 11);
		assert_memory_equal(buf + 12, "\0\0\2\0\1", 5);
		assert_int_equal(t->owner->question(t, buf, true) % 128, 0);
		len = response(buf, t, rcodes[i]);
		assert_true(t->owner->take(t, buf, len, 0));
		assert_int_equal(st->n_back, i + 1);
		assert_false(transport_is_open(t));
		assert_true(server_is_up(s));
		assert_true(s->rtt_us >= 5000);
	}
	assert_int_equal(s->queries, 3);
	assert_int_equal(s->wrong_answers, 0);
}

static void what_is_not_ours_is_waited_past(void **state)
{
	struct stage *st = *state;
	struct transport_try *t;
	struct server *s;
	uint8_t buf[4096];
	size_t len;

	set_up(st, 1);
	s = stage_server(st, 0, 0);
	all_down(st, 0);
	STAGE_UNTIL(st, st->n_tries == 1);
	t = st->tries[0];
	len = stage_message(buf, "a.test", DNS_NS, 0, DNS_NOERROR, NULL, 0);
	buf[0] = (uint8_t)(t->id >> 8);
	buf[1] = (uint8_t)t->id;
	assert_false(t->owner->take(t, buf, len, 0));
	len = response(buf, t, DNS_NOERROR);
	buf[0] ^= 1;
	assert_false(t->owner->take(t, buf, len, 0));
	buf[0] ^= 1;
	for (size_t n = 0; n < len; n++)
		assert_false(t->owner->take(t, buf, n, 0));
	buf[2] &= 0x7f; /* no response */
	assert_false(t->owner->take(t, buf, len, 0));
	buf[2] |= 0x80;
	assert_int_equal(s->wrong_answers, 3 + len);
	assert_true(transport_is_open(t));
	buf[7] = 9; /* ours, but with records that are not there */
	assert_true(t->owner->take(t, buf, len, 0));
	assert_false(server_is_up(s));
	assert_false(transport_is_open(t));
}

static void silence_is_a_failure(void **state)
{
	struct stage *st = *state;
	struct server *s;

	set_up(st, 1);
	s = stage_server(st, 0, 0);
	st->lossy = true;
	all_down(st, 0);
	STAGE_UNTIL(st, st->n_tries == 1);
	STAGE_UNTIL(st, st->n_resent == 1);
	assert_int_equal(st->n_open, 1);
	STAGE_UNTIL(st, st->n_open == 0);
	assert_false(server_is_up(s));
	assert_int_equal(s->failures, SERVER_FAILS_MAX + 1);
	assert_int_equal(s->pause_ms, 40);
	STAGE_UNTIL(st, st->n_tries == 2);
	(st->tries[1]->owner->fail)(st->tries[1], -ECONNREFUSED);
	assert_int_equal(s->pause_ms, 80);
	STAGE_UNTIL(st, st->n_tries == 3);
	st->resend_error = -ECONNREFUSED;
	STAGE_UNTIL(st, st->n_open == 0);
	assert_int_equal(s->pause_ms, 160);
}

static void what_cannot_be_opened_is_a_failure(void **state)
{
	struct stage *st = *state;
	struct server *s;

	set_up(st, 1);
	s = stage_server(st, 0, 0);
	st->open_error = -EMFILE;
	all_down(st, 0);
	STAGE_UNTIL(st, s->failures == SERVER_FAILS_MAX + 2);
	assert_int_equal(s->pause_ms, 20); /* not its fault */
	st->open_error = -ENETUNREACH;
	STAGE_UNTIL(st, s->failures == SERVER_FAILS_MAX + 3);
	assert_int_equal(s->pause_ms, 40);
	assert_int_equal(s->queries, 0);
}

static void sixteen_at_once(void **state)
{
	struct stage *st = *state;

	set_up(st, 40);
	all_down(st, 0);
	STAGE_UNTIL(st, st->n_tries == 16);
	stage_play(st, 120);
	assert_int_equal(st->n_open, 16);
	/* The others' turn has not been taken from them. */
	for (size_t i = 0; i < 16; i++)
		(st->tries[i]->owner->fail)(st->tries[i], -ETIMEDOUT);
	STAGE_UNTIL(st, st->n_tries == 32);
	assert_int_equal(st->n_open, 16);
}

static void only_of_the_groups_in_use(void **state)
{
	struct stage *st = *state;
	struct server *old;

	set_up(st, 1);
	old = server_ref(stage_server(st, 0, 0));
	all_down(st, 0);
	STAGE_UNTIL(st, st->n_tries == 1);
	st->servers[0][0].at.port = 7;
	stage_groups(st);
	health_use(st->resolver->health, st->groups);
	assert_int_equal(st->n_open, 0);
	stage_play(st, 150);
	assert_int_equal(st->n_tries, 1);
	assert_false(server_is_up(old));
	all_down(st, 0);
	STAGE_UNTIL(st, st->n_tries == 2);
	assert_int_equal(st->tries[1]->to.port, 7);
	server_unref(old);
}

static void off_is_off(void **state)
{
	struct stage *st = *state;

	set_up(st, 1);
	st->upstreams[0].health_ms = 0;
	stage_groups(st);
	health_use(st->resolver->health, st->groups);
	all_down(st, 0);
	health_now(st->resolver->health);
	stage_play(st, 120);
	assert_int_equal(st->n_tries, 0);
	/* But traffic may try at once. */
	assert_int_equal(server_state(stage_server(st, 0, 0), clock_ms()), SERVER_TRIAL);
}

static void at_once_when_the_network_changed(void **state)
{
	struct stage *st = *state;

	st->upstreams[0].health_ms = 60000;
	stage_conf(st, 0, "udp://192.0.2.53", NULL, "192.0.2.53");
	stage_groups(st);
	assert_int_equal(health_new(st->resolver, &st->resolver->health), 0);
	health_now(st->resolver->health); /* nothing to look after yet */
	health_use(st->resolver->health, st->groups);
	all_down(st, 0);
	stage_play(st, 50);
	assert_int_equal(st->n_tries, 0);
	health_now(st->resolver->health);
	stage_play(st, 50);
	assert_int_equal(st->n_tries, 1);
}

static void a_name_is_looked_up_first(void **state)
{
	static const char *const v4[] = {"192.0.2.1"}, *const v6[] = {"2001:db8::1"};
	struct stage *st = *state;
	struct transport_try *t;
	struct server *s;
	char text[IP_TEXT_MAX];

	stage_conf(st, 1, "tls://dns.test", "dns.test", NULL);
	st->upstreams[1].health_ms = 20;
	st->upstreams[1].bootstrap = 0;
	set_up(st, 1);
	s = stage_server(st, 1, 0);
	all_down(st, 1);
	STAGE_UNTIL(st, st->n_asked == 2);
	assert_int_equal(st->asked[0].group, 0);
	assert_int_equal(st->n_tries, 0);
	stage_answer(st, 0, DNS_NOERROR, 60, v6, 1);
	stage_answer(st, 1, DNS_NOERROR, 60, v4, 1);
	assert_int_equal(st->n_tries, 1);
	t = st->tries[0];
	assert_string_equal(ip_addr_format(&t->to.addr, text), "2001:db8::1");
	(t->owner->fail)(t, -ENETUNREACH);
	STAGE_UNTIL(st, st->n_tries == 2);
	assert_string_equal(ip_addr_format(&st->tries[1]->to.addr, text), "192.0.2.1");
	assert_false(server_is_up(s));
}

static void an_address_that_never_comes(void **state)
{
	struct stage *st = *state;
	struct server *s;

	stage_conf(st, 1, "tls://dns.test", "dns.test", NULL);
	st->upstreams[1].health_ms = 20;
	st->upstreams[1].bootstrap = 0;
	set_up(st, 1);
	s = stage_server(st, 1, 0);
	all_down(st, 1);
	STAGE_UNTIL(st, st->n_asked == 2);
	STAGE_UNTIL(st, s->pause_ms == 40); /* the probe's time is over, the look-up's is not */
	STAGE_UNTIL(st, server_state(s, clock_ms()) == SERVER_DOWN);
	stage_fail(st, 0, -ETIMEDOUT);
	stage_fail(st, 1, -ECANCELED);
	health_free(st->resolver->health); /* with one that waits, perhaps */
	st->resolver->health = NULL;
	assert_int_equal(st->n_tries, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, stage_setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(who_is_up_is_left_alone),
		TEST(any_response_is_life),
		TEST(what_is_not_ours_is_waited_past),
		TEST(silence_is_a_failure),
		TEST(what_cannot_be_opened_is_a_failure),
		TEST(sixteen_at_once),
		TEST(only_of_the_groups_in_use),
		TEST(off_is_off),
		TEST(at_once_when_the_network_changed),
		TEST(a_name_is_looked_up_first),
		TEST(an_address_that_never_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
