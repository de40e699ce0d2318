/* Reading plain lists: what is taken, what is skipped and how it is told, and files that are no
 * lists. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/lists_log.h"

#define ALLOWED                                                                                    \
	"one domain name, address or prefix a line, 'full:' 'domain:' 'keyword:' 'regexp:' "       \
	"before "                                                                                  \
	"it, '#' comments"

static void takes(const char *text, const char *entries)
{
	log_takes(LIST_PLAIN, text, entries);
}

static void test_takes(void **state)
{
	(void)state;
	takes("", "");
	takes("\n\n", "");
	takes("a.test\nb.test\n", "1:suffix a.test\n2:suffix b.test\n");
	takes("a.test\nb.test", "1:suffix a.test\n2:suffix b.test\n");
	takes("A.Test.\r\n\r\nb.TEST\r\n", "1:suffix a.test\n3:suffix b.test\n");
	takes("a.test\r", "1:suffix a.test\n");
	takes("\xef\xbb\xbf"
	      "a.test\n",
		"1:suffix a.test\n");
	takes("\xef\xbb\xbf# only a comment", "");
	takes("# c\n  # c\n\t \na.test # c # d\nb.test\t#\xe2\x82\xac\n#",
		"4:suffix a.test\n5:suffix b.test\n");
	takes("  a.test\t\n", "1:suffix a.test\n");
	takes("cn\n_a-b.-c.1\nxn--80AGLFYFK.xn--p1ai\n",
		"1:suffix cn\n2:suffix _a-b.-c.1\n3:suffix xn--80aglfyfk.xn--p1ai\n");
	takes("AUSpolice.com\nalibaba\n", "1:suffix auspolice.com\n2:suffix alibaba\n");
	takes(".\n", "1:suffix .\n");
	takes("a\\.b.test\n", "1:suffix a\\.b.test\n");
}

/* v2fly's exports mix these in. */
static void test_takes_types(void **state)
{
	(void)state;
	takes("full:2mdn-cn.net\ndomain:a.test\nb.test\n",
		"1:exact 2mdn-cn.net\n2:suffix a.test\n3:suffix b.test\n");
	takes("keyword:-ad.sm.cn\n", "1:keyword -ad.sm.cn\n");
	takes("regexp:.+\\.awsdns-cn-[0-9][0-9]\\.(biz|com|net|top)$\nregexp:^a#b{1,2}:\\S$ # c\n",
		"1:regexp .+\\.awsdns-cn-[0-9][0-9]\\.(biz|com|net|top)$\n"
		"2:regexp ^a#b{1,2}:\\S$\n");
}

static void test_takes_addresses(void **state)
{
	(void)state;
	takes("1.2.3.4\n10.0.0.0/8\n0.0.0.0/0 # all\n",
		"1:prefix 1.2.3.4/32\n2:prefix 10.0.0.0/8\n3:prefix 0.0.0.0/0\n");
	takes("2001:DB8::1\n2001:db8::/32\r\n::/0\n",
		"1:prefix 2001:db8::1/128\n2:prefix 2001:db8::/32\n3:prefix ::/0\n");
	/* v4-mapped: the IPv4 that it means. */
	takes("::ffff:1.2.3.4\n::ffff:10.0.0.0/104\n::ffff:0:0/96\n::FFFF:a00:1/128\n",
		"1:prefix 1.2.3.4/32\n2:prefix 10.0.0.0/8\n3:prefix 0.0.0.0/0\n"
		"4:prefix 10.0.0.1/32\n");
	takes("a.test\n10.0.0.0/8\n1.2.3\nabcd:ef01:2345:6789:abcd:ef01:2345:6789\n",
		"1:suffix a.test\n2:prefix 10.0.0.0/8\n3:suffix 1.2.3\n"
		"4:prefix abcd:ef01:2345:6789:abcd:ef01:2345:6789/128\n");
}

/* What explain shows of a line. */
static int entry_text(void *arg, const struct list_entry *e, const char **ret_why)
{
	(void)ret_why;
	(void)snprintf(arg, 64, "%s:%u=%.*s", e->path, e->line, (int)e->text_len, e->text);
	return 0;
}

