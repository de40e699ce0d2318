/* What one kernel set holds of ours, and until when: the memory by which a cached answer costs a
 * hash look-up, and from which what the kernel lost is put in again. Pure but for its lock: any
 * thread, none waits for the kernel here, and for another thread never longer than some thousand
 * slots take (shadow_table.h). Keys are the raw bytes of the set's elements, all of one size; in a
 * map the value counts, too.
 *
 * Invariant: what is held was acknowledged by the kernel, and nobody has told since that it was
 * lost. Losses may be told while an acknowledgement is on its way to us: so the writer takes a mark
 * before it asks the kernel, and what was put in under an older mark than the last loss is not held
 * but lost. */
#ifndef TUNGATE_NETLINK_SHADOW_H
#define TUNGATE_NETLINK_SHADOW_H

#include <pthread.h>
#include <stdatomic.h>

#include "netlink/shadow_table.h"

#define SHADOW_LATEST 64 /* losses of single elements that are known one by one */

struct shadow {
	pthread_mutex_t lock;
	_Atomic unsigned n_waiting; /* for the lock */
	struct shadow_table table;
	uint32_t mark, all_mark, shape_mark;
	uint32_t latest[SHADOW_LATEST]; /* hashes of what was lost last, by mark */
};

void shadow_init(struct shadow *s, uint64_t seed);
void shadow_fini(struct shadow *s);
/* The set's elements are of these sizes now: what was kept of others is forgotten. Sizes as before:
 * nothing happens. */
void shadow_shape(struct shadow *s, uint8_t key_size, uint8_t value_size);

/* Held until need_ms at least (the clock of clock_ms())? size: of the key; another than the set's,
 * or another value: no. value NULL: a set; else as large as a form's, since the shape may just have
 * changed: SHADOW_KEY_MAX bytes. No allocation. */
bool shadow_holds(
	struct shadow *s, const void *key, size_t size, const void *value, int64_t need_ms);

/* Is it held, however shortly, and was it put in by us? */
bool shadow_owns(struct shadow *s, const void *key, size_t size);

/* See above; before the kernel is asked. */
uint32_t shadow_mark(struct shadow *s);
/* The kernel has it until until_ms. foreign: not by us (a permanent element of the user's, or one
 * that lives longer than we need): it is held, too, but once lost it is forgotten and not put in
 * again. *ret_fresh (may be NULL): it was not held before. Full, or no memory: it is not kept, so
 * each answer asks the kernel. */
void shadow_put(struct shadow *s, const void *key, size_t size, const void *value, int64_t until_ms,
	bool foreign, uint32_t mark, int64_t now_ms, bool *ret_fresh);
/* It is to be there until until_ms, and nobody puts it in: as if it was lost. What is there, or
 * lost, with that time stays as it is. */
void shadow_want(struct shadow *s, const void *key, size_t size, const void *value,
	int64_t until_ms, int64_t now_ms);
/* The kernel has lost this one, somebody else may have put it in since. True: it is live, so there
 * is something to put in again. */
bool shadow_lose(struct shadow *s, const void *key, size_t size, int64_t now_ms);
/* The same of all. Constant time. */
void shadow_lose_all(struct shadow *s);
/* All is forgotten. */
void shadow_clear(struct shadow *s);

/* Live elements that are lost, up to max, from *cursor on (0 at first); returns how many, and 0 at
 * the end, where the next walk begins. They stay lost until shadow_put(). A put between two calls
 * does no harm, but may make the walk meet some twice. */
size_t shadow_next_lost(
	struct shadow *s, size_t *cursor, int64_t now_ms, struct shadow_element *ret, size_t max);
/* Some that are held and live on for a second at least, by turns: to ask the kernel about. */
size_t shadow_sample(
	struct shadow *s, size_t *cursor, int64_t now_ms, struct shadow_element *ret, size_t max);

/* Forgets what is over and gives room back; now and then. */
void shadow_sweep(struct shadow *s, int64_t now_ms);

struct shadow_count {
	size_t held, lost; /* live ones may be fewer, until the next sweep */
	size_t foreign;	   /* of the held */
	size_t size_bytes;
};
void shadow_count(struct shadow *s, struct shadow_count *ret);

#endif
