/* Building a policy from a configuration: everything is copied, lists are read, names go into one
 * matcher. */
#include "gateway/policy/policy_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "gateway/base/clock.h"

struct build {
	const struct config *config;
	struct policy *p;
	struct matcher_builder *names;
	struct addresses_builder *addresses;
	policy_report *report;
	void *report_arg;
	unsigned next_source;
	bool failed; /* an error was reported */
};

__attribute__((format(printf, 4, 5))) static void complain(
	struct build *b, unsigned line, unsigned column, const char *format, ...)
{
	char text[LIST_COMPLAIN_MAX];
	va_list args;
	int n = snprintf(text, sizeof text, "%s:%u:%u: ", b->config->path, line, column);

	va_start(args, format);
	if (n >= 0 && (size_t)n < sizeof text)
		(void)vsnprintf(text + n, sizeof text - (size_t)n, format, args);
	va_end(args);
	b->failed = true;
	b->report(b->report_arg, true, text);
}

/* --- lists --- */

struct list_load {
	struct build *b;
	unsigned source;
	size_t names;
};

static int list_entry_add(void *arg, const struct list_entry *entry)
{
	struct list_load *load = arg;
	bool is_new = false;
	int err;

	if (entry->prefix)
		return addresses_builder_add(load->b->addresses, load->source, entry->prefix);
	err = matcher_builder_add(load->b->names, load->source, entry->kind, entry->name, &is_new);

	load->names += is_new;
	return err;
}

static void list_complain(void *arg, bool is_error, const char *text)
{
	struct build *b = ((struct list_load *)arg)->b;

	b->failed |= is_error;
	b->report(b->report_arg, is_error, text);
}

/* Reads one file of a list; a fault of the file is reported, only -ENOMEM is returned. */
static int list_file_load(struct list_load *load, const struct conf_list *from,
	const struct policy_list *list, struct policy_file *file)
{
	const struct list_sink sink = {load, list_entry_add, list_complain};
	int err = list_file_read(file->path, list->key, &sink, NULL, &file->stamp);

	switch (err) {
	case 0:
	case -EBADMSG: /* told with its position */
		return 0;
	case -ENOMEM:
		return err;
	case -ENOSPC:
		complain(load->b, from->line, from->column,
			"%s: %s: too many names or prefixes in all lists; allowed: %u and %u",
			list->key, file->path, MATCHER_NAMES_MAX, ADDRESSES_MAX);
		return 0;
	case -EFBIG:
		complain(load->b, from->line, from->column,
			"%s: %s: too large; allowed: at most %llu bytes", list->key, file->path,
			LIST_FILE_MAX);
		return 0;
	case -EINVAL:
		complain(load->b, from->line, from->column,
			"%s: %s: neither a file nor a link to one; allowed: a text file", list->key,
			file->path);
		return 0;
	default:
		errno = -err;
		complain(load->b, from->line, from->column,
			"%s: %s: %m; allowed: a readable text file", list->key, file->path);
		return 0;
	}
}

static int list_load(struct build *b, unsigned index)
{
	const struct conf_list *from = &b->config->lists[index];
	struct arena *arena = b->p->arena;
	struct policy_list *list = &b->p->lists[index];
	struct list_load load = {b, index, 0};
	char *key = arena_printf(arena, "lists.%s", from->name);
	char *name = arena_strdup(arena, from->name);

	list->files = arena_array(arena, from->paths.n, sizeof *list->files);
	if (!key || !name || !list->files)
		return -ENOMEM;
	list->key = key;
	list->name = name;
	list->n_files = from->paths.n;
	for (size_t i = 0; i < list->n_files; i++) {
		int err;

		list->files[i].path = arena_strdup(arena, from->paths.v[i]);
		if (!list->files[i].path)
			return -ENOMEM;
		err = list_file_load(&load, from, list, &list->files[i]);
		if (err)
			return err;
	}
	b->p->infos[index] = (struct policy_list_info){
		.name = name,
		.names = load.names,
		.files = list->n_files,
		.loaded_at_s = clock_wall_s(),
	};
	return 0;
}

static int lists_load(struct build *b)
{
	struct policy *p = b->p;

	p->n_lists = b->config->n_lists;
	p->lists = arena_array(p->arena, p->n_lists, sizeof *p->lists);
	p->infos = arena_array(p->arena, p->n_lists, sizeof *p->infos);
	if (!p->lists || !p->infos)
		return -ENOMEM;
	for (unsigned i = 0; i < p->n_lists; i++) {
		int err = list_load(b, i);

		if (err)
			return err;
	}
	return 0;
}

/* --- rules --- */

static bool is_root(const char *domain)
{
	return strcmp(domain, ".") == 0;
}

