/* DNS load: keeps a window of queries in flight on one UDP socket and counts the answers.
 *   load ADDRESS SECONDS WINDOW SUFFIX NAMES [PREFIX]
 * asks A of h0.SUFFIX to h<NAMES-1>.SUFFIX at random; NAMES 0: a new name each time. PREFIX keeps
 * the new names of two runs apart. Prints "answers_per_s lost wrong": wrong counts answers that are
 * not NOERROR with at least one record. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 64

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint8_t *put_label(uint8_t *at, const char *text, size_t len)
{
	*at++ = (uint8_t)len;
	memcpy(at, text, len);
	return at + len;
}

static size_t question(
	uint8_t *q, uint16_t id, const char *prefix, unsigned long number, const char *suffix)
{
	char label[64];
	uint8_t *at = q + 12;
	int len;

	memset(q, 0, 12);
	q[0] = (uint8_t)(id >> 8);
	q[1] = (uint8_t)id;
	q[2] = 1;
	q[5] = 1;
	len = snprintf(label, sizeof label, "%s%lu", prefix, number);
	at = put_label(at, label, (size_t)len);
	for (const char *s = suffix; *s;) {
		size_t n = strcspn(s, ".");

		at = put_label(at, s, n);
		s += n + (s[n] == '.');
	}
	memcpy(at, "\0\0\1\0\1", 5);
	return (size_t)(at + 5 - q);
}

int main(int argc, char **argv)
{
	static uint8_t out[BATCH][320], in[BATCH][1500];
	struct mmsghdr send[BATCH] = {0}, receive[BATCH] = {0};
	struct iovec out_vec[BATCH], in_vec[BATCH];
	unsigned long sent = 0, got = 0, lost = 0, wrong = 0, names;
	struct sockaddr_storage to = {0};
	socklen_t to_len;
	int buffer = 8 << 20, in_flight = 0, window;
	double start, end;
	uint32_t random = 12345;
	const char *prefix;

	if (argc < 6) {
		fprintf(stderr, "usage: load ADDRESS SECONDS WINDOW SUFFIX NAMES [PREFIX]\n");
		return 2;
	}
	window = atoi(argv[3]);
	names = strtoul(argv[5], NULL, 10);
	prefix = argc > 6 ? argv[6] : "h";
	if (strchr(argv[1], ':')) {
		struct sockaddr_in6 *a = (struct sockaddr_in6 *)&to;

		a->sin6_family = AF_INET6;
		a->sin6_port = htons(53);
		to_len = sizeof *a;
		if (inet_pton(AF_INET6, argv[1], &a->sin6_addr) != 1)
			return 2;
	} else {
		struct sockaddr_in *a = (struct sockaddr_in *)&to;

		a->sin_family = AF_INET;
		a->sin_port = htons(53);
		to_len = sizeof *a;
		if (inet_pton(AF_INET, argv[1], &a->sin_addr) != 1)
			return 2;
	}
	int fd = socket(to.ss_family, SOCK_DGRAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, to_len)) {
		perror("socket");
		return 1;
	}
	for (int i = 0; i < BATCH; i++) {
		out_vec[i].iov_base = out[i];
		in_vec[i] = (struct iovec){in[i], sizeof in[i]};
		send[i].msg_hdr = (struct msghdr){.msg_iov = &out_vec[i], .msg_iovlen = 1};
		receive[i].msg_hdr = (struct msghdr){.msg_iov = &in_vec[i], .msg_iovlen = 1};
	}
	start = now();
	end = start + atof(argv[2]);
	while (now() < end) {
		while (in_flight < window) {
			int n = window - in_flight < BATCH ? window - in_flight : BATCH;

			for (int i = 0; i < n; i++) {
				random = random * 1664525 + 1013904223;
				out_vec[i].iov_len = question(out[i],
					(uint16_t)(sent + (unsigned long)i), prefix,
					names ? (random >> 8) % names : sent + (unsigned long)i,
					argv[4]);
			}
			n = sendmmsg(fd, send, (unsigned)n, 0);
			if (n <= 0)
				break;
			sent += (unsigned long)n;
			in_flight += n;
		}
		int n = recvmmsg(fd, receive, BATCH, MSG_DONTWAIT, NULL);

		if (n > 0) {
			for (int i = 0; i < n; i++)
				wrong += (in[i][3] & 15) != 0 || in[i][7] == 0;
			got += (unsigned long)n;
			in_flight -= n;
		} else {
			struct pollfd p = {.fd = fd, .events = POLLIN};

			if (poll(&p, 1, 100) == 0) {
				lost += (unsigned long)in_flight;
				in_flight = 0;
			}
		}
	}
	printf("%.0f %lu %lu\n", (double)got / (now() - start), lost, wrong);
	return 0;
}
