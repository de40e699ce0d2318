/* rt_redirect_ingress: a packet that is written into TUN is, to the rest of the kernel, received on
 * another interface: its hooks see it there, policy sees the interface, the stack forwards it. The
 * way back of held packets stands on this. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "gateway/tun/device.h"
#include "gateway/tun/packet.h"
#include "netlink/rt.h"
#include "tests/platform/netns.h"

static struct rt *rt;
static int inject, wan;

static int setup(void **state)
{
	unsigned from, lan;

	(void)state;
	/* lan0 is a bridge with nobody on it but a port that keeps it up; wan0 is a TUN that we
	 * read. */
	if (tun_device_open("inject0", 1, &inject) != 0 || tun_device_open("wan0", 1, &wan) != 0)
		return -1;
	if (netns_run(
		    "ip link set lo up; ip link set wan0 up; ip link set inject0 up;"
		    "ip link add lan0 type bridge && ip link add port0 type veth peer name far0 &&"
		    "ip link set port0 master lan0 up && ip link set far0 up && ip link set lan0 "
		    "up &&"
		    "ip addr add 192.168.7.1/24 dev lan0 && ip addr add fd07::1/64 dev lan0 nodad "
		    "&&"
		    "ip addr add 10.9.0.1/24 dev wan0 && ip addr add fd09::1/64 dev wan0 nodad") !=
		0)
		return -1;
	/* Strict: the source must be reachable by the interface it seems to come from. */
	if (rt_sysctl_set("ipv4/ip_forward", 1) < 0 ||
		rt_sysctl_set("ipv6/conf/all/forwarding", 1) < 0 ||
		rt_sysctl_set("ipv4/conf/all/rp_filter", 1) < 0)
		return -1;
	if (netns_run("nft 'table inet t {"
		      " chain p { type filter hook prerouting priority raw;"
		      "  iifname inject0 counter name wrong;"
		      "  iifname lan0 meta mark 0 meta pkttype host udp dport 4000 counter name "
		      "right; }\n"
		      " chain f { type filter hook forward priority 0; policy drop;"
		      "  iifname lan0 oifname wan0 accept; }\n"
		      " counter wrong { }\n counter right { }\n}'") != 0)
		return -1;
	if (rt_open(&rt) < 0 || rt_link_index(rt, "inject0", &from) < 0 ||
		rt_link_index(rt, "lan0", &lan) < 0)
		return -1;
	return rt_redirect_ingress(rt, from, lan);
}

static int teardown(void **state)
{
	(void)state;
	rt_close(rt);
	close(inject);
	close(wan);
	return 0;
}

/* A UDP packet with payload "x" from port 3000 to 4000. */
static size_t make_udp(uint8_t *out, const char *from, const char *to)
{
	bool v4 = strchr(from, '.') != NULL;
	size_t ip = v4 ? 20 : 40;
	struct tun_packet p;
	uint16_t sum;

	memset(out, 0, ip);
	memcpy(out + ip, "\x0b\xb8\x0f\xa0\0\x09\0\0x", 9);
	if (v4) {
		memcpy(out, "\x45\0\0\x1d\0\0\x40\0\x40\x11", 10);
		inet_pton(AF_INET, from, out + 12);
		inet_pton(AF_INET, to, out + 16);
		sum = tun_packet_checksum(out, 20);
		memcpy(out + 10, &sum, 2);
	} else {
		memcpy(out, "\x60\0\0\0\0\x09\x11\x40", 8);
		inet_pton(AF_INET6, from, out + 8);
		inet_pton(AF_INET6, to, out + 24);
	}
	assert_int_equal(tun_packet_parse(out, ip + 9, &p), 0);
	tun_packet_checksum_set(&p);
	return ip + 9;
}

/* The next packet on wan0 that is UDP to port 4000; the kernel's own (router solicitations) are
 * passed over. */
static bool wan_receives(uint8_t *buf, struct tun_packet *p)
{
	struct pollfd pfd = {.fd = wan, .events = POLLIN};

	for (int i = 0; i < 50 && poll(&pfd, 1, 30000) == 1; i++) {
		ssize_t n = read(wan, buf, 2000);

		if (n > 0 && tun_packet_parse(buf, (size_t)n, p) == 0 && p->target_port == 4000)
			return true;
	}
	return false;
}

