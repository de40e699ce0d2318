/* The matcher: one look-up of a name tells every source that holds it.
 *
 * A source is a number below MATCHER_SOURCES_MAX: a part of a list, or the inline domains of one
 * rule. A matcher is immutable once it is finished; any thread looks names up in it without a lock
 * and without allocating. Names are compared by labels ("guru" is not below "ru"), without case
 * (struct dns_name is lower-cased).
 *
 * Names are kept as 64-bit keyed hashes, sorted, so a million take some 7 MB and matchers are
 * joined by merging: the hash is the identity of a name. That a name which nobody listed is taken
 * for one of n listed ones has a chance of n / 2^64 for each of its labels (a million names, three
 * labels: once in 6 * 10^12 questions); nobody can aim at it without the key.
 *
 * Pure: the key is handed in. Building belongs to one thread. */
#ifndef TUNGATE_MATCH_MATCHER_H
#define TUNGATE_MATCH_MATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/dns/name.h"

#define MATCHER_SOURCES_MAX 4096
#define MATCHER_NAMES_MAX   (16u << 20)
#define MATCHER_LABELS	    128 /* of a name, with the root */

/* The key of compiled lists (image.h), the same for all, so that they can be merged. A matcher that
 * takes none of them has a key of its own from the kernel's randomness. */
#define MATCHER_IMAGE_KEY 0x74756e676174653aULL

/* How a source holds a name. */
enum matcher_kind {
	MATCHER_EXACT,	/* the name alone */
	MATCHER_SUFFIX, /* the name and all below it; the root: every name */
	MATCHER_BELOW,	/* all below it, not the name */
	MATCHER_CHILD,	/* names of exactly one label more */
	MATCHER_NAME_KINDS
};

struct matcher_hits {
	uint64_t bits[MATCHER_SOURCES_MAX / 64]; /* set up to the matcher's number of sources */
};

static inline bool matcher_hits_has(const struct matcher_hits *hits, unsigned source)
{
	return hits->bits[source / 64] >> source % 64 & 1;
}

struct matcher;
struct matcher_builder;

/* key: see above. -ENOMEM. n_sources must not be above MATCHER_SOURCES_MAX. */
int matcher_builder_new(uint64_t key, unsigned n_sources, struct matcher_builder **ret);
/* -ENOMEM; -ENOSPC: more than MATCHER_NAMES_MAX names. Twice the same is once. */
int matcher_builder_add(struct matcher_builder *b, unsigned source, enum matcher_kind kind,
	const struct dns_name *name);
/* A name whose text (without case and trailing dot) contains these bytes. -EINVAL: none; -ENOSPC:
 * too many (patterns.h). */
int matcher_builder_add_keyword(
	struct matcher_builder *b, unsigned source, const char *text, size_t len);
/* A name in whose text the expression (PCRE2, without case) is found. -EINVAL: it does not compile,
 * or would cost too much; why in ret_why (size bytes). -ENOSPC as above. */
int matcher_builder_add_regexp(struct matcher_builder *b, unsigned source, const char *pattern,
	size_t len, char *ret_why, size_t size);
/* All that `from` holds for source s is added for source map[s]; -1: is left out. `from` must live
 * until the builder ends; what it has dropped stays dropped, matcher_builder_keep() or not. -EXDEV:
 * another key; -ENOMEM, -ENOSPC as above. */
int matcher_builder_add_from(struct matcher_builder *b, const struct matcher *from, const int *map);
/* matcher_closest() of this source must be true to what was added: names that another name of the
 * source holds anyway are not dropped. */
void matcher_builder_keep(struct matcher_builder *b, unsigned source);
/* Packs what was added. On success the builder is freed; -ENOMEM and -ENOSPC (too many combinations
 * of sources) leave it to the caller. */
int matcher_builder_finish(struct matcher_builder *b, struct matcher **ret);
void matcher_builder_free(struct matcher_builder *b); /* NULL is fine */

/* A look-up in two halves: after the first one the memory that the second needs is on its way, and
 * the caller may do something else meanwhile. */
struct matcher_look {
	unsigned n;
	struct {
		uint64_t hash;
		unsigned below; /* labels of the name below this one */
	} v[MATCHER_LABELS];
};
void matcher_begin(const struct matcher *m, const struct dns_name *name, struct matcher_look *ret);
void matcher_end(const struct matcher *m, const struct dns_name *name,
	const struct matcher_look *look, struct matcher_hits *ret);
void matcher_find(const struct matcher *m, const struct dns_name *name, struct matcher_hits *ret);
/* The closest held name (not pattern) by which the source holds this one: twice its labels, and one
 * more if it holds by MATCHER_EXACT; -1: it does not. */
int matcher_closest(const struct matcher *m, const struct dns_name *name, unsigned source);
void matcher_free(struct matcher *m);

uint64_t matcher_key(const struct matcher *m);
/* Distinct ones of all sources, as they are kept. */
size_t matcher_names(const struct matcher *m);
/* Entries of one source as they were added: names, keywords and expressions, each once, dropped
 * ones too. Of what came with matcher_builder_add_from() only those are once that were not dropped.
 * 0 for a source that the matcher does not have. */
size_t matcher_count(const struct matcher *m, unsigned source);
/* Keywords and expressions of all sources, counted once for each that has them. */
void matcher_patterns_count(const struct matcher *m, size_t *ret_keywords, size_t *ret_regexps);
size_t matcher_size_bytes(const struct matcher *m);

#endif
