/* The TUN device: plain IP packets (IFF_NO_PI), one queue for each descriptor, gone with the last
 * of them. Opened by the main thread; each descriptor then belongs to one reader. Link, addresses
 * and routes are netlink/rt.h's business.
 *
 * The device is always new: a name that exists already, be it another program's TUN, is never
 * joined. */
#ifndef TUNGATE_TUN_DEVICE_H
#define TUNGATE_TUN_DEVICE_H

#define TUN_QUEUES_MAX 64

/* fds[0..queues) become the queues, blocking: gateway/loop reads them, and a write(2) to TUN does
 * not block. None of them is left open after an error: -ENOENT           no /dev/net/tun, or no
 * driver behind it -EPERM, -EACCES   no right (CAP_NET_ADMIN) -EBUSY            the name is taken
 * -EINVAL           not a name for a device, or queues is not within 1..TUN_QUEUES_MAX
 * others            as open(2) has them, for example -EMFILE */
int tun_device_open(const char *name, unsigned queues, int fds[]);

#endif
