/* What threads share with a loop: wake, stop, the time of the last turn. Meant for ThreadSanitizer,
 * too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/loop/loop_internal.h"

#define ASKERS 4
#define ASKS   20000

struct host {
	struct loop *loop;
	struct loop_waker waker;
	_Atomic unsigned asked; /* what the askers have put down */
	unsigned seen;		/* what the loop's thread has picked up */
	unsigned runs;
	int result;
};

static void pause_ms(long ms)
{
	struct timespec t = {.tv_nsec = ms * 1000000};

	nanosleep(&t, NULL);
}

static void pick_up(struct loop_waker *w)
{
	struct host *h = (struct host *)((char *)w - offsetof(struct host, waker));

	h->runs++;
	h->seen += atomic_exchange(&h->asked, 0);
	if (h->seen == ASKERS * ASKS)
		loop_stop(h->loop);
}

static void *run(void *arg)
{
	struct host *h = arg;

	h->result = loop_run(h->loop);
	return NULL;
}

static void *ask(void *arg)
{
	struct host *h = arg;

	for (unsigned i = 0; i < ASKS; i++) {
		atomic_fetch_add(&h->asked, 1);
		loop_wake(h->loop);
		if (i % 1000 == 0)
			(void)loop_last_turn_ms(h->loop);
	}
	return NULL;
}

static void wake_with(unsigned missing)
{
	struct host h = {.waker.woken = pick_up};
	pthread_t runner, askers[ASKERS];

	assert_int_equal(loop_new(&h.loop), 0);
	loop_force_missing(h.loop, missing);
	loop_on_wake(h.loop, &h.waker);
	assert_int_equal(pthread_create(&runner, NULL, run, &h), 0);
	for (unsigned i = 0; i < ASKERS; i++)
		assert_int_equal(pthread_create(&askers[i], NULL, ask, &h), 0);
	for (unsigned i = 0; i < ASKERS; i++)
		pthread_join(askers[i], NULL);
	pthread_join(runner, NULL); /* it stops itself: no request was lost */
	assert_int_equal(h.result, 0);
	assert_int_equal(h.seen, ASKERS * ASKS);
	assert_true(h.runs >= 1 && h.runs <= ASKERS * ASKS);
	loop_free(h.loop);
}

static void test_no_wake_up_is_lost(void **state)
{
	(void)state;
	wake_with(0);
	wake_with(LOOP_MISSING_ALL);
}

static void test_stop_from_another_thread(void **state)
{
	struct host h = {.waker.woken = pick_up};
	pthread_t runner;
	int64_t before;

	(void)state;
	assert_int_equal(loop_new(&h.loop), 0);
	before = loop_last_turn_ms(h.loop);
	assert_int_equal(pthread_create(&runner, NULL, run, &h), 0);
	do { /* until it runs */
		pause_ms(1);
		loop_wake(h.loop);
	} while (loop_last_turn_ms(h.loop) == before);
	loop_stop(h.loop);
	pthread_join(runner, NULL);
	assert_int_equal(h.result, 0);
	loop_free(h.loop);
}

static void test_stop_before_run_is_not_forgotten(void **state)
{
	struct host h = {.waker.woken = pick_up};
	pthread_t runner;

	(void)state;
	assert_int_equal(loop_new(&h.loop), 0);
	loop_stop(h.loop);
	assert_int_equal(pthread_create(&runner, NULL, run, &h), 0);
	pthread_join(runner, NULL);
	assert_int_equal(h.result, 0);
	loop_free(h.loop);
}

static void count_only(struct loop_waker *w)
{
	struct host *h = (struct host *)((char *)w - offsetof(struct host, waker));

	h->runs++;
}

static void test_a_burst_of_wakes_is_one_run(void **state)
{
	struct host h = {.waker.woken = count_only};
	uint64_t written;

	(void)state;
	assert_int_equal(loop_new(&h.loop), 0);
	loop_on_wake(h.loop, &h.waker);
	for (int round = 1; round <= 3; round++) {
		for (int i = 0; i < 100; i++)
			loop_wake(h.loop);
		for (int i = 0; i < 3; i++)
			assert_int_equal(loop_turn(h.loop, 0), 0);
		assert_int_equal(h.runs, round);
	}
	/* One write a burst reached the kernel. */
	assert_int_equal(read(h.loop->wake_fd, &written, sizeof(written)), sizeof(written));
	assert_int_equal(written, 3);
	loop_free(h.loop);
}

struct received {
	struct loop_op op;
	char text[16];
	unsigned ends;
};

static void receive(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct received *r = (struct received *)op;

	r->ends += last;
	if (res > 0 && res < (int32_t)sizeof(r->text)) {
		memcpy(r->text, data, (size_t)res);
		loop_stop(op->loop);
	}
}

