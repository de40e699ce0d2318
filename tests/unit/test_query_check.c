/* `check`: a real answer whose addresses send the name to another rule, within the same query; what
 * is learned of it, and how that is verified. */
#include "tests/unit/query_talk.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "gateway/dns/stored.h"
#include "gateway/learned/learned.h"
#include "gateway/query/parked.h"

#define OUT "check: { answers: out, of: near, match: all, rule: "

static const char yaml[] =
	"gateway: { lan: [lan0] }\n"
	"fakeip: { pool4: 198.18.0.0/15, pool6: 'fd00::/64', ttl: 7s, store: '',\n"
	"  except: { builtin: no, lists: [never] } }\n"
	"upstreams:\n"
	"  one: { servers: udp://192.0.2.53 }\n"
	"  two: { servers: udp://192.0.2.54 }\n"
	"  shut: { servers: udp://192.0.2.55, leak: strict, lists: never, strict_to: two }\n"
	"egress:\n"
	"  direct: { type: direct, upstream: one }\n"
	"  proxy: { type: socks5, server: '127.0.0.1:1080', upstream: two }\n"
	"lists: { near: [near.txt], bad: [bad.txt], never: [never.txt] }\n"
	"rules:\n"
	"  - { name: also, also: yes, domain: [also.test], nftset: '4#inet#t#also' }\n"
	"  - { name: home, domain: [home.test], answer: real, upstream: one,\n"
	"      nftset: '4#inet#t#home', " OUT "away } }\n"
	"  - { name: cname, domain: [alias.test], answer: local, cname: www.home.test }\n"
	"  - { name: real, domain: [real.test, also.test], answer: real, upstream: one,\n"
	"      nftset: '4#inet#t#home', " OUT "other } }\n"
	"  - { name: block, domain: [block.test], answer: real, upstream: one, " OUT "none } }\n"
	"  - { name: local, domain: [local.test], answer: real, upstream: one, " OUT "here } }\n"
	"  - { name: leak, domain: [leak.test], answer: real, upstream: one, " OUT "strict } }\n"
	"  - { name: six, domain: [six.test], answer: real, upstream: one, " OUT "only4 } }\n"
	"  - { name: learn, domain: [learn.test], answer: real, upstream: one,\n"
	"      check: { answers: out, of: near, match: all, rule: away, learn: l.txt } }\n"
	"  - { name: few, domain: [few.test], answer: real, upstream: two, filter: ipv6, check: [\n"
	"      { answers: in, of: bad, match: any, rule: away, learn: l.txt },\n"
	"      { answers: out, of: near, match: any, rule: away, learn: l.txt } ] }\n"
	"  - { name: typed, domain: [typed.test], type: [AAAA], answer: real, upstream: one,\n"
	"      check: { answers: out, of: near, match: all, rule: away, learn: l.txt } }\n"
	"  - { name: other, domain: [other.test], answer: real, upstream: two,\n"
	"      nftset: '4#inet#t#other', " OUT "away } }\n"
	"  - { name: none, domain: [none.test], answer: block }\n"
	"  - { name: here, domain: [here.test], answer: local, address: [10.0.0.1] }\n"
	"  - { name: strict, domain: [strict.test], answer: real, upstream: shut }\n"
	"  - { name: only4, domain: [four.test], answer: real, upstream: two, filter: ipv6 }\n"
	"  - { name: away, domain: [away.test], answer: fake, egress: proxy }\n"
	"  - { name: rest, domain: [.], answer: real, upstream: two }\n";

enum { ONE, TWO };
#define NEAR 0xc0000201 /* 192.0.2.1 */
#define FAR  0xc6336401 /* 198.51.100.1 */

/* --- a folder with the lists and what is learned --- */

static char back[256], folder[64];

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int folder_make(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof folder, "/tmp/tg-check-XXXXXX");
	assert_non_null(getcwd(back, sizeof back));
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	write_file("near.txt", "192.0.2.0/24\n");
	write_file("bad.txt", "203.0.113.0/24\n192.0.2.128/25\n");
	write_file("never.txt", "never.home.test\n");
	return 0;
}

static int folder_remove(void **state)
{
	(void)state;
	(void)unlink("near.txt");
	(void)unlink("never.txt");
	(void)unlink("bad.txt");
	assert_int_equal(chdir(back), 0);
	return rmdir(folder);
}

