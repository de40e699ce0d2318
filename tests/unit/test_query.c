/* The life of a query, seen from outside: what a client gets, when, and what upstream and the
 * writer are asked meanwhile. */
#include "tests/unit/query_talk.h"

#include <errno.h>
#include <stdio.h>

#include "gateway/query/parked.h"

static const char yaml[] =
	"gateway: { lan: [lan0] }\n"
	"fakeip: { pool4: 198.18.0.0/15, pool6: 'fd00::/64', ttl: 7s, store: '' }\n"
	"upstreams:\n"
	"  one: { servers: udp://192.0.2.53 }\n"
	"  two: { servers: udp://192.0.2.54 }\n"
	"egress:\n"
	"  direct: { type: direct, upstream: one }\n"
	"rules:\n"
	"  - { name: ads, domain: [ads.test], answer: block }\n"
	"  - { name: kids, domain: [fake.test], client: [10.0.0.0/24], answer: fake, egress: "
	"direct }\n"
	"  - { name: fake, domain: [fake.test], answer: fake, egress: direct }\n"
	"  - { name: sets, domain: [set.test], answer: real, upstream: two,\n"
	"      nftset: ['4#inet#t#s4', '6#inet#t#s6'] }\n"
	"  - { name: six, domain: [six.test], answer: real, upstream: two, nftset: '6#inet#t#s6' "
	"}\n"
	"  - { name: strict, domain: [strict.test], answer: real, upstream: two,\n"
	"      nftset: '4#inet#t#s4', set_ttl: 90s, on_error: servfail }\n"
	"  - { name: lax, also: yes, domain: [mixed.test], nftset: '4#inet#t#lax' }\n"
	"  - { name: mixed, domain: [mixed.test], answer: real, upstream: two,\n"
	"      nftset: '4#inet#t#s4', on_error: servfail }\n"
	"  - { name: both, also: yes, domain: [async.test], nftset: '4#inet#t#s4' }\n"
	"  - { name: async, domain: [async.test], answer: real, upstream: two,\n"
	"      nftset: '4#inet#t#later', push: async }\n"
	"  - { name: rest, domain: [.], answer: real, upstream: one }\n";

static int open_stage(void **state)
{
	*state = stage_open(yaml, 0);
	return 0;
}

static int close_stage(void **state)
{
	stage_close(*state);
	return 0;
}

/* --- fake --- */

static void a_fake_name_has_one_pair(void **state)
{
	struct stage *s = *state;
	uint8_t v4[4], v6[16];
	struct seen v;

	ask(s, "www.fake.test", DNS_A);
	v = look_out();
	assert_int_equal(v.rcode, 0);
	assert_int_equal(v.answers, 1);
	assert_int_equal(v.authorities, 0);
	assert_int_equal(v.type, DNS_A);
	assert_int_equal(v.size, 4);
	assert_int_equal(v.ttl_s, 7);
	assert_true(v.flags & DNS_AA);
	assert_true(v.flags & DNS_RA);
	assert_true(v.flags & DNS_RD);
	assert_int_equal(v.ede, DNS_EDE_FORGED);
	memcpy(v4, v.data, 4);
	assert_int_equal(v4[0], 198);
	assert_in_range(v4[1], 18, 19);

	ask(s, "WwW.FaKe.TeSt", DNS_AAAA); /* look() compares the question's case */
	v = look_out();
	assert_int_equal(v.type, DNS_AAAA);
	assert_int_equal(v.size, 16);
	memcpy(v6, v.data, 16);
	assert_memory_equal(v6 + 14, v4 + 2, 2); /* the same index */

	ask(s, "www.fake.test", DNS_A);
	assert_memory_equal(look_out().data, v4, 4);
	ask(s, "other.fake.test", DNS_A);
	assert_memory_not_equal(look_out().data, v4, 4);
	assert_int_equal(s->n_asked, 0);
	assert_int_equal(COUNTER(s, fake), 4);
	assert_int_equal(COUNTER(s, total), 4);
}

static void views_have_pairs_of_their_own(void **state)
{
	struct stage *s = *state;
	uint8_t v4[4];

	make_query("www.fake.test", DNS_A, 0);
	hand_over(s, "10.0.0.9", false);
	memcpy(v4, look_out().data, 4);
	hand_over(s, "10.0.1.9", false);
	assert_memory_not_equal(look_out().data, v4, 4);
	hand_over(s, "10.0.0.200", false);
	assert_memory_equal(look_out().data, v4, 4);
}

