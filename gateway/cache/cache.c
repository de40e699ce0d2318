#include "gateway/cache/cache.h"

#include <errno.h>
#include <stdlib.h>

#include "gateway/cache/cache_internal.h"

struct shard *shard_lock(struct cache *c, uint32_t hash)
{
	for (;;) {
		unsigned bits = atomic_load_explicit(&c->shard_bits, memory_order_relaxed);
		struct shard *s = shard_of(c, hash, bits);

		pthread_mutex_lock(&s->lock);
		if (atomic_load_explicit(&c->shard_bits, memory_order_relaxed) == bits)
			return s;
		shard_unlock(s);
	}
}

void cache_prefetch(const struct cache *c, uint64_t hash)
{
	uint32_t upper = hash_upper(hash);
	unsigned bits = atomic_load_explicit(&c->shard_bits, memory_order_relaxed);
	const struct shard *s = &c->shards[(uint64_t)upper << bits >> 32];

	__builtin_prefetch(table_bucket(s, upper));
}

/* --- one entry --- */

static bool failed_within(const struct entry *e, uint32_t now_s, uint32_t time_s)
{
	return e->tried == TRIED_FAILED && (int32_t)(now_s - e->tried_s) < (int32_t)time_s;
}

enum cache_state entry_state(
	const struct shard_limits *limits, const struct entry *e, uint32_t now_s)
{
	uint32_t age_s = entry_age_s(e, now_s);

	if (e->len && age_s < e->life_s)
		return CACHE_FRESH;
	if (e->len && age_s - e->life_s < limits->serve_stale_s)
		return CACHE_STALE;
	return failed_within(e, now_s, e->failure_ttl_s) ? CACHE_FAILED : CACHE_MISS;
}

bool message_answers(const uint8_t *msg, size_t len, const struct dns_name *name, uint16_t type)
{
	size_t off = DNS_HEADER_SIZE;
	struct dns_name asked;

	return len > DNS_HEADER_SIZE && len <= DNS_MESSAGE_MAX &&
	       dns_name_read(msg, len, &off, &asked) == 0 && dns_name_equal(&asked, name) &&
	       off == DNS_HEADER_SIZE + (size_t)name->len && len - off >= 4 &&
	       msg[off] == type >> 8 && msg[off + 1] == (type & 255) && msg[off + 2] == 0 &&
	       msg[off + 3] == DNS_CLASS_IN;
}

struct entry *entry_new(
	const struct cache_key *key, const uint8_t *msg, size_t len, uint32_t life_s)
{
	const struct dns_name *name = key->name;
	size_t size = offsetof(struct entry, data) + (msg ? len : name->len);
	struct entry *e = malloc(size > sizeof *e ? size : sizeof *e);

	if (!e)
		return NULL;
	*e = (struct entry){.view = key->view,
		.hash = hash_upper(key->hash),
		.life_s = life_s < LIFE_MAX_S ? life_s : LIFE_MAX_S,
		.type = key->type,
		.len = (uint16_t)(msg ? len : 0),
		.flags = key->flags,
		.name_len = name->len};
	if (msg)
		memcpy(e->data, msg, len);
	memcpy(e->data + (msg ? DNS_HEADER_SIZE : 0), name->b, name->len);
	return e;
}

size_t entries_free(struct entry *list)
{
	size_t n = 0;

	for (struct entry *next; list; list = next, n++) {
		next = list->older;
		free(list);
	}
	return n;
}

/* --- asking --- */

static void found_set(const struct shard *s, const struct entry *e, uint32_t now_s, uint8_t *buf,
	size_t size, struct cache_found *ret)
{
	enum cache_state state = entry_state(&s->limits, e, now_s);

	if (state == CACHE_FAILED)
		ret->state = state;
	if (state == CACHE_FAILED || state == CACHE_MISS || e->len > size)
		return;
	memcpy(buf, e->data, e->len);
	ret->state = state;
	ret->len = e->len;
	ret->age_s = entry_age_s(e, now_s);
	ret->left_s = state == CACHE_FRESH ? e->life_s - ret->age_s : 0;
	ret->failed_lately = state == CACHE_STALE && failed_within(e, now_s, FAILED_LATELY_S);
}

