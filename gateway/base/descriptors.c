#include "gateway/base/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <unistd.h>

#include "gateway/base/count.h"

#define RESERVE_MAX 16
#define COUNTED_MAX 4096 /* at start there are never so many */

static _Atomic int bounds[] = {
	[DESCRIPTORS_SPARE] = INT_MAX,
	[DESCRIPTORS_CLIENT] = INT_MAX,
	[DESCRIPTORS_ASK] = INT_MAX,
};
static _Atomic uint64_t refused;

static unsigned count_open(unsigned limit)
{
	unsigned n = 0;

	for (unsigned fd = 0; fd < limit && fd < COUNTED_MAX; fd++)
		n += fcntl((int)fd, F_GETFD) >= 0;
	return n;
}

static void bound_set(enum descriptors_user user, unsigned bound)
{
	atomic_store(&bounds[user], bound < INT_MAX ? (int)bound : INT_MAX);
}

void descriptors_init(unsigned limit)
{
	unsigned in_use = count_open(limit), room = limit > in_use ? limit - in_use : 0;
	unsigned reserve = room / 2 < RESERVE_MAX ? room / 2 : RESERVE_MAX;

	bound_set(DESCRIPTORS_ASK, limit - reserve);
	room -= reserve;
	/* At least one, as long as there is any. */
	bound_set(DESCRIPTORS_CLIENT, in_use + room - room / 4);
	bound_set(DESCRIPTORS_SPARE, in_use + room / 2);
}

int descriptors_take(enum descriptors_user user, int fd)
{
	if (fd >= atomic_load_explicit(&bounds[user], memory_order_relaxed)) {
		close(fd);
		fd = -EMFILE;
	}
	if (fd == -EMFILE || fd == -ENFILE)
		count_add_shared(&refused, 1);
	return fd;
}

bool descriptors_to_spare(int fd)
{
	return fd < atomic_load_explicit(&bounds[DESCRIPTORS_SPARE], memory_order_relaxed);
}

uint64_t descriptors_refused(void)
{
	return count_get(&refused);
}
