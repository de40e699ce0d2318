/* Rules, and what they name: egresses, sets, conditions. */
#include "gateway/policy/build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/policy/records.h"

/* --- domains --- */

static bool is_root(const char *domain)
{
	return strcmp(domain, ".") == 0;
}

static bool matches_every_name(const struct conf_rule *rule)
{
	for (size_t i = 0; i < rule->domain.n; i++)
		if (is_root(rule->domain.v[i]))
			return true;
	return rule->domain.n == 0 && rule->n_lists == 0 && !rule->unqualified;
}

static const char *behind(const char *text, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

int policy_domain_parse(const char *domain, struct policy_domain *ret)
{
	const char *full = behind(domain, "full:");

	ret->is = LIST_ENTRY_KEYWORD;
	ret->pattern = behind(domain, "keyword:");
	if (!ret->pattern) {
		ret->is = LIST_ENTRY_REGEXP;
		ret->pattern = behind(domain, "regexp:");
	}
	if (ret->pattern) {
		ret->pattern_len = strlen(ret->pattern);
		return ret->pattern_len ? 0 : -EINVAL;
	}
	ret->is = LIST_ENTRY_NAME;
	ret->kind = full ? MATCHER_EXACT : MATCHER_SUFFIX;
	domain = full ? full : domain;
	return dns_name_parse(domain, strlen(domain), &ret->name);
}

static int domain_add(struct build *b, const struct conf_rule *rule, const char *key,
	const char *text, unsigned source)
{
	struct policy_domain d = {.is = LIST_ENTRY_NAME};
	char why[256] = "allowed: NAME, full:NAME, keyword:TEXT, regexp:EXPRESSION";
	int err = policy_domain_parse(text, &d);

	if (!err && d.is == LIST_ENTRY_NAME)
		err = matcher_builder_add(b->names, source, d.kind, &d.name);
	else if (!err && d.is == LIST_ENTRY_KEYWORD)
		err = matcher_builder_add_keyword(b->names, source, d.pattern, d.pattern_len);
	else if (!err)
		err = matcher_builder_add_regexp(
			b->names, source, d.pattern, d.pattern_len, why, sizeof why);
	if (err != -EINVAL)
		return err;
	build_complain(b, rule->line, rule->column, "rules.%s.%s: '%s' is not understood; %s%s",
		rule->name, key, text, why,
		d.is == LIST_ENTRY_REGEXP ? "; allowed: an expression of PCRE2" : "");
	return 0;
}

/* Copies texts that explain shows. */
static const char **texts_copy(struct arena *arena, const struct conf_strings *from)
{
	const char **texts = arena_array(arena, from->n + 1, sizeof *texts);

	for (size_t i = 0; texts && i < from->n; i++) {
		texts[i] = arena_strdup(arena, from->v[i]);
		if (!texts[i])
			return NULL;
	}
	return texts;
}

/* --- conditions --- */

static int condition_names(
	struct build *b, const struct conf_rule *rule, struct policy_condition *c)
{
	uint16_t *sources = arena_array(b->p->arena, rule->n_lists + 1, sizeof *sources);
	unsigned own;

	c->domains = texts_copy(b->p->arena, &rule->domain);
	if (!sources || !c->domains)
		return -ENOMEM;
	c->any_name = matches_every_name(rule);
	c->unqualified = rule->unqualified;
	c->sources = sources;
	c->n_domains = rule->domain.n;
	c->own = -1;
	for (size_t i = 0; i < rule->n_lists; i++)
		sources[c->n_sources++] = (uint16_t)policy_list_source((size_t)rule->lists[i]);
	if (rule->domain.n == 0)
		return 0;
	if (build_source(b, &own))
		return -ENOSPC;
	matcher_builder_keep(b->names, own);
	sources[c->n_sources++] = (uint16_t)own;
	for (size_t i = 0; i < rule->domain.n; i++) {
		int err;

		/* The root is kept out: it lies above every name that is never faked. */
		if (is_root(rule->domain.v[i]))
			continue;
		err = domain_add(b, rule, "domain", rule->domain.v[i], own);
		if (err)
			return err;
		c->own = (int)own;
	}
	return 0;
}

static int condition_except(
	struct build *b, const struct conf_rule *rule, struct policy_condition *c)
{
	uint16_t *except = arena_array(b->p->arena, rule->n_except_lists + 1, sizeof *except);
	unsigned own;
	int err = 0;

	c->except_names = texts_copy(b->p->arena, &rule->except_names);
	if (!except || !c->except_names)
		return -ENOMEM;
	c->except = except;
	c->n_except_names = rule->except_names.n;
	for (size_t i = 0; i < rule->n_except_lists; i++)
		except[c->n_except++] = (uint16_t)policy_list_source((size_t)rule->except_lists[i]);
	if (rule->except_names.n == 0)
		return 0;
	if (build_source(b, &own))
		return -ENOSPC;
	except[c->n_except++] = (uint16_t)own;
	for (size_t i = 0; i < rule->except_names.n && !err; i++)
		err = domain_add(b, rule, "except", rule->except_names.v[i], own);
	return err;
}

static int prefixes_copy(struct arena *arena, const struct conf_prefixes *from,
	const struct ip_prefix **ret, size_t *ret_n)
{
	struct ip_prefix *v = arena_array(arena, from->n + 1, sizeof *v);

	if (!v)
		return -ENOMEM;
	if (from->n > 0)
		memcpy(v, from->v, from->n * sizeof *v);
	*ret_n = policy_clients_normalise(v, from->n);
	*ret = v;
	return 0;
}

static int mac_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct conf_mac));
}

