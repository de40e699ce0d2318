/* One server of a group, as it is known: how fast it answers, whether it does, where it is.
 * Immutable but for that, which all workers write. server.c owns the numbers, address.c the
 * addresses, address_lookup.c how those of servers that have names are found, health.c the probes.
 * Only gateway/resolve sees this. */
#ifndef TUNGATE_RESOLVE_SERVER_H
#define TUNGATE_RESOLVE_SERVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/resolve/resolve.h"
#include "gateway/transport/transport.h"

#define SERVER_ADDRESSES_MAX 8
#define SERVER_TTL_MIN_S     30 /* of addresses, and at most */
#define SERVER_TTL_MAX_S     86400
#define SERVER_FAILS_MAX     3 /* in a row, by silence or a broken way: it is down */

struct server {
	atomic_uint refs;
	struct transport_server *transport;
	char *group, *url, *host; /* host NULL: literal */
	struct ip_port at;	  /* family IP_NONE with a host; its port counts in both cases */
	bool encrypted;
	bool follows_client;	/* dns://: over TCP for who came so */
	bool by_name;		/* a proxy resolves it: server_address() gives IP_NONE */
	uint64_t identity;	/* hash of everything that makes it another server… */
	struct egress_set *via; /* …but for the egress, which egress_same() compares; NULL: none */
	unsigned egress;
	unsigned health_ms; /* 0: never probed; then tried again after 10 s */

	_Alignas(64) _Atomic uint64_t queries;
	_Atomic uint64_t failures, wrong_answers;
	_Atomic uint32_t rtt_us;   /* smoothed, 1/8 for the newest (RFC 6298); 0: not known */
	_Atomic uint32_t p95_us;   /* estimate of the 95th percentile; 0: fewer than 20 samples */
	_Atomic uint32_t samples;  /* up to 20 */
	_Atomic uint32_t tail_us;  /* p95_us as it grows */
	_Atomic uint32_t below;	   /* samples below tail_us in a row */
	_Atomic uint32_t fails;	   /* in a row */
	_Atomic int64_t retry_ms;  /* clock_ms(); not 0: it is down until a try then succeeds */
	_Atomic uint32_t pause_ms; /* between trials: doubles from health_ms to 60 s */
	atomic_bool on_trial;

	pthread_mutex_t lock;				/* for all from here on */
	struct ip_addr addresses[SERVER_ADDRESSES_MAX]; /* the last good one first */
	size_t n_addresses;
	uint8_t addresses_failed;   /* a bit for each; these are the last ones */
	uint8_t family_failed;	    /* which goes last; IP_NONE: neither has failed */
	int64_t addresses_at_ms;    /* when they were looked up */
	int64_t addresses_until_ms; /* when they are asked for again; used beyond it */
	int64_t lookup_after_ms;    /* the last look-up failed: none before that */
	unsigned lookup_pause_ms;
	int lookup_error;
	struct server_lookup *lookups; /* each of another resolver */
};

/* A server that previous has under the same identity is shared. */
int server_new(const struct conf_server *conf, const struct conf_upstream *upstream,
	const struct resolve_groups_config *config, struct server **ret);
struct server *server_ref(struct server *s);
void server_unref(struct server *s);

void server_asked(struct server *s);
/* rtt_us 0: not known. It is up; true, to one caller: it was down until now. */
bool server_answered(struct server *s, int64_t rtt_us);
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
/* The network has changed: a trial is due now, if it is down. */
void server_try_soon(struct server *s, int64_t now_ms);

/* address.c's part of a server's life. What another one knew may be a start. */
void server_addresses_init(struct server *s, const struct ip_addr *literal);
void server_addresses_fini(struct server *s);
void server_addresses_adopt(struct server *s, struct server *from);
/* Copies at most SERVER_ADDRESSES_MAX. */
size_t server_addresses_get(struct server *s, struct ip_addr *ret);
/* In place of what is known, whose failures are remembered; n at most SERVER_ADDRESSES_MAX. With
 * the lock. */
void server_addresses_put(struct server *s, const struct ip_addr *v, size_t n);
/* Those of a file, to be asked for again; nothing if some are known. Can it be a server's? */
void server_addresses_load(struct server *s, const struct ip_addr *v, size_t n);
bool server_address_is_usable(const struct ip_addr *a);
void server_addresses_forgive(struct server *s); /* failures of before are forgotten */

/* Where it is. 0; -EAGAIN: not known, server_resolve() finds out; fresh false: known, but ask again
 * in the background. */
int server_address(struct server *s, struct ip_port *ret, bool *ret_fresh);
void server_address_failed(struct server *s, const struct ip_addr *a); /* goes last */
/* It has a name, and an address that has not failed comes next. */
bool server_has_address(struct server *s);

/* Waits for the addresses of a server; one look-up for all that wait in this resolver. */
struct server_wait {
	void (*done)(struct server_wait *w, int error); /* not before server_resolve() returns */
	struct server_wait *next, **prev;
};
/* w NULL: in the background. The error of a look-up: that of resolve_ask(), or -EHOSTUNREACH: the
 * name has no address. No memory: nothing is told, who waits has a deadline anyway. */
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
