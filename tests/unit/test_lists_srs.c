/* SRS: what the marks of its strings mean, which rules a list can be made of, and files that lie.
 */
#include <arpa/inet.h>
#include <unistd.h>
#include <zlib.h>

#include "tests/unit/lists_pack.h"

enum { DOMAIN = 2, KEYWORD = 3, REGEXP = 4, SOURCE_PREFIX = 5, PREFIX = 6, ADGUARD = 16 };
enum { AND, OR };

static struct pack body, file;

static void srs_begin(uint64_t rules)
{
	body.n = 0;
	pack_varint(&body, rules);
}

static void srs_pack(unsigned version, size_t n)
{
	uLongf room = sizeof file.b - 4;

	file.n = 0;
	pack_bytes(&file, "SRS", 3);
	pack_u8(&file, version);
	assert_int_equal(compress2(file.b + 4, &room, body.b, n, 9), Z_OK);
	file.n = 4 + room;
}

static int srs_read(struct log *log, struct list_counts *ret)
{
	const struct list_source source = {"f", "lists.l", LIST_SRS, NULL, NULL};

	srs_pack(3, body.n);
	return pack_read(log, &source, file.b, file.n, ret);
}

/* A default rule is begun by 0, items, and ended by 255 and whether it is inverted. */
static void rule_begin(void)
{
	pack_u8(&body, 0);
}

static void rule_end(bool inverted)
{
	pack_u8(&body, 0xff);
	pack_u8(&body, inverted);
}

static void logical_begin(unsigned mode, uint64_t rules)
{
	pack_u8(&body, 1);
	pack_u8(&body, mode);
	pack_varint(&body, rules);
}

static void logical_end(bool inverted)
{
	pack_u8(&body, inverted);
}

static void trie_add(unsigned item, const char *const *keys, size_t n)
{
	pack_u8(&body, item);
	pack_u8(&body, 0);
	pack_trie(&body, false, keys, n);
}

static void string_add(const char *text)
{
	pack_varint(&body, strlen(text));
	pack_bytes(&body, text, strlen(text));
}

/* A rule of one item with one value. */
static void simple_rule(unsigned item, const char *text, bool inverted)
{
	rule_begin();
	if (item == DOMAIN || item == ADGUARD) {
		trie_add(item, &text, 1);
	} else {
		pack_u8(&body, item);
		pack_varint(&body, 1);
		string_add(text);
	}
	rule_end(inverted);
}

static void address_add(const char *text)
{
	struct in6_addr address;
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;

	assert_int_equal(inet_pton(family, text, &address), 1);
	pack_varint(&body, family == AF_INET ? 4 : 16);
	pack_bytes(&body, &address, family == AF_INET ? 4 : 16);
}

static void ranges_begin(unsigned item, uint64_t n)
{
	pack_u8(&body, item);
	pack_u8(&body, 1);
	pack_be64(&body, n);
}

/* What was made gives these entries, and so many values without use. */
static void gives(const char *entries, unsigned unused)
{
	static struct log log;
	struct list_counts counts;

	assert_int_equal(srs_read(&log, &counts), 0);
	assert_string_equal(log.told, "");
	assert_string_equal(log.entries, entries);
	assert_int_equal(counts.unused, unused);
	assert_int_equal(counts.skipped, 0);
	assert_int_equal(counts.lines, counts.entries + unused);
}

static void keys_give(unsigned item, const char *const *keys, size_t n, const char *entries)
{
	srs_begin(1);
	rule_begin();
	trie_add(item, keys, n);
	rule_end(false);
	gives(entries, 0);
}

#define KEYS_GIVE(item, entries, ...)                                                              \
	do {                                                                                       \
		static const char *const keys[] = {__VA_ARGS__};                                   \
		keys_give(item, keys, sizeof keys / sizeof keys[0], entries);                      \
	} while (0)

