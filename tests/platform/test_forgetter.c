/* netlink/forgetter.h against the kernel: which flows go, and which stay. */
#include "tests/platform/nft_lab.h"

#include <time.h>

#include "gateway/base/clock.h"
#include "netlink/forgetter.h"

static struct forgetter *f;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(forgetter_new(&f), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	forgetter_free(f);
	must("conntrack -F 2>/dev/null");
	return 0;
}

static void flow(const char *protocol, const char *from, const char *to, const char *more)
{
	char line[256];

	snprintf(line, sizeof line, "conntrack -I -p %s -t 600 -s %s -d %s %s", protocol, from, to,
		more);
	must(line);
}

static void udp(const char *from, const char *to, int source_port)
{
	char more[64];

	snprintf(more, sizeof more, "--sport %d --dport 443", source_port);
	flow("udp", from, to, more);
}

static int n_flows(const char *from, const char *to)
{
	char line[256];

	snprintf(line, sizeof line, "conntrack -L %s -s %s -d %s 2>/dev/null | wc -l",
		strchr(from, ':') ? "-f ipv6" : "", from, to);
	return atoi(output(line, NULL));
}

static void submit(const char *client, const char *at)
{
	struct ip_addr a = address(client), b = address(at);

	forgetter_submit(f, &a, &b);
}

static struct forgetter_stats stats(void)
{
	struct forgetter_stats s;

	forgetter_stats(f, &s);
	return s;
}

static void wait_for_flows(uint64_t n)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	for (int64_t end_ms = clock_ms() + 60000; clock_ms() < end_ms && stats().flows < n;)
		nanosleep(&ms, NULL);
	assert_int_equal(stats().flows, n);
	assert_int_equal(stats().errors, 0);
}

static void one_pair(void **state)
{
	(void)state;
	udp("10.9.0.2", "192.0.2.7", 1000);
	udp("10.9.0.2", "192.0.2.7", 1001);
	flow("tcp", "10.9.0.2", "192.0.2.7", "--sport 1000 --dport 443 --state ESTABLISHED");
	flow("icmp", "10.9.0.2", "192.0.2.7", "--icmp-type 8 --icmp-code 0 --icmp-id 7");
	flow("udp", "10.9.0.2", "192.0.2.7", "--sport 1000 --dport 443 -w 5");
	flow("udp", "10.9.0.2", "192.0.2.7", "--sport 1002 --dport 443 -g 192.0.2.99");
	udp("10.9.0.3", "192.0.2.7", 1000);
	udp("10.9.0.2", "192.0.2.8", 1000);
	udp("192.0.2.7", "10.9.0.2", 1000);
	submit("10.9.0.2", "192.0.2.7");
	wait_for_flows(6);
	assert_int_equal(n_flows("10.9.0.2", "192.0.2.7"), 0);
	assert_int_equal(n_flows("10.9.0.3", "192.0.2.7"), 1);
	assert_int_equal(n_flows("10.9.0.2", "192.0.2.8"), 1);
	assert_int_equal(n_flows("192.0.2.7", "10.9.0.2"), 1);
	assert_int_equal(stats().asked, 1);
}

static void one_pair_of_ipv6(void **state)
{
	(void)state;
	udp("fd99::2", "2001:db8::7", 1000);
	flow("tcp", "fd99::2", "2001:db8::7", "--sport 1000 --dport 443 --state ESTABLISHED");
	udp("fd99::3", "2001:db8::7", 1000);
	udp("fd99::2", "2001:db8::8", 1000);
	submit("fd99::2", "2001:db8::7");
	wait_for_flows(2);
	assert_int_equal(n_flows("fd99::2", "2001:db8::7"), 0);
	assert_int_equal(n_flows("fd99::3", "2001:db8::7"), 1);
	assert_int_equal(n_flows("fd99::2", "2001:db8::8"), 1);
}

static void fill(void)
{
	char from[32], to[32];

	for (int client = 2; client <= 4; client++) {
		for (int i = 1; i <= 3; i++) {
			snprintf(from, sizeof from, "10.9.0.%d", client);
			snprintf(to, sizeof to, "192.0.2.%d", i);
			udp(from, to, 1000);
		}
		snprintf(from, sizeof from, "fd99::%d", client);
		udp(from, "2001:db8::1", 1000);
	}
}

