/* A server's numbers, states and identity. */
#include "server_stage.h"

#include <math.h>
#include <fcntl.h>

static struct server *one(struct stage *st)
{
	stage_conf(st, 0, "udp://192.0.2.53", NULL, "192.0.2.53");
	stage_groups(st);
	return stage_server(st, 0, 0);
}

/* --- numbers --- */

static uint64_t seed = 88172645463325252ULL;

static double uniform(void) /* (0, 1) */
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return ((double)(seed >> 11) + 0.5) / 9007199254740992.0;
}

static int64_t flat(double scale)
{
	return (int64_t)(10000 * scale * (1 + uniform()));
}

static int64_t exponential(double scale)
{
	return (int64_t)(1000 * scale + 20000 * scale * -log(uniform()));
}

/* One in ten goes abroad. */
static int64_t mixed(double scale)
{
	return (int64_t)((uniform() < 0.1 ? 200000 : 8000) * scale * (1 + 0.2 * uniform()));
}

/* The share of samples that are above the estimate, on the average of a long run. */
static double share_above(struct server *s, int64_t (*draw)(double scale))
{
	unsigned above = 0;

	for (int i = 0; i < 2000; i++)
		server_answered(s, draw(1));
	for (int i = 0; i < 20000; i++) {
		int64_t us = draw(1);

		above += us > s->p95_us;
		server_answered(s, us);
	}
	return above / 20000.0;
}

static void rtt_is_smoothed(void **state)
{
	struct server *s = one(*state);

	assert_int_equal(s->rtt_us, 0);
	server_answered(s, 0); /* not known */
	assert_int_equal(s->rtt_us, 0);
	server_answered(s, 8000);
	assert_int_equal(s->rtt_us, 8000);
	server_answered(s, 16000);
	assert_int_equal(s->rtt_us, 9000);
	server_answered(s, 1000);
	assert_int_equal(s->rtt_us, 8000);
	server_answered(s, INT64_MAX);
	assert_true(s->rtt_us > 500000000);
}

static void p95_is_near(void **state)
{
	int64_t (*const draws[])(double) = {flat, exponential, mixed};
	struct stage *st = *state;

	for (size_t i = 0; i < 3; i++) {
		struct server *s;
		double share;

		stage_conf(st, 0, "udp://192.0.2.53", NULL, "192.0.2.53");
		stage_groups(st);
		s = stage_server(st, 0, i);
		share = share_above(s, draws[i]);
		assert_true(share > 0.02 && share < 0.09);
	}
}

static void p95_is_told_after_20(void **state)
{
	struct server *s = one(*state);

	for (int i = 0; i < 19; i++) {
		server_answered(s, 1000 + i);
		assert_int_equal(s->p95_us, 0);
	}
	server_answered(s, 900);
	assert_int_equal(s->p95_us, 1018);
	for (int i = 0; i < 1000; i++)
		server_answered(s, UINT32_MAX);
	for (int i = 0; i < 10000; i++)
		server_answered(s, 1);
	assert_true(s->p95_us >= 1 && s->p95_us < 100);
}

static void p95_follows(void **state)
{
	struct server *s = one(*state);

	for (int i = 0; i < 1000; i++)
		server_answered(s, flat(1));
	for (int i = 0; i < 60; i++) /* ten times slower */
		server_answered(s, flat(10));
	assert_true(s->p95_us > 100000);
	for (int i = 0; i < 1000; i++)
		server_answered(s, flat(10));
	for (int i = 0; i < 250; i++) /* and fast again */
		server_answered(s, flat(1));
	assert_true(s->p95_us < 25000);
}

/* --- states --- */

static void it_takes_three_failures_in_a_row(void **state)
{
	struct server *s = one(*state);

	server_failed(s, false, 1000);
	server_failed(s, false, 1000);
	server_answered(s, 0);
	server_failed(s, false, 1000);
	server_failed(s, false, 1000);
	server_declined(s); /* it lives */
	server_failed(s, false, 1000);
	server_failed(s, false, 1000);
	for (int i = 0; i < 10; i++)
		server_failed(s, true, 1000); /* our fault */
	assert_int_equal(server_state(s, 1000), SERVER_UP);
	assert_true(server_is_up(s));
	server_failed(s, false, 1000);
	assert_false(server_is_up(s));
	assert_int_equal(server_state(s, 1000), SERVER_DOWN);
	assert_int_equal(s->failures, 2 + 2 + 1 + 2 + 10 + 1);
	server_declined(s);
	assert_int_equal(server_state(s, 1000), SERVER_UP);
}

static void that_it_is_up_again_is_told_once(void **state)
{
	struct server *s = one(*state);

	assert_false(server_answered(s, 1000));
	stage_down(s, 1000);
	assert_true(server_answered(s, 1000));
	assert_false(server_answered(s, 1000));
}

/* How long after now the next trial is due. */
static int64_t pause_of(struct server *s, int64_t now_ms)
{
	int64_t at = now_ms;

	while (server_state(s, at) == SERVER_DOWN)
		at++;
	return at - now_ms;
}

