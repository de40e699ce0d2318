#include "gateway/generation.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"

#define LOG_EVERY_MS 60000

static int take_sets(struct generation *g, struct writer *writer)
{
	const struct conf_set *const *sets;
	size_t n = policy_sets(g->policy, &sets);

	g->sets = calloc(n + 1, sizeof *g->sets);
	if (!g->sets)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int error = writer_set_get(writer, sets[i], &g->sets[i]);

		if (error)
			return error;
	}
	return 0;
}

/* Up to the first that was not got. */
static void give_sets(struct generation *g)
{
	for (size_t i = 0; g->sets && g->sets[i]; i++)
		writer_set_unref(g->sets[i]);
	free(g->sets);
}

static int take_named_sets(struct generation *g, const struct generation_config *c)
{
	int error = take_sets(g, c->writer);

	if (error == -ENOSPC)
		c->report(c->report_arg, true,
			"rules: more than 4096 sets are named (those of the running configuration "
			"count, too)");
	return error;
}

static int read_leases(struct generation *g, const struct generation_config *c)
{
	const struct list_sink complain = {.arg = c->report_arg, .complain = c->report};

	if (c->config->leases.files.n == 0)
		return 0;
	return leases_read(&c->config->leases, clock_wall_s(), &complain, &g->leases);
}

static int read_records(struct generation *g, const struct generation_config *c)
{
	const struct list_sink complain = {.arg = c->report_arg, .complain = c->report};

	return records_read(&c->config->records, &complain, &g->records);
}

static void report_at(void *arg, unsigned line, unsigned column, const char *text)
{
	const struct generation_config *c = arg;
	char whole[512];

	(void)snprintf(whole, sizeof whole, "%s:%u:%u: %s", c->config->path, line, column, text);
	c->report(c->report_arg, true, whole);
}

static int make_groups(struct generation *g, const struct generation_config *c)
{
	const struct resolve_groups_config rc = {
		.config = c->config,
		.egresses = g->egresses,
		.previous = c->previous ? c->previous->groups : NULL,
		.report = report_at,
		.report_arg = (void *)c,
	};

	return resolve_groups_new(&rc, &g->groups);
}

int generation_new(const struct generation_config *c, struct generation **ret)
{
	const struct config *config = c->config;
	struct generation *g = calloc(1, sizeof *g);
	int error;

	if (!g) {
		policy_unref(c->policy);
		return -ENOMEM;
	}
	g->refs = 1;
	g->policy = c->policy;
	g->fake_ttl_s = config->fakeip.ttl_s;
	g->exhausted = config->fakeip.exhausted;
	g->https = config->fakeip.https;
	g->ech = config->fakeip.ech;
	g->leaks = c->leaks;
	g->relays_real = config->gateway.relay_mark.mask ||
			 config->gateway.relay_clients.prefixes.n > 0 ||
			 config->gateway.relay_clients.n_macs > 0;
	error = egress_set_new(
		config, c->own_mark, c->previous ? c->previous->egresses : NULL, &g->egresses);
	if (!error)
		error = make_groups(g, c);
	if (!error)
		error = read_leases(g, c);
	if (!error)
		error = read_records(g, c);
	if (!error)
		error = take_named_sets(g, c);
	if (error) {
		generation_unref(g);
		return error;
	}
	*ret = g;
	return 0;
}

/* --- check --- */

static bool is_among(const struct conf_set *const *sets, size_t n, const struct conf_set *set)
{
	for (size_t i = 0; i < n; i++)
		if (writer_set_is_same(sets[i], set))
			return true;
	return false;
}

/* The rule that names one set too many; NULL: none does. */
static const struct conf_rule *set_too_many(
	const struct config *config, const struct conf_set **sets)
{
	size_t n = 0;

	for (size_t i = 0; i < config->n_rules; i++) {
		const struct conf_rule *rule = &config->rules[i];

		for (size_t k = 0; k < rule->n_sets; k++) {
			if (is_among(sets, n, &rule->sets[k]))
				continue;
			if (n == WRITER_SETS_MAX)
				return rule;
			sets[n++] = &rule->sets[k];
		}
	}
	return NULL;
}

static int check_sets(const struct generation_config *c)
{
	const struct conf_set **sets = calloc(WRITER_SETS_MAX, sizeof *sets);
	const struct conf_rule *rule;

	if (!sets)
		return -ENOMEM;
	rule = set_too_many(c->config, sets);
	free(sets);
	if (rule)
		report_at((void *)c, rule->line, rule->column,
			"rules: more than 4096 sets are named");
	return rule ? -EINVAL : 0;
}

int generation_check(const struct config *config, policy_report *report, void *arg)
{
	const struct generation_config c = {.config = config, .report = report, .report_arg = arg};
	struct generation *g = calloc(1, sizeof *g);
	int errors[4] = {0}, error;

	if (!g)
		return -ENOMEM;
	g->refs = 1;
	error = egress_set_new(config, 0, NULL, &g->egresses);
	if (!error) {
		errors[0] = make_groups(g, &c);
		errors[1] = read_leases(g, &c);
		errors[2] = read_records(g, &c);
		errors[3] = check_sets(&c);
	}
	for (size_t i = 0; i < 4 && !error; i++)
		error = errors[i];
	generation_unref(g);
	return error;
}

