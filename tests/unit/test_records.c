/* What local records answer: types, wildcards, lines, hosts files, and when files have changed. */
#include "tests/unit/records_stage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool holds(const struct records *r, const char *name)
{
	struct dns_name n;

	assert_int_equal(dns_name_parse(name, strlen(name), &n), 0);
	return records_hold(r, &n);
}

/* As in the article that the format is from. */
static void seed(void **state)
{
	struct records *r = stage_read_text(
		"[\n"
		"  {\"name\": \"example.com\", \"type\": \"A\", \"ttl\": 60,\n"
		"   \"rdata\": \"192.168.139.10\", \"labels\": [\"l1\"]},\n"
		"  {\"name\": \"example.com\", \"type\": \"A\", \"ttl\": 60,\n"
		"   \"rdata\": \"192.168.139.11\", \"labels\": [\"l2\"]},\n"
		"  {\"name\": \"example.com\", \"type\": \"MX\", \"ttl\": 600,\n"
		"   \"rdata\": {\"preference\": 10, \"exchange\": \"mail2.example.com\"}},\n"
		"  {\"name\": \"example.com\", \"type\": \"TXT\", \"ttl\": 600, \"rdata\": "
		"\"hi.pipy!\"},\n"
		"  {\"name\": \"example.com\", \"type\": \"NS\", \"ttl\": 600, \"rdata\": "
		"\"ns1.example.com\"}\n"
		"]\n");

	(void)state;
	assert_int_equal(records_count(r), 5);
	ASK(r, "example.com", "A", "192.0.2.1", "A 60 192.168.139.10");
	ASK(r, "example.com", "A", "2001:db8::7", "A 60 192.168.139.11");
	/* In both lines; in none. */
	ASK(r, "example.com", "A", "192.0.2.65", "A 60 192.168.139.10, A 60 192.168.139.11");
	ASK(r, "example.com", "A", "198.51.100.1", "A 60 192.168.139.10, A 60 192.168.139.11");
	ASK(r, "example.com", "A", NULL, "A 60 192.168.139.10, A 60 192.168.139.11");
	ASK(r, "example.com", "MX", NULL, "MX 600 <0><a><5>mail2<7>example<3>com<0>");
	ASK(r, "example.com", "TXT", NULL, "TXT 600 <8>hi.pipy!");
	ASK(r, "EXAMPLE.com", "NS", NULL, "NS 600 ns1.example.com");
	ASK(r, "example.com", "AAAA", NULL, "NODATA");
	ASK(r, "example.com", "HTTPS", NULL, "NODATA");
	ASK(r, "example.com", "SVCB", NULL, "NODATA");
	ASK(r, "example.com", "SRV", NULL, "PASS");
	ASK(r, "www.example.com", "A", NULL, "NONE");
	ASK(r, "com", "A", NULL, "NONE");
	ASK(r, ".", "A", NULL, "NONE");
	ASK(r, "xexample.com", "A", NULL, "NONE");
	assert_true(holds(r, "com") && holds(r, "example.com") && holds(r, "."));
	assert_false(holds(r, "www.example.com") || holds(r, "org"));
	records_unref(r);
}

static void nothing(void **state)
{
	struct conf_records c = stage_conf();
	char *path = (char *)stage_write("empty", "[]");
	struct records *r = (void *)1;

	(void)state;
	assert_int_equal(stage_read(&c, &r), 0);
	assert_null(r);
	assert_int_equal(records_count(NULL), 0);
	ASK(NULL, "a.test", "A", NULL, "NONE");
	assert_false(holds(NULL, "a.test"));
	assert_null(records_ref(NULL));
	records_unref(NULL);
	c.files = (struct conf_strings){&path, 1};
	assert_int_equal(stage_read(&c, &r), 0);
	assert_null(r);
	assert_string_equal(stage_told, "");
}

