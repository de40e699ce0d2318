/* Datagrams that a far end sends back: keeps WINDOW in flight on each of SOCKETS sockets, BYTES
 * each, numbered: what comes back tells that all before it did or never will. datagrams ADDRESS
 * PORT SECONDS WINDOW SOCKETS BYTES prints how many came back a second and how many were lost. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

#define BATCH	    64
#define SOCKETS_MAX 64
#define BYTES_MAX   1400
#define LOST_MS	    100

struct flow {
	uint32_t sent, told; /* numbers; all below `told` came back or are lost */
	double heard_s;
};

static struct mmsghdr out[BATCH], in[BATCH];
static struct iovec out_vec[BATCH], in_vec[BATCH];
static uint8_t payloads[BATCH][BYTES_MAX], received[BATCH][2048];

static int open_socket(const struct sockaddr_storage *to, socklen_t to_len)
{
	int fd = socket(to->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	bench_set(fd, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
	bench_set(fd, SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20);
	if (fd < 0 || connect(fd, (const struct sockaddr *)to, to_len)) {
		perror("socket");
		exit(1);
	}
	return fd;
}

static void fill(int fd, struct flow *f, uint32_t window)
{
	while (f->sent - f->told < window) {
		uint32_t room = window - (f->sent - f->told);
		int n = room < BATCH ? (int)room : BATCH;

		for (int i = 0; i < n; i++) {
			uint32_t number = f->sent + (uint32_t)i;

			memcpy(payloads[i], &number, sizeof number);
		}
		n = sendmmsg(fd, out, (unsigned)n, MSG_DONTWAIT);
		if (n <= 0)
			break;
		f->sent += (uint32_t)n;
	}
}

/* How many never came back. */
static uint32_t hear(struct flow *f, int n)
{
	uint32_t lost = 0;

	for (int i = 0; i < n; i++) {
		uint32_t number;

		memcpy(&number, received[i], sizeof number);
		if (number - f->told >= f->sent - f->told)
			continue; /* counted as lost before */
		lost += number - f->told;
		f->told = number + 1;
	}
	return lost;
}

int main(int argc, char **argv)
{
	static struct flow flows[SOCKETS_MAX];
	static struct pollfd polls[SOCKETS_MAX];
	struct sockaddr_storage to;
	socklen_t to_len;
	double start, end, now;
	unsigned long got = 0, lost = 0;
	uint32_t window;
	int sockets;
	size_t bytes;

	if (argc < 7)
		return 2;
	to_len = bench_address(argv[1], argv[2], &to);
	window = (uint32_t)atoi(argv[4]);
	sockets = atoi(argv[5]);
	bytes = strtoul(argv[6], NULL, 10);
	if (sockets < 1 || sockets > SOCKETS_MAX || bytes < sizeof window || bytes > BYTES_MAX)
		return 2;
	for (int i = 0; i < BATCH; i++) {
		out_vec[i] = (struct iovec){payloads[i], bytes};
		in_vec[i] = (struct iovec){received[i], sizeof received[i]};
		out[i].msg_hdr = (struct msghdr){.msg_iov = &out_vec[i], .msg_iovlen = 1};
		in[i].msg_hdr = (struct msghdr){.msg_iov = &in_vec[i], .msg_iovlen = 1};
	}
	start = bench_now_s();
	for (int i = 0; i < sockets; i++) {
		polls[i] = (struct pollfd){.fd = open_socket(&to, to_len), .events = POLLIN};
		flows[i].heard_s = start;
	}
	end = start + atof(argv[3]);
	while ((now = bench_now_s()) < end) {
		for (int i = 0; i < sockets; i++) {
			struct flow *f = &flows[i];
			int n;

			fill(polls[i].fd, f, window);
			n = recvmmsg(polls[i].fd, in, BATCH, MSG_DONTWAIT, NULL);
			if (n > 0) {
				got += (unsigned)n;
				lost += hear(f, n);
				f->heard_s = now;
			} else if (now - f->heard_s > LOST_MS / 1e3) {
				lost += f->sent - f->told;
				f->told = f->sent;
				f->heard_s = now;
			}
		}
		(void)poll(polls, (nfds_t)sockets, LOST_MS);
	}
	printf("%.0f %lu\n", (double)got / (now - start), lost);
	return 0;
}
