/* The users' ipsets, by libipset: the kernel takes one element a message and answers each, so there
 * are no batches. One session, opened at the first use. Writer's thread only: libipset keeps the
 * types it knows in global variables. No netfilter header may be read together with libipset's, so
 * this one names none. */
#ifndef TUNGATE_NETLINK_IPSET_H
#define TUNGATE_NETLINK_IPSET_H

#include "gateway/base/addr.h"

struct ipset_writer;

int ipset_writer_open(
	struct ipset_writer **ret); /* -EPROTONOSUPPORT: no ipset in this kernel; -ENOMEM */
void ipset_writer_close(struct ipset_writer *w);

/* The family of the set's elements. 0; -ENOENT: no such set; -EINVAL: a type that takes no single
 * address. */
int ipset_writer_look(struct ipset_writer *w, const char *name, uint8_t *ret_family);

/* Adds the address or renews its timeout; timeout_s 0: says none. 0; -ENOENT: no such set; -ENFILE:
 * full; -EOPNOTSUPP: the set was made without timeouts; -EINVAL: it does not take this address. */
int ipset_writer_add(
	struct ipset_writer *w, const char *name, const struct ip_addr *addr, uint32_t timeout_s);

#endif