/* RFC 4592 2.2.1, its own example. */
static void wildcards(void **state)
{
	struct records *r = stage_read_text(
		"[{\"name\": \"*.example\", \"type\": \"TXT\", \"rdata\": \"wild\"},"
		"{\"name\": \"*.example\", \"type\": \"MX\", \"rdata\": \"10 host1.example\"},"
		"{\"name\": \"sub.*.example\", \"type\": \"TXT\", \"rdata\": \"literal\"},"
		"{\"name\": \"host1.example\", \"type\": \"A\", \"rdata\": \"192.0.2.1\"},"
		"{\"name\": \"_ssh._tcp.host1.example\", \"type\": \"SRV\", \"rdata\": \"0 0 22 "
		"host1.example\"},"
		"{\"name\": \"_ssh._tcp.host2.example\", \"type\": \"SRV\", \"rdata\": \"0 0 22 "
		"host2.example\"},"
		"{\"name\": \"subdel.example\", \"type\": \"NS\", \"rdata\": \"ns.example.com\"}]");

	(void)state;
	ASK(r, "host3.example", "MX", NULL, "MX 60 <0><a><5>host1<7>example<0>");
	ASK(r, "host3.example", "A", NULL, "PASS");
	ASK(r, "foo.bar.example", "TXT", NULL, "TXT 60 <4>wild");
	ASK(r, "*.example", "TXT", NULL, "TXT 60 <4>wild");
	/* Names that are there, also as part of others, are no wildcard's. */
	ASK(r, "host1.example", "MX", NULL, "PASS");
	ASK(r, "sub.*.example", "MX", NULL, "PASS");
	ASK(r, "sub.*.example", "TXT", NULL, "TXT 60 <7>literal");
	ASK(r, "_telnet._tcp.host1.example", "SRV", NULL, "NONE");
	ASK(r, "host2.example", "TXT", NULL, "NONE");
	ASK(r, "host.subdel.example", "TXT", NULL, "NONE");
	ASK(r, "ghost.*.example", "MX", NULL, "NONE");
	ASK(r, "example", "TXT", NULL, "NONE");
	records_unref(r);

	r = stage_read_text("[{\"name\": \"*\", \"type\": \"A\", \"rdata\": \"192.0.2.1\"},"
			    "{\"name\": \".\", \"type\": \"TXT\", \"rdata\": \"root\"}]");
	ASK(r, "any.name.test", "A", NULL, "A 60 192.0.2.1");
	ASK(r, "any.name.test", "AAAA", NULL, "NODATA");
	ASK(r, ".", "TXT", NULL, "TXT 60 <4>root");
	ASK(r, ".", "A", NULL, "PASS");
	records_unref(r);
}

static void aliases(void **state)
{
	struct records *r = stage_read_text(
		"[{\"name\": \"a.test\", \"type\": \"CNAME\", \"ttl\": \"1h\", \"rdata\": "
		"\"B.test\"},"
		"{\"name\": \"c.test\", \"type\": \"CNAME\", \"rdata\": \"x.test\", \"labels\": "
		"\"l1\"},"
		"{\"name\": \"c.test\", \"type\": \"CNAME\", \"rdata\": \"y.test\", \"labels\": "
		"[\"l2\"]},"
		"{\"name\": \"d.test\", \"type\": \"CNAME\", \"rdata\": \"x.test\", \"labels\": "
		"[\"l1\"]},"
		"{\"name\": \"d.test\", \"type\": \"A\", \"rdata\": \"192.0.2.1\"}]");

	(void)state;
	ASK(r, "a.test", "A", NULL, "CNAME 3600 b.test");
	ASK(r, "a.test", "MX", NULL, "CNAME 3600 b.test");
	ASK(r, "a.test", "CNAME", NULL, "CNAME 3600 b.test");
	ASK(r, "a.test", "ANY", NULL, "CNAME 3600 b.test");
	ASK(r, "c.test", "A", "192.0.2.1", "CNAME 60 x.test");
	ASK(r, "c.test", "A", "2001:db8::1", "CNAME 60 y.test");
	ASK(r, "c.test", "A", "192.0.2.65", "CNAME 60 x.test");
	ASK(r, "c.test", "ANY", NULL, "CNAME 60 x.test");
	ASK(r, "d.test", "A", "192.0.2.1", "A 60 192.0.2.1");
	ASK(r, "d.test", "AAAA", "192.0.2.1", "CNAME 60 x.test");
	ASK(r, "d.test", "AAAA", "2001:db8::1", "NODATA");
	records_unref(r);
}

