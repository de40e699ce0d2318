/* What a million names and a hundred thousand prefixes cost: match NAMES QUESTIONS PREFIXES, text
 * files of one a line. Prints, for the names in one list and then spread over twenty: milliseconds
 * of building from names in memory and the memory at its peak, resident memory and nanoseconds of a
 * look-up of listed names, of names below them and of the questions; for one list also the compiled
 * list's bytes a name and the milliseconds until it is usable. Then bytes and nanoseconds of the
 * prefixes. Memory is what this process has more than before; the best of some rounds is told. */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "gateway/match/image.h"
#include "tests/unit/image_copy.h"
#include "tests/bench/self.h"

#define NAMES_MAX 2000000
#define ASKED	  100000
#define LISTS	  20
#define ROUNDS	  5

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* --- names --- */

struct names {
	struct dns_name *v;
	size_t n;
};

static struct names names_read(const char *path, size_t max)
{
	struct names l = {calloc(max, sizeof(struct dns_name)), 0};
	FILE *f = fopen(path, "r");
	char line[512];

	if (!f || !l.v)
		die(path);
	while (l.n < max && fgets(line, sizeof line, f))
		l.n += dns_name_parse(line, strcspn(line, "\r\n"), &l.v[l.n]) == 0;
	(void)fclose(f);
	if (l.n == 0)
		die(path);
	return l;
}

/* Names to ask for, packed: when a question comes its name has just been read into one place, so a
 * large array of struct dns_name would measure its own cache misses. */
struct asked {
	uint8_t *bytes; /* of each: len, labels, the name up to the next multiple of 8 */
	size_t len, n;
};

static void asked_add(struct asked *a, const struct dns_name *name)
{
	size_t size = ((size_t)name->len + 7) / 8 * 8;

	a->bytes[a->len++] = name->len;
	a->bytes[a->len++] = name->labels;
	memcpy(a->bytes + a->len, name->b, size);
	a->len += size;
	a->n++;
}

static struct asked asked_new(void)
{
	struct asked a = {malloc((size_t)ASKED * (sizeof(struct dns_name) + 2)), 0, 0};

	if (!a.bytes)
		die("memory");
	return a;
}

/* Some of the listed names, from all over the list; with prefix before them. */
static struct asked asked_listed(const struct names *listed, const char *prefix)
{
	struct asked a = asked_new();
	struct dns_name asked;
	char text[DNS_NAME_TEXT_MAX + 8], name[DNS_NAME_TEXT_MAX];

	for (size_t i = 0; i < ASKED; i++) {
		const struct dns_name *from = &listed->v[i * 7919 % listed->n];
		int n = snprintf(text, sizeof text, "%s%s", prefix, dns_name_format(from->b, name));

		if (dns_name_parse(text, (size_t)n, &asked) == 0)
			asked_add(&a, &asked);
	}
	return a;
}

static struct matcher *names_build(const struct names *l, unsigned lists, long *ret_peak_kib)
{
	struct matcher_builder *b;
	struct matcher *m;

	if (matcher_builder_new(MATCHER_IMAGE_KEY, lists, &b))
		die("builder");
	for (size_t i = 0; i < l->n; i++)
		if (matcher_builder_add(b, (unsigned)(i % lists), MATCHER_SUFFIX, &l->v[i]))
			die("add");
	*ret_peak_kib = self_resident_kib();
	if (matcher_builder_finish(b, &m))
		die("finish");
	return m;
}

/* How many are held. */
static size_t look_up(const struct matcher *m, const struct asked *asked)
{
	const uint8_t *at = asked->bytes;
	struct dns_name name;
	size_t held = 0;

	for (size_t i = 0; i < asked->n; i++) {
		struct matcher_hits h;

		name.len = *at++;
		name.labels = *at++;
		for (size_t k = 0; k < name.len; k += 8, at += 8)
			memcpy(name.b + k, at, 8);
		matcher_find(m, &name, &h);
		held += h.bits[0] != 0;
	}
	return held;
}

static void print_look_up(
	const char *what, const char *suffix, const struct matcher *m, const struct asked *asked)
{
	double best = 1e9;
	size_t held = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		double start = self_cpu_s(), took;

		held = look_up(m, asked);
		took = (self_cpu_s() - start) / (double)asked->n * 1e9;
		best = took < best ? took : best;
	}
	printf("%s_ns%s %.1f\n%s_held%s %.3f\n", what, suffix, best, what, suffix,
		(double)held / (double)asked->n);
}

static struct matcher *bench_names(const struct names *listed, const struct asked *questions,
	unsigned lists, const char *suffix)
{
	struct asked exact = asked_listed(listed, ""), below = asked_listed(listed, "www.");
	long before = self_resident_kib(), peak;
	double start = self_cpu_s();
	struct matcher *m = names_build(listed, lists, &peak);

	printf("build_ms%s %.1f\n", suffix, (self_cpu_s() - start) * 1e3);
	malloc_trim(0);
	printf("peak_kib%s %ld\n", suffix, peak - before);
	printf("resident_kib%s %ld\n", suffix, self_resident_kib() - before);
	printf("names_kept%s %zu\n", suffix, matcher_names(m));
	print_look_up("listed", suffix, m, &exact);
	print_look_up("below", suffix, m, &below);
	print_look_up("questions", suffix, m, questions);
	free(exact.bytes);
	free(below.bytes);
	return m;
}

