/* What the gateway puts into the kernel: the TUN device with its addresses, the rules and routes
 * that lead to it, and the nft table. Knows the order in which they go in and out, so that the LAN
 * keeps its DNS at every moment. Main thread. */
#ifndef TUNGATE_PLUMBING_H
#define TUNGATE_PLUMBING_H

#include "conf/config.h"
#include "gateway/carry/inject.h"
#include "netlink/table.h"
#include "netlink/writer.h"

#define PLUMBING_WORKERS_MAX 64
#define PLUMBING_NFLOG_GROUP 198
#define PLUMBING_PROBE_PORT  41953 /* where the probe pretends to ask from; see probe.h */

struct plumbing_marks {
	uint32_t value, mask, tun, tproxy;
};
struct plumbing_marks plumbing_marks(
	const struct conf_gateway *g); /* the two bits above the mask's highest */

struct plumbing {
	struct rt *rt;
	char tun[16];
	unsigned tun_index, queues;
	int tun_fds[PLUMBING_WORKERS_MAX];
	struct ip_prefix pool4, pool6;
	struct ip_addr tun4, tun6, probe;
	struct ip_port udp4, udp6, tcp4, tcp6; /* tproxy listeners; family IP_NONE: not there */
	/* The relay's sockets, likewise; set by the caller before plumbing_table(). */
	struct ip_port relay_udp4, relay_udp6, relay_tcp4, relay_tcp6;
	/* Real answers go out by the relay, or by this egress's mark; set by the caller, from the
	 * policy. */
	bool carried, real[TABLE_EGRESSES_MAX];
	bool relayed_real, marked_real; /* they once did */
	bool no_ipv6;			/* this host has none */
	enum conf_intercept mode;	/* in force; AUTO: no table yet */
	bool has_nflog;			/* somebody reads the group; set by the caller */
	bool bridge_netfilter; /* see table_config.no_lan_tproxy; as plumbing_point_inject() found
				  it */
	bool probing;	       /* the next table is for probe_run() */
	bool forget;	       /* the next table begins without the decisions of the one before */
};

/* Fills in the addresses that follow from the pools. */
void plumbing_init(struct plumbing *p, const struct config *config);

/* Makes the device with its queues, addresses and sysctls; removes what a killed predecessor left
 * (protocol 198), then adds rules and routes. On error nothing is left behind, and *ret_what says
 * what failed (for the one line that the user gets). */
int plumbing_up(
	struct plumbing *p, const struct config *config, unsigned queues, const char **ret_what);
/* Rules, routes and device go; the table must be gone before (writer_stop or writer_table_drop). */
void plumbing_down(struct plumbing *p);
/* Puts back rules, routes and addresses that somebody removed. */
int plumbing_repair(struct plumbing *p, const struct config *config);
/* The device was deleted: makes it again. tun_fds are new; the caller hands them to the workers and
 * closes old_fds. */
int plumbing_remake_tun(
	struct plumbing *p, const struct config *config, int old_fds[PLUMBING_WORKERS_MAX]);

/* Commits the table for this mode (never AUTO) and lets `inject` send errors the same way.
 * *ret_what: see writer_table_set(). */
int plumbing_table(struct plumbing *p, const struct config *config, struct writer *w,
	struct inject *inject, enum conf_intercept mode, const char **ret_what);

/* Interfaces that gateway.lan names and that are there now. */
struct plumbing_lan {
	struct inject_interface v[INJECT_INTERFACES_MAX];
	size_t n;
};
int plumbing_lan(struct plumbing *p, const struct config *config, struct plumbing_lan *ret);
/* Tells inject what the LAN is now. 0; or what keeps packets from being put back there as if
 * received. */
int plumbing_point_inject(struct plumbing *p, const struct config *config, struct inject *inject);

#endif
