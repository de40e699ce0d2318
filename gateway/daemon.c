/* Start, stop and reload, in the order that keeps the LAN's DNS alive:
 *
 *   start   configuration, table of fake addresses, rights and descriptors → threads → the kernel's
 * table last stop    the kernel's table first → rules and routes → workers → everything else
 *
 * An error at start is one line on stderr that says what to do, and leaves nothing behind. */
#include "gateway/daemon_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/privileges.h"
#include "gateway/serve/socket.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define HOLD_S		 3600 /* fakeip.hold's default; its key comes with the table's hardening */
#define WORKERS_AUTO_MAX 4
#define CORPSE_MS	 1500 /* the kernel needs a moment to take a killed process's descriptors apart \
			       */
#define WORKER_DEAD_MS 1000 /* no turn for so long: no heartbeat */

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

/* --- configuration --- */

static void report_conf(void *arg, enum conf_severity severity, const char *text)
{
	(void)arg;
	if (severity != CONF_NOTE) /* notes are `check`'s business */
		fprintf(stderr, "%s\n", text);
}

static void report_lists(void *arg, bool is_error, const char *text)
{
	(void)arg;
	(void)is_error;
	fprintf(stderr, "%s\n", text);
}

static unsigned workers_wanted(const struct config *config)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (config->gateway.workers)
		return config->gateway.workers;
	return online < 1 ? 1 : online > WORKERS_AUTO_MAX ? WORKERS_AUTO_MAX : (unsigned)online;
}

/* What a predecessor that was killed a moment ago held may still be there: try again for a while.
 */
static bool try_again(const struct daemon *d, int error)
{
	if ((error != -EBUSY && error != -EADDRINUSE) || clock_ms() - d->started_ms > CORPSE_MS)
		return false;
	usleep(20000);
	return true;
}

/* --- start: what needs no rights --- */

/* As query hashes names, for those that come from the store. */
static uint64_t hash_name(const uint8_t *name, size_t name_len, uint64_t key)
{
	struct dns_name n;

	memset(n.b, 0, sizeof n.b);
	memcpy(n.b, name, name_len);
	n.len = (uint8_t)name_len;
	return dns_name_hash(&n, key);
}

static int start_table(struct daemon *d)
{
	const struct conf_fakeip *f = &d->config->fakeip;
	struct fakeip_pool_config pools = {.len4 = f->pool4.len,
		.len6 = f->pool6.len,
		.ttl_s = f->ttl_s,
		.hold_s = HOLD_S,
		.hash = hash_name};
	struct fakeip_load_result loaded;
	int error, pid;

	memcpy(pools.net4, f->pool4.addr.b, 4);
	memcpy(pools.net6, f->pool6.addr.b, 16);
	if (pools.len4 == 0 && pools.len6 == 0)
		pools.len4 = 30; /* both off: a table that is never asked */
	if (getrandom(&d->hash_key, sizeof d->hash_key, 0) != sizeof d->hash_key)
		return -errno;
	error = fakeip_new(&pools, d->hash_key, &d->fakeip);
	if (error || !f->store[0])
		return error;
	error = store_open(f->store, d->fakeip, daemon_clock_s(), &d->store, &pid, &loaded);
	if (error == -EBUSY) {
		log_error("%s is held by process %d: is another tungate running? Stop it, or give "
			  "this one a fakeip.store of "
			  "its own",
			f->store, pid);
		return error;
	}
	if (error)
		daemon_set_problem(d, PROBLEM_STORE,
			"fakeip.store %s: %s; the table is kept in memory only", f->store,
			strerror(-error));
	else if (loaded.foreign)
		log_warn("fakeip.store %s was written for other pools or by another version; "
			 "started anew",
			f->store);
	else if (loaded.lost)
		daemon_set_problem(d, PROBLEM_STORE,
			"fakeip.store %s: %u damaged records were left out, %u mappings loaded",
			f->store, loaded.lost, loaded.loaded);
	return 0;
}

