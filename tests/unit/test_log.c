/* The log's lines, as they arrive on stderr. */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "gateway/base/log.h"
#include "tests/unit/hand_clock.h"

static int saved, from;

static void catch_stderr(void)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	saved = dup(STDERR_FILENO);
	assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	close(fds[1]);
	from = fds[0];
}

/* All that was written, and stderr is itself again. */
static size_t caught(char *text, size_t size)
{
	ssize_t n;
	size_t len = 0;

	dup2(saved, STDERR_FILENO);
	close(saved);
	while ((n = read(from, text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	close(from);
	text[len] = 0;
	return len;
}

static void levels(void **state)
{
	char text[4096];

	(void)state;
	catch_stderr();
	log_debug("not at first");
	log_info("number %d", 7);
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("no");
	log_error("%s", "yes");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("now");
	log_set_level(LOG_LEVEL_INFO);
	caught(text, sizeof text);
	assert_string_equal(text, "info: number 7\nerror: yes\ndebug: now\n");
}

static void a_cut_line_is_still_a_line(void **state)
{
	char text[4096], longest[3000];
	size_t len;

	(void)state;
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = 0;
	catch_stderr();
	log_warn("%s", longest);
	log_info("after");
	len = caught(text, sizeof text);
	assert_in_range(len, 1000, 1100);
	assert_memory_equal(text, "warn: xxx", 9);
	assert_string_equal(text + len - 14, "x\ninfo: after\n");
}

static struct log_gate gate;
static atomic_uint passed;

static void *pass(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 10000; i++)
		passed += log_gate_open(&gate, 60000);
	return NULL;
}

static void a_gate_opens_once_for_all_threads(void **state)
{
	pthread_t threads[3];
	struct log_gate quick = {0};

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, pass, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(passed, 1);
	assert_true(log_gate_open(&quick, 20));
	assert_false(log_gate_open(&quick, 20));
	hand_clock_move_ms(19);
	assert_false(log_gate_open(&quick, 20));
	hand_clock_move_ms(1);
	assert_true(log_gate_open(&quick, 20));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(levels),
		cmocka_unit_test(a_cut_line_is_still_a_line),
		cmocka_unit_test(a_gate_opens_once_for_all_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
