/* netlink/ways.h against the kernel: which families an egress has a route for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "netlink/ways.h"
#include "tests/platform/netns.h"

#define OWN_MARK 0x10000000u

static struct rt *rt;
static struct ways *w;

enum { DIRECT, MARKED, PROXY, REJECT, BOTH_DIRECT, OF_GROUP, WITH_PROXY, N_EGRESSES };

static void must(const char *command)
{
	assert_int_equal(netns_run(command), 0);
}

static void set(void)
{
	int both[] = {DIRECT, MARKED}, group[] = {BOTH_DIRECT}, proxy[] = {DIRECT, PROXY};
	struct conf_egress egresses[N_EGRESSES] = {
		[DIRECT] = {.type = CONF_EGRESS_DIRECT},
		[MARKED] = {.type = CONF_EGRESS_DIRECT, .mark = {0x42, 0xff}},
		[PROXY] = {.type = CONF_EGRESS_SOCKS5},
		[REJECT] = {.type = CONF_EGRESS_REJECT},
		[BOTH_DIRECT] = {.type = CONF_EGRESS_GROUP, .of = both, .n_of = 2},
		[OF_GROUP] = {.type = CONF_EGRESS_GROUP, .of = group, .n_of = 1},
		[WITH_PROXY] = {.type = CONF_EGRESS_GROUP, .of = proxy, .n_of = 2},
	};
	struct config config = {.egresses = egresses, .n_egresses = N_EGRESSES};

	assert_int_equal(ways_set(w, rt, &config, (struct conf_mark){OWN_MARK, OWN_MARK}), 0);
}

/* "46" and so on: own packets, then each egress. */
static const char *ways(void)
{
	static char text[64];
	size_t len = 0;

	for (int egress = -1; egress < N_EGRESSES; egress++)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s%s ",
			ways_has(w, egress, IP_V4) ? "4" : "-",
			ways_has(w, egress, IP_V6) ? "6" : "-");
	text[len - 1] = 0;
	return text;
}

static bool again(void)
{
	bool changed = false;

	assert_int_equal(ways_reload(w, rt, &changed), 0);
	return changed;
}

static int setup(void **state)
{
	(void)state;
	if (netns_run("sysctl -qw net.ipv6.conf.default.accept_dad=0;"
		      "ip link set lo up; ip link add wan0 type veth peer name s0;"
		      "ip link add vpn0 type veth peer name s1;"
		      "for i in wan0 s0 vpn0 s1; do ip link set $i up; done") ||
		rt_open(&rt) || ways_new(&w))
		return -1;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ways_free(w);
	ways_free(NULL);
	rt_close(rt);
	return 0;
}

static void before_it_is_asked_all_is_there(void **state)
{
	(void)state;
	assert_string_equal(ways(), "46 46 46 46 46 46 46 46");
	assert_true(ways_has(NULL, 3, IP_V6));
	assert_true(ways_has(w, 1000000, IP_V4));
}

static void without_routes_proxies_alone_have_ways(void **state)
{
	(void)state;
	set();
	assert_string_equal(ways(), "-- -- -- 46 46 -- -- 46");
	assert_false(again());
}

static void a_default_route_is_a_way(void **state)
{
	(void)state;
	must("ip addr add 192.0.2.2/24 dev wan0; ip route add default via 192.0.2.1");
	assert_string_equal(ways(), "-- -- -- 46 46 -- -- 46"); /* until it is asked again */
	assert_true(again());
	assert_string_equal(ways(), "4- 4- 4- 46 46 4- 4- 46");
	assert_false(again());
	must("ip addr add 2001:db8:1::2/64 dev wan0 nodad;"
	     "ip -6 route add default via 2001:db8:1::1 dev wan0");
	assert_true(again());
	assert_string_equal(ways(), "46 46 46 46 46 46 46 46");
	must("ip route del default; ip route add 0.0.0.0/1 dev wan0");
	assert_false(again());
	must("ip route del 0.0.0.0/1; ip route add 128.0.0.0/1 dev wan0");
	assert_false(again());
	must("ip route del 128.0.0.0/1");
	assert_true(again());
	assert_string_equal(ways(), "-6 -6 -6 46 46 -6 -6 46");
	must("ip route add default via 192.0.2.1");
	assert_true(again());
}

/* What only lies near, or is refused, is no way. */
static void refused_is_no_way(void **state)
{
	static const char *const types[] = {"unreachable", "prohibit", "blackhole", "throw"};
	char line[256];

	(void)state;
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		snprintf(line, sizeof line,
			"ip route replace %s default; ip -6 route del default;"
			"ip -6 route add %s default",
			types[i], types[i]);
		must(line);
		assert_true(again());
		assert_string_equal(ways(), "-- -- -- 46 46 -- -- 46");
		snprintf(line, sizeof line,
			"ip route del %s default; ip -6 route del %s default;"
			"ip route add default via 192.0.2.1;"
			"ip -6 route add default via 2001:db8:1::1 dev wan0",
			types[i], types[i]);
		must(line);
		assert_true(again());
		assert_string_equal(ways(), "46 46 46 46 46 46 46 46");
	}
}

