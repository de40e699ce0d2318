#include "gateway/serve/udp.h"
#include "gateway/base/container.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_MS    100
#define BATCHES_MAX 4

struct serve_udp {
	struct loop_op op;
	struct loop_timer retry, more;
	struct loop *loop;
	struct serve_in *in;
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

static void take(void *arg, const struct loop_datagram *d)
{
	struct serve_udp *u = arg;
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

/* Some batches, then others have their turn. */
static void read_all(struct serve_udp *u)
{
	for (unsigned i = 0; i < BATCHES_MAX; i++)
		if (serve_in_read(u->in, u->fd, take, u))
			return;
	(void)loop_timer_set(u->loop, &u->more, loop_now_ms(u->loop));
}

static void more_due(struct loop_timer *t)
{
	read_all(container_of(t, struct serve_udp, more));
}

static void readable(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct serve_udp *u = container_of(op, struct serve_udp, op);

	(void)res;
	(void)data;
	if (u->stopping)
		return;
	read_all(u);
	/* Out of memory or the like: the socket stays, but does not spin. */
	if (last)
		loop_timer_set(u->loop, &u->retry, loop_now_ms(u->loop) + RETRY_MS);
}

static void listen_again(struct loop_timer *t)
{
	struct serve_udp *u = container_of(t, struct serve_udp, retry);

	if (loop_poll_start(u->loop, &u->op, u->fd, POLLIN, readable))
		loop_timer_set(u->loop, t, loop_now_ms(u->loop) + RETRY_MS);
}

/* Timers that are set need no memory when they are set again. */
static int make_timers(struct serve_udp *u)
{
	int error = loop_timer_set(u->loop, &u->more, INT64_MAX);

	return error ? error : loop_timer_set(u->loop, &u->retry, INT64_MAX);
}

int serve_udp_start(struct loop *loop, struct serve_in *in, struct query_engine *engine,
	struct serve_out *out, int fd, enum query_listener listener, struct serve_udp **ret)
{
	struct serve_udp *u = calloc(1, sizeof *u);
	int error;

	if (!u)
		return -ENOMEM;
	u->loop = loop;
	u->in = in;
	u->retry.fire = listen_again;
	u->more.fire = more_due;
	u->engine = engine;
	u->out = out;
	u->fd = fd;
	u->listener = listener;
	error = make_timers(u);
	if (!error)
		error = loop_poll_start(loop, &u->op, fd, POLLIN, readable);
	if (error) {
		loop_timer_cancel(loop, &u->more);
		loop_timer_cancel(loop, &u->retry);
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
	loop_timer_cancel(u->loop, &u->more);
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
