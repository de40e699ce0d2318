/* Binary list files, made byte by byte: shared by the tests of those formats. */
#ifndef TUNGATE_TESTS_LISTS_PACK_H
#define TUNGATE_TESTS_LISTS_PACK_H

#include "tests/unit/lists_log.h"

struct pack {
	uint8_t b[1u << 19];
	size_t n;
};

static inline void pack_bytes(struct pack *p, const void *bytes, size_t n)
{
	assert_true(p->n + n <= sizeof p->b);
	if (n > 0)
		memcpy(p->b + p->n, bytes, n);
	p->n += n;
}

static inline void pack_u8(struct pack *p, unsigned value)
{
	const uint8_t byte = (uint8_t)value;

	pack_bytes(p, &byte, 1);
}

static inline void pack_be64(struct pack *p, uint64_t value)
{
	for (int shift = 56; shift >= 0; shift -= 8)
		pack_u8(p, (uint8_t)(value >> shift));
}

static inline void pack_varint(struct pack *p, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		pack_u8(p, (uint8_t)(value | 0x80));
	pack_u8(p, (uint8_t)value);
}

/* --- protocol buffers --- */

static inline void pack_field(struct pack *p, unsigned number, uint64_t value)
{
	pack_varint(p, number << 3);
	pack_varint(p, value);
}

static inline void pack_field_bytes(struct pack *p, unsigned number, const void *bytes, size_t n)
{
	pack_varint(p, number << 3 | 2);
	pack_varint(p, n);
	pack_bytes(p, bytes, n);
}

static inline void pack_field_text(struct pack *p, unsigned number, const char *text)
{
	pack_field_bytes(p, number, text, strlen(text));
}

static inline void pack_field_pack(struct pack *p, unsigned number, const struct pack *inner)
{
	pack_field_bytes(p, number, inner->b, inner->n);
}

/* --- tries --- */

#define PACK_KEYS_MAX  512
#define PACK_KEY_MAX   2048
#define PACK_NODES_MAX (1u << 16)

static inline int pack_key_compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The trie of these strings, reversed, in level order; lengths as big-endian 64 bits or LEB128. */
static inline void pack_trie(struct pack *p, bool is_be64, const char *const *keys, size_t n)
{
	static char sorted[PACK_KEYS_MAX][PACK_KEY_MAX];
	static struct {
		size_t from, to, depth;
	} queue[PACK_NODES_MAX];
	static uint64_t leaves[PACK_NODES_MAX / 64], bitmap[PACK_NODES_MAX / 32];
	static uint8_t labels[PACK_NODES_MAX];
	size_t tail = 1, bits = 0, n_labels = 0, n_leaves = 0;

	assert_true(n > 0 && n <= PACK_KEYS_MAX);
	memset(sorted, 0, sizeof sorted);
	memset(leaves, 0, sizeof leaves);
	memset(bitmap, 0, sizeof bitmap);
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(keys[i]);

		assert_true(len < PACK_KEY_MAX);
		for (size_t k = 0; k < len; k++)
			sorted[i][k] = keys[i][len - 1 - k];
	}
	qsort(sorted, n, sizeof sorted[0], pack_key_compare);
	queue[0].to = n;
	queue[0].from = queue[0].depth = 0;
	for (size_t node = 0; node < tail; node++) {
		size_t at = queue[node].from, depth = queue[node].depth;

		if (sorted[at][depth] == 0) {
			leaves[node / 64] |= 1ULL << node % 64;
			n_leaves = node / 64 + 1;
			at++;
		}
		while (at < queue[node].to) {
			char label = sorted[at][depth];

			assert_true(tail < PACK_NODES_MAX);
			queue[tail].from = at;
			while (at < queue[node].to && sorted[at][depth] == label)
				at++;
			queue[tail].to = at;
			queue[tail++].depth = depth + 1;
			labels[n_labels++] = (uint8_t)label;
			bits++; /* a 0 */
		}
		bitmap[bits / 64] |= 1ULL << bits % 64;
		bits++;
	}
	is_be64 ? pack_be64(p, n_leaves) : pack_varint(p, n_leaves);
	for (size_t i = 0; i < n_leaves; i++)
		pack_be64(p, leaves[i]);
	is_be64 ? pack_be64(p, (bits + 63) / 64) : pack_varint(p, (bits + 63) / 64);
	for (size_t i = 0; i < (bits + 63) / 64; i++)
		pack_be64(p, bitmap[i]);
	is_be64 ? pack_be64(p, n_labels) : pack_varint(p, n_labels);
	pack_bytes(p, labels, n_labels);
}

/* --- reading --- */

static inline int pack_read(struct log *log, const struct list_source *source, const void *bytes,
	size_t n, struct list_counts *ret)
{
	struct list_sink sink = log_sink(log);
	char *exact = malloc(n ? n : 1); /* so that a sanitizer sees a step beyond */
	int err;

	assert_non_null(exact);
	if (n > 0)
		memcpy(exact, bytes, n);
	err = list_read_text(source, exact, n, &sink, ret);
	free(exact);
	assert_int_equal(log->errors, err == -EBADMSG);
	return err;
}

#endif
