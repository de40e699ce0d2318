#ifndef TUNGATE_BASE_THREAD_H
#define TUNGATE_BASE_THREAD_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* Starts a thread that no signal reaches but its own faults': they are for the main thread.
 * stack_bytes 0: as many as the system gives. 0 or -errno. */
int thread_start(pthread_t *ret, size_t stack_bytes, void *(*run)(void *arg), void *arg);
/* A condition that is waited for by clock_ms(); until_ms of it, or until it is signalled. */
void thread_condition_init(pthread_cond_t *ret);
void thread_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t until_ms);

#endif
