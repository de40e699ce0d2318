/* The addresses of proxies that are configured by name, for the dialer that reaches servers: asked
 * of the group `bootstrap`, both families at once. (carry/lookup.c does so for the relay's.) */
#include <errno.h>
#include <string.h>

#include "gateway/resolve/resolve_internal.h"

#define LOOKUP_MS    5000
#define TOLD_MAX     8
#define EGRESSES_MAX 256

struct lookup {
	struct resolver *resolver;
	struct egress_lookup *asker;
	struct resolve_request a, aaaa;
	unsigned pending;
	int error;
	size_t n;
	struct ip_addr v[TOLD_MAX];
	uint32_t ttl_s;
};

size_t proxy_lookup_size(void)
{
	return sizeof(struct lookup);
}

static void take_address(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct lookup *k = arg;

	if (k->n == TOLD_MAX)
		return;
	k->v[k->n++] = size == 4 ? ip_addr_v4(address) : ip_addr_v6(address);
	if (ttl_s < k->ttl_s)
		k->ttl_s = ttl_s;
}

static void give_back(struct lookup *k)
{
	k->asker->priv = NULL;
	slab_give(&k->resolver->lookups, k);
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

/* A server may have been taken over from an older configuration with its egress, whose group number
 * means another one by now: what counts is who resolves this proxy today. */
static int bootstrap_today(
	const struct resolve_groups *g, const struct egress_set *s, int bootstrap, const char *host)
{
	struct egress_info info[EGRESSES_MAX];
	size_t n;

	if (s == g->egresses)
		return bootstrap;
	n = g->egresses ? egress_list(g->egresses, info, EGRESSES_MAX) : 0;
	for (unsigned i = 0; i < n; i++) {
		const struct conf_egress *e = egress_conf(g->egresses, i);

		if (e->server.host && strcmp(e->server.host, host) == 0)
			return e->bootstrap;
	}
	return -1;
}

void proxy_lookup_begin(void *arg, const struct egress_set *s, int bootstrap, const char *host,
	struct egress_lookup *l)
{
	struct resolver *r = arg;
	struct resolve_groups *g = r->groups;
	int64_t deadline_ms = loop_now_ms(r->loop) + LOOKUP_MS;
	struct resolve_question q = {.type = DNS_A, .flags = RESOLVE_ALLOW_REBIND};
	struct dns_name name;
	struct lookup *k;

	q.group = g ? bootstrap_today(g, s, bootstrap, host) : -1;
	if (q.group < 0 || (size_t)q.group >= g->n_groups ||
		dns_name_parse(host, strlen(host), &name)) {
		l->done(l, NULL, 0, 0, -EHOSTUNREACH);
		return;
	}
	k = slab_take(&r->lookups);
	if (!k) {
		l->done(l, NULL, 0, 0, -ENOMEM);
		return;
	}
	*k = (struct lookup){.resolver = r, .asker = l, .pending = 3, .ttl_s = UINT32_MAX};
	l->priv = k;
	q.name = &name;
	resolve_groups_ref(g); /* a callback may bring others */
	resolve_ask(r, g, &q, deadline_ms, &k->a, answered_a);
	q.type = DNS_AAAA;
	resolve_ask(r, g, &q, deadline_ms, &k->aaaa, answered_aaaa);
	resolve_groups_unref(g);
	settle(k); /* the third: an answer may come before both have been asked */
}

void proxy_lookup_cancel(void *arg, struct egress_lookup *l)
{
	struct lookup *k = l->priv;

	(void)arg;
	if (!k)
		return;
	resolve_cancel(&k->a);
	resolve_cancel(&k->aaaa);
	give_back(k);
}
