/* The plain-text format, line by line. */
#include "gateway/lists/lists.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/addr.h"

#define ALLOWED "one domain name, address or prefix a line, '#' comments"
#define MAPPED	96 /* bits before the IPv4 address in a v4-mapped one (RFC 4291 2.5.5.2) */

struct list_plain {
	const char *path, *key;
	struct list_sink sink;
	struct list_counts counts;
	bool too_long; /* the rest of this line is thrown away */
	/* Bytes of the line so far, if a piece ended within it; beyond LIST_LINE_MAX they are only
	 * counted. */
	size_t fill;
	char line[LIST_LINE_MAX];
};

int list_plain_new(
	const char *path, const char *key, const struct list_sink *sink, struct list_plain **ret)
{
	struct list_plain *r = malloc(sizeof *r);

	if (!r)
		return -ENOMEM;
	r->path = path;
	r->key = key;
	r->sink = *sink;
	r->counts = (struct list_counts){0};
	r->too_long = false;
	r->fill = 0;
	*ret = r;
	return 0;
}

void list_plain_free(struct list_plain *r)
{
	free(r);
}

__attribute__((format(printf, 6, 7))) static void complain(const struct list_plain *r,
	unsigned line, size_t column, bool is_error, const char *mark, const char *format, ...)
{
	char text[LIST_COMPLAIN_MAX];
	va_list args;
	int n;

	if (!r->sink.complain)
		return;
	n = snprintf(text, sizeof text, "%s:%u:%zu: %s%s: ", r->path, line, column, mark, r->key);
	if (n < 0)
		return;
	va_start(args, format);
	if ((size_t)n < sizeof text)
		(void)vsnprintf(text + n, sizeof text - (size_t)n, format, args);
	va_end(args);
	r->sink.complain(r->sink.arg, is_error, text);
}

static void line_skip(struct list_plain *r, size_t column, const char *what)
{
	if (++r->counts.skipped <= LIST_TOLD_MAX)
		complain(r, r->counts.lines, column, false, "warning: ", "%s; allowed: " ALLOWED,
			what);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* '#' begins a comment at the line's start and behind a blank. */
static size_t comment_start(const char *line, size_t len)
{
	const char *hash = line;

	while ((hash = memchr(hash, '#', len - (size_t)(hash - line)))) {
		if (hash == line || is_blank(hash[-1]))
			return (size_t)(hash - line);
		hash++;
	}
	return len;
}

/* Names need not be host names (RFC 2181 11): '_', a leading '-' and labels of digits occur.
 * Everything else is a sign of another format, and taking it would make an entry that no question
 * can ever meet. */
static bool is_name_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_' || c == '.' || c == '\\';
}

/* An address or prefix; v4-mapped ones are the IPv4 that they mean. True if the text begins as one;
 * then *ret_fault is NULL or what is wrong with it. */
static bool prefix_read(const char *text, size_t len, struct ip_prefix *ret, const char **ret_fault)
{
	char copy[IP_TEXT_MAX];
	struct ip_addr address;
	char *slash;
	int err;

	if (len >= sizeof copy)
		return false;
	memcpy(copy, text, len);
	copy[len] = 0;
	slash = strchr(copy, '/');
	if (slash)
		*slash = 0;
	if (ip_addr_parse(copy, &address))
		return false;
	if (slash && address.family == IP_V4 && strchr(copy, ':')) {
		char *end;
		unsigned long bits = strtoul(slash + 1, &end, 10);
		char plain[IP_TEXT_MAX];

		ip_addr_format(&address, plain);
		if (slash[1] < '0' || slash[1] > '9' || *end || bits < MAPPED || bits > 128)
			bits = MAPPED + 33; /* refused below */
		(void)snprintf(copy, sizeof copy, "%.16s/%lu", plain, bits - MAPPED);
	} else if (slash) {
		*slash = '/';
	}
	err = ip_prefix_parse(copy, ret);
	*ret_fault = err == -ERANGE ? "not a prefix: there are bits behind its length"
		     : err	    ? "not a prefix: its length is not one"
				    : NULL;
	return true;
}

