#include "gateway/carry/waiting.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SHARDS	   64u
#define BUCKETS	   64u /* a shard */
#define SPARE	   16u /* what a shard may have beyond twice its share */
#define DROP_BATCH 16u
#define NOBODY	   UINT32_MAX

enum state { CLAIMED, READY };

struct entry {
	struct waiting_key key;
	struct waiting_conn conn;
	int64_t since_ms;
	uint32_t next; /* in its bucket, or among the free ones */
	enum state state;
};

struct shard {
	pthread_mutex_t lock;
	struct entry *entries;
	uint32_t made; /* entries below this have been used */
	uint32_t free; /* of these */
	uint32_t buckets[BUCKETS];
};

struct waiting {
	void (*drop)(void *arg, const struct waiting_conn *c);
	void *arg;
	unsigned max, room; /* in all; in one shard */
	_Atomic unsigned count;
	struct entry *entries;
	struct shard shards[SHARDS];
};

int waiting_new(unsigned max, void (*drop)(void *arg, const struct waiting_conn *c), void *arg,
	struct waiting **ret)
{
	struct waiting *w = calloc(1, sizeof *w);

	if (!w)
		return -ENOMEM;
	w->drop = drop;
	w->arg = arg;
	w->max = max;
	w->room = max / SHARDS * 2 + SPARE;
	/* Becomes resident as it is used. */
	w->entries = calloc((size_t)w->room * SHARDS, sizeof *w->entries);
	if (!w->entries) {
		free(w);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &w->shards[i];

		pthread_mutex_init(&s->lock, NULL);
		s->entries = w->entries + (size_t)i * w->room;
		s->free = NOBODY;
		for (unsigned b = 0; b < BUCKETS; b++)
			s->buckets[b] = NOBODY;
	}
	*ret = w;
	return 0;
}

void waiting_free(struct waiting *w)
{
	if (!w)
		return;
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &w->shards[i];

		for (unsigned b = 0; b < BUCKETS; b++)
			for (uint32_t e = s->buckets[b]; e != NOBODY; e = s->entries[e].next)
				if (s->entries[e].state == READY)
					w->drop(w->arg, &s->entries[e].conn);
		pthread_mutex_destroy(&s->lock);
	}
	free(w->entries);
	free(w);
}

static bool same_port(const struct ip_port *a, const struct ip_port *b)
{
	return a->port == b->port && a->scope == b->scope && ip_addr_equal(&a->addr, &b->addr);
}

/* A client may choose its ports and addresses so that they meet in one chain: that chain is as long
 * as a shard has room, no longer. */
static uint64_t hash(const struct waiting_key *k)
{
	uint64_t h = (uint64_t)k->client.port << 16 | k->fake.port;

	h = (h ^ ip_addr_hash(&k->client.addr)) * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ h >> 32 ^ ip_addr_hash(&k->fake.addr)) * UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 32;
}

/* Where the key's entry hangs, or NOBODY; the shard is locked. */
static uint32_t *lock_and_find(struct waiting *w, const struct waiting_key *k, struct shard **ret)
{
	uint64_t h = hash(k);
	struct shard *s = &w->shards[h % SHARDS];
	uint32_t *at = &s->buckets[h / SHARDS % BUCKETS];

	pthread_mutex_lock(&s->lock);
	*ret = s;
	while (*at != NOBODY && !(same_port(&s->entries[*at].key.client, &k->client) &&
					same_port(&s->entries[*at].key.fake, &k->fake)))
		at = &s->entries[*at].next;
	return at;
}

static struct entry *entry_add(struct waiting *w, struct shard *s, uint32_t *at,
	const struct waiting_key *k, int64_t now_ms)
{
	struct entry *e;
	uint32_t i;

	if (atomic_fetch_add(&w->count, 1) >= w->max || (s->free == NOBODY && s->made == w->room)) {
		atomic_fetch_sub(&w->count, 1);
		return NULL;
	}
	i = s->free != NOBODY ? s->free : s->made++;
	e = &s->entries[i];
	if (i == s->free)
		s->free = e->next;
	*e = (struct entry){.key = *k, .since_ms = now_ms, .next = NOBODY, .state = CLAIMED};
	*at = i;
	return e;
}

