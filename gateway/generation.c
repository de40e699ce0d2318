#include "gateway/generation.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"

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
	error = resolve_groups_new(config, &g->groups);
	if (!error)
		error = egress_set_new(config, c->own_mark,
			c->previous ? c->previous->egresses : NULL, &g->egresses);
	if (!error)
		error = read_leases(g, c);
	if (!error)
		error = read_records(g, c);
	if (!error)
		error = take_sets(g, c->writer);
	if (error) {
		generation_unref(g);
		return error;
	}
	*ret = g;
	return 0;
}

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
	g->groups = resolve_groups_ref(from->groups);
	g->egresses = egress_set_ref(from->egresses);
	return g;
}

/* The handles are the writer's and outlive both; the array is each one's own. */
static int copy_policy(struct generation *g, struct generation *from)
{
	const struct conf_set *const *sets;
	size_t n_sets = policy_sets(from->policy, &sets);

	g->policy = policy_ref(from->policy);
	g->sets = calloc(n_sets + 1, sizeof *g->sets);
	if (!g->sets)
		return -ENOMEM;
	memcpy(g->sets, from->sets, n_sets * sizeof *g->sets);
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

struct generation *generation_ref(struct generation *g)
{
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return g;
}

void generation_unref(struct generation *g)
{
	if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
		return;
	policy_unref(g->policy);
	if (g->groups)
		resolve_groups_unref(g->groups);
	egress_set_unref(g->egresses);
	leases_unref(g->leases);
	records_unref(g->records);
	free(g->sets);
	free(g);
}
