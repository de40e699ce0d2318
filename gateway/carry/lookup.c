/* The addresses of proxies that are configured by name: asked of the group `bootstrap`, both
 * families at once. */
#include "gateway/base/container.h"
#include "gateway/carry/carry_internal.h"

#include <errno.h>
#include <string.h>

#define LOOKUP_MS   5000
#define TOLD_MAX    8
#define LOOKUPS_MAX 256

struct lookup {
	struct carry *carry;
	struct egress_lookup *asker;
	struct resolve_request a, aaaa;
	unsigned pending;
	int error;
	size_t n;
	struct ip_addr v[TOLD_MAX];
	uint32_t ttl_s;
};

void lookup_init(struct carry *c)
{
	slab_init(&c->lookups, sizeof(struct lookup), LOOKUPS_MAX);
}

static void take_address(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct lookup *k = arg;
	struct ip_addr a = size == 4 ? ip_addr_v4(address) : ip_addr_v6(address);

	if (k->n == TOLD_MAX)
		return;
	k->v[k->n++] = a;
	if (ttl_s < k->ttl_s)
		k->ttl_s = ttl_s;
}

static void give_back(struct lookup *k)
{
	struct carry *c = k->carry;

	k->asker->priv = NULL;
	c->n_lookups--;
	slab_give(&c->lookups, k);
}

static void settle(struct lookup *k)
{
	struct egress_lookup *asker = k->asker;
	struct lookup copy;

	if (--k->pending)
		return;
	copy = *k;
	give_back(k);
	asker->done(asker, copy.v, copy.n, copy.ttl_s,
		copy.n	     ? 0
		: copy.error ? copy.error
			     : -EHOSTUNREACH);
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

void lookup_begin(void *arg, const struct egress_set *s, int bootstrap, const char *host,
	struct egress_lookup *l)
{
	struct carry *c = arg;
	int64_t deadline_ms = loop_now_ms(c->c.loop) + LOOKUP_MS;
	struct resolve_question q;
	struct dns_name name;
	struct lookup *k;

	/* A dial may outlive its configuration; the number of a group means another one by now. */
	if (bootstrap < 0 || s != c->gen->egresses || dns_name_parse(host, strlen(host), &name)) {
		l->done(l, NULL, 0, 0, -EHOSTUNREACH);
		return;
	}
	k = slab_take(&c->lookups);
	if (!k) {
		l->done(l, NULL, 0, 0, -ENOMEM);
		return;
	}
	*k = (struct lookup){.carry = c, .asker = l, .pending = 3, .ttl_s = UINT32_MAX};
	l->priv = k;
	c->n_lookups++;
	q = (struct resolve_question){.group = bootstrap,
		.name = &name,
		.type = DNS_A,
		.flags = RESOLVE_ALLOW_REBIND}; /* a proxy may well be in the house */
	resolve_ask(c->c.resolver, c->gen->groups, &q, deadline_ms, &k->a, answered_a);
	q.type = DNS_AAAA;
	resolve_ask(c->c.resolver, c->gen->groups, &q, deadline_ms, &k->aaaa, answered_aaaa);
	settle(k); /* the third: an answer may come before both have been asked */
}

void lookup_cancel(void *arg, struct egress_lookup *l)
{
	struct lookup *k = l->priv;

	(void)arg;
	if (!k)
		return;
	resolve_cancel(&k->a);
	resolve_cancel(&k->aaaa);
	give_back(k);
}
