/* Local records: what their maps become as JSON, and what is said about wrong ones. */
#include "tests/unit/conf_messages.h"

#include <stdio.h>
#include <stdlib.h>

#define BASE                                                                                       \
	"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {upstream: u}\n"                     \
	"fakeip: {pool6: off}\n"
#define RECORDS(keys) BASE "records: {" keys "}\n"

static void check_json(const char *yaml, const char *json)
{
	static char text[4096];
	struct messages m;
	struct config *c;

	snprintf(text, sizeof text, RECORDS("inline: [%s]"), yaml);
	c = parse(text, &m);
	assert_string_equal(m.text, "");
	assert_int_equal(c->records.n_records, 1);
	assert_string_equal(c->records.records[0].json, json);
	conf_free(c);
}

static void maps_become_json(void **state)
{
	(void)state;
	check_json("{name: a.lan, type: A, rdata: 192.0.2.1}",
		"{\"name\": \"a.lan\", \"type\": \"A\", \"rdata\": \"192.0.2.1\"}");
	/* As it may be pasted from a file of records. */
	check_json("{\"name\": \"a\", \"type\": \"SRV\", \"ttl\": 60, \"rdata\": {\"priority\": 1, "
		   "\"weight\": 0, \"port\": 443, \"target\": \"t\"}}",
		"{\"name\": \"a\", \"type\": \"SRV\", \"ttl\": 60, \"rdata\": {\"priority\": 1, "
		"\"weight\": 0, \"port\": 443, \"target\": \"t\"}}");
	check_json("{name: a, type: HTTPS, rdata: {priority: 1, target: ., params: {alpn: [h2, "
		   "h3], port: 8443, ipv4hint: [192.0.2.1]}}, labels: [], status: ~}",
		"{\"name\": \"a\", \"type\": \"HTTPS\", \"rdata\": {\"priority\": 1, \"target\": "
		"\".\", \"params\": {\"alpn\": [\"h2\", \"h3\"], \"port\": 8443, \"ipv4hint\": "
		"[\"192.0.2.1\"]}}, \"labels\": [], \"status\": null}");
}

/* A number is a number where it is written as one, and where it can be one. */
static void scalars_keep_their_kind(void **state)
{
	(void)state;
	check_json("{name: 10, type: TYPE65280, ttl: '60', rdata: {hex: 10}}",
		"{\"name\": \"10\", \"type\": \"TYPE65280\", \"ttl\": \"60\", \"rdata\": "
		"{\"hex\": \"10\"}}");
	check_json("{name: a, ttl: 0, rdata: 12, labels: [1, two]}",
		"{\"name\": \"a\", \"ttl\": 0, \"rdata\": \"12\", \"labels\": [\"1\", \"two\"]}");
	check_json("{name: a, ttl: 007, rdata: {flags: 128, x: true, y: 'true', z: yes, w: 1.5, "
		   "v: -1, u: 4294967295, t: 99999999999}}",
		"{\"name\": \"a\", \"ttl\": \"007\", \"rdata\": {\"flags\": 128, \"x\": true, "
		"\"y\": \"true\", \"z\": \"yes\", \"w\": \"1.5\", \"v\": \"-1\", \"u\": "
		"4294967295, \"t\": \"99999999999\"}}");
}

static void texts_are_escaped(void **state)
{
	(void)state;
	check_json("{name: a, type: TXT, rdata: \"q\\\" b\\\\ n\\n t\\t \\x01 \\u00e9 </\"}",
		"{\"name\": \"a\", \"type\": \"TXT\", \"rdata\": \"q\\\" b\\\\ n\\u000a t\\u0009 "
		"\\u0001 \xc3\xa9 </\"}");
	setenv("TG_TEST_TEXT", "v\"}, {\"name\": \"evil", 1);
	check_json("{name: '${TG_TEST_TEXT}', type: 'A', rdata: x, labels: ['${TG_TEST_TEXT}']}",
		"{\"name\": \"v\\\"}, {\\\"name\\\": \\\"evil\", \"type\": \"A\", \"rdata\": "
		"\"x\", \"labels\": [\"v\\\"}, {\\\"name\\\": \\\"evil\"]}");
	check_json(
		"{name: a, rdata: {\"k\\\"\": 1}}", "{\"name\": \"a\", \"rdata\": {\"k\\\"\": 1}}");
}

static void one_map_is_a_list_of_one(void **state)
{
	struct messages m;
	struct config *c = parse(RECORDS("inline: {name: a, type: A, rdata: 192.0.2.1}, "
					 "lines: {}, files: [], store: ''"),
		&m);

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(c->records.n_records, 1);
	assert_int_equal(c->records.records[0].line, 4);
	assert_int_equal(c->records.records[0].column, 19);
	assert_int_equal(c->records.n_lines, 0);
	assert_string_equal(c->records.store, "");
	assert_string_equal(c->records.from, "t");
	conf_free(c);
}

static void large_data_has_room_and_a_bound(void **state)
{
	static char text[400000];
	struct messages m;
	struct config *c;
	size_t n =
		(size_t)snprintf(text, sizeof text, RECORDS("inline: {name: a, rdata: {hex: \""));

	(void)state;
	n -= 2; /* the bracket and the newline of the macro */
	memset(text + n, 'a', 131070);
	strcpy(text + n + 131070, "\"}}}\n");
	c = parse(text, &m);
	assert_string_equal(m.text, "");
	assert_int_equal(strlen(c->records.records[0].json),
		131070 + strlen("{\"name\": \"a\", \"rdata\": {\"hex\": \"\"}}"));
	conf_free(c);
	memset(text + n, 'a', 262144);
	strcpy(text + n + 262144, "\"}}}\n");
	assert_null(parse(text, &m));
	assert_string_equal(m.text, "4:19: records.inline: is larger than 262144 bytes; allowed: "
				    "{name, type, ttl, rdata, labels, status}\n");
}

