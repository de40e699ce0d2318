/* `check`: by which addresses another rule takes a name, names that were learned, and what traffic
 * makes of both. Tables of learned names are real ones, in files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "conf/conf.h"
#include "gateway/dns/message.h"
#include "gateway/learned/learned.h"
#include "gateway/policy/policy.h"

static char folder[64], told[4096];
static unsigned told_errors;

static const char head[] = "gateway: { lan: [lan0] }\n"
			   "fakeip: { except: { builtin: no, lists: [never] } }\n"
			   "upstreams:\n"
			   "  one: { servers: udp://192.0.2.53 }\n"
			   "  two: { servers: udp://192.0.2.54 }\n"
			   "egress:\n"
			   "  direct: { type: direct, upstream: one }\n"
			   "  proxy: { type: socks5, server: '127.0.0.1:1080', upstream: two }\n"
			   "lists: { near: [near.txt], ads: [ads.txt], never: [never.txt] }\n"
			   "rules:\n";

/* The first check is for a rule that stands before its own, the second for one behind it. */
static const char rules[] =
	"  - { name: gone, domain: [gone.test], answer: block }\n"
	"  - { name: mark, also: yes, domain: [x.test], nftset: '4#inet#t#s' }\n"
	"  - { name: mine, domain: [test, lan], client: '!10.9.9.9', answer: real, upstream: one,\n"
	"      check: [ { answers: in, of: ads, match: any, rule: gone, learn: gone.learned },\n"
	"        { answers: out, of: [ads, near], match: all, rule: far, learn: far.learned } ] }\n"
	"  - { name: far, domain: [far.example], client: [10.0.0.0/8], type: [A, AAAA],\n"
	"      listener: [udp], answer: fake, egress: proxy,\n"
	"      unless: { resolves_in: near, egress: direct } }\n"
	"  - { name: rest, domain: [.], answer: real, upstream: two }\n";

/* --- a folder of files, a configuration, its policy --- */

static const char *path_in(const char *name)
{
	static char path[2][128];
	static unsigned turn;
	char *p = path[turn++ % 2];

	(void)snprintf(p, sizeof path[0], "%s/%s", folder, name);
	return p;
}

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(path_in(name), "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int folder_make(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof folder, "/tmp/tg-check-XXXXXX");
	assert_non_null(mkdtemp(folder));
	write_file("near.txt", "192.0.2.0/24\n2001:db8::/32\n");
	write_file("ads.txt", "203.0.113.0/24\n");
	write_file("never.txt", "never.test\n");
	return 0;
}

static int folder_remove(void **state)
{
	static const char *const names[] = {
		"near.txt", "ads.txt", "never.txt", "gone.learned", "far.learned"};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		(void)unlink(path_in(names[i]));
	return rmdir(folder);
}

static int forget(void **state)
{
	(void)state;
	(void)unlink(path_in("gone.learned"));
	(void)unlink(path_in("far.learned"));
	return 0;
}

static void say(void *arg, enum conf_severity severity, const char *text)
{
	(void)arg;
	if (severity == CONF_ERROR)
		fail_msg("%s", text);
}

static void tell(void *arg, bool is_error, const char *text)
{
	size_t n = strlen(told);

	(void)arg;
	told_errors += is_error;
	(void)snprintf(told + n, sizeof told - n, "%s\n", text);
}

static int try_build(const char *yaml, struct learned_files *learned, const struct policy *previous,
	struct policy **ret)
{
	struct policy_build_config c = {.learned = learned, .previous = previous, .report = tell};
	struct config *config;
	char text[4096];
	int err;

	told[0] = 0;
	told_errors = 0;
	(void)snprintf(text, sizeof text, "%s%s", head, yaml);
	assert_int_equal(conf_parse(path_in("c.yaml"), text, strlen(text), say, NULL, &config), 0);
	c.config = config;
	err = policy_build(&c, ret);
	conf_free(config);
	return err;
}

