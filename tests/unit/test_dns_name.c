#include "tests/unit/dns_packet.h"

#include <errno.h>
#include <stdio.h>

static void assert_padded(const struct dns_name *name)
{
	for (size_t i = name->len; i % 8; i++)
		assert_int_equal(name->b[i], 0);
}

static void parse_and_format(void **state)
{
	static const struct {
		const char *text, *wire;
		size_t len;
		unsigned labels;
		const char *back; /* NULL: as text */
	} cases[] = {
		{"a.test", "\1a\4test", 8, 2, NULL},
		{"A.tEsT.", "\1a\4test", 8, 2, "a.test"},
		{".", "", 1, 0, NULL},
		{"test", "\4test", 6, 1, NULL},
		{"a\\.b.c", "\3a.b\1c", 7, 2, NULL},
		{"\\000.x", "\1\0\1x", 5, 2, NULL},
		{"a\\032b", "\3a b", 5, 1, NULL},
		{"a\\ b", "\3a b", 5, 1, "a\\032b"},
		{"\\\\", "\1\\", 3, 1, NULL},
		{"\\255\\127", "\2\xff\x7f", 4, 1, "\\255\\127"},
		{"\\065", "\1a", 3, 1, "a"},
		{"_dns.resolver.arpa", "\4_dns\10resolver\4arpa", 20, 3, NULL},
	};
	char text[DNS_NAME_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct dns_name name = name_of(cases[i].text);

		assert_int_equal(name.len, cases[i].len);
		assert_int_equal(name.labels, cases[i].labels);
		assert_memory_equal(name.b, cases[i].wire, cases[i].len);
		assert_padded(&name);
		assert_string_equal(dns_name_format(name.b, text),
			cases[i].back ? cases[i].back : cases[i].text);
	}
}

static void parse_refuses(void **state)
{
	static const char *const wrong[] = {"", "..", ".a", "a..b", "a..", "\\", "a\\", "a\\25",
		"a\\256", "a\\1x2", "a b", "a\tb", "m\xc3\xbcller.test", "a\x7f", "\\\t"};
	struct dns_name name;

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(dns_name_parse(wrong[i], strlen(wrong[i]), &name), -EINVAL);
}

static void parse_limits(void **state)
{
	char text[600], back[DNS_NAME_TEXT_MAX];
	struct dns_name name;
	size_t n = 0;

	(void)state;
	memset(text, 'x', sizeof text);
	assert_int_equal(dns_name_parse(text, 63, &name), 0);
	assert_int_equal(dns_name_parse(text, 64, &name), -EINVAL);

	/* 127 labels of one byte are 255 bytes with the root. */
	for (int i = 0; i < 128; i++) {
		text[n++] = 'y';
		text[n++] = '.';
	}
	assert_int_equal(dns_name_parse(text, 2 * 127, &name), 0);
	assert_int_equal(name.len, 255);
	assert_int_equal(name.labels, 127);
	assert_padded(&name);
	assert_int_equal(dns_name_parse(text, 2 * 127 - 1, &name), 0);
	assert_int_equal(dns_name_parse(text, 2 * 128, &name), -EINVAL);
	assert_int_equal(dns_name_parse(text, 2 * 128 - 1, &name), -EINVAL);

	/* Three labels of 63 leave 62 bytes less the root: 61 letters. */
	memset(text, 'z', sizeof text);
	text[63] = text[127] = text[191] = '.';
	assert_int_equal(dns_name_parse(text, 192 + 61, &name), 0);
	assert_int_equal(name.len, 255);
	assert_int_equal(dns_name_parse(text, 192 + 62, &name), -EINVAL);

	/* The longest text. */
	memset(&name, 0, sizeof name);
	for (int i = 0; i < 255 - 1; i++)
		name.b[i] = i % 64 == 0 ? (i < 192 ? 63 : 61) : 0xff;
	name.b[254] = 0;
	assert_int_equal(strlen(dns_name_format(name.b, back)), 4 * 250 + 3);
	assert_true(strlen(back) < DNS_NAME_TEXT_MAX);
}

/* Every byte value, at every place in a word. */
static void read_lowers_only_letters(void **state)
{
	(void)state;
	for (unsigned shift = 0; shift < 8; shift++) {
		for (unsigned c = 0; c < 256; c++) {
			uint8_t msg[DNS_HEADER_SIZE + 16] = {0}, *copy;
			unsigned want = c >= 'A' && c <= 'Z' ? c + 32 : c;
			size_t off = DNS_HEADER_SIZE;
			struct dns_name name;

			memset(&name, 0xff, sizeof name);
			msg[12] = 10;
			memset(msg + 13, 0xc1,
				10); /* neighbours with the top bit set must not carry over */
			msg[13 + shift] = (uint8_t)c;
			copy = exact(msg, 12 + 12);
			assert_int_equal(dns_name_read(copy, 12 + 12, &off, &name), 0);
			assert_int_equal(off, 24);
			assert_int_equal(name.len, 12);
			assert_int_equal(name.b[1 + shift], want);
			assert_int_equal(name.b[1 + (shift + 1) % 8], 0xc1);
			assert_padded(&name);
			free(copy);
		}
	}
}

