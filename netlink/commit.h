/* The group commit: elements of many jobs become one batch, and each gets its own outcome. When the
 * kernel refuses the batch, what it refused is taken out or written in another way, and the rest is
 * sent again; so one bad set never hurts another. Every round settles or changes something, and
 * their number is bounded.
 *
 * Two elements of one target with the same key become one item: the later operation wins, of two
 * additions with the same value the longer life and the longer need. One thread's. */
#ifndef TUNGATE_NETLINK_COMMIT_H
#define TUNGATE_NETLINK_COMMIT_H

#include <pthread.h>

#include "netlink/elements.h"
#include "netlink/features.h"

#define COMMIT_ITEMS_MAX 1024
#define COMMIT_KEY_MAX	 64
/* The kernel takes milliseconds to drop a batch that it refuses, and microseconds to tell whether
 * an element is there. So additions are asked about first, until so many in a row were new. */
#define COMMIT_SURE_AFTER 1024
/* What has no room is not tried again for so long. */
#define COMMIT_FULL_MS 1000

enum commit_op {
	/* Into a set or map where, as far as we know, it is not. What is there already is left as
	 * it is if it stays for need_ms at least (a permanent one always does) and has the same
	 * value; else it is renewed, or replaced. So a user's own element is never shortened. */
	COMMIT_ADD,
	/* Is there, or was, and is ours: lives timeout_ms from now on. In a user's set what
	 * somebody has made live longer meanwhile is left as it is. */
	COMMIT_RENEW,
	COMMIT_MAP,    /* into a map, replacing what is there */
	COMMIT_DELETE, /* not there: fine */
};

/* A set or map that items go to. Lives longer than the commit. */
struct commit_target {
	struct element_set at;
	uint8_t key_size, value_size;
	bool has_timeout;
	/* Reads the set's description into the fields above: 0; or the errno of all its elements;
	 * -ESTALE: it is another kind of set now, its items must be made anew (which new sizes say,
	 * too, also where somebody else has read them). NULL: the set is ours, there is nothing to
	 * read. */
	int (*look)(struct commit_target *t);
	/* The commit's own. */
	struct commit_target *next;
	int first, last; /* items */
	unsigned n;
	bool listed, single, looked;
	uint32_t n_absent;     /* additions in a row that were not there before */
	int64_t full_until_ms; /* it had no room; 0: not known */
	uint32_t seen;	       /* the commit's `epoch` at which its description was read */
	int failure;	       /* the first of this round */
	uint8_t failed_step;
};

/* What an item is made of. The key's size is the target's. */
struct commit_element {
	uint8_t key[COMMIT_KEY_MAX];
	bool has_value;		    /* of a map */
	struct element_value value; /* its bytes are borrowed until the commit has run */
	uint64_t timeout_ms;	    /* 0: permanent; ELEMENT_NO_TIMEOUT: the set has none */
	uint64_t need_ms;	    /* COMMIT_ADD: what is there and stays so long is enough */
};

struct commit_item {
	struct commit_target *target;
	struct commit_element e;
	enum commit_op op;
	enum {
		ITEM_FRESH,
		ITEM_RENEWS, /* of a COMMIT_ADD: it is there, and too short */
		ITEM_REPLACES,
		ITEM_PLAIN
	} way;			      /* how it is written, see commit_write.c */
	uint8_t key_size, value_size; /* of its target when it was made */
	bool settled;
	bool in_range; /* result 0: somebody's range holds it */
	int result;    /* -ENOENT: there is no such set; -ESRCH: no such chain for its verdict */
	/* Result 0: how long the kernel has it for from the commit on, if that is not timeout_ms
	 * (it was there; a range that holds it, however short it stays); COMMIT_FOREVER:
	 * permanent; 0: timeout_ms it is. */
	uint64_t found_ms;
	int failure; /* of this round */
	int next;    /* of the same target, -1: none */
	uint16_t slot;
	uint32_t message, offset; /* where the last round wrote it */
};
#define COMMIT_FOREVER UINT64_MAX
/* A commit may wait for the kernel's lock, and what it puts in then lives so much longer than those
 * know who took the time before. */
#define COMMIT_WAITS_MS 60000
/* Result 0: what is there is not ours: a range, or it outlives what we would have put in. What does
 * not is kept as ours, since we may have put it in before we were started anew. */
static inline bool commit_is_foreign(const struct commit_item *item)
{
	return item->in_range || (item->found_ms > item->e.timeout_ms &&
					 item->found_ms - item->e.timeout_ms > COMMIT_WAITS_MS);
}

struct commit_owner { /* of one message of the batch */
	struct commit_target *target;
	int item; /* -1: all of the target */
	uint8_t step;
};

/* What all who commit in this process know of the kernel's tables. Locked while one of them has a
 * batch in the kernel, which lets in one at a time anyway. */
struct commit_tables {
	pthread_mutex_t lock;
	/* The generation of the tables up to which nobody but us has changed anything, 0: not
	 * known. While it holds, the descriptions of this epoch hold too: a batch that relies on
	 * them names it, so that an element never lands in a set of another kind that has just been
	 * made under the same name. */
	uint32_t generation, epoch;
};
void commit_tables_init(struct commit_tables *t);
void commit_tables_fini(struct commit_tables *t);

#define COMMIT_SLOTS	4096
#define COMMIT_MESSAGES (COMMIT_ITEMS_MAX * 3 + 16)
struct commit {
	struct nft_socket *socket;
	struct nft_batch batch;
	struct nft_features features;
	struct commit_item items[COMMIT_ITEMS_MAX];
	int n_items;
	struct commit_target *targets;
	int16_t slots[COMMIT_SLOTS]; /* hash of (target, key) → item + 1 */
	struct commit_owner owners[COMMIT_MESSAGES];
	uint32_t n_owners;
	bool changes;	 /* the batch changes something for sure, if it is taken */
	int whole_error; /* of the batch itself */
	struct commit_tables *tables;
	uint64_t rounds;
};

/* tables: borrowed. 0, or a negative errno. */
int commit_init(struct commit *c, struct nft_socket *s, struct commit_tables *tables);
void commit_fini(struct commit *c);

/* Somebody (or another part of us) may have changed the users' sets: read them again before they
 * are used. */
void commit_forget(struct commit *c);

void commit_begin(struct commit *c);
/* The item's index, or -ENOSPC. */
int commit_add(struct commit *c, struct commit_target *t, enum commit_op op,
	const struct commit_element *e);
/* Every item has its result afterwards. */
void commit_run(struct commit *c);

#endif
