/* Associations: the control connection is a script, the relay a socket of the test's own. Every
 * test runs twice: as the kernel is, and as on a kernel without any multishot operation. */
#include "egress_stage.h"

#include <stdlib.h>

#define SAY(text)    .say = (text), .say_len = sizeof(text) - 1
#define EXPECT(text) .expect = (text), .expect_len = sizeof(text) - 1
#define GREETING     "\x05\x01\x00"
#define ASSOCIATE    "\x05\x03\x00\x01\0\0\0\0\0\0"

struct peer { /* the relay, or for direct ones the far end */
	int fd;
	struct ip_port at;
};

struct association {
	struct egress_udp *u;
	struct stage *stage;
	unsigned received, ends;
	int error;
	struct ip_port from;
	uint8_t payload[65536];
	size_t len;
	bool close_when_received, close_when_over, stop_when_received;
};

static void received(void *arg, const struct ip_port *from, const uint8_t *payload, size_t len)
{
	struct association *a = arg;

	a->received++;
	a->from = *from;
	assert_true(len <= sizeof a->payload);
	memcpy(a->payload, payload, len);
	a->len = len;
	if (a->close_when_received) {
		egress_udp_close(a->u);
		a->u = NULL;
	}
	if (a->stop_when_received) {
		a->u = NULL;
		egress_dialer_stop(a->stage->dialer, NULL, NULL);
	}
}

static void closed(void *arg, int error)
{
	struct association *a = arg;

	a->ends++;
	a->error = error;
	if (a->close_when_over) {
		egress_udp_close(a->u);
		a->u = NULL;
	}
}

static int open_association(struct stage *st, struct association *a, unsigned egress)
{
	struct egress_udp_config config = {.received = received, .closed = closed, .arg = a};

	*a = (struct association){.stage = st};
	return egress_udp_open(st->dialer, st->set, egress, &config, &a->u);
}

