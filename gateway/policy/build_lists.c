/* Reading the lists of a policy, or taking them from the one before. */
#include "gateway/policy/build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/lists/list_build.h"

/* A file that is missing has the stamp of zeroes. */
static int file_add(
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

/* --- one list, read --- */

struct reading {
	struct build *b;
	struct policy_list *list;
	struct policy_list_info *info;
	const struct conf_list_file *at; /* the file in the configuration */
	/* Whether it can be read is tried: the list's entries are dropped, but for patterns, which
	 * have to compile. NULL: it is read. */
	struct list_build *trial;
	size_t tried_names, tried_prefixes;
	bool tried, failed;
	char error[512]; /* the first */
};

static int part_source(void *arg, enum list_part part)
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
	return file_add(r->b, r->list, path, stamp);
}

static void note_error(struct reading *r, const char *text)
{
	if (!r->failed)
		(void)snprintf(r->error, sizeof r->error, "%.*s", (int)sizeof r->error - 1, text);
	r->failed = true;
}

/* Of a trial that succeeds the reading that follows tells the rest. */
static void told(void *arg, bool is_error, const char *text)
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
	told(r, !at->optional, text);
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
	told(r, true, text);
}

/* Can it be read at all? If not it is better to keep what was. */
static int list_try(struct reading *r, const struct conf_list *from)
{
	const struct list_sink sink = {
		.arg = r, .entry = try_entry, .file = file_seen, .complain = told};
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

static int list_load(struct reading *r, const struct conf_list *from, struct list_build *lb)
{
	const struct list_sink tell = {.arg = r, .file = file_seen, .complain = told};
	struct list_sink sink;
	int err;

	list_build_init(lb, r->b->names, r->b->addresses);
	lb->address_list = (unsigned)(r->list - r->b->p->lists);
	lb->part_source = part_source;
	lb->arg = r;
	lb->tell = &tell;
	sink = list_build_sink(lb);
	err = files_read(r, from, &sink);
	lb->tell = NULL;
	memcpy(r->list->parts, lb->sources, sizeof r->list->parts);
	return err;
}

/* --- one list, taken from the policy before --- */

struct taken { /* what goes where, for all lists that are taken */
	int *sources, *addresses;
};

static const struct policy_list *find_previous(const struct build *b, const char *name)
{
	for (size_t i = 0; b->previous && i < b->previous->n_lists; i++)
		if (strcmp(b->previous->lists[i].name, name) == 0)
			return &b->previous->lists[i];
	return NULL;
}

static bool is_as_it_was(const struct policy_list *list, const struct policy_list *was)
{
	if (was->id != list->id || (list->closest && !was->closest))
		return false;
	for (size_t i = 0; i < was->n_files; i++) {
		struct list_stamp now;

		(void)list_stamp_read(was->files[i].path, &now);
		if (!list_stamp_equal(&now, &was->files[i].stamp))
			return false;
	}
	return true;
}

static int list_take(struct reading *r, const struct policy_list *was, struct taken *taken)
{
	const struct policy *previous = r->b->previous;
	const struct policy_list_info *info = &previous->infos[was - previous->lists];

	for (size_t part = 0; part < LIST_PARTS; part++) {
		int source = -1;

		if (was->parts[part] >= 0) {
			source = part_source(r, (enum list_part)part);
			if (source < 0)
				return source;
			taken->sources[was->parts[part]] = source;
		}
		r->list->parts[part] = source;
	}
	taken->addresses[was - previous->lists] = (int)(r->list - r->b->p->lists);
	r->list->closest = was->closest;
	r->info->skipped = info->skipped;
	r->info->unused = info->unused;
	r->info->loaded_at_s = info->loaded_at_s;
	return 0;
}

static int files_take(struct reading *r, const struct policy_list *was, bool as_they_are)
{
	for (size_t i = 0; i < was->n_files; i++) {
		struct list_stamp stamp = was->files[i].stamp;

		/* Those of a list that failed are not looked at again until they change. */
		if (as_they_are)
			(void)list_stamp_read(was->files[i].path, &stamp);
		if (file_add(r->b, r->list, was->files[i].path, &stamp))
			return -ENOMEM;
	}
	return 0;
}

/* *ret: true if the list is there now, without being read. */
static int list_reuse(
	struct reading *r, const struct conf_list *from, struct taken *taken, bool *ret)
{
	const struct policy_list *was = find_previous(r->b, from->name);
	const char *error;
	int err;

	*ret = false;
	if (!was)
		return 0;
	error = r->b->previous->infos[was - r->b->previous->lists].error;
	/* Files that failed and have not changed since would fail again, which may take long. */
	if ((!error || r->b->c->keep_failed) && is_as_it_was(r->list, was)) {
		*ret = true;
		r->info->error = error ? arena_strdup(r->b->p->arena, error) : NULL;
		err = list_take(r, was, taken);
		return err ? err : files_take(r, was, false);
	}
	if (!r->b->c->keep_failed)
		return 0;
	/* The stamps first: what changes while it is tried is a change. */
	err = files_take(r, was, true);
	if (!err)
		err = list_try(r, from);
	if (err || !r->failed) {
		r->list->n_files = 0;
		return err;
	}
	*ret = true;
	r->info->error = arena_strdup(r->b->p->arena, r->error);
	return list_take(r, was, taken);
}

/* --- all of them --- */

static uint64_t sources_id(const struct conf_list *from)
{
	uint64_t id = 0;

	for (size_t i = 0; i < from->n_files; i++) {
		const struct conf_list_file *f = &from->files[i];

		id = id * 31 + policy_id(f->path);
		id = id * 31 + policy_id(f->tag);
		id = id * 31 + policy_id(f->attribute);
		id = id * 31 + (uint64_t)f->format * 2 + f->optional;
	}
	return id;
}

static bool is_excepted(const struct conf_fakeip *from, size_t list)
{
	for (size_t i = 0; i < from->n_except; i++)
		if (from->except[i] == (int)list)
			return true;
	return false;
}

static int list_describe(struct build *b, const struct conf_list *from, struct policy_list *list)
{
	struct arena *arena = b->p->arena;
	struct list_source *sources = arena_array(arena, from->n_files + 1, sizeof *sources);

	list->name = arena_strdup(arena, from->name);
	list->key = arena_printf(arena, "lists.%s", from->name);
	list->sources = sources;
	list->n_sources = from->n_files;
	list->id = sources_id(from);
	list->closest = is_excepted(&b->config->fakeip, (size_t)(list - b->p->lists));
	for (size_t part = 0; part < LIST_PARTS; part++)
		list->parts[part] = -1;
	for (size_t i = 0; sources && i < from->n_files; i++) {
		const struct conf_list_file *f = &from->files[i];

		sources[i] = (struct list_source){
			.path = arena_strdup(arena, f->path),
			.key = list->key,
			.format = (enum list_format)f->format,
			.tag = f->tag ? arena_strdup(arena, f->tag) : NULL,
			.attribute = f->attribute ? arena_strdup(arena, f->attribute) : NULL,
		};
	}
	return arena_failed(arena) ? -ENOMEM : 0;
}

static int list_build_one(struct build *b, size_t index, struct list_build *lb, struct taken *taken)
{
	const struct conf_list *from = &b->config->lists[index];
	struct reading r = {
		.b = b,
		.list = &b->p->lists[index],
		.info = &b->p->infos[index],
	};
	bool taken_over;
	int err = list_describe(b, from, r.list);

	if (err)
		return err;
	r.info->name = r.list->name;
	r.info->loaded_at_s = clock_wall_s();
	err = list_reuse(&r, from, taken, &taken_over);
	if (!err && !taken_over)
		err = list_load(&r, from, lb);
	r.info->files = r.list->n_files;
	return err;
}

/* A name is excepted by what else the same list says: then names that another one holds count. */
static int note_exceptions(struct build *b)
{
	struct policy *p = b->p;

	p->excepting = arena_array(p->arena, p->n_lists + 1, sizeof *p->excepting);
	if (!p->excepting)
		return -ENOMEM;
	for (size_t i = 0; i < p->n_lists; i++) {
		const int *parts = p->lists[i].parts;
		bool more = false;

		for (size_t part = LIST_HOLDS + 1; part < LIST_PARTS; part++)
			more |= parts[part] >= 0;
		if (more)
			p->excepting[p->n_excepting++] = (uint16_t)i;
		for (size_t part = 0; part < LIST_PARTS && parts[LIST_EXCEPT_CLOSER] >= 0; part++)
			if (parts[part] >= 0)
				matcher_builder_keep(b->names, (unsigned)parts[part]);
	}
	return 0;
}

static int take_over(struct build *b, const struct taken *taken)
{
	int err;

	if (!b->previous)
		return 0;
	err = matcher_builder_add_from(b->names, b->previous->matcher, taken->sources);
	return err ? err
		   : addresses_builder_add_from(
			     b->addresses, b->previous->addresses, taken->addresses);
}

static int all_build(struct build *b, struct taken *taken)
{
	int err = 0;

	for (size_t i = 0; i < MATCHER_SOURCES_MAX; i++)
		taken->sources[i] = taken->addresses[i] = -1;
	for (size_t i = 0; i < b->p->n_lists && !err; i++)
		err = list_build_one(b, i, &b->loads[i], taken);
	if (!err)
		err = take_over(b, taken);
	return err ? err : note_exceptions(b);
}

int build_lists(struct build *b)
{
	struct policy *p = b->p;
	struct taken taken = {malloc(MATCHER_SOURCES_MAX * sizeof(int)),
		malloc(MATCHER_SOURCES_MAX * sizeof(int))};
	int err = -ENOMEM;

	p->n_lists = b->config->n_lists;
	p->lists = arena_array(p->arena, p->n_lists, sizeof *p->lists);
	p->infos = arena_array(p->arena, p->n_lists, sizeof *p->infos);
	b->loads = calloc(p->n_lists + 1, sizeof *b->loads);
	if (p->lists && p->infos && b->loads && taken.sources && taken.addresses)
		err = all_build(b, &taken);
	free(taken.sources);
	free(taken.addresses);
	return err;
}

void build_lists_fini(struct build *b)
{
	for (size_t i = 0; b->loads && i < b->p->n_lists; i++)
		list_build_fini(&b->loads[i]);
	free(b->loads);
}

/* --- names that are never faked --- */

static int builtin_read(struct build *b, unsigned source)
{
	static const struct list_source from = {
		.path = "never-fake.txt (built-in)", .key = "fakeip.except", .format = LIST_PLAIN};
	struct policy_list list = {0};
	struct policy_list_info info = {0};
	struct reading r = {.b = b, .list = &list, .info = &info};
	const struct list_sink tell = {.arg = &r, .complain = told};
	struct list_build lb;
	struct list_sink sink;
	int err;

	list_build_init(&lb, b->names, b->addresses);
	lb.sources[LIST_HOLDS] = (int)source;
	lb.tell = &tell;
	sink = list_build_sink(&lb);
	err = list_read_text(&from, (const char *)policy_never_fake_text,
		policy_never_fake_text_size, &sink, NULL);
	list_build_fini(&lb);
	return err;
}

int build_except(struct build *b)
{
	const struct conf_fakeip *from = &b->config->fakeip;
	struct policy_except *e = &b->p->except;
	unsigned source;

	e->sources = arena_array(b->p->arena, from->n_except + 1, sizeof *e->sources);
	if (!e->sources)
		return -ENOMEM;
	for (size_t i = 0; i < from->n_except; i++) {
		source = policy_list_source((size_t)from->except[i]);
		matcher_builder_keep(b->names, source);
		e->sources[e->n_sources++] = (uint16_t)source;
	}
	e->builtin = from->except_builtin;
	if (!e->builtin)
		return 0;
	if (build_source(b, &source))
		return -ENOSPC;
	matcher_builder_keep(b->names, source);
	e->sources[e->n_sources++] = (uint16_t)source;
	return builtin_read(b, source);
}