static void read_follows_pointers(void **state)
{
	/* 12: "Test", 18: "a"->12, 22: ->18, 24: "B"->22 */
	static const char body[] = "\4Test\0\1a\xc0\x0c\xc0\x12\1B\xc0\x16";
	uint8_t msg[12 + sizeof body - 1] = {0};
	struct dns_name name, want = name_of("b.a.test");
	size_t off = 24;

	(void)state;
	memcpy(msg + 12, body, sizeof body - 1);
	assert_int_equal(dns_name_read(msg, sizeof msg, &off, &name), 0);
	assert_int_equal(off, 28);
	assert_true(dns_name_equal(&name, &want));
	assert_int_equal(name.labels, 3);
	assert_padded(&name);
	off = 22;
	assert_int_equal(dns_name_skip(msg, sizeof msg, &off), 0);
	assert_int_equal(off, 24);
}

struct bad {
	const char *bytes; /* from offset 12 */
	size_t size, off;
	bool skips; /* dns_name_skip() takes it */
};

static void read_refuses(void **state)
{
	static const struct bad cases[] = {
		{"", 0, 12, false}, {"\1", 1, 12, false}, {"\1a", 2, 12, false},
		{"\xc0", 1, 12, false}, {"\1a\xc0", 3, 12, false},
		{"\xc0\x0c", 2, 12, true},	   /* itself */
		{"\1a\xc0\x0c", 4, 12, true},	   /* its own start */
		{"\1a\xc0\x0e\0", 5, 12, true},	   /* its own pointer */
		{"\xc0\x0e\1a\0", 5, 12, true},	   /* forward */
		{"\xc0\x0e\xc0\x0c", 4, 14, true}, /* to and fro */
		{"\xc0\x00\0", 3, 12, true},	   /* the header */
		{"\xc0\x0b\0", 3, 12, true}, {"\xff\xff\0", 3, 12, true},
		{"\3xyz\1a\xc0\x0c", 8, 16, true}, /* back, but on through itself */
		{"\4x\xc0\x0cx\0", 6, 14, true},   /* the same, and out behind */
		{"\x40"
		 "a\0",
			3, 12, false}, /* reserved types of labels */
		{"\x80"
		 "a\0",
			3, 12, false},
		{"\xbf"
		 "a\0",
			3, 12, false},
		{"\0", 1, 13, false}, /* starts at the end */
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t msg[32] = {0}, *copy;
		size_t len = 12 + cases[i].size, off = cases[i].off;
		struct dns_name name;

		memcpy(msg + 12, cases[i].bytes, cases[i].size);
		copy = exact(msg, len);
		assert_int_equal(dns_name_read(copy, len, &off, &name), -EBADMSG);
		assert_int_equal(off, cases[i].off);
		assert_int_equal(dns_name_skip(copy, len, &off), cases[i].skips ? 0 : -EBADMSG);
		free(copy);
	}
}

/* 255 bytes pass and 256 do not, in one piece and joined by a pointer. */
static void read_length_limit(void **state)
{
	uint8_t msg[600] = {0};
	struct dns_name name;
	size_t off;

	(void)state;
	for (unsigned last = 61; last <= 62; last++) {
		int want = last == 61 ? 0 : -EBADMSG;

		memset(msg + 12, 'q', sizeof msg - 12);
		for (int i = 0; i < 3; i++)
			msg[12 + 64 * i] = 63;
		msg[12 + 192] = (uint8_t)last;
		msg[12 + 193 + last] = 0;
		off = 12;
		assert_int_equal(dns_name_read(msg, sizeof msg, &off, &name), want);
		off = 12;
		assert_int_equal(dns_name_skip(msg, sizeof msg, &off), want);

		/* 300: the fourth label, then a pointer to the three others. */
		msg[12 + 192] = 0;
		msg[300] = (uint8_t)last;
		msg[301 + last] = 0xc0;
		msg[302 + last] = 12;
		off = 300;
		assert_int_equal(dns_name_read(msg, sizeof msg, &off, &name), want);
		if (want == 0)
			assert_int_equal(name.len, 255);
	}
}

