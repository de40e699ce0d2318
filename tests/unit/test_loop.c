/* Operations of the loop on real descriptors. Every test runs twice: as the kernel is, and as on a
 * kernel without any multishot operation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cmocka.h>

#include "gateway/loop/loop_internal.h"

/* An operation that writes down what it is told. */
struct log {
	struct loop_op op;
	unsigned calls, lasts, datagrams;
	int32_t res; /* of the last call */
	int32_t positive[64];
	unsigned positives;
	uint8_t bytes[1 << 16];
	size_t len;
	struct sockaddr_in from;
	uint32_t to_v4; /* of IP_PKTINFO */
	unsigned cmsgs;
	bool truncated;
	bool cancel_in_callback;
};

struct fixture {
	struct loop *l;
	struct loop_buffers *b;
	struct log a, z;
	int pair[2];
};

static void note(struct log *g, int32_t res, bool last)
{
	/* Never again after the last, and never while a callback says it has ended. */
	assert_int_equal(g->lasts, 0);
	assert_int_equal(loop_op_busy(&g->op), !last);
	g->calls++;
	g->lasts += last;
	g->res = res;
	if (res > 0 && g->positives < 64)
		g->positive[g->positives++] = res;
	if (g->cancel_in_callback && !last)
		loop_op_cancel(&g->op);
}

static void noted(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct log *g = (struct log *)op;

	if (res > 0 && data) {
		assert_true(g->len + (size_t)res <= sizeof(g->bytes));
		memcpy(g->bytes + g->len, data, (size_t)res);
		g->len += (size_t)res;
	}
	note(g, res, last);
}

static void noted_datagram(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct log *g = (struct log *)op;
	struct loop_datagram *d = (struct loop_datagram *)data;

	if (d) {
		assert_int_equal(res, d->len);
		assert_true(g->len + d->len <= sizeof(g->bytes));
		memcpy(g->bytes + g->len, d->payload, d->len);
		g->len += d->len;
		g->datagrams++;
		g->truncated = d->truncated;
		if (d->from_len == sizeof(g->from))
			memcpy(&g->from, d->from, sizeof(g->from));
		for (struct cmsghdr *c = loop_cmsg_first(d); c; c = loop_cmsg_next(d, c)) {
			g->cmsgs++;
			if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
				struct in_pktinfo info;

				memcpy(&info, CMSG_DATA(c), sizeof(info));
				g->to_v4 = ntohl(info.ipi_addr.s_addr);
			}
		}
	}
	note(g, res, last);
}

static int setup_with(void **state, unsigned missing)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || loop_new(&f->l))
		return -1;
	loop_force_missing(f->l, missing);
	if (loop_buffers_new(f->l, 1024, 8, &f->b))
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->pair))
		return -1;
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, 0);
}

static int setup_single(void **state)
{
	return setup_with(state, LOOP_MISSING_ALL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_false(loop_op_busy(&f->a.op));
	assert_false(loop_op_busy(&f->z.op));
	for (int i = 0; i < 2; i++)
		if (f->pair[i] >= 0)
			close(f->pair[i]);
	loop_buffers_free(f->b);
	loop_free(f->l);
	free(f);
	return 0;
}

#define TURN_UNTIL(f, what)                                                                        \
	do {                                                                                       \
		for (int turns_ = 0; turns_ < 2000 && !(what); turns_++)                           \
			assert_int_equal(loop_turn((f)->l, 10), 0);                                \
		assert_true(what);                                                                 \
	} while (0)

static void idle_turns(struct fixture *f)
{
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_turn(f->l, 1), 0);
}

static void cancel_and_end(struct fixture *f, struct log *g)
{
	unsigned calls = g->calls;

	loop_op_cancel(&g->op);
	assert_int_equal(g->calls, calls); /* never from within */
	loop_op_cancel(&g->op);
	TURN_UNTIL(f, g->lasts == 1);
	assert_int_equal(g->res, -ECANCELED);
	idle_turns(f);
	assert_int_equal(g->calls, calls + 1);
	loop_op_cancel(&g->op); /* not busy: nothing */
}

static void send_bytes(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int udp_socket(struct sockaddr_in *ret)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*ret);

	*ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
	assert_true(s >= 0);
	assert_int_equal(bind(s, (void *)ret, sizeof(*ret)), 0);
	assert_int_equal(getsockname(s, (void *)ret, &len), 0);
	return s;
}

