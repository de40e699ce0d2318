/* Opening a list's file, and telling its states apart. */
#include "gateway/lists/lists_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/grow.h"

#define PIECE_BYTES 65536

bool list_stamp_equal(const struct list_stamp *a, const struct list_stamp *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->mtime_s == b->mtime_s && a->mtime_ns == b->mtime_ns && a->ctime_s == b->ctime_s &&
	       a->ctime_ns == b->ctime_ns;
}

static struct list_stamp stamp_of(const struct stat *st)
{
	return (struct list_stamp){
		.device = st->st_dev,
		.inode = st->st_ino,
		.size = (uint64_t)st->st_size,
		.mtime_s = st->st_mtim.tv_sec,
		.mtime_ns = st->st_mtim.tv_nsec,
		.ctime_s = st->st_ctim.tv_sec,
		.ctime_ns = st->st_ctim.tv_nsec,
	};
}

int list_stamp_read(const char *path, struct list_stamp *ret)
{
	struct stat st;

	*ret = (struct list_stamp){0};
	if (stat(path, &st) < 0)
		return -errno;
	*ret = stamp_of(&st);
	return 0;
}

uint64_t list_stamp_mix(uint64_t state, const struct list_stamp *s)
{
	state ^= s->inode ^ s->size << 20 ^ (uint64_t)s->mtime_s << 30 ^ (uint64_t)s->mtime_ns ^
		 (uint64_t)s->ctime_s << 32 ^ (uint64_t)s->ctime_ns << 34;
	/* The state of files that are all missing is one, too: not the 0 of none. */
	state = (state + 1) * 0x9e3779b97f4a7c15ULL;
	return state ^ state >> 29;
}

/* O_NONBLOCK: a FIFO must not hold us. */
int list_file_open(const char *path, int *ret_fd, struct list_stamp *ret_stamp)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), err = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (S_ISDIR(st.st_mode))
		err = -EISDIR;
	else if (!S_ISREG(st.st_mode))
		err = -EINVAL;
	if (err) {
		(void)close(fd);
		return err;
	}
	*ret_fd = fd;
	*ret_stamp = stamp_of(&st);
	return 0;
}

int list_file_bytes(
	const char *path, uint64_t total, struct list_bytes **ret, struct list_stamp *ret_stamp)
{
	int fd = -1, err = list_file_open(path, &fd, ret_stamp);

	if (err)
		return err;
	err = list_bytes_file(fd, total, ret);
	if (err)
		(void)close(fd);
	return err;
}

/* The size in the stamp is not believed: files grow while they are read, and those of /proc have
 * none. */
int list_text_load(const char *path, size_t max_bytes, char **ret, size_t *ret_len)
{
	struct list_bytes *in = NULL;
	struct list_stamp stamp;
	size_t room = 0, len = 0;
	void *text = NULL;
	ssize_t n = 1;
	int err = list_file_bytes(path, max_bytes, &in, &stamp);

	if (err)
		return err;
	while (n > 0) {
		err = room_grow(&text, &room, len, PIECE_BYTES + 1, 1);
		if (err)
			break;
		n = list_bytes_read(in, (char *)text + len, PIECE_BYTES);
		if (n < 0)
			err = (int)n;
		else
			len += (size_t)n;
	}
	list_bytes_free(in);
	if (err) {
		free(text);
		return err;
	}
	*ret = text;
	(*ret)[len] = 0;
	*ret_len = len;
	return 0;
}