static const char *name_fault(const char *text, size_t len, size_t *ret_at)
{
	*ret_at = 0;
	for (size_t i = 0; i < len; i++) {
		if (is_name_byte(text[i]) || (i > 0 && text[i - 1] == '\\'))
			continue;
		*ret_at = i;
		if (is_blank(text[i]))
			return "more than one word";
		return (unsigned char)text[i] >= 0x80
			       ? "not ASCII: a name is written in its xn-- form"
			       : "not a domain name: this character is not part of one";
	}
	return NULL;
}

/* A whole line without its newline. */
static int line_read(struct list_plain *r, const char *line, size_t len)
{
	struct dns_name name;
	struct ip_prefix prefix;
	struct list_entry entry = {.kind = MATCHER_SUFFIX, .name = &name};
	const char *text = line, *fault;
	size_t at, bom = 0;

	r->counts.lines++;
	if (r->counts.lines == 1 && len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
		bom = 3;
	text += bom;
	len -= bom;
	if (len > 0 && text[len - 1] == '\r')
		len--;
	len = comment_start(text, len);
	while (len > 0 && is_blank(text[len - 1]))
		len--;
	for (; len > 0 && is_blank(*text); len--)
		text++;
	if (len == 0)
		return 0;
	if (prefix_read(text, len, &prefix, &fault)) {
		at = 0;
		entry.prefix = &prefix;
		entry.name = NULL;
	} else {
		fault = name_fault(text, len, &at);
		if (!fault && dns_name_parse(text, len, &name))
			fault = "not a domain name: an empty label, one above 63 bytes, or above "
				"255 bytes in all";
	}
	if (fault) {
		line_skip(r, (size_t)(text - line) + at + 1, fault);
		return 0;
	}
	r->counts.entries++;
	entry.text = text;
	entry.text_len = len;
	entry.line = r->counts.lines;
	return r->sink.entry(r->sink.arg, &entry);
}

/* The line's end has been seen; its last piece is piece[len]. */
static int line_end(struct list_plain *r, const char *piece, size_t len)
{
	bool too_long = r->too_long || r->fill + len > LIST_LINE_MAX;
	size_t fill = r->fill;

	r->too_long = false;
	r->fill = 0;
	if (too_long) {
		r->counts.lines++;
		line_skip(r, 1, "a line above 64 KiB");
		return 0;
	}
	if (fill == 0)
		return line_read(r, piece, len);
	memcpy(r->line + fill, piece, len);
	return line_read(r, r->line, fill + len);
}

static void line_keep(struct list_plain *r, const char *piece, size_t len)
{
	if (r->fill + len > LIST_LINE_MAX)
		r->too_long = true;
	if (!r->too_long)
		memcpy(r->line + r->fill, piece, len);
	/* Beyond the bound it only counts, for the column of a NUL byte. */
	r->fill += len;
}

int list_plain_feed(struct list_plain *r, const char *bytes, size_t len)
{
	while (len > 0) {
		const char *newline = memchr(bytes, '\n', len);
		size_t piece = newline ? (size_t)(newline - bytes) : len;
		const char *nul = memchr(bytes, 0, piece);
		int err = 0;

		if (nul) {
			complain(r, r->counts.lines + 1, r->fill + (size_t)(nul - bytes) + 1, true,
				"", "a NUL byte: this is not a text file; allowed: " ALLOWED);
			return -EBADMSG;
		}
		if (newline)
			err = line_end(r, bytes, piece);
		else
			line_keep(r, bytes, piece);
		if (err)
			return err;
		bytes += piece + (newline != NULL);
		len -= piece + (newline != NULL);
	}
	return 0;
}

int list_plain_end(struct list_plain *r, struct list_counts *ret)
{
	const struct list_counts *c = &r->counts;

	if (r->fill > 0) {
		int err = line_end(r, "", 0);

		if (err)
			return err;
	}
	if (c->skipped > LIST_TOLD_MAX)
		complain(r, c->lines, 1, false,
			"note: ", "%u lines skipped in all, the first %d are told above",
			c->skipped, LIST_TOLD_MAX);
	if (c->skipped > c->entries) {
		complain(r, 1, 1, true, "", "%u of %u lines cannot be read; allowed: " ALLOWED,
			c->skipped, c->skipped + c->entries);
		return -EBADMSG;
	}
	*ret = r->counts;
	return 0;
}
