/* A LAN, a gateway and a server in three network namespaces, for tests that send real traffic
 * through our table. The test's thread lives in the gateway's; sockets of the others are made by
 * going there for a moment.
 *
 *   client 10.9.0.2 ── lan0 10.9.0.1 [gateway] wan0 192.0.2.1 ── 192.0.2.2 server
 *          fd99::2         fd99::1           2001:db8:1::1      2001:db8:1::2, fd77::2
 *          2001:db8:9::2                     fd77::1
 *
 * The server knows the way back to the LAN, so that a source that was rewritten shows. */
#ifndef TUNGATE_TESTS_NET_LAB_H
#define TUNGATE_TESTS_NET_LAB_H

#include "tests/platform/nft_lab.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "gateway/tun/device.h"
#include "gateway/tun/packet.h"

/* A first packet that is lost comes again after one second, and after three. */
#define LAB_WAIT_MS 30000

struct net_place {
	pid_t holder; /* keeps the namespace */
	int fd;
};

struct net_lab {
	int home, tun;
	struct net_place client, server;
	int raw4, raw6; /* put back what was held */
};

static inline void net_place_new(struct net_place *p)
{
	char path[64];
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	p->holder = fork();
	assert_true(p->holder >= 0);
	if (p->holder == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) != 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	snprintf(path, sizeof path, "/proc/%d/ns/net", (int)p->holder);
	p->fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(p->fd >= 0);
}

static inline void net_place_free(struct net_place *p)
{
	kill(p->holder, SIGKILL);
	waitpid(p->holder, NULL, 0);
	close(p->fd);
}

static inline void net_must(const struct net_place *p, const char *command)
{
	char line[1024];

	snprintf(line, sizeof line, "nsenter -t %d -n sh -ec '%s'", (int)p->holder, command);
	must(line);
}

static inline int net_raw(int family)
{
	uint32_t mark = LAB_MARK | LAB_MARK_TUN | LAB_MARK_TPROXY;
	int on = 1, fd = socket(family, SOCK_RAW, IPPROTO_RAW);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark), 0);
	if (family == AF_INET6)
		assert_int_equal(setsockopt(fd, SOL_IPV6, IPV6_HDRINCL, &on, sizeof on), 0);
	return fd;
}

static inline void net_lab_links(struct net_lab *n)
{
	static const char no_dad[] =
		"sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0";
	char line[256];

	must(no_dad);
	net_must(&n->client, no_dad);
	net_must(&n->server, no_dad);
	must("ip link set lo up");
	snprintf(line, sizeof line, "ip link add lan0 type veth peer name c0 netns %d",
		(int)n->client.holder);
	must(line);
	snprintf(line, sizeof line, "ip link add wan0 type veth peer name s0 netns %d",
		(int)n->server.holder);
	must(line);
	must("ip link set lan0 up; ip link set wan0 up");
	must("ip addr add 10.9.0.1/24 dev lan0; ip addr add fd99::1/64 dev lan0 nodad;"
	     "ip addr add 2001:db8:9::1/64 dev lan0 nodad");
	must("ip addr add 192.0.2.1/24 dev wan0; ip addr add 2001:db8:1::1/64 dev wan0 nodad;"
	     "ip addr add fd77::1/64 dev wan0 nodad");
	net_must(&n->client, "ip link set lo up; ip link set c0 up; ip addr add 10.9.0.2/24 dev c0;"
			     "ip addr add fd99::2/64 dev c0 nodad;"
			     "ip addr add 2001:db8:9::2/64 dev c0 nodad;"
			     "ip route add default via 10.9.0.1;"
			     "ip -6 route add default via fd99::1");
	net_must(&n->server,
		"ip link set lo up; ip link set s0 up; ip addr add 192.0.2.2/24 dev s0;"
		"ip addr add 192.0.2.3/24 dev s0;"
		"ip addr add 2001:db8:1::2/64 dev s0 nodad; ip addr add fd77::2/64 dev s0 nodad;"
		"ip route add default via 192.0.2.1; ip -6 route add default via 2001:db8:1::1");
}

static inline void net_lab_open(struct net_lab *n)
{
	n->home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(n->home >= 0);
	net_place_new(&n->client);
	net_place_new(&n->server);
	net_lab_links(n);
	assert_int_equal(tun_device_open("tungate0", 1, &n->tun), 0);
	must("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"
	     " net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.tungate0.rp_filter=2"
	     " net.ipv6.conf.tungate0.disable_ipv6=0");
	must("ip link set tungate0 up; ip addr add 198.18.0.1/32 dev tungate0;"
	     "ip addr add fd00:198:18::1/128 dev tungate0 nodad;"
	     "ip route add 198.18.0.0/15 dev tungate0;"
	     "ip -6 route add fd00:198:18::/64 dev tungate0");
	must("for f in -4 -6; do"
	     " ip $f rule add pref 899 fwmark 0x40000000/0x60000000 iif lo goto 902;"
	     " ip $f rule add pref 900 fwmark 0x20000000/0x60000000 lookup 198;"
	     " ip $f route add default dev tungate0 table 198;"
	     " ip $f rule add pref 901 fwmark 0x40000000/0x40000000 lookup 199;"
	     " ip $f rule add pref 902 nop;"
	     " ip $f route add local default dev lo table 199; done");
	n->raw4 = net_raw(AF_INET);
	n->raw6 = net_raw(AF_INET6);
}

