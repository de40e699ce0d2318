#include "gateway/transport/transport_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "gateway/base/descriptors.h"
#include "gateway/transport/conn_internal.h"
#include "gateway/transport/udp_internal.h"

#define DATAGRAM_BYTES 4096
#define DATAGRAMS      1024 /* the loop provides them as they are needed */
#define STREAM_BYTES   16384
#define STREAMS	       128

/* --- life --- */

static void transports_free(struct transports *ts)
{
	void (*stopped)(void *arg) = ts->stopped;
	void *arg = ts->stopped_arg;

	loop_timer_cancel(ts->loop, &ts->soon);
	transport_udp_fini(ts);
	slab_fini(&ts->udp_links);
	slab_fini(&ts->udp_tables);
	slab_fini(&ts->udp_far_slab);
	slab_fini(&ts->conns);
	loop_buffers_free(ts->datagrams);
	loop_buffers_free(ts->streams);
	free(ts);
	if (stopped)
		stopped(arg);
}

static void transports_soon_fired(struct loop_timer *timer)
{
	struct transports *ts = container_of(timer, struct transports, soon);

	if (ts->stopping && ts->holds == 0) {
		transports_free(ts);
		return;
	}
	(void)loop_timer_set(ts->loop, &ts->soon, TRANSPORT_NEVER_MS);
	transports_hold(ts);
	transport_udp_flush(ts);
	conns_flush(ts);
	transports_release(ts);
}

int transports_new(const struct transports_config *config, struct transports **ret)
{
	struct transports *ts = calloc(1, sizeof *ts);
	int error;

	if (!ts)
		return -ENOMEM;
	ts->loop = config->loop;
	ts->dialer = config->dialer;
	slab_init(&ts->udp_links, sizeof(struct udp_link), TRANSPORT_UDP_MAX);
	slab_init(&ts->udp_tables, sizeof(struct udp_table), TRANSPORT_UDP_SHARED_MAX);
	slab_init(&ts->udp_far_slab, sizeof(struct udp_far), TRANSPORT_UDP_MAX);
	slab_init(&ts->conns, sizeof(struct conn), TRANSPORT_CONNS_MAX);
	ts->soon.fire = transports_soon_fired;
	error = transport_udp_init(ts);
	if (error < 0)
		goto fail;
	error = loop_timer_set(ts->loop, &ts->soon, TRANSPORT_NEVER_MS);
	if (error < 0)
		goto fini;
	error = loop_buffers_new(ts->loop, DATAGRAM_BYTES, DATAGRAMS, &ts->datagrams);
	if (error < 0)
		goto cancel;
	error = loop_buffers_new(ts->loop, STREAM_BYTES, STREAMS, &ts->streams);
	if (error < 0)
		goto buffers;
	*ret = ts;
	return 0;
buffers:
	loop_buffers_free(ts->datagrams);
cancel:
	loop_timer_cancel(ts->loop, &ts->soon);
fini:
	transport_udp_fini(ts);
fail:
	free(ts);
	return error;
}

void transports_soon(struct transports *ts)
{
	(void)loop_timer_set(ts->loop, &ts->soon, 0);
}

void transports_release(struct transports *ts)
{
	if (--ts->holds == 0 && ts->stopping)
		transports_soon(ts);
}

void transports_stop(struct transports *ts, void (*done)(void *arg), void *arg)
{
	ts->stopping = true;
	ts->stopped = done;
	ts->stopped_arg = arg;
	conns_close(ts);
	transport_udp_stop(ts);
	if (ts->holds == 0) /* so no callback of ours is running */
		transports_free(ts);
}

void transports_addresses_changed(
	struct transports *ts, bool (*is_ours)(void *arg, const struct ip_addr *a), void *arg)
{
	transports_hold(ts);
	conns_check(ts, is_ours, arg);
	transport_udp_renew(ts, is_ours, arg);
	transports_release(ts);
}

int transports_random(struct transports *ts, uint16_t *ret)
{
	if (ts->random_left < sizeof *ret) {
		if (getrandom(ts->random, sizeof ts->random, 0) != sizeof ts->random)
			return -EIO;
		ts->random_left = sizeof ts->random;
	}
	ts->random_left -= sizeof *ret;
	memcpy(ret, ts->random + ts->random_left, sizeof *ret);
	return 0;
}

