/* Our nft table in the kernel: what nft(8) then shows of it, what becomes of it, and what it does
 * to packets. */
#include "tests/platform/nft_lab.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "netlink/batch.h"

#define LIST "nft list table inet tungate"

static struct lab lab;

static int setup(void **state)
{
	(void)state;
	lab_open(&lab);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lab_close(&lab);
	assert_hides("nft list tables", "tungate");
	return 0;
}

static void modes(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);

	(void)state;
	lab_set_table(&lab, &c);
	assert_shows(LIST, "flags owner");
	assert_shows(LIST, "meta nfproto != @alive accept");
	assert_shows(LIST, "iifname \"br-*\" jump lan");
	assert_shows(LIST, "tproxy ip to 127.1.1.53:53 counter name \"taken_udp\" notrack");
	assert_shows(
		LIST, "counter name \"taken_udp\" notrack meta mark set meta mark | 0x20000000");
	assert_shows(LIST, "ip6 daddr fd00:198:18::/64 dnat ip6 to ip6 daddr map @nat6");
	assert_hides(LIST, "log group");

	c.mode = CONF_INTERCEPT_TPROXY;
	lab_set_table(&lab, &c);
	assert_shows(LIST, "log group 5");
	assert_shows(LIST, "hook forward");
	assert_hides(LIST, "meta mark | 0x20000000");

	c.nflog_group = 0; /* nobody reads: what is not decided goes to TUN */
	lab_set_table(&lab, &c);
	assert_hides(LIST, "log group");
	assert_hides(LIST, "hook forward");

	c.mode = CONF_INTERCEPT_OFF;
	lab_set_table(&lab, &c);
	assert_hides(LIST, "dport 53");
	assert_hides(LIST, "chain dns");
	assert_hides(LIST, "hook forward");
	assert_shows(LIST, "ip daddr 198.18.0.0/15 goto fake");

	c = lab_table(CONF_INTERCEPT_TUN);
	c.self = false;
	lab_set_table(&lab, &c);
	assert_hides(LIST, "chain out_dns");
}

static void one_family(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);

	(void)state;
	c.pool6 = (struct ip_prefix){0};
	c.tun6 = (struct ip_addr){0};
	c.udp6 = c.tcp6 = (struct ip_port){0};
	lab_set_table(&lab, &c);
	assert_hides(LIST, "nat6");
	assert_hides(LIST, "fd00");
	assert_shows(LIST, "nat4");
	c.pool4 = (struct ip_prefix){0};
	lab_set_table(&lab, &c);
	assert_hides(LIST, "nat4");
	assert_hides(LIST, "hook postrouting");
	assert_shows(LIST, "tproxy ip to");
}

static void exempt(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);
	uint32_t uid[] = {1001}, gid[] = {2002};
	char *cgroup[] = {(char *)"tungate-no-such/group"};
	struct conf_mark mark[] = {{0x5, 0xf}};
	/* Overlapping, touching and last ones of the address space. */
	struct ip_prefix to[] = {prefix("10.1.0.0/16"), prefix("10.0.0.0/8"), prefix("11.0.0.0/8"),
		prefix("255.255.255.255/32"), prefix("10.1.0.0/16"), prefix("2001:db8::/32")};
	struct conf_exempt e = {.uid = {uid, 1},
		.gid = {gid, 1},
		.cgroup = {cgroup, 1},
		.mark = mark,
		.n_mark = 1,
		.to = {to, sizeof to / sizeof to[0]}};

	(void)state;
	c.exempt = &e;
	lab_set_table(&lab, &c);
	assert_shows(LIST, "meta skuid 1001 return");
	assert_shows(LIST, "meta skgid 2002 return");
	assert_shows(LIST, "meta mark & 0x0000000f == 0x00000005");
	assert_true(works("nft get element inet tungate exempt4 '{ 10.1.2.3 }'"));
	assert_true(works("nft get element inet tungate exempt4 '{ 11.255.255.255 }'"));
	assert_true(works("nft get element inet tungate exempt4 '{ 255.255.255.255 }'"));
	assert_false(works("nft get element inet tungate exempt4 '{ 12.0.0.0 }'"));
	assert_true(works("nft get element inet tungate exempt6 '{ 2001:db8::1 }'"));
	assert_int_equal(lab.n_told, 1);
	assert_non_null(strstr(lab.told[0], "tungate-no-such/group"));
	to[0] = prefix("0.0.0.0/0");
	lab_set_table(&lab, &c);
	assert_true(works("nft get element inet tungate exempt4 '{ 12.0.0.0 }'"));
	c.exempt = NULL;
	lab_set_table(&lab, &c);
	assert_hides(LIST, "exempt");
}

