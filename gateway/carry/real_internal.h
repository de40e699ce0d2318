/* Real traffic: what the files of it share. real_way.c finds the name and the way out, real.c takes
 * connections, real_udp.c the first datagrams of client sockets. A worker's, its thread's.
 * Bounded: connections that are sniffed or dialled, sockets whose datagrams are held. */
#ifndef TUNGATE_CARRY_REAL_INTERNAL_H
#define TUNGATE_CARRY_REAL_INTERNAL_H

#include "gateway/carry/carry_internal.h"

#define REAL_SNIFF_MS 300

struct real_conn;
struct real_hello;

struct real {
	struct carry *carry;
	bool stopping;
	struct slab conns, heads; /* heads: the first bytes of those that are being sniffed */
	struct real_conn *first;
	unsigned n_conns;
	struct slab hellos;
	struct real_hello *first_hello;
};

/* --- real_way.c --- */

/* What is known of a name before anybody looks into the traffic. */
struct real_name {
	bool known, sure; /* sure: it needs no sniffing */
	struct dns_name name;
};
void real_name_find(struct carry *c, const struct ip_addr *client, const struct ip_addr *address,
	struct real_name *ret);
/* What was sniffed is believed. */
void real_name_sniffed(struct real_name *n, const char *text);

struct real_way {
	unsigned egress;		  /* or EGRESS_DIRECT */
	const struct policy_egress *leaf; /* of a group: whose turn it is; NULL: EGRESS_DIRECT */
	char host[EGRESS_HOST_MAX + 1];	  /* for a proxy; "": by address */
};
/* False: nobody carries it. By the generation that is current. */
bool real_way_find(struct carry *c, const struct ip_addr *client, const struct ip_addr *address,
	const struct real_name *name, struct real_way *ret);

/* --- real_udp.c --- */

void real_udp_init(struct real *r);
void real_udp_stop(struct real *r);
void real_udp_fini(struct real *r);

#endif
