/* Compiled lists: what is written is read again; whatever else the bytes are is an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include "gateway/match/image_internal.h"
#include "tests/unit/image_copy.h"
#include "tests/unit/folder.h"
#include "tests/unit/names.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const struct {
	unsigned source;
	enum matcher_kind kind;
	const char *text;
} names[] = {
	{0, MATCHER_SUFFIX, "a.test"},
	{0, MATCHER_EXACT, "x.a.test"},
	{1, MATCHER_EXACT, "b.test"},
	{2, MATCHER_BELOW, "c.test"},
	{0, MATCHER_CHILD, "c.test"},
	{2, MATCHER_SUFFIX, "a.deep.name.of.several.labels.test"},
};
static const char *const prefixes[] = {
	"10.0.0.0/8", "192.168.1.1", "2001:db8::/32", "2001:db9::1", "fd00::/8"};

static void build(uint64_t key, unsigned n_sources, struct image *ret)
{
	struct matcher_builder *b = NULL;
	struct addresses_builder *a = NULL;
	struct ip_prefix p;
	char why[64];

	assert_int_equal(matcher_builder_new(key, n_sources, &b), 0);
	for (size_t i = 0; i < COUNT(names); i++) {
		struct dns_name name = name_of(names[i].text);

		assert_int_equal(matcher_builder_add(b, names[i].source, names[i].kind, &name), 0);
	}
	assert_int_equal(matcher_builder_add_keyword(b, 1, "tracker", 7), 0);
	assert_int_equal(matcher_builder_add_keyword(b, 2, "tracker", 7), 0);
	assert_int_equal(matcher_builder_add_regexp(b, 0, "^ad[0-9]+\\.", 11, why, sizeof why), 0);
	assert_int_equal(matcher_builder_finish(b, &ret->matcher), 0);
	assert_int_equal(addresses_builder_new(&a), 0);
	for (size_t i = 0; i < COUNT(prefixes); i++) {
		assert_int_equal(ip_prefix_parse(prefixes[i], &p), 0);
		assert_int_equal(addresses_builder_add(a, 0, &p), 0);
	}
	assert_int_equal(addresses_builder_finish(a, NULL, &ret->addresses), 0);
}

/* The file, in memory of exactly its size, for ASan. */
static uint8_t *load(const char *path, size_t *ret_len)
{
	struct stat st;
	uint8_t *bytes;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	bytes = malloc((size_t)st.st_size + !st.st_size);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
	(void)close(fd);
	*ret_len = (size_t)st.st_size;
	return bytes;
}

/* A small image with everything in it. */
static uint8_t *make(size_t *ret_len)
{
	struct image image;
	uint8_t *bytes;

	build(MATCHER_IMAGE_KEY, 3, &image);
	assert_int_equal(image_write(folder_path("small"), image.matcher, image.addresses), 0);
	image_fini(&image);
	bytes = load(folder_path("small"), ret_len);
	assert_int_equal(unlink(folder_path("small")), 0);
	return bytes;
}

static unsigned held(const struct matcher *m, const char *text)
{
	struct dns_name name = name_of(text);
	struct matcher_hits hits;

	matcher_find(m, &name, &hits);
	return (unsigned)hits.bits[0];
}

static size_t held_address(const struct addresses *a, const char *text)
{
	struct ip_addr address;
	size_t n;

	assert_int_equal(ip_addr_parse(text, &address), 0);
	(void)addresses_find(a, &address, &n);
	return n;
}

