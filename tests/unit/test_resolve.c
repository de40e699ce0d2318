/* gateway/resolve against scripted upstreams on the loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/resolve/resolve_internal.h"
#include "tests/unit/resolve_upstream.h"

#define SERVERS_MAX 3
#define TIMEOUT_MS  300
#define TOTAL_MS    1000

/* --- what the query path allocates --- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
static _Atomic unsigned allocations;

void *__wrap_malloc(size_t size)
{
	allocations++;
	return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	allocations++;
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	allocations++;
	return __real_realloc(p, size);
}

/* --- the stage --- */

struct stage {
	struct loop *loop;
	struct resolver *resolver;
	struct resolve_groups *groups;
	struct upstream *up[SERVERS_MAX];
	size_t n;
	bool stopped;
	unsigned fds;
};

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void groups_make(
	struct stage *s, enum conf_transport transport, unsigned timeout_ms, unsigned total_ms)
{
	char url[SERVERS_MAX][64];
	struct conf_endpoint servers[SERVERS_MAX];
	struct conf_upstream upstream = {.name = (char[]){"up"},
		.servers = servers,
		.n_servers = s->n,
		.timeout_ms = timeout_ms,
		.total_ms = total_ms};
	struct config config = {.upstreams = &upstream, .n_upstreams = 1};

	for (size_t i = 0; i < s->n; i++) {
		snprintf(url[i], sizeof url[i], "udp://%s:%u", s->up[i]->at, s->up[i]->port);
		servers[i] = (struct conf_endpoint){.transport = transport, .url = url[i]};
		servers[i].at.port = s->up[i]->port;
		assert_int_equal(ip_addr_parse(s->up[i]->at, &servers[i].at.addr), 0);
	}
	resolve_groups_unref(s->groups);
	assert_int_equal(resolve_groups_new(&config, &s->groups), 0);
}

static struct stage *stage_open_at(const char *at, size_t n, enum conf_transport transport)
{
	struct stage *s = calloc(1, sizeof *s);

	assert_non_null(s);
	s->fds = count_fds();
	s->n = n;
	for (size_t i = 0; i < n; i++)
		s->up[i] = upstream_new(at, (uint8_t)(i + 1));
	groups_make(s, transport, TIMEOUT_MS, TOTAL_MS);
	assert_int_equal(loop_new(&s->loop), 0);
	assert_int_equal(resolver_new(s->loop, &s->resolver), 0);
	return s;
}

static struct stage *stage_open(size_t n, enum conf_transport transport)
{
	return stage_open_at("127.0.0.1", n, transport);
}

static void stage_turn(struct stage *s)
{
	for (size_t i = 0; i < s->n; i++)
		upstream_serve(s->up[i]);
	assert_int_equal(loop_turn(s->loop, 1), 0);
}

static void stage_play(struct stage *s, int64_t ms)
{
	for (int64_t end = clock_ms() + ms; clock_ms() < end;)
		stage_turn(s);
}

static void resolver_has_stopped(void *arg)
{
	struct stage *s = arg;

	assert_false(s->stopped);
	s->stopped = true;
}

static void stage_close(struct stage *s)
{
	if (s->resolver)
		resolver_stop(s->resolver, resolver_has_stopped, s);
	for (int i = 0; i < 1000 && !s->stopped; i++)
		stage_turn(s);
	assert_true(s->stopped);
	/* No flight kept its reference: the counters are freed here, or ASan tells. */
	resolve_groups_unref(s->groups);
	loop_free(s->loop);
	for (size_t i = 0; i < s->n; i++)
		upstream_free(s->up[i]);
	assert_int_equal(count_fds(), s->fds);
	free(s);
}

static struct resolve_server_info server_info(const struct stage *s, size_t i)
{
	struct resolve_server_info info[SERVERS_MAX];

	assert_int_equal(resolve_servers(s->groups, info, SERVERS_MAX), s->n);
	return info[i];
}

