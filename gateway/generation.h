/* A policy generation: everything that one configuration decides, immutable after it was built.
 * Each worker uses its current one without a lock; what is parked (queries, flows being decided)
 * holds a reference, so a generation ends when it is no worker's current one and nobody waits on
 * it. What lives longer keeps ids, never pointers into it. */
#ifndef TUNGATE_GENERATION_H
#define TUNGATE_GENERATION_H

#include "gateway/egress/egress.h"
#include "gateway/policy/leases.h"
#include "gateway/policy/policy.h"
#include "gateway/policy/records.h"
#include "gateway/resolve/resolve.h"
#include "netlink/neighbours.h"
#include "netlink/writer.h"

struct generation {
	struct policy *policy;
	struct resolve_groups *groups;
	struct egress_set *egresses; /* egress i of the configuration is egress i here */
	struct leases *leases;	     /* NULL: none are configured */
	struct records *records;     /* NULL: there are none */
	struct nl_set **sets; /* the handle of set i of policy_sets(), see policy_rule.set_base */
	uint32_t fake_ttl_s;
	enum conf_exhausted exhausted;
	enum conf_https https;
	enum conf_ech ech;
	_Atomic unsigned refs;
};

/* Builds from config, around a policy that was built from the same (its reference is taken, also
 * after an error); leases and records are read here, and their errors go through report. The sets'
 * handles come from writer. The new generation has one reference. 0, -EINVAL after errors were
 * reported, -ENOMEM, -ENOSPC (too many sets). Main thread. */
struct generation_config {
	const struct config *config;
	struct policy *policy;
	struct writer *writer;
	uint32_t own_mark;
	struct generation *previous; /* NULL: none; hands on what lives longer */
	policy_report *report;
	void *report_arg;
};
int generation_new(const struct generation_config *config, struct generation **ret);
/* The same as `from` with another part; everything else is shared. The new part's reference is
 * taken, also after an error. -ENOMEM; a policy also as above: it must come from the same
 * configuration. */
int generation_new_policy(struct generation *from, struct policy *policy, struct writer *writer,
	struct generation **ret);
int generation_new_leases(struct generation *from, struct leases *leases, struct generation **ret);
int generation_new_records(
	struct generation *from, struct records *records, struct generation **ret);
/* What is known of a client, for policy_question.who: ret, or NULL if no rule asks. Any thread. */
const struct policy_who *generation_who(const struct generation *g,
	const struct neighbours *neighbours, const struct ip_addr *client, struct policy_who *ret);
struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g); /* NULL is fine; any thread */

#endif
