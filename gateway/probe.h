/* Does the host's own firewall let LAN→TUN and TUN→LAN pass? With a forward policy of drop it often
 * does not (facts d4), and then interception by TUN would get no answer.
 *
 * One packet is followed both ways: a query that seems to come from a neighbour on the LAN is put
 * in as if received there (inject_from) and must come out of TUN; then an answer is written into
 * TUN and must reach our postrouting chain, which counts and drops it, so that nothing leaves the
 * host. Synchronous, at most about 0.4 s an interface. Main thread. */
#ifndef TUNGATE_PROBE_H
#define TUNGATE_PROBE_H

#include "gateway/plumbing.h"
#include "gateway/worker.h"

enum probe_result {
	PROBE_PASSES,
	PROBE_LAN_TO_TUN_BLOCKED,
	PROBE_TUN_TO_LAN_BLOCKED,
	PROBE_UNKNOWN, /* no interface of the LAN is there, or none has an IPv4 address */
};

/* The table must be in force, in any mode, and the workers running. *ret_ifindex: the interface
 * that it is about. */
enum probe_result probe_run(struct plumbing *p, const struct config *config, struct writer *w,
	struct inject *inject, struct worker_probe *target, unsigned *ret_ifindex);

/* Is this packet from TUN the probe's? Notes it. Workers' threads. */
bool probe_take(struct worker_probe *target, const uint8_t *payload, size_t len);

#endif
