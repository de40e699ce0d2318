/* What the files of this room share: groups.c owns the groups, sighting.c the sightings, resolver.c
 * the resolver, ask.c those who wait, flight.c the flights, try.c their tries, strategy.c who is
 * asked, result.c what an answer becomes. */
#ifndef TUNGATE_RESOLVE_INTERNAL_H
#define TUNGATE_RESOLVE_INTERNAL_H

#include <stdatomic.h>

#include "gateway/base/clock.h"
#include "gateway/base/container.h"
#include "gateway/base/count.h"
#include "gateway/base/slab.h"
#include "gateway/resolve/judge.h"
#include "gateway/resolve/lookup.h"
#include "gateway/resolve/resolve.h"
#include "gateway/resolve/server.h"
#include "gateway/transport/transport.h"

#define RESOLVE_FLIGHTS_MAX   4096 /* a resolver; the next one gets -ENOBUFS */
#define RESOLVE_BUCKETS	      4096
#define RESOLVE_WAITING_MAX   3072 /* for one group of several: those that fail leave room */
#define RESOLVE_WAITING_SLOTS 64   /* groups are counted together from there on */
#define RESOLVE_REFRESHES_MAX 64   /* a resolver; the cache will say so again */
#define RESOLVE_LINGERING_MAX 512  /* flights that are over but for what they learn */
#define RESOLVE_WINDOWS_MAX   512  /* answers that are kept while a window is open */
#define RESOLVE_SCRATCHES_MAX 8	   /* callbacks that ask within callbacks */
#define RESOLVE_LOOKUPS_MAX   64   /* proxies' names */
#define RESOLVE_RANDOM_WORDS  128
#define RESOLVE_NEVER_MS      (INT64_MAX / 2)

#define FLIGHT_TRIES	  4    /* at once */
#define FLIGHT_HEDGED	  3    /* of these when one after the other is asked */
#define FLIGHT_ORDER_MAX  16   /* servers of a group that one question meets at most */
#define FLIGHT_GROUPS_MAX 4    /* a group and its fall-backs */
#define STALE_WAIT_MS	  1800 /* RFC 8767 5 */
#define STALE_TTL_S	  30   /* RFC 8767 4 */

/* --- groups --- */

/* What guards did; handed on from configuration to configuration. */
struct guards {
	atomic_uint refs;
	_Atomic uint64_t rebind, forged, bogus;
};
/* The names of which forgeries were seen in a group; likewise. */
struct suspects {
	atomic_uint refs;
	struct poisoned names;
};

struct group {
	char *name;
	struct server **servers;
	size_t n_servers;
	enum conf_strategy strategy;
	enum conf_all_down all_down;
	unsigned timeout_ms, total_ms, window_ms;
	int bootstrap, fallback; /* -1: none */
	bool downgrade, rebind_protect, case_randomization;
	bool encrypted;	    /* one of the servers, at least */
	struct dns_ecs ecs; /* family 0: none */
	struct judge_rules rules;
	struct suspects *suspects; /* NULL: it has no rule that shows a forgery */
	uint64_t identity;     /* of all that its answers depend on; the same in another process */
	_Atomic unsigned turn; /* round_robin's */
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
	struct egress_set *egresses; /* NULL: none */
	struct guards *guards;
	uint32_t min_ttl_s, max_ttl_s, negative_ttl_s, failure_ttl_s;
	uint64_t sighting_key;
	_Atomic uint64_t sightings[SIGHTING_SLOTS];
};

/* Which group resolves the name of a proxy: bootstrap, if s is of this configuration. -1: none. */
int groups_bootstrap(const struct resolve_groups *g, const struct egress_set *s, int bootstrap,
	const char *host);

/* Returns the slot for sighting_leave(), or -1. */
int sighting_enter(struct resolve_groups *g, const struct dns_name *name, uint16_t type);
void sighting_leave(struct resolve_groups *g, int slot);

/* --- flights --- */

