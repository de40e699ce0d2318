/* MRS: what the strings of its trie mean, ranges, and files that lie. */
#include <arpa/inet.h>
#include <unistd.h>
#include <zstd.h>

#include "gateway/lists/list_range.h"
#include "tests/unit/lists_pack.h"

enum { DOMAIN, IPCIDR };

static struct pack body, file;

static void mrs_begin(unsigned behaviour, uint64_t rules)
{
	body.n = 0;
	pack_bytes(&body, "MRS\x01", 4);
	pack_u8(&body, behaviour);
	pack_be64(&body, rules);
	pack_be64(&body, 0);
	pack_u8(&body, 1);
}

static void mrs_pack(size_t n)
{
	file.n = ZSTD_compress(file.b, sizeof file.b, body.b, n, 3);
	assert_false(ZSTD_isError(file.n));
}

static int mrs_read(struct log *log, struct list_counts *ret)
{
	const struct list_source source = {"f", "lists.l", LIST_MRS, NULL, NULL};

	mrs_pack(body.n);
	return pack_read(log, &source, file.b, file.n, ret);
}

static int line_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines in order; what is in the file is in the trie's. */
static void lines_sort(char *text)
{
	static char copy[65536];
	char *lines[1024], *save = NULL;
	size_t n = 0;

	(void)snprintf(copy, sizeof copy, "%s", text);
	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		lines[n++] = line;
	qsort(lines, n, sizeof lines[0], line_compare);
	for (size_t i = 0; i < n; i++)
		text += sprintf(text, "%s\n", lines[i]);
}

static void gives(const char *const *keys, size_t n, const char *entries)
{
	static struct log log;
	struct list_counts counts;

	mrs_begin(DOMAIN, n);
	pack_trie(&body, true, keys, n);
	assert_int_equal(mrs_read(&log, &counts), 0);
	assert_string_equal(log.told, "");
	lines_sort(log.entries);
	assert_string_equal(log.entries, entries);
	assert_int_equal(counts.entries, log.n);
}

#define GIVES(entries, ...)                                                                        \
	do {                                                                                       \
		static const char *const keys[] = {__VA_ARGS__};                                   \
		gives(keys, sizeof keys / sizeof keys[0], entries);                                \
	} while (0)

static void test_domains(void **state)
{
	(void)state;
	GIVES("0:exact a.test\n", "a.test");
	GIVES("0:below a.test\n", "+.a.test");
	GIVES("0:suffix a.test\n", "+.a.test", "a.test");
	GIVES("0:child a.test\n", "*.a.test");
	GIVES("0:child a.test\n0:exact a.test\n", "*.a.test", "a.test");
	GIVES("0:exact b.a.test\n0:exact ba.test\n0:suffix a.test\n", "+.a.test", "a.test",
		"ba.test", "b.a.test");
	GIVES("0:suffix test\n", "+.test", "test");
	GIVES("0:suffix .\n", "+");
	GIVES("0:child .\n", "*");
}

static void test_wildcards(void **state)
{
	(void)state;
	GIVES("0:regexp ^www\\.[^.]+\\.test$\n", "www.*.test");
	GIVES("0:regexp ^www\\.a\\.[^.]+$\n", "www.a.*");
	GIVES("0:regexp ^[^.]+\\.[^.]+\\.a-b\\.test$\n", "*.*.a-b.test");
	GIVES("0:regexp \\.[^.]+\\.test$\n", "+.*.test");
	GIVES("0:regexp (?:^|\\.)[^.]+\\.test$\n", "+.*.test", "*.test");
}

/* Strings that mihomo keeps and that no name can be. */
static void test_no_names(void **state)
{
	static const char *const keys[] = {"Mijia Cloud", ".a.test", "a+.test", "a*.test",
		"*a.test", "+.+.test", "a.test.", "1.test", "2.test", "3.test", "4.test", "5.test",
		"6.test", "7.test"};
	static struct log log;
	struct list_counts counts;

	(void)state;
	mrs_begin(DOMAIN, 12);
	pack_trie(&body, true, keys, sizeof keys / sizeof keys[0]);
	assert_int_equal(mrs_read(&log, &counts), 0);
	assert_int_equal(counts.lines, 14);
	assert_int_equal(counts.entries, 8); /* a dot at the end is nothing */
	assert_int_equal(counts.skipped, 6);
}

