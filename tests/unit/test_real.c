/* Real traffic that was brought to the relay: whose name it gets, what it waits for, and where it
 * goes then. Policy, names seen and the sniffers are the house's, the loop and the clients'
 * connections are real; egresses, relays, the way out and the clock are played. */
#include "tests/unit/sniff_stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/conf.h"
#include "gateway/carry/real_internal.h"
#include "tests/unit/hand_clock.h"
#include "tests/unit/addresses.h"

static const char yaml[] =
	"gateway: { lan: [lan0] }\n"
	"upstreams: { one: { servers: udp://192.0.2.53 } }\n"
	"egress:\n"
	"  direct: { type: direct, upstream: one }\n"
	"  proxy: { type: socks5, server: '192.0.2.80:1080' }\n"
	"  noquic: { type: socks5, server: '192.0.2.81:1080', quic: reject }\n"
	"  web: { type: http, server: '192.0.2.80:8080' }\n"
	"  any: { type: group, of: [direct, proxy] }\n"
	"  nobody: { type: reject }\n"
	"rules:\n"
	"  - { name: no, domain: [no.test], answer: block }\n"
	"  - { name: prox, domain: [proxy.test], answer: fake, egress: proxy }\n"
	"  - { name: near, domain: [near.test], answer: real, egress: direct, upstream: one }\n"
	"  - { name: noquic, domain: [noquic.test], answer: real, egress: noquic, upstream: one }\n"
	"  - { name: web, domain: [web.test], answer: real, egress: web, upstream: one }\n"
	"  - { name: any, domain: [any.test], answer: real, egress: any, upstream: one }\n"
	"  - { name: nobody, domain: [nobody.test], answer: real, egress: nobody, upstream: one }\n"
	"  - { name: console, client: [10.9.0.0/16], answer: real, egress: proxy, upstream: one }\n"
	"  - { name: rest, domain: [rest.test], answer: real, upstream: one }\n";
enum { DIRECT, PROXY, NO_QUIC, WEB, ANY, NOBODY };

#define CLIENT "10.1.1.1:4001"
#define SERVER "203.0.113.5:443"

/* --- played --- */

#define DIALS_MAX 16
static struct {
	struct egress_dial *dial;
	unsigned egress;
	struct egress_target target;
} dials[DIALS_MAX];
static unsigned n_dials, n_cancelled;
static int flows;
static bool takes_no_udp, any_goes_by_name;

static unsigned n_relayed;
static struct relay_flow_config relayed;
static uint8_t first[8192];
static int relay_error;

static struct ip_port with_flow; /* the socket that the UDP relay knows */
static unsigned n_opened, n_passed;
static struct udp_way opened;
static char opened_name[EGRESS_HOST_MAX + 1];
static uint8_t passed[16][2048];
static int udp_error;

static unsigned n_icmp;
static uint8_t icmp[TUN_ERROR_MAX];

void egress_connect(struct egress_dialer *d, struct egress_set *s, unsigned egress,
	const struct egress_target *target, struct egress_dial *dial, egress_done *done)
{
	(void)d;
	(void)s;
	assert_in_range(n_dials, 0, DIALS_MAX - 1);
	dials[n_dials].dial = dial;
	dials[n_dials].egress = egress;
	dials[n_dials++].target = *target;
	dial->done = done;
	dial->priv = dial;
}

void egress_cancel(struct egress_dial *dial)
{
	if (dial->priv)
		n_cancelled++;
	dial->priv = NULL;
}

static void dial_end(unsigned i, int error)
{
	dials[i].dial->priv = NULL;
	dials[i].dial->done(dials[i].dial, error ? -1 : dup(0), dials[i].egress, error);
}

const struct conf_egress *egress_conf(const struct egress_set *s, unsigned egress)
{
	static struct conf_egress conf;

	(void)s;
	conf.idle_ms = 1000 + (egress == EGRESS_DIRECT ? 99 : egress);
	return &conf;
}

bool egress_goes_by_name(const struct egress_set *s, unsigned egress)
{
	(void)s;
	return egress != ANY || any_goes_by_name;
}

