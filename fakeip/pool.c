/* Indexes and addresses: v4 = pool4 + i, v6 = pool6 + i, by arithmetic alone. */
#include "fakeip/fakeip_internal.h"

#include <errno.h>
#include <string.h>

static uint32_t load_be32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void store_be32(uint8_t *b, uint32_t v)
{
	b[0] = (uint8_t)(v >> 24);
	b[1] = (uint8_t)(v >> 16);
	b[2] = (uint8_t)(v >> 8);
	b[3] = (uint8_t)v;
}

static void copy_prefix(uint8_t *to, const uint8_t *from, size_t size, unsigned len)
{
	for (size_t i = 0; i < size; i++) {
		unsigned keep = len > i * 8 ? len - (unsigned)i * 8 : 0;

		to[i] = (uint8_t)(from[i] & (keep >= 8 ? 0xff : 0xff00 >> keep & 0xff));
	}
}

static bool in_prefix(const uint8_t *net, unsigned len, const uint8_t *address)
{
	unsigned whole = len / 8, rest = len % 8;

	if (memcmp(net, address, whole) != 0)
		return false;
	return rest == 0 || ((net[whole] ^ address[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

/* The last index of a prefix is left out: it is the broadcast address in IPv4, and the families
 * count alike. */
static uint32_t prefix_end(unsigned host_bits)
{
	return host_bits >= 32 ? UINT32_MAX : (uint32_t)((1ULL << host_bits) - 1);
}

int pool_init(struct pool *p, const struct fakeip_pool_config *config)
{
	uint32_t max = config->max ? config->max : POOL_DEFAULT_SIZE;

	memset(p, 0, sizeof *p);
	if (config->len4 > 32 || config->len6 > 128 || (!config->len4 && !config->len6))
		return -EINVAL;
	p->len4 = config->len4;
	p->len6 = config->len6;
	copy_prefix(p->net4, config->net4, sizeof p->net4, p->len4);
	copy_prefix(p->net6, config->net6, sizeof p->net6, p->len6);
	p->end = POOL_FIRST + (max < POOL_MAX_SIZE ? max : POOL_MAX_SIZE);
	if (p->len4 && prefix_end(32U - p->len4) < p->end)
		p->end = prefix_end(32U - p->len4);
	if (p->len6 && prefix_end(128U - p->len6) < p->end)
		p->end = prefix_end(128U - p->len6);
	return p->end > POOL_FIRST ? 0 : -EINVAL;
}

/* From the first index of `from`: v6 pools whose first 96 bits differ have nothing in common. */
struct pool_shift pool_shift(const struct pool *from, const struct pool *to)
{
	struct pool_shift s = {.fits = true};
	bool both6 = from->len6 && to->len6;

	s.has4 = from->len4 && to->len4;
	s.has6 = both6 && memcmp(from->net6, to->net6, 12) == 0;
	s.by4 = (int64_t)load_be32(from->net4) - load_be32(to->net4);
	s.by6 = (int64_t)load_be32(from->net6 + 12) - load_be32(to->net6 + 12);
	if (!s.has4 && !s.has6)
		s.fits = false;
	if ((both6 && !s.has6) || (s.has4 && s.has6 && s.by4 != s.by6))
		s.fits = false;
	return s;
}

uint32_t pool_shifted(const struct pool *to, uint32_t index, int64_t by)
{
	int64_t shifted = (int64_t)index + by;

	return shifted >= POOL_FIRST && shifted < to->end ? (uint32_t)shifted : 0;
}

/* The host bits of the network addresses are zero, so an index is or-ed in. */
void pool_pair(const struct pool *p, uint32_t index, struct fakeip_pair *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->index = index;
	if (p->len4) {
		ret->has4 = true;
		store_be32(ret->v4, load_be32(p->net4) | index);
	}
	if (p->len6) {
		ret->has6 = true;
		memcpy(ret->v6, p->net6, 12);
		store_be32(ret->v6 + 12, load_be32(p->net6 + 12) | index);
	}
}

static bool take_index(const struct pool *p, uint32_t index, uint32_t *ret)
{
	if (index < POOL_FIRST || index >= p->end)
		return false;
	*ret = index;
	return true;
}

bool fakeip_index4(const struct fakeip_table *t, const uint8_t address[4], uint32_t *ret)
{
	const struct pool *p = &t->pool;

	if (!p->len4 || !in_prefix(p->net4, p->len4, address))
		return false;
	return take_index(p, load_be32(address) ^ load_be32(p->net4), ret);
}

bool fakeip_index6(const struct fakeip_table *t, const uint8_t address[16], uint32_t *ret)
{
	const struct pool *p = &t->pool;

	/* Between the prefix and the last 32 bits an address that was given out has nothing. */
	if (!p->len6 || !in_prefix(p->net6, p->len6, address) || memcmp(p->net6, address, 12) != 0)
		return false;
	return take_index(p, load_be32(address + 12) ^ load_be32(p->net6 + 12), ret);
}

bool fakeip_in_pools(const struct fakeip_table *t, const uint8_t *address, size_t size)
{
	const struct pool *p = &t->pool;

	if (size == 4)
		return p->len4 && in_prefix(p->net4, p->len4, address);
	return size == 16 && p->len6 && in_prefix(p->net6, p->len6, address);
}
