/* Conditions of rules, local answers, rules with `also`: values and messages. */
#include "tests/unit/conf_messages.h"

#include <stdio.h>

#define BASE                                                                                       \
	"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {upstream: u}\n"                     \
	"fakeip: {pool6: off, except: [ads, cn]}\n"                                                \
	"egress: {d: {type: direct, upstream: u}, p: {type: socks5, server: 192.0.2.9}}\nlists: "  \
	"{ads: a.txt, cn: b.txt}\n"
/* The rule is in line 7. */
#define RULE(keys) BASE "rules:\n- {name: r, " keys "}\n"

#define PATTERNS                                                                                   \
	"NAME (it and all below), full:NAME, keyword:TEXT, regexp:EXPRESSION, '.' (every name), "  \
	"unqualified (a name without a dot)\n"

static void patterns_of_names(void **state)
{
	struct messages m;
	struct config *c = parse(
		RULE("domain: [A.Example., 'full:B.', 'keyword:Ads.', 'regexp:^A\\.b:[0-9]+$', "
		     "unqualified, 'full:unqualified', .], answer: real"),
		&m);
	static const char *const want[] = {"a.example", "full:b", "keyword:ads.",
		"regexp:^A\\.b:[0-9]+$", "full:unqualified", "."};
	const struct conf_rule *r = c->rules;

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(r->domain.n, sizeof want / sizeof want[0]);
	for (size_t i = 0; i < r->domain.n; i++)
		assert_string_equal(r->domain.v[i], want[i]);
	assert_true(r->unqualified);
	conf_free(c);
	c = parse(RULE("domain: unqualified, answer: real"), &m);
	assert_string_equal(m.text, "");
	assert_true(c->rules[0].unqualified);
	assert_int_equal(c->rules[0].domain.n, 0);
	conf_free(c);
}

/* Lists by name, other names inline. */
static void exceptions(void **state)
{
	struct messages m;
	struct config *c = parse(
		RULE("except: [cn, a.example, ads, 'full:localhost', 'keyword:x', 'regexp:y', "
		     "lan.], answer: real"),
		&m);
	static const char *const want[] = {
		"a.example", "full:localhost", "keyword:x", "regexp:y", "lan"};
	const struct conf_rule *r = c->rules;

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(r->n_except_lists, 2);
	assert_int_equal(r->except_lists[0], 1);
	assert_int_equal(r->except_lists[1], 0);
	assert_int_equal(r->except_names.n, sizeof want / sizeof want[0]);
	for (size_t i = 0; i < r->except_names.n; i++)
		assert_string_equal(r->except_names.v[i], want[i]);
	conf_free(c);
}

static void words(void **state)
{
	static const struct {
		const char *keys;
		enum conf_block block;
		enum conf_filter filter;
		unsigned listeners;
	} cases[] = {
		{"answer: block", CONF_BLOCK_NXDOMAIN, CONF_FILTER_NONE, 0},
		{"answer: block, block: nxdomain", CONF_BLOCK_NXDOMAIN, CONF_FILTER_NONE, 0},
		{"answer: block, block: refused", CONF_BLOCK_REFUSED, CONF_FILTER_NONE, 0},
		{"answer: block, block: zero", CONF_BLOCK_ZERO, CONF_FILTER_NONE, 0},
		{"answer: block, block: nodata", CONF_BLOCK_NODATA, CONF_FILTER_NONE, 0},
		{"answer: real, filter: none", 0, CONF_FILTER_NONE, 0},
		{"answer: real, filter: ipv4", 0, CONF_FILTER_IPV4, 0},
		{"answer: real, filter: ipv6", 0, CONF_FILTER_IPV6, 0},
		{"answer: real, filter: auto", 0, CONF_FILTER_AUTO, 0},
		{"answer: real, listener: tun", 0, 0, CONF_LISTENER_TUN},
		{"answer: real, listener: tproxy", 0, 0, CONF_LISTENER_TPROXY},
		{"answer: real, listener: udp", 0, 0, CONF_LISTENER_UDP},
		{"answer: real, listener: [tcp, tun]", 0, 0, CONF_LISTENER_TCP | CONF_LISTENER_TUN},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[1024];
		struct messages m;
		struct config *c;

		snprintf(text, sizeof text, RULE("domain: x, %s"), cases[i].keys);
		c = parse(text, &m);
		assert_string_equal(m.text, "");
		assert_int_equal(c->rules[0].block, cases[i].block);
		assert_int_equal(c->rules[0].filter, cases[i].filter);
		assert_int_equal(c->rules[0].listeners, cases[i].listeners);
		conf_free(c);
	}
}