struct asker {
	struct resolve_request rq;
	struct stage *stage;
	unsigned calls;
	int error;
	size_t len;
	uint8_t head[512];
	uint8_t address[4]; /* the last of the answer, 0.0.0.0 if there is none */
	size_t addresses;
	int64_t asked_ms, answered_ms;
	struct asker *cancels; /* its callback cancels that one */
	struct asker *asks;    /* … or asks with that one */
	bool stops;
};

static struct dns_name name_of(const char *text)
{
	struct dns_name name;

	assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
	return name;
}

static void ask_name(
	struct stage *s, struct asker *a, const struct dns_name *name, int64_t within_ms);

static void address_seen(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct asker *a = arg;

	assert_int_equal(size, 4);
	assert_int_equal(ttl_s, 60);
	memcpy(a->address, address, 4);
}

static void asker_done(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct asker *a = container_of(rq, struct asker, rq);
	struct dns_name again = name_of("again.test");

	a->calls++;
	a->error = error;
	a->answered_ms = clock_ms();
	assert_true(msg ? error == 0 : error < 0);
	if (msg) {
		a->len = len;
		memcpy(a->head, msg, len < sizeof a->head ? len : sizeof a->head);
		a->addresses = dns_response_addresses(msg, len, address_seen, a);
	}
	if (a->cancels)
		resolve_cancel(&a->cancels->rq);
	if (a->asks)
		ask_name(a->stage, a->asks, &again, 1000);
	if (a->stops)
		resolver_stop(a->stage->resolver, resolver_has_stopped, a->stage);
}

static void ask_name(
	struct stage *s, struct asker *a, const struct dns_name *name, int64_t within_ms)
{
	a->stage = s;
	a->asked_ms = clock_ms();
	resolve_ask(s->resolver, s->groups, 0, name, DNS_A, 0, loop_now_ms(s->loop) + within_ms,
		&a->rq, asker_done);
}

static void ask(struct stage *s, struct asker *a, const char *text, int64_t within_ms)
{
	struct dns_name name = name_of(text);

	ask_name(s, a, &name, within_ms);
}

static void play_until(struct stage *s, const struct asker *a)
{
	for (int64_t end = clock_ms() + 5000; !a->calls && clock_ms() < end;)
		stage_turn(s);
	assert_int_equal(a->calls, 1);
}

static void ask_and_play(struct stage *s, struct asker *a, const char *text)
{
	*a = (struct asker){.stage = s};
	loop_turn(s->loop, 0);
	ask(s, a, text, 5000);
	play_until(s, a);
}

static void assert_answered_by(const struct asker *a, const struct upstream *u)
{
	assert_int_equal(a->error, 0);
	assert_true(a->addresses >= 1);
	assert_int_equal(a->address[3], u->id);
}

static int64_t took_ms(const struct asker *a)
{
	return a->answered_ms - a->asked_ms;
}

/* --- UDP --- */

static void test_plain_answer(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker a;

	(void)state;
	ask_and_play(s, &a, "a.test");
	assert_answered_by(&a, s->up[0]);
	assert_int_equal(s->up[0]->asked, 1);
	assert_int_equal(server_info(s, 0).queries, 1);
	assert_int_equal(server_info(s, 0).failures, 0);
	assert_true(server_info(s, 0).up);
	assert_true(server_info(s, 0).rtt_us > 0);
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
	resolve_ask(
		s->resolver, s->groups, 0, &name, DNS_AAAA, 0, INT64_MAX, &plain.rq, asker_done);
	resolve_ask(s->resolver, s->groups, 0, &name, DNS_AAAA, RESOLVE_CD, INT64_MAX, &cd.rq,
		asker_done);
	resolve_ask(s->resolver, s->groups, 0, &name, DNS_AAAA, RESOLVE_DO, INT64_MAX, &want_do.rq,
		asker_done);
	stage_play(s, 20);
	assert_int_equal(s->up[0]->n_held, 3);
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
	ask_and_play(s, &a, "a.test");
	assert_answered_by(&a, s->up[1]);
	assert_int_equal(s->up[0]->asked, 2); /* once more at half time */
	assert_int_equal(s->up[0]->seen_id[0], s->up[0]->seen_id[1]);
	assert_int_equal(s->up[0]->seen_port[0], s->up[0]->seen_port[1]);
	assert_in_range(took_ms(&a), TIMEOUT_MS - 2, 2 * TIMEOUT_MS);
	assert_false(server_info(s, 0).up);
	assert_int_equal(server_info(s, 0).failures, 1);
	assert_true(server_info(s, 1).up);
	stage_close(s);
}

