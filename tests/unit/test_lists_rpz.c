/* Response policy zones: triggers and actions, the zone's own name, master files as people write
 * them. */
#include "tests/unit/lists_held.h"

#define HEAD "$TTL 300\n@ SOA localhost. root.localhost. 1 2 3 4 5\n  NS localhost.\n"

static void actions(void **state)
{
	static const struct held_case cases[] = {
		{"x.test CNAME .", "exact x.test"},
		{"x.test CNAME *.", "exact x.test"},
		{"x.test CNAME rpz-drop.", "exact x.test"},
		{"x.test CNAME rpz-tcp-only.", "exact x.test"},
		{"x.test A 10.0.0.1", "exact x.test"},
		{"x.test AAAA 2001:db8::1", "exact x.test"},
		{"x.test CNAME garden.test.", "exact x.test"},
		{"x.test CNAME *.garden.test.", "exact x.test"},
		{"x.test TXT \"( ; text\"", "exact x.test"},
		{"x.test TYPE65 \\# 0", "exact x.test"},
		{"x.test CNAME rpz-passthru.", "except-closer exact x.test"},
		{"x.test CNAME x.test.", "except-closer exact x.test"},
		{"x.test cname RPZ-PASSTHRU.", "except-closer exact x.test"},
		{"*.x.test CNAME .", "below x.test"},
		{"*.x.test CNAME rpz-passthru.", "except-closer below x.test"},
		{"*.x.test CNAME *.", "below x.test"},
		{"* CNAME .", "below ."},
		{"X.Test CNAME .", "exact x.test"},
		{"x.test. CNAME .", "exact x.test"},
		{"a\\.b.x.test CNAME .", "exact a\\.b.x.test"},
		{"a\\046b\\\\.test CNAME .", "exact a\\.b\\\\.test"},
		/* Class and TTL in any order. */
		{"x.test 300 IN CNAME .", "exact x.test"},
		{"x.test IN 1h30m CNAME .", "exact x.test"},
		{"x.test\tIN\tCNAME\t.", "exact x.test"},
		{"x.test 60 A 10.0.0.1", "exact x.test"},
		{"x.test CLASS1 CNAME .", "exact x.test"},
		/* Triggers. */
		{"24.0.2.0.192.rpz-ip CNAME .", "prefix 192.0.2.0/24"},
		{"32.1.2.0.192.rpz-ip CNAME *.", "prefix 192.0.2.1/32"},
		{"48.zz.101.db8.2001.rpz-ip CNAME .", "prefix 2001:db8:101::/48"},
		{"128.57.zz.1000.db8.2001.rpz-ip CNAME .", "prefix 2001:db8:1000::57/128"},
		{"128.1.zz.rpz-ip CNAME .", "prefix ::1/128"},
		{"64.0.0.0.0.4.3.2.1.rpz-ip CNAME .", "prefix 1:2:3:4::/64"},
		{"24.0.2.0.192.rpz-ip CNAME rpz-passthru.", "unused"},
		{"24.0.2.0.192.rpz-client-ip CNAME .", "unused"},
		{"24.0.2.0.192.rpz-nsip CNAME .", "unused"},
		{"ns.x.test.rpz-nsdname CNAME .", "unused"},
		/* Not about names. */
		{"@ A 10.0.0.1", "unused"},
		{"x.test RRSIG A 8 2 300 1 2 3 x. y", ""},
		{"; a comment", ""},
		{"$TTL 2h", ""},
		{"$ORIGIN rpz.test.", ""},
	};

	(void)state;
	held_lines(LIST_RPZ, cases, HELD_COUNT(cases));
}

