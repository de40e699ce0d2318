#include "gateway/resolve/transport.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/resolve/resolve_internal.h"

int transport_socket(const struct server *s, int type)
{
	int fd = socket(s->at.ss_family, type | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	/* Without its mark the packet would be taken by our own rules and come back: rather none
	 * than that. */
	if (s->mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &s->mark, sizeof s->mark) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}
