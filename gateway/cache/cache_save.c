#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "gateway/base/file.h"
#include "gateway/cache/cache_file.h"
#include "gateway/cache/cache_internal.h"

#define LEVEL	  3
#define OUT_BYTES (32U << 10)

struct saving {
	int fd;
	ZSTD_CCtx *zstd;
	uint8_t out[OUT_BYTES];
};

static int save_bytes(struct saving *s, const void *bytes, size_t len, ZSTD_EndDirective end)
{
	ZSTD_inBuffer in = {.src = bytes, .size = len, .pos = 0};
	size_t left;

	do {
		ZSTD_outBuffer out = {.dst = s->out, .size = sizeof s->out, .pos = 0};
		int err;

		left = ZSTD_compressStream2(s->zstd, &out, &in, end);
		if (ZSTD_isError(left))
			return -ENOMEM;
		err = file_write_all(s->fd, s->out, out.pos);
		if (err)
			return err;
	} while (in.pos < in.size || (end == ZSTD_e_end && left));
	return 0;
}

static int save_entry(struct saving *s, const struct entry *e, uint32_t age_s)
{
	uint8_t record[FILE_RECORD_SIZE], *at = record;
	int err;

	at = file_put(at, e->len, 2);
	at = file_put(at, e->type, 2);
	at = file_put(at, e->flags, 1);
	at = file_put(at, e->queue, 1);
	at = file_put(at, e->hits, 2);
	at = file_put(at, e->view, 8);
	at = file_put(at, age_s, 4);
	(void)file_put(at, e->life_s, 4);
	err = save_bytes(s, record, sizeof record, ZSTD_e_continue);
	return err ? err : save_bytes(s, e->data, e->len, ZSTD_e_continue);
}

static int save_shard(
	struct saving *saving, struct shard *s, struct entry_copies *copies, uint32_t now_s)
{
	struct shard_limits limits;
	const struct entry *e;
	int err;

	copies_empty(copies);
	pthread_mutex_lock(&s->lock);
	limits = s->limits;
	err = copies_take(copies, s);
	shard_unlock(s);
	while (!err && (e = copies_next(copies))) {
		enum cache_state state = entry_state(&limits, e, now_s);
		uint32_t age_s = entry_age_s(e, now_s);

		if ((state == CACHE_FRESH || state == CACHE_STALE) && age_s <= LIFE_MAX_S)
			err = save_entry(saving, e, age_s);
	}
	return err;
}

static int save_all(struct saving *saving, struct cache *c, uint32_t now_s, int64_t wall_s)
{
	struct entry_copies copies = {0};
	uint8_t wall[FILE_WALL_SIZE];
	int err = file_write_all(saving->fd, FILE_HEAD, FILE_HEAD_SIZE);

	(void)file_put(wall, (uint64_t)wall_s, FILE_WALL_SIZE);
	if (!err)
		err = save_bytes(saving, wall, sizeof wall, ZSTD_e_continue);
	for (unsigned i = 0; i < SHARDS_MAX && !err; i++)
		err = save_shard(saving, &c->shards[i], &copies, now_s);
	copies_fini(&copies);
	return err ? err : save_bytes(saving, NULL, 0, ZSTD_e_end);
}

static struct saving *saving_new(int fd)
{
	struct saving *s = malloc(sizeof *s);

	if (!s)
		return NULL;
	s->fd = fd;
	s->zstd = ZSTD_createCCtx();
	if (!s->zstd ||
		ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_compressionLevel, LEVEL)) ||
		ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_windowLog, FILE_WINDOW_LOG)) ||
		ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_checksumFlag, 1))) {
		(void)ZSTD_freeCCtx(s->zstd);
		free(s);
		return NULL;
	}
	return s;
}

static void saving_free(struct saving *s)
{
	if (!s)
		return;
	(void)ZSTD_freeCCtx(s->zstd);
	free(s);
}

int cache_save(struct cache *c, const char *path, uint32_t now_s, int64_t wall_s)
{
	struct saving *saving = NULL;
	char *new_path;
	int fd = -1, err;

	if (asprintf(&new_path, "%s.new", path) < 0)
		return -ENOMEM;
	fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	err = fd < 0 || fchmod(fd, 0600) ? -errno : 0; /* one that was left over */
	if (!err) {
		saving = saving_new(fd);
		err = saving ? save_all(saving, c, now_s, wall_s) : -ENOMEM;
	}
	saving_free(saving);
	if (!err) {
		err = file_become(fd, new_path, path, NULL, 0);
	} else if (fd >= 0) {
		(void)close(fd);
		(void)unlink(new_path);
	}
	free(new_path);
	return err;
}
