/* Egress connections that wait for their client. A SYN to a fake address is held until the egress
 * has connected; the connected socket then waits here as a plain descriptor, with no operation in
 * flight, until the client's connection is accepted, by whichever worker. A SYN that is sent again
 * finds its entry: it is not dialled twice. Shared by all workers, sharded by key, bounded; what
 * nobody comes for is closed. */
#ifndef TUNGATE_CARRY_WAITING_H
#define TUNGATE_CARRY_WAITING_H

#include "gateway/base/addr.h"

struct egress_state;

struct waiting_key {
	struct ip_port client, fake;
};

struct waiting_conn {
	int fd;
	struct egress_state *state; /* the flow counts on it; egress_flow_end() is the taker's */
	uint32_t index;		    /* of the mapping, held (fakeip_hold); the taker releases it */
	unsigned idle_ms;
};

struct waiting;
/* drop: closes a connection that nobody came for (also gives back what it holds); any thread's. */
int waiting_new(unsigned max, void (*drop)(void *arg, const struct waiting_conn *c), void *arg,
	struct waiting **ret);
void waiting_free(struct waiting *w); /* drops all; NULL is fine */

/* 0: the caller dials, and then calls waiting_ready() or waiting_fail(). -EINPROGRESS: somebody is
 * dialling. -EEXIST: it has been dialled, the SYN may be put back. -ENOSPC. */
int waiting_claim(struct waiting *w, const struct waiting_key *k, int64_t now_ms);
void waiting_ready(struct waiting *w, const struct waiting_key *k, const struct waiting_conn *c,
	int64_t now_ms);
void waiting_fail(struct waiting *w, const struct waiting_key *k);
/* The connection and all that goes with it is the caller's. -ENOENT. */
int waiting_take(struct waiting *w, const struct waiting_key *k, struct waiting_conn *ret);
/* Drops connections that have waited for longer than WAITING_MS, and claims that nobody ended in
 * WAITING_CLAIM_MS. Any thread, about once a second. */
#define WAITING_MS	 10000
#define WAITING_CLAIM_MS 60000
void waiting_expire(struct waiting *w, int64_t now_ms);
unsigned waiting_count(const struct waiting *w);

#endif