static int open_stage(void **state)
{
	*state = stage_open(yaml, 0);
	return 0;
}

static int close_stage(void **state)
{
	stage_close(*state);
	(void)unlink("l.txt");
	return 0;
}

/* --- talk --- */

static void make_address(const char *name, uint32_t address)
{
	make_response(name, DNS_A, 0, 1);
	put_a(&response, "@12", 300, address);
}

static void answer_address(struct stage *s, const char *name, uint32_t address)
{
	make_address(name, address);
	answer(s);
}

/* What resolve_look() finds from now on, for whoever asks: `response`, as it would be kept. */
static void keep(struct stage *s)
{
	const struct dns_store_how how = {.ttl_max_s = UINT32_MAX, .negative_max_s = UINT32_MAX};
	struct dns_stored_info info;
	int len = dns_store(s->cached, sizeof s->cached, response.b, response.len, &how, &info);

	assert_true(len > 0);
	s->cached_len = (size_t)len;
}

static void assert_fake(struct seen v)
{
	assert_int_equal(v.rcode, 0);
	assert_int_equal(v.answers, 1);
	assert_memory_equal(v.data, "\xc6\x12", 2); /* 198.18/15 */
	assert_int_equal(v.ede, DNS_EDE_FORGED);
}

static void assert_pushed(const struct stage *s, const char *set, uint32_t address)
{
	assert_non_null(s->job);
	assert_int_equal(s->job->n, 1);
	assert_string_equal(stage_set_name(s->job->elements[0].set), set);
	assert_int_equal(get32(s->job->elements[0].addr.b), address);
}

/* Asks a name of a rule with a check, and answers so that the check holds. */
static void reroute(struct stage *s, const char *name)
{
	size_t at = ask_parked(s, name, DNS_A);

	assert_int_equal(s->asked[at].group, ONE);
	answer_address(s, name, FAR);
}

/* --- the re-routed query --- */

static void an_answer_that_stays(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.home.test", DNS_A);
	answer_address(s, "www.home.test", NEAR);
	assert_pushed(s, "home", NEAR);
	stage_written(s, 0);
	assert_int_equal(get32(look_reply(s).data), NEAR);
	assert_int_equal(s->n_told, 1);
	/* One without addresses says nothing. */
	ask_parked(s, "www.home.test", DNS_A);
	make_response("www.home.test", DNS_A, DNS_NXDOMAIN, 0);
	answer(s);
	assert_int_equal(look_reply(s).rcode, DNS_NXDOMAIN);
	assert_int_equal(s->n_asked, 2);
	assert_int_equal(COUNTER(s, real), 2);
	assert_int_equal(COUNTER(s, rerouted), 0);
}

/* The first answer goes nowhere, and the fake one leaves after its mapping's record. */
static void to_a_fake_address(void **state)
{
	struct stage *s = *state;

	reroute(s, "www.home.test");
	assert_int_equal(s->reply.n, 1);
	assert_fake(look_reply(s));
	assert_int_equal(s->reply.appends, 1);
	assert_int_equal(s->n_jobs, 0);
	assert_int_equal(s->n_told, 0);
	assert_int_equal(s->n_asked, 1);
	assert_int_equal(COUNTER(s, fake), 1);
	assert_int_equal(COUNTER(s, real), 0);
	assert_int_equal(COUNTER(s, total), 1);
	assert_int_equal(COUNTER(s, rerouted), 1);
	/* The same address the next time, and nothing is learned unless it is said. */
	reroute(s, "www.home.test");
	assert_fake(look_reply(s));
	assert_int_equal(s->reply.appends, 1);
	assert_int_equal(s->reply.n, 2);
	assert_true(query_engine_idle(s->engine));
}

static void to_a_fake_address_from_the_cache(void **state)
{
	struct stage *s = *state;

	make_address("www.home.test", FAR);
	keep(s);
	ask(s, "www.home.test", DNS_A);
	assert_fake(look_out());
	assert_int_equal(s->n_asked + s->n_jobs + s->n_told, 0);
	assert_int_equal(s->appends, 0);
	query_engine_commit(s->engine);
	assert_int_equal(s->appends, 1);
	assert_int_equal(COUNTER(s, rerouted), 1);
	make_address("www.home.test", NEAR);
	keep(s);
	assert_int_equal(ask(s, "www.home.test", DNS_A), QUERY_PARKED);
	assert_pushed(s, "home", NEAR);
	stage_written(s, 0);
}

