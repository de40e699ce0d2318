/* Formats are told by what stands in a file. */
#include <unistd.h>

#include "gateway/lists/lists_internal.h"
#include "tests/unit/lists_log.h"

#define SHARED "/work/shared/data/"

static void is(enum list_format format, const char *text)
{
	enum list_format told = list_detect_head("f", (const uint8_t *)text, strlen(text));

	if (told != format)
		print_error("%s is told of: %s\n", list_format_name(told), text);
	assert_int_equal(told, format);
}

static void test_plain(void **state)
{
	(void)state;
	is(LIST_PLAIN, "");
	is(LIST_PLAIN, "# only\n\n# comments\n");
	is(LIST_PLAIN, "a.test\nb.test # c\n");
	is(LIST_PLAIN, "\xef\xbb\xbf"
		       "a.test\r\nb.test\r\n");
	is(LIST_PLAIN, "a.test\n10.0.0.0/8\n");
	is(LIST_PLAIN, "a.test\nfull:b.test\n10.0.0.0/8\n");
	is(LIST_PLAIN, "cn\nxn--55qx5d\n_a.test\n-b.test\n");
	/* Nothing that we know: the plain reader tells the lines. */
	is(LIST_PLAIN, "local-zone: \"a.test\" refuse\n");
	is(LIST_PLAIN, "lists:\n  - name: \"x\"\n    rules:\n      - \"domain:a.test\"\n");
	is(LIST_PLAIN, "This is a licence.\nYou may use it, and so on.\n");
}

static void test_texts(void **state)
{
	(void)state;
	is(LIST_CIDR, "# c\n1.0.1.0/24\n2001:250::/35\n8.8.8.8\n");
	is(LIST_CIDR, "1.0.0.0-1.0.0.255\n");
	is(LIST_CIDR, "create chnroute hash:net family inet\nadd chnroute 1.0.1.0/24\n");
	is(LIST_CIDR, "add set inet g c { type ipv6_addr; flags interval; }\n"
		      "add element inet g c { 2001:250::/35 }\n");
	is(LIST_V2FLY, "# c\na.test\ninclude:b @-!cn\n");
	is(LIST_V2FLY, "a.test\nb.test @cn # c\n");
	is(LIST_V2FLY, "a.test\nfull:b.test\nregexp:^a{1,2}$\n");
	is(LIST_V2FLY, "domain:a.test:@cn\ndomain:b.test\n");
	is(LIST_DNSMASQ, "\n# Google Corp aka \xc3\x9c"
			 "berProxy domains\nserver=/a.test/1.1.1.1\n");
	is(LIST_DNSMASQ, "address=/a.test/#\n");
	is(LIST_DNSMASQ, "## Public DNS\nbogus-nxdomain=1.2.3.4\n");
	is(LIST_HOSTS, "0.0.0.0 a.test\n::1 localhost\nfe80::1%lo0 localhost\n");
	is(LIST_HOSTS, "! Title: x\n0.0.0.0 a.test # b\n:: a.test\n");
	is(LIST_HOSTS, "ip dns static add address=240.0.0.1 name=a.test\n");
	is(LIST_HOSTS, "/ip dns static\nadd address=240.0.0.1 name=a.test\nadd name=b.test\n");
	is(LIST_SMARTDNS, "# c\naddress /-.a.test/#\n");
	is(LIST_SMARTDNS, "nameserver /a.test/g\ndomain-rules /b.test/ -n g\n");
	is(LIST_SMARTDNS, "a.test\n-.b.test\n");
	is(LIST_ADBLOCK, "[Adblock Plus 2.0]\na.test\n");
	is(LIST_ADBLOCK, "[AutoProxy 0.2.9]\n");
	is(LIST_ADBLOCK, "! Title: x\r\n||a.test^\r\n://*.b.test^\r\n");
	is(LIST_ADBLOCK, "||a.test^\nb.test\n@@||c.test\n||d.test^$image,script\n/^ad[0-9]+/\n");
	is(LIST_ADBLOCK, "! Title: bare\na.test\n");
	is(LIST_CLASH, "# c\npayload:\n  - '+.a.test'\n");
	is(LIST_CLASH, "payload: ['a.test']\n");
	is(LIST_CLASH, "+.a.test\nb.test\nc.test\n");
	is(LIST_CLASH, ".a.test\n.b.test\n");
	is(LIST_CLASH, "#Title\nDOMAIN,a.test\nDOMAIN-SUFFIX,b.test,reject\n"
		       "PROCESS-NAME,WebTorrent Helper.exe\nIP-CIDR6,2001:250::/30,no-resolve\n"
		       "URL-REGEX,(Subject|HELO|SMTP)\n");
	is(LIST_RPZ, "$TTL 300\n@ SOA localhost. root.localhost. 1 2 3 4 5\na.test CNAME .\n");
	is(LIST_RPZ, "; c\na.test\tCNAME\t.\n*.a.test\tCNAME\t.\n");
	is(LIST_RPZ, "a.test A 10.0.0.1\n");
	is(LIST_RPZ, "a.test 60 IN CNAME rpz-passthru.\n");
	is(LIST_SINGBOX, " \n{\n  \"version\": 1, \"rules\": []}\n");
	/* printf '[AutoProxy 0.2.9]\n||a.test\n' | base64 */
	is(LIST_GFWLIST, "W0F1dG9Qcm94eSAwLjIuOV0KfHxhLnRlc3QK\n");
	is(LIST_PLAIN, "W0F1dG9Qcm94\n" /* too little to tell, and a good name */);
}

