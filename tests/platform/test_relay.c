/* What goes to the relay: connections to fake addresses that are put back for it, and traffic to
 * real addresses that a set, a mark or its client sends there. */
#include "tests/platform/net_lab.h"

#include "netlink/nflog.h"

#define FAKE4 "198.18.0.9:80"
#define FAKE6 "[fd00:198:18::9]:80"

static struct net_lab net;
static struct lab lab;
static struct table_config config;
static int tcp4, tcp6, udp4, udp6; /* the relay's */
static bool done;

static void open_relay(void)
{
	tcp4 = net_relay_socket(SOCK_STREAM, "127.1.1.53:7000");
	tcp6 = net_relay_socket(SOCK_STREAM, "[fd00:198:18::1]:7000");
	udp4 = net_relay_socket(SOCK_DGRAM, "127.1.1.53:7001");
	udp6 = net_relay_socket(SOCK_DGRAM, "[fd00:198:18::1]:7001");
}

static void close_relay(void)
{
	close(tcp4);
	close(tcp6);
	close(udp4);
	close(udp6);
}

static int setup(void **state)
{
	(void)state;
	net_lab_open(&net);
	lab_open(&lab);
	open_relay();
	config = lab_table(CONF_INTERCEPT_TUN);
	config.relay_tcp4 = port("127.1.1.53:7000");
	config.relay_tcp6 = port("[fd00:198:18::1]:7000");
	config.relay_udp4 = port("127.1.1.53:7001");
	config.relay_udp6 = port("[fd00:198:18::1]:7001");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lab_close(&lab);
	close_relay();
	net_lab_close(&net);
	must("ip link del lan0; ip link del wan0; ip -4 rule del pref 900; ip -4 rule del pref 901;"
	     "ip -6 rule del pref 900; ip -6 rule del pref 901; ip route flush table 199;"
	     "ip -6 route flush table 199; conntrack -F");
	system("nft delete table inet users 2>/dev/null");
	return 0;
}

static uint64_t counter(const char *name)
{
	uint64_t packets = UINT64_MAX;

	assert_int_equal(writer_counter(lab.writer, name, &packets), 0);
	return packets;
}

static void job_done(struct writer_job *job)
{
	(void)job;
	done = true;
}

static void submit(
	enum writer_op op, unsigned number, const char *addr, const char *real, uint32_t timeout_s)
{
	struct writer_job job = {.client = lab.client, .done = job_done, .n = 1};

	job.elements[0] = (struct writer_element){
		.op = op, .number = number, .timeout_s = timeout_s, .addr = address(addr)};
	if (real)
		job.elements[0].real = address(real);
	done = false;
	writer_submit(lab.writer, &job);
	while (!done)
		lab_wait(&lab);
	assert_int_equal(job.result, 0);
}

static void set_table(void)
{
	lab_set_table(&lab, &config);
	lab_until(works("nft get element inet tungate alive '{ ipv4, ipv6 }'"));
}

/* Carried for so long; what needs that and came to nothing is done again if the machine was slow.
 */
#define CARRIED_S 2
static bool was_slow(int64_t began_ms)
{
	return clock_ms() - began_ms > CARRIED_S * 1000 - 200;
}

static void wait_until_forgotten(const char *host)
{
	char command[128];

	snprintf(command, sizeof command, "nft get element inet tungate carried%c '{ %s }'",
		strchr(host, ':') ? '6' : '4', host);
	lab_until(!works(command));
}

/* --- to fake addresses --- */

/* A connection whose SYN is held and put back; *ret_relay: the relay's end. */
static int connect_relayed(const struct net_place *from, const char *to, int *ret_relay)
{
	struct ip_port at = port(to);
	int fd = net_socket(&net, from, SOCK_STREAM, at.addr.family, NULL);

	net_connect(fd, to);
	net_relay_syn(&net);
	*ret_relay = net_accept(at.addr.family == IP_V4 ? tcp4 : tcp6, LAB_WAIT_MS);
	assert_true(*ret_relay >= 0);
	assert_int_equal(net_connected(fd, LAB_WAIT_MS), 0);
	assert_string_equal(net_local(*ret_relay), to);
	return fd;
}