/* What waits while the thread looks is looked for at once: whatever the pairs have in common. */
static void many_pairs(void **state)
{
	(void)state;
	fill();
	submit("10.9.0.2", "192.0.2.1");
	submit("10.9.0.2", "192.0.2.2");
	submit("10.9.0.2", "192.0.2.2");
	wait_for_flows(2);
	submit("10.9.0.3", "192.0.2.3");
	submit("10.9.0.4", "192.0.2.3");
	wait_for_flows(4);
	submit("10.9.0.3", "192.0.2.1");
	submit("fd99::3", "2001:db8::1");
	submit("10.9.0.4", "192.0.2.2");
	submit("10.9.0.4", "192.0.2.77");
	submit("fd99::4", "2001:db8::1");
	wait_for_flows(8);
	assert_int_equal(n_flows("10.9.0.2", "192.0.2.3"), 1);
	assert_int_equal(n_flows("10.9.0.3", "192.0.2.2"), 1);
	assert_int_equal(n_flows("10.9.0.4", "192.0.2.1"), 1);
	assert_int_equal(n_flows("fd99::2", "2001:db8::1"), 1);
	assert_int_equal(atoi(output("conntrack -C", NULL)), 4);
	/* No pair at all. */
	submit("10.9.0.2", "2001:db8::1");
	submit("fd99::2", "192.0.2.3");
	assert_int_equal(stats().asked, 10);
}

#define N_LARGE 8000

static void fill_large(void)
{
	char line[512];

	snprintf(line, sizeof line,
		"seq 0 %d | awk '{ printf \"-I -p udp -t 600 -s 10.8.%%d.%%d -d 192.0.2.%%d"
		" --sport 1 --dport 2\\n\", $1 / 250, $1 %% 250,"
		" $1 %% 5 + 1 }' > /tmp/tg-fg-$$;"
		" conntrack -R /tmp/tg-fg-$$; s=$?; rm /tmp/tg-fg-$$; exit $s",
		N_LARGE - 1);
	must(line);
}

/* What is asked while the thread is busy waits, and what is too much is dropped and counted; the
 * rest is done. */
static void queue_is_bounded(void **state)
{
	struct ip_addr client = address("10.9.0.2"), at = address("192.0.2.1");
	struct forgetter_stats s;
	uint64_t n = 0;

	(void)state;
	fill_large();
	while (stats().dropped == 0 && n < 100000000) {
		at.b[1] = (uint8_t)(++n);
		at.b[2] = (uint8_t)(n >> 8);
		forgetter_submit(f, &client, &at);
	}
	s = stats();
	assert_int_equal(s.asked, n);
	assert_int_equal(s.dropped, 1);
	assert_true(n > FORGETTER_QUEUE_MAX);
	/* Every pair of a full queue is found again. */
	for (int i = 0; i < N_LARGE; i++) {
		do {
			s = stats();
			client.b[1] = 8;
			client.b[2] = (uint8_t)(i / 250);
			client.b[3] = (uint8_t)(i % 250);
			at = address("192.0.2.0");
			at.b[3] = (uint8_t)(i % 5 + 1);
			forgetter_submit(f, &client, &at);
		} while (stats().dropped != s.dropped && usleep(1000) == 0);
	}
	wait_for_flows(N_LARGE);
	assert_int_equal(atoi(output("conntrack -C", NULL)), 0);
}

static void stops_while_busy(void **state)
{
	int64_t began_ms;

	(void)state;
	fill_large();
	for (int i = 0; i < 5; i++) {
		submit("10.8.0.1", "192.0.2.1");
		submit("10.8.0.2", "192.0.2.2");
		usleep((unsigned)i * 500);
		began_ms = clock_ms();
		forgetter_free(f);
		assert_in_range(clock_ms() - began_ms, 0, 30000); /* not all is read */
		assert_int_equal(forgetter_new(&f), 0);
	}
	assert_int_equal(atoi(output("conntrack -C", NULL)), N_LARGE);
}

static void nothing_of_nothing(void **state)
{
	struct forgetter_stats s = {.asked = 1, .flows = 1, .dropped = 1, .errors = 1};

	(void)state;
	forgetter_stats(NULL, &s);
	assert_true(!s.asked && !s.flows && !s.dropped && !s.errors);
	forgetter_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_pair, setup, teardown),
		cmocka_unit_test_setup_teardown(one_pair_of_ipv6, setup, teardown),
		cmocka_unit_test_setup_teardown(many_pairs, setup, teardown),
		cmocka_unit_test_setup_teardown(queue_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(stops_while_busy, setup, teardown),
		cmocka_unit_test(nothing_of_nothing),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
