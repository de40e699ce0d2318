/* SvcParams from their presentation form (RFC 9460 2.1 and Appendix A): in any order, each once,
 * written by ascending key. */
#include "gateway/dns/rdata_internal.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define PARAMS_MAX 64
#define ITEM_MAX   256

static const char *const key_names[] = {"mandatory", "alpn", "no-default-alpn", "port", "ipv4hint",
	"ech", "ipv6hint", "dohpath", "ohttp"};

struct param {
	uint16_t key;
	bool raw, has_value; /* raw: written as keyNNNNN, its value is bytes */
	struct rdata_text value;
};

struct params {
	struct param v[PARAMS_MAX];
	size_t n;
};

/* --- keys --- */

static unsigned key_parse(const char *s, size_t len, bool *ret_raw)
{
	unsigned value = 0;

	*ret_raw = false;
	for (unsigned i = 0; i < sizeof key_names / sizeof *key_names; i++) {
		if (strlen(key_names[i]) == len && memcmp(key_names[i], s, len) == 0)
			return i;
	}
	if (len < 4 || len > 8 || memcmp(s, "key", 3) != 0 || (s[3] == '0' && len > 4))
		return KEY_NONE;
	for (size_t i = 3; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return KEY_NONE;
		value = value * 10 + (unsigned)(s[i] - '0');
	}
	*ret_raw = true;
	return value < KEY_NONE ? value : KEY_NONE;
}

static int param_compare(const void *a, const void *b)
{
	return (int)((const struct param *)a)->key - (int)((const struct param *)b)->key;
}

static const struct param *param_find(const struct params *p, unsigned key)
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->v[i].key == key)
			return &p->v[i];
	}
	return NULL;
}

static void param_read(struct rdata *d, const struct rdata_text *w, struct params *p)
{
	const char *equals = w->quoted ? NULL : memchr(w->s, '=', w->len);
	size_t len = equals ? (size_t)(equals - w->s) : w->len;
	struct param *one = &p->v[p->n];
	unsigned key;

	if (p->n == PARAMS_MAX) {
		rdata_bad(d, "more than 64 parameters");
		return;
	}
	*one = (struct param){.has_value = equals != NULL};
	key = w->quoted ? KEY_NONE : key_parse(w->s, len, &one->raw);
	if (key == KEY_NONE) {
		rdata_bad(d, "not a parameter; known: mandatory, alpn, no-default-alpn, port, "
			     "ipv4hint, ech, ipv6hint, dohpath, ohttp, keyNUMBER");
		return;
	}
	one->key = (uint16_t)key;
	if (equals) {
		one->value = (struct rdata_text){.s = equals + 1, .len = w->len - len - 1};
		if (one->value.len >= 2 && *one->value.s == '"') {
			one->value.s++;
			one->value.len -= 2;
		}
	}
	p->n++;
}

/* --- values --- */

struct item {
	uint8_t b[ITEM_MAX];
	size_t len;
};

/* Appendix A.1: the escapes of the text are undone first; then a comma ends an item, unless a
 * backslash stands before it. *more: another one follows. */
static bool item_next(struct rdata *d, struct rdata_text *rest, struct item *ret, bool *more)
{
	uint8_t byte;

	ret->len = 0;
	*more = false;
	while (rdata_byte(d, rest, &byte)) {
		if (byte == ',') {
			*more = true;
			break;
		}
		if (byte == '\\' && !rdata_byte(d, rest, &byte)) {
			rdata_bad(d, "a backslash at the end of a value");
			return false;
		}
		if (ret->len == ITEM_MAX - 1) {
			rdata_bad(d, "an item of more than 255 bytes");
			return false;
		}
		ret->b[ret->len++] = byte;
	}
	if (ret->len == 0)
		rdata_bad(d, "an empty item in a value");
	ret->b[ret->len] = 0;
	return !d->why;
}

static void write_alpn(struct rdata *d, struct rdata_text value)
{
	struct item item;
	bool more = true;

	while (more && item_next(d, &value, &item, &more)) {
		rdata_put8(d, (unsigned)item.len);
		rdata_put(d, item.b, item.len);
	}
}

static void write_hints(struct rdata *d, struct rdata_text value, int family)
{
	struct item item;
	bool more = true;

	while (more && item_next(d, &value, &item, &more)) {
		uint8_t address[16];

		if (strlen((char *)item.b) != item.len ||
			inet_pton(family, (char *)item.b, address) != 1)
			rdata_bad(d, family == AF_INET ? "ipv4hint: not an IPv4 address"
						       : "ipv6hint: not an IPv6 address");
		else
			rdata_put(d, address, family == AF_INET ? 4 : 16);
	}
}

