/* The users' ipsets against the kernel and ipset(8): each type with and without timeouts, what is
 * refused and that it harms nothing else, and filling. Types that this kernel lacks are left out.
 */
#include "tests/platform/nft_lab.h"

#include <linux/netlink.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "netlink/ipset.h"

static struct ipset_writer *w;

static int setup(void **state)
{
	(void)state;
	return ipset_writer_open(&w);
}

static int teardown(void **state)
{
	(void)state;
	ipset_writer_close(w);
	must("ipset destroy");
	return 0;
}

static bool made(const char *name, const char *what)
{
	char command[256];
	int status;

	snprintf(command, sizeof command, "ipset create %s %s", name, what);
	if (!strstr(output(command, &status), "set type not supported"))
		assert_int_equal(status, 0);
	return status == 0;
}

static void make(const char *name, const char *what)
{
	assert_true(made(name, what));
}

static void assert_saved(const char *name, const char *line)
{
	char command[64];

	snprintf(command, sizeof command, "ipset save %s", name);
	assert_shows(command, line);
}

static uint32_t count(const char *name)
{
	struct ipset_kind kind;

	assert_int_equal(ipset_writer_look(w, name, &kind), 0);
	return kind.elements;
}

static int add(const char *name, const char *element)
{
	return ipset_writer_add(w, name, element, 0, false);
}

/* --- types --- */

struct type {
	const char *what;
	uint8_t family, fields;
	uint32_t size;
	const char *element, *saved, *other;
};
static const struct type types[] = {
	{"hash:ip", IP_V4, 1, 65536, "192.0.2.1", "192.0.2.1", "192.0.2.2"},
	{"hash:ip family inet6", IP_V6, 1, 65536, "2001:DB8:0::1", "2001:db8::1", "2001:db8::2"},
	{"hash:ip netmask 24 maxelem 99", IP_V4, 1, 99, "192.0.2.1", "192.0.2.0", "192.0.3.1"},
	{"hash:net", IP_V4, 1, 65536, "192.0.2.1", "192.0.2.1", "192.0.2.2"},
	{"hash:net", IP_V4, 1, 65536, "192.0.2.1/32", "192.0.2.1", "192.0.2.2"},
	{"hash:net", IP_V4, 1, 65536, "192.0.2.0/25", "192.0.2.0/25", "192.0.2.128"},
	{"hash:net family inet6", IP_V6, 1, 65536, "2001:db8::/32", "2001:db8::/32", "fc00::/7"},
	{"bitmap:ip range 192.0.2.0/24", IP_V4, 1, 0, "192.0.2.1", "192.0.2.1", "192.0.2.2"},
	{"bitmap:ip,mac range 192.0.2.0/24", IP_V4, 2, 0, "192.0.2.1,02:00:00:00:00:01",
		"192.0.2.1,02:00:00:00:00:01", "192.0.2.2"},
	{"hash:ip,port", IP_V4, 2, 65536, "192.0.2.1,tcp:443", "192.0.2.1,tcp:443",
		"192.0.2.1,udp:443"},
	{"hash:ip,port family inet6", IP_V6, 2, 65536, "2001:db8::1,icmpv6:128/0",
		"2001:db8::1,ipv6-icmp:echo-request", "2001:db8::1,128"},
	{"hash:ip,port", IP_V4, 2, 65536, "192.0.2.1,53", "192.0.2.1,tcp:53", "192.0.2.1,47:0"},
	{"hash:ip,port,ip", IP_V4, 3, 65536, "192.0.2.1,sctp:9,192.0.2.9",
		"192.0.2.1,sctp:9,192.0.2.9", "192.0.2.9,sctp:9,192.0.2.1"},
	{"hash:ip,port,ip family inet6", IP_V6, 3, 65536, "2001:db8::1,udp:9,2001:db8::9",
		"2001:db8::1,udp:9,2001:db8::9", "2001:db8::1,udp:9,2001:db8::8"},
	{"hash:ip,port,net", IP_V4, 3, 65536, "192.0.2.1,tcp:9,10.0.0.0/8",
		"192.0.2.1,tcp:9,10.0.0.0/8", "192.0.2.1,tcp:9,11.0.0.0/8"},
	{"hash:net,port", IP_V4, 2, 65536, "192.0.2.1,udp:53", "192.0.2.1,udp:53", "0.1.0.0/16,1"},
	{"hash:net,iface", IP_V4, 2, 65536, "192.0.2.1,lan 0", "192.0.2.1,lan 0", "192.0.2.1,lan1"},
	{"hash:net,iface family inet6", IP_V6, 2, 65536, "2001:db8::1,physdev:lan0",
		"2001:db8::1,physdev:lan0", "2001:db8::1,lan0"},
	{"hash:ip,mark", IP_V4, 2, 65536, "192.0.2.1,0x10", "192.0.2.1,0x00000010", "192.0.2.1,1"},
	{"hash:ip,mac", IP_V4, 2, 65536, "192.0.2.1,02:00:00:00:00:01",
		"192.0.2.1,02:00:00:00:00:01", "192.0.2.1,02:00:00:00:00:02"},
	{"hash:net,net", IP_V4, 2, 65536, "192.0.2.1,10.0.0.0/8", "192.0.2.1,10.0.0.0/8",
		"192.0.2.1,11.0.0.0/8"},
	{"hash:net,port,net", IP_V4, 3, 65536, "192.0.2.1,tcp:1,10.0.0.0/8",
		"192.0.2.1,tcp:1,10.0.0.0/8", "192.0.2.1,tcp:2,10.0.0.0/8"},
	{"hash:ip comment counters skbinfo", IP_V4, 1, 65536, "192.0.2.1", "192.0.2.1",
		"192.0.2.2"},
	{"hash:net,iface forceadd comment counters skbinfo", IP_V4, 2, 65536, "192.0.2.1,lan0",
		"192.0.2.1,lan0", "192.0.2.1,lan1"},
};

