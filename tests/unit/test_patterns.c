/* Keywords and expressions: what is found in which name, against plain search and plain PCRE2; the
 * bounds; what an expression may cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gateway/match/patterns_internal.h"
#include "tests/unit/names.h"

#define COUNT(a)    (sizeof(a) / sizeof(a)[0])
#define SOURCES	    512
#define SHARED_DATA "/work/shared/data"
#ifdef __SANITIZE_THREAD__
#define SLOWED 10
#elif defined(__SANITIZE_ADDRESS__)
#define SLOWED 4
#else
#define SLOWED 1
#endif

static struct patterns_builder *builder(void)
{
	struct patterns_builder *b = NULL;

	assert_int_equal(patterns_builder_new(&b), 0);
	return b;
}

static struct patterns *finish(struct patterns_builder *b)
{
	struct patterns *p = NULL;

	assert_int_equal(patterns_builder_finish(b, &p), 0);
	return p;
}

/* Pattern i is of source i; "/…" is an expression. */
static struct patterns *build(const char *const *texts, size_t n)
{
	struct patterns_builder *b = builder();
	char why[256] = "";

	for (unsigned i = 0; i < n; i++) {
		const char *text = texts[i];
		int r = text[0] == '/' ? patterns_builder_add_regexp(
						 b, i, text + 1, strlen(text) - 1, why, sizeof why)
				       : patterns_builder_add_keyword(b, i, text, strlen(text));

		if (r)
			print_error("%s: %s\n", text, why);
		assert_int_equal(r, 0);
	}
	return finish(b);
}

/* The sources that are found, as "0 2". */
static const char *found(const struct patterns *p, const char *text)
{
	static char list[1024];
	struct dns_name name = name_of(text);
	struct matcher_hits hits = {{0}};
	size_t len = 0;

	patterns_find(p, &name, &hits);
	list[0] = 0;
	for (unsigned i = 0; i < SOURCES; i++)
		if (matcher_hits_has(&hits, i))
			len += (size_t)snprintf(
				list + len, sizeof list - len, len ? " %u" : "%u", i);
	return list;
}

static void keywords_are_found_wherever_they_lie(void **state)
{
	static const char *const texts[] = {"ad", "ads", "tracker", "er.ex", "ample", "s",
		"adserve", "example.com", "ads.tracker.example.com", "LOUD"};
	struct patterns *p = build(texts, COUNT(texts));

	(void)state;
	assert_string_equal(found(p, "ads.tracker.example.com"), "0 1 2 3 4 5 7 8");
	assert_string_equal(found(p, "ads.tracker.example.com.cn"), "0 1 2 3 4 5 7 8");
	assert_string_equal(found(p, "adserver.test"), "0 1 5 6");
	assert_string_equal(found(p, "adserv.er"), "0 1 5");
	assert_string_equal(found(p, "tracker.example"), "2 3 4");
	assert_string_equal(found(p, "tracker-example"), "2 4");
	assert_string_equal(found(p, "ADS"), "0 1 5");
	assert_string_equal(found(p, "a.d"), "");
	assert_string_equal(found(p, "a-loud.name"), "9");
	assert_string_equal(found(p, "."), "");
	patterns_free(p);
}

/* Nested suffixes: each is found although the longest one's path is followed. */
static void keywords_inside_of_others_are_found(void **state)
{
	static const char *const texts[] = {
		"abcdefgh", "bcdefg", "cdef", "de", "e", "efghi", "xabc"};
	struct patterns *p = build(texts, COUNT(texts));

	(void)state;
	assert_string_equal(found(p, "xabcdefghi.test"), "0 1 2 3 4 5 6");
	assert_string_equal(found(p, "abcdef-gh.zz"), "2 3 4");
	assert_string_equal(found(p, "abcdabcdefg.zz"), "1 2 3 4");
	assert_string_equal(found(p, "xyz.zz"), "");
	patterns_free(p);
}