enum try_state {
	TRY_FREE,
	TRY_WAITS, /* for the server's address */
	TRY_OPEN
};
/* One server that is asked. */
struct
try {
	struct transport_try t;
	struct server_wait wait;
	struct flight *flight;
	struct group *group; /* whose rules its answer is judged by */
	struct server *server;
	int64_t end_ms, resend_ms; /* resend 0: not any more */
	int64_t resent_us;	   /* 0: it was sent once */
	uint64_t case_seed;	   /* 0: lower case */
	uint8_t state;
	bool trial;
	bool case_lost; /* somebody answered in other letters */
};

/* An answer that waits for a better one. */
struct windowed {
	struct try *try;
	int64_t end_ms;
	size_t len;
	uint32_t age_s;
	uint8_t msg[4096];
};

/* One question on its way upstream and all who wait for it. From its start until flight_finish() it
 * stands in the table; `pinned` while callbacks run, when nobody but the function that pinned it
 * may end it. After that it may linger: tries of it that were overtaken are waited for, so that
 * what is known of their servers is true; that is all they are good for then. */
struct flight {
	struct resolver *resolver;
	struct resolve_groups *groups;
	struct group *first, *group; /* whose question it is; who is asked now */
	struct flight *next, **prev; /* in the bucket, or among the lingering */
	struct resolve_request *requests, *leaving;
	struct loop_timer timer;
	struct try tries[FLIGHT_TRIES];
	struct windowed *window; /* NULL: none is open */
	int64_t end_ms, group_end_ms;
	int64_t hedge_ms; /* when the next server is asked beside */
	int64_t due_ms;	  /* no request's deadline or stale time is earlier */
	int error;	  /* the last try's */
	uint8_t order[FLIGHT_ORDER_MAX], n_order, next_order;
	uint8_t at_once; /* tries */
	uint8_t hops;	 /* groups so far, less one */
	uint8_t rcode;	 /* of the last answer that declined; 0: there was none */
	uint8_t flags;	 /* enum resolve_flag */
	uint16_t type;
	bool encrypted_only;  /* downgrade: no */
	bool suspect;	      /* forgeries of this name were seen in this group */
	bool learns;	      /* tries that are overtaken linger */
	bool asked;	      /* somebody was asked */
	bool refresh;	      /* goes on with nobody waiting */
	bool counted_refresh; /* among RESOLVE_REFRESHES_MAX */
	bool pinned, lingers;
	int sighting;
	uint32_t hedge_cap_ms; /* what the best server would have needed, when another is tried */
	uint32_t ttl_min_s, ttl_max_s, negative_max_s;
	bool ttl_zero;
	uint64_t hash, view; /* of the name; of the question */
	struct dns_name name;
};

/* strategy.c: who is asked, in which order; sets order, n_order, at_once, learns, hedge_cap_ms for
 * the flight's group. Servers that are down come last or not at all. Claims trials. */
void strategy_plan(struct flight *f, int64_t now_ms);
int64_t strategy_hedge_ms(const struct flight *f, const struct server *s); /* from now */

/* try.c. 0: it is open or waits for an address; or a negative errno: it is free. */
int try_start(struct try *y, struct group *group, struct server *s, bool stream);
int try_resend(struct try *y);	 /* 0 or -errno; then it is free */
void try_give_up(struct try *y); /* silence: held against the server */
void try_close(struct try *y);	 /* fine when it is free */
bool error_is_local(int error);	 /* what happened to us, not to the server */

/* flight.c */
struct flight *flight_find(
	struct resolver *r, const struct group *group, const struct resolve_question *q);
/* NULL: no memory, or too many. Its caller adds who waits, then starts it. */
struct flight *flight_new(
	struct resolver *r, struct resolve_groups *g, const struct resolve_question *q);
void flight_start(struct flight *f);
struct try *flight_slot(struct flight *f); /* a free one, or NULL */
/* Opens `more` further tries, or one if none is left; goes on to the fall-back; sets the timer. f
 * may be over after it. A lingering one ends when its last try has. */
