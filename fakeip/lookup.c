/* Reading mappings, without a lock as long as nobody rewrites them all the time. */
#include "fakeip/fakeip_internal.h"

#include <errno.h>
#include <string.h>

#define READ_TRIES 64 /* then a reader waits for the writer's lock */

static int entry_copy(const struct fakeip_table *t, uint32_t index, struct fakeip_mapping *ret)
{
	const struct entry *e = &t->entries[index];
	uint32_t sequence = atomic_load_explicit(&e->sequence, memory_order_acquire);
	struct fakeip_pair pair;

	if (sequence & 1)
		return -EAGAIN;
	pool_pair(&t->pool, index, &pair);
	ret->index = index;
	ret->has4 = pair.has4;
	ret->has6 = pair.has6;
	memcpy(ret->v4, pair.v4, sizeof ret->v4);
	memcpy(ret->v6, pair.v6, sizeof ret->v6);
	ret->view = ids_value(&t->ids, atomic_load_explicit(&e->view, memory_order_acquire));
	ret->rule = ids_value(&t->ids, atomic_load_explicit(&e->rule, memory_order_acquire));
	ret->last_answer_s = atomic_load_explicit(&e->last_answer_s, memory_order_acquire);
	ret->last_packet_s = atomic_load_explicit(&e->last_packet_s, memory_order_acquire);
	ret->flows = atomic_load_explicit(&e->flows, memory_order_acquire);
	ret->flushed = atomic_load_explicit(&e->flushed, memory_order_acquire);
	ret->name_len = atomic_load_explicit(&e->name_len, memory_order_acquire);
	memset(ret->name, 0, sizeof ret->name);
	names_copy(&t->names, atomic_load_explicit(&e->name, memory_order_acquire), ret->name_len,
		ret->name);
	if (atomic_load_explicit(&e->sequence, memory_order_relaxed) != sequence)
		return -EAGAIN;
	return ret->name_len ? 0 : -ENOENT;
}

int fakeip_get(const struct fakeip_table *t, uint32_t index, struct fakeip_mapping *ret)
{
	int r = -EAGAIN;

	if (!table_given(t, index))
		return -ENOENT;
	for (int i = 0; i < READ_TRIES && r == -EAGAIN; i++)
		r = entry_copy(t, index, ret);
	if (r == -EAGAIN) {
		table_lock(t);
		r = entry_copy(t, index, ret);
		table_unlock(t);
	}
	return r;
}

size_t fakeip_find(const struct fakeip_table *t, const uint8_t *name, size_t name_len,
	uint64_t hash, struct fakeip_mapping *ret, size_t max)
{
	uint32_t home = hash_fold(hash), slot;
	size_t found = 0;

	table_lock(t);
	for (uint32_t n = 0; n <= t->slot_mask && (slot = slot_get(t, home + n)) != 0; n++) {
		uint32_t index = slot & t->index_mask;
		const struct entry *e = &t->entries[index];

		if (e->hash != home || !entry_is(t, e, name, name_len, ids_value(&t->ids, e->view)))
			continue;
		if (found < max)
			entry_copy(t, index, &ret[found]);
		found++;
	}
	table_unlock(t);
	return found;
}

int fakeip_next(const struct fakeip_table *t, uint32_t after, struct fakeip_mapping *ret)
{
	uint32_t i = table_given_next(t, after == UINT32_MAX ? 0 : after);

	for (; i; i = table_given_next(t, i))
		if (fakeip_get(t, i, ret) == 0)
			return 0;
	return -ENOENT;
}

/* An answer for it may still be in a client's cache, or something is carried. */
static bool is_live(const struct fakeip_table *t, const struct entry *e, uint32_t now_s)
{
	uint64_t answered_s = (uint64_t)e->last_answer_s + t->ttl_s;

	return !e->flushed && (e->flows || answered_s >= now_s || e->last_packet_s > now_s);
}

void fakeip_stats(const struct fakeip_table *t, uint32_t now_s, struct fakeip_stats *ret)
{
	uint32_t clock_s = reuse_clock(t, now_s);

	memset(ret, 0, sizeof *ret);
	ret->size = t->pool.end - POOL_FIRST;
	ret->used = atomic_load_explicit(&t->used, memory_order_relaxed);
	ret->flushed = atomic_load_explicit(&t->flushed, memory_order_relaxed);
	ret->exhausted = atomic_load_explicit(&t->exhausted, memory_order_relaxed);
	for (uint32_t i = table_given_next(t, 0); i; i = table_given_next(t, i)) {
		const struct entry *e = &t->entries[i];

		if (!e->name_len || is_live(t, e, now_s))
			continue;
		if (reuse_free_at(t, e) > clock_s)
			ret->in_hold++;
		else
			ret->reusable++;
	}
}

uint64_t fakeip_exhausted(const struct fakeip_table *t)
{
	return atomic_load_explicit(&t->exhausted, memory_order_relaxed);
}
