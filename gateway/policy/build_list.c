/* Reading one list: its files, what they complain of, and whether they can be read at all. */
#include "gateway/policy/build_list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int reading_add_file(
	struct build *b, struct policy_list *list, const char *path, const struct list_stamp *stamp)
{
	struct policy_file *files = list->files;

	if (list->n_files == list->room_files) {
		size_t room = list->room_files ? 2 * list->room_files : 4;

		files = arena_array(b->p->arena, room, sizeof *files);
		if (!files)
			return -ENOMEM;
		if (list->n_files)
			memcpy(files, list->files, list->n_files * sizeof *files);
		list->files = files;
		list->room_files = room;
	}
	files[list->n_files] = (struct policy_file){arena_strdup(b->p->arena, path), *stamp};
	return files[list->n_files++].path ? 0 : -ENOMEM;
}

int reading_source(void *arg, enum list_part part)
{
	struct reading *r = arg;
	unsigned source = policy_list_source((size_t)(r->list - r->b->p->lists));

	(void)part;
	/* LIST_HOLDS has its place from the beginning. */
	if (part != LIST_HOLDS && build_source(r->b, &source))
		return -ENOSPC;
	return (int)source;
}

static int file_seen(void *arg, const char *path, const struct list_stamp *stamp)
{
	struct reading *r = arg;

	/* The files of a list that fails are those of before, too; the older stamp counts. */
	for (size_t i = 0; r->trial && i < r->list->n_files; i++)
		if (strcmp(r->list->files[i].path, path) == 0)
			return 0;
	return reading_add_file(r->b, r->list, path, stamp);
}

static void note_error(struct reading *r, const char *text)
{
	if (!r->failed)
		(void)snprintf(r->error, sizeof r->error, "%.*s", (int)sizeof r->error - 1, text);
	r->failed = true;
}

/* Of a trial that succeeds the reading that follows tells the rest. */
void reading_told(void *arg, bool is_error, const char *text)
{
	struct reading *r = arg;

	if (is_error)
		note_error(r, text);
	if (r->trial && !is_error)
		return;
	if (r->trial)
		r->b->c->report(r->b->c->report_arg, true, text);
	else
		build_report(r->b, is_error, text);
}

/* "FILE:LINE:COLUMN: KEY: …" about a file that need not be there. */
static void told_optional(void *arg, bool is_error, const char *text)
{
	const struct reading *r = arg;
	const char *key = strstr(text, ": ");
	char warning[LIST_COMPLAIN_MAX];

	if (!is_error)
		return;
	if (key) {
		(void)snprintf(warning, sizeof warning, "%.*s: warning%s; nothing of it is used",
			(int)(key - text), text, key);
		text = warning;
	}
	build_report(r->b, false, text);
}

/* Names and prefixes can be taken until there are too many, a pattern must compile. */
static int try_entry(void *arg, const struct list_entry *entry, const char **ret_why)
{
	struct reading *r = arg;
	struct list_sink patterns = list_build_sink(r->trial);

	switch (entry->is) {
	case LIST_ENTRY_NAME:
		return ++r->tried_names > MATCHER_NAMES_MAX ? -ENOSPC : 0;
	case LIST_ENTRY_PREFIX:
		return ++r->tried_prefixes > ADDRESSES_MAX ? -ENOSPC : 0;
	default:
		return patterns.entry(patterns.arg, entry, ret_why);
	}
}

static const char *fault_text(int err, char *buf, size_t size)
{
	switch (err) {
	case -EFBIG:
		(void)snprintf(
			buf, size, "too large; allowed: at most %u bytes, unpacked", LIST_FILE_MAX);
		break;
	case -EINVAL:
		(void)snprintf(buf, size, "neither a file nor a link to one; allowed: a list file");
		break;
	default:
		errno = -err;
		(void)snprintf(buf, size, "%m; allowed: a readable list file");
	}
	return buf;
}

/* A fault of the file is told; only what ends the building is returned. */
static int fault(struct reading *r, int err)
{
	const struct conf_list_file *at = r->at;
	char text[LIST_COMPLAIN_MAX], why[128];

	if (err == -ENOSPC) {
		r->b->full = r->list;
		r->b->full_at = at;
	}
	if (err == 0 || err == -EBADMSG || err == -ENOMEM || err == -ENOSPC)
		return err == -EBADMSG ? 0 : err;
	(void)snprintf(text, sizeof text, "%s:%u:%u: %s%s: %s: %s", r->b->config->path, at->line,
		at->column, at->optional ? "note: " : "", r->list->key, at->path,
		fault_text(err, why, sizeof why));
	reading_told(r, !at->optional, text);
	return 0;
}

