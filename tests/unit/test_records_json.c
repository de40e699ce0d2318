/* Records as JSON: each form of data, and each mistake with its place. */
#include "tests/unit/records_stage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define A_TYPES "A, AAAA, CNAME, MX, TXT, NS, SRV, PTR, HTTPS, SVCB, CAA, SOA, DNAME, TYPENUMBER"
#define KEYS	"name, type, ttl, rdata, labels, status"

static void check_data(const char *type, const char *rdata, const char *expected)
{
	char text[1024];
	struct records *r;

	(void)snprintf(text, sizeof text, "{\"name\": \"a.test\", \"type\": \"%s\", \"rdata\": %s}",
		type, rdata);
	r = stage_read_text(text);
	(void)snprintf(text, sizeof text, "%s 60 %s", type, expected);
	ASK(r, "a.test", type, NULL, text);
	records_unref(r);
}

static void data_as_object(void **state)
{
	(void)state;
	check_data("MX", "{\"preference\": 10, \"exchange\": \"m.test\"}", "<0><a><1>m<4>test<0>");
	check_data(
		"MX", "{\"exchange\": \"m.test\", \"preference\": \"10\"}", "<0><a><1>m<4>test<0>");
	check_data("SRV", "{\"priority\": 1, \"weight\": 2, \"port\": 443, \"target\": \"m.test\"}",
		"<0><1><0><2><1><bb><1>m<4>test<0>");
	check_data("CAA",
		"{\"flags\": 0, \"tag\": \"issue\", \"value\": \"ca.test; a=\\\"b c\\\"\"}",
		"<0><5>issueca.test;<20>a=\"b<20>c\"");
	check_data("SOA",
		"{\"mname\": \"n.test\", \"rname\": \"r.test\", \"serial\": 1, \"refresh\": 2, "
		"\"retry\": 3, \"expire\": 4, \"minimum\": 5}",
		"<1>n<4>test<0><1>r<4>test<0><0><0><0><1><0><0><0><2><0><0><0><3><0><0><0><4><0>"
		"<0><0><5>");
	check_data("HTTPS",
		"{\"priority\": 1, \"target\": \".\", \"params\": {\"alpn\": [\"h3\", \"h2\"], "
		"\"port\": 8443, \"ipv4hint\": [\"192.0.2.1\"], \"ipv6hint\": [\"::1\"], \"ech\": "
		"\"AEX+DQ==\"}}",
		"<0><1><0><0><1><0><6><2>h3<2>h2<0><3><0><2><20><fb><0><4><0><4><c0><0><2><1><0>"
		"<5><0><4><0>E<fe><d><0><6><0><10><0><0><0><0><0><0><0><0><0><0><0><0><0><0><0>"
		"<1>");
	check_data("SVCB",
		"{\"priority\": 1, \"target\": \"s.test\", \"params\": {\"alpn\": [\"a,b\\\\c\"], "
		"\"no-default-alpn\": true, \"ohttp\": false, \"mandatory\": [\"alpn\"], "
		"\"key667\": \"x \\\"y\"}}",
		"<0><1><1>s<4>test<0><0><0><0><2><0><1><0><1><0><6><5>a,b\\c<0><2><0><0><2><9b>"
		"<0><4>x<20>\"y");
	check_data("HTTPS", "{\"priority\": 0, \"target\": \"s.test\"}", "<0><0><1>s<4>test<0>");
	check_data("TYPE65280", "{\"hex\": \"0a 0b\"}", "<a><b>");
	check_data("TYPE65280", "{\"hex\": \"\"}", "");
	check_data("A", "{\"hex\": \"c0000201\"}", "192.0.2.1");
}

