#include "gateway/carry/udp_flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS_MAX 65536u
#define LIST_MS	    1000 /* how exact the list's order is: it is not changed for every datagram */
#define WALK_MAX    4096

int udp_flows_init(struct udp_flows *t, unsigned max)
{
	uint32_t n = 64;

	*t = (struct udp_flows){.shortest_ms = UINT32_MAX};
	while (n < max && n < BUCKETS_MAX)
		n *= 2;
	/* Clients choose what is hashed; none of them shall know which go together. Without entropy
	 * (early at boot) it is weaker, no more. */
	if (getrandom(t->secret, sizeof t->secret, GRND_NONBLOCK) < 0)
		memcpy(t->secret,
			(const uint64_t[3]){(uintptr_t)t, 0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9},
			sizeof t->secret);
	t->buckets = calloc(n, sizeof(struct udp_flow *));
	if (!t->buckets)
		return -ENOMEM;
	t->mask = n - 1;
	slab_init(&t->slab, sizeof(struct udp_flow), max);
	return 0;
}

void udp_flows_fini(struct udp_flows *t)
{
	slab_fini(&t->slab);
	free(t->buckets);
	t->buckets = NULL;
}

/* --- by key --- */

static uint64_t mix(uint64_t h, uint64_t word, uint64_t secret)
{
	h = (h ^ word) * (secret | 1);
	return h ^ h >> 32;
}

static uint64_t mix_address(uint64_t h, const struct ip_addr *a, const uint64_t secret[3])
{
	uint64_t w[2];

	memcpy(w, a->b, sizeof w);
	return mix(mix(h, w[0], secret[0]), w[1], secret[1]);
}

static struct udp_flow **bucket(const struct udp_flows *t, const struct udp_flow_key *k)
{
	uint64_t h = mix_address(t->secret[2] ^ k->port, &k->client, t->secret);

	h = mix(mix_address(h, &k->fake, t->secret), h >> 7, t->secret[2]);
	return &t->buckets[h & t->mask];
}

struct udp_flow *udp_flows_find(const struct udp_flows *t, const struct udp_flow_key *k)
{
	struct udp_flow *f = *bucket(t, k);

	while (f && !(f->key.port == k->port && ip_addr_equal(&f->key.client, &k->client) &&
			    ip_addr_equal(&f->key.fake, &k->fake)))
		f = f->next;
	return f;
}

/* --- by last use --- */

static void list_add(struct udp_flows *t, struct udp_flow *f, int64_t now_ms)
{
	f->newer = NULL;
	f->older = t->newest;
	*(t->newest ? &t->newest->newer : &t->oldest) = f;
	t->newest = f;
	f->listed_ms = now_ms;
}

static void list_remove(struct udp_flows *t, struct udp_flow *f)
{
	if (t->hand == f)
		t->hand = f->newer;
	*(f->newer ? &f->newer->older : &t->newest) = f->older;
	*(f->older ? &f->older->newer : &t->oldest) = f->newer;
}

void udp_flows_use(struct udp_flows *t, struct udp_flow *f, int64_t now_ms)
{
	f->used_ms = now_ms;
	if (now_ms - f->listed_ms < LIST_MS)
		return;
	list_remove(t, f);
	list_add(t, f, now_ms);
}

struct udp_flow *udp_flows_oldest(const struct udp_flows *t)
{
	return t->oldest;
}

void udp_flows_walk(struct udp_flows *t, int64_t now_ms, void (*end)(struct udp_flow *f))
{
	struct udp_flow *f = t->hand ? t->hand : t->oldest;

	for (unsigned n = 0; f && n < WALK_MAX; n++) {
		struct udp_flow *newer = f->newer;

		if (now_ms - f->used_ms >= f->idle_ms)
			end(f);
		else if (now_ms - f->listed_ms < t->shortest_ms)
			newer = NULL; /* none of those behind it can be over */
		f = newer;
	}
	t->hand = f;
}

/* --- made and gone --- */

struct udp_flow *udp_flows_add(
	struct udp_flows *t, const struct udp_flow_key *k, unsigned idle_ms, int64_t now_ms)
{
	struct udp_flow **head = bucket(t, k), *f = slab_take(&t->slab);

	if (!f)
		return NULL;
	*f = (struct udp_flow){.key = *k, .idle_ms = idle_ms, .used_ms = now_ms, .next = *head};
	*head = f;
	list_add(t, f, now_ms);
	if (idle_ms < t->shortest_ms)
		t->shortest_ms = idle_ms;
	t->n++;
	return f;
}

void udp_flows_remove(struct udp_flows *t, struct udp_flow *f)
{
	struct udp_flow **at = bucket(t, &f->key);

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	list_remove(t, f);
	t->n--;
	slab_give(&t->slab, f);
}
