/* DHCP leases as dnsmasq and odhcpd write them, files that lie, and what becomes of names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/policy/leases.h"
#include "tests/unit/folder.h"
#include "tests/unit/names.h"

#define NOW_S 1700000000

static char told[8192];

static void tell(void *arg, bool is_error, const char *text)
{
	size_t n = strlen(told);
	size_t in = strlen(folder());

	assert_ptr_equal(arg, told);
	assert_false(is_error);
	assert_memory_equal(text, folder(), in);
	(void)snprintf(told + n, sizeof told - n, "%s\n", text + in + (text[in] == '/'));
}

static struct leases *read_files(char **paths, size_t n, const char *domain)
{
	char copy[64];
	struct conf_leases c = {.files = {paths, n}, .domain = copy, .answer = true};
	const struct list_sink sink = {.arg = told, .complain = tell};
	struct leases *l = NULL;

	(void)snprintf(copy, sizeof copy, "%s", domain);
	told[0] = 0;
	assert_int_equal(leases_read(&c, NOW_S, &sink, &l), 0);
	assert_non_null(l);
	memset(copy, 'x', sizeof copy); /* the configuration may go */
	return l;
}

static struct leases *read_text(const char *text, const char *domain)
{
	char *path = folder_write("l", text);
	struct leases *l = read_files(&path, 1, domain);

	assert_int_equal(unlink(path), 0);
	return l;
}

/* The addresses of a name, IPv4 first. */
static const char *addresses(const struct leases *l, const char *text)
{
	static char found[1024];
	struct dns_name name = name_of(text);
	struct ip_addr a[16];
	char buf[IP_TEXT_MAX];
	size_t len = 0, all = 0;

	found[0] = 0;
	for (unsigned i = 0; i < 2; i++) {
		size_t n = leases_addresses(l, &name, i ? IP_V6 : IP_V4, a, 16);

		for (size_t j = 0; j < n; j++)
			len += (size_t)snprintf(found + len, sizeof found - len, "%s%s",
				len ? " " : "", ip_addr_format(&a[j], buf));
		all += n;
	}
	assert_int_equal(leases_hold(l, &name), all > 0);
	return found;
}

static const char *name_at(const struct leases *l, const char *address)
{
	static char text[DNS_NAME_TEXT_MAX];
	const struct dns_name *name;
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(address, &a), 0);
	name = leases_name(l, &a);
	return name ? dns_name_format(name->b, text) : "";
}

static void test_dnsmasq(void **state)
{
	struct leases *l =
		read_text("1700003600 aa:bb:cc:dd:ee:01 192.168.1.50 nas 01:aa:bb:cc:dd:ee:01\n"
			  "1700003600 aa:bb:cc:dd:ee:02 192.168.1.51 * *\n"
			  "0 aa:bb:cc:dd:ee:03 192.168.1.52 Printer_1 *\n"
			  "1699999999 aa:bb:cc:dd:ee:04 192.168.1.53 old *\n"
			  "1700000000 aa:bb:cc:dd:ee:05 192.168.1.54 older *\n"
			  "1700003600 06-aa:bb:cc:dd:ee:06 192.168.1.55 box.lan *\n"
			  "duid 00:01:00:01:2c:3d:4e:5f:aa:bb:cc:dd:ee:ff\n"
			  "1700003600 123456789 fd00:1::50 nas 00:03:00:01:aa:bb:cc:dd:ee:01\n"
			  "1700003600 T123456789 2001:db8::50 nas 00:03:00:01:aa:bb:cc:dd:ee:01\n",
			"lan");

	(void)state;
	assert_string_equal(told, "");
	assert_string_equal(addresses(l, "nas"), "192.168.1.50 fd00:1::50 2001:db8::50");
	assert_string_equal(addresses(l, "NAS.lan"), "192.168.1.50 fd00:1::50 2001:db8::50");
	assert_string_equal(addresses(l, "printer_1.LAN."), "192.168.1.52");
	assert_string_equal(addresses(l, "box"), "192.168.1.55");
	assert_string_equal(addresses(l, "box.lan"), "192.168.1.55");
	assert_string_equal(addresses(l, "old"), "");
	assert_string_equal(addresses(l, "older.lan"), "");
	assert_string_equal(addresses(l, "a.nas.lan"), "");
	assert_string_equal(addresses(l, "nas.lan.lan"), "");
	assert_string_equal(addresses(l, "nas.home"), "");
	assert_string_equal(addresses(l, "lan"), "");
	assert_string_equal(addresses(l, "."), "");
	assert_string_equal(name_at(l, "192.168.1.50"), "nas.lan");
	assert_string_equal(name_at(l, "2001:db8::50"), "nas.lan");
	assert_string_equal(name_at(l, "192.168.1.51"), "");
	assert_string_equal(name_at(l, "192.168.1.53"), "");
	assert_int_equal(leases_count(l), 5);
	assert_true(leases_answer(l));
	leases_unref(l);
}

