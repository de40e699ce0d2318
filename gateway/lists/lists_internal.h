/* What the formats share: where bytes come from, how a line or an item becomes an entry, and how it
 * is counted.
 *
 * list_file.c opens; list_bytes.c unpacks; list_lines.c cuts into lines; list_detect.c tells
 * formats; list_emit.c makes entries and complaints. Each format is one file list_FORMAT.c: a text
 * format is a function for a line, others pull bytes. */
#ifndef TUNGATE_LISTS_INTERNAL_H
#define TUNGATE_LISTS_INTERNAL_H

#include "gateway/lists/lists.h"

/* --- bytes: a file, or what is packed in it --- */

struct list_bytes;

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

struct list_reader {
	const struct list_source *source;
	const char *path; /* of this file: an included one has another */
	const struct list_sink *sink;
	struct list_counts *counts; /* of the list */
	unsigned told;		    /* complaints about skipped lines of this file */
	/* The line or item being read, for entries and complaints; binary formats leave line 0. */
	unsigned line;
	const char *text;
	size_t text_len;
	bool gave, failed;	  /* this line gave an entry; was skipped */
	void *format_state;	  /* of a format that needs one between its lines */
	struct list_files *files; /* opened so far, for includes */
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
int list_emit_prefix(struct list_reader *r, const struct ip_prefix *prefix);
/* An address or prefix; v4-mapped ones are the IPv4 that they mean, bits behind the length are
 * cleared. -EINVAL without a complaint: it is none. */
int list_prefix_parse(const char *text, size_t len, struct ip_prefix *ret);

/* The line cannot be read: skipped, counted, the first ones told. column: 1-based. Once a line. */
void list_bad(struct list_reader *r, size_t column, const char *what);
/* The line has nothing for a DNS rule. Once a line; a line that also gave an entry is not counted.
 */
void list_unused(struct list_reader *r);
/* The file is an error: told; returns -EBADMSG. */
int list_broken(struct list_reader *r, unsigned line, size_t column, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Binary formats: the end of an item, counts it. The line cutter calls it for text. */
void list_item_end(struct list_reader *r);

/* --- formats --- */

/* A line without blanks at its ends, without CR and BOM, not empty; comments are the format's own.
 * line[len] is 0, and the format may write into it. */
typedef int list_line(struct list_reader *r, char *line, size_t len);
/* Pulls all of a file. */
typedef int list_pull(struct list_reader *r, struct list_bytes *in);

/* Cuts bytes into lines; complains about NUL bytes and lines that are too long. */
int list_lines(struct list_reader *r, struct list_bytes *in, list_line *line);
/* Reads another file into the same list (`include:`): path beside the one being read. A file that
 * is being read already is a circle: list_broken(); one that was read with the same attribute is
 * not read again. format and attribute as in struct list_source. */
int list_include(struct list_reader *r, const char *name, size_t len, enum list_format format,
	list_line *line, void *format_state);

list_line list_plain_line, list_dnsmasq_line, list_hosts_line, list_smartdns_line, list_cidr_line,
	list_v2fly_line, list_adblock_line;
list_pull list_gfwlist_pull, list_clash_pull, list_rpz_pull, list_geosite_pull, list_geoip_pull,
	list_mrs_pull, list_srs_pull, list_singbox_pull, list_compiled_pull;

#endif
