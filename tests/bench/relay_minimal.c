/* The yardstick for new relayed connections: one thread behind tproxy that only connects and
 * copies. Decides nothing, remembers nothing, holds no SYN.
 *
 *   relay_minimal ADDRESS PORT PROXY PROXY-PORT [plain]     (all IPv4)
 *
 * It asks the proxy for one fixed target by SOCKS5 (RFC 1928, no authentication), or, plain, copies
 * at once. An end or a reset of one side is a reset for both: one that only counts connections must
 * not run out of ports by TIME-WAIT. Prints "ready", ends with SIGTERM. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, BUFFER = 64 << 10, REQUEST = 10 };

enum step { CONNECTING, GREETED, ASKED, COPYING };

struct side {
	struct flow *flow;
	int fd;
};

struct flow {
	struct side client, proxy;
	enum step step;
	int dead; /* freed behind the events of this round */
	struct flow *next_dead;
};

static struct sockaddr_in proxy;
/* CONNECT to 192.0.2.1:80 */
static const uint8_t request[REQUEST] = {5, 1, 0, 1, 192, 0, 2, 1, 0, 80};
static int plain, epoll;
static struct flow *dead;

static void watch(struct side *s, int op, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = s};

	epoll_ctl(epoll, op, s->fd, &e);
}

static void reset(int fd)
{
	const struct linger now = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(fd);
}

static void end(struct flow *f)
{
	reset(f->client.fd);
	reset(f->proxy.fd);
	f->dead = 1;
	f->next_dead = dead;
	dead = f;
}

static void start(int client)
{
	const int one = 1;
	struct flow *f = calloc(1, sizeof *f);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (!f || fd < 0) {
		free(f);
		reset(client);
		return;
	}
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	f->client = (struct side){f, client};
	f->proxy = (struct side){f, fd};
	if (connect(fd, (struct sockaddr *)&proxy, sizeof proxy) && errno != EINPROGRESS) {
		reset(client);
		reset(fd);
		free(f);
		return;
	}
	watch(&f->proxy, EPOLL_CTL_ADD, EPOLLOUT);
}

static int copy_begin(struct flow *f)
{
	f->step = COPYING;
	watch(&f->client, EPOLL_CTL_ADD, EPOLLIN);
	return 1;
}

static int send_all(int fd, const uint8_t *data, ssize_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, (size_t)len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = fd, .events = POLLOUT};

			if (poll(&p, 1, 5000) < 1)
				return 0;
		} else if (n < 0) {
			return 0;
		} else {
			data += n;
			len -= n;
		}
	}
	return 1;
}

/* The proxy's side before copying begins. Its answers come in one piece each. 0: it is over. */
static int greet(struct flow *f)
{
	uint8_t answer[64];
	ssize_t n;

	if (f->step == CONNECTING) {
		watch(&f->proxy, EPOLL_CTL_MOD, EPOLLIN);
		if (plain)
			return copy_begin(f);
		f->step = GREETED;
		return send_all(f->proxy.fd, (const uint8_t *)"\5\1\0", 3);
	}
	n = recv(f->proxy.fd, answer, sizeof answer, 0);
	if (n < 2 || answer[1] != 0)
		return 0;
	if (f->step == ASKED)
		return copy_begin(f);
	f->step = ASKED;
	return send_all(f->proxy.fd, request, sizeof request);
}

static int copy(struct side *s)
{
	static uint8_t buffer[BUFFER];
	struct flow *f = s->flow;
	ssize_t n = recv(s->fd, buffer, sizeof buffer, 0);

	if (n < 0 && errno == EAGAIN)
		return 1;
	return n > 0 && send_all(s == &f->client ? f->proxy.fd : f->client.fd, buffer, n);
}

static struct sockaddr_in address(const char *ip, const char *port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};

	if (inet_pton(AF_INET, ip, &a.sin_addr) != 1) {
		fprintf(stderr, "%s is no IPv4 address\n", ip);
		exit(2);
	}
	return a;
}

static int listen_transparent(struct sockaddr_in at)
{
	const int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (setsockopt(fd, SOL_IP, IP_TRANSPARENT, &one, sizeof one) ||
		bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 65535)) {
		perror("listen");
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	struct side listener = {0};

	plain = argc == 6 && strcmp(argv[5], "plain") == 0;
	if (argc != 5 && !plain) {
		fputs("relay_minimal ADDRESS PORT PROXY PROXY-PORT [plain]\n", stderr);
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);
	proxy = address(argv[3], argv[4]);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	listener.fd = listen_transparent(address(argv[1], argv[2]));
	watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(epoll, events, EVENTS, -1), client;

		for (int i = 0; i < n; i++) {
			struct side *s = events[i].data.ptr;
			struct flow *f = s->flow;

			if (!f) {
				while ((client = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0)
					start(client);
			} else if (!f->dead && !(f->step == COPYING ? copy(s) : greet(f))) {
				end(f);
			}
		}
		while (dead) {
			struct flow *f = dead;

			dead = f->next_dead;
			free(f);
		}
	}
}
