/* `leak: strict`: which names may be asked at which group. */
#include "gateway/policy/build.h"

#include <errno.h>

int build_leaks(struct build *b)
{
	const struct config *config = b->config;
	struct policy_leak *leaks =
		arena_array(b->p->arena, config->n_upstreams + 1, sizeof *leaks);

	if (!leaks)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_upstreams; i++) {
		const struct conf_upstream *u = &config->upstreams[i];
		uint16_t *sources = arena_array(b->p->arena, u->n_lists + 1, sizeof *sources);

		if (!sources)
			return -ENOMEM;
		for (size_t j = 0; j < u->n_lists; j++)
			sources[j] = (uint16_t)policy_list_source((size_t)u->lists[j]);
		leaks[i] = (struct policy_leak){.strict = u->leak_strict,
			.to = u->strict_to,
			.sources = sources,
			.n_sources = u->n_lists};
	}
	b->p->leaks = leaks;
	b->p->n_leaks = config->n_upstreams;
	return 0;
}

int policy_group(const struct policy *p, int group, const struct dns_name *name)
{
	const struct policy_leak *leak;
	struct matcher_hits hits;

	if (group < 0 || (size_t)group >= p->n_leaks || !p->leaks[group].strict)
		return group;
	leak = &p->leaks[group];
	policy_find(p, name, NULL, &hits);
	for (size_t i = 0; i < leak->n_sources; i++)
		if (matcher_hits_has(&hits, leak->sources[i]))
			return group;
	return leak->to;
}