/* --- generations that share parts --- */

/* All but the policy and its sets, leases and records. */
static struct generation *copy_rest(struct generation *from)
{
	struct generation *g = calloc(1, sizeof *g);

	if (!g)
		return NULL;
	g->refs = 1;
	g->fake_ttl_s = from->fake_ttl_s;
	g->exhausted = from->exhausted;
	g->https = from->https;
	g->ech = from->ech;
	g->leaks = from->leaks;
	g->relays_real = from->relays_real;
	g->groups = resolve_groups_ref(from->groups);
	g->egresses = egress_set_ref(from->egresses);
	return g;
}

/* Both use the handles; the array is each one's own. */
static int copy_policy(struct generation *g, struct generation *from)
{
	const struct conf_set *const *sets;
	size_t n_sets = policy_sets(from->policy, &sets);

	g->policy = policy_ref(from->policy);
	g->sets = calloc(n_sets + 1, sizeof *g->sets);
	if (!g->sets)
		return -ENOMEM;
	for (size_t i = 0; i < n_sets; i++)
		g->sets[i] = writer_set_ref(from->sets[i]);
	return 0;
}

static struct leases *share_leases(struct generation *from)
{
	return from->leases ? leases_ref(from->leases) : NULL;
}

static int finish_copy(struct generation *g, int error, struct generation **ret)
{
	if (error)
		generation_unref(g);
	else
		*ret = g;
	return error;
}

int generation_new_policy(struct generation *from, struct policy *policy, struct writer *writer,
	struct generation **ret)
{
	struct generation *g = copy_rest(from);

	if (!g) {
		policy_unref(policy);
		return -ENOMEM;
	}
	g->policy = policy;
	g->leases = share_leases(from);
	g->records = records_ref(from->records);
	return finish_copy(g, take_sets(g, writer), ret);
}

int generation_new_leases(struct generation *from, struct leases *leases, struct generation **ret)
{
	struct generation *g = copy_rest(from);

	if (!g) {
		leases_unref(leases);
		return -ENOMEM;
	}
	g->leases = leases;
	g->records = records_ref(from->records);
	return finish_copy(g, copy_policy(g, from), ret);
}

int generation_new_records(
	struct generation *from, struct records *records, struct generation **ret)
{
	struct generation *g = copy_rest(from);

	if (!g) {
		records_unref(records);
		return -ENOMEM;
	}
	g->records = records;
	g->leases = share_leases(from);
	return finish_copy(g, copy_policy(g, from), ret);
}

const struct policy_who *generation_who(const struct generation *g,
	const struct neighbours *neighbours, const struct ip_addr *client, struct policy_who *ret)
{
	struct neighbour n;

	if (!policy_asks_who(g->policy))
		return NULL;
	*ret = (struct policy_who){.leases = g->leases};
	if (neighbours_find(neighbours, client, &n)) {
		ret->has_mac = n.has_mac;
		memcpy(ret->mac, n.mac, sizeof ret->mac);
		memcpy(ret->interface, n.interface, sizeof ret->interface);
	}
	return ret;
}

int generation_group(const struct generation *g, int group, const struct dns_name *name)
{
	static struct log_gate gate;
	int where = policy_group(g->policy, group, name);
	char text[DNS_NAME_TEXT_MAX];
	const char *to;

	if (where == group)
		return group;
	if (g->leaks)
		count_add_shared(g->leaks, 1);
	to = resolve_group_name(g->groups, where);
	if (log_gate_open(&gate, LOG_EVERY_MS))
		log_info("leak: strict: %s is not asked at %s but %s%s",
			dns_name_format(name->b, text), resolve_group_name(g->groups, group),
			to ? "at " : "nowhere", to ? to : "");
	return where;
}

unsigned generation_flags(const struct policy_rule *rule)
{
	unsigned flags = rule->cache ? 0 : RESOLVE_NO_CACHE;

	if (rule->rebind_set)
		flags |= rule->rebind == CONF_REBIND_ALLOW ? RESOLVE_ALLOW_REBIND
							   : RESOLVE_PROTECT_REBIND;
	return flags;
}

void generation_ask(struct generation *g, struct resolver *r, const struct resolve_question *q,
	int64_t deadline_ms, struct resolve_request *rq, resolve_done *done)
{
	struct resolve_question where = *q;

	where.group = generation_group(g, q->group, q->name);
	if (where.group >= 0) {
		resolve_ask(r, g->groups, &where, deadline_ms, rq, done);
		return;
	}
	*rq = (struct resolve_request){.done = done};
	done(rq, NULL, 0, -EACCES);
}

struct generation *generation_ref(struct generation *g)
{
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return g;
}

void generation_unref(struct generation *g)
{
	if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
		return;
	give_sets(g);
	policy_unref(g->policy);
	if (g->groups)
		resolve_groups_unref(g->groups);
	egress_set_unref(g->egresses);
	leases_unref(g->leases);
	records_unref(g->records);
	free(g);
}
