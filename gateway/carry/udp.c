/* The way of a datagram: client -> flow -> egress, and back into a packet that is made here. */
#include "gateway/carry/udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/container.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/carry/udp_flow.h"

#define TICK_MS		  1000
#define GIVES_WAY_MS	  10000
#define TELL_MS		  10000 /* an error is news to a client that sent so lately */
#define MTU		  1500	/* longer packets are cut here */
#define MTU_MIN		  1280	/* RFC 8200 5; where the way out says that MTU is too much */
#define TOUCH_MS	  1000
#define LOOP_LOG_EVERY_MS 60000
#define PACKET_MAX	  65536

struct udp_relay {
	struct udp_relay_config c;
	int tun_fd;
	struct udp_flows flows;
	struct loop_timer tick;
	struct udp_relay_counters counters;
	uint32_t fragmented;	     /* packets; their identification */
	struct egress_target target; /* by address: of the datagram that is sent */
	uint8_t piece[MTU];
	uint8_t out[PACKET_MAX]; /* a packet for a client */
};

static int64_t now_ms(const struct udp_relay *u)
{
	return loop_now_ms(u->c.loop);
}

static bool is_fake(const struct udp_flow *f)
{
	return f->key.fake.family != IP_NONE;
}

static struct ip_port client_of(const struct udp_flow *f)
{
	return (struct ip_port){.addr = f->key.client, .port = f->key.port};
}

/* --- to the client --- */

/* From a fake address: the way that errors take, unless the client is this host, whose own input
 * rules judge it when it comes in by lo. From a real one: raw. */
static int to_client(struct udp_relay *u, const struct udp_flow *f, const uint8_t *p, size_t len)
{
	if (is_fake(f) && !f->client_is_host)
		return inject_error(u->c.inject, u->tun_fd, p, len, f->ifindex);
	return inject_raw(u->c.inject, p, len);
}

static int to_client_in_pieces(
	struct udp_relay *u, const struct udp_flow *f, size_t len, size_t mtu)
{
	uint32_t id = ++u->fragmented;
	size_t done = 0, n;
	int error = 0;

	while (!error && (n = tun_packet_fragment(u->piece, u->out, len, mtu, id, &done)) > 0)
		error = to_client(u, f, u->piece, n);
	return error;
}

static void send_out(struct udp_relay *u, const struct udp_flow *f, size_t len)
{
	int error = len > MTU ? to_client_in_pieces(u, f, len, MTU) : to_client(u, f, u->out, len);

	if (error == -EMSGSIZE)
		error = to_client_in_pieces(u, f, len, MTU_MIN);
	count_add(error ? &u->counters.dropped : &u->counters.to_client, 1);
}

/* What an egress's error means to the client. */
static enum tun_error meaning_of(int error)
{
	switch (error) {
	case -EOPNOTSUPP:
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -ELOOP:
		return TUN_PORT_UNREACHABLE;
	case -EACCES:
		return TUN_PROHIBITED;
	case -ENETUNREACH:
		return TUN_NO_ROUTE;
	default:
		return TUN_HOST_UNREACHABLE;
	}
}

/* The last datagram's beginning, as it came or, of a real flow, as it must have been. */
static bool quote(struct udp_flow *f, struct tun_packet *ret)
{
	struct ip_port client = client_of(f);

	if (!is_fake(f)) {
		f->quote_len = (uint8_t)tun_packet_udp_build(f->quote, &client, &f->target.at, 0);
		return f->quote_len && tun_packet_parse(f->quote, f->quote_len, ret) == 0;
	}
	*ret = (struct tun_packet){.data = f->quote,
		.len = f->quote_len,
		.family = f->key.client.family,
		.protocol = IPPROTO_UDP};
	return f->quote_len > 0;
}

static void tell(struct udp_flow *f, int error)
{
	static struct log_gate gate;
	struct udp_relay *u = f->relay;
	struct tun_packet p;
	size_t n;

	count_add(&u->counters.failed, 1);
	count_add(&u->counters.loops, error == -ELOOP);
	if (error == -ELOOP && log_gate_open(&gate, LOOP_LOG_EVERY_MS))
		log_warn("loop: datagrams of a client would lead back to this gateway; refused. "
			 "Exempt the proxy's own traffic (gateway.exempt), or give it another "
			 "egress");
	if (now_ms(u) - f->sent_ms > TELL_MS || !quote(f, &p))
		return;
	n = tun_packet_icmp_error(u->out, &p, meaning_of(error), NULL, 0);
	if (n)
		(void)to_client(u, f, u->out, n);
}

/* --- the end of a flow --- */

