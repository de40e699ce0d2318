/* Writing the log: records are queued under the table's lock and written by whoever commits first;
 * the rest wait for that write and find theirs done. Two buffers: one fills while the other is
 * being written. */
#include "fakeip/fakeip_internal.h"

#include <errno.h>
#include <string.h>

#define QUEUE_BYTES ((size_t)128 * 1024)
/* A mapping, new limits, and what reuse.c frees at once. */
#define ROOM_BYTES (RECORD_MAX + (REUSE_AHEAD + 2) * RECORD_HEAD)

#define AHEAD_PART 16 /* of the pool */
#define AHEAD_MAX  4096

int log_init(struct fakeip_table *t, const struct fakeip_log_io *io)
{
	struct log *l = &t->log;
	uint8_t header[LOG_HEADER_SIZE];

	l->queue.bytes = region_map(QUEUE_BYTES);
	l->writing.bytes = region_map(QUEUE_BYTES);
	if (!l->queue.bytes || !l->writing.bytes)
		return -ENOMEM;
	l->io = *io;
	l->queued = l->written_before = RECORD_OLD;
	crc32c_init(&l->crc);
	log_header_encode(&l->crc, &t->pool, header);
	l->seed = log_record_seed(&l->crc, header);
	l->lost = true; /* until it is written to */
	return 0;
}

void log_fini(struct fakeip_table *t)
{
	region_unmap(t->log.queue.bytes, QUEUE_BYTES);
	region_unmap(t->log.writing.bytes, QUEUE_BYTES);
}

bool fakeip_is_persistent(const struct fakeip_table *t)
{
	return atomic_load_explicit(&t->log.persistent, memory_order_acquire);
}

/* --- queueing: under lock --- */

bool log_has_room(const struct fakeip_table *t)
{
	return !fakeip_is_persistent(t) || QUEUE_BYTES - t->log.queue.len >= ROOM_BYTES;
}

/* Low bits never look like RECORD_NONE or RECORD_OLD. */
static uint64_t next_number(uint64_t number)
{
	number++;
	return (uint32_t)number <= RECORD_OLD ? number + RECORD_OLD + 1 - (uint32_t)number : number;
}

uint32_t log_queue_record(struct fakeip_table *t, struct record *r)
{
	struct log *l = &t->log;
	uint64_t number = next_number(atomic_load_explicit(&l->queued, memory_order_relaxed));

	l->frees = (uint16_t)(l->frees + (r->kind == RECORD_FREE));
	l->rebinds = (uint8_t)(l->rebinds + (r->kind == RECORD_REBIND));
	if (!fakeip_is_persistent(t)) {
		if (l->recording && QUEUE_BYTES - l->queue.len < ROOM_BYTES)
			l->recording_full = true;
		if (!l->recording || l->recording_full)
			return RECORD_NONE;
	}
	r->frees = l->frees;
	r->rebinds = l->rebinds;
	l->queue.len += record_encode(&l->crc, l->seed, r, l->queue.bytes + l->queue.len);
	if (r->kind == RECORD_FREE)
		l->freed = number;
	atomic_store_explicit(&l->queued, number, memory_order_release);
	return (uint32_t)number;
}

/* --- limits: under lock --- */

uint32_t log_ahead(const struct fakeip_table *t)
{
	uint32_t part = (t->pool.end - POOL_FIRST) / AHEAD_PART;

	return part > AHEAD_MAX ? AHEAD_MAX : part ? part : 1;
}

struct record log_limits(const struct fakeip_table *t, uint32_t low)
{
	uint32_t top = atomic_load_explicit(&t->top, memory_order_relaxed);

	return (struct record){.kind = RECORD_LIMITS,
		.low = (uint64_t)t->ttl_most_s << 32 | (low < top ? low : top),
		.ends = (uint64_t)t->pool.end << 32 | top};
}

/* New limits are queued when half of what was told ahead is used up, so usually nobody waits for
 * them, and a sync in time makes them last before they matter. */
bool log_reserves(struct fakeip_table *t, uint32_t index)
{
	struct log *l = &t->log;
	uint32_t ahead = log_ahead(t);

	if (fakeip_is_persistent(t) && index + ahead / 2 >= l->reserved_queued &&
		l->reserved_queued < atomic_load_explicit(&t->top, memory_order_relaxed)) {
		struct record r = log_limits(t, index + ahead);

		log_queue_record(t, &r);
		l->reserved_queued = (uint32_t)r.low;
	}
	return index < l->reserved || (!fakeip_is_persistent(t) && !l->lost);
}

bool log_waits(const struct fakeip_table *t)
{
	const struct log *l = &t->log;

	if (!fakeip_is_persistent(t))
		return false;
	return l->freed > atomic_load_explicit(&l->written, memory_order_acquire) ||
	       (l->reserved < l->reserved_queued && atomic_load(&t->fresh) >= l->reserved &&
		       atomic_load(&t->fresh) < atomic_load(&t->top));
}

bool log_keeps(const struct fakeip_table *t, const struct entry *e)
{
	uint32_t record = atomic_load_explicit(&e->record, memory_order_relaxed);

	if (!atomic_load_explicit(&t->log.lost, memory_order_relaxed))
		return false;
	return record == RECORD_OLD ||
	       (record != RECORD_NONE && (int32_t)(record - (uint32_t)t->log.written_before) <= 0);
}

/* --- writing --- */

/* An entry's number is compared by its low bits: two thousand million records later it would look
 * pending, and a commit would find nothing to do. */
