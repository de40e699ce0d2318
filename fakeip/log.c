/* The log: records of new mappings are queued under the table's lock and written by whoever commits
 * first; the rest wait for that write and find theirs done. Two buffers: one fills while the other
 * is being written. */
#include "fakeip/fakeip_internal.h"

#include <errno.h>
#include <string.h>

#define QUEUE_BYTES ((size_t)128 * 1024)

/* --- writing --- */

bool fakeip_is_persistent(const struct fakeip_table *t)
{
	return atomic_load_explicit(&t->persistent, memory_order_acquire);
}

bool log_has_room(const struct fakeip_table *t)
{
	return !fakeip_is_persistent(t) || QUEUE_BYTES - t->queue.len >= RECORD_MAX;
}

uint64_t log_queue_record(struct fakeip_table *t, const struct binding *b)
{
	uint64_t number = atomic_load_explicit(&t->queued, memory_order_relaxed) + 1;

	if (!fakeip_is_persistent(t))
		return 0;
	t->queue.len += record_encode(&t->crc, t->record_seed, b, t->queue.bytes + t->queue.len);
	atomic_store_explicit(&t->queued, number, memory_order_release);
	return number;
}

/* From here on there is nothing to wait for. What the failed write left behind is cut off if that
 * is still possible; if not, the next load finds a torn tail. */
static void give_up(struct fakeip_table *t)
{
	atomic_store_explicit(&t->persistent, false, memory_order_release);
	atomic_store_explicit(&t->written, UINT64_MAX, memory_order_release);
	(void)t->io.truncate(t->io.arg, t->log_len);
}

static int append(struct fakeip_table *t, const void *data, size_t len)
{
	ssize_t n = t->io.append(t->io.arg, data, len);

	if (n < 0 || (size_t)n != len) {
		give_up(t);
		return n < 0 ? (int)n : -EIO;
	}
	t->log_len += len;
	return 0;
}

/* Under log_lock. */
static int write_queue(struct fakeip_table *t)
{
	struct log_queue full;
	uint64_t upto;
	int r;

	pthread_mutex_lock(&t->lock);
	full = t->queue;
	t->queue = t->writing;
	t->queue.len = 0;
	t->writing = full;
	upto = atomic_load_explicit(&t->queued, memory_order_relaxed);
	pthread_mutex_unlock(&t->lock);
	r = append(t, full.bytes, full.len);
	if (r == 0)
		atomic_store_explicit(&t->written, upto, memory_order_release);
	return r;
}

static int commit(struct fakeip_table *t)
{
	uint64_t mine = atomic_load_explicit(&t->queued, memory_order_acquire);
	int r = 0;

	if (atomic_load_explicit(&t->written, memory_order_acquire) >= mine)
		return 0;
	pthread_mutex_lock(&t->log_lock);
	if (atomic_load_explicit(&t->written, memory_order_relaxed) < mine)
		r = write_queue(t);
	pthread_mutex_unlock(&t->log_lock);
	return r;
}

void log_make_room(struct fakeip_table *t)
{
	int r = commit(t);

	if (r < 0)
		atomic_store(&t->log_error, r);
}

int fakeip_commit(struct fakeip_table *t)
{
	int r = commit(t);

	if (r == 0 && atomic_load_explicit(&t->log_error, memory_order_relaxed))
		r = atomic_exchange(&t->log_error, 0);
	return r;
}

void log_fini(struct fakeip_table *t)
{
	region_unmap(t->queue.bytes, QUEUE_BYTES);
	region_unmap(t->writing.bytes, QUEUE_BYTES);
}

/* --- loading --- */

typedef void scan_visit(struct fakeip_table *t, const struct binding *b, void *arg);

struct scan {
	uint32_t seed;
	scan_visit *visit; /* each whole record */
	void *arg;

	uint32_t records, damaged;
	uint64_t damaged_bytes;
	size_t whole; /* end of the last whole record */
};

/* Walks over the records. Damage is skipped to the next mark with a whole record behind it; each
 * mark that is passed counts as a lost record. */
static void scan(struct fakeip_table *t, const uint8_t *data, size_t len, struct scan *s)
{
	size_t at = LOG_HEADER_SIZE;
	struct binding b;

	s->whole = at;
	while (at < len) {
		size_t size = record_decode(&t->crc, s->seed, data + at, len - at, &b);

		if (size) {
			at += size;
			s->whole = at;
			s->records++;
			s->visit(t, &b, s->arg);
		} else {
			size_t next = record_search(data, len, at + 1);

			s->damaged++;
			s->damaged_bytes += next - at;
			at = next;
		}
	}
}

struct load {
	uint32_t now_s;
	uint32_t beyond; /* no index from here on was ever given out, as far as the file tells */
	uint32_t outside;
	const uint8_t *old_header;
};

/* The last record wins, and both what its index meant before and where its name was before are
 * forgotten. */