static void data_as_text(void **state)
{
	(void)state;
	check_data("MX", "\"10 m.test\"", "<0><a><1>m<4>test<0>");
	check_data("TXT", "\"v=spf1 -all\"", "<b>v=spf1<20>-all");
	check_data("TXT", "\"\\\"a b\\\" c\"", "<3>a<20>b<1>c");
	check_data("TXT", "12", "<2>12");
	check_data("TXT", "\"a\\u0000b\"", "<3>a<0>b");
	check_data("HTTPS", "\"1 . alpn=h2,h3\"", "<0><1><0><0><1><0><6><2>h2<2>h3");
	check_data("CAA", "\"0 issue ca.test\"", "<0><5>issueca.test");
	check_data("TYPE65280", "\"\\\\# 1 ff\"", "<ff>");
	check_data("DNAME", "\"x.test\"", "<1>x<4>test<0>");
}

static void bad_data(const char *type, const char *rdata, const char *complaint)
{
	char text[1024], expected[1024];

	(void)snprintf(text, sizeof text, "{\"name\": \"a.test\", \"type\": \"%s\", \"rdata\": %s}",
		type, rdata);
	(void)snprintf(expected, sizeof expected, "r:1:%u: records[0].rdata: %s",
		41 + (unsigned)strlen(type), complaint);
	stage_refuses(text, expected);
}

static void data_refused(void **state)
{
	static char text[70000];

	(void)state;
	bad_data("A", "\"192.0.2\"", "not an IPv4 address; allowed: an IPv4 address");
	bad_data("A", "true",
		"neither a text nor an object; allowed: an IPv4 address, or an object");
	bad_data("A", "null", "missing; allowed: an IPv4 address, or an object");
	bad_data("A", "[\"192.0.2.1\"]",
		"neither a text nor an object; allowed: an IPv4 address, or an object");
	bad_data("A", "{\"address\": \"192.0.2.1\"}",
		"no object has this type's data; allowed: {hex}");
	bad_data("MX", "{\"preference\": 10}",
		"exchange is missing; allowed: {preference, exchange}, {hex}");
	bad_data("MX", "{\"preference\": 10, \"exchange\": \"a\", \"ttl\": 1}",
		"unknown member: ttl; allowed: {preference, exchange}, {hex}");
	bad_data("MX", "{\"preference\": 10, \"exchange\": [\"a\"]}",
		"exchange cannot be read; allowed: {preference, exchange}, {hex}");
	bad_data("MX", "{\"preference\": 10, \"exchange\": \"a b\"}",
		"exchange cannot be read; allowed: {preference, exchange}, {hex}");
	bad_data("MX", "{\"preference\": 70000, \"exchange\": \"a\"}",
		"not a number from 0 to 65535; allowed: PREFERENCE EXCHANGE");
	bad_data("HTTPS", "{\"priority\": 1, \"target\": \".\", \"params\": {\"x y\": 1}}",
		"params cannot be read; allowed: {priority, target, params}, {hex}");
	bad_data("HTTPS", "{\"priority\": 1, \"target\": \".\", \"params\": {\"alpn\": {}}}",
		"params cannot be read; allowed: {priority, target, params}, {hex}");
	bad_data("HTTPS", "{\"priority\": 1, \"target\": \".\", \"params\": {\"port\": \"x\"}}",
		"port: not a number from 0 to 65535; allowed: PRIORITY TARGET KEY=VALUE…");
	bad_data("TYPE65280", "{\"hex\": \"0\"}",
		"an odd number of hexadecimal digits; allowed: \\# LENGTH HEX");
	bad_data("TYPE65280", "{\"hex\": 10}", "hex is no text; allowed: {hex: HEX}");
	bad_data("TYPE65280", "\"text\"",
		"data of this type can only be given as bytes; allowed: \\# LENGTH HEX");
	/* More than an answer holds. */
	(void)sprintf(text, "{\"name\":\"a\",\"type\":\"TXT\",\"rdata\":\"");
	memset(text + strlen(text), 'x', 65100);
	strcat(text, "\"}");
	stage_refuses(text,
		"r:1:34: records[0].rdata: too long for an answer; allowed: a text, or several in "
		"quotes");
}

