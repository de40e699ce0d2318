/* What the files of this room share. table.c owns the entries and the hash index, names.c the bytes
 * of the names, reuse.c the choice of an index whose name is out of use, record.c the bytes of the
 * log, log.c its writing and loading, pool.c the arithmetic between indexes and addresses.
 *
 * Who may write what: everything is written under `lock`, except last_answer_s, last_packet_s,
 * flows and rule of an entry, soonest_s and retry_at_s (any thread, atomically), and what log.c
 * says of itself. */
#ifndef TUNGATE_FAKEIP_INTERNAL_H
#define TUNGATE_FAKEIP_INTERNAL_H

#include "fakeip/fakeip.h"

#include <pthread.h>
#include <stdatomic.h>

/* --- pool.c --- */

#define POOL_FIRST	  2 /* the network's own address and the TUN device's are never given out */
#define POOL_MAX_BITS	  24
#define POOL_MAX_SIZE	  ((1U << POOL_MAX_BITS) - POOL_FIRST)
#define POOL_DEFAULT_SIZE (1U << 20)

/* Indexes POOL_FIRST to end - 1 can be given out, in both families alike. */
struct pool {
	uint8_t net4[4], net6[16];
	uint8_t len4, len6;
	uint32_t end;
};

int pool_init(struct pool *p, const struct fakeip_pool_config *config);
void pool_pair(const struct pool *p, uint32_t index, struct fakeip_pair *ret);

/* --- names.c --- */

#define NAME_WORDS_MAX ((FAKEIP_NAME_MAX + 7) / 8)

/* Two halves of one lazily touched mapping; names live in one of them. A block is given back to the
 * list of its length in words; when those lists hold more than is in use, all names move to the
 * other half. */
struct name_arena {
	_Atomic uint64_t *words;
	uint32_t half_words; /* a half holds as many of the longest names as there are indexes */
	uint32_t start, end; /* the half in use: first word, first word never used */
	uint32_t free_words;
	uint32_t free[NAME_WORDS_MAX +
		      1]; /* by words: first block, linked by its first word; 0: none */
};

static inline size_t name_words(size_t name_len)
{
	return (name_len + 7) / 8;
}

/* --- table.c --- */

/* One index. A reader takes the sequence, reads with acquire, and takes the sequence again: the
 * writer stores the odd sequence first and the rest with release, so whoever saw a new value also
 * sees the new sequence. */
struct entry {
	_Alignas(64) _Atomic uint32_t sequence; /* odd: being rewritten */
	_Atomic uint32_t name;			/* first word in the arena */
	_Atomic uint64_t view, rule;
	_Atomic uint64_t record; /* number of its record in the log, 0: it has none */
	_Atomic uint32_t last_answer_s, last_packet_s, flows;
	_Atomic uint16_t name_len; /* 0: no mapping */
	uint32_t hash;		   /* of the name; under lock */
};

struct log_queue {
	uint8_t *bytes;
	size_t len;
};

struct crc32c {
	uint32_t t[8][256];
};

struct fakeip_table {
	struct pool pool;
	uint32_t ttl_s, hold_s;
	uint64_t hash_key;
	uint64_t (*hash)(const uint8_t *name, size_t name_len, uint64_t hash_key);

	struct entry *entries;	 /* pool.end of them */
	_Atomic uint32_t *slots; /* tag of (name, view) above index_mask, index below; 0: empty */
	uint32_t slot_mask, index_mask;
	_Atomic uint32_t fresh; /* indexes from here on were never given out */
	_Atomic uint32_t used;
	_Atomic uint64_t exhausted;
	struct name_arena names;
	pthread_mutex_t lock;

	/* reuse.c */
	_Atomic uint32_t
		*soonest_s; /* by block of indexes: no entry in it is free before; SOONEST_NEVER */
	uint32_t blocks, hand;	     /* hand: block that the search goes on from */
	_Atomic uint32_t retry_at_s; /* the least of soonest_s when last looked */

