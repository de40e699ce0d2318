/* New connections: on each one byte is sent, one waited for, and it is closed with a reset.
 *   connects rate ADDRESS PORT SECONDS AT_ONCE   prints connections a second, failures, and the
 *                                                median and the 99th percentile in microseconds
 *   connects hold ADDRESS PORT COUNT             opens COUNT, prints how many echoed and keeps them
 *                                                until standard input ends
 *   connects one ADDRESS PORT COUNT [socks]      one after the other: prints the median and the
 *                                                99th percentile of connect(2) in microseconds;
 *                                                socks: and of a SOCKS5 handshake behind it */
#include "tests/bench/bench.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS	     256
#define OPENING_MAX  256 /* while there are connections to hold */
#define SAMPLES_MAX  (1 << 22)
#define HOLD_MAX_S   60
#define ONE_WARM_UP  20
#define RECV_LIMIT_S 5

struct conn {
	int fd;
	bool asked; /* the byte has left */
	double began_s;
};

struct load {
	struct sockaddr_storage to;
	socklen_t to_len;
	int poller;
	bool hold;
	struct conn *conns;
	size_t started, done, failed;
	float *samples_us;
};

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* The share of the samples, sorted here. */
static double percentile(float *samples, size_t n, size_t percent)
{
	if (!n)
		return 0;
	qsort(samples, n, sizeof *samples, compare);
	return (double)samples[n * percent / 100];
}

static int stream_socket(const struct load *l, int flags)
{
	const struct linger reset = {.l_onoff = 1};
	int fd = socket(l->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	bench_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	return fd;
}

static void conn_start(struct load *l, struct conn *c)
{
	struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};

	l->started++;
	c->asked = false;
	c->began_s = bench_now_s();
	c->fd = stream_socket(l, SOCK_NONBLOCK);
	if (c->fd < 0 ||
		(connect(c->fd, (struct sockaddr *)&l->to, l->to_len) && errno != EINPROGRESS) ||
		epoll_ctl(l->poller, EPOLL_CTL_ADD, c->fd, &e)) {
		perror("connect");
		exit(1);
	}
}

/* True: it is over, well or not. */
static bool conn_event(struct load *l, struct conn *c, uint32_t events)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
	char byte = 'x';

	if (!c->asked && !(events & (EPOLLERR | EPOLLHUP)) && write(c->fd, &byte, 1) == 1) {
		c->asked = true;
		epoll_ctl(l->poller, EPOLL_CTL_MOD, c->fd, &e);
		return false;
	}
	if (!c->asked || read(c->fd, &byte, 1) != 1) {
		l->failed++;
		return true;
	}
	if (l->done < SAMPLES_MAX)
		l->samples_us[l->done] = (float)((bench_now_s() - c->began_s) * 1e6);
	l->done++;
	return true;
}

static void load_turn(struct load *l, size_t count)
{
	struct epoll_event e[EVENTS];
	int n = epoll_wait(l->poller, e, EVENTS, 100);

	for (int i = 0; i < n; i++) {
		struct conn *c = e[i].data.ptr;

		if (!conn_event(l, c, e[i].events))
			continue;
		if (l->hold) {
			epoll_ctl(l->poller, EPOLL_CTL_DEL, c->fd, NULL);
			if (l->started < count)
				conn_start(l, &l->conns[l->started]);
		} else {
			close(c->fd);
			conn_start(l, c);
		}
	}
}

static int load_run(struct load *l, double seconds, size_t count)
{
	double began_s = bench_now_s(), taken_s;
	size_t first = l->hold && count > OPENING_MAX ? OPENING_MAX : count, samples;

	l->conns = calloc(count, sizeof *l->conns);
	l->samples_us = malloc(SAMPLES_MAX * sizeof *l->samples_us);
	l->poller = epoll_create1(EPOLL_CLOEXEC);
	if (!l->conns || !l->samples_us || l->poller < 0)
		return 1;
	while (l->started < first)
		conn_start(l, &l->conns[l->started]);
	while (bench_now_s() - began_s < seconds && (!l->hold || l->done + l->failed < count))
		load_turn(l, count);
	taken_s = bench_now_s() - began_s;
	samples = l->done < SAMPLES_MAX ? l->done : SAMPLES_MAX;
	if (l->hold) {
		printf("%zu\n", l->done);
		fflush(stdout);
		while (getchar() != EOF)
			;
	} else {
		printf("%.0f %zu %.0f %.0f\n", (double)l->done / taken_s, l->failed,
			percentile(l->samples_us, samples, 50),
			percentile(l->samples_us, samples, 99));
	}
	return 0;
}

static bool handshake(int fd)
{
	static const uint8_t greeting[] = {5, 1, 0}, request[] = {5, 1, 0, 3, 8, 'x', '.', 'b', 'e',
							     'n', 'c', 'h', '.', 0, 80};
	uint8_t in[16];

	return write(fd, greeting, sizeof greeting) == sizeof greeting &&
	       recv(fd, in, 2, MSG_WAITALL) == 2 &&
	       write(fd, request, sizeof request) == sizeof request &&
	       recv(fd, in, 10, MSG_WAITALL) == 10 && in[1] == 0;
}

static int one_by_one(struct load *l, size_t count, bool socks)
{
	const struct timeval limit = {.tv_sec = RECV_LIMIT_S};

	l->samples_us = malloc(count * sizeof *l->samples_us);
	if (!l->samples_us)
		return 1;
	for (size_t i = 0; i < count + ONE_WARM_UP; i++) {
		int fd = stream_socket(l, 0);
		double began_s = bench_now_s();

		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
		if (connect(fd, (struct sockaddr *)&l->to, l->to_len) ||
			(socks && !handshake(fd))) {
			perror("connect");
			return 1;
		}
		if (i >= ONE_WARM_UP)
			l->samples_us[i - ONE_WARM_UP] = (float)((bench_now_s() - began_s) * 1e6);
		close(fd);
		usleep(200); /* what the close causes is not the next one's */
	}
	printf("%.0f %.0f\n", percentile(l->samples_us, count, 50),
		percentile(l->samples_us, count, 99));
	return 0;
}

int main(int argc, char **argv)
{
	static struct load l;

	if (argc < 5) {
		fprintf(stderr, "usage: connects rate|hold|one ADDRESS PORT ...\n");
		return 2;
	}
	bench_many_files();
	l.to_len = bench_address(argv[2], argv[3], &l.to);
	if (strcmp(argv[1], "one") == 0)
		return one_by_one(&l, strtoul(argv[4], NULL, 10), argc > 5);
	l.hold = strcmp(argv[1], "hold") == 0;
	if (l.hold)
		return load_run(&l, HOLD_MAX_S, strtoul(argv[4], NULL, 10));
	return argc > 5 ? load_run(&l, atof(argv[4]), strtoul(argv[5], NULL, 10)) : 2;
}
