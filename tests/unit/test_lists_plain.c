/* Reading plain lists: what is taken, what is skipped and how it is told, and files that are no
 * lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/lists/lists.h"

/* All that a reader said, one line each. */
struct log {
	char names[2048], told[8192];
	unsigned errors;
	int stop; /* what the sink answers */
};

static int log_entry(void *arg, const struct list_entry *entry)
{
	struct log *log = arg;
	char text[DNS_NAME_TEXT_MAX];
	size_t n = strlen(log->names);

	if (entry->prefix) {
		assert_null(entry->name);
		(void)snprintf(log->names + n, sizeof log->names - n, "%u:%s=%.*s\n", entry->line,
			ip_prefix_format(entry->prefix, text), (int)entry->text_len, entry->text);
		return log->stop;
	}
	assert_int_equal(entry->kind, MATCHER_SUFFIX);
	(void)snprintf(log->names + n, sizeof log->names - n, "%u:%s=%.*s\n", entry->line,
		dns_name_format(entry->name->b, text), (int)entry->text_len, entry->text);
	return log->stop;
}

static void log_complain(void *arg, bool is_error, const char *text)
{
	struct log *log = arg;
	size_t n = strlen(log->told);

	log->errors += is_error;
	(void)snprintf(log->told + n, sizeof log->told - n, "%s\n", text);
}

/* Feeds text in pieces of the given size. */
static int read_pieces(
	struct log *log, const char *text, size_t len, size_t piece, struct list_counts *ret)
{
	const struct list_sink sink = {log, log_entry, log_complain};
	struct list_plain *r = NULL;
	int err = 0;

	assert_int_equal(list_plain_new("f", "lists.l", &sink, &r), 0);
	for (size_t at = 0; at < len && !err; at += piece)
		err = list_plain_feed(r, text + at, len - at < piece ? len - at : piece);
	if (!err)
		err = list_plain_end(r, ret);
	list_plain_free(r);
	return err;
}

static int read_text(struct log *log, const char *text, size_t len, struct list_counts *ret)
{
	struct log again = {.stop = log->stop};
	struct list_counts counts;
	int err = read_pieces(log, text, len, len ? len : 1, ret);

	/* Where the pieces end makes no difference. */
	assert_int_equal(read_pieces(&again, text, len, 3, &counts), err);
	assert_string_equal(again.names, log->names);
	assert_string_equal(again.told, log->told);
	if (!err)
		assert_memory_equal(&counts, ret, sizeof counts);
	return err;
}

static void takes(const char *text, const char *names)
{
	struct log log = {.stop = 0};
	struct list_counts counts;

	assert_int_equal(read_text(&log, text, strlen(text), &counts), 0);
	assert_string_equal(log.names, names);
	assert_string_equal(log.told, "");
	assert_int_equal(counts.skipped, 0);
}

static void test_takes(void **state)
{
	(void)state;
	takes("", "");
	takes("\n\n", "");
	takes("a.test\nb.test\n", "1:a.test=a.test\n2:b.test=b.test\n");
	takes("a.test\nb.test", "1:a.test=a.test\n2:b.test=b.test\n");
	takes("A.Test.\r\n\r\nb.TEST\r\n", "1:a.test=A.Test.\n3:b.test=b.TEST\n");
	takes("a.test\r", "1:a.test=a.test\n");
	takes("\xef\xbb\xbf"
	      "a.test\n",
		"1:a.test=a.test\n");
	takes("\xef\xbb\xbf# only a comment", "");
	takes("# c\n  # c\n\t \na.test # c # d\nb.test\t#\xe2\x82\xac\n#",
		"4:a.test=a.test\n5:b.test=b.test\n");
	takes("  a.test\t\n", "1:a.test=a.test\n");
	takes("cn\n_a-b.-c.1\nxn--80AGLFYFK.xn--p1ai\n",
		"1:cn=cn\n2:_a-b.-c.1=_a-b.-c.1\n3:xn--80aglfyfk.xn--p1ai=xn--80AGLFYFK.xn--"
		"p1ai\n");
	takes(".\n", "1:.=.\n");
	takes("a\\.b.test\n", "1:a\\.b.test=a\\.b.test\n");
}