static int tcp_listener(struct sockaddr_in *ret)
{
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*ret);

	*ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
	assert_int_equal(bind(s, (void *)ret, sizeof(*ret)), 0);
	assert_int_equal(getsockname(s, (void *)ret, &len), 0);
	assert_int_equal(listen(s, 16), 0);
	return s;
}

/* --- receiving --- */

static void test_read_pipe_until_its_end(void **state)
{
	struct fixture *f = *state;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	send_bytes(p[1], "one");
	assert_int_equal(loop_read_start(f->l, &f->a.op, p[0], f->b, noted), 0);
	assert_int_equal(loop_read_start(f->l, &f->a.op, p[0], f->b, noted), -EBUSY);
	TURN_UNTIL(f, f->a.len == 3);
	idle_turns(f);
	send_bytes(p[1], "two");
	TURN_UNTIL(f, f->a.len == 6);
	assert_memory_equal(f->a.bytes, "onetwo", 6);
	assert_int_equal(f->a.lasts, 0);
	close(p[1]);
	TURN_UNTIL(f, f->a.lasts == 1);
	assert_int_equal(f->a.res, 0);
	idle_turns(f);
	assert_int_equal(f->a.lasts, 1);
	close(p[0]);
}

static void test_read_of_a_nonblocking_descriptor(void **state)
{
	struct fixture *f = *state;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(loop_read_start(f->l, &f->a.op, p[0], f->b, noted), 0);
	idle_turns(f);
	for (int i = 1; i <= 20; i++) {
		send_bytes(p[1], "x");
		TURN_UNTIL(f, f->a.len == (size_t)i);
	}
	cancel_and_end(f, &f->a);
	close(p[0]);
	close(p[1]);
}

static void test_read_of_a_regular_file_needs_no_poll(void **state)
{
	struct fixture *f = *state;
	int fd = memfd_create("loop", MFD_CLOEXEC);

	/* A file cannot be polled: multishot read refuses it (-EBADFD), single shots read it. */
	send_bytes(fd, "content");
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(loop_read_start(f->l, &f->a.op, fd, f->b, noted), 0);
	TURN_UNTIL(f, f->a.lasts == 1);
	assert_memory_equal(f->a.bytes, "content", 7);
	assert_int_equal(f->a.len, 7);
	assert_int_equal(f->a.res, 0);
	close(fd);
}

static void test_recv_keeps_order_over_more_than_the_buffers_hold(void **state)
{
	struct fixture *f = *state;
	uint8_t sent[40000];

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 7 + i / 251);
	/* 40 kB at once, 8 buffers of 1 kB: the ring runs dry in the middle, and nobody hears of
	 * it. */
	assert_int_equal(write(f->pair[1], sent, sizeof(sent)), sizeof(sent));
	assert_int_equal(loop_recv_start(f->l, &f->a.op, f->pair[0], f->b, noted), 0);
	TURN_UNTIL(f, f->a.len == sizeof(sent));
	assert_memory_equal(f->a.bytes, sent, sizeof(sent));
	assert_int_equal(f->a.lasts, 0);
	send_bytes(f->pair[1], "after");
	TURN_UNTIL(f, f->a.len == sizeof(sent) + 5);
	close(f->pair[1]);
	f->pair[1] = -1;
	TURN_UNTIL(f, f->a.lasts == 1);
	assert_int_equal(f->a.res, 0);
}

static void test_buffers_grow_from_their_first_64(void **state)
{
	struct fixture *f = *state;
	struct loop_buffers *b;
	uint8_t sent[60000];

	memset(sent, 7, sizeof(sent));
	assert_int_equal(loop_buffers_new(f->l, 64, 512, &b), 0);
	assert_int_equal(b->provided, 64);
	assert_int_equal(write(f->pair[1], sent, sizeof(sent)), sizeof(sent));
	assert_int_equal(loop_recv_start(f->l, &f->a.op, f->pair[0], b, noted), 0);
	TURN_UNTIL(f, f->a.len == sizeof(sent));
	assert_memory_equal(f->a.bytes, sent, sizeof(sent));
	/* Only one that takes all it can in one go runs them dry. */
	if (!f->l->missing)
		assert_true(b->provided > 64 && b->provided <= 512);
	cancel_and_end(f, &f->a);
	loop_buffers_free(b);
}

