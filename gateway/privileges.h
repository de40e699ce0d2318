/* After everything is opened: what the daemon needs no more, it gives up. Before any thread is
 * started, since Linux keeps capabilities per thread. */
#ifndef TUNGATE_PRIVILEGES_H
#define TUNGATE_PRIVILEGES_H

/* Keeps CAP_NET_ADMIN (netlink, TUN, transparent sockets) and CAP_NET_BIND_SERVICE, in all sets,
 * and forbids to gain more by exec (PR_SET_NO_NEW_PRIVS). 0 or a negative errno. */
int privileges_drop(void);

#endif
