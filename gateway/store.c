#include "gateway/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/file.h"

#define STORE_MAX_BYTES (512u << 20) /* a log that is larger is not ours */
#define OPEN_TRIES	4	     /* while another process puts a new file in place */
#define STEPS_MAX	64	     /* of a snapshot in one tick: 4 MiB */

/* Whose the file at `path` is. */
enum owner {
	OWNER_UNKNOWN, /* it could not be read, or there is none: nothing is written over it */
	OWNER_FOREIGN, /* kept aside before ours takes the name */
	OWNER_US,
};

struct store {
	struct fakeip_table *table;
	char *path, *new_path, *kept; /* kept: what was there before, NULL: nothing */
	int fd, new_fd, old_fd;	      /* -1: none; old_fd: what a snapshot took the place of */
	int error;		      /* nothing can be written to fd */
	enum owner owner;
	bool name_is_new;		    /* the folder is to be synced too */
	uint32_t sync_s, synced_s, retry_s; /* retry_s: not before it */
	bool was_persistent, renewing;
	int *pid; /* while it is opened, as the next */
	const struct fakeip_load_result *result;
};

/* --- files --- */

/* As much as there is of it. */
static ssize_t read_at(int fd, void *data, size_t len, uint64_t at)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)data + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
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

/* A POSIX lock, because it names its holder and goes with the process, however that ends. For a
 * file that is only read, one that a writer does not share. */
static int take_lock(int fd, bool to_write, int *ret_pid)
{
	struct flock lock = {.l_type = to_write ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_SETLK, &lock) == 0)
		return 0;
	if (errno != EACCES && errno != EAGAIN)
		return -errno;
	*ret_pid = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0;
	return -EBUSY;
}

static bool has_name(int fd, const char *path)
{
	struct stat open_file, named;

	return fstat(fd, &open_file) == 0 && stat(path, &named) == 0 &&
	       open_file.st_ino == named.st_ino && open_file.st_dev == named.st_dev;
}

static int read_all(int fd, uint8_t **ret, size_t *ret_len)
{
	struct stat st;
	uint8_t *data;
	ssize_t n;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > (off_t)STORE_MAX_BYTES)
		return -EFBIG;
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	n = read_at(fd, data, (size_t)st.st_size, 0);
	if (n < 0) {
		free(data);
		return (int)n;
	}
	*ret = data;
	*ret_len = (size_t)n;
	return 0;
}

/* Out of our way. */
static int keep_foreign(struct store *s)
{
	char *kept;
	int error = file_keep_aside(s->path, &kept);

	if (error)
		return error;
	free(s->kept);
	s->kept = kept;
	return 0;
}

/* --- what the table asks for --- */

static ssize_t append_to(int fd, const void *data, size_t len)
{
	int error = file_write_all(fd, data, len);

	return error ? error : (ssize_t)len;
}

static ssize_t append(void *arg, const void *data, size_t len)
{
	struct store *s = arg;

	return s->error ? s->error : append_to(s->fd, data, len);
}

static ssize_t read_log(void *arg, uint64_t at, void *data, size_t len)
{
	struct store *s = arg;

	return read_at(s->fd, data, len, at);
}

/* Not while others wait: the last one to close a file without a name gives its space back. */
static void close_old(struct store *s)
{
	if (s->old_fd >= 0)
		close(s->old_fd);
	s->old_fd = -1;
}

static int sync_log(void *arg)
{
	struct store *s = arg;

	if (fdatasync(s->fd) && errno != EINVAL && errno != EROFS)
		return -errno;
	if (s->name_is_new)
		file_sync_folder(s->path);
	s->name_is_new = false;
	close_old(s);
	return 0;
}

