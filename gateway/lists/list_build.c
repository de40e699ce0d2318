/* Adding what lists hold to builders. */
#include "gateway/lists/list_build.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "gateway/base/grow.h"

void list_build_init(
	struct list_build *b, struct matcher_builder *names, struct addresses_builder *addresses)
{
	*b = (struct list_build){.names = names, .addresses = addresses};
	for (int part = 0; part < LIST_PARTS; part++)
		b->sources[part] = -1;
}

void list_build_fini(struct list_build *b)
{
	for (size_t i = 0; i < b->n_images; i++)
		image_fini(&b->images[i]);
	free(b->images);
	b->images = NULL;
	b->n_images = b->images_room = 0;
}

static int part_source(struct list_build *b, enum list_part part)
{
	int err;

	if (b->sources[part] >= 0)
		return b->sources[part];
	b->sources[part] = b->part_source(b->arg, part);
	if (b->sources[part] < 0) {
		err = b->sources[part];
		b->sources[part] = -1;
		return err;
	}
	if (part != LIST_EXCEPT_CLOSER)
		return b->sources[part];
	/* Which of the two is closer is asked of both (list_parts_hold()). */
	matcher_builder_keep(b->names, (unsigned)b->sources[part]);
	err = part_source(b, LIST_HOLDS);
	if (err < 0)
		return err;
	matcher_builder_keep(b->names, (unsigned)err);
	return b->sources[part];
}

static int build_prefix(struct list_build *b, const struct list_entry *entry)
{
	int err = addresses_builder_add(b->addresses, b->address_list, entry->prefix);

	b->prefixes += !err;
	return err;
}

static int build_entry(void *arg, const struct list_entry *entry, const char **ret_why)
{
	struct list_build *b = arg;
	int source, err = 0;

	if (entry->is == LIST_ENTRY_PREFIX)
		return build_prefix(b, entry);
	source = part_source(b, entry->part);
	if (source < 0)
		return source;
	switch (entry->is) {
	case LIST_ENTRY_NAME:
		return matcher_builder_add(b->names, (unsigned)source, entry->kind, entry->name);
	case LIST_ENTRY_KEYWORD:
		err = matcher_builder_add_keyword(
			b->names, (unsigned)source, entry->pattern, entry->pattern_len);
		if (err == -EINVAL)
			*ret_why = "not a keyword: it is empty";
		return err;
	case LIST_ENTRY_REGEXP:
		err = matcher_builder_add_regexp(b->names, (unsigned)source, entry->pattern,
			entry->pattern_len, b->why, sizeof b->why);
		if (err == -EINVAL)
			*ret_why = b->why;
		return err;
	case LIST_ENTRY_PREFIX:
		break;
	}
	return 0;
}

static int count_prefix(void *arg, unsigned list, const struct ip_prefix *prefix)
{
	(void)list;
	(void)prefix;
	++*(size_t *)arg;
	return 0;
}

static int image_keep(struct list_build *b, struct image *image)
{
	int err = room_grow(
		(void **)&b->images, &b->images_room, b->n_images, 1, sizeof b->images[0]);

	if (err)
		return err;
	b->images[b->n_images++] = *image;
	*image = (struct image){0};
	return 0;
}

static int build_image(void *arg, struct image *image)
{
	struct list_build *b = arg;
	const int lists[1] = {(int)b->address_list};
	int sources[IMAGE_PARTS_MAX], err;

	static_assert(LIST_PARTS <= IMAGE_PARTS_MAX, "every part has its place in an image");
	for (int part = 0; part < IMAGE_PARTS_MAX; part++) {
		sources[part] = -1;
		if (part >= LIST_PARTS || matcher_count(image->matcher, (unsigned)part) == 0)
			continue;
		sources[part] = part_source(b, (enum list_part)part);
		if (sources[part] < 0)
			return sources[part];
	}
	err = addresses_builder_add_from(b->addresses, image->addresses, lists);
	if (!err)
		err = addresses_each(image->addresses, count_prefix, &b->prefixes);
	if (!err)
		err = image_keep(b, image);
	if (err)
		return err;
	return matcher_builder_add_from(b->names, b->images[b->n_images - 1].matcher, sources);
}

static int build_file(void *arg, const char *path, const struct list_stamp *stamp)
{
	const struct list_build *b = arg;

	if (!b->tell || !b->tell->file)
		return 0;
	return b->tell->file(b->tell->arg, path, stamp);
}

static void build_complain(void *arg, bool is_error, const char *text)
{
	const struct list_build *b = arg;

	if (b->tell && b->tell->complain)
		b->tell->complain(b->tell->arg, is_error, text);
}

struct list_sink list_build_sink(struct list_build *b)
{
	return (struct list_sink){
		.arg = b,
		.entry = build_entry,
		.image = build_image,
		.file = build_file,
		.complain = build_complain,
	};
}
