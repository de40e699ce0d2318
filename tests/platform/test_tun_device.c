/* gateway/tun/device.h against the kernel: what it opens is new, ours alone, and gone with us; its
 * errors tell apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "gateway/tun/device.h"
#include "tests/platform/netns.h"

static void queues(void **state)
{
	int fds[4];

	(void)state;
	assert_int_equal(tun_device_open("tq0", 4, fds), 0);
	assert_true(if_nametoindex("tq0") > 0);
	for (int i = 0; i < 4; i++) {
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		assert_false(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
	}
	/* The device lives as long as one queue does. */
	close(fds[0]);
	close(fds[1]);
	close(fds[2]);
	assert_true(if_nametoindex("tq0") > 0);
	close(fds[3]);
	assert_int_equal(if_nametoindex("tq0"), 0);
}

/* A packet in each direction, without anything in front of it. */
static void plain_packets(void **state)
{
	static const uint8_t echo[] = {0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 1, 0x26, 0xcd, 10, 9, 0,
		2, 10, 9, 0, 1, 8, 0, 0xf7, 0xfe, 0, 1, 0, 0};
	uint8_t buf[2000];
	ssize_t n;
	int fd;

	(void)state;
	assert_int_equal(tun_device_open("tp0", 1, &fd), 0);
	assert_int_equal(write(fd, echo, sizeof echo), -1); /* it is down */
	assert_int_equal(errno, EIO);
	assert_int_equal(netns_run("sysctl -qw net.ipv6.conf.tp0.disable_ipv6=1;"
				   "ip addr add 10.9.0.1/24 dev tp0; ip link set tp0 up"),
		0);
	assert_int_equal(write(fd, echo, sizeof echo), sizeof echo);
	assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 30000), 1);
	n = read(fd, buf, sizeof buf);
	assert_int_equal(n, 28);
	assert_int_equal(buf[0], 0x45);
	assert_int_equal(buf[20], 0); /* echo reply */
	close(fd);
}

static void taken_name(void **state)
{
	int first[2], second[2] = {-1, -1};

	(void)state;
	assert_int_equal(tun_device_open("tt0", 2, first), 0);
	assert_int_equal(tun_device_open("tt0", 1, second), -EBUSY);
	assert_int_equal(tun_device_open("lo", 1, second), -EBUSY);
	assert_int_equal(netns_run("ip tuntap add dev tt1 mode tun multi_queue"), 0);
	assert_int_equal(tun_device_open("tt1", 1, second), -EBUSY); /* persistent, nobody on it */
	assert_int_equal(second[0], -1);
	close(first[0]);
	close(first[1]);
	assert_int_equal(tun_device_open("tt0", 1, second), 0);
	close(second[0]);
}

static void bad_arguments(void **state)
{
	int fds[TUN_QUEUES_MAX + 1];

	(void)state;
	assert_int_equal(tun_device_open("", 1, fds), -EINVAL);
	assert_int_equal(tun_device_open("..", 1, fds), -EINVAL);
	assert_int_equal(tun_device_open("a/b", 1, fds), -EINVAL);
	assert_int_equal(tun_device_open("a b", 1, fds), -EINVAL);
	assert_int_equal(tun_device_open("tun%d", 1, fds), -EINVAL);
	assert_int_equal(tun_device_open("sixteen-letters-", 1, fds), -EINVAL);
	assert_int_equal(tun_device_open("tb0", 0, fds), -EINVAL);
	assert_int_equal(tun_device_open("tb0", TUN_QUEUES_MAX + 1, fds), -EINVAL);
	assert_int_equal(tun_device_open("fifteen-letters", 1, fds), 0);
	close(fds[0]);
}

/* Runs in a child what changes the process for good; its result is the child's. */
static int in_child(int (*work)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(-work() & 0xff);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static int without_rights(void)
{
	int fd;

	return setgid(65534) || setuid(65534) ? 0 : tun_device_open("te0", 1, &fd);
}

static int without_node(void)
{
	int fd;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("none", "/dev/net", "tmpfs", 0, NULL))
		return 0;
	return tun_device_open("te0", 1, &fd);
}

/* The third queue cannot be had: the device must not stay behind with two. */
static int with_two_descriptors(void)
{
	struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
	int fds[4], r, last;

	if (setrlimit(RLIMIT_NOFILE, &limit))
		return 0;
	do {
		last = dup(0);
	} while (last >= 0 && last < 61);
	r = tun_device_open("te1", 4, fds);
	return if_nametoindex("te1") ? 0 : r;
}

static void errors(void **state)
{
	int r = in_child(without_rights);

	(void)state;
	assert_true(r == -EPERM || r == -EACCES);
	assert_int_equal(in_child(without_node), -ENOENT);
	assert_int_equal(in_child(with_two_descriptors), -EMFILE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queues),
		cmocka_unit_test(plain_packets),
		cmocka_unit_test(taken_name),
		cmocka_unit_test(bad_arguments),
		cmocka_unit_test(errors),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
