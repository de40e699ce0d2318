#ifndef TUNGATE_BASE_THREAD_H
#define TUNGATE_BASE_THREAD_H

#include <pthread.h>
#include <stddef.h>

/* Starts a thread that no signal reaches but its own faults': they are for the main thread.
 * stack_bytes 0: as many as the system gives. 0 or -errno. */
int thread_start(pthread_t *ret, size_t stack_bytes, void *(*run)(void *arg), void *arg);

#endif
