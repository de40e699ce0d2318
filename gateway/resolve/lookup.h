/* Addresses of proxies that are configured by name, for whoever owns an egress dialer and answers
 * its questions: both families at once, of the group that counts to him. One thread. */
#ifndef TUNGATE_RESOLVE_LOOKUP_H
#define TUNGATE_RESOLVE_LOOKUP_H

#include "gateway/base/slab.h"
#include "gateway/egress/egress.h"
#include "gateway/resolve/resolve.h"

struct lookups {
	struct loop *loop;
	struct resolver *resolver;
	struct slab slab;
	unsigned n; /* that are under way */
};

void lookups_init(struct lookups *ls, struct loop *loop, struct resolver *resolver, unsigned max);
void lookups_fini(struct lookups *ls); /* none is under way */
/* l->done() comes once, perhaps at once: -EHOSTUNREACH: there is no group (-1), host is no name, or
 * nobody told an address; -ENOMEM: too many are under way; else resolve_ask()'s error. */
void lookups_begin(struct lookups *ls, struct resolve_groups *g, int group, const char *host,
	struct egress_lookup *l);
/* No done(). Also when it was done already. As egress_dialer_config has it; arg does not count. */
void lookups_cancel(void *arg, struct egress_lookup *l);

#endif