bool egress_takes_udp(const struct egress_set *s, unsigned egress)
{
	(void)s;
	(void)egress;
	return !takes_no_udp;
}

struct egress_state *egress_flow_begin(struct egress_set *s, unsigned egress)
{
	(void)s;
	(void)egress;
	flows++;
	return (struct egress_state *)&flows;
}

void egress_flow_end(struct egress_state *st)
{
	(void)st;
	flows--;
}

int relay_start(struct relay *r, const struct relay_flow_config *config)
{
	(void)r;
	n_relayed++;
	relayed = *config;
	assert_in_range(config->first_len, 0, sizeof first);
	if (config->first_len)
		memcpy(first, config->first, config->first_len);
	close(config->egress_fd);
	if (relay_error)
		close(config->client_fd);
	return relay_error;
}

static bool same(const struct ip_port *a, const struct ip_port *b)
{
	return a->port == b->port && ip_addr_equal(&a->addr, &b->addr);
}

bool udp_relay_real(struct udp_relay *u, const struct udp_datagram *d)
{
	(void)u;
	if (!same(&with_flow, &d->client))
		return false;
	memcpy(passed[n_passed++ % 16], d->payload, d->len);
	return true;
}

int udp_relay_real_open(struct udp_relay *u, const struct udp_datagram *d,
	const struct udp_way *way, const char *name)
{
	(void)u;
	if (udp_error)
		return udp_error;
	n_opened++;
	opened = *way;
	strcpy(opened_name, name ? name : "");
	with_flow = d->client;
	return 0;
}

/* Of fake addresses only. */
int inject_error(struct inject *i, int tun_fd, const uint8_t *packet, size_t len, unsigned ifindex)
{
	(void)i;
	(void)tun_fd;
	(void)packet;
	(void)len;
	(void)ifindex;
	fail();
	return 0;
}

int inject_raw(struct inject *i, const uint8_t *packet, size_t len)
{
	(void)i;
	n_icmp++;
	assert_in_range(len, 28, sizeof icmp);
	memcpy(icmp, packet, len);
	return 0;
}

void accept_refuse(int fd)
{
	struct linger reset = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	close(fd);
}

const struct policy_who *generation_who(const struct generation *g,
	const struct neighbours *neighbours, const struct ip_addr *client, struct policy_who *ret)
{
	(void)g;
	(void)neighbours;
	(void)client;
	(void)ret;
	return NULL;
}

static const struct ip_addr *own;

bool hosts_contain(const struct hosts *h, const struct ip_addr *a)
{
	(void)h;
	return own && ip_addr_equal(own, a);
}

/* --- of carry.c --- */

const struct policy_egress *carry_leaf(const struct carry *c, const struct policy_egress *egress)
{
	const struct policy_egress *all;

	policy_egresses(c->gen->policy, &all);
	return egress->type == CONF_EGRESS_GROUP ? &all[PROXY] : egress;
}

bool carry_host(const struct dns_name *name, char ret[EGRESS_HOST_MAX + 1])
{
	char text[DNS_NAME_TEXT_MAX];

	dns_name_format(name->b, text);
	if (strchr(text, '\\'))
		return false;
	strcpy(ret, text);
	return true;
}

bool carry_is_far(const struct carry *c, const struct ip_addr *a)
{
	(void)c;
	return !hosts_contain(NULL, a);
}

unsigned carry_udp_idle_ms(const struct conf_egress *e)
{
	return e->idle_ms;
}

static int generations;

struct generation *generation_ref(struct generation *g)
{
	generations++;
	return g;
}

void generation_unref(struct generation *g)
{
	generations -= g != NULL;
}

/* --- the world --- */

static struct carry carry;
static struct carry_shared shared;
static struct generation generation;
static struct real *real;
static uint32_t now_s;

static uint32_t clock_s(void)
{
	return now_s;
}

static void say(void *arg, enum conf_severity severity, const char *text)
{
	(void)arg;
	if (severity == CONF_ERROR)
		fprintf(stderr, "%s\n", text);
}

