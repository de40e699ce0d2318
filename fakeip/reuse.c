/* Which index may be given to another name: one whose last answer + TTL + hold is over, to which no
 * packet came for longer than the hold, and which no flow holds.
 *
 * Indexes are looked at in blocks. For each block `soonest_s` is a lower bound of the second in
 * which one of its entries becomes free: answers and packets only move that second on, so a block
 * before its time need not be looked at. The one thing that frees an entry without time passing is
 * the end of its last flow; fakeip_release() takes the bound back. So a full pool costs one
 * comparison (retry_at_s), a pool with something free a look at one block.
 *
 * An index that still has a name in the log loses it there first: all that is free of a block by
 * one record, and only when that is written the indexes are given out. */
#include "fakeip/fakeip_internal.h"

#include <errno.h>

#define BLOCK	   64
#define AHEAD_PART 4 /* of the blocks */

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
	uint32_t hold_s = atomic_load_explicit(&t->hold_s, memory_order_relaxed);
	uint32_t ttl_s = atomic_load_explicit(&t->ttl_s, memory_order_relaxed);
	uint32_t start_s = atomic_load_explicit(&t->start_s, memory_order_relaxed);
	uint32_t start_until_s = atomic_load_explicit(&t->start_until_s, memory_order_relaxed);
	uint32_t answer_s = atomic_load(&e->last_answer_s);
	uint32_t packet_s = atomic_load(&e->last_packet_s);
	uint64_t at = (uint64_t)(answer_s > start_s ? answer_s : start_s) + ttl_s;

	if (atomic_load(&e->flows))
		return SOONEST_NEVER;
	if (packet_s > at)
		at = packet_s;
	if (start_until_s > at)
		at = start_until_s;
	at += (uint64_t)hold_s + 1;
	return at < SOONEST_NEVER ? (uint32_t)at : SOONEST_NEVER - 1;
}

uint32_t reuse_clock(const struct fakeip_table *t, uint32_t now_s)
{
	uint32_t swept_s = atomic_load_explicit(&t->swept_s, memory_order_relaxed);

	return t->needs_sweep && swept_s < now_s ? swept_s : now_s;
}

void reuse_look_again(struct fakeip_table *t)
{
	for (uint32_t i = 0; i < t->blocks; i++)
		if (atomic_load(&t->soonest_s[i]))
			atomic_store(&t->soonest_s[i], 0);
	atomic_store(&t->retry_at_s, 0);
}

/* A reader without lock raises last_answer_s and then checks the sequence; here the sequence
 * becomes odd and then last_answer_s is read, both in one order for all (seq_cst). So one of the
 * two sees the other. */
static bool entry_take(const struct fakeip_table *t, struct entry *e, uint32_t clock_s)
{
	entry_begin(e);
	if (reuse_free_at(t, e) <= clock_s)
		return true;
	entry_end(e);
	return false;
}

/* All that is free in the block loses its name. */
static void block_free(struct fakeip_table *t, uint32_t block, uint32_t clock_s)
{
	struct record r = {.kind = RECORD_FREE, .index = block * BLOCK};

	for (uint32_t i = 0; i < BLOCK; i++) {
		struct entry *e = &t->entries[r.index + i];

		if (!table_given(t, r.index + i) || !e->name_len || reuse_free_at(t, e) > clock_s ||
			!entry_take(t, e, clock_s))
			continue;
		table_unbind(t, r.index + i);
		entry_end(e);
		r.bits |= 1ULL << i;
	}
	if (!r.bits)
		return;
	log_queue_record(t, &r);
	atomic_store(&t->soonest_s[block], 0);
}

static void free_ahead(struct fakeip_table *t, uint32_t clock_s)
{
	uint32_t ahead = t->blocks / AHEAD_PART;

	ahead = ahead < REUSE_AHEAD ? ahead : REUSE_AHEAD;
	for (uint32_t n = 1; n <= ahead && fakeip_is_persistent(t); n++) {
		uint32_t block = (t->hand + n) % t->blocks;

		if (atomic_load(&t->soonest_s[block]) <= clock_s)
			block_free(t, block, clock_s);
	}
}

void reuse_prepare(struct fakeip_table *t, uint32_t fresh, uint32_t now_s)
{
	uint32_t left = atomic_load_explicit(&t->top, memory_order_relaxed) - fresh;

	if (left < REUSE_AHEAD * BLOCK && left % BLOCK == 0)
		free_ahead(t, reuse_clock(t, now_s));
}

