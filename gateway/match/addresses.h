/* Address lists: one look-up of an address tells every list that holds it.
 *
 * Prefixes of both families and of all lists, sorted; each knows the closest one around it, and the
 * set of lists that hold it includes the sets of all around it. So the longest prefix that holds an
 * address tells all of them: a binary search finds the last prefix that begins at or before the
 * address, and it, or the closest around it that holds the address, is the one. Immutable once
 * finished; any thread looks up without a lock and without allocating.
 *
 * Pure. Building belongs to one thread. */
#ifndef TUNGATE_MATCH_ADDRESSES_H
#define TUNGATE_MATCH_ADDRESSES_H

#include <stddef.h>
#include <stdint.h>

#include "gateway/base/addr.h"

#define ADDRESSES_MAX	    (4u << 20) /* prefixes in all lists */
#define ADDRESSES_LISTS_MAX 4096

struct addresses;
struct addresses_builder;

int addresses_builder_new(struct addresses_builder **ret); /* -ENOMEM */
/* -ENOMEM; -ENOSPC: more than ADDRESSES_MAX. */
int addresses_builder_add(
	struct addresses_builder *b, unsigned list, const struct ip_prefix *prefix);
/* All prefixes that list l of `from` holds are added for list map[l]; -1: are left out. As above.
 */
int addresses_builder_add_from(
	struct addresses_builder *b, const struct addresses *from, const int *map);
/* Packs what was added; counts (an element a list that occurs, or NULL) is told the distinct
 * prefixes of each. On success the builder is freed; -ENOMEM and -ENOSPC (too many combinations of
 * lists) leave it to the caller. */
int addresses_builder_finish(struct addresses_builder *b, size_t *counts, struct addresses **ret);
void addresses_builder_free(struct addresses_builder *b); /* takes NULL */

/* The lists that hold the address, in ascending order; *ret_n of them. */
const uint16_t *addresses_find(
	const struct addresses *a, const struct ip_addr *address, size_t *ret_n);
/* Every prefix of every list, each list's own in ascending order; other than 0 ends the visit. */
typedef int addresses_visit(void *arg, unsigned list, const struct ip_prefix *prefix);
int addresses_each(const struct addresses *a, addresses_visit *visit, void *arg);
void addresses_free(struct addresses *a); /* takes NULL */

size_t addresses_size_bytes(const struct addresses *a);

#endif