static void relayed(const struct net_place *from, const char *to, const char *peer)
{
	int relay, fd = connect_relayed(from, to, &relay);
	char byte;

	assert_string_equal(net_peer(relay), peer);
	net_talk(fd, relay);
	/* Half-closed each way, then gone; nothing of it came to TUN. */
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(recv(relay, &byte, 1, 0), 0);
	assert_int_equal(send(relay, "x", 1, 0), 1);
	assert_int_equal(recv(fd, &byte, 1, 0), 1);
	close(relay);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
	assert_tun_silent(&net);
	assert_int_equal(counter("stray"), 0);
}

static void lan_and_own_client(void **state)
{
	static const enum conf_intercept modes[] = {
		CONF_INTERCEPT_TUN, CONF_INTERCEPT_TPROXY, CONF_INTERCEPT_OFF};

	(void)state;
	config.nflog_group = 0;
	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		config.mode = modes[i];
		set_table();
		relayed(&net.client, FAKE4, "10.9.0.2");
		relayed(&net.client, FAKE6, "fd99::2");
		relayed(NULL, FAKE4, "198.18.0.1");
		relayed(NULL, FAKE6, "fd00:198:18::1");
	}
	/* conntrack saw nothing of the LAN's. */
	assert_hides("conntrack -L 2>/dev/null", "src=10.9.0.2");
	assert_hides("conntrack -L -f ipv6 2>/dev/null", "src=fd99::2");
	/* Where conntrack calls what it joins late invalid. */
	must("sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0; conntrack -F");
	relayed(NULL, FAKE4, "198.18.0.1");
	relayed(NULL, FAKE6, "fd00:198:18::1");
	must("sysctl -qw net.netfilter.nf_conntrack_tcp_loose=1");
}

static void without_self_and_dns(void **state)
{
	(void)state;
	config.mode = CONF_INTERCEPT_OFF;
	config.self = false;
	set_table();
	relayed(&net.client, FAKE4, "10.9.0.2");
	relayed(&net.client, FAKE6, "fd99::2");
}

/* The relay's listener is gone: no packet runs in a circle. */
static void no_listener(void **state)
{
	static const char *const fakes[] = {FAKE4, FAKE6};
	const struct net_place *places[] = {&net.client, NULL};

	(void)state;
	set_table();
	close_relay();
	for (size_t i = 0; i < 4; i++) {
		struct ip_port at = port(fakes[i % 2]);
		int fd = net_socket(&net, places[i / 2], SOCK_STREAM, at.addr.family, NULL);

		net_connect(fd, fakes[i % 2]);
		net_relay_syn(&net);
		assert_tun_silent(&net);
		close(fd);
	}
	assert_int_equal(counter("stray"), 0);
	open_relay();
}

static void put_back_copy(void *arg, uint8_t *packet, size_t len, unsigned ifindex)
{
	struct tun_packet p;

	(void)ifindex;
	assert_int_equal(tun_packet_parse(packet, len, &p), 0);
	net_put_back(&net, &p);
	(*(int *)arg)++;
}

static void port_used_again(const char *from, const char *to, int listener, bool copied)
{
	struct nflog *log = NULL;
	struct pollfd p;

	if (copied)
		assert_int_equal(nflog_open(config.nflog_group, &log), 0);
	for (int i = 0; i < 3; i++) {
		int relay,
			fd = net_socket(&net, &net.client, SOCK_STREAM, port(to).addr.family, from),
			copies = 0;
		char byte;

		net_connect(fd, to);
		if (i == 0) {
			net_relay_syn(&net);
		} else if (copied) {
			p = (struct pollfd){.fd = nflog_fd(log), .events = POLLIN};
			assert_int_equal(poll(&p, 1, LAB_WAIT_MS), 1);
			nflog_read(log, put_back_copy, &copies);
			assert_int_equal(copies, 1);
		}
		relay = net_accept(listener, LAB_WAIT_MS);
		assert_true(relay >= 0);
		assert_int_equal(net_connected(fd, 500), 0);
		net_talk(fd, relay);
		close(relay);
		assert_int_equal(recv(fd, &byte, 1, 0), 0);
		close(fd);
		lab_until(strstr(output("ss -tan state time-wait", NULL), from));
	}
	assert_tun_silent(&net);
	nflog_close(log);
}

