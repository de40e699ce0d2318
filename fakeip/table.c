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

#define READ_TRIES 64 /* then a reader waits for the writer's lock */

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
	pthread_mutex_init(&t->log_lock, NULL);
	r = pool_init(&t->pool, config);
	if (r < 0)
		goto fail;
	t->ttl_s = config->ttl_s;
	t->hold_s = config->hold_s;
	t->hash = config->hash;
	t->hash_key = hash_key;
	t->written = UINT64_MAX;
	t->fresh = POOL_FIRST;
	crc32c_init(&t->crc);
	/* At least twice as many slots as indexes. */
	index_bits = bits_of(t->pool.end - 1);
	t->index_mask = (1U << index_bits) - 1;
	t->slot_mask = (1U << (index_bits + 1)) - 1;
	r = -ENOMEM;
	t->entries = region_map(entries_bytes(t));
	t->slots = region_map(slots_bytes(t));
	if (!t->entries || !t->slots || names_init(&t->names, t->pool.end) < 0 || reuse_init(t) < 0)
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
	log_fini(t);
	reuse_fini(t);
	names_fini(&t->names);
	region_unmap((void *)t->slots, slots_bytes(t));
	region_unmap(t->entries, entries_bytes(t));
	pthread_mutex_destroy(&t->log_lock);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* Look-ups take a const table; the mutex is no part of what they promise not to change. */
static void table_lock(const struct fakeip_table *t)
{
	pthread_mutex_lock((pthread_mutex_t *)&t->lock);
}