static void marks_and_probe(void **state)
{
	struct table_egress egresses[] = {
		{0}, {.value = 0x10, .mask = 0xf0}, {.value = 0x2000, .mask = 0xff00}};
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);

	(void)state;
	c.egresses = egresses;
	c.n_egresses = 3;
	c.probe_from = address("198.18.0.2");
	c.probe_port = 4444;
	lab_set_table(&lab, &c);
	assert_hides(LIST, "egress0_4");
	assert_shows(LIST, "set egress1_4");
	assert_shows(LIST, "@egress2_6 ct mark set ct mark & 0xffff20ff | 0x00002000");
	assert_shows(LIST, "udp sport 53 udp dport 4444 counter name \"probe\" drop");
	must("nft list table inet tungate | grep -q 'set egress1_6'");
	c.n_egresses = 1;
	c.probe_from.family = IP_NONE;
	lab_set_table(&lab, &c);
	assert_hides(LIST, "egress1_4");
	assert_hides(LIST, "chain marks");
	assert_hides(LIST, "chain probe");
}

static void survives_flush_ruleset(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);

	(void)state;
	lab_set_table(&lab, &c);
	must("nft add table inet other");
	must("nft flush ruleset");
	assert_hides("nft list tables", "other");
	assert_shows(LIST, "meta nfproto != @alive accept");
	assert_false(works("nft add rule inet tungate raw drop"));
}

static void second_owner(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);
	const char *what = NULL;
	struct lab other;

	(void)state;
	lab_set_table(&lab, &c);
	lab_open(&other);
	assert_true(writer_table_set(other.writer, &c, &what) < 0);
	assert_non_null(strstr(what, "another process"));
	lab_close(&other);
	assert_shows(LIST, "flags owner");
}

static void replaces_what_nobody_owns(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);

	(void)state;
	must("nft 'add table inet tungate; add chain inet tungate relic'");
	lab_set_table(&lab, &c);
	assert_hides(LIST, "relic");
}

static void dropped_and_set_again(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);

	(void)state;
	assert_int_equal(writer_table_drop(lab.writer), 0);
	lab_set_table(&lab, &c);
	assert_int_equal(writer_table_drop(lab.writer), 0);
	assert_hides("nft list tables", "tungate");
	lab_set_table(&lab, &c);
	assert_shows(LIST, "meta nfproto != @alive accept");
	assert_shows(LIST, "map nat4");
}

static bool gate_is_open(void)
{
	return works("nft get element inet tungate alive '{ ipv4, ipv6 }'");
}

static void gate(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);
	struct writer_stats stats;
	int64_t began_ms;

	(void)state;
	must("ip link set lo up");
	lab_set_table(&lab, &c);
	lab_until(gate_is_open());
	began_ms = clock_ms();
	usleep(3000000);
	do
		writer_stats(lab.writer, &stats);
	while (stats.beats < 2 && usleep(10000) == 0);
	assert_in_range(stats.beats, 2, 4 + (clock_ms() - began_ms) / 500);
	lab_until(gate_is_open());
	lab.alive = false;
	lab_until(!gate_is_open());
	lab_until(lab.lapsed);
	assert_int_equal(lab.lapse_error, 0);
	lab.alive = true;
	lab_until(gate_is_open());
	lab_until(!lab.lapsed);
}