static void test_many(void **state)
{
	static char names[PACK_KEYS_MAX][32];
	static const char *keys[PACK_KEYS_MAX];
	static struct log log;
	struct list_counts counts;
	char line[64];

	(void)state;
	for (unsigned i = 0; i < PACK_KEYS_MAX; i++) {
		(void)snprintf(names[i], sizeof names[i], "n%u.d%u.test", i * 7919 % 1000, i);
		keys[i] = names[i];
	}
	mrs_begin(DOMAIN, PACK_KEYS_MAX);
	pack_trie(&body, true, keys, PACK_KEYS_MAX);
	assert_int_equal(mrs_read(&log, &counts), 0);
	assert_int_equal(counts.entries, PACK_KEYS_MAX);
	for (unsigned i = 0; i < PACK_KEYS_MAX; i++) {
		(void)snprintf(line, sizeof line, "0:exact %s\n", names[i]);
		assert_non_null(strstr(log.entries, line));
	}
}

static void test_extra_is_skipped(void **state)
{
	static const char *const keys[] = {"a.test"};
	static struct log log;

	(void)state;
	body.n = 0;
	pack_bytes(&body, "MRS\x01", 4);
	pack_u8(&body, DOMAIN);
	pack_be64(&body, 1);
	pack_be64(&body, 5);
	pack_bytes(&body, "extra", 5);
	pack_u8(&body, 1);
	pack_trie(&body, true, keys, 1);
	assert_int_equal(mrs_read(&log, NULL), 0);
	assert_string_equal(log.entries, "0:exact a.test\n");
}

/* --- ranges --- */

static void range_add(const char *first, const char *last)
{
	struct in6_addr address;

	assert_int_equal(inet_pton(AF_INET6, first, &address), 1);
	pack_bytes(&body, &address, 16);
	assert_int_equal(inet_pton(AF_INET6, last, &address), 1);
	pack_bytes(&body, &address, 16);
}

static void ranges_give(const char *first, const char *last, const char *entries)
{
	static struct log log;
	struct list_counts counts;

	mrs_begin(IPCIDR, 1);
	pack_be64(&body, 1);
	range_add(first, last);
	assert_int_equal(mrs_read(&log, &counts), 0);
	assert_string_equal(log.told, "");
	assert_string_equal(log.entries, entries);
	assert_int_equal(counts.entries, 1);
}

