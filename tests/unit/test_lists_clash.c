/* Clash's and Surge's lists: rules, YAML and text, and who means what by ".x". */
#include "tests/unit/lists_held.h"

static void domains_and_prefixes(void **state)
{
	static const struct held_case cases[] = {
		{"x.test", "exact x.test"},
		{"X.Test", "exact x.test"},
		{"x_1.test", "exact x_1.test"},
		{"+.x.test", "suffix x.test"},
		{"+.internal", "suffix internal"},
		{"+.1.0.0.0.0.0.0.0.ip6.arpa", "suffix 1.0.0.0.0.0.0.0.ip6.arpa"},
		{"*.x.test", "child x.test"},
		{".x.test", "below x.test"},
		{"*", "child ."},
		{"*.*.x.test", "regexp ^[^.]+\\.[^.]+\\.x\\.test$"},
		{"a.*.x.test", "regexp ^a\\.[^.]+\\.x\\.test$"},
		{"+.a.*", "regexp (?:^|\\.)a\\.[^.]+$"},
		{".a.*.x", "regexp \\.a\\.[^.]+\\.x$"},
		{"+.\xd1\x80\xd1\x84", "suffix xn--p1ai"},
		{"10.1.0.0/16", "prefix 10.1.0.0/16"},
		{"10.1.2.3", "prefix 10.1.2.3/32"},
		{"224.0.0.0/3", "prefix 224.0.0.0/3"},
		{"fc00::/7", "prefix fc00::/7"},
		{"::/127", "prefix ::/127"},
		{"# a comment", ""},
		{"; a comment", ""},
		{"// a comment", ""},
		{"+.x.test // why", "suffix x.test"},
		{"x.test # why", "exact x.test"},
		{"x.test // why, and more", "exact x.test"},
	};

	(void)state;
	held_lines(LIST_CLASH, cases, HELD_COUNT(cases));
}

static void classical(void **state)
{
	static const struct held_case cases[] = {
		{"DOMAIN,x.test", "exact x.test"},
		{"DOMAIN-SUFFIX,x.test", "suffix x.test"},
		{"DOMAIN-SUFFIX,test", "suffix test"},
		{"DOMAIN-KEYWORD,-ad.x", "keyword -ad.x"},
		{"DOMAIN-KEYWORD,\xd1\x80\xd1\x84", "keyword xn--p1ai"},
		{"DOMAIN-REGEX,^a{1,3}[bc]\\.x\\.test$", "regexp ^a{1,3}[bc]\\.x\\.test$"},
		{"DOMAIN-WILDCARD,a*.x.te?t", "regexp ^a.*\\.x\\.te.t$"},
		{"DOMAIN-WILDCARD,a[0-9].test", "unused"},
		{"IP-CIDR,10.1.0.0/16", "prefix 10.1.0.0/16"},
		{"IP-CIDR,10.1.0.0/16,no-resolve", "prefix 10.1.0.0/16"},
		{"IP-CIDR6,2001:db8::/30,no-resolve", "prefix 2001:db8::/30"},
		{"IP-CIDR,10.1.0.0/16,no-resolve,src", "unused"},
		{"IP-CIDR,10.1.2.3/16", "prefix 10.1.0.0/16"},
		/* Quantumult X, Surge. */
		{"host, x.test, reject", "exact x.test"},
		{"HOST-SUFFIX,x.test,direct", "suffix x.test"},
		{"host-keyword,x,reject", "keyword x"},
		{"host-wildcard,*.x.test,reject", "regexp ^.*\\.x\\.test$"},
		{"ip6-cidr,2001:db8::/32,direct", "prefix 2001:db8::/32"},
		{"DOMAIN,x.test,REJECT,extended-matching", "exact x.test"},
		{"DOMAIN-SUFFIX , \"x.test\" , REJECT // why", "suffix x.test"},
		{"DOMAIN-SUFFIX,x.test # why, and more", "suffix x.test"},
		{"IP-CIDR,10.0.0.0/8 // why, src", "prefix 10.0.0.0/8"},
		{"DOMAIN-REGEX,^a #,b", "regexp ^a #,b"},
		/* What DNS does not know. */
		{"PROCESS-NAME,frp", "unused"},
		{"PROCESS-NAME,Some Helper.exe", "unused"},
		{"URL-REGEX,^https?:\\/\\/int[\\w-\\.]+x\\.test", "unused"},
		{"URL-REGEX,(A|B,C)", "unused"},
		{"USER-AGENT,*x*", "unused"},
		{"GEOIP,CN,no-resolve", "unused"},
		{"GEOSITE,cn", "unused"},
		{"RULE-SET,other", "unused"},
		{"IP-ASN,64500", "unused"},
		{"DST-PORT,443", "unused"},
		{"SRC-IP-CIDR,10.0.0.0/8", "unused"},
		{"AND,((DOMAIN,x.test),(NETWORK,UDP))", "unused"},
		{"NOT,((DOMAIN,x.test))", "unused"},
		{"MATCH", "unused"},
		{"FINAL,DIRECT", "unused"},
	};

	(void)state;
	held_lines(LIST_CLASH, cases, HELD_COUNT(cases));
}

