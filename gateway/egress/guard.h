/* Stops loops through a proxy: its own connection comes back to us as a client's, we dial the proxy
 * for it, and so on without end. What tells such dials from a busy client's: none of them ever
 * connects, for each waits for the next. So dials of one client to one destination are counted
 * until one of them connects, and beyond a limit they are refused: low for a client that stands on
 * the proxy's own host, high for all others (a load test may begin a thousand connections at once).
 * A refusal lasts a while, so that all branches of the tree fall at once.
 *
 * Where the client's connection was accepted before the dial (real addresses), a loop's dials do
 * connect, each for the next. There a client on the proxy's own host may begin some at once, and
 * then so many a second.
 *
 * Counters are shared by hash and only ever estimated: any thread, no lock. */
#ifndef TUNGATE_EGRESS_GUARD_H
#define TUNGATE_EGRESS_GUARD_H

#include <stdatomic.h>

#include "gateway/base/addr.h"

#define GUARD_SLOTS	256
#define GUARD_NEAR	32
#define GUARD_FAR	1024
#define GUARD_REFUSE_MS 2000
#define GUARD_BURST	64
#define GUARD_EVERY_MS	60 /* one of the burst is forgotten */

struct guard {
	struct guard_slot {
		_Atomic uint32_t open; /* begun since one has connected, not ended */
		_Atomic int64_t refuse_until_ms;
		_Atomic uint32_t burst; /* begun, less what is forgotten until burst_ms */
		_Atomic int64_t burst_ms;
	} slots[GUARD_SLOTS];
};

enum guard_limit {
	GUARD_IS_FAR,
	GUARD_IS_NEAR,	   /* the client stands where the proxy does */
	GUARD_IS_ACCEPTED, /* it does, and its connection stands already */
};
/* The slot, for guard_leave(), or -ELOOP. */
int guard_enter(struct guard *g, const struct ip_addr *client, const char *host,
	const struct ip_port *at, enum guard_limit limit, int64_t now_ms);
void guard_leave(struct guard *g, int slot, bool connected);

#endif