static void forwards(const char *from, const char *to)
{
	uint8_t packet[64], buf[2000];
	size_t len = make_udp(packet, from, to);
	struct tun_packet p;

	assert_int_equal(write(inject, packet, len), len);
	assert_true(wan_receives(buf, &p));
	assert_int_equal(p.len, len);
	assert_int_equal(p.hop_limit, 63); /* it was forwarded, once */
	assert_true(tun_packet_checksum_ok(&p));
	assert_memory_equal(p.data + p.payload, "x", 1);
}

static void forwarded_v4(void **state)
{
	(void)state;
	forwards("192.168.7.2", "10.9.0.2");
}

static void forwarded_v6(void **state)
{
	(void)state;
	forwards("fd07::2", "fd09::2");
}

/* The return path filter judges by lan0, not by inject0, which has no address at all. */
static void spoof_is_filtered(void **state)
{
	uint8_t packet[64], buf[2000];
	size_t len = make_udp(packet, "192.168.66.2", "10.9.0.2");
	struct pollfd pfd = {.fd = wan, .events = POLLIN};
	struct tun_packet p;

	(void)state;
	assert_int_equal(write(inject, packet, len), len);
	while (poll(&pfd, 1, 200) == 1) {
		ssize_t n = read(wan, buf, sizeof buf);

		assert_true(n > 0);
		assert_false(tun_packet_parse(buf, (size_t)n, &p) == 0 && p.target_port == 4000);
	}
}

/* To the host itself: the socket is told that it came in by lan0. */
static void delivered(void **state)
{
	struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons(4000)};
	uint8_t packet[64], data[16], control[64];
	struct iovec iov = {data, sizeof data};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control};
	struct pollfd pfd = {.events = POLLIN};
	size_t len = make_udp(packet, "192.168.7.2", "192.168.7.1");
	struct in_pktinfo info;
	unsigned lan;
	int on = 1;

	(void)state;
	assert_int_equal(rt_link_index(rt, "lan0", &lan), 0);
	pfd.fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(setsockopt(pfd.fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on), 0);
	assert_int_equal(bind(pfd.fd, (struct sockaddr *)&local, sizeof local), 0);
	assert_int_equal(write(inject, packet, len), len);
	assert_int_equal(poll(&pfd, 1, 30000), 1);
	assert_int_equal(recvmsg(pfd.fd, &msg, 0), 1);
	assert_non_null(CMSG_FIRSTHDR(&msg));
	memcpy(&info, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof info);
	assert_int_equal(info.ipi_ifindex, lan);
	close(pfd.fd);
}

static void hooks_saw_lan(void **state)
{
	(void)state;
	assert_int_equal(netns_run("nft list counter inet t wrong | grep -q 'packets 0 '"), 0);
	assert_int_equal(netns_run("nft list counter inet t right | grep -q 'packets 4 '"), 0);
}

/* A second call changes where to, instead of adding a second filter; what is not there is an error.
 */
static void again(void **state)
{
	unsigned from, to;

	(void)state;
	assert_int_equal(rt_link_index(rt, "inject0", &from), 0);
	assert_int_equal(rt_link_index(rt, "far0", &to), 0);
	assert_int_equal(rt_redirect_ingress(rt, from, to), 0);
	assert_int_equal(
		netns_run("test $(tc filter show dev inject0 ingress | grep -c mirred) = 1"), 0);
	assert_int_equal(netns_run("tc filter show dev inject0 ingress |"
				   " grep -q 'Ingress Redirect to device far0'"),
		0);
	assert_int_equal(rt_redirect_ingress(rt, from, 9999), -ENODEV);
	assert_int_equal(rt_redirect_ingress(rt, 9999, to), -ENODEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forwarded_v4),
		cmocka_unit_test(forwarded_v6),
		cmocka_unit_test(spoof_is_filtered),
		cmocka_unit_test(delivered),
		cmocka_unit_test(hooks_saw_lan),
		cmocka_unit_test(again),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, setup, teardown);
}
