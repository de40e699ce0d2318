/* A connected socket for each try: the kernel picks a random source port and drops what does not
 * come from the server's address and port.
 *
 * Making and closing a socket is the dearest part of a question. So one whose try went well is
 * dissolved instead (connect to AF_UNSPEC, udp(7)): it has no port and receives nothing until the
 * next connect() gives it a new random one. Measured: 4 instead of 15 us. One that was bound
 * to an address or a device is not used again: of that the kernel undoes only a part. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/transport/transport_internal.h"

struct udp_link {
	struct loop_op receive;
	struct transports *transports;
	struct transport_try *try; /* NULL: idle, or closed and waiting for the end of receive */
	struct udp_link *next, **prev; /* idle (next alone), or among those with a try */
	int fd;
	uint32_t mark;
	bool v6, bound;
	bool sent, doubtful; /* doubtful: more datagrams may come, or an error */
};

size_t transport_udp_link_size(void)
{
	return sizeof(struct udp_link);
}

/* --- sockets --- */

static void link_free(struct udp_link *u)
{
	close(u->fd);
	slab_give(&u->transports->udp_links, u);
}

static bool link_keep(struct udp_link *u)
{
	static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	struct transports *ts = u->transports;

	if (u->doubtful || u->bound || ts->stopping ||
		ts->udp_idle_count == TRANSPORT_UDP_IDLE_MAX ||
		connect(u->fd, &nobody, sizeof nobody) < 0)
		return false;
	u->next = ts->udp_idle[u->v6];
	ts->udp_idle[u->v6] = u;
	ts->udp_idle_count++;
	return true;
}

static struct udp_link *link_reuse(struct transports *ts, bool v6, uint32_t mark)
{
	struct udp_link *u = ts->udp_idle[v6];

	if (!u)
		return NULL;
	ts->udp_idle[v6] = u->next;
	ts->udp_idle_count--;
	if (u->mark == mark || transport_mark_set(u->fd, mark) == 0)
		return u;
	link_free(u);
	return NULL;
}

static int link_get(struct transports *ts, const struct transport_try *t, struct udp_link **ret)
{
	const struct conf_bind *bind = &t->server->conf.bind;
	bool bound = bind->interface || bind->address.family != IP_NONE;
	bool v6 = t->to.addr.family == IP_V6;
	struct udp_link *u;
	uint32_t mark;
	int fd;

	(void)transport_server_is_direct(t->server, &mark);
	u = bound ? NULL : link_reuse(ts, v6, mark);
	if (!u) {
		u = slab_take(&ts->udp_links);
		if (!u)
			return -ENOBUFS;
		fd = transport_socket(t->server, &t->to, SOCK_DGRAM, mark);
		if (fd < 0) {
			slab_give(&ts->udp_links, u);
			return fd;
		}
		u->fd = fd;
	}
	u->transports = ts;
	u->mark = mark;
	u->v6 = v6;
	u->bound = bound;
	u->sent = u->doubtful = false;
	*ret = u;
	return 0;
}

void transport_udp_fini(struct transports *ts)
{
	for (size_t i = 0; i < 2; i++) {
		while (ts->udp_idle[i]) {
			struct udp_link *u = ts->udp_idle[i];

			ts->udp_idle[i] = u->next;
			link_free(u);
		}
	}
}

/* --- with a try --- */

static void link_insert(struct udp_link *u, struct udp_link **list)
{
	u->next = *list;
	u->prev = list;
	if (u->next)
		u->next->prev = &u->next;
	*list = u;
}

static void link_remove(struct udp_link *u)
{
	*u->prev = u->next;
	if (u->next)
		u->next->prev = u->prev;
}

static void link_end(struct udp_link *u)
{
	struct transports *ts = u->transports;

	if (!link_keep(u))
		link_free(u);
	transports_release(ts);
}

static void udp_close(struct transport_try *t)
{
	struct udp_link *u = t->link;

	t->link = NULL;
	u->try = NULL;
	link_remove(u);
	if (loop_op_busy(&u->receive)) {
		u->doubtful = true;
		loop_op_cancel(&u->receive);
	} else {
		link_end(u);
	}
}

static void udp_received(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct udp_link *u = container_of(op, struct udp_link, receive);
	struct transport_try *t = u->try;
	struct transports *ts = u->transports;
	int error = res;

	if (!t) {
		if (last)
			link_end(u);
		return;
	}
	transports_hold(ts);
	if (res >= 0 && !t->owner->take(t, data, (size_t)res, 0)) {
		u->doubtful = true;
		error = loop_recv_once(ts->loop, &u->receive, u->fd, ts->datagrams, udp_received);
	}
	if (error < 0) {
		u->doubtful = true;
		transport_fail(t, error);
	}
	transports_release(ts);
}

static int udp_send(struct transport_try *t)
{
	struct udp_link *u = t->link;
	uint8_t question[TRANSPORT_QUESTION_MAX];
	size_t len = t->owner->question(t, question, false);
	ssize_t n = send(u->fd, question, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	u->doubtful = u->sent || n < 0;
	u->sent = true;
	/* A full queue loses the datagram like any router on the way would: the second send makes
	 * up for it. */
	if (n < 0 && errno != EAGAIN && errno != ENOBUFS)
		return -errno;
	if (loop_op_busy(&u->receive))
		return 0;
	return loop_recv_once(
		u->transports->loop, &u->receive, u->fd, u->transports->datagrams, udp_received);
}

static int udp_open(struct transports *ts, struct transport_try *t)
{
	struct sockaddr_storage to;
	socklen_t len = ip_port_to_sockaddr(&t->to, &to);
	struct udp_link *u;
	int error = transports_random(ts, &t->id);

	if (error < 0)
		return error;
	error = link_get(ts, t, &u);
	if (error < 0)
		return error;
	if (connect(u->fd, (const struct sockaddr *)&to, len) < 0) {
		error = -errno;
		link_free(u);
		return error;
	}
	u->try = t;
	t->link = u;
	link_insert(u, &ts->udp_open);
	transports_hold(ts);
	t->asked_us = clock_us();
	error = udp_send(t);
	if (error < 0) {
		u->doubtful = true;
		udp_close(t);
	}
	return error;
}

static int udp_resend(struct transport_try *t)
{
	t->asked_us = 0;
	return udp_send(t);
}

/* --- the host's addresses changed --- */

void transport_udp_renew(
	struct transports *ts, bool (*is_ours)(void *arg, const struct ip_addr *a), void *arg)
{
	struct udp_link *dead = NULL, *u, *next;

	for (u = ts->udp_open; u; u = next) {
		next = u->next;
		if (transport_stands(u->fd, is_ours, arg))
			continue;
		link_remove(u);
		link_insert(u, &dead);
	}
	/* An owner that is told may close others of them: they leave the list. */
	while (dead) {
		struct transport_try *t = dead->try;
		int error;

		udp_close(t);
		error = udp_open(ts, t);
		if (error < 0) {
			t->transport = NULL;
			t->owner->fail(t, transport_error(error));
		}
	}
}

const struct transport transport_udp = {
	.lossy = true,
	.open = udp_open,
	.resend = udp_resend,
	.close = udp_close,
};