static void what_cannot_be_read(void **state)
{
	static const char no_name[] =
		"not a domain name: an empty label, one above 63 bytes, or above 255 bytes in all";
	static const char no_byte[] = "not a domain name: this character is not part of one";

	(void)state;
	log_skips(LIST_CLASH, "a.test", "DOMAINS,x.test", 1, "not a rule type");
	log_skips(LIST_CLASH, "a.test", "DOMAIN-SUFFIX,x..test", 15, no_name);
	log_skips(LIST_CLASH, "a.test", "DOMAIN,", 8, no_name);
	log_skips(LIST_CLASH, "a.test", "IP-CIDR,x.test", 9, "not an address or a prefix");
	log_skips(LIST_CLASH, "a.test", "IP-CIDR,10.0.0.0/33", 9, "not an address or a prefix");
	log_skips(LIST_CLASH, "a.test", "a*.x.test", 2, "'*' stands for a whole label");
	log_skips(LIST_CLASH, "a.test", "a.+.test", 3, no_byte);
	log_skips(LIST_CLASH, "a.test", "10.0.0.0/33", 9, no_byte);
	log_skips(LIST_CLASH, "a.test", "a\x01.test", 2, "a control character");
	log_skips(LIST_CLASH, "a.test", "+.\xff.test", 1,
		"not a domain name: not UTF-8, or a label above 63 bytes");
}

static void yaml_styles(void **state)
{
	static const char block[] = "# Title: T\n\npayload:\n  - '+.a.test'\n  - \"b.test\"\n"
				    "  # a comment\n  - c.test # why\n  - DOMAIN-SUFFIX,d.test\n"
				    "  - 10.0.0.0/8\n  - 'IP-CIDR,fc00::/7,no-resolve'\n"
				    "  - DOMAIN-REGEX,^a{1,2}\\.\n  - '*.e.test'\n  - .f.test";
	static const char entries[] =
		"4:suffix a.test\n5:exact b.test\n7:exact c.test\n8:suffix d.test\n"
		"9:prefix 10.0.0.0/8\n10:prefix fc00::/7\n11:regexp ^a{1,2}\\.\n"
		"12:child e.test\n13:below f.test\n";

	(void)state;
	log_takes(LIST_CLASH, block, entries);
	log_takes(LIST_CLASH, "payload:\n- a.test\n-   +.b.test  \n",
		"2:exact a.test\n3:suffix b.test\n");
	log_takes(LIST_CLASH, "payload: [a.test, '+.b.test',\n  \"*.c.test\"]\n",
		"1:exact a.test\n1:suffix b.test\n2:child c.test\n");
	log_takes(LIST_CLASH, "{\"payload\": [\"a.test\"]}", "1:exact a.test\n");
	log_takes(LIST_CLASH, "%YAML 1.1\n---\npayload:\n  - a.test\n...\n", "4:exact a.test\n");
	log_takes(LIST_CLASH, "\xef\xbb\xbfpayload:\r\n  - 'a.test'\r\n  - b.test\r\n",
		"2:exact a.test\n3:exact b.test\n");
	log_takes(LIST_CLASH, "name: x\npayload:\n  - a.test\nother:\n  deep: [1, {a: b}]\n",
		"3:exact a.test\n");
	/* ".x" is Clash's in YAML, whoever found the format. */
	log_takes(LIST_CLASH, "payload:\n  - .a.test\n", "2:below a.test\n");
	log_takes(LIST_CLASH, "payload:\n", "");
	log_takes(LIST_CLASH, "payload: []\n", "");
	log_takes(LIST_CLASH, "", "");
	log_takes(LIST_CLASH, "# nothing\n", "");
	/* mihomo passes over an empty rule. */
	log_takes(LIST_CLASH, "payload:\n  - ''\n  -\n  - a.test\n", "4:exact a.test\n");
}

static void assert_broken(const char *text, size_t n, const char *told)
{
	static struct log log;
	struct list_counts counts;

	assert_int_equal(log_read(&log, LIST_CLASH, text, n, &counts), -EBADMSG);
	assert_int_equal(log.errors, 1);
	if (strncmp(log.told, told, strlen(told)) != 0)
		fail_msg("\"%s\", not \"%s\"", log.told, told);
}

