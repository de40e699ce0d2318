#include "gateway/tun/packet_internal.h"

#include <errno.h>
#include <string.h>

enum {
	/* More than any sender has a reason for (RFC 8504 5.3 lets a node limit them). */
	V6_CHAIN_MAX = 8,
	NEXT_HOP_BY_HOP = 0,
	NEXT_ROUTING = 43,
	NEXT_FRAGMENT = 44,
	NEXT_AUTHENTICATION = 51,
	NEXT_OPTIONS = 60,
};

uint64_t checksum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t word;

	/* Two halves of 32 bits: 64 KiB of them cannot carry out of the sum. */
	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&word, p, 8);
		sum += (word >> 32) + (word & 0xffffffff);
	}
	if (len > 0) {
		word = 0;
		memcpy(&word, p, len);
		sum += (word >> 32) + (word & 0xffffffff);
	}
	return sum;
}

uint16_t checksum_finish(uint64_t sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)~sum;
}

uint64_t checksum_pseudo(const uint8_t *ip_header, uint8_t protocol, size_t len)
{
	uint8_t tail[8] = {[7] = protocol};
	uint64_t sum;

	wire_put32(tail, (uint32_t)len);
	sum = checksum_add(0, tail, sizeof tail);
	if (ip_header[0] >> 4 == IP_V4)
		return checksum_add(sum, ip_header + V4_SOURCE, 8);
	return checksum_add(sum, ip_header + V6_SOURCE, 32);
}

uint16_t tun_packet_checksum(const void *data, size_t len)
{
	return checksum_finish(checksum_add(0, data, len));
}

/* Offset of the checksum in the upper layer's header; 0: this protocol has none that we know. */
static size_t sum_offset(uint8_t family, uint8_t protocol)
{
	switch (protocol) {
	case PROTOCOL_UDP:
		return UDP_SUM;
	case PROTOCOL_TCP:
		return TCP_SUM;
	case PROTOCOL_ICMP:
		return family == IP_V4 ? ICMP_SUM : 0;
	case PROTOCOL_ICMP6:
		return family == IP_V6 ? ICMP_SUM : 0;
	default:
		return 0;
	}
}

void checksum_put(
	const uint8_t *ip_header, uint8_t *transport, size_t len, uint8_t protocol, size_t sum_at)
{
	uint64_t sum = protocol == PROTOCOL_ICMP ? 0 : checksum_pseudo(ip_header, protocol, len);
	uint16_t result;

	memset(transport + sum_at, 0, 2);
	result = checksum_finish(checksum_add(sum, transport, len));
	/* Zero would say "none" (RFC 768); both are the same number. */
	if (result == 0 && protocol == PROTOCOL_UDP)
		result = 0xffff;
	memcpy(transport + sum_at, &result, 2);
}

bool tun_packet_checksum_ok(const struct tun_packet *p)
{
	const uint8_t *t = p->data + p->transport;
	size_t at = sum_offset(p->family, p->protocol);
	uint64_t sum;

	if (at == 0 || p->fragment != TUN_WHOLE)
		return true;
	if (p->protocol == PROTOCOL_UDP && wire_get16(t + at) == 0)
		return p->family == IP_V4;
	sum = p->protocol == PROTOCOL_ICMP
		      ? 0
		      : checksum_pseudo(p->data, p->protocol, p->transport_len);
	return checksum_finish(checksum_add(sum, t, p->transport_len)) == 0;
}

void tun_packet_checksum_set(const struct tun_packet *p)
{
	size_t at = sum_offset(p->family, p->protocol);

	if (at > 0 && p->fragment == TUN_WHOLE)
		checksum_put(p->data, p->data + p->transport, p->transport_len, p->protocol, at);
}

static int parse_v4(size_t len, struct tun_packet *p)
{
	const uint8_t *d = p->data;
	size_t header = (size_t)(d[0] & 15) * 4;
	unsigned fragment;

	if (len < V4_HEADER || header < V4_HEADER)
		return -EBADMSG;
	p->len = wire_get16(d + 2);
	if (p->len < header || p->len > len || tun_packet_checksum(d, header) != 0)
		return -EBADMSG;
	fragment = wire_get16(d + 6) & 0x3fff;
	if (fragment)
		p->fragment = fragment & 0x1fff ? TUN_FRAGMENT_LATER : TUN_FRAGMENT_FIRST;
	p->hop_limit = d[8];
	p->next_at = 9;
	p->transport = (uint16_t)header;
	return 0;
}

static bool v4_mapped(const uint8_t *address)
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(address, prefix, sizeof prefix) == 0;
}

/* Bytes of the extension header at e of which `left` are there; 0: it is broken or may not be in
 * this place. */
static size_t extension_size(uint8_t kind, const uint8_t *e, size_t left, bool first)
{
	size_t size;

	if (left < 8)
		return 0;
	if (kind == NEXT_FRAGMENT)
		return 8;
	size = kind == NEXT_AUTHENTICATION ? ((size_t)e[1] + 2) * 4 : ((size_t)e[1] + 1) * 8;
	if (size > left || (kind == NEXT_HOP_BY_HOP && !first))
		return 0;
	/* Segments left: the packet is not where it is going, and its checksum is made for that
	 * place. */
	if (kind == NEXT_ROUTING && e[3] != 0)
		return 0;
	return size;
}

static bool is_extension(uint8_t kind)
{
	return kind == NEXT_HOP_BY_HOP || kind == NEXT_ROUTING || kind == NEXT_FRAGMENT ||
	       kind == NEXT_AUTHENTICATION || kind == NEXT_OPTIONS;
}

