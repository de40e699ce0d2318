#include "gateway/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STORE_MAX_BYTES (512u << 20) /* a log that is larger is not ours */

#define KEPT_MAX 9 /* PATH.foreign, PATH.foreign.2, … */

struct store {
	int fd;
	const char *path; /* while the file may be foreign, else NULL; so the two below */
	const struct fakeip_load_result *result;
	int *pid;
};

static ssize_t append(void *arg, const void *data, size_t len)
{
	struct store *s = arg;
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(s->fd, (const char *)data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return (ssize_t)len;
}

static int make_folder(const char *path)
{
	char *folder = strdup(path), *slash;
	int error = 0;

	if (!folder)
		return -ENOMEM;
	slash = strrchr(folder, '/');
	if (slash && slash != folder) {
		*slash = 0;
		if (mkdir(folder, 0755) && errno != EEXIST)
			error = -errno;
	}
	free(folder);
	return error;
}

/* A POSIX lock, because it names its holder and goes with the process, however that ends. */
static int take_lock(int fd, int *ret_pid)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_SETLK, &lock) == 0)
		return 0;
	if (errno != EACCES && errno != EAGAIN)
		return -errno;
	*ret_pid = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0;
	return -EBUSY;
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | flags, 0640);

	return fd < 0 ? -errno : fd;
}

/* Out of our way, and over nothing that was kept before. */
static int keep_foreign(const char *path)
{
	char kept[PATH_MAX];

	for (unsigned i = 1; i <= KEPT_MAX; i++) {
		int n = i == 1 ? snprintf(kept, sizeof kept, "%s.foreign", path)
			       : snprintf(kept, sizeof kept, "%s.foreign.%u", path, i);

		if (n >= (int)sizeof kept)
			return -ENAMETOOLONG;
		/* By system call: not every C library has renameat2(). */
		if (syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, kept, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

/* What is not ours is not destroyed, whatever fakeip.store was pointed at. */
static int start_anew(struct store *s)
{
	int error = keep_foreign(s->path), fd;

	if (error)
		return error;
	fd = open_file(s->path, O_EXCL);
	if (fd < 0)
		return fd;
	close(s->fd);
	s->fd = fd;
	s->path = NULL; /* this file is ours */
	return take_lock(fd, s->pid);
}

static int cut(void *arg, uint64_t len)
{
	struct store *s = arg;

	if (len == 0 && s->path && s->result->foreign)
		return start_anew(s);
	return ftruncate(s->fd, (off_t)len) ? -errno : 0;
}

static int read_all(int fd, uint8_t **ret, size_t *ret_len)
{
	struct stat st;
	uint8_t *data;
	size_t len = 0;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > (off_t)STORE_MAX_BYTES)
		return -EFBIG;
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	while (len < (size_t)st.st_size) {
		ssize_t n = pread(fd, data + len, (size_t)st.st_size - len, (off_t)len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int error = -errno;

			free(data);
			return error;
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret = data;
	*ret_len = len;
	return 0;
}

int store_open(const char *path, struct fakeip_table *table, uint32_t now_s, struct store **ret,
	int *ret_pid, struct fakeip_load_result *ret_result)
{
	struct fakeip_log_io io = {.append = append, .truncate = cut};
	struct store *s = calloc(1, sizeof *s);
	uint8_t *data = NULL;
	size_t len = 0;
	int error;

	memset(ret_result, 0, sizeof *ret_result);
	*ret_pid = 0;
	if (!s)
		return -ENOMEM;
	io.arg = s;
	*s = (struct store){.fd = -1, .path = path, .result = ret_result, .pid = ret_pid};
	error = make_folder(path);
	if (error)
		goto fail;
	s->fd = open_file(path, 0);
	if (s->fd < 0) {
		error = s->fd;
		goto fail;
	}
	error = take_lock(s->fd, ret_pid);
	if (!error)
		error = read_all(s->fd, &data, &len);
	if (!error)
		error = fakeip_load(table, data, len, now_s, &io, ret_result);
	free(data);
	if (error)
		goto fail;
	s->path = NULL;
	s->result = NULL;
	s->pid = NULL;
	*ret = s;
	return 0;
fail:
	store_close(s);
	return error;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}
