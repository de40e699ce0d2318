#include "gateway/tun/packet_internal.h"

#include <string.h>

enum { HOPS = 64, NEXT_FRAGMENT = 44, V6_FRAGMENT = 8 };

/* Who may be the source of what we answer: exactly one host (RFC 1122 3.2.2, RFC 4443 2.4 e.6).
 * Broadcasts of a subnet cannot be told from here; the kernel does not forward them. */
static bool one_host(const struct tun_packet *p, unsigned at4, unsigned at6)
{
	static const uint8_t zero[16], loopback[16] = {[15] = 1};
	const uint8_t *a = p->data + (p->family == IP_V4 ? at4 : at6);

	if (p->family == IP_V4)
		return a[0] != 0 && a[0] != 127 && a[0] < 224;
	return a[0] != 0xff && memcmp(a, zero, 16) != 0 && memcmp(a, loopback, 16) != 0;
}

static bool answerable(const struct tun_packet *p)
{
	return one_host(p, V4_SOURCE, V6_SOURCE) && one_host(p, V4_TARGET, V6_TARGET);
}

static size_t header_size(const struct tun_packet *p)
{
	return p->family == IP_V4 ? V4_HEADER : V6_HEADER;
}

/* An IP header before len bytes in all. */
static void put_header(uint8_t *out, uint8_t family, const uint8_t *source, const uint8_t *target,
	uint8_t protocol, size_t len)
{
	uint16_t sum;

	if (family == IP_V6) {
		wire_put32(out, 0x60000000);
		wire_put16(out + 4, (unsigned)len - V6_HEADER);
		out[6] = protocol;
		out[7] = HOPS;
		memcpy(out + V6_SOURCE, source, 16);
		memcpy(out + V6_TARGET, target, 16);
		return;
	}
	/* The identification may be anything, since with DF the packet is never a fragment (RFC
	 * 6864 4.1). */
	wire_put16(out, 0x4500);
	wire_put16(out + 2, (unsigned)len);
	wire_put32(out + 4, 0x4000);
	out[8] = HOPS;
	out[9] = protocol;
	wire_put16(out + 10, 0);
	memcpy(out + V4_SOURCE, source, 4);
	memcpy(out + V4_TARGET, target, 4);
	sum = tun_packet_checksum(out, V4_HEADER);
	memcpy(out + 10, &sum, 2);
}

/* The IP header of an answer to p. */
static void put_ip(uint8_t *out, const struct tun_packet *p, const struct ip_addr *from,
	uint8_t protocol, size_t len)
{
	const uint8_t *source = p->data + (p->family == IP_V4 ? V4_TARGET : V6_TARGET);
	const uint8_t *target = p->data + (p->family == IP_V4 ? V4_SOURCE : V6_SOURCE);

	put_header(out, p->family, from ? from->b : source, target, protocol, len);
}

size_t tun_packet_udp_headroom(const struct tun_packet *query)
{
	return header_size(query) + UDP_HEADER;
}

size_t tun_packet_udp_reply(uint8_t *out, const struct tun_packet *query, size_t payload_len)
{
	size_t ip = header_size(query), len = ip + UDP_HEADER + payload_len;
	uint8_t *udp = out + ip;

	if (query->protocol != PROTOCOL_UDP || query->fragment != TUN_WHOLE ||
		query->source_port == 0)
		return 0;
	if (payload_len > UINT16_MAX || len > UINT16_MAX || !answerable(query))
		return 0;
	put_ip(out, query, NULL, PROTOCOL_UDP, len);
	wire_put16(udp, query->target_port);
	wire_put16(udp + 2, query->source_port);
	wire_put16(udp + 4, (unsigned)(len - ip));
	checksum_put(out, udp, len - ip, PROTOCOL_UDP, UDP_SUM);
	return len;
}

/* Identification, and flags with the offset, of an IPv4 header. */
static void put_fragment(uint8_t *out, unsigned id, unsigned fragment)
{
	uint16_t sum;

	wire_put16(out + 4, id);
	wire_put16(out + 6, fragment);
	wire_put16(out + 10, 0);
	sum = tun_packet_checksum(out, V4_HEADER);
	memcpy(out + 10, &sum, 2);
}

