/* The succinct tries of MRS and SRS files: reversed strings, a byte a step, in level order.
 *
 * Node 0 is the root. `bitmap` has for each node, in order, a 0 for each child and then a 1; the
 * n-th 0 leads to node n by the byte labels[n - 1]; a bit in `leaves` says that a string ends at a
 * node. So one pass over the bits tells every node's parent, and climbing from a leaf spells the
 * string forwards. A stranger's bits are no worse than others: a node comes after its parent or the
 * trie is refused, so each climb ends; what all climbs give together is bounded. */
#ifndef TUNGATE_LISTS_TRIE_H
#define TUNGATE_LISTS_TRIE_H

#include "gateway/lists/list_wire.h"

#define LIST_TRIE_KEY_MAX 1024 /* bytes of a string; no rule about a name needs more */

enum list_trie_numbers { LIST_TRIE_BE64, LIST_TRIE_VARINT }; /* how lengths are written */

struct list_trie {
	uint64_t *leaves, *bitmap;
	uint8_t *labels;
	uint32_t *parents; /* of nodes 0 to n_labels */
	uint64_t n_leaves, n_bitmap, n_labels;
};

/* Leaves, bitmap and labels, each with its length in front (words, words, bytes). -EBADMSG: no
 * trie; others as list_wire.h. On failure there is nothing to end. */
int list_trie_read(struct list_wire *w, enum list_trie_numbers numbers, struct list_trie *ret);
/* A string; NULL: one above LIST_TRIE_KEY_MAX. Other than 0 ends the visit. */
typedef int list_trie_visit(void *arg, const char *key, size_t len, bool with_apex);
/* Every string once, and with it its leaf is gone. A string "Mx", where M is the mark and x begins
 * with a dot, takes the string x without its dot along, if there is one: with_apex. -EFBIG: all
 * together have more than LIST_FILE_MAX bytes. */
int list_trie_each(struct list_trie *t, char mark, list_trie_visit *visit, void *arg);
void list_trie_fini(struct list_trie *t);

#endif
