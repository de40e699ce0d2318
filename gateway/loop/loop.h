/* One thread's event loop on io_uring: operations, buffer rings, timers, wake-ups. Knows no DNS; no
 * liburing type leaves this folder.
 *
 * A turn: submit and wait, copy the completions out, advance the ring, dispatch them, fire due
 * timers, run the turn-end hooks. All functions belong to the loop's own thread but loop_wake() and
 * loop_stop(), which any thread may call.
 *
 * An operation is embedded in its owner (struct loop_op first or anywhere in it) and must stay
 * where it is while `loop_op_busy()`. loop_op_cancel() asks the kernel to end it; the last callback
 * (with last = true) tells that it has: only then may the owner free it or close the descriptor.
 * close() cancels nothing.
 *
 * Threads: the loop belongs to the thread of its first turn. Another may make it, add hooks,
 * buffers and timers and start operations before that (they wait), and free it after that thread
 * has ended; in between it gets -EEXIST.
 *
 * Kernel: buffer rings need 5.19. Multishot receive (6.0), multishot read (6.7), DEFER_TASKRUN
 * (6.1) are asked of the running kernel (IORING_REGISTER_PROBE, and an operation's first -EINVAL)
 * and replaced by re-armed single shots (several reads in flight for loop_read_start) where they
 * are missing. */
#ifndef TUNGATE_LOOP_LOOP_H
#define TUNGATE_LOOP_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct loop;

/* -ENOSYS io_uring is not built in, -EOPNOTSUPP too old, -EPERM forbidden by sysctl or seccomp,
 * -ENOMEM, -EMFILE. */
int loop_new(struct loop **ret);
void loop_free(struct loop *l);		/* no operation may be busy */
const char *loop_error_hint(int error); /* what to do about loop_new()'s error, one line */

/* Until loop_stop(), also an earlier one: 0, or the negative errno that broke the ring. */
int loop_run(struct loop *l);
/* One turn; wait_ms < 0: until something happens. For tests, and to drain what was cancelled after
 * loop_run(), in the same thread. */
int loop_turn(struct loop *l, int64_t wait_ms);
void loop_stop(struct loop *l);		   /* the turn that runs is finished */
int64_t loop_now_ms(const struct loop *l); /* clock_ms(), read once a turn */

/* --- timers: any number, a binary heap that holds pointers --- */
struct loop_timer {
	void (*fire)(struct loop_timer *t);
	int64_t due_ms;
	uint32_t slot; /* heap position + 1; 0: not set. Zero-initialise. */
};
int loop_timer_set(
	struct loop *l, struct loop_timer *t, int64_t due_ms); /* sets or moves; -ENOMEM */
void loop_timer_cancel(struct loop *l, struct loop_timer *t);  /* also when it is not set */

/* --- hooks at the end of each turn, in the order of their adding; never removed --- */
struct loop_hook {
	void (*run)(struct loop_hook *h);
	struct loop_hook *next;
};
void loop_on_turn_end(struct loop *l, struct loop_hook *h);

/* --- wake-up: what another thread asks this one to do. loop_wake() makes the loop finish a turn
 * soon; handlers run in it, once however often it was called in between. --- */
struct loop_waker {
	void (*woken)(struct loop_waker *w);
	struct loop_waker *next;
};
void loop_on_wake(struct loop *l, struct loop_waker *w); /* before loop_run(); never removed */
void loop_wake(struct loop *l);
/* When the last turn ended, clock_ms(); any thread. A loop that hangs in a callback shows here. */
int64_t loop_last_turn_ms(const struct loop *l);

/* --- buffers that the kernel picks for received data --- */
struct loop_buffers;
/* count: a power of two, at most 32768 (else -EINVAL). Memory is touched only as it is used.
 * -ENOMEM, -ENOSPC (64 a loop). */
int loop_buffers_new(struct loop *l, size_t size_bytes, unsigned count, struct loop_buffers **ret);
void loop_buffers_free(struct loop_buffers *b); /* after its last user ended; not in a callback */

/* --- operations --- */
struct loop_op;
/* res: bytes, events, a descriptor, or a negative errno. data: the received bytes, valid until the
 * callback returns; NULL if there are none. last: the operation has ended; a new one may be started
 * at once. A stream's end is res 0, last; a datagram of no bytes is res 0, not last. After -ENOBUFS
 * (all buffers in use) the loop re-arms by itself and does not tell; so a netlink socket, whose
 * overrun is -ENOBUFS too, wants loop_poll_start() and recv(2). An error is last, too: who wants to
 * go on after it (accept: -EMFILE) starts again, after a while. */