static bool matches_every_name(const struct conf_rule *rule)
{
	for (size_t i = 0; i < rule->domain.n; i++)
		if (is_root(rule->domain.v[i]))
			return true;
	return rule->domain.n == 0 && rule->n_lists == 0;
}

int policy_domain_parse(const char *domain, enum matcher_kind *ret_kind, struct dns_name *ret)
{
	bool full = strncmp(domain, "full:", 5) == 0;

	*ret_kind = full ? MATCHER_EXACT : MATCHER_SUFFIX;
	domain += full ? 5 : 0;
	return dns_name_parse(domain, strlen(domain), ret);
}

static int domain_add(
	struct build *b, const struct conf_rule *rule, const char *domain, unsigned source)
{
	enum matcher_kind kind;
	struct dns_name name;
	int err;

	if (policy_domain_parse(domain, &kind, &name)) {
		complain(b, rule->line, rule->column,
			"rules.%s.domain: '%s' is not a domain name; allowed: NAME, full:NAME",
			rule->name, domain);
		return 0;
	}
	err = matcher_builder_add(b->names, source, kind, &name, NULL);
	if (err != -ENOSPC)
		return err;
	complain(b, rule->line, rule->column,
		"rules.%s.domain: too many names in all lists; allowed: %u", rule->name,
		MATCHER_NAMES_MAX);
	return 0;
}

static int condition_names(
	struct build *b, const struct conf_rule *rule, struct policy_condition *c)
{
	struct arena *arena = b->p->arena;
	uint16_t *sources = arena_array(arena, rule->n_lists + 1, sizeof *sources);
	const char **domains = arena_array(arena, rule->domain.n, sizeof *domains);

	if (!sources || !domains)
		return -ENOMEM;
	c->any_name = matches_every_name(rule);
	c->sources = sources;
	c->domains = domains;
	c->n_domains = rule->domain.n;
	c->own = -1;
	for (size_t i = 0; i < rule->n_lists; i++)
		sources[c->n_sources++] = (uint16_t)rule->lists[i];
	if (rule->domain.n > 0)
		sources[c->n_sources++] = (uint16_t)b->next_source;
	for (size_t i = 0; i < rule->domain.n; i++) {
		/* The root is kept out: it lies above every name that is never faked. */
		if (!is_root(rule->domain.v[i])) {
			int err = domain_add(b, rule, rule->domain.v[i], b->next_source);

			if (err)
				return err;
			c->own = (int)b->next_source;
		}
		domains[i] = arena_strdup(arena, rule->domain.v[i]);
		if (!domains[i])
			return -ENOMEM;
	}
	b->next_source += rule->domain.n > 0;
	return 0;
}

static int condition_build(
	struct build *b, const struct conf_rule *rule, struct policy_condition *c)
{
	struct ip_prefix *clients = arena_array(b->p->arena, rule->client.n, sizeof *clients);
	uint16_t *types = arena_array(b->p->arena, rule->n_types, sizeof *types);

	if (!clients || !types)
		return -ENOMEM;
	if (rule->client.n > 0)
		memcpy(clients, rule->client.v, rule->client.n * sizeof *clients);
	c->n_clients = policy_clients_normalise(clients, rule->client.n);
	c->clients = clients;
	if (rule->n_types > 0)
		memcpy(types, rule->types, rule->n_types * sizeof *types);
	c->types = types;
	c->n_types = rule->n_types;
	return condition_names(b, rule, c);
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
		sets[i].table = set->table ? arena_strdup(p->arena, set->table) : NULL;
		if (!sets[i].name || (set->table && !sets[i].table))
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
	rule->view = policy_view_id(condition->clients, condition->n_clients);
	rule->answer = from->answer;
	rule->egress = from->egress >= 0 ? &b->p->egresses[from->egress] : NULL;
	rule->upstream = from->upstream;
	rule->set_ttl = from->set_ttl;
	rule->on_error = from->on_error;
	rule->carry = from->carry && from->answer == CONF_ANSWER_REAL && rule->egress &&
		      (rule->egress->type != CONF_EGRESS_DIRECT || rule->egress->mark.mask);
	err = rule_unless_build(b, from, rule);
	return err ? err : rule_sets_build(b, from, rule);
}

static int rules_build(struct build *b)
{
	const struct config *config = b->config;
	struct policy *p = b->p;
	struct policy_condition *conditions =
		arena_array(p->arena, config->n_rules, sizeof *conditions);
	size_t n_sets = 0;

	for (size_t i = 0; i < config->n_rules; i++)
		n_sets += config->rules[i].n_sets;
	p->conditions = conditions;
	p->rules = arena_array(p->arena, config->n_rules, sizeof *p->rules);
	p->sets = arena_array(p->arena, n_sets, sizeof *p->sets);
	if (!conditions || !p->rules || !p->sets)
		return -ENOMEM;
	for (p->n_rules = 0; p->n_rules < config->n_rules; p->n_rules++) {
		int err = rule_build(b, &config->rules[p->n_rules], &p->rules[p->n_rules],
			&conditions[p->n_rules]);

		if (err)
			return err;
	}
	p->fallback = (struct policy_rule){
		.answer = CONF_ANSWER_REAL,
		.upstream = config->default_upstream,
	};
	return 0;
}

