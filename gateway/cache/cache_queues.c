/* S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP
 * 2023). What is new comes into the small queue, a tenth of the entries and of their bytes; what
 * was asked for again when it reaches the end of it goes on to the main queue, the rest leaves and
 * is remembered as a ghost. A ghost that comes back goes to the main queue at once. At the end of
 * the main queue an entry that was asked for gets another round. */
#include <stdlib.h>

#include "gateway/cache/cache_internal.h"

#define SMALL_SHARE  10 /* one in so many */
#define PROMOTE_FREQ 1
#define PASSED_MAX   1000
#define GHOST_WAYS   4 /* a set of them forgets its oldest */

size_t shard_entries(const struct shard *s)
{
	return s->queues[QUEUE_SMALL].n + s->queues[QUEUE_MAIN].n;
}

static void queue_add_newest(struct shard *s, enum queue_id id, struct entry *e)
{
	struct queue *q = &s->queues[id];

	e->queue = (unsigned)id & 1;
	e->newer = NULL;
	e->older = q->newest;
	*(q->newest ? &q->newest->newer : &q->oldest) = e;
	q->newest = e;
	q->n++;
	q->bytes += entry_bytes(e);
}

static void queue_add_oldest(struct shard *s, enum queue_id id, struct entry *e)
{
	struct queue *q = &s->queues[id];

	e->queue = (unsigned)id & 1;
	e->older = NULL;
	e->newer = q->oldest;
	*(q->oldest ? &q->oldest->older : &q->newest) = e;
	q->oldest = e;
	q->n++;
	q->bytes += entry_bytes(e);
}

static void queue_remove(struct shard *s, struct entry *e)
{
	struct queue *q = &s->queues[e->queue];

	*(e->newer ? &e->newer->older : &q->newest) = e->older;
	*(e->older ? &e->older->newer : &q->oldest) = e->newer;
	q->n--;
	q->bytes -= entry_bytes(e);
}

void queue_replace(struct shard *s, const struct entry *old, struct entry *e)
{
	struct queue *q = &s->queues[old->queue];

	e->queue = old->queue;
	e->older = old->older;
	e->newer = old->newer;
	*(e->newer ? &e->newer->older : &q->newest) = e;
	*(e->older ? &e->older->newer : &q->oldest) = e;
	q->bytes += entry_bytes(e);
	q->bytes -= entry_bytes(old);
}

/* --- ghosts --- */

static uint32_t ghost_of(uint64_t mix)
{
	return (uint32_t)(mix >> 16) | 1; /* 0 is an empty place */
}

static uint32_t *ghost_set(const struct shard *s, uint64_t mix)
{
	return s->ghosts + (mix & (s->ghost_sets - 1)) * GHOST_WAYS;
}

static size_t ghosts_bytes(const struct shard *s)
{
	return s->ghost_sets * GHOST_WAYS * sizeof *s->ghosts;
}

/* About as many as the main queue has; made when the first entry goes, so that a cache that never
 * fills needs none. */
static void ghosts_make(struct shard *s)
{
	size_t sets = 1;

	while (sets * GHOST_WAYS < s->queues[QUEUE_MAIN].n + s->queues[QUEUE_SMALL].n / 2)
		sets *= 2;
	s->ghosts = calloc(sets * GHOST_WAYS, sizeof *s->ghosts);
	s->ghost_sets = s->ghosts ? sets : 0;
	s->bytes += ghosts_bytes(s);
}

void ghosts_free(struct shard *s)
{
	s->bytes -= ghosts_bytes(s);
	free(s->ghosts);
	s->ghosts = NULL;
	s->ghost_sets = 0;
}

static void ghost_add(struct shard *s, uint64_t mix)
{
	uint32_t *set;

	if (!s->ghosts)
		ghosts_make(s);
	if (!s->ghosts)
		return;
	set = ghost_set(s, mix);
	memmove(set + 1, set, (GHOST_WAYS - 1) * sizeof *set);
	set[0] = ghost_of(mix);
}

