/* All at once on one table and its file; meant for the thread sanitizer, but what they see is
 * checked anyway. */
#include "tests/unit/learned_stage.h"

#include <pthread.h>
#include <stdatomic.h>

#define ROUNDS	 20000
#define NAMES	 600
#define CAPACITY 400
#define LEARNERS 3

static struct learned_files *files;
static struct stage *stage;
static _Atomic unsigned failures;
static _Atomic int64_t now_s = T0;
static _Atomic bool over;

/* cmocka's asserts leave by longjmp, which belongs to the main thread. */
static void expect(bool is)
{
	failures += !is;
}

static void name_make(unsigned i, struct dns_name *ret)
{
	char text[32];
	int n = snprintf(text, sizeof text, "n%u.test", i);

	memset(ret, 0, sizeof *ret);
	(void)dns_name_parse(text, (size_t)n, ret);
}

/* Each has names of its own for which it alone knows whether they are learned: the capacity is
 * never reached by these. */
static void *learn_and_ask(void *arg)
{
	const struct learned_config c = {CAPACITY, 0, 5};
	unsigned number = (unsigned)(uintptr_t)arg;
	const struct ip_addr a = ip_addr_v4((uint8_t[]){192, 0, 2, (uint8_t)number});
	const struct learned_why why = {"list", &a, 1};
	bool known[NAMES] = {false};
	struct learned *l;

	if (learned_files_get(files, stage->path, &c, now_s, NULL, NULL, &l)) {
		expect(false);
		return NULL;
	}
	for (unsigned k = 0; k < ROUNDS; k++) {
		unsigned i = k * 7919 % (NAMES / LEARNERS) / 2 * LEARNERS + number;
		struct dns_name n;
		bool due;

		name_make(i, &n);
		expect(learned_holds(l, &n, now_s, &due) == known[i]);
		expect(learned_peek(l, &n) == known[i]);
		if (known[i] && k % 3 == 0) {
			expect(learned_remove(l, &n));
			known[i] = false;
		} else if (due && k % 5 == 0) {
			learned_put_off(l, &n, now_s);
		} else {
			expect(learned_add(l, &n, &why, now_s) == !known[i]);
			known[i] = true;
		}
	}
	for (unsigned i = 0; i < NAMES; i++)
		if (known[i]) {
			struct dns_name n;

			name_make(i, &n);
			expect(learned_peek(l, &n));
		}
	learned_unref(l);
	return NULL;
}

static void look(void *arg, const struct learned_name *n)
{
	*(size_t *)arg += n->n_addresses == 1 && strcmp(n->list, "list") == 0;
}

static void *look_at_all(void *arg)
{
	const struct learned_config configs[] = {{CAPACITY, 0, 5}, {CAPACITY * 20, 1000000, 0}};
	struct learned *l;

	(void)arg;
	for (unsigned k = 0; !over; k++) {
		struct learned_info info;
		size_t n = 0;

		if (learned_files_get(files, stage->path, &configs[k % 2], now_s, NULL, NULL, &l)) {
			expect(false);
			return NULL;
		}
		learned_each(l, look, &n);
		learned_info(l, &info);
		expect(info.names <= CAPACITY && n <= NAMES && !info.error);
		learned_unref(l);
	}
	return NULL;
}

static void told(void *arg, struct learned *l, int result)
{
	(void)arg, (void)l;
	expect(result == 0);
}

static void *tend_them(void *arg)
{
	(void)arg;
	while (!over) {
		if (now_s <
			T0 + 500000) /* nobody's name is as old as max_age, however fast this is */
			now_s++;
		learned_files_tend(files, now_s, NULL, told, NULL);
	}
	return NULL;
}

static void threads_share_it(void **state)
{
	const struct learned_config c = {CAPACITY, 0, 5};
	pthread_t learners[LEARNERS], viewer, tender;
	struct learned_info before, after;
	struct learned *l;

	stage = *state;
	assert_int_equal(learned_files_new(&files), 0);
	assert_int_equal(learned_files_get(files, stage->path, &c, T0, NULL, NULL, &l), 0);
	for (uintptr_t i = 0; i < LEARNERS; i++)
		assert_int_equal(pthread_create(&learners[i], NULL, learn_and_ask, (void *)i), 0);
	assert_int_equal(pthread_create(&viewer, NULL, look_at_all, NULL), 0);
	assert_int_equal(pthread_create(&tender, NULL, tend_them, NULL), 0);
	for (unsigned i = 0; i < LEARNERS; i++)
		pthread_join(learners[i], NULL);
	over = true;
	pthread_join(viewer, NULL);
	pthread_join(tender, NULL);
	assert_int_equal(failures, 0);
	learned_info(l, &before);
	assert_true(before.compactions > 0);
	assert_int_equal(before.learned - before.unlearned, before.names);
	learned_unref(l);
	learned_files_free(files);
	/* What is in the file is what was in the table. */
	l = open_with(stage, CAPACITY, 0, 0, now_s);
	learned_info(l, &after);
	assert_int_equal(after.names, before.names);
	assert_int_equal(stage->n_told, 0);
	learned_unref(l);
}

