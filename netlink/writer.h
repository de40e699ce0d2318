/* The netlink writer: the threads that own everything that is written into nft and ipset while the
 * daemon runs. Workers hand it jobs; what has gathered is committed in one batch (group commit),
 * and the jobs come back with the kernel's acknowledgement. Three lanes, each a thread with a
 * socket of its own, so that none waits for another's sets: nft's hash sets with our own table and
 * the calls of other threads; nft's interval and concatenated sets, which take the kernel long;
 * ipsets. The last two begin with the first set that needs them. Beside them beats the heartbeat.
 *
 * One bad set never hurts another: when a batch fails, the elements of the set that failed are
 * taken out with their error and the rest is sent again. EEXIST is success. What was put in is
 * remembered with its time (shadow.h); what the kernel loses of it is put in again. */
#ifndef TUNGATE_NETLINK_WRITER_H
#define TUNGATE_NETLINK_WRITER_H

#include "conf/config.h"
#include "gateway/base/addr.h"
#include "netlink/heartbeat.h"
#include "netlink/monitor.h"
#include "netlink/table.h"

#include <stdatomic.h>

struct writer;
struct nl_set; /* a user's nft set or ipset, shared by all who use it */

struct writer_config {
	struct heartbeat_config heartbeat;
	/* A set's state changed: text says which and what (one clear line). Called in the writer's
	 * thread. */
	void (*set_changed)(void *arg, const char *text);
	void *arg;
};

int writer_start(const struct writer_config *config, struct writer **ret);
void writer_stop(
	struct writer *w); /* ends the thread, closes the socket: the kernel drops the table */

/* Builds the whole table anew in one transaction, keeping nothing of an older one but elements of
 * nat4/nat6 and the other filled sets that are still valid; waits at most 2 s. 0 or negative errno
 * (-EPERM: no CAP_NET_ADMIN; -EOPNOTSUPP and *ret_what: the kernel lacks this expression, for
 * example "tproxy"). Main thread. */
int writer_table_set(struct writer *w, const struct table_config *config, const char **ret_what);
/* Whether the table is another living process's: -EBUSY; 0: it is ours, or there is none. Main
 * thread. */
int writer_table_check(struct writer *w);
/* Takes the table out: from here on nothing is intercepted, and no heartbeat is sent. Jobs for
 * users' sets go on. 0 or negative errno; 0 if there is none. Main thread. */
int writer_table_drop(struct writer *w);
/* A named counter of the table. Main thread. */
int writer_counter(struct writer *w, const char *name, uint64_t *ret_packets);

/* --- users' sets --- */
/* The handle of a set with its template; the same for the same conf_set_format(). It is given back
 * as often as it was taken, and no job with it is out then. Reads the set's kind at once (a set
 * that is not there is told through set_changed and looked for again when it is used, at most once
 * a second, or when the monitor says so). -ENOSPC beyond WRITER_SETS_MAX sets in use. Main
 * thread. */
#define WRITER_SETS_MAX 4096
int writer_set_get(struct writer *w, const struct conf_set *set, struct nl_set **ret);
/* Whether both name one set of the kernel, as far as we tell them apart. Any thread. */
bool writer_set_is_same(const struct conf_set *a, const struct conf_set *b);
/* One more user; one less: of a set that nobody uses nothing is told or put in again. Any thread,
 * before writer_stop(). */
struct nl_set *writer_set_ref(struct nl_set *set);
void writer_set_unref(struct nl_set *set);
/* The monitor's news of sets: what is live and lost is put in again. Main thread. */
void writer_set_event(struct writer *w, const struct monitor_set_event *event);
/* The monitor missed news: every set is read and filled again. Main thread. */
void writer_sets_lost(struct writer *w);
/* The ports of our sockets that commit, for monitor_set_own(). Returns how many. */
size_t writer_ports(const struct writer *w, uint32_t ret[MONITOR_OWN_MAX]);
struct writer_set_info {
	char text[CONF_SET_TEXT_MAX]; /* "4#inet#fw4#cn4" */
	const char *state; /* "ok", "missing", "wrong type", "no timeout", "full", "error" */
	uint64_t elements; /* of ours, live, in the kernel */
	uint64_t errors;
};
/* Those in use. Main thread. */
size_t writer_set_list(struct writer *w, struct writer_set_info *ret, size_t max);