static void table_unlock(const struct fakeip_table *t)
{
	pthread_mutex_unlock((pthread_mutex_t *)&t->lock);
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

static bool entry_is(const struct fakeip_table *t, const struct entry *e, const uint8_t *name,
	size_t name_len, uint64_t view)
{
	if (atomic_load_explicit(&e->name_len, memory_order_acquire) != name_len ||
		atomic_load_explicit(&e->view, memory_order_acquire) != view)
		return false;
	return names_equal(
		&t->names, atomic_load_explicit(&e->name, memory_order_acquire), name, name_len);
}

/* Seconds only rise, also when threads disagree about now. Nothing is written when nothing changes:
 * workers that answer the same name share its cache line. */
static void raise_to(_Atomic uint32_t *at, uint32_t now_s)
{
	uint32_t old = atomic_load_explicit(at, memory_order_relaxed);

	while (old < now_s && !atomic_compare_exchange_weak(at, &old, now_s))
		;
}

/* --- the hash index --- */

/* Views of one name share a home, so that fakeip_find() meets them all; the tag tells them apart.
 */
static uint32_t hash_fold(uint64_t hash)
{
	return (uint32_t)((hash ^ hash >> 32) * 0x9e3779b97f4a7c15ULL >> 32);
}

static uint32_t slot_tag(const struct fakeip_table *t, uint32_t hash, uint64_t view)
{
	uint64_t x = (view + hash) * 0xbf58476d1ce4e5b9ULL;

	return (uint32_t)(x >> 32) & ~t->index_mask;
}

static uint32_t slot_get(const struct fakeip_table *t, uint32_t at)
{
	return atomic_load_explicit(&t->slots[at & t->slot_mask], memory_order_acquire);
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
void table_bind(struct fakeip_table *t, const struct binding *b, uint64_t hash, uint64_t record,
	uint32_t now_s)
{
	struct entry *e = &t->entries[b->index];

	atomic_store_explicit(&e->name, names_add(t, b->name, b->name_len), memory_order_release);
	atomic_store_explicit(&e->view, b->view, memory_order_release);
	atomic_store_explicit(&e->rule, b->rule, memory_order_release);
	atomic_store_explicit(&e->record, record, memory_order_release);
	atomic_store_explicit(&e->name_len, b->name_len, memory_order_release);
	/* A packet that comes just now is forgotten; the answer keeps the index for longer. */
	atomic_store_explicit(&e->last_packet_s, 0, memory_order_release);
	raise_to(&e->last_answer_s, now_s);
	e->hash = hash_fold(hash);
	slots_add(t, e->hash, b->view, b->index);
	atomic_fetch_add_explicit(&t->used, 1, memory_order_relaxed);
}

/* The entry is begun. Without a mapping nothing happens. */
void table_unbind(struct fakeip_table *t, uint32_t index)
{
	struct entry *e = &t->entries[index];
	uint16_t name_len = atomic_load_explicit(&e->name_len, memory_order_relaxed);

	if (!name_len)
		return;
	slots_remove(t, e->hash, index);
	names_remove(&t->names, atomic_load_explicit(&e->name, memory_order_relaxed), name_len);
	atomic_store_explicit(&e->name_len, 0, memory_order_release);
	atomic_fetch_sub_explicit(&t->used, 1, memory_order_relaxed);
}

/* An index for a new mapping, its entry begun and unbound; 0: none. Indexes that nobody ever had go
 * first. */
static uint32_t index_take(struct fakeip_table *t, uint32_t now_s)
{
	uint32_t fresh = atomic_load_explicit(&t->fresh, memory_order_relaxed), index;

	if (fresh < t->pool.end) {
		entry_begin(&t->entries[fresh]);
		atomic_store_explicit(&t->fresh, fresh + 1, memory_order_release);
		return fresh;
	}
	index = reuse_take(t, now_s);
	if (index)
		table_unbind(t, index);
	return index;
}

/* --- assigning --- */

/* The answer as the entry has it. A rule is only written when it changes, see raise_to(). */
static void tell(struct fakeip_table *t, uint32_t index, uint64_t record, uint64_t rule,
	struct fakeip_pair *ret)
{
	struct entry *e = &t->entries[index];

	if (atomic_load_explicit(&e->rule, memory_order_relaxed) != rule)
		atomic_store_explicit(&e->rule, rule, memory_order_relaxed);
	pool_pair(&t->pool, index, ret);
	ret->pending = record > atomic_load_explicit(&t->written, memory_order_acquire);
}

/* Without lock. False: the index may have been given to another name meanwhile, or is about to be;
 * then only its time was noted. See entry_take() in reuse.c for why the time is noted first. */
static bool answer_known(struct fakeip_table *t, uint32_t index, uint32_t sequence, uint64_t rule,
	uint32_t now_s, struct fakeip_pair *ret)
{
	struct entry *e = &t->entries[index];
	uint64_t record;

	raise_to(&e->last_answer_s, now_s);
	record = atomic_load_explicit(&e->record, memory_order_acquire);
	if (atomic_load(&e->sequence) != sequence)
		return false;
	tell(t, index, record, rule, ret);
	return true;
}

/* Under lock: nobody else rewrites entries, so what is found stays. */
static int assign_locked(struct fakeip_table *t, struct binding *b, uint64_t hash, uint32_t now_s,
	struct fakeip_pair *ret)
{
	struct entry *e;

	b->index = table_locate(t, b->name, b->name_len, hash, b->view);
	if (b->index) {
		e = &t->entries[b->index];
		raise_to(&e->last_answer_s, now_s);
	} else {
		b->index = index_take(t, now_s);
		if (!b->index) {
			atomic_fetch_add_explicit(&t->exhausted, 1, memory_order_relaxed);
			return -ENOSPC;
		}
		e = &t->entries[b->index];
		table_bind(t, b, hash, log_queue_record(t, b), now_s);
		entry_end(e);
	}
	tell(t, b->index, atomic_load_explicit(&e->record, memory_order_relaxed), b->rule, ret);
	return 0;
}

static int assign_new(struct fakeip_table *t, struct binding *b, uint64_t hash, uint32_t now_s,
	struct fakeip_pair *ret)
{
	int r;

	assert(!t->hash || t->hash(b->name, b->name_len, t->hash_key) == hash);
	if (!name_is_valid(b->name, b->name_len))
		return -EINVAL;
	table_lock(t);
	while (!log_has_room(t)) {
		table_unlock(t);
		log_make_room(t);
		table_lock(t);
	}
	r = assign_locked(t, b, hash, now_s, ret);
	table_unlock(t);
	return r;
}

int fakeip_assign(struct fakeip_table *t, const uint8_t *name, size_t name_len, uint64_t hash,
	uint64_t view, uint64_t rule, uint32_t now_s, struct fakeip_pair *ret)
{
	struct binding b = {.name = name, .view = view, .rule = rule};
	uint32_t sequence, index = slots_find(t, name, name_len, hash_fold(hash), view, &sequence);

	if (index && answer_known(t, index, sequence, rule, now_s, ret))
		return 0;
	if (name_len == 0 || name_len > FAKEIP_NAME_MAX)
		return -EINVAL;
	b.name_len = (uint16_t)name_len;
	return assign_new(t, &b, hash, now_s, ret);
}

/* --- looking up --- */

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
	ret->view = atomic_load_explicit(&e->view, memory_order_acquire);
	ret->rule = atomic_load_explicit(&e->rule, memory_order_acquire);
	ret->last_answer_s = atomic_load_explicit(&e->last_answer_s, memory_order_acquire);
	ret->last_packet_s = atomic_load_explicit(&e->last_packet_s, memory_order_acquire);
	ret->flows = atomic_load_explicit(&e->flows, memory_order_acquire);
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

	if (index < POOL_FIRST || index >= atomic_load_explicit(&t->fresh, memory_order_acquire))
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

		if (e->hash != home || !entry_is(t, e, name, name_len, e->view))
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
	uint32_t fresh = atomic_load_explicit(&t->fresh, memory_order_acquire);

	for (uint32_t i = after == UINT32_MAX ? 0 : after + 1; i < fresh; i++)
		if (fakeip_get(t, i, ret) == 0)
			return 0;
	return -ENOENT;
}

void fakeip_touch(struct fakeip_table *t, uint32_t index, uint32_t now_s)
{
	/* Only what was given out: a scan of the pool must not make the table resident. */
	if (index < atomic_load_explicit(&t->fresh, memory_order_acquire))
		raise_to(&t->entries[index].last_packet_s, now_s ? now_s : 1);
}

void fakeip_stats(const struct fakeip_table *t, uint32_t now_s, struct fakeip_stats *ret)
{
	uint32_t fresh = atomic_load_explicit(&t->fresh, memory_order_acquire);

	memset(ret, 0, sizeof *ret);
	ret->size = t->pool.end - POOL_FIRST;
	ret->used = atomic_load_explicit(&t->used, memory_order_relaxed);
	ret->exhausted = atomic_load_explicit(&t->exhausted, memory_order_relaxed);
	for (uint32_t i = POOL_FIRST; i < fresh; i++) {
		const struct entry *e = &t->entries[i];
		uint64_t live_until = (uint64_t)e->last_answer_s + t->ttl_s;

		if (e->name_len && !e->flows && live_until < now_s && reuse_free_at(t, e) > now_s)
			ret->in_hold++;
	}
}
