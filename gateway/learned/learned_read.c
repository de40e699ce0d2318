/* Reading a file of learned names. It may be anything: people edit it. */
#include "gateway/learned/learned_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/grow.h"

#define PIECE_BYTES 65536
#define LINE_BYTES  65536
#define HEAD_BYTES  65536
#define TOLD_MAX    5
#define SPARE_NAMES 4096 /* read beyond the capacity before the oldest are left out */
#define ALLOWED	    "full:NAME # asked=TIME verified=TIME"

struct reader {
	const char *path;
	learned_complain *complain;
	void *arg;
	uint32_t capacity;
	int64_t now_s;
	struct reading *to;
	size_t taken, failed, told; /* lines that say something */
	bool in_head;
	size_t head_room;
	size_t line_len; /* of the line that has begun, of which `line` has the beginning */
	char line[LINE_BYTES];
	char piece[PIECE_BYTES];
};

/* --- states of the file --- */

struct stamp learned_stamp_of(const struct stat *st)
{
	return (struct stamp){.device = st->st_dev,
		.inode = st->st_ino,
		.size = st->st_size,
		.modified = st->st_mtim,
		.changed = st->st_ctim};
}

struct stamp learned_stamp_read(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return (struct stamp){.error = errno};
	return learned_stamp_of(&st);
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool learned_stamp_equal(const struct stamp *a, const struct stamp *b)
{
	return a->error == b->error && a->device == b->device && a->inode == b->inode &&
	       a->size == b->size && same_time(&a->modified, &b->modified) &&
	       same_time(&a->changed, &b->changed);
}

/* --- complaints --- */

static void tell(const struct reader *r, bool is_error, size_t column, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static void tell(const struct reader *r, bool is_error, size_t column, const char *format, ...)
{
	char what[256], text[4096 + 512];
	va_list args;

	if (!r->complain)
		return;
	va_start(args, format);
	(void)vsnprintf(what, sizeof what, format, args);
	va_end(args);
	(void)snprintf(text, sizeof text, "%s:%zu:%zu: %slearn: %s; allowed: %s", r->path,
		r->to->lines ? r->to->lines : 1, column, is_error ? "" : "warning: ", what,
		ALLOWED);
	r->complain(r->arg, is_error, text);
}

static void skip(struct reader *r, size_t column, const char *what)
{
	r->failed++;
	if (r->told++ < TOLD_MAX)
		tell(r, false, column, "%s", what);
}

/* --- a line --- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* A number of any length; -1: it is none. */
static int64_t parse_time(const char *text, size_t len)
{
	int64_t t = 0;
	bool below = len > 1 && text[0] == '-';

	if (len == 0)
		return -1;
	for (size_t i = below; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		if (t < INT64_MAX / 100)
			t = t * 10 + (text[i] - '0');
	}
	return below ? 0 : t;
}

struct times {
	int64_t asked_s, verified_s;
	bool has_asked, has_verified;
};

static bool word_begins(const char *word, size_t len, const char *with)
{
	return len >= strlen(with) && memcmp(word, with, strlen(with)) == 0;
}

/* The words of a comment; others than times are the user's. 0, or the column of what is no time. */
static size_t parse_comment(const char *line, size_t at, size_t len, struct times *ret)
{
	while (at < len) {
		size_t from = at;
		int64_t t = 0;

		while (at < len && !is_blank(line[at]))
			at++;
		if (word_begins(line + from, at - from, "asked=")) {
			t = ret->asked_s = parse_time(line + from + 6, at - from - 6);
			ret->has_asked = true;
		} else if (word_begins(line + from, at - from, "verified=")) {
			t = ret->verified_s = parse_time(line + from + 9, at - from - 9);
			ret->has_verified = true;
		}
		if (t < 0)
			return from + 1;
		while (at < len && is_blank(line[at]))
			at++;
	}
	return 0;
}

/* One that occurs again has what is later of both, and no times if one line has none. */
static void note_times(struct reader *r, struct entry *e, bool is_new, const struct times *t)
{
	int64_t asked_s = t->has_asked ? learned_time_believed(t->asked_s, r->now_s) : r->now_s;
	int64_t verified_s = t->verified_s ? learned_time_believed(t->verified_s, r->now_s) : 0;
	bool timed = t->has_asked || t->has_verified;

	e->written = true;
	e->timed = timed && (is_new || e->timed);
	e->asked_s = !e->timed ? 0 : asked_s > e->asked_s ? asked_s : e->asked_s;
	e->verified_s = !e->timed ? 0 : verified_s > e->verified_s ? verified_s : e->verified_s;
}

static int bound(struct reader *r)
{
	struct names *t = &r->to->names;

	if (learned_names_sort(t, r->now_s))
		return -ENOMEM;
	while (t->n > r->capacity)
		learned_names_delete(t, t->oldest);
	return 0;
}

static int take_name(struct reader *r, const struct dns_name *name, const struct times *t)
{
	struct names *names = &r->to->names;
	uint64_t hash = dns_name_hash(name, names->key);
	struct entry *e = learned_names_find(names, name, hash);
	bool is_new = !e;

	r->taken++;
	if (is_new)
		e = learned_names_add(names, name, hash);
	else
		learned_names_touch(names, e);
	if (!e)
		return -ENOMEM;
	note_times(r, e, is_new, t);
	return names->n >= (size_t)r->capacity * 2 + SPARE_NAMES ? bound(r) : 0;
}

/* at: behind "full:". */
static int take_line(struct reader *r, const char *line, size_t at, size_t len)
{
	size_t from = at, end, column;
	struct times t = {0};
	struct dns_name name;

	while (at < len && !is_blank(line[at]))
		at++;
	end = at;
	while (at < len && is_blank(line[at]))
		at++;
	memset(&name, 0, sizeof name);
	if (dns_name_parse(line + from, end - from, &name)) {
		skip(r, from + 1, "not a domain name");
		return 0;
	}
	if (at < len && line[at] != '#') {
		skip(r, at + 1, "not a comment");
		return 0;
	}
	column = parse_comment(line, at + (at < len), len, &t);
	if (column) {
		skip(r, column, "not a time");
		return 0;
	}
	return take_name(r, &name, &t);
}

static int keep_head(struct reader *r)
{
	struct head *h = &r->to->head;

	if (h->len + r->line_len + 1 > HEAD_BYTES)
		return 0;
	if (room_grow((void **)&h->text, &r->head_room, h->len, r->line_len + 1, 1))
		return -ENOMEM;
	memcpy(h->text + h->len, r->line, r->line_len);
	h->len += r->line_len;
	h->text[h->len++] = '\n';
	h->lines++;
	return 0;
}

static int line_end(struct reader *r)
{
	size_t at = 0, len = r->line_len;

	r->to->lines++;
	if (len > LINE_BYTES) {
		skip(r, 1, "a line above 64 KiB");
		return 0;
	}
	if (r->to->lines == 1 && len >= 3 && memcmp(r->line, "\xef\xbb\xbf", 3) == 0)
		at = 3;
	if (len > at && r->line[len - 1] == '\r')
		len--;
	while (len > at && is_blank(r->line[len - 1]))
		len--;
	while (at < len && is_blank(r->line[at]))
		at++;
	if (at == len || r->line[at] == '#')
		return r->in_head ? keep_head(r) : 0;
	r->in_head = false;
	if (!word_begins(r->line + at, len - at, "full:")) {
		skip(r, at + 1, "not a learned name");
		return 0;
	}
	return take_line(r, r->line, at + 5, len);
}

/* --- all lines --- */

static void line_more(struct reader *r, const char *bytes, size_t n)
{
	if (r->line_len + n <= LINE_BYTES)
		memcpy(r->line + r->line_len, bytes, n);
	r->line_len += n;
}

static int cut(struct reader *r, size_t n)
{
	const char *at = r->piece, *end = at + n, *newline;
	int err = 0;

	while (!err && (newline = memchr(at, '\n', (size_t)(end - at)))) {
		line_more(r, at, (size_t)(newline - at));
		err = line_end(r);
		r->line_len = 0;
		at = newline + 1;
	}
	line_more(r, at, (size_t)(end - at));
	return err;
}

/* Some file systems have a file's new size on disk before what belongs there: NUL bytes from here
 * to the end, or from its beginning. */
static bool is_torn(struct reader *r, int fd, const char *nul, ssize_t n)
{
	const char *from = nul;

	do {
		for (; n > from - r->piece; from++)
			if (*from)
				return false;
		n = read(fd, r->piece, sizeof r->piece);
		from = r->piece;
	} while (n > 0);
	return n == 0;
}

/* What has begun before it may be half a name. */
static int at_nul(struct reader *r, int fd, const char *nul, ssize_t n)
{
	size_t column = r->line_len + 1;

	r->to->lines++;
	r->to->torn = is_torn(r, fd, nul, n);
	if (!r->to->torn) {
		tell(r, true, column, "a NUL byte: this is not a text file");
		return -EINVAL;
	}
	tell(r, false, column, "NUL bytes to the end, as a power cut leaves them: left out");
	r->line_len = 0;
	return 0;
}

static int read_lines(struct reader *r, int fd)
{
	for (;;) {
		ssize_t n = read(fd, r->piece, sizeof r->piece);
		const char *nul;
		int err;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		nul = memchr(r->piece, 0, (size_t)n);
		err = cut(r, nul ? (size_t)(nul - r->piece) : (size_t)n);
		if (err)
			return err;
		if (nul)
			return at_nul(r, fd, nul, n);
	}
}

/* One without its newline may have been cut off in the middle: it does not make the file one that
 * is refused. */
static int last_line(struct reader *r)
{
	size_t failed = r->failed;
	int err;

	r->to->ended = r->line_len == 0;
	if (r->to->ended)
		return 0;
	err = line_end(r);
	r->failed = failed;
	return err;
}

static int judge(struct reader *r)
{
	if (r->told > TOLD_MAX && r->complain) {
		char text[4096 + 128];

		(void)snprintf(text, sizeof text,
			"%s:1:1: note: learn: %zu lines skipped in all, the first %d are told "
			"above",
			r->path, r->told, TOLD_MAX);
		r->complain(r->arg, false, text);
	}
	if (r->failed <= r->taken)
		return bound(r);
	r->to->lines = 1;
	tell(r, true, 1, "%zu of %zu lines cannot be read", r->failed, r->failed + r->taken);
	return -EINVAL;
}

static int open_regular(const struct reader *r, int *ret_fd, struct stamp *ret_stamp)
{
	struct stat st;
	int err = 0, fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st)) {
		err = -errno;
	} else {
		*ret_stamp = learned_stamp_of(&st);
		if (!S_ISREG(st.st_mode)) {
			tell(r, true, 1, "%s",
				S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
			(void)close(fd);
			return -EINVAL;
		}
	}
	if (err) {
		*ret_stamp = (struct stamp){.error = -err};
		if (err != -ENOENT)
			tell(r, true, 1, "%s", strerror(-err));
		if (fd >= 0)
			(void)close(fd);
	}
	*ret_fd = fd;
	return err;
}

static int read_all(struct reader *r)
{
	int fd, err = open_regular(r, &fd, &r->to->stamp);

	if (err)
		return err == -ENOENT ? 0 : err;
	err = read_lines(r, fd);
	if (!err)
		err = last_line(r);
	(void)close(fd);
	if (err && err != -EINVAL)
		tell(r, true, 1, "%s", strerror(-err));
	return err ? err : judge(r);
}

int learned_read(const char *path, uint64_t key, uint32_t capacity, int64_t now_s,
	learned_complain *complain, void *arg, struct reading *ret)
{
	struct reader *r = malloc(sizeof *r);
	int err;

	*ret = (struct reading){.names.key = key, .ended = true};
	if (!r)
		return -ENOMEM;
	r->path = path;
	r->complain = complain;
	r->arg = arg;
	r->capacity = capacity;
	r->now_s = now_s;
	r->to = ret;
	r->taken = r->failed = r->told = r->head_room = r->line_len = 0;
	r->in_head = true;
	err = read_all(r);
	free(r);
	if (err)
		learned_reading_fini(ret);
	return err;
}

void learned_reading_fini(struct reading *r)
{
	learned_names_empty(&r->names);
	free(r->head.text);
	r->head = (struct head){0};
}

int learned_check(const char *path, learned_complain *complain, void *arg)
{
	struct reading r;
	int err = learned_read(path, 0, 1, 0, complain, arg, &r);

	if (!err)
		learned_reading_fini(&r);
	return err;
}