static void entry_remove(struct waiting *w, struct shard *s, uint32_t *at)
{
	uint32_t i = *at;

	*at = s->entries[i].next;
	s->entries[i].next = s->free;
	s->free = i;
	atomic_fetch_sub(&w->count, 1);
}

static bool too_old(const struct entry *e, int64_t now_ms)
{
	return now_ms - e->since_ms > (e->state == READY ? WAITING_MS : WAITING_CLAIM_MS);
}

int waiting_claim(struct waiting *w, const struct waiting_key *k, int64_t now_ms)
{
	struct waiting_conn stale = {.fd = -1};
	struct shard *s;
	uint32_t *at = lock_and_find(w, k, &s);
	struct entry *e;
	int error = 0;

	if (*at == NOBODY) {
		if (!entry_add(w, s, at, k, now_ms))
			error = -ENOSPC;
	} else if (!too_old(&s->entries[*at], now_ms)) {
		error = s->entries[*at].state == READY ? -EEXIST : -EINPROGRESS;
	} else { /* another connection of the same numbers: what was dialled then is not its */
		e = &s->entries[*at];
		if (e->state == READY)
			stale = e->conn;
		e->state = CLAIMED;
		e->since_ms = now_ms;
	}
	pthread_mutex_unlock(&s->lock);
	if (stale.fd >= 0)
		w->drop(w->arg, &stale);
	return error;
}

void waiting_ready(struct waiting *w, const struct waiting_key *k, const struct waiting_conn *c,
	int64_t now_ms)
{
	struct shard *s;
	uint32_t *at = lock_and_find(w, k, &s);
	struct entry *e;

	/* The claim may have been too old and gone, or another's by now, who was faster. */
	e = *at == NOBODY ? entry_add(w, s, at, k, now_ms) : &s->entries[*at];
	if (e && e->state == READY)
		e = NULL;
	if (e) {
		e->state = READY;
		e->conn = *c;
		e->since_ms = now_ms;
	}
	pthread_mutex_unlock(&s->lock);
	if (!e)
		w->drop(w->arg, c);
}

void waiting_fail(struct waiting *w, const struct waiting_key *k)
{
	struct shard *s;
	uint32_t *at = lock_and_find(w, k, &s);

	if (*at != NOBODY && s->entries[*at].state == CLAIMED)
		entry_remove(w, s, at);
	pthread_mutex_unlock(&s->lock);
}

int waiting_take(struct waiting *w, const struct waiting_key *k, struct waiting_conn *ret)
{
	struct shard *s;
	uint32_t *at = lock_and_find(w, k, &s);
	int error = -ENOENT;

	if (*at != NOBODY && s->entries[*at].state == READY) {
		*ret = s->entries[*at].conn;
		entry_remove(w, s, at);
		error = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return error;
}

/* Takes out up to DROP_BATCH connections of a shard; how many. */
static unsigned shard_expire(
	struct waiting *w, struct shard *s, int64_t now_ms, struct waiting_conn ret[DROP_BATCH])
{
	unsigned n = 0;

	pthread_mutex_lock(&s->lock);
	for (unsigned b = 0; b < BUCKETS; b++) {
		uint32_t *at = &s->buckets[b];

		while (*at != NOBODY && n < DROP_BATCH) {
			struct entry *e = &s->entries[*at];

			if (!too_old(e, now_ms)) {
				at = &e->next;
				continue;
			}
			if (e->state == READY)
				ret[n++] = e->conn;
			entry_remove(w, s, at);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

void waiting_expire(struct waiting *w, int64_t now_ms)
{
	struct waiting_conn old[DROP_BATCH];
	unsigned n;

	for (unsigned i = 0; i < SHARDS; i++) {
		do { /* drop() closes: not under the lock */
			n = shard_expire(w, &w->shards[i], now_ms, old);
			for (unsigned j = 0; j < n; j++)
				w->drop(w->arg, &old[j]);
		} while (n == DROP_BATCH);
	}
}

unsigned waiting_count(const struct waiting *w)
{
	return atomic_load(&w->count);
}