static void flow_end(struct udp_flow *f)
{
	struct udp_relay *u = f->relay;

	egress_udp_close(f->egress);
	egress_flow_end(f->state);
	if (is_fake(f)) {
		fakeip_touch(u->c.fakeip, f->index, u->c.clock_s());
		fakeip_release(u->c.fakeip, f->index);
	}
	udp_flows_remove(&u->flows, f);
	atomic_store_explicit(&u->counters.live, u->flows.n, memory_order_relaxed);
}

static void closed(void *arg, int error)
{
	struct udp_flow *f = arg;

	if (error != -ECANCELED)
		tell(f, error);
	flow_end(f);
}

/* --- from the egress --- */

static void flow_used(struct udp_flow *f)
{
	struct udp_relay *u = f->relay;

	udp_flows_use(&u->flows, f, now_ms(u));
	if (is_fake(f) && f->used_ms - f->touched_ms >= TOUCH_MS) {
		f->touched_ms = f->used_ms;
		fakeip_touch(u->c.fakeip, f->index, u->c.clock_s());
	}
}

static bool is_peer(const struct udp_flow *f, const struct ip_addr *a)
{
	unsigned n = f->n_peers < UDP_PEERS_MAX ? f->n_peers : UDP_PEERS_MAX;

	return ip_addr_is_among(a, f->peers, n);
}

/* Whom the client takes it to be from. */
static struct ip_port source_of(const struct udp_flow *f, const struct ip_port *from)
{
	struct ip_port source = *from;

	if (is_fake(f))
		source.addr = f->key.fake;
	else if (f->target.host[0] && !is_peer(f, &from->addr))
		source.addr = f->named.addr;
	else if (from->addr.family == IP_NONE)
		source.addr = f->target.at.addr;
	if (!source.port)
		source.port = f->target.at.port;
	return source;
}

static void received(void *arg, const struct ip_port *from, const uint8_t *payload, size_t len)
{
	struct udp_flow *f = arg;
	struct udp_relay *u = f->relay;
	struct ip_port source = source_of(f, from), client = client_of(f);
	size_t at = client.addr.family == IP_V4 ? TUN_UDP_HEADROOM_V4 : TUN_UDP_HEADROOM_V6;
	size_t n = 0;

	flow_used(f);
	if (len <= sizeof u->out - at) {
		memcpy(u->out + at, payload, len);
		n = tun_packet_udp_build(u->out, &source, &client, len);
	}
	if (n)
		send_out(u, f, n);
	else
		count_add(&u->counters.dropped, 1);
}

/* --- to the egress --- */

static void pass_on(
	struct udp_flow *f, const struct egress_target *to, const uint8_t *payload, size_t len)
{
	struct udp_relay *u = f->relay;
	int error;

	flow_used(f);
	f->sent_ms = f->used_ms;
	error = egress_udp_send(f->egress, to, payload, len);
	count_add(error ? &u->counters.dropped : &u->counters.to_egress, 1);
	if (error == -ELOOP)
		tell(f, error);
}

static struct udp_flow_key fake_key(const struct tun_packet *p)
{
	return (struct udp_flow_key){.client = tun_packet_source(p),
		.fake = tun_packet_target(p),
		.port = p->source_port};
}

bool udp_relay_fake(struct udp_relay *u, const struct tun_packet *p, unsigned ifindex)
{
	struct udp_flow_key key = fake_key(p);
	struct udp_flow *f;

	if (p->protocol != IPPROTO_UDP || p->fragment != TUN_WHOLE)
		return false;
	f = udp_flows_find(&u->flows, &key);
	if (!f)
		return false;
	if (!ifindex && !tun_packet_checksum_ok(p)) {
		count_add(&u->counters.dropped, 1);
		return true;
	}
	f->ifindex = ifindex;
	f->target.at.port = p->target_port;
	f->quote_len = p->len < UDP_QUOTE_MAX ? (uint8_t)p->len : UDP_QUOTE_MAX;
	memcpy(f->quote, p->data, f->quote_len);
	pass_on(f, &f->target, p->data + p->payload, p->payload_len);
	return true;
}

static bool same_addr_port(const struct ip_port *a, const struct ip_port *b)
{
	return a->port == b->port && ip_addr_equal(&a->addr, &b->addr);
}

bool udp_relay_real(struct udp_relay *u, const struct udp_datagram *d)
{
	struct udp_flow_key key = {.client = d->client.addr, .port = d->client.port};
	struct udp_flow *f = udp_flows_find(&u->flows, &key);
	struct egress_target *to = &u->target;

	if (!f)
		return false;
	f->target.at = d->to;
	if (f->target.host[0] && same_addr_port(&d->to, &f->named)) {
		to = &f->target;
	} else {
		if (f->target.host[0] && !is_peer(f, &d->to.addr))
			f->peers[f->n_peers++ % UDP_PEERS_MAX] = d->to.addr;
		to->at = d->to;
		to->client = d->client.addr;
		to->client_is_host = f->client_is_host;
	}
	pass_on(f, to, d->payload, d->len);
	return true;
}

