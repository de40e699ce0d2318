/* How the daemon starts. An error is one line on stderr that says what to do; who called then takes
 * down what was set up (daemon.c). */
#include "gateway/daemon_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/descriptors.h"
#include "gateway/base/log.h"
#include "gateway/learned/learned.h"
#include "gateway/privileges.h"
#include "gateway/serve/socket.h"
#include "netlink/conntrack.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#define RIGHTS		 "run as root, or with CAP_NET_ADMIN, CAP_NET_BIND_SERVICE and CAP_NET_RAW"
#define FILES_KEPT	 512 /* descriptors that are not the relays' */
#define WORKERS_AUTO_MAX 4
#define CORPSE_MS	 1500 /* a killed process's descriptors take the kernel a moment */
#define WORKER_DEAD_MS	 1000 /* no turn for so long: no heartbeat */

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

static void tell_store(struct daemon *d, int error, const struct fakeip_load_result *loaded)
{
	const char *path = d->config->fakeip.store;

	if (loaded->foreign && store_kept(d->store))
		log_warn("fakeip.store %s was not ours or of another version; kept as %s, started "
			 "anew",
			path, store_kept(d->store));
	else if (loaded->moved)
		log_warn("fakeip.store %s was written for other pools: %u mappings fit and are "
			 "kept, %u are dropped",
			path, loaded->loaded, loaded->dropped);
	if (error)
		daemon_set_problem(d, PROBLEM_STORE,
			"fakeip.store %s: %s; the table is kept in memory only, and tried again",
			path, strerror(-error));
	else if (loaded->lost)
		daemon_set_problem(d, PROBLEM_STORE,
			"fakeip.store %s: %u damaged records were left out, %u mappings loaded",
			path, loaded->lost, loaded->loaded);
}

static int start_table(struct daemon *d)
{
	const struct conf_fakeip *f = &d->config->fakeip;
	struct fakeip_pool_config pools = {.len4 = f->pool4.len,
		.len6 = f->pool6.len,
		.ttl_s = f->ttl_s,
		.hold_s = f->hold_s,
		.needs_sweep = true,
		.hash = hash_name};
	struct fakeip_load_result loaded;
	int error, pid;

	d->table_ttl_s = f->ttl_s;
	memcpy(pools.net4, f->pool4.addr.b, 4);
	memcpy(pools.net6, f->pool6.addr.b, 16);
	if (pools.len4 == 0 && pools.len6 == 0)
		pools.len4 = 30; /* both off: a table that is never asked */
	if (getrandom(&d->hash_key, sizeof d->hash_key, 0) != sizeof d->hash_key ||
		getrandom(&pools.seed, sizeof pools.seed, 0) != sizeof pools.seed)
		return -errno;
	error = fakeip_new(&pools, d->hash_key, &d->fakeip);
	if (error)
		return error;
	if (!f->store[0]) {
		fakeip_start_anywhere(d->fakeip, daemon_clock_s());
		return 0;
	}
	error = store_open(f->store, d->fakeip, daemon_clock_s(), &d->store, &pid, &loaded);
	if (error == -EBUSY) {
		log_error("%s is held by process %d: is another tungate running? Stop it, or give "
			  "this one a fakeip.store of "
			  "its own",
			f->store, pid);
		return error;
	}
	if (error == -ENOMEM)
		return error;
	store_set_sync(d->store, f->sync_s);
	tell_store(d, error, &loaded);
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
		return "not allowed: " RIGHTS;
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
		d->sockets[i][d->n_sockets] =
			(struct worker_socket){.fd = fd, .stream = c->stream, .listener = listener};
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
	while (!stream && serve_socket_lingers(at) && try_again(d, -EADDRINUSE))
		;
	error = open_sockets(d, &c, QUERY_TPROXY, what);
	*at = c.at;
	return error;
}

static void note_own_port(struct daemon *d, uint16_t port)
{
	if (port && d->n_own_ports < sizeof d->own_ports / sizeof d->own_ports[0])
		d->own_ports[d->n_own_ports++] = port;
}

/* The relay's: connections put back for it, and real traffic that our table sends there. */
static int open_relay(struct daemon *d, struct ip_port *at, bool stream, const char *what)
{
	struct plumbing_marks marks = plumbing_marks(&d->config->gateway);
	struct serve_socket_config c = {.at = *at,
		.stream = stream,
		.transparent = true,
		.original = !stream,
		.mark = marks.value};
	int error = 0;

	if (at->addr.family == IP_NONE)
		return 0;
	error = open_sockets(d, &c, QUERY_TCP, what);
	*at = c.at;
	if (error)
		return error;
	for (unsigned i = 0; i < d->n_workers; i++)
		d->sockets[i][d->n_sockets - 1].relay = true;
	note_own_port(d, at->port);
	return 0;
}

