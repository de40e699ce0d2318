/* What is read, in which order, and what becomes of what is wrong: in a file or in the
 * configuration it makes the reading fail; a pushed source is left out as a whole, because whoever
 * pushed it is not there to mend it. */
#include "gateway/policy/records_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/grow.h"

/* --- telling --- */

static void tell(struct records_reading *r, bool is_error, const char *text)
{
	if (!r->complain || !r->complain->complain || r->told > RECORDS_TOLD_MAX)
		return;
	if (r->told++ == RECORDS_TOLD_MAX)
		text = "records: more is wrong than is told; allowed: see above";
	r->complain->complain(r->complain->arg, is_error, text);
}

/* "FILE:LINE:COLUMN: records[3].rdata: …" */
__attribute__((format(printf, 7, 0))) static void bad(struct records_reading *r, uint16_t origin,
	unsigned index, unsigned line, unsigned column, const char *member, const char *format,
	va_list args)
{
	const struct records_origin *from = &r->origins[origin];
	struct records_source *source = from->source < 0 ? NULL : &r->sources[from->source];
	bool is_error = !source || source->trial;
	char text[LIST_COMPLAIN_MAX];
	size_t n = 0;

	if (source && source->dropped)
		return;
	if (is_error)
		r->errors++;
	if (source)
		source->dropped = true;
	if (from->path)
		n = (size_t)snprintf(text, sizeof text, "%s:%u:%u: %s", from->path, line, column,
			is_error ? "" : "warning: ");
	if (n < sizeof text)
		n += (size_t)snprintf(text + n, sizeof text - n, "%s", from->key);
	if (n < sizeof text && index != RECORDS_NO_INDEX)
		n += (size_t)snprintf(text + n, sizeof text - n, "[%u]", index);
	if (n < sizeof text)
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%s: ", member ? "." : "",
			member ? member : "");
	if (n < sizeof text)
		n += (size_t)vsnprintf(text + n, sizeof text - n, format, args);
	if (n < sizeof text && !is_error)
		(void)snprintf(text + n, sizeof text - n, " (all of this source is left out)");
	tell(r, is_error, text);
}

void records_bad(struct records_reading *r, const char *member, const char *format, ...)
{
	unsigned line, column;
	va_list args;

	records_member_place(r, member, &line, &column);
	va_start(args, format);
	bad(r, r->origin, r->index, line, column, member, format, args);
	va_end(args);
}

void records_bad_at(
	struct records_reading *r, const struct record_parsed *at, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	bad(r, at->origin, at->index, at->line, at->column, NULL, format, args);
	va_end(args);
}

bool records_hopeless(const struct records_reading *r)
{
	int source = r->origins[r->origin].source;

	return r->errors > RECORDS_TOLD_MAX || (source >= 0 && r->sources[source].dropped);
}

/* --- what is read --- */

int records_reading_init(struct records_reading *r, const struct list_sink *complain)
{
	*r = (struct records_reading){.complain = complain};
	r->arena = arena_new();
	r->rdata = malloc(DNS_RDATA_MAX);
	if (r->arena && r->rdata && addresses_builder_new(&r->lines) == 0)
		return 0;
	records_reading_fini(r);
	return -ENOMEM;
}

void records_reading_fini(struct records_reading *r)
{
	free(r->v);
	free(r->origins);
	free(r->sources);
	free(r->rdata);
	addresses_builder_free(r->lines);
	arena_free(r->arena);
}

int records_origin_set(struct records_reading *r, const char *path, const char *key, int source)
{
	int err = room_grow(
		(void **)&r->origins, &r->origins_room, r->n_origins, 1, sizeof *r->origins);

	if (err)
		return err;
	if (r->n_origins == UINT16_MAX)
		return -ENOSPC;
	r->origin = (uint16_t)r->n_origins;
	r->origins[r->n_origins++] = (struct records_origin){path, key, source};
	r->element = NULL;
	r->index = RECORDS_NO_INDEX;
	r->line = r->column = 1;
	return 0;
}

int records_add(struct records_reading *r, const struct record_parsed *record)
{
	struct record_parsed *p;
	int err;

	if (r->n == RECORDS_MAX) {
		records_bad(r, NULL, "too many records; allowed: at most %u in all", RECORDS_MAX);
		/* Of a pushed source that is left out the rest does not matter. */
		return r->errors > 0 ? -ENOSPC : 0;
	}
	err = room_grow((void **)&r->v, &r->room, r->n, 1, sizeof *r->v);
	if (err)
		return err;
	p = &r->v[r->n];
	*p = *record;
	p->name = arena_copy(r->arena, record->name, record->name_len);
	p->rdata = record->len ? arena_copy(r->arena, record->rdata, record->len) : NULL;
	if (arena_failed(r->arena))
		return -ENOMEM;
	p->order = (uint32_t)r->n++;
	p->origin = r->origin;
	p->index = r->index;
	p->line = r->line;
	p->column = r->column;
	return 0;
}

