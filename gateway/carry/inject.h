/* Where packets go that the daemon writes by hand: put back into the kernel for it to carry, or
 * sent to a client as an error.
 *
 * A held packet goes back the way that lets the host's own firewall judge it as it would have
 * judged the original:
 *  - from an interface of the LAN: as if received there again, through a TUN device of its own
 * whose ingress is redirected (rt_redirect_ingress); only needed, and only made, where the firewall
 * would not forward TUN→WAN (intercept: tproxy). Where such a device cannot be had, and with
 * intercept: tun, through the worker's TUN queue (facts d3).
 *  - from this host: through a raw socket, so that the output chains see it.
 * Errors go through TUN, or through the raw socket where the firewall would not forward TUN→LAN.
 *
 * One for all workers. Devices come and go in the main thread (inject_devices); the rest is any
 * thread's. */
#ifndef TUNGATE_CARRY_INJECT_H
#define TUNGATE_CARRY_INJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "netlink/rt.h"

struct inject;

/* mark: on what goes through the raw sockets, so that interception leaves it alone. Needs
 * CAP_NET_RAW once; -EPERM. */
int inject_new(uint32_t mark, struct inject **ret);
void inject_free(struct inject *i);

/* Through the firewall's eyes (intercept: tproxy) or through TUN. Then the devices of these
 * interfaces are made, those of others closed. Returns 0 or the first error; what works is used. */
int inject_use_firewall_path(struct inject *i, struct rt *rt, const unsigned *ifindexes, size_t n);
void inject_use_tun_path(struct inject *i);

/* Where the packet came from: an interface (NFLOG), or 0: read from TUN. own: its source is this
 * host. */
int inject_put_back(struct inject *i, int tun_fd, const uint8_t *packet, size_t len,
	unsigned ifindex, bool own);
int inject_error(struct inject *i, int tun_fd, const uint8_t *packet, size_t len, unsigned ifindex);

/* Writes a packet as if received on this interface: for the probe. -ENODEV: there is no device for
 * it. */
int inject_from(struct inject *i, unsigned ifindex, const uint8_t *packet, size_t len);

#endif
