/* Deciding, and what others ask a finished policy. */
#include "gateway/policy/policy_internal.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "gateway/learned/learned.h"
#include "gateway/policy/records.h"

/* --- conditions --- */

bool policy_type_matches(const struct policy_condition *c, uint16_t type)
{
	if (c->n_types == 0)
		return true;
	for (size_t i = 0; i < c->n_types; i++)
		if (c->types[i] == type)
			return true;
	return false;
}

static bool any_source(const uint16_t *sources, size_t n, const struct matcher_hits *hits)
{
	for (size_t i = 0; i < n; i++)
		if (matcher_hits_has(hits, sources[i]))
			return true;
	return false;
}

bool policy_name_matches(const struct policy_condition *c, const struct dns_name *name,
	const struct matcher_hits *hits)
{
	return c->any_name || (c->unqualified && name->labels == 1) ||
	       any_source(c->sources, c->n_sources, hits);
}

bool policy_except_matches(const struct policy_condition *c, const struct matcher_hits *hits)
{
	return any_source(c->except, c->n_except, hits);
}

bool policy_lists_hold(
	const struct policy *p, const uint16_t *lists, size_t n, const struct ip_addr *a, int *ret)
{
	size_t n_held;
	const uint16_t *held = addresses_find(p->addresses, a, &n_held);

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n_held; j++)
			if (lists[i] == held[j]) {
				*ret = lists[i];
				return true;
			}
	return false;
}

bool policy_to_matches(
	const struct policy *p, const struct policy_condition *c, const struct ip_addr *to)
{
	int list;

	return c->n_to == 0 || (to && policy_lists_hold(p, c->to, c->n_to, to, &list));
}

bool policy_listener_matches(
	const struct policy_condition *c, uint64_t rule, const struct policy_question *q)
{
	return c->listeners == 0 || c->listeners & q->listener ||
	       (q->maker == rule && q->listener == 0);
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

		/* A keyword or an expression holds the name itself. */
		if (matcher_hits_has(hits, e->sources[i]))
			held = held < 0 ? name->labels : held / 2;
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

/* Labels of the closest of the rule's own domains; -1: it has none that is a name and holds this
 * one. */
static int own_labels(const struct policy *p, const struct policy_condition *c,
	const struct dns_name *name, const struct matcher_hits *hits)
{
	int closest;

	if (!c || c->own < 0 || !matcher_hits_has(hits, (unsigned)c->own))
		return -1;
	closest = matcher_closest(p->matcher, name, (unsigned)c->own);
	return closest < 0 ? -1 : closest / 2;
}

bool policy_never_fake(const struct policy *p, const struct policy_condition *c,
	const struct dns_name *name, const struct matcher_hits *hits)
{
	const struct policy_except *e = &p->except;
	bool held = e->builtin && name->labels <= 1;
	int source;

	if (!held && !any_source(e->sources, e->n_sources, hits))
		return false;
	/* Both are above the name or the name itself: the one with more labels lies below. */
	return own_labels(p, c, name, hits) < policy_except_labels(p, name, hits, &source);
}

/* --- built-in names --- */

enum policy_builtin policy_builtin_find(const struct policy *p, const struct policy_condition *c,
	const struct dns_name *name, const struct matcher_hits *hits, const char **ret_zone)
{
	static const struct {
		enum policy_builtin answer;
		const char *name;
	} zones[POLICY_ZONES] = {
		[POLICY_ZONE_LOCALHOST] = {POLICY_BUILTIN_LOCALHOST, "localhost"},
		[POLICY_ZONE_SPECIAL] = {POLICY_BUILTIN_NXDOMAIN, "special"},
		[POLICY_ZONE_HOUSE] = {POLICY_BUILTIN_HOUSE, "special"},
		[POLICY_ZONE_CANARY] = {POLICY_BUILTIN_NXDOMAIN, "canary"},
		[POLICY_ZONE_RELAY] = {POLICY_BUILTIN_NXDOMAIN, "relay"},
		[POLICY_ZONE_DDR] = {POLICY_BUILTIN_NODATA, "ddr"},
		[POLICY_ZONE_REVERSE] = {POLICY_BUILTIN_HOUSE, "private_reverse"},
		[POLICY_ZONE_IPV4ONLY] = {POLICY_BUILTIN_IPV4ONLY, "ipv4only"},
	};
	unsigned held = hits->bits[0] & ((1u << POLICY_ZONES) - 1);

	if (!held)
		return POLICY_BUILTIN_NONE;
	for (unsigned i = 0; i < POLICY_ZONES; i++)
		if (held >> i & 1 &&
			own_labels(p, c, name, hits) < matcher_closest(p->matcher, name, i) / 2) {
			*ret_zone = zones[i].name;
			return zones[i].answer;
		}
	return POLICY_BUILTIN_NONE;
}

/* --- deciding --- */

void policy_begin(const struct policy *p, const struct dns_name *name, struct matcher_look *ret)
{
	matcher_begin(p->matcher, name, ret);
}

void policy_find(const struct policy *p, const struct dns_name *name,
	const struct matcher_look *look, struct matcher_hits *ret)
{
	if (look)
		matcher_end(p->matcher, name, look, ret);
	else
		matcher_find(p->matcher, name, ret);
	for (size_t i = 0; i < p->n_excepting; i++) {
		unsigned list = p->excepting[i], source = policy_list_source(list);
		uint64_t bit = 1ULL << source % 64;

		if (list_parts_hold(p->matcher, p->lists[list].parts, name, ret))
			ret->bits[source / 64] |= bit;
		else
			ret->bits[source / 64] &= ~bit;
	}
}

bool policy_others_match(
	const struct policy *p, const struct policy_rule *rule, const struct policy_question *q)
{
	const struct policy_condition *c = policy_condition_of(p, rule);

	return policy_type_matches(c, q->type) && policy_listener_matches(c, rule->id, q) &&
	       (policy_whom_any(&c->whom) || policy_whom_matches(&c->whom, q, NULL)) &&
	       policy_to_matches(p, c, q->to);
}

static bool matches(const struct policy *p, size_t rule, const struct policy_question *q,
	const struct matcher_hits *hits)
{
	const struct policy_condition *c = &p->conditions[rule];

	if (!c->any_name && (!q->name || !policy_name_matches(c, q->name, hits)))
		return false;
	return (!q->name || !policy_except_matches(c, hits)) &&
	       policy_others_match(p, &p->rules[rule], q);
}

/* A name that was learned behind a rule whose own domain lies in a built-in zone was that rule's
 * before. */
static enum policy_builtin builtin_find(const struct policy *p, const struct policy_decision *d,
	const struct dns_name *name, const struct matcher_hits *hits, const char **ret_zone)
{
	enum policy_builtin builtin =
		policy_builtin_find(p, policy_condition_of(p, d->rule), name, hits, ret_zone);

	if (builtin == POLICY_BUILTIN_NONE || !d->learned)
		return builtin;
	return policy_builtin_find(
		p, policy_condition_of(p, d->learned->owner), name, hits, ret_zone);
}

void policy_decision_end(const struct policy *p, const struct dns_name *name,
	const struct matcher_hits *hits, struct policy_decision *ret)
{
	ret->builtin = builtin_find(p, ret, name, hits, &ret->builtin_zone);
	ret->never_fake = ret->rule->answer == CONF_ANSWER_FAKE &&
			  policy_never_fake(p, policy_condition_of(p, ret->rule), name, hits);
}

/* The first rule that matches, or what its checks make of it. */
static void rule_find(const struct policy *p, const struct policy_question *q,
	const struct matcher_hits *hits, struct policy_decision *ret)
{
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_condition *c = &p->conditions[i];
		const struct policy_rule *rule = &p->rules[i];
		const struct policy_check *check = NULL;

		if (c->learns)
			check = ret->learned =
				policy_check_learned(p, rule, q, hits, &ret->verify_due);
		if (!check && !matches(p, i, q, hits))
			continue;
		if (!check && c->also) {
			ret->also |= 1ULL << c->also_bit;
			continue;
		}
		if (!check)
			check = policy_check_behind(p, rule, q);
		ret->rule = check ? check->rule : rule;
		return;
	}
}

