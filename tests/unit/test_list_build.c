/* From list files to builders: which sources a list gets, what is found afterwards, compiled lists
 * among others. */
#include <unistd.h>

#include "gateway/lists/list_build.h"
#include "tests/unit/lists_log.h"

/* A list being built. */
struct built {
	struct matcher_builder *names;
	struct addresses_builder *addresses;
	struct list_build build;
	unsigned next_source, asked[LIST_PARTS];
	int refuse; /* what part_source answers then */
	struct matcher *m;
	struct addresses *a;
};

static int part_source(void *arg, enum list_part part)
{
	struct built *b = arg;

	b->asked[part]++;
	return b->refuse ? b->refuse : (int)b->next_source++;
}

static void built_begin(struct built *b, uint64_t key)
{
	*b = (struct built){.next_source = 3};
	assert_int_equal(matcher_builder_new(key, 16, &b->names), 0);
	assert_int_equal(addresses_builder_new(&b->addresses), 0);
	list_build_init(&b->build, b->names, b->addresses);
	b->build.address_list = 2;
	b->build.part_source = part_source;
	b->build.arg = b;
}

static int built_read_bytes(
	struct built *b, struct log *log, enum list_format format, const void *bytes, size_t n)
{
	const struct list_source source = {.path = "f", .key = "lists.l", .format = format};
	const struct list_sink tell = log_sink(log);
	const struct list_sink sink = list_build_sink(&b->build);
	int err;

	b->build.tell = &tell;
	err = list_read_text(&source, bytes, n, &sink, NULL);
	b->build.tell = NULL;
	return err;
}

static int built_read(struct built *b, struct log *log, enum list_format format, const char *text)
{
	return built_read_bytes(b, log, format, text, strlen(text));
}

static void built_finish(struct built *b)
{
	assert_int_equal(matcher_builder_finish(b->names, &b->m), 0);
	assert_int_equal(addresses_builder_finish(b->addresses, NULL, &b->a), 0);
	list_build_fini(&b->build);
}

static void built_end(struct built *b)
{
	matcher_free(b->m);
	addresses_free(b->a);
}

static bool holds(const struct built *b, const char *text)
{
	struct matcher_hits hits;
	struct dns_name name;

	assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
	matcher_find(b->m, &name, &hits);
	return list_parts_hold(b->m, b->build.sources, &name, &hits);
}

static bool holds_address(const struct built *b, const char *text)
{
	struct ip_addr address;
	const uint16_t *lists;
	size_t n;

	assert_int_equal(ip_addr_parse(text, &address), 0);
	lists = addresses_find(b->a, &address, &n);
	if (n > 0)
		assert_int_equal(lists[0], 2);
	return n > 0;
}

static void test_all_kinds(void **state)
{
	static struct log log;
	struct built b;

	(void)state;
	built_begin(&b, 1);
	assert_int_equal(
		built_read(&b, &log, LIST_PLAIN,
			"a.test\nfull:b.test\nkeyword:-ad\nregexp:^c[0-9]+\\.\n10.0.0.0/8\n"
			"2001:db8::/32\n10.0.0.0/8\n"),
		0);
	assert_string_equal(log.told, "");
	assert_int_equal(b.build.prefixes, 3);
	assert_int_equal(b.build.sources[LIST_HOLDS], 3);
	for (int part = 1; part < LIST_PARTS; part++)
		assert_int_equal(b.build.sources[part], -1);
	assert_int_equal(b.asked[LIST_HOLDS], 1);
	built_finish(&b);
	assert_true(holds(&b, "x.a.test"));
	assert_true(holds(&b, "b.test"));
	assert_false(holds(&b, "x.b.test"));
	assert_true(holds(&b, "my-ads.example"));
	assert_true(holds(&b, "c12.example"));
	assert_false(holds(&b, "c.example"));
	assert_true(holds_address(&b, "10.1.2.3"));
	assert_true(holds_address(&b, "2001:db8::1"));
	assert_false(holds_address(&b, "11.1.2.3"));
	assert_int_equal(matcher_count(b.m, 3), 4);
	built_end(&b);
}

