#include "gateway/serve/tcp.h"
#include "gateway/base/container.h"
#include "gateway/base/grow.h"
#include "gateway/base/wire.h"
#include "gateway/base/descriptors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 512
#define LISTENERS_MAX	32
#define OUT_BYTES_MAX	(256u << 10) /* that wait for one client */
#define OUT_TOTAL_MAX	(8u << 20)   /* and for all of them */
#define QUERY_MAX	4096	     /* a question with options; more is no query */
#define IN_FLIGHT_MAX	1024 /* of one connection; who asks more without waiting is cut off */
#define ACCEPT_RETRY_MS 100

struct bytes {
	uint8_t *v;
	size_t len, cap;
};

struct connection {
	struct connection *next_free, *next_dirty;
	struct serve_tcp *tcp;
	struct loop_op recv, send;
	struct loop_timer idle;
	struct ip_port peer;
	enum query_listener listener;
	int fd;
	uint32_t serial;  /* tells a reply for an earlier user of this slot */
	unsigned waiting; /* parked queries */
	bool eof, closing, dirty;
	size_t in_len;
	uint8_t in[2 + QUERY_MAX];
	struct bytes out, sending; /* gathering; in the kernel's hands */
};

struct listener {
	struct loop_op accept;
	struct loop_timer retry;
	struct serve_tcp *tcp;
	int fd;
	enum query_listener listener;
};

struct serve_tcp {
	struct loop *loop;
	struct loop_buffers *buffers;
	struct query_engine *engine;
	struct loop_hook hook;
	struct listener listeners[LISTENERS_MAX];
	unsigned n_listeners, n_connections, n_allocated;
	size_t out_bytes; /* of all connections, gathering and being sent */
	struct connection *free, *dirty;
	struct connection *all[CONNECTIONS_MAX];
	bool stopping;
	uint8_t answer[DNS_MESSAGE_MAX];
};

struct route { /* in query_origin.route */
	struct connection *connection;
	uint32_t serial;
};
_Static_assert(sizeof(struct route) <= QUERY_ROUTE_SIZE, "route fits its origin");

/* --- a connection's end --- */

static void connection_free_if_done(struct connection *c)
{
	if (!c->closing || loop_op_busy(&c->recv) || loop_op_busy(&c->send))
		return;
	close(c->fd);
	c->fd = -1;
	c->tcp->out_bytes -= c->out.len + c->sending.len;
	free(c->out.v);
	free(c->sending.v);
	c->out = c->sending = (struct bytes){0};
	c->serial++;
	c->next_free = c->tcp->free;
	c->tcp->free = c;
	c->tcp->n_connections--;
}

static void connection_close(struct connection *c)
{
	if (c->closing)
		return;
	c->closing = true;
	loop_timer_cancel(c->tcp->loop, &c->idle);
	loop_op_cancel(&c->recv);
	loop_op_cancel(&c->send);
	if (!c->dirty) /* else the turn's end does it, when the list no longer points here */
		connection_free_if_done(c);
}

static void idle_out(struct loop_timer *t)
{
	connection_close(container_of(t, struct connection, idle));
}

static void idle_restart(struct connection *c)
{
	if (loop_timer_set(c->tcp->loop, &c->idle, loop_now_ms(c->tcp->loop) + SERVE_TCP_IDLE_MS))
		connection_close(c);
}

/* --- answers --- */

static void sent(struct loop_op *op, int32_t res, uint8_t *data, bool last);

static void mark_dirty(struct connection *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	c->next_dirty = c->tcp->dirty;
	c->tcp->dirty = c;
}

/* Queued now, sent at the turn's end, when new mappings are in the log. */
static void queue_answer(struct connection *c, const uint8_t *msg, size_t len)
{
	if (c->closing)
		return;
	if (c->out.len + len + 2 > OUT_BYTES_MAX || c->tcp->out_bytes + len + 2 > OUT_TOTAL_MAX ||
		room_grow((void **)&c->out.v, &c->out.cap, c->out.len, len + 2, 1)) {
		connection_close(c);
		return;
	}
	wire_put16(c->out.v + c->out.len, (unsigned)len);
	memcpy(c->out.v + c->out.len + 2, msg, len);
	c->out.len += len + 2;
	c->tcp->out_bytes += len + 2;
	mark_dirty(c);
}