static void test_recv_once(void **state)
{
	struct fixture *f = *state;

	send_bytes(f->pair[1], "first");
	assert_int_equal(loop_recv_once(f->l, &f->a.op, f->pair[0], f->b, noted), 0);
	TURN_UNTIL(f, f->a.lasts == 1);
	assert_memory_equal(f->a.bytes, "first", 5);
	assert_int_equal(f->a.res, 5);
	send_bytes(f->pair[1], "second");
	idle_turns(f);
	assert_int_equal(f->a.calls, 1);
	assert_int_equal(loop_recv_once(f->l, &f->z.op, f->pair[0], f->b, noted), 0);
	TURN_UNTIL(f, f->z.lasts == 1);
	assert_int_equal(f->z.len, 6);
}

static void test_recv_of_datagrams_does_not_end_at_an_empty_one(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in sa, sb;
	int a = udp_socket(&sa), b = udp_socket(&sb);

	assert_int_equal(connect(a, (void *)&sb, sizeof(sb)), 0);
	assert_int_equal(connect(b, (void *)&sa, sizeof(sa)), 0);
	assert_int_equal(loop_recv_start(f->l, &f->a.op, a, f->b, noted), 0);
	assert_int_equal(send(b, "", 0, 0), 0);
	TURN_UNTIL(f, f->a.calls == 1);
	assert_int_equal(f->a.res, 0);
	assert_int_equal(f->a.lasts, 0);
	send_bytes(b, "query");
	TURN_UNTIL(f, f->a.len == 5);
	close(b);
	/* The peer is gone: our own datagram brings an ICMP error, and that is an end. */
	send_bytes(a, "anybody");
	TURN_UNTIL(f, f->a.lasts == 1);
	assert_int_equal(f->a.res, -ECONNREFUSED);
	close(a);
}

static void test_recvmsg_tells_sender_target_and_truncation(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in sa, sb;
	int a = udp_socket(&sa), b = udp_socket(&sb), one = 1;
	char big[1200] = {0};
	struct loop_buffers *small;

	assert_int_equal(setsockopt(a, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one)), 0);
	assert_int_equal(setsockopt(a, IPPROTO_IP, IP_RECVTTL, &one, sizeof(one)), 0);
	assert_int_equal(loop_recvmsg_start(f->l, &f->a.op, a, f->b, noted_datagram), 0);
	idle_turns(f);
	assert_int_equal(sendto(b, "hello", 5, 0, (void *)&sa, sizeof(sa)), 5);
	TURN_UNTIL(f, f->a.datagrams == 1);
	assert_memory_equal(f->a.bytes, "hello", 5);
	assert_int_equal(f->a.from.sin_port, sb.sin_port);
	assert_int_equal(f->a.from.sin_addr.s_addr, sb.sin_addr.s_addr);
	assert_int_equal(f->a.to_v4, 0x7f000001);
	assert_int_equal(f->a.cmsgs, 2);
	assert_false(f->a.truncated);

	assert_int_equal(sendto(b, "", 0, 0, (void *)&sa, sizeof(sa)), 0);
	TURN_UNTIL(f, f->a.datagrams == 2);
	assert_int_equal(f->a.res, 0);
	assert_int_equal(f->a.lasts, 0);

	assert_int_equal(sendto(b, big, sizeof(big), 0, (void *)&sa, sizeof(sa)), sizeof(big));
	TURN_UNTIL(f, f->a.datagrams == 3);
	assert_true(f->a.truncated);
	assert_true(f->a.res <= 1024);

	/* More than the buffers hold, each with its own content. */
	f->a.len = 0;
	for (uint8_t i = 0; i < 100; i++)
		assert_int_equal(sendto(b, &i, 1, 0, (void *)&sa, sizeof(sa)), 1);
	TURN_UNTIL(f, f->a.datagrams == 103);
	for (uint8_t i = 0; i < 100; i++)
		assert_int_equal(f->a.bytes[i], i);
	cancel_and_end(f, &f->a);

	assert_int_equal(loop_buffers_new(f->l, LOOP_DATAGRAM_OVERHEAD, 2, &small), 0);
	assert_int_equal(loop_recvmsg_start(f->l, &f->z.op, a, small, noted_datagram), -EINVAL);
	loop_buffers_free(small);
	close(a);
	close(b);
}