/* --- jobs --- */
enum writer_op {
	WRITER_SET_ADD,	   /* addr into user set `set`, timeout_s (0: permanent) */
	WRITER_NAT_SET,	   /* fake → real in nat4/nat6, timeout_s; replaces another real */
	WRITER_NAT_DELETE, /* fake; not there: fine */
	WRITER_EGRESS_SET, /* fake into the set of egress `number`, timeout_s; fine if it needs none
			    */
	/* A real address that egress `number` carries: into its own set if it is a direct one with
	 * a mark, else into the relay's (see table.h), timeout_s; fine if there is none. */
	WRITER_REAL_SET,
};
struct writer_element {
	enum writer_op op;
	uint8_t lane; /* the writer's */
	bool fresh;   /* set by the writer: it was not there before, as far as was known */
	struct nl_set *set;
	unsigned number;
	uint32_t timeout_s;
	uint32_t need_s;     /* SET_ADD, REAL_SET: what is there for so long is left as it is */
	struct ip_addr addr; /* for NAT and EGRESS: the fake address */
	struct ip_addr real;
};
/* SET_ADD and REAL_SET: nothing has to be done: the address is there for need_s more seconds as far
 * as we know, or is none for this set. client: who asks, for templates. A hash look-up, no
 * allocation. Any thread. */
bool writer_holds(struct writer *w, const struct writer_element *e, const struct ip_addr *client,
	int64_t now_ms);

/* SET_ADD of an answer that leaves at once, without a job: the address goes in together with what
 * the set has lost, as soon as the kernel lets it; nobody is told. False: not a user's set's. Any
 * thread, without waiting for the kernel. */
bool writer_want(struct writer *w, const struct writer_element *e, const struct ip_addr *client);

#define WRITER_JOB_ELEMENTS 64
#define WRITER_LANES	    3
struct writer_client;
struct writer_job;
struct writer_part { /* of a job, in one lane */
	struct writer_part *next;
	struct writer_job *job;
	bool again; /* it is tried a second time */
};
struct writer_job {
	struct writer_job *next; /* the client's */
	struct writer_part parts[WRITER_LANES];
	_Atomic unsigned n_parts;     /* that are not done */
	_Atomic int error;	      /* the first of any lane */
	struct writer_client *client; /* set before writer_submit() */
	struct ip_addr asker;	      /* whom the answer is for, IP_NONE: nobody; for templates */
	void (*done)(
		struct writer_job *job); /* called by writer_client_run(), in the client's thread */
	int result; /* 0, or the first negative errno of an element; -ETIMEDOUT */
	unsigned n;
	struct writer_element elements[WRITER_JOB_ELEMENTS];
};
/* A client is a thread that gets its jobs back. wake(arg) is called from the writer's thread when
 * some are done. */
int writer_client_new(
	struct writer *w, void (*wake)(void *arg), void *arg, struct writer_client **ret);
void writer_client_free(struct writer_client *c); /* no job may be out; before writer_stop() */
void writer_submit(struct writer *w,
	struct writer_job *job); /* any thread; the job is the writer's until done() */
void writer_client_run(struct writer_client *c); /* calls done() of all finished jobs */

struct writer_stats {
	uint64_t batches, elements, errors, timeouts;
	uint64_t refilled; /* elements that the kernel had lost */
	uint64_t beats;	   /* heartbeats committed */
};
void writer_stats(struct writer *w, struct writer_stats *ret);

#endif
