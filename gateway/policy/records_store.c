/* What was pushed: one file, {"SOURCE": [records], …}, a source a line. Written whole beside the
 * old one and put in its place, so that a crash or a full disk leaves the old or the new one. */
#include "gateway/policy/records_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/file.h"
#include "gateway/base/grow.h"

#define KEPT_MAX 9 /* STORE.broken, STORE.broken.2, … */

static void put_source(
	struct records_text *t, bool first, const char *name, const char *json, size_t len)
{
	struct json_object *key = json_object_new_string(name);
	const char *text =
		key ? json_object_to_json_string_ext(key, JSON_C_TO_STRING_NOSLASHESCAPE) : NULL;

	if (!text) {
		t->failed = true;
	} else {
		records_text_put(t, first ? "{\n" : ",\n", 2);
		records_text_put(t, text, strlen(text));
		records_text_put(t, ": ", 2);
		records_text_put(t, json, len);
	}
	json_object_put(key);
}

/* --- the new text --- */

struct rewrite {
	const char *source;
	struct records_text out;
	size_t n;
	bool had; /* the source was there */
};

static int source_copy(
	void *arg, const char *name, const char *text, size_t len, unsigned line, unsigned column)
{
	struct rewrite *w = arg;

	(void)line, (void)column;
	if (strcmp(name, w->source) == 0) {
		w->had = true;
		return 0;
	}
	if (w->n == RECORDS_SOURCES_MAX)
		return -EBADMSG;
	put_source(&w->out, w->n++ == 0, name, text, len);
	return w->out.failed ? -ENOMEM : 0;
}

/* The store's text, "{}" if there is none. -EBADMSG: it is there, but no store. */
static int store_load(const char *path, char **ret, size_t *ret_len)
{
	int err = list_text_load(path, RECORDS_STORE_MAX, ret, ret_len);

	if (err == -ENOENT) {
		*ret = strdup("{}");
		*ret_len = 2;
		return *ret ? 0 : -ENOMEM;
	}
	return err == -EFBIG ? -EBADMSG : err;
}

/* *ret_broken: the old one cannot be read, and goes aside. */
static int rewrite_make(struct rewrite *w, const char *path, const char *json, bool *ret_broken)
{
	size_t len, at;
	char *old = NULL;
	int err = store_load(path, &old, &len);

	if (!err)
		err = records_json_sources(old, len, source_copy, w, &at);
	free(old);
	*ret_broken = err == -EBADMSG;
	if (*ret_broken) {
		free(w->out.b);
		*w = (struct rewrite){.source = w->source};
		err = 0;
	}
	if (err)
		return err;
	if (json)
		put_source(&w->out, w->n++ == 0, w->source, json, strlen(json));
	records_text_put(&w->out, w->n ? "\n}\n" : "{}\n", 3);
	return w->out.failed ? -ENOMEM : 0;
}

/* --- the file --- */

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

static int file_replace(const char *path, const char *new_path, const char *bytes, size_t len)
{
	int fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0600)) { /* one that was left over, and is not ours */
		int err = -errno;

		(void)close(fd);
		return err;
	}
	return file_become(fd, new_path, path, bytes, len);
}

/* Over nothing that was kept before, unless all places are taken. */
static int keep_broken(const char *path)
{
	size_t size = strlen(path) + sizeof ".broken.9";
	char *kept = malloc(size);
	int err = -EEXIST;

	if (!kept)
		return -ENOMEM;
	for (unsigned i = 1; i <= KEPT_MAX && err == -EEXIST; i++) {
		if (i == 1)
			(void)snprintf(kept, size, "%s.broken", path);
		else
			(void)snprintf(kept, size, "%s.broken.%u", path, i);
		if (access(kept, F_OK) == 0 && i < KEPT_MAX)
			continue;
		err = rename(path, kept) ? -errno : 0;
	}
	free(kept);
	return err;
}

static int store_write(const char *path, const struct records_text *text, bool broken)
{
	size_t size = strlen(path) + sizeof ".new";
	char *new_path = malloc(size);
	int err = file_check(path);

	if (!new_path)
		return -ENOMEM;
	(void)snprintf(new_path, size, "%s.new", path);
	folder_make(path);
	if (!err && broken)
		err = keep_broken(path);
	if (!err)
		err = file_replace(path, new_path, text->b, text->n);
	free(new_path);
	return err;
}

/* --- */

struct why {
	char *text;
	size_t size;
};

/* The first error is the reason. */
static void why_keep(void *arg, bool is_error, const char *text)
{
	struct why *why = arg;

	if (is_error && !*why->text)
		(void)snprintf(why->text, why->size, "%s", text);
}

static bool is_source(const char *source)
{
	size_t n = strlen(source);

	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)source[i] < 0x20 || source[i] == 0x7f)
			return false;
	}
	return n > 0 && n <= RECORDS_SOURCE_MAX;
}

/* Whether all would be well with this text as the store. */
static int trial(const struct conf_records *c, const struct rewrite *w, struct why *why)
{
	const struct list_sink complain = {.arg = why, .complain = why_keep};
	struct records *records = NULL;
	int err;

	if (w->n > RECORDS_SOURCES_MAX) {
		(void)snprintf(why->text, why->size, "too many sources; allowed: at most %u",
			RECORDS_SOURCES_MAX);
		return -EINVAL;
	}
	if (w->out.n > RECORDS_STORE_MAX) {
		(void)snprintf(why->text, why->size,
			"too much; allowed: at most %u bytes of all sources", RECORDS_STORE_MAX);
		return -EINVAL;
	}
	err = records_read_with(c, &complain, w->out.b, w->source, &records);
	records_unref(records);
	return err;
}

int records_store_set(const struct conf_records *c, const char *source, const char *json,
	char *ret_why, size_t size)
{
	struct rewrite w = {.source = source};
	struct why why = {ret_why, size};
	bool broken = false;
	int err = 0;

	*ret_why = 0;
	if (!c->store || !*c->store) {
		(void)snprintf(ret_why, size,
			"records.store is \"\": nothing can be pushed; allowed: a path there");
		return -EINVAL;
	}
	if (!is_source(source))
		(void)snprintf(ret_why, size,
			"source: not a name; allowed: 1 to %u bytes without control characters",
			RECORDS_SOURCE_MAX);
	else if (json && !records_json_is_array(json, strlen(json)))
		(void)snprintf(ret_why, size,
			"records: not an array; allowed: [{name, type, ttl, "
			"rdata, labels, status}, …]");
	if (*ret_why)
		return -EINVAL;
	err = rewrite_make(&w, c->store, json, &broken);
	if (!err && !json && !w.had) {
		(void)snprintf(ret_why, size, "no such source");
		err = -ENOENT;
	}
	if (!err && json)
		err = trial(c, &w, &why);
	if (!err)
		err = store_write(c->store, &w.out, broken);
	if (err && !*ret_why)
		(void)snprintf(ret_why, size, "%s: %s", c->store, strerror(-err));
	free(w.out.b);
	return err;
}

static int source_ignore(
	void *arg, const char *name, const char *text, size_t len, unsigned line, unsigned column)
{
	(void)arg, (void)name, (void)text, (void)len, (void)line, (void)column;
	return 0;
}

int records_store_list(const char *path, char **ret_json)
{
	size_t len, at;
	char *text;
	int err = store_load(path, &text, &len);

	if (err)
		return err;
	err = records_json_sources(text, len, source_ignore, NULL, &at);
	if (err)
		free(text);
	else
		*ret_json = text;
	return err;
}
