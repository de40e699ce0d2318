/* Which line of which file makes a list hold a name: its sources are read again, so that a policy
 * need not keep them. */
#include "gateway/policy/explain.h"

#include <stdio.h>
#include <string.h>

#include "gateway/match/patterns.h"

#define TEXT_MAX      1100 /* a name as text fits, with words around it */
#define PATH_MAX_TEXT 4096

struct found {
	bool found, certain; /* certain: the file is the one that was loaded */
	int rank;
	unsigned line;
	char path[PATH_MAX_TEXT];
	char text[TEXT_MAX];
};

struct search {
	const struct policy_list *list;
	const struct dns_name *name;
	struct found holds, excepts;
	bool unchanged; /* all files so far are those that were loaded */
};

static bool name_holds(
	enum matcher_kind kind, const struct dns_name *held, const struct dns_name *name)
{
	switch (kind) {
	case MATCHER_EXACT:
		return dns_name_equal(name, held);
	case MATCHER_SUFFIX:
		return dns_name_is_below(name, held);
	case MATCHER_BELOW:
		return name->labels > held->labels && dns_name_is_below(name, held);
	case MATCHER_CHILD:
		return name->labels == held->labels + 1 && dns_name_is_below(name, held);
	case MATCHER_NAME_KINDS:
		break;
	}
	return false;
}

bool policy_domain_holds(const struct policy_domain *d, const struct dns_name *name)
{
	switch (d->is) {
	case LIST_ENTRY_NAME:
		return name_holds(d->kind, &d->name, name);
	case LIST_ENTRY_KEYWORD:
		return patterns_keyword_holds(d->pattern, d->pattern_len, name);
	case LIST_ENTRY_REGEXP:
		return patterns_regexp_holds(d->pattern, d->pattern_len, name);
	case LIST_ENTRY_PREFIX:
		break;
	}
	return false;
}

/* Closer names rank higher, an exact one above its like; a pattern has no closeness. -1: it does
 * not hold. */
static int rank(const struct list_entry *e, const struct dns_name *name)
{
	if (e->is == LIST_ENTRY_NAME && name_holds(e->kind, e->name, name))
		return 2 * e->name->labels + (e->kind == MATCHER_EXACT);
	if (e->is == LIST_ENTRY_KEYWORD && patterns_keyword_holds(e->pattern, e->pattern_len, name))
		return 0;
	if (e->is == LIST_ENTRY_REGEXP && patterns_regexp_holds(e->pattern, e->pattern_len, name))
		return 0;
	return -1;
}

static int search_entry(void *arg, const struct list_entry *e, const char **ret_why)
{
	struct search *s = arg;
	bool excepts = e->part == LIST_EXCEPT || e->part == LIST_EXCEPT_IMPORTANT ||
		       e->part == LIST_EXCEPT_CLOSER;
	struct found *f = excepts ? &s->excepts : &s->holds;
	int r = rank(e, s->name);
	size_t n = e->text_len < sizeof f->text ? e->text_len : sizeof f->text - 1;

	(void)ret_why;
	if (r < 0 || (f->found && r <= f->rank))
		return 0;
	f->found = true;
	f->rank = r;
	f->line = e->line;
	(void)snprintf(f->path, sizeof f->path, "%s", e->path ? e->path : "");
	memcpy(f->text, e->text, n);
	f->text[n] = 0;
	return 0;
}

static int search_file(void *arg, const char *path, const struct list_stamp *stamp)
{
	struct search *s = arg;

	for (size_t i = 0; i < s->list->n_files; i++)
		if (strcmp(s->list->files[i].path, path) == 0) {
			s->unchanged &= list_stamp_equal(&s->list->files[i].stamp, stamp);
			return 0;
		}
	s->unchanged = false;
	return 0;
}

static void note_exception(
	const struct search *s, bool holds, const struct policy_explain_sink *sink)
{
	char text[TEXT_MAX + PATH_MAX_TEXT + 256];

	if (!s->excepts.found || !sink->note)
		return;
	(void)snprintf(text, sizeof text, "list %s: %s an exception: %s:%u: %s", s->list->name,
		holds ? "holds the name in spite of" : "does not hold the name because of",
		s->excepts.path, s->excepts.line, s->excepts.text);
	sink->note(sink->arg, text);
}

void explain_list(const struct policy_list *list, const struct dns_name *name, bool holds,
	const struct policy_explain_sink *sink)
{
	struct search s = {.list = list, .name = name};
	const struct list_sink reader = {.arg = &s, .entry = search_entry, .file = search_file};
	struct policy_explain_list told = {.list = list->name, .text = ""};
	const char *unread = NULL;

	/* The closest entry of all files; of a file that is another one now nothing is said but
	 * that it may be this one. */
	for (size_t i = 0; i < list->n_sources; i++) {
		struct found holds_before = s.holds, excepts_before = s.excepts;
		enum list_format format;

		s.unchanged = true;
		if (list_read(&list->sources[i], &reader, NULL, &format) || !s.unchanged ||
			format == LIST_COMPILED) {
			s.holds = holds_before;
			s.excepts = excepts_before;
			unread = unread ? unread : list->sources[i].path;
		}
	}
	if (holds) {
		told.file = s.holds.found ? s.holds.path : unread;
		if (!told.file && list->n_files > 0)
			told.file = list->files[0].path;
		told.line = s.holds.line;
		told.text = s.holds.text;
		sink->list(sink->arg, &told);
	}
	note_exception(&s, holds, sink);
}
