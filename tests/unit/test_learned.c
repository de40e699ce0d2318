/* The table of learned names: what it holds, in which order, and for how long. */
#include "tests/unit/learned_stage.h"

static void a_name_is_learned_once(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 10, 0, 0, T0);
	struct dns_name n = name_of("A.Test");

	assert_false(holds(l, "a.test", T0));
	assert_false(peek(l, "a.test"));
	assert_int_equal(learned_add(l, &n, NULL, T0), 1);
	assert_int_equal(add(l, "a.test", T0 + 1), 0);
	assert_true(holds(l, "a.test", T0));
	assert_true(peek(l, "a.test"));
	assert_false(holds(l, "b.a.test", T0)); /* full names */
	assert_false(holds(l, "test", T0));
	assert_int_equal(info_of(l).names, 1);
	assert_int_equal(info_of(l).learned, 1);
	assert_true(learned_remove(l, &n));
	assert_false(learned_remove(l, &n));
	assert_false(holds(l, "a.test", T0));
	assert_int_equal(info_of(l).names, 0);
	assert_int_equal(info_of(l).unlearned, 1);
	assert_int_equal(learned_add(l, &n, NULL, T0 + 2), 1);
	learned_unref(l);
}

static void the_one_asked_longest_ago_goes_first(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 3, 0, 0, T0);

	assert_int_equal(add(l, "a.test", T0), 1);
	assert_int_equal(add(l, "b.test", T0), 1);
	assert_int_equal(add(l, "c.test", T0), 1);
	assert_true(holds(l, "a.test", T0));
	assert_true(peek(l, "b.test")); /* which is no asking */
	assert_int_equal(add(l, "d.test", T0), 1);
	assert_true(peek(l, "a.test"));
	assert_false(peek(l, "b.test"));
	assert_true(peek(l, "c.test"));
	assert_int_equal(info_of(l).names, 3);
	assert_int_equal(info_of(l).evicted_capacity, 1);
	learned_configure(l, &(struct learned_config){1, 0, 0});
	assert_int_equal(info_of(l).names, 1);
	assert_true(peek(l, "d.test"));
	learned_unref(l);
}

static void it_never_holds_more_than_its_capacity(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 100, 0, 0, T0);

	for (unsigned i = 0; i < 3000; i++) {
		struct dns_name n = name_number(i);

		assert_int_equal(learned_add(l, &n, NULL, T0 + i / 100), 1);
		assert_true(info_of(l).names <= 100);
		assert_true(info_of(l).lines <= 200);
	}
	for (unsigned i = 0; i < 3000; i++) {
		struct dns_name n = name_number(i);

		assert_int_equal(learned_peek(l, &n), i >= 2900);
	}
	assert_int_equal(info_of(l).evicted_capacity, 2900);
	learned_unref(l);
}

/* Those who looked up names go on with the smaller filter; the names are in both. */
static void a_larger_capacity_keeps_what_is_there(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 10, 0, 0, T0);

	for (unsigned i = 0; i < 10; i++) {
		struct dns_name n = name_number(i);

		assert_int_equal(learned_add(l, &n, NULL, T0), 1);
	}
	learned_configure(l, &(struct learned_config){100000, 0, 0});
	for (unsigned i = 0; i < 2000; i++) {
		struct dns_name n = name_number(i);

		assert_int_equal(learned_add(l, &n, NULL, T0), i >= 10);
	}
	assert_int_equal(info_of(l).names, 2000);
	for (unsigned i = 0; i < 2000; i++) {
		struct dns_name n = name_number(i);

		assert_true(learned_remove(l, &n));
		assert_false(learned_holds(l, &n, T0, NULL));
	}
	learned_unref(l);
}

static void names_that_nobody_asks_grow_old(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 10, 100, 0, T0);

	assert_int_equal(add(l, "a.test", T0), 1);
	assert_int_equal(add(l, "b.test", T0), 1);
	assert_int_equal(tend(l, s, T0 + 1), 0);
	assert_true(holds(l, "a.test", T0 + 60));
	assert_int_equal(tend(l, s, T0 + 100), 0);
	assert_int_equal(info_of(l).names, 2);
	assert_int_equal(tend(l, s, T0 + 101), 0);
	assert_int_equal(info_of(l).names, 1);
	assert_int_equal(info_of(l).evicted_age, 1);
	assert_true(peek(l, "a.test"));
	assert_int_equal(tend(l, s, T0 + 102), 0);
	/* Not a moment longer, whether it was tended or not. */
	assert_false(holds(l, "a.test", T0 + 161));
	assert_int_equal(info_of(l).evicted_age, 2);
	assert_int_equal(add(l, "a.test", T0 + 161), 1);
	learned_configure(l, &(struct learned_config){10, 5, 0});
	assert_int_equal(tend(l, s, T0 + 170), 0);
	assert_int_equal(info_of(l).names, 0);
	learned_unref(l);
}

