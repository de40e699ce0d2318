/* Compiled lists come from strangers. Whatever the bytes, as they are and with a size and a
 * checksum that are right: an error with its reason, or a list that tells the same of every name
 * and address when it is joined with nothing. */
#include <errno.h>
#include <stdlib.h>

#include "gateway/match/image_internal.h"
#include "tests/unit/image_copy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct image join(const struct image *image)
{
	static const int map[IMAGE_PARTS_MAX] = {
		0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	struct matcher_builder *m;
	struct addresses_builder *a;
	struct image joined;

	if (matcher_builder_new(MATCHER_IMAGE_KEY, IMAGE_PARTS_MAX, &m) ||
		matcher_builder_add_from(m, image->matcher, map) ||
		matcher_builder_finish(m, &joined.matcher) || addresses_builder_new(&a) ||
		addresses_builder_add_from(a, image->addresses, map) ||
		addresses_builder_finish(a, NULL, &joined.addresses))
		abort();
	return joined;
}

/* Names and addresses of the input's last bytes: as good as any. */
static void compare(
	const struct image *one, const struct image *other, const uint8_t *data, size_t size)
{
	for (size_t i = size > 40 ? size - 40 : 0; i + 4 <= size; i += 4) {
		struct ip_addr address = {.family = IP_V4};
		struct matcher_hits hits, hits_other;
		uint8_t wire[] = {2, data[i], data[i + 1], 4, 't', 'e', 's', 't', 0};
		struct dns_name name;
		size_t off = 0, n, n_other;

		if (dns_name_read(wire, sizeof wire, &off, &name))
			abort();
		hits.bits[0] = hits_other.bits[0] = 0; /* what has no sources sets none */
		matcher_find(one->matcher, &name, &hits);
		matcher_find(other->matcher, &name, &hits_other);
		if (hits.bits[0] != hits_other.bits[0])
			abort();
		memcpy(address.b, data + i, 4);
		(void)addresses_find(one->addresses, &address, &n);
		(void)addresses_find(other->addresses, &address, &n_other);
		if (n != n_other)
			abort();
	}
}

static void read_one(const uint8_t *bytes, size_t size)
{
	struct image image, joined;
	const char *why = NULL;
	int r = image_copy(bytes, size, &image, &why);

	if (r) {
		if (r != -EBADMSG || !why)
			abort();
		return;
	}
	joined = join(&image);
	compare(&image, &joined, bytes, size);
	image_fini(&joined);
	image_fini(&image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	read_one(data, size);
	if (size < IMAGE_HEADER_SIZE)
		return 0;
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, data, size);
	memcpy(copy, IMAGE_MAGIC, IMAGE_MAGIC_SIZE);
	image_put(copy + 8, IMAGE_VERSION, 4);
	image_put(copy + 16, size, 8);
	image_put(copy + IMAGE_CHECKSUM_AT, image_checksum(copy, size), 8);
	read_one(copy, size);
	free(copy);
	return 0;
}
