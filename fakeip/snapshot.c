/* A new file that holds only what is true now, in place of a log that has grown, or of one that
 * could not be written to any more.
 *
 * Entries are copied one by one while others change. What changes meanwhile is a record, and all of
 * these come behind the copies, in their order: for an index the last one wins, so it does not
 * matter which side of a change its copy shows. A log that has grown has these records in its own
 * tail; for one that is lost they are queued and kept in memory until the copies are written. */
#include "fakeip/fakeip_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES  ((size_t)64 * 1024)
#define TAIL_MAX     ((size_t)16 << 20)
#define ROUNDS_MAX   8 /* of tail and sync; what is left then is synced afterwards */
#define COMPACT_MIN  ((uint64_t)1 << 20)
#define COMPACT_PART 2

bool fakeip_wants_snapshot(const struct fakeip_table *t)
{
	uint64_t live = LOG_HEADER_SIZE + RECORD_HEAD + atomic_load(&t->log.live_bytes);
	uint64_t len = atomic_load(&t->log.len);

	if (!fakeip_is_persistent(t))
		return t->log.lost;
	return len > COMPACT_MIN && len > COMPACT_PART * live;
}

static void set_recording(struct fakeip_table *t, bool on)
{
	table_lock(t);
	t->log.recording = on;
	t->log.recording_full = false;
	if (!fakeip_is_persistent(t))
		t->log.queue.len = 0;
	table_unlock(t);
}

static void release(struct snapshot *s)
{
	region_unmap(s->chunk, CHUNK_BYTES);
	free(s->tail);
	memset(s, 0, sizeof *s);
}

void snapshot_drop(struct fakeip_table *t)
{
	if (t->snapshot.step == SNAPSHOT_IDLE)
		return;
	if (t->snapshot.recovery)
		set_recording(t, false);
	t->log.io.snapshot.drop(t->log.io.arg);
	release(&t->snapshot);
}

static int add(struct fakeip_table *t, const void *data, size_t len)
{
	ssize_t n = len ? t->log.io.snapshot.append(t->log.io.arg, data, len) : 0;

	if (n >= 0 && (size_t)n != len)
		return -EIO;
	t->snapshot.bytes += len;
	return n < 0 ? (int)n : 0;
}

static size_t encode(struct fakeip_table *t, struct record *r, uint8_t *to)
{
	r->frees = t->snapshot.frees;
	r->rebinds = t->snapshot.rebinds;
	return record_encode(&t->log.crc, t->log.seed, r, to);
}

/* --- the first step: from here on changes are records --- */

/* Limits are those that the log has told, or will have told when this file is in its place. */
static int begin(struct fakeip_table *t)
{
	struct snapshot *s = &t->snapshot;
	struct log *l = &t->log;
	struct record limits;
	int error;

	if (!l->io.snapshot.begin)
		return -ENOTSUP;
	error = l->io.snapshot.begin(l->io.arg);
	if (error)
		return error;
	s->step = SNAPSHOT_SCAN;
	s->next = UINT32_MAX;
	s->recovery = !fakeip_is_persistent(t);
	s->chunk = region_map(CHUNK_BYTES);
	if (!s->chunk)
		return -ENOMEM;
	if (s->recovery)
		set_recording(t, true);
	pthread_mutex_lock(&l->log_lock);
	table_lock(t);
	s->copied = atomic_load(&l->len);
	s->frees = l->frees;
	s->rebinds = l->rebinds;
	limits = log_limits(t, s->recovery ? t->fresh + log_ahead(t) : l->reserved_queued);
	table_unlock(t);
	pthread_mutex_unlock(&l->log_lock);
	log_header_encode(&l->crc, &t->pool, s->chunk);
	return add(t, s->chunk, LOG_HEADER_SIZE + encode(t, &limits, s->chunk + LOG_HEADER_SIZE));
}

/* --- copies --- */

static size_t encode_mapping(struct fakeip_table *t, const struct fakeip_mapping *m, uint8_t *to)
{
	struct record r = {.kind = m->flushed ? RECORD_KEPT : RECORD_BIND,
		.index = m->index,
		.name = m->name,
		.name_len = m->name_len,
		.view = m->view,
		.rule = m->rule};

	return encode(t, &r, to);
}

