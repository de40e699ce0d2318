/* Policies built from configurations made by hand, as conf_load() would: what wins, what it
 * decides, what is told. */
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

#include "gateway/dns/message.h"
#include "gateway/match/matcher.h"
#include "gateway/policy/policy_internal.h"
#include "tests/unit/folder.h"
#include "tests/unit/addresses.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
/* Strings that live as long as the block around them. */
#define STRINGS(...)                                                                               \
	{                                                                                          \
		(char *[]){__VA_ARGS__}, sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)          \
	}

static char told[8192];
static unsigned told_errors;

static void tell(void *arg, bool is_error, const char *text)
{
	size_t n = strlen(told);

	assert_ptr_equal(arg, told);
	told_errors += is_error;
	(void)snprintf(told + n, sizeof told - n, "%s\n", text);
}

static int try_build(const struct config *config, struct policy **ret)
{
	told[0] = 0;
	told_errors = 0;
	*ret = NULL;
	return policy_build(
		&(struct policy_build_config){.config = config, .report = tell, .report_arg = told},
		ret);
}

static struct policy *build(const struct config *config)
{
	struct policy *p;

	assert_int_equal(try_build(config, &p), 0);
	assert_string_equal(told, "");
	return p;
}

struct asked {
	struct dns_name name;
	struct policy_question question;
};

static const struct policy_question *ask(
	struct asked *a, const char *name, uint16_t type, const char *client)
{
	assert_int_equal(dns_name_parse(name, strlen(name), &a->name), 0);
	a->question = (struct policy_question){.name = &a->name, .type = type};
	if (client)
		assert_int_equal(ip_addr_parse(client, &a->question.client), 0);
	return &a->question;
}

/* The name of the rule that wins; "default". */
static const char *winner(
	const struct policy *p, const char *name, uint16_t type, const char *client)
{
	struct asked a;
	const struct policy_rule *rule = policy_decide(p, ask(&a, name, type, client)).rule;

	assert_non_null(rule);
	return rule->name ? rule->name : "default";
}

static void test_first_match_wins(void **state)
{
	struct conf_rule rules[] = {
		{.name = "ads",
			.domain = STRINGS("ads.corp.example", "full:tracker.test"),
			.answer = CONF_ANSWER_BLOCK},
		{.name = "work",
			.domain = STRINGS("corp.example", "ru"),
			.answer = CONF_ANSWER_FAKE},
		{.name = "never",
			.domain = STRINGS("ads.corp.example"),
			.answer = CONF_ANSWER_REAL},
		{.name = "rest", .domain = STRINGS("."), .answer = CONF_ANSWER_FAKE},
		{.name = "beyond", .answer = CONF_ANSWER_BLOCK},
	};
	struct config config = {.path = "c.yaml", .rules = rules, .n_rules = COUNT(rules)};
	struct policy *p = build(&config);

	(void)state;
	assert_string_equal(winner(p, "x.ads.corp.example", DNS_A, NULL), "ads");
	assert_string_equal(winner(p, "ADS.CORP.example", DNS_A, NULL), "ads");
	assert_string_equal(winner(p, "tracker.test", DNS_A, NULL), "ads");
	assert_string_equal(winner(p, "a.tracker.test", DNS_A, NULL), "rest");
	assert_string_equal(winner(p, "corp.example", DNS_A, NULL), "work");
	assert_string_equal(winner(p, "mail.ru", DNS_A, NULL), "work");
	assert_string_equal(winner(p, "guru", DNS_A, NULL), "rest");
	assert_string_equal(winner(p, "example", DNS_TXT, NULL), "rest");
	assert_string_equal(winner(p, ".", DNS_NS, NULL), "rest");
	policy_unref(p);
}

static void test_default(void **state)
{
	struct conf_rule rules[] = {{.name = "one", .domain = STRINGS("a.test")}};
	struct config config = {
		.path = "c.yaml", .rules = rules, .n_rules = 1, .default_upstream = 3};
	struct policy *p = build(&config);
	struct asked a;
	const struct policy_rule *rule = policy_decide(p, ask(&a, "b.test", DNS_A, NULL)).rule;

	(void)state;
	assert_null(rule->name);
	assert_int_equal(rule->id, 0);
	assert_int_equal(rule->view, 0);
	assert_int_equal(rule->answer, CONF_ANSWER_REAL);
	assert_null(rule->egress);
	assert_int_equal(rule->upstream, 3);
	assert_int_equal(rule->n_sets, 0);
	assert_ptr_equal(policy_rule_by_id(p, 0), rule);
	policy_unref(p);

	config.n_rules = 0;
	p = build(&config);
	assert_string_equal(winner(p, "a.test", DNS_A, NULL), "default");
	policy_unref(p);
}

static void test_client_and_type(void **state)
{
	struct ip_prefix lan[] = {prefix_of("192.168.1.0/24"), prefix_of("fd00:1::/64")};
	struct ip_prefix one[] = {prefix_of("10.0.0.5")};
	uint16_t types[] = {DNS_AAAA, DNS_HTTPS};
	struct conf_rule rules[] = {
		{.name = "both",
			.domain = STRINGS("a.test"),
			.client = {.prefixes = {lan, 2}},
			.types = types,
			.n_types = 2},
		{.name = "client", .client = {.prefixes = {one, 1}}},
		{.name = "type", .types = types, .n_types = 2},
		{.name = "name", .domain = STRINGS("a.test")},
	};
	struct config config = {.path = "c.yaml", .rules = rules, .n_rules = COUNT(rules)};
	struct policy *p = build(&config);

	(void)state;
	assert_string_equal(winner(p, "a.test", DNS_AAAA, "192.168.1.9"), "both");
	assert_string_equal(winner(p, "x.a.test", DNS_HTTPS, "fd00:1::9"), "both");
	assert_string_equal(winner(p, "a.test", DNS_A, "192.168.1.9"), "name");
	assert_string_equal(winner(p, "b.test", DNS_AAAA, "192.168.1.9"), "type");
	assert_string_equal(winner(p, "a.test", DNS_AAAA, "192.168.2.9"), "type");
	assert_string_equal(winner(p, "a.test", DNS_AAAA, NULL), "type");
	assert_string_equal(winner(p, "a.test", DNS_A, "10.0.0.5"), "client");
	assert_string_equal(winner(p, "b.test", DNS_A, "10.0.0.6"), "default");
	assert_string_equal(winner(p, "b.test", DNS_A, "fd00:1::9"), "default");
	policy_unref(p);
}

