#include "gateway/egress/guard.h"

#include <ctype.h>
#include <errno.h>

#include "gateway/base/clock.h"
#include "gateway/egress/egress_internal.h"

static unsigned slot_of(const struct ip_addr *client, const char *host, const struct ip_port *at)
{
	uint64_t h = ip_addr_hash(client) ^ at->port;

	if (!host[0])
		h ^= ip_addr_hash(&at->addr) * 31;
	for (; *host; host++)
		h = (h ^ (uint64_t)tolower((unsigned char)*host)) * 0x100000001b3ull; /* FNV-1a */
	return (unsigned)((h * 0x9e3779b97f4a7c15ull) >> 32) % GUARD_SLOTS;
}

static bool is_too_fast(struct guard_slot *s, int64_t now_ms)
{
	int64_t at_ms = atomic_load_explicit(&s->burst_ms, memory_order_relaxed);
	uint32_t burst = atomic_load_explicit(&s->burst, memory_order_relaxed);
	int64_t over = (now_ms - at_ms) / GUARD_EVERY_MS;

	if (over > 0) {
		burst = over < burst ? burst - (uint32_t)over : 0;
		atomic_store_explicit(
			&s->burst_ms, at_ms + over * GUARD_EVERY_MS, memory_order_relaxed);
	}
	atomic_store_explicit(&s->burst, burst + 1, memory_order_relaxed);
	return burst >= GUARD_BURST;
}

int guard_enter(struct guard *g, const struct ip_addr *client, const char *host,
	const struct ip_port *at, enum guard_limit limit, int64_t now_ms)
{
	unsigned i = slot_of(client, host, at);
	struct guard_slot *s = &g->slots[i];
	bool too_fast;

	if (atomic_load_explicit(&s->refuse_until_ms, memory_order_relaxed) > now_ms)
		return -ELOOP;
	too_fast = limit == GUARD_IS_ACCEPTED && is_too_fast(s, now_ms);
	if (atomic_fetch_add_explicit(&s->open, 1, memory_order_relaxed) <
			(limit == GUARD_IS_FAR ? GUARD_FAR : GUARD_NEAR) &&
		!too_fast)
		return (int)i;
	guard_leave(g, (int)i, false);
	atomic_store_explicit(&s->refuse_until_ms, now_ms + GUARD_REFUSE_MS, memory_order_relaxed);
	return -ELOOP;
}

void guard_leave(struct guard *g, int slot, bool connected)
{
	_Atomic uint32_t *open = &g->slots[slot].open;
	uint32_t n = atomic_load_explicit(open, memory_order_relaxed);

	if (connected) {
		if (n)
			atomic_store_explicit(open, 0, memory_order_relaxed);
		return;
	}
	/* Not below zero: those that were open when one connected are forgotten already. */
	while (n && !atomic_compare_exchange_weak_explicit(
			    open, &n, n - 1, memory_order_relaxed, memory_order_relaxed))
		;
}

/* --- for a dial, an association --- */

static bool is_near(const struct egress_target *t, const struct egress *e)
{
	struct egress_state *st = e->state;
	bool near = t->client_is_host && atomic_load_explicit(&st->here, memory_order_relaxed);

	if (near || !e->conf.server.host)
		return near || ip_addr_equal(&t->client, &e->conf.server.at.addr);
	pthread_mutex_lock(&st->lock);
	for (size_t i = 0; i < st->n; i++)
		near |= ip_addr_equal(&t->client, &st->addresses[i]);
	pthread_mutex_unlock(&st->lock);
	return near;
}

int guard_begin(struct egress_set *s, unsigned leaf, const struct egress_target *t,
	struct egress_state **ret_guarded)
{
	const struct egress *e = &s->v[leaf];
	enum guard_limit limit = GUARD_IS_FAR;
	int slot;

	*ret_guarded = NULL;
	if (t->client.family == IP_NONE ||
		(e->conf.type != CONF_EGRESS_SOCKS5 && e->conf.type != CONF_EGRESS_HTTP))
		return -1;
	if (is_near(t, e))
		limit = t->accepted ? GUARD_IS_ACCEPTED : GUARD_IS_NEAR;
	slot = guard_enter(&e->state->guard, &t->client, t->host, &t->at, limit, clock_ms());
	if (slot >= 0)
		*ret_guarded = state_ref(e->state);
	return slot;
}

/* A proxy on this host is connected to from its own address. */
void guard_proxy_connected(struct egress_state *st, int fd, const struct sockaddr_storage *to)
{
	struct sockaddr_storage from;
	struct ip_port own, proxy;
	socklen_t len = sizeof from;

	if (atomic_load_explicit(&st->here, memory_order_relaxed) ||
		getsockname(fd, (struct sockaddr *)&from, &len) < 0)
		return;
	ip_port_from_sockaddr((struct sockaddr *)&from, &own);
	ip_port_from_sockaddr((const struct sockaddr *)to, &proxy);
	if (ip_addr_equal(&own.addr, &proxy.addr))
		atomic_store_explicit(&st->here, true, memory_order_relaxed);
}
