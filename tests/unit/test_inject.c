/* Packets written by hand, in a network namespace of this process: where they come out. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "gateway/carry/inject.h"
#include "gateway/tun/packet.h"

#define MARK	 0x10000000u
#define TO_RELAY 0x20000000u
#ifndef SO_RCVMARK
#define SO_RCVMARK 75
#endif
#define PORT 4053
#define LO   1

static bool has_namespace;

struct world {
	struct inject *inject;
	struct rt *rt;
	int tun[2]; /* the worker's queue, and what came out of it */
	int udp4, udp6;
};

static int listener(const char *address)
{
	struct ip_port at = {.port = PORT};
	struct sockaddr_storage sa;
	socklen_t len;
	int fd;

	assert_int_equal(ip_addr_parse(address, &at.addr), 0);
	len = ip_port_to_sockaddr(&at, &sa);
	fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	return fd;
}

static int open_world(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	*state = w;
	if (!has_namespace)
		return 0;
	assert_int_equal(inject_new(MARK, TO_RELAY, &w->inject), 0);
	assert_int_equal(rt_open(&w->rt), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, w->tun), 0);
	w->udp4 = listener("127.0.0.1");
	w->udp6 = listener("::1");
	return 0;
}

static int close_world(void **state)
{
	struct world *w = *state;

	if (has_namespace) {
		inject_free(w->inject);
		rt_close(w->rt);
		close(w->tun[0]);
		close(w->tun[1]);
		close(w->udp4);
		close(w->udp6);
	}
	free(w);
	return 0;
}

/* A datagram "hello" to PORT of the loop-back address, from 127.0.0.9 or ::1. */
static size_t build(uint8_t *packet, bool v6)
{
	size_t ip = v6 ? 40 : 20, len = ip + 8 + 5;
	struct tun_packet p;
	uint16_t sum;

	memset(packet, 0, len);
	packet[ip] = 4001 >> 8;
	packet[ip + 1] = 4001 & 255;
	packet[ip + 2] = PORT >> 8;
	packet[ip + 3] = PORT & 255;
	packet[ip + 5] = 13;
	memcpy(packet + ip + 8, "hello", 5);
	if (v6) {
		packet[0] = 0x60;
		packet[5] = 13;
		packet[6] = 17;
		packet[7] = 64;
		packet[23] = packet[39] = 1;
	} else {
		packet[0] = 0x45;
		packet[3] = (uint8_t)len;
		packet[8] = 64;
		packet[9] = 17;
		memcpy(packet + 12, "\177\0\0\11\177\0\0\1", 8);
		sum = tun_packet_checksum(packet, 20);
		memcpy(packet + 10, &sum, 2);
	}
	assert_int_equal(tun_packet_parse(packet, len, &p), 0);
	tun_packet_checksum_set(&p);
	return len;
}

/* The same on the LAN: from 10.9.0.9 to 10.9.0.1. */
static size_t build_lan(uint8_t *packet)
{
	size_t len = build(packet, false);
	struct tun_packet p;
	uint16_t sum;

	memcpy(packet + 12, "\12\11\0\11\12\11\0\1", 8);
	packet[10] = packet[11] = 0;
	sum = tun_packet_checksum(packet, 20);
	memcpy(packet + 10, &sum, 2);
	assert_int_equal(tun_packet_parse(packet, len, &p), 0);
	tun_packet_checksum_set(&p);
	return len;
}

#define WAIT_MS 20000

static bool arrives(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char text[16] = "";

	if (poll(&p, 1, WAIT_MS) != 1)
		return false;
	assert_int_equal(recv(fd, text, sizeof text, 0), 5);
	assert_string_equal(text, "hello");
	return true;
}

static void assert_in_tun(struct world *w, const uint8_t *packet, size_t len)
{
	uint8_t came[64];

	assert_int_equal(recv(w->tun[1], came, sizeof came, 0), len);
	assert_memory_equal(came, packet, len);
}

static void assert_not_in_tun(struct world *w)
{
	uint8_t byte;

	assert_int_equal(recv(w->tun[1], &byte, 1, 0), -1);
}

static void packets_of_this_host_go_through_the_raw_socket(void **state)
{
	struct world *w = *state;
	uint8_t packet[64];
	size_t len;

	if (!has_namespace)
		skip();
	len = build(packet, false);
	assert_int_equal(inject_put_back(w->inject, w->tun[0], packet, len, LO, true), 0);
	assert_true(arrives(w->udp4));
	len = build(packet, true);
	assert_int_equal(inject_put_back(w->inject, w->tun[0], packet, len, 0, true), 0);
	assert_true(arrives(w->udp6));
	assert_not_in_tun(w);
}

static void others_go_through_tun(void **state)
{
	struct world *w = *state;
	uint8_t packet[64];
	size_t len;

	if (!has_namespace)
		skip();
	len = build(packet, false);
	for (unsigned ifindex = 0; ifindex < 2; ifindex++) {
		assert_int_equal(
			inject_put_back(w->inject, w->tun[0], packet, len, ifindex, false), 0);
		assert_in_tun(w, packet, len);
		assert_int_equal(inject_error(w->inject, w->tun[0], packet, len, ifindex), 0);
		assert_in_tun(w, packet, len);
	}
	assert_int_equal(inject_from(w->inject, LO, packet, len), -ENODEV);
	assert_int_equal(inject_put_back(w->inject, -1, packet, len, 0, false), -EBADF);
	assert_int_equal(inject_error(w->inject, -1, packet, len, 0), -EBADF);
}

static struct inject_interface interface(unsigned ifindex, const char *prefix)
{
	struct inject_interface it = {.ifindex = ifindex};

