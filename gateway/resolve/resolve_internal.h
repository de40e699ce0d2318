/* What the files of this room share: groups.c owns servers and sightings, resolver.c the resolver,
 * flight.c the flights, transport_*.c the links. */
#ifndef TUNGATE_RESOLVE_INTERNAL_H
#define TUNGATE_RESOLVE_INTERNAL_H

#include <stdatomic.h>

#include "gateway/base/container.h"
#include "gateway/resolve/resolve.h"
#include "gateway/base/slab.h"
#include "gateway/resolve/transport.h"

#define RESOLVE_FLIGHTS_MAX 4096 /* a resolver; the next one gets -ENOBUFS */
#define RESOLVE_BUCKETS	    4096
/* A try that was given up keeps its socket until the kernel has ended the receive, hence more than
 * flights. */
#define RESOLVE_UDP_MAX	     (RESOLVE_FLIGHTS_MAX + 1024)
#define RESOLVE_UDP_IDLE_MAX 128
#define RESOLVE_TCP_MAX	     256
#define RESOLVE_BUFFER_BYTES 4096
#define RESOLVE_BUFFERS	     1024 /* the loop provides them as they are needed */
#define RESOLVE_RANDOM_BYTES 1024
#define RESOLVE_NEVER_MS     (INT64_MAX / 2)

/* Immutable but for the counters, which all workers write (relaxed: they are for people to look
 * at). */
struct server {
	const struct transport *transport;
	struct ip_addr address;
	struct sockaddr_storage at;
	socklen_t at_len;
	uint32_t mark; /* 0: none */
	const char *group;
	char *url;
	_Alignas(64) _Atomic uint64_t queries;
	_Atomic uint64_t failures, wrong_answers;
	_Atomic uint32_t rtt_us; /* smoothed, 1/8 for the newest (as RFC 6298 does) */
	_Atomic bool down;
};

struct group {
	char *name;
	struct server *servers;
	size_t n_servers;
	unsigned timeout_ms, total_ms;
};

/* Questions in flight in any worker, for resolve_sighted(). A slot is one word, so that each change
 * is one compare-and-swap: tag of name and type (40 bits), flights (12), sightings (12); 0 is free.
 * A question that finds no slot within its window is not entered: a sighting may be missed, but is
 * never made up. */
#define SIGHTING_SLOTS	4096
#define SIGHTING_WINDOW 8

struct resolve_groups {
	atomic_uint refs;
	size_t n_groups;
	struct group *groups;
	uint64_t sighting_key;
	_Atomic uint64_t sightings[SIGHTING_SLOTS];
};

/* Returns the slot for sighting_leave(), or -1. */
int sighting_enter(struct resolve_groups *g, const struct dns_name *name, uint16_t type);
void sighting_leave(struct resolve_groups *g, int slot);

void server_answered(struct server *s, int64_t rtt_us); /* 0: not known */
void server_failed(struct server *s, bool silent_or_broken);

/* One question on its way upstream and all who wait for it. From its start until flight_finish() it
 * stands in the table; `pinned` while callbacks run, when nobody but the function that pinned it
 * may end it. */
struct flight {
	struct resolver *resolver;
	struct resolve_groups *groups;
	const struct group *group;
	struct flight *next, **prev; /* in the bucket */
	struct resolve_request *requests, *expired;
	struct loop_timer timer;
	struct resolve_try try;
	size_t server;	   /* the one being tried */
	int64_t resend_ms; /* 0: not any more */
	uint8_t resends;   /* left */
	int64_t try_end_ms;
	int64_t end_ms;
	int64_t deadline_ms;  /* no request's is earlier */
	int error;	      /* the last try's */
	uint16_t error_flags; /* of the last SERVFAIL, NOTIMP, REFUSED or FORMERR; 0: there was none
			       */
	uint16_t type;
	uint8_t flags; /* enum resolve_flag */
	bool pinned;
	int sighting;
	uint64_t hash;
	struct dns_name name;
};

struct resolver {
	struct loop *loop;
	struct loop_buffers *buffers;
	struct slab flights, udp_links, tcp_links;
	struct udp_link *udp_idle[2]; /* IPv4, IPv6 */
	unsigned udp_idle_count;
	size_t holds; /* flights and links */
	bool stopping;
	/* Frees the resolver when it is stopping and nothing holds it: not sooner, for callbacks
	 * are running, and what they were given lies in `buffers`. Always set, so that setting it
	 * needs no memory. */
	struct loop_timer end;
	void (*stopped)(void *arg);
	void *stopped_arg;
	uint64_t hash_key;
	size_t random_left;
	uint8_t random[RESOLVE_RANDOM_BYTES];
	struct flight *buckets[RESOLVE_BUCKETS];
};

static inline void resolver_hold(struct resolver *r)
{
	r->holds++;
}
void resolver_release(struct resolver *r); /* r is still there until the running callback returns */
/* From the kernel's randomness, fetched a pool at a time. */
int resolver_random(struct resolver *r, uint16_t *ret);

void flight_finish(struct flight *f, const uint8_t *msg, size_t len, int error);
/* What the resolver's slabs are made for. */
size_t transport_udp_link_size(void);
size_t transport_tcp_link_size(void);
void transport_udp_fini(struct resolver *r); /* closes the idle sockets */

#endif
