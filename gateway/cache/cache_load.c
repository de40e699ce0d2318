/* A file is read twice: whole, to the checksum at its end, before anything of it is taken. So
 * nothing of it needs to be kept meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "gateway/base/file.h"
#include "gateway/cache/cache_file.h"
#include "gateway/cache/cache_internal.h"

#define IN_BYTES     (32U << 10)
#define UNPACKED_MAX (1ULL << 30)   /* a file that holds more is not ours */
#define PAUSE_MAX_S  (30 * 86400LL) /* a clock that says more has jumped */

/* --- bytes --- */

struct reading {
	int fd;
	ZSTD_DStream *zstd;
	ZSTD_inBuffer packed; /* of in */
	uint64_t unpacked;
	bool ended; /* the frame, and its checksum is right */
	uint8_t in[IN_BYTES];
	uint8_t msg[DNS_MESSAGE_MAX];
};

static ssize_t read_some(int fd, void *buf, size_t size)
{
	ssize_t n;

	do
		n = read(fd, buf, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* The file goes on; a frame that has not ended must. */
static int fill(struct reading *r)
{
	ssize_t n = read_some(r->fd, r->in, sizeof r->in);

	if (n <= 0)
		return n < 0 ? (int)n : -EBADMSG;
	r->packed = (ZSTD_inBuffer){.src = r->in, .size = (size_t)n, .pos = 0};
	return 0;
}

static int unpack_error(size_t code)
{
	return ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
}

/* size bytes, or less at the end of the frame: how many. */
static ssize_t unpack(struct reading *r, void *buf, size_t size)
{
	ZSTD_outBuffer out = {.dst = buf, .size = size, .pos = 0};

	while (out.pos < size && !r->ended) {
		size_t before = out.pos, left = ZSTD_decompressStream(r->zstd, &out, &r->packed);
		int err = 0;

		if (ZSTD_isError(left))
			return unpack_error(left);
		r->ended = left == 0;
		r->unpacked += out.pos - before;
		if (r->unpacked > UNPACKED_MAX)
			return -EBADMSG;
		if (out.pos < size && !r->ended && r->packed.pos == r->packed.size)
			err = fill(r);
		if (err)
			return err;
	}
	return (ssize_t)out.pos;
}

/* All of size bytes. */
static int unpack_all(struct reading *r, void *buf, size_t size)
{
	ssize_t n = unpack(r, buf, size);

	if (n < 0)
		return (int)n;
	return (size_t)n == size ? 0 : -EBADMSG;
}

/* --- records --- */

static bool is_stored(const uint8_t *msg, size_t len)
{
	unsigned flags = dns_message_flags(msg);

	return (flags & (DNS_QR | DNS_TC | 0x7800)) == DNS_QR && msg[0] == 0 && msg[1] == 0 &&
	       dns_response_check(msg, len) == 0 && !dns_response_has_opt(msg, len);
}

static struct file_record record_decode(const uint8_t *at)
{
	struct file_record rec = {0};

	rec.len = (uint16_t)file_take(&at, 2);
	rec.type = (uint16_t)file_take(&at, 2);
	rec.flags = (uint8_t)file_take(&at, 1);
	rec.queue = (uint8_t)file_take(&at, 1);
	rec.hits = (uint16_t)file_take(&at, 2);
	rec.view = file_take(&at, 8);
	rec.age_s = (uint32_t)file_take(&at, 4);
	rec.life_s = (uint32_t)file_take(&at, 4);
	return rec;
}

/* 1 and the record, its message in r->msg and its question's name; 0 at the end. */
static int record_read(struct reading *r, struct file_record *ret, struct dns_name *ret_name)
{
	uint8_t bytes[FILE_RECORD_SIZE];
	size_t off = DNS_HEADER_SIZE;
	ssize_t n = unpack(r, bytes, sizeof bytes);
	int err;

	if (n <= 0)
		return (int)n;
	if (n != sizeof bytes)
		return -EBADMSG;
	*ret = record_decode(bytes);
	if (ret->len < DNS_HEADER_SIZE || ret->flags > (CACHE_CD | CACHE_DO) ||
		ret->queue >= QUEUES || !ret->life_s || ret->life_s > LIFE_MAX_S ||
		ret->age_s > LIFE_MAX_S)
		return -EBADMSG;
	err = unpack_all(r, r->msg, ret->len);
	if (err)
		return err;
	if (!is_stored(r->msg, ret->len) || dns_name_read(r->msg, ret->len, &off, ret_name) ||
		!message_answers(r->msg, ret->len, ret_name, ret->type))
		return -EBADMSG;
	return 1;
}

struct loading {
	struct cache *cache;
	uint32_t now_s;
	int64_t wall_s;
	int64_t pause_s; /* since it was written; -1: nobody knows */
	struct cache_hot *hot;
	size_t hot_max, n_hot;
};

/* --- the most asked: a heap, the least asked of them at its root --- */

static void hot_swap(struct cache_hot *a, struct cache_hot *b)
{
	struct cache_hot x = *a;

	*a = *b;
	*b = x;
}

static void hot_sink(struct cache_hot *hot, size_t n)
{
	for (size_t at = 0, least = 0;; at = least) {
		for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++)
			least = hot[child].hits < hot[least].hits ? child : least;
		if (least == at)
			return;
		hot_swap(&hot[at], &hot[least]);
	}
}

static void hot_rise(struct cache_hot *hot, size_t at)
{
	for (; at && hot[at].hits < hot[(at - 1) / 2].hits; at = (at - 1) / 2)
		hot_swap(&hot[at], &hot[(at - 1) / 2]);
}

static void hot_add(struct loading *l, const struct file_record *rec, const struct dns_name *name)
{
	bool full = l->n_hot == l->hot_max;
	size_t at = full ? 0 : l->n_hot;

	if (!l->hot_max || (full && l->hot[0].hits >= rec->hits))
		return;
	l->hot[at] = (struct cache_hot){.name = *name,
		.view = rec->view,
		.type = rec->type,
		.flags = rec->flags,
		.hits = rec->hits};
	if (full) {
		hot_sink(l->hot, l->n_hot);
		return;
	}
	l->n_hot++;
	hot_rise(l->hot, at);
}

static int hot_compare(const void *a, const void *b)
{
	uint32_t x = ((const struct cache_hot *)a)->hits, y = ((const struct cache_hot *)b)->hits;

	return x < y ? 1 : -(x > y);
}

/* --- into the cache --- */

/* When the record's answer was stored, on our clock. */
static uint32_t stored_at(const struct loading *l, const struct file_record *rec)
{
	uint32_t age_s = rec->age_s;

	if (l->pause_s >= 0)
		age_s += (uint32_t)l->pause_s;
	else if (age_s < rec->life_s)
		age_s = rec->life_s;
	return l->now_s - age_s;
}

/* Behind what is there already, which is newer. */
static void record_take(struct loading *l, const struct file_record *rec,
	const struct dns_name *name, const uint8_t *msg)
{
	struct cache_key key = {.name = name,
		.hash = dns_name_hash(name, l->cache->hash_key),
		.view = rec->view,
		.type = rec->type,
		.flags = rec->flags};
	struct entry *e = entry_new(&key, msg, rec->len, rec->life_s);
	struct shard *s;
	bool taken;

	if (!e)
		return;
	e->stored_s = stored_at(l, rec);
	e->hits = rec->hits / 2;
	s = shard_lock(l->cache, e->hash);
	taken = entry_state(&s->limits, e, l->now_s) != CACHE_MISS && !table_find(s, &key) &&
		shard_append(s, e, (enum queue_id)rec->queue);
	shard_unlock(s);
	if (taken)
		hot_add(l, rec, name);
	else
		free(e);
}

static int64_t pause_between(int64_t written_s, int64_t wall_s)
{
	if (written_s <= 0 || wall_s < written_s || wall_s - written_s > PAUSE_MAX_S)
		return -1;
	return wall_s - written_s;
}

/* From the frame's start to its end; l NULL: only looked at. */
static int records_read(struct reading *r, struct loading *l)
{
	uint8_t wall[FILE_WALL_SIZE];
	const uint8_t *at = wall;
	struct file_record rec = {0};
	struct dns_name name;
	int got = unpack_all(r, wall, sizeof wall);

	if (got)
		return got;
	if (l)
		l->pause_s = pause_between((int64_t)file_take(&at, FILE_WALL_SIZE), l->wall_s);
	while ((got = record_read(r, &rec, &name)) > 0) {
		if (l)
			record_take(l, &rec, &name, r->msg);
	}
	return got;
}

static int file_read(struct reading *r, struct loading *l)
{
	uint8_t head[FILE_HEAD_SIZE];
	ssize_t n;
	int err;

	if (lseek(r->fd, 0, SEEK_SET) < 0)
		return -errno;
	n = read_some(r->fd, head, sizeof head);
	if (n != sizeof head || memcmp(head, FILE_HEAD, sizeof head) != 0)
		return n < 0 ? (int)n : -EBADMSG;
	(void)ZSTD_DCtx_reset(r->zstd, ZSTD_reset_session_only);
	r->packed = (ZSTD_inBuffer){.src = r->in, .size = 0, .pos = 0};
	r->unpacked = 0;
	r->ended = false;
	err = records_read(r, l);
	if (err)
		return err;
	n = r->packed.pos < r->packed.size ? 1 : read_some(r->fd, head, 1);
	return n > 0 ? -EBADMSG : (int)n;
}

static int file_load(int fd, struct loading *l)
{
	struct reading *r = malloc(sizeof *r);
	int err = -ENOMEM;

	if (!r)
		return err;
	r->fd = fd;
	r->zstd = ZSTD_createDStream();
	if (r->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(
			       r->zstd, ZSTD_d_windowLogMax, FILE_WINDOW_LOG)))
		err = file_read(r, NULL);
	if (!err)
		err = file_read(r, l);
	(void)ZSTD_freeDStream(r->zstd);
	free(r);
	return err;
}

int cache_load(struct cache *c, const char *path, uint32_t now_s, int64_t wall_s,
	struct cache_hot *ret_hot, size_t max, size_t *ret_n_hot)
{
	struct loading l = {
		.cache = c, .now_s = now_s, .wall_s = wall_s, .hot = ret_hot, .hot_max = max};
	int fd, err = file_check(path);

	if (err)
		return err;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	err = file_load(fd, &l);
	(void)close(fd);
	if (err)
		return err;
	if (l.n_hot)
		qsort(l.hot, l.n_hot, sizeof *l.hot, hot_compare);
	if (ret_n_hot)
		*ret_n_hot = l.n_hot;
	return 0;
}