/* --- start: sockets --- */

static const char *socket_hint(int error)
{
	switch (-error) {
	case EADDRINUSE:
		return "the port is taken: stop the program that holds it (ss -lnp), or listen "
		       "elsewhere";
	case EACCES:
	case EPERM:
		return "not allowed: run as root, or with CAP_NET_ADMIN and CAP_NET_BIND_SERVICE";
	default:
		return strerror(-error);
	}
}

/* One socket for each worker; at->port is filled in where it was 0. */
static int open_sockets(struct daemon *d, struct serve_socket_config *c,
	enum query_listener listener, const char *what)
{
	int error;

	do
		error = serve_socket_probe(c);
	while (try_again(d, error));
	for (unsigned i = 0; i < d->n_workers && !error; i++) {
		int fd = serve_socket_open(c);

		if (fd < 0) {
			error = fd;
			break;
		}
		if (c->at.port == 0)
			c->at.port = serve_socket_port(fd);
		d->sockets[i][d->n_sockets] = (struct worker_socket){fd, c->stream, listener};
	}
	if (error) {
		log_error("%s: %s", what, socket_hint(error));
		return error;
	}
	d->n_sockets++;
	return 0;
}

static int open_tproxy(struct daemon *d, struct ip_port *at, bool stream, const char *what)
{
	struct plumbing_marks marks = plumbing_marks(&d->config->gateway);
	struct serve_socket_config c = {
		.at = *at, .stream = stream, .transparent = true, .mark = marks.value};
	int error;

	if (at->addr.family == IP_NONE)
		return 0;
	error = open_sockets(d, &c, stream ? QUERY_TCP : QUERY_TPROXY, what);
	*at = c.at;
	return error;
}

static int start_sockets(struct daemon *d)
{
	struct plumbing *p = &d->plumbing;
	int error = 0;

	if (d->config->gateway.intercept != CONF_INTERCEPT_OFF) {
		error = open_tproxy(d, &p->udp4, false, "tproxy socket 127.1.1.53:53/udp");
		if (!error)
			error = open_tproxy(d, &p->tcp4, true, "tproxy listener 127.1.1.53/tcp");
		if (!error)
			error = open_tproxy(d, &p->udp6, false, "tproxy socket [::]:53/udp");
		if (!error)
			error = open_tproxy(d, &p->tcp6, true, "tproxy listener [::]/tcp");
	}
	for (size_t i = 0; i < d->config->n_listen && !error; i++) {
		const struct conf_endpoint *e = &d->config->listen[i];
		struct serve_socket_config c = {.at = e->at,
			.stream = e->transport == CONF_TCP,
			.mark = plumbing_marks(&d->config->gateway).value};

		if (d->n_sockets == sizeof d->sockets[0] / sizeof d->sockets[0][0]) {
			log_error("listen: more than %zu addresses",
				sizeof d->sockets[0] / sizeof d->sockets[0][0] - 4);
			return -ENOSPC;
		}
		error = open_sockets(d, &c, c.stream ? QUERY_TCP : QUERY_UDP, e->url);
	}
	return error;
}

/* --- start: threads and the kernel --- */

static bool pulse(void *arg)
{
	struct daemon *d = arg;
	int64_t now_ms = clock_ms();
	bool alive = true;

	for (unsigned i = 0; i < d->n_workers; i++) {
		if (!d->workers[i])
			return false;
		alive &= now_ms - worker_last_turn_ms(d->workers[i]) < WORKER_DEAD_MS;
		worker_poke(d->workers[i]);
	}
	return alive;
}

static void set_changed(void *arg, const char *text)
{
	(void)arg;
	log_warn("%s", text);
}

static void tun_failed(void *arg)
{
	struct daemon *d = arg;

	d->tun_failed = true;
	loop_wake(d->loop);
}

