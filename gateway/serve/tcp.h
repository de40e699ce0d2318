/* Queries over TCP (RFC 7766): `listen` addresses and the tproxy listeners. Pipelined queries are
 * answered as they get ready, out of order; each answer leaves with its length in one write.
 * Connections are bounded in number, idle time, and bytes that wait for a client that does not
 * read. One object a worker; its thread's. */
#ifndef TUNGATE_SERVE_TCP_H
#define TUNGATE_SERVE_TCP_H

#include "gateway/query/query.h"

#ifndef SERVE_TCP_IDLE_MS	/* the test of it waits less */
#define SERVE_TCP_IDLE_MS 10000 /* without a whole query, RFC 7766 6.2.3 */
#endif

struct serve_tcp;

int serve_tcp_new(struct loop *loop, struct loop_buffers *buffers, struct query_engine *engine,
	struct serve_tcp **ret);
/* fd: from serve_socket_open(); owned by t from now on, the caller's still after an error. -ENOSPC
 * beyond 32 listeners. */
int serve_tcp_listen(struct serve_tcp *t, int fd, enum query_listener listener);
/* Ends listeners and connections; the loop must run on for that. Also twice. */
void serve_tcp_stop(struct serve_tcp *t);
bool serve_tcp_idle(const struct serve_tcp *t);
void serve_tcp_free(struct serve_tcp *t); /* when idle; NULL is fine */
unsigned serve_tcp_connections(const struct serve_tcp *t);

#endif
