/* Proves of the running kernel: a TUN queue can be read by loop_read_start(), that is by
 * IORING_OP_READ_MULTISHOT with a buffer ring (6.7), and by several single-shot reads with buffer
 * selection, both
 *   - with a blocking descriptor and with an O_NONBLOCK one (of which a read may say -EAGAIN
 * instead of waiting),
 *   - armed before packets are there (the read waits by poll) and after (it takes what is queued),
 *   - over more packets than there are buffers (-ENOBUFS ends a multishot; nothing is lost, the
 * queue keeps them), that cancelling ends it with one last completion, and that deleting the device
 * ends it by itself with an error: a worker learns that its TUN is gone. Runs in a network
 * namespace of its own, which ends with it. Without the right to make one: 77, or 1 where CI is
 * set. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "gateway/loop/loop_internal.h"

#define BURST	300
#define BUFFERS 16

#define CHECK(what)                                                                                \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			printf("line %d: not true: %s (errno %s)\n", __LINE__, #what,              \
				strerror(errno));                                                  \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

struct reader {
	struct loop_op op;
	unsigned packets, ends;
	int32_t end;
	bool seen[2 * BURST];
};

static int tun_open(int flags)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | flags);
	struct ifreq r = {.ifr_name = "tgplatform"};

	CHECK(fd >= 0);
	r.ifr_flags = IFF_TUN | IFF_NO_PI;
	CHECK(ioctl(fd, TUNSETIFF, &r) == 0);
	return fd;
}

static void tun_up(int s)
{
	struct ifreq r = {.ifr_name = "tgplatform"};
	struct sockaddr_in a = {.sin_family = AF_INET};

	a.sin_addr.s_addr = htonl(0x0afe0001); /* 10.254.0.1 */
	memcpy(&r.ifr_addr, &a, sizeof(a));
	CHECK(ioctl(s, SIOCSIFADDR, &r) == 0);
	a.sin_addr.s_addr = htonl(0xffffff00);
	memcpy(&r.ifr_netmask, &a, sizeof(a));
	CHECK(ioctl(s, SIOCSIFNETMASK, &r) == 0);
	r.ifr_flags = IFF_UP | IFF_RUNNING;
	CHECK(ioctl(s, SIOCSIFFLAGS, &r) == 0);
}

static void send_burst(int s, uint16_t first, uint16_t n)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9)};

	a.sin_addr.s_addr = htonl(0x0afe0002);
	for (uint16_t i = 0; i < n; i++) {
		uint16_t number = (uint16_t)(first + i);

		CHECK(sendto(s, &number, 2, 0, (void *)&a, sizeof(a)) == 2);
	}
}

static void packet_done(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct reader *r = (struct reader *)op;

	if (last) {
		r->ends++;
		r->end = res;
	}
	/* IPv4, UDP, two bytes: ours. The kernel's own chatter (router solicitations) is not. */
	if (res == 30 && data[0] == 0x45 && data[9] == IPPROTO_UDP) {
		uint16_t number;

		memcpy(&number, data + 28, 2);
		CHECK(number < 2 * BURST && !r->seen[number]);
		r->seen[number] = true;
		r->packets++;
	}
}

static void turn_until(struct loop *l, const unsigned *what, unsigned value)
{
	for (int i = 0; i < 6000 && *what < value; i++)
		CHECK(loop_turn(l, 10) == 0);
	CHECK(*what == value);
}

static void try_reads(const char *name, unsigned missing, int open_flags)
{
	struct reader r = {0};
	struct loop_buffers *b;
	struct loop *l;
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = 4 << 20, tun;

	CHECK(s >= 0 && setsockopt(s, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) == 0);
	CHECK(loop_new(&l) == 0);
	if (!missing)
		CHECK(!(l->missing & LOOP_NO_READ_MULTISHOT));
	loop_force_missing(l, missing);
	CHECK(loop_buffers_new(l, 2048, BUFFERS, &b) == 0);

	tun = tun_open(open_flags);
	tun_up(s);
	send_burst(s, 0, BURST / 2); /* queued before */
	CHECK(loop_read_start(l, &r.op, tun, b, packet_done) == 0);
	turn_until(l, &r.packets, BURST / 2);
	for (int i = 0; i < 3; i++)
		CHECK(loop_turn(l, 1) == 0); /* idle: it waits and does not end */
	send_burst(s, BURST / 2, BURST / 2);
	turn_until(l, &r.packets, BURST);
	CHECK(r.ends == 0);
	/* Where multishot was promised it was one request that did it, not the fallback. */
	CHECK(r.op.in_flight == (missing ? LOOP_READS_IN_FLIGHT : 1));

	loop_op_cancel(&r.op);
	turn_until(l, &r.ends, 1);
	CHECK(r.end == -ECANCELED);

	CHECK(loop_read_start(l, &r.op, tun, b, packet_done) == 0);
	send_burst(s, BURST, 1);
	turn_until(l, &r.packets, BURST + 1);
	/* The device goes: the link is deleted under the reader. */
	CHECK(system("ip link del tgplatform") == 0);
	turn_until(l, &r.ends, 2);
	CHECK(r.end < 0);
	printf("%s: %u packets, a deleted device says %s\n", name, r.packets, strerror(-r.end));

	CHECK(!loop_op_busy(&r.op));
	close(tun);
	close(s);
	loop_buffers_free(b);
	loop_free(l);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (unshare(CLONE_NEWNET) != 0 || access("/dev/net/tun", R_OK | W_OK) != 0) {
		printf("skipped: needs CAP_SYS_ADMIN, CAP_NET_ADMIN and /dev/net/tun: %s\n",
			strerror(errno));
		return getenv("CI") ? 1 : 77;
	}
	try_reads("multishot, blocking", 0, 0);
	try_reads("multishot, O_NONBLOCK", 0, O_NONBLOCK);
	try_reads("single shots, blocking", LOOP_MISSING_ALL, 0);
	try_reads("single shots, O_NONBLOCK", LOOP_MISSING_ALL, O_NONBLOCK);
	return 0;
}
