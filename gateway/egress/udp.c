/* Datagrams through one association (RFC 1928 7), or plainly.
 *
 *   dial (UDP ASSOCIATE) -> look up (a relay that is told by name) -> stands -> over -> closed
 *   direct: stands at once
 *
 * The relay's socket is connected, so nobody else's datagrams come in; direct ones are not, so
 * everybody's do. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/egress/egress_internal.h"

#define CONTROL_READS_MAX 16   /* a proxy has nothing to say there */
#define GUARD_DONE	  (-2) /* guard_slot: answers have come, or there is nothing to guard */

struct udp_socket {
	struct loop_op op;
	struct egress_udp *of;
	int fd; /* -1: none */
};

struct queued {
	struct queued *next;
	struct egress_target target;
	size_t len;
	uint8_t payload[];
};

struct egress_udp {
	struct egress_dialer *dialer;
	struct egress_udp *next, **link;
	struct egress_set *set;
	unsigned leaf;
	struct egress_udp_config config;
	bool direct, stands, looking;
	bool over;   /* closed() was called, or will be by the timer */
	bool closed; /* its owner has gone: freed with the last operation */
	unsigned pinned;
	int error;
	struct egress_dial dial;
	struct loop_timer timer;
	struct egress_lookup lookup;
	struct loop_op control;
	int control_fd;
	struct udp_socket sockets[2]; /* the relay's; or direct, one a family */
	struct queued *first, *last;
	unsigned queued;
	size_t queued_bytes;
	int guard_slot; /* -1: nothing was sent yet */
	struct egress_state *guarded;
	struct ip_port allowed; /* direct: the last target that was not forbidden */
	struct ip_port proxy;
	struct socks5_address relay;
};

static void udp_stand(struct egress_udp *u);

/* --- the end --- */

static void udp_free_if_idle(struct egress_udp *u)
{
	struct egress_dialer *d = u->dialer;

	if (!u->closed || u->pinned || loop_op_busy(&u->control) ||
		loop_op_busy(&u->sockets[0].op) || loop_op_busy(&u->sockets[1].op))
		return;
	for (size_t i = 0; i < 2; i++) {
		if (u->sockets[i].fd >= 0)
			close(u->sockets[i].fd);
	}
	if (u->control_fd >= 0)
		close(u->control_fd);
	egress_set_unref(u->set);
	free(u);
	d->associations_now--;
	dialer_release(d);
}

static void queue_drop(struct egress_udp *u)
{
	while (u->first) {
		struct queued *q = u->first;

		u->first = q->next;
		free(q);
	}
	u->queued = 0;
	u->queued_bytes = 0;
}

static void lookup_cancel(struct egress_udp *u)
{
	if (u->looking)
		u->dialer->config.resolve_cancel(u->dialer->config.arg, &u->lookup);
	u->looking = false;
}

static void guard_end(struct egress_udp *u, bool connected)
{
	if (u->guard_slot < 0)
		return;
	guard_leave(&u->guarded->guard, u->guard_slot, connected);
	state_unref(u->guarded);
	u->guard_slot = GUARD_DONE;
}

/* From an event: tells the owner, who closes. */
static void udp_end(struct egress_udp *u, int error)
{
	if (u->over || u->closed)
		return;
	u->over = true;
	u->stands = false;
	lookup_cancel(u);
	loop_timer_cancel(u->dialer->loop, &u->timer);
	queue_drop(u);
	u->pinned++;
	u->config.closed(u->config.arg, error);
	u->pinned--;
	udp_free_if_idle(u);
}

void egress_udp_close(struct egress_udp *u)
{
	if (u->closed)
		return;
	u->closed = true;
	*u->link = u->next;
	if (u->next)
		u->next->link = u->link;
	egress_cancel(&u->dial);
	lookup_cancel(u);
	loop_timer_cancel(u->dialer->loop, &u->timer);
	queue_drop(u);
	guard_end(u, false);
	loop_op_cancel(&u->control);
	loop_op_cancel(&u->sockets[0].op);
	loop_op_cancel(&u->sockets[1].op);
	udp_free_if_idle(u);
}

void associations_end(struct egress_dialer *d)
{
	while (d->associations)
		egress_udp_close(d->associations);
}

static void udp_timer_fired(struct loop_timer *timer)
{
	struct egress_udp *u = container_of(timer, struct egress_udp, timer);

	udp_end(u, u->error ? u->error : -ETIMEDOUT);
}