static void check_all(const struct image *image)
{
	const struct matcher *m = image->matcher;
	const struct addresses *a = image->addresses;

	assert_int_equal(held(m, "a.test"), 1);
	assert_int_equal(held(m, "y.x.a.test"), 1);
	assert_int_equal(held(m, "b.test"), 2);
	assert_int_equal(held(m, "x.b.test"), 0);
	assert_int_equal(held(m, "c.test"), 0);
	assert_int_equal(held(m, "x.c.test"), 5);
	assert_int_equal(held(m, "y.x.c.test"), 4);
	assert_int_equal(held(m, "1.a.deep.name.of.several.labels.test"), 4);
	assert_int_equal(held(m, "deep.name.of.several.labels.test"), 0);
	assert_int_equal(held(m, "my-tracker.example"), 6);
	assert_int_equal(held(m, "ad17.example"), 1);
	assert_int_equal(held(m, "bad17.example"), 0);
	assert_int_equal(matcher_count(m, 0), 4);
	assert_int_equal(matcher_count(m, 1), 2);
	assert_int_equal(matcher_count(m, 2), 3);
	assert_int_equal(matcher_names(m), 4);
	assert_int_equal(matcher_key(m), MATCHER_IMAGE_KEY);
	assert_int_equal(held_address(a, "10.1.2.3"), 1);
	assert_int_equal(held_address(a, "11.0.0.0"), 0);
	assert_int_equal(held_address(a, "192.168.1.1"), 1);
	assert_int_equal(held_address(a, "192.168.1.2"), 0);
	assert_int_equal(held_address(a, "2001:db9::1"), 1);
	assert_int_equal(held_address(a, "2001:db9::"), 0);
	assert_int_equal(held_address(a, "fdff::"), 1);
}

static void test_round_trip(void **state)
{
	static const int map[] = {0, 1, 2};
	struct matcher_builder *b = NULL;
	struct image image, joined;
	size_t len, again_len;
	uint8_t *bytes = make(&len), *again;
	const char *why = NULL;

	(void)state;
	assert_int_equal(image_copy(bytes, len, &image, &why), 0);
	check_all(&image);
	/* The same bytes when it is written again. */
	assert_int_equal(image_write(folder_path("again"), image.matcher, image.addresses), 0);
	assert_int_equal(folder_count(false), 1);
	again = load(folder_path("again"), &again_len);
	assert_int_equal(again_len, len);
	assert_memory_equal(again, bytes, len);
	/* And joined with nothing. */
	assert_int_equal(matcher_builder_new(MATCHER_IMAGE_KEY, 3, &b), 0);
	assert_int_equal(matcher_builder_add_from(b, image.matcher, map), 0);
	assert_int_equal(matcher_builder_finish(b, &joined.matcher), 0);
	joined.addresses = image.addresses;
	image.addresses = NULL;
	image_fini(&image);
	check_all(&joined);
	image_fini(&joined);
	free(again);
	free(bytes);
}

static void test_empty(void **state)
{
	struct matcher_builder *b = NULL;
	struct addresses_builder *a = NULL;
	struct image image;
	const char *why;
	uint8_t *bytes;
	size_t len;

	(void)state;
	assert_int_equal(matcher_builder_new(MATCHER_IMAGE_KEY, 0, &b), 0);
	assert_int_equal(matcher_builder_finish(b, &image.matcher), 0);
	assert_int_equal(addresses_builder_new(&a), 0);
	assert_int_equal(addresses_builder_finish(a, NULL, &image.addresses), 0);
	assert_int_equal(image_write(folder_path("empty"), image.matcher, image.addresses), 0);
	image_fini(&image);
	bytes = load(folder_path("empty"), &len);
	assert_int_equal(image_copy(bytes, len, &image, &why), 0);
	assert_int_equal(held_address(image.addresses, "10.0.0.1"), 0);
	assert_int_equal(matcher_names(image.matcher), 0);
	image_fini(&image);
	free(bytes);
}

static void test_another_key(void **state)
{
	struct image image;

	(void)state;
	build(MATCHER_IMAGE_KEY + 1, 3, &image);
	assert_int_equal(image_write(folder_path("key"), image.matcher, image.addresses), -EINVAL);
	image_fini(&image);
	build(MATCHER_IMAGE_KEY, IMAGE_PARTS_MAX + 1, &image);
	assert_int_equal(image_write(folder_path("key"), image.matcher, image.addresses), -EINVAL);
	image_fini(&image);
	assert_int_equal(access(folder_path("key"), F_OK), -1);
}

