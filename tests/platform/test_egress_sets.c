/* What the kernel does for a direct egress: the mark of fakes and of real addresses, the source,
 * what is rejected. */
#include "tests/platform/net_lab.h"

#include "netlink/conntrack.h"
#include "netlink/nflog.h"

#define MARK  0x10
#define MASK  0xf0
#define REAL4 "real_10_f0_4"
#define REAL6 "real_10_f0_6"

static struct net_lab net;
static struct lab lab;
static struct table_config config;
static struct table_egress egresses[3];
static bool done;

static int setup(void **state)
{
	(void)state;
	net_lab_open(&net);
	lab_open(&lab);
	memset(egresses, 0, sizeof egresses);
	config = lab_table(CONF_INTERCEPT_TUN);
	config.egresses = egresses;
	config.n_egresses = sizeof egresses / sizeof egresses[0];
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lab_close(&lab);
	net_lab_close(&net);
	must("ip link del lan0; ip link del wan0; ip -4 rule del pref 900; ip -4 rule del pref 901;"
	     "ip -6 rule del pref 900; ip -6 rule del pref 901; ip route flush table 199;"
	     "ip -6 route flush table 199; conntrack -F");
	return 0;
}

static void job_done(struct writer_job *job)
{
	(void)job;
	done = true;
}

static int submit(enum writer_op op, unsigned number, const char *addr, const char *real)
{
	struct writer_job job = {.client = lab.client, .done = job_done, .n = 1};

	job.elements[0] = (struct writer_element){
		.op = op, .number = number, .timeout_s = 60, .addr = address(addr)};
	if (real)
		job.elements[0].real = address(real);
	done = false;
	writer_submit(lab.writer, &job);
	while (!done)
		lab_wait(&lab);
	return job.result;
}

static void direct(unsigned egress, const char *fake, const char *real)
{
	assert_int_equal(submit(WRITER_EGRESS_SET, egress, fake, NULL), 0);
	assert_int_equal(submit(WRITER_NAT_SET, 0, fake, real), 0);
}

static void set_table(void)
{
	lab_set_table(&lab, &config);
	lab_until(works("nft get element inet tungate alive '{ ipv4, ipv6 }'"));
}

/* Connects and talks; the source that the server saw. */
static const char *seen_from(
	const struct net_place *from, const char *source, const char *to, int listener)
{
	static char text[IP_TEXT_MAX];
	int fd = net_socket(&net, from, SOCK_STREAM, port(to).addr.family, source), far;

	net_connect(fd, to);
	far = net_accept(listener, LAB_WAIT_MS);
	assert_true(far >= 0);
	assert_int_equal(net_connected(fd, LAB_WAIT_MS), 0);
	net_talk(fd, far);
	strcpy(text, net_peer(far));
	close(fd);
	close(far);
	return text;
}

/* --- masquerade --- */

