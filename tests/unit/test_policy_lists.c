/* Lists that a policy takes from the one before, and those that it must not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/dns/message.h"
#include "gateway/lists/lists.h"
#include "gateway/match/image.h"
#include "gateway/policy/policy.h"
#include "tests/unit/folder.h"

#define LISTS 3

static char told[8192];
static unsigned told_errors;
/* Written when something is told: a file that changes while it is read. */
static const char *then_path, *then_text;

/* Lists a, b and c, of a file each, and rules by the same names that take them. */
struct stage {
	char paths[LISTS][256];
	struct conf_list_file files[LISTS];
	struct conf_list lists[LISTS];
	int refs[LISTS];
	struct conf_rule rules[LISTS];
	struct config config;
	struct policy *p;
};

static void file_write(const char *path, const void *text, size_t len)
{
	char new_path[300];
	FILE *f;

	/* Another file each time, as editors and downloads make it. */
	(void)snprintf(new_path, sizeof new_path, "%s.new", path);
	f = fopen(new_path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(new_path, path), 0);
}

static void list_write(const struct stage *s, char list, const char *text)
{
	file_write(s->paths[list - 'a'], text, strlen(text));
}

static void stage_init(struct stage *s)
{
	static char *names[LISTS] = {"a", "b", "c"};

	memset(s, 0, sizeof *s);
	for (int i = 0; i < LISTS; i++) {
		(void)snprintf(s->paths[i], sizeof s->paths[i], "%s/%s.txt", folder(), names[i]);
		s->files[i].path = s->paths[i];
		s->lists[i] =
			(struct conf_list){.name = names[i], .files = &s->files[i], .n_files = 1};
		s->refs[i] = i;
		s->rules[i] = (struct conf_rule){.name = names[i],
			.lists = &s->refs[i],
			.n_lists = 1,
			.egress = -1,
			.upstream = -1};
	}
	s->config = (struct config){.path = "c.yaml",
		.lists = s->lists,
		.n_lists = LISTS,
		.rules = s->rules,
		.n_rules = LISTS};
	list_write(s, 'a', "a.test\nall.test\n");
	list_write(s, 'b', "||b.test^\n||all.test^\n@@||not.b.test^\n");
	list_write(s, 'c', "c.test\n192.0.2.0/24\n");
	s->files[1].format = LIST_ADBLOCK;
}

static void stage_fini(struct stage *s)
{
	policy_unref(s->p);
	for (int i = 0; i < LISTS; i++)
		(void)unlink(s->paths[i]);
}

static void tell(void *arg, bool is_error, const char *text)
{
	size_t n = strlen(told);

	(void)arg;
	told_errors += is_error;
	(void)snprintf(told + n, sizeof told - n, "%s\n", text);
	if (then_path)
		file_write(then_path, then_text, strlen(then_text));
	then_path = NULL;
}

static int try_build(struct stage *s, bool keep_failed)
{
	const struct policy_build_config c = {
		.config = &s->config, .previous = s->p, .keep_failed = keep_failed, .report = tell};
	struct policy *fresh = NULL;
	int err;

	told[0] = 0;
	told_errors = 0;
	err = policy_build(&c, &fresh);
	if (err)
		return err;
	policy_unref(s->p);
	s->p = fresh;
	return 0;
}

/* As the daemon does after files have changed. */
static void follow(struct stage *s)
{
	assert_int_equal(try_build(s, true), 0);
}

static const char *winner(const struct stage *s, const char *text)
{
	struct dns_name name;
	const struct policy_question q = {.name = &name, .type = DNS_A};
	const struct policy_rule *rule;

	assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
	rule = policy_decide(s->p, &q).rule;
	return rule->name ? rule->name : "default";
}

static const struct policy_list_info *info(const struct stage *s, char list)
{
	const struct policy_list_info *infos;

	assert_int_equal(policy_lists(s->p, &infos), s->config.n_lists);
	for (size_t i = 0; i < s->config.n_lists; i++)
		if (infos[i].name[0] == list)
			return &infos[i];
	fail();
	return NULL;
}