/* --- compiled --- */

static uint8_t *file_load(const char *path, size_t *ret_len)
{
	struct stat st;
	uint8_t *bytes;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		die(path);
	bytes = malloc((size_t)st.st_size);
	if (!bytes || read(fd, bytes, (size_t)st.st_size) != st.st_size)
		die(path);
	(void)close(fd);
	*ret_len = (size_t)st.st_size;
	return bytes;
}

/* From the bytes to a matcher that holds these names beside one of its own. */
static void image_use(const uint8_t *bytes, size_t len)
{
	static const int map[] = {0};
	struct dns_name own;
	struct image image;
	struct matcher_builder *b;
	struct matcher *m = NULL;
	const char *why;

	if (image_copy(bytes, len, &image, &why) || dns_name_parse("own.test", 8, &own) ||
		matcher_builder_new(MATCHER_IMAGE_KEY, 2, &b) ||
		matcher_builder_add_from(b, image.matcher, map) ||
		matcher_builder_add(b, 1, MATCHER_SUFFIX, &own) || matcher_builder_finish(b, &m))
		die("image");
	image_fini(&image);
	matcher_free(m);
}

static void bench_image(const struct matcher *m, size_t n_names)
{
	char path[64];
	struct addresses_builder *b;
	struct addresses *a;
	uint8_t *bytes;
	size_t len;
	double best = 1e9;

	(void)snprintf(path, sizeof path, "/tmp/tungate-bench-%ld.tgl", (long)getpid());
	if (addresses_builder_new(&b) || addresses_builder_finish(b, NULL, &a) ||
		image_write(path, m, a))
		die(path);
	bytes = file_load(path, &len);
	(void)unlink(path);
	for (unsigned round = 0; round < ROUNDS; round++) {
		double start = self_cpu_s(), took;

		image_use(bytes, len);
		took = (self_cpu_s() - start) * 1e3;
		best = took < best ? took : best;
	}
	printf("image_bytes_a_name %.2f\nimage_ms %.1f\n", (double)len / (double)n_names, best);
	free(bytes);
	addresses_free(a);
}

/* --- prefixes --- */

static struct ip_prefix *prefixes_read(const char *path, size_t *ret_n)
{
	struct ip_prefix *v = calloc(NAMES_MAX, sizeof *v);
	FILE *f = fopen(path, "r");
	char line[512];

	if (!f || !v)
		die(path);
	for (*ret_n = 0; *ret_n < NAMES_MAX && fgets(line, sizeof line, f);) {
		line[strcspn(line, "\r\n")] = 0;
		*ret_n += ip_prefix_parse(line, &v[*ret_n]) == 0;
	}
	(void)fclose(f);
	if (*ret_n == 0)
		die(path);
	return v;
}

static void bench_prefixes(const char *path)
{
	size_t n, found, hits = 0;
	struct ip_prefix *v = prefixes_read(path, &n);
	struct ip_addr *asked = calloc(ASKED, sizeof *asked);
	struct addresses_builder *b;
	struct addresses *a;
	double start, best = 1e9;

	if (!asked || addresses_builder_new(&b))
		die("memory");
	/* Half of them first addresses of prefixes, half with other bits behind the first 16. */
	for (size_t i = 0; i < ASKED; i++) {
		asked[i] = v[i * 7919 % n].addr;
		asked[i].b[2] ^= (uint8_t)(i % 2 * (i >> 1));
		asked[i].b[3] ^= (uint8_t)(i % 2 * (i >> 9));
	}
	start = self_cpu_s();
	for (size_t i = 0; i < n; i++)
		if (addresses_builder_add(b, 0, &v[i]))
			die("prefix");
	if (addresses_builder_finish(b, NULL, &a))
		die("prefixes");
	printf("prefixes %zu\nprefixes_build_ms %.1f\n", n, (self_cpu_s() - start) * 1e3);
	printf("prefixes_kib %zu\n", addresses_size_bytes(a) / 1024);
	for (unsigned round = 0; round < ROUNDS; round++) {
		double took;

		start = self_cpu_s();
		for (size_t i = 0; i < ASKED; i++) {
			(void)addresses_find(a, &asked[i], &found);
			hits += found;
		}
		took = (self_cpu_s() - start) / ASKED * 1e9;
		best = took < best ? took : best;
	}
	printf("prefixes_ns %.1f\nprefixes_held %.3f\n", best, (double)hits / ASKED / ROUNDS);
	addresses_free(a);
	free(asked);
	free(v);
}

int main(int argc, char **argv)
{
	struct names listed, questions;
	struct asked asked = asked_new();
	struct matcher *m;

	if (argc != 4) {
		(void)fprintf(stderr, "usage: match NAMES QUESTIONS PREFIXES\n");
		return 2;
	}
	listed = names_read(argv[1], NAMES_MAX);
	questions = names_read(argv[2], ASKED);
	for (size_t i = 0; i < questions.n; i++)
		asked_add(&asked, &questions.v[i]);
	free(questions.v);
	printf("names %zu\n", listed.n);
	m = bench_names(&listed, &asked, 1, "");
	bench_image(m, listed.n);
	matcher_free(m);
	matcher_free(bench_names(&listed, &asked, LISTS, "_in_20"));
	bench_prefixes(argv[3]);
	free(listed.v);
	free(asked.bytes);
	return 0;
}