/* Not while another refresh is on its way, nor right after one that failed (RFC 9520 3.2). */
static bool refresh_is_due(
	const struct shard *s, const struct entry *e, uint32_t left_s, uint32_t now_s)
{
	if ((uint64_t)left_s * 100 >= (uint64_t)e->life_s * s->limits.prefetch_percent ||
		e->hits < s->limits.prefetch_hits || failed_within(e, now_s, e->failure_ttl_s))
		return false;
	return e->tried != TRIED_REFRESH || (int32_t)(now_s - e->tried_s) >= REFRESH_S;
}

static void found_count(struct shard *s, struct entry *e, uint32_t now_s, struct cache_found *ret)
{
	s->counts.hits += ret->state == CACHE_FRESH || ret->state == CACHE_FAILED;
	s->counts.stale += ret->state == CACHE_STALE;
	s->counts.misses += ret->state == CACHE_MISS;
	if (!e || ret->state == CACHE_MISS)
		return;
	if (e->freq < FREQ_MAX)
		e->freq++;
	if (e->hits < UINT16_MAX)
		e->hits++;
	if (ret->state != CACHE_FRESH || !refresh_is_due(s, e, ret->left_s, now_s))
		return;
	e->tried = TRIED_REFRESH;
	e->tried_s = now_s;
	ret->refresh = true;
	s->counts.refreshes++;
}

void cache_get(struct cache *c, const struct cache_key *key, uint32_t now_s, uint8_t *buf,
	size_t size, struct cache_found *ret)
{
	struct shard *s = shard_lock(c, hash_upper(key->hash));
	struct entry **at = table_find(s, key);

	*ret = (struct cache_found){.state = CACHE_MISS};
	if (at)
		found_set(s, *at, now_s, buf, size, ret);
	found_count(s, at ? *at : NULL, now_s, ret);
	shard_unlock(s);
}

void cache_peek(struct cache *c, const struct cache_key *key, uint32_t now_s, uint8_t *buf,
	size_t size, struct cache_found *ret)
{
	struct shard *s = shard_lock(c, hash_upper(key->hash));
	struct entry **at = table_find(s, key);

	*ret = (struct cache_found){.state = CACHE_MISS};
	if (at)
		found_set(s, *at, now_s, buf, size, ret);
	shard_unlock(s);
}

/* --- keeping --- */

/* e comes in the old one's place: what is known of its use stays, and fades. */
static void replace(
	struct shard *s, struct entry **at, struct entry *e, uint32_t now_s, struct entry **list)
{
	struct entry *old = *at;

	e->freq = old->freq;
	e->hits = old->hits / 2;
	queue_replace(s, old, e);
	*at = e;
	s->bytes += entry_bytes(e);
	s->bytes -= entry_bytes(old);
	old->older = *list;
	*list = old;
	queues_make_room(s, 0, 0, now_s, list);
}

static void insert(struct shard *s, struct entry *e, uint32_t now_s, struct entry **list)
{
	enum queue_id q = ghost_take(s, entry_mix(e)) ? QUEUE_MAIN : QUEUE_SMALL;

	shard_insert(s, e, q, now_s, list);
}

void cache_put(struct cache *c, const struct cache_key *key, const uint8_t *msg, size_t len,
	uint32_t life_s, uint32_t now_s)
{
	bool keeps = life_s && atomic_load_explicit(&c->entries, memory_order_relaxed) &&
		     message_answers(msg, len, key->name, key->type);
	struct entry *e = keeps ? entry_new(key, msg, len, life_s) : NULL;
	struct shard *s = shard_lock(c, hash_upper(key->hash));
	struct entry **at = table_find(s, key), *list = NULL;

	if (e)
		e->stored_s = now_s;
	if (at && e && shard_takes(s, e)) {
		replace(s, at, e, now_s, &list);
	} else {
		if (at)
			shard_take(s, *at, &list);
		if (e)
			insert(s, e, now_s, &list);
	}
	shard_unlock(s);
	entries_free(list);
}

