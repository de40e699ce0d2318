/* What the files of this room share. table.c owns the entries and the hash index and makes
 * mappings, lookup.c reads them, flush.c takes one off its name, names.c owns the bytes of the
 * names, ids.c the small numbers for views and rules, reuse.c the choice of an index, record.c the
 * bytes of the log, log.c its writing, load.c its reading, snapshot.c its renewal, pool.c the
 * arithmetic between indexes and addresses.
 *
 * Who may write what: everything is written under `lock`, except last_answer_s, last_packet_s and
 * flows of an entry, soonest_s and retry_at_s (any thread, atomically), and what struct log says of
 * itself. */
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

/* Where the addresses of one pool lie in another: index in it = index + by. */
struct pool_shift {
	bool has4, has6; /* the family is in both, and can be told apart by its last 32 bits */
	bool fits;	 /* all that both have agree: by4 == by6 */
	int64_t by4, by6;
};

int pool_init(struct pool *p, const struct fakeip_pool_config *config);
void pool_pair(const struct pool *p, uint32_t index, struct fakeip_pair *ret);
struct pool_shift pool_shift(const struct pool *from, const struct pool *to);
/* 0: there is none. */
uint32_t pool_shifted(const struct pool *to, uint32_t index, int64_t by);

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

/* --- ids.c --- */

#define IDS_MAX UINT16_MAX

/* Views and rules are few: an entry holds their small numbers. 0 is 0. */
struct id_table {
	_Atomic uint64_t *values; /* by number */
	uint16_t *slots;	  /* open addressing by value; 0: empty; under lock */
	uint32_t n;		  /* numbers in use, 0 too */
};

/* --- table.c --- */

/* One index. A reader takes the sequence, reads with acquire, and takes the sequence again: the
 * writer stores the odd sequence first and the rest with release, so whoever saw a new value also
 * sees the new sequence. Without a name it is reserved, or waits for one. */
struct entry {
	_Atomic uint32_t sequence; /* odd: being rewritten */
	_Atomic uint32_t name;	   /* first word in the arena */
	_Atomic uint32_t record;   /* RECORD_NONE, RECORD_OLD, or its number's low bits */
	_Atomic uint32_t last_answer_s, last_packet_s, flows;
	uint32_t hash;		     /* of the name; under lock */
	_Atomic uint16_t view, rule; /* their numbers */
	_Atomic uint8_t name_len;    /* 0: no mapping */
	_Atomic bool flushed;	     /* not in the hash index */
};

_Static_assert(sizeof(struct entry) == 36, "an entry is small");

/* --- record.c --- */

#define LOG_HEADER_SIZE 64
#define RECORD_HEAD	32
#define RECORD_MAX	(RECORD_HEAD + 8 * NAME_WORDS_MAX)

enum record_kind {
	RECORD_BIND = 1, /* the index means the name */
	RECORD_REBIND,	 /* so it does, and it meant another one before */
	RECORD_KEPT,	 /* so it did, and the name has left it, but it is still in use */
	RECORD_FLUSH,	 /* the name has left the index */
	RECORD_FREE,	 /* up to 64 indexes mean nothing any more */
	RECORD_LIMITS,	 /* how far indexes may have been given out, and with which TTL */
};

struct record {
	enum record_kind kind;
	uint16_t name_len;
	uint32_t index;
	union {
		uint64_t view; /* BIND, REBIND, KEPT */
		uint64_t bits; /* FREE: index, index + 1, … */
		uint64_t low;  /* LIMITS: low to top - 1 were never given out; the TTL above */
	};
	union {
		uint64_t rule; /* BIND, REBIND, KEPT */
		uint64_t ends; /* LIMITS: top, and the pool's end in the upper half */
	};
	const uint8_t *name; /* BIND, REBIND, KEPT: padded with zeros to a multiple of 8 bytes */
	/* How many FREE and REBIND records there were, with this one, in the low bits: what damage
	 * hid is known by the difference. */
	uint16_t frees;
	uint8_t rebinds;
};

struct crc32c {
	uint32_t t[8][256];
};

/* --- log.c --- */

#define RECORD_NONE 0U /* is not in the log */
#define RECORD_OLD  1U /* from before this start, or in a snapshot */

struct log_queue {
	uint8_t *bytes;
	size_t len;
};

/* io, len, writing under log_lock; what says so, under the table's lock, which is taken inside
 * log_lock and never around it. */
struct log {
	struct fakeip_log_io io;
	pthread_mutex_t log_lock;
	_Atomic uint64_t len;
	struct log_queue queue, writing; /* queue: under lock */
	_Atomic uint64_t queued,
		written;	       /* numbers of records; written is UINT64_MAX without a log */
	uint64_t written_before;       /* lost: as it was; under lock */
	_Atomic bool persistent, lost; /* lost: it was, or should be; written under lock */
	bool recording, recording_full;	   /* records queue although nothing writes; under lock */
	_Atomic int error;		   /* of a write that nobody was told of yet */
	_Atomic uint64_t appended, synced; /* bytes */
	_Atomic uint64_t limits_at;	   /* appended, when limits were last written */
	uint32_t seed;			   /* of the checksums */
	struct crc32c crc;

