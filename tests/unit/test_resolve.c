/* gateway/resolve: what servers answer, over UDP and TCP, against scripted upstreams on the
 * loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/unit/resolve_stage.h"

/* --- UDP --- */

static void test_plain_answer(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker a;

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	a = (struct asker){.stage = s};
	ask(s, &a, "a.test", 1000);
	STAGE_UNTIL(s, s->up[0]->n_held);
	stage_play(s, 7);
	upstream_release(s->up[0]);
	play_until(s, &a);
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(s->up[0]->asked, 1);
	assert_int_equal(server_info(s, 0).queries, 1);
	assert_int_equal(server_info(s, 0).failures, 0);
	assert_true(server_info(s, 0).up);
	assert_int_equal(server_info(s, 0).rtt_us, 7000);
	assert_string_equal(server_info(s, 0).group, "up");
	stage_close(s);
}

/* What the server gets: RD, AD, one question, an OPT of 1232 bytes; CD and DO where they were asked
 * for. */
static void test_question(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct dns_name name = name_of("q.test");
	struct asker plain = {.stage = s}, cd = {.stage = s}, want_do = {.stage = s};
	const uint8_t *m;

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	s->question.type = DNS_AAAA;
	ask_name(s, &plain, &name, 1000);
	s->question.flags = RESOLVE_CD;
	ask_name(s, &cd, &name, 1000);
	s->question.flags = RESOLVE_DO;
	ask_name(s, &want_do, &name, 1000);
	STAGE_UNTIL(s, s->up[0]->n_held == 3);
	m = s->up[0]->held[0].msg;
	assert_memory_equal(m + 2, "\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01", 10);
	assert_memory_equal(m + 12, "\x01q\x04test\x00\x00\x1c\x00\x01", 12);
	assert_memory_equal(m + 24, "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00", 11);
	assert_int_equal(s->up[0]->held[0].len, 35);
	assert_int_equal(s->up[0]->held[1].msg[3], 0x30);
	assert_int_equal(s->up[0]->held[2].msg[31], 0x80);
	upstream_release(s->up[0]);
	play_until(s, &want_do);
	assert_int_equal(plain.calls + cd.calls, 2);
	stage_close(s);
}

static void test_silence_then_next_server(void **state)
{
	struct stage *s = stage_open(2, CONF_UDP);
	struct asker a;

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_SILENT}};
	a = (struct asker){.stage = s};
	ask(s, &a, "a.test", 1000);
	stage_play(s, TIMEOUT_MS / 4);
	play_until(s, &a);
	assert_answered_by(&a, s->up[1]);
	/* It is listened for to the end, so that its silence is known. */
	stage_play(s, TIMEOUT_MS);
	STAGE_UNTIL(s, s->up[0]->asked >= 4);
	assert_int_equal(s->up[0]->asked, 4); /* once more after each quarter */
	assert_int_equal(s->up[0]->seen_id[0], s->up[0]->seen_id[1]);
	assert_int_equal(s->up[0]->seen_port[0], s->up[0]->seen_port[1]);
	assert_int_equal(server_info(s, 0).failures, 1);
	assert_true(server_info(s, 1).up);
	stage_close(s);
}

static void test_resend(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker a;

	(void)state;
	s->up[0]->script = (struct script){2, {ACT_SILENT, ACT_ANSWER}};
	a = (struct asker){.stage = s};
	ask(s, &a, "a.test", 1000);
	stage_play(s, TIMEOUT_MS / 4);
	play_until(s, &a);
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(server_info(s, 0).failures, 0);
	stage_close(s);
}

static void test_all_silent(void **state)
{
	struct stage *s = stage_open(2, CONF_UDP);
	struct asker a;

	(void)state;
	s->up[0]->script = s->up[1]->script = (struct script){1, {ACT_SILENT}};
	a = (struct asker){.stage = s};
	ask(s, &a, "a.test", 1000);
	play_time_until(s, &a);
	assert_int_equal(a.error, -ETIMEDOUT);
	assert_int_equal(took_ms(&a), TIMEOUT_MS + TIMEOUT_MS / 4);
	stage_close(s);
}

