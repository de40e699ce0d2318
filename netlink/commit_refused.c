/* What is made of the kernel's refusals: whose each is, and what becomes of it. */
#include "gateway/base/clock.h"
#include "netlink/commit_internal.h"

#include <errno.h>

/* --- what the kernel says --- */

/* The item whose bytes the error points at; NULL: none of them. */
static struct commit_item *blamed_item(
	struct commit *c, const struct commit_target *t, uint32_t message, uint32_t offset)
{
	struct commit_item *found = NULL;

	for (int i = t->first; i >= 0; i = c->items[i].next) {
		struct commit_item *item = &c->items[i];

		if (!item->settled && item->message == message && item->offset <= offset &&
			(!found || found->offset < item->offset))
			found = item;
	}
	return found;
}

/* It is the set that is missing, and not what an element's verdict names. */
static bool is_of_set(const struct nft_error *error, const struct commit_item *item)
{
	return error->error == -ENOENT && error->offset && error->offset < item->offset;
}

void commit_take_error(void *arg, const struct nft_error *error)
{
	struct commit *c = arg;
	uint32_t index = error->seq - c->batch.first_seq;
	struct commit_owner *owner;
	struct commit_item *item;

	if (error->seq == 0 || index >= c->n_owners) {
		c->whole_error = error->error;
		return;
	}
	owner = &c->owners[index];
	if (!owner->target->failure) {
		owner->target->failure = error->error;
		owner->target->failed_step = owner->step;
	}
	item = owner->item >= 0 ? &c->items[owner->item]
				: blamed_item(c, owner->target, index, error->offset);
	if (item && !item->failure && !is_of_set(error, item))
		item->failure = error->error;
}

/* --- deciding --- */

static void no_room(struct commit_item *item)
{
	item->target->full_until_ms = clock_ms() + COMMIT_FULL_MS;
	commit_settle(item, -ENFILE);
}

/* An item was refused: it is settled or written in another way in the next round. False: nothing
 * that is known here explains it. */
static bool refused_item(struct commit *c, struct commit_item *item)
{
	bool is_added = item->op == COMMIT_ADD || item->op == COMMIT_RENEW;

	if (item->failure == -EEXIST && is_added)
		return commit_found(c, item);
	if (item->failure == -EEXIST && item->op == COMMIT_MAP && item->way == ITEM_FRESH)
		item->way = ITEM_REPLACES;
	else if (item->failure == -ENOENT && item->way == ITEM_REPLACES)
		item->way = ITEM_PLAIN; /* it expired in between */
	else if (item->failure == -ENOENT && item->op == COMMIT_DELETE)
		commit_settle(item, 0);
	else if (item->failure == -ENOENT) /* the set is there */
		commit_settle(item, -ESRCH);
	else if (item->failure == -ENFILE)
		no_room(item);
	else
		return false;
	return true;
}

/* Settles what is refused without a reason that is known, after a second look at the set. */
static void refused_for_no_reason(struct commit *c, struct commit_target *t)
{
	if (t->look && !t->looked) {
		commit_look_again(c, t);
		return;
	}
	for (int i = t->first; i >= 0; i = c->items[i].next) {
		if (c->items[i].failure)
			commit_settle(&c->items[i], c->items[i].failure);
	}
}

static void refused_items(struct commit *c, struct commit_target *t)
{
	bool unexplained = false;

	for (int i = t->first; i >= 0 && !c->whole_error; i = c->items[i].next) {
		struct commit_item *item = &c->items[i];

		if (!item->failure || item->settled)
			continue;
		if (refused_item(c, item))
			item->failure = 0;
		else
			unexplained = true;
	}
	if (t->failure == -EEXIST && !c->whole_error) {
		t->n_absent = 0;
		commit_ask(c, t, false);
	}
	if (unexplained)
		refused_for_no_reason(c, t);
	/* Of a message the kernel tells one refusal only, and an old one not whose. */
	t->single = true;
}

static bool blames_items(const struct commit *c, const struct commit_target *t)
{
	int i = t->first;

	while (i >= 0 && !c->items[i].failure)
		i = c->items[i].next;
	return i >= 0;
}

void commit_refused(struct commit *c, struct commit_target *t, bool last)
{
	/* The set itself, or the chain of an element's verdict. */
	bool missing = t->failure == -ENOENT && t->failed_step != STEP_DELETE;

	if (last || (missing && (!t->look || (t->looked && !blames_items(c, t)))))
		commit_settle_target(c, t, t->failure);
	else if (missing && !t->looked)
		commit_look_again(c, t);
	else
		refused_items(c, t);
	t->failure = 0;
	for (int i = t->first; i >= 0; i = c->items[i].next)
		c->items[i].failure = 0;
}
