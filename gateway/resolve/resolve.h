/* Resolving upstream. resolve_ask() is the only way in, for queries, carrying, warm-up, bootstrap
 * and proxies' names; the cache stands before it, and identical questions share one flight. Each
 * worker has a resolver of its own (its connections, its flights); cache and groups are shared.
 *
 * A flight (flight.c) asks servers of the group, in the order and as many at once as the strategy
 * says (strategy.c), hedges when one is slower than its own p95, goes on to the next when one
 * fails, and to the group's fall-back when all did; all within total_ms and the caller's deadline.
 * What comes back is believed only when it is ours and no forgery (judge.c); then it is put into
 * its stored form, cached and handed to all who wait.
 *
 * Answers are handed out in the stored form (gateway/dns/stored.h), aged to now. */
#ifndef TUNGATE_RESOLVE_RESOLVE_H
#define TUNGATE_RESOLVE_RESOLVE_H

#include "conf/config.h"
#include "gateway/cache/cache.h"
#include "gateway/dns/stored.h"
#include "gateway/egress/egress.h"
#include "gateway/loop/loop.h"

/* The configuration's upstreams: immutable but for what is known of the servers (health, addresses,
 * counters), which a successor takes over for servers that it has, too. Shared by workers. */
struct resolve_groups;
struct resolver;

/* own_mark goes on every packet, or-ed with the group's or the server's mark. egresses: of the same
 * configuration; a reference is taken. previous: NULL, or the groups before a reload. report: a CA
 * file that cannot be read, at the server's place. Copies what it needs. -EINVAL after an error was
 * reported, -ENOMEM. */
struct resolve_groups_config {
	const struct config *config;
	struct egress_set *egresses;
	struct resolve_groups *previous;
	void (*report)(void *arg, unsigned line, unsigned column, const char *text);
	void *report_arg;
};
int resolve_groups_new(const struct resolve_groups_config *config, struct resolve_groups **ret);
struct resolve_groups *resolve_groups_ref(struct resolve_groups *g);
void resolve_groups_unref(struct resolve_groups *g); /* any thread */

struct resolve_server_info {
	const char *group, *url;
	bool up;
	uint32_t rtt_us, p95_us;
	uint64_t queries, failures, wrong_answers;
};
size_t resolve_servers(const struct resolve_groups *g, struct resolve_server_info *ret, size_t max);
/* What the groups' guards did, since the first start: rebind, forged (ignore_ip, min_rtt,
 * require_edns, window), poisoned (names known now). */
struct resolve_counters {
	uint64_t rebind, forged, bogus, poisoned;
};
void resolve_counters(const struct resolve_groups *g, struct resolve_counters *ret);
const char *resolve_group_name(const struct resolve_groups *g, int group);
/* Is this one of the servers' addresses? For the loop detection. */
bool resolve_is_server(const struct resolve_groups *g, const struct ip_addr *a);

struct resolver_config {
	struct loop *loop;
	struct cache *cache; /* shared by all workers */
	uint64_t hash_key;   /* dns_name_hash() of names, the cache's too */
	/* Egress dialler's, see egress.h: NULL is never forbidden. */
	bool (*forbidden)(void *arg, const struct ip_port *to);
	/* Addresses of the house that upstream may not name (rebind): our pools. */
	bool (*in_pools)(void *arg, const uint8_t *address, size_t size);
	void *arg;
	bool probes; /* this one asks servers that are down how they are */
};
int resolver_new(const struct resolver_config *config, struct resolver **ret);
/* These groups are the current ones: probes are theirs. Takes a reference. */
void resolver_use(struct resolver *r, struct resolve_groups *g);
/* The host's addresses or routes changed: dead connections are dropped, servers that are down are
 * tried again at once, failures are forgotten. */
void resolver_network_changed(
	struct resolver *r, bool (*is_ours)(void *arg, const struct ip_addr *a), void *arg);
/* Ends all flights with -ECANCELED and frees once the last operation has ended; calls done(arg)
 * then: before this returns if nothing was in flight, else in a later turn. Also from a callback of
 * resolve_ask(); asking until done gives -ECANCELED. */
void resolver_stop(struct resolver *r, void (*done)(void *arg), void *arg);

