/* What the fake-address table costs: fakeip [NAMES]. Prints the nanoseconds of a new mapping (its
 * share of its group's commit to memory with it), of a known one's answer and of a packet's
 * look-up, the resident bytes of a mapping with its name of 21 bytes, and the milliseconds of
 * loading them all again. Names are asked in an order of their own. */
#include "fakeip/fakeip.h"
#include "tests/bench/self.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAMES	  100000
#define NAMES_MAX 131069 /* what the default pool holds */
#define GROUP	  32	 /* mappings that one commit writes */

struct name {
	_Alignas(8) uint8_t b[32];
	uint64_t hash;
};

struct file {
	uint8_t *bytes;
	size_t len, room;
};

static uint64_t hash(const uint8_t *name, size_t name_len, uint64_t key)
{
	for (size_t i = 0; i < name_len; i++)
		key = (key ^ name[i]) * 0x100000001b3ULL;
	return key ^ key >> 29;
}

static ssize_t append(void *arg, const void *data, size_t len)
{
	struct file *f = arg;

	if (f->len + len > f->room)
		return -1;
	memcpy(f->bytes + f->len, data, len);
	f->len += len;
	return (ssize_t)len;
}

static int cut(void *arg, uint64_t len)
{
	struct file *f = arg;

	f->len = (size_t)len;
	return 0;
}

static struct fakeip_table *new_table(struct file *f, const void *data, size_t len)
{
	struct fakeip_pool_config config = {.net4 = {198, 18},
		.len4 = 15,
		.net6 = {0xfd},
		.len6 = 64,
		.ttl_s = 1,
		.hold_s = 3600,
		.hash = hash};
	struct fakeip_log_io io = {.arg = f, .append = append, .truncate = cut};
	struct fakeip_load_result loaded;
	struct fakeip_table *t;

	if (fakeip_new(&config, 1, &t) || fakeip_load(t, data, len, 1, &io, &loaded)) {
		fprintf(stderr, "no table\n");
		exit(1);
	}
	return t;
}

static struct name *make_names(unsigned n)
{
	struct name *names = calloc(n, sizeof *names);

	for (unsigned i = 0; names && i < n; i++) {
		snprintf(
			(char *)names[i].b, sizeof names[i].b, "%ch%06u%cexample%cnet", 7, i, 7, 3);
		names[i].hash = hash(names[i].b, 21, 1);
	}
	return names;
}

/* Twice over all names, in a fixed order without a pattern that a cache could learn. */
static double ask_all(struct fakeip_table *t, const struct name *names, unsigned n, unsigned times)
{
	double start = self_cpu_s();
	struct fakeip_pair p;

	for (unsigned i = 0; i < n * times; i++) {
		const struct name *name = &names[(uint64_t)i * 48271 % n];

		if (fakeip_assign(t, name->b, 21, name->hash, 0, 7, 10, &p))
			exit(1);
		if (i % GROUP == GROUP - 1)
			fakeip_commit(t);
	}
	fakeip_commit(t);
	return (self_cpu_s() - start) / (n * times) * 1e9;
}

static double look_up_all(struct fakeip_table *t, unsigned n, unsigned times)
{
	double start = self_cpu_s();
	struct fakeip_mapping m;
	uint64_t found = 0;

	for (unsigned i = 0; i < n * times; i++) {
		uint32_t index = 2 + (uint32_t)((uint64_t)i * 48271 % n);

		fakeip_touch(t, index, 10);
		found += fakeip_get(t, index, &m) == 0;
	}
	if (found != (uint64_t)n * times)
		exit(1);
	return (self_cpu_s() - start) / (n * times) * 1e9;
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : NAMES;
	struct file f = {.room = (size_t)64 << 20}, again = {.room = (size_t)64 << 20};
	struct name *names;
	struct fakeip_table *t;
	double made_ns, known_ns, start;
	long before_kib;

	if (n < 1 || n > NAMES_MAX || n % 48271 == 0)
		return 2;
	names = make_names(n);
	f.bytes = malloc(f.room);
	again.bytes = malloc(again.room);
	if (!names || !f.bytes || !again.bytes)
		return 1;
	memset(f.bytes, 1, f.room); /* resident before we count */
	before_kib = self_resident_kib();
	t = new_table(&f, NULL, 0);
	made_ns = ask_all(t, names, n, 1);
	printf("assign_ns %.1f\n", made_ns);
	printf("bytes_a_mapping %.1f\n", (double)(self_resident_kib() - before_kib) * 1024 / n);
	known_ns = ask_all(t, names, n, 10);
	printf("known_ns %.1f\n", known_ns);
	printf("lookup_ns %.1f\n", look_up_all(t, n, 10));
	fakeip_free(t);
	start = self_cpu_s();
	t = new_table(&again, f.bytes, f.len);
	printf("load_ms %.1f\n", (self_cpu_s() - start) * 1e3);
	fakeip_free(t);
	free(again.bytes);
	free(f.bytes);
	free(names);
	return 0;
}
