/* Connected sockets: the kernel picks a random source port and drops what does not come from the
 * server's address and port.
 *
 * While few questions are on their way, each has a socket, and so a port, of its own. Making and
 * closing one is the dearest part of a question. So one whose try went well is dissolved instead
 * (connect to AF_UNSPEC, udp(7)): it has no port and receives nothing until the next connect()
 * gives it a new random one. Measured: 4 instead of 15 us. One that was bound to an address or a
 * device is not used again: of that the kernel undoes only a part.
 *
 * Under load (udp_far.c) even that is too dear, the conntrack entry of each new port included: then
 * questions share a small set of sockets. That is as hard to forge for (RFC 5452): an answer still
 * has to come from the server's address to the port of the one socket that carries its question,
 * and each forged packet is compared with one question only, the one that has its id; equal
 * questions are asked once (resolve.h), so that there is no birthday to celebrate. What could be
 * gained is time to find a port out; so they live short, in seconds and in questions. Measured:
 * 13.5 us of CPU for all of a miss instead of 20. They share, too, when descriptors are few. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/wire.h"
#include "gateway/base/descriptors.h"
#include "gateway/transport/udp_internal.h"

static void udp_received(struct loop_op *op, int32_t res, uint8_t *data, bool last);

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
		ts->udp_idle_count == TRANSPORT_UDP_IDLE_MAX || !descriptors_to_spare(u->fd) ||
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

static struct udp_link *link_new(
	struct transports *ts, const struct transport_try *t, uint32_t mark, int *ret_error)
{
	struct udp_link *u = slab_take(&ts->udp_links);
	int fd;

	if (!u) {
		*ret_error = -ENOBUFS;
		return NULL;
	}
	fd = transport_socket(t->server, &t->to, SOCK_DGRAM, mark);
	if (fd < 0) {
		slab_give(&ts->udp_links, u);
		*ret_error = fd;
		return NULL;
	}
	*u = (struct udp_link){.transports = ts, .fd = fd};
	return u;
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
	free(ts->udp_batch);
}

/* --- open ones --- */

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

static struct udp_link *link_open(
	struct udp_far *f, const struct transport_try *t, uint32_t mark, int *ret_error)
{
	struct transports *ts = f->transports;
	const struct conf_bind *bind = &t->server->conf.bind;
	bool bound = bind->interface || bind->address.family != IP_NONE;
	bool v6 = t->to.addr.family == IP_V6;
	struct udp_link *u = bound ? NULL : link_reuse(ts, v6, mark);
	struct sockaddr_storage to;
	socklen_t len = ip_port_to_sockaddr(&t->to, &to);

	if (!u)
		u = link_new(ts, t, mark, ret_error);
	if (!u)
		return NULL;
	if (!descriptors_to_spare(u->fd))
		udp_far_now_busy(f);
	if (connect(u->fd, (const struct sockaddr *)&to, len) < 0) {
		*ret_error = -errno;
		link_free(u);
		return NULL;
	}
	*u = (struct udp_link){.transports = ts,
		.far = f,
		.end = &u->first,
		.born_ms = loop_now_ms(ts->loop),
		.fd = u->fd,
		.mark = mark,
		.v6 = v6,
		.bound = bound,
		.open = true};
	link_insert(u, &ts->udp_open);
	transports_hold(ts);
	return u;
}

static void link_end(struct udp_link *u)
{
	struct transports *ts = u->transports;

	if (!link_keep(u))
		link_free(u);
	transports_release(ts);
}

void udp_link_settle(struct udp_link *u)
{
	if (u->first || u->pins || u->in_set || !u->open)
		return;
	u->open = false;
	link_remove(u);
	if (u->table)
		slab_give(&u->transports->udp_tables, u->table);
	u->table = NULL;
	if (loop_op_busy(&u->receive)) {
		u->doubtful = true;
		loop_op_cancel(&u->receive);
	} else {
		link_end(u);
	}
}

void udp_link_pin(struct udp_link *u)
{
	u->pins++;
}

void udp_link_unpin(struct udp_link *u)
{
	u->pins--;
	udp_link_settle(u);
}

static int link_receive(struct udp_link *u)
{
	struct transports *ts = u->transports;

	return (u->table ? loop_recv_start : loop_recv_once)(
		ts->loop, &u->receive, u->fd, ts->datagrams, udp_received);
}

/* Without memory for it u stays its question's own. Negative errno: u has ended. */
static int link_share(struct udp_link *u, unsigned place)
{
	struct udp_table *table = slab_take(&u->transports->udp_tables);
	int error;

	if (!table)
		return 0;
	if (udp_far_share(u->far, u, place) < 0) {
		slab_give(&u->transports->udp_tables, table);
		return 0;
	}
	*table = (struct udp_table){0};
	table->gone[0] = 1; /* no slot holds an id that is not its own: none is gone */
	u->table = table;
	u->doubtful = true;
	error = link_receive(u);
	if (error < 0)
		udp_far_retire(u);
	return error;
}

static struct udp_link *link_for(struct udp_far *f, const struct transport_try *t, int *ret_error)
{
	struct udp_link *u = NULL;
	bool shares = udp_far_is_busy(f);
	unsigned place = 0;
	uint32_t mark;

