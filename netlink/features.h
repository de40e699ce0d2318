/* What this kernel's nf_tables can do, found by trying it in a table of our own that is gone
 * afterwards. */
#ifndef TUNGATE_NETLINK_FEATURES_H
#define TUNGATE_NETLINK_FEATURES_H

#include "netlink/batch.h"

struct nft_features {
	bool renew;   /* NFTA_SET_ELEM_EXPIRATION renews an element that is there (6.12) */
	bool destroy; /* DESTROYSETELEM: a deletion that may find nothing (6.3) */
};

/* What cannot be tried counts as missing. 0; or the errno of the first batch (-EPERM, -EOPNOTSUPP:
 * no owner flag). */
int nft_features_try(struct nft_socket *s, struct nft_batch *b, struct nft_features *ret);

#endif
