/* A shard is a hash table of entries that are taken from one array in a row, so memory is touched
 * only as it is needed; a full shard gives up what has not been used for longest, found by a clock
 * hand. Names are packed, the latest first: four of the usual length fit, or one of the longest. */
#include "gateway/carry/seen.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS	16u
#define TTL_MAX (7 * 86400u)

struct entry {
	struct ip_addr client, address;
	uint8_t used;  /* since the hand passed */
	uint8_t count; /* names */
	uint8_t lens[SEEN_NAMES];
	uint32_t next; /* in its bucket */
	uint32_t until_s[SEEN_NAMES];
	uint8_t names[DNS_NAME_MAX];
};

struct shard {
	pthread_mutex_t lock;
	struct entry *entries;
	uint32_t *buckets; /* index + 1, so that fresh memory means nobody */
	uint32_t made, hand;
};

struct seen {
	uint32_t room, buckets; /* in one shard */
	struct entry *entries;
	uint32_t *heads;
	struct shard shards[SHARDS];
};

int seen_new(unsigned max, struct seen **ret)
{
	struct seen *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->room = max < SHARDS ? 1 : max / SHARDS;
	s->buckets = s->room;
	s->entries = calloc((size_t)s->room * SHARDS, sizeof *s->entries);
	s->heads = calloc((size_t)s->buckets * SHARDS, sizeof *s->heads);
	if (!s->entries || !s->heads) {
		free(s->entries);
		free(s->heads);
		free(s);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < SHARDS; i++) {
		s->shards[i].entries = s->entries + (size_t)i * s->room;
		s->shards[i].buckets = s->heads + (size_t)i * s->buckets;
		pthread_mutex_init(&s->shards[i].lock, NULL);
	}
	*ret = s;
	return 0;
}

void seen_free(struct seen *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < SHARDS; i++)
		pthread_mutex_destroy(&s->shards[i].lock);
	free(s->entries);
	free(s->heads);
	free(s);
}

static uint64_t hash(const struct ip_addr *client, const struct ip_addr *address)
{
	uint64_t h = ip_addr_hash(client) * UINT64_C(0x9e3779b97f4a7c15);

	h = (h ^ h >> 32 ^ ip_addr_hash(address)) * UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 32;
}

static uint32_t *bucket_of(struct seen *s, struct shard *h, const struct ip_addr *client,
	const struct ip_addr *address)
{
	return &h->buckets[hash(client, address) / SHARDS % s->buckets];
}

static struct shard *shard_lock(
	struct seen *s, const struct ip_addr *client, const struct ip_addr *address)
{
	struct shard *h = &s->shards[hash(client, address) % SHARDS];

	pthread_mutex_lock(&h->lock);
	return h;
}

static struct entry *find(struct seen *s, struct shard *h, const struct ip_addr *client,
	const struct ip_addr *address)
{
	uint32_t i = *bucket_of(s, h, client, address);

	for (; i; i = h->entries[i - 1].next) {
		struct entry *e = &h->entries[i - 1];

		if (ip_addr_equal(&e->client, client) && ip_addr_equal(&e->address, address))
			return e;
	}
	return NULL;
}

static bool over(const struct entry *e, uint32_t now_s)
{
	for (unsigned i = 0; i < e->count; i++)
		if (e->until_s[i] > now_s)
			return false;
	return true;
}

static void unlink_entry(struct seen *s, struct shard *h, struct entry *e)
{
	uint32_t *at = bucket_of(s, h, &e->client, &e->address);

	while (&h->entries[*at - 1] != e)
		at = &h->entries[*at - 1].next;
	*at = e->next;
}

/* Within two rounds of the hand one is found. */
static struct entry *evict(struct seen *s, struct shard *h, uint32_t now_s)
{
	struct entry *e;

	for (;;) {
		e = &h->entries[h->hand];
		h->hand = (h->hand + 1) % s->room;
		if (!e->used || over(e, now_s))
			break;
		e->used = 0;
	}
	unlink_entry(s, h, e);
	return e;
}

static struct entry *make(struct seen *s, struct shard *h, const struct ip_addr *client,
	const struct ip_addr *address, uint32_t now_s)
{
	struct entry *e = h->made < s->room ? &h->entries[h->made++] : evict(s, h, now_s);
	uint32_t *head = bucket_of(s, h, client, address);

	e->client = *client;
	e->address = *address;
	e->count = e->used = 0;
	e->next = *head;
	*head = (uint32_t)(e - h->entries) + 1;
	return e;
}

static size_t names_len(const struct entry *e)
{
	size_t len = 0;

	for (unsigned i = 0; i < e->count; i++)
		len += e->lens[i];
	return len;
}

static void name_remove(struct entry *e, unsigned i)
{
	size_t at = 0, len = names_len(e);

	for (unsigned j = 0; j < i; j++)
		at += e->lens[j];
	memmove(e->names + at, e->names + at + e->lens[i], len - at - e->lens[i]);
	e->count--;
	memmove(e->lens + i, e->lens + i + 1, e->count - i);
	memmove(e->until_s + i, e->until_s + i + 1, (e->count - i) * sizeof e->until_s[0]);
}

static void name_put_first(struct entry *e, const struct dns_name *name, uint32_t until_s)
{
	size_t at = 0;

	for (unsigned i = 0; i < e->count; at += e->lens[i], i++) {
		if (e->lens[i] == name->len && memcmp(e->names + at, name->b, name->len) == 0) {
			name_remove(e, i);
			break;
		}
	}
	while (e->count == SEEN_NAMES || names_len(e) + name->len > sizeof e->names)
		name_remove(e, e->count - 1u);
	memmove(e->names + name->len, e->names, names_len(e));
	memcpy(e->names, name->b, name->len);
	memmove(e->lens + 1, e->lens, e->count);
	memmove(e->until_s + 1, e->until_s, e->count * sizeof e->until_s[0]);
	e->lens[0] = name->len;
	e->until_s[0] = until_s;
	e->count++;
}

void seen_note(struct seen *s, const struct ip_addr *client, const struct ip_addr *address,
	const struct dns_name *name, uint32_t ttl_s, uint32_t now_s)
{
	uint32_t until_s = now_s + (ttl_s < TTL_MAX ? ttl_s : TTL_MAX) + SEEN_GRACE_S;
	struct shard *h = shard_lock(s, client, address);
	struct entry *e = find(s, h, client, address);

	if (e)
		e->used = 1;
	else /* not used yet: what comes once gives way first */
		e = make(s, h, client, address, now_s);
	name_put_first(e, name, until_s);
	pthread_mutex_unlock(&h->lock);
}

/* wire is a whole name of ours. */
static void name_take(const uint8_t *wire, uint8_t len, struct dns_name *ret)
{
	*ret = (struct dns_name){.len = len};
	memcpy(ret->b, wire, len);
	for (unsigned i = 0; wire[i]; i += wire[i] + 1u)
		ret->labels++;
}

size_t seen_find(struct seen *s, const struct ip_addr *client, const struct ip_addr *address,
	uint32_t now_s, struct dns_name ret[SEEN_NAMES])
{
	struct shard *h = shard_lock(s, client, address);
	struct entry *e = find(s, h, client, address);
	size_t n = 0, at = 0;

	for (unsigned i = 0; e && i < e->count; at += e->lens[i], i++)
		if (e->until_s[i] > now_s)
			name_take(e->names + at, e->lens[i], &ret[n++]);
	if (n)
		e->used = 1;
	pthread_mutex_unlock(&h->lock);
	return n;
}
