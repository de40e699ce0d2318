/* Wake-ups from other threads. A flag says that somebody asked; only the thread that raises it
 * writes to the eventfd, so a burst costs one write. The eventfd is never read: the multishot poll
 * is edge-triggered, and 2^64 wake-ups do not fit into the machine's life. Where poll is not
 * multishot, re-arming it would report the same level for ever, so there the counter is drained. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gateway/loop/loop_internal.h"

/* The handlers run in loop_wake_run(): the flag, not the descriptor, is the truth. */
static void wake_done(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	uint64_t count;

	(void)data;
	if (last && res != -ECANCELED) /* the kernel was short of memory */
		(void)loop_poll_start(op->loop, op, op->fd, POLLIN, wake_done);
	else if (op->loop->missing & LOOP_NO_POLL_MULTISHOT)
		(void)!read(op->fd, &count, sizeof(count)); /* -EAGAIN: nothing to drain */
}

int loop_wake_init(struct loop *l)
{
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (l->wake_fd < 0)
		return -errno;
	return 0;
}

int loop_wake_listen(struct loop *l)
{
	return loop_poll_start(l, &l->wake_op, l->wake_fd, POLLIN, wake_done);
}

void loop_wake_fini(struct loop *l)
{
	if (l->wake_fd >= 0)
		close(l->wake_fd);
}

void loop_wake(struct loop *l)
{
	const uint64_t one = 1;

	if (atomic_exchange(&l->woken, true))
		return;
	while (write(l->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stop, true);
	loop_wake(l);
}

void loop_wake_run(struct loop *l)
{
	if (!atomic_load_explicit(&l->woken, memory_order_relaxed))
		return;
	/* Lowered before the handlers look: what is asked from here on raises it anew. */
	if (!atomic_exchange(&l->woken, false))
		return;
	for (struct loop_waker *w = l->wakers; w; w = w->next)
		w->woken(w);
}

void loop_on_wake(struct loop *l, struct loop_waker *w)
{
	struct loop_waker **end = &l->wakers;

	while (*end)
		end = &(*end)->next;
	w->next = NULL;
	*end = w;
}