/* A dot or a control byte inside a label is neither a dot nor the end of anything. */
static void odd_bytes_are_one_byte_that_is_no_text(void **state)
{
	static const char *const texts[] = {
		"a.b", "/a\\.b", "/a.b", "/a$", "/^\\s*b", "a b", "\xff", "/a\\xffb", "\xc3\xa9"};
	struct patterns *p = build(texts, COUNT(texts));

	(void)state;
	assert_string_equal(found(p, "a.b"), "0 1 2");
	assert_string_equal(found(p, "a\\.b"), "2 6 7");
	assert_string_equal(found(p, "a\\032b"), "2 6 7");
	assert_string_equal(found(p, "a\\010"), "6");
	assert_string_equal(found(p, "a\\000b"), "2 6 7");
	assert_string_equal(found(p, "x.a"), "3");
	assert_string_equal(found(p, "b"), "4");
	assert_string_equal(found(p, "caf\\195\\169.test"), "8");
	assert_string_equal(found(p, "CAF\\195\\137.test"), "");
	patterns_free(p);
}

static void expressions_are_found(void **state)
{
	static const char *const texts[] = {"/(^|\\.)jiuse[0-9]{1,3}\\.com$",
		"/^cdn\\d-x-\\d+\\.com$", "/Tracker", "/^$", "/a*",
		"/^(?:www\\.)?example\\.(com|net)$", "/(?i)QQ", "/\\.cn$", "/(a)(b)\\2\\1"};
	struct patterns *p = build(texts, COUNT(texts));

	(void)state;
	assert_string_equal(found(p, "jiuse12.com"), "0 4");
	assert_string_equal(found(p, "x.jiuse123.com"), "0 4");
	assert_string_equal(found(p, "jiuse1234.com"), "4");
	assert_string_equal(found(p, "jiuse12.com.cn"), "4 7");
	assert_string_equal(found(p, "cdn7-x-42.com"), "1 4");
	assert_string_equal(found(p, "my-tracker.net"), "2 4");
	assert_string_equal(found(p, "."), "3 4");
	assert_string_equal(found(p, "www.EXAMPLE.net"), "4 5");
	assert_string_equal(found(p, "qq.com"), "4 6");
	assert_string_equal(found(p, "abba"), "4 8");
	/* "a*", "^$" and those with flags and references. */
	assert_int_equal(patterns_always(p), 4);
	patterns_free(p);
}

static void the_same_twice_is_once_and_each_source_is_told(void **state)
{
	struct patterns_builder *b = builder();
	struct patterns *p;
	char why[64];

	(void)state;
	for (unsigned again = 0; again < 1000; again++) {
		assert_int_equal(patterns_builder_add_keyword(b, 7, "ads", 3), 0);
		assert_int_equal(patterns_builder_add_keyword(b, 130, "ADS", 3), 0);
		assert_int_equal(patterns_builder_add_regexp(b, 3, "ads", 3, why, sizeof why), 0);
		assert_int_equal(patterns_builder_add_regexp(b, 511, "ads", 3, why, sizeof why), 0);
	}
	p = finish(b);
	assert_int_equal(p->n, 2);
	assert_int_equal(p->n_keywords, 1);
	assert_int_equal(p->sources_at[2], 4);
	assert_string_equal(found(p, "ads.test"), "3 7 130 511");
	assert_string_equal(found(p, "ad.test"), "");
	patterns_free(p);
}

static void other_bits_stay(void **state)
{
	static const char *const texts[] = {"ads"};
	struct patterns *p = build(texts, 1);
	struct dns_name name = name_of("ads");
	struct matcher_hits hits = {{0xf0, 0, 1}};

	(void)state;
	patterns_find(p, &name, &hits);
	assert_int_equal(hits.bits[0], 0xf1);
	assert_int_equal(hits.bits[2], 1);
	patterns_free(p);
}

struct listed {
	char text[512];
	unsigned stop_after;
};

static int list_one(void *arg, unsigned source, bool is_regexp, const char *text, size_t len)
{
	struct listed *l = arg;
	size_t at = strlen(l->text);

	(void)snprintf(l->text + at, sizeof l->text - at, "%u%s%.*s ", source,
		is_regexp ? "/" : ":", (int)len, text);
	return --l->stop_after == 0 ? 42 : 0;
}

static void each_is_told_in_order(void **state)
{
	static const char *const texts[] = {"/b.", "zz", "/A", "aa", "AA", "/b."};
	struct patterns *p = build(texts, COUNT(texts));
	struct listed all = {.stop_after = 100}, two = {.stop_after = 2};

	(void)state;
	assert_int_equal(patterns_each(p, list_one, &all), 0);
	assert_string_equal(all.text, "3:aa 4:aa 1:zz 2/A 0/b. 5/b. ");
	assert_int_equal(patterns_each(p, list_one, &two), 42);
	assert_string_equal(two.text, "3:aa 4:aa ");
	assert_true(patterns_size_bytes(p) > 100);
	patterns_free(p);
}