/* From within a call of the owner's: told in the next turn. */
static void udp_end_soon(struct egress_udp *u, int error)
{
	if (u->over || u->error)
		return;
	u->error = error;
	if (loop_timer_set(u->dialer->loop, &u->timer, loop_now_ms(u->dialer->loop)) < 0)
		u->error = 0; /* the next send finds out again */
}

/* --- in --- */

static void udp_hand_over(
	struct egress_udp *u, const struct ip_port *from, const uint8_t *payload, size_t len)
{
	guard_end(u, true);
	u->config.received(u->config.arg, from, payload, len);
}

static void drop(struct egress_udp *u)
{
	atomic_fetch_add_explicit(&u->set->v[u->leaf].state->dropped, 1, memory_order_relaxed);
}

static void relayed_take(struct egress_udp *u, const uint8_t *data, size_t len)
{
	struct socks5_address from;
	int header;

	header = socks5_header_parse(data, len, &from);
	if (header < 0)
		drop(u);
	else
		udp_hand_over(u, &from.at, data + header, len - (size_t)header);
}

static void direct_take(struct egress_udp *u, const struct loop_datagram *g)
{
	struct ip_port from;

	if (g->truncated) {
		drop(u);
		return;
	}
	ip_port_from_sockaddr((const struct sockaddr *)g->from, &from);
	udp_hand_over(u, &from, g->payload, g->len);
}

static int udp_listen(struct egress_udp *u, struct udp_socket *s);

static void udp_received(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct udp_socket *s = container_of(op, struct udp_socket, op);
	struct egress_udp *u = s->of;
	int error = res < 0 ? res : 0;

	u->pinned++;
	if (!u->closed && !u->over && !error) {
		if (u->direct && data)
			direct_take(u, (const struct loop_datagram *)data);
		else if (data)
			relayed_take(u, data, (size_t)res);
		if (last && !u->closed && !u->over)
			error = udp_listen(u, s);
	}
	if (error)
		udp_end(u, error);
	u->pinned--;
	udp_free_if_idle(u);
}

static int udp_listen(struct egress_udp *u, struct udp_socket *s)
{
	struct egress_dialer *d = u->dialer;

	return u->direct ? loop_recvmsg_start(d->loop, &s->op, s->fd, d->datagrams, udp_received)
			 : loop_recv_start(d->loop, &s->op, s->fd, d->datagrams, udp_received);
}

