/* The UDP relay between clients' packets and egresses that the test plays: who gets which flow,
 * whom answers come from, what a client is told, and what all of it may grow to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/carry/udp.h"
#include "tests/unit/addresses.h"

#define TUN_FD	 77
#define LAN	 5
#define FLOWS	 8 /* bound */
#define IDLE_MS	 60000
#define OPEN_MAX 32
#define OUT_MAX	 64

/* --- the world that is played --- */

struct egress_udp {
	struct egress_udp_config config;
	unsigned egress;
	bool open;
	unsigned sent;
	struct egress_target target; /* of the last datagram */
	size_t len;
	uint8_t payload[4096];
};
static struct egress_udp egresses[OPEN_MAX];
static unsigned n_egresses;
static int open_error, send_error;
static enum conf_egress_type type;
static int flows_counted;

struct sent {
	bool raw;
	int tun_fd;
	unsigned ifindex;
	size_t len;
	uint8_t packet[4096];
};
static struct sent sent[OUT_MAX];
static unsigned n_sent;
static size_t raw_mtu;

static int64_t now;
static struct loop_timer *timer;
static struct ip_addr own;
static int held[4];
static unsigned touched[4];

int64_t loop_now_ms(const struct loop *l)
{
	(void)l;
	return now;
}

int loop_timer_set(struct loop *l, struct loop_timer *t, int64_t due_ms)
{
	(void)l;
	t->due_ms = due_ms;
	timer = t;
	return 0;
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
	(void)l;
	(void)t;
	timer = NULL;
}

static uint32_t clock_s(void)
{
	return (uint32_t)(now / 1000);
}

bool hosts_contain(const struct hosts *h, const struct ip_addr *a)
{
	(void)h;
	return ip_addr_equal(a, &own);
}

void fakeip_hold(struct fakeip_table *t, uint32_t index)
{
	(void)t;
	held[index]++;
}

void fakeip_release(struct fakeip_table *t, uint32_t index)
{
	(void)t;
	held[index]--;
}

void fakeip_touch(struct fakeip_table *t, uint32_t index, uint32_t now_s)
{
	(void)t;
	assert_int_equal(now_s, clock_s());
	touched[index]++;
}

enum conf_egress_type egress_type(const struct egress_set *s, unsigned egress)
{
	(void)s;
	(void)egress;
	return type;
}

struct egress_state *egress_flow_begin(struct egress_set *s, unsigned egress)
{
	(void)s;
	(void)egress;
	flows_counted++;
	return NULL;
}

void egress_flow_end(struct egress_state *st)
{
	(void)st;
	flows_counted--;
}

int egress_udp_open(struct egress_dialer *d, struct egress_set *s, unsigned egress,
	const struct egress_udp_config *config, struct egress_udp **ret)
{
	(void)d;
	(void)s;
	if (open_error)
		return open_error;
	assert_in_range(n_egresses, 0, OPEN_MAX - 1);
	*ret = &egresses[n_egresses++];
	**ret = (struct egress_udp){.config = *config, .egress = egress, .open = true};
	return 0;
}

int egress_udp_send(struct egress_udp *u, const struct egress_target *target,
	const uint8_t *payload, size_t len)
{
	assert_true(u->open);
	if (send_error)
		return send_error;
	u->sent++;
	u->target = *target;
	u->len = len;
	memcpy(u->payload, payload, len);
	return 0;
}

void egress_udp_close(struct egress_udp *u)
{
	assert_true(u->open);
	u->open = false;
}

static int take(bool raw, int tun_fd, const uint8_t *packet, size_t len, unsigned ifindex)
{
	struct sent *s = &sent[n_sent];

	if (raw_mtu && len > raw_mtu)
		return -EMSGSIZE;
	assert_in_range(++n_sent, 1, OUT_MAX);
	assert_in_range(len, 20, sizeof s->packet);
	*s = (struct sent){.raw = raw, .tun_fd = tun_fd, .ifindex = ifindex, .len = len};
	memcpy(s->packet, packet, len);
	return 0;
}

int inject_error(struct inject *i, int tun_fd, const uint8_t *packet, size_t len, unsigned ifindex)
{
	(void)i;
	return take(false, tun_fd, packet, len, ifindex);
}