/* A name that is never faked stays so; the other rule's upstream answers, and its egress carries.
 */
static void to_a_rule_that_may_not_fake(void **state)
{
	struct stage *s = *state;

	reroute(s, "never.home.test");
	assert_int_equal(s->n_asked, 2);
	assert_int_equal(s->asked[1].group, TWO);
	answer_address(s, "never.home.test", FAR + 1);
	assert_int_equal(s->job->elements[0].op, WRITER_REAL_SET);
	stage_written(s, 0);
	assert_int_equal(get32(look_reply(s).data), FAR + 1);
}

/* Its upstream, its sets, its word alone is told; and it is not checked, though it has a check that
 * would hold. */
static void to_a_real_answer(void **state)
{
	struct stage *s = *state;

	reroute(s, "www.real.test");
	assert_int_equal(s->reply.n, 0);
	assert_null(s->job);
	assert_int_equal(s->n_asked, 2);
	assert_int_equal(s->asked[1].group, TWO);
	answer_address(s, "www.real.test", FAR + 7);
	assert_pushed(s, "other", FAR + 7);
	assert_int_equal(s->n_told, 0);
	stage_written(s, 0);
	assert_int_equal(get32(look_reply(s).data), FAR + 7);
	assert_int_equal(s->n_told, 1);
	assert_int_equal(s->n_jobs, 1);
	assert_int_equal(COUNTER(s, real), 1);
	/* From the cache, too; the stage has the same for both. */
	make_address("www.real.test", FAR);
	keep(s);
	assert_int_equal(ask(s, "www.real.test", DNS_A), QUERY_PARKED);
	assert_pushed(s, "other", FAR);
	stage_written(s, 0);
	assert_int_equal(s->n_asked, 2);
	assert_int_equal(s->reply.n, 2);
	/* Asked for itself, its own check is looked at. */
	s->cached_len = 0;
	ask_parked(s, "www.other.test", DNS_A);
	answer_address(s, "www.other.test", FAR);
	assert_fake(look_reply(s));
}

/* Rules that only add sets have done so before. */
static void sets_of_also_stay(void **state)
{
	struct stage *s = *state;

	reroute(s, "www.also.test");
	answer_address(s, "www.also.test", FAR + 7);
	assert_int_equal(s->job->n, 2);
	assert_string_equal(stage_set_name(s->job->elements[0].set), "also");
	assert_string_equal(stage_set_name(s->job->elements[1].set), "other");
	stage_written(s, 0);
	assert_int_equal(s->reply.n, 1);
}

static void when_the_other_rule_cannot_answer(void **state)
{
	struct stage *s = *state;

	reroute(s, "www.real.test");
	stage_answer(s, NULL, 0, -ETIMEDOUT);
	assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL);
	assert_int_equal(look_reply(s).ede, DNS_EDE_NO_REACHABLE_AUTHORITY);
	reroute(s, "www.real.test");
	make_response("www.real.test", DNS_A, DNS_SERVFAIL, 0);
	answer(s);
	assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL);
	assert_int_equal(s->reply.n, 2);
	assert_int_equal(s->n_jobs + s->n_told, 0);
	assert_int_equal(COUNTER(s, failed), 2);
}

static void to_a_block_and_a_local_answer(void **state)
{
	struct stage *s = *state;

	reroute(s, "www.block.test");
	assert_negative(look_reply(s), DNS_NXDOMAIN, DNS_EDE_BLOCKED);
	reroute(s, "www.local.test");
	assert_int_equal(get32(look_reply(s).data), 0x0a000001);
	assert_int_equal(COUNTER(s, block), 1);
	assert_int_equal(COUNTER(s, local), 1);
	assert_int_equal(s->reply.n, 2);
}

/* Where the other rule's group may not be asked, the group that it names is. */
static void the_other_group_is_strict(void **state)
{
	struct stage *s = *state;

	reroute(s, "www.leak.test");
	assert_int_equal(s->asked[1].group, TWO);
	answer_address(s, "www.leak.test", FAR);
	assert_int_equal(get32(look_reply(s).data), FAR);
}