/* --- while somebody else writes the file --- */

static void *learn_more(void *arg)
{
	const struct learned_config c = {NAMES, 0, 0};
	unsigned number = (unsigned)(uintptr_t)arg;
	struct learned *l;

	if (learned_files_get(files, stage->path, &c, now_s, NULL, NULL, &l)) {
		expect(false);
		return NULL;
	}
	for (unsigned k = 0; k < NAMES / LEARNERS; k++) {
		struct dns_name n;

		name_make(k * LEARNERS + number, &n);
		expect(learned_add(l, &n, NULL, now_s) == 1);
		expect(learned_holds(l, &n, now_s, NULL));
		(void)usleep(50);
	}
	learned_unref(l);
	return NULL;
}

static void *touch_it(void *arg)
{
	unsigned k = 0;

	(void)arg;
	do { /* once, at least, however late this begins */
		(void)chmod(stage->path, k++ % 2 ? 0600 : 0640);
		(void)usleep(300);
	} while (!over);
	return NULL;
}

static void told_anything(void *arg, struct learned *l, int result)
{
	(void)l;
	expect(result >= 0);
	*(unsigned *)arg += result == 1;
}

static void nothing_is_lost_while_others_write(void **state)
{
	const struct learned_config c = {NAMES, 0, 0};
	pthread_t learners[LEARNERS], toucher;
	struct learned_info info;
	unsigned taken = 0;
	struct learned *l;

	stage = *state;
	over = false;
	assert_int_equal(learned_files_new(&files), 0);
	assert_int_equal(learned_files_get(files, stage->path, &c, T0, NULL, NULL, &l), 0);
	for (uintptr_t i = 0; i < LEARNERS; i++)
		assert_int_equal(pthread_create(&learners[i], NULL, learn_more, (void *)i), 0);
	assert_int_equal(pthread_create(&toucher, NULL, touch_it, NULL), 0);
	do {
		learned_files_tend(files, ++now_s, NULL, told_anything, &taken);
		learned_info(l, &info);
	} while (info.learned < NAMES);
	for (unsigned i = 0; i < LEARNERS; i++)
		pthread_join(learners[i], NULL);
	over = true;
	pthread_join(toucher, NULL);
	assert_int_equal(failures, 0);
	for (unsigned i = 0; i < 4; i++)
		learned_files_tend(files, ++now_s, NULL, told_anything, &taken);
	assert_true(taken > 0);
	learned_info(l, &info);
	assert_int_equal(info.names, NAMES);
	learned_unref(l);
	learned_files_free(files);
	l = open_with(stage, NAMES, 0, 0, now_s);
	assert_int_equal(info_of(l).names, NAMES);
	learned_unref(l);
}

/* --- while it is written anew --- */

static bool file_has(const struct dns_name *name)
{
	char text[DNS_NAME_TEXT_MAX], line[DNS_NAME_TEXT_MAX + 8], got[4096] = "";
	int fd = open(stage->path, O_RDONLY);
	ssize_t n = read(fd, got, sizeof got - 1);

	(void)close(fd);
	(void)snprintf(line, sizeof line, "full:%s ", dns_name_format(name->b, text));
	return n > 0 && strstr(got, line);
}

static void a_new_name_is_in_the_file_at_any_time(void **state)
{
	const struct learned_config c = {4, 0, 0};
	pthread_t tender;
	struct learned *l;

	stage = *state;
	over = false;
	failures = 0;
	assert_int_equal(learned_files_new(&files), 0);
	assert_int_equal(learned_files_get(files, stage->path, &c, T0, NULL, NULL, &l), 0);
	assert_int_equal(pthread_create(&tender, NULL, tend_them, NULL), 0);
	for (unsigned i = 0; i < 2000; i++) {
		struct dns_name n;

		name_make(i, &n);
		expect(learned_add(l, &n, NULL, now_s) == 1);
		expect(file_has(&n));
		expect(info_of(l).lines <= (size_t)c.capacity * 2);
	}
	over = true;
	pthread_join(tender, NULL);
	assert_int_equal(failures, 0);
	learned_unref(l);
	learned_files_free(files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		learned_case(threads_share_it),
		learned_case(nothing_is_lost_while_others_write),
		learned_case(a_new_name_is_in_the_file_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
