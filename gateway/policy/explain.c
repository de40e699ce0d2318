/* The decision once more, in words. Slower than policy_decide() and by the same conditions. */
#include "gateway/policy/explain.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/dns/message.h"

#define WHY_MAX 1536 /* a name as text fits, with words around it */

/* --- text that is built piece by piece and cut at its end --- */

struct why {
	size_t len;
	char text[WHY_MAX];
};

__attribute__((format(printf, 2, 3))) static void why_add(struct why *w, const char *format, ...)
{
	size_t room = sizeof w->text - w->len;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(w->text + w->len, room, format, args);
	va_end(args);
	if (n > 0)
		w->len += (size_t)n < room ? (size_t)n : room - 1;
}

/* --- rules --- */

/* Which of the texts holds the name; NULL: none. */
static const char *domain_match(const char *const *domains, size_t n, const struct dns_name *name)
{
	struct policy_domain d;

	for (size_t i = 0; i < n; i++)
		if (policy_domain_parse(domains[i], &d) == 0 && policy_domain_holds(&d, name))
			return domains[i];
	return NULL;
}

static const char *how_it_holds(const char *domain)
{
	struct policy_domain d;

	if (policy_domain_parse(domain, &d) || d.is != LIST_ENTRY_NAME)
		return "in";
	return d.kind == MATCHER_EXACT ? "exactly" : "at or above";
}

static const char *names_of(const struct policy_condition *c)
{
	size_t n_lists = c->n_sources - (c->n_domains > 0);

	if (n_lists == 0)
		return "domain";
	return c->n_domains > 0 || c->unqualified ? "domain or list" : "list";
}

static bool is_list(const struct policy *p, unsigned source)
{
	return source >= POLICY_FIRST_LIST && source - POLICY_FIRST_LIST < p->n_lists;
}

/* The lists among the sources that hold the name; returns how many. */
static unsigned lists_add(const struct policy *p, const uint16_t *sources, size_t n,
	const struct matcher_hits *hits, struct why *w)
{
	unsigned told = 0;

	for (size_t i = 0; i < n; i++) {
		if (!is_list(p, sources[i]) || !matcher_hits_has(hits, sources[i]))
			continue;
		why_add(w, " %s", p->lists[sources[i] - POLICY_FIRST_LIST].name);
		told++;
	}
	return told;
}

static bool name_explain(const struct policy *p, const struct policy_condition *c,
	const struct dns_name *name, const struct matcher_hits *hits, struct why *w)
{
	const char *domain = c->any_name ? NULL : domain_match(c->domains, c->n_domains, name);

	if (c->any_name) {
		why_add(w, "matches every name");
	} else if (domain) {
		why_add(w, "domain: %s is %s the name", domain, how_it_holds(domain));
	} else if (c->unqualified && name->labels == 1) {
		why_add(w, "domain: unqualified: the name has one label");
	} else if (!policy_name_matches(c, name, hits)) {
		why_add(w, "no %s of the rule holds the name", names_of(c));
		return false;
	} else {
		why_add(w, "list:");
		lists_add(p, c->sources, c->n_sources, hits, w);
		why_add(w, " holds the name");
	}
	return true;
}

static bool except_list_explain(const struct policy *p, const struct policy_condition *c,
	const struct dns_name *name, const struct matcher_hits *hits, struct why *w)
{
	const char *domain = domain_match(c->except_names, c->n_except_names, name);

	if (!policy_except_matches(c, hits))
		return true;
	why_add(w, "except:");
	if (lists_add(p, c->except, c->n_except, hits, w) == 0)
		why_add(w, " %s", domain ? domain : "a name");
	why_add(w, " holds the name");
	return false;
}

static bool client_explain(
	const struct policy_condition *c, const struct policy_question *q, struct why *w)
{
	char text[IP_TEXT_MAX], whom[POLICY_WHOM_TEXT] = "";
	bool holds = policy_whom_matches(&c->whom, q, whom);

	if (q->client.family == IP_NONE)
		why_add(w, "the client is not known, the rule is for ");
	else if (holds || whom[0])
		why_add(w, "client %s is %s", ip_addr_format(&q->client, text),
			holds ? "in " : "excluded by ");
	else
		why_add(w, "client %s is not in ", ip_addr_format(&q->client, text));
	if (!whom[0])
		policy_whom_format(&c->whom, whom, sizeof whom);
	why_add(w, "%s", whom);
	return holds;
}

