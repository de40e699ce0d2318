/* The slots of a shadow (shadow.h), which alone reads and writes them, behind its lock. A slot is
 * found by its key's hash; it tells what the kernel's element is and until when.
 *
 * A million slots made anew at once would keep all readers waiting. So the table is cut by the
 * upper bits of the hash into parts of bounded size, as extendible hashing does: what grows,
 * shrinks or is tidied up is one part, and one that is large is split in two. */
#ifndef TUNGATE_NETLINK_SHADOW_TABLE_H
#define TUNGATE_NETLINK_SHADOW_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHADOW_ELEMENTS_MAX (1u << 20)
#define SHADOW_FOREVER	    INT64_MAX /* permanent */
#define SHADOW_KEY_MAX	    64	      /* a key; a value */
#define SHADOW_PART_SLOTS   4096      /* at most */

enum shadow_what { SHADOW_EMPTY, SHADOW_DEAD, SHADOW_HELD, SHADOW_LOST };

#define SHADOW_UNTIL_BITS 44 /* milliseconds: 557 years */
#define SHADOW_EPOCH_BITS 17

struct shadow_state {
	uint64_t until : SHADOW_UNTIL_BITS; /* shadow_until(); ms */
	uint64_t epoch : SHADOW_EPOCH_BITS; /* of a held one; the table's to set */
	uint64_t what : 2;
	uint64_t foreign : 1;
};
_Static_assert(sizeof(struct shadow_state) == 8, "what an element costs beside its key");

struct shadow_counts {
	size_t held, lost, foreign; /* the last: of the held */
};

struct shadow_part;

struct shadow_table {
	struct shadow_part **parts; /* by the hash's upper bits; some are there several times, NULL:
				       none yet */
	uint8_t depth;		    /* 1 << depth of them */
	uint8_t key_size, value_size;
	uint16_t layout; /* counts parts that were made */
	size_t n_parts, size_bytes;
	uint64_t epoch; /* counts losses of all */
	uint64_t seed;
	struct shadow_counts n;
};

struct shadow_slot {
	struct shadow_part *part;
	uint8_t *at; /* NULL: none */
};

uint64_t shadow_hash(const struct shadow_table *t, const void *key, size_t size);
uint64_t shadow_until(int64_t until_ms); /* as a state keeps it */

struct shadow_slot shadow_table_find(struct shadow_table *t, uint64_t hash, const void *key);
/* A slot for a key that is not there, with the key in it. None: the table is full, or there is no
 * memory. */
struct shadow_slot shadow_table_place(
	struct shadow_table *t, uint64_t hash, const void *key, int64_t now_ms);
bool shadow_table_is_full(const struct shadow_table *t);

struct shadow_state shadow_slot_state(struct shadow_slot s);
/* HELD, LOST or DEAD: a loss of all changes no slot. */
enum shadow_what shadow_slot_what(const struct shadow_table *t, struct shadow_slot s);
const uint8_t *shadow_slot_value(const struct shadow_table *t, struct shadow_slot s);
int64_t shadow_slot_until_ms(struct shadow_slot s); /* SHADOW_FOREVER: it is permanent */
bool shadow_slot_is_over(struct shadow_slot s, int64_t now_ms);
/* value NULL: as it is. */
void shadow_slot_set(
	struct shadow_table *t, struct shadow_slot s, struct shadow_state state, const void *value);
/* Nothing is known of its key any more. */
void shadow_slot_kill(struct shadow_table *t, struct shadow_slot s);

/* All that is held is lost, foreign ones are forgotten. Constant time. */
void shadow_table_lose_all(struct shadow_table *t);

/* What is HELD, or LOST, and lives on after after_ms, in the order of slots. */
struct shadow_element {
	uint8_t key[SHADOW_KEY_MAX], value[SHADOW_KEY_MAX];
	int64_t until_ms;
};
struct shadow_walk {
	enum shadow_what what;
	int64_t after_ms;
	size_t cursor; /* 0: the beginning */
	struct shadow_element *ret;
	size_t n, max;
};
/* Goes on from the cursor, through so many slots that the lock may be kept. True: that was the end.
 * What changes between two calls moves no cursor; a part made anew is walked through again. */
bool shadow_table_walk(struct shadow_table *t, struct shadow_walk *w);

/* Forgets what is over in one part and gives its room back. *position: 0 at first. True: that was
 * the last. */
bool shadow_table_sweep(struct shadow_table *t, size_t *position, int64_t now_ms);

/* Leaves it empty. What it held is the caller's to free, without the lock. */
struct shadow_table shadow_table_take(struct shadow_table *t);
void shadow_table_free(struct shadow_table *taken);

#endif
