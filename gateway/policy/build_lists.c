/* The lists of a policy: read, or taken from the one before. */
#include "gateway/policy/build_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"

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
			source = reading_source(r, (enum list_part)part);
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
		if (reading_add_file(r->b, r->list, was->files[i].path, &stamp))
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
		err = reading_try(r, from);
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
		err = reading_load(&r, from, lb);
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
	const struct list_sink tell = {.arg = &r, .complain = reading_told};
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
