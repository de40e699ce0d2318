/* A far end of new connections that costs next to nothing: one thread, echoes what comes.
 * far_echo ADDRESS PORT; prints "ready", ends with SIGTERM. On PORT + 1 the same behind a SOCKS5
 * handshake, whatever the target; each of its messages is taken to come in one piece. */
#include "tests/bench/bench.h"

#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SOCKETS_MAX (1 << 16)
#define EVENTS	    256

enum step { GREETING, REQUEST, ECHO };

static uint8_t steps[SOCKETS_MAX]; /* enum step */
static int poller;

static void watch(int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e))
		perror("epoll_ctl");
}

static void accept_all(int listener, enum step first)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (fd >= SOCKETS_MAX) {
			close(fd);
			continue;
		}
		bench_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		steps[fd] = (uint8_t)first;
		watch(fd);
	}
}

static void answer(int fd)
{
	static const uint8_t method[] = {5, 0}, reply[] = {5, 0, 0, 1, 0, 0, 0, 0, 0, 0};
	uint8_t bytes[4096];
	ssize_t n = read(fd, bytes, sizeof bytes);
	const void *out = bytes;

	if (n <= 0) {
		close(fd);
		return;
	}
	switch ((enum step)steps[fd]) {
	case GREETING:
		out = method;
		n = sizeof method;
		steps[fd] = REQUEST;
		break;
	case REQUEST:
		out = reply;
		n = sizeof reply;
		steps[fd] = ECHO;
		break;
	case ECHO:
		break;
	}
	if (write(fd, out, (size_t)n) != n)
		close(fd);
}

static int listen_at(const char *address, int port)
{
	struct sockaddr_storage at;
	char text[8];
	socklen_t len;
	int fd;

	snprintf(text, sizeof text, "%d", port);
	len = bench_address(address, text, &at);
	fd = bench_bind(SOCK_STREAM | SOCK_NONBLOCK, &at, len);
	watch(fd);
	return fd;
}

int main(int argc, char **argv)
{
	struct epoll_event e[EVENTS];
	int plain, socks;

	if (argc < 3)
		return 2;
	bench_many_files();
	poller = epoll_create1(EPOLL_CLOEXEC);
	plain = listen_at(argv[1], atoi(argv[2]));
	socks = listen_at(argv[1], atoi(argv[2]) + 1);
	bench_ready();
	for (;;) {
		int n = epoll_wait(poller, e, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			int fd = e[i].data.fd;

			if (fd == plain)
				accept_all(fd, ECHO);
			else if (fd == socks)
				accept_all(fd, GREETING);
			else
				answer(fd);
		}
	}
}
