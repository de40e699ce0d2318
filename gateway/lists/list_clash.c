/* Clash's rule providers as mihomo takes them (YAML with `payload`, or text with a rule a line),
 * and Surge's rule sets and domain sets.
 *
 * Domains, addresses and classical rules are told apart rule by rule, so `behavior` need not be
 * named (list_clash_rule.c). One thing a rule does not tell: ".x" is what is below x to Clash, but
 * x and what is below it to Surge, whose domain sets have only ".x" and "x". mihomo never reads
 * such a file so: it must be told `behavior: domain`, and Clash lists say "+.x". So a text is a
 * Surge domain set if it has ".x" and nothing that only Clash has ("+.x", '*', "TYPE,VALUE") in
 * its first 64 KiB, and its format was found by its content or its file's name has "surge" in it;
 * with `format: clash` any other file means what Clash means. In YAML it is always Clash's.
 *
 * YAML is read by its events, so a list of any length takes little memory. Anchors give nothing
 * (an alias is no rule), and how deep it nests is bounded. */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "gateway/lists/list_clash.h"

#define YAML_DEPTH_MAX 32
#define YAML_PIECE_MAX 16384
/* libyaml keeps a scalar in memory. The bytes between two events are bounded: a scalar, or what
 * nobody reads. */
#define YAML_BETWEEN_MAX (8u << 20)
#define ALLOWED		 "`payload:` with a list of rules"

/* --- text --- */

static int text_line(struct list_reader *r, char *line, size_t len)
{
	const bool *surge = r->format_state;

	if (line[0] == '#' || line[0] == ';' || (len > 1 && line[0] == '/' && line[1] == '/'))
		return 0;
	return list_clash_rule(r, line, len, *surge);
}

/* The first line at *at that is no comment, without blanks; false: there is none. *at moves behind
 * it. */
static bool head_line(const char **at, const char *end, const char **ret, size_t *ret_len)
{
	while (*at < end) {
		const char *line = *at;
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		size_t len = (size_t)((newline ? newline : end) - line);

		*at = newline ? newline + 1 : end;
		while (len > 0 && (list_is_blank(line[len - 1]) || line[len - 1] == '\r'))
			len--;
		for (; len > 0 && list_is_blank(*line); len--)
			line++;
		if (len == 0 || *line == '#' || *line == ';' ||
			(len > 1 && line[0] == '/' && line[1] == '/'))
			continue;
		*ret = line;
		*ret_len = len;
		return true;
	}
	return false;
}

static bool name_has(const char *path, const char *word)
{
	const char *name = strrchr(path, '/');

	for (name = name ? name + 1 : path; *name; name++)
		if (strncasecmp(name, word, strlen(word)) == 0)
			return true;
	return false;
}

static bool is_surge_set(const struct list_reader *r, const char *head, size_t len)
{
	const char *end = head + len, *line;
	bool dots = false;
	size_t n;

	if (r->source->format != LIST_AUTO && !name_has(r->path, "surge"))
		return false;
	while (head_line(&head, end, &line, &n)) {
		const char *word = list_word(&line, line + n, &n);

		/* Behind a blank there is a comment, if anything. */
		if (memchr(word, '+', n) || memchr(word, '*', n) || memchr(word, ',', n))
			return false;
		dots = dots || (n > 1 && word[0] == '.');
	}
	return dots;
}

/* A key, a document's mark, a list or a flow: none of these begins a rule. An IPv6 prefix has
 * colons too, but no blank behind them. */
static bool is_yaml(const char *head, size_t len)
{
	const char *end = head + len, *line, *colon;
	size_t n;

	if (len >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0)
		head += 3;
	if (!head_line(&head, end, &line, &n))
		return false;
	colon = memchr(line, ':', n);
	return line[0] == '{' || line[0] == '[' || line[0] == '%' || line[0] == '"' ||
	       line[0] == '\'' || (n >= 3 && memcmp(line, "---", 3) == 0) ||
	       ((line[0] == '-' || line[0] == '?') && (n == 1 || list_is_blank(line[1]))) ||
	       (colon && !memchr(line, ',', (size_t)(colon - line)) &&
		       (colon + 1 == line + n || list_is_blank(colon[1])));
}

/* --- YAML --- */