static int begin(void **state)
{
	struct config *config;

	(void)state;
	n_dials = n_cancelled = n_relayed = n_opened = n_passed = n_icmp = 0;
	flows = relay_error = udp_error = generations = 0;
	takes_no_udp = any_goes_by_name = false;
	own = NULL;
	with_flow = (struct ip_port){0};
	now_s = 1000;
	assert_int_equal(conf_parse("t", yaml, strlen(yaml), say, NULL, &config), 0);
	memset(&generation, 0, sizeof generation);
	assert_int_equal(
		policy_build(&(struct policy_build_config){.config = config}, &generation.policy),
		0);
	conf_free(config);
	memset(&carry, 0, sizeof carry);
	assert_int_equal(loop_new(&carry.c.loop), 0);
	assert_int_equal(seen_new(64, &shared.seen), 0);
	carry.c.shared = &shared;
	carry.c.clock_s = clock_s;
	carry.c.sniff = CONF_SNIFF_TLS | CONF_SNIFF_HTTP | CONF_SNIFF_QUIC;
	carry.gen = &generation;
	assert_int_equal(real_new(&carry, &real), 0);
	return 0;
}

static int end(void **state)
{
	(void)state;
	real_stop(real);
	HAND_UNTIL(real_idle(real), assert_int_equal(loop_turn(carry.c.loop, 1), 0));
	real_free(real);
	assert_int_equal(generations, 0);
	loop_free(carry.c.loop);
	seen_free(shared.seen);
	policy_unref(generation.policy);
	return 0;
}

static void turns_ms(int64_t ms)
{
	while (ms-- > 0) {
		hand_clock_move_ms(1);
		assert_int_equal(loop_turn(carry.c.loop, 0), 0);
	}
}

static void told(const char *client, const char *address, const char *text)
{
	struct ip_port c = at_of(client), a = at_of(address);
	struct dns_name name;

	assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
	real_told(&carry, &c.addr, &a.addr, &name, 60);
}

/* A client's connection; its end of it. */
static int come_from(const char *client, const char *to)
{
	struct ip_port c = at_of(client), t = at_of(to);
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	real_accepted(real, fds[0], &c, &t);
	return fds[1];
}

static bool is_closed(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	return poll(&p, 1, 0) == 1 && recv(fd, &byte, 1, 0) <= 0;
}

static bool is_at(const struct egress_target *t, const char *text)
{
	struct ip_port p = at_of(text);

	return same(&t->at, &p) && !t->host[0];
}

static struct stage_bytes hello, records;

static void make_tls(const char *host)
{
	hello.len = records.len = 0;
	stage_hello(&hello, host, strlen(host), 0, 100);
	stage_records(&records, hello.b, hello.len, 16000);
}

/* --- whose name --- */

static void the_name_that_was_told(void **state)
{
	int fd;

	(void)state;
	told(CLIENT, SERVER, "www.proxy.test");
	told("10.1.1.2:1", SERVER, "www.near.test"); /* another client */
	fd = come_from(CLIENT, SERVER);
	/* At once: nothing needs to be looked at. */
	assert_int_equal(n_dials, 1);
	assert_int_equal(dials[0].egress, PROXY);
	assert_string_equal(dials[0].target.host, "www.proxy.test");
	assert_int_equal(dials[0].target.at.port, 443);
	assert_int_equal(dials[0].target.at.addr.family, IP_NONE);
	assert_int_equal(dials[0].target.client.family, IP_V4);
	assert_false(dials[0].target.client_is_host);
	dial_end(0, 0);
	assert_int_equal(n_relayed, 1);
	assert_int_equal(relayed.first_len, 0);
	assert_int_equal(relayed.idle_ms, 1000 + PROXY);
	assert_int_equal(relayed.number, UINT32_MAX);
	assert_int_equal(flows, 1);
	assert_true(real_idle(real));
	close(relayed.client_fd);
	close(fd);
}