int records_line(struct records_reading *r, const char *name, size_t len, bool add)
{
	size_t i = 0;

	while (i < r->n_lines &&
		(strlen(r->line_names[i]) != len || memcmp(r->line_names[i], name, len) != 0))
		i++;
	if (i < r->n_lines)
		return (int)i;
	if (!add || i == RECORDS_LINES_MAX)
		return -1;
	r->line_names[i] = arena_strndup(r->arena, name, len);
	if (!r->line_names[i])
		return -1;
	r->n_lines++;
	return (int)i;
}

/* --- files --- */

/* NULL text: something is wrong with the file, and told. */
static int file_load(
	struct records_reading *r, const char *path, size_t max_bytes, char **ret, size_t *ret_len)
{
	int err = list_text_load(path, max_bytes, ret, ret_len);

	if (!err)
		return 0;
	*ret = NULL;
	if (err == -ENOMEM)
		return err;
	if (err == -EFBIG)
		records_bad(r, NULL, "too large; allowed: at most %zu bytes", max_bytes);
	else
		records_bad(r, NULL, "%s; allowed: a readable file",
			err == -EINVAL ? "neither a file nor a link to one" : strerror(-err));
	return 0;
}

/* Without a byte order mark. */
static void skip_mark(const char **text, size_t *len)
{
	if (*len < 3 || memcmp(*text, "\xef\xbb\xbf", 3) != 0)
		return;
	*text += 3;
	*len -= 3;
}

/* Brackets begin JSON; an address does not begin with one. */
static bool is_json(const char *text, size_t len)
{
	size_t at = 0;

	while (at < len && strchr(" \t\r\n", text[at]) && text[at])
		at++;
	return at < len && (text[at] == '[' || text[at] == '{');
}

static int file_read(struct records_reading *r, const char *path)
{
	const char *from;
	size_t len = 0;
	char *text = NULL;
	int err = records_origin_set(r, path, "records", -1);

	if (!err)
		err = file_load(r, path, RECORDS_FILE_MAX, &text, &len);
	if (err || !text)
		return err;
	from = text;
	skip_mark(&from, &len);
	err = is_json(from, len) ? records_json_read(r, from, len)
				 : records_hosts_read(r, from, len);
	free(text);
	return err;
}

static int lines_read(struct records_reading *r, const struct conf_records *c)
{
	const char *from;
	size_t len = 0;
	char *text = NULL;
	int err = records_origin_set(r, c->from, "records.lines", -1);

	for (size_t i = 0; i < c->n_lines && !err; i++) {
		const struct conf_line *line = &c->lines[i];
		int n = records_line(r, line->name, strlen(line->name), true);

		if (n < 0) {
			records_bad(
				r, NULL, "too many lines; allowed: at most %u", RECORDS_LINES_MAX);
			break;
		}
		for (size_t j = 0; j < line->clients.n && !err; j++)
			err = addresses_builder_add(r->lines, (unsigned)n, &line->clients.v[j]);
	}
	if (err || !c->lines_file)
		return err;
	err = records_origin_set(r, c->lines_file, "lines_file", -1);
	if (!err)
		err = file_load(r, c->lines_file, RECORDS_STORE_MAX, &text, &len);
	if (err || !text)
		return err;
	from = text;
	skip_mark(&from, &len);
	err = records_json_lines(r, from, len);
	free(text);
	return err;
}

static int inline_read(struct records_reading *r, const struct conf_records *c)
{
	int err = records_origin_set(r, c->from, "records.inline", -1);

	for (size_t i = 0; i < c->n_records && !err; i++)
		err = records_json_one(r, c->records[i].json, (unsigned)i, c->records[i].line,
			c->records[i].column);
	return err;
}

/* --- the store --- */

struct stored {
	struct records_reading *r;
	const char *path, *trial;
};

