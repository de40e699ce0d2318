/* Punycode of labels. */
#include "gateway/lists/list_idn.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* RFC 3492 5. */
#define BASE	     36u
#define TMIN	     1u
#define TMAX	     26u
#define SKEW	     38u
#define DAMP	     700u
#define INITIAL_BIAS 72u
#define INITIAL_N    0x80u

#define LABEL_MAX  63 /* code points and bytes (RFC 1035 2.3.4) */
#define PREFIX	   "xn--"
#define PREFIX_LEN (sizeof PREFIX - 1)

struct output {
	char *b;
	size_t len, size;
	bool full;
};

static void put(struct output *out, const char *bytes, size_t len)
{
	if (out->full || len >= out->size - out->len) {
		out->full = true;
		return;
	}
	memcpy(out->b + out->len, bytes, len);
	out->len += len;
}

static void put_byte(struct output *out, char c)
{
	put(out, &c, 1);
}

/* RFC 3629 4: neither overlong forms nor surrogates nor anything above U+10FFFF. */
static int point_read(const uint8_t *text, size_t len, size_t *at, uint32_t *ret)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = text[*at];
	size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	if (n == 0 || n > len - *at)
		return -EINVAL;
	if (n > 1)
		c &= 0x7fu >> n;
	for (size_t i = 1; i < n; i++) {
		if ((text[*at + i] & 0xc0) != 0x80)
			return -EINVAL;
		c = c << 6 | (text[*at + i] & 0x3f);
	}
	if (n > 1 && (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)))
		return -EINVAL;
	*at += n;
	*ret = c;
	return 0;
}

/* Capitals and how far on their small letters are: all of a range, or every second. */
static const struct {
	uint16_t first, last, step;
	int16_t add;
} capitals[] = {
	{'A', 'Z', 1, 0x20},
	{0xc0, 0xd6, 1, 0x20},
	{0xd8, 0xde, 1, 0x20},
	{0x100, 0x12e, 2, 1},
	{0x132, 0x136, 2, 1},
	{0x139, 0x147, 2, 1},
	{0x14a, 0x176, 2, 1},
	{0x178, 0x178, 1, -0x79},
	{0x179, 0x17d, 2, 1},
	{0x386, 0x386, 1, 0x26},
	{0x388, 0x38a, 1, 0x25},
	{0x38c, 0x38c, 1, 0x40},
	{0x38e, 0x38f, 1, 0x3f},
	{0x391, 0x3a1, 1, 0x20},
	{0x3a3, 0x3ab, 1, 0x20},
	{0x400, 0x40f, 1, 0x50},
	{0x410, 0x42f, 1, 0x20},
	{0x460, 0x480, 2, 1},
	{0x48a, 0x4be, 2, 1},
	{0x4c0, 0x4c0, 1, 0xf},
	{0x4c1, 0x4cd, 2, 1},
	{0x4d0, 0x52e, 2, 1},
	{0x531, 0x556, 1, 0x30},
	{0x1e00, 0x1e94, 2, 1},
	{0x1ea0, 0x1efe, 2, 1},
};

static uint32_t lower(uint32_t c)
{
	for (size_t i = 0; i < sizeof capitals / sizeof capitals[0]; i++)
		if (c >= capitals[i].first && c <= capitals[i].last)
			return (c - capitals[i].first) % capitals[i].step == 0
				       ? (uint32_t)((int32_t)c + capitals[i].add)
				       : c;
	return c;
}

/* RFC 3492 6.1. */
static uint32_t adapt(uint32_t delta, uint32_t points, bool first)
{
	uint32_t k = 0;

	delta = first ? delta / DAMP : delta / 2;
	delta += delta / points;
	for (; delta > (BASE - TMIN) * TMAX / 2; k += BASE)
		delta /= BASE - TMIN;
	return k + (BASE - TMIN + 1) * delta / (delta + SKEW);
}

static char digit(uint32_t d)
{
	return (char)(d < 26 ? 'a' + d : '0' + (d - 26));
}

static void number_put(struct output *out, uint32_t q, uint32_t bias)
{
	for (uint32_t k = BASE;; k += BASE) {
		uint32_t t = k <= bias ? TMIN : k >= bias + TMAX ? TMAX : k - bias;

		if (q < t)
			break;
		put_byte(out, digit(t + (q - t) % (BASE - t)));
		q = (q - t) / (BASE - t);
	}
	put_byte(out, digit(q));
}

/* RFC 3492 6.3. With at most 63 code points below 2^21, delta stays below 2^27. */
static void punycode_put(struct output *out, const uint32_t *points, uint32_t n_points)
{
	uint32_t n = INITIAL_N, delta = 0, bias = INITIAL_BIAS, done = 0, basic;

	for (uint32_t i = 0; i < n_points; i++)
		if (points[i] < 0x80) {
			put_byte(out, (char)points[i]);
			done++;
		}
	basic = done;
	if (basic > 0)
		put_byte(out, '-');
	for (; done < n_points; delta++, n++) {
		uint32_t next = UINT32_MAX;

		for (uint32_t i = 0; i < n_points; i++)
			if (points[i] >= n && points[i] < next)
				next = points[i];
		delta += (next - n) * (done + 1);
		n = next;
		for (uint32_t i = 0; i < n_points; i++) {
			delta += points[i] < n;
			if (points[i] != n)
				continue;
			number_put(out, delta, bias);
			bias = adapt(delta, done + 1, done == basic);
			delta = 0;
			done++;
		}
	}
}

static int label_put(struct output *out, const char *label, size_t len)
{
	uint32_t points[LABEL_MAX], n = 0;
	size_t start = out->len, at = 0;
	bool ascii = true;

	for (size_t i = 0; i < len; i++)
		ascii = ascii && (uint8_t)label[i] < 0x80;
	if (ascii) {
		put(out, label, len);
		return 0;
	}
	while (at < len) {
		uint32_t c;

		if (n == LABEL_MAX || point_read((const uint8_t *)label, len, &at, &c))
			return -EINVAL;
		points[n++] = lower(c);
	}
	put(out, PREFIX, PREFIX_LEN);
	punycode_put(out, points, n);
	return out->len - start > LABEL_MAX ? -EINVAL : 0;
}

int list_idn_encode(const char *text, size_t len, char *ret, size_t size, size_t *ret_len)
{
	struct output out = {.b = ret, .size = size, .full = size == 0};
	const char *end = text + len;

	for (;;) {
		const char *dot = memchr(text, '.', (size_t)(end - text));
		int err = label_put(&out, text, (size_t)((dot ? dot : end) - text));

		if (err)
			return err;
		if (!dot)
			break;
		put_byte(&out, '.');
		text = dot + 1;
	}
	if (out.full)
		return -ENAMETOOLONG;
	ret[out.len] = 0;
	*ret_len = out.len;
	return 0;
}
