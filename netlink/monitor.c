/* The two sockets, how they are read, and what messages of rtnetlink mean. */
#include "netlink/monitor.h"
#include "netlink/monitor_internal.h"
#include "netlink/rt.h"
#include "netlink/subscribe.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	PIECES = 8,	     /* that one read takes */
	PIECE_BYTES = 32768, /* nf_tables: two pages at most; a link may tell much */
	READS_MAX = 16,	     /* of one descriptor in one call; news->more tells of the rest */
	/* Only what waits takes memory (60,000 removals fit). Nothing of nf_tables waits but what
	 * others remove or build, and a flush tells every element. */
	QUEUE_NFT_BYTES = 4 << 20,
	QUEUE_ROUTE_BYTES = 1 << 20,
};

struct monitor {
	int nft, route;
	monitor_set_visit *visit;
	void *arg;
	struct mmsghdr messages[PIECES];
	struct iovec at[PIECES];
	_Alignas(struct nlmsghdr) uint8_t pieces[PIECES][PIECE_BYTES];
};

static int filter_nft(int fd)
{
	return monitor_filter_nft(fd, NULL, 0);
}

int monitor_open(monitor_set_visit *visit, void *arg, struct monitor **ret)
{
	static const int nft_groups[] = {NFNLGRP_NFTABLES};
	static const int route_groups[] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
		RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE};
	struct monitor *m = malloc(sizeof *m);
	int r;

	if (!m)
		return -ENOMEM;
	m->nft = m->route = -1;
	m->visit = visit;
	m->arg = arg;
	for (size_t i = 0; i < PIECES; i++) {
		m->at[i] = (struct iovec){m->pieces[i], PIECE_BYTES};
		m->messages[i].msg_hdr = (struct msghdr){.msg_iov = &m->at[i], .msg_iovlen = 1};
	}
	r = netlink_subscribe(
		NETLINK_NETFILTER, QUEUE_NFT_BYTES, filter_nft, nft_groups, 1, &m->nft);
	if (r == 0)
		r = netlink_subscribe(NETLINK_ROUTE, QUEUE_ROUTE_BYTES, monitor_filter_route,
			route_groups, sizeof route_groups / sizeof route_groups[0], &m->route);
	if (r < 0) {
		monitor_close(m);
		return r;
	}
	*ret = m;
	return 0;
}

int monitor_set_own(struct monitor *m, const uint32_t *ports, size_t n)
{
	return monitor_filter_nft(m->nft, ports, n);
}

void monitor_close(struct monitor *m)
{
	if (!m)
		return;
	if (m->nft >= 0)
		close(m->nft);
	if (m->route >= 0)
		close(m->route);
	free(m);
}

int monitor_nft_fd(const struct monitor *m)
{
	return m->nft;
}

int monitor_route_fd(const struct monitor *m)
{
	return m->route;
}

static int see_rule_protocol(const struct nlattr *attr, void *data)
{
	bool *ours = data;

	if (mnl_attr_get_type(attr) == FRA_PROTOCOL && mnl_attr_get_payload_len(attr) >= 1 &&
		mnl_attr_get_u8(attr) == RT_PROTOCOL)
		*ours = true;
	return MNL_CB_OK;
}

static void take_route(const struct nlmsghdr *h, struct monitor_news *news)
{
	const uint8_t *family = mnl_nlmsg_get_payload(h);
	const struct rtmsg *route = mnl_nlmsg_get_payload(h);
	bool ours = false;

	/* The shortest that a real one can be, an address's with its attributes included. */
	if (mnl_nlmsg_get_payload_len(h) < sizeof(struct rtmsg))
		return;
	switch (h->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		/* A bridge tells about its ports as a family of its own. */
		news->links |= *family != AF_BRIDGE;
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		news->addresses = true;
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		/* A datagram may hold several, and the filter saw the first. */
		ours = route->rtm_protocol == RT_PROTOCOL;
		news->ours_removed |= ours && h->nlmsg_type == RTM_DELROUTE;
		news->routes |= !ours && route->rtm_dst_len <= MONITOR_ROUTE_SHORT_MAX;
		break;
	case RTM_NEWRULE:
	case RTM_DELRULE:
		(void)mnl_attr_parse(h, sizeof(struct fib_rule_hdr), see_rule_protocol, &ours);
		news->ours_removed |= ours && h->nlmsg_type == RTM_DELRULE;
		news->routes |= !ours;
		break;
	default:
		break;
	}
}

static void take(
	struct monitor *m, int fd, const struct mmsghdr *message, struct monitor_news *news)
{
	const struct nlmsghdr *h = message->msg_hdr.msg_iov->iov_base;
	int left = (int)message->msg_len;

	news->lost |= (message->msg_hdr.msg_flags & MSG_TRUNC) != 0;
	for (; monitor_message_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		if (fd == m->nft)
			monitor_nft_take(h, m->visit, m->arg, news);
		else
			take_route(h, news);
	}
}

static int read_all(struct monitor *m, int fd, struct monitor_news *news)
{
	for (int i = 0; i < READS_MAX; i++) {
		int n = recvmmsg(fd, m->messages, PIECES, MSG_DONTWAIT, NULL);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno != EINTR && errno != ENOBUFS)
			return -errno;
		news->lost |= n < 0 && errno == ENOBUFS;
		for (int j = 0; j < n; j++)
			take(m, fd, &m->messages[j], news);
	}
	news->more = true;
	return 0;
}

int monitor_read(struct monitor *m, struct monitor_news *news)
{
	int r = read_all(m, m->nft, news);
	int r2 = read_all(m, m->route, news);

	return r < 0 ? r : r2;
}
