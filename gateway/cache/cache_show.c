#include "gateway/cache/cache_internal.h"
#include "gateway/dns/stored.h"

/* False: nobody is told of it any more. */
static bool shown_make(
	const struct shard_limits *limits, struct entry *e, uint32_t now_s, struct cache_shown *ret)
{
	uint32_t age_s = entry_age_s(e, now_s);
	enum cache_state state = entry_state(limits, e, now_s);
	size_t off = e->len ? DNS_HEADER_SIZE : 0;
	bool answer = state == CACHE_FRESH || state == CACHE_STALE;

	*ret = (struct cache_shown){.type = e->type,
		.flags = e->flags,
		.view = e->view,
		.ttl_s = state == CACHE_FRESH ? e->life_s - age_s : 0,
		.hits = e->hits,
		.state = state};
	if (dns_name_read(e->data, off + e->name_len, &off, &ret->name))
		return false;
	if (answer) {
		dns_stored_age(e->data, e->len, age_s);
		ret->msg = e->data;
		ret->len = e->len;
	}
	return state != CACHE_MISS;
}

/* Returns how many were shown. */
static size_t copies_show(struct entry_copies *copies, const struct shard_limits *limits,
	uint32_t now_s, size_t max, cache_visit *visit, void *arg)
{
	struct cache_shown shown;
	struct entry *e;
	size_t n = 0;

	while (n < max && (e = copies_next(copies))) {
		if (!shown_make(limits, e, now_s, &shown))
			continue;
		visit(arg, &shown);
		n++;
	}
	return n;
}

static size_t show_name(struct cache *c, const struct dns_name *name, uint32_t now_s, size_t max,
	cache_visit *visit, void *arg)
{
	uint32_t hash = hash_upper(dns_name_hash(name, c->hash_key));
	struct entry_copies copies = {0};
	struct shard *s = shard_lock(c, hash);
	struct shard_limits limits = s->limits;
	int err = copies_take_name(&copies, s, hash, name);
	size_t n;

	shard_unlock(s);
	n = err ? 0 : copies_show(&copies, &limits, now_s, max, visit, arg);
	copies_fini(&copies);
	return n;
}

size_t cache_show(struct cache *c, const struct dns_name *name, uint32_t now_s, size_t max,
	cache_visit *visit, void *arg)
{
	struct entry_copies copies = {0};
	size_t n = 0;
	int err = 0;

	if (name)
		return show_name(c, name, now_s, max, visit, arg);
	for (unsigned i = 0; i < SHARDS_MAX && n < max && !err; i++) {
		struct shard *s = &c->shards[i];
		struct shard_limits limits;

		copies_empty(&copies);
		pthread_mutex_lock(&s->lock);
		limits = s->limits;
		err = copies_take(&copies, s);
		shard_unlock(s);
		if (!err)
			n += copies_show(&copies, &limits, now_s, max - n, visit, arg);
	}
	copies_fini(&copies);
	return n;
}
