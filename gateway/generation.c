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

int generation_new(const struct generation_config *c, struct generation **ret)
{
	const struct config *config = c->config;
	struct generation *g = calloc(1, sizeof *g);
	int error;

	if (!g)
		return -ENOMEM;
	g->refs = 1;
	g->fake_ttl_s = config->fakeip.ttl_s;
	g->exhausted = config->fakeip.exhausted;
	g->https = config->fakeip.https;
	g->ech = config->fakeip.ech;
	error = policy_build(config, c->report, c->report_arg, &g->policy);
	if (!error)
		error = resolve_groups_new(config, &g->groups);
	if (!error)
		error = egress_set_new(config, c->own_mark,
			c->previous ? c->previous->egresses : NULL, &g->egresses);
	if (!error)
		error = read_leases(g, c);
	if (!error)
		error = take_sets(g, c->writer);
	if (error) {
		generation_unref(g);
		return error;
	}
	*ret = g;
	return 0;
}

int generation_new_leases(struct generation *from, struct leases *leases, struct generation **ret)
{
	const struct conf_set *const *sets;
	size_t n_sets = policy_sets(from->policy, &sets);
	struct generation *g = calloc(1, sizeof *g);

	if (!g)
		return -ENOMEM;
	/* The handles are the writer's and outlive both; the array is each one's own. */
	g->sets = calloc(n_sets + 1, sizeof *g->sets);
	if (!g->sets) {
		free(g);
		return -ENOMEM;
	}
	memcpy(g->sets, from->sets, n_sets * sizeof *g->sets);
	g->refs = 1;
	g->fake_ttl_s = from->fake_ttl_s;
	g->exhausted = from->exhausted;
	g->https = from->https;
	g->ech = from->ech;
	g->policy = policy_ref(from->policy);
	g->groups = resolve_groups_ref(from->groups);
	g->egresses = egress_set_ref(from->egresses);
	g->leases = leases ? leases_ref(leases) : NULL;
	*ret = g;
	return 0;
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
	free(g->sets);
	free(g);
}
