/* gateway/base: the hash of keys that others choose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gateway/base/siphash.h"

#define KEY UINT64_C(0x0706050403020100)

/* By another implementation, which was held against the authors' vectors. */
static void values(void **state)
{
	static const uint64_t words[] = {
		0x0706050403020100, 0x0f0e0d0c0b0a0908, 0x1716151413121110};

	(void)state;
	assert_true(siphash(KEY, words, 0) == 0xdfb59f6ff470a0a6);
	assert_true(siphash(KEY, words, 8) == 0x97d1b408766f2bb6);
	assert_true(siphash(KEY, words, 16) == 0xc02eede186a15a22);
	assert_true(siphash(KEY, words, 24) == 0x10e7301da7dc8234);
}

/* Whatever rest there is behind the last word. */
static void each_bit_counts(void **state)
{
	uint8_t bytes[24] = "whatever is to be hashed";

	(void)state;
	for (size_t size = 1; size <= sizeof bytes; size++) {
		uint64_t whole = siphash(KEY, bytes, size);

		assert_true(whole != siphash(KEY + 1, bytes, size));
		for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(siphash(KEY, bytes, size) != whole, bit < size * 8);
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test(each_bit_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
