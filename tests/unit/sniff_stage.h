/* What clients say first, made to order: a ClientHello, its TLS records, QUIC's Initial packets.
 * The protection is written with other parts of OpenSSL than the code under test uses. */
#ifndef TUNGATE_TESTS_SNIFF_STAGE_H
#define TUNGATE_TESTS_SNIFF_STAGE_H

#include <stddef.h>
#include <stdint.h>

#define STAGE_MAX 16384

/* A growing row of bytes. */
struct stage_bytes {
	uint8_t b[STAGE_MAX];
	size_t len;
};

void stage_put(struct stage_bytes *s, const void *data, size_t len);
void stage_zeros(struct stage_bytes *s, size_t n);
void stage_number(struct stage_bytes *s, uint64_t n, unsigned bytes); /* at most 8 */
void stage_varint(struct stage_bytes *s, uint64_t n); /* in as few bytes as it takes */

/* A ClientHello message. name NULL: without server_name; before, after: bytes of other extensions
 * on its two sides (0 or at least 4). */
void stage_hello(
	struct stage_bytes *s, const void *name, size_t name_len, size_t before, size_t after);
/* As handshake records of at most `size` bytes each. */
void stage_records(struct stage_bytes *s, const uint8_t *data, size_t len, size_t size);

struct stage_initial {
	uint32_t version;
	const char *dcid, *scid; /* texts */
	size_t token_len;	 /* of zeros */
	uint32_t number;
	unsigned number_size; /* 1 to 4 */
	size_t padded;	      /* PADDING until the packet has this size, 0 for none */
};

void stage_crypto(struct stage_bytes *s, uint64_t offset, const uint8_t *data, size_t len);
/* Appends the packet with these frames. */
void stage_seal(
	struct stage_bytes *s, const struct stage_initial *how, const uint8_t *frames, size_t len);

#endif