static void test_takes_addresses(void **state)
{
	(void)state;
	takes("1.2.3.4\n10.0.0.0/8\n0.0.0.0/0 # all\n",
		"1:1.2.3.4/32=1.2.3.4\n2:10.0.0.0/8=10.0.0.0/8\n3:0.0.0.0/0=0.0.0.0/0\n");
	takes("2001:DB8::1\n2001:db8::/32\r\n::/0\n",
		"1:2001:db8::1/128=2001:DB8::1\n2:2001:db8::/32=2001:db8::/32\n3:::/0=::/0\n");
	/* v4-mapped: the IPv4 that it means. */
	takes("::ffff:1.2.3.4\n::ffff:10.0.0.0/104\n::ffff:0:0/96\n::FFFF:a00:1/128\n",
		"1:1.2.3.4/32=::ffff:1.2.3.4\n2:10.0.0.0/8=::ffff:10.0.0.0/104\n"
		"3:0.0.0.0/0=::ffff:0:0/96\n4:10.0.0.1/32=::FFFF:a00:1/128\n");
	takes("a.test\n10.0.0.0/8\n1.2.3\n",
		"1:a.test=a.test\n2:10.0.0.0/8=10.0.0.0/8\n3:1.2.3=1.2.3\n");
}

static void skips(const char *line, unsigned column, const char *what)
{
	struct log log = {.stop = 0};
	struct list_counts counts;
	char text[512], told[512];

	(void)snprintf(text, sizeof text, "ok.test\n%s\nfine.test\n", line);
	(void)snprintf(told, sizeof told,
		"f:2:%u: warning: lists.l: %s; allowed: one domain name, address or prefix a line, "
		"'#' comments\n",
		column, what);
	assert_int_equal(read_text(&log, text, strlen(text), &counts), 0);
	assert_string_equal(log.names, "1:ok.test=ok.test\n3:fine.test=fine.test\n");
	assert_string_equal(log.told, told);
	assert_int_equal(counts.skipped, 1);
	assert_int_equal(counts.entries, 2);
	assert_int_equal(counts.lines, 3);
}

static void test_skips(void **state)
{
	static const char odd[] = "not a domain name: this character is not part of one";
	static const char bits[] = "not a prefix: there are bits behind its length";
	static const char length[] = "not a prefix: its length is not one";
	static const char shape[] =
		"not a domain name: an empty label, one above 63 bytes, or above 255 bytes in all";
	char label[80];

	(void)state;
	memset(label, 'a', 64);
	label[64] = 0;
	skips("0.0.0.0 a.test", 8, "more than one word");
	skips("*.a.test", 1, odd);
	skips("||a.test^", 1, odd);
	skips("  server=/a.test/1.1.1.1", 9, odd);
	skips("full:a.test", 5, odd);
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
	skips("::/129", 1, length);
	skips("::ffff:10.0.0.0/95", 1, length);
	skips("::ffff:10.0.0.0/129", 1, length);
	skips("::ffff:10.0.0.0/", 1, length);
	skips("::ffff:10.0.0.0/104x", 1, length);
	skips("::ffff:10.0.0.1/104", 1, bits);
	skips("a..test", 1, shape);
	skips(".a.test", 1, shape);
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
	assert_int_equal(read_text(&log, text, strlen(text), &counts), 0);
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
	assert_int_equal(read_text(&half, at_half, strlen(at_half), &counts), 0);
	assert_int_equal(read_text(&more, above, strlen(above), &counts), -EBADMSG);
	assert_int_equal(more.errors, 1);
	assert_non_null(
		strstr(more.told, "f:1:1: lists.l: 2 of 3 lines cannot be read; allowed: "));
}

/* A line of LIST_LINE_MAX bytes is read, one byte more is skipped, and what comes behind is not
 * lost. */
static void test_long_lines(void **state)
{
	static const size_t extras[] = {0, 1, LIST_LINE_MAX};
	char *text = malloc(2 * LIST_LINE_MAX + 8);

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < 3; i++) {
		size_t n = LIST_LINE_MAX + extras[i];
		struct log log = {.stop = 0};
		struct list_counts counts;

		memset(text, ' ', n);
		memcpy(text, "long.test", 9);
		memcpy(text + n, "\nb.test\n", 8);
		assert_int_equal(read_text(&log, text, n + 8, &counts), 0);
		assert_int_equal(counts.lines, 2);
		assert_int_equal(counts.skipped, i > 0);
		if (i == 0) {
			assert_string_equal(log.names, "1:long.test=long.test\n2:b.test=b.test\n");
			continue;
		}
		assert_string_equal(log.names, "2:b.test=b.test\n");
		assert_non_null(strstr(
			log.told, "f:1:1: warning: lists.l: a line above 64 KiB; allowed: "));
	}
	free(text);
}

