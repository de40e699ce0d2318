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
	/* Traffic to real addresses comes to the relay: by a mark or clients of the configuration;
	 * what the policy carries is not counted. */
	bool relays_real;
	uint32_t fake_ttl_s;
	enum conf_exhausted exhausted;
	enum conf_https https;
	enum conf_ech ech;
	_Atomic uint64_t *leaks; /* questions that `leak: strict` sent elsewhere; the daemon's */
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
	_Atomic uint64_t *leaks;
	struct generation *previous; /* NULL: none; hands on what lives longer */
	policy_report *report;
	void *report_arg;
};
int generation_new(const struct generation_config *config, struct generation **ret);
/* For `check`: what generation_new() would report of a configuration whose policy could be built;
 * nothing is kept. 0, -EINVAL after errors were reported, -ENOMEM. */
int generation_check(const struct config *config, policy_report *report, void *arg);
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
/* What a rule says of asking: bits of enum resolve_flag. */
unsigned generation_flags(const struct policy_rule *rule);
/* Where a question that is for q->group may be asked: policy_group(), counted and logged where that
 * is another one. -1: nowhere. */
int generation_group(const struct generation *g, int group, const struct dns_name *name);
/* resolve_ask() there, and the only way to it for names that clients ask; -EACCES: nowhere. */
void generation_ask(struct generation *g, struct resolver *r, const struct resolve_question *q,
	int64_t deadline_ms, struct resolve_request *rq, resolve_done *done);
struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g); /* NULL is fine; any thread */

#endif
