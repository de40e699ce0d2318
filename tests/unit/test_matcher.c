/* The matcher: label boundaries, kinds, many sources; and a comparison with a model that tries
 * every entry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/match/matcher.h"

#define KEY 0x0123456789abcdefULL

static struct dns_name name_of(const char *text)
{
	struct dns_name name;

	assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
	return name;
}

struct entry {
	unsigned source;
	enum matcher_kind kind;
	const char *text;
};

static struct matcher *build(const struct entry *entries, size_t n, unsigned n_sources)
{
	struct matcher_builder *b = NULL;
	struct matcher *m = NULL;

	assert_int_equal(matcher_builder_new(KEY, n_sources, &b), 0);
	for (size_t i = 0; i < n; i++) {
		struct dns_name name = name_of(entries[i].text);

		assert_int_equal(
			matcher_builder_add(b, entries[i].source, entries[i].kind, &name, NULL), 0);
	}
	assert_int_equal(matcher_builder_finish(b, &m), 0);
	return m;
}

static bool found(const struct matcher *m, unsigned source, const char *text)
{
	struct dns_name name = name_of(text);
	struct matcher_hits hits;

	memset(&hits, 0xff, sizeof hits);
	matcher_find(m, &name, &hits);
	return matcher_hits_has(&hits, source);
}

static void test_kinds(void **state)
{
	static const struct entry entries[] = {
		{0, MATCHER_SUFFIX, "example.com"},
		{1, MATCHER_EXACT, "example.com"},
		{2, MATCHER_EXACT, "www.example.com"},
		{3, MATCHER_SUFFIX, "ru"},
	};
	struct matcher *m = build(entries, 4, 5);

	(void)state;
	assert_true(found(m, 0, "example.com"));
	assert_true(found(m, 0, "www.example.com"));
	assert_true(found(m, 0, "a.b.c.www.example.com"));
	assert_true(found(m, 0, "WWW.eXample.COM."));
	assert_false(found(m, 0, "com"));
	assert_false(found(m, 0, "notexample.com"));
	assert_false(found(m, 0, "example.com.test"));
	assert_true(found(m, 1, "example.com"));
	assert_false(found(m, 1, "www.example.com"));
	assert_true(found(m, 2, "www.example.com"));
	assert_false(found(m, 2, "example.com"));
	assert_false(found(m, 2, "a.www.example.com"));
	assert_true(found(m, 3, "mail.ru"));
	assert_true(found(m, 3, "ru"));
	assert_false(found(m, 3, "guru"));
	assert_false(found(m, 3, "a.guru"));
	assert_false(found(m, 4, "example.com"));
	assert_int_equal(matcher_names(m), 3);
	matcher_free(m);
}

static void test_root(void **state)
{
	static const struct entry entries[] = {
		{0, MATCHER_SUFFIX, "."},
		{1, MATCHER_EXACT, "."},
	};
	struct matcher *m = build(entries, 2, 2);

	(void)state;
	assert_true(found(m, 0, "."));
	assert_true(found(m, 0, "a.test"));
	assert_true(found(m, 1, "."));
	assert_false(found(m, 1, "test"));
	matcher_free(m);
}

static void test_empty(void **state)
{
	struct matcher *m = build(NULL, 0, 0);
	struct dns_name name = name_of("a.test");
	struct matcher_hits hits;

	(void)state;
	matcher_find(m, &name, &hits);
	assert_int_equal(matcher_names(m), 0);
	matcher_free(m);
}

/* "ab.c" and "a.bc" have the same letters; 0x2e inside a label is not a boundary. */
static void test_boundaries(void **state)
{
	static const struct entry entries[] = {
		{0, MATCHER_SUFFIX, "ab.c"},
		{1, MATCHER_SUFFIX, "a\\.b.c"},
		{2, MATCHER_SUFFIX, "12345678.x"},
		{3, MATCHER_SUFFIX, "1234567.x"},
		{4, MATCHER_SUFFIX, "12345678901234567890.x"},
	};
	struct matcher *m = build(entries, 5, 5);

	(void)state;
	assert_false(found(m, 0, "a.bc"));
	assert_false(found(m, 0, "abc"));
	assert_true(found(m, 1, "a\\.b.c"));
	assert_false(found(m, 1, "a.b.c"));
	assert_true(found(m, 2, "y.12345678.x"));
	assert_false(found(m, 2, "y.1234567.x"));
	assert_true(found(m, 3, "1234567.x"));
	assert_true(found(m, 4, "a.12345678901234567890.x"));
	assert_false(found(m, 4, "a.1234567890123456789.x"));
	matcher_free(m);
}

