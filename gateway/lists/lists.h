/* Reading list files: bytes in, entries and complaints out.
 *
 * Owns the reading and the counting of one file; what becomes of an entry is the sink's. Used by
 * one thread at a time (build, reload, explain). Whatever the bytes are, memory is bounded by one
 * line (LIST_LINE_MAX).
 *
 * A line that cannot be read is skipped and counted, and the first five are told. A file that
 * cannot be opened or is no regular file, one with a NUL byte, and one more than half of whose
 * lines fail is an error as a whole. */
#ifndef TUNGATE_LISTS_LISTS_H
#define TUNGATE_LISTS_LISTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/addr.h"
#include "gateway/dns/name.h"
#include "gateway/match/matcher.h"

#define LIST_LINE_MAX	  65536	       /* bytes, without the newline */
#define LIST_FILE_MAX	  (1ULL << 30) /* bytes read of one file */
#define LIST_TOLD_MAX	  5	       /* skipped lines told of each file */
#define LIST_COMPLAIN_MAX 4608	       /* a complaint with its path and NUL */

struct list_entry {
	const struct ip_prefix *prefix; /* an address or prefix; else NULL, and: */
	enum matcher_kind kind;
	const struct dns_name *name;
	const char *text; /* the line without blanks at its ends; until the call returns */
	size_t text_len;
	unsigned line;
};

struct list_sink {
	void *arg;
	int (*entry)(void *arg,
		const struct list_entry *entry); /* other than 0 ends the reading with that */
	/* "FILE:LINE:COLUMN: KEY: …", warnings and notes marked. NULL: nobody listens. */
	void (*complain)(void *arg, bool is_error, const char *text);
};

struct list_counts {
	unsigned lines;	  /* all of them, up to the last one read */
	unsigned entries; /* lines that gave one */
	unsigned skipped;
};

/* --- the plain format: a suffix, an address or a prefix a line; '#' comments; CRLF, BOM, blanks
 * and upper case are taken --- */

struct list_plain;

/* path and key ("lists.cn") are for complaints and are borrowed until list_plain_free(). -ENOMEM.
 */
int list_plain_new(
	const char *path, const char *key, const struct list_sink *sink, struct list_plain **ret);
/* The next bytes, in pieces of any size. -EBADMSG after a complaint that is an error; what
 * sink->entry returned. After an error only list_plain_free() may follow. */
int list_plain_feed(struct list_plain *r, const char *bytes, size_t len);
/* The last line, and the verdict over the file: -EBADMSG as above. */
int list_plain_end(struct list_plain *r, struct list_counts *ret);
void list_plain_free(struct list_plain *r);

/* --- files --- */

/* What tells one state of a file from another. */
struct list_stamp {
	uint64_t device, inode, size;
	int64_t mtime_s;
	long mtime_ns;
};

bool list_stamp_equal(const struct list_stamp *a, const struct list_stamp *b);
/* Of the file as it is now; all 0 and the error if there is none. */
int list_stamp_read(const char *path, struct list_stamp *ret);

/* Reads a file of the plain format. -EBADMSG after a complaint that is an error; the error of open
 * or read (-ENOENT, -EISDIR, -EACCES, …; -EINVAL: neither file nor directory; -EFBIG) without one:
 * only the caller knows where the path was written. *ret_stamp and *ret_counts (or NULL) are set on
 * success. */
int list_file_read(const char *path, const char *key, const struct list_sink *sink,
	struct list_counts *ret_counts, struct list_stamp *ret_stamp);

/* The whole of a file that is read at once, of at most max_bytes; *ret is the caller's to free, and
 * has a NUL behind it. -EFBIG; the errors of open and read as above; -ENOMEM. */
int list_text_load(const char *path, size_t max_bytes, char **ret, size_t *ret_len);

#endif