static int egresses_build(struct build *b)
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

/* --- names that are never faked --- */

static int builtin_read(struct build *b, unsigned source)
{
	struct list_load load = {b, source, 0};
	const struct list_sink sink = {&load, list_entry_add, list_complain};
	struct list_counts counts;
	struct list_plain *r;
	int err = list_plain_new("never-fake.txt (built-in)", "fakeip.except", &sink, &r);

	if (err)
		return err;
	err = list_plain_feed(r, (const char *)policy_never_fake_text, policy_never_fake_text_size);
	if (!err)
		err = list_plain_end(r, &counts);
	list_plain_free(r);
	return err;
}

static int except_build(struct build *b)
{
	const struct conf_fakeip *from = &b->config->fakeip;
	struct policy_except *e = &b->p->except;

	e->sources = arena_array(b->p->arena, from->n_except + 1, sizeof *e->sources);
	if (!e->sources)
		return -ENOMEM;
	for (size_t i = 0; i < from->n_except; i++)
		e->sources[e->n_sources++] = (uint16_t)from->except[i];
	e->builtin = from->except_builtin;
	if (!e->builtin)
		return 0;
	e->sources[e->n_sources++] = (uint16_t)b->next_source;
	return builtin_read(b, b->next_source++);
}

/* --- the whole --- */

/* The key only has to be unknown to whoever writes lists. Early at boot the kernel may have no
 * randomness yet, and waiting for it would leave the network without names. */
static uint64_t matcher_key(void)
{
	uint64_t key;

	if (getrandom(&key, sizeof key, GRND_NONBLOCK) != (ssize_t)sizeof key)
		key = (uint64_t)clock_us() * 0x9e3779b97f4a7c15ULL;
	return key;
}

static unsigned sources_count(const struct config *config)
{
	size_t n = config->n_lists + config->fakeip.except_builtin;

	for (size_t i = 0; i < config->n_rules; i++)
		n += config->rules[i].domain.n > 0;
	return n > MATCHER_SOURCES_MAX ? MATCHER_SOURCES_MAX + 1 : (unsigned)n;
}

static int parts_build(struct build *b)
{
	unsigned n_sources = sources_count(b->config);
	int err;

	if (n_sources > MATCHER_SOURCES_MAX) {
		complain(b, 1, 1,
			"rules: too many lists and rules with domains; allowed: %u in all",
			MATCHER_SOURCES_MAX);
		return -EINVAL;
	}
	err = matcher_builder_new(matcher_key(), n_sources, &b->names);
	if (!err)
		err = addresses_builder_new(&b->addresses);
	if (!err)
		err = egresses_build(b);
	if (!err)
		err = lists_load(b);
	b->next_source = (unsigned)b->p->n_lists;
	if (!err)
		err = except_build(b);
	if (!err)
		err = rules_build(b);
	if (!err && b->failed)
		err = -EINVAL;
	return err;
}

static int addresses_pack(struct build *b)
{
	size_t *counts = calloc(b->p->n_lists + 1, sizeof *counts);
	int err;

	if (!counts)
		return -ENOMEM;
	err = addresses_builder_finish(b->addresses, counts, &b->p->addresses);
	if (!err)
		b->addresses = NULL;
	for (size_t i = 0; i < b->p->n_lists; i++)
		b->p->infos[i].cidrs = counts[i];
	free(counts);
	if (err != -ENOSPC)
		return err;
	complain(b, 1, 1, "lists: too many combinations of lists hold the same addresses");
	return -EINVAL;
}

int policy_build(const struct config *config, policy_report *report, void *arg, struct policy **ret)
{
	struct build b = {.config = config, .report = report, .report_arg = arg};
	int err = -ENOMEM;

	b.p = calloc(1, sizeof *b.p);
	if (!b.p)
		return err;
	b.p->refs = 1;
	b.p->arena = arena_new();
	if (!b.p->arena)
		goto fail;
	err = parts_build(&b);
	if (err)
		goto fail;
	err = addresses_pack(&b);
	if (err)
		goto fail;
	err = matcher_builder_finish(b.names, &b.p->matcher);
	if (err)
		goto fail;
	*ret = b.p;
	return 0;
fail:
	matcher_builder_free(b.names);
	addresses_builder_free(b.addresses);
	policy_unref(b.p);
	return err;
}