static void test_resend(void **state)
{
	struct stage *s = stage_open(2, CONF_UDP);
	struct asker a;

	(void)state;
	s->up[0]->script = (struct script){2, {ACT_SILENT, ACT_ANSWER}};
	ask_and_play(s, &a, "a.test");
	assert_answered_by(&a, s->up[0]);
	assert_in_range(took_ms(&a), TIMEOUT_MS / 2 - 2, TIMEOUT_MS);
	assert_int_equal(s->up[1]->asked, 0);
	assert_int_equal(server_info(s, 0).failures, 0);
	stage_close(s);
}

static void test_all_silent(void **state)
{
	struct stage *s = stage_open(2, CONF_UDP);
	struct asker a;

	(void)state;
	s->up[0]->script = s->up[1]->script = (struct script){1, {ACT_SILENT}};
	ask_and_play(s, &a, "a.test");
	assert_int_equal(a.error, -ETIMEDOUT);
	assert_in_range(took_ms(&a), 2 * TIMEOUT_MS - 4, 3 * TIMEOUT_MS);
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
		assert_true(took_ms(&a) < TIMEOUT_MS / 2);
		assert_int_equal(server_info(s, 0).failures, 1);
		assert_int_equal(server_info(s, 0).up, acts[i] != ACT_BROKEN);
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
		a.head, a.len, (uint16_t)(a.head[0] << 8 | a.head[1]), &name, DNS_A));
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
	assert_true(took_ms(&a) < TIMEOUT_MS / 2);
	assert_false(server_info(s, 0).up);
	upstream_close_udp(s->up[1]);
	ask_and_play(s, &a, "b.test");
	assert_int_equal(a.error, -ECONNREFUSED);
	stage_close(s);
}

/* connect() itself fails: broadcast is not allowed. */
static void test_unreachable_at_once(void **state)
{
	struct conf_endpoint server = {.url = (char[]){"udp://255.255.255.255"}};
	struct conf_upstream upstream = {.name = (char[]){"up"},
		.servers = &server,
		.n_servers = 1,
		.timeout_ms = TIMEOUT_MS,
		.total_ms = TOTAL_MS};
	struct config config = {.upstreams = &upstream, .n_upstreams = 1};
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker a = {.stage = s};

	(void)state;
	assert_int_equal(ip_port_parse("255.255.255.255", 53, &server.at), 0);
	resolve_groups_unref(s->groups);
	assert_int_equal(resolve_groups_new(&config, &s->groups), 0);
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
			acts[i] == ACT_WRONG_FIRST || acts[i] == ACT_TORN ? 2 : 0);
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
		ask_and_play(s, &a, "a.test");
		assert_answered_by(&a, s->up[1]);
		assert_int_equal(s->up[0]->asked_tcp, 1);
		assert_int_equal(took_ms(&a) > TIMEOUT_MS / 2, acts[i] == ACT_SILENT);
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

/* More connections than the resolver keeps: an error, at once, and all is well afterwards. */
static void test_tcp_bound(void **state)
{
	static struct asker askers[RESOLVE_TCP_MAX + 4];
	struct stage *s = stage_open(1, CONF_TCP);
	struct asker a;
	char text[32];

	(void)state;
	s->up[0]->script_tcp = (struct script){1, {ACT_SILENT}};
	for (size_t i = 0; i < RESOLVE_TCP_MAX + 4; i++) {
		snprintf(text, sizeof text, "n%zu.test", i);
		askers[i] = (struct asker){.stage = s};
		ask(s, &askers[i], text, 5000);
		assert_int_equal(askers[i].calls, i >= RESOLVE_TCP_MAX);
		assert_int_equal(askers[i].error, i >= RESOLVE_TCP_MAX ? -ENOBUFS : 0);
	}
	for (size_t i = 0; i < RESOLVE_TCP_MAX; i++)
		play_until(s, &askers[i]);
	stage_play(s, 20); /* until the connections are closed */
	s->up[0]->script_tcp = (struct script){1, {ACT_ANSWER}};
	ask_and_play(s, &a, "a.test");
	assert_answered_by(&a, s->up[0]);
	stage_close(s);
}