	/* Indexes below are given out from below: those of them that nobody had yet need no more
	 * than their own record. Under lock; the second is what is in the file. */
	uint32_t reserved_queued, reserved;
	uint64_t freed; /* number of the last FREE record; under lock */
	uint16_t frees; /* see struct record; under lock */
	uint8_t rebinds;
	_Atomic uint64_t live_bytes; /* what a snapshot would hold */
};

enum snapshot_step {
	SNAPSHOT_IDLE,
	SNAPSHOT_SCAN,
	SNAPSHOT_TAIL,
	SNAPSHOT_SYNC,
};

/* The owner's thread only. */
struct snapshot {
	enum snapshot_step step;
	bool recovery;	 /* of a lost log; else of one that has grown */
	uint32_t next;	 /* scanned up to here */
	uint64_t copied; /* of the log, up to here */
	uint64_t bytes;	 /* of the new file */
	unsigned rounds;
	uint16_t frees;
	uint8_t rebinds;
	uint8_t *chunk;
	uint8_t *tail; /* recovery: records made meanwhile */
	size_t tail_len, tail_room;
};

struct fakeip_table {
	struct pool pool;
	_Atomic uint32_t ttl_s, hold_s;
	uint32_t
		ttl_most_s; /* the longest that was answered, as far as the log tells; under lock */
	uint64_t hash_key, seed;
	uint64_t (*hash)(const uint8_t *name, size_t name_len, uint64_t hash_key);

	struct entry *entries;	 /* pool.end of them */
	_Atomic uint32_t *slots; /* tag of (name, view) above index_mask, index below; 0: empty */
	uint32_t slot_mask, index_mask;
	_Atomic uint32_t fresh, top; /* indexes from fresh to top - 1 were never given out */
	/* The others count as answered then, and as used until then; 0: there are none. */
	_Atomic uint32_t start_s, start_until_s;
	_Atomic uint32_t used, flushed;
	_Atomic uint64_t exhausted;
	struct name_arena names;
	struct id_table ids;
	pthread_mutex_t lock;

	/* reuse.c */
	_Atomic uint32_t
		*soonest_s; /* by block of indexes: no entry in it is free before; SOONEST_NEVER */
	uint32_t blocks, hand;	     /* hand: block that the search goes on from */
	_Atomic uint32_t retry_at_s; /* the least of soonest_s when last looked */
	bool needs_sweep;
	_Atomic uint32_t swept_s;
	uint64_t exhausted_before; /* the last sweep; the owner's thread */
	uint32_t idle_until_s;	   /* no sweep can free anything before; the owner's thread */

	struct log log;
	struct snapshot snapshot;
};

/* A reader's way to the mutex: it is no part of what a const table promises not to change. */
static inline void table_lock(const struct fakeip_table *t)
{
	pthread_mutex_lock((pthread_mutex_t *)&t->lock);
}

static inline void table_unlock(const struct fakeip_table *t)
{
	pthread_mutex_unlock((pthread_mutex_t *)&t->lock);
}

/* Was ever given out, or is reserved. */
static inline bool table_given(const struct fakeip_table *t, uint32_t index)
{
	return index < atomic_load_explicit(&t->fresh, memory_order_acquire)
		       ? index >= POOL_FIRST
		       : index >= atomic_load_explicit(&t->top, memory_order_acquire) &&
				 index < t->pool.end;
}

/* The next one after; 0: none. */
static inline uint32_t table_given_next(const struct fakeip_table *t, uint32_t after)
{
	uint32_t top = atomic_load_explicit(&t->top, memory_order_acquire);
	uint32_t i = after < POOL_FIRST ? POOL_FIRST : after + 1;

	if (i >= atomic_load_explicit(&t->fresh, memory_order_acquire) && i < top)
		i = top;
	return i < t->pool.end ? i : 0;
}

/* All under lock. */
void table_bind(struct fakeip_table *t, const struct record *b, uint64_t hash, uint32_t record,
	uint16_t view, uint16_t rule, uint32_t now_s);
void table_unbind(struct fakeip_table *t, uint32_t index);
void table_set_flushed(struct fakeip_table *t, uint32_t index);
uint32_t table_locate(const struct fakeip_table *t, const uint8_t *name, size_t name_len,
	uint64_t hash, uint64_t view);
void entry_begin(struct entry *e);
void entry_end(struct entry *e);
bool entry_is(const struct fakeip_table *t, const struct entry *e, const uint8_t *name,
	size_t name_len, uint64_t view);
/* Seconds only rise, also when threads disagree about now. Any thread. */
void raise_to(_Atomic uint32_t *at, uint32_t now_s);
uint32_t hash_fold(uint64_t hash);
uint32_t slot_get(const struct fakeip_table *t, uint32_t at);

void *region_map(size_t size_bytes); /* zeroed, without cost until touched; NULL */
void region_unmap(void *at, size_t size_bytes);