static void masquerade(void **state)
{
	int listener = net_socket(&net, &net.server, SOCK_STREAM, IP_V4, "192.0.2.2:80"),
	    listener6 = net_socket(&net, &net.server, SOCK_STREAM, IP_V6, "[2001:db8:1::2]:80"),
	    inner6 = net_socket(&net, &net.server, SOCK_STREAM, IP_V6, "[fd77::2]:80");
	static const char *const used[] = {"198.18.0.10", "198.18.0.12", "fd00:198:18::10",
		"fd00:198:18::11", "fd00:198:18::20"};
	struct conntrack *c;

	(void)state;
	egresses[1].masquerade = CONF_MASQUERADE_YES;
	egresses[2].masquerade = CONF_MASQUERADE_NO;
	set_table();
	direct(0, "198.18.0.10", "192.0.2.2");
	direct(1, "198.18.0.11", "192.0.2.2");
	direct(2, "198.18.0.12", "192.0.2.2");
	direct(0, "fd00:198:18::10", "2001:db8:1::2");
	direct(1, "fd00:198:18::11", "2001:db8:1::2");
	direct(2, "fd00:198:18::12", "2001:db8:1::2");
	direct(0, "fd00:198:18::20", "fd77::2");
	/* auto: only what could not be answered. */
	assert_string_equal(seen_from(&net.client, NULL, "198.18.0.10:80", listener), "10.9.0.2");
	assert_string_equal(seen_from(NULL, NULL, "198.18.0.10:80", listener), "192.0.2.1");
	assert_string_equal(
		seen_from(&net.client, "[2001:db8:9::2]:40000", "[fd00:198:18::10]:80", listener6),
		"2001:db8:9::2");
	assert_string_equal(
		seen_from(&net.client, "[fd99::2]:40001", "[fd00:198:18::10]:80", listener6),
		"2001:db8:1::1");
	assert_string_equal(
		seen_from(NULL, NULL, "[fd00:198:18::10]:80", listener6), "2001:db8:1::1");
	/* A unique local target knows the way to a unique local source; not to TUN's address. */
	assert_string_equal(
		seen_from(&net.client, "[fd99::2]:40002", "[fd00:198:18::20]:80", inner6),
		"fd99::2");
	assert_string_equal(seen_from(NULL, NULL, "[fd00:198:18::20]:80", inner6), "fd77::1");
	/* yes, no */
	assert_string_equal(seen_from(&net.client, NULL, "198.18.0.11:80", listener), "192.0.2.1");
	assert_string_equal(
		seen_from(&net.client, "[2001:db8:9::2]:40003", "[fd00:198:18::11]:80", listener6),
		"2001:db8:1::1");
	assert_string_equal(seen_from(&net.client, NULL, "198.18.0.12:80", listener), "10.9.0.2");
	net_must(&net.server, "ip -6 route add fd99::/64 via 2001:db8:1::1");
	assert_string_equal(
		seen_from(&net.client, "[fd99::2]:40004", "[fd00:198:18::12]:80", listener6),
		"fd99::2");
	/* conntrack tells all of these apart from what nobody used. */
	assert_int_equal(conntrack_open(&c), 0);
	for (size_t i = 0; i < sizeof used / sizeof used[0]; i++) {
		struct ip_addr a = address(used[i]);

		assert_int_equal(conntrack_has(c, &a), 1);
	}
	{
		struct ip_addr a = address("198.18.0.13"), b = address("fd00:198:18::13");

		assert_int_equal(conntrack_has(c, &a), 0);
		assert_int_equal(conntrack_has(c, &b), 0);
	}
	conntrack_close(c);
	close(listener);
	close(listener6);
	close(inner6);
}

/* --- reject --- */

/* UDP to there: comes to the daemon, or else to the server. */
static void udp_to(const struct net_place *from, const char *to, int server, bool rejected)
{
	int fd = net_socket(&net, from, SOCK_DGRAM, port(to).addr.family, NULL);
	struct tun_packet p;
	uint8_t buf[2048];

	for (int i = 0; i < 2; i++) {
		net_send(fd, to, "hello");
		if (rejected) {
			assert_true(net_tun_read(&net, buf, sizeof buf, &p, LAB_WAIT_MS));
			assert_int_equal(p.protocol, IPPROTO_UDP);
			assert_int_equal(p.target_port, port(to).port);
		} else {
			assert_string_equal(net_receive(server, LAB_WAIT_MS).text, "hello");
		}
	}
	close(fd);
	assert_tun_silent(&net);
}

static void reject(void **state)
{
	const struct net_place *places[] = {&net.client, NULL};
	int quic = net_socket(&net, &net.server, SOCK_DGRAM, IP_V4, "192.0.2.2:443"),
	    other = net_socket(&net, &net.server, SOCK_DGRAM, IP_V4, "192.0.2.2:444"),
	    quic6 = net_socket(&net, &net.server, SOCK_DGRAM, IP_V6, "[2001:db8:1::2]:443"),
	    tcp = net_socket(&net, &net.server, SOCK_STREAM, IP_V4, "192.0.2.2:443");

	(void)state;
	egresses[1].reject_quic = true;
	egresses[2].reject_udp = true;
	set_table();
	direct(0, "198.18.0.10", "192.0.2.2");
	direct(1, "198.18.0.11", "192.0.2.2");
	direct(2, "198.18.0.12", "192.0.2.2");
	direct(1, "fd00:198:18::11", "2001:db8:1::2");
	direct(0, "fd00:198:18::10", "2001:db8:1::2");
	for (int i = 0; i < 2; i++) {
		udp_to(places[i], "198.18.0.10:443", quic, false);
		udp_to(places[i], "[fd00:198:18::10]:443", quic6, false);
		must("conntrack -F");
		udp_to(places[i], "198.18.0.11:443", quic, true);
		udp_to(places[i], "[fd00:198:18::11]:443", quic6, true);
		udp_to(places[i], "198.18.0.12:443", quic, true);
		udp_to(places[i], "198.18.0.12:444", other, true);
		assert_hides("conntrack -L 2>/dev/null", "198.18.0.1");
		assert_hides("conntrack -L -f ipv6 2>/dev/null", "fd00:198:18::11");
		udp_to(places[i], "198.18.0.11:444", other, false);
		seen_from(places[i], NULL, "198.18.0.11:443", tcp);
		seen_from(places[i], NULL, "198.18.0.12:443", tcp);
	}
	close(quic);
	close(other);
	close(quic6);
	close(tcp);
}

