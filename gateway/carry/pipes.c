#include "gateway/carry/pipes.h"

#include <fcntl.h>
#include <unistd.h>

#include "gateway/base/descriptors.h"

/* Wished for: a slot for each page of so many bytes. */
#define LARGE	    8
#define LARGE_BYTES (1 << 20)
#define SMALL_BYTES (128 << 10)
/* The kernel gives two pages to who has used up his share; then copying is better. */
#define LEAST_BYTES (64 << 10)

void pipes_init(struct pipes *p)
{
	*p = (struct pipes){.n_free = PIPES_MAX, .least_free = PIPES_MAX};
	for (unsigned i = 0; i < PIPES_MAX; i++) {
		p->fds[i][0] = p->fds[i][1] = -1;
		p->free[i] = (uint8_t)(PIPES_MAX - 1 - i);
	}
}

static void shut(struct pipes *p, unsigned i)
{
	if (p->fds[i][0] < 0)
		return;
	close(p->fds[i][0]);
	close(p->fds[i][1]);
	p->fds[i][0] = p->fds[i][1] = -1;
}

void pipes_fini(struct pipes *p)
{
	for (unsigned i = 0; i < PIPES_MAX; i++)
		shut(p, i);
}

static bool open_one(struct pipes *p, unsigned i)
{
	if (pipe2(p->fds[i], O_CLOEXEC | O_NONBLOCK) < 0) {
		p->fds[i][0] = p->fds[i][1] = -1;
		return false;
	}
	if (!descriptors_to_spare(p->fds[i][0]) || !descriptors_to_spare(p->fds[i][1])) {
		shut(p, i);
		return false;
	}
	if (fcntl(p->fds[i][1], F_SETPIPE_SZ, i < LARGE ? LARGE_BYTES : SMALL_BYTES) < 0 &&
		fcntl(p->fds[i][1], F_GETPIPE_SZ) < LEAST_BYTES) {
		shut(p, i);
		return false;
	}
	return true;
}

int pipes_take(struct pipes *p)
{
	unsigned i;

	if (!p->n_free)
		return -1;
	i = p->free[p->n_free - 1];
	if (p->fds[i][0] < 0) {
		if (p->refused)
			return -1;
		if (!open_one(p, i)) {
			p->refused = true;
			return -1;
		}
	}
	p->n_free--;
	if (p->n_free < p->least_free)
		p->least_free = p->n_free;
	return (int)i;
}

void pipes_give(struct pipes *p, int pipe, bool empty)
{
	if (!empty)
		shut(p, (unsigned)pipe);
	p->free[p->n_free++] = (uint8_t)pipe;
}

void pipes_rest(struct pipes *p)
{
	/* The stack's lowest least_free have lain there all the time. */
	for (unsigned i = 0; i < p->least_free; i++)
		shut(p, p->free[i]);
	p->least_free = p->n_free;
	p->refused = false;
}
