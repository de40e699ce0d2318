#include "conf/conf_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUOTE_MAX = 80, KEY_MAX = 200 };

/* Control characters would break the line or drive the terminal. */
static size_t escape(char *out, size_t size, const char *text)
{
	size_t n = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		bool control =
			*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0);

		if (n + 8 > size) {
			n += (size_t)snprintf(out + n, size - n, "...");
			break;
		}
		if (control)
			n += (size_t)snprintf(out + n, size - n, "\\x%02x", *p);
		else
			out[n++] = (char)*p;
	}
	out[n] = 0;
	return n;
}

const char *conf_quote(struct conf_reader *r, const char *text)
{
	char buf[QUOTE_MAX];
	const char *quoted;

	escape(buf, sizeof buf, text);
	quoted = arena_printf(r->scratch, "'%s'", buf);
	return quoted ? quoted : "";
}

/* Names of sections stand in what is allowed, and may be anything. */
static const char *allowed_text(struct conf_reader *r, const char *text)
{
	size_t size = 4 * strlen(text) + 9;
	char *clean = arena_alloc(r->scratch, size);

	if (clean)
		escape(clean, size, text);
	return clean ? clean : "";
}

static size_t path_write(const struct conf_node *node, char *buf, size_t size)
{
	char key[KEY_MAX / 2];
	size_t n;
	int more;

	buf[0] = 0;
	if (!node->parent)
		return 0;
	n = path_write(node->parent, buf, size);
	if (node->key) {
		escape(key, sizeof key, node->key);
		more = snprintf(buf + n, size - n, "%s%s", n ? "." : "", key);
	} else {
		more = snprintf(buf + n, size - n, "[%zu]", node->index);
	}
	n += (size_t)more;
	return n < size ? n : size - 1;
}

static void message_add(struct conf_reader *r, enum conf_severity severity, unsigned line,
	unsigned column, const char *key, const char *allowed, const char *text)
{
	static const char *const prefix[] = {"", "warning: ", "note: "};
	struct conf_message *m;

	if (severity == CONF_ERROR)
		r->n_errors++;
	if (!r->messages)
		r->messages =
			arena_alloc(r->scratch, (CONF_MESSAGES_MAX + 1) * sizeof *r->messages);
	if (!r->messages || !text || r->n_messages > CONF_MESSAGES_MAX)
		return;
	m = &r->messages[r->n_messages];
	m->line = line;
	m->column = column;
	m->severity = severity;
	m->order = r->n_messages++;
	if (m->order == CONF_MESSAGES_MAX) {
		m->line = m->column = (unsigned)-1;
		m->severity = CONF_WARNING;
		m->text = arena_printf(r->scratch, "%s:%u:%u: warning: file: more is not shown",
			r->path, line, column);
		return;
	}
	m->text = arena_printf(r->scratch, "%s:%u:%u: %s%s: %s%s%s", r->path, line, column,
		prefix[severity], key, text, allowed ? "; allowed: " : "",
		allowed ? allowed_text(r, allowed) : "");
}

static void say(struct conf_reader *r, enum conf_severity severity, const struct conf_node *node,
	bool at_key, const char *sub, const char *allowed, const char *text)
{
	char key[KEY_MAX + 40], below[40] = "";
	size_t n = path_write(node, key, KEY_MAX);

	if (sub) {
		escape(below, sizeof below, sub);
		snprintf(key + n, sizeof key - n, "%s%s", n ? "." : "", below);
	} else if (n == 0) {
		strcpy(key, "file");
	}
	message_add(r, severity, at_key ? node->key_line : node->line,
		at_key ? node->key_column : node->column, key, allowed, text);
}

void conf_say(struct conf_reader *r, enum conf_severity severity, struct conf_node *node,
	const char *sub, const char *allowed, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(r, severity, node, false, sub, allowed, arena_vprintf(r->scratch, format, args));
	va_end(args);
	if (severity == CONF_ERROR && !sub)
		node->bad = true;
}

void conf_say_key(
	struct conf_reader *r, struct conf_node *node, const char *allowed, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(r, CONF_ERROR, node, true, NULL, allowed, arena_vprintf(r->scratch, format, args));
	va_end(args);
	node->bad = true;
}

void conf_say_at(struct conf_reader *r, unsigned line, unsigned column, const char *key,
	const char *format, ...)
{
	va_list args;

	va_start(args, format);
	message_add(
		r, CONF_ERROR, line, column, key, NULL, arena_vprintf(r->scratch, format, args));
	va_end(args);
}

static int message_compare(const void *a, const void *b)
{
	const struct conf_message *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	if (x->column != y->column)
		return x->column < y->column ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

void conf_messages_report(struct conf_reader *r, conf_report *report, void *arg)
{
	if (r->n_messages)
		qsort(r->messages, r->n_messages, sizeof *r->messages, message_compare);
	for (unsigned i = 0; i < r->n_messages; i++)
		if (r->messages[i].text)
			report(arg, r->messages[i].severity, r->messages[i].text);
}