static void other_types_of_a_fake_name_are_nodata(void **state)
{
	static const unsigned types[] = {DNS_HTTPS, DNS_SVCB, DNS_TXT, DNS_MX, DNS_NS, DNS_SOA,
		DNS_CNAME, DNS_SRV, DNS_ANY, 65280};
	struct stage *s = *state;

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		ask(s, "www.fake.test", types[i]);
		assert_negative(look_out(), DNS_NOERROR, DNS_EDE_FORGED);
	}
	assert_int_equal(s->n_asked, 0);
	assert_int_equal(s->appends, 0); /* nor was a mapping made */
}

static void no_opt_in_no_opt_out(void **state)
{
	struct stage *s = *state;

	make_query("www.fake.test", DNS_A, 0);
	hand_over(s, "10.1.1.1", false);
	assert_int_equal(look_out().additionals, 0);
	make_query("www.fake.test", DNS_A, 512);
	hand_over(s, "10.1.1.1", false);
	assert_int_equal(look_out().additionals, 1);
}

static void records_of_new_mappings_are_written_at_commit(void **state)
{
	struct stage *s = *state;

	ask(s, "a.fake.test", DNS_A);
	ask(s, "b.fake.test", DNS_A);
	assert_int_equal(s->appends, 0);
	query_engine_commit(s->engine);
	assert_int_equal(s->appends, 1);
	ask(s, "a.fake.test", DNS_AAAA);
	query_engine_commit(s->engine);
	assert_int_equal(s->appends, 1);
}

static void a_full_disk_stops_no_answer(void **state)
{
	struct stage *s = *state;

	s->append_error = -ENOSPC;
	ask(s, "a.fake.test", DNS_A);
	query_engine_commit(s->engine);
	assert_false(fakeip_is_persistent(s->fakeip));
	ask(s, "b.fake.test", DNS_A);
	assert_int_equal(look_out().answers, 1);
	query_engine_commit(s->engine);
	assert_int_equal(s->appends, 1);
}

static void the_pool_runs_out(void **state)
{
	struct stage *s = stage_open(yaml, 29);
	unsigned fake = 0;
	char name[32];

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		snprintf(name, sizeof name, "n%u.fake.test", i);
		if (ask(s, name, DNS_A) == QUERY_PARKED)
			break;
		assert_int_equal(look_out().answers, 1);
		fake++;
	}
	assert_in_range(fake, 1, 8);
	assert_int_equal(COUNTER(s, fake), fake);
	assert_int_equal(COUNTER(s, exhausted), 1);
	/* The real address, never somebody else's. */
	assert_int_equal(s->n_asked, 1);
	answer_addresses(s, name, 1, 60);
	assert_int_equal(get32(look_reply(s).data), 0xc0000200);
	stage_close(s);
}

/* --- reverse, block, errors --- */

static const char *reverse4(const uint8_t v4[4])
{
	static char name[64];

	snprintf(name, sizeof name, "%u.%u.%u.%u.in-addr.arpa", v4[3], v4[2], v4[1], v4[0]);
	return name;
}

static void reverse_questions_of_the_pools_stay_here(void **state)
{
	static const uint8_t target[] = "\3www\4fake\4test";
	struct stage *s = *state;
	uint8_t v4[4];
	struct seen v;

	ask(s, "www.fake.test", DNS_A);
	memcpy(v4, look_out().data, 4);
	ask(s, reverse4(v4), DNS_PTR);
	v = look_out();
	assert_int_equal(v.rcode, 0);
	assert_int_equal(v.type, DNS_PTR);
	assert_int_equal(v.ttl_s, 7);
	assert_int_equal(v.size, sizeof target);
	assert_memory_equal(v.data, target, sizeof target);
	ask(s, reverse4(v4), DNS_A);
	assert_negative(look_out(), DNS_NOERROR, -1);
	v4[3]++;
	ask(s, reverse4(v4), DNS_PTR);
	assert_negative(look_out(), DNS_NXDOMAIN, -1);
	ask(s, "0.0.18.198.in-addr.arpa", DNS_PTR); /* reserved */
	assert_negative(look_out(), DNS_NXDOMAIN, -1);
	assert_int_equal(COUNTER(s, local), 4);
	assert_int_equal(s->n_asked, 0);
	/* Not of a pool, or not a whole address: a name like any other. */
	ask_parked(s, "8.8.8.8.in-addr.arpa", DNS_PTR);
	ask_parked(s, "18.198.in-addr.arpa", DNS_PTR);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
}

static void the_reverse_name_of_the_other_family(void **state)
{
	struct stage *s = *state;
	char name[80] = "";

	ask(s, "www.fake.test", DNS_AAAA);
	for (int i = 15; i >= 0; i--) {
		uint8_t b = look_out().data[i];

		snprintf(name + strlen(name), 5, "%x.%x.", b & 15, b >> 4);
	}
	strcat(name, "ip6.arpa");
	ask(s, name, DNS_PTR);
	assert_int_equal(look_out().type, DNS_PTR);
}

