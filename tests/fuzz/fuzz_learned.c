/* Arbitrary bytes as a file of learned names: no harm, never more than the capacity, all that is
 * taken can be looked up, and what is written anew is read again without a complaint, as the same
 * names. Then one half of them is the file, and somebody makes the other one of it while names are
 * learned. */
#include "gateway/learned/learned.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CAPACITY 8
#define NOW_S	 1800000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct learned_config config = {CAPACITY, 0, 10};
static const struct dns_name marker = {.b = "\3fuz\4test", .len = 10, .labels = 2};

struct seen {
	struct learned *l;
	struct dns_name names[CAPACITY];
	size_t n;
	bool marked;
};

static void see(void *arg, const struct learned_name *name)
{
	struct seen *s = arg;

	if (s->n == CAPACITY || name->asked_at_s > NOW_S || name->verified_at_s > NOW_S)
		abort();
	s->marked |= dns_name_equal(name->name, &marker);
	s->names[s->n++] = *name->name;
}

static struct seen look(struct learned *l)
{
	struct seen s = {.l = l};

	learned_each(l, see, &s);
	for (size_t i = 0; i < s.n; i++)
		if (!learned_peek(l, &s.names[i]))
			abort();
	return s;
}

static void complain(void *arg, bool is_error, const char *text)
{
	(void)is_error;
	if (!arg || !strstr(text, ": learn: "))
		abort(); /* NULL: of a file that we wrote */
}

static void write_and_read(struct learned *l, const char *path)
{
	struct seen before, after;

	if (learned_add(l, &marker, NULL, NOW_S) < 0 || learned_remove(l, &marker) != true)
		abort();
	before = look(l);
	learned_unref(l); /* writes it anew */
	if (learned_open(path, &config, NOW_S, complain, NULL, &l))
		abort();
	after = look(l);
	if (after.n != before.n || after.marked)
		abort();
	for (size_t i = 0; i < before.n; i++)
		if (!learned_holds(l, &before.names[i], NOW_S, NULL))
			abort();
	learned_unref(l);
}

static void put(const char *path, const uint8_t *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd))
		abort();
}

/* A name that is not written yet outlives every edit. */
static void edit(const char *path, const uint8_t *data, size_t size)
{
	size_t half = size / 2;
	struct learned *l;

	put(path, data, half);
	if (learned_open(path, &config, NOW_S, complain, (void *)path, &l))
		return;
	(void)learned_remove(l, &marker);
	put(path, data + half, size - half);
	(void)learned_tend(l, NOW_S, complain, (void *)path);
	(void)learned_add(l, &marker, NULL, NOW_S);
	(void)learned_tend(l, NOW_S, complain, (void *)path);
	if (!look(l).marked)
		abort();
	(void)learned_remove(l, &marker);
	if (look(l).marked)
		abort();
	learned_unref(l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct learned *l;
	char path[64];
	int err;

	(void)snprintf(path, sizeof path, "/tmp/tungate-fuzz-learned-%d", (int)getpid());
	put(path, data, size);
	err = learned_open(path, &config, NOW_S, complain, path, &l);
	if (learned_check(path, complain, path) != err)
		abort();
	if (!err)
		write_and_read(l, path);
	edit(path, data, size);
	(void)unlink(path);
	return 0;
}