bool ghost_take(struct shard *s, uint64_t mix)
{
	uint32_t *set = s->ghosts ? ghost_set(s, mix) : NULL;

	for (unsigned i = 0; set && i < GHOST_WAYS; i++) {
		if (set[i] == ghost_of(mix)) {
			memmove(set + i, set + i + 1, (GHOST_WAYS - 1 - i) * sizeof *set);
			set[GHOST_WAYS - 1] = 0;
			return true;
		}
	}
	return false;
}

/* --- what goes --- */

void shard_take(struct shard *s, struct entry *e, struct entry **list)
{
	table_remove(s, e);
	queue_remove(s, e);
	s->bytes -= entry_bytes(e);
	e->older = *list;
	*list = e;
}

static void requeue(struct shard *s, struct entry *e, unsigned freq)
{
	queue_remove(s, e);
	queue_add_newest(s, QUEUE_MAIN, e);
	e->freq = freq & FREQ_MAX;
}

/* Has the small queue its share, or a few large answers more than that? */
static bool small_is_full(const struct shard *s)
{
	const struct queue *small = &s->queues[QUEUE_SMALL], *main = &s->queues[QUEUE_MAIN];

	return small->n * SMALL_SHARE >= small->n + main->n ||
	       small->bytes * SMALL_SHARE >= small->bytes + main->bytes;
}

/* Takes the next one out; each is passed over as often as it was asked for, three times at most,
 * and not too many of them at once: the shard is locked meanwhile. */
static void evict(struct shard *s, uint32_t now_s, struct entry **list)
{
	const struct queue *small = &s->queues[QUEUE_SMALL], *main = &s->queues[QUEUE_MAIN];

	for (unsigned passed = 0;; passed++) {
		bool probation = small->n && (!main->n || small_is_full(s));
		struct entry *e = probation ? small->oldest : main->oldest;
		bool dead = entry_state(&s->limits, e, now_s) == CACHE_MISS;
		bool stays = !dead && passed < PASSED_MAX;

		if (stays && probation && e->freq >= PROMOTE_FREQ) {
			requeue(s, e, 0);
		} else if (stays && !probation && e->freq) {
			requeue(s, e, e->freq - 1U);
		} else {
			if (probation && !dead)
				ghost_add(s, entry_mix(e));
			shard_take(s, e, list);
			s->counts.evicted++;
			return;
		}
	}
}

void queues_make_room(
	struct shard *s, size_t entries, size_t bytes, uint32_t now_s, struct entry **list)
{
	while (shard_entries(s) && (shard_entries(s) + entries > s->limits.entries ||
					   s->bytes + bytes > s->limits.bytes))
		evict(s, now_s, list);
}

/* What needs more than half of the room would push out nearly all. */
bool shard_takes(const struct shard *s, const struct entry *e)
{
	return s->limits.entries && entry_bytes(e) <= s->limits.bytes / 2;
}

void shard_insert(
	struct shard *s, struct entry *e, enum queue_id q, uint32_t now_s, struct entry **list)
{
	if (shard_takes(s, e)) {
		queues_make_room(s, 1, entry_bytes(e), now_s, list);
		if (table_add(s, e)) {
			queue_add_newest(s, q, e);
			s->bytes += entry_bytes(e);
			queues_make_room(s, 0, 0, now_s, list); /* the table may have grown */
			return;
		}
	}
	e->older = *list;
	*list = e;
}

bool shard_append(struct shard *s, struct entry *e, enum queue_id q)
{
	if (shard_entries(s) >= s->limits.entries || entry_bytes(e) > s->limits.bytes - s->bytes ||
		s->bytes > s->limits.bytes || !table_add(s, e))
		return false;
	queue_add_oldest(s, q, e);
	s->bytes += entry_bytes(e);
	return true;
}