/* --- a new flow --- */

static bool give_way(struct udp_relay *u)
{
	struct udp_flow *f = udp_flows_oldest(&u->flows);

	if (!f || now_ms(u) - f->used_ms < GIVES_WAY_MS)
		return false;
	flow_end(f);
	return true;
}

static int flow_open(struct udp_relay *u, const struct udp_flow_key *key, const struct udp_way *way,
	struct udp_flow **ret)
{
	struct egress_udp_config config = {.received = received, .closed = closed};
	struct udp_flow *f;
	int error;

	if (u->flows.n >= u->c.max && !give_way(u))
		return -ENOSPC;
	f = udp_flows_add(&u->flows, key, way->idle_ms, now_ms(u));
	if (!f)
		return -ENOMEM;
	f->relay = u;
	config.arg = f;
	error = egress_udp_open(u->c.dialer, way->egresses, way->egress, &config, &f->egress);
	if (error) {
		udp_flows_remove(&u->flows, f);
		if (error == -EMFILE) /* for the next one: what is closed now is free later */
			(void)give_way(u);
		return error;
	}
	f->state = egress_flow_begin(way->egresses, way->egress);
	f->client_is_host = hosts_contain(u->c.hosts, &key->client);
	count_add(&u->counters.flows, 1);
	atomic_store_explicit(&u->counters.live, u->flows.n, memory_order_relaxed);
	*ret = f;
	return 0;
}

int udp_relay_fake_open(struct udp_relay *u, const struct tun_packet *p, unsigned ifindex,
	uint32_t index, const struct udp_way *way)
{
	struct udp_flow_key key = fake_key(p);
	struct udp_flow *f = udp_flows_find(&u->flows, &key);
	int error = f ? 0 : flow_open(u, &key, way, &f);

	if (error)
		return error;
	if (f->target.client.family != IP_NONE) /* it was there already */
		return 0;
	f->target = way->target;
	f->target.client = key.client;
	f->target.client_is_host = f->client_is_host;
	f->ifindex = ifindex;
	f->index = index;
	fakeip_hold(u->c.fakeip, index);
	return 0;
}

int udp_relay_real_open(struct udp_relay *u, const struct udp_datagram *d,
	const struct udp_way *way, const char *name)
{
	struct udp_flow_key key = {.client = d->client.addr, .port = d->client.port};
	struct udp_flow *f = udp_flows_find(&u->flows, &key);
	int error = f ? -EEXIST : flow_open(u, &key, way, &f);

	if (error)
		return error == -EEXIST ? 0 : error;
	f->target.at = f->named = d->to;
	f->target.client = key.client;
	f->target.client_is_host = f->client_is_host;
	if (name && egress_type(way->egresses, way->egress) != CONF_EGRESS_DIRECT)
		memcpy(f->target.host, name, strnlen(name, EGRESS_HOST_MAX) + 1);
	f->target.host[EGRESS_HOST_MAX] = 0;
	return 0;
}

/* --- start and stop --- */

static void tick(struct loop_timer *t)
{
	struct udp_relay *u = container_of(t, struct udp_relay, tick);

	udp_flows_walk(&u->flows, now_ms(u), flow_end);
	loop_timer_set(u->c.loop, t, now_ms(u) + TICK_MS);
}

int udp_relay_new(const struct udp_relay_config *config, struct udp_relay **ret)
{
	struct udp_relay *u = calloc(1, sizeof *u);
	int error;

	if (!u)
		return -ENOMEM;
	u->c = *config;
	u->tun_fd = -1;
	u->tick.fire = tick;
	error = udp_flows_init(&u->flows, config->max);
	if (!error)
		error = loop_timer_set(u->c.loop, &u->tick, now_ms(u) + TICK_MS);
	if (error) {
		udp_flows_fini(&u->flows);
		free(u);
		return error;
	}
	*ret = u;
	return 0;
}

void udp_relay_stop(struct udp_relay *u)
{
	struct udp_flow *f;

	loop_timer_cancel(u->c.loop, &u->tick);
	while ((f = udp_flows_oldest(&u->flows)))
		flow_end(f);
}

void udp_relay_free(struct udp_relay *u)
{
	if (!u)
		return;
	udp_relay_stop(u);
	udp_flows_fini(&u->flows);
	free(u);
}

void udp_relay_set_tun(struct udp_relay *u, int tun_fd)
{
	u->tun_fd = tun_fd;
}

const struct udp_relay_counters *udp_relay_counters(const struct udp_relay *u)
{
	return &u->counters;
}