static void the_zones_own_name(void **state)
{
	/* By the SOA, */
	log_takes(LIST_RPZ,
		"rpz.test. 60 IN SOA a. b. 1 2 3 4 5\nx.test.rpz.test. CNAME .\n"
		"*.y.test.rpz.test. CNAME .\n8.0.0.0.10.rpz-ip.rpz.test. CNAME .\n",
		"2:exact x.test\n3:below y.test\n4:prefix 10.0.0.0/8\n");
	/* by the origin, */
	log_takes(LIST_RPZ, "$ORIGIN rpz.test.\nx.test CNAME .\ny.test.rpz.test. CNAME .\n",
		"2:exact x.test\n3:exact y.test\n");
	/* by both, */
	log_takes(LIST_RPZ,
		"$ORIGIN test.\nrpz SOA a. b. 1 2 3 4 5\n$ORIGIN rpz.test.\nx.test CNAME .\n"
		"$ORIGIN deep.rpz.test.\ny CNAME .\n@ CNAME .\n",
		"4:exact x.test\n6:exact y.deep\n7:exact deep\n");
	/* Origins that are relative to the one before. */
	log_takes(LIST_RPZ,
		"$ORIGIN test.\n@ SOA a. b. 1 2 3 4 5\n$ORIGIN rpz\n$ORIGIN deep\ny CNAME .\n",
		"5:exact y.deep.rpz\n");
	/* or by nothing. */
	log_takes(LIST_RPZ, HEAD "x.test CNAME .\ny.test. CNAME .\n",
		"4:exact x.test\n5:exact y.test\n");
	/* The name itself, through its target, is relative too. */
	log_takes(LIST_RPZ,
		"$ORIGIN rpz.test.\n@ SOA a. b. 1 2 3 4 5\nx.test CNAME x.test.\n"
		"y.test CNAME y.test\nz.test CNAME rpz-passthru\n",
		"3:except-closer exact x.test\n4:exact y.test\n5:exact z.test\n");
	(void)state;
}

static void master_files(void **state)
{
	/* An owner is the one before where the line begins with a blank. */
	log_takes(LIST_RPZ, HEAD "x.test A 10.0.0.1\n\tAAAA ::1\n  60 IN TXT \"a\" \"b\"\n",
		"4:exact x.test\n5:exact x.test\n6:exact x.test\n");
	/* Parentheses, comments within, quotes, a line's end of two bytes, none at the end. */
	log_takes(LIST_RPZ,
		"$TTL 1h ; a comment\r\n@ IN SOA ns. root. ( ; serial (\r\n\t1 ; )\r\n\t2 3 4\r\n"
		"\t5 )\r\n\r\nx.test ( IN\r\n CNAME ) . ; why\r\ny.test CNAME .",
		"7:exact x.test\n9:exact y.test\n");
	log_takes(LIST_RPZ, "\xef\xbb\xbfx.test CNAME .\n", "1:exact x.test\n");
	log_takes(LIST_RPZ, "x.test TXT \"an \\\" (; open\ny.test CNAME .\n",
		"1:exact x.test\n2:exact y.test\n");
	log_takes(LIST_RPZ, "", "");
	log_takes(LIST_RPZ, " \n\n; only\n", "");
	(void)state;
}

static void what_cannot_be_read(void **state)
{
	static const char no_type[] = "no type: NAME [TTL] [CLASS] TYPE DATA";

	(void)state;
	log_skips(LIST_RPZ, "a.test CNAME .", "x.test", 7, no_type);
	log_skips(LIST_RPZ, "a.test CNAME .", "x.test 300 IN", 14, no_type);
	log_skips(LIST_RPZ, "a.test CNAME .", "x..test CNAME .", 1, "not a domain name");
	log_skips(LIST_RPZ, "a.test CNAME .", "x.test ||y^", 8, no_type);
	log_skips(LIST_RPZ, "a.test CNAME .", "$INCLUDE other.zone", 1,
		"not a directive that is read here");
	log_skips(LIST_RPZ, "a.test CNAME .", "$GENERATE 1-9 $ A 10.0.0.$", 1,
		"not a directive that is read here");
	log_skips(LIST_RPZ, "a.test CNAME .", "24.0.2.0.rpz-ip CNAME .", 1,
		"not an address of rpz-ip");
	log_skips(LIST_RPZ, "a.test CNAME .", "33.0.2.0.192.rpz-ip CNAME .", 1,
		"not an address of rpz-ip");
	log_skips(LIST_RPZ, "a.test CNAME .", "24.0.2.0.x.rpz-ip CNAME .", 1,
		"not an address of rpz-ip");
}

static void skipped_in_a_zone(void **state)
{
	static struct log log;
	struct list_counts counts;
	static const char text[] = " CNAME .\n$ORIGIN rpz.test.\nx.test CNAME .\n"
				   "y.test. CNAME .\nz..z CNAME .\n A 10.0.0.1\nz CNAME .\n";

	(void)state;
	assert_int_equal(log_read(&log, LIST_RPZ, text, sizeof text - 1, &counts), -EBADMSG);
	assert_string_equal(log.entries, "3:exact x.test\n7:exact z\n");
	assert_non_null(
		strstr(log.told, "f:1:2: warning: lists.l: the owner of the record before"));
	assert_non_null(strstr(log.told, "f:4:1: warning: lists.l: not a name of this zone"));
	assert_non_null(
		strstr(log.told, "f:6:2: warning: lists.l: the owner of the record before"));
	assert_non_null(strstr(log.told, "f:1:1: lists.l: 4 of 7 lines cannot be read"));
}

