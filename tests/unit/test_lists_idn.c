/* Punycode, by the samples of RFC 3492 7.1 (those whose letters have no case to lose, or are
 * lower-cased), and what is no name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gateway/lists/list_idn.h"

static size_t utf8_put(char *to, uint32_t c)
{
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (char)(0xc0 | c >> 6);
		to[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (char)(0xe0 | c >> 12);
		to[1] = (char)(0x80 | (c >> 6 & 0x3f));
		to[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | c >> 18);
	to[1] = (char)(0x80 | (c >> 12 & 0x3f));
	to[2] = (char)(0x80 | (c >> 6 & 0x3f));
	to[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

static void assert_encoded(const char *text, const char *want)
{
	char got[256];
	size_t len = 0;
	int err = list_idn_encode(text, strlen(text), got, sizeof got, &len);

	if (err || strcmp(got, want) != 0 || len != strlen(want))
		fail_msg("%s: %d, %s, not %s", text, err, err ? "" : got, want);
}

static void the_samples_of_the_rfc(void **state)
{
	static const struct {
		uint32_t points[40]; /* 0 ends */
		const char *want;
	} samples[] = {
		/* (A) Arabic (Egyptian) */
		{{0x0644, 0x064a, 0x0647, 0x0645, 0x0627, 0x0628, 0x062a, 0x0643, 0x0644, 0x0645,
			 0x0648, 0x0634, 0x0639, 0x0631, 0x0628, 0x064a, 0x061f},
			"xn--egbpdaj6bu4bxfgehfvwxn"},
		/* (B) Chinese (simplified) */
		{{0x4ed6, 0x4eec, 0x4e3a, 0x4ec0, 0x4e48, 0x4e0d, 0x8bf4, 0x4e2d, 0x6587},
			"xn--ihqwcrb4cv8a8dqg056pqjye"},
		/* (C) Chinese (traditional) */
		{{0x4ed6, 0x5011, 0x7232, 0x4ec0, 0x9ebd, 0x4e0d, 0x8aaa, 0x4e2d, 0x6587},
			"xn--ihqwctvzc91f659drss3x8bo0yb"},
		/* (E) Hebrew */
		{{0x05dc, 0x05de, 0x05d4, 0x05d4, 0x05dd, 0x05e4, 0x05e9, 0x05d5, 0x05d8, 0x05dc,
			 0x05d0, 0x05de, 0x05d3, 0x05d1, 0x05e8, 0x05d9, 0x05dd, 0x05e2, 0x05d1,
			 0x05e8, 0x05d9, 0x05ea},
			"xn--4dbcagdahymbxekheh6e0a7fei0b"},
		/* (I) Russian; the RFC's D keeps a capital's place, which has none here */
		{{0x043f, 0x043e, 0x0447, 0x0435, 0x043c, 0x0443, 0x0436, 0x0435, 0x043e, 0x043d,
			 0x0438, 0x043d, 0x0435, 0x0433, 0x043e, 0x0432, 0x043e, 0x0440, 0x044f,
			 0x0442, 0x043f, 0x043e, 0x0440, 0x0443, 0x0441, 0x0441, 0x043a, 0x0438},
			"xn--b1abfaaepdrnnbgefbadotcwatmq2g4l"},
		/* (L) 3<nen>B<gumi><kinpachi><sensei>, lower-cased */
		{{0x0033, 0x5e74, 0x0062, 0x7d44, 0x91d1, 0x516b, 0x5148, 0x751f},
			"xn--3b-ww4c5e180e575a65lsy2b"},
		/* (P) Maji<de>Koi<suru>5<byou><mae>, lower-cased */
		{{0x006d, 0x0061, 0x006a, 0x0069, 0x3067, 0x006b, 0x006f, 0x0069, 0x3059, 0x308b,
			 0x0035, 0x79d2, 0x524d},
			"xn--majikoi5-783gue6qz075azm5e"},
		/* (R) <sono><supiido><de> */
		{{0x305d, 0x306e, 0x30b9, 0x30d4, 0x30fc, 0x30c9, 0x3067}, "xn--d9juau41awczczp"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
		char text[256];
		size_t n = 0;

		for (const uint32_t *p = samples[i].points; *p; p++)
			n += utf8_put(text + n, *p);
		text[n] = 0;
		assert_encoded(text, samples[i].want);
	}
}

static void labels_stand_for_themselves(void **state)
{
	(void)state;
	assert_encoded("a.Test", "a.Test");
	assert_encoded("", "");
	assert_encoded(".x..y.", ".x..y.");
	assert_encoded("www.b\xc3\xbc"
		       "cher.example",
		"www.xn--bcher-kva.example");
	assert_encoded("\xf0\x9f\x92\xa9.la", "xn--ls8h.la");
}

static void capitals_are_lower_cased(void **state)
{
	(void)state;
	assert_encoded("B\xc3\x9c"
		       "CHER.example",
		"xn--bcher-kva.example");
	/* Greek and Cyrillic */
	assert_encoded("\xce\x91\xce\x92", "xn--mxac");
	assert_encoded("\xce\xb1\xce\xb2", "xn--mxac");
	assert_encoded("\xd0\xa0\xd0\xa4", "xn--p1ai");
	assert_encoded("\xd1\x80\xd1\x84", "xn--p1ai");
	assert_encoded("\xd0\x81", "xn--61a"); /* Io, of the row before */
	/* Every second one is a capital. */
	assert_encoded("\xc5\x81\xc5\x82", "xn--tfaa");
	assert_encoded("\xc5\x82\xc5\x82", "xn--tfaa");
}

static void assert_refused(const char *text, size_t len, int want)
{
	char got[300];
	size_t got_len = 0;

	assert_int_equal(list_idn_encode(text, len, got, sizeof got, &got_len), want);
}

static void what_is_no_name(void **state)
{
	static const char *const broken[] = {"\x80", "a\xc3", "\xc0\xaf", "\xe0\x80\x80",
		"\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe4\xbb.x",
		"\xf0\x8f\xbf\xbf"};
	char text[400];

	(void)state;
	for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
		assert_refused(broken[i], strlen(broken[i]), -EINVAL);
	/* A label whose form is above 63 bytes, and one of too many letters. */
	for (size_t i = 0; i < 64; i++)
		memcpy(text + 2 * i, "\xc3\xbc", 2);
	assert_refused(text, 128, -EINVAL);
	memset(text, 'a', 60);
	memcpy(text + 60, "\xc3\xbc", 2);
	assert_refused(text, 62, -EINVAL);
	memset(text, 'a', sizeof text);
	assert_refused(text, sizeof text, -ENAMETOOLONG);
}

static void nothing_is_written_behind_the_room(void **state)
{
	static const char text[] = "b\xc3\xbc"
				   "cher.example";
	char got[32];
	size_t len = 0;

	(void)state;
	for (size_t size = 0; size < sizeof got; size++) {
		int err;

		memset(got, '#', sizeof got);
		err = list_idn_encode(text, strlen(text), got, size, &len);
		assert_int_equal(err, size > strlen("xn--bcher-kva.example") ? 0 : -ENAMETOOLONG);
		for (size_t i = size; i < sizeof got; i++)
			assert_int_equal(got[i], '#');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_samples_of_the_rfc),
		cmocka_unit_test(labels_stand_for_themselves),
		cmocka_unit_test(capitals_are_lower_cased),
		cmocka_unit_test(what_is_no_name),
		cmocka_unit_test(nothing_is_written_behind_the_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
