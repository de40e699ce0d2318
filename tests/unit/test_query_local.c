/* What this host answers on its own, and what it leaves out of what others answer: built-in names,
 * blocks, local answers and the CNAMEs that lead on, families that are filtered, rules for clients
 * by their MAC, rules that only add sets. */
#include "tests/unit/query_talk.h"

#include <errno.h>
#include <string.h>

static const char yaml[] =
	"gateway: { lan: [lan0] }\n"
	"fakeip: { pool4: 198.18.0.0/15, pool6: 'fd00::/64', ttl: 7s, store: '', https: rewrite,\n"
	"  except: { builtin: no } }\n"
	"upstreams: { one: { servers: udp://192.0.2.53 }, two: { servers: udp://192.0.2.54 } }\n"
	"egress:\n"
	"  proxy: { type: socks5, server: '127.0.0.1:1080', upstream: two }\n"
	"  direct: { type: direct, upstream: one }\n"
	"clients: { kids: ['02:00:00:00:00:07', 'if:kids0'] }\n"
	"records: { ttl: 33s, store: '' }\n"
	"rules:\n"
	"  - { name: noted, domain: [test], also: yes, nftset: '4#inet#t#s4' }\n"
	"  - { name: kid, domain: [search.test], client: kids,\n"
	"      answer: local, cname: safe.real.test }\n"
	"  - { name: gone, domain: [nx.test], answer: block }\n"
	"  - { name: refused, domain: [refused.test], answer: block, block: refused }\n"
	"  - { name: zero, domain: [zero.test], answer: block, block: zero }\n"
	"  - { name: nodata, domain: [nodata.test], answer: block, block: nodata }\n"
	"  - { name: here, domain: [here.test], answer: local,\n"
	"      address: [192.0.2.7, 192.0.2.8, '2001:db8::7'] }\n"
	"  - { name: to-real, domain: [to-real.test], answer: local, cname: www.real.test }\n"
	"  - { name: to-fake, domain: [to-fake.test], answer: local, cname: www.fake.test }\n"
	"  - { name: to-block, domain: [to-block.test], answer: local, cname: x.nx.test }\n"
	"  - { name: to-next, domain: [to-next.test], answer: local, cname: to-fake.test }\n"
	"  - { name: round, domain: [round.test], answer: local, cname: trip.test }\n"
	"  - { name: trip, domain: [trip.test], answer: local, cname: round.test }\n"
	"  - { name: mine, domain: [nas.lan], answer: real, upstream: one }\n"
	"  - { name: six, domain: [six.test], answer: real, upstream: one, filter: ipv4 }\n"
	"  - { name: auto, domain: [auto.test], answer: fake, egress: direct, filter: auto }\n"
	"  - { name: real, domain: [real.test], answer: real, upstream: one }\n"
	"  - { name: tcp, domain: [tcp.test], listener: tcp, answer: block }\n"
	"  - { name: all, answer: fake, egress: proxy }\n";

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

/* The record behind the first one: its owner as text, its type and data. */
static const uint8_t *second_record(const uint8_t *msg, size_t len, char *owner, unsigned *type)
{
	size_t at = DNS_HEADER_SIZE;
	struct dns_name name;

	assert_int_equal(dns_name_skip(msg, len, &at), 0);
	at += 4;
	assert_int_equal(dns_name_skip(msg, len, &at), 0);
	at += 10u + get16(msg + at + 8);
	assert_int_equal(dns_name_read(msg, len, &at, &name), 0);
	dns_name_format(name.b, owner);
	*type = get16(msg + at);
	return msg + at + 10;
}

static void assert_leads_to(const uint8_t *msg, size_t len, const char *target)
{
	struct seen v = look(msg, len);
	struct dns_name name;

	assert_int_equal(v.type, DNS_CNAME);
	assert_int_equal(v.ttl_s, 33);
	assert_int_equal(dns_name_parse(target, strlen(target), &name), 0);
	assert_int_equal(v.size, name.len);
	assert_memory_equal(v.data, name.b, name.len);
}