/* A list of prefixes needs no source. */
static void test_sources_as_needed(void **state)
{
	static struct log log;
	struct built b;

	(void)state;
	built_begin(&b, 1);
	assert_int_equal(built_read(&b, &log, LIST_CIDR, "10.0.0.0/8\n"), 0);
	assert_int_equal(b.build.sources[LIST_HOLDS], -1);
	assert_int_equal(b.next_source, 3);
	assert_int_equal(built_read(&b, &log, LIST_ADBLOCK,
				 "||a.test^\n@@||b.a.test^\n||c.b.a.test^$important\n"
				 "@@||d.c.b.a.test^$important\n"),
		0);
	assert_int_equal(built_read(&b, &log, LIST_ADBLOCK, "||e.test^\n@@||f.e.test^\n"), 0);
	assert_int_equal(b.next_source, 7);
	built_finish(&b);
	assert_true(holds(&b, "a.test"));
	assert_false(holds(&b, "b.a.test"));
	assert_true(holds(&b, "c.b.a.test"));
	assert_false(holds(&b, "d.c.b.a.test"));
	assert_true(holds(&b, "e.test"));
	assert_false(holds(&b, "f.e.test"));
	built_end(&b);
}

/* What another name of the list holds anyway is not dropped if the closest decides. */
static void test_closest(void **state)
{
	static struct log log;
	struct built b;

	(void)state;
	built_begin(&b, 1);
	assert_int_equal(built_read(&b, &log, LIST_DNSMASQ,
				 "server=/a.test/1.1.1.1\nserver=/c.b.a.test/1.1.1.1\n"
				 "server=/b.a.test/#\n"),
		0);
	assert_true(b.build.sources[LIST_EXCEPT_CLOSER] >= 0);
	built_finish(&b);
	assert_true(holds(&b, "a.test"));
	assert_true(holds(&b, "x.a.test"));
	assert_false(holds(&b, "b.a.test"));
	assert_false(holds(&b, "x.b.a.test"));
	assert_true(holds(&b, "c.b.a.test"));
	assert_true(holds(&b, "x.c.b.a.test"));
	built_end(&b);
}

static void test_patterns_that_are_none(void **state)
{
	static struct log log;
	struct built b;

	(void)state;
	built_begin(&b, 1);
	assert_int_equal(built_read(&b, &log, LIST_PLAIN, "a.test\nregexp:a(b\nb.test\n"), 0);
	assert_int_equal(
		strncmp(log.told, "f:2:8: warning: lists.l: ", strlen("f:2:8: warning: lists.l: ")),
		0);
	built_finish(&b);
	assert_true(holds(&b, "b.test"));
	assert_int_equal(matcher_count(b.m, 3), 2);
	built_end(&b);
}

static void test_errors_end_the_reading(void **state)
{
	static struct log log;
	struct built b;

	(void)state;
	built_begin(&b, 1);
	b.refuse = -ENOSPC;
	assert_int_equal(built_read(&b, &log, LIST_PLAIN, "10.0.0.0/8\n"), 0);
	assert_int_equal(built_read(&b, &log, LIST_PLAIN, "a.test\n"), -ENOSPC);
	assert_int_equal(b.build.sources[LIST_HOLDS], -1);
	built_finish(&b);
	built_end(&b);
}

static void test_files_and_complaints(void **state)
{
	static struct log log;
	const char *path = folder_write_bytes("l.txt", "a.test\n", 7);
	const struct list_source source = {.path = path, .key = "lists.l", .format = LIST_PLAIN};
	const struct list_sink tell = log_sink(&log);
	struct list_sink sink;
	struct built b;

	(void)state;
	built_begin(&b, 1);
	sink = list_build_sink(&b.build);
	assert_int_equal(list_read(&source, &sink, NULL, NULL), 0); /* nobody listens */
	b.build.tell = &tell;
	assert_int_equal(list_read(&source, &sink, NULL, NULL), 0);
	assert_int_equal(log.n_files, 1);
	assert_int_equal(log.n, 0);
	assert_int_equal(strncmp(log.files, path, strlen(path)), 0);
	built_finish(&b);
	built_end(&b);
}

/* --- compiled lists --- */

/* Compiles a text of a format; its bytes are the caller's to free. */
static char *compile(enum list_format format, const char *text, size_t *ret_n)
{
	static struct log log;
	const char *path = folder_path("compiled");
	struct built b;
	char *bytes;

	built_begin(&b, MATCHER_IMAGE_KEY);
	matcher_builder_free(b.names);
	assert_int_equal(matcher_builder_new(MATCHER_IMAGE_KEY, LIST_PARTS, &b.names), 0);
	b.build.names = b.names;
	b.build.address_list = 0;
	b.next_source = 0;
	for (int part = 0; part < LIST_PARTS; part++)
		b.build.sources[part] = part;
	/* All sources are given: nobody is asked, and so nobody keeps anything. */
	matcher_builder_keep(b.names, LIST_HOLDS);
	matcher_builder_keep(b.names, LIST_EXCEPT_CLOSER);
	assert_int_equal(built_read(&b, &log, format, text), 0);
	built_finish(&b);
	assert_int_equal(image_write(path, b.m, b.a), 0);
	built_end(&b);
	assert_int_equal(list_text_load(path, 1u << 20, &bytes, ret_n), 0);
	return bytes;
}

