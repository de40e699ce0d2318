/* What the loads and the far ends share. */
#ifndef TUNGATE_BENCH_H
#define TUNGATE_BENCH_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

static inline double bench_now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The address's length; ends the program if it is none. */
static inline socklen_t bench_address(
	const char *text, const char *port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof *ret);
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)atoi(port));
		return sizeof *v4;
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)atoi(port));
		return sizeof *v6;
	}
	fprintf(stderr, "%s: not an address\n", text);
	exit(2);
}

static inline void bench_set(int fd, int level, int name, int value)
{
	(void)setsockopt(fd, level, name, &value, sizeof value);
}

/* A socket that is bound, and listens if it is a stream's; ends the program if that fails. */
static inline int bench_bind(int type, const struct sockaddr_storage *at, socklen_t at_len)
{
	int fd = socket(at->ss_family, type | SOCK_CLOEXEC, 0);

	bench_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	bench_set(fd, SOL_IP, IP_TRANSPARENT, 1);
	if (fd < 0 || bind(fd, (const struct sockaddr *)at, at_len) ||
		((type & 15) == SOCK_STREAM && listen(fd, 65535))) {
		perror("bind");
		exit(1);
	}
	return fd;
}

/* As many sockets as the kernel lets us have. */
static inline void bench_many_files(void)
{
	struct rlimit most = {1 << 20, 1 << 20};

	(void)setrlimit(RLIMIT_NOFILE, &most);
}

/* A query for A of a name, id 0, recursion desired, in at most 271 bytes. Its length; 0: no name.
 */
static inline size_t bench_question(uint8_t *q, const char *name)
{
	uint8_t *at = q + 12;
	size_t len = strlen(name);

	if (len == 0 || len > 253)
		return 0;
	memset(q, 0, 12);
	q[2] = 1;
	q[5] = 1;
	while (*name) {
		size_t label_len = strcspn(name, ".");

		if (label_len == 0 || label_len > 63)
			return 0;
		*at++ = (uint8_t)label_len;
		memcpy(at, name, label_len);
		at += label_len;
		name += label_len + (name[label_len] == '.');
	}
	memcpy(at, "\0\0\1\0\1", 5);
	return (size_t)(at + 5 - q);
}

/* Is this how a name on a block list is answered: NXDOMAIN, no record, or the address 0.0.0.0? */
static inline bool bench_blocked(const uint8_t *answer, size_t len)
{
	static const uint8_t nowhere[6] = {0, 4, 0, 0, 0, 0};
	unsigned rcode = len < 12 ? 2 : answer[3] & 15;

	return rcode == 3 ||
	       (rcode == 0 && (answer[7] == 0 || memmem(answer + 12, len - 12, nowhere, 6)));
}

static inline void bench_ready(void)
{
	puts("ready");
	fflush(stdout);
}

#endif