/* --- built-in names --- */

static void built_in_names_have_their_answer(void **state)
{
	static const char *const none[] = {"x.invalid", "printer.local", "facebook.onion", "a.alt",
		"b.lan", "c.internal", "d.home.arpa", "use-application-dns.net",
		"x.use-application-dns.net", "mask.icloud.com", "mask-h2.icloud.com",
		"1.1.168.192.in-addr.arpa", "5.20.172.in-addr.arpa", "64.100.in-addr.arpa",
		"8.b.d.0.1.0.0.2.ip6.arpa", "x.ipv4only.arpa"};
	struct stage *s = *state;
	struct seen v;

	for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
		ask(s, none[i], i % 2 ? DNS_A : DNS_TXT);
		assert_negative(look_out(), DNS_NXDOMAIN, -1);
	}
	ask(s, "_dns.resolver.arpa", DNS_SVCB);
	assert_negative(look_out(), DNS_NOERROR, -1);
	ask(s, "a.localhost", DNS_A);
	assert_memory_equal(look_out().data, "\177\0\0\1", 4);
	ask(s, "localhost", DNS_AAAA);
	assert_memory_equal(look_out().data, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	ask(s, "localhost", DNS_MX);
	assert_negative(look_out(), DNS_NOERROR, -1);
	ask(s, "ipv4only.arpa", DNS_A);
	v = look_out();
	assert_int_equal(v.answers, 2);
	assert_memory_equal(v.data, "\300\0\0\252", 4);
	ask(s, "ipv4only.arpa", DNS_AAAA);
	assert_negative(look_out(), DNS_NOERROR, -1);
	assert_int_equal(s->n_asked, 0);
	/* What only looks like one. */
	ask(s, "x.mask.icloud.com", DNS_A);
	assert_int_equal(look_out().ede, DNS_EDE_FORGED);
	ask(s, "64.200.in-addr.arpa", DNS_TXT);
	assert_int_equal(look_out().ede, DNS_EDE_FORGED);
}

static void a_rule_of_its_own_goes_before_a_built_in_name(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "deep.nas.lan", DNS_A);
	answer_addresses(s, "deep.nas.lan", 1, 60);
	assert_int_equal(look_reply(s).answers, 1);
	ask(s, "other.lan", DNS_A);
	assert_negative(look_out(), DNS_NXDOMAIN, -1);
}

/* --- blocks --- */

