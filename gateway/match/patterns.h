/* Keywords and regular expressions: what of them is found in a name, in one pass.
 *
 * All keywords are looked for at once (Aho and Corasick, 1975). So are the texts that must occur in
 * a name for an expression to match; only expressions whose text occurs, and those that have none,
 * are tried by PCRE2. Immutable once finished; any thread may look up, without a lock.
 *
 * The text of a name: its labels joined by dots, no dot at the end, lower case; a dot or a byte
 * below 0x21 inside a label counts as 0xff. */
#ifndef TUNGATE_MATCH_PATTERNS_H
#define TUNGATE_MATCH_PATTERNS_H

#include "gateway/match/matcher.h"

#define PATTERNS_MAX	    65536      /* keywords and expressions, each */
#define PATTERNS_REGEXP_MAX 4096       /* bytes of one */
#define PATTERNS_TEXT_MAX   (4u << 20) /* bytes of all */

struct patterns;
struct patterns_builder;

int patterns_builder_new(struct patterns_builder **ret); /* -ENOMEM */
/* As matcher_builder_add_keyword() and matcher_builder_add_regexp(). Twice the same is once. */
int patterns_builder_add_keyword(
	struct patterns_builder *b, unsigned source, const char *text, size_t len);
int patterns_builder_add_regexp(struct patterns_builder *b, unsigned source, const char *pattern,
	size_t len, char *ret_why, size_t size);
/* Those that are left are NULL in *ret if nothing was added. On success the builder is freed. */
int patterns_builder_finish(struct patterns_builder *b, struct patterns **ret); /* -ENOMEM */
void patterns_builder_free(struct patterns_builder *b);				/* NULL is fine */

/* Sets the bits of the sources one of whose patterns is found; the others stay as they are. */
void patterns_find(
	const struct patterns *p, const struct dns_name *name, struct matcher_hits *hits);
/* The same for one pattern alone, for explain; pattern: as it was added. */
bool patterns_keyword_holds(const char *text, size_t len, const struct dns_name *name);
bool patterns_regexp_holds(const char *pattern, size_t len, const struct dns_name *name);
/* Every pattern with every source that has it, in a fixed order; other than 0 ends the visit. */
typedef int patterns_visit(
	void *arg, unsigned source, bool is_regexp, const char *text, size_t len);
int patterns_each(const struct patterns *p, patterns_visit *visit, void *arg);
void patterns_free(struct patterns *p); /* NULL is fine */
size_t patterns_size_bytes(const struct patterns *p);
/* Expressions that are tried for each name: no text must occur for them. */
size_t patterns_always(const struct patterns *p);
/* How often an expression was given up, because finding it or not would have cost too much; such a
 * one counts as not found. */
uint64_t patterns_gave_up(const struct patterns *p);

#endif