static struct policy *build(const char *yaml, struct learned_files *learned)
{
	struct policy *p;

	assert_int_equal(try_build(yaml, learned, NULL, &p), 0);
	assert_string_equal(told, "");
	return p;
}

static struct learned_files *files(void)
{
	struct learned_files *f;

	assert_int_equal(learned_files_new(&f), 0);
	return f;
}

/* A line of a file that was verified so long ago. */
static void write_learned(const char *file, const char *name, int64_t verified_ago_s)
{
	long long now_s = (long long)time(NULL);
	char line[256];

	(void)snprintf(line, sizeof line, "full:%s # asked=%lld verified=%lld\n", name, now_s,
		now_s - verified_ago_s);
	write_file(file, line);
}

/* --- asking --- */

struct asked {
	struct dns_name name;
	struct policy_question q;
};

static struct policy_question *ask(
	struct asked *a, const char *name, uint16_t type, const char *client)
{
	assert_int_equal(dns_name_parse(name, strlen(name), &a->name), 0);
	a->q = (struct policy_question){
		.name = &a->name, .type = type, .listener = CONF_LISTENER_UDP};
	if (client)
		assert_int_equal(ip_addr_parse(client, &a->q.client), 0);
	return &a->q;
}

static const char *winner(
	const struct policy *p, const char *name, uint16_t type, const char *client)
{
	struct asked a;

	return policy_decide(p, ask(&a, name, type, client)).rule->name;
}

/* "192.0.2.1 2001:db8::1" */
static size_t addresses(const char *text, struct ip_addr *ret)
{
	char copy[256], *rest = copy;
	size_t n = 0;

	(void)snprintf(copy, sizeof copy, "%s", text);
	for (char *one; (one = strtok_r(rest, " ", &rest));)
		assert_int_equal(ip_addr_parse(one, &ret[n++]), 0);
	return n;
}

static const struct policy_rule *rule_of(const struct policy *p, const char *name)
{
	const struct policy_rule *rule = policy_rule_by_id(p, policy_id(name));

	assert_non_null(rule);
	return rule;
}

/* "gone by ads"; "" */
static const char *found(const struct policy *p, const struct policy_question *q, const char *text)
{
	static char ret[128];
	const char *list = NULL;
	struct ip_addr v[8];
	size_t n = addresses(text, v);
	const struct policy_check *c = policy_check_find(p, rule_of(p, "mine"), q, v, n, &list);

	assert_ptr_equal(policy_check_find(p, rule_of(p, "mine"), q, v, n, NULL), c);
	ret[0] = 0;
	if (c)
		(void)snprintf(ret, sizeof ret, "%s by %s", c->rule->name, list);
	return ret;
}

/* --- addresses --- */

static void test_in_out_any_all(void **state)
{
	static const struct {
		const char *addresses;
		bool holds[4]; /* in any, in all, out any, out all */
	} cases[] = {
		{"192.0.2.1", {true, true, false, false}},
		{"192.0.2.1 203.0.113.1", {true, true, false, false}},
		{"192.0.2.1 198.51.100.1", {true, false, true, false}},
		{"198.51.100.1 192.0.2.1", {true, false, true, false}},
		{"198.51.100.1 198.51.100.2", {false, false, true, true}},
		{"2001:db8::1 198.51.100.1", {true, false, true, false}},
		{"2001:db9::1", {false, false, true, true}},
		{"", {false, false, false, false}},
	};
	struct policy *p =
		build("  - { name: mine, domain: [a.test], answer: real, upstream: one, check: [\n"
		      "      { answers: in, of: [near, ads], match: any, rule: far },\n"
		      "      { answers: in, of: [near, ads], match: all, rule: far },\n"
		      "      { answers: out, of: [near, ads], match: any, rule: far },\n"
		      "      { answers: out, of: [near, ads], match: all, rule: far } ] }\n"
		      "  - { name: far, domain: [.], answer: fake, egress: proxy }\n",
			NULL);
	const struct policy_rule *mine = rule_of(p, "mine");
	const struct policy_check *const *learning;
	struct ip_addr v[8];
	const char *list;

	(void)state;
	assert_int_equal(mine->n_checks, 4);
	assert_int_equal(policy_learning(p, &learning), 0);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		size_t n = addresses(cases[i].addresses, v);

		for (size_t j = 0; j < 4; j++) {
			assert_ptr_equal(mine->checks[j].owner, mine);
			assert_ptr_equal(mine->checks[j].rule, rule_of(p, "far"));
			assert_int_equal(policy_check_holds(p, &mine->checks[j], v, n, NULL),
				cases[i].holds[j]);
		}
	}
	/* Who decided: the list of the first address that counts. */
	assert_true(policy_check_holds(
		p, &mine->checks[0], v, addresses("198.51.100.1 203.0.113.1 192.0.2.1", v), &list));
	assert_string_equal(list, "ads");
	/* One that comes v4-mapped all the same. */
	v[0] = (struct ip_addr){.family = IP_V6, .b = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}};
	assert_true(policy_check_holds(p, &mine->checks[0], v, 1, &list));
	assert_string_equal(list, "near");
	assert_false(policy_check_holds(p, &mine->checks[2], v, 1, &list));
	policy_unref(p);
}

