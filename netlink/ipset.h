/* The users' ipsets, by libipset: the kernel takes one element a message and answers each, or many
 * of one set (ipset_writer_fill()), which end at the first that it refuses. One thread at a time:
 * the session has one socket and one buffer, and libipset keeps the types it knows in global
 * variables. No netfilter header may be read together with libipset's, so this one names none.
 *
 * What stands behind an element is told by listing the whole set only. So where a set has timeouts
 * an element that is there gets the new one, whoever put it in and however long it was to stay, and
 * loses its comment and skbinfo (counters stay). A set without timeouts keeps what is there. */
#ifndef TUNGATE_NETLINK_IPSET_H
#define TUNGATE_NETLINK_IPSET_H

#include "gateway/base/addr.h"

struct ipset_writer;

/* -EPROTONOSUPPORT: no ipset in this kernel; -EPERM: no CAP_NET_ADMIN; -ENOMEM */
int ipset_writer_open(struct ipset_writer **ret);
void ipset_writer_close(struct ipset_writer *w);

/* What a set is. Types: hash:ip, hash:net, bitmap:ip and their companions with more dimensions
 * (hash:ip,port, hash:ip,port,ip, hash:net,iface, …). */
struct ipset_kind {
	uint8_t family;
	uint8_t fields;		 /* 1: an address alone */
	bool timeout;		 /* made with `timeout` */
	uint32_t elements, size; /* now, and at most (0: not told) */
};
/* 0; -ENOENT: no such set; -EINVAL: a type that takes no address. The kernel counts the elements
 * one by one. Errors of the session, of every function here: -EPERM, -EPROTONOSUPPORT (a set of a
 * type that this libipset does not know), -ENOMEM, -EPROTO. */
int ipset_writer_look(struct ipset_writer *w, const char *name, struct ipset_kind *ret);

/* The kernel's clock holds no more; what is longer becomes this. */
#define IPSET_TIMEOUT_MAX_S 2147483

/* Adds the element (ipset's text, "192.0.2.1" or "192.0.2.1,tcp:443"; a prefix for a `net` field)
 * or renews its timeout. It is one element always: ranges, and prefixes for an `ip` field, are
 * refused. Nothing of it is looked up in the DNS.
 * has_timeout: the set is known to have timeouts; timeout_s 0 is permanent then, whatever the set's
 * default is. 0; -ENOENT: no such set; -ENFILE: full; -EOPNOTSUPP: timeout_s is given, the set was
 * made without timeouts; -EINVAL: it does not take this element. */
int ipset_writer_add(struct ipset_writer *w, const char *name, const char *element,
	uint32_t timeout_s, bool has_timeout);
/* 1: it is in there, or a network is that covers it; 0: it is not; or an error as above. */
int ipset_writer_test(struct ipset_writer *w, const char *name, const char *element);

struct ipset_element {
	const char *text;
	uint32_t timeout_s;
	int result; /* as of ipset_writer_add() */
};
/* ipset_writer_add() for each of them, as many a message as the page holds: for a set that has lost
 * what was in it. Each has its result afterwards. An error of the set or of the session is that of
 * the rest, too. Returns how many are in the set. */
size_t ipset_writer_fill(struct ipset_writer *w, const char *name, bool has_timeout,
	struct ipset_element *elements, size_t n);

#endif
