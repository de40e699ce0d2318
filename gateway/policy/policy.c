/* Deciding, and what others ask a finished policy. */
#include "gateway/policy/policy_internal.h"

#include <stdatomic.h>
#include <stdlib.h>

bool policy_type_matches(const struct policy_condition *c, uint16_t type)
{
	if (c->n_types == 0)
		return true;
	for (size_t i = 0; i < c->n_types; i++)
		if (c->types[i] == type)
			return true;
	return false;
}

const struct ip_prefix *policy_client_match(
	const struct policy_condition *c, const struct ip_addr *client)
{
	if (client->family == IP_NONE)
		return NULL;
	for (size_t i = 0; i < c->n_clients; i++)
		if (ip_prefix_contains(&c->clients[i], client))
			return &c->clients[i];
	return NULL;
}

bool policy_name_matches(const struct policy_condition *c, const struct matcher_hits *hits)
{
	if (c->any_name)
		return true;
	for (size_t i = 0; i < c->n_sources; i++)
		if (matcher_hits_has(hits, c->sources[i]))
			return true;
	return false;
}

/* --- never faked --- */

int policy_except_labels(const struct policy *p, const struct dns_name *name,
	const struct matcher_hits *hits, int *ret_source)
{
	const struct policy_except *e = &p->except;
	int labels = -1;

	for (size_t i = 0; i < e->n_sources; i++) {
		int held = matcher_hits_has(hits, e->sources[i])
				   ? matcher_closest(p->matcher, name, e->sources[i])
				   : -1;

		if (held > labels) {
			labels = held;
			*ret_source = e->sources[i];
		}
	}
	if (e->builtin && name->labels <= 1 && labels < name->labels) {
		labels = name->labels;
		*ret_source = -1;
	}
	return labels;
}

bool policy_never_fake(const struct policy *p, const struct policy_condition *c,
	const struct dns_name *name, const struct matcher_hits *hits)
{
	const struct policy_except *e = &p->except;
	bool held = e->builtin && name->labels <= 1;
	int source;

	for (size_t i = 0; i < e->n_sources && !held; i++)
		held = matcher_hits_has(hits, e->sources[i]);
	if (!held)
		return false;
	/* Both are above the name or the name itself: the one with more labels lies below. */
	return c->own < 0 || !matcher_hits_has(hits, (unsigned)c->own) ||
	       matcher_closest(p->matcher, name, (unsigned)c->own) <
		       policy_except_labels(p, name, hits, &source);
}

/* --- deciding --- */

struct policy_decision policy_decide(const struct policy *p, const struct policy_question *question)
{
	const struct dns_name *name = question->name;
	struct matcher_hits hits;
	bool looked_up = false;

	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_condition *c = &p->conditions[i];
		bool fakes = p->rules[i].answer == CONF_ANSWER_FAKE;

		if (!policy_type_matches(c, question->type))
			continue;
		if (c->n_clients > 0 && !policy_client_match(c, &question->client))
			continue;
		if (!c->any_name && !name)
			continue;
		if ((!c->any_name || fakes) && name && !looked_up) {
			matcher_find(p->matcher, name, &hits);
			looked_up = true;
		}
		if (c->any_name || policy_name_matches(c, &hits))
			return (struct policy_decision){.rule = &p->rules[i],
				.never_fake =
					fakes && name && policy_never_fake(p, c, name, &hits)};
	}
	return (struct policy_decision){.rule = &p->fallback};
}

/* --- addresses --- */

/* The first list of u that holds the address, -1: none. */
static int unless_list(
	const struct policy *p, const struct policy_unless *u, const struct ip_addr *a)
{
	size_t n_held;
	const uint16_t *held = addresses_find(p->addresses, a, &n_held);

	for (size_t i = 0; i < u->n_lists; i++)
		for (size_t j = 0; j < n_held; j++)
			if (u->lists[i] == held[j])
				return u->lists[i];
	return -1;
}

bool policy_unless_holds(
	const struct policy *p, const struct policy_unless *u, const struct ip_addr *a)
{
	return unless_list(p, u, a) >= 0;
}

const char *policy_unless_list(
	const struct policy *p, const struct policy_unless *u, const struct ip_addr *a)
{
	int list = unless_list(p, u, a);

	return list >= 0 ? p->lists[list].name : NULL;
}

/* A rule that fakes may have to answer with real addresses, too. */
static bool may_carry(const struct policy_rule *rule)
{
	const struct policy_egress *e = rule->egress;

	if (rule->answer != CONF_ANSWER_FAKE)
		return rule->carry;
	return e && (e->type != CONF_EGRESS_DIRECT || e->mark.mask);
}

bool policy_carries(const struct policy *p, bool relay, unsigned egress)
{
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *rule = &p->rules[i];

		if (!may_carry(rule))
			continue;
		if (relay ? rule->egress->type != CONF_EGRESS_DIRECT
			  : rule->egress->index == egress)
			return true;
	}
	return false;
}

/* --- life --- */

struct policy *policy_ref(struct policy *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void policy_unref(struct policy *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	matcher_free(p->matcher);
	addresses_free(p->addresses);
	arena_free(p->arena);
	free(p);
}

/* --- what others ask --- */

const struct policy_egress *policy_egress_by_id(const struct policy *p, uint64_t id)
{
	for (size_t i = 0; i < p->n_egresses; i++)
		if (p->egresses[i].id == id)
			return &p->egresses[i];
	return NULL;
}

const struct policy_rule *policy_rule_by_id(const struct policy *p, uint64_t id)
{
	for (size_t i = 0; i < p->n_rules; i++)
		if (p->rules[i].id == id)
			return &p->rules[i];
	return id == p->fallback.id ? &p->fallback : NULL;
}

size_t policy_egresses(const struct policy *p, const struct policy_egress **ret)
{
	*ret = p->egresses;
	return p->n_egresses;
}

size_t policy_sets(const struct policy *p, const struct conf_set *const **ret)
{
	*ret = p->sets;
	return p->n_sets;
}

size_t policy_lists(const struct policy *p, const struct policy_list_info **ret)
{
	*ret = p->infos;
	return p->n_lists;
}
