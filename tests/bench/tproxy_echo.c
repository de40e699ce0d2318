/* The limit over tproxy: a transparent UDP socket that answers every query with one fixed record
 * from the asked address. tproxy_echo MARK; bound to 127.1.1.53:53, prints "ready", ends with
 * SIGTERM. */
#include "tests/bench/echo.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BATCH 64

int main(int argc, char **argv)
{
	static uint8_t data[BATCH][2048];
	static struct sockaddr_in from[BATCH];
	static _Alignas(8) char control[BATCH][64];
	static struct mmsghdr messages[BATCH];
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
	struct iovec vec[BATCH];
	int fd = socket(AF_INET, SOCK_DGRAM, 0), buffer = 8 << 20, one = 1;
	unsigned mark = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 0;

	inet_pton(AF_INET, "127.1.1.53", &at.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
	setsockopt(fd, SOL_IP, IP_TRANSPARENT, &one, sizeof one);
	setsockopt(fd, SOL_IP, IP_PKTINFO, &one, sizeof one);
	setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at)) {
		perror("bind");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		for (int i = 0; i < BATCH; i++) {
			vec[i] = (struct iovec){data[i], sizeof data[i]};
			messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
				.msg_namelen = sizeof from[i],
				.msg_iov = &vec[i],
				.msg_iovlen = 1,
				.msg_control = control[i],
				.msg_controllen = sizeof control[i]};
		}
		int n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);

		for (int i = 0; i < n; i++) {
			struct cmsghdr *c = CMSG_FIRSTHDR(&messages[i].msg_hdr);
			struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(c);

			vec[i].iov_len = echo_answer(data[i]);
			info->ipi_spec_dst = info->ipi_addr;
			info->ipi_ifindex = 0;
		}
		if (n > 0 && sendmmsg(fd, messages, (unsigned)n, 0) < 0)
			perror("sendmmsg");
	}
}
