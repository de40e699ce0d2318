#include "tests/unit/carry_stage.h"

#include <unistd.h>

#include "gateway/carry/carry_internal.h"

static const char yaml[] =
	"gateway: { lan: [lan0] }\n"
	"fakeip: { pool4: 198.18.0.0/15, pool6: 'fd00::/64', store: '' }\n"
	"upstreams:\n"
	"  one: { servers: udp://192.0.2.53 }\n"
	"  two: { servers: udp://192.0.2.54 }\n"
	"lists: { near: [/tmp/tg-carry-near-%d], far: [/tmp/tg-carry-far-%d] }\n"
	"egress:\n"
	"  direct: { type: direct, upstream: one }\n"
	"  vpn: { type: direct, upstream: two, mark: 0x10 }\n"
	"  proxy: { type: socks5, server: '192.0.2.80:1080' }\n"
	"  web: { type: http, server: '192.0.2.80:8080' }\n"
	"  noquic: { type: socks5, server: '192.0.2.81:1080', quic: reject }\n"
	"  noudp: { type: socks5, server: '192.0.2.82:1080', udp: reject }\n"
	"  pings: { type: socks5, server: '192.0.2.83:1080', ping: local }\n"
	"  any: { type: group, of: [direct, proxy, noquic] }\n"
	"  nobody: { type: reject }\n"
	"rules:\n"
	"  - { name: no, domain: [no.test], answer: block }\n"
	"  - { name: vpn, domain: [vpn.test], answer: fake, egress: vpn }\n"
	"  - { name: proxy, domain: [proxy.test], answer: fake, egress: proxy }\n"
	"  - { name: web, domain: [web.test], answer: fake, egress: web }\n"
	"  - { name: noquic, domain: [noquic.test], answer: fake, egress: noquic }\n"
	"  - { name: noudp, domain: [noudp.test], answer: fake, egress: noudp }\n"
	"  - { name: pings, domain: [pings.test], answer: fake, egress: pings }\n"
	"  - { name: any, domain: [any.test], answer: fake, egress: any, upstream: one }\n"
	"  - { name: nobody, domain: [nobody.test], answer: fake, egress: nobody }\n"
	"  - { name: maybe, domain: [maybe.test], answer: fake, egress: proxy,\n"
	"      unless: [ { resolves_in: near, egress: direct, within: 1s },\n"
	"                { resolves_in: far, egress: noquic, upstream: two, within: 3s } ] }\n"
	"  - { name: no-four, domain: [six.test], type: A, answer: block }\n"
	"  - { name: six, domain: [six.test], answer: fake, egress: proxy }\n"
	"  - { name: six-away, domain: [away.test], type: AAAA, answer: fake, egress: vpn }\n"
	"  - { name: four-away, domain: [away.test], answer: fake, egress: proxy }\n"
	"  - { name: now-real, domain: [real.test], answer: real, upstream: one }\n"
	"  - { name: checked, domain: [checked.test], answer: real, egress: proxy,\n"
	"      check: { answers: out, of: near, rule: vpn } }\n"
	"  - { name: fake, domain: [fake.test], answer: fake, egress: direct }\n";

struct sent sent[OUT_MAX];
size_t n_sent;
int put_back_error;
struct played played;
static struct stage *current;
static struct packet response;

/* --- the way out --- */

static int take(
	enum sent_how how, int tun_fd, const uint8_t *p, size_t len, unsigned ifindex, bool own)
{
	struct sent *s = &sent[n_sent++];

	assert_in_range(n_sent, 1, OUT_MAX);
	assert_in_range(len, 20, sizeof s->packet);
	*s = (struct sent){
		.how = how, .own = own, .tun_fd = tun_fd, .ifindex = ifindex, .len = len};
	memcpy(s->packet, p, len);
	return 0;
}

