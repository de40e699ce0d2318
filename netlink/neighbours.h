/* Who is on the LAN: the MAC address and the interface of a client, as far as the kernel's
 * neighbour table and the addresses of this host's interfaces tell. Kept by rtnetlink's news
 * (RTNLGRP_NEIGH); written by the main thread, read by any thread without a lock on the fast path.
 * What the kernel drops for its age, or with its link, stays known until somebody else has the
 * address.
 * Bounded (NEIGHBOURS_MAX); beyond that the oldest is forgotten. */
#ifndef TUNGATE_NETLINK_NEIGHBOURS_H
#define TUNGATE_NETLINK_NEIGHBOURS_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "netlink/rt.h"

#define NEIGHBOURS_MAX 16384

struct neighbours;
struct neighbour {
	bool has_mac;
	uint8_t mac[6];
	unsigned ifindex;	     /* 0: not known */
	char interface[IF_NAMESIZE]; /* "": not known */
};

/* Opens the socket and reads the whole table. 0 or a negative errno. */
int neighbours_new(struct neighbours **ret);
void neighbours_free(struct neighbours *n); /* NULL is fine */
int neighbours_fd(const struct neighbours *n);
/* Reads the news without blocking; after an overflow the whole table again. Main thread. */
int neighbours_read(struct neighbours *n);
/* Links or addresses have changed: what prefix lies on which interface. Main thread. */
int neighbours_reload(struct neighbours *n, struct rt *rt);
/* An address that the neighbour table does not have may still lie in the prefix of an interface:
 * then only that is known. False: nothing is known. Any thread; NULL knows nothing. */
bool neighbours_find(
	const struct neighbours *n, const struct ip_addr *address, struct neighbour *ret);

#endif
