/* The ring and its turn. */
#include "gateway/loop/loop_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/loop/compat.h"

/* The ring starts disabled: the thread that enables it becomes its single issuer, whoever made it.
 */
static int ring_open(struct io_uring *ring)
{
	static const unsigned wishes[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* 6.1 */
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,	 /* 6.0 */
		IORING_SETUP_COOP_TASKRUN,				 /* 5.19 */
	};
	int err = -EINVAL;

	for (size_t i = 0; err == -EINVAL && i < sizeof(wishes) / sizeof(wishes[0]); i++) {
		struct io_uring_params p = {0};

		p.flags = wishes[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE |
			  IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;
		p.cq_entries = LOOP_CQ_ENTRIES;
		err = io_uring_queue_init_params(LOOP_SQ_ENTRIES, ring, &p);
	}
	return err == -EINVAL ? -EOPNOTSUPP : err;
}

static int ring_ask_missing(struct io_uring *ring, uint8_t *ret)
{
	struct io_uring_probe *p = io_uring_get_probe_ring(ring);

	if (!p)
		return -ENOMEM;
	*ret = 0;
	if (!io_uring_opcode_supported(p, COMPAT_IORING_OP_READ_MULTISHOT))
		*ret |= LOOP_NO_READ_MULTISHOT;
	if (!io_uring_opcode_supported(p, COMPAT_IORING_OP_SEND_ZC))
		*ret |= LOOP_NO_RECV_MULTISHOT;
	io_uring_free_probe(p);
	return 0;
}

int loop_new(struct loop **ret)
{
	struct loop *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->wake_fd = -1;
	err = ring_open(&l->ring);
	if (err)
		goto free_loop;
	err = ring_ask_missing(&l->ring, &l->missing);
	if (err)
		goto exit_ring;
	l->datagram_shape.msg_namelen = sizeof(struct sockaddr_storage);
	l->datagram_shape.msg_controllen = LOOP_CONTROL_BYTES;
	l->now_ms = clock_ms();
	atomic_store(&l->last_turn_ms, l->now_ms);
	err = loop_wake_init(l);
	if (err)
		goto close_wake;
	*ret = l;
	return 0;

close_wake:
	loop_wake_fini(l);
exit_ring:
	io_uring_queue_exit(&l->ring);
free_loop:
	free(l);
	return err;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	io_uring_queue_exit(&l->ring);
	loop_wake_fini(l);
	free(l->heap);
	free(l);
}

const char *loop_error_hint(int error)
{
	switch (error) {
	case -ENOSYS:
		return "io_uring is not built into this kernel (CONFIG_IO_URING): use a kernel "
		       "that has it";
	case -EOPNOTSUPP:
		return "this kernel's io_uring is too old: 5.19 or newer is needed";
	case -EPERM:
	case -EACCES:
		return "io_uring is forbidden: set sysctl kernel.io_uring_disabled=0, or allow "
		       "io_uring_setup, "
		       "io_uring_enter and io_uring_register in the container's seccomp profile";
	case -ENOMEM:
		return "no memory for the io_uring: raise the memory limit (LimitMEMLOCK, ulimit "
		       "-l)";
	case -EMFILE:
	case -ENFILE:
		return "no file descriptor left for the io_uring: raise the limit (LimitNOFILE, "
		       "ulimit -n)";
	default:
		return "io_uring could not be set up";
	}
}

void loop_force_missing(struct loop *l, unsigned missing)
{
	l->missing |= (uint8_t)missing;
}

struct io_uring_sqe *loop_sqe(struct loop *l)
{
	struct io_uring_sqe *s = io_uring_get_sqe(&l->ring);

	if (s)
		return s;
	/* Full: hand over what is there and try again. Before the first turn there is no thread to
	 * submit for. */
	if (!l->enabled || io_uring_submit(&l->ring) < 0)
		return NULL;
	return io_uring_get_sqe(&l->ring);
}

static int64_t sooner(int64_t a, int64_t b)
{
	if (a < 0)
		return b;
	return b < 0 || a < b ? a : b;
}

static int submit_and_wait(struct loop *l, int64_t wait_ms)
{
	int err;

	if (wait_ms == 0 || io_uring_cq_ready(&l->ring)) {
		err = io_uring_submit_and_get_events(&l->ring);
	} else if (wait_ms < 0) {
		err = io_uring_submit_and_wait(&l->ring, 1);
	} else {
		struct __kernel_timespec ts = {
			.tv_sec = wait_ms / 1000,
			.tv_nsec = wait_ms % 1000 * 1000000,
		};
		struct io_uring_cqe *c;

		err = io_uring_submit_and_wait_timeout(&l->ring, &c, 1, &ts, NULL);
	}
	/* -ETIME: nothing happened. -EINTR: a signal. -EAGAIN, -EBUSY: the kernel is short of
	 * memory or wants its completions fetched first; the next turn submits again. */
	if (err == -ETIME || err == -EINTR || err == -EAGAIN || err == -EBUSY)
		return 0;
	return err < 0 ? err : 0;
}

/* Copied out, so that callbacks may submit (and the kernel may add) while we dispatch. */
static unsigned take_completions(struct loop *l)
{
	struct io_uring_cqe *c;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&l->ring, head, c)
	{
		if (n == LOOP_BATCH)
			break;
		l->batch[n++] = *c;
	}
	io_uring_cq_advance(&l->ring, n);
	return n;
}