static void assert_kind(const struct type *t, bool timeout, uint32_t elements)
{
	struct ipset_kind kind;

	assert_int_equal(ipset_writer_look(w, "s", &kind), 0);
	assert_int_equal(kind.family, t->family);
	assert_int_equal(kind.fields, t->fields);
	assert_int_equal(kind.size, t->size);
	assert_int_equal(kind.timeout, timeout);
	assert_int_equal(kind.elements, elements);
}

static void check_type(const struct type *t)
{
	char line[128];

	snprintf(line, sizeof line, "add s %s", t->saved);
	assert_kind(t, false, 0);
	assert_int_equal(ipset_writer_test(w, "s", t->element), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ipset_writer_add(w, "s", t->element, 0, false), 0);
		assert_kind(t, false, 1);
		assert_int_equal(ipset_writer_test(w, "s", t->element), 1);
		assert_int_equal(ipset_writer_test(w, "s", t->other), 0);
	}
	assert_int_equal(ipset_writer_add(w, "s", t->other, 600, true), -EOPNOTSUPP);
	assert_int_equal(ipset_writer_add(w, "s", t->other, 600, false), -EOPNOTSUPP);
	assert_kind(t, false, 1);
	assert_saved("s", line);
	assert_int_equal(ipset_writer_add(w, "s", t->other, 0, true), 0);
	assert_kind(t, false, 2);
}

/* The time that set s gives the element. */
static unsigned left(const char *saved)
{
	const char *text = output("ipset save s", NULL), *at;
	char before[128];
	unsigned s = ~0u;

	snprintf(before, sizeof before, "add s %s timeout ", saved);
	at = strstr(text, before);
	if (!at || sscanf(at + strlen(before), "%u", &s) != 1)
		fail_msg("\"%s\" is not in:\n%s", before, text);
	return s;
}