/* What is not ours is not destroyed, whatever fakeip.store was pointed at. */
static int start_anew(struct store *s)
{
	int error, fd;

	s->owner = OWNER_FOREIGN;
	error = keep_foreign(s);
	if (error)
		return error;
	s->owner = OWNER_UNKNOWN;
	fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	close(s->fd);
	s->fd = fd;
	s->owner = OWNER_US;
	s->name_is_new = true;
	return take_lock(fd, true, s->pid);
}

static int cut(void *arg, uint64_t len)
{
	struct store *s = arg;

	if (s->error)
		return s->error;
	if (len == 0 && s->result && s->result->foreign)
		return start_anew(s);
	return ftruncate(s->fd, (off_t)len) ? -errno : 0;
}

static void new_drop(void *arg)
{
	struct store *s = arg;

	if (s->new_fd < 0 || !s->new_path)
		return;
	unlink(s->new_path);
	close(s->new_fd);
	s->new_fd = -1;
}

/* Locked before it gets the name, so that the name is never without a lock. */
static int new_begin(void *arg)
{
	struct store *s = arg;
	int error = make_folder(s->path), pid;

	if (error)
		return error;
	close_old(s);
	(void)unlink(s->new_path);
	s->new_fd = open(s->new_path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0640);
	if (s->new_fd < 0)
		return -errno;
	error = take_lock(s->new_fd, true, &pid);
	if (error)
		new_drop(s);
	return error;
}

static ssize_t new_append(void *arg, const void *data, size_t len)
{
	struct store *s = arg;

	return append_to(s->new_fd, data, len);
}

static int new_sync(void *arg)
{
	struct store *s = arg;

	return fdatasync(s->new_fd) ? -errno : 0;
}

static int new_become(void *arg)
{
	struct store *s = arg;
	int error = 0;

	if (s->owner == OWNER_FOREIGN) {
		error = keep_foreign(s);
		if (error)
			return error;
		s->owner = OWNER_UNKNOWN;
	}
	if (s->owner != OWNER_US)
		error = file_move(s->new_path, s->path);
	else if (rename(s->new_path, s->path))
		error = -errno;
	if (error)
		return error;
	s->old_fd = s->fd;
	s->fd = s->new_fd;
	s->new_fd = -1;
	s->error = 0;
	s->owner = OWNER_US;
	s->name_is_new = true;
	return 0;
}

static struct fakeip_log_io log_io(struct store *s)
{
	return (struct fakeip_log_io){.arg = s,
		.append = append,
		.truncate = cut,
		.sync = sync_log,
		.read = read_log,
		.snapshot = {.begin = new_begin,
			.append = new_append,
			.sync = new_sync,
			.become = new_become,
			.drop = new_drop}};
}

/* --- opening --- */

