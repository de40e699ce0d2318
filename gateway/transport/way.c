/* The bytes' way of a connection: a socket of ours or one that an egress dialled, TLS over it.
 * Written at once, as far as the socket takes it: a completion for each write would cost more than
 * the write. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/transport/conn_internal.h"

/* --- out --- */

static void way_writable(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct conn *c = container_of(op, struct conn, out);

	(void)res; /* an error shows when it is written to */
	(void)data;
	(void)last;
	conn_pin(c);
	if (c->state != CONN_CLOSING)
		conn_dirty(c);
	conn_unpin(c);
}

/* How much the socket took; less than len: it will be told when there is room. */
static ssize_t way_send(struct conn *c, const uint8_t *data, size_t len)
{
	ssize_t n = send(c->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	int error;

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	if (n < 0)
		n = 0;
	if ((size_t)n == len)
		return n;
	error = loop_poll_once(c->transports->loop, &c->out, c->fd, POLLOUT, way_writable);
	return error < 0 ? error : n;
}

static int way_write_plain(struct conn *c)
{
	ssize_t n;

	if (!c->plain_len)
		return 0;
	n = way_send(c, c->plain, c->plain_len);
	if (n < 0)
		return (int)n;
	c->plain_len -= (size_t)n;
	memmove(c->plain, c->plain + n, c->plain_len);
	return 0;
}

static int way_write_tls(struct conn *c)
{
	const uint8_t *data;
	size_t len;
	ssize_t n;
	int error;

	if (c->plain_len && tls_is_ready(c->tls)) {
		error = tls_write(c->tls, c->plain, c->plain_len);
		if (error < 0)
			return error;
		c->plain_len = 0;
	}
	len = tls_pending(c->tls, &data);
	if (!len)
		return 0;
	n = way_send(c, data, len);
	if (n < 0)
		return (int)n;
	tls_sent(c->tls, (size_t)n);
	return 0;
}

int way_write(struct conn *c)
{
	if (c->fd < 0 || c->state == CONN_CONNECTING || c->state == CONN_CLOSING ||
		loop_op_busy(&c->out))
		return 0;
	return c->tls ? way_write_tls(c) : way_write_plain(c);
}

/* --- in --- */

static int way_feed_tls(struct conn *c, const uint8_t *data, size_t len)
{
	struct transports *ts = c->transports;
	int error = tls_feed(c->tls, data, len);
	ssize_t n;

	while (error == 0 && c->state != CONN_CLOSING) {
		n = tls_read(c->tls, ts->plain, sizeof ts->plain);
		if (c->state == CONN_HANDSHAKE && tls_is_ready(c->tls))
			conn_stands(c);
		if (n <= 0) {
			error = (int)n;
			break;
		}
		if (c->state == CONN_OPEN)
			error = c->codec->feed(c, ts->plain, (size_t)n);
	}
	if (c->state == CONN_CLOSING)
		return 0;
	if (error < 0)
		(void)way_write(c); /* the alert that says why */
	else
		conn_dirty(c);
	return error;
}

static int way_feed(struct conn *c, const uint8_t *data, size_t len)
{
	int64_t now_ms = loop_now_ms(c->transports->loop);
	int error;

	c->heard_us = clock_us();
	c->stalled = c->full = false;
	error = c->tls ? way_feed_tls(c, data, len) : c->codec->feed(c, data, len);
	if (c->state == CONN_CLOSING)
		return 0;
	c->silent_since_ms = c->asked.n ? now_ms : 0;
	if (c->waiting.n || c->retired)
		conn_dirty(c);
	return error;
}

static void way_received(struct loop_op *op, int32_t res, uint8_t *data, bool last);

static int way_receive(struct conn *c)
{
	return loop_recv_start(
		c->transports->loop, &c->in, c->fd, c->transports->streams, way_received);
}

static void way_received(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct conn *c = container_of(op, struct conn, in);
	int error = res > 0 ? 0 : res < 0 ? res : -ECONNRESET;

	conn_pin(c);
	if (c->state != CONN_CLOSING) {
		if (error == 0)
			error = way_feed(c, data, (size_t)res);
		if (error == 0 && last && c->state != CONN_CLOSING)
			error = way_receive(c);
		if (error < 0 && c->state != CONN_CLOSING)
			conn_break(c, transport_error(error));
	}
	conn_unpin(c);
}

/* --- connecting --- */

static void way_stands(struct conn *c)
{
	int error = way_receive(c);

	c->state = CONN_HANDSHAKE;
	c->set_up_by_ms = loop_now_ms(c->transports->loop) + CONN_SET_UP_MS;
	if (error < 0)
		conn_break(c, error);
	else if (c->tls)
		conn_dirty(c);
	else
		conn_stands(c);
}

static void way_connected(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct conn *c = container_of(op, struct conn, out);

	(void)data;
	(void)last;
	conn_pin(c);
	if (c->state != CONN_CLOSING) {
		if (res < 0)
			conn_break(c, transport_error(res));
		else
			way_stands(c);
	}
	conn_unpin(c);
}

static int way_options(int fd)
{
	const unsigned ms = CONN_USER_MS;
	const int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms) < 0)
		return -errno;
	return 0;
}