static void check_type_with_timeout(const struct type *t)
{
	static const uint32_t times[] = {600, 60, 3600, 0, 600};

	assert_kind(t, true, 0);
	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		assert_int_equal(ipset_writer_add(w, "s", t->element, times[i], true), 0);
		assert_kind(t, true, 1);
		assert_int_equal(ipset_writer_test(w, "s", t->element), 1);
		assert_in_range(left(t->saved), times[i] ? times[i] - 5 : 0, times[i]);
	}
	assert_int_equal(ipset_writer_test(w, "s", t->other), 0);
}

static void test_types(void **state)
{
	char what[128];

	(void)state;
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		if (!made("s", types[i].what))
			continue;
		check_type(&types[i]);
		must("ipset destroy s");
		snprintf(what, sizeof what, "%s timeout %u", types[i].what, i & 1 ? 0 : 7200);
		make("s", what);
		check_type_with_timeout(&types[i]);
		must("ipset destroy s");
	}
}

static void test_types_without_an_address(void **state)
{
	static const char *const what[] = {"list:set", "bitmap:port range 0-1000", "hash:mac"};
	static const char *const element[] = {"list", "80", "02:00:00:00:00:01"};
	struct ipset_element e = {.text = "192.0.2.1"};
	struct ipset_kind kind;

	(void)state;
	make("list", "hash:ip");
	for (size_t i = 0; i < 3; i++) {
		if (!made("s", what[i]))
			continue;
		assert_int_equal(ipset_writer_look(w, "s", &kind), -EINVAL);
		assert_int_equal(add("s", "192.0.2.1"), -EINVAL);
		assert_int_equal(add("s", element[i]), -EINVAL);
		assert_int_equal(ipset_writer_test(w, "s", element[i]), -EINVAL);
		assert_int_equal(ipset_writer_fill(w, "s", false, &e, 1), 0);
		assert_int_equal(e.result, -EINVAL);
		assert_hides("ipset save s", "add");
		must("ipset destroy s");
	}
}

/* --- sets that are not as they should be --- */

static void assert_missing(const char *name)
{
	struct ipset_element e[2] = {{.text = "192.0.2.1"}, {.text = "nonsense"}};
	struct ipset_kind kind;

	assert_int_equal(ipset_writer_look(w, name, &kind), -ENOENT);
	assert_int_equal(add(name, "192.0.2.1"), -ENOENT);
	assert_int_equal(ipset_writer_test(w, name, "192.0.2.1"), -ENOENT);
	assert_int_equal(ipset_writer_fill(w, name, true, e, 2), 0);
	assert_true(e[0].result == -ENOENT && e[1].result == -ENOENT);
}

static void test_no_such_set(void **state)
{
	(void)state;
	/* libipset takes as much of a name as fits. */
	make("a23456789a23456789a23456789a234", "hash:ip");
	assert_missing("s");
	assert_missing("");
	assert_missing("a23456789a23456789a23456789a23");
	assert_missing("a23456789a23456789a23456789a2345");
	assert_missing("a23456789a23456789a23456789a234 ");
	assert_int_equal(add("a23456789a23456789a23456789a234", "192.0.2.1"), 0);
	assert_int_equal(count("a23456789a23456789a23456789a234"), 1);
}

static void test_a_set_made_anew_is_another(void **state)
{
	(void)state;
	assert_int_equal(add("s", "192.0.2.1"), -ENOENT);
	make("s", "hash:ip");
	assert_int_equal(add("s", "192.0.2.1"), 0);
	must("ipset destroy s");
	make("s", "hash:ip,port");
	assert_int_equal(add("s", "192.0.2.1"), -EINVAL);
	assert_int_equal(add("s", "192.0.2.1,tcp:443"), 0);
	must("ipset destroy s");
	make("s", "hash:net timeout 100");
	assert_int_equal(add("s", "192.0.2.1,tcp:443"), -EINVAL);
	assert_int_equal(ipset_writer_add(w, "s", "192.0.2.1", 0, true), 0);
	assert_saved("s", "add s 192.0.2.1 timeout 0\n");
	must("ipset destroy s");
	make("s", "hash:ip family inet6");
	assert_int_equal(add("s", "192.0.2.1"), -EINVAL);
	assert_int_equal(add("s", "2001:db8::1"), 0);
	must("ipset create t bitmap:port range 0-1000; ipset rename s u; ipset rename t s");
	assert_int_equal(add("s", "2001:db8::1"), -EINVAL);
	assert_int_equal(add("u", "2001:db8::2"), 0);
	must("ipset destroy s; ipset destroy u");
	assert_int_equal(add("s", "2001:db8::1"), -ENOENT);
}