void cache_fail(
	struct cache *c, const struct cache_key *key, uint32_t failure_ttl_s, uint32_t now_s)
{
	struct shard *s = shard_lock(c, hash_upper(key->hash));
	struct entry **at = table_find(s, key), *list = NULL;
	struct entry *fresh = !at && failure_ttl_s ? entry_new(key, NULL, 0, 0) : NULL;
	struct entry *e = at ? *at : fresh;

	if (e) {
		e->tried = TRIED_FAILED;
		e->tried_s = now_s;
		e->failure_ttl_s =
			(uint16_t)(failure_ttl_s < UINT16_MAX ? failure_ttl_s : UINT16_MAX);
	}
	if (fresh)
		insert(s, fresh, now_s, &list);
	shard_unlock(s);
	entries_free(list);
}

/* --- forgetting --- */

static void shard_flush(struct shard *s, struct entry **list)
{
	for (enum queue_id q = 0; q < QUEUES; q++) {
		while (s->queues[q].oldest)
			shard_take(s, s->queues[q].oldest, list);
	}
}

static void name_flush(
	struct shard *s, uint32_t hash, const struct dns_name *name, struct entry **list)
{
	struct bucket *b = table_bucket(s, hash);

	while (b) {
		struct entry *e = NULL;

		for (unsigned i = 0; i < b->n && !e; i++)
			e = entry_has_name(b->entries[i], name) ? b->entries[i] : NULL;
		if (!e) {
			b = b->more;
			continue;
		}
		shard_take(s, e, list);
		b = table_bucket(s, hash); /* what hung on it may be gone */
	}
}

size_t cache_flush(struct cache *c, const struct dns_name *name)
{
	uint32_t hash = name ? hash_upper(dns_name_hash(name, c->hash_key)) : 0;
	struct entry *list = NULL;

	if (name) {
		struct shard *s = shard_lock(c, hash);

		name_flush(s, hash, name, &list);
		shard_unlock(s);
		return entries_free(list);
	}
	for (unsigned i = 0; i < SHARDS_MAX; i++) {
		struct shard *s = &c->shards[i];

		pthread_mutex_lock(&s->lock);
		shard_flush(s, &list);
		shard_unlock(s);
	}
	return entries_free(list);
}

static void shard_flush_failures(struct shard *s, struct entry **list)
{
	for (enum queue_id q = 0; q < QUEUES; q++) {
		for (struct entry *older, *e = s->queues[q].newest; e; e = older) {
			older = e->older;
			if (e->tried == TRIED_FAILED)
				e->tried = TRIED_NOT;
			if (!e->len)
				shard_take(s, e, list);
		}
	}
}

void cache_flush_failures(struct cache *c)
{
	struct entry *list = NULL;

	for (unsigned i = 0; i < SHARDS_MAX; i++) {
		struct shard *s = &c->shards[i];

		pthread_mutex_lock(&s->lock);
		shard_flush_failures(s, &list);
		shard_unlock(s);
	}
	entries_free(list);
}

void cache_stats(struct cache *c, struct cache_stats *ret)
{
	*ret = (struct cache_stats){.bytes = sizeof *c};
	for (unsigned i = 0; i < SHARDS_MAX; i++) {
		struct shard *s = &c->shards[i];

		pthread_mutex_lock(&s->lock);
		ret->entries += shard_entries(s);
		ret->bytes += s->bytes;
		ret->hits += s->counts.hits;
		ret->misses += s->counts.misses;
		ret->stale += s->counts.stale;
		ret->refreshes += s->counts.refreshes;
		ret->evicted += s->counts.evicted;
		shard_unlock(s);
	}
}