static void the_other_filter_is_in_force(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.six.test", DNS_AAAA);
	make_response("www.six.test", DNS_AAAA, 0, 1);
	put_record(&response, "@12", DNS_AAAA, 60, 16);
	put_bytes(&response, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	answer(s);
	assert_negative(look_reply(s), 0, DNS_EDE_FILTERED);
	assert_int_equal(s->n_asked, 1);
	reroute(s, "www.six.test");
	answer_address(s, "www.six.test", FAR);
	assert_int_equal(get32(look_reply(s).data), FAR);
}

/* Addresses behind a CNAME, and hints, count as addresses do. */
static void every_address_counts(void **state)
{
	static const char svcb[] = "\0\1\0\0\4\0\4\xc6\x33\x64\1"; /* 1 . ipv4hint=198.51.100.1 */
	struct stage *s = *state;

	ask_parked(s, "www.block.test", DNS_HTTPS);
	make_response("www.block.test", DNS_HTTPS, 0, 1);
	put_record(&response, "@12", DNS_HTTPS, 60, sizeof svcb - 1);
	put_bytes(&response, svcb, sizeof svcb - 1);
	answer(s);
	assert_negative(look_reply(s), DNS_NXDOMAIN, DNS_EDE_BLOCKED);
	ask_parked(s, "www.block.test", DNS_A);
	make_response("www.block.test", DNS_A, 0, 2);
	put_record(&response, "@12", DNS_CNAME, 60, 8);
	put_name(&response, "far.to");
	put_a(&response, "far.to", 60, FAR);
	answer(s);
	assert_negative(look_reply(s), DNS_NXDOMAIN, DNS_EDE_BLOCKED);
	/* All of them: one is near. */
	ask_parked(s, "www.block.test", DNS_A);
	make_response("www.block.test", DNS_A, 0, 2);
	put_a(&response, "@12", 60, FAR);
	put_a(&response, "@12", 60, NEAR);
	answer(s);
	assert_int_equal(look_reply(s).answers, 2);
}

/* A family that is filtered comes to no client, and so sends no name elsewhere. */
static void hints_that_are_filtered(void **state)
{
	static const char svcb[] = "\0\1\0" /* 1 . ipv4hint=192.0.2.1 ipv6hint=2001:db8::1 */
				   "\0\4\0\4\xc0\0\2\1"
				   "\0\6\0\x10\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1";
	struct stage *s = *state;

	ask_parked(s, "www.few.test", DNS_HTTPS);
	make_response("www.few.test", DNS_HTTPS, 0, 1);
	put_record(&response, "@12", DNS_HTTPS, 60, sizeof svcb - 1);
	put_bytes(&response, svcb, sizeof svcb - 1);
	answer(s);
	assert_int_equal(look_reply(s).answers, 1);
	assert_int_equal(s->n_asked, 1);
}

/* The target of a CNAME of ours is checked as if it had been asked, wherever its answer is from. */
static void behind_a_cname_of_ours(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "www.alias.test", DNS_A);
	answer_address(s, "www.home.test", FAR);
	assert_int_equal(s->reply.n, 1);
	assert_int_equal(look_reply(s).answers, 2);
	assert_int_equal(look_reply(s).type, DNS_CNAME);
	assert_int_equal(s->reply.appends, 1);
	make_address("www.home.test", FAR);
	keep(s);
	ask(s, "www.alias.test", DNS_A);
	assert_int_equal(look_out().answers, 2);
	query_engine_commit(s->engine);
}

/* Upstream is a cache that answers at once, in the middle of it all. */
static void answers_that_come_at_once(void **state)
{
	struct stage *s = *state;

	make_address("www.real.test", FAR);
	s->ask_reply = response.b;
	s->ask_reply_len = response.len;
	assert_int_equal(ask(s, "www.real.test", DNS_A), QUERY_PARKED);
	assert_pushed(s, "other", FAR);
	stage_written(s, 0);
	assert_int_equal(s->reply.n, 1);
	make_address("www.home.test", FAR);
	s->ask_reply_len = response.len;
	assert_int_equal(ask(s, "www.home.test", DNS_A), QUERY_PARKED);
	assert_int_equal(s->reply.n, 2);
	assert_fake(look_reply(s));
	assert_int_equal(ask(s, "www.alias.test", DNS_A), QUERY_PARKED);
	assert_int_equal(s->reply.n, 3);
	assert_int_equal(look_reply(s).answers, 2);
}