static void test_a_full_set(void **state)
{
	struct ipset_element e[] = {{.text = "192.0.2.1"}, {.text = "192.0.2.3"},
		{.text = "192.0.2.2"}, {.text = "192.0.2.4"}};

	(void)state;
	make("s", "hash:ip maxelem 2");
	make("t", "hash:ip maxelem 2 timeout 100");
	for (const char *name = "s"; name; name = name[0] == 's' ? "t" : NULL) {
		bool timeout = name[0] == 't';

		assert_int_equal(ipset_writer_add(w, name, "192.0.2.1", 0, timeout), 0);
		assert_int_equal(ipset_writer_add(w, name, "192.0.2.2", 0, timeout), 0);
		assert_int_equal(ipset_writer_add(w, name, "192.0.2.3", 0, timeout), -ENFILE);
		/* What is in there, is. */
		assert_int_equal(ipset_writer_fill(w, name, timeout, e, 4), 2);
		assert_int_equal(e[0].result, 0);
		assert_int_equal(e[1].result, -ENFILE);
		assert_int_equal(e[2].result, 0);
		assert_int_equal(e[3].result, -ENFILE);
		assert_int_equal(count(name), 2);
	}
	must("ipset del s 192.0.2.1");
	assert_int_equal(add("s", "192.0.2.3"), 0);
}

static void test_out_of_range(void **state)
{
	(void)state;
	make("s", "bitmap:ip range 192.0.2.0/25");
	assert_int_equal(add("s", "192.0.2.128"), -EINVAL);
	assert_int_equal(add("s", "192.0.1.255"), -EINVAL);
	assert_int_equal(ipset_writer_test(w, "s", "192.0.2.128"), 0);
	assert_int_equal(add("s", "192.0.2.127"), 0);
	assert_int_equal(count("s"), 1);
}

static void test_the_other_family(void **state)
{
	(void)state;
	make("s4", "hash:ip");
	make("s6", "hash:net family inet6");
	make("p6", "hash:ip,port,ip family inet6");
	assert_int_equal(add("s4", "2001:db8::1"), -EINVAL);
	assert_int_equal(ipset_writer_test(w, "s4", "2001:db8::1"), -EINVAL);
	assert_int_equal(add("s6", "192.0.2.1"), -EINVAL);
	assert_int_equal(add("p6", "2001:db8::1,80,192.0.2.1"), -EINVAL);
	/* libipset says of this that all is well, and keeps half a message. */
	assert_int_equal(add("p6", "2001:db8::1,icmp:echo-request,2001:db8::2"), -EINVAL);
	assert_int_equal(add("s4", "::ffff:192.0.2.1"), 0);
	assert_int_equal(add("s6", "2001:db8::1"), 0);
	assert_int_equal(count("s4") + count("s6") + count("p6"), 2);
}

/* --- what is there --- */

static void test_what_is_there(void **state)
{
	static const char extras[] = "packets 7 bytes 9 comment hello skbmark 0x10";
	char command[256];

	(void)state;
	make("s", "hash:ip counters comment skbinfo");
	make("t", "hash:ip counters comment skbinfo timeout 100");
	snprintf(command, sizeof command,
		"ipset add s 192.0.2.1 %s; ipset add t 192.0.2.1 timeout 0 %s", extras, extras);
	must(command);
	assert_int_equal(add("s", "192.0.2.1"), 0);
	assert_saved("s", "add s 192.0.2.1 packets 7 bytes 9 comment \"hello\" skbmark 0x10\n");
	/* Told in the header. */
	assert_int_equal(ipset_writer_add(w, "t", "192.0.2.1", 0, true), 0);
	assert_saved("t", "add t 192.0.2.1 timeout 0 packets 7 bytes 9\n");
}

