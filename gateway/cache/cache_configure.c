/* Bounds, and over how many shards they are split. */
#include <errno.h>
#include <stdlib.h>

#include "gateway/cache/cache_internal.h"

/* A shard has at least so much: else names that happen to meet in one push each other out while
 * others stand empty. */
#define SHARD_ENTRIES_MIN 512
#define SHARD_BYTES_MIN	  (256U << 10)

static unsigned bits_for(const struct cache_config *config)
{
	unsigned bits = SHARD_BITS_MAX;

	while (bits && (config->entries >> bits < SHARD_ENTRIES_MIN ||
			       (config->bytes && config->bytes >> bits < SHARD_BYTES_MIN)))
		bits--;
	return bits;
}

/* The share of shard i: all together are what the configuration says. */
static struct shard_limits limits_of(const struct cache_config *config, unsigned i, unsigned bits)
{
	size_t mask = ((size_t)1 << bits) - 1,
	       own = sizeof(struct cache) + SHARDS_MAX * TABLE_BYTES_MIN;
	size_t bytes = config->bytes > own ? config->bytes - own : 0;

	return (struct shard_limits){
		.entries = (config->entries >> bits) + (i < (config->entries & mask)),
		.bytes = config->bytes ? bytes >> bits : SIZE_MAX,
		.serve_stale_s = config->serve_stale_s,
		.prefetch_percent = config->prefetch_percent,
		.prefetch_hits = config->prefetch_hits};
}

static void lock_all(struct cache *c)
{
	for (unsigned i = 0; i < SHARDS_MAX; i++)
		pthread_mutex_lock(&c->shards[i].lock);
}

static void unlock_all(struct cache *c)
{
	for (unsigned i = 0; i < SHARDS_MAX; i++)
		pthread_mutex_unlock(&c->shards[i].lock);
}

/* All entries leave their shards and come into those that they belong to now, the oldest of each
 * first, as if they were new: what the bounds have no room for goes. The time is not known here, so
 * nothing is dead. */
static void entries_move(struct cache *c, const struct cache_config *config, struct entry **gone)
{
	struct entry *moving[QUEUES] = {NULL};
	unsigned bits = bits_for(config);

	for (unsigned i = 0; i < SHARDS_MAX; i++) {
		struct shard *s = &c->shards[i];

		for (enum queue_id q = 0; q < QUEUES; q++) {
			while (s->queues[q].newest)
				shard_take(s, s->queues[q].newest, &moving[q]);
		}
		ghosts_free(s);
		table_reset(s);
		s->limits = limits_of(config, i, bits);
	}
	atomic_store_explicit(&c->shard_bits, bits, memory_order_relaxed);
	for (int q = QUEUES; q-- > 0;) {
		for (struct entry *next, *e = moving[q]; e; e = next) {
			struct shard *s = shard_of(c, e->hash, bits);

			next = e->older;
			shard_insert(s, e, (enum queue_id)q, 0, gone);
		}
	}
}

int cache_configure(struct cache *c, const struct cache_config *config)
{
	struct entry *gone = NULL;

	pthread_mutex_lock(&c->configure_lock);
	lock_all(c);
	if (config->entries != c->entries || config->bytes != c->bytes) {
		entries_move(c, config, &gone);
		c->entries = config->entries;
		c->bytes = config->bytes;
	}
	for (unsigned i = 0; i < SHARDS_MAX; i++)
		c->shards[i].limits = limits_of(config, i, c->shard_bits);
	unlock_all(c);
	pthread_mutex_unlock(&c->configure_lock);
	entries_free(gone);
	return 0;
}

int cache_new(const struct cache_config *config, struct cache **ret)
{
	struct cache *c = aligned_alloc(_Alignof(struct cache), sizeof *c);

	if (!c)
		return -ENOMEM;
	memset(c, 0, sizeof *c);
	c->hash_key = config->hash_key;
	(void)pthread_mutex_init(&c->configure_lock, NULL);
	for (unsigned i = 0; i < SHARDS_MAX; i++)
		(void)pthread_mutex_init(&c->shards[i].lock, NULL);
	for (unsigned i = 0; i < SHARDS_MAX; i++) {
		if (table_init(&c->shards[i])) {
			cache_free(c);
			return -ENOMEM;
		}
	}
	(void)cache_configure(c, config);
	*ret = c;
	return 0;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	(void)cache_flush(c, NULL);
	for (unsigned i = 0; i < SHARDS_MAX; i++) {
		ghosts_free(&c->shards[i]);
		table_fini(&c->shards[i]);
		(void)pthread_mutex_destroy(&c->shards[i].lock);
	}
	(void)pthread_mutex_destroy(&c->configure_lock);
	free(c);
}
