#include "netlink/commit_internal.h"

#include <errno.h>
#include <string.h>

#define ROUNDS_MAX     12
#define ROUNDS_CAREFUL 4
#define BATCH_BYTES    (256 << 10)

void commit_tables_init(struct commit_tables *t)
{
	*t = (struct commit_tables){.epoch = 1}; /* nothing was read at it */
	pthread_mutex_init(&t->lock, NULL);
}

void commit_tables_fini(struct commit_tables *t)
{
	pthread_mutex_destroy(&t->lock);
}

int commit_init(struct commit *c, struct nft_socket *s, struct commit_tables *tables)
{
	int r = nft_batch_init(&c->batch, BATCH_BYTES);

	c->socket = s;
	c->tables = tables;
	c->n_items = 0;
	memset(c->slots, 0, sizeof c->slots);
	return r < 0 ? r : nft_features_try(s, &c->batch, &c->features);
}

void commit_fini(struct commit *c)
{
	nft_batch_fini(&c->batch);
}

void commit_forget(struct commit *c)
{
	pthread_mutex_lock(&c->tables->lock);
	c->tables->generation = 0;
	pthread_mutex_unlock(&c->tables->lock);
}

/* --- gathering --- */

void commit_begin(struct commit *c)
{
	/* Most commits are small: all of the table takes longer. */
	for (int i = 0; i < c->n_items; i++)
		c->slots[c->items[i].slot] = 0;
	c->n_items = 0;
	c->targets = NULL;
}

static uint64_t hash_key(const struct commit_target *t, const uint8_t *key)
{
	uint64_t hash = (uint64_t)(uintptr_t)t * 0x9e3779b97f4a7c15ULL;

	for (unsigned i = 0; i < t->key_size; i += 4) {
		uint32_t word = 0;

		memcpy(&word, key + i, t->key_size - i < 4U ? t->key_size - i : 4U);
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 29;
	}
	return hash;
}

static int16_t *find_slot(struct commit *c, const struct commit_target *t, const uint8_t *key)
{
	/* The table is never more than a quarter full. */
	for (size_t i = (size_t)hash_key(t, key);; i++) {
		int16_t *slot = &c->slots[i % COMMIT_SLOTS];

		if (*slot == 0 || (c->items[*slot - 1].target == t &&
					  !memcmp(c->items[*slot - 1].e.key, key, t->key_size)))
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
	memset(item, 0, sizeof *item);
	item->target = t;
	item->key_size = t->key_size;
	item->value_size = t->value_size;
	item->next = -1;
	return item;
}

static bool adds(enum commit_op op)
{
	return op == COMMIT_ADD || op == COMMIT_RENEW;
}

static bool same_value(const struct commit_element *a, const struct commit_element *b)
{
	const struct element_value *x = &a->value, *y = &b->value;

	if (!a->has_value || !b->has_value)
		return a->has_value == b->has_value;
	if (x->size || y->size)
		return x->size == y->size && memcmp(x->b, y->b, x->size) == 0;
	return x->code == y->code &&
	       strcmp(x->chain ? x->chain : "", y->chain ? y->chain : "") == 0;
}

static bool lives_longer(uint64_t a_ms, uint64_t b_ms)
{
	return b_ms != 0 && (a_ms == 0 || a_ms > b_ms);
}

int commit_add(struct commit *c, struct commit_target *t, enum commit_op op,
	const struct commit_element *e)
{
	int16_t *slot = find_slot(c, t, e->key);
	struct commit_item *item;
	struct commit_element before;
	bool merges = false;

	if (*slot) {
		item = &c->items[*slot - 1];
		before = item->e;
		merges = adds(op) && adds(item->op) && same_value(&before, e);
	} else {
		if (c->n_items == COMMIT_ITEMS_MAX)
			return -ENOSPC;
		item = new_item(c, t);
		item->slot = (uint16_t)(slot - c->slots);
		*slot = (int16_t)c->n_items;
	}
	item->op = op;
	item->way = op == COMMIT_RENEW ? ITEM_RENEWS : ITEM_FRESH;
	item->e = *e;
	if (merges && lives_longer(before.timeout_ms, e->timeout_ms))
		item->e.timeout_ms = before.timeout_ms;
	if (merges && before.need_ms > e->need_ms)
		item->e.need_ms = before.need_ms;
	return *slot - 1;
}

/* --- rounds --- */

/* Made for a description that has been read anew since. */
static void settle_outgrown(struct commit *c)
{
	for (int i = 0; i < c->n_items; i++) {
		struct commit_item *item = &c->items[i];

		if (item->key_size != item->target->key_size ||
			item->value_size != item->target->value_size)
			commit_settle(item, -ESTALE);
	}
}

static void settle_all(struct commit *c, int result)
{
	for (int i = 0; i < c->n_items; i++)
		commit_settle(&c->items[i], result);
}

static void release_targets(struct commit *c)
{
	while (c->targets) {
		struct commit_target *t = c->targets;

		c->targets = t->next;
		t->next = NULL;
		t->listed = false;
	}
}

static void write_round(struct commit *c, int round)
{
	bool relies = commit_check_descriptions(c);

	c->n_owners = 0;
	c->changes = false;
	c->whole_error = 0;
	nft_batch_begin(&c->batch, c->socket);
	/* Where others commit all the time the last rounds rely on what was read just before. */
	if (relies && round < ROUNDS_CAREFUL)
		nft_batch_require(&c->batch, c->tables->generation);
	commit_write(c);
}

/* What changes nothing is no commit to the kernel. Who believed in a generation too many would not
 * see the next one that is somebody else's. */
static void count_generation(struct commit *c)
{
	uint32_t *generation = &c->tables->generation;

	if (nft_batch_empty(&c->batch) || !*generation)
		return;
	if (!c->changes)
		*generation = 0;
	else if (++*generation == 0)
		*generation = 1;
}

/* One batch. 0: committed; -EAGAIN: some of it was refused; else nothing more can be done. */
static int run_round(struct commit *c, int round)
{
	struct commit_tables *t = c->tables;
	int r;

	write_round(c, round);
	c->rounds++;
	r = nft_batch_commit(&c->batch, c->socket, COMMIT_ACK_MS, commit_take_error, c);
	if (r == 0) {
		count_generation(c);
		return 0;
	}
	if (c->whole_error == -ERESTART) {
		t->generation = 0;
		return -EAGAIN;
	}
	if (c->whole_error)
		return c->whole_error;
	if (r == -ETIMEDOUT || r == -ENOBUFS) {
		t->generation = 0;
		return -ETIMEDOUT;
	}
	for (struct commit_target *target = c->targets; target; target = target->next) {
		if (target->failure) {
			commit_refused(c, target, round >= ROUNDS_MAX - 2);
			r = -EAGAIN;
		}
	}
	if (c->whole_error)
		return c->whole_error;
	return r;
}

void commit_run(struct commit *c)
{
	int r = 0;

	settle_outgrown(c);
	commit_ask_first(c);
	for (int round = 0; round < ROUNDS_MAX; round++) {
		pthread_mutex_lock(&c->tables->lock);
		r = run_round(c, round);
		pthread_mutex_unlock(&c->tables->lock);
		if (r != -EAGAIN)
			break;
	}
	settle_all(c, r == -EAGAIN ? -EIO : r);
	release_targets(c);
}
