/* Names of DHCP leases, before any rule. */
#include "tests/unit/query_talk.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static const char format[] =
	"gateway: { lan: [lan0] }\n"
	"fakeip: { pool4: 198.18.0.0/15, pool6: 'fd00::/64', ttl: 7s, store: '', https: rewrite,\n"
	"  except: { builtin: no } }\n"
	"leases: { files: [%s], domain: home, answer: %s }\n"
	"upstreams: { one: { servers: udp://192.0.2.53 }, two: { servers: udp://192.0.2.54 } }\n"
	"egress:\n"
	"  proxy: { type: socks5, server: '127.0.0.1:1080', upstream: two }\n"
	"rules:\n"
	"  - { name: block, domain: [tv.home], answer: block }\n"
	"  - { name: real, domain: [nas.home], answer: real, egress: proxy }\n"
	"  - { name: all, domain: [.], answer: fake, egress: proxy, upstream: one }\n";

static const char file[] = "0 02:00:00:00:00:01 192.168.1.9 phone *\n"
			   "0 02:00:00:00:00:02 192.168.1.10 nas *\n"
			   "0 02:00:00:00:00:03 192.168.1.11 tv *\n"
			   "duid 00:01\n"
			   "0 1 fd12::9 phone 00:02\n"
			   "0 2 fd12::a phone 00:02\n";

static struct stage *open_with(const char *answer_leases)
{
	char path[] = "/tmp/tg-lease-XXXXXX", yaml[2000];
	int fd = mkstemp(path);
	struct stage *s;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, file, sizeof file - 1), sizeof file - 1);
	close(fd);
	snprintf(yaml, sizeof yaml, format, path, answer_leases);
	s = stage_open(yaml, 0);
	unlink(path);
	return s;
}

static int open_stage(void **state)
{
	*state = open_with("yes");
	return 0;
}

static int open_unanswered(void **state)
{
	*state = open_with("no");
	return 0;
}

static int close_stage(void **state)
{
	stage_close(*state);
	return 0;
}

static void assert_empty(struct seen v)
{
	assert_negative(v, DNS_NOERROR, -1);
	assert_true(v.flags & DNS_AA);
}

static void a_host_is_answered_with_its_addresses(void **state)
{
	static const char *const names[] = {"phone", "phone.home", "PHONE.Home"};
	struct stage *s = *state;
	struct seen v;

	for (int i = 0; i < 3; i++) {
		ask(s, names[i], DNS_A);
		v = look_out();
		assert_int_equal(v.rcode, 0);
		assert_int_equal(v.answers, 1);
		assert_int_equal(v.type, DNS_A);
		assert_int_equal(v.ttl_s, 60);
		assert_true(v.flags & DNS_AA);
		assert_int_equal(v.ede, -1);
		assert_memory_equal(v.data, "\300\250\1\11", 4);
		ask(s, names[i], DNS_AAAA);
		v = look_out();
		assert_int_equal(v.answers, 2);
		assert_int_equal(v.type, DNS_AAAA);
		assert_memory_equal(v.data, "\375\22\0\0\0\0\0\0\0\0\0\0\0\0\0", 15);
	}
	assert_int_equal(COUNTER(s, local), 6);
	assert_int_equal(s->n_asked, 0);
	assert_int_equal(s->appends, 0);
}

static void what_a_host_has_not_is_nodata(void **state)
{
	static const unsigned types[] = {DNS_HTTPS, DNS_SVCB, DNS_TXT, DNS_PTR, DNS_ANY, DNS_SRV};
	struct stage *s = *state;

	ask(s, "nas.home", DNS_AAAA);
	assert_empty(look_out());
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		ask(s, "phone.home", types[i]);
		assert_empty(look_out());
	}
	assert_int_equal(s->n_asked, 0);
}

