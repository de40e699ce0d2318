#include "gateway/egress/guard.h"

#include <ctype.h>
#include <errno.h>

static unsigned slot_of(const struct ip_addr *client, const char *host, const struct ip_port *at)
{
	uint64_t h = ip_addr_hash(client) ^ at->port;

	if (!host[0])
		h ^= ip_addr_hash(&at->addr) * 31;
	for (; *host; host++)
		h = (h ^ (uint64_t)tolower((unsigned char)*host)) * 0x100000001b3ull; /* FNV-1a */
	return (unsigned)((h * 0x9e3779b97f4a7c15ull) >> 32) % GUARD_SLOTS;
}

int guard_enter(struct guard *g, const struct ip_addr *client, const char *host,
	const struct ip_port *at, bool near, int64_t now_ms)
{
	unsigned i = slot_of(client, host, at);
	struct guard_slot *s = &g->slots[i];

	if (atomic_load_explicit(&s->refuse_until_ms, memory_order_relaxed) > now_ms)
		return -ELOOP;
	if (atomic_fetch_add_explicit(&s->open, 1, memory_order_relaxed) <
		(near ? GUARD_NEAR : GUARD_FAR))
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