static inline void net_lab_close(struct net_lab *n)
{
	net_place_free(&n->client);
	net_place_free(&n->server);
	close(n->tun);
	close(n->raw4);
	close(n->raw6);
	close(n->home);
}

/* --- sockets --- */

/* Bound where `from` says (NULL: not); of the namespace of place (NULL: the gateway). */
static inline int net_socket(struct net_lab *n, const struct net_place *place, int type,
	uint8_t family, const char *from)
{
	struct timeval wait = {.tv_sec = LAB_WAIT_MS / 1000};
	struct sockaddr_storage at;
	int on = 1, fd;

	if (place)
		assert_int_equal(setns(place->fd, CLONE_NEWNET), 0);
	fd = socket(family == IP_V4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
	if (from) {
		struct ip_port p = port(from);
		socklen_t len = ip_port_to_sockaddr(&p, &at);

		if (bind(fd, (struct sockaddr *)&at, len) != 0)
			fail_msg("bind %s: %s", from, strerror(errno));
		if (type == SOCK_STREAM && p.port < 20000)
			assert_int_equal(listen(fd, 64), 0);
	}
	if (place)
		assert_int_equal(setns(n->home, CLONE_NEWNET), 0);
	return fd;
}

/* One of the relay's: transparent, with our mark; UDP tells where a packet was going. A stream
 * listens. */
static inline int net_relay_socket(int type, const char *at)
{
	struct timeval wait = {.tv_sec = LAB_WAIT_MS / 1000};
	struct ip_port p = port(at);
	bool v4 = p.addr.family == IP_V4;
	struct sockaddr_storage local;
	socklen_t len = ip_port_to_sockaddr(&p, &local);
	int on = 1, fd = socket(v4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0);
	uint32_t mark = LAB_MARK;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark), 0);
	assert_int_equal(setsockopt(fd, v4 ? SOL_IP : SOL_IPV6,
				 v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, &on, sizeof on),
		0);
	if (type == SOCK_DGRAM)
		assert_int_equal(
			setsockopt(fd, v4 ? SOL_IP : SOL_IPV6,
				v4 ? IP_RECVORIGDSTADDR : IPV6_RECVORIGDSTADDR, &on, sizeof on),
			0);
	if (bind(fd, (struct sockaddr *)&local, len) != 0)
		fail_msg("bind %s: %s", at, strerror(errno));
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 64), 0);
	return fd;
}