static bool changed(const struct stage *s)
{
	uint64_t state;

	return policy_changed(s->p, &state);
}

static void holds_all(const struct stage *s)
{
	assert_string_equal(winner(s, "x.a.test"), "a");
	assert_string_equal(winner(s, "x.b.test"), "b");
	assert_string_equal(winner(s, "not.b.test"), "default");
	assert_string_equal(winner(s, "c.test"), "c");
	assert_string_equal(winner(s, "d.test"), "default");
}

static void test_taken(void **state)
{
	struct stage s;
	struct conf_list first;
	struct conf_rule *rules = s.rules;

	(void)state;
	stage_init(&s);
	follow(&s);
	holds_all(&s);
	assert_int_equal(info(&s, 'b')->names, 3);
	assert_int_equal(info(&s, 'c')->cidrs, 1);

	/* One is read again, the others are taken. */
	list_write(&s, 'c', "c.test\nmore.c.test\nd.test\n");
	assert_true(changed(&s));
	follow(&s);
	assert_string_equal(told, "");
	assert_false(changed(&s));
	assert_string_equal(winner(&s, "d.test"), "c");
	assert_string_equal(winner(&s, "not.b.test"), "default");
	assert_string_equal(winner(&s, "all.test"), "a");
	assert_int_equal(info(&s, 'b')->names, 3);
	assert_int_equal(info(&s, 'c')->cidrs, 0);
	list_write(&s, 'c', "c.test\n192.0.2.0/24\n");
	follow(&s);

	/* In another order, then one of them gone. */
	first = s.lists[0];
	s.lists[0] = s.lists[2];
	s.lists[2] = first;
	s.refs[0] = 2;
	s.refs[2] = 0;
	follow(&s);
	holds_all(&s);
	assert_int_equal(info(&s, 'c')->cidrs, 1);
	assert_int_equal(info(&s, 'a')->cidrs, 0);
	s.config.n_lists = 2;
	rules[0] = rules[1];
	rules[1] = rules[2];
	s.config.n_rules = 2;
	follow(&s);
	assert_string_equal(winner(&s, "x.a.test"), "default");
	assert_string_equal(winner(&s, "all.test"), "b");
	assert_string_equal(winner(&s, "not.b.test"), "default");
	assert_string_equal(winner(&s, "c.test"), "c");
	stage_fini(&s);
}

static void test_bad_one_is_kept(void **state)
{
	struct stage s;

	(void)state;
	stage_init(&s);
	follow(&s);
	file_write(s.paths[1], "||b.test^\n\0", 11);
	list_write(&s, 'c', "d.test\n");
	follow(&s);
	assert_int_equal(told_errors, 1);
	assert_non_null(info(&s, 'b')->error);
	assert_null(info(&s, 'c')->error);
	assert_string_equal(winner(&s, "x.b.test"), "b");
	assert_string_equal(winner(&s, "not.b.test"), "default");
	assert_string_equal(winner(&s, "d.test"), "c");
	assert_false(changed(&s));

	list_write(&s, 'b', "||new.test^\n");
	assert_true(changed(&s));
	follow(&s);
	assert_null(info(&s, 'b')->error);
	assert_string_equal(winner(&s, "x.b.test"), "default");
	assert_string_equal(winner(&s, "new.test"), "b");
	/* Whoever does not ask for it gets an error. */
	file_write(s.paths[1], "||b.test^\n\0", 11);
	assert_int_equal(try_build(&s, false), -EINVAL);
	stage_fini(&s);
}

static void test_bad_expressions_are_kept(void **state)
{
	struct stage s;

	(void)state;
	stage_init(&s);
	follow(&s);
	list_write(&s, 'a', "regexp:(a\nregexp:(b\n");
	list_write(&s, 'c', "d.test\n");
	follow(&s);
	assert_non_null(info(&s, 'a')->error);
	assert_string_equal(winner(&s, "x.a.test"), "a");
	assert_string_equal(winner(&s, "d.test"), "c");
	stage_fini(&s);
}

