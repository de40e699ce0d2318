/* The fake-address table: which pair of fake addresses means which (name, view).
 *
 * One index serves both families: v4 = pool4 + i, v6 = pool6 + i. The mapping (name, view) <->
 * index is a bijection at every moment, in memory and in the file; a flushed mapping keeps its
 * index until nobody can use it any more, while its name may already have another. An index is
 * given to another name only when nobody can still use it: last answer + TTL + hold is over, no
 * packet came for longer than the hold, no flow holds it, and (needs_sweep) a look at all live
 * flows that began after all that did not find it.
 *
 * Pure: time comes in as an argument (seconds, monotonic within a run and comparable across runs,
 * see fakeip_load), the file is reached through struct fakeip_log_io. Threads: a known mapping is
 * read by any thread without a lock (a sequence count per entry); everything that makes or changes
 * one takes the table's mutex. No allocation on either path: all memory is reserved at the start
 * and becomes resident as mappings are made. */
#ifndef TUNGATE_FAKEIP_FAKEIP_H
#define TUNGATE_FAKEIP_FAKEIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FAKEIP_NAME_MAX 255

struct fakeip_pool_config {
	/* Network addresses in network order; a family that is off has len 0. */
	uint8_t net4[4], net6[16];
	uint8_t len4, len6; /* prefix lengths, bits */
	uint32_t ttl_s, hold_s;
	uint32_t max;	  /* mappings at most: 0 means 1 << 20 */
	bool needs_sweep; /* see fakeip_swept() */
	/* Random. Where new addresses begin when nobody can know which ones were given out before;
	 * 0: at the first one. */
	uint64_t seed;
	/* Where the `hash` arguments below come from, for names that fakeip_load() reads; name is
	 * padded with zeros to a multiple of 8 bytes. NULL: fakeip_load() is not used. */
	uint64_t (*hash)(const uint8_t *name, size_t name_len, uint64_t hash_key);
};

struct fakeip_table;

/* A mapping as told to others: a copy, no pointer into the table. */
struct fakeip_mapping {
	uint32_t index;
	uint64_t view;		/* 0: no view */
	uint64_t rule;		/* id of the rule that made or last answered it */
	uint32_t last_answer_s; /* on the caller's clock */
	uint32_t last_packet_s; /* 0: none; in the future after fakeip_touch_until() */
	uint32_t flows;		/* users that called fakeip_hold and not fakeip_release */
	bool flushed;		/* its name gets another index when it is asked again */
	uint16_t name_len;
	uint8_t name[FAKEIP_NAME_MAX + 1]; /* wire form, lower case */
	bool has4, has6;
	uint8_t v4[4], v6[16];
};

struct fakeip_stats {
	uint32_t size;	    /* indexes that can be given out */
	uint32_t used;	    /* mappings, flushed ones too */
	uint32_t flushed;   /* of these: flushed */
	uint32_t in_hold;   /* of these: no longer live, but not yet free for another name */
	uint32_t reusable;  /* of these: free for another name */
	uint64_t exhausted; /* times that no index was free */
};

/* Error: -EINVAL both families off or a prefix that leaves no address; -ENOMEM. */
int fakeip_new(
	const struct fakeip_pool_config *config, uint64_t hash_key, struct fakeip_table **ret);
void fakeip_free(struct fakeip_table *t);
/* After a reload. Answers that were given with a longer TTL keep their index for that longer time.
 * So that none is missed: a longer TTL is told before any worker answers with it, a shorter one
 * once none answers with the longer one any more. */
void fakeip_set_times(struct fakeip_table *t, uint32_t ttl_s, uint32_t hold_s);

/* What an answer needs. */
struct fakeip_pair {
	uint32_t index;
	bool has4, has6;
	uint8_t v4[4], v6[16];
	/* The record of this mapping is not yet known to be in the log: call fakeip_commit() before
	 * the answer leaves. */
	bool pending;
};

/* The pair of (name, view), made if there is none. Notes now_s as the last answer and rule. name:
 * wire form, lower case, in a buffer that is zero behind it up to the next multiple of 8 bytes
 * (struct dns_name has that). hash: of the name, keyed; the view is mixed in here. -ENOSPC: no
 * index is free, or there are more than 65,535 rules and views (counted). -EINVAL: no name. */
