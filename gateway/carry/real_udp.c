/* The first datagrams of client sockets to real addresses. What they decide, holds for the socket:
 * one socket, one egress, wherever it sends later (endpoint-independent mapping, RFC 4787 4.1); a
 * later destination whose own rule would say otherwise goes the same way, also QUIC through an
 * egress that rejects it for whom it begins with. */
#include <string.h>

#include "gateway/base/container.h"
#include "gateway/base/count.h"
#include "gateway/carry/real_internal.h"
#include "gateway/carry/sniff.h"

#define HELLOS_MAX     32
#define HELD_MAX       4
#define DATAGRAM_BYTES 2048
#define QUIC_LONG      0xc0 /* form and fixed bit of a long header (RFC 9000 17.2) */

/* A client socket whose QUIC hello is not whole yet. */
struct real_hello {
	struct real *real;
	struct real_hello *next;
	struct loop_timer timer;
	struct ip_port client;
	struct real_name name;
	unsigned n;
	struct {
		struct ip_port to;
		size_t len;
		uint8_t payload[DATAGRAM_BYTES];
	} held[HELD_MAX];
	struct sniff_quic quic; /* last: most of it is never touched */
};

/* --- refused --- */

static void refuse(struct real *r, const struct udp_datagram *d)
{
	struct carry *c = r->carry;
	uint8_t packet[TUN_UDP_HEADROOM_V6 + DATAGRAM_BYTES], out[TUN_ERROR_MAX];
	bool v4 = d->to.addr.family == IP_V4;
	size_t at = v4 ? TUN_UDP_HEADROOM_V4 : TUN_UDP_HEADROOM_V6, n;
	struct tun_packet p;

	count_add(&c->counters.refused, 1);
	if (d->len > DATAGRAM_BYTES)
		return;
	memcpy(packet + at, d->payload, d->len);
	n = tun_packet_udp_build(packet, &d->client, &d->to, d->len);
	if (!n || tun_packet_parse(packet, n, &p))
		return;
	n = tun_packet_icmp_error(out, &p, TUN_PORT_UNREACHABLE, NULL, 0);
	if (n)
		(void)inject_raw(c->c.inject, out, n);
}

/* --- decided --- */

/* False: refused; d and what follows it from this socket. */
static bool open_flow(struct real *r, const struct udp_datagram *d, const struct real_name *name)
{
	struct carry *c = r->carry;
	struct real_way out;
	struct udp_way way = {.egresses = c->gen->egresses};

	if (!real_way_find(c, &d->client.addr, &d->to.addr, name, &out))
		return false;
	if (!egress_takes_udp(way.egresses, out.egress) ||
		(out.leaf && verdict_rejects_udp(out.leaf, d->to.port)))
		return false;
	way.egress = out.egress;
	way.idle_ms = carry_udp_idle_ms(
		egress_conf(way.egresses, out.leaf ? out.leaf->index : out.egress));
	if (udp_relay_real_open(c->udp, d, &way, out.host[0] ? out.host : NULL)) {
		count_add(&c->counters.overflow, 1);
		return false;
	}
	count_add(&c->counters.decided, 1);
	return true;
}

static void decide(struct real *r, const struct udp_datagram *d, const struct real_name *name)
{
	if (!open_flow(r, d, name) || !udp_relay_real(r->carry->udp, d))
		refuse(r, d);
}

/* --- held --- */

static struct real_hello **hello_find(struct real *r, const struct ip_port *client)
{
	struct real_hello **at = &r->first_hello;

	while (*at && !((*at)->client.port == client->port &&
			      ip_addr_equal(&(*at)->client.addr, &client->addr)))
		at = &(*at)->next;
	return at;
}

static void hello_give(struct real_hello *h)
{
	struct real *r = h->real;

	*hello_find(r, &h->client) = h->next;
	loop_timer_cancel(r->carry->c.loop, &h->timer);
	slab_give(&r->hellos, h);
}

