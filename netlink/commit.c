#include "netlink/commit.h"
#include "netlink/table.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <string.h>

#define ACK_TIMEOUT_MS	50
#define ROUNDS_MAX	8
#define BATCH_BYTES	(256 << 10)
#define BEAT_TIMEOUT_MS 2500

enum step { STEP_NEW, STEP_DELETE, STEP_DESTROY, STEP_NEW_AGAIN };

int commit_init(struct commit *c, struct nft_socket *s)
{
	int r = nft_batch_init(&c->batch, BATCH_BYTES);

	c->socket = s;
	c->epoch = 1; /* nothing was read at it */
	return r < 0 ? r : nft_features_try(s, &c->batch, &c->features);
}

void commit_fini(struct commit *c)
{
	nft_batch_fini(&c->batch);
}

void commit_forget(struct commit *c)
{
	c->generation = 0;
}

void commit_begin(struct commit *c)
{
	c->n_items = 0;
	c->targets = NULL;
	memset(c->slots, 0, sizeof c->slots);
}

static int16_t *find_slot(
	struct commit *c, const struct commit_target *t, const struct ip_addr *key)
{
	uint64_t hash = ip_addr_hash(key) ^ (uint64_t)(uintptr_t)t * 0x9e3779b97f4a7c15ULL;

	/* The table is never more than a quarter full. */
	for (size_t i = (size_t)(hash ^ hash >> 32);; i++) {
		int16_t *slot = &c->slots[i % COMMIT_SLOTS];

		if (*slot == 0 || (c->items[*slot - 1].target == t &&
					  ip_addr_equal(&c->items[*slot - 1].key, key)))
			return slot;
	}
}

static struct commit_item *new_item(struct commit *c, struct commit_target *t)
{
	int index = c->n_items++;
	struct commit_item *item = &c->items[index];

	if (!t->listed) {
		t->listed = true;
		t->single = t->looked = false;
		t->n = 0;
		t->failure = 0;
		t->first = index;
		t->next = c->targets;
		c->targets = t;
	} else {
		c->items[t->last].next = index;
	}
	t->last = index;
	t->n++;
	*item = (struct commit_item){.target = t, .next = -1};
	return item;
}

int commit_add(struct commit *c, struct commit_target *t, enum commit_op op,
	const struct ip_addr *key, const struct ip_addr *data, uint64_t timeout_ms)
{
	int16_t *slot = find_slot(c, t, key);
	struct commit_item *item;

	if (*slot) {
		item = &c->items[*slot - 1];
		if (op == COMMIT_ADD && item->op == COMMIT_ADD && item->timeout_ms != timeout_ms) {
			if (item->timeout_ms == 0 ||
				(timeout_ms != 0 && item->timeout_ms > timeout_ms))
				timeout_ms = item->timeout_ms;
		}
	} else {
		if (c->n_items == COMMIT_ITEMS_MAX)
			return -ENOSPC;
		item = new_item(c, t);
		item->key = *key;
		*slot = (int16_t)c->n_items;
	}
	item->op = op;
	item->timeout_ms = timeout_ms;
	if (data)
		item->data = *data;
	return *slot - 1;
}

/* --- writing a round --- */

static bool takes_step(const struct commit *c, const struct commit_item *item, enum step step)
{
	if (item->settled)
		return false;
	switch (item->op) {
	case COMMIT_ADD:
		/* Without the renewal an element that is there keeps its old life; so it is taken
		 * out in between. What is added first makes sure that there is something to take
		 * out. */
		return step == STEP_NEW || (!c->features.renew && step != STEP_DESTROY);
	case COMMIT_MAP:
		if (c->features.destroy)
			return step == STEP_DESTROY || step == STEP_NEW_AGAIN;
		/* Most are fresh; the kernel says EEXIST of the others, and the next round replaces
		 * them. */
		return step == STEP_NEW ? item->way != ITEM_REPLACES
					: item->way == ITEM_REPLACES && step != STEP_DESTROY;
	case COMMIT_DELETE:
		return step == (c->features.destroy ? STEP_DESTROY : STEP_DELETE);
	}
	return false;
}

static void put_item(struct commit *c, const struct commit_item *item, bool adds)
{
	elements_put(&c->batch, &item->target->at, &item->key,
		adds && item->op == COMMIT_MAP ? &item->data : NULL,
		adds ? item->timeout_ms : ELEMENT_NO_TIMEOUT, adds && c->features.renew);
}

static void open_step(struct commit *c, const struct commit_target *t, enum step step)
{
	uint16_t flags = NLM_F_CREATE;

	if (step == STEP_DELETE || step == STEP_DESTROY) {
		elements_open(&c->batch, &t->at,
			step == STEP_DELETE ? NFT_MSG_DELSETELEM : ELEMENTS_DESTROY, 0);
		return;
	}
	if (step == STEP_NEW && c->items[t->first].op != COMMIT_ADD)
		flags |= NLM_F_EXCL;
	elements_open(&c->batch, &t->at, NFT_MSG_NEWSETELEM, flags);
}