/* The first one wins whose rule takes the question. */
static void test_which_check(void **state)
{
	struct policy *p = build(rules, NULL);
	struct asked a;

	(void)state;
	ask(&a, "a.test", DNS_A, "10.1.1.1");
	assert_string_equal(found(p, &a.q, ""), "");
	assert_string_equal(found(p, &a.q, "192.0.2.1"), "");
	assert_string_equal(found(p, &a.q, "198.51.100.1 203.0.113.1"), "gone by ads");
	assert_string_equal(found(p, &a.q, "198.51.100.1 192.0.2.1"), "");
	assert_string_equal(found(p, &a.q, "198.51.100.1"), "far by ads");
	a.q.type = DNS_HTTPS;
	assert_string_equal(found(p, &a.q, "198.51.100.1"), "");
	assert_string_equal(found(p, &a.q, "203.0.113.1"), "gone by ads");
	a.q.type = DNS_AAAA;
	assert_string_equal(found(p, &a.q, "198.51.100.1"), "far by ads");
	a.q.listener = CONF_LISTENER_TUN;
	assert_string_equal(found(p, &a.q, "198.51.100.1"), "");
	ask(&a, "a.test", DNS_A, "192.168.1.1");
	assert_string_equal(found(p, &a.q, "198.51.100.1"), "");
	ask(&a, "a.test", DNS_A, NULL);
	assert_string_equal(found(p, &a.q, "198.51.100.1"), "");
	policy_unref(p);
}

/* What the re-routed question is decided as: its rule, checked no more, faked or never. */
static void test_decide_by_check(void **state)
{
	struct policy *p = build(rules, NULL);
	const struct policy_check *far = &rule_of(p, "mine")->checks[1];
	struct policy_decision d;
	struct asked a;

	(void)state;
	d = policy_check_decide(p, far, ask(&a, "a.test", DNS_A, "10.1.1.1"));
	assert_string_equal(d.rule->name, "far");
	assert_ptr_equal(d.learned, far);
	assert_false(d.never_fake);
	assert_false(d.verify_due);
	/* The rule's own domain does not lie below: learning is not asking for it. */
	d = policy_check_decide(p, far, ask(&a, "a.never.test", DNS_A, "10.1.1.1"));
	assert_true(d.never_fake);
	policy_unref(p);
}

/* --- learned names --- */