/* A router begins in 1970 and gets the time later; or it goes back. */
static void a_clock_that_steps_makes_nothing_old(void **state)
{
	struct stage *s = *state;
	struct learned *l;

	file_text(s->path, "full:a.test # asked=1799999990 verified=1799999990\n");
	l = open_with(s, 10, 100, 50, 5);
	assert_true(holds(l, "a.test", 6));
	assert_int_equal(add(l, "b.test", 7), 1);
	assert_int_equal(tend(l, s, 8), 0);
	assert_int_equal(tend(l, s, T0), 0);
	assert_true(peek(l, "a.test"));
	assert_true(peek(l, "b.test"));
	assert_false(due(l, "b.test", T0));
	assert_true(holds(l, "b.test", T0 - 100000));
	assert_int_equal(tend(l, s, T0 - 100000 + 90), 0);
	assert_true(peek(l, "b.test"));
	/* What nobody asks for grows old by the clock that is right now. */
	assert_int_equal(tend(l, s, T0 - 100000 + 200), 0);
	assert_int_equal(info_of(l).names, 0);
	learned_unref(l);
}

static void one_caller_is_told_to_verify(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 10, 0, 1000, T0);
	struct dns_name n = name_of("a.test");

	assert_int_equal(learned_add(l, &n, NULL, T0), 1);
	assert_false(due(l, "a.test", T0 + 999));
	assert_true(holds(l, "a.test", T0 + 1000)); /* who does not want to is not told */
	assert_true(due(l, "a.test", T0 + 1000));
	assert_false(due(l, "a.test", T0 + 1000));
	assert_false(due(l, "a.test", T0 + 1059));
	assert_true(due(l, "a.test", T0 + 1060));
	learned_put_off(l, &n, T0 + 1060);
	assert_false(due(l, "a.test", T0 + 1359));
	assert_true(due(l, "a.test", T0 + 1360));
	assert_int_equal(learned_add(l, &n, NULL, T0 + 1361), 0);
	assert_false(due(l, "a.test", T0 + 2360));
	assert_true(due(l, "a.test", T0 + 2361));
	learned_configure(l, &(struct learned_config){10, 0, 0});
	assert_false(due(l, "a.test", T0 + 100000));
	n = name_of("b.test");
	learned_put_off(l, &n, T0); /* nothing to put off */
	learned_unref(l);
}

/* --- what people see --- */

struct seen {
	char text[2048];
};

static void see(void *arg, const struct learned_name *n)
{
	struct seen *to = arg;
	char name[DNS_NAME_TEXT_MAX], address[IP_TEXT_MAX];
	size_t at = strlen(to->text);

	at += (size_t)snprintf(to->text + at, sizeof to->text - at,
		"%s %" PRId64 " %" PRId64 " %" PRId64 " %s", dns_name_format(n->name->b, name),
		n->learned_at_s ? n->learned_at_s - T0 : -1,
		n->asked_at_s ? n->asked_at_s - T0 : -1,
		n->verified_at_s ? n->verified_at_s - T0 : -1, n->list ? n->list : "-");
	for (size_t i = 0; i < n->n_addresses; i++)
		at += (size_t)snprintf(to->text + at, sizeof to->text - at, " %s",
			ip_addr_format(&n->addresses[i], address));
	(void)snprintf(to->text + at, sizeof to->text - at, "\n");
}

