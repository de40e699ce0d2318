/* Where a list's bytes come from: a file, a memory, or what is packed in one of them. */
#include "gateway/lists/lists_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define PIECE_BYTES	65536
#define GZIP_MAGIC_1	0x1f /* RFC 1952 2.3.1 */
#define GZIP_MAGIC_2	0x8b
#define GZIP_BITS	(15 + 16) /* zlib: the largest window, gzip's framing */
#define ZLIB_BITS	15
#define ZSTD_WINDOW_LOG 26 /* 64 MiB: what a frame may make us keep */

struct list_bytes {
	ssize_t (*pull)(struct list_bytes *in, void *buf, size_t len);
	uint64_t left; /* of the bound */
	uint8_t *head; /* peeked at, not yet read */
	size_t head_at, head_len;
	/* A file or a memory. */
	int fd;
	const uint8_t *at;
	size_t at_left;
	/* What somebody makes. */
	ssize_t (*make)(void *arg, void *buf, size_t len);
	void *make_arg;
	/* Something packed. */
	struct list_bytes *from;
	bool owns_from, is_gzip;
	bool inside; /* a member or frame has begun and not ended */
	bool ended;
	z_stream *z;
	ZSTD_DStream *zstd;
	ZSTD_inBuffer packed; /* of buf */
	uint8_t buf[];
};

static struct list_bytes *bytes_new(uint64_t total, size_t buf)
{
	struct list_bytes *in = malloc(sizeof *in + buf);

	if (in)
		*in = (struct list_bytes){.fd = -1, .left = total};
	return in;
}

void list_bytes_free(struct list_bytes *in)
{
	if (!in)
		return;
	if (in->fd >= 0)
		(void)close(in->fd);
	if (in->z)
		(void)inflateEnd(in->z);
	free(in->z);
	(void)ZSTD_freeDStream(in->zstd);
	if (in->owns_from)
		list_bytes_free(in->from);
	free(in->head);
	free(in);
}