static void denials(void **state)
{
	struct records *r = stage_read_text(
		"[{\"name\": \"all.test\", \"status\": \"deny\"},"
		"{\"name\": \"mx.test\", \"type\": \"MX\", \"status\": \"deny\"},"
		"{\"name\": \"mx.test\", \"type\": \"A\", \"rdata\": \"192.0.2.1\"},"
		"{\"name\": \"kids.test\", \"status\": \"deny\", \"labels\": [\"l1\"]},"
		"{\"name\": \"kids.test\", \"type\": \"A\", \"rdata\": \"192.0.2.2\"},"
		"{\"name\": \"*.deny.test\", \"status\": \"deny\", \"type\": \"TXT\","
		" \"rdata\": \"ignored\"}]");

	(void)state;
	ASK(r, "all.test", "A", NULL, "DENY");
	ASK(r, "all.test", "TYPE65280", NULL, "DENY");
	ASK(r, "all.test", "ANY", NULL, "DENY");
	ASK(r, "mx.test", "MX", NULL, "DENY");
	ASK(r, "mx.test", "A", NULL, "A 60 192.0.2.1");
	ASK(r, "mx.test", "AAAA", NULL, "NODATA");
	ASK(r, "mx.test", "ANY", NULL, "A 60 192.0.2.1");
	ASK(r, "kids.test", "A", "192.0.2.1", "DENY");
	ASK(r, "kids.test", "A", "2001:db8::1", "A 60 192.0.2.2");
	ASK(r, "x.deny.test", "TXT", NULL, "DENY");
	ASK(r, "x.deny.test", "A", NULL, "PASS");
	ASK(r, "x.deny.test", "ANY", NULL, "DENY");
	records_unref(r);
}

static void lines_leave_out(void **state)
{
	static const char text[] =
		"[{\"name\": \"a.test\", \"type\": \"A\", \"rdata\": \"192.0.2.1\", \"labels\": "
		"[\"l1\"]},"
		"{\"name\": \"a.test\", \"type\": \"TXT\", \"rdata\": \"t\"},"
		"{\"name\": \"b.test\", \"type\": \"TXT\", \"rdata\": \"t\", \"labels\": [\"l1\"]},"
		/* The same for two lines, and for all. */
		"{\"name\": \"c.test\", \"type\": \"A\", \"rdata\": \"192.0.2.3\", \"labels\": "
		"[\"l1\"]},"
		"{\"name\": \"c.test\", \"type\": \"A\", \"rdata\": \"192.0.2.3\", \"labels\": "
		"[\"l2\"]},"
		"{\"name\": \"d.test\", \"type\": \"A\", \"rdata\": \"192.0.2.4\", \"labels\": "
		"[\"l2\"]},"
		"{\"name\": \"d.test\", \"type\": \"A\", \"rdata\": \"192.0.2.4\", \"labels\": []},"
		"{\"name\": \"d.test\", \"type\": \"A\", \"rdata\": \"192.0.2.5\", \"ttl\": 0}]";
	struct conf_records c = stage_conf();
	char *path = (char *)stage_write("r", text);
	struct records *r;

	(void)state;
	c.files = (struct conf_strings){&path, 1};
	assert_int_equal(stage_read(&c, &r), 0);
	assert_int_equal(records_count(r), 6);
	ASK(r, "a.test", "A", "2001:db8::1", "NODATA");
	ASK(r, "a.test", "AAAA", "2001:db8::1", "NODATA");
	ASK(r, "a.test", "MX", "2001:db8::1", "PASS");
	ASK(r, "a.test", "ANY", "2001:db8::1", "TXT 60 <1>t");
	ASK(r, "b.test", "TXT", "2001:db8::1", "NODATA");
	ASK(r, "b.test", "ANY", "2001:db8::1", "NODATA");
	ASK(r, "b.test", "A", "2001:db8::1", "PASS");
	ASK(r, "c.test", "A", "192.0.2.65", "A 60 192.0.2.3");
	ASK(r, "c.test", "A", "2001:db8::1", "A 60 192.0.2.3");
	ASK(r, "d.test", "A", "192.0.2.1", "A 60 192.0.2.4, A 0 192.0.2.5");
	ASK(r, "a.test", "A", "203.0.113.1", "A 60 192.0.2.1");
	records_unref(r);

	c.no_line_none = c.whole = true;
	assert_int_equal(stage_read(&c, &r), 0);
	ASK(r, "a.test", "A", "203.0.113.1", "NODATA");
	ASK(r, "a.test", "A", NULL, "NODATA");
	ASK(r, "a.test", "A", "192.0.2.1", "A 60 192.0.2.1");
	ASK(r, "a.test", "TXT", NULL, "TXT 60 <1>t");
	ASK(r, "a.test", "MX", NULL, "NODATA"); /* whole */
	ASK(r, "b.test", "MX", NULL, "PASS");	/* has no addresses */
	ASK(r, "d.test", "A", NULL, "A 60 192.0.2.4, A 0 192.0.2.5");
	records_unref(r);
}

