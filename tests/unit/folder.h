/* A folder of the test's own, made when it is first asked for; a source file has one. Needs
 * cmocka. */
#ifndef TUNGATE_TESTS_FOLDER_H
#define TUNGATE_TESTS_FOLDER_H

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder_at[32];

static inline char *folder(void)
{
	if (!folder_at[0])
		assert_non_null(mkdtemp(strcpy(folder_at, "/tmp/tungate-test-XXXXXX")));
	return folder_at;
}

/* Lives for the next 7 calls. */
static inline char *folder_path(const char *file)
{
	static char paths[8][256];
	static unsigned next;
	char *path = paths[next++ % 8];

	(void)snprintf(path, sizeof paths[0], "%s/%s", folder(), file);
	return path;
}

static inline char *folder_write_bytes(const char *file, const void *bytes, size_t len)
{
	char *path = folder_path(file);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	return path;
}

static inline char *folder_write(const char *file, const char *text)
{
	return folder_write_bytes(file, text, strlen(text));
}

/* How much is in it. */
static inline unsigned folder_count(bool remove_all)
{
	DIR *dir = opendir(folder());
	struct dirent *entry;
	unsigned n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		n++;
		if (remove_all && unlinkat(dirfd(dir), entry->d_name, 0))
			(void)unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	}
	closedir(dir);
	return n;
}

/* As a teardown: fails if something was left in it. */
static inline int folder_remove(void **state)
{
	int r = rmdir(folder());

	(void)state;
	folder_at[0] = 0;
	return r;
}

/* As a teardown: with what was left in it. */
static inline int folder_clear(void **state)
{
	(void)folder_count(true);
	return folder_remove(state);
}

#endif