/* What is not the answer is counted and waited past, with no new question. */
static void test_not_ours(void **state)
{
	static const enum act acts[] = {ACT_WRONG_ID, ACT_WRONG_NAME, ACT_WRONG_TYPE,
		ACT_NOT_RESPONSE, ACT_GARBAGE, ACT_EMPTY};

	(void)state;
	for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
		struct stage *s = stage_open(2, CONF_UDP);
		struct asker a;

		s->up[0]->script = (struct script){1, {acts[i]}};
		ask_and_play(s, &a, "a.test");
		assert_answered_by(&a, s->up[0]);
		assert_int_equal(s->up[0]->asked, 1);
		assert_int_equal(server_info(s, 0).wrong_answers, 1);
		assert_int_equal(server_info(s, 0).failures, 0);
		stage_close(s);
	}
}

/* The right id and question, but from another port: the kernel drops it. */
static void test_other_source(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker a;

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_OTHER_SOURCE}};
	ask_and_play(s, &a, "a.test");
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(server_info(s, 0).wrong_answers, 0);
	stage_close(s);
}

static void test_bad_answer_then_next_server(void **state)
{
	static const enum act acts[] = {
		ACT_SERVFAIL, ACT_REFUSED, ACT_NOTIMP, ACT_FORMERR, ACT_BROKEN};

	(void)state;
	for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
		struct stage *s = stage_open(2, CONF_UDP);
		struct asker a;

		s->up[0]->script = (struct script){1, {acts[i]}};
		ask_and_play(s, &a, "a.test");
		assert_answered_by(&a, s->up[1]);
		assert_int_equal(took_ms(&a), 0);
		assert_int_equal(server_info(s, 0).failures, 1);
		assert_true(server_info(s, 0).up);
		stage_close(s);
	}
}

static void test_nxdomain_is_an_answer(void **state)
{
	struct stage *s = stage_open(2, CONF_UDP);
	struct asker a;

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_NXDOMAIN}};
	ask_and_play(s, &a, "a.test");
	assert_int_equal(a.error, 0);
	assert_int_equal(dns_message_rcode(a.head), DNS_NXDOMAIN);
	assert_int_equal(s->up[1]->asked, 0);
	stage_close(s);
}

/* The last one's code, as a message that can be passed on. */
static void test_all_fail_is_handed_on(void **state)
{
	struct stage *s = stage_open(3, CONF_UDP);
	struct dns_name name = name_of("a.test");
	struct asker a;

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_REFUSED}};
	s->up[1]->script = (struct script){1, {ACT_SERVFAIL}};
	s->up[2]->script = (struct script){1, {ACT_BROKEN}};
	ask_and_play(s, &a, "a.test");
	assert_int_equal(a.error, 0);
	assert_int_equal(dns_message_rcode(a.head), DNS_SERVFAIL);
	assert_int_equal(a.len, 12 + 8 + 4);
	assert_int_equal(dns_response_check(a.head, a.len), 0);
	assert_true(dns_response_matches(
		a.head, a.len, &(struct dns_ask){.name = &name, .type = DNS_A}));
	stage_close(s);
}

static void test_all_broken(void **state)
{
	struct stage *s = stage_open(2, CONF_UDP);
	struct asker a;

	(void)state;
	s->up[0]->script = s->up[1]->script = (struct script){1, {ACT_BROKEN}};
	ask_and_play(s, &a, "a.test");
	assert_int_equal(a.error, -EBADMSG);
	stage_close(s);
}

static void test_closed_port(void **state)
{
	struct stage *s = stage_open(2, CONF_UDP);
	struct asker a;

	(void)state;
	upstream_close_udp(s->up[0]);
	ask_and_play(s, &a, "a.test");
	assert_answered_by(&a, s->up[1]);
	assert_int_equal(took_ms(&a), 0);
	assert_int_equal(server_info(s, 0).failures, 1);
	upstream_close_udp(s->up[1]);
	ask_and_play(s, &a, "b.test");
	assert_int_equal(a.error, -ECONNREFUSED);
	stage_close(s);
}

/* connect() itself fails: broadcast is not allowed. */
static void test_unreachable_at_once(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker a = {.stage = s};

	(void)state;
	assert_int_equal(ip_port_parse("255.255.255.255", 53, &s->servers[0].at), 0);
	groups_renew(s);
	ask(s, &a, "a.test", 1000);
	assert_int_equal(a.calls, 1); /* before the call returned */
	assert_true(a.error < 0 && a.error != -ETIMEDOUT);
	resolve_cancel(&a.rq);
	stage_close(s);
}

static bool host_has_ipv6(void)
{
	const struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool has = fd >= 0 && bind(fd, (const struct sockaddr *)&a, sizeof a) == 0;

	if (fd >= 0)
		close(fd);
	return has;
}

