/* The least that answers a DNS query: one fixed A record behind the question. */
#ifndef TUNGATE_BENCH_ECHO_H
#define TUNGATE_BENCH_ECHO_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Turns the query at d into its answer; returns the answer's length. Room for 16 bytes more must be
 * there. */
static inline size_t echo_answer(uint8_t *d)
{
	static const uint8_t record[16] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 198, 18, 1, 2};
	uint8_t *at = d + 12;

	d[2] |= 0x80;
	d[3] = 0x80;
	d[6] = 0;
	d[7] = 1;
	d[10] = d[11] = 0;
	while (*at)
		at += *at + 1;
	at += 5;
	memcpy(at, record, sizeof record);
	return (size_t)(at + sizeof record - d);
}

#endif