static void close_step(struct commit *c, struct commit_target *t, int item, enum step step)
{
	uint32_t index = elements_close(&c->batch) - c->batch.first_seq;

	if (index < COMMIT_MESSAGES) {
		c->owners[index] =
			(struct commit_owner){.target = t, .item = item, .step = (uint8_t)step};
		c->n_owners = index + 1;
	}
}

/* All items of a target that take this step, in as few messages as it may be. */
static void write_step(struct commit *c, struct commit_target *t, enum step step)
{
	unsigned per_message = t->single ? 1 : ELEMENTS_PER_MESSAGE, in_message = 0;
	bool adds = step == STEP_NEW || step == STEP_NEW_AGAIN;

	for (int i = t->first; i >= 0; i = c->items[i].next) {
		if (!takes_step(c, &c->items[i], step))
			continue;
		if (in_message == 0)
			open_step(c, t, step);
		put_item(c, &c->items[i], adds);
		if (++in_message == per_message) {
			close_step(c, t, t->single ? i : -1, step);
			in_message = 0;
		}
	}
	if (in_message)
		close_step(c, t, t->n == 1 ? t->first : -1, step);
}

static void write_beat(struct commit *c)
{
	static const struct element_set alive = {
		.table = TABLE_NAME, .name = "alive", .nfproto = NFPROTO_INET};
	static const uint8_t families[] = {NFPROTO_IPV4, NFPROTO_IPV6};

	for (int step = 0; step < (c->features.renew ? 1 : 3); step++) {
		bool adds = step != 1;

		elements_open(&c->batch, &alive, adds ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM,
			adds ? NLM_F_CREATE : 0);
		for (size_t i = 0; i < sizeof families; i++)
			elements_put_raw(&c->batch, &families[i], 1,
				adds ? BEAT_TIMEOUT_MS : ELEMENT_NO_TIMEOUT,
				adds && c->features.renew);
		close_step(c, NULL, -1, STEP_NEW);
	}
}

/* --- what the kernel says --- */

static void take_error(void *arg, const struct nft_error *error)
{
	struct commit *c = arg;
	uint32_t index = error->seq - c->batch.first_seq;
	struct commit_owner *owner;

	if (error->seq == 0 || index >= c->n_owners) {
		c->whole_error = error->error;
		return;
	}
	owner = &c->owners[index];
	if (!owner->target) {
		c->beat_failed = true;
		return;
	}
	if (!owner->target->failure) {
		owner->target->failure = error->error;
		owner->target->failed_step = owner->step;
	}
	if (owner->item >= 0 && !c->items[owner->item].failure)
		c->items[owner->item].failure = error->error;
}

static void settle_item(struct commit_item *item, int result)
{
	if (!item->settled) {
		item->settled = true;
		item->result = result;
	}
}

static void settle_target(struct commit *c, struct commit_target *t, int result)
{
	for (int i = t->first; i >= 0; i = c->items[i].next)
		settle_item(&c->items[i], result);
}

/* What is still refused after the second look, and not written in another way, has failed. */
static void settle_refused(struct commit *c, struct commit_target *t)
{
	for (int i = t->first; i >= 0; i = c->items[i].next) {
		struct commit_item *item = &c->items[i];

		if (item->failure && item->way == ITEM_FRESH)
			settle_item(item, item->failure);
	}
}

/* An item of its own message was refused: it is settled or written in another way in the next
 * round. false: nothing that is known here explains it. */
static bool refused_item(struct commit_item *item, int failure)
{
	if (failure == -EEXIST && item->op == COMMIT_MAP && item->way == ITEM_FRESH)
		item->way = ITEM_REPLACES;
	else if (failure == -ENOENT && item->op == COMMIT_MAP && item->way == ITEM_REPLACES)
		item->way = ITEM_PLAIN; /* it expired in between */
	else if ((failure == -ENOENT && item->op == COMMIT_DELETE) ||
		 (failure == -EEXIST && item->op == COMMIT_ADD))
		settle_item(item, 0); /* not there; inside a range that is there */
	else if (failure == -ENFILE)
		settle_item(item, failure);
	else
		return false;
	return true;
}

/* The items were made for an older description of their set. */
static void fit_items(struct commit *c, struct commit_target *t)
{
	for (int i = t->first; i >= 0; i = c->items[i].next) {
		struct commit_item *item = &c->items[i];

		if (item->key.family != t->at.family)
			settle_item(item, -EINVAL);
		if (t->has_timeout || item->timeout_ms == ELEMENT_NO_TIMEOUT)
			continue;
		if (item->timeout_ms)
			settle_item(item, -EOPNOTSUPP);
		item->timeout_ms = ELEMENT_NO_TIMEOUT;
	}
}

