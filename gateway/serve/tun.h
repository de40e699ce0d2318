/* Queries that come as packets from TUN: UDP to port 53 of any address, answered from that address.
 * One a worker. */
#ifndef TUNGATE_SERVE_TUN_H
#define TUNGATE_SERVE_TUN_H

#include "gateway/serve/out.h"
#include "gateway/tun/packet.h"

struct serve_tun {
	struct query_engine *engine;
	struct serve_out *out;
	int fd;
};

/* p: a whole UDP packet to port 53, from tun_packet_parse(). One with a wrong checksum is dropped.
 */
void serve_tun_packet(struct serve_tun *t, const struct tun_packet *p);

#endif