static void test_learned_wins(void **state)
{
	struct learned_files *f = files();
	struct policy_decision d;
	struct policy *p;
	struct asked a;

	(void)state;
	write_file("far.learned", "full:a.test\nfull:x.test\nfull:b.never.test\n");
	write_file("gone.learned", "full:gone.lan\nfull:a.example\n");
	p = build(rules, f);
	/* As full names of the other rule, with its other conditions. */
	assert_string_equal(winner(p, "a.test", DNS_A, "10.1.1.1"), "far");
	assert_string_equal(winner(p, "A.TEST", DNS_AAAA, "10.1.1.1"), "far");
	assert_string_equal(winner(p, "www.a.test", DNS_A, "10.1.1.1"), "mine");
	assert_string_equal(winner(p, "a.test", DNS_HTTPS, "10.1.1.1"), "mine");
	assert_string_equal(winner(p, "a.test", DNS_A, "192.168.1.1"), "mine");
	assert_string_equal(winner(p, "b.test", DNS_A, "10.1.1.1"), "mine");
	/* The conditions of the rule with the check do not matter. */
	assert_string_equal(winner(p, "a.test", DNS_A, "10.9.9.9"), "far");
	assert_string_equal(winner(p, "b.test", DNS_A, "10.9.9.9"), "rest");
	assert_string_equal(winner(p, "a.example", DNS_TXT, NULL), "gone");
	/* What stands before that rule is before. */
	d = policy_decide(p, ask(&a, "x.test", DNS_A, "10.1.1.1"));
	assert_string_equal(d.rule->name, "far");
	assert_int_equal(d.also, 1);
	assert_ptr_equal(d.learned, &rule_of(p, "mine")->checks[1]);
	assert_false(d.verify_due);
	d = policy_decide(p, ask(&a, "b.test", DNS_A, "10.1.1.1"));
	assert_null(d.learned);
	assert_true(policy_decide(p, ask(&a, "b.never.test", DNS_A, "10.1.1.1")).never_fake);
	/* The name was not built in before it was learned. */
	d = policy_decide(p, ask(&a, "gone.lan", DNS_A, "10.1.1.1"));
	assert_string_equal(d.rule->name, "gone");
	assert_int_equal(d.builtin, POLICY_BUILTIN_NONE);
	/* A nameless question. */
	a.q.name = NULL;
	assert_string_equal(policy_decide(p, &a.q).rule->name, "rest");
	policy_unref(p);
	learned_files_free(f);
}

static void test_verification_is_due_once(void **state)
{
	struct learned_files *f = files();
	int64_t now_s = (int64_t)time(NULL);
	struct policy *p;
	struct asked a;

	(void)state;
	write_learned("far.learned", "a.test", 2 * 86400);
	p = build(rules, f);
	ask(&a, "a.test", DNS_A, "10.1.1.1");
	assert_false(policy_decide(p, &a.q).verify_due); /* only looked at */
	a.q.now_s = now_s;
	a.q.type = DNS_HTTPS;
	assert_false(policy_decide(p, &a.q).verify_due); /* not the rule's */
	a.q.type = DNS_A;
	assert_true(policy_decide(p, &a.q).verify_due);
	assert_false(policy_decide(p, &a.q).verify_due); /* somebody does it */
	assert_non_null(policy_decide(p, &a.q).learned);
	policy_unref(p);
	learned_files_free(f);
}

/* Rules that share a file: the one whose name it is has learned it, asks for it, and it is no
 * built-in name if it was none to that rule. */