/* The relay closed first and waits; the client comes again from the same port. */
static void time_wait(void **state)
{
	(void)state;
	set_table();
	port_used_again("10.9.0.2:33333", FAKE4, tcp4, true);
	port_used_again("[fd99::2]:33333", FAKE6, tcp6, true);
	config.nflog_group = 0;
	set_table();
	port_used_again("10.9.0.2:33334", FAKE4, tcp4, false);
	port_used_again("[fd99::2]:33334", FAKE6, tcp6, false);
}

static uint32_t next_sequence(int fd)
{
	int on = 1, queue = TCP_SEND_QUEUE, off = TCP_REPAIR_OFF_NO_WP;
	uint32_t seq = 0;
	socklen_t len = sizeof seq;

	assert_int_equal(setsockopt(fd, SOL_TCP, TCP_REPAIR, &on, sizeof on), 0);
	assert_int_equal(setsockopt(fd, SOL_TCP, TCP_REPAIR_QUEUE, &queue, sizeof queue), 0);
	assert_int_equal(getsockopt(fd, SOL_TCP, TCP_QUEUE_SEQ, &seq, &len), 0);
	assert_int_equal(setsockopt(fd, SOL_TCP, TCP_REPAIR, &off, sizeof off), 0);
	return seq;
}

/* From somewhere in the LAN: what was sent from there to the client is too big. */
static void too_big(const char *from, const char *to, uint32_t seq)
{
	struct ip_port source = port(from), target = port(to);
	bool v4 = source.addr.family == IP_V4;
	struct {
		uint8_t type, code;
		uint16_t checksum;
		uint32_t mtu;
		uint8_t inner[60];
	} m = {.type = v4 ? 3 : 2, .code = v4 ? 4 : 0, .mtu = htonl(1300)};
	size_t header = v4 ? 20 : 40, len = 8 + header + 20;
	struct ip_port at = {.addr = source.addr};
	struct sockaddr_storage dest;
	socklen_t dest_len = ip_port_to_sockaddr(&at, &dest);
	struct tcphdr *tcp = (struct tcphdr *)(m.inner + header);
	int fd;

	if (v4) {
		struct iphdr ip = {
			.version = 4, .ihl = 5, .tot_len = htons(1500), .ttl = 64, .protocol = 6};

		memcpy(&ip.saddr, source.addr.b, 4);
		memcpy(&ip.daddr, target.addr.b, 4);
		ip.check = tun_packet_checksum(&ip, sizeof ip);
		memcpy(m.inner, &ip, sizeof ip);
	} else {
		struct ip6_hdr ip = {.ip6_plen = htons(1460), .ip6_nxt = 6, .ip6_hlim = 64};

		ip.ip6_vfc = 0x60;
		memcpy(&ip.ip6_src, source.addr.b, 16);
		memcpy(&ip.ip6_dst, target.addr.b, 16);
		memcpy(m.inner, &ip, sizeof ip);
	}
	tcp->source = htons(source.port);
	tcp->dest = htons(target.port);
	tcp->seq = htonl(seq);
	if (v4)
		m.checksum = tun_packet_checksum(&m, len);
	assert_int_equal(setns(net.client.fd, CLONE_NEWNET), 0);
	fd = socket(v4 ? AF_INET : AF_INET6, SOCK_RAW, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	assert_true(fd >= 0);
	assert_int_equal(setns(net.home, CLONE_NEWNET), 0);
	assert_int_equal(sendto(fd, &m, len, 0, (struct sockaddr *)&dest, dest_len), len);
	close(fd);
}

static void assert_shrinks(int relay, const char *from)
{
	bool v4 = port(from).addr.family == IP_V4;
	struct sockaddr_storage at;
	socklen_t len = sizeof at;
	char peer[IP_TEXT_MAX];
	struct ip_port p;
	int mtu = 0;

	assert_int_equal(getpeername(relay, (struct sockaddr *)&at, &len), 0);
	ip_port_from_sockaddr((struct sockaddr *)&at, &p);
	too_big(from, ip_port_format(&p, peer), next_sequence(relay));
	len = sizeof mtu;
	lab_until(getsockopt(relay, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu, &len) ==
			  0 &&
		  mtu == 1300);
}

/* A link on the way to the client is narrow. */
static void path_mtu(void **state)
{
	static const char *const targets[] = {
		FAKE4, FAKE6, "192.0.2.2:8080", "[2001:db8:1::2]:8080"};

	(void)state;
	config.carried = true;
	set_table();
	submit(WRITER_REAL_SET, 0, "192.0.2.2", NULL, 60);
	submit(WRITER_REAL_SET, 0, "2001:db8:1::2", NULL, 60);
	for (size_t i = 0; i < 4; i++) {
		struct ip_port at = port(targets[i]);
		int relay, fd = net_socket(&net, &net.client, SOCK_STREAM, at.addr.family, NULL);

		net_connect(fd, targets[i]);
		if (i < 2)
			net_relay_syn(&net);
		relay = net_accept(at.addr.family == IP_V4 ? tcp4 : tcp6, LAB_WAIT_MS);
		assert_true(relay >= 0);
		assert_int_equal(net_connected(fd, LAB_WAIT_MS), 0);
		net_talk(fd, relay);
		assert_shrinks(relay, targets[i]);
		net_talk(fd, relay);
		close(fd);
		close(relay);
		must("ip route flush cache; ip -6 route flush cache");
	}
	assert_tun_silent(&net);
}

/* The name goes direct by now: what the relay has stays there, what is new is carried. */
static void live_ones_stay(void **state)
{
	int listener = net_socket(&net, &net.server, SOCK_STREAM, IP_V4, "192.0.2.2:80");
	int relay[2], fd[2], direct, far;

	(void)state;
	set_table();
	fd[0] = connect_relayed(&net.client, FAKE4, &relay[0]);
	fd[1] = connect_relayed(NULL, FAKE4, &relay[1]);
	submit(WRITER_NAT_SET, 0, "198.18.0.9", "192.0.2.2", 60);
	for (int i = 0; i < 2; i++)
		net_talk(fd[i], relay[i]);
	must("conntrack -F"); /* even if this host's own has lost its entry */
	net_talk(fd[1], relay[1]);
	for (int i = 0; i < 2; i++) {
		direct = net_socket(&net, i ? NULL : &net.client, SOCK_STREAM, IP_V4, NULL);
		net_connect(direct, FAKE4);
		assert_int_equal(net_connected(direct, LAB_WAIT_MS), 0);
		far = net_accept(listener, LAB_WAIT_MS);
		assert_true(far >= 0);
		assert_string_equal(net_peer(far), i ? "192.0.2.1" : "10.9.0.2");
		net_talk(direct, far);
		/* Its element goes, and it lives. */
		submit(WRITER_NAT_DELETE, 0, "198.18.0.9", NULL, 0);
		net_talk(direct, far);
		submit(WRITER_NAT_SET, 0, "198.18.0.9", "192.0.2.2", 60);
		close(direct);
		close(far);
	}
	for (int i = 0; i < 2; i++) {
		net_talk(fd[i], relay[i]);
		close(fd[i]);
		close(relay[i]);
	}
	close(listener);
	assert_tun_silent(&net);
}

/* A segment of a connection that nobody knows any more: of the LAN's it comes to TUN, this host's
 * own is refused at once. */
static void stray_segment_of_our_own(void **state)
{
	int relay, fd, on = 1;
	char byte;

	(void)state;
	set_table();
	fd = connect_relayed(NULL, FAKE4, &relay);
	/* The relay forgets it without a word to anybody. */
	assert_int_equal(setsockopt(relay, SOL_TCP, TCP_REPAIR, &on, sizeof on), 0);
	close(relay);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(fd);
	assert_tun_silent(&net);
}

/* br_netfilter runs our chains inside the bridge, where the socket that tproxy finds is lost
 * again. */
static void behind_a_bridge(void **state)
{
	(void)state;
	must("ip link add br-lan type bridge; ip link set br-lan up; ip addr flush dev lan0;"
	     "ip link set lan0 master br-lan; ip addr add 10.9.0.1/24 dev br-lan;"
	     "ip addr add fd99::1/64 dev br-lan nodad;"
	     "sysctl -qw net.bridge.bridge-nf-call-iptables=1 "
	     "net.bridge.bridge-nf-call-ip6tables=1");
	config.no_lan_tproxy = true;
	config.carried = true;
	set_table();
	relayed(&net.client, FAKE4, "10.9.0.2");
	relayed(&net.client, FAKE6, "fd99::2");
	must("ip link del br-lan");
}

/* --- to real addresses --- */

static void carries(void)
{
	config.carried = true;
	set_table();
}

/* Where a new connection from there arrives: at the relay, or at the server itself; *ret_end. */
enum arrival { NOWHERE, RELAY, SERVER };
static enum arrival arrives(const struct net_place *from, const char *to, int server_listener,
	int *ret_fd, int *ret_end)
{
	struct ip_port at = port(to);
	struct pollfd p[2] = {{.fd = at.addr.family == IP_V4 ? tcp4 : tcp6, .events = POLLIN},
		{.fd = server_listener, .events = POLLIN}};
	int fd = net_socket(&net, from, SOCK_STREAM, at.addr.family, NULL);

	net_connect(fd, to);
	if (poll(p, 2, LAB_WAIT_MS) < 1) {
		close(fd);
		return NOWHERE;
	}
	*ret_end = net_accept(p[0].revents ? p[0].fd : p[1].fd, 0);
	assert_int_equal(net_connected(fd, LAB_WAIT_MS), 0);
	assert_string_equal(net_local(*ret_end), to);
	*ret_fd = fd;
	return p[0].revents ? RELAY : SERVER;
}

static enum arrival goes(const struct net_place *from, const char *to, int server_listener)
{
	int fd, end;
	enum arrival arrival = arrives(from, to, server_listener, &fd, &end);

	if (arrival != NOWHERE) {
		net_talk(fd, end);
		close(fd);
		close(end);
	}
	return arrival;
}

static void carried_tcp(const struct net_place *from, const char *host, const char *to)
{
	struct ip_port at = port(to);
	int listener = net_socket(&net, &net.server, SOCK_STREAM, at.addr.family, to);
	int fd[2], end[2];

	assert_int_equal(arrives(from, to, listener, &fd[0], &end[0]), SERVER);
	for (;;) {
		int64_t began_ms = clock_ms();

		submit(WRITER_REAL_SET, 0, host, NULL, CARRIED_S);
		must("conntrack -F"); /* who joins it late is not new */
		net_talk(fd[0], end[0]);
		if (arrives(from, to, listener, &fd[1], &end[1]) == RELAY)
			break;
		assert_true(was_slow(began_ms)); /* and at the server */
		close(fd[1]);
		close(end[1]);
	}
	/* What began before stays; what is carried stays when its element has expired. */
	for (int i = 0; i < 2; i++)
		net_talk(fd[i], end[i]);
	wait_until_forgotten(host);
	for (int i = 0; i < 2; i++)
		net_talk(fd[i], end[i]);
	assert_int_equal(goes(from, to, listener), SERVER);
	for (int i = 0; i < 2; i++) {
		close(fd[i]);
		close(end[i]);
	}
	close(listener);
}

static void carried_tcp_of_the_lan(void **state)
{
	(void)state;
	carries();
	carried_tcp(&net.client, "192.0.2.2", "192.0.2.2:8080");
	carried_tcp(&net.client, "2001:db8:1::2", "[2001:db8:1::2]:8080");
	assert_true(counter("relayed_tcp") > 2);
}

static void carried_tcp_of_this_host(void **state)
{
	(void)state;
	carries();
	carried_tcp(NULL, "192.0.2.2", "192.0.2.2:8080");
	carried_tcp(NULL, "2001:db8:1::2", "[2001:db8:1::2]:8080");
	config.self = false;
	set_table();
	submit(WRITER_REAL_SET, 0, "192.0.2.2", NULL, 60);
	{
		int listener = net_socket(&net, &net.server, SOCK_STREAM, IP_V4, "192.0.2.2:8080");

		assert_int_equal(goes(NULL, "192.0.2.2:8080", listener), SERVER);
		assert_int_equal(goes(&net.client, "192.0.2.2:8080", listener), RELAY);
		close(listener);
	}
}

static void carried_udp(
	const struct net_place *from, const char *host, const char *to, const char *peer, int relay)
{
	struct ip_port at = port(to);
	int server = net_socket(&net, &net.server, SOCK_DGRAM, at.addr.family, to);
	int before = net_socket(&net, from, SOCK_DGRAM, at.addr.family, NULL);
	struct pollfd p[2] = {{.fd = relay, .events = POLLIN}, {.fd = server, .events = POLLIN}};
	struct net_datagram d;
	int64_t began_ms;
	int fd, back;

	/* What has been answered before stays where it is. */
	net_send(before, to, "zero");
	d = net_receive(server, LAB_WAIT_MS);
	assert_string_equal(d.text, "zero");
	net_send(server, d.from, "answer");
	assert_string_equal(net_receive(before, LAB_WAIT_MS).text, "answer");
	for (;;) {
		began_ms = clock_ms();
		submit(WRITER_REAL_SET, 0, host, NULL, CARRIED_S);
		fd = net_socket(&net, from, SOCK_DGRAM, at.addr.family, NULL);
		net_send(fd, to, "one");
		assert_int_equal(poll(p, 2, LAB_WAIT_MS), 1);
		if (p[0].revents)
			break;
		assert_true(was_slow(began_ms));
		(void)net_receive(server, 0);
		close(fd);
	}
	net_send(before, to, "zero");
	assert_string_equal(net_receive(server, LAB_WAIT_MS).text, "zero");
	close(before);
	d = net_receive(relay, LAB_WAIT_MS);
	assert_string_equal(d.text, "one");
	assert_string_equal(d.to, to);
	/* The answer has the server's address, from a socket that is bound to it. */
	back = net_relay_socket(SOCK_DGRAM, to);
	net_send(back, d.from, "answer");
	assert_string_equal(net_receive(fd, LAB_WAIT_MS).from, to);
	close(back);
	/* Somebody else answers through the relay; what the client sends him is relayed, too. */
	back = net_relay_socket(SOCK_DGRAM, peer);
	net_send(back, d.from, "peer");
	assert_string_equal(net_receive(fd, LAB_WAIT_MS).from, peer);
	close(back);
	wait_until_forgotten(host);
	net_send(fd, to, "two");
	d = net_receive(relay, LAB_WAIT_MS);
	assert_string_equal(d.text, "two");
	assert_string_equal(d.to, to);
	net_send(fd, peer, "three");
	d = net_receive(relay, LAB_WAIT_MS);
	assert_string_equal(d.text, "three");
	assert_string_equal(d.to, peer);
	assert_string_equal(net_receive(server, 50).text, "");
	close(fd);
	/* A new one goes to the server by now. */
	fd = net_socket(&net, from, SOCK_DGRAM, at.addr.family, NULL);
	net_send(fd, to, "four");
	assert_string_equal(net_receive(server, LAB_WAIT_MS).text, "four");
	close(fd);
	close(server);
}

static void carried_udp_of_both(void **state)
{
	(void)state;
	carries();
	carried_udp(&net.client, "192.0.2.2", "192.0.2.2:9999", "192.0.2.3:8888", udp4);
	carried_udp(
		&net.client, "2001:db8:1::2", "[2001:db8:1::2]:9999", "[2001:db8:1::3]:8888", udp6);
	carried_udp(NULL, "192.0.2.2", "192.0.2.2:9999", "192.0.2.3:8888", udp4);
	carried_udp(NULL, "2001:db8:1::2", "[2001:db8:1::2]:9999", "[2001:db8:1::3]:8888", udp6);
}

/* Our own packets, exempt programs and marks, and queries. */
static void never_carried(void **state)
{
	struct conf_mark marks[] = {{0x7, 0xf}};
	uint32_t uid[] = {1001};
	struct conf_exempt e = {.uid = {uid, 1}, .mark = marks, .n_mark = 1};
	int listener = net_socket(&net, &net.server, SOCK_STREAM, IP_V4, "192.0.2.2:8080");
	uint32_t mark[] = {LAB_MARK, 0x17};

	(void)state;
	config.exempt = &e;
	carries();
	submit(WRITER_REAL_SET, 0, "192.0.2.2", NULL, 60);
	for (int i = 0; i < 2; i++) {
		int fd = net_socket(&net, NULL, SOCK_STREAM, IP_V4, NULL), end;

		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark[i], sizeof mark[i]), 0);
		net_connect(fd, "192.0.2.2:8080");
		end = net_accept(listener, LAB_WAIT_MS);
		assert_true(end >= 0);
		net_talk(fd, end);
		close(fd);
		close(end);
	}
	assert_int_equal(seteuid(1001), 0);
	{
		int fd = socket(AF_INET, SOCK_STREAM, 0), end;

		net_connect(fd, "192.0.2.2:8080");
		assert_int_equal(seteuid(0), 0);
		end = net_accept(listener, LAB_WAIT_MS);
		assert_true(end >= 0);
		close(fd);
		close(end);
	}
	assert_int_equal(goes(NULL, "192.0.2.2:8080", listener), RELAY);
	close(listener);
}