static void leases_go_before_the_rules(void **state)
{
	struct stage *s = *state;

	ask(s, "tv.home", DNS_A); /* a rule blocks it */
	assert_memory_equal(look_out().data, "\300\250\1\13", 4);
	ask(s, "nas.home", DNS_A); /* a rule resolves it */
	assert_memory_equal(look_out().data, "\300\250\1\12", 4);
	/* Nobody's lease: the rules. */
	ask(s, "www.tv.home", DNS_A);
	assert_negative(look_out(), DNS_NXDOMAIN, DNS_EDE_BLOCKED);
	ask(s, "printer.home", DNS_A);
	assert_int_equal(look_out().ede, DNS_EDE_FORGED);
}

static void addresses_have_names(void **state)
{
	static const uint8_t phone[] = "\5phone\4home";
	static const char *const reverse[] = {"9.1.168.192.in-addr.arpa",
		"9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.1.d.f.ip6.arpa"};
	struct stage *s = *state;
	struct seen v;

	for (int i = 0; i < 2; i++) {
		ask(s, reverse[i], DNS_PTR);
		v = look_out();
		assert_int_equal(v.type, DNS_PTR);
		assert_int_equal(v.ttl_s, 60);
		assert_true(v.flags & DNS_AA);
		assert_int_equal(v.size, sizeof phone);
		assert_memory_equal(v.data, phone, sizeof phone);
		ask(s, reverse[i], DNS_TXT);
		assert_empty(look_out());
	}
	ask(s, "99.1.168.192.in-addr.arpa", DNS_PTR);
	assert_int_equal(look_out().rcode, DNS_NXDOMAIN); /* of the house, and nobody's */
}

/* `answer: no`: never faked, nothing more. What upstream says of a host of the LAN is no traffic
 * for a proxy, unless a rule says so. */
static void unanswered_leases_are_only_never_faked(void **state)
{
	struct stage *s = *state;

	ask_parked(s, "phone.home", DNS_A);
	assert_int_equal(s->asked[0].group, 0); /* the rule's */
	answer_addresses(s, "phone.home", 1, 60);
	assert_int_equal(look_reply(s).answers, 1);
	assert_int_equal(s->n_jobs, 0);
	ask_parked(s, "phone.home", DNS_HTTPS);
	stage_answer(s, NULL, 0, -ETIMEDOUT);
	assert_int_equal(look_reply(s).rcode, DNS_SERVFAIL); /* as any real answer */
	ask(s, "tv.home", DNS_A);
	assert_negative(look_out(), DNS_NXDOMAIN, DNS_EDE_BLOCKED);
	ask_parked(s, "nas.home", DNS_A);
	answer_addresses(s, "nas.home", 1, 60);
	assert_int_equal(s->n_jobs, 1);
	stage_written(s, 0);
	ask(s, "9.1.168.192.in-addr.arpa", DNS_PTR);
	assert_int_equal(look_out().ede, DNS_EDE_FORGED);
	ask(s, "printer.home", DNS_A);
	assert_int_equal(look_out().ede, DNS_EDE_FORGED);
}

static void many_addresses_stay_within_the_limit(void **state)
{
	char path[] = "/tmp/tg-lease-XXXXXX", yaml[2000];
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");
	struct stage *s;

	(void)state;
	assert_non_null(f);
	fprintf(f, "duid 00:01\n");
	for (unsigned i = 1; i < 100; i++)
		fprintf(f, "0 %u fd12::%x phone 00:02\n", i, i);
	fclose(f);
	snprintf(yaml, sizeof yaml, format, path, "yes");
	s = stage_open(yaml, 0);
	unlink(path);
	ask(s, "phone.home", DNS_AAAA);
	assert_int_equal(look_out().answers, 16);
	make_query("phone.home", DNS_AAAA, 0); /* 16 of 28 bytes fit into 512 */
	hand_over(s, "10.1.1.1", false);
	assert_int_equal(look_out().answers, 16);
	stage_close(s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_stage, close_stage)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_host_is_answered_with_its_addresses),
		TEST(what_a_host_has_not_is_nodata),
		TEST(leases_go_before_the_rules),
		TEST(addresses_have_names),
		cmocka_unit_test_setup_teardown(
			unanswered_leases_are_only_never_faked, open_unanswered, close_stage),
		cmocka_unit_test(many_addresses_stay_within_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
