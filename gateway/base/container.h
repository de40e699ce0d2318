/* From what is embedded in a struct to the struct: loop operations, timers, hooks and jobs are
 * handed back as themselves. */
#ifndef TUNGATE_BASE_CONTAINER_H
#define TUNGATE_BASE_CONTAINER_H

#include <stddef.h>

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