static void the_name_in_the_first_bytes(void **state)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: www.proxy.test\r\n\r\n";
	int fd;

	(void)state;
	make_tls("www.proxy.test");
	for (int tls = 0; tls < 2; tls++) {
		const void *data = tls ? (const void *)records.b : request;
		size_t len = tls ? records.len : strlen(request);

		n_dials = 0;
		fd = come_from(CLIENT, SERVER);
		turns_ms(20);
		assert_int_equal(n_dials, 0);
		/* In two pieces. */
		assert_int_equal(write(fd, data, 10), 10);
		turns_ms(20);
		assert_int_equal(n_dials, 0);
		assert_int_equal(write(fd, (const char *)data + 10, len - 10), len - 10);
		turns_ms(20);
		assert_int_equal(n_dials, 1);
		assert_int_equal(dials[0].egress, PROXY);
		assert_string_equal(dials[0].target.host, "www.proxy.test");
		/* More comes meanwhile; it stays in the socket. */
		assert_int_equal(write(fd, "more", 4), 4);
		dial_end(0, 0);
		assert_int_equal(relayed.first_len, len);
		assert_memory_equal(first, data, len);
		close(relayed.client_fd);
		close(fd);
	}
}

static void bytes_that_are_there_already(void **state)
{
	struct ip_port c = at_of(CLIENT), t = at_of(SERVER);
	int fds[2];

	(void)state;
	make_tls("www.near.test");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(write(fds[1], records.b, records.len), records.len);
	real_accepted(real, fds[0], &c, &t);
	assert_int_equal(n_dials, 1);
	/* A direct egress gets the address that the client has. */
	assert_int_equal(dials[0].egress, DIRECT);
	assert_true(is_at(&dials[0].target, SERVER));
	dial_end(0, 0);
	assert_int_equal(relayed.first_len, records.len);
	close(relayed.client_fd);
	close(fds[1]);
}

static void several_names(void **state)
{
	int fd;

	(void)state;
	told(CLIENT, SERVER, "www.no.test");
	told(CLIENT, SERVER, "www.near.test"); /* the latest */
	/* The sniffed one decides. */
	make_tls("www.proxy.test");
	fd = come_from(CLIENT, SERVER);
	assert_int_equal(n_dials, 0);
	assert_int_equal(write(fd, records.b, records.len), records.len);
	turns_ms(20);
	assert_int_equal(dials[0].egress, PROXY);
	dial_end(0, -ECONNREFUSED);
	assert_true(is_closed(fd));
	close(fd);
	/* Else the latest. */
	fd = come_from(CLIENT, SERVER);
	assert_int_equal(write(fd, "SSH-2.0-x\r\n", 11), 11);
	turns_ms(20);
	assert_int_equal(n_dials, 2);
	assert_int_equal(dials[1].egress, DIRECT);
	dial_end(1, -ECONNREFUSED);
	close(fd);
}

/* It asks by IPv4 and connects by IPv6: known, if nobody else was told otherwise; what it says
 * decides, though. */
static void a_client_of_two_families(void **state)
{
	int fd;

	(void)state;
	told(CLIENT, "[2001:db8::5]:443", "www.near.test");
	fd = come_from("[fd00::1]:4001", "[2001:db8::5]:443");
	assert_int_equal(n_dials, 0);
	assert_int_equal(write(fd, "SSH-2.0-x\r\n", 11), 11);
	turns_ms(20);
	assert_int_equal(n_dials, 1);
	assert_int_equal(dials[0].egress, DIRECT);
	dial_end(0, -ECONNREFUSED);
	close(fd);
	make_tls("www.proxy.test");
	fd = come_from("[fd00::1]:4001", "[2001:db8::5]:443");
	assert_int_equal(write(fd, records.b, records.len), records.len);
	turns_ms(20);
	assert_int_equal(dials[1].egress, PROXY);
	dial_end(1, -ECONNREFUSED);
	close(fd);
	/* Who was told by his own family is nobody else. */
	told("[fd00::2]:4001", "[2001:db8::6]:443", "www.near.test");
	fd = come_from("[fd00::1]:4001", "[2001:db8::6]:443");
	assert_int_equal(n_dials, 2);
	assert_int_equal(write(fd, "SSH-2.0-x\r\n", 11), 11);
	turns_ms(20);
	assert_int_equal(dials[2].egress, EGRESS_DIRECT);
	dial_end(2, -ECONNREFUSED);
	close(fd);
}