/* The port of the heartbeat in our rule. */
static uint16_t heartbeat_port_of_rule(void)
{
	const char *rule = strstr(output(LIST, NULL), "oifname \"lo\" udp sport ");
	unsigned port = 0;

	assert_non_null(rule);
	assert_int_equal(sscanf(rule, "oifname \"lo\" udp sport %u udp dport", &port), 1);
	return (uint16_t)port;
}

static void only_we_beat(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);
	struct sockaddr_in at = {.sin_family = AF_INET}, to;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	(void)state;
	must("ip link set lo up");
	lab.alive = false;
	lab_set_table(&lab, &c);
	at.sin_port = htons(heartbeat_port_of_rule());
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to = at;
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), -1);
	assert_int_equal(errno, EADDRINUSE);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof to), 1);
	close(fd);
	usleep(50000);
	assert_false(gate_is_open());
	lab.alive = true;
	lab_until(gate_is_open());
}

static void no_way_for_the_heartbeat(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);

	(void)state;
	must("ip link set lo up; ip addr del 127.0.0.1/8 dev lo");
	lab_set_table(&lab, &c);
	lab_until(lab.lapsed);
	assert_int_not_equal(lab.lapse_error, 0);
	must("ip addr add 127.0.0.1/8 dev lo");
	lab_until(gate_is_open() && !lab.lapsed);
}

/* --- packets --- */

static void network(void)
{
	if (works("ip link show wan"))
		return;
	must("ip link set lo up");
	must("ip link add wan type veth peer name wan_far && ip link set wan_far up && ip link set "
	     "wan up");
	must("ip addr add 192.0.2.1/24 dev wan");
	must("ip route add default via 192.0.2.2 dev wan");
	must("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev wan");
	must("ip link add tungate0 type veth peer name tun_far && ip link set tun_far up");
	must("ip link set tungate0 arp off up");
	must("sysctl -qw net.ipv6.conf.all.disable_ipv6=1"); /* its chatter would be counted too */
	must("ip rule add pref 899 fwmark 0x40000000/0x60000000 iif lo goto 902");
	must("ip rule add pref 902 nop");
	must("ip rule add pref 900 fwmark 0x20000000/0x60000000 lookup 198");
	must("ip route add default dev tungate0 table 198");
	must("ip rule add pref 901 fwmark 0x40000000/0x40000000 lookup 199");
	must("ip route add local default dev lo table 199");
	must("ip route add 198.18.0.0/15 dev tungate0");
}

static void send_to(const char *to, uint32_t mark)
{
	struct ip_port at = port(to);
	struct sockaddr_storage address_to;
	socklen_t len = ip_port_to_sockaddr(&at, &address_to);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_true(fd >= 0);
	if (mark)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark), 0);
	(void)sendto(fd, "x", 1, 0, (struct sockaddr *)&address_to, len);
	close(fd);
}

static uint64_t sent_by(const char *device)
{
	char command[128];

	snprintf(command, sizeof command, "ip -s link show %s | awk '/TX:/ {getline; print $2}'",
		device);
	return strtoull(output(command, NULL), NULL, 10);
}

static uint64_t counter(const char *name)
{
	uint64_t packets = UINT64_MAX;

	assert_int_equal(writer_counter(lab.writer, name, &packets), 0);
	return packets;
}

/* The socket that queries are led to. */
static int listener(void)
{
	struct ip_port at = port("127.1.1.53:53");
	struct sockaddr_storage local;
	socklen_t len = ip_port_to_sockaddr(&at, &local);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), on = 1;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof on), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&local, len), 0);
	return fd;
}

