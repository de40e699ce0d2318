/* Traffic to fake addresses that the kernel does not carry yet, and what of the rest goes to the
 * relay. The first packet of a flow comes here (from TUN or by NFLOG), is held and decided
 * (verdict.h). A direct one: the decision is written into our nft maps and the packet put back;
 * from then on the kernel carries. One for a proxy: the SYN is held until the egress has connected,
 * then put back for the relay's listener; datagrams go to the UDP relay. What cannot be carried is
 * answered with a RST or an ICMP error at once; nothing is dropped in silence. One a worker, its
 * thread's. Bounded: flows being decided, packets held for each and in all, flows in the relays. */
#ifndef TUNGATE_CARRY_CARRY_H
#define TUNGATE_CARRY_CARRY_H

#include "gateway/carry/inject.h"
#include "gateway/carry/relay.h"
#include "gateway/carry/shared.h"
#include "gateway/carry/udp.h"
#include "gateway/generation.h"
#include "netlink/hosts.h"

struct carry;

struct carry_config {
	struct loop *loop;
	struct resolver *resolver;
	struct fakeip_table *fakeip;
	struct carry_shared *shared;
	struct writer *writer;
	struct writer_client *writer_client;
	struct inject *inject;
	const struct hosts *hosts;
	const struct neighbours *neighbours; /* NULL: nothing is known of clients but addresses */
	/* TCP and UDP ports that we listen on: they are not dialled on this host's addresses. Lives
	 * as long as we. */
	const uint16_t *own_ports;
	size_t n_own_ports;
	uint32_t (*clock_s)(void);
	int tun_fd;
	unsigned max_flows; /* of each relay */
	unsigned sniff;	    /* enum conf_sniff */
	bool checks;	    /* this worker looks after the egresses' health */
};

struct carry_counters {
	_Atomic uint64_t packets, decided, failed, unmapped, refused, overflow, loops;
};

int carry_new(const struct carry_config *config, struct carry **ret);
/* Ends what is being decided, and every flow of the relays. */
void carry_stop(struct carry *c);
bool carry_idle(const struct carry *c);
void carry_free(struct carry *c); /* when idle; NULL is fine */
void carry_use(struct carry *c, struct generation *g);
void carry_set_tun(struct carry *c, int tun_fd);
const struct carry_counters *carry_counters(const struct carry *c);
const struct relay_counters *carry_relay_counters(const struct carry *c);
const struct udp_relay_counters *carry_udp_counters(const struct carry *c);

/* The relay's sockets: transparent, and the carry's from now on. -ENOSPC. */
int carry_listen(struct carry *c, int tcp_fd);
int carry_receive(struct carry *c, int udp_fd);

/* A packet to an address of a pool. ifindex: where NFLOG saw it come in; 0: it was read from TUN.
 * The packet is only used during the call. */
void carry_packet(struct carry *c, uint8_t *packet, size_t len, unsigned ifindex);

/* See struct query_hooks. */
void carry_faked(struct carry *c, uint32_t index, const struct policy_rule *rule,
	const struct ip_addr *client, const struct dns_name *name);
void carry_told(struct carry *c, const struct ip_addr *client, const struct dns_name *name,
	const uint8_t *msg, size_t len);

#endif
