#include "gateway/base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 8192, ALIGN_BYTES = sizeof(max_align_t) };

struct chunk {
	struct chunk *next;
	size_t used, size; /* bytes of data[] */
	max_align_t data[];
};

struct arena {
	struct chunk *chunks; /* the first is the one being filled */
	bool failed;
};

struct arena *arena_new(void)
{
	return calloc(1, sizeof(struct arena));
}

void arena_free(struct arena *arena)
{
	if (!arena)
		return;
	while (arena->chunks) {
		struct chunk *next = arena->chunks->next;

		free(arena->chunks);
		arena->chunks = next;
	}
	free(arena);
}

bool arena_failed(const struct arena *arena)
{
	return arena->failed;
}

static struct chunk *chunk_add(struct arena *arena, size_t size)
{
	size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
	struct chunk *c = calloc(1, sizeof *c + room);

	if (!c)
		return NULL;
	c->size = room;
	/* A large value gets a chunk of its own behind the one being filled, so that its rest is
	 * not lost. */
	if (size > CHUNK_BYTES / 4 && arena->chunks) {
		c->next = arena->chunks->next;
		arena->chunks->next = c;
	} else {
		c->next = arena->chunks;
		arena->chunks = c;
	}
	return c;
}

void *arena_alloc(struct arena *arena, size_t size_bytes)
{
	struct chunk *c = arena->chunks;
	size_t size = (size_bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
	void *p;

	if (size < size_bytes || size > SIZE_MAX / 2) {
		arena->failed = true;
		return NULL;
	}
	if (!c || c->size - c->used < size)
		c = chunk_add(arena, size);
	if (!c) {
		arena->failed = true;
		return NULL;
	}
	p = (char *)c->data + c->used;
	c->used += size;
	return p;
}

void *arena_array(struct arena *arena, size_t n, size_t size_bytes)
{
	/* What no machine has is refused by arena_alloc(), which remembers it. */
	return arena_alloc(
		arena, size_bytes && n > SIZE_MAX / size_bytes ? SIZE_MAX : n * size_bytes);
}

void *arena_copy(struct arena *arena, const void *from, size_t size_bytes)
{
	void *p = arena_alloc(arena, size_bytes);

	return p ? memcpy(p, from, size_bytes) : NULL;
}

char *arena_strndup(struct arena *arena, const char *text, size_t len)
{
	char *p = arena_alloc(arena, len + 1);

	if (p && len)
		memcpy(p, text, len);
	return p;
}

char *arena_strdup(struct arena *arena, const char *text)
{
	return arena_strndup(arena, text, strlen(text));
}

char *arena_vprintf(struct arena *arena, const char *format, va_list args)
{
	va_list again;
	char *p = NULL;
	int n;

	va_copy(again, args);
	n = vsnprintf(NULL, 0, format, args);
	if (n >= 0)
		p = arena_alloc(arena, (size_t)n + 1);
	if (p)
		vsnprintf(p, (size_t)n + 1, format, again);
	va_end(again);
	return p;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
	va_list args;
	char *p;

	va_start(args, format);
	p = arena_vprintf(arena, format, args);
	va_end(args);
	return p;
}
