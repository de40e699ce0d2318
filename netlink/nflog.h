/* Packets that a rule of our table copies to us (nft `log group`): the way in for what the host's
 * firewall would not forward to TUN. One descriptor, readable without blocking; one thread's. */
#ifndef TUNGATE_NETLINK_NFLOG_H
#define TUNGATE_NETLINK_NFLOG_H

#include <stddef.h>
#include <stdint.h>

struct nflog;

/* -EPERM; -EOPNOTSUPP: the kernel has no nfnetlink_log; -EBUSY: somebody else has the group. */
int nflog_open(uint16_t group, struct nflog **ret);
void nflog_close(struct nflog *n);
int nflog_fd(const struct nflog *n);

/* packet: from the IP header on. ifindex: where it came in, 0: made by this host. */
typedef void nflog_packet(void *arg, uint8_t *packet, size_t len, unsigned ifindex);
/* Reads at most 64 messages. Returns how many packets, or a negative errno; an overflow (ENOBUFS)
 * counts as 0. */
int nflog_read(struct nflog *n, nflog_packet *visit, void *arg);

#endif
