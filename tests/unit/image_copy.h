/* Reads a compiled list from bytes that stay the caller's. */
#ifndef TUNGATE_TESTS_IMAGE_COPY_H
#define TUNGATE_TESTS_IMAGE_COPY_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/match/image.h"

/* The copy is of exactly this size, so that ASan sees a byte read too far. */
static inline int image_copy(
	const uint8_t *bytes, size_t len, struct image *ret, const char **ret_why)
{
	uint8_t *copy = malloc(len + !len);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, bytes, len);
	return image_take(copy, len, ret, ret_why);
}

#endif