static void test_entry_has_its_place(void **state)
{
	char seen[64] = "";
	const struct list_sink sink = {.arg = seen, .entry = entry_text};
	const struct list_source source = {"f", "lists.l", LIST_PLAIN, NULL, NULL};

	(void)state;
	assert_int_equal(list_read_text(&source, "\n  full:A.test\t# c\r\n", 20, &sink, NULL), 0);
	assert_string_equal(seen, "f:2=full:A.test");
}

static void skips(const char *line, unsigned column, const char *what)
{
	log_skips(LIST_PLAIN, "ok.test", line, column, what);
}

static void test_skips(void **state)
{
	static const char odd[] = "not a domain name: this character is not part of one";
	static const char bits[] = "not a prefix: there are bits behind its length";
	static const char length[] = "not a prefix: its length is not one";
	static const char other[] = "looks like a line of another format, which `format` can name";
	static const char shape[] =
		"not a domain name: an empty label, one above 63 bytes, or above 255 bytes in all";
	char label[80];

	(void)state;
	memset(label, 'a', 64);
	label[64] = 0;
	skips("0.0.0.0 a.test", 8, "more than one word");
	skips("*.a.test", 1, other);
	skips(" +.a.test", 2, other);
	skips(".a.test", 1, other);
	skips("||a.test^", 1, odd);
	skips("  server=/a.test/1.1.1.1", 9, odd);
	skips("fall:a.test", 5, odd);
	skips("full:a.test b", 12, "more than one word");
	skips("full:", 6, shape);
	skips("keyword:", 9, "a keyword without text");
	skips("regexp: # c", 8, "an expression without text");
	skips("a#b.test", 2, odd);
	skips("a.test\rb.test", 7, odd);
	skips("\xef\xbb\xbf"
	      "a.test",
		1, "not ASCII: a name is written in its xn-- form");
	skips("2001:db8:::1", 5, odd);
	skips("10.0.0.0-10.0.0.9/8", 18, odd);
	skips("10.0.0.1/8", 1, bits);
	skips("2001:db8::1/32", 1, bits);
	skips("  10.0.0.0/33", 3, length);
	skips("10.0.0.0/", 1, length);
	skips("10.0.0.0/+8", 1, length);
	skips("10.0.0.0/8/8", 1, length);
	skips("10.0.0.0/99999999999999999999", 1, length);
	skips("::/129", 1, length);
	skips("::ffff:10.0.0.0/95", 1, bits);
	skips("::ffff:10.0.0.0/129", 1, length);
	skips("::ffff:10.0.0.0/", 1, length);
	skips("::ffff:10.0.0.0/104x", 1, length);
	skips("::ffff:10.0.0.1/104", 1, bits);
	skips("a..test", 1, shape);
	skips("a.test..", 1, shape);
	skips("a\\", 1, shape);
	skips("\\999.test", 1, shape);
	skips(label, 1, shape);
}

static void test_tells_five(void **state)
{
	struct log log = {.stop = 0};
	struct list_counts counts;
	char text[512] = "";
	unsigned told = 0;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		strcat(text, "good.test\nbad line\n");
	assert_int_equal(log_read(&log, LIST_PLAIN, text, strlen(text), &counts), 0);
	assert_int_equal(counts.skipped, 8);
	for (const char *at = log.told; (at = strstr(at, "warning: ")); at++)
		told++;
	assert_int_equal(told, LIST_TOLD_MAX);
	assert_non_null(strstr(log.told, "f:10:4: warning: lists.l: more than one word"));
	assert_null(strstr(log.told, "f:12:"));
	assert_non_null(strstr(log.told, "note: lists.l: 8 lines skipped in all"));
	assert_int_equal(log.errors, 0);
}

static void test_half_is_the_bound(void **state)
{
	struct list_counts counts;
	struct log half = {.stop = 0}, more = {.stop = 0};
	static const char at_half[] = "a.test\nb c\n# comments do not count\n\n";
	static const char above[] = "a.test\nb c\nd e\n# comments do not count\n\n";

	(void)state;
	assert_int_equal(log_read(&half, LIST_PLAIN, at_half, strlen(at_half), &counts), 0);
	assert_int_equal(log_read(&more, LIST_PLAIN, above, strlen(above), &counts), -EBADMSG);
	assert_int_equal(more.errors, 1);
	assert_non_null(
		strstr(more.told, "f:1:1: lists.l: 2 of 3 lines cannot be read; allowed: "));
}

