/* The bytes of the names, as words that are zero behind the end. Readers come without a lock while
 * a block is given to another name; what they read then is thrown away by the sequence check of the
 * entry, so all that is needed here is that each word is read and written whole. */
#include "fakeip/fakeip_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* Moving is not worth it for less (32 KiB). */
#define WASTE_MIN_WORDS 4096

#define PAGE_WORDS (65536 / 8)

void *region_map(size_t size_bytes)
{
	void *at = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	/* A huge page would make two megabytes resident for the first mapping. Without effect where
	 * there are none. */
	(void)madvise(at, size_bytes, MADV_NOHUGEPAGE);
	return at;
}

void region_unmap(void *at, size_t size_bytes)
{
	if (at)
		munmap(at, size_bytes);
}

static size_t arena_bytes(const struct name_arena *a)
{
	return 2 * (size_t)a->half_words * sizeof *a->words;
}

int names_init(struct name_arena *a, uint32_t names)
{
	/* One word more, as offset 0 means none; up to the largest page there is, as a half is
	 * given back in pages. */
	a->half_words = (names * NAME_WORDS_MAX + 1 + PAGE_WORDS - 1) / PAGE_WORDS * PAGE_WORDS;
	a->words = region_map(arena_bytes(a));
	if (!a->words)
		return -ENOMEM;
	a->start = 0;
	a->end = 1;
	return 0;
}

void names_fini(struct name_arena *a)
{
	region_unmap(a->words, arena_bytes(a));
}

static uint64_t word_get(const struct name_arena *a, size_t at)
{
	return atomic_load_explicit(&a->words[at], memory_order_acquire);
}

static void word_set(struct name_arena *a, size_t at, uint64_t v)
{
	atomic_store_explicit(&a->words[at], v, memory_order_release);
}

/* All names to the other half, one entry at a time. The half that is left reads as zeros
 * afterwards. */
static void names_move(struct fakeip_table *t)
{
	struct name_arena *a = &t->names;
	uint32_t old_start = a->start;

	a->start = old_start ? 0 : a->half_words;
	a->end = a->start + 1;
	a->free_words = 0;
	memset(a->free, 0, sizeof a->free);
	for (uint32_t i = table_given_next(t, 0); i; i = table_given_next(t, i)) {
		struct entry *e = &t->entries[i];
		size_t n = name_words(atomic_load_explicit(&e->name_len, memory_order_relaxed));
		uint32_t from = atomic_load_explicit(&e->name, memory_order_relaxed);

		if (n == 0)
			continue;
		entry_begin(e);
		for (size_t k = 0; k < n; k++)
			word_set(a, a->end + k, word_get(a, from + k));
		atomic_store_explicit(&e->name, a->end, memory_order_release);
		entry_end(e);
		a->end += (uint32_t)n;
	}
	(void)madvise(
		(void *)(a->words + old_start), a->half_words * sizeof *a->words, MADV_DONTNEED);
}

static uint32_t block_take(struct fakeip_table *t, uint32_t n)
{
	struct name_arena *a = &t->names;
	uint32_t block = a->free[n];

	if (block) {
		a->free[n] = (uint32_t)word_get(a, block);
		a->free_words -= n;
		return block;
	}
	/* Halves are as large as the names in use can be, so after a move there is room. */
	if ((a->free_words > WASTE_MIN_WORDS && a->free_words > (a->end - a->start) / 2) ||
		a->half_words - (a->end - a->start) < n)
		names_move(t);
	block = a->end;
	a->end += n;
	return block;
}

uint32_t names_add(struct fakeip_table *t, const uint8_t *name, size_t name_len)
{
	size_t n = name_words(name_len);
	uint32_t block = block_take(t, (uint32_t)n);

	for (size_t k = 0; k < n; k++) {
		uint64_t w;

		memcpy(&w, name + 8 * k, 8);
		word_set(&t->names, block + k, w);
	}
	return block;
}

void names_remove(struct name_arena *a, uint32_t name, size_t name_len)
{
	uint32_t n = (uint32_t)name_words(name_len);

	word_set(a, name, a->free[n]);
	a->free[n] = name;
	a->free_words += n;
}

bool names_equal(const struct name_arena *a, uint32_t name, const uint8_t *other, size_t name_len)
{
	size_t n = name_words(name_len);

	for (size_t k = 0; k < n; k++) {
		uint64_t w;

		memcpy(&w, other + 8 * k, 8);
		if (word_get(a, name + k) != w)
			return false;
	}
	return true;
}

void names_copy(const struct name_arena *a, uint32_t name, size_t name_len,
	uint8_t ret[FAKEIP_NAME_MAX + 1])
{
	size_t n = name_words(name_len);

	for (size_t k = 0; k < n; k++) {
		uint64_t w = word_get(a, name + k);

		memcpy(ret + 8 * k, &w, 8);
	}
}