static void send_more(struct connection *c)
{
	struct bytes swap = c->sending; /* empty */

	if (c->closing || loop_op_busy(&c->send))
		return;
	if (c->out.len == 0) {
		if (c->eof && c->waiting == 0)
			connection_close(c);
		return;
	}
	c->sending = c->out;
	c->out = swap;
	if (loop_send(c->tcp->loop, &c->send, c->fd, c->sending.v, c->sending.len, sent))
		connection_close(c);
}

static void sent(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct connection *c = container_of(op, struct connection, send);

	(void)data;
	(void)last;
	if (c->closing) {
		if (!c->dirty)
			connection_free_if_done(c);
	} else if (res < 0 || (size_t)res < c->sending.len) {
		connection_close(c);
	} else {
		c->tcp->out_bytes -= c->sending.len;
		c->sending.len = 0;
		mark_dirty(c); /* what has gathered meanwhile waits for the log, too */
	}
}

static void turn_end(struct loop_hook *hook)
{
	struct serve_tcp *t = container_of(hook, struct serve_tcp, hook);

	if (!t->dirty)
		return;
	query_engine_commit(t->engine);
	while (t->dirty) {
		struct connection *c = t->dirty;

		t->dirty = c->next_dirty;
		c->dirty = false;
		if (c->closing)
			connection_free_if_done(c);
		else
			send_more(c);
	}
}

static void reply_later(const struct query_origin *o, const uint8_t *msg, size_t len)
{
	struct route route;

	memcpy(&route, o->route, sizeof route);
	if (route.connection->serial != route.serial)
		return;
	route.connection->waiting--;
	queue_answer(route.connection, msg, len);
}

/* --- queries --- */

static void handle(struct connection *c, const uint8_t *msg, size_t len)
{
	struct query_origin origin = {
		.client = c->peer, .listener = c->listener, .stream = true, .reply = reply_later};
	struct route route = {.connection = c, .serial = c->serial};
	size_t n;

	memcpy(origin.route, &route, sizeof route);
	c->waiting++; /* before: a failure found at once is replied from within */
	n = query_handle(c->tcp->engine, &origin, msg, len, c->tcp->answer);
	if (n == QUERY_PARKED)
		return;
	c->waiting--;
	if (n)
		queue_answer(c, c->tcp->answer, n);
	else
		connection_close(c); /* no query at all: such a peer gets nothing */
}

/* Takes every whole query out of the buffer. */
static void drain(struct connection *c)
{
	size_t at = 0;

	while (!c->closing && c->in_len - at >= 2) {
		size_t len = wire_get16(c->in + at);

		if (len > QUERY_MAX || len < DNS_HEADER_SIZE || c->waiting >= IN_FLIGHT_MAX) {
			connection_close(c);
			return;
		}
		if (c->in_len - at < 2 + len)
			break;
		handle(c, c->in + at + 2, len);
		at += 2 + len;
		if (!c->closing)
			idle_restart(c);
	}
	if (c->closing)
		return;
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
}

static void received(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct connection *c = container_of(op, struct connection, recv);

	while (res > 0 && !c->closing) {
		size_t room = sizeof c->in - c->in_len, n = (size_t)res < room ? (size_t)res : room;

		memcpy(c->in + c->in_len, data, n);
		c->in_len += n;
		data += n;
		res -= (int32_t)n;
		drain(c);
	}
	if (!last)
		return;
	if (c->closing) {
		if (!c->dirty)
			connection_free_if_done(c);
		return;
	}
	/* The client may have closed its half only: what it asked is still answered. */
	c->eof = true;
	if (res < 0)
		connection_close(c);
	else
		mark_dirty(c);
}

/* --- listeners --- */

static struct connection *connection_take(struct serve_tcp *t)
{
	struct connection *c = t->free;

