/* What connection tracking knows of flows to the pools that the kernel carries, that is, sends to
 * another destination (ctnetlink). What goes to the relay is not among them. The kernel leaves out
 * what it can (IPv4: all other targets), the rest is left out here. One thread's. */
#ifndef TUNGATE_NETLINK_CONNTRACK_H
#define TUNGATE_NETLINK_CONNTRACK_H

#include "gateway/base/addr.h"

struct conntrack;

/* -EPERM; -EOPNOTSUPP: the kernel has no nf_conntrack_netlink. */
int conntrack_open(struct conntrack **ret);
void conntrack_close(struct conntrack *c);

/* Every flow whose original destination lies in one of the prefixes (len 0: none of that family):
 * its destination. Waits for the kernel, at most 1 s. 0, or a negative errno: then what was visited
 * is not all. */
typedef void conntrack_visit(void *arg, const struct ip_addr *target);
int conntrack_each(struct conntrack *c, const struct ip_prefix *pool4,
	const struct ip_prefix *pool6, conntrack_visit *visit, void *arg);
/* Is there a flow whose original destination is this address? 1, 0, or a negative errno. */
int conntrack_has(struct conntrack *c, const struct ip_addr *target);
/* The flow of this original tuple is forgotten; not there: fine. Does not wait for the kernel. */
int conntrack_forget(struct conntrack *c, uint8_t protocol, const struct ip_port *source,
	const struct ip_port *target);

#endif
