/* The clocks of the house. Pure code gets its time as an argument; everybody else asks here. */
#ifndef TUNGATE_BASE_CLOCK_H
#define TUNGATE_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_ms(void);	    /* monotonic, milliseconds; never steps back */
int64_t clock_us(void);	    /* monotonic, microseconds */
int64_t clock_wall_s(void); /* seconds since 1970; may step */

#endif
