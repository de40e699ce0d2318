/* What only the files of gateway/loop (and its unit tests) see. The loop's own thread, but `woken`,
 * `stop` and `last_turn_ms`, which are the whole of what threads share. */
#ifndef TUNGATE_LOOP_INTERNAL_H
#define TUNGATE_LOOP_INTERNAL_H

#include <liburing.h>
#include <stdatomic.h>

#include "gateway/loop/loop.h"

#define LOOP_SQ_ENTRIES	     1024
#define LOOP_CQ_ENTRIES	     8192
#define LOOP_BATCH	     256 /* completions dispatched in one turn */
#define LOOP_GROUPS_MAX	     64	 /* buffer rings a loop */
#define LOOP_READS_IN_FLIGHT 8	 /* where READ_MULTISHOT is missing */
#define LOOP_CONTROL_BYTES   128 /* for control messages, per datagram */

/* Parts that the running kernel lacks; the single-shot way is taken. */
enum loop_missing {
	LOOP_NO_READ_MULTISHOT = 1,
	LOOP_NO_RECV_MULTISHOT = 2,
	LOOP_NO_ACCEPT_MULTISHOT = 4,
	LOOP_NO_POLL_MULTISHOT = 8,
	LOOP_MISSING_ALL = 15,
};

struct loop {
	struct io_uring ring;
	int64_t now_ms;
	bool enabled;		 /* the ring knows its thread */
	uint8_t missing;	 /* enum loop_missing */
	struct loop_op *starved; /* operations that found no place in the submit buffer, a queue */
	struct loop_op *starved_last;
	struct loop_timer **heap;
	uint32_t timer_count, timer_room;
	struct loop_hook *hooks;
	struct loop_waker *wakers;
	struct loop_op wake_op;
	int wake_fd;
	atomic_bool woken, stop;
	_Atomic int64_t last_turn_ms;
	uint64_t groups; /* buffer group ids in use, a bit each */
	struct msghdr datagram_shape;
	struct io_uring_cqe batch[LOOP_BATCH];
};

struct loop_buffers {
	struct loop *loop;
	struct io_uring_buf_ring *ring;
	uint8_t *memory;
	size_t ring_bytes, memory_bytes;
	uint32_t size_bytes, stride_bytes;
	uint32_t count;
	uint32_t provided; /* given to the kernel so far; grows to count */
	uint16_t group;
};

/* For tests: behave as on a kernel without these. Before the first turn and operation. */
void loop_force_missing(struct loop *l, unsigned missing);

/* loop.c: a free submission entry; submits when the buffer is full. NULL: the kernel takes no more
 * now. */
struct io_uring_sqe *loop_sqe(struct loop *l);

/* op.c */
void loop_op_complete(struct loop *l, const struct io_uring_cqe *c);
void loop_op_retry_starved(struct loop *l);

/* buffers.c */
static inline uint8_t *loop_buffer_at(const struct loop_buffers *b, uint32_t id)
{
	return b->memory + (size_t)id * b->stride_bytes;
}
void loop_buffers_give_back(struct loop_buffers *b, uint32_t id);
void loop_buffers_grow(struct loop_buffers *b); /* the kernel ran out */

/* timer.c */
void loop_timers_fire(struct loop *l);
int64_t loop_timers_wait_ms(const struct loop *l); /* until the next; 0: due; negative: none */

/* wake.c */
int loop_wake_init(struct loop *l);
int loop_wake_listen(struct loop *l); /* from the loop's thread on */
void loop_wake_fini(struct loop *l);
void loop_wake_run(struct loop *l);

#endif
