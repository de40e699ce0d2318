/* What building and looking up share: sorted tables of prefixes, and sets of lists.
 *
 * addresses.c looks up and visits, addresses_build.c builds. */
#ifndef TUNGATE_MATCH_ADDRESSES_INTERNAL_H
#define TUNGATE_MATCH_ADDRESSES_INTERNAL_H

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include "gateway/match/addresses.h"

#define ADDRESSES_NONE UINT32_MAX

/* An address as two numbers, so that they sort as addresses do. IPv4 lies in the first 32 bits. */
struct address_key {
	uint64_t high, low;
};

/* Prefixes of one kind in the order of their first addresses, shorter ones first. */
struct address_table {
	uint32_t n;
	/* index[i]: how many begin before high[0] + (i << index_shift). */
	unsigned index_shift;
	uint32_t *index, index_size; /* without the last element, which is n */
	uint64_t *high, *low;	     /* low: NULL where no prefix is longer than 64 bits */
	uint32_t *around;	     /* the closest prefix that holds this one, or ADDRESSES_NONE */
	uint16_t *set;
	uint8_t *len;
};

/* Prefixes longer than 64 bits are few, and the only ones whose second half counts. */
enum { TABLE_V4, TABLE_V6, TABLE_V6_LONG, N_TABLES };

struct addresses {
	struct address_table tables[N_TABLES];
	/* Set i: lists[starts[i]] up to lists[starts[i + 1]]. Set 0 is empty. */
	uint32_t *starts;
	uint16_t *lists;
	size_t n_sets, n_lists; /* n_lists: elements of lists */
};

static inline struct address_key address_key_of(const struct ip_addr *address)
{
	struct address_key k;

	memcpy(&k.high, address->b, sizeof k.high);
	memcpy(&k.low, address->b + 8, sizeof k.low);
	return (struct address_key){be64toh(k.high), be64toh(k.low)};
}

static inline uint64_t address_mask(unsigned len)
{
	return len ? UINT64_MAX << (64 - len) : 0;
}

static inline bool address_key_holds(struct address_key prefix, unsigned len, struct address_key k)
{
	if (len <= 64)
		return ((prefix.high ^ k.high) & address_mask(len)) == 0;
	return prefix.high == k.high && ((prefix.low ^ k.low) & address_mask(len - 64)) == 0;
}

void address_table_free(struct address_table *t);

#endif