static ssize_t file_pull(struct list_bytes *in, void *buf, size_t len)
{
	ssize_t n;

	do {
		n = read(in->fd, buf, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int list_bytes_file(int fd, uint64_t total, struct list_bytes **ret)
{
	struct list_bytes *in = bytes_new(total, 0);

	if (!in)
		return -ENOMEM;
	in->pull = file_pull;
	in->fd = fd;
	*ret = in;
	return 0;
}

static ssize_t memory_pull(struct list_bytes *in, void *buf, size_t len)
{
	if (len > in->at_left)
		len = in->at_left;
	if (len == 0)
		return 0;
	memcpy(buf, in->at, len);
	in->at += len;
	in->at_left -= len;
	return (ssize_t)len;
}

int list_bytes_memory(const void *bytes, size_t len, struct list_bytes **ret)
{
	struct list_bytes *in = bytes_new(LIST_FILE_MAX, 0);

	if (!in)
		return -ENOMEM;
	in->pull = memory_pull;
	in->at = bytes;
	in->at_left = len;
	*ret = in;
	return 0;
}

static ssize_t make_pull(struct list_bytes *in, void *buf, size_t len)
{
	return in->make(in->make_arg, buf, len);
}

int list_bytes_make(ssize_t (*make)(void *arg, void *buf, size_t len), void *arg, uint64_t total,
	struct list_bytes **ret)
{
	struct list_bytes *in = bytes_new(total, 0);

	if (!in)
		return -ENOMEM;
	in->pull = make_pull;
	in->make = make;
	in->make_arg = arg;
	*ret = in;
	return 0;
}

/* The bound is on what comes out: a bomb ends here, however small it was. */
static ssize_t bytes_pull(struct list_bytes *in, void *buf, size_t len)
{
	ssize_t n = in->pull(in, buf, len);

	if (n > 0 && (uint64_t)n > in->left)
		return -EFBIG;
	if (n > 0)
		in->left -= (uint64_t)n;
	return n;
}

ssize_t list_bytes_read(struct list_bytes *in, void *buf, size_t len)
{
	size_t n = in->head_len - in->head_at;

	if (n == 0)
		return bytes_pull(in, buf, len);
	if (n > len)
		n = len;
	memcpy(buf, in->head + in->head_at, n);
	in->head_at += n;
	if (in->head_at == in->head_len) {
		free(in->head);
		in->head = NULL;
		in->head_at = in->head_len = 0;
	}
	return (ssize_t)n;
}

int list_bytes_peek(struct list_bytes *in, size_t want, const uint8_t **ret, size_t *ret_len)
{
	size_t have = in->head_len - in->head_at;

	if (have < want) {
		uint8_t *head = malloc(want);

		if (!head)
			return -ENOMEM;
		if (have > 0)
			memcpy(head, in->head + in->head_at, have);
		free(in->head);
		in->head = head;
		in->head_at = 0;
		in->head_len = have;
	}
	while (in->head_len - in->head_at < want) {
		ssize_t n = bytes_pull(in, in->head + in->head_len, want - in->head_len);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		in->head_len += (size_t)n;
	}
	have = in->head_len - in->head_at;
	*ret = in->head + in->head_at;
	*ret_len = have < want ? have : want;
	return 0;
}

int list_bytes_exactly(struct list_bytes *in, void *buf, size_t len)
{
	uint8_t *at = buf;

	while (len > 0) {
		ssize_t n = list_bytes_read(in, at, len);

		if (n <= 0)
			return n < 0 ? (int)n : -EBADMSG;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int list_bytes_skip(struct list_bytes *in, uint64_t len)
{
	uint8_t piece[4096];
	int err = 0;

	while (len > 0 && !err) {
		size_t n = len < sizeof piece ? (size_t)len : sizeof piece;

		err = list_bytes_exactly(in, piece, n);
		len -= n;
	}
	return err;
}

/* More of what is packed: its size; 0 at the end. */
static ssize_t packed_refill(struct list_bytes *in)
{
	ssize_t n = list_bytes_read(in->from, in->buf, PIECE_BYTES);

	if (n > 0) {
		in->packed = (ZSTD_inBuffer){.src = in->buf, .size = (size_t)n, .pos = 0};
		if (in->z) {
			in->z->next_in = in->buf;
			in->z->avail_in = (uInt)n;
		}
	}
	return n;
}

/* A gzip file may have several members (RFC 1952 2.2), and zeros to fill a block behind the last.
 * What zlib's stream ends with is the end. */
static int member_end(struct list_bytes *in)
{
	z_stream *z = in->z;

	in->inside = false;
	while (in->is_gzip) {
		if (z->avail_in == 0) {
			ssize_t n = packed_refill(in);

			if (n < 0)
				return (int)n;
			if (n == 0)
				break;
		}
		if (*z->next_in == GZIP_MAGIC_1)
			return inflateReset(z) == Z_OK ? 0 : -EBADMSG;
		if (*z->next_in != 0)
			return -EBADMSG;
		z->next_in++;
		z->avail_in--;
	}
	in->ended = true;
	return 0;
}

static ssize_t inflate_pull(struct list_bytes *in, void *buf, size_t len)
{
	z_stream *z = in->z;
	uInt room = len < 1u << 30 ? (uInt)len : 1u << 30;

	z->next_out = buf;
	z->avail_out = room;
	while (z->avail_out == room && room > 0 && !in->ended) {
		int r, err = 0;

		if (z->avail_in == 0) {
			ssize_t n = packed_refill(in);

			if (n <= 0)
				return n < 0 ? n : -EBADMSG; /* it ends early */
		}
		in->inside = true;
		r = inflate(z, Z_NO_FLUSH);
		if (r == Z_STREAM_END)
			err = member_end(in);
		else if (r == Z_MEM_ERROR)
			err = -ENOMEM;
		else if (r != Z_OK && r != Z_BUF_ERROR)
			err = -EBADMSG;
		if (err)
			return err;
	}
	return (ssize_t)(room - z->avail_out);
}

static int inflate_new(
	struct list_bytes *from, uint64_t total, int window_bits, struct list_bytes **ret)
{
	struct list_bytes *in = bytes_new(total, PIECE_BYTES);

	if (!in)
		return -ENOMEM;
	in->pull = inflate_pull;
	in->from = from;
	in->is_gzip = window_bits == GZIP_BITS;
	in->z = calloc(1, sizeof *in->z);
	if (!in->z || inflateInit2(in->z, window_bits) != Z_OK) {
		free(in->z);
		in->z = NULL;
		list_bytes_free(in);
		return -ENOMEM;
	}
	*ret = in;
	return 0;
}

int list_bytes_inflate(struct list_bytes *in, uint64_t total, struct list_bytes **ret)
{
	return inflate_new(in, total, ZLIB_BITS, ret);
}

int list_bytes_look_through(struct list_bytes **in)
{
	struct list_bytes *unpacked;
	const uint8_t *head;
	size_t len;
	int err = list_bytes_peek(*in, 2, &head, &len);

	if (err || len < 2 || head[0] != GZIP_MAGIC_1 || head[1] != GZIP_MAGIC_2)
		return err;
	err = inflate_new(*in, LIST_FILE_MAX, GZIP_BITS, &unpacked);
	if (err)
		return err;
	unpacked->owns_from = true;
	*in = unpacked;
	return 0;
}

/* Frames follow one another (RFC 8878 3). zstd is asked for what it still holds before it is given
 * more, except between frames, where it would wait for the next one. */
static ssize_t zstd_pull(struct list_bytes *in, void *buf, size_t len)
{
	ZSTD_outBuffer out = {.dst = buf, .size = len, .pos = 0};

	while (len > 0 && !in->ended) {
		bool dry = in->packed.pos == in->packed.size;
		size_t r;

		if (dry && !in->inside) {
			ssize_t n = packed_refill(in);

			if (n < 0)
				return n;
			in->ended = n == 0;
			if (n == 0)
				break;
			dry = false;
		}
		r = ZSTD_decompressStream(in->zstd, &out, &in->packed);
		if (ZSTD_isError(r))
			return ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation ? -ENOMEM
										    : -EBADMSG;
		in->inside = r != 0;
		if (out.pos > 0)
			break;
		if (dry && in->inside) {
			ssize_t n = packed_refill(in);

			if (n <= 0)
				return n < 0 ? n : -EBADMSG; /* it ends early */
		}
	}
	return (ssize_t)out.pos;
}

int list_bytes_unzstd(struct list_bytes *in, uint64_t total, struct list_bytes **ret)
{
	struct list_bytes *out = bytes_new(total, PIECE_BYTES);

	if (!out)
		return -ENOMEM;
	out->pull = zstd_pull;
	out->from = in;
	out->zstd = ZSTD_createDStream();
	if (!out->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(
				  out->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG))) {
		list_bytes_free(out);
		return -ENOMEM;
	}
	*ret = out;
	return 0;
}
