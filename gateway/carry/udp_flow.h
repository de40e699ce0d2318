/* The flows of the UDP relay: found by their key, listed by their last use, bounded. Owns their
 * memory and order, nothing of what they hold. One thread. An idle flow is found by a walk through
 * the list, a bounded part of it at a time; there is no timer for each. */
#ifndef TUNGATE_CARRY_UDP_FLOW_H
#define TUNGATE_CARRY_UDP_FLOW_H

#include "gateway/base/slab.h"
#include "gateway/egress/egress.h"

/* Behind a client's socket there is a flow for each fake address, and one for all real ones. */
struct udp_flow_key {
	struct ip_addr client;
	struct ip_addr fake; /* IP_NONE: the one for real addresses */
	uint16_t port;	     /* of the client */
};

#define UDP_QUOTE_MAX 72 /* IPv4's longest header or IPv6's, and 8 bytes at least */
#define UDP_PEERS_MAX 4

struct udp_flow {
	struct udp_flow_key key;
	struct udp_flow *next; /* in its bucket */
	struct udp_flow *newer, *older;
	int64_t used_ms, listed_ms;
	unsigned idle_ms;
	/* The rest is udp.c's. */
	struct udp_relay *relay;
	struct egress_udp *egress;
	struct egress_state *state;
	uint32_t index;	    /* fake: held in the table of fake addresses */
	int64_t touched_ms; /* when that heard of it last */
	unsigned ifindex;   /* fake: where the last datagram came from */
	bool client_is_host;
	int64_t sent_ms; /* the last datagram of the client */
	/* Fake: of the address, with the last datagram's port. Real: where the last datagram went;
	 * host: the name of `named`, "": none. */
	struct egress_target target;
	/* Real with a name: the address that it stands for; and to whom was sent by address, the
	 * latest of n_peers. */
	struct ip_port named;
	struct ip_addr peers[UDP_PEERS_MAX];
	unsigned n_peers;
	uint8_t quote[UDP_QUOTE_MAX]; /* fake: the last datagram's beginning */
	uint8_t quote_len;
};

struct udp_flows {
	struct slab slab;
	struct udp_flow **buckets;
	uint32_t mask;
	unsigned n;
	uint64_t secret[3];
	struct udp_flow *newest, *oldest;
	struct udp_flow *hand; /* where the next walk goes on; NULL: at the oldest */
	unsigned shortest_ms;  /* of all idle_ms that ever were */
};

int udp_flows_init(struct udp_flows *t, unsigned max);
void udp_flows_fini(struct udp_flows *t); /* none is left */

struct udp_flow *udp_flows_find(const struct udp_flows *t, const struct udp_flow_key *key);
/* Zeroed but for key, idle_ms and the time. NULL: the bound is reached, or no memory. */
struct udp_flow *udp_flows_add(
	struct udp_flows *t, const struct udp_flow_key *key, unsigned idle_ms, int64_t now_ms);
void udp_flows_remove(struct udp_flows *t, struct udp_flow *f); /* f is gone */
void udp_flows_use(struct udp_flows *t, struct udp_flow *f, int64_t now_ms);
/* The one that was not used for longest; NULL: there is none. */
struct udp_flow *udp_flows_oldest(const struct udp_flows *t);
/* Calls end(f), which removes it, for those that are over, of the next part of the list. */
void udp_flows_walk(struct udp_flows *t, int64_t now_ms, void (*end)(struct udp_flow *f));

#endif