static void blocks_are_of_four_kinds(void **state)
{
	struct stage *s = *state;
	struct seen v;

	ask(s, "x.nx.test", DNS_A);
	assert_negative(look_out(), DNS_NXDOMAIN, DNS_EDE_BLOCKED);
	ask(s, "refused.test", DNS_A);
	v = look_out();
	assert_int_equal(v.rcode, DNS_REFUSED);
	assert_int_equal(v.answers + v.authorities, 0);
	ask(s, "nodata.test", DNS_AAAA);
	assert_negative(look_out(), DNS_NOERROR, DNS_EDE_BLOCKED);
	ask(s, "zero.test", DNS_A);
	v = look_out();
	assert_int_equal(v.size, 4);
	assert_memory_equal(v.data, "\0\0\0\0", 4);
	ask(s, "zero.test", DNS_AAAA);
	v = look_out();
	assert_int_equal(v.size, 16);
	assert_memory_equal(v.data, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	ask(s, "zero.test", DNS_HTTPS);
	assert_negative(look_out(), DNS_NOERROR, DNS_EDE_BLOCKED);
	assert_int_equal(COUNTER(s, block), 6);
}

/* --- answer: local --- */

static void addresses_of_a_rule(void **state)
{
	struct stage *s = *state;
	struct seen v;

	ask(s, "x.here.test", DNS_A);
	v = look_out();
	assert_int_equal(v.answers, 2);
	assert_int_equal(v.ttl_s, 33);
	assert_true(v.flags & DNS_AA);
	assert_memory_equal(v.data, "\300\0\2\7", 4);
	ask(s, "here.test", DNS_AAAA);
	v = look_out();
	assert_int_equal(v.answers, 1);
	assert_int_equal(v.size, 16);
	ask(s, "here.test", DNS_HTTPS); /* nothing fake, nothing of upstream's */
	assert_negative(look_out(), DNS_NOERROR, -1);
	assert_int_equal(s->n_asked, 0);
}

static void a_cname_leads_to_a_real_answer(void **state)
{
	char owner[DNS_NAME_TEXT_MAX];
	struct stage *s = *state;
	const uint8_t *data;
	unsigned type;
	size_t n = ask_parked(s, "to-real.test", DNS_A);

	assert_string_equal(dns_name_format(s->asked[n].name.b, owner), "www.real.test");
	answer_addresses(s, "www.real.test", 1, 60);
	/* The rule that goes on takes the target, too: its address is in the set first. */
	assert_non_null(s->job);
	assert_int_equal(s->job->n, 1);
	assert_string_equal(stage_set_name(s->job->elements[0].set), "s4");
	stage_written(s, 0);
	assert_int_equal(s->reply.n, 1);
	assert_int_equal(look_reply(s).answers, 2);
	assert_leads_to(s->reply.msg, s->reply.len, "www.real.test");
	data = second_record(s->reply.msg, s->reply.len, owner, &type);
	assert_string_equal(owner, "www.real.test");
	assert_int_equal(type, DNS_A);
	assert_memory_equal(data, "\300\0\2\0", 4);
	assert_true(query_engine_idle(s->engine));
}

static void a_cname_leads_to_a_fake_answer(void **state)
{
	static const char *const names[] = {"to-fake.test", "to-next.test"};
	char owner[DNS_NAME_TEXT_MAX];
	struct stage *s = *state;
	unsigned type;

	for (unsigned i = 0; i < 2; i++) {
		ask(s, names[i], DNS_A);
		assert_int_equal(look_out().answers, 2 + i);
		assert_leads_to(out, out_len, i ? "to-fake.test" : "www.fake.test");
		second_record(out, out_len, owner, &type);
		assert_string_equal(owner, i ? "to-fake.test" : "www.fake.test");
		assert_int_equal(type, i ? DNS_CNAME : DNS_A);
	}
	ask(s, "to-fake.test", DNS_CNAME);
	assert_int_equal(look_out().answers, 1);
	assert_leads_to(out, out_len, "www.fake.test");
	ask(s, "to-block.test", DNS_A);
	assert_int_equal(look_out().rcode, DNS_NXDOMAIN);
	assert_leads_to(out, out_len, "x.nx.test");
	assert_int_equal(look_out().authorities, 1);
}

static void what_upstream_does_not_know_ends_a_chain(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "to-real.test", DNS_AAAA);
	make_response("www.real.test", DNS_AAAA, DNS_NXDOMAIN, 0);
	answer(s);
	assert_int_equal(look_reply(s).rcode, DNS_NXDOMAIN);
	assert_int_equal(look_reply(s).answers, 1);
	ask_parked(s, "to-real.test", DNS_A);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
	assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL);
	assert_true(query_engine_idle(s->engine));
}

static void a_circle_ends(void **state)
{
	struct stage *s = *state;

	ask(s, "round.test", DNS_A);
	assert_int_equal(look_out().rcode, DNS_SERVFAIL);
	assert_true(query_engine_idle(s->engine));
}

/* --- clients --- */

