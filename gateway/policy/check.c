/* `check`: which rule takes a name by the addresses of its answer, now or because it was learned
 * before. */
#include "gateway/policy/policy_internal.h"

#include "gateway/learned/learned.h"

/* --- addresses --- */

/* The list that an address decided by; NULL: it says nothing for the check. */
static const char *counts(
	const struct policy *p, const struct policy_check *c, const struct ip_addr *address)
{
	struct ip_addr a = address->family == IP_V6 ? ip_addr_v6(address->b) : *address;
	bool in = c->answers == CONF_CHECK_IN;
	int list = c->lists[0]; /* that it is out of, as of the others */

	return policy_lists_hold(p, c->lists, c->n_lists, &a, &list) == in ? p->lists[list].name
									   : NULL;
}

bool policy_check_holds(const struct policy *p, const struct policy_check *c,
	const struct ip_addr *addresses, size_t n, const char **ret_list)
{
	const char *list = NULL;

	for (size_t i = 0; i < n; i++) {
		const char *by = counts(p, c, &addresses[i]);

		if (!by && c->match == CONF_CHECK_ALL)
			return false;
		if (!list)
			list = by;
		if (by && c->match == CONF_CHECK_ANY)
			break;
	}
	if (list && ret_list)
		*ret_list = list;
	return list;
}

const struct policy_check *policy_check_find(const struct policy *p, const struct policy_rule *rule,
	const struct policy_question *question, const struct ip_addr *addresses, size_t n,
	const char **ret_list)
{
	for (size_t i = 0; i < rule->n_checks; i++) {
		const struct policy_check *c = &rule->checks[i];

		if (policy_others_match(p, c->rule, question) &&
			policy_check_holds(p, c, addresses, n, ret_list))
			return c;
	}
	return NULL;
}

/* --- names --- */

static bool is_learned(struct learned *l, const struct policy_question *q, bool *ret_due)
{
	return q->now_s ? learned_holds(l, q->name, q->now_s, ret_due) : learned_peek(l, q->name);
}

/* Rules may share a table: the name was learned from the first of them that holds it. NULL: from
 * none of today's. */
static const struct policy_check *learner(const struct policy *p, const struct learned *table,
	const struct dns_name *name, const struct matcher_hits *hits)
{
	for (size_t i = 0; i < p->n_learning; i++) {
		const struct policy_check *c = p->learning[i];
		const struct policy_condition *owner = policy_condition_of(p, c->owner);

		if (c->learned == table && policy_name_matches(owner, name, hits) &&
			!policy_except_matches(owner, hits))
			return c;
	}
	return NULL;
}

const struct policy_check *policy_check_learned(const struct policy *p,
	const struct policy_rule *rule, const struct policy_question *q,
	const struct matcher_hits *hits, bool *ret_due)
{
	for (size_t i = 0; q->name && i < rule->n_checks; i++) {
		const struct policy_check *by, *c = &rule->checks[i];

		if (!c->learned || !policy_others_match(p, c->rule, q) ||
			!is_learned(c->learned, q, ret_due))
			continue;
		by = learner(p, c->learned, q->name, hits);
		if (!by && ret_due) /* nobody would ask for it */
			*ret_due = false;
		return by ? by : c;
	}
	return NULL;
}

/* Nobody has told the rule of traffic what the name's answer was. A fake address is its maker's; a
 * real one came with an answer that was checked, as far as it can be seen from this one address. */
const struct policy_check *policy_check_behind(
	const struct policy *p, const struct policy_rule *rule, const struct policy_question *q)
{
	if (!q->name)
		return NULL;
	if (q->to)
		return policy_check_find(p, rule, q, q->to, 1, NULL);
	for (size_t i = 0; q->maker && rule->id != q->maker && i < rule->n_checks; i++) {
		const struct policy_check *c = &rule->checks[i];

		if (c->rule->id == q->maker && policy_others_match(p, c->rule, q))
			return c;
	}
	return NULL;
}

/* --- what others ask --- */

bool policy_check_wants(const struct policy *p, const struct policy_check *c, uint16_t type)
{
	return policy_type_matches(policy_condition_of(p, c->owner), type) &&
	       policy_type_matches(policy_condition_of(p, c->rule), type);
}

bool policy_check_still_holds(const struct policy *p, const struct policy_check *c,
	const struct ip_addr *addresses, size_t n, const char **ret_list)
{
	for (size_t i = 0; i < c->owner->n_checks; i++) {
		const struct policy_check *other = &c->owner->checks[i];

		if (other->learned == c->learned &&
			policy_check_holds(p, other, addresses, n, ret_list))
			return true;
	}
	return false;
}

struct policy_decision policy_check_decide(const struct policy *p, const struct policy_check *c,
	const struct policy_question *question)
{
	struct policy_decision d = {.rule = c->rule, .learned = c};
	struct matcher_hits hits;

	policy_find(p, question->name, NULL, &hits);
	policy_decision_end(p, question->name, &hits, &d);
	return d;
}

size_t policy_learning(const struct policy *p, const struct policy_check *const **ret)
{
	*ret = p->learning;
	return p->n_learning;
}
