/* Protocol buffers as a stream. */
#include "gateway/lists/list_proto.h"

#include <errno.h>

enum wire_type { WIRE_VARINT, WIRE_I64, WIRE_BYTES, WIRE_START_GROUP, WIRE_END_GROUP, WIRE_I32 };

int list_proto_next(struct list_wire *w, uint64_t end, struct list_proto_field *ret)
{
	uint64_t tag, fixed = 0;
	int err;

	if (end == LIST_PROTO_ALL) {
		err = list_wire_ended(w);
		if (err)
			return err < 0 ? err : 0;
	} else if (w->at >= end) {
		return w->at > end ? -EBADMSG : 0;
	}
	err = list_wire_varint(w, &tag);
	if (err)
		return err;
	*ret = (struct list_proto_field){.number = tag >> 3};
	if (ret->number == 0)
		return -EBADMSG;
	switch ((enum wire_type)(tag & 7)) {
	case WIRE_VARINT:
		err = list_wire_varint(w, &ret->value);
		break;
	case WIRE_BYTES:
		ret->has_bytes = true;
		err = list_wire_varint(w, &ret->value);
		break;
	case WIRE_I64:
		fixed = 8;
		break;
	case WIRE_I32:
		fixed = 4;
		break;
	case WIRE_START_GROUP:
	case WIRE_END_GROUP:
	default:
		err = -EBADMSG;
	}
	if (!err && fixed)
		err = list_wire_skip(w, fixed);
	if (err)
		return err;
	if (w->at > end || (ret->has_bytes && ret->value > end - w->at))
		return -EBADMSG;
	return 1;
}

int list_proto_skip(struct list_wire *w, const struct list_proto_field *field)
{
	return field->has_bytes ? list_wire_skip(w, field->value) : 0;
}
