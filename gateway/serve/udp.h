/* Queries over UDP sockets: `listen` addresses and the tproxy sockets, which see the packets of the
 * LAN with the address that was asked still on them. Answers leave from that address. One object a
 * socket and worker (SO_REUSEPORT). */
#ifndef TUNGATE_SERVE_UDP_H
#define TUNGATE_SERVE_UDP_H

#include "gateway/serve/in.h"
#include "gateway/serve/out.h"

struct serve_udp;

/* fd: from serve_socket_open(); owned by the object from now on, the caller's still after an error.
 */
int serve_udp_start(struct loop *loop, struct serve_in *in, struct query_engine *engine,
	struct serve_out *out, int fd, enum query_listener listener, struct serve_udp **ret);
/* No more queries; the socket stays for the answers of parked ones. NULL is fine. */
void serve_udp_stop(struct serve_udp *u);
bool serve_udp_idle(const struct serve_udp *u);
void serve_udp_free(struct serve_udp *u); /* when idle and nothing is parked; NULL is fine */

#endif