static int parse_v6(size_t len, struct tun_packet *p)
{
	const uint8_t *d = p->data;
	size_t at = V6_HEADER, end;

	if (len < V6_HEADER)
		return -EBADMSG;
	end = V6_HEADER + (size_t)wire_get16(d + 4);
	if (end > len || end > UINT16_MAX || v4_mapped(d + V6_SOURCE) || v4_mapped(d + V6_TARGET))
		return -EBADMSG;
	p->len = (uint16_t)end;
	p->hop_limit = d[7];
	p->next_at = 6;
	for (unsigned n = 0; is_extension(d[p->next_at]); n++) {
		uint8_t kind = d[p->next_at];
		size_t size = n < V6_CHAIN_MAX ? extension_size(kind, d + at, end - at, n == 0) : 0;

		if (size == 0)
			return -EBADMSG;
		p->next_at = (uint16_t)at;
		if (kind == NEXT_FRAGMENT) {
			unsigned fragment = wire_get16(d + at + 2) & 0xfff9;

			/* A second one has no meaning that receivers agree on. */
			if (p->fragment != TUN_WHOLE)
				return -EBADMSG;
			if (fragment)
				p->fragment =
					fragment > 1 ? TUN_FRAGMENT_LATER : TUN_FRAGMENT_FIRST;
		}
		at += size;
		/* What follows in a later fragment is the middle of something. */
		if (p->fragment == TUN_FRAGMENT_LATER)
			break;
	}
	p->transport = (uint16_t)at;
	return 0;
}

/* Header length of a whole upper-layer packet of n bytes, 0 if it lies; trims transport_len to what
 * UDP says. */
static size_t upper_header(struct tun_packet *p)
{
	const uint8_t *t = p->data + p->transport;
	size_t n = p->transport_len, header;

	switch (p->protocol) {
	case PROTOCOL_UDP:
		if (n < UDP_HEADER || wire_get16(t + 4) < UDP_HEADER || wire_get16(t + 4) > n)
			return 0;
		p->transport_len = wire_get16(t + 4);
		return UDP_HEADER;
	case PROTOCOL_TCP:
		header = n < TCP_HEADER ? 0 : (size_t)(t[12] >> 4) * 4;
		return header < TCP_HEADER || header > n ? 0 : header;
	default:
		return n < ICMP_HEADER ? 0 : ICMP_HEADER;
	}
}

int tun_packet_parse(uint8_t *data, size_t len, struct tun_packet *ret)
{
	struct tun_packet p = {.data = data};
	bool ports;

	if (len == 0)
		return -EBADMSG;
	p.family = data[0] >> 4;
	if (p.family != IP_V4 && p.family != IP_V6)
		return -EBADMSG;
	if ((p.family == IP_V4 ? parse_v4(len, &p) : parse_v6(len, &p)) < 0)
		return -EBADMSG;
	p.protocol = data[p.next_at];
	p.payload = p.transport;
	p.transport_len = (uint16_t)(p.len - p.transport);
	if (p.fragment == TUN_WHOLE && sum_offset(p.family, p.protocol) > 0) {
		size_t header = upper_header(&p);

		if (header == 0)
			return -EBADMSG;
		p.payload = (uint16_t)(p.transport + header);
	}
	p.payload_len = (uint16_t)(p.transport + p.transport_len - p.payload);
	ports = p.protocol == PROTOCOL_UDP || p.protocol == PROTOCOL_TCP;
	if (ports && p.fragment != TUN_FRAGMENT_LATER && p.transport_len >= 4) {
		p.source_port = wire_get16(data + p.transport);
		p.target_port = wire_get16(data + p.transport + 2);
	}
	*ret = p;
	return 0;
}

static struct ip_addr address_at(const struct tun_packet *p, unsigned at4, unsigned at6)
{
	struct ip_addr a = {.family = p->family};

	if (p->family == IP_V4)
		memcpy(a.b, p->data + at4, 4);
	else
		memcpy(a.b, p->data + at6, 16);
	return a;
}

struct ip_addr tun_packet_source(const struct tun_packet *p)
{
	return address_at(p, V4_SOURCE, V6_SOURCE);
}

struct ip_addr tun_packet_target(const struct tun_packet *p)
{
	return address_at(p, V4_TARGET, V6_TARGET);
}

bool tun_packet_tcp(const struct tun_packet *p, struct tun_tcp *ret)
{
	const uint8_t *t = p->data + p->transport;

	if (p->protocol != PROTOCOL_TCP || p->fragment != TUN_WHOLE)
		return false;
	ret->seq = wire_get32(t + 4);
	ret->ack = wire_get32(t + 8);
	ret->flags = t[13];
	ret->len = p->payload_len;
	ret->len += (ret->flags & TUN_TCP_SYN ? 1 : 0) + (ret->flags & TUN_TCP_FIN ? 1 : 0);
	return true;
}

bool tun_packet_echo(const struct tun_packet *p, struct tun_echo *ret)
{
	const uint8_t *t = p->data + p->transport;
	bool v4 = p->family == IP_V4;

	if (p->protocol != (v4 ? PROTOCOL_ICMP : PROTOCOL_ICMP6) || p->fragment != TUN_WHOLE)
		return false;
	if (t[0] != (v4 ? 8 : 128) || t[1] != 0)
		return false;
	ret->id = wire_get16(t + 4);
	ret->seq = wire_get16(t + 6);
	return true;
}
