/* From the entries of list files to builder calls: what is read goes into a matcher's builder and
 * an address list's.
 *
 * The names of one list, however many files it has, go into at most LIST_PARTS sources, which are
 * asked for when the first name of a part comes. Belongs to one thread, that of the builders. */
#ifndef TUNGATE_LISTS_BUILD_H
#define TUNGATE_LISTS_BUILD_H

#include "gateway/lists/lists.h"

struct list_build {
	struct matcher_builder *names;
	struct addresses_builder *addresses;
	unsigned address_list;	 /* the prefixes' in the builder of addresses */
	int sources[LIST_PARTS]; /* in the matcher; -1: the list has no such part */
	/* A new source, or a negative errno, which ends the reading. */
	int (*part_source)(void *arg, enum list_part part);
	void *arg;
	/* Files and complaints are handed on to it; its entry and image are not used. NULL: nobody
	 * listens. */
	const struct list_sink *tell;
	size_t prefixes; /* added so far, each as often as it was read */
	/* Compiled lists that the matcher's builder still points to. */
	struct image *images;
	size_t n_images, images_room;
	char why[128]; /* what is wrong with the last pattern that was refused */
};

/* All but address_list, part_source, arg and tell, which the caller sets. */
void list_build_init(
	struct list_build *b, struct matcher_builder *names, struct addresses_builder *addresses);
/* For list_read(): all of a list that is read by it is added. -ENOSPC and -ENOMEM as the builders;
 * -EXDEV: a compiled list, but names has another key than MATCHER_IMAGE_KEY. b must stay where it
 * is. */
struct list_sink list_build_sink(struct list_build *b);
/* After both builders have ended. */
void list_build_fini(struct list_build *b);

#endif
