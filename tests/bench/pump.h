/* One direction of a connection that is passed on, in a thread of its own: read and write, or
 * splice through a pipe. */
#ifndef TUNGATE_BENCH_PUMP_H
#define TUNGATE_BENCH_PUMP_H

#include <stddef.h>

/* Both directions until both have ended; then both sockets are closed. pipe_bytes 0: by copy. Every
 * pipe of ours is one less for a gateway of the same user (fs.pipe-user-pages-soft). */
void pump_both(int a, int b, size_t pipe_bytes);
/* Accepts for ever: serve(connection) runs in a thread of its own. */
void pump_accept(int listener, void (*serve)(int fd));

#endif