static void nothing_added_is_nothing(void **state)
{
	struct patterns *p = (struct patterns *)&state;
	struct dns_name name = name_of("a");
	struct matcher_hits hits = {{0}};
	struct listed all = {.stop_after = 100};

	assert_int_equal(patterns_builder_finish(builder(), &p), 0);
	assert_null(p);
	patterns_find(p, &name, &hits);
	assert_int_equal(hits.bits[0], 0);
	assert_int_equal(patterns_each(p, list_one, &all), 0);
	assert_int_equal(patterns_size_bytes(p), 0);
	patterns_free(p);
	patterns_builder_free(NULL);
}

static void bad_ones_are_refused_and_told_why(void **state)
{
	static const struct {
		const char *pattern, *why;
	} cases[] = {
		{"ab(c", "at byte 5"},
		{"a[z", "at byte 4"},
		{"abc**d)", "at byte 5"},
		{"*a", "at byte 1"},
		{"(*UTF)a", "at byte"},
		{"(?<=a+)b", "at byte"},
		{"", "0 bytes"},
		{"((a{1,500}){1,200}){1,200}", "at byte"},
		{"(abcdefghijklmnop){1000}", "compiled"},
	};
	struct patterns_builder *b = builder();
	struct patterns *p;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char why[256] = "";

		assert_int_equal(patterns_builder_add_regexp(b, 0, cases[i].pattern,
					 strlen(cases[i].pattern), why, sizeof why),
			-EINVAL);
		if (!strstr(why, cases[i].why))
			print_error("%s: %s\n", cases[i].pattern, why);
		assert_non_null(strstr(why, cases[i].why));
	}
	assert_int_equal(patterns_builder_add_keyword(b, 0, "", 0), -EINVAL);
	/* They leave nothing behind. */
	p = finish(b);
	assert_null(p);
}

static void a_long_expression_is_refused(void **state)
{
	struct patterns_builder *b = builder();
	char *text = malloc(PATTERNS_REGEXP_MAX + 1), why[128];

	(void)state;
	memset(text, 'a', PATTERNS_REGEXP_MAX + 1);
	assert_int_equal(
		patterns_builder_add_regexp(b, 0, text, PATTERNS_REGEXP_MAX, why, sizeof why), 0);
	assert_int_equal(
		patterns_builder_add_regexp(b, 0, text, PATTERNS_REGEXP_MAX + 1, why, sizeof why),
		-EINVAL);
	assert_non_null(strstr(why, "4097"));
	free(text);
	patterns_builder_free(b);
}

static void there_are_at_most_65536(void **state)
{
	struct patterns_builder *b = builder();
	struct patterns *p;
	char text[32], why[64];

	(void)state;
	for (unsigned i = 0; i < PATTERNS_MAX; i++) {
		int len = snprintf(text, sizeof text, "k%ux", i);

		assert_int_equal(patterns_builder_add_keyword(b, i % 5, text, (size_t)len), 0);
	}
	assert_int_equal(patterns_builder_add_keyword(b, 0, "more", 4), -ENOSPC);
	assert_int_equal(patterns_builder_add_keyword(b, 6, "k0x", 3), 0); /* it is there */
	assert_int_equal(patterns_builder_add_regexp(b, 0, "re$", 3, why, sizeof why), 0);
	p = finish(b);
	assert_string_equal(found(p, "k65535x.k7x"), "0 2");
	assert_string_equal(found(p, "k65536x.k0x.re"), "0 6");
	/* 64 bytes each byte of a pattern at most, with its text. */
	print_message("65,536 keywords of %u bytes: %zu bytes\n", p->text_at[p->n],
		patterns_size_bytes(p));
	assert_true(patterns_size_bytes(p) < 64 * (size_t)p->text_at[p->n]);
	patterns_free(p);
}