static void test_mended_while_it_is_read(void **state)
{
	struct stage s;

	(void)state;
	stage_init(&s);
	follow(&s);
	file_write(s.paths[0], "a.test\n\0", 8);
	then_path = s.paths[0];
	then_text = "new.test\n";
	follow(&s);
	assert_null(then_path);
	assert_non_null(info(&s, 'a')->error);
	assert_true(changed(&s));
	follow(&s);
	assert_string_equal(winner(&s, "new.test"), "a");
	stage_fini(&s);
}

static void test_include_that_is_missed(void **state)
{
	struct stage s;
	char path[256];

	(void)state;
	stage_init(&s);
	s.files[0].format = LIST_V2FLY;
	follow(&s);
	list_write(&s, 'a', "new.test\ninclude:other\n");
	follow(&s);
	assert_non_null(info(&s, 'a')->error);
	assert_string_equal(winner(&s, "a.test"), "a");
	assert_false(changed(&s));

	(void)snprintf(path, sizeof path, "%s/other", folder());
	file_write(path, "other.test\n", 11);
	assert_true(changed(&s));
	follow(&s);
	assert_null(info(&s, 'a')->error);
	assert_string_equal(winner(&s, "other.test"), "a");
	assert_string_equal(winner(&s, "new.test"), "a");
	file_write(path, "another.test\n", 13);
	assert_true(changed(&s));
	(void)unlink(path);
	stage_fini(&s);
}

static void test_optional(void **state)
{
	struct stage s;

	(void)state;
	stage_init(&s);
	s.files[0].optional = true;
	assert_int_equal(unlink(s.paths[0]), 0);
	assert_int_equal(try_build(&s, false), 0);
	assert_int_equal(told_errors, 0);
	assert_non_null(strstr(told, "note: lists.a: "));
	assert_string_equal(winner(&s, "a.test"), "default");
	assert_false(changed(&s));

	/* Nothing of a broken one is used, and nothing is refused for it. */
	file_write(s.paths[0], "a.test\n\0", 8);
	assert_true(changed(&s));
	assert_int_equal(try_build(&s, false), 0);
	assert_int_equal(told_errors, 0);
	assert_non_null(strstr(told, ": warning: lists.a: "));
	assert_string_equal(winner(&s, "a.test"), "default");
	assert_string_equal(winner(&s, "b.test"), "b");
	assert_false(changed(&s));

	list_write(&s, 'a', "a.test\n");
	assert_true(changed(&s));
	assert_int_equal(try_build(&s, false), 0);
	assert_string_equal(told, "");
	assert_string_equal(winner(&s, "a.test"), "a");
	stage_fini(&s);
}

/* What a list holds anyway is dropped, but `fakeip.except` has to know how close it is. */
static void test_except_comes(void **state)
{
	static char *domain[] = {"near.test"};
	struct stage s;
	int except[] = {0};
	struct dns_name name;
	const struct policy_question q = {.name = &name, .type = DNS_A};

	(void)state;
	stage_init(&s);
	list_write(&s, 'a', "near.test\nx.near.test\n");
	s.rules[0] = (struct conf_rule){.name = "fake",
		.domain = {domain, 1},
		.answer = CONF_ANSWER_FAKE,
		.egress = -1,
		.upstream = -1};
	follow(&s);
	s.config.fakeip.except = except;
	s.config.fakeip.n_except = 1;
	follow(&s);
	assert_int_equal(dns_name_parse("x.near.test", 11, &name), 0);
	assert_true(policy_decide(s.p, &q).never_fake);
	assert_int_equal(dns_name_parse("y.near.test", 11, &name), 0);
	assert_false(policy_decide(s.p, &q).never_fake);
	/* And it stays so. */
	list_write(&s, 'c', "d.test\n");
	follow(&s);
	assert_int_equal(dns_name_parse("x.near.test", 11, &name), 0);
	assert_true(policy_decide(s.p, &q).never_fake);
	stage_fini(&s);
}

