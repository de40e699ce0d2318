#include "gateway/tun/device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What the kernel would refuse or, worse, take for a pattern ("%d"). */
static bool name_valid(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= IFNAMSIZ || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	return strpbrk(name, "%/: \t\n\v\f\r") == NULL;
}

static int open_queue(const char *name, short flags)
{
	struct ifreq ifr = {.ifr_flags = flags};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	/* The node may be there without the driver. */
	if (fd < 0)
		return errno == ENXIO || errno == ENODEV || errno == ENOTDIR ? -ENOENT : -errno;
	memcpy(ifr.ifr_name, name, strlen(name));
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

int tun_device_open(const char *name, unsigned queues, int fds[])
{
	if (!name_valid(name) || queues < 1 || queues > TUN_QUEUES_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < queues; i++) {
		/* EXCL: without it the first queue joins a device of that name if its flags are the
		 * same. */
		int fd = open_queue(name, (short)(IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE |
						  (i == 0 ? IFF_TUN_EXCL : 0)));

		if (fd < 0) {
			while (i > 0)
				close(fds[--i]);
			return fd;
		}
		fds[i] = fd;
	}
	return 0;
}
