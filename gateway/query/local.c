/* Answers that this host has itself: local records, rules with `answer: local`, built-in names,
 * blocks. */
#include "gateway/query/query_internal.h"

static uint32_t short_ttl_s(const struct query *q)
{
	return q->gen->fake_ttl_s ? q->gen->fake_ttl_s : 1;
}

static size_t answer_empty(const struct query *q, enum dns_rcode rcode)
{
	return query_answer_empty(q, rcode, DNS_AA, DNS_EDE_NONE);
}

/* --- records --- */

struct found {
	const struct query *q;
	struct dns_writer w;
	bool begun, leads_on; /* a CNAME that is to be followed */
	struct dns_name target;
	uint32_t ttl_s;
};

static void add_record(void *arg, const struct record *record)
{
	struct found *f = arg;
	size_t off = 0;

	if (!f->begun)
		dns_answer_begin(&f->w, f->q->out, f->q->limit, f->q->dns, DNS_NOERROR, DNS_AA);
	f->begun = true;
	dns_answer_record(&f->w, NULL, record->type, record->ttl_s, record->rdata, record->len);
	if (record->type == DNS_CNAME && f->q->dns->type != DNS_CNAME &&
		f->q->dns->type != DNS_ANY &&
		dns_name_read(record->rdata, record->len, &off, &f->target) == 0) {
		f->leads_on = true;
		f->ttl_s = record->ttl_s;
	}
}

static size_t found_answer(struct query *q, struct found *f)
{
	if (f->leads_on)
		return chase_answer(q, &f->target, f->ttl_s);
	count_add(&q->engine->counters.local, 1);
	return dns_answer_end(&f->w, DNS_EDE_NONE);
}

static size_t answer_denied(const struct query *q)
{
	count_add(&q->engine->counters.local, 1);
	return dns_answer_empty(q->out, q->limit, q->dns, DNS_REFUSED, 0, DNS_EDE_PROHIBITED);
}

size_t local_answer_records(struct query *q)
{
	struct found f = {.q = q};

	switch (records_find(q->gen->records, &q->dns->name, q->dns->type, &q->origin->client.addr,
		add_record, &f)) {
	case RECORDS_NONE:
	case RECORDS_PASS:
		return 0;
	case RECORDS_FOUND:
		return found_answer(q, &f);
	case RECORDS_NODATA:
		count_add(&q->engine->counters.local, 1);
		return answer_empty(q, DNS_NOERROR);
	case RECORDS_DENY:
		break;
	}
	return answer_denied(q);
}

/* --- answer: local --- */

/* As if there were a record that leads on. */
static size_t answer_cname(struct query *q, const struct policy_rule *rule)
{
	struct found f = {.q = q};
	const struct record cname = {
		.type = DNS_CNAME,
		.ttl_s = rule->ttl_s,
		.rdata = rule->cname->b,
		.len = rule->cname->len,
	};

	add_record(&f, &cname);
	return found_answer(q, &f);
}

static size_t answer_addresses(const struct query *q, const struct policy_rule *rule)
{
	uint8_t family = q->dns->type == DNS_A ? IP_V4 : IP_V6;
	struct dns_writer w;
	unsigned n = 0;

	count_add(&q->engine->counters.local, 1);
	dns_answer_begin(&w, q->out, q->limit, q->dns, DNS_NOERROR, DNS_AA);
	for (size_t i = 0; i < rule->n_addresses; i++) {
		const struct ip_addr *a = &rule->addresses[i];

		if (a->family != family || (q->dns->type != DNS_A && q->dns->type != DNS_AAAA))
			continue;
		dns_answer_address(&w, a->b, ip_addr_size(a), rule->ttl_s);
		n++;
	}
	return n ? dns_answer_end(&w, DNS_EDE_NONE) : answer_empty(q, DNS_NOERROR);
}

