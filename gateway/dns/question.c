#include "gateway/dns/dns_internal.h"

enum {
	OPTION_ECS = 8,	     /* RFC 7871 6 */
	OPTION_PADDING = 12, /* RFC 7830 3 */
};

static bool is_letter(uint8_t c)
{
	return c >= 'a' && c <= 'z';
}

/* The next 64 bits of the seed's sequence (splitmix64). */
static uint64_t draw(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* Length bytes are no letters. */
void dns_name_draw_case(uint8_t *to, const struct dns_name *name, uint64_t seed)
{
	uint64_t state = seed, bits = 0;
	unsigned left = 0;

	for (unsigned i = 0; i < name->len; i++) {
		to[i] = name->b[i];
		if (!seed || !is_letter(to[i]))
			continue;
		if (left == 0) {
			bits = draw(&state);
			left = 64;
		}
		to[i] ^= (uint8_t)((bits & 1) << 5);
		bits >>= 1;
		left--;
	}
}

/* Bits behind the prefix are zero, and only the bytes that it reaches are sent (RFC 7871 6). */
static size_t put_ecs(uint8_t *p, const struct dns_ecs *ecs)
{
	unsigned most = ecs->family == 1 ? 32 : 128;
	unsigned bits = ecs->prefix_len < most ? ecs->prefix_len : most;
	size_t size = (bits + 7) / 8;

	wire_put16(p, OPTION_ECS);
	wire_put16(p + 2, (unsigned)(4 + size));
	wire_put16(p + 4, ecs->family);
	p[6] = (uint8_t)bits;
	p[7] = 0;
	memcpy(p + 8, ecs->address, size);
	if (bits % 8)
		p[8 + size - 1] &= (uint8_t)(0xff << (8 - bits % 8));
	return 8 + size;
}

/* What the padding option takes with its head, if len bytes stand before it. */
static size_t padding_size(size_t len, unsigned block)
{
	return block ? 4 + (block - (len + 4) % block) % block : 0;
}

static size_t put_padding(uint8_t *p, size_t size)
{
	if (size == 0)
		return 0;
	wire_put16(p, OPTION_PADDING);
	wire_put16(p + 2, (unsigned)(size - 4));
	memset(p + 4, 0, size - 4);
	return size;
}

size_t dns_question_write(uint8_t *buf, size_t size, const struct dns_ask *ask)
{
	const struct dns_query opt = {.dnssec_ok = ask->dnssec_ok};
	uint8_t ecs[8 + 16];
	size_t ecs_size = ask->ecs ? put_ecs(ecs, ask->ecs) : 0, padding;
	size_t len = DNS_HEADER_SIZE + ask->name->len + 4u, end = len + DNS_OPT_SIZE + ecs_size;

	if (size > DNS_MESSAGE_MAX)
		size = DNS_MESSAGE_MAX;
	padding = padding_size(end, ask->pad);
	if (end + padding > size)
		return 0;
	wire_put16(buf, ask->id);
	wire_put16(buf + 2, DNS_RD | DNS_AD | (ask->checking_disabled ? DNS_CD : 0));
	wire_put16(buf + 4, 1);
	wire_put32(buf + 6, 0);
	wire_put16(buf + 10, 1);
	dns_name_draw_case(buf + DNS_HEADER_SIZE, ask->name, ask->case_seed);
	wire_put16(buf + len - 4, ask->type);
	wire_put16(buf + len - 2, DNS_CLASS_IN);
	len += dns_opt_write(buf + len, &opt, 0, DNS_EDE_NONE);
	wire_put16(buf + len - 2, (unsigned)(ecs_size + padding));
	memcpy(buf + len, ecs, ecs_size);
	return end + put_padding(buf + end, padding);
}
