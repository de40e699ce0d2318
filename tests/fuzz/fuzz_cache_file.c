/* Arbitrary bytes as the file of a small cache: no crash, a file that is refused leaves nothing,
 * what is taken is within the bounds and readable, and it comes back from a second file. The first
 * byte is no part of the file: if it is odd, the rest is packed first, so that what the records say
 * is arbitrary too. */
#include "gateway/cache/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#define ENTRIES 8
#define WALL_S	1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct cache_config config = {
	.entries = ENTRIES, .bytes = 100000, .serve_stale_s = 3600, .hash_key = 1};

static void make_file(int fd, const uint8_t *data, size_t size, bool pack)
{
	static const uint8_t head[12] = "TGCACHE\n\1";
	size_t room = ZSTD_compressBound(size);
	uint8_t *packed = malloc(room);

	if (pack) {
		size = ZSTD_compress(packed, room, data, size, 1);
		data = packed;
		if (write(fd, head, sizeof head) != sizeof head)
			abort();
	}
	if (write(fd, data, size) != (ssize_t)size)
		abort();
	free(packed);
}

static void check(void *arg, const struct cache_shown *e)
{
	(void)arg;
	if (!e->msg || dns_response_check(e->msg, e->len) || e->flags > 3 ||
		(e->state != CACHE_FRESH && e->state != CACHE_STALE))
		abort();
}

static struct cache *cache_made(void)
{
	struct cache *c;

	if (cache_new(&config, &c))
		abort();
	return c;
}

static size_t entries(struct cache *c)
{
	struct cache_stats stats;

	cache_stats(c, &stats);
	return stats.entries;
}

static void check_again(struct cache *c)
{
	const char *path = "/tmp/tungate-fuzz-cache";
	struct cache *again = cache_made();
	char own[64];

	(void)snprintf(own, sizeof own, "%s-%d", path, (int)getpid());
	if (cache_save(c, own, 5, WALL_S) || cache_load(again, own, 5, WALL_S, NULL, 0, NULL) ||
		entries(again) != entries(c))
		abort();
	(void)unlink(own);
	cache_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("cache", MFD_CLOEXEC), err;
	struct cache *c = cache_made();
	struct cache_hot hot[3];
	size_t n = 0;
	char path[32];

	if (fd < 0)
		abort();
	if (size)
		make_file(fd, data + 1, size - 1, data[0] & 1);
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	err = cache_load(c, path, 5, WALL_S, hot, 3, &n);
	if (entries(c) > ENTRIES || (err && entries(c)) || n > 3 || n > entries(c))
		abort();
	if (cache_show(c, NULL, 5, SIZE_MAX, check, NULL) != entries(c))
		abort();
	if (entries(c))
		check_again(c);
	cache_free(c);
	(void)close(fd);
	return 0;
}
