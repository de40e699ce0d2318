/* The kernel understands the packets that gateway/tun builds: sockets of this host talk into a TUN
 * device, and what we write back is what they are told. */
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
#include "tests/platform/netns.h"

static int tun;
static uint8_t in[2000], out[2000];

static int setup(void **state)
{
	(void)state;
	if (tun_device_open("ans0", 1, &tun) != 0)
		return -1;
	return netns_run(
		"ip addr add 10.9.0.1/24 dev ans0 && ip addr add fd09::1/64 dev ans0 nodad &&"
		"ip link set ans0 up && ip -6 route get fd09::2 | grep -q ans0");
}

static int teardown(void **state)
{
	(void)state;
	close(tun);
	return 0;
}

/* A non-blocking socket on its way to .2 or ::2, port 4000. */
static int connecting(int family, int type)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(4000)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(4000)};
	int fd = socket(family, type | SOCK_NONBLOCK, 0), on = 1, r;

	assert_true(fd >= 0);
	inet_pton(AF_INET, "10.9.0.2", &in4.sin_addr);
	inet_pton(AF_INET6, "fd09::2", &in6.sin6_addr);
	/* Without it TCP keeps soft errors to itself until it has given up. */
	if (family == AF_INET) {
		assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on), 0);
		r = connect(fd, (struct sockaddr *)&in4, sizeof in4);
	} else {
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on), 0);
		r = connect(fd, (struct sockaddr *)&in6, sizeof in6);
	}
	assert_true(r == 0 || errno == EINPROGRESS);
	return fd;
}

/* The next packet to port 4000; others (router solicitations) are passed over. */
static struct tun_packet next_packet(void)
{
	struct pollfd pfd = {.fd = tun, .events = POLLIN};
	struct tun_packet p = {0};

	for (int i = 0; i < 50 && p.target_port != 4000; i++) {
		ssize_t n;

		assert_int_equal(poll(&pfd, 1, 30000), 1);
		n = read(tun, in, sizeof in);
		assert_true(n > 0);
		if (tun_packet_parse(in, (size_t)n, &p) < 0)
			p.target_port = 0;
	}
	assert_int_equal(p.target_port, 4000);
	assert_true(tun_packet_checksum_ok(&p)); /* through TUN it is always there */
	return p;
}

static int error_of(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	socklen_t len = sizeof(int);
	int error = 0;

	assert_int_equal(poll(&pfd, 1, 30000), 1);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
	return error;
}

static const int families[] = {AF_INET, AF_INET6};

static void reply_arrives(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		int fd = connecting(families[i], SOCK_DGRAM);
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		char data[2000];

		for (size_t n = 0; n < 1400; n += 127) {
			struct tun_packet p;
			size_t len;

			assert_int_equal(send(fd, "question", 8, 0), 8);
			p = next_packet();
			assert_int_equal(p.payload_len, 8);
			memset(out + tun_packet_udp_headroom(&p), 'a', n);
			len = tun_packet_udp_reply(out, &p, n);
			assert_int_equal(write(tun, out, len), len);
			assert_int_equal(poll(&pfd, 1, 30000), 1);
			assert_int_equal(recv(fd, data, sizeof data, 0), n);
			assert_true(n == 0 || (data[0] == 'a' && data[n - 1] == 'a'));
		}
		close(fd);
	}
}

static void reset_refuses(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		int fd = connecting(families[i], SOCK_STREAM);
		struct tun_packet p = next_packet();
		size_t len = tun_packet_tcp_reset(out, &p);

		assert_true(len > 0);
		assert_int_equal(write(tun, out, len), len);
		assert_int_equal(error_of(fd), ECONNREFUSED);
		close(fd);
	}
}

static void errors_are_told(void **state)
{
	static const struct {
		enum tun_error error;
		int v4, v6;
	} cases[] = {
		{TUN_NO_ROUTE, ENETUNREACH, ENETUNREACH},
		{TUN_HOST_UNREACHABLE, EHOSTUNREACH, EHOSTUNREACH},
		{TUN_PROTOCOL_UNREACHABLE, ENOPROTOOPT, EPROTO},
		{TUN_PORT_UNREACHABLE, ECONNREFUSED, ECONNREFUSED},
		{TUN_PROHIBITED, EHOSTUNREACH, EACCES},
		{TUN_TIME_EXCEEDED, EHOSTUNREACH, EHOSTUNREACH},
	};

	(void)state;
	for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
		for (int i = 0; i < 4; i++) {
			int family = families[i % 2];
			int fd = connecting(family, i < 2 ? SOCK_DGRAM : SOCK_STREAM);
			struct tun_packet p;
			size_t len;

			if (i < 2)
				assert_int_equal(send(fd, "question", 8, 0), 8);
			p = next_packet();
			len = tun_packet_icmp_error(out, &p, cases[c].error, NULL, 0);
			assert_true(len > 0);
			assert_int_equal(write(tun, out, len), len);
			assert_int_equal(
				error_of(fd), family == AF_INET ? cases[c].v4 : cases[c].v6);
			close(fd);
		}
	}
}

/* The one that carries a number: the path's MTU is learned from it. */
static void too_big_is_learned(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		int fd = connecting(families[i], SOCK_DGRAM), mtu = 0;
		socklen_t size = sizeof mtu;
		struct tun_packet p;
		char data[1400] = {0};
		size_t len;

		assert_int_equal(send(fd, data, sizeof data, 0), sizeof data);
		p = next_packet();
		len = tun_packet_icmp_error(out, &p, TUN_TOO_BIG, NULL, 1300);
		assert_int_equal(len, i == 0 ? 576 : 1280);
		assert_int_equal(write(tun, out, len), len);
		(void)error_of(fd);
		if (families[i] == AF_INET)
			assert_int_equal(getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &size), 0);
		else
			assert_int_equal(getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &size), 0);
		assert_int_equal(mtu, 1300);
		close(fd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reply_arrives),
		cmocka_unit_test(reset_refuses),
		cmocka_unit_test(errors_are_told),
		cmocka_unit_test(too_big_is_learned),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, setup, teardown);
}
