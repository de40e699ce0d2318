/* One server of a group, as it is known: how fast it answers, whether it does, where it is.
 * Immutable but for that, which all workers write. server.c owns the numbers, address.c (of servers
 * that have names) the addresses, health.c the probes. Only gateway/resolve sees this. */
#ifndef TUNGATE_RESOLVE_SERVER_H
#define TUNGATE_RESOLVE_SERVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/resolve/resolve.h"
#include "gateway/transport/transport.h"

#define SERVER_ADDRESSES_MAX 8
#define SERVER_FAILS_MAX     3 /* in a row, by silence or a broken way: it is down */

struct server {
	atomic_uint refs;
	struct transport_server *transport;
	char *group, *url, *host; /* host NULL: literal */
	uint16_t port;
	bool encrypted;
	bool by_name;	    /* a proxy resolves it: server_address() gives IP_NONE */
	uint64_t identity;  /* hash of everything that makes it another server */
	unsigned health_ms; /* 0: never probed; then tried again after 10 s */

	_Alignas(64) _Atomic uint64_t queries;
	_Atomic uint64_t failures, wrong_answers;
	_Atomic uint32_t rtt_us; /* smoothed, 1/8 for the newest (RFC 6298); 0: not known */
	_Atomic uint32_t p95_us; /* estimate of the 95th percentile; 0: fewer than 20 samples */
	_Atomic uint32_t samples;
	_Atomic uint32_t fails;	  /* in a row */
	_Atomic int64_t retry_ms; /* clock_ms(); not 0: it is down until a try then succeeds;
				     doubles from health_ms to 60 s */

	pthread_mutex_t lock;
	struct ip_addr addresses[SERVER_ADDRESSES_MAX]; /* the last good one first */
	size_t n_addresses;
	int64_t addresses_until_ms; /* when they are asked for again; used beyond it */
};

/* A server that previous has under the same identity is shared. */
int server_new(const struct conf_server *conf, const struct conf_upstream *upstream,
	const struct resolve_groups_config *config, struct server **ret);
struct server *server_ref(struct server *s);
void server_unref(struct server *s);

void server_asked(struct server *s);
void server_answered(struct server *s, int64_t rtt_us); /* 0: not known. It is up */
/* SERVFAIL and the like: it lives, but was no help. Counted. */
void server_declined(struct server *s);
/* Silence or a broken way; local: it was our fault (EMFILE…): counted, not held against it. */
void server_failed(struct server *s, bool local, int64_t now_ms);
enum server_state {
	SERVER_UP,
	SERVER_TRIAL, /* down, and this caller may make the one try that is due */
	SERVER_DOWN
};
/* TRIAL is told to one caller of all workers each time. */
enum server_state server_state(struct server *s, int64_t now_ms);
bool server_is_up(const struct server *s); /* without claiming a trial */

/* Where it is. 0; -EAGAIN: not known, server_resolve() finds out; fresh false: known, but ask again
 * in the background. */
int server_address(struct server *s, struct ip_port *ret, bool *ret_fresh);
void server_address_failed(struct server *s, const struct ip_addr *a); /* goes last */

/* Waits for the addresses of a server; one look-up for all that wait in this resolver. */
struct server_wait {
	void (*done)(struct server_wait *w, int error); /* not before server_resolve() returns */
	struct server_wait *next, **prev;
};
/* w NULL: in the background. */
void server_resolve(struct resolver *r, struct resolve_groups *g, struct server *s, int bootstrap,
	struct server_wait *w);
void server_wait_cancel(struct server_wait *w); /* fine when it is over */

/* health.c: of this resolver, if its configuration says `probes`. */
struct health;
int health_new(struct resolver *r, struct health **ret);
void health_use(struct health *h, struct resolve_groups *g);
void health_now(struct health *h);  /* those that are down at once */
void health_free(struct health *h); /* its probes are over */

#endif
