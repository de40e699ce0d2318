/* Set elements as netlink attributes, written straight into a batch: the way that every heartbeat,
 * mapping and pushed address goes. No allocation. Writer's thread. */
#ifndef TUNGATE_NETLINK_ELEMENTS_H
#define TUNGATE_NETLINK_ELEMENTS_H

#include "gateway/base/addr.h"
#include "netlink/batch.h"

#define ELEMENT_KEY_MAX	   64
#define ELEMENT_NO_TIMEOUT UINT64_MAX /* the set has no timeouts: say nothing */

struct element_set { /* where elements go; the strings are borrowed */
	const char *table, *name;
	uint8_t nfproto; /* of the table */
	/* An element is [key, key]: its end is written, too (but not behind the last key that there
	 * is). */
	bool interval;
	bool concat; /* of an interval set: its end is NFTA_SET_ELEM_KEY_END */
};

/* The value that a map gives for a key; size 0: a verdict. */
struct element_value {
	const uint8_t *b;
	uint8_t size;
	int32_t code;	   /* of a verdict */
	const char *chain; /* of jump and goto; else NULL */
};

/* type: NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM or ELEMENTS_DESTROY; flags: NLM_F_CREATE,
 * NLM_F_EXCL. Elements are put until it is full, at most; the close returns the message's sequence
 * number. */
void elements_open(
	struct nft_batch *b, const struct element_set *set, uint16_t type, uint16_t flags);
/* No further element may fit: lengths of messages' attributes have 16 bits. */
bool elements_full(const struct nft_batch *b);
uint32_t elements_close(struct nft_batch *b);

/* timeout_ms 0: permanent. left_ms: how much of it is left, which renews an element that is there
 * (Linux 6.12; older kernels look at it for a new element only); 0: say nothing. value NULL: a set,
 * or a deletion. */
void elements_put(struct nft_batch *b, const struct element_set *set, const uint8_t *key,
	uint8_t key_size, const struct element_value *value, uint64_t timeout_ms, uint64_t left_ms);
/* A raw key of up to 16 bytes, for the trial of the renewal. */
void elements_put_raw(
	struct nft_batch *b, const void *key, size_t size, uint64_t timeout_ms, uint64_t left_ms);
/* All addresses of the prefix, permanent; interval sets only. */
void elements_put_prefix(struct nft_batch *b, const struct ip_prefix *prefix);

/* NFT_MSG_DESTROYSETELEM (Linux 6.3), which the headers of the oldest system that we build on lack.
 */
#define ELEMENTS_DESTROY 30

#endif