static void all_are_shown_with_their_reasons(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 100, 0, 100, T0);
	struct ip_addr addresses[LEARNED_ADDRESSES_MAX + 3];
	struct learned_why why = {.list = "geo", .addresses = addresses, .n_addresses = 2};
	struct dns_name a = name_of("a.test"), b = name_of("b.test"), c = name_of("c.test");
	struct seen seen = {""};
	char list[100], line[256];

	learned_each(l, see, &seen);
	assert_string_equal(seen.text, "");
	for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++)
		addresses[i] = ip_addr_v4((uint8_t[]){192, 0, 2, (uint8_t)i});
	assert_int_equal(learned_add(l, &a, &why, T0 + 1), 1);
	assert_int_equal(learned_add(l, &b, NULL, T0 + 2), 1);
	memset(list, 'x', sizeof list);
	list[99] = 0;
	why.list = list;
	why.n_addresses = sizeof addresses / sizeof addresses[0];
	assert_int_equal(learned_add(l, &c, &why, T0 + 3), 1);
	assert_true(holds(l, "a.test", T0 + 9));
	learned_each(l, see, &seen);
	(void)snprintf(line, sizeof line,
		"a.test 1 9 1 geo 192.0.2.0 192.0.2.1\n"
		"c.test 3 3 3 %.63s 192.0.2.0 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 "
		"192.0.2.6 192.0.2.7\n"
		"b.test 2 2 2 -\n",
		list);
	assert_string_equal(seen.text, line);
	/* Verified again, for another reason. */
	why = (struct learned_why){.list = "other", .addresses = addresses + 5, .n_addresses = 1};
	assert_int_equal(learned_add(l, &c, &why, T0 + 200), 0);
	seen.text[0] = 0;
	learned_each(l, see, &seen);
	assert_string_equal(seen.text, "c.test 3 200 200 other 192.0.2.5\n"
				       "a.test 1 9 1 geo 192.0.2.0 192.0.2.1\n"
				       "b.test 2 2 2 -\n");
	learned_unref(l);
}

static void count(void *arg, const struct learned_name *n)
{
	unsigned *counts = arg;
	char text[DNS_NAME_TEXT_MAX];

	counts[strtoul(dns_name_format(n->name->b, text) + 1, NULL, 10)]++;
}

static void each_of_many_is_shown_once(void **state)
{
	enum { N = 5000 };
	struct stage *s = *state;
	struct learned *l = open_with(s, N, 0, 0, T0);
	unsigned *counts = calloc(N, sizeof *counts);

	for (unsigned i = 0; i < N; i++) {
		struct dns_name n = name_number(i);

		assert_int_equal(learned_add(l, &n, NULL, T0), 1);
	}
	learned_each(l, count, counts);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(counts[i], 1);
	free(counts);
	learned_unref(l);
}

/* --- the tables of a process --- */

static void count_told(void *arg, struct learned *l, int result)
{
	(void)l;
	assert_int_equal(result, 0);
	++*(unsigned *)arg;
}

static void tables_are_shared_by_path(void **state)
{
	const struct learned_config c = {10, 0, 0}, small = {1, 0, 0};
	struct stage *s = *state;
	struct learned *a, *b, *other;
	struct learned_files *f;
	unsigned told = 0;
	char path[128];

	(void)snprintf(path, sizeof path, "%s/other", s->dir);
	assert_int_equal(learned_files_new(&f), 0);
	assert_int_equal(learned_files_get(f, s->path, &c, T0, NULL, NULL, &a), 0);
	assert_int_equal(learned_files_get(f, path, &c, T0, NULL, NULL, &other), 0);
	assert_int_equal(add(a, "a.test", T0), 1);
	assert_int_equal(add(a, "b.test", T0), 1);
	assert_int_equal(learned_files_get(f, s->path, &small, T0, NULL, NULL, &b), 0);
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, other);
	assert_int_equal(info_of(a).names, 2); /* it is not said that this will be in force */
	learned_configure(b, &small);
	assert_int_equal(info_of(a).names, 1);
	assert_int_equal(
		learned_files_get(f, s->dir, &c, T0, NULL, NULL, &(struct learned *){NULL}),
		-EINVAL);
	learned_files_tend(f, T0, NULL, count_told, &told);
	assert_int_equal(told, 2);
	learned_unref(other);
	learned_files_tend(f, T0, NULL, count_told, &told);
	assert_int_equal(told, 3);
	learned_unref(b);
	learned_files_free(f);
	assert_true(holds(a, "b.test", T0 + 5)); /* it lives on */
	learned_unref(a);
	assert_file(s->path, "full:b.test # asked=1800000005 verified=1800000000\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		learned_case(a_name_is_learned_once),
		learned_case(the_one_asked_longest_ago_goes_first),
		learned_case(it_never_holds_more_than_its_capacity),
		learned_case(a_larger_capacity_keeps_what_is_there),
		learned_case(names_that_nobody_asks_grow_old),
		learned_case(a_clock_that_steps_makes_nothing_old),
		learned_case(one_caller_is_told_to_verify),
		learned_case(all_are_shown_with_their_reasons),
		learned_case(each_of_many_is_shown_once),
		learned_case(tables_are_shared_by_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
