/* A folder with a file of learned names, and what the tests say about it. */
#ifndef TUNGATE_TESTS_LEARNED_STAGE_H
#define TUNGATE_TESTS_LEARNED_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/learned/learned.h"

#define T0 INT64_C(1800000000) /* now, when a test begins */

struct stage {
	char dir[64], path[96];
	char told[8192]; /* complaints, a line each; "! " before errors */
	unsigned n_told;
};

static inline int stage_setup(void **state)
{
	struct stage *s = calloc(1, sizeof *s);

	strcpy(s->dir, "/tmp/tg-learned-XXXXXX");
	if (!mkdtemp(s->dir))
		return -1;
	(void)snprintf(s->path, sizeof s->path, "%s/names", s->dir);
	*state = s;
	return 0;
}

static inline int stage_teardown(void **state)
{
	struct stage *s = *state;

	(void)unlink(s->path);
	if (rmdir(s->dir)) /* nothing else was left there */
		return -1;
	free(s);
	return 0;
}

#define learned_case(f) cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown)

static inline void stage_complain(void *arg, bool is_error, const char *text)
{
	struct stage *s = arg;
	size_t n = strlen(s->told);

	s->n_told++;
	(void)snprintf(s->told + n, sizeof s->told - n, "%s%s\n", is_error ? "! " : "", text);
}

static inline struct dns_name name_of(const char *text)
{
	struct dns_name n;

	memset(&n, 0, sizeof n);
	assert_int_equal(dns_name_parse(text, strlen(text), &n), 0);
	return n;
}

static inline struct dns_name name_number(unsigned i)
{
	char text[32];

	(void)snprintf(text, sizeof text, "n%u.test", i);
	return name_of(text);
}

static inline void file_put(const char *path, const char *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	(void)close(fd);
}

static inline void file_text(const char *path, const char *text)
{
	file_put(path, text, strlen(text));
}

/* All of it; the caller frees. */
static inline char *file_get(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	char *text;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	text = calloc(1, (size_t)st.st_size + 1);
	assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
	(void)close(fd);
	return text;
}

static inline void assert_file(const char *path, const char *text)
{
	char *is = file_get(path);

	assert_string_equal(is, text);
	free(is);
}

static inline struct learned *open_with(
	struct stage *s, uint32_t capacity, uint32_t max_age_s, uint32_t verify_s, int64_t now_s)
{
	const struct learned_config c = {capacity, max_age_s, verify_s};
	struct learned *l = NULL;

	assert_int_equal(learned_open(s->path, &c, now_s, stage_complain, s, &l), 0);
	return l;
}

static inline struct learned_info info_of(struct learned *l)
{
	struct learned_info i;

	learned_info(l, &i);
	return i;
}

static inline int add(struct learned *l, const char *name, int64_t now_s)
{
	struct dns_name n = name_of(name);

	return learned_add(l, &n, NULL, now_s);
}

static inline bool holds(struct learned *l, const char *name, int64_t now_s)
{
	struct dns_name n = name_of(name);

	return learned_holds(l, &n, now_s, NULL);
}

static inline bool peek(struct learned *l, const char *name)
{
	struct dns_name n = name_of(name);

	return learned_peek(l, &n);
}

static inline bool due(struct learned *l, const char *name, int64_t now_s)
{
	struct dns_name n = name_of(name);
	bool is_due;

	assert_true(learned_holds(l, &n, now_s, &is_due));
	return is_due;
}

static inline int tend(struct learned *l, struct stage *s, int64_t now_s)
{
	return learned_tend(l, now_s, stage_complain, s);
}

#endif
