/* gfwlist: AutoProxy's rules, a base64 text of them (RFC 4648 4, in lines of any length), or the
 * same decoded. The rules are AdBlock's (list_adblock.c); lines are counted in the decoded text. */
#include <errno.h>
#include <string.h>

#include "gateway/lists/lists_internal.h"

#define PIECE_BYTES 4096
/* Rules have a dot, a bar or a bang within so many bytes; base64 has none. */
#define HEAD_BYTES 64

/* What base64 text has become, piece by piece. */
struct decoder {
	struct list_reader *r;
	struct list_bytes *in;
	unsigned line;
	size_t column, at, len; /* of the text; of buf */
	uint32_t bits;		/* of a group of four */
	unsigned digits, padding;
	uint8_t buf[PIECE_BYTES];
};

static bool is_white(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int digit_of(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool is_base64(const uint8_t *head, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (is_white(head[i]))
			continue;
		if (digit_of(head[i]) < 0 && head[i] != '=')
			return false;
		n++;
	}
	return n > 0;
}

static int decoder_broken(struct decoder *d, const char *what)
{
	return list_broken(d->r, d->line, d->column, "%s; allowed: %s", what,
		list_format_allows(d->r->format));
}

/* One byte of text; up to three bytes come out behind *out. */
static int byte_decode(struct decoder *d, uint8_t c, uint8_t **out)
{
	int digit = digit_of(c);

	d->column++;
	if (c == '\n') {
		d->line++;
		d->column = 0;
	}
	if (is_white(c))
		return 0;
	if (c == '=' ? d->digits < 2 : digit < 0 || d->padding > 0)
		return decoder_broken(d, "not base64");
	d->bits = d->bits << 6 | (uint32_t)(c == '=' ? 0 : digit);
	d->padding += c == '=';
	if (++d->digits < 4)
		return 0;
	for (unsigned i = 0; i + d->padding < 3; i++)
		*(*out)++ = (uint8_t)(d->bits >> (16 - 8 * i));
	/* Behind padding there is nothing: then digits stays at 4 and more is refused. */
	d->digits = 0;
	d->bits = 0;
	return 0;
}

/* list_bytes_make(): room for 3 bytes is always there. */
static ssize_t decoder_pull(void *arg, void *buf, size_t len)
{
	struct decoder *d = arg;
	uint8_t *out = buf;

	while ((size_t)(out - (uint8_t *)buf) + 3 <= len) {
		int err;

		if (d->at == d->len) {
			ssize_t n;

			if (out > (uint8_t *)buf)
				break;
			n = list_bytes_read(d->in, d->buf, sizeof d->buf);
			if (n < 0)
				return n;
			if (n == 0)
				return d->digits == 0
					       ? 0
					       : decoder_broken(d, "the base64 text is cut off");
			d->at = 0;
			d->len = (size_t)n;
		}
		err = byte_decode(d, d->buf[d->at++], &out);
		if (err)
			return err;
	}
	return out - (uint8_t *)buf;
}

int list_gfwlist_pull(struct list_reader *r, struct list_bytes *in)
{
	struct decoder d = {.r = r, .in = in, .line = 1};
	struct list_bytes *decoded;
	const uint8_t *head;
	size_t len;
	int err = list_bytes_peek(in, HEAD_BYTES, &head, &len);

	if (err)
		return err;
	if (!is_base64(head, len))
		return list_lines(r, in, list_adblock_line);
	err = list_bytes_make(decoder_pull, &d, LIST_FILE_MAX, &decoded);
	if (err)
		return err;
	err = list_lines(r, decoded, list_adblock_line);
	list_bytes_free(decoded);
	return err;
}