/* What occurs a few times only does not decide. */
static void test_majority(void **state)
{
	char text[4096] = "+.a.test\n";

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		log_add(text, sizeof text, "n%u.test\n", i);
	is(LIST_PLAIN, text);
	text[0] = 0;
	for (unsigned i = 0; i < 40; i++)
		log_add(text, sizeof text, "%s%u.test\n", i % 2 ? "||" : "0.0.0.0 ", i);
	log_add(text, sizeof text, "||b.test\n");
	is(LIST_ADBLOCK, text);
}

static void binary(enum list_format format, const char *path, const char *bytes, size_t n)
{
	assert_int_equal(list_detect_head(path, (const uint8_t *)bytes, n), format);
}

static void test_binaries(void **state)
{
	(void)state;
	binary(LIST_COMPILED, "f", IMAGE_MAGIC "\0\0", 10);
	binary(LIST_MRS, "f", "\x28\xb5\x2f\xfd\0\0", 6);
	binary(LIST_SRS, "f", "SRS\1x\xda", 6);
	binary(LIST_PLAIN, "f", "SRS.test\n", 9);
	binary(LIST_GEOSITE, "f",
		"\x0a\x0f\x0a\2CN\x12\x09\x08\2\x12\5"
		"a.tes",
		17);
	binary(LIST_GEOSITE, "f",
		"\x0a\x0d\x0a\2CN\x12\x07\x12\5"
		"a.tes",
		15);
	binary(LIST_GEOIP, "f", "\x0a\x0e\x0a\2CN\x12\x08\x0a\4\1\2\3\4\x10\x18", 16);
	/* What begins otherwise is told by its name. */
	binary(LIST_GEOIP, "/x/cn.dat", "\x0a\x0e\x0a\2CN\x12\x08\x0a\4\1\2\3\4\x10\x18", 16);
	binary(LIST_GEOSITE, "/x/dlc.dat", "\x0a\0\0\0", 4);
	binary(LIST_GEOIP, "/x/GeoIP-only.DAT", "\x0a\0\0\0", 4);
	binary(LIST_PLAIN, "/x/geoip/names.txt", "\x0a\0\0\0", 4);
	binary(LIST_PLAIN, "/x/names.dat", "a.test\n", 7);
	binary(LIST_PLAIN, "f", "\n\n\n\n\n\n\n\n\n\n\n\n", 12);
	binary(LIST_PLAIN, "f", "a\0.\0t\0", 6);
}

/* Cut anywhere, it is told to be something, and nothing is read behind it (ASan). */
static void test_short_heads(void **state)
{
	static const char *const texts[] = {"\x0a\x0e\x0a\2CN\x12\x08\x0a\4\1\2\3\4\x10\x18",
		"W0F1dG9Qcm94eSAwLjIuOV0K", "[AutoProxy 0.2.9]\n||a^", IMAGE_MAGIC,
		"add element inet t s { 1.0.0.0-1.0.0.9 }", "DOMAIN-SUFFIX,a.test,no-resolve",
		"include:a @cn &b", "fe80::1%lo0 localhost # x", "x 60 IN CNAME ."};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		for (size_t n = 0; n <= strlen(texts[i]); n++) {
			uint8_t *copy = malloc(n ? n : 1);
			enum list_format format;

			memcpy(copy, texts[i], n);
			format = list_detect_head("f", copy, n);
			assert_true(format > LIST_AUTO && format < LIST_FORMATS);
			free(copy);
		}
	}
}

/* The line at the end of what is looked at may be torn, and is not judged. */
static void test_torn_line(void **state)
{
	char *text = malloc(LIST_DETECT_BYTES + 1);
	size_t n = 0;

	(void)state;
	while (n + 9 < LIST_DETECT_BYTES)
		n += (size_t)sprintf(text + n, "1.2.3.0/24\n");
	n = LIST_DETECT_BYTES;
	memcpy(text + n - 10, "\n1.2.3.4 a", 10); /* of "1.2.3.4 a.test" or not */
	text[n] = 0;
	assert_int_equal(list_detect_head("f", (uint8_t *)text, n), LIST_CIDR);
	free(text);
}