static void count_copy(void *arg, uint8_t *packet, size_t len, unsigned ifindex)
{
	struct tun_packet p;

	(void)ifindex;
	assert_int_equal(tun_packet_parse(packet, len, &p), 0);
	assert_int_equal(p.target_port, 443);
	(*(int *)arg)++;
}

/* Where TUN is not used, as a copy. */
static void reject_by_copy(void **state)
{
	int quic = net_socket(&net, &net.server, SOCK_DGRAM, IP_V4, "192.0.2.2:443"),
	    fd = net_socket(&net, &net.client, SOCK_DGRAM, IP_V4, NULL), copies = 0;
	struct nflog *log;
	struct pollfd p;

	(void)state;
	assert_int_equal(nflog_open(config.nflog_group, &log), 0);
	config.mode = CONF_INTERCEPT_TPROXY;
	egresses[1].reject_quic = true;
	set_table();
	direct(1, "198.18.0.11", "192.0.2.2");
	net_send(fd, "198.18.0.11:443", "hello");
	p = (struct pollfd){.fd = nflog_fd(log), .events = POLLIN};
	assert_int_equal(poll(&p, 1, LAB_WAIT_MS), 1);
	nflog_read(log, count_copy, &copies);
	assert_int_equal(copies, 1);
	assert_string_equal(net_receive(quic, 50).text, "");
	assert_tun_silent(&net);
	nflog_close(log);
	close(quic);
	close(fd);
}

/* --- marks --- */

static void second_uplink(void)
{
	char line[256];

	snprintf(line, sizeof line, "ip link add up1 type veth peer name s1 netns %d",
		(int)net.server.holder);
	must(line);
	must("ip link set up1 up; ip addr add 192.0.3.1/24 dev up1;"
	     "ip addr add 2001:db8:3::1/64 dev up1 nodad; sysctl -qw net.ipv4.conf.up1.rp_filter=2;"
	     "for f in -4 -6; do ip $f rule add pref 800 fwmark 0x10/0xf0 lookup 77; done");
	net_must(&net.server,
		"ip link set s1 up; ip addr add 192.0.3.2/24 dev s1;"
		"ip addr add 2001:db8:3::2/64 dev s1 nodad;"
		"sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.s1.rp_filter=0");
	must("ip route add default via 192.0.3.2 dev up1 table 77;"
	     "ip -6 route add default via 2001:db8:3::2 dev up1 table 77");
}

static void second_uplink_gone(void)
{
	must("for f in -4 -6; do ip $f rule del pref 800; done; ip link del up1");
}

static uint64_t sent_by(const char *device)
{
	char command[128];

	snprintf(command, sizeof command, "ip -s link show %s | awk '/TX:/ {getline; print $1}'",
		device);
	return strtoull(output(command, NULL), NULL, 10);
}

/* 30 kB of the client's go out by the second uplink. */
static bool talks_by_second(int fd, int far)
{
	uint64_t before = sent_by("up1");

	net_talk(fd, far);
	return sent_by("up1") - before > 25000;
}

static void real_by_mark(const struct net_place *from, const char *host, const char *to)
{
	int listener = net_socket(&net, &net.server, SOCK_STREAM, port(to).addr.family, to);
	int fd[2], far[2];

	for (int i = 0; i < 2; i++) {
		fd[i] = net_socket(&net, from, SOCK_STREAM, port(to).addr.family, NULL);
		net_connect(fd[i], to);
		far[i] = net_accept(listener, LAB_WAIT_MS);
		assert_true(far[i] >= 0);
		assert_int_equal(net_connected(fd[i], LAB_WAIT_MS), 0);
		if (i == 0)
			assert_int_equal(submit(WRITER_REAL_SET, 1, host, NULL), 0);
	}
	/* What began before keeps its way; what began with the element keeps it, too. */
	assert_false(talks_by_second(fd[0], far[0]));
	assert_true(talks_by_second(fd[1], far[1]));
	must("nft list table inet tungate | grep -q 'set " REAL4 "'");
	assert_false(talks_by_second(fd[0], far[0]));
	assert_true(talks_by_second(fd[1], far[1]));
	for (int i = 0; i < 2; i++) {
		close(fd[i]);
		close(far[i]);
	}
	close(listener);
}