void flight_go_on(struct flight *f, unsigned more);
int flight_timer_set(struct flight *f);	   /* -ENOMEM only while it is not set */
void flight_timer_renew(struct flight *f); /* the same; f may be over after it */
/* A judged message for y, which is closed; f is over then. -EBADMSG, -ENOMEM: nothing has happened.
 */
int flight_answer(struct flight *f, struct try *y, const uint8_t *msg, size_t len, uint32_t age_s);
void flight_answer_window(struct flight *f); /* with what is in it */
void flight_fail(struct flight *f, int error);
void flight_cancel(struct flight *f);		/* -ECANCELED to all */
void flight_end(struct flight *f, bool linger); /* nobody waits any more */
void flight_drop(struct flight *f);		/* a lingering one */

/* ask.c: those who wait. msg with an error: an answer that is no help, if the cache has no better.
 */
void requests_answer(struct flight *f, const uint8_t *msg, size_t len, int error);
/* Of those whose time has come. False: the flight is over. */
bool requests_due(struct flight *f, int64_t now_ms);
void flight_key(const struct flight *f, struct cache_key *ret);

/* result.c. Turns an answer into its stored form in buf (DNS_MESSAGE_MAX) and keeps it. Its
 * length, or -EBADMSG. */
int result_make(struct flight *f, const struct group *by, const uint8_t *msg, size_t len,
	uint32_t age_s, uint8_t *buf);
/* A message with the question and an rcode, and a made-up SOA if ttl_s is not 0; buf[512]. */
size_t result_empty(const struct flight *f, enum dns_rcode rcode, uint32_t ttl_s, uint8_t *buf);
bool result_is_protected(const struct group *by, unsigned flags); /* rebind */

/* --- the resolver --- */

/* What the last resolve_look() found, for the resolve_ask() right after it. */
struct looked {
	uint64_t hash, view;
	uint16_t type;
	uint8_t flags;
	enum cache_state state;
};

struct resolver {
	struct loop *loop;
	struct resolver_config c;
	struct resolve_groups *groups; /* the current ones; NULL at first */
	struct egress_dialer *dialer;
	struct transports *transports;
	struct health *health; /* NULL: another worker's */
	struct slab flights, windows;
	struct lookups lookups; /* for the dialer */
	struct looked looked;
	struct flight *lingering;
	unsigned n_flights, n_lingering, n_refreshes;
	unsigned waiting[RESOLVE_WAITING_SLOTS]; /* requests, by the group's number */
	size_t holds;				 /* flights, and callbacks that run */
	bool stopping, shut;			 /* shut: it is past its flights */
	/* Goes on with stopping when nothing holds it: not sooner, for callbacks are running.
	 * Always set, so that setting it needs no memory. */
	struct loop_timer end;
	void (*stopped)(void *arg);
	void *stopped_arg;
	unsigned n_scratches;
	uint8_t *scratches[RESOLVE_SCRATCHES_MAX]; /* DNS_MESSAGE_MAX each; made as needed, kept */
	size_t random_left;
	uint64_t random[RESOLVE_RANDOM_WORDS];
	struct flight *buckets[RESOLVE_BUCKETS];
};

static inline void resolver_hold(struct resolver *r)
{
	r->holds++;
}
void resolver_release(struct resolver *r); /* r is still there until the running callback returns */
/* server_answered(), and what is to be done when it is up again. */
void resolver_answered(struct resolver *r, struct server *s, int64_t rtt_us);
/* From the kernel's randomness, fetched a pool at a time. */
uint64_t resolver_random(struct resolver *r);
/* A buffer of DNS_MESSAGE_MAX bytes, given back in the opposite order; NULL: none is left. */
uint8_t *scratch_take(struct resolver *r);
void scratch_give(struct resolver *r);
static inline uint32_t resolver_now_s(const struct resolver *r) /* the cache's clock */
{
	return (uint32_t)(loop_now_ms(r->loop) / 1000);
}

#endif