/* Begins to connect, without waiting for it. */
static inline void net_connect(int fd, const char *to)
{
	struct ip_port p = port(to);
	struct sockaddr_storage at;
	socklen_t len = ip_port_to_sockaddr(&p, &at);
	int flags = fcntl(fd, F_GETFL);

	assert_int_equal(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
	if (connect(fd, (struct sockaddr *)&at, len) != 0)
		assert_int_equal(errno, EINPROGRESS);
	assert_int_equal(fcntl(fd, F_SETFL, flags), 0);
}

/* 0, or the errno that ended it; -ETIMEDOUT: nothing within wait_ms. */
static inline int net_connected(int fd, int wait_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int error = 0;
	socklen_t len = sizeof error;

	if (poll(&p, 1, wait_ms) != 1)
		return -ETIMEDOUT;
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
	return -error;
}

/* -1: nobody came within wait_ms. */
static inline int net_accept(int listener, int wait_ms)
{
	struct timeval wait = {.tv_sec = LAB_WAIT_MS / 1000};
	struct pollfd p = {.fd = listener, .events = POLLIN};
	int fd;

	if (poll(&p, 1, wait_ms) != 1)
		return -1;
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
	return fd;
}

static inline const char *net_local(int fd)
{
	static char text[IP_TEXT_MAX];
	struct sockaddr_storage at;
	socklen_t len = sizeof at;
	struct ip_port p;

	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	ip_port_from_sockaddr((struct sockaddr *)&at, &p);
	return ip_port_format(&p, text);
}

/* Its address, without the port. */
static inline const char *net_peer(int fd)
{
	static char text[IP_TEXT_MAX];
	struct sockaddr_storage at;
	socklen_t len = sizeof at;
	struct ip_port p;

	assert_int_equal(getpeername(fd, (struct sockaddr *)&at, &len), 0);
	ip_port_from_sockaddr((struct sockaddr *)&at, &p);
	return ip_addr_format(&p.addr, text);
}

/* Data both ways, more than a segment. */
static inline void net_talk(int a, int b)
{
	static uint8_t out[30000], in[30000];
	const int pairs[2][2] = {{a, b}, {b, a}};

	for (int i = 0; i < 2; i++) {
		memset(out, 'a' + i, sizeof out);
		memset(in, 0, sizeof in);
		assert_int_equal(send(pairs[i][0], out, sizeof out, MSG_DONTWAIT), sizeof out);
		assert_int_equal(recv(pairs[i][1], in, sizeof in, MSG_WAITALL), sizeof in);
		assert_memory_equal(in, out, sizeof in);
	}
}

static inline void net_send(int fd, const char *to, const char *text)
{
	struct ip_port p = port(to);
	struct sockaddr_storage at;
	socklen_t len = ip_port_to_sockaddr(&p, &at);

	if (sendto(fd, text, strlen(text), 0, (struct sockaddr *)&at, len) != (ssize_t)strlen(text))
		fail_msg("sendto %s: %s", to, strerror(errno));
}

/* A datagram: its text, and from where and to where it was sent; "" and no addresses within
 * wait_ms. */
struct net_datagram {
	char text[64], from[IP_TEXT_MAX], to[IP_TEXT_MAX];
};
static inline struct net_datagram net_receive(int fd, int wait_ms)
{
	struct net_datagram d = {0};
	_Alignas(struct cmsghdr) char control[256];
	struct sockaddr_storage from;
	struct iovec iov = {d.text, sizeof d.text - 1};
	struct msghdr m = {.msg_name = &from,
		.msg_namelen = sizeof from,
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct ip_port at;

	if (poll(&p, 1, wait_ms) != 1 || recvmsg(fd, &m, 0) < 0)
		return d;
	ip_port_from_sockaddr((struct sockaddr *)&from, &at);
	ip_port_format(&at, d.from);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if ((c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVORIGDSTADDR) ||
			(c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVORIGDSTADDR)) {
			struct sockaddr_storage to;

			memcpy(&to, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
			ip_port_from_sockaddr((struct sockaddr *)&to, &at);
			ip_port_format(&at, d.to);
		}
	}
	return d;
}

/* --- the daemon's part --- */

/* The next packet for a pool that came to TUN (IPv6's own chatter is passed over); false: none
 * within wait_ms. */
static inline bool net_tun_read(
	struct net_lab *n, uint8_t *buf, size_t size, struct tun_packet *ret, int wait_ms)
{
	static const struct ip_prefix pool4 = {
		.addr = {.b = {198, 18}, .family = IP_V4}, .len = 15};
	static const struct ip_prefix pool6 = {
		.addr = {.b = {0xfd, 0, 1, 0x98, 0, 0x18}, .family = IP_V6}, .len = 64};
	struct pollfd p = {.fd = n->tun, .events = POLLIN};

	while (poll(&p, 1, wait_ms) == 1) {
		ssize_t len = read(n->tun, buf, size);
		struct ip_addr to;

		assert_true(len > 0);
		if (tun_packet_parse(buf, (size_t)len, ret) != 0)
			continue;
		to = tun_packet_target(ret);
		if (ip_prefix_contains(&pool4, &to) || ip_prefix_contains(&pool6, &to))
			return true;
	}
	return false;
}

static inline void assert_tun_silent(struct net_lab *n)
{
	struct tun_packet p;
	uint8_t buf[2048];

	if (net_tun_read(n, buf, sizeof buf, &p, 100))
		fail_msg("a packet of protocol %u came to TUN, port %u to %u", p.protocol,
			p.source_port, p.target_port);
}

/* The SYN that was held goes back, over the raw socket. */
static inline void net_put_back(struct net_lab *n, const struct tun_packet *p)
{
	struct ip_port to = {.addr = tun_packet_target(p)};
	struct sockaddr_storage at;
	socklen_t len = ip_port_to_sockaddr(&to, &at);

	tun_packet_checksum_set(p);
	assert_int_equal(sendto(p->family == IP_V4 ? n->raw4 : n->raw6, p->data, p->len, 0,
				 (struct sockaddr *)&at, len),
		p->len);
}

/* A SYN comes to TUN and is put back. */
static inline void net_relay_syn(struct net_lab *n)
{
	struct tun_packet p;
	struct tun_tcp tcp;
	uint8_t buf[2048];

	assert_true(net_tun_read(n, buf, sizeof buf, &p, LAB_WAIT_MS));
	assert_true(tun_packet_tcp(&p, &tcp));
	assert_int_equal(tcp.flags & (TUN_TCP_SYN | TUN_TCP_ACK | TUN_TCP_RST), TUN_TCP_SYN);
	net_put_back(n, &p);
}

#endif
