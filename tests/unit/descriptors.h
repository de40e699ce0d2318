/* How many descriptors the test has open: none may be left behind. Needs cmocka. */
#ifndef TUNGATE_TESTS_DESCRIPTORS_H
#define TUNGATE_TESTS_DESCRIPTORS_H

#include <dirent.h>

static inline unsigned descriptors_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

#endif
