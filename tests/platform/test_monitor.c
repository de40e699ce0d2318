/* netlink/monitor.h against the kernel: which changes are told, and which never reach us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "netlink/batch.h"
#include "netlink/monitor.h"
#include "tests/platform/netns.h"

static struct monitor *m;
static char told[4096]; /* what visit was called with since the last look, a line each */
static size_t n_elements, n_put;

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void visit(void *arg, const struct monitor_set_event *e)
{
	static const char *const whats[] = {[MONITOR_SET_CAME] = "came",
		[MONITOR_SET_WENT] = "went",
		[MONITOR_TABLE_WENT] = "table",
		[MONITOR_ELEMENT_WENT] = "lost",
		[MONITOR_ELEMENT_CAME] = "put"};
	size_t n = strlen(told);

	assert_ptr_equal(arg, &m);
	assert_true((e->what == MONITOR_TABLE_WENT) == (e->set == NULL));
	assert_true((e->what == MONITOR_ELEMENT_WENT || e->what == MONITOR_ELEMENT_CAME) ==
		    (e->key != NULL));
	n_elements += e->what == MONITOR_ELEMENT_WENT;
	n_put += e->what == MONITOR_ELEMENT_CAME;
	/* Of thousands the number counts. */
	if (n + 768 > sizeof told)
		return;
	n += (size_t)sprintf(told + n, "%s %u %s", whats[e->what], e->nfproto, e->table);
	if (e->set)
		n += (size_t)sprintf(told + n, " %s", e->set);
	for (size_t i = 0; i < e->key_size; i++)
		n += (size_t)sprintf(told + n, "%s%02x", i ? "" : " ", e->key[i]);
	strcpy(told + n, "\n");
}

/* The news that a command makes; nothing was pending before. */
static struct monitor_news after(const char *command)
{
	struct monitor_news news = {0};

	told[0] = 0;
	n_elements = n_put = 0;
	assert_int_equal(netns_run(command), 0);
	/* The notification is queued when the command's system call returns; IPv6 addresses of a
	 * link come a little later. */
	do
		assert_int_equal(monitor_read(m, &news), 0);
	while (readable(monitor_nft_fd(m)) || readable(monitor_route_fd(m)));
	return news;
}

static void does_not_wake(const char *command)
{
	assert_int_equal(netns_run(command), 0);
	assert_false(readable(monitor_nft_fd(m)));
	assert_false(readable(monitor_route_fd(m)));
}

static int setup(void **state)
{
	(void)state;
	if (netns_run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1; ip link add d0 type veth "
		      "peer name p0;"
		      "ip link set d0 up; ip link set p0 up; ip link set lo up; nft add table inet "
		      "other") != 0)
		return -1;
	return monitor_open(visit, &m, &m);
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
	assert_false(n.nft_rules || n.links || n.addresses || n.ours_removed || n.lost);
	assert_string_equal(told, "came 1 other s\n");
	n = after("nft delete set inet other s");
	assert_false(n.nft_rules);
	assert_string_equal(told, "went 1 other s\n");
	n = after("nft 'add table ip more; add set ip more s { type ipv4_addr; }'");
	assert_string_equal(told, "table 2 more\ncame 2 more s\n");
	n = after("nft delete table ip more");
	assert_true(n.nft_rules);
	assert_string_equal(told, "went 2 more s\ntable 2 more\n");
	n = after("nft 'add table ip6 more; add map ip6 more m { type ipv6_addr : mark; }'");
	assert_string_equal(told, "table 10 more\ncame 10 more m\n");
	(void)after("nft delete table ip6 more");
}

