/* netlink/monitor.h against the kernel: which changes are told, and which never reach us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "netlink/monitor.h"
#include "tests/platform/netns.h"

static struct monitor *m;

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* The news that a command makes; nothing was pending before. */
static struct monitor_news after(const char *command)
{
	struct monitor_news news = {0};

	assert_int_equal(netns_run(command), 0);
	/* The notification is queued when the command's system call returns; IPv6 addresses of a
	 * link come a little later. */
	assert_int_equal(monitor_read(m, &news), 0);
	assert_false(readable(monitor_nft_fd(m)));
	assert_false(readable(monitor_route_fd(m)));
	return news;
}

static int setup(void **state)
{
	(void)state;
	if (netns_run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1; ip link add d0 type veth "
		      "peer name p0;"
		      "ip link set d0 up; ip link set p0 up; ip link set lo up; nft add table inet "
		      "other") != 0)
		return -1;
	return monitor_open(&m);
}

static int teardown(void **state)
{
	(void)state;
	monitor_close(m);
	monitor_close(NULL);
	return 0;
}

static void quiet_at_first(void **state)
{
	struct monitor_news news = {0};
	const struct monitor_news none = {0};

	(void)state;
	assert_int_equal(monitor_read(m, &news), 0);
	assert_memory_equal(&news, &none, sizeof none);
}

static void sets_and_tables(void **state)
{
	struct monitor_news n;

	(void)state;
	n = after("nft add set inet other s '{ type ipv4_addr; flags timeout; }'");
	assert_true(n.nft_sets);
	assert_false(n.nft_rules || n.links || n.addresses || n.ours_removed || n.lost);
	n = after("nft delete set inet other s");
	assert_true(n.nft_sets && !n.nft_rules);
	n = after("nft 'add table ip more; add set ip more s { type ipv4_addr; }'");
	assert_true(n.nft_sets);
	n = after("nft delete table ip more");
	assert_true(n.nft_sets && n.nft_rules);
}

static void elements_are_no_news(void **state)
{
	struct monitor_news n;

	(void)state;
	(void)after("nft add set inet other s '{ type ipv4_addr; flags timeout; }'");
	/* Additions do not even wake us. */
	assert_int_equal(
		netns_run("nft add element inet other s '{ 1.1.1.1 timeout 1m, 2.2.2.2 }'"), 0);
	assert_false(readable(monitor_nft_fd(m)));
	n = after("nft delete element inet other s '{ 1.1.1.1 }'");
	assert_false(n.nft_sets || n.nft_rules);
	n = after("nft flush set inet other s");
	assert_false(n.nft_sets || n.nft_rules);
	/* A set that comes with its elements is a set, and so is one that goes with them. */
	n = after("nft 'add set inet other t { type ipv4_addr; }; add element inet other t { "
		  "3.3.3.3 }'");
	assert_true(n.nft_sets);
	n = after("nft 'flush set inet other t; delete set inet other t;"
		  " add set inet other t { type ipv4_addr; }'");
	assert_true(n.nft_sets);
}

/* Nor do removals in our own table, and it is told from those whose name begins alike. */
static void our_elements_do_not_wake(void **state)
{
	(void)state;
	(void)after("nft 'add table inet tungate; add set inet tungate s { type ipv4_addr; };"
		    " add table inet tungate2; add set inet tungate2 s { type ipv4_addr; }'");
	assert_int_equal(netns_run("nft add element inet tungate s '{ 1.1.1.1 }' &&"
				   "nft delete element inet tungate s '{ 1.1.1.1 }' &&"
				   "nft add element inet tungate2 s '{ 1.1.1.1 }'"),
		0);
	assert_false(readable(monitor_nft_fd(m)));
	assert_int_equal(netns_run("nft delete element inet tungate2 s '{ 1.1.1.1 }'"), 0);
	assert_true(readable(monitor_nft_fd(m)));
	(void)after("nft 'delete table inet tungate; delete table inet tungate2'");
}

static void rules(void **state)
{
	struct monitor_news n;

	(void)state;
	n = after("nft add chain inet other c '{ type filter hook forward priority 0; }'");
	assert_true(n.nft_rules && !n.nft_sets);
	n = after("nft add rule inet other c drop");
	assert_true(n.nft_rules && !n.nft_sets);
	n = after("nft flush chain inet other c");
	assert_true(n.nft_rules && !n.nft_sets);
}

/* Ours are made by us; what has the same name in another family is not ours. */
static void our_table_is_no_news(void **state)
{
	struct monitor_news n;

	(void)state;
	n = after("nft 'add table inet tungate; add chain inet tungate c; add rule inet tungate c "
		  "drop;"
		  " add set inet tungate s { type ipv4_addr; }'");
	assert_false(n.nft_sets || n.nft_rules);
	n = after("nft delete table inet tungate");
	assert_false(n.nft_sets || n.nft_rules);
	n = after("nft add table ip tungate");
	assert_true(n.nft_sets);
}