static void test_domains(void **state)
{
	(void)state;
	KEYS_GIVE(DOMAIN, "0:exact a.test\n", "a.test");
	KEYS_GIVE(DOMAIN, "0:suffix a.test\n", "\na.test");
	KEYS_GIVE(DOMAIN, "0:below a.test\n", "\r.a.test");
	KEYS_GIVE(DOMAIN, "0:regexp a\\.test$\n", "\ra.test");
	/* Version 1. */
	KEYS_GIVE(DOMAIN, "0:suffix a.test\n", "\r.a.test", "a.test");
	KEYS_GIVE(DOMAIN, "0:suffix a.test\n0:suffix b.test\n", "\nb.test", "\r.a.test", "a.test");
}

static void test_adguard(void **state)
{
	(void)state;
	KEYS_GIVE(ADGUARD, "0:suffix a.test\n", "\na.test");		/* ||a.test^ */
	KEYS_GIVE(ADGUARD, "0:exact a.test\n", "a.test");		/* |a.test^ */
	KEYS_GIVE(ADGUARD, "0:regexp a\\.test$\n", "\ra.test");		/* a.test^ */
	KEYS_GIVE(ADGUARD, "0:below a.test\n", "\r.a.test");		/* .a.test^ */
	KEYS_GIVE(ADGUARD, "0:suffix a.test\n", "\r.a.test", "a.test"); /* the last two */
	KEYS_GIVE(ADGUARD, "0:regexp (?:^|\\.)a\n", "\na\b");		/* ||a */
	KEYS_GIVE(ADGUARD, "0:regexp ^a\\.test\n", "a.test\b");		/* |a.test */
	KEYS_GIVE(ADGUARD, "0:regexp a\\.test\n", "\ra.test\b");	/* a.test */
	KEYS_GIVE(ADGUARD, "0:regexp \\.a\\.\n", "\r.a.\b");		/* .a. */
	KEYS_GIVE(ADGUARD, "0:regexp (?:^|\\.)a.*\\.test$\n", "\na*.test");
	KEYS_GIVE(ADGUARD, "0:regexp ^.*\\.test\n", "*.test\b");
	KEYS_GIVE(ADGUARD, "0:regexp (?:^|\\.)a\\.\n", "\r.a.\b", "a.\b"); /* .a. and |a. */
}

static void test_texts(void **state)
{
	(void)state;
	srs_begin(1);
	rule_begin();
	pack_u8(&body, KEYWORD);
	pack_varint(&body, 2);
	string_add("-ad");
	string_add("Track");
	pack_u8(&body, REGEXP);
	pack_varint(&body, 1);
	string_add("^a[0-9]+\\.");
	rule_end(false);
	gives("0:keyword -ad\n0:keyword Track\n0:regexp ^a[0-9]+\\.\n", 0);
}

static void test_prefixes(void **state)
{
	static struct log log;
	struct list_counts counts;

	(void)state;
	srs_begin(1);
	rule_begin();
	ranges_begin(PREFIX, 4);
	address_add("10.0.0.0");
	address_add("10.255.255.255");
	address_add("192.168.0.1");
	address_add("192.168.0.2");
	address_add("2001:db8::");
	address_add("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff");
	address_add("::ffff:1.2.3.4");
	address_add("::ffff:1.2.3.4");
	rule_end(false);
	gives("0:prefix 10.0.0.0/8\n0:prefix 192.168.0.1/32\n0:prefix 192.168.0.2/32\n"
	      "0:prefix 2001:db8::/32\n0:prefix 1.2.3.4/32\n",
		0);
	srs_begin(1);
	rule_begin();
	ranges_begin(PREFIX, 3);
	address_add("10.0.0.0");
	address_add("10.255.255.255");
	address_add("10.0.0.1");
	address_add("10.0.0.0");
	address_add("10.0.0.0");
	address_add("::1");
	rule_end(false);
	simple_rule(DOMAIN, "a.test", false);
	body.b[0] = 2;
	assert_int_equal(srs_read(&log, &counts), 0);
	assert_int_equal(counts.skipped, 2);
	assert_string_equal(log.entries, "0:prefix 10.0.0.0/8\n0:exact a.test\n");
}

