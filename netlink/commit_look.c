/* What a commit knows of the kernel: it reads what the sets are before it relies on that, and what
 * is there of an element before it is tried, or when it was refused as being there. */
#include "gateway/base/clock.h"
#include "netlink/commit_internal.h"
#include "netlink/element_read.h"

#include <errno.h>

/* --- sets --- */

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
		commit_settle_target(c, t, r);
	else
		fit_items(c, t);
	t->seen = c->tables->epoch;
}

void commit_look_again(struct commit *c, struct commit_target *t)
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

/* --- elements --- */

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

bool commit_found(struct commit *c, struct commit_item *item)
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

/* It was ours, but somebody has made it live longer than we would. */
static bool outlives(const struct commit_item *item, const struct element_found *found)
{
	uint64_t timeout_ms = item->e.timeout_ms;

	return timeout_ms && timeout_ms != ELEMENT_NO_TIMEOUT && found->left_ms > timeout_ms;
}

static bool is_asked_about(const struct commit *c, const struct commit_item *item, bool full)
{
	if (item->settled || item->failure)
		return false;
	if (item->op == COMMIT_RENEW)
		return item->target->look && item->way == ITEM_RENEWS;
	if (item->way != ITEM_FRESH)
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
	} else if (found && item->op == COMMIT_RENEW) {
		if (outlives(item, found))
			commit_settle(item, 0);
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

void commit_ask(struct commit *c, struct commit_target *t, bool full)
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
		commit_ask(c, t, t->full_until_ms && clock_ms() < t->full_until_ms);
	}
}