static void test_timeouts(void **state)
{
	(void)state;
	make("s", "hash:ip timeout 100");
	assert_int_equal(ipset_writer_add(w, "s", "192.0.2.1", UINT32_MAX, true), 0);
	assert_int_equal(ipset_writer_add(w, "s", "192.0.2.2", IPSET_TIMEOUT_MAX_S + 1, true), 0);
	assert_int_equal(ipset_writer_add(w, "s", "192.0.2.3", 1, true), 0);
	assert_saved("s", "add s 192.0.2.1 timeout 21474");
	assert_saved("s", "add s 192.0.2.2 timeout 21474");
	/* Not known to have timeouts: the set's own. */
	assert_int_equal(add("s", "192.0.2.4"), 0);
	assert_hides("ipset save s", "192.0.2.4 timeout 0");
	usleep(1100 * 1000);
	assert_int_equal(ipset_writer_test(w, "s", "192.0.2.3"), 0);
	assert_int_equal(count("s"), 3);
}

/* --- texts --- */

static void test_texts_that_are_no_element(void **state)
{
	static const char *const texts[] = {"", ",", ",,", "192.0.2.1,", ",192.0.2.1", " 192.0.2.1",
		"192.0.2.1 ", "192.0.2.1\n", "192.0.2", "0x7f000001", "1", "192.0.2.1/",
		"192.0.2.1/33", "192.0.2.1/-1", "192.0.2.1/24", "192.0.2.1-192.0.2.9",
		"[192.0.2.1]", "localhost", "example.com", "[localhost]", "192.0.2.1 timeout 5",
		"-exist", "%s%s%n", "a/b", "192.0.2.1,tcp:443,",
		"192.0.2.1,tcp:443,1.1.1.1,1.1.1.1", "192.0.2.1,,tcp:443", "192.0.2.1,tcp:443:1",
		"192.0.2.1,tcp:", "192.0.2.1,:443", "192.0.2.1,tcp", "192.0.2.1,tcp:65536",
		"192.0.2.1,tcp:-1", "192.0.2.1,tcp:80-90", "192.0.2.1,80-90",
		"192.0.2.1,tcp:nosuchport", "192.0.2.1,nosuchproto:1", "192.0.2.1,256:1",
		"192.0.2.1,icmp:1", "192.0.2.1,icmpv6:128/0", "192.0.2.1,tcp:[80",
		"192.0.2.1,gre:1", "192.0.2.1,tcp:80,localhost", "\xff\xfe\x01", "192.0.2.1,\xff",
		"192.0.2.1,tcp:\xff"};
	static const char *const good[] = {
		"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1,1", "192.0.2.1,1,192.0.2.2"};
	static const char *const sets[] = {"hash:ip", "hash:net",
		"bitmap:ip range 0.0.0.0-0.0.255.255", "hash:ip,port", "hash:ip,port,ip"};
	struct ipset_element e = {.text = ""};
	char name[] = "s0", other[] = "s0";
	char longest[8192];

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		name[1] = (char)('0' + i);
		make(name, sets[i]);
	}
	for (size_t i = 0; i < 5; i++) {
		name[1] = (char)('0' + i);
		for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
			int r = add(name, texts[k]);

			if (r != -EINVAL)
				fail_msg("%s takes \"%s\": %d", sets[i], texts[k], r);
			e.text = texts[k];
			assert_int_equal(ipset_writer_test(w, name, texts[k]), -EINVAL);
			assert_int_equal(ipset_writer_fill(w, name, false, &e, 1), 0);
			/* And nothing of it is left for the next call. */
			other[1] = (char)('0' + k % 2);
			assert_int_equal(add(other, good[k % 2]), 0);
		}
		for (size_t n = 200; n < sizeof longest; n += n < 300 ? 1 : 999) {
			memset(longest, '0', n);
			memcpy(longest, "192.0.2.1,", 10);
			longest[n] = 0;
			assert_int_equal(add(name, longest), i == 3 && n < 256 ? 0 : -EINVAL);
			memset(longest, ',', n);
			assert_int_equal(add(name, longest), -EINVAL);
		}
	}
	assert_int_equal(count("s0"), 1);
	assert_int_equal(count("s1"), 1);
	assert_int_equal(count("s2"), 0);
	assert_int_equal(count("s3"), 1); /* many zeroes are a port */
	assert_int_equal(count("s4"), 0);
	make("i", "hash:net,iface");
	assert_int_equal(add("i", "192.0.2.1,a23456789a234567"), -EINVAL);
	assert_int_equal(add("i", "192.0.2.1,a23456789a23456"), 0);
	assert_int_equal(add("i", "192.0.2.1,"), -EINVAL);
	assert_int_equal(add("i", "192.0.2.1"), -EINVAL);
	assert_int_equal(add("i", "192.0.2.1,lan0,lan1"), -EINVAL);
	assert_int_equal(count("i"), 1);
}

