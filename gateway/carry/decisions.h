/* What was decided about a fake address, kept longer than the kernel's element of it: the real
 * address of each family that stands behind it (pinned while flows live), and what `unless` found.
 * Shared by all workers, sharded by index, bounded; what is lost is decided again. */
#ifndef TUNGATE_CARRY_DECISIONS_H
#define TUNGATE_CARRY_DECISIONS_H

#include "gateway/base/addr.h"
#include "gateway/dns/name.h"

/* What stands behind the fake address of one family. Of the other family if the name has none of
 * this one: then the relay carries. */
struct decision_pin {
	struct ip_addr real; /* IP_NONE: none */
	uint64_t egress;     /* id: whose resolver told it */
	uint32_t until_s;    /* by its TTL, as long as the kernel's element lives */
};

enum decision_by { DECISION_RULE, DECISION_UNLESS };

struct decision {
	/* Ids (policy_id) of the rule and of the egress that unless chose (0: the rule's own),
	 * valid until verdict_until_s; 0: unless has not been asked. */
	uint64_t rule, egress;
	uint32_t verdict_until_s;
	struct decision_pin pin4,
		pin6; /* of the fake IPv4 and IPv6 address; kept also when until_s is over */
	/* For `status`: the egress that carried last. */
	uint64_t carried_by;
	enum decision_by by;
};

/* Whom a decision is about. An index may be given to another name while what was decided for the
 * one before is still remembered. */
struct decision_key {
	uint32_t index;
	uint64_t owner; /* hash of (name, view) */
};

struct decisions;
int decisions_new(unsigned max, struct decisions **ret);
void decisions_free(struct decisions *d); /* NULL is fine */
struct decision_key decisions_key(
	const struct decisions *d, uint32_t index, const struct dns_name *name, uint64_t view);
/* False: nothing is known, *ret is zero. */
bool decisions_get(
	struct decisions *d, struct decision_key k, uint32_t now_s, struct decision *ret);
/* Each changes its part and leaves the rest. */
void decisions_set_verdict(struct decisions *d, struct decision_key k, uint64_t rule,
	uint64_t egress, uint32_t until_s, uint32_t now_s);
/* family: of the fake address. */
void decisions_set_pin(struct decisions *d, struct decision_key k, uint8_t family,
	const struct decision_pin *pin, uint32_t now_s);
void decisions_set_carried(struct decisions *d, struct decision_key k, uint64_t egress,
	enum decision_by by, uint32_t now_s);
void decisions_forget(struct decisions *d, uint32_t index);
/* A reload: verdicts are made anew, pins stay. */
void decisions_forget_verdicts(struct decisions *d);

#endif
