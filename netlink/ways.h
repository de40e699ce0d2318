/* Which families an egress has a route for (`filter: auto`): asked of the kernel with the egress's
 * mark (RTM_GETROUTE towards a public address, so that rules by mark count), again whenever routes,
 * rules or links change. Written by the main thread, read by any. */
#ifndef TUNGATE_NETLINK_WAYS_H
#define TUNGATE_NETLINK_WAYS_H

#include "conf/config.h"
#include "netlink/rt.h"

#define WAYS_MAX 64

struct ways;
int ways_new(struct ways **ret);
void ways_free(struct ways *w); /* NULL is fine */
/* The marks of the configuration's egresses; own: of packets of an egress without one, and of way
 * -1. A proxy's way is not known to us: it has both. Asks at once. */
int ways_set(struct ways *w, struct rt *rt, const struct config *config, struct conf_mark own);
/* Asks again; *ret_changed: an answer is another one. Main thread. */
int ways_reload(struct ways *w, struct rt *rt, bool *ret_changed);
/* egress: index in the configuration; -1: an answer without egress. NULL has all. */
bool ways_has(const struct ways *w, int egress, uint8_t family);

#endif