/* --- filling --- */

#define MANY 10000
static struct ipset_element elements[MANY];
static char texts_of[MANY][64];

/* From 10.1.0.0 on. */
static void number(const char *form, uint32_t timeout_s)
{
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(texts_of[i], sizeof texts_of[i], form, i >> 8, i & 255);
		elements[i] = (struct ipset_element){texts_of[i], timeout_s, 1};
	}
}

static void assert_results(size_t n, int result)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(elements[i].result, result);
}

static void test_filling(void **state)
{
	static const size_t sizes[] = {0, 1, 2, 16, 100, 256, MANY};
	static const struct {
		const char *what, *form;
		uint32_t timeout_s;
	} sets[] = {{"hash:ip timeout 5", "10.1.%u.%u", 600},
		{"hash:ip,port", "10.1.%u.%u,tcp:443", 0},
		{"hash:ip,port,net family inet6 timeout 0", "2001:db8::%x:%x,udp:1,2001:db8::/32",
			600},
		{"bitmap:ip range 10.1.0.0/16", "10.1.%u.%u", 0},
		{"hash:net,iface timeout 0", "10.1.%u.%u,lan0", 0}};

	(void)state;
	for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
		bool timeout = strstr(sets[i].what, "timeout");

		make("s", sets[i].what);
		for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
			size_t n = sizes[k];

			if (i && n > 256 && i != 3)
				n = 1000;
			must("ipset flush s");
			number(sets[i].form, sets[i].timeout_s);
			/* Again: what is there is fine. */
			for (int again = 0; again < 2; again++) {
				assert_int_equal(
					ipset_writer_fill(w, "s", timeout, elements, n), n);
				assert_results(n, 0);
				assert_int_equal(count("s"), n);
			}
			if (n > 0)
				assert_int_equal(
					ipset_writer_test(w, "s", elements[n - 1].text), 1);
		}
		must("ipset destroy s");
	}
}

static void test_filling_with_bad_ones(void **state)
{
	(void)state;
	number("10.1.%u.%u", 0);
	/* Bad ones that libipset finds, and bad ones that the kernel finds, at both ends, too. */
	for (unsigned i = 0; i < MANY; i += 50)
		elements[i].text = i % 100 ? "nonsense" : "10.2.0.0";
	elements[MANY - 1].text = "10.2.0.1";
	make("s", "bitmap:ip range 10.1.0.0/16");
	must("ipset add s 10.1.0.7; ipset add s 10.1.1.7");
	assert_int_equal(ipset_writer_fill(w, "s", false, elements, MANY), MANY - MANY / 50 - 1);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(elements[i].result, i % 50 && i != MANY - 1 ? 0 : -EINVAL);
	assert_int_equal(count("s"), MANY - MANY / 50 - 1);
}