int inject_put_back(
	struct inject *i, int tun_fd, const uint8_t *p, size_t len, unsigned ifindex, bool own)
{
	(void)i;
	return put_back_error ? put_back_error : take(PUT_BACK, tun_fd, p, len, ifindex, own);
}

int inject_error(struct inject *i, int tun_fd, const uint8_t *p, size_t len, unsigned ifindex)
{
	(void)i;
	return take(ERROR, tun_fd, p, len, ifindex, false);
}

int inject_to_relay(struct inject *i, const uint8_t *p, size_t len)
{
	(void)i;
	return take(TO_RELAY, -1, p, len, 0, true);
}

/* --- egresses --- */

int egress_dialer_new(const struct egress_dialer_config *config, struct egress_dialer **ret)
{
	played.dialer = *config;
	*ret = (struct egress_dialer *)&played;
	return 0;
}

void egress_dialer_stop(struct egress_dialer *d, void (*done)(void *arg), void *arg)
{
	(void)d;
	while (played.n_ended < played.n_dials)
		dial_end(-1, -ECANCELED);
	done(arg);
}

void egress_dialer_check(struct egress_dialer *d, struct egress_set *s)
{
	(void)d;
	(void)s;
	played.n_checked++;
}

void egress_connect(struct egress_dialer *d, struct egress_set *s, unsigned egress,
	const struct egress_target *target, struct egress_dial *dial, egress_done *done)
{
	(void)d;
	(void)s;
	assert_in_range(played.n_dials, 0, DIALS_MAX - 1);
	played.dials[played.n_dials].dial = dial;
	played.dials[played.n_dials].egress = egress;
	played.dials[played.n_dials++].target = *target;
	dial->done = done;
}

void dial_end(int fd, int error)
{
	struct egress_dial *dial = played.dials[played.n_ended].dial;
	unsigned egress = played.dials[played.n_ended].egress;

	assert_in_range(played.n_ended + 1, 1, played.n_dials);
	played.n_ended++;
	dial->done(dial, fd, egress, error);
}

unsigned egress_choose(const struct egress_set *s, unsigned egress)
{
	(void)s;
	return egress == ANY ? played.choice : egress;
}

enum conf_egress_type egress_type(const struct egress_set *s, unsigned egress)
{
	(void)s;
	if (egress == ANY)
		return CONF_EGRESS_GROUP;
	return egress == DIRECT || egress == VPN ? CONF_EGRESS_DIRECT : CONF_EGRESS_SOCKS5;
}

bool egress_goes_by_name(const struct egress_set *s, unsigned egress)
{
	return egress_type(s, egress) == CONF_EGRESS_SOCKS5;
}

const struct conf_egress *egress_conf(const struct egress_set *s, unsigned egress)
{
	static struct conf_egress conf;

	(void)s;
	conf.idle_ms = 300000 + egress;
	conf.udp_idle_ms = egress == NO_QUIC ? 0 : 60000 + egress;
	return &conf;
}

bool egress_takes_udp(const struct egress_set *s, unsigned egress)
{
	(void)s;
	(void)egress;
	return !played.takes_no_udp;
}

struct egress_state *egress_flow_begin(struct egress_set *s, unsigned egress)
{
	(void)s;
	(void)egress;
	played.flows++;
	return (struct egress_state *)&played.flows;
}

void egress_flow_end(struct egress_state *st)
{
	assert_ptr_equal(st, &played.flows);
	played.flows--;
}

/* --- relays --- */

int relay_new(const struct relay_config *config, struct relay **ret)
{
	played.relay_config = *config;
	*ret = (struct relay *)&played;
	return 0;
}

int relay_start(struct relay *r, const struct relay_flow_config *config)
{
	(void)r;
	close(config->client_fd);
	close(config->egress_fd);
	if (played.relay_error)
		return played.relay_error;
	played.n_relayed++;
	played.relayed = *config;
	return 0;
}

void relay_stop(struct relay *r)
{
	(void)r;
}

bool relay_idle(const struct relay *r)
{
	(void)r;
	return true;
}

