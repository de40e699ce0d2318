/* What the tests of the fake-address table share: names in wire form, a hash, a file in memory that
 * can fail. */
#ifndef TUNGATE_TESTS_UNIT_TEST_FAKEIP_H
#define TUNGATE_TESTS_UNIT_TEST_FAKEIP_H

#include "fakeip/fakeip.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define TEST_KEY 0x5eedULL

struct test_name {
	_Alignas(8) uint8_t b[256];
	size_t len;
	uint64_t hash;
};

static inline uint64_t test_hash(const uint8_t *name, size_t name_len, uint64_t key)
{
	uint64_t h = key ^ 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < name_len; i++)
		h = (h ^ name[i]) * 0x100000001b3ULL;
	return h;
}

/* "a.test" in wire form. */
static inline struct test_name test_name(const char *text)
{
	struct test_name n = {.len = 0};

	while (*text) {
		size_t label = strcspn(text, ".");

		n.b[n.len++] = (uint8_t)label;
		memcpy(n.b + n.len, text, label);
		n.len += label;
		text += label + (text[label] == '.');
	}
	n.len++;
	n.hash = test_hash(n.b, n.len, TEST_KEY);
	return n;
}

/* The number as a name; lengths differ so that all size classes of the arena take part. */
static inline struct test_name test_name_number(unsigned number)
{
	char text[256];
	int n = snprintf(text, sizeof text, "n%u", number);

	for (unsigned i = 0; i < number % 7; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, ".label-of-some-length%u", i);
	return test_name(text);
}

static inline int test_assign(struct fakeip_table *t, const struct test_name *n, uint64_t view,
	uint32_t now_s, struct fakeip_pair *ret)
{
	return fakeip_assign(t, n->b, n->len, n->hash, view, 7, now_s, ret);
}

/* 198.18.0.0/len4 and fd00:198:18::/len6. */
static inline struct fakeip_pool_config test_pools(uint8_t len4, uint8_t len6)
{
	return (struct fakeip_pool_config){.net4 = {198, 18},
		.net6 = {0xfd, 0x00, 0x01, 0x98, 0x00, 0x18},
		.len4 = len4,
		.len6 = len6,
		.ttl_s = 1,
		.hold_s = 100,
		.hash = test_hash};
}

static inline struct fakeip_table *test_table(const struct fakeip_pool_config *config)
{
	struct fakeip_table *t;

	assert_int_equal(fakeip_new(config, TEST_KEY, &t), 0);
	return t;
}

#define TEST_EMPTY 96 /* bytes of a log without mappings: the header, and what was told ahead */

struct test_file {
	uint8_t *bytes;
	size_t len;
	unsigned appends;
	size_t room; /* bytes that still go in before -ENOSPC; the part that fits is written */
	struct test_file *fresh; /* the snapshot that is being written */
	unsigned syncs, snapshots;
	int sync_error, begin_error, become_error;
};

static inline ssize_t test_file_append(void *arg, const void *data, size_t len)
{
	struct test_file *f = arg;
	size_t n = len < f->room ? len : f->room;

	f->appends++;
	f->bytes = realloc(f->bytes, f->len + n + 1);
	memcpy(f->bytes + f->len, data, n);
	f->len += n;
	f->room -= n;
	return n < len ? -ENOSPC : (ssize_t)len;
}

static inline int test_file_truncate(void *arg, uint64_t len)
{
	struct test_file *f = arg;

	assert_true(len <= f->len);
	f->len = (size_t)len;
	return 0;
}

static inline int test_file_sync(void *arg)
{
	struct test_file *f = arg;

	f->syncs++;
	return f->sync_error;
}

static inline ssize_t test_file_read(void *arg, uint64_t at, void *data, size_t len)
{
	struct test_file *f = arg;
	size_t n = at < f->len ? f->len - (size_t)at : 0;

	n = n < len ? n : len;
	memcpy(data, f->bytes + at, n);
	return (ssize_t)n;
}

static inline void test_file_drop(void *arg)
{
	struct test_file *f = arg;

	if (f->fresh)
		free(f->fresh->bytes);
	free(f->fresh);
	f->fresh = NULL;
}

static inline int test_file_begin(void *arg)
{
	struct test_file *f = arg;

	if (f->begin_error)
		return f->begin_error;
	f->fresh = calloc(1, sizeof *f->fresh);
	f->fresh->room = SIZE_MAX;
	return 0;
}

/* What fits on the disk fits into either file. */
static inline ssize_t test_file_add(void *arg, const void *data, size_t len)
{
	struct test_file *f = arg;
	ssize_t r;

	f->fresh->room = f->room;
	r = test_file_append(f->fresh, data, len);
	f->room = f->fresh->room;
	return r;
}

static inline int test_file_become(void *arg)
{
	struct test_file *f = arg;

	if (f->become_error)
		return f->become_error;
	free(f->bytes);
	f->bytes = f->fresh->bytes;
	f->len = f->fresh->len;
	f->fresh->bytes = NULL;
	f->snapshots++;
	test_file_drop(f);
	return 0;
}

static inline struct fakeip_log_io test_file_io(struct test_file *f)
{
	return (struct fakeip_log_io){.arg = f,
		.append = test_file_append,
		.truncate = test_file_truncate,
		.sync = test_file_sync,
		.read = test_file_read,
		.snapshot = {.begin = test_file_begin,
			.append = test_file_add,
			.sync = test_file_sync,
			.become = test_file_become,
			.drop = test_file_drop}};
}

/* A table with the file loaded, as after a restart. */
static inline struct fakeip_table *test_open(const struct fakeip_pool_config *config,
	struct test_file *f, uint32_t now_s, struct fakeip_load_result *ret)
{
	struct fakeip_table *t = test_table(config);
	struct fakeip_log_io io = test_file_io(f);
	size_t len = f->len;
	uint8_t *copy = malloc(len + 1);

	if (len)
		memcpy(copy, f->bytes, len);
	assert_int_equal(fakeip_load(t, copy, len, now_s, &io, ret), 0);
	free(copy);
	return t;
}

/* Every mapping that is not flushed is found under its name, at its index alone; names and views
 * are all different. */
static inline void test_bijection(const struct fakeip_table *t)
{
	struct fakeip_mapping m, found[16];
	struct fakeip_stats stats;
	uint32_t count = 0, flushed = 0;

	for (uint32_t i = UINT32_MAX; fakeip_next(t, i, &m) == 0; i = m.index) {
		size_t n = fakeip_find(
			t, m.name, m.name_len, test_hash(m.name, m.name_len, TEST_KEY), found, 16);
		unsigned same = 0;

		assert_in_range(n, !m.flushed, 16);
		for (size_t k = 0; k < n; k++) {
			assert_false(found[k].flushed);
			assert_int_equal(found[k].name_len, m.name_len);
			assert_memory_equal(found[k].name, m.name, m.name_len);
			same += found[k].view == m.view;
			if (found[k].view == m.view)
				assert_int_equal(found[k].index == m.index, !m.flushed);
		}
		assert_in_range(same, !m.flushed, 1);
		flushed += m.flushed;
		count++;
	}
	fakeip_stats(t, 0, &stats);
	assert_int_equal(stats.used, count);
	assert_int_equal(stats.flushed, flushed);
}

#endif
