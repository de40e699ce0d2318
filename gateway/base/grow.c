#include "gateway/base/grow.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM_FIRST 64

int room_grow(void **array, size_t *room, size_t used, size_t more, size_t unit)
{
	size_t wanted = *room ? *room : ROOM_FIRST;
	void *grown;

	if (used + more <= *room)
		return 0;
	while (wanted < used + more)
		wanted *= 2;
	grown = realloc(*array, wanted * unit);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*room = wanted;
	return 0;
}
