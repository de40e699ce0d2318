/* v2fly's source lists: types, attributes, and files that include others. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/lists_log.h"

static void takes(const char *text, const char *entries)
{
	log_takes(LIST_V2FLY, text, entries);
}

static void test_types(void **state)
{
	(void)state;
	takes("a.test\ndomain:b.test\nfull:c.test\nkeyword:kw\nregexp:(^|\\.)[1-5]gaoap\\.com$\n",
		"1:suffix a.test\n2:suffix b.test\n3:exact c.test\n4:keyword kw\n"
		"5:regexp (^|\\.)[1-5]gaoap\\.com$\n");
	takes("regex:^a\n", "1:regexp ^a\n");
	takes("FULL:C.Test\nxn--80AGLFYFK.xn--p1ai\nalibaba\nnetcraze.ru \r\n",
		"1:exact c.test\n2:suffix xn--80aglfyfk.xn--p1ai\n3:suffix alibaba\n"
		"4:suffix netcraze.ru\n");
}

static void test_comments(void **state)
{
	(void)state;
	takes("#\tgTLD\tGMO\n  # b\n\n"
	      "xn--czrs0t4phtr3a.cn @cn # \xe8\x8b\xb9\xe6\x9e\x9c.cn\n"
	      "b.test#c\nfull:c.test#c\n",
		"4:suffix xn--czrs0t4phtr3a.cn\n5:suffix b.test\n6:exact c.test\n");
	/* In an expression only behind a blank. */
	takes("regexp:^a#b # c\nregexp:^#\t#\n", "1:regexp ^a#b\n2:regexp ^#\n");
}

static void test_attributes(void **state)
{
	(void)state;
	takes("a.test @cn @ads\nb.test\t@!cn\nc.test &other @cn &more\n",
		"1:suffix a.test\n2:suffix b.test\n3:suffix c.test\n");
	/* Built lists. */
	takes("domain:a.test:@cn\nfull:b.test:@!cn,@ads\nregexp:^a:b$:@cn\n",
		"1:suffix a.test\n2:exact b.test\n3:regexp ^a:b$\n");
}

static void with_attribute(const char *attribute, const char *entries)
{
	static const char text[] =
		"a.test @cn\nb.test\nc.test @ads @CN\nd.test @!cn\nregexp:e @cn\n"
		"domain:f.test:@cn,@x\n";
	const struct list_source source = {"f", "lists.l", LIST_V2FLY, NULL, attribute};
	struct log log = {.stop = 0};
	struct list_sink sink = log_sink(&log);
	struct list_counts counts;

	assert_int_equal(list_read_text(&source, text, sizeof text - 1, &sink, &counts), 0);
	assert_string_equal(log.entries, entries);
	assert_int_equal(counts.lines, 6);
	assert_int_equal(counts.unused + counts.skipped, 0);
}

static void test_attribute_of_the_source(void **state)
{
	(void)state;
	with_attribute("cn", "1:suffix a.test\n3:suffix c.test\n5:regexp e\n6:suffix f.test\n");
	with_attribute("!cn", "4:suffix d.test\n");
	with_attribute("ads", "3:suffix c.test\n");
	with_attribute("nobody", "");
}

static void test_skips(void **state)
{
	(void)state;
	log_skips(LIST_V2FLY, "a.test", "regxp:a", 1, "not a type of entry");
	log_skips(LIST_V2FLY, "a.test", "a.test b.test", 8, "neither an @attribute nor a comment");
	log_skips(LIST_V2FLY, "a.test", " a.test @", 9, "neither an @attribute nor a comment");
	log_skips(LIST_V2FLY, "a.test", "keyword: @cn", 9, "a keyword without text");
	log_skips(LIST_V2FLY, "a.test", "full:a b", 8, "neither an @attribute nor a comment");
	log_skips(LIST_V2FLY, "a.test", "a,b.test", 2,
		"not a domain name: this character is not part of one");
	log_skips(LIST_V2FLY, "a.test", "include:", 9, "not the name of a list beside this one");
	log_skips(
		LIST_V2FLY, "a.test", "include:../x", 9, "not the name of a list beside this one");
	log_skips(LIST_V2FLY, "a.test", "include:/etc/passwd", 9,
		"not the name of a list beside this one");
	log_skips(LIST_V2FLY, "a.test", "domain:a:@cn,b", 9, "not a list of attributes");
}