static void without_a_listener_as_if_not_here(void **state)
{
	int listener = net_socket(&net, &net.server, SOCK_STREAM, IP_V4, "192.0.2.2:8080");
	int fd = net_socket(&net, &net.client, SOCK_STREAM, IP_V4, NULL), end;

	(void)state;
	carries();
	submit(WRITER_REAL_SET, 0, "192.0.2.2", NULL, 60);
	close_relay();
	net_connect(fd, "192.0.2.2:8080");
	end = net_accept(listener, LAB_WAIT_MS);
	assert_true(end >= 0);
	net_talk(fd, end);
	close(fd);
	close(end);
	open_relay();
	/* A dead daemon's heart does not beat. */
	lab.alive = false;
	lab_until(!works("nft get element inet tungate alive '{ ipv4, ipv6 }'"));
	assert_int_equal(goes(&net.client, "192.0.2.2:8080", listener), SERVER);
	assert_int_equal(goes(NULL, "192.0.2.2:8080", listener), SERVER);
	close(listener);
}

static void by_mark(void **state)
{
	int listener = net_socket(&net, &net.server, SOCK_STREAM, IP_V4, "192.0.2.2:8080");
	int other = net_socket(&net, &net.server, SOCK_STREAM, IP_V4, "192.0.2.3:8080");

	(void)state;
	config.relay_mark = (struct conf_mark){0x100, 0xf00};
	set_table();
	must("nft 'table inet users {"
	     " chain in { type filter hook prerouting priority mangle;"
	     "  ip daddr 192.0.2.2 tcp dport 8080 meta mark set meta mark | 0x100; }\n"
	     " chain out { type route hook output priority mangle;"
	     "  ip daddr 192.0.2.2 tcp dport 8080 meta mark set meta mark | 0x100; }\n}'");
	assert_int_equal(goes(&net.client, "192.0.2.2:8080", listener), RELAY);
	assert_int_equal(goes(&net.client, "192.0.2.3:8080", other), SERVER);
	assert_int_equal(goes(NULL, "192.0.2.2:8080", listener), RELAY);
	assert_int_equal(goes(NULL, "192.0.2.3:8080", other), SERVER);
	close(listener);
	close(other);
}