/* 255 bytes and 127 labels: the ends of every array. */
static void test_longest(void **state)
{
	char many[256], wide[256];
	struct entry entries[2] = {{0, MATCHER_EXACT, many}, {1, MATCHER_SUFFIX, wide}};
	struct matcher *m;

	(void)state;
	for (size_t i = 0; i < 127; i++)
		memcpy(many + 2 * i, "a.", 2);
	many[253] = 0;
	memset(wide, 'b', sizeof wide);
	wide[63] = wide[127] = wide[191] = '.';
	wide[253] = 0;
	m = build(entries, 2, 2);
	assert_true(found(m, 0, many));
	assert_false(found(m, 0, many + 2));
	assert_true(found(m, 1, wide));
	wide[0] = 'c';
	assert_false(found(m, 1, wide));
	matcher_free(m);
}

static void test_added_twice(void **state)
{
	struct matcher_builder *b = NULL;
	struct dns_name name = name_of("a.test");
	struct matcher *m;
	bool is_new;

	(void)state;
	assert_int_equal(matcher_builder_new(KEY, 2, &b), 0);
	assert_int_equal(matcher_builder_add(b, 1, MATCHER_SUFFIX, &name, &is_new), 0);
	assert_true(is_new);
	assert_int_equal(matcher_builder_add(b, 0, MATCHER_SUFFIX, &name, &is_new), 0);
	assert_true(is_new);
	assert_int_equal(matcher_builder_add(b, 1, MATCHER_SUFFIX, &name, &is_new), 0);
	assert_false(is_new);
	assert_int_equal(matcher_builder_add(b, 1, MATCHER_EXACT, &name, &is_new), 0);
	assert_true(is_new);
	assert_int_equal(matcher_builder_finish(b, &m), 0);
	assert_int_equal(matcher_names(m), 1);
	assert_true(found(m, 0, "a.test"));
	assert_true(found(m, 1, "b.a.test"));
	matcher_free(m);
}

/* All sources hold one name, and each one of its own. */
static void test_sources_max(void **state)
{
	struct matcher_builder *b = NULL;
	struct dns_name name = name_of("shared.test");
	struct matcher_hits hits;
	struct matcher *m;
	char text[32];

	(void)state;
	assert_int_equal(matcher_builder_new(KEY, MATCHER_SOURCES_MAX, &b), 0);
	for (unsigned i = 0; i < MATCHER_SOURCES_MAX; i++) {
		struct dns_name own;

		(void)snprintf(text, sizeof text, "s%u.test", i);
		own = name_of(text);
		/* Not in ascending order. */
		assert_int_equal(matcher_builder_add(b, i ^ 1365, MATCHER_SUFFIX, &name, NULL), 0);
		assert_int_equal(matcher_builder_add(b, i, MATCHER_SUFFIX, &own, NULL), 0);
	}
	assert_int_equal(matcher_builder_finish(b, &m), 0);
	assert_int_equal(matcher_names(m), MATCHER_SOURCES_MAX + 1);
	matcher_find(m, &name, &hits);
	for (unsigned i = 0; i < MATCHER_SOURCES_MAX; i++)
		assert_true(matcher_hits_has(&hits, i));
	for (unsigned i = 0; i < MATCHER_SOURCES_MAX; i++) {
		struct dns_name own;

		(void)snprintf(text, sizeof text, "x.s%u.test", i);
		own = name_of(text);
		matcher_find(m, &own, &hits);
		for (unsigned k = 0; k < MATCHER_SOURCES_MAX / 64; k++)
			assert_true(hits.bits[k] == (k == i / 64 ? 1ULL << i % 64 : 0));
	}
	matcher_free(m);
}

/* --- against the model --- */

static uint64_t random_state;

static unsigned random_below(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state >> 33) % n;
}

/* Few letters and few labels, so that names meet; now and then a long label. */
static struct dns_name random_name(void)
{
	char text[256];
	size_t n = 0;
	unsigned labels = random_below(6);

	for (unsigned i = 0; i < labels; i++) {
		unsigned size = random_below(20) ? 1 + random_below(2) : 1 + random_below(40);

		if (i > 0)
			text[n++] = '.';
		for (unsigned k = 0; k < size; k++)
			text[n++] = "abcAB"[random_below(5)];
	}
	if (labels == 0)
		text[n++] = '.';
	text[n] = 0;
	return name_of(text);
}

