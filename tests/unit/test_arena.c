/* The arena: pieces of all sizes side by side, zeroed and aligned, and what cannot be had. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "gateway/base/arena.h"

#define PIECES 400

static int open_arena(void **state)
{
	*state = arena_new();
	return *state ? 0 : -1;
}

static int close_arena(void **state)
{
	arena_free(*state);
	return 0;
}

static size_t piece_bytes(size_t i)
{
	return i % 50 == 7 ? 20000 + i : i % 97; /* larger than a chunk, or small, or nothing */
}

static void pieces_stay_apart(void **state)
{
	unsigned char *at[PIECES];

	for (size_t i = 0; i < PIECES; i++) {
		at[i] = arena_alloc(*state, piece_bytes(i));
		assert_non_null(at[i]);
		assert_int_equal((uintptr_t)at[i] % _Alignof(max_align_t), 0);
		for (size_t j = 0; j < piece_bytes(i); j++)
			assert_int_equal(at[i][j], 0);
		memset(at[i], (int)(i % 255) + 1, piece_bytes(i));
	}
	for (size_t i = 0; i < PIECES; i++)
		for (size_t j = 0; j < piece_bytes(i); j++)
			assert_int_equal(at[i][j], i % 255 + 1);
	assert_false(arena_failed(*state));
}

static void too_much_is_remembered(void **state)
{
	assert_null(arena_array(*state, SIZE_MAX / 16 + 1, 16));
	assert_true(arena_failed(*state));
	assert_null(arena_alloc(*state, SIZE_MAX));
	assert_null(arena_alloc(*state, SIZE_MAX - 8));
	assert_non_null(arena_array(*state, 3, 5));
	assert_non_null(arena_array(*state, 0, 5));
	assert_non_null(arena_array(*state, 5, 0));
	assert_true(arena_failed(*state));
}

static void texts(void **state)
{
	static const char bytes[] = {'a', 'b', 'c'};
	char *wide = arena_printf(*state, "%*d", 9000, 7);

	assert_string_equal(arena_strdup(*state, ""), "");
	assert_string_equal(arena_strndup(*state, bytes, 2), "ab");
	assert_memory_equal(arena_copy(*state, bytes, 3), bytes, 3);
	assert_string_equal(arena_printf(*state, "lists.%s", "ads"), "lists.ads");
	assert_int_equal(strlen(wide), 9000);
	assert_int_equal(wide[8999], '7');
}

static void none(void **state)
{
	(void)state;
	arena_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pieces_stay_apart, open_arena, close_arena),
		cmocka_unit_test_setup_teardown(too_much_is_remembered, open_arena, close_arena),
		cmocka_unit_test_setup_teardown(texts, open_arena, close_arena),
		cmocka_unit_test(none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
