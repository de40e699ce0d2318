/* Connections that reach the relay's listeners. To a fake address: its egress connection waits
 * already, from whichever worker. To any other: real.c finds out where it goes. */
#include "gateway/base/container.h"
#include "gateway/base/count.h"
#include "gateway/base/descriptors.h"
#include "gateway/carry/carry_internal.h"

#include <errno.h>
#include <linux/in6.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define AGAIN_MS	 50
#define UDP_BUFFERS	 64
#define UDP_BUFFER_BYTES 2048

void accept_refuse(int fd)
{
	struct linger reset = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	close(fd);
}

static int ends_of(int fd, struct ip_port *ret_client, struct ip_port *ret_to)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;

	if (getsockname(fd, (struct sockaddr *)&sa, &len))
		return -errno;
	ip_port_from_sockaddr((struct sockaddr *)&sa, ret_to);
	/* getpeername(2) fails when the client has reset the connection by now; what waits for it
	 * must be found all the same. This wants the length exactly. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &sa, &len))
		return -errno;
	ip_port_from_sockaddr((struct sockaddr *)&sa, ret_client);
	return 0;
}

static void take(struct carry *c, int fd)
{
	struct relay_flow_config flow = {.client_fd = fd};
	struct waiting_conn conn;
	struct waiting_key key;
	int error = ends_of(fd, &key.client, &key.fake);

	if (error || c->stopping) {
		accept_refuse(fd);
		return;
	}
	if (!fakeip_in_pools(c->c.fakeip, key.fake.addr.b, ip_addr_size(&key.fake.addr))) {
		real_accepted(c->real, fd, &key.client, &key.fake);
		return;
	}
	if (waiting_take(c->c.shared->waiting, &key, &conn)) {
		accept_refuse(fd); /* it waited too long */
		return;
	}
	flow.egress_fd = conn.fd;
	flow.idle_ms = conn.idle_ms;
	flow.owner = conn.state;
	flow.number = conn.index;
	if (relay_start(c->relay, &flow)) {
		count_add(&c->counters.overflow, 1);
		egress_flow_end(conn.state);
		fakeip_release(c->c.fakeip, conn.index);
	}
}

static void accepted(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct carry_listener *l = container_of(op, struct carry_listener, op);
	struct carry *c = l->carry;

	(void)data;
	/* Its egress connection is there already: it may take what is left. */
	res = descriptors_take(DESCRIPTORS_ASK, res);
	if (res >= 0)
		take(c, res);
	if (last && !c->stopping)
		loop_timer_set(c->c.loop, &l->again, loop_now_ms(c->c.loop) + AGAIN_MS);
}

/* Where the client sent it (IP_RECVORIGDSTADDR). */
static bool udp_target(const struct loop_datagram *d, struct ip_port *ret)
{
	for (struct cmsghdr *m = loop_cmsg_first(d); m; m = loop_cmsg_next(d, m)) {
		struct sockaddr_storage sa = {0};
		size_t len = m->cmsg_len - CMSG_LEN(0);

		if (!(m->cmsg_level == IPPROTO_IP && m->cmsg_type == IP_ORIGDSTADDR) &&
			!(m->cmsg_level == IPPROTO_IPV6 && m->cmsg_type == IPV6_ORIGDSTADDR))
			continue;
		memcpy(&sa, CMSG_DATA(m), len < sizeof sa ? len : sizeof sa);
		ip_port_from_sockaddr((struct sockaddr *)&sa, ret);
		return ret->addr.family != IP_NONE && ret->port;
	}
	return false;
}

static void received(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct carry_listener *l = container_of(op, struct carry_listener, op);
	struct carry *c = l->carry;
	struct loop_datagram *in = (struct loop_datagram *)data;
	struct udp_datagram d;

	if (res >= 0 && in && !c->stopping && !in->truncated && udp_target(in, &d.to)) {
		ip_port_from_sockaddr((struct sockaddr *)in->from, &d.client);
		d.payload = in->payload;
		d.len = in->len;
		if (fakeip_in_pools(c->c.fakeip, d.to.addr.b, ip_addr_size(&d.to.addr)))
			count_add(&c->counters.unmapped, 1); /* those come by TUN */
		else if (!udp_relay_real(c->udp, &d))
			real_datagram(c->real, &d);
	} else if (res >= 0 && in && in->truncated) {
		count_add(&c->counters.overflow, 1);
	}
	if (last && !c->stopping)
		loop_timer_set(c->c.loop, &l->again, loop_now_ms(c->c.loop) + AGAIN_MS);
}

static int start(struct carry_listener *l, bool stream)
{
	struct carry *c = l->carry;

	return stream ? loop_accept_start(c->c.loop, &l->op, l->fd, accepted)
		      : loop_recvmsg_start(c->c.loop, &l->op, l->fd, c->udp_buffers, received);
}

static void again(struct loop_timer *t)
{
	struct carry_listener *l = container_of(t, struct carry_listener, again);
	struct carry *c = l->carry;

	if (start(l, l >= c->tcp && l < c->tcp + CARRY_LISTENERS))
		loop_timer_set(c->c.loop, t, loop_now_ms(c->c.loop) + AGAIN_MS);
}

static int add(struct carry *c, struct carry_listener *v, unsigned *n, int fd, bool stream)
{
	struct carry_listener *l = &v[*n];
	int error;

	if (*n == CARRY_LISTENERS)
		return -ENOSPC;
	*l = (struct carry_listener){.carry = c, .fd = fd, .again.fire = again};
	error = start(l, stream);
	*n += !error;
	return error;
}

int carry_listen(struct carry *c, int tcp_fd)
{
	return add(c, c->tcp, &c->n_tcp, tcp_fd, true);
}

int carry_receive(struct carry *c, int udp_fd)
{
	int error = 0;

	if (!c->udp_buffers)
		error = loop_buffers_new(c->c.loop, UDP_BUFFER_BYTES, UDP_BUFFERS, &c->udp_buffers);
	return error ? error : add(c, c->udp_in, &c->n_udp_in, udp_fd, false);
}

static void stop_each(struct carry *c, struct carry_listener *v, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		loop_timer_cancel(c->c.loop, &v[i].again);
		loop_op_cancel(&v[i].op);
	}
}

void accept_stop(struct carry *c)
{
	stop_each(c, c->tcp, c->n_tcp);
	stop_each(c, c->udp_in, c->n_udp_in);
}

bool accept_idle(const struct carry *c)
{
	bool busy = false;

	for (unsigned i = 0; i < c->n_tcp; i++)
		busy |= loop_op_busy(&c->tcp[i].op);
	for (unsigned i = 0; i < c->n_udp_in; i++)
		busy |= loop_op_busy(&c->udp_in[i].op);
	return !busy;
}

void accept_free(struct carry *c)
{
	for (unsigned i = 0; i < c->n_tcp; i++)
		close(c->tcp[i].fd);
	for (unsigned i = 0; i < c->n_udp_in; i++)
		close(c->udp_in[i].fd);
	if (c->udp_buffers)
		loop_buffers_free(c->udp_buffers);
}