static int start_workers(struct daemon *d)
{
	for (unsigned i = 0; i < d->n_workers; i++) {
		struct worker_config c = {
			.number = i,
			.tun_fd = d->plumbing.tun_fds[i],
			.mtu = d->config->gateway.mtu,
			.nflog = i == 0 ? d->nflog : NULL,
			.sockets = d->sockets[i],
			.n_sockets = d->n_sockets,
			.fakeip = d->fakeip,
			.hash_key = d->hash_key,
			.writer = d->writer,
			.inject = d->inject,
			.hosts = d->hosts,
			.probe = &d->probe_target,
			.gen = d->gen,
			.clock_s = daemon_clock_s,
			.tun_failed = tun_failed,
			.arg = d,
		};
		int error = worker_start(&c, &d->workers[i]);

		if (error) {
			const char *hint = loop_error_hint(error);

			log_error("worker %u: %s", i, hint ? hint : strerror(-error));
			return error;
		}
	}
	/* The gate opens when every worker has finished a turn: not before, and no later. */
	for (unsigned i = 0; i < d->n_workers; i++) {
		worker_poke(d->workers[i]);
		while (worker_last_turn_ms(d->workers[i]) == 0 &&
			clock_ms() - d->started_ms < WORKER_DEAD_MS)
			usleep(200);
	}
	return 0;
}

static const char *plumbing_hint(int error, const char *what)
{
	if (strcmp(what, "tun") == 0) {
		if (error == -ENOENT)
			return "there is no /dev/net/tun: load the tun module (modprobe tun; "
			       "OpenWrt: kmod-tun)";
		if (error == -EBUSY)
			return "the device is in use: is another tungate running? Set another "
			       "gateway.tun";
	}
	if (error == -EPERM || error == -EACCES)
		return "not allowed: run as root, or with CAP_NET_ADMIN, and with access to "
		       "/dev/net/tun";
	return strerror(-error);
}

static const char *table_hint(int error, const char *what)
{
	if (what && strstr(what, "another process"))
		return "is another tungate running here? Stop it first";
	if (error == -EPERM || error == -EACCES)
		return "not allowed: run as root, or with CAP_NET_ADMIN";
	if (error == -EOPNOTSUPP || error == -ENOENT)
		return "the kernel lacks this part of nftables (OpenWrt: kmod-nft-tproxy, "
		       "kmod-nft-socket, kmod-nft-nat)";
	return strerror(-error);
}

static int start_kernel(struct daemon *d)
{
	struct plumbing_marks marks = plumbing_marks(&d->config->gateway);
	const char *what = "";
	int error;

	do
		error = plumbing_up(&d->plumbing, d->config, d->n_workers, &what);
	while (strcmp(what, "tun") == 0 && try_again(d, error));
	if (error) {
		log_error("gateway.tun %s (%s): %s", d->config->gateway.tun, what,
			plumbing_hint(error, what));
		return error;
	}
	d->probe_target.to = d->plumbing.probe;
	error = hosts_reload(d->hosts, d->plumbing.rt);
	if (!error)
		error = inject_new(marks.value, &d->inject);
	if (error) {
		log_error("raw socket: %s",
			error == -EPERM ? "not allowed: run as root, or with CAP_NET_RAW"
					: strerror(-error));
		return error;
	}
	do
		error = nflog_open(PLUMBING_NFLOG_GROUP, &d->nflog);
	while (try_again(d, error));
	if (error) /* only interception by tproxy needs it */
		daemon_set_problem(d, PROBLEM_NFLOG,
			"nfnetlink_log: %s; behind a firewall that does not forward to TUN, "
			"traffic to fake addresses cannot be carried",
			strerror(-error));
	return start_sockets(d);
}

static int start_threads(struct daemon *d)
{
	struct writer_config wc = {.pulse = pulse, .set_changed = set_changed, .arg = d};
	int error = writer_start(&wc, &d->writer);

	if (error) {
		log_error("nftables: %s", table_hint(error, NULL));
		return error;
	}
	error = generation_new(d->config, d->writer, report_lists, d, &d->gen);
	return error ? error : start_workers(d);
}

