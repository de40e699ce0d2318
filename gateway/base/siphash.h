/* SipHash-1-3 (Aumasson, Bernstein): for tables whose keys others choose, as none may choose who
 * collides. In host order, and the size is not mixed in: for tables in memory only, and for keys of
 * one size or whose end tells itself. Inline, as every query takes it. */
#ifndef TUNGATE_BASE_SIPHASH_H
#define TUNGATE_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t siphash_rotate(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static inline void siphash_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = siphash_rotate(v[1], 13) ^ v[0];
	v[3] = siphash_rotate(v[3], 16) ^ v[2];
	v[0] = siphash_rotate(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = siphash_rotate(v[1], 17) ^ v[2];
	v[3] = siphash_rotate(v[3], 21) ^ v[0];
	v[2] = siphash_rotate(v[2], 32);
}

static inline void siphash_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	siphash_round(v);
	v[0] ^= word;
}

/* Less than a word. Without a call: addresses end so. */
static inline uint64_t siphash_tail(const uint8_t *b, size_t size)
{
	uint64_t word = 0;
	uint32_t half;

	if (size & 4) {
		memcpy(&half, b, 4);
		word = half;
		b += 4;
	}
	for (size_t i = 0; i < (size & 3); i++)
		word = word << 8 | b[i];
	return word;
}

static inline uint64_t siphash(uint64_t key, const void *bytes, size_t size)
{
	const uint8_t *b = bytes;
	uint64_t key1 = siphash_rotate(key, 32) * 0x9e3779b97f4a7c15ULL;
	uint64_t v[4] = {key ^ 0x736f6d6570736575ULL, key1 ^ 0x646f72616e646f6dULL,
		key ^ 0x6c7967656e657261ULL, key1 ^ 0x7465646279746573ULL};
	uint64_t word;

	for (; size >= 8; size -= 8, b += 8) {
		memcpy(&word, b, 8);
		siphash_word(v, word);
	}
	if (size > 0)
		siphash_word(v, siphash_tail(b, size));
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		siphash_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
