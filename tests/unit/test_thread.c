/* gateway/base: what a thread is started with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>

#include "gateway/base/thread.h"

struct seen {
	sigset_t mask;
	size_t stack_bytes;
};

static void *look(void *arg)
{
	struct seen *seen = arg;
	pthread_attr_t attr;

	pthread_sigmask(SIG_SETMASK, NULL, &seen->mask);
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstacksize(&attr, &seen->stack_bytes);
	pthread_attr_destroy(&attr);
	return arg;
}

static struct seen started(size_t stack_bytes)
{
	struct seen seen;
	pthread_t thread;
	void *ret;

	assert_int_equal(thread_start(&thread, stack_bytes, look, &seen), 0);
	assert_int_equal(pthread_join(thread, &ret), 0);
	assert_ptr_equal(ret, &seen);
	return seen;
}

static void signals_are_for_the_main_thread(void **state)
{
	struct seen seen = started(0);
	sigset_t ours;

	(void)state;
	assert_int_equal(sigismember(&seen.mask, SIGTERM), 1);
	assert_int_equal(sigismember(&seen.mask, SIGHUP), 1);
	assert_int_equal(sigismember(&seen.mask, SIGUSR1), 1);
	assert_int_equal(sigismember(&seen.mask, SIGSEGV), 0);
	pthread_sigmask(SIG_SETMASK, NULL, &ours);
	assert_int_equal(sigismember(&ours, SIGTERM), 0);
}

static void the_stack_is_as_large_as_told(void **state)
{
	(void)state;
	assert_in_range(started(1 << 20).stack_bytes, 1 << 20, 2 << 20);
	assert_true(started(0).stack_bytes > 2 << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signals_are_for_the_main_thread),
		cmocka_unit_test(the_stack_is_as_large_as_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