static int start_intercept(struct daemon *d)
{
	const char *what = NULL;
	int error = daemon_choose_intercept(d, true, &what);

	if (error)
		log_error("nftables%s%s: %s", what ? ", " : "", what ? what : "",
			table_hint(error, what));
	return error;
}

static int start_control(struct daemon *d)
{
	const struct config *c = d->config;
	int pid = 0;
	int error = control_open(d->loop, d, c->control_socket, c->control_mode, c->control_group,
		&pid, &d->control);

	if (error == -EADDRINUSE && !pid)
		log_error("control.socket %s is held by another process", c->control_socket);
	else if (error == -EINVAL)
		log_error("control.group %s: there is no such group", c->control_group);
	else if (error == -EEXIST)
		log_error("control.socket %s: there is something else than a socket",
			c->control_socket);
	else if (error == -EADDRINUSE)
		log_error("control.socket %s is held by process %d: another tungate is running",
			c->control_socket, pid);
	else if (error)
		log_error("control.socket %s: %s", c->control_socket, strerror(-error));
	return error;
}

/* --- signals --- */

static void stop(struct daemon *d)
{
	d->state = DAEMON_STOPPING;
	loop_stop(d->loop);
}

static void tell_log(void *arg, bool is_error, const char *text)
{
	(void)arg;
	if (is_error)
		log_error("%s", text);
	else
		log_info("%s", text);
}

static void signalled(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct daemon *d = (struct daemon *)((char *)op - offsetof(struct daemon, signal_op));
	struct signalfd_siginfo info;

	(void)res;
	(void)data;
	(void)last;
	while (read(d->signal_fd, &info, sizeof info) == sizeof info) {
		if (info.ssi_signo == SIGHUP)
			daemon_reload(d, tell_log, NULL);
		else
			stop(d);
	}
}

static int start_signals(struct daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	/* Before any thread: they inherit the mask. */
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	d->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return d->signal_fd < 0 ? -errno : 0;
}

/* --- the whole --- */

static int start(struct daemon *d)
{
	struct rlimit files;
	int error;

	if (conf_load(d->config_path, report_conf, NULL, &d->config))
		return -EINVAL;
	log_set_level((enum log_level)d->config->log_level);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	error = start_signals(d);
	if (error)
		return error;
	error = loop_new(&d->loop);
	if (error) {
		const char *hint = loop_error_hint(error);

		log_error("io_uring: %s", hint ? hint : strerror(-error));
		return error;
	}
	d->n_workers = workers_wanted(d->config);
	plumbing_init(&d->plumbing, d->config);
	/* The locks first: a second daemon must not touch what the first has set up. */
	error = start_control(d);
	if (!error)
		error = start_table(d);
	if (!error)
		error = hosts_new(&d->hosts);
	if (!error)
		error = start_kernel(d);
	if (!error)
		error = privileges_drop();
	if (!error)
		error = start_threads(d);
	if (!error)
		error = start_intercept(d);
	if (!error)
		error = daemon_watch_start(d);
	if (!error)
		error = loop_poll_start(d->loop, &d->signal_op, d->signal_fd, POLLIN, signalled);
	return error;
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
	d->state = DAEMON_STOPPING;
	if (d->writer)
		writer_table_drop(d->writer); /* from here on the LAN's queries go the old way */
	if (d->control)
		control_stop(d->control);
	daemon_watch_stop(d);
	loop_op_cancel(&d->signal_op);
	if (d->loop)
		drain_loop(d);
	for (unsigned i = 0; i < d->n_workers; i++)
		if (d->workers[i])
			worker_stop(d->workers[i]);
		else
			for (size_t k = 0; k < d->n_sockets; k++)
				close(d->sockets[i][k].fd);
	generation_unref(d->gen);
	if (d->writer)
		writer_stop(d->writer);
	nflog_close(d->nflog);
	plumbing_down(&d->plumbing);
	inject_free(d->inject);
	hosts_free(d->hosts);
	control_free(d->control);
	daemon_watch_free(d);
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
	error = start(d);
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
	free(d);
	return error ? 1 : 0;
}