static void test_ipv6(void **state)
{
	struct stage *s;
	struct asker a;

	(void)state;
	if (!host_has_ipv6())
		skip();
	s = stage_open_at("::1", 1, CONF_UDP);
	s->up[0]->script = (struct script){4, {ACT_ANSWER, ACT_OTHER_SOURCE, ACT_TC, ACT_ANSWER}};
	for (int i = 0; i < 4; i++) {
		ask_and_play(s, &a, "a.test");
		assert_answered_by(&a, s->up[0]);
	}
	assert_int_equal(s->up[0]->asked_tcp, 1);
	/* Sockets are used again, ports are not. */
	assert_true(s->up[0]->seen_port[0] != s->up[0]->seen_port[1] ||
		    s->up[0]->seen_port[1] != s->up[0]->seen_port[2]);
	stage_close(s);
}

/* --- TCP --- */

static void test_truncated_then_tcp(void **state)
{
	struct stage *s = stage_open(2, CONF_UDP);
	struct asker a;

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_TC}};
	s->up[0]->script_tcp = (struct script){1, {ACT_LARGE}};
	ask_and_play(s, &a, "a.test");
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(s->up[0]->asked, 1);
	assert_int_equal(s->up[0]->asked_tcp, 1);
	assert_true(a.len > 64000);
	assert_int_equal(a.addresses, (a.len - 24) / 16);
	assert_int_equal(s->up[1]->asked, 0);
	stage_close(s);
}

static void test_truncated_and_no_tcp(void **state)
{
	struct stage *s = stage_open(2, CONF_UDP);
	struct asker a;

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_TC}};
	upstream_close_tcp(s->up[0]);
	ask_and_play(s, &a, "a.test");
	assert_answered_by(&a, s->up[1]);
	stage_close(s);
}

static void test_tcp_server(void **state)
{
	static const enum act acts[] = {ACT_ANSWER, ACT_TORN, ACT_LARGE, ACT_WRONG_FIRST};

	(void)state;
	for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
		struct stage *s = stage_open(2, CONF_TCP);
		struct asker a;

		s->up[0]->script_tcp = (struct script){1, {acts[i]}};
		ask_and_play(s, &a, "a.test");
		assert_answered_by(&a, s->up[0]);
		assert_int_equal(s->up[0]->asked, 0);
		assert_int_equal(s->up[1]->asked_tcp, 0);
		assert_int_equal(server_info(s, 0).wrong_answers,
			acts[i] == ACT_WRONG_FIRST || acts[i] == ACT_TORN);
		stage_close(s);
	}
}

static void test_tcp_fault_then_next_server(void **state)
{
	static const enum act acts[] = {
		ACT_CLOSE_MID, ACT_RESET, ACT_SILENT, ACT_SERVFAIL, ACT_BROKEN};

	(void)state;
	for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
		struct stage *s = stage_open(2, CONF_TCP);
		struct asker a;

		s->up[0]->script_tcp = (struct script){1, {acts[i]}};
		a = (struct asker){.stage = s};
		ask(s, &a, "a.test", 1000);
		STAGE_UNTIL(s, s->up[0]->asked_tcp);
		if (acts[i] == ACT_SILENT)
			stage_play(s, TIMEOUT_MS / 4);
		play_until(s, &a);
		assert_answered_by(&a, s->up[1]);
		assert_int_equal(s->up[0]->asked_tcp, 1);
		stage_close(s);
	}
}

static void test_tcp_closed_port(void **state)
{
	struct stage *s = stage_open(1, CONF_TCP);
	struct asker a;

	(void)state;
	upstream_close_tcp(s->up[0]);
	ask_and_play(s, &a, "a.test");
	assert_int_equal(a.error, -ECONNREFUSED);
	stage_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_answer),
		cmocka_unit_test(test_question),
		cmocka_unit_test(test_silence_then_next_server),
		cmocka_unit_test(test_resend),
		cmocka_unit_test(test_all_silent),
		cmocka_unit_test(test_not_ours),
		cmocka_unit_test(test_other_source),
		cmocka_unit_test(test_bad_answer_then_next_server),
		cmocka_unit_test(test_nxdomain_is_an_answer),
		cmocka_unit_test(test_all_fail_is_handed_on),
		cmocka_unit_test(test_all_broken),
		cmocka_unit_test(test_closed_port),
		cmocka_unit_test(test_unreachable_at_once),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_truncated_then_tcp),
		cmocka_unit_test(test_truncated_and_no_tcp),
		cmocka_unit_test(test_tcp_server),
		cmocka_unit_test(test_tcp_fault_then_next_server),
		cmocka_unit_test(test_tcp_closed_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
