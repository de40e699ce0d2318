/* The kernel's news: nft tables, chains, rules, sets and elements that come and go
 * (NFNLGRP_NFTABLES; what our own sockets commit is filtered out in the kernel by a classic BPF
 * program, which knows them by their port, facts/kernel.md d5), and links, addresses, routes and
 * rules (rtnetlink). Two descriptors for the main thread's loop; nothing here blocks. */
#ifndef TUNGATE_NETLINK_MONITOR_H
#define TUNGATE_NETLINK_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct monitor;

/* Of a set or map of somebody else's table. Not told (Linux 6.18): elements that expire, and a
 * table that goes because its owner's socket was closed. */
struct monitor_set_event {
	enum {
		MONITOR_SET_CAME, /* or was told again */
		MONITOR_SET_WENT,
		MONITOR_TABLE_WENT,   /* or came: set NULL; all that stood in it is another */
		MONITOR_ELEMENT_WENT, /* deleted or flushed */
		/* Or lives for another time now. Of a few only: a load of them is not told. */
		MONITOR_ELEMENT_CAME,
	} what;
	uint8_t nfproto;
	const char *table, *set; /* valid in the callback */
	const uint8_t *key;	 /* of an element, raw */
	size_t key_size;
};
typedef void monitor_set_visit(void *arg, const struct monitor_set_event *event);

struct monitor_news {	/* what happened since the last read; several may be true */
	bool nft_rules; /* a chain or rule of another table came or went: the firewall's, perhaps */
	bool links;	/* an interface came, went or changed its flags */
	bool addresses;
	bool routes;	   /* a rule of somebody else, or a default route, came or went */
	bool ours_removed; /* a rule or route of protocol 198 was removed */
	bool lost;	   /* the socket overflowed: anything may have happened */
	bool more;	   /* there may be more to read, of which no descriptor tells again */
};

/* visit (may be NULL) is called from monitor_read(), in the order of the kernel. */
int monitor_open(monitor_set_visit *visit, void *arg, struct monitor **ret);
/* The netlink ports of our own sockets that commit: their news are not told. At most
 * MONITOR_OWN_MAX. */
#define MONITOR_OWN_MAX 4
int monitor_set_own(struct monitor *m, const uint32_t *ports, size_t n);
void monitor_close(struct monitor *m);
int monitor_nft_fd(const struct monitor *m);
int monitor_route_fd(const struct monitor *m);
/* Reads what both descriptors hold without blocking, or-ed into *news. 0 or negative errno. */
int monitor_read(struct monitor *m, struct monitor_news *news);

#endif