static int scan(struct fakeip_table *t)
{
	struct snapshot *s = &t->snapshot;
	struct fakeip_mapping m;
	size_t len = 0;

	while (CHUNK_BYTES - len >= RECORD_MAX) {
		if (fakeip_next(t, s->next, &m)) {
			s->step = SNAPSHOT_TAIL;
			break;
		}
		s->next = m.index;
		len += encode_mapping(t, &m, s->chunk + len);
	}
	return add(t, s->chunk, len);
}

/* --- what changed meanwhile: a lost log --- */

/* Under log_lock: of what nobody writes. */
static int keep(struct snapshot *s, const struct log_queue *q)
{
	size_t room = s->tail_room ? s->tail_room : CHUNK_BYTES;
	uint8_t *more;

	while (room < s->tail_len + q->len)
		room *= 2;
	if (room > TAIL_MAX)
		return -ENOSPC;
	if (room != s->tail_room) {
		more = realloc(s->tail, room);
		if (!more)
			return -ENOMEM;
		s->tail = more;
		s->tail_room = room;
	}
	memcpy(s->tail + s->tail_len, q->bytes, q->len);
	s->tail_len += q->len;
	return 0;
}

static int gather(struct fakeip_table *t)
{
	struct log *l = &t->log;
	int error;

	pthread_mutex_lock(&l->log_lock);
	table_lock(t);
	error = l->recording_full ? -EAGAIN : 0;
	(void)log_take_queue(t);
	table_unlock(t);
	if (!error)
		error = keep(&t->snapshot, &l->writing);
	pthread_mutex_unlock(&l->log_lock);
	return error;
}

static int add_gathered(struct fakeip_table *t)
{
	struct snapshot *s = &t->snapshot;
	int error = add(t, s->tail, s->tail_len);

	s->tail_len = 0;
	return error;
}

/* Everything that is in the new file counts as written. */
static void mark_stored(struct fakeip_table *t)
{
	for (uint32_t i = table_given_next(t, 0); i; i = table_given_next(t, i)) {
		uint32_t none = RECORD_NONE;

		if (t->entries[i].name_len)
			atomic_compare_exchange_strong(&t->entries[i].record, &none, RECORD_OLD);
	}
}

/* The log is there again for whoever makes a mapping after this; they commit, and wait for us. */
static int reopen(struct fakeip_table *t, uint64_t *ret_upto)
{
	struct log *l = &t->log;
	struct record limits;
	int error = 0;

	table_lock(t);
	if (l->recording_full) {
		error = -EAGAIN;
	} else {
		*ret_upto = log_take_queue(t);
		t->snapshot.frees = l->frees;
		t->snapshot.rebinds = l->rebinds;
		limits = log_limits(t, t->fresh + log_ahead(t));
		l->writing.len += encode(t, &limits, l->writing.bytes + l->writing.len);
		l->reserved = l->reserved_queued = (uint32_t)limits.low;
		l->recording = false;
		atomic_store(&l->written, *ret_upto);
		atomic_store(&l->persistent, true);
	}
	table_unlock(t);
	return error;
}

static void close_again(struct fakeip_table *t, uint32_t reserved)
{
	struct log *l = &t->log;

	table_lock(t);
	l->reserved = l->reserved_queued = reserved;
	l->queue.len = 0;
	atomic_store(&l->persistent, false);
	atomic_store(&l->written, UINT64_MAX);
	table_unlock(t);
}

/* --- what changed meanwhile: a log that has grown --- */

/* Behind `copied` up to what there is; a bounded part of it. *ret_more: there is more. */
static int add_tail(struct fakeip_table *t, bool *ret_more)
{
	struct snapshot *s = &t->snapshot;
	uint64_t more = atomic_load_explicit(&t->log.len, memory_order_acquire) - s->copied;
	size_t len = more < CHUNK_BYTES ? (size_t)more : CHUNK_BYTES;
	ssize_t n = len ? t->log.io.read(t->log.io.arg, s->copied, s->chunk, len) : 0;

	if (n < 0 || (size_t)n != len)
		return n < 0 ? (int)n : -EIO;
	s->copied += len;
	*ret_more = more > len;
	return add(t, s->chunk, len);
}

