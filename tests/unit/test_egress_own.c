/* EGRESS_DIRECT: this host's own routes, whatever the configuration says of egresses. */
#include "egress_stage.h"

static const struct play hello[] = {{.say = "hello", .say_len = 5, .then = THEN_HANG}, {0}};

static void what_it_is(void **state)
{
	struct stage *st = *state;
	const struct conf_egress *conf;
	struct egress_info info[4];
	struct egress_state *flow;

	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	for (int i = 0; i < 2; i++) { /* also with nothing configured, and with a successor */
		stage_set(st);
		conf = egress_conf(st->set, EGRESS_DIRECT);
		assert_int_equal(egress_type(st->set, EGRESS_DIRECT), CONF_EGRESS_DIRECT);
		assert_int_equal(conf->type, CONF_EGRESS_DIRECT);
		assert_int_equal(conf->idle_ms, 300000);
		assert_int_equal(conf->udp_idle_ms, 60000);
		assert_int_equal(conf->connect_timeout_ms, 5000);
		assert_true(egress_takes_udp(st->set, EGRESS_DIRECT));
		/* Nobody is told of it. */
		assert_int_equal(egress_list(st->set, info, 4), 1 - i);
		flow = egress_flow_begin(st->set, EGRESS_DIRECT);
		egress_flow_end(flow);
		st->config.n_egresses = 0;
	}
}

static void connects(void **state)
{
	struct stage *st = *state;
	struct call c;
	char text[8];

	server_open(&st->servers[0], "127.0.0.1", hello);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	stage_set(st);
	call_start_at(st, &c, EGRESS_DIRECT, &st->servers[0].at);
	assert_int_equal(CALL_END(st, &c), 0);
	/* As good as the number that was asked for. */
	assert_int_equal(egress_type(st->set, c.egress), CONF_EGRESS_DIRECT);
	assert_int_equal(egress_conf(st->set, c.egress)->idle_ms, 300000);
	for (int i = 0; i < 20; i++)
		stage_turn(st, 1);
	HAND_UNTIL(recv(c.fd, text, sizeof text, 0) == 5, stage_serve(st)); /* no handshake */
	assert_memory_equal(text, "hello", 5);
	close(c.fd);
	server_close(&st->servers[0]);
	call_start_at(st, &c, EGRESS_DIRECT, &st->servers[0].at);
	assert_int_equal(CALL_END(st, &c), -ECONNREFUSED);
	/* Never ourselves. */
	st->forbidden = st->servers[0].at;
	call_start_at(st, &c, EGRESS_DIRECT, &st->servers[0].at);
	assert_int_equal(CALL_END(st, &c), -ELOOP);
	/* A name is for proxies. */
	call_start(st, &c, EGRESS_DIRECT, "a.test", 80);
	assert_int_equal(CALL_END(st, &c), -EHOSTUNREACH);
}

static unsigned came;
static struct ip_port came_from;

static void received(void *arg, const struct ip_port *from, const uint8_t *payload, size_t len)
{
	(void)arg;
	assert_int_equal(len, 4);
	assert_memory_equal(payload, "pong", 4);
	came_from = *from;
	came++;
}

static void closed(void *arg, int error)
{
	(void)arg;
	fail_msg("closed: %d", error);
}

static void sends_datagrams(void **state)
{
	struct egress_udp_config config = {.received = received, .closed = closed};
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct stage *st = *state;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct egress_target target = {0};
	socklen_t len = sizeof sa;
	struct egress_udp *u;
	char text[8];

	came = 0;
	stage_set(st);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	ip_port_from_sockaddr((struct sockaddr *)&sa, &target.at);
	assert_int_equal(egress_udp_open(st->dialer, st->set, EGRESS_DIRECT, &config, &u), 0);
	assert_int_equal(egress_udp_send(u, &target, (const uint8_t *)"ping", 4), 0);
	HAND_UNTIL(recvfrom(fd, text, sizeof text, 0, (struct sockaddr *)&sa, &len) == 4,
		stage_serve(st));
	assert_int_equal(sendto(fd, "pong", 4, 0, (struct sockaddr *)&sa, len), 4);
	STAGE_UNTIL(st, came);
	assert_int_equal(came_from.port, target.at.port);
	egress_udp_close(u);
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_it_is),
		TEST(connects),
		TEST(sends_datagrams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