static void lines_of_a_file(void **state)
{
	struct conf_records c = stage_conf();
	char *path = (char *)stage_write("r",
		"[{\"name\": \"a.test\", \"type\": \"A\", \"rdata\": \"192.0.2.1\", \"labels\": "
		"[\"l9\"]},"
		"{\"name\": \"a.test\", \"type\": \"A\", \"rdata\": \"192.0.2.2\", \"labels\": "
		"[\"l1\"]}]");
	struct records *r;

	(void)state;
	c.files = (struct conf_strings){&path, 1};
	c.lines_file =
		(char *)stage_write("lines", "{\n  \"l9\": [\"192.168.1.110/32\", \"fd00::/8\"],\n"
					     "  \"l1\": [\"127.0.0.1\"]\n}\n");
	assert_int_equal(stage_read(&c, &r), 0);
	assert_string_equal(stage_told, "");
	ASK(r, "a.test", "A", "192.168.1.110", "A 60 192.0.2.1");
	ASK(r, "a.test", "A", "127.0.0.1", "A 60 192.0.2.2"); /* added to those of the option */
	ASK(r, "a.test", "A", "192.0.2.1", "A 60 192.0.2.2");
	(void)stage_write("lines", "{\"l9\": [\"192.168.1.111/32\"]}");
	records_unref(r);

	(void)stage_write("lines", "{\n\"l9\": [\"192.168.1.300\"],\n\"l8\": 5\n}");
	assert_int_equal(stage_read(&c, &r), -EINVAL);
	assert_string_equal(stage_told,
		"lines:2:7: lines_file: l9 is no list of clients; allowed: [\"CIDR\", …]\n"
		"lines:3:7: lines_file: l8 is no list of clients; allowed: [\"CIDR\", …]\n");
	(void)stage_write("lines", "[]");
	assert_int_equal(stage_read(&c, &r), -EINVAL);
	(void)stage_write("lines", "{\n\"l9\": [}");
	assert_int_equal(stage_read(&c, &r), -EINVAL);
	assert_memory_equal(stage_told, "lines:2:8: lines_file: not JSON: ", 33);
}

static void hosts(void **state)
{
	struct records *r = stage_read_text("\xef\xbb\xbf# a comment\n"
					    "192.168.1.5\tprinter.lan printer # the first\r\n"
					    "   \n"
					    "fd00::5 printer.lan\n"
					    "192.168.1.6 nas.lan\n"
					    "192.168.1.6 media.lan\n"
					    "0.0.0.0 ads.test");

	(void)state;
	assert_int_equal(records_count(r), 9);
	ASK(r, "printer.lan", "A", NULL, "A 60 192.168.1.5");
	ASK(r, "printer.lan", "AAAA", NULL, "AAAA 60 fd00::5");
	ASK(r, "printer", "A", NULL, "A 60 192.168.1.5");
	ASK(r, "5.1.168.192.in-addr.arpa", "PTR", NULL, "PTR 60 printer.lan");
	ASK(r, "6.1.168.192.in-addr.arpa", "PTR", NULL, "PTR 60 nas.lan");
	ASK(r, "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", "PTR",
		NULL, "PTR 60 printer.lan");
	ASK(r, "media.lan", "A", NULL, "A 60 192.168.1.6");
	ASK(r, "ads.test", "A", NULL, "A 60 0.0.0.0");
	ASK(r, "ads.test", "AAAA", NULL, "NODATA");
	ASK(r, "0.0.0.0.in-addr.arpa", "PTR", NULL, "NONE");
	assert_true(holds(r, "168.192.in-addr.arpa"));
	records_unref(r);

	stage_refuses("192.168.1.5 a.lan\n192.168.1 b.lan\n",
		"r:2:1: records: not an address; allowed: ADDRESS NAME…");
	stage_refuses("192.168.1.5 a.lan b..lan\n",
		"r:1:19: records: not a domain name; allowed: ADDRESS NAME…");
	stage_refuses("  192.168.1.5 # none\n",
		"r:1:3: records: an address without a name; allowed: ADDRESS NAME…");
	stage_refuses("a\n\nb\n", "r:1:1: records: not an address; allowed: ADDRESS NAME…\n"
				  "r:3:1: records: not an address; allowed: ADDRESS NAME…");
}