static bool type_explain(const struct policy_condition *c, uint16_t type, struct why *w)
{
	char text[16];
	bool holds = policy_type_matches(c, type);

	why_add(w, "type %s is %s", dns_type_format(type, text), holds ? "in" : "not in");
	for (size_t i = 0; i < c->n_types; i++)
		why_add(w, " %s", dns_type_format(c->types[i], text));
	return holds;
}

/* Where it is not known how the query comes, any way will do, and it is told which. */
static bool listener_explain(
	const struct policy_condition *c, const struct policy_question *q, struct why *w)
{
	static const char *const names[] = {"tun", "tproxy", "udp", "tcp"};
	bool holds = q->listener == 0 || c->listeners & q->listener;

	if (q->listener == 0)
		why_add(w, "if the query comes by");
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (q->listener >> i & 1)
			why_add(w, "listener %s, which is taken for granted, is %s", names[i],
				holds ? "in" : "not in");
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (c->listeners >> i & 1)
			why_add(w, " %s", names[i]);
	return holds;
}

/* The first condition that fails alone, or all that hold. */
static bool rule_explain(const struct policy *p, size_t index, const struct policy_question *q,
	const struct matcher_hits *hits, struct why *w)
{
	const struct policy_condition *c = &p->conditions[index];
	struct why next = {.len = 0};

	w->len = 0;
	w->text[0] = 0;
	if (!name_explain(p, c, q->name, hits, w))
		return false;
	if (!except_list_explain(p, c, q->name, hits, &next))
		goto fails;
	if (c->n_to > 0) {
		why_add(&next, "to: is for traffic to real addresses, never for a query");
		goto fails;
	}
	if (!policy_whom_any(&c->whom)) {
		if (!client_explain(c, q, &next))
			goto fails;
		why_add(w, ", %s", next.text);
		next.len = 0;
	}
	if (c->n_types > 0) {
		if (!type_explain(c, q->type, &next))
			goto fails;
		why_add(w, ", %s", next.text);
	}
	if (c->listeners) {
		if (!listener_explain(c, q, &next))
			goto fails;
		why_add(w, ", %s", next.text);
	}
	return true;
fails:
	*w = next;
	return false;
}

/* In the order in which they are tried. */
static void unless_explain(const struct policy *p, const struct policy_rule *rule, struct why *w)
{
	for (size_t i = 0; i < rule->n_unless; i++) {
		const struct policy_unless *u = &rule->unless[i];

		why_add(w, "; unless in");
		for (size_t j = 0; j < u->n_lists; j++)
			why_add(w, " %s", p->lists[u->lists[j]].name);
		why_add(w, ": egress %s", u->egress ? u->egress->name : "none");
	}
}

static void check_explain(const struct policy *p, const struct policy_rule *rule, struct why *w)
{
	for (size_t i = 0; i < rule->n_checks; i++) {
		const struct policy_check *c = &rule->checks[i];

		why_add(w, "; check: %s %s",
			c->match == CONF_CHECK_ALL ? "all addresses" : "any address",
			c->answers == CONF_CHECK_IN ? "in" : "out of");
		for (size_t j = 0; j < c->n_lists; j++)
			why_add(w, " %s", p->lists[c->lists[j]].name);
		why_add(w, ": rule %s%s", c->rule->name, c->learned ? ", learned" : "");
	}
}

