/* The parts of a list: every combination of those that hold a name; exceptions that are closer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "gateway/lists/lists.h"
#include "tests/unit/names.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

struct entry {
	enum list_part part;
	enum matcher_kind kind;
	const char *text;
};

/* The parts are the sources from 3 on, last part first, so that no number is right by chance. */
static void sources_of(int ret[LIST_PARTS])
{
	for (int part = 0; part < LIST_PARTS; part++)
		ret[part] = 3 + LIST_PARTS - 1 - part;
}

static struct matcher *build(const struct entry *entries, size_t n)
{
	struct matcher_builder *b = NULL;
	struct matcher *m = NULL;
	int sources[LIST_PARTS];

	sources_of(sources);
	assert_int_equal(matcher_builder_new(1, 3 + LIST_PARTS, &b), 0);
	matcher_builder_keep(b, (unsigned)sources[LIST_HOLDS]);
	matcher_builder_keep(b, (unsigned)sources[LIST_EXCEPT_CLOSER]);
	for (size_t i = 0; i < n; i++) {
		struct dns_name name = name_of(entries[i].text);

		assert_int_equal(matcher_builder_add(b, (unsigned)sources[entries[i].part],
					 entries[i].kind, &name),
			0);
	}
	assert_int_equal(matcher_builder_finish(b, &m), 0);
	return m;
}

static bool held(const struct matcher *m, const int sources[LIST_PARTS], const char *text)
{
	struct dns_name name = name_of(text);
	struct matcher_hits hits;

	matcher_find(m, &name, &hits);
	return list_parts_hold(m, sources, &name, &hits);
}

static bool wanted(unsigned parts)
{
	if (parts >> LIST_EXCEPT_IMPORTANT & 1)
		return false;
	if (parts >> LIST_HOLDS_IMPORTANT & 1)
		return true;
	if (parts >> LIST_EXCEPT & 1)
		return false;
	/* The same name in both: as close. */
	return (parts >> LIST_HOLDS & 1) && !(parts >> LIST_EXCEPT_CLOSER & 1);
}

/* Which parts have the name, and which parts the list has at all. */
static void test_combinations(void **state)
{
	(void)state;
	for (unsigned parts = 0; parts < 1u << LIST_PARTS; parts++) {
		struct entry entries[LIST_PARTS];
		struct matcher *m;
		size_t n = 0;

		for (unsigned part = 0; part < LIST_PARTS; part++)
			if (parts >> part & 1)
				entries[n++] = (struct entry){part, MATCHER_SUFFIX, "a.test"};
		m = build(entries, n);
		for (unsigned has = 0; has < 1u << LIST_PARTS; has++) {
			int sources[LIST_PARTS];

			sources_of(sources);
			for (unsigned part = 0; part < LIST_PARTS; part++)
				if (!(has >> part & 1))
					sources[part] = -1;
			assert_int_equal(held(m, sources, "x.a.test"), wanted(parts & has));
			assert_false(held(m, sources, "test"));
		}
		matcher_free(m);
	}
}

static void test_closer(void **state)
{
	static const struct entry entries[] = {
		{LIST_HOLDS, MATCHER_SUFFIX, "test"},
		{LIST_EXCEPT_CLOSER, MATCHER_SUFFIX, "a.test"},
		{LIST_HOLDS, MATCHER_SUFFIX, "b.a.test"},
		{LIST_HOLDS, MATCHER_EXACT, "a.test"}, /* closer than the suffix of that name */
		{LIST_EXCEPT_CLOSER, MATCHER_SUFFIX, "."},
		{LIST_HOLDS, MATCHER_SUFFIX, "c.test"},
		{LIST_EXCEPT_CLOSER, MATCHER_EXACT, "c.test"},
	};
	struct matcher *m = build(entries, COUNT(entries));
	int sources[LIST_PARTS];

	(void)state;
	sources_of(sources);
	assert_true(held(m, sources, "test"));
	assert_true(held(m, sources, "x.test"));
	assert_true(held(m, sources, "a.test"));
	assert_false(held(m, sources, "x.a.test"));
	assert_true(held(m, sources, "b.a.test"));
	assert_true(held(m, sources, "y.b.a.test"));
	assert_false(held(m, sources, "c.test"));
	assert_true(held(m, sources, "x.c.test"));
	assert_false(held(m, sources, "other"));
	matcher_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_combinations),
		cmocka_unit_test(test_closer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
