/* Addresses as text, as prefixes, as the kernel's form, and how they spread over a hash table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/addr.h"
#include "tests/unit/addresses.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void addresses_are_read_and_written(void **state)
{
	static const char *const same[] = {"0.0.0.0", "255.255.255.255", "198.18.0.1", "::", "::1",
		"fd00:198:18::5", "fe80::1"};
	static const char *const bad[] = {"", " ", "1.2.3", "1.2.3.4 ", " 1.2.3.4", "1.2.3.256",
		"01.2.3.4x", ":::", "1::2::3", "fe80::1%lo", "[::1]", "1.2.3.4/32", "x"};
	struct ip_addr a, b, all[COUNT(same)];
	char text[IP_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(same); i++)
		all[i] = address_of(same[i]);
	for (size_t i = 0; i < COUNT(same); i++) {
		a = address_of(same[i]);
		assert_string_equal(ip_addr_format(&a, text), same[i]);
		assert_int_equal(ip_addr_size(&a), strchr(same[i], ':') ? 16 : 4);
		b = ip_addr_of(a.b, ip_addr_size(&a));
		assert_true(ip_addr_equal(&a, &b));
		assert_true(ip_addr_is_among(&a, all, i + 1));
		assert_false(ip_addr_is_among(&a, all, i));
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(ip_addr_parse(bad[i], &a), -EINVAL);
	a = (struct ip_addr){0};
	assert_string_equal(ip_addr_format(&a, text), "none");
	assert_int_equal(ip_addr_size(&a), 0);
}

static void mapped_addresses_are_what_they_mean(void **state)
{
	struct ip_addr mapped = address_of("::ffff:192.0.2.7"), plain = address_of("192.0.2.7");
	struct ip_addr near = address_of("::fffe:192.0.2.7");
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(53)};
	struct ip_port p;

	(void)state;
	assert_true(ip_addr_equal(&mapped, &plain));
	assert_int_equal(near.family, IP_V6);
	memcpy(&in6.sin6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\7", 16);
	ip_port_from_sockaddr((struct sockaddr *)&in6, &p);
	assert_true(ip_addr_equal(&p.addr, &plain));
	assert_int_equal(p.port, 53);
}

static void prefixes(void **state)
{
	static const struct {
		const char *text;
		int error;
		const char *out;
	} cases[] = {
		{"10.0.0.0/8", 0, "10.0.0.0/8"},
		{"0.0.0.0/0", 0, "0.0.0.0/0"},
		{"::/0", 0, "::/0"},
		{"192.0.2.1", 0, "192.0.2.1/32"},
		{"2001:db8::1", 0, "2001:db8::1/128"},
		{"10.128.0.0/9", 0, "10.128.0.0/9"},
		{"10.64.0.0/9", -ERANGE, NULL},
		{"fd00::1/64", -ERANGE, NULL},
		{"10.0.0.0/33", -EINVAL, NULL},
		{"::/129", -EINVAL, NULL},
		{"10.0.0.0/", -EINVAL, NULL},
		{"10.0.0.0/-1", -EINVAL, NULL},
		{"10.0.0.0/ 8", -EINVAL, NULL},
		{"10.0.0.0/8x", -EINVAL, NULL},
		{"10.0.0.0/99999999999999999999", -EINVAL, NULL},
		{"/8", -EINVAL, NULL},
		{"::ffff:10.0.0.0/104", -EINVAL, NULL},
	};
	char text[IP_TEXT_MAX];
	struct ip_prefix p;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(ip_prefix_parse(cases[i].text, &p), cases[i].error);
		if (!cases[i].error)
			assert_string_equal(ip_prefix_format(&p, text), cases[i].out);
	}
}

static bool contains(const char *prefix, const char *address)
{
	struct ip_addr a = address_of(address);
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(prefix, &p), 0);
	return ip_prefix_contains(&p, &a);
}

static bool overlaps(const char *a, const char *b)
{
	struct ip_prefix pa, pb;

	assert_int_equal(ip_prefix_parse(a, &pa), 0);
	assert_int_equal(ip_prefix_parse(b, &pb), 0);
	assert_int_equal(ip_prefix_overlaps(&pa, &pb), ip_prefix_overlaps(&pb, &pa));
	return ip_prefix_overlaps(&pa, &pb);
}

static void what_prefixes_hold(void **state)
{
	struct ip_addr none = {0};
	struct ip_prefix all;

	(void)state;
	assert_true(contains("198.18.0.0/15", "198.19.255.255"));
	assert_false(contains("198.18.0.0/15", "198.20.0.0"));
	assert_false(contains("198.18.0.0/15", "198.17.255.255"));
	assert_true(contains("0.0.0.0/0", "255.0.0.1"));
	assert_false(contains("0.0.0.0/0", "::1"));
	assert_true(contains("::/0", "::1"));
	assert_true(contains("fd00::/127", "fd00::1"));
	assert_false(contains("fd00::/127", "fd00::2"));
	assert_true(contains("192.0.2.1/32", "192.0.2.1"));
	assert_false(contains("192.0.2.1/32", "192.0.2.0"));
	assert_true(overlaps("10.0.0.0/8", "10.1.0.0/16"));
	assert_false(overlaps("10.0.0.0/16", "10.1.0.0/16"));
	assert_false(overlaps("0.0.0.0/0", "::/0"));
	assert_int_equal(ip_prefix_parse("0.0.0.0/0", &all), 0);
	assert_false(ip_prefix_contains(&all, &none));
	assert_false(ip_prefix_contains(&(struct ip_prefix){0}, &none));
}

static void ports(void **state)
{
	static const struct {
		const char *text, *out;
	} good[] = {
		{"127.0.0.1:5353", "127.0.0.1:5353"},
		{"127.0.0.1", "127.0.0.1:53"},
		{"[::1]:65535", "[::1]:65535"},
		{"[::1]", "[::1]:53"},
		{"2001:db8::1", "[2001:db8::1]:53"},
	};
	static const char *const bad[] = {"", ":53", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536",
		"127.0.0.1:53x", "127.0.0.1: 53", "[::1", "[::1]x", "[::1]:", "[::1]53", "[]",
		"[]:53", "::1]:53", "fe80::1%no-such-link0", "fe80::1%", "127.0.0.1%lo", "::1%lo",
		"[2001:db8::1%lo]:53",
		"1111111111111111111111111111111111111111111111111111111111111111111111111111"};
	char text[IP_TEXT_MAX], scoped[IP_TEXT_MAX];
	struct ip_port p;

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		assert_int_equal(ip_port_parse(good[i].text, 53, &p), 0);
		assert_string_equal(ip_port_format(&p, text), good[i].out);
		assert_int_equal(p.scope, 0);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(ip_port_parse(bad[i], 53, &p), -EINVAL);
	assert_int_equal(ip_port_parse("[fe80::1%lo]:5353", 53, &p), 0);
	assert_int_equal(p.scope, if_nametoindex("lo"));
	assert_int_equal(p.port, 5353);
	snprintf(scoped, sizeof scoped, "[fe80::1%%%u]:5353", if_nametoindex("lo"));
	assert_string_equal(ip_port_format(&p, text), scoped);
}

static void longest_text_fits(void **state)
{
	struct ip_port p = {.port = 65535, .scope = UINT32_MAX};
	char text[IP_TEXT_MAX];

	(void)state;
	p.addr = address_of("fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	assert_string_equal(ip_port_format(&p, text),
		"[fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");
}

static void kernels_form_and_back(void **state)
{
	static const char *const texts[] = {
		"192.0.2.1:5353", "[2001:db8::1]:53", "[fe80::1%lo]:53"};
	struct ip_port p, back;
	struct sockaddr_storage sa;

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		assert_int_equal(ip_port_parse(texts[i], 53, &p), 0);
		assert_int_equal(ip_port_to_sockaddr(&p, &sa),
			i == 0 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
		ip_port_from_sockaddr((struct sockaddr *)&sa, &back);
		assert_true(ip_addr_equal(&p.addr, &back.addr));
		assert_int_equal(p.port, back.port);
		assert_int_equal(p.scope, back.scope);
	}
	p = (struct ip_port){0};
	assert_int_equal(ip_port_to_sockaddr(&p, &sa), 0);
	sa.ss_family = AF_UNIX;
	ip_port_from_sockaddr((struct sockaddr *)&sa, &back);
	assert_int_equal(back.addr.family, IP_NONE);
}

static void kinds(void **state)
{
	struct ip_addr a;

	(void)state;
	a = address_of("127.255.0.1");
	assert_true(ip_addr_is_loopback(&a));
	a = address_of("128.0.0.1");
	assert_false(ip_addr_is_loopback(&a));
	a = address_of("::1");
	assert_true(ip_addr_is_loopback(&a));
	a = address_of("::2");
	assert_false(ip_addr_is_loopback(&a));
	a = address_of("febf::1");
	assert_true(ip_addr_is_link_local(&a));
	a = address_of("fec0::1");
	assert_false(ip_addr_is_link_local(&a));
	a = address_of("169.254.1.1");
	assert_true(ip_addr_is_link_local(&a));
}

static void private_addresses(void **state)
{
	static const char *const yes[] = {"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.9.9",
		"100.64.0.1", "100.127.255.255", "fc00::1", "fdff::1"};
	static const char *const no[] = {"9.255.255.255", "11.0.0.0", "172.15.0.1", "172.32.0.1",
		"192.169.0.1", "100.63.0.1", "100.128.0.1", "fe00::1", "2001:db8::1"};
	struct ip_addr a;

	(void)state;
	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
		a = address_of(yes[i]);
		assert_true(ip_addr_is_private(&a));
	}
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
		a = address_of(no[i]);
		assert_false(ip_addr_is_private(&a));
	}
}

/* Tables take the low bits of the hash; the addresses of a pool differ in their last bytes only. */
static void pools_spread_over_buckets(void **state)
{
	static const char *const nets[] = {"198.18.0.0", "fd00:198:18::", "2001:2::"};
	unsigned worst = 0;

	(void)state;
	for (size_t k = 0; k < COUNT(nets); k++) {
		unsigned in_bucket[256] = {0};
		struct ip_addr a = address_of(nets[k]);
		size_t last = ip_addr_size(&a) - 1;

		for (unsigned i = 0; i < 4096; i++) {
			unsigned n;

			a.b[last] = (uint8_t)i;
			a.b[last - 1] = (uint8_t)(i >> 8);
			n = ++in_bucket[ip_addr_hash(&a) % 256];
			worst = n > worst ? n : worst;
		}
	}
	assert_in_range(worst, 16, 48); /* 16 on average */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_read_and_written),
		cmocka_unit_test(mapped_addresses_are_what_they_mean),
		cmocka_unit_test(prefixes),
		cmocka_unit_test(what_prefixes_hold),
		cmocka_unit_test(ports),
		cmocka_unit_test(longest_text_fits),
		cmocka_unit_test(kernels_form_and_back),
		cmocka_unit_test(kinds),
		cmocka_unit_test(private_addresses),
		cmocka_unit_test(pools_spread_over_buckets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
