#include "tests/unit/hand_clock.h"

#include <stdatomic.h>
#include <time.h>

#define BEGIN_US 1000000000 /* 0 means "never" to many */
#define WALL_S	 1800000000

static _Atomic int64_t moved_us;

int64_t clock_us(void)
{
	return BEGIN_US + moved_us;
}

int64_t clock_ms(void)
{
	return clock_us() / 1000;
}

int64_t clock_wall_s(void)
{
	return WALL_S + moved_us / 1000000;
}

void hand_clock_move_ms(int64_t ms)
{
	moved_us += ms * 1000;
}

int64_t hand_clock_real_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