static void test_two_operations_share_buffers(void **state)
{
	struct fixture *f = *state;
	uint8_t sent[20000];
	int other[2];

	memset(sent, 'x', sizeof(sent));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other), 0);
	assert_int_equal(write(f->pair[1], sent, sizeof(sent)), sizeof(sent));
	assert_int_equal(write(other[1], sent, sizeof(sent)), sizeof(sent));
	assert_int_equal(loop_recv_start(f->l, &f->a.op, f->pair[0], f->b, noted), 0);
	assert_int_equal(loop_recv_start(f->l, &f->z.op, other[0], f->b, noted), 0);
	TURN_UNTIL(f, f->a.len == sizeof(sent) && f->z.len == sizeof(sent));
	cancel_and_end(f, &f->a);
	cancel_and_end(f, &f->z);
	close(other[0]);
	close(other[1]);
}

/* --- connections --- */

static void test_accept_connect_send(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in sa;
	int listener = tcp_listener(&sa), c[3];
	static uint8_t sent[2 << 20];
	struct log *out = calloc(1, sizeof(*out));
	size_t got = 0;

	assert_non_null(out);
	assert_int_equal(loop_accept_start(f->l, &f->a.op, listener, noted), 0);
	for (int i = 0; i < 3; i++) {
		struct log *g = calloc(1, sizeof(*g));

		assert_non_null(g);
		c[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(
			loop_connect(f->l, &g->op, c[i], (void *)&sa, sizeof(sa), noted), 0);
		TURN_UNTIL(f, g->lasts == 1);
		assert_int_equal(g->res, 0);
		free(g);
	}
	TURN_UNTIL(f, f->a.positives == 3);
	assert_true(fcntl(f->a.positive[0], F_GETFD) & FD_CLOEXEC);

	/* More than socket buffers hold: ends only when all is gone. */
	memset(sent, 'y', sizeof(sent));
	assert_int_equal(loop_send(f->l, &out->op, c[0], sent, sizeof(sent), noted), 0);
	idle_turns(f);
	while (got < sizeof(sent)) {
		static uint8_t part[65536];
		ssize_t n = recv(f->a.positive[0], part, sizeof(part), MSG_DONTWAIT);

		if (n > 0)
			got += (size_t)n;
		else
			assert_int_equal(loop_turn(f->l, 10), 0);
	}
	TURN_UNTIL(f, out->lasts == 1);
	assert_int_equal(out->res, sizeof(sent));
	assert_int_equal(out->calls, 1);

	cancel_and_end(f, &f->a);
	for (int i = 0; i < 3; i++) {
		close(c[i]);
		close(f->a.positive[i]);
	}
	close(listener);
	free(out);
}

static void test_connect_refused_and_send_to_nobody(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in sa;
	int listener = tcp_listener(&sa), c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	close(listener);
	assert_int_equal(loop_connect(f->l, &f->a.op, c, (void *)&sa, sizeof(sa), noted), 0);
	TURN_UNTIL(f, f->a.lasts == 1);
	assert_int_equal(f->a.res, -ECONNREFUSED);
	close(c);

	close(f->pair[1]);
	f->pair[1] = -1;
	/* No SIGPIPE: we are still here. */
	assert_int_equal(loop_send(f->l, &f->z.op, f->pair[0], "x", 1, noted), 0);
	TURN_UNTIL(f, f->z.lasts == 1);
	assert_int_equal(f->z.res, -EPIPE);
}

static void test_a_send_that_hangs_is_cancelled(void **state)
{
	struct fixture *f = *state;
	static uint8_t sent[4 << 20];

	assert_int_equal(loop_send(f->l, &f->a.op, f->pair[0], sent, sizeof(sent), noted), 0);
	idle_turns(f);
	assert_int_equal(f->a.calls, 0);
	loop_op_cancel(&f->a.op);
	TURN_UNTIL(f, f->a.lasts == 1);
	/* Nothing or a part went out; the owner closes the connection either way. */
	assert_true(f->a.res == -ECANCELED || (f->a.res > 0 && f->a.res < (int32_t)sizeof(sent)));
	assert_int_equal(f->a.calls, 1);
}

static void test_poll_tells_of_each_arrival(void **state)
{
	struct fixture *f = *state;
	char c[8];

	assert_int_equal(loop_poll_start(f->l, &f->a.op, f->pair[0], POLLIN, noted), 0);
	idle_turns(f);
	assert_int_equal(f->a.calls, 0);
	for (unsigned i = 1; i <= 3; i++) {
		unsigned before = f->a.calls;

		send_bytes(f->pair[1], "x");
		TURN_UNTIL(f, f->a.calls > before);
		assert_true(f->a.res & POLLIN);
		assert_int_equal(recv(f->pair[0], c, sizeof(c), MSG_DONTWAIT), 1);
	}
	cancel_and_end(f, &f->a);
}

static void test_poll_once_tells_of_a_state_once(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(loop_poll_once(f->l, &f->a.op, f->pair[0], POLLIN, noted), 0);
	idle_turns(f);
	assert_int_equal(f->a.calls, 0);
	send_bytes(f->pair[1], "x");
	TURN_UNTIL(f, f->a.calls);
	assert_int_equal(f->a.res & (POLLIN | POLLOUT), POLLIN);
	assert_int_equal(f->a.lasts, 1);
	send_bytes(f->pair[1], "x");
	idle_turns(f);
	assert_int_equal(f->a.calls, 1);
	/* What is there already is told, too. */
	f->a = (struct log){0};
	assert_int_equal(loop_poll_once(f->l, &f->a.op, f->pair[0], POLLIN | POLLOUT, noted), 0);
	TURN_UNTIL(f, f->a.calls);
	assert_int_equal(f->a.res & (POLLIN | POLLOUT), POLLIN | POLLOUT);
	assert_int_equal(f->a.lasts, 1);
	/* Asked for nothing, it still tells of the end. */
	assert_int_equal(loop_poll_once(f->l, &f->z.op, f->pair[0], 0, noted), 0);
	idle_turns(f);
	assert_int_equal(f->z.calls, 0);
	close(f->pair[1]);
	f->pair[1] = -1;
	TURN_UNTIL(f, f->z.calls);
	assert_true(f->z.res & POLLHUP);
	assert_int_equal(f->z.lasts, 1);
}

static void test_poll_once_is_cancelled(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(loop_poll_once(f->l, &f->a.op, f->pair[0], POLLIN, noted), 0);
	idle_turns(f);
	cancel_and_end(f, &f->a);
	assert_int_equal(f->a.res, -ECANCELED);
}

/* --- ends --- */

static void test_cancel_before_the_first_turn(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(loop_recv_start(f->l, &f->a.op, f->pair[0], f->b, noted), 0);
	cancel_and_end(f, &f->a);
}

static void test_cancel_from_within_the_callback(void **state)
{
	struct fixture *f = *state;

	f->a.cancel_in_callback = true;
	assert_int_equal(loop_recv_start(f->l, &f->a.op, f->pair[0], f->b, noted), 0);
	send_bytes(f->pair[1], "x");
	TURN_UNTIL(f, f->a.lasts == 1);
	assert_int_equal(f->a.len, 1);
	assert_int_equal(f->a.calls, 2);
	assert_int_equal(f->a.res, -ECANCELED);
	/* What came after the cancelling is still in the socket. */
	send_bytes(f->pair[1], "later");
	assert_int_equal(loop_recv_once(f->l, &f->z.op, f->pair[0], f->b, noted), 0);
	TURN_UNTIL(f, f->z.lasts == 1);
	assert_memory_equal(f->z.bytes, "later", 5);
}

static void test_cancel_races_with_data(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 300; i++) {
		struct log g = {0};

		assert_int_equal(loop_recv_start(f->l, &g.op, f->pair[0], f->b, noted), 0);
		if (i % 3 == 0)
			assert_int_equal(loop_turn(f->l, 0), 0);
		send_bytes(f->pair[1], "x");
		if (i % 2 == 0)
			assert_int_equal(loop_turn(f->l, 0), 0);
		loop_op_cancel(&g.op);
		TURN_UNTIL(f, g.lasts == 1);
		/* Told, or still there; never lost. */
		if (g.len == 0) {
			char c;

			assert_int_equal(recv(f->pair[0], &c, 1, MSG_DONTWAIT), 1);
		}
	} /* g is gone: ASan would see a late completion */
	idle_turns(f);
}

