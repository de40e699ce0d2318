/* The file of learned names: a line for each new one, all of it anew from time to time, and what
 * others make of it.
 *
 * Nothing is written into a file that is not as we left it: what somebody else has written is taken
 * over first, and names that are not in the file then are kept and written with the rest. */
#include "gateway/learned/learned_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/file.h"
#include "gateway/base/grow.h"

#define FILE_MODE   0600
#define RETRY_S	    5
#define SYNC_LINES  1024  /* a worker writes fewer anew without waiting for the disk */
#define TIMES_S	    86400 /* times in the file are as old as that after a crash, */
#define TIMES_SHARE 4	  /* or as this part of max_age */
#define AGED_SHARE                                                                                 \
	1024 /* names that are too old leave the file when this part of max_age is over */

/* --- lines --- */

static size_t line_format(
	char *buf, const uint8_t *name, bool timed, int64_t asked_s, int64_t verified_s)
{
	char text[DNS_NAME_TEXT_MAX];
	int n;

	(void)dns_name_format(name, text);
	if (!timed)
		n = snprintf(buf, LINE_TEXT_MAX, "full:%s\n", text);
	else if (!verified_s)
		n = snprintf(buf, LINE_TEXT_MAX, "full:%s # asked=%" PRId64 "\n", text, asked_s);
	else
		n = snprintf(buf, LINE_TEXT_MAX,
			"full:%s # asked=%" PRId64 " verified=%" PRId64 "\n", text, asked_s,
			verified_s);
	return (size_t)n;
}

/* --- writing anew --- */

struct fresh { /* the file that takes the old one's place */
	int fd;
	char *path, *target; /* target: behind links */
	size_t lines;
	bool unsynced;
};

/* So that the link stays, and what it names is written. */
static char *target_of(const char *path)
{
	char *target = realpath(path, NULL);

	return target || errno != ENOENT ? target : strdup(path);
}

/* Its last folder; others are the administrator's to make. */
static void folder_make(const char *path)
{
	char *folder = strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;

	if (slash && slash != folder) {
		*slash = 0;
		(void)mkdir(folder, 0755);
	}
	free(folder);
}

static int open_made(const char *path, int flags)
{
	int fd = open(path, flags, FILE_MODE);

	if (fd < 0 && errno == ENOENT) {
		folder_make(path);
		fd = open(path, flags, FILE_MODE);
	}
	return fd < 0 ? -errno : fd;
}

static void fresh_fini(struct fresh *f, bool keep)
{
	if (f->fd >= 0)
		(void)close(f->fd);
	if (f->fd >= 0 && f->path && !keep)
		(void)unlink(f->path);
	free(f->path);
	free(f->target);
}

/* As the old one: it may be shared with others. Without the right to give it away it is ours, and
 * what a group of another's may do is nobody's. */
static int take_mode(int fd, const char *target)
{
	struct stat st;

	if (stat(target, &st))
		return fchmod(fd, FILE_MODE) ? -errno : 0;
	if (fchown(fd, st.st_uid, st.st_gid) && fchown(fd, (uid_t)-1, st.st_gid))
		st.st_mode &= 0707;
	return fchmod(fd, st.st_mode & 0777) ? -errno : 0;
}