static int source_read(
	void *arg, const char *name, const char *text, size_t len, unsigned line, unsigned column)
{
	struct stored *s = arg;
	struct records_reading *r = s->r;
	bool trial = s->trial && strcmp(s->trial, name) == 0;
	int err;

	if (r->n_sources == RECORDS_SOURCES_MAX)
		return -EBADMSG;
	err = room_grow(
		(void **)&r->sources, &r->sources_room, r->n_sources, 1, sizeof *r->sources);

	if (err)
		return err;
	name = arena_strdup(r->arena, name);
	if (!name)
		return -ENOMEM;
	r->sources[r->n_sources] = (struct records_source){.name = name, .trial = trial};
	err = records_origin_set(
		r, trial ? NULL : s->path, trial ? "records" : name, (int)r->n_sources);
	r->n_sources++;
	return err ? err : records_json_array(r, text, len, line, column);
}

static void store_broken(struct records_reading *r, const char *path, const char *what)
{
	char text[LIST_COMPLAIN_MAX];

	(void)snprintf(text, sizeof text,
		"%s:1:1: warning: records.store: %s; going on without what was pushed; allowed: a "
		"file as records.set writes it",
		path, what);
	tell(r, false, text);
}

static int store_read(struct records_reading *r, const struct conf_records *c, const char *given,
	const char *trial)
{
	struct stored s = {.r = r, .path = c->store, .trial = trial};
	size_t len = given ? strlen(given) : 0, at = 0;
	char *text = NULL;
	int err = 0;

	if (!c->store || !*c->store)
		return 0;
	if (!given) {
		err = list_text_load(c->store, RECORDS_STORE_MAX, &text, &len);
		if (err == -ENOENT)
			return 0;
		if (err == -ENOMEM)
			return err;
		if (err) {
			store_broken(r, c->store, strerror(-err));
			return 0;
		}
		given = text;
	}
	err = records_json_sources(given, len, source_read, &s, &at);
	free(text);
	if (err != -EBADMSG)
		return err;
	for (size_t i = 0; i < r->n_sources; i++)
		r->sources[i].dropped = true;
	store_broken(r, c->store, "not JSON");
	return 0;
}

/* --- all --- */

static int all_read(struct records_reading *r, const struct conf_records *c, const char *store,
	const char *trial)
{
	int err = 0;

	r->ttl_s = c->ttl_s;
	err = lines_read(r, c);
	for (size_t i = 0; i < c->files.n && !err; i++)
		err = file_read(r, c->files.v[i]);
	if (!err)
		err = inline_read(r, c);
	return err ? err : store_read(r, c, store, trial);
}

/* The table of what was read, or -EINVAL after something was told. */
static int finish(struct records_reading *r, int err, struct records **ret)
{
	struct records *made = NULL;

	if (!err)
		err = records_build(r, &made);
	if ((err == -ENOSPC || err == -EFBIG) && r->errors == 0)
		records_bad(r, NULL, "too much; allowed: at most %u records, %u prefixes, 4 GB",
			RECORDS_MAX, ADDRESSES_MAX);
	if (err != -ENOMEM && r->errors > 0)
		err = -EINVAL;
	records_reading_fini(r);
	if (err) {
		records_unref(made);
		return err;
	}
	*ret = made;
	return 0;
}

int records_read_with(const struct conf_records *c, const struct list_sink *complain,
	const char *store, const char *trial, struct records **ret)
{
	struct records_reading r;
	struct records *made = NULL;
	int err = records_reading_init(&r, complain);

	if (err)
		return err;
	err = finish(&r, all_read(&r, c, store, trial), &made);
	if (err)
		return err;
	made->whole = c->whole;
	made->no_line_none = c->no_line_none;
	if (made->n_records == 0) {
		records_unref(made);
		made = NULL;
	}
	*ret = made;
	return 0;
}

int records_read(
	const struct conf_records *c, const struct list_sink *complain, struct records **ret)
{
	return records_read_with(c, complain, NULL, NULL, ret);
}

int records_rule_read(const struct conf_record *v, size_t n, const char *path, uint32_t ttl_s,
	const struct list_sink *complain, struct records **ret)
{
	struct records_reading r;
	struct records *made = NULL;
	int err = records_reading_init(&r, complain);

	if (err)
		return err;
	r.ttl_s = ttl_s;
	r.nameless = true;
	err = records_origin_set(&r, path, "records", -1);
	for (size_t i = 0; i < n && !err; i++)
		err = records_json_one(&r, v[i].json, (unsigned)i, v[i].line, v[i].column);
	err = finish(&r, err, &made);
	if (!err && made->n_records == 0) {
		records_unref(made);
		made = NULL;
	}
	if (!err)
		*ret = made;
	return err;
}