static void peer_open(struct peer *p, const char *address)
{
	struct sockaddr_storage sa;
	socklen_t len;

	memset(p, 0, sizeof *p);
	assert_int_equal(ip_addr_parse(address, &p->at.addr), 0);
	len = ip_port_to_sockaddr(&p->at, &sa);
	p->fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(p->fd >= 0);
	assert_int_equal(bind(p->fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(getsockname(p->fd, (struct sockaddr *)&sa, &len), 0);
	ip_port_from_sockaddr((struct sockaddr *)&sa, &p->at);
}

/* The next datagram, turning the loop until it is there. */
static size_t peer_take(struct stage *st, struct peer *p, uint8_t *buf, size_t size,
	struct sockaddr_storage *ret_from)
{
	socklen_t len = sizeof *ret_from;
	ssize_t n;

	HAND_UNTIL((n = recvfrom(p->fd, buf, size, 0, (struct sockaddr *)ret_from, &len)) >= 0,
		stage_serve(st));
	return (size_t)n;
}

static void peer_say(
	struct peer *p, const struct sockaddr_storage *to, const void *data, size_t len)
{
	socklen_t to_len =
		to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

	assert_int_equal(sendto(p->fd, data, len, 0, (const struct sockaddr *)to, to_len), len);
}

static bool peer_is_empty(struct peer *p)
{
	uint8_t byte;

	return recv(p->fd, &byte, 1, 0) < 0 && errno == EAGAIN;
}

/* The script of a proxy that names the relay so. */
static struct play script[3];
static uint8_t reply[SOCKS5_REPLY_MAX];

static const struct play *associating(const char *host, const struct ip_port *relay)
{
	size_t len = socks5_request_write(SOCKS5_CONNECT, host, relay, reply);

	reply[1] = 0;
	script[0] = (struct play){EXPECT(GREETING), SAY("\x05\x00")};
	script[1] =
		(struct play){EXPECT(ASSOCIATE), .say = reply, .say_len = len, .then = THEN_GO_ON};
	script[2] = (struct play){0};
	return script;
}

static void proxy_at(struct stage *st, const char *address, const struct play *play)
{
	server_open(&st->servers[0], address, play);
	stage_egress(st, "proxy", CONF_EGRESS_SOCKS5, &st->servers[0]);
	stage_set(st);
}

static struct egress_target name_443(void)
{
	return (struct egress_target){.at.port = 443, .host = "a.test"};
}

static struct egress_target address_target(const char *text)
{
	struct egress_target t = {0};

	assert_int_equal(ip_port_parse(text, 0, &t.at), 0);
	return t;
}

static uint64_t dropped(struct stage *st)
{
	return atomic_load(&st->set->v[0].state->dropped);
}

/* Opens through the proxy at servers[0] and sends one datagram, which comes to the relay. */
static void associate(struct stage *st, struct association *a, struct peer *relay,
	struct sockaddr_storage *ret_from)
{
	struct egress_target t = name_443();
	uint8_t buf[64];

	assert_int_equal(open_association(st, a, 0), 0);
	assert_int_equal(egress_udp_send(a->u, &t, (const uint8_t *)"one", 3), 0);
	assert_int_equal(peer_take(st, relay, buf, sizeof buf, ret_from), 13 + 3);
	assert_memory_equal(buf,
		"\0\0\0\x03\x06"
		"a.test"
		"\x01\xbb"
		"one",
		16);
	assert_int_equal(st->servers[0].unexpected, 0);
}

/* --- there and back --- */

static void round_trips(struct stage *st, const char *proxy, const char *relay_at, const char *host,
	const struct ip_port *told)
{
	struct association a;
	struct egress_target v4 = address_target("192.0.2.7:53"),
			     v6 = address_target("[2001:db8::7]:53");
	struct sockaddr_storage from;
	struct ip_port at;
	struct peer relay;
	uint8_t buf[64];

	peer_open(&relay, relay_at);
	at = *told;
	at.port = relay.at.port;
	proxy_at(st, proxy, associating(host, &at));
	associate(st, &a, &relay, &from);
	assert_int_equal(egress_udp_send(a.u, &v4, (const uint8_t *)"two", 3), 0);
	assert_int_equal(peer_take(st, &relay, buf, sizeof buf, &from), 10 + 3);
	assert_memory_equal(buf,
		"\0\0\0\x01\xc0\x00\x02\x07\x00\x35"
		"two",
		13);
	assert_int_equal(egress_udp_send(a.u, &v6, (const uint8_t *)"", 0), 0);
	assert_int_equal(peer_take(st, &relay, buf, sizeof buf, &from), 22);
	peer_say(&relay, &from,
		"\0\0\0\x01\xc0\x00\x02\x07\x00\x35"
		"back",
		14);
	STAGE_UNTIL(st, a.received == 1);
	assert_true(ip_addr_equal(&a.from.addr, &v4.at.addr));
	assert_int_equal(a.from.port, 53);
	assert_int_equal(a.len, 4);
	assert_memory_equal(a.payload, "back", 4);
	peer_say(&relay, &from, "\0\0\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\x00\x35", 22);
	STAGE_UNTIL(st, a.received == 2);
	assert_true(ip_addr_equal(&a.from.addr, &v6.at.addr));
	assert_int_equal(a.len, 0);
	peer_say(&relay, &from,
		"\0\0\0\x03\x06"
		"a.test"
		"\x01\xbb"
		"named",
		18);
	STAGE_UNTIL(st, a.received == 3);
	assert_int_equal(a.from.addr.family, IP_NONE);
	assert_int_equal(a.from.port, 443);
	assert_memory_equal(a.payload, "named", 5);
	assert_int_equal(a.ends, 0);
	egress_udp_close(a.u);
	close(relay.fd);
}

static void a_relay_at_an_address(void **state)
{
	struct ip_port told = {.addr = ip_addr_v4("\x7f\0\0\x01")};

	round_trips(*state, "127.0.0.1", "127.0.0.1", "", &told);
}

static void a_relay_at_zeroes_is_where_the_proxy_is(void **state)
{
	struct ip_port told = {.addr = ip_addr_v4("\0\0\0\0")};

	round_trips(*state, "::1", "::1", "", &told);
}

static void a_relay_by_name(void **state)
{
	struct ip_port told = {0};
	struct stage *st = *state;

	st->lookup[0] = ip_addr_v4("\x7f\0\0\x01");
	st->n_lookup = 1;
	round_trips(st, "127.0.0.1", "127.0.0.1", "relay.test", &told);
	assert_string_equal(st->looked_up, "relay.test");
}

static void a_relay_whose_name_is_not_found(void **state)
{
	struct ip_port told = {.port = 9};
	struct stage *st = *state;
	struct association a;

	proxy_at(st, "127.0.0.1", associating("relay.test", &told));
	st->lookup_error = -ENOENT;
	assert_int_equal(open_association(st, &a, 0), 0);
	STAGE_UNTIL(st, a.ends);
	assert_int_equal(a.error, -ENOENT);
	egress_udp_close(a.u);
	/* Nobody answers. */
	st->lookup_later = true;
	st->egresses[0].connect_timeout_ms = 100;
	stage_set(st);
	assert_int_equal(open_association(st, &a, 0), 0);
	STAGE_UNTIL(st, a.ends);
	assert_int_equal(a.error, -ETIMEDOUT);
	egress_udp_close(a.u);
	assert_int_equal(st->lookups_cancelled, 1);
	/* Closed while it is asked for. */
	assert_int_equal(open_association(st, &a, 0), 0);
	STAGE_UNTIL(st, st->asked);
	egress_udp_close(a.u);
	assert_int_equal(st->lookups_cancelled, 2);
}

static void sizes(void **state)
{
	struct stage *st = *state;
	struct egress_target t = name_443();
	struct sockaddr_storage from;
	struct association a;
	struct peer relay;
	static uint8_t big[65536];

	peer_open(&relay, "127.0.0.1");
	proxy_at(st, "127.0.0.1", associating("", &relay.at));
	associate(st, &a, &relay, &from);
	memset(big, 'x', sizeof big);
	assert_int_equal(egress_udp_send(a.u, &t, big, 60000), 0);
	assert_int_equal(peer_take(st, &relay, big, sizeof big, &from), 13 + 60000);
	assert_int_equal(egress_udp_send(a.u, &t, big, 65500), -EMSGSIZE);
	memcpy(big, "\0\0\0\x01\xc0\x00\x02\x07\x00\x35", 10);
	peer_say(&relay, &from, big, 10 + 2000);
	STAGE_UNTIL(st, a.received == 1);
	assert_int_equal(a.len, 2000);
	peer_say(&relay, &from, big, 65507); /* the largest there is */
	STAGE_UNTIL(st, a.received == 2);
	assert_int_equal(a.len, 65507 - 10);
	assert_int_equal(dropped(st), 0);
	egress_udp_close(a.u);
	close(relay.fd);
}

static void nonsense_is_dropped(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
		{"", 0},
		{"\0\0\0", 3},
		{"\0\0\x01\x01\xc0\x00\x02\x07\x00\x35"
		 "part",
			14}, /* a fragment */
		{"\0\0\0\x01\xc0\x00\x02\x07\x00", 9},
		{"\0\0\0\x02\xc0\x00\x02\x07\x00\x35", 10},
		{"\0\0\0\x03\xff"
		 "a.test"
		 "\x01\xbb",
			13},
	};
	struct stage *st = *state;
	struct sockaddr_storage from;
	struct association a;
	struct peer relay, stranger;

	peer_open(&relay, "127.0.0.1");
	peer_open(&stranger, "127.0.0.1");
	proxy_at(st, "127.0.0.1", associating("", &relay.at));
	associate(st, &a, &relay, &from);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		peer_say(&relay, &from, cases[i].bytes, cases[i].len);
	/* From somebody else's socket nothing comes in at all. */
	peer_say(&stranger, &from,
		"\0\0\0\x01\xc0\x00\x02\x07\x00\x35"
		"bad",
		13);
	peer_say(&relay, &from,
		"\0\0\0\x01\xc0\x00\x02\x07\x00\x35"
		"good",
		14);
	STAGE_UNTIL(st, a.received);
	assert_int_equal(a.received, 1);
	assert_memory_equal(a.payload, "good", 4);
	assert_true(
		dropped(st) >= sizeof cases / sizeof *cases - 1); /* an empty one may pass unseen */
	assert_int_equal(a.ends, 0);
	egress_udp_close(a.u);
	close(relay.fd);
	close(stranger.fd);
}

static void few_are_kept_until_it_stands(void **state)
{
	struct stage *st = *state;
	struct egress_target t = name_443();
	struct sockaddr_storage from;
	struct association a;
	struct peer relay;
	static uint8_t buf[EGRESS_QUEUE_BYTES + 100];

	peer_open(&relay, "127.0.0.1");
	proxy_at(st, "127.0.0.1", associating("", &relay.at));
	assert_int_equal(open_association(st, &a, 0), 0);
	for (uint8_t i = 0; i < EGRESS_QUEUE_MAX; i++)
		assert_int_equal(egress_udp_send(a.u, &t, &i, 1), 0);
	assert_int_equal(egress_udp_send(a.u, &t, buf, 1), -EAGAIN);
	for (uint8_t i = 0; i < EGRESS_QUEUE_MAX; i++) {
		assert_int_equal(peer_take(st, &relay, buf, sizeof buf, &from), 14);
		assert_int_equal(buf[13], i); /* in their order */
	}
	assert_true(peer_is_empty(&relay));
	egress_udp_close(a.u);
	assert_int_equal(open_association(st, &a, 0), 0);
	assert_int_equal(egress_udp_send(a.u, &t, buf, EGRESS_QUEUE_BYTES + 1), -EAGAIN);
	assert_int_equal(egress_udp_send(a.u, &t, buf, EGRESS_QUEUE_BYTES), 0);
	assert_int_equal(egress_udp_send(a.u, &t, buf, 1), -EAGAIN);
	egress_udp_close(a.u);
	close(relay.fd);
}

/* --- who takes none --- */

static void refused(struct stage *st, const struct play *play)
{
	struct association a;

	server_close(&st->servers[0]);
	st->config.n_egresses = 0;
	proxy_at(st, "127.0.0.1", play);
	assert_true(egress_takes_udp(st->set, 0));
	assert_int_equal(open_association(st, &a, 0), 0);
	STAGE_UNTIL(st, a.ends);
	assert_int_equal(a.error, -EOPNOTSUPP);
	assert_int_equal(a.ends, 1);
	egress_udp_close(a.u);
	assert_false(egress_takes_udp(st->set, 0));
	assert_int_equal(open_association(st, &a, 0), -EOPNOTSUPP); /* it is not asked again */
	assert_int_equal(st->servers[0].accepted, 1);
	assert_true(set_leaf_is_up(st->set, 0)); /* TCP may well work */
	stage_set(st);
	assert_false(egress_takes_udp(st->set, 0));		     /* nor after a reload */
	atomic_store(&st->set->v[0].state->udp_refused_until_ms, 0); /* a minute later */
	assert_true(egress_takes_udp(st->set, 0));
}

static void a_proxy_that_takes_none(void **state)
{
	static const struct play plays[][3] = {
		{{EXPECT(GREETING), SAY("\x05\x00")},
			{EXPECT(ASSOCIATE), SAY("\x05\x07\x00\x01\0\0\0\0\0\0")}},
		{{EXPECT(GREETING), SAY("\x05\x00")}, {EXPECT(ASSOCIATE), SAY("\x05\x01")}},
		{{EXPECT(GREETING), SAY("\x05\x00")}, {EXPECT(ASSOCIATE), .then = THEN_CLOSE}},
	};

	for (size_t i = 0; i < sizeof plays / sizeof *plays; i++)
		refused(*state, plays[i]);
}

static void who_never_takes_any(void **state)
{
	struct stage *st = *state;
	struct association a;

	server_open(&st->servers[0], "127.0.0.1", script);
	stage_egress(st, "http", CONF_EGRESS_HTTP, &st->servers[0]);
	stage_egress(st, "reject", CONF_EGRESS_REJECT, NULL);
	stage_egress(st, "no-udp", CONF_EGRESS_SOCKS5, &st->servers[0])->udp = CONF_CARRY_REJECT;
	stage_egress(st, "direct", CONF_EGRESS_DIRECT, NULL)->udp = CONF_CARRY_REJECT;
	stage_set(st);
	for (unsigned i = 0; i < 4; i++) {
		assert_false(egress_takes_udp(st->set, i));
		assert_int_equal(open_association(st, &a, i), -EOPNOTSUPP);
	}
	assert_int_equal(st->dialer->associations_now, 0);
}

static void a_group_goes_on_to_who_takes_it(void **state)
{
	static const struct play no[] = {
		{EXPECT(GREETING), SAY("\x05\x00")},
		{EXPECT(ASSOCIATE), SAY("\x05\x07")},
		{0},
	};
	struct egress_target t = name_443();
	struct stage *st = *state;
	struct sockaddr_storage from;
	struct conf_egress *group;
	struct association a;
	struct peer relay;
	uint8_t buf[64];

	peer_open(&relay, "127.0.0.1");
	server_open(&st->servers[0], "127.0.0.1", no);
	server_open(&st->servers[1], "127.0.0.1", associating("", &relay.at));
	stage_egress(st, "one", CONF_EGRESS_SOCKS5, &st->servers[0]);
	stage_egress(st, "two", CONF_EGRESS_SOCKS5, &st->servers[1]);
	stage_egress(st, "direct", CONF_EGRESS_DIRECT, NULL);
	group = stage_egress(st, "group", CONF_EGRESS_GROUP, NULL);
	group->of = malloc(3 * sizeof(int));
	for (int i = 0; i < 3; i++)
		group->of[i] = i;
	group->n_of = 3;
	stage_set(st);
	assert_int_equal(open_association(st, &a, 3), 0);
	assert_int_equal(egress_udp_send(a.u, &t, (const uint8_t *)"x", 1), 0);
	assert_int_equal(peer_take(st, &relay, buf, sizeof buf, &from), 14);
	egress_udp_close(a.u);
	/* The last resort needs an address. */
	server_close(&st->servers[1]);
	assert_int_equal(open_association(st, &a, 3), 0);
	t = (struct egress_target){.at = relay.at, .host = "a.test"};
	assert_int_equal(egress_udp_send(a.u, &t, (const uint8_t *)"plain", 5), 0);
	assert_int_equal(peer_take(st, &relay, buf, sizeof buf, &from), 5);
	egress_udp_close(a.u);
	close(relay.fd);
}

/* --- how it ends --- */

static void the_control_connections_end_is_the_end(void **state)
{
	struct stage *st = *state;
	struct egress_target t = name_443();

	for (int reset = 0; reset < 2; reset++) {
		struct sockaddr_storage from;
		struct association a;
		struct peer relay;

		peer_open(&relay, "127.0.0.1");
		st->config.n_egresses = 0;
		proxy_at(st, "127.0.0.1", associating("", &relay.at));
		associate(st, &a, &relay, &from);
		/* Chatter on it is read and forgotten. */
		assert_int_equal(send(st->servers[0].connections[0].fd, "hm", 2, MSG_NOSIGNAL), 2);
		for (int i = 0; i < 5; i++)
			stage_turn(st, 1);
		assert_int_equal(a.ends, 0);
		a.close_when_over = reset;
		server_close(&st->servers[0]);
		STAGE_UNTIL(st, a.ends);
		assert_int_equal(a.error, -ECONNRESET);
		if (!reset) {
			assert_int_equal(
				egress_udp_send(a.u, &t, (const uint8_t *)"x", 1), -EAGAIN);
			egress_udp_close(a.u);
		}
		for (int i = 0; i < 5; i++)
			stage_turn(st, 1);
		assert_int_equal(a.ends, 1);
		assert_int_equal(st->dialer->associations_now, 0);
		close(relay.fd);
	}
}

static void a_relay_that_has_gone(void **state)
{
	struct stage *st = *state;
	struct egress_target t = name_443();
	struct sockaddr_storage from;
	struct association a;
	struct peer relay;

	peer_open(&relay, "127.0.0.1");
	proxy_at(st, "127.0.0.1", associating("", &relay.at));
	associate(st, &a, &relay, &from);
	close(relay.fd);
	(void)egress_udp_send(a.u, &t, (const uint8_t *)"x", 1);
	(void)egress_udp_send(a.u, &t, (const uint8_t *)"y", 1); /* one of the two sees the ICMP */
	STAGE_UNTIL(st, a.ends);
	assert_int_equal(a.error, -ECONNREFUSED);
	assert_int_equal(a.ends, 1);
	egress_udp_close(a.u);
}

static void a_dead_proxy(void **state)
{
	struct stage *st = *state;
	struct association a;

	proxy_at(st, "127.0.0.1", script);
	server_close(&st->servers[0]);
	assert_int_equal(open_association(st, &a, 0), 0);
	a.close_when_over = true;
	STAGE_UNTIL(st, a.ends);
	assert_int_equal(a.error, -ECONNREFUSED);
	assert_int_equal(st->dialer->associations_now, 0);
	assert_true(egress_takes_udp(st->set, 0));
}

static void a_relay_that_is_ourselves(void **state)
{
	struct stage *st = *state;
	struct association a;
	struct peer relay;

	peer_open(&relay, "127.0.0.1");
	st->forbidden = relay.at;
	proxy_at(st, "127.0.0.1", associating("", &relay.at));
	assert_int_equal(open_association(st, &a, 0), 0);
	STAGE_UNTIL(st, a.ends);
	assert_int_equal(a.error, -ELOOP);
	egress_udp_close(a.u);
	close(relay.fd);
}

static void closed_at_any_moment(void **state)
{
	struct stage *st = *state;
	struct egress_target t = name_443();
	struct peer relay;

	peer_open(&relay, "127.0.0.1");
	proxy_at(st, "127.0.0.1", associating("", &relay.at));
	for (unsigned turns = 0; turns < 12; turns++) {
		struct association a;

		assert_int_equal(open_association(st, &a, 0), 0);
		assert_int_equal(egress_udp_send(a.u, &t, (const uint8_t *)"x", 1), 0);
		for (unsigned i = 0; i < turns; i++)
			stage_turn(st, 1);
		egress_udp_close(a.u);
		for (int i = 0; i < 5; i++)
			stage_turn(st, 1);
		assert_int_equal(a.ends, 0);
		assert_int_equal(st->dialer->associations_now, 0);
	}
	close(relay.fd);
}

static void closed_or_stopped_in_the_callback(void **state)
{
	struct stage *st = *state;

	for (int stop = 0; stop < 2; stop++) {
		struct sockaddr_storage from;
		struct association a;
		struct peer relay;

		peer_open(&relay, "127.0.0.1");
		st->config.n_egresses = 0;
		proxy_at(st, "127.0.0.1", associating("", &relay.at));
		associate(st, &a, &relay, &from);
		a.close_when_received = !stop;
		a.stop_when_received = stop;
		for (int i = 0; i < 3; i++)
			peer_say(&relay, &from,
				"\0\0\0\x01\xc0\x00\x02\x07\x00\x35"
				"x",
				11);
		STAGE_UNTIL(st, a.received);
		for (int i = 0; i < 10; i++)
			stage_turn(st, 1);
		assert_int_equal(a.received, 1);
		assert_int_equal(a.ends, 0);
		close(relay.fd);
		server_close(&st->servers[0]);
	}
	st->dialer = NULL; /* stopped, and freed by now: the sanitizer would tell */
}

static void stopped_with_associations(void **state)
{
	struct stage *st = *state;
	struct sockaddr_storage from;
	struct association a, b;
	struct peer relay;

	peer_open(&relay, "127.0.0.1");
	proxy_at(st, "127.0.0.1", associating("", &relay.at));
	associate(st, &a, &relay, &from);
	assert_int_equal(open_association(st, &b, 0), 0);
	close(relay.fd);
	/* The teardown stops. */
}

/* --- direct --- */

static void direct_round_trips(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", "::1"};
	struct stage *st = *state;
	struct association a;

	stage_egress(st, "direct", CONF_EGRESS_DIRECT, NULL);
	stage_set(st);
	assert_int_equal(open_association(st, &a, 0), 0);
	for (size_t i = 0; i < 2; i++) {
		struct egress_target t = {.host = "a.test"};
		struct sockaddr_storage from, again;
		struct peer one, other;
		uint8_t buf[16];

		peer_open(&one, addresses[i]);
		peer_open(&other, addresses[i]);
		t.at = one.at;
		assert_int_equal(egress_udp_send(a.u, &t, (const uint8_t *)"there", 5), 0);
		assert_int_equal(peer_take(st, &one, buf, sizeof buf, &from), 5);
		t.at = other.at;
		assert_int_equal(egress_udp_send(a.u, &t, (const uint8_t *)"there", 5), 0);
		assert_int_equal(peer_take(st, &other, buf, sizeof buf, &again), 5);
		assert_memory_equal(&from, &again, sizeof(struct sockaddr_in)); /* one mapping */
		peer_say(&one, &from, "back", 4);
		STAGE_UNTIL(st, a.received == 1 + 3 * i);
		assert_true(ip_addr_equal(&a.from.addr, &one.at.addr));
		assert_int_equal(a.from.port, one.at.port);
		/* And from a third one, who was never asked. */
		close(other.fd);
		peer_open(&other, addresses[i]);
		peer_say(&other, &from, "in", 2);
		STAGE_UNTIL(st, a.received == 2 + 3 * i);
		assert_int_equal(a.from.port, other.at.port);
		peer_say(&other, &from, "", 0);
		STAGE_UNTIL(st, a.received == 3 + 3 * i);
		assert_int_equal(a.len, 0);
		close(one.fd);
		close(other.fd);
	}
	egress_udp_close(a.u);
}

static void direct_sends_that_cannot_be(void **state)
{
	struct stage *st = *state;
	struct egress_target t = name_443();
	struct association a;
	struct peer far;
	uint8_t buf[16];
	struct sockaddr_storage from;
	static uint8_t big[65530];

	stage_egress(st, "direct", CONF_EGRESS_DIRECT, NULL);
	stage_set(st);
	peer_open(&far, "127.0.0.1");
	assert_int_equal(open_association(st, &a, 0), 0);
	assert_int_equal(
		egress_udp_send(a.u, &t, (const uint8_t *)"x", 1), -EAGAIN); /* no address */
	t.at = far.at;
	assert_int_equal(egress_udp_send(a.u, &t, big, sizeof big), -EMSGSIZE);
	assert_int_equal(egress_udp_send(a.u, &t, (const uint8_t *)"x", 1), 0);
	assert_int_equal(peer_take(st, &far, buf, sizeof buf, &from), 1);
	st->forbidden = far.at;
	st->forbidden.port++;
	t.at.port++;
	assert_int_equal(egress_udp_send(a.u, &t, (const uint8_t *)"x", 1), -ELOOP);
	/* Nobody there: the association is for others, too, and lives on. */
	t = (struct egress_target){.at = far.at};
	close(far.fd);
	for (int i = 0; i < 5; i++) {
		(void)egress_udp_send(a.u, &t, (const uint8_t *)"x", 1);
		stage_turn(st, 1);
	}
	assert_int_equal(a.ends, 0);
	egress_udp_close(a.u);
}

/* --- loops --- */

static void a_loop_is_stopped(void **state)
{
	static struct association a[GUARD_NEAR + 1];
	struct stage *st = *state;
	struct egress_target t = name_443();
	struct sockaddr_storage from;
	struct peer relay;
	uint8_t buf[64];

	peer_open(&relay, "127.0.0.1");
	proxy_at(st, "127.0.0.1", associating("", &relay.at));
	t.client = ip_addr_v4("\x7f\0\0\x01");
	t.client_is_host = true;
	for (size_t i = 0; i <= GUARD_NEAR; i++) {
		assert_int_equal(open_association(st, &a[i], 0), 0);
		assert_int_equal(egress_udp_send(a[i].u, &t, (const uint8_t *)"x", 1),
			i < GUARD_NEAR ? 0 : -ELOOP);
		if (i < GUARD_NEAR)
			assert_int_equal(peer_take(st, &relay, buf, sizeof buf, &from), 14);
	}
	for (size_t i = 0; i <= GUARD_NEAR; i++)
		egress_udp_close(a[i].u);
	close(relay.fd);
}

#define TEST(f)                                                                                    \
	cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown),                           \
		cmocka_unit_test_setup_teardown(f, stage_setup_single, stage_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_relay_at_an_address),
		TEST(a_relay_at_zeroes_is_where_the_proxy_is),
		TEST(a_relay_by_name),
		TEST(a_relay_whose_name_is_not_found),
		TEST(sizes),
		TEST(nonsense_is_dropped),
		TEST(few_are_kept_until_it_stands),
		TEST(a_proxy_that_takes_none),
		TEST(who_never_takes_any),
		TEST(a_group_goes_on_to_who_takes_it),
		TEST(the_control_connections_end_is_the_end),
		TEST(a_relay_that_has_gone),
		TEST(a_dead_proxy),
		TEST(a_relay_that_is_ourselves),
		TEST(closed_at_any_moment),
		TEST(closed_or_stopped_in_the_callback),
		TEST(stopped_with_associations),
		TEST(direct_round_trips),
		TEST(direct_sends_that_cannot_be),
		TEST(a_loop_is_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