/* --- flights --- */

static void test_identical_questions_share_a_flight(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker a[20];
	struct asker other = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	for (size_t i = 0; i < 20; i++) {
		a[i] = (struct asker){.stage = s};
		ask(s, &a[i], i % 2 ? "Same.TEST" : "same.test", 1000);
		stage_turn(s);
	}
	ask(s, &other, "other.test", 1000);
	stage_turn(s);
	assert_int_equal(s->up[0]->asked, 2);
	upstream_release(s->up[0]);
	for (size_t i = 0; i < 20; i++) {
		play_until(s, &a[i]);
		assert_answered_by(&a[i], s->up[0]);
	}
	play_until(s, &other);
	assert_int_equal(server_info(s, 0).queries, 2);
	stage_close(s);
}

/* Each has its own deadline; the flight goes on for the patient one. */
static void test_deadlines(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker hasty = {.stage = s}, patient = {.stage = s}, late = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	ask(s, &patient, "a.test", 1000);
	ask(s, &hasty, "a.test", 50);
	ask(s, &late, "b.test", 0);
	assert_int_equal(late.calls, 1);
	assert_int_equal(late.error, -ETIMEDOUT);
	play_until(s, &hasty);
	assert_int_equal(hasty.error, -ETIMEDOUT);
	assert_in_range(took_ms(&hasty), 48, TIMEOUT_MS);
	assert_int_equal(patient.calls, 0);
	upstream_release(s->up[0]);
	play_until(s, &patient);
	assert_answered_by(&patient, s->up[0]);
	assert_int_equal(hasty.calls, 1);
	/* Alone, the deadline ends the flight. */
	hasty = (struct asker){.stage = s};
	ask(s, &hasty, "c.test", 50);
	play_until(s, &hasty);
	stage_play(s, TIMEOUT_MS);
	assert_int_equal(s->up[0]->asked, 2);
	stage_close(s);
}

/* One server more than total_ms has room for. */
static void test_total(void **state)
{
	struct stage *s = stage_open(3, CONF_UDP);
	struct asker a;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		s->up[i]->script = (struct script){1, {ACT_SILENT}};
	groups_make(s, CONF_UDP, 150, 350);
	ask_and_play(s, &a, "a.test");
	assert_int_equal(a.error, -ETIMEDOUT);
	assert_in_range(took_ms(&a), 345, 449);
	assert_int_equal(s->up[2]->asked, 1);
	stage_close(s);
}

static void test_cancel(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct dns_name name = name_of("a.test");
	struct asker a = {.stage = s}, b = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	ask(s, &a, "a.test", 1000);
	ask(s, &b, "a.test", 1000);
	stage_play(s, 10);
	resolve_cancel(&a.rq);
	assert_int_equal(resolve_sighted(s->groups, &name, DNS_A), 1);
	upstream_release(s->up[0]);
	play_until(s, &b);
	assert_int_equal(a.calls, 0);
	resolve_cancel(&b.rq); /* was answered: nothing happens */

	/* Nobody waits: no second packet, and the question is in flight no more. */
	ask(s, &a, "b.test", 1000);
	stage_play(s, 10);
	resolve_cancel(&a.rq);
	resolve_cancel(&a.rq);
	name = name_of("b.test");
	assert_int_equal(resolve_sighted(s->groups, &name, DNS_A), 0);
	stage_play(s, TIMEOUT_MS);
	assert_int_equal(s->up[0]->asked, 2);
	assert_int_equal(a.calls, 0);
	stage_close(s);
}

