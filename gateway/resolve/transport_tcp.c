/* A connection for each try (RFC 7766; keeping them comes with the TLS ones). Messages follow a
 * length of two bytes, torn anywhere (RFC 1035 4.2.2). */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/resolve/resolve_internal.h"

struct tcp_link {
	struct loop_op out, in; /* connect, then send; receive */
	struct resolver *resolver;
	struct resolve_try *try; /* NULL: closed, waits for the end of its operations */
	int fd;
	struct sockaddr_storage at; /* of our own: the server may go with the flight */
	uint8_t prefix[2];
	uint8_t prefix_got;
	size_t want, got, cap;
	uint8_t *message; /* made when a length is known; NULL while messages come whole */
	size_t question_len;
	uint8_t question[2 + DNS_QUESTION_MAX];
};

size_t transport_tcp_link_size(void)
{
	return sizeof(struct tcp_link);
}

static void tcp_link_free_if_idle(struct tcp_link *c)
{
	struct resolver *r = c->resolver;

	if (loop_op_busy(&c->in) || loop_op_busy(&c->out))
		return;
	close(c->fd);
	free(c->message);
	slab_give(&r->tcp_links, c);
	resolver_release(r);
}

/* --- in --- */

static int tcp_message_reserve(struct tcp_link *c)
{
	uint8_t *p;

	if (c->want <= c->cap)
		return 0;
	p = realloc(c->message, c->want);
	if (!p)
		return -ENOMEM;
	c->message = p;
	c->cap = c->want;
	return 0;
}

/* Takes the next piece of data: a byte of the length, a whole message where it lies, or a part into
 * `message`. Returns how much it took or a negative errno; *ret_over when the try ended, and c may
 * be gone. */
static ssize_t tcp_feed(struct tcp_link *c, const uint8_t *data, size_t len, bool *ret_over)
{
	size_t n = c->want - c->got;
	int error;

	if (c->prefix_got < 2) {
		c->prefix[c->prefix_got++] = data[0];
		c->want = (size_t)(c->prefix[0] << 8 | c->prefix[1]);
		c->got = 0;
		if (c->prefix_got == 2 && c->want == 0) {
			c->prefix_got = 0;
			*ret_over = resolve_try_take(c->try, data, 0);
		}
		return 1;
	}
	if (c->got == 0 && len >= n) {
		c->prefix_got = 0;
		*ret_over = resolve_try_take(c->try, data, n);
		return (ssize_t)n;
	}
	error = tcp_message_reserve(c);
	if (error < 0)
		return error;
	if (n > len)
		n = len;
	memcpy(c->message + c->got, data, n);
	c->got += n;
	if (c->got == c->want) {
		c->prefix_got = 0;
		*ret_over = resolve_try_take(c->try, c->message, c->want);
	}
	return (ssize_t)n;
}

static void tcp_received(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct tcp_link *c = container_of(op, struct tcp_link, in);
	struct resolver *r = c->resolver;
	bool over = false;
	ssize_t n = 0;

	if (!c->try) {
		if (last)
			tcp_link_free_if_idle(c);
		return;
	}
	if (res <= 0) {
		resolve_try_fail(c->try, res < 0 ? res : -ECONNRESET);
		return;
	}
	for (size_t off = 0; off < (size_t)res; off += (size_t)n) {
		n = tcp_feed(c, data + off, (size_t)res - off, &over);
		if (n < 0)
			resolve_try_fail(c->try, (int)n);
		if (n < 0 || over)
			return;
	}
	if (last) {
		n = loop_recv_start(r->loop, &c->in, c->fd, r->buffers, tcp_received);
		if (n < 0)
			resolve_try_fail(c->try, (int)n);
	}
}

/* --- out --- */

static void tcp_sent(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct tcp_link *c = container_of(op, struct tcp_link, out);

	(void)data;
	(void)last;
	if (!c->try)
		tcp_link_free_if_idle(c);
	else if (res < 0 || (size_t)res < c->question_len)
		resolve_try_fail(c->try, res < 0 ? res : -ECONNRESET);
}

static int tcp_question_send(struct tcp_link *c)
{
	struct loop *l = c->resolver->loop;
	int error = loop_send(l, &c->out, c->fd, c->question, c->question_len, tcp_sent);

	return error < 0 ? error
			 : loop_recv_start(l, &c->in, c->fd, c->resolver->buffers, tcp_received);
}

static void tcp_connected(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct tcp_link *c = container_of(op, struct tcp_link, out);
	int error = res;

	(void)data;
	(void)last;
	if (!c->try) {
		tcp_link_free_if_idle(c);
		return;
	}
	if (error == 0)
		error = tcp_question_send(c);
	if (error < 0)
		resolve_try_fail(c->try, error);
}

/* --- the table --- */

static int tcp_open(struct resolve_try *t)
{
	struct resolver *r = t->resolver;
	struct tcp_link *c = slab_take(&r->tcp_links);
	int error, one = 1;

	if (!c)
		return -ENOBUFS;
	c->resolver = r;
	c->prefix_got = 0;
	c->want = c->got = c->cap = 0;
	c->message = NULL;
	c->at = t->server->at;
	c->fd = transport_socket(t->server, SOCK_STREAM);
	if (c->fd < 0) {
		error = c->fd;
		goto give;
	}
	if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0) {
		error = -errno;
		goto close;
	}
	c->try = t;
	t->link = c;
	resolver_hold(r);
	return 0;
close:
	close(c->fd);
give:
	slab_give(&r->tcp_links, c);
	return error;
}

static int tcp_send(struct resolve_try *t)
{
	struct tcp_link *c = t->link;
	size_t len = resolve_try_question(t, c->question + 2);

	c->question[0] = (uint8_t)(len >> 8);
	c->question[1] = (uint8_t)len;
	c->question_len = len + 2;
	return loop_connect(c->resolver->loop, &c->out, c->fd, (const struct sockaddr *)&c->at,
		t->server->at_len, tcp_connected);
}

static void tcp_close(struct resolve_try *t)
{
	struct tcp_link *c = t->link;

	t->link = NULL;
	c->try = NULL;
	loop_op_cancel(&c->in);
	loop_op_cancel(&c->out);
	tcp_link_free_if_idle(c);
}

const struct transport transport_tcp = {
	.open = tcp_open,
	.send = tcp_send,
	.close = tcp_close,
};
