/* IP packets as TUN and NFLOG hand them to us: a parser whose every length is checked, and the
 * packets that answer them. Pure; any thread. Nothing is copied: a struct tun_packet points into
 * the caller's buffer and is valid as long as that.
 *
 * After a parse that returned 0 every offset and length in the struct lies within the packet. The
 * builders answer a packet only where an answer may be sent at all, and return 0 where not; so
 * nobody can make us answer to a group, to an error or to ourselves for ever. */
#ifndef TUNGATE_TUN_PACKET_H
#define TUNGATE_TUN_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/addr.h"

enum tun_fragment {
	TUN_WHOLE = 0,	    /* also an IPv6 atomic fragment (RFC 6946) */
	TUN_FRAGMENT_FIRST, /* its ports are known if they are in it */
	TUN_FRAGMENT_LATER, /* of its upper layer only the protocol is known */
};

struct tun_packet {
	uint8_t *data;		/* the IP header */
	uint16_t len;		/* as the IP header says; never more than the buffer */
	uint8_t family;		/* enum ip_family */
	uint8_t protocol;	/* of the upper layer, behind IPv6 extension headers */
	uint8_t fragment;	/* enum tun_fragment */
	uint8_t hop_limit;	/* TTL */
	uint16_t next_at;	/* offset of the byte that says protocol */
	uint16_t transport;	/* offset of the upper layer's header */
	uint16_t transport_len; /* with its payload; UDP: as the UDP header says */
	uint16_t source_port;	/* host order; of UDP and TCP, else 0 */
	uint16_t target_port;
	/* Offset, behind the header of a whole UDP, TCP or ICMP packet; else as transport. */
	uint16_t payload;
	uint16_t payload_len;
};

/* 0. -EBADMSG: to be dropped: a length lies, the IPv4 header's checksum is wrong, an IPv6 header
 * chain is longer than 8, out of order, or a source route that has not ended; addresses that may
 * not be on a wire (v4-mapped). */
int tun_packet_parse(uint8_t *data, size_t len, struct tun_packet *ret);

struct ip_addr tun_packet_source(const struct tun_packet *p);
struct ip_addr tun_packet_target(const struct tun_packet *p);

/* The upper layer's checksum is right: of whole UDP, TCP, ICMP and ICMPv6 packets; others cannot be
 * told and pass. A UDP checksum of zero passes in IPv4 and fails in IPv6 (RFC 8200 8.1). Not for
 * packets from NFLOG: what was made on this machine may not have its checksum yet;
 * tun_packet_checksum_set() makes it, and must before such a packet is sent on. */
bool tun_packet_checksum_ok(const struct tun_packet *p);
void tun_packet_checksum_set(const struct tun_packet *p);
/* RFC 1071, as it is stored in the packet. */
uint16_t tun_packet_checksum(const void *data, size_t len);

struct tun_tcp {
	uint32_t seq, ack;
	uint32_t len; /* in sequence numbers: data, SYN and FIN */
	uint8_t flags;
};
#define TUN_TCP_FIN 0x01
#define TUN_TCP_SYN 0x02
#define TUN_TCP_RST 0x04
#define TUN_TCP_ACK 0x10
/* false: not a whole TCP packet */
bool tun_packet_tcp(const struct tun_packet *p, struct tun_tcp *ret);

struct tun_echo {
	uint16_t id, seq;
};
/* false: not a whole echo request */
bool tun_packet_echo(const struct tun_packet *p, struct tun_echo *ret);

/* The reply to an echo request (RFC 792, RFC 4443 4.2), as long as that. Returns its length; 0: p
 * is no whole echo request, or may not be answered. out must not overlap p. */
size_t tun_packet_echo_reply(uint8_t *out, const struct tun_packet *p);

/* The datagram that answers query: its payload stands already at out +
 * tun_packet_udp_headroom(query); the headers are written in front of it, addresses and ports
 * swapped, never fragmented (DF). Returns its length. 0: query is not whole UDP, its source is
 * nobody who could be answered, or the payload is too long. out must not overlap query. */
#define TUN_UDP_HEADROOM_MAX 48
size_t tun_packet_udp_headroom(const struct tun_packet *query);
size_t tun_packet_udp_reply(uint8_t *out, const struct tun_packet *query, size_t payload_len);

/* A datagram of our own from one to the other, of the same family: its payload stands already at
 * out + 28 for IPv4, out + 48 for IPv6. May be fragmented. Returns its length; 0: the families
 * differ, or the payload is too long. */
#define TUN_UDP_HEADROOM_V4 28
#define TUN_UDP_HEADROOM_V6 48
size_t tun_packet_udp_build(
	uint8_t *out, const struct ip_port *from, const struct ip_port *to, size_t payload_len);

/* A packet of one of the builders in pieces of at most mtu bytes (68 at least for IPv4, 1280 for
 * IPv6): writes the next piece and returns its length; 0: that was all. *done: 0 at first, ours
 * from then on. id: the same for all pieces of a packet, another one for another packet. out must
 * not overlap packet. */
size_t tun_packet_fragment(
	uint8_t *out, const uint8_t *packet, size_t len, size_t mtu, uint32_t id, size_t *done);

/* The reset that answers a segment (RFC 9293 3.10.7.1). Returns its length; 0: none may be sent. */
#define TUN_RESET_MAX 60
size_t tun_packet_tcp_reset(uint8_t *out, const struct tun_packet *segment);

enum tun_error {		  /* what IPv4 and IPv6 call it */
	TUN_NO_ROUTE,		  /* 3/0 net unreachable; 1/0 no route to destination */
	TUN_HOST_UNREACHABLE,	  /* 3/1; 1/3 address unreachable */
	TUN_PROTOCOL_UNREACHABLE, /* 3/2; 4/1 unrecognized next header */
	TUN_PORT_UNREACHABLE,	  /* 3/3; 1/4 */
	TUN_TOO_BIG,		  /* 3/4; 2/0: with mtu */
	TUN_PROHIBITED,		  /* 3/13; 1/1 */
	TUN_TIME_EXCEEDED,	  /* 11/0; 3/0 */
};
/* The ICMP error that tells the sender of p, quoting as much of p as may be: 576 bytes in all for
 * IPv4 (RFC 1812 4.3.2.3), 1280 for IPv6. from: who sends it; NULL: the target of p. mtu: for
 * TUN_TOO_BIG. Returns its length; 0: none may be sent (RFC 1122 3.2.2, RFC 4443 2.4): p is an ICMP
 * error or redirect, a later fragment, or from or to what is not one host. */
#define TUN_ERROR_MAX 1280
size_t tun_packet_icmp_error(uint8_t *out, const struct tun_packet *p, enum tun_error error,
	const struct ip_addr *from, uint32_t mtu);

#endif
