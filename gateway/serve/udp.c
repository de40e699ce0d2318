#include "gateway/serve/udp.h"
#include "gateway/base/container.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_MS 100

struct serve_udp {
	struct loop_op op;
	struct loop_timer retry;
	struct loop *loop;
	struct loop_buffers *buffers;
	struct query_engine *engine;
	struct serve_out *out;
	int fd;
	enum query_listener listener;
	bool stopping;
};

struct route { /* in query_origin.route */
	struct serve_udp *udp;
	struct ip_addr asked;
	uint32_t scope;
};
_Static_assert(sizeof(struct route) <= QUERY_ROUTE_SIZE, "route fits its origin");

static void reply_later(const struct query_origin *o, const uint8_t *msg, size_t len)
{
	struct route route;

	memcpy(&route, o->route, sizeof route);
	memcpy(serve_out_slot(route.udp->out), msg, len);
	serve_out_datagram(
		route.udp->out, route.udp->fd, &o->client, &route.asked, route.scope, len);
}

/* The address that was asked, and for a link-local one its interface. */
static void read_asked(const struct loop_datagram *d, struct route *route)
{
	for (struct cmsghdr *c = loop_cmsg_first(d); c; c = loop_cmsg_next(d, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof info);
			route->asked = ip_addr_v4(&info.ipi_addr);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof info);
			route->asked = ip_addr_v6(&info.ipi6_addr);
			if (ip_addr_is_link_local(&route->asked))
				route->scope = info.ipi6_ifindex;
		}
	}
}

static void handle(struct serve_udp *u, const struct loop_datagram *d)
{
	struct query_origin origin = {.listener = u->listener, .reply = reply_later};
	struct route route = {.udp = u};
	uint8_t *slot;
	size_t n;

	if (d->truncated)
		return;
	ip_port_from_sockaddr((const struct sockaddr *)d->from, &origin.client);
	if (origin.client.port == 0)
		return;
	read_asked(d, &route);
	memcpy(origin.route, &route, sizeof route);
	slot = serve_out_slot(u->out);
	n = query_handle(u->engine, &origin, d->payload, d->len, slot);
	if (n && n != QUERY_PARKED)
		serve_out_datagram(u->out, u->fd, &origin.client, &route.asked, route.scope, n);
}

static void received(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct serve_udp *u = container_of(op, struct serve_udp, op);

	(void)res;
	if (data)
		handle(u, (const struct loop_datagram *)data);
	/* Out of memory or the like: the socket stays, but does not spin. */
	if (last && !u->stopping)
		loop_timer_set(u->loop, &u->retry, loop_now_ms(u->loop) + RETRY_MS);
}

static void receive_again(struct loop_timer *t)
{
	struct serve_udp *u = container_of(t, struct serve_udp, retry);

	if (loop_recvmsg_start(u->loop, &u->op, u->fd, u->buffers, received))
		loop_timer_set(u->loop, t, loop_now_ms(u->loop) + RETRY_MS);
}

int serve_udp_start(struct loop *loop, struct loop_buffers *buffers, struct query_engine *engine,
	struct serve_out *out, int fd, enum query_listener listener, struct serve_udp **ret)
{
	struct serve_udp *u = calloc(1, sizeof *u);
	int error;

	if (!u)
		return -ENOMEM;
	u->loop = loop;
	u->buffers = buffers;
	u->retry.fire = receive_again;
	u->engine = engine;
	u->out = out;
	u->fd = fd;
	u->listener = listener;
	error = loop_recvmsg_start(loop, &u->op, fd, buffers, received);
	if (error) {
		free(u);
		return error;
	}
	*ret = u;
	return 0;
}

void serve_udp_stop(struct serve_udp *u)
{
	if (!u)
		return;
	u->stopping = true;
	loop_timer_cancel(u->loop, &u->retry);
	loop_op_cancel(&u->op);
}

bool serve_udp_idle(const struct serve_udp *u)
{
	return !loop_op_busy(&u->op);
}

void serve_udp_free(struct serve_udp *u)
{
	if (!u)
		return;
	close(u->fd);
	free(u);
}