static void a_server_that_speaks_first(void **state)
{
	int64_t began = clock_ms();
	int fd = come_from(CLIENT, SERVER), console = come_from("10.9.1.1:4001", SERVER);

	(void)state;
	while (n_dials < 2 && clock_ms() < began + 2000)
		turns_ms(1);
	assert_in_range(clock_ms() - began, 250, 350);
	for (unsigned i = 0; i < 2; i++) {
		bool proxied = dials[i].egress == PROXY;

		/* By this host's own routes, or by the rule that needs no name. */
		assert_true(proxied || dials[i].egress == EGRESS_DIRECT);
		assert_true(is_at(&dials[i].target, SERVER));
	}
	assert_int_not_equal(dials[0].egress, dials[1].egress);
	dial_end(0, 0);
	close(relayed.client_fd);
	dial_end(1, 0);
	close(relayed.client_fd);
	assert_int_equal(relayed.first_len, 0);
	assert_int_equal(flows, 2);
	close(fd);
	close(console);
}

/* It has sent all that it will: that is passed on, and its end as well. */
static void a_client_that_says_little(void **state)
{
	int fd = come_from(CLIENT, SERVER);

	(void)state;
	assert_int_equal(write(fd, "\x16\3\1", 3), 3);
	shutdown(fd, SHUT_WR);
	turns_ms(20);
	assert_int_equal(n_dials, 1);
	assert_int_equal(dials[0].egress, EGRESS_DIRECT);
	dial_end(0, 0);
	assert_int_equal(relayed.first_len, 3);
	assert_memory_equal(first, "\x16\3\1", 3);
	assert_int_equal(relayed.idle_ms, 1099);
	close(relayed.client_fd);
	close(fd);
}

static void a_head_that_does_not_end(void **state)
{
	int fd = come_from(CLIENT, SERVER);
	char lines[6000] = "GET / HTTP/1.1\r\n";

	(void)state;
	for (size_t n = strlen(lines); n + 8 < sizeof lines; n += 7)
		memcpy(lines + n, "A: bc\r\n", 8);
	assert_int_equal(write(fd, lines, 5900), 5900);
	turns_ms(20);
	assert_int_equal(n_dials, 1);
	dial_end(0, 0);
	/* As much as there is room for; the rest is still in the socket. */
	assert_int_equal(relayed.first_len, 4096);
	assert_memory_equal(first, lines, 4096);
	close(relayed.client_fd);
	close(fd);
}

static void nothing_is_sniffed(void **state)
{
	int fd;

	(void)state;
	carry.c.sniff = 0;
	told(CLIENT, SERVER, "www.near.test");
	told(CLIENT, SERVER, "www.proxy.test");
	fd = come_from(CLIENT, SERVER);
	assert_int_equal(n_dials, 1);
	assert_int_equal(dials[0].egress, PROXY);
	dial_end(0, -EACCES);
	close(fd);
}

/* --- where it goes --- */

static void refused(void **state)
{
	static const char *const names[] = {"www.no.test", "www.nobody.test"};
	struct ip_port self = at_of(SERVER);
	int fd;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		told(CLIENT, i ? "203.0.113.6:443" : SERVER, names[i]);
		fd = come_from(CLIENT, i ? "203.0.113.6:443" : SERVER);
		assert_true(is_closed(fd));
		close(fd);
	}
	/* Never ourselves. */
	own = &self.addr;
	fd = come_from(CLIENT, SERVER);
	assert_true(is_closed(fd));
	close(fd);
	assert_int_equal(n_dials, 0);
	assert_int_equal(carry.counters.refused, 3);
	assert_true(real_idle(real));
}