#define MODEL_ENTRIES 400
#define MODEL_SOURCES 70

struct model {
	struct dns_name name[MODEL_ENTRIES];
	unsigned source[MODEL_ENTRIES];
	enum matcher_kind kind[MODEL_ENTRIES];
	unsigned n;
};

/* By comparing the bytes from each label on: nothing shared with the code under test. */
static bool model_holds(const struct model *model, unsigned i, const struct dns_name *name)
{
	const struct dns_name *held = &model->name[i];

	for (size_t at = 0;; at += name->b[at] + 1u) {
		if (name->len - at == held->len && memcmp(name->b + at, held->b, held->len) == 0)
			return model->kind[i] == MATCHER_SUFFIX || at == 0;
		if (!name->b[at])
			return false;
	}
}

static void model_check(
	const struct model *model, const struct matcher *m, const struct dns_name *name)
{
	int closest[MODEL_SOURCES];
	struct matcher_hits hits;

	for (unsigned s = 0; s < MODEL_SOURCES; s++)
		closest[s] = -1;
	for (unsigned i = 0; i < model->n; i++)
		if (model_holds(model, i, name) &&
			model->name[i].labels > closest[model->source[i]])
			closest[model->source[i]] = model->name[i].labels;
	matcher_find(m, name, &hits);
	for (unsigned s = 0; s < MODEL_SOURCES; s++) {
		assert_int_equal(matcher_hits_has(&hits, s), closest[s] >= 0);
		assert_int_equal(matcher_closest(m, name, s), closest[s]);
	}
}

static void test_model(void **state)
{
	struct model *model = calloc(1, sizeof *model);

	(void)state;
	assert_non_null(model);
	for (unsigned round = 1; round <= 30; round++) {
		struct matcher_builder *b = NULL;
		struct matcher *m;

		random_state = round * 0x9e3779b97f4a7c15ULL;
		model->n = 1 + random_below(MODEL_ENTRIES);
		assert_int_equal(matcher_builder_new(random_state, MODEL_SOURCES, &b), 0);
		for (unsigned i = 0; i < model->n; i++) {
			model->name[i] = random_name();
			model->source[i] = random_below(MODEL_SOURCES);
			model->kind[i] = random_below(2) ? MATCHER_SUFFIX : MATCHER_EXACT;
			assert_int_equal(matcher_builder_add(b, model->source[i], model->kind[i],
						 &model->name[i], NULL),
				0);
		}
		assert_int_equal(matcher_builder_finish(b, &m), 0);
		for (unsigned i = 0; i < model->n; i++)
			model_check(model, m, &model->name[i]);
		for (unsigned i = 0; i < 600; i++) {
			struct dns_name name = random_name();

			model_check(model, m, &name);
		}
		matcher_free(m);
	}
	free(model);
}

/* Through several sizes of the table; the bound on memory that the header's reader may rely on. */
static void test_many(void **state)
{
	enum { N = 50000 };
	struct matcher_builder *b = NULL;
	struct matcher *m;
	char text[64];
	size_t text_bytes = 0;

	(void)state;
	assert_int_equal(matcher_builder_new(KEY, 3, &b), 0);
	for (unsigned i = 0; i < N; i++) {
		struct dns_name name;

		(void)snprintf(text, sizeof text, "n%u.zone%u.test", i, i % 100);
		name = name_of(text);
		text_bytes += name.len;
		assert_int_equal(matcher_builder_add(b, i % 3, MATCHER_SUFFIX, &name, NULL), 0);
	}
	assert_int_equal(matcher_builder_finish(b, &m), 0);
	assert_int_equal(matcher_names(m), N);
	assert_true(matcher_size_bytes(m) <= text_bytes + 13 * N);
	for (unsigned i = 0; i < N; i++) {
		(void)snprintf(text, sizeof text, "x.n%u.zone%u.test", i, i % 100);
		for (unsigned s = 0; s < 3; s++)
			assert_int_equal(found(m, s, text), s == i % 3);
		(void)snprintf(text, sizeof text, "n%u.zone%u.test", i, i % 100 + 100);
		assert_false(found(m, i % 3, text));
	}
	matcher_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_boundaries),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_added_twice),
		cmocka_unit_test(test_sources_max),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
