/* The plainest UDP forwarder, and the bar for ours: what comes from a client goes to one place from
 * a socket of this client's, what that brings goes back. forward_plain ADDRESS PORT TO TO_PORT
 * BATCH takes up to BATCH datagrams a call (1: recvmsg and sendmsg); prints "ready", ends with
 * SIGTERM. */
#include "tests/bench/bench.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BATCH_MAX   64
#define CLIENTS_MAX 256
#define BYTES	    2048

struct client {
	struct sockaddr_in at;
	int fd; /* connected to the far end */
};

static struct client clients[CLIENTS_MAX];
static unsigned n_clients;
static struct sockaddr_storage to;
static socklen_t to_len;
static int poller, batch;

static uint8_t data[BATCH_MAX][BYTES];
static struct sockaddr_in from[BATCH_MAX];
static struct iovec vec[BATCH_MAX];
static struct mmsghdr messages[BATCH_MAX];

static void watch(int fd, uint32_t number)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = number};

	epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
}

static void more_room(int fd)
{
	bench_set(fd, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
	bench_set(fd, SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20);
}

static struct client *client_of(const struct sockaddr_in *at)
{
	struct client *c;

	for (unsigned i = 0; i < n_clients; i++) {
		c = &clients[i];
		if (c->at.sin_port == at->sin_port && c->at.sin_addr.s_addr == at->sin_addr.s_addr)
			return c;
	}
	if (n_clients == CLIENTS_MAX)
		return NULL;
	c = &clients[n_clients];
	c->at = *at;
	c->fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, to_len)) {
		perror("connect");
		exit(1);
	}
	more_room(c->fd);
	watch(c->fd, ++n_clients);
	return c;
}

static int receive(int fd, bool named)
{
	for (int i = 0; i < batch; i++) {
		vec[i] = (struct iovec){data[i], BYTES};
		messages[i].msg_hdr = (struct msghdr){.msg_name = named ? &from[i] : NULL,
			.msg_namelen = named ? sizeof from[i] : 0,
			.msg_iov = &vec[i],
			.msg_iovlen = 1};
	}
	if (batch > 1)
		return recvmmsg(fd, messages, (unsigned)batch, MSG_DONTWAIT, NULL);
	ssize_t n = recvmsg(fd, &messages[0].msg_hdr, MSG_DONTWAIT);

	messages[0].msg_len = n > 0 ? (unsigned)n : 0;
	return n < 0 ? -1 : 1;
}

static void send_some(int fd, int first, int n)
{
	if (n > 1)
		(void)sendmmsg(fd, messages + first, (unsigned)n, 0);
	else if (n)
		(void)sendmsg(fd, &messages[first].msg_hdr, 0);
}

/* What follows each other from one client leaves together. */
static void to_far_end(int n)
{
	int fd = -1, first = 0;

	for (int i = 0; i < n; i++) {
		struct client *c = client_of(&from[i]);

		if (!c || c->fd != fd) {
			send_some(fd, first, i - first);
			fd = c ? c->fd : -1;
			first = i;
		}
		vec[i].iov_len = messages[i].msg_len;
		messages[i].msg_hdr.msg_name = NULL;
		messages[i].msg_hdr.msg_namelen = 0;
	}
	send_some(fd, first, n - first);
}

static void to_client(int listener, struct client *c, int n)
{
	for (int i = 0; i < n; i++) {
		vec[i].iov_len = messages[i].msg_len;
		messages[i].msg_hdr.msg_name = &c->at;
		messages[i].msg_hdr.msg_namelen = sizeof c->at;
	}
	send_some(listener, 0, n);
}

int main(int argc, char **argv)
{
	struct sockaddr_storage at;
	struct epoll_event e[64];
	socklen_t at_len;
	int listener;

	if (argc < 6)
		return 2;
	at_len = bench_address(argv[1], argv[2], &at);
	to_len = bench_address(argv[3], argv[4], &to);
	batch = atoi(argv[5]);
	if (batch < 1 || batch > BATCH_MAX)
		return 2;
	listener = bench_bind(SOCK_DGRAM, &at, at_len);
	more_room(listener);
	poller = epoll_create1(EPOLL_CLOEXEC);
	watch(listener, 0);
	bench_ready();
	for (;;) {
		int n = epoll_wait(poller, e, 64, -1);

		for (int i = 0; i < n; i++) {
			uint32_t number = e[i].data.u32;
			int got = receive(number ? clients[number - 1].fd : listener, number == 0);

			if (got > 0 && number)
				to_client(listener, &clients[number - 1], got);
			else if (got > 0)
				to_far_end(got);
		}
	}
}
