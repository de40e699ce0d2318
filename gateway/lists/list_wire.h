/* Numbers and runs of bytes out of a binary stream, for the formats that are not text.
 *
 * Every length comes from a stranger: nothing is allocated for it before its bytes have come. All
 * functions return 0 or a negative errno: -EBADMSG: the stream ends too early or a number is none;
 * -EFBIG: more than LIST_MEMORY_MAX to be kept; -ENOMEM; those of list_bytes_read(). */
#ifndef TUNGATE_LISTS_WIRE_H
#define TUNGATE_LISTS_WIRE_H

#include "gateway/lists/lists_internal.h"

struct list_wire {
	struct list_bytes *in;
	uint64_t at; /* bytes taken so far */
	size_t pos, fill;
	uint8_t buf[8192];
};

void list_wire_init(struct list_wire *w, struct list_bytes *in);
/* 1: nothing is left; 0: something is; or an error. */
int list_wire_ended(struct list_wire *w);
int list_wire_u8(struct list_wire *w, uint8_t *ret);
int list_wire_be64(struct list_wire *w, uint64_t *ret);
int list_wire_varint(struct list_wire *w, uint64_t *ret); /* LEB128 of at most 64 bits */
int list_wire_bytes(struct list_wire *w, void *buf, size_t len);
int list_wire_skip(struct list_wire *w, uint64_t len);
/* len bytes, the caller's to free; NULL if len is 0. */
int list_wire_load(struct list_wire *w, uint64_t len, uint8_t **ret);
/* Tells where the stream broke, unless something has been told. Returns -EBADMSG. */
int list_wire_broken(struct list_reader *r, const struct list_wire *w);

#endif