static void wrong_conditions(void **state)
{
	static const struct wrong cases[] = {
		{RULE("domain: ['keyword:', 'keyword:a b', 'regexp:', 'domain:x', 'full:', '+.x'], "
		      "answer: real"),
			"7:22: rules[0].domain[0]: '' is too short for a part of a domain name; "
			"allowed: " PATTERNS
			"7:34: rules[0].domain[1]: 'a b' has a character that no domain name has; "
			"allowed: " PATTERNS
			"7:49: rules[0].domain[2]: the expression is empty; allowed: " PATTERNS
			"7:60: rules[0].domain[3]: 'domain:x' has an unknown prefix; "
			"allowed: " PATTERNS
			"7:72: rules[0].domain[4]: '' is too short for a domain name; "
			"allowed: " PATTERNS
			"7:81: rules[0].domain[5]: '+.x' begins with a label that no name has; "
			"allowed: " PATTERNS},
		{RULE("except: [adds, '.', 'full:a b', unqualified], answer: real"),
			"7:22: rules[0].except[0]: there is no list named 'adds'; allowed: ads, "
			"cn; or NAME with a dot, full:NAME\n"
			"7:28: rules[0].except[1]: '.' takes every name: the rule would take "
			"none; allowed: a name in lists, or NAME (it and all below), full:NAME, "
			"keyword:TEXT, regexp:EXPRESSION\n"
			"7:33: rules[0].except[2]: 'a b' has a character that no domain name has; "
			"allowed: a name in lists, or NAME (it and all below), full:NAME, "
			"keyword:TEXT, regexp:EXPRESSION\n"
			"7:45: rules[0].except[3]: there is no list named 'unqualified'; allowed: "
			"ads, cn; or NAME with a dot, full:NAME\n"},
		{RULE("to: [cn, de], answer: real"),
			"7:17: note: rules[0].to: no query has a destination: the rule is for "
			"traffic to real addresses alone\n"
			"7:22: rules[0].to[1]: there is no list named 'de'; allowed: ads, cn\n"},
		{RULE("domain: x, to: cn, answer: real"), ""},
		{RULE("domain: x, listener: [udp, https, TUN], answer: real"),
			"7:40: rules[0].listener[1]: 'https' is unknown; allowed: tun, tproxy, "
			"udp, tcp\n"
			"7:47: rules[0].listener[2]: 'TUN' is unknown; allowed: tun, tproxy, udp, "
			"tcp\n"},
		{RULE("domain: [], list: ~, to: [], listener: , answer: real"),
			"7:21: rules[0].domain: has no entry; allowed: no such key, to match "
			"everything\n"
			"7:31: rules[0].list: has no entry; allowed: no such key, to match "
			"everything\n"
			"7:38: rules[0].to: has no entry; allowed: no such key, to match "
			"everything\n"
			"7:52: rules[0].listener: has no entry; allowed: no such key, to match "
			"everything\n"},
	};
	static char text[8192];
	struct messages m;
	struct config *c;

	(void)state;
	CHECK(cases);
	snprintf(text, sizeof text, RULE("domain: 'regexp:%04096d', answer: real"), 0);
	c = parse(text, &m);
	assert_string_equal(m.text, "");
	conf_free(c);
	snprintf(text, sizeof text, RULE("domain: 'regexp:%04097d', answer: real"), 0);
	assert_null(parse(text, &m));
	assert_string_equal(m.text, "7:21: rules[0].domain: the expression is longer than 4096 "
				    "bytes; allowed: " PATTERNS);
}

