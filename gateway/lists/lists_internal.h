/* What the formats share: where bytes come from, how a line or an item becomes an entry, and how it
 * is counted.
 *
 * list_file.c opens; list_bytes.c unpacks; list_lines.c cuts into lines; list_detect.c tells
 * formats; list_emit.c makes entries and complaints; list_include.c reads further files;
 * list_read.c puts these together. Each format is one file list_FORMAT.c: a text format is a
 * function for a line, others pull bytes. */
#ifndef TUNGATE_LISTS_INTERNAL_H
#define TUNGATE_LISTS_INTERNAL_H

#include "gateway/lists/lists.h"

/* --- bytes: a file, or what is packed in it --- */

struct list_bytes;

/* The bytes of fd, which is closed with it, or of a memory that outlives it. total: bound of what
 * comes out; LIST_FILE_MAX for a file. -ENOMEM leaves fd open. */
int list_bytes_file(int fd, uint64_t total, struct list_bytes **ret);
int list_bytes_memory(const void *bytes, size_t len, struct list_bytes **ret);
/* What make() gives, as list_bytes_read() would; arg lives as long. -ENOMEM. */
int list_bytes_make(ssize_t (*make)(void *arg, void *buf, size_t len), void *arg, uint64_t total,
	struct list_bytes **ret);
/* Puts gunzip before *in if its first bytes are gzip's; *in is still freed by the one call. What
 * comes out is at most LIST_FILE_MAX. -ENOMEM, or the errors of reading. */
int list_bytes_look_through(struct list_bytes **in);
/* The first `want` bytes, less at the end, without taking them: the next reads give them again. */
int list_bytes_peek(struct list_bytes *in, size_t want, const uint8_t **ret, size_t *ret_len);
/* Up to len bytes; 0: the end. -EFBIG beyond the bound; -EBADMSG: packed data is broken; the errors
 * of read(2). */
ssize_t list_bytes_read(struct list_bytes *in, void *buf, size_t len);
/* len bytes; -EBADMSG if there are less. */
int list_bytes_exactly(struct list_bytes *in, void *buf, size_t len);
int list_bytes_skip(struct list_bytes *in, uint64_t len); /* -EBADMSG if there are less */
/* What `in` gives, unpacked; `in` must live as long. total: bound of what comes out. -ENOMEM. */
int list_bytes_unzstd(struct list_bytes *in, uint64_t total, struct list_bytes **ret);
int list_bytes_inflate(struct list_bytes *in, uint64_t total, struct list_bytes **ret); /* zlib */
void list_bytes_free(struct list_bytes *in); /* NULL is fine */

/* --- a file being read --- */

struct list_files;

struct list_reader {
	const struct list_source *source;
	const char *path; /* of this file: an included one has another */
	const struct list_sink *sink;
	enum list_format format;    /* never LIST_AUTO */
	struct list_counts *counts; /* of the list */
	struct list_counts own;	    /* of this file alone */
	unsigned read;		    /* its lines that say something and could be read */
	/* The line or item being read, for entries and complaints; binary formats leave line 0. */
	unsigned line;
	const char *text;
	size_t text_len;
	size_t indent; /* bytes of the line before its text */
	/* What became of the line or item: gave an entry; was skipped; has no use for a DNS rule;
	 * is left out by a filter, or says something that needs no entry. */
	bool gave, failed, unused, passed;
	bool broken;	    /* an error has been told */
	void *format_state; /* of a format that needs one between its lines */
	/* Includes: files so far, who included this one, and the file's device and inode. */
	struct list_files *files;
	struct list_reader *parent;
	uint64_t device, inode;
	unsigned depth;
};

/* Entries. text: a domain name as users write it, upper case, escapes and a trailing dot taken;
 * what is no name skips the line (list_bad). Return 0, or what ends the reading. */
int list_emit_name(struct list_reader *r, enum list_part part, enum matcher_kind kind,
	const char *text, size_t len);
int list_emit_dns_name(struct list_reader *r, enum list_part part, enum matcher_kind kind,
	const struct dns_name *name);
