/* A proxy may answer any bytes to CONNECT. Its head ends at the same byte however the answer is
 * torn, and within the bound. The first byte is the size of the pieces. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/egress/http_connect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static int feed(
	const uint8_t *data, size_t size, size_t piece, size_t *ret_taken, unsigned *ret_status)
{
	struct http_head h = {0};
	size_t at = 0;
	int r = 0;

	while (!r && at < size) {
		size_t n = size - at < piece ? size - at : piece, taken = SIZE_MAX;
		uint8_t *exact = malloc(n);

		require(exact);
		memcpy(exact, data + at, n);
		r = http_head_feed(&h, exact, n, &taken);
		free(exact);
		require(taken <= n && (r || taken == n));
		at += taken;
	}
	*ret_taken = at;
	*ret_status = h.status;
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t whole, torn;
	unsigned status, status_torn;
	int r, r_torn;

	if (size < 2)
		return 0;
	r = feed(data + 1, size - 1, size - 1, &whole, &status);
	r_torn = feed(data + 1, size - 1, data[0] % 32 + 1u, &torn, &status_torn);
	require(r == r_torn && whole == torn && status == status_torn);
	require(r == 0 || r == 1 || r == -EPROTO);
	if (r == 1) {
		require(whole <= HTTP_HEAD_MAX && data[whole] == '\n');
		require(status >= 200 && status <= 999 && http_status_error(status) <= 0);
	}
	return 0;
}