static void test_ranges(void **state)
{
	(void)state;
	ranges_give("::ffff:1.2.3.4", "::ffff:1.2.3.4", "0:prefix 1.2.3.4/32\n");
	ranges_give("::ffff:10.0.0.0", "::ffff:10.255.255.255", "0:prefix 10.0.0.0/8\n");
	ranges_give("::ffff:0.0.0.0", "::ffff:255.255.255.255", "0:prefix 0.0.0.0/0\n");
	ranges_give("::ffff:1.0.0.1", "::ffff:1.0.0.6",
		"0:prefix 1.0.0.1/32\n0:prefix 1.0.0.2/31\n0:prefix 1.0.0.4/31\n"
		"0:prefix 1.0.0.6/32\n");
	ranges_give("::ffff:255.255.255.254", "::ffff:255.255.255.255",
		"0:prefix 255.255.255.254/31\n");
	ranges_give(
		"2001:db8::", "2001:db9:ffff:ffff:ffff:ffff:ffff:ffff", "0:prefix 2001:db8::/31\n");
	ranges_give("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "0:prefix ::/0\n");
	ranges_give("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"0:prefix ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128\n");
	ranges_give("2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::1",
		"0:prefix 2001:db8::ffff:ffff:ffff:ffff/128\n0:prefix 2001:db8:0:1::/127\n");
}

/* The worst there is: all but the first and the last. */
static int prefix_tally(void *arg, const struct ip_prefix *prefix)
{
	unsigned *n = arg;

	assert_in_range(prefix->len, 2, 128);
	++*n;
	return 0;
}

static void test_worst_range(void **state)
{
	uint8_t first[16] = {[15] = 1}, last[16];
	unsigned n = 0;

	(void)state;
	memset(last, 0xff, sizeof last);
	last[15] = 0xfe;
	assert_int_equal(list_range_each(first, last, 16, prefix_tally, &n), 0);
	assert_int_equal(n, 254);
	assert_int_equal(list_range_each(last, first, 16, prefix_tally, &n), -EINVAL);
	assert_int_equal(list_range_each(first, last, 5, prefix_tally, &n), -EINVAL);
}

static void test_range_backwards(void **state)
{
	static struct log log;
	struct list_counts counts;

	(void)state;
	mrs_begin(IPCIDR, 3);
	pack_be64(&body, 3);
	range_add("::ffff:1.2.3.4", "::ffff:1.2.3.4");
	range_add("::ffff:1.2.3.5", "::ffff:1.2.3.4");
	range_add("::ffff:1.2.3.6", "::ffff:1.2.3.6");
	assert_int_equal(mrs_read(&log, &counts), 0);
	assert_int_equal(counts.skipped, 1);
	assert_string_equal(log.entries, "0:prefix 1.2.3.4/32\n0:prefix 1.2.3.6/32\n");
	assert_non_null(strstr(log.told, "not a range"));
}

/* --- what is no MRS --- */

static void refused(const char *why)
{
	static struct log log;

	assert_int_equal(mrs_read(&log, NULL), -EBADMSG);
	assert_non_null(strstr(log.told, why));
}

static void test_other_headers(void **state)
{
	static const char *const keys[] = {"a.test"};

	(void)state;
	mrs_begin(DOMAIN, 1);
	pack_trie(&body, true, keys, 1);
	body.b[0] = 'm';
	refused("not an MRS file");
	body.b[0] = 'M';
	body.b[3] = 2;
	refused("version 2 of MRS; allowed: 1");
	body.b[3] = 1;
	body.b[4] = 2;
	refused("behaviour 2; allowed: 0 (domain), 1 (ipcidr)");
	body.b[4] = 0;
	body.b[21] = 9;
	refused("version 9 of its rules");
}

static void test_not_packed(void **state)
{
	static const char text[] = "a.test\nb.test\n";
	const struct list_source source = {"f", "lists.l", LIST_MRS, NULL, NULL};
	static struct log log;

	(void)state;
	assert_int_equal(pack_read(&log, &source, text, sizeof text - 1, NULL), -EBADMSG);
	assert_int_equal(pack_read(&log, &source, text, 0, NULL), -EBADMSG);
}

/* Whole frames of less than the whole, and parts of the frame of the whole. */
static void test_cut_short(void **state)
{
	static const char *const keys[] = {"a.test", "+.b.test", "b.test"};
	const struct list_source source = {"f", "lists.l", LIST_MRS, NULL, NULL};
	static struct log log;

	(void)state;
	mrs_begin(DOMAIN, 3);
	pack_trie(&body, true, keys, 3);
	for (size_t n = 0; n < body.n; n++) {
		mrs_pack(n);
		assert_int_equal(pack_read(&log, &source, file.b, file.n, NULL), -EBADMSG);
		assert_string_equal(log.entries, "");
	}
	mrs_pack(body.n);
	for (size_t n = 0; n < file.n; n++)
		assert_int_equal(pack_read(&log, &source, file.b, n, NULL), -EBADMSG);
	mrs_begin(IPCIDR, 2);
	pack_be64(&body, 2);
	range_add("::ffff:1.2.3.4", "::ffff:1.2.3.4");
	range_add("::", "::");
	for (size_t n = 0; n < body.n; n++) {
		mrs_pack(n);
		assert_int_equal(pack_read(&log, &source, file.b, file.n, NULL), -EBADMSG);
	}
}

/* Whatever bit is wrong: no harm; and no end of it. */
static void test_damaged(void **state)
{
	static const char *const keys[] = {"a.test", "+.b.test", "b.test", "*.c.test", "+.d.*"};
	static struct log log;

	(void)state;
	mrs_begin(DOMAIN, 3);
	pack_trie(&body, true, keys, 5);
	for (size_t at = 0; at < body.n; at++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			int err;

			body.b[at] ^= (uint8_t)(1u << bit);
			err = mrs_read(&log, NULL);
			assert_true(err == 0 || err == -EBADMSG);
			body.b[at] ^= (uint8_t)(1u << bit);
		}
	}
}

/* A trie of one word of bits. */
static void trie_make(uint64_t leaves, uint64_t bitmap, const char *labels)
{
	mrs_begin(DOMAIN, 1);
	pack_be64(&body, 1);
	pack_be64(&body, leaves);
	pack_be64(&body, 1);
	pack_be64(&body, bitmap);
	pack_be64(&body, strlen(labels));
	pack_bytes(&body, labels, strlen(labels));
}

static void test_tries_that_are_none(void **state)
{
	static struct log log;

	(void)state;
	trie_make(1 << 2, 0x1a, "ab"); /* 0 1 0 1 1: the root has a, which has b */
	assert_int_equal(mrs_read(&log, NULL), 0);
	assert_string_equal(log.entries, "0:exact ba\n");
	trie_make(1 << 2, 0x0d, "ab"); /* 1 0 1 1: a node that is its own child */
	refused("cut short or damaged");
	trie_make(1 << 2, 0x0b, "ab"); /* 1 1 0 1: two that are each other's */
	refused("cut short or damaged");
	trie_make(1 << 2, 0, "ab"); /* no node ends */
	refused("cut short or damaged");
	trie_make(1 << 2, UINT64_MAX, "ab"); /* no node has children */
	refused("cut short or damaged");
	trie_make(1 << 2, 0x1a, "a"); /* more nodes than labels */
	refused("cut short or damaged");
	trie_make(1 << 2, 0x1a, "abc"); /* and fewer */
	refused("cut short or damaged");
	trie_make(UINT64_MAX, 0x1a, "ab"); /* leaves that are no nodes */
	assert_int_equal(mrs_read(&log, NULL), 0);
	assert_int_equal(log.n, 2);
}

static void test_lengths_that_lie(void **state)
{
	static const uint64_t lies[] = {
		2, 3, 1u << 16, UINT32_MAX, 1ULL << 61, INT64_MAX, 1ULL << 63, UINT64_MAX};
	static const size_t places[] = {13, 22, 38, 54}; /* extra, leaves, bitmap, labels */

	(void)state;
	for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
		for (size_t k = 0; k < sizeof places / sizeof places[0]; k++) {
			size_t n;

			trie_make(1 << 1, 0x6, "a");
			n = body.n;
			body.n = places[k];
			pack_be64(&body, lies[i]);
			body.n = n;
			refused("");
		}
		mrs_begin(IPCIDR, 1);
		pack_be64(&body, lies[i]);
		range_add("::1", "::1");
		refused("cut short or damaged");
	}
}

