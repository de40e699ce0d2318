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
#include "gateway/egress/egress_internal.h"

enum dial_step { STEP_LOOKUP, STEP_CONNECT, STEP_METHOD, STEP_AUTH, STEP_REPLY, STEP_HEAD };

/* What a step comes to; negative: the error that ends this try. */
enum { WAITS = 0, CONNECTED = 1 };

struct dial {
	struct loop_op op;
	struct loop_timer timer;
	struct egress_lookup lookup;
	struct egress_dialer *dialer;
	struct egress_dial *owner; /* NULL: not wanted, freed when its operation has ended */
	struct dial *next, **link; /* among the dialer's, or free */
	egress_done *done;
	struct egress_set *set;
	struct dial_order order;
	unsigned egress, leaf; /* what was asked for, who is tried */
	uint64_t tried;	       /* members, a bit each */
	uint8_t step;
	bool proxys_fault; /* a failure now would be the proxy's own */
	bool looking, looked_up_at_once, timed_out;
	int fd;
	int guard_slot; /* -1: none */
	struct egress_state *guarded;
	int64_t deadline_ms, began_us;
	uint32_t rtt_us;
	struct sockaddr_storage sa;
	struct ip_addr addresses[EGRESS_ADDRESSES_MAX];
	uint8_t n, at; /* addresses of this member, the one that is tried */
	uint16_t got;
	union {
		uint8_t bytes[SOCKS5_REPLY_MAX];
		struct http_head head;
	} in;
	struct egress_target target;
};

static void dial_go_on(struct dial *d, int r);

static const struct egress *leaf_of(const struct dial *d)
{
	return &d->set->v[d->leaf];
}

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

static void dial_finish(struct dial *d, int r)
{
	struct egress_dial *owner = d->owner;
	egress_done *done = d->done;
	unsigned leaf = d->leaf;
	int fd = -1;

	guard_end(d, r == CONNECTED);
	if (r == CONNECTED) {
		fd = d->fd;
		d->fd = -1;
		if (fd >= 0)
			(void)fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
	}
	hang_up(d);
	dial_detach(d);
	dial_give(d);
	done(owner, fd, leaf, r == CONNECTED ? 0 : r);
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

	if (fd < 0)
		return -errno;
	/* Without its mark our own rules would take it and bring it back. */
	if (e->mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &e->mark, sizeof e->mark) < 0) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

/* The contract names a few errors; the rest are the kernel's for "nobody is there". */
static int connect_error(int error)
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

static int dial_timer_set(struct dial *d, int64_t due_ms)
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

static void dial_op_done(struct loop_op *op, int32_t res, uint8_t *data, bool last);

/* To addresses[at]. */
static int dial_connect(struct dial *d)
{
	const struct egress *e = leaf_of(d);
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
		error = d->fd;
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

static int dial_looked_up(struct dial *d)
{
	bool fresh;

	d->n = (uint8_t)state_addresses_get(
		leaf_of(d)->state, loop_now_ms(d->dialer->loop), d->addresses, &fresh);
	d->at = 0;
	d->proxys_fault = true;
	return d->n ? dial_connect(d) : -EHOSTUNREACH;
}

static void dial_lookup_done(
	struct egress_lookup *l, const struct ip_addr *v, size_t n, uint32_t ttl_s, int error)
{
	struct dial *d = container_of(l, struct dial, lookup);

	state_addresses_set(
		leaf_of(d)->state, v, error ? 0 : n, ttl_s, loop_now_ms(d->dialer->loop));
	if (!d->looking) {
		d->looked_up_at_once = true;
		return;
	}
	d->looking = false;
	dial_go_on(d, dial_looked_up(d));
}

static int dial_look_up(struct dial *d)
{
	const struct egress *e = leaf_of(d);
	struct egress_dialer_config *c = &d->dialer->config;

	d->step = STEP_LOOKUP;
	d->proxys_fault = true;
	if (!c->resolve)
		return -EHOSTUNREACH;
	d->looked_up_at_once = false;
	d->lookup = (struct egress_lookup){.done = dial_lookup_done};
	c->resolve(c->arg, e->conf.bootstrap, e->conf.server.host, &d->lookup);
	if (d->looked_up_at_once)
		return dial_looked_up(d);
	d->looking = true;
	return dial_timer_set(d, d->deadline_ms);
}

/* --- a member --- */

static int member_start(struct dial *d)
{
	const struct egress *e = leaf_of(d);
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
			state_failed(leaf_of(d)->state, d->order.purpose != DIAL_CHECK);
		if (late || !member_next(d))
			return r;
		r = member_start(d);
	}
	return r;
}

static void dial_go_on(struct dial *d, int r)
{
	if (r == -EPROTO)
		d->proxys_fault = true;
	if (r < 0)
		r = dial_recover(d, r);
	if (r != WAITS)
		dial_finish(d, r);
}

/* --- handshakes --- */

static int dial_wait(struct dial *d)
{
	return loop_recv_once(d->dialer->loop, &d->op, d->fd, d->dialer->one_byte, dial_op_done);
}

