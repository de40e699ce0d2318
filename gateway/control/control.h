/* The control socket: a Unix stream socket, one JSON object a line in, one a line out
 * (interface.md, "Socket"). Main thread, on its loop. Calls only what gateway/daemon.h lists.
 * Bounded: connections, a line's length, what waits to be read by a slow client. */
#ifndef TUNGATE_CONTROL_CONTROL_H
#define TUNGATE_CONTROL_CONTROL_H

#include "gateway/loop/loop.h"

struct control;
struct daemon;

/* Binds path (unlinks a stale socket that nobody answers on), mode and group (NULL: leave).
 * -EADDRINUSE and *ret_pid: a living process answers there (pid 0 if it is not known, or hangs);
 * -EEXIST: the path is something else than a socket; -EINVAL: there is no such group (a name or a
 * number); other negative errno. */
int control_open(struct loop *loop, struct daemon *d, const char *path, unsigned mode,
	const char *group, int *ret_pid, struct control **ret);
/* Closes connections and removes the socket's file; the loop must run on until control_idle(). */
void control_stop(struct control *c);
bool control_idle(const struct control *c);
void control_free(struct control *c); /* NULL is fine; does nothing if it is not idle */

#endif