/* --- what a rule decides --- */

static void test_effects_are_copied(void **state)
{
	char egress_name[] = "vpn", table[] = "fw4", set4[] = "work4", set6[] = "work6",
	     ipset[] = "old", rule_name[] = "work";
	struct conf_egress egresses[] = {
		{.name = "direct", .upstream = 0},
		{.name = egress_name, .upstream = 1, .mark = {0x10, 0xff}},
	};
	struct conf_set first[] = {{.name = set4, .table = table, .family = IP_V4, .nfproto = 1}};
	struct conf_set second[] = {
		{.name = set6, .table = table, .family = IP_V6}, {.name = ipset, .is_ipset = true}};
	struct conf_rule rules[] = {
		{.name = "a",
			.domain = STRINGS("a.test"),
			.egress = -1,
			.upstream = 1,
			.sets = first,
			.n_sets = 1,
			.answer = CONF_ANSWER_REAL,
			.set_ttl = {.permanent = true}},
		{.name = rule_name,
			.domain = STRINGS("corp.example"),
			.egress = 1,
			.upstream = 1,
			.sets = second,
			.n_sets = 2,
			.answer = CONF_ANSWER_FAKE,
			.set_ttl = {.min_s = 600, .grace_s = 60},
			.on_error = CONF_ON_ERROR_SERVFAIL},
	};
	struct config config = {.path = "c.yaml",
		.rules = rules,
		.n_rules = 2,
		.egresses = egresses,
		.n_egresses = 2};
	struct policy *p = build(&config);
	const struct conf_set *const *sets;
	const struct policy_egress *all;
	const struct policy_rule *rule;
	struct asked a;

	(void)state;
	/* The configuration goes; the policy stays. */
	memset(egress_name, 'x', 3);
	memset(table, 'x', 3);
	memset(set4, 'x', 5);
	memset(set6, 'x', 5);
	memset(ipset, 'x', 3);
	memset(rule_name, 'x', 4);
	memset(first, 0, sizeof first);
	memset(second, 0, sizeof second);
	memset(rules, 0, sizeof rules);
	memset(egresses, 0, sizeof egresses);

	rule = policy_decide(p, ask(&a, "corp.example", DNS_A, NULL)).rule;
	assert_string_equal(rule->name, "work");
	assert_int_equal(rule->answer, CONF_ANSWER_FAKE);
	assert_int_equal(rule->upstream, 1);
	assert_int_equal(rule->on_error, CONF_ON_ERROR_SERVFAIL);
	assert_int_equal(rule->set_ttl.min_s, 600);
	assert_string_equal(rule->egress->name, "vpn");
	assert_int_equal(rule->egress->mark.value, 0x10);
	assert_int_equal(rule->egress->upstream, 1);
	assert_int_equal(rule->egress->index, 1);
	assert_int_equal(rule->n_sets, 2);
	assert_int_equal(rule->set_base, 1);
	assert_string_equal(rule->sets[0].name, "work6");
	assert_string_equal(rule->sets[0].table, "fw4");
	assert_string_equal(rule->sets[1].name, "old");
	assert_true(rule->sets[1].is_ipset);
	assert_null(rule->sets[1].table);

	assert_int_equal(policy_sets(p, &sets), 3);
	assert_string_equal(sets[0]->name, "work4");
	assert_int_equal(sets[0]->family, IP_V4);
	assert_ptr_equal(sets[rule->set_base], &rule->sets[0]);
	assert_ptr_equal(sets[rule->set_base + 1], &rule->sets[1]);

	rule = policy_decide(p, ask(&a, "a.test", DNS_A, NULL)).rule;
	assert_null(rule->egress);
	assert_true(rule->set_ttl.permanent);
	assert_int_equal(policy_egresses(p, &all), 2);
	assert_string_equal(all[0].name, "direct");
	assert_ptr_equal(policy_egress_by_id(p, policy_id("vpn")), &all[1]);
	assert_null(policy_egress_by_id(p, policy_id("gone")));
	assert_ptr_equal(policy_rule_by_id(p, policy_id("a")), rule);
	assert_null(policy_rule_by_id(p, policy_id("gone")));
	policy_unref(p);
}

/* Ids are kept in files: these values must never change. */
static void test_ids(void **state)
{
	(void)state;
	assert_int_equal(policy_id(NULL), 0);
	assert_true(policy_id("") != 0);
	assert_true(policy_id("a") != policy_id("b"));
	assert_true(policy_id("work") == 0x2904e997f0a212d6ULL);
}

static uint64_t view_of(struct ip_prefix *clients, size_t n)
{
	struct conf_rule rules[] = {
		{.name = "r", .client = {.prefixes = {clients, n}}, .egress = -1}};
	struct config config = {.path = "c.yaml", .rules = rules, .n_rules = 1};
	struct policy *p = build(&config);
	uint64_t view = policy_rule_by_id(p, policy_id("r"))->view;

	policy_unref(p);
	return view;
}

