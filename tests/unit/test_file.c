/* Files that are kept aside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/file.h"

static char folder[] = "/tmp/tungate-file-XXXXXX";
static char path[64];

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof path, "%s/f", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return rmdir(folder);
}

static void write_number(unsigned n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fprintf(f, "%u", n);
	assert_int_equal(fclose(f), 0);
}

static unsigned read_number(const char *of)
{
	FILE *f = fopen(of, "r");
	unsigned n = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%u", &n), 1);
	fclose(f);
	return n;
}

static void nothing_that_was_kept_is_lost(void **state)
{
	char *kept[9], *more = NULL, expected[80];

	(void)state;
	for (unsigned i = 0; i < 9; i++) {
		write_number(i + 1);
		assert_int_equal(file_keep_aside(path, &kept[i]), 0);
		(void)snprintf(
			expected, sizeof expected, i ? "%s.foreign.%u" : "%s.foreign", path, i + 1);
		assert_string_equal(kept[i], expected);
		assert_int_equal(access(path, F_OK), -1);
	}
	write_number(10);
	assert_int_equal(file_keep_aside(path, &more), -EEXIST);
	assert_null(more);
	assert_int_equal(file_move(path, kept[0]), -EEXIST);
	assert_int_equal(read_number(path), 10);
	for (unsigned i = 0; i < 9; i++) {
		assert_int_equal(read_number(kept[i]), i + 1);
		assert_int_equal(unlink(kept[i]), 0);
		free(kept[i]);
	}
	assert_int_equal(unlink(path), 0);
	assert_int_equal(file_keep_aside(path, &more), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_that_was_kept_is_lost),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
