/* Reading the log at the start: what it says is made true, what it cannot say any more is not given
 * out for the hold. */
#include "fakeip/fakeip_internal.h"

#include <errno.h>
#include <string.h>

#define TTL_MAX_S (7 * 86400) /* no resolver believes more (RFC 8767, section 4) */

struct load {
	uint32_t now_s;
	struct pool_shift shift; /* from the file's pools to ours */
	bool moved;

	/* What the file says was given out, in its own pools: below `low`, and `top` to `end`. */
	uint32_t low, low_most, top, end, ttl_s;
	uint32_t beyond, least, most; /* as the mappings show: all below; from least to most */
	/* Where the last whole record left the counts. */
	uint16_t frees;
	uint8_t rebinds;
	uint64_t damaged_bytes; /* in all, and since the last whole record */
	size_t gap_bytes;
	size_t whole; /* end of the last whole record */
	uint32_t records;
	struct fakeip_load_result *ret;
};

/* --- records --- */

static void unbind(struct fakeip_table *t, uint32_t index)
{
	entry_begin(&t->entries[index]);
	table_unbind(t, index);
	entry_end(&t->entries[index]);
}

/* Outside of the limits that were told are the names that were made while a lost log came back,
 * from the top, and those whose limits are missing. */
static void note_given(struct load *l, uint32_t index)
{
	uint32_t low = l->low_most > l->beyond ? l->low_most : l->beyond;
	uint32_t top = l->top < l->least ? l->top : l->least;
	bool from_top = index >= low && top != UINT32_MAX &&
			(index >= top || index - low > top - 1 - index);

	if (from_top && index < l->least)
		l->least = index;
	if (from_top && index > l->most)
		l->most = index;
	if (!from_top && index >= l->beyond)
		l->beyond = index + 1;
}

/* The last record wins. A name that has moved was flushed, as the record of its old index's new
 * name is not missing: see check_gap(). */
static void load_bind(struct fakeip_table *t, struct load *l, struct record *b)
{
	uint64_t hash = t->hash(b->name, b->name_len, t->hash_key);
	uint16_t view, rule;
	uint32_t old;

	note_given(l, b->index);
	b->index = l->shift.fits ? pool_shifted(&t->pool, b->index,
					   l->shift.has4 ? l->shift.by4 : l->shift.by6)
				 : 0;
	if (!b->index || !ids_number(t, b->view, 0, &view) ||
		!ids_number(t, b->rule, view, &rule)) {
		l->ret->dropped++;
		return;
	}
	old = b->kind == RECORD_KEPT ? 0 : table_locate(t, b->name, b->name_len, hash, b->view);
	if (old && old != b->index) {
		entry_begin(&t->entries[old]);
		table_set_flushed(t, old);
		entry_end(&t->entries[old]);
	}
	entry_begin(&t->entries[b->index]);
	table_unbind(t, b->index);
	table_bind(t, b, hash, RECORD_OLD, view, rule, l->now_s);
	if (b->kind == RECORD_KEPT)
		table_set_flushed(t, b->index);
	entry_end(&t->entries[b->index]);
}

static uint32_t here(const struct fakeip_table *t, const struct load *l, uint64_t index)
{
	uint32_t shifted;

	if (!l->shift.fits || index > UINT32_MAX)
		return 0;
	shifted = pool_shifted(
		&t->pool, (uint32_t)index, l->shift.has4 ? l->shift.by4 : l->shift.by6);
	return shifted && t->entries[shifted].name_len ? shifted : 0;
}

static void load_flush(struct fakeip_table *t, const struct load *l, const struct record *r)
{
	uint32_t index = here(t, l, r->index);

	if (!index || t->entries[index].flushed)
		return;
	entry_begin(&t->entries[index]);
	table_set_flushed(t, index);
	entry_end(&t->entries[index]);
}

static void load_free(struct fakeip_table *t, const struct load *l, const struct record *r)
{
	for (unsigned i = 0; i < 64; i++) {
		uint32_t index = r->bits >> i & 1 ? here(t, l, (uint64_t)r->index + i) : 0;

		if (index)
			unbind(t, index);
	}
}

/* The last limits are exact; those before count again when records are missing. Indexes from the
 * top are only known as such while the pools stay what they are. */
static void load_limits(struct load *l, const struct record *r)
{
	uint32_t low = (uint32_t)r->low, ttl_s = (uint32_t)(r->low >> 32);
	uint32_t top = (uint32_t)r->ends, end = (uint32_t)(r->ends >> 32);

	if (low < POOL_FIRST || low > top || top > end || end > POOL_FIRST + POOL_MAX_SIZE)
		return;
	ttl_s = ttl_s < TTL_MAX_S ? ttl_s : TTL_MAX_S;
	l->ttl_s = ttl_s > l->ttl_s ? ttl_s : l->ttl_s;
	l->low = low;
	l->low_most = low > l->low_most ? low : l->low_most;
	l->top = top;
	l->end = end;
}

/* Between two whole records something is missing. If both a FREE and a REBIND may be, a name that
 * was read before may have had its index taken: then none of them is believed. (One without the
 * other does no harm: the name is gone, or the new one is there.) */