static void test_views(void **state)
{
	struct ip_prefix ab[] = {prefix_of("10.0.0.0/8"), prefix_of("fd00::/8")};
	struct ip_prefix ba[] = {prefix_of("fd00::/8"), prefix_of("10.0.0.0/8")};
	struct ip_prefix twice[] = {prefix_of("10.1.0.0/16"), prefix_of("10.0.0.0/8"),
		prefix_of("fd00::/8"), prefix_of("10.0.0.0/8"), prefix_of("10.2.0.1"),
		prefix_of("10.0.0.0")};
	struct ip_prefix a[] = {prefix_of("10.0.0.0/8")};
	struct ip_prefix narrower[] = {prefix_of("10.0.0.0/9")};

	(void)state;
	assert_int_equal(view_of(NULL, 0), 0);
	assert_true(view_of(ab, 2) == policy_id("10.0.0.0/8,fd00::/8"));
	assert_true(view_of(ba, 2) == view_of(ab, 2));
	assert_true(view_of(twice, 6) == view_of(ab, 2));
	assert_true(view_of(a, 1) != view_of(ab, 2));
	assert_true(view_of(a, 1) != view_of(narrower, 1));
	/* The order that the caller wrote is left alone. */
	assert_int_equal(ba[0].addr.family, IP_V6);
}

/* In whatever order they are written, and however often. */
static void test_views_of_hosts(void **state)
{
	struct conf_mac macs[] = {{{2, 0, 0, 0, 0, 2}}, {{2, 0, 0, 0, 0, 1}}, {{2, 0, 0, 0, 0, 2}}},
			others[] = {{{2, 0, 0, 0, 0, 1}}, {{2, 0, 0, 0, 0, 2}}};
	struct conf_who client = {.macs = macs,
		.n_macs = 3,
		.hosts = STRINGS("tv", "phone", "tv"),
		.interfaces = STRINGS("br-b", "br-a")};
	struct conf_who same = {.macs = others,
		.n_macs = 2,
		.hosts = STRINGS("phone", "tv"),
		.interfaces = STRINGS("br-a", "br-b", "br-b")};
	struct conf_rule rules[] = {{.name = "a", .client = client, .egress = -1},
		{.name = "b", .client = same, .egress = -1}};
	struct config config = {.rules = rules, .n_rules = COUNT(rules)};
	struct policy *p = build(&config);

	(void)state;
	assert_true(policy_rule_by_id(p, policy_id("a"))->view ==
		    policy_rule_by_id(p, policy_id("b"))->view);
	assert_true(
		policy_rule_by_id(p, policy_id("a"))->view ==
		policy_id("mac:020000000001,mac:020000000002,host:phone,host:tv,if:br-a,if:br-b"));
	/* The order that the caller wrote is left alone. */
	assert_string_equal(client.hosts.v[0], "tv");
	policy_unref(p);
}

/* --- names that are never faked --- */

static bool fakes(const struct policy *p, const char *name)
{
	struct asked a;
	struct policy_decision d = policy_decide(p, ask(&a, name, DNS_A, NULL));

	assert_non_null(d.rule);
	assert_true(!d.never_fake || d.rule->answer == CONF_ANSWER_FAKE);
	return d.rule->answer == CONF_ANSWER_FAKE && !d.never_fake;
}

static void test_never_fake_builtin(void **state)
{
	struct conf_rule rules[] = {
		{.name = "real", .domain = STRINGS("real.test"), .answer = CONF_ANSWER_REAL},
		{.name = "rest", .domain = STRINGS("."), .answer = CONF_ANSWER_FAKE},
	};
	struct config config = {.path = "c.yaml",
		.rules = rules,
		.n_rules = COUNT(rules),
		.fakeip = {.except_builtin = true}};
	static const char *const never[] = {"printer", "lan", "nas.lan", "x.local", "localhost",
		"a.localhost", "1.1.168.192.in-addr.arpa", "1.0.ip6.arpa", "ipv4only.arpa",
		"x.home.arpa", "a.internal", "a.localdomain", "a.invalid", "a.onion", ".",
		"dns.msftncsi.com", "www.msftconnecttest.com", "ipv6.msftconnecttest.com",
		"captive.apple.com", "connectivitycheck.gstatic.com", "detectportal.firefox.com",
		"nmcheck.gnome.org", "connectivity-check.ubuntu.com", "connect.rom.miui.com",
		"connectivitycheck.platform.hicloud.com", "wifi.vivo.com.cn", "2.pool.ntp.org",
		"2.debian.pool.ntp.org", "cn.ntp.org.cn", "time.windows.com", "time.apple.com",
		"time.google.com", "ntp.aliyun.com", "time.cloudflare.com", "ntp.ubuntu.com",
		"stun.l.google.com", "stun.cloudflare.com", "conntest.nintendowifi.net",
		"ctest.cdn.nintendo.net", "stun.playstation.net", "a.xboxlive.com"};
	/* And nothing of what lies around them. */
	static const char *const faked[] = {"a.test", "www.google.com", "gstatic.com",
		"www.apple.com", "ntp.org", "www.ntp.org", "windows.com", "www.microsoft.com",
		"firefox.com", "xlan.com", "local.example", "lan.example", "guru.com",
		"nintendo.net", "playstation.net", "aliyun.com", "www.cloudflare.com",
		"l.google.com"};
	struct policy *p = build(&config); /* without a word */

	(void)state;
	for (size_t i = 0; i < COUNT(never); i++)
		if (fakes(p, never[i]))
			fail_msg("%s is faked", never[i]);
	for (size_t i = 0; i < COUNT(faked); i++)
		if (!fakes(p, faked[i]))
			fail_msg("%s is not faked", faked[i]);
	assert_false(fakes(p, "real.test"));
	policy_unref(p);

	config.fakeip.except_builtin = false;
	p = build(&config);
	for (size_t i = 0; i < COUNT(never); i++)
		assert_true(fakes(p, never[i]));
	policy_unref(p);
}