static void compiled_write(const char *path, const char *text)
{
	struct matcher_builder *names;
	struct addresses_builder *addresses;
	struct matcher *m;
	struct addresses *a;
	struct dns_name name;

	assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
	assert_int_equal(matcher_builder_new(MATCHER_IMAGE_KEY, 1, &names), 0);
	assert_int_equal(addresses_builder_new(&addresses), 0);
	assert_int_equal(matcher_builder_add(names, 0, MATCHER_SUFFIX, &name), 0);
	assert_int_equal(matcher_builder_finish(names, &m), 0);
	assert_int_equal(addresses_builder_finish(addresses, NULL, &a), 0);
	assert_int_equal(image_write(path, m, a), 0);
	matcher_free(m);
	addresses_free(a);
}

/* The key of all names is another one then. */
static void test_compiled_one_comes_and_goes(void **state)
{
	struct stage s;

	(void)state;
	stage_init(&s);
	follow(&s);
	compiled_write(s.paths[0], "image.test");
	follow(&s);
	assert_string_equal(told, "");
	assert_string_equal(winner(&s, "x.image.test"), "a");
	assert_string_equal(winner(&s, "not.b.test"), "default");
	assert_string_equal(winner(&s, "c.test"), "c");
	assert_string_equal(winner(&s, "a.test"), "default");
	/* Another one beside it is taken as it is. */
	list_write(&s, 'c', "d.test\n");
	follow(&s);
	assert_string_equal(winner(&s, "x.image.test"), "a");
	assert_string_equal(winner(&s, "x.b.test"), "b");
	assert_string_equal(winner(&s, "d.test"), "c");
	list_write(&s, 'a', "a.test\n");
	list_write(&s, 'c', "c.test\n");
	follow(&s);
	holds_all(&s);
	assert_false(changed(&s));
	stage_fini(&s);
}

static int group(const struct stage *s, int wanted, const char *text)
{
	struct dns_name name;

	assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
	return policy_group(s->p, wanted, &name);
}

/* `leak: strict` of an upstream. */
static void test_where_a_name_may_be_asked(void **state)
{
	enum { FREE, STRICT, SHUT };
	int lists[] = {0, 1};
	struct conf_upstream upstreams[] = {
		[FREE] = {.strict_to = -1},
		[STRICT] = {.leak_strict = true, .lists = lists, .n_lists = 2, .strict_to = FREE},
		[SHUT] = {.leak_strict = true, .lists = lists, .n_lists = 1, .strict_to = -1},
	};
	struct stage s;

	(void)state;
	stage_init(&s);
	s.config.upstreams = upstreams;
	s.config.n_upstreams = 3;
	assert_int_equal(try_build(&s, false), 0);
	assert_int_equal(group(&s, -1, "a.test"), -1);
	assert_int_equal(group(&s, 3, "a.test"), 3);
	assert_int_equal(group(&s, FREE, "else.test"), FREE);
	assert_int_equal(group(&s, STRICT, "x.a.test"), STRICT);
	assert_int_equal(group(&s, STRICT, "b.test"), STRICT);
	assert_int_equal(group(&s, STRICT, "not.b.test"), FREE); /* the list's own exception */
	assert_int_equal(group(&s, STRICT, "c.test"), FREE);
	assert_int_equal(group(&s, SHUT, "a.test"), SHUT);
	assert_int_equal(group(&s, SHUT, "b.test"), -1);
	list_write(&s, 'a', "c.test\n");
	follow(&s);
	assert_int_equal(group(&s, STRICT, "c.test"), STRICT);
	assert_int_equal(group(&s, STRICT, "a.test"), FREE);
	stage_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken),
		cmocka_unit_test(test_bad_one_is_kept),
		cmocka_unit_test(test_bad_expressions_are_kept),
		cmocka_unit_test(test_mended_while_it_is_read),
		cmocka_unit_test(test_include_that_is_missed),
		cmocka_unit_test(test_optional),
		cmocka_unit_test(test_except_comes),
		cmocka_unit_test(test_compiled_one_comes_and_goes),
		cmocka_unit_test(test_where_a_name_may_be_asked),
	};

	return cmocka_run_group_tests(tests, NULL, folder_remove);
}