static void trials_are_ever_rarer(void **state)
{
	static const unsigned pauses[] = {2000, 4000, 8000, 16000, 32000, 60000, 60000};
	struct server *s = one(*state);
	int64_t now_ms = 5000;

	stage_down(s, now_ms);
	for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++) {
		int64_t pause = pause_of(s, now_ms);

		assert_in_range(pause, pauses[i], pauses[i] + pauses[i] / 8);
		now_ms += pause;
		assert_int_equal(server_state(s, now_ms), SERVER_DOWN); /* one has it */
		for (int k = 0; k < 5; k++)
			server_failed(s, false, now_ms); /* others that were under way */
	}
	server_answered(s, 1000);
	assert_int_equal(server_state(s, now_ms), SERVER_UP);
	stage_down(s, now_ms);
	assert_in_range(pause_of(s, now_ms), 2000, 2250);
}

static void a_trial_that_never_reports_is_due_again(void **state)
{
	struct server *s = one(*state);
	int64_t now_ms = 5000, pause;

	stage_down(s, now_ms);
	for (int i = 0; i < 4; i++) {
		pause = pause_of(s, now_ms);
		assert_in_range(pause, 2000, 2250);
		now_ms += pause;
	}
	server_failed(s, true, now_ms); /* nor is it held against it */
	assert_in_range(pause_of(s, now_ms), 2000, 2250);
}

static void failures_without_a_trial_move_nothing(void **state)
{
	struct server *s = one(*state);

	stage_down(s, 1000);
	for (int i = 0; i < 100; i++)
		server_failed(s, false, 2000); /* all_down: spray */
	assert_in_range(pause_of(s, 1000), 2000, 2250);
}

static void the_network_changed(void **state)
{
	struct server *s = one(*state);

	server_try_soon(s, 1000);
	assert_int_equal(server_state(s, 1000), SERVER_UP);
	stage_down(s, 1000);
	server_try_soon(s, 1001);
	assert_int_equal(server_state(s, 1001), SERVER_TRIAL);
	server_failed(s, false, 1001);
	server_try_soon(s, 0);
	assert_false(server_is_up(s));
	assert_int_equal(server_state(s, 1002), SERVER_TRIAL);
}

static void without_health_it_is_every_ten_seconds(void **state)
{
	struct stage *st = *state;
	struct server *s;
	int64_t now_ms = 0, pause;

	st->upstreams[0].health_ms = 0;
	s = one(st);
	stage_down(s, now_ms);
	for (int i = 0; i < 4; i++) {
		pause = pause_of(s, now_ms);
		assert_in_range(pause, 10000, 11250);
		now_ms += pause;
		server_failed(s, false, now_ms);
	}
}

static void a_long_interval_stays(void **state)
{
	struct stage *st = *state;
	struct server *s;
	int64_t pause;

	st->upstreams[0].health_ms = 100000;
	s = one(st);
	stage_down(s, 0);
	pause = pause_of(s, 0);
	assert_in_range(pause, 100000, 112500);
	server_failed(s, false, pause);
	assert_in_range(pause_of(s, pause), 100000, 112500);
}

/* --- identity --- */

static void the_same_is_shared(void **state)
{
	struct stage *st = *state;
	struct server *s = one(st);

	server_asked(s);
	stage_down(s, 1000);
	stage_groups(st);
	assert_ptr_equal(stage_server(st, 0, 0), s);
	assert_int_equal(s->queries, 1);
	assert_false(server_is_up(s));
	assert_int_equal(st->n_servers, 1);
	st->upstreams[0].name = (char *)"renamed";
	stage_groups(st);
	assert_string_equal(stage_server(st, 0, 0)->group, "renamed");
	assert_true(server_is_up(stage_server(st, 0, 0)));
}

static void any_setting_makes_another(void **state)
{
	struct stage *st = *state;
	struct conf_server *c = stage_conf(st, 0, "tls://192.0.2.53", NULL, "192.0.2.53");
	struct conf_pin pin = {{1}};
	char ca[] = "/tmp/test-server-ca-XXXXXX";
	int fd = mkstemp(ca);
	uint64_t before;

	assert_true(fd >= 0);
	c->transport = CONF_TLS;
	stage_groups(st);
	before = stage_server(st, 0, 0)->identity;
#define MAKES_ANOTHER(change)                                                                      \
	do {                                                                                       \
		change;                                                                            \
		stage_groups(st);                                                                  \
		assert_int_not_equal(stage_server(st, 0, 0)->identity, before);                    \
		before = stage_server(st, 0, 0)->identity;                                         \
	} while (0)
	MAKES_ANOTHER(c->url = (char *)"tls://192.0.2.53@a.test");
	MAKES_ANOTHER(c->tls_name = (char *)"a.test");
	MAKES_ANOTHER((c->pins = &pin, c->n_pins = 1));
	MAKES_ANOTHER(pin.sha256[31] = 1);
	MAKES_ANOTHER(c->transport = CONF_HTTPS);
	MAKES_ANOTHER(c->method = CONF_GET);
	MAKES_ANOTHER(c->path = (char *)"/x");
	MAKES_ANOTHER(c->at.port = 443);
	MAKES_ANOTHER(c->bind.interface = (char *)"wan");
	MAKES_ANOTHER(c->bind.address = c->at.addr);
	MAKES_ANOTHER((c->mark = (struct conf_mark){1, 1}));
	MAKES_ANOTHER(c->max_queries = 7);
	MAKES_ANOTHER(c->max_life_ms = 7);
	MAKES_ANOTHER(c->idle_ms = 7);
	MAKES_ANOTHER(st->upstreams[0].health_ms = 7);
	MAKES_ANOTHER(st->config.gateway.mark.value = 0x100);
	MAKES_ANOTHER(st->upstreams[0].ca = ca);
	MAKES_ANOTHER(assert_int_equal(write(fd, "x", 1), 1)); /* the file's content */
	close(fd);
	unlink(ca);
	assert_true(stage_server(st, 0, 0)->encrypted);
}