/* A rule's own domain at or below the closest never-fake entry: what it says is done. */
static void test_never_fake_gives_way(void **state)
{
	struct conf_rule rules[] = {
		{.name = "own",
			.domain = STRINGS("nas.lan", "internal", "full:time.google.com", "ntp.org",
				"ru", "com", "full:pc"),
			.answer = CONF_ANSWER_FAKE},
		{.name = "all", .domain = STRINGS(".", "corp.local"), .answer = CONF_ANSWER_FAKE},
	};
	struct config config = {.path = "c.yaml",
		.rules = rules,
		.n_rules = COUNT(rules),
		.fakeip = {.except_builtin = true}};
	struct policy *p = build(&config);

	(void)state;
	assert_true(fakes(p, "nas.lan"));
	assert_true(fakes(p, "a.nas.lan"));
	assert_false(fakes(p, "other.lan")); /* by "." */
	assert_false(fakes(p, "lan"));
	assert_true(fakes(p, "internal"));
	assert_true(fakes(p, "a.b.internal"));
	assert_true(fakes(p, "time.google.com"));
	assert_false(fakes(p, "a.time.google.com"));
	assert_false(fakes(p, "time1.google.com")); /* com lies above it */
	assert_false(fakes(p, "stun.l.google.com"));
	assert_true(fakes(p, "www.google.com"));
	assert_false(fakes(p, "pool.ntp.org")); /* ntp.org does */
	assert_true(fakes(p, "www.ntp.org"));
	assert_true(fakes(p, "ru")); /* at the name itself, and it says so */
	assert_true(fakes(p, "mail.ru"));
	assert_true(fakes(p, "pc"));
	assert_false(fakes(p, "nas"));
	assert_true(fakes(p, "corp.local"));
	assert_true(fakes(p, "a.corp.local"));
	assert_false(fakes(p, "printer.local"));
	assert_false(fakes(p, "local"));
	policy_unref(p);
}

/* --- address lists, unless, carry --- */

static void test_nameless(void **state)
{
	struct ip_prefix lan[] = {prefix_of("192.168.1.0/24")};
	struct conf_rule rules[] = {
		{.name = "named", .domain = STRINGS("a.test"), .answer = CONF_ANSWER_FAKE},
		{.name = "lan", .client = {.prefixes = {lan, 1}}, .answer = CONF_ANSWER_FAKE},
		{.name = "root", .domain = STRINGS("."), .answer = CONF_ANSWER_FAKE},
	};
	struct config config = {.path = "c.yaml",
		.rules = rules,
		.n_rules = COUNT(rules),
		.fakeip = {.except_builtin = true}};
	struct policy *p = build(&config);
	struct policy_question q = {.type = DNS_A};
	struct policy_decision d;

	(void)state;
	d = policy_decide(p, &q);
	assert_string_equal(d.rule->name, "root"); /* takes every name, known or not */
	assert_false(d.never_fake);
	assert_int_equal(ip_addr_parse("192.168.1.7", &q.client), 0);
	assert_string_equal(policy_decide(p, &q).rule->name, "lan");
	policy_unref(p);

	config.n_rules = 1;
	p = build(&config);
	assert_null(policy_decide(p, &q).rule->name);
	policy_unref(p);
}

static void test_carry(void **state)
{
	struct conf_egress egresses[] = {
		{.name = "plain", .type = CONF_EGRESS_DIRECT},
		{.name = "vpn", .type = CONF_EGRESS_DIRECT, .mark = {0x10, 0xff}},
		{.name = "proxy",
			.type = CONF_EGRESS_SOCKS5,
			.udp = CONF_CARRY_REJECT,
			.ping = CONF_PING_LOCAL},
		{.name = "block", .type = CONF_EGRESS_REJECT, .quic = CONF_CARRY_REJECT},
		{.name = "best", .type = CONF_EGRESS_GROUP},
	};
	enum { PLAIN, VPN, PROXY, BLOCK, BEST };
	const struct {
		enum conf_answer answer;
		int egress;
		bool carry, carries;
		bool needs_sets; /* a rule that fakes may answer with real addresses, too */
	} cases[] = {
		{CONF_ANSWER_REAL, -1, true, false, false},
		{CONF_ANSWER_REAL, PLAIN, true, false, false},
		{CONF_ANSWER_REAL, VPN, true, true, true},
		{CONF_ANSWER_REAL, PROXY, true, true, true},
		{CONF_ANSWER_REAL, BLOCK, true, true, true},
		{CONF_ANSWER_REAL, BEST, true, true, true},
		{CONF_ANSWER_REAL, PROXY, false, false, false},
		{CONF_ANSWER_FAKE, PROXY, true, false, true},
		{CONF_ANSWER_FAKE, VPN, true, false, true},
		{CONF_ANSWER_FAKE, PLAIN, true, false, false},
		{CONF_ANSWER_BLOCK, -1, true, false, false},
	};
	const struct policy_egress *all;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct conf_rule rules[] = {{.name = "r",
			.answer = cases[i].answer,
			.egress = cases[i].egress,
			.carry = cases[i].carry}};
		struct config config = {.path = "c.yaml",
			.rules = rules,
			.n_rules = 1,
			.egresses = egresses,
			.n_egresses = COUNT(egresses)};
		struct policy *p = build(&config);
		bool direct = cases[i].egress == VPN;

		assert_int_equal(policy_rule_by_id(p, policy_id("r"))->carry, cases[i].carries);
		assert_int_equal(policy_carries(p, true, 0), cases[i].needs_sets && !direct);
		for (unsigned egress = 0; egress < COUNT(egresses); egress++)
			assert_int_equal(policy_carries(p, false, egress),
				cases[i].needs_sets && (int)egress == cases[i].egress);
		assert_int_equal(policy_egresses(p, &all), COUNT(egresses));
		assert_int_equal(all[PROXY].type, CONF_EGRESS_SOCKS5);
		assert_false(all[PROXY].udp);
		assert_true(all[PROXY].quic);
		assert_true(all[PROXY].ping);
		assert_true(all[BLOCK].udp);
		assert_false(all[BLOCK].quic);
		assert_false(all[BLOCK].ping);
		policy_unref(p);
	}
}