static void test_sink_ends_reading(void **state)
{
	struct log log = {.stop = -ENOSPC};
	struct list_counts counts;

	(void)state;
	assert_int_equal(log_read(&log, LIST_PLAIN, "a.test\nb.test\n", 14, &counts), -ENOSPC);
	assert_string_equal(log.entries, "1:suffix a.test\n");
}

/* An expression that does not compile, say. */
static void test_sink_skips(void **state)
{
	struct log log = {.stop = -EINVAL, .why = "will not compile"};
	struct list_counts counts;

	(void)state;
	assert_int_equal(log_read(&log, LIST_PLAIN, "regexp:(\n", 9, &counts), -EBADMSG);
	assert_int_equal(log.errors, 1);
	assert_non_null(strstr(
		log.told, "f:1:8: warning: lists.l: will not compile; allowed: " ALLOWED "\n"));
}

static void test_nobody_listens(void **state)
{
	const struct list_source source = {"f", "lists.l", LIST_PLAIN, NULL, NULL};
	struct log log = {.stop = 0};
	const struct list_sink sink = {.arg = &log, .entry = log_entry};

	(void)state;
	assert_int_equal(list_read_text(&source, "a b\n\0", 5, &sink, NULL), -EBADMSG);
}

/* --- files --- */

static void test_file(void **state)
{
	static const char text[] = "a.test\nb.test # c\nc.test\n";
	struct log log = {.stop = 0};
	struct list_counts counts;
	struct list_stamp first, second, third;
	enum list_format format;
	const char *path = folder_write_bytes("plain.txt", text, 18);

	(void)state;
	assert_int_equal(log_read_path(&log, LIST_AUTO, path, &counts, &format), 0);
	assert_string_equal(log.entries, "1:suffix a.test\n2:suffix b.test\n");
	assert_int_equal(counts.entries, 2);
	assert_int_equal(format, LIST_PLAIN);
	assert_int_equal(log.n_files, 1);
	assert_int_equal(strncmp(log.files, path, strlen(path)), 0);
	assert_int_equal(list_stamp_read(path, &first), 0);
	assert_int_equal(list_stamp_read(path, &second), 0);
	assert_true(list_stamp_equal(&first, &second));
	(void)folder_write_bytes("plain.txt", text, sizeof text - 1);
	assert_int_equal(list_stamp_read(path, &third), 0);
	assert_false(list_stamp_equal(&first, &third));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(list_stamp_read(path, &third), -ENOENT);
	/* Files that are missing are a state, too. */
	assert_true(list_stamp_mix(0, &third) != 0);
	assert_true(list_stamp_mix(list_stamp_mix(0, &third), &third) != list_stamp_mix(0, &third));
}

static int no_file(const char *path)
{
	struct log log = {.stop = 0};
	int err = log_read_path(&log, LIST_AUTO, path, NULL, NULL);

	assert_string_equal(log.told, "");
	return err;
}

static void test_no_files(void **state)
{
	const char *path;

	(void)state;
	assert_int_equal(no_file(folder_path("missing")), -ENOENT);
	assert_int_equal(no_file(folder()), -EISDIR);
	assert_int_equal(no_file("/dev/zero"), -EINVAL);
	path = folder_path("fifo");
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(no_file(path), -EINVAL);
	assert_int_equal(unlink(path), 0);
	path = folder_path("loop");
	assert_int_equal(symlink(path, path), 0);
	assert_int_equal(no_file(path), -ELOOP);
	assert_int_equal(unlink(path), 0);
}

static void test_binary_file(void **state)
{
	struct log log = {.stop = 0};

	(void)state;
	assert_int_equal(log_read_path(&log, LIST_AUTO, "/proc/self/exe", NULL, NULL), -EBADMSG);
	assert_int_equal(log.errors, 1);
	assert_non_null(strstr(log.told, ": lists.l: a NUL byte: this is not a text file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_takes),
		cmocka_unit_test(test_takes_types),
		cmocka_unit_test(test_takes_addresses),
		cmocka_unit_test(test_entry_has_its_place),
		cmocka_unit_test(test_skips),
		cmocka_unit_test(test_tells_five),
		cmocka_unit_test(test_half_is_the_bound),
		cmocka_unit_test(test_sink_ends_reading),
		cmocka_unit_test(test_sink_skips),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_no_files),
		cmocka_unit_test(test_binary_file),
	};

	return cmocka_run_group_tests(tests, NULL, folder_clear);
}