static void elements(void **state)
{
	struct monitor_news n;

	(void)state;
	(void)after("nft add set inet other s '{ type ipv4_addr; flags timeout; }'");
	n = after("nft add element inet other s '{ 1.1.1.1 timeout 1m, 2.2.2.2 }'");
	assert_false(n.nft_rules);
	assert_string_equal(told, "put 1 other s 01010101\nput 1 other s 02020202\n");
	n = after("nft delete element inet other s '{ 1.1.1.1 }'");
	assert_false(n.nft_rules);
	assert_string_equal(told, "lost 1 other s 01010101\n");
	n = after("nft flush set inet other s");
	assert_false(n.nft_rules);
	assert_string_equal(told, "lost 1 other s 02020202\n");
	/* A set that comes with its elements is a set, and so is one that goes with them. */
	n = after("nft 'add set inet other t { type ipv4_addr; }; add element inet other t { "
		  "3.3.3.3 }'");
	assert_string_equal(told, "came 1 other t\nput 1 other t 03030303\n");
	n = after("nft 'flush set inet other t; delete set inet other t;"
		  " add set inet other t { type ipv6_addr; }'");
	assert_string_equal(told, "lost 1 other t 03030303\nwent 1 other t\ncame 1 other t\n");
	(void)after("nft delete set inet other t");
}

/* Keys as they stand in the kernel; what has none of its own is left out. */
static void keys(void **state)
{
	(void)state;
	(void)after("nft 'add set inet other i { type ipv4_addr; flags interval; };"
		    " add element inet other i { 10.0.0.0/8 }'");
	(void)after("nft flush set inet other i");
	assert_string_equal(told, "lost 1 other i 0a000000\n");
	(void)after("nft 'add set inet other c { type ipv4_addr . inet_service; };"
		    " add element inet other c { 1.2.3.4 . 443 }'");
	(void)after("nft flush set inet other c");
	assert_string_equal(told, "lost 1 other c 0102030401bb0000\n");
	(void)after("nft 'add set inet other a { type ipv6_addr; };"
		    " add element inet other a { *, 2001:db8::1 }'");
	(void)after("nft flush set inet other a");
	assert_string_equal(told, "lost 1 other a 20010db8000000000000000000000001\n");
}

/* Where something follows what we need not know, it is told, however much that was. */
static void additions_and_more(void **state)
{
	static const char many[] =
		"seq 2 %d | awk '{ printf \"add element inet other %s { 10.1.%%d.%%d }\\n\","
		" $1 / 250, $1 %% 250 } END { print \"%s\" }' | nft -f -";
	char line[512], name[201] = {0};

	(void)state;
	(void)after("nft add element inet other s '{ 1.1.1.9 };"
		    " delete element inet other s { 1.1.1.9 }'");
	assert_string_equal(told, "put 1 other s 01010109\nlost 1 other s 01010109\n");
	for (int n = 2; n < 200; n += 13) {
		snprintf(line, sizeof line, many, n, "s", "flush set inet other s");
		(void)after(line);
		assert_int_equal(n_elements, n - 1);
	}
	snprintf(line, sizeof line, many, 2000, "s", "add set inet other u { type mark; }");
	(void)after(line);
	assert_non_null(strstr(told, "came 1 other u\n"));
	assert_true(n_put < 100); /* that share its datagram */
	does_not_wake("nft flush set inet other u");
	(void)after("nft flush set inet other s");
	assert_int_equal(n_elements, 1999);
	/* Messages of 256 bytes and more. */
	memset(name, 'x', sizeof name - 1);
	snprintf(line, sizeof line,
		"t=%s; echo \"add table ip $t; add set ip $t $t { type ipv4_addr; };"
		" add element ip $t $t { 1.1.1.1, 1.1.1.2 }; flush set ip $t $t;"
		" add element ip $t $t { 1.1.1.3 }; delete table ip $t\" | nft -f -",
		name);
	(void)after(line);
	assert_int_equal(n_elements, 2);
	assert_non_null(strstr(told, "went 2 xxx"));
}

static void load_is_not_told(void **state)
{
	(void)state;
	(void)after("seq 0 9999 | awk '{ printf \"add element inet other s { 10.2.%d.%d }\\n\","
		    " $1 / 250, $1 % 250 }' | nft -f -");
	assert_true(n_put < 100); /* its end */
	(void)after("nft flush set inet other s");
	assert_int_equal(n_elements, 10000);
}

/* --- our own --- */

static struct nft_socket own;
static struct nft_batch batch;

