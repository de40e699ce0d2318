#include "netlink/batch.h"
#include "gateway/base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <limits.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bounds of the kernel's queues, not allocations: a batch is one sendto(), and each message of it
 * may fail. */
#define SEND_BUFFER_BYTES    (8 << 20)
#define RECEIVE_BUFFER_BYTES (4 << 20)
#define BATCH_BYTES_MAX	     (6 << 20)
#define BATCH_MESSAGES_MAX   (BATCH_BYTES_MAX / MNL_NLMSG_HDRLEN)
#define HEADER_BYTES	     (MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(struct nfgenmsg)))

int nft_socket_open(struct nft_socket *s)
{
	struct sockaddr_nl local = {.nl_family = AF_NETLINK};
	int size = SEND_BUFFER_BYTES, on = 1, r;

	*s = (struct nft_socket){.fd = -1, .seq = (uint32_t)clock_us()};
	s->answer = malloc(NFT_ANSWER_BYTES);
	if (!s->answer)
		return -ENOMEM;
	s->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	if (s->fd < 0) {
		r = -errno;
		goto fail;
	}
	if (setsockopt(s->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0) {
		r = -errno;
		goto fail;
	}
	size = RECEIVE_BUFFER_BYTES;
	if (setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0) {
		r = -errno;
		goto fail;
	}
	/* Short errors that name the attribute; a kernel without these sends long ones. */
	(void)setsockopt(s->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
	(void)setsockopt(s->fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
	if (bind(s->fd, (struct sockaddr *)&local, sizeof local) < 0) {
		r = -errno;
		goto fail;
	}
	return 0;
fail:
	nft_socket_close(s);
	return r;
}

void nft_socket_close(struct nft_socket *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	free(s->answer);
	s->answer = NULL;
}

/* One datagram into s->answer: its length, or -ETIMEDOUT, or another negative errno. */
static ssize_t receive(struct nft_socket *s, int64_t deadline_ms)
{
	for (;;) {
		struct pollfd p = {.fd = s->fd, .events = POLLIN};
		ssize_t n = recv(s->fd, s->answer, NFT_ANSWER_BYTES, MSG_DONTWAIT);
		int64_t left;

		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		left = deadline_ms - clock_ms();
		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&p, 1, left > INT_MAX ? INT_MAX : (int)left) < 0 && errno != EINTR)
			return -errno;
	}
}

/* What an earlier, timed out exchange left behind must not be taken for an answer to this one. */
static void drain(struct nft_socket *s)
{
	for (int i = 0; s->stale && i < 4096; i++) {
		if (recv(s->fd, s->answer, NFT_ANSWER_BYTES, MSG_DONTWAIT) < 0 && errno == EAGAIN)
			s->stale = false;
	}
}

static int send_all(struct nft_socket *s, const void *data, size_t len)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t n;

	do {
		n = sendto(s->fd, data, len, 0, (struct sockaddr *)&kernel, sizeof kernel);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static struct nlmsghdr *put_header(
	void *at, uint16_t type, uint16_t family, uint16_t flags, uint32_t seq, uint16_t res_id)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(at);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof *g);

	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	h->nlmsg_seq = seq;
	g->nfgen_family = (uint8_t)family;
	g->version = NFNETLINK_V0;
	g->res_id = htons(res_id);
	return h;
}

static uint16_t nft_type(uint16_t type)
{
	return (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
}

static int error_of(const struct nlmsghdr *h)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

	return h->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof e->error ? -EBADMSG : e->error;
}

