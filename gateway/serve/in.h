/* Datagrams as they come in, many with one recvmmsg(2). A multishot receive of io_uring costs some
 * 200 ns more for each of them (shared/limits, udp_echo 0 and 1; kernel 6.18), a twentieth of what
 * a query costs in all. One a worker, for all its sockets. */
#ifndef TUNGATE_SERVE_IN_H
#define TUNGATE_SERVE_IN_H

#include "gateway/loop/loop.h"

#define SERVE_IN_DATAGRAM 4096 /* bytes (RFC 5625 4.4.2); a longer one is told as truncated */

struct serve_in;
int serve_in_new(struct serve_in **ret);
void serve_in_free(struct serve_in *in); /* NULL is fine */

/* Takes what lies in a non-blocking socket, a batch at most. True: it is empty now. d lives until
 * take() returns. Errors of the socket (-ECONNREFUSED of an answer sent earlier) are skipped. */
typedef void serve_in_take(void *arg, const struct loop_datagram *d);
bool serve_in_read(struct serve_in *in, int fd, serve_in_take *take, void *arg);

#endif
