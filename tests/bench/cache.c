/* What cached answers cost: cache ENTRIES. Prints resident bytes of an answer of about 110 bytes
 * (names of about 20, A and AAAA in turn), what the cache says that it takes, and nanoseconds of a
 * hit and of a miss, alone and with cache_prefetch() a few questions ahead; of a put of a new name
 * into a full cache; milliseconds and bytes of saving. The best of some rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/cache/cache.h"
#include "tests/bench/self.h"

#define HASH_KEY 0x0123456789abcdefULL
#define ROUNDS	 5
#define AHEAD	 8

static struct cache *cache;
static uint8_t buf[4096];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint8_t *put16(uint8_t *at, unsigned v)
{
	*at++ = (uint8_t)(v >> 8);
	*at++ = (uint8_t)v;
	return at;
}

static uint16_t type_of(size_t i)
{
	return i & 1 ? DNS_AAAA : DNS_A;
}

static void name_make(size_t i, struct dns_name *ret)
{
	char text[40];
	int n = snprintf(text, sizeof text, "host%05zx.example.test", i / 2);

	if (dns_name_parse(text, (size_t)n, ret))
		die("name");
}

/* Two or four addresses. */
static size_t answer_make(size_t i, const struct dns_name *name, uint8_t *msg)
{
	static const uint8_t head[12] = {0, 0, 0x81, 0x80, 0, 1};
	unsigned records = i & 1 ? 2 : 4, size = i & 1 ? 16 : 4;
	uint8_t *at = msg;

	memcpy(at, head, sizeof head);
	at[7] = (uint8_t)records;
	memcpy(at + 12, name->b, name->len);
	at = put16(put16(at + 12 + name->len, type_of(i)), DNS_CLASS_IN);
	for (unsigned k = 0; k < records; k++) {
		at = put16(put16(put16(at, 0xc00c), type_of(i)), DNS_CLASS_IN);
		at = put16(put16(put16(at, 0), 300), size);
		memset(at, (int)(i + k), size);
		at += size;
	}
	return (size_t)(at - msg);
}

static void put(size_t i)
{
	struct dns_name name;
	struct cache_key key = {.name = &name, .type = type_of(i), .view = 7};
	uint8_t msg[512];

	name_make(i, &name);
	key.hash = dns_name_hash(&name, HASH_KEY);
	cache_put(cache, &key, msg, answer_make(i, &name, msg), 300, 1);
}

/* Questions in no order, packed: when one comes its name has just been read into one place, so
 * structs of names would measure their own cache misses. */
struct asked {
	uint64_t hash, words[4];
	uint16_t type;
	uint8_t len;
};

static struct asked *asked_make(size_t n, size_t first)
{
	struct asked *asked = calloc(n + AHEAD, sizeof *asked);
	struct dns_name name;

	if (!asked)
		die("memory");
	for (size_t i = 0; i < n; i++) {
		size_t which = first + i * 7919 % n;

		name_make(which, &name);
		asked[i] = (struct asked){.hash = dns_name_hash(&name, HASH_KEY),
			.type = type_of(which),
			.len = name.len};
		memcpy(asked[i].words, name.b, ((size_t)name.len + 7) / 8 * 8);
	}
	return asked;
}

static size_t ask_all(const struct asked *asked, size_t n, size_t ahead)
{
	struct dns_name name;
	size_t hits = 0;

	for (size_t i = 0; i < n; i++) {
		struct cache_key key = {
			.name = &name, .hash = asked[i].hash, .type = asked[i].type, .view = 7};
		struct cache_found found;

		if (ahead)
			cache_prefetch(cache, asked[i + ahead].hash);
		name.len = asked[i].len;
		memcpy(name.b, asked[i].words, sizeof asked[i].words);
		cache_get(cache, &key, 2, buf, sizeof buf, &found);
		hits += found.state == CACHE_FRESH;
	}
	return hits;
}

static void print_asking(const char *what, const struct asked *asked, size_t n, size_t ahead)
{
	double best = 1e9;
	size_t hits = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		double start = self_cpu_s(), took;

		hits = ask_all(asked, n, ahead);
		took = (self_cpu_s() - start) / (double)n * 1e9;
		best = took < best ? took : best;
	}
	printf("%s_ns %.1f\n%s_found %.3f\n", what, best, what, (double)hits / (double)n);
}

static void print_putting(size_t n)
{
	double start = self_cpu_s();

	for (size_t i = n; i < 2 * n; i++)
		put(i);
	printf("put_ns %.1f\n", (self_cpu_s() - start) / (double)n * 1e9);
}

static void print_saving(void)
{
	const char *path = "/tmp/tungate-bench-cache";
	double start = self_cpu_s();
	struct stat st;

	if (cache_save(cache, path, 2, 1000) || stat(path, &st))
		die(path);
	printf("save_ms %.1f\nsaved_bytes %ld\n", (self_cpu_s() - start) * 1e3, (long)st.st_size);
	start = self_cpu_s();
	if (cache_load(cache, path, 2, 1001, NULL, 0, NULL))
		die(path);
	printf("load_ms %.1f\n", (self_cpu_s() - start) * 1e3);
	(void)unlink(path);
}

int main(int argc, char **argv)
{
	size_t n = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	struct cache_config config = {.entries = n + n / 8, .hash_key = HASH_KEY};
	struct asked *there, *missing;
	struct cache_stats stats;
	long before;

	if (!n) {
		(void)fprintf(stderr, "usage: cache ENTRIES\n");
		return 2;
	}
	there = asked_make(n, 0);
	missing = asked_make(n, 2 * n);
	before = self_resident_kib();
	if (cache_new(&config, &cache))
		die("cache");
	for (size_t i = 0; i < n; i++)
		put(i);
	cache_stats(cache, &stats);
	printf("entries %zu\nresident_kib %ld\ncounted_kib %zu\n", stats.entries,
		self_resident_kib() - before, stats.bytes >> 10);
	print_asking("hit", there, n, 0);
	print_asking("hit_ahead", there, n, AHEAD);
	print_asking("miss", missing, n, 0);
	print_asking("miss_ahead", missing, n, AHEAD);
	print_putting(n);
	cache_stats(cache, &stats);
	printf("full_entries %zu\nfull_resident_kib %ld\nfull_counted_kib %zu\n", stats.entries,
		self_resident_kib() - before, stats.bytes >> 10);
	print_saving();
	cache_free(cache);
	free(there);
	free(missing);
	return 0;
}
