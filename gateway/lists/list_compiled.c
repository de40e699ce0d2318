/* A list that `tungate compile` wrote (gateway/match/image.h). */
#include <errno.h>
#include <stdlib.h>

#include "gateway/base/grow.h"
#include "gateway/lists/lists_internal.h"

#define PIECE_BYTES (256u << 10)

/* All that `in` gives, LIST_FILE_MAX at most: no image is larger. *ret is the caller's to free. */
static int whole_read(struct list_bytes *in, uint8_t **ret, size_t *ret_len)
{
	uint8_t *bytes = NULL;
	size_t len = 0, room = 0;
	int err;

	while (!(err = room_grow((void **)&bytes, &room, len, PIECE_BYTES, 1))) {
		ssize_t n = list_bytes_read(in, bytes + len, room - len);

		if (n == 0)
			break;
		if (n > 0)
			len += (size_t)n;
		err = n < 0 ? (int)n : 0;
		if (err)
			break;
	}
	if (err) {
		free(bytes);
		return err;
	}
	*ret = bytes;
	*ret_len = len;
	return 0;
}

static int prefix_count(void *arg, unsigned list, const struct ip_prefix *prefix)
{
	(void)list;
	(void)prefix;
	++*(unsigned *)arg;
	return 0;
}

/* As many items as were compiled: one by one they would take longer than the reading. */
static int items_count(struct list_reader *r, const struct image *image)
{
	unsigned n = 0;
	int err = addresses_each(image->addresses, prefix_count, &n);

	for (unsigned part = 0; part < LIST_PARTS; part++)
		n += (unsigned)matcher_count(image->matcher, part);
	r->own.lines += n;
	r->own.entries += n;
	r->counts->lines += n;
	r->counts->entries += n;
	return err;
}

static bool has_unknown_parts(const struct image *image)
{
	for (unsigned part = LIST_PARTS; part < IMAGE_PARTS_MAX; part++)
		if (matcher_count(image->matcher, part) > 0)
			return true;
	return false;
}

int list_compiled_pull(struct list_reader *r, struct list_bytes *in)
{
	struct image image = {0};
	const char *why = NULL;
	uint8_t *bytes;
	size_t len;
	int err = whole_read(in, &bytes, &len);

	if (err)
		return err;
	err = image_take(bytes, len, &image, &why);
	if (err == -EBADMSG)
		return list_broken(r, 0, 1, "%s; allowed: what `tungate compile` wrote", why);
	if (err)
		return err;
	if (has_unknown_parts(&image))
		err = list_broken(r, 0, 1, "written by a newer version of tungate");
	if (!err)
		err = items_count(r, &image);
	if (!err && r->sink->image)
		err = r->sink->image(r->sink->arg, &image);
	image_fini(&image);
	return err;
}
