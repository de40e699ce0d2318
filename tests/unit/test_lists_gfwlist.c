/* gfwlist: base64 or decoded, and what is neither. */
#include "tests/unit/lists_held.h"

static const char rules[] = "[AutoProxy 0.2.9]\n! a comment\n||a.test\n@@||b.a.test\n"
			    "|http://c.test/\n|http://d.test/path\n.e.test\n";
static const char rules_entries[] = "3:suffix a.test\n4:except suffix b.a.test\n5:exact c.test\n"
				    "7:suffix e.test\n";

/* RFC 4648 4, with a line's end after every `width` digits (0: none). */
static size_t encode(const char *text, size_t len, size_t width, const char *end, char *ret)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = 0, on_line = 0;

	for (size_t i = 0; i < len; i += 3) {
		unsigned bits = (unsigned)(unsigned char)text[i] << 16;
		char four[4];

		if (i + 1 < len)
			bits |= (unsigned)(unsigned char)text[i + 1] << 8;
		if (i + 2 < len)
			bits |= (unsigned char)text[i + 2];
		for (unsigned k = 0; k < 4; k++)
			four[k] = i + k > len ? '=' : digits[bits >> (18 - 6 * k) & 63];
		for (unsigned k = 0; k < 4; k++) {
			ret[n++] = four[k];
			if (width && ++on_line == width) {
				memcpy(ret + n, end, strlen(end));
				n += strlen(end);
				on_line = 0;
			}
		}
	}
	ret[n] = 0;
	return n;
}

static void both_forms(void **state)
{
	static const size_t widths[] = {0, 1, 4, 7, 64, 76};
	char packed[1024];

	(void)state;
	log_takes(LIST_GFWLIST, rules, rules_entries);
	for (size_t i = 0; i < HELD_COUNT(widths); i++) {
		(void)encode(rules, sizeof rules - 1, widths[i], "\n", packed);
		log_takes(LIST_GFWLIST, packed, rules_entries);
		(void)encode(rules, sizeof rules - 1, widths[i], "\r\n", packed);
		log_takes(LIST_GFWLIST, packed, rules_entries);
	}
	/* With padding of two, one and none. */
	for (size_t cut = 0; cut < 3; cut++) {
		(void)encode(rules, sizeof rules - 1 - cut, 64, "\n", packed);
		log_takes(LIST_GFWLIST, packed,
			cut < 2 ? rules_entries
				: "3:suffix a.test\n4:except suffix b.a.test\n"
				  "5:exact c.test\n7:suffix e.tes\n");
	}
}

static void counts_are_of_the_decoded_text(void **state)
{
	static struct log log;
	struct list_counts counts;
	char packed[1024];
	size_t n = encode(rules, sizeof rules - 1, 64, "\n", packed);

	(void)state;
	assert_int_equal(log_read(&log, LIST_GFWLIST, packed, n, &counts), 0);
	assert_int_equal(counts.lines, 7);
	assert_int_equal(counts.entries, 4);
	assert_int_equal(counts.unused, 1);
}

/* Pieces of every size: more than one of what the decoder holds. */
static void long_texts(void **state)
{
	static struct held h;
	static char text[400000], packed[600000];
	size_t n = 0;

	(void)state;
	for (unsigned i = 0; i < 20000; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "||n%u.test\n", i);
	(void)encode(text, n, 64, "\n", packed);
	held_open(&h, LIST_GFWLIST, packed);
	assert_int_equal(h.counts.lines, 20000);
	assert_int_equal(h.counts.entries, 20000);
	assert_true(held_name(&h, "n0.test"));
	assert_true(held_name(&h, "a.n19999.test"));
	assert_false(held_name(&h, "n20000.test"));
	held_close(&h);
}

static void assert_broken(const char *text, size_t n, const char *told)
{
	static struct log log;
	struct list_counts counts;

	assert_int_equal(log_read(&log, LIST_GFWLIST, text, n, &counts), -EBADMSG);
	assert_int_equal(log.errors, 1);
	if (!strstr(log.told, told))
		fail_msg("\"%s\" is not in \"%s\"", told, log.told);
}

static void garbage(void **state)
{
	char packed[1024], text[1100];
	size_t n = encode(rules, sizeof rules - 1, 64, "\n", packed);

	(void)state;
	/* Cut off within a group of four. */
	for (size_t cut = 1; cut < 4; cut++)
		assert_broken(
			packed, n - cut - (packed[n - 1] == '\n'), "the base64 text is cut off");
	memcpy(text, packed, n);
	text[70] = '%';
	assert_broken(text, n, "f:2:6: lists.l: not base64; allowed: ");
	memcpy(text, packed, n);
	text[100] = 0;
	assert_broken(text, n, "f:2:36: lists.l: not base64");
	/* Padding at a place where it cannot be, and something behind it. */
	assert_broken("fHxhLnRlc3Q=fHxhLnRlc3Q=", 24, "f:1:13: lists.l: not base64");
	assert_broken("fHx=LnRlc3Q=", 12, "not base64");
	assert_broken("fHxhLnRlc3R=====", 16, "not base64");
	assert_broken("====", 4, "not base64");
	/* What is decoded is no text. */
	assert_broken("AAAAAAAA", 8, "a NUL byte");
}

static void nothing(void **state)
{
	(void)state;
	log_takes(LIST_GFWLIST, "", "");
	log_takes(LIST_GFWLIST, "\n \n", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_forms),
		cmocka_unit_test(counts_are_of_the_decoded_text),
		cmocka_unit_test(long_texts),
		cmocka_unit_test(garbage),
		cmocka_unit_test(nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
