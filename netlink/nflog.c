#include "netlink/nflog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	READS_MAX = 64,
	QUEUE_BYTES = 4 << 20,
	/* A packet of 64 KiB and what is told about it. */
	MESSAGE_BYTES = 65536 + 4096,
	COPY_RANGE = 0xffff,
};

struct nflog {
	int fd;
	uint16_t group;
	uint32_t seq;
	uint8_t buf[MESSAGE_BYTES];
};

/* A configuration message for our group with one attribute, and the kernel's answer to it. */
static int configure(struct nflog *n, uint16_t attribute, const void *value, size_t size)
{
	uint8_t buf[128];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof *g);
	const struct nlmsghdr *answer = (const struct nlmsghdr *)n->buf;

	h->nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	h->nlmsg_seq = ++n->seq;
	g->nfgen_family = AF_UNSPEC;
	g->version = NFNETLINK_V0;
	g->res_id = htons(n->group);
	mnl_attr_put(h, attribute, size, value);
	if (send(n->fd, h, h->nlmsg_len, 0) < 0)
		return -errno;
	/* The answer is there when send() returns, behind the packets that are. */
	for (int i = 0; i < 1024; i++) {
		ssize_t len = recv(n->fd, n->buf, sizeof n->buf, MSG_DONTWAIT);

		if (len < 0 && (errno == ENOBUFS || errno == EINTR))
			continue;
		if (len < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (len >= (ssize_t)(MNL_NLMSG_HDRLEN + sizeof(struct nlmsgerr)) &&
			answer->nlmsg_type == NLMSG_ERROR && answer->nlmsg_seq == n->seq)
			return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(answer))->error;
	}
	return -ETIMEDOUT;
}

static int configure_group(struct nflog *n)
{
	struct nfulnl_msg_config_cmd bind = {.command = NFULNL_CFG_CMD_BIND};
	struct nfulnl_msg_config_mode mode = {
		.copy_range = htonl(COPY_RANGE), .copy_mode = NFULNL_COPY_PACKET};
	uint32_t threshold = htonl(1), timeout_cs = htonl(1);
	int r = configure(n, NFULA_CFG_CMD, &bind, sizeof bind);

	/* Who may do the rest and is not let has come second; and a kernel without nfnetlink_log
	 * does not know whom we talk to. */
	if (r == -EPERM)
		return -EBUSY;
	if (r == -EINVAL)
		return -EOPNOTSUPP;
	if (r == 0)
		r = configure(n, NFULA_CFG_MODE, &mode, sizeof mode);
	/* Each packet is told at once, not when a hundred are there or a second is over. */
	if (r == 0)
		r = configure(n, NFULA_CFG_QTHRESH, &threshold, sizeof threshold);
	if (r == 0)
		r = configure(n, NFULA_CFG_TIMEOUT, &timeout_cs, sizeof timeout_cs);
	return r;
}

int nflog_open(uint16_t group, struct nflog **ret)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};
	struct nflog *n = malloc(sizeof *n);
	int size = QUEUE_BYTES, r;

	if (!n)
		return -ENOMEM;
	n->group = group;
	n->seq = 0;
	n->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	if (n->fd < 0) {
		r = errno == EPROTONOSUPPORT ? -EOPNOTSUPP : -errno;
		goto fail;
	}
	/* The first thing that asks for CAP_NET_ADMIN: so that a later refusal means something
	 * else. */
	if (setsockopt(n->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0 ||
		bind(n->fd, (struct sockaddr *)&address, sizeof address) < 0 ||
		connect(n->fd, (struct sockaddr *)&address, sizeof address) < 0) {
		r = -errno;
		goto fail;
	}
	r = configure_group(n);
	if (r < 0)
		goto fail;
	*ret = n;
	return 0;
fail:
	nflog_close(n);
	return r;
}

void nflog_close(struct nflog *n)
{
	if (!n)
		return;
	if (n->fd >= 0)
		close(n->fd);
	free(n);
}

int nflog_fd(const struct nflog *n)
{
	return n->fd;
}

struct packet_attributes {
	uint8_t *payload;
	size_t len;
	unsigned ifindex;
};

static int see_attribute(const struct nlattr *attr, void *data)
{
	struct packet_attributes *p = data;

	switch (mnl_attr_get_type(attr)) {
	case NFULA_PAYLOAD:
		p->payload = mnl_attr_get_payload(attr);
		p->len = mnl_attr_get_payload_len(attr);
		break;
	case NFULA_IFINDEX_INDEV:
		if (mnl_attr_get_payload_len(attr) >= 4)
			p->ifindex = ntohl(mnl_attr_get_u32(attr));
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static bool take_packet(const struct nlmsghdr *h, nflog_packet *visit, void *arg)
{
	struct packet_attributes p = {0};

	if (h->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET) ||
		mnl_nlmsg_get_payload_len(h) < sizeof(struct nfgenmsg))
		return false;
	(void)mnl_attr_parse(h, sizeof(struct nfgenmsg), see_attribute, &p);
	if (p.len == 0)
		return false;
	visit(arg, p.payload, p.len, p.ifindex);
	return true;
}

int nflog_read(struct nflog *n, nflog_packet *visit, void *arg)
{
	int packets = 0;

	for (int i = 0; i < READS_MAX; i++) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)n->buf;
		ssize_t len = recv(n->fd, n->buf, sizeof n->buf, MSG_DONTWAIT);
		int left = (int)len;

		if (len < 0 && errno == EAGAIN)
			break;
		if (len < 0 && errno != EINTR && errno != ENOBUFS)
			return -errno;
		for (; len > 0 && mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
			packets += take_packet(h, visit, arg);
	}
	return packets;
}