static void blocked_names(void **state)
{
	struct stage *s = *state;

	ask(s, "x.ads.test", DNS_A);
	assert_negative(look_out(), DNS_NXDOMAIN, DNS_EDE_BLOCKED);
	ask(s, "ads.test", DNS_TXT);
	assert_negative(look_out(), DNS_NXDOMAIN, DNS_EDE_BLOCKED);
	assert_int_equal(COUNTER(s, block), 2);
	assert_int_equal(s->n_asked, 0);
}

static void what_is_no_query(void **state)
{
	struct stage *s = *state;

	make_query("www.fake.test", DNS_A, 0);
	for (size_t len = 0; len < DNS_HEADER_SIZE; len++) {
		asked.len = len;
		assert_int_equal(hand_over(s, "10.1.1.1", false), 0);
	}
	make_query("www.fake.test", DNS_A, 0);
	asked.b[2] |= 0x80; /* QR: an answer must never be answered */
	assert_int_equal(hand_over(s, "10.1.1.1", false), 0);
	assert_int_equal(COUNTER(s, total), 0);

	make_query("www.fake.test", DNS_A, 0);
	asked.len--;
	assert_int_equal(hand_over(s, "10.1.1.1", false), DNS_HEADER_SIZE);
	assert_int_equal(out[3] & 15, DNS_FORMERR);

	make_query("www.fake.test", DNS_A, 0);
	asked.b[2] |= 0x28; /* UPDATE */
	hand_over(s, "10.1.1.1", false);
	assert_int_equal(out[3] & 15, DNS_NOTIMP);

	put_header(&asked, 0x1234, DNS_RD, COUNTS(1, 0, 0, 1));
	put_question(&asked, "www.fake.test", DNS_A, 1);
	put_opt(&asked, 1232, 1 << 16, "", 0); /* version 1 */
	hand_over(s, "10.1.1.1", false);
	assert_int_equal(look_out().rcode, DNS_BADVERS & 15);
	assert_int_equal(out[out_len - 6], DNS_BADVERS >> 4);
	assert_int_equal(COUNTER(s, total), 3);
	assert_int_equal(s->n_asked, 0);
}

/* --- real --- */

static void a_real_answer_is_relayed(void **state)
{
	struct stage *s = *state;
	const struct stage_question *q = &s->asked[0];
	struct dns_name name = name_of("www.real.test");
	struct seen v;

	put_header(&asked, 0x1234, DNS_RD | DNS_CD, COUNTS(1, 0, 0, 1));
	put_question(&asked, "Www.Real.Test", 65280, 1);
	put_opt(&asked, 1232, 0x8000, "", 0);
	assert_int_equal(hand_over(s, "10.1.1.1", false), QUERY_PARKED);
	assert_false(query_engine_idle(s->engine));
	assert_int_equal(q->group, 0);
	assert_int_equal(q->type, 65280);
	assert_int_equal(q->flags, RESOLVE_CD | RESOLVE_DO);
	assert_true(q->deadline_ms > s->now_ms);
	assert_true(dns_name_equal(&q->name, &name));

	make_response("www.real.test", 65280, 0, 1);
	put_record(&response, "@12", 65280, 321, 5);
	put_bytes(&response, "\xc0\x0c\0\xff!", 5);
	answer(s);
	assert_true(query_engine_idle(s->engine));
	assert_int_equal(s->reply.n, 1);
	assert_int_equal(s->reply.origin.client.port, 4001);
	v = look_reply(s);
	assert_int_equal(v.rcode, 0);
	assert_int_equal(v.ttl_s, 321);
	assert_memory_equal(v.data, "\xc0\x0c\0\xff!", 5);
	assert_false(v.flags & DNS_AA);
	assert_int_equal(v.additionals, 1);
	assert_int_equal(COUNTER(s, real), 1);
}

static void the_rules_upstream_is_asked(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "x.set.test", DNS_TXT);
	ask_parked(s, "x.real.test", DNS_TXT);
	assert_int_equal(s->asked[0].group, 1);
	assert_int_equal(s->asked[1].group, 0);
	make_response("x.set.test", DNS_TXT, DNS_NXDOMAIN, 0);
	make_query("x.set.test", DNS_TXT, 1232);
	answer(s);
	assert_int_equal(look_reply(s).rcode, DNS_NXDOMAIN);
	stage_answer(s, NULL, 0, -ECANCELED);
}

