/* What the files of this room share. cache_table.c owns the buckets of a shard, cache_queues.c the
 * order in which entries go, cache_configure.c the bounds and the number of shards, cache.c the
 * life of an entry, cache_copy.c copies for cache_show.c and cache_save.c; cache_file.h is what
 * cache_save.c and cache_load.c agree on.
 *
 * Everything in a shard is under its lock, but that cache_prefetch() reads where the buckets are.
 * shard_bits changes only while all locks are held, so who holds one sees it as it is. */
#ifndef TUNGATE_CACHE_INTERNAL_H
#define TUNGATE_CACHE_INTERNAL_H

#include "gateway/cache/cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#define SHARD_BITS_MAX 5
#define SHARDS_MAX     (1 << SHARD_BITS_MAX)

#define LIFE_MAX_S	(1U << 30) /* ages are compared as signed differences */
#define FAILED_LATELY_S 30	   /* RFC 8767 5 */
#define REFRESH_S	10
#define FREQ_MAX	3

enum queue_id { QUEUE_SMALL, QUEUE_MAIN, QUEUES };
/* What happened to an entry since it was stored. */
enum tried { TRIED_NOT, TRIED_REFRESH, TRIED_FAILED };

/* One allocation: an answer, or a failure where none is. Small, because there are many. */
struct entry {
	struct entry *older, *newer; /* in its queue; older: also in a list of what goes */
	uint64_t view;
	uint32_t hash; /* the upper half of the name's; the shard by its upper bits */
	uint32_t stored_s, life_s;
	uint32_t tried_s; /* when the refresh was told, or the attempt failed */
	uint16_t failure_ttl_s;
	uint16_t type;
	uint16_t len; /* of the message; 0: a failure alone */
	uint16_t hits;
	uint8_t flags; /* enum cache_flag */
	uint8_t name_len;
	uint8_t queue : 2, freq : 2, tried : 2;
	uint8_t data[]; /* the message, its question lower-cased; of a failure the name */
};

/* A cache line. Those of a name are in one, and in what hangs on it. */
#define BUCKET_SLOTS 6
struct bucket {
	struct entry *entries[BUCKET_SLOTS];
	struct bucket *more;
	uint8_t tags[BUCKET_SLOTS]; /* of the whole key: seldom is a wrong entry looked at */
	uint8_t n;
};

struct queue {
	struct entry *newest, *oldest;
	size_t n, bytes;
};

struct shard_limits {
	size_t entries, bytes;
	uint32_t serve_stale_s;
	unsigned prefetch_percent, prefetch_hits;
};

struct shard {
	_Alignas(64) pthread_mutex_t lock;
	_Atomic(struct bucket *) buckets;
	_Atomic uint32_t mask; /* of their numbers: a power of two less one */
	struct queue queues[QUEUES];
	struct shard_limits limits;
	size_t bytes; /* of entries, buckets and ghosts, what malloc takes included */
	uint32_t *ghosts;
	size_t ghost_sets;
	struct cache_stats counts; /* entries and bytes are filled in when they are asked for */
};

struct cache {
	struct shard shards[SHARDS_MAX];
	_Atomic unsigned shard_bits;
	pthread_mutex_t configure_lock;
	_Atomic size_t entries; /* as configured, like bytes; 0: nothing is kept */
	size_t bytes;
	uint64_t hash_key;
};

/* --- cache.c --- */

static inline struct shard *shard_of(struct cache *c, uint32_t hash, unsigned bits)
{
	return &c->shards[(uint64_t)hash << bits >> 32];
}
struct shard *shard_lock(struct cache *c, uint32_t hash);
static inline void shard_unlock(struct shard *s)
{
	pthread_mutex_unlock(&s->lock);
}

enum cache_state entry_state(
	const struct shard_limits *limits, const struct entry *e, uint32_t now_s);
