/* Building a policy from a configuration: everything is copied, lists are read, names go into one
 * matcher. */
#include "gateway/policy/build.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "gateway/base/clock.h"
#include "gateway/match/patterns.h"

void build_report(struct build *b, bool is_error, const char *text)
{
	b->failed |= is_error;
	if (b->c->report)
		b->c->report(b->c->report_arg, is_error, text);
}

void build_complain(struct build *b, unsigned line, unsigned column, const char *format, ...)
{
	char text[LIST_COMPLAIN_MAX];
	va_list args;
	int n = snprintf(text, sizeof text, "%s:%u:%u: ", b->config->path, line, column);

	va_start(args, format);
	if (n >= 0 && (size_t)n < sizeof text)
		(void)vsnprintf(text + n, sizeof text - (size_t)n, format, args);
	va_end(args);
	build_report(b, true, text);
}

int build_source(struct build *b, unsigned *ret)
{
	if (b->next_source >= b->n_sources)
		return -ENOSPC;
	*ret = b->next_source++;
	return 0;
}

/* --- the key --- */

/* The key only has to be unknown to whoever writes lists. Early at boot the kernel may have no
 * randomness yet, and waiting for it would leave the network without names. The same for as long as
 * the process lives, so that a policy can take lists from the one before. */
static uint64_t own_key(void)
{
	static _Atomic uint64_t own;
	uint64_t none = 0, key;

	if (own)
		return own;
	if (getrandom(&key, sizeof key, GRND_NONBLOCK) != (ssize_t)sizeof key)
		key = (uint64_t)clock_us() * 0x9e3779b97f4a7c15ULL;
	key |= key == 0;
	return atomic_compare_exchange_strong(&own, &none, key) ? key : none;
}

static bool is_compiled(const struct conf_list_file *f)
{
	enum list_format format = (enum list_format)f->format;

	if (format == LIST_AUTO && list_detect(f->path, &format))
		return false;
	return format == LIST_COMPILED;
}

static uint64_t build_key(const struct config *config)
{
	for (size_t i = 0; i < config->n_lists; i++)
		for (size_t j = 0; j < config->lists[i].n_files; j++)
			if (is_compiled(&config->lists[i].files[j]))
				return MATCHER_IMAGE_KEY;
	return own_key();
}

/* --- the whole --- */

/* Each list and each rule may want several; what is too much is told by build_source(). */
static unsigned sources_count(const struct config *config)
{
	size_t n = POLICY_FIRST_LIST + config->n_lists * LIST_PARTS + 1;

	for (size_t i = 0; i < config->n_rules; i++)
		n += (config->rules[i].domain.n > 0) + (config->rules[i].except_names.n > 0);
	return n > MATCHER_SOURCES_MAX ? MATCHER_SOURCES_MAX : (unsigned)n;
}

static int parts_build(struct build *b)
{
	uint64_t key = build_key(b->config);
	int err;

	b->n_sources = sources_count(b->config);
	b->next_source = policy_list_source(b->config->n_lists);
	if (b->next_source > b->n_sources)
		return -ENOSPC;
	if (b->c->previous && matcher_key(b->c->previous->matcher) == key)
		b->previous = b->c->previous;
	err = matcher_builder_new(key, b->n_sources, &b->names);
	if (!err)
		err = addresses_builder_new(&b->addresses);
	if (!err)
		err = policy_builtin_add(b->names, b->config->builtin);
	if (!err)
		err = build_egresses(b);
	if (!err)
		err = build_lists(b);
	if (!err)
		err = build_except(b);
	if (!err)
		err = build_rules(b);
	if (!err)
		err = build_leaks(b);
	if (!err && b->failed)
		err = -EINVAL;
	return err;
}

static int pack(struct build *b)
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
	if (!err)
		err = matcher_builder_finish(b->names, &b->p->matcher);
	if (err)
		return err;
	b->names = NULL;
	for (size_t i = 0; i < b->p->n_lists; i++)
		for (size_t part = 0; part < LIST_PARTS; part++)
			if (b->p->lists[i].parts[part] >= 0)
				b->p->infos[i].names += matcher_count(
					b->p->matcher, (unsigned)b->p->lists[i].parts[part]);
	return 0;
}