static void what_upstream_cannot_say_is_servfail(void **state)
{
	static const struct {
		int error, ede;
	} cases[] = {
		{-ETIMEDOUT, DNS_EDE_NO_REACHABLE_AUTHORITY},
		{-EHOSTUNREACH, DNS_EDE_NETWORK_ERROR},
		{-ECONNREFUSED, DNS_EDE_NETWORK_ERROR},
		{-ECANCELED, DNS_EDE_NETWORK_ERROR},
	};
	struct stage *s = *state;
	struct seen v;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		ask_parked(s, "www.set.test", DNS_A);
		stage_answer(s, NULL, 0, cases[i].error);
		v = look_reply(s);
		assert_int_equal(v.rcode, DNS_SERVFAIL);
		assert_int_equal(v.ede, cases[i].ede);
		assert_int_equal(v.answers + v.authorities, 0);
	}
	ask_parked(s, "www.set.test", DNS_A);
	make_response("www.set.test", DNS_A, DNS_SERVFAIL, 0);
	answer(s);
	assert_int_equal(look_reply(s).ede, DNS_EDE_NO_REACHABLE_AUTHORITY);
	/* An extended rcode is between upstream and us; its addresses go nowhere. */
	ask_parked(s, "www.set.test", DNS_A);
	put_header(&response, 0x9999, DNS_QR, COUNTS(1, 1, 0, 1));
	put_question(&response, "www.set.test", DNS_A, 1);
	put_a(&response, "@12", 60, 0xc0000201);
	put_opt(&response, 1232, 1U << 24, "", 0);
	answer(s);
	assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL);
	assert_int_equal(s->n_jobs, 0);
	assert_int_equal(COUNTER(s, failed), 6);
	assert_int_equal(COUNTER(s, real), 0);
}

static void an_error_found_at_once_is_replied_from_within(void **state)
{
	struct stage *s = *state;

	s->ask_error = -ENOBUFS;
	assert_int_equal(ask(s, "www.real.test", DNS_A), QUERY_PARKED);
	assert_int_equal(s->reply.n, 1);
	assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL);
	assert_true(query_engine_idle(s->engine));
}

static void large_answers(void **state)
{
	struct stage *s = *state;
	struct seen v;

	/* 65,000 bytes go out whole over TCP, and as TC over UDP. */
	for (int stream = 0; stream < 2; stream++) {
		make_query("www.real.test", DNS_TXT, 4096);
		assert_int_equal(hand_over(s, "10.1.1.1", stream), QUERY_PARKED);
		make_response("www.real.test", DNS_TXT, 0, 1);
		put_record(&response, "@12", DNS_TXT, 5, 64900);
		memset(response.b + response.len, 'x', 64900);
		response.len += 64900;
		answer(s);
		v = look_reply(s);
		assert_int_equal(v.answers, stream);
		assert_int_equal(!(v.flags & DNS_TC), stream);
		assert_in_range(s->reply.len, stream ? 64900 : 12, stream ? 65535 : 512);
	}
	/* 1,000 bytes: within what the client takes, or not. */
	for (unsigned size = 512; size <= 1232; size += 720) {
		make_query("www.real.test", DNS_TXT, size);
		assert_int_equal(hand_over(s, "10.1.1.1", false), QUERY_PARKED);
		make_response("www.real.test", DNS_TXT, 0, 1);
		put_record(&response, "@12", DNS_TXT, 5, 1000);
		memset(response.b + response.len, 'x', 1000);
		response.len += 1000;
		answer(s);
		assert_int_equal(look_reply(s).answers, size == 1232);
		assert_in_range(s->reply.len, 12, size);
	}
}

/* --- push --- */

static void the_answer_waits_for_the_kernel(void **state)
{
	struct stage *s = *state;
	const struct writer_element *e;

	ask_parked(s, "www.set.test", DNS_A);
	answer_addresses(s, "www.set.test", 2, 60);
	assert_int_equal(s->reply.n, 0);
	assert_non_null(s->job);
	assert_int_equal(s->job->n, 2);
	for (unsigned i = 0; i < 2; i++) {
		e = &s->job->elements[i];
		assert_int_equal(e->op, WRITER_SET_ADD);
		assert_string_equal(stage_set_name(e->set), "s4");
		assert_int_equal(e->timeout_s, 600 + 60);
		assert_int_equal(e->addr.family, IP_V4);
		assert_int_equal(get32(e->addr.b), 0xc0000200 + i);
	}
	assert_false(query_engine_idle(s->engine));
	stage_written(s, 0);
	assert_int_equal(s->reply.n, 1);
	assert_int_equal(look_reply(s).answers, 2);
	assert_int_equal(COUNTER(s, pushes), 1);
	assert_int_equal(COUNTER(s, push_errors), 0);
	assert_true(query_engine_idle(s->engine));
}