/* How many datagrams have come; lo hands them over before sendto() returns. */
static unsigned came(int fd)
{
	unsigned n = 0;
	char byte;

	while (recv(fd, &byte, 1, 0) == 1)
		n++;
	return n;
}

/* A route chain at raw priority both leaves conntrack and changes the way. */
static void own_queries_go_to_the_socket(enum conf_intercept mode)
{
	struct table_config c = lab_table(mode);
	uint64_t tun, wan;
	int fd;

	network();
	fd = listener();
	lab_set_table(&lab, &c);
	usleep(100000);
	tun = sent_by("tungate0");
	wan = sent_by("wan");
	send_to("192.0.2.9:53", 0);
	send_to("8.8.8.8:53", 0);
	assert_int_equal(came(fd), 2);
	assert_int_equal(counter("taken_udp"), 2);
	assert_int_equal(sent_by("wan"), wan);
	/* Ours and what is not a query are left alone. */
	send_to("8.8.8.8:53", LAB_MARK);
	send_to("8.8.8.8:123", 0);
	assert_int_equal(came(fd), 0);
	assert_int_equal(sent_by("tungate0"), tun);
	assert_int_equal(sent_by("wan"), wan + 2);
	/* To a fake address: to TUN, untracked; not from here without `self`. */
	send_to("198.18.5.5:9", 0);
	assert_int_equal(sent_by("tungate0"), tun + 1);
	c.self = false;
	lab_set_table(&lab, &c);
	send_to("198.18.5.5:9", 0);
	send_to("8.8.8.8:53", 0);
	assert_int_equal(came(fd), 0);
	assert_int_equal(sent_by("tungate0"), tun + 1);
	assert_int_equal(sent_by("wan"), wan + 3);
	assert_int_equal(counter("outside"), 1);
	assert_int_equal(counter("taken_udp"), 2);
	assert_int_equal(writer_counter(lab.writer, "nonsense", &tun), -ENOENT);
	close(fd);
}

static void own_queries_where_others_go_to_tun(void **state)
{
	(void)state;
	own_queries_go_to_the_socket(CONF_INTERCEPT_TUN);
}

static void own_queries_where_others_go_to_tproxy(void **state)
{
	(void)state;
	own_queries_go_to_the_socket(CONF_INTERCEPT_TPROXY);
}

/* A cgroup of this test's own, "" where the hierarchy is not ours to write. */
static const char *cgroup_new(char *path, size_t size_bytes)
{
	const char *mount =
		output("awk '$3 == \"cgroup2\" {print $2; exit}' /proc/mounts | tr -d '\\n'", NULL);
	static char name[64];

	snprintf(name, sizeof name, "tungate-test-%d", (int)getpid());
	if ((size_t)snprintf(path, size_bytes, "%s/%s", mount, name) >= size_bytes)
		return "";
	return mount[0] == '/' && mkdir(path, 0755) == 0 ? name : "";
}

static void send_from_cgroup(const char *path)
{
	char procs[512];
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		FILE *f;

		snprintf(procs, sizeof procs, "%s/cgroup.procs", path);
		f = fopen(procs, "w");
		if (!f || fprintf(f, "0\n") < 0 || fclose(f) != 0)
			_exit(1);
		send_to("8.8.8.8:53", 0);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* Users, groups, cgroups and targets that are exempt go on as if we were not here. */
static void exempt_queries_pass(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);
	char path[256];
	const char *name = cgroup_new(path, sizeof path);
	char *cgroup[] = {(char *)name};
	uint32_t uid[] = {1001}, gid[] = {2002};
	struct ip_prefix to[] = {prefix("9.9.9.0/24")};
	struct conf_exempt e = {.uid = {uid, 1},
		.gid = {gid, 1},
		.cgroup = {cgroup, name[0] ? 1 : 0},
		.to = {to, 1}};
	uint64_t wan;
	int fd;

	(void)state;
	network();
	fd = listener();
	c.exempt = &e;
	lab_set_table(&lab, &c);
	usleep(100000);
	wan = sent_by("wan");
	send_to("9.9.9.9:53", 0);
	assert_int_equal(seteuid(1001), 0);
	send_to("8.8.8.8:53", 0);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(setegid(2002), 0);
	send_to("8.8.8.8:53", 0);
	assert_int_equal(setegid(0), 0);
	assert_int_equal(sent_by("wan"), wan + 3);
	assert_int_equal(came(fd), 0);
	if (name[0]) {
		send_from_cgroup(path);
		assert_int_equal(rmdir(path), 0);
		assert_int_equal(sent_by("wan"), wan + 4);
	} else {
		print_message(
			"no cgroup2 hierarchy that can be written: that part is not tested\n");
	}
	send_to("8.8.8.8:53", 0);
	assert_int_equal(came(fd), 1);
	assert_int_equal(lab.n_told, 0);
	close(fd);
}

