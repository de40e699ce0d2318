#ifndef TUNGATE_NETLINK_SUBSCRIBE_H
#define TUNGATE_NETLINK_SUBSCRIBE_H

#include <stddef.h>

/* A socket that hears what the kernel tells these groups of a bus (NETLINK_…), from now on. filter:
 * chooses in the kernel what is heard; 0 or -errno. 0 or -errno. */
int netlink_subscribe(
	int bus, int queue_bytes, int (*filter)(int fd), const int *groups, size_t n, int *ret_fd);

#endif