static void test_compiled(void **state)
{
	static struct log log;
	struct built b;
	size_t n, more_n;
	char *image = compile(LIST_DNSMASQ,
		"server=/a.test/1.1.1.1\nserver=/c.b.a.test/1.1.1.1\nserver=/b.a.test/#\n", &n);
	char *more = compile(LIST_PLAIN, "keyword:-ad\nregexp:^c[0-9]+\\.\n10.0.0.0/8\n", &more_n);

	(void)state;
	built_begin(&b, MATCHER_IMAGE_KEY);
	assert_int_equal(built_read_bytes(&b, &log, LIST_COMPILED, image, n), 0);
	assert_int_equal(built_read_bytes(&b, &log, LIST_COMPILED, more, more_n), 0);
	assert_int_equal(built_read(&b, &log, LIST_PLAIN, "d.test\n"), 0);
	assert_string_equal(log.told, "");
	assert_int_equal(b.build.prefixes, 1);
	assert_int_equal(b.asked[LIST_HOLDS], 1);
	assert_int_equal(b.asked[LIST_EXCEPT_CLOSER], 1);
	assert_int_equal(b.asked[LIST_EXCEPT], 0);
	free(image); /* nothing points into the bytes */
	free(more);
	built_finish(&b);
	assert_true(holds(&b, "x.a.test"));
	assert_false(holds(&b, "x.b.a.test"));
	assert_true(holds(&b, "x.c.b.a.test"));
	assert_true(holds(&b, "my-ads.example"));
	assert_true(holds(&b, "c12.example"));
	assert_true(holds(&b, "d.test"));
	assert_true(holds_address(&b, "10.1.2.3"));
	built_end(&b);
}

static void test_compiled_needs_the_key(void **state)
{
	static struct log log;
	struct built b;
	size_t n;
	char *image = compile(LIST_PLAIN, "a.test\n", &n);

	(void)state;
	built_begin(&b, 1);
	assert_int_equal(built_read_bytes(&b, &log, LIST_COMPILED, image, n), -EXDEV);
	free(image);
	built_finish(&b);
	assert_false(holds(&b, "a.test"));
	built_end(&b);
}

static void test_compiled_that_is_none(void **state)
{
	static struct log log;
	struct built b;
	size_t n;
	char *image = compile(LIST_PLAIN, "a.test\n10.0.0.0/8\nkeyword:x\n", &n);

	(void)state;
	built_begin(&b, MATCHER_IMAGE_KEY);
	for (size_t cut = 0; cut < n; cut++) {
		assert_int_equal(built_read_bytes(&b, &log, LIST_COMPILED, image, cut), -EBADMSG);
		assert_non_null(strstr(log.told, "allowed: what `tungate compile` wrote"));
		assert_int_equal(log.errors, 1);
	}
	for (size_t at = 0; at < n; at++) {
		image[at] ^= 0x10;
		assert_int_equal(built_read_bytes(&b, &log, LIST_COMPILED, image, n), -EBADMSG);
		image[at] ^= 0x10;
	}
	assert_int_equal(b.next_source, 3);
	assert_int_equal(built_read_bytes(&b, &log, LIST_COMPILED, image, n), 0);
	free(image);
	built_finish(&b);
	assert_true(holds(&b, "a.test"));
	built_end(&b);
}

/* Its format is told by its bytes, and so is what it holds counted. */
static void test_compiled_counts(void **state)
{
	static struct log log;
	struct list_counts counts;
	enum list_format format;
	size_t n;
	char *image = compile(LIST_PLAIN, "a.test\nb.test\n10.0.0.0/8\nkeyword:x\n", &n);
	const char *path = folder_write_bytes("image", image, n);

	(void)state;
	assert_int_equal(log_read_path(&log, LIST_AUTO, path, &counts, &format), 0);
	assert_int_equal(format, LIST_COMPILED);
	assert_int_equal(counts.entries, 4);
	assert_int_equal(counts.lines, 4);
	free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_kinds),
		cmocka_unit_test(test_sources_as_needed),
		cmocka_unit_test(test_closest),
		cmocka_unit_test(test_patterns_that_are_none),
		cmocka_unit_test(test_errors_end_the_reading),
		cmocka_unit_test(test_files_and_complaints),
		cmocka_unit_test(test_compiled),
		cmocka_unit_test(test_compiled_needs_the_key),
		cmocka_unit_test(test_compiled_that_is_none),
		cmocka_unit_test(test_compiled_counts),
	};

	return cmocka_run_group_tests(tests, NULL, folder_clear);
}