	if (prefix) { /* with host bits: not as ip_prefix_parse() takes it */
		assert_int_equal(ip_addr_parse(prefix, &it.prefix.addr), 0);
		it.prefix.len = 8;
	}
	return it;
}

/* false: no TUN or no redirection here. */
static bool set_interfaces(struct world *w, const struct inject_interface *v, size_t n)
{
	int r = inject_set_interfaces(w->inject, w->rt, v, n);

	if (r == -ENOENT || r == -EOPNOTSUPP || r == -EPERM || r == -EACCES)
		return false;
	assert_int_equal(r, 0);
	return true;
}

static void as_if_received_again(void **state)
{
	struct world *w = *state;
	struct inject_interface lan, bare;
	uint8_t packet[64];
	unsigned ifindex;
	char name[16];
	size_t len;
	int udp;

	if (!has_namespace || system("ip link add tlan0 type veth peer name tlan1 && ip link set "
				     "tlan1 up && ip link set tlan0 up && "
				     "ip address add 10.9.0.1/24 dev tlan0"))
		skip();
	ifindex = if_nametoindex("tlan0");
	lan = interface(ifindex, "10.9.0.1");
	bare = interface(ifindex, NULL);
	len = build_lan(packet);
	udp = listener("10.9.0.1");
	if (!set_interfaces(w, &lan, 1))
		skip();
	snprintf(name, sizeof name, "tgin%u", ifindex);
	assert_int_not_equal(if_nametoindex(name), 0);
	/* By interface, by source; and for the probe. */
	assert_int_equal(inject_put_back(w->inject, w->tun[0], packet, len, ifindex, false), 0);
	assert_true(arrives(udp));
	assert_int_equal(inject_put_back(w->inject, w->tun[0], packet, len, 0, false), 0);
	assert_true(arrives(udp));
	assert_int_equal(inject_from(w->inject, ifindex, packet, len), 0);
	assert_true(arrives(udp));
	assert_not_in_tun(w);
	/* An interface without a device of its own. */
	assert_int_equal(inject_put_back(w->inject, w->tun[0], packet, len, ifindex + 7, false), 0);
	assert_in_tun(w, packet, len);
	/* From behind another router: there is but one way. */
	assert_true(set_interfaces(w, &bare, 1));
	assert_int_equal(inject_put_back(w->inject, w->tun[0], packet, len, 0, false), 0);
	assert_true(arrives(udp));
	/* Without the interface its device goes. */
	assert_true(set_interfaces(w, NULL, 0));
	assert_int_equal(if_nametoindex(name), 0);
	assert_int_equal(inject_from(w->inject, ifindex, packet, len), -ENODEV);
	assert_int_equal(inject_put_back(w->inject, w->tun[0], packet, len, 0, false), 0);
	assert_in_tun(w, packet, len);
	close(udp);
}

/* The mark that a datagram has come with, if the kernel tells (5.19). */
static bool arrives_marked(int fd, uint32_t *ret)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	union {
		char bytes[256];
		struct cmsghdr align;
	} control;
	char text[16];
	struct iovec iov = {text, sizeof text};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control};

	if (poll(&p, 1, WAIT_MS) != 1 || recvmsg(fd, &msg, 0) != 5)
		return false;
	*ret = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_MARK)
			memcpy(ret, CMSG_DATA(c), sizeof *ret);
	return true;
}

/* Both by lo; only one of them with the mark that leads to the relay's listener. */
static void by_hand(void **state)
{
	struct world *w = *state;
	uint8_t packet[64];
	int one = 1;

	if (!has_namespace)
		skip();
	for (int v6 = 0; v6 < 2; v6++) {
		int fd = v6 ? w->udp6 : w->udp4;
		bool told = setsockopt(fd, SOL_SOCKET, SO_RCVMARK, &one, sizeof one) == 0;
		size_t len = build(packet, v6);
		uint32_t mark;

		assert_int_equal(inject_raw(w->inject, packet, len), 0);
		assert_true(arrives_marked(fd, &mark));
		assert_int_equal(mark, told ? MARK : 0);
		assert_int_equal(inject_to_relay(w->inject, packet, len), 0);
		assert_true(arrives_marked(fd, &mark));
		assert_int_equal(mark, told ? MARK | TO_RELAY : 0);
	}
	assert_not_in_tun(w);
}

static void errors_by_the_raw_socket(void **state)
{
	struct world *w = *state;
	uint8_t packet[64];
	size_t len;

	if (!has_namespace)
		skip();
	len = build(packet, false);
	inject_set_raw_errors(w->inject, true);
	assert_int_equal(inject_error(w->inject, w->tun[0], packet, len, LO), 0);
	assert_true(arrives(w->udp4));
	assert_not_in_tun(w);
	/* What was read from TUN is answered there. */
	assert_int_equal(inject_error(w->inject, w->tun[0], packet, len, 0), 0);
	assert_in_tun(w, packet, len);
	inject_set_raw_errors(w->inject, false);
	assert_int_equal(inject_error(w->inject, w->tun[0], packet, len, LO), 0);
	assert_in_tun(w, packet, len);
}

static bool namespace_enter(void)
{
	struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd;
	bool ok;

	if (unshare(CLONE_NEWNET))
		return false;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	ok = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &up) == 0;
	close(fd);
	return ok;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(packets_of_this_host_go_through_the_raw_socket),
		TEST(others_go_through_tun),
		TEST(as_if_received_again),
		TEST(by_hand),
		TEST(errors_by_the_raw_socket),
	};

	has_namespace = namespace_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
