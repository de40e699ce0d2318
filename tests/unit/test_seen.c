/* Names that clients were told: the latest first, for a while, bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/carry/seen.h"
#include "tests/unit/names.h"

static struct seen *fresh(unsigned max)
{
	struct seen *s;

	assert_int_equal(seen_new(max, &s), 0);
	return s;
}

static struct ip_addr v4(unsigned i)
{
	return ip_addr_v4((uint8_t[]){10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i});
}

static void note(struct seen *s, unsigned client, unsigned address, const char *text,
	uint32_t ttl_s, uint32_t now_s)
{
	struct ip_addr c = v4(client), a = v4(address);
	struct dns_name n = name_of(text);

	seen_note(s, &c, &a, &n, ttl_s, now_s);
}

static void expect(struct seen *s, unsigned client, unsigned address, uint32_t now_s, size_t n,
	const char *const *texts)
{
	struct ip_addr c = v4(client), a = v4(address);
	struct dns_name got[SEEN_NAMES];

	assert_int_equal(seen_find(s, &c, &a, now_s, got), n);
	for (size_t i = 0; i < n; i++) {
		struct dns_name wanted = name_of(texts[i]);
		static const uint8_t zero[8];

		assert_true(dns_name_equal(&got[i], &wanted));
		assert_int_equal(got[i].labels, wanted.labels);
		/* As struct dns_name promises: it is hashed in words. */
		assert_int_equal(dns_name_hash(&got[i], 5), dns_name_hash(&wanted, 5));
		if (got[i].len < 248)
			assert_memory_equal(got[i].b + got[i].len, zero, 8 - got[i].len % 8);
	}
}
#define EXPECT(s, c, a, now, ...)                                                                  \
	expect(s, c, a, now, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),               \
		(const char *[]){__VA_ARGS__})

static void test_the_latest_first(void **state)
{
	struct seen *s = fresh(100);

	(void)state;
	expect(s, 1, 2, 0, 0, NULL);
	note(s, 1, 2, "a.test", 60, 0);
	EXPECT(s, 1, 2, 0, "a.test");
	note(s, 1, 2, "b.test", 60, 0);
	note(s, 1, 2, "c.longer.test", 60, 0);
	note(s, 1, 2, "d.test", 60, 0);
	EXPECT(s, 1, 2, 0, "d.test", "c.longer.test", "b.test", "a.test");
	note(s, 1, 2, "b.test", 60, 0); /* again: it moves, it is not doubled */
	EXPECT(s, 1, 2, 0, "b.test", "d.test", "c.longer.test", "a.test");
	note(s, 1, 2, "e.test", 60, 0);
	EXPECT(s, 1, 2, 0, "e.test", "b.test", "d.test", "c.longer.test");
	expect(s, 2, 1, 0, 0, NULL);
	expect(s, 1, 3, 0, 0, NULL);
	expect(s, 3, 2, 0, 0, NULL);
	seen_free(s);
	seen_free(NULL);
}

static void test_each_for_its_time(void **state)
{
	struct seen *s = fresh(100);

	(void)state;
	note(s, 1, 2, "long.test", 1000, 10);
	note(s, 1, 2, "short.test", 5, 10);
	note(s, 1, 2, "for.ever.test", UINT32_MAX, 10);
	EXPECT(s, 1, 2, 14 + SEEN_GRACE_S, "for.ever.test", "short.test", "long.test");
	EXPECT(s, 1, 2, 15 + SEEN_GRACE_S, "for.ever.test", "long.test");
	EXPECT(s, 1, 2, 1010 + SEEN_GRACE_S, "for.ever.test");
	expect(s, 1, 2, UINT32_MAX, 0, NULL);
	note(s, 1, 2, "short.test", 1000, 2000); /* told anew */
	EXPECT(s, 1, 2, 3000, "short.test", "for.ever.test");
	seen_free(s);
}

