/* An upstream response becomes the answer to a client. The body is copied in one piece: its
 * question is as long as the client's, so compression pointers stay true; only what stood behind a
 * removed OPT moves. */
#include "gateway/dns/dns_internal.h"

/* The parts of a response: offsets of their ends, and the OPT. */
struct parts {
	size_t question_end, authority_end, end;
	size_t opt, opt_end; /* 0: none */
	unsigned opt_index;  /* among the additional records */
	uint32_t opt_ttl;
};

static bool split(const uint8_t *msg, size_t len, size_t question_len, struct parts *ret)
{
	struct dns_reader r = {.msg = msg, .len = len, .off = DNS_HEADER_SIZE + question_len};
	unsigned before = (unsigned)wire_get16(msg + 6) + wire_get16(msg + 8),
		 additional = wire_get16(msg + 10);
	struct dns_record rec;

	*ret = (struct parts){.question_end = r.off};
	for (unsigned i = 0; i < before && dns_reader_record(&r, &rec); i++)
		;
	ret->authority_end = r.off;
	for (unsigned i = 0; i < additional && dns_reader_record(&r, &rec); i++) {
		if (rec.type != DNS_OPT)
			continue;
		ret->opt = rec.owner;
		ret->opt_end = rec.end;
		ret->opt_index = i;
		ret->opt_ttl = rec.ttl;
	}
	ret->end = r.off;
	return !r.bad;
}

/* May the record move forward, to where the OPT was? Its pointers keep their targets then, so what
 * they lead to must end before the OPT: a name may start there and run into it. */
static bool may_move(const uint8_t *msg, const struct dns_record *rec, size_t opt)
{
	size_t at[DNS_RECORD_NAMES], target;
	int n = dns_record_names(msg, rec, at);

	for (int i = 0; i < n; i++) {
		if (dns_name_pointer(msg, rec->end, at[i], &target))
			return false;
		if (target && dns_name_check(msg, opt, &target) < 0)
			return false;
	}
	return n > 0;
}

/* The additional records behind the OPT that can be kept: up to the first that may not move.
 * Returns their size. */
static size_t movable(const uint8_t *msg, const struct parts *parts, unsigned *ret_count)
{
	struct dns_reader r = {.msg = msg, .len = parts->end, .off = parts->opt_end};
	size_t size = 0;
	struct dns_record rec;

	*ret_count = 0;
	while (r.off < r.len && dns_reader_record(&r, &rec) && may_move(msg, &rec, parts->opt)) {
		size = rec.end - parts->opt_end;
		++*ret_count;
	}
	return size;
}

/* Copies as many whole sections as fit into room bytes: the additional records may be left out
 * silently, the others only with TC (RFC 2181 9). Sets the counts, returns the length. */
static size_t copy_body(uint8_t *buf, size_t room, const uint8_t *msg, const struct parts *parts)
{
	size_t front = parts->opt ? parts->opt : parts->end, behind = 0;
	unsigned additional = wire_get16(msg + 10), moved = 0;

	if (parts->opt) {
		behind = movable(msg, parts, &moved);
		additional = parts->opt_index + moved;
	}
	if (front + behind > room) {
		front = parts->authority_end;
		behind = additional = 0;
	}
	if (front > room) {
		wire_put32(buf + 6, 0);
		wire_put16(buf + 10, 0);
		buf[2] |= DNS_TC >> 8;
		return parts->question_end;
	}
	memcpy(buf + 6, msg + 6, 4);
	wire_put16(buf + 10, additional);
	memcpy(buf + parts->question_end, msg + parts->question_end, front - parts->question_end);
	memcpy(buf + front, msg + parts->opt_end, behind);
	return front + behind;
}

static void mend_ttls(uint8_t *buf, size_t len, size_t question_end)
{
	struct dns_reader r = {.msg = buf, .len = len, .off = question_end};
	struct dns_record rec;

	while (r.off < r.len && dns_reader_record(&r, &rec)) {
		if (dns_ttl_s(rec.ttl) != rec.ttl)
			wire_put32(buf + rec.ttl_at, 0);
	}
}

size_t dns_response_relay(uint8_t *buf, size_t limit, const uint8_t *msg, size_t len,
	const struct dns_query *q, enum dns_ede ede)
{
	struct parts parts;
	size_t size;

	if (limit > DNS_MESSAGE_MAX)
		limit = DNS_MESSAGE_MAX;
	/* The upper bits of an extended rcode are between upstream and us: BADVERS, BADCOOKIE (RFC
	 * 6891 6.1.3). */
	if (!dns_response_answers(msg, len, q) || !split(msg, len, q->question_len, &parts) ||
		parts.opt_ttl >> 24)
		return dns_answer_empty(buf, limit, q, DNS_SERVFAIL, 0, DNS_EDE_OTHER);

	wire_put16(buf, q->id);
	wire_put16(buf + 2, dns_relay_flags(dns_message_flags(msg), q));
	wire_put16(buf + 4, 1);
	memcpy(buf + DNS_HEADER_SIZE, q->question, q->question_len);
	size = copy_body(buf, limit - (q->has_opt ? dns_opt_size(ede) : 0), msg, &parts);
	mend_ttls(buf, size, parts.question_end);
	if (q->has_opt) {
		size += dns_opt_write(buf + size, q, 0, ede);
		wire_put16(buf + 10, wire_get16(buf + 10) + 1u);
	}
	return size;
}
