/* Cutting into lines: ends, lengths, pieces, and bytes that are no text. */
#include "tests/unit/lists_log.h"

static void test_ends(void **state)
{
	(void)state;
	log_takes(LIST_PLAIN, "a.test\nb.test\r\nc.test",
		"1:suffix a.test\n2:suffix b.test\n"
		"3:suffix c.test\n");
	log_takes(LIST_PLAIN, "\xef\xbb\xbf\r\n\r\n \t\r\n a.test \t\r\n", "4:suffix a.test\n");
	log_takes(LIST_PLAIN, "\xef\xbb\xbf", "");
	log_takes(LIST_PLAIN, "\n", "");
	/* Only one, and only at the beginning. */
	log_skips(LIST_PLAIN, "a.test",
		"\xef\xbb\xbf"
		"b.test",
		1, "not ASCII: a name is written in its xn-- form");
	log_skips(LIST_PLAIN, "a.test", "b.test\r\r", 7,
		"not a domain name: this character is not part of one");
}

/* A line of LIST_LINE_MAX bytes is read, one byte more is skipped, and what comes behind is not
 * lost. */
static void test_long_lines(void **state)
{
	static const size_t extras[] = {0, 1, LIST_LINE_MAX, 1 << 20};
	char *text = malloc(LIST_LINE_MAX + (1 << 20) + 16);

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < sizeof extras / sizeof *extras; i++) {
		size_t n = LIST_LINE_MAX + extras[i];
		struct log log = {.stop = 0};
		struct list_counts counts;

		memset(text, ' ', n);
		memcpy(text, "long.test", 9);
		memcpy(text + n, "\nb.test\n", 8);
		assert_int_equal(log_read(&log, LIST_PLAIN, text, n + 8, &counts), 0);
		assert_int_equal(counts.lines, 2);
		assert_int_equal(counts.skipped, i > 0);
		if (i == 0) {
			assert_string_equal(log.entries, "1:suffix long.test\n2:suffix b.test\n");
			continue;
		}
		assert_string_equal(log.entries, "2:suffix b.test\n");
		assert_non_null(strstr(
			log.told, "f:1:1: warning: lists.l: a line above 64 KiB; allowed: "));
		/* The same as the last line, without a newline. */
		assert_int_equal(log_read(&log, LIST_PLAIN, text, n, &counts), -EBADMSG);
		assert_int_equal(counts.skipped, 1);
	}
	free(text);
}

static void nul_at(const char *text, size_t n, const char *where)
{
	struct log log = {.stop = 0};
	char told[64];

	(void)snprintf(
		told, sizeof told, "%s: lists.l: a NUL byte: this is not a text file; ", where);
	assert_int_equal(log_read(&log, LIST_PLAIN, text, n, NULL), -EBADMSG);
	assert_int_equal(log.errors, 1);
	assert_non_null(strstr(log.told, told));
}

static void test_nul(void **state)
{
	char *text = malloc(2 * LIST_LINE_MAX);

	(void)state;
	nul_at("a.test\nb.te\0st\n", 15, "f:2:5");
	nul_at("\0", 1, "f:1:1");
	nul_at("a.test\n\0", 8, "f:2:1");
	nul_at("\xff\xfe"
	       "a\0.\0t\0",
		8, "f:1:4"); /* UTF-16 */
	/* Also in what is thrown away. */
	memset(text, 'x', 2 * LIST_LINE_MAX);
	text[2 * LIST_LINE_MAX - 1] = 0;
	nul_at(text, 2 * LIST_LINE_MAX, "f:1:131072");
	text[LIST_LINE_MAX + 1] = 0;
	nul_at(text, 2 * LIST_LINE_MAX, "f:1:65538");
	free(text);
}

struct sum {
	unsigned lines;
	uint64_t bytes;
};

static int entry_sum(void *arg, const struct list_entry *e, const char **ret_why)
{
	struct sum *sum = arg;
	char text[DNS_NAME_TEXT_MAX];

	(void)ret_why;
	sum->lines++;
	assert_int_equal(e->line, sum->lines);
	assert_int_equal(strlen(dns_name_format(e->name->b, text)), e->text_len);
	assert_memory_equal(text, e->text, e->text_len);
	sum->bytes += e->text_len + 1;
	return 0;
}

/* Wherever the pieces that are read end, no line is torn. */
static void test_many_lines(void **state)
{
	const struct list_source source = {"f", "lists.l", LIST_PLAIN, NULL, NULL};
	struct sum sum = {0, 0};
	const struct list_sink sink = {.arg = &sum, .entry = entry_sum};
	size_t n = 0, room = 2 << 20;
	char *text = malloc(room);
	unsigned lines = 0;

	(void)state;
	assert_non_null(text);
	while (n + 128 < room) {
		size_t len = 1 + (size_t)lines * 7919 % 60;

		memset(text + n, 'a' + (int)(lines % 26), len);
		text[n + len] = '\n';
		n += len + 1;
		lines++;
	}
	assert_int_equal(list_read_text(&source, text, n, &sink, NULL), 0);
	assert_int_equal(sum.lines, lines);
	assert_int_equal(sum.bytes, n);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_many_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
