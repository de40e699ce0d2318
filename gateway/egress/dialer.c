/* A worker's dialer: what its dials and associations share, and their orderly end. */
#include "gateway/egress/egress_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

/* As many as may wait for their byte in one turn; see dial.c. */
#define ONE_BYTE_BUFFERS 1024

static void dialer_free(struct egress_dialer *d)
{
	void (*stopped)(void *arg) = d->stopped;
	void *arg = d->stopped_arg;

	loop_timer_cancel(d->loop, &d->soon);
	dials_free(d);
	loop_buffers_free(d->one_byte);
	loop_buffers_free(d->datagrams);
	free(d);
	if (stopped)
		stopped(arg);
}

static void dialer_soon_fired(struct loop_timer *timer)
{
	struct egress_dialer *d = container_of(timer, struct egress_dialer, soon);

	(void)loop_timer_set(d->loop, &d->soon, EGRESS_NEVER_MS);
	dialer_hold(d); /* a callback may stop us */
	dials_tell(d);
	d->holds--;
	if (d->stopping && !d->holds && !d->refused)
		dialer_free(d);
}

void dialer_soon(struct egress_dialer *d)
{
	(void)loop_timer_set(d->loop, &d->soon, loop_now_ms(d->loop));
}

void dialer_hold(struct egress_dialer *d)
{
	d->holds++;
}

/* Freed in a turn's timers, never in an operation's callback: its buffer is still to be given back.
 */
void dialer_release(struct egress_dialer *d)
{
	if (--d->holds == 0 && d->stopping)
		dialer_soon(d);
}

/* A dial needs a descriptor, its client another: half of them are for us at most. */
static unsigned dials_bound(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur / 2 >= EGRESS_DIALS_MAX)
		return EGRESS_DIALS_MAX;
	return r.rlim_cur > 2 ? (unsigned)(r.rlim_cur / 2) : 1;
}

int egress_dialer_new(const struct egress_dialer_config *config, struct egress_dialer **ret)
{
	struct egress_dialer *d = calloc(1, sizeof *d);
	int error;

	if (!d)
		return -ENOMEM;
	d->config = *config;
	d->loop = config->loop;
	d->dials_max = dials_bound();
	d->soon.fire = dialer_soon_fired;
	error = loop_timer_set(d->loop, &d->soon, EGRESS_NEVER_MS);
	if (error < 0)
		goto fail;
	error = loop_buffers_new(d->loop, 1, ONE_BYTE_BUFFERS, &d->one_byte);
	if (error < 0)
		goto cancel;
	*ret = d;
	return 0;
cancel:
	loop_timer_cancel(d->loop, &d->soon);
fail:
	free(d);
	return error;
}

void egress_dialer_stop(struct egress_dialer *d, void (*done)(void *arg), void *arg)
{
	d->stopping = true;
	d->stopped = done;
	d->stopped_arg = arg;
	dialer_hold(d);
	checker_stop(d);
	associations_end(d);
	dials_end(d);
	dials_tell(d);
	if (--d->holds == 0 && !d->refused) /* so no callback of ours is running */
		dialer_free(d);
}