/* --- includes --- */

static void file(const char *name, const char *text)
{
	(void)folder_write_bytes(name, text, strlen(text));
}

static int read_file(struct log *log, const char *name, struct list_counts *counts)
{
	return log_read_path(log, LIST_V2FLY, folder_path(name), counts, NULL);
}

static void test_include(void **state)
{
	struct log log = {.stop = 0};
	struct list_counts counts;

	(void)state;
	file("top", "a.test\ninclude:inner # why\nz.test\n");
	file("inner", "include:deep\nb.test @cn\n");
	file("deep", "c.test @!cn\n");
	assert_int_equal(read_file(&log, "top", &counts), 0);
	assert_string_equal(log.entries,
		"1:suffix a.test\n1:suffix c.test\n2:suffix b.test\n3:suffix z.test\n");
	assert_string_equal(log.told, "");
	assert_int_equal(counts.lines, 6);
	assert_int_equal(counts.entries, 4);
	assert_int_equal(counts.skipped, 0);
	assert_int_equal(log.n_files, 3);
	assert_non_null(strstr(log.files, "/top\n"));
	assert_non_null(strstr(log.files, "/inner\n"));
	assert_non_null(strstr(log.files, "/deep\n"));
}

static void test_include_case(void **state)
{
	struct log log = {.stop = 0};

	(void)state;
	file("upper", "include:Small\ninclude:BIG\ninclude:Not-There\n");
	file("small", "a.test\n");
	file("BIG", "b.test\n");
	file("not-there", "c.test\n");
	assert_int_equal(read_file(&log, "upper", NULL), 0);
	assert_string_equal(log.entries, "1:suffix a.test\n1:suffix b.test\n1:suffix c.test\n");
	assert_int_equal(unlink(folder_path("not-there")), 0);
	assert_int_equal(read_file(&log, "upper", NULL), -EBADMSG);
	assert_non_null(strstr(log.told, "/Not-There: No such file or directory\n"));
}

static void include_with(const char *line, const char *entries)
{
	struct log log = {.stop = 0};

	file("filtered", line);
	assert_int_equal(read_file(&log, "filtered", NULL), 0);
	assert_string_equal(log.told, "");
	assert_string_equal(log.entries, entries);
}

static void test_include_filters(void **state)
{
	(void)state;
	file("base", "a.test @cn\nb.test\nc.test @!cn @ads\nd.test @cn @ads\n");
	include_with("include:base @cn\n", "1:suffix a.test\n4:suffix d.test\n");
	include_with("include:base @-cn\n", "2:suffix b.test\n3:suffix c.test\n");
	include_with("include:base @-!cn\n", "1:suffix a.test\n2:suffix b.test\n4:suffix d.test\n");
	include_with("include:base @!cn\n", "3:suffix c.test\n");
	include_with("include:base @cn @ads\n", "4:suffix d.test\n");
	include_with("include:base @ads @-!cn\n", "4:suffix d.test\n");
	include_with("include:base @nobody\n", "");
	/* Through two files both filters hold. */
	file("middle", "include:base @ads\ne.test @cn\nf.test\n");
	include_with("include:middle @cn\n", "4:suffix d.test\n2:suffix e.test\n");
	/* The same with another filter is read again, with the same it is not. */
	include_with("include:base @cn\ninclude:base @ads\ninclude:base @cn\n",
		"1:suffix a.test\n4:suffix d.test\n3:suffix c.test\n4:suffix d.test\n");
}

static void test_include_once(void **state)
{
	struct log log = {.stop = 0};

	(void)state;
	file("twice", "include:one\ninclude:one\ninclude:two\n");
	file("two", "include:one\n");
	file("one", "a.test\n");
	assert_int_equal(read_file(&log, "twice", NULL), 0);
	assert_string_equal(log.entries, "1:suffix a.test\n");
	assert_int_equal(log.n_files, 3);
}