static void other_item(unsigned item)
{
	pack_u8(&body, item);
	switch (item) {
	case 0: /* types of queries */
	case 7:
	case 9: /* ports */
		pack_varint(&body, 2);
		pack_bytes(&body, "\0\1\0\2", 4);
		break;
	case SOURCE_PREFIX:
		body.n--;
		ranges_begin(SOURCE_PREFIX, 1);
		address_add("10.0.0.0");
		address_add("10.0.0.255");
		break;
	case 18: /* types of networks */
		pack_varint(&body, 1);
		pack_u8(&body, 1);
		break;
	case 19:
	case 20:
		break;
	case 21: /* addresses of interfaces */
		pack_varint(&body, 1);
		pack_u8(&body, 1);
		pack_varint(&body, 1);
		address_add("10.0.0.0");
		pack_u8(&body, 8);
		break;
	case 22:
		pack_varint(&body, 2);
		address_add("10.0.0.0");
		pack_u8(&body, 8);
		address_add("2001:db8::");
		pack_u8(&body, 32);
		break;
	default: /* texts */
		pack_varint(&body, 1);
		string_add("some text");
	}
}

/* A rule with one is and-ed with it: no list. The rule beside it is. */
static void test_other_conditions(void **state)
{
	static const uint8_t others[] = {
		0, 1, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22};
	static const char *const keys[] = {"a.test"};

	(void)state;
	for (size_t i = 0; i < sizeof others; i++) {
		unsigned values =
			others[i] == 0 || others[i] == 7 || others[i] == 9 || others[i] == 22 ? 2
											      : 1;

		srs_begin(3);
		rule_begin();
		trie_add(DOMAIN, keys, 1);
		other_item(others[i]);
		rule_end(false);
		rule_begin();
		other_item(others[i]);
		trie_add(DOMAIN, keys, 1);
		rule_end(true);
		simple_rule(DOMAIN, "b.test", false);
		gives("0:exact b.test\n", 2 * values + 2);
	}
}

/* An item without values is no condition. */
static void test_empty_items(void **state)
{
	(void)state;
	srs_begin(2);
	rule_begin();
	pack_u8(&body, 9);
	pack_varint(&body, 0);
	pack_u8(&body, KEYWORD);
	pack_varint(&body, 1);
	string_add("ad");
	rule_end(false);
	rule_begin();
	pack_u8(&body, DOMAIN);
	pack_bytes(&body, "\0\0\0\0", 4);
	rule_end(false);
	gives("0:keyword ad\n", 0);
}

static void test_or(void **state)
{
	(void)state;
	srs_begin(2);
	logical_begin(OR, 2);
	simple_rule(DOMAIN, "a.test", false);
	logical_begin(OR, 2);
	simple_rule(KEYWORD, "ad", false);
	simple_rule(11, "firefox", false); /* a process */
	logical_end(false);
	logical_end(false);
	logical_begin(AND, 1);
	simple_rule(DOMAIN, "\nb.test", false);
	logical_end(false);
	gives("0:exact a.test\n0:keyword ad\n0:suffix b.test\n", 1);
}

