/* The two-way table: entries by index, an open-addressing index over (name, view).
 *
 * A reader without a lock may miss a mapping that is there (slots move when one is removed, entries
 * are being rewritten); it then asks again under the lock. It never takes one for another: what it
 * found is compared whole and the entry's sequence is checked after everything else was read. */
#include "fakeip/fakeip_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- making --- */

static unsigned bits_of(uint32_t v)
{
	unsigned n = 0;

	while (n < 32 && v >> n)
		n++;
	return n;
}

static size_t slots_bytes(const struct fakeip_table *t)
{
	return ((size_t)t->slot_mask + 1) * sizeof *t->slots;
}

static size_t entries_bytes(const struct fakeip_table *t)
{
	return (size_t)t->pool.end * sizeof *t->entries;
}

int fakeip_new(
	const struct fakeip_pool_config *config, uint64_t hash_key, struct fakeip_table **ret)
{
	struct fakeip_table *t = calloc(1, sizeof *t);
	unsigned index_bits;
	int r;

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	pthread_mutex_init(&t->log.log_lock, NULL);
	r = pool_init(&t->pool, config);
	if (r < 0)
		goto fail;
	t->ttl_s = t->ttl_most_s = config->ttl_s;
	t->hold_s = config->hold_s;
	t->hash = config->hash;
	t->hash_key = hash_key;
	t->seed = config->seed;
	t->needs_sweep = config->needs_sweep;
	t->log.written = UINT64_MAX;
	t->fresh = POOL_FIRST;
	t->top = t->pool.end;
	/* At least twice as many slots as indexes. */
	index_bits = bits_of(t->pool.end - 1);
	t->index_mask = (1U << index_bits) - 1;
	t->slot_mask = (1U << (index_bits + 1)) - 1;
	r = -ENOMEM;
	t->entries = region_map(entries_bytes(t));
	t->slots = region_map(slots_bytes(t));
	if (!t->entries || !t->slots || names_init(&t->names, t->pool.end) < 0 ||
		ids_init(&t->ids) < 0 || reuse_init(t) < 0)
		goto fail;
	*ret = t;
	return 0;
fail:
	fakeip_free(t);
	return r;
}