static void wrong_answers(void **state)
{
	static const struct wrong cases[] = {
		{RULE("domain: x"), "7:3: rules[0].answer: is missing; allowed: fake, real, block, "
				    "local\n"},
		{RULE("domain: x, answer: real, block: zero, address: 192.0.2.1, cname: y, "
		      "records: {type: A, rdata: x}"),
			"7:38: rules[0].block: is no option of answer: real; allowed: with answer: "
			"block\n"
			"7:51: rules[0].address: is no option of answer: real; allowed: with "
			"answer: local\n"
			"7:71: rules[0].cname: is no option of answer: real; allowed: with answer: "
			"local\n"
			"7:81: rules[0].records: is no option of answer: real; allowed: with "
			"answer: local\n"},
		{RULE("domain: x, answer: block, filter: ipv4, block: drop"),
			"7:47: warning: rules[0].filter: has no effect with answer: block\n"
			"7:60: rules[0].block: 'drop' is unknown; allowed: nxdomain, refused, "
			"zero, nodata\n"},
		/* Whether a proxy has IPv6 is not known. */
		{BASE "rules:\n- {name: r, domain: x, answer: fake, egress: p, filter: auto}\n"
		      "- {name: s, domain: y, answer: fake, egress: p, filter: ipv6}\n"
		      "- {name: t, domain: z, answer: fake, egress: d, filter: auto}\n",
			"7:57: warning: rules[0].filter: auto has no effect with an egress of type "
			"socks5\n"},
		{RULE("domain: x, answer: local"),
			"7:3: rules[0].address: is missing; answer: local needs something to "
			"answer; allowed: address, cname, records\n"},
		{RULE("domain: x, answer: local, address: [192.0.2.1, 192.0.2.0/24, x]"),
			"7:60: rules[0].address[1]: '192.0.2.0/24' is not an address; allowed: an "
			"address, IPv4 or IPv6\n"
			"7:74: rules[0].address[2]: 'x' is not an address; allowed: an address, "
			"IPv4 or IPv6\n"},
		{RULE("domain: x, answer: local, address: [2001:db8::1, 192.0.2.1], egress: d, "
		      "upstream: u, nftset: inet#t#s, unless: {resolves_in: cn, egress: d}"),
			"7:82: warning: rules[0].egress: has no effect with answer: local\n"
			"7:95: warning: rules[0].upstream: has no effect with answer: local\n"
			"7:106: warning: rules[0].nftset: has no effect with answer: local\n"
			"7:116: rules[0].unless: needs a fake answer; allowed: with answer: "
			"fake\n"},
		{RULE("domain: x, answer: local, cname: y, address: 192.0.2.1"),
			"7:46: rules[0].cname: a name that has a CNAME has no other record; "
			"allowed: cname alone\n"},
		{RULE("domain: x, answer: local, records: [{name: x, type: A, rdata: y}, {data: "
		      "z, labels: [l]}]"),
			"7:50: rules[0].records[0].name: a rule's records have the name that is "
			"asked; allowed: type, ttl, rdata, status\n"
			"7:80: rules[0].records[1].data: unknown key; allowed: type, ttl, rdata, "
			"status\n"
			"7:89: rules[0].records[1].labels: a rule's records are for all clients of "
			"the rule; allowed: type, ttl, rdata, status\n"},
	};

	(void)state;
	CHECK(cases);
}

#define CIRCLE(column, name)                                                                       \
	"7:" column ": rules[0].cname: the rule takes '" name "' itself: its answer would lead "   \
	"back to it; allowed: a name that the rule does not take; see except\n"

/* A cname that is among the rule's own names. */
static void circles(void **state)
{
	static const struct wrong cases[] = {
		{RULE("domain: x.example, answer: local, cname: safe.X.example"),
			CIRCLE("54", "safe.x.example")},
		{RULE("domain: x.example, answer: local, cname: x.example"),
			CIRCLE("54", "x.example")},
		{RULE("domain: x.example, answer: local, cname: safex.example"), ""},
		{RULE("domain: 'full:x.example', answer: local, cname: safe.x.example"), ""},
		{RULE("domain: 'keyword:x', answer: local, cname: axb"), CIRCLE("56", "axb")},
		{RULE("domain: unqualified, answer: local, cname: x"), CIRCLE("56", "x")},
		{RULE("domain: unqualified, answer: local, cname: x.y"), ""},
		{RULE("type: A, answer: local, cname: x.y"), CIRCLE("44", "x.y")},
		{RULE("domain: [a, .], client: 10.0.0.1, answer: local, cname: x.y"),
			CIRCLE("69", "x.y")},
		{RULE("list: ads, answer: local, cname: x.y"), ""}, /* not known here */
		{RULE("domain: x.example, except: safe.x.example, answer: local, cname: "
		      "safe.x.example"),
			""},
		{RULE("domain: x.example, except: cn, answer: local, cname: safe.x.example"), ""},
	};

	(void)state;
	CHECK(cases);
}

