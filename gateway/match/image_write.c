#include "gateway/match/image_internal.h"
#include "gateway/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TRIES 100 /* names of temporary files that may be left over */

/* A file being made in memory. With bytes NULL patterns and prefixes are only counted. */
struct maker {
	const struct matcher *m;
	const struct addresses *a;
	struct image_header h;
	uint8_t *bytes;
	uint8_t *at;
};

static int pattern_put(void *arg, unsigned source, bool is_regexp, const char *text, size_t len)
{
	struct maker *k = arg;

	if (!k->bytes) {
		if (len > INT32_MAX || k->h.pattern_bytes > INT32_MAX)
			return -EFBIG;
		k->h.n_patterns++;
		k->h.pattern_bytes += (uint32_t)(IMAGE_PATTERN_HEAD + len);
		return 0;
	}
	image_put(k->at, source, 2);
	image_put(k->at + 2, is_regexp, 2);
	image_put(k->at + 4, len, 4);
	memcpy(k->at + IMAGE_PATTERN_HEAD, text, len);
	k->at += IMAGE_PATTERN_HEAD + len;
	return 0;
}

/* IPv4 comes first. */
static int prefix_put(void *arg, unsigned list, const struct ip_prefix *p)
{
	struct maker *k = arg;
	size_t size = ip_addr_size(&p->addr);

	if (list != 0)
		return -EINVAL;
	if (!k->bytes) {
		k->h.n_v4 += p->addr.family == IP_V4;
		k->h.n_v6 += p->addr.family == IP_V6;
		return 0;
	}
	*k->at++ = p->len;
	memcpy(k->at, p->addr.b, size);
	k->at += size;
	return 0;
}

static int put_lists(struct maker *k)
{
	int err = k->m->patterns ? patterns_each(k->m->patterns, pattern_put, k) : 0;

	return err ? err : addresses_each(k->a, prefix_put, k);
}

static int make_header(struct maker *k)
{
	const struct matcher *m = k->m;

	if (m->key != MATCHER_IMAGE_KEY || m->n_sources > IMAGE_PARTS_MAX)
		return -EINVAL;
	k->h = (struct image_header){
		.version = IMAGE_VERSION,
		.n_sources = m->n_sources,
		.depths = {m->depths[0], m->depths[1]},
		.n_names = m->table.n,
		.bits = m->table.bits,
		.n_sets = m->sets.n,
		.n_elements = m->sets.starts[m->sets.n],
	};
	return put_lists(k);
}

static void put_array(struct maker *k, const uint32_t *numbers, size_t n)
{
	for (size_t i = 0; i < n; i++, k->at += 4)
		image_put(k->at, numbers[i], 4);
}

static void put_matcher(struct maker *k)
{
	const struct matcher *m = k->m;

	for (uint32_t i = 0; i < m->table.n; i++, k->at += 8)
		image_put(k->at, m->table.entries[i], 8);
	put_array(k, m->table.starts, ((size_t)1 << m->table.bits) + 1);
	put_array(k, m->sets.starts, m->sets.n + 1u);
	for (uint32_t i = 0; i < k->h.n_elements; i++, k->at += 2)
		image_put(k->at, m->sets.pool[i], 2);
	put_array(k, m->counts, m->n_sources);
}

/* The whole file in memory. */
static int make(struct maker *k)
{
	uint64_t size;
	int err = make_header(k);

	if (err)
		return err;
	size = image_layout(&k->h).end;
	k->bytes = malloc(size);
	if (!k->bytes)
		return -ENOMEM;
	k->at = k->bytes + IMAGE_HEADER_SIZE;
	put_matcher(k);
	err = put_lists(k);
	if (err)
		return err;
	k->h.size = size;
	image_header_write(&k->h, k->bytes);
	k->h.checksum = image_checksum(k->bytes, size);
	image_header_write(&k->h, k->bytes);
	return 0;
}

/* --- the file --- */

static int open_new(const char *path, char *ret_new, size_t size)
{
	for (unsigned i = 0; i < TRIES; i++) {
		int n = snprintf(ret_new, size, "%s.%ld-%u.new", path, (long)getpid(), i), fd;

		if (n < 0 || (size_t)n >= size)
			return -ENAMETOOLONG;
		fd = open(ret_new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		if (fd >= 0 || errno != EEXIST)
			return fd >= 0 ? fd : -errno;
	}
	return -EEXIST;
}

/* What a link points to is replaced, not the link; and no device or pipe is, whoever may do that.
 */
static int write_file(const char *path, const uint8_t *bytes, size_t len)
{
	char real[PATH_MAX], new_path[PATH_MAX];
	int fd, err;

	if (realpath(path, real))
		path = real;
	err = file_check(path);
	if (err)
		return err;
	fd = open_new(path, new_path, sizeof new_path);
	return fd < 0 ? fd : file_become(fd, new_path, path, bytes, len);
}

int image_write(const char *path, const struct matcher *m, const struct addresses *a)
{
	struct maker k = {.m = m, .a = a};
	int err = make(&k);

	if (!err)
		err = write_file(path, k.bytes, k.h.size);
	free(k.bytes);
	return err;
}
