/* Questions to connection tracking that conntrack.c and forgetter.c share. */
#ifndef TUNGATE_NETLINK_CONNTRACK_INTERNAL_H
#define TUNGATE_NETLINK_CONNTRACK_INTERNAL_H

#include "netlink/conntrack.h"

#include <linux/netlink.h>

struct conntrack_request {
	_Alignas(struct nlmsghdr) uint8_t buf[512];
	struct nlmsghdr *h; /* written on with mnl_attr_put*() */
};

void conntrack_request_init(struct conntrack *c, struct conntrack_request *r, uint16_t type,
	uint16_t flags, uint8_t family);
void conntrack_put_address(struct nlmsghdr *h, uint16_t v4, uint16_t v6, const struct ip_addr *a);
/* The kernel may leave out flows of another original source or destination (NULL: any). It does
 * from Linux 5.8 on, and not for IPv6, where its filter lets pass all but what was asked for (seen
 * in Linux 6.18): so whoever asks looks again. */
void conntrack_put_filter(
	struct nlmsghdr *h, const struct ip_addr *source, const struct ip_addr *target);

struct conntrack_flow {
	struct ip_addr source, target;		/* of the original direction */
	uint32_t status;			/* IPS_* */
	const struct nlattr *tuple, *zone, *id; /* NULL: the message has none */
};
/* Its result other than 0 ends the reading and is returned; the socket must be closed then, and
 * after every other error. The flow is valid in the callback. */
typedef int conntrack_take(void *arg, const struct conntrack_flow *flow);
int conntrack_dump(struct conntrack *c, const struct conntrack_request *r, int wait_ms,
	conntrack_take *take, void *arg);
/* Does not wait. 0, the kernel's errno. */
int conntrack_delete(struct conntrack *c, const struct conntrack_request *r);

#endif
