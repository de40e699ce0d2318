/* What is asked over shared sockets leaves at the end of the turn, with one system call for each
 * socket. Those of a turn share one (udp_far.c), so that is one or a few. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "gateway/transport/udp_internal.h"

#define BATCH_MAX 64

struct udp_batch {
	unsigned n;
	struct udp_link *links[BATCH_MAX]; /* pinned */
	struct mmsghdr messages[BATCH_MAX];
	struct iovec parts[BATCH_MAX];
	uint8_t questions[BATCH_MAX][TRANSPORT_QUESTION_MAX];
};

int transport_udp_init(struct transports *ts)
{
	struct udp_batch *b = calloc(1, sizeof *b);

	if (!b)
		return -ENOMEM;
	for (size_t i = 0; i < BATCH_MAX; i++) {
		b->parts[i].iov_base = b->questions[i];
		b->messages[i].msg_hdr.msg_iov = &b->parts[i];
		b->messages[i].msg_hdr.msg_iovlen = 1;
	}
	ts->udp_batch = b;
	return 0;
}

/* A full queue loses the rest like any router on the way would: the second send makes up for it.
 * An error of an earlier datagram that stops us in the middle is not told here, the datagrams that
 * follow bring it again. */
static void batch_send(struct udp_link *u, struct mmsghdr *messages, unsigned n)
{
	while (n > 0) {
		int sent = sendmmsg(u->fd, messages, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN && errno != ENOBUFS)
			(void)udp_link_failed(u, -errno);
		if (sent <= 0)
			return;
		messages += sent;
		n -= (unsigned)sent;
	}
}

void transport_udp_flush(struct transports *ts)
{
	struct udp_batch *b = ts->udp_batch;
	unsigned n = b->n, end;

	for (unsigned i = 0; i < n; i = end) {
		for (end = i + 1; end < n && b->links[end] == b->links[i];)
			end++;
		if (!ts->stopping)
			batch_send(b->links[i], b->messages + i, end - i);
	}
	b->n = 0;
	ts->udp_batches++;
	for (unsigned i = 0; i < n; i++)
		udp_link_unpin(b->links[i]);
}

void udp_batch_add(struct udp_link *u, const struct transport_try *t)
{
	struct transports *ts = u->transports;
	struct udp_batch *b = ts->udp_batch;
	unsigned i;

	if (b->n == BATCH_MAX)
		transport_udp_flush(ts);
	if (b->n == 0)
		transports_soon(ts);
	i = b->n++;
	udp_link_pin(u);
	b->links[i] = u;
	b->parts[i].iov_len = t->owner->question(t, b->questions[i], false);
}