/* The bound is NEVER while the block is looked at: a flow that ends meanwhile stores 0, which then
 * stays. */
static uint32_t block_take(struct fakeip_table *t, uint32_t block, uint32_t clock_s)
{
	uint32_t soonest = SOONEST_NEVER, expected = SOONEST_NEVER;
	bool logged = fakeip_is_persistent(t);

	atomic_store(&t->soonest_s[block], SOONEST_NEVER);
	for (uint32_t i = block * BLOCK; i < (block + 1) * BLOCK; i++) {
		struct entry *e = &t->entries[i];
		uint32_t at;

		if (!table_given(t, i) || log_keeps(t, e))
			continue;
		at = reuse_free_at(t, e);
		if (at <= clock_s && logged && e->name_len) {
			block_free(t, block, clock_s);
			return 0;
		}
		if (at <= clock_s && entry_take(t, e, clock_s)) {
			atomic_store(&t->soonest_s[block], 0); /* there may be more */
			return i;
		}
		at = at <= clock_s ? reuse_free_at(t, e) : at;
		soonest = at < soonest ? at : soonest;
	}
	atomic_compare_exchange_strong(&t->soonest_s[block], &expected, soonest);
	return 0;
}

uint32_t reuse_take(struct fakeip_table *t, uint32_t now_s)
{
	uint32_t soonest = SOONEST_NEVER, expected = SOONEST_NEVER;
	uint32_t clock_s = reuse_clock(t, now_s);

	if (atomic_load(&t->retry_at_s) > clock_s)
		return 0;
	atomic_store(&t->retry_at_s, SOONEST_NEVER);
	for (uint32_t n = 0; n < t->blocks; n++) {
		uint32_t block = (t->hand + n) % t->blocks, index = 0, at;

		if (atomic_load(&t->soonest_s[block]) <= clock_s)
			index = block_take(t, block, clock_s);
		if (index || log_waits(t)) {
			bool moves = t->hand != block;

			t->hand = block;
			if (moves)
				free_ahead(t, clock_s);
			atomic_store(&t->retry_at_s, 0);
			return index;
		}
		at = atomic_load(&t->soonest_s[block]);
		soonest = at < soonest ? at : soonest;
	}
	atomic_compare_exchange_strong(&t->retry_at_s, &expected, soonest);
	return 0;
}

/* --- times --- */

/* What was answered with the longer TTL is in use as long as if a packet had come at its end. What
 * is out of use by a shorter hold was not when flows were last looked at. */
void fakeip_set_times(struct fakeip_table *t, uint32_t ttl_s, uint32_t hold_s)
{
	uint32_t old_s = atomic_load(&t->ttl_s);

	table_lock(t);
	for (uint32_t i = table_given_next(t, 0); old_s > ttl_s && i; i = table_given_next(t, i)) {
		struct entry *e = &t->entries[i];
		uint64_t until_s = (uint64_t)atomic_load(&e->last_answer_s) + old_s;

		raise_to(&e->last_packet_s, until_s < UINT32_MAX ? (uint32_t)until_s : UINT32_MAX);
	}
	if (old_s > ttl_s && t->start_s)
		raise_to(&t->start_until_s, t->start_s + old_s);
	atomic_store(&t->ttl_s, ttl_s);
	atomic_store(&t->hold_s, hold_s);
	atomic_store(&t->swept_s, 0);
	reuse_look_again(t);
	t->idle_until_s = 0;
	table_unlock(t);
	log_tell_ttl(t, ttl_s);
}

void fakeip_touch_until(struct fakeip_table *t, uint32_t index, uint32_t until_s)
{
	/* Only what was given out: a scan of the pool must not make the table resident. */
	if (table_given(t, index))
		raise_to(&t->entries[index].last_packet_s, until_s ? until_s : 1);
}

void fakeip_touch(struct fakeip_table *t, uint32_t index, uint32_t now_s)
{
	fakeip_touch_until(t, index, now_s);
}

void fakeip_hold(struct fakeip_table *t, uint32_t index)
{
	if (table_given(t, index))
		atomic_fetch_add(&t->entries[index].flows, 1);
}

void fakeip_release(struct fakeip_table *t, uint32_t index)
{
	_Atomic uint32_t *soonest_s, *flows;
	uint32_t old;

	if (!table_given(t, index))
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
