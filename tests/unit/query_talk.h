/* A client and an upstream server on the stage of query_stage.h: what is asked, what comes back. */
#ifndef TUNGATE_TESTS_QUERY_TALK_H
#define TUNGATE_TESTS_QUERY_TALK_H

#include "tests/unit/dns_packet.h"
#include "tests/unit/query_stage.h"

static struct packet asked, response;
static uint8_t out[DNS_MESSAGE_MAX];
static size_t out_len;

/* --- asking --- */

static inline size_t hand_over(struct stage *s, const char *client, bool stream)
{
	struct query_origin o = stage_origin(client, stream);
	uint8_t *msg = exact(asked.b, asked.len);

	out_len = query_handle(s->engine, &o, msg, asked.len, out);
	free(msg);
	return out_len;
}

static inline void make_query(const char *name, unsigned type, unsigned udp_size)
{
	put_header(&asked, 0x1234, DNS_RD, COUNTS(1, 0, 0, udp_size ? 1 : 0));
	put_question(&asked, name, type, 1);
	if (udp_size)
		put_opt(&asked, udp_size, 0, "", 0);
}

static inline size_t ask(struct stage *s, const char *name, unsigned type)
{
	make_query(name, type, 1232);
	return hand_over(s, "10.1.1.1", false);
}

static inline size_t ask_parked(struct stage *s, const char *name, unsigned type)
{
	size_t before = s->n_asked;

	assert_int_equal(ask(s, name, type), QUERY_PARKED);
	assert_int_equal(s->n_asked, before + 1);
	return before;
}

/* --- what came --- */

struct seen {
	unsigned id, flags, rcode, answers, authorities, additionals;
	unsigned type, size; /* of the first record */
	uint32_t ttl_s;
	const uint8_t *data;
	int ede; /* -1: none */
};

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* Reads an answer to `asked`; its records are owned by a pointer to the question. */
static inline struct seen look(const uint8_t *msg, size_t len)
{
	struct seen v = {.ede = -1};
	size_t at = DNS_HEADER_SIZE;

	assert_in_range(len, DNS_HEADER_SIZE, DNS_MESSAGE_MAX);
	assert_int_equal(dns_response_check(msg, len), 0);
	v.id = get16(msg);
	v.flags = get16(msg + 2);
	v.rcode = v.flags & 15;
	v.answers = get16(msg + 6);
	v.authorities = get16(msg + 8);
	v.additionals = get16(msg + 10);
	assert_int_equal(v.id, 0x1234);
	assert_true(v.flags & DNS_QR);
	while (msg[at])
		at += msg[at] + 1u;
	at += 5;
	/* The question comes back as it was asked, case and all. */
	assert_memory_equal(msg + DNS_HEADER_SIZE, asked.b + DNS_HEADER_SIZE, at - DNS_HEADER_SIZE);
	if (v.answers + v.authorities) {
		assert_int_equal(get16(msg + at), 0xc00c);
		v.type = get16(msg + at + 2);
		v.ttl_s = get32(msg + at + 6);
		v.size = get16(msg + at + 10);
		v.data = msg + at + 12;
	}
	/* An EDE alone is the OPT's last option. */
	if (v.additionals && get16(msg + len - 6) == 15)
		v.ede = (int)get16(msg + len - 2);
	return v;
}

static inline struct seen look_out(void)
{
	assert_int_not_equal(out_len, QUERY_PARKED);
	return look(out, out_len);
}

static inline struct seen look_reply(const struct stage *s)
{
	return look(s->reply.msg, s->reply.len);
}

static inline void assert_negative(struct seen v, unsigned rcode, int ede)
{
	assert_int_equal(v.rcode, rcode);
	assert_int_equal(v.answers, 0);
	assert_int_equal(v.authorities, 1);
	assert_int_equal(v.type, DNS_SOA);
	assert_int_equal(v.ttl_s, 7);
	assert_int_equal(v.ede, ede);
}

/* --- upstream's answers --- */

static inline void make_response(const char *name, unsigned type, unsigned rcode, unsigned answers)
{
	put_header(&response, 0x9999, DNS_QR | DNS_RD | DNS_RA | DNS_AA | rcode,
		COUNTS(1, answers, 0, 0));
	put_question(&response, name, type, 1);
}

static inline void answer(struct stage *s)
{
	uint8_t *msg = exact(response.b, response.len);

	assert_int_equal(dns_response_check(msg, response.len), 0);
	stage_answer(s, msg, response.len, 0);
	free(msg);
}

static inline void answer_addresses(struct stage *s, const char *name, unsigned n, uint32_t ttl_s)
{
	make_response(name, DNS_A, 0, n);
	for (unsigned i = 0; i < n; i++)
		put_a(&response, "@12", ttl_s, 0xc0000200 + i);
	answer(s);
}

static uint64_t counter(const _Atomic uint64_t *c)
{
	return *c;
}

#define COUNTER(s, name) counter(&query_engine_counters((s)->engine)->name)

#endif
