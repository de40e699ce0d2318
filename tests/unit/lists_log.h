/* What a list reader said, as text: shared by the tests of gateway/lists. */
#ifndef TUNGATE_TESTS_LISTS_LOG_H
#define TUNGATE_TESTS_LISTS_LOG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/lists/lists.h"
#include "tests/unit/folder.h"

struct log {
	char entries[65536]; /* "LINE:KIND VALUE", one a line; parts other than LIST_HOLDS marked */
	char told[16384];
	char files[16384]; /* paths */
	unsigned n, errors, n_files;
	int stop;	 /* what the sink answers */
	const char *why; /* and says */
};

__attribute__((format(printf, 3, 4))) static inline void log_add(
	char *text, size_t size, const char *format, ...)
{
	size_t n = strlen(text);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text + n, size - n, format, args);
	va_end(args);
}

static inline int log_entry(void *arg, const struct list_entry *e, const char **ret_why)
{
	static const char *const kinds[] = {"exact", "suffix", "below", "child"};
	static const char *const parts[] = {
		"", "except ", "important ", "except-important ", "except-closer "};
	struct log *log = arg;
	char text[DNS_NAME_TEXT_MAX];

	log->n++;
	*ret_why = log->why;
	assert_non_null(e->path);
	assert_non_null(e->text);
	log_add(log->entries, sizeof log->entries, "%u:%s", e->line, parts[e->part]);
	switch (e->is) {
	case LIST_ENTRY_NAME:
		log_add(log->entries, sizeof log->entries, "%s %s\n", kinds[e->kind],
			dns_name_format(e->name->b, text));
		break;
	case LIST_ENTRY_PREFIX:
		assert_int_equal(e->part, LIST_HOLDS);
		log_add(log->entries, sizeof log->entries, "prefix %s\n",
			ip_prefix_format(e->prefix, text));
		break;
	default:
		log_add(log->entries, sizeof log->entries, "%s %.*s\n",
			e->is == LIST_ENTRY_KEYWORD ? "keyword" : "regexp", (int)e->pattern_len,
			e->pattern);
	}
	return log->stop;
}

static inline int log_file(void *arg, const char *path, const struct list_stamp *stamp)
{
	struct log *log = arg;

	(void)stamp;
	log->n_files++;
	log_add(log->files, sizeof log->files, "%s\n", path);
	return 0;
}

static inline void log_complain(void *arg, bool is_error, const char *text)
{
	struct log *log = arg;

	log->errors += is_error;
	log_add(log->told, sizeof log->told, "%s\n", text);
}

static inline struct list_sink log_sink(struct log *log)
{
	*log = (struct log){.stop = log->stop, .why = log->why};
	return (struct list_sink){
		.arg = log, .entry = log_entry, .file = log_file, .complain = log_complain};
}

/* Reads a text of n bytes that is called "f", as lists.l. */
static inline int log_read(struct log *log, enum list_format format, const char *text, size_t n,
	struct list_counts *ret)
{
	const struct list_source source = {.path = "f", .key = "lists.l", .format = format};
	struct list_sink sink = log_sink(log);

	return list_read_text(&source, text, n, &sink, ret);
}

/* The text gives exactly these entries and no complaint. */
static inline void log_takes(enum list_format format, const char *text, const char *entries)
{
	struct log log = {.stop = 0};
	struct list_counts counts;

	assert_int_equal(log_read(&log, format, text, strlen(text), &counts), 0);
	assert_string_equal(log.told, "");
	assert_string_equal(log.entries, entries);
	assert_int_equal(counts.skipped, 0);
}

/* The line, among good ones, is skipped for this reason at this column; `good` is a line that the
 * format takes. */
static inline void log_skips(enum list_format format, const char *good, const char *line,
	unsigned column, const char *what)
{
	struct log log = {.stop = 0};
	struct list_counts counts;
	char text[1024], told[1024];

	(void)snprintf(text, sizeof text, "%s\n%s\n%s\n", good, line, good);
	(void)snprintf(told, sizeof told, "f:2:%u: warning: lists.l: %s; allowed: ", column, what);
	assert_int_equal(log_read(&log, format, text, strlen(text), &counts), 0);
	log.told[strlen(told) < sizeof log.told ? strlen(told) : 0] = 0;
	assert_string_equal(log.told, told);
	assert_int_equal(counts.skipped, 1);
	assert_int_equal(counts.lines, 3);
	assert_int_equal(counts.entries, 2);
}

static inline int log_read_path(struct log *log, enum list_format format, const char *path,
	struct list_counts *ret, enum list_format *ret_format)
{
	const struct list_source source = {.path = path, .key = "lists.l", .format = format};
	struct list_sink sink = log_sink(log);

	return list_read(&source, &sink, ret, ret_format);
}

#endif