static void test_shared(void **state)
{
	struct config config = {.path = "c.yaml"};
	struct policy *p = build(&config);

	(void)state;
	assert_ptr_equal(policy_ref(p), p);
	policy_unref(p);
	assert_string_equal(winner(p, "a.test", DNS_A, NULL), "default");
	assert_false(policy_carries(p, true, 0));
	policy_unref(p);
	policy_unref(NULL);
}

/* --- lists --- */

static char *path_in(char path[256], const char *file)
{
	return strcpy(path, folder_path(file));
}

/* Two lists, one of two files, and rules that take them. */
struct lists_fixture {
	char cn1[256], cn2[256], ads[256];
	struct conf_list_file cn_paths[2], ads_paths[1];
	char *domain[1];
	struct conf_list lists[2];
	int ads_ref[1], cn_ref[2];
	struct ip_prefix lan[1];
	struct conf_rule rules[3];
	struct config config;
};

static void lists_fixture_init(struct lists_fixture *f)
{
	memset(f, 0, sizeof *f);
	f->cn_paths[0].path = path_in(f->cn1, "cn1.txt");
	f->cn_paths[0].line = 7;
	f->cn_paths[0].column = 9;
	f->cn_paths[1].path = path_in(f->cn2, "cn2.txt");
	f->cn_paths[1].line = 7;
	f->cn_paths[1].column = 9;
	f->ads_paths[0].path = path_in(f->ads, "ads.txt");
	folder_write("cn1.txt", "# names\ncn\nexample.com # a comment\n");
	folder_write("cn2.txt", "example.org\nWWW.Example.COM\r\ncn\n");
	folder_write("ads.txt", "ads.example.com\n");
	f->lists[0] = (struct conf_list){
		.name = "cn", .files = f->cn_paths, .n_files = 2, .line = 7, .column = 9};
	f->lists[1] = (struct conf_list){
		.name = "ads", .files = f->ads_paths, .n_files = 1, .line = 8, .column = 9};
	f->domain[0] = "b.test";
	f->ads_ref[0] = 1;
	f->cn_ref[0] = 0;
	f->cn_ref[1] = 1;
	f->lan[0] = prefix_of("192.168.1.0/24");
	f->rules[0] = (struct conf_rule){.name = "guest",
		.lists = f->ads_ref,
		.n_lists = 1,
		.client = {.prefixes = {f->lan, 1}}};
	f->rules[1] = (struct conf_rule){
		.name = "lists", .lists = f->cn_ref, .n_lists = 2, .domain = {f->domain, 1}};
	f->rules[2] = (struct conf_rule){.name = "rest"};
	f->config = (struct config){.path = "/etc/c.yaml",
		.lists = f->lists,
		.n_lists = 2,
		.rules = f->rules,
		.n_rules = 3};
}

static void lists_fixture_fini(struct lists_fixture *f)
{
	(void)unlink(f->cn1);
	(void)unlink(f->cn2);
	(void)unlink(f->ads);
}

static void test_lists(void **state)
{
	struct lists_fixture f;
	const struct policy_list_info *infos;
	struct policy *p;

	(void)state;
	lists_fixture_init(&f);
	p = build(&f.config);
	/* What is looked up is in memory. */
	lists_fixture_fini(&f);
	assert_string_equal(winner(p, "a.cn", DNS_A, NULL), "lists");
	assert_string_equal(winner(p, "x.ads.example.com", DNS_A, NULL), "lists");
	assert_string_equal(winner(p, "x.ads.example.com", DNS_A, "192.168.1.2"), "guest");
	assert_string_equal(winner(p, "example.com", DNS_A, "192.168.1.2"), "lists");
	assert_string_equal(winner(p, "b.test", DNS_A, NULL), "lists");
	assert_string_equal(winner(p, "com", DNS_A, NULL), "rest");
	assert_int_equal(policy_lists(p, &infos), 2);
	assert_string_equal(infos[0].name, "cn");
	assert_int_equal(infos[0].names, 4);
	assert_int_equal(infos[0].files, 2);
	assert_int_equal(infos[0].cidrs, 0);
	assert_true(infos[0].loaded_at_s > 1600000000);
	assert_int_equal(infos[1].names, 1);
	policy_unref(p);
}

static void test_list_faults(void **state)
{
	struct lists_fixture f;
	struct policy *p;
	char expected[1024];

	(void)state;
	lists_fixture_init(&f);
	/* A bad line is a warning. */
	folder_write("ads.txt", "ads.example.com\nads example.com\n");
	assert_int_equal(try_build(&f.config, &p), 0);
	assert_int_equal(told_errors, 0);
	(void)snprintf(expected, sizeof expected,
		"%s:2:4: warning: lists.ads: more than one word; allowed: one domain name, address "
		"or prefix a line, 'full:' 'domain:' 'keyword:' 'regexp:' before it, '#' "
		"comments\n",
		f.ads);
	assert_string_equal(told, expected);
	assert_string_equal(winner(p, "ads.example.com", DNS_A, NULL), "lists");
	policy_unref(p);

	/* All faults of all files are told, at the place where each can be mended. */
	folder_write("ads.txt", "ads.example.com\nx y\ny z\n");
	assert_int_equal(unlink(f.cn1), 0);
	assert_int_equal(unlink(f.cn2), 0);
	assert_int_equal(mkdir(f.cn2, 0700), 0);
	assert_int_equal(try_build(&f.config, &p), -EINVAL);
	assert_null(p);
	assert_int_equal(told_errors, 3);
	(void)snprintf(expected, sizeof expected,
		"/etc/c.yaml:7:9: lists.cn: %s: No such file or directory; allowed: a readable "
		"list file\n"
		"/etc/c.yaml:7:9: lists.cn: %s: Is a directory; allowed: a readable list file\n",
		f.cn1, f.cn2);
	assert_memory_equal(told, expected, strlen(expected));
	(void)snprintf(expected, sizeof expected,
		"%s:1:1: lists.ads: 2 of 3 lines cannot be read; allowed: ", f.ads);
	assert_non_null(strstr(told, expected));
	assert_int_equal(rmdir(f.cn2), 0);
	lists_fixture_fini(&f);
}

