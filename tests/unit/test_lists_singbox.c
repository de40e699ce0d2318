/* The source form of rule-sets: what values mean, where they stand, and what is no rule-set. The
 * meaning of rules in one another is test_lists_srs.c's. */
#include <unistd.h>

#include "tests/unit/lists_log.h"

/* text: single quotes are double ones. */
static const char *json(const char *text)
{
	static char copy[262144];
	size_t n = strlen(text);

	assert_true(n < sizeof copy);
	for (size_t i = 0; i <= n; i++)
		copy[i] = text[i];
	for (char *quote = strchr(copy, '\''); quote; quote = strchr(quote, '\''))
		*quote = '"';
	return copy;
}

static void takes_unused(const char *text, const char *entries, unsigned unused)
{
	static struct log log;
	struct list_counts counts;

	text = json(text);
	assert_int_equal(log_read(&log, LIST_SINGBOX, text, strlen(text), &counts), 0);
	assert_string_equal(log.told, "");
	assert_string_equal(log.entries, entries);
	assert_int_equal(counts.skipped, 0);
	assert_int_equal(counts.unused, unused);
	assert_int_equal(counts.lines, counts.entries + unused);
}

static void takes(const char *text, const char *entries)
{
	takes_unused(text, entries, 0);
}

static void test_values(void **state)
{
	(void)state;
	takes("{'version': 1, 'rules': []}", "");
	takes("{'rules': [{'domain': 'A.test'}], 'version': 5}", "1:exact a.test\n");
	takes("{'version': 2, 'rules': [\n"
	      "  {\n"
	      "    'domain': ['a.test', 'b.test'],\n"
	      "    'domain_suffix': ['c.test',\n"
	      "\t'.d.test', 'cn'],\n"
	      "    'domain_keyword': '-ad',\n"
	      "    'domain_regex': ['^a\\\\d+\\\\.', '\\u0061'],\n"
	      "    'ip_cidr': ['10.0.0.0/8', '1.2.3.4', '2001:db8::/32', '10.0.0.1/8',\n"
	      "      '::ffff:10.0.0.0/104']\n"
	      "  }\n"
	      "]}\n",
		"3:exact a.test\n3:exact b.test\n4:suffix c.test\n5:below d.test\n5:suffix cn\n"
		"6:keyword -ad\n7:regexp ^a\\d+\\.\n7:regexp a\n8:prefix 10.0.0.0/8\n"
		"8:prefix 1.2.3.4/32\n8:prefix 2001:db8::/32\n8:prefix 10.0.0.0/8\n"
		"9:prefix 10.0.0.0/8\n");
	takes("{\t'version':3,'rules':[{'domain':'a.test'},{'type':'default',"
	      "'domain':['b.test',],'invert':false}]}\r\n",
		"1:exact a.test\n1:exact b.test\n");
}

/* No conditions: what is empty, false or null. */
static void test_empty_conditions(void **state)
{
	(void)state;
	takes("{'version': 3, 'rules': [{'ip_cidr': [], 'port': [], 'process_name': null, "
	      "'network_is_expensive': false, 'domain': ['a.test'], 'domain_regex': []}]}",
		"1:exact a.test\n");
}

static void test_other_conditions(void **state)
{
	static const char *const others[] = {"'port': 53", "'source_port': [53]",
		"'port_range': '1:2'", "'process_name': 'x'", "'query_type': ['A']",
		"'network': 'udp'", "'source_ip_cidr': '10.0.0.0/8'", "'package_name': 'x'",
		"'wifi_ssid': 'x'", "'network_type': ['wifi']", "'network_is_expensive': true",
		"'network_interface_address': {'wifi': ['10.0.0.0/8', {'a': ['b', []]}]}",
		"'what is new': 'x'"};
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		(void)snprintf(text, sizeof text,
			"{'version': 4, 'rules': [{'domain': 'a.test', %s}, {%s, 'invert': true,"
			"'domain_suffix': ['b.test']}, {'domain': ['c.test']}]}",
			others[i], others[i]);
		takes_unused(text, "1:exact c.test\n", 4);
	}
}

