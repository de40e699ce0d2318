/* What the files of the room share: learned_names.c (a table of names in the order in which they
 * were asked), learned.c (the table that threads share), learned_read.c (a file's lines),
 * learned_file.c (appending, writing anew, taking over what others wrote).
 *
 * Two locks: `file_lock` for the file and what is known of it, `lock` for the names, which is never
 * held over a system call. Who needs both takes file_lock first. */
#ifndef TUNGATE_LEARNED_LEARNED_INTERNAL_H
#define TUNGATE_LEARNED_LEARNED_INTERNAL_H

#include "gateway/learned/learned.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* --- learned_names.c: names and their order; one thread at a time --- */

#define WHY_LIST_MAX 64

struct why {
	char list[WHY_LIST_MAX]; /* "": not known */
	size_t n_addresses;
	struct ip_addr addresses[];
};

struct entry {
	struct entry *next;			/* of its bucket */
	struct entry *newer, *older;		/* by when they were asked */
	uint64_t hash, use;			/* use: grows with each asking of any */
	int64_t asked_s, verified_s, learned_s; /* 0: not known */
	int64_t quiet_s;			/* verification is not due before */
	struct why *why;			/* NULL: not known */
	bool timed;   /* else it is the user's: never too old, never verified */
	bool written; /* it has a line in the file */
	uint8_t len, labels;
	uint8_t name[];
};

struct names { /* zero-initialise, but for the key */
	uint64_t key;
	struct entry **buckets;
	size_t n_buckets, n;
	struct entry *newest, *oldest;
	uint64_t uses;
	unsigned version; /* changes when entries change their buckets */
};

struct why *learned_why_new(const struct learned_why *why); /* NULL: no memory */

struct entry *learned_names_find(const struct names *t, const struct dns_name *name, uint64_t hash);
/* A new one, as the newest; NULL: no memory. */
struct entry *learned_names_add(struct names *t, const struct dns_name *name, uint64_t hash);
int learned_names_take(
	struct names *t, struct entry *e); /* one of another table, as the newest; -ENOMEM */
void learned_names_touch(struct names *t, struct entry *e);
void learned_names_unlink(struct names *t, struct entry *e); /* yours now */
void learned_names_delete(struct names *t, struct entry *e);
/* By their times, those without times as of now_s; equal ones stay in their order. -ENOMEM. */
int learned_names_sort(struct names *t, int64_t now_s);
void learned_names_empty(struct names *t);
void learned_entry_free(struct entry *e);

/* A time from the future, or from before this program was written, is a clock's that was not set:
 * it counts as now. While now is such a time itself nothing can be told. */
int64_t learned_time_believed(int64_t t_s, int64_t now_s);

/* --- learned_read.c --- */

/* Tells one state of the file from another. */
struct stamp {
	int error; /* errno of stat(2); the rest is 0 then */
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified, changed;
};
struct stamp learned_stamp_of(const struct stat *st);
struct stamp learned_stamp_read(const char *path);
bool learned_stamp_equal(const struct stamp *a, const struct stamp *b);

struct head { /* comments and blank lines before the first name: kept */
	char *text;
	size_t len, lines;
};

struct reading {
	struct names names; /* in order; at most `capacity` */
	struct head head;
	size_t lines; /* all of the file */
	bool ended;   /* the last one with a newline */
	bool torn;    /* behind it are the NUL bytes that a power cut leaves */
	struct stamp stamp;
};
/* key: of the table's hashes. Not there: nothing read. The errors of learned_open(), told; then
 * there is only the stamp. */
int learned_read(const char *path, uint64_t key, uint32_t capacity, int64_t now_s,
	learned_complain *complain, void *arg, struct reading *ret);
void learned_reading_fini(struct reading *r);

/* --- learned.c --- */

/* How many learned names have a hash: what is 0 needs no lock. */
struct filter {
	struct filter *before; /* a smaller one, in which somebody may still look */
	uint32_t mask;
	_Atomic uint8_t counts[];
};

struct learned {
	_Atomic unsigned refs;
	char *path;
	uint64_t key; /* of hashes */
	struct filter *_Atomic filter;
	_Atomic uint32_t capacity;

	pthread_mutex_t lock; /* of: */
	struct learned_config config;
	struct names names;
	uint64_t learned, unlearned, evicted_capacity, evicted_age, restored;
	int64_t next_old_s; /* nothing is too old before */

	/* The file is to be written anew, because: */
	_Atomic bool removed, aged, times_changed, unwritten;

	pthread_mutex_t file_lock; /* of: */
	struct stamp known;	   /* the file as it was read or written last */
	struct head head;
	size_t lines;
	bool ended, torn;
	bool unsynced;	 /* a power cut might leave neither this nor the file before */
	bool unreadable; /* what somebody made of it: left alone until it changes */
	int error;
	uint64_t compactions;
	bool writing;		    /* it is being written anew: new lines are also kept here */
	pthread_cond_t was_written; /* writing has ended */
	char *late;
	size_t late_len, late_room, late_lines;

	/* learned_tend()'s: */
	struct stamp seen; /* a foreign state, met at the last look */
	bool has_seen, foreign;
	int told;
	int64_t wrote_s, tried_s;
};

/* A copy of all entries, made in pieces, so that nobody waits long for the lock. */
struct copy {
	uint64_t use;
	int64_t asked_s, verified_s, learned_s;
	const struct why *why; /* NULL: not known, or not asked for */
	bool timed;
	const uint8_t *name;
	uint8_t len, labels;
};
struct copies {
	struct copy *v; /* the one asked longest ago first */
	size_t n, room;
	void *chunks; /* of what they point to */
};
int learned_copies_take(struct learned *l, bool with_why, struct copies *ret); /* -ENOMEM */
void learned_copies_fini(struct copies *c);

/* Adds (or takes) an entry to the filter; under the lock. */
void learned_filter_add(struct learned *l, const struct entry *e);
void learned_filter_sub(struct learned *l, const struct entry *e);
/* Takes out what is above the capacity; under the lock. */
void learned_bound(struct learned *l);
/* Takes out what is too old. */
void learned_age(struct learned *l, int64_t now_s);

/* --- learned_file.c --- */

#define LINE_TEXT_MAX (DNS_NAME_TEXT_MAX + 96)

/* The line of a name that is new. 0: it is in the file; else why not, which is noted already. */
int learned_file_append(struct learned *l, const struct dns_name *name, int64_t now_s);
/* At the end. */
void learned_file_last(struct learned *l);

#endif
