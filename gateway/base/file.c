#include "gateway/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEPT_MAX 9

int file_write_all(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_check(const char *path)
{
	struct stat st;

	if (stat(path, &st) || S_ISREG(st.st_mode))
		return 0;
	return S_ISDIR(st.st_mode) ? -EISDIR : -ENOTSUP;
}

/* By system call: not every C library has renameat2(). */
int file_move(const char *from, const char *to)
{
	return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) ? -errno : 0;
}

static char *name_aside(const char *path, unsigned number)
{
	char *name;
	int n = number == 1 ? asprintf(&name, "%s.foreign", path)
			    : asprintf(&name, "%s.foreign.%u", path, number);

	return n < 0 ? NULL : name;
}

int file_keep_aside(const char *path, char **ret)
{
	int err = -EEXIST;

	for (unsigned i = 1; i <= KEPT_MAX && err == -EEXIST; i++) {
		char *name = name_aside(path, i);

		err = name ? file_move(path, name) : -ENOMEM;
		if (!err)
			*ret = name;
		else
			free(name);
	}
	return err;
}

int file_become(int fd, const char *new_path, const char *path, const void *bytes, size_t len)
{
	int err = file_write_all(fd, bytes, len);

	if (!err && fsync(fd))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err)
		err = file_check(path);
	if (!err && rename(new_path, path))
		err = -errno;
	if (err)
		(void)unlink(new_path);
	else
		file_sync_folder(path);
	return err;
}

void file_sync_folder(const char *path)
{
	char *folder = strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
	int fd;

	if (slash)
		slash[slash == folder] = 0;
	fd = folder ? open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		(void)fsync(fd);
		(void)close(fd);
	}
	free(folder);
}
