/* netlink/conntrack.h against the kernel: flows of both families, found, told apart and forgotten;
 * with no more right than CAP_NET_ADMIN. */
#include "tests/platform/nft_lab.h"

#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "netlink/conntrack.h"

static struct conntrack *c;
static struct ip_prefix pool4, pool6;

static int setup(void **state)
{
	(void)state;
	pool4 = prefix("198.18.0.0/15");
	pool6 = prefix("fd00:198:18::/64");
	assert_int_equal(conntrack_open(&c), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	conntrack_close(c);
	must("conntrack -F");
	return 0;
}

/* nat: where the kernel sends it; NULL: nowhere else. */
static void flow(const char *from, const char *to, const char *nat)
{
	char line[256];

	snprintf(line, sizeof line,
		"conntrack -I -p udp -t 600 -s %s -d %s --sport 1000 --dport 53 %s %s", from, to,
		nat ? "-g" : "", nat ? nat : "");
	must(line);
}

struct seen {
	int n;
	struct ip_addr v[16];
};

static void see(void *arg, const struct ip_addr *target)
{
	struct seen *s = arg;

	s->v[s->n++ % 16] = *target;
}

static bool was_seen(const struct seen *s, const char *text)
{
	struct ip_addr a = address(text);

	for (int i = 0; i < s->n; i++) {
		if (ip_addr_equal(&s->v[i], &a))
			return true;
	}
	return false;
}

static int has(const char *text)
{
	struct ip_addr a = address(text);

	return conntrack_has(c, &a);
}

static int forget(const char *from, const char *to)
{
	struct ip_port source = port(from), target = port(to);

	return conntrack_forget(c, IPPROTO_UDP, &source, &target);
}

static void fill(void)
{
	flow("10.9.0.2", "198.18.0.9", "192.0.2.1");
	flow("10.9.0.3", "198.18.0.9", "192.0.2.1");
	flow("10.9.0.2", "198.19.255.1", "192.0.2.2");
	flow("10.9.0.2", "192.0.2.7", "192.0.2.3");
	flow("10.9.0.2", "198.18.0.66", NULL); /* the relay's, or lost */
	flow("fd99::2", "fd00:198:18::9", "2001:db8::1");
	flow("fd99::2", "fd00:198:19::9", "2001:db8::1");
	flow("fd99::2", "fd00:198:18::66", NULL);
	/* As a reply's source only. */
	must("conntrack -I -p udp -t 600 -s 10.9.0.2 -d 192.0.2.9 -r 198.18.0.77 -q 10.9.0.2"
	     " --sport 1000 --dport 53 --reply-port-src 53 --reply-port-dst 1000");
}

static void finds_and_forgets(void **state)
{
	static const struct ip_prefix none;
	struct seen s = {0};

	(void)state;
	assert_int_equal(conntrack_each(c, &pool4, &pool6, see, &s), 0);
	assert_int_equal(s.n, 0);
	assert_int_equal(has("198.18.0.9"), 0);
	fill();
	assert_int_equal(conntrack_each(c, &pool4, &pool6, see, &s), 0);
	assert_int_equal(s.n, 4);
	assert_true(was_seen(&s, "198.18.0.9"));
	assert_true(was_seen(&s, "198.19.255.1"));
	assert_true(was_seen(&s, "fd00:198:18::9"));
	s.n = 0;
	assert_int_equal(conntrack_each(c, &none, &pool6, see, &s), 0);
	assert_int_equal(s.n, 1);
	assert_int_equal(has("198.18.0.9"), 1);
	assert_int_equal(has("198.18.0.10"), 0);
	assert_int_equal(has("198.18.0.77"), 0);
	assert_int_equal(has("198.18.0.66"), 0);
	assert_int_equal(has("fd00:198:18::66"), 0);
	assert_int_equal(has("fd00:198:18::9"), 1);
	assert_int_equal(has("fd00:198:18::a"), 0);
	assert_int_equal(forget("10.9.0.2:1000", "198.18.0.9:53"), 0);
	assert_int_equal(has("198.18.0.9"), 1); /* the other client's */
	assert_int_equal(forget("10.9.0.3:1001", "198.18.0.9:53"), 0);
	assert_int_equal(has("198.18.0.9"), 1);
	assert_int_equal(forget("10.9.0.3:1000", "198.18.0.9:53"), 0);
	assert_int_equal(has("198.18.0.9"), 0);
	assert_int_equal(forget("[fd99::2]:1000", "[fd00:198:18::9]:53"), 0);
	assert_int_equal(has("fd00:198:18::9"), 0);
	assert_int_equal(has("192.0.2.7"), 1);
}

#define N_MANY 3000

/* More than one datagram of an answer holds. */
static void many(void **state)
{
	struct seen s = {0};
	char line[256];

	(void)state;
	snprintf(line, sizeof line,
		"i=0; while [ $i -lt %d ]; do"
		" echo \"-I -p udp -t 600 -s 10.9.0.2 -d 198.18.$((i / 250)).$((i %% 250))"
		" --sport 1 --dport 2 -g 192.0.$((i / 250)).$((i %% 250))\"; i=$((i + 1)); done > "
		"/tmp/tg-ct-$$;"
		" conntrack -R /tmp/tg-ct-$$; s=$?; rm /tmp/tg-ct-$$; exit $s",
		N_MANY);
	must(line);
	assert_int_equal(conntrack_each(c, &pool4, &pool6, see, &s), 0);
	assert_int_equal(s.n, N_MANY);
	assert_int_equal(has("198.18.11.249"), 1);
	assert_int_equal(has("198.18.11.250"), 0);
}

static int drop_to(uint64_t capabilities)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].permitted = (uint32_t)(capabilities >> 32 * i);
	return (int)syscall(SYS_capset, &header, data);
}

static int in_child(uint64_t capabilities)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		struct conntrack *own;
		struct ip_addr a = address("198.18.0.9");
		int r = drop_to(capabilities) ? 100 : -conntrack_open(&own);

		if (r == 0)
			r = conntrack_has(own, &a) == 1 ? 0 : 101;
		_exit(r);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void needs_no_more_than_net_admin(void **state)
{
	(void)state;
	flow("10.9.0.2", "198.18.0.9", "192.0.2.1");
	assert_int_equal(in_child(1ULL << CAP_NET_ADMIN), 0);
	assert_int_equal(in_child(0), EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(finds_and_forgets, setup, teardown),
		cmocka_unit_test_setup_teardown(many, setup, teardown),
		cmocka_unit_test_setup_teardown(needs_no_more_than_net_admin, setup, teardown),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