static void put_element(uint16_t type, uint8_t last_byte)
{
	struct nlmsghdr *h = nft_batch_open(&batch, type, NFPROTO_INET, NLM_F_CREATE, 256);
	uint8_t key[] = {9, 9, 9, last_byte};
	struct nlattr *list, *element, *nest;

	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, "other");
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, "s");
	list = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
	element = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
	nest = mnl_attr_nest_start(h, NFTA_SET_ELEM_KEY);
	mnl_attr_put(h, NFTA_DATA_VALUE, sizeof key, key);
	mnl_attr_nest_end(h, nest);
	mnl_attr_nest_end(h, element);
	mnl_attr_nest_end(h, list);
	(void)nft_batch_close(&batch);
}

static void put_set(void)
{
	struct nlmsghdr *h =
		nft_batch_open(&batch, NFT_MSG_NEWSET, NFPROTO_INET, NLM_F_CREATE, 256);

	mnl_attr_put_strz(h, NFTA_SET_TABLE, "other");
	mnl_attr_put_strz(h, NFTA_SET_NAME, "own");
	mnl_attr_put_u32(h, NFTA_SET_KEY_LEN, htonl(4));
	mnl_attr_put_u32(h, NFTA_SET_ID, htonl(1));
	(void)nft_batch_close(&batch);
}

static void put_named(uint16_t type, const char *name)
{
	struct nlmsghdr *h =
		nft_batch_open(&batch, type, NFPROTO_INET, NLM_F_CREATE | NLM_F_APPEND, 256);

	mnl_attr_put_strz(h, NFTA_SET_TABLE, "other");
	mnl_attr_put_strz(h, NFTA_SET_NAME, name);
	(void)nft_batch_close(&batch);
}

/* Every kind of message, alone in its transaction or all in one. */
static void commit_all(bool together)
{
	for (int step = 0; step < 6; step++) {
		if (step == 0 || !together)
			nft_batch_begin(&batch, &own);
		switch (step) {
		case 0:
			put_element(NFT_MSG_NEWSETELEM, 1);
			put_element(NFT_MSG_NEWSETELEM, 2);
			break;
		case 1:
			put_element(NFT_MSG_DELSETELEM, 1);
			break;
		case 2:
			put_set();
			break;
		case 3:
			put_named(NFT_MSG_NEWRULE, "own"); /* the chain; no expressions */
			break;
		case 4:
			put_named(NFT_MSG_DELRULE, "own");
			break;
		default:
			put_named(NFT_MSG_DELSET, "own");
			put_element(NFT_MSG_DELSETELEM, 2);
			break;
		}
		if (step == 5 || !together)
			assert_int_equal(nft_batch_commit(&batch, &own, 2000, NULL, NULL), 0);
	}
}

static void assert_all_told(bool are)
{
	struct monitor_news n = {0};

	for (int together = 0; together <= 1; together++) {
		commit_all(together);
		assert_int_equal(readable(monitor_nft_fd(m)), are);
		memset(&n, 0, sizeof n);
		told[0] = 0;
		assert_int_equal(monitor_read(m, &n), 0);
		assert_int_equal(told[0] != 0, are);
		assert_int_equal(n.nft_rules, are);
		assert_string_equal(told, are ? "put 1 other s 09090901\nput 1 other s 09090902\n"
						"lost 1 other s 09090901\ncame 1 other own\n"
						"went 1 other own\nlost 1 other s 09090902\n"
					      : "");
	}
}

