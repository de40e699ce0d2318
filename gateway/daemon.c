/* Start, stop and reload, in the order that keeps the LAN's DNS alive.
 *
 * Start: configuration, table of fake addresses, rights and descriptors → threads → the kernel's
 * table last.
 *
 * Stop: the kernel's table first → rules and routes → workers → everything else.
 *
 * Also here: signals, and the problems that `status` shows. */
#include "gateway/daemon_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/container.h"
#include "gateway/base/log.h"
#include "gateway/learned/learned.h"
#include "netlink/conntrack.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

uint32_t daemon_clock_s(void)
{
	return (uint32_t)(clock_ms() / 1000) + 1; /* 0 means "never" in the table */
}

/* --- problems --- */

void daemon_set_problem(struct daemon *d, enum daemon_problem kind, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (d->problems[kind] && strcmp(d->problems[kind], text) == 0)
		return;
	log_warn("%s", text);
	free(d->problems[kind]);
	d->problems[kind] = strdup(text);
}

void daemon_clear_problem(struct daemon *d, enum daemon_problem kind)
{
	free(d->problems[kind]);
	d->problems[kind] = NULL;
}

/* --- signals --- */

static void stop(struct daemon *d)
{
	d->state = DAEMON_STOPPING;
	loop_stop(d->loop);
}

static void lame_is_over(struct loop_timer *t)
{
	stop(container_of(t, struct daemon, lame));
}

/* Clients must not be left with fake addresses that nobody carries: what is asked from now on is
 * answered real, while traffic is still carried. A second signal does not wait for that. */
static void stop_asked(struct daemon *d)
{
	if (d->state != DAEMON_RUNNING || d->config->gateway.lame_duck_ms == 0) {
		stop(d);
		return;
	}
	d->state = DAEMON_LAME_DUCK;
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_set_lame(d->workers[i]);
	d->lame.fire = lame_is_over;
	loop_timer_set(d->loop, &d->lame, loop_now_ms(d->loop) + d->config->gateway.lame_duck_ms);
	log_info("stopping in %u ms: names are answered real, traffic is still carried",
		d->config->gateway.lame_duck_ms);
}

static void signalled(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct daemon *d = container_of(op, struct daemon, signal_op);
	struct signalfd_siginfo info;

	(void)res;
	(void)data;
	(void)last;
	while (read(d->signal_fd, &info, sizeof info) == sizeof info) {
		if (info.ssi_signo == SIGHUP)
			daemon_reload_by_signal(d);
		else
			stop_asked(d);
	}
}

static sigset_t stop_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	return set;
}

static int start_signals(struct daemon *d)
{
	sigset_t set = stop_signals();

	sigaddset(&set, SIGHUP);
	/* Before any thread: they inherit the mask. */
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	d->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return d->signal_fd < 0 ? -errno : 0;
}

static void drain_loop(struct daemon *d)
{
	int64_t until_ms = clock_ms() + 1000;

	while (clock_ms() < until_ms && (loop_op_busy(&d->signal_op) || !daemon_watch_idle(d) ||
						(d->control && !control_idle(d->control))))
		loop_turn(d->loop, 50);
}

/* Works on a half started daemon too. */
static void finish(struct daemon *d)
{
	sigset_t set = stop_signals();

	d->state = DAEMON_STOPPING;
	sigprocmask(SIG_UNBLOCK, &set, NULL); /* a second one ends the process at once */
	if (d->writer)
		writer_table_drop(d->writer); /* from here on the LAN's queries go the old way */
	if (d->control)
		control_stop(d->control);
	daemon_watch_stop(d);
	daemon_upkeep_stop(d);
	daemon_files_stop(d);
	daemon_reload_stop(d);
	loop_op_cancel(&d->signal_op);
	if (d->loop)
		drain_loop(d);
	daemon_set_workers_run(d, false);
	for (unsigned i = 0; i < d->n_workers; i++)
		if (d->workers[i])
			worker_stop(d->workers[i]);
	daemon_cache_stop(d);
	carry_shared_free(d->carry_shared);
	conntrack_close(d->conntrack);
	generation_unref(d->gen);
	learned_files_free(d->learned); /* with it the last ones are written */
	forgetter_free(d->forgetter);
	if (d->writer)
		writer_stop(d->writer);
	nflog_close(d->nflog);
	plumbing_down(&d->plumbing);
	inject_free(d->inject);
	hosts_free(d->hosts);
	neighbours_free(d->neighbours);
	ways_free(d->ways);
	control_free(d->control);
	daemon_watch_free(d);
	loader_free(d->loader);
	store_close(d->store);
	fakeip_free(d->fakeip);
	loop_free(d->loop);
	if (d->signal_fd >= 0)
		close(d->signal_fd);
	for (size_t i = 0; i < DAEMON_PROBLEMS_MAX; i++)
		free(d->problems[i]);
	conf_free(d->config);
}

int daemon_main(const char *config_path)
{
	struct daemon *d = calloc(1, sizeof *d);
	int error;

	if (!d) {
		log_error("no memory");
		return 1;
	}
	d->config_path = config_path;
	d->started_ms = clock_ms();
	d->signal_fd = -1;
	pthread_mutex_init(&d->pulse_lock, NULL);
	error = start_signals(d);
	if (!error)
		error = daemon_start(d);
	if (!error)
		error = loop_poll_start(d->loop, &d->signal_op, d->signal_fd, POLLIN, signalled);
	if (!error) {
		d->state = DAEMON_RUNNING;
		log_info("ready in %lld ms: %u workers, interception by %s",
			(long long)(clock_ms() - d->started_ms), d->n_workers,
			d->plumbing.mode == CONF_INTERCEPT_TUN	    ? "tun"
			: d->plumbing.mode == CONF_INTERCEPT_TPROXY ? "tproxy"
								    : "nobody (intercept: off)");
		error = loop_run(d->loop);
	}
	finish(d);
	pthread_mutex_destroy(&d->pulse_lock);
	free(d);
	return error ? 1 : 0;
}