static void empty_real(void)
{
	egresses[1].real = false;
	set_table();
	egresses[1].real = true;
	set_table();
}

static void real_addresses(void **state)
{
	(void)state;
	second_uplink();
	egresses[1] = (struct table_egress){.value = MARK, .mask = MASK, .real = true};
	for (int i = 0; i < 2; i++) {
		config.pool4.addr.family = config.pool6.addr.family = i ? IP_NONE : IP_V4;
		config.pool6.addr.family = i ? IP_NONE : IP_V6;
		empty_real();
		real_by_mark(&net.client, "192.0.2.2", "192.0.2.2:80");
		real_by_mark(&net.client, "2001:db8:1::2", "[2001:db8:1::2]:80");
		empty_real();
		real_by_mark(NULL, "192.0.2.2", "192.0.2.2:80");
		real_by_mark(NULL, "2001:db8:1::2", "[2001:db8:1::2]:80");
	}
	second_uplink_gone();
}

static void fakes_by_mark(void **state)
{
	const struct net_place *places[] = {&net.client, NULL};
	int listener = net_socket(&net, &net.server, SOCK_STREAM, IP_V4, "192.0.2.2:80");

	(void)state;
	second_uplink();
	egresses[1] = (struct table_egress){.value = MARK, .mask = MASK};
	set_table();
	direct(1, "198.18.0.11", "192.0.2.2");
	for (int i = 0; i < 2; i++) {
		int fd = net_socket(&net, places[i], SOCK_STREAM, IP_V4, NULL), far;

		net_connect(fd, "198.18.0.11:80");
		far = net_accept(listener, LAB_WAIT_MS);
		assert_true(far >= 0);
		assert_int_equal(net_connected(fd, LAB_WAIT_MS), 0);
		assert_true(talks_by_second(fd, far));
		close(fd);
		close(far);
	}
	close(listener);
	second_uplink_gone();
}

/* --- the writer's side --- */

static bool has(const char *set, const char *addr)
{
	char command[128];

	snprintf(command, sizeof command, "nft get element inet tungate %s '{ %s }'", set, addr);
	return works(command);
}

static void elements(void **state)
{
	(void)state;
	assert_int_equal(submit(WRITER_REAL_SET, 0, "192.0.2.2", NULL), 0); /* there is no table */
	egresses[1] = (struct table_egress){.value = MARK, .mask = MASK, .real = true};
	config.relay_tcp4 = port("127.1.1.53:7000");
	config.carried = true;
	set_table();
	assert_int_equal(submit(WRITER_REAL_SET, 0, "192.0.2.2", NULL), 0);
	assert_int_equal(submit(WRITER_REAL_SET, 1, "192.0.2.3", NULL), 0);
	assert_int_equal(submit(WRITER_REAL_SET, 1, "2001:db8::3", NULL), 0);
	assert_int_equal(submit(WRITER_REAL_SET, 77, "2001:db8::2", NULL), 0);
	assert_int_equal(submit(WRITER_EGRESS_SET, 1, "fd00:198:18::9", NULL), 0);
	assert_int_equal(submit(WRITER_EGRESS_SET, 0, "fd00:198:18::9", NULL), 0);
	assert_int_equal(submit(WRITER_EGRESS_SET, 77, "fd00:198:18::9", NULL), 0);
	/* Kept as long as they mean the same. */
	config.mode = CONF_INTERCEPT_TPROXY;
	egresses[1].reject_quic = true;
	set_table();
	assert_true(has("carried4", "192.0.2.2"));
	assert_true(has("carried6", "2001:db8::2"));
	assert_true(has(REAL4, "192.0.2.3"));
	assert_true(has(REAL6, "2001:db8::3"));
	assert_true(has("egress1_6", "fd00:198:18::9"));
	assert_false(has("carried4", "192.0.2.3"));
	egresses[1].value = 0x20;
	set_table();
	assert_true(has("carried4", "192.0.2.2"));
	assert_false(has(REAL4, "192.0.2.3"));
	assert_false(has("egress1_6", "fd00:198:18::9"));
	config.forget = true;
	set_table();
	assert_true(has("carried4", "192.0.2.2"));
	config.carried = false;
	egresses[1].real = false;
	set_table();
	assert_int_equal(submit(WRITER_REAL_SET, 0, "192.0.2.2", NULL), 0);
	assert_hides("nft list table inet tungate", "carried");
	assert_hides("nft list table inet tungate", "real_");
}