/* A route that people keep for one well-known resolver says nothing about the rest. */
static void one_address_alone_may_be_refused(void **state)
{
	(void)state;
	must("ip route add blackhole 1.1.1.1;"
	     "ip -6 route add unreachable 2606:4700:4700::1111");
	assert_false(again());
	assert_string_equal(ways(), "46 46 46 46 46 46 46 46");
	must("ip route del blackhole 1.1.1.1;"
	     "ip -6 route del unreachable 2606:4700:4700::1111");
}

static void rules_by_mark_count(void **state)
{
	(void)state;
	must("for f in -4 -6; do ip $f rule add pref 100 fwmark 0x42/0xff lookup 42; done;"
	     "ip route add unreachable default table 42;"
	     "ip -6 route add unreachable default table 42");
	assert_true(again());
	/* The group has what one of its members has. */
	assert_string_equal(ways(), "46 46 -- 46 46 46 46 46");
	must("ip addr add 10.64.0.2/24 dev vpn0; ip route del unreachable default table 42;"
	     "ip route add default via 10.64.0.1 dev vpn0 table 42");
	assert_true(again());
	assert_string_equal(ways(), "46 46 4- 46 46 46 46 46");
	/* IPv6 by the VPN alone. */
	must("ip -6 route del default; ip addr add 2001:db8:2::2/64 dev vpn0 nodad;"
	     "ip -6 route del unreachable default table 42;"
	     "ip -6 route add default via 2001:db8:2::1 dev vpn0 table 42");
	assert_true(again());
	assert_string_equal(ways(), "4- 4- 46 46 46 46 46 46");
	must("ip -6 route add default via 2001:db8:1::1 dev wan0;"
	     "for f in -4 -6; do ip $f rule del pref 100; ip $f route flush table 42; done;"
	     "ip addr flush dev vpn0 scope global");
	assert_true(again());
	assert_string_equal(ways(), "46 46 46 46 46 46 46 46");
}

/* Rules for this gateway's own mark count for all its packets. */
static void the_own_mark_counts(void **state)
{
	(void)state;
	must("ip rule add pref 100 fwmark 0x10000000/0x10000000 prohibit");
	assert_true(again());
	assert_string_equal(ways(), "-6 -6 -6 46 46 -6 -6 46");
	must("ip rule del pref 100");
	assert_true(again());
}

/* A default route that stayed when the prefix went, or a LAN that numbers itself. */
static void sources_that_do_not_come_back_are_no_way(void **state)
{
	(void)state;
	must("ip -6 addr del 2001:db8:1::2/64 dev wan0;"
	     "ip -6 route replace default via fe80::1 dev wan0");
	assert_true(again());
	assert_string_equal(ways(), "4- 4- 4- 46 46 4- 4- 46");
	must("ip -6 addr add fd99::2/64 dev wan0 nodad");
	assert_false(again());
	must("ip -6 addr add 2001:db8:1::2/64 dev wan0 nodad");
	assert_true(again());
	assert_string_equal(ways(), "46 46 46 46 46 46 46 46");
}

static void a_link_that_goes_down_is_no_way(void **state)
{
	(void)state;
	must("ip link set wan0 down");
	assert_true(again());
	assert_string_equal(ways(), "-- -- -- 46 46 -- -- 46");
}

/* More egresses than there is room for: what is not asked for is not filtered. */
static void very_many_egresses(void **state)
{
	static struct conf_egress egresses[200];
	int member = 150;
	struct config config = {.egresses = egresses, .n_egresses = 200};

	(void)state;
	for (size_t i = 0; i < 200; i++)
		egresses[i] = (struct conf_egress){.type = CONF_EGRESS_DIRECT};
	egresses[0] = (struct conf_egress){.type = CONF_EGRESS_GROUP, .of = &member, .n_of = 1};
	assert_int_equal(ways_set(w, rt, &config, (struct conf_mark){OWN_MARK, OWN_MARK}), 0);
	assert_true(ways_has(w, 0, IP_V4));
	assert_false(ways_has(w, 1, IP_V4) || ways_has(w, 62, IP_V6));
	assert_true(ways_has(w, 63, IP_V4) && ways_has(w, 199, IP_V6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_it_is_asked_all_is_there),
		cmocka_unit_test(without_routes_proxies_alone_have_ways),
		cmocka_unit_test(a_default_route_is_a_way),
		cmocka_unit_test(refused_is_no_way),
		cmocka_unit_test(one_address_alone_may_be_refused),
		cmocka_unit_test(rules_by_mark_count),
		cmocka_unit_test(the_own_mark_counts),
		cmocka_unit_test(sources_that_do_not_come_back_are_no_way),
		cmocka_unit_test(a_link_that_goes_down_is_no_way),
		cmocka_unit_test(very_many_egresses),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, setup, teardown);
}
