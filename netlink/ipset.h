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

/* What a set is. Types: hash:ip, hash:net, bitmap:ip and their companions with more dimensions
 * (hash:ip,port, hash:ip,port,ip, hash:net,iface, …). */
struct ipset_kind {
	uint8_t family;
	uint8_t fields; /* 1: an address alone */
	bool timeout;	/* made with `timeout` */
	uint32_t elements, size; /* now, and at most (0: not told) */
};
/* 0; -ENOENT: no such set; -EINVAL: a type that takes no address. */
int ipset_writer_look(struct ipset_writer *w, const char *name, struct ipset_kind *ret);

/* Adds the element (ipset's text, "192.0.2.1" or "192.0.2.1,tcp:443") or renews its timeout;
 * timeout_s 0: permanent where the set has timeouts. 0; -ENOENT: no such set; -ENFILE: full;
 * -EOPNOTSUPP: the set was made without timeouts; -EINVAL: it does not take this element. */
int ipset_writer_add(
	struct ipset_writer *w, const char *name, const char *element, uint32_t timeout_s, bool has_timeout);
/* 1: it is in there; 0: it is not; or an error as above. */
int ipset_writer_test(struct ipset_writer *w, const char *name, const char *element);

#endif
