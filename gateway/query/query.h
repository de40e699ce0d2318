/* The life of a query: decide, answer, push, reply. One engine a worker; all functions belong to
 * its thread.
 *
 * A query never blocks the loop: query_handle() either answers at once into the caller's buffer, or
 * parks the query and answers later through the origin's reply function. An answer that came at
 * once must not leave before query_engine_commit() has run (new fake mappings reach the log first);
 * serve calls it once a turn. */
#ifndef TUNGATE_QUERY_QUERY_H
#define TUNGATE_QUERY_QUERY_H

#include "fakeip/fakeip.h"
#include "gateway/generation.h"
#include "netlink/forgetter.h"
#include "netlink/hosts.h"
#include "netlink/neighbours.h"
#include "netlink/ways.h"

/* Bit n is 1 << n of enum conf_listener. */
enum query_listener { QUERY_TUN, QUERY_TPROXY, QUERY_UDP, QUERY_TCP };

/* Where a query came from and how its answer goes back. Copied when the query is parked, so `route`
 * must not point to what ends with the packet. */
#define QUERY_ROUTE_SIZE 64
struct query_origin {
	struct ip_port client;
	enum query_listener listener;
	bool stream;   /* TCP: no size limit, no TC */
	uint8_t depth; /* 0; of a question that a local CNAME led to: how many of them */
	/* Sends the answer of a query that was parked: called exactly once for each. msg is valid
	 * until it returns. */
	void (*reply)(const struct query_origin *o, const uint8_t *msg, size_t len);
	_Alignas(8) uint8_t route[QUERY_ROUTE_SIZE];
};

struct query_counters { /* each worker its own; read by the main thread */
	/* How each query ended; total also counts those answered with FORMERR and the like, and
	 * those that are still parked. */
	_Atomic uint64_t total, fake, real, block, local, failed;
	_Atomic uint64_t rerouted; /* by a check; counted as they ended, too */
	_Atomic uint64_t loops, exhausted, parked_full;
	/* Answers: that waited for the kernel (for each job), that had nothing to wait for, whose
	 * job failed or was late (late ones also by themselves). `push: async`: elements handed on,
	 * elements dropped, jobs that are out. */
	_Atomic uint64_t pushes, push_held, push_errors, push_late, push_async, push_dropped,
		push_queued;
};

/* What carrying wants to know; any may be NULL. */
struct query_hooks {
	void *arg;
	/* A fake answer of a rule that has `unless` leaves: time to look for the verdict. */
	void (*faked)(void *arg, uint32_t index, const struct policy_rule *rule,
		const struct ip_addr *client, const struct dns_name *name);
	/* A real answer leaves for this client: msg is upstream's. */
	void (*told)(void *arg, const struct ip_addr *client, const struct dns_name *name,
		const uint8_t *msg, size_t len);
};

struct query_engine_config {
	struct loop *loop;
	struct resolver *resolver;
	struct fakeip_table *fakeip;
	uint64_t hash_key; /* the table's names are hashed with this */
	struct writer *writer;
	struct writer_client *writer_client;
	struct forgetter *forgetter; /* NULL: `conntrack: forget` does nothing */
	const struct hosts *hosts;
	const struct neighbours *neighbours; /* NULL: nothing is known of clients but addresses */
	const struct ways *ways;	     /* NULL: every egress has both families */
	uint32_t (*clock_s)(void);	     /* the table's clock */
	struct query_hooks hooks;
};

struct query_engine;
int query_engine_new(const struct query_engine_config *config, struct query_engine **ret);
/* After the resolver has stopped and no push is out; NULL is fine. */
void query_engine_free(struct query_engine *e);
/* From now on queries are left unanswered; parked ones end as they do. */
void query_engine_stop(struct query_engine *e);
/* The daemon is about to go (gateway.lame_duck): what would be fake is answered real from now on.
 */
void query_engine_set_lame(struct query_engine *e);
bool query_engine_idle(const struct query_engine *e); /* nothing is parked */
/* From now on queries are decided by g; the engine takes a reference. */
void query_engine_use(struct query_engine *e, struct generation *g);
/* After a start: names that were asked often are asked again, `rate` a second, if the rules send
 * them to the view that they were kept under; so they are fresh when the first client comes. Copies
 * hot. -ENOMEM. */
int query_engine_warm(struct query_engine *e, const struct cache_hot *hot, size_t n, unsigned rate);
const struct query_counters *query_engine_counters(const struct query_engine *e);

/* out: at least DNS_MESSAGE_MAX for a stream, else DNS_UDP_MAX bytes. Returns the length of the
 * answer in out; 0: it gets no answer; QUERY_PARKED: origin->reply will send it. */
#define QUERY_PARKED ((size_t)-1)
size_t query_handle(struct query_engine *e, const struct query_origin *origin, const uint8_t *msg,
	size_t len, uint8_t *out);

/* The family that a rule leaves out of its answers, by the ways that its egress has now: none, ipv4
 * or ipv6. Any thread. */
enum conf_filter query_filter(const struct policy_rule *rule, const struct ways *ways);
/* The addresses of a real answer that checks look at: no client gets those of the family that is
 * left out. Returns how many. Any thread. */
#define QUERY_ADDRESSES_MAX 1024 /* no datagram holds as many */
size_t query_addresses(
	const uint8_t *msg, size_t len, enum conf_filter filter, struct ip_addr *ret, size_t max);
/* The group that resolves what a rule's egress carries; -1: none. */
int query_upstream(const struct policy_rule *rule);

/* Writes the records of the mappings that were made since the last call. Cheap if there are none.
 */
void query_engine_commit(struct query_engine *e);

#endif
