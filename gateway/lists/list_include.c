/* Files that take in others. */
#include "gateway/lists/lists_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/grow.h"

#define PATH_BYTES 4096

struct file {
	uint64_t device, inode;
	char *filter;
};

struct list_files {
	struct file *files;
	size_t n, room;
};

void list_files_free(struct list_files *files)
{
	if (!files)
		return;
	for (size_t i = 0; i < files->n; i++)
		free(files->files[i].filter);
	free(files->files);
	free(files);
}

/* Notes that the file is read with the filter: 1, or 0 if it has been; -ENFILE: too many. */
static int files_note(struct list_files *files, const struct list_stamp *stamp, const char *filter)
{
	struct file *f;
	void *array = files->files;
	int err;

	for (size_t i = 0; i < files->n; i++) {
		f = &files->files[i];
		if (f->inode == stamp->inode && f->device == stamp->device &&
			strcmp(f->filter, filter) == 0)
			return 0;
	}
	if (files->n == LIST_INCLUDES_MAX)
		return -ENFILE;
	err = room_grow(&array, &files->room, files->n, 1, sizeof *f);
	files->files = array;
	if (err)
		return err;
	f = &files->files[files->n];
	*f = (struct file){stamp->device, stamp->inode, strdup(filter)};
	if (!f->filter)
		return -ENOMEM;
	files->n++;
	return 1;
}

/* name beside the file being read; "": too long. */
static void path_beside(const char *beside, const char *name, size_t len, char path[PATH_BYTES])
{
	const char *slash = strrchr(beside, '/');
	size_t folder = slash ? (size_t)(slash - beside) + 1 : 0;

	path[0] = 0;
	if (folder + len >= PATH_BYTES)
		return;
	memcpy(path, beside, folder);
	memcpy(path + folder, name, len);
	path[folder + len] = 0;
}

/* Home programs do not mind the case of a list's name, and the files have lower-case ones. */
static void path_fold(char *path, size_t name_len)
{
	char *name = path + strlen(path) - name_len;
	char given[PATH_BYTES];

	if (!*path || access(path, F_OK) == 0)
		return;
	memcpy(given, path, strlen(path) + 1);
	for (char *c = name; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c + ('a' - 'A'));
	if (access(path, F_OK))
		memcpy(path, given, strlen(path) + 1);
}

static bool is_circle(const struct list_reader *r, const struct list_stamp *stamp)
{
	for (; r; r = r->parent)
		if (r->inode == stamp->inode && r->device == stamp->device)
			return true;
	return false;
}

static int include_read(struct list_reader *r, const char *path, int fd,
	const struct list_stamp *stamp, void *format_state)
{
	struct list_reader child = {
		.source = r->source,
		.path = path,
		.sink = r->sink,
		.format = r->format,
		.counts = r->counts,
		.format_state = format_state,
		.files = r->files,
		.parent = r,
		.device = stamp->device,
		.inode = stamp->inode,
		.depth = r->depth + 1,
	};
	struct list_bytes *in = NULL;
	int err = list_bytes_file(fd, LIST_FILE_MAX, &in);

	if (err) {
		(void)close(fd);
		return err;
	}
	err = list_bytes_look_through(&in);
	if (!err && r->sink->file)
		err = r->sink->file(r->sink->arg, path, stamp);
	if (!err)
		err = list_read_bytes(&child, in);
	else if (err == -EBADMSG)
		err = list_broken(&child, 1, 1, "what is packed in it is damaged or ends early");
	r->broken |= child.broken;
	list_bytes_free(in);
	return err;
}

static int include_open(
	struct list_reader *r, const char *path, const char *filter, void *format_state)
{
	struct list_stamp stamp = {0};
	int fd = -1, err = *path ? list_file_open(path, &fd, &stamp) : -ENAMETOOLONG;

	if (err == -ENOMEM || err == -EMFILE || err == -ENFILE)
		return err;
	if (err) {
		/* Its coming into being is worth a look, too. */
		int stop = r->sink->file ? r->sink->file(r->sink->arg, path, &stamp) : 0;

		return stop ? stop
			    : list_broken(r, r->line, r->indent + 1, "includes %s: %s", path,
				      strerror(-err));
	}
	if (is_circle(r, &stamp)) {
		(void)close(fd);
		return list_broken(r, r->line, r->indent + 1,
			"includes %s, which includes this file: a circle", path);
	}
	err = files_note(r->files, &stamp, filter);
	if (err <= 0)
		(void)close(fd);
	if (err == -ENFILE)
		return list_broken(r, r->line, r->indent + 1, "includes more than %d files in all",
			LIST_INCLUDES_MAX);
	return err <= 0 ? err : include_read(r, path, fd, &stamp, format_state);
}

int list_include(
	struct list_reader *r, const char *name, size_t len, const char *filter, void *format_state)
{
	/* On the heap: the depth times this would be much for a stack. */
	char *path;
	int err;

	if (r->depth + 1 >= LIST_DEPTH_MAX)
		return list_broken(r, r->line, r->indent + 1,
			"includes that are nested more than %d deep", LIST_DEPTH_MAX);
	if (!r->files)
		r->files = calloc(1, sizeof *r->files);
	path = malloc(PATH_BYTES);
	if (!r->files || !path) {
		free(path);
		return -ENOMEM;
	}
	path_beside(r->path, name, len, path);
	path_fold(path, len);
	err = include_open(r, path, filter, format_state);
	free(path);
	return err;
}
