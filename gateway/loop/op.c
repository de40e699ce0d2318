/* Operations: how one is put into the ring, what its completion means, when it has ended.
 *
 * An operation is idle, or active, or on its way out: cancelled by its owner, or ending by itself
 * while other reads of it are still in flight. in_flight counts the kernel's requests that carry
 * its address; only with none left does the last callback come, so the address is never met again
 * in a completion. A cancel request of ours carries no address.
 *
 *   idle --start--> active --cancel--> cancelled --in_flight 0--> idle
 *                   active --end, in_flight 0--> idle
 *                   active --end, in_flight > 0--> ending --in_flight 0--> idle */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "gateway/loop/compat.h"
#include "gateway/loop/loop_internal.h"

enum op_kind {
	OP_READ,
	OP_RECV,
	OP_RECV_ONCE,
	OP_RECVMSG,
	OP_ACCEPT,
	OP_POLL,
	OP_POLL_ONCE,
	OP_CONNECT,
	OP_SEND
};
enum op_state { OP_IDLE, OP_ACTIVE, OP_CANCELLED, OP_ENDING };
enum op_flag {
	OP_SINGLE = 1,	   /* single shots that are re-armed */
	OP_POLL_FIRST = 2, /* -EAGAIN was met (O_NONBLOCK): poll when nothing is in flight */
	OP_POLLING = 4,	   /* what is in flight is that poll */
	OP_STARVED = 8,	   /* in loop->starved */
};
enum op_verdict { OP_GOES_ON, OP_AGAIN, OP_ENDS };

/* What a single-shot recvmsg needs until it completes. */
struct single_datagram {
	struct msghdr msg;
	struct iovec iov;
	struct sockaddr_storage from;
	_Alignas(struct cmsghdr) uint8_t control[LOOP_CONTROL_BYTES];
};

/* --- into the ring --- */

static void starve(struct loop *l, struct loop_op *op)
{
	if (op->flags & OP_STARVED)
		return;
	op->flags |= OP_STARVED;
	op->next = NULL;
	*(l->starved ? &l->starved_last->next : &l->starved) = op;
	l->starved_last = op;
}

static void unstarve(struct loop *l, struct loop_op *op)
{
	struct loop_op **at = &l->starved, *before = NULL;

	if (!(op->flags & OP_STARVED))
		return;
	for (; *at != op; at = &before->next)
		before = *at;
	*at = op->next;
	if (l->starved_last == op)
		l->starved_last = before;
	op->next = NULL;
	op->flags &= (uint8_t)~OP_STARVED;
}

static void prep_select(struct io_uring_sqe *s, const struct loop_op *op)
{
	s->flags |= IOSQE_BUFFER_SELECT;
	s->buf_group = op->buffers->group;
}

static void prep_recvmsg(struct io_uring_sqe *s, struct loop_op *op)
{
	struct single_datagram *d = op->arg;

	if (!(op->flags & OP_SINGLE)) {
		io_uring_prep_recvmsg_multishot(s, op->fd, &op->loop->datagram_shape, 0);
	} else {
		/* The kernel puts its own base in place of the iovec's; the length bounds it. */
		d->iov = (struct iovec){.iov_len = op->buffers->size_bytes};
		d->msg = (struct msghdr){
			.msg_name = &d->from,
			.msg_namelen = sizeof(d->from),
			.msg_iov = &d->iov,
			.msg_iovlen = 1,
			.msg_control = d->control,
			.msg_controllen = sizeof(d->control),
		};
		io_uring_prep_recvmsg(s, op->fd, &d->msg, 0);
	}
	prep_select(s, op);
}

static void prep_receive(struct io_uring_sqe *s, struct loop_op *op)
{
	bool single = op->flags & OP_SINGLE;

	if (op->kind == OP_READ)
		io_uring_prep_rw(single ? IORING_OP_READ : COMPAT_IORING_OP_READ_MULTISHOT, s,
			op->fd, NULL, single ? op->buffers->size_bytes : 0, (uint64_t)-1);
	else if (single)
		io_uring_prep_recv(s, op->fd, NULL, op->buffers->size_bytes, 0);
	else
		io_uring_prep_recv_multishot(s, op->fd, NULL, 0, 0);
	prep_select(s, op);
}

