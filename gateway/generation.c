#include "gateway/generation.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

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

int generation_new(const struct config *config, struct writer *writer, policy_report *report,
	void *arg, struct generation **ret)
{
	struct generation *g = calloc(1, sizeof *g);
	int error;

	if (!g)
		return -ENOMEM;
	g->refs = 1;
	g->fake_ttl_s = config->fakeip.ttl_s;
	error = policy_build(config, report, arg, &g->policy);
	if (!error)
		error = resolve_groups_new(config, &g->groups);
	if (!error)
		error = take_sets(g, writer);
	if (error) {
		generation_unref(g);
		return error;
	}
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
	policy_free(g->policy);
	if (g->groups)
		resolve_groups_unref(g->groups);
	free(g->sets);
	free(g);
}
