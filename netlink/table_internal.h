/* The parts of table.c: which chains and sets a configuration needs, and what stands in them.
 * Writer's thread. */
#ifndef TUNGATE_NETLINK_TABLE_INTERNAL_H
#define TUNGATE_NETLINK_TABLE_INTERNAL_H

#include "netlink/expr.h"
#include "netlink/table.h"

/* One address family of the table: what differs between IPv4 and IPv6. */
struct table_family {
	uint8_t family;
	struct ip_prefix pool;	  /* IP_NONE: off */
	struct ip_addr tun;	  /* IP_NONE: none */
	struct ip_port udp, tcp;  /* tproxy listeners */
	const char *nat, *exempt; /* names of its map and set */
	bool has_exempt;	  /* targets of this family are exempt */
	bool taken;		  /* its queries are taken at all */
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

/* Longest name of one of our sets: "mark255_4". */
#define TABLE_SET_NAME_MAX 16
const char *table_mark_set_name(char *buf, size_t n, uint8_t family);

/* table_sets.c */
void table_sets_build(
	struct table_plan *p, const struct table_state *old, struct table_state *next);

/* table_in.c: what comes in: raw and the chains it jumps to, forward, postrouting's probe */
void table_in_build(struct table_plan *p);
/* table_out.c: what this host sends */
void table_out_build(struct table_plan *p);
/* table_nat.c: what the kernel carries: nat and mark chains */
void table_nat_build(struct table_plan *p);

#endif