static void test_filling_what_cannot_be_filled(void **state)
{
	(void)state;
	number("10.1.%u.%u", 600);
	make("s", "hash:ip");
	assert_int_equal(ipset_writer_fill(w, "s", true, elements, 500), 0);
	assert_results(500, -EOPNOTSUPP);
	elements[7].timeout_s = 0; /* permanent is what such a set can do */
	assert_int_equal(ipset_writer_fill(w, "s", true, elements, 500), 1);
	assert_int_equal(elements[7].result, 0);
	assert_int_equal(elements[8].result, -EOPNOTSUPP);
	make("t", "hash:ip timeout 0 maxelem 300");
	assert_int_equal(ipset_writer_fill(w, "t", true, elements, 1000), 300);
	assert_int_equal(elements[300].result, -ENFILE);
	assert_int_equal(elements[999].result, -ENFILE);
	assert_int_equal(count("t"), 300);
	make("u", "hash:ip,port timeout 0");
	assert_int_equal(ipset_writer_fill(w, "u", true, elements, 500), 0);
	assert_results(500, -EINVAL);
	make("v", "hash:ip family inet6 timeout 0");
	assert_int_equal(ipset_writer_fill(w, "v", true, elements, 500), 0);
	assert_results(500, -EINVAL);
	assert_int_equal(count("s") + count("u") + count("v"), 1);
}

/* --- the session --- */

/* The number of the session's socket, the only one of netfilter in this network namespace. */
static uint32_t port_of_session(void)
{
	char line[256];
	unsigned protocol, found = 0, id;
	FILE *f = fopen("/proc/net/netlink", "r");

	assert_non_null(f);
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "%*s %u %u", &protocol, &id) == 2 &&
			protocol == NETLINK_NETFILTER && id)
			found = id;
	fclose(f);
	assert_int_not_equal(found, 0);
	return found;
}

/* An answer that is none to its next question. */
static void disturb_session(void)
{
	struct sockaddr_nl to = {.nl_family = AF_NETLINK, .nl_pid = port_of_session()};
	struct nlmsghdr stale = {
		.nlmsg_len = sizeof stale, .nlmsg_type = NLMSG_NOOP, .nlmsg_seq = 1};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	assert_true(fd >= 0);
	assert_int_equal(sendto(fd, &stale, sizeof stale, 0, (struct sockaddr *)&to, sizeof to),
		sizeof stale);
	close(fd);
}

static void test_a_lost_answer_does_no_harm(void **state)
{
	struct ipset_kind kind;

	(void)state;
	number("10.1.%u.%u", 0);
	make("s", "hash:ip timeout 0");
	for (int i = 0; i < 3; i++) {
		disturb_session();
		assert_int_equal(ipset_writer_add(w, "s", "192.0.2.1", 600, true), 0);
		assert_int_equal(ipset_writer_test(w, "s", "192.0.2.2"), 0);
		disturb_session();
		assert_int_equal(ipset_writer_test(w, "s", "192.0.2.1"), 1);
		assert_int_equal(add("none", "192.0.2.1"), -ENOENT);
		disturb_session();
		assert_int_equal(ipset_writer_look(w, "s", &kind), 0);
		assert_int_equal(kind.elements, 1);
		disturb_session();
		assert_int_equal(ipset_writer_fill(w, "s", true, elements, 500), 500);
		assert_results(500, 0);
		assert_int_equal(count("s"), 501);
		must("ipset flush s");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_types),
		TEST(test_types_without_an_address),
		TEST(test_no_such_set),
		TEST(test_a_set_made_anew_is_another),
		TEST(test_a_full_set),
		TEST(test_out_of_range),
		TEST(test_the_other_family),
		TEST(test_what_is_there),
		TEST(test_timeouts),
		TEST(test_texts_that_are_no_element),
		TEST(test_filling),
		TEST(test_filling_with_bad_ones),
		TEST(test_filling_what_cannot_be_filled),
		TEST(test_a_lost_answer_does_no_harm),
	};

	netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
