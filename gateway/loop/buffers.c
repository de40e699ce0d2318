/* Buffer rings: memory from which the kernel takes a buffer when data arrives. The ring is first
 * in, first out, so every buffer in it will be touched; therefore it starts small and doubles each
 * time the kernel runs out. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "gateway/loop/loop_internal.h"

#define BUFFERS_FIRST 64u
#define BUFFERS_ALIGN 64u
#define BUFFERS_MAX   32768u /* the kernel's limit */

static int group_take(struct loop *l, uint16_t *ret)
{
	for (uint16_t i = 0; i < LOOP_GROUPS_MAX; i++) {
		if (!(l->groups >> i & 1)) {
			l->groups |= 1ull << i;
			*ret = i;
			return 0;
		}
	}
	return -ENOSPC;
}

static void group_release(struct loop *l, uint16_t group)
{
	l->groups &= ~(1ull << group);
}

static void *map_zeroes(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void buffers_provide(struct loop_buffers *b, uint32_t upto)
{
	int n = 0;

	for (; b->provided < upto; b->provided++, n++)
		io_uring_buf_ring_add(b->ring, loop_buffer_at(b, b->provided), b->size_bytes,
			(unsigned short)b->provided, io_uring_buf_ring_mask(b->count), n);
	io_uring_buf_ring_advance(b->ring, n);
}

int loop_buffers_new(struct loop *l, size_t size_bytes, unsigned count, struct loop_buffers **ret)
{
	struct io_uring_buf_reg reg = {0};
	struct loop_buffers *b;
	int err;

	if (!count || (count & (count - 1)) || count > BUFFERS_MAX || !size_bytes ||
		size_bytes > 1u << 24)
		return -EINVAL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->loop = l;
	b->count = count;
	b->size_bytes = (uint32_t)size_bytes;
	b->stride_bytes = (b->size_bytes + BUFFERS_ALIGN - 1) & ~(BUFFERS_ALIGN - 1);
	b->memory_bytes = (size_t)b->stride_bytes * count;
	b->ring_bytes = count * sizeof(struct io_uring_buf);
	err = group_take(l, &b->group);
	if (err)
		goto free_struct;
	err = -ENOMEM;
	b->ring = map_zeroes(b->ring_bytes);
	if (!b->ring)
		goto release_group;
	b->memory = map_zeroes(b->memory_bytes);
	if (!b->memory)
		goto unmap_ring;
	reg.ring_addr = (uintptr_t)b->ring;
	reg.ring_entries = count;
	reg.bgid = b->group;
	err = io_uring_register_buf_ring(&l->ring, &reg, 0);
	if (err)
		goto unmap_memory;
	io_uring_buf_ring_init(b->ring);
	buffers_provide(b, count < BUFFERS_FIRST ? count : BUFFERS_FIRST);
	*ret = b;
	return 0;

unmap_memory:
	munmap(b->memory, b->memory_bytes);
unmap_ring:
	munmap(b->ring, b->ring_bytes);
release_group:
	group_release(l, b->group);
free_struct:
	free(b);
	return err;
}

void loop_buffers_free(struct loop_buffers *b)
{
	if (!b)
		return;
	/* From another thread, after the loop's has ended, the kernel refuses (-EEXIST): then the
	 * number stays taken, and the kernel lets go of the ring with the loop. Nothing writes into
	 * it: no operation is left. */
	if (io_uring_unregister_buf_ring(&b->loop->ring, b->group) == 0)
		group_release(b->loop, b->group);
	munmap(b->memory, b->memory_bytes);
	munmap(b->ring, b->ring_bytes);
	free(b);
}

void loop_buffers_give_back(struct loop_buffers *b, uint32_t id)
{
	io_uring_buf_ring_add(b->ring, loop_buffer_at(b, id), b->size_bytes, (unsigned short)id,
		io_uring_buf_ring_mask(b->count), 0);
	io_uring_buf_ring_advance(b->ring, 1);
}

void loop_buffers_grow(struct loop_buffers *b)
{
	uint32_t upto = b->provided * 2;

	buffers_provide(b, upto < b->count ? upto : b->count);
}
