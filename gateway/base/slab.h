/* Objects of one size, made in chunks as they are needed, up to a bound, and kept until the end:
 * what is taken on the query path was allocated before, once that many were out at the same time.
 * One thread. A fresh object is zeroed, a used one is as it was given back. */
#ifndef TUNGATE_BASE_SLAB_H
#define TUNGATE_BASE_SLAB_H

#include <stddef.h>

struct slab {
	size_t size_bytes;
	unsigned max, made;
	void *free, *chunks;
};

void slab_init(struct slab *s, size_t size_bytes, unsigned max);
void slab_fini(struct slab *s);	 /* all objects have been given back */
void *slab_take(struct slab *s); /* NULL: the bound is reached, or no memory */
void slab_give(struct slab *s, void *object);

#endif
