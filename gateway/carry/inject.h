/* Where packets go that the daemon writes by hand: put back into the kernel for it to carry, or
 * sent to a client as an error.
 *
 * A held packet goes back the way that lets the host's own firewall judge it as it would have
 * judged the original:
 *  - from the LAN: as if received again on the interface that it came from, through a TUN device of
 * its own whose ingress is redirected there (rt_redirect_ingress). Where such a device cannot be
 * had, through the worker's TUN queue (facts d3); then the firewall must let TUN→WAN pass.
 *  - from this host: through a raw socket, so that the output chains see it.
 * Errors go through TUN, or, where the firewall would not forward TUN→LAN, through the raw socket.
 *
 * One for all workers. Devices come and go in the main thread; the rest is any thread's. */
#ifndef TUNGATE_CARRY_INJECT_H
#define TUNGATE_CARRY_INJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "netlink/rt.h"

struct inject;

/* mark: on what goes through the raw sockets, so that interception leaves it alone; to_relay: is
 * or-ed to it on what the relay's listener shall get. Needs CAP_NET_RAW once; -EPERM. */
int inject_new(uint32_t mark, uint32_t to_relay, struct inject **ret);
void inject_free(struct inject *i);

/* The interfaces of the LAN with their addresses and prefix lengths; one that has several stands
 * several times, one that has none with IP_NONE. Makes devices for those that are new, closes those
 * of others. Returns 0 or the first error; what works is used. Main thread. */
struct inject_interface {
	unsigned ifindex;
	struct ip_prefix prefix; /* with host bits */
};
#define INJECT_INTERFACES_MAX 256
int inject_set_interfaces(
	struct inject *i, struct rt *rt, const struct inject_interface *v, size_t n);
/* Errors for the LAN go through the raw socket. */
void inject_set_raw_errors(struct inject *i, bool raw);

/* Where the packet came from: an interface (NFLOG), or 0: read from TUN. own: its source is this
 * host. */
int inject_put_back(struct inject *i, int tun_fd, const uint8_t *packet, size_t len,
	unsigned ifindex, bool own);
/* A held SYN to a fake address, for the relay's listener: as if this host had sent it, so that it
 * comes in by lo whatever the firewall says of the LAN. */
int inject_to_relay(struct inject *i, const uint8_t *packet, size_t len);
/* What a client is told by hand: an error, or a datagram of the UDP relay from a fake address. */
int inject_error(struct inject *i, int tun_fd, const uint8_t *packet, size_t len, unsigned ifindex);

/* A datagram from a real address that is not ours, to a client. */
int inject_raw(struct inject *i, const uint8_t *packet, size_t len);

/* Writes a packet as if received on this interface: for the probe. -ENODEV: there is no device for
 * it. */
int inject_from(struct inject *i, unsigned ifindex, const uint8_t *packet, size_t len);

#endif
