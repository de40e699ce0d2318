/* Packets to fake addresses: held until the kernel can carry them, then put back; or answered with
 * what the sender must know. Upstream and the writer are the stage's, the way out is played here.
 */
#include "tests/unit/dns_packet.h"
#include "tests/unit/query_stage.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#include "gateway/carry/carry.h"
#include "gateway/carry/verdict.h"
#include "gateway/tun/packet.h"

#define LAN	 5 /* an interface */
#define TUN_FD	 77
#define OUT_MAX	 1200
#define DECIDING 512 /* bounds of carry.c */
#define HELD	 8

static const char yaml[] =
	"gateway: { lan: [lan0] }\n"
	"fakeip: { pool4: 198.18.0.0/15, pool6: 'fd00::/64', store: '' }\n"
	"upstreams:\n"
	"  one: { servers: udp://192.0.2.53 }\n"
	"  two: { servers: udp://192.0.2.54 }\n"
	"egress:\n"
	"  direct: { type: direct, upstream: one }\n"
	"  vpn: { type: direct, upstream: two, mark: 0x10 }\n"
	"rules:\n"
	"  - { name: no, domain: [no.test], answer: block }\n"
	"  - { name: vpn, domain: [vpn.test], answer: fake, egress: vpn }\n"
	"  - { name: now-real, domain: [real.test], answer: real, upstream: one }\n"
	"  - { name: fake, domain: [fake.test], answer: fake, egress: direct }\n";

/* --- the way out --- */

struct sent {
	bool error; /* by inject_error(), else put back */
	bool own;
	int tun_fd;
	unsigned ifindex;
	size_t len;
	uint8_t packet[1500];
};
static struct sent sent[OUT_MAX];
static size_t n_sent;
static int put_back_error;

static int take(
	bool error, int tun_fd, const uint8_t *packet, size_t len, unsigned ifindex, bool own)
{
	struct sent *s = &sent[n_sent++];

	assert_in_range(n_sent, 1, OUT_MAX);
	assert_in_range(len, 20, sizeof s->packet);
	*s = (struct sent){
		.error = error, .own = own, .tun_fd = tun_fd, .ifindex = ifindex, .len = len};
	memcpy(s->packet, packet, len);
	return 0;
}

int inject_put_back(
	struct inject *i, int tun_fd, const uint8_t *packet, size_t len, unsigned ifindex, bool own)
{
	(void)i;
	return put_back_error ? put_back_error : take(false, tun_fd, packet, len, ifindex, own);
}

int inject_error(struct inject *i, int tun_fd, const uint8_t *packet, size_t len, unsigned ifindex)
{
	(void)i;
	return take(true, tun_fd, packet, len, ifindex, false);
}

/* --- the world --- */

struct world {
	struct stage *s;
	struct carry *carry;
	uint8_t v4[4], v6[16]; /* of www.fake.test */
};

static struct stage *current;
static struct packet response;

static uint32_t clock_s(void)
{
	return (uint32_t)(current->now_ms / 1000);
}

static struct fakeip_pair map(struct stage *s, const char *text, const char *rule)
{
	struct dns_name name = name_of(text);
	struct fakeip_pair pair;

	assert_int_equal(fakeip_assign(s->fakeip, name.b, name.len, dns_name_hash(&name, 7), 0,
				 policy_id(rule), clock_s(), &pair),
		0);
	return pair;
}

static int open_world(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct carry_config config = {.clock_s = clock_s, .tun_fd = TUN_FD};
	struct fakeip_pair pair;

	assert_non_null(w);
	w->s = current = stage_open(yaml, 0);
	config.fakeip = w->s->fakeip;
	assert_int_equal(carry_new(&config, &w->carry), 0);
	carry_use(w->carry, w->s->gen);
	pair = map(w->s, "www.fake.test", "fake");
	memcpy(w->v4, pair.v4, 4);
	memcpy(w->v6, pair.v6, 16);
	n_sent = 0;
	put_back_error = 0;
	*state = w;
	return 0;
}

static int close_world(void **state)
{
	struct world *w = *state;

	assert_true(carry_idle(w->carry));
	carry_free(w->carry);
	stage_close(w->s);
	free(w);
	return 0;
}

/* --- packets --- */

static uint8_t packet[16384];
static size_t packet_len;