static unsigned restarts;

static void restart(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	(void)data;
	assert_true(last);
	if (res > 0 && ++restarts < 10)
		assert_int_equal(loop_recv_once(op->loop, op, op->fd, op->buffers, restart), 0);
}

static void test_restart_in_the_last_callback(void **state)
{
	struct fixture *f = *state;

	restarts = 0;
	assert_int_equal(loop_recv_once(f->l, &f->a.op, f->pair[0], f->b, restart), 0);
	for (unsigned i = 1; i <= 10; i++) {
		send_bytes(f->pair[1], "x");
		TURN_UNTIL(f, restarts == i);
	}
	assert_false(loop_op_busy(&f->a.op));
}

static void test_a_bad_descriptor_ends_with_its_error(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(loop_read_start(f->l, &f->a.op, 9999, f->b, noted), 0);
	assert_int_equal(loop_accept_start(f->l, &f->z.op, f->pair[0], noted), 0);
	TURN_UNTIL(f, f->a.lasts == 1 && f->z.lasts == 1);
	assert_int_equal(f->a.res, -EBADF);
	assert_true(f->z.res == -EINVAL || f->z.res == -EOPNOTSUPP);
	idle_turns(f);
}

#define MANY (3 * LOOP_SQ_ENTRIES)

struct small {
	struct loop_op op;
	unsigned ends, calls;
	struct small *takes_along;
};