/* Over a stream an answer may be long: the other rule's place for it is as large. */
static void over_a_stream(void **state)
{
	struct stage *s = *state;

	make_query("www.real.test", DNS_A, 0);
	assert_int_equal(hand_over(s, "10.1.1.1", true), QUERY_PARKED);
	answer_address(s, "www.real.test", FAR);
	make_response("www.real.test", DNS_A, 0, 1000);
	for (unsigned i = 0; i < 1000; i++)
		put_a(&response, "@12", 60, FAR + i);
	answer(s);
	while (s->job)
		stage_written(s, 0);
	assert_int_equal(look_reply(s).answers, 1000);
	assert_true(s->reply.origin.stream);
}

/* What waits is counted once, also while it is asked a second time. */
static void a_client_that_has_its_share(void **state)
{
	static const char *const clients[] = {"10.1.1.1", "10.1.1.2", "10.1.1.3"};
	struct stage *s = *state;
	size_t n = PARKED_MAX / 2 + 64;

	for (size_t i = 0; i < n; i++) {
		make_query("www.real.test", DNS_A, 1232);
		assert_int_equal(hand_over(s, clients[i / PARKED_SHARE], false), QUERY_PARKED);
	}
	make_query("www.real.test", DNS_A, 1232);
	assert_int_not_equal(hand_over(s, "10.1.1.1", false), QUERY_PARKED);
	assert_int_equal(COUNTER(s, parked_full), 1);
	for (size_t i = 0; i < n; i++)
		answer_address(s, "www.real.test", FAR);
	assert_int_equal(s->n_asked, 2 * n);
	assert_int_equal(s->reply.n, 0);
	assert_int_equal(COUNTER(s, parked_full), 1);
	for (size_t i = 0; i < n; i++) {
		answer_address(s, "www.real.test", FAR);
		stage_written(s, 0);
	}
	assert_int_equal(s->reply.n, n);
	assert_true(query_engine_idle(s->engine));
}

/* A query ends by the rules that it began with. */
static void after_a_reload(void **state)
{
	static const char after[] =
		"gateway: { lan: [lan0] }\nupstreams: { one: { servers: udp://192.0.2.53 } }\n"
		"rules: [ { name: all, domain: [.], answer: block } ]\n";
	struct stage *s = *state;
	struct generation *old = s->gen;

	ask_parked(s, "www.real.test", DNS_A);
	s->gen = stage_generation(s, after);
	query_engine_use(s->engine, s->gen);
	generation_unref(old);
	answer_address(s, "www.real.test", FAR);
	assert_int_equal(s->asked[1].group, TWO);
	answer_address(s, "www.real.test", FAR);
	stage_written(s, 0);
	assert_int_equal(get32(look_reply(s).data), FAR);
	assert_int_equal(s->groups_alive, 1);
}

/* --- learning --- */

static struct learned *table(const struct stage *s)
{
	const struct policy_check *const *learning;

	assert_int_equal(policy_learning(s->gen->policy, &learning), 4); /* that share it */
	return learning[0]->learned;
}

static bool is_learned(const struct stage *s, const char *name)
{
	struct dns_name n = name_of(name);

	return learned_peek(table(s), &n);
}

static void note(void *arg, const struct learned_name *n)
{
	char address[IP_TEXT_MAX];

	assert_string_equal(n->list, "near");
	assert_int_equal(n->n_addresses, 1);
	(void)snprintf(arg, IP_TEXT_MAX, "%s", ip_addr_format(&n->addresses[0], address));
}