static void bind_record(struct fakeip_table *t, const struct binding *b, void *arg)
{
	struct load *l = arg;
	uint64_t hash;
	uint32_t old;

	if (b->index < POOL_FIRST || b->index >= t->pool.end) {
		l->outside++;
		return;
	}
	if (b->index >= l->beyond) {
		l->beyond = b->index + 1;
		atomic_store_explicit(&t->fresh, l->beyond, memory_order_relaxed);
	}
	hash = t->hash(b->name, b->name_len, t->hash_key);
	old = table_locate(t, b->name, b->name_len, hash, b->view);
	if (old && old != b->index) {
		entry_begin(&t->entries[old]);
		table_unbind(t, old);
		entry_end(&t->entries[old]);
	}
	entry_begin(&t->entries[b->index]);
	table_unbind(t, b->index);
	table_bind(t, b, hash, 0, l->now_s);
	entry_end(&t->entries[b->index]);
}

/* The log of other pools: its mappings go, but clients still have their addresses; where those lie
 * in the new pools the indexes are not given out as new. */
static void note_record(struct fakeip_table *t, const struct binding *b, void *arg)
{
	struct load *l = arg;
	struct fakeip_pair pair;
	struct pool old;
	uint32_t index;

	log_header_decode(l->old_header, &old);
	pool_pair(&old, b->index, &pair);
	if (pair.has4 && fakeip_index4(t, pair.v4, &index) && index >= l->beyond)
		l->beyond = index + 1;
	if (pair.has6 && fakeip_index6(t, pair.v6, &index) && index >= l->beyond)
		l->beyond = index + 1;
}

/* Damage of so many bytes held at most so many records, so the indexes they may have meant are
 * passed over. Indexes below that have no mapping wait for the hold like any other. */
static void set_fresh(struct fakeip_table *t, const struct load *l, uint64_t damaged_bytes)
{
	uint64_t fresh = l->beyond + (damaged_bytes + RECORD_MIN - 1) / RECORD_MIN;

	fresh = fresh < t->pool.end ? fresh : t->pool.end;
	for (uint32_t i = POOL_FIRST; i < fresh; i++)
		atomic_store_explicit(&t->entries[i].last_answer_s, l->now_s, memory_order_relaxed);
	atomic_store_explicit(&t->fresh, (uint32_t)fresh, memory_order_release);
}

/* Reads what there is; the size that the file is to be cut to, 0: start anew. A damaged header
 * costs nothing: whole records prove whose file it is. */
static size_t read_log(struct fakeip_table *t, const uint8_t *data, size_t len, const uint8_t *ours,
	uint32_t now_s, struct fakeip_load_result *ret)
{
	struct load l = {.now_s = now_s, .beyond = POOL_FIRST, .old_header = data};
	struct scan s = {.seed = t->record_seed, .visit = bind_record, .arg = &l};

	if (len < LOG_HEADER_SIZE) {
		/* Killed while it was made: nobody had an address yet. */
		ret->foreign = memcmp(data, ours, len) != 0;
		return 0;
	}
	if (log_header_is_whole(&t->crc, data) && memcmp(data, ours, LOG_HEADER_SIZE) != 0) {
		s.seed = log_record_seed(&t->crc, data);
		s.visit = note_record;
		ret->foreign = true;
	}
	scan(t, data, len, &s);
	if (!ret->foreign && !s.records && memcmp(data, ours, LOG_HEADER_SIZE) != 0) {
		ret->foreign = true;
		return 0;
	}
	set_fresh(t, &l, s.damaged_bytes);
	ret->loaded = atomic_load_explicit(&t->used, memory_order_relaxed);
	ret->lost = s.damaged + l.outside + (ret->foreign ? s.records : 0);
	return ret->foreign ? 0 : s.whole;
}

/* The file as it is from now on: cut behind what was whole, or only a header. */
static int open_log(struct fakeip_table *t, size_t len, size_t keep, const uint8_t *header)
{
	int r = 0;

	if (keep < len)
		r = t->io.truncate(t->io.arg, keep);
	if (r < 0)
		return r;
	t->log_len = keep;
	return keep ? 0 : append(t, header, LOG_HEADER_SIZE);
}

int fakeip_load(struct fakeip_table *t, const void *data, size_t len, uint32_t now_s,
	const struct fakeip_log_io *io, struct fakeip_load_result *ret)
{
	uint8_t header[LOG_HEADER_SIZE];
	size_t keep;
	int r;

	memset(ret, 0, sizeof *ret);
	if (!t->hash)
		return -EINVAL;
	t->queue.bytes = region_map(QUEUE_BYTES);
	t->writing.bytes = region_map(QUEUE_BYTES);
	if (!t->queue.bytes || !t->writing.bytes)
		return -ENOMEM;
	t->io = *io;
	log_header_encode(&t->crc, &t->pool, header);
	t->record_seed = log_record_seed(&t->crc, header);
	keep = len ? read_log(t, data, len, header, now_s, ret) : 0;
	r = open_log(t, len, keep, header);
	if (r < 0)
		return r;
	atomic_store(&t->written, 0);
	atomic_store(&t->persistent, true);
	return 0;
}