static void our_own_are_not_told(void **state)
{
	struct sockaddr_nl at;
	socklen_t len = sizeof at;
	uint32_t ports[MONITOR_OWN_MAX + 1] = {0x7ffffff0, 0x7ffffff1, 0x7ffffff2};

	(void)state;
	assert_int_equal(nft_socket_open(&own), 0);
	assert_int_equal(nft_batch_init(&batch, 4096), 0);
	assert_int_equal(getsockname(own.fd, (struct sockaddr *)&at, &len), 0);
	assert_int_equal(netns_run("nft add chain inet other own"), 0);
	(void)after("true");
	assert_all_told(true);
	ports[MONITOR_OWN_MAX - 1] = at.nl_pid;
	assert_int_equal(monitor_set_own(m, ports, MONITOR_OWN_MAX), 0);
	assert_all_told(false);
	/* Others' are told as ever. */
	(void)after("nft add element inet other s '{ 1.1.1.1 }'");
	assert_string_equal(told, "put 1 other s 01010101\n");
	(void)after("nft flush set inet other s");
	assert_string_equal(told, "lost 1 other s 01010101\n");
	assert_int_equal(monitor_set_own(m, ports, MONITOR_OWN_MAX + 1), -EINVAL);
	assert_all_told(false);
	assert_int_equal(monitor_set_own(m, ports, 2), 0);
	assert_all_told(true);
	/* A kernel with little room for programs. */
	assert_int_equal(netns_run("sysctl -qw net.core.optmem_max=4096"), 0);
	assert_int_equal(monitor_set_own(m, &at.nl_pid, 1), 0);
	assert_all_told(false);
	assert_int_equal(netns_run("sysctl -qw net.core.optmem_max=131072"), 0);
	assert_int_equal(monitor_set_own(m, NULL, 0), 0);
	nft_batch_fini(&batch);
	nft_socket_close(&own);
}

static void rules(void **state)
{
	struct monitor_news n;

	(void)state;
	n = after("nft add chain inet other c '{ type filter hook forward priority 0; }'");
	assert_true(n.nft_rules);
	assert_string_equal(told, "");
	n = after("nft add rule inet other c drop");
	assert_true(n.nft_rules);
	assert_string_equal(told, "");
	n = after("nft flush chain inet other c");
	assert_true(n.nft_rules);
	assert_string_equal(told, "");
}

/* Ours are made by us; what has the same name in another family is not ours, nor what begins
 * alike. */
static void our_table_is_no_news(void **state)
{
	struct monitor_news n;

	(void)state;
	n = after("nft 'add table inet tungate; add chain inet tungate c; add rule inet tungate c "
		  "drop;"
		  " add set inet tungate s { type ipv4_addr; }; add element inet tungate s { "
		  "1.1.1.1 }'");
	assert_false(n.nft_rules);
	n = after("nft 'flush set inet tungate s; delete table inet tungate'");
	assert_false(n.nft_rules);
	assert_string_equal(told, "");
	n = after("nft add table ip tungate");
	assert_string_equal(told, "table 2 tungate\n");
	(void)after("nft add table inet tungate2");
	assert_string_equal(told, "table 1 tungate2\n");
}

static void flush_ruleset(void **state)
{
	struct monitor_news n = after("nft flush ruleset");

	(void)state;
	assert_true(n.nft_rules);
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
	(void)after("nft 'add table ip tungate; add set ip tungate s { type ipv4_addr; }'");
	does_not_wake("seq 0 89999 | awk '{ printf \"%s10.%d.%d.%d\", NR == 1 ?"
		      " \"add element ip tungate s { \" : \", \","
		      " $1 / 62500, $1 / 250 % 250, $1 % 250 } END { print \" }\" }' | nft -f -");
	told[0] = 0;
	n_elements = 0;
	assert_int_equal(netns_run("nft flush set ip tungate s"), 0);
	for (int i = 0; i < 1000 && (readable(monitor_nft_fd(m)) || i == 0); i++)
		assert_int_equal(monitor_read(m, &n), 0);
	assert_true(n.lost);
	assert_in_range(n_elements, 20000, 89999);
	n = after("nft add set ip tungate t '{ type ipv4_addr; }'");
	assert_false(n.lost);
	assert_string_equal(told, "came 2 tungate t\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quiet_at_first),
		cmocka_unit_test(sets_and_tables),
		cmocka_unit_test(elements),
		cmocka_unit_test(keys),
		cmocka_unit_test(additions_and_more),
		cmocka_unit_test(load_is_not_told),
		cmocka_unit_test(our_own_are_not_told),
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
