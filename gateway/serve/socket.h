/* Listening sockets: `listen` addresses and the tproxy ones. Opened by the main thread, one a
 * worker (SO_REUSEPORT). */
#ifndef TUNGATE_SERVE_SOCKET_H
#define TUNGATE_SERVE_SOCKET_H

#include "gateway/base/addr.h"

struct serve_socket_config {
	struct ip_port at; /* port 0 with TCP: any; see serve_socket_port() */
	bool stream;
	/* For tproxy: takes packets for any address (needs CAP_NET_ADMIN) and may share the port
	 * with a wildcard socket of another program (facts d5). A plain one binds to addresses that
	 * are not there yet. */
	bool transparent;
	bool original; /* UDP: tell where a datagram was sent (IP_RECVORIGDSTADDR) */
	uint32_t mark; /* SO_MARK of what is sent and of accepted connections; 0: none */
};

/* A bound socket, listening if it is a stream; or -EADDRINUSE, -EACCES, -EPERM, -EMFILE, … */
int serve_socket_open(const struct serve_socket_config *config);
/* Is nobody else bound there? 0 or -EADDRINUSE, -EACCES, … Our own SO_REUSEPORT would share the
 * port in silence. */
int serve_socket_probe(const struct serve_socket_config *config);
uint16_t serve_socket_port(int fd);
/* Is a UDP socket bound to exactly this address and port? One of a process that was killed a moment
 * ago would take its share of our packets. */
bool serve_socket_lingers(const struct ip_port *at);

#endif