static inline uint32_t entry_age_s(const struct entry *e, uint32_t now_s)
{
	int32_t age = (int32_t)(now_s - e->stored_s); /* a clock may be read before it is used */

	return age > 0 ? (uint32_t)age : 0;
}
static inline const uint8_t *entry_name(const struct entry *e)
{
	return e->data + (e->len ? DNS_HEADER_SIZE : 0);
}
static inline size_t entry_size(const struct entry *e)
{
	size_t size = offsetof(struct entry, data) + (e->len ? e->len : e->name_len);

	return size > sizeof *e ? size : sizeof *e;
}
/* With what malloc takes beside. */
static inline size_t entry_bytes(const struct entry *e)
{
	return (entry_size(e) + sizeof(size_t) + 15) / 16 * 16;
}
/* Is it a message of this question, whose name is where entry_name() says? */
bool message_answers(const uint8_t *msg, size_t len, const struct dns_name *name, uint16_t type);
/* An entry in no queue and no bucket; of a failure msg is NULL, an answer is its key's
 * (message_answers()). NULL: no memory. */
struct entry *entry_new(
	const struct cache_key *key, const uint8_t *msg, size_t len, uint32_t life_s);
/* Those chained by `older`. Without a lock. Returns how many. */
size_t entries_free(struct entry *list);

/* --- cache_table.c --- */

/* All of the key in 64 bits; a part of it is the tag, another the ghost. */
static inline uint64_t key_mix(uint32_t hash, uint16_t type, uint8_t flags, uint64_t view)
{
	uint64_t x = view ^ ((uint64_t)hash << 32 | (uint32_t)type << 8 | flags);

	x ^= x >> 29;
	x *= 0x9e3779b97f4a7c15ULL;
	return x ^ x >> 32;
}
static inline uint64_t entry_mix(const struct entry *e)
{
	return key_mix(e->hash, e->type, e->flags, e->view);
}
static inline uint32_t hash_upper(uint64_t hash)
{
	return (uint32_t)(hash >> 32);
}

int table_init(struct shard *s); /* -ENOMEM */
void table_fini(struct shard *s);
void table_reset(struct shard *s); /* small again; it is empty */
#define BUCKETS_OVERHEAD 64	   /* what aligned memory costs beside */
#define TABLE_BYTES_MIN	 (sizeof(struct bucket) + BUCKETS_OVERHEAD)
/* The place of the entry, NULL: it is not there. */
struct entry **table_find(const struct shard *s, const struct cache_key *key);
bool table_add(struct shard *s, struct entry *e); /* false: no memory */
void table_remove(struct shard *s, const struct entry *e);
static inline struct bucket *table_bucket(const struct shard *s, uint32_t hash)
{
	return atomic_load_explicit(&s->buckets, memory_order_relaxed) +
	       (hash & atomic_load_explicit(&s->mask, memory_order_relaxed));
}
bool entry_has_name(const struct entry *e, const struct dns_name *name);

/* --- cache_queues.c --- */

size_t shard_entries(const struct shard *s);
void queue_replace(struct shard *s, const struct entry *old, struct entry *e);
/* Takes entries out of the shard until `entries` and `bytes` more are within its limits. Adds them
 * to *list. */
void queues_make_room(
	struct shard *s, size_t entries, size_t bytes, uint32_t now_s, struct entry **list);
/* Did it go from the small queue lately? It is forgotten then. */
bool ghost_take(struct shard *s, uint64_t mix);
void ghosts_free(struct shard *s);

/* Takes e out of the shard and adds it to *list. */
void shard_take(struct shard *s, struct entry *e, struct entry **list);
bool shard_takes(const struct shard *s, const struct entry *e); /* not too large for it */
/* Puts it in as the newest, in place of what has to go; adds that to *list, or e itself. */
void shard_insert(
	struct shard *s, struct entry *e, enum queue_id q, uint32_t now_s, struct entry **list);
/* Puts it in as the oldest if there is room; false: there is not. */
bool shard_append(struct shard *s, struct entry *e, enum queue_id q);

/* --- cache_copy.c --- */

/* Copies of a shard's entries, so that they are looked at without its lock. */
struct entry_copies {
	uint8_t *bytes;
	size_t len, room, at;
};
/* Appends all, the newest of the main queue first. -ENOMEM. */
int copies_take(struct entry_copies *copies, const struct shard *s);
int copies_take_name(struct entry_copies *copies, const struct shard *s, uint32_t hash,
	const struct dns_name *name);
struct entry *copies_next(struct entry_copies *copies); /* NULL: that was all */
void copies_empty(struct entry_copies *copies);
void copies_fini(struct entry_copies *copies);

#endif
