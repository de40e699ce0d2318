/* The writer's inside: its thread (writer.c) and what other threads let it do between two batches
 * (writer_calls.c). All that is not atomic or behind the lock is the thread's own. */
#ifndef TUNGATE_NETLINK_WRITER_INTERNAL_H
#define TUNGATE_NETLINK_WRITER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "netlink/sets.h"
#include "netlink/writer.h"

struct writer_call;

struct writer {
	struct writer_config config;
	pthread_t thread;
	int wake_fd;
	struct writer_job *_Atomic submitted; /* a stack */
	_Atomic bool sleeping, stopping, sets_changed;

	pthread_mutex_t lock; /* calls */
	pthread_cond_t called;
	struct writer_call *calls;

	/* The thread's own. */
	struct nft_socket socket;
	struct commit commit;
	struct sets sets;
	struct table_state table;
	struct commit_target nat4, nat6, carried[2];
	/* Indexed by egress, then IPv6; made at their first use. */
	struct writer_target {
		struct commit_target target;
		char name[16];
	} egresses[TABLE_EGRESSES_MAX][2], real[TABLE_EGRESSES_MAX][2];
	char what[64];		    /* of the last writer_table_set() */
	struct writer_job *pending; /* in the order of submission */
	struct writer_job **pending_end;
	int64_t pulse_due_ms, beaten_ms;
	bool alive;
	/* Of the elements of a commit, in order; -1: no item, the result stands beside. */
	int16_t element_items[COMMIT_ITEMS_MAX];
	int element_results[COMMIT_ITEMS_MAX];

	_Atomic uint64_t n_batches, n_elements, n_errors, n_timeouts, n_beats;
};

void writer_wake(struct writer *w);
/* A heartbeat now, if the workers live. The writer's thread. */
void writer_open_gate(struct writer *w);

/* Runs a function in the writer's thread and waits until it has returned. Not for that thread
 * itself. */
void writer_call(struct writer *w, void (*run)(struct writer *w, void *arg), void *arg);
/* The thread's side. */
void writer_calls_run(struct writer *w);
bool writer_calls_waiting(struct writer *w);

#endif