#define RECORD	"; allowed: {name, type, ttl, rdata, labels, status}\n"
#define UNKNOWN ": unknown key; allowed: name, type, ttl, rdata, labels, status\n"

static void wrong_records(void **state)
{
	static const struct wrong cases[] = {
		{RECORDS("inline: [{type: A, rdata: x}, a.lan A 192.0.2.1, [a], {}]"),
			"4:20: records.inline[0]: has no name" RECORD
			"4:41: records.inline[1]: is a single value" RECORD
			"4:60: records.inline[2]: is a list" RECORD
			"4:65: records.inline[3]: has no name" RECORD},
		{RECORDS("inline: {name: a, value: 192.0.2.1, class: IN}"),
			"4:29: records.inline.value" UNKNOWN "4:47: records.inline.class" UNKNOWN},
		{RECORDS("inline: {name: a, rdata: '${TG_TEST_NONE}'}"),
			"4:36: records.inline.rdata: the environment variable TG_TEST_NONE is not "
			"set\n"},
		{RECORDS("files: '', lines_file: '', ttl: 366d, no_line: some, whole: 2"),
			"4:18: records.files: is empty; allowed: a path\n"
			"4:34: records.lines_file: is empty; allowed: a path\n"
			"4:43: records.ttl: '366d' is out of bounds; allowed: 0 to 365d\n"
			"4:58: records.no_line: 'some' is unknown; allowed: all, none\n"
			"4:71: records.whole: '2' is neither yes nor no; allowed: yes, no, true, "
			"false, on, off\n"},
		{RECORDS("lines: {a: [], b: x, 'c d': 10.0.0.1}"),
			"4:22: records.lines.a: is empty; allowed: ADDRESS or NETWORK/LENGTH, IPv4 "
			"or IPv6\n"
			"4:29: records.lines.b: 'x' is not an address or a network; allowed: "
			"ADDRESS or NETWORK/LENGTH, IPv4 or IPv6\n"
			"4:32: records.lines.c d: is not a name; allowed: letters, digits, '_', "
			"'-', '.', at most 64\n"},
		{RECORDS("lines: [a]"), "4:18: records.lines: is a list; allowed: a map of "
					"names\n"},
		{RECORDS("file: a"), "4:11: records.file: unknown key; allowed: files, lines, "
				     "ttl, whole, inline, store, no_line, lines_file\n"},
		{BASE "builtin: {local: no, ddr: 1}\n",
			"4:11: builtin.local: unknown key; allowed: localhost, special, "
			"relay, canary, ddr, ipv4only, private_reverse\n"
			"4:27: builtin.ddr: '1' is neither yes nor no; allowed: yes, no, true, "
			"false, on, off\n"},
		{BASE "builtin: no\n",
			"4:10: builtin: is a single value instead of a map; allowed: ddr, relay, "
			"canary, special, ipv4only, localhost, private_reverse\n"},
	};

	(void)state;
	unsetenv("TG_TEST_NONE");
	CHECK(cases);
}

static void lines_are_bounded(void **state)
{
	char text[4096];
	struct messages m;
	size_t n = (size_t)snprintf(text, sizeof text, BASE "records:\n  lines:\n");

	(void)state;
	for (unsigned i = 0; i < 64; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "    l%u: 10.0.0.%u\n", i, i);
	conf_free(parse(text, &m));
	assert_string_equal(m.text, "");
	snprintf(text + n, sizeof text - n, "    more: 10.0.1.0\n");
	assert_null(parse(text, &m));
	assert_string_equal(m.text, "6:5: records.lines: has more than 64 entries\n");
}

static void each_builtin_has_its_bit(void **state)
{
	static const struct {
		const char *key;
		unsigned bit;
	} keys[] = {{"localhost", CONF_BUILTIN_LOCALHOST}, {"special", CONF_BUILTIN_SPECIAL},
		{"canary", CONF_BUILTIN_CANARY}, {"relay", CONF_BUILTIN_RELAY},
		{"ddr", CONF_BUILTIN_DDR}, {"private_reverse", CONF_BUILTIN_PRIVATE_REVERSE},
		{"ipv4only", CONF_BUILTIN_IPV4ONLY}};

	(void)state;
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		char text[256];
		struct messages m;
		struct config *c;

		snprintf(text, sizeof text, BASE "builtin: {%s: no}\n", keys[i].key);
		c = parse(text, &m);
		assert_string_equal(m.text, "");
		assert_int_equal(c->builtin, CONF_BUILTIN_ALL & ~keys[i].bit);
		conf_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_become_json),
		cmocka_unit_test(scalars_keep_their_kind),
		cmocka_unit_test(texts_are_escaped),
		cmocka_unit_test(one_map_is_a_list_of_one),
		cmocka_unit_test(large_data_has_room_and_a_bound),
		cmocka_unit_test(wrong_records),
		cmocka_unit_test(lines_are_bounded),
		cmocka_unit_test(each_builtin_has_its_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
