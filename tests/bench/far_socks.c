/* A far end that does not get in the way: what comes is passed on to one address, by splice, a
 * thread for each direction. far_socks ADDRESS PORT TO TO_PORT; prints "ready", ends with SIGTERM.
 *   PORT      a SOCKS5 server (RFC 1928, without a password); whatever target is asked for, it is
 *             TO and the target's port. UDP ASSOCIATE: every datagram comes back from its target.
 *   PORT + 1  the same without SOCKS5: TCP is passed on to TO:TO_PORT, UDP comes back
 * So both cost the far end the same, but for the handshake and the datagram's header. */
#include "tests/bench/bench.h"
#include "tests/bench/pump.h"

#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#define PIPE_BYTES     ((size_t)128 << 10) /* modest: the gateway wants some, too */
#define BATCH	       64
#define DATAGRAM_BYTES 2048
#define HEADER4_BYTES  10 /* of a datagram with an IPv4 address, RFC 1928 section 7 */

enum command { CONNECT = 1, ASSOCIATE = 3 };
enum kind { IPV4 = 1, NAME = 3, IPV6 = 4 };

static struct sockaddr_storage self, to;
static socklen_t self_len, to_len;

static uint16_t *port_of(struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET6 ? &((struct sockaddr_in6 *)a)->sin6_port
					: &((struct sockaddr_in *)a)->sin_port;
}

static bool take(int fd, void *bytes, size_t n)
{
	return recv(fd, bytes, n, MSG_WAITALL) == (ssize_t)n;
}

/* The command; 0: it is none that we understand. The port is in network order. */
static int read_request(int fd, uint16_t *ret_port)
{
	uint8_t b[260], head[4];
	size_t n;

	if (!take(fd, b, 2) || !take(fd, b + 2, b[1]) || write(fd, "\5\0", 2) != 2 ||
		!take(fd, head, 4))
		return 0;
	switch ((enum kind)head[3]) {
	case IPV4:
		n = 4;
		break;
	case IPV6:
		n = 16;
		break;
	case NAME:
		if (!take(fd, b, 1))
			return 0;
		n = b[0];
		break;
	default:
		return 0;
	}
	return take(fd, b, n) && take(fd, ret_port, 2) ? head[1] : 0;
}

/* The reply names our own address: where datagrams go. */
static bool reply(int fd, uint8_t status)
{
	uint8_t b[22] = {5, status, 0, IPV4};
	size_t n = 4;

	if (self.ss_family == AF_INET6) {
		b[3] = IPV6;
		memcpy(b + n, &((struct sockaddr_in6 *)&self)->sin6_addr, 16);
		n += 16;
	} else {
		memcpy(b + n, &((struct sockaddr_in *)&self)->sin_addr, 4);
		n += 4;
	}
	memcpy(b + n, port_of(&self), 2);
	n += 2;
	return write(fd, b, n) == (ssize_t)n;
}

static int dial(uint16_t port)
{
	struct sockaddr_storage at = to;
	int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*port_of(&at) = port;
	if (fd >= 0 && connect(fd, (struct sockaddr *)&at, to_len)) {
		close(fd);
		return -1;
	}
	bench_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	return fd;
}

static void serve_socks(int fd)
{
	int far = -1;
	uint16_t port = 0;
	int command = read_request(fd, &port);
	uint8_t byte;

	bench_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (command == ASSOCIATE && reply(fd, 0))
		(void)take(fd, &byte, 1); /* the association lives as long as this */
	if (command == CONNECT) {
		far = dial(port);
		if (reply(fd, far < 0 ? 5 : 0) && far >= 0) {
			pump_both(fd, far, PIPE_BYTES);
			return;
		}
	}
	close(fd);
	if (far >= 0)
		close(far);
}

static void serve_plain(int fd)
{
	int far = dial(*port_of(&to));

	bench_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);

	if (far < 0)
		close(fd);
	else
		pump_both(fd, far, PIPE_BYTES);
}

/* How far into the datagram its answer begins: the header names the target, which for a name is any
 * address (10.99.0.2), told in IPv4. */
static size_t datagram_answer(uint8_t *d, size_t len)
{
	static const uint8_t header[] = {0, 0, 0, IPV4, 10, 99, 0, 2};
	size_t name_len = len > 4 ? d[4] : 0, skip;

	if (len < 7 + name_len || d[3] != NAME || name_len < 3)
		return 0;
	skip = 7 + name_len - HEADER4_BYTES;
	memcpy(d + skip, header, sizeof header); /* the port lies there already */
	return skip;
}

static void echo(int fd, bool socks)
{
	static _Thread_local uint8_t data[BATCH][DATAGRAM_BYTES];
	struct sockaddr_storage from[BATCH];
	struct mmsghdr messages[BATCH];
	struct iovec vec[BATCH];
	int n;

	for (int i = 0; i < BATCH; i++) {
		vec[i] = (struct iovec){data[i], DATAGRAM_BYTES};
		messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
			.msg_namelen = sizeof from[i],
			.msg_iov = &vec[i],
			.msg_iovlen = 1};
	}
	n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
	for (int i = 0; i < n; i++) {
		size_t skip = socks ? datagram_answer(data[i], messages[i].msg_len) : 0;

		vec[i] = (struct iovec){data[i] + skip, messages[i].msg_len - skip};
	}
	for (int at = 0; at < n;) {
		int sent = sendmmsg(fd, messages + at, (unsigned)(n - at), 0);

		at += sent > 0 ? sent : 1; /* its sender may be gone */
	}
}

struct way_in {
	int streams, datagrams;
	void (*serve)(int fd);
	bool socks;
};

static void way_in_open(struct way_in *w, uint16_t port)
{
	struct sockaddr_storage at = self;

	*port_of(&at) = htons(port);
	w->streams = bench_bind(SOCK_STREAM, &at, self_len);
	w->datagrams = bench_bind(SOCK_DGRAM, &at, self_len);
	bench_set(w->datagrams, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
	bench_set(w->datagrams, SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20);
}

static void *accept_all(void *arg)
{
	const struct way_in *w = arg;

	pump_accept(w->streams, w->serve);
	return NULL;
}

static void *echo_all(void *arg)
{
	const struct way_in *w = arg;

	for (;;)
		echo(w->datagrams, w->socks);
	return NULL;
}

int main(int argc, char **argv)
{
	struct way_in socks = {.serve = serve_socks, .socks = true}, plain = {.serve = serve_plain};
	pthread_t threads[3];

	if (argc < 5)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	bench_many_files();
	self_len = bench_address(argv[1], argv[2], &self);
	to_len = bench_address(argv[3], argv[4], &to);
	way_in_open(&socks, (uint16_t)atoi(argv[2]));
	way_in_open(&plain, (uint16_t)(atoi(argv[2]) + 1));
	bench_ready();
	if (pthread_create(&threads[0], NULL, accept_all, &socks) ||
		pthread_create(&threads[1], NULL, accept_all, &plain) ||
		pthread_create(&threads[2], NULL, echo_all, &socks))
		return 1;
	echo_all(&plain);
	return 0;
}
