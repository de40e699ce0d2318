/* The limit over TUN: answers every IPv4 UDP packet with one fixed record, by the fastest way
 * found: multishot read (io_uring, kernel 6.7) and write(2). tun_echo DEVICE; makes the device,
 * prints "ready", ends with SIGTERM. */
#include "tests/bench/echo.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BUFFERS		  1024
#define BUFFER_BYTES	  2048
#define OP_READ_MULTISHOT 49

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static uint32_t add(const uint8_t *b, size_t n, uint32_t sum)
{
	for (; n > 1; n -= 2, b += 2)
		sum += (uint32_t)(b[0] << 8 | b[1]);
	return n ? sum + (uint32_t)(b[0] << 8) : sum;
}

static size_t answer(uint8_t *p, size_t n)
{
	size_t header = (p[0] & 15) * 4u, len;
	uint8_t *u = p + header, swap[4];
	uint16_t sum;

	if (n < 28 || p[0] >> 4 != 4 || p[9] != 17)
		return 0;
	memcpy(swap, p + 12, 4);
	memcpy(p + 12, p + 16, 4);
	memcpy(p + 16, swap, 4);
	memcpy(swap, u, 2);
	memcpy(u, u + 2, 2);
	memcpy(u + 2, swap, 2);
	len = 8 + echo_answer(u + 8);
	p[2] = (uint8_t)((header + len) >> 8);
	p[3] = (uint8_t)(header + len);
	u[4] = (uint8_t)(len >> 8);
	u[5] = (uint8_t)len;
	u[6] = u[7] = p[10] = p[11] = 0;
	sum = fold(add(p, header, 0));
	p[10] = (uint8_t)(sum >> 8);
	p[11] = (uint8_t)sum;
	sum = fold(add(u, len, add(p + 12, 8, 17 + (uint32_t)len)));
	u[6] = (uint8_t)(sum >> 8);
	u[7] = (uint8_t)sum;
	return header + len;
}

static int open_tun(const char *name)
{
	struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &r)) {
		perror("tun");
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
						  IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
		.cq_entries = 8192};
	struct io_uring_buf_ring *ring;
	struct io_uring_buf_reg reg = {.ring_entries = BUFFERS};
	struct io_uring uring;
	uint8_t *buffers = aligned_alloc(4096, BUFFERS * BUFFER_BYTES);
	int fd = open_tun(argc > 1 ? argv[1] : "tungate0"), armed = 0;

	if (io_uring_queue_init_params(2048, &uring, &params) ||
		posix_memalign((void **)&ring, 4096, BUFFERS * sizeof(struct io_uring_buf))) {
		fprintf(stderr, "io_uring\n");
		return 1;
	}
	reg.ring_addr = (uintptr_t)ring;
	if (io_uring_register_buf_ring(&uring, &reg, 0)) {
		fprintf(stderr, "buffer ring\n");
		return 1;
	}
	io_uring_buf_ring_init(ring);
	for (unsigned i = 0; i < BUFFERS; i++)
		io_uring_buf_ring_add(ring, buffers + i * BUFFER_BYTES, BUFFER_BYTES,
			(unsigned short)i, BUFFERS - 1, (int)i);
	io_uring_buf_ring_advance(ring, BUFFERS);
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned head, n = 0;

		if (!armed) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&uring);

			io_uring_prep_rw(OP_READ_MULTISHOT, sqe, fd, NULL, 0, (uint64_t)-1);
			sqe->flags |= IOSQE_BUFFER_SELECT;
			armed = 1;
		}
		io_uring_submit_and_wait(&uring, 1);
		io_uring_for_each_cqe(&uring, head, cqe)
		{
			n++;
			if (!(cqe->flags & IORING_CQE_F_MORE))
				armed = 0;
			if (cqe->flags & IORING_CQE_F_BUFFER) {
				unsigned short id =
					(unsigned short)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
				uint8_t *packet = buffers + id * BUFFER_BYTES;
				size_t len = cqe->res > 0 ? answer(packet, (size_t)cqe->res) : 0;

				if (len && write(fd, packet, len) < 0)
					perror("write");
				io_uring_buf_ring_add(
					ring, packet, BUFFER_BYTES, id, BUFFERS - 1, 0);
				io_uring_buf_ring_advance(ring, 1);
			}
		}
		io_uring_cq_advance(&uring, n);
	}
}
