/* Reading a succinct trie and spelling its strings. */
#include "gateway/lists/list_trie.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

/* A label costs its byte, three bits and its parent's number. */
#define LABELS_MAX (LIST_MEMORY_MAX / 6)
#define WORDS_MAX  (LABELS_MAX / 32 + 1) /* two bits a node */

static int length_read(struct list_wire *w, enum list_trie_numbers numbers, uint64_t *ret)
{
	return numbers == LIST_TRIE_BE64 ? list_wire_be64(w, ret) : list_wire_varint(w, ret);
}

static int words_read(
	struct list_wire *w, enum list_trie_numbers numbers, uint64_t **ret, uint64_t *ret_n)
{
	uint8_t *bytes;
	uint64_t n;
	int err = length_read(w, numbers, &n);

	if (!err && n > UINT64_MAX / 8)
		err = -EBADMSG;
	if (!err)
		err = list_wire_load(w, n * 8, &bytes);
	if (err)
		return err;
	*ret = (uint64_t *)(void *)bytes;
	*ret_n = n;
	if (n > WORDS_MAX)
		return -EFBIG;
	for (uint64_t i = 0; i < n; i++)
		(*ret)[i] = be64toh((*ret)[i]);
	return 0;
}

static bool leaf_get(const struct list_trie *t, uint64_t node)
{
	return node / 64 < t->n_leaves && t->leaves[node / 64] >> node % 64 & 1;
}

static void leaf_clear(struct list_trie *t, uint64_t node)
{
	t->leaves[node / 64] &= ~(1ULL << node % 64);
}

/* One pass over the bits: every node's parent. */
static int parents_find(struct list_trie *t)
{
	uint64_t node = 0, children = 0;

	t->parents = malloc((t->n_labels + 1) * sizeof *t->parents);
	if (!t->parents)
		return -ENOMEM;
	t->parents[0] = 0;
	for (uint64_t bit = 0; bit < t->n_bitmap * 64; bit++) {
		if (t->bitmap[bit / 64] >> bit % 64 & 1) {
			if (node++ == t->n_labels)
				return children == t->n_labels ? 0 : -EBADMSG;
			continue;
		}
		if (children == t->n_labels || node > children)
			return -EBADMSG;
		t->parents[++children] = (uint32_t)node;
	}
	return -EBADMSG;
}

int list_trie_read(struct list_wire *w, enum list_trie_numbers numbers, struct list_trie *ret)
{
	struct list_trie t = {0};
	int err = words_read(w, numbers, &t.leaves, &t.n_leaves);

	if (!err)
		err = words_read(w, numbers, &t.bitmap, &t.n_bitmap);
	if (!err)
		err = length_read(w, numbers, &t.n_labels);
	if (!err)
		err = list_wire_load(w, t.n_labels, &t.labels);
	if (!err && t.n_labels > LABELS_MAX)
		err = -EFBIG;
	/* Nothing at all is how an empty one is written. */
	if (!err && (t.n_labels || t.n_bitmap || t.n_leaves))
		err = parents_find(&t);
	if (err) {
		list_trie_fini(&t);
		return err;
	}
	*ret = t;
	return 0;
}

void list_trie_fini(struct list_trie *t)
{
	free(t->leaves);
	free(t->bitmap);
	free(t->labels);
	free(t->parents);
	*t = (struct list_trie){0};
}

/* The string that ends at a leaf; its length, or LIST_TRIE_KEY_MAX + 1. */
static size_t key_spell(const struct list_trie *t, uint64_t node, char key[LIST_TRIE_KEY_MAX])
{
	size_t len = 0;

	for (; node; node = t->parents[node]) {
		if (len == LIST_TRIE_KEY_MAX)
			return len + 1;
		key[len++] = (char)t->labels[node - 1];
	}
	return len;
}

/* The node of the string behind "M." if it is a leaf, else 0. */
static uint64_t apex_find(const struct list_trie *t, uint64_t node, char mark)
{
	uint64_t dot;

	if (t->labels[node - 1] != (uint8_t)mark)
		return 0;
	dot = t->parents[node];
	if (!dot || t->labels[dot - 1] != '.')
		return 0;
	return leaf_get(t, t->parents[dot]) ? t->parents[dot] : 0;
}

int list_trie_each(struct list_trie *t, char mark, list_trie_visit *visit, void *arg)
{
	char key[LIST_TRIE_KEY_MAX];
	uint64_t total = 0;

	/* Backwards: whoever takes another along has the higher number. */
	for (uint64_t node = t->n_labels; node > 0; node--) {
		uint64_t apex;
		size_t len;
		int err;

		if (!leaf_get(t, node))
			continue;
		apex = apex_find(t, node, mark);
		if (apex)
			leaf_clear(t, apex);
		leaf_clear(t, node);
		len = key_spell(t, node, key);
		total += len;
		if (total > LIST_FILE_MAX)
			return -EFBIG;
		err = visit(arg, len > LIST_TRIE_KEY_MAX ? NULL : key, len, apex != 0);
		if (err)
			return err;
	}
	return 0;
}