/* 256 MiB and more of zeros, in some 30 KiB. */
static void test_bombs(void **state)
{
	const struct list_source source = {"f", "lists.l", LIST_MRS, NULL, NULL};
	static uint8_t zeros[1 << 20];
	static struct log log;
	ZSTD_CCtx *z = ZSTD_createCCtx();
	ZSTD_outBuffer out = {file.b, sizeof file.b, 0};
	ZSTD_inBuffer in;

	(void)state;
	mrs_begin(DOMAIN, 1);
	pack_be64(&body, 1ULL << 26); /* words of leaves */
	in = (ZSTD_inBuffer){body.b, body.n, 0};
	assert_int_equal(ZSTD_compressStream2(z, &out, &in, ZSTD_e_continue), 0);
	for (unsigned i = 0; i < 300; i++) {
		in = (ZSTD_inBuffer){zeros, sizeof zeros, 0};
		(void)ZSTD_compressStream2(z, &out, &in, ZSTD_e_continue);
	}
	in = (ZSTD_inBuffer){zeros, 0, 0};
	assert_int_equal(ZSTD_compressStream2(z, &out, &in, ZSTD_e_end), 0);
	ZSTD_freeCCtx(z);
	assert_int_equal(pack_read(&log, &source, file.b, out.pos, NULL), -EFBIG);
}

/* A string may be longer than any name; a long one is skipped. */
static void test_long_strings(void **state)
{
	static char long_key[1100];
	static const char *keys[] = {long_key, "a.test"};
	static struct log log;
	struct list_counts counts;

	(void)state;
	memset(long_key, 'a', sizeof long_key - 1);
	mrs_begin(DOMAIN, 2);
	pack_trie(&body, true, keys, 2);
	assert_int_equal(mrs_read(&log, &counts), 0);
	assert_int_equal(counts.skipped, 1);
	assert_string_equal(log.entries, "0:exact a.test\n");
	long_key[300] = 0;
	mrs_begin(DOMAIN, 2);
	pack_trie(&body, true, keys, 2);
	assert_int_equal(mrs_read(&log, &counts), 0);
	assert_int_equal(counts.skipped, 1);
}

/* --- real data --- */

#define SHARED "/work/shared/data/rules/AWAvenue/Filters/AWAvenue-Ads-Rule-Clash"

static void test_awavenue(void **state)
{
	static struct log log, yaml;
	struct list_counts counts;

	(void)state;
	if (access(SHARED ".mrs", R_OK) != 0) {
		print_message("skipped: no ../shared/data\n");
		skip();
	}
	assert_int_equal(log_read_path(&log, LIST_MRS, SHARED ".mrs", &counts, NULL), 0);
	assert_int_equal(counts.entries, 896);
	assert_int_equal(counts.skipped + counts.unused, 0);
	/* The same as the YAML it was made of, where one name stands alone and with all below. */
	assert_int_equal(log_read_path(&yaml, LIST_CLASH, SHARED ".yaml", &counts, NULL), 0);
	assert_int_equal(counts.entries, 897);
	for (char *line = yaml.entries; *line; line = strchr(line, '\n') + 1) {
		const char *entry = strchr(line, ':');
		size_t n = strcspn(entry, "\n");
		char want[512];

		if (strncmp(entry, ":exact ad.gameley.com", n) == 0)
			continue;
		(void)snprintf(want, sizeof want, "0%.*s\n", (int)n, entry);
		assert_non_null(strstr(log.entries, want));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_domains),
		cmocka_unit_test(test_wildcards),
		cmocka_unit_test(test_no_names),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_extra_is_skipped),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_worst_range),
		cmocka_unit_test(test_range_backwards),
		cmocka_unit_test(test_other_headers),
		cmocka_unit_test(test_not_packed),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_tries_that_are_none),
		cmocka_unit_test(test_lengths_that_lie),
		cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_long_strings),
		cmocka_unit_test(test_awavenue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
