/* Protocol buffers, read as a stream: a message is a run of fields, each a number and a value.
 * https://protobuf.dev/programming-guides/encoding */
#ifndef TUNGATE_LISTS_PROTO_H
#define TUNGATE_LISTS_PROTO_H

#include "gateway/lists/list_wire.h"

#define LIST_PROTO_ALL UINT64_MAX /* the end of a message that is the whole stream */

struct list_proto_field {
	uint64_t number;
	bool has_bytes; /* of which the value is the number, and they come next */
	uint64_t value;
};

/* The next field of the message that ends where w->at is `end`: 1; 0: there is none; or an error of
 * list_wire.h, also if it reaches beyond the end. Bytes must be taken or skipped before the next
 * call. */
int list_proto_next(struct list_wire *w, uint64_t end, struct list_proto_field *ret);
/* Skips the field's bytes, if it has any. */
int list_proto_skip(struct list_wire *w, const struct list_proto_field *field);

#endif