static int start_relay_sockets(struct daemon *d)
{
	struct plumbing *p = &d->plumbing;
	int error = open_relay(d, &p->relay_tcp4, true, "relay listener 127.1.1.53/tcp");

	if (!error)
		error = open_relay(d, &p->relay_udp4, false, "relay socket 127.1.1.53/udp");
	if (!error)
		error = open_relay(d, &p->relay_tcp6, true, "relay listener [::]/tcp");
	if (!error)
		error = open_relay(d, &p->relay_udp6, false, "relay socket [::]/udp");
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
		note_own_port(d, p->tcp4.port);
		note_own_port(d, p->tcp6.port);
	}
	if (!error)
		error = start_relay_sockets(d);
	for (size_t i = 0; i < d->config->n_listen && !error; i++) {
		const struct conf_endpoint *e = &d->config->listen[i];
		struct serve_socket_config c = {.at = e->at,
			.stream = e->transport == CONF_TCP,
			.mark = plumbing_marks(&d->config->gateway).value};

		if (d->n_sockets == sizeof d->sockets[0] / sizeof d->sockets[0][0]) {
			log_error("listen: more than %zu addresses",
				sizeof d->sockets[0] / sizeof d->sockets[0][0] - 8);
			return -ENOSPC;
		}
		error = open_sockets(d, &c, c.stream ? QUERY_TCP : QUERY_UDP, e->url);
		note_own_port(d, c.at.port);
	}
	return error;
}

/* --- start: threads and the kernel --- */

void daemon_set_workers_run(struct daemon *d, bool run)
{
	pthread_mutex_lock(&d->pulse_lock);
	d->workers_run = run;
	pthread_mutex_unlock(&d->pulse_lock);
}

/* In the heartbeat's thread, as the next. */
static bool pulse(void *arg)
{
	struct daemon *d = arg;
	int64_t now_ms = clock_ms();
	bool alive;

	pthread_mutex_lock(&d->pulse_lock);
	alive = d->workers_run;
	for (unsigned i = 0; d->workers_run && i < d->n_workers; i++) {
		alive &= now_ms - worker_last_turn_ms(d->workers[i]) < WORKER_DEAD_MS;
		worker_poke(d->workers[i]);
	}
	pthread_mutex_unlock(&d->pulse_lock);
	return alive;
}

