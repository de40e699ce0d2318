/* What goes back to a client: JSON text that grows until it is sent. Every text that goes in comes
 * out as valid UTF-8, whatever a list's line or a file's name holds. */
#ifndef TUNGATE_CONTROL_REPLY_H
#define TUNGATE_CONTROL_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

struct control_reply { /* zero-initialise */
	char *text;
	size_t len, cap;
	bool broken; /* no memory: what is there is cut off, the connection must end */
	/* fakeip.list is made piece by piece as the client reads, see control_command_more(). */
	bool more, listed;
	uint32_t after, left;
	/* A command that ends later: what it holds. The reply is appended then, and `ready` called.
	 */
	void *waits;
	void (*ready)(struct control_reply *r);
};

void reply_bytes(struct control_reply *r, const char *bytes, size_t len);
void reply_text(struct control_reply *r, const char *text);
void reply_json(struct control_reply *r, struct json_object *value); /* takes value */
/* Whole lines. */
void reply_result(struct control_reply *r, struct json_object *result); /* takes result */
__attribute__((format(printf, 3, 4))) void reply_error(
	struct control_reply *r, int code, const char *format, ...);
/* {"ok":false,"code":…,"error":…,"errors":[…]}; takes errors, an array of texts. */
void reply_errors(struct control_reply *r, int code, struct json_object *errors);

/* Values; NULL text is null. Bytes that are not UTF-8 become U+FFFD. */
struct json_object *reply_string(const char *text);
void reply_add_text(struct json_object *object, const char *key, const char *text);
void reply_add_number(struct json_object *object, const char *key, uint64_t number);
void reply_add_bool(struct json_object *object, const char *key, bool value);

#endif
