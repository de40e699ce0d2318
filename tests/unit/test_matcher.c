/* The matcher: label boundaries, kinds, many sources, what is dropped and counted, matchers joined;
 * and a comparison with a model that tries every entry. */
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
#include "tests/unit/names.h"

#define KEY	 0x0123456789abcdefULL
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

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
			matcher_builder_add(b, entries[i].source, entries[i].kind, &name), 0);
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
		{4, MATCHER_BELOW, "example.com"},
		{5, MATCHER_CHILD, "example.com"},
	};
	struct matcher *m = build(entries, 6, 7);

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
	assert_true(found(m, 4, "a.example.com"));
	assert_true(found(m, 4, "a.b.c.example.com"));
	assert_false(found(m, 4, "com"));
	assert_false(found(m, 5, "example.com"));
	assert_true(found(m, 5, "a.example.com"));
	assert_false(found(m, 5, "a.b.example.com"));
	assert_false(found(m, 6, "example.com"));
	assert_int_equal(matcher_names(m), 3);
	assert_int_equal(matcher_key(m), KEY);
	matcher_free(m);
}

static void test_root(void **state)
{
	static const struct entry entries[] = {
		{0, MATCHER_SUFFIX, "."}, {1, MATCHER_EXACT, "."}, {2, MATCHER_CHILD, "."},
		{3, MATCHER_BELOW, "."}, {3, MATCHER_EXACT, "a.test"}, /* dropped */
	};
	struct matcher *m = build(entries, 5, 4);

	(void)state;
	assert_true(found(m, 0, "."));
	assert_true(found(m, 0, "a.test"));
	assert_true(found(m, 1, "."));
	assert_false(found(m, 1, "test"));
	assert_true(found(m, 2, "test"));
	assert_false(found(m, 2, "."));
	assert_false(found(m, 2, "a.test"));
	assert_true(found(m, 3, "a.test"));
	assert_false(found(m, 3, "."));
	assert_int_equal(matcher_names(m), 1);
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
	m = build(NULL, 0, 3);
	assert_false(found(m, 2, "a.test"));
	assert_false(found(m, 2, "."));
	assert_int_equal(matcher_closest(m, &name, 2), -1);
	assert_int_equal(matcher_count(m, 2), 0);
	assert_int_equal(matcher_count(m, 3), 0); /* it has no such source */
	matcher_free(m);
	matcher_free(NULL);
	matcher_builder_free(NULL);
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

/* What the source holds anyway is not kept, but counted. */
static void test_dropped(void **state)
{
	static const struct entry entries[] = {
		{0, MATCHER_SUFFIX, "a.test"},
		{0, MATCHER_SUFFIX, "a.test"},
		{0, MATCHER_EXACT, "A.test"},
		{0, MATCHER_CHILD, "a.test"},
		{0, MATCHER_SUFFIX, "b.a.test"},
		{0, MATCHER_EXACT, "d.c.b.a.test"},
		{0, MATCHER_EXACT, "ba.test"},	    /* another name */
		{1, MATCHER_EXACT, "d.c.b.a.test"}, /* another source's */
		{2, MATCHER_BELOW, "b.a.test"},
		{2, MATCHER_CHILD, "b.a.test"},
		{2, MATCHER_EXACT, "b.a.test"}, /* not below itself */
		{2, MATCHER_SUFFIX, "e.b.a.test"},
		{2, MATCHER_CHILD, "test"},
	};
	struct matcher *m = build(entries, COUNT(entries), 3);

	(void)state;
	/* a.test, ba.test, d.c.b.a.test of 1, b.a.test, test */
	assert_int_equal(matcher_names(m), 5);
	assert_int_equal(matcher_count(m, 0), 6);
	assert_int_equal(matcher_count(m, 1), 1);
	assert_int_equal(matcher_count(m, 2), 5);
	assert_true(found(m, 0, "d.c.b.a.test"));
	assert_true(found(m, 0, "x.b.a.test"));
	assert_true(found(m, 1, "d.c.b.a.test"));
	assert_false(found(m, 1, "x.d.c.b.a.test"));
	assert_true(found(m, 2, "b.a.test"));
	assert_true(found(m, 2, "x.e.b.a.test"));
	assert_true(found(m, 2, "a.test"));
	assert_false(found(m, 2, "c.a.test"));
	matcher_free(m);
}

static int closest(const struct matcher *m, unsigned source, const char *text)
{
	struct dns_name name = name_of(text);

	return matcher_closest(m, &name, source);
}

static void test_kept(void **state)
{
	static const struct entry entries[] = {
		{0, MATCHER_SUFFIX, "."},
		{0, MATCHER_SUFFIX, "a.test"},
		{0, MATCHER_EXACT, "a.test"},
		{0, MATCHER_SUFFIX, "c.b.a.test"},
		{0, MATCHER_CHILD, "d.test"},
		{0, MATCHER_BELOW, "d.test"},
		{1, MATCHER_SUFFIX, "a.test"},
		{1, MATCHER_SUFFIX, "b.a.test"},
	};
	struct matcher_builder *b = NULL;
	struct matcher *m;

	(void)state;
	assert_int_equal(matcher_builder_new(KEY, 2, &b), 0);
	matcher_builder_keep(b, 0);
	for (size_t i = 0; i < COUNT(entries); i++) {
		struct dns_name name = name_of(entries[i].text);

		assert_int_equal(
			matcher_builder_add(b, entries[i].source, entries[i].kind, &name), 0);
	}
	assert_int_equal(matcher_builder_finish(b, &m), 0);
	assert_int_equal(matcher_names(m), 4);
	assert_int_equal(closest(m, 0, "."), 0);
	assert_int_equal(closest(m, 0, "test"), 0);
	assert_int_equal(closest(m, 0, "a.test"), 5);
	assert_int_equal(closest(m, 0, "b.a.test"), 4);
	assert_int_equal(closest(m, 0, "c.b.a.test"), 8);
	assert_int_equal(closest(m, 0, "x.c.b.a.test"), 8);
	assert_int_equal(closest(m, 0, "d.test"), 0);
	assert_int_equal(closest(m, 0, "x.y.d.test"), 4);
	assert_int_equal(closest(m, 1, "x.b.a.test"), 4);
	assert_int_equal(closest(m, 1, "test"), -1);
	matcher_free(m);
}

/* A million times one name, by all kinds and many sources: no time that grows with the square. */
static void test_same_name(void **state)
{
	struct matcher_builder *b = NULL;
	struct dns_name name = name_of("a.test"), below = name_of("b.a.test");
	struct matcher *m;

	(void)state;
	assert_int_equal(matcher_builder_new(KEY, 64, &b), 0);
	for (unsigned i = 0; i < 400000; i++) {
		assert_int_equal(matcher_builder_add(b, i % 64, i / 64 % MATCHER_NAME_KINDS,
					 i % 2 ? &name : &below),
			0);
	}
	assert_int_equal(matcher_builder_finish(b, &m), 0);
	assert_int_equal(matcher_names(m), 2);
	assert_int_equal(matcher_count(m, 1), 4);
	assert_int_equal(matcher_count(m, 2), 4);
	assert_true(found(m, 1, "c.b.a.test"));
	assert_true(found(m, 2, "c.b.a.test"));
	assert_true(found(m, 1, "a.test"));
	assert_false(found(m, 2, "a.test"));
	matcher_free(m);
}

/* --- joined --- */

static struct matcher *join(const struct matcher *const *froms, const int *const *maps, size_t n,
	unsigned n_sources, const struct entry *own, size_t n_own)
{
	struct matcher_builder *b = NULL;
	struct matcher *m = NULL;

	assert_int_equal(matcher_builder_new(KEY, n_sources, &b), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(matcher_builder_add_from(b, froms[i], maps[i]), 0);
	for (size_t i = 0; i < n_own; i++) {
		struct dns_name name = name_of(own[i].text);

		assert_int_equal(matcher_builder_add(b, own[i].source, own[i].kind, &name), 0);
	}
	assert_int_equal(matcher_builder_finish(b, &m), 0);
	return m;
}

static void test_joined(void **state)
{
	static const struct entry one[] = {
		{0, MATCHER_SUFFIX, "a.test"},
		{0, MATCHER_EXACT, "x.a.test"}, /* dropped, but counted */
		{1, MATCHER_EXACT, "b.test"},
		{2, MATCHER_SUFFIX, "left.out"},
	};
	static const struct entry two[] = {
		{0, MATCHER_EXACT, "b.test"},
		{0, MATCHER_SUFFIX, "a.test"},
		{1, MATCHER_SUFFIX, "deep.e.d.c.b.a"},
	};
	static const struct entry own[] = {
		{3, MATCHER_SUFFIX, "own.test"},
		{0, MATCHER_EXACT, "b.test"},
	};
	static const int map_one[] = {2, 3, -1}, map_two[] = {3, 0};
	struct matcher *from[] = {build(one, COUNT(one), 3), build(two, COUNT(two), 2)};
	const int *maps[] = {map_one, map_two};
	struct matcher *m = join((const struct matcher *const *)from, maps, 2, 4, own, COUNT(own));

	(void)state;
	matcher_free(from[0]);
	matcher_free(from[1]);
	assert_true(found(m, 2, "y.a.test"));
	assert_true(found(m, 3, "y.a.test"));
	assert_false(found(m, 0, "a.test"));
	assert_true(found(m, 0, "b.test"));
	assert_false(found(m, 1, "b.test"));
	assert_false(found(m, 2, "b.test"));
	assert_true(found(m, 3, "b.test"));
	assert_true(found(m, 3, "own.test"));
	assert_true(found(m, 0, "1.deep.e.d.c.b.a"));
	for (unsigned s = 0; s < 4; s++)
		assert_false(found(m, s, "left.out"));
	assert_int_equal(matcher_names(m), 4);
	assert_int_equal(matcher_count(m, 0), 2);
	assert_int_equal(matcher_count(m, 1), 0);
	assert_int_equal(matcher_count(m, 2), 2);
	assert_int_equal(matcher_count(m, 3), 3); /* a.test, own.test, b.test: which two have */
	matcher_free(m);
}

static void test_joined_errors(void **state)
{
	struct matcher *m = build(NULL, 0, 1);
	struct matcher_builder *b = NULL;
	const int map[] = {0};

	(void)state;
	assert_int_equal(matcher_builder_new(KEY + 1, 1, &b), 0);
	assert_int_equal(matcher_builder_add_from(b, m, map), -EXDEV);
	matcher_builder_free(b);
	/* Given up when half made. */
	assert_int_equal(matcher_builder_new(KEY, 1, &b), 0);
	assert_int_equal(matcher_builder_add_from(b, m, map), 0);
	matcher_builder_free(b);
	matcher_free(m);
	/* Nothing joined with nothing. */
	m = join(NULL, NULL, 0, 1, NULL, 0);
	assert_int_equal(matcher_names(m), 0);
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
		assert_int_equal(matcher_builder_add(b, i ^ 1365, MATCHER_SUFFIX, &name), 0);
		assert_int_equal(matcher_builder_add(b, i, MATCHER_SUFFIX, &own), 0);
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

/* Few letters and few labels, so that names meet; now and then a long label or many. */
static struct dns_name random_name(void)
{
	char text[256];
	size_t n = 0;
	unsigned labels = random_below(40) ? random_below(6) : random_below(60);

	for (unsigned i = 0; i < labels; i++) {
		unsigned size = random_below(20) ? 1 + random_below(2) : 1 + random_below(40);

		if (n + size + 1 >= 250)
			break;
		if (i > 0)
			text[n++] = '.';
		for (unsigned k = 0; k < size; k++)
			text[n++] = "abcAB"[random_below(5)];
	}
	if (n == 0)
		text[n++] = '.';
	text[n] = 0;
	return name_of(text);
}

#define MODEL_ENTRIES 500
#define MODEL_SOURCES 70

struct model {
	struct dns_name name[MODEL_ENTRIES];
	unsigned source[MODEL_ENTRIES];
	enum matcher_kind kind[MODEL_ENTRIES];
	unsigned n;
};

/* How close the entry holds the name, -1: it does not. By comparing the bytes from each label on:
 * nothing shared with the code under test. */
static int model_holds(const struct model *model, unsigned i, const struct dns_name *name)
{
	const struct dns_name *held = &model->name[i];
	unsigned below = 0;
	bool is_held;

	for (size_t at = 0;
		name->len - at != held->len || memcmp(name->b + at, held->b, held->len) != 0;
		at += name->b[at] + 1u, below++)
		if (!name->b[at])
			return -1;
	is_held = (model->kind[i] == MATCHER_EXACT && below == 0) ||
		  model->kind[i] == MATCHER_SUFFIX ||
		  (model->kind[i] == MATCHER_BELOW && below > 0) ||
		  (model->kind[i] == MATCHER_CHILD && below == 1);
	return is_held ? 2 * held->labels + (model->kind[i] == MATCHER_EXACT) : -1;
}

/* kept: of these sources matcher_closest() is asked, too. */
static void model_check(const struct model *model, const struct matcher *m,
	const struct dns_name *name, bool (*is_kept)(unsigned source))
{
	int close[MODEL_SOURCES];
	struct matcher_hits hits;

	for (unsigned s = 0; s < MODEL_SOURCES; s++)
		close[s] = -1;
	for (unsigned i = 0; i < model->n; i++) {
		int how = model_holds(model, i, name);

		if (how > close[model->source[i]])
			close[model->source[i]] = how;
	}
	matcher_find(m, name, &hits);
	for (unsigned s = 0; s < MODEL_SOURCES; s++) {
		assert_int_equal(matcher_hits_has(&hits, s), close[s] >= 0);
		if (is_kept(s))
			assert_int_equal(matcher_closest(m, name, s), close[s]);
		else
			assert_int_equal(matcher_closest(m, name, s) >= 0, close[s] >= 0);
	}
}

static bool third_is_kept(unsigned source)
{
	return source % 3 == 0;
}

static void model_fill(struct model *model, unsigned entries, unsigned sources)
{
	model->n = entries;
	for (unsigned i = 0; i < entries; i++) {
		model->name[i] = random_name();
		model->source[i] = random_below(sources);
		model->kind[i] = random_below(MATCHER_NAME_KINDS);
	}
}

static void model_add(const struct model *model, struct matcher_builder *b)
{
	for (unsigned i = 0; i < model->n; i++)
		assert_int_equal(
			matcher_builder_add(b, model->source[i], model->kind[i], &model->name[i]),
			0);
}

/* Distinct entries of each source. */
static void model_check_counts(const struct model *model, const struct matcher *m)
{
	size_t counts[MODEL_SOURCES] = {0};

	for (unsigned i = 0; i < model->n; i++) {
		bool again = false;

		for (unsigned k = 0; k < i && !again; k++)
			again = model->source[k] == model->source[i] &&
				model->kind[k] == model->kind[i] &&
				dns_name_equal(&model->name[k], &model->name[i]);
		counts[model->source[i]] += !again;
	}
	for (unsigned s = 0; s < MODEL_SOURCES; s++)
		assert_int_equal(matcher_count(m, s), counts[s]);
}

static void model_check_all(const struct model *model, const struct matcher *m)
{
	for (unsigned i = 0; i < model->n; i++)
		model_check(model, m, &model->name[i], third_is_kept);
	for (unsigned i = 0; i < 400; i++) {
		struct dns_name name = random_name();

		model_check(model, m, &name, third_is_kept);
	}
}

static struct matcher_builder *model_builder(void)
{
	struct matcher_builder *b = NULL;

	assert_int_equal(matcher_builder_new(KEY, MODEL_SOURCES, &b), 0);
	for (unsigned s = 0; s < MODEL_SOURCES; s++)
		if (third_is_kept(s))
			matcher_builder_keep(b, s);
	return b;
}

static void test_model(void **state)
{
	struct model *model = calloc(1, sizeof *model);

	(void)state;
	assert_non_null(model);
	for (unsigned round = 1; round <= 30; round++) {
		struct matcher_builder *b = model_builder();
		struct matcher *m;

		random_state = round * 0x9e3779b97f4a7c15ULL;
		/* In half of them few sources, so that much is dropped. */
		model_fill(model, 1 + random_below(MODEL_ENTRIES), round % 2 ? MODEL_SOURCES : 5);
		model_add(model, b);
		assert_int_equal(matcher_builder_finish(b, &m), 0);
		model_check_counts(model, m);
		model_check_all(model, m);
		matcher_free(m);
	}
	free(model);
}

/* What a part gives to the whole: its entries, of the sources that the map has. */
static void model_join(struct model *whole, const struct model *part, const int *map)
{
	for (unsigned i = 0; i < part->n; i++) {
		if (map[part->source[i]] < 0)
			continue;
		whole->name[whole->n] = part->name[i];
		whole->kind[whole->n] = part->kind[i];
		whole->source[whole->n++] = (unsigned)map[part->source[i]];
	}
}

/* Up to 20 matchers and names of its own. Sources go anywhere, those that are kept to such. */
static void test_model_joined(void **state)
{
	enum { PARTS_MAX = 20 };
	struct model *whole = calloc(1, sizeof *whole), *part = calloc(1, sizeof *part);

	(void)state;
	assert_true(whole && part);
	for (unsigned round = 1; round <= 30; round++) {
		unsigned n = 1 + random_below(PARTS_MAX);
		struct matcher *parts[PARTS_MAX] = {NULL}, *m;
		struct matcher_builder *b = model_builder();
		int map[MODEL_SOURCES];

		random_state = round * 0x9e3779b97f4a7c15ULL;
		model_fill(whole, random_below(MODEL_ENTRIES / 4), round % 2 ? MODEL_SOURCES : 5);
		model_add(whole, b);
		for (unsigned i = 0; i < n; i++) {
			struct matcher_builder *part_b = model_builder();

			for (unsigned s = 0; s < MODEL_SOURCES; s++)
				map[s] = random_below(5) == 0 ? -1
					 : third_is_kept(s)
						 ? (int)random_below(MODEL_SOURCES)
						 : (int)random_below(MODEL_SOURCES / 3) * 3 + 1;
			model_fill(part, random_below(MODEL_ENTRIES / 2 / n), MODEL_SOURCES);
			model_add(part, part_b);
			assert_int_equal(matcher_builder_finish(part_b, &parts[i]), 0);
			assert_int_equal(matcher_builder_add_from(b, parts[i], map), 0);
			model_join(whole, part, map);
		}
		assert_int_equal(matcher_builder_finish(b, &m), 0);
		for (unsigned i = 0; i < n; i++)
			matcher_free(parts[i]);
		model_check_all(whole, m);
		matcher_free(m);
	}
	free(part);
	free(whole);
}

/* --- many --- */

static struct dns_name numbered(const char *format, unsigned i)
{
	char text[64];

	(void)snprintf(text, sizeof text, format, i, i % 100);
	return name_of(text);
}

/* Through several sizes of the table; the bound on memory that the header's reader may rely on. */
static void test_many(void **state)
{
	enum { N = 50000 };
	struct matcher_builder *b = NULL;
	struct matcher_hits hits;
	struct matcher *m;

	(void)state;
	assert_int_equal(matcher_builder_new(KEY, 20, &b), 0);
	for (unsigned i = 0; i < N; i++) {
		struct dns_name name = numbered("n%u.zone%u.test", i);

		assert_int_equal(matcher_builder_add(b, i % 20, MATCHER_SUFFIX, &name), 0);
	}
	assert_int_equal(matcher_builder_finish(b, &m), 0);
	assert_int_equal(matcher_names(m), N);
	assert_true(matcher_size_bytes(m) <= 9 * N + 1024);
	for (unsigned i = 0; i < N; i++) {
		struct dns_name name = numbered("x.n%u.zone%u.test", i);

		matcher_find(m, &name, &hits);
		assert_true(hits.bits[0] == 1ULL << i % 20);
		name = numbered("n%u.zone1%u.test", i);
		matcher_find(m, &name, &hits);
		assert_true(hits.bits[0] == 0);
	}
	matcher_free(m);
}

/* 20 lists that were compiled apart, and one more source. */
static void test_many_joined(void **state)
{
	enum { N = 50000, PARTS = 20 };
	struct matcher_builder *b = NULL, *whole = NULL;
	struct matcher *parts[PARTS], *m;
	struct matcher_hits hits;

	(void)state;
	assert_int_equal(matcher_builder_new(KEY, PARTS + 1, &whole), 0);
	for (unsigned p = 0; p < PARTS; p++) {
		int map = (int)p;

		assert_int_equal(matcher_builder_new(KEY, 1, &b), 0);
		/* Those that can be divided by 1000 are in all. */
		for (unsigned i = 0; i < N; i++) {
			struct dns_name name = numbered("n%u.zone%u.test", i);

			if (i % PARTS == p || i % 1000 == 0)
				assert_int_equal(
					matcher_builder_add(b, 0, MATCHER_SUFFIX, &name), 0);
		}
		assert_int_equal(matcher_builder_finish(b, &parts[p]), 0);
		assert_int_equal(matcher_builder_add_from(whole, parts[p], &map), 0);
	}
	for (unsigned i = 0; i < N; i += 7) {
		struct dns_name name = numbered("n%u.zone%u.test", i);

		assert_int_equal(matcher_builder_add(whole, PARTS, MATCHER_EXACT, &name), 0);
	}
	assert_int_equal(matcher_builder_finish(whole, &m), 0);
	assert_int_equal(matcher_names(m), N);
	assert_int_equal(matcher_count(m, 0), N / PARTS);
	assert_int_equal(matcher_count(m, 1), N / PARTS + N / 1000);
	for (unsigned i = 0; i < N; i++) {
		struct dns_name name = numbered("n%u.zone%u.test", i);
		uint64_t wanted = 1ULL << i % PARTS;

		if (i % 1000 == 0)
			wanted = (1ULL << PARTS) - 1;
		if (i % 7 == 0)
			wanted |= 1ULL << PARTS;
		matcher_find(m, &name, &hits);
		assert_true(hits.bits[0] == wanted);
	}
	for (unsigned p = 0; p < PARTS; p++)
		matcher_free(parts[p]);
	matcher_free(m);
}

/* Names of 127 labels, with nothing in common: what is noted above them is bounded, and what then
 * is not dropped is found all the same. */
static void test_deep(void **state)
{
	enum { N = 36000 };
	struct matcher_builder *b = NULL;
	struct dns_name child = name_of("x.y.last.test"), parent = name_of("last.test");
	char text[260];
	struct matcher *m;

	(void)state;
	for (size_t i = 0; i < 120; i++)
		text[2 * i] = 'a', text[2 * i + 1] = '.';
	assert_int_equal(matcher_builder_new(KEY, 1, &b), 0);
	for (unsigned i = 0; i < N; i++) {
		struct dns_name name;

		(void)snprintf(text + 240, sizeof text - 240, "n%u", i);
		name = name_of(text);
		assert_int_equal(matcher_builder_add(b, 0, MATCHER_SUFFIX, &name), 0);
	}
	assert_int_equal(matcher_builder_add(b, 0, MATCHER_SUFFIX, &child), 0);
	assert_int_equal(matcher_builder_add(b, 0, MATCHER_SUFFIX, &parent), 0);
	assert_int_equal(matcher_builder_finish(b, &m), 0);
	assert_int_equal(matcher_names(m), N + 2);
	for (unsigned i = 0; i < N; i += 100) {
		(void)snprintf(text + 240, sizeof text - 240, "n%u", i);
		assert_true(found(m, 0, text));
		assert_false(found(m, 0, text + 2));
	}
	assert_true(found(m, 0, "z.last.test"));
	assert_true(found(m, 0, "x.y.last.test"));
	matcher_free(m);
}

/* --- a real list --- */

#define REAL "/work/shared/data/rules/dnsmasq-china-list/accelerated-domains.china.conf"

static int text_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Is it listed, or does it end in a dot and a listed name? */
static bool real_holds(char **names, size_t n, const char *text)
{
	for (; text; text = strchr(text, '.')) {
		text += *text == '.';
		if (bsearch(&text, names, n, sizeof *names, text_compare))
			return true;
	}
	return false;
}

static void real_check(const struct matcher *m, char **names, size_t n, const char *text)
{
	struct dns_name name;

	if (dns_name_parse(text, strlen(text), &name) == 0) /* "x" can make a label too long */
		assert_int_equal(found(m, 0, text), real_holds(names, n, text));
}

/* "server=/NAME/ADDRESS": each name itself, below it, beside it, and it before another end. */
static void test_real(void **state)
{
	enum { ROOM = 200000 };
	char **names = calloc(ROOM, sizeof *names), line[512], text[600];
	FILE *f = fopen(REAL, "r");
	struct matcher_builder *b = NULL;
	struct matcher *m;
	size_t n = 0;

	(void)state;
	if (!f) {
		free(names);
		print_message("skipped: no ../shared/data\n");
		return;
	}
	assert_non_null(names);
	assert_int_equal(matcher_builder_new(KEY, 1, &b), 0);
	while (n < ROOM && fgets(line, sizeof line, f)) {
		char *rest = line, *name;
		struct dns_name held;

		(void)strsep(&rest, "/");
		name = line[0] == '#' ? NULL : strsep(&rest, "/");
		if (!name)
			continue;
		held = name_of(name);
		assert_int_equal(matcher_builder_add(b, 0, MATCHER_SUFFIX, &held), 0);
		names[n++] = strdup(name);
	}
	(void)fclose(f);
	assert_true(n > 100000);
	qsort(names, n, sizeof *names, text_compare);
	assert_int_equal(matcher_builder_finish(b, &m), 0);
	assert_int_equal(matcher_count(m, 0), n);
	for (size_t i = 0; i < n; i++) {
		static const char *const forms[] = {"%s", "www.%s", "x%s", "%s.example"};

		for (size_t k = 0; k < COUNT(forms); k++) {
			(void)snprintf(text, sizeof text, forms[k], names[i]);
			real_check(m, names, n, text);
		}
	}
	matcher_free(m);
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_boundaries),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_dropped),
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_same_name),
		cmocka_unit_test(test_joined),
		cmocka_unit_test(test_joined_errors),
		cmocka_unit_test(test_sources_max),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_model_joined),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_many_joined),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_real),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
