/* The kernel's news: nft tables, chains, rules and sets that come and go (NFNLGRP_NFTABLES,
 * elements and our own commits filtered out in the kernel by a classic BPF program, facts/kernel.md
 * d5), and links, addresses, routes and rules (rtnetlink). Two descriptors for the main thread's
 * loop; nothing here blocks. */
#ifndef TUNGATE_NETLINK_MONITOR_H
#define TUNGATE_NETLINK_MONITOR_H

#include <stdbool.h>

struct monitor;

struct monitor_news {	/* what happened since the last read; several may be true */
	bool nft_sets;	/* a table or set came or went */
	bool nft_rules; /* a chain or rule of another table came or went: the firewall's, perhaps */
	bool links;	/* an interface came, went or changed its flags */
	bool addresses;
	bool routes;	   /* a rule of somebody else, or a default route, came or went */
	bool ours_removed; /* a rule or route of protocol 198 was removed */
	bool lost;	   /* the socket overflowed: anything may have happened */
};

int monitor_open(struct monitor **ret);
void monitor_close(struct monitor *m);
int monitor_nft_fd(const struct monitor *m);
int monitor_route_fd(const struct monitor *m);
/* Reads what both descriptors hold without blocking, or-ed into *news. 0 or negative errno. */
int monitor_read(struct monitor *m, struct monitor_news *news);

#endif