static void test_a_table_of_two_rules(void **state)
{
	static const char shared[] =
		"  - { name: mine, domain: [a.test], answer: real, upstream: one,\n"
		"      check: { answers: in, of: ads, rule: far, learn: far.learned } }\n"
		"  - { name: house, domain: [lan], answer: real, upstream: two,\n"
		"      check: { answers: out, of: near, rule: far, learn: far.learned } }\n"
		"  - { name: far, domain: [far.example], answer: fake, egress: proxy }\n"
		"  - { name: rest, domain: [.], answer: real, upstream: two }\n";
	struct learned_files *f = files();
	struct policy_decision d;
	struct policy *p;
	struct asked a;

	(void)state;
	write_file("far.learned", "full:x.lan # asked=1767300000\nfull:b.test # asked=1767300000\n"
				  "full:a.test # asked=1767300000\n");
	p = build(shared, f);
	ask(&a, "x.lan", DNS_A, "10.1.1.1");
	a.q.now_s = 1767300000;
	d = policy_decide(p, &a.q);
	assert_string_equal(d.rule->name, "far");
	assert_string_equal(d.learned->owner->name, "house");
	assert_int_equal(d.builtin, POLICY_BUILTIN_NONE);
	assert_true(d.verify_due);
	ask(&a, "a.test", DNS_A, "10.1.1.1");
	assert_string_equal(policy_decide(p, &a.q).learned->owner->name, "mine");
	ask(&a, "b.test", DNS_A, "10.1.1.1"); /* no rule's of today: it stays, unasked */
	a.q.now_s = 1767300000;
	d = policy_decide(p, &a.q);
	assert_string_equal(d.rule->name, "far");
	assert_false(d.verify_due);
	policy_unref(p);
	learned_files_free(f);
}

/* The tables outlive policies; each policy that learns holds its own. */
static void test_reload_keeps_tables(void **state)
{
	struct learned_files *f = files();
	const struct policy_check *const *learning;
	struct learned_why why = {.list = "near"};
	struct policy *p = build(rules, f), *next;
	struct learned *far;
	struct asked a;

	(void)state;
	assert_int_equal(policy_learning(p, &learning), 2);
	assert_ptr_equal(learning[0], &rule_of(p, "mine")->checks[0]);
	assert_ptr_equal(learning[1], &rule_of(p, "mine")->checks[1]);
	far = learning[1]->learned;
	ask(&a, "new.test", DNS_A, "10.1.1.1");
	assert_int_equal(learned_add(far, &a.name, &why, (int64_t)time(NULL)), 1);
	(void)unlink(path_in("far.learned")); /* not read again */
	assert_int_equal(try_build(rules, f, p, &next), 0);
	policy_unref(p);
	assert_int_equal(policy_learning(next, &learning), 2);
	assert_ptr_equal(learning[1]->learned, far);
	assert_string_equal(winner(next, "new.test", DNS_A, "10.1.1.1"), "far");
	policy_unref(next);
	learned_files_free(f);
}

static void test_files_are_only_read_for_check(void **state)
{
	const struct policy_check *const *learning;
	struct policy *p;

	(void)state;
	write_file("far.learned", "full:a.test\n");
	p = build(rules, NULL);
	assert_int_equal(policy_learning(p, &learning), 0);
	assert_string_equal(winner(p, "a.test", DNS_A, "10.1.1.1"), "mine");
	policy_unref(p);
	assert_int_not_equal(access(path_in("gone.learned"), F_OK), 0);
}

static void test_a_folder_that_nobody_makes(void **state)
{
	static const char *const paths[] = {"made/f", "not/made/f"};
	char yaml[512];
	struct policy *p;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		(void)snprintf(yaml, sizeof yaml,
			"  - { name: mine, domain: [a.test], answer: real, upstream: one,\n"
			"      check: { answers: in, of: near, rule: far, learn: %s } }\n"
			"  - { name: far, domain: [.], answer: fake, egress: proxy }\n",
			paths[i]);
		assert_int_equal(try_build(yaml, NULL, NULL, &p), 0);
		assert_int_equal(strstr(told, "warning: rules.mine.check.learn: ") != NULL, i == 1);
		policy_unref(p);
	}
}

/* Told once, whoever reads it, and no policy comes of it. */
static void test_a_file_that_is_a_folder(void **state)
{
	static const char shared[] =
		"  - { name: mine, domain: [a.test], answer: real, upstream: one, check: [\n"
		"      { answers: in, of: near, rule: far, learn: far.learned },\n"
		"      { answers: in, of: ads, rule: far, learn: far.learned } ] }\n"
		"  - { name: far, domain: [.], answer: fake, egress: proxy }\n";
	struct learned_files *f = files();
	struct policy *p;

	(void)state;
	assert_int_equal(mkdir(path_in("far.learned"), 0700), 0);
	assert_int_equal(try_build(shared, NULL, NULL, &p), -EINVAL);
	assert_int_equal(told_errors, 1);
	assert_non_null(strstr(told, "far.learned"));
	assert_int_equal(try_build(rules, f, NULL, &p), -EINVAL);
	assert_int_equal(told_errors, 1);
	assert_int_equal(rmdir(path_in("far.learned")), 0);
	learned_files_free(f);
}