int fakeip_assign(struct fakeip_table *t, const uint8_t *name, size_t name_len, uint64_t hash,
	uint64_t view, uint64_t rule, uint32_t now_s, struct fakeip_pair *ret);

/* For who asks for the pair of a name a little later: brings the memory that the look-up needs
 * closer. The second one reads what the first one has asked for. */
void fakeip_prefetch(const struct fakeip_table *t, uint64_t hash);
void fakeip_prefetch_entry(const struct fakeip_table *t, uint64_t hash);

/* Index of an address that lies in one of the pools; false: it does not, or is reserved. */
bool fakeip_index4(const struct fakeip_table *t, const uint8_t address[4], uint32_t *ret);
bool fakeip_index6(const struct fakeip_table *t, const uint8_t address[16], uint32_t *ret);
/* size: 4 or 16. Reserved addresses are in the pools too. */
bool fakeip_in_pools(const struct fakeip_table *t, const uint8_t *address, size_t size);

/* Look-ups; -ENOENT. */
int fakeip_get(const struct fakeip_table *t, uint32_t index, struct fakeip_mapping *ret);
/* Mappings of one name in all views, without flushed ones: up to max of them into ret, returns how
 * many there are. */
size_t fakeip_find(const struct fakeip_table *t, const uint8_t *name, size_t name_len,
	uint64_t hash, struct fakeip_mapping *ret, size_t max);
/* Next mapping with an index > after (UINT32_MAX: from the start). -ENOENT at the end. */
int fakeip_next(const struct fakeip_table *t, uint32_t after, struct fakeip_mapping *ret);

/* A packet came (lock-free); a flow began, ended. Touch before fakeip_get(): what that tells then
 * stays true for the hold, and until the release if fakeip_hold() follows in that time. */
void fakeip_touch(struct fakeip_table *t, uint32_t index, uint32_t now_s);
/* In use at least until that second, and the hold after it: the kernel has an element for it that
 * lives so long, and its packets may come unseen. Only for an index that is in use now. */
void fakeip_touch_until(struct fakeip_table *t, uint32_t index, uint32_t until_s);
void fakeip_hold(struct fakeip_table *t, uint32_t index);
void fakeip_release(struct fakeip_table *t, uint32_t index);
/* Looks at every mapping. */
void fakeip_stats(const struct fakeip_table *t, uint32_t now_s, struct fakeip_stats *ret);
uint64_t fakeip_exhausted(const struct fakeip_table *t); /* as in the stats */

/* --- sweeps (needs_sweep) ---
 * Idle flows send nothing, so before an index is given to another name all live flows are looked
 * at. The owner (one thread) dumps them, calls fakeip_touch() for each index it meets, and then
 * tells the second in which the dump began: what was out of use then, and is still, is free. A dump
 * that failed is not told. */
void fakeip_swept(struct fakeip_table *t, uint32_t began_s);
/* Never used indexes are running out, few others are free, and a sweep could free some. */
bool fakeip_wants_sweep(struct fakeip_table *t, uint32_t now_s);

/* --- flush ---
 * The name gets another index when it is asked again; this one stays reserved and is still told by
 * fakeip_get() until nobody can use it. *ret_kept: it is still in use; else it is gone at once.
 * fakeip_commit() makes it last. -ENOENT: no mapping that is not flushed. */
int fakeip_flush(struct fakeip_table *t, uint32_t index, uint32_t now_s, bool *ret_kept);

/* --- the log ---
 * An append-only file of checksummed records behind a header that names the pools and the version.
 * Each change passes one hand-over point: fakeip_assign() and fakeip_flush() queue its record,
 * fakeip_commit() writes all that is queued, by whatever thread, in one write.
 *
 * No address means another name after a restart, wherever the process died and whatever write
 * failed: the log tells ahead up to where never used indexes may be given out, and takes a name off
 * its index before another gets it. When a write fails the table lives in memory only; what is in
 * the file keeps its index, and new names get indexes that the next start does not give out at once
 * (what the file reserves, then from the top of the pool downward). A snapshot brings the log back.
 */