/* What clients were told holds on when a reload gives egresses other numbers. */
static void other_numbers(void **state)
{
	(void)state;
	egresses[1] = (struct table_egress){.value = MARK, .mask = MASK, .real = true};
	set_table();
	assert_int_equal(submit(WRITER_REAL_SET, 1, "192.0.2.3", NULL), 0);
	egresses[2] = egresses[1];
	egresses[1].value = 0x20;
	set_table();
	assert_true(has(REAL4, "192.0.2.3"));
	assert_int_equal(submit(WRITER_REAL_SET, 1, "192.0.2.4", NULL), 0);
	assert_int_equal(submit(WRITER_REAL_SET, 2, "192.0.2.5", NULL), 0);
	assert_true(has("real_20_f0_4", "192.0.2.4"));
	assert_false(has(REAL4, "192.0.2.4"));
	assert_true(has(REAL4, "192.0.2.5"));
	/* Two with one mark have one set, as long as one of them is left. */
	egresses[1].value = MARK;
	set_table();
	assert_true(has(REAL4, "192.0.2.3"));
	assert_int_equal(submit(WRITER_REAL_SET, 1, "192.0.2.6", NULL), 0);
	egresses[2] = (struct table_egress){0};
	set_table();
	assert_true(has(REAL4, "192.0.2.6"));
	assert_hides("nft list table inet tungate", "real_20");
	egresses[1].real = false;
	set_table();
	assert_hides("nft list table inet tungate", "real_");
}

/* All there is, as nft lists it, can be loaded again. */
static void listing(void **state)
{
	static const enum conf_intercept modes[] = {
		CONF_INTERCEPT_TUN, CONF_INTERCEPT_TPROXY, CONF_INTERCEPT_OFF};
	struct ip_prefix from[] = {prefix("10.9.0.0/24"), prefix("2001:db8::/32")};
	struct conf_mac mac = {{2, 0, 0, 0, 0, 0x99}};
	struct conf_who clients = {.prefixes = {from, 2}, .macs = &mac, .n_macs = 1};
	struct conf_mark marks[] = {{0x7, 0xf}};
	uint32_t uid[] = {0};
	struct conf_exempt e = {.uid = {uid, 1}, .mark = marks, .n_mark = 1};

	(void)state;
	config.relay_tcp4 = config.relay_udp4 = port("127.1.1.53:7000");
	config.relay_tcp6 = config.relay_udp6 = port("[fd00:198:18::1]:7000");
	config.carried = true;
	config.relay_mark = (struct conf_mark){0x100, 0xf00};
	config.relay_clients = &clients;
	config.exempt = &e;
	egresses[0] = (struct table_egress){.value = MARK, .mask = MASK, .real = true};
	egresses[1].masquerade = CONF_MASQUERADE_YES;
	egresses[1].reject_quic = true;
	egresses[2].masquerade = CONF_MASQUERADE_NO;
	egresses[2].reject_udp = true;
	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		config.mode = modes[i];
		set_table();
		must("nft list table inet tungate |"
		     " sed 's/table inet tungate/table inet again/; /flags owner/d' |"
		     " nft -c -f -");
	}
	assert_shows("nft list table inet tungate", "fib daddr oifname \"br-*\" return");
	assert_shows("nft list table inet tungate", "ct original ip daddr @egress1_4 masquerade");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(masquerade, setup, teardown),
		cmocka_unit_test_setup_teardown(reject, setup, teardown),
		cmocka_unit_test_setup_teardown(reject_by_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(real_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(fakes_by_mark, setup, teardown),
		cmocka_unit_test_setup_teardown(elements, setup, teardown),
		cmocka_unit_test_setup_teardown(other_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(listing, setup, teardown),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