static void broken_yaml(void **state)
{
	static const struct {
		const char *text, *told;
	} cases[] = {
		{"rules:\n  - DOMAIN,x.test,DIRECT\n",
			"f:1:1: lists.l: no `payload`; allowed: `payload:` with a list of rules"},
		{"proxies: []\nrules:\n  - MATCH,DIRECT\n", "f:1:1: lists.l: no `payload`"},
		{"- a.test\n- b.test\n", "f:1:1: lists.l: no `payload`"},
		{"payload: a.test\n", "f:1:10: lists.l: `payload` is not a list"},
		{"payload:\n  a: b\n", "f:2:3: lists.l: `payload` is not a list"},
		{"payload:\n  - a.test\npayload:\n  - b.test\n",
			"f:3:1: lists.l: a second `payload`"},
		{"payload:\n  - a.test\n---\npayload:\n  - b.test\n",
			"f:3:1: lists.l: a second document"},
		{"payload:\n  - 'a.test\n  - b.test\n", "f:4:1: lists.l: not YAML: "},
		{"payload:\n  - a.test\n - b.test\n", "f:3:2: lists.l: not YAML: "},
		{"payload: [a.test\n", "f:2:1: lists.l: not YAML: "},
		{"payload:\n\t- a.test\n", "f:2:1: lists.l: not YAML: "},
		{"payload:\n  - a.test\n  - b\x01.test\n", "f:3:6: lists.l: not a text: "},
		{"? [a, b]\n: c\npayload: [a.test]\n", "f:1:3: lists.l: a key that is not"},
	};

	(void)state;
	for (size_t i = 0; i < HELD_COUNT(cases); i++)
		assert_broken(cases[i].text, strlen(cases[i].text), cases[i].told);
	assert_broken("payload:\n  - a.test\n  - b\0.test\n", 32, "f:3:6: lists.l: not a text: ");
	assert_broken("a.test\nb\0.test\n", 15, "f:2:2: lists.l: a NUL byte");
}

/* What is no single value is a rule that cannot be read, not an end. */
static void odd_items(void **state)
{
	static struct log log;
	struct list_counts counts;
	static const char text[] = "payload:\n  - &a a.test\n  - b.test\n  - c.test\n  - *a\n"
				   "  - {k: v}\n  - [x, [y]]\n  - d.test\n";

	(void)state;
	assert_int_equal(log_read(&log, LIST_CLASH, text, sizeof text - 1, &counts), 0);
	assert_string_equal(
		log.entries, "2:exact a.test\n3:exact b.test\n4:exact c.test\n8:exact d.test\n");
	assert_int_equal(counts.lines, 7);
	assert_int_equal(counts.skipped, 3);
	assert_non_null(strstr(log.told, "f:5:5: warning: lists.l: not a single value"));
}

static int read_named(struct log *log, const char *path, enum list_format format, const char *text)
{
	const struct list_source source = {.path = path, .key = "lists.l", .format = format};
	struct list_sink sink = log_sink(log);

	return list_read_text(&source, text, strlen(text), &sink, NULL);
}

/* A Surge domain set has ".x" and "x" alone. */
static void domain_sets(void **state)
{
	static const char set[] = "# Title: a, b + c\n.a.test\nb.test\n";
	static const char surge[] = "2:suffix a.test\n3:exact b.test\n";
	static const char clash[] = "2:below a.test\n3:exact b.test\n";
	static struct log log;

	(void)state;
	assert_int_equal(read_named(&log, "/l/list.txt", LIST_CLASH, set), 0);
	assert_string_equal(log.entries, clash);
	assert_int_equal(read_named(&log, "/surge/list.txt", LIST_CLASH, set), 0);
	assert_string_equal(log.entries, clash);
	assert_int_equal(read_named(&log, "/l/my-Surge.list", LIST_CLASH, set), 0);
	assert_string_equal(log.entries, surge);
	assert_int_equal(
		read_named(&log, "/l/surge.list", LIST_CLASH, "\n.a.test // a, b\nb.test # +.c\n"),
		0);
	assert_string_equal(log.entries, surge);
	/* Found by its content. */
	assert_int_equal(read_named(&log, "/l/list.txt", LIST_AUTO, set), 0);
	assert_string_equal(log.entries, surge);
	assert_int_equal(read_named(&log, "/l/list.txt", LIST_AUTO, "\n.a.test\n+.b.test\n"), 0);
	assert_string_equal(log.entries, "2:below a.test\n3:suffix b.test\n");
	/* Something that only Clash has. */
	assert_int_equal(read_named(&log, "/l/surge.list", LIST_CLASH, "\n.a.test\n+.b.test\n"), 0);
	assert_string_equal(log.entries, "2:below a.test\n3:suffix b.test\n");
	assert_int_equal(
		read_named(&log, "/l/surge.list", LIST_CLASH, "\n.a.test\nDOMAIN,b.test\n"), 0);
	assert_string_equal(log.entries, "2:below a.test\n3:exact b.test\n");
}