static void closed_gate_lets_all_pass(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);
	uint64_t tun, wan;

	(void)state;
	network();
	lab.alive = false;
	lab_set_table(&lab, &c);
	tun = sent_by("tungate0");
	wan = sent_by("wan");
	send_to("8.8.8.8:53", 0);
	assert_int_equal(sent_by("tungate0"), tun);
	assert_int_equal(sent_by("wan"), wan + 1);
}

/* A UDP packet as if the daemon had written it into TUN. */
static void inject(const char *from, uint16_t source_port, const char *to, uint16_t port_to)
{
	struct {
		struct iphdr ip;
		struct udphdr udp;
		char payload[4];
	} packet = {.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP},
		.payload = "hey"};
	struct sockaddr_ll device = {.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_IP),
		.sll_ifindex = (int)if_nametoindex("tun_far"),
		.sll_halen = ETH_ALEN};
	struct ip_addr source = address(from), target = address(to);
	int fd = socket(AF_PACKET, SOCK_DGRAM, 0);
	struct ifreq request = {.ifr_name = "tungate0"};
	uint16_t words[sizeof packet.ip / 2];
	uint32_t sum = 0;

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, SIOCGIFHWADDR, &request), 0);
	memcpy(device.sll_addr, request.ifr_hwaddr.sa_data, ETH_ALEN);
	packet.ip.tot_len = htons(sizeof packet);
	memcpy(&packet.ip.saddr, source.b, 4);
	memcpy(&packet.ip.daddr, target.b, 4);
	memcpy(words, &packet.ip, sizeof words);
	for (size_t i = 0; i < sizeof words / 2; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	packet.ip.check = (uint16_t) ~(sum + (sum >> 16));
	packet.udp = (struct udphdr){.source = htons(source_port),
		.dest = htons(port_to),
		.len = htons(sizeof packet.udp + sizeof packet.payload)};
	assert_int_equal(
		sendto(fd, &packet, sizeof packet, 0, (struct sockaddr *)&device, sizeof device),
		sizeof packet);
	close(fd);
}

/* What the daemon writes to this host arrives; what would return to TUN for ever is dropped. */
static void from_tun(void **state)
{
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);
	struct ip_port at = port("198.18.0.1:7777");
	struct sockaddr_storage local;
	socklen_t len = ip_port_to_sockaddr(&at, &local);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	(void)state;
	network();
	must("ip addr add 198.18.0.1/32 dev tungate0");
	assert_int_equal(bind(fd, (struct sockaddr *)&local, len), 0);
	lab_set_table(&lab, &c);
	usleep(100000);
	inject("198.18.6.5", 80, "198.18.0.1", 7777);
	assert_int_equal(poll(&p, 1, 30000), 1);
	assert_int_equal(counter("stray"), 0);
	inject("192.168.1.2", 53, "198.18.7.7", 99);
	inject("192.168.1.2", 54, "198.18.7.7", 99);
	lab_until(counter("stray") == 2);
	close(fd);
}