static void test_bad_domain(void **state)
{
	struct conf_rule rules[] = {
		{.name = "r", .domain = STRINGS("a..test"), .line = 4, .column = 5}};
	struct config config = {.path = "c.yaml", .rules = rules, .n_rules = 1};
	struct policy *p;

	(void)state;
	assert_int_equal(try_build(&config, &p), -EINVAL);
	assert_string_equal(told,
		"c.yaml:4:5: rules.r.domain: 'a..test' is not understood; allowed: "
		"NAME, full:NAME, keyword:TEXT, regexp:EXPRESSION\n");
}

static void test_too_many_sources(void **state)
{
	static char *a[] = {"a.test"}, *b[] = {"b.test"};
	enum { MOST = MATCHER_SOURCES_MAX - POLICY_FIRST_LIST };
	struct conf_rule *rules = calloc(MOST + 1, sizeof *rules);
	struct config config = {.path = "c.yaml", .rules = rules, .n_rules = MOST};
	struct policy *p;

	(void)state;
	assert_non_null(rules);
	for (size_t i = 0; i <= MOST; i++)
		rules[i] = (struct conf_rule){.name = "r", .egress = -1, .domain = {a, 1}};
	rules[MOST - 1].domain = (struct conf_strings){b, 1};
	rules[MOST - 1].name = "last";
	p = build(&config);
	assert_string_equal(winner(p, "b.test", DNS_A, NULL), "last");
	assert_string_equal(winner(p, "a.test", DNS_A, NULL), "r");
	policy_unref(p);
	config.n_rules++;
	assert_int_equal(try_build(&config, &p), -EINVAL);
	assert_int_equal(told_errors, 1);
	free(rules);
}

/* Lists of addresses, of names, and of both; two of them are never faked. */
struct unless_fixture {
	char cn[256], ads[256], mine[256];
	struct conf_list_file cn_paths[1], ads_paths[1], mine_paths[1];
	char *own[1];
	struct conf_list lists[3];
	int both[2], ads_only[1], except[2], name_list[1];
	struct conf_egress egresses[2];
	struct conf_unless unless[2];
	struct conf_rule rules[2];
	struct config config;
};

static void unless_fixture_init(struct unless_fixture *f)
{
	memset(f, 0, sizeof *f);
	f->cn_paths[0].path = path_in(f->cn, "cn-ip.txt");
	f->ads_paths[0].path = path_in(f->ads, "ads-ip.txt");
	f->mine_paths[0].path = path_in(f->mine, "mine.txt");
	folder_write("cn-ip.txt", "1.0.0.0/8\n2400::/16\n1.2.0.0/16\n1.0.0.0/8\nkept.cn\n");
	folder_write("ads-ip.txt", "1.2.3.4\n::ffff:9.9.9.9\n");
	folder_write("mine.txt", "bank.test\n9.9.9.0/24\n");
	f->lists[0] = (struct conf_list){.name = "cn-ip", .files = f->cn_paths, .n_files = 1};
	f->lists[1] = (struct conf_list){.name = "ads-ip", .files = f->ads_paths, .n_files = 1};
	f->lists[2] = (struct conf_list){.name = "mine", .files = f->mine_paths, .n_files = 1};
	f->both[0] = 1;
	f->both[1] = 0;
	f->ads_only[0] = 1;
	f->except[0] = 2;
	f->except[1] = 0;
	f->name_list[0] = 2;
	f->own[0] = "a.bank.test";
	f->egresses[0] = (struct conf_egress){.name = "direct", .upstream = 0};
	f->egresses[1] =
		(struct conf_egress){.name = "proxy", .type = CONF_EGRESS_SOCKS5, .upstream = 1};
	f->unless[0] = (struct conf_unless){
		.lists = f->both, .n_lists = 2, .egress = 0, .upstream = 0, .within_ms = 2000};
	f->unless[1] = (struct conf_unless){
		.lists = f->ads_only, .n_lists = 1, .egress = 1, .upstream = 1, .within_ms = 500};
	f->rules[0] = (struct conf_rule){.name = "mine",
		.lists = f->name_list,
		.n_lists = 1,
		.domain = {f->own, 1},
		.answer = CONF_ANSWER_FAKE,
		.egress = 1};
	f->rules[1] = (struct conf_rule){.name = "rest",
		.answer = CONF_ANSWER_FAKE,
		.egress = 1,
		.unless = f->unless,
		.n_unless = 2};
	f->config = (struct config){.path = "/etc/c.yaml",
		.lists = f->lists,
		.n_lists = 3,
		.egresses = f->egresses,
		.n_egresses = 2,
		.rules = f->rules,
		.n_rules = 2,
		.fakeip = {.except = f->except, .n_except = 2, .except_builtin = true}};
}

static void unless_fixture_fini(struct unless_fixture *f)
{
	(void)unlink(f->cn);
	(void)unlink(f->ads);
	(void)unlink(f->mine);
}

/* The list by which the `unless` holds the address; "". */
static const char *unless_by(
	const struct policy *p, const struct policy_unless *u, const char *address)
{
	struct ip_addr a;
	const char *list;

	assert_int_equal(ip_addr_parse(address, &a), 0);
	list = policy_unless_list(p, u, &a);
	assert_int_equal(policy_unless_holds(p, u, &a), list != NULL);
	return list ? list : "";
}