static void test_what_is_no_list(void **state)
{
	(void)state;
	srs_begin(4);
	simple_rule(DOMAIN, "a.test", true);
	logical_begin(AND, 2);
	simple_rule(DOMAIN, "b.test", false);
	simple_rule(KEYWORD, "b", false);
	logical_end(false);
	logical_begin(OR, 1);
	simple_rule(DOMAIN, "c.test", false);
	logical_end(true);
	simple_rule(DOMAIN, "d.test", false);
	gives("0:exact d.test\n", 4);
	/* What is taken away is not known from the name. */
	srs_begin(1);
	logical_begin(AND, 2);
	simple_rule(DOMAIN, "b.test", false);
	simple_rule(11, "firefox", true);
	logical_end(false);
	gives("", 2);
	/* Nor what it is taken from: then there is nothing to be an exception of. */
	srs_begin(2);
	simple_rule(DOMAIN, "a.test", false);
	logical_begin(AND, 2);
	simple_rule(DOMAIN, "b.test", true);
	logical_begin(OR, 2);
	simple_rule(11, "firefox", false);
	logical_begin(AND, 2);
	simple_rule(DOMAIN, "c.test", false);
	simple_rule(DOMAIN, "d.test", false);
	logical_end(false);
	logical_end(false);
	logical_end(false);
	gives("0:exact a.test\n", 4);
	/* Two differences: a list has one set of exceptions. */
	srs_begin(2);
	for (int i = 0; i < 2; i++) {
		logical_begin(AND, 2);
		simple_rule(DOMAIN, i ? "a.test" : "b.test", false);
		simple_rule(KEYWORD, i ? "a" : "b", true);
		logical_end(false);
	}
	gives("", 4);
}

static void test_difference(void **state)
{
	(void)state;
	srs_begin(1);
	logical_begin(AND, 3);
	simple_rule(DOMAIN, "x.a.test", true);
	simple_rule(DOMAIN, "\na.test", false);
	logical_begin(OR, 2);
	simple_rule(KEYWORD, "y", false);
	simple_rule(DOMAIN, "\nz.a.test", false);
	logical_end(true);
	logical_end(false);
	gives("0:except exact x.a.test\n0:suffix a.test\n0:except keyword y\n"
	      "0:except suffix z.a.test\n",
		0);
	/* Beside others, which it takes nothing from. */
	srs_begin(3);
	simple_rule(DOMAIN, "b.test", false);
	logical_begin(AND, 2);
	simple_rule(DOMAIN, "x.a.test", true);
	rule_begin();
	trie_add(DOMAIN, (const char *const[]){"\na.test"}, 1);
	ranges_begin(PREFIX, 1);
	address_add("10.0.0.0");
	address_add("10.0.0.0");
	rule_end(false);
	logical_end(false);
	simple_rule(KEYWORD, "c", false);
	gives("0:important exact b.test\n0:except exact x.a.test\n0:suffix a.test\n"
	      "0:important keyword c\n",
		1);
}

/* As sing-box writes a list of AdBlock's: exceptions, important ones, exceptions of these. */
static void test_adblock_in_rules(void **state)
{
	(void)state;
	srs_begin(1);
	logical_begin(AND, 2);
	simple_rule(ADGUARD, "\nno.no.test", true);
	logical_begin(OR, 2);
	simple_rule(ADGUARD, "\nyes.test", false);
	logical_begin(AND, 2);
	simple_rule(ADGUARD, "\nbut.test", true);
	simple_rule(ADGUARD, "\ntest", false);
	logical_end(false);
	logical_end(false);
	logical_end(false);
	gives("0:except-important suffix no.no.test\n0:important suffix yes.test\n"
	      "0:except suffix but.test\n0:suffix test\n",
		0);
	srs_begin(1);
	logical_begin(AND, 2);
	simple_rule(ADGUARD, "\nno.no.test", true);
	logical_begin(AND, 2);
	simple_rule(ADGUARD, "\nbut.test", true);
	simple_rule(ADGUARD, "\ntest", false);
	logical_end(false);
	logical_end(false);
	gives("0:except-important suffix no.no.test\n0:except suffix but.test\n0:suffix test\n", 0);
}

/* --- what is no SRS --- */

static void refused(const char *why)
{
	static struct log log;

	assert_int_equal(srs_read(&log, NULL), -EBADMSG);
	assert_non_null(strstr(log.told, why));
}