static void small_done(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct small *s = (struct small *)op;

	(void)res;
	(void)data;
	s->calls++;
	s->ends += last;
	if (last && s->takes_along)
		loop_op_cancel(&s->takes_along->op);
}

/* Started before there is a thread to submit for; some are cancelled before they got into the ring,
 * and their end cancels another that waits just as they do. */
static void test_more_operations_than_the_ring_has_room_for(void **state)
{
	struct fixture *f = *state;
	struct small *s = calloc(MANY, sizeof(*s));
	unsigned busy;

	assert_non_null(s);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(
			loop_poll_start(f->l, &s[i].op, f->pair[0], POLLIN, small_done), 0);
	for (unsigned i = 0; i < MANY; i += 8) {
		s[i].takes_along = &s[i + 1];
		s[i + 4].takes_along = &s[(i + MANY / 2) % MANY + 5];
		loop_op_cancel(&s[i].op);
		loop_op_cancel(&s[i + 4].op);
	}
	for (unsigned turns = 0; turns < 200; turns++)
		assert_int_equal(loop_turn(f->l, 1), 0);
	for (unsigned i = 0; i < MANY; i++) {
		bool ended = i % 8 == 0 || i % 8 == 1 || i % 8 == 4 || i % 8 == 5;

		assert_int_equal(s[i].ends, ended);
		assert_int_equal(s[i].calls, ended);
		assert_int_equal(loop_op_busy(&s[i].op), !ended);
	}
	/* The others are all in the ring: news reaches every one. */
	send_bytes(f->pair[1], "x");
	for (unsigned turns = 0; turns < 1000; turns++)
		assert_int_equal(loop_turn(f->l, 0), 0);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(s[i].calls > 0);
	for (unsigned i = 0; i < MANY; i++)
		loop_op_cancel(&s[i].op); /* overflows the submit buffer with cancel requests */
	for (unsigned turns = 0; turns < 2000; turns++) {
		assert_int_equal(loop_turn(f->l, 1), 0);
		busy = 0;
		for (unsigned i = 0; i < MANY; i++)
			busy += loop_op_busy(&s[i].op);
		if (!busy)
			break;
	}
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(s[i].ends, 1);
	free(s);
}

static void test_buffers_arguments_and_groups(void **state)
{
	struct fixture *f = *state;
	struct loop_buffers *b[LOOP_GROUPS_MAX];
	struct loop_buffers *none = NULL;

	assert_int_equal(loop_buffers_new(f->l, 64, 0, &none), -EINVAL);
	assert_int_equal(loop_buffers_new(f->l, 64, 3, &none), -EINVAL);
	assert_int_equal(loop_buffers_new(f->l, 64, 65536, &none), -EINVAL);
	assert_int_equal(loop_buffers_new(f->l, 0, 4, &none), -EINVAL);
	for (int i = 1; i < LOOP_GROUPS_MAX; i++)
		assert_int_equal(loop_buffers_new(f->l, 64, 2, &b[i]), 0);
	assert_int_equal(loop_buffers_new(f->l, 64, 2, &none), -ENOSPC);
	assert_null(none);
	loop_buffers_free(b[5]);
	assert_int_equal(loop_buffers_new(f->l, 64, 2, &b[5]), 0);
	for (int i = 1; i < LOOP_GROUPS_MAX; i++)
		loop_buffers_free(b[i]);
	loop_buffers_free(NULL);
}

