/* Our nft table, `inet tungate`: made over the writer's socket with the owner flag, so that it is
 * gone with the process (kernel 5.12). This file knows its chains, rules, sets and maps; the tested
 * recipes and traps they come from are in facts/kernel.md a to d3. Owned and committed by the
 * writer thread (netlink/writer.h).
 *
 * - set alive (nf_proto, timeout): the gate. No heartbeat (heartbeat.h) for 2.5 s: every rule of
 *   interception is skipped.
 * - map nat4, nat6 (fake → real, timeout): direct egress, carried by the kernel.
 * - set egress<N>_4, egress<N>_6: fakes of a direct egress that the kernel must tell apart: it sets
 *   a mark, masquerades (or not) as configured, rejects UDP or QUIC.
 * - set real_<mark>_<mask>_4, _6 (hexadecimal): real addresses whose traffic gets that mark.
 * - set carried4, carried6: real addresses whose traffic goes to the relay.
 * - counters taken_udp, taken_tcp (interception), relayed_udp, relayed_tcp (packets to real
 *   addresses that the relay got), stray (came from TUN and nobody took it), outside
 *   (to a pool from where it is not carried), probe (see below).
 */
#ifndef TUNGATE_NETLINK_TABLE_H
#define TUNGATE_NETLINK_TABLE_H

#include "conf/config.h"
#include "gateway/base/addr.h"

#define TABLE_NAME "tungate"
/* Longest name of one of its sets: "real_ffffffff_ffffffff_4". */
#define TABLE_SET_NAME_MAX 32

struct table_egress { /* one of the configuration; all zero: none of this concerns the kernel */
	uint32_t value, mask; /* of its mark; mask 0: none */
	enum conf_masquerade masquerade;
	bool reject_udp, reject_quic; /* of a direct one: those packets come to the daemon */
	bool real;		      /* real answers go out by it, by mark */
};

struct table_config {
	const char *const *lan; /* names, trailing '*' allowed */
	size_t n_lan;
	bool self;
	const struct conf_exempt *exempt;
	const char *tun;
	/* TUN: forwarded UDP goes to TUN, the rest to the tproxy sockets. TPROXY: all to
	 * the tproxy sockets, and what is sent to a pool and not yet decided comes by NFLOG instead
	 * of TUN. OFF: pools only, as for TUN. Never AUTO. */
	enum conf_intercept mode;
	uint32_t mark_value, mark_mask; /* our own packets */
	/* Single bits: the ways in. Both: what this host sends comes back by lo. */
	uint32_t mark_tun, mark_tproxy;
	struct ip_prefix pool4, pool6;	       /* IP_NONE: off */
	struct ip_addr tun4, tun6;	       /* TUN's own addresses; IP_NONE: none */
	struct ip_port udp4, udp6, tcp4, tcp6; /* tproxy listeners; family IP_NONE: none */
	/* The relay's sockets, as for tproxy: connections put back for it, and real traffic. */
	struct ip_port relay_tcp4, relay_tcp6, relay_udp4, relay_udp6;
	bool carried;		     /* real answers go out by the relay: sets carried4, carried6 */
	struct conf_mark relay_mark; /* what users mark goes to the relay; mask 0: none */
	const struct conf_who *relay_clients; /* so does what these send; or NULL */
	/* Indexed by the egress's number in the configuration. */
	const struct table_egress *egresses;
	size_t n_egresses;
	/* br_netfilter runs these chains inside the bridge, where the socket that tproxy finds is
	 * lost again: the LAN's queries that would need one go on as if we were not here. */
	bool no_lan_tproxy;
	/* The elements of the maps and egress sets: verdicts may have changed. Real addresses stay:
	 * clients that were told them ask nobody before the next connection, which must not leave
	 * the wrong way; the relay decides anew, a mark stays for as long as the element lives. */
	bool forget;
	uint16_t nflog_group; /* 0: the kernel has no nfnetlink_log; TPROXY then uses TUN for it,
				 too */
	/* A UDP packet from TUN with this source and port 53 to this port is counted in `probe` in
	 * postrouting and dropped: that the host's firewall lets TUN→LAN pass shows there. family
	 * IP_NONE: no probe, and nothing of it in the way of others. */
	struct ip_addr probe_from;
	uint16_t probe_port;
	uint16_t heartbeat_port; /* the writer's, heartbeat_port() */
};

/* --- for the writer (netlink/writer.c) --- */

#define TABLE_EGRESSES_MAX 256

struct nft_batch;
struct nft_error;

/* What of the table is in the kernel: what the next build must take away, and may keep. Zero:
 * nothing. */
struct table_state {
	bool exists;
	uint32_t chains;	       /* bits, in the order of table.c */
	struct ip_prefix pool4, pool6; /* of the maps and egress sets; IP_NONE: there are none */
	bool exempt4, exempt6;
	struct table_egress egresses[TABLE_EGRESSES_MAX];
	size_t n_egresses;
	bool carried;
};

/* note: one clear line about a part that was left out (a cgroup that is not there). */
typedef void table_note(void *arg, const char *text);

/* Writes the transaction that leads from `old` to the table that c asks for into an empty batch.
 * Once it is committed, *ret is what the kernel holds. -E2BIG: too many egresses; -ENOMEM. */
int table_build(struct nft_batch *b, const struct table_state *old, const struct table_config *c,
	table_note *note, void *arg, struct table_state *ret);
/* Deletes the table with everything in it. */
void table_drop_build(struct nft_batch *b);
/* What the kernel did not like about a message of that batch, for example "tproxy", written into
 * buf; returns buf. */
const char *table_blame(
	const struct nft_batch *b, const struct nft_error *error, char *buf, size_t size_bytes);

#endif
