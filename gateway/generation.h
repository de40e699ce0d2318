/* A policy generation: everything that one configuration decides, immutable after it was built.
 * Each worker uses its current one without a lock; what is parked (queries, flows being decided)
 * holds a reference, so a generation ends when it is no worker's current one and nobody waits on
 * it. What lives longer keeps ids, never pointers into it. */
#ifndef TUNGATE_GENERATION_H
#define TUNGATE_GENERATION_H

#include "gateway/egress/egress.h"
#include "gateway/policy/leases.h"
#include "gateway/policy/policy.h"
#include "gateway/resolve/resolve.h"
#include "netlink/writer.h"

struct generation {
	struct policy *policy;
	struct resolve_groups *groups;
	struct egress_set *egresses; /* egress i of the configuration is egress i here */
	struct leases *leases;	     /* NULL: none are configured */
	struct nl_set **sets; /* the handle of set i of policy_sets(), see policy_rule.set_base */
	uint32_t fake_ttl_s;
	enum conf_exhausted exhausted;
	enum conf_https https;
	enum conf_ech ech;
	_Atomic unsigned refs;
};

/* Builds from config; the list files' errors go through report. The sets' handles come from writer.
 * The new generation has one reference. 0, -EINVAL after errors were reported, -ENOMEM, -ENOSPC
 * (too many sets). Main thread. */
struct generation_config {
	const struct config *config;
	struct writer *writer;
	uint32_t own_mark;
	struct generation *previous; /* NULL: none; hands on what lives longer */
	policy_report *report;
	void *report_arg;
};
int generation_new(const struct generation_config *config, struct generation **ret);
/* The same with other leases, of which it takes a reference of its own (NULL: none); everything
 * else is shared with `from`. -ENOMEM. */
int generation_new_leases(struct generation *from, struct leases *leases, struct generation **ret);
struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g); /* NULL is fine; any thread */

#endif
