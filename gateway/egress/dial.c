/* One dial: choose a member, find the proxy, connect, shake hands.
 *
 *   choose -> look up (a named proxy) -> connect -> socks5: method, (user), reply   -> done
 *                                                -> http: head of the reply         -> done
 *                                                -> direct                          -> done
 *
 * A failure is the proxy's own (it does not answer, refuses, talks nonsense), then its next address
 * and, in a group, the next member is tried within the same deadline; or it is the target's, and
 * final.
 *
 * What waits is one receive of one byte: it leaves nothing behind that has to be cancelled, and
 * cannot take what the far end sends right behind the reply. The rest is read by recv(2), never
 * further than the reply goes. The socket is blocking as long as io_uring waits on it. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/descriptors.h"
#include "gateway/egress/dial_internal.h"

static void dial_go_on(struct dial *d, int r);

/* --- from the heap and back --- */

static struct dial *dial_take(struct egress_dialer *dr)
{
	struct dial *d = dr->free;

	if (dr->dials_now >= dr->dials_max)
		return NULL;
	if (d) {
		dr->free = d->next;
		dr->dials_kept--;
	} else {
		d = malloc(sizeof *d);
		if (!d)
			return NULL;
	}
	memset(d, 0, offsetof(struct dial, sa)); /* what lies behind is written before it is read */
	dr->dials_now++;
	dialer_hold(dr);
	return d;
}

static void dial_give(struct dial *d)
{
	struct egress_dialer *dr = d->dialer;

	egress_set_unref(d->set);
	dr->dials_now--;
	if (dr->dials_kept < EGRESS_DIALS_KEPT) {
		d->next = dr->free;
		dr->free = d;
		dr->dials_kept++;
	} else {
		free(d);
	}
	dialer_release(dr);
}

void dials_free(struct egress_dialer *dr)
{
	while (dr->free) {
		struct dial *d = dr->free;

		dr->free = d->next;
		free(d);
	}
}

static void dial_link(struct dial *d)
{
	struct dial **first = &d->dialer->dials;

	d->next = *first;
	if (d->next)
		d->next->link = &d->next;
	d->link = first;
	*first = d;
}

static void dial_unlink(struct dial *d)
{
	*d->link = d->next;
	if (d->next)
		d->next->link = d->link;
}

static void hang_up(struct dial *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

/* Its owner hears no more of it: all is given back but what an operation still holds. */
static void dial_detach(struct dial *d)
{
	dial_unlink(d);
	d->owner->priv = NULL;
	d->owner = NULL;
	loop_timer_cancel(d->dialer->loop, &d->timer);
	if (d->looking)
		d->dialer->config.resolve_cancel(d->dialer->config.arg, &d->lookup);
	d->looking = false;
}

/* --- refused at once: told in the next turn --- */

static void refuse(struct egress_dialer *dr, struct egress_dial *owner, egress_done *done,
	unsigned leaf, int r)
{
	*owner = (struct egress_dial){
		.done = done,
		.priv = dr,
		.egress = leaf,
		.verdict = r,
	};
	*(dr->refused ? &dr->refused_last->next : &dr->refused) = owner;
	dr->refused_last = owner;
	dialer_soon(dr);
}

static void refused_take_out(struct egress_dialer *dr, struct egress_dial *owner)
{
	struct egress_dial **at = &dr->refused, *before = NULL;

	for (; *at != owner; at = &before->next)
		before = *at;
	*at = owner->next;
	if (dr->refused_last == owner)
		dr->refused_last = before;
	owner->priv = NULL;
	owner->verdict = 0;
}

void dials_tell(struct egress_dialer *dr)
{
	struct egress_dial *owner;
	size_t n = 0;

	/* Those that a callback adds are for the next turn. */
	for (owner = dr->refused; owner; owner = owner->next)
		n++;
	while (n-- && (owner = dr->refused)) {
		int r = owner->verdict;

		refused_take_out(dr, owner);
		owner->done(owner, -1, owner->egress, r < 0 ? r : 0);
	}
	if (dr->refused)
		dialer_soon(dr);
}

/* --- the end --- */

static void guard_end(struct dial *d, bool connected)
{
	if (d->guard_slot < 0)
		return;
	guard_leave(&d->guarded->guard, d->guard_slot, connected);
	d->guard_slot = -1;
	state_unref(d->guarded);
}

/* What a proxy sends behind its reply may wait there for our acknowledgement of that (Nagle's
 * algorithm), which is delayed by default: seen with microsocks, 40 ms where the server speaks
 * first. */
static void make_ready(int fd)
{
	const int one = 1;

	(void)fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
}

static void dial_finish(struct dial *d, int r)
{
	struct egress_dialer *dr = d->dialer;
	struct egress_dial *owner = d->owner;
	egress_done *done = d->done;
	unsigned leaf = d->leaf;
	int fd = -1;

	guard_end(d, r == CONNECTED);
	dialer_hold(dr); /* done() may stop it */
	if (r == CONNECTED) {
		fd = d->fd;
		d->fd = -1;
		if (fd >= 0)
			make_ready(fd);
	}
	hang_up(d);
	dial_detach(d);
	dial_give(d);
	done(owner, fd, leaf, r == CONNECTED ? 0 : r);
	dialer_release(dr);
}

void egress_cancel(struct egress_dial *owner)
{
	struct dial *d = owner->priv;

	if (!d)
		return;
	if (owner->verdict) { /* refused, not told yet: priv is the dialer */
		refused_take_out(owner->priv, owner);
		return;
	}
	guard_end(d, false);
	dial_detach(d);
	if (loop_op_busy(&d->op)) {
		loop_op_cancel(&d->op);
		return;
	}
	hang_up(d);
	dial_give(d);
}

void dials_end(struct egress_dialer *dr)
{
	while (dr->dials) {
		struct dial *d = dr->dials;
		struct egress_dial *owner = d->owner;
		egress_done *done = d->done;
		unsigned leaf = d->leaf;

		egress_cancel(owner);
		done(owner, -1, leaf, -ECANCELED);
	}
}

/* --- connect --- */

int dial_socket(const struct egress *e, int family, int type)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0), error;

	fd = descriptors_take(DESCRIPTORS_CLIENT, fd < 0 ? -errno : fd);
	if (fd < 0)
		return fd;
	/* Without its mark our own rules would take it and bring it back. */
	if (e->mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &e->mark, sizeof e->mark) < 0) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