void relay_free(struct relay *r)
{
	(void)r;
}

const struct relay_counters *relay_counters(const struct relay *r)
{
	(void)r;
	return NULL;
}

int udp_relay_new(const struct udp_relay_config *config, struct udp_relay **ret)
{
	(void)config;
	*ret = (struct udp_relay *)&played;
	return 0;
}

void udp_relay_stop(struct udp_relay *u)
{
	(void)u;
}

void udp_relay_free(struct udp_relay *u)
{
	(void)u;
}

void udp_relay_set_tun(struct udp_relay *u, int tun_fd)
{
	(void)u;
	(void)tun_fd;
}

const struct udp_relay_counters *udp_relay_counters(const struct udp_relay *u)
{
	(void)u;
	return NULL;
}

bool udp_relay_fake(struct udp_relay *u, const struct tun_packet *p, unsigned ifindex)
{
	(void)u;
	(void)ifindex;
	if (!played.udp_has_flow || p->fragment != TUN_WHOLE)
		return false;
	played.n_udp_taken++;
	return true;
}

int udp_relay_fake_open(struct udp_relay *u, const struct tun_packet *p, unsigned ifindex,
	uint32_t index, const struct udp_way *way)
{
	(void)u;
	(void)p;
	(void)ifindex;
	if (played.udp_error)
		return played.udp_error;
	played.n_udp_opened++;
	played.udp_has_flow = true;
	played.udp_index = index;
	played.udp_way = *way;
	return 0;
}

bool udp_relay_real(struct udp_relay *u, const struct udp_datagram *d)
{
	(void)u;
	(void)d;
	played.n_udp_real += played.udp_has_flow;
	return played.udp_has_flow;
}

/* --- real.c --- */

int real_new(struct carry *c, struct real **ret)
{
	(void)c;
	*ret = (struct real *)&played;
	return 0;
}

void real_stop(struct real *r)
{
	(void)r;
}

bool real_idle(const struct real *r)
{
	(void)r;
	return true;
}

void real_free(struct real *r)
{
	(void)r;
}

void real_accepted(struct real *r, int fd, const struct ip_port *client, const struct ip_port *to)
{
	(void)r;
	played.n_real++;
	played.real_fd = fd;
	played.real_client = *client;
	played.real_to = *to;
}

void real_datagram(struct real *r, const struct udp_datagram *d)
{
	(void)r;
	played.n_real_datagrams++;
	played.real_client = d->client;
	played.real_to = d->to;
}

/* --- the kernel --- */

int conntrack_open(struct conntrack **ret)
{
	*ret = (struct conntrack *)&played;
	return 0;
}

void conntrack_close(struct conntrack *c)
{
	(void)c;
}

int conntrack_has(struct conntrack *c, const struct ip_addr *target)
{
	(void)c;
	(void)target;
	return played.has_flows;
}

int conntrack_forget(struct conntrack *c, uint8_t protocol, const struct ip_port *source,
	const struct ip_port *target)
{
	(void)c;
	assert_int_equal(protocol, IPPROTO_TCP);
	assert_int_equal(source->port, 4001);
	assert_int_equal(target->port, 80);
	played.forgotten++;
	return 0;
}

/* --- the loop: what the listeners start --- */

int loop_accept_start(struct loop *l, struct loop_op *op, int fd, loop_done *done)
{
	(void)l;
	(void)fd;
	if (played.accept_error)
		return played.accept_error;
	played.accepting = op;
	played.accepted = done;
	op->state = 1;
	return 0;
}

int loop_recvmsg_start(
	struct loop *l, struct loop_op *op, int fd, struct loop_buffers *b, loop_done *done)
{
	(void)l;
	(void)fd;
	(void)b;
	played.receiving = op;
	played.received = done;
	op->state = 1;
	return 0;
}

/* The end comes at once: nothing else of the loop is played. */
void loop_op_cancel(struct loop_op *op)
{
	op->state = 0;
}

