/* Deciding, and what others ask a finished policy. */
#include "gateway/policy/policy_internal.h"

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

const struct policy_rule *policy_decide(
	const struct policy *p, const struct policy_question *question)
{
	struct matcher_hits hits;
	bool looked_up = false;

	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_condition *c = &p->conditions[i];

		if (!policy_type_matches(c, question->type))
			continue;
		if (c->n_clients > 0 && !policy_client_match(c, &question->client))
			continue;
		if (!c->any_name && !looked_up) {
			matcher_find(p->matcher, question->name, &hits);
			looked_up = true;
		}
		if (policy_name_matches(c, &hits))
			return &p->rules[i];
	}
	return &p->fallback;
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	matcher_free(p->matcher);
	arena_free(p->arena);
	free(p);
}

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
