/* The verdict on a mapping: which egress carries traffic to its fake address, and how. Made from
 * the current policy when the first packet comes, for the client that sent it; so a reload that
 * moves a name takes effect with new flows. */
#ifndef TUNGATE_CARRY_VERDICT_H
#define TUNGATE_CARRY_VERDICT_H

#include "fakeip/fakeip.h"
#include "gateway/policy/policy.h"

enum verdict_way {
	VERDICT_KERNEL, /* direct: resolved, then the kernel's NAT carries */
	VERDICT_REJECT, /* nothing carries it: an ICMP error says so */
};

struct verdict {
	enum verdict_way way;
	const struct policy_rule *rule;	    /* the one that decided */
	const struct policy_egress *egress; /* NULL with VERDICT_REJECT */
	int upstream;			    /* resolves for the egress */
};

struct dns_name verdict_name(const struct fakeip_mapping *m);
struct verdict verdict_make(
	const struct policy *p, const struct fakeip_mapping *m, const struct ip_addr *client);

#endif
