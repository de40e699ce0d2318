/* Which index may be given to another name: one whose last answer + TTL + hold is over, to which no
 * packet came for longer than the hold, and which no flow holds.
 *
 * Indexes are looked at in blocks. For each block `soonest_s` is a lower bound of the second in
 * which one of its entries becomes free: answers and packets only move that second on, so a block
 * before its time need not be looked at. The one thing that frees an entry without time passing is
 * the end of its last flow; fakeip_release() takes the bound back. So a full pool costs one
 * comparison (retry_at_s), a pool with something free a look at one block. */
#include "fakeip/fakeip_internal.h"

#include <errno.h>

#define BLOCK 64

int reuse_init(struct fakeip_table *t)
{
	t->blocks = (t->pool.end + BLOCK - 1) / BLOCK;
	t->soonest_s = region_map(t->blocks * sizeof *t->soonest_s);
	return t->soonest_s ? 0 : -ENOMEM;
}

void reuse_fini(struct fakeip_table *t)
{
	region_unmap((void *)t->soonest_s, t->blocks * sizeof *t->soonest_s);
}

uint32_t reuse_free_at(const struct fakeip_table *t, const struct entry *e)
{
	uint64_t answer = (uint64_t)atomic_load(&e->last_answer_s) + t->ttl_s + t->hold_s + 1;
	uint64_t packet = atomic_load(&e->last_packet_s), at = answer;

	if (atomic_load(&e->flows))
		return SOONEST_NEVER;
	if (packet && packet + t->hold_s + 1 > at)
		at = packet + t->hold_s + 1;
	return at < SOONEST_NEVER ? (uint32_t)at : SOONEST_NEVER - 1;
}

/* A reader without lock raises last_answer_s and then checks the sequence; here the sequence
 * becomes odd and then last_answer_s is read, both in one order for all (seq_cst). So one of the
 * two sees the other. */
static bool entry_take(const struct fakeip_table *t, struct entry *e, uint32_t now_s)
{
	entry_begin(e);
	if (reuse_free_at(t, e) <= now_s)
		return true;
	entry_end(e);
	return false;
}

/* The bound is NEVER while the block is looked at: a flow that ends meanwhile stores 0, which then
 * stays. */
static uint32_t block_take(struct fakeip_table *t, uint32_t block, uint32_t now_s)
{
	uint32_t first = block ? block * BLOCK : POOL_FIRST, end = (block + 1) * BLOCK;
	uint32_t fresh = atomic_load_explicit(&t->fresh, memory_order_relaxed);
	uint32_t soonest = SOONEST_NEVER, expected = SOONEST_NEVER;

	atomic_store(&t->soonest_s[block], SOONEST_NEVER);
	for (uint32_t i = first; i < end && i < fresh; i++) {
		struct entry *e = &t->entries[i];
		uint32_t at = reuse_free_at(t, e);

		if (at <= now_s && entry_take(t, e, now_s)) {
			atomic_store(&t->soonest_s[block], 0); /* there may be more */
			return i;
		}
		at = at <= now_s ? reuse_free_at(t, e) : at;
		soonest = at < soonest ? at : soonest;
	}
	atomic_compare_exchange_strong(&t->soonest_s[block], &expected, soonest);
	return 0;
}

uint32_t reuse_take(struct fakeip_table *t, uint32_t now_s)
{
	uint32_t soonest = SOONEST_NEVER, expected = SOONEST_NEVER;

	if (atomic_load(&t->retry_at_s) > now_s)
		return 0;
	atomic_store(&t->retry_at_s, SOONEST_NEVER);
	for (uint32_t n = 0; n < t->blocks; n++) {
		uint32_t block = (t->hand + n) % t->blocks, index = 0, at;

		if (atomic_load(&t->soonest_s[block]) <= now_s)
			index = block_take(t, block, now_s);
		if (index) {
			t->hand = block;
			atomic_store(&t->retry_at_s, 0);
			return index;
		}
		at = atomic_load(&t->soonest_s[block]);
		soonest = at < soonest ? at : soonest;
	}
	atomic_compare_exchange_strong(&t->retry_at_s, &expected, soonest);
	return 0;
}

void fakeip_hold(struct fakeip_table *t, uint32_t index)
{
	if (index < atomic_load_explicit(&t->fresh, memory_order_acquire))
		atomic_fetch_add(&t->entries[index].flows, 1);
}

void fakeip_release(struct fakeip_table *t, uint32_t index)
{
	_Atomic uint32_t *soonest_s, *flows;
	uint32_t old;

	if (index >= atomic_load_explicit(&t->fresh, memory_order_acquire))
		return;
	flows = &t->entries[index].flows;
	old = atomic_load(flows);
	while (old && !atomic_compare_exchange_weak(flows, &old, old - 1))
		;
	if (old != 1)
		return;
	/* In this order: reuse_take() writes retry_at_s first and reads the bounds after. */
	soonest_s = &t->soonest_s[index / BLOCK];
	if (atomic_load(soonest_s))
		atomic_store(soonest_s, 0);
	if (atomic_load(&t->retry_at_s))
		atomic_store(&t->retry_at_s, 0);
}