static void test_headers(void **state)
{
	const struct list_source source = {"f", "lists.l", LIST_SRS, NULL, NULL};
	static struct log log;

	(void)state;
	srs_begin(1);
	simple_rule(DOMAIN, "a.test", false);
	for (unsigned version = 0; version < 8; version++) {
		bool good = version >= 1 && version <= 5;

		srs_pack(version, body.n);
		assert_int_equal(
			pack_read(&log, &source, file.b, file.n, NULL), good ? 0 : -EBADMSG);
		assert_string_equal(log.entries, good ? "0:exact a.test\n" : "");
	}
	assert_non_null(strstr(log.told, "version 7 of a rule-set; allowed: 1 to 5"));
	file.b[0] = 'X';
	assert_int_equal(pack_read(&log, &source, file.b, file.n, NULL), -EBADMSG);
	assert_non_null(strstr(log.told, "not a binary rule-set"));
	for (size_t n = 0; n < 4; n++)
		assert_int_equal(pack_read(&log, &source, file.b, n, NULL), -EBADMSG);
}

static void rules_make(void)
{
	srs_begin(1);
	logical_begin(OR, 2);
	rule_begin();
	trie_add(DOMAIN, (const char *const[]){"\na.test", "b.test"}, 2);
	ranges_begin(PREFIX, 1);
	address_add("10.0.0.0");
	address_add("10.0.0.9");
	for (unsigned item = 7; item <= 23; item++)
		if (item != ADGUARD)
			other_item(item);
	rule_end(false);
	simple_rule(KEYWORD, "ad", false);
	logical_end(false);
}

static void test_cut_short(void **state)
{
	const struct list_source source = {"f", "lists.l", LIST_SRS, NULL, NULL};
	static struct log log;

	(void)state;
	rules_make();
	for (size_t n = 0; n < body.n; n++) {
		srs_pack(3, n);
		assert_int_equal(pack_read(&log, &source, file.b, file.n, NULL), -EBADMSG);
		assert_string_equal(log.entries, "");
	}
	srs_pack(3, body.n);
	for (size_t n = 0; n < file.n; n++)
		assert_int_equal(pack_read(&log, &source, file.b, n, NULL), -EBADMSG);
	/* zlib's checksum. */
	file.b[file.n - 1] ^= 1;
	assert_int_equal(pack_read(&log, &source, file.b, file.n, NULL), -EBADMSG);
}

static void test_damaged(void **state)
{
	static struct log log;

	(void)state;
	rules_make();
	for (size_t at = 0; at < body.n; at++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			int err;

			body.b[at] ^= (uint8_t)(1u << bit);
			err = srs_read(&log, NULL);
			assert_true(err == 0 || err == -EBADMSG);
			body.b[at] ^= (uint8_t)(1u << bit);
		}
	}
}

static void test_unknown_items(void **state)
{
	(void)state;
	for (unsigned item = 24; item < 255; item++) {
		srs_begin(1);
		rule_begin();
		pack_u8(&body, item);
		rule_end(false);
		refused("a condition of an unknown kind");
	}
	srs_begin(1);
	pack_u8(&body, 2);
	refused("cut short or damaged");
	srs_begin(1);
	logical_begin(2, 0);
	logical_end(false);
	refused("cut short or damaged");
}

static void test_nesting(void **state)
{
	(void)state;
	for (unsigned depth = 1; depth < 1000; depth += depth < 34 ? 1 : 400) {
		srs_begin(1);
		for (unsigned i = 1; i < depth; i++)
			logical_begin(i % 2 ? OR : AND, 1);
		simple_rule(DOMAIN, "a.test", false);
		for (unsigned i = 1; i < depth; i++)
			logical_end(false);
		if (depth <= 32)
			gives("0:exact a.test\n", 0);
		else
			refused("more than 65536 rules, or 32 of them in one another");
	}
	srs_begin(100000);
	for (unsigned i = 0; i < 70000; i++) {
		logical_begin(OR, 0);
		logical_end(false);
	}
	refused("more than 65536 rules");
}