static void a_groups_choice(void **state)
{
	int fd;

	(void)state;
	told(CLIENT, SERVER, "www.any.test");
	fd = come_from(CLIENT, SERVER);
	assert_int_equal(dials[0].egress, PROXY);
	assert_string_equal(dials[0].target.host, "www.any.test");
	dial_end(0, -ELOOP);
	assert_int_equal(carry.counters.loops, 1);
	assert_true(is_closed(fd));
	close(fd);
	/* Its members are tried in turn where all take a name. */
	any_goes_by_name = true;
	fd = come_from(CLIENT, SERVER);
	assert_int_equal(dials[1].egress, ANY);
	dial_end(1, -ETIMEDOUT);
	close(fd);
}

static void a_full_relay(void **state)
{
	int fd;

	(void)state;
	told(CLIENT, SERVER, "www.near.test");
	relay_error = -ENOSPC;
	fd = come_from(CLIENT, SERVER);
	dial_end(0, 0);
	assert_int_equal(flows, 0);
	assert_int_equal(carry.counters.overflow, 1);
	close(fd);
}

static void the_end(void **state)
{
	int sniffed = come_from(CLIENT, SERVER), dialled, late;

	(void)state;
	told(CLIENT, "203.0.113.6:443", "www.proxy.test");
	dialled = come_from(CLIENT, "203.0.113.6:443");
	real_stop(real);
	turns_ms(20);
	assert_true(real_idle(real));
	assert_int_equal(n_cancelled, 1);
	late = come_from(CLIENT, SERVER);
	assert_true(is_closed(sniffed));
	assert_true(is_closed(dialled));
	assert_true(is_closed(late));
	close(sniffed);
	close(dialled);
	close(late);
}

/* --- datagrams --- */

static void datagram(const char *client, const char *to, const void *data, size_t len)
{
	struct udp_datagram d = {.client = at_of(client), .to = at_of(to), .len = len};
	uint8_t *copy = malloc(len + 1);

	memcpy(copy, data, len);
	d.payload = copy;
	if (!udp_relay_real(NULL, &d))
		real_datagram(real, &d);
	free(copy);
}

static void text_to(const char *client, const char *to, const char *text)
{
	datagram(client, to, text, strlen(text));
}

static void assert_port_unreachable(const char *client, const char *to, const char *text)
{
	struct ip_port c = at_of(client), t = at_of(to);
	struct ip_addr source, target;
	struct tun_packet p, quoted;

	assert_int_equal(n_icmp, 1);
	n_icmp = 0;
	assert_int_equal(tun_packet_parse(icmp, sizeof icmp, &p), 0);
	assert_true(tun_packet_checksum_ok(&p));
	assert_int_equal(icmp[p.transport], p.family == IP_V4 ? 3 : 1);
	assert_int_equal(icmp[p.transport + 1], p.family == IP_V4 ? 3 : 4);
	source = tun_packet_source(&p);
	target = tun_packet_target(&p);
	assert_true(ip_addr_equal(&source, &t.addr));
	assert_true(ip_addr_equal(&target, &c.addr));
	assert_int_equal(tun_packet_parse(icmp + p.payload, p.payload_len, &quoted), 0);
	assert_true(tun_packet_checksum_ok(&quoted));
	assert_int_equal(quoted.source_port, c.port);
	assert_int_equal(quoted.target_port, t.port);
	assert_int_equal(quoted.payload_len, strlen(text));
	assert_memory_equal(quoted.data + quoted.payload, text, strlen(text));
}

static void datagrams_by_what_was_told(void **state)
{
	(void)state;
	told(CLIENT, SERVER, "www.proxy.test");
	text_to(CLIENT, SERVER, "one");
	assert_int_equal(n_opened, 1);
	assert_int_equal(opened.egress, PROXY);
	assert_int_equal(opened.idle_ms, 1000 + PROXY);
	assert_string_equal(opened_name, "www.proxy.test");
	assert_int_equal(n_passed, 1);
	assert_memory_equal(passed[0], "one", 3);
	text_to(CLIENT, SERVER, "two");
	assert_int_equal(n_opened, 1);
	assert_int_equal(n_passed, 2);
	/* Without a name: this host's routes, or a rule that needs none. */
	text_to("10.1.1.1:4002", "203.0.113.9:3478", "stun");
	assert_int_equal(opened.egress, EGRESS_DIRECT);
	assert_int_equal(opened.idle_ms, 1099);
	assert_string_equal(opened_name, "");
	text_to("10.9.1.1:4002", "203.0.113.9:3478", "stun");
	assert_int_equal(opened.egress, PROXY);
	assert_string_equal(opened_name, "");
	/* A direct egress needs none. */
	told(CLIENT, "203.0.113.7:443", "www.near.test");
	text_to("10.1.1.1:4005", "203.0.113.7:443", "one");
	assert_int_equal(opened.egress, DIRECT);
	assert_string_equal(opened_name, "");
	assert_int_equal(n_icmp, 0);
}

