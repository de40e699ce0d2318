#include "tests/bench/pump.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define COPY_BYTES  (256 << 10)
#define STACK_BYTES ((size_t)512 << 10)

struct direction {
	int from, to;
	size_t pipe_bytes;
};

static void by_splice(const struct direction *d)
{
	int ends[2];
	ssize_t n;

	if (pipe2(ends, O_CLOEXEC))
		return;
	(void)fcntl(ends[1], F_SETPIPE_SZ, (int)d->pipe_bytes);
	while ((n = splice(d->from, NULL, ends[1], NULL, d->pipe_bytes, SPLICE_F_MOVE)) > 0) {
		for (ssize_t m; n > 0; n -= m) {
			m = splice(ends[0], NULL, d->to, NULL, (size_t)n, SPLICE_F_MOVE);
			if (m <= 0)
				goto end;
		}
	}
end:
	close(ends[0]);
	close(ends[1]);
}

static void by_copy(const struct direction *d)
{
	uint8_t bytes[COPY_BYTES];
	ssize_t n;

	while ((n = read(d->from, bytes, sizeof bytes)) > 0) {
		for (ssize_t at = 0, m; at < n; at += m) {
			m = write(d->to, bytes + at, (size_t)(n - at));
			if (m <= 0)
				return;
		}
	}
}

static void *run(void *arg)
{
	const struct direction *d = arg;

	if (d->pipe_bytes)
		by_splice(d);
	else
		by_copy(d);
	(void)shutdown(d->to, SHUT_WR);
	return NULL;
}

static bool start(pthread_t *ret, void *(*serve)(void *), void *arg)
{
	pthread_attr_t attr;
	int error;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	error = pthread_create(ret, &attr, serve, arg);
	pthread_attr_destroy(&attr);
	return error == 0;
}

void pump_both(int a, int b, size_t pipe_bytes)
{
	struct direction there = {a, b, pipe_bytes}, back = {b, a, pipe_bytes};
	pthread_t other;

	if (start(&other, run, &there)) {
		run(&back);
		pthread_join(other, NULL);
	}
	close(a);
	close(b);
}

struct accepted {
	void (*serve)(int fd);
	int fd;
};

static void *serve_one(void *arg)
{
	struct accepted a = *(struct accepted *)arg;

	free(arg);
	a.serve(a.fd);
	return NULL;
}

void pump_accept(int listener, void (*serve)(int fd))
{
	for (;;) {
		struct accepted *a = malloc(sizeof *a);
		pthread_t thread;

		if (!a)
			abort();
		*a = (struct accepted){serve, accept(listener, NULL, NULL)};
		if (a->fd >= 0 && start(&thread, serve_one, a)) {
			pthread_detach(thread);
			continue;
		}
		if (a->fd >= 0)
			close(a->fd);
		free(a);
	}
}
