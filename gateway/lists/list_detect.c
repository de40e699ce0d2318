/* Telling formats by their content. */
#include "gateway/lists/lists_internal.h"

enum list_format list_detect_head(const char *path, const uint8_t *head, size_t len)
{
	(void)path;
	(void)head;
	(void)len;
	return LIST_PLAIN;
}