static void warn(struct build *b, const struct conf_rule *rule, const char *key, const char *list,
	const char *what)
{
	char text[LIST_COMPLAIN_MAX];

	(void)snprintf(text, sizeof text, "%s:%u:%u: warning: rules.%s.%s: %s %s", b->config->path,
		rule->line, rule->column, rule->name, key, list, what);
	build_report(b, false, text);
}

static void warn_of_check(
	struct build *b, const struct conf_rule *rule, const struct conf_check *check)
{
	for (size_t i = 0; i < check->n_lists; i++) {
		const struct policy_list_info *list = &b->p->infos[check->lists[i]];

		if (list->cidrs == 0)
			warn(b, rule, "check.of", list->name,
				check->answers == CONF_CHECK_IN
					? "has no addresses, and so no answer is in it; "
					  "allowed: a list with addresses"
					: "has no addresses, and so every answer is out of it; "
					  "allowed: a list with addresses");
	}
}

static void warn_of_unless(
	struct build *b, const struct conf_rule *rule, const struct conf_unless *unless)
{
	for (size_t i = 0; i < unless->n_lists; i++) {
		const struct policy_list_info *list = &b->p->infos[unless->lists[i]];

		if (list->names > 0 && list->cidrs == 0)
			warn(b, rule, "unless.resolves_in", list->name,
				"has names and no addresses, and so nothing resolves in it; "
				"allowed: a list with addresses");
	}
}

/* A list of the wrong kind: the condition never holds. Told once, not with each change of a file.
 */
static void warn_of_kinds(struct build *b)
{
	const struct policy_list_info *infos = b->p->infos;

	for (size_t i = 0; i < b->config->n_rules && !b->c->previous; i++) {
		const struct conf_rule *rule = &b->config->rules[i];

		for (size_t j = 0; j < rule->n_lists; j++) {
			const struct policy_list_info *list = &infos[rule->lists[j]];

			if (list->names == 0 && list->cidrs > 0)
				warn(b, rule, "list", list->name,
					"has addresses and no names, and so holds no query; "
					"allowed: a list with names");
		}
		for (size_t j = 0; j < rule->n_to; j++) {
			const struct policy_list_info *list = &infos[rule->to[j]];

			if (list->names > 0 && list->cidrs == 0)
				warn(b, rule, "to", list->name,
					"has names and no addresses, and so holds no destination; "
					"allowed: a list with addresses");
		}
		for (size_t j = 0; j < rule->n_unless; j++)
			warn_of_unless(b, rule, &rule->unless[j]);
		for (size_t j = 0; j < rule->n_checks; j++)
			warn_of_check(b, rule, &rule->checks[j]);
	}
}

static void complain_full(struct build *b)
{
	const struct conf_list_file *at = b->full_at;

	build_complain(b, at ? at->line : 1, at ? at->column : 1,
		"%s: too many names, patterns, prefixes, or combinations of lists that hold the "
		"same; allowed: %u names, %u keywords, %u expressions, %u prefixes, %u lists and "
		"rules with domains",
		at ? b->full->key : "lists", MATCHER_NAMES_MAX, PATTERNS_MAX, PATTERNS_MAX,
		ADDRESSES_MAX, MATCHER_SOURCES_MAX);
}

int policy_build(const struct policy_build_config *c, struct policy **ret)
{
	struct build b = {.c = c, .config = c->config};
	int err = -ENOMEM;

	b.p = calloc(1, sizeof *b.p);
	if (!b.p)
		return err;
	b.p->refs = 1;
	b.p->zones = c->config->builtin;
	b.p->arena = arena_new();
	if (b.p->arena)
		err = parts_build(&b);
	if (!err)
		err = pack(&b);
	if (!err)
		warn_of_kinds(&b);
	if (err == -ENOSPC) {
		complain_full(&b);
		err = -EINVAL;
	}
	matcher_builder_free(b.names);
	addresses_builder_free(b.addresses);
	build_lists_fini(&b);
	if (err)
		policy_unref(b.p);
	else
		*ret = b.p;
	return err;
}