int names_init(struct name_arena *a, uint32_t names);
void names_fini(struct name_arena *a);
uint32_t names_add(struct fakeip_table *t, const uint8_t *name, size_t name_len);
void names_remove(struct name_arena *a, uint32_t name, size_t name_len);
bool names_equal(const struct name_arena *a, uint32_t name, const uint8_t *other, size_t name_len);
void names_copy(const struct name_arena *a, uint32_t name, size_t name_len,
	uint8_t ret[FAKEIP_NAME_MAX + 1]);

int ids_init(struct id_table *ids);
void ids_fini(struct id_table *ids);
/* The number of a value, under lock. False: there are too many. Numbers that no entry has may go to
 * other values here: whoever needs two asks for both, with the first one in *keep. */
bool ids_number(struct fakeip_table *t, uint64_t value, uint16_t keep, uint16_t *ret);

static inline uint64_t ids_value(const struct id_table *ids, uint16_t number)
{
	return atomic_load_explicit(&ids->values[number], memory_order_acquire);
}

/* --- reuse.c --- */

#define SOONEST_NEVER UINT32_MAX
#define REUSE_AHEAD   16 /* blocks at most whose free indexes lose their names ahead */

int reuse_init(struct fakeip_table *t);
void reuse_fini(struct fakeip_table *t);
/* An index that was given out before and that nobody can be using, its entry begun; 0: none is, or
 * (log_waits()) some will be once the log is written. Under lock. */
uint32_t reuse_take(struct fakeip_table *t, uint32_t now_s);
/* Before the first of these is needed: when few that nobody ever had are left. Under lock. */
void reuse_prepare(struct fakeip_table *t, uint32_t fresh, uint32_t now_s);
/* From this second on the entry is free for another name; SOONEST_NEVER while flows hold it. */
uint32_t reuse_free_at(const struct fakeip_table *t, const struct entry *e);
/* Free is what was free then. */
uint32_t reuse_clock(const struct fakeip_table *t, uint32_t now_s);
void reuse_look_again(struct fakeip_table *t); /* the bounds may be too late */

/* --- record.c --- */

void crc32c_init(struct crc32c *c);
uint32_t crc32c_update(const struct crc32c *c, uint32_t crc, const uint8_t *data, size_t len);

bool name_is_valid(const uint8_t *name, size_t name_len); /* whole, uncompressed, lower case */
void log_header_encode(const struct crc32c *c, const struct pool *p, uint8_t ret[LOG_HEADER_SIZE]);
bool log_header_is_whole(const struct crc32c *c, const uint8_t header[LOG_HEADER_SIZE]);
/* Of a whole one. end is what the prefixes allow. */
void log_header_decode(const uint8_t header[LOG_HEADER_SIZE], struct pool *ret);
/* The start value of the checksum of all records of these pools: a record never passes for another
 * pool's. */
uint32_t log_record_seed(const struct crc32c *c, const uint8_t header[LOG_HEADER_SIZE]);
size_t record_size(size_t name_len);
size_t record_encode(
	const struct crc32c *c, uint32_t seed, const struct record *r, uint8_t ret[RECORD_MAX]);
/* 0: no whole record here; else its size. ret->name points into data. */
size_t record_decode(
	const struct crc32c *c, uint32_t seed, const uint8_t *data, size_t len, struct record *ret);
/* Offset of the first record mark at or behind from; len: there is none. */
size_t record_search(const uint8_t *data, size_t len, size_t from);

/* --- log.c --- */

int log_init(struct fakeip_table *t, const struct fakeip_log_io *io);
void log_fini(struct fakeip_table *t);

/* Under lock. */
bool log_has_room(const struct fakeip_table *t); /* for all that one step queues */
uint32_t log_queue_record(struct fakeip_table *t, struct record *r); /* its number, for the entry */
/* A never used index from below may be given out. False: see log_waits(), or not at all. */
bool log_reserves(struct fakeip_table *t, uint32_t index);
bool log_waits(const struct fakeip_table *t); /* for a write: log_make_room(), and ask again */
/* The file as it is says what this index means, and cannot be told otherwise. */
bool log_keeps(const struct fakeip_table *t, const struct entry *e);

void log_tell_ttl(struct fakeip_table *t, uint32_t ttl_s); /* before it is answered; without lock */
void log_make_room(struct fakeip_table *t); /* without lock; keeps an error for fakeip_commit() */
bool log_is_pending(const struct fakeip_table *t, uint32_t record); /* any thread */
/* Numbers of indexes told ahead. */
uint32_t log_ahead(const struct fakeip_table *t);
struct record log_limits(const struct fakeip_table *t, uint32_t low);
/* Under log_lock. */
int log_append(struct fakeip_table *t, const void *data, size_t len);
/* Under log_lock: what is queued is in `writing` afterwards. Returns the number of its last. */
uint64_t log_take_queue(struct fakeip_table *t);

/* --- snapshot.c --- */

int snapshot_run(struct fakeip_table *t); /* all steps */
void snapshot_drop(struct fakeip_table *t);

#endif