size_t local_answer_rule(struct query *q, const struct policy_rule *rule)
{
	struct found f = {.q = q};
	enum records_result result =
		rule->records ? records_rule_find(rule->records, q->dns->type, add_record, &f)
			      : RECORDS_NONE;

	if (result == RECORDS_FOUND)
		return found_answer(q, &f);
	if (result == RECORDS_DENY)
		return answer_denied(q);
	return rule->cname ? answer_cname(q, rule) : answer_addresses(q, rule);
}

/* --- built-in names --- */

static size_t answer_two(const struct query *q, const char *first, const char *second, size_t size)
{
	struct dns_writer w;

	dns_answer_begin(&w, q->out, q->limit, q->dns, DNS_NOERROR, DNS_AA);
	dns_answer_address(&w, (const uint8_t *)first, size, short_ttl_s(q));
	if (second)
		dns_answer_address(&w, (const uint8_t *)second, size, short_ttl_s(q));
	return dns_answer_end(&w, DNS_EDE_NONE);
}

/* RFC 6761 6.3. */
static size_t answer_loopback(const struct query *q)
{
	if (q->dns->type == DNS_A)
		return answer_two(q, "\x7f\0\0\1", NULL, 4);
	if (q->dns->type == DNS_AAAA)
		return answer_two(q, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", NULL, 16);
	return answer_empty(q, DNS_NOERROR);
}

/* RFC 8880 7.1: we are no DNS64, so the name has its two IPv4 addresses and nothing else, and
 * nothing is below it. */
static size_t answer_ipv4only(const struct query *q)
{
	if (q->dns->name.labels > 2)
		return answer_empty(q, DNS_NXDOMAIN);
	return q->dns->type == DNS_A ? answer_two(q, "\xc0\0\0\xaa", "\xc0\0\0\xab", 4)
				     : answer_empty(q, DNS_NOERROR);
}

size_t local_answer_builtin(const struct query *q, enum policy_builtin builtin)
{
	count_add(&q->engine->counters.local, 1);
	switch (builtin) {
	case POLICY_BUILTIN_LOCALHOST:
		return answer_loopback(q);
	case POLICY_BUILTIN_IPV4ONLY:
		return answer_ipv4only(q);
	case POLICY_BUILTIN_NODATA:
		return answer_empty(q, DNS_NOERROR);
	case POLICY_BUILTIN_NXDOMAIN:
	case POLICY_BUILTIN_HOUSE:
	case POLICY_BUILTIN_NONE:
		break;
	}
	return answer_empty(q, DNS_NXDOMAIN);
}

/* --- blocks --- */

static size_t answer_zero(const struct query *q)
{
	static const uint8_t zero[16];
	struct dns_writer w;

	if (q->dns->type != DNS_A && q->dns->type != DNS_AAAA)
		return query_answer_empty(q, DNS_NOERROR, 0, DNS_EDE_BLOCKED);
	dns_answer_begin(&w, q->out, q->limit, q->dns, DNS_NOERROR, 0);
	dns_answer_address(&w, zero, q->dns->type == DNS_A ? 4 : 16, short_ttl_s(q));
	return dns_answer_end(&w, DNS_EDE_BLOCKED);
}

size_t block_answer(const struct query *q, const struct policy_rule *rule)
{
	count_add(&q->engine->counters.block, 1);
	switch (rule->block) {
	case CONF_BLOCK_REFUSED:
		return dns_answer_empty(q->out, q->limit, q->dns, DNS_REFUSED, 0, DNS_EDE_BLOCKED);
	case CONF_BLOCK_ZERO:
		return answer_zero(q);
	case CONF_BLOCK_NODATA:
		return query_answer_empty(q, DNS_NOERROR, 0, DNS_EDE_BLOCKED);
	case CONF_BLOCK_NXDOMAIN:
		break;
	}
	return query_answer_empty(q, DNS_NXDOMAIN, 0, DNS_EDE_BLOCKED);
}