static void places(void **state)
{
	(void)state;
	/* Everything that is wrong, each at its place. */
	stage_refuses("[\n  {\"name\": \"ok.test\", \"type\": \"A\", \"rdata\": \"192.0.2.1\"},\n"
		      "  {\n    \"name\": \"a..test\",\n    \"ttl\": -1,\n    \"type\": \"A\",\n"
		      "    \"labels\": [\"l1\", \"l7\"], \"status\": \"off\",\n"
		      "    \"rdata\": \"x\"\n  },\n"
		      "  {\"name\": \"b.test\", \"rdata\": \"192.0.2.1\"}\n]",
		"r:4:13: records[1].name: not a domain name; allowed: NAME, *.NAME\n"
		"r:7:39: records[1].status: not a status; allowed: deny\n"
		"r:7:15: records[1].labels: no such line: l7; allowed: l1, l2\n"
		"r:5:12: records[1].ttl: not a time; allowed: seconds, or like 90s, 1h; up to "
		"2147483647\n"
		"r:8:14: records[1].rdata: not an IPv4 address; allowed: an IPv4 address\n"
		"r:10:3: records[2].type: not a type of records; allowed: " A_TYPES);
	stage_refuses("[{\"type\": \"A\", \"rdata\": \"192.0.2.1\"}]",
		"r:1:2: records[0].name: missing; allowed: NAME, *.NAME");
	stage_refuses("[{\"name\": \"a\", \"type\": \"ANY\", \"rdata\": \"1\"}]",
		"r:1:24: records[0].type: not a type of records; allowed: " A_TYPES);
	stage_refuses("[{\"name\": \"a\", \"type\": \"OPT\", \"rdata\": \"1\"}]",
		"r:1:24: records[0].type: not a type of records; allowed: " A_TYPES);
	stage_refuses("[{\"name\": \"a\", \"colour\": 1, \"status\": \"deny\"}]",
		"r:1:2: records[0]: unknown key: colour; allowed: " KEYS);
	stage_refuses("[{\"name\": \"a\", \"rdata\": \"x\", \"status\": \"deny\"}]",
		"r:1:25: records[0].rdata: data of which type; allowed: none without type");
	stage_refuses("[{\"name\": \"a\\u0000b\", \"status\": \"deny\"}]",
		"r:1:11: records[0].name: not a domain name; allowed: NAME, *.NAME");
	stage_refuses("[{\"name\": \"a\", \"ttl\": \"1x\", \"status\": \"deny\"}]",
		"r:1:23: records[0].ttl: not a time; allowed: seconds, or like 90s, 1h; up to "
		"2147483647");
	/* A key in a text, or deeper, is not the key. */
	stage_refuses("[{\"name\": \"rdata\", \"type\": \"MX\", \"labels\": [\"rdata\"], "
		      "\"rdata\": {\"name\": 1}}]",
		"r:1:44: records[0].labels: no such line: rdata; allowed: l1, l2\n"
		"r:1:64: records[0].rdata: unknown member: name; allowed: {preference, exchange}, "
		"{hex}");
}