/* 128 pointers in a row cost time and serve nobody. */
static void read_pointer_chain_limit(void **state)
{
	uint8_t msg[12 + 2 + 2 * 200] = {0};
	struct dns_name name;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		unsigned at = 14 + 2 * i, target = i ? at - 2 : 12;

		msg[at] = (uint8_t)(0xc0 | target >> 8);
		msg[at + 1] = (uint8_t)target;
	}
	for (unsigned i = 0; i < 200; i++) {
		size_t off = 14 + 2 * i;

		assert_int_equal(
			dns_name_read(msg, sizeof msg, &off, &name), i < 127 ? 0 : -EBADMSG);
	}
}

static void below(void **state)
{
	static const struct {
		const char *name, *zone;
		bool below;
	} cases[] = {
		{"ru", "ru", true},
		{"a.ru", "ru", true},
		{"guru", "ru", false},
		{"x.guru", "ru", false},
		{"ru", "a.ru", false},
		{"A.B.test", "b.TEST", true},
		{"a.bb.test", "b.test", false},
		{"a\\004test", "test", false}, /* the zone's bytes, inside one label */
		{"x.a\\004test", "test", false},
		{"test", ".", true},
		{".", ".", true},
		{".", "test", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct dns_name name = name_of(cases[i].name), zone = name_of(cases[i].zone);

		assert_int_equal(dns_name_is_below(&name, &zone), cases[i].below);
	}
}

static void hash_spreads(void **state)
{
	static const uint64_t keys[] = {0, 1, 0x8000000000000000ULL, 0x123456789abcdefULL};

	(void)state;
	for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
		unsigned low[256] = {0}, high[256] = {0};

		for (int i = 0; i < 16384; i++) {
			struct dns_name name;
			char text[64];
			uint64_t h;

			memset(&name, i,
				sizeof name); /* what lies behind the padding must not count */
			snprintf(text, sizeof text, "host%d.Example.test", i);
			assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
			h = dns_name_hash(&name, keys[k]);
			low[h & 255]++;
			high[h >> 56]++;
			name = name_of(text);
			assert_true(h == dns_name_hash(&name, keys[k]));
			assert_true(h != dns_name_hash(&name, keys[k] + 2));
		}
		for (int i = 0; i < 256; i++) { /* 64 on average, 8 is one deviation */
			assert_in_range(low[i], 24, 104);
			assert_in_range(high[i], 24, 104);
		}
	}
}

static void reverse_addresses(void **state)
{
	static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [7] = 0xaf, [15] = 0x1e};
	static const char *const none[] = {
		"in-addr.arpa",
		"0.18.198.in-addr.arpa",
		"1.5.0.18.198.in-addr.arpa",
		"256.0.18.198.in-addr.arpa",
		"05.0.18.198.in-addr.arpa",
		"00.0.18.198.in-addr.arpa",
		"a.0.18.198.in-addr.arpa",
		"1234.0.18.198.in-addr.arpa",
		"5.0.18.198.in-addr.test",
		"0/25.0.18.198.in-addr.arpa",
		"ip6.arpa",
		"1.0.ip6.arpa",
		"e.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.f.a.0.0.0.0.0.0.8.b.d.0.1.0.0.g.ip6.arpa",
		"e.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.f.a.0.0.0.0.0.0.8.b.d.0.1.0.02.ip6.arpa",
		"e.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.f.a.0.0.0.0.0.0.8.b.d.0.1.0.0.02.ip6.arpa",
	};
	struct dns_name name = name_of("5.0.18.198.IN-ADDR.ARPA");
	uint8_t address[16];
	size_t size = 0;

	(void)state;
	assert_true(dns_name_reverse_address(&name, address, &size));
	assert_int_equal(size, 4);
	assert_memory_equal(address, "\xc6\x12\0\5", 4);
	name = name_of("0.255.100.99.in-addr.arpa");
	assert_true(dns_name_reverse_address(&name, address, &size));
	assert_memory_equal(address, "\x63\x64\xff\0", 4);

	name = name_of("E.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.f.a.0.0.0.0.0.0.8.B.d.0.1.0.0.2.ip6.arpa");
	assert_true(dns_name_reverse_address(&name, address, &size));
	assert_int_equal(size, 16);
	assert_memory_equal(address, v6, 16);

	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		name = name_of(none[i]);
		assert_false(dns_name_reverse_address(&name, address, &size));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_and_format),
		cmocka_unit_test(parse_refuses),
		cmocka_unit_test(parse_limits),
		cmocka_unit_test(read_lowers_only_letters),
		cmocka_unit_test(read_follows_pointers),
		cmocka_unit_test(read_refuses),
		cmocka_unit_test(read_length_limit),
		cmocka_unit_test(read_pointer_chain_limit),
		cmocka_unit_test(below),
		cmocka_unit_test(hash_spreads),
		cmocka_unit_test(reverse_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