static int key_compare(const void *a, const void *b)
{
	return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

/* 8: ascending, each once, and there. */
static void write_mandatory(struct rdata *d, struct rdata_text value, const struct params *p)
{
	uint16_t keys[PARAMS_MAX];
	struct item item;
	bool more = true, raw;
	size_t n = 0;

	while (more && item_next(d, &value, &item, &more)) {
		unsigned key = key_parse((char *)item.b, item.len, &raw);

		if (n == PARAMS_MAX || key == KEY_MANDATORY || !param_find(p, key)) {
			rdata_bad(d, "mandatory: not one of the other parameters");
			return;
		}
		keys[n++] = (uint16_t)key;
	}
	if (n > 1)
		qsort(keys, n, sizeof *keys, key_compare);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && keys[i] == keys[i - 1])
			rdata_bad(d, "mandatory: a parameter is there twice");
		rdata_put16(d, keys[i]);
	}
}

static int base64_digit(uint8_t c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static void write_base64(struct rdata *d, struct rdata_text value)
{
	unsigned bits = 0, n = 0, padding = 0;
	uint8_t byte;

	while (!d->full && rdata_byte(d, &value, &byte)) {
		int digit = base64_digit(byte);

		padding += byte == '=';
		if (byte != '=' && (digit < 0 || padding))
			rdata_bad(d, "ech: not base64");
		bits = bits << 6 | (unsigned)(digit < 0 ? 0 : digit);
		if (++n % 4)
			continue;
		if (padding > 2)
			rdata_bad(d, "ech: not base64");
		rdata_put8(d, bits >> 16);
		if (padding < 2)
			rdata_put8(d, bits >> 8);
		if (padding < 1)
			rdata_put8(d, bits);
		bits = 0;
	}
	if (!d->full && (n == 0 || n % 4 || padding > 2))
		rdata_bad(d, "ech: not base64");
}

static void write_bytes(struct rdata *d, struct rdata_text value)
{
	uint8_t byte;

	while (!d->full && rdata_byte(d, &value, &byte))
		rdata_put8(d, byte);
}

static void write_value(struct rdata *d, const struct param *one, const struct params *p)
{
	bool empty = one->key == KEY_NO_DEFAULT_ALPN || one->key == KEY_OHTTP;

	if (one->raw) {
		write_bytes(d, one->value);
		return;
	}
	if (empty != (one->value.len == 0)) {
		rdata_bad(d, empty ? "a value where none belongs" : "a parameter without a value");
		return;
	}
	switch (one->key) {
	case KEY_MANDATORY:
		write_mandatory(d, one->value, p);
		break;
	case KEY_ALPN:
		write_alpn(d, one->value);
		break;
	case KEY_PORT:
		rdata_put16(d, (unsigned)rdata_number(d, &one->value, 65535,
				       "port: not a number from 0 to 65535"));
		break;
	case KEY_IPV4HINT:
		write_hints(d, one->value, AF_INET);
		break;
	case KEY_ECH:
		write_base64(d, one->value);
		break;
	case KEY_IPV6HINT:
		write_hints(d, one->value, AF_INET6);
		break;
	default:
		write_bytes(d, one->value);
	}
}

static void params_write(struct rdata *d, const struct params *p)
{
	for (size_t i = 0; i < p->n && !d->why && !d->full; i++) {
		size_t start;

		if (i > 0 && p->v[i].key == p->v[i - 1].key) {
			rdata_bad(d, "a parameter is there twice");
			return;
		}
		rdata_put16(d, p->v[i].key);
		rdata_put16(d, 0);
		start = d->n;
		write_value(d, &p->v[i], p);
		if (!d->full)
			wire_put16(d->b + start - 2, (unsigned)(d->n - start));
	}
}

void rdata_svcb_params(struct rdata *d, struct rdata_text *rest, bool alias)
{
	struct params p = {.n = 0};
	struct rdata_text w;

	while (!d->why && rdata_word(d, rest, &w))
		param_read(d, &w, &p);
	if (d->why)
		return;
	if (alias && p.n > 0) /* 2.4.2: readers would ignore them */
		rdata_bad(d, "priority 0 (an alias) has no parameters");
	if (param_find(&p, KEY_NO_DEFAULT_ALPN) && !param_find(&p, KEY_ALPN)) /* 7.1.1 */
		rdata_bad(d, "no-default-alpn without alpn");
	if (p.n > 0)
		qsort(p.v, p.n, sizeof p.v[0], param_compare);
	params_write(d, &p);
}
