/* What reading (packet.c) and building (packet_build.c) share. */
#ifndef TUNGATE_TUN_PACKET_INTERNAL_H
#define TUNGATE_TUN_PACKET_INTERNAL_H

#include "gateway/base/wire.h"
#include "gateway/tun/packet.h"

/* Both protocols' headers as offsets, so that nothing here depends on alignment. */
enum {
	V4_HEADER = 20,
	V4_SOURCE = 12,
	V4_TARGET = 16,
	V6_HEADER = 40,
	V6_SOURCE = 8,
	V6_TARGET = 24,
	UDP_HEADER = 8,
	UDP_SUM = 6,
	TCP_HEADER = 20,
	TCP_SUM = 16,
	ICMP_HEADER = 8,
	ICMP_SUM = 2,
	PROTOCOL_ICMP = 1,
	PROTOCOL_TCP = 6,
	PROTOCOL_UDP = 17,
	PROTOCOL_ICMP6 = 58,
};

/* One's complement sums: added up in any order, folded and inverted at the end. */
uint64_t checksum_add(uint64_t sum, const void *data, size_t len);
uint16_t checksum_finish(uint64_t sum); /* as it is stored */
/* Of the pseudo header (RFC 768, RFC 9293 3.1, RFC 8200 8.1). */
uint64_t checksum_pseudo(const uint8_t *ip_header, uint8_t protocol, size_t len);
/* Puts the checksum of the upper layer, whose field is at sum_at, into it. */
void checksum_put(
	const uint8_t *ip_header, uint8_t *transport, size_t len, uint8_t protocol, size_t sum_at);

#endif
