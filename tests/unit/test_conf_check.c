/* `check` of rules: values, what must hold between them, and who is asked then. */
#include "tests/unit/conf_messages.h"

#include <stdio.h>

#define BASE                                                                                       \
	"upstreams: {near: {servers: tls://192.0.2.1}, far: {servers: tls://192.0.2.2}}\n"         \
	"default: {upstream: near}\nfakeip: {pool6: off, except: [cn, de]}\n"                      \
	"egress: {d: {type: direct, upstream: near}, p: {type: socks5, server: 192.0.2.9}}\n"      \
	"lists: {cn: a.txt, de: [b.txt, c.txt]}\nrules:\n"
/* The rule is in line 7, what it leads to in line 8. */
#define OTHER	     "- {name: away, domain: y, answer: fake, egress: p}\n"
#define RULE(keys)   BASE "- {name: r, domain: x, answer: real, " keys "}\n" OTHER
#define CHECKS(keys) RULE("check: {answers: out, of: cn, rule: away, " keys "}")

static void defaults(void **state)
{
	struct messages m;
	struct config *c = parse(RULE("check: {answers: out, of: cn, rule: away}"), &m);
	const struct conf_check *k = c->rules[0].checks;

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(c->rules[0].n_checks, 1);
	assert_int_equal(k->answers, CONF_CHECK_OUT);
	assert_int_equal(k->n_lists, 1);
	assert_int_equal(k->lists[0], 0);
	assert_int_equal(k->match, CONF_CHECK_ALL);
	assert_int_equal(k->rule, 1);
	assert_null(k->learn);
	assert_int_equal(k->line, 7);
	conf_free(c);
}

/* The first that holds decides, so their order counts; a rule behind or before. */
static void several(void **state)
{
	struct messages m;
	const char *text = BASE OTHER
		"- {name: r, answer: real, check: [{answers: in, of: [de, cn], match: any, rule: "
		"last, learn: l/far.txt, capacity: 1m, max_age: 0, verify: 12h}, {answers: out, "
		"of: de, match: all, rule: away, learn: /away.txt}]}\n"
		"- {name: last, answer: block}\n";
	struct config *c = parse_len("/etc/t/t.yaml", text, strlen(text), &m);
	const struct conf_check *k = c->rules[1].checks;

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(c->rules[1].n_checks, 2);
	assert_int_equal(k[0].answers, CONF_CHECK_IN);
	assert_int_equal(k[0].n_lists, 2);
	assert_int_equal(k[0].lists[0], 1);
	assert_int_equal(k[0].match, CONF_CHECK_ANY);
	assert_int_equal(k[0].rule, 2);
	assert_string_equal(k[0].learn, "/etc/t/l/far.txt");
	assert_int_equal(k[0].capacity, 1000000);
	assert_int_equal(k[0].max_age_s, 0);
	assert_int_equal(k[0].verify_s, 43200);
	assert_int_equal(k[1].rule, 0);
	assert_string_equal(k[1].learn, "/away.txt");
	assert_int_equal(k[1].capacity, 10000);
	assert_int_equal(k[1].max_age_s, 30 * 86400);
	assert_int_equal(k[1].verify_s, 86400);
	conf_free(c);
}