/* In one piece: an empty send buffer takes the longest of our messages. */
static int dial_send(struct dial *d, const void *message, size_t len, enum dial_step step)
{
	ssize_t n = send(d->fd, message, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n != (ssize_t)len)
		return n < 0 ? connect_error(-errno) : -ENOBUFS;
	d->step = (uint8_t)step;
	d->got = 0;
	return dial_wait(d);
}

static void proxy_worked(struct dial *d)
{
	state_worked(leaf_of(d)->state, d->rtt_us);
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

	return dial_send(d, buf, socks5_greeting_write(leaf_of(d)->user != NULL, buf), STEP_METHOD);
}

static int socks5_method(struct dial *d)
{
	const struct egress *e = leaf_of(d);
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

	if (r < 0 && r != -EPROTO && d->order.purpose == DIAL_ASSOCIATE) {
		atomic_store_explicit(&leaf_of(d)->state->udp_refused_until_ms,
			clock_ms() + EGRESS_UDP_REFUSED_MS, memory_order_relaxed);
		d->proxys_fault = true; /* the next member may take it */
		return -EOPNOTSUPP;
	}
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
	len = http_request_write(d->target.host, &d->target.at, leaf_of(d)->credentials, buf);
	d->in.head = (struct http_head){0};
	proxy_was_asked(d);
	return dial_send(d, buf, len, STEP_HEAD);
}

static int http_replied(struct dial *d)
{
	unsigned status = d->in.head.status;

	if (status == 407) { /* whoever the target is */
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
						 : connect_error(-errno);
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
						 : connect_error(-errno);
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

static int dial_received(struct dial *d, uint8_t byte)
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

/* --- events --- */

/* A proxy on this host is connected to from its own address. */
static void note_whether_here(struct dial *d)
{
	struct egress_state *st = leaf_of(d)->state;
	struct sockaddr_storage ss;
	struct ip_port own, proxy;
	socklen_t len = sizeof ss;

	if (d->guard_slot < 0 || atomic_load_explicit(&st->here, memory_order_relaxed) ||
		getsockname(d->fd, (struct sockaddr *)&ss, &len) < 0)
		return;
	ip_port_from_sockaddr((struct sockaddr *)&ss, &own);
	ip_port_from_sockaddr((struct sockaddr *)&d->sa, &proxy);
	if (ip_addr_equal(&own.addr, &proxy.addr))
		atomic_store_explicit(&st->here, true, memory_order_relaxed);
}

static int dial_connected(struct dial *d)
{
	const struct egress *e = leaf_of(d);

	if (e->conf.type == CONF_EGRESS_DIRECT)
		return CONNECTED;
	d->rtt_us = (uint32_t)(clock_us() - d->began_us) | 1;
	note_whether_here(d);
	if (d->order.ret_proxy)
		ip_port_from_sockaddr((struct sockaddr *)&d->sa, d->order.ret_proxy);
	if (d->n > 1 && d->at > 0)
		state_address_worked(e->state, &d->addresses[d->at]);
	return e->conf.type == CONF_EGRESS_SOCKS5 ? socks5_greet(d) : http_ask(d);
}

static void dial_op_done(struct loop_op *op, int32_t res, uint8_t *data, bool last)
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
		r = connect_error(res);
	} else if (d->step == STEP_CONNECT) {
		r = dial_connected(d);
	} else {
		r = res > 0 && data ? dial_received(d, data[0]) : -ECONNREFUSED;
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
	if (d->looking)
		d->dialer->config.resolve_cancel(d->dialer->config.arg, &d->lookup);
	d->looking = false;
	dial_go_on(d, -ETIMEDOUT);
}

/* --- start --- */

static bool is_near(const struct egress_target *t, const struct egress *e)
{
	struct egress_state *st = e->state;
	bool near = t->client_is_host && atomic_load_explicit(&st->here, memory_order_relaxed);

	if (near || !e->conf.server.host)
		return near || ip_addr_equal(&t->client, &e->conf.server.at.addr);
	pthread_mutex_lock(&st->lock);
	for (size_t i = 0; i < st->n; i++)
		near |= ip_addr_equal(&t->client, &st->addresses[i]);
	pthread_mutex_unlock(&st->lock);
	return near;
}

int dial_guard(struct egress_set *s, unsigned leaf, const struct egress_target *t,
	struct egress_state **ret_guarded)
{
	const struct egress *e = &s->v[leaf];
	int slot;

	*ret_guarded = NULL;
	if (t->client.family == IP_NONE ||
		(e->conf.type != CONF_EGRESS_SOCKS5 && e->conf.type != CONF_EGRESS_HTTP))
		return -1;
	slot = guard_enter(
		&e->state->guard, &t->client, t->host, &t->at, is_near(t, e), clock_ms());
	if (slot >= 0)
		*ret_guarded = state_ref(e->state);
	return slot;
}

void egress_target_copy(struct egress_target *to, const struct egress_target *from)
{
	to->at = from->at;
	to->client = from->client;
	to->client_is_host = from->client_is_host;
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
	d->guard_slot = dial_guard(s, leaf, &d->target, &d->guarded);
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

	dial_start(d, s, egress, target, &stream, dial, done);
}