static int text_compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts, and drops what is there twice: who writes the same clients in another order means the same
 * view. Returns how many are left. */
static size_t in_order(void *v, size_t n, size_t size, int (*compare)(const void *a, const void *b))
{
	size_t kept = n > 0;
	char *at = v;

	if (n > 1)
		qsort(v, n, size, compare);
	for (size_t i = 1; i < n; i++)
		if (compare(at + (kept - 1) * size, at + i * size) != 0)
			memmove(at + kept++ * size, at + i * size, size);
	return kept;
}

static int condition_whom(struct build *b, const struct conf_rule *rule, struct policy_whom *w)
{
	const struct conf_who *from = &rule->client;
	struct arena *arena = b->p->arena;
	const char **hosts, **interfaces;
	struct conf_mac *macs = NULL;

	if (prefixes_copy(arena, &from->prefixes, &w->prefixes, &w->n_prefixes) ||
		prefixes_copy(arena, &rule->not_client, &w->not, &w->n_not))
		return -ENOMEM;
	if (from->n_macs > 0)
		macs = arena_copy(arena, from->macs, from->n_macs * sizeof *from->macs);
	hosts = texts_copy(arena, &from->hosts);
	interfaces = texts_copy(arena, &from->interfaces);
	if ((from->n_macs > 0 && !macs) || !hosts || !interfaces)
		return -ENOMEM;
	w->n_macs = in_order(macs, from->n_macs, sizeof *macs, mac_compare);
	w->n_hosts = in_order(hosts, from->hosts.n, sizeof *hosts, text_compare);
	w->n_interfaces =
		in_order(interfaces, from->interfaces.n, sizeof *interfaces, text_compare);
	w->macs = macs;
	w->hosts = hosts;
	w->interfaces = interfaces;
	b->p->asks_who |= policy_whom_asks(w);
	return 0;
}

static int condition_build(
	struct build *b, const struct conf_rule *rule, struct policy_condition *c)
{
	uint16_t *types = arena_array(b->p->arena, rule->n_types + 1, sizeof *types);
	uint16_t *to = arena_array(b->p->arena, rule->n_to + 1, sizeof *to);
	int err;