static void wrong_values(void **state)
{
	static const struct wrong cases[] = {
		{RULE("check: {}"),
			"7:45: rules[0].check.answers: is missing; allowed: in, out\n"
			"7:45: rules[0].check.of: is missing; allowed: a name in lists\n"
			"7:45: rules[0].check.rule: is missing; allowed: a name in rules\n"},
		{RULE("check: cn"), "7:45: rules[0].check: is a single value; allowed: a map, a "
				    "list of maps\n"},
		{RULE("check: {answers: on, of: us, match: some, rule: Away, learn: ''}"),
			"7:55: rules[0].check.answers: 'on' is unknown; allowed: in, out\n"
			"7:63: rules[0].check.of: there is no list named 'us'; allowed: cn, de\n"
			"7:74: rules[0].check.match: 'some' is unknown; allowed: any, all\n"
			"7:86: rules[0].check.rule: there is no rule named 'Away'; allowed: r, "
			"away\n"
			"7:99: rules[0].check.learn: is empty; allowed: a path\n"},
		{CHECKS("learn: f, capacity: 0, max_age: 3651d, verify: 1500ms"),
			"7:100: rules[0].check.capacity: '0' is out of bounds; allowed: 1 to 1m\n"
			"7:112: rules[0].check.max_age: '3651d' is out of bounds; allowed: 0 to "
			"3650d\n"
			"7:127: rules[0].check.verify: '1500ms' is not a whole number of seconds; "
			"allowed: 0 to 3650d\n"},
		{CHECKS("learn: f, capacity: 1000001"),
			"7:100: rules[0].check.capacity: '1000001' is out of bounds; allowed: 1 to "
			"1m\n"},
		{CHECKS("capacity: 5, max_age: 1d, verify: 0"),
			"7:80: rules[0].check.capacity: needs a file to learn into; allowed: with "
			"learn\n"
			"7:93: rules[0].check.max_age: needs a file to learn into; allowed: with "
			"learn\n"
			"7:106: rules[0].check.verify: needs a file to learn into; allowed: with "
			"learn\n"},
		{CHECKS("learned: f"),
			"7:80: rules[0].check.learned: unknown key; allowed: learn, verify, match, "
			"rule, answers, of, capacity, max_age\n"},
	};

	(void)state;
	CHECK(cases);
}

static void wrong_rules(void **state)
{
	static const struct wrong cases[] = {
		{BASE "- {name: r, domain: x, answer: real, check: {answers: in, of: cn, rule: "
		      "r}}\n",
			"7:73: rules[0].check.rule: is the rule itself; allowed: another rule\n"},
		{BASE "- {name: r, domain: x, answer: real, check: {answers: in, of: cn, rule: "
		      "s}}\n- {name: s, also: yes, ipset: s}\n",
			"7:73: rules[0].check.rule: has also: yes and decides nothing; allowed: a "
			"rule without also\n"},
		{BASE "- {name: r, domain: x, answer: real, check: {answers: in, of: cn, rule: "
		      "s}}\n- {name: s, to: cn, answer: real, egress: p}\n",
			"7:73: warning: rules[0].check.rule: has the condition to, which no query "
			"meets: the check holds for none\n"
			"8:17: note: rules[1].to: no query has a destination: the rule is for "
			"traffic to real addresses alone\n"},
		{BASE "- {name: s, also: yes, ipset: s, check: {answers: in, of: cn, rule: "
		      "away}}\n" OTHER,
			"7:34: rules[0].check: decides, and a rule with also: yes decides nothing; "
			"allowed: nftset, nftmap, ipset, set_ttl, push, push_timeout, on_error, "
			"conntrack\n"},
		{BASE "- {name: s, domain: x, answer: fake, egress: p, check: {answers: in, of: "
		      "cn, rule: away}}\n" OTHER,
			"7:49: rules[0].check: is no option of answer: fake; allowed: with answer: "
			"real\n"},
		{BASE "- {name: s, domain: x, answer: block, check: {answers: in, of: cn, rule: "
		      "away}}\n" OTHER,
			"7:39: rules[0].check: is no option of answer: block; allowed: with "
			"answer: real\n"},
		/* Two that lead to each other: a name is led on once. */
		{BASE "- {name: r, domain: x, answer: real, check: {answers: in, of: cn, rule: "
		      "s}}\n- {name: s, domain: y, answer: real, check: {answers: out, of: cn, "
		      "rule: r}}\n",
			""},
		/* Behind a rule that takes every name it is reached all the same. */
		{BASE "- {name: r, answer: real, check: {answers: out, of: cn, rule: away}}\n" OTHER
		      "- {name: lost, domain: z, answer: block}\n",
			"9:3: warning: rules[2]: is never reached: the rule 'r' takes every "
			"name\n"},
	};

	(void)state;
	CHECK(cases);
}

