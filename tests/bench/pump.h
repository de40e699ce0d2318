/* One direction of a connection that is passed on, in a thread of its own: read and write, or
 * splice through a pipe. */
#ifndef TUNGATE_BENCH_PUMP_H
#define TUNGATE_BENCH_PUMP_H

#include <stdbool.h>

/* Both directions until both have ended; then both sockets are closed. */
void pump_both(int a, int b, bool splice);
/* Runs serve(arg) in a thread that nobody waits for; false: there is none. */
bool pump_detach(void *(*serve)(void *), void *arg);

#endif
