/* Forgets old flows (`conntrack: forget`): when an address has just got its set, what connection
 * tracking knows of one client's flows to it is deleted, so that they are routed anew and not as
 * they were. A thread of its own, started with the first request: the kernel's table may be large.
 * Requests that wait share one look through the table; a full queue drops the newest, which is
 * counted. */
#ifndef TUNGATE_NETLINK_FORGETTER_H
#define TUNGATE_NETLINK_FORGETTER_H

#include "gateway/base/addr.h"

struct forgetter;

int forgetter_new(struct forgetter **ret); /* -ENOMEM */
void forgetter_free(struct forgetter *f);  /* ends the thread; NULL is fine */

/* Flows whose original source is the client and whose original destination is the address, of all
 * protocols; not ours to the pools. Any thread; does not wait. Families differ: nothing. */
#define FORGETTER_QUEUE_MAX 1024
void forgetter_submit(
	struct forgetter *f, const struct ip_addr *client, const struct ip_addr *address);

struct forgetter_stats {
	uint64_t asked, flows, dropped, errors; /* flows: deleted */
};
void forgetter_stats(struct forgetter *f, struct forgetter_stats *ret); /* NULL f: zeros */

#endif