/* It is written before the answer leaves; the next query goes to the other rule at once. */
static void a_name_is_learned(void **state)
{
	struct stage *s = *state;
	char line[128] = "", address[IP_TEXT_MAX] = "";
	FILE *f;

	reroute(s, "www.learn.test");
	assert_fake(look_reply(s));
	f = fopen("l.txt", "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof line, f));
	assert_int_equal(fclose(f), 0);
	assert_memory_equal(line, "full:www.learn.test # asked=", 28);
	learned_each(table(s), note, address);
	assert_string_equal(address, "198.51.100.1");
	ask(s, "www.learn.test", DNS_A);
	assert_fake(look_out());
	ask(s, "www.learn.test", DNS_AAAA);
	assert_int_equal(look_out().answers, 1);
	assert_int_equal(s->n_asked, 1);
	/* One that stays is not. */
	ask_parked(s, "learn.test", DNS_A);
	answer_address(s, "learn.test", NEAR);
	assert_int_equal(get32(look_reply(s).data), NEAR);
	assert_false(is_learned(s, "learn.test"));
}

/* --- verifying --- */

/* A stage that has learned the name two days ago. */
static struct stage *open_learned(const char *names)
{
	long long now_s = (long long)time(NULL), then_s = now_s - 2 * 86400;
	char text[8192];
	size_t n = 0;

	for (const char *name = names; *name; name += strcspn(name, " "), name += *name == ' ')
		n += (size_t)snprintf(text + n, sizeof text - n,
			"full:%.*s # asked=%lld verified=%lld\n", (int)strcspn(name, " "), name,
			then_s, then_s);
	write_file("l.txt", text);
	return stage_open(yaml, 0);
}

/* The client has its answer; the rule with the check is asked behind its back. */
static size_t ask_due(struct stage *s, const char *name)
{
	size_t before = s->n_asked;

	ask(s, name, DNS_A);
	assert_fake(look_out());
	assert_int_equal(s->n_asked, before + 1);
	assert_int_equal(s->asked[before].group, ONE);
	assert_int_equal(s->asked[before].type, DNS_A);
	query_engine_commit(s->engine);
	return before;
}

static void what_still_holds(void **state)
{
	struct stage *s = open_learned("a.learn.test");

	ask_due(s, "a.learn.test");
	ask(s, "a.learn.test", DNS_A); /* once */
	assert_int_equal(s->n_asked, 1);
	answer_address(s, "a.learn.test", FAR);
	assert_true(is_learned(s, "a.learn.test"));
	assert_int_equal(s->n_asked, 1);
	ask(s, "a.learn.test", DNS_A); /* not due again */
	assert_int_equal(s->n_asked, 1);
	assert_int_equal(s->n_told + s->n_jobs + s->reply.n, 0);
	*state = s;
}

static void what_holds_no_more(void **state)
{
	struct stage *s = open_learned("a.learn.test");

	ask_due(s, "a.learn.test");
	answer_address(s, "a.learn.test", NEAR);
	assert_int_equal(s->n_asked, 2); /* the other family might have been it */
	assert_int_equal(s->asked[1].type, DNS_AAAA);
	assert_true(is_learned(s, "a.learn.test"));
	make_response("a.learn.test", DNS_AAAA, 0, 0);
	answer(s);
	assert_false(is_learned(s, "a.learn.test"));
	ask_parked(s, "a.learn.test", DNS_A);
	answer_address(s, "a.learn.test", NEAR);
	assert_int_equal(get32(look_reply(s).data), NEAR);
	*state = s;
}

static void what_holds_by_the_other_family(void **state)
{
	struct stage *s = open_learned("a.learn.test");

	ask_due(s, "a.learn.test");
	answer_address(s, "a.learn.test", NEAR);
	make_response("a.learn.test", DNS_AAAA, 0, 1);
	put_record(&response, "@12", DNS_AAAA, 60, 16);
	put_bytes(&response, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	answer(s);
	assert_true(is_learned(s, "a.learn.test"));
	*state = s;
}

/* By the checks of the rule that learned it, where that rule asks, for what it asks for. */
static void what_another_rule_learned(void **state)
{
	struct stage *s = open_learned("a.few.test b.few.test a.typed.test");

	ask(s, "a.few.test", DNS_A);
	assert_fake(look_out());
	assert_int_equal(s->asked[0].group, TWO);
	answer_address(s, "a.few.test", NEAR + 128); /* bad */
	assert_int_equal(s->n_asked, 1);
	assert_true(is_learned(s, "a.few.test"));
	ask(s, "b.few.test", DNS_A);
	answer_address(s, "b.few.test", NEAR);
	assert_int_equal(s->n_asked, 2);
	assert_false(is_learned(s, "b.few.test"));
	ask(s, "a.typed.test", DNS_A);
	assert_int_equal(s->n_asked, 3);
	assert_int_equal(s->asked[2].group, ONE);
	assert_int_equal(s->asked[2].type, DNS_AAAA);
	make_response("a.typed.test", DNS_AAAA, 0, 0);
	answer(s);
	assert_int_equal(s->n_asked, 3);
	assert_true(is_learned(s, "a.typed.test"));
	query_engine_commit(s->engine);
	*state = s;
}

/* One that no rule of today would have learned is not asked for behind anybody's back. */
static void what_nobody_would_learn(void **state)
{
	struct stage *s = open_learned("a.nobody.test");

	ask(s, "a.nobody.test", DNS_A);
	assert_fake(look_out());
	assert_int_equal(s->n_asked, 0);
	query_engine_commit(s->engine);
	*state = s;
}

/* Silence, an old answer, and no address at all unlearn nothing; nor is it asked soon again. */
static void what_nobody_knows(void **state)
{
	struct stage *s = open_learned("a.learn.test b.learn.test c.learn.test");

	ask_due(s, "a.learn.test");
	stage_answer(s, NULL, 0, -ETIMEDOUT);
	assert_int_equal(s->n_asked, 1);
	s->ask_stale = true;
	ask_due(s, "b.learn.test");
	answer_address(s, "b.learn.test", NEAR);
	assert_int_equal(s->n_asked, 2);
	s->ask_stale = false;
	ask_due(s, "c.learn.test");
	make_response("c.learn.test", DNS_A, DNS_NXDOMAIN, 0);
	answer(s);
	make_response("c.learn.test", DNS_AAAA, DNS_NXDOMAIN, 0);
	answer(s);
	assert_true(is_learned(s, "a.learn.test"));
	assert_true(is_learned(s, "b.learn.test"));
	assert_true(is_learned(s, "c.learn.test"));
	ask(s, "a.learn.test", DNS_A);
	ask(s, "b.learn.test", DNS_A);
	ask(s, "c.learn.test", DNS_A);
	assert_int_equal(s->n_asked, 4);
	*state = s;
}

/* A bounded number at once; and the end of the engine is the end of those that wait. */
static void many_are_due(void **state)
{
	char names[600] = "", name[32];
	struct stage *s;

	for (unsigned i = 0; i < 20; i++) {
		size_t n = strlen(names);

		(void)snprintf(names + n, sizeof names - n, "%sn%u.learn.test", i ? " " : "", i);
	}
	s = open_learned(names);
	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof name, "n%u.learn.test", i);
		ask(s, name, DNS_A);
		assert_fake(look_out());
	}
	assert_int_equal(s->n_asked, 16);
	answer_address(s, "n0.learn.test", FAR);
	query_engine_stop(s->engine);
	assert_int_equal(s->n_asked - s->n_answered, 0);
	assert_true(is_learned(s, "n1.learn.test"));
	*state = s;
}