/* Callbacks cancel their neighbours, ask anew, and the same question starts a new flight. */
static void test_callbacks_that_act(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker first = {.stage = s}, second = {.stage = s}, again = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	ask(s, &first, "again.test", 1000);
	ask(s, &second, "again.test", 1000);
	first.cancels = &second;
	second.cancels = &first;
	first.asks = second.asks = &again;
	stage_play(s, 10);
	s->up[0]->script = (struct script){1, {ACT_ANSWER}};
	upstream_release(s->up[0]);
	play_until(s, &again);
	assert_int_equal(first.calls + second.calls, 1);
	assert_int_equal(s->up[0]->asked, 2);
	stage_close(s);
}

/* The same at a deadline, where the flight goes on: the callback joins it. */
static void test_callbacks_at_deadline(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker hasty = {.stage = s}, patient = {.stage = s}, again = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	ask(s, &hasty, "again.test", 40);
	ask(s, &patient, "again.test", 1000);
	hasty.cancels = &patient;
	hasty.asks = &again;
	play_until(s, &hasty);
	assert_int_equal(again.calls, 0);
	upstream_release(s->up[0]);
	play_until(s, &again);
	assert_answered_by(&again, s->up[0]);
	assert_int_equal(s->up[0]->asked, 1);
	assert_int_equal(patient.calls, 0);
	stage_close(s);
}

static void test_stop_with_flights_out(void **state)
{
	static struct asker a[40];
	struct stage *s = stage_open(2, CONF_UDP);
	struct asker late = {.stage = s};
	char text[32];

	(void)state;
	s->up[0]->script = (struct script){5, {ACT_SILENT, ACT_TC, ACT_TC, ACT_TC, ACT_HOLD}};
	s->up[0]->script_tcp = (struct script){1, {ACT_SILENT}};
	for (size_t i = 0; i < 40; i++) {
		a[i] = (struct asker){.stage = s};
		snprintf(text, sizeof text, "n%zu.test", i / 2);
		ask(s, &a[i], text, 1000);
	}
	a[3].cancels = &a[4]; /* of another flight */
	stage_play(s, 20);
	assert_int_equal(s->up[0]->asked_tcp, 3);
	resolver_stop(s->resolver, resolver_has_stopped, s);
	for (size_t i = 0; i < 40; i++) {
		assert_true(a[i].calls == 1 || (i == 4 && a[i].calls == 0));
		assert_true(a[i].calls == 0 || a[i].error == -ECANCELED);
	}
	assert_false(s->stopped);
	ask(s, &late, "late.test", 1000);
	assert_int_equal(late.error, -ECANCELED);
	s->resolver = NULL;
	stage_close(s);
}

static void test_stop_in_callback(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) { /* at an answer, at a deadline */
		struct stage *s = stage_open(1, CONF_UDP);
		struct asker a = {.stage = s, .stops = true}, b = {.stage = s},
			     other = {.stage = s};

		s->up[0]->script = (struct script){1, {ACT_HOLD}};
		ask(s, &other, "other.test", 1000);
		ask(s, &b, "a.test", 1000);
		ask(s, &a, "a.test", i ? 30 : 1000);
		stage_play(s, 10);
		if (i == 0)
			upstream_release(s->up[0]);
		play_until(s, &a);
		play_until(s, &b);
		play_until(s, &other);
		assert_int_equal(a.error, i ? -ETIMEDOUT : 0);
		assert_int_equal(b.error, i ? -ECANCELED : 0);
		s->resolver = NULL;
		stage_close(s);
	}
}

