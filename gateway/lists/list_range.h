/* Addresses as binary formats write them: bytes with a length, or the first and last of a range.
 * Pure. */
#ifndef TUNGATE_LISTS_RANGE_H
#define TUNGATE_LISTS_RANGE_H

#include "gateway/base/addr.h"

/* size (4 or 16) bytes and a length in bits; host bits are cleared, v4-mapped ones are the IPv4
 * that they mean. -EINVAL: neither size, or too many bits. */
int list_range_prefix(const uint8_t *address, size_t size, uint64_t bits, struct ip_prefix *ret);

/* Other than 0 ends the visit. */
typedef int list_range_visit(void *arg, const struct ip_prefix *prefix);
/* The fewest prefixes that are exactly what lies between first and last, both included and of
 * `size` bytes; at most 254 of them. -EINVAL: another size, or last before first; what visit
 * returned. */
int list_range_each(
	const uint8_t *first, const uint8_t *last, size_t size, list_range_visit *visit, void *arg);

#endif
