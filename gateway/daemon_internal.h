/* What the files of the daemon share: daemon.c (signals, stop), daemon_start.c, daemon_reload.c,
 * daemon_watch.c (the kernel's news, repair, the firewall probe), daemon_upkeep.c (the table's file
 * and free addresses), daemon_cache.c, daemon_files.c (lists, records, leases), daemon_learned.c,
 * daemon_view.c and daemon_explain.c (what daemon.h tells the control room). Main thread only. */
#ifndef TUNGATE_DAEMON_INTERNAL_H
#define TUNGATE_DAEMON_INTERNAL_H

#include "conf/conf.h"
#include "gateway/control/control.h"
#include "gateway/daemon.h"
#include "gateway/loader.h"
#include "gateway/plumbing.h"
#include "gateway/probe.h"
#include "gateway/store.h"
#include "gateway/worker.h"
#include "netlink/forgetter.h"
#include "netlink/monitor.h"
#include "netlink/neighbours.h"
#include "netlink/ways.h"

#include <pthread.h>

#define DAEMON_PROBLEMS_MAX 17

struct daemon {
	const char *config_path;
	struct config *config;
	struct loop *loop;
	enum daemon_state state;
	int64_t started_ms;

	struct fakeip_table *fakeip;
	uint64_t hash_key;
	struct store *store;
	struct cache *cache;
	struct { /* read from cache.store at the start, for the first worker */
		struct cache_hot *v;
		size_t n;
	} hot;
	int64_t cache_saved_ms, addresses_saved_ms;
	_Atomic uint64_t leaks; /* see generation.h */
	struct learned_files *learned;
	int64_t learned_tended_ms;
	struct hosts *hosts;
	struct neighbours *neighbours; /* NULL: the kernel does not tell them */
	struct ways *ways;
	struct inject *inject;
	struct plumbing plumbing;
	struct writer *writer;
	struct forgetter *forgetter;
	struct generation *gen;
	struct nflog *nflog;
	struct carry_shared *carry_shared;
	struct conntrack *conntrack; /* NULL: the kernel has none */
	uint16_t own_ports[64];	     /* that we listen on */
	size_t n_own_ports;
	unsigned max_flows; /* of each relay */
	struct worker_probe probe_target;
	struct monitor *monitor;
	struct control *control;

	struct worker *workers[PLUMBING_WORKERS_MAX];
	unsigned n_workers;
	pthread_mutex_t
		pulse_lock; /* of the next: the heartbeat looks at the workers from its thread */
	bool workers_run;
	struct worker_socket sockets[PLUMBING_WORKERS_MAX][24];
	size_t n_sockets;

	int signal_fd;
	struct loop_op signal_op, nft_op, route_op, neighbour_op;
	struct loop_timer more_news;
	struct loop_timer settle;  /* the kernel's news are acted on when they pause */
	struct loop_timer remake;  /* the TUN device could not be made again yet */
	struct loop_timer reprobe; /* the firewall let the probe not through, or nobody knows */
	struct loop_timer upkeep, files;
	struct loader *loader;
	struct { /* of the configuration: config NULL: none is under way */
		struct config *config;
		daemon_tell *tell;
		daemon_reloaded *done;
		void *arg;
		bool again; /* a signal came meanwhile */
	} reload;
	/* States of files (list_stamp_mix): of the lists when last seen, and when their reading
	 * began that has not ended well (0: it has); of the records when last seen, and when last
	 * read. */
	uint64_t lists_seen, lists_tried, records_seen, records_read;
	/* How often interception lapsed, for how long, and since when (0: it has not); by the
	 * heartbeat's thread. */
	_Atomic uint64_t lapses, lapsed_ms, lapsed_since_ms;
	uint64_t exhausted;	/* names so far that found no address, */
	uint32_t exhausted_s;	/* and when that number last grew */
	uint64_t refused;	/* the same of descriptors, */
	int64_t refused_ms;	/* loop_now_ms() */
	unsigned files_max;	/* RLIMIT_NOFILE */
	uint32_t table_ttl_s;	/* the longest one that may still be answered */
	struct loop_timer lame; /* the end of the lame-duck moment */
	int64_t reprobe_ms;
	struct loop_waker waker;
	_Atomic bool tun_failed;
	struct monitor_news news;
	int old_tun_fds[PLUMBING_WORKERS_MAX];
	bool has_old_tun;