/* To write; if that is not allowed, to read. */
static int open_file(struct store *s)
{
	s->fd = open(s->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (s->fd >= 0)
		return 0;
	s->error = -errno;
	if (s->error == -EROFS || s->error == -EACCES || s->error == -EPERM)
		s->fd = open(s->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return s->fd >= 0 ? 0 : s->error;
}

/* The lock is on the file that has the name: another process may have put a new one there between
 * the two. */
static int open_and_lock(struct store *s)
{
	int error = make_folder(s->path);

	for (unsigned i = 0; i < OPEN_TRIES && !error; i++) {
		s->error = 0;
		error = open_file(s);
		if (!error)
			error = take_lock(s->fd, s->error == 0, s->pid);
		if (error || has_name(s->fd, s->path))
			return error;
		close(s->fd);
		s->fd = -1;
		error = i + 1 == OPEN_TRIES ? -ESTALE : 0;
	}
	return error;
}

static int load(struct store *s, uint32_t now_s, struct fakeip_load_result *result)
{
	struct fakeip_log_io io = log_io(s);
	uint8_t *data = NULL;
	size_t len = 0;
	int error = open_and_lock(s);

	if (error == -EBUSY)
		return error;
	if (!error && !s->error)
		(void)unlink(s->new_path); /* of a process that was killed */
	if (!error)
		error = read_all(s->fd, &data, &len);
	if (error) {
		s->error = error;
		(void)fakeip_load_nothing(s->table, now_s, &io);
		return error;
	}
	/* Our own until fakeip_load() finds that it is not; an empty one was made just now. */
	s->owner = OWNER_US;
	s->name_is_new = len == 0;
	error = fakeip_load(s->table, data, len, now_s, &io, result);
	free(data);
	if (error && result->foreign && s->owner == OWNER_US)
		s->owner = OWNER_FOREIGN;
	return error;
}

static struct store *store_new(const char *path, struct fakeip_table *table)
{
	struct store *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->fd = s->new_fd = s->old_fd = -1;
	s->table = table;
	s->sync_s = STORE_SYNC_S;
	s->path = strdup(path);
	if (!s->path || asprintf(&s->new_path, "%s.new", path) < 0) {
		s->new_path = NULL;
		store_close(s);
		return NULL;
	}
	return s;
}

int store_open(const char *path, struct fakeip_table *table, uint32_t now_s, struct store **ret,
	int *ret_pid, struct fakeip_load_result *ret_result)
{
	struct store *s = store_new(path, table);
	int error;

	memset(ret_result, 0, sizeof *ret_result);
	*ret_pid = 0;
	if (!s)
		return -ENOMEM;
	s->pid = ret_pid;
	s->result = ret_result;
	s->synced_s = now_s;
	error = load(s, now_s, ret_result);
	s->pid = NULL;
	s->result = NULL;
	s->was_persistent = fakeip_is_persistent(table);
	s->retry_s = s->was_persistent ? now_s : now_s + STORE_RETRY_S;
	if (error == -EBUSY || error == -ENOMEM) {
		s->table = NULL;
		store_close(s);
		return error;
	}
	*ret = s;
	return error;
}

const char *store_path(const struct store *s)
{
	return s->path;
}

const char *store_kept(const struct store *s)
{
	return s->kept;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	if (s->table)
		fakeip_close(s->table);
	new_drop(s);
	close_old(s);
	if (s->fd >= 0)
		close(s->fd);
	free(s->new_path);
	free(s->kept);
	free(s->path);
	free(s);
}

/* --- later --- */

void store_set_sync(struct store *s, uint32_t sync_s)
{
	s->sync_s = sync_s;
}

int store_sync(struct store *s)
{
	return fakeip_sync(s->table);
}

static int sync_if_due(struct store *s, uint32_t now_s)
{
	if (!fakeip_dirty(s->table)) {
		s->synced_s = now_s;
		return 0;
	}
	if (now_s - s->synced_s < s->sync_s && !fakeip_dirty_limits(s->table))
		return 0;
	s->synced_s = now_s;
	return fakeip_sync(s->table);
}

/* Some steps, or all that are left. A failure of its own costs nothing that we had. */
static void renew(struct store *s, uint32_t now_s)
{
	int r = 1;

	if (now_s < s->retry_s)
		return;
	if (!s->renewing && !fakeip_wants_snapshot(s->table))
		return;
	for (unsigned i = 0; i < STEPS_MAX && r > 0; i++)
		r = fakeip_snapshot_step(s->table);
	s->renewing = r > 0;
	if (r < 0)
		s->retry_s = now_s + STORE_RETRY_S;
}

int store_tick(struct store *s, uint32_t now_s)
{
	bool persistent = fakeip_is_persistent(s->table);
	int error = 0;

	/* Whoever lost it was told. */
	if (s->was_persistent && !persistent) {
		s->was_persistent = s->renewing = false;
		s->retry_s = now_s + STORE_RETRY_S;
	}
	if (persistent)
		error = sync_if_due(s, now_s);
	if (!error)
		renew(s, now_s);
	persistent = fakeip_is_persistent(s->table);
	if (!s->was_persistent && persistent) {
		s->was_persistent = true;
		return 1;
	}
	return error;
}