static void meanings(void **state)
{
	(void)state;
	held_takes(LIST_CLASH, "+.x.test", "x.test a.x.test b.a.x.test", "ax.test test");
	held_takes(LIST_CLASH, "*.x.test", "a.x.test", "x.test b.a.x.test");
	held_takes(LIST_CLASH, ".x.test", "a.x.test b.a.x.test", "x.test ax.test");
	held_takes(LIST_CLASH, "x.test", "x.test", "a.x.test");
	held_takes(LIST_CLASH, "*", "localhost", "a.test");
	held_takes(LIST_CLASH, "a.*.x.test", "a.b.x.test", "a.x.test a.b.c.x.test c.a.b.x.test");
	held_takes(LIST_CLASH, "+.a.*", "a.test b.a.test", "a a.b.test ba.test");
	held_takes(LIST_CLASH, ".a.*.x", "b.a.c.x c.b.a.c.x", "a.c.x b.a.x");
	held_takes(LIST_CLASH, "DOMAIN-WILDCARD,*.x.te?t", "a.x.test b.a.x.teat",
		"x.test a.x.tet a.x.test.net");
	held_takes(LIST_CLASH, "DOMAIN-KEYWORD,Word", "aword.test word wo.words", "wo.rd.test");
	held_takes(LIST_CLASH, "DOMAIN-REGEX,^a[0-9]+\\.", "a1.test a22.b", "a.test ba1.test");
}

/* --- hostile --- */

static char big[9 << 20];

static int read_big(struct log *log, size_t n, struct list_counts *ret)
{
	return log_read(log, LIST_CLASH, big, n, ret);
}

static size_t put(size_t at, const char *text)
{
	memcpy(big + at, text, strlen(text));
	return at + strlen(text);
}

static void deep_nesting(void **state)
{
	static struct log log;
	struct list_counts counts;
	size_t n = put(0, "payload: ");

	(void)state;
	memset(big + n, '[', 1 << 20);
	assert_int_equal(read_big(&log, n + (1 << 20), &counts), -EBADMSG);
	assert_non_null(strstr(log.told, "nested too deep"));
	n = put(0, "payload:\n");
	for (unsigned i = 0; i < 1000; i++)
		n = put(n, "- ");
	assert_int_equal(read_big(&log, n, &counts), -EBADMSG);
	memset(big, '{', 1 << 20);
	assert_int_equal(read_big(&log, 1 << 20, &counts), -EBADMSG);
}

/* Each anchor stands for ten of the one before; nobody follows them. */
static void alias_bombs(void **state)
{
	static struct log log;
	struct list_counts counts;
	size_t n = put(0, "a0: &a0 [x.test]\n");

	(void)state;
	for (unsigned i = 1; i < 30; i++) {
		char line[128];

		(void)snprintf(line, sizeof line,
			"a%u: &a%u [*a%u, *a%u, *a%u, *a%u, *a%u, *a%u, *a%u, *a%u, *a%u]\n", i, i,
			i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
		n = put(n, line);
	}
	n = put(n, "payload:\n  - b.test\n  - c.test\n  - *a29\n");
	assert_int_equal(read_big(&log, n, &counts), 0);
	assert_int_equal(counts.entries, 2);
	assert_int_equal(counts.skipped, 1);
}

static void long_scalars(void **state)
{
	static struct log log;
	struct list_counts counts;
	size_t n = put(0, "payload:\n  - a.test\n  - ");

	(void)state;
	memset(big + n, 'x', 1 << 20);
	n = put(n + (1 << 20), "\n  - b.test\n");
	assert_int_equal(read_big(&log, n, &counts), 0);
	assert_int_equal(counts.entries, 2);
	assert_int_equal(counts.skipped, 1);
	assert_non_null(strstr(log.told, "f:3:5: warning: lists.l: a value above 64 KiB"));
	/* More than is kept. */
	n = put(0, "payload:\n  - ");
	memset(big + n, 'x', sizeof big - n);
	assert_int_equal(read_big(&log, sizeof big, &counts), -EBADMSG);
	assert_non_null(strstr(log.told, "a value or comment above 8 MB"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(domains_and_prefixes),
		cmocka_unit_test(classical),
		cmocka_unit_test(what_cannot_be_read),
		cmocka_unit_test(yaml_styles),
		cmocka_unit_test(broken_yaml),
		cmocka_unit_test(odd_items),
		cmocka_unit_test(domain_sets),
		cmocka_unit_test(meanings),
		cmocka_unit_test(deep_nesting),
		cmocka_unit_test(alias_bombs),
		cmocka_unit_test(long_scalars),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
