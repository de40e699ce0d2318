/* The parts of table.c: which chains and sets a configuration needs, and what stands in them.
 * Writer's thread. */
#ifndef TUNGATE_NETLINK_TABLE_INTERNAL_H
#define TUNGATE_NETLINK_TABLE_INTERNAL_H

#include "netlink/expr.h"
#include "netlink/table.h"

/* One address family of the table: what differs between IPv4 and IPv6. */
struct table_family {
	uint8_t family;
	struct ip_prefix pool;	 /* IP_NONE: off */
	struct ip_addr tun;	 /* IP_NONE: none */
	struct ip_port udp, tcp; /* tproxy listeners */
	struct ip_port relay_udp, relay_tcp;
	const char *nat, *exempt, *carried; /* names of its map and sets */
	bool has_exempt;		    /* targets of this family are exempt */
	bool taken;			    /* its queries are taken at all */
};

struct table_plan {
	const struct table_config *c;
	struct table_family families[2];
	struct ruleset rules;
	table_note *note;
	void *note_arg;
};
/* NOLINTNEXTLINE(bugprone-macro-parentheses): f is declared here */
#define EACH_FAMILY(p, f) for (struct table_family *f = (p)->families; f < (p)->families + 2; f++)

const char *table_egress_set_name(char *buf, size_t n, uint8_t family);
/* By its mark: what the set holds keeps its meaning when a reload gives egresses other numbers. */
const char *table_real_set_name(char *buf, const struct table_egress *e, uint8_t family);
/* The kernel must tell its fakes apart; its real addresses. */
bool table_egress_has_set(const struct table_egress *e);
bool table_egress_has_real(const struct table_egress *e);
/* Whether one of these n has the real set of this mark. */
bool table_have_real(const struct table_egress *v, size_t n, const struct table_egress *mark);

/* What parts there are. */
bool table_has_pool(const struct table_config *c);
/* Connections to fake addresses are put back for the relay. */
bool table_relays_fakes(const struct table_config *c);
/* The relay takes traffic to real addresses. */
bool table_relays_real(const struct table_config *c);
/* Something comes back over lo for the relay. */
bool table_loops(const struct table_config *c);
bool table_probes(const struct table_config *c);

/* The mark of what this host sends and shall have back: both ways in at once, which nothing of the
 * LAN's has. */
uint32_t table_own_way(const struct table_config *c);
/* The gate, within a rule; or at the door of a chain that few packets reach. */
void table_alive_match(struct table_plan *p);
void table_gate_build(struct table_plan *p, const char *chain);

/* table_sets.c */
void table_sets_build(
	struct table_plan *p, const struct table_state *old, struct table_state *next);

/* table_in.c: what comes in: raw and the chains it jumps to, forward, postrouting */
void table_in_build(struct table_plan *p);
/* table_out.c: what this host sends */
void table_out_build(struct table_plan *p);
/* UDP to fakes of an egress that rejects it; in an open rule. */
void table_reject_match(struct table_plan *p, const struct table_family *f, size_t egress);
/* Those who are exempt return from this chain; targets: `to`, too. */
void table_exempt_build(struct table_plan *p, const char *chain, bool targets);
/* table_relay.c: what goes to the relay's sockets without being put back */
void table_relay_build(struct table_plan *p);
/* table_nat.c: what the kernel carries: nat and mark chains */
void table_nat_build(struct table_plan *p);

#endif