typedef void loop_done(struct loop_op *op, int32_t res, uint8_t *data, bool last);
struct loop_op {
	loop_done *done;
	struct loop *loop;
	struct loop_buffers *buffers;
	int fd;
	uint8_t kind, state; /* all from here on is the loop's own */
	uint8_t in_flight;
	uint8_t flags;
	struct loop_op *next; /* among those that wait for a place in the ring */
	void *arg;	 /* what is sent; where to connect; where a single datagram's sender goes */
	uint32_t events; /* what is polled for; bytes of arg */
	int32_t result;	 /* bytes sent so far; the end that waits for other reads to come back */
};
static inline bool loop_op_busy(const struct loop_op *op)
{
	return op->state != 0;
}

/* Each returns 0 or -EBUSY (op is in use), -ENOMEM; the caller has set nothing but zeroes before
 * the first use. */

/* Repeats. For what keeps its bounds (TUN) or has one reader's worth of data: without
 * READ_MULTISHOT several reads are in flight, and a byte stream's pieces could change places; use
 * loop_recv_start() for sockets. A TUN queue may be blocking or O_NONBLOCK, both are read alike
 * (tests/platform/tun_read.c); a deleted device ends the read with -EBADFD. */
int loop_read_start(
	struct loop *l, struct loop_op *op, int fd, struct loop_buffers *b, loop_done *done);
/* Repeats. */
int loop_recv_start(
	struct loop *l, struct loop_op *op, int fd, struct loop_buffers *b, loop_done *done);
int loop_recv_once(
	struct loop *l, struct loop_op *op, int fd, struct loop_buffers *b, loop_done *done);
/* Datagrams with sender and control data: data points to a struct loop_datagram, res is its len.
 * Repeats. A buffer holds LOOP_DATAGRAM_OVERHEAD beside the payload (-EINVAL if it is not larger).
 */
#define LOOP_DATAGRAM_OVERHEAD 272
struct loop_datagram {
	struct sockaddr_storage *from;
	socklen_t from_len;
	uint8_t *control; /* for CMSG_*: walk it with loop_cmsg_first/next below */
	size_t control_len;
	uint8_t *payload;
	size_t len;
	bool truncated; /* MSG_TRUNC or MSG_CTRUNC */
};
int loop_recvmsg_start(
	struct loop *l, struct loop_op *op, int fd, struct loop_buffers *b, loop_done *done);
struct cmsghdr *loop_cmsg_first(const struct loop_datagram *d); /* NULL: none */
struct cmsghdr *loop_cmsg_next(const struct loop_datagram *d, struct cmsghdr *c);

/* res: new descriptor, close-on-exec, blocking (io_uring does not mind; send(2) wants
 * MSG_DONTWAIT). Repeats. A cancelled one's last callback may bring a descriptor: it is yours. */
int loop_accept_start(struct loop *l, struct loop_op *op, int fd, loop_done *done);
/* POLLIN…; repeats. It tells of news, not of a state: read until -EAGAIN. */
int loop_poll_start(struct loop *l, struct loop_op *op, int fd, uint32_t events, loop_done *done);
/* Once, and of a state: it tells at once if that is there already. POLLERR, POLLHUP and POLLRDHUP
 * are always asked for. To ask for more, cancel it and start again: the kernel's own way to change
 * a poll (IORING_POLL_UPDATE_EVENTS) loses it if the new event is there already (seen on 6.18). */
int loop_poll_once(struct loop *l, struct loop_op *op, int fd, uint32_t events, loop_done *done);
/* addr stays valid until done. res 0 or negative errno. */
int loop_connect(struct loop *l, struct loop_op *op, int fd, const struct sockaddr *addr,
	socklen_t len, loop_done *done);
/* Sends all of data (MSG_WAITALL | MSG_NOSIGNAL), at most INT32_MAX bytes (-EINVAL); data stays
 * valid until done. res: bytes or negative errno. */
int loop_send(
	struct loop *l, struct loop_op *op, int fd, const void *data, size_t len, loop_done *done);

/* Ends a busy operation: its callback comes once more with last = true (-ECANCELED, or what had
 * happened before), never from within this call. Does nothing if it is not busy. */
void loop_op_cancel(struct loop_op *op);

#endif
