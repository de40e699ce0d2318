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

static bool begins(int64_t now_ms)
{
	int slot = enter("10.0.0.1", "a.test", GUARD_IS_ACCEPTED, now_ms);

	if (slot >= 0)
		guard_leave(&guard, slot, true);
	return slot >= 0;
}

/* Each dial of such a loop connects: its pace tells. */
static void accepted_ones_that_connect(void **state)
{
	int64_t now_ms = 1000;

	(void)state;
	for (unsigned i = 0; i < 1000; i++, now_ms += GUARD_EVERY_MS)
		assert_true(begins(now_ms));
	for (unsigned i = 0; i < GUARD_BURST; i++)
		assert_true(begins(now_ms));
	assert_true(begins(now_ms + GUARD_EVERY_MS));
	assert_false(begins(now_ms + GUARD_EVERY_MS));
	/* For all of this destination, for a while. */
	now_ms += GUARD_EVERY_MS + GUARD_REFUSE_MS;
	assert_int_equal(enter("10.0.0.1", "a.test", GUARD_IS_FAR, now_ms - 1), -ELOOP);
	assert_true(begins(now_ms));
	/* A slow one is found, too. */
	for (unsigned i = 0; i < 2 * GUARD_BURST; i++, now_ms += GUARD_EVERY_MS / 3)
		if (!begins(now_ms))
			return;
	fail();
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