static void rejected_datagrams(void **state)
{
	static const struct {
		const char *name, *to;
		bool taken;
	} v[] = {
		{"a.no.test", "203.0.113.20:53", false},
		{"a.nobody.test", "203.0.113.21:53", false},
		{"a.web.test", "203.0.113.22:53", false},
		{"a.noquic.test", "203.0.113.23:443", false},
		{"b.noquic.test", "203.0.113.24:53", true},
		{"six.no.test", "[2001:db8::5]:53", false},
	};
	struct ip_port self = at_of("203.0.113.30:53");

	(void)state;
	for (unsigned i = 0; i < sizeof v / sizeof v[0]; i++) {
		const char *client = v[i].to[0] == '[' ? "[2001:db8:1::1]:4001" : CLIENT;

		with_flow = (struct ip_port){0};
		n_opened = 0;
		told(client, v[i].to, v[i].name);
		text_to(client, v[i].to, "a question");
		assert_int_equal(n_opened, v[i].taken);
		if (v[i].taken)
			assert_int_equal(n_icmp, 0);
		else
			assert_port_unreachable(client, v[i].to, "a question");
	}
	with_flow = (struct ip_port){0};
	takes_no_udp = true;
	text_to("10.9.1.1:1", SERVER, "x");
	assert_port_unreachable("10.9.1.1:1", SERVER, "x");
	takes_no_udp = false;
	udp_error = -ENOSPC;
	text_to("10.9.1.1:1", SERVER, "x");
	assert_port_unreachable("10.9.1.1:1", SERVER, "x");
	assert_int_equal(carry.counters.overflow, 1);
	udp_error = 0;
	own = &self.addr;
	text_to("10.9.1.1:1", "203.0.113.30:53", "x");
	assert_port_unreachable("10.9.1.1:1", "203.0.113.30:53", "x");
}

/* The hello as a client sends it, in so many datagrams. */
static struct stage_bytes quic[3];

static void make_quic(const char *host, unsigned n, const char *dcid)
{
	struct stage_initial how = {
		.version = 1, .dcid = dcid, .scid = "src", .number_size = 1, .padded = 1200};
	size_t step;

	hello.len = 0;
	stage_hello(&hello, host, strlen(host), 600, 200);
	step = (hello.len + n - 1) / n;
	for (unsigned i = 0; i < n; i++) {
		size_t from = i * step, len = hello.len - from < step ? hello.len - from : step;
		static struct stage_bytes frames;

		frames.len = quic[i].len = 0;
		how.number = i;
		stage_crypto(&frames, from, hello.b + from, len);
		stage_seal(&quic[i], &how, frames.b, frames.len);
	}
}

