/* What only the files of gateway/transport see: transport.c owns struct transports, server.c the
 * server, udp.c and udp_far.c the datagrams, pool.c and conn.c the connections. */
#ifndef TUNGATE_TRANSPORT_INTERNAL_H
#define TUNGATE_TRANSPORT_INTERNAL_H

#include <stdatomic.h>

#include "gateway/base/container.h"
#include "gateway/base/log.h"
#include "gateway/base/slab.h"
#include "gateway/transport/tls.h"
#include "gateway/transport/transport.h"

#define TRANSPORT_NEVER_MS (INT64_MAX / 2)
/* A try that was closed keeps its socket until the kernel has ended the receive, hence more than
 * there are flights. */
#define TRANSPORT_UDP_MAX	 (4096 + 1024)
#define TRANSPORT_UDP_IDLE_MAX	 128
#define TRANSPORT_UDP_SHARED_MAX 256
#define TRANSPORT_CONNS_MAX	 1024
#define TRANSPORT_POOLS		 64 /* buckets */
#define TRANSPORT_RANDOM_BYTES	 1024
#define TRANSPORT_PLAIN_BYTES	 16384 /* a TLS record (RFC 8446 5.1) */

struct transport {
	bool lossy;
	int (*open)(struct transports *ts, struct transport_try *t);
	int (*resend)(struct transport_try *t);
	void (*close)(struct transport_try *t);
};
extern const struct transport transport_udp, transport_stream;

struct transport_server {
	atomic_uint refs;
	struct conf_server conf; /* strings and pins are ours */
	uint32_t mark;
	struct egress_set *via;
	unsigned egress;
	struct tls_context *tls; /* NULL: not encrypted */
	struct log_gate complained;
};
/* Whether packets go without a proxy now (a group's choice may change); *ret_mark: with which mark.
 */
bool transport_server_is_direct(const struct transport_server *s, uint32_t *ret_mark);

struct transports {
	struct loop *loop;
	struct egress_dialer *dialer;
	struct loop_buffers *datagrams, *streams;
	struct slab udp_links, udp_tables, udp_far_slab, conns;
	struct udp_link *udp_idle[2]; /* IPv4, IPv6 */
	struct udp_link *udp_open;
	struct udp_batch *udp_batch;
	uint32_t udp_batches; /* that have left */
	struct udp_far *udp_fars[TRANSPORT_POOLS];
	unsigned udp_idle_count;
	struct pool *pools[TRANSPORT_POOLS];
	struct conn *dirty; /* to be flushed at the end of the turn */
	uint64_t serial;    /* of the newest connection */
	size_t holds;	    /* links, connections, running callbacks */
	bool stopping;
	/* At the end of a turn: flushes, or frees when it is stopping and nothing holds it: not
	 * sooner, for what a callback was given lies in the buffers. Always set but while it fires,
	 * so that setting it needs no memory. */
	struct loop_timer soon;
	void (*stopped)(void *arg);
	void *stopped_arg;
	size_t random_left;
	uint8_t random[TRANSPORT_RANDOM_BYTES];
	uint8_t plain[TRANSPORT_PLAIN_BYTES]; /* what TLS has opened, while a codec reads it */
};

static inline void transports_hold(struct transports *ts)
{
	ts->holds++;
}
void transports_release(struct transports *ts); /* ts stays until the running callback returns */
void transports_soon(struct transports *ts);
/* From the kernel's randomness, fetched a pool at a time. -EIO. */
int transports_random(struct transports *ts, uint16_t *ret);

/* A socket towards the server with its mark and binding: SOCK_DGRAM or SOCK_STREAM. The descriptor
 * or a negative errno of transport_owner.fail(). Blocking: io_uring waits for such a one by itself.
 */
int transport_socket(
	const struct transport_server *s, const struct ip_port *to, int type, uint32_t mark);
int transport_mark_set(int fd, uint32_t mark);
/* Errors of the kernel and of egress.h to those of transport_owner.fail(). */
int transport_error(int error);
/* Closes t and tells its owner. */
void transport_fail(struct transport_try *t, int error);

int transport_udp_init(struct transports *ts); /* -ENOMEM */
void transport_udp_flush(struct transports *ts);
void transport_udp_stop(struct transports *ts); /* closes the shared sockets */
void transport_udp_fini(struct transports *ts); /* and the idle ones */
/* Of those whose socket is dead. */
void transport_udp_renew(
	struct transports *ts, bool (*is_ours)(void *arg, const struct ip_addr *a), void *arg);
/* False: the socket stands on an address that is not this host's any more. */
bool transport_stands(int fd, bool (*is_ours)(void *arg, const struct ip_addr *a), void *arg);

#endif