struct yaml_list {
	struct list_reader *r;
	struct list_bytes *in;
	yaml_parser_t parser;
	int err;	   /* of the bytes */
	uint64_t since;	   /* bytes since the last event */
	bool between_full; /* above YAML_BETWEEN_MAX */
	/* The last piece, for the place of a byte that is none of YAML's. */
	char last[YAML_PIECE_MAX];
	size_t last_len;
	uint64_t last_offset;
	unsigned last_line;
};

static int bytes_pull(void *arg, unsigned char *buf, size_t size, size_t *ret_len)
{
	struct yaml_list *y = arg;
	ssize_t n;

	*ret_len = 0;
	for (size_t i = 0; i < y->last_len; i++)
		y->last_line += y->last[i] == '\n';
	y->last_offset += y->last_len;
	y->last_len = 0;
	y->between_full = y->since > YAML_BETWEEN_MAX;
	if (y->between_full)
		return 0;
	n = list_bytes_read(y->in, buf, size < sizeof y->last ? size : sizeof y->last);
	if (n < 0) {
		y->err = (int)n;
		return 0;
	}
	memcpy(y->last, buf, (size_t)n);
	y->last_len = *ret_len = (size_t)n;
	y->since += (uint64_t)n;
	return 1;
}

static unsigned place(size_t from_zero)
{
	return from_zero < 0x7fffffff ? (unsigned)from_zero + 1 : 0x7fffffff;
}

/* libyaml's byte reader knows only an offset. */
static int byte_error(const struct yaml_list *y)
{
	unsigned line = y->last_line;
	size_t column = 0;

	for (size_t i = 0; i < y->last_len && y->last_offset + i < y->parser.problem_offset; i++) {
		column = y->last[i] == '\n' ? 0 : column + 1;
		line += y->last[i] == '\n';
	}
	return list_broken(y->r, line + 1, column + 1, "not a text: %s; allowed: " ALLOWED,
		y->parser.problem ? y->parser.problem : "a byte that is part of none");
}

