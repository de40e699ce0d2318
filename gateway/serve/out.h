/* The answers of one turn. They are held until the records of new mappings are in the log
 * (query_engine_commit), then sent: datagrams in one sendmmsg(2) a socket, packets by write(2) to
 * TUN. One a worker, its thread's. */
#ifndef TUNGATE_SERVE_OUT_H
#define TUNGATE_SERVE_OUT_H

#include "gateway/loop/loop.h"
#include "gateway/query/query.h"

/* Room for a packet of our own making: IPv6 and UDP headers and DNS_UDP_MAX bytes, rounded up. */
#define SERVE_SLOT_SIZE 1408

struct serve_out;
struct serve_out_counters {
	_Atomic uint64_t sent, send_errors;
};

int serve_out_new(struct loop *loop, struct query_engine *engine, struct serve_out **ret);
void serve_out_free(struct serve_out *o);
const struct serve_out_counters *serve_out_counters(const struct serve_out *o);

/* The next slot's SERVE_SLOT_SIZE bytes; nothing is taken until one of the two below is called.
 * Sends what is held if all slots are taken. */
uint8_t *serve_out_slot(struct serve_out *o);
/* The slot goes out as a packet: len bytes from its start. */
void serve_out_packet(struct serve_out *o, int tun_fd, size_t len);
/* The slot goes out as a datagram of len bytes from fd to `to`, from `from` (its address is the
 * asked one; scope: the interface for a link-local one). */
void serve_out_datagram(struct serve_out *o, int fd, const struct ip_port *to,
	const struct ip_addr *from, unsigned from_scope, size_t len);

#endif
