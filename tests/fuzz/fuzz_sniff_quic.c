/* Datagrams of one client, each behind its length in two bytes. The first byte of all says whether
 * they are raw or frames, which are then sealed so that they get past the authentication. */
#include "gateway/carry/sniff_internal.h"
#include "tests/unit/sniff_stage.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void feed(struct sniff_quic *q, const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len + (len == 0));
	char name[SNIFF_NAME_SIZE], again[SNIFF_NAME_SIZE];

	require(copy != NULL);
	memcpy(copy, data, len);
	if (sniff_quic_datagram(q, copy, len, name) == SNIFF_NAME) {
		require(sniff_host_name((uint8_t *)name, strlen(name), again) == SNIFF_NAME);
		require(strcmp(name, again) == 0);
	}
	require(q->whole <= SNIFF_QUIC_MAX && q->datagrams <= SNIFF_QUIC_DATAGRAMS_MAX);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sniff_quic q;
	static struct stage_bytes sealed;
	struct stage_initial how = {.dcid = "12345678", .scid = "", .number_size = 2};
	bool raw;

	if (size == 0)
		return 0;
	memset(&q, 0, sizeof q);
	raw = data[0] & 1;
	how.version = data[0] & 2 ? SNIFF_QUIC_V2 : SNIFF_QUIC_V1;
	data++, size--;
	for (unsigned n = 0; n <= SNIFF_QUIC_DATAGRAMS_MAX && size >= 2; n++) {
		size_t len = (size_t)data[0] << 8 | data[1];

		data += 2, size -= 2;
		if (len > size)
			len = size;
		sealed.len = 0;
		if (!raw && len <= 2 * SNIFF_QUIC_PLAIN_MAX)
			stage_seal(&sealed, &how, data, len);
		feed(&q, raw ? data : sealed.b, raw ? len : sealed.len);
		data += len, size -= len;
		how.number = n + 1;
	}
	return 0;
}
