#ifndef TUNGATE_TESTS_NAMES_H
#define TUNGATE_TESTS_NAMES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "gateway/dns/name.h"

static inline struct dns_name name_of(const char *text)
{
	struct dns_name name;

	memset(&name, 0xff, sizeof name);
	assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
	return name;
}

#endif
