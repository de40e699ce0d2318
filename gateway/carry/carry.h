/* Traffic to fake addresses that the kernel does not carry yet. The first packet of a flow comes
 * here (from TUN or by NFLOG), is held, decided (verdict.h), the decision written into our nft
 * maps, and the packet put back: from then on the kernel carries. What cannot be carried is
 * answered with a RST or an ICMP error at once; nothing is dropped in silence. One a worker, its
 * thread's. Bounded: flows being decided, packets held for each and in all. */
#ifndef TUNGATE_CARRY_CARRY_H
#define TUNGATE_CARRY_CARRY_H

#include "fakeip/fakeip.h"
#include "gateway/carry/inject.h"
#include "gateway/generation.h"
#include "netlink/hosts.h"

struct carry;

struct carry_config {
	struct loop *loop;
	struct resolver *resolver;
	struct fakeip_table *fakeip;
	struct writer *writer;
	struct writer_client *writer_client;
	struct inject *inject;
	const struct hosts *hosts;
	uint32_t (*clock_s)(void);
	int tun_fd;
};

struct carry_counters {
	_Atomic uint64_t packets, decided, failed, unmapped, refused, overflow;
};

int carry_new(const struct carry_config *config, struct carry **ret);
void carry_free(struct carry *c); /* when idle; NULL is fine */
bool carry_idle(const struct carry *c);
void carry_use(struct carry *c, struct generation *g);
void carry_set_tun(struct carry *c, int tun_fd);
const struct carry_counters *carry_counters(const struct carry *c);

/* A packet to an address of a pool. ifindex: where NFLOG saw it come in; 0: it was read from TUN.
 * The packet is only used during the call. */
void carry_packet(struct carry *c, uint8_t *packet, size_t len, unsigned ifindex);

#endif
