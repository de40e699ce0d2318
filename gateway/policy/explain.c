/* The decision once more, in words. Slower than policy_decide() and by the same conditions; reads
 * the sources of lists again to find the line, so that a policy need not keep them. */
#include "gateway/policy/policy_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/dns/message.h"

#define WHY_MAX	 1536 /* a name as text fits, with words around it */
#define TEXT_MAX 1100 /* so does one in a line of a list */

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

/* --- lists --- */

struct search {
	const struct dns_name *name;
	bool found;
	unsigned labels; /* of the closest entry so far */
	unsigned line;
	char text[TEXT_MAX];
};

static bool entry_holds(
	enum matcher_kind kind, const struct dns_name *held, const struct dns_name *name)
{
	return kind == MATCHER_EXACT ? dns_name_equal(name, held) : dns_name_is_below(name, held);
}

static int search_entry(void *arg, const struct list_entry *entry)
{
	struct search *s = arg;
	size_t n = entry->text_len < sizeof s->text ? entry->text_len : sizeof s->text - 1;

	if (entry->prefix || !entry_holds(entry->kind, entry->name, s->name) ||
		(s->found && entry->name->labels <= s->labels))
		return 0;
	s->found = true;
	s->labels = entry->name->labels;
	s->line = entry->line;
	memcpy(s->text, entry->text, n);
	s->text[n] = 0;
	return 0;
}

/* The closest entry of the first file that holds the name and is still the one that was loaded. */
static void list_explain(const struct policy_list *list, const struct dns_name *name,
	const struct policy_explain_sink *sink)
{
	struct policy_explain_list found = {.list = list->name, .text = ""};
	struct search s;

	for (size_t i = 0; i < list->n_files; i++) {
		const struct policy_file *file = &list->files[i];
		const struct list_sink reader = {&s, search_entry, NULL};
		struct list_stamp stamp;

		s = (struct search){.name = name};
		if (list_file_read(file->path, list->key, &reader, NULL, &stamp) ||
			!list_stamp_equal(&stamp, &file->stamp)) {
			/* It may be this one: told, unless another file has the name for certain.
			 */
			if (!found.file)
				found.file = file->path;
		} else if (s.found) {
			found.file = file->path;
			found.line = s.line;
			found.text = s.text;
			break;
		}
	}
	if (!found.file && list->n_files > 0)
		found.file = list->files[0].path;
	sink->list(sink->arg, &found);
}

/* --- rules --- */

/* Which of the rule's own domains holds the name; NULL: none. */
static const char *domain_match(
	const struct policy_condition *c, const struct dns_name *name, enum matcher_kind *ret_kind)
{
	for (size_t i = 0; i < c->n_domains; i++) {
		struct dns_name held;

		if (policy_domain_parse(c->domains[i], ret_kind, &held) == 0 &&
			entry_holds(*ret_kind, &held, name))
			return c->domains[i];
	}
	return NULL;
}

static const char *names_of(const struct policy_condition *c)
{
	if (c->n_domains == 0)
		return "list";
	return c->n_sources > 1 ? "domain or list" : "domain";
}

static void name_explain(const struct policy *p, const struct policy_condition *c,
	const struct dns_name *name, const struct matcher_hits *hits, struct why *w)
{
	enum matcher_kind kind;
	const char *domain = c->any_name ? NULL : domain_match(c, name, &kind);

	if (c->any_name) {
		why_add(w, "matches every name");
	} else if (domain) {
		why_add(w, "domain: %s is %s the name", domain,
			kind == MATCHER_EXACT ? "exactly" : "at or above");
	} else if (!policy_name_matches(c, hits)) {
		why_add(w, "no %s of the rule holds the name", names_of(c));
	} else {
		const char *before = "list: ";

		for (size_t i = 0; i < c->n_sources; i++) {
			if (c->sources[i] >= p->n_lists || !matcher_hits_has(hits, c->sources[i]))
				continue;
			why_add(w, "%s%s", before, p->lists[c->sources[i]].name);
			before = " ";
		}
		why_add(w, " holds the name");
	}
}