static void the_name_of_quic(void **state)
{
	(void)state;
	make_quic("www.proxy.test", 1, "destinat");
	datagram(CLIENT, SERVER, quic[0].b, quic[0].len);
	assert_int_equal(n_opened, 1);
	assert_string_equal(opened_name, "www.proxy.test");
	/* In two datagrams, what comes between goes where they go. */
	make_quic("www.any.test", 2, "estinati");
	datagram("10.1.1.1:4002", SERVER, quic[0].b, quic[0].len);
	assert_int_equal(n_opened, 1);
	text_to("10.1.1.1:4002", "203.0.113.9:9", "between");
	datagram("10.1.1.1:4002", SERVER, quic[1].b, quic[1].len);
	assert_int_equal(n_opened, 2);
	assert_int_equal(opened.egress, PROXY);
	assert_string_equal(opened_name, "www.any.test");
	assert_int_equal(n_passed, 4);
	assert_memory_equal(passed[1], quic[0].b, quic[0].len);
	assert_memory_equal(passed[2], "between", 7);
	assert_memory_equal(passed[3], quic[1].b, quic[1].len);
	turns_ms(400);
	assert_int_equal(n_opened, 2);
	/* A name that QUIC is not carried for: both are told. */
	make_quic("www.noquic.test", 2, "stinatio");
	datagram("10.1.1.1:4003", SERVER, quic[0].b, quic[0].len);
	assert_int_equal(n_icmp, 0);
	datagram("10.1.1.1:4003", SERVER, quic[1].b, quic[1].len);
	assert_int_equal(n_icmp, 2);
	assert_int_equal(n_opened, 2);
}

static void a_hello_that_stays_away(void **state)
{
	int64_t began = clock_ms();

	(void)state;
	make_quic("www.proxy.test", 2, "destinat");
	told(CLIENT, SERVER, "www.no.test");
	told(CLIENT, SERVER, "www.near.test");
	datagram(CLIENT, SERVER, quic[0].b, quic[0].len);
	while (!n_opened && clock_ms() < began + 2000)
		turns_ms(1);
	assert_in_range(clock_ms() - began, 250, 350);
	assert_int_equal(opened.egress, DIRECT); /* the latest that was told */
	assert_int_equal(n_passed, 1);
	/* Four are held; the fifth ends it. */
	n_opened = n_passed = 0;
	for (unsigned i = 0; i < 4; i++)
		datagram("10.1.1.1:4002", SERVER, quic[0].b, quic[0].len);
	assert_int_equal(n_opened, 0);
	datagram("10.1.1.1:4002", SERVER, quic[0].b, quic[0].len);
	assert_int_equal(n_opened, 1);
	assert_int_equal(n_passed, 5);
}

static void held_sockets_are_bounded(void **state)
{
	char client[32];

	(void)state;
	make_quic("www.proxy.test", 2, "destinat");
	for (unsigned i = 0; i < 40; i++) {
		snprintf(client, sizeof client, "10.1.1.1:%u", 5000 + i);
		datagram(client, SERVER, quic[0].b, quic[0].len);
	}
	assert_int_equal(n_opened, 8); /* those are carried by what is known */
	real_stop(real);
	datagram("10.1.1.1:6000", SERVER, quic[0].b, quic[0].len);
	assert_int_equal(n_opened, 8);
}

static void datagrams_that_are_not_sniffed(void **state)
{
	(void)state;
	make_quic("www.proxy.test", 2, "destinat");
	carry.c.sniff = CONF_SNIFF_TLS;
	datagram(CLIENT, SERVER, quic[0].b, quic[0].len);
	assert_int_equal(n_opened, 1);
	assert_int_equal(opened.egress, EGRESS_DIRECT);
	carry.c.sniff = CONF_SNIFF_QUIC;
	datagram("10.1.1.1:4002", SERVER, "", 0);
	assert_int_equal(n_opened, 2);
	datagram("10.1.1.1:4003", SERVER, "\xc0", 1);
	assert_int_equal(n_opened, 3);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_name_that_was_told),
		TEST(the_name_in_the_first_bytes),
		TEST(bytes_that_are_there_already),
		TEST(several_names),
		TEST(a_client_of_two_families),
		TEST(a_server_that_speaks_first),
		TEST(a_client_that_says_little),
		TEST(a_head_that_does_not_end),
		TEST(nothing_is_sniffed),
		TEST(refused),
		TEST(a_groups_choice),
		TEST(a_full_relay),
		TEST(the_end),
		TEST(datagrams_by_what_was_told),
		TEST(rejected_datagrams),
		TEST(the_name_of_quic),
		TEST(a_hello_that_stays_away),
		TEST(held_sockets_are_bounded),
		TEST(datagrams_that_are_not_sniffed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