static void test_lists_without_addresses(void **state)
{
	struct policy *p;

	(void)state;
	assert_int_equal(
		try_build("  - { name: mine, domain: [a.test], answer: real, upstream: one,\n"
			  "      check: { answers: out, of: never, rule: far } }\n"
			  "  - { name: far, domain: [.], answer: fake, egress: proxy,\n"
			  "      unless: { resolves_in: never, egress: direct } }\n",
			NULL, NULL, &p),
		0);
	assert_non_null(strstr(told, "rules.mine.check.of: never has no addresses, and so every "
				     "answer is out of it"));
	assert_non_null(strstr(told, "rules.far.unless.resolves_in: never has names and no "
				     "addresses"));
	policy_unref(p);
}

/* --- traffic --- */

static void test_traffic(void **state)
{
	struct learned_files *f = files();
	struct ip_addr near, far;
	struct policy *p;
	struct asked a;

	(void)state;
	assert_int_equal(ip_addr_parse("192.0.2.1", &near), 0);
	assert_int_equal(ip_addr_parse("198.51.100.1", &far), 0);
	write_file("gone.learned", "full:a.test\n");
	p = build(rules, f);
	/* To a real address: by learned names, else by what the address tells. */
	ask(&a, "a.test", DNS_A, "10.1.1.1");
	a.q.listener = 0;
	a.q.to = &near;
	assert_string_equal(policy_decide(p, &a.q).rule->name, "gone");
	ask(&a, "b.test", DNS_A, "10.1.1.1");
	a.q.listener = 0;
	a.q.to = &near;
	assert_string_equal(policy_decide(p, &a.q).rule->name, "mine");
	assert_int_equal(ip_addr_parse("203.0.113.9", &near), 0);
	assert_string_equal(policy_decide(p, &a.q).rule->name, "gone");
	a.q.to = &far; /* its rule is for queries of one listener */
	assert_string_equal(policy_decide(p, &a.q).rule->name, "mine");
	/* To a fake address: that was told because of a check, which may not have learned it. */
	a.q.to = NULL;
	a.q.maker = policy_id("far");
	assert_string_equal(policy_decide(p, &a.q).rule->name, "far");
	assert_int_equal(ip_addr_parse("192.168.1.1", &a.q.client), 0);
	assert_string_equal(policy_decide(p, &a.q).rule->name, "mine");
	a.q.maker = policy_id("rest");
	assert_string_equal(policy_decide(p, &a.q).rule->name, "mine");
	policy_unref(p);
	learned_files_free(f);
}

/* --- explain --- */

static char explained[4096];

static void explain_list(void *arg, const struct policy_explain_list *l)
{
	(void)arg;
	(void)l;
}

static void explain_rule(void *arg, const struct policy_explain_rule *r)
{
	size_t n = strlen(explained);

	(void)arg;
	(void)snprintf(explained + n, sizeof explained - n, "%s %s: %s\n", r->matched ? "+" : "-",
		r->name, r->why);
}

/* As it is decided, too. */
static const char *explain(
	const struct policy *p, const char *name, uint16_t type, const char *client)
{
	const struct policy_explain_sink sink = {.list = explain_list, .rule = explain_rule};
	struct policy_decision explaining, deciding;
	struct asked a;

	ask(&a, name, type, client);
	explained[0] = 0;
	explaining = policy_explain(p, &a.q, &sink);
	deciding = policy_decide(p, &a.q);
	assert_ptr_equal(explaining.rule, deciding.rule);
	assert_ptr_equal(explaining.learned, deciding.learned);
	assert_int_equal(explaining.also, deciding.also);
	assert_int_equal(explaining.builtin, deciding.builtin);
	assert_int_equal(explaining.never_fake, deciding.never_fake);
	return explained;
}