static void client_explain(
	const struct policy_condition *c, const struct ip_addr *client, struct why *w)
{
	const struct ip_prefix *match = policy_client_match(c, client);
	char text[IP_TEXT_MAX], prefix[IP_TEXT_MAX];

	if (client->family == IP_NONE) {
		why_add(w, "the client is not known, the rule is for");
	} else if (match) {
		why_add(w, "client %s is in %s", ip_addr_format(client, text),
			ip_prefix_format(match, prefix));
		return;
	} else {
		why_add(w, "client %s is not in", ip_addr_format(client, text));
	}
	for (size_t i = 0; i < c->n_clients; i++)
		why_add(w, " %s", ip_prefix_format(&c->clients[i], prefix));
}

static void type_explain(const struct policy_condition *c, uint16_t type, struct why *w)
{
	char text[16];

	why_add(w, "type %s is %s", dns_type_format(type, text),
		policy_type_matches(c, type) ? "in" : "not in");
	for (size_t i = 0; i < c->n_types; i++)
		why_add(w, " %s", dns_type_format(c->types[i], text));
}

/* The first condition that fails, or all that hold. */
static bool rule_explain(const struct policy *p, size_t index,
	const struct policy_question *question, const struct matcher_hits *hits, struct why *w)
{
	const struct policy_condition *c = &p->conditions[index];

	w->len = 0;
	name_explain(p, c, question->name, hits, w);
	if (!policy_name_matches(c, hits))
		return false;
	if (c->n_clients > 0) {
		bool holds = policy_client_match(c, &question->client) != NULL;

		if (holds)
			why_add(w, ", ");
		else
			w->len = 0;
		client_explain(c, &question->client, w);
		if (!holds)
			return false;
	}
	if (c->n_types > 0) {
		bool holds = policy_type_matches(c, question->type);

		if (holds)
			why_add(w, ", ");
		else
			w->len = 0;
		type_explain(c, question->type, w);
		return holds;
	}
	return true;
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

/* "A rule that fakes meets a name that is never faked": which of the two wins, and why. */
static bool except_explain(const struct policy *p, size_t index, const struct dns_name *name,
	const struct matcher_hits *hits, const struct policy_explain_sink *sink)
{
	const struct policy_condition *c = &p->conditions[index];
	char text[DNS_NAME_TEXT_MAX];
	const char *who, *how = "";
	struct why note = {.len = 0};
	int source = -1;
	bool never;

	if (p->rules[index].answer != CONF_ANSWER_FAKE ||
		policy_except_labels(p, name, hits, &source) < 0)
		return false;
	never = policy_never_fake(p, c, name, hits);
	who = source >= 0 && (size_t)source < p->n_lists ? p->lists[source].name : "built-in";
	if (source >= 0 && (size_t)source < p->n_lists)
		how = "list ";
	why_add(&note, "%s%s is in fakeip.except (%s%s%s)", never ? "never fake: " : "",
		dns_name_format(name->b, text), how, who,
		source < 0 ? ": a name of one label" : "");
	if (!never)
		why_add(&note, ", but a domain of rule %s lies at or below it",
			p->rules[index].name);
	if (sink->note)
		sink->note(sink->arg, note.text);
	return never;
}

struct policy_decision policy_explain(const struct policy *p,
	const struct policy_question *question, const struct policy_explain_sink *sink)
{
	struct matcher_hits hits;
	struct why why;

	matcher_find(p->matcher, question->name, &hits);
	for (unsigned i = 0; i < p->n_lists; i++)
		if (matcher_hits_has(&hits, i))
			list_explain(&p->lists[i], question->name, sink);
	for (size_t i = 0; i < p->n_rules; i++) {
		struct policy_explain_rule rule = {.name = p->rules[i].name};

		rule.matched = rule_explain(p, i, question, &hits, &why);
		if (rule.matched)
			unless_explain(p, &p->rules[i], &why);
		rule.why = why.text;
		sink->rule(sink->arg, &rule);
		if (rule.matched)
			return (struct policy_decision){
				&p->rules[i], except_explain(p, i, question->name, &hits, sink)};
	}
	return (struct policy_decision){&p->fallback, false};
}