int inject_raw(struct inject *i, const uint8_t *packet, size_t len)
{
	(void)i;
	return take(true, -1, packet, len, 0);
}

static struct udp_relay *relay;

static int begin(void **state)
{
	struct udp_relay_config config = {.clock_s = clock_s, .max = FLOWS};

	(void)state;
	now = 1000000;
	n_egresses = n_sent = 0;
	open_error = send_error = flows_counted = 0;
	raw_mtu = 0;
	type = CONF_EGRESS_SOCKS5;
	own = (struct ip_addr){0};
	memset(held, 0, sizeof held);
	memset(touched, 0, sizeof touched);
	assert_int_equal(udp_relay_new(&config, &relay), 0);
	udp_relay_set_tun(relay, TUN_FD);
	return 0;
}

static int end(void **state)
{
	(void)state;
	udp_relay_stop(relay);
	for (unsigned i = 0; i < n_egresses; i++)
		assert_false(egresses[i].open);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(held[i], 0);
	assert_int_equal(flows_counted, 0);
	assert_null(timer);
	udp_relay_free(relay);
	return 0;
}

static uint64_t counter(const _Atomic uint64_t *c)
{
	return *c;
}
#define COUNTER(name) counter(&udp_relay_counters(relay)->name)

static void pass(int64_t ms)
{
	for (; ms > 0; ms -= 1000) {
		now += ms < 1000 ? ms : 1000;
		if (timer && timer->due_ms <= now)
			timer->fire(timer);
	}
}

static bool is_at(const struct ip_addr *a, const char *text)
{
	struct ip_port p = at_of(text);

	return ip_addr_equal(a, &p.addr);
}

/* --- clients --- */

static uint8_t packet[4200];
static struct tun_packet parsed;

static struct tun_packet *datagram(const char *from, const char *to, const char *text)
{
	struct ip_port a = at_of(from), b = at_of(to);
	size_t n = strlen(text), len;

	memcpy(packet + (a.addr.family == IP_V4 ? 28 : 48), text, n);
	len = tun_packet_udp_build(packet, &a, &b, n);
	assert_int_equal(tun_packet_parse(packet, len, &parsed), 0);
	return &parsed;
}

static struct udp_way way(void)
{
	return (struct udp_way){
		.egress = 3, .idle_ms = IDLE_MS, .target = {.host = "www.fake.test"}};
}

/* As carry does: what has no flow gets one. */
static struct egress_udp *say(const char *from, const char *to, uint32_t index, const char *text)
{
	struct tun_packet *p = datagram(from, to, text);
	struct udp_way w = way();

	if (!udp_relay_fake(relay, p, 0)) {
		assert_int_equal(udp_relay_fake_open(relay, p, 0, index, &w), 0);
		assert_true(udp_relay_fake(relay, p, 0));
	}
	for (unsigned i = n_egresses; i-- > 0;)
		if (egresses[i].open && egresses[i].len == strlen(text) &&
			memcmp(egresses[i].payload, text, strlen(text)) == 0)
			return &egresses[i];
	fail();
	return NULL;
}

static bool say_real_to(const char *from, const char *to, const char *text)
{
	struct udp_datagram d = {.client = at_of(from), .to = at_of(to)};

	d.payload = (uint8_t *)text;
	d.len = strlen(text);
	return udp_relay_real(relay, &d);
}

static int open_real(const char *from, const char *to, const char *name)
{
	struct udp_datagram d = {.client = at_of(from), .to = at_of(to)};
	struct udp_way w = {.egress = 4, .idle_ms = IDLE_MS};

	return udp_relay_real_open(relay, &d, &w, name);
}

static void answer(struct egress_udp *e, const char *from, const char *text)
{
	struct ip_port a = {.port = 53};

	if (from)
		a = at_of(from);
	e->config.received(e->config.arg, &a, (const uint8_t *)text, strlen(text));
}