static void test_cmsg_walk_stays_inside(void **state)
{
	_Alignas(struct cmsghdr) uint8_t control[64] = {0};
	struct loop_datagram d = {.control = control, .control_len = 0};
	struct cmsghdr *c = (struct cmsghdr *)control;

	(void)state;
	assert_null(loop_cmsg_first(&d));
	d.control_len = 24;
	c->cmsg_len = 3; /* shorter than its own header */
	assert_null(loop_cmsg_first(&d));
	c->cmsg_len = 25; /* longer than what there is */
	assert_null(loop_cmsg_first(&d));
	c->cmsg_len = 20;
	assert_ptr_equal(loop_cmsg_first(&d), c);
	assert_null(loop_cmsg_next(&d, c));
	d.control_len = 48;
	((struct cmsghdr *)(control + 24))->cmsg_len = 25;
	assert_null(loop_cmsg_next(&d, c));
	((struct cmsghdr *)(control + 24))->cmsg_len = 24;
	assert_ptr_equal(loop_cmsg_next(&d, c), control + 24);
}

static void test_every_error_has_its_hint(void **state)
{
	(void)state;
	assert_non_null(strstr(loop_error_hint(-ENOSYS), "CONFIG_IO_URING"));
	assert_non_null(strstr(loop_error_hint(-EPERM), "kernel.io_uring_disabled"));
	assert_non_null(strstr(loop_error_hint(-EOPNOTSUPP), "5.19"));
	assert_non_null(strstr(loop_error_hint(-ENOMEM), "LimitMEMLOCK"));
	assert_non_null(strstr(loop_error_hint(-EMFILE), "LimitNOFILE"));
}

static int loop_new_without(bool uring_allowed, bool descriptors)
{
	struct sock_filter deny[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = {.len = sizeof(deny) / sizeof(deny[0]), .filter = deny};
	const struct rlimit none = {3, 3};
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		struct loop *l = NULL;

		if (!uring_allowed && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
					      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog)))
			_exit(255);
		if (!descriptors && setrlimit(RLIMIT_NOFILE, &none))
			_exit(255);
		_exit(-loop_new(&l));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static void test_new_says_why_not(void **state)
{
	(void)state;
	assert_int_equal(loop_new_without(true, true), 0);
	assert_int_equal(loop_new_without(false, true), -EPERM);
	assert_int_equal(loop_new_without(true, false), -EMFILE);
}

#define BOTH(test)                                                                                 \
	{#test, test, setup, teardown, NULL},                                                      \
	{                                                                                          \
#test " (single shots)", test, setup_single, teardown, NULL                        \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_read_pipe_until_its_end),
		BOTH(test_read_of_a_nonblocking_descriptor),
		BOTH(test_read_of_a_regular_file_needs_no_poll),
		BOTH(test_recv_keeps_order_over_more_than_the_buffers_hold),
		BOTH(test_buffers_grow_from_their_first_64),
		BOTH(test_recv_once),
		BOTH(test_recv_of_datagrams_does_not_end_at_an_empty_one),
		BOTH(test_recvmsg_tells_sender_target_and_truncation),
		BOTH(test_two_operations_share_buffers),
		BOTH(test_accept_connect_send),
		BOTH(test_connect_refused_and_send_to_nobody),
		BOTH(test_a_send_that_hangs_is_cancelled),
		BOTH(test_poll_tells_of_each_arrival),
		BOTH(test_poll_once_tells_of_a_state_once),
		BOTH(test_poll_once_is_cancelled),
		BOTH(test_cancel_before_the_first_turn),
		BOTH(test_cancel_from_within_the_callback),
		BOTH(test_cancel_races_with_data),
		BOTH(test_restart_in_the_last_callback),
		BOTH(test_a_bad_descriptor_ends_with_its_error),
		BOTH(test_more_operations_than_the_ring_has_room_for),
		BOTH(test_buffers_arguments_and_groups),
		cmocka_unit_test(test_cmsg_walk_stays_inside),
		cmocka_unit_test(test_every_error_has_its_hint),
		cmocka_unit_test(test_new_says_why_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
