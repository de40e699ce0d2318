#include "netlink/subscribe.h"

#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

int netlink_subscribe(
	int bus, int queue_bytes, int (*filter)(int fd), const int *groups, size_t n, int *ret_fd)
{
	struct sockaddr_nl local = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, bus);
	int r;

	if (fd < 0)
		return -errno;
	/* Needs a right that a subscriber may lack; a short queue is told by ENOBUFS. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &queue_bytes, sizeof queue_bytes);
	r = filter(fd);
	if (r < 0)
		goto fail;
	if (bind(fd, (struct sockaddr *)&local, sizeof local) < 0) {
		r = -errno;
		goto fail;
	}
	for (size_t i = 0; i < n; i++) {
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i],
			    sizeof groups[i]) < 0) {
			r = -errno;
			goto fail;
		}
	}
	*ret_fd = fd;
	return 0;
fail:
	close(fd);
	return r;
}