static void meanings(void **state)
{
	(void)state;
	held_takes(LIST_RPZ, "x.test CNAME .", "x.test", "a.x.test");
	held_takes(LIST_RPZ, "*.x.test CNAME .", "a.x.test b.a.x.test", "x.test");
	held_takes(LIST_RPZ, "x.test CNAME .\n*.x.test CNAME .\na.x.test CNAME rpz-passthru.\n",
		"x.test b.x.test b.a.x.test", "a.x.test");
	held_takes(LIST_RPZ,
		"*.x.test CNAME .\n*.a.x.test CNAME rpz-passthru.\nc.b.a.x.test CNAME .\n",
		"a.x.test c.b.a.x.test", "b.a.x.test d.c.b.a.x.test");
}

/* --- hostile --- */

static char big[2 << 20];

static void assert_broken(size_t n, const char *told)
{
	static struct log log;
	struct list_counts counts;

	assert_int_equal(log_read(&log, LIST_RPZ, big, n, &counts), -EBADMSG);
	assert_int_equal(log.errors, 1);
	if (!strstr(log.told, told))
		fail_msg("\"%s\" is not in \"%s\"", told, log.told);
}

static size_t put(size_t at, const char *text)
{
	memcpy(big + at, text, strlen(text));
	return at + strlen(text);
}

static void parentheses(void **state)
{
	static struct log log;
	struct list_counts counts;
	size_t n = put(0, "a.test CNAME .\nb.test (");

	(void)state;
	for (unsigned i = 0; n < 1 << 20; i++)
		n = put(n, i % 9 ? "word " : "\n");
	assert_broken(n, "f:2:8: lists.l: '(' is not closed; allowed: ");
	/* Closed after all: too long, and the next one is read. */
	n = put(n, ")\nc.test CNAME .\n");
	assert_int_equal(log_read(&log, LIST_RPZ, big, n, &counts), 0);
	assert_int_equal(counts.entries, 2);
	assert_int_equal(counts.skipped, 1);
	assert_non_null(strstr(log.told, "f:2:1: warning: lists.l: a record above 64 KiB"));
	memset(big, '(', 1 << 20);
	assert_broken(1 << 20, "'(' is not closed");
	memset(big, ')', 1 << 20);
	assert_broken(1 << 20, "f:1:1: lists.l: ')' without '('");
}

static void long_and_odd_bytes(void **state)
{
	static struct log log;
	struct list_counts counts;
	size_t n = put(0, "a.test CNAME .\n");

	(void)state;
	memset(big + n, 'x', 1 << 20);
	n = put(n + (1 << 20), "\nb.test CNAME .\n");
	assert_int_equal(log_read(&log, LIST_RPZ, big, n, &counts), 0);
	assert_int_equal(counts.entries, 2);
	assert_int_equal(counts.skipped, 1);
	n = put(0, "a.test CNAME .\nb");
	big[n] = 0;
	assert_broken(n + 1, "f:2:2: lists.l: a NUL byte");
	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (char)(1 + (i * 2654435761u >> 9) % 255);
	(void)log_read(&log, LIST_RPZ, big, sizeof big, &counts);
	n = put(0, "x.test CNAME \\");
	assert_int_equal(log_read(&log, LIST_RPZ, big, n, &counts), 0);
}

/* Names that are too long only with the origin. */
static void long_names(void **state)
{
	static struct log log;
	struct list_counts counts;
	size_t n = put(0, "$ORIGIN ");

	(void)state;
	for (unsigned i = 0; i < 60; i++)
		n = put(n, "aa.");
	n = put(n, "\nx.test CNAME .\n");
	for (unsigned i = 0; i < 40; i++)
		n = put(n, "bb.");
	n = put(n, "x CNAME .\ny.test CNAME .\n");
	assert_int_equal(log_read(&log, LIST_RPZ, big, n, &counts), 0);
	assert_string_equal(log.entries, "2:exact x.test\n4:exact y.test\n");
	assert_int_equal(counts.skipped, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(actions),
		cmocka_unit_test(the_zones_own_name),
		cmocka_unit_test(master_files),
		cmocka_unit_test(what_cannot_be_read),
		cmocka_unit_test(skipped_in_a_zone),
		cmocka_unit_test(meanings),
		cmocka_unit_test(parentheses),
		cmocka_unit_test(long_and_odd_bytes),
		cmocka_unit_test(long_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
