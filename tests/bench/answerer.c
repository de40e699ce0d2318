/* An upstream that does not get in the way: answers every A question with an address of its own
 * (10.64.0.0/10, counted up) and a TTL of 60 s. answerer ADDRESS PORT [TTL]; prints "ready", ends
 * with SIGTERM. */
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
	static struct mmsghdr messages[BATCH];
	struct sockaddr_in at = {.sin_family = AF_INET};
	struct iovec vec[BATCH];
	uint32_t address = 0x0a400000, ttl_s = htonl(60);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), buffer = 8 << 20;

	if (argc < 3 || inet_pton(AF_INET, argv[1], &at.sin_addr) != 1)
		return 2;
	at.sin_port = htons((uint16_t)atoi(argv[2]));
	if (argc > 3)
		ttl_s = htonl((uint32_t)atoi(argv[3]));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
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
				.msg_iovlen = 1};
		}
		int n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);

		for (int i = 0; i < n; i++) {
			uint32_t value = htonl(0x0a400000 | (++address & 0x3fffff));

			vec[i].iov_len = echo_answer(data[i]);
			memcpy(data[i] + vec[i].iov_len - 10, &ttl_s, 4);
			memcpy(data[i] + vec[i].iov_len - 4, &value, 4);
		}
		if (n > 0 && sendmmsg(fd, messages, (unsigned)n, 0) < 0)
			perror("sendmmsg");
	}
}
