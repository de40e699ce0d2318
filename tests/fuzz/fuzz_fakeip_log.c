/* Arbitrary bytes as the log of small pools: no crash, the mappings are a bijection, what was read
 * survives a second load of what is left of the file, and a snapshot of it says the same. The first
 * byte is no part of the file: if it is odd, checksums are made right first, so that what the
 * records say is arbitrary too. */
#include "fakeip/fakeip_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct file {
	uint8_t *bytes;
	size_t len;
	struct file *fresh;
};

static uint64_t hash(const uint8_t *name, size_t name_len, uint64_t key)
{
	for (size_t i = 0; i < name_len; i++)
		key = (key ^ name[i]) * 0x100000001b3ULL;
	return key;
}

static ssize_t append(void *arg, const void *data, size_t len)
{
	struct file *f = arg;

	f->bytes = realloc(f->bytes, f->len + len);
	memcpy(f->bytes + f->len, data, len);
	f->len += len;
	return (ssize_t)len;
}

static int truncate_to(void *arg, uint64_t len)
{
	struct file *f = arg;

	if (len > f->len)
		abort();
	f->len = (size_t)len;
	return 0;
}

static ssize_t read_at(void *arg, uint64_t at, void *data, size_t len)
{
	struct file *f = arg;

	if (at > f->len || len > f->len - at)
		abort();
	memcpy(data, f->bytes + at, len);
	return (ssize_t)len;
}

static int sync_none(void *arg)
{
	(void)arg;
	return 0;
}

static int fresh_begin(void *arg)
{
	struct file *f = arg;

	f->fresh = calloc(1, sizeof *f->fresh);
	return 0;
}

static ssize_t fresh_append(void *arg, const void *data, size_t len)
{
	struct file *f = arg;

	return append(f->fresh, data, len);
}

static int fresh_become(void *arg)
{
	struct file *f = arg;

	free(f->bytes);
	f->bytes = f->fresh->bytes;
	f->len = f->fresh->len;
	free(f->fresh);
	f->fresh = NULL;
	return 0;
}

static void fresh_drop(void *arg)
{
	(void)arg;
	abort(); /* nothing fails here */
}

static const struct fakeip_pool_config pools = {.net4 = {198, 18},
	.net6 = {0xfd},
	.len4 = 24,
	.len6 = 64,
	.ttl_s = 1,
	.hold_s = 9,
	.hash = hash};

static void make_right(struct file *f)
{
	uint8_t header[LOG_HEADER_SIZE];
	struct crc32c crc;
	struct pool p;
	uint32_t seed;

	crc32c_init(&crc);
	if (pool_init(&p, &pools) < 0)
		abort();
	log_header_encode(&crc, &p, header);
	seed = log_record_seed(&crc, header);
	for (size_t at = record_search(f->bytes, f->len, 0); f->len - at >= RECORD_HEAD;
		at = record_search(f->bytes, f->len, at + 1)) {
		size_t size = record_size(f->bytes[at + 12]);

		if (size <= f->len - at) {
			uint32_t sum = crc32c_update(&crc, seed, f->bytes + at + 8, size - 8);

			for (unsigned i = 0; i < 4; i++)
				f->bytes[at + 4 + i] = (uint8_t)(sum >> 8 * i);
		}
	}
}

static struct fakeip_table *load(struct file *f, struct fakeip_load_result *ret)
{
	struct fakeip_log_io io = {.arg = f,
		.append = append,
		.truncate = truncate_to,
		.sync = sync_none,
		.read = read_at,
		.snapshot = {fresh_begin, fresh_append, sync_none, fresh_become, fresh_drop}};
	struct fakeip_table *t;
	uint8_t *copy = malloc(f->len + 1);

	memcpy(copy, f->bytes, f->len);
	if (fakeip_new(&pools, 1, &t) < 0 || fakeip_load(t, copy, f->len, 10, &io, ret) < 0)
		abort();
	free(copy);
	return t;
}

static uint32_t check_bijection(const struct fakeip_table *t)
{
	struct fakeip_mapping m, found[256];
	uint32_t count = 0;

	for (uint32_t i = UINT32_MAX; fakeip_next(t, i, &m) == 0; i = m.index, count++) {
		size_t n = fakeip_find(
			       t, m.name, m.name_len, hash(m.name, m.name_len, 1), found, 256),
		       same = 0;

		for (size_t k = 0; k < n; k++)
			same += found[k].view == m.view && found[k].index == m.index;
		for (size_t k = 0; k < n && !m.flushed; k++)
			if (found[k].view == m.view && found[k].index != m.index)
				abort();
		if (same != !m.flushed)
			abort();
	}
	return count;
}

/* Whatever is in a, is in b. */
static void check_same(const struct fakeip_table *a, const struct fakeip_table *b)
{
	struct fakeip_mapping m, n;

	for (uint32_t i = UINT32_MAX; fakeip_next(a, i, &m) == 0; i = m.index)
		if (fakeip_get(b, m.index, &n) < 0 || memcmp(m.name, n.name, sizeof m.name) != 0 ||
			m.view != n.view || m.flushed != n.flushed)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_Alignas(8) static const uint8_t name[16] = "\4fuzz\4test";
	struct file f = {.bytes = malloc(size + 1), .len = size ? size - 1 : 0};
	struct fakeip_load_result first, second, third;
	struct fakeip_table *t, *again;
	struct fakeip_pair p;
	bool kept;

	if (f.len)
		memcpy(f.bytes, data + 1, f.len);
	if (size && data[0] & 1)
		make_right(&f);
	t = load(&f, &first);
	if (check_bijection(t) != first.loaded)
		abort();
	if (fakeip_assign(t, name, 11, hash(name, 11, 1), 0, 0, 10, &p) == 0)
		check_bijection(t);
	(void)fakeip_flush(t, 2 + (uint32_t)(size % 250), 10, &kept);
	if (fakeip_commit(t) < 0)
		abort();
	again = load(&f, &second);
	if (check_bijection(again) != second.loaded || second.foreign || second.moved)
		abort();
	check_same(t, again);
	check_same(again, t);
	fakeip_free(again);
	while (fakeip_snapshot_step(t) > 0)
		;
	again = load(&f, &third);
	if (third.lost || third.dropped)
		abort();
	check_same(t, again);
	check_same(again, t);
	fakeip_free(again);
	fakeip_free(t);
	free(f.bytes);
	return 0;
}