	if (!types || !to)
		return -ENOMEM;
	if (rule->n_types > 0)
		memcpy(types, rule->types, rule->n_types * sizeof *types);
	for (size_t i = 0; i < rule->n_to; i++)
		to[i] = (uint16_t)rule->to[i];
	c->types = types;
	c->n_types = rule->n_types;
	c->to = to;
	c->n_to = rule->n_to;
	c->listeners = rule->listeners;
	c->also = rule->also;
	err = condition_whom(b, rule, &c->whom);
	if (!err)
		err = condition_names(b, rule, c);
	return err ? err : condition_except(b, rule, c);
}

/* --- effects --- */

static int text_copy(struct arena *arena, const char *from, char **ret)
{
	*ret = from ? arena_strdup(arena, from) : NULL;
	return from && !*ret ? -ENOMEM : 0;
}

static int rule_sets_build(struct build *b, const struct conf_rule *from, struct policy_rule *rule)
{
	struct policy *p = b->p;
	struct conf_set *sets = arena_array(p->arena, from->n_sets, sizeof *sets);

	if (!sets)
		return -ENOMEM;
	rule->sets = sets;
	rule->n_sets = from->n_sets;
	rule->set_base = (unsigned)p->n_sets;
	for (size_t i = 0; i < from->n_sets; i++) {
		const struct conf_set *set = &from->sets[i];

		sets[i] = *set;
		sets[i].name = arena_strdup(p->arena, set->name);
		if (!sets[i].name || text_copy(p->arena, set->table, &sets[i].table) ||
			text_copy(p->arena, set->key, &sets[i].key) ||
			text_copy(p->arena, set->value, &sets[i].value))
			return -ENOMEM;
		p->sets[p->n_sets++] = &sets[i];
	}
	return 0;
}

static int rule_unless_build(
	struct build *b, const struct conf_rule *from, struct policy_rule *rule)
{
	struct arena *arena = b->p->arena;
	struct policy_unless *all;

	if (from->answer != CONF_ANSWER_FAKE || from->n_unless == 0)
		return 0;
	all = arena_array(arena, from->n_unless, sizeof *all);
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < from->n_unless; i++) {
		const struct conf_unless *u = &from->unless[i];
		uint16_t *lists = arena_array(arena, u->n_lists, sizeof *lists);

		if (!lists)
			return -ENOMEM;
		for (size_t j = 0; j < u->n_lists; j++)
			lists[j] = (uint16_t)u->lists[j];
		all[i] = (struct policy_unless){
			.egress = u->egress >= 0 ? &b->p->egresses[u->egress] : NULL,
			.upstream = u->upstream,
			.within_ms = u->within_ms,
			.lists = lists,
			.n_lists = u->n_lists,
		};
	}
	rule->unless = all;
	rule->n_unless = from->n_unless;
	return 0;
}

static void records_complain(void *arg, bool is_error, const char *text)
{
	build_report(arg, is_error, text);
}

static int rule_local_build(struct build *b, const struct conf_rule *from, struct policy_rule *rule)
{
	const struct list_sink complain = {.arg = b, .complain = records_complain};
	struct arena *arena = b->p->arena;
	struct records *records = NULL;
	struct dns_name *cname;
	int err;

	if (from->answer != CONF_ANSWER_LOCAL)
		return 0;
	if (from->n_addresses > 0) {
		rule->addresses = arena_copy(
			arena, from->addresses, from->n_addresses * sizeof *from->addresses);
		if (!rule->addresses)
			return -ENOMEM;
		rule->n_addresses = from->n_addresses;
	}
	if (from->cname) {
		cname = arena_alloc(arena, sizeof *cname);
		if (!cname)
			return -ENOMEM;
		if (dns_name_parse(from->cname, strlen(from->cname), cname))
			build_complain(b, from->line, from->column,
				"rules.%s.cname: '%s' is no domain name; allowed: NAME", from->name,
				from->cname);
		rule->cname = cname;
	}
	if (from->n_records == 0)
		return 0;
	err = records_rule_read(from->records, from->n_records, b->config->path,
		b->config->records.ttl_s, &complain, &records);
	rule->records = records;
	return err == -EINVAL ? 0 : err;
}

