/* Any bytes on the listening side: parsed, answered in every way we answer, and the answers must be
 * whole, within their limit and belong to the query. */
#include "gateway/dns/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void require_answer(const uint8_t *buf, size_t len, const struct dns_query *q)
{
	require(len <= dns_udp_limit(q) && len >= DNS_HEADER_SIZE + (size_t)q->question_len);
	require(memcmp(buf, &(uint8_t[]){(uint8_t)(q->id >> 8), (uint8_t)q->id}, 2) == 0);
	require((dns_message_flags(buf) & (DNS_QR | DNS_RA)) == (DNS_QR | DNS_RA));
	if (q->question_len > 0) {
		require(dns_response_check(buf, len) == 0);
		require(memcmp(buf + DNS_HEADER_SIZE, q->question, q->question_len) == 0);
	}
}

static void answer_all_ways(const struct dns_query *q, enum dns_rcode rcode)
{
	uint8_t *buf = malloc(dns_udp_limit(q));
	struct dns_writer w;

	require(buf != NULL);
	require_answer(
		buf, dns_answer_empty(buf, dns_udp_limit(q), q, rcode, 60, DNS_EDE_OTHER), q);
	for (unsigned n = 1; n < 100; n += 33) {
		dns_answer_begin(&w, buf, dns_udp_limit(q), q, DNS_NOERROR, 0);
		for (unsigned i = 0; i < n; i++)
			dns_answer_address(
				&w, (const uint8_t *)"0123456789abcdef", i % 2 ? 4 : 16, i);
		if (q->question_len > 0)
			dns_answer_ptr(&w, q->name.b, 1);
		require_answer(buf, dns_answer_end(&w, DNS_EDE_FORGED), q);
	}
	free(buf);
}

/* What we ask upstream for it is a query by our own rules, with all that can be added; its name
 * survives being written as text. */
static void ask_upstream(const struct dns_query *q)
{
	const struct dns_ecs ecs = {.family = q->id & 3, .prefix_len = (uint8_t)(q->id >> 8)};
	const struct dns_ask ask = {.name = &q->name,
		.id = q->id,
		.type = q->type,
		.checking_disabled = q->flags & DNS_CD,
		.dnssec_ok = q->dnssec_ok,
		.ecs = q->id & 4 ? &ecs : NULL,
		.case_seed = q->id,
		.pad = q->id & 8 ? 128 : 0};
	uint8_t buf[DNS_QUESTION_MAX + 128];
	char text[DNS_NAME_TEXT_MAX];
	struct dns_name name;
	struct dns_query again;
	enum dns_rcode rcode;
	size_t len = dns_question_write(buf, sizeof buf, &ask);

	require(len && len <= sizeof buf && (!ask.pad || len % ask.pad == 0));
	require(dns_query_parse(buf, len, &again, &rcode) == DNS_PARSE_QUERY);
	require(dns_name_equal(&again.name, &q->name) && again.type == q->type);
	dns_name_format(q->name.b, text);
	require(dns_name_parse(text, strlen(text), &name) == 0 && dns_name_equal(&name, &q->name));
	require(dns_name_hash(&name, 1) == dns_name_hash(&q->name, 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum dns_rcode rcode = DNS_NOERROR;
	struct dns_query q;

	memset(&q, 0xee, sizeof q);
	switch (dns_query_parse(data, size, &q, &rcode)) {
	case DNS_PARSE_QUERY:
		require(q.question_len == q.name.len + 4 && q.class == DNS_CLASS_IN &&
			q.opt_version == 0);
		ask_upstream(&q);
		break;
	case DNS_PARSE_ANSWER:
		require(rcode != DNS_NOERROR && (rcode != DNS_BADVERS || q.has_opt));
		break;
	case DNS_PARSE_IGNORE:
		require(size < DNS_HEADER_SIZE || data[2] & 0x80);
		return 0;
	}
	answer_all_ways(&q, rcode);
	return 0;
}
