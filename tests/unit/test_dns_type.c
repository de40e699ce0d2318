#include "tests/unit/dns_packet.h"

#include <errno.h>

static void formats(void **state)
{
	char buf[16];

	(void)state;
	assert_string_equal(dns_type_format(1, buf), "A");
	assert_string_equal(dns_type_format(65, buf), "HTTPS");
	assert_string_equal(dns_type_format(255, buf), "ANY");
	assert_string_equal(dns_type_format(65280, buf), "TYPE65280");
	assert_string_equal(dns_type_format(0, buf), "TYPE0");
}

static void parses_what_it_formats(void **state)
{
	char buf[16];
	uint16_t type;

	(void)state;
	for (unsigned i = 0; i <= 65535; i++) {
		dns_type_format((uint16_t)i, buf);
		assert_true(strlen(buf) < sizeof buf);
		type = (uint16_t)~i;
		assert_int_equal(dns_type_parse(buf, &type), 0);
		assert_int_equal(type, i);
	}
}

static void parses_other_spellings(void **state)
{
	static const char *const wrong[] = {"", "X", "TYPE", "TYPE65536", "TYPE-1", "TYPE 1",
		"TYPE1x", "AA", "HTTP", "TYPE99999999999999999999"};
	uint16_t type = 0;

	(void)state;
	assert_int_equal(dns_type_parse("aaaa", &type), 0);
	assert_int_equal(type, 28);
	assert_int_equal(dns_type_parse("Type1", &type), 0);
	assert_int_equal(type, 1);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(dns_type_parse(wrong[i], &type), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats),
		cmocka_unit_test(parses_what_it_formats),
		cmocka_unit_test(parses_other_spellings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