static void test_lengths_that_lie(void **state)
{
	static const uint64_t lies[] = {
		2, 1u << 16, UINT32_MAX, 1ULL << 61, 1ULL << 63, UINT64_MAX};
	static struct log log;

	(void)state;
	for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
		for (unsigned item = 0; item < 24; item++) {
			srs_begin(1);
			rule_begin();
			pack_u8(&body, item);
			if (item == DOMAIN || item == ADGUARD)
				pack_u8(&body, 0);
			if (item == SOURCE_PREFIX || item == PREFIX) {
				pack_u8(&body, 1);
				pack_be64(&body, lies[i]);
			} else if (item != 19 && item != 20) {
				pack_varint(&body, lies[i]);
			}
			assert_int_equal(srs_read(&log, NULL), -EBADMSG);
		}
		srs_begin(lies[i]); /* rules */
		simple_rule(DOMAIN, "a.test", false);
		refused("cut short or damaged");
		srs_begin(1); /* the length of a text */
		rule_begin();
		pack_u8(&body, KEYWORD);
		pack_varint(&body, 1);
		pack_varint(&body, lies[i]);
		pack_u8(&body, 'x');
		refused("cut short or damaged");
		srs_begin(1); /* of an address */
		rule_begin();
		ranges_begin(PREFIX, 1);
		pack_varint(&body, lies[i]);
		pack_bytes(&body, "abcdefghijklmnopqrstuvwxyz", 26);
		refused("cut short or damaged");
	}
}

/* A condition of a billion texts of no bytes, 100 MiB of which are there, in 100 KiB. */
static void test_bombs(void **state)
{
	const struct list_source source = {"f", "lists.l", LIST_SRS, NULL, NULL};
	static uint8_t zeros[1 << 20];
	static struct log log;
	z_stream z = {0};

	(void)state;
	srs_begin(1);
	rule_begin();
	pack_u8(&body, 11);
	pack_varint(&body, 1u << 30); /* texts of no bytes */
	assert_int_equal(deflateInit(&z, 9), Z_OK);
	file.n = 0;
	pack_bytes(&file, "SRS\x03", 4);
	z.next_out = file.b + 4;
	z.avail_out = sizeof file.b - 4;
	z.next_in = body.b;
	z.avail_in = (uInt)body.n;
	assert_int_equal(deflate(&z, Z_NO_FLUSH), Z_OK);
	for (unsigned i = 0; i < 100; i++) {
		z.next_in = zeros;
		z.avail_in = sizeof zeros;
		assert_int_equal(deflate(&z, Z_NO_FLUSH), Z_OK);
	}
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	file.n = 4 + z.total_out;
	assert_int_equal(deflateEnd(&z), Z_OK);
	assert_int_equal(pack_read(&log, &source, file.b, file.n, NULL), -EFBIG);
}

static void test_values_that_cannot_be_used(void **state)
{
	static char long_text[LIST_LINE_MAX + 2];
	static struct log log;
	struct list_counts counts;

	(void)state;
	memset(long_text, 'a', sizeof long_text - 1);
	srs_begin(1);
	rule_begin();
	pack_u8(&body, KEYWORD);
	pack_varint(&body, 6);
	string_add("ad");
	string_add("b");
	string_add("c");
	string_add("");
	string_add(long_text);
	string_add("da");
	trie_add(DOMAIN, (const char *const[]){"\n", "a b", "a.test"}, 3);
	rule_end(false);
	assert_int_equal(srs_read(&log, &counts), 0);
	assert_int_equal(counts.lines, 9);
	assert_int_equal(counts.skipped, 4);
	assert_int_equal(counts.entries, 5);
	assert_non_null(strstr(log.told, "warning: lists.l: a value above 64 KiB"));
	assert_non_null(strstr(log.told, "warning: lists.l: a keyword without text"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_domains),
		cmocka_unit_test(test_adguard),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_other_conditions),
		cmocka_unit_test(test_empty_items),
		cmocka_unit_test(test_or),
		cmocka_unit_test(test_what_is_no_list),
		cmocka_unit_test(test_difference),
		cmocka_unit_test(test_adblock_in_rules),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_unknown_items),
		cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_lengths_that_lie),
		cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_values_that_cannot_be_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