static void timeouts_follow_the_ttl(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.set.test", DNS_A);
	answer_addresses(s, "www.set.test", 1, 3600);
	assert_int_equal(s->job->elements[0].timeout_s, 3660);
	stage_written(s, 0);
	ask_parked(s, "www.strict.test", DNS_A);
	answer_addresses(s, "www.strict.test", 1, 3600);
	assert_int_equal(s->job->elements[0].timeout_s, 90);
	stage_written(s, 0);
}

static void who_has_nothing_to_push_waits_for_nobody(void **state)
{
	struct stage *s = *state;

	/* No address, an address that is not the question's, one of the other family. */
	ask_parked(s, "www.set.test", DNS_A);
	answer_addresses(s, "www.set.test", 0, 60);
	ask_parked(s, "www.set.test", DNS_A);
	make_response("www.set.test", DNS_A, 0, 1);
	put_a(&response, "other.test", 60, 0xc0000201);
	answer(s);
	ask_parked(s, "www.six.test", DNS_A);
	answer_addresses(s, "www.six.test", 1, 60);
	assert_int_equal(s->n_jobs, 0);
	assert_int_equal(s->reply.n, 3);
}

static void the_end_of_an_alias_is_pushed(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.set.test", DNS_A);
	make_response("www.set.test", DNS_A, 0, 2);
	put_record(&response, "@12", DNS_CNAME, 60, 11);
	put_name(&response, "cdn.other");
	put_a(&response, "cdn.other", 60, 0xc0000209);
	answer(s);
	assert_int_equal(s->job->n, 1);
	assert_int_equal(get32(s->job->elements[0].addr.b), 0xc0000209);
	stage_written(s, 0);
	assert_int_equal(look_reply(s).answers, 2);
}

static void many_elements_go_in_several_jobs(void **state)
{
	struct stage *s = *state;
	bool seen[150] = {false};
	unsigned sizes[3], n = 0;

	make_query("www.set.test", DNS_A, 0);
	assert_int_equal(hand_over(s, "10.1.1.1", true), QUERY_PARKED);
	answer_addresses(s, "www.set.test", 150, 60);
	while (s->job) {
		assert_int_equal(s->reply.n, 0);
		assert_in_range(n, 0, 2);
		sizes[n++] = s->job->n;
		for (unsigned i = 0; i < s->job->n; i++) {
			uint32_t at = get32(s->job->elements[i].addr.b) - 0xc0000200;

			assert_in_range(at, 0, 149);
			assert_false(seen[at]);
			seen[at] = true;
		}
		stage_written(s, 0);
	}
	assert_int_equal(n, 3);
	assert_int_equal(sizes[0] + sizes[1] + sizes[2], 150);
	assert_int_equal(s->reply.n, 1);
	assert_int_equal(look_reply(s).answers, 150);
}

/* Each element goes once, whether the answer waits for it or not. */
static void some_elements_are_waited_for(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.async.test", DNS_A);
	answer_addresses(s, "www.async.test", 3, 60);
	assert_non_null(s->job_before);
	assert_int_equal(s->job_before->n, 3);
	assert_string_equal(stage_set_name(s->job_before->elements[2].set), "later");
	assert_int_equal(s->job->n, 3);
	assert_string_equal(stage_set_name(s->job->elements[2].set), "s4");
	assert_int_equal(s->reply.n, 0);
	stage_written(s, 0);
	assert_int_equal(look_reply(s).answers, 3);
	assert_int_equal(s->n_jobs, 2);
	assert_int_equal(COUNTER(s, push_async), 3);
	assert_int_equal(COUNTER(s, push_queued), 1);
	stage_written(s, -ENOENT);
	assert_int_equal(COUNTER(s, push_queued), 0);
	assert_int_equal(COUNTER(s, push_errors), 1);
}

static void on_error_decides(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.set.test", DNS_A);
	answer_addresses(s, "www.set.test", 1, 60);
	stage_written(s, -ENOENT);
	assert_int_equal(look_reply(s).answers, 1);
	assert_int_equal(COUNTER(s, real), 1);

	ask_parked(s, "www.strict.test", DNS_A);
	answer_addresses(s, "www.strict.test", 1, 60);
	stage_written(s, -ENOENT);
	assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL);
	assert_int_equal(COUNTER(s, push_errors), 2);
	assert_int_equal(COUNTER(s, real), 1);
	assert_int_equal(COUNTER(s, failed), 1);
}

static bool held_in_s4(const struct stage *s, const struct writer_element *e)
{
	(void)s;
	return strcmp(stage_set_name(e->set), "s4") == 0;
}

static bool held_in_lax(const struct stage *s, const struct writer_element *e)
{
	(void)s;
	return strcmp(stage_set_name(e->set), "lax") == 0;
}