static void marks_are_ored(void **state)
{
	struct stage *st = *state;
	struct conf_server *c = stage_conf(st, 0, "udp://192.0.2.53", NULL, "192.0.2.53");

	st->config.gateway.mark = (struct conf_mark){0x1000, 0x1000};
	stage_groups(st);
	assert_int_equal(st->way.mark, 0x1000);
	st->upstreams[0].mark = (struct conf_mark){0x10, 0x10};
	stage_groups(st);
	assert_int_equal(st->way.mark, 0x1010);
	c->mark = (struct conf_mark){0x20, 0x20};
	stage_groups(st);
	assert_int_equal(st->way.mark, 0x1020);
}

static void via_is_the_egress_of_before_or_another(void **state)
{
	struct stage *st = *state;
	struct conf_egress egress[2] = {{.name = (char *)"direct", .type = CONF_EGRESS_DIRECT},
		{.name = (char *)"proxy",
			.type = CONF_EGRESS_SOCKS5,
			.server.at = {.port = 1080, .addr = {{127, 0, 0, 1}, IP_V4}}}};
	struct server *s;
	struct ip_port at;
	bool fresh;

	st->config.egresses = egress;
	st->config.n_egresses = 2;
	st->upstreams[0].via = 1;
	stage_conf(st, 0, "udp://a.test", "a.test", NULL);
	stage_groups(st);
	s = stage_server(st, 0, 0);
	assert_true(s->by_name);
	assert_int_equal(server_address(s, &at, &fresh), 0);
	assert_true(fresh && at.addr.family == IP_NONE && at.port == 53);
	stage_groups(st);
	assert_ptr_equal(stage_server(st, 0, 0), s);
	egress[1].server.at.port = 1081;
	stage_groups(st);
	assert_ptr_not_equal(stage_server(st, 0, 0), s);
	s = stage_server(st, 0, 0);
	st->upstreams[0].via = 0;
	stage_groups(st);
	assert_ptr_not_equal(stage_server(st, 0, 0), s);
	assert_false(stage_server(st, 0, 0)->by_name);
	st->upstreams[0].via = -1;
	s = stage_server(st, 0, 0);
	stage_groups(st);
	assert_ptr_not_equal(stage_server(st, 0, 0), s);
}

static void a_bad_ca_is_reported(void **state)
{
	struct stage *st = *state;
	struct server *s = NULL;
	struct resolve_groups_config c;

	one(st);
	st->server_error = -EBADMSG;
	st->upstreams[0].health_ms = 1;
	c = (struct resolve_groups_config){
		.config = &st->config, .report = stage_report, .report_arg = st};
	assert_int_equal(server_new(&st->servers[0][0], &st->upstreams[0], &c, &s), -EINVAL);
	assert_int_equal(st->reports, 1);
	assert_string_equal(st->report, "upstreams.one.servers: ca: no certificate in it");
	st->upstreams[0].ca_line = 7;
	assert_int_equal(server_new(&st->servers[0][0], &st->upstreams[0], &c, &s), -EINVAL);
	assert_int_equal(st->reports, 2);
	assert_string_equal(st->report, "upstreams.one.ca: ca: no certificate in it");
	assert_int_equal(st->report_line, 7);
	st->server_error = -ENOMEM;
	assert_int_equal(server_new(&st->servers[0][0], &st->upstreams[0], &c, &s), -ENOMEM);
	assert_int_equal(st->reports, 2);
	assert_null(s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(rtt_is_smoothed),
		TEST(p95_is_near),
		TEST(p95_is_told_after_20),
		TEST(p95_follows),
		TEST(it_takes_three_failures_in_a_row),
		TEST(that_it_is_up_again_is_told_once),
		TEST(trials_are_ever_rarer),
		TEST(a_trial_that_never_reports_is_due_again),
		TEST(failures_without_a_trial_move_nothing),
		TEST(the_network_changed),
		TEST(without_health_it_is_every_ten_seconds),
		TEST(a_long_interval_stays),
		TEST(the_same_is_shared),
		TEST(any_setting_makes_another),
		TEST(marks_are_ored),
		TEST(via_is_the_egress_of_before_or_another),
		TEST(a_bad_ca_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