static void test_logical(void **state)
{
	(void)state;
	takes("{'version': 1, 'rules': [{'type': 'logical', 'mode': 'or', 'rules': [\n"
	      "{'domain': 'a.test'}, {'rules': [{'domain': 'b.test'},\n"
	      "{'domain': 'c.test'}], 'mode': 'or', 'type': 'logical'}]}]}",
		"2:exact a.test\n2:exact b.test\n3:exact c.test\n");
	takes("{'version': 1, 'rules': [{'type': 'logical', 'mode': 'and', 'rules': [\n"
	      "{'domain_suffix': 'a.test'},\n"
	      "{'domain': ['b.a.test'], 'invert': true}]}]}",
		"2:suffix a.test\n3:except exact b.a.test\n");
	takes_unused("{'version': 1, 'rules': [{'type': 'logical', 'mode': 'and', 'rules': [\n"
		     "{'domain_suffix': 'a.test'}, {'domain': ['b.a.test']}]}]}",
		"", 2);
	takes_unused("{'version': 1, 'rules': [{'domain': 'a.test', 'invert': true}]}", "", 1);
}

/* What explain shows of an entry. */
static int entry_text(void *arg, const struct list_entry *e, const char **ret_why)
{
	size_t n = strlen(arg);

	(void)ret_why;
	(void)snprintf((char *)arg + n, 128 - n, "%s:%u=%.*s ", e->path, e->line, (int)e->text_len,
		e->text);
	return 0;
}

static void test_entry_has_its_place(void **state)
{
	char seen[128] = "";
	const struct list_sink sink = {.arg = seen, .entry = entry_text};
	const struct list_source source = {"f", "lists.l", LIST_SINGBOX, NULL, NULL};
	const char *text = json("{'version': 1, 'rules': [\n{'domain_suffix': ['A.test', 'b.test'],"
				"\n'ip_cidr': '10.0.0.0/8'}]}");

	(void)state;
	assert_int_equal(list_read_text(&source, text, strlen(text), &sink, NULL), 0);
	assert_string_equal(seen, "f:2=A.test f:2=b.test f:3=10.0.0.0/8 ");
}

static void test_values_that_cannot_be_used(void **state)
{
	static struct log log;
	struct list_counts counts;
	const char *text = json("{'version': 1, 'rules': [\n"
				"  {'domain': ['a b', 'a.test', 'b.test', 'c.test', 'd.test'],\n"
				"   'ip_cidr': ['x/8', '1.1.1.1']},\n"
				"  {'invert': true},\n"
				"  {'domain': 'a\\u0000b'},\n"
				"  {'domain': ''}\n"
				"]}");

	(void)state;
	assert_int_equal(log_read(&log, LIST_SINGBOX, text, strlen(text), &counts), 0);
	assert_int_equal(counts.skipped, 5);
	assert_int_equal(counts.entries, 5);
	assert_non_null(strstr(log.told, "f:2:16: warning: lists.l: more than one word"));
	assert_non_null(strstr(log.told, "f:3:16: warning: lists.l: not an address or prefix"));
	assert_non_null(strstr(log.told, "f:4:3: warning: lists.l: a rule without conditions"));
	assert_non_null(strstr(log.told, "f:5:14: warning: lists.l: a value with a NUL byte"));
	assert_non_null(strstr(log.told, "f:6:14: warning: lists.l: not a domain name"));
}

static void refused(const char *text, const char *told)
{
	static struct log log;

	text = json(text);
	assert_int_equal(log_read(&log, LIST_SINGBOX, text, strlen(text), NULL), -EBADMSG);
	assert_int_equal(log.errors, 1);
	assert_non_null(strstr(log.told, told));
	assert_string_equal(log.entries, "");
}