size_t tun_packet_udp_build(
	uint8_t *out, const struct ip_port *from, const struct ip_port *to, size_t payload_len)
{
	uint8_t family = from->addr.family;
	size_t ip = family == IP_V4 ? V4_HEADER : V6_HEADER, len = ip + UDP_HEADER + payload_len;
	uint8_t *udp = out + ip;

	if (family == IP_NONE || family != to->addr.family)
		return 0;
	if (payload_len > UINT16_MAX || len > UINT16_MAX)
		return 0;
	put_header(out, family, from->addr.b, to->addr.b, PROTOCOL_UDP, len);
	wire_put16(udp, from->port);
	wire_put16(udp + 2, to->port);
	wire_put16(udp + 4, (unsigned)(len - ip));
	checksum_put(out, udp, len - ip, PROTOCOL_UDP, UDP_SUM);
	/* Who sends it is not asked for a smaller packet, so a narrow link may cut it. Datagrams
	 * that differ have different sums, nearly always. */
	if (family == IP_V4)
		put_fragment(out, wire_get16(udp + UDP_SUM), 0);
	return len;
}

static size_t fragment_v4(
	uint8_t *out, const uint8_t *packet, size_t len, size_t mtu, uint32_t id, size_t done)
{
	size_t room = (mtu - V4_HEADER) / 8 * 8, left = len - V4_HEADER - done;
	size_t n = left > room ? room : left;

	memcpy(out, packet, V4_HEADER);
	memcpy(out + V4_HEADER, packet + V4_HEADER + done, n);
	wire_put16(out + 2, (unsigned)(V4_HEADER + n));
	put_fragment(out, id & 0xffff, (unsigned)(done / 8) | (left > n ? 0x2000 : 0));
	return V4_HEADER + n;
}

static size_t fragment_v6(
	uint8_t *out, const uint8_t *packet, size_t len, size_t mtu, uint32_t id, size_t done)
{
	size_t header = V6_HEADER + V6_FRAGMENT, left = len - V6_HEADER - done;
	size_t room = (mtu - header) / 8 * 8, n = left > room ? room : left;
	uint8_t *fragment = out + V6_HEADER;

	memcpy(out, packet, V6_HEADER);
	memcpy(out + header, packet + V6_HEADER + done, n);
	wire_put16(out + 4, (unsigned)(V6_FRAGMENT + n));
	out[6] = NEXT_FRAGMENT;
	fragment[0] = packet[6];
	fragment[1] = 0;
	wire_put16(fragment + 2, (unsigned)done | (left > n));
	wire_put32(fragment + 4, id);
	return header + n;
}

size_t tun_packet_fragment(
	uint8_t *out, const uint8_t *packet, size_t len, size_t mtu, uint32_t id, size_t *done)
{
	bool v4 = packet[0] >> 4 == IP_V4;
	size_t header = v4 ? V4_HEADER : V6_HEADER, n;

	if (len <= header + *done)
		return 0;
	n = (v4 ? fragment_v4 : fragment_v6)(out, packet, len, mtu, id, *done);
	*done += n - (v4 ? V4_HEADER : V6_HEADER + V6_FRAGMENT);
	return n;
}

size_t tun_packet_echo_reply(uint8_t *out, const struct tun_packet *p)
{
	bool v4 = p->family == IP_V4;
	size_t ip = header_size(p), size = p->transport_len, len = ip + size;
	struct tun_echo echo;

	if (!tun_packet_echo(p, &echo) || !answerable(p))
		return 0;
	memcpy(out + ip, p->data + p->transport, size);
	out[ip] = v4 ? 0 : 129;
	put_ip(out, p, NULL, p->protocol, len);
	checksum_put(out, out + ip, size, p->protocol, ICMP_SUM);
	return len;
}

