#include "gateway/control/input.h"
#include "gateway/base/grow.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int control_input_feed(struct control_input *in, const char *bytes, size_t len)
{
	size_t held = in->upto - in->from;
	int err;

	assert(len <= CONTROL_PIECE_MAX && held <= CONTROL_LINE_MAX);
	if (in->from > 0) {
		memmove(in->bytes, in->bytes + in->from, held);
		in->scanned -= in->from;
		in->from = 0;
		in->upto = held;
	}
	err = room_grow((void **)&in->bytes, &in->cap, held, len, 1);
	if (err)
		return err;
	memcpy(in->bytes + in->upto, bytes, len);
	in->upto += len;
	return 0;
}

static void drop(struct control_input *in, size_t upto)
{
	in->from = in->scanned = upto;
}

enum control_line control_input_next(struct control_input *in, const char **ret, size_t *ret_len)
{
	while (in->scanned < in->upto) {
		const char *newline = memchr(in->bytes + in->scanned, '\n', in->upto - in->scanned);
		size_t at = newline ? (size_t)(newline - in->bytes) : in->upto;
		const char *line = in->bytes + in->from;
		size_t len = at - in->from;

		if (!newline) {
			in->scanned = in->upto;
			if (in->skipping) {
				drop(in, in->upto);
			} else if (len > CONTROL_LINE_MAX) {
				in->skipping = true;
				drop(in, in->upto);
				return CONTROL_LINE_TOO_LONG;
			}
			return CONTROL_LINE_NONE;
		}
		drop(in, at + 1);
		if (in->skipping) {
			in->skipping = false;
			continue;
		}
		if (len > CONTROL_LINE_MAX)
			return CONTROL_LINE_TOO_LONG;
		*ret = line;
		*ret_len = len;
		return CONTROL_LINE_WHOLE;
	}
	return CONTROL_LINE_NONE;
}

enum control_line control_input_rest(struct control_input *in, const char **ret, size_t *ret_len)
{
	*ret = in->bytes + in->from;
	*ret_len = in->upto - in->from;
	if (*ret_len == 0)
		return CONTROL_LINE_NONE;
	drop(in, in->upto);
	return CONTROL_LINE_WHOLE;
}

void control_input_fini(struct control_input *in)
{
	free(in->bytes);
	*in = (struct control_input){0};
}