/* What has been put in when the push fails, or is late. */
static void put_in_part(struct stage *s, bool late,
	bool (*held)(const struct stage *s, const struct writer_element *e))
{
	s->held = NULL;
	ask_parked(s, "www.mixed.test", DNS_A);
	answer_addresses(s, "www.mixed.test", 2, 60);
	assert_int_equal(s->job->n, 4);
	s->held = held;
	if (late)
		stage_pass(s, 50);
	stage_written(s, late ? 0 : -ENOENT);
}

static void only_the_sets_of_who_says_servfail_make_it(void **state)
{
	struct stage *s = *state;

	for (int late = 0; late < 2; late++) {
		put_in_part(s, late, held_in_s4);
		assert_int_equal(look_reply(s).rcode, 0);
		assert_int_equal(look_reply(s).answers, 2);
		put_in_part(s, late, held_in_lax);
		assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL);
	}
	assert_int_equal(s->reply.n, 4);
	assert_int_equal(COUNTER(s, push_errors), 4);
	assert_int_equal(COUNTER(s, failed), 2);
	assert_true(query_engine_idle(s->engine));
}

static bool held_but_the_last(const struct stage *s, const struct writer_element *e)
{
	(void)s;
	return get32(e->addr.b) != 0xc0000200 + WRITER_JOB_ELEMENTS / 2;
}

/* The part of it that has no job yet counts, too. */
static void a_late_answer_lacks_what_was_not_handed_over(void **state)
{
	struct stage *s = *state;

	make_query("www.mixed.test", DNS_A, 0);
	assert_int_equal(hand_over(s, "10.1.1.1", true), QUERY_PARKED);
	answer_addresses(s, "www.mixed.test", WRITER_JOB_ELEMENTS / 2 + 1, 60);
	assert_int_equal(s->job->n, WRITER_JOB_ELEMENTS);
	s->held = held_but_the_last;
	stage_pass(s, 50);
	assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL);
	stage_written(s, 0);
	assert_int_equal(s->job->n, 2);
	stage_written(s, 0);
	assert_true(query_engine_idle(s->engine));
}

static void a_silent_kernel_is_waited_for_once(void **state)
{
	struct stage *s = *state;

	make_query("www.set.test", DNS_A, 0);
	assert_int_equal(hand_over(s, "10.1.1.1", true), QUERY_PARKED);
	answer_addresses(s, "www.set.test", 150, 60);
	stage_written(s, -ETIMEDOUT);
	assert_null(s->job);
	assert_int_equal(s->n_wanted, 150);
	assert_int_equal(look_reply(s).answers, 150);
	/* A set that fails is another matter: the others' elements still go. */
	assert_int_equal(hand_over(s, "10.1.1.1", true), QUERY_PARKED);
	answer_addresses(s, "www.set.test", 150, 60);
	stage_written(s, -ENOENT);
	assert_non_null(s->job);
	stage_written(s, 0);
	stage_written(s, 0);
	assert_int_equal(s->reply.n, 2);
}

/* The writer is stuck inside the kernel: the client is answered all the same, once, and what comes
 * back late is taken. */
static void a_stuck_writer_does_not_hold_the_answer(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.set.test", DNS_A);
	answer_addresses(s, "www.set.test", 1, 60);
	stage_pass(s, 49);
	assert_int_equal(s->reply.n, 0);
	stage_pass(s, 1);
	assert_int_equal(look_reply(s).answers, 1);
	assert_int_equal(COUNTER(s, push_errors), 1);
	assert_false(query_engine_idle(s->engine));
	stage_written(s, 0);
	assert_int_equal(s->reply.n, 1);
	assert_true(query_engine_idle(s->engine));

	ask_parked(s, "www.strict.test", DNS_A);
	answer_addresses(s, "www.strict.test", 1, 60);
	stage_pass(s, 50);
	assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL);
	stage_written(s, 0);
	assert_int_equal(s->reply.n, 2);
	assert_int_equal(s->n_timers, 0);
}

/* A thread that was held up has not given the writer its time: once. */
static void time_in_which_we_did_not_run_is_not_the_writers(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.set.test", DNS_A);
	answer_addresses(s, "www.set.test", 1, 60);
	stage_pass(s, 400);
	assert_int_equal(s->reply.n, 0);
	stage_written(s, 0);
	assert_int_equal(look_reply(s).answers, 1);
	assert_int_equal(COUNTER(s, push_late), 0);

	ask_parked(s, "www.set.test", DNS_A);
	answer_addresses(s, "www.set.test", 1, 60);
	stage_pass(s, 400);
	stage_pass(s, 49);
	assert_int_equal(s->reply.n, 1);
	stage_pass(s, 400);
	assert_int_equal(s->reply.n, 2);
	assert_int_equal(COUNTER(s, push_late), 1);
	stage_written(s, 0);
	assert_true(query_engine_idle(s->engine));
}