static void by_client(void **state)
{
	int listener = net_socket(&net, &net.server, SOCK_STREAM, IP_V4, "192.0.2.2:8080");
	int listener6 = net_socket(&net, &net.server, SOCK_STREAM, IP_V6, "[2001:db8:1::2]:8080");
	int inside, fd;
	struct ip_prefix from[] = {prefix("10.9.0.2/32")};
	struct conf_mac mac = {{2, 0, 0, 0, 0, 0x99}};
	struct conf_who clients = {.prefixes = {from, 1}};

	(void)state;
	config.relay_clients = &clients;
	set_table();
	assert_int_equal(goes(&net.client, "192.0.2.2:8080", listener), RELAY);
	assert_int_equal(goes(&net.client, "[2001:db8:1::2]:8080", listener6), SERVER);
	assert_int_equal(goes(NULL, "192.0.2.2:8080", listener), SERVER);
	/* To the gateway itself and to another part of the LAN: no business of the relay's. */
	inside = net_socket(&net, NULL, SOCK_STREAM, IP_V4, "10.9.0.1:8081");
	assert_int_equal(goes(&net.client, "10.9.0.1:8081", inside), SERVER);
	close(inside);
	must("ip link add br-x type veth peer name x0; ip link set x0 up; ip link set br-x up; ip "
	     "addr add 10.8.0.1/24 dev br-x");
	fd = net_socket(&net, &net.client, SOCK_STREAM, IP_V4, NULL);
	net_connect(fd, "10.8.0.5:8080");
	assert_int_equal(net_accept(tcp4, 200), -1);
	close(fd);
	must("ip link del br-x");
	net_must(&net.client, "ip link set c0 address 02:00:00:00:00:99");
	/* A fake address is decided by its name. */
	submit(WRITER_NAT_SET, 0, "198.18.0.9", "192.0.2.2", 60);
	{
		int end;

		fd = net_socket(&net, &net.client, SOCK_STREAM, IP_V4, NULL);
		net_connect(fd, "198.18.0.9:8080");
		end = net_accept(listener, LAB_WAIT_MS);
		assert_true(end >= 0);
		assert_int_equal(net_connected(fd, LAB_WAIT_MS), 0);
		net_talk(fd, end);
		close(fd);
		close(end);
	}
	clients = (struct conf_who){.macs = &mac, .n_macs = 1};
	set_table();
	assert_shows("nft list chain inet tungate relay_new", "ether saddr 02:00:00:00:00:99");
	assert_int_equal(goes(&net.client, "192.0.2.2:8080", listener), RELAY);
	assert_int_equal(goes(&net.client, "[2001:db8:1::2]:8080", listener6), RELAY);
	mac.b[5]++;
	set_table();
	assert_int_equal(goes(&net.client, "192.0.2.2:8080", listener), SERVER);
	close(listener);
	close(listener6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lan_and_own_client, setup, teardown),
		cmocka_unit_test_setup_teardown(without_self_and_dns, setup, teardown),
		cmocka_unit_test_setup_teardown(no_listener, setup, teardown),
		cmocka_unit_test_setup_teardown(time_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(behind_a_bridge, setup, teardown),
		cmocka_unit_test_setup_teardown(path_mtu, setup, teardown),
		cmocka_unit_test_setup_teardown(live_ones_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(stray_segment_of_our_own, setup, teardown),
		cmocka_unit_test_setup_teardown(carried_tcp_of_the_lan, setup, teardown),
		cmocka_unit_test_setup_teardown(carried_tcp_of_this_host, setup, teardown),
		cmocka_unit_test_setup_teardown(carried_udp_of_both, setup, teardown),
		cmocka_unit_test_setup_teardown(never_carried, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_listener_as_if_not_here, setup, teardown),
		cmocka_unit_test_setup_teardown(by_mark, setup, teardown),
		cmocka_unit_test_setup_teardown(by_client, setup, teardown),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
