/* The least that forwards DNS over UDP, and the yardstick for latency: each question goes on from
 * one socket as it is, and its answer to whoever asked with that id last.
 *   forward_dns ADDRESS PORT TO TO_PORT
 * prints "ready", ends with SIGTERM. */
#include "tests/bench/bench.h"

#include <sys/epoll.h>

#define MESSAGE_MAX 4096

static struct sockaddr_in asked[65536]; /* by id */

static void to_far_end(int listener, int upstream)
{
	uint8_t message[MESSAGE_MAX];
	struct sockaddr_in from;
	socklen_t from_len = sizeof from;
	ssize_t len = recvfrom(listener, message, sizeof message, MSG_DONTWAIT,
		(struct sockaddr *)&from, &from_len);

	if (len < 12)
		return;
	asked[message[0] << 8 | message[1]] = from;
	(void)send(upstream, message, (size_t)len, 0);
}

static void to_client(int listener, int upstream)
{
	uint8_t message[MESSAGE_MAX];
	ssize_t len = recv(upstream, message, sizeof message, MSG_DONTWAIT);

	if (len >= 12)
		(void)sendto(listener, message, (size_t)len, 0,
			(struct sockaddr *)&asked[message[0] << 8 | message[1]], sizeof *asked);
}

int main(int argc, char **argv)
{
	struct sockaddr_storage at, to;
	struct epoll_event e = {.events = EPOLLIN}, happened[2];
	socklen_t at_len, to_len;
	int listener, upstream, poller = epoll_create1(EPOLL_CLOEXEC);

	if (argc < 5)
		return 2;
	at_len = bench_address(argv[1], argv[2], &at);
	to_len = bench_address(argv[3], argv[4], &to);
	listener = bench_bind(SOCK_DGRAM, &at, at_len);
	upstream = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (upstream < 0 || connect(upstream, (struct sockaddr *)&to, to_len)) {
		perror("connect");
		return 1;
	}
	e.data.fd = listener;
	epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
	e.data.fd = upstream;
	epoll_ctl(poller, EPOLL_CTL_ADD, upstream, &e);
	bench_ready();
	for (;;) {
		int n = epoll_wait(poller, happened, 2, -1);

		for (int i = 0; i < n; i++) {
			if (happened[i].data.fd == listener)
				to_far_end(listener, upstream);
			else
				to_client(listener, upstream);
		}
	}
}