int nft_request(struct nft_socket *s, uint16_t type, uint16_t family, uint16_t flags,
	void (*fill)(struct nlmsghdr *message, const void *arg), const void *fill_arg,
	nft_visit *visit, void *arg, int timeout_ms)
{
	_Alignas(struct nlmsghdr) uint8_t buf[4096];
	int64_t deadline_ms = clock_ms() + timeout_ms;
	uint32_t seq = ++s->seq;
	struct nlmsghdr *h;
	int r;

	drain(s);
	/* A dump ends with DONE, anything else with its acknowledgement. */
	h = put_header(buf, nft_type(type), family,
		(flags & NLM_F_DUMP) == NLM_F_DUMP ? flags : flags | NLM_F_ACK, seq, 0);
	if (fill)
		fill(h, fill_arg);
	r = send_all(s, h, h->nlmsg_len);
	if (r < 0)
		return r;
	for (;;) {
		ssize_t n = receive(s, deadline_ms);
		int left = (int)n;

		if (n < 0) {
			s->stale = true;
			return (int)n;
		}
		for (h = (struct nlmsghdr *)s->answer; mnl_nlmsg_ok(h, left);
			h = mnl_nlmsg_next(h, &left)) {
			if (h->nlmsg_seq != seq)
				continue;
			if (h->nlmsg_type == NLMSG_ERROR)
				return error_of(h);
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			r = visit ? visit(arg, h) : 0;
			if (r != 0) {
				s->stale = true;
				return r;
			}
		}
	}
}

int nft_batch_init(struct nft_batch *b, size_t size_bytes)
{
	*b = (struct nft_batch){.size_bytes = size_bytes};
	b->buf = malloc(size_bytes);
	return b->buf ? 0 : -ENOMEM;
}

void nft_batch_fini(struct nft_batch *b)
{
	free(b->buf);
	b->buf = NULL;
}

void nft_batch_begin(struct nft_batch *b, struct nft_socket *s)
{
	b->error = 0;
	b->open = NULL;
	b->last = 0;
	/* 0 would be an error of the whole batch: none wraps. */
	if (s->seq > UINT32_MAX - BATCH_MESSAGES_MAX)
		s->seq = 0;
	b->first_seq = ++s->seq;
	b->next_seq = b->first_seq + 1;
	b->len = put_header(
		b->buf, NFNL_MSG_BATCH_BEGIN, AF_UNSPEC, 0, b->first_seq, NFNL_SUBSYS_NFTABLES)
			 ->nlmsg_len;
}

void nft_batch_require(struct nft_batch *b, uint32_t generation)
{
	struct nlmsghdr *begin = (struct nlmsghdr *)b->buf;

	mnl_attr_put_u32(begin, NFNL_BATCH_GENID, htonl(generation));
	b->len = begin->nlmsg_len;
}

static int take_generation_attr(const struct nlattr *attr, void *arg)
{
	if (mnl_attr_get_type(attr) == NFTA_GEN_ID && mnl_attr_get_payload_len(attr) == 4)
		*(uint32_t *)arg = ntohl(mnl_attr_get_u32(attr));
	return MNL_CB_OK;
}

static int take_generation(void *arg, const struct nlmsghdr *answer)
{
	mnl_attr_parse(answer, sizeof(struct nfgenmsg), take_generation_attr, arg);
	return 0;
}

int nft_generation(struct nft_socket *s, uint32_t *ret, int timeout_ms)
{
	uint32_t generation = 0;
	int r = nft_request(s, NFT_MSG_GETGEN, AF_UNSPEC, 0, NULL, NULL, take_generation,
		&generation, timeout_ms);

	if (r < 0)
		return r;
	*ret = generation;
	return 0;
}

/* Room for a message of this size and for the end of the batch behind it. */
static void reserve(struct nft_batch *b, size_t room_bytes)
{
	size_t need = b->len + HEADER_BYTES + room_bytes + HEADER_BYTES;
	size_t size = b->size_bytes;
	uint8_t *grown;

	if (need <= size)
		return;
	while (size < need)
		size *= 2;
	grown = need <= BATCH_BYTES_MAX ? realloc(b->buf, size) : NULL;
	if (grown) {
		b->buf = grown;
		b->size_bytes = size;
	} else {
		b->error = need <= BATCH_BYTES_MAX ? -ENOMEM : -EMSGSIZE;
		b->len = HEADER_BYTES;
	}
}