#define LEARN(keys)                                                                                \
	"{name: a, domain: x, answer: real, check: {answers: out, of: cn, rule: away, learn: "     \
	"f.txt" keys "}}\n"

static void one_file_is_learned_into_in_one_way(void **state)
{
	static const struct wrong cases[] = {
		{BASE "- " LEARN("") "- {name: b, domain: z, answer: real, check: {answers: in, "
				     "of: de, match: any, rule: away, learn: f.txt}}\n" OTHER,
			""},
		{BASE "- " LEARN(", capacity: 10000, verify: 24h") "- {name: b, domain: z, answer: "
								   "real, check: {answers: in, of: "
								   "de, rule: away, learn: "
								   "f.txt}}\n" OTHER,
			""},
		{BASE "- " LEARN("") "- {name: b, domain: z, answer: real, check: [{answers: in, "
				     "of: de, rule: last, learn: f.txt, max_age: 1d}, {answers: "
				     "in, of: de, rule: away, learn: g.txt}]}\n" OTHER
				     "- {name: last, domain: z, answer: block}\n",
			"8:74: rules[1].check[0].rule: differs from that of the check in line 7, "
			"which learns into the same file; allowed: the same rule, capacity, "
			"max_age and verify, or another file\n"
			"8:103: rules[1].check[0].max_age: differs from that of the check in line "
			"7, which learns into the same file; allowed: the same rule, capacity, "
			"max_age and verify, or another file\n"},
		{BASE "- " LEARN(", capacity: 5, verify: 0") "- {name: b, domain: z, answer: real, "
							     "check: {answers: in, of: de, rule: "
							     "away, learn: f.txt}}\n" OTHER,
			"8:45: rules[1].check.capacity: differs from that of the check in line 7, "
			"which learns into the same file; allowed: the same rule, capacity, "
			"max_age and verify, or another file\n"
			"8:45: rules[1].check.verify: differs from that of the check in line 7, "
			"which learns into the same file; allowed: the same rule, capacity, "
			"max_age and verify, or another file\n"},
	};

	(void)state;
	CHECK(cases);
}

static void its_file_is_nobody_elses(void **state)
{
	static const struct {
		const char *file, *whose;
	} cases[] = {{"c.txt", "lists.de"}, {"fake.db", "fakeip.store"},
		{"cache.db", "cache.store"}, {"pushed.json", "records.store"},
		{"r.json", "records.files"}, {"lines.json", "records.lines_file"},
		{"leases", "leases.files"}, {"t.yaml", "the configuration"},
		{"./c.txt", "lists.de"}, {".//./t.yaml", "the configuration"}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[2048], want[256];
		struct messages m;

		snprintf(text, sizeof text,
			"upstreams: {near: {servers: tls://192.0.2.1}}\n"
			"fakeip: {pool6: off, store: fake.db}\ncache: {store: cache.db}\n"
			"records: {files: r.json, lines_file: lines.json, store: pushed.json}\n"
			"leases: {files: leases}\nlists: {cn: a.txt, de: [b.txt, c.txt]}\nrules:\n"
			"- {name: r, answer: real, check: {answers: in, of: [cn, de], rule: o, "
			"learn: %s}}\n- {name: o, domain: x, answer: block}\n",
			cases[i].file);
		snprintf(want, sizeof want,
			"/etc/t/t.yaml:8:78: rules[0].check.learn: is the file of %s, too; "
			"allowed: a file of its own\n",
			cases[i].whose);
		assert_null(parse_len("/etc/t/t.yaml", text, strlen(text), &m));
		assert_string_equal(m.text, want);
	}
}

