/* How an address becomes an element of one nft set: what the kernel says the set is (kind), and
 * what the rule wants written into it (its template), made into bytes once, so that each element
 * costs a copy. Pure: no I/O. */
#ifndef TUNGATE_NETLINK_SET_FORM_H
#define TUNGATE_NETLINK_SET_FORM_H

#include "conf/config.h"
#include "gateway/base/addr.h"

struct nlmsghdr;

#define SET_KEY_MAX	64
#define SET_FIELDS_MAX	16
#define SET_KIND_FIELDS SET_FIELDS_MAX
#define SET_CHAIN_MAX	256 /* NFT_CHAIN_MAXNAMELEN */

struct set_kind {	/* of the answer to NFT_MSG_GETSET, or of an NFT_MSG_NEWSET event */
	uint32_t flags; /* NFT_SET_* */
	uint32_t key_type, key_size, data_type, data_size; /* nft's numbers of types; bytes */
	uint64_t timeout_ms;				   /* the set's default; 0: none */
	uint32_t size;					   /* most elements; 0: no bound */
	uint8_t n_fields, field_size[SET_KIND_FIELDS];	   /* NFTA_SET_DESC_CONCAT; bytes */
	/* NFTA_SET_USERDATA: integers whose byte order no type tells (typeof) are this host's. */
	bool key_host_order, data_host_order;
	/* The same of the fields of a concatenation, as far as `typeof` tells. */
	struct set_kind_integer {
		uint8_t size; /* 0: not told */
		enum set_order { SET_ORDER_UNKNOWN, SET_ORDER_HOST, SET_ORDER_NETWORK } order;
	} integers[SET_KIND_FIELDS];
};
/* -EBADMSG: it is no such message, or lengths lie. */
int set_kind_read(const struct nlmsghdr *message, struct set_kind *ret);

/* Immutable once made. */
struct set_form {
	uint8_t family; /* that its addresses must have */
	bool interval, concat, map, has_timeout;
	uint8_t key_size, value_size; /* value_size 0: a set, or a verdict */
	int8_t addr_at, client_at;    /* offsets in the key; -1: not there */
	uint8_t client_family;	      /* that the client must have, IP_NONE: not there */
	uint8_t key[SET_KEY_MAX];     /* the literals filled in */
	uint8_t value[SET_KEY_MAX];
	uint8_t kept_size;	   /* of value: what tells it from others; of a verdict, too */
	bool verdict;		   /* a verdict map's */
	int32_t code;		   /* NF_ACCEPT, NFT_JUMP, … */
	char chain[SET_CHAIN_MAX]; /* of jump and goto */
};
/* 0; -EINVAL: the set is none of this kind, or does not fit the template; why (size bytes) says it
 * in a few words: "its second field is a port, 'lan0' is none". */
int set_form_make(const struct conf_set *conf, const struct set_kind *kind, struct set_form *ret,
	char *why, size_t size);
/* What tells its elements' value from others; NULL: of a set. */
static inline const uint8_t *set_form_kept(const struct set_form *f)
{
	return f->kept_size ? f->value : NULL;
}
bool set_form_equal(const struct set_form *a, const struct set_form *b);
/* The element's key. v4-mapped addresses are taken as v4. client: family IP_NONE: not known. False:
 * it is not for this set (another family), or needs a client that is not known. */
bool set_form_key(const struct set_form *f, const struct ip_addr *addr,
	const struct ip_addr *client, uint8_t ret[SET_KEY_MAX]);

/* ipset's text of an element, "192.0.2.1,tcp:443"; false as for set_form_key(). */
bool set_form_text(const struct conf_set *conf, const struct ip_addr *addr,
	const struct ip_addr *client, char *ret, size_t size);

#endif
