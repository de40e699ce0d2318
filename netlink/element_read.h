/* One element as the kernel has it: whether it is there, how long it stays and its value. Any
 * thread; a socket is used by one at a time. */
#ifndef TUNGATE_NETLINK_ELEMENT_READ_H
#define TUNGATE_NETLINK_ELEMENT_READ_H

#include "netlink/elements.h"

#define ELEMENT_FOREVER	  UINT64_MAX /* permanent */
#define ELEMENT_CHAIN_MAX 256	     /* NFT_CHAIN_MAXNAMELEN */

struct element_found {
	uint8_t key[ELEMENT_KEY_MAX], key_size;
	uint8_t end[ELEMENT_KEY_MAX], end_size; /* NFTA_SET_ELEM_KEY_END; size 0: not told */
	uint64_t left_ms;			/* of its life */
	bool has_value;
	uint8_t value[ELEMENT_KEY_MAX], value_size; /* size 0: a verdict */
	int32_t code;
	char chain[ELEMENT_CHAIN_MAX]; /* of jump and goto, else empty */
	/* Of element_read(): it is a range that holds the key, and more. */
	bool wider;
};

/* The first element of an answer to NFT_MSG_GETSETELEM. Pure. -EBADMSG. */
int element_parse(const struct nlmsghdr *message, struct element_found *ret);

/* 0; -ENOENT: neither it nor a range that holds it, or no such set; the kernel's errno,
 * -ETIMEDOUT. */
int element_read(struct nft_socket *s, const struct element_set *set, const uint8_t *key,
	uint8_t key_size, struct element_found *ret, int timeout_ms);

/* value NULL: of a set, where all are the same. */
bool element_has_value(const struct element_found *e, const struct element_value *value);

#endif
