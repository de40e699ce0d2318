/* Any bytes as upstream's answer to a question for HTTPS: what a client of a faked name gets must
 * be whole, within its limit, hold no address but the fake pair, no TTL above the limit and nothing
 * that is malformed; and rewriting it once more changes nothing.
 *
 * The first byte: bits 0 and 1 the families that are faked, bit 2 drops ech, bit 3 TCP. */
#include "gateway/dns/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TTL_MAX_S 60

static const uint8_t fake4[4] = {198, 18, 0, 5}, fake6[16] = {0xfd, [15] = 5};

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* The client's query for what the response answers, with an OPT. */
static bool query_for(const uint8_t *msg, size_t len, struct dns_query *ret)
{
	static const uint8_t opt[] = {0, 0, DNS_OPT, 0x04, 0xd0, 0, 0, 0, 0, 0, 0};
	uint8_t buf[DNS_QUESTION_MAX] = {0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1};
	size_t end = DNS_HEADER_SIZE;
	enum dns_rcode rcode;

	if (dns_name_skip(msg, len, &end) || len - end < 4)
		return false;
	end += 4;
	memcpy(buf + DNS_HEADER_SIZE, msg + DNS_HEADER_SIZE, end - DNS_HEADER_SIZE);
	memcpy(buf + end, opt, sizeof opt);
	return dns_query_parse(buf, end + sizeof opt, ret, &rcode) == DNS_PARSE_QUERY;
}

static void require_fake(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	const struct dns_svcb_rewrite *how = arg;

	require(ttl_s <= TTL_MAX_S && (size == 4 ? how->has4 : how->has6));
	require(memcmp(address, size == 4 ? fake4 : fake6, size) == 0);
}

static size_t rewrite(uint8_t *buf, size_t limit, const uint8_t *msg, size_t len,
	const struct dns_query *q, const struct dns_svcb_rewrite *how, unsigned *ret_n)
{
	struct dns_writer w;

	dns_answer_begin(&w, buf, limit, q, DNS_NOERROR, 0);
	*ret_n = dns_answer_svcb(&w, msg, len, how);
	return dns_answer_end(&w, DNS_EDE_FORGED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_svcb_rewrite how = {.ttl_max_s = TTL_MAX_S};
	struct dns_query q;
	size_t limit, len, again_len;
	unsigned n, again_n;
	uint8_t *buf, *again;

	if (size < 1 + DNS_HEADER_SIZE)
		return 0;
	how.has4 = data[0] & 1;
	how.has6 = data[0] & 2;
	how.drop_ech = data[0] & 4;
	memcpy(how.v4, fake4, 4);
	memcpy(how.v6, fake6, 16);
	limit = data[0] & 8 ? DNS_MESSAGE_MAX : DNS_UDP_MAX;
	if (dns_response_check(data + 1, size - 1) || !query_for(data + 1, size - 1, &q))
		return 0;
	buf = malloc(limit);
	again = malloc(limit);
	require(buf && again);
	len = rewrite(buf, limit, data + 1, size - 1, &q, &how, &n);
	require(len <= limit && dns_response_check(buf, len) == 0);
	require(dns_response_matches(
		buf, len, &(struct dns_ask){.name = &q.name, .id = 0xabcd, .type = q.type}));
	require(n == 0 || q.type == DNS_HTTPS || q.type == DNS_SVCB);
	dns_response_addresses(buf, len, require_fake, &how);
	again_len = rewrite(again, limit, buf, len, &q, &how, &again_n);
	if (!(dns_message_flags(buf) & DNS_TC))
		require(again_n == n && again_len == len && memcmp(again, buf, len) == 0);
	free(buf);
	free(again);
	return 0;
}
