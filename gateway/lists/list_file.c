/* Opening and reading a list's file. */
#include "gateway/lists/lists.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES 65536

bool list_stamp_equal(const struct list_stamp *a, const struct list_stamp *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->mtime_s == b->mtime_s && a->mtime_ns == b->mtime_ns;
}

static struct list_stamp stamp_of(const struct stat *st)
{
	return (struct list_stamp){
		.device = st->st_dev,
		.inode = st->st_ino,
		.size = (uint64_t)st->st_size,
		.mtime_s = st->st_mtim.tv_sec,
		.mtime_ns = st->st_mtim.tv_nsec,
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

/* Opens path if it is a regular file. O_NONBLOCK: a FIFO must not hold us. */
static int file_open(const char *path, int *ret_fd, struct list_stamp *ret_stamp)
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

/* The size in the stamp is not believed: files grow while they are read, and those of /proc have
 * none. */
static int file_feed(int fd, struct list_plain *reader)
{
	char *piece = malloc(PIECE_BYTES);
	uint64_t total = 0;
	int err = 0;

	if (!piece)
		return -ENOMEM;
	while (!err) {
		ssize_t n = read(fd, piece, PIECE_BYTES);

		if (n == 0)
			break;
		if (n > 0) {
			total += (uint64_t)n;
			err = total > LIST_FILE_MAX ? -EFBIG
						    : list_plain_feed(reader, piece, (size_t)n);
		} else if (errno != EINTR) {
			err = -errno;
		}
	}
	free(piece);
	return err;
}

int list_file_read(const char *path, const char *key, const struct list_sink *sink,
	struct list_counts *ret_counts, struct list_stamp *ret_stamp)
{
	struct list_plain *reader = NULL;
	struct list_counts counts;
	struct list_stamp stamp;
	int fd = -1, err = file_open(path, &fd, &stamp);

	if (err)
		return err;
	err = list_plain_new(path, key, sink, &reader);
	if (!err)
		err = file_feed(fd, reader);
	if (!err)
		err = list_plain_end(reader, &counts);
	list_plain_free(reader);
	(void)close(fd);
	if (err)
		return err;
	if (ret_counts)
		*ret_counts = counts;
	if (ret_stamp)
		*ret_stamp = stamp;
	return 0;
}

int list_text_load(const char *path, size_t max_bytes, char **ret, size_t *ret_len)
{
	struct list_stamp stamp;
	size_t room = 0, len = 0;
	char *text = NULL;
	int fd = -1, err = file_open(path, &fd, &stamp);

	while (!err) {
		ssize_t n;

		if (len == room) {
			char *grown = realloc(text, room + PIECE_BYTES + 1);

			if (!grown) {
				err = -ENOMEM;
				break;
			}
			text = grown;
			room += PIECE_BYTES;
		}
		n = read(fd, text + len, room - len);
		if (n == 0)
			break;
		if (n > 0)
			len += (size_t)n;
		else if (errno != EINTR)
			err = -errno;
		if (len > max_bytes)
			err = -EFBIG;
	}
	if (fd >= 0)
		(void)close(fd);
	if (err) {
		free(text);
		return err;
	}
	text[len] = 0;
	*ret = text;
	*ret_len = len;
	return 0;
}