static void all_texts_are_at_most_4_mb(void **state)
{
	struct patterns_builder *b = builder();
	char text[250];
	unsigned n = 0;
	int r = 0;

	(void)state;
	memset(text, 'x', sizeof text);
	while (r == 0) {
		(void)snprintf(text, 8, "%07u", n++);
		text[7] = 'x';
		r = patterns_builder_add_keyword(b, 0, text, sizeof text);
	}
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(n - 1, PATTERNS_TEXT_MAX / sizeof text);
	patterns_free(finish(b));
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The median time of a look-up. */
static double cost_us(const struct patterns *p, const char *text)
{
	struct dns_name name = name_of(text);
	double best = 1e9;

	for (unsigned i = 0; i < 20; i++) {
		struct matcher_hits hits = {{0}};
		double start = now_s(), took;

		patterns_find(p, &name, &hits);
		took = now_s() - start;
		if (i > 0 && took < best)
			best = took;
	}
	return best * 1e6;
}

static void a_catastrophic_one_is_given_up(void **state)
{
	static const char *const evil[] = {"/^(a+)+$", "/(a|a)*$", "/(a*)*b$", "/(.*)*x$",
		"/([a-z]+)*0$", "/(a|aa)+$", "/^(.+)+(.+)+(.+)+x$", "/(?:a?){30}a{30}$"};
	char run[256], dotted[256];
	struct patterns *p;

	(void)state;
	memset(run, 'a', sizeof run);
	for (size_t i = 63; i < 250; i += 64)
		run[i] = '.';
	run[250] = '0';
	run[251] = 0;
	for (size_t i = 0; i < 250; i++)
		dotted[i] = i % 10 == 9 ? '.' : 'a';
	dotted[250] = '1';
	dotted[251] = 0;
	for (size_t i = 0; i < COUNT(evil); i++) {
		double cost, cost_dotted;

		p = build(&evil[i], 1);
		cost = cost_us(p, run);
		cost_dotted = cost_us(p, dotted);
		print_message("%-22s %6.1f us, %6.1f us, given up %llu times\n", evil[i], cost,
			cost_dotted, (unsigned long long)patterns_gave_up(p));
		assert_true(cost < 300 * SLOWED && cost_dotted < 300 * SLOWED);
		patterns_free(p);
	}
	p = build(evil, 1);
	assert_string_equal(found(p, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), "");
	assert_int_equal(patterns_gave_up(p), 1);
	assert_string_equal(found(p, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "0");
	assert_int_equal(patterns_gave_up(p), 1);
	patterns_free(p);
}

/* In a process that may not have memory that it can write and run, as under systemd's
 * MemoryDenyWriteExecute=, all is found as before. */
static void without_machine_code_it_is_the_same(void **state)
{
#if defined(PR_SET_MDWE) || defined(__linux__)
	static const char *const texts[] = {
		"/^(a+)+$", "/(^|\\.)jiuse[0-9]{1,3}\\.com$", "/\\.cn$", "ads"};
	pid_t child;
	int status;

	(void)state;
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct patterns *p;
		bool right;

		if (prctl(65 /* PR_SET_MDWE */, 1UL, 0UL, 0UL, 0UL))
			_exit(77); /* before Linux 6.3 */
		p = build(texts, COUNT(texts));
		right = strcmp(found(p, "x.jiuse12.com"), "1") == 0 &&
			strcmp(found(p, "ads.jiuse1234.com.cn"), "2 3") == 0 &&
			strcmp(found(p, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), "") == 0 &&
			patterns_gave_up(p) == 1 &&
			cost_us(p, "aaaaaaaaaaaaaaaaaaaaaaaaaaaab") < 300 * SLOWED;
		patterns_free(p);
		_exit(right ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
#else
	(void)state;
	skip();
#endif
}

/* --- the required text --- */

static void the_required_text(void **state)
{
	static const struct {
		const char *pattern, *literal;
	} cases[] = {
		{"abc", "abc"},
		{"(^|\\.)jiuse[0-9]{1,3}\\.com$", "jiuse"},
		{"(^|\\.)[1-5]gaoap\\.com$", "gaoap.com"},
		{"(^|\\.)[a-z][1-9][0-9][a-z]\\.com$", ".com"},
		{"(^|\\.)91cg([1-9]|[0-9][1-9])?.com$", "91cg"},
		{".+\\.dkr\\.ecr\\.[^\\.]+\\.amazonaws\\.com$", ".amazonaws.com"},
		{"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", ""},
		{"^speed\\.(coe|open)\\.ad\\.[a-z]{2,6}\\.prod", "speed."},
		{"abc|def", ""},
		{"(abc|def)", ""},
		{"(abc)", "abc"},
		{"(?:abc)+d", "abc"},
		{"(abc)?d", "d"},
		{"(abc){0}d", "d"},
		{"(abc){0,5}d", "d"},
		{"(abc){2}d", "abc"},
		{"abcd*", "abc"},
		{"abcd?e", "abc"},
		{"abcd+e", "abcd"},
		{"ab{0}cde", "cde"},
		{"ab{2}{0}c", "a"},
		{"xab+?cd", "xab"},
		{"AbC", "abc"},
		{"a[.]b", "a.b"},
		{"a[\\.]b", "a.b"},
		{"a[^.]bc", "bc"},
		{"a[]]bc", "a]bc"},
		{"a[^]]bc", "bc"},
		{"a[\\]]bc", "a]bc"},
		{"a[.]*bc", "bc"},
		{"a\\dbc", "bc"},
		{"a\\-b", "a-b"},
		{"abc[[:alpha:]]d", ""},
		{"abc\\Qd|e\\E", ""},
		{"abc\\x41", ""},
		{"abc(?i)d", ""},
		{"abc(?=d)", ""},
		{"abc(*ACCEPT)def", ""},
		{"(a)b\\1", ""},
		{"abc\\K", ""},
		{"a{x}", ""},
		{"a{,3}b", ""},
		{"", ""},
		{".*", ""},
		{"\\.", ""},
		{"((((abc))))x", "abc"},
		{"(a(bc|cd)e)f{3}gg", "gg"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint8_t text[REGEXP_LITERAL_MAX];
		size_t len = regexp_literal(cases[i].pattern, strlen(cases[i].pattern), text);

		if (len != strlen(cases[i].literal) || memcmp(text, cases[i].literal, len) != 0)
			print_error("%s: \"%.*s\" instead of \"%s\"\n", cases[i].pattern, (int)len,
				text, cases[i].literal);
		assert_int_equal(len, strlen(cases[i].literal));
		assert_memory_equal(text, cases[i].literal, len);
	}
}

static uint32_t random_next(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Each pattern's answer in a look-up of all is that of plain PCRE2, or of a plain search. */
static void check_name(
	const struct patterns *p, const char *const *texts, size_t n, const char *text)
{
	struct dns_name name = name_of(text);
	struct matcher_hits hits = {{0}};

	patterns_find(p, &name, &hits);
	for (unsigned i = 0; i < n; i++) {
		bool is_regexp = texts[i][0] == '/', expected;

		expected =
			is_regexp ? patterns_regexp_holds(texts[i] + 1, strlen(texts[i]) - 1, &name)
				  : patterns_keyword_holds(texts[i], strlen(texts[i]), &name);
		if (expected != matcher_hits_has(&hits, i))
			print_error("%s in %s: expected %d\n", texts[i], text, expected);
		assert_int_equal(matcher_hits_has(&hits, i), expected);
	}
}

#define GENERATED 48

static void generate(uint32_t *seed, char *ret, size_t size)
{
	static const char *const pieces[] = {"a", "b", "ab", "\\.", ".", "[ab]", "[^a]", "(",
		"(?:", ")", "|", "*", "+", "?", "{0}", "{2}", "{0,2}", "{1,}", "^", "$", "\\w",
		"\\b", "A", "[.]", "(?i)", "\\Qa|b\\E", "(?=a)", "(?!b)", "\\1", "[]a]", "{", "}",
		"]", "\\x61", "(*ACCEPT)", "??", "a{1}{0}", "[[:alpha:]]", "\\E", "(?|a|b)",
		"(?#x)"};
	unsigned n = 1 + random_next(seed) % 8;
	size_t len = 1;

	ret[0] = '/';
	ret[1] = 0;
	for (unsigned i = 0; i < n; i++) {
		/* Mostly the first, which most expressions are made of. */
		unsigned of = random_next(seed) % 3 ? 22 : COUNT(pieces);

		len += (size_t)snprintf(
			ret + len, size - len, "%s", pieces[random_next(seed) % of]);
	}
}

static void generated_expressions_agree_with_pcre2(void **state)
{
	static char storage[GENERATED][128];
	const char *texts[GENERATED];
	uint32_t seed = 7;
	size_t with_text = 0;

	(void)state;
	for (unsigned round = 0; round < 40; round++) {
		struct patterns *p;
		size_t n = 0;

		while (n < GENERATED) {
			struct patterns_builder *b = builder();
			uint8_t literal[REGEXP_LITERAL_MAX];
			char why[128];

			generate(&seed, storage[n], sizeof storage[n]);
			texts[n] = storage[n];
			if (patterns_builder_add_regexp(b, 0, storage[n] + 1,
				    strlen(storage[n]) - 1, why, sizeof why) == 0) {
				with_text += regexp_literal(storage[n] + 1, strlen(storage[n]) - 1,
						     literal) > 0;
				n++;
			}
			patterns_builder_free(b);
		}
		p = build(texts, n);
		for (unsigned i = 0; i < 12; i++) {
			char name[16];
			size_t len = 1 + random_next(&seed) % 9;

			for (size_t at = 0; at < len; at++)
				name[at] = at % 3 == 1 ? "ab.]"[random_next(&seed) % 4]
						       : "ab"[random_next(&seed) % 2];
			name[len] = 0;
			if (name[len - 1] == '.')
				name[len - 1] = 'a';
			check_name(p, texts, n, name);
		}
		patterns_free(p);
	}
	print_message("%u expressions, %zu with a text\n", 40 * GENERATED, with_text);
	assert_true(with_text > 400);
}

static void generated_keywords_agree_with_a_search(void **state)
{
	static char storage[SOURCES][16];
	const char *texts[SOURCES];
	uint32_t seed = 3;

	(void)state;
	for (unsigned round = 0; round < 30; round++) {
		/* From few states, which all have rows, to many. */
		size_t n = round % 3 == 0 ? 8 : SOURCES;
		struct patterns *p;

		for (size_t i = 0; i < n; i++) {
			size_t len = 1 + random_next(&seed) % 12;

			for (size_t at = 0; at < len; at++)
				storage[i][at] = "abcdefghijk.-0123456789xyz"[random_next(&seed) %
									      (round % 2 ? 4 : 26)];
			storage[i][len] = 0;
			texts[i] = storage[i];
		}
		p = build(texts, n);
		for (unsigned i = 0; i < 60; i++) {
			char name[64];

			/* Two keywords and something between them. */
			(void)snprintf(name, sizeof name, "x%s%c%sy", texts[random_next(&seed) % n],
				"ab-x"[random_next(&seed) % 4], texts[random_next(&seed) % n]);
			if (strstr(name, ".."))
				continue;
			check_name(p, texts, n, name);
		}
		patterns_free(p);
	}
}

/* --- the lists that people have --- */

static size_t load_regexps(char (*ret)[256], size_t max)
{
	glob_t files;
	size_t n = 0;

	if (glob(SHARED_DATA "/rules/domain-list-community/data/*", 0, NULL, &files))
		return 0;
	for (size_t i = 0; i < files.gl_pathc; i++) {
		FILE *f = fopen(files.gl_pathv[i], "r");
		char line[1024];

		while (f && n < max && fgets(line, sizeof line, f)) {
			if (strncmp(line, "regexp:", 7) != 0)
				continue;
			line[strcspn(line, " \t\r\n")] = 0;
			(void)snprintf(ret[n++], sizeof ret[0], "/%.250s", line + 7);
		}
		if (f)
			(void)fclose(f);
	}
	globfree(&files);
	return n;
}

/* A name that is made to look like what the expression finds. */
static void resemble(uint32_t *seed, const char *pattern, char *ret, size_t size)
{
	size_t len = 0;

	for (; *pattern && len + 2 < size; pattern++) {
		if (strchr("\\()^$?+*/|", *pattern))
			continue;
		if (*pattern == '[')
			pattern += strcspn(pattern, "]");
		if (*pattern == '{')
			pattern += strcspn(pattern, "}");
		ret[len++] = "0123456789ab"[random_next(seed) % 12];
		if (*pattern != ']' && *pattern != '}' && *pattern)
			ret[len - 1] = *pattern;
		if (len > 1 && ret[len - 1] == '.' && ret[len - 2] == '.')
			len--;
	}
	if (len > 0 && ret[len - 1] == '.')
		len--;
	ret[len] = 0;
}

static void lists_agree_with_pcre2(void **state)
{
	static char storage[SOURCES][256];
	const char *texts[SOURCES];
	size_t n = load_regexps(storage, SOURCES), names = 0, hits_n = 0;
	uint32_t seed = 11;
	struct patterns *p;
	struct regexp *code[SOURCES];
	char line[1024], why[128];
	FILE *f = fopen(SHARED_DATA "/queries/names-100k.txt", "r");

	(void)state;
	if (n == 0 || !f) {
		if (f)
			(void)fclose(f);
		print_message("skipped: no ../shared/data\n");
		skip();
	}
	for (size_t i = 0; i < n; i++) {
		texts[i] = storage[i];
		assert_int_equal(regexp_compile(texts[i] + 1, strlen(texts[i]) - 1, &code[i], why,
					 sizeof why),
			0);
	}
	p = build(texts, n);
	while (fgets(line, sizeof line, f) && names < 6000) {
		struct dns_name name;
		struct matcher_hits hits = {{0}};
		size_t len;

		line[strcspn(line, "\r\n")] = 0;
		if (names % 4) /* three of four look like one of theirs */
			resemble(&seed, texts[random_next(&seed) % n], line, sizeof line);
		for (char *c = line; *c; c++)
			if (*c >= 'A' && *c <= 'Z')
				*c |= 0x20;
		len = strlen(line);
		if (len == 0 || line[0] == '.' || dns_name_parse(line, len, &name))
			continue;
		names++;
		patterns_find(p, &name, &hits);
		for (unsigned i = 0; i < n; i++) {
			bool expected = regexp_find(code[i], (const uint8_t *)line, len) > 0;

			hits_n += expected;
			if (expected != matcher_hits_has(&hits, i))
				print_error("%s in %s: expected %d\n", texts[i], line, expected);
			assert_int_equal(matcher_hits_has(&hits, i), expected);
		}
	}
	(void)fclose(f);
	print_message("%zu expressions, %zu of them always tried; %zu names, %zu hits\n", n,
		patterns_always(p), names, hits_n);
	assert_true(n >= 100 && hits_n > 100);
	for (size_t i = 0; i < n; i++)
		regexp_free(code[i]);
	patterns_free(p);
}

/* --- threads --- */

static void *look_up(void *arg)
{
	const struct patterns *p = arg;
	struct dns_name names[] = {name_of("x.jiuse12.com"), name_of("ads.cn"),
		name_of("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), name_of("none.test")};

	for (unsigned i = 0; i < 4000; i++) {
		struct matcher_hits hits = {{0}};

		patterns_find(p, &names[i % 4], &hits);
		if (hits.bits[0] != (uint64_t[]){2, 12, 0, 0}[i % 4])
			return "wrong";
	}
	return NULL;
}

static void threads_look_up_at_once(void **state)
{
	static const char *const texts[] = {
		"/^(a+)+$", "/(^|\\.)jiuse[0-9]{1,3}\\.com$", "/\\.cn$", "ads"};
	struct patterns *p = build(texts, COUNT(texts));
	pthread_t threads[3];

	(void)state;
	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, look_up, p), 0);
	for (size_t i = 0; i < COUNT(threads); i++) {
		void *wrong = NULL;

		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
	assert_int_equal(patterns_gave_up(p), 3000);
	patterns_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keywords_are_found_wherever_they_lie),
		cmocka_unit_test(keywords_inside_of_others_are_found),
		cmocka_unit_test(odd_bytes_are_one_byte_that_is_no_text),
		cmocka_unit_test(expressions_are_found),
		cmocka_unit_test(the_same_twice_is_once_and_each_source_is_told),
		cmocka_unit_test(other_bits_stay),
		cmocka_unit_test(each_is_told_in_order),
		cmocka_unit_test(nothing_added_is_nothing),
		cmocka_unit_test(bad_ones_are_refused_and_told_why),
		cmocka_unit_test(a_long_expression_is_refused),
		cmocka_unit_test(there_are_at_most_65536),
		cmocka_unit_test(all_texts_are_at_most_4_mb),
		cmocka_unit_test(a_catastrophic_one_is_given_up),
		cmocka_unit_test(without_machine_code_it_is_the_same),
		cmocka_unit_test(the_required_text),
		cmocka_unit_test(generated_expressions_agree_with_pcre2),
		cmocka_unit_test(generated_keywords_agree_with_a_search),
		cmocka_unit_test(lists_agree_with_pcre2),
		cmocka_unit_test(threads_look_up_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
