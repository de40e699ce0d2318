/* geoip.dat: prefixes of one category, and what is none. */
#include "tests/unit/lists_pack.h"

static struct pack country, file;

static void country_begin(const char *name)
{
	country.n = 0;
	pack_field_text(&country, 1, name);
}

static void cidr_add(const void *address, size_t size, uint64_t bits)
{
	static struct pack cidr;

	cidr.n = 0;
	pack_field_bytes(&cidr, 1, address, size);
	pack_field(&cidr, 2, bits);
	pack_field_pack(&country, 2, &cidr);
}

static void country_end(void)
{
	pack_field_pack(&file, 1, &country);
}

static int file_read(struct log *log, const char *tag, size_t n, struct list_counts *ret)
{
	const struct list_source source = {"f", "lists.l", LIST_GEOIP, tag, NULL};

	return pack_read(log, &source, file.b, n, ret);
}

static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, 0xff};
static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 1};

static void file_make(void)
{
	file.n = 0;
	country_begin("US");
	cidr_add("\x08\x08\x00\x00", 4, 16);
	country_end();
	country_begin("CN");
	cidr_add("\x01\x02\x03\x04", 4, 32);
	cidr_add("\x01\x02\x03\x04", 4, 8); /* bits behind the length are nobody's */
	cidr_add("\x00\x00\x00\x00", 4, 0);
	cidr_add(v6, 16, 33);
	cidr_add(v6, 16, 0);
	cidr_add(mapped, 16, 112);
	country_end();
}

static void test_gives_one_category(void **state)
{
	static struct log log;
	struct list_counts counts;

	(void)state;
	file_make();
	assert_int_equal(file_read(&log, "cn", file.n, &counts), 0);
	assert_string_equal(log.entries, "0:prefix 1.2.3.4/32\n0:prefix 1.0.0.0/8\n"
					 "0:prefix 0.0.0.0/0\n0:prefix 2001:db8:8000::/33\n"
					 "0:prefix ::/0\n0:prefix 10.1.0.0/16\n");
	assert_int_equal(counts.entries, 6);
	assert_int_equal(file_read(&log, "us", file.n, &counts), 0);
	assert_string_equal(log.entries, "0:prefix 8.8.0.0/16\n");
	assert_int_equal(file_read(&log, "uk", file.n, &counts), -EBADMSG);
	assert_non_null(strstr(log.told, "no category \"uk\" among its 2; allowed: US, CN"));
	assert_int_equal(file_read(&log, NULL, file.n, &counts), -EBADMSG);
	assert_non_null(strstr(log.told, "path:tag"));
}

static void test_inverse(void **state)
{
	static struct log log;

	(void)state;
	file_make();
	country_begin("NOT-CN");
	cidr_add("\x01\x02\x03\x04", 4, 32);
	pack_field(&country, 3, 1);
	country_end();
	country_begin("ALSO-CN");
	cidr_add("\x01\x02\x03\x04", 4, 32);
	pack_field(&country, 3, 0);
	country_end();
	assert_int_equal(file_read(&log, "not-cn", file.n, NULL), -EBADMSG);
	assert_non_null(strstr(log.told, "cannot be used"));
	assert_int_equal(file_read(&log, "also-cn", file.n, NULL), 0);
	assert_string_equal(log.entries, "0:prefix 1.2.3.4/32\n");
	assert_int_equal(file_read(&log, "us", file.n, NULL), 0);
}

static void test_no_prefixes(void **state)
{
	static struct log log;
	static uint8_t many[300];
	struct list_counts counts;

	(void)state;
	file_make();
	country_begin("BAD");
	cidr_add("\x01\x02\x03\x04", 4, 33);
	cidr_add("\x01\x02\x03\x04", 4, UINT64_MAX);
	cidr_add(v6, 16, 129);
	cidr_add(v6, 15, 8);
	cidr_add(v6, 0, 0);
	cidr_add(many, sizeof many, 8);
	for (int i = 0; i < 6; i++)
		cidr_add("\x01\x02\x03\x04", 4, 32);
	country_end();
	assert_int_equal(file_read(&log, "bad", file.n, &counts), 0);
	assert_int_equal(counts.skipped, 6);
	assert_int_equal(counts.entries, 6);
	assert_int_equal(log.n, 6);
}

static void test_cut_short(void **state)
{
	static struct log log;
	size_t first;

	(void)state;
	file_make();
	first = 2u + file.b[1];
	for (size_t n = 0; n < file.n; n++)
		assert_int_equal(file_read(&log, "cn", n, NULL), -EBADMSG);
	for (size_t n = 0; n < file.n; n++)
		assert_int_equal(file_read(&log, "us", n, NULL), n == first ? 0 : -EBADMSG);
}

/* Every byte, one after the other, is another: no harm, and an error is told once. */
static void test_damaged(void **state)
{
	static struct log log;

	(void)state;
	file_make();
	for (size_t at = 0; at < file.n; at++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			int err;

			file.b[at] ^= (uint8_t)(1u << bit);
			err = file_read(&log, "cn", file.n, NULL);
			assert_true(err == 0 || err == -EBADMSG);
			file.b[at] ^= (uint8_t)(1u << bit);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gives_one_category),
		cmocka_unit_test(test_inverse),
		cmocka_unit_test(test_no_prefixes),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
