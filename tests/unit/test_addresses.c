/* Address lists: nested and overlapping prefixes of several lists, against a model that tries every
 * prefix; what they cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/match/addresses.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

struct entry {
	unsigned list;
	struct ip_prefix prefix;
};

static struct addresses *build(const struct entry *entries, size_t n, size_t *counts)
{
	struct addresses_builder *b = NULL;
	struct addresses *a = NULL;

	assert_int_equal(addresses_builder_new(&b), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(addresses_builder_add(b, entries[i].list, &entries[i].prefix), 0);
	assert_int_equal(addresses_builder_finish(b, counts, &a), 0);
	return a;
}

/* "LIST:PREFIX LIST:PREFIX …" */
static struct addresses *build_text(const char *text, size_t *counts)
{
	struct entry entries[64];
	char copy[1024], *rest = copy, *word;
	size_t n = 0;

	assert_true(strlen(text) < sizeof copy);
	strcpy(copy, text);
	while ((word = strsep(&rest, " "))) {
		char *colon = strchr(word, ':');

		assert_true(colon && n < COUNT(entries));
		*colon = 0;
		entries[n].list = (unsigned)atoi(word);
		assert_int_equal(ip_prefix_parse(colon + 1, &entries[n++].prefix), 0);
	}
	return build(entries, n, counts);
}

/* The lists that hold the address, as "0 2". */
static const char *held(const struct addresses *a, const char *address)
{
	static char text[256];
	struct ip_addr addr;
	size_t n, len = 0;
	const uint16_t *lists;

	assert_int_equal(ip_addr_parse(address, &addr), 0);
	lists = addresses_find(a, &addr, &n);
	text[0] = 0;
	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(
			text + len, sizeof text - len, "%s%u", i ? " " : "", lists[i]);
	return text;
}

