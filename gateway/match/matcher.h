/* The matcher: one look-up of a name tells every source that holds it.
 *
 * A source is a number below MATCHER_SOURCES_MAX: a list, or the inline domains of one rule. A
 * matcher is immutable once it is finished; any thread looks names up in it without a lock and
 * without allocating. Names are compared whole, so that there is no false hit, by labels ("guru" is
 * not below "ru"), without case (struct dns_name is lower-cased).
 *
 * Pure: the key of the hash is handed in. Building belongs to one thread. */
#ifndef TUNGATE_MATCH_MATCHER_H
#define TUNGATE_MATCH_MATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/dns/name.h"

#define MATCHER_SOURCES_MAX 4096
#define MATCHER_NAMES_MAX   (16u << 20)

/* How a source holds a name. */
enum matcher_kind {
	MATCHER_EXACT,	/* the name alone */
	MATCHER_SUFFIX, /* the name and all below it; the root: every name */
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

/* key: from the kernel's randomness, so that whoever writes a list cannot aim at one bucket.
 * -ENOMEM. n_sources must not be above MATCHER_SOURCES_MAX. */
int matcher_builder_new(uint64_t key, unsigned n_sources, struct matcher_builder **ret);
/* Copies the name. *ret_new (or NULL): false if the source already held it this way. -ENOMEM;
 * -ENOSPC: more than MATCHER_NAMES_MAX names or too many combinations of sources. */
int matcher_builder_add(struct matcher_builder *b, unsigned source, enum matcher_kind kind,
	const struct dns_name *name, bool *ret_new);
/* Packs what was added. On success the builder is freed; -ENOMEM leaves it to the caller. */
int matcher_builder_finish(struct matcher_builder *b, struct matcher **ret);
void matcher_builder_free(struct matcher_builder *b);

void matcher_find(const struct matcher *m, const struct dns_name *name, struct matcher_hits *ret);
/* Labels of the longest name by which the source holds this one; -1: it does not. */
int matcher_closest(const struct matcher *m, const struct dns_name *name, unsigned source);
void matcher_free(struct matcher *m);

size_t matcher_names(const struct matcher *m); /* distinct ones */
size_t matcher_size_bytes(const struct matcher *m);

#endif