/* Reads a copy of exactly this size. */
static int read_copy(const uint8_t *bytes, size_t len, const char **ret_why)
{
	struct image image;
	int r;

	*ret_why = NULL;
	r = image_copy(bytes, len, &image, ret_why);
	if (r == 0)
		image_fini(&image);
	else
		assert_true(r == -EBADMSG && *ret_why);
	return r;
}

static void test_cut(void **state)
{
	size_t len;
	uint8_t *bytes = make(&len);
	const char *why;

	(void)state;
	for (size_t n = 0; n < len; n++) {
		assert_int_equal(read_copy(bytes, n, &why), -EBADMSG);
		assert_string_equal(why, n < IMAGE_MAGIC_SIZE ? "no compiled list"
							      : "a compiled list that is cut "
								"short");
	}
	assert_int_equal(read_copy(bytes, len, &why), 0);
	bytes = realloc(bytes, len + 1);
	assert_non_null(bytes);
	bytes[len] = 0;
	assert_int_equal(read_copy(bytes, len + 1, &why), -EBADMSG);
	free(bytes);
}

static void test_bits(void **state)
{
	size_t len;
	uint8_t *bytes = make(&len);
	const char *why;

	(void)state;
	for (size_t bit = 0; bit < 8 * len; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(read_copy(bytes, len, &why), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	free(bytes);
}

/* With a checksum that is right: every byte is another one, in turn. What is read then is a list,
 * perhaps another one, or an error; ASan looks on. */
static void test_lies(void **state)
{
	static const uint8_t others[] = {0, 1, 0x7f, 0x80, 0xff};
	size_t len, n_read = 0, n_refused = 0;
	uint8_t *bytes = make(&len);
	const char *why;

	(void)state;
	for (size_t at = IMAGE_MAGIC_SIZE; at < len; at++) {
		uint8_t was = bytes[at];

		if (at >= IMAGE_CHECKSUM_AT && at < IMAGE_CHECKSUM_AT + 8)
			continue;
		for (size_t i = 0; i < COUNT(others); i++) {
			struct image image;

			bytes[at] = others[i];
			image_put(bytes + IMAGE_CHECKSUM_AT, image_checksum(bytes, len), 8);
			if (image_copy(bytes, len, &image, &why) == 0) {
				n_read++;
				(void)held(image.matcher, "y.x.a.test");
				(void)held(image.matcher, "x.c.test");
				(void)held_address(image.addresses, "10.1.2.3");
				(void)held_address(image.addresses, "2001:db9::1");
				image_fini(&image);
			} else {
				n_refused++;
			}
		}
		bytes[at] = was;
	}
	/* Hashes, counts and prefixes may be others; what has an order may not. */
	assert_true(n_read > 0 && n_refused > n_read / 2);
	free(bytes);
}

/* One lie each: all are found, and told apart from mere damage. */
static void test_told_lies(void **state)
{
	size_t len;
	uint8_t *bytes = make(&len), *lie = malloc(len);
	struct image_header h;
	struct image_layout l;
	const char *why;

	(void)state;
	assert_non_null(lie);
	image_header_read(bytes, &h);
	l = image_layout(&h);
	assert_int_equal(l.end, len);
	assert_true(h.n_names == 4 && h.bits > 1 && h.n_sets == 5);
	{
		/* Where, how many bytes, what instead. */
		const struct {
			uint64_t at, value;
			size_t size;
			const char *why;
		} lies[] = {
			{12, IMAGE_PARTS_MAX + 1, 4, "numbers"}, {48, 5, 4, "sections"},
			{48, 0xffffffff, 4, "numbers"}, {52, 0, 4, "numbers"},
			{52, 63, 4, "numbers"}, {56, 0, 4, "numbers"},
			{56, 0x1000000, 4, "numbers"}, {60, 0xffffffff, 4, "sections"},
			{64, 0xffffffff, 4, "numbers"}, {68, 0xffffffff, 4, "sections"},
			{72, 0xffffffff, 4, "numbers"},
			{l.entries, 0, 8, "names"}, /* without a set */
			{l.entries, (1u << h.bits) - 1, 8, "names"}, {l.starts, 1, 4, "names"},
			{l.starts + 4, 0xffffffff, 4, "names"}, {l.set_starts - 4, 3, 4, "names"},
			{l.set_starts, 1, 4, "sets"}, {l.set_starts + 8, 0, 4, "sets"},
			{l.set_starts + 8, 0xffffffff, 4, "sets"},
			{l.elements, 0xffff, 2, "set cannot"},
			{l.elements, MATCHER_NAME_KINDS, 2, "set cannot"},
			{l.elements, 3 << MATCHER_KIND_BITS, 2, "set cannot"},
			{l.counts, 0xffffffff, 4, "numbers"}, {l.patterns, 3, 2, "pattern"},
			{l.patterns + 2, 2, 2, "pattern"},
			{l.patterns + 4, 0xffffffff, 4, "pattern"},
			{l.patterns + 4, 0, 4, "pattern"}, {l.v4, 33, 1, "prefix"},
			{l.v4, 4, 1, "prefix"}, {l.v6, 129, 1, "prefix"},
			{l.v6 + 34, 4, 1, "prefix"},
			{l.v6 + 1, 0xfe, 1, "prefix"}, /* behind the next */
		};

		for (size_t i = 0; i < COUNT(lies); i++) {
			memcpy(lie, bytes, len);
			image_put(lie + lies[i].at, lies[i].value, lies[i].size);
			image_put(lie + IMAGE_CHECKSUM_AT, image_checksum(lie, len), 8);
			if (read_copy(lie, len, &why) != -EBADMSG || !strstr(why, lies[i].why))
				fail_msg("lie %zu: %s", i, why ? why : "believed");
		}
	}
	free(lie);
	free(bytes);
}

/* An IPv6 prefix that means IPv4 ones. */
static void test_mapped(void **state)
{
	static const uint8_t mapped[] = {96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0};
	size_t len;
	uint8_t *bytes = make(&len);
	struct image_header h;
	const char *why;

	(void)state;
	image_header_read(bytes, &h);
	memcpy(bytes + image_layout(&h).v6, mapped, sizeof mapped);
	image_put(bytes + IMAGE_CHECKSUM_AT, image_checksum(bytes, len), 8);
	assert_int_equal(read_copy(bytes, len, &why), -EBADMSG);
	assert_non_null(strstr(why, "prefix"));
	free(bytes);
}

static void test_another_version(void **state)
{
	size_t len;
	uint8_t *bytes = make(&len);
	const char *why;

	(void)state;
	image_put(bytes + 8, IMAGE_VERSION + 1, 4);
	/* Before the checksum, which another version may have elsewhere. */
	assert_int_equal(read_copy(bytes, len, &why), -EBADMSG);
	assert_string_equal(why, "compiled in version 2 of the format, but only 1 can be read");
	bytes[0] = 'X';
	assert_int_equal(read_copy(bytes, len, &why), -EBADMSG);
	assert_string_equal(why, "no compiled list");
	free(bytes);
}

/* Nothing is left of a file that could not be written; the old one stays. */
static void test_write_fails(void **state)
{
	struct rlimit limit, small;
	struct image image;
	size_t len, old_len;
	uint8_t *bytes, *old;
	char text[5000];

	(void)state;
	(void)folder_count(true);
	build(MATCHER_IMAGE_KEY, 3, &image);
	assert_int_equal(
		image_write(folder_path("no/such"), image.matcher, image.addresses), -ENOENT);
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = 0;
	assert_int_equal(image_write(text, image.matcher, image.addresses), -ENAMETOOLONG);
	assert_int_equal(folder_count(false), 0);

	assert_int_equal(mkdir(folder_path("taken"), 0777), 0);
	assert_int_equal(
		image_write(folder_path("taken"), image.matcher, image.addresses), -EISDIR);
	assert_int_equal(folder_count(true), 1);

	/* As of a full disk. */
	assert_int_equal(image_write(folder_path("kept"), image.matcher, image.addresses), 0);
	old = load(folder_path("kept"), &old_len);
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = limit;
	small.rlim_cur = old_len / 2;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(image_write(folder_path("kept"), image.matcher, image.addresses), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(folder_count(false), 1);
	bytes = load(folder_path("kept"), &len);
	assert_int_equal(len, old_len);
	assert_memory_equal(bytes, old, len);
	free(bytes);
	free(old);
	image_fini(&image);
}

/* Whoever may do that: /dev/null is not replaced by a list. */
static void test_write_where_no_file_is(void **state)
{
	struct image image;
	struct stat st;

	(void)state;
	(void)folder_count(true);
	build(MATCHER_IMAGE_KEY, 3, &image);
	assert_int_equal(mkfifo(folder_path("pipe"), 0600), 0);
	assert_int_equal(
		image_write(folder_path("pipe"), image.matcher, image.addresses), -ENOTSUP);
	assert_int_equal(symlink("pipe", folder_path("to-pipe")), 0);
	assert_int_equal(
		image_write(folder_path("to-pipe"), image.matcher, image.addresses), -ENOTSUP);
	assert_int_equal(stat(folder_path("pipe"), &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	/* A link stays one, and what it points to is new. */
	assert_int_equal(symlink("linked", folder_path("to-file")), 0);
	assert_int_equal(image_write(folder_path("linked"), image.matcher, image.addresses), 0);
	assert_int_equal(truncate(folder_path("linked"), 1), 0);
	assert_int_equal(image_write(folder_path("to-file"), image.matcher, image.addresses), 0);
	assert_int_equal(lstat(folder_path("to-file"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(stat(folder_path("linked"), &st), 0);
	assert_true(st.st_size > IMAGE_HEADER_SIZE);
	assert_int_equal(folder_count(true), 4);
	image_fini(&image);
}

/* Many names of several sources: all are found again, and the file is small. */
static void test_many(void **state)
{
	enum { N = 50000 };
	struct matcher_builder *b = NULL;
	struct image image, again;
	struct matcher_hits hits;
	const char *why;
	uint8_t *bytes;
	char text[64];
	size_t len;

	(void)state;
	build(MATCHER_IMAGE_KEY, 3, &image);
	matcher_free(image.matcher);
	assert_int_equal(matcher_builder_new(MATCHER_IMAGE_KEY, 5, &b), 0);
	for (unsigned i = 0; i < N; i++) {
		struct dns_name name;

		(void)snprintf(text, sizeof text, "n%u.zone%u.test", i, i % 100);
		name = name_of(text);
		assert_int_equal(matcher_builder_add(b, i % 5, i % MATCHER_NAME_KINDS, &name), 0);
	}
	assert_int_equal(matcher_builder_finish(b, &image.matcher), 0);
	assert_int_equal(image_write(folder_path("many"), image.matcher, image.addresses), 0);
	bytes = load(folder_path("many"), &len);
	assert_true(len <= 9 * N + 1024);
	assert_int_equal(image_copy(bytes, len, &again, &why), 0);
	free(bytes);
	for (unsigned i = 0; i < N; i++) {
		struct dns_name name;
		unsigned kind = i % MATCHER_NAME_KINDS;

		(void)snprintf(text, sizeof text, "n%u.zone%u.test", i, i % 100);
		name = name_of(text);
		matcher_find(again.matcher, &name, &hits);
		assert_true(hits.bits[0] ==
			    (kind == MATCHER_EXACT || kind == MATCHER_SUFFIX ? 1u << i % 5 : 0));
		(void)snprintf(text, sizeof text, "x.n%u.zone%u.test", i, i % 100);
		name = name_of(text);
		matcher_find(again.matcher, &name, &hits);
		assert_true(hits.bits[0] == (kind != MATCHER_EXACT ? 1u << i % 5 : 0));
	}
	image_fini(&image);
	image_fini(&again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_another_key),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_bits),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_told_lies),
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_another_version),
		cmocka_unit_test(test_write_fails),
		cmocka_unit_test(test_write_where_no_file_is),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, folder_clear);
}
