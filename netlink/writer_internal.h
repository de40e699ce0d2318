/* The writer's inside: its lanes (lane.c), the jobs that are handed to them (writer.c), the sets of
 * our own table (own_sets.c), what other threads let the first lane do between two batches
 * (writer_calls.c). What is not atomic or behind a lock is one lane's own. */
#ifndef TUNGATE_NETLINK_WRITER_INTERNAL_H
#define TUNGATE_NETLINK_WRITER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "netlink/heartbeat.h"
#include "netlink/sets.h"
#include "netlink/writer.h"

enum lane_kind { LANE_HASH, LANE_SLOW, LANE_IPSET };

/* An element that a lane has in hand, and what became of it. */
struct lane_element {
	struct writer_element *e;
	int16_t item; /* of the commit; -1: none, result stands */
	int16_t result;
	struct shadow *shadow; /* that remembers it; NULL: none does */
	uint32_t mark;
};

struct lane {
	struct writer *w;
	enum lane_kind kind;
	pthread_t thread;
	_Atomic bool started, sleeping, stopping;
	_Atomic unsigned turns;
	_Atomic bool news;     /* of sets: what is known of them has to be read again */
	_Atomic bool tend_due; /* sets may have to be looked at, or filled */
	int wake_fd;
	struct writer_part *_Atomic submitted; /* a stack */

	/* The thread's own. */
	struct nft_socket socket;
	struct commit *commit;	     /* NULL: the lane of ipsets */
	struct writer_part *pending; /* in the order of submission */
	struct writer_part **pending_end;
	struct lane_element *elements; /* COMMIT_ITEMS_MAX, of one batch */
	bool tends;		       /* sets have to be filled on */
	size_t tended;		       /* the next of the sets, see sets_fill() */
	int64_t look_due_ms, sweep_due_ms;
};

struct writer_call;

struct own_set { /* of our table, made at its first use */
	struct commit_target target;
	char name[TABLE_SET_NAME_MAX];
	struct shadow shadow;
};

struct writer {
	struct writer_config config;
	struct lane lanes[WRITER_LANES];
	struct commit_tables tables;
	struct sets sets;
	struct heartbeat *heartbeat;

	pthread_mutex_t lock; /* calls */
	pthread_cond_t called;
	struct writer_call *calls;

	/* The first lane's own. */
	struct table_state table;
	struct commit_target nat4, nat6;
	struct own_set *egresses[TABLE_EGRESSES_MAX][2]; /* by egress, then IPv6 */
	/* Real addresses that an egress carries; the last: the relay. Any thread reads them. */
	struct own_set *_Atomic real[TABLE_EGRESSES_MAX + 1][2];
	char what[64]; /* of the last writer_table_set() */

	_Atomic uint64_t n_batches, n_elements, n_errors, n_timeouts, n_refilled;
};

/* --- lane.c --- */
/* 0: it runs, or ran before. Any lane's thread or the main thread. */
int lane_start(struct lane *l);
void lane_stop(struct lane *l);
void lane_wake(struct lane *l);
/* Waits until it is through with what it does now: it then wakes nobody whose jobs are all back. */
void lane_settle(struct lane *l);
void lane_submit(struct lane *l, struct writer_part *part);

/* --- writer.c --- */
/* One lane is through with its part. The job is not to be touched afterwards. */
void writer_part_done(struct writer_part *part, int error);

/* --- own_sets.c: the first lane's, but for the last --- */
void own_sets_init(struct writer *w);
void own_sets_fini(struct writer *w);
/* Where an element of our table goes, and what remembers it (NULL: nothing). *ret NULL: there is
 * nothing to do. 0, -ENOENT, -EINVAL, -ENOMEM. */
int own_set_find(struct writer *w, const struct writer_element *e, struct commit_target **ret,
	struct shadow **ret_shadow);
/* The table was made anew: what was remembered of its sets does not hold. */
void own_sets_forget(struct writer *w);
bool own_set_holds(struct writer *w, const struct writer_element *e, int64_t now_ms);

/* --- writer_calls.c --- */
/* Runs a function in the first lane's thread and waits until it has returned. Not for that thread
 * itself. */
void writer_call(struct writer *w, void (*run)(struct writer *w, void *arg), void *arg);
/* The thread's side. */
void writer_calls_run(struct writer *w);
bool writer_calls_waiting(struct writer *w);

#endif
