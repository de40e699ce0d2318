/* The commands of the socket: a request line in, a reply out. Main thread. */
#ifndef TUNGATE_CONTROL_COMMAND_H
#define TUNGATE_CONTROL_COMMAND_H

#include "gateway/control/reply.h"

struct daemon;

/* Appends the reply to r, one line; or, with r->more, the beginning of one. */
void control_command_run(struct daemon *d, const char *line, size_t len, struct control_reply *r);
/* With r->more: appends the next piece, of some CONTROL_PIECE_TARGET bytes. */
#define CONTROL_PIECE_TARGET (64u << 10)
void control_command_more(struct daemon *d, struct control_reply *r);
/* With r->waits: nobody will read the reply, ready must not be called. */
void control_command_forget(struct control_reply *r);
/* For a line over CONTROL_LINE_MAX. */
void control_command_too_long(struct control_reply *r);

#endif
