/* A proxy may answer any bytes. A reply is read as it asks to be, and to its own end, whatever
 * follows; a datagram's header never reaches beyond the datagram. The first byte chooses which. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/egress/socks5.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static uint8_t *exactly(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	require(copy);
	memcpy(copy, data, size);
	return copy;
}

static int parse_reply(const uint8_t *data, size_t size, struct socks5_address *ret)
{
	uint8_t *copy = exactly(data, size);
	int r = socks5_reply_parse(copy, size, ret);

	free(copy);
	return r;
}

static void take_reply(const uint8_t *data, size_t size)
{
	struct socks5_address bound, longer;
	size_t n = 0;
	int r;

	while ((r = parse_reply(data, n, &bound)) > 0) {
		n += (size_t)r;
		require(n <= SOCKS5_REPLY_MAX);
		if (n > size)
			return;
	}
	require(r == 0 || r == -EPROTO || (n > 1 && r == socks5_reply_error(data[1])));
	if (r < 0)
		return;
	require(data[0] == 5 && data[1] == 0 && n >= 7);
	require(strlen(bound.host) <= SOCKS5_NAME_MAX);
	/* No byte too few was taken, and what follows changes nothing. */
	require(parse_reply(data, n - 1, &longer) > 0);
	require(parse_reply(data, size, &longer) == 0);
	require(longer.at.port == bound.at.port && strcmp(longer.host, bound.host) == 0 &&
		ip_addr_equal(&longer.at.addr, &bound.at.addr));
}

static void take_datagram(const uint8_t *data, size_t size)
{
	uint8_t *copy = exactly(data, size), again[SOCKS5_HEADER_MAX];
	struct socks5_address from, same;
	int n = socks5_header_parse(copy, size, &from);
	size_t len;

	require(n == -EPROTO || n == -EOPNOTSUPP || (n >= 7 && (size_t)n <= size));
	if (n > 0 && (from.host[0] || from.at.addr.family != IP_NONE)) {
		len = socks5_header_write(from.host, &from.at, again);
		require(socks5_header_parse(again, len, &same) == (int)len);
		require(same.at.port == from.at.port && strcmp(same.host, from.host) == 0);
		require(ip_addr_equal(&same.at.addr, &from.at.addr));
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		take_reply(data + 1, size - 1);
	else
		take_datagram(data + 1, size - 1);
	return 0;
}
