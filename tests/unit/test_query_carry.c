/* Real answers whose traffic an egress carries: what goes into our own sets, before the answer
 * leaves; names that are not faked though their rule says so; and what carrying is told. */
#include "tests/unit/query_talk.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define YAML(options)                                                                              \
	"gateway: { lan: [lan0] }\n"                                                               \
	"fakeip: { pool4: 198.18.0.0/15, pool6: 'fd00::/64', ttl: 7s, store: '',\n"                \
	"  except: { builtin: no, lists: [never] }, " options " }\n"                               \
	"upstreams:\n"                                                                             \
	"  one: { servers: udp://192.0.2.53 }\n"                                                   \
	"  two: { servers: udp://192.0.2.54 }\n"                                                   \
	"egress:\n"                                                                                \
	"  direct: { type: direct, upstream: one }\n"                                              \
	"  proxy: { type: socks5, server: '127.0.0.1:1080', upstream: two }\n"                     \
	"  vpn: { type: direct, mark: 0x10, upstream: one }\n"                                     \
	"lists: { never: [/tmp/tg-never-%d], near: [/tmp/tg-near-%d] }\n"                          \
	"rules:\n"                                                                                 \
	"  - { name: prox, domain: [prox.test], answer: real, egress: proxy }\n"                   \
	"  - { name: vpn, domain: [vpn.test], answer: real, egress: vpn, set_ttl: 90s,\n"          \
	"      nftset: ['4#inet#t#s4', '6#inet#t#s6'], on_error: servfail }\n"                     \
	"  - { name: stay, domain: [stay.test], answer: real, egress: proxy, carry: no }\n"        \
	"  - { name: plain, domain: [plain.test], answer: real, egress: direct }\n"                \
	"  - { name: maybe, domain: [maybe.test], answer: fake, egress: proxy,\n"                  \
	"      unless: { resolves_in: near, egress: direct } }\n"                                  \
	"  - { name: near, domain: [near.test], answer: fake, egress: direct, nftset: "            \
	"'inet#t#s4' }\n"                                                                          \
	"  - { name: mine, domain: ['full:own.never.test'], answer: fake, egress: proxy }\n"       \
	"  - { name: rest, domain: [.], answer: fake, egress: proxy, upstream: one }\n"

static void write_list(const char *what, const char *text)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/tmp/tg-%s-%d", what, getpid());
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
}

static void remove_list(const char *what)
{
	char path[64];

	snprintf(path, sizeof path, "/tmp/tg-%s-%d", what, getpid());
	unlink(path);
}

static struct stage *open_with(const char *format, unsigned pool4_len)
{
	char yaml[4000];
	struct stage *s;

	write_list("never", "never.test\nwww.near.test\n");
	write_list("near", "192.0.2.0/24\n");
	snprintf(yaml, sizeof yaml, format, getpid(), getpid());
	s = stage_open(yaml, pool4_len);
	remove_list("never");
	remove_list("near");
	return s;
}

static int open_stage(void **state)
{
	*state = open_with(YAML("exhausted: real"), 0);
	return 0;
}

static int close_stage(void **state)
{
	stage_close(*state);
	return 0;
}

enum { WAY_DIRECT, WAY_PROXY, WAY_VPN };

static void assert_real(const struct writer_element *e, unsigned egress, uint32_t timeout_s)
{
	assert_int_equal(e->op, WRITER_REAL_SET);
	assert_int_equal(e->number, egress);
	assert_int_equal(e->timeout_s, timeout_s);
	assert_null(e->set);
}

/* --- what is pushed --- */