/* Reads the description of a set; one that is not usable settles its items. */
static void look_at(struct commit *c, struct commit_target *t)
{
	int r = t->look(t);

	if (r < 0)
		settle_target(c, t, r);
	else
		fit_items(c, t);
	t->seen = c->epoch;
}

/* The second look, once a commit, when the kernel's refusal is not clear. */
static void look_again(struct commit *c, struct commit_target *t, int failure)
{
	if (t->look && !t->looked)
		look_at(c, t);
	else
		settle_target(c, t, failure);
	t->looked = true;
}

/* Makes sure that what is known about the users' sets of this commit is still so. */
static bool check_descriptions(struct commit *c)
{
	bool relied_on = false;

	for (struct commit_target *t = c->targets; t; t = t->next)
		relied_on |= t->look != NULL;
	if (!relied_on)
		return false;
	if (!c->generation) {
		if (nft_generation(c->socket, &c->generation, ACK_TIMEOUT_MS) < 0)
			c->generation = 0;
		c->epoch++;
	}
	for (struct commit_target *t = c->targets; t; t = t->next) {
		if (t->look && t->seen != c->epoch)
			look_at(c, t);
	}
	return c->generation != 0;
}

static void refused_target(struct commit *c, struct commit_target *t)
{
	int unexplained = 0;

	if (t->failure == -ENOENT && t->failed_step != STEP_DELETE) {
		look_again(c, t, -ENOENT); /* the set itself is missing */
	} else if (!t->single && t->n > 1) {
		t->single = true;
	} else {
		for (int i = t->first; i >= 0; i = c->items[i].next) {
			struct commit_item *item = &c->items[i];

			if (item->failure && !item->settled && !refused_item(item, item->failure))
				unexplained = item->failure;
		}
		if (unexplained && t->look && !t->looked)
			look_again(c, t, unexplained);
		else if (unexplained)
			settle_refused(c, t);
	}
	t->failure = 0;
	for (int i = t->first; i >= 0; i = c->items[i].next)
		c->items[i].failure = 0;
}

static void settle_all(struct commit *c, int result)
{
	for (int i = 0; i < c->n_items; i++)
		settle_item(&c->items[i], result);
}

static void tell_targets(struct commit *c)
{
	while (c->targets) {
		struct commit_target *t = c->targets;
		unsigned n_done = 0, n_failed = 0;
		int error = 0;

		c->targets = t->next;
		t->next = NULL;
		t->listed = false;
		for (int i = t->first; i >= 0; i = c->items[i].next) {
			if (c->items[i].result < 0) {
				n_failed++;
				error = error ? error : c->items[i].result;
			} else {
				n_done++;
			}
		}
		if (t->settled)
			t->settled(t, n_done, n_failed, error);
	}
}

static void write_round(struct commit *c, bool beat, bool careful)
{
	bool relies = check_descriptions(c);

	c->n_owners = 0;
	c->whole_error = 0;
	nft_batch_begin(&c->batch, c->socket);
	if (relies && careful)
		nft_batch_require(&c->batch, c->generation);
	if (beat)
		write_beat(c);
	for (struct commit_target *t = c->targets; t; t = t->next) {
		for (enum step step = STEP_NEW; step <= STEP_NEW_AGAIN; step++)
			write_step(c, t, step);
	}
}

/* One batch. 0: committed; -EAGAIN: some of it was refused; else nothing more can be done. */
static int run_round(struct commit *c, bool beat, bool careful)
{
	int r;

	write_round(c, beat, careful);
	c->rounds++;
	r = nft_batch_commit(&c->batch, c->socket, ACK_TIMEOUT_MS, take_error, c);
	if (r == 0) {
		if (c->generation && !nft_batch_empty(&c->batch) && ++c->generation == 0)
			c->generation = 1;
		return 0;
	}
	if (c->whole_error == -ERESTART) {
		commit_forget(c);
		return -EAGAIN;
	}
	if (c->whole_error)
		return c->whole_error;
	if (r == -ETIMEDOUT || r == -ENOBUFS) {
		commit_forget(c);
		return -ETIMEDOUT;
	}
	for (struct commit_target *t = c->targets; t; t = t->next) {
		if (t->failure) {
			refused_target(c, t);
			r = -EAGAIN;
		}
	}
	return c->beat_failed ? -EAGAIN : r;
}

void commit_run(struct commit *c, bool beat, bool *ret_beaten)
{
	int r = 0;

	c->beat_failed = false;
	for (int round = 0; round < ROUNDS_MAX; round++) {
		/* Where others commit all the time the last rounds rely on what was read just
		 * before. */
		r = run_round(c, beat && !c->beat_failed, round < ROUNDS_MAX / 2);
		if (r != -EAGAIN)
			break;
	}
	settle_all(c, r == -EAGAIN ? -EIO : r);
	*ret_beaten = beat && r == 0 && !c->beat_failed;
	tell_targets(c);
}
