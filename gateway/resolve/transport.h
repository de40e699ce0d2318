/* Ways to bring one whole DNS message to a server and whole messages back. flight.c knows of each
 * only this table.
 *
 * A try is one question at one server. open() gives it a link (a socket, or a place on a
 * connection), send() sends the question, and close() ends the interest: the link may live on until
 * its operations have ended, but tells nothing more. In between the transport calls
 * resolve_try_take() for each message and resolve_try_fail() once if the link broke; both may close
 * the try before they return. All in the resolver's thread. */
#ifndef TUNGATE_RESOLVE_TRANSPORT_H
#define TUNGATE_RESOLVE_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct flight;
struct resolver;
struct server;

struct resolve_try {
	struct flight *flight;
	struct resolver *resolver;
	struct server *server;
	const struct transport *transport; /* NULL: no try is under way */
	void *link;			   /* the transport's own */
	int64_t began_us;
	uint16_t id;
};

struct transport {
	bool lossy; /* send() is called again when nothing comes back */
	int (*open)(
		struct resolve_try *t); /* 0 or a negative errno; then there is nothing to close */
	int (*send)(struct resolve_try *t); /* 0 or a negative errno; the caller closes */
	void (*close)(struct resolve_try *t);
	/* Where the same question is asked when the answer was cut off (TC); NULL: TC is handed on.
	 */
	const struct transport *whole;
};
extern const struct transport transport_udp, transport_tcp;

/* Writes the try's question: buf[DNS_QUESTION_MAX], returns the length. */
size_t resolve_try_question(const struct resolve_try *t, uint8_t *buf);
/* False: not the answer to this try, counted; go on receiving. True: the try is over. */
bool resolve_try_take(struct resolve_try *t, const uint8_t *msg, size_t len);
void resolve_try_fail(struct resolve_try *t, int error);

/* A socket towards the server, with its mark; type is SOCK_DGRAM or SOCK_STREAM. The descriptor or
 * a negative errno. Blocking: io_uring waits for such a one by itself, but hands -EAGAIN of a
 * non-blocking one back. */
int transport_socket(const struct server *s, int type);
int transport_mark_set(int fd, uint32_t mark);

#endif
