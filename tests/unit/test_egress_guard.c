/* What tells a loop through a proxy from a busy client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>

#include <cmocka.h>

#include "gateway/egress/guard.h"

static struct guard guard;
static const struct ip_port at = {.port = 443};

static int enter(const char *client, const char *host, enum guard_limit limit, int64_t now_ms)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(client, &a), 0);
	return guard_enter(&guard, &a, host, &at, limit, now_ms);
}

static int begin(void **state)
{
	(void)state;
	guard = (struct guard){0};
	return 0;
}

static void dials_that_never_connect(void **state)
{
	static const struct {
		enum guard_limit limit;
		unsigned most;
	} v[] = {{GUARD_IS_NEAR, GUARD_NEAR}, {GUARD_IS_ACCEPTED, GUARD_NEAR},
		{GUARD_IS_FAR, GUARD_FAR}};

	for (unsigned k = 0; k < 3; k++) {
		begin(state);
		for (unsigned i = 0; i < v[k].most; i++)
			assert_true(enter("10.0.0.1", "a.test", v[k].limit, 1000) >= 0);
		assert_int_equal(enter("10.0.0.1", "A.TEST", v[k].limit, 1000), -ELOOP);
		/* For a while; others are not touched. */
		assert_int_equal(enter("10.0.0.1", "a.test", v[k].limit, 2999), -ELOOP);
		assert_true(enter("10.0.0.1", "b.test", v[k].limit, 1000) >= 0);
		assert_true(enter("10.0.0.2", "a.test", v[k].limit, 1000) >= 0);
	}
}

static void those_that_connect(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		int slot = enter("10.0.0.1", "a.test", i & 1 ? GUARD_IS_NEAR : GUARD_IS_FAR, 1000);

		assert_true(slot >= 0);
		guard_leave(&guard, slot, true);
	}
}

/* Each dial of such a loop connects: its pace tells. */
static void accepted_ones_that_connect(void **state)
{
	int64_t now_ms = 1000;

	(void)state;
	for (unsigned second = 0; second < 3; second++, now_ms += GUARD_RATE_MS) {
		for (unsigned i = 0; i < GUARD_RATE; i++)
			guard_leave(&guard, enter("10.0.0.1", "a.test", GUARD_IS_ACCEPTED, now_ms),
				true);
	}
	now_ms -= GUARD_RATE_MS;
	assert_int_equal(enter("10.0.0.1", "a.test", GUARD_IS_ACCEPTED, now_ms + 999), -ELOOP);
	assert_int_equal(enter("10.0.0.1", "a.test", GUARD_IS_FAR, now_ms + 999), -ELOOP);
	now_ms += 999 + GUARD_REFUSE_MS;
	for (unsigned i = 0; i < GUARD_RATE; i++)
		guard_leave(&guard, enter("10.0.0.1", "a.test", GUARD_IS_ACCEPTED, now_ms), true);
	assert_int_equal(enter("10.0.0.1", "a.test", GUARD_IS_ACCEPTED, now_ms), -ELOOP);
}

static void those_that_end(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5 * GUARD_NEAR; i++)
		guard_leave(&guard, enter("10.0.0.1", "a.test", GUARD_IS_NEAR, 1000), false);
	assert_true(enter("10.0.0.1", "a.test", GUARD_IS_NEAR, 1000) >= 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(dials_that_never_connect, begin),
		cmocka_unit_test_setup(those_that_connect, begin),
		cmocka_unit_test_setup(accepted_ones_that_connect, begin),
		cmocka_unit_test_setup(those_that_end, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