enum resolve_flag {
	RESOLVE_CD = 1,
	RESOLVE_DO = 2,
	RESOLVE_STREAM = 4,	     /* the client came over a stream: for dns:// servers */
	RESOLVE_ALLOW_REBIND = 8,    /* the rule's `rebind: allow`… */
	RESOLVE_PROTECT_REBIND = 16, /* …or protect, whatever the group says */
	RESOLVE_NO_CACHE = 32,	     /* neither looked up nor kept */
	RESOLVE_LOOKED = 64, /* resolve_look() was asked: the cache does not count this look */
};

struct resolve_question {
	int group; /* an index of the configuration */
	const struct dns_name *name;
	uint64_t hash; /* dns_name_hash(name, hash_key); 0: not computed yet */
	uint16_t type;
	uint8_t flags;		    /* enum resolve_flag */
	const struct conf_ttl *ttl; /* a rule's bounds beside the cache's; NULL: none */
};

/* What resolve_look() will read begins its way to the processor. */
void resolve_prefetch(const struct resolver *r, uint64_t hash);
/* Looks into the cache only. Writes the aged answer into buf and returns its length; 0: ask.
 * *ret_stale: it is past its TTL (TTLs are 30 then), and its refresh failed lately: it may leave at
 * once (RFC 8767 5). An answer whose time is nearly over (cache.prefetch) is asked for again in the
 * background. */
size_t resolve_look(struct resolver *r, struct resolve_groups *g, const struct resolve_question *q,
	uint8_t *buf, size_t size, bool *ret_stale);

/* Embedded in who asks; stays where it is until answered or cancelled. */
struct resolve_request;
/* msg: a stored message, valid until the callback returns, or NULL with error: -ETIMEDOUT nobody
 * answered in time, -EHOSTUNREACH/-ECONNREFUSED/… the last server's error, -EBADMSG its answer was
 * broken, -EAGAIN the same failed within cache.failure_ttl, -EMFILE/-ENOMEM/-ENOBUFS (4096
 * questions are in flight already, or 3072 wait for this group and there are others), -ECANCELED.
 * rq->stale: msg is past its TTL. An rcode of SERVFAIL and the like is an answer when no server had
 * a better one. */
typedef void resolve_done(struct resolve_request *rq, const uint8_t *msg, size_t len, int error);
struct resolve_request {
	resolve_done *done;
	bool stale;
	struct resolve_request *next,
		**prev; /* from here on resolve's own: among those of the flight */
	void *flight;
	int64_t deadline_ms, stale_ms;
};

/* The flight holds a reference to g. The callback may come before this returns: for errors found at
 * once and for what the cache has. deadline_ms: on loop_now_ms()'s clock; of several who share a
 * flight each has its own. When a stale answer is there, it is handed out after 1.8 s (RFC 8767 5),
 * and the flight goes on for the cache. */
void resolve_ask(struct resolver *r, struct resolve_groups *g, const struct resolve_question *q,
	int64_t deadline_ms, struct resolve_request *rq, resolve_done *done);
/* No callback. Also when it was answered already. */
void resolve_cancel(struct resolve_request *rq);
/* Asks, unless it is being asked, for the cache alone. */
void resolve_refresh(
	struct resolver *r, struct resolve_groups *g, const struct resolve_question *q);
unsigned resolve_flights(const struct resolver *r); /* that are going on */

/* The view that an answer to this question is cached under: a hash of all settings of the group
 * that it depends on, and of the rule's. The same in another process with the same configuration.
 */
uint64_t resolve_view(const struct resolve_groups *g, const struct resolve_question *q);
/* The cache's key of a question; for explain and warm-up. */
void resolve_cache_key(const struct resolver *r, const struct resolve_groups *g,
	const struct resolve_question *q, struct cache_key *ret);

/* Is this question in flight upstream in any worker? Counts such a sighting; used for the loop
 * detection (interface.md, "Loops"). Returns which sighting within the flight it is (1, 2, 3 …), 0
 * if it is not in flight. Any thread. */
unsigned resolve_sighted(struct resolve_groups *g, const struct dns_name *name, uint16_t type);

/* --- addresses of servers that have names --- */

/* Last good ones, from and to a file (JSON, base/file.h): so that a start needs no bootstrap.
 * -ENOENT, -EBADMSG (nothing is taken). Save writes only if something changed since the last time.
 * Main thread. */
int resolve_addresses_load(struct resolve_groups *g, const char *path);
int resolve_addresses_save(struct resolve_groups *g, const char *path);

#endif