#define TEST(f)	    cmocka_unit_test_setup_teardown(f, open_stage, close_stage)
#define TEST_OWN(f) cmocka_unit_test_teardown(f, close_stage)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_answer_that_stays),
		TEST(to_a_fake_address),
		TEST(to_a_fake_address_from_the_cache),
		TEST(to_a_rule_that_may_not_fake),
		TEST(to_a_real_answer),
		TEST(sets_of_also_stay),
		TEST(when_the_other_rule_cannot_answer),
		TEST(to_a_block_and_a_local_answer),
		TEST(the_other_group_is_strict),
		TEST(the_other_filter_is_in_force),
		TEST(every_address_counts),
		TEST(hints_that_are_filtered),
		TEST(behind_a_cname_of_ours),
		TEST(answers_that_come_at_once),
		TEST(over_a_stream),
		TEST(a_client_that_has_its_share),
		TEST(after_a_reload),
		TEST(a_name_is_learned),
		TEST_OWN(what_still_holds),
		TEST_OWN(what_holds_no_more),
		TEST_OWN(what_holds_by_the_other_family),
		TEST_OWN(what_another_rule_learned),
		TEST_OWN(what_nobody_would_learn),
		TEST_OWN(what_nobody_knows),
		TEST_OWN(many_are_due),
	};

	return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