/* The i-th that went out is this datagram. */
static void assert_datagram(unsigned i, const char *from, const char *to, const char *text)
{
	struct ip_port a = at_of(from), b = at_of(to);
	struct ip_addr source, target;
	struct tun_packet p;

	assert_in_range(i + 1, 1, n_sent);
	assert_int_equal(tun_packet_parse(sent[i].packet, sent[i].len, &p), 0);
	assert_true(tun_packet_checksum_ok(&p));
	assert_int_equal(p.protocol, IPPROTO_UDP);
	source = tun_packet_source(&p);
	target = tun_packet_target(&p);
	assert_true(ip_addr_equal(&source, &a.addr));
	assert_true(ip_addr_equal(&target, &b.addr));
	assert_int_equal(p.source_port, a.port);
	assert_int_equal(p.target_port, b.port);
	assert_int_equal(p.payload_len, strlen(text));
	assert_memory_equal(sent[i].packet + p.payload, text, strlen(text));
}

/* An ICMP error from `from`, which quotes a datagram of this client to it. */
static void assert_icmp(
	unsigned i, const char *from, const char *client, unsigned kind, unsigned code)
{
	struct ip_port a = at_of(from), b = at_of(client);
	struct ip_addr source, target;
	const uint8_t *quote, *udp;
	struct tun_packet p;

	assert_in_range(i + 1, 1, n_sent);
	assert_int_equal(tun_packet_parse(sent[i].packet, sent[i].len, &p), 0);
	assert_true(tun_packet_checksum_ok(&p));
	assert_int_equal(p.protocol, a.addr.family == IP_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	assert_int_equal(sent[i].packet[p.transport], kind);
	assert_int_equal(sent[i].packet[p.transport + 1], code);
	source = tun_packet_source(&p);
	target = tun_packet_target(&p);
	assert_true(ip_addr_equal(&source, &a.addr));
	assert_true(ip_addr_equal(&target, &b.addr));
	quote = sent[i].packet + p.payload;
	udp = quote + (a.addr.family == IP_V4 ? 20 : 40);
	assert_int_equal(udp[0] << 8 | udp[1], b.port);
	assert_int_equal(udp[2] << 8 | udp[3], a.port);
	assert_memory_equal(quote + (a.addr.family == IP_V4 ? 12 : 8), b.addr.b,
		a.addr.family == IP_V4 ? 4 : 16);
}

#define CLIENT	"10.1.1.1:4001"
#define CLIENT6 "[fd01::1]:4001"
#define FAKE	"198.18.0.9:53"
#define FAKE6	"[2001:2::9]:53"

/* --- fake addresses --- */

static void there_and_back(void **state)
{
	struct egress_udp *e;

	(void)state;
	assert_false(udp_relay_fake(relay, datagram(CLIENT, FAKE, "x"), 0));
	e = say(CLIENT, FAKE, 1, "question");
	assert_int_equal(e->egress, 3);
	assert_string_equal(e->target.host, "www.fake.test");
	assert_int_equal(e->target.at.port, 53);
	assert_true(is_at(&e->target.client, CLIENT));
	assert_false(e->target.client_is_host);
	assert_int_equal(held[1], 1);
	/* Whatever the far end calls itself, it is the fake address that answers. */
	answer(e, "203.0.113.7:53", "answer");
	answer(e, NULL, "from a name");
	answer(e, "[2001:db8::7]:53", "from the other family");
	answer(e, "203.0.113.7:1053", "from another port");
	assert_datagram(0, FAKE, CLIENT, "answer");
	assert_datagram(1, FAKE, CLIENT, "from a name");
	assert_datagram(2, FAKE, CLIENT, "from the other family");
	assert_datagram(3, "198.18.0.9:1053", CLIENT, "from another port");
	assert_false(sent[0].raw);
	assert_int_equal(sent[0].tun_fd, TUN_FD);
	assert_int_equal(COUNTER(flows), 1);
	assert_int_equal(COUNTER(live), 1);
	assert_int_equal(COUNTER(to_egress), 1);
	assert_int_equal(COUNTER(to_client), 4);
}

static void a_port_that_is_not_told(void **state)
{
	static const struct ip_port nothing;
	struct egress_udp *e = say(CLIENT, FAKE, 1, "question");

	(void)state;
	e->config.received(e->config.arg, &nothing, (const uint8_t *)"answer", 6);
	assert_datagram(0, FAKE, CLIENT, "answer");
}

static void ipv6(void **state)
{
	struct egress_udp *e = say(CLIENT6, FAKE6, 1, "question");

	(void)state;
	answer(e, "203.0.113.7:53", "answer");
	assert_datagram(0, FAKE6, CLIENT6, "answer");
}

static void one_socket_and_many_fake_addresses(void **state)
{
	struct egress_udp *a = say(CLIENT, "198.18.0.9:53", 1, "to nine"),
			  *b = say(CLIENT, "198.18.0.8:53", 2, "to eight"),
			  *c = say("10.1.1.1:4002", "198.18.0.9:53", 1, "from another socket");

	(void)state;
	assert_int_equal(n_egresses, 3);
	assert_int_equal(held[1], 2);
	assert_int_equal(held[2], 1);
	/* The very same far end. */
	answer(b, "203.0.113.7:53", "b");
	answer(a, "203.0.113.7:53", "a");
	answer(c, "203.0.113.7:53", "c");
	assert_datagram(0, "198.18.0.8:53", CLIENT, "b");
	assert_datagram(1, "198.18.0.9:53", CLIENT, "a");
	assert_datagram(2, "198.18.0.9:53", "10.1.1.1:4002", "c");
	/* Another port of the same fake address is the same flow. */
	assert_ptr_equal(say(CLIENT, "198.18.0.9:54", 1, "to another port"), a);
	assert_int_equal(n_egresses, 3);
	assert_int_equal(a->target.at.port, 54);
}

static void answers_go_where_the_client_is(void **state)
{
	struct egress_udp *e;

	(void)state;
	e = say(CLIENT, FAKE, 1, "question");
	assert_true(udp_relay_fake(relay, datagram(CLIENT, FAKE, "by NFLOG"), LAN));
	answer(e, "203.0.113.7:53", "answer");
	assert_false(sent[0].raw);
	assert_int_equal(sent[0].ifindex, LAN);
	udp_relay_set_tun(relay, TUN_FD + 1);
	answer(e, "203.0.113.7:53", "answer");
	assert_int_equal(sent[1].tun_fd, TUN_FD + 1);
	own = at_of("10.1.1.1:1").addr;
	e = say("10.1.1.1:4003", FAKE, 1, "from here");
	assert_true(e->target.client_is_host);
	answer(e, "203.0.113.7:53", "answer");
	assert_true(sent[2].raw);
}

/* Of packets from TUN only: those of NFLOG may have none yet. */
static void checksums(void **state)
{
	struct egress_udp *e = say(CLIENT, FAKE, 1, "question");

	(void)state;
	datagram(CLIENT, FAKE, "broken");
	packet[28] ^= 1;
	assert_true(udp_relay_fake(relay, &parsed, 0));
	assert_int_equal(e->sent, 1);
	assert_int_equal(COUNTER(dropped), 1);
	assert_true(udp_relay_fake(relay, &parsed, LAN));
	assert_int_equal(e->sent, 2);
}

static void pieces_are_nobodys(void **state)
{
	struct tun_packet *p;

	(void)state;
	say(CLIENT, FAKE, 1, "question");
	p = datagram(CLIENT, FAKE, "question");
	p->fragment = TUN_FRAGMENT_FIRST;
	assert_false(udp_relay_fake(relay, p, 0));
}

/* Puts the pieces that went out from the i-th on together. */
static size_t reassemble(unsigned i, uint8_t *whole)
{
	size_t sum = 0;

	for (; i < n_sent; i++) {
		struct tun_packet p;

		assert_int_equal(tun_packet_parse(sent[i].packet, sent[i].len, &p), 0);
		assert_int_not_equal(p.fragment, TUN_WHOLE);
		memcpy(whole + sum, sent[i].packet + p.transport, (size_t)(p.len - p.transport));
		sum += (size_t)(p.len - p.transport);
	}
	return sum;
}

static void long_answers_are_cut(void **state)
{
	static char text[2001];
	static uint8_t whole[65536];
	static char huge[65537];

	(void)state;
	memset(text, 'x', sizeof text - 1);
	for (int v6 = 0; v6 < 2; v6++) {
		struct egress_udp *e =
			v6 ? say(CLIENT6, FAKE6, 1, "six") : say(CLIENT, FAKE, 1, "four");
		unsigned from = n_sent;

		answer(e, "203.0.113.7:53", text);
		assert_int_equal(n_sent, from + 2);
		assert_in_range(sent[from].len, 1400, 1500);
		assert_int_equal(reassemble(from, whole), 8 + 2000);
		assert_memory_equal(whole + 8, text, 2000);
		/* A way that is narrower still. */
		text[1400] = 0;
		from = n_sent;
		raw_mtu = 1300;
		answer(e, "203.0.113.7:53", text);
		assert_int_equal(reassemble(from, whole), 8 + 1400);
		text[1400] = 'x';
		raw_mtu = 0;
	}
	/* No packet can hold it. */
	memset(huge, 'x', sizeof huge - 1);
	answer(&egresses[0], "203.0.113.7:53", huge);
	assert_int_equal(COUNTER(dropped), 1);
}

/* --- the end --- */

static void an_egress_that_fails(void **state)
{
	static const struct {
		int error;
		unsigned type4, code4, type6, code6;
	} v[] = {
		{-EOPNOTSUPP, 3, 3, 1, 4},
		{-ECONNREFUSED, 3, 3, 1, 4},
		{-ELOOP, 3, 3, 1, 4},
		{-EACCES, 3, 13, 1, 1},
		{-ENETUNREACH, 3, 0, 1, 0},
		{-ETIMEDOUT, 3, 1, 1, 3},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof v / sizeof v[0]; i++) {
		struct egress_udp *e = say(CLIENT, FAKE, 1, "a question of some length");

		e->config.closed(e->config.arg, v[i].error);
		assert_false(e->open);
		assert_int_equal(held[1], 0);
		assert_icmp(i * 2, FAKE, CLIENT, v[i].type4, v[i].code4);
		assert_false(sent[i * 2].raw);
		e = say(CLIENT6, FAKE6, 2, "six");
		e->config.closed(e->config.arg, v[i].error);
		assert_icmp(i * 2 + 1, FAKE6, CLIENT6, v[i].type6, v[i].code6);
	}
	assert_int_equal(COUNTER(failed), 12);
	assert_int_equal(COUNTER(live), 0);
	/* Nothing is said when we end, nor when nobody waits for an answer any more. */
	n_sent = 0;
	{
		struct egress_udp *e = say(CLIENT, FAKE, 1, "question");

		e->config.closed(e->config.arg, -ECANCELED);
		e = say(CLIENT, FAKE, 1, "question");
		pass(20000);
		e->config.closed(e->config.arg, -ECONNRESET);
	}
	assert_int_equal(n_sent, 0);
}

static void a_loop(void **state)
{
	struct egress_udp *e = say(CLIENT, FAKE, 1, "question");

	(void)state;
	send_error = -ELOOP;
	assert_true(udp_relay_fake(relay, datagram(CLIENT, FAKE, "again"), 0));
	assert_icmp(0, FAKE, CLIENT, 3, 3);
	assert_true(e->open);
	/* What merely does not fit is lost, as datagrams are. */
	send_error = -EAGAIN;
	assert_true(udp_relay_fake(relay, datagram(CLIENT, FAKE, "again"), 0));
	assert_int_equal(n_sent, 1);
	assert_int_equal(COUNTER(dropped), 2);
}

static void an_egress_that_cannot_be_opened(void **state)
{
	struct udp_way w = way();

	(void)state;
	open_error = -EOPNOTSUPP;
	assert_int_equal(
		udp_relay_fake_open(relay, datagram(CLIENT, FAKE, "x"), 0, 1, &w), -EOPNOTSUPP);
	assert_int_equal(held[1], 0);
	assert_false(udp_relay_fake(relay, &parsed, 0));
	assert_int_equal(open_real(CLIENT, "192.0.2.1:5", NULL), -EOPNOTSUPP);
	assert_int_equal(COUNTER(flows), 0);
}

static void idle_flows_end(void **state)
{
	struct egress_udp *quiet, *talks, *listens, *patient;
	struct udp_way w = way();

	(void)state;
	w.idle_ms = 200000;
	assert_int_equal(
		udp_relay_fake_open(relay, datagram(CLIENT, "198.18.0.1:1", "x"), 0, 3, &w), 0);
	patient = &egresses[0];
	quiet = say(CLIENT, "198.18.0.2:1", 1, "quiet");
	talks = say(CLIENT, "198.18.0.3:1", 1, "talks");
	listens = say(CLIENT, "198.18.0.4:1", 2, "listens");
	for (int i = 0; i < 5; i++) {
		pass(15000);
		say(CLIENT, "198.18.0.3:1", 1, "talks");
		answer(listens, "203.0.113.7:1", "more");
		assert_int_equal(quiet->open, i < 3);
	}
	assert_true(talks->open);
	assert_true(listens->open);
	assert_true(patient->open);
	assert_int_equal(held[1], 1);
	pass(IDLE_MS + 1000);
	assert_false(talks->open);
	assert_false(listens->open);
	assert_true(patient->open);
	pass(200000);
	assert_false(patient->open);
	assert_int_equal(COUNTER(live), 0);
}

/* The table of fake addresses hears of traffic once a second, not for each datagram. */
static void touches(void **state)
{
	struct egress_udp *e = say(CLIENT, FAKE, 1, "question");
	unsigned before = touched[1];

	(void)state;
	for (int i = 0; i < 50; i++)
		answer(e, "203.0.113.7:53", "answer");
	n_sent = 0;
	assert_int_equal(touched[1], before);
	pass(1000);
	answer(e, "203.0.113.7:53", "answer");
	assert_int_equal(touched[1], before + 1);
}

static void flows_are_bounded(void **state)
{
	struct udp_way w = way();
	char from[32];

	(void)state;
	for (unsigned i = 0; i < FLOWS; i++) {
		snprintf(from, sizeof from, "10.1.1.1:%u", 5000 + i);
		say(from, FAKE, 1, from);
		pass(100);
	}
	datagram(CLIENT, FAKE, "one too many");
	assert_int_equal(udp_relay_fake_open(relay, &parsed, 0, 1, &w), -ENOSPC);
	assert_int_equal(open_real(CLIENT, "192.0.2.1:5", NULL), -ENOSPC);
	/* The one that was idle for longest gives way, but not at once. */
	pass(10000);
	say("10.1.1.1:5000", FAKE, 1, "the first one is back");
	datagram(CLIENT, FAKE, "one more");
	assert_int_equal(udp_relay_fake_open(relay, &parsed, 0, 1, &w), 0);
	assert_true(egresses[0].open);
	assert_false(egresses[1].open);
	assert_true(egresses[2].open);
	assert_int_equal(COUNTER(live), FLOWS);
	/* Again for the same socket: it is there. */
	assert_int_equal(udp_relay_fake_open(relay, &parsed, 0, 1, &w), 0);
	assert_int_equal(held[1], FLOWS);
	assert_int_equal(n_egresses, FLOWS + 1);
}

static void without_descriptors_the_idle_give_way(void **state)
{
	struct udp_way w = way();

	(void)state;
	say(CLIENT, FAKE, 1, "question");
	open_error = -EMFILE;
	datagram("10.1.1.1:4002", FAKE, "x");
	assert_int_equal(udp_relay_fake_open(relay, &parsed, 0, 1, &w), -EMFILE);
	assert_true(egresses[0].open);
	pass(11000);
	assert_int_equal(udp_relay_fake_open(relay, &parsed, 0, 1, &w), -EMFILE);
	assert_false(egresses[0].open);
}

/* --- real addresses --- */

static void anybody_may_answer(void **state)
{
	struct egress_udp *e;

	(void)state;
	assert_false(say_real_to(CLIENT, "192.0.2.1:5", "x"));
	assert_int_equal(open_real(CLIENT, "192.0.2.1:5", NULL), 0);
	e = &egresses[0];
	assert_int_equal(e->egress, 4);
	assert_true(say_real_to(CLIENT, "192.0.2.1:5", "one"));
	assert_int_equal(e->target.at.port, 5);
	assert_true(is_at(&e->target.at.addr, "192.0.2.1:5"));
	assert_string_equal(e->target.host, "");
	assert_true(is_at(&e->target.client, CLIENT));
	assert_true(say_real_to(CLIENT, "192.0.2.2:6", "two"));
	assert_true(is_at(&e->target.at.addr, "192.0.2.2:5"));
	assert_int_equal(n_egresses, 1); /* one mapping */
	answer(e, "192.0.2.1:5", "a");
	answer(e, "192.0.2.2:6", "b");
	answer(e, "203.0.113.99:7", "a third peer");
	assert_datagram(0, "192.0.2.1:5", CLIENT, "a");
	assert_datagram(1, "192.0.2.2:6", CLIENT, "b");
	assert_datagram(2, "203.0.113.99:7", CLIENT, "a third peer");
	assert_true(sent[0].raw && sent[1].raw && sent[2].raw);
	/* An address that this client has no packets of. */
	answer(e, "[2001:db8::1]:7", "x");
	assert_int_equal(n_sent, 3);
	assert_int_equal(COUNTER(dropped), 1);
	/* A fake flow of the same socket is another one. */
	say(CLIENT, FAKE, 1, "fake");
	assert_int_equal(n_egresses, 2);
	e->config.closed(e->config.arg, -ECONNREFUSED);
	assert_icmp(3, "192.0.2.2:6", CLIENT, 3, 3);
	assert_true(sent[3].raw);
	assert_false(say_real_to(CLIENT, "192.0.2.1:5", "x"));
}

static void by_name(void **state)
{
	struct egress_udp *e;

	(void)state;
	assert_int_equal(open_real(CLIENT, "192.0.2.1:443", "www.test"), 0);
	e = &egresses[0];
	assert_true(say_real_to(CLIENT, "192.0.2.1:443", "one"));
	assert_string_equal(e->target.host, "www.test");
	assert_int_equal(e->target.at.port, 443);
	/* The proxy resolved it to another address than the client has. */
	answer(e, "203.0.113.7:443", "a");
	answer(e, "[2001:db8::7]:443", "a");
	assert_datagram(0, "192.0.2.1:443", CLIENT, "a");
	assert_datagram(1, "192.0.2.1:443", CLIENT, "a");
	/* Elsewhere the name says nothing. */
	assert_true(say_real_to(CLIENT, "192.0.2.2:443", "two"));
	assert_string_equal(e->target.host, "");
	answer(e, "192.0.2.2:443", "b");
	answer(e, "203.0.113.7:443", "a");
	assert_datagram(2, "192.0.2.2:443", CLIENT, "b");
	assert_datagram(3, "192.0.2.1:443", CLIENT, "a");
	assert_true(say_real_to(CLIENT, "192.0.2.1:443", "three"));
	assert_string_equal(e->target.host, "www.test");
	/* A direct egress needs the address. */
	type = CONF_EGRESS_DIRECT;
	assert_int_equal(open_real("10.1.1.1:4002", "192.0.2.1:443", "www.test"), 0);
	assert_true(say_real_to("10.1.1.1:4002", "192.0.2.1:443", "one"));
	assert_string_equal(egresses[1].target.host, "");
}

/* Flows come and go in any order; each is found as long as it is there. */
static void many_at_random(void **state)
{
	struct egress_udp *of[FLOWS] = {0};
	unsigned seed = 7;
	char from[32];

	(void)state;
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = (seed = seed * 1103515245 + 12345) >> 16 & (FLOWS - 1);

		snprintf(from, sizeof from, "10.1.1.%u:9", i + 1);
		if (of[i] && (step & 3) == 0) {
			of[i]->config.closed(of[i]->config.arg, -ECANCELED);
			assert_false(udp_relay_fake(relay, datagram(from, FAKE, "x"), 0));
			of[i] = NULL;
		} else if (of[i]) {
			assert_ptr_equal(say(from, FAKE, i & 3, from), of[i]);
		} else {
			if (n_egresses == OPEN_MAX) { /* the players' places are used again */
				for (unsigned k = 0; k < FLOWS; k++) {
					if (of[k])
						of[k]->config.closed(of[k]->config.arg, -ECANCELED);
					of[k] = NULL;
				}
				n_egresses = 0;
			}
			of[i] = say(from, FAKE, i & 3, from);
		}
		now += step & 511;
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(there_and_back),
		TEST(a_port_that_is_not_told),
		TEST(ipv6),
		TEST(one_socket_and_many_fake_addresses),
		TEST(answers_go_where_the_client_is),
		TEST(checksums),
		TEST(pieces_are_nobodys),
		TEST(long_answers_are_cut),
		TEST(an_egress_that_fails),
		TEST(a_loop),
		TEST(an_egress_that_cannot_be_opened),
		TEST(idle_flows_end),
		TEST(touches),
		TEST(flows_are_bounded),
		TEST(without_descriptors_the_idle_give_way),
		TEST(anybody_may_answer),
		TEST(by_name),
		TEST(many_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