static void include_fails(const char *top, const char *told)
{
	struct log log = {.stop = 0};

	assert_int_equal(read_file(&log, top, NULL), -EBADMSG);
	assert_int_equal(log.errors, 1);
	assert_non_null(strstr(log.told, told));
}

static void test_include_circles(void **state)
{
	char told[1024];

	(void)state;
	file("self", "a.test\n  include:self @cn\n");
	(void)snprintf(told, sizeof told,
		"%s:2:3: lists.l: includes %s, which includes this file: a circle\n",
		folder_path("self"), folder_path("self"));
	include_fails("self", told);
	file("round1", "include:round2\n");
	file("round2", "include:round3\n");
	file("round3", "include:round1\n");
	(void)snprintf(told, sizeof told, "%s:1:1: lists.l: includes %s, which includes",
		folder_path("round3"), folder_path("round1"));
	include_fails("round1", told);
}

static void test_include_of_nothing(void **state)
{
	struct log log = {.stop = 0};
	char told[1024];

	(void)state;
	file("lost", "a.test\ninclude:gone\nb.test\n");
	(void)snprintf(told, sizeof told,
		"%s:2:1: lists.l: includes %s: No such file or directory\n", folder_path("lost"),
		folder_path("gone"));
	include_fails("lost", told);
	/* Who watches files sees it come into being. */
	assert_int_equal(read_file(&log, "lost", NULL), -EBADMSG);
	assert_int_equal(log.n_files, 2);
	assert_non_null(strstr(log.files, "/gone\n"));
	assert_int_equal(mkdir(folder_path("folder"), 0700), 0);
	file("lost", "include:folder\n");
	include_fails("lost", "folder: Is a directory\n");
}

static void test_include_depth(void **state)
{
	char name[32], text[64];

	(void)state;
	for (unsigned i = 0; i < LIST_DEPTH_MAX + 1; i++) {
		(void)snprintf(name, sizeof name, "level%u", i);
		(void)snprintf(text, sizeof text, "include:level%u\n", i + 1);
		file(name, text);
	}
	include_fails("level0", "includes that are nested more than 32 deep");
}

/* Every file includes every other one behind it, with filters of its own: the number of readings
 * has a bound. */
static void test_includes_are_bounded(void **state)
{
	struct log log = {.stop = 0};

	(void)state;
	for (unsigned i = 0; i < 16; i++) {
		char name[32], text[2048] = "";

		(void)snprintf(name, sizeof name, "web%u", i);
		for (unsigned k = i + 1; k < 16; k++)
			log_add(text, sizeof text, "include:web%u @a%u\ninclude:web%u @b%u\n", k, i,
				k, i);
		file(name, text);
	}
	assert_int_equal(read_file(&log, "web0", NULL), -EBADMSG);
	assert_int_equal(log.errors, 1);
	assert_int_equal(log.n_files, LIST_INCLUDES_MAX + 1);
	assert_non_null(strstr(log.told, "includes more than 4096 files in all"));
}

static void test_error_in_an_included_file(void **state)
{
	char told[512];

	(void)state;
	file("outer", "a.test\ninclude:bad\n");
	file("bad", "b.test\nx y\nx y\n");
	(void)snprintf(told, sizeof told,
		"%s:1:1: lists.l: 2 of 3 lines cannot be read; allowed: ", folder_path("bad"));
	include_fails("outer", told);
	(void)folder_write_bytes("bad", "b.test\n\0", 8);
	(void)snprintf(told, sizeof told, "%s:2:1: lists.l: a NUL byte", folder_path("bad"));
	include_fails("outer", told);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_comments),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_attribute_of_the_source),
		cmocka_unit_test(test_skips),
		cmocka_unit_test(test_include),
		cmocka_unit_test(test_include_case),
		cmocka_unit_test(test_include_filters),
		cmocka_unit_test(test_include_once),
		cmocka_unit_test(test_include_circles),
		cmocka_unit_test(test_include_of_nothing),
		cmocka_unit_test(test_include_depth),
		cmocka_unit_test(test_includes_are_bounded),
		cmocka_unit_test(test_error_in_an_included_file),
	};

	return cmocka_run_group_tests(tests, NULL, folder_clear);
}
