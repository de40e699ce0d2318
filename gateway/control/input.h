/* Bytes of a client, cut into lines. Pure; at most CONTROL_LINE_MAX and one piece are held: who
 * feeds takes all lines before feeding again. */
#ifndef TUNGATE_CONTROL_INPUT_H
#define TUNGATE_CONTROL_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#define CONTROL_LINE_MAX  65536u /* without the newline */
#define CONTROL_PIECE_MAX 4096u

struct control_input { /* zero-initialise */
	char *bytes;
	size_t cap, from, upto; /* what is not yet taken lies in [from, upto) */
	size_t scanned;		/* there is no newline before it */
	bool skipping;		/* the rest of a line that was too long */
};

enum control_line { CONTROL_LINE_NONE, CONTROL_LINE_WHOLE, CONTROL_LINE_TOO_LONG };

/* len: at most CONTROL_PIECE_MAX. -ENOMEM. */
int control_input_feed(struct control_input *in, const char *bytes, size_t len);
/* The next line without its newline, valid until the next feed. A line that is too long is told
 * once and left out. */
enum control_line control_input_next(struct control_input *in, const char **ret, size_t *ret_len);
/* After the end of the stream: what came without a newline. */
enum control_line control_input_rest(struct control_input *in, const char **ret, size_t *ret_len);
void control_input_fini(struct control_input *in);

#endif