static void check_gap(struct fakeip_table *t, const struct load *l, const struct record *next)
{
	uint16_t frees = (uint16_t)(next->frees - l->frees - (next->kind == RECORD_FREE));
	uint8_t rebinds = (uint8_t)(next->rebinds - l->rebinds - (next->kind == RECORD_REBIND));
	bool counted = l->gap_bytes < (size_t)UINT8_MAX * RECORD_HEAD;

	if ((!next->frees && !l->frees) || (counted && (!frees || !rebinds)))
		return;
	for (uint32_t i = table_given_next(t, 0); i; i = table_given_next(t, i)) {
		l->ret->lost += t->entries[i].name_len != 0;
		unbind(t, i);
	}
}

static void load_record(struct fakeip_table *t, struct load *l, struct record *r)
{
	if (l->gap_bytes)
		check_gap(t, l, r);
	l->frees = r->frees;
	l->rebinds = r->rebinds;
	l->gap_bytes = 0;
	l->records++;
	switch (r->kind) {
	case RECORD_BIND:
	case RECORD_REBIND:
	case RECORD_KEPT:
		load_bind(t, l, r);
		break;
	case RECORD_FLUSH:
		load_flush(t, l, r);
		break;
	case RECORD_FREE:
		load_free(t, l, r);
		break;
	case RECORD_LIMITS:
		load_limits(l, r);
		break;
	}
}

/* Walks over the records. Damage is skipped to the next mark with a whole record behind it; each
 * mark that is passed counts as a lost record. */
static void scan(
	struct fakeip_table *t, uint32_t seed, const uint8_t *data, size_t len, struct load *l)
{
	size_t at = l->whole = LOG_HEADER_SIZE;
	struct record r;

	while (at < len) {
		size_t size = record_decode(&t->log.crc, seed, data + at, len - at, &r);

		if (size) {
			at += size;
			l->whole = at;
			load_record(t, l, &r);
		} else {
			size_t next = record_search(data, len, at + 1);

			l->ret->lost++;
			l->damaged_bytes += next - at;
			l->gap_bytes += next - at;
			at = next;
		}
	}
}

/* --- what was given out --- */

/* The part of from to upto - 1 of the old pools that lies in ours. */
static void reserve_by(
	const struct fakeip_table *t, uint32_t from, uint32_t upto, int64_t by, uint32_t *fresh)
{
	int64_t first = (int64_t)from + by, end = (int64_t)upto + by;

	if (from >= upto || end <= POOL_FIRST || first >= t->pool.end)
		return;
	end = end < t->pool.end ? end : t->pool.end;
	if (end > *fresh)
		*fresh = (uint32_t)end;
}

static void reserve(const struct fakeip_table *t, const struct load *l, uint32_t from,
	uint32_t upto, uint32_t *fresh)
{
	if (l->shift.has4)
		reserve_by(t, from, upto, l->shift.by4, fresh);
	if (l->shift.has6)
		reserve_by(t, from, upto, l->shift.by6, fresh);
}

/* Everything that was given out counts as answered now, also what has no name (any more), and
 * perhaps with a longer TTL than ours. */
static void answered_now(struct fakeip_table *t, const struct load *l)
{
	atomic_store(&t->start_s, l->now_s);
	if (l->ttl_s <= t->ttl_most_s)
		return;
	t->ttl_most_s = l->ttl_s;
	atomic_store(&t->start_until_s, l->now_s + l->ttl_s);
}

/* Damage of so many bytes held at most so many records, and perhaps limits: the indexes they may
 * have meant are passed over. */
static void set_given(struct fakeip_table *t, struct load *l)
{
	uint64_t low = l->low > l->beyond ? l->low : l->beyond;
	uint32_t top = l->top < l->least ? l->top : l->least, fresh = POOL_FIRST;
	bool top_stays = !l->moved && l->end == t->pool.end;

	if (l->damaged_bytes) {
		low = l->low_most > low ? l->low_most : low;
		low += l->damaged_bytes / RECORD_HEAD + 1 + log_ahead(t);
	}
	low = low < POOL_FIRST + POOL_MAX_SIZE ? low : POOL_FIRST + POOL_MAX_SIZE;
	reserve(t, l, POOL_FIRST, (uint32_t)low, &fresh);
	if (!top_stays)
		reserve(t, l, top, l->end > l->most ? l->end : l->most + 1, &fresh);
	if (!top_stays || top > t->pool.end)
		top = t->pool.end;
	if (fresh > top)
		fresh = top;
	atomic_store_explicit(&t->top, top, memory_order_release);
	atomic_store_explicit(&t->fresh, fresh, memory_order_release);
	answered_now(t, l);
}

/* At most half of the pool waits for the hold. */
static uint32_t skip(const struct fakeip_table *t)
{
	uint32_t half = (t->pool.end - POOL_FIRST) / 2;

	return half ? (uint32_t)(t->seed % half) : 0;
}

