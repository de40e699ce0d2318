#include "netlink/commit_internal.h"
#include "netlink/table.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>

/* Where the kernel has no deletion that may find nothing, there has to be something to delete. */
static bool replaces(const struct commit *c, enum commit_step step)
{
	return step == STEP_NEW_AGAIN || step == (c->features.destroy ? STEP_DESTROY : STEP_DELETE);
}

static bool takes_step(
	const struct commit *c, const struct commit_item *item, enum commit_step step)
{
	if (item->settled)
		return false;
	if (item->op == COMMIT_DELETE)
		return step == (c->features.destroy ? STEP_DESTROY : STEP_DELETE);
	if (item->op == COMMIT_MAP && c->features.destroy)
		return replaces(c, step);
	switch (item->way) {
	case ITEM_FRESH:
		return step == STEP_NEW_EXCL;
	case ITEM_RENEWS:
		/* Without the renewal an element that is there keeps its old life; so it is taken
		 * out in between. What is added first makes sure that there is something to take
		 * out, and that it is no range of somebody else's: those it is refused for. */
		return step == STEP_NEW ||
		       (!c->features.renew && (step == STEP_DELETE || step == STEP_NEW_AGAIN));
	case ITEM_REPLACES:
		return replaces(c, step);
	case ITEM_PLAIN:
		return step == STEP_NEW_AGAIN;
	}
	return false;
}

/* What is there may be just so already, or what is to go is not there. */
static bool changes(const struct commit *c, const struct commit_item *item, enum commit_step step)
{
	uint64_t timeout_ms = item->e.timeout_ms;

	switch (step) {
	case STEP_NEW_EXCL:
	case STEP_DELETE:
		return true;
	case STEP_NEW:
		return !c->features.renew || (timeout_ms && timeout_ms != ELEMENT_NO_TIMEOUT);
	case STEP_NEW_AGAIN:
		return item->way != ITEM_PLAIN;
	default:
		return false;
	}
}

static void put_item(struct commit *c, struct commit_item *item, bool adds)
{
	const struct commit_target *t = item->target;
	const struct commit_element *e = &item->e;

	item->message = c->batch.next_seq - c->batch.first_seq;
	item->offset = c->batch.open->nlmsg_len;
	elements_put(&c->batch, &t->at, e->key, t->key_size,
		adds && e->has_value ? &e->value : NULL, adds ? e->timeout_ms : ELEMENT_NO_TIMEOUT,
		c->features.renew ? e->timeout_ms : 0);
}

static void open_step(struct commit *c, const struct commit_target *t, enum commit_step step)
{
	switch (step) {
	case STEP_DELETE:
		elements_open(&c->batch, &t->at, NFT_MSG_DELSETELEM, 0);
		break;
	case STEP_DESTROY:
		elements_open(&c->batch, &t->at, ELEMENTS_DESTROY, 0);
		break;
	case STEP_NEW_EXCL:
		elements_open(&c->batch, &t->at, NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL);
		break;
	default:
		elements_open(&c->batch, &t->at, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
		break;
	}
}

static void close_step(struct commit *c, struct commit_target *t, int item, enum commit_step step)
{
	uint32_t index = elements_close(&c->batch) - c->batch.first_seq;

	if (index < COMMIT_MESSAGES) {
		c->owners[index] =
			(struct commit_owner){.target = t, .item = item, .step = (uint8_t)step};
		c->n_owners = index + 1;
	}
}

/* All items of a target that take this step, in as few messages as it may be: one costs a quarter
 * of what an element does. */
static void write_step(struct commit *c, struct commit_target *t, enum commit_step step)
{
	bool alone = t->single || t->n == 1, open = false;
	bool adds = step != STEP_DELETE && step != STEP_DESTROY;

	for (int i = t->first; i >= 0; i = c->items[i].next) {
		if (!takes_step(c, &c->items[i], step))
			continue;
		if (!open)
			open_step(c, t, step);
		put_item(c, &c->items[i], adds);
		c->changes = c->changes || changes(c, &c->items[i], step);
		open = !alone && !elements_full(&c->batch);
		if (!open)
			close_step(c, t, alone ? i : -1, step);
	}
	if (open)
		close_step(c, t, -1, step);
}

void commit_write(struct commit *c)
{
	for (struct commit_target *t = c->targets; t; t = t->next) {
		for (enum commit_step step = 0; step < STEPS; step++)
			write_step(c, t, step);
	}
}
