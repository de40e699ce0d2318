/* Cutting a text into lines. */
#include "gateway/lists/lists_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PIECE_BYTES 65536
#define ROOM_BYTES  (LIST_LINE_MAX + 1 + PIECE_BYTES)

struct cutter {
	size_t start, end; /* of what has not been cut yet, in buf */
	size_t dropped;	   /* bytes of a line that is too long, which are thrown away */
	char buf[ROOM_BYTES + 1];
};

size_t list_comment_cut(const char *line, size_t len)
{
	const char *hash = line;

	while ((hash = memchr(hash, '#', len - (size_t)(hash - line)))) {
		if (hash == line || list_is_blank(hash[-1])) {
			len = (size_t)(hash - line);
			break;
		}
		hash++;
	}
	while (len > 0 && list_is_blank(line[len - 1]))
		len--;
	return len;
}

const char *list_word(const char **at, const char *end, size_t *ret_len)
{
	const char *word = *at;

	while (word < end && list_is_blank(*word))
		word++;
	*at = word;
	while (*at < end && !list_is_blank(**at))
		(*at)++;
	*ret_len = (size_t)(*at - word);
	return word;
}

bool list_word_is(const char *text, size_t len, const char *word)
{
	return strncasecmp(text, word, len) == 0 && word[len] == 0;
}

/* A whole line without its newline, in which line[len] may be written to. */
static int line_take(struct list_reader *r, list_line *take, char *line, size_t len)
{
	size_t indent = 0;
	int err;

	r->line++;
	if (r->line == 1 && len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
		indent = 3;
	if (len > indent && line[len - 1] == '\r')
		len--;
	while (len > indent && list_is_blank(line[len - 1]))
		len--;
	while (indent < len && list_is_blank(line[indent]))
		indent++;
	line[len] = 0;
	r->text = line + indent;
	r->text_len = len - indent;
	r->indent = indent;
	list_item_begin(r);
	err = r->text_len > 0 ? take(r, line + indent, r->text_len) : 0;
	list_item_end(r);
	return err;
}

static void line_drop(struct list_reader *r)
{
	r->line++;
	r->text = "";
	r->text_len = r->indent = 0;
	list_item_begin(r);
	list_bad(r, 1, "a line above 64 KiB");
	list_item_end(r);
}

/* The line's last piece is c->buf + c->start, n bytes. */
static int line_end(struct list_reader *r, list_line *take, struct cutter *c, size_t n)
{
	size_t len = c->dropped + n;

	c->dropped = 0;
	if (len <= LIST_LINE_MAX)
		return line_take(r, take, c->buf + c->start, n);
	line_drop(r);
	return 0;
}

/* Cuts what is there; `end` bytes behind the start there is a NUL byte, or the end. */
static int lines_cut(struct list_reader *r, list_line *take, struct cutter *c, size_t end)
{
	int err = 0;

	while (!err && c->start < end) {
		const char *from = c->buf + c->start;
		const char *newline = memchr(from, '\n', end - c->start);

		if (!newline)
			break;
		err = line_end(r, take, c, (size_t)(newline - from));
		c->start = (size_t)(newline - c->buf) + 1;
	}
	return err;
}

/* Makes room for a piece behind the line that has begun. */
static void lines_keep(struct cutter *c)
{
	size_t n = c->end - c->start;

	if (c->dropped + n > LIST_LINE_MAX) {
		/* Beyond the bound it only counts, for the column of a NUL byte. */
		c->dropped += n;
		n = 0;
	} else if (c->start > 0) {
		memmove(c->buf, c->buf + c->start, n);
	}
	c->start = 0;
	c->end = n;
}

static int lines_all(
	struct list_reader *r, struct list_bytes *in, list_line *take, struct cutter *c)
{
	for (;;) {
		ssize_t n = list_bytes_read(in, c->buf + c->end, PIECE_BYTES);
		const char *nul;
		int err;

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		nul = memchr(c->buf + c->end, 0, (size_t)n);
		c->end += (size_t)n;
		err = lines_cut(r, take, c, nul ? (size_t)(nul - c->buf) : c->end);
		if (err)
			return err;
		if (nul)
			return list_broken(r, r->line + 1,
				c->dropped + (size_t)(nul - c->buf) - c->start + 1,
				"a NUL byte: this is not a text file; allowed: %s",
				list_format_allows(r->format));
		lines_keep(c);
	}
	/* The last line may lack its newline. */
	return c->end > 0 || c->dropped > 0 ? line_end(r, take, c, c->end) : 0;
}

int list_lines(struct list_reader *r, struct list_bytes *in, list_line *take)
{
	struct cutter *c = malloc(sizeof *c);
	int err;

	if (!c)
		return -ENOMEM;
	c->start = c->end = c->dropped = 0;
	err = lines_all(r, in, take, c);
	r->text = "";
	r->text_len = r->indent = 0;
	free(c);
	return err;
}