static void syntax(void **state)
{
	(void)state;
	stage_refuses("[\n 5, null,\n \"x\"]",
		"r:2:2: records[0]: not an object; allowed: {" KEYS "}\n"
		"r:2:5: records[1]: not JSON: null; allowed: {" KEYS "}\n"
		"r:3:2: records[2]: not an object; allowed: {" KEYS "}");
	stage_refuses("[\n{\"name\" \"a\"}]",
		"r:2:9: records[0]: not JSON: object property name separator ':' expected; "
		"allowed: {" KEYS "}");
	stage_refuses("[,]",
		"r:1:2: records[0]: not JSON: a record is expected; allowed: an array of records");
	stage_refuses("[{\"name\":\"a\",\"status\":\"deny\"},]",
		"r:1:31: records[1]: not JSON: a record is expected; allowed: an array of "
		"records");
	stage_refuses("[{\"name\":\"a\",\"status\":\"deny\"} {}]",
		"r:1:31: records[1]: not JSON: a comma or ] is expected; allowed: an array of "
		"records");
	stage_refuses("[{\"name\":\"a\",\"status\":\"deny\"}",
		"r:1:30: records[1]: not JSON: a comma or ] is expected; allowed: an array of "
		"records");
	stage_refuses("[] x", "r:1:4: records[0]: not JSON: something stands behind the array; "
			      "allowed: an array of records");
	stage_refuses("{\"name\":\"a\",\"status\":\"deny\"",
		"r:1:28: records[0]: not JSON: ends too early; allowed: {" KEYS "}");
	stage_refuses("[{\"name\":\"a\",\"status\":\"den",
		"r:1:27: records[0]: not JSON: ends too early; allowed: {" KEYS "}\n"
		"r:1:27: records[1]: not JSON: a comma or ] is expected; allowed: an array of "
		"records");
	stage_refuses("[{\"name\":\"\xff\",\"status\":\"deny\"}]",
		"r:1:11: records[0]: not JSON: invalid utf-8 string; allowed: {" KEYS "}");
	stage_refuses("[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]",
		"r:1:10: records[0]: not JSON: nesting too deep; allowed: {" KEYS "}");
}

static void hostile_files(void **state)
{
	static char deep[2000000];
	struct conf_records c = stage_conf();
	const char *path = stage_path("r");
	char *file = (char *)path;
	struct records *r;

	(void)state;
	c.files = (struct conf_strings){&file, 1};
	stage_write_bytes("r", "[{\"name\":\"a\0b\"}]", 17);
	assert_int_equal(stage_read(&c, &r), -EINVAL);
	assert_string_equal(
		stage_told, "r:1:2: records[0]: not JSON: a NUL byte; allowed: {" KEYS "}\n");
	memset(deep, '[', sizeof deep);
	stage_write_bytes("r", deep, sizeof deep);
	assert_int_equal(stage_read(&c, &r), -EINVAL);
	memset(deep, '"', sizeof deep);
	deep[0] = '[';
	stage_write_bytes("r", deep, sizeof deep);
	assert_int_equal(stage_read(&c, &r), -EINVAL);
	/* A million mistakes: only so many are told. */
	for (size_t i = 1; i + 1 < sizeof deep; i += 2)
		memcpy(deep + i, "5,", 2);
	deep[0] = '[';
	stage_write_bytes("r", deep, sizeof deep);
	assert_int_equal(stage_read(&c, &r), -EINVAL);
	assert_true(strlen(stage_told) < 16000);
	assert_non_null(strstr(stage_told, "\nrecords: more is wrong than is told"));
	file = (char *)"/tmp";
	assert_int_equal(stage_read(&c, &r), -EINVAL);
	assert_string_equal(
		stage_told, "/tmp:1:1: records: Is a directory; allowed: a readable file\n");
	file = (char *)"/dev/zero";
	assert_int_equal(stage_read(&c, &r), -EINVAL);
}

static void together(void **state)
{
	(void)state;
	stage_refuses("[{\"name\": \"a.test\", \"type\": \"CNAME\", \"rdata\": \"b.test\"},\n"
		      "{\"name\": \"A.test\", \"type\": \"TXT\", \"rdata\": \"b\"}]",
		"r:2:1: records[1]: a CNAME stands beside other records of a.test; allowed: one "
		"CNAME and nothing else");
	stage_refuses("[{\"name\": \"a.test\", \"type\": \"CNAME\", \"rdata\": \"b.test\"},\n"
		      "{\"name\": \"a.test\", \"type\": \"CNAME\", \"rdata\": \"c.test\"}]",
		"r:2:1: records[1]: a CNAME stands beside other records of a.test; allowed: one "
		"CNAME and nothing else");
	stage_refuses("[{\"name\": \"a.test\", \"type\": \"A\", \"rdata\": \"192.0.2.1\","
		      " \"labels\": [\"l1\", \"l2\"]},\n"
		      "{\"name\": \"a.test\", \"type\": \"CNAME\", \"rdata\": \"c.test\","
		      " \"labels\": [\"l2\"]}]",
		"r:2:1: records[1]: a CNAME stands beside other records of a.test; allowed: one "
		"CNAME and nothing else");
	/* The same once more, and a denial, do no harm. */
	records_unref(stage_read_text(
		"[{\"name\": \"a.test\", \"type\": \"CNAME\", \"rdata\": \"b.test\"},"
		"{\"name\": \"a.test\", \"type\": \"CNAME\", \"rdata\": \"B.test.\"},"
		"{\"name\": \"a.test\", \"type\": \"AAAA\", \"status\": \"deny\"}]"));
}

