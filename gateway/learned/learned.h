/* Names that a check has learned (interface.md, `check`): full names, each with the time it was
 * last asked and last verified, in a file that people and programs may read and edit.
 *
 * One table for each file, shared by reference over reloads. Any thread looks up and learns; a name
 * that nothing was learned about costs no lock. Each new name is one write(2) of a line before
 * learned_add() returns, no fsync; the file is written anew (temporary file, rename) before it has
 * more than twice `capacity` lines, and when names were taken out. learned_add() does not wait for
 * the disk with a small one, which the next learned_tend() does. A file that cannot be written is
 * told in learned_info and tried again: names then live in memory. Never more names than
 * `capacity`: the one that was asked longest ago goes first.
 *
 * The file: a line a name, "full:x # asked=TIME verified=TIME" (seconds since 1970); one without
 * times never ages and is never verified. Times from the future count as now. When it is written
 * anew, comments and blank lines before the first name are kept, and the link that it may be; other
 * comments and lines that were skipped are not.
 *
 * What others make of the file while we run is taken over, and nothing is written before that: a
 * name that is no longer there is forgotten, and all are when the file is removed, but for those
 * that have not been written yet. A change that is bad is left alone, and names live in memory. */
#ifndef TUNGATE_LEARNED_LEARNED_H
#define TUNGATE_LEARNED_LEARNED_H

#include "gateway/base/addr.h"
#include "gateway/dns/name.h"

struct learned;

struct learned_config {
	uint32_t capacity;  /* at least 1 */
	uint32_t max_age_s; /* since it was asked; 0: never old */
	uint32_t verify_s;  /* since it was verified; 0: never looked at again */
};

/* Reads the file (not there: empty; it is made with the first name). complain: what is wrong,
 * "FILE:LINE:COLUMN: learn: what is wrong; allowed: …", is_error false for lines that were skipped
 * (the first five). 0; -EINVAL: a directory, a NUL byte (other than those that a power cut leaves
 * at the end), or more than half of its lines fail; the errno of a file that cannot be read;
 * -ENOMEM. */
typedef void learned_complain(void *arg, bool is_error, const char *text);
int learned_open(const char *path, const struct learned_config *config, int64_t now_s,
	learned_complain *complain, void *arg, struct learned **ret);
/* For `check`: reads it and tells, opens nothing. */
int learned_check(const char *path, learned_complain *complain, void *arg);
struct learned *learned_ref(struct learned *l);
/* NULL is fine. The last one writes the file anew if times in it are old. */
void learned_unref(struct learned *l);
const char *learned_path(const struct learned *l);
/* Does nothing if it is configured so already. */
void learned_configure(struct learned *l, const struct learned_config *config);

/* Is it learned? Notes that it was asked. *ret_due (may be NULL): its verification is due, and this
 * caller has it to do: nobody else is told so until learned_add(), learned_remove() or
 * learned_put_off(), or 60 s are over. */
bool learned_holds(struct learned *l, const struct dns_name *name, int64_t now_s, bool *ret_due);
/* The same without noting anything; for explain. */
bool learned_peek(struct learned *l, const struct dns_name *name);

#define LEARNED_ADDRESSES_MAX 8
struct learned_why {	  /* why it was learned, for people */
	const char *list; /* that decided; copied, cut at 63 bytes; NULL: none */
	const struct ip_addr *addresses;
	size_t n_addresses; /* more than LEARNED_ADDRESSES_MAX are left out */
};
/* New, or verified again. 1: it is new; 0: it was known. -ENOMEM. */
int learned_add(struct learned *l, const struct dns_name *name, const struct learned_why *why,
	int64_t now_s);
/* No more: its addresses have changed. False: it was not there. */
bool learned_remove(struct learned *l, const struct dns_name *name);
/* The verification brought no answer: again in 5 minutes at the earliest. */
void learned_put_off(struct learned *l, const struct dns_name *name, int64_t now_s);

/* Each second, and more often if the file shall be followed closely; one thread: takes out what is
 * too old, writes the file anew where it must be, tries again what failed, and reads it when
 * somebody else has changed it (looks the same twice in a row). 0: nothing to tell; 1: it was read
 * again or can be written again; negative errno: it cannot be read or written from now on (told
 * once); complain as above. */
int learned_tend(struct learned *l, int64_t now_s, learned_complain *complain, void *arg);

struct learned_name {
	const struct dns_name *name;
	int64_t learned_at_s, asked_at_s, verified_at_s; /* 0: not known */
	const char *list;				 /* NULL: not known */
	const struct ip_addr *addresses;
	size_t n_addresses;
};
/* All names, the one asked last first; what it is given is valid in the visit, which must not call
 * back. */
typedef void learned_visit(void *arg, const struct learned_name *name);
void learned_each(struct learned *l, learned_visit *visit, void *arg);

struct learned_info {
	size_t names, lines; /* lines: of the file */
	uint64_t learned, unlearned, evicted_capacity, evicted_age, compactions, restored;
	int error; /* 0, or why the file is not what the table is */
};
void learned_info(struct learned *l, struct learned_info *ret);

/* The tables of a process, by path, for those who build policies: get opens or finds. */
struct learned_files;
int learned_files_new(struct learned_files **ret);
void learned_files_free(struct learned_files *f); /* NULL is fine; tables live on by reference */
/* *ret with a reference of the caller's; config is for one that is not open yet: another keeps its
 * own until learned_configure(), for nobody knows whether what is being built will be in force. Any
 * thread. Errors as learned_open(). */
int learned_files_get(struct learned_files *f, const char *path,
	const struct learned_config *config, int64_t now_s, learned_complain *complain, void *arg,
	struct learned **ret);
/* learned_tend() for each that anybody uses; lets go of the others. tell gets what it returned. */
typedef void learned_tell(void *arg, struct learned *l, int result);
void learned_files_tend(struct learned_files *f, int64_t now_s, learned_complain *complain,
	learned_tell *tell, void *arg);

#endif