/* The contract names a few errors; the rest are the kernel's for "nobody is there". */
int dial_kernel_error(int error)
{
	switch (error) {
	case -ECONNREFUSED:
	case -ENETUNREACH:
	case -EHOSTUNREACH:
	case -ETIMEDOUT:
	case -EACCES:
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -ENOBUFS:
		return error;
	case -EPERM: /* the host's firewall */
		return -EACCES;
	case -ECONNRESET:
	case -EPIPE:
		return -ECONNREFUSED;
	default:
		return -EHOSTUNREACH;
	}
}

int dial_timer_set(struct dial *d, int64_t due_ms)
{
	return loop_timer_set(d->dialer->loop, &d->timer, due_ms);
}

static unsigned members_left(const struct dial *d)
{
	unsigned n = d->set->v[d->egress].n_leaves;

	return n - (unsigned)__builtin_popcountll(d->tried);
}

/* As long as the proxy itself has not answered, the time is shared with who could be tried next. */
static int64_t try_until_ms(const struct dial *d)
{
	int64_t now = loop_now_ms(d->dialer->loop), left = d->deadline_ms - now;
	unsigned others = (unsigned)(d->n - d->at - 1) + members_left(d);

	return others ? now + left / (others + 1) : d->deadline_ms;
}

/* To addresses[at]. */
static int dial_connect(struct dial *d)
{
	const struct egress *e = dial_leaf(d);
	bool direct = e->conf.type == CONF_EGRESS_DIRECT;
	struct ip_port to = direct ? d->target.at : e->conf.server.at;
	struct egress_dialer_config *c = &d->dialer->config;
	socklen_t len;
	int one = 1, error;

	if (!direct)
		to.addr = d->addresses[d->at];
	if (c->forbidden && c->forbidden(c->arg, &to)) {
		d->proxys_fault = !direct;
		return -ELOOP;
	}
	len = ip_port_to_sockaddr(&to, &d->sa);
	d->proxys_fault = false;
	d->fd = dial_socket(e, d->sa.ss_family, SOCK_STREAM);
	if (d->fd < 0) {
		error = dial_kernel_error(d->fd);
		d->proxys_fault = d->fd == -EAFNOSUPPORT && !direct; /* its other family may do */
		d->fd = -1;
		return error;
	}
	if (setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
		return -errno;
	error = dial_timer_set(d, direct ? d->deadline_ms : try_until_ms(d));
	if (error < 0)
		return error;
	d->step = STEP_CONNECT;
	d->proxys_fault = !direct;
	d->began_us = direct ? 0 : clock_us();
	return loop_connect(
		d->dialer->loop, &d->op, d->fd, (struct sockaddr *)&d->sa, len, dial_op_done);
}

/* --- the proxy's address --- */

/* With what is known now, which may be older than the answer. */
static int dial_looked_up(struct dial *d, int error)
{
	bool fresh;

	d->n = (uint8_t)state_addresses_get(
		dial_leaf(d)->state, loop_now_ms(d->dialer->loop), d->addresses, &fresh);
	d->at = 0;
	d->proxys_fault = true;
	return d->n ? dial_connect(d) : error;
}

static void dial_lookup_done(
	struct egress_lookup *l, const struct ip_addr *v, size_t n, uint32_t ttl_s, int error)
{
	struct dial *d = container_of(l, struct dial, lookup);

	state_addresses_set(
		dial_leaf(d)->state, v, error ? 0 : n, ttl_s, loop_now_ms(d->dialer->loop));
	if (!d->looking) {
		d->looked_up_at_once = true;
		return;
	}
	d->looking = false;
	dial_go_on(d, dial_looked_up(d, -EHOSTUNREACH));
}

static int dial_look_up(struct dial *d)
{
	const struct egress *e = dial_leaf(d);
	struct egress_dialer_config *c = &d->dialer->config;
	int64_t now_ms = loop_now_ms(d->dialer->loop), left_ms;
	unsigned others;

	d->step = STEP_LOOKUP;
	d->proxys_fault = true;
	if (!c->resolve)
		return -EHOSTUNREACH;
	d->looked_up_at_once = false;
	d->lookup = (struct egress_lookup){.done = dial_lookup_done};
	c->resolve(c->arg, d->set, e->conf.bootstrap, e->conf.server.host, &d->lookup);
	if (d->looked_up_at_once)
		return dial_looked_up(d, -EHOSTUNREACH);
	d->looking = true;
	/* Old addresses, if there are any, are tried as well. */
	left_ms = d->deadline_ms - now_ms;
	others = members_left(d) + (d->n > 0);
	return dial_timer_set(d, now_ms + left_ms / (others + 1));
}

/* --- a member --- */

static int member_start(struct dial *d)
{
	const struct egress *e = dial_leaf(d);
	bool fresh;

	d->n = 1;
	d->at = 0;
	d->proxys_fault = false;
	switch (e->conf.type) {
	case CONF_EGRESS_DIRECT:
		if (d->order.purpose != DIAL_STREAM)
			return CONNECTED;
		return d->target.at.addr.family == IP_NONE ? -EHOSTUNREACH : dial_connect(d);
	case CONF_EGRESS_HTTP:
		if (d->order.purpose == DIAL_ASSOCIATE) {
			d->proxys_fault = true;
			return -EOPNOTSUPP;
		}
		break;
	case CONF_EGRESS_SOCKS5:
		if (d->order.purpose == DIAL_ASSOCIATE && !egress_takes_udp(d->set, d->leaf)) {
			d->proxys_fault = true;
			return -EOPNOTSUPP;
		}
		break;
	case CONF_EGRESS_REJECT:
	case CONF_EGRESS_GROUP:
		return -ECONNREFUSED;
	}
	if (!e->conf.server.host) {
		d->addresses[0] = e->conf.server.at.addr;
		return dial_connect(d);
	}
	d->n = (uint8_t)state_addresses_get(
		e->state, loop_now_ms(d->dialer->loop), d->addresses, &fresh);
	return fresh ? dial_connect(d) : dial_look_up(d);
}

static void member_mark_tried(struct dial *d)
{
	const struct egress *root = &d->set->v[d->egress];

	for (unsigned k = 0; k < root->n_leaves; k++) {
		if (root->leaves[k] == d->leaf)
			d->tried |= 1ull << k;
	}
}

/* The next of the group: those that are up first. False: all were tried. */
static bool member_next(struct dial *d)
{
	const struct egress *root = &d->set->v[d->egress];
	bool found = false;

	for (unsigned k = root->n_leaves; k-- > 0;) {
		if (d->tried >> k & 1)
			continue;
		if (!found || set_leaf_is_up(d->set, root->leaves[k]) ||
			!set_leaf_is_up(d->set, d->leaf)) {
			d->leaf = root->leaves[k];
			found = true;
		}
	}
	if (found)
		member_mark_tried(d);
	return found;
}

/* A try came to `error`. What is tried instead: WAITS, CONNECTED, or the error that is final. */
static int dial_recover(struct dial *d, int error)
{
	int r = error;

	while (r < 0) {
		bool late = loop_now_ms(d->dialer->loop) >= d->deadline_ms;

		hang_up(d);
		if (!d->proxys_fault)
			return r;
		if (d->at + 1 < d->n && !late) {
			d->at++;
			r = dial_connect(d);
			continue;
		}
		/* That it takes no UDP is no illness, and a loop is our own. */
		if (r != -EOPNOTSUPP && r != -ELOOP)
			state_failed(dial_leaf(d)->state, d->order.purpose != DIAL_CHECK);
		if (late || !member_next(d))
			return r;
		r = member_start(d);
	}
	return r;
}

/* However it said no, or nothing: no target is in this, and for TCP it may be well. */
static int udp_refused(struct dial *d)
{
	atomic_store_explicit(&dial_leaf(d)->state->udp_refused_until_ms,
		clock_ms() + EGRESS_UDP_REFUSED_MS, memory_order_relaxed);
	d->proxys_fault = true; /* the next member may take it */
	return -EOPNOTSUPP;
}

static void dial_go_on(struct dial *d, int r)
{
	if (r == -EPROTO)
		d->proxys_fault = true;
	if (r < 0 && d->order.purpose == DIAL_ASSOCIATE && d->step == STEP_REPLY)
		r = udp_refused(d);
	if (r < 0)
		r = dial_recover(d, r);
	if (r != WAITS)
		dial_finish(d, r);
}

/* --- events --- */

static int dial_connected(struct dial *d)
{
	const struct egress *e = dial_leaf(d);

	if (e->conf.type == CONF_EGRESS_DIRECT)
		return CONNECTED;
	d->rtt_us = (uint32_t)(clock_us() - d->began_us) | 1;
	guard_proxy_connected(e->state, d->fd, &d->sa);
	if (d->order.ret_proxy)
		ip_port_from_sockaddr((struct sockaddr *)&d->sa, d->order.ret_proxy);
	if (d->n > 1 && d->at > 0)
		state_address_worked(e->state, &d->addresses[d->at]);
	return handshake_start(d);
}

void dial_op_done(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct dial *d = container_of(op, struct dial, op);
	int r;

	(void)last; /* it is always the last */
	if (!d->owner) {
		hang_up(d);
		dial_give(d);
		return;
	}
	if (d->timed_out) {
		d->timed_out = false;
		r = -ETIMEDOUT;
	} else if (res < 0) {
		if (res == -EADDRNOTAVAIL || res == -ENOMEM || res == -ENOBUFS)
			d->proxys_fault = false; /* no local port, no memory: our own trouble */
		r = dial_kernel_error(res);
	} else if (d->step == STEP_CONNECT) {
		r = dial_connected(d);
	} else {
		r = res > 0 && data ? handshake_received(d, data[0]) : -ECONNREFUSED;
	}
	dial_go_on(d, r);
}

static void dial_timer_fired(struct loop_timer *timer)
{
	struct dial *d = container_of(timer, struct dial, timer);

	if (loop_op_busy(&d->op)) {
		d->timed_out = true;
		loop_op_cancel(&d->op);
		return;
	}
	d->dialer->config.resolve_cancel(d->dialer->config.arg, &d->lookup);
	d->looking = false;
	state_addresses_set(dial_leaf(d)->state, NULL, 0, 0, loop_now_ms(d->dialer->loop));
	dial_go_on(d, dial_looked_up(d, -ETIMEDOUT));
}

/* --- start --- */

void egress_target_copy(struct egress_target *to, const struct egress_target *from)
{
	to->at = from->at;
	to->client = from->client;
	to->client_is_host = from->client_is_host;
	to->accepted = from->accepted;
	memcpy(to->host, from->host, strnlen(from->host, EGRESS_HOST_MAX) + 1);
	to->host[EGRESS_HOST_MAX] = 0;
}

void dial_start(struct egress_dialer *dr, struct egress_set *s, unsigned egress,
	const struct egress_target *target, const struct dial_order *order,
	struct egress_dial *owner, egress_done *done)
{
	unsigned leaf = egress_choose(s, egress);
	struct dial *d = dr->stopping ? NULL : dial_take(dr);
	int r;

	if (!d) {
		refuse(dr, owner, done, leaf, dr->stopping ? -ECANCELED : -EMFILE);
		return;
	}
	d->dialer = dr;
	d->set = egress_set_ref(s);
	d->owner = owner;
	d->done = done;
	d->order = *order;
	d->egress = egress;
	d->leaf = leaf;
	d->fd = -1;
	d->timer.fire = dial_timer_fired;
	egress_target_copy(&d->target, target);
	member_mark_tried(d);
	*owner = (struct egress_dial){.done = done, .priv = d};
	dial_link(d);
	d->deadline_ms = loop_now_ms(dr->loop) + s->v[egress].conf.connect_timeout_ms;
	d->guard_slot = guard_begin(s, leaf, &d->target, &d->guarded);
	r = d->guard_slot == -ELOOP ? -ELOOP : loop_timer_set(dr->loop, &d->timer, d->deadline_ms);
	if (r == 0)
		r = member_start(d);
	if (r < 0)
		r = dial_recover(d, r);
	if (r == WAITS)
		return;
	leaf = d->leaf;
	egress_cancel(owner); /* done() is for later */
	refuse(dr, owner, done, leaf, r);
}

void egress_connect(struct egress_dialer *d, struct egress_set *s, unsigned egress,
	const struct egress_target *target, struct egress_dial *dial, egress_done *done)
{
	static const struct dial_order stream = {.purpose = DIAL_STREAM};

	dial_start(d, s, set_at(s, egress), target, &stream, dial, done);
}