static void carried_addresses_are_in_our_sets_first(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.prox.test", DNS_A);
	assert_int_equal(s->asked[0].group, 1);
	answer_addresses(s, "www.prox.test", 2, 60);
	assert_int_equal(s->reply.n, 0);
	assert_int_equal(s->job->n, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_real(&s->job->elements[i], WAY_PROXY, 600 + 60);
		assert_int_equal(s->job->elements[i].addr.family, IP_V4);
		assert_int_equal(get32(s->job->elements[i].addr.b), 0xc0000200 + i);
	}
	stage_written(s, 0);
	assert_int_equal(look_reply(s).answers, 2);
	/* A long TTL outlives the least time. */
	ask_parked(s, "www.prox.test", DNS_AAAA);
	make_response("www.prox.test", DNS_AAAA, 0, 1);
	put_record(&response, "@12", DNS_AAAA, 7200, 16);
	put_bytes(&response, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	answer(s);
	assert_int_equal(s->job->n, 1);
	assert_real(&s->job->elements[0], WAY_PROXY, 7200 + 60);
	assert_int_equal(s->job->elements[0].addr.family, IP_V6);
	stage_written(s, 0);
	assert_int_equal(s->reply.n, 2);
}

/* The answer to a question of before a reload, which numbers the egresses anew. */
static void an_egress_that_has_another_number_by_now(void **state)
{
	static const char *const after[] = {
		"gateway: { lan: [lan0] }\nupstreams: { one: { servers: udp://192.0.2.53 } }\n"
		"egress: { new: { type: direct, mark: 0x20, upstream: one },\n"
		"  vpn: { type: direct, mark: 0x10, upstream: one } }\n"
		"rules: [ { name: all, domain: [.], answer: real, egress: new } ]\n",
		"gateway: { lan: [lan0] }\nupstreams: { one: { servers: udp://192.0.2.53 } }\n"
		"egress: { new: { type: direct, mark: 0x20, upstream: one } }\n"
		"rules: [ { name: all, domain: [.], answer: real, egress: new } ]\n"};
	static const unsigned wanted[] = {1, UINT_MAX};
	struct stage *s = *state;

	for (unsigned i = 0; i < 2; i++) {
		struct generation *old = s->gen, *now = stage_generation(s, after[i]);

		ask_parked(s, "www.vpn.test", DNS_A);
		query_engine_use(s->engine, now);
		answer_addresses(s, "www.vpn.test", 1, 3600);
		assert_int_equal(s->job->n, 2);
		assert_real(&s->job->elements[1], wanted[i], 3660);
		stage_written(s, 0);
		query_engine_use(s->engine, old);
		generation_unref(now);
	}
}

/* Users' sets keep their own timeout. Ours must hold as long as the client uses the answer. */
static void users_sets_beside_ours(void **state)
{
	struct stage *s = *state;
	unsigned users = 0, ours = 0;

	ask_parked(s, "www.vpn.test", DNS_A);
	answer_addresses(s, "www.vpn.test", 1, 3600);
	assert_int_equal(s->job->n, 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct writer_element *e = &s->job->elements[i];

		if (e->op == WRITER_SET_ADD) {
			assert_string_equal(stage_set_name(e->set), "s4");
			assert_int_equal(e->timeout_s, 90);
			users++;
		} else {
			assert_real(e, WAY_VPN, 3660);
			ours++;
		}
	}
	assert_int_equal(users, 1);
	assert_int_equal(ours, 1);
	stage_written(s, -ENOENT); /* on_error: servfail */
	assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL);
	assert_int_equal(s->n_told, 0);
}

static void who_carries_nothing_waits_for_nobody(void **state)
{
	static const char *const names[] = {"www.stay.test", "www.plain.test"};
	struct stage *s = *state;

	for (unsigned i = 0; i < 2; i++) {
		ask_parked(s, names[i], DNS_A);
		answer_addresses(s, names[i], 1, 60);
		assert_int_equal(s->reply.n, i + 1);
	}
	assert_int_equal(s->n_jobs, 0);
}