static void lapsed(void *arg, bool lapsed, int64_t ms, int error)
{
	struct daemon *d = arg;

	count_add(&d->lapses, lapsed);
	count_add(&d->lapsed_ms, lapsed ? 0 : (uint64_t)ms);
	atomic_store(&d->lapsed_since_ms, lapsed ? (uint64_t)(clock_ms() - ms) : 0);
	if (!lapsed)
		log_warn("interception is back; for %.1f s queries passed untouched",
			(double)ms / 1000);
	else
		log_warn("interception has lapsed, queries pass untouched: %s%s",
			error == 0 || error == -ETIME ? "" : "the heartbeat over lo fails: ",
			error == 0	   ? "a worker hangs"
			: error == -ETIME  ? "the gateway was stopped, or got no processor"
			: error == -ENOENT ? "no rule took it"
					   : strerror(-error));
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
			.cache = d->cache,
			.hot = d->hot.v,
			.n_hot = i == 0 ? d->hot.n : 0,
			.warm_rate = d->config->cache.warmup_rate,
			.hash_key = d->hash_key,
			.writer = d->writer,
			.forgetter = d->forgetter,
			.inject = d->inject,
			.carry_shared = d->carry_shared,
			.own_ports = d->own_ports,
			.n_own_ports = d->n_own_ports,
			.max_flows = d->max_flows,
			.sniff = d->config->gateway.sniff,
			.hosts = d->hosts,
			.neighbours = d->neighbours,
			.ways = d->ways,
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
	daemon_set_workers_run(d, true);
	free(d->hot.v); /* the first worker has a copy */
	d->hot.v = NULL;
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

static const char *table_hint(int error)
{
	if (error == -EPERM || error == -EACCES)
		return "not allowed: " RIGHTS;
	if (error == -EOPNOTSUPP || error == -ENOENT)
		return "the kernel lacks this part of nftables (OpenWrt: kmod-nft-tproxy, "
		       "kmod-nft-socket, kmod-nft-nat)";
	return strerror(-error);
}

/* Everything that needs more than what privileges_drop() leaves. */
static int start_privileged(struct daemon *d)
{
	struct plumbing_marks marks = plumbing_marks(&d->config->gateway);
	int error = inject_new(marks.value, marks.tun | marks.tproxy, &d->inject);

	if (error) {
		log_error("raw socket: %s",
			error == -EPERM ? "not allowed: " RIGHTS : strerror(-error));
		return error;
	}
	do
		error = nflog_open(PLUMBING_NFLOG_GROUP, &d->nflog);
	while (try_again(d, error));
	if (error && error != -EPERM) /* only interception by tproxy needs it; lacking rights are
					 told below */
		daemon_set_problem(d, PROBLEM_NFLOG,
			"nfnetlink_log: %s; behind a firewall that does not forward to TUN, "
			"traffic to fake addresses cannot be carried",
			strerror(-error));
	d->plumbing.has_nflog = d->nflog != NULL;
	error = start_sockets(d);
	return error ? error : privileges_drop();
}

/* Before anything of the kernel's is touched: rules and routes of protocol 198 may be another's. */
static int start_writer(struct daemon *d)
{
	struct writer_config wc = {.heartbeat = {.pulse = pulse, .lapsed = lapsed, .arg = d},
		.set_changed = set_changed,
		.arg = d};
	int error = writer_start(&wc, &d->writer);

	if (error) {
		log_error("nftables: %s", table_hint(error));
		return error;
	}
	error = forgetter_new(&d->forgetter);
	if (error)
		return error;
	do
		error = writer_table_check(d->writer);
	while (try_again(d, error));
	if (error == -EBUSY)
		log_error("nftables: another process owns the table " TABLE_NAME
			  ": is another tungate running here? Stop it first");
	else if (error)
		log_error("nftables: %s", table_hint(error));
	return error;
}

/* What rules may ask about clients and routes. Without it they still work, by addresses. */
static void start_looking(struct daemon *d)
{
	int error = neighbours_new(&d->neighbours);

	if (!error)
		error = neighbours_reload(d->neighbours, d->plumbing.rt);
	if (error)
		daemon_set_problem(d, PROBLEM_NEIGHBOURS,
			"the neighbour table cannot be read: %s; clients are known by their "
			"addresses only",
			strerror(-error));
	daemon_set_ways(d);
}

static int start_kernel(struct daemon *d)
{
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
	start_looking(d);
	return hosts_reload(d->hosts, d->plumbing.rt);
}

/* A relayed flow has two descriptors. */
static unsigned flows_of(const struct rlimit *files)
{
	rlim_t n = files->rlim_cur;

	return n <= FILES_KEPT + 128
		       ? 64
		       : (unsigned)((n - FILES_KEPT) / 2 < 65536 ? (n - FILES_KEPT) / 2 : 65536);
}

static int start_shared(struct daemon *d)
{
	int error = conntrack_open(&d->conntrack);

	if (error)
		d->conntrack = NULL; /* then nothing is carried that it would know of */
	return carry_shared_new(d->fakeip, d->max_flows, &d->carry_shared);
}

static int start_threads(struct daemon *d)
{
	struct generation *gen;
	const struct policy_build_config pc = {.config = d->config,
		.learned = d->learned,
		.report = report_lists,
		.report_arg = d};
	struct policy *policy;
	int error = policy_build(&pc, &policy);

	if (error)
		return error;
	(void)malloc_trim(0); /* building took several times what stays */
	daemon_files_seen(d, d->config);
	error = generation_new(
		&(struct generation_config){
			.config = d->config,
			.policy = policy,
			.writer = d->writer,
			.own_mark = plumbing_marks(&d->config->gateway).value,
			.leaks = &d->leaks,
			.report = report_lists,
			.report_arg = d,
		},
		&gen);

	if (error)
		return error;
	daemon_use(d, gen);
	daemon_addresses_load(d);
	return start_workers(d);
}

static int start_intercept(struct daemon *d)
{
	const char *what = NULL;
	int error = daemon_choose_intercept(d, true, &what);

	if (error)
		log_error(
			"nftables%s%s: %s", what ? ", " : "", what ? what : "", table_hint(error));
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

/* --- the whole --- */

int daemon_start(struct daemon *d)
{
	struct rlimit files;
	int error;

	if (conf_load(d->config_path, report_conf, NULL, &d->config))
		return -EINVAL;
	log_set_level((enum log_level)d->config->log_level);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	} else {
		files.rlim_cur = 1024;
	}
	d->max_flows = flows_of(&files);
	d->files_max = files.rlim_cur < UINT_MAX ? (unsigned)files.rlim_cur : UINT_MAX;
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
		error = daemon_cache_start(d);
	if (!error)
		error = hosts_new(&d->hosts);
	if (!error)
		error = ways_new(&d->ways);
	if (!error)
		error = loader_new(d->loop, &d->loader);
	if (!error)
		error = learned_files_new(&d->learned);
	if (!error)
		error = start_privileged(d);
	if (!error)
		error = start_writer(d);
	if (!error)
		error = start_kernel(d);
	if (!error)
		error = start_shared(d);
	if (!error)
		error = start_threads(d);
	if (!error)
		error = start_intercept(d);
	if (!error)
		error = daemon_watch_start(d);
	if (!error)
		daemon_upkeep_start(d);
	if (!error)
		daemon_files_start(d);
	if (!error)
		descriptors_init(d->files_max);
	if (error == -ENOMEM) /* whoever met it had nothing to add */
		log_error("there is not enough memory to start");
	if (error == -EMFILE)
		log_error("%u file descriptors are too few to start: raise the limit "
			  "(LimitNOFILE, ulimit -n)",
			d->files_max);
	return error;
}
