/* The arena of a policy generation. */
#include "gateway/policy/policy_internal.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 4096

struct policy_arena_block {
	struct policy_arena_block *next;
	size_t used, size;
	_Alignas(max_align_t) unsigned char bytes[];
};

void *policy_arena_take(struct policy_arena *a, size_t n, size_t size)
{
	size_t align = _Alignof(max_align_t), wanted = (n * size + align - 1) / align * align;
	struct policy_arena_block *block = a->blocks;

	if (!block || block->size - block->used < wanted) {
		size_t room = wanted > BLOCK_BYTES ? wanted : BLOCK_BYTES;

		block = calloc(1, sizeof *block + room);
		if (!block)
			return NULL;
		block->size = room;
		block->next = a->blocks;
		a->blocks = block;
	}
	block->used += wanted;
	return block->bytes + block->used - wanted;
}

char *policy_arena_text(struct policy_arena *a, const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = policy_arena_take(a, 1, size);

	if (copy)
		memcpy(copy, text, size);
	return copy;
}

void policy_arena_fini(struct policy_arena *a)
{
	while (a->blocks) {
		struct policy_arena_block *next = a->blocks->next;

		free(a->blocks);
		a->blocks = next;
	}
}
