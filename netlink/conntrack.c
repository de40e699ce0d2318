#include "netlink/conntrack.h"
#include "gateway/base/clock.h"
#include "netlink/conntrack_compat.h"
#include "netlink/conntrack_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	WAIT_MS = 1000,
	ANSWER_BYTES = 65536,
	QUEUE_BYTES = 1 << 20,
	DRAIN_MAX = 1024,
};

struct conntrack {
	int fd;
	uint32_t seq;
	_Alignas(struct nlmsghdr) uint8_t answer[ANSWER_BYTES];
};

void conntrack_request_init(struct conntrack *c, struct conntrack_request *r, uint16_t type,
	uint16_t flags, uint8_t family)
{
	struct nfgenmsg *g;

	r->h = mnl_nlmsg_put_header(r->buf);
	r->h->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	r->h->nlmsg_flags = NLM_F_REQUEST | flags;
	r->h->nlmsg_seq = ++c->seq;
	g = mnl_nlmsg_put_extra_header(r->h, sizeof *g);
	g->nfgen_family = family == IP_V4 ? AF_INET : family == IP_V6 ? AF_INET6 : AF_UNSPEC;
	g->version = NFNETLINK_V0;
}

static int request_send(struct conntrack *c, const struct conntrack_request *r)
{
	/* Answers to what was asked before and not waited for. */
	for (int i = 0; i < DRAIN_MAX; i++) {
		if (recv(c->fd, c->answer, sizeof c->answer, MSG_DONTWAIT) < 0 && errno == EAGAIN)
			break;
	}
	while (send(c->fd, r->h, r->h->nlmsg_len, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* A negative errno of an answer; 0: it is none, or the acknowledgement. */
static int error_of(const struct nlmsghdr *h)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

	return mnl_nlmsg_get_payload_len(h) < sizeof e->error ? -EBADMSG : e->error;
}

/* One datagram. Its length, -ETIMEDOUT, or another negative errno. */
static ssize_t receive(struct conntrack *c, int64_t deadline_ms)
{
	for (;;) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		ssize_t n = recv(c->fd, c->answer, sizeof c->answer, MSG_DONTWAIT);
		int64_t left_ms = deadline_ms - clock_ms();

		if (n >= 0)
			return n;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		if (left_ms <= 0)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)left_ms) < 0 && errno != EINTR)
			return -errno;
	}
}

void conntrack_put_address(struct nlmsghdr *h, uint16_t v4, uint16_t v6, const struct ip_addr *a)
{
	mnl_attr_put(h, a->family == IP_V4 ? v4 : v6, ip_addr_size(a), a->b);
}

/* --- reading --- */