#define DECIDES                                                                                    \
	": decides, and a rule with also: yes decides nothing; allowed: nftset, nftmap, ipset, "   \
	"set_ttl, push, push_timeout, on_error, conntrack\n"

static void rules_that_only_add_sets(void **state)
{
	static const struct wrong cases[] = {
		{RULE("also: yes, domain: x, ipset: s, nftset: inet#t#s, set_ttl: 1h, on_error: "
		      "servfail"),
			""},
		/* It takes every name, and the next rules are looked at all the same. */
		{RULE("also: yes, ipset: s") "- {name: b, domain: x, answer: real}\n", ""},
		{RULE("also: no, domain: x, answer: real"), ""},
		{RULE("also: yes, domain: x"),
			"7:3: rules[0].nftset: is missing; a rule with also: yes adds sets and "
			"does nothing else; allowed: nftset, nftmap, ipset\n"},
		{RULE("also: yes, ipset: s, answer: real, egress: d, upstream: u, carry: no, "
		      "unless: {resolves_in: cn, egress: d}, block: zero, filter: auto, address: "
		      "192.0.2.1, cname: x, records: {type: A}"),
			"7:34: rules[0].answer" DECIDES "7:48: rules[0].egress" DECIDES
			"7:59: rules[0].upstream" DECIDES "7:72: rules[0].carry" DECIDES
			"7:83: rules[0].unless" DECIDES "7:121: rules[0].block" DECIDES
			"7:134: rules[0].filter" DECIDES "7:148: rules[0].address" DECIDES
			"7:168: rules[0].cname" DECIDES "7:178: rules[0].records" DECIDES},
		{RULE("also: perhaps, ipset: s"),
			"7:19: rules[0].also: 'perhaps' is neither yes nor no; allowed: yes, no, "
			"true, false, on, off\n"},
		/* Behind a rule that takes every name nothing is added. */
		{RULE("answer: real") "- {name: b, also: yes, ipset: s}\n",
			"8:3: warning: rules[1]: is never reached: the rule 'r' takes every "
			"name\n"},
	};

	(void)state;
	CHECK(cases);
}

static void at_most_64_of_them(void **state)
{
	static char text[16384];
	struct messages m;
	struct config *c;
	size_t n = (size_t)snprintf(text, sizeof text, BASE "rules:\n");

	(void)state;
	for (unsigned i = 0; i < 64; i++)
		n += (size_t)snprintf(text + n, sizeof text - n,
			"- {name: r%u, domain: x%u, also: yes, ipset: s}\n", i, i);
	c = parse(text, &m);
	assert_string_equal(m.text, "");
	conf_free(c);
	snprintf(text + n, sizeof text - n, "- {name: z, also: yes, ipset: s}\n");
	assert_null(parse(text, &m));
	assert_string_equal(m.text, "71:19: rules[64].also: more rules than that have also: yes; "
				    "allowed: 64 at most\n");
}

/* Any condition keeps a rule from taking every name. */
static void rules_that_take_every_name(void **state)
{
	static const char *const conditions[] = {"list: ads", "except: cn", "except: x.y",
		"domain: x, to: cn", "client: '!10.0.0.0/8'", "client: 02:00:5e:10:00:01",
		"listener: tun", "type: A", "domain: unqualified", "domain: 'regexp:.'",
		"domain: ., listener: udp"};

	(void)state;
	for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++) {
		char text[1024];
		struct messages m;

		snprintf(text, sizeof text,
			RULE("%s, answer: real") "- {name: b, domain: z, answer: real}\n",
			conditions[i]);
		conf_free(parse(text, &m));
		assert_string_equal(m.text, "");
		snprintf(text, sizeof text, RULE("answer: block") "- {name: b, %s, answer: real}\n",
			conditions[i]);
		conf_free(parse(text, &m));
		assert_string_equal(m.text, "8:3: warning: rules[1]: is never reached: the rule "
					    "'r' takes every name\n");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns_of_names),
		cmocka_unit_test(exceptions),
		cmocka_unit_test(words),
		cmocka_unit_test(wrong_conditions),
		cmocka_unit_test(wrong_answers),
		cmocka_unit_test(circles),
		cmocka_unit_test(rules_that_only_add_sets),
		cmocka_unit_test(at_most_64_of_them),
		cmocka_unit_test(rules_that_take_every_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