/* The name is one that a check of the rule has learned: told as the check's rule's. */
static const struct policy_check *learned_explain(const struct policy *p, size_t index,
	const struct policy_question *q, const struct matcher_hits *hits,
	const struct policy_explain_sink *sink)
{
	const struct policy_check *c = policy_check_learned(p, &p->rules[index], q, hits, NULL);
	struct why why = {.len = 0};

	if (!c)
		return NULL;
	why_add(&why, "learned from the check of rule %s (list", c->owner->name);
	for (size_t i = 0; i < c->n_lists; i++)
		why_add(&why, " %s", p->lists[c->lists[i]].name);
	why_add(&why, ")");
	unless_explain(p, c->rule, &why);
	sink->rule(sink->arg, &(struct policy_explain_rule){
				      .name = c->rule->name, .matched = true, .why = why.text});
	return c;
}

/* "A rule that fakes meets a name that is never faked": which of the two wins, and why. */
static void except_explain(const struct policy *p, size_t index, const struct dns_name *name,
	const struct matcher_hits *hits, void (*tell)(void *arg, const char *text), void *arg)
{
	const struct policy_condition *c = &p->conditions[index];
	char text[DNS_NAME_TEXT_MAX];
	const char *who, *how = "";
	struct why note = {.len = 0};
	int source = -1;
	bool never;

	if (p->rules[index].answer != CONF_ANSWER_FAKE ||
		policy_except_labels(p, name, hits, &source) < 0)
		return;
	never = policy_never_fake(p, c, name, hits);
	who = source >= 0 && is_list(p, (unsigned)source)
		      ? p->lists[(unsigned)source - POLICY_FIRST_LIST].name
		      : "built-in";
	if (source >= 0 && is_list(p, (unsigned)source))
		how = "list ";
	why_add(&note, "%s%s is in fakeip.except (%s%s%s)", never ? "never fake: " : "",
		dns_name_format(name->b, text), how, who,
		source < 0 ? ": a name of one label" : "");
	if (!never)
		why_add(&note, ", but a domain of rule %s lies at or below it",
			p->rules[index].name);
	if (tell)
		tell(arg, note.text);
}

static void also_explain(const struct policy_rule *rule, struct why *w)
{
	char text[CONF_SET_TEXT_MAX];

	why_add(w, "; goes on, and adds");
	for (size_t i = 0; i < rule->n_sets; i++)
		why_add(w, " %s", conf_set_format(&rule->sets[i], text, sizeof text));
}

/* One rule, as deciding meets it. */
static void rule_tell(const struct policy *p, size_t index, const struct policy_question *question,
	const struct matcher_hits *hits, const struct policy_explain_sink *sink,
	struct policy_decision *d)
{
	const struct policy_rule *rule = &p->rules[index];
	const struct policy_condition *c = &p->conditions[index];
	struct policy_explain_rule told = {.name = rule->name};
	struct why why;

	d->learned = learned_explain(p, index, question, hits, sink);
	if (d->learned) {
		d->rule = d->learned->rule;
		return;
	}
	told.matched = rule_explain(p, index, question, hits, &why);
	if (told.matched && c->also) {
		d->also |= 1ULL << c->also_bit;
		also_explain(rule, &why);
	} else if (told.matched) {
		d->rule = rule;
		unless_explain(p, rule, &why);
		check_explain(p, rule, &why);
	}
	told.why = why.text;
	sink->rule(sink->arg, &told);
}

struct policy_decision policy_explain(const struct policy *p,
	const struct policy_question *question, const struct policy_explain_sink *sink)
{
	struct policy_decision d = {.rule = &p->fallback};
	struct matcher_hits plain, hits;

	matcher_find(p->matcher, question->name, &plain);
	policy_find(p, question->name, NULL, &hits);
	for (unsigned i = 0; i < p->n_lists; i++) {
		unsigned source = policy_list_source(i);
		bool held = matcher_hits_has(&hits, source);

		if (held || matcher_hits_has(&plain, source))
			explain_list(&p->lists[i], question->name, held, sink);
	}
	for (size_t i = 0; i < p->n_rules && d.rule == &p->fallback; i++)
		rule_tell(p, i, question, &hits, sink, &d);
	policy_decision_end(p, question->name, &hits, &d);
	if (d.rule != &p->fallback)
		except_explain(p, (size_t)(d.rule - p->rules), question->name, &hits,
			d.builtin == POLICY_BUILTIN_NONE ? sink->note : NULL, sink->arg);
	return d;
}