static int fresh_open(struct learned *l, struct fresh *f)
{
	char *path;
	int err;

	*f = (struct fresh){.fd = -1};
	f->target = target_of(l->path);
	if (!f->target)
		return -errno;
	err = file_check(f->target);
	if (err)
		return err;
	if (asprintf(&path, "%s.new", f->target) < 0)
		return -ENOMEM;
	f->path = path;
	f->fd = open_made(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return f->fd < 0 ? f->fd : take_mode(f->fd, f->target);
}

static int put_all(struct fresh *f, const struct head *head, const struct copies *c)
{
	char buf[16384];
	size_t n = 0;
	int err = file_write_all(f->fd, head->text, head->len);

	for (size_t i = 0; i < c->n && !err; i++) {
		const struct copy *e = &c->v[i];

		n += line_format(buf + n, e->name, e->timed, e->asked_s, e->verified_s);
		if (n + LINE_TEXT_MAX > sizeof buf || i + 1 == c->n) {
			err = file_write_all(f->fd, buf, n);
			n = 0;
		}
	}
	f->lines = head->lines + c->n;
	return err;
}

/* Everything up to the last step; threads go on learning meanwhile. head does not change but by
 * learned_tend(), whose thread this is, or under the lock that the caller has. Up to unsynced lines
 * are left to learned_tend() to be synced. */
static int fresh_make(struct learned *l, struct fresh *f, size_t unsynced)
{
	struct copies c;
	int err = fresh_open(l, f);

	if (err)
		return err;
	err = learned_copies_take(l, false, &c);
	if (err)
		return err;
	err = put_all(f, &l->head, &c);
	learned_copies_fini(&c);
	f->unsynced = f->lines <= unsynced;
	return err || f->unsynced || fsync(f->fd) == 0 ? err : -errno;
}

static void all_written(struct learned *l)
{
	pthread_mutex_lock(&l->lock);
	for (struct entry *e = l->names.newest; e; e = e->older)
		e->written = true;
	pthread_mutex_unlock(&l->lock);
}

/* Under the file's lock. A name that is being learned right now, and is neither in the new file nor
 * among the late lines, is written, and marked, by its own thread when it gets the lock. */
static int fresh_become(struct learned *l, struct fresh *f)
{
	struct stamp now = learned_stamp_read(l->path);
	struct stat st;
	int err = learned_stamp_equal(&now, &l->known) ? 0 : -ESTALE;

	if (!err)
		err = file_write_all(f->fd, l->late, l->late_len);
	if (!err && rename(f->path, f->target))
		err = -errno;
	if (err)
		return err;
	l->known = fstat(f->fd, &st) == 0 ? learned_stamp_of(&st) : learned_stamp_read(l->path);
	l->lines = f->lines + l->late_lines;
	l->ended = true;
	l->torn = false;
	l->unsynced = f->unsynced;
	l->error = 0;
	l->compactions++;
	all_written(l);
	return 0;
}

static void clear_reasons(struct learned *l)
{
	l->removed = l->aged = l->times_changed = l->unwritten = false;
}

/* Under the file's lock. */
static void note_failed(struct learned *l, int err)
{
	l->unwritten = true;
	if (err != -ESTALE)
		l->error = err;
}

/* Under the file's lock from beginning to end: others wait. */
static int write_now(struct learned *l, size_t unsynced)
{
	struct fresh f;
	int err;

	clear_reasons(l); /* what comes from here on is not in the copy */
	l->late_len = l->late_lines = 0;
	err = fresh_make(l, &f, unsynced);
	if (!err)
		err = fresh_become(l, &f);
	fresh_fini(&f, !err);
	if (err)
		note_failed(l, err);
	return err;
}

static int write_beside(struct learned *l)
{
	struct fresh f;
	int err;

	pthread_mutex_lock(&l->file_lock);
	l->writing = true;
	l->late_len = l->late_lines = 0;
	pthread_mutex_unlock(&l->file_lock);
	clear_reasons(l);
	err = fresh_make(l, &f, 0);
	pthread_mutex_lock(&l->file_lock);
	if (!err)
		err = fresh_become(l, &f);
	if (err)
		note_failed(l, err);
	l->writing = false;
	pthread_cond_broadcast(&l->was_written);
	pthread_mutex_unlock(&l->file_lock);
	if (!err)
		file_sync_folder(f.target);
	fresh_fini(&f, !err);
	return err;
}

/* --- a line more --- */

/* 0 and how many bytes it had; -ESTALE: it is not as we left it. */
static int open_known(struct learned *l, int *ret_fd, off_t *ret_size)
{
	const int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	bool is_new = l->known.error == ENOENT;
	int fd = is_new ? open_made(l->path, flags | O_CREAT) : open(l->path, flags);
	struct stamp now = {0};
	struct stat st;

	if (fd < 0)
		return errno == ENOENT && !is_new ? -ESTALE : -errno;
	if (fstat(fd, &st) == 0)
		now = learned_stamp_of(&st);
	if (is_new ? now.size != 0 : !learned_stamp_equal(&now, &l->known)) {
		(void)close(fd);
		return -ESTALE;
	}
	*ret_fd = fd;
	*ret_size = now.size;
	return 0;
}

/* line[-1] is a newline, for a file whose last line has none. */
static int append(struct learned *l, const char *line, size_t len)
{
	size_t more = !l->ended;
	struct stat st;
	off_t size = 0;
	int fd = -1, err = open_known(l, &fd, &size);

	if (err)
		return err;
	err = file_write_all(fd, line - more, len + more);
	if (err) /* half a line would be another name */
		l->ended = ftruncate(fd, size) == 0 && l->ended;
	else
		l->ended = true;
	l->lines += !err;
	/* Unless somebody else has written in between: then it is read. */
	if (fstat(fd, &st) == 0 && (err || st.st_size == size + (off_t)(len + more)))
		l->known = learned_stamp_of(&st);
	(void)close(fd);
	return err;
}

static void keep_late(struct learned *l, const char *line, size_t len)
{
	if (room_grow((void **)&l->late, &l->late_room, l->late_len, len, 1)) {
		l->unwritten = true;
		return;
	}
	memcpy(l->late + l->late_len, line, len);
	l->late_len += len;
	l->late_lines++;
}

static size_t name_lines(const struct learned *l)
{
	return l->lines > l->head.lines ? l->lines - l->head.lines : 0;
}

static bool is_full(const struct learned *l)
{
	return l->torn || name_lines(l) >= (size_t)l->capacity * 2;
}

/* One that is full and is being written anew is waited for: a line that is only kept for its end
 * would be lost with us. */
static int append_bounded(struct learned *l, const char *line, size_t len)
{
	while (l->writing && is_full(l) && !l->unreadable && !l->error)
		pthread_cond_wait(&l->was_written, &l->file_lock);
	if (l->unreadable)
		return -ESTALE;
	if (l->writing)
		keep_late(l, line, len);
	if (!is_full(l))
		return append(l, line, len);
	/* learned_tend() tries again; with this name */
	return l->error ? l->error : write_now(l, SYNC_LINES);
}

int learned_file_append(struct learned *l, const struct dns_name *name, int64_t now_s)
{
	char buf[1 + LINE_TEXT_MAX] = "\n";
	size_t len = line_format(buf + 1, name->b, true, now_s, now_s);
	struct entry *e;
	int err;

	pthread_mutex_lock(&l->file_lock);
	err = append_bounded(l, buf + 1, len);
	if (err) {
		note_failed(l, err);
	} else {
		pthread_mutex_lock(&l->lock);
		e = learned_names_find(&l->names, name, dns_name_hash(name, l->key));
		if (e)
			e->written = true;
		else
			l->removed = true; /* since it was added: the line has to go, too */
		pthread_mutex_unlock(&l->lock);
	}
	pthread_mutex_unlock(&l->file_lock);
	return err;
}

/* --- what others made of it --- */

/* What we know of a name beside what the file says. */
static void carry_over(struct entry *to, struct entry *from)
{
	to->why = from->why;
	from->why = NULL;
	to->learned_s = from->learned_s;
	to->quiet_s = from->quiet_s;
	if (to->timed && from->asked_s > to->asked_s)
		to->asked_s = from->asked_s;
	if (to->timed && from->verified_s > to->verified_s)
		to->verified_s = from->verified_s;
}

static bool is_same(const struct entry *a, const struct entry *b)
{
	return a->hash == b->hash && a->len == b->len && memcmp(a->name, b->name, a->len) == 0;
}

static struct entry *find_same(const struct names *t, const struct entry *e)
{
	struct entry *at = t->n_buckets ? t->buckets[e->hash & (t->n_buckets - 1)] : NULL;

	while (at && !is_same(at, e))
		at = at->next;
	return at;
}

/* The file's names instead of ours, but for those that could not be written; fresh gets the rest of
 * ours, to be freed by who has time for it. Under both locks. */
static void merge(struct learned *l, struct names *fresh, int64_t now_s)
{
	struct names old;
	struct entry *newer;

	for (const struct entry *e = fresh->newest; e; e = e->older)
		learned_filter_add(l, e);
	for (struct entry *e = l->names.oldest; e; e = newer) {
		struct entry *same = find_same(fresh, e);

		newer = e->newer;
		if (same)
			carry_over(same, e);
		if (!same && !e->written) {
			learned_names_unlink(&l->names, e);
			if (learned_names_take(fresh, e) == 0) {
				l->unwritten = true;
				continue;
			}
			learned_filter_sub(l, e);
			learned_entry_free(e);
			continue;
		}
		learned_filter_sub(l, e);
	}
	fresh->version += l->names.version + 1; /* who is copying begins anew */
	old = l->names;
	l->names = *fresh;
	*fresh = old;
	(void)learned_names_sort(&l->names, now_s);
	l->next_old_s = INT64_MIN;
	learned_bound(l);
}

/* Under the file's lock. */
static void use_reading(struct learned *l, struct reading *r, int64_t now_s)
{
	pthread_mutex_lock(&l->lock);
	merge(l, &r->names, now_s);
	pthread_mutex_unlock(&l->lock);
	learned_names_empty(&r->names);
	free(l->head.text);
	l->head = r->head;
	l->lines = r->lines;
	l->ended = r->ended;
	l->torn = r->torn;
	if (r->torn)
		l->unwritten = true;
	l->error = 0;
}

/* Without a lock while it is read; we do not write meanwhile, as it is not as we left it. */
static int take_over(struct learned *l, int64_t now_s, learned_complain *complain, void *arg)
{
	struct reading r;
	int err = learned_read(l->path, l->key, l->capacity, now_s, complain, arg, &r);

	if (r.stamp.error && r.stamp.error != ENOENT) /* it is there, but not for us */
		r.stamp = learned_stamp_read(l->path);
	if (!learned_stamp_equal(&r.stamp, &l->seen)) { /* it has changed again */
		if (!err)
			learned_reading_fini(&r);
		return 0;
	}
	pthread_mutex_lock(&l->file_lock);
	l->known = r.stamp;
	l->unreadable = err != 0;
	if (err)
		l->error = err;
	else
		use_reading(l, &r, now_s);
	pthread_mutex_unlock(&l->file_lock);
	l->foreign = false;
	return err ? err : 1;
}

/* 1: it was taken over. */
static int look(struct learned *l, int64_t now_s, learned_complain *complain, void *arg)
{
	struct stamp now;
	bool again;

	pthread_mutex_lock(
		&l->file_lock); /* so that it is not between a write of ours and its note */
	now = learned_stamp_read(l->path);
	l->foreign = !learned_stamp_equal(&now, &l->known);
	pthread_mutex_unlock(&l->file_lock);
	again = l->foreign && l->has_seen && learned_stamp_equal(&now, &l->seen);
	l->has_seen = l->foreign;
	l->seen = now;
	if (!again)
		return 0;
	l->has_seen = false;
	return take_over(l, now_s, complain, arg);
}

/* --- each second --- */

static bool is_over(int64_t since_s, int64_t time_s, int64_t now_s)
{
	return now_s - since_s >= time_s || now_s < since_s;
}

static bool write_is_due(struct learned *l, int64_t now_s)
{
	int64_t age_s, times_s = TIMES_S;
	bool failed, full;

	pthread_mutex_lock(&l->file_lock);
	failed = l->error != 0;
	full = name_lines(l) > (size_t)l->capacity + l->capacity / 2;
	pthread_mutex_unlock(&l->file_lock);
	pthread_mutex_lock(&l->lock);
	age_s = l->config.max_age_s;
	pthread_mutex_unlock(&l->lock);
	if (age_s && age_s / TIMES_SHARE < times_s)
		times_s = age_s / TIMES_SHARE;
	if (failed)
		return is_over(l->tried_s, RETRY_S, now_s);
	if (l->unwritten || full)
		return true;
	return (l->removed && is_over(l->wrote_s, 1, now_s)) ||
	       (l->aged && is_over(l->wrote_s, age_s / AGED_SHARE + 1, now_s)) ||
	       (l->times_changed && is_over(l->wrote_s, times_s < 60 ? 60 : times_s, now_s));
}

/* What was written in a hurry. */
static void sync_if_due(struct learned *l)
{
	char *target;
	bool due;
	int fd;

	pthread_mutex_lock(&l->file_lock);
	due = l->unsynced;
	l->unsynced = false;
	pthread_mutex_unlock(&l->file_lock);
	target = due ? target_of(l->path) : NULL;
	if (!target)
		return;
	fd = open(target, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd >= 0) {
		(void)fsync(fd);
		(void)close(fd);
	}
	file_sync_folder(target);
	free(target);
}

int learned_tend(struct learned *l, int64_t now_s, learned_complain *complain, void *arg)
{
	int taken = look(l, now_s, complain, arg), error;

	learned_age(l, now_s);
	if (!l->foreign && !l->unreadable && write_is_due(l, now_s)) {
		l->tried_s = now_s;
		if (write_beside(l) == 0)
			l->wrote_s = now_s;
	}
	sync_if_due(l);
	pthread_mutex_lock(&l->file_lock);
	error = l->error;
	pthread_mutex_unlock(&l->file_lock);
	if (error == l->told)
		return taken == 1;
	l->told = error;
	return error ? error : 1;
}

/* Nobody else has it any more. What somebody has just made of the file stays. */
void learned_file_last(struct learned *l)
{
	struct stamp now = learned_stamp_read(l->path);

	if (l->unreadable || !learned_stamp_equal(&now, &l->known))
		return;
	if (l->removed || l->aged || l->times_changed || l->unwritten)
		(void)write_now(l, 0);
	else
		sync_if_due(l);
}
