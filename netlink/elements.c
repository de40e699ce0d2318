#include "netlink/elements.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#define MESSAGE_BYTES_MAX 65000
/* With its end, a value or the name of a chain, and times. */
#define ELEMENT_BYTES_MAX 512

void elements_open(
	struct nft_batch *b, const struct element_set *set, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *h = nft_batch_open(b, type, set->nfproto, flags, MESSAGE_BYTES_MAX);

	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, set->table);
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, set->name);
	b->nest = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
}

bool elements_full(const struct nft_batch *b)
{
	return b->open->nlmsg_len > MESSAGE_BYTES_MAX - ELEMENT_BYTES_MAX;
}

uint32_t elements_close(struct nft_batch *b)
{
	mnl_attr_nest_end(b->open, b->nest);
	return nft_batch_close(b);
}

static void put_value(struct nlmsghdr *h, uint16_t attr, const void *data, size_t size)
{
	struct nlattr *nest = mnl_attr_nest_start(h, attr);

	mnl_attr_put(h, NFTA_DATA_VALUE, size, data);
	mnl_attr_nest_end(h, nest);
}

/* left_ms 0: say nothing about it. */
static void put_timeout(struct nlmsghdr *h, uint64_t timeout_ms, uint64_t left_ms)
{
	if (timeout_ms == ELEMENT_NO_TIMEOUT)
		return;
	/* 0 says permanent even where the set has a default. */
	mnl_attr_put_u64(h, NFTA_SET_ELEM_TIMEOUT, htobe64(timeout_ms));
	if (left_ms)
		mnl_attr_put_u64(h, NFTA_SET_ELEM_EXPIRATION, htobe64(left_ms));
}

static void put_end(struct nlmsghdr *h, const uint8_t *key, size_t size)
{
	struct nlattr *nest = mnl_attr_nest_start(h, NFTA_LIST_ELEM);

	put_value(h, NFTA_SET_ELEM_KEY, key, size);
	mnl_attr_put_u32(h, NFTA_SET_ELEM_FLAGS, htonl(NFT_SET_ELEM_INTERVAL_END));
	mnl_attr_nest_end(h, nest);
}

/* Adds one to bit `bit` (0: the highest) of an address; false: it ran over, the range ends with the
 * address space. */
static bool advance(uint8_t *b, unsigned bit)
{
	unsigned carry = 0x80U >> bit % 8;

	for (unsigned i = bit / 8 + 1; i-- > 0;) {
		carry += b[i];
		b[i] = (uint8_t)carry;
		carry >>= 8;
		if (!carry)
			return true;
	}
	return false;
}

void elements_put_raw(
	struct nft_batch *b, const void *key, size_t size, uint64_t timeout_ms, uint64_t left_ms)
{
	struct nlattr *nest = mnl_attr_nest_start(b->open, NFTA_LIST_ELEM);

	put_value(b->open, NFTA_SET_ELEM_KEY, key, size);
	put_timeout(b->open, timeout_ms, left_ms);
	mnl_attr_nest_end(b->open, nest);
}

static void put_verdict(struct nlmsghdr *h, const struct element_value *value)
{
	struct nlattr *data = mnl_attr_nest_start(h, NFTA_SET_ELEM_DATA);
	struct nlattr *verdict = mnl_attr_nest_start(h, NFTA_DATA_VERDICT);

	mnl_attr_put_u32(h, NFTA_VERDICT_CODE, htonl((uint32_t)value->code));
	if (value->chain)
		mnl_attr_put_strz(h, NFTA_VERDICT_CHAIN, value->chain);
	mnl_attr_nest_end(h, verdict);
	mnl_attr_nest_end(h, data);
}

void elements_put(struct nft_batch *b, const struct element_set *set, const uint8_t *key,
	uint8_t key_size, const struct element_value *value, uint64_t timeout_ms, uint64_t left_ms)
{
	struct nlattr *nest = mnl_attr_nest_start(b->open, NFTA_LIST_ELEM);
	uint8_t end[ELEMENT_KEY_MAX];

	put_value(b->open, NFTA_SET_ELEM_KEY, key, key_size);
	if (set->interval && set->concat)
		put_value(b->open, NFTA_SET_ELEM_KEY_END, key, key_size);
	if (value && value->size)
		put_value(b->open, NFTA_SET_ELEM_DATA, value->b, value->size);
	else if (value)
		put_verdict(b->open, value);
	put_timeout(b->open, timeout_ms, left_ms);
	mnl_attr_nest_end(b->open, nest);
	if (!set->interval || set->concat)
		return;
	/* Without its end the element would mean all addresses from here on. */
	memcpy(end, key, key_size);
	if (advance(end, key_size * 8U - 1))
		put_end(b->open, end, key_size);
}

void elements_put_prefix(struct nft_batch *b, const struct ip_prefix *prefix)
{
	size_t size = ip_addr_size(&prefix->addr);
	struct nlattr *nest = mnl_attr_nest_start(b->open, NFTA_LIST_ELEM);
	uint8_t end[16];

	put_value(b->open, NFTA_SET_ELEM_KEY, prefix->addr.b, size);
	mnl_attr_nest_end(b->open, nest);
	memcpy(end, prefix->addr.b, sizeof end);
	if (prefix->len && advance(end, prefix->len - 1U))
		put_end(b->open, end, size);
}