struct nlmsghdr *nft_batch_open(
	struct nft_batch *b, uint16_t type, uint16_t family, uint16_t flags, size_t room_bytes)
{
	reserve(b, room_bytes);
	b->open = put_header(b->buf + b->len, nft_type(type), family, flags, b->next_seq, 0);
	return b->open;
}

uint32_t nft_batch_close(struct nft_batch *b)
{
	b->last = b->len;
	b->len += MNL_ALIGN(b->open->nlmsg_len);
	b->open = NULL;
	return b->next_seq++;
}

bool nft_batch_empty(const struct nft_batch *b)
{
	return b->last == 0;
}

const struct nlmsghdr *nft_batch_message(const struct nft_batch *b, uint32_t seq)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)b->buf;
	int left = (int)b->len;

	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		if (h->nlmsg_seq == seq)
			return h;
	}
	return NULL;
}

/* NLMSGERR_ATTR_OFFS of an extended acknowledgement. */
static uint32_t blamed_offset(const struct nlmsghdr *h)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
	const struct nlattr *attr;
	size_t skip = sizeof *e;

	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS) || h->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof *e)
		return 0;
	if (!(h->nlmsg_flags & NLM_F_CAPPED) && e->msg.nlmsg_len >= MNL_NLMSG_HDRLEN)
		skip += e->msg.nlmsg_len - MNL_NLMSG_HDRLEN;
	if (skip > h->nlmsg_len - MNL_NLMSG_HDRLEN)
		return 0;
	for (attr = mnl_nlmsg_get_payload_offset(h, skip); mnl_attr_ok(
		     attr, (int)((const char *)mnl_nlmsg_get_payload_tail(h) - (const char *)attr));
		attr = mnl_attr_next(attr)) {
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_OFFS &&
			mnl_attr_get_payload_len(attr) >= 4)
			return mnl_attr_get_u32(attr);
	}
	return 0;
}

/* Takes the errors of one datagram; true: the answer to the batch is complete. */
static bool take_answer(const struct nft_batch *b, const uint8_t *data, ssize_t n,
	uint32_t last_seq, nft_error_visit *visit, void *arg, int *result)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)data;
	int left = (int)n;

	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		struct nft_error e = {.seq = h->nlmsg_seq};

		if (h->nlmsg_type != NLMSG_ERROR || e.seq - b->first_seq > last_seq - b->first_seq)
			continue;
		e.error = error_of(h);
		if (e.error != 0) {
			if (*result == 0)
				*result = e.error;
			e.offset = blamed_offset(h);
			/* An error of BEGIN stands for the batch, and nothing follows it. */
			if (e.seq == b->first_seq)
				e.seq = 0;
			if (visit)
				visit(arg, &e);
			if (e.seq == 0)
				return true;
		}
		if (e.seq == last_seq)
			return true;
	}
	return false;
}

int nft_batch_commit(struct nft_batch *b, struct nft_socket *s, int timeout_ms,
	nft_error_visit *visit, void *arg)
{
	uint32_t last_seq = b->next_seq - 1;
	int64_t deadline_ms;
	int result = 0, r;

	if (b->error)
		return b->error;
	if (nft_batch_empty(b))
		return 0;
	((struct nlmsghdr *)(b->buf + b->last))->nlmsg_flags |= NLM_F_ACK;
	drain(s);
	b->len += put_header(b->buf + b->len, NFNL_MSG_BATCH_END, AF_UNSPEC, 0, b->next_seq,
		NFNL_SUBSYS_NFTABLES)
			  ->nlmsg_len;
	s->seq = b->next_seq;
	r = send_all(s, b->buf, b->len);
	if (r < 0)
		return r;
	deadline_ms = clock_ms() + timeout_ms;
	for (;;) {
		ssize_t n = receive(s, deadline_ms);

		if (n < 0) {
			s->stale = true;
			return result != 0 ? result : (int)n;
		}
		if (take_answer(b, s->answer, n, last_seq, visit, arg, &result)) {
			s->stale = result != 0;
			return result;
		}
	}
}