/* --- sockets --- */

int transport_mark_set(int fd, uint32_t mark)
{
	return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0 ? -errno : 0;
}

static int socket_bind(int fd, const struct transport_server *s, int type)
{
	const struct conf_bind *b = &s->conf.bind;
	struct ip_port from = {.addr = b->address};
	struct sockaddr_storage sa;
	socklen_t len;
	int one = 1;

	if (b->interface && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, b->interface,
				    (socklen_t)strlen(b->interface) + 1) < 0)
		return -errno;
	if (b->address.family == IP_NONE)
		return 0;
	/* The port is found when the connection is made: one port then does for many servers. */
	if (type == SOCK_STREAM)
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	len = ip_port_to_sockaddr(&from, &sa);
	return bind(fd, (const struct sockaddr *)&sa, len) < 0 ? -errno : 0;
}

int transport_socket(
	const struct transport_server *s, const struct ip_port *to, int type, uint32_t mark)
{
	int family = to->addr.family == IP_V6 ? AF_INET6 : AF_INET;
	int fd = socket(family, type | SOCK_CLOEXEC, 0);
	int error;

	fd = descriptors_take(DESCRIPTORS_ASK, fd < 0 ? -errno : fd);
	if (fd < 0)
		return transport_error(fd);
	/* Without its mark the packet would be taken by our own rules and come back: rather none
	 * than that. */
	error = mark ? transport_mark_set(fd, mark) : 0;
	if (error == 0)
		error = socket_bind(fd, s, type);
	if (error < 0) {
		close(fd);
		return transport_error(error);
	}
	return fd;
}

bool transport_stands(int fd, bool (*is_ours)(void *arg, const struct ip_addr *a), void *arg)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	struct ip_port from;
	struct ip_addr any = {0};

	if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return false;
	ip_port_from_sockaddr((const struct sockaddr *)&sa, &from);
	any.family = from.addr.family;
	/* None: it is not on its way yet. */
	return ip_addr_equal(&from.addr, &any) || is_ours(arg, &from.addr);
}

int transport_error(int error)
{
	switch (error) {
	case 0:
	case -ETIMEDOUT:
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -EHOSTUNREACH:
	case -EKEYREJECTED:
	case -EPROTO:
	case -EREMOTEIO:
	case -EMSGSIZE:
	case -EMFILE:
	case -ENOMEM:
	case -ENOBUFS:
	case -ECANCELED:
		return error;
	case -EPIPE:
		return -ECONNRESET;
	case -ENFILE:
		return -EMFILE;
	case -EAGAIN: /* no local port is left */
		return -ENOBUFS;
	default:
		return -EHOSTUNREACH;
	}
}

/* --- tries --- */

void transport_fail(struct transport_try *t, int error)
{
	transport_close(t);
	t->owner->fail(t, transport_error(error));
}

/* A proxy carries connections only, and a server that is told apart by name needs one. */
static const struct transport *transport_for(const struct transport_try *t)
{
	uint32_t mark;

	switch (t->server->conf.transport) {
	case CONF_TCP:
	case CONF_TLS:
	case CONF_HTTPS:
		return &transport_stream;
	case CONF_UDP:
	case CONF_DNS:
		break;
	}
	return t->stream || !transport_server_is_direct(t->server, &mark) ? &transport_stream
									  : &transport_udp;
}

int transport_open(struct transports *ts, struct transport_try *t)
{
	const struct transport *transport = transport_for(t);
	int error;

	t->id = 0;
	t->asked_us = 0;
	t->transports = ts;
	t->link = NULL;
	t->again = false;
	t->transport = NULL;
	if (ts->stopping)
		return -ECANCELED;
	error = transport->open(ts, t);
	if (error < 0)
		return transport_error(error);
	t->transport = transport;
	return 0;
}

int transport_resend(struct transport_try *t)
{
	return transport_error(t->transport->resend(t));
}

bool transport_is_lossy(const struct transport_try *t)
{
	return t->transport->lossy;
}

void transport_close(struct transport_try *t)
{
	const struct transport *transport = t->transport;

	if (!transport)
		return;
	t->transport = NULL;
	transport->close(t);
}
