/* Any bytes as a client's first: what is returned is a host name, no more is asked for than
 * promised, and an answer that was given early is the answer. */
#include "gateway/carry/sniff_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void require_host(const char *name)
{
	char again[SNIFF_NAME_SIZE];

	require(sniff_host_name((const uint8_t *)name, strlen(name), again) == SNIFF_NAME);
	require(strcmp(name, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[SNIFF_NAME_SIZE], early[SNIFF_NAME_SIZE];
	enum sniff_result result = sniff_stream(true, true, data, size, name);

	require(result != SNIFF_MORE || size < SNIFF_STREAM_MAX);
	if (result == SNIFF_NAME)
		require_host(name);
	for (size_t step = size / 16 + 1, len = size % step; len < size; len += step) {
		enum sniff_result before = sniff_stream(true, true, data, len, early);

		require(before == SNIFF_MORE || before == result);
		require(before != SNIFF_NAME || strcmp(early, name) == 0);
	}
	if (sniff_client_hello(data, size, name) == SNIFF_NAME)
		require_host(name);
	return 0;
}