static void test_holds(void **state)
{
	size_t counts[4] = {0};
	struct addresses *a = build_text(
		"0:10.0.0.0/8 1:10.1.0.0/16 0:10.1.2.0/24 2:10.1.2.3 3:0.0.0.0/0 1:2001:db8::/32 "
		"0:2001:db8::1 2:2001:db8::/33 1:10.1.0.0/16 3:255.255.255.255 2:ffff::/16",
		counts);

	(void)state;
	assert_string_equal(held(a, "10.0.0.1"), "0 3");
	assert_string_equal(held(a, "10.1.0.0"), "0 1 3");
	assert_string_equal(held(a, "10.1.2.2"), "0 1 3");
	assert_string_equal(held(a, "10.1.2.3"), "0 1 2 3");
	assert_string_equal(held(a, "10.1.2.4"), "0 1 3");
	assert_string_equal(held(a, "10.2.0.0"), "0 3");
	assert_string_equal(held(a, "0.0.0.0"), "3");
	assert_string_equal(held(a, "11.0.0.0"), "3");
	assert_string_equal(held(a, "255.255.255.255"), "3");
	assert_string_equal(held(a, "2001:db8::"), "1 2");
	assert_string_equal(held(a, "2001:db8::1"), "0 1 2");
	assert_string_equal(held(a, "2001:db8::2"), "1 2");
	assert_string_equal(held(a, "2001:db8:8000::"), "1");
	assert_string_equal(held(a, "2001:db9::"), "");
	assert_string_equal(held(a, "::"), "");
	assert_string_equal(held(a, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "2");
	assert_string_equal(held(a, "::ffff:10.1.2.3"), "0 1 2 3"); /* v4-mapped */
	/* Distinct ones. */
	assert_int_equal(counts[0], 3);
	assert_int_equal(counts[1], 2);
	assert_int_equal(counts[2], 3);
	assert_int_equal(counts[3], 2);
	addresses_free(a);
}

static void test_edges(void **state)
{
	struct addresses *a = build(NULL, 0, NULL);
	struct ip_addr none = {.family = IP_NONE};
	size_t n = 7;

	(void)state;
	assert_string_equal(held(a, "10.0.0.1"), "");
	assert_string_equal(held(a, "::1"), "");
	(void)addresses_find(a, &none, &n);
	assert_int_equal(n, 0);
	addresses_free(a);

	/* One address each: none of its neighbours. */
	a = build_text("4095:1.2.3.4 4095:::1", NULL);
	assert_string_equal(held(a, "1.2.3.4"), "4095");
	assert_string_equal(held(a, "1.2.3.3"), "");
	assert_string_equal(held(a, "1.2.3.5"), "");
	assert_string_equal(held(a, "::1"), "4095");
	assert_string_equal(held(a, "::"), "");
	assert_string_equal(held(a, "::2"), "");
	assert_string_equal(held(a, "1::1"), "");
	(void)addresses_find(a, &none, &n);
	assert_int_equal(n, 0);
	addresses_free(a);

	/* All of both families; one family says nothing of the other. */
	a = build_text("0:0.0.0.0/0 1:::/0", NULL);
	assert_string_equal(held(a, "255.255.255.255"), "0");
	assert_string_equal(held(a, "::102:304"), "1");
	addresses_free(a);
	a = build_text("0:128.0.0.0/1 0:0.0.0.0/1", NULL);
	assert_string_equal(held(a, "127.255.255.255"), "0");
	assert_string_equal(held(a, "128.0.0.0"), "0");
	assert_string_equal(held(a, "::"), "");
	addresses_free(a);
}

/* A prefix of each length around one address: 128 levels. */
static void test_deep(void **state)
{
	struct entry entries[129 + 33];
	struct addresses *a;
	struct ip_addr six, four;
	size_t n;

	(void)state;
	assert_int_equal(ip_addr_parse("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &six), 0);
	assert_int_equal(ip_addr_parse("255.255.255.255", &four), 0);
	for (unsigned i = 0; i < COUNT(entries); i++) {
		unsigned len = i <= 128 ? i : i - 129;

		entries[i] = (struct entry){i, {{.family = i <= 128 ? IP_V6 : IP_V4}, 0}};
		entries[i].prefix.len = (uint8_t)len;
		for (unsigned bit = 0; bit < len; bit++)
			entries[i].prefix.addr.b[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	}
	a = build(entries, COUNT(entries), NULL);
	assert_int_equal(addresses_find(a, &six, &n)[128], 128);
	assert_int_equal(n, 129);
	assert_int_equal(addresses_find(a, &four, &n)[32], 129 + 32);
	assert_int_equal(n, 33);
	for (unsigned bit = 0; bit < 128; bit++) {
		struct ip_addr other = six;

		other.b[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
		(void)addresses_find(a, &other, &n);
		assert_int_equal(n, bit + 1);
	}
	addresses_free(a);
}

struct seen {
	char text[1024];
	size_t len;
	unsigned left; /* visits until it ends */
};

static int see(void *arg, unsigned list, const struct ip_prefix *prefix)
{
	struct seen *seen = arg;
	char buf[IP_TEXT_MAX];

	seen->len += (size_t)snprintf(seen->text + seen->len, sizeof seen->text - seen->len,
		"%s%u:%s", seen->len ? " " : "", list, ip_prefix_format(prefix, buf));
	assert_true(seen->len < sizeof seen->text);
	return --seen->left ? 0 : 7;
}

static void test_each(void **state)
{
	struct addresses *a = build_text(
		"1:2001:db8::1 0:10.1.0.0/16 0:10.0.0.0/8 1:10.1.0.0/16 2:10.1.2.3 0:10.1.2.3 "
		"1:2001:db8::/32 0:2001:db8::1 0:2001:db8::/33 2:2001:db8::/96 2:2001:db8::/64 "
		"2:::/0",
		NULL);
	struct seen seen = {.left = 100}, two = {.left = 2};

	(void)state;
	assert_int_equal(addresses_each(a, see, &seen), 0);
	/* What a list holds around it anyway is not told. */
	assert_string_equal(seen.text,
		"0:10.0.0.0/8 1:10.1.0.0/16 2:10.1.2.3/32 2:::/0 1:2001:db8::/32 0:2001:db8::/33");
	assert_int_equal(addresses_each(a, see, &two), 7);
	assert_string_equal(two.text, "0:10.0.0.0/8 1:10.1.0.0/16");
	addresses_free(a);
	a = build_text("0:2001:db8:0:1::2 0:2001:db8::/65 0:2001:db8:0:1::/127 1:2001:db8::/64 "
		       "1:2001:db8::8 0:2001:db8:0:1::/64 1:2001:db8:0:1::2",
		NULL);
	seen = (struct seen){.left = 100};
	assert_int_equal(addresses_each(a, see, &seen), 0);
	assert_string_equal(seen.text, "1:2001:db8::/64 0:2001:db8::/65 0:2001:db8:0:1::/64 "
				       "1:2001:db8:0:1::2/128");
	addresses_free(a);
	a = build(NULL, 0, NULL);
	assert_int_equal(addresses_each(a, see, &seen), 0);
	addresses_free(a);
}

static void test_joined(void **state)
{
	struct addresses *one = build_text("0:10.0.0.0/8 1:10.1.0.0/16 2:2001:db8::/32", NULL);
	struct addresses *two = build_text("0:10.1.2.0/24 0:2001:db8::1", NULL), *a;
	static const int map_one[] = {3, 0, -1}, map_two[] = {0};
	struct addresses_builder *b = NULL;
	struct ip_prefix own;

	(void)state;
	assert_int_equal(addresses_builder_new(&b), 0);
	assert_int_equal(addresses_builder_add_from(b, one, map_one), 0);
	assert_int_equal(addresses_builder_add_from(b, two, map_two), 0);
	assert_int_equal(ip_prefix_parse("10.1.2.3", &own), 0);
	assert_int_equal(addresses_builder_add(b, 2, &own), 0);
	addresses_free(one);
	addresses_free(two);
	assert_int_equal(addresses_builder_finish(b, NULL, &a), 0);
	assert_string_equal(held(a, "10.0.0.1"), "3");
	assert_string_equal(held(a, "10.1.0.1"), "0 3");
	assert_string_equal(held(a, "10.1.2.3"), "0 2 3");
	assert_string_equal(held(a, "2001:db8::1"), "0");
	assert_string_equal(held(a, "2001:db8::2"), "");
	addresses_free(a);
}

/* --- against a model --- */

static uint64_t random_state = 88172645463325252ULL;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Few bits differ, so that prefixes nest and overlap. */
static struct ip_addr random_address(bool is_v6, unsigned spread)
{
	struct ip_addr a = {.family = is_v6 ? IP_V6 : IP_V4};
	size_t size = ip_addr_size(&a);

	for (size_t i = 0; i < size; i++)
		a.b[i] = (uint8_t)(random_next() % spread ? 0x20 : random_next());
	if (random_next() % 16 == 0)
		memset(a.b, random_next() % 2 ? 0xff : 0, size);
	return a;
}

static struct ip_prefix random_prefix(bool is_v6, unsigned spread)
{
	struct ip_prefix p = {.addr = random_address(is_v6, spread)};
	unsigned bits = (unsigned)ip_addr_size(&p.addr) * 8;

	p.len = (uint8_t)(random_next() % (bits + 1));
	for (unsigned bit = p.len; bit < bits; bit++)
		p.addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	return p;
}

static void compare(const struct addresses *a, const struct entry *entries, size_t n,
	const struct ip_addr *address)
{
	uint64_t model = 0, found = 0;
	const uint16_t *lists;
	size_t n_lists;

	for (size_t i = 0; i < n; i++)
		if (!(model >> entries[i].list & 1) &&
			ip_prefix_contains(&entries[i].prefix, address))
			model |= 1ULL << entries[i].list;
	lists = addresses_find(a, address, &n_lists);
	for (size_t i = 0; i < n_lists; i++) {
		assert_true(i == 0 || lists[i] > lists[i - 1]);
		found |= 1ULL << lists[i];
	}
	assert_true(model == found);
}

/* The same, made of what addresses_each() tells. */
static struct addresses *rebuilt(struct addresses *a)
{
	static const int map[] = {0, 1, 2, 3, 4, 5, 6, 7};
	struct addresses_builder *b = NULL;
	struct addresses *again = NULL;

	assert_int_equal(addresses_builder_new(&b), 0);
	assert_int_equal(addresses_builder_add_from(b, a, map), 0);
	assert_int_equal(addresses_builder_finish(b, NULL, &again), 0);
	assert_int_equal(addresses_size_bytes(again), addresses_size_bytes(a));
	addresses_free(a);
	return again;
}

static void test_model(void **state)
{
	enum { ROUNDS = 50, LOOKUPS = 20000, ENTRIES_MAX = 120 };
	struct entry entries[ENTRIES_MAX];

	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		size_t n = 1 + random_next() % ENTRIES_MAX;
		unsigned spread = 1 + (unsigned)(random_next() % 6);
		unsigned lists = 1 + (unsigned)(random_next() % 8);
		struct addresses *a;

		for (size_t i = 0; i < n; i++)
			entries[i] = (struct entry){(unsigned)(random_next() % lists),
				random_prefix(random_next() % 2, spread)};
		a = build(entries, n, NULL);
		if (round % 2)
			a = rebuilt(a);
		for (unsigned i = 0; i < LOOKUPS; i++) {
			struct ip_addr address = random_address(random_next() % 2, spread);

			/* Half of them inside some prefix, or right beside it. */
			if (i % 2) {
				const struct ip_prefix *p = &entries[random_next() % n].prefix;
				unsigned bit =
					(unsigned)(random_next() % (ip_addr_size(&p->addr) * 8));

				address = p->addr;
				address.b[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
			}
			compare(a, entries, n, &address);
		}
		addresses_free(a);
	}
}

/* --- what it costs --- */

static void cost(const char *what, bool is_v6, unsigned shortest, unsigned longest)
{
	enum { PREFIXES = 100000, LOOKUPS = 1000000 };
	struct entry *entries = calloc(PREFIXES, sizeof *entries);
	struct ip_addr *asked = calloc(65536, sizeof *asked);
	struct timespec start, end;
	struct addresses *a;
	size_t n, hits = 0, counts[2] = {0};
	double bytes, ns;

	assert_true(entries && asked);
	for (size_t i = 0; i < PREFIXES; i++) {
		struct ip_prefix *p = &entries[i].prefix;

		entries[i].list = (unsigned)(i & 1);
		*p = random_prefix(is_v6, 1);
		p->len = (uint8_t)(shortest + random_next() % (longest - shortest + 1));
		for (size_t j = 0; j < ip_addr_size(&p->addr); j++)
			p->addr.b[j] = (uint8_t)random_next();
		if (is_v6) { /* as it is given out: 2400::/6 and 2001::/16 */
			p->addr.b[0] = 0x2a;
			p->addr.b[1] &= 0x0f;
		}
		for (unsigned bit = p->len; bit < 128; bit++)
			p->addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	}
	for (size_t i = 0; i < 65536; i++)
		asked[i] = entries[random_next() % PREFIXES].prefix.addr;
	a = build(entries, PREFIXES, counts);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (size_t i = 0; i < LOOKUPS; i++) {
		(void)addresses_find(a, &asked[i & 65535], &n);
		hits += n > 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_int_equal(hits, LOOKUPS);
	bytes = (double)addresses_size_bytes(a) / (double)(counts[0] + counts[1]);
	ns = (double)((end.tv_sec - start.tv_sec) * 1000000000 + end.tv_nsec - start.tv_nsec) /
	     LOOKUPS;
	print_message("%s: %.1f bytes a prefix, %.0f ns a look-up\n", what, bytes, ns);
	assert_true(bytes <= 20);
	addresses_free(a);
	free(entries);
	free(asked);
}

static void test_cost(void **state)
{
	(void)state;
	cost("100,000 IPv4", false, 16, 24);
	cost("100,000 IPv6", true, 28, 48);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holds),
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_joined),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