struct worker {
	struct loop *loop;
	struct received received;
	int result;
};

static void *work_and_drain(void *arg)
{
	struct worker *w = arg;

	w->result = loop_run(w->loop);
	loop_op_cancel(&w->received.op);
	for (int i = 0; i < 1000 && loop_op_busy(&w->received.op); i++)
		w->result |= loop_turn(w->loop, 10);
	return NULL;
}

/* As the daemon does it: made and filled by the main thread, run by a worker, freed by the main
 * thread. */
static void test_made_here_run_there_freed_here(void **state)
{
	struct worker w = {0};
	struct loop_buffers *b;
	pthread_t runner;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(loop_new(&w.loop), 0);
	assert_int_equal(loop_buffers_new(w.loop, 64, 4, &b), 0);
	assert_int_equal(loop_recv_start(w.loop, &w.received.op, pair[0], b, receive), 0);
	assert_int_equal(pthread_create(&runner, NULL, work_and_drain, &w), 0);
	assert_int_equal(write(pair[1], "hello", 6), 6);
	pthread_join(runner, NULL);
	assert_int_equal(w.result, 0);
	assert_string_equal(w.received.text, "hello");
	assert_int_equal(w.received.ends, 1);
	loop_buffers_free(b);
	loop_free(w.loop);
	close(pair[0]);
	close(pair[1]);
}

struct flood {
	struct sockaddr_in to;
	_Atomic bool stop;
};

static void *flood(void *arg)
{
	struct flood *f = arg;
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	for (unsigned i = 0; !f->stop; i++) {
		sendto(s, "packet", 6, 0, (void *)&f->to, sizeof(f->to));
		if (i % 64 == 0)
			usleep(i % 200);
	}
	close(s);
	return NULL;
}

struct counter {
	struct loop_op op;
	unsigned ends, after_the_end;
};

static unsigned packets;

static void count(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct counter *c = (struct counter *)op;

	(void)res;
	c->after_the_end += c->ends;
	c->ends += last;
	packets += data != NULL;
}

static int start_kind(int kind, struct loop *l, struct loop_op *op, int fd, struct loop_buffers *b)
{
	if (kind == 0)
		return loop_recvmsg_start(l, op, fd, b, count);
	if (kind == 1)
		return loop_read_start(l, op, fd, b, count);
	return loop_recv_once(l, op, fd, b, count);
}

/* Two operations on one socket take each other's packets, while they are cancelled at any moment:
 * each ends, once, and its memory (the stack of a round) is never touched again. */
static void cancel_under_flood(unsigned missing)
{
	struct flood f = {.to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)}};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(f.to);
	struct loop_buffers *b;
	struct loop *l;
	pthread_t sender;

	packets = 0;
	assert_int_equal(bind(s, (void *)&f.to, sizeof(f.to)), 0);
	assert_int_equal(getsockname(s, (void *)&f.to, &len), 0);
	assert_int_equal(loop_new(&l), 0);
	loop_force_missing(l, missing);
	assert_int_equal(loop_buffers_new(l, 1024, 32, &b), 0);
	assert_int_equal(pthread_create(&sender, NULL, flood, &f), 0);
	for (int round = 0; round < 600 || packets <= 100; round++) {
		struct counter c[2] = {0};

		assert_int_equal(start_kind(round % 3, l, &c[0].op, s, b), 0);
		assert_int_equal(start_kind(round % 3, l, &c[1].op, s, b), 0);
		for (int i = 0; i < round % 4; i++)
			assert_int_equal(loop_turn(l, 1), 0);
		loop_op_cancel(&c[0].op);
		loop_op_cancel(&c[1].op);
		for (int i = 0; i < 6000 && c[0].ends + c[1].ends < 2; i++)
			assert_int_equal(loop_turn(l, 10), 0);
		assert_int_equal(c[0].ends, 1);
		assert_int_equal(c[1].ends, 1);
		assert_int_equal(c[0].after_the_end + c[1].after_the_end, 0);
	}
	f.stop = true;
	pthread_join(sender, NULL);
	loop_buffers_free(b);
	loop_free(l);
	close(s);
}

static void test_cancel_under_flood(void **state)
{
	(void)state;
	cancel_under_flood(0);
	cancel_under_flood(LOOP_MISSING_ALL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_wake_up_is_lost),
		cmocka_unit_test(test_stop_from_another_thread),
		cmocka_unit_test(test_stop_before_run_is_not_forgotten),
		cmocka_unit_test(test_a_burst_of_wakes_is_one_run),
		cmocka_unit_test(test_made_here_run_there_freed_here),
		cmocka_unit_test(test_cancel_under_flood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