static int rule_also(struct build *b, struct policy_condition *c, const struct policy_rule *rule)
{
	if (!c->also)
		return 0;
	if (b->p->n_also >= POLICY_ALSO_MAX)
		return -ENOSPC;
	c->also_bit = b->p->n_also;
	b->p->also[b->p->n_also++] = rule;
	return 0;
}

static int rule_build(struct build *b, const struct conf_rule *from, struct policy_rule *rule,
	struct policy_condition *condition)
{
	int err = condition_build(b, from, condition);

	if (err)
		return err;
	rule->name = arena_strdup(b->p->arena, from->name);
	if (!rule->name)
		return -ENOMEM;
	rule->id = policy_id(from->name);
	rule->view = policy_view_id(&condition->whom);
	rule->answer = from->answer;
	rule->block = from->block;
	rule->filter = from->filter;
	rule->ttl_s = b->config->records.ttl_s;
	rule->egress = from->egress >= 0 ? &b->p->egresses[from->egress] : NULL;
	rule->upstream = from->upstream;
	rule->set_ttl = from->set_ttl;
	rule->push = from->push;
	rule->push_timeout_ms = from->push_timeout_ms;
	rule->on_error = from->on_error;
	rule->conntrack_forget = from->conntrack == CONF_CONNTRACK_FORGET;
	rule->ttl = from->ttl;
	rule->cache = from->cache;
	rule->rebind_set = from->rebind_set;
	rule->rebind = from->rebind;
	rule->carry = from->carry && from->answer == CONF_ANSWER_REAL && rule->egress &&
		      (rule->egress->type != CONF_EGRESS_DIRECT || rule->egress->mark.mask);
	err = rule_also(b, condition, rule);
	if (!err)
		err = rule_local_build(b, from, rule);
	if (!err)
		err = rule_unless_build(b, from, rule);
	if (!err)
		err = build_checks(b, from, rule, condition);
	return err ? err : rule_sets_build(b, from, rule);
}

int build_rules(struct build *b)
{
	const struct config *config = b->config;
	struct policy *p = b->p;
	struct policy_condition *conditions =
		arena_array(p->arena, config->n_rules, sizeof *conditions);
	size_t n_sets = 0, n_checks = 0;

	for (size_t i = 0; i < config->n_rules; i++) {
		n_sets += config->rules[i].n_sets;
		n_checks += config->rules[i].n_checks;
	}
	p->conditions = conditions;
	p->rules = arena_array(p->arena, config->n_rules, sizeof *p->rules);
	p->sets = arena_array(p->arena, n_sets, sizeof *p->sets);
	p->learning = arena_array(p->arena, n_checks, sizeof *p->learning);
	if (!conditions || !p->rules || !p->sets || !p->learning)
		return -ENOMEM;
	while (p->n_rules < config->n_rules) {
		size_t i = p->n_rules++;
		int err = rule_build(b, &config->rules[i], &p->rules[i], &conditions[i]);

		if (err)
			return err;
	}
	p->fallback = (struct policy_rule){
		.answer = CONF_ANSWER_REAL,
		.upstream = config->default_upstream,
		.ttl = {.max_s = UINT32_MAX},
		.cache = true,
	};
	return 0;
}

int build_egresses(struct build *b)
{
	const struct config *config = b->config;
	struct policy *p = b->p;

	p->n_egresses = config->n_egresses;
	p->egresses = arena_array(p->arena, p->n_egresses, sizeof *p->egresses);
	if (!p->egresses)
		return -ENOMEM;
	for (unsigned i = 0; i < p->n_egresses; i++) {
		const struct conf_egress *from = &config->egresses[i];
		char *name = arena_strdup(p->arena, from->name);

		if (!name)
			return -ENOMEM;
		p->egresses[i] = (struct policy_egress){
			.name = name,
			.id = policy_id(name),
			.type = from->type,
			.upstream = from->upstream,
			.mark = from->mark,
			.index = i,
			.udp = from->udp == CONF_CARRY,
			.quic = from->quic == CONF_CARRY,
			.ping = from->ping == CONF_PING_LOCAL,
		};
	}
	return 0;
}