static void too_many_of_a_name(void **state)
{
	char *text = malloc(5000 * 64), *at = text;
	struct records *r;

	(void)state;
	for (unsigned i = 0; i < 4097; i++) {
		at += sprintf(at, "%s{\"name\":\"a\",\"type\":\"A\",\"rdata\":\"10.0.%u.%u\"}",
			i ? ",\n" : "[", i >> 8, i & 255);
		if (i < 4095)
			continue;
		strcpy(at, "]");
		if (i == 4095) {
			r = stage_read_text(text);
			assert_int_equal(records_count(r), 4096);
			records_unref(r);
		}
	}
	stage_refuses(text, "r:4097:1: records[4096]: too many records of a; allowed: at most "
			    "4096");
	free(text);
}

/* The same CNAME over and over is no fault, until it is too often: pairs are not looked at then. */
static void too_many_twins_of_a_name(void **state)
{
	enum { TWINS = 100000 };
	/* Of the processor, whoever else uses it. */
	const struct itimerval soon = {.it_value.tv_sec = 60}, never = {0};
	char *text = malloc(TWINS * 64), *at = text;

	(void)state;
	for (unsigned i = 0; i < TWINS; i++)
		at += sprintf(
			at, "%s{\"name\":\"a\",\"type\":\"CNAME\",\"rdata\":\"b\"}", i ? "," : "[");
	strcpy(at, "]");
	assert_int_equal(setitimer(ITIMER_PROF, &soon, NULL), 0);
	stage_refuses(text, "r:1:3999962: records[99999]: too many records of a; allowed: at most "
			    "4096");
	assert_int_equal(setitimer(ITIMER_PROF, &never, NULL), 0);
	free(text);
}

static void inline_records(void **state)
{
	char good[] = "{\"name\": \"a.lan\", \"type\": \"A\", \"rdata\": \"192.0.2.1\"}",
	     bad[] = "{\"name\": \"a.lan\", \"type\": \"A\", \"rdata\": \"192.0.2\"}",
	     broken[] = "{";
	struct conf_record v[] = {{good, 7, 5}, {bad, 8, 7}, {broken, 9, 7}};
	struct conf_records c = stage_conf();
	struct records *r;

	(void)state;
	c.records = v;
	c.n_records = 1;
	assert_int_equal(stage_read(&c, &r), 0);
	records_unref(r);
	c.n_records = 3;
	assert_int_equal(stage_read(&c, &r), -EINVAL);
	assert_string_equal(stage_told,
		"conf.yaml:8:7: records.inline[1].rdata: not an IPv4 address; allowed: an IPv4 "
		"address\n"
		"conf.yaml:9:7: records.inline[2]: not JSON: ends too early; allowed: {" KEYS
		"}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_as_object),
		cmocka_unit_test(data_as_text),
		cmocka_unit_test(data_refused),
		cmocka_unit_test(places),
		cmocka_unit_test(syntax),
		cmocka_unit_test(hostile_files),
		cmocka_unit_test(together),
		cmocka_unit_test(too_many_of_a_name),
		cmocka_unit_test(too_many_twins_of_a_name),
		cmocka_unit_test(inline_records),
	};

	return cmocka_run_group_tests(tests, NULL, stage_teardown);
}
