/* Reading list files: bytes in, entries and complaints out, for every format that people have.
 *
 * Owns the opening, unpacking and reading of one list file (and of those that it includes) and the
 * counting; what becomes of an entry is the sink's. Used by one thread at a time for each call; no
 * state between calls. Whatever the bytes are, memory is bounded (LIST_LINE_MAX for text,
 * LIST_MEMORY_MAX for what must be read whole) and so is what is unpacked (LIST_FILE_MAX).
 *
 * What each format means is exactly what its home program takes it for (interface.md, "What lists
 * mean"). Two kinds of lines give no entry: what a DNS rule cannot use (a path, a process name) is
 * `unused` and only counted; what cannot be read is `skipped`, counted, and the first five are
 * told. A file that cannot be opened or is no regular file, a text with a NUL byte, and one more
 * than half of whose lines are skipped is an error as a whole. */
#ifndef TUNGATE_LISTS_LISTS_H
#define TUNGATE_LISTS_LISTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/addr.h"
#include "gateway/dns/name.h"
#include "gateway/match/image.h"
#include "gateway/match/matcher.h"

#define LIST_LINE_MAX	  65536	       /* bytes, without the newline */
#define LIST_FILE_MAX	  (256u << 20) /* bytes of one file, unpacked */
#define LIST_MEMORY_MAX	  (64u << 20)  /* of a format that cannot be streamed */
#define LIST_INCLUDES_MAX 4096	       /* files of one list */
#define LIST_DEPTH_MAX	  32	       /* of includes */
#define LIST_TOLD_MAX	  5	       /* skipped lines told of each file */
#define LIST_COMPLAIN_MAX 4608	       /* a complaint with its path and NUL */

/* The same order as the words of the option `format` (conf/options.c). */
enum list_format {
	LIST_AUTO, /* the content tells */
	LIST_PLAIN,
	LIST_V2FLY,
	LIST_GEOSITE,
	LIST_GEOIP,
	LIST_DNSMASQ,
	LIST_HOSTS,
	LIST_ADBLOCK,
	LIST_GFWLIST,
	LIST_CLASH,
	LIST_MRS,
	LIST_SRS,
	LIST_SINGBOX,
	LIST_SMARTDNS,
	LIST_RPZ,
	LIST_CIDR,
	LIST_COMPILED,
	LIST_FORMATS
};
const char *list_format_name(enum list_format f);

/* A list holds a name by its parts:
 *   excepted, important  → no;  held, important → yes     (AdBlock's $important)
 *   excepted             → no                             (@@, `invert`d exceptions)
 *   held                 → yes, unless a name excepted closer (LIST_EXCEPT_CLOSER) is at least as
 *                          close as the closest held one  (dnsmasq's server=/x/#, SmartDNS'
 *                          address /x/-, rpz-passthru)
 * See list_parts_hold(). */
enum list_part {
	LIST_HOLDS,
	LIST_EXCEPT,
	LIST_HOLDS_IMPORTANT,
	LIST_EXCEPT_IMPORTANT,
	LIST_EXCEPT_CLOSER,
	LIST_PARTS
};
/* sources[part]: its source in the matcher, -1: the list has no such part. hits: of the name. */
bool list_parts_hold(const struct matcher *m, const int sources[LIST_PARTS],
	const struct dns_name *name, const struct matcher_hits *hits);

enum list_entry_kind { LIST_ENTRY_NAME, LIST_ENTRY_PREFIX, LIST_ENTRY_KEYWORD, LIST_ENTRY_REGEXP };

struct list_entry {
	enum list_entry_kind is;
	enum list_part part;	     /* prefixes: always LIST_HOLDS */
	enum matcher_kind kind;	     /* of a name */
	const struct dns_name *name; /* of a name */
	const struct ip_prefix *prefix;
	const char *pattern; /* keyword or expression */
	size_t pattern_len;
	const char *path; /* of the file it stands in: an included one is another */
	const char *text; /* the line without blanks at its ends; "" in a binary file */
	size_t text_len;
	unsigned line; /* 0 in a binary file */
};

/* What tells one state of a file from another. ctime: whoever copies a file may set the other time
 * to what it was, and one that could not be read is mended by its mode alone. */
struct list_stamp {
	uint64_t device, inode, size;
	int64_t mtime_s, ctime_s;
	long mtime_ns, ctime_ns;
};

struct list_sink {
	void *arg;
	/* Other than 0 ends the reading with that; but -EINVAL with *ret_why set (it is preset to
	 * NULL; an expression that does not compile) skips the line. All that an entry points to
	 * lives until the call returns. */
	int (*entry)(void *arg, const struct list_entry *entry, const char **ret_why);
	/* A compiled list: takes what it needs, and keeps the parts themselves by setting them to
	 * NULL; image_fini() follows. NULL: those are read and dropped. */
	int (*image)(void *arg, struct image *image);
	/* Every file that is read, included ones too, before its first entry; also one that should
	 * be included and is not there, with a stamp of zeros: it may come. NULL: nobody listens.
	 * Other than 0 ends the reading with that. */
	int (*file)(void *arg, const char *path, const struct list_stamp *stamp);
	/* "FILE:LINE:COLUMN: KEY: …", warnings and notes marked. NULL: nobody listens. */
	void (*complain)(void *arg, bool is_error, const char *text);
};

struct list_counts {	  /* of a file with its includes */
	unsigned lines;	  /* of text; or items of a binary format */
	unsigned entries; /* lines that gave one or more */
	unsigned skipped; /* that could not be read */
	unsigned unused;  /* that a DNS rule has no use for */
};

struct list_source {
	const char *path;
	const char *key; /* "lists.cn", for complaints */
	enum list_format format;
	/* geosite, geoip: the category (its case does not matter); required there. v2fly: NULL. */
	const char *tag;
	/* geosite, v2fly: only entries with this attribute ("cn"; "!cn" is one by that name); NULL:
	 * all. */
	const char *attribute;
};

/* Reads a file. gzip is read through. -EBADMSG after a complaint that is an error; the error of
 * open or read (-ENOENT, -EISDIR, -EACCES, …; -EINVAL: neither file nor directory; -EFBIG: more
 * than LIST_FILE_MAX or LIST_MEMORY_MAX) without one: only the caller knows where the path was
 * written; -ENOMEM; what the sink returned. *ret_counts and *ret_format (NULL is fine) are set on
 * success. */
int list_read(const struct list_source *source, const struct list_sink *sink,
	struct list_counts *ret_counts, enum list_format *ret_format);
/* The same for a text in memory, for lists that are part of the program. */
int list_read_text(const struct list_source *source, const char *text, size_t len,
	const struct list_sink *sink, struct list_counts *ret_counts);

/* The format of a file by its name and content, LIST_PLAIN if nothing tells. Errors as above. */
int list_detect(const char *path, enum list_format *ret);

bool list_stamp_equal(const struct list_stamp *a, const struct list_stamp *b);
/* Of the file as it is now; all 0 and the error if there is none. */
int list_stamp_read(const char *path, struct list_stamp *ret);

/* Adds the state of a file to a number that tells one state of many files from another. */
uint64_t list_stamp_mix(uint64_t state, const struct list_stamp *stamp);

/* The whole of a file that is read at once, of at most max_bytes; *ret is the caller's to free, and
 * has a NUL behind it. -EFBIG; the errors of open and read as above; -ENOMEM. */
int list_text_load(const char *path, size_t max_bytes, char **ret, size_t *ret_len);

#endif