static void test_unless(void **state)
{
	struct unless_fixture f;
	const struct policy_list_info *infos;
	const struct policy_egress *all;
	const struct policy_unless *u;
	const struct policy_rule *rule;
	struct policy *p;

	(void)state;
	unless_fixture_init(&f);
	p = build(&f.config);
	unless_fixture_fini(&f);
	memset(&f, 0, sizeof f); /* the policy has what it needs */
	(void)policy_egresses(p, &all);
	rule = policy_rule_by_id(p, policy_id("rest"));
	assert_int_equal(rule->n_unless, 2);
	u = rule->unless;
	assert_ptr_equal(u[0].egress, &all[0]);
	assert_int_equal(u[0].upstream, 0);
	assert_int_equal(u[0].within_ms, 2000);
	assert_ptr_equal(u[1].egress, &all[1]);
	assert_int_equal(u[1].within_ms, 500);
	assert_string_equal(unless_by(p, &u[0], "1.2.3.4"), "ads-ip"); /* the first that is named */
	assert_string_equal(unless_by(p, &u[0], "1.2.3.5"), "cn-ip");
	assert_string_equal(unless_by(p, &u[0], "1.255.255.255"), "cn-ip");
	assert_string_equal(unless_by(p, &u[0], "2400:1::1"), "cn-ip");
	assert_string_equal(unless_by(p, &u[0], "2401::"), "");
	assert_string_equal(unless_by(p, &u[0], "2.0.0.0"), "");
	assert_string_equal(unless_by(p, &u[0], "9.9.9.9"), "ads-ip");
	assert_string_equal(unless_by(p, &u[0], "9.9.9.8"), ""); /* mine is not asked for */
	assert_string_equal(unless_by(p, &u[1], "1.2.3.4"), "ads-ip");
	assert_string_equal(unless_by(p, &u[1], "1.2.3.5"), "");
	assert_int_equal(policy_rule_by_id(p, policy_id("mine"))->n_unless, 0);

	assert_int_equal(policy_lists(p, &infos), 3);
	assert_int_equal(infos[0].cidrs, 3); /* distinct ones */
	assert_int_equal(infos[0].names, 1);
	assert_int_equal(infos[1].cidrs, 2);
	assert_int_equal(infos[1].names, 0);
	assert_int_equal(infos[2].cidrs, 1);
	assert_int_equal(infos[2].names, 1);
	policy_unref(p);
}

static void test_except_lists(void **state)
{
	struct unless_fixture f;
	struct policy *p;

	(void)state;
	unless_fixture_init(&f);
	p = build(&f.config);
	unless_fixture_fini(&f);
	assert_false(fakes(p, "bank.test")); /* by the list of the rule, not by its own domain */
	assert_false(fakes(p, "www.bank.test"));
	assert_true(fakes(p, "a.bank.test"));
	assert_true(fakes(p, "x.a.bank.test"));
	assert_false(fakes(p, "kept.cn"));
	assert_true(fakes(p, "other.cn"));
	assert_false(fakes(p, "x.lan"));
	policy_unref(p);
}

/* --- explain --- */

static char explained[8192];

static void explain_list(void *arg, const struct policy_explain_list *l)
{
	size_t n = strlen(explained);
	const char *file = strrchr(l->file, '/');

	assert_null(arg);
	assert_non_null(file);
	(void)snprintf(explained + n, sizeof explained - n, "%s %s:%u: %s\n", l->list, file + 1,
		l->line, l->text);
}

static void explain_rule(void *arg, const struct policy_explain_rule *r)
{
	size_t n = strlen(explained);

	assert_null(arg);
	(void)snprintf(explained + n, sizeof explained - n, "%s %s: %s\n", r->matched ? "+" : "-",
		r->name, r->why);
}

static void explain_note(void *arg, const char *text)
{
	size_t n = strlen(explained);

	assert_null(arg);
	(void)snprintf(explained + n, sizeof explained - n, "note: %s\n", text);
}

/* The texts; and the winner is the one of policy_decide(). */
static const char *explain(
	const struct policy *p, const char *name, uint16_t type, const char *client)
{
	const struct policy_explain_sink sink = {NULL, explain_list, explain_rule, explain_note};
	struct policy_decision explaining, deciding;
	struct asked a;
	const struct policy_question *question = ask(&a, name, type, client);

	explained[0] = 0;
	explaining = policy_explain(p, question, &sink);
	deciding = policy_decide(p, question);
	assert_ptr_equal(explaining.rule, deciding.rule);
	assert_int_equal(explaining.never_fake, deciding.never_fake);
	return explained;
}

static void test_explain_rules(void **state)
{
	struct ip_prefix lan[] = {prefix_of("192.168.1.0/24"), prefix_of("fd00::/8")};
	uint16_t types[] = {DNS_AAAA, DNS_HTTPS};
	struct conf_rule rules[] = {
		{.name = "six",
			.domain = STRINGS("corp.example"),
			.client = {.prefixes = {lan, 2}},
			.types = types,
			.n_types = 2},
		{.name = "full", .domain = STRINGS("full:www.corp.example")},
		{.name = "lan", .client = {.prefixes = {lan, 2}}},
		{.name = "corp", .domain = STRINGS("other.test", "corp.example")},
	};
	struct config config = {.path = "c.yaml", .rules = rules, .n_rules = COUNT(rules)};
	struct policy *p = build(&config);

	(void)state;
	assert_string_equal(explain(p, "a.corp.example", DNS_HTTPS, "192.168.1.9"),
		"+ six: domain: corp.example is at or above the name, client 192.168.1.9 is in "
		"192.168.1.0/24, type HTTPS "
		"is in AAAA HTTPS\n");
	assert_string_equal(explain(p, "a.corp.example", DNS_A, "192.168.1.9"),
		"- six: type A is not in AAAA HTTPS\n"
		"- full: no domain of the rule holds the name\n"
		"+ lan: matches every name, client 192.168.1.9 is in 192.168.1.0/24\n");
	assert_string_equal(explain(p, "www.corp.example", DNS_AAAA, "10.0.0.5"),
		"- six: client 10.0.0.5 is not in 192.168.1.0/24 fd00::/8\n"
		"+ full: domain: full:www.corp.example is exactly the name\n");
	assert_string_equal(explain(p, "corp.example", DNS_A, NULL),
		"- six: the client is not known, the rule is for 192.168.1.0/24 fd00::/8\n"
		"- full: no domain of the rule holds the name\n"
		"- lan: the client is not known, the rule is for 192.168.1.0/24 fd00::/8\n"
		"+ corp: domain: corp.example is at or above the name\n");
	assert_string_equal(explain(p, "b.test", DNS_A, "10.0.0.5"),
		"- six: no domain of the rule holds the name\n"
		"- full: no domain of the rule holds the name\n"
		"- lan: client 10.0.0.5 is not in 192.168.1.0/24 fd00::/8\n"
		"- corp: no domain of the rule holds the name\n");
	policy_unref(p);
}

