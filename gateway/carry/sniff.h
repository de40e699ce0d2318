/* The name that a client's first bytes tell: the server_name of a TLS ClientHello (with ECH the
 * outer one), the host of an HTTP/1 request, the server_name inside QUIC Initial packets. Pure: no
 * I/O, no clock, nothing kept but what the caller holds; any thread. What a name is made of comes
 * from a client, so one is only returned if it is a host name: letters, digits, '-', '_' and dots,
 * at most 253 bytes, lower-cased, without a trailing dot, and no address.
 *
 * Asked again with more of the same bytes, an answer other than SNIFF_MORE stays what it was. */
#ifndef TUNGATE_CARRY_SNIFF_H
#define TUNGATE_CARRY_SNIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNIFF_NAME_SIZE		 256  /* a text with its NUL */
#define SNIFF_STREAM_MAX	 8192 /* of a stream's bytes are looked at; a name comes earlier */
#define SNIFF_QUIC_MAX		 8192 /* of a connection's CRYPTO bytes are kept */
#define SNIFF_QUIC_DATAGRAMS_MAX 10   /* then it has no name */

enum sniff_result {
	SNIFF_NAME, /* ret_name is set; it is left alone otherwise */
	SNIFF_NONE, /* there surely is no name here */
	SNIFF_MORE, /* more bytes could tell; never once SNIFF_STREAM_MAX are there */
};

/* A ClientHello (RFC 8446 4.1.2, RFC 6066 3), also one that is split over several TLS records. */
enum sniff_result sniff_tls(const uint8_t *data, size_t len, char ret_name[SNIFF_NAME_SIZE]);
/* A request of HTTP/1.x (RFC 9112 3): the host of an absolute target, else of the Host field.
 * CONNECT has none: it names the far end of a tunnel, not the server that is asked for it. */
enum sniff_result sniff_http(const uint8_t *data, size_t len, char ret_name[SNIFF_NAME_SIZE]);
/* Whichever of the two wanted ones it looks like. */
enum sniff_result sniff_stream(
	bool tls, bool http, const uint8_t *data, size_t len, char ret_name[SNIFF_NAME_SIZE]);

/* The client's keys for Initial packets: public, they follow from its first connection id. */
struct sniff_quic_keys {
	uint32_t version; /* 0: none yet */
	uint8_t dcid_len, dcid[20];
	uint8_t key[16], iv[12], hp[16];
};

/* What one connection's Initial packets have brought. Begins as zeros, needs no end. */
struct sniff_quic {
	struct sniff_quic_keys keys;
	unsigned datagrams;
	size_t whole; /* bytes from the beginning without a gap */
	uint8_t seen[SNIFF_QUIC_MAX / 8];
	uint8_t crypto[SNIFF_QUIC_MAX];
};

/* The next datagram from the client. QUIC version 1 (RFC 9001 5) and 2 (RFC 9369); the ClientHello
 * may be spread in any order over the packets of several datagrams. Packets of another connection
 * that can be read begin anew. A thread's first datagram makes what OpenSSL needs; it is freed when
 * the thread ends, and a process that never calls this has nothing of it. */
enum sniff_result sniff_quic_datagram(
	struct sniff_quic *q, const uint8_t *data, size_t len, char ret_name[SNIFF_NAME_SIZE]);

#endif
