/* The bytes of the log, little endian:
 *
 *   header  0 magic "TungFIP\2"  8 checksum of what follows  12 pool4 length, pool6 length, 2 zeros
 *           16 pool4  20 pool6  36 zeros to 64
 *   record  0 mark "TgR\1"  4 checksum of what follows  8 index (24 bits), rebinds  12 name length,
 *           kind, frees (16 bits)  16 view, bits or low  24 rule or ends
 *           32 name, zeros to a multiple of 8
 *
 * The checksum is CRC-32C (Castagnoli, reflected 0x82f63b78), for a record started from the
 * header's: so records of other pools never pass, and those of ours do without the header. No name
 * can hold the mark: its upper-case letters are neither lower-case text nor a label length (at most
 * 63), so clients cannot ask a record into the file. */
#include "fakeip/fakeip_internal.h"

#include <string.h>

static const uint8_t header_magic[8] = {'T', 'u', 'n', 'g', 'F', 'I', 'P', 2};
static const uint8_t record_mark[4] = {'T', 'g', 'R', 1};

/* --- checksum: eight tables, eight bytes a step --- */

void crc32c_init(struct crc32c *c)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t v = i;

		for (int bit = 0; bit < 8; bit++)
			v = v & 1 ? v >> 1 ^ 0x82f63b78U : v >> 1;
		c->t[0][i] = v;
	}
	for (unsigned k = 1; k < 8; k++)
		for (unsigned i = 0; i < 256; i++)
			c->t[k][i] = c->t[k - 1][i] >> 8 ^ c->t[0][c->t[k - 1][i] & 0xff];
}

static uint32_t get32(const uint8_t *b)
{
	return (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}

static uint64_t get64(const uint8_t *b)
{
	return (uint64_t)get32(b + 4) << 32 | get32(b);
}

static void put32(uint8_t *b, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		b[i] = (uint8_t)(v >> 8 * i);
}

static void put64(uint8_t *b, uint64_t v)
{
	put32(b, (uint32_t)v);
	put32(b + 4, (uint32_t)(v >> 32));
}

uint32_t crc32c_update(const struct crc32c *c, uint32_t crc, const uint8_t *data, size_t len)
{
	crc = ~crc;
	for (; len >= 8; data += 8, len -= 8) {
		uint32_t lo = crc ^ get32(data), hi = get32(data + 4);

		crc = c->t[7][lo & 0xff] ^ c->t[6][lo >> 8 & 0xff] ^ c->t[5][lo >> 16 & 0xff] ^
		      c->t[4][lo >> 24] ^ c->t[3][hi & 0xff] ^ c->t[2][hi >> 8 & 0xff] ^
		      c->t[1][hi >> 16 & 0xff] ^ c->t[0][hi >> 24];
	}
	for (; len; data++, len--)
		crc = crc >> 8 ^ c->t[0][(crc ^ *data) & 0xff];
	return ~crc;
}

/* --- header --- */

void log_header_encode(const struct crc32c *c, const struct pool *p, uint8_t ret[LOG_HEADER_SIZE])
{
	memset(ret, 0, LOG_HEADER_SIZE);
	memcpy(ret, header_magic, sizeof header_magic);
	ret[12] = p->len4;
	ret[13] = p->len6;
	memcpy(ret + 16, p->net4, sizeof p->net4);
	memcpy(ret + 20, p->net6, sizeof p->net6);
	put32(ret + 8, crc32c_update(c, 0, ret + 12, LOG_HEADER_SIZE - 12));
}

bool log_header_is_whole(const struct crc32c *c, const uint8_t header[LOG_HEADER_SIZE])
{
	return memcmp(header, header_magic, sizeof header_magic) == 0 &&
	       get32(header + 8) == crc32c_update(c, 0, header + 12, LOG_HEADER_SIZE - 12);
}

void log_header_decode(const uint8_t header[LOG_HEADER_SIZE], struct pool *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->len4 = header[12];
	ret->len6 = header[13];
	memcpy(ret->net4, header + 16, sizeof ret->net4);
	memcpy(ret->net6, header + 20, sizeof ret->net6);
	ret->end = POOL_FIRST + POOL_MAX_SIZE;
}

uint32_t log_record_seed(const struct crc32c *c, const uint8_t header[LOG_HEADER_SIZE])
{
	return crc32c_update(c, 0, header, LOG_HEADER_SIZE);
}

/* --- records --- */

bool name_is_valid(const uint8_t *name, size_t name_len)
{
	size_t at = 0;

	if (name_len == 0 || name_len > FAKEIP_NAME_MAX)
		return false;
	while (name[at]) {
		size_t end = at + 1 + name[at];

		if (name[at] > 63 || end >= name_len)
			return false;
		for (at++; at < end; at++)
			if (name[at] >= 'A' && name[at] <= 'Z')
				return false;
	}
	return at + 1 == name_len;
}

size_t record_size(size_t name_len)
{
	return RECORD_HEAD + 8 * name_words(name_len);
}

size_t record_encode(
	const struct crc32c *c, uint32_t seed, const struct record *r, uint8_t ret[RECORD_MAX])
{
	size_t size = record_size(r->name_len);

	memcpy(ret, record_mark, sizeof record_mark);
	put32(ret + 8, r->index | (uint32_t)r->rebinds << 24);
	ret[12] = (uint8_t)r->name_len;
	ret[13] = (uint8_t)r->kind;
	ret[14] = (uint8_t)r->frees;
	ret[15] = (uint8_t)(r->frees >> 8);
	put64(ret + 16, r->view);
	put64(ret + 24, r->rule);
	if (r->name_len)
		memcpy(ret + RECORD_HEAD, r->name, size - RECORD_HEAD);
	put32(ret + 4, crc32c_update(c, seed, ret + 8, size - 8));
	return size;
}

static bool record_is_valid(const struct record *r, const uint8_t *data, size_t size)
{
	if (r->kind < RECORD_BIND || r->kind > RECORD_LIMITS)
		return false;
	if (r->kind > RECORD_KEPT)
		return r->name_len == 0;
	for (size_t i = RECORD_HEAD + r->name_len; i < size; i++)
		if (data[i])
			return false;
	return name_is_valid(r->name, r->name_len);
}

size_t record_decode(
	const struct crc32c *c, uint32_t seed, const uint8_t *data, size_t len, struct record *ret)
{
	size_t size;

	if (len < RECORD_HEAD || memcmp(data, record_mark, sizeof record_mark) != 0)
		return 0;
	size = record_size(data[12]);
	if (size > len || get32(data + 4) != crc32c_update(c, seed, data + 8, size - 8))
		return 0;
	ret->kind = data[13];
	ret->name_len = data[12];
	ret->index = get32(data + 8) & 0xffffff;
	ret->rebinds = data[11];
	ret->frees = (uint16_t)(data[15] << 8 | data[14]);
	ret->view = get64(data + 16);
	ret->rule = get64(data + 24);
	ret->name = data + RECORD_HEAD;
	return record_is_valid(ret, data, size) ? size : 0;
}

size_t record_search(const uint8_t *data, size_t len, size_t from)
{
	const uint8_t *at =
		from < len ? memmem(data + from, len - from, record_mark, sizeof record_mark)
			   : NULL;

	return at ? (size_t)(at - data) : len;
}
