/* How a compiled list lies in its file: a header, then sections one behind the other, all numbers
 * little-endian. The entries and the buckets' starts are aligned in the file as in memory; nothing
 * behind them is.
 *
 *   magic, header                   IMAGE_HEADER_SIZE
 *   entries of the table            8 bytes a name     (matcher_internal.h: table and sets)
 *   starts of its buckets           4 bytes each, 2^bits + 1
 *   starts of the sets              4 bytes each, n_sets + 1
 *   elements of the sets            2 bytes each
 *   names of each source            4 bytes each
 *   patterns                        source (2), is it an expression (2), length (4), its bytes
 *   IPv4 prefixes, then IPv6 ones   length (1), address (4 or 16), in ascending order
 *
 * image.c: layout and header; image_read.c and image_write.c do what they say. */
#ifndef TUNGATE_MATCH_IMAGE_INTERNAL_H
#define TUNGATE_MATCH_IMAGE_INTERNAL_H

#include "gateway/match/image.h"
#include "gateway/match/matcher_internal.h"

#define IMAGE_VERSION	   1
#define IMAGE_HEADER_SIZE  80
#define IMAGE_CHECKSUM_AT  24 /* of the 8 bytes that the checksum leaves out */
#define IMAGE_PATTERN_HEAD 8  /* bytes before a pattern's text */

struct image_header {
	uint32_t version, n_sources;
	uint64_t size, checksum;
	uint64_t depths[MATCHER_LABELS / 64];
	uint32_t n_names, bits, n_sets, n_elements;
	uint32_t n_patterns, pattern_bytes; /* with their heads */
	uint32_t n_v4, n_v6;
};

/* Where the sections begin; end: the file's size. bits must not be above MATCHER_BITS_MAX. */
struct image_layout {
	uint64_t entries, starts, set_starts, elements, counts, patterns, v4, v6, end;
};

struct image_layout image_layout(const struct image_header *h);
/* ret: IMAGE_HEADER_SIZE bytes, magic included. */
void image_header_write(const struct image_header *h, uint8_t *ret);
/* bytes: as many. The magic is not looked at. */
void image_header_read(const uint8_t *bytes, struct image_header *ret);
/* Of a whole file of len bytes, at least a header. */
uint64_t image_checksum(const uint8_t *bytes, size_t len);

static inline void image_put(uint8_t *at, uint64_t value, size_t size)
{
	uint64_t word = htole64(value);

	memcpy(at, &word, size);
}

static inline uint64_t image_get(const uint8_t *at, size_t size)
{
	uint64_t word = 0;

	memcpy(&word, at, size);
	return le64toh(word);
}

#endif
