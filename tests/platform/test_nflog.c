/* netlink/nflog.h against the kernel: what a rule with `log group` copies is here at once and
 * whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include "gateway/tun/device.h"
#include "gateway/tun/packet.h"
#include "netlink/nflog.h"
#include "netlink/rt.h"
#include "tests/platform/netns.h"

enum { GROUP = 198, PORT = 4000 };

static struct nflog *n;
static int tun, udp;
static unsigned tun_index;

struct caught {
	int packets;
	uint8_t data[65536];
	size_t len;
	unsigned ifindex;
};
static struct caught caught;

static void catch_packet(void *arg, uint8_t *packet, size_t len, unsigned ifindex)
{
	struct caught *c = arg;

	c->packets++;
	assert_true(len <= sizeof c->data);
	memcpy(c->data, packet, len);
	c->len = len;
	c->ifindex = ifindex;
}

static int setup(void **state)
{
	struct rt *rt = NULL;

	(void)state;
	if (tun_device_open("log0", 1, &tun) != 0)
		return -1;
	if (netns_run("ip link set lo mtu 65536 up; ip link set log0 up; ip addr add 10.9.0.1/24 "
		      "dev log0;"
		      "nft 'table inet t {"
		      " chain p { type filter hook prerouting priority raw;"
		      "  iifname log0 udp dport 4000 log group 198; }\n"
		      " chain o { type filter hook output priority raw;"
		      "  udp dport 4000 log group 198; }\n}'") != 0)
		return -1;
	if (rt_open(&rt) < 0 || rt_link_index(rt, "log0", &tun_index) < 0)
		return -1;
	rt_close(rt);
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	return nflog_open(GROUP, &n);
}

static int teardown(void **state)
{
	(void)state;
	nflog_close(n);
	nflog_close(NULL);
	close(tun);
	close(udp);
	return 0;
}

static void send_own(const char *to, const void *data, size_t len)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(PORT)};

	inet_pton(AF_INET, to, &in.sin_addr);
	assert_int_equal(sendto(udp, data, len, 0, (struct sockaddr *)&in, sizeof in), len);
}

/* Without waiting: the packet is queued before the system call that made it returns. */
static void own_packet(void **state)
{
	struct tun_packet p;

	(void)state;
	memset(&caught, 0, sizeof caught);
	assert_int_equal(nflog_read(n, catch_packet, &caught), 0);
	send_own("10.9.0.2", "hello", 5);
	assert_int_equal(nflog_read(n, catch_packet, &caught), 1);
	assert_int_equal(caught.ifindex, 0);
	assert_int_equal(caught.len, 33);
	assert_int_equal(tun_packet_parse(caught.data, caught.len, &p), 0);
	assert_int_equal(p.target_port, PORT);
	assert_memory_equal(p.data + p.payload, "hello", 5);
	tun_packet_checksum_set(&p);
	assert_true(tun_packet_checksum_ok(&p));
	assert_int_equal(nflog_read(n, catch_packet, &caught), 0);
}

/* The checksum of a packet that was made here and leaves by a device that makes it is not there yet
 * when it is logged: who sends such a packet on has to make it. */
static void own_checksum_is_not_there(void **state)
{
	struct tun_packet p;

	(void)state;
	memset(&caught, 0, sizeof caught);
	send_own("127.0.0.1", "hello", 5);
	assert_int_equal(nflog_read(n, catch_packet, &caught), 1);
	assert_int_equal(tun_packet_parse(caught.data, caught.len, &p), 0);
	assert_false(tun_packet_checksum_ok(&p));
	tun_packet_checksum_set(&p);
	assert_true(tun_packet_checksum_ok(&p));
}

static void received_packet(void **state)
{
	static const uint8_t packet[] = {0x45, 0, 0, 29, 0, 0, 0x40, 0, 64, 17, 0x26, 0xbc, 10, 9,
		0, 2, 10, 9, 0, 1, 0x0b, 0xb8, 0x0f, 0xa0, 0, 9, 0, 0, 'x'};

	(void)state;
	memset(&caught, 0, sizeof caught);
	assert_int_equal(write(tun, packet, sizeof packet), sizeof packet);
	assert_int_equal(nflog_read(n, catch_packet, &caught), 1);
	assert_int_equal(caught.ifindex, tun_index);
	assert_int_equal(caught.len, sizeof packet);
	assert_memory_equal(caught.data, packet, sizeof packet);
}

static void big_packet(void **state)
{
	static uint8_t data[60000];
	struct tun_packet p;

	(void)state;
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 7);
	memset(&caught, 0, sizeof caught);
	send_own("127.0.0.1", data, sizeof data);
	assert_int_equal(nflog_read(n, catch_packet, &caught), 1);
	assert_int_equal(caught.len, sizeof data + 28);
	assert_int_equal(tun_packet_parse(caught.data, caught.len, &p), 0);
	assert_memory_equal(p.data + p.payload, data, sizeof data);
}

static void many_and_overflow(void **state)
{
	static uint8_t data[1400];
	struct pollfd pfd = {.fd = nflog_fd(n), .events = POLLIN};
	int got = 0, r;

	(void)state;
	for (int i = 0; i < 100; i++)
		send_own("127.0.0.1", data, 10);
	assert_int_equal(
		nflog_read(n, catch_packet, &caught), 64); /* at most, and the rest stays */
	assert_int_equal(nflog_read(n, catch_packet, &caught), 36);
	for (int i = 0; i < 20000; i++)
		send_own("127.0.0.1", data, sizeof data);
	while (poll(&pfd, 1, 0) == 1) {
		r = nflog_read(n, catch_packet, &caught);
		assert_true(r >= 0);
		got += r;
	}
	assert_true(got > 100 && got < 20000);
	send_own("127.0.0.1", data, 10);
	assert_int_equal(nflog_read(n, catch_packet, &caught), 1);
}

static void taken_group(void **state)
{
	struct nflog *second = NULL;

	(void)state;
	assert_int_equal(nflog_open(GROUP, &second), -EBUSY);
	assert_null(second);
	assert_int_equal(nflog_open(GROUP + 1, &second), 0);
	nflog_close(second);
	assert_int_equal(nflog_open(GROUP + 1, &second), 0);
	nflog_close(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_packet),
		cmocka_unit_test(own_checksum_is_not_there),
		cmocka_unit_test(received_packet),
		cmocka_unit_test(big_packet),
		cmocka_unit_test(many_and_overflow),
		cmocka_unit_test(taken_group),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, setup, teardown);
}
