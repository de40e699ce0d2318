/* Hosts files as lists. */
#include "tests/unit/lists_log.h"

static void takes(const char *text, const char *entries)
{
	log_takes(LIST_HOSTS, text, entries);
}

static void test_names(void **state)
{
	(void)state;
	takes("0.0.0.0 a.test\n127.0.0.1\tb.test  C.Test\n::1 d.test.\r\n",
		"1:exact a.test\n2:exact b.test\n2:exact c.test\n3:exact d.test\n");
	takes("0.0.0.0 jackbootedroom.com  ## phishing\n#  \\____\n! Title: x\n"
	      "0.0.0.0 a.test#b\n0.0.0.0 222-33544_999.pub.adfirmative.com",
		"1:exact jackbootedroom.com\n4:exact a.test\n"
		"5:exact 222-33544_999.pub.adfirmative.com\n");
}

/* Those of the host itself are never entries: who blocks them blocks the host. */
static void test_local_names(void **state)
{
	(void)state;
	takes("127.0.0.1 localhost\n127.0.0.1 localhost.localdomain\n127.0.0.1 local\n"
	      "255.255.255.255 broadcasthost\n::1 localhost ip6-localhost ip6-loopback\n"
	      "fe80::1%lo0 localhost\nff00::0 ip6-mcastprefix\nff02::3 ip6-allhosts\n"
	      "0.0.0.0 0.0.0.0\n0.0.0.0 1.2.3.4\n:: ::1\n0.0.0.0 LocalHost. a.test\n",
		"12:exact a.test\n");
	takes("fe80::1%lo0 a.test\n0.0.0.0 ip6a.test\n0.0.0.0 localhost.test\n",
		"1:exact a.test\n2:exact ip6a.test\n3:exact localhost.test\n");
}

static void test_skips(void **state)
{
	static const char good[] = "0.0.0.0 a.test";

	(void)state;
	log_skips(LIST_HOSTS, good, "a.test", 1, "does not begin with an address");
	log_skips(LIST_HOSTS, good, "10.0.0.0/8 b.test", 1, "does not begin with an address");
	log_skips(LIST_HOSTS, good, "1.2.3.4%eth0 b.test", 1, "does not begin with an address");
	log_skips(LIST_HOSTS, good, "ip dns static remove x", 1, "does not begin with an address");
	log_skips(LIST_HOSTS, good, "ip dns static add address=10.0.0.1", 1,
		"a static entry without a name");
	log_skips(LIST_HOSTS, good, "0.0.0.0", 8, "an address without a name");
	log_skips(LIST_HOSTS, good, "0.0.0.0 # a.test", 9, "an address without a name");
	log_skips(LIST_HOSTS, good, "0.0.0.0 *.a.test", 9,
		"not a domain name: this character is not part of one");
}

/* RouterOS' static names, in one line or below their menu. */
static void test_routeros(void **state)
{
	(void)state;
	takes("ip dns static add address=240.0.0.1 name=a.test\n"
	      "/ip dns static add address=:: name=\"B.test\" ttl=1d\n"
	      "/ip dns static\n"
	      "add address=10.0.0.1 name=c.test comment=\"why, name=x.test\"\n"
	      "add name=d.test match-subdomain=yes type=NXDOMAIN\n"
	      "add disabled=yes name=e.test address=10.0.0.1\n"
	      "add regexp=\"^f[0-9]+\\\\.test\\$\" address=10.0.0.1\n",
		"1:exact a.test\n2:exact b.test\n4:exact c.test\n5:suffix d.test\n"
		"7:regexp ^f[0-9]+\\.test$\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_local_names),
		cmocka_unit_test(test_skips),
		cmocka_unit_test(test_routeros),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
