/* Any bytes from upstream: checked, its addresses visited, passed on to the client who asked its
 * question. What is passed on must be whole, within the limit, and give the same addresses unless
 * it was truncated. */
#include "gateway/dns/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

struct sum {
	size_t count;
	uint64_t bytes, ttls;
};

static void add(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct sum *sum = arg;

	require((size == 4 || size == 16) && ttl_s <= 0x7fffffff);
	sum->count++;
	sum->ttls += ttl_s;
	for (size_t i = 0; i < size; i++)
		sum->bytes = sum->bytes * 31 + address[i];
}

static struct sum sum_of(const uint8_t *msg, size_t len)
{
	struct sum sum = {0};
	size_t n = dns_response_addresses(msg, len, add, &sum);

	require(n == sum.count);
	return sum;
}

/* The query that this could be the response to: its question with a header of ours and, by its id,
 * an OPT. */
static bool query_for(const uint8_t *msg, size_t len, struct dns_query *ret)
{
	static const uint8_t opt[] = {0, 0, DNS_OPT, 0x10, 0, 0, 0, 0x80, 0, 0, 0};
	uint8_t buf[DNS_QUESTION_MAX] = {0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, msg[0] & 1};
	size_t end = DNS_HEADER_SIZE;
	enum dns_rcode rcode;

	if (dns_name_skip(msg, len, &end) || len - end < 4)
		return false;
	end += 4;
	memcpy(buf + DNS_HEADER_SIZE, msg + DNS_HEADER_SIZE, end - DNS_HEADER_SIZE);
	if (msg[0] & 1) {
		memcpy(buf + end, opt, sizeof opt);
		end += sizeof opt;
	}
	return dns_query_parse(buf, end, ret, &rcode) == DNS_PARSE_QUERY;
}

/* TTLs that become 0. A name may, against all sense, run through one and change with it. */
static bool has_odd_ttl(const uint8_t *msg, size_t len)
{
	size_t off = DNS_HEADER_SIZE;

	dns_name_skip(msg, len, &off);
	for (off += 4; dns_name_skip(msg, len, &off) == 0 && len - off >= 10;) {
		if (msg[off + 4] & 0x80)
			return true;
		off += 10u + (size_t)(msg[off + 8] << 8 | msg[off + 9]);
	}
	return false;
}

static void relay(
	const uint8_t *msg, size_t len, const struct dns_query *q, size_t limit, bool checked)
{
	uint8_t *buf = malloc(limit);
	struct sum before = sum_of(msg, len), after;
	const struct dns_ask ask = {.name = &q->name, .id = 0xabcd, .type = q->type};
	enum dns_ede ede = msg[1] & 1 ? DNS_EDE_STALE : DNS_EDE_NONE;
	size_t size;

	require(buf != NULL);
	size = dns_response_relay(buf, limit, msg, len, q, ede);
	require(size <= limit && size >= DNS_HEADER_SIZE + (size_t)q->question_len);
	require(buf[0] == 0xab && buf[1] == 0xcd && dns_response_matches(buf, size, &ask));
	if (checked) {
		require(dns_response_check(buf, size) == 0);
		after = sum_of(buf, size);
		/* SERVFAIL is also what stands for a response that cannot be passed on. */
		if (dns_message_rcode(buf) != DNS_SERVFAIL && !(dns_message_flags(buf) & DNS_TC) &&
			!has_odd_ttl(msg, len))
			require(memcmp(&before, &after, sizeof before) == 0);
	}
	free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool checked = dns_response_check(data, size) == 0;
	struct dns_query q;

	sum_of(data, size);
	if (size < DNS_HEADER_SIZE || !query_for(data, size, &q))
		return 0;
	dns_response_matches(data, size,
		&(struct dns_ask){.name = &q.name, .id = q.id, .type = q.type, .case_seed = size});
	relay(data, size, &q, 512, checked);
	relay(data, size, &q, DNS_MESSAGE_MAX, checked);
	return 0;
}