static void test_no_rule_sets(void **state)
{
	(void)state;
	refused("", "f:1:1: lists.l: not JSON");
	refused("a.test\nb.test\n", "not JSON: it does not begin with {");
	refused("version: 1\nrules: []\n", "not JSON: it does not begin with {");
	refused("['a.test']", "not JSON: it does not begin with {");
	refused("{'version': 1, 'rules': [{'domain': 'a.test'}]", "not JSON: ");
	refused("{'version': 1, 'rules': [{'domain': 'a.test'}]}}", "not JSON: ");
	refused("{'version': 1, 'rules': []} {'version': 1}", "not JSON: ");
	refused("{'version': 1, 'rules': [\n{'domain': ['a.test'}]}", "f:2:21: lists.l: not JSON");
	refused("{'version': 1, 'rules': [&a {'domain': 'a.test'}, *a]}", "not JSON: an alias");
	refused("{'version': 1, 'rules': [{['x']: 'a.test'}]}",
		"not JSON: a key that is no string");
	refused("{'rules': []}", "a rule-set without a version; allowed: 1 to 5");
	refused("{'version': 6, 'rules': []}", "f:1:13: lists.l: version: not a version");
	refused("{'version': '1', 'rules': []}", "version: not a version");
	refused("{'version': 0}", "version: not a version");
	refused("{'version': 1, 'log': {}}", "f:1:16: lists.l: not a rule-set of sing-box");
	refused("{'version': 1, 'rules': {}}", "rules: not an array");
	refused("{'version': 1, 'rules': ['a.test']}", "rules: not an object");
	refused("{'version': 1, 'rules': [{'type': 'x'}]}", "rules.type: ");
	refused("{'version': 1, 'rules': [{'type': 'logical', 'mode': 'xor'}]}", "rules.mode: ");
	refused("{'version': 1, 'rules': [{'domain': 'a.test', 'invert': 'yes'}]}",
		"rules.invert: ");
}

/* Half of them are skipped. */
static void test_faulty_rules(void **state)
{
	static const char *const rules[] = {"{'type': 'logical', 'mode': 'or'}",
		"{'type': 'logical', 'rules': [{'domain': 'b.test'}]}",
		"{'rules': [{'domain': 'b.test'}]}",
		"{'domain': 'b.test', 'mode': 'or', 'rules': [{'domain': 'c.test'}]}",
		"{'type': 'logical', 'mode': 'or', 'domain': 'b.test', 'rules': []}", "{}"};
	static struct log log;
	struct list_counts counts;

	(void)state;
	for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
		char text[512];
		const char *quoted;

		(void)snprintf(text, sizeof text,
			"{'version': 1, 'rules': [%s, {'domain': ['a.test', 'd.test']}]}",
			rules[i]);
		quoted = json(text);
		assert_int_equal(log_read(&log, LIST_SINGBOX, quoted, strlen(quoted), &counts), 0);
		assert_int_equal(counts.skipped, 1);
		assert_int_equal(counts.entries, 2);
	}
}

static void test_cut_short(void **state)
{
	static const char text[] = "{'version': 1, 'rules': [{'domain': ['a.test', 'b.test'], "
				   "'port': 1}, {'domain_suffix': 'c.test'}]}";
	static struct log log;
	const char *quoted = json(text);

	(void)state;
	for (size_t n = 0; n + 1 < sizeof text; n++) {
		assert_int_equal(log_read(&log, LIST_SINGBOX, quoted, n, NULL), -EBADMSG);
		assert_string_equal(log.entries, "");
		assert_int_equal(log.errors, 1);
	}
	assert_int_equal(log_read(&log, LIST_SINGBOX, quoted, sizeof text - 1, NULL), 0);
}

static void repeat(char *to, const char *piece, unsigned n)
{
	to += strlen(to);
	while (n-- > 0)
		to = stpcpy(to, piece);
}

