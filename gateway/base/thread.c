#include "gateway/base/thread.h"

#include <signal.h>
#include <time.h>

int thread_start(pthread_t *ret, size_t stack_bytes, void *(*run)(void *arg), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int error;

	pthread_attr_init(&attr);
	if (stack_bytes)
		pthread_attr_setstacksize(&attr, stack_bytes);
	sigfillset(&all);
	/* Its own faults: whoever catches them (a sanitizer) is to tell of them. */
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(ret, &attr, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -error;
}

void thread_condition_init(pthread_cond_t *ret)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(ret, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

void thread_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t until_ms)
{
	const struct timespec until = {
		.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};

	(void)pthread_cond_timedwait(condition, lock, &until);
}
