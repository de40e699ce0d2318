#include "gateway/serve/socket.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKET_BUFFER_BYTES (4 << 20) /* a burst of the LAN waits here while a turn runs */
#define BACKLOG		    4096      /* the kernel's net.core.somaxconn bounds it */

static int set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof value) ? -errno : 0;
}

static void set_buffers(int fd)
{
	if (set(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER_BYTES))
		set(fd, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER_BYTES);
	if (set(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER_BYTES))
		set(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER_BYTES);
}

/* Else who was asked is told by the socket, and answers leave from there by themselves. */
static bool is_any_address(const struct serve_socket_config *c)
{
	static const uint8_t zero[16];

	return c->transparent || memcmp(c->at.addr.b, zero, sizeof zero) == 0;
}

static int configure(int fd, const struct serve_socket_config *c, bool shared)
{
	bool v6 = c->at.addr.family == IP_V6;
	int error = 0;

	if (shared)
		error = set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (!error && (c->stream || c->transparent))
		error = set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!error && v6)
		error = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (!error && !c->stream && is_any_address(c))
		error = v6 ? set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
			   : set(fd, IPPROTO_IP, IP_PKTINFO, 1);
	if (!error && c->original)
		error = v6 ? set(fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1)
			   : set(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
	if (!error && c->transparent)
		error = v6 ? set(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
			   : set(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
	else if (!error)
		error = v6 ? set(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1)
			   : set(fd, IPPROTO_IP, IP_FREEBIND, 1);
	if (!error && c->mark)
		error = set(fd, SOL_SOCKET, SO_MARK, (int)c->mark);
	return error;
}

static int open_bound(const struct serve_socket_config *c, bool shared)
{
	int type = c->stream ? SOCK_STREAM : SOCK_DGRAM, error;
	struct sockaddr_storage sa;
	socklen_t len = ip_port_to_sockaddr(&c->at, &sa);
	int fd = socket(sa.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	error = configure(fd, c, shared);
	if (!error && bind(fd, (struct sockaddr *)&sa, len))
		error = -errno;
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}

int serve_socket_open(const struct serve_socket_config *config)
{
	int fd = open_bound(config, true), error;

	if (fd < 0)
		return fd;
	if (!config->stream) {
		set_buffers(fd);
		return fd;
	}
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (listen(fd, BACKLOG)) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

int serve_socket_probe(const struct serve_socket_config *config)
{
	int fd = open_bound(config, false);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

uint16_t serve_socket_port(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	struct ip_port at;

	if (getsockname(fd, (struct sockaddr *)&sa, &len))
		return 0;
	ip_port_from_sockaddr((struct sockaddr *)&sa, &at);
	return at.port;
}

bool serve_socket_lingers(const struct ip_port *at)
{
	char wanted[48], line[256];
	uint32_t word[4];
	bool v6 = at->addr.family == IP_V6, found = false;
	FILE *file = fopen(v6 ? "/proc/net/udp6" : "/proc/net/udp", "re");

	if (!file)
		return false;
	memcpy(word, at->addr.b, sizeof word);
	if (v6)
		snprintf(wanted, sizeof wanted, ": %08X%08X%08X%08X:%04X ", word[0], word[1],
			word[2], word[3], at->port);
	else
		snprintf(wanted, sizeof wanted, ": %08X:%04X ", word[0], at->port);
	while (!found && fgets(line, sizeof line, file))
		found = strstr(line, wanted) != NULL;
	fclose(file);
	return found;
}