/* --- reload --- */

struct reload {
	daemon_tell *tell;
	void *arg;
};

static void tell_conf(void *arg, enum conf_severity severity, const char *text)
{
	struct reload *r = arg;

	if (severity != CONF_NOTE)
		r->tell(r->arg, severity == CONF_ERROR, text);
}

static void tell_lists(void *arg, bool is_error, const char *text)
{
	struct reload *r = arg;

	r->tell(r->arg, is_error, text);
}

static bool same_prefix(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->len == b->len && ip_addr_equal(&a->addr, &b->addr);
}

/* What the running process cannot change under itself; the rest is taken over at once. */
static void tell_kept(const struct config *old, const struct config *fresh, struct reload *r)
{
	static const char *const text = "needs a restart; the running value stays in force";
	char line[256];
	const struct {
		bool changed;
		const char *key;
	} keys[] = {
		{strcmp(old->gateway.tun, fresh->gateway.tun) != 0, "gateway.tun"},
		{old->gateway.workers != fresh->gateway.workers, "gateway.workers"},
		{old->gateway.mark.value != fresh->gateway.mark.value ||
				old->gateway.mark.mask != fresh->gateway.mark.mask,
			"gateway.mark"},
		{!same_prefix(&old->fakeip.pool4, &fresh->fakeip.pool4), "fakeip.pool4"},
		{!same_prefix(&old->fakeip.pool6, &fresh->fakeip.pool6), "fakeip.pool6"},
		{strcmp(old->fakeip.store, fresh->fakeip.store) != 0, "fakeip.store"},
		{strcmp(old->control_socket, fresh->control_socket) != 0, "control.socket"},
		{old->n_listen != fresh->n_listen, "listen"},
	};

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		if (!keys[i].changed)
			continue;
		snprintf(line, sizeof line, "%s %s", keys[i].key, text);
		r->tell(r->arg, false, line);
	}
}

/* Fields that were fixed at start keep their old values in the new configuration. */
static void keep_fixed(struct config *fresh, const struct config *old)
{
	fresh->gateway.mark = old->gateway.mark;
	fresh->fakeip.pool4 = old->fakeip.pool4;
	fresh->fakeip.pool6 = old->fakeip.pool6;
}

int daemon_reload(struct daemon *d, daemon_tell *tell, void *arg)
{
	struct reload r = {tell, arg};
	struct config *fresh, *old = d->config;
	struct generation *gen;
	const char *what = NULL;
	int error = conf_load(d->config_path, tell_conf, &r, &fresh);

	if (error) {
		log_error("reload: %s has errors; the running configuration stays in force",
			d->config_path);
		return -EINVAL;
	}
	tell_kept(old, fresh, &r);
	keep_fixed(fresh, old);
	error = generation_new(fresh, d->writer, tell_lists, &r, &gen);
	if (error) {
		log_error(
			"reload: the lists have errors; the running configuration stays in force");
		conf_free(fresh);
		return -EINVAL;
	}
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_use(d->workers[i], gen);
	generation_unref(d->gen);
	d->gen = gen;
	d->config = fresh;
	log_set_level((enum log_level)fresh->log_level);
	error = daemon_choose_intercept(d, true, &what);
	if (error)
		daemon_set_problem(d, PROBLEM_INTERCEPT,
			"nftables%s%s: %s; the table of before stays in force", what ? ", " : "",
			what ? what : "", strerror(-error));
	conf_free(old);
	r.tell(r.arg, false,
		"rules, lists, upstreams, egresses and interception are in force as configured");
	log_info("reloaded %s", d->config_path);
	return 0;
}
