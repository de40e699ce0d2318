#include "gateway/resolve/lookup.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "gateway/base/container.h"

#define LOOKUP_MS 5000
#define TOLD_MAX  8

struct lookup {
	struct lookups *all;
	struct egress_lookup *asker;
	struct resolve_request a, aaaa;
	unsigned pending;
	int error;
	size_t n;
	struct ip_addr v[TOLD_MAX];
	uint32_t ttl_s;
};

void lookups_init(struct lookups *ls, struct loop *loop, struct resolver *resolver, unsigned max)
{
	*ls = (struct lookups){.loop = loop, .resolver = resolver};
	slab_init(&ls->slab, sizeof(struct lookup), max);
}

void lookups_fini(struct lookups *ls)
{
	assert(ls->n == 0);
	slab_fini(&ls->slab);
}

static void take_address(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct lookup *k = arg;

	if (k->n == TOLD_MAX)
		return;
	k->v[k->n++] = ip_addr_of(address, size);
	if (ttl_s < k->ttl_s)
		k->ttl_s = ttl_s;
}

static void give_back(struct lookup *k)
{
	struct lookups *ls = k->all;

	k->asker->priv = NULL;
	ls->n--;
	slab_give(&ls->slab, k);
}

static void settle(struct lookup *k)
{
	struct lookup copy;

	if (--k->pending)
		return;
	copy = *k;
	give_back(k);
	if (copy.n == 0 && copy.error == 0)
		copy.error = -EHOSTUNREACH;
	copy.asker->done(copy.asker, copy.v, copy.n, copy.ttl_s, copy.n ? 0 : copy.error);
}

static void answered(struct lookup *k, const uint8_t *msg, size_t len, int error)
{
	if (error)
		k->error = error;
	else
		dns_response_addresses(msg, len, take_address, k);
	settle(k);
}

static void answered_a(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	answered(container_of(rq, struct lookup, a), msg, len, error);
}

static void answered_aaaa(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	answered(container_of(rq, struct lookup, aaaa), msg, len, error);
}

void lookups_begin(struct lookups *ls, struct resolve_groups *g, int group, const char *host,
	struct egress_lookup *l)
{
	int64_t deadline_ms = loop_now_ms(ls->loop) + LOOKUP_MS;
	struct dns_name name;
	/* A proxy may well be in the house. */
	struct resolve_question q = {
		.group = group, .name = &name, .type = DNS_A, .flags = RESOLVE_ALLOW_REBIND};
	struct lookup *k;

	if (group < 0 || dns_name_parse(host, strlen(host), &name)) {
		l->done(l, NULL, 0, 0, -EHOSTUNREACH);
		return;
	}
	k = slab_take(&ls->slab);
	if (!k) {
		l->done(l, NULL, 0, 0, -ENOMEM);
		return;
	}
	*k = (struct lookup){.all = ls, .asker = l, .pending = 3, .ttl_s = UINT32_MAX};
	l->priv = k;
	ls->n++;
	resolve_groups_ref(g); /* a callback may bring others */
	resolve_ask(ls->resolver, g, &q, deadline_ms, &k->a, answered_a);
	q.type = DNS_AAAA;
	resolve_ask(ls->resolver, g, &q, deadline_ms, &k->aaaa, answered_aaaa);
	resolve_groups_unref(g);
	settle(k); /* the third: an answer may come before both have been asked */
}

void lookups_cancel(void *arg, struct egress_lookup *l)
{
	struct lookup *k = l->priv;

	(void)arg;
	if (!k)
		return;
	resolve_cancel(&k->a);
	resolve_cancel(&k->aaaa);
	give_back(k);
}