static void flush_ruleset(void **state)
{
	struct monitor_news n = after("nft flush ruleset");

	(void)state;
	assert_true(n.nft_sets && n.nft_rules);
}

static void links_and_addresses(void **state)
{
	struct monitor_news n;

	(void)state;
	n = after("ip link add d1 type veth peer name p1");
	assert_true(n.links && !n.addresses);
	n = after("ip link set d1 up");
	assert_true(n.links);
	n = after("ip addr add 10.1.1.1/24 dev d1");
	assert_true(n.addresses && !n.links && !n.ours_removed);
	n = after("ip addr del 10.1.1.1/24 dev d1");
	assert_true(n.addresses);
	n = after("ip link del d1");
	assert_true(n.links);
}

static void removals_of_ours(void **state)
{
	struct monitor_news n;

	(void)state;
	/* Others' routes do not even wake us, nor do ours that come. */
	assert_int_equal(
		netns_run("ip route add 10.2.0.0/16 dev d0 && ip route del 10.2.0.0/16 dev d0 &&"
			  "ip route add 10.3.0.0/16 dev d0 proto 198 &&"
			  "ip route add default dev d0 table 198 proto 198"),
		0);
	assert_false(readable(monitor_route_fd(m)));
	n = after("ip rule add pref 50 lookup 50 protocol 198");
	assert_false(n.routes || n.ours_removed || n.links || n.addresses);
	n = after("ip route del 10.3.0.0/16 dev d0 proto 198");
	assert_true(n.ours_removed && !n.links && !n.addresses && !n.routes);
	n = after("ip route del default dev d0 table 198 proto 198");
	assert_true(n.ours_removed && !n.routes);
	n = after("ip rule del pref 50");
	assert_true(n.ours_removed && !n.routes);
}

/* What may change which way leads out. */
static void routes_and_rules_of_others(void **state)
{
	static const char *const commands[] = {
		"ip route add default dev d0",
		"ip route replace default dev d0 proto static",
		"ip route del default dev d0",
		"ip route add unreachable default metric 99",
		"ip route del unreachable default metric 99",
		"ip route add 128.0.0.0/1 dev d0",
		"ip route del 128.0.0.0/1 dev d0",
		"ip route add default dev d0 table 77",
		"ip route flush table 77",
		"ip rule add pref 51 fwmark 1 lookup 51",
		"ip rule del pref 51",
		"ip -6 rule add pref 51 fwmark 1 lookup 51",
		"ip -6 rule del pref 51",
		"ip -6 route add 2000::/3 dev lo",
		"ip -6 route del 2000::/3 dev lo",
		"ip -6 route add unreachable default",
		"ip -6 route del unreachable default",
	};

	(void)state;
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		struct monitor_news n = after(commands[i]);

		if (!n.routes)
			print_error("%s\n", commands[i]);
		assert_true(n.routes);
		assert_false(n.ours_removed || n.links || n.addresses || n.lost);
	}
}

/* A queue that overflows says so, once, and the next news are read as ever. */
static void overflow(void **state)
{
	struct monitor_news n = {0};

	(void)state;
	assert_int_equal(netns_run("nft add table inet other;"
				   "for i in $(seq 1 40); do for j in $(seq 1 250); do"
				   " echo \"add chain inet other c${i}x$j\"; done; done > "
				   "/tmp/tg-monitor.$PPID;"
				   "for i in 1 2 3 4 5 6; do nft -f /tmp/tg-monitor.$PPID &&"
				   " nft 'delete table inet other; add table inet other'; done;"
				   "rm -f /tmp/tg-monitor.$PPID"),
		0);
	for (int i = 0; i < 1000 && (readable(monitor_nft_fd(m)) || i == 0); i++)
		assert_int_equal(monitor_read(m, &n), 0);
	assert_true(n.lost);
	n = after("nft add set inet other s '{ type ipv4_addr; }'");
	assert_true(n.nft_sets && !n.lost);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quiet_at_first),
		cmocka_unit_test(sets_and_tables),
		cmocka_unit_test(elements_are_no_news),
		cmocka_unit_test(our_elements_do_not_wake),
		cmocka_unit_test(rules),
		cmocka_unit_test(our_table_is_no_news),
		cmocka_unit_test(flush_ruleset),
		cmocka_unit_test(links_and_addresses),
		cmocka_unit_test(removals_of_ours),
		cmocka_unit_test(routes_and_rules_of_others),
		cmocka_unit_test(overflow),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, setup, teardown);
}