static void keep_first(void *arg, const struct nft_error *error)
{
	struct nft_error *first = arg;

	if (!first->error)
		*first = *error;
}

static struct nlmsghdr *message(struct nft_batch *b, uint16_t type, uint16_t table_attr)
{
	struct nlmsghdr *h = nft_batch_open(b, type, NFPROTO_INET, NLM_F_CREATE, 512);

	mnl_attr_put_strz(h, table_attr, "blame");
	return h;
}

static void put_expression(struct nlmsghdr *h, const char *name)
{
	struct nlattr *nest = mnl_attr_nest_start(h, NFTA_LIST_ELEM);

	mnl_attr_put_strz(h, NFTA_EXPR_NAME, name);
	mnl_attr_nest_end(h, nest);
}

/* A table, a chain, and a rule with an expression that no kernel has. */
static void blame_build(struct nft_batch *b)
{
	struct nlattr *nest;
	struct nlmsghdr *h;

	message(b, NFT_MSG_NEWTABLE, NFTA_TABLE_NAME);
	nft_batch_close(b);
	h = message(b, NFT_MSG_NEWCHAIN, NFTA_CHAIN_TABLE);
	mnl_attr_put_strz(h, NFTA_CHAIN_NAME, "c");
	nft_batch_close(b);
	h = message(b, NFT_MSG_NEWRULE, NFTA_RULE_TABLE);
	h->nlmsg_flags |= NLM_F_APPEND;
	mnl_attr_put_strz(h, NFTA_RULE_CHAIN, "c");
	nest = mnl_attr_nest_start(h, NFTA_RULE_EXPRESSIONS);
	put_expression(h, "notrack");
	put_expression(h, "nonesuch");
	put_expression(h, "masq");
	mnl_attr_nest_end(h, nest);
	nft_batch_close(b);
}

/* The kernel says which attribute it did not like; we say which expression that is. */
static void blame_names_the_expression(void **state)
{
	struct nft_socket s;
	struct nft_batch b;
	struct nft_error first = {0};
	char text[64];

	(void)state;
	assert_int_equal(nft_socket_open(&s), 0);
	assert_int_equal(nft_batch_init(&b, 4096), 0);
	nft_batch_begin(&b, &s);
	blame_build(&b);
	assert_true(nft_batch_commit(&b, &s, 1000, keep_first, &first) < 0);
	assert_string_equal(table_blame(&b, &first, text, sizeof text), "nonesuch");
	nft_batch_fini(&b);
	nft_socket_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(modes, setup, teardown),
		cmocka_unit_test_setup_teardown(one_family, setup, teardown),
		cmocka_unit_test_setup_teardown(exempt, setup, teardown),
		cmocka_unit_test_setup_teardown(marks_and_probe, setup, teardown),
		cmocka_unit_test_setup_teardown(survives_flush_ruleset, setup, teardown),
		cmocka_unit_test_setup_teardown(second_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(replaces_what_nobody_owns, setup, teardown),
		cmocka_unit_test_setup_teardown(dropped_and_set_again, setup, teardown),
		cmocka_unit_test_setup_teardown(gate, setup, teardown),
		cmocka_unit_test_setup_teardown(only_we_beat, setup, teardown),
		cmocka_unit_test_setup_teardown(no_way_for_the_heartbeat, setup, teardown),
		cmocka_unit_test_setup_teardown(
			own_queries_where_others_go_to_tun, setup, teardown),
		cmocka_unit_test_setup_teardown(exempt_queries_pass, setup, teardown),
		cmocka_unit_test_setup_teardown(closed_gate_lets_all_pass, setup, teardown),
		cmocka_unit_test_setup_teardown(from_tun, setup, teardown),
		cmocka_unit_test_setup_teardown(
			own_queries_where_others_go_to_tproxy, setup, teardown),
		cmocka_unit_test(blame_names_the_expression),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