static int take_ip(const struct nlattr *attr, void *arg)
{
	struct conntrack_flow *flow = arg;
	const void *address = mnl_attr_get_payload(attr);
	uint16_t size = mnl_attr_get_payload_len(attr);

	switch (mnl_attr_get_type(attr)) {
	case CTA_IP_V4_SRC:
		if (size == 4)
			flow->source = ip_addr_v4(address);
		break;
	case CTA_IP_V4_DST:
		if (size == 4)
			flow->target = ip_addr_v4(address);
		break;
	case CTA_IP_V6_SRC:
		if (size == 16)
			flow->source = ip_addr_v6(address);
		break;
	case CTA_IP_V6_DST:
		if (size == 16)
			flow->target = ip_addr_v6(address);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static int take_tuple(const struct nlattr *attr, void *arg)
{
	if (mnl_attr_get_type(attr) == CTA_TUPLE_IP)
		return mnl_attr_parse_nested(attr, take_ip, arg);
	return MNL_CB_OK;
}

static int take_flow(const struct nlattr *attr, void *arg)
{
	struct conntrack_flow *flow = arg;

	switch (mnl_attr_get_type(attr)) {
	case CTA_STATUS:
		if (mnl_attr_get_payload_len(attr) == 4)
			flow->status = ntohl(mnl_attr_get_u32(attr));
		break;
	case CTA_TUPLE_ORIG:
		flow->tuple = attr;
		return mnl_attr_parse_nested(attr, take_tuple, arg);
	case CTA_ZONE:
		flow->zone = attr;
		break;
	case CTA_ID:
		flow->id = attr;
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

int conntrack_dump(struct conntrack *c, const struct conntrack_request *r, int wait_ms,
	conntrack_take *take, void *arg)
{
	int64_t deadline_ms = clock_ms() + wait_ms;
	int error = request_send(c, r);

	while (!error) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)c->answer;
		ssize_t n = receive(c, deadline_ms);
		int left = (int)n;

		if (n < 0)
			return (int)n;
		for (; !error && mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			struct conntrack_flow flow = {.tuple = NULL};

			if (h->nlmsg_seq != c->seq)
				continue;
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
				return error_of(h);
			(void)mnl_attr_parse(h, sizeof(struct nfgenmsg), take_flow, &flow);
			error = take(arg, &flow);
		}
	}
	return error;
}

void conntrack_put_filter(
	struct nlmsghdr *h, const struct ip_addr *source, const struct ip_addr *target)
{
	uint32_t flags = (source ? CONNTRACK_FILTER_SOURCE : 0) |
			 (target ? CONNTRACK_FILTER_DESTINATION : 0);
	struct nlattr *tuple, *nest;

	if (!flags || (source && source->family != IP_V4) || (target && target->family != IP_V4))
		return;
	tuple = mnl_attr_nest_start(h, CTA_TUPLE_ORIG);
	nest = mnl_attr_nest_start(h, CTA_TUPLE_IP);
	if (source)
		conntrack_put_address(h, CTA_IP_V4_SRC, CTA_IP_V6_SRC, source);
	if (target)
		conntrack_put_address(h, CTA_IP_V4_DST, CTA_IP_V6_DST, target);
	mnl_attr_nest_end(h, nest);
	mnl_attr_nest_end(h, tuple);
	nest = mnl_attr_nest_start(h, CONNTRACK_ATTR_FILTER);
	mnl_attr_put_u32(h, CONNTRACK_ATTR_FILTER_ORIGINAL, flags);
	mnl_attr_nest_end(h, nest);
}

struct pool_look {
	const struct ip_prefix *to;
	conntrack_visit *visit;
	void *arg;
};

static int take_translated(void *arg, const struct conntrack_flow *flow)
{
	struct pool_look *look = arg;

	if (flow->status & IPS_DST_NAT && ip_prefix_contains(look->to, &flow->target))
		look->visit(look->arg, &flow->target);
	return 0;
}

/* Visits the flows of one family to this prefix. The kernel leaves out what is not translated, and
 * other targets than a single address. */
static int dump(struct conntrack *c, const struct ip_prefix *to, conntrack_visit *visit, void *arg)
{
	struct pool_look look = {to, visit, arg};
	struct conntrack_request r;

	conntrack_request_init(c, &r, IPCTNL_MSG_CT_GET, NLM_F_DUMP, to->addr.family);
	mnl_attr_put_u32(r.h, CTA_STATUS, htonl(IPS_DST_NAT));
	mnl_attr_put_u32(r.h, CONNTRACK_ATTR_STATUS_MASK, htonl(IPS_DST_NAT));
	if (to->len == ip_addr_size(&to->addr) * 8)
		conntrack_put_filter(r.h, NULL, &to->addr);
	return conntrack_dump(c, &r, WAIT_MS, take_translated, &look);
}

int conntrack_each(struct conntrack *c, const struct ip_prefix *pool4,
	const struct ip_prefix *pool6, conntrack_visit *visit, void *arg)
{
	int error = pool4->len ? dump(c, pool4, visit, arg) : 0;

	return error || !pool6->len ? error : dump(c, pool6, visit, arg);
}

static void see(void *arg, const struct ip_addr *target)
{
	(void)target;
	*(bool *)arg = true;
}

int conntrack_has(struct conntrack *c, const struct ip_addr *target)
{
	struct ip_prefix alone = {.addr = *target, .len = (uint8_t)(ip_addr_size(target) * 8)};
	bool seen = false;
	int error = alone.len ? dump(c, &alone, see, &seen) : 0;

	return seen ? 1 : error;
}

/* --- forgetting --- */

int conntrack_delete(struct conntrack *c, const struct conntrack_request *r)
{
	const struct nlmsghdr *answer = (const struct nlmsghdr *)c->answer;
	int error = request_send(c, r);
	ssize_t n;

	if (error)
		return error;
	/* The kernel works inside send(), and answers only with an error. */
	n = recv(c->fd, c->answer, sizeof c->answer, MSG_DONTWAIT);
	if (n > 0 && mnl_nlmsg_ok(answer, (int)n) && answer->nlmsg_seq == c->seq &&
		answer->nlmsg_type == NLMSG_ERROR)
		error = error_of(answer);
	return error;
}

int conntrack_forget(struct conntrack *c, uint8_t protocol, const struct ip_port *source,
	const struct ip_port *target)
{
	struct conntrack_request r;
	struct nlattr *tuple, *nest;
	int error;

	conntrack_request_init(c, &r, IPCTNL_MSG_CT_DELETE, 0, source->addr.family);
	tuple = mnl_attr_nest_start(r.h, CTA_TUPLE_ORIG);
	nest = mnl_attr_nest_start(r.h, CTA_TUPLE_IP);
	conntrack_put_address(r.h, CTA_IP_V4_SRC, CTA_IP_V6_SRC, &source->addr);
	conntrack_put_address(r.h, CTA_IP_V4_DST, CTA_IP_V6_DST, &target->addr);
	mnl_attr_nest_end(r.h, nest);
	nest = mnl_attr_nest_start(r.h, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(r.h, CTA_PROTO_NUM, protocol);
	mnl_attr_put_u16(r.h, CTA_PROTO_SRC_PORT, htons(source->port));
	mnl_attr_put_u16(r.h, CTA_PROTO_DST_PORT, htons(target->port));
	mnl_attr_nest_end(r.h, nest);
	mnl_attr_nest_end(r.h, tuple);
	error = conntrack_delete(c, &r);
	return error == -ENOENT ? 0 : error;
}

/* --- opening --- */

/* A question that any kernel with connection tracking answers at once. */
static int try(struct conntrack *c)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)c->answer;
	struct conntrack_request r;
	ssize_t n;
	int error;

	conntrack_request_init(c, &r, IPCTNL_MSG_CT_GET_STATS, NLM_F_ACK, IP_NONE);
	error = request_send(c, &r);
	if (error)
		return error;
	n = receive(c, clock_ms() + WAIT_MS);
	if (n < 0)
		return (int)n;
	if (!mnl_nlmsg_ok(h, (int)n))
		return -EBADMSG;
	error = h->nlmsg_type == NLMSG_ERROR ? error_of(h) : 0;
	return error == -EINVAL || error == -ENOENT ? -EOPNOTSUPP : error;
}

int conntrack_open(struct conntrack **ret)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};
	struct conntrack *c = malloc(sizeof *c);
	int size = QUEUE_BYTES, error;

	if (!c)
		return -ENOMEM;
	c->seq = 0;
	c->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	if (c->fd < 0) {
		error = errno == EPROTONOSUPPORT ? -EOPNOTSUPP : -errno;
		goto fail;
	}
	/* Without the right to it, the usual queue does. */
	(void)setsockopt(c->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	if (bind(c->fd, (struct sockaddr *)&address, sizeof address) < 0 ||
		connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) {
		error = -errno;
		goto fail;
	}
	error = try(c);
	if (error)
		goto fail;
	*ret = c;
	return 0;
fail:
	conntrack_close(c);
	return error;
}

void conntrack_close(struct conntrack *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}