static void hints_are_addresses(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.prox.test", DNS_HTTPS);
	make_response("www.prox.test", DNS_HTTPS, 0, 1);
	put_record(&response, "@12", DNS_HTTPS, 60, 11 + 20);
	put_bytes(&response, "\0\1\0\0\4\0\4\300\0\2\11\0\6\0\20", 15);
	put_bytes(&response, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	answer(s);
	assert_int_equal(s->reply.n, 0);
	assert_int_equal(s->job->n, 2);
	assert_real(&s->job->elements[0], WAY_PROXY, 660);
	assert_int_equal(get32(s->job->elements[0].addr.b), 0xc0000209);
	assert_int_equal(s->job->elements[1].addr.family, IP_V6);
	stage_written(s, 0);
	assert_int_equal(look_reply(s).answers, 1);
}

/* Whoever answers for a name must not get hold of the traffic to this host, to the pools, to all or
 * to nobody. */
static void addresses_that_are_never_carried(void **state)
{
	static const uint32_t never4[] = {0, 0x7f000001, 0xa9fe0101, 0xe0000001, 0xffffffff,
		0xc6120005, 0xc6120000, 0x0a010101, 0xf0000001, 0x00000101};
	static const uint8_t never6[][16] = {{0}, {[15] = 1}, {0xfe, 0x80, [15] = 1},
		{0xff, 2, [15] = 1}, {0xfd, [15] = 5}, {[10] = 0xff, 0xff, 127, 0, 0, 1}};
	struct stage *s = *state;

	assert_int_equal(ip_addr_parse("10.1.1.1", &s->own), 0);
	ask_parked(s, "www.prox.test", DNS_A);
	make_response("www.prox.test", DNS_A, 0, 10 + 6 + 1);
	for (unsigned i = 0; i < 10; i++)
		put_a(&response, "@12", 60, never4[i]);
	for (unsigned i = 0; i < 6; i++) {
		put_record(&response, "@12", DNS_AAAA, 60, 16);
		put_bytes(&response, never6[i], 16);
	}
	put_a(&response, "@12", 60, 0x0a020202); /* a private one may well be behind a VPN */
	answer(s);
	assert_int_equal(s->job->n, 1);
	assert_int_equal(get32(s->job->elements[0].addr.b), 0x0a020202);
	stage_written(s, 0);
	/* None is left: nothing to wait for. */
	ask_parked(s, "www.prox.test", DNS_A);
	make_response("www.prox.test", DNS_A, 0, 1);
	put_a(&response, "@12", 60, 0x7f000001);
	answer(s);
	assert_int_equal(s->n_jobs, 1);
	assert_int_equal(s->reply.n, 2);
}

static void many_go_in_several_jobs(void **state)
{
	struct stage *s = *state;
	unsigned elements = 0, ours = 0;

	make_query("www.vpn.test", DNS_A, 0);
	assert_int_equal(hand_over(s, "10.1.1.9", true), QUERY_PARKED);
	answer_addresses(s, "www.vpn.test", 100, 60);
	while (s->job) {
		elements += s->job->n;
		for (unsigned i = 0; i < s->job->n; i++)
			ours += s->job->elements[i].op == WRITER_REAL_SET;
		stage_written(s, 0);
	}
	assert_int_equal(elements, 200);
	assert_int_equal(ours, 100);
	assert_int_equal(look_reply(s).answers, 100);
}

/* --- names that are not faked --- */

static void never_fake_names_take_the_rules_egress(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.never.test", DNS_A);
	assert_int_equal(s->asked[0].group, 0); /* the rule's upstream */
	answer_addresses(s, "www.never.test", 1, 60);
	assert_int_equal(s->job->n, 1);
	assert_real(&s->job->elements[0], WAY_PROXY, 660);
	stage_written(s, 0);
	assert_int_equal(look_reply(s).answers, 1);
	assert_int_equal(COUNTER(s, real), 1);
	assert_int_equal(COUNTER(s, fake), 0);
	/* A printer is the house's own, whatever the catch-all rule carries. */
	ask_parked(s, "www.never.test", DNS_A);
	make_response("www.never.test", DNS_A, 0, 2);
	put_a(&response, "@12", 60, 0xc0a80105);
	put_a(&response, "@12", 60, 0x64400001);
	answer(s);
	assert_int_equal(s->n_jobs, 1);
	assert_int_equal(look_reply(s).answers, 2);
	/* A direct egress needs no set of ours, but the rule's own are filled. */
	ask_parked(s, "www.near.test", DNS_A);
	answer_addresses(s, "www.near.test", 1, 60);
	assert_int_equal(s->job->n, 1);
	assert_int_equal(s->job->elements[0].op, WRITER_SET_ADD);
	stage_written(s, 0);
	/* Other types are real, too. */
	ask_parked(s, "www.never.test", DNS_TXT);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
	/* The rule's own domain lies below: it fakes. */
	ask(s, "own.never.test", DNS_A);
	assert_int_equal(look_out().ede, DNS_EDE_FORGED);
	assert_int_equal(s->appends, 0);
}

static char *use_up_pool(struct stage *s)
{
	static char name[32];

	for (unsigned i = 0; i < 12; i++) {
		snprintf(name, sizeof name, "n%u.fake.test", i);
		if (ask(s, name, DNS_A) == QUERY_PARKED || look_out().rcode)
			return name;
		assert_int_equal(look_out().answers, 1);
	}
	fail();
	return NULL;
}

static void a_full_pool_answers_real_and_carries(void **state)
{
	struct stage *s = open_with(YAML("exhausted: real"), 29);
	const char *name = use_up_pool(s);

	(void)state;
	assert_int_equal(s->n_asked, 1);
	assert_int_equal(s->asked[0].group, 1);
	answer_addresses(s, name, 1, 60);
	assert_real(&s->job->elements[0], WAY_PROXY, 660);
	stage_written(s, 0);
	assert_int_equal(get32(look_reply(s).data), 0xc0000200);
	assert_int_equal(COUNTER(s, exhausted), 1);
	/* A name that has its pair keeps it. */
	ask(s, "n0.fake.test", DNS_AAAA);
	assert_int_equal(look_out().answers, 1);
	stage_close(s);
}

static void a_full_pool_fails_if_told(void **state)
{
	struct stage *s = open_with(YAML("exhausted: servfail"), 29);

	(void)state;
	use_up_pool(s);
	assert_int_equal(look_out().rcode, DNS_SERVFAIL);
	assert_int_equal(look_out().ede, DNS_EDE_OTHER);
	assert_int_equal(s->n_asked, 0);
	assert_int_equal(COUNTER(s, exhausted), 1);
	assert_int_equal(COUNTER(s, failed), 1);
	stage_close(s);
}

/* --- lame duck --- */

static void a_lame_duck_answers_real(void **state)
{
	struct stage *s = *state;
	uint8_t v4[4];
	char reverse[64];

	ask(s, "www.fake.test", DNS_A);
	memcpy(v4, look_out().data, 4);
	query_engine_set_lame(s->engine);
	ask_parked(s, "www.fake.test", DNS_A);
	assert_int_equal(s->asked[0].group, 1); /* where its traffic leaves */
	answer_addresses(s, "www.fake.test", 1, 60);
	/* Traffic is still carried, by the same way. */
	assert_real(&s->job->elements[0], WAY_PROXY, 660);
	stage_written(s, 0);
	assert_int_equal(get32(look_reply(s).data), 0xc0000200);
	ask_parked(s, "www.fake.test", DNS_TXT);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
	/* Who still has the fake address may ask for its name. */
	snprintf(reverse, sizeof reverse, "%u.%u.%u.%u.in-addr.arpa", v4[3], v4[2], v4[1], v4[0]);
	ask(s, reverse, DNS_PTR);
	assert_int_equal(look_out().type, DNS_PTR);
	ask_parked(s, "www.plain.test", DNS_A);
	answer_addresses(s, "www.plain.test", 1, 60);
	assert_int_equal(look_reply(s).answers, 1);
	assert_int_equal(COUNTER(s, fake), 1);
}

static void a_flushed_address_still_has_its_name(void **state)
{
	struct stage *s = *state;
	struct fakeip_mapping m;
	char reverse[64];
	bool kept;

	ask(s, "www.fake.test", DNS_A);
	assert_int_equal(fakeip_next(s->fakeip, UINT32_MAX, &m), 0);
	assert_int_equal(fakeip_flush(s->fakeip, m.index, (uint32_t)(s->now_ms / 1000), &kept), 0);
	assert_true(kept);
	snprintf(reverse, sizeof reverse, "%u.%u.%u.%u.in-addr.arpa", m.v4[3], m.v4[2], m.v4[1],
		m.v4[0]);
	ask(s, reverse, DNS_PTR);
	assert_int_equal(look_out().type, DNS_PTR);
	ask(s, "www.fake.test", DNS_A);
	assert_memory_not_equal(look_out().data, m.v4, 4);
}

/* --- what carrying is told --- */

static void real_answers_are_told_before_they_leave(void **state)
{
	struct stage *s = *state;
	struct dns_name name = name_of("www.prox.test");

	ask_parked(s, "www.prox.test", DNS_A);
	answer_addresses(s, "www.prox.test", 2, 60);
	assert_int_equal(s->n_told, 0);
	stage_written(s, 0);
	assert_int_equal(s->n_told, 1);
	assert_int_equal(s->replies_when_told, 0);
	assert_true(dns_name_equal(&s->hook_name, &name));
	assert_int_equal(get32(s->hook_client.b), 0x0a010101);
	assert_int_equal(s->told_len, response.len);
	assert_memory_equal(s->told, response.b, response.len);
	/* Also those that nobody carries, and those that leave though the kernel failed. */
	ask_parked(s, "www.plain.test", DNS_A);
	answer_addresses(s, "www.plain.test", 1, 60);
	assert_int_equal(s->n_told, 2);
	ask_parked(s, "www.prox.test", DNS_A);
	answer_addresses(s, "www.prox.test", 1, 60);
	stage_written(s, -ETIMEDOUT);
	assert_int_equal(s->n_told, 3);
	stage_written(s, 0); /* its address follows */
	assert_int_equal(s->n_told, 3);
	/* No answer, nothing told. */
	ask_parked(s, "www.prox.test", DNS_A);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
	ask(s, "www.fake.test", DNS_A);
	assert_int_equal(s->n_told, 3);
}

/* The client had its answer when the writer was late; it is told once, and what is told is whole.
 */
static void a_late_writer_tells_once(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.prox.test", DNS_A);
	answer_addresses(s, "www.prox.test", 1, 60);
	stage_pass(s, 50);
	assert_int_equal(s->reply.n, 1);
	assert_int_equal(s->n_told, 1);
	assert_memory_equal(s->told, response.b, response.len);
	stage_written(s, 0);
	assert_int_equal(s->reply.n, 1);
	assert_int_equal(s->n_told, 1);
}

static void rules_with_unless_are_told_when_they_fake(void **state)
{
	struct stage *s = *state;
	struct dns_name name = name_of("www.maybe.test");
	uint8_t v4[4];
	uint32_t index;

	ask(s, "www.fake.test", DNS_A);
	ask(s, "Www.Maybe.Test", DNS_TXT);
	ask(s, "www.maybe.test", DNS_HTTPS);
	assert_int_equal(s->n_faked, 0);
	ask(s, "Www.Maybe.Test", DNS_A);
	memcpy(v4, look_out().data, 4);
	assert_true(fakeip_index4(s->fakeip, v4, &index));
	assert_int_equal(s->n_faked, 1);
	assert_int_equal(s->faked_index, index);
	assert_string_equal(s->faked_rule->name, "maybe");
	assert_true(dns_name_equal(&s->hook_name, &name));
	assert_int_equal(get32(s->hook_client.b), 0x0a010101);
	ask(s, "www.maybe.test", DNS_AAAA);
	assert_int_equal(s->n_faked, 2);
	assert_int_equal(s->faked_index, index);
	assert_int_equal(s->n_asked, 0); /* it is carrying that asks */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_stage, close_stage)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(carried_addresses_are_in_our_sets_first),
		TEST(an_egress_that_has_another_number_by_now),
		TEST(users_sets_beside_ours),
		TEST(who_carries_nothing_waits_for_nobody),
		TEST(hints_are_addresses),
		TEST(addresses_that_are_never_carried),
		TEST(many_go_in_several_jobs),
		TEST(never_fake_names_take_the_rules_egress),
		cmocka_unit_test(a_full_pool_answers_real_and_carries),
		cmocka_unit_test(a_full_pool_fails_if_told),
		TEST(a_lame_duck_answers_real),
		TEST(a_flushed_address_still_has_its_name),
		TEST(real_answers_are_told_before_they_leave),
		TEST(a_late_writer_tells_once),
		TEST(rules_with_unless_are_told_when_they_fake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