static int tail(struct fakeip_table *t)
{
	struct snapshot *s = &t->snapshot;
	bool more = false;
	int error = s->recovery ? add_gathered(t) : add_tail(t, &more);

	if (!more)
		s->step = SNAPSHOT_SYNC;
	return error;
}

/* --- the last step --- */

static int take_place(struct fakeip_table *t)
{
	struct snapshot *s = &t->snapshot;
	struct log *l = &t->log;
	int error = l->io.snapshot.become(l->io.arg);

	if (error)
		return error;
	atomic_store(&l->len, s->bytes);
	/* The last records, and the new name, are not yet known to be on the disk. */
	atomic_fetch_add(&l->appended, 1);
	atomic_store(&l->limits_at, atomic_load(&l->appended));
	return 0;
}

/* Under log_lock. */
static int finish_recovery(struct fakeip_table *t)
{
	struct log *l = &t->log;
	uint32_t reserved = l->reserved;
	uint64_t upto;
	int error = reopen(t, &upto);

	if (error)
		return error;
	error = add_gathered(t);
	if (!error)
		error = add(t, l->writing.bytes, l->writing.len);
	if (!error)
		error = take_place(t);
	if (error) {
		close_again(t, reserved);
		return error;
	}
	atomic_store(&l->lost, false);
	return 0;
}

/* Under log_lock. -EAGAIN: the log grew too much meanwhile. */
static int finish_compaction(struct fakeip_table *t)
{
	bool more = false;
	int error;

	if (!fakeip_is_persistent(t))
		return -ECANCELED;
	if (atomic_load(&t->log.len) - t->snapshot.copied > CHUNK_BYTES)
		return -EAGAIN;
	error = add_tail(t, &more);
	return error ? error : take_place(t);
}

/* Durable before it is the log: what is written since then is little or nothing. */
static int finish(struct fakeip_table *t)
{
	struct snapshot *s = &t->snapshot;
	struct log *l = &t->log;
	bool recovery = s->recovery;
	int error = l->io.snapshot.sync(l->io.arg);

	if (error)
		return error;
	if ((recovery ? s->tail_len > 0 : atomic_load(&l->len) != s->copied) &&
		s->rounds++ < ROUNDS_MAX) {
		s->step = SNAPSHOT_TAIL;
		return 1;
	}
	pthread_mutex_lock(&l->log_lock);
	error = recovery ? finish_recovery(t) : finish_compaction(t);
	pthread_mutex_unlock(&l->log_lock);
	if (error == -EAGAIN && !recovery) {
		s->step = SNAPSHOT_TAIL;
		return 1;
	}
	if (error)
		return error;
	release(s);
	mark_stored(t);
	if (recovery)
		reuse_look_again(t);
	return fakeip_sync(t);
}

int fakeip_snapshot_step(struct fakeip_table *t)
{
	struct snapshot *s = &t->snapshot;
	int r = 0;

	if (s->step != SNAPSHOT_IDLE && s->recovery)
		r = gather(t);
	else if (!fakeip_is_persistent(t))
		snapshot_drop(t); /* of a log that is lost meanwhile: from the start */
	if (r == 0) {
		switch (s->step) {
		case SNAPSHOT_IDLE:
			r = begin(t);
			break;
		case SNAPSHOT_SCAN:
			r = scan(t);
			break;
		case SNAPSHOT_TAIL:
			r = tail(t);
			break;
		case SNAPSHOT_SYNC:
			r = finish(t);
			if (r <= 0 && s->step == SNAPSHOT_IDLE)
				return r;
			break;
		}
	}
	if (r < 0) {
		snapshot_drop(t);
		return r;
	}
	return 1;
}

int snapshot_run(struct fakeip_table *t)
{
	int r = 1;

	while (r > 0)
		r = fakeip_snapshot_step(t);
	return r;
}