	/* log.c: io, log_len, writing under log_lock; queue under lock; lock is taken inside
	 * log_lock, never around */
	struct fakeip_log_io io;
	uint64_t log_len;
	struct log_queue queue, writing;
	_Atomic uint64_t queued,
		written; /* numbers of records; written is UINT64_MAX without a log */
	_Atomic bool persistent;
	_Atomic int log_error; /* of a write that nobody was told of yet */
	uint32_t record_seed;
	struct crc32c crc;
	pthread_mutex_t log_lock;
};

/* A mapping as it goes into the table and the log. name: padded with zeros to a multiple of 8
 * bytes. */
struct binding {
	const uint8_t *name;
	uint16_t name_len;
	uint32_t index;
	uint64_t view, rule;
};

/* All under lock. */
void table_bind(struct fakeip_table *t, const struct binding *b, uint64_t hash, uint64_t record,
	uint32_t now_s);
void table_unbind(struct fakeip_table *t, uint32_t index);
uint32_t table_locate(const struct fakeip_table *t, const uint8_t *name, size_t name_len,
	uint64_t hash, uint64_t view);
void entry_begin(struct entry *e);
void entry_end(struct entry *e);

void *region_map(size_t size_bytes); /* zeroed, without cost until touched; NULL */
void region_unmap(void *at, size_t size_bytes);

int names_init(struct name_arena *a, uint32_t names);
void names_fini(struct name_arena *a);
uint32_t names_add(struct fakeip_table *t, const uint8_t *name, size_t name_len);
void names_remove(struct name_arena *a, uint32_t name, size_t name_len);
bool names_equal(const struct name_arena *a, uint32_t name, const uint8_t *other, size_t name_len);
void names_copy(const struct name_arena *a, uint32_t name, size_t name_len,
	uint8_t ret[FAKEIP_NAME_MAX + 1]);

/* --- reuse.c --- */

#define SOONEST_NEVER UINT32_MAX

int reuse_init(struct fakeip_table *t);
void reuse_fini(struct fakeip_table *t);
/* An index below `fresh` that nobody can be using, its entry begun; 0: none is. Under lock. */
uint32_t reuse_take(struct fakeip_table *t, uint32_t now_s);
/* From this second on the entry is free for another name; SOONEST_NEVER while flows hold it. */
uint32_t reuse_free_at(const struct fakeip_table *t, const struct entry *e);

/* --- record.c --- */

#define LOG_HEADER_SIZE 64
#define RECORD_HEAD	32
#define RECORD_MIN	(RECORD_HEAD + 8)
#define RECORD_MAX	(RECORD_HEAD + 8 * NAME_WORDS_MAX)

void crc32c_init(struct crc32c *c);
uint32_t crc32c_update(const struct crc32c *c, uint32_t crc, const uint8_t *data, size_t len);

bool name_is_valid(const uint8_t *name, size_t name_len); /* whole, uncompressed, lower case */
void log_header_encode(const struct crc32c *c, const struct pool *p, uint8_t ret[LOG_HEADER_SIZE]);
/* The start value of the checksum of all records of these pools: a record never passes for another
 * pool's. */
uint32_t log_record_seed(const struct crc32c *c, const uint8_t header[LOG_HEADER_SIZE]);
size_t record_size(size_t name_len);
size_t record_encode(
	const struct crc32c *c, uint32_t seed, const struct binding *b, uint8_t ret[RECORD_MAX]);
/* 0: no whole record here; else its size. ret->name points into data. */
size_t record_decode(const struct crc32c *c, uint32_t seed, const uint8_t *data, size_t len,
	struct binding *ret);
/* Offset of the first record mark at or behind from; len: there is none. */
size_t record_search(const uint8_t *data, size_t len, size_t from);
void log_header_decode(
	const uint8_t header[LOG_HEADER_SIZE], struct pool *ret); /* of a whole one; end is 0 */
bool log_header_is_whole(const struct crc32c *c, const uint8_t header[LOG_HEADER_SIZE]);

/* --- log.c --- */

/* Under lock; the number for its entry, 0 without a log. There must be room. */
uint64_t log_queue_record(struct fakeip_table *t, const struct binding *b);
bool log_has_room(const struct fakeip_table *t);
void log_make_room(struct fakeip_table *t); /* without lock; keeps an error for fakeip_commit() */
void log_fini(struct fakeip_table *t);

#endif