void fakeip_start_anywhere(struct fakeip_table *t, uint32_t now_s)
{
	atomic_store(&t->fresh, POOL_FIRST + skip(t));
	atomic_store(&t->start_s, now_s);
}

/* --- the file --- */

enum plan {
	PLAN_ANEW,   /* nothing of it is kept */
	PLAN_GO_ON,  /* cut behind the last whole record */
	PLAN_REWRITE /* a snapshot takes its place */
};

/* A damaged header costs nothing: whole records prove whose file it is. */
static enum plan read_log(struct fakeip_table *t, const uint8_t *data, size_t len,
	const uint8_t *ours, struct load *l)
{
	bool same = len >= LOG_HEADER_SIZE && memcmp(data, ours, LOG_HEADER_SIZE) == 0;
	uint32_t seed = t->log.seed;
	struct pool old = t->pool;

	if (len < LOG_HEADER_SIZE && memcmp(data, ours, len) == 0)
		return PLAN_ANEW; /* killed while it was made: nobody had an address yet */
	l->ret->foreign = len < LOG_HEADER_SIZE;
	if (!l->ret->foreign && !same && log_header_is_whole(&t->log.crc, data)) {
		log_header_decode(data, &old);
		seed = log_record_seed(&t->log.crc, data);
		l->moved = l->ret->moved = true;
	}
	l->shift = pool_shift(&old, &t->pool);
	l->top = l->least = UINT32_MAX;
	l->end = t->pool.end;
	atomic_store(&t->fresh, t->pool.end); /* all that is loaded; see set_given() */
	if (!l->ret->foreign)
		scan(t, seed, data, len, l);
	atomic_store(&t->fresh, POOL_FIRST);
	l->ret->foreign |= !same && !l->moved && !l->records;
	if (l->ret->foreign) {
		l->ret->lost = 0;
		fakeip_start_anywhere(t, l->now_s);
		return PLAN_ANEW;
	}
	set_given(t, l);
	l->ret->loaded = atomic_load_explicit(&t->used, memory_order_relaxed);
	t->log.frees = l->frees;
	t->log.rebinds = l->rebinds;
	return same ? PLAN_GO_ON : PLAN_REWRITE;
}

/* The limits for this start, behind a header if the file has none. */
static int begin_log(struct fakeip_table *t, const uint8_t *header, bool fresh_file)
{
	uint8_t bytes[LOG_HEADER_SIZE + RECORD_MAX];
	struct log *l = &t->log;
	struct record r = log_limits(t, atomic_load(&t->fresh) + log_ahead(t));
	size_t at = fresh_file ? LOG_HEADER_SIZE : 0;
	int error;

	memcpy(bytes, header, LOG_HEADER_SIZE);
	r.frees = l->frees;
	r.rebinds = l->rebinds;
	error = log_append(t, bytes, at + record_encode(&l->crc, l->seed, &r, bytes + at));
	if (error)
		return error;
	l->reserved = l->reserved_queued = (uint32_t)r.low;
	atomic_store(&l->written, RECORD_OLD);
	atomic_store(&l->lost, false);
	atomic_store(&l->persistent, true);
	return fakeip_sync(t);
}

/* What could not be said ahead of the failure is what was read. */
static int open_log(struct fakeip_table *t, size_t len, enum plan plan, const struct load *l)
{
	uint8_t header[LOG_HEADER_SIZE];
	size_t keep = plan == PLAN_ANEW ? 0 : l->whole;
	int error = 0;

	t->log.reserved = t->log.reserved_queued = atomic_load(&t->fresh);
	if (plan == PLAN_REWRITE && t->log.io.snapshot.begin)
		return snapshot_run(t);
	if (plan == PLAN_REWRITE && l->moved)
		return -ENOTSUP;
	if (keep < len)
		error = t->log.io.truncate(t->log.io.arg, keep);
	if (error)
		return error;
	atomic_store(&t->log.len, keep);
	log_header_encode(&t->log.crc, &t->pool, header);
	return begin_log(t, header, keep == 0);
}

int fakeip_load(struct fakeip_table *t, const void *data, size_t len, uint32_t now_s,
	const struct fakeip_log_io *io, struct fakeip_load_result *ret)
{
	struct load l = {.now_s = now_s, .low = POOL_FIRST, .beyond = POOL_FIRST, .ret = ret};
	uint8_t header[LOG_HEADER_SIZE];
	enum plan plan = PLAN_ANEW;
	int error;

	memset(ret, 0, sizeof *ret);
	if (!t->hash)
		return -EINVAL;
	error = log_init(t, io);
	if (error)
		return error;
	log_header_encode(&t->log.crc, &t->pool, header);
	if (len)
		plan = read_log(t, data, len, header, &l);
	return open_log(t, len, plan, &l);
}

/* A lost log takes its indexes from the top. */
int fakeip_load_nothing(struct fakeip_table *t, uint32_t now_s, const struct fakeip_log_io *io)
{
	int error = t->hash ? log_init(t, io) : -EINVAL;

	if (error)
		return error;
	atomic_store(&t->top, t->pool.end - skip(t));
	atomic_store(&t->start_s, now_s);
	return 0;
}