struct fakeip_log_io {
	void *arg;
	/* All of it, or a negative errno; never two at once. */
	ssize_t (*append)(void *arg, const void *data, size_t len);
	/* 0 or a negative errno. */
	int (*truncate)(void *arg, uint64_t len);
	/* The rest may be missing (NULL): then nothing is made durable, and there are no snapshots.
	 * Called by the owner's thread only; others may wait for the last snapshot.append() and for
	 * become(), for nothing else. */
	int (*sync)(void *arg);
	ssize_t (*read)(void *arg, uint64_t at, void *data, size_t len); /* all of it */
	struct {
		/* A new file beside the log, empty. */
		int (*begin)(void *arg);
		ssize_t (*append)(void *arg, const void *data, size_t len);
		int (*sync)(void *arg);
		/* The new file takes the log's name and place, in one step. */
		int (*become)(void *arg);
		/* It is not needed; also after a failure of any of these. */
		void (*drop)(void *arg);
	} snapshot;
};

struct fakeip_load_result {
	uint32_t loaded;  /* mappings, flushed ones too */
	uint32_t lost;	  /* damaged records, and names that damage makes doubtful */
	uint32_t dropped; /* mappings that do not fit the pools as they are now */
	bool moved;	  /* it was written for other pools */
	bool foreign;	  /* not our file at all, or another version: started anew */
};

/* Takes the bytes of an existing log (len 0: a new one) and the way to append to it from now on.
 * Records that are torn or damaged are left out and counted; the file is cut behind the last whole
 * record. A file of other pools is written anew, with the mappings whose addresses are the same in
 * the new ones. now_s: the caller's clock; a loaded mapping counts as answered now. Addresses that
 * lost or dropped records may have meant are not given out as new ones: they wait for the hold.
 * Behind a foreign file new addresses begin at a random place.
 *
 * Returns 0, or the negative errno of the first failed io call: then the table works in memory
 * only, with what was loaded. -EINVAL: no hash in the configuration; -ENOMEM. Call once, before any
 * thread uses the table. */
int fakeip_load(struct fakeip_table *t, const void *data, size_t len, uint32_t now_s,
	const struct fakeip_log_io *io, struct fakeip_load_result *ret);
/* Instead, when there is no file at all: an earlier run may have given addresses out, so new ones
 * begin at a random place, and those before it wait for the hold. */
void fakeip_start_anywhere(struct fakeip_table *t, uint32_t now_s);
/* Instead, when there is or may be a file that cannot be read: in memory only, until a snapshot.
 * New addresses come from a random place. */
int fakeip_load_nothing(struct fakeip_table *t, uint32_t now_s, const struct fakeip_log_io *io);

/* Writes what is queued. 0; or a negative errno the first time that it fails: from then on the
 * table is memory only and this returns 0 again (the caller says so in its status). Any thread. */
int fakeip_commit(struct fakeip_table *t);
bool fakeip_is_persistent(const struct fakeip_table *t);

/* The rest is for the owner's thread. */

/* Something was written that a power cut could still take. */
bool fakeip_dirty(const struct fakeip_table *t);
/* The same of what must not be lost at all: the limits that keep addresses apart. */
bool fakeip_dirty_limits(const struct fakeip_table *t);
/* Makes it durable; no answer waits for that. The negative errno the first time, as
 * fakeip_commit(). */
int fakeip_sync(struct fakeip_table *t);

/* The log is larger than max(1 MiB, 2 x what a snapshot would be), or no longer written to. */
bool fakeip_wants_snapshot(const struct fakeip_table *t);
/* A step of a snapshot, begun if none is under way: a bounded number of entries, or a sync. 1: more
 * steps are needed; 0: done, the log is small and persistent; negative errno: given up, the log
 * stays what it was. fakeip_commit() never waits for more than one write of at most 64 KiB here. */
int fakeip_snapshot_step(struct fakeip_table *t);

/* Writes how far indexes were given out and makes all of it durable. Nothing is assigned after
 * it. */
void fakeip_close(struct fakeip_table *t);

#endif
