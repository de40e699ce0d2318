/* The categories of a geosite.dat or geoip.dat: the one that is wanted, and what to say if it is
 * not there. */
#ifndef TUNGATE_LISTS_CATEGORY_H
#define TUNGATE_LISTS_CATEGORY_H

#include "gateway/lists/list_proto.h"

/* The body of one category, up to `end`: its name has been read. */
typedef int list_category_body(struct list_reader *r, struct list_wire *w, uint64_t end);

/* Reads a file whose field 1 are categories, each with its name as its field 1 before all others;
 * calls body for those with the name that is wanted (without case) and skips the rest. Complains if
 * none is wanted or there, or the file is broken. */
int list_category_read(struct list_reader *r, struct list_bytes *in, list_category_body *body);

#endif
