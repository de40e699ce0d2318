/* A connected socket for each try: the kernel picks a random source port and drops what does not
 * come from the server's address and port. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/resolve/resolve_internal.h"

struct udp_link {
	struct loop_op receive;
	struct resolver *resolver;
	struct resolve_try *try; /* NULL: closed, waits for the end of receive */
	int fd;
};

size_t transport_udp_link_size(void)
{
	return sizeof(struct udp_link);
}

static void udp_link_free(struct udp_link *u)
{
	struct resolver *r = u->resolver;

	close(u->fd);
	slab_give(&r->udp_links, u);
	resolver_release(r);
}

static void udp_received(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct udp_link *u = container_of(op, struct udp_link, receive);
	struct resolver *r = u->resolver;
	int error;

	if (!u->try) {
		if (last)
			udp_link_free(u);
		return;
	}
	if (res < 0) {
		resolve_try_fail(u->try, res);
	} else if (!resolve_try_take(u->try, data, (size_t)res)) {
		error = loop_recv_once(r->loop, &u->receive, u->fd, r->buffers, udp_received);
		if (error < 0)
			resolve_try_fail(u->try, error);
	}
}

static int udp_open(struct resolve_try *t)
{
	struct resolver *r = t->resolver;
	struct udp_link *u = slab_take(&r->udp_links);
	int error;

	if (!u)
		return -ENOBUFS;
	u->fd = transport_socket(t->server, SOCK_DGRAM);
	if (u->fd < 0) {
		error = u->fd;
		goto give;
	}
	if (connect(u->fd, (const struct sockaddr *)&t->server->at, t->server->at_len) < 0) {
		error = -errno;
		goto close;
	}
	u->resolver = r;
	u->try = t;
	t->link = u;
	resolver_hold(r);
	return 0;
close:
	close(u->fd);
give:
	slab_give(&r->udp_links, u);
	return error;
}

static int udp_send(struct resolve_try *t)
{
	struct udp_link *u = t->link;
	struct resolver *r = u->resolver;
	uint8_t question[DNS_QUESTION_MAX];
	size_t len = resolve_try_question(t, question);

	/* A full queue loses the datagram like any router on the way would: the second send makes
	 * up for it. */
	if (send(u->fd, question, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN &&
		errno != ENOBUFS)
		return -errno;
	if (loop_op_busy(&u->receive))
		return 0;
	return loop_recv_once(r->loop, &u->receive, u->fd, r->buffers, udp_received);
}

static void udp_close(struct resolve_try *t)
{
	struct udp_link *u = t->link;

	t->link = NULL;
	u->try = NULL;
	if (loop_op_busy(&u->receive))
		loop_op_cancel(&u->receive);
	else
		udp_link_free(u);
}

const struct transport transport_udp = {
	.lossy = true,
	.open = udp_open,
	.send = udp_send,
	.close = udp_close,
	.whole = &transport_tcp,
};
