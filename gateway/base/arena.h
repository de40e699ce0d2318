/* Memory that is freed all at once. One thread at a time; no pointer into it outlives arena_free().
 * When memory runs out the allocation returns NULL and the arena remembers it, so that a caller may
 * stop without a word and the owner asks arena_failed() at the end. */
#ifndef TUNGATE_BASE_ARENA_H
#define TUNGATE_BASE_ARENA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena *arena); /* takes NULL */
bool arena_failed(const struct arena *arena);

void *arena_alloc(struct arena *arena, size_t size_bytes);	     /* zeroed */
void *arena_array(struct arena *arena, size_t n, size_t size_bytes); /* zeroed, like calloc() */
void *arena_copy(struct arena *arena, const void *from, size_t size_bytes);
char *arena_strndup(struct arena *arena, const char *text, size_t len);
char *arena_strdup(struct arena *arena, const char *text);
char *arena_printf(struct arena *arena, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *arena, const char *format, va_list args);

#endif
