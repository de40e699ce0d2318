/* Address lists, and what ipset and nft write. */
#include "tests/unit/lists_log.h"

static void takes(const char *text, const char *entries)
{
	log_takes(LIST_CIDR, text, entries);
}

static void test_prefixes(void **state)
{
	(void)state;
	takes("# a\n1.0.1.0/24\n8.8.8.8 # b\n2001:250::/35\r\n::/127\n224.0.0.0/3\n198.18.0.0/15",
		"2:prefix 1.0.1.0/24\n3:prefix 8.8.8.8/32\n4:prefix 2001:250::/35\n5:prefix "
		"::/127\n"
		"6:prefix 224.0.0.0/3\n7:prefix 198.18.0.0/15\n");
	/* As the programs that read such lists do: bits behind the length do not matter. */
	takes("10.1.2.3/8\n2001:db8::1/32\n0.0.0.0/0\n::/0\n",
		"1:prefix 10.0.0.0/8\n2:prefix 2001:db8::/32\n3:prefix 0.0.0.0/0\n4:prefix ::/0\n");
	takes("::ffff:1.2.3.4\n::ffff:10.1.0.0/104\n::ffff:0:0/95\n",
		"1:prefix 1.2.3.4/32\n2:prefix 10.0.0.0/8\n3:prefix ::fffe:0:0/95\n");
}

static void test_ranges(void **state)
{
	(void)state;
	takes("10.0.0.0-10.0.0.255\n10.0.0.1-10.0.0.6\n1.1.1.1-1.1.1.1\n",
		"1:prefix 10.0.0.0/24\n2:prefix 10.0.0.1/32\n2:prefix 10.0.0.2/31\n"
		"2:prefix 10.0.0.4/31\n2:prefix 10.0.0.6/32\n3:prefix 1.1.1.1/32\n");
	takes("0.0.0.0-255.255.255.255\n2001:db8::-2001:db8::2\n",
		"1:prefix 0.0.0.0/0\n2:prefix 2001:db8::/127\n2:prefix 2001:db8::2/128\n");
}

static void test_ipset(void **state)
{
	(void)state;
	takes("create chnroute hash:net family inet\nadd chnroute 1.0.1.0/24\n"
	      "add chnroute 1.2.3.4 timeout 0\nadd s 10.0.0.1-10.0.0.2\nadd s 10.0.0.0/8,tcp:80\n"
	      "-A s 9.9.9.9\nCOMMIT\n",
		"2:prefix 1.0.1.0/24\n3:prefix 1.2.3.4/32\n4:prefix 10.0.0.1/32\n"
		"4:prefix 10.0.0.2/32\n5:prefix 10.0.0.0/8\n6:prefix 9.9.9.9/32\n");
}

static void test_nft(void **state)
{
	(void)state;
	takes("#!/usr/sbin/nft -f\n"
	      "add set inet global chnroute6 { type ipv6_addr; flags interval; }\n"
	      "add element inet global chnroute6 { 2001:250::/35 }\n"
	      "add element inet t s { 1.0.1.0/24, 1.1.0.0-1.1.0.1, 8.8.8.8 timeout 1h expires 5m "
	      "}\n"
	      "flush set inet t s\n",
		"3:prefix 2001:250::/35\n4:prefix 1.0.1.0/24\n4:prefix 1.1.0.0/31\n"
		"4:prefix 8.8.8.8/32\n");
	takes("table inet fw {\n\tset s {\n\t\ttype ipv4_addr\n\t\tflags interval\n"
	      "\t\tauto-merge\n\t\telements = { 1.0.1.0/24, 1.0.2.0/23,\n"
	      "\t\t\t     1.0.8.0/21 counter packets 0 bytes 0,\n\n\t\t\t     1.0.32.0/19 }\n"
	      "\t}\n}\ndefine x = {\n9.9.9.9\n}\n8.8.8.8\n",
		"6:prefix 1.0.1.0/24\n6:prefix 1.0.2.0/23\n7:prefix 1.0.8.0/21\n"
		"9:prefix 1.0.32.0/19\n13:prefix 9.9.9.9/32\n15:prefix 8.8.8.8/32\n");
}

static void test_skips(void **state)
{
	static const char good[] = "1.2.3.4";
	static const char no[] = "neither an address nor a prefix";
	static const char no_range[] = "neither a range of addresses nor a prefix";

	(void)state;
	log_skips(LIST_CIDR, good, "a.test", 1, no);
	log_skips(LIST_CIDR, good, " 10.0.0.0/33", 2, no);
	log_skips(LIST_CIDR, good, "10.0.0.0/", 1, no);
	log_skips(LIST_CIDR, good, "10.0.0.0/8 x", 1, no);
	log_skips(LIST_CIDR, good, "a-b.test", 1, no_range);
	log_skips(LIST_CIDR, good, "10.0.0.0-::1", 1, no_range);
	log_skips(LIST_CIDR, good, "10.0.0.0/8-10.0.0.9", 1, no_range);
	log_skips(LIST_CIDR, good, "10.0.0.9-10.0.0.0", 1,
		"a range whose end lies before its beginning");
	log_skips(LIST_CIDR, good, "add s", 6, "a set without an element");
	log_skips(LIST_CIDR, good, "add s x", 7, no);
	log_skips(LIST_CIDR, good, "add element inet t s { x }", 24, no);
	log_skips(LIST_CIDR, good, "IP-CIDR,1.0.0.0/8", 1, no_range);
}

static void test_unused(void **state)
{
	static const char text[] = "add s 1.2.3.4 nomatch\nadd s 1.2.3.5\n";
	struct log log = {.stop = 0};
	struct list_counts counts;

	(void)state;
	assert_int_equal(log_read(&log, LIST_CIDR, text, sizeof text - 1, &counts), 0);
	assert_string_equal(log.entries, "2:prefix 1.2.3.5/32\n");
	assert_int_equal(counts.unused, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_ipset),
		cmocka_unit_test(test_nft),
		cmocka_unit_test(test_skips),
		cmocka_unit_test(test_unused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