static int event_error(const struct yaml_list *y)
{
	const yaml_parser_t *p = &y->parser;
	const yaml_mark_t *mark = p->error == YAML_SCANNER_ERROR || p->error == YAML_PARSER_ERROR
					  ? &p->problem_mark
					  : &p->mark;

	if (y->err)
		return y->err;
	if (p->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (y->between_full)
		return list_broken(y->r, place(mark->line), place(mark->column),
			"a value or comment above 8 MB; allowed: " ALLOWED);
	if (p->error == YAML_READER_ERROR)
		return byte_error(y);
	return list_broken(y->r, place(mark->line), place(mark->column),
		"not YAML: %s%s%s; allowed: " ALLOWED, p->problem ? p->problem : "cannot be read",
		p->context ? " " : "", p->context ? p->context : "");
}

static int event_next(struct yaml_list *y, yaml_event_t *event)
{
	int ok = yaml_parser_parse(&y->parser, event);

	y->since = 0;
	return ok ? 0 : event_error(y);
}

static int event_broken(struct yaml_list *y, const yaml_event_t *event, const char *what)
{
	return list_broken(y->r, place(event->start_mark.line), place(event->start_mark.column),
		"%s; allowed: " ALLOWED, what);
}

static bool event_opens(const yaml_event_t *event)
{
	return event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT;
}

static bool event_closes(const yaml_event_t *event)
{
	return event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT;
}

/* The rest of a node that began with an event of that type. */
static int node_skip(struct yaml_list *y, bool opens)
{
	unsigned depth = opens ? 1 : 0;
	int err = 0;

	while (!err && depth > 0) {
		yaml_event_t event;

		err = event_next(y, &event);
		if (err)
			break;
		if (event_opens(&event) && ++depth > YAML_DEPTH_MAX)
			err = event_broken(y, &event, "nested too deep");
		else if (event_closes(&event))
			depth--;
		yaml_event_delete(&event);
	}
	return err;
}

/* An item of the payload. */
static int item_read(struct yaml_list *y, const yaml_event_t *event)
{
	struct list_reader *r = y->r;
	bool scalar = event->type == YAML_SCALAR_EVENT;
	const char *text = scalar ? (const char *)event->data.scalar.value : "";
	size_t len = scalar ? event->data.scalar.length : 0;
	int err = 0;

	while (len > 0 && list_is_blank(text[len - 1]))
		len--;
	for (; len > 0 && list_is_blank(*text); len--)
		text++;
	r->line = place(event->start_mark.line);
	r->text = text;
	r->text_len = len <= LIST_LINE_MAX ? len : 0;
	r->indent = event->start_mark.column +
		    (scalar && event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE);
	list_item_begin(r);
	if (!scalar)
		list_bad(r, 1, "not a single value");
	else if (len > LIST_LINE_MAX)
		list_bad(r, 1, "a value above 64 KiB");
	else if (len > 0) /* mihomo takes no notice of an empty one */
		err = list_clash_rule(r, text, len, false);
	list_item_end(r);
	r->text = "";
	r->text_len = r->indent = 0;
	return err ? err : node_skip(y, event_opens(event));
}

static int payload_read(struct yaml_list *y)
{
	bool ended = false;
	yaml_event_t event;
	int err = event_next(y, &event);

	if (err)
		return err;
	/* "payload:" with nothing behind it is an empty list. */
	if (event.type == YAML_SCALAR_EVENT && event.data.scalar.length == 0)
		ended = true;
	else if (event.type != YAML_SEQUENCE_START_EVENT)
		err = event_broken(y, &event, "`payload` is not a list");
	yaml_event_delete(&event);
	while (!err && !ended) {
		err = event_next(y, &event);
		if (err)
			break;
		ended = event_closes(&event);
		if (!ended)
			err = item_read(y, &event);
		yaml_event_delete(&event);
	}
	return err;
}

/* A key of the document and its value. */
static int key_read(struct yaml_list *y, const yaml_event_t *key, bool *has_payload)
{
	bool payload = key->type == YAML_SCALAR_EVENT &&
		       strcmp((const char *)key->data.scalar.value, "payload") == 0;
	yaml_event_t event;
	bool opens;
	int err;

	if (key->type != YAML_SCALAR_EVENT)
		return event_broken(y, key, "a key that is not a single value");
	if (payload && *has_payload)
		return event_broken(y, key, "a second `payload`");
	if (payload) {
		*has_payload = true;
		return payload_read(y);
	}
	err = event_next(y, &event);
	if (err)
		return err;
	opens = event_opens(&event);
	yaml_event_delete(&event);
	return node_skip(y, opens);
}

static int document_read(struct yaml_list *y, const yaml_event_t *start)
{
	bool has_payload = false, ended = false;
	yaml_event_t event;
	int err = 0;

	if (start->type != YAML_MAPPING_START_EVENT)
		return event_broken(y, start, "no `payload`");
	while (!err && !ended) {
		err = event_next(y, &event);
		if (err)
			return err;
		ended = event_closes(&event);
		if (!ended)
			err = key_read(y, &event, &has_payload);
		yaml_event_delete(&event);
	}
	return err || has_payload ? err : event_broken(y, start, "no `payload`");
}

static int stream_read(struct yaml_list *y)
{
	bool ended = false, read = false;
	int err = 0;

	while (!err && !ended) {
		yaml_event_t event;

		err = event_next(y, &event);
		if (err)
			break;
		switch (event.type) {
		case YAML_STREAM_END_EVENT:
			ended = true;
			break;
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			break;
		case YAML_DOCUMENT_START_EVENT:
			if (read)
				err = event_broken(y, &event, "a second document");
			break;
		default:
			read = true;
			err = document_read(y, &event);
		}
		yaml_event_delete(&event);
	}
	return err;
}

static int yaml_read(struct list_reader *r, struct list_bytes *in)
{
	struct yaml_list *y = calloc(1, sizeof *y);
	int err;

	if (!y)
		return -ENOMEM;
	y->r = r;
	y->in = in;
	if (!yaml_parser_initialize(&y->parser)) {
		free(y);
		return -ENOMEM;
	}
	yaml_parser_set_input(&y->parser, bytes_pull, y);
	err = stream_read(y);
	yaml_parser_delete(&y->parser);
	free(y);
	return err;
}

int list_clash_pull(struct list_reader *r, struct list_bytes *in)
{
	const uint8_t *head;
	bool surge;
	size_t len;
	int err = list_bytes_peek(in, LIST_DETECT_BYTES, &head, &len);

	if (err)
		return err;
	if (is_yaml((const char *)head, len))
		return yaml_read(r, in);
	surge = is_surge_set(r, (const char *)head, len);
	r->format_state = &surge;
	err = list_lines(r, in, text_line);
	r->format_state = NULL;
	return err;
}