int loop_buffers_new(struct loop *l, size_t size_bytes, unsigned count, struct loop_buffers **ret)
{
	(void)l;
	(void)size_bytes;
	(void)count;
	*ret = (struct loop_buffers *)&played;
	return 0;
}

void loop_buffers_free(struct loop_buffers *b)
{
	(void)b;
}

struct cmsghdr *loop_cmsg_first(const struct loop_datagram *d)
{
	return d->control_len ? (struct cmsghdr *)d->control : NULL;
}

struct cmsghdr *loop_cmsg_next(const struct loop_datagram *d, struct cmsghdr *c)
{
	(void)d;
	(void)c;
	return NULL;
}

/* --- upstream --- */

void resolve_cancel(struct resolve_request *rq)
{
	for (size_t i = current->n_answered; i < current->n_asked; i++)
		if (current->asked[i].rq == rq)
			current->asked[i].rq = NULL;
}

struct stage_question *question(struct world *w)
{
	struct stage *s = w->s;

	while (s->n_answered < s->n_asked && !s->asked[s->n_answered].rq)
		s->n_answered++;
	return s->n_answered < s->n_asked ? &s->asked[s->n_answered] : NULL;
}

static void answer_response(struct world *w)
{
	assert_non_null(question(w));
	assert_int_equal(dns_response_check(response.b, response.len), 0);
	stage_answer(w->s, response.b, response.len, 0);
}

void answer(
	struct world *w, const char *name, unsigned n, const uint32_t *addresses, uint32_t ttl_s)
{
	put_header(&response, 1, DNS_QR | DNS_RD | DNS_RA, COUNTS(1, n, 0, 0));
	put_question(&response, name, DNS_A, 1);
	for (unsigned i = 0; i < n; i++)
		put_a(&response, "@12", ttl_s, addresses[i]);
	answer_response(w);
}

void answer_one(struct world *w, uint32_t address, uint32_t ttl_s)
{
	answer(w, "www.fake.test", 1, &address, ttl_s);
}

void answer_v6(struct world *w, const char *name, const void *address, uint32_t ttl_s)
{
	put_header(&response, 1, DNS_QR | DNS_RD | DNS_RA, COUNTS(1, address ? 1 : 0, 0, 0));
	put_question(&response, name, DNS_AAAA, 1);
	if (address) {
		put_record(&response, "@12", DNS_AAAA, ttl_s, 16);
		put_bytes(&response, address, 16);
	}
	answer_response(w);
}

void answer_nothing(struct world *w, int error)
{
	assert_non_null(question(w));
	stage_answer(w->s, NULL, 0, error);
}

/* --- the world --- */

uint32_t stage_clock_s(void)
{
	return (uint32_t)(current->now_ms / 1000);
}

struct fakeip_pair map(struct stage *s, const char *text, const char *rule)
{
	struct dns_name name = name_of(text);
	struct fakeip_pair pair;

	assert_int_equal(fakeip_assign(s->fakeip, name.b, name.len, dns_name_hash(&name, 7), 0,
				 policy_id(rule), stage_clock_s(), &pair),
		0);
	return pair;
}

static void list(const char *what, const char *text)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/tmp/tg-carry-%s-%d", what, getpid());
	if (!text) {
		unlink(path);
		return;
	}
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
}

