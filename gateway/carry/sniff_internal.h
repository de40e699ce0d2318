/* What the parts of sniffing share: the check of a name, the ClientHello as TLS and QUIC carry it,
 * the protection of QUIC's Initial packets. */
#ifndef TUNGATE_CARRY_SNIFF_INTERNAL_H
#define TUNGATE_CARRY_SNIFF_INTERNAL_H

#include "gateway/carry/sniff.h"

#define SNIFF_QUIC_V1	     0x00000001u
#define SNIFF_QUIC_V2	     0x6b3343cfu /* RFC 9369 3.1 */
#define SNIFF_QUIC_TAG	     16		 /* AEAD_AES_128_GCM */
#define SNIFF_QUIC_PLAIN_MAX 4096	 /* of a packet that is read; clients send at most 1,500 */

/* Is it a host name, and no address? Then SNIFF_NAME, else SNIFF_NONE. */
enum sniff_result sniff_host_name(const uint8_t *text, size_t len, char ret_name[SNIFF_NAME_SIZE]);

/* The beginning of a ClientHello message without any records, as CRYPTO frames carry it. */
enum sniff_result sniff_client_hello(
	const uint8_t *data, size_t len, char ret_name[SNIFF_NAME_SIZE]);

/* An Initial packet: from its first byte, the packet number at number_at. */
struct sniff_quic_packet {
	const uint8_t *data;
	size_t len, number_at;
};

/* -EIO: OpenSSL could not. */
int sniff_quic_keys_derive(
	uint32_t version, const uint8_t *dcid, size_t dcid_len, struct sniff_quic_keys *ret_keys);
/* Removes both protections (RFC 9001 5.3, 5.4). The frames are in ret_plain, their length is
 * returned. -EBADMSG: too short, too long, or not authentic under these keys; -EIO as above. */
int sniff_quic_open(const struct sniff_quic_keys *keys, const struct sniff_quic_packet *packet,
	uint8_t ret_plain[SNIFF_QUIC_PLAIN_MAX]);

#endif