static void way_dialled(struct egress_dial *dial, int fd, unsigned egress, int error)
{
	struct conn *c = container_of(dial, struct conn, dial);

	(void)egress;
	conn_pin(c);
	if (fd >= 0) {
		c->fd = fd;
		/* io_uring waits for a blocking one by itself. */
		error = fcntl(fd, F_SETFL, O_RDWR) < 0 ? -errno : way_options(fd);
	}
	if (error < 0)
		conn_break(c, transport_error(error));
	else
		way_stands(c);
	conn_unpin(c);
}

static void way_dial(struct conn *c, const struct ip_port *to)
{
	const struct transport_server *s = c->server;
	struct egress_target target = {.at = *to};

	target.at.port = s->conf.at.port;
	if (s->conf.host)
		memcpy(target.host, s->conf.host, strnlen(s->conf.host, EGRESS_HOST_MAX));
	/* The dial has its own deadline. */
	c->set_up_by_ms = TRANSPORT_NEVER_MS;
	egress_connect(c->transports->dialer, s->via, s->egress, &target, &c->dial, way_dialled);
}

int way_open(struct conn *c, const struct ip_port *to)
{
	socklen_t len = ip_port_to_sockaddr(to, &c->to);
	uint32_t mark;
	int error;

	if (!transport_server_is_direct(c->server, &mark)) {
		way_dial(c, to);
		return 0;
	}
	if (!len)
		return -EHOSTUNREACH;
	c->fd = transport_socket(c->server, to, SOCK_STREAM, mark);
	if (c->fd < 0)
		return c->fd;
	error = way_options(c->fd);
	if (error == 0)
		error = loop_connect(c->transports->loop, &c->out, c->fd,
			(const struct sockaddr *)&c->to, len, way_connected);
	if (error < 0)
		close(c->fd);
	return error;
}

/* --- the end --- */

/* So that the far end knows that nothing was cut off; whether it leaves is no matter. */
static void way_bid_farewell(struct conn *c)
{
	const uint8_t *data;
	size_t len;

	if (!c->tls || !tls_is_ready(c->tls) || loop_op_busy(&c->out))
		return;
	tls_close(c->tls);
	len = tls_pending(c->tls, &data);
	if (len)
		(void)!send(c->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Else the kernel would go on sending the end of it for a minute, from an address that is another
 * host's now. */
void way_abandon(struct conn *c)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};

	if (c->fd >= 0)
		(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void way_close(struct conn *c)
{
	way_bid_farewell(c);
	egress_cancel(&c->dial);
	loop_op_cancel(&c->in);
	loop_op_cancel(&c->out);
}

bool way_is_busy(const struct conn *c)
{
	return loop_op_busy(&c->in) || loop_op_busy(&c->out);
}

void way_free(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
}