int open_world(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct carry_config config = {.clock_s = stage_clock_s, .tun_fd = TUN_FD, .checks = true};
	struct fakeip_pair pair;
	char text[8000];

	assert_non_null(w);
	played = (struct played){.choice = PROXY, .real_fd = -1};
	list("near", "192.0.2.0/24\n2001:db8::/32\n");
	list("far", "198.51.100.0/24\n");
	snprintf(text, sizeof text, yaml, getpid(), getpid());
	w->s = current = stage_open(text, 0);
	list("near", NULL);
	list("far", NULL);
	config.fakeip = w->s->fakeip;
	assert_int_equal(carry_shared_new(w->s->fakeip, 64, &w->shared), 0);
	config.shared = w->shared;
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

int close_world(void **state)
{
	struct world *w = *state;

	while (question(w))
		answer_nothing(w, -ECANCELED);
	carry_stop(w->carry);
	assert_true(carry_idle(w->carry));
	carry_free(w->carry);
	carry_shared_free(w->shared);
	assert_int_equal(played.flows, 0);
	stage_close(w->s);
	free(w);
	return 0;
}

/* --- packets --- */

uint8_t packet[16384];
size_t packet_len;

void checksum4(uint8_t *p)
{
	uint16_t sum;

	p[10] = p[11] = 0;
	sum = tun_packet_checksum(p, 20);
	memcpy(p + 10, &sum, 2);
}

uint8_t *build(const uint8_t *target, bool v6, unsigned protocol, size_t size)
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

void finish(void)
{
	struct tun_packet p;

	assert_int_equal(tun_packet_parse(packet, packet_len, &p), 0);
	tun_packet_checksum_set(&p);
}

void build_tcp(const uint8_t *target, bool v6, unsigned flags, uint32_t seq)
{
	uint8_t *tcp = build(target, v6, IPPROTO_TCP, 20);

	tcp[4] = (uint8_t)(seq >> 24);
	tcp[7] = (uint8_t)seq;
	tcp[12] = 0x50;
	tcp[13] = (uint8_t)flags;
	finish();
}

void build_udp(const uint8_t *target, bool v6, size_t payload)
{
	uint8_t *udp = build(target, v6, IPPROTO_UDP, 8 + payload);

	udp[4] = (uint8_t)((8 + payload) >> 8);
	udp[5] = (uint8_t)(8 + payload);
	finish();
}

void build_echo(const uint8_t *target, bool v6)
{
	uint8_t *icmp = build(target, v6, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, 8);

	memset(icmp, 0, 8);
	icmp[0] = v6 ? 128 : 8;
	finish();
}

void give(struct world *w, unsigned ifindex)
{
	uint8_t *copy = exact(packet, packet_len);

	carry_packet(w->carry, copy, packet_len, ifindex);
	free(copy);
}

/* --- what came out --- */

struct tun_packet parse_sent(size_t i)
{
	struct tun_packet p;

	assert_in_range(i, 0, n_sent - 1);
	assert_int_equal(tun_packet_parse(sent[i].packet, sent[i].len, &p), 0);
	assert_true(tun_packet_checksum_ok(&p));
	return p;
}

/* The i-th that went out is an ICMP error to the client, from the fake address. */
void assert_icmp(size_t i, unsigned type, unsigned code)
{
	struct tun_packet p = parse_sent(i);

	assert_int_equal(sent[i].how, ERROR);
	assert_int_equal(p.protocol, p.family == IP_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	assert_int_equal(sent[i].packet[p.transport], type);
	assert_int_equal(sent[i].packet[p.transport + 1], code);
}

void assert_host_unreachable(size_t i)
{
	if (sent[i].packet[0] >> 4 == 4)
		assert_icmp(i, 3, 1);
	else
		assert_icmp(i, 1, 3);
}

void assert_reset(size_t i)
{
	struct tun_packet p = parse_sent(i);

	assert_int_equal(sent[i].how, ERROR);
	assert_int_equal(p.protocol, IPPROTO_TCP);
	assert_int_equal(p.source_port, 80);
	assert_int_equal(p.target_port, 4001);
	assert_true(sent[i].packet[p.transport + 13] & TUN_TCP_RST);
}

void assert_put_back(size_t i, const uint8_t *bytes, size_t len)
{
	assert_in_range(i, 0, n_sent - 1);
	assert_int_equal(sent[i].how, PUT_BACK);
	assert_int_equal(sent[i].len, len);
	assert_memory_equal(sent[i].packet, bytes, len);
}