static void test_odhcpd(void **state)
{
	struct leases *l = read_text(
		"# br-lan 00010001deadbeef aa00 laptop 1700003600 5 128 fd00:1::5/128 "
		"2001:db8::5/128\n"
		"192.168.1.7\tphone.lan\tphone\n"
		"# br-lan aabbccddeeff ipv4 phone 1700003600 c0a80107 32 192.168.1.7/32\n"
		"# br-lan 00010001deadbeef bb01 router2 1700003600 20 60 2001:db8:0:10::/60\n"
		"# br-lan 00010001deadbeef cc02 - 1700003600 6 128 fd00:1::6/128\n"
		"# br-lan 00010001deadbeef cc03 forever -1 7 128 fd00:1::7/128\n"
		"192.168.1.8\tgone.lan\tgone\n"
		"# br-lan aabbccddee00 ipv4 gone 1699999999 c0a80108 32 192.168.1.8/32\n"
		"# br-lan aabbccddee01 ipv4 over 0 c0a80109 32 192.168.1.9/32\n"
		"# br-lan aabbccddee02 ipv4 broken\\x20bad 1700003600 c0a8010a 32 192.168.1.10/32\n"
		"fd00:1::b\tlast.other.example\tlast\n",
		"lan");

	(void)state;
	assert_string_equal(told, "");
	assert_string_equal(addresses(l, "laptop.lan"), "fd00:1::5 2001:db8::5");
	assert_string_equal(addresses(l, "phone"), "192.168.1.7");
	assert_string_equal(addresses(l, "router2"), "");
	assert_string_equal(addresses(l, "forever.lan"), "fd00:1::7");
	assert_string_equal(addresses(l, "gone"), "");
	assert_string_equal(addresses(l, "over"), "");
	assert_string_equal(addresses(l, "bad"), "");
	assert_string_equal(addresses(l, "last"), "fd00:1::b");
	assert_string_equal(addresses(l, "last.other.example"), "");
	assert_string_equal(name_at(l, "192.168.1.7"), "phone.lan");
	assert_string_equal(name_at(l, "192.168.1.8"), "");
	assert_int_equal(leases_count(l), 5);
	leases_unref(l);
}

static bool client_is(
	const struct leases *l, const char *host, const char *address, const char *mac_text)
{
	unsigned m[6] = {0};
	uint8_t mac[6];
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(address, &a), 0);
	if (mac_text)
		assert_int_equal(sscanf(mac_text, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3],
					 &m[4], &m[5]),
			6);
	for (size_t i = 0; i < 6; i++)
		mac[i] = (uint8_t)m[i];
	return leases_client_is(l, host, &a, mac_text ? mac : NULL);
}