bool log_is_pending(const struct fakeip_table *t, uint32_t record)
{
	uint64_t written = atomic_load_explicit(&t->log.written, memory_order_acquire);

	return written != UINT64_MAX && record > RECORD_OLD &&
	       (int32_t)(record - (uint32_t)written) > 0;
}

/* From here on there is nothing to wait for. What the failed write left behind is cut off if that
 * is still possible; if not, the next load finds a torn tail. Under log_lock. */
static void give_up(struct fakeip_table *t)
{
	struct log *l = &t->log;
	uint64_t written = atomic_load_explicit(&l->written, memory_order_relaxed);

	table_lock(t);
	if (written != UINT64_MAX)
		l->written_before = written;
	l->reserved_queued = l->reserved;
	l->queue.len = 0;
	atomic_store_explicit(&l->lost, true, memory_order_release);
	atomic_store_explicit(&l->persistent, false, memory_order_release);
	atomic_store_explicit(&l->written, UINT64_MAX, memory_order_release);
	table_unlock(t);
	(void)l->io.truncate(l->io.arg, l->len);
}

int log_append(struct fakeip_table *t, const void *data, size_t len)
{
	struct log *l = &t->log;
	ssize_t n = l->io.append(l->io.arg, data, len);

	if (n < 0 || (size_t)n != len) {
		give_up(t);
		return n < 0 ? (int)n : -EIO;
	}
	atomic_fetch_add_explicit(&l->len, len, memory_order_relaxed);
	atomic_fetch_add_explicit(&l->appended, len, memory_order_release);
	return 0;
}

uint64_t log_take_queue(struct fakeip_table *t)
{
	struct log *l = &t->log;
	struct log_queue full = l->queue;

	l->queue = l->writing;
	l->queue.len = 0;
	l->writing = full;
	return atomic_load_explicit(&l->queued, memory_order_relaxed);
}

/* Under log_lock. */
static int write_queue(struct fakeip_table *t)
{
	struct log *l = &t->log;
	uint32_t reserved;
	bool freed;
	uint64_t upto;
	int r;

	table_lock(t);
	upto = log_take_queue(t);
	reserved = l->reserved_queued;
	freed = l->freed > atomic_load_explicit(&l->written, memory_order_relaxed);
	table_unlock(t);
	r = log_append(t, l->writing.bytes, l->writing.len);
	if (r < 0)
		return r;
	table_lock(t);
	if (reserved != l->reserved || freed)
		atomic_store(&l->limits_at, atomic_load(&l->appended));
	l->reserved = reserved;
	atomic_store_explicit(&l->written, upto, memory_order_release);
	table_unlock(t);
	return 0;
}

static int commit(struct fakeip_table *t)
{
	struct log *l = &t->log;
	uint64_t mine = atomic_load_explicit(&l->queued, memory_order_acquire);
	int r = 0;

	if (atomic_load_explicit(&l->written, memory_order_acquire) >= mine)
		return 0;
	pthread_mutex_lock(&l->log_lock);
	if (atomic_load_explicit(&l->written, memory_order_relaxed) < mine)
		r = write_queue(t);
	pthread_mutex_unlock(&l->log_lock);
	return r;
}

void log_make_room(struct fakeip_table *t)
{
	int r = commit(t);

	if (r < 0)
		atomic_store(&t->log.error, r);
}

int fakeip_commit(struct fakeip_table *t)
{
	int r = commit(t);

	if (r == 0 && atomic_load_explicit(&t->log.error, memory_order_relaxed))
		r = atomic_exchange(&t->log.error, 0);
	return r;
}

void log_tell_ttl(struct fakeip_table *t, uint32_t ttl_s)
{
	struct record r;
	bool told = false;

	while (!told) {
		table_lock(t);
		told = ttl_s <= t->ttl_most_s || log_has_room(t);
		if (told && ttl_s > t->ttl_most_s) {
			t->ttl_most_s = ttl_s;
			r = log_limits(t, t->log.reserved_queued);
			log_queue_record(t, &r);
		}
		table_unlock(t);
		log_make_room(t);
	}
}

/* --- making it last: the owner's thread --- */

bool fakeip_dirty(const struct fakeip_table *t)
{
	return fakeip_is_persistent(t) && t->log.io.sync &&
	       atomic_load(&t->log.appended) != atomic_load(&t->log.synced);
}

bool fakeip_dirty_limits(const struct fakeip_table *t)
{
	return fakeip_dirty(t) && atomic_load(&t->log.limits_at) > atomic_load(&t->log.synced);
}

/* A sync that failed may have lost what it was to write. */
int fakeip_sync(struct fakeip_table *t)
{
	struct log *l = &t->log;
	uint64_t appended = atomic_load_explicit(&l->appended, memory_order_acquire);
	int r;

	if (!fakeip_dirty(t))
		return 0;
	r = l->io.sync(l->io.arg);
	if (r == 0) {
		atomic_store(&l->synced, appended);
		return 0;
	}
	pthread_mutex_lock(&l->log_lock);
	if (!fakeip_is_persistent(t))
		r = 0; /* told by a write */
	else
		give_up(t);
	pthread_mutex_unlock(&l->log_lock);
	return r;
}

void fakeip_close(struct fakeip_table *t)
{
	struct record r;

	snapshot_drop(t);
	(void)commit(t);
	if (!fakeip_is_persistent(t))
		return;
	table_lock(t);
	r = log_limits(t, atomic_load(&t->fresh));
	log_queue_record(t, &r);
	t->log.reserved_queued = (uint32_t)r.low;
	table_unlock(t);
	if (commit(t) == 0)
		(void)fakeip_sync(t);
}