void fakeip_free(struct fakeip_table *t)
{
	if (!t)
		return;
	snapshot_drop(t);
	log_fini(t);
	reuse_fini(t);
	ids_fini(&t->ids);
	names_fini(&t->names);
	region_unmap((void *)t->slots, slots_bytes(t));
	region_unmap(t->entries, entries_bytes(t));
	pthread_mutex_destroy(&t->log.log_lock);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* --- entries --- */

void entry_begin(struct entry *e)
{
	uint32_t s = atomic_load_explicit(&e->sequence, memory_order_relaxed);

	assert(!(s & 1));
	atomic_store(&e->sequence, s + 1);
}

void entry_end(struct entry *e)
{
	uint32_t s = atomic_load_explicit(&e->sequence, memory_order_relaxed);

	assert(s & 1);
	atomic_store_explicit(&e->sequence, s + 1, memory_order_release);
}

bool entry_is(const struct fakeip_table *t, const struct entry *e, const uint8_t *name,
	size_t name_len, uint64_t view)
{
	if (atomic_load_explicit(&e->name_len, memory_order_acquire) != name_len ||
		ids_value(&t->ids, atomic_load_explicit(&e->view, memory_order_acquire)) != view)
		return false;
	return names_equal(
		&t->names, atomic_load_explicit(&e->name, memory_order_acquire), name, name_len);
}

/* Nothing is written when nothing changes: workers that answer the same name share its cache line.
 */
void raise_to(_Atomic uint32_t *at, uint32_t now_s)
{
	uint32_t old = atomic_load_explicit(at, memory_order_relaxed);

	while (old < now_s && !atomic_compare_exchange_weak(at, &old, now_s))
		;
}

/* --- the hash index --- */

/* Views of one name share a home, so that fakeip_find() meets them all; the tag tells them apart.
 */
uint32_t hash_fold(uint64_t hash)
{
	return (uint32_t)((hash ^ hash >> 32) * 0x9e3779b97f4a7c15ULL >> 32);
}

static uint32_t slot_tag(const struct fakeip_table *t, uint32_t hash, uint64_t view)
{
	uint64_t x = (view + hash) * 0xbf58476d1ce4e5b9ULL;

	return (uint32_t)(x >> 32) & ~t->index_mask;
}

uint32_t slot_get(const struct fakeip_table *t, uint32_t at)
{
	return atomic_load_explicit(&t->slots[at & t->slot_mask], memory_order_acquire);
}

void fakeip_prefetch(const struct fakeip_table *t, uint64_t hash)
{
	__builtin_prefetch(&t->slots[hash_fold(hash) & t->slot_mask]);
}

void fakeip_prefetch_entry(const struct fakeip_table *t, uint64_t hash)
{
	__builtin_prefetch(&t->entries[slot_get(t, hash_fold(hash)) & t->index_mask]);
}

static void slot_set(struct fakeip_table *t, uint32_t at, uint32_t v)
{
	atomic_store_explicit(&t->slots[at & t->slot_mask], v, memory_order_release);
}

static void slots_add(struct fakeip_table *t, uint32_t hash, uint64_t view, uint32_t index)
{
	uint32_t at = hash;

	while (slot_get(t, at))
		at++;
	slot_set(t, at, slot_tag(t, hash, view) | index);
}

/* Closes the gap: what follows moves up as far as its home allows, so that no probe ends too early.
 */
static void slots_remove(struct fakeip_table *t, uint32_t hash, uint32_t index)
{
	uint32_t gap = hash, at, slot;

	while ((slot_get(t, gap) & t->index_mask) != index)
		gap++;
	for (at = gap + 1; (slot = slot_get(t, at)) != 0; at++) {
		uint32_t home = t->entries[slot & t->index_mask].hash;

		if (((at - home) & t->slot_mask) < ((at - gap) & t->slot_mask))
			continue;
		slot_set(t, gap, slot);
		gap = at;
	}
	slot_set(t, gap, 0);
}

/* Without lock: 0 may also mean "ask under the lock". *ret_sequence belongs to what was compared.
 */
static uint32_t slots_find(const struct fakeip_table *t, const uint8_t *name, size_t name_len,
	uint32_t hash, uint64_t view, uint32_t *ret_sequence)
{
	uint32_t tag = slot_tag(t, hash, view), slot;

	for (uint32_t n = 0; n <= t->slot_mask && (slot = slot_get(t, hash + n)) != 0; n++) {
		const struct entry *e = &t->entries[slot & t->index_mask];

		if ((slot & ~t->index_mask) != tag)
			continue;
		*ret_sequence = atomic_load_explicit(&e->sequence, memory_order_acquire);
		if (entry_is(t, e, name, name_len, view))
			return *ret_sequence & 1 ? 0 : slot & t->index_mask;
	}
	return 0;
}

uint32_t table_locate(const struct fakeip_table *t, const uint8_t *name, size_t name_len,
	uint64_t hash, uint64_t view)
{
	uint32_t sequence;

	return slots_find(t, name, name_len, hash_fold(hash), view, &sequence);
}

/* --- binding --- */

/* The entry is begun and has no mapping. */
void table_bind(struct fakeip_table *t, const struct record *b, uint64_t hash, uint32_t record,
	uint16_t view, uint16_t rule, uint32_t now_s)
{
	struct entry *e = &t->entries[b->index];

	atomic_store_explicit(&e->name, names_add(t, b->name, b->name_len), memory_order_release);
	atomic_store_explicit(&e->view, view, memory_order_release);
	atomic_store_explicit(&e->rule, rule, memory_order_release);
	atomic_store_explicit(&e->record, record, memory_order_release);
	atomic_store_explicit(&e->flushed, false, memory_order_release);
	atomic_store_explicit(&e->name_len, (uint8_t)b->name_len, memory_order_release);
	/* A packet that comes just now is forgotten; the answer keeps the index for longer. */
	atomic_store_explicit(&e->last_packet_s, 0, memory_order_release);
	raise_to(&e->last_answer_s, now_s);
	e->hash = hash_fold(hash);
	slots_add(t, e->hash, b->view, b->index);
	atomic_fetch_add_explicit(&t->used, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(
		&t->log.live_bytes, record_size(b->name_len), memory_order_relaxed);
}

/* The entry is begun. Without a mapping nothing happens. */
void table_unbind(struct fakeip_table *t, uint32_t index)
{
	struct entry *e = &t->entries[index];
	uint8_t name_len = atomic_load_explicit(&e->name_len, memory_order_relaxed);

	if (!name_len)
		return;
	atomic_fetch_sub_explicit(&t->log.live_bytes, record_size(name_len), memory_order_relaxed);
	if (atomic_load_explicit(&e->flushed, memory_order_relaxed))
		atomic_fetch_sub_explicit(&t->flushed, 1, memory_order_relaxed);
	else
		slots_remove(t, e->hash, index);
	names_remove(&t->names, atomic_load_explicit(&e->name, memory_order_relaxed), name_len);
	atomic_store_explicit(&e->flushed, false, memory_order_release);
	atomic_store_explicit(&e->name_len, 0, memory_order_release);
	atomic_fetch_sub_explicit(&t->used, 1, memory_order_relaxed);
}

/* The entry is begun, has a mapping and is not flushed. */
void table_set_flushed(struct fakeip_table *t, uint32_t index)
{
	struct entry *e = &t->entries[index];

	slots_remove(t, e->hash, index);
	atomic_store_explicit(&e->flushed, true, memory_order_release);
	atomic_fetch_add_explicit(&t->flushed, 1, memory_order_relaxed);
}

/* Nobody ever had it, and the next start does not give it to another name at once. Its entry is
 * begun; 0: there is none. */
static uint32_t fresh_take(struct fakeip_table *t)
{
	uint32_t fresh = atomic_load_explicit(&t->fresh, memory_order_relaxed);
	uint32_t top = atomic_load_explicit(&t->top, memory_order_relaxed);

	if (fresh < top && log_reserves(t, fresh)) {
		entry_begin(&t->entries[fresh]);
		atomic_store_explicit(&t->fresh, fresh + 1, memory_order_release);
		return fresh;
	}
	if (fresh < top && atomic_load_explicit(&t->log.lost, memory_order_relaxed) &&
		top - 1 >= t->log.reserved) {
		entry_begin(&t->entries[top - 1]);
		atomic_store_explicit(&t->top, top - 1, memory_order_release);
		return top - 1;
	}
	return 0;
}

/* An index for a new mapping, its entry begun and unbound; 0: none, or none yet (log_waits()).
 * Indexes that nobody ever had go first. */
static uint32_t index_take(struct fakeip_table *t, uint32_t now_s, enum record_kind *ret_kind)
{
	uint32_t index = fresh_take(t);

	*ret_kind = RECORD_BIND;
	if (index)
		reuse_prepare(t, index, now_s);
	if (index || log_waits(t))
		return index;
	*ret_kind = RECORD_REBIND;
	index = reuse_take(t, now_s);
	if (index)
		table_unbind(t, index);
	return index;
}

/* --- assigning --- */

/* Without lock. False: the index may have been given to another name meanwhile, or is about to be,
 * or its rule is another; then only its time was noted. See entry_take() in reuse.c for why the
 * time is noted first. */
static bool answer_known(struct fakeip_table *t, uint32_t index, uint32_t sequence, uint64_t rule,
	uint32_t now_s, struct fakeip_pair *ret)
{
	struct entry *e = &t->entries[index];
	uint32_t record;

	raise_to(&e->last_answer_s, now_s);
	record = atomic_load_explicit(&e->record, memory_order_acquire);
	if (ids_value(&t->ids, atomic_load_explicit(&e->rule, memory_order_acquire)) != rule)
		return false;
	if (atomic_load(&e->sequence) != sequence)
		return false;
	pool_pair(&t->pool, index, ret);
	ret->pending = log_is_pending(t, record);
	return true;
}

/* All under lock: nobody else rewrites entries, so what is found stays. */

/* With another rule than before: readers must not take the old number for the new one's value. A
 * rule that there is no number for is none. */
static void set_rule(struct fakeip_table *t, struct entry *e, uint64_t rule)
{
	uint16_t number;

	if (ids_value(&t->ids, atomic_load_explicit(&e->rule, memory_order_relaxed)) == rule)
		return;
	if (!ids_number(t, rule, 0, &number))
		number = 0;
	entry_begin(e);
	atomic_store_explicit(&e->rule, number, memory_order_release);
	entry_end(e);
}

static int assign_known(struct fakeip_table *t, const struct record *b, uint32_t now_s)
{
	struct entry *e = &t->entries[b->index];

	raise_to(&e->last_answer_s, now_s);
	set_rule(t, e, b->rule);
	return 0;
}

/* -EAGAIN: the log is to be written first. */
static int assign_fresh(struct fakeip_table *t, struct record *b, uint64_t hash, uint32_t now_s)
{
	uint16_t view, rule;

	if (!ids_number(t, b->view, 0, &view) || !ids_number(t, b->rule, view, &rule))
		return -ENOSPC;
	b->index = index_take(t, now_s, &b->kind);
	if (!b->index)
		return log_waits(t) ? -EAGAIN : -ENOSPC;
	table_bind(t, b, hash, log_queue_record(t, b), view, rule, now_s);
	entry_end(&t->entries[b->index]);
	return 0;
}

static int assign_locked(struct fakeip_table *t, struct record *b, uint64_t hash, uint32_t now_s,
	struct fakeip_pair *ret)
{
	int r;

	b->index = table_locate(t, b->name, b->name_len, hash, b->view);
	r = b->index ? assign_known(t, b, now_s) : assign_fresh(t, b, hash, now_s);
	if (r == -ENOSPC)
		atomic_fetch_add_explicit(&t->exhausted, 1, memory_order_relaxed);
	if (r < 0)
		return r;
	pool_pair(&t->pool, b->index, ret);
	ret->pending = log_is_pending(
		t, atomic_load_explicit(&t->entries[b->index].record, memory_order_relaxed));
	return 0;
}

static int assign_new(struct fakeip_table *t, struct record *b, uint64_t hash, uint32_t now_s,
	struct fakeip_pair *ret)
{
	int r;

	assert(!t->hash || t->hash(b->name, b->name_len, t->hash_key) == hash);
	if (!name_is_valid(b->name, b->name_len))
		return -EINVAL;
	for (;;) {
		table_lock(t);
		r = log_has_room(t) ? assign_locked(t, b, hash, now_s, ret) : -EAGAIN;
		table_unlock(t);
		if (r != -EAGAIN)
			return r;
		log_make_room(t); /* each time that we wait, something is written, or given up */
	}
}

int fakeip_assign(struct fakeip_table *t, const uint8_t *name, size_t name_len, uint64_t hash,
	uint64_t view, uint64_t rule, uint32_t now_s, struct fakeip_pair *ret)
{
	struct record b = {.name = name, .view = view, .rule = rule};
	uint32_t sequence, index = slots_find(t, name, name_len, hash_fold(hash), view, &sequence);

	if (index && answer_known(t, index, sequence, rule, now_s, ret))
		return 0;
	if (name_len == 0 || name_len > FAKEIP_NAME_MAX)
		return -EINVAL;
	b.name_len = (uint16_t)name_len;
	return assign_new(t, &b, hash, now_s, ret);
}
