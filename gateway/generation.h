/* A policy generation: everything that one configuration decides, immutable after it was built.
 * Each worker uses its current one without a lock; what is parked (queries, flows being decided)
 * holds a reference, so a generation ends when it is no worker's current one and nobody waits on
 * it. What lives longer keeps ids, never pointers into it. */
#ifndef TUNGATE_GENERATION_H
#define TUNGATE_GENERATION_H

#include "gateway/policy/policy.h"
#include "gateway/resolve/resolve.h"
#include "netlink/writer.h"

struct generation {
	struct policy *policy;
	struct resolve_groups *groups;
	struct nl_set **sets; /* the handle of set i of policy_sets(), see policy_rule.set_base */
	uint32_t fake_ttl_s;
	_Atomic unsigned refs;
};

/* Builds from config; the list files' errors go through report. The sets' handles come from writer.
 * The new generation has one reference. 0, -EINVAL after errors were reported, -ENOMEM, -ENOSPC
 * (too many sets). Main thread. */
int generation_new(const struct config *config, struct writer *writer, policy_report *report,
	void *arg, struct generation **ret);
struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g); /* NULL is fine; any thread */

#endif
