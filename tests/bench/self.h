/* What a program that measures a room of its own knows about itself. */
#ifndef TUNGATE_BENCH_SELF_H
#define TUNGATE_BENCH_SELF_H

#include <stdio.h>
#include <time.h>

static inline double self_cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline long self_resident_kib(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	char line[256];
	long kib = 0;

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "Anonymous: %ld", &kib) == 1)
			break;
	if (f)
		(void)fclose(f);
	return kib;
}

#endif
