/* The fake-address table: which pair of fake addresses means which (name, view).
 *
 * One index serves both families: v4 = pool4 + i, v6 = pool6 + i. The mapping (name, view) <->
 * index is a bijection at every moment, in memory and in the file. An index is given to another
 * name only when nobody can still use it: last answer + TTL + hold is over, no packet came for
 * longer than the hold, and no flow holds it.
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
	uint32_t max; /* mappings at most: 0 means 1 << 20 */
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
	uint32_t last_packet_s; /* 0: none */
	uint32_t flows;		/* users that called fakeip_hold and not fakeip_release */
	uint16_t name_len;
	uint8_t name[FAKEIP_NAME_MAX + 1]; /* wire form, lower case */
	bool has4, has6;
	uint8_t v4[4], v6[16];
};

struct fakeip_stats {
	uint32_t size;	    /* indexes that can be given out */
	uint32_t used;	    /* mappings */
	uint32_t in_hold;   /* of these: no longer live, but not yet free for another name */
	uint64_t exhausted; /* times that no index was free */
};

/* Error: -EINVAL both families off or a prefix that leaves no address; -ENOMEM. */
int fakeip_new(
	const struct fakeip_pool_config *config, uint64_t hash_key, struct fakeip_table **ret);
void fakeip_free(struct fakeip_table *t);

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
 * index is free (counted). -EINVAL: no name. */
int fakeip_assign(struct fakeip_table *t, const uint8_t *name, size_t name_len, uint64_t hash,
	uint64_t view, uint64_t rule, uint32_t now_s, struct fakeip_pair *ret);

/* Index of an address that lies in one of the pools; false: it does not, or is reserved. */
bool fakeip_index4(const struct fakeip_table *t, const uint8_t address[4], uint32_t *ret);
bool fakeip_index6(const struct fakeip_table *t, const uint8_t address[16], uint32_t *ret);
/* size: 4 or 16. Reserved addresses are in the pools too. */
bool fakeip_in_pools(const struct fakeip_table *t, const uint8_t *address, size_t size);

/* Look-ups; -ENOENT. */
int fakeip_get(const struct fakeip_table *t, uint32_t index, struct fakeip_mapping *ret);
/* Mappings of one name in all views: up to max of them into ret, returns how many there are. */
size_t fakeip_find(const struct fakeip_table *t, const uint8_t *name, size_t name_len,
	uint64_t hash, struct fakeip_mapping *ret, size_t max);
/* Next mapping with an index > after (UINT32_MAX: from the start). -ENOENT at the end. */
int fakeip_next(const struct fakeip_table *t, uint32_t after, struct fakeip_mapping *ret);

/* A packet came (lock-free); a flow began, ended. Touch before fakeip_get(): what that tells then
 * stays true for the hold, and until the release if fakeip_hold() follows in that time. */
void fakeip_touch(struct fakeip_table *t, uint32_t index, uint32_t now_s);
void fakeip_hold(struct fakeip_table *t, uint32_t index);
void fakeip_release(struct fakeip_table *t, uint32_t index);
void fakeip_stats(const struct fakeip_table *t, uint32_t now_s, struct fakeip_stats *ret);

/* --- the log ---
 * An append-only file of checksummed records behind a header that names the pools and the version.
 * Each new mapping passes one hand-over point: fakeip_assign() queues its record, fakeip_commit()
 * writes all that is queued, by whatever thread, in one write. */
struct fakeip_log_io {
	void *arg;
	/* All of it, or a negative errno; never two at once. */
	ssize_t (*append)(void *arg, const void *data, size_t len);
	/* 0 or a negative errno. */
	int (*truncate)(void *arg, uint64_t len);
};

/* Takes the bytes of an existing log (len 0: a new one) and the way to append to it from now on.
 * Records that are torn, damaged, of another version, or do not fit the pools are left out and
 * counted; the file is cut behind the last whole record. now_s: the caller's clock; a loaded
 * mapping counts as answered now. Addresses that lost records may have meant, or that the file of
 * other pools tells, are not given out as new ones: they wait for the hold.
 *
 * Returns 0, or the negative errno of the first failed io call: then the table works in memory
 * only. -EINVAL: no hash in the configuration; -ENOMEM. Call once, before any thread uses the
 * table. */
struct fakeip_load_result {
	uint32_t loaded; /* mappings */
	uint32_t lost;	 /* records */
	bool foreign;	 /* not our file at all, or another version or other pools: started anew */
};
int fakeip_load(struct fakeip_table *t, const void *data, size_t len, uint32_t now_s,
	const struct fakeip_log_io *io, struct fakeip_load_result *ret);

/* Writes what is queued. 0; or a negative errno the first time that it fails: from then on the
 * table is memory only and this returns 0 again (the caller says so in its status). Any thread. */
int fakeip_commit(struct fakeip_table *t);
bool fakeip_is_persistent(const struct fakeip_table *t);

#endif
