#include "gateway/base/slab.h"

#include <stdalign.h>
#include <stdlib.h>

#define SLAB_CHUNK 32 /* objects */

/* Stands before each object and before each chunk. It is not part of the object, so that giving
 * back changes nothing in there. */
union slab_link {
	void *next;
	max_align_t align;
};

void slab_init(struct slab *s, size_t size_bytes, unsigned max)
{
	size_t align = alignof(max_align_t);

	*s = (struct slab){.size_bytes = (size_bytes + align - 1) / align * align, .max = max};
}

void slab_fini(struct slab *s)
{
	while (s->chunks) {
		union slab_link *chunk = s->chunks;

		s->chunks = chunk->next;
		free(chunk);
	}
	s->free = NULL;
	s->made = 0;
}

static void slab_grow(struct slab *s)
{
	size_t n = s->max - s->made < SLAB_CHUNK ? s->max - s->made : SLAB_CHUNK;
	size_t step = sizeof(union slab_link) + s->size_bytes;
	union slab_link *chunk = n ? calloc(1, sizeof *chunk + n * step) : NULL;

	if (!chunk)
		return;
	chunk->next = s->chunks;
	s->chunks = chunk;
	for (size_t i = n; i-- > 0;) {
		union slab_link *link = (union slab_link *)((char *)(chunk + 1) + i * step);

		link->next = s->free;
		s->free = link;
	}
	s->made += (unsigned)n;
}

void *slab_take(struct slab *s)
{
	union slab_link *link;

	if (!s->free)
		slab_grow(s);
	link = s->free;
	if (!link)
		return NULL;
	s->free = link->next;
	return link + 1;
}

void slab_give(struct slab *s, void *object)
{
	union slab_link *link = (union slab_link *)object - 1;

	link->next = s->free;
	s->free = link;
}
