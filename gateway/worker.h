/* A worker: one thread with its loop, its TUN queue, its sockets, its upstream connections. Started
 * and stopped by the daemon; everything but what is declared here is its own thread's business. */
#ifndef TUNGATE_WORKER_H
#define TUNGATE_WORKER_H

#include "gateway/carry/carry.h"
#include "gateway/query/query.h"
#include "gateway/serve/out.h"
#include "netlink/nflog.h"

struct worker;

/* What TUN packets tell about the way through the host's firewall; see probe.h. Shared by all
 * workers. */
struct worker_probe {
	struct ip_addr to;	/* a UDP packet to this address… */
	_Atomic uint32_t nonce; /* …that begins with "tungate probe" and this number */
	_Atomic uint32_t seen;	/* is noted here */
};

struct worker_socket {
	int fd;
	bool stream;
	bool relay; /* takes traffic, not queries */
	enum query_listener listener;
};

struct worker_config {
	unsigned number;
	int tun_fd; /* owned by the daemon */
	unsigned mtu;
	struct nflog *nflog;		     /* NULL: not this worker's; owned by the daemon */
	const struct worker_socket *sockets; /* owned by the worker from now on */
	size_t n_sockets;
	struct fakeip_table *fakeip;
	struct cache *cache;
	const struct cache_hot *hot; /* to be asked again, warm_rate a second; copied */
	size_t n_hot;
	unsigned warm_rate;
	uint64_t hash_key;
	struct writer *writer;
	struct forgetter *forgetter;
	struct inject *inject;
	struct carry_shared *carry_shared;
	const uint16_t *own_ports; /* see carry_config */
	size_t n_own_ports;
	unsigned max_flows;
	unsigned sniff;
	const struct hosts *hosts;
	const struct neighbours *neighbours; /* or NULL */
	const struct ways *ways;
	struct worker_probe *probe;
	struct generation *gen;
	uint32_t (*clock_s)(void);
	/* TUN's queue failed (the device was deleted). Called once, in the worker's thread. */
	void (*tun_failed)(void *arg);
	void *arg;
};

int worker_start(const struct worker_config *config, struct worker **ret);
/* From its next turn on the worker decides by g. Main thread; the worker takes its own reference.
 */
void worker_use(struct worker *w, struct generation *g);
/* It answers no new query by an older one any more. */
bool worker_uses_latest(const struct worker *w);
/* Reads TUN packets from fd from its next turn on; the old descriptor's operation has ended when
 * worker_tun_fd() is fd. */
void worker_set_tun(struct worker *w, int fd);
int worker_tun_fd(const struct worker *w);
/* The daemon is about to go: see query_engine_set_lame(). Still carries. */
void worker_set_lame(struct worker *w);
/* Gives everything up that is parked, ends the thread and frees. */
void worker_stop(struct worker *w);

/* The host's addresses or routes are not what they were: see resolver_network_changed(). */
void worker_network_changed(struct worker *w);
void worker_poke(struct worker *w);		     /* makes it finish a turn; any thread */
int64_t worker_last_turn_ms(const struct worker *w); /* any thread */

const struct query_counters *worker_query_counters(const struct worker *w);
const struct carry *worker_carry(const struct worker *w); /* for its counters */

#endif
