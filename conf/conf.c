#include "conf/conf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The folder of path as an absolute path. */
static const char *folder_of(struct arena *arena, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;
	char *cwd, *folder;

	if (path[0] == '/')
		return n ? arena_strndup(arena, path, n) : "/";
	cwd = getcwd(NULL, 0);
	folder = arena_printf(arena, "%s%s%.*s", cwd ? cwd : "", n ? "/" : "", (int)n, path);
	free(cwd);
	return folder;
}

static int reader_init(struct conf_reader *r, const char *path)
{
	*r = (struct conf_reader){.path = path};
	r->scratch = arena_new();
	r->arena = arena_new();
	if (!r->scratch || !r->arena)
		return -ENOMEM;
	r->folder = folder_of(r->scratch, path);
	r->config = arena_alloc(r->arena, sizeof *r->config);
	if (!r->folder || !r->config)
		return -ENOMEM;
	r->config->path = arena_strdup(r->arena, path);
	r->config->arena = r->arena;
	return 0;
}

static void reader_fini(struct conf_reader *r)
{
	arena_free(r->scratch);
	arena_free(r->arena);
}

static void text_read(struct conf_reader *r, const char *text, size_t len)
{
	if (len > CONF_FILE_BYTES_MAX) {
		conf_say_at(r, 1, 1, "file", "is larger than %d bytes", CONF_FILE_BYTES_MAX);
		return;
	}
	if (conf_yaml_read(r, text, len, &r->root)) {
		if (!r->n_errors)
			conf_say_at(r, 1, 1, "file", "there is not enough memory to read it");
		return;
	}
	if (!r->root) {
		/* An empty file is an empty map. */
		r->root = arena_alloc(r->scratch, sizeof *r->root);
		if (!r->root)
			return;
		r->root->kind = CONF_NODE_MAP;
		r->root->line = r->root->column = 1;
	}
	conf_tree_read(r);
	conf_check(r);
}

int conf_parse(const char *path, const char *text, size_t len, conf_report *report, void *arg,
	struct config **ret)
{
	struct conf_reader r;
	int err = reader_init(&r, path);

	if (!err)
		text_read(&r, text, len);
	if (err || arena_failed(r.scratch) || arena_failed(r.arena)) {
		report(arg, CONF_ERROR, "configuration: there is not enough memory to read it");
		err = -EINVAL;
	} else {
		conf_messages_report(&r, report, arg);
		err = r.n_errors ? -EINVAL : 0;
	}
	if (!err) {
		*ret = r.config;
		r.arena = NULL;
	}
	reader_fini(&r);
	return err;
}

/* All of the file in *ret, which the caller frees. One byte more than allowed is read, so that
 * conf_parse() tells. */
static int file_read(int fd, char **ret, size_t *ret_len)
{
	size_t room = 65536, n = 0;
	char *text = malloc(room);

	while (text) {
		ssize_t got = read(fd, text + n, room - n);
		char *more;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int err = -errno;

			free(text);
			return err;
		}
		n += (size_t)got;
		if (got == 0 || n > CONF_FILE_BYTES_MAX) {
			*ret = text;
			*ret_len = n;
			return 0;
		}
		if (n < room)
			continue;
		room *= 2;
		more = realloc(text, room);
		if (!more)
			free(text);
		text = more;
	}
	return -ENOMEM;
}

static int file_open(const char *path, const char **ret_why)
{
	/* O_NONBLOCK: opening a FIFO must not hang. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	*ret_why = NULL;
	if (fd < 0 || fstat(fd, &st) < 0) {
		*ret_why = strerror(errno);
	} else if (S_ISDIR(st.st_mode)) {
		*ret_why = "it is a directory";
	} else if (S_ISFIFO(st.st_mode)) {
		if (fcntl(fd, F_SETFL, O_RDONLY) < 0) /* reading may wait */
			*ret_why = strerror(errno);
	} else if (!S_ISREG(st.st_mode)) {
		*ret_why = "it is not a file";
	}
	if (*ret_why && fd >= 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int unreadable(const char *path, const char *why, conf_report *report, void *arg)
{
	struct conf_reader r;

	if (reader_init(&r, path) == 0) {
		conf_say_at(&r, 1, 1, "file", "cannot be read: %s", why);
		conf_messages_report(&r, report, arg);
	} else {
		report(arg, CONF_ERROR, "configuration: there is not enough memory to read it");
	}
	reader_fini(&r);
	return -EINVAL;
}

int conf_load(const char *path, conf_report *report, void *arg, struct config **ret)
{
	const char *why;
	char *text = NULL;
	size_t len = 0;
	int fd = file_open(path, &why), err;

	if (fd < 0)
		return unreadable(path, why, report, arg);
	err = file_read(fd, &text, &len);
	close(fd);
	if (err)
		return unreadable(path, strerror(-err), report, arg);
	err = conf_parse(path, text, len, report, arg, ret);
	free(text);
	return err;
}

void conf_free(struct config *config)
{
	if (config)
		arena_free(config->arena);
}
