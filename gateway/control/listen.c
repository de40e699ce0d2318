#include "gateway/control/listen.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG	      64
#define STALE_WAIT_MS 10
#define DYING_WAIT_MS 500

static int address_of(const char *path, struct sockaddr_un *ret)
{
	size_t len = strlen(path);

	if (len == 0)
		return -EINVAL;
	if (len >= sizeof ret->sun_path)
		return -ENAMETOOLONG;
	memset(ret, 0, sizeof *ret);
	ret->sun_family = AF_UNIX;
	memcpy(ret->sun_path, path, len + 1);
	return 0;
}

/* Exited, reaped or not; one that was just killed gets a moment for it. 0 is a process that our
 * namespace cannot see. */
static bool has_ended(pid_t pid)
{
	struct pollfd p = {.events = POLLIN};
	bool ended;

	if (pid <= 0)
		return false;
	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p.fd < 0)
		return errno == ESRCH;
	ended = poll(&p, 1, DYING_WAIT_MS) == 1;
	close(p.fd);
	return ended;
}

/* Does anybody listen there? 0: nobody. -EADDRINUSE and *ret_pid: yes. A killed process's socket
 * takes connections until the kernel has taken its io_uring apart, which needs some milliseconds.
 */
static int probe(const struct sockaddr_un *at, int *ret_pid)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = 0;
	struct ucred peer;
	socklen_t len = sizeof peer;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)at, sizeof *at) == 0) {
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
			peer.pid = 0;
		if (!has_ended(peer.pid)) {
			err = -EADDRINUSE;
			*ret_pid = peer.pid;
		}
	} else if (errno == EAGAIN) {
		err = -EADDRINUSE; /* its queue is full: it hangs, but it lives */
	} else if (errno != ECONNREFUSED && errno != ENOENT) {
		err = -errno;
	}
	close(fd);
	return err;
}

/* Removes what a killed process has left. Never anything but a socket. */
static int remove_stale(const struct sockaddr_un *at, int *ret_pid)
{
	const struct timespec wait = {.tv_nsec = STALE_WAIT_MS * 1000000L};
	struct stat st;
	int err;

	if (lstat(at->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	err = probe(at, ret_pid);
	if (err)
		return err;
	/* One that is being started now is bound a moment before it listens. */
	nanosleep(&wait, NULL);
	err = probe(at, ret_pid);
	if (err)
		return err;
	return unlink(at->sun_path) && errno != ENOENT ? -errno : 0;
}

static int bind_path(int fd, const struct sockaddr_un *at, int *ret_pid)
{
	int err;

	if (bind(fd, (const struct sockaddr *)at, sizeof *at) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	err = remove_stale(at, ret_pid);
	if (err)
		return err;
	return bind(fd, (const struct sockaddr *)at, sizeof *at) ? -errno : 0;
}

static int give_to_group(const char *path, const char *group)
{
	const struct group *g = getgrnam(group);
	char *end;
	unsigned long gid;

	if (g) {
		gid = g->gr_gid;
	} else {
		gid = strtoul(group, &end, 10);
		if (group[0] < '0' || group[0] > '9' || *end || gid >= UINT32_MAX)
			return -EINVAL;
	}
	return chown(path, (uid_t)-1, (gid_t)gid) ? -errno : 0;
}

int control_listen(const char *path, unsigned mode, const char *group, int *ret_pid,
	struct control_listener *ret)
{
	struct control_listener l;
	struct sockaddr_un at;
	struct stat st;
	int err = address_of(path, &at);

	*ret_pid = 0;
	if (err)
		return err;
	memcpy(l.path, at.sun_path, sizeof l.path);
	l.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l.fd < 0)
		return -errno;
	err = bind_path(l.fd, &at, ret_pid);
	if (err)
		goto close_fd;
	if (lstat(path, &st)) {
		err = -errno;
		goto close_fd;
	}
	l.dev = st.st_dev;
	l.ino = st.st_ino;
	/* Nobody can connect before listen(), so nobody meets the mode that the umask left. */
	if (group)
		err = give_to_group(path, group);
	if (!err && chmod(path, mode))
		err = -errno;
	if (!err && listen(l.fd, BACKLOG))
		err = -errno;
	if (err)
		goto remove;
	*ret = l;
	return 0;

remove:
	control_listener_remove(&l);
close_fd:
	close(l.fd);
	return err;
}

int control_path_check(const char *path)
{
	struct sockaddr_un at;
	struct stat st;
	char *slash;
	int error = address_of(path, &at);

	if (error)
		return error;
	if (lstat(at.sun_path, &st) == 0)
		return S_ISSOCK(st.st_mode) ? 0 : -EEXIST;
	if (errno != ENOENT)
		return -errno;
	slash = strrchr(at.sun_path, '/');
	if (!slash || slash == at.sun_path)
		return 0;
	*slash = 0;
	return stat(at.sun_path, &st) ? -errno : 0;
}

void control_listener_remove(struct control_listener *l)
{
	struct stat st;

	if (lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
}
