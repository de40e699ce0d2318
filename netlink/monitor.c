#include "netlink/monitor.h"
#include "netlink/rt.h"
#include "netlink/table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/filter.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	READ_BYTES = 32768,
	READS_MAX = 64, /* of one descriptor in one call; it stays readable if there is more */
	QUEUE_BYTES = 1 << 20,
	/* Default routes, also in parts (two /1, 2000::/3): shorter than any network's own. */
	ROUTE_SHORT_MAX = 7,
};

struct monitor {
	int nft, route;
	uint8_t buf[READ_BYTES];
};

#define NFT_TYPE(message) (NFNL_SUBSYS_NFTABLES << 8 | (message))

/* Netlink keeps in host order what the program loads in network order. */
static struct sock_filter drop_if_type(unsigned type, uint8_t to_drop)
{
	return (struct sock_filter)BPF_JUMP(
		BPF_JMP | BPF_JEQ | BPF_K, htons((uint16_t)type), to_drop, 0);
}

static int attach(int fd, struct sock_filter *code, size_t len)
{
	struct sock_fprog program = {.len = (unsigned short)len, .filter = code};
	int r = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);

	return r < 0 ? -errno : 0;
}

static uint32_t four_letters(const char *text)
{
	uint32_t letters;

	memcpy(&letters, text, sizeof letters);
	return ntohl(letters);
}

/* A transaction's news come together, and the program sees the first of them. Ours, thousands in a
 * second, begin with new elements, or are elements of our own table alone. A foreign one may remove
 * elements first and the set with them. */
static int filter_nft(int fd)
{
	_Static_assert(sizeof TABLE_NAME == 8, "two loads compare it");
	enum {
		FAMILY = MNL_NLMSG_HDRLEN + offsetof(struct nfgenmsg, nfgen_family),
		/* Of element messages the table's name is the first attribute. */
		NAME = MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg) + sizeof(struct nlattr),
	};
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		drop_if_type(NFT_TYPE(NFT_MSG_NEWSETELEM), 9),
		drop_if_type(NFT_TYPE(NFT_MSG_NEWGEN), 8),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(NFT_TYPE(NFT_MSG_DELSETELEM)), 0, 6),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FAMILY),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NFPROTO_INET, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NAME),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, four_letters(TABLE_NAME), 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NAME + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, four_letters(&TABLE_NAME[4]), 1, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};

	return attach(fd, code, sizeof code / sizeof code[0]);
}

/* Of the routes the removal of ours counts, and of others' the short ones: a router with a full
 * table must not wake us for each of its own. */
static int filter_route(int fd)
{
	enum {
		PROTOCOL = MNL_NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_protocol),
		LENGTH = MNL_NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_dst_len),
	};
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELROUTE), 0, 2),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, PROTOCOL),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RT_PROTOCOL, 5, 3),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWROUTE), 0, 4),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, PROTOCOL),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RT_PROTOCOL, 3, 0),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, LENGTH),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, ROUTE_SHORT_MAX, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};

	return attach(fd, code, sizeof code / sizeof code[0]);
}

static int subscribe(int bus, int (*filter)(int fd), const int *groups, size_t n, int *ret_fd)
{
	struct sockaddr_nl local = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, bus);
	int size = QUEUE_BYTES, r;

	if (fd < 0)
		return -errno;
	/* Needs a right that a subscriber may lack; a short queue is told by ENOBUFS. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	r = filter(fd);
	if (r < 0)
		goto fail;
	if (bind(fd, (struct sockaddr *)&local, sizeof local) < 0) {
		r = -errno;
		goto fail;
	}
	for (size_t i = 0; i < n; i++) {
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i],
			    sizeof groups[i]) < 0) {
			r = -errno;
			goto fail;
		}
	}
	*ret_fd = fd;
	return 0;
fail:
	close(fd);
	return r;
}

int monitor_open(struct monitor **ret)
{
	static const int nft_groups[] = {NFNLGRP_NFTABLES};
	static const int route_groups[] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
		RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE};
	struct monitor *m = malloc(sizeof *m);
	int r;

	if (!m)
		return -ENOMEM;
	m->nft = m->route = -1;
	r = subscribe(NETLINK_NETFILTER, filter_nft, nft_groups, 1, &m->nft);
	if (r == 0)
		r = subscribe(NETLINK_ROUTE, filter_route, route_groups,
			sizeof route_groups / sizeof route_groups[0], &m->route);
	if (r < 0) {
		monitor_close(m);
		return r;
	}
	*ret = m;
	return 0;
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

static int see_name(const struct nlattr *attr, void *data)
{
	const char **name = data;

	/* The table's name has this number in every message of nf_tables. */
	if (mnl_attr_get_type(attr) == NFTA_TABLE_NAME &&
		mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
		*name = mnl_attr_get_str(attr);
	return MNL_CB_OK;
}

static bool in_our_table(const struct nlmsghdr *h)
{
	const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);
	const char *name = NULL;

	if (mnl_nlmsg_get_payload_len(h) < sizeof *g || g->nfgen_family != NFPROTO_INET)
		return false;
	(void)mnl_attr_parse(h, sizeof *g, see_name, &name);
	return name && strcmp(name, TABLE_NAME) == 0;
}

static void take_nft(const struct nlmsghdr *h, struct monitor_news *news)
{
	bool sets, rules;

	if (h->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
		return;
	switch (h->nlmsg_type & 0xff) {
	case NFT_MSG_NEWTABLE:
	case NFT_MSG_DELTABLE:
		/* An owner's death takes a table with its chains and tells the table alone. */
		sets = rules = true;
		break;
	case NFT_MSG_NEWSET:
	case NFT_MSG_DELSET:
		sets = true;
		rules = false;
		break;
	case NFT_MSG_NEWCHAIN:
	case NFT_MSG_DELCHAIN:
	case NFT_MSG_NEWRULE:
	case NFT_MSG_DELRULE:
		sets = false;
		rules = true;
		break;
	default:
		return;
	}
	if (in_our_table(h))
		return;
	news->nft_sets |= sets;
	news->nft_rules |= rules;
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
		news->routes |= !ours && route->rtm_dst_len <= ROUTE_SHORT_MAX;
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

static int read_all(struct monitor *m, int fd,
	void (*take)(const struct nlmsghdr *h, struct monitor_news *news),
	struct monitor_news *news)
{
	for (int i = 0; i < READS_MAX; i++) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)m->buf;
		ssize_t n = recv(fd, m->buf, sizeof m->buf, MSG_DONTWAIT | MSG_TRUNC);
		int left;

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno != EINTR && errno != ENOBUFS)
			return -errno;
		if (n > (ssize_t)sizeof m->buf || (n < 0 && errno == ENOBUFS))
			news->lost = true;
		if (n < 0)
			continue;
		left = n > (ssize_t)sizeof m->buf ? (int)sizeof m->buf : (int)n;
		for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
			take(h, news);
	}
	return 0;
}

int monitor_read(struct monitor *m, struct monitor_news *news)
{
	int r = read_all(m, m->nft, take_nft, news);
	int r2 = read_all(m, m->route, take_route, news);

	return r < 0 ? r : r2;
}