static void a_folder_is_no_file(void **state)
{
	static const struct wrong cases[] = {
		{BASE "- {name: a, domain: x, answer: real, check: {answers: out, of: cn, rule: "
		      "away, learn: f/}}\n" OTHER,
			"7:87: rules[0].check.learn: is a folder; allowed: a file\n"},
	};

	(void)state;
	CHECK(cases);
}

static void at_most_256_files(void **state)
{
	static char text[65536];
	struct messages m;
	size_t n = (size_t)snprintf(text, sizeof text, BASE OTHER);

	(void)state;
	for (unsigned i = 0; i < 257; i++)
		n += (size_t)snprintf(text + n, sizeof text - n,
			"- {name: r%u, domain: x, answer: real, check: {answers: out, of: cn, "
			"rule: away, learn: %u}}\n",
			i, i);
	assert_true(n < sizeof text);
	assert_null(parse(text, &m));
	assert_string_equal(m.text,
		"264:90: rules[257].check.learn: more files are learned into than that; allowed: "
		"256 files at most\n");
}

#define OPEN                                                                                       \
	"upstreams: {safe: {servers: tls://192.0.2.1}, seen: {servers: udp://192.0.2.2}}\n"        \
	"default: {upstream: safe}\nfakeip: {pool6: off, except: cn}\n"                            \
	"egress: {d: {type: direct, upstream: seen}, p: {type: socks5, server: 192.0.2.9}}\n"      \
	"lists: {cn: a.txt}\nrules:\n"                                                             \
	"- {name: r, answer: real, upstream: safe, check: {answers: out, of: cn, rule: o}}\n"
#define ASKED  "7:79: note: rules[0].check.rule: names that the check holds for are asked at 'seen'"
#define TOO    ASKED ", too\n"
#define OPENLY ASKED ", neither encrypted nor reached through a proxy\n"

/* What is asked, where, in the open, of names that a check leads on. */
static void who_is_asked_then(void **state)
{
	static const struct wrong cases[] = {
		{OPEN "- {name: o, domain: x, answer: real, upstream: seen}\n", TOO OPENLY},
		{OPEN "- {name: o, domain: x, answer: real, upstream: safe}\n", ""},
		{OPEN "- {name: o, domain: x, answer: fake, egress: d}\n", TOO OPENLY},
		{OPEN "- {name: o, domain: x, answer: fake, egress: p}\n", ""},
		{OPEN "- {name: o, domain: x, answer: block}\n", ""},
		{OPEN "- {name: o, domain: x, answer: fake, egress: p, upstream: seen}\n",
			"7:79: note: rules[0].check.rule: names that the check holds for and that "
			"are not faked (fakeip.except, gateway.lame_duck) are asked at 'seen', "
			"neither encrypted nor reached through a proxy\n"},
		{OPEN "- {name: o, domain: x, answer: fake, egress: p, unless: {resolves_in: cn, "
		      "egress: d}}\n",
			OPENLY "8:57: note: rules[1].unless: every name of the rule is asked at "
			       "'seen'\n"},
	};

	(void)state;
	CHECK(cases);
}

/* A list that only a check names is used. */
static void lists_of_a_check_are_used(void **state)
{
	static const struct wrong cases[] = {
		{"upstreams: {u: {servers: tls://192.0.2.1}}\nfakeip: {pool6: off}\nlists: {cn: "
		 "a.txt}\nrules:\n- {name: r, answer: real, check: {answers: out, of: cn, rule: "
		 "o}}\n- {name: o, domain: x, answer: block}\n",
			""},
	};

	(void)state;
	CHECK(cases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(several),
		cmocka_unit_test(wrong_values),
		cmocka_unit_test(wrong_rules),
		cmocka_unit_test(one_file_is_learned_into_in_one_way),
		cmocka_unit_test(its_file_is_nobody_elses),
		cmocka_unit_test(a_folder_is_no_file),
		cmocka_unit_test(at_most_256_files),
		cmocka_unit_test(who_is_asked_then),
		cmocka_unit_test(lists_of_a_check_are_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
