/* dnsmasq's configuration as a list. */
#include "tests/unit/lists_log.h"

static void takes(const char *text, const char *entries)
{
	log_takes(LIST_DNSMASQ, text, entries);
}

static void test_names(void **state)
{
	(void)state;
	takes("server=/a.test/114.114.114.114\nlocal=/b.test/\naddress=/c.test/1.2.3.4\n"
	      "ipset=/d.test/s1,s2\nnftset=/e.test/4#inet#t#s\n",
		"1:suffix a.test\n2:suffix b.test\n3:suffix c.test\n4:suffix d.test\n"
		"5:suffix e.test\n");
	takes("server=/cn/114.114.114.114\nserver=/xn--55qx5d/1.1.1.1#5353\nserver=/A.Test/#53\n",
		"1:suffix cn\n2:suffix xn--55qx5d\n3:suffix a.test\n");
	takes("server = /a.test/1.1.1.1\r\n\tserver=/.b.test/1.1.1.1\n",
		"1:suffix a.test\n2:suffix b.test\n");
	takes("server=/a.test/b.test/c.test/1.1.1.1@eth0\n",
		"1:suffix a.test\n1:suffix b.test\n1:suffix c.test\n");
	takes("ipset=/a.test/b.test/s\n", "1:suffix a.test\n1:suffix b.test\n");
}

/* Of the address only `#` behind server= and local= matters: the usual servers. */
static void test_values(void **state)
{
	(void)state;
	takes("address=/a.test/\naddress=/b.test/#\naddress=/c.test/::\nserver=/d.test/\n",
		"1:suffix a.test\n2:suffix b.test\n3:suffix c.test\n4:suffix d.test\n");
	takes("server=/a.test/1.1.1.1\nserver=/b.a.test/c.test/#\nlocal=/d.test/#\n",
		"1:suffix a.test\n2:except-closer suffix b.a.test\n2:except-closer suffix c.test\n"
		"3:except-closer suffix d.test\n");
}

static void test_wildcards(void **state)
{
	(void)state;
	takes("server=/*a.test/1.1.1.1\naddress=/#/1.2.3.4\nserver=/*/1.1.1.1\nserver=/*b+c/#\n",
		"1:regexp a\\.test$\n2:suffix .\n3:suffix .\n4:except-closer regexp b\\+c$\n");
}

static void test_bogus_answers(void **state)
{
	(void)state;
	takes("bogus-nxdomain=1.2.3.4\nbogus-nxdomain=2001:240:bb5f:1980:0:1:80b:ad00\n"
	      "bogus-nxdomain=10.1.2.3/8\n",
		"1:prefix 1.2.3.4/32\n2:prefix 2001:240:bb5f:1980:0:1:80b:ad00/128\n"
		"3:prefix 10.0.0.0/8\n");
}

static void test_comments(void **state)
{
	(void)state;
	takes("## Public DNS\n\n# \xc3\x9c\n"
	      "#server=/ax1x.com/114.114.114.114 # Disabled: why\n"
	      "server=/a.test/1.1.1.1 # b\nserver=/b.test/1.1.1.1#53\n",
		"5:suffix a.test\n6:suffix b.test\n");
}

static void test_unused(void **state)
{
	static const char text[] = "no-resolv\ncache-size=1000\nserver=1.1.1.1\n"
				   "server=//1.1.1.1\nalias=1.2.3.4,5.6.7.8\n"
				   "rebind-domain-ok=/a.test/\nignore-address=1.2.3.4\n"
				   "filter-AAAA\nuser=nobody\nadd-cpe-id=x\nserver=\n"
				   "server=//a.test/1.1.1.1\n";
	struct log log = {.stop = 0};
	struct list_counts counts;

	(void)state;
	assert_int_equal(log_read(&log, LIST_DNSMASQ, text, sizeof text - 1, &counts), 0);
	assert_string_equal(log.told, "");
	assert_string_equal(log.entries, "12:suffix a.test\n");
	assert_int_equal(counts.unused, 11);
	assert_int_equal(counts.entries, 1);
	assert_int_equal(counts.lines, 12);
}

static void test_skips(void **state)
{
	static const char good[] = "server=/a.test/1.1.1.1";
	static const char odd[] = "not a domain name: this character is not part of one";

	(void)state;
	log_skips(LIST_DNSMASQ, good, "sever=/a.test/1.1.1.1", 1, "not an option of dnsmasq");
	log_skips(LIST_DNSMASQ, good, "no-reso", 1, "not an option of dnsmasq");
	log_skips(LIST_DNSMASQ, good, "no-resolvs", 1, "not an option of dnsmasq");
	log_skips(LIST_DNSMASQ, good, "b.test", 1, "not an option of dnsmasq");
	log_skips(LIST_DNSMASQ, good, "=", 1, "not an option of dnsmasq");
	log_skips(LIST_DNSMASQ, good, "server=/b.test", 8, "no slash behind the name");
	log_skips(LIST_DNSMASQ, good, " address=1.2.3.4", 10, "no name between slashes");
	log_skips(LIST_DNSMASQ, good, "ipset=", 7, "no name between slashes");
	log_skips(LIST_DNSMASQ, good, "server=/b,c/1.1.1.1", 10, odd);
	log_skips(
		LIST_DNSMASQ, good, "bogus-nxdomain=b.test", 16, "neither an address nor a prefix");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_wildcards),
		cmocka_unit_test(test_bogus_answers),
		cmocka_unit_test(test_comments),
		cmocka_unit_test(test_unused),
		cmocka_unit_test(test_skips),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