static void test_thousand_flights(void **state)
{
	static struct asker a[1000];
	struct stage *s = stage_open(1, CONF_UDP);
	unsigned ascending = 0, same_port = 0, same_id = 0, before;
	char text[32];

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	for (int round = 0; round < 2; round++) {
		before = allocations;
		for (size_t i = 0; i < 1000; i++) {
			snprintf(text, sizeof text, "n%zu.test", i);
			a[i] = (struct asker){.stage = s};
			ask(s, &a[i], text, 4000);
			if (i % 50 == 0)
				upstream_serve(s->up[0]);
		}
		upstream_serve(s->up[0]);
		assert_int_equal(s->up[0]->n_held, 1000);
		upstream_release(s->up[0]);
		for (size_t i = 0; i < 1000; i++) {
			play_until(s, &a[i]);
			assert_answered_by(&a[i], s->up[0]);
		}
		assert_true(round == 0 || allocations == before);
	}
	/* The kernel's ports and our ids are not to be guessed from the one before. */
	for (size_t i = 1; i < 2000; i++) {
		ascending += s->up[0]->seen_port[i] > s->up[0]->seen_port[i - 1];
		same_port += s->up[0]->seen_port[i] == s->up[0]->seen_port[i - 1];
		same_id += s->up[0]->seen_id[i] == s->up[0]->seen_id[i - 1];
	}
	assert_in_range(ascending, 900, 1100);
	assert_true(same_port < 5 && same_id < 5);
	stage_close(s);
}

static void test_flight_bound(void **state)
{
	static struct asker a[RESOLVE_FLIGHTS_MAX + 1];
	struct stage *s = stage_open(1, CONF_UDP);
	char text[32];

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_SILENT}};
	for (size_t i = 0; i <= RESOLVE_FLIGHTS_MAX; i++) {
		snprintf(text, sizeof text, "n%zu.test", i);
		a[i] = (struct asker){.stage = s};
		ask(s, &a[i], text, 5000);
		assert_int_equal(a[i].error, i == RESOLVE_FLIGHTS_MAX ? -ENOBUFS : 0);
	}
	stage_close(s);
}

/* --- sightings --- */

static void test_sighted(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct dns_name name = name_of("a.test"), other = name_of("b.test");
	struct asker a = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	assert_int_equal(resolve_sighted(s->groups, &name, DNS_A), 0);
	ask(s, &a, "a.test", 1000);
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(resolve_sighted(s->groups, &name, DNS_A), i);
	assert_int_equal(resolve_sighted(s->groups, &name, DNS_AAAA), 0);
	assert_int_equal(resolve_sighted(s->groups, &other, DNS_A), 0);
	stage_play(s, 10);
	upstream_release(s->up[0]);
	play_until(s, &a);
	assert_int_equal(resolve_sighted(s->groups, &name, DNS_A), 0);
	/* The next flight is counted from one again. */
	ask(s, &a, "a.test", 1000);
	assert_int_equal(resolve_sighted(s->groups, &name, DNS_A), 1);
	stage_close(s);
}

static void *sighting_worker(void *arg)
{
	struct resolve_groups *g = arg;
	struct dns_name names[16];
	int slots[16];
	char text[32];

	for (unsigned i = 0; i < 16; i++) {
		snprintf(text, sizeof text, "n%u.test", i);
		names[i] = name_of(text);
	}
	for (unsigned round = 0; round < 2000; round++) {
		for (unsigned i = 0; i < 16; i++)
			slots[i] = sighting_enter(g, &names[i], DNS_A);
		for (unsigned i = 0; i < 16; i++)
			if (slots[i] >= 0 && resolve_sighted(g, &names[i], DNS_A) == 0)
				return "not sighted";
		for (unsigned i = 0; i < 16; i++)
			sighting_leave(g, slots[i]);
	}
	return NULL;
}

static void test_sightings_of_threads(void **state)
{
	struct config config = {0};
	struct resolve_groups *g;
	pthread_t t[3];
	void *error;

	(void)state;
	assert_int_equal(resolve_groups_new(&config, &g), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, sighting_worker, g), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(t[i], &error), 0);
		assert_null(error);
	}
	for (size_t i = 0; i < SIGHTING_SLOTS; i++)
		assert_int_equal(atomic_load(&g->sightings[i]), 0);
	resolve_groups_unref(g);
}

/* --- workers --- */

#define WORKER_QUESTIONS 300

/* A worker's loop in a thread of its own; all share the groups. */
struct worker {
	pthread_t thread;
	struct loop *loop;
	struct resolver *resolver;
	struct resolve_groups *groups;
	struct resolve_request rq;
	unsigned asked, answered;
	bool stopped;
	atomic_bool ended;
};