static void test_nesting(void **state)
{
	static char text[200000];

	(void)state;
	for (unsigned depth = 30; depth < 40; depth++) {
		(void)strcpy(text, "{'version': 1, 'rules': [");
		repeat(text, "{'type': 'logical', 'mode': 'or', 'rules': [", depth - 1);
		repeat(text, "{'domain': 'a.test'}", 1);
		repeat(text, "]}", depth - 1);
		repeat(text, "]}", 1);
		if (depth <= 32)
			takes(text, "1:exact a.test\n");
		else
			refused(text, "more than 65536 rules, or 32 of them in one another");
	}
	/* In what is skipped, and in what is not read at all. */
	(void)strcpy(text, "{'version': 1, 'rules': [{'x': ");
	repeat(text, "[", 50000);
	refused(text, "nested too deep");
	(void)strcpy(text, "");
	repeat(text, "{", 50000);
	refused(text, "not a rule-set of sing-box");
	(void)strcpy(text, "{'version': 1, 'rules': [{'x': ");
	repeat(text, "{'a': ", 20000);
	refused(text, "nested too deep");
}

static void test_long_values(void **state)
{
	static struct log log;
	static char text[LIST_LINE_MAX + 200];
	struct list_counts counts;
	const char *quoted;

	(void)state;
	(void)strcpy(text, "{'version': 1, 'rules': [{'domain_keyword': ['b', 'a");
	repeat(text, "a", LIST_LINE_MAX);
	repeat(text, "']}]}", 1);
	quoted = json(text);
	assert_int_equal(log_read(&log, LIST_SINGBOX, quoted, strlen(quoted), &counts), 0);
	assert_int_equal(counts.skipped, 1);
	assert_string_equal(log.entries, "1:keyword b\n");
	assert_non_null(strstr(log.told, "a value above 64 KiB"));
}

static void test_not_unicode(void **state)
{
	(void)state;
	refused("{'version': 1, 'rules': [{'domain': '\xff\xfe'}]}", "not JSON: ");
	refused("{'version': 1, 'rules': [{'domain': '\x01'}]}", "not JSON: ");
	takes("\xef\xbb\xbf{'version': 1, 'rules': [{'domain': 'a.test'}]}", "1:exact a.test\n");
}

static void test_sink_ends_reading(void **state)
{
	static struct log log = {.stop = -ENOSPC};
	const char *text = json("{'version': 1, 'rules': [{'domain': ['a.test', 'b.test']}]}");

	(void)state;
	assert_int_equal(log_read(&log, LIST_SINGBOX, text, strlen(text), NULL), -ENOSPC);
	assert_string_equal(log.entries, "1:exact a.test\n");
}

#define SHARED "/work/shared/data/rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Singbox.json"

static void test_awavenue(void **state)
{
	static struct log log;
	struct list_counts counts;

	(void)state;
	if (access(SHARED, R_OK) != 0) {
		print_message("skipped: no ../shared/data\n");
		skip();
	}
	assert_int_equal(log_read_path(&log, LIST_SINGBOX, SHARED, &counts, NULL), 0);
	assert_int_equal(counts.entries, 887 + 10 + 5);
	assert_int_equal(counts.skipped + counts.unused, 0);
	assert_non_null(strstr(log.entries, ":exact ad-sdk-config.youdao.com\n"));
	assert_non_null(strstr(log.entries, ":suffix ad.gameley.com\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_empty_conditions),
		cmocka_unit_test(test_other_conditions),
		cmocka_unit_test(test_logical),
		cmocka_unit_test(test_entry_has_its_place),
		cmocka_unit_test(test_values_that_cannot_be_used),
		cmocka_unit_test(test_no_rule_sets),
		cmocka_unit_test(test_faulty_rules),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_long_values),
		cmocka_unit_test(test_not_unicode),
		cmocka_unit_test(test_sink_ends_reading),
		cmocka_unit_test(test_awavenue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
