#include "gateway/resolve/transport.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/resolve/resolve_internal.h"

int transport_mark_set(int fd, uint32_t mark)
{
	return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0 ? -errno : 0;
}

int transport_socket(const struct server *s, int type)
{
	int fd = socket(s->at.ss_family, type | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return -errno;
	/* Without its mark the packet would be taken by our own rules and come back: rather none
	 * than that. */
	error = s->mark ? transport_mark_set(fd, s->mark) : 0;
	if (error < 0) {
		close(fd);
		return error;
	}
	return fd;
}
