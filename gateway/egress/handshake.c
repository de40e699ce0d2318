/* What is said between the connection to a proxy and that to the target. */
#include <errno.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/egress/dial_internal.h"

static int dial_wait(struct dial *d)
{
	return loop_recv_once(d->dialer->loop, &d->op, d->fd, d->dialer->one_byte, dial_op_done);
}

/* In one piece: an empty send buffer takes the longest of our messages. */
static int dial_send(struct dial *d, const void *message, size_t len, enum dial_step step)
{
	ssize_t n = send(d->fd, message, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n != (ssize_t)len)
		return n < 0 ? dial_kernel_error(-errno) : -ENOBUFS;
	d->step = (uint8_t)step;
	d->got = 0;
	return dial_wait(d);
}

static void proxy_worked(struct dial *d)
{
	state_worked(dial_leaf(d)->state, d->rtt_us);
	d->rtt_us = 0;
}

/* From here on it is the target that is waited for. */
static void proxy_was_asked(struct dial *d)
{
	d->proxys_fault = false;
	(void)dial_timer_set(d, d->deadline_ms); /* moved, which cannot fail */
}

static int socks5_request(struct dial *d)
{
	static const struct ip_port nowhere;
	uint8_t buf[SOCKS5_REQUEST_MAX];
	size_t len;

	proxy_worked(d);
	proxy_was_asked(d);
	switch (d->order.purpose) {
	case DIAL_CHECK:
		return CONNECTED;
	case DIAL_ASSOCIATE: /* from where we shall send is not known: zeroes (RFC 1928 4) */
		len = socks5_request_write(SOCKS5_UDP_ASSOCIATE, "", &nowhere, buf);
		break;
	case DIAL_STREAM:
	default:
		len = socks5_request_write(SOCKS5_CONNECT, d->target.host, &d->target.at, buf);
		break;
	}
	return dial_send(d, buf, len, STEP_REPLY);
}

static int socks5_greet(struct dial *d)
{
	uint8_t buf[SOCKS5_GREETING_MAX];

	return dial_send(
		d, buf, socks5_greeting_write(dial_leaf(d)->user != NULL, buf), STEP_METHOD);
}

static int socks5_method(struct dial *d)
{
	const struct egress *e = dial_leaf(d);
	int method = socks5_method_parse(d->in.bytes, e->user != NULL);
	uint8_t buf[SOCKS5_AUTH_MAX];

	if (method < 0)
		return method;
	if (method == SOCKS5_METHOD_NONE)
		return socks5_request(d);
	return dial_send(d, buf, socks5_auth_write(e->user, e->password, buf), STEP_AUTH);
}

static int socks5_auth(struct dial *d)
{
	int error = socks5_auth_parse(d->in.bytes);

	return error ? error : socks5_request(d);
}

static int socks5_reply(struct dial *d)
{
	struct socks5_address bound;
	int r = socks5_reply_parse(
		d->in.bytes, d->got, d->order.ret_bound ? d->order.ret_bound : &bound);

	return r == 0 ? CONNECTED : r;
}

static int http_ask(struct dial *d)
{
	char buf[HTTP_REQUEST_MAX];
	size_t len;

	if (d->order.purpose == DIAL_CHECK) {
		proxy_worked(d);
		return CONNECTED;
	}
	len = http_request_write(d->target.host, &d->target.at, dial_leaf(d)->credentials, buf);
	if (!len) {
		d->proxys_fault = false;
		return -EHOSTUNREACH;
	}
	d->in.head = (struct http_head){0};
	proxy_was_asked(d);
	return dial_send(d, buf, len, STEP_HEAD);
}

static int http_replied(struct dial *d)
{
	unsigned status = d->in.head.status;

	if (status == 407 || status == 401) { /* whoever the target is; some say 401 instead */
		d->proxys_fault = true;
		return -EACCES;
	}
	proxy_worked(d);
	return status >= 200 && status < 300 ? CONNECTED : http_status_error(status);
}

/* The head's bytes lie in the socket: they are looked at, and only what belongs to it is taken. */
static int http_read(struct dial *d)
{
	uint8_t buf[1024];
	size_t taken;
	ssize_t n;
	int r = 0;

	while (!r) {
		n = recv(d->fd, buf, sizeof buf, MSG_PEEK | MSG_DONTWAIT);
		if (n <= 0)
			return n == 0		 ? -ECONNREFUSED
			       : errno == EAGAIN ? dial_wait(d)
						 : dial_kernel_error(-errno);
		r = http_head_feed(&d->in.head, buf, (size_t)n, &taken);
		if (recv(d->fd, buf, taken, MSG_DONTWAIT) != (ssize_t)taken)
			return -EPROTO;
	}
	return r < 0 ? r : http_replied(d);
}

/* How many bytes more of in.bytes this step needs; 0: they are there. */
static int socks5_missing(const struct dial *d)
{
	struct socks5_address bound;
	int r;

	if (d->step != STEP_REPLY)
		return 2 - d->got;
	r = socks5_reply_parse(d->in.bytes, d->got, &bound);
	return r > 0 ? r : 0;
}

static int socks5_read(struct dial *d)
{
	int missing;

	while ((missing = socks5_missing(d)) > 0) {
		ssize_t n = recv(d->fd, d->in.bytes + d->got, (size_t)missing, MSG_DONTWAIT);

		if (n <= 0)
			return n == 0		 ? -ECONNREFUSED
			       : errno == EAGAIN ? dial_wait(d)
						 : dial_kernel_error(-errno);
		d->got = (uint16_t)(d->got + n);
	}
	switch ((enum dial_step)d->step) {
	case STEP_METHOD:
		return socks5_method(d);
	case STEP_AUTH:
		return socks5_auth(d);
	default:
		return socks5_reply(d);
	}
}

int handshake_received(struct dial *d, uint8_t byte)
{
	size_t taken;
	int r;

	if (d->step != STEP_HEAD) {
		d->in.bytes[d->got++] = byte;
		return socks5_read(d);
	}
	r = http_head_feed(&d->in.head, &byte, 1, &taken);
	return r == 0 ? http_read(d) : r < 0 ? r : http_replied(d);
}

int handshake_start(struct dial *d)
{
	return dial_leaf(d)->conf.type == CONF_EGRESS_SOCKS5 ? socks5_greet(d) : http_ask(d);
}
