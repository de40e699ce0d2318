/* Counters for people to look at: any thread reads them, and no order among them is promised. */
#ifndef TUNGATE_BASE_COUNT_H
#define TUNGATE_BASE_COUNT_H

#include <stdatomic.h>
#include <stdint.h>

static inline uint64_t count_get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* For a counter that one thread alone writes: no locked instruction is needed. */
static inline void count_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, count_get(counter) + n, memory_order_relaxed);
}

/* For a counter that several threads write. */
static inline void count_add_shared(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif
