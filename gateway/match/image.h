/* A compiled list: one file that is read as it is, without parsing names.
 *
 * It holds a matcher whose sources are the parts of one list (lists.h), with key
 * MATCHER_IMAGE_KEY, and the list's prefixes. Versioned, little-endian, bounded, with a checksum
 * over all of it; whatever the bytes are, reading gives a correct matcher or an error. */
#ifndef TUNGATE_MATCH_IMAGE_H
#define TUNGATE_MATCH_IMAGE_H

#include "gateway/match/addresses.h"
#include "gateway/match/matcher.h"

#define IMAGE_MAGIC	 "TGLIST\r\n" /* the first 8 bytes; no text file has them */
#define IMAGE_MAGIC_SIZE 8
#define IMAGE_PARTS_MAX	 16

struct image {
	struct matcher *matcher;
	struct addresses *addresses; /* of the one list 0 */
};

/* Writes matcher (at most IMAGE_PARTS_MAX sources) and addresses to path: a temporary file beside
 * it, fsync, rename. The error of one of these; -EINVAL: another key; -ENOTSUP: path is a device,
 * a pipe or a socket, or a link to one. */
int image_write(const char *path, const struct matcher *m, const struct addresses *a);
/* bytes: the whole file, from malloc(); taken in any case: the names stay where they are. -EBADMSG
 * and *ret_why: no image, another version, damaged (the text is constant, or the thread's own until
 * it reads the next one). -ENOMEM. */
int image_take(uint8_t *bytes, size_t len, struct image *ret, const char **ret_why);
void image_fini(struct image *i); /* parts that are NULL are fine */

#endif