/* What it has of answers that left without it is bounded, so that questions still find a place. */
static void nobody_waits_for_a_writer_that_is_stuck(void **state)
{
	static struct writer_job *jobs[PARKED_MAX];
	struct stage *s = *state;
	unsigned n = 0;

	for (;; n++) {
		ask_parked(s, "www.set.test", DNS_A);
		answer_addresses(s, "www.set.test", 1, 60);
		if (!s->job)
			break;
		assert_true(n < PARKED_MAX / 4);
		jobs[n] = s->job;
		s->job = NULL;
		stage_pass(s, 50);
	}
	assert_int_equal(look_reply(s).answers, 1);
	assert_int_equal(s->reply.n, n + 1);
	assert_int_equal(COUNTER(s, push_late), n + 1);
	assert_int_equal(s->n_wanted, 1);
	ask_parked(s, "www.strict.test", DNS_A);
	answer_addresses(s, "www.strict.test", 1, 60);
	assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL);
	assert_int_equal(s->n_wanted, 2);
	/* All of it, also what does not fit into a job. */
	make_query("www.set.test", DNS_A, 0);
	assert_int_equal(hand_over(s, "10.1.1.1", true), QUERY_PARKED);
	answer_addresses(s, "www.set.test", 150, 60);
	assert_int_equal(look_reply(s).answers, 150);
	assert_int_equal(s->n_wanted, 152);
	/* One is back, so the next answer may wait again. */
	for (unsigned i = 0; i < n; i++) {
		s->job = jobs[i];
		stage_written(s, 0);
		if (i > 0)
			continue;
		ask_parked(s, "www.set.test", DNS_A);
		answer_addresses(s, "www.set.test", 1, 60);
		assert_non_null(s->job);
		stage_written(s, 0);
	}
	assert_int_equal(s->n_timers, 0);
	assert_true(query_engine_idle(s->engine));
}

/* --- loops, bounds, life cycle --- */

static void a_loop_is_stopped_at_the_third_sighting(void **state)
{
	struct stage *s = *state;
	struct seen v;

	s->own = stage_origin("10.1.1.1", false).client.addr;
	s->server = stage_origin("192.0.2.53", false).client.addr;
	s->sightings = 2;
	ask_parked(s, "www.real.test", DNS_A);
	s->sightings = 3;
	ask(s, "www.real.test", DNS_A);
	v = look_out();
	assert_int_equal(v.rcode, DNS_SERVFAIL);
	assert_int_equal(v.ede, DNS_EDE_NO_REACHABLE_AUTHORITY);
	make_query("www.real.test", DNS_A, 0);
	assert_int_not_equal(hand_over(s, "192.0.2.53", false), QUERY_PARKED);
	assert_int_equal(COUNTER(s, loops), 2);
	/* Another client may ask whatever is in flight, as often as it likes. */
	assert_int_equal(hand_over(s, "10.2.2.2", false), QUERY_PARKED);
	/* What is answered here cannot loop. */
	ask(s, "www.fake.test", DNS_A);
	assert_int_equal(look_out().answers, 1);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
}

static void parking_is_bounded(void **state)
{
	struct stage *s = *state;

	/* A client alone gets half of all places; the others are for others. */
	for (unsigned i = 0; i < PARKED_MAX / 2; i++)
		assert_int_equal(ask(s, "www.real.test", DNS_A), QUERY_PARKED);
	ask(s, "www.real.test", DNS_A);
	assert_int_equal(look_out().rcode, DNS_SERVFAIL);
	assert_int_equal(COUNTER(s, parked_full), 1);
	for (unsigned i = 0; i < PARKED_MAX / 2; i++)
		assert_int_equal(hand_over(s, i % 2 ? "10.1.1.2" : "fd00::2", false), QUERY_PARKED);
	hand_over(s, "10.1.1.3", false);
	assert_int_equal(look_out().rcode, DNS_SERVFAIL);
	assert_int_equal(COUNTER(s, parked_full), 2);
	ask(s, "www.fake.test", DNS_A);
	assert_int_equal(look_out().answers, 1);
	for (unsigned i = 0; i < PARKED_MAX; i++)
		stage_answer(s, NULL, 0, -ETIMEDOUT);
	assert_int_equal(s->reply.n, PARKED_MAX);
	assert_true(query_engine_idle(s->engine));
	for (unsigned i = 0; i < PARKED_MAX / 2; i++)
		assert_int_equal(ask(s, "www.real.test", DNS_A), QUERY_PARKED);
	for (unsigned i = 0; i < PARKED_MAX / 2; i++)
		stage_answer(s, NULL, 0, -ETIMEDOUT);
	assert_int_equal(ask(s, "www.real.test", DNS_A), QUERY_PARKED);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
}

