/* Sets of rules: names, templates, values of maps, times of their own; how they are pushed. */
#include "tests/unit/conf_messages.h"

#include <linux/netfilter.h>
#include <stdio.h>

#define BASE                                                                                       \
	"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {upstream: u}\n"                     \
	"fakeip: {pool6: off}\negress: {p: {type: socks5, server: 192.0.2.9}}\n"
/* The rule is in line 6. */
#define RULE(keys) BASE "rules:\n- {name: r, domain: x, answer: real, " keys "}\n"

static void sets_as_they_are_written(void **state)
{
	static const struct {
		const char *keys, *text, *key, *value;
	} cases[] = {
		{"nftset: 4#inet#t#s", "4#inet#t#s", NULL, NULL},
		{"nftset: '4#inet#t#s = $addr'", "4#inet#t#s", NULL, NULL},
		{"nftset: '4#inet#t#s = $addr . 443'", "4#inet#t#s = $addr . 443", "$addr . 443",
			NULL},
		{"nftset: '4#inet#t#s=443  .\t$addr '", "4#inet#t#s = 443 . $addr", "443 . $addr",
			NULL},
		{"nftset: 't#s =$addr . $client . \"lan0\" . 192.0.2.1 . 2001:db8::1 . 0x10'",
			"ip#t#s = $addr . $client . lan0 . 192.0.2.1 . 2001:db8::1 . 0x10",
			"$addr . $client . lan0 . 192.0.2.1 . 2001:db8::1 . 0x10", NULL},
		{"nftset: \"t#s = $addr . 'eth0.2' . tcp . https\"",
			"ip#t#s = $addr . eth0.2 . tcp . https", "$addr . eth0.2 . tcp . https",
			NULL},
		{"nftmap: '4#inet#t#m = 0x10'", "4#inet#t#m = 0x10", NULL, "0x10"},
		{"nftmap: 'inet#t#m=  192.0.2.1  . 443'", "inet#t#m = 192.0.2.1 . 443", NULL,
			"192.0.2.1 . 443"},
		{"nftmap: '6#inet#t#m = accept'", "6#inet#t#m = accept", NULL, "accept"},
		{"nftmap: '6#inet#t#m = drop'", "6#inet#t#m = drop", NULL, "drop"},
		{"nftmap: '6#inet#t#m = jump   to_vpn '", "6#inet#t#m = jump to_vpn", NULL,
			"jump to_vpn"},
		{"nftmap: '6#inet#t#m = goto a.b'", "6#inet#t#m = goto a.b", NULL, "goto a.b"},
		{"nftmap: '6#inet#t#m = jumper'", "6#inet#t#m = jumper", NULL, "jumper"},
		{"ipset: u", "u", NULL, NULL},
		{"ipset: '4#u = $addr . tcp:443'", "4#u = $addr . tcp:443", "$addr . tcp:443",
			NULL},
		{"ipset: '6#u=192.0.2.0/24 . $addr . icmp:3/1'",
			"6#u = 192.0.2.0/24 . $addr . icmp:3/1", "192.0.2.0/24 . $addr . icmp:3/1",
			NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[1024], buf[CONF_SET_TEXT_MAX];
		struct messages m;
		struct config *c;

		snprintf(text, sizeof text, RULE("%s"), cases[i].keys);
		c = parse(text, &m);
		assert_string_equal(m.text, "");
		assert_int_equal(c->rules[0].n_sets, 1);
		assert_string_equal(
			conf_set_format(&c->rules[0].sets[0], buf, sizeof buf), cases[i].text);
		if (cases[i].key)
			assert_string_equal(c->rules[0].sets[0].key, cases[i].key);
		else
			assert_null(c->rules[0].sets[0].key);
		if (cases[i].value)
			assert_string_equal(c->rules[0].sets[0].value, cases[i].value);
		else
			assert_null(c->rules[0].sets[0].value);
		assert_false(c->rules[0].sets[0].has_ttl);
		conf_free(c);
	}
}

static void fields(void **state)
{
	struct conf_set_field f[CONF_SET_FIELDS_MAX];

	(void)state;
	assert_int_equal(conf_set_fields(NULL, f), 0);
	assert_int_equal(conf_set_fields("443 . $addr . $client . eth0.2 . $clients", f), 5);
	assert_int_equal(f[0].kind, CONF_FIELD_LITERAL);
	assert_int_equal(f[0].len, 3);
	assert_memory_equal(f[0].text, "443", 3);
	assert_int_equal(f[1].kind, CONF_FIELD_ADDR);
	assert_int_equal(f[2].kind, CONF_FIELD_CLIENT);
	assert_int_equal(f[3].kind, CONF_FIELD_LITERAL);
	assert_int_equal(f[3].len, 6);
	assert_memory_equal(f[3].text, "eth0.2", 6);
	assert_int_equal(f[4].kind, CONF_FIELD_LITERAL);
	assert_int_equal(conf_set_fields("jump a", f), 1);
	assert_int_equal(f[0].len, 6);
}

#define NFTSETS                                                                                    \
	"; allowed: 4#inet#TABLE#SET, 6#inet#TABLE#SET, inet#TABLE#SET; inet, ip or ip6; behind "  \
	"it ' = ' and fields such as $addr . 443\n"
#define NFTMAPS                                                                                    \
	"; allowed: 4#inet#TABLE#MAP = VALUE; inet, ip or ip6; VALUE: literals, or accept, drop, " \
	"jump CHAIN, goto CHAIN\n"
#define FIELDS	 "; allowed: fields separated by ' . ', as in $addr . 443\n"
#define LITERALS "; allowed: numbers, addresses, names of ports, protocols and interfaces\n"
#define FOUR	 "1 . 2 . 3 . 4 . "

static void wrong_templates(void **state)
{
	static const struct wrong cases[] = {
		{RULE("nftset: 't#s ='"),
			"6:46: rules[0].nftset: 't#s =' has nothing behind '='" FIELDS},
		{RULE("nftset: 't#s = 443'"),
			"6:46: rules[0].nftset: 't#s = 443' has no $addr; allowed: $addr once\n"},
		{RULE("nftset: 't#s = $addr . $addr'"),
			"6:46: rules[0].nftset: 't#s = $addr . $addr' has $addr more than once; "
			"allowed: $addr once\n"},
		{RULE("nftset: 't#s = $client . $addr . $client'"),
			"6:46: rules[0].nftset: 't#s = $client . $addr . $client' has $client more "
			"than once; allowed: $client once at most\n"},
		{RULE("nftset: 't#s = $addr . $port'"),
			"6:46: rules[0].nftset: '$port' is no variable that is known; allowed: "
			"$addr, $client\n"},
		{RULE("nftset: 't#s = $addr.443'"),
			"6:46: rules[0].nftset: '$addr.443' is no variable that is known; allowed: "
			"$addr, $client\n"},
		{RULE("nftset: ['t#s = $addr 443', 't#s = $addr .', 't#s = . $addr', 't#s = $addr "
		      ". . 443']"),
			"6:47: rules[0].nftset[0]: 't#s = $addr 443' has no field on one side of a "
			"dot, or no dot between two" FIELDS
			"6:66: rules[0].nftset[1]: 't#s = $addr .' has no field on one side of a "
			"dot, or no dot between two" FIELDS
			"6:83: rules[0].nftset[2]: 't#s = . $addr' has nothing behind '='" FIELDS
			"6:100: rules[0].nftset[3]: 't#s = $addr . . 443' has no field on one side "
			"of a dot, or no dot between two" FIELDS},
		{RULE("nftset: ['t#s = $addr . \"lan', 't#s = $addr . \"\"', 't#s = $addr . 1,2', "
		      "'t#s = $addr . a=b']"),
			"6:47: rules[0].nftset[0]: '\"lan' is not a literal" LITERALS
			"6:69: rules[0].nftset[1]: '\"\"' is not a literal" LITERALS
			"6:89: rules[0].nftset[2]: '1,2' is not a literal" LITERALS
			"6:110: rules[0].nftset[3]: 'a=b' is not a literal" LITERALS},
		{RULE("nftset: 't#s = " FOUR FOUR FOUR "13 . 14 . 15 . $addr'"), ""},
		{RULE("nftset: 't#s = " FOUR FOUR FOUR FOUR "$addr'"),
			"6:46: rules[0].nftset: 't#s = " FOUR FOUR FOUR FOUR
			"$ad...' has more than 16 fields" NFTSETS},
		{RULE("nftset: 's = $addr . 443'"),
			"6:46: rules[0].nftset: 's = $addr . 443' is not the name of a set in a "
			"table" NFTSETS},
		{RULE("ipset: 's = $addr . tcp:1 . 2 . 3'"),
			"6:45: rules[0].ipset: 's = $addr . tcp:1 . 2 . 3' has more than 3 fields; "
			"allowed: SET, 4#SET, 6#SET; behind it ' = ' and fields such as $addr . "
			"tcp:443\n"},
		{RULE("nftmap: 4#inet#t#m"),
			"6:46: rules[0].nftmap: '4#inet#t#m' has no value" NFTMAPS},
		{RULE("nftmap: '4#inet#t#m = '"),
			"6:46: rules[0].nftmap: '4#inet#t#m = ' has nothing behind '='" FIELDS},
		{RULE("nftmap: 't#m = 1 . $addr'"),
			"6:46: rules[0].nftmap: '$addr' is a variable, and a map's value has none; "
			"allowed: literals\n"},
		{RULE("nftmap: ['t#m = jump', 't#m = goto ']"),
			"6:47: rules[0].nftmap[0]: 'jump' names no chain; allowed: "
			"accept, drop, jump CHAIN, goto CHAIN\n"
			"6:61: rules[0].nftmap[1]: 'goto ' names no chain; allowed: "
			"accept, drop, jump CHAIN, goto CHAIN\n"},
		{RULE("nftmap: ['t#m = jump a b', 't#m = goto 1', 't#m = accept now']"),
			"6:47: rules[0].nftmap[0]: 'a b' is not the name of a chain; allowed: "
			"accept, drop, jump CHAIN, goto CHAIN\n"
			"6:65: rules[0].nftmap[1]: '1' is not the name of a chain; allowed: "
			"accept, drop, jump CHAIN, goto CHAIN\n"
			"6:81: rules[0].nftmap[2]: 't#m = accept now' has no field on one side of "
			"a dot, or no dot between two" FIELDS},
	};

	(void)state;
	CHECK(cases);
}

static void a_template_has_room_in_the_text_of_its_set(void **state)
{
	static char text[4096], name[256], field[260], buf[CONF_SET_TEXT_MAX];
	struct messages m;
	struct config *c;

	(void)state;
	memset(name, 'n', 255);
	memset(field, '7', 240 - strlen("$addr . "));
	snprintf(text, sizeof text, RULE("nftset: '4#inet#%s#%s = $addr . %s'"), name, name, field);
	c = parse(text, &m);
	assert_string_equal(m.text, "");
	conf_set_format(&c->rules[0].sets[0], buf, sizeof buf);
	assert_int_equal(strlen(buf), strlen("4#inet##") + 2 * 255 + strlen(" = ") + 240);
	conf_free(c);
	strcat(field, "7");
	snprintf(text, sizeof text, RULE("nftset: '4#inet#t#s = $addr . %s'"), field);
	assert_null(parse(text, &m));
	assert_non_null(strstr(m.text, "what is behind '=' is longer than 240 bytes"));
}

static void times_of_their_own(void **state)
{
	struct messages m;
	struct config *c = parse(
		RULE("nftset: [t#a, {set: '4#t#b = $addr . 1', timeout: 7d}], nftmap: {set: 't#c = "
		     "1', timeout: permanent}, ipset: [{set: d}, {timeout: 1s, set: 6#e}], "
		     "set_ttl: 1h"),
		&m);
	static const struct {
		const char *text;
		bool has_ttl, permanent;
		uint32_t fixed_s;
	} want[] = {{"ip#t#a", false, false, 0}, {"4#ip#t#b = $addr . 1", true, false, 604800},
		{"ip#t#c = 1", true, true, 0}, {"d", false, false, 0}, {"6#e", true, false, 1}};
	const struct conf_rule *r = c->rules;
	char buf[CONF_SET_TEXT_MAX];

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(r->n_sets, sizeof want / sizeof want[0]);
	for (size_t i = 0; i < r->n_sets; i++) {
		assert_string_equal(conf_set_format(&r->sets[i], buf, sizeof buf), want[i].text);
		assert_int_equal(r->sets[i].has_ttl, want[i].has_ttl);
		assert_int_equal(r->sets[i].ttl.permanent, want[i].permanent);
		assert_int_equal(r->sets[i].ttl.fixed_s, want[i].fixed_s);
	}
	assert_int_equal(r->set_ttl.fixed_s, 3600);
	conf_free(c);
}

#define TIMEOUTS "; allowed: a time from 1s to 24d, permanent\n"

static void wrong_items(void **state)
{
	static const struct wrong cases[] = {
		{RULE("nftset: {timeout: 1h}"), "6:46: rules[0].nftset.set: is missing" NFTSETS},
		{RULE("nftset: [{set: t#s, timeout: 0}, {set: t#s, timeout: 25d}, {set: t#s, "
		      "timeout: soon}]"),
			"6:67: rules[0].nftset[0].timeout: '0' is out of bounds" TIMEOUTS
			"6:91: rules[0].nftset[1].timeout: '25d' is out of bounds" TIMEOUTS
			"6:117: rules[0].nftset[2].timeout: 'soon' is not a time such as 500ms, "
			"30, 10m or 1d12h" TIMEOUTS},
		{RULE("ipset: {set: s, ttl: 1h}"),
			"6:54: rules[0].ipset.ttl: unknown key; allowed: set, timeout\n"},
		{RULE("ipset: [[s]]"), "6:46: rules[0].ipset[0]: is a list; allowed: SET, 4#SET, "
				       "6#SET; behind it ' = ' and fields such as $addr . "
				       "tcp:443\n"},
		{RULE("nftset: [4#inet#s, ip6#s]"),
			"6:47: rules[0].nftset[0]: '4#inet#s' has a family and a set, but no "
			"table" NFTSETS "6:57: rules[0].nftset[1]: 'ip6#s' has a family and a set, "
			"but no table" NFTSETS},
		{RULE("nftmap: {set: t#m}"),
			"6:52: rules[0].nftmap.set: 't#m' has no value" NFTMAPS},
	};

	(void)state;
	CHECK(cases);
}

static void ways_to_push(void **state)
{
	struct messages m;
	struct config *c = parse(RULE("ipset: s"), &m);

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(c->rules[0].push, CONF_PUSH_BEFORE);
	assert_int_equal(c->rules[0].push_timeout_ms, 50);
	assert_int_equal(c->rules[0].conntrack, CONF_CONNTRACK_KEEP);
	conf_free(c);
	c = parse(RULE("ipset: s, push: async, conntrack: forget"), &m);
	assert_string_equal(m.text, "");
	assert_int_equal(c->rules[0].push, CONF_PUSH_ASYNC);
	assert_int_equal(c->rules[0].conntrack, CONF_CONNTRACK_FORGET);
	conf_free(c);
	c = parse(RULE("nftmap: 't#m = 1', push: before, push_timeout: 5s"), &m);
	assert_string_equal(m.text, "");
	assert_int_equal(c->rules[0].push_timeout_ms, 5000);
	conf_free(c);
	/* Rules that only add sets push in their own way, too. */
	c = parse(BASE "rules: [{name: a, also: yes, nftmap: {set: 't#m = 1', timeout: 1h}, push: "
		       "before, push_timeout: 1ms, on_error: servfail, conntrack: forget}]\n",
		&m);
	assert_string_equal(m.text, "");
	assert_int_equal(c->rules[0].push_timeout_ms, 1);
	assert_int_equal(c->rules[0].conntrack, CONF_CONNTRACK_FORGET);
	assert_true(c->rules[0].sets[0].has_ttl);
	conf_free(c);
}

static void wrong_ways_to_push(void **state)
{
	static const struct wrong cases[] = {
		{RULE("ipset: s, push: later, conntrack: flush"),
			"6:54: rules[0].push: 'later' is unknown; allowed: before, async\n"
			"6:72: rules[0].conntrack: 'flush' is unknown; allowed: keep, forget\n"},
		{RULE("ipset: s, push_timeout: 0"),
			"6:62: rules[0].push_timeout: '0' is out of bounds; allowed: 1ms to 5s\n"},
		{RULE("ipset: s, push_timeout: 5001ms"),
			"6:62: rules[0].push_timeout: '5001ms' is out of bounds; allowed: 1ms to "
			"5s\n"},
		{RULE("conntrack: forget"),
			"6:49: rules[0].conntrack: forget needs a set; allowed: with nftset, "
			"nftmap, ipset\n"},
		{RULE("conntrack: keep"), ""},
		{RULE("ipset: s, push: async, push_timeout: 1s, on_error: servfail"),
			"6:75: warning: rules[0].push_timeout: has no effect with push: async\n"
			"6:89: warning: rules[0].on_error: has no effect with push: async\n"},
		{BASE "rules: [{name: a, answer: fake, egress: p, nftmap: 't#m = 1', push: async, "
		      "push_timeout: 1s, conntrack: forget}]\n",
			"5:52: warning: rules[0].nftmap: has no effect with answer: fake\n"
			"5:69: warning: rules[0].push: has no effect with answer: fake\n"
			"5:90: warning: rules[0].push_timeout: has no effect with answer: fake\n"
			"5:105: warning: rules[0].conntrack: has no effect with answer: fake\n"},
	};

	(void)state;
	CHECK(cases);
}

static void sets_that_are_there_twice(void **state)
{
	static const struct wrong cases[] = {
		{RULE("nftset: [4#inet#t#s, 6#inet#t#s, '4#inet#t#s = $addr . 1', "
		      "'4#inet#t#s = $addr . 2', 4#ip#t#s], ipset: [4#s, s], nftmap: ['t#m = 1', "
		      "'t#n = 1', '6#inet#t#m = 1', '4#inet#t#m = 2']"),
			""},
		{RULE("nftmap: 't#m = 1', ipset: [a, b, {set: a, timeout: 1h}], nftset: [t#s, "
		      "'t#s = $addr']"),
			"6:71: warning: rules[0].ipset[2]: is there twice, first in line 6\n"
			"6:109: warning: rules[0].nftset[1]: is there twice, first in line 6\n"},
		{RULE("nftmap: ['inet#t#m = 1', '6#inet#t#m = 2']"),
			"6:63: rules[0].nftmap[1]: the map has another value in line 6; allowed: "
			"one value a map\n"},
		{RULE("nftmap: ['t#m = 1', {set: 't#m = 2'}]"),
			"6:58: rules[0].nftmap[1]: the map has another value in line 6; allowed: "
			"one value a map\n"},
		/* The sets of an option that is wrong are not counted. */
		{RULE("nftset: ['s', t#s], ipset: [a, a]"), "6:47: rules[0].nftset[0]: 's' is not "
							    "the name of a set in a table" NFTSETS},
		{RULE("nftset: ~, ipset: [a, a]"),
			"6:60: warning: rules[0].ipset[1]: is there twice, first in line 6\n"},
	};

	(void)state;
	CHECK(cases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_as_they_are_written),
		cmocka_unit_test(fields),
		cmocka_unit_test(wrong_templates),
		cmocka_unit_test(a_template_has_room_in_the_text_of_its_set),
		cmocka_unit_test(times_of_their_own),
		cmocka_unit_test(wrong_items),
		cmocka_unit_test(sets_that_are_there_twice),
		cmocka_unit_test(ways_to_push),
		cmocka_unit_test(wrong_ways_to_push),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