static void test_errors(void **state)
{
	enum list_format format;

	(void)state;
	assert_int_equal(list_detect(folder_path("none"), &format), -ENOENT);
	assert_int_equal(list_detect(folder(), &format), -EISDIR);
	assert_int_equal(list_detect(folder_write_bytes("a", "||a^\n", 5), &format), 0);
	assert_int_equal(format, LIST_ADBLOCK);
}

static int entry_drop(void *arg, const struct list_entry *e, const char **ret_why)
{
	(void)arg;
	(void)e;
	(void)ret_why;
	return 0;
}

/* The files that people have, and how much of them is read. */
static void test_real_files(void **state)
{
	static const struct {
		const char *path;
		enum list_format format;
		unsigned entries, skipped_max;
	} files[] = {
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Dnsmasq.conf", LIST_DNSMASQ, 887, 0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-SmartDNS.conf", LIST_SMARTDNS, 897, 0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-hosts.txt", LIST_HOSTS, 1774, 0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-RouterOS-Adlist.txt", LIST_HOSTS, 1774,
			0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Geosite.txt", LIST_V2FLY, 897, 0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Mosdns_v5.txt", LIST_V2FLY, 902, 0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Adblock.txt", LIST_ADBLOCK, 902, 0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Adguard.txt", LIST_ADBLOCK, 902, 0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Clash.yaml", LIST_CLASH, 897, 0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Clash-Classical.yaml", LIST_CLASH, 902,
			0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Clash.mrs", LIST_MRS, 896, 0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Surge.list", LIST_CLASH, 897, 0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Surge-RULE-SET.list", LIST_CLASH, 902,
			0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-QuantumultX.list", LIST_CLASH, 902, 0},
		{"rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Singbox.json", LIST_SINGBOX, 902, 0},
		{"rules/dnsmasq-china-list/accelerated-domains.china.conf", LIST_DNSMASQ, 110769,
			0},
		{"rules/dnsmasq-china-list/google.china.conf", LIST_DNSMASQ, 112, 0},
		{"rules/dnsmasq-china-list/bogus-nxdomain.china.conf", LIST_DNSMASQ, 165, 0},
		{"rules/domain-list-community/data/cn", LIST_V2FLY, 8632, 0},
		{"rules/domain-list-community/data/geolocation-!cn", LIST_V2FLY, 25951, 0},
		{"rules/domain-list-community/release/cn.txt", LIST_V2FLY, 6496, 0},
		{"rules/adguard/hosts", LIST_HOSTS, 55981, 0},
		{"rules/adguard/adguard_sdn_filter.txt", LIST_ADBLOCK, 27000, 600},
		{"rules/gfwlist/gfwlist.txt", LIST_GFWLIST, 4300, 100},
		{"rules/gfwlist/gfwlist.decoded.txt", LIST_ADBLOCK, 4300, 100},
		{"rules/clash-rules/direct.txt", LIST_CLASH, 117172, 0},
		{"rules/clash-rules/cncidr.txt", LIST_CLASH, 8649, 0},
		{"rules/clash-rules/applications.txt", LIST_CLASH, 0, 0},
		{"cidr/china6.txt", LIST_CIDR, 1641, 0},
		{"cidr/chnroutes.txt", LIST_CIDR, 3912, 0},
		{"cidr/nl-v4-v6.txt", LIST_CIDR, 96747, 0},
		{"rules/domains-1m.txt.gz", LIST_PLAIN, 1000000, 0},
	};
	(void)state;
	if (access(SHARED, R_OK)) {
		print_message("skipped: no ../shared/data\n");
		return;
	}
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		struct log log = {.stop = 0};
		struct list_sink sink = log_sink(&log);
		char path[256];
		const struct list_source source = {path, "lists.l", LIST_AUTO, NULL, NULL};
		struct list_counts counts = {0};
		enum list_format format = LIST_AUTO;

		(void)snprintf(path, sizeof path, SHARED "%s", files[i].path);
		sink.entry = entry_drop;
		if (list_read(&source, &sink, &counts, &format) || format != files[i].format ||
			counts.entries < files[i].entries || counts.skipped > files[i].skipped_max)
			fail_msg("%s: %s, %u entries, %u skipped: %s", path,
				list_format_name(format), counts.entries, counts.skipped, log.told);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_majority),
		cmocka_unit_test(test_binaries),
		cmocka_unit_test(test_short_heads),
		cmocka_unit_test(test_torn_line),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_real_files),
	};

	return cmocka_run_group_tests(tests, NULL, folder_clear);
}
