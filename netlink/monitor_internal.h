/* What the monitor's parts share: the programs that choose in the kernel what wakes us, and the
 * reading of one message of nf_tables, which is pure. */
#ifndef TUNGATE_NETLINK_MONITOR_INTERNAL_H
#define TUNGATE_NETLINK_MONITOR_INTERNAL_H

#include "netlink/monitor.h"

#include <linux/netlink.h>

/* 0 or a negative errno. The first may be called again while messages come. */
int monitor_filter_nft(int fd, const uint32_t *own, size_t n);
int monitor_filter_route(int fd);
/* Shorter destinations are default routes, also in parts (two /1, 2000::/3): no network's own. */
#define MONITOR_ROUTE_SHORT_MAX 7

/* A whole message stands here. (mnl_nlmsg_ok() takes a length over 2^31 for a negative one.) */
static inline bool monitor_message_ok(const struct nlmsghdr *h, int left)
{
	return left >= (int)sizeof *h && h->nlmsg_len >= sizeof *h &&
	       h->nlmsg_len <= (uint32_t)left;
}

/* One message, as long as its header says. Or-ed into *news; visit may be NULL. */
void monitor_nft_take(
	const struct nlmsghdr *h, monitor_set_visit *visit, void *arg, struct monitor_news *news);

#endif