static void test_the_longest_names(void **state)
{
	struct seen *s = fresh(100);
	char a[256] = "", b[256] = "";

	(void)state;
	for (int i = 0; i < 126; i++) {
		strcat(a, "a.");
		strcat(b, "b.");
	}
	strcat(a, "a");
	strcat(b, "b");
	assert_int_equal(name_of(a).len, DNS_NAME_MAX);
	note(s, 1, 2, "short.test", 60, 0);
	note(s, 1, 2, a, 60, 0);
	EXPECT(s, 1, 2, 0, a);
	note(s, 1, 2, b, 60, 0);
	EXPECT(s, 1, 2, 0, b);
	note(s, 1, 2, "one.test", 60, 0);
	note(s, 1, 2, "two.test", 60, 0);
	EXPECT(s, 1, 2, 0, "two.test", "one.test");
	note(s, 1, 2, ".", 60, 0);
	EXPECT(s, 1, 2, 0, ".", "two.test", "one.test");
	seen_free(s);
}

static void test_both_families(void **state)
{
	struct seen *s = fresh(100);
	struct ip_addr client = ip_addr_v6((uint8_t[16]){0xfd, [15] = 1});
	struct ip_addr address = ip_addr_v6((uint8_t[16]){0x20, 1, [15] = 1}), v4_address = v4(5);
	struct dns_name n = name_of("six.test"), got[SEEN_NAMES];

	(void)state;
	seen_note(s, &client, &address, &n, 60, 0);
	assert_int_equal(seen_find(s, &client, &address, 0, got), 1);
	assert_int_equal(seen_find(s, &client, &v4_address, 0, got), 0);
	seen_free(s);
}

static void test_the_unused_give_way(void **state)
{
	enum { ROOM = 16 * 8 };
	struct seen *s = fresh(ROOM);
	char text[32];
	unsigned there = 0;

	(void)state;
	note(s, 1, 1, "needed.test", 60000, 0);
	for (unsigned i = 0; i < 50 * ROOM; i++) {
		struct ip_addr c = v4(1), a = v4(1);
		struct dns_name got[SEEN_NAMES];

		snprintf(text, sizeof text, "n%u.test", i);
		note(s, 2, 1000 + i, text, 60000, 0);
		assert_int_equal(seen_find(s, &c, &a, 0, got), 1);
	}
	for (unsigned i = 0; i < 50 * ROOM; i++) {
		struct ip_addr c = v4(2), a = v4(1000 + i);
		struct dns_name got[SEEN_NAMES];

		there += seen_find(s, &c, &a, 0, got) == 1;
	}
	assert_int_equal(there, ROOM - 1);
	EXPECT(s, 2, 1000 + 50 * ROOM - 1, 0, text);
	seen_free(s);
}

static void test_a_table_of_one(void **state)
{
	struct seen *s = fresh(1);

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		note(s, i, i + 1, "x.test", 60, 0);
		EXPECT(s, i, i + 1, 0, "x.test");
	}
	seen_free(s);
}

/* --- threads --- */

static _Atomic unsigned failures, found;

static void *tell(void *arg)
{
	struct seen *s = arg;
	uint32_t random = (uint32_t)(uintptr_t)&random | 1;

	for (unsigned i = 0; i < 20000; i++) {
		struct dns_name n, got[SEEN_NAMES];
		struct ip_addr c, a;
		char text[32];
		unsigned which;

		random ^= random << 13;
		random ^= random >> 17;
		random ^= random << 5;
		which = random % 60;
		c = v4(which);
		a = v4(which * 7);
		/* The name tells whose it is. */
		snprintf(text, sizeof text, "n%u.w%u.test", random / 64 % 6, which);
		if (dns_name_parse(text, strlen(text), &n))
			failures++;
		if (random / 1024 % 2) {
			seen_note(s, &c, &a, &n, 60, i / 100);
			continue;
		}
		for (size_t j = seen_find(s, &c, &a, i / 100, got); j--; found++) {
			char wanted[DNS_NAME_TEXT_MAX], *dot;

			dns_name_format(got[j].b, wanted);
			dot = strchr(wanted, '.');
			if (!dot || strcmp(dot, strchr(text, '.')) != 0)
				failures++;
		}
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct seen *s = fresh(48); /* fewer than there are */
	pthread_t threads[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, tell, s), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(failures, 0);
	assert_true(found > 100);
	seen_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_latest_first),
		cmocka_unit_test(test_each_for_its_time),
		cmocka_unit_test(test_the_longest_names),
		cmocka_unit_test(test_both_families),
		cmocka_unit_test(test_the_unused_give_way),
		cmocka_unit_test(test_a_table_of_one),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