static void a_client_is_known_by_its_mac_or_interface(void **state)
{
	struct stage *s = *state;

	s->neighbour_at = stage_origin("10.1.1.1", false).client.addr;
	s->neighbour = (struct neighbour){.has_mac = true, .mac = {2, 0, 0, 0, 0, 7}};
	ask_parked(s, "www.search.test", DNS_A);
	answer_addresses(s, "safe.real.test", 1, 60);
	stage_written(s, 0);
	assert_leads_to(s->reply.msg, s->reply.len, "safe.real.test");
	s->neighbour.mac[5] = 8;
	ask(s, "www.search.test", DNS_A);
	assert_int_equal(look_out().ede, DNS_EDE_FORGED);
	strcpy(s->neighbour.interface, "kids0");
	ask_parked(s, "www.search.test", DNS_A);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
	s->neighbour_at.b[3] = 99; /* nobody is known */
	ask(s, "www.search.test", DNS_A);
	assert_int_equal(look_out().ede, DNS_EDE_FORGED);
}

static void a_listener_is_a_condition(void **state)
{
	struct stage *s = *state;
	struct query_origin o = stage_origin("10.1.1.1", false);

	ask(s, "tcp.test", DNS_A);
	assert_int_equal(look_out().rcode, DNS_NOERROR);
	o.listener = QUERY_TCP;
	out_len = query_handle(s->engine, &o, asked.b, asked.len, out);
	assert_int_equal(look_out().rcode, DNS_NXDOMAIN);
}

/* --- filters --- */

static void a_family_is_left_out(void **state)
{
	struct stage *s = *state;

	ask(s, "six.test", DNS_A);
	assert_negative(look_out(), DNS_NOERROR, DNS_EDE_FILTERED);
	ask_parked(s, "six.test", DNS_AAAA);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
	ask_parked(s, "six.test", DNS_TXT);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
}

static void hints_of_a_family_are_left_out(void **state)
{
	static const uint8_t rdata[] = "\0\1\0"		    /* 1 . */
				       "\0\1\0\3\2h2"	    /* alpn */
				       "\0\4\0\4\300\0\2\1" /* ipv4hint */
				       "\0\6\0\20\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1";
	struct stage *s = *state;
	struct seen v;

	ask_parked(s, "six.test", DNS_HTTPS);
	make_response("six.test", DNS_HTTPS, 0, 1);
	put_record(&response, "@12", DNS_HTTPS, 60, sizeof rdata - 1);
	put_bytes(&response, rdata, sizeof rdata - 1);
	answer(s);
	stage_written(s, 0);
	v = look_reply(s);
	assert_int_equal(v.answers, 1);
	assert_int_equal(v.type, DNS_HTTPS);
	assert_int_equal(v.ttl_s, 60);
	assert_int_equal(v.size, sizeof rdata - 1 - 8);
	assert_memory_equal(v.data, rdata, 10);
	assert_memory_equal(v.data + 10, rdata + 18, 20);
}

static void a_filter_follows_the_routes(void **state)
{
	struct stage *s = *state;

	ask(s, "auto.test", DNS_AAAA);
	assert_int_equal(look_out().answers, 1);
	s->no_way6 = true;
	ask(s, "auto.test", DNS_AAAA);
	assert_negative(look_out(), DNS_NOERROR, DNS_EDE_FILTERED);
	ask(s, "auto.test", DNS_A);
	assert_int_equal(look_out().answers, 1);
	s->no_way4 = true; /* there is no way at all: less would help nobody */
	ask(s, "auto.test", DNS_AAAA);
	assert_int_equal(look_out().answers, 1);
	s->no_way6 = false;
	ask(s, "auto.test", DNS_A);
	assert_negative(look_out(), DNS_NOERROR, DNS_EDE_FILTERED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_stage, close_stage)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(built_in_names_have_their_answer),
		TEST(a_rule_of_its_own_goes_before_a_built_in_name),
		TEST(blocks_are_of_four_kinds),
		TEST(addresses_of_a_rule),
		TEST(a_cname_leads_to_a_real_answer),
		TEST(a_cname_leads_to_a_fake_answer),
		TEST(what_upstream_does_not_know_ends_a_chain),
		TEST(a_circle_ends),
		TEST(a_client_is_known_by_its_mac_or_interface),
		TEST(a_listener_is_a_condition),
		TEST(a_family_is_left_out),
		TEST(hints_of_a_family_are_left_out),
		TEST(a_filter_follows_the_routes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