static void test_nul(void **state)
{
	struct log log = {.stop = 0}, late = {.stop = 0};
	struct list_counts counts;
	char *text = calloc(1, 2 * LIST_LINE_MAX);

	(void)state;
	assert_non_null(text);
	assert_int_equal(read_text(&log, "a.test\nb.te\0st\n", 15, &counts), -EBADMSG);
	assert_string_equal(log.told, "f:2:5: lists.l: a NUL byte: this is not a text file; "
				      "allowed: one domain name, address "
				      "or prefix a line, '#' comments\n");
	assert_int_equal(log.errors, 1);
	/* Also in what is thrown away. */
	memset(text, 'x', 2 * LIST_LINE_MAX - 1);
	assert_int_equal(read_text(&late, text, 2 * LIST_LINE_MAX, &counts), -EBADMSG);
	assert_non_null(strstr(late.told, "f:1:131072: lists.l: a NUL byte"));
	free(text);
}

static void test_sink_ends_reading(void **state)
{
	struct log log = {.stop = -ENOSPC};
	struct list_counts counts;

	(void)state;
	assert_int_equal(read_text(&log, "a.test\nb.test\n", 14, &counts), -ENOSPC);
	assert_string_equal(log.names, "1:a.test=a.test\n");
}

static void test_nobody_listens(void **state)
{
	struct log log = {.stop = 0};
	const struct list_sink sink = {&log, log_entry, NULL};
	struct list_plain *r = NULL;

	(void)state;
	assert_int_equal(list_plain_new("f", "lists.l", &sink, &r), 0);
	assert_int_equal(list_plain_feed(r, "a b\n\0", 5), -EBADMSG);
	list_plain_free(r);
}

/* --- files --- */

static char folder[] = "/tmp/tungate-list-XXXXXX";

static int folder_make(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
	(void)state;
	return rmdir(folder);
}

static const char *path_in(const char *file)
{
	static char path[256];

	(void)snprintf(path, sizeof path, "%s/%s", folder, file);
	return path;
}

static void file_write(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int file_read(
	struct log *log, const char *path, struct list_counts *counts, struct list_stamp *stamp)
{
	const struct list_sink sink = {log, log_entry, log_complain};

	return list_file_read(path, "lists.l", &sink, counts, stamp);
}

static void test_file(void **state)
{
	const char *path = path_in("plain.txt");
	struct log log = {.stop = 0};
	struct list_counts counts;
	struct list_stamp first, second, third;

	(void)state;
	file_write(path, "a.test\nb.test # c\n");
	assert_int_equal(file_read(&log, path, &counts, &first), 0);
	assert_string_equal(log.names, "1:a.test=a.test\n2:b.test=b.test\n");
	assert_int_equal(counts.entries, 2);
	assert_int_equal(file_read(&log, path, NULL, &second), 0);
	assert_true(list_stamp_equal(&first, &second));
	file_write(path, "a.test\nb.test # c\nc.test\n");
	assert_int_equal(file_read(&log, path, NULL, &third), 0);
	assert_false(list_stamp_equal(&first, &third));
	assert_int_equal(unlink(path), 0);
}

static void test_no_files(void **state)
{
	const char *path;
	struct log log = {.stop = 0};

	(void)state;
	assert_int_equal(file_read(&log, path_in("missing"), NULL, NULL), -ENOENT);
	assert_int_equal(file_read(&log, folder, NULL, NULL), -EISDIR);
	assert_int_equal(file_read(&log, "/dev/zero", NULL, NULL), -EINVAL);
	path = path_in("fifo");
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(file_read(&log, path, NULL, NULL), -EINVAL);
	assert_int_equal(unlink(path), 0);
	path = path_in("loop");
	assert_int_equal(symlink(path, path), 0);
	assert_int_equal(file_read(&log, path, NULL, NULL), -ELOOP);
	assert_int_equal(unlink(path), 0);
	assert_string_equal(log.told, "");
}

static void test_binary_file(void **state)
{
	struct log log = {.stop = 0};

	(void)state;
	assert_int_equal(file_read(&log, "/proc/self/exe", NULL, NULL), -EBADMSG);
	assert_int_equal(log.errors, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_takes),
		cmocka_unit_test(test_takes_addresses),
		cmocka_unit_test(test_skips),
		cmocka_unit_test(test_tells_five),
		cmocka_unit_test(test_half_is_the_bound),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_sink_ends_reading),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_no_files),
		cmocka_unit_test(test_binary_file),
	};

	return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