static void test_explain_lists(void **state)
{
	struct lists_fixture f;
	struct policy *p;

	(void)state;
	lists_fixture_init(&f);
	p = build(&f.config);
	assert_string_equal(explain(p, "a.ads.example.com", DNS_A, NULL),
		"cn cn1.txt:3: example.com\n"
		"ads ads.txt:1: ads.example.com\n"
		"- guest: the client is not known, the rule is for 192.168.1.0/24\n"
		"+ lists: list: cn ads holds the name\n");
	assert_string_equal(explain(p, "www.example.org", DNS_A, NULL),
		"cn cn2.txt:1: example.org\n"
		"- guest: no list of the rule holds the name\n"
		"+ lists: list: cn holds the name\n");
	assert_string_equal(explain(p, "test", DNS_A, NULL),
		"- guest: no list of the rule holds the name\n"
		"- lists: no domain or list of the rule holds the name\n"
		"+ rest: matches every name\n");
	assert_string_equal(explain(p, "x.b.test", DNS_A, NULL),
		"- guest: no list of the rule holds the name\n"
		"+ lists: domain: b.test is at or above the name\n");

	/* A changed or missing file has no lines any more; the decision stays. */
	folder_write("cn1.txt", "example.com\n");
	assert_string_equal(explain(p, "b.cn", DNS_A, NULL),
		"cn cn2.txt:3: cn\n"
		"- guest: no list of the rule holds the name\n"
		"+ lists: list: cn holds the name\n");
	assert_string_equal(explain(p, "example.com", DNS_A, NULL),
		"cn cn1.txt:0: \n"
		"- guest: no list of the rule holds the name\n"
		"+ lists: list: cn holds the name\n");
	assert_int_equal(unlink(f.ads), 0);
	assert_string_equal(explain(p, "ads.example.com", DNS_A, "192.168.1.2"),
		"cn cn1.txt:0: \n"
		"ads ads.txt:0: \n"
		"+ guest: list: ads holds the name, client 192.168.1.2 is in 192.168.1.0/24\n");
	policy_unref(p);
	lists_fixture_fini(&f);
}

static void test_explain_fake(void **state)
{
	struct unless_fixture f;
	struct policy *p;

	(void)state;
	unless_fixture_init(&f);
	p = build(&f.config);
	assert_string_equal(explain(p, "other.test", DNS_A, NULL),
		"- mine: no domain or list of the rule holds the name\n"
		"+ rest: matches every name; unless in ads-ip cn-ip: egress direct; unless in "
		"ads-ip: egress proxy\n");
	assert_string_equal(explain(p, "kept.cn", DNS_A, NULL),
		"cn-ip cn-ip.txt:5: kept.cn\n"
		"- mine: no domain or list of the rule holds the name\n"
		"+ rest: matches every name; unless in ads-ip cn-ip: egress direct; unless in "
		"ads-ip: egress proxy\n"
		"note: never fake: kept.cn is in fakeip.except (list cn-ip)\n");
	assert_string_equal(explain(p, "www.bank.test", DNS_A, NULL),
		"mine mine.txt:1: bank.test\n"
		"+ mine: list: mine holds the name\n"
		"note: never fake: www.bank.test is in fakeip.except (list mine)\n");
	assert_string_equal(explain(p, "x.a.bank.test", DNS_A, NULL),
		"mine mine.txt:1: bank.test\n"
		"+ mine: domain: a.bank.test is at or above the name\n"
		"note: x.a.bank.test is in fakeip.except (list mine), but a domain of rule mine "
		"lies at or below it\n");
	assert_non_null(strstr(explain(p, "captive.apple.com", DNS_A, NULL),
		"note: never fake: captive.apple.com is in fakeip.except (built-in)\n"));
	assert_non_null(strstr(explain(p, "printer", DNS_A, NULL),
		"note: never fake: printer is in fakeip.except (built-in: a name of one label)\n"));
	policy_unref(p);
	unless_fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_match_wins),
		cmocka_unit_test(test_default),
		cmocka_unit_test(test_client_and_type),
		cmocka_unit_test(test_effects_are_copied),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_views),
		cmocka_unit_test(test_views_of_hosts),
		cmocka_unit_test(test_never_fake_builtin),
		cmocka_unit_test(test_never_fake_gives_way),
		cmocka_unit_test(test_nameless),
		cmocka_unit_test(test_carry),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_list_faults),
		cmocka_unit_test(test_bad_domain),
		cmocka_unit_test(test_too_many_sources),
		cmocka_unit_test(test_unless),
		cmocka_unit_test(test_except_lists),
		cmocka_unit_test(test_explain_rules),
		cmocka_unit_test(test_explain_lists),
		cmocka_unit_test(test_explain_fake),
	};

	return cmocka_run_group_tests(tests, NULL, folder_remove);
}