/* The association lives as long as the connection that asked for it (RFC 1928 7). */
static void control_event(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct egress_udp *u = container_of(op, struct egress_udp, control);
	uint8_t buf[64];
	ssize_t n = 0;
	int error = res < 0 ? res : 0;

	(void)data;
	u->pinned++;
	for (unsigned i = 0; i < CONTROL_READS_MAX && !error && !u->closed; i++) {
		n = recv(u->control_fd, buf, sizeof buf, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			error = -ECONNRESET;
	}
	if (!error && n > 0 && !u->closed)
		error = -EPROTO;
	if (!error && last && !u->closed)
		error = loop_poll_start(u->dialer->loop, &u->control, u->control_fd,
			POLLIN | POLLRDHUP, control_event);
	if (error)
		udp_end(u, error);
	u->pinned--;
	udp_free_if_idle(u);
}

/* --- to the relay --- */

static int relay_connect(struct egress_udp *u)
{
	const struct egress *e = &u->set->v[u->leaf];
	struct egress_dialer_config *c = &u->dialer->config;
	struct udp_socket *s = &u->sockets[0];
	struct sockaddr_storage sa;
	socklen_t len = ip_port_to_sockaddr(&u->relay.at, &sa);

	if (c->forbidden && c->forbidden(c->arg, &u->relay.at))
		return -ELOOP;
	s->fd = dial_socket(e, sa.ss_family, SOCK_DGRAM);
	if (s->fd < 0)
		return s->fd;
	if (connect(s->fd, (struct sockaddr *)&sa, len) < 0)
		return -errno;
	return udp_listen(u, s);
}

static void relay_known(struct egress_udp *u)
{
	int error = relay_connect(u);

	if (error)
		udp_end(u, error);
	else
		udp_stand(u);
}

static void relay_looked_up(
	struct egress_lookup *l, const struct ip_addr *v, size_t n, uint32_t ttl_s, int error)
{
	struct egress_udp *u = container_of(l, struct egress_udp, lookup);

	(void)ttl_s;
	u->looking = false;
	if (error || !n) {
		udp_end(u, error ? error : -EHOSTUNREACH);
		return;
	}
	u->relay.at.addr = v[0];
	for (size_t i = 1; i < n; i++) {
		if (u->relay.at.addr.family != u->proxy.addr.family) /* that one works */
			u->relay.at.addr = v[i];
	}
	relay_known(u);
}

static bool is_unspecified(const struct ip_addr *a)
{
	static const uint8_t zeroes[16];

	return memcmp(a->b, zeroes, sizeof zeroes) == 0;
}

static void relay_find(struct egress_udp *u)
{
	const struct conf_egress *conf = &u->set->v[u->leaf].conf;
	struct egress_dialer_config *c = &u->dialer->config;
	struct ip_port *at = &u->relay.at;
	int error;

	if (u->relay.host[0]) {
		error = c->resolve
				? loop_timer_set(u->dialer->loop, &u->timer,
					  loop_now_ms(u->dialer->loop) + conf->connect_timeout_ms)
				: -EHOSTUNREACH;
		if (error) {
			udp_end(u, error);
			return;
		}
		u->looking = true;
		u->lookup = (struct egress_lookup){.done = relay_looked_up};
		c->resolve(c->arg, u->set, conf->bootstrap, u->relay.host, &u->lookup);
		return;
	}
	/* "Where you found me": zeroes, or its own loopback address told to others. */
	if (is_unspecified(&at->addr) ||
		(ip_addr_is_loopback(&at->addr) && !ip_addr_is_loopback(&u->proxy.addr))) {
		at->addr = u->proxy.addr;
		at->scope = u->proxy.scope;
	}
	relay_known(u);
}

static void udp_dialled(struct egress_dial *dial, int fd, unsigned egress, int error)
{
	struct egress_udp *u = container_of(dial, struct egress_udp, dial);

	u->leaf = egress;
	if (error) {
		udp_end(u, error);
		return;
	}
	if (fd < 0) { /* a group came to its direct member */
		u->direct = true;
		udp_stand(u);
		return;
	}
	u->control_fd = fd;
	error = loop_poll_start(
		u->dialer->loop, &u->control, fd, POLLIN | POLLRDHUP, control_event);
	if (error)
		udp_end(u, error);
	else
		relay_find(u);
}

/* --- out --- */

static int send_error(struct egress_udp *u, int error)
{
	switch (error) {
	case -EMSGSIZE:
		return error;
	case -ECONNREFUSED: /* nobody is at the relay's port any more */
		udp_end_soon(u, error);
		return -EAGAIN;
	default:
		return -EAGAIN;
	}
}

static int relayed_send(struct egress_udp *u, const struct egress_target *target,
	const uint8_t *payload, size_t len)
{
	uint8_t header[SOCKS5_HEADER_MAX];
	struct iovec iov[2] = {
		{header, socks5_header_write(target->host, &target->at, header)},
		{(void *)payload, len},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	if (sendmsg(u->sockets[0].fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return send_error(u, -errno);
	return 0;
}

static int direct_socket(struct egress_udp *u, int family, struct udp_socket **ret)
{
	struct udp_socket *s = &u->sockets[family == AF_INET6];
	int error;

	*ret = s;
	if (s->fd >= 0)
		return 0;
	s->fd = dial_socket(&u->set->v[u->leaf], family, SOCK_DGRAM);
	if (s->fd < 0) {
		error = s->fd;
		s->fd = -1;
		return error;
	}
	return 0;
}

static bool same_place(const struct ip_port *a, const struct ip_port *b)
{
	return a->port == b->port && a->scope == b->scope && ip_addr_equal(&a->addr, &b->addr);
}

static int direct_send(struct egress_udp *u, const struct egress_target *target,
	const uint8_t *payload, size_t len)
{
	struct egress_dialer_config *c = &u->dialer->config;
	struct udp_socket *s;
	struct sockaddr_storage sa;
	socklen_t sa_len = ip_port_to_sockaddr(&target->at, &sa);

	if (!sa_len)
		return -EAGAIN;
	if (!same_place(&u->allowed, &target->at)) {
		if (c->forbidden && c->forbidden(c->arg, &target->at))
			return -ELOOP;
		u->allowed = target->at;
	}
	if (direct_socket(u, sa.ss_family, &s) < 0)
		return -EAGAIN;
	if (sendto(s->fd, payload, len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&sa,
		    sa_len) < 0)
		return send_error(u, -errno);
	/* It has its port now; before that there is nothing to receive from. */
	if (!loop_op_busy(&s->op) && udp_listen(u, s) < 0)
		return -EAGAIN;
	return 0;
}

static int udp_send(struct egress_udp *u, const struct egress_target *target,
	const uint8_t *payload, size_t len)
{
	return u->direct ? direct_send(u, target, payload, len)
			 : relayed_send(u, target, payload, len);
}

static int udp_queue(struct egress_udp *u, const struct egress_target *target,
	const uint8_t *payload, size_t len)
{
	struct queued *q;

	if (u->queued == EGRESS_QUEUE_MAX || len > EGRESS_QUEUE_BYTES - u->queued_bytes)
		return -EAGAIN;
	q = malloc(sizeof *q + len);
	if (!q)
		return -EAGAIN;
	q->next = NULL;
	egress_target_copy(&q->target, target);
	q->len = len;
	memcpy(q->payload, payload, len);
	*(u->first ? &u->last->next : &u->first) = q;
	u->last = q;
	u->queued++;
	u->queued_bytes += len;
	return 0;
}

static void udp_stand(struct egress_udp *u)
{
	loop_timer_cancel(u->dialer->loop, &u->timer);
	u->stands = true;
	for (struct queued *q = u->first; q; q = q->next)
		(void)udp_send(
			u, &q->target, q->payload, q->len); /* lost, as any datagram may be */
	queue_drop(u);
}

int egress_udp_send(struct egress_udp *u, const struct egress_target *target,
	const uint8_t *payload, size_t len)
{
	if (u->over)
		return -EAGAIN;
	if (u->guard_slot == -1) {
		u->guard_slot = guard_begin(u->set, u->leaf, target, &u->guarded);
		if (u->guard_slot == -1)
			u->guard_slot = GUARD_DONE;
	}
	if (u->guard_slot == -ELOOP) {
		u->guard_slot = -1;
		return -ELOOP;
	}
	return u->stands ? udp_send(u, target, payload, len) : udp_queue(u, target, payload, len);
}

/* --- start --- */

static int datagrams_make(struct egress_dialer *d)
{
	return d->datagrams
		       ? 0
		       : loop_buffers_new(d->loop, EGRESS_DATAGRAM_BYTES + LOOP_DATAGRAM_OVERHEAD,
				 EGRESS_DATAGRAM_BUFFERS, &d->datagrams);
}

int egress_udp_open(struct egress_dialer *d, struct egress_set *s, unsigned egress,
	const struct egress_udp_config *config, struct egress_udp **ret)
{
	static const struct egress_target nothing;
	struct dial_order order = {.purpose = DIAL_ASSOCIATE};
	struct egress_udp *u;
	int error;

	egress = set_at(s, egress);
	if (d->stopping)
		return -ECANCELED;
	if (!egress_takes_udp(s, egress))
		return -EOPNOTSUPP;
	if (d->associations_now >= d->dials_max / 2)
		return -EMFILE;
	error = datagrams_make(d);
	if (error)
		return error;
	u = calloc(1, sizeof *u);
	if (!u)
		return -ENOMEM;
	u->dialer = d;
	u->set = egress_set_ref(s);
	u->config = *config;
	u->control_fd = u->guard_slot = -1;
	for (size_t i = 0; i < 2; i++) {
		u->sockets[i].of = u;
		u->sockets[i].fd = -1;
	}
	u->timer.fire = udp_timer_fired;
	u->next = d->associations;
	if (u->next)
		u->next->link = &u->next;
	u->link = &d->associations;
	d->associations = u;
	d->associations_now++;
	dialer_hold(d);
	u->leaf = egress_choose(s, egress);
	if (s->v[u->leaf].conf.type == CONF_EGRESS_DIRECT) {
		u->direct = u->stands = true;
	} else {
		order.ret_bound = &u->relay;
		order.ret_proxy = &u->proxy;
		dial_start(d, s, egress, &nothing, &order, &u->dial, udp_dialled);
	}
	*ret = u;
	return 0;
}
