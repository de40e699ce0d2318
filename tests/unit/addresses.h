/* From text, for tests. */
#ifndef TUNGATE_TESTS_ADDRESSES_H
#define TUNGATE_TESTS_ADDRESSES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "gateway/base/addr.h"

static inline struct ip_addr address_of(const char *text)
{
	struct ip_addr a;

	memset(&a, 0xee, sizeof a);
	assert_int_equal(ip_addr_parse(text, &a), 0);
	return a;
}

static inline struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(text, &p), 0);
	return p;
}

/* With its port. */
static inline struct ip_port at_of(const char *text)
{
	struct ip_port p;

	assert_int_equal(ip_port_parse(text, 0, &p), 0);
	return p;
}

#endif
