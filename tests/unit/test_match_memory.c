/* Without memory: each allocation of building, joining, writing and reading fails once. What was
 * asked for is there all the same or the error is -ENOMEM, and nothing leaks (ASan). */
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

#include "gateway/match/image.h"
#include "tests/unit/image_copy.h"

static int left = -1; /* allocations until one fails; negative: none does */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static bool fails(void)
{
	return left >= 0 && left-- == 0;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

static int add_names(struct matcher_builder *b, unsigned sources, unsigned n)
{
	char text[64], why[64];
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++) {
		struct dns_name name;

		(void)snprintf(text, sizeof text, "n%u.zone%u.test", i, i % 7);
		err = dns_name_parse(text, strlen(text), &name);
		if (!err)
			err = matcher_builder_add(b, i % sources, i % MATCHER_NAME_KINDS, &name);
	}
	if (!err)
		err = matcher_builder_add_keyword(b, 0, "word", 4);
	if (!err)
		err = matcher_builder_add_regexp(b, 1, "^x[0-9]", 7, why, sizeof why);
	return err;
}

static int build_names(struct matcher **ret)
{
	struct matcher_builder *b = NULL;
	int err = matcher_builder_new(MATCHER_IMAGE_KEY, 3, &b);

	if (!err)
		err = add_names(b, 3, 300);
	if (!err)
		err = matcher_builder_finish(b, ret);
	if (err)
		matcher_builder_free(b);
	return err;
}

/* Joined with itself and names of its own. */
static int join_names(const struct matcher *from, struct matcher **ret)
{
	static const int one[] = {0, 1, -1}, other[] = {1, 2, 0};
	struct matcher_builder *b = NULL;
	int err = matcher_builder_new(MATCHER_IMAGE_KEY, 4, &b);

	if (!err)
		err = matcher_builder_add_from(b, from, one);
	if (!err)
		err = matcher_builder_add_from(b, from, other);
	if (!err)
		err = add_names(b, 4, 100);
	if (!err)
		err = matcher_builder_finish(b, ret);
	if (err)
		matcher_builder_free(b);
	return err;
}

static int build_addresses(struct addresses **ret)
{
	struct addresses_builder *b = NULL;
	int err = addresses_builder_new(&b);

	for (unsigned i = 0; i < 200 && !err; i++) {
		struct ip_prefix p = {{{10, (uint8_t)i}, i % 2 ? IP_V4 : IP_V6}, 16};

		err = addresses_builder_add(b, 0, &p);
	}
	if (!err)
		err = addresses_builder_finish(b, NULL, ret);
	if (err)
		addresses_builder_free(b);
	return err;
}

static int read_back(const char *path, struct image *ret)
{
	static uint8_t bytes[1 << 16];
	FILE *f = fopen(path, "r");
	const char *why;
	size_t n;

	assert_non_null(f);
	n = fread(bytes, 1, sizeof bytes, f);
	(void)fclose(f);
	return image_copy(bytes, n, ret, &why);
}

static void check(const struct matcher *m)
{
	struct matcher_hits hits;
	struct dns_name name;

	assert_int_equal(dns_name_parse("n1.zone1.test", 13, &name), 0);
	matcher_find(m, &name, &hits);
	assert_true(matcher_hits_has(&hits, 1));
	assert_int_equal(dns_name_parse("my-words.x7.test", 16, &name), 0);
	matcher_find(m, &name, &hits);
	assert_true(matcher_hits_has(&hits, 0));
	assert_false(matcher_hits_has(&hits, 2));
}

/* All of it; the first error. */
static int all(void)
{
	struct matcher *m = NULL, *joined = NULL;
	struct addresses *a = NULL;
	struct image image = {NULL, NULL};
	char path[64];
	int err = build_names(&m);

	(void)snprintf(path, sizeof path, "/tmp/tungate-memory-%ld", (long)getpid());
	if (!err)
		err = join_names(m, &joined);
	if (!err)
		err = build_addresses(&a);
	if (!err)
		err = image_write(path, m, a);
	if (!err) {
		err = read_back(path, &image);
		(void)unlink(path);
	}
	if (!err) {
		check(m);
		check(joined);
		check(image.matcher);
	}
	image_fini(&image);
	addresses_free(a);
	matcher_free(joined);
	matcher_free(m);
	return err;
}

static void test_each_fails(void **state)
{
	unsigned n_failed = 0;
	bool used = true;

	(void)state;
	assert_int_equal(all(), 0);
	for (int n = 0; used; n++) {
		int err;

		left = n;
		err = all();
		used = left < 0; /* else there are fewer allocations than this */
		left = -1;
		assert_true(err == 0 || err == -ENOMEM);
		n_failed += err == -ENOMEM;
	}
	print_message("%u allocations\n", n_failed);
	assert_true(n_failed > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
