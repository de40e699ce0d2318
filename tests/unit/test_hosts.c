/* This host's addresses: what the kernel told last, read by any thread while it changes. */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "netlink/hosts.h"

/* --- the kernel's addresses --- */

static const char *const *told;
static size_t n_told;
static int rt_error;

int rt_addresses(struct rt *rt, rt_address_visit *visit, void *arg)
{
	(void)rt;
	for (size_t i = 0; i < n_told; i++) {
		struct ip_addr a;

		assert_int_equal(ip_addr_parse(told[i], &a), 0);
		visit(arg, 2, &a, 24);
	}
	return rt_error;
}

static bool contain(const struct hosts *h, const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(text, &a), 0);
	return hosts_contain(h, &a);
}

static int reload(struct hosts *h, const char *const *addresses, size_t n)
{
	told = addresses;
	n_told = n;
	return hosts_reload(h, NULL);
}

static void the_last_list_counts(void **state)
{
	static const char *const first[] = {"192.0.2.1", "2001:db8::1"}, *const second[] = {
										 "192.0.2.2"};
	struct hosts *h;

	(void)state;
	assert_int_equal(hosts_new(&h), 0);
	assert_true(contain(h, "127.0.0.53"));
	assert_true(contain(h, "::1"));
	assert_false(contain(h, "192.0.2.1"));
	assert_int_equal(reload(h, first, 2), 0);
	assert_true(contain(h, "192.0.2.1"));
	assert_true(contain(h, "2001:db8::1"));
	assert_true(contain(h, "::ffff:192.0.2.1"));
	assert_false(contain(h, "192.0.2.2"));
	assert_int_equal(reload(h, second, 1), 0);
	assert_true(contain(h, "192.0.2.2"));
	assert_false(contain(h, "192.0.2.1"));
	/* A dump that failed half-way is not believed. */
	rt_error = -EINTR;
	assert_int_equal(reload(h, first, 1), -EINTR);
	rt_error = 0;
	assert_true(contain(h, "192.0.2.2"));
	assert_false(contain(h, "192.0.2.1"));
	hosts_free(h);
	hosts_free(NULL);
}

static void more_addresses_than_are_kept(void **state)
{
	static const char *many[1000];
	struct hosts *h;

	(void)state;
	for (size_t i = 0; i < 1000; i++)
		many[i] = i == 0 ? "192.0.2.1" : "192.0.2.3";
	assert_int_equal(hosts_new(&h), 0);
	assert_int_equal(reload(h, many, 1000), 0);
	assert_true(contain(h, "192.0.2.1"));
	hosts_free(h);
}

struct race {
	struct hosts *hosts;
	atomic_bool over;
	atomic_uint looks, misses;
};

static void *look(void *arg)
{
	struct race *r = arg;
	struct ip_addr a;

	(void)ip_addr_parse("192.0.2.9", &a);
	while (!r->over) {
		if (!hosts_contain(r->hosts, &a)) /* it is in both lists */
			r->misses++;
		r->looks++;
	}
	return NULL;
}

static void readers_see_one_list_or_the_other(void **state)
{
	static const char *const one[] = {"192.0.2.9"}, *const two[] = {"192.0.2.1", "192.0.2.9"};
	struct race race = {0};
	pthread_t thread;

	(void)state;
	assert_int_equal(hosts_new(&race.hosts), 0);
	assert_int_equal(reload(race.hosts, one, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, look, &race), 0);
	for (unsigned i = 0; i < 2000 || race.looks < 2000; i++)
		assert_int_equal(reload(race.hosts, i % 2 ? one : two, i % 2 ? 1 : 2), 0);
	race.over = true;
	pthread_join(thread, NULL);
	assert_int_equal(race.misses, 0);
	hosts_free(race.hosts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_list_counts),
		cmocka_unit_test(more_addresses_than_are_kept),
		cmocka_unit_test(readers_see_one_list_or_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
