/* netlink/neighbours.h against the kernel: who is in the neighbour table, by ARP and ND of a real
 * client behind a bridge, and where prefixes lie. */
#include "tests/platform/net_lab.h"

#include <pthread.h>

#include "netlink/neighbours.h"

static struct neighbours *n;
static struct rt *rt;
static struct net_place client;

/* "MAC INTERFACE", "- INTERFACE" without a MAC address, "" if nothing is known. */
static const char *known(const char *text)
{
	static char line[64];
	struct ip_addr a = address(text);
	struct neighbour found;

	if (!neighbours_find(n, &a, &found))
		return "";
	if (found.has_mac)
		snprintf(line, sizeof line, "%02x:%02x:%02x:%02x:%02x:%02x %s", found.mac[0],
			found.mac[1], found.mac[2], found.mac[3], found.mac[4], found.mac[5],
			found.interface);
	else
		snprintf(line, sizeof line, "- %s", found.interface);
	if (found.interface[0])
		assert_int_equal(found.ifindex, if_nametoindex(found.interface));
	return line;
}

static bool readable(void)
{
	struct pollfd p = {.fd = neighbours_fd(n), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void after(const char *command)
{
	must(command);
	for (unsigned i = 0; i < 1000 && (i == 0 || readable()); i++)
		assert_int_equal(neighbours_read(n), 0);
	assert_false(readable());
}

/* A bridge with a client behind it, another LAN beside it. */
static int setup(void **state)
{
	static const char no_dad[] =
		"sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0";
	char line[256];

	(void)state;
	net_place_new(&client);
	must(no_dad);
	net_must(&client, no_dad);
	snprintf(line, sizeof line, "ip link add lan0 type veth peer name c0 netns %d",
		(int)client.holder);
	must(line);
	must("ip link add br0 type bridge; ip link set lan0 master br0; ip link set br0 up;"
	     "ip link set lan0 up; ip link set lo up; ip addr add 10.9.0.1/24 dev br0;"
	     "ip addr add fd99::1/64 dev br0 nodad;"
	     "ip link add guest0 type veth peer name g0; ip link set guest0 up; ip link set g0 up;"
	     "ip addr add 10.8.0.1/16 dev guest0");
	net_must(&client, "ip link set c0 address 02:00:00:00:00:aa; ip link set c0 up;"
			  "ip addr add 10.9.0.2/24 dev c0; ip addr add fd99::2/64 dev c0 nodad");
	must("ip neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev br0 nud permanent");
	if (rt_open(&rt) || neighbours_new(&n))
		return -1;
	return neighbours_reload(n, rt);
}

static int teardown(void **state)
{
	(void)state;
	neighbours_free(n);
	neighbours_free(NULL);
	rt_close(rt);
	net_place_free(&client);
	return 0;
}

static void what_was_there_is_known(void **state)
{
	(void)state;
	assert_int_equal(neighbours_read(n), 0);
	assert_string_equal(known("10.9.0.9"), "02:00:00:00:00:09 br0");
}

static void entries_come_and_go(void **state)
{
	(void)state;
	after("ip neigh add 10.9.0.50 lladdr 02:00:00:00:00:50 dev br0 nud permanent;"
	      "ip neigh add fd99::50 lladdr 02:00:00:00:00:51 dev br0 nud permanent");
	assert_string_equal(known("10.9.0.50"), "02:00:00:00:00:50 br0");
	assert_string_equal(known("fd99::50"), "02:00:00:00:00:51 br0");
	after("ip neigh replace 10.9.0.50 lladdr 02:00:00:00:00:52 dev br0 nud permanent");
	assert_string_equal(known("10.9.0.50"), "02:00:00:00:00:52 br0");
	after("ip neigh del 10.9.0.50 dev br0; ip neigh del fd99::50 dev br0");
	assert_string_equal(known("10.9.0.50"), "- br0");
	assert_string_equal(known("fd99::50"), "- br0");
}

static void states_that_count(void **state)
{
	static const struct {
		const char *state;
		bool counts;
	} states[] = {{"reachable", true}, {"stale", true}, {"delay", true}, {"probe", true},
		{"permanent", true}, {"noarp", false}, {"failed", false}, {"incomplete", false}};
	char line[256];

	(void)state;
	for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
		after("ip neigh replace 10.9.0.60 lladdr 02:00:00:00:00:60 dev br0 nud permanent");
		assert_string_equal(known("10.9.0.60"), "02:00:00:00:00:60 br0");
		snprintf(line, sizeof line,
			"ip neigh replace 10.9.0.60 lladdr 02:00:00:00:00:61 dev br0 nud %s",
			states[i].state);
		after(line);
		assert_string_equal(
			known("10.9.0.60"), states[i].counts ? "02:00:00:00:00:61 br0" : "- br0");
	}
	after("ip neigh del 10.9.0.60 dev br0");
	/* Nobody asked for these. */
	after("ip neigh add proxy 10.9.0.61 dev br0");
	assert_string_equal(known("10.9.0.61"), "- br0");
}

/* The kernel drops entries for their age and when their link goes down, telling their last state;
 * nobody said that they are wrong. */
static void what_was_dropped_unasked_is_known(void **state)
{
	(void)state;
	after("ip neigh add 10.8.5.5 lladdr 02:00:00:00:05:05 dev guest0 nud stale;"
	      "ip neigh add 10.8.5.6 lladdr 02:00:00:00:05:06 dev guest0 nud reachable;"
	      "ip link set guest0 down; ip link set guest0 up");
	assert_false(works("ip neigh show dev guest0 | grep -q 10.8.5"));
	assert_string_equal(known("10.8.5.5"), "02:00:00:00:05:05 guest0");
	assert_string_equal(known("10.8.5.6"), "02:00:00:00:05:06 guest0");
	/* Until somebody else has the address, or it is taken away. */
	after("ip neigh add 10.8.5.5 lladdr 02:00:00:00:05:07 dev guest0 nud stale");
	assert_string_equal(known("10.8.5.5"), "02:00:00:00:05:07 guest0");
	after("ip neigh del 10.8.5.5 dev guest0");
	assert_string_equal(known("10.8.5.5"), "- guest0");
	after("ip neigh replace 10.8.5.6 lladdr 02:00:00:00:05:06 dev guest0 nud reachable;"
	      "ip neigh del 10.8.5.6 dev guest0");
	assert_string_equal(known("10.8.5.6"), "- guest0");
}

/* A bridge's ports tell about neighbours, too: that is not our news. */
static void ports_do_not_wake(void **state)
{
	(void)state;
	assert_int_equal(neighbours_read(n), 0);
	must("bridge fdb add 02:00:00:00:00:70 dev lan0 master;"
	     "bridge fdb del 02:00:00:00:00:70 dev lan0 master");
	assert_false(readable());
}

static void a_real_client_is_known_by_arp(void **state)
{
	(void)state;
	net_must(&client, "ping -c 1 -W 2 10.9.0.1");
	assert_int_equal(neighbours_read(n), 0);
	assert_string_equal(known("10.9.0.2"), "02:00:00:00:00:aa br0");
}

static void a_real_client_is_known_by_nd(void **state)
{
	(void)state;
	net_must(&client, "ping -c 1 -W 2 fd99::1");
	assert_int_equal(neighbours_read(n), 0);
	assert_string_equal(known("fd99::2"), "02:00:00:00:00:aa br0");
}

static void prefixes_tell_the_interface(void **state)
{
	(void)state;
	assert_string_equal(known("10.9.0.200"), "- br0");
	assert_string_equal(known("10.8.77.77"), "- guest0");
	assert_string_equal(known("fd99::abcd"), "- br0");
	assert_string_equal(known("10.7.0.1"), "");
	assert_string_equal(known("192.0.2.1"), "");
	assert_string_equal(known("127.0.0.1"), "");
	assert_string_equal(known("::1"), "");
	assert_string_equal(known("fe80::1"), "");
	/* The longest counts; and all of it only after a reload. */
	must("ip addr add 10.8.77.1/24 dev br0");
	assert_string_equal(known("10.8.77.77"), "- guest0");
	assert_int_equal(neighbours_reload(n, rt), 0);
	assert_string_equal(known("10.8.77.77"), "- br0");
	assert_string_equal(known("10.8.78.77"), "- guest0");
	must("ip addr del 10.8.77.1/24 dev br0; ip link set guest0 down;"
	     "ip link set guest0 name visitors; ip link set visitors up");
	assert_int_equal(neighbours_reload(n, rt), 0);
	assert_string_equal(known("10.8.77.77"), "- visitors");
	must("ip link set visitors down; ip link set visitors name guest0; ip link set guest0 up");
	assert_int_equal(neighbours_reload(n, rt), 0);
}

/* Somebody on another interface says that he has the address, too. */
static void of_two_the_one_whose_prefix_it_is(void **state)
{
	(void)state;
	after("ip neigh add 10.9.0.80 lladdr 02:00:00:00:00:80 dev br0 nud permanent;"
	      "ip neigh add 10.9.0.80 lladdr 02:00:00:00:66:66 dev guest0 nud permanent");
	assert_string_equal(known("10.9.0.80"), "02:00:00:00:00:80 br0");
	after("ip neigh del 10.9.0.80 dev br0");
	assert_string_equal(known("10.9.0.80"), "02:00:00:00:66:66 guest0");
	/* Without a prefix, as link-local ones are: the latest news. */
	after("ip neigh del 10.9.0.80 dev guest0;"
	      "ip neigh add fe80::80 lladdr 02:00:00:00:00:81 dev br0 nud permanent;"
	      "ip neigh add fe80::80 lladdr 02:00:00:00:00:82 dev guest0 nud permanent");
	assert_string_equal(known("fe80::80"), "02:00:00:00:00:82 guest0");
	after("ip neigh del fe80::80 dev br0; ip neigh del fe80::80 dev guest0");
	assert_string_equal(known("fe80::80"), "");
}

/* More news than the socket holds: the whole table is read again, what went is forgotten. */
static void nothing_is_missed(void **state)
{
	unsigned found = 0;

	(void)state;
	after("for i in $(seq 0 15); do for j in $(seq 1 250); do echo neigh add 10.8.$i.$j lladdr "
	      "02:00:00:00:$(printf %02x:%02x $i $j) dev guest0 nud permanent; done; done | "
	      "ip -batch -");
	for (unsigned i = 0; i < 16; i++) {
		for (unsigned j = 1; j <= 250; j++) {
			char text[32], expected[64];

			snprintf(text, sizeof text, "10.8.%u.%u", i, j);
			snprintf(expected, sizeof expected, "02:00:00:00:%02x:%02x guest0", i, j);
			found += strcmp(known(text), expected) == 0;
		}
	}
	/* A bucket that is full forgets its oldest. */
	assert_true(found >= 3980);
	after("ip neigh flush dev guest0 nud permanent");
	assert_string_equal(known("10.8.3.3"), "- guest0");
	assert_string_equal(known("10.8.15.250"), "- guest0");
	assert_string_equal(known("10.9.0.9"), "02:00:00:00:00:09 br0");
}

static _Atomic bool stop;

/* All bytes of the address are the same, or something was torn. */
static void *look(void *arg)
{
	struct ip_addr a = address("10.9.0.90");
	uintptr_t seen = 0;

	(void)arg;
	while (!atomic_load(&stop)) {
		struct neighbour found;

		if (!neighbours_find(n, &a, &found) || strcmp(found.interface, "br0") != 0)
			return NULL;
		for (unsigned i = 0; found.has_mac && i < 6; i++)
			if (found.mac[i] != found.mac[0])
				return NULL;
		seen++;
	}
	return (void *)seen;
}

static void readers_see_whole_entries(void **state)
{
	pthread_t threads[2];

	(void)state;
	atomic_store(&stop, false);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, look, NULL), 0);
	for (unsigned round = 0; round < 8; round++) {
		after("for i in $(seq 1 50); do"
		      " echo neigh replace 10.9.0.90 lladdr 02:02:02:02:02:02 dev br0 nud "
		      "reachable;"
		      " echo neigh replace 10.9.0.90 lladdr 06:06:06:06:06:06 dev br0 nud stale;"
		      " echo neigh del 10.9.0.90 dev br0; done | ip -batch -");
		assert_int_equal(neighbours_reload(n, rt), 0);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < 2; i++) {
		void *seen;

		assert_int_equal(pthread_join(threads[i], &seen), 0);
		assert_true((uintptr_t)seen > 100);
	}
}

static void nobody_knows_nothing(void **state)
{
	struct ip_addr a = address("10.9.0.9"), none = {.family = IP_NONE};
	struct neighbour found;

	(void)state;
	assert_false(neighbours_find(NULL, &a, &found));
	assert_false(neighbours_find(n, &none, &found));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_there_is_known),
		cmocka_unit_test(entries_come_and_go),
		cmocka_unit_test(states_that_count),
		cmocka_unit_test(what_was_dropped_unasked_is_known),
		cmocka_unit_test(ports_do_not_wake),
		cmocka_unit_test(a_real_client_is_known_by_arp),
		cmocka_unit_test(a_real_client_is_known_by_nd),
		cmocka_unit_test(prefixes_tell_the_interface),
		cmocka_unit_test(of_two_the_one_whose_prefix_it_is),
		cmocka_unit_test(nothing_is_missed),
		cmocka_unit_test(readers_see_whole_entries),
		cmocka_unit_test(nobody_knows_nothing),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, setup, teardown);
}