static int source_read(struct reading *r, const struct list_source *source,
	const struct list_sink *sink, struct list_counts *ret)
{
	struct list_stamp stamp;
	int err;

	(void)list_stamp_read(source->path, &stamp);
	err = list_read(source, sink, ret, NULL);
	/* So that it is looked for again. */
	if (err && err != -EBADMSG && file_seen(r, source->path, &stamp))
		return -ENOMEM;
	return err;
}

/* Reads files only to see whether that can be done. */
static int trial_begin(struct reading *r, struct list_build *patterns)
{
	list_build_init(patterns, NULL, NULL);
	for (size_t part = 0; part < LIST_PARTS; part++)
		patterns->sources[part] = 0;
	r->trial = patterns;
	return matcher_builder_new(MATCHER_IMAGE_KEY, 1, &patterns->names);
}

static void trial_end(struct reading *r)
{
	matcher_builder_free(r->trial->names);
	r->trial = NULL;
}

/* Of a file that need not be there nothing is used unless all of it can be. */
static int optional_try(struct reading *r, const struct list_source *source)
{
	const struct list_sink sink = {
		.arg = r, .entry = try_entry, .file = file_seen, .complain = told_optional};
	size_t n_files = r->list->n_files;
	struct list_counts counts;
	struct list_build patterns;
	int err = trial_begin(r, &patterns);

	if (!err)
		err = source_read(r, source, &sink, &counts);
	trial_end(r);
	if (!err)
		r->list->n_files = n_files;
	return err;
}

static int file_read(struct reading *r, const struct list_source *source,
	const struct list_sink *sink, struct list_counts *total)
{
	struct list_counts counts = {0};
	int err = r->at->optional && !r->tried ? optional_try(r, source) : 0;

	if (!err)
		err = source_read(r, source, sink, &counts);
	total->skipped += counts.skipped;
	total->unused += counts.unused;
	return fault(r, err);
}

static int files_read(struct reading *r, const struct conf_list *from, const struct list_sink *sink)
{
	struct list_counts total = {0};

	for (size_t i = 0; i < from->n_files; i++) {
		int err;

		r->at = &from->files[i];
		err = file_read(r, &r->list->sources[i], sink, &total);
		if (err)
			return err;
	}
	r->info->skipped = total.skipped;
	r->info->unused = total.unused;
	return 0;
}

static void tell_full(struct reading *r)
{
	char text[LIST_COMPLAIN_MAX];

	(void)snprintf(text, sizeof text,
		"%s:%u:%u: %s: %s: too many names, patterns or prefixes; allowed: %u names, %u "
		"prefixes in all lists",
		r->b->config->path, r->at->line, r->at->column, r->list->key, r->at->path,
		MATCHER_NAMES_MAX, ADDRESSES_MAX);
	reading_told(r, true, text);
}

int reading_try(struct reading *r, const struct conf_list *from)
{
	const struct list_sink sink = {
		.arg = r, .entry = try_entry, .file = file_seen, .complain = reading_told};
	struct list_build patterns;
	int err = trial_begin(r, &patterns);

	r->tried = true;
	if (!err)
		err = files_read(r, from, &sink);
	/* A list that is too much alone is its own fault, not that of all. */
	if (err == -ENOSPC) {
		tell_full(r);
		err = 0;
	}
	trial_end(r);
	return err;
}

int reading_load(struct reading *r, const struct conf_list *from, struct list_build *lb)
{
	const struct list_sink tell = {.arg = r, .file = file_seen, .complain = reading_told};
	struct list_sink sink;
	int err;

	list_build_init(lb, r->b->names, r->b->addresses);
	lb->address_list = (unsigned)(r->list - r->b->p->lists);
	lb->part_source = reading_source;
	lb->arg = r;
	lb->tell = &tell;
	sink = list_build_sink(lb);
	err = files_read(r, from, &sink);
	lb->tell = NULL;
	memcpy(r->list->parts, lb->sources, sizeof r->list->parts);
	return err;
}
