/* netlink/rt.h against the kernel: what it says it did is what ip(8) then shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "gateway/tun/device.h"
#include "netlink/rt.h"
#include "tests/platform/netns.h"

static struct rt *rt;
static int tun;
static unsigned tun_index, lo_index;

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix p;
	const char *slash = strchr(text, '/');
	char host[64] = {0};

	memcpy(host, text, slash ? (size_t)(slash - text) : strlen(text));
	assert_int_equal(ip_addr_parse(host, &p.addr), 0);
	p.len = (uint8_t)atoi(slash + 1);
	return p;
}

/* How many lines of the command's output contain text. */
static int lines_with(const char *command, const char *text)
{
	char line[512];
	FILE *f = popen(command, "r");
	int n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof line, f))
		n += strstr(line, text) != NULL;
	assert_int_equal(pclose(f), 0);
	return n;
}

static int setup(void **state)
{
	struct ip_prefix a4 = prefix("198.18.0.1/32"), a6 = prefix("fd00:198:18::1/128");

	(void)state;
	assert_int_equal(rt_open(&rt), 0);
	assert_int_equal(tun_device_open("rt0", 1, &tun), 0);
	assert_int_equal(rt_link_index(rt, "rt0", &tun_index), 0);
	assert_int_equal(rt_link_index(rt, "lo", &lo_index), 0);
	assert_int_equal(lo_index, 1);
	assert_int_equal(rt_link_up(rt, lo_index, 0, 0), 0);
	assert_int_equal(rt_link_up(rt, tun_index, 1400, 321), 0);
	assert_int_equal(rt_address_add(rt, tun_index, &a4), 0);
	assert_int_equal(rt_address_add(rt, tun_index, &a6), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close(tun);
	rt_close(rt);
	return 0;
}

static void links(void **state)
{
	struct ip_prefix a4 = prefix("198.18.0.1/32");
	unsigned none = 77;

	(void)state;
	assert_int_equal(rt_link_index(rt, "nobody0", &none), -ENODEV);
	assert_int_equal(none, 77);
	assert_int_equal(lines_with("ip link show dev rt0", "mtu 1400"), 1);
	assert_int_equal(lines_with("ip link show dev rt0", "UP"), 1);
	assert_int_equal(lines_with("ip link show dev rt0", "qlen 321"), 1);
	/* Zero leaves them alone. */
	assert_int_equal(rt_link_up(rt, tun_index, 0, 0), 0);
	assert_int_equal(lines_with("ip link show dev rt0", "mtu 1400"), 1);
	assert_int_equal(rt_link_up(rt, 9999, 0, 0), -ENODEV);
	/* What is there already counts as done. */
	assert_int_equal(rt_address_add(rt, tun_index, &a4), 0);
	assert_int_equal(rt_address_add(rt, 9999, &a4), -ENODEV);
}

struct seen {
	int tun4, tun6, lo, links;
};

static void see_address(void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t len)
{
	struct seen *s = arg;
	struct ip_prefix p4 = prefix("198.18.0.1/32"), p6 = prefix("fd00:198:18::1/128");

	s->tun4 += ifindex == tun_index && ip_addr_equal(a, &p4.addr) && len == 32;
	s->tun6 += ifindex == tun_index && ip_addr_equal(a, &p6.addr) && len == 128;
	s->lo += ifindex == lo_index && ip_addr_is_loopback(a);
}

static void see_link(void *arg, unsigned ifindex, const char *name)
{
	struct seen *s = arg;

	s->links += (ifindex == tun_index && strcmp(name, "rt0") == 0) ||
		    (ifindex == lo_index && strcmp(name, "lo") == 0);
}

static void visits(void **state)
{
	struct seen s = {0};

	(void)state;
	assert_int_equal(rt_addresses(rt, see_address, &s), 0);
	assert_int_equal(rt_links(rt, see_link, &s), 0);
	assert_int_equal(s.tun4, 1);
	assert_int_equal(s.tun6, 1);
	assert_int_equal(s.lo, 2);
	assert_int_equal(s.links, 2);
}

static void add(
	const char *to, enum rt_route_type type, unsigned ifindex, uint32_t table, uint32_t metric)
{
	struct rt_route r = {prefix(to), type, ifindex, table, metric};

	assert_int_equal(rt_route_add(rt, &r), 0);
	assert_int_equal(rt_route_add(rt, &r), 0); /* exists: done */
}

static void routes_and_rules(void **state)
{
	struct rt_rule rule = {IP_V4, 901, 0x200, 0x200, .table = 199};
	/* By name: the interface may come later. */
	struct rt_rule skip = {IP_V4, 899, 0x200, 0x600, .skip = 902, .iif = "later0"};
	struct rt_rule target = {.family = IP_V4, .pref = 902};
	struct rt_route gone = {prefix("198.18.0.0/15"), RT_UNICAST, tun_index, 0, 0};
	unsigned removed = 0;

	(void)state;
	add("198.18.0.0/15", RT_UNICAST, tun_index, 0, 0);
	add("fd00:198:18::/64", RT_UNICAST, tun_index, 0, 0);
	add("198.18.0.0/15", RT_UNREACHABLE, 0, 0, UINT32_MAX);
	add("fd00:198:18::/64", RT_UNREACHABLE, 0, 0, UINT32_MAX);
	add("0.0.0.0/0", RT_LOCAL, lo_index, 199, 0);
	add("::/0", RT_LOCAL, lo_index, 199, 0);
	add("0.0.0.0/0", RT_UNICAST, tun_index, 198, 0);
	add("::/0", RT_UNICAST, tun_index, 70000, 0); /* a table beyond one byte */
	for (int i = 0; i < 2; i++) {
		static const uint8_t families[] = {IP_V4, IP_V6};

		for (int k = 0; k < 2; k++) {
			rule.family = skip.family = target.family = families[k];
			assert_int_equal(rt_rule_add(rt, &target), 0);
			assert_int_equal(rt_rule_add(rt, &skip), 0);
			assert_int_equal(rt_rule_add(rt, &rule), 0);
		}
	}

	assert_int_equal(lines_with("ip route show table main proto 198", "198.18.0.0/15"), 2);
	assert_int_equal(lines_with("ip route show proto 198",
				 "unreachable 198.18.0.0/15 metric 4294967295"),
		1);
	assert_int_equal(
		lines_with("ip -6 route show proto 198", "unreachable fd00:198:18::/64"), 1);
	assert_int_equal(lines_with("ip -6 route show proto 198", "metric 4294967295"), 1);
	assert_int_equal(lines_with("ip route show table 199", "local default dev lo"), 1);
	assert_int_equal(lines_with("ip -6 route show table 199", "local default dev lo"), 1);
	assert_int_equal(lines_with("ip -6 route show table 70000", "default dev rt0"), 1);
	assert_int_equal(
		lines_with("ip rule show", "901:\tfrom all fwmark 0x200/0x200 lookup 199"), 1);
	assert_int_equal(
		lines_with("ip -6 rule show", "901:\tfrom all fwmark 0x200/0x200 lookup 199"), 1);
	assert_int_equal(
		lines_with("ip rule show",
			"899:\tfrom all fwmark 0x200/0x600 iif later0 [detached] goto 902"),
		1);
	assert_int_equal(lines_with("ip -6 rule show", "goto 902"), 1);
	assert_int_equal(lines_with("ip rule show", "unresolved"), 0);
	assert_int_equal(lines_with("ip rule show", "902:\tfrom all nop"), 1);
	assert_int_equal(lines_with("ip -6 rule show", "902:\tfrom all nop"), 1);

	/* The way to the pools goes with TUN, not the barrier behind it. */
	assert_int_equal(rt_route_delete(rt, &gone), 0);
	assert_int_equal(rt_route_delete(rt, &gone), -ESRCH);
	assert_int_equal(lines_with("ip route get 198.18.0.9 2>&1 || true", "No route to host"), 1);

	/* Others' rules and routes are not ours to take. */
	assert_int_equal(
		netns_run("ip route add 10.1.0.0/16 dev rt0 && ip -6 route add fd77::/64 dev rt0 &&"
			  "ip rule add pref 77 fwmark 7 lookup 77 && "
			  "ip route add default dev rt0 table 77 proto 199"),
		0);
	assert_int_equal(rt_clean(rt, &removed), 0);
	assert_int_equal(removed, 7 + 6);
	assert_int_equal(lines_with("ip route show table all proto 198", ""), 0);
	assert_int_equal(lines_with("ip -6 route show table all proto 198", ""), 0);
	assert_int_equal(lines_with("ip rule show", ""), 4);
	assert_int_equal(lines_with("ip -6 rule show", ""), 2);
	assert_int_equal(lines_with("ip route show table 77", "default"), 1);
	assert_int_equal(lines_with("ip route show", "10.1.0.0/16"), 1);
	assert_int_equal(lines_with("ip -6 route show", "fd77::/64"), 1);
	assert_int_equal(rt_clean(rt, NULL), 0);
}

/* More than one round's worth, in the middle of others' routes. */
static void clean_many(void **state)
{
	unsigned removed;

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		struct rt_route r = {.type = RT_UNREACHABLE, .metric = UINT32_MAX};

		r.to.addr = ip_addr_v4((uint8_t[]){198, 18, (uint8_t)(i >> 8), (uint8_t)i});
		r.to.len = 32;
		assert_int_equal(rt_route_add(rt, &r), 0);
	}
	assert_int_equal(rt_clean(rt, &removed), 0);
	assert_int_equal(removed, 3000);
	assert_int_equal(lines_with("ip route show", "198.18."), 0);
	assert_int_equal(lines_with("ip route show", "10.1.0.0/16"), 1);
}