/* By system call: Debian 12's liburing declares io_uring_enable_rings() and does not export it. */
static int enable(struct loop *l)
{
	if (syscall(__NR_io_uring_register, l->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
		    0) < 0)
		return -errno;
	l->enabled = true;
	return loop_wake_listen(l);
}

/* Expects now_ms to be fresh and leaves it so. */
static int turn(struct loop *l, int64_t wait_ms)
{
	unsigned n;
	int err;

	if (!l->enabled && (err = enable(l)))
		return err;
	if (l->starved)
		loop_op_retry_starved(l);
	if (l->starved || atomic_load_explicit(&l->woken, memory_order_relaxed))
		wait_ms = 0;
	err = submit_and_wait(l, sooner(wait_ms, loop_timers_wait_ms(l)));
	if (err)
		return err;
	l->now_ms = clock_ms();
	n = take_completions(l);
	for (unsigned i = 0; i < n; i++)
		loop_op_complete(l, &l->batch[i]);
	loop_wake_run(l);
	loop_timers_fire(l);
	for (struct loop_hook *h = l->hooks; h; h = h->next)
		h->run(h);
	l->now_ms = clock_ms();
	atomic_store_explicit(&l->last_turn_ms, l->now_ms, memory_order_relaxed);
	return 0;
}

int loop_turn(struct loop *l, int64_t wait_ms)
{
	l->now_ms = clock_ms();
	return turn(l, wait_ms);
}

int loop_run(struct loop *l)
{
	bool registered;
	int err = 0;

	if (!l->enabled && (err = enable(l)))
		return err;
	/* Belongs to this thread, so it ends with this call: another thread may free the loop.
	 * Saves the look-up of the descriptor in each turn; does no harm where it is missing
	 * (before 5.18). */
	registered = io_uring_register_ring_fd(&l->ring) == 1;
	l->now_ms = clock_ms();
	while (!err && !atomic_load_explicit(&l->stop, memory_order_acquire))
		err = turn(l, -1);
	atomic_store(&l->stop, false);
	if (registered)
		io_uring_unregister_ring_fd(&l->ring);
	return err;
}

int64_t loop_now_ms(const struct loop *l)
{
	return l->now_ms;
}

int64_t loop_last_turn_ms(const struct loop *l)
{
	return atomic_load_explicit(&l->last_turn_ms, memory_order_relaxed);
}

void loop_on_turn_end(struct loop *l, struct loop_hook *h)
{
	struct loop_hook **end = &l->hooks;

	while (*end)
		end = &(*end)->next;
	h->next = NULL;
	*end = h;
}