static void what_a_flood_took_is_given_back(void **state)
{
	const struct ip_addr client = ip_addr_v4((const uint8_t[]){10, 1, 1, 1});
	struct parked_slab slab = {0};
	struct parked *v[PARKED_KEPT + 1];

	(void)state;
	for (size_t i = 0; i < PARKED_KEPT; i++)
		assert_non_null(v[i] = parked_get(&slab, &client));
	for (size_t i = 0; i < PARKED_KEPT; i++)
		parked_put(&slab, v[i]);
	assert_int_equal(slab.total, PARKED_KEPT); /* usual: no more allocation */
	for (size_t i = 0; i <= PARKED_KEPT; i++)
		assert_non_null(v[i] = parked_get(&slab, &client));
	assert_true(slab.total > PARKED_KEPT);
	for (size_t i = 0; i <= PARKED_KEPT; i++)
		parked_put(&slab, v[i]);
	assert_int_equal(slab.total, 0);
	assert_non_null(v[0] = parked_get(&slab, &client));
	parked_put(&slab, v[0]);
	parked_slab_fini(&slab);
}

static void a_parked_query_keeps_its_generation(void **state)
{
	static const char other[] = "gateway: { lan: [lan0] }\n"
				    "upstreams: { three: { servers: udp://192.0.2.55 } }\n"
				    "egress: { direct: { type: direct, upstream: three } }\n"
				    "rules: [ { name: all, domain: [.], answer: block } ]\n";
	struct stage *s = *state;
	struct generation *old = s->gen;

	ask_parked(s, "www.set.test", DNS_A);
	s->gen = stage_generation(s, other);
	query_engine_use(s->engine, s->gen);
	generation_unref(old);
	assert_int_equal(s->groups_alive, 2);
	ask(s, "www.set.test", DNS_A);
	assert_int_equal(look_out().ede, DNS_EDE_BLOCKED);
	/* It ends by the rule that began it. */
	answer_addresses(s, "www.set.test", 1, 60);
	assert_string_equal(stage_set_name(s->job->elements[0].set), "s4");
	stage_written(s, 0);
	assert_int_equal(look_reply(s).answers, 1);
	assert_int_equal(s->groups_alive, 1);
}

static void a_stopped_engine_is_silent_but_ends_what_it_began(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.real.test", DNS_A);
	query_engine_stop(s->engine);
	assert_int_equal(ask(s, "www.real.test", DNS_A), 0);
	assert_int_equal(ask(s, "www.fake.test", DNS_A), 0);
	assert_false(query_engine_idle(s->engine));
	stage_answer(s, NULL, 0, -ECANCELED);
	assert_int_equal(s->reply.n, 1);
	assert_true(query_engine_idle(s->engine));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_stage, close_stage)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_fake_name_has_one_pair),
		TEST(views_have_pairs_of_their_own),
		TEST(other_types_of_a_fake_name_are_nodata),
		TEST(no_opt_in_no_opt_out),
		TEST(records_of_new_mappings_are_written_at_commit),
		TEST(a_full_disk_stops_no_answer),
		cmocka_unit_test(the_pool_runs_out),
		TEST(reverse_questions_of_the_pools_stay_here),
		TEST(the_reverse_name_of_the_other_family),
		TEST(blocked_names),
		TEST(what_is_no_query),
		TEST(a_real_answer_is_relayed),
		TEST(the_rules_upstream_is_asked),
		TEST(what_upstream_cannot_say_is_servfail),
		TEST(an_error_found_at_once_is_replied_from_within),
		TEST(large_answers),
		TEST(the_answer_waits_for_the_kernel),
		TEST(timeouts_follow_the_ttl),
		TEST(who_has_nothing_to_push_waits_for_nobody),
		TEST(the_end_of_an_alias_is_pushed),
		TEST(many_elements_go_in_several_jobs),
		TEST(some_elements_are_waited_for),
		TEST(on_error_decides),
		TEST(a_silent_kernel_is_waited_for_once),
		TEST(only_the_sets_of_who_says_servfail_make_it),
		TEST(a_late_answer_lacks_what_was_not_handed_over),
		TEST(a_stuck_writer_does_not_hold_the_answer),
		TEST(time_in_which_we_did_not_run_is_not_the_writers),
		TEST(nobody_waits_for_a_writer_that_is_stuck),
		TEST(a_loop_is_stopped_at_the_third_sighting),
		TEST(parking_is_bounded),
		cmocka_unit_test(what_a_flood_took_is_given_back),
		TEST(a_parked_query_keeps_its_generation),
		TEST(a_stopped_engine_is_silent_but_ends_what_it_began),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
