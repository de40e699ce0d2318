/* The verdict on traffic: which rule takes it and which egress carries it. For a fake address it is
 * made from the current policy when the first packet comes, for the client that sent it; so a
 * reload that moves a name takes effect with new flows. For real traffic the name may be unknown.
 * Pure. */
#ifndef TUNGATE_CARRY_VERDICT_H
#define TUNGATE_CARRY_VERDICT_H

#include "fakeip/fakeip.h"
#include "gateway/policy/policy.h"

struct verdict {
	const struct policy_rule *rule; /* the one that decided */
	/* NULL: rejected; for real traffic also see `plain`. */
	const struct policy_egress *egress;
	bool plain;   /* real traffic without an egress: by this host's own routes */
	int upstream; /* resolves for the egress, -1: none */
};

struct dns_name verdict_name(const struct fakeip_mapping *m);
/* who: what else is known of the client, NULL: nothing. */
struct verdict verdict_fake(const struct policy *p, const struct fakeip_mapping *m,
	const struct ip_addr *client, const struct policy_who *who);
/* name NULL: not known. to: where the traffic goes. */
struct verdict verdict_real(const struct policy *p, const struct dns_name *name,
	const struct ip_addr *client, const struct policy_who *who, const struct ip_addr *to);
/* Another egress for the same rule (`unless`). upstream -1: the egress's, else the rule's. */
void verdict_set_egress(struct verdict *v, const struct policy_egress *egress, int upstream);

/* A destination port of UDP that carries QUIC. */
#define VERDICT_QUIC_PORT 443
/* The egress's configuration rejects UDP to this port. */
bool verdict_rejects_udp(const struct policy_egress *egress, uint16_t port);

#endif