static void worker_ask(struct worker *w);

static void worker_answered(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct worker *w = container_of(rq, struct worker, rq);

	(void)len;
	(void)error;
	w->answered += msg != NULL;
	worker_ask(w);
}

static void worker_ask(struct worker *w)
{
	struct dns_name name;
	char text[32];

	if (w->asked == WORKER_QUESTIONS)
		return;
	snprintf(text, sizeof text, "n%u.test", w->asked++ % 10);
	(void)dns_name_parse(text, strlen(text), &name);
	resolve_ask(w->resolver, w->groups, 0, &name, DNS_A, 0, loop_now_ms(w->loop) + 5000, &w->rq,
		worker_answered);
	(void)resolve_sighted(w->groups, &name, DNS_A);
}

static void worker_stopped(void *arg)
{
	struct worker *w = arg;

	w->stopped = true;
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	if (loop_new(&w->loop) < 0 || resolver_new(w->loop, &w->resolver) < 0)
		return "no loop";
	worker_ask(w);
	for (int i = 0; i < 100000 && w->answered < WORKER_QUESTIONS; i++)
		(void)loop_turn(w->loop, 1);
	resolver_stop(w->resolver, worker_stopped, w);
	for (int i = 0; i < 1000 && !w->stopped; i++)
		(void)loop_turn(w->loop, 1);
	loop_free(w->loop);
	w->ended = true;
	return w->answered == WORKER_QUESTIONS && w->stopped ? NULL : "not all were answered";
}

static void test_workers_share_groups(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct worker w[3] = {0};
	void *error;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		w[i].groups = s->groups;
		assert_int_equal(pthread_create(&w[i].thread, NULL, worker_run, &w[i]), 0);
	}
	while (!w[0].ended || !w[1].ended || !w[2].ended)
		stage_turn(s);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(w[i].thread, &error), 0);
		assert_null(error);
	}
	/* Each worker asks for itself. */
	assert_int_equal(server_info(s, 0).queries, 3 * WORKER_QUESTIONS);
	for (size_t i = 0; i < SIGHTING_SLOTS; i++)
		assert_int_equal(atomic_load(&s->groups->sightings[i]), 0);
	stage_close(s);
}

/* --- groups --- */

static void test_groups(void **state)
{
	struct stage *s = stage_open(2, CONF_UDP);
	struct resolve_server_info info[1];
	struct ip_addr a;

	(void)state;
	assert_string_equal(resolve_group_name(s->groups, 0), "up");
	assert_int_equal(resolve_servers(s->groups, info, 1), 1);
	assert_int_equal(ip_addr_parse("127.0.0.1", &a), 0);
	assert_true(resolve_is_server(s->groups, &a));
	assert_int_equal(ip_addr_parse("127.0.0.2", &a), 0);
	assert_false(resolve_is_server(s->groups, &a));
	stage_close(s);
}

/* A reload: the old groups go when their last flight has landed. */
static void test_groups_outlive_reload(void **state)
{
	struct stage *s = stage_open(1, CONF_UDP);
	struct asker a = {.stage = s};

	(void)state;
	s->up[0]->script = (struct script){1, {ACT_HOLD}};
	ask(s, &a, "a.test", 1000);
	stage_play(s, 10);
	groups_make(s, CONF_UDP, TIMEOUT_MS, TOTAL_MS);
	upstream_release(s->up[0]);
	play_until(s, &a);
	assert_answered_by(&a, s->up[0]);
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
		cmocka_unit_test(test_tcp_bound),
		cmocka_unit_test(test_identical_questions_share_a_flight),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_total),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_callbacks_that_act),
		cmocka_unit_test(test_callbacks_at_deadline),
		cmocka_unit_test(test_stop_with_flights_out),
		cmocka_unit_test(test_stop_in_callback),
		cmocka_unit_test(test_thousand_flights),
		cmocka_unit_test(test_flight_bound),
		cmocka_unit_test(test_sighted),
		cmocka_unit_test(test_sightings_of_threads),
		cmocka_unit_test(test_workers_share_groups),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_groups_outlive_reload),
	};
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
