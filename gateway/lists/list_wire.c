/* Numbers and runs of bytes out of a binary stream. */
#include "gateway/lists/list_wire.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOAD_FIRST 65536 /* bytes; then twice as many each time */

void list_wire_init(struct list_wire *w, struct list_bytes *in)
{
	w->in = in;
	w->at = 0;
	w->pos = w->fill = 0;
}

/* Something to take, or fill 0 at the end. */
static int wire_fill(struct list_wire *w)
{
	ssize_t n;

	if (w->pos < w->fill)
		return 0;
	w->pos = w->fill = 0;
	n = list_bytes_read(w->in, w->buf, sizeof w->buf);
	if (n < 0)
		return (int)n;
	w->fill = (size_t)n;
	return 0;
}

int list_wire_ended(struct list_wire *w)
{
	int err = wire_fill(w);

	return err ? err : w->fill == 0;
}

int list_wire_bytes(struct list_wire *w, void *buf, size_t len)
{
	uint8_t *to = buf;

	while (len > 0) {
		size_t n;
		int err = wire_fill(w);

		if (err)
			return err;
		n = w->fill - w->pos < len ? w->fill - w->pos : len;
		if (n == 0)
			return -EBADMSG;
		memcpy(to, w->buf + w->pos, n);
		w->pos += n;
		w->at += n;
		to += n;
		len -= n;
	}
	return 0;
}

int list_wire_skip(struct list_wire *w, uint64_t len)
{
	size_t have = w->fill - w->pos;
	size_t n = have < len ? have : (size_t)len;

	w->pos += n;
	w->at += len;
	return len > n ? list_bytes_skip(w->in, len - n) : 0;
}

int list_wire_u8(struct list_wire *w, uint8_t *ret)
{
	if (w->pos == w->fill)
		return list_wire_bytes(w, ret, 1);
	*ret = w->buf[w->pos++];
	w->at++;
	return 0;
}

int list_wire_be64(struct list_wire *w, uint64_t *ret)
{
	uint64_t word;
	int err = list_wire_bytes(w, &word, sizeof word);

	if (!err)
		*ret = be64toh(word);
	return err;
}

int list_wire_varint(struct list_wire *w, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte;
		int err = list_wire_u8(w, &byte);

		if (err)
			return err;
		if (shift == 63 && byte > 1)
			return -EBADMSG;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret = value;
			return 0;
		}
	}
	return -EBADMSG;
}

int list_wire_load(struct list_wire *w, uint64_t len, uint8_t **ret)
{
	uint8_t *bytes = NULL;
	size_t room = 0, have = 0;

	*ret = NULL;
	while (have < len) {
		uint8_t *grown;
		int err;

		if (have >= LIST_MEMORY_MAX) {
			free(bytes);
			return -EFBIG;
		}
		room = room ? room * 2 : LOAD_FIRST;
		if (room > len)
			room = (size_t)len;
		grown = realloc(bytes, room);
		if (!grown) {
			free(bytes);
			return -ENOMEM;
		}
		bytes = grown;
		err = list_wire_bytes(w, bytes + have, room - have);
		if (err) {
			free(bytes);
			return err;
		}
		have = room;
	}
	*ret = bytes;
	return 0;
}

int list_wire_broken(struct list_reader *r, const struct list_wire *w)
{
	if (r->broken)
		return -EBADMSG;
	return list_broken(
		r, 0, 1, "cut short or damaged, noticed at byte %llu", (unsigned long long)w->at);
}
