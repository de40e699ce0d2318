/* The UDP relay: datagrams that the kernel does not carry. One a worker, its thread's.
 *
 * To fake addresses: a flow for each client socket and fake address, with an association of its own
 * at the egress: every answer on it comes from that fake address, whatever the far end calls itself
 * (facts/fakeip-peers.md 0.4). To real addresses: a flow for each client socket, answers from
 * anywhere (endpoint-independent mapping and filtering, RFC 4787).
 *
 * With a name (the proxy resolves it, perhaps to another address than the client has) what comes
 * from nobody that the client sent to by address comes from the address that the name stands for.
 *
 * Bounded: when all flows are taken, the one that was idle for longest, and for 10 s at least,
 * gives way. A flow without a datagram for its idle time ends. No allocation for a datagram, one
 * copy of it. */
#ifndef TUNGATE_CARRY_UDP_H
#define TUNGATE_CARRY_UDP_H

#include "fakeip/fakeip.h"
#include "gateway/carry/inject.h"
#include "gateway/egress/egress.h"
#include "gateway/tun/packet.h"
#include "netlink/hosts.h"

struct udp_relay;

struct udp_relay_config {
	struct loop *loop;
	struct egress_dialer *dialer;
	struct fakeip_table *fakeip;
	struct inject *inject;
	const struct hosts *hosts; /* a client that is this host is answered by lo */
	uint32_t (*clock_s)(void);
	unsigned max; /* flows */
};
int udp_relay_new(const struct udp_relay_config *config, struct udp_relay **ret);
void udp_relay_stop(struct udp_relay *u); /* ends every flow; the dialer's stop drains them */
void udp_relay_free(struct udp_relay *u); /* NULL is fine */
void udp_relay_set_tun(struct udp_relay *u, int tun_fd);

/* How a flow goes out, decided by carry. */
struct udp_way {
	struct egress_set *egresses;
	unsigned egress;
	unsigned idle_ms;
	struct egress_target target; /* of a fake address; its port is each datagram's own */
};

/* A datagram to a fake address. If its flow is there, it is taken: true. Else carry decides and
 * opens one. ifindex: as carry_packet(). */
bool udp_relay_fake(struct udp_relay *u, const struct tun_packet *p, unsigned ifindex);
/* Opens the flow of this packet's client socket and fake address (index, held while it lives). The
 * packets that were held go through udp_relay_fake() afterwards. -ENOSPC, -ENOMEM. When the egress
 * fails, the client gets an ICMP error for the last datagram and the flow ends. */
int udp_relay_fake_open(struct udp_relay *u, const struct tun_packet *p, unsigned ifindex,
	uint32_t index, const struct udp_way *way);

/* A datagram to a real address, as a transparent socket received it. */
struct udp_datagram {
	struct ip_port client, to;
	uint8_t *payload;
	size_t len;
};
bool udp_relay_real(struct udp_relay *u, const struct udp_datagram *d);
/* way->target is not used: each datagram goes to where its client sent it, or, if name is not NULL
 * and the egress is a proxy, by that name. */
int udp_relay_real_open(struct udp_relay *u, const struct udp_datagram *d,
	const struct udp_way *way, const char *name);

struct udp_relay_counters {
	_Atomic uint64_t flows, live, to_egress, to_client, dropped, failed, loops;
};
const struct udp_relay_counters *udp_relay_counters(const struct udp_relay *u);

#endif
