/* The commit's inside: the group and its rounds (commit.c), what it reads of the kernel
 * (commit_look.c), how a round is written (commit_write.c), and what is made of the kernel's
 * refusals (commit_refused.c). */
#ifndef TUNGATE_NETLINK_COMMIT_INTERNAL_H
#define TUNGATE_NETLINK_COMMIT_INTERNAL_H

#include "netlink/commit.h"

#define COMMIT_ACK_MS 50

/* The messages of a target come in this order. */
enum commit_step {
	STEP_NEW_EXCL, /* EEXIST if it is there */
	STEP_NEW,
	STEP_DELETE,
	STEP_DESTROY,
	STEP_NEW_AGAIN,
	STEPS,
};

/* --- commit_write.c --- */
/* All that is not settled, behind the beginning of the batch. */
void commit_write(struct commit *c);

/* --- commit_look.c --- */
/* Makes sure that what is known about the users' sets of this commit is still so. True: the batch
 * has to name the generation. */
bool commit_check_descriptions(struct commit *c);
/* The second look at a set, once a commit, when the kernel's refusal is not clear. */
void commit_look_again(struct commit *c, struct commit_target *t);
/* Reads what is there, before it is tried, of additions to targets where that is likely, and of
 * what is to be renewed in users' sets. */
void commit_ask_first(struct commit *c);
/* Of one target. full: what is not there is not tried. */
void commit_ask(struct commit *c, struct commit_target *t, bool full);
/* An addition was refused as being there: it is settled, or written in another way. False: what is
 * there does not explain it. */
bool commit_found(struct commit *c, struct commit_item *item);

/* --- commit_refused.c --- */
/* For nft_batch_commit(). */
void commit_take_error(void *arg, const struct nft_error *error);
/* The kernel refused something of the target in this round: it is settled, or written in another
 * way in the next one. last: no other way is tried. */
void commit_refused(struct commit *c, struct commit_target *t, bool last);

static inline void commit_settle(struct commit_item *item, int result)
{
	if (!item->settled) {
		item->settled = true;
		item->result = result;
	}
}

static inline void commit_settle_target(struct commit *c, struct commit_target *t, int result)
{
	for (int i = t->first; i >= 0; i = c->items[i].next)
		commit_settle(&c->items[i], result);
}

#endif
