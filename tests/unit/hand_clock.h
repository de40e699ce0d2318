/* A clock that stands still until the test moves it, instead of gateway/base/clock.c: what is due
 * in 300 ms comes after exactly that, on a machine of any speed. What comes by wire or from another
 * thread is waited for while it stands (HAND_UNTIL). Any thread may read it. */
#ifndef TUNGATE_TESTS_HAND_CLOCK_H
#define TUNGATE_TESTS_HAND_CLOCK_H

#include <stdint.h>

#include "gateway/base/clock.h"

void hand_clock_move_ms(int64_t ms);

/* By the machine's own clock, to give up waiting some time. */
int64_t hand_clock_real_ms(void);
#define HAND_CLOCK_LIMIT_MS 60000

/* Does `turn` until `what` has come true. Needs cmocka. */
#define HAND_UNTIL(what, turn)                                                                     \
	do {                                                                                       \
		int64_t end_ms_ = hand_clock_real_ms() + HAND_CLOCK_LIMIT_MS;                      \
		while (!(what)) {                                                                  \
			assert_true(hand_clock_real_ms() < end_ms_);                               \
			turn;                                                                      \
		}                                                                                  \
	} while (0)

#endif
