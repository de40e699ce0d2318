/* Answers of upstreams, kept in their stored form (gateway/dns/stored.h: whole messages without
 * OPT). One table for all workers, in shards with a lock each; no I/O, no log, no clock and no
 * randomness of its own.
 *
 * A key is (name, type, class IN, DO, CD, view). The view is a number of the caller's for whatever
 * else an answer depends on (group, its settings, a rule's bounds): an entry of another view is
 * never found, so a changed policy never serves what an older one cached. All entries of a name lie
 * in one bucket, so showing and flushing a name looks at that alone.
 *
 * What goes when it is full: S3-FIFO (Yang et al., SOSP 2023): a small queue that one-hit names
 * leave soon, a main queue, and a ghost queue of hashes; a scan does not push out what is asked
 * again and again. Bounded by entries and by bytes, the table's own overhead included. */
#ifndef TUNGATE_CACHE_CACHE_H
#define TUNGATE_CACHE_CACHE_H

#include "gateway/dns/message.h"

struct cache;

struct cache_config {
	size_t entries; /* 0: nothing is kept */
	size_t bytes;	/* 0: no bound but entries */
	uint32_t serve_stale_s;
	unsigned prefetch_percent, prefetch_hits; /* percent 0: off */
	uint64_t hash_key; /* names are hashed with this (dns_name_hash); random */
};
int cache_new(const struct cache_config *config, struct cache **ret); /* -ENOMEM */
void cache_free(struct cache *c);				      /* NULL is fine */
/* After a reload; what is too much goes. The hash_key stays. Any thread; it holds all up for some
 * ms if sizes changed. 0; what finds no memory goes. */
int cache_configure(struct cache *c, const struct cache_config *config);

enum cache_flag { CACHE_CD = 1, CACHE_DO = 2 };
struct cache_key {
	const struct dns_name *name;
	uint64_t hash; /* dns_name_hash(name, hash_key) */
	uint64_t view;
	uint16_t type;
	uint8_t flags;
};
/* The entry's way to the processor begins. */
void cache_prefetch(const struct cache *c, uint64_t hash);

enum cache_state {
	CACHE_MISS,
	CACHE_FRESH,
	CACHE_STALE,  /* past its TTL, within serve_stale_s */
	CACHE_FAILED, /* the last attempt failed less than failure_ttl ago, and nothing is there */
};
struct cache_found {
	enum cache_state state;
	size_t len;	    /* of the message in buf: FRESH and STALE; not aged yet */
	uint32_t age_s;	    /* since it was stored */
	uint32_t left_s;    /* of its life; 0: stale */
	bool refresh;	    /* FRESH: prefetch says it is time; told to one caller only, until
			       cache_put(), 10 s, or the failure_ttl_s of cache_fail() */
	bool failed_lately; /* STALE: a refresh failed within 30 s (RFC 8767 5): no use to wait */
};
/* Copies the entry into buf (size bytes; a longer one is a miss) and counts hit or miss. now_s: a
 * monotonic clock in seconds, the same for all calls. Any thread. */
void cache_get(struct cache *c, const struct cache_key *key, uint32_t now_s, uint8_t *buf,
	size_t size, struct cache_found *ret);
/* Without counting, without touching: for explain and for stale answers that were waited for. */
void cache_peek(struct cache *c, const struct cache_key *key, uint32_t now_s, uint8_t *buf,
	size_t size, struct cache_found *ret);
/* Keeps a copy of a stored message for life_s (0: nothing is kept, and what was there goes);
 * replaces what was there. Not kept: what does not answer the key's question, or finds no memory;
 * what was there goes then, too. Any thread. */
void cache_put(struct cache *c, const struct cache_key *key, const uint8_t *msg, size_t len,
	uint32_t life_s, uint32_t now_s);
/* An attempt failed: for failure_ttl_s the key is FAILED; a stale answer that is there stays and is
 * failed_lately. */
void cache_fail(
	struct cache *c, const struct cache_key *key, uint32_t failure_ttl_s, uint32_t now_s);

struct cache_stats {
	size_t entries, bytes;
	/* Of cache_get(): hits are FRESH and FAILED; evicted: for want of room. */
	uint64_t hits, misses, stale, refreshes, evicted;
};
void cache_stats(struct cache *c, struct cache_stats *ret); /* any thread */

size_t cache_flush(struct cache *c, const struct dns_name *name); /* NULL: all; how many went */
/* Failures alone, when the way to the upstreams changed. */
void cache_flush_failures(struct cache *c);

/* What people look at. msg is aged to now and valid until visit returns; no call of this room from
 * within it. name NULL: all, at most max, the most asked first is not promised. Shows copies, made
 * a shard at a time; where there is no memory for them it ends. Returns how many were shown. */
struct cache_shown {
	struct dns_name name;
	uint16_t type;
	uint8_t flags;
	uint64_t view;
	uint32_t ttl_s; /* 0: stale or failed */
	uint32_t hits;
	enum cache_state state;
	const uint8_t *msg; /* NULL: failed */
	size_t len;
};
typedef void cache_visit(void *arg, const struct cache_shown *e);
size_t cache_show(struct cache *c, const struct dns_name *name, uint32_t now_s, size_t max,
	cache_visit *visit, void *arg);

/* --- the file --- */

/* Writes all answers, compressed (zstd), to path: whole or not at all (gateway/base/file.h).
 * wall_s: the time of day, 0 if it cannot be trusted; ages are kept, not times alone. Locks one
 * shard at a time for its copying only. One thread at a time (path.new). 0 or -errno. */
int cache_save(struct cache *c, const char *path, uint32_t now_s, int64_t wall_s);
/* Reads what fits the cache's bounds. The time that passed between is wall_s less the file's, if
 * that is between 0 and 30 days; else (a clock that jumped, or none) it is not known: entries
 * are stale then, not fresh and not dead. What is in the cache already stays. A torn, foreign or
 * too new file: -EBADMSG, nothing is taken; -ENOENT, or that of file_check(). ret_hot (max entries,
 * the most asked first; NULL with max 0) is what a warm-up asks again. */
struct cache_hot {
	struct dns_name name;
	uint64_t view;
	uint16_t type;
	uint8_t flags;
	uint32_t hits;
};
int cache_load(struct cache *c, const char *path, uint32_t now_s, int64_t wall_s,
	struct cache_hot *ret_hot, size_t max, size_t *ret_n_hot);

#endif
