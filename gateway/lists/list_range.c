/* Ranges of addresses as prefixes. */
#include "gateway/lists/list_range.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define MAPPED_BITS 96 /* before the IPv4 address in a v4-mapped one (RFC 4291 2.5.5.2) */

static void host_clear(uint8_t *address, size_t size, unsigned bits)
{
	if (bits % 8)
		address[bits / 8] &= (uint8_t)(0xff << (8 - bits % 8));
	for (size_t i = (bits + 7) / 8; i < size; i++)
		address[i] = 0;
}

int list_range_prefix(const uint8_t *address, size_t size, uint64_t bits, struct ip_prefix *ret)
{
	uint8_t masked[16];

	if ((size != 4 && size != 16) || bits > size * 8)
		return -EINVAL;
	memcpy(masked, address, size);
	host_clear(masked, size, (unsigned)bits);
	ret->addr = ip_addr_of(masked, size);
	if (size == 16 && ret->addr.family == IP_V4)
		bits -= MAPPED_BITS; /* a shorter one would have lost the mark */
	ret->len = (uint8_t)bits;
	return 0;
}

static bool bit_get(const uint8_t *address, unsigned i)
{
	return address[i / 8] >> (7 - i % 8) & 1;
}

static void bits_set(uint8_t *address, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		address[i / 8] |= (uint8_t)(0x80 >> i % 8);
}

/* Adds one; false: there is no next address. */
static bool address_next(uint8_t *address, size_t size)
{
	for (size_t i = size; i-- > 0;)
		if (++address[i] != 0)
			return true;
	return false;
}

/* The shortest length of a prefix that begins at first and does not reach beyond last. Its last
 * address goes to ret_end. */
static unsigned longest_run(
	const uint8_t *first, const uint8_t *last, size_t size, uint8_t ret_end[16])
{
	unsigned width = (unsigned)size * 8, bits = width;

	memcpy(ret_end, first, size);
	while (bits > 0 && !bit_get(first, bits - 1)) {
		bits_set(ret_end, bits - 1, bits);
		if (memcmp(ret_end, last, size) > 0) {
			ret_end[(bits - 1) / 8] &= (uint8_t) ~(0x80 >> (bits - 1) % 8);
			break;
		}
		bits--;
	}
	return bits;
}

int list_range_each(
	const uint8_t *first, const uint8_t *last, size_t size, list_range_visit *visit, void *arg)
{
	uint8_t from[16], end[16];

	if ((size != 4 && size != 16) || memcmp(first, last, size) > 0)
		return -EINVAL;
	memcpy(from, first, size);
	do {
		struct ip_prefix prefix;
		unsigned bits = longest_run(from, last, size, end);
		int err = list_range_prefix(from, size, bits, &prefix);

		if (!err)
			err = visit(arg, &prefix);
		if (err)
			return err;
		memcpy(from, end, size);
	} while (memcmp(end, last, size) < 0 && address_next(from, size));
	return 0;
}
