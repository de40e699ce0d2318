/* The TCP relay: two connected sockets, each one's bytes go to the other, both directions at once,
 * with half-close and back-pressure. Knows neither fake addresses nor rules. One a worker, its
 * thread's.
 *
 * A flow that is idle costs its struct (some 230 bytes) and two polls: no pipe, no buffer. Little
 * is copied through one buffer of the relay's, bulk is moved by the kernel through a pipe of a
 * small pool; only what the other side did not take at once stays, in its socket or in the pipe,
 * and nothing more is read until that has left. An error on one side is a reset for both. */
#ifndef TUNGATE_CARRY_RELAY_H
#define TUNGATE_CARRY_RELAY_H

#include "gateway/loop/loop.h"

struct relay;

struct relay_flow_config {
	int client_fd, egress_fd; /* the relay's from now on, also on error */
	unsigned idle_ms;	  /* nothing in either direction for so long: both are closed */
	/* What was read from the client already; sent to the egress first. Copied. */
	const uint8_t *first;
	size_t first_len;
	/* Told to relay_config.ended. */
	void *owner;
	uint64_t number;
};

struct relay_config {
	struct loop *loop;
	/* A flow is over: both sockets are closed. */
	void (*ended)(void *arg, void *owner, uint64_t number);
	void *arg;
	unsigned max; /* flows */
};

int relay_new(const struct relay_config *config, struct relay **ret);
/* TCP sockets, connected, blocking or not. 0; or -ENOSPC (also when it is stopped), -ENOMEM: the
 * sockets are closed with a reset, ended() is not called; it never is from within this call. Sets
 * TCP_NODELAY on the client's, and keep-alive on both once they have lived for some seconds. */
int relay_start(struct relay *r, const struct relay_flow_config *config);
/* Ends every flow with a reset; done when relay_idle(). ended() may be called from within. */
void relay_stop(struct relay *r);
bool relay_idle(const struct relay *r);
void relay_free(struct relay *r); /* when idle; NULL is fine */

struct relay_counters {
	_Atomic uint64_t flows, live, to_egress_bytes, to_client_bytes, idled, resets;
};
const struct relay_counters *relay_counters(const struct relay *r);

#endif