int list_emit_keyword(struct list_reader *r, enum list_part part, const char *text, size_t len);
int list_emit_regexp(struct list_reader *r, enum list_part part, const char *text, size_t len);
/* Every name that ends with this text. */
int list_emit_ending(struct list_reader *r, enum list_part part, const char *text, size_t len);
int list_emit_prefix(struct list_reader *r, const struct ip_prefix *prefix);
/* An address or prefix; v4-mapped ones are the IPv4 that they mean, bits behind the length are
 * cleared. -EINVAL without a complaint: it is none. */
int list_prefix_parse(const char *text, size_t len, struct ip_prefix *ret);
/* The same, telling more: -EINVAL: it does not begin with an address; -EDOM: its length is none;
 * -ERANGE: there are bits behind the length (*ret is set, they are cleared). */
int list_prefix_parse_strict(const char *text, size_t len, struct ip_prefix *ret);

/* The line cannot be read: skipped, counted, the first ones told, with what the format allows.
 * column: 1-based, in r->text. Once a line. */
void list_bad(struct list_reader *r, size_t column, const char *what);
/* The same for a place within the line; 1 if it lies outside. */
void list_bad_at(struct list_reader *r, const char *at, const char *what);
/* The line has nothing for a DNS rule. Once a line; a line that also gave an entry is not counted.
 */
void list_unused(struct list_reader *r);
/* The line is understood and needs no entry: neither used nor unused. */
void list_passed(struct list_reader *r);
/* The file is an error: told; returns -EBADMSG. line 0: the file as a whole. */
int list_broken(struct list_reader *r, unsigned line, size_t column, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Binary formats: before and after an item, of which the latter counts it. The line cutter calls
 * both for text. */
void list_item_begin(struct list_reader *r);
void list_item_end(struct list_reader *r);
/* The end of a file: the note about skipped lines; -EBADMSG if they are more than half. */
int list_file_end(struct list_reader *r);
/* What a line of the format may be, for complaints. */
const char *list_format_allows(enum list_format f);

/* --- formats --- */

/* A line without blanks at its ends, without CR and BOM, not empty; comments are the format's own.
 * line[len] is 0, and the format may write into it. */
typedef int list_line(struct list_reader *r, char *line, size_t len);
/* Pulls all of a file. */
typedef int list_pull(struct list_reader *r, struct list_bytes *in);

/* Cuts bytes into lines; complains about NUL bytes and lines that are too long. */
int list_lines(struct list_reader *r, struct list_bytes *in, list_line *line);
/* '#' begins a comment at the line's start and behind a blank: the length before it, without
 * blanks. */
size_t list_comment_cut(const char *line, size_t len);
static inline bool list_is_blank(char c)
{
	return c == ' ' || c == '\t';
}
/* The next word: *at moves behind it; its length is 0 at the end. */
const char *list_word(const char **at, const char *end, size_t *ret_len);
/* Are the len bytes this word, without case? */
bool list_word_is(const char *text, size_t len, const char *word);

/* Reads another file of the same format into the same list (`include:`); name: beside the one being
 * read. A file that is being read already is a circle: list_broken(), as is one that cannot be
 * opened; one that was read with the same filter (a text that tells filters apart) is not read
 * again. format_state: of the new reader. */
int list_include(struct list_reader *r, const char *name, size_t len, const char *filter,
	void *format_state);
void list_files_free(struct list_files *files); /* NULL is fine */

/* list_file.c: opens path if it is a regular file. */
int list_file_open(const char *path, int *ret_fd, struct list_stamp *ret_stamp);
/* The same, to be read up to `total` bytes; goes with list_bytes_free(). */
int list_file_bytes(
	const char *path, uint64_t total, struct list_bytes **ret, struct list_stamp *ret_stamp);
/* list_read.c: all of a file, in the format of the reader, to its end; then r->broken if the error
 * is -EBADMSG. */
int list_read_bytes(struct list_reader *r, struct list_bytes *in);
/* list_detect.c: by the first bytes, unpacked, of a file of that name. */
#define LIST_DETECT_BYTES 65536
enum list_format list_detect_head(const char *path, const uint8_t *head, size_t len);

list_line list_plain_line, list_v2fly_line, list_dnsmasq_line, list_hosts_line, list_smartdns_line,
	list_adblock_line;
list_pull list_cidr_pull, list_gfwlist_pull, list_clash_pull, list_rpz_pull, list_geosite_pull,
	list_geoip_pull, list_mrs_pull, list_srs_pull, list_singbox_pull, list_compiled_pull;

#endif
