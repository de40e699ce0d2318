#include "gateway/serve/tun.h"

#include <string.h>

struct route { /* in query_origin.route */
	struct serve_tun *tun;
	uint8_t headers[TUN_UDP_HEADROOM_MAX]; /* of the query, made plain: what the answer's are
						  built from */
};
_Static_assert(sizeof(struct route) <= QUERY_ROUTE_SIZE, "route fits its origin");

/* The query's headers without options, extension headers and payload. */
static void keep_headers(struct route *route, const struct tun_packet *p)
{
	bool v6 = p->family == IP_V6;
	size_t ip = v6 ? 40 : 20;
	uint8_t *h = route->headers;

	memcpy(h, p->data, ip);
	memcpy(h + ip, p->data + p->transport, 8);
	h[ip + 4] = 0;
	h[ip + 5] = 8;
	if (v6) {
		h[4] = 0;
		h[5] = 8;
		h[6] = p->protocol;
		return;
	}
	h[0] = 0x45;
	h[2] = 0;
	h[3] = 28;
	h[10] = h[11] = 0;
	uint16_t sum = tun_packet_checksum(h, ip);
	memcpy(h + 10, &sum, sizeof sum);
}

static void reply_later(const struct query_origin *o, const uint8_t *msg, size_t len)
{
	struct tun_packet query;
	struct route route;
	uint8_t *slot;
	size_t n;

	memcpy(&route, o->route, sizeof route);
	if (tun_packet_parse(route.headers, sizeof route.headers, &query))
		return;
	slot = serve_out_slot(route.tun->out);
	memcpy(slot + tun_packet_udp_headroom(&query), msg, len);
	n = tun_packet_udp_reply(slot, &query, len);
	if (n)
		serve_out_packet(route.tun->out, route.tun->fd, n);
}

void serve_tun_packet(struct serve_tun *t, const struct tun_packet *p)
{
	struct query_origin origin = {
		.client = {.addr = tun_packet_source(p), .port = p->source_port},
		.listener = QUERY_TUN,
		.reply = reply_later,
	};
	struct route route;
	uint8_t *slot;
	size_t n;

	if (!tun_packet_checksum_ok(p))
		return;
	route.tun = t;
	keep_headers(&route, p);
	memcpy(origin.route, &route, sizeof route);
	slot = serve_out_slot(t->out);
	n = query_handle(t->engine, &origin, p->data + p->payload, p->payload_len,
		slot + tun_packet_udp_headroom(p));
	if (n == 0 || n == QUERY_PARKED)
		return;
	n = tun_packet_udp_reply(slot, p, n);
	if (n)
		serve_out_packet(t->out, t->fd, n);
}