	char *problems[DAEMON_PROBLEMS_MAX]; /* by kind, NULL: none */
};

/* One text for each kind of trouble that `status` shows; set again, it replaces; NULL takes it
 * away. Logged when it is new. */
enum daemon_problem {
	PROBLEM_STORE,
	PROBLEM_IPV6,
	PROBLEM_INTERCEPT,
	PROBLEM_TUN,
	PROBLEM_POOL,
	PROBLEM_FORWARD,
	PROBLEM_INJECT,
	PROBLEM_NFLOG,
	PROBLEM_BRIDGE,
	PROBLEM_EXHAUSTED,
	PROBLEM_LEASES,
	PROBLEM_LISTS,
	PROBLEM_RECORDS,
	PROBLEM_NEIGHBOURS,
	PROBLEM_CACHE,
	PROBLEM_LEARNED,
	PROBLEM_DESCRIPTORS,
};
void daemon_set_problem(struct daemon *d, enum daemon_problem kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void daemon_clear_problem(struct daemon *d, enum daemon_problem kind);

uint32_t daemon_clock_s(void); /* the clock of the fake-address table */

/* From when on, and until when, the heartbeat may ask the workers. */
void daemon_set_workers_run(struct daemon *d, bool run);

/* daemon_start.c: everything up to the first intercepted packet. A negative errno after its line
 * was logged. */
int daemon_start(struct daemon *d);

/* daemon_upkeep.c */
/* Looks at all flows that the kernel knows, and so at which addresses nobody uses any more. */
int daemon_sweep(struct daemon *d);
void daemon_upkeep_start(struct daemon *d);
void daemon_upkeep_stop(struct daemon *d);
/* daemon_cache.c: the cache and its file; the file of the servers' addresses. */
int daemon_cache_start(struct daemon *d);
void daemon_cache_configure(struct daemon *d); /* after a reload */
void daemon_addresses_load(struct daemon *d);  /* when there is a generation */
void daemon_cache_tend(struct daemon *d);      /* each second */
void daemon_cache_stop(struct daemon *d);      /* when no worker uses it any more */
/* daemon_learned.c: each second, and as often as files are looked at. */
void daemon_learned_tend(struct daemon *d);
/* daemon_files.c */
void daemon_files_start(struct daemon *d); /* also after a reload, which may change the pace */
void daemon_files_stop(struct daemon *d);
/* The files of this configuration are as they are being read. */
void daemon_files_seen(struct daemon *d, const struct config *config);
void daemon_note_lists(struct daemon *d); /* lists that could not be read, into the problems */
int daemon_renew_records(struct daemon *d);
/* daemon_reload.c: the loader is free: a reload that waits may go on. */
void daemon_reload_next(struct daemon *d);
void daemon_reload_by_signal(struct daemon *d);
void daemon_reload_stop(struct daemon *d);
/* All decide by gen when it returns, but a worker that gets no CPU for half a second; the reference
 * is the daemon's. */
void daemon_use(struct daemon *d, struct generation *gen);

/* daemon_watch.c */
int daemon_watch_start(struct daemon *d);
void daemon_watch_stop(struct daemon *d); /* the loop must run on until daemon_watch_idle() */
bool daemon_watch_idle(const struct daemon *d);
void daemon_watch_free(struct daemon *d);
void daemon_set_ways(struct daemon *d); /* the egresses of the configuration */
void daemon_check_routes(
	struct daemon *d); /* foreign routes inside the pools, forwarding: into the problems */
/* Chooses the way of interception by probing, or as configured, and commits the table if it changes
 * or force is set. */
int daemon_choose_intercept(struct daemon *d, bool force, const char **ret_what);
/* The same while running: an error becomes a problem, and the table of before stays in force. */
void daemon_choose_again(struct daemon *d, bool force);
/* New connections to fake addresses go the way that the policy says now. */
void daemon_forget_decisions(struct daemon *d);

#endif
