#include "gateway/serve/in.h"

#include <errno.h>
#include <stdlib.h>

#define BATCH	      64
#define CONTROL_BYTES 128
#define ERRORS_MAX    16 /* that are met one after the other before the next turn */

struct serve_in {
	struct mmsghdr messages[BATCH];
	struct iovec iovecs[BATCH];
	struct sockaddr_storage from[BATCH];
	_Alignas(struct cmsghdr) uint8_t control[BATCH][CONTROL_BYTES];
	uint8_t payload[BATCH][SERVE_IN_DATAGRAM];
};

int serve_in_new(struct serve_in **ret)
{
	struct serve_in *in = calloc(1, sizeof *in);

	if (!in)
		return -ENOMEM;
	for (unsigned i = 0; i < BATCH; i++) {
		in->iovecs[i] =
			(struct iovec){.iov_base = in->payload[i], .iov_len = SERVE_IN_DATAGRAM};
		in->messages[i].msg_hdr = (struct msghdr){.msg_name = &in->from[i],
			.msg_iov = &in->iovecs[i],
			.msg_iovlen = 1,
			.msg_control = in->control[i]};
	}
	*ret = in;
	return 0;
}

void serve_in_free(struct serve_in *in)
{
	free(in);
}

static int receive(struct serve_in *in, int fd)
{
	int n = -1;

	/* What the kernel wrote into them the last time bounds it now. */
	for (unsigned i = 0; i < BATCH; i++) {
		in->messages[i].msg_hdr.msg_namelen = sizeof in->from[i];
		in->messages[i].msg_hdr.msg_controllen = CONTROL_BYTES;
	}
	for (unsigned i = 0; i < ERRORS_MAX && n < 0; i++) {
		n = recvmmsg(fd, in->messages, BATCH, MSG_DONTWAIT, NULL);
		if (n < 0 && (errno == EAGAIN || errno == EBADF || errno == ENOTSOCK))
			return 0;
	}
	return n < 0 ? 0 : n;
}

bool serve_in_read(struct serve_in *in, int fd, serve_in_take *take, void *arg)
{
	int n = receive(in, fd);

	for (int i = 0; i < n; i++) {
		const struct msghdr *h = &in->messages[i].msg_hdr;
		const struct loop_datagram d = {
			.from = &in->from[i],
			.from_len = h->msg_namelen,
			.control = in->control[i],
			.control_len = h->msg_controllen,
			.payload = in->payload[i],
			.len = in->messages[i].msg_len,
			.truncated = h->msg_flags & (MSG_TRUNC | MSG_CTRUNC),
		};

		take(arg, &d);
	}
	return n < BATCH;
}
