/* A server may answer any bytes to a ClientHello. They end the same way however they are torn,
 * never in a handshake, and with a reason. The first byte is the size of the pieces. */
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/transport/tls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static ssize_t feed(struct tls_context *c, const uint8_t *data, size_t size, size_t piece)
{
	uint8_t buf[100];
	struct tls *t;
	ssize_t r = 0;

	require(!tls_new(c, &t));
	for (size_t at = 0; !r && at < size; at += piece) {
		require(!tls_feed(t, data + at, size - at < piece ? size - at : piece));
		r = tls_read(t, buf, sizeof buf);
	}
	require(!tls_is_ready(t) && (r < 0) == (*tls_why(t) != '\0') && !ERR_peek_error());
	tls_free(t);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct conf_pin pin;
	static struct tls_context *c;
	char why[128];
	ssize_t whole;

	if (!c)
		require(!tls_context_new(
			&(struct tls_config){
				.name = "dns.test", .pins = &pin, .n_pins = 1, .alpn = "h2"},
			&c, why));
	if (size < 2)
		return 0;
	whole = feed(c, data + 1, size - 1, size - 1);
	require(whole == feed(c, data + 1, size - 1, data[0] % 32 + 1u));
	require(!whole || whole == -EPROTO || whole == -EKEYREJECTED || whole == -ECONNRESET);
	return 0;
}
