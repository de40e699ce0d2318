/* SmartDNS' configuration and domain sets as lists. */
#include "tests/unit/lists_log.h"

static void takes(const char *text, const char *entries)
{
	log_takes(LIST_SMARTDNS, text, entries);
}

static void test_names(void **state)
{
	(void)state;
	takes("address /a.test/#\nnameserver /b.test/group\ndomain-rules /c.test/ -a # -n g\n"
	      "ipset /d.test/set\nnftset /e.test/#4:inet#tab#set\naddress /F.Test./1.2.3.4\r\n",
		"1:suffix a.test\n2:suffix b.test\n3:suffix c.test\n4:suffix d.test\n"
		"5:suffix e.test\n6:suffix f.test\n");
	takes("address /-.1500020991.vodplayer.wxamedia.com/#\naddress /*.b.test/#6\n"
	      "address /.c.test/#\naddress /*d.test/#\n",
		"1:exact 1500020991.vodplayer.wxamedia.com\n2:below b.test\n3:suffix c.test\n"
		"4:regexp d\\.test$\n");
	takes("address /./#\nnameserver /*/g\ndomain-rules / -n g\naddress //#\n",
		"1:suffix .\n2:suffix .\n3:suffix .\n4:suffix .\n");
}

static void test_exceptions(void **state)
{
	(void)state;
	takes("address /a.test/#\naddress /b.a.test/-\nnameserver /-.c.a.test/-\naddress "
	      "/d.test/-6\n",
		"1:suffix a.test\n2:except-closer suffix b.a.test\n"
		"3:except-closer exact c.a.test\n4:suffix d.test\n");
}

static void test_domain_sets(void **state)
{
	(void)state;
	takes("# a set\na.test\n-.b.test\n*.c.test # why\n\nD.TEST\ncn\n",
		"2:suffix a.test\n3:exact b.test\n4:below c.test\n6:suffix d.test\n7:suffix cn\n");
}

static void test_unused(void **state)
{
	static const char text[] = "server 1.1.1.1 -group g\nbind [::]:53\ncache-size 32768\n"
				   "domain-set -name s -file /etc/s\naddress /domain-set:s/#\n"
				   "address #6\ngroup-begin x\ngroup-end\n#address /a.test/#\n";
	struct log log = {.stop = 0};
	struct list_counts counts;

	(void)state;
	assert_int_equal(log_read(&log, LIST_SMARTDNS, text, sizeof text - 1, &counts), 0);
	assert_string_equal(log.told, "");
	assert_string_equal(log.entries, "");
	assert_int_equal(counts.unused, 8);
}

static void test_skips(void **state)
{
	static const char good[] = "address /a.test/#";

	(void)state;
	log_skips(LIST_SMARTDNS, good, "address /b.test", 9, "no slash behind the name");
	log_skips(LIST_SMARTDNS, good, "0.0.0.0 b.test", 1, "not an option of SmartDNS");
	log_skips(LIST_SMARTDNS, good, "||b.test^", 1,
		"not a domain name: this character is not part of one");
	log_skips(LIST_SMARTDNS, good, "address /b,c/#", 11,
		"not a domain name: this character is not part of one");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_exceptions),
		cmocka_unit_test(test_domain_sets),
		cmocka_unit_test(test_unused),
		cmocka_unit_test(test_skips),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
