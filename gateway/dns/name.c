#include "gateway/base/siphash.h"
#include "gateway/dns/dns_internal.h"

#include <errno.h>

/* One a label is the most that a name needs; more are pointers to pointers, made to cost time. */
#define POINTERS_MAX 127

/* 'A' to 'Z' of eight bytes at once to lower case. Length bytes are below 'A', so whole wire names
 * can be given. */
static uint64_t word_lower(uint64_t w)
{
	const uint64_t ones = 0x0101010101010101ULL;
	uint64_t low7 = w & 0x7f * ones;
	uint64_t from_a = low7 + (0x80 - 'A') * ones;
	uint64_t behind_z = low7 + (0x7f - 'Z') * ones;
	uint64_t upper = (from_a ^ behind_z) & ~w & 0x80 * ones;

	return w | upper >> 2;
}

/* Lower-cases n bytes of b, which has room up to the next multiple of 8, and zeroes that rest. */
static void finish_words(uint8_t *b, size_t n)
{
	uint64_t w;

	for (size_t i = n; i % 8; i++)
		b[i] = 0;
	for (size_t i = 0; i < n; i += 8) {
		memcpy(&w, b + i, 8);
		w = word_lower(w);
		memcpy(b + i, &w, 8);
	}
}

/* Follows a name; copies it raw to ret->b if ret is given. What a pointer leads to must be a prior
 * name (RFC 1035 4.1.4): it starts and ends before the run of labels that the pointer closes. So
 * every jump goes back and no loop is possible, and a name depends on no byte behind it. The header
 * holds no names. */
static int name_walk(const uint8_t *msg, size_t len, size_t *off, struct dns_name *ret)
{
	size_t run = *off, at = run, end = 0, total = 0;
	unsigned labels = 0, pointers = 0;

	while (at < len && msg[at]) {
		unsigned c = msg[at];

		if (c < 64) {
			at += c + 1;
			labels++;
			if (total + (at - run) >= DNS_NAME_MAX)
				return -EBADMSG;
			continue;
		}
		if (c < 0xc0 || len - at < 2 || ++pointers > POINTERS_MAX)
			return -EBADMSG;
		if (!end)
			end = at + 2;
		if (ret)
			memcpy(ret->b + total, msg + run, at - run);
		total += at - run;
		at = (c & 0x3f) << 8 | msg[at + 1];
		if (at < DNS_HEADER_SIZE)
			return -EBADMSG;
		len = run;
		run = at;
	}
	if (at >= len)
		return -EBADMSG;
	at++;
	if (ret) {
		memcpy(ret->b + total, msg + run, at - run);
		ret->len = (uint8_t)(total + (at - run));
		ret->labels = (uint8_t)labels;
	}
	*off = end ? end : at;
	return (int)pointers;
}

int dns_name_read(const uint8_t *msg, size_t len, size_t *off, struct dns_name *ret)
{
	int r = name_walk(msg, len, off, ret);

	if (r < 0)
		return r;
	finish_words(ret->b, ret->len);
	return 0;
}

int dns_name_expand(const uint8_t *msg, size_t len, size_t *off, struct dns_name *ret)
{
	int r = name_walk(msg, len, off, ret);

	return r < 0 ? r : 0;
}

int dns_name_check(const uint8_t *msg, size_t len, size_t *off)
{
	return name_walk(msg, len, off, NULL);
}

/* Steps over the labels up to the root or a pointer; *ret_target is where that leads, 0 without
 * one. */
static int name_skip(const uint8_t *msg, size_t len, size_t *off, size_t *ret_target)
{
	size_t start = *off, at = start;

	while (at < len) {
		unsigned c = msg[at];

		if (c >= 64) {
			if (c < 0xc0 || len - at < 2)
				return -EBADMSG;
			*ret_target = (c & 0x3f) << 8 | msg[at + 1];
			*off = at + 2;
			return 0;
		}
		at += c + 1;
		if (at - start > DNS_NAME_MAX)
			return -EBADMSG;
		if (c == 0) {
			*ret_target = 0;
			*off = at;
			return 0;
		}
	}
	return -EBADMSG;
}

int dns_name_skip(const uint8_t *msg, size_t len, size_t *off)
{
	size_t target;

	return name_skip(msg, len, off, &target);
}

int dns_name_pointer(const uint8_t *msg, size_t len, size_t off, size_t *ret_target)
{
	return name_skip(msg, len, &off, ret_target);
}

bool dns_name_equal(const struct dns_name *a, const struct dns_name *b)
{
	return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

bool dns_name_is_below(const struct dns_name *name, const struct dns_name *zone)
{
	size_t front, at = 0;

	if (name->len < zone->len || name->labels < zone->labels)
		return false;
	front = (size_t)name->len - zone->len;
	if (memcmp(name->b + front, zone->b, zone->len) != 0)
		return false;
	/* The same bytes at the end are the same labels only if a label starts there. */
	while (at < front)
		at += name->b[at] + 1u;
	return at == front;
}

/* Of the padded words. The padding is unambiguous: a name ends at its root label. */
uint64_t dns_name_hash(const struct dns_name *name, uint64_t key)
{
	return siphash(key, name->b, (name->len + 7u) & ~(size_t)7);
}