	(void)transport_server_is_direct(t->server, &mark);
	if (shares) {
		*ret_error = udp_far_choose(f, mark, &u, &place);
		if (*ret_error < 0 || u)
			return u;
	}
	u = link_open(f, t, mark, ret_error);
	if (!u && *ret_error == -EMFILE)
		return udp_far_any(f, mark);
	if (!u || !shares)
		return u;
	*ret_error = link_share(u, place);
	return *ret_error < 0 ? NULL : u;
}

/* --- tries --- */

static int link_draw_id(const struct udp_link *u, uint16_t *ret)
{
	int error;

	do
		error = transports_random(u->transports, ret);
	while (error == 0 && u->table && u->table->slots[*ret % UDP_SLOTS]);
	return error;
}

static int link_add(struct udp_link *u, struct transport_try *t)
{
	int error = link_draw_id(u, &t->id);

	if (error < 0) {
		udp_link_settle(u);
		return error;
	}
	t->link = u;
	t->next = NULL;
	t->prev = u->end;
	*u->end = t;
	u->end = &t->next;
	u->given++;
	if (u->table) {
		u->table->slots[t->id % UDP_SLOTS] = t;
		u->table->used++;
	}
	return 0;
}

static void udp_close(struct transport_try *t)
{
	struct udp_link *u = t->link;
	struct udp_far *f = u->far;

	t->link = NULL;
	*t->prev = t->next;
	*(t->next ? &t->next->prev : &u->end) = t->prev;
	if (u->table) {
		u->table->slots[t->id % UDP_SLOTS] = NULL;
		u->table->gone[t->id % UDP_SLOTS] = t->id;
		u->table->used--;
	}
	udp_link_settle(u);
	udp_far_give(f);
}

int udp_link_failed(struct udp_link *u, int error)
{
	u->doubtful = true;
	if (u->table && !u->error) {
		u->error = error;
		udp_far_retire(u);
		loop_op_cancel(&u->receive);
	}
	return error;
}

static int udp_send(struct transport_try *t)
{
	struct udp_link *u = t->link;
	uint8_t question[TRANSPORT_QUESTION_MAX];
	size_t len;
	ssize_t n;

	if (u->table) {
		udp_batch_add(u, t);
		return 0;
	}
	len = t->owner->question(t, question, false);
	n = send(u->fd, question, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	u->doubtful |= u->sent || n < 0;
	u->sent = true;
	/* A full queue loses the datagram like any router on the way would: the second send makes
	 * up for it. */
	if (n < 0 && errno != EAGAIN && errno != ENOBUFS)
		return udp_link_failed(u, -errno);
	return loop_op_busy(&u->receive) ? 0 : link_receive(u);
}

static int udp_open(struct transports *ts, struct transport_try *t)
{
	struct udp_link *u;
	struct udp_far *f;
	int error = udp_far_take(ts, t, &f);

	if (error < 0)
		return error;
	u = link_for(f, t, &error);
	if (u)
		error = link_add(u, t);
	if (!u || error < 0) {
		udp_far_give(f);
		return error;
	}
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

/* --- what comes --- */

/* What has nobody's id is the oldest one's, who counts it. */
static void link_message(struct udp_link *u, const uint8_t *msg, size_t len)
{
	struct transport_try *t = u->first;

	if (u->table && len >= 2) {
		uint16_t id = wire_get16(msg);
		struct transport_try *asked = u->table->slots[id % UDP_SLOTS];

		if (asked && asked->id == id)
			t = asked;
		else if (u->table->gone[id % UDP_SLOTS] == id)
			return;
	}
	if (t && !t->owner->take(t, msg, len, 0))
		u->doubtful = true;
}

static void link_break(struct udp_link *u, int error)
{
	u->doubtful = true;
	udp_far_retire(u);
	while (u->first)
		transport_fail(u->first, error);
}

static void udp_received(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct udp_link *u = container_of(op, struct udp_link, receive);
	struct transports *ts = u->transports;
	int error = res < 0 ? res : 0;

	if (!u->open) {
		if (last)
			link_end(u);
		return;
	}
	transports_hold(ts);
	udp_link_pin(u);
	if (res >= 0)
		link_message(u, data, (size_t)res);
	if (last && u->error)
		error = u->error;
	if (last && error == 0 && (u->first || u->in_set))
		error = link_receive(u);
	if (error < 0)
		link_break(u, error);
	udp_link_unpin(u);
	transports_release(ts);
}

/* --- the host's addresses changed --- */

static void link_renew(struct udp_link *u)
{
	struct transports *ts = u->transports;

	udp_link_pin(u);
	while (u->first) {
		struct transport_try *t = u->first;
		int error;

		udp_close(t);
		error = udp_open(ts, t);
		if (error < 0) {
			t->transport = NULL;
			t->owner->fail(t, transport_error(error));
		}
	}
	udp_link_unpin(u);
}

void transport_udp_renew(
	struct transports *ts, bool (*is_ours)(void *arg, const struct ip_addr *a), void *arg)
{
	struct udp_link *dead = NULL, *u, *next;

	for (u = ts->udp_open; u; u = next) {
		next = u->next;
		if (transport_stands(u->fd, is_ours, arg))
			continue;
		u->doubtful = true;
		link_remove(u);
		link_insert(u, &dead);
		udp_far_retire(u); /* before any question is asked again */
	}
	/* An owner that is told may close tries of others of them: they leave the list. */
	while (dead) {
		u = dead;
		link_remove(u);
		link_insert(u, &ts->udp_open);
		link_renew(u);
	}
}

const struct transport transport_udp = {
	.lossy = true,
	.open = udp_open,
	.resend = udp_resend,
	.close = udp_close,
};