static void prep_send(struct io_uring_sqe *s, struct loop_op *op)
{
	const uint8_t *rest = (const uint8_t *)op->arg + op->result;

	io_uring_prep_send(
		s, op->fd, rest, op->events - (uint32_t)op->result, MSG_WAITALL | MSG_NOSIGNAL);
}

static void prep(struct io_uring_sqe *s, struct loop_op *op)
{
	bool single = op->flags & OP_SINGLE;

	switch ((enum op_kind)op->kind) {
	case OP_READ:
	case OP_RECV:
	case OP_RECV_ONCE:
		prep_receive(s, op);
		break;
	case OP_RECVMSG:
		prep_recvmsg(s, op);
		break;
	case OP_ACCEPT:
		io_uring_prep_accept(s, op->fd, NULL, NULL, SOCK_CLOEXEC);
		if (!single)
			s->ioprio |= IORING_ACCEPT_MULTISHOT;
		break;
	case OP_POLL:
		io_uring_prep_poll_add(s, op->fd, op->events);
		if (!single)
			s->len = IORING_POLL_ADD_MULTI;
		break;
	case OP_POLL_ONCE:
		io_uring_prep_poll_add(s, op->fd, op->events);
		break;
	case OP_CONNECT:
		io_uring_prep_connect(s, op->fd, op->arg, op->events);
		break;
	case OP_SEND:
		prep_send(s, op);
		break;
	}
	io_uring_sqe_set_data(s, op);
}

static void arm_poll(struct loop *l, struct loop_op *op)
{
	struct io_uring_sqe *s;

	if (op->in_flight)
		return; /* those will see -EAGAIN as well, the last of them comes here */
	s = loop_sqe(l);
	if (!s) {
		starve(l, op);
		return;
	}
	io_uring_prep_poll_add(s, op->fd, op->kind == OP_SEND ? POLLOUT : POLLIN);
	io_uring_sqe_set_data(s, op);
	op->in_flight = 1;
	op->flags = (uint8_t)((op->flags & ~OP_POLL_FIRST) | OP_POLLING);
}

/* Puts as many requests into the ring as the operation should have there. */
static void arm(struct loop *l, struct loop_op *op)
{
	unsigned wanted = op->kind == OP_READ && (op->flags & OP_SINGLE) ? LOOP_READS_IN_FLIGHT : 1;

	if (op->flags & OP_POLL_FIRST) {
		arm_poll(l, op);
		return;
	}
	while (op->in_flight < wanted) {
		struct io_uring_sqe *s = loop_sqe(l);

		if (!s) {
			starve(l, op);
			return;
		}
		prep(s, op);
		op->in_flight++;
	}
}

