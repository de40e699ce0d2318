#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "gateway/cache/cache_internal.h"

#define LOAD_MAX 4 /* entries a bucket, on average, before there are twice as many */

static uint8_t tag_of(uint64_t mix)
{
	return (uint8_t)(mix >> 56);
}

static struct bucket *buckets_new(size_t n)
{
	struct bucket *b = aligned_alloc(64, (n * sizeof *b + 63) / 64 * 64);

	if (b)
		memset(b, 0, n * sizeof *b);
	return b;
}

static size_t buckets_bytes(size_t n)
{
	return n * sizeof(struct bucket) + BUCKETS_OVERHEAD;
}

static void buckets_use(struct shard *s, struct bucket *b, size_t n)
{
	atomic_store_explicit(&s->buckets, b, memory_order_relaxed);
	atomic_store_explicit(&s->mask, (uint32_t)(n - 1), memory_order_relaxed);
}

int table_init(struct shard *s)
{
	struct bucket *b = buckets_new(1);

	if (!b)
		return -ENOMEM;
	buckets_use(s, b, 1);
	s->bytes += buckets_bytes(1);
	return 0;
}

static void buckets_free(struct shard *s, struct bucket *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (struct bucket *next, *more = b[i].more; more; more = next) {
			next = more->more;
			s->bytes -= buckets_bytes(1);
			free(more);
		}
	}
	s->bytes -= buckets_bytes(n);
	free(b);
}

void table_fini(struct shard *s)
{
	struct bucket *b = s->buckets;

	if (b)
		buckets_free(s, b, (size_t)s->mask + 1);
	s->buckets = NULL;
}

void table_reset(struct shard *s)
{
	struct bucket *one = s->mask ? buckets_new(1) : NULL, *old = s->buckets;

	if (!one)
		return;
	buckets_free(s, old, (size_t)s->mask + 1);
	buckets_use(s, one, 1);
	s->bytes += buckets_bytes(1);
}

bool entry_has_name(const struct entry *e, const struct dns_name *name)
{
	return e->name_len == name->len && memcmp(entry_name(e), name->b, name->len) == 0;
}

static bool entry_is(const struct entry *e, const struct cache_key *key)
{
	return e->type == key->type && e->flags == key->flags && e->view == key->view &&
	       entry_has_name(e, key->name);
}

struct entry **table_find(const struct shard *s, const struct cache_key *key)
{
	uint32_t hash = hash_upper(key->hash);
	uint8_t tag = tag_of(key_mix(hash, key->type, key->flags, key->view));

	for (struct bucket *b = table_bucket(s, hash); b; b = b->more) {
		for (unsigned i = 0; i < b->n; i++) {
			if (b->tags[i] == tag && entry_is(b->entries[i], key))
				return &b->entries[i];
		}
	}
	return NULL;
}

static bool bucket_add(struct shard *s, struct bucket *b, struct entry *e)
{
	while (b->n == BUCKET_SLOTS) {
		if (!b->more) {
			b->more = buckets_new(1);
			if (!b->more)
				return false;
			s->bytes += buckets_bytes(1);
		}
		b = b->more;
	}
	b->tags[b->n] = tag_of(entry_mix(e));
	b->entries[b->n++] = e;
	return true;
}

/* Adds what is in from, and in what hangs on it, to the buckets of a larger table. */
static bool row_add(struct shard *s, const struct bucket *from, struct bucket *to, size_t mask)
{
	bool added = true;

	do {
		for (unsigned i = 0; i < from->n && added; i++)
			added = bucket_add(s, &to[from->entries[i]->hash & mask], from->entries[i]);
		from = from->more;
	} while (from && added);
	return added;
}

/* Twice as many buckets; as before if there is no memory. */
static void table_grow(struct shard *s)
{
	struct bucket *old = s->buckets, *fresh;
	size_t n = (size_t)s->mask + 1;
	bool added = true;

	fresh = n <= UINT32_MAX >> (SHARD_BITS_MAX + 1) ? buckets_new(2 * n) : NULL;
	if (!fresh)
		return;
	s->bytes += buckets_bytes(2 * n);
	for (size_t i = 0; i < n && added; i++)
		added = row_add(s, &old[i], fresh, 2 * n - 1);
	if (added)
		buckets_use(s, fresh, 2 * n);
	buckets_free(s, added ? old : fresh, added ? n : 2 * n);
}

bool table_add(struct shard *s, struct entry *e)
{
	if (shard_entries(s) >= LOAD_MAX * ((size_t)s->mask + 1))
		table_grow(s);
	return bucket_add(s, table_bucket(s, e->hash), e);
}

/* The last one takes the hole, so that only the last bucket of a row has room. */
void table_remove(struct shard *s, const struct entry *e)
{
	struct bucket *b = table_bucket(s, e->hash), *before = NULL, *hole = NULL;
	unsigned slot = 0;

	for (;; before = b, b = b->more) {
		for (unsigned i = 0; i < b->n && !hole; i++) {
			if (b->entries[i] == e) {
				hole = b;
				slot = i;
			}
		}
		if (!b->more)
			break;
	}
	assert(hole);
	b->n--;
	hole->entries[slot] = b->entries[b->n];
	hole->tags[slot] = b->tags[b->n];
	if (b->n == 0 && before) {
		before->more = NULL;
		s->bytes -= buckets_bytes(1);
		free(b);
	}
}