struct policy_decision policy_decide(const struct policy *p, const struct policy_question *q)
{
	struct policy_decision d = {.rule = &p->fallback};
	struct matcher_hits hits;

	if (q->name)
		policy_find(p, q->name, q->look, &hits);
	rule_find(p, q, &hits, &d);
	if (q->name)
		policy_decision_end(p, q->name, &hits, &d);
	return d;
}

const struct policy_rule *policy_also(const struct policy *p, unsigned i)
{
	return p->also[i];
}

bool policy_asks_who(const struct policy *p)
{
	return p->asks_who;
}

/* --- addresses --- */

bool policy_unless_holds(
	const struct policy *p, const struct policy_unless *u, const struct ip_addr *a)
{
	int list;

	return policy_lists_hold(p, u->lists, u->n_lists, a, &list);
}

const char *policy_unless_list(
	const struct policy *p, const struct policy_unless *u, const struct ip_addr *a)
{
	int list;

	return policy_lists_hold(p, u->lists, u->n_lists, a, &list) ? p->lists[list].name : NULL;
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
	for (size_t i = 0; i < p->n_rules; i++)
		records_unref((struct records *)p->rules[i].records);
	for (size_t i = 0; i < p->n_learning; i++)
		learned_unref(p->learning[i]->learned);
	matcher_free(p->matcher);
	addresses_free(p->addresses);
	arena_free(p->arena);
	free(p);
}

/* --- what others ask --- */

bool policy_changed(const struct policy *p, uint64_t *ret_state)
{
	uint64_t state = 0;
	bool changed = false;

	for (size_t i = 0; i < p->n_lists; i++)
		for (size_t j = 0; j < p->lists[i].n_files; j++) {
			const struct policy_file *f = &p->lists[i].files[j];
			struct list_stamp now;

			(void)list_stamp_read(f->path, &now);
			changed |= !list_stamp_equal(&now, &f->stamp);
			state = list_stamp_mix(state, &now);
		}
	*ret_state = state;
	return changed;
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