/* A PTR that is written goes before one that a hosts file implies. */
static void several_files(void **state)
{
	struct conf_records c = stage_conf();
	char *paths[2] = {(char *)stage_write("hosts", "192.168.1.5 a.lan\n"),
		(char *)stage_write("json",
			"{\"name\": \"5.1.168.192.in-addr.arpa\", \"type\": \"PTR\", \"rdata\": "
			"\"z.lan\"}")};
	char json[] = "{\"name\": \"a.lan\", \"type\": \"A\", \"rdata\": \"192.168.1.7\"}";
	struct conf_record one = {.json = json, .line = 7, .column = 5};
	struct records *r, *again;

	(void)state;
	c.files = (struct conf_strings){paths, 2};
	c.records = &one;
	c.n_records = 1;
	assert_int_equal(stage_read(&c, &r), 0);
	ASK(r, "5.1.168.192.in-addr.arpa", "PTR", NULL, "PTR 60 z.lan");
	ASK(r, "a.lan", "A", NULL, "A 60 192.168.1.5, A 60 192.168.1.7");
	again = records_ref(r);
	records_unref(r);
	ASK(again, "a.lan", "A", NULL, "A 60 192.168.1.5, A 60 192.168.1.7");
	(void)unlink(paths[0]);
	assert_int_equal(stage_read(&c, &r), -EINVAL);
	assert_string_equal(stage_told,
		"hosts:1:1: records: No such file or directory; allowed: a readable file\n");
	c.files.n = 1;
	records_unref(again);
}

static void rules(void **state)
{
	char a[] = "{\"type\": \"A\", \"rdata\": \"192.0.2.1\"}",
	     mx[] = "{\"type\": \"MX\", \"ttl\": 5, \"rdata\": \"1 a.test\"}",
	     bad[] = "{\"name\": \"a\", \"type\": \"A\", \"rdata\": \"x\", \"labels\": [\"l1\"]}",
	     deny[] = "{\"status\": \"deny\", \"type\": \"TXT\"}";
	struct conf_record v[] = {{a, 1, 1}, {mx, 2, 1}, {deny, 3, 1}, {bad, 4, 9}};
	struct records *r = NULL;

	(void)state;
	assert_int_equal(records_rule_read(v, 3, "c.yaml", 30, NULL, &r), 0);
	assert_string_equal(stage_ask_rule(r, "A"), "A 30 192.0.2.1");
	assert_string_equal(stage_ask_rule(r, "MX"), "MX 5 <0><1><1>a<4>test<0>");
	assert_string_equal(stage_ask_rule(r, "AAAA"), "NODATA");
	assert_string_equal(stage_ask_rule(r, "SRV"), "NODATA");
	assert_string_equal(stage_ask_rule(r, "TXT"), "DENY");
	assert_string_equal(stage_ask_rule(r, "ANY"), "A 30 192.0.2.1, MX 5 <0><1><1>a<4>test<0>");
	records_unref(r);
	r = NULL;
	assert_int_equal(records_rule_read(v, 4, "c.yaml", 30, NULL, &r), -EINVAL);
	assert_null(r);
	assert_int_equal(records_rule_read(v, 0, "c.yaml", 30, NULL, &r), 0);
	assert_null(r);
	assert_string_equal(stage_ask_rule(NULL, "A"), "NONE");
}

/* A hundred thousand names and everything about them, against what was written. */
static void many(void **state)
{
	const unsigned n = 100000;
	char *text = malloc(n * 96 + 16), *at = text, name[64], expected[64];
	struct records *r;

	(void)state;
	for (unsigned i = 0; i < n; i++)
		at += sprintf(at,
			"%s{\"name\":\"h%u.z%u.test\",\"type\":\"A\",\"rdata\":\"10.%u.%u.%u\"}",
			i ? ",\n" : "[", i, i % 100, i >> 16, i >> 8 & 255, i & 255);
	strcpy(at, "]");
	r = stage_read_text(text);
	free(text);
	assert_int_equal(records_count(r), n);
	for (unsigned i = 0; i < n; i++) {
		(void)sprintf(name, "h%u.z%u.test", i, i % 100);
		(void)sprintf(expected, "A 60 10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		ASK(r, name, "A", NULL, expected);
		(void)sprintf(name, "h%u.z%u.test", i, (i + 1) % 100);
		ASK(r, name, "A", NULL, "NONE");
	}
	records_unref(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seed),
		cmocka_unit_test(nothing),
		cmocka_unit_test(wildcards),
		cmocka_unit_test(aliases),
		cmocka_unit_test(denials),
		cmocka_unit_test(lines_leave_out),
		cmocka_unit_test(lines_of_a_file),
		cmocka_unit_test(hosts),
		cmocka_unit_test(several_files),
		cmocka_unit_test(rules),
		cmocka_unit_test(many),
	};

	return cmocka_run_group_tests(tests, NULL, stage_teardown);
}