/* Hands on what was held, by what is known now. */
static void hello_end(struct real_hello *h)
{
	struct real *r = h->real;
	bool opened = false;

	for (unsigned i = 0; i < h->n; i++) {
		struct udp_datagram d = {.client = h->client,
			.to = h->held[i].to,
			.payload = h->held[i].payload,
			.len = h->held[i].len};

		if (i == 0)
			opened = open_flow(r, &d, &h->name);
		if (!opened || !udp_relay_real(r->carry->udp, &d))
			refuse(r, &d);
	}
	hello_give(h);
}

static void time_is_up(struct loop_timer *t)
{
	hello_end(container_of(t, struct real_hello, timer));
}

static void hold(struct real_hello *h, const struct udp_datagram *d)
{
	h->held[h->n].to = d->to;
	h->held[h->n].len = d->len;
	memcpy(h->held[h->n].payload, d->payload, d->len);
	h->n++;
}

/* True: the name, or that there is none, is known now. */
static bool feed(struct real_hello *h, const struct udp_datagram *d)
{
	char text[SNIFF_NAME_SIZE];
	enum sniff_result r = sniff_quic_datagram(&h->quic, d->payload, d->len, text);

	if (r == SNIFF_NAME)
		real_name_sniffed(&h->name, text);
	return r != SNIFF_MORE;
}

/* Another datagram of a socket whose first are held. */
static void go_on(struct real_hello *h, const struct udp_datagram *d)
{
	struct real *r = h->real;
	bool same =
		d->to.port == h->held[0].to.port && ip_addr_equal(&d->to.addr, &h->held[0].to.addr);
	bool known = same && feed(h, d);

	if (h->n < HELD_MAX && d->len <= DATAGRAM_BYTES) {
		hold(h, d);
		if (known)
			hello_end(h);
		return;
	}
	hello_end(h);
	if (!udp_relay_real(r->carry->udp, d))
		refuse(r, d);
}

static struct real_hello *hello_take(struct real *r)
{
	struct real_hello *h = slab_take(&r->hellos);
	struct carry *c = r->carry;

	if (!h)
		return NULL;
	memset(&h->quic, 0, sizeof h->quic);
	h->real = r;
	h->n = 0;
	h->timer = (struct loop_timer){.fire = time_is_up};
	if (loop_timer_set(c->c.loop, &h->timer, loop_now_ms(c->c.loop) + REAL_SNIFF_MS)) {
		slab_give(&r->hellos, h);
		return NULL;
	}
	h->next = r->first_hello;
	r->first_hello = h;
	return h;
}

/* False: it is decided by what is known. */
static bool sniff(struct real *r, const struct udp_datagram *d, struct real_name *name)
{
	struct real_hello *h;

	if (name->sure || !(r->carry->c.sniff & CONF_SNIFF_QUIC) || d->len == 0 ||
		d->len > DATAGRAM_BYTES || (d->payload[0] & QUIC_LONG) != QUIC_LONG)
		return false;
	h = hello_take(r);
	if (!h)
		return false;
	h->client = d->client;
	h->name = *name;
	if (feed(h, d)) {
		*name = h->name;
		hello_give(h);
		return false;
	}
	hold(h, d);
	return true;
}

void real_datagram(struct real *r, const struct udp_datagram *d)
{
	struct real_hello *h = *hello_find(r, &d->client);
	struct real_name name;

	if (r->stopping)
		return;
	if (h) {
		go_on(h, d);
		return;
	}
	real_name_find(r->carry, &d->client.addr, &d->to.addr, &name);
	if (!sniff(r, d, &name))
		decide(r, d, &name);
}

/* --- start and stop --- */

void real_udp_init(struct real *r)
{
	slab_init(&r->hellos, sizeof(struct real_hello), HELLOS_MAX);
}

void real_udp_stop(struct real *r)
{
	while (r->first_hello)
		hello_give(r->first_hello);
}

void real_udp_fini(struct real *r)
{
	slab_fini(&r->hellos);
}
