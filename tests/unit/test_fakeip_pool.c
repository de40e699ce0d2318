#include "test_fakeip.h"

#include <arpa/inet.h>

static void addresses_are_base_plus_index(void **state)
{
	struct fakeip_pool_config c = test_pools(15, 64);
	struct fakeip_table *t = test_table(&c);
	struct test_name a = test_name("a.test"), b = test_name("b.test");
	struct fakeip_pair pa, pb;
	char text[INET6_ADDRSTRLEN];

	(void)state;
	assert_int_equal(test_assign(t, &a, 0, 10, &pa), 0);
	assert_int_equal(test_assign(t, &b, 0, 10, &pb), 0);
	assert_true(pa.has4 && pa.has6);
	assert_int_equal(pa.index, 2);
	assert_string_equal(inet_ntop(AF_INET, pa.v4, text, sizeof text), "198.18.0.2");
	assert_string_equal(inet_ntop(AF_INET6, pa.v6, text, sizeof text), "fd00:198:18::2");
	assert_string_equal(inet_ntop(AF_INET, pb.v4, text, sizeof text), "198.18.0.3");
	assert_string_equal(inet_ntop(AF_INET6, pb.v6, text, sizeof text), "fd00:198:18::3");
	fakeip_free(t);
}

static bool index_of(const struct fakeip_table *t, const char *text, uint32_t *ret)
{
	uint8_t b[16];

	if (inet_pton(AF_INET, text, b) == 1)
		return fakeip_index4(t, b, ret);
	assert_int_equal(inet_pton(AF_INET6, text, b), 1);
	return fakeip_index6(t, b, ret);
}

static bool in_pools(const struct fakeip_table *t, const char *text)
{
	uint8_t b[16];

	if (inet_pton(AF_INET, text, b) == 1)
		return fakeip_in_pools(t, b, 4);
	assert_int_equal(inet_pton(AF_INET6, text, b), 1);
	return fakeip_in_pools(t, b, 16);
}

static void reserved_addresses_have_no_index(void **state)
{
	static const char *const given[] = {
		"198.18.0.2", "198.19.255.254", "fd00:198:18::2", "fd00:198:18::1:fffe"};
	static const uint32_t index[] = {2, 0x1fffe, 2, 0x1fffe};
	static const char *const reserved[] = {"198.18.0.0", "198.18.0.1", "198.19.255.255",
		"fd00:198:18::", "fd00:198:18::1", "fd00:198:18::1:ffff", "fd00:198:18::2:0",
		"fd00:198:18:0:1::2", "fd00:198:18::1:0:0:2"};
	static const char *const outside[] = {
		"198.17.255.255", "198.20.0.2", "fd00:198:18:1::2", "::2"};
	struct fakeip_pool_config c = test_pools(15, 64);
	struct fakeip_table *t = test_table(&c);
	uint32_t i;

	(void)state;
	for (size_t k = 0; k < 4; k++) {
		assert_true(index_of(t, given[k], &i));
		assert_int_equal(i, index[k]);
		assert_true(in_pools(t, given[k]));
	}
	for (size_t k = 0; k < sizeof reserved / sizeof *reserved; k++)
		assert_false(index_of(t, reserved[k], &i));
	for (size_t k = 0; k < sizeof outside / sizeof *outside; k++) {
		assert_false(index_of(t, outside[k], &i));
		assert_false(in_pools(t, outside[k]));
	}
	assert_true(in_pools(t, "198.18.0.0"));
	assert_true(in_pools(t, "198.19.255.255"));
	assert_true(in_pools(t, "fd00:198:18::"));
	assert_true(in_pools(t, "fd00:198:18:0:1::2"));
	assert_false(fakeip_in_pools(t, (const uint8_t *)"\xc6\x12\0\2", 5));
	fakeip_free(t);
}

static uint32_t size_of(uint8_t len4, uint8_t len6, uint32_t max)
{
	struct fakeip_pool_config c = test_pools(len4, len6);
	struct fakeip_table *t;
	struct fakeip_stats s;

	c.max = max;
	t = test_table(&c);
	fakeip_stats(t, 0, &s);
	fakeip_free(t);
	return s.size;
}

static void size_is_the_smaller_pool_less_reserved(void **state)
{
	(void)state;
	assert_int_equal(size_of(15, 64, 0), 131072 - 3);
	assert_int_equal(size_of(15, 0, 0), 131072 - 3);
	assert_int_equal(size_of(15, 120, 0), 256 - 3);
	assert_int_equal(size_of(28, 64, 0), 16 - 3);
	assert_int_equal(size_of(30, 0, 0), 1);
	assert_int_equal(size_of(0, 126, 0), 1);
	assert_int_equal(size_of(0, 64, 0), 1 << 20);
	assert_int_equal(size_of(15, 64, 10), 10);
	assert_int_equal(size_of(1, 1, 0), 1 << 20);
}

static void prefixes_without_room_are_refused(void **state)
{
	static const uint8_t lens[][2] = {
		{0, 0}, {31, 64}, {32, 0}, {15, 127}, {0, 128}, {33, 0}, {0, 129}};
	struct fakeip_table *t;

	(void)state;
	for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
		struct fakeip_pool_config c = test_pools(lens[i][0], lens[i][1]);

		assert_int_equal(fakeip_new(&c, TEST_KEY, &t), -EINVAL);
	}
}

/* Each address of a small pool, there and back; the other family's indexes are the same. */
static void one_family_or_both(void **state)
{
	static const uint8_t lens[][2] = {{28, 124}, {28, 0}, {0, 124}};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct fakeip_pool_config c = test_pools(lens[i][0], lens[i][1]);
		struct fakeip_table *t;

		c.net4[3] = 0x50;
		c.net6[15] = 0x70;
		t = test_table(&c);
		for (unsigned n = 0; n < 13; n++) {
			struct test_name name = test_name_number(n);
			struct fakeip_pair p;
			uint32_t index;

			assert_int_equal(test_assign(t, &name, 0, 1, &p), 0);
			assert_int_equal(p.has4, lens[i][0] != 0);
			assert_int_equal(p.has6, lens[i][1] != 0);
			if (p.has4) {
				assert_int_equal(p.v4[3], 0x52 + n);
				assert_true(fakeip_index4(t, p.v4, &index));
				assert_int_equal(index, p.index);
			} else {
				assert_false(fakeip_index4(
					t, (const uint8_t *)"\xc6\x12\0\x52", &index));
			}
			if (p.has6) {
				assert_int_equal(p.v6[15], 0x72 + n);
				assert_true(fakeip_index6(t, p.v6, &index));
				assert_int_equal(index, p.index);
			}
		}
		fakeip_free(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_base_plus_index),
		cmocka_unit_test(reserved_addresses_have_no_index),
		cmocka_unit_test(size_is_the_smaller_pool_less_reserved),
		cmocka_unit_test(prefixes_without_room_are_refused),
		cmocka_unit_test(one_family_or_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