/* `host:NAME`: by the addresses of its leases, and by the MAC that one of them tells. */
static void test_clients(void **state)
{
	struct leases *l =
		read_text("1700003600 AA:bb:cc:dd:ee:01 192.168.1.50 nas *\n"
			  "1700003600 123456789 fd00:1::50 nas 00:03:00:01:aa:bb:cc:dd:ee:02\n"
			  "1700003600 06-aa:bb:cc:dd:ee:03 192.168.1.51 odd *\n"
			  "1700003600 00:00:00:00:00:00 192.168.1.52 zero *\n"
			  "1700003600 aa:bb:cc:dd:ee 192.168.1.53 short *\n"
			  "1700003600 aa:bb:cc:dd:ee:0 192.168.1.54 half *\n"
			  "1700003600 1 fd00:1::60 llt 00:01:00:01:2c:3d:4e:5f:aa:bb:cc:dd:ee:04\n"
			  "1700003600 2 fd00:1::61 uuid 00:04:00:01:2c:3d:4e:5f:aa:bb:cc:dd:ee:05\n"
			  "1700003600 3 fd00:1::62 token 00:03:00:06:aa:bb:cc:dd:ee:06\n"
			  "1700003600 4 fd00:1::63 bare\n"
			  "192.168.1.7\tphone.lan\tphone\n"
			  "# br-lan aabbccddeeff ipv4 phone 1700003600 c0a80107 32 192.168.1.7/32\n"
			  "# br-lan 000100012c3d4e5faabbccddee07 aa00 laptop 1700003600 5 128 "
			  "fd00:1::5/128\n",
			"lan");

	(void)state;
	assert_string_equal(told, "");
	assert_true(client_is(l, "nas", "192.168.1.50", NULL));
	assert_true(client_is(l, "NAS.lan", "fd00:1::50", NULL));
	assert_false(client_is(l, "nas", "192.168.1.51", NULL));
	assert_false(client_is(l, "nas.home", "192.168.1.50", NULL));
	assert_false(client_is(l, "other", "192.168.1.50", NULL));
	/* An address of its own making, and its MAC. */
	assert_true(client_is(l, "nas", "2001:db8::1", "aa:bb:cc:dd:ee:01"));
	assert_true(client_is(l, "nas", "2001:db8::1", "aa:bb:cc:dd:ee:02"));
	assert_false(client_is(l, "nas", "2001:db8::1", "aa:bb:cc:dd:ee:ff"));
	assert_false(client_is(l, "nas", "2001:db8::1", NULL));
	assert_true(client_is(l, "llt", "::9", "aa:bb:cc:dd:ee:04"));
	assert_true(client_is(l, "phone", "::9", "aa:bb:cc:dd:ee:ff"));
	assert_true(client_is(l, "laptop.lan", "::9", "aa:bb:cc:dd:ee:07"));
	/* What tells no MAC of an Ethernet interface. */
	assert_false(client_is(l, "odd", "::9", "aa:bb:cc:dd:ee:03"));
	assert_false(client_is(l, "zero", "::9", "0:0:0:0:0:0"));
	assert_false(client_is(l, "short", "::9", "aa:bb:cc:dd:ee:0"));
	assert_false(client_is(l, "half", "::9", "aa:bb:cc:dd:ee:0"));
	assert_false(client_is(l, "uuid", "::9", "aa:bb:cc:dd:ee:05"));
	assert_false(client_is(l, "token", "::9", "aa:bb:cc:dd:ee:06"));
	assert_true(client_is(l, "bare", "fd00:1::63", NULL));
	assert_false(client_is(l, "a..b", "192.168.1.50", NULL));
	assert_false(client_is(l, ".", "192.168.1.50", NULL));
	assert_false(client_is(NULL, "nas", "192.168.1.50", NULL));
	leases_unref(l);
}

/* Whoever asks for a lease names itself: only in its own zone. */
static void test_names_are_not_believed(void **state)
{
	struct leases *l =
		read_text("0 aa:bb:cc:dd:ee:01 192.168.1.2 www.bank.example *\n"
			  "0 aa:bb:cc:dd:ee:02 192.168.1.3 localhost *\n"
			  "0 aa:bb:cc:dd:ee:03 192.168.1.4 a\\.b *\n"
			  "0 aa:bb:cc:dd:ee:04 192.168.1.5 bank.examplelan *\n"
			  "0 aa:bb:cc:dd:ee:05 192.168.1.6 lan.evil *\n"
			  "192.168.1.7\twww.bank.example.lan\twww.bank.example\n"
			  "# br-lan aa ipv4 www.bank.example -1 c0a80108 32 192.168.1.8/32\n"
			  "192.168.1.9 www.bank.example\n",
			"lan");

	(void)state;
	assert_string_equal(addresses(l, "www.bank.example"), "");
	assert_string_equal(addresses(l, "localhost"), "");
	assert_string_equal(addresses(l, "lan.evil"), "");
	assert_string_equal(addresses(l, "bank.examplelan"), "");
	assert_string_equal(addresses(l, "www.bank.example.lan"), "192.168.1.7");
	assert_int_equal(leases_count(l), 1);
	assert_non_null(strstr(told,
		"l:1:1: warning: leases.files: the name is no host name, or outside of "
		"leases.domain; allowed: lines as dnsmasq and odhcpd write them\n"));
	assert_non_null(strstr(told, "note: leases.files: 7 lines skipped in all"));
	leases_unref(l);

	/* Without a domain: bare names alone. */
	l = read_text("0 m 192.168.1.2 nas *\n0 m 192.168.1.3 nas.lan *\n", "");
	assert_string_equal(addresses(l, "nas"), "192.168.1.2");
	assert_string_equal(addresses(l, "nas.lan"), "");
	assert_string_equal(name_at(l, "192.168.1.2"), "nas");
	leases_unref(l);
}

