#include "gateway/base/clock.h"
#include "netlink/commit_internal.h"
#include "netlink/element_read.h"

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

/* --- looking at the set --- */

static void settle_target(struct commit *c, struct commit_target *t, int result)
{
	for (int i = t->first; i >= 0; i = c->items[i].next)
		commit_settle(&c->items[i], result);
}

/* The items were made for an older description of their set. */
static void fit_items(struct commit *c, struct commit_target *t)
{
	for (int i = t->first; i >= 0; i = c->items[i].next) {
		struct commit_item *item = &c->items[i];

		if (t->has_timeout || item->e.timeout_ms == ELEMENT_NO_TIMEOUT)
			continue;
		if (item->e.timeout_ms)
			commit_settle(item, -EOPNOTSUPP);
		item->e.timeout_ms = ELEMENT_NO_TIMEOUT;
	}
}

/* Reads the description of a set; one that is not usable settles its items. */
static void look_at(struct commit *c, struct commit_target *t)
{
	uint8_t key_size = t->key_size, value_size = t->value_size;
	int r = t->look(t);

	if (r == 0 && (t->key_size != key_size || t->value_size != value_size))
		r = -ESTALE;
	if (r < 0)
		settle_target(c, t, r);
	else
		fit_items(c, t);
	t->seen = c->tables->epoch;
}

/* The second look, once a commit, when the kernel's refusal is not clear. */
static void look_again(struct commit *c, struct commit_target *t)
{
	t->looked = true;
	look_at(c, t);
}

bool commit_check_descriptions(struct commit *c)
{
	bool relied_on = false;

	for (struct commit_target *t = c->targets; t; t = t->next)
		relied_on |= t->look != NULL;
	if (!relied_on)
		return false;
	if (!c->tables->generation) {
		if (nft_generation(c->socket, &c->tables->generation, COMMIT_ACK_MS) < 0)
			c->tables->generation = 0;
		c->tables->epoch++;
	}
	for (struct commit_target *t = c->targets; t; t = t->next) {
		if (t->look && t->seen != c->tables->epoch)
			look_at(c, t);
	}
	return c->tables->generation != 0;
}

/* --- looking at an element --- */

static void settle_found(struct commit_item *item, uint64_t left_ms)
{
	uint64_t timeout_ms = item->e.timeout_ms;

	commit_settle(item, 0);
	if (left_ms != ELEMENT_FOREVER)
		item->found_ms = left_ms ? left_ms : 1;
	else if (timeout_ms != 0 && timeout_ms != ELEMENT_NO_TIMEOUT)
		item->found_ms = COMMIT_FOREVER;
}

/* The next way to write what was refused as being there, though it is not, or not so. */
static bool write_otherwise(struct commit_item *item)
{
	switch (item->way) {
	case ITEM_FRESH:
		item->way = ITEM_RENEWS;
		return true;
	case ITEM_RENEWS:
		item->way = ITEM_REPLACES;
		return true;
	default:
		return false;
	}
}

static int read_item(struct commit *c, const struct commit_item *item, struct element_found *ret)
{
	return element_read(c->socket, &item->target->at, item->e.key, item->target->key_size, ret,
		COMMIT_ACK_MS);
}

/* What becomes of an addition, given what is there. False: it was refused, but not for that. */
static bool judge_found(struct commit_item *item, const struct element_found *found)
{
	const struct element_value *value = item->e.has_value ? &item->e.value : NULL;
	bool same = element_has_value(found, value);
	bool stays = item->op == COMMIT_ADD && found->left_ms >= item->e.need_ms;

	/* Somebody's range is left alone. */
	if (found->wider || (same && stays)) {
		item->in_range = found->wider;
		settle_found(item, found->left_ms);
		return true;
	}
	if (same)
		return write_otherwise(item);
	if (item->way != ITEM_FRESH && item->way != ITEM_RENEWS)
		return false;
	item->way = ITEM_REPLACES;
	return true;
}

/* EEXIST of an addition. False: that is not explained by what is there. */
static bool is_there(struct commit *c, struct commit_item *item)
{
	struct element_found found;
	int r = read_item(c, item, &found);

	if (r == 0)
		return judge_found(item, &found);
	/* It is over by now; or it was put in by another target of this very batch. */
	if (r == -ENOENT)
		return write_otherwise(item);
	/* Who does not answer now will not for the other elements: this is waited for once. */
	if (r == -ETIMEDOUT || r == -ENOBUFS)
		c->whole_error = -ETIMEDOUT;
	commit_settle(item, r);
	return true;
}

static bool is_asked_about(const struct commit *c, const struct commit_item *item, bool full)
{
	if (item->settled || item->failure || item->way != ITEM_FRESH)
		return false;
	if (item->op == COMMIT_ADD)
		return full || item->target->n_absent < COMMIT_SURE_AFTER;
	/* Old kernels refuse a batch for a deletion that finds nothing, and for a new value. */
	return !c->features.destroy;
}

static void take_reply(struct commit_item *item, const struct element_found *found, bool full)
{
	struct commit_target *t = item->target;

	if (found && item->op == COMMIT_ADD) {
		t->n_absent = 0;
		(void)judge_found(item, found);
	} else if (found && item->op == COMMIT_MAP) {
		item->way = ITEM_REPLACES;
	} else if (!found && item->op == COMMIT_DELETE) {
		commit_settle(item, 0);
	} else if (!found && full) {
		commit_settle(item, -ENFILE);
	} else if (!found && item->op == COMMIT_ADD && t->n_absent < COMMIT_SURE_AFTER) {
		t->n_absent++;
	}
}

/* Additions to a full set are not tried if they are not there. */
static void ask(struct commit *c, struct commit_target *t, bool full)
{
	struct element_found found;

	for (int i = t->first; i >= 0; i = c->items[i].next) {
		struct commit_item *item = &c->items[i];
		int r;

		if (!is_asked_about(c, item, full))
			continue;
		r = read_item(c, item, &found);
		if (r < 0 && r != -ENOENT)
			return; /* the batch will tell */
		take_reply(item, r == 0 ? &found : NULL, full);
	}
}

void commit_ask_first(struct commit *c)
{
	for (struct commit_target *t = c->targets; t; t = t->next) {
		bool full = t->full_until_ms && clock_ms() < t->full_until_ms;

		if (full || t->n_absent < COMMIT_SURE_AFTER || !c->features.destroy)
			ask(c, t, full);
	}
}

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
		return is_there(c, item);
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

/* --- deciding --- */

/* Settles what is refused without a reason that is known, after a second look at the set. */
static void refused_for_no_reason(struct commit *c, struct commit_target *t)
{
	if (t->look && !t->looked) {
		look_again(c, t);
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
		ask(c, t, false);
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
		settle_target(c, t, t->failure);
	else if (missing && !t->looked)
		look_again(c, t);
	else
		refused_items(c, t);
	t->failure = 0;
	for (int i = t->first; i >= 0; i = c->items[i].next)
		c->items[i].failure = 0;
}
