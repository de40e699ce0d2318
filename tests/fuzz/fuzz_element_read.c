/* What the kernel answers about an element comes from whoever made the set. Whatever the bytes: no
 * harm, and what was found is within its bounds. */
#include <stdlib.h>
#include <string.h>

#include <libmnl/libmnl.h>

#include "netlink/element_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Of its own, so that a byte behind the message is noticed. */
	struct nlmsghdr *message = malloc(size ? size : 1);
	struct element_found found;

	if (!message)
		abort();
	if (size)
		memcpy(message, data, size);
	/* mnl_nlmsg_ok() takes lengths of more than 2^31 for negative ones. */
	if (mnl_nlmsg_ok(message, (int)size) && message->nlmsg_len <= size &&
		element_parse(message, &found) == 0) {
		struct element_value value = {
			.b = found.value, .size = found.value_size, .code = found.code};

		if (found.chain[0])
			value.chain = found.chain;
		if (found.key_size == 0 || found.key_size > ELEMENT_KEY_MAX ||
			found.end_size > ELEMENT_KEY_MAX || found.value_size > ELEMENT_KEY_MAX ||
			memchr(found.chain, 0, sizeof found.chain) == NULL ||
			!element_has_value(&found, found.has_value ? &value : NULL))
			abort();
	}
	free(message);
	return 0;
}