size_t tun_packet_tcp_reset(uint8_t *out, const struct tun_packet *segment)
{
	size_t ip = header_size(segment), len = ip + TCP_HEADER;
	uint8_t *tcp = out + ip;
	struct tun_tcp in;

	if (!tun_packet_tcp(segment, &in) || in.flags & TUN_TCP_RST || !answerable(segment))
		return 0;
	memset(tcp, 0, TCP_HEADER);
	wire_put16(tcp, segment->target_port);
	wire_put16(tcp + 2, segment->source_port);
	tcp[12] = TCP_HEADER / 4 << 4;
	if (in.flags & TUN_TCP_ACK) {
		wire_put32(tcp + 4, in.ack);
		tcp[13] = TUN_TCP_RST;
	} else {
		wire_put32(tcp + 8, in.seq + in.len);
		tcp[13] = TUN_TCP_RST | TUN_TCP_ACK;
	}
	put_ip(out, segment, NULL, PROTOCOL_TCP, len);
	checksum_put(out, tcp, TCP_HEADER, PROTOCOL_TCP, TCP_SUM);
	return len;
}

static const struct {
	uint8_t type4, code4, type6, code6;
} error_codes[] = {
	[TUN_NO_ROUTE] = {3, 0, 1, 0},
	[TUN_HOST_UNREACHABLE] = {3, 1, 1, 3},
	[TUN_PROTOCOL_UNREACHABLE] = {3, 2, 4, 1},
	[TUN_PORT_UNREACHABLE] = {3, 3, 1, 4},
	[TUN_TOO_BIG] = {3, 4, 2, 0},
	[TUN_PROHIBITED] = {3, 13, 1, 1},
	[TUN_TIME_EXCEEDED] = {11, 0, 3, 0},
};

/* ICMP that may not be answered with an error. IPv4: all that is not a query or its reply, since a
 * type we do not know may be an error; IPv6: errors and redirects. A packet whose type is cut off
 * counts as one. */
static bool icmp_is_error(const struct tun_packet *p)
{
	const uint8_t *t = p->data + p->transport;

	if (p->protocol == PROTOCOL_ICMP && p->family == IP_V4) {
		if (p->transport_len == 0)
			return true;
		/* Echo and its reply, router solicitation, timestamp, information and mask, and
		 * extended echo. */
		return !(t[0] == 0 || (t[0] >= 8 && t[0] <= 10) || (t[0] >= 13 && t[0] <= 18) ||
			 t[0] == 42 || t[0] == 43);
	}
	if (p->protocol == PROTOCOL_ICMP6 && p->family == IP_V6)
		return p->transport_len == 0 || t[0] < 128 || t[0] == 137;
	return false;
}

size_t tun_packet_icmp_error(uint8_t *out, const struct tun_packet *p, enum tun_error error,
	const struct ip_addr *from, uint32_t mtu)
{
	bool v4 = p->family == IP_V4;
	size_t ip = header_size(p), max = v4 ? 576 : 1280;
	size_t quote = p->len > max - ip - ICMP_HEADER ? max - ip - ICMP_HEADER : p->len;
	size_t len = ip + ICMP_HEADER + quote;
	uint8_t protocol = v4 ? PROTOCOL_ICMP : PROTOCOL_ICMP6;
	uint8_t *icmp = out + ip;

	if (p->fragment == TUN_FRAGMENT_LATER || icmp_is_error(p) || !answerable(p))
		return 0;
	if (from && from->family != p->family)
		return 0;
	icmp[0] = v4 ? error_codes[error].type4 : error_codes[error].type6;
	icmp[1] = v4 ? error_codes[error].code4 : error_codes[error].code6;
	wire_put32(icmp + 4, 0);
	if (error == TUN_TOO_BIG)
		wire_put32(icmp + 4, v4 ? (mtu > UINT16_MAX ? UINT16_MAX : mtu) : mtu);
	else if (error == TUN_PROTOCOL_UNREACHABLE && !v4)
		wire_put32(icmp + 4, p->next_at); /* where in the quote the trouble is */
	memcpy(icmp + ICMP_HEADER, p->data, quote);
	put_ip(out, p, from, protocol, len);
	checksum_put(out, icmp, ICMP_HEADER + quote, protocol, ICMP_SUM);
	return len;
}