static void cancel_in_kernel(struct loop *l, struct loop_op *op)
{
	struct io_uring_sqe *s = loop_sqe(l);

	if (!s) {
		starve(l, op);
		return;
	}
	io_uring_prep_cancel64(s, (uintptr_t)op, IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data(s, NULL);
}

/* --- to the owner --- */

static bool datagram_from_ring(uint8_t *data, int32_t res, struct loop_datagram *ret)
{
	const struct io_uring_recvmsg_out *out = (const void *)data;

	if (!data || res < LOOP_DATAGRAM_OVERHEAD)
		return false;
	ret->from = (void *)(data + sizeof(*out));
	ret->from_len = out->namelen;
	ret->control = data + sizeof(*out) + sizeof(struct sockaddr_storage);
	ret->control_len = out->controllen;
	ret->payload = data + LOOP_DATAGRAM_OVERHEAD;
	ret->len = (size_t)res - LOOP_DATAGRAM_OVERHEAD;
	ret->truncated = out->flags & (MSG_TRUNC | MSG_CTRUNC);
	return true;
}

static void datagram_from_single(
	struct single_datagram *d, uint8_t *data, int32_t res, struct loop_datagram *ret)
{
	ret->from = &d->from;
	ret->from_len = d->msg.msg_namelen;
	ret->control = d->control;
	ret->control_len = d->msg.msg_controllen;
	ret->payload = data ? data : d->control; /* no bytes: no buffer */
	ret->len = (size_t)res;
	ret->truncated = d->msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
}

static void tell(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct loop_datagram d;

	_Static_assert(LOOP_DATAGRAM_OVERHEAD == sizeof(struct io_uring_recvmsg_out) +
							 sizeof(struct sockaddr_storage) +
							 LOOP_CONTROL_BYTES,
		"what the header says is what the kernel lays out");
	if (op->kind != OP_RECVMSG || res < 0) {
		op->done(op, res, res < 0 ? NULL : data, last);
		return;
	}
	if (op->flags & OP_SINGLE) {
		datagram_from_single(op->arg, data, res, &d);
	} else if (!datagram_from_ring(data, res, &d)) {
		if (last)
			op->done(op, -EBADMSG, NULL, true);
		return;
	}
	op->done(op, (int32_t)d.len, (uint8_t *)&d, last);
}

static void finish(struct loop *l, struct loop_op *op, int32_t res, uint8_t *data)
{
	void *single = op->kind == OP_RECVMSG ? op->arg : NULL;

	unstarve(l, op);
	op->state = OP_IDLE;
	tell(op, res, data, true); /* op may be gone now */
	free(single);
}

/* --- out of the ring --- */

static bool repeats(const struct loop_op *op)
{
	return op->kind != OP_RECV_ONCE && op->kind != OP_POLL_ONCE && op->kind != OP_CONNECT &&
	       op->kind != OP_SEND;
}

static bool go_single(struct loop_op *op)
{
	if (op->kind == OP_RECVMSG) {
		op->arg = calloc(1, sizeof(struct single_datagram));
		if (!op->arg)
			return false;
	}
	op->flags |= OP_SINGLE;
	return true;
}

/* Multishot receive ends at a datagram of no bytes just as at a stream's end. */
static bool is_datagram_socket(int fd)
{
	int type;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_DGRAM;
}

static enum op_verdict judge_error(struct loop_op *op, int32_t res)
{
	if (op->kind == OP_CONNECT)
		return OP_ENDS;
	switch (res) {
	case -ENOBUFS:
		if (!op->buffers)
			return OP_ENDS;
		/* By the next submit the callbacks of this turn have given theirs back. */
		loop_buffers_grow(op->buffers);
		return OP_AGAIN;
	case -EINTR:
		return OP_AGAIN;
	case -ECONNABORTED: /* the client left while it waited in the queue */
		return op->kind == OP_ACCEPT ? OP_AGAIN : OP_ENDS;
	case -EAGAIN:
		if (op->kind == OP_POLL || op->kind == OP_POLL_ONCE)
			return OP_ENDS;
		op->flags |= OP_POLL_FIRST;
		return OP_AGAIN;
	case -EINVAL:
	case -EBADFD: /* READ_MULTISHOT of what cannot be polled */
	case -EOPNOTSUPP:
		/* Perhaps only multishot is unknown; if not, the single shot says the same. */
		return repeats(op) && !(op->flags & OP_SINGLE) && go_single(op) ? OP_AGAIN
										: OP_ENDS;
	default:
		return OP_ENDS;
	}
}

static enum op_verdict judge(struct loop_op *op, int32_t res)
{
	if (res < 0)
		return judge_error(op, res);
	if (op->kind == OP_SEND) {
		op->result += res;
		return res > 0 && (uint32_t)op->result < op->events ? OP_AGAIN : OP_ENDS;
	}
	if (!repeats(op))
		return OP_ENDS;
	if (res == 0 &&
		(op->kind == OP_READ || (op->kind == OP_RECV && !is_datagram_socket(op->fd))))
		return OP_ENDS;
	return OP_GOES_ON;
}

static bool passing_trouble(int32_t res)
{
	return res == -ENOBUFS || res == -EINTR || res == -EAGAIN;
}

/* A completion of one that is cancelled or ending: what came still counts, and the last request
 * closes it. */
static void on_way_out(struct loop *l, struct loop_op *op, int32_t res, uint8_t *data)
{
	if (op->flags & OP_POLLING)
		res = -ECANCELED; /* its result is ours, not the owner's */
	if (op->state == OP_ENDING || op->in_flight) {
		if (res > 0 || (res == 0 && op->kind == OP_ACCEPT))
			tell(op, res, data, false);
		if (!op->in_flight)
			finish(l, op, op->result, NULL);
		return;
	}
	if (op->kind == OP_SEND && res > 0)
		res += op->result;
	finish(l, op, passing_trouble(res) ? -ECANCELED : res, data);
}

static void handle(struct loop *l, struct loop_op *op, int32_t res, uint8_t *data)
{
	if (op->state != OP_ACTIVE) {
		on_way_out(l, op, res, data);
		return;
	}
	if (op->flags & OP_POLLING) {
		/* Ready or in error: the operation itself will say which. */
		op->flags &= (uint8_t)~OP_POLLING;
		arm(l, op);
		return;
	}
	switch (judge(op, res)) {
	case OP_GOES_ON:
		tell(op, res, data, false);
		/* Only now: a single datagram's sender lies in what arm() hands to the kernel
		 * again. */
		if (op->state == OP_ACTIVE)
			arm(l, op);
		break;
	case OP_AGAIN:
		arm(l, op);
		break;
	case OP_ENDS:
		if (op->kind == OP_SEND && res >= 0)
			res = op->result;
		if (!op->in_flight) {
			finish(l, op, res, data);
			break;
		}
		op->state = OP_ENDING;
		op->result = res;
		cancel_in_kernel(l, op);
		break;
	}
}

void loop_op_complete(struct loop *l, const struct io_uring_cqe *c)
{
	struct loop_op *op = io_uring_cqe_get_data(c);
	struct loop_buffers *b;
	uint8_t *data = NULL;

	if (!op)
		return; /* a cancel request's own */
	assert(op->in_flight);
	if (!(c->flags & IORING_CQE_F_MORE))
		op->in_flight--;
	b = op->buffers; /* op may be gone when its buffer is given back */
	if (c->flags & IORING_CQE_F_BUFFER)
		data = loop_buffer_at(b, c->flags >> IORING_CQE_BUFFER_SHIFT);
	handle(l, op, c->res, data);
	if (data)
		loop_buffers_give_back(b, c->flags >> IORING_CQE_BUFFER_SHIFT);
}

void loop_op_retry_starved(struct loop *l)
{
	struct loop_op *last = l->starved_last, *op;
	bool more = true;

	/* Who starves again goes to the end, so this ends; a callback may take others out, `last`
	 * among them, so the number of rounds is bounded, too. */
	for (unsigned i = 0; more && l->starved && i < LOOP_SQ_ENTRIES; i++) {
		op = l->starved;
		more = op != last;
		unstarve(l, op);
		if (op->state == OP_ACTIVE)
			arm(l, op);
		else if (op->in_flight)
			cancel_in_kernel(l, op);
		else
			finish(l, op, op->state == OP_ENDING ? op->result : -ECANCELED, NULL);
	}
}

/* --- start and cancel --- */

static int start(struct loop *l, struct loop_op *op, enum op_kind kind, int fd,
	struct loop_buffers *b, loop_done *done, unsigned missing_single)
{
	if (op->state != OP_IDLE)
		return -EBUSY;
	*op = (struct loop_op){
		.done = done,
		.loop = l,
		.buffers = b,
		.fd = fd,
		.kind = (uint8_t)kind,
	};
	if (kind == OP_RECV_ONCE)
		op->flags = OP_SINGLE;
	else if ((l->missing & missing_single) && !go_single(op))
		return -ENOMEM;
	op->state = OP_ACTIVE;
	return 0;
}

static int start_and_arm(struct loop *l, struct loop_op *op, enum op_kind kind, int fd,
	struct loop_buffers *b, loop_done *done, unsigned missing_single)
{
	int err = start(l, op, kind, fd, b, done, missing_single);

	if (!err)
		arm(l, op);
	return err;
}

int loop_read_start(
	struct loop *l, struct loop_op *op, int fd, struct loop_buffers *b, loop_done *done)
{
	return start_and_arm(l, op, OP_READ, fd, b, done, LOOP_NO_READ_MULTISHOT);
}

int loop_recv_start(
	struct loop *l, struct loop_op *op, int fd, struct loop_buffers *b, loop_done *done)
{
	return start_and_arm(l, op, OP_RECV, fd, b, done, LOOP_NO_RECV_MULTISHOT);
}

int loop_recv_once(
	struct loop *l, struct loop_op *op, int fd, struct loop_buffers *b, loop_done *done)
{
	return start_and_arm(l, op, OP_RECV_ONCE, fd, b, done, 0);
}

int loop_recvmsg_start(
	struct loop *l, struct loop_op *op, int fd, struct loop_buffers *b, loop_done *done)
{
	if (b->size_bytes <= LOOP_DATAGRAM_OVERHEAD)
		return -EINVAL;
	return start_and_arm(l, op, OP_RECVMSG, fd, b, done, LOOP_NO_RECV_MULTISHOT);
}

int loop_accept_start(struct loop *l, struct loop_op *op, int fd, loop_done *done)
{
	return start_and_arm(l, op, OP_ACCEPT, fd, NULL, done, LOOP_NO_ACCEPT_MULTISHOT);
}

int loop_poll_start(struct loop *l, struct loop_op *op, int fd, uint32_t events, loop_done *done)
{
	int err = start(l, op, OP_POLL, fd, NULL, done, LOOP_NO_POLL_MULTISHOT);

	if (err)
		return err;
	op->events = events;
	arm(l, op);
	return 0;
}

int loop_poll_once(struct loop *l, struct loop_op *op, int fd, uint32_t events, loop_done *done)
{
	int err = start(l, op, OP_POLL_ONCE, fd, NULL, done, 0);

	if (err)
		return err;
	op->events = events;
	arm(l, op);
	return 0;
}

int loop_connect(struct loop *l, struct loop_op *op, int fd, const struct sockaddr *addr,
	socklen_t len, loop_done *done)
{
	int err = start(l, op, OP_CONNECT, fd, NULL, done, 0);

	if (err)
		return err;
	op->arg = (void *)addr;
	op->events = len;
	arm(l, op);
	return 0;
}

int loop_send(
	struct loop *l, struct loop_op *op, int fd, const void *data, size_t len, loop_done *done)
{
	int err;

	if (len > INT32_MAX)
		return -EINVAL;
	err = start(l, op, OP_SEND, fd, NULL, done, 0);
	if (err)
		return err;
	op->arg = (void *)data;
	op->events = (uint32_t)len;
	arm(l, op);
	return 0;
}

void loop_op_cancel(struct loop_op *op)
{
	if (op->state != OP_ACTIVE)
		return;
	op->state = OP_CANCELLED;
	if (op->in_flight)
		cancel_in_kernel(op->loop, op);
	else
		starve(op->loop, op); /* it never got into the ring: the next turn ends it */
}

struct cmsghdr *loop_cmsg_first(const struct loop_datagram *d)
{
	struct cmsghdr *c = (struct cmsghdr *)d->control;

	if (d->control_len < sizeof(*c) || c->cmsg_len < sizeof(*c) || c->cmsg_len > d->control_len)
		return NULL;
	return c;
}

struct cmsghdr *loop_cmsg_next(const struct loop_datagram *d, struct cmsghdr *c)
{
	uint8_t *end = d->control + d->control_len;
	uint8_t *next = (uint8_t *)c + CMSG_ALIGN(c->cmsg_len);

	if (next >= end || (size_t)(end - next) < sizeof(*c))
		return NULL;
	c = (struct cmsghdr *)next;
	return c->cmsg_len < sizeof(*c) || c->cmsg_len > (size_t)(end - next) ? NULL : c;
}