struct overlaps {
	int n;
	struct ip_prefix last;
	unsigned ifindex;
};

static void see_overlap(void *arg, const struct ip_prefix *to, unsigned ifindex)
{
	struct overlaps *o = arg;

	o->n++;
	o->last = *to;
	o->ifindex = ifindex;
}

static void overlaps(void **state)
{
	struct ip_prefix pool = prefix("10.1.128.0/17"), pool6 = prefix("fd77::/48");
	struct ip_prefix other = prefix("10.2.0.0/16");
	struct overlaps o = {0};

	(void)state;
	/* Defaults, our own routes, and those of other tables do not count. */
	assert_int_equal(netns_run("ip route add default dev rt0"), 0);
	add("10.1.0.0/16", RT_UNREACHABLE, 0, 0, UINT32_MAX);
	assert_int_equal(rt_routes_overlapping(rt, &pool, see_overlap, &o), 0);
	assert_int_equal(o.n, 1);
	assert_int_equal(o.last.len, 16);
	assert_int_equal(o.ifindex, tun_index);
	assert_int_equal(rt_routes_overlapping(rt, &pool6, see_overlap, &o), 0);
	assert_int_equal(o.n, 2);
	assert_int_equal(o.last.len, 64);
	assert_int_equal(rt_routes_overlapping(rt, &other, see_overlap, &o), 0);
	assert_int_equal(o.n, 2);
}

static void sysctls(void **state)
{
	int value = -1;

	(void)state;
	assert_int_equal(rt_sysctl_set("ipv4/conf/rt0/rp_filter", 2), 0);
	assert_int_equal(rt_sysctl_get("ipv4/conf/rt0/rp_filter", &value), 0);
	assert_int_equal(value, 2);
	assert_int_equal(rt_sysctl_set("ipv4/conf/rt0/rp_filter", 0), 0);
	assert_int_equal(rt_sysctl_get("ipv4/conf/rt0/rp_filter", &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(rt_sysctl_get("ipv4/conf/nobody0/rp_filter", &value), -ENOENT);
	assert_int_equal(rt_sysctl_set("ipv4/conf/nobody0/rp_filter", 1), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links),
		cmocka_unit_test(visits),
		cmocka_unit_test(routes_and_rules),
		cmocka_unit_test(clean_many),
		cmocka_unit_test(overlaps),
		cmocka_unit_test(sysctls),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, setup, teardown);
}
