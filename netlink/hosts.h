/* This host's own addresses, for telling a loop from a client. Written by the main thread when the
 * kernel says that they changed, read by any thread. */
#ifndef TUNGATE_NETLINK_HOSTS_H
#define TUNGATE_NETLINK_HOSTS_H

#include "netlink/rt.h"

struct hosts;
int hosts_new(struct hosts **ret);
void hosts_free(struct hosts *h);
int hosts_reload(struct hosts *h, struct rt *rt);
bool hosts_contain(const struct hosts *h, const struct ip_addr *a);

#endif
