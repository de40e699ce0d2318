/* Any bytes from upstream, as the cache takes them: what is stored must be whole, hold no OPT and
 * none of the addresses that are dropped, however it ages; it must be the same when it is stored
 * again, and the fast way to a client must say what the relay says.
 *
 * The first byte: bit 0 drops addresses with an odd first byte, bit 1 a minimum TTL, bit 2 an OPT
 * of the client, bit 3 an age, bit 4 a small buffer. */
#include "gateway/dns/stored.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TTL_MAX_S 86400

static void require(bool holds)
{
	if (!holds)
		abort();
}

static bool is_odd(void *arg, const uint8_t *address, size_t size)
{
	(void)arg;
	require(size == 4 || size == 16);
	return address[0] & 1;
}

static void require_even(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	const struct dns_store_how *how = arg;

	require(ttl_s <= TTL_MAX_S && (!how->drop || !how->drop(how->arg, address, size)));
}

/* The client's query for what the response answers. */
static bool query_for(const uint8_t *msg, size_t len, bool opt, struct dns_query *ret)
{
	static const uint8_t record[] = {0, 0, DNS_OPT, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0};
	uint8_t buf[DNS_QUESTION_MAX] = {0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, opt};
	size_t end = DNS_HEADER_SIZE;
	enum dns_rcode rcode;

	require(dns_name_skip(msg, len, &end) == 0 && len - end >= 4);
	end += 4;
	memcpy(buf + DNS_HEADER_SIZE, msg + DNS_HEADER_SIZE, end - DNS_HEADER_SIZE);
	memcpy(buf + end, record, sizeof record);
	return dns_query_parse(buf, end + (opt ? sizeof record : 0), ret, &rcode) ==
	       DNS_PARSE_QUERY;
}

static void require_sound(const uint8_t *msg, size_t len, const struct dns_store_how *how)
{
	require(dns_response_check(msg, len) == 0 && !dns_response_has_opt(msg, len));
	dns_response_all_addresses(msg, len, require_even, (void *)how);
	dns_response_addresses(msg, len, require_even, (void *)how);
}

static void serve(uint8_t *msg, size_t len, bool opt)
{
	enum dns_ede ede = opt ? DNS_EDE_STALE : DNS_EDE_NONE;
	uint8_t *want = malloc(DNS_MESSAGE_MAX), *got = malloc(DNS_MESSAGE_MAX);
	struct dns_query q;
	size_t size;

	require(want && got);
	if (query_for(msg, len, opt, &q)) {
		size = dns_response_relay(want, DNS_MESSAGE_MAX, msg, len, &q, ede);
		memcpy(got, msg, len);
		len = dns_stored_answer(got, len, DNS_MESSAGE_MAX, &q, ede);
		require(len == 0 || (len == size && memcmp(got, want, len) == 0));
		require(len || dns_message_flags(want) & DNS_TC || size + 17 > DNS_MESSAGE_MAX);
	}
	free(want);
	free(got);
}

static void use(uint8_t *msg, size_t len, const struct dns_store_how *how, bool opt)
{
	struct dns_store_how again = *how;
	struct dns_stored_info info;
	uint8_t *copy = malloc(len);

	require(copy != NULL);
	require_sound(msg, len, how);
	again.age_s = 0;
	require(dns_store(copy, len, msg, len, &again, &info) == (int)len && info.dropped == 0);
	/* A negative answer's MINIMUM counts once more, after a minimum. */
	if (!how->ttl_min_s)
		require(memcmp(copy, msg, len) == 0);
	serve(msg, len, opt);
	dns_stored_age(msg, len, 100);
	require_sound(msg, len, how);
	dns_stored_set_ttl(msg, len, 30);
	require_sound(msg, len, how);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_store_how how = {.ttl_max_s = TTL_MAX_S, .negative_max_s = 3600};
	struct dns_stored_info info;
	size_t room;
	uint8_t *buf;
	int n;

	if (size < 1 + DNS_HEADER_SIZE || dns_response_check(data + 1, size - 1))
		return 0;
	how.drop = data[0] & 1 ? is_odd : NULL;
	how.ttl_min_s = data[0] & 2 ? 60 : 0;
	how.age_s = data[0] & 8 ? 1000 : 0;
	room = data[0] & 16 ? size : DNS_MESSAGE_MAX;
	buf = malloc(room);
	require(buf != NULL);
	n = dns_store(buf, room, data + 1, size - 1, &how, &info);
	require(n <= (int)room && info.life_s <= TTL_MAX_S);
	if (n > 0)
		use(buf, (size_t)n, &how, data[0] & 4);
	free(buf);
	return 0;
}
