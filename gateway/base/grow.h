/* Arrays that grow while something is built. Pure; any thread. */
#ifndef TUNGATE_BASE_GROW_H
#define TUNGATE_BASE_GROW_H

#include <stddef.h>

/* Makes room for `more` units behind `used` in *array, which has *room of them; doubles, so that
 * adding stays cheap. unit: bytes. -ENOMEM: nothing has changed. */
int room_grow(void **array, size_t *room, size_t used, size_t more, size_t unit);

#endif
