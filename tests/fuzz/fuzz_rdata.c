/* Any text as the data of a record, and any bytes as data: what was read passes the check, is in
 * lower case, fits into an answer that is whole, and does not depend on the room that there is. The
 * first two bytes are the type. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/dns/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void answer(uint16_t type, const uint8_t *rdata, size_t len)
{
	static const uint8_t query[] = {0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1};
	static uint8_t buf[DNS_MESSAGE_MAX], again[DNS_MESSAGE_MAX];
	struct dns_query q;
	struct dns_writer w;
	enum dns_rcode rcode;
	size_t n;
	bool full;

	require(dns_query_parse(query, sizeof query, &q, &rcode) == DNS_PARSE_QUERY);
	dns_answer_begin(&w, buf, sizeof buf, &q, DNS_NOERROR, 0);
	dns_answer_record(&w, (const uint8_t *)"\1b", type, 5, rdata, len);
	full = w.full;
	n = dns_answer_end(&w, DNS_EDE_NONE);
	require(full == (n == 19) && dns_response_check(buf, n) == 0);
	/* Copied once more it is the same: there was nothing to take apart. */
	dns_answer_begin(&w, again, sizeof again, &q, DNS_NOERROR, 0);
	require(dns_answer_copy(&w, buf, n, 5) == !full);
	if (!full)
		require(dns_answer_end(&w, DNS_EDE_NONE) == n && memcmp(buf, again, n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t rdata[DNS_RDATA_MAX];
	const char *text = (const char *)data + 2, *why = NULL;
	uint16_t type;
	uint8_t *room;
	int n;

	if (size < 2)
		return 0;
	type = (uint16_t)(data[0] << 8 | data[1]);
	n = dns_rdata_parse(type, text, size - 2, rdata, sizeof rdata, &why);
	require(n >= 0 || n == -ENOSPC || (n == -EINVAL && why));
	if (n >= 0) {
		require(dns_rdata_check(type, rdata, (size_t)n) == 0);
		room = malloc((size_t)n + 1);
		require(room && dns_rdata_parse(type, text, size - 2, room, (size_t)n, &why) == n);
		require(memcmp(room, rdata, (size_t)n) == 0);
		if (n > 0)
			require(dns_rdata_parse(type, text, size - 2, room, (size_t)n - 1, &why) ==
				-ENOSPC);
		free(room);
		answer(type, rdata, (size_t)n);
	}
	if (dns_rdata_check(type, data + 2, size - 2) == 0 && type != 0 && type != DNS_OPT)
		answer(type, data + 2, size - 2);
	return 0;
}
