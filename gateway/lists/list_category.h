/* The categories of a geosite.dat or geoip.dat: the one that is wanted, and what to say if it is
 * not there. */
#ifndef TUNGATE_LISTS_CATEGORY_H
#define TUNGATE_LISTS_CATEGORY_H

#include "gateway/lists/list_proto.h"

#define LIST_CATEGORY_MAX  64 /* bytes of a name; a longer one is none that can be wanted */
#define LIST_CATEGORY_NEAR 10 /* told of those that are there */

struct list_category_near {
	char name[LIST_CATEGORY_MAX + 1];
	unsigned distance;
};

struct list_category {
	const char *wanted;
	bool found;
	size_t seen, n_near;
	struct list_category_near near[LIST_CATEGORY_NEAR]; /* closest first */
};

/* The body of one category, up to `end`: its name has been read. */
typedef int list_category_body(struct list_reader *r, struct list_wire *w, uint64_t end);

/* Reads a file whose field 1 are categories, each with its name as its field 1 before all others;
 * calls body for those with the name that is wanted (without case) and skips the rest. Complains if
 * none is wanted or there, or the file is broken. */
int list_category_read(struct list_reader *r, struct list_bytes *in, list_category_body *body);

#endif
