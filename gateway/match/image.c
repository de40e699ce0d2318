#include "gateway/match/image_internal.h"

#include <stdlib.h>

struct image_layout image_layout(const struct image_header *h)
{
	struct image_layout l = {.entries = IMAGE_HEADER_SIZE};

	l.starts = l.entries + (uint64_t)h->n_names * 8;
	l.set_starts = l.starts + ((1ULL << h->bits) + 1) * 4;
	l.elements = l.set_starts + ((uint64_t)h->n_sets + 1) * 4;
	l.counts = l.elements + (uint64_t)h->n_elements * 2;
	l.patterns = l.counts + (uint64_t)h->n_sources * 4;
	l.v4 = l.patterns + h->pattern_bytes;
	l.v6 = l.v4 + (uint64_t)h->n_v4 * 5;
	l.end = l.v6 + (uint64_t)h->n_v6 * 17;
	return l;
}

void image_header_write(const struct image_header *h, uint8_t *ret)
{
	const uint32_t numbers[] = {h->n_names, h->bits, h->n_sets, h->n_elements, h->n_patterns,
		h->pattern_bytes, h->n_v4, h->n_v6};

	for (size_t i = 0; i < IMAGE_MAGIC_SIZE; i++)
		ret[i] = (uint8_t)IMAGE_MAGIC[i];
	image_put(ret + 8, h->version, 4);
	image_put(ret + 12, h->n_sources, 4);
	image_put(ret + 16, h->size, 8);
	image_put(ret + IMAGE_CHECKSUM_AT, h->checksum, 8);
	image_put(ret + 32, h->depths[0], 8);
	image_put(ret + 40, h->depths[1], 8);
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		image_put(ret + 48 + 4 * i, numbers[i], 4);
}

void image_header_read(const uint8_t *bytes, struct image_header *ret)
{
	uint32_t *const numbers[] = {&ret->n_names, &ret->bits, &ret->n_sets, &ret->n_elements,
		&ret->n_patterns, &ret->pattern_bytes, &ret->n_v4, &ret->n_v6};

	ret->version = (uint32_t)image_get(bytes + 8, 4);
	ret->n_sources = (uint32_t)image_get(bytes + 12, 4);
	ret->size = image_get(bytes + 16, 8);
	ret->checksum = image_get(bytes + IMAGE_CHECKSUM_AT, 8);
	ret->depths[0] = image_get(bytes + 32, 8);
	ret->depths[1] = image_get(bytes + 40, 8);
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		*numbers[i] = (uint32_t)image_get(bytes + 48 + 4 * i, 4);
}

/* Four lanes, so that the multiplications overlap: it is read at every start. */
static uint64_t sum_bytes(uint64_t seed, const uint8_t *bytes, size_t len)
{
	static const uint64_t factors[4] = {0x9e3779b97f4a7c15ULL, 0xd6e8feb86659fd93ULL,
		0xbf58476d1ce4e5b9ULL, 0x94d049bb133111ebULL};
	uint64_t lanes[4] = {seed, seed + 1, seed + 2, seed + 3};
	size_t at = 0;

	for (; len - at >= 32; at += 32)
		for (size_t i = 0; i < 4; i++)
			lanes[i] = matcher_mix(
				lanes[i] ^ image_get(bytes + at + 8 * i, 8), factors[i]);
	for (; at < len; at++)
		lanes[at % 4] = matcher_mix(lanes[at % 4] ^ bytes[at], factors[at % 4]);
	for (unsigned i = 1; i < 4; i++)
		lanes[0] = matcher_mix(lanes[0] ^ lanes[i], factors[0]);
	return matcher_mix(lanes[0] ^ len, factors[1]);
}

uint64_t image_checksum(const uint8_t *bytes, size_t len)
{
	uint64_t sum = sum_bytes(0x2545f4914f6cdd1dULL, bytes, IMAGE_CHECKSUM_AT);

	return sum_bytes(sum, bytes + IMAGE_CHECKSUM_AT + 8, len - IMAGE_CHECKSUM_AT - 8);
}

void image_fini(struct image *i)
{
	matcher_free(i->matcher);
	addresses_free(i->addresses);
	*i = (struct image){.matcher = NULL};
}