static void test_explain(void **state)
{
	struct learned_files *f = files();
	struct policy *p;

	(void)state;
	write_file("far.learned", "full:a.test\n");
	write_file("gone.learned", "full:gone.lan\n");
	p = build(rules, f);
	assert_string_equal(explain(p, "a.test", DNS_A, "10.1.1.1"),
		"- gone: no domain of the rule holds the name\n"
		"- mark: no domain of the rule holds the name\n"
		"+ far: learned from the check of rule mine (list ads near); unless in near: "
		"egress direct\n");
	assert_string_equal(explain(p, "gone.lan", DNS_TXT, NULL),
		"- gone: no domain of the rule holds the name\n"
		"- mark: no domain of the rule holds the name\n"
		"+ gone: learned from the check of rule mine (list ads)\n");
	assert_string_equal(explain(p, "x.test", DNS_A, "10.1.1.1"),
		"- gone: no domain of the rule holds the name\n"
		"+ mark: domain: x.test is at or above the name; goes on, and adds 4#inet#t#s\n"
		"+ mine: domain: test is at or above the name, client 10.1.1.1 is in all others"
		"; check: any address in ads: rule gone, learned"
		"; check: all addresses out of ads near: rule far, learned\n");
	policy_unref(p);
	learned_files_free(f);
}

/* --- what else a rule says of its sets --- */

static void test_sets_are_copied(void **state)
{
	char table[] = "t", name[] = "s", key[] = "$addr . 443", value[] = "0x10";
	struct conf_set sets[] = {{.table = table,
					  .name = name,
					  .key = key,
					  .value = value,
					  .has_ttl = true,
					  .ttl = {.fixed_s = 7}},
		{.table = table, .name = name}};
	struct conf_rule rule = {.name = "r",
		.egress = -1,
		.sets = sets,
		.n_sets = 2,
		.push = CONF_PUSH_ASYNC,
		.push_timeout_ms = 20,
		.conntrack = CONF_CONNTRACK_FORGET};
	struct config config = {.path = "c.yaml", .rules = &rule, .n_rules = 1};
	const struct policy_build_config c = {.config = &config, .report = tell};
	const struct policy_rule *r;
	struct policy *p;

	(void)state;
	assert_int_equal(policy_build(&c, &p), 0);
	memset(key, 'x', sizeof key - 1);
	memset(value, 'x', sizeof value - 1);
	memset(sets, 0, sizeof sets);
	r = rule_of(p, "r");
	assert_string_equal(r->sets[0].key, "$addr . 443");
	assert_string_equal(r->sets[0].value, "0x10");
	assert_true(r->sets[0].has_ttl);
	assert_int_equal(r->sets[0].ttl.fixed_s, 7);
	assert_null(r->sets[1].key);
	assert_null(r->sets[1].value);
	assert_false(r->sets[1].has_ttl);
	assert_int_equal(r->push, CONF_PUSH_ASYNC);
	assert_int_equal(r->push_timeout_ms, 20);
	assert_true(r->conntrack_forget);
	policy_unref(p);
}

#define TEST(f) cmocka_unit_test_setup(f, forget)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_in_out_any_all),
		TEST(test_which_check),
		TEST(test_decide_by_check),
		TEST(test_learned_wins),
		TEST(test_verification_is_due_once),
		TEST(test_a_table_of_two_rules),
		TEST(test_reload_keeps_tables),
		TEST(test_files_are_only_read_for_check),
		TEST(test_a_folder_that_nobody_makes),
		TEST(test_a_file_that_is_a_folder),
		TEST(test_lists_without_addresses),
		TEST(test_traffic),
		TEST(test_explain),
		TEST(test_sets_are_copied),
	};

	return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