static void checksum4(uint8_t *p)
{
	uint16_t sum;

	p[10] = p[11] = 0;
	sum = tun_packet_checksum(p, 20);
	memcpy(p + 10, &sum, 2);
}

/* From 10.1.1.1 or fd01::1, port 4001, to port 80 of target, with `size` bytes behind the IP
 * header. */
static uint8_t *build(const uint8_t *target, bool v6, unsigned protocol, size_t size)
{
	size_t ip = v6 ? 40 : 20;
	uint8_t *upper = packet + ip;

	memset(packet, 0, ip + size);
	packet_len = ip + size;
	if (v6) {
		packet[0] = 0x60;
		packet[4] = (uint8_t)(size >> 8);
		packet[5] = (uint8_t)size;
		packet[6] = (uint8_t)protocol;
		packet[7] = 64;
		memcpy(packet + 8, "\xfd\1\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
		memcpy(packet + 24, target, 16);
	} else {
		packet[0] = 0x45;
		packet[2] = (uint8_t)(packet_len >> 8);
		packet[3] = (uint8_t)packet_len;
		packet[8] = 64;
		packet[9] = (uint8_t)protocol;
		memcpy(packet + 12, "\12\1\1\1", 4);
		memcpy(packet + 16, target, 4);
		checksum4(packet);
	}
	upper[0] = 4001 >> 8;
	upper[1] = 4001 & 255;
	upper[3] = 80;
	return upper;
}

static void finish(void)
{
	struct tun_packet p;

	assert_int_equal(tun_packet_parse(packet, packet_len, &p), 0);
	tun_packet_checksum_set(&p);
}

static void build_tcp(const uint8_t *target, bool v6, unsigned flags, uint32_t seq)
{
	uint8_t *tcp = build(target, v6, IPPROTO_TCP, 20);

	tcp[4] = (uint8_t)(seq >> 24);
	tcp[7] = (uint8_t)seq;
	tcp[12] = 0x50;
	tcp[13] = (uint8_t)flags;
	finish();
}

static void build_udp(const uint8_t *target, bool v6, size_t payload)
{
	uint8_t *udp = build(target, v6, IPPROTO_UDP, 8 + payload);

	udp[4] = (uint8_t)((8 + payload) >> 8);
	udp[5] = (uint8_t)(8 + payload);
	finish();
}

static void build_echo(const uint8_t *target, bool v6)
{
	uint8_t *icmp = build(target, v6, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, 8);

	memset(icmp, 0, 8);
	icmp[0] = v6 ? 128 : 8;
	finish();
}

static void give(struct world *w, unsigned ifindex)
{
	uint8_t *copy = exact(packet, packet_len);

	carry_packet(w->carry, copy, packet_len, ifindex);
	free(copy);
}

/* --- what came out --- */

static struct tun_packet parse_sent(size_t i)
{
	struct tun_packet p;

	assert_in_range(i, 0, n_sent - 1);
	assert_int_equal(tun_packet_parse(sent[i].packet, sent[i].len, &p), 0);
	assert_true(tun_packet_checksum_ok(&p));
	return p;
}

/* The i-th that went out is an ICMP error to the client, from the fake address. */
static void assert_icmp(size_t i, unsigned type, unsigned code)
{
	struct tun_packet p = parse_sent(i);

	assert_true(sent[i].error);
	assert_int_equal(p.protocol, p.family == IP_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	assert_int_equal(sent[i].packet[p.transport], type);
	assert_int_equal(sent[i].packet[p.transport + 1], code);
}

static void assert_host_unreachable(size_t i)
{
	if (sent[i].packet[0] >> 4 == 4)
		assert_icmp(i, 3, 1);
	else
		assert_icmp(i, 1, 3);
}

static void assert_reset(size_t i)
{
	struct tun_packet p = parse_sent(i);

	assert_true(sent[i].error);
	assert_int_equal(p.protocol, IPPROTO_TCP);
	assert_int_equal(p.source_port, 80);
	assert_int_equal(p.target_port, 4001);
	assert_true(sent[i].packet[p.transport + 13] & TUN_TCP_RST);
}

static void assert_put_back(size_t i, const uint8_t *bytes, size_t len)
{
	assert_in_range(i, 0, n_sent - 1);
	assert_false(sent[i].error);
	assert_int_equal(sent[i].len, len);
	assert_memory_equal(sent[i].packet, bytes, len);
}

/* --- upstream --- */

static void answer(
	struct world *w, const char *name, unsigned n, const uint32_t *addresses, uint32_t ttl_s)
{
	put_header(&response, 1, DNS_QR | DNS_RD | DNS_RA, COUNTS(1, n, 0, 0));
	put_question(&response, name, DNS_A, 1);
	for (unsigned i = 0; i < n; i++)
		put_a(&response, "@12", ttl_s, addresses[i]);
	assert_int_equal(dns_response_check(response.b, response.len), 0);
	stage_answer(w->s, response.b, response.len, 0);
}

static void answer_one(struct world *w, uint32_t address, uint32_t ttl_s)
{
	answer(w, "www.fake.test", 1, &address, ttl_s);
}

static uint64_t counter(const _Atomic uint64_t *c)
{
	return *c;
}
#define COUNTER(w, name) counter(&carry_counters((w)->carry)->name)

#define REAL 0xc0000205 /* 192.0.2.5 */

/* --- carried --- */

static void a_first_packet_waits_for_the_kernel(void **state)
{
	struct world *w = *state;
	const struct writer_element *e;
	uint8_t syn[40];

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	memcpy(syn, packet, sizeof syn);
	give(w, 0);
	assert_int_equal(w->s->n_asked, 1);
	assert_int_equal(w->s->asked[0].type, DNS_A);
	assert_int_equal(w->s->asked[0].group, 0);
	assert_int_equal(w->s->asked[0].name.len, 15);
	assert_memory_equal(w->s->asked[0].name.b, "\3www\4fake\4test", 15);
	assert_false(carry_idle(w->carry));
	answer_one(w, REAL, 300);
	assert_int_equal(n_sent, 0);
	assert_int_equal(w->s->job->n, 1);
	e = &w->s->job->elements[0];
	assert_int_equal(e->op, WRITER_NAT_SET);
	assert_memory_equal(e->addr.b, w->v4, 4);
	assert_memory_equal(e->real.b, "\300\0\2\5", 4);
	assert_int_equal(e->timeout_s, 300);
	stage_written(w->s, 0);
	assert_int_equal(n_sent, 1);
	assert_put_back(0, syn, sizeof syn);
	assert_int_equal(sent[0].tun_fd, TUN_FD);
	assert_int_equal(sent[0].ifindex, 0);
	assert_false(sent[0].own);
	assert_int_equal(COUNTER(w, decided), 1);
	assert_int_equal(COUNTER(w, packets), 1);
	assert_true(carry_idle(w->carry));
}

static void the_other_family(void **state)
{
	struct world *w = *state;

	build_tcp(w->v6, true, TUN_TCP_SYN, 1);
	give(w, LAN);
	assert_int_equal(w->s->asked[0].type, DNS_AAAA);
	put_header(&response, 1, DNS_QR, COUNTS(1, 2, 0, 0));
	put_question(&response, "www.fake.test", DNS_AAAA, 1);
	/* A v4-mapped address is no IPv6 address. */
	put_record(&response, "@12", DNS_AAAA, 60, 16);
	put_bytes(&response, "\0\0\0\0\0\0\0\0\0\0\xff\xff\300\0\2\5", 16);
	put_record(&response, "@12", DNS_AAAA, 60, 16);
	put_bytes(&response, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\5", 16);
	stage_answer(w->s, response.b, response.len, 0);
	assert_int_equal(w->s->job->elements[0].addr.family, IP_V6);
	assert_int_equal(w->s->job->elements[0].real.family, IP_V6);
	assert_int_equal(w->s->job->elements[0].real.b[15], 5);
	stage_written(w->s, 0);
	assert_put_back(0, packet, packet_len);
	assert_int_equal(sent[0].ifindex, LAN);
}

static void an_egress_with_a_mark(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = map(w->s, "www.vpn.test", "vpn");
	uint32_t real = REAL;

	build_udp(pair.v4, false, 4);
	give(w, 0);
	assert_int_equal(w->s->asked[0].group, 1); /* the egress's upstream */
	answer(w, "www.vpn.test", 1, &real, 300);
	assert_int_equal(w->s->job->n, 2);
	assert_int_equal(w->s->job->elements[0].op, WRITER_MARK_SET);
	assert_int_equal(w->s->job->elements[0].number, 1);
	assert_memory_equal(w->s->job->elements[0].addr.b, pair.v4, 4);
	assert_int_equal(w->s->job->elements[1].op, WRITER_NAT_SET);
	stage_written(w->s, 0);
	assert_put_back(0, packet, packet_len);
}

static void timeouts_follow_the_ttl_within_bounds(void **state)
{
	static const uint32_t ttls[][2] = {{0, 60}, {61, 61}, {86400, 3600}};
	struct world *w = *state;

	for (size_t i = 0; i < 3; i++) {
		build_tcp(w->v4, false, TUN_TCP_SYN, 1);
		give(w, 0);
		answer_one(w, REAL, ttls[i][0]);
		assert_int_equal(w->s->job->elements[0].timeout_s, ttls[i][1]);
		stage_written(w->s, 0);
	}
}

static void packets_that_wait_keep_their_order(void **state)
{
	struct world *w = *state;
	uint8_t held[HELD][64];
	size_t len[HELD];

	for (unsigned i = 0; i < HELD; i++) {
		if (i == 3)
			build_echo(w->v4, false);
		else if (i % 2)
			build_udp(w->v4, false, i);
		else
			build_tcp(w->v4, false, TUN_TCP_SYN, i);
		memcpy(held[i], packet, packet_len);
		len[i] = packet_len;
		give(w, i == 5 ? LAN : 0);
	}
	assert_int_equal(COUNTER(w, overflow), 0);
	give(w, 0); /* one too many */
	assert_int_equal(COUNTER(w, overflow), 1);
	assert_int_equal(w->s->n_asked, 1);
	answer_one(w, REAL, 60);
	build_udp(w->v4, false, 1);
	give(w, 0); /* while the writer works: still too many */
	assert_int_equal(COUNTER(w, overflow), 2);
	stage_written(w->s, 0);
	assert_int_equal(n_sent, HELD);
	for (size_t i = 0; i < HELD; i++) {
		assert_put_back(i, held[i], len[i]);
		assert_int_equal(sent[i].ifindex, i == 5 ? LAN : 0);
	}
}

static void two_addresses_are_decided_apart(void **state)
{
	struct world *w = *state;
	struct fakeip_pair other = map(w->s, "other.fake.test", "fake");

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	build_tcp(other.v4, false, TUN_TCP_SYN, 2);
	give(w, 0);
	build_tcp(w->v6, true, TUN_TCP_SYN, 3);
	give(w, 0);
	assert_int_equal(w->s->n_asked, 3);
	answer_one(w, REAL, 60);
	stage_written(w->s, 0);
	assert_int_equal(n_sent, 1);
	assert_int_equal(sent[0].packet[27], 1);
	stage_answer(w->s, NULL, 0, -ETIMEDOUT);
	stage_answer(w->s, NULL, 0, -ETIMEDOUT);
	assert_int_equal(n_sent, 3);
}

static void packets_of_this_host(void **state)
{
	struct world *w = *state;

	w->s->own = stage_origin("10.1.1.1", false).client.addr;
	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	answer_one(w, REAL, 60);
	stage_written(w->s, 0);
	assert_true(sent[0].own);
}

/* NFLOG sees packets of this machine before the device would have made their checksum. */
static void checksums_are_completed(void **state)
{
	struct world *w = *state;
	uint8_t whole[64];

	build_udp(w->v4, false, 4);
	memcpy(whole, packet, packet_len);
	packet[26] ^= 0xff;
	give(w, LAN);
	answer_one(w, REAL, 60);
	stage_written(w->s, 0);
	assert_put_back(0, whole, packet_len);
}

static void the_queue_can_change_meanwhile(void **state)
{
	struct world *w = *state;

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	carry_set_tun(w->carry, TUN_FD + 1);
	answer_one(w, REAL, 60);
	stage_written(w->s, 0);
	assert_int_equal(sent[0].tun_fd, TUN_FD + 1);
}

/* --- refused --- */

static void nobody_has_this_address(void **state)
{
	struct world *w = *state;

	w->v4[3]++;
	w->v6[15]++;
	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	assert_reset(0);
	build_tcp(w->v6, true, TUN_TCP_SYN, 1);
	give(w, LAN);
	assert_reset(1);
	assert_int_equal(sent[1].ifindex, LAN);
	build_udp(w->v4, false, 5);
	give(w, 0);
	assert_icmp(2, 3, 3);
	build_udp(w->v6, true, 5);
	give(w, 0);
	assert_icmp(3, 1, 4);
	build_echo(w->v4, false);
	give(w, 0);
	assert_icmp(4, 3, 1);
	build_echo(w->v6, true);
	give(w, 0);
	assert_icmp(5, 1, 3);
	build(w->v4, false, 47, 20); /* GRE */
	give(w, 0);
	assert_icmp(6, 3, 1);
	assert_int_equal(n_sent, 7);
	assert_int_equal(COUNTER(w, unmapped), 7);
	assert_int_equal(COUNTER(w, refused), 7);
	assert_int_equal(w->s->n_asked, 0);
	/* A reset is never answered, nor is a later fragment. */
	build_tcp(w->v4, false, TUN_TCP_RST, 1);
	give(w, 0);
	build_udp(w->v4, false, 8);
	packet[7] = 9;
	checksum4(packet);
	give(w, 0);
	assert_int_equal(n_sent, 7);
}

static void a_connection_that_the_kernel_forgot(void **state)
{
	static const unsigned flags[] = {
		TUN_TCP_ACK, TUN_TCP_FIN | TUN_TCP_ACK, TUN_TCP_FIN, 0, TUN_TCP_SYN | TUN_TCP_ACK};
	struct world *w = *state;
	size_t n = sizeof flags / sizeof flags[0];

	for (size_t i = 0; i < n; i++) {
		build_tcp(w->v4, false, flags[i], 1);
		give(w, 0);
		assert_reset(i);
	}
	build_tcp(w->v4, false, TUN_TCP_RST | TUN_TCP_ACK, 1);
	give(w, 0);
	build_tcp(w->v4, false, TUN_TCP_RST | TUN_TCP_SYN, 1);
	give(w, 0);
	assert_int_equal(n_sent, n);
	assert_int_equal(w->s->n_asked, 0);
}

static void a_name_that_cannot_be_resolved(void **state)
{
	struct world *w = *state;

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	build_udp(w->v4, false, 1);
	give(w, LAN);
	stage_answer(w->s, NULL, 0, -ETIMEDOUT);
	assert_int_equal(n_sent, 2);
	assert_host_unreachable(0);
	assert_host_unreachable(1);
	assert_int_equal(sent[1].ifindex, LAN);
	assert_int_equal(COUNTER(w, failed), 1);
	/* Not remembered: the next packet asks again. */
	build_tcp(w->v6, true, TUN_TCP_SYN, 1);
	give(w, 0);
	put_header(&response, 1, DNS_QR | DNS_NXDOMAIN, COUNTS(1, 0, 0, 0));
	put_question(&response, "www.fake.test", DNS_AAAA, 1);
	stage_answer(w->s, response.b, response.len, 0);
	assert_host_unreachable(2);
	/* At once. */
	w->s->ask_error = -ENOBUFS;
	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	assert_host_unreachable(3);
	assert_true(carry_idle(w->carry));
}

static void addresses_that_must_not_be_dialled(void **state)
{
	static const uint32_t bad[] = {
		0,	    /* this host, to the kernel */
		0x00000001, /* 0.0.0.1 */
		0x7f000001, /* loop-back */
		0xc0000263, /* this host's own, below */
		0xc6120009, /* of a pool */
		0xe0000001, /* a group */
		0xffffffff, /* everybody */
	};
	struct world *w = *state;
	size_t n = sizeof bad / sizeof bad[0];
	uint32_t good_behind[2];

	w->s->own = stage_origin("192.0.2.99", false).client.addr;
	for (size_t i = 0; i < n; i++) {
		build_tcp(w->v4, false, TUN_TCP_SYN, 1);
		give(w, 0);
		if (bad[i] == 0x7f000001) /* hosts_contain() knows them all */
			w->s->own = stage_origin("127.0.0.1", false).client.addr;
		answer_one(w, bad[i], 60);
		w->s->own = stage_origin("192.0.2.99", false).client.addr;
		assert_null(w->s->job);
		assert_int_equal(n_sent, i + 1);
		assert_host_unreachable(i);
	}
	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	good_behind[0] = 0;
	good_behind[1] = REAL;
	answer(w, "www.fake.test", 2, good_behind, 60);
	assert_memory_equal(w->s->job->elements[0].real.b, "\300\0\2\5", 4);
	stage_written(w->s, 0);
}

static void ipv6_addresses_that_must_not_be_dialled(void **state)
{
	static const char bad[][17] = {
		"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",	  /* :: */
		"\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\5",	  /* link-local */
		"\xff\2\0\0\0\0\0\0\0\0\0\0\0\0\0\1",	  /* a group */
		"\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\5",	  /* of the pool */
		"\0\0\0\0\0\0\0\0\0\0\xff\xff\300\0\2\5", /* v4-mapped */
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		build_tcp(w->v6, true, TUN_TCP_SYN, 1);
		give(w, 0);
		put_header(&response, 1, DNS_QR, COUNTS(1, 1, 0, 0));
		put_question(&response, "www.fake.test", DNS_AAAA, 1);
		put_record(&response, "@12", DNS_AAAA, 60, 16);
		put_bytes(&response, bad[i], 16);
		stage_answer(w->s, response.b, response.len, 0);
		assert_null(w->s->job);
		assert_int_equal(n_sent, i + 1);
		assert_host_unreachable(i);
	}
}

static void a_kernel_that_does_not_take_it(void **state)
{
	struct world *w = *state;

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	answer_one(w, REAL, 60);
	stage_written(w->s, -ETIMEDOUT);
	assert_int_equal(n_sent, 1);
	assert_host_unreachable(0);
	assert_int_equal(COUNTER(w, failed), 1);
	/* Written, but it cannot be put back. */
	put_back_error = -EAFNOSUPPORT;
	give(w, 0);
	answer_one(w, REAL, 60);
	stage_written(w->s, 0);
	assert_int_equal(n_sent, 2);
	assert_host_unreachable(1);
}

static void rules_that_say_no(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = map(w->s, "www.no.test", "gone");

	build_tcp(pair.v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	assert_icmp(0, 3, 13);
	build_udp(pair.v6, true, 1);
	give(w, 0);
	assert_icmp(1, 1, 1);
	assert_int_equal(w->s->n_asked, 0);
}

/* The name's rule has no egress now: its traffic goes by the rule that made the mapping, if that is
 * still there. */
static void a_rule_that_changed_its_mind(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = map(w->s, "www.real.test", "vpn");
	struct fakeip_mapping m;
	struct ip_addr client = stage_origin("10.1.1.1", false).client.addr;
	struct verdict v;

	assert_int_equal(fakeip_get(w->s->fakeip, pair.index, &m), 0);
	v = verdict_make(w->s->gen->policy, &m, &client);
	assert_int_equal(v.way, VERDICT_KERNEL);
	assert_string_equal(v.egress->name, "vpn");
	assert_string_equal(v.rule->name, "vpn");
	assert_int_equal(v.upstream, 1);
	m.rule = policy_id("gone");
	v = verdict_make(w->s->gen->policy, &m, &client);
	assert_int_equal(v.way, VERDICT_REJECT);
	m.rule = policy_id("no");
	v = verdict_make(w->s->gen->policy, &m, &client);
	assert_int_equal(v.way, VERDICT_REJECT);
}

/* --- bounds, life cycle --- */

static void decisions_are_bounded(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair;
	char name[32];

	for (unsigned i = 0; i <= DECIDING; i++) {
		snprintf(name, sizeof name, "n%u.fake.test", i);
		pair = map(w->s, name, "fake");
		build_tcp(pair.v4, false, TUN_TCP_SYN, 1);
		give(w, 0);
	}
	assert_int_equal(w->s->n_asked, DECIDING);
	assert_int_equal(COUNTER(w, overflow), 1);
	assert_int_equal(n_sent, 1);
	assert_host_unreachable(0);
	for (unsigned i = 0; i < DECIDING; i++)
		stage_answer(w->s, NULL, 0, -ECANCELED);
	assert_int_equal(n_sent, 1 + DECIDING);
	assert_true(carry_idle(w->carry));
	give(w, 0);
	assert_int_equal(w->s->n_asked, DECIDING + 1);
	stage_answer(w->s, NULL, 0, -ECANCELED);
}

static void held_packets_are_bounded(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair;
	char name[32];

	for (unsigned i = 0; i < 80; i++) {
		snprintf(name, sizeof name, "n%u.fake.test", i);
		pair = map(w->s, name, "fake");
		build_udp(pair.v4, false, 1);
		for (unsigned k = 0; k < HELD; k++)
			give(w, 0);
	}
	assert_int_equal(COUNTER(w, overflow), 80 * HELD - 512);
	while (w->s->n_answered < w->s->n_asked)
		stage_answer(w->s, NULL, 0, -ECANCELED);
	assert_int_equal(n_sent, 512);
	/* Too long to be held; the decision is made all the same. */
	build_udp(w->v4, false, 10000);
	give(w, 0);
	assert_int_equal(COUNTER(w, overflow), 80 * HELD - 512 + 1);
	answer_one(w, REAL, 60);
	stage_written(w->s, 0);
	assert_int_equal(n_sent, 512);
}

static void a_decision_keeps_its_generation(void **state)
{
	static const char other[] = "gateway: { lan: [lan0] }\n"
				    "upstreams: { three: { servers: udp://192.0.2.55 } }\n"
				    "egress: { direct: { type: direct, upstream: three } }\n"
				    "rules: [ { name: all, domain: [.], answer: block } ]\n";
	struct world *w = *state;
	struct generation *old = w->s->gen;

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	w->s->gen = stage_generation(w->s, other);
	carry_use(w->carry, w->s->gen);
	query_engine_use(w->s->engine, w->s->gen);
	generation_unref(old);
	assert_int_equal(w->s->groups_alive, 2);
	build_tcp(w->v6, true, TUN_TCP_SYN, 1);
	give(w, 0); /* by the new one */
	assert_icmp(0, 1, 1);
	answer_one(w, REAL, 60);
	stage_written(w->s, 0);
	assert_false(sent[1].error);
	assert_int_equal(w->s->groups_alive, 1);
}

static void an_address_in_use_is_not_given_away(void **state)
{
	struct world *w = *state;
	struct fakeip_mapping m;
	uint32_t index;

	w->s->now_ms += 5000000;
	build_udp(w->v4, false, 1);
	give(w, 0);
	stage_answer(w->s, NULL, 0, -ECANCELED);
	assert_true(fakeip_index4(w->s->fakeip, w->v4, &index));
	assert_int_equal(fakeip_get(w->s->fakeip, index, &m), 0);
	assert_int_equal(m.last_packet_s, clock_s());
}

static void broken_packets(void **state)
{
	struct world *w = *state;

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	for (size_t len = packet_len; len-- > 0;) {
		uint8_t *copy = exact(packet, len);

		carry_packet(w->carry, copy, len, LAN);
		free(copy);
	}
	packet[10] ^= 1;
	give(w, 0);
	assert_int_equal(COUNTER(w, packets), 0);
	assert_int_equal(n_sent, 0);
	/* Outside the pools: refused, not carried. */
	build_tcp((const uint8_t *)"\10\10\10\10", false, TUN_TCP_SYN, 1);
	give(w, 0);
	assert_reset(0);
	assert_int_equal(w->s->n_asked, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_first_packet_waits_for_the_kernel),
		TEST(the_other_family),
		TEST(an_egress_with_a_mark),
		TEST(timeouts_follow_the_ttl_within_bounds),
		TEST(packets_that_wait_keep_their_order),
		TEST(two_addresses_are_decided_apart),
		TEST(packets_of_this_host),
		TEST(checksums_are_completed),
		TEST(the_queue_can_change_meanwhile),
		TEST(nobody_has_this_address),
		TEST(a_connection_that_the_kernel_forgot),
		TEST(a_name_that_cannot_be_resolved),
		TEST(addresses_that_must_not_be_dialled),
		TEST(ipv6_addresses_that_must_not_be_dialled),
		TEST(a_kernel_that_does_not_take_it),
		TEST(rules_that_say_no),
		TEST(a_rule_that_changed_its_mind),
		TEST(decisions_are_bounded),
		TEST(held_packets_are_bounded),
		TEST(a_decision_keeps_its_generation),
		TEST(an_address_in_use_is_not_given_away),
		TEST(broken_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
