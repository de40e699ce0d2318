/* Our nft table, `inet tungate`: made over the writer's socket with the owner flag, so that it is gone with the process
 * (kernel 5.12). This file knows its chains, rules, sets and maps; the tested recipes and traps they come from are in
 * facts/kernel.md a to d3. Owned and committed by the writer thread (netlink/writer.h).
 *
 *   set alive        nf_proto, timeout: the gate. No heartbeat for 2.5 s: every rule of interception is skipped.
 *   map nat4, nat6   fake → real, timeout: direct egress, carried by the kernel
 *   set mark<N>_4/_6 fakes whose egress sets a mark
 *   counters         taken_udp, taken_tcp (interception), stray (came from TUN and nobody took it), outside (to a pool from
 *                    where it is not carried), probe (see below)
 */
#ifndef TUNGATE_NETLINK_TABLE_H
#define TUNGATE_NETLINK_TABLE_H

#include "conf/config.h"
#include "gateway/base/addr.h"

#define TABLE_NAME "tungate"

struct table_mark { /* one egress with a mark */
	uint32_t value, mask;
};

struct table_config {
	const char *const *lan; /* names, trailing '*' allowed */
	size_t n_lan;
	bool self;
	const struct conf_exempt *exempt;
	const char *tun;
	/* TUN: forwarded and own UDP goes to TUN, the rest to the tproxy sockets. TPROXY: all to the tproxy sockets, and
	 * what is sent to a pool and not yet decided comes by NFLOG instead of TUN. OFF: pools only, as for TUN. Never AUTO. */
	enum conf_intercept mode;
	uint32_t mark_value, mark_mask;	  /* our own packets */
	uint32_t mark_tun, mark_tproxy;	  /* single bits: the ways in */
	struct ip_prefix pool4, pool6;	  /* IP_NONE: off */
	struct ip_addr tun4, tun6;	  /* TUN's own addresses; IP_NONE: none */
	struct ip_port udp4, udp6, tcp4, tcp6; /* tproxy listeners; family IP_NONE: none */
	const struct table_mark *marks;	  /* indexed by the egress's number in the configuration; mask 0: no mark */
	size_t n_marks;
	uint16_t nflog_group;
	/* A UDP packet from TUN with this source and port 53 to this port is counted in `probe` in postrouting and dropped:
	 * that the host's firewall lets TUN→LAN pass shows there. family IP_NONE: no probe. */
	struct ip_addr probe_from;
	uint16_t probe_port;
};

#endif