	if (c) {
		t->free = c->next_free;
	} else {
		if (t->n_allocated == CONNECTIONS_MAX)
			return NULL;
		c = calloc(1, sizeof *c);
		if (!c)
			return NULL;
		t->all[t->n_allocated++] = c;
	}
	c->tcp = t;
	c->waiting = 0;
	c->eof = c->closing = c->dirty = false;
	c->in_len = 0;
	t->n_connections++;
	return c;
}

static void connection_start(struct serve_tcp *t, const struct listener *l, int fd)
{
	struct connection *c = connection_take(t);
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;

	if (!c) {
		close(fd);
		return;
	}
	c->fd = fd;
	c->listener = l->listener;
	c->idle.fire = idle_out;
	c->peer = (struct ip_port){0};
	if (getpeername(fd, (struct sockaddr *)&sa, &len) == 0)
		ip_port_from_sockaddr((struct sockaddr *)&sa, &c->peer);
	if (loop_recv_start(t->loop, &c->recv, fd, t->buffers, received))
		connection_close(c);
	else
		idle_restart(c);
}

static void accepted(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct listener *l = container_of(op, struct listener, accept);

	(void)data;
	res = descriptors_take(DESCRIPTORS_CLIENT, res);
	if (res >= 0 && l->tcp->stopping)
		close(res);
	else if (res >= 0)
		connection_start(l->tcp, l, res);
	/* Out of descriptors or the like: the listener stays, but does not spin. */
	if (last && !l->tcp->stopping)
		loop_timer_set(
			l->tcp->loop, &l->retry, loop_now_ms(l->tcp->loop) + ACCEPT_RETRY_MS);
}

static void accept_again(struct loop_timer *t)
{
	struct listener *l = container_of(t, struct listener, retry);

	if (loop_accept_start(l->tcp->loop, &l->accept, l->fd, accepted))
		loop_timer_set(l->tcp->loop, t, loop_now_ms(l->tcp->loop) + ACCEPT_RETRY_MS);
}

int serve_tcp_new(struct loop *loop, struct loop_buffers *buffers, struct query_engine *engine,
	struct serve_tcp **ret)
{
	struct serve_tcp *t = calloc(1, sizeof *t);

	if (!t)
		return -ENOMEM;
	t->loop = loop;
	t->buffers = buffers;
	t->engine = engine;
	t->hook.run = turn_end;
	loop_on_turn_end(loop, &t->hook);
	*ret = t;
	return 0;
}

int serve_tcp_listen(struct serve_tcp *t, int fd, enum query_listener listener)
{
	struct listener *l = &t->listeners[t->n_listeners];
	int error;

	if (t->n_listeners == LISTENERS_MAX)
		return -ENOSPC;
	*l = (struct listener){
		.tcp = t, .fd = fd, .listener = listener, .retry = {.fire = accept_again}};
	error = loop_accept_start(t->loop, &l->accept, fd, accepted);
	if (!error)
		t->n_listeners++;
	return error;
}

void serve_tcp_stop(struct serve_tcp *t)
{
	if (!t)
		return;
	t->stopping = true;
	for (unsigned i = 0; i < t->n_listeners; i++) {
		loop_timer_cancel(t->loop, &t->listeners[i].retry);
		loop_op_cancel(&t->listeners[i].accept);
	}
	for (unsigned i = 0; i < t->n_allocated; i++)
		if (t->all[i]->fd >= 0)
			connection_close(t->all[i]);
}

bool serve_tcp_idle(const struct serve_tcp *t)
{
	for (unsigned i = 0; i < t->n_listeners; i++)
		if (loop_op_busy(&t->listeners[i].accept))
			return false;
	return t->n_connections == 0;
}

void serve_tcp_free(struct serve_tcp *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < t->n_listeners; i++)
		close(t->listeners[i].fd);
	for (unsigned i = 0; i < t->n_allocated; i++)
		free(t->all[i]);
	free(t);
}

unsigned serve_tcp_connections(const struct serve_tcp *t)
{
	return t->n_connections;
}