static void test_bad_lines(void **state)
{
	static const char good[] = "\n# a comment\r\n0 m 192.168.1.2 nas *\r\n";
	static const char *const bad[] = {"0 m 192.168.1.3", "0 m 192.168.1.300 x *",
		"0 m 127.0.0.1 x *", "0 m 0.0.0.0 x *", "0 m 224.0.0.1 x *", "0 m ff02::1 x *",
		"0 m ::1 x *", "garbage", "-", "127.0.0.1 localhost",
		"99999999999999999999 m 192.168.1.3 x *", "192.168.1.3", "192.168.1.3 a..b",
		"# i d a h never 5 128 fd00::1/128", "# i d a h -1 5 128 fd00::1",
		"# i d a h -1 5 128 x/128"};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char text[256];
		struct leases *l;

		(void)snprintf(text, sizeof text, "%s\n%s", bad[i], good);
		l = read_text(text, "lan");
		assert_memory_equal(told, "l:1:1: warning: leases.files: ", 30);
		assert_string_equal(addresses(l, "nas.lan"), "192.168.1.2");
		assert_int_equal(leases_count(l), 1);
		leases_unref(l);
	}
}

static void test_lying_files(void **state)
{
	char *paths[3] = {folder(), NULL, NULL}, *text;
	struct leases *l;
	size_t n = 0;

	(void)state;
	/* Not there: nothing was given out yet. The others are read all the same. */
	paths[1] = folder_path("missing");
	paths[2] = folder_write("l", "0 m 192.168.1.2 nas *\n");
	l = read_files(paths, 3, "lan");
	assert_int_equal(leases_count(l), 1);
	assert_non_null(strstr(told, "Is a directory; allowed: a readable file"));
	assert_null(strstr(told, "missing"));
	leases_unref(l);

	/* NUL bytes, no newline, one name with very many addresses, too many names. */
	text = calloc(1, 5 << 20);
	assert_non_null(text);
	for (unsigned i = 0; i < 20000; i++)
		n += (size_t)sprintf(text + n, "0 m 10.0.%u.%u %s%u *\n", i / 250, i % 250 + 1,
			i < 10000 ? "same" : "other", i < 10000 ? 1 : i);
	l = read_text(text, "lan");
	assert_int_equal(leases_count(l), 16384 - 10000 + 64);
	assert_string_equal(name_at(l, "10.0.0.1"), "same1.lan");
	assert_string_equal(addresses(l, "other10000"), "10.0.40.1");
	assert_non_null(strstr(told, "too many leases; allowed: 16384 in all files"));
	leases_unref(l);
	memset(text, 'a', (5 << 20) - 1);
	l = read_text(text, "lan");
	assert_int_equal(leases_count(l), 0);
	assert_non_null(strstr(told, "too large; allowed: at most 4194304 bytes"));
	leases_unref(l);
	free(text);
	l = read_text("", "lan");
	assert_int_equal(leases_count(l), 0);
	assert_string_equal(name_at(l, "10.0.0.1"), "");
	leases_unref(l);
}

static void test_changed(void **state)
{
	char *path = folder_path("l");
	struct leases *l = read_files(&path, 1, "lan"), *again;

	(void)state;
	assert_false(leases_changed(l));
	(void)folder_write("l", "0 m 192.168.1.2 nas *\n");
	assert_true(leases_changed(l));
	again = read_files(&path, 1, "lan");
	assert_false(leases_changed(again));
	assert_true(leases_changed(l));
	(void)folder_write("l", "0 m 192.168.1.2 nas *\n0 m 192.168.1.3 box *\n");
	assert_true(leases_changed(again));
	leases_unref(again);
	again = read_files(&path, 1, "lan");
	assert_int_equal(unlink(path), 0);
	assert_true(leases_changed(again));
	assert_false(leases_changed(l)); /* as it was */

	/* Shared. */
	assert_ptr_equal(leases_ref(again), again);
	leases_unref(again);
	assert_string_equal(addresses(again, "box"), "192.168.1.3");
	leases_unref(again);
	leases_unref(l);
	leases_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dnsmasq),
		cmocka_unit_test(test_odhcpd),
		cmocka_unit_test(test_clients),
		cmocka_unit_test(test_names_are_not_believed),
		cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_lying_files),
		cmocka_unit_test(test_changed),
	};

	return cmocka_run_group_tests(tests, NULL, folder_remove);
}
